//! An endpoint and peers that speak TCP, and MPA only as far as it suits them.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test, and a driver: it reads the clock"
)]

mod support;

use std::{
    io::{Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    time::{Duration, Instant},
};

use nvmf_soft_iwarp::{
    Access, ConnectError, ConnectionConfig, Disconnect, EndpointConfig, Event, Handover, Operation, Payload,
    QpConfig, Request, SendRequest, Status,
    config::RtrKinds,
    crc32c, ddp,
    mpa::{self, CrcPolicy, Frame, FrameKind, Offer, Revision},
    rdmap::{ErrorCode, Terminate},
};
use support::*;

const OFFER: Offer =
    Offer { ird: 8, ord: 8, crc: CrcPolicy::Required, rtr: RtrKinds::empty(), revision: Revision::Two };

fn quick() -> EndpointConfig {
    let mut config = EndpointConfig::default();
    config.handshake_timeout = Duration::from_millis(300);
    config.close_timeout = Duration::from_millis(300);
    config
}

/// A peer's end of a connection.
fn dial(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_nodelay(true).unwrap();
    stream.set_nonblocking(true).unwrap();
    stream
}

fn encoded(frame: &Frame<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    frame.encode(&mut bytes).unwrap();
    bytes
}

fn fpdu(ulpdu: &[u8]) -> Vec<u8> {
    let mut bytes = (ulpdu.len() as u16).to_be_bytes().to_vec();
    bytes.extend_from_slice(ulpdu);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    let crc = crc32c(&bytes);
    bytes.extend_from_slice(&crc.to_le_bytes());
    bytes
}

/// A zero-length RDMA WRITE.
fn empty_write() -> Vec<u8> {
    fpdu(&[0xC1, 0x40, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0])
}

/// Polls until `done` has an answer; the peer's thread is this one too.
fn poll_until<T>(side: &mut Side, what: &str, mut done: impl FnMut(&mut Side) -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        side.poll();
        if let Some(answer) = done(side) {
            return answer;
        }
        assert!(start.elapsed() < PATIENCE, "{what}: {:?}", side.events);
        std::thread::yield_now();
    }
}

/// What the peer reads until the end of the stream; `Err` if that is a reset.
fn read_to_end(side: &mut Side, stream: &mut TcpStream) -> Result<Vec<u8>, Vec<u8>> {
    let mut all = Vec::new();
    poll_until(side, "the end of the stream", |_| {
        let mut buffer = [0; 4096];
        match stream.read(&mut buffer) {
            Ok(0) => Some(Ok(())),
            Ok(n) => {
                all.extend_from_slice(&buffer[..n]);
                None
            }
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => None,
            Err(_) => Some(Err(())),
        }
    })
    .map(|()| all.clone())
    .map_err(|()| all)
}

fn asked(side: &mut Side) -> Request {
    poll_until(side, "a request", |side| {
        side.take(|event| match event {
            Event::Request { request, .. } => Some(*request),
            _ => None,
        })
    })
}

fn listening(config: EndpointConfig) -> (Side, SocketAddr) {
    let mut side = Side::new(config);
    let (_, address) = side.endpoint.listen(([127, 0, 0, 1], 0).into()).unwrap();
    (side, address)
}

/// Reads one frame, byte for byte, so that nothing behind it is taken.
fn read_reply(side: &mut Side, stream: &mut TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    poll_until(side, "a reply", |_| {
        let mut byte = [0];
        while let Ok(1) = stream.read(&mut byte) {
            bytes.push(byte[0]);
            if Frame::parse(&bytes, FrameKind::Reply).unwrap().is_some() {
                return Some(());
            }
        }
        None
    });
    bytes
}

// test: IW-MPA-03, IW-MPA-04, IW-MPA-10
#[test]
fn no_request_no_answer() {
    let (mut side, address) = listening(quick());
    let good = encoded(&mpa::request(&OFFER, b"x"));
    let mut revision = good.clone();
    revision[17] = 3;
    let mut length = good.clone();
    length[18] = 2;
    length[19] = 1;
    let mut short = good.clone();
    short[19] = 3;
    let reply = encoded(&mpa::answer(&OFFER, &mpa::request(&OFFER, b""), b"").0);
    let mut early = good.clone();
    early.extend(empty_write());
    for bytes in [&b"GET / HTTP/1.1\r\n\r\n"[..], &[0; 128], &revision, &length, &short, &reply, &early] {
        let mut stream = dial(address);
        stream.write_all(bytes).unwrap();
        let said = read_to_end(&mut side, &mut stream);
        assert_eq!(said.unwrap_or_else(|said| said), [0; 0]);
        assert!(side.events.is_empty(), "{:?}", side.events);
    }
    // The next one is served.
    let mut stream = dial(address);
    for byte in good {
        stream.write_all(&[byte]).unwrap();
        side.poll();
    }
    let request = asked(&mut side);
    side.endpoint.accept(request, side.qp, &ConnectionConfig::default(), b"").unwrap();
    read_reply(&mut side, &mut stream);
}

// test: IW-MPA-10
#[test]
fn bytes_between_request_and_reply_end_the_request() {
    let (mut side, address) = listening(quick());
    for how in 0..3 {
        let mut stream = dial(address);
        stream.write_all(&encoded(&mpa::request(&OFFER, b"x"))).unwrap();
        let request = asked(&mut side);
        match how {
            0 => stream.write_all(&empty_write()).unwrap(),
            1 => stream.shutdown(Shutdown::Write).unwrap(),
            _ => {
                let _ = socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO));
                drop(stream);
            }
        }
        poll_until(&mut side, "its end", |side| {
            side.take(|event| {
                matches!(event, Event::RequestGone { request: gone } if *gone == request).then_some(())
            })
        });
        let qp = side.qp;
        assert!(side.endpoint.accept(request, qp, &ConnectionConfig::default(), b"").is_err());
        assert!(side.endpoint.reject(request, b"").is_err());
        assert!(side.endpoint.release(request).is_err());
    }
}

// test: IW-MPA-12
#[test]
fn a_request_that_does_not_come() {
    let (mut side, address) = listening(quick());
    let mut silent = dial(address);
    let mut slow = dial(address);
    slow.write_all(b"MPA ID Req").unwrap();
    let start = Instant::now();
    assert_eq!(read_to_end(&mut side, &mut silent).unwrap_or_default(), [0; 0]);
    assert_eq!(read_to_end(&mut side, &mut slow).unwrap_or_default(), [0; 0]);
    assert!(start.elapsed() >= Duration::from_millis(250));
    assert!(side.events.is_empty());
}

// test: IW-MPA-14
#[test]
fn connections_that_wait_are_bounded() {
    let mut config = quick();
    config.max_pending = 3;
    config.handshake_timeout = Duration::from_secs(5);
    let (mut side, address) = listening(config);
    let mut streams: Vec<_> = (0..3).map(|_| dial(address)).collect();
    for _ in 0..50 {
        side.poll();
    }
    // One too many is refused at once, the others go on.
    let mut more = dial(address);
    assert!(read_to_end(&mut side, &mut more).is_err());
    streams[2].write_all(&encoded(&mpa::request(&OFFER, b"x"))).unwrap();
    let request = asked(&mut side);
    side.endpoint.reject(request, b"no").unwrap();
    assert!(read_to_end(&mut side, &mut streams[2]).unwrap().ends_with(b"no"));
    drop(streams);
    for _ in 0..50 {
        side.poll();
    }
    let mut stream = dial(address);
    stream.write_all(&encoded(&mpa::request(&OFFER, b"x"))).unwrap();
    asked(&mut side);
}

// test: IW-MPA-07, IW-MPA-08
#[test]
fn rejections_carry_private_data_of_every_length() {
    for len in (0..=mpa::ULP_DATA_MAX).step_by(36).chain([1, mpa::ULP_DATA_MAX]) {
        let (mut a, mut b) = (Side::new(quick()), Side::new(quick()));
        let data = pattern(len, 3);
        let (asked, info) = request(&mut a, &mut b, &ConnectionConfig::default(), &data);
        assert_eq!((info.private_data, info.ird, info.ord), (data.clone(), Some(32), Some(32)));
        b.endpoint.reject(asked, &data).unwrap();
        let reason = until(&mut a, &mut b, "a rejection", |a, _| {
            a.take(|event| match event {
                Event::Rejected { private_data, .. } => Some(private_data.to_vec()),
                _ => None,
            })
        });
        assert_eq!(reason, data);
    }
    let (mut a, mut b) = (Side::new(quick()), Side::new(quick()));
    let long = vec![0; mpa::ULP_DATA_MAX + 1];
    let (asked, _) = request(&mut a, &mut b, &ConnectionConfig::default(), b"");
    assert!(b.endpoint.reject(asked, &long).is_err());
    assert!(b.endpoint.accept(asked, b.qp, &ConnectionConfig::default(), &long).is_err());
    // It can still be answered.
    b.endpoint.accept(asked, b.qp, &ConnectionConfig::default(), &long[1..]).unwrap();
    let qp = a.endpoint.create_qp(&QpConfig::default());
    let address = ([127, 0, 0, 1], 9).into();
    assert!(a.endpoint.connect(qp, address, None, &ConnectionConfig::default(), &long).is_err());
}

/// A Terminate message, then the end of the stream, and not a reset that would lose it.
// test: IW-TRM-09, IW-END-04, IW-END-05
#[test]
fn a_violation_is_told_before_the_end() {
    let (mut side, address) = listening(quick());
    for (ulpdu, code) in [
        (vec![0xC1, 0x40, 0, 0, 0xDE, 0xAD, 0, 0, 0, 0, 0, 0, 0, 0, 1], ErrorCode::new(1, 1, 0)),
        (vec![0x41, 0x43, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0], ErrorCode::new(1, 2, 3)),
        (vec![0x41, 0x48, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0], ErrorCode::new(0, 2, 6)),
        (vec![0], ErrorCode::new(2, 0, 3)),
    ] {
        let mut stream = dial(address);
        stream.write_all(&encoded(&mpa::request(&OFFER, b"x"))).unwrap();
        let request = asked(&mut side);
        let qp = side.endpoint.create_qp(&QpConfig::default());
        side.endpoint.accept(request, qp, &ConnectionConfig::default(), b"").unwrap();
        read_reply(&mut side, &mut stream);
        // Much behind the mistake: it must not turn the end into a reset.
        stream.write_all(&fpdu(&ulpdu)).unwrap();
        for _ in 0..20 {
            stream.write_all(&empty_write()).unwrap();
        }
        let said = read_to_end(&mut side, &mut stream).expect("no reset");
        assert_eq!(said[2..4], [0x41, 0x47]);
        let len = usize::from(u16::from_be_bytes([said[0], said[1]]));
        let terminate = Terminate::parse(&said[2 + ddp::UNTAGGED_LEN..2 + len]).unwrap();
        assert_eq!(terminate.code, code);
        let told = poll_until(&mut side, "the end", |side| {
            side.take(|event| match event {
                Event::Disconnected { reason, .. } => match **reason {
                    Disconnect::Terminated(terminate) => Some(terminate.code),
                    _ => panic!("{reason:?}"),
                },
                _ => None,
            })
        });
        assert_eq!(told, code);
        drop(stream);
        side.endpoint.destroy_qp(qp);
        side.events.clear();
    }
}

/// A peer that is gone in every state: the endpoint and its other connections go on.
// test: IW-END-03
#[test]
fn resets_in_every_state() {
    let (mut side, address) = listening(quick());
    let reset = |stream: TcpStream| {
        let _ = socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO));
        drop(stream);
    };
    let request = encoded(&mpa::request(&OFFER, b"x"));
    for state in 0..7 {
        let mut stream = dial(address);
        stream
            .write_all(
                &request[..if state == 0 {
                    0
                } else if state == 1 {
                    10
                } else {
                    request.len()
                }],
            )
            .unwrap();
        for _ in 0..5 {
            side.poll();
        }
        if state < 2 {
            reset(stream);
            continue;
        }
        let request = asked(&mut side);
        if state == 2 {
            reset(stream);
            // Accepting may come before the endpoint knows.
            let qp = side.endpoint.create_qp(&QpConfig::default());
            side.endpoint.accept(request, qp, &ConnectionConfig::default(), b"").unwrap();
        } else {
            let qp = side.endpoint.create_qp(&QpConfig::default());
            side.endpoint.accept(request, qp, &ConnectionConfig::default(), b"").unwrap();
            read_reply(&mut side, &mut stream);
            let region = side.register(vec![0; 1 << 20], Access::all());
            side.endpoint
                .post_send(
                    qp,
                    &SendRequest::new(
                        1,
                        Operation::Write { remote: Default::default() },
                        gather(&[region.sge(0, 1 << 20)]),
                    ),
                )
                .unwrap();
            match state {
                3 => {}
                4 => stream.write_all(&empty_write()[..9]).unwrap(),
                _ => stream.write_all(&empty_write()).unwrap(),
            }
            for _ in 0..20 {
                side.poll();
            }
            if state == 6 {
                side.endpoint.disconnect(qp);
                side.poll();
            }
            reset(stream);
        }
        poll_until(&mut side, "the end", |side| {
            side.take(|event| {
                matches!(event, Event::Disconnected { .. } | Event::ConnectFailed { .. }).then_some(())
            })
        });
    }
    let mut stream = dial(address);
    stream.write_all(&request).unwrap();
    asked(&mut side);
}

fn failure(side: &mut Side) -> ConnectError {
    poll_until(side, "a failure", |side| {
        let at = side.events.iter().position(|event| matches!(event, Event::ConnectFailed { .. }))?;
        match side.events.remove(at) {
            Event::ConnectFailed { error, .. } => Some(*error),
            _ => None,
        }
    })
}

// test: IW-MPA-12
#[test]
fn connecting_to_those_that_do_not_answer() {
    // Nobody listens.
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut side = Side::new(quick());
    match side.endpoint.connect(side.qp, free, None, &ConnectionConfig::default(), b"") {
        Ok(()) => assert!(matches!(failure(&mut side), ConnectError::Tcp(_))),
        Err(error) => assert!(matches!(error, nvmf_soft_iwarp::CallError::Io(_))),
    }
    // Somebody listens and says nothing, closes, resets, or says something else.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    for how in 0..4 {
        let mut side = Side::new(quick());
        let memory = side.register(vec![0; 8], Access::LOCAL_WRITE);
        side.receive(1, &memory, 0, 8);
        side.endpoint.connect(side.qp, address, None, &ConnectionConfig::default(), b"").unwrap();
        assert!(side.endpoint.connect(side.qp, address, None, &ConnectionConfig::default(), b"").is_err());
        side.poll();
        let (mut stream, _) = listener.accept().unwrap();
        for _ in 0..5 {
            side.poll();
        }
        match how {
            0 => {}
            1 => stream.shutdown(Shutdown::Both).unwrap(),
            2 => socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap(),
            _ => stream.write_all(b"SSH-2.0-OpenSSH\r\n").unwrap(),
        }
        let keep = Some(stream).filter(|_| how != 2);
        let error = failure(&mut side);
        assert!(
            match how {
                0 => matches!(error, ConnectError::TimedOut),
                1 => matches!(error, ConnectError::Closed | ConnectError::Tcp(_)),
                2 => matches!(error, ConnectError::Tcp(_)),
                _ => matches!(error, ConnectError::Mpa(_)),
            },
            "{how}: {error:?}"
        );
        drop(keep);
        assert_eq!(side.completion().map(|c| (c.id, c.status)), Some((1, Status::Flushed)));
        side.endpoint.destroy_qp(side.qp);
    }
}

// test: IW-ENH-11, IW-ENH-12, IW-MPA-11
#[test]
fn every_way_to_begin() {
    for revision in [Revision::One, Revision::Two] {
        for rtr in 0..8 {
            for crc in [CrcPolicy::Required, CrcPolicy::WhenAsked] {
                let config = ConnectionConfig {
                    revision,
                    rtr: RtrKinds::from_bits_retain(rtr),
                    crc,
                    ..Default::default()
                };
                let (mut a, mut b) = connected(&config, quick(), quick());
                let sink = b.register(vec![0; 10], Access::LOCAL_WRITE);
                b.receive(1, &sink, 0, 10);
                a.post(SendRequest::new(2, Operation::SEND, Payload::Inline(b"hello")));
                let got = until(&mut a, &mut b, "a message", |_, b| b.completion());
                assert_eq!((got.id, got.len), (1, 5));
                assert_eq!(b.endpoint.bytes(sink.stag).unwrap()[..5], *b"hello");
            }
        }
    }
}

/// A request goes to another endpoint: with a socket that somebody else accepted, and from one endpoint to another.
#[test]
fn connections_change_hands() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    for known in [0, 4, 30] {
        let (mut a, mut b, mut c) = (Side::new(quick()), Side::new(quick()), Side::new(quick()));
        a.endpoint.connect(a.qp, address, None, &ConnectionConfig::default(), b"0123456789").unwrap();
        a.poll();
        let (mut stream, _) = listener.accept().unwrap();
        for _ in 0..5 {
            a.poll();
        }
        let mut bytes = vec![0; known];
        stream.read_exact(&mut bytes).unwrap();
        assert!(known < 4 || mpa::looks_like_request(&bytes) == Some(true));
        b.endpoint.adopt(Handover { socket: stream.into(), bytes }).unwrap();
        let asked = asked(&mut b);
        let handover = b.endpoint.release(asked).unwrap();
        c.endpoint.adopt(handover).unwrap();
        let asked = until(&mut a, &mut c, "a request", |_, c| {
            c.take(|event| match event {
                Event::Request { request, info, .. } => {
                    assert_eq!(info.private_data, b"0123456789");
                    Some(*request)
                }
                _ => None,
            })
        });
        c.endpoint.accept(asked, c.qp, &ConnectionConfig::default(), b"").unwrap();
        until(&mut a, &mut c, "a connection", |a, _| {
            a.take(|event| matches!(event, Event::Established { .. }).then_some(()))
        });
    }
}

/// A peer that overlooks what it gets until more arrives, as siw may.
// test: IW-MPA-13
#[test]
fn a_peer_that_overlooks_the_first_message() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut side = Side::new(quick());
    let address = listener.local_addr().unwrap();
    side.endpoint.connect(side.qp, address, None, &ConnectionConfig::default(), b"").unwrap();
    side.poll();
    let (stream, _) = listener.accept().unwrap();
    stream.set_nonblocking(true).unwrap();
    let collect = |side: &mut Side, wanted: usize| {
        let mut bytes = Vec::new();
        poll_until(side, "bytes", |_| {
            let mut buffer = [0; 1000];
            if let Ok(n) = (&stream).read(&mut buffer) {
                bytes.extend_from_slice(&buffer[..n]);
            }
            (bytes.len() >= wanted).then_some(())
        });
        bytes
    };
    let request = collect(&mut side, 24);
    let (frame, _) = Frame::parse(&request, FrameKind::Request).unwrap().unwrap();
    let reply = encoded(&mpa::answer(&OFFER, &frame, b"").0);
    (&stream).write_all(&reply).unwrap();
    poll_until(&mut side, "a connection", |side| {
        side.take(|event| matches!(event, Event::Established { .. }).then_some(()))
    });
    side.post(SendRequest::new(1, Operation::SEND, Payload::EMPTY));
    let said = collect(&mut side, 24 + 4 * 20);
    // The message, and four empty WRITEs behind it. Then it gives up.
    let nudges: Vec<_> = said[24..].chunks(20).map(|chunk| chunk[2..4].to_vec()).collect();
    assert_eq!(nudges, vec![vec![0xC1, 0x40]; 4]);
    let start = Instant::now();
    while start.elapsed() < Duration::from_millis(250) {
        side.poll();
        assert!((&stream).read(&mut [0]).is_err(), "a fifth");
    }
}
