//! Arbitrary bytes and arbitrary damage: no panic, no endless loop, no event without a sound PDU.

use proptest::prelude::*;

use super::*;
use zerocopy::IntoBytes;

/// A conversation with reads and writes, as the bytes of each direction.
fn conversation(setting: &Setting) -> (Vec<u8>, Vec<u8>) {
    let mut pair = Pair::up(setting, 1, 1 << 20);
    for (len, write) in [(512, true), (4096, false), (20_000, true), (20_000, false), (0, true)] {
        if write {
            pair.write(len, 1)
        } else {
            pair.read(len, 1)
        }
        let (request, _, data) = pair.command();
        match data.unwrap() {
            RequestData::Remote { len } if write => {
                pair.controller.fetch(request, 0, buffer(len as usize)).unwrap();
                pair.run();
                pair.controller_events.clear();
                pair.success(request, Gather::new());
            }
            RequestData::Remote { len } => pair.success(request, pattern(1, len as usize)),
            _ => pair.success(request, Gather::new()),
        }
        pair.completion();
    }
    (pair.to_controller, pair.to_host)
}

/// Feeds a controller, answering as a session would; ends as the stream ends.
fn controller_takes(setting: &Setting, bytes: &[u8], piece: usize) {
    let mut raw = Raw::new(ControllerConn::new(setting.controller_setup(), setting.controller));
    for piece in bytes.chunks(piece.max(1)) {
        raw.send(piece);
        raw.output();
        if raw.conn.take_established() {
            raw.conn.configure(&setting.settings()).unwrap();
        }
        for event in std::mem::take(&mut raw.events) {
            match event {
                ControllerEvent::Command { request, sqe, data: Ok(RequestData::Remote { len }) }
                    if len <= 1 << 20 =>
                {
                    let _ = match sqe.io_opcode() {
                        IoOpcode::WRITE => {
                            raw.conn.fetch(request, 0, buffer(len as usize)).map_err(|r| r.why)
                        }
                        _ => raw
                            .conn
                            .respond(request, Cqe::default(), pattern(1, len as usize).into())
                            .map_err(|r| r.why),
                    };
                }
                ControllerEvent::Command { request, .. } | ControllerEvent::Fetched { request, .. } => {
                    let _ = raw.conn.respond(request, Cqe::default(), Gather::new());
                }
                other => panic!("{other:?}"),
            }
        }
    }
    raw.conn.peer_closed();
    raw.conn.finish(&mut raw.events);
    assert!(matches!(raw.events.last(), Some(ControllerEvent::Closed { .. })));
}

/// Feeds a host with commands outstanding; each of them ends exactly once.
fn host_takes(setting: &Setting, bytes: &[u8], piece: usize) {
    let mut conn = HostConn::new(setting.host_setup());
    conn.start(setting.host);
    let mut raw = Raw::new(conn);
    raw.output();
    let mut submitted = 0;
    let (first, rest) = bytes.split_at(bytes.len().min(128));
    for piece in [first].into_iter().chain(rest.chunks(piece.max(1))) {
        raw.send(piece);
        if raw.conn.take_established() {
            for len in [512, 4096, 20_000, 20_000] {
                let data = match submitted % 2 {
                    0 => Data::ToController(buffer(len)),
                    _ => Data::FromController(buffer(len)),
                };
                let command = Command { sqe: Sqe::io(IoOpcode::READ, 1), data, cookie: 0 };
                submitted += usize::from(raw.conn.submit(command).is_ok());
            }
        }
        raw.output();
    }
    raw.conn.peer_closed();
    raw.conn.finish(&mut raw.events);
    assert_eq!(raw.events.len(), submitted + 1, "every command ends once, then the queue");
    assert!(matches!(raw.events.last(), Some(HostEvent::Closed { .. })));
}

fn setting(digests: u8, alignment: u8) -> Setting {
    Setting::default().digests(digests & 1 != 0, digests & 2 != 0).alignment(alignment % 32, alignment % 32)
}

// test: TCP-RES-01, TCP-RES-02, TCP-RES-04
proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn arbitrary_bytes(bytes in prop::collection::vec(any::<u8>(), 0..600), piece in 1usize..700, negotiated: bool) {
        let setting = Setting::default();
        let (response, _) = setting.controller.answer(&setting.host.request()).unwrap();
        let head = |ic: &[u8]| if negotiated { [ic, &bytes].concat() } else { bytes.clone() };
        controller_takes(&setting, &head(setting.host.request().as_bytes()), piece);
        host_takes(&setting, &head(response.as_bytes()), piece);
    }

    #[test]
    fn damaged_conversations(
        digests in 0u8..4, alignment in 0u8..32, piece in 1usize..9000,
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        cut in any::<prop::sample::Index>(), cuts: bool,
    ) {
        let setting = setting(digests, alignment);
        let (mut to_controller, mut to_host) = conversation(&setting);
        for stream in [&mut to_controller, &mut to_host] {
            for (at, value) in &damage {
                let at = at.index(stream.len());
                stream[at] = *value;
            }
            if cuts {
                stream.truncate(cut.index(stream.len()));
            }
        }
        controller_takes(&setting, &to_controller, piece);
        host_takes(&setting, &to_host, piece);
    }

    #[test]
    fn damaged_headers(
        digests in 0u8..4, which in any::<prop::sample::Index>(), at in 0usize..24, value: u8, piece in 1usize..3000,
    ) {
        let setting = setting(digests, 0);
        let (mut to_controller, mut to_host) = conversation(&setting);
        for stream in [&mut to_controller, &mut to_host] {
            let starts: Vec<usize> = pdus(stream).iter().map(|pdu| pdu.as_ptr() as usize - stream.as_ptr() as usize).collect();
            let start = starts[which.index(starts.len())];
            stream[start + at] = value;
        }
        controller_takes(&setting, &to_controller, piece);
        host_takes(&setting, &to_host, piece);
    }
}
