//! Data in all its ways, cut anywhere.

use super::*;
use crate::verbs::Addressing;

const RW: Access = Access::all();

fn shapes() -> [(u32, ConnectionConfig); 4] {
    let plain = ConnectionConfig::default();
    let bare = ConnectionConfig { crc: mpa::CrcPolicy::WhenAsked, ..plain };
    let tiny = ConnectionConfig { max_ulpdu: Some(128), ..plain };
    [(1448, plain), (65_483, plain), (1448, bare), (1448, tiny)]
}

// test: IW-FPD-05, IW-DDP-05, IW-DDP-06, IW-DDP-07, IW-DDP-09, IW-RDM-03, IW-RDM-06, IW-RDM-14
#[test]
fn every_operation_moves_every_length() {
    for (seed, (emss, config)) in shapes().into_iter().enumerate() {
        let mut pair = Pair::new(seed as u64, emss, &config);
        pair.piece = 61 + seed * 1100;
        for len in [0, 1, 2, 3, 4, 100, 511, 512, 513, 1424, 1425, 1428, 1429, 9000, 40_000, 70_001] {
            let (here, there) = (pair.a.register(len + 8, RW), pair.b.register(len + 8, RW));
            pair.a.fill(&here, len as u8);
            let data = pair.a.bytes(&here)[3..3 + len].to_vec();
            let len32 = len as u32;

            // In three pieces each.
            let cut = len32 / 3;
            let gather = [
                here.sge(3, cut),
                here.sge(3 + u64::from(cut), 0),
                here.sge(3 + u64::from(cut), len32 - cut),
            ];
            let scatter = [there.sge(5, len32 / 2), there.sge(5 + u64::from(len32 / 2), len32 - len32 / 2)];
            pair.b.receive(1, &scatter);
            pair.a.post(2, Operation::SEND, &gather);
            pair.run();
            assert_eq!(pair.b.bytes(&there)[5..5 + len], data);
            let [received] = pair.b.completions()[..] else { panic!() };
            assert_eq!(
                (received.id, received.what, received.status, received.len),
                (1, Completed::Receive, Status::Success, len32)
            );
            assert_eq!(pair.a.ended(), [(2, Status::Success)]);

            pair.b.domain.bytes_mut(there.stag).unwrap().fill(0xEE);
            pair.a.post(3, Operation::Write { remote: there.remote(1) }, &gather);
            pair.run();
            assert_eq!(pair.b.bytes(&there)[1..=len], data);
            assert_eq!(pair.b.bytes(&there)[0], 0xEE);
            assert!(pair.b.bytes(&there)[len + 1..].iter().all(|&byte| byte == 0xEE));
            assert_eq!((pair.a.ended(), pair.b.ended()), (vec![(3, Status::Success)], vec![]));

            pair.b.domain.bytes_mut(there.stag).unwrap().fill(0xEE);
            pair.b.post(4, Operation::Read { remote: here.remote(3) }, &[there.sge(7, len32)]);
            pair.run();
            assert_eq!(pair.b.bytes(&there)[7..7 + len], data);
            assert!(pair.b.bytes(&there)[..7].iter().all(|&byte| byte == 0xEE));
            assert_eq!(pair.b.bytes(&there)[7 + len..], [0xEE][..]);
            assert_eq!((pair.a.ended(), pair.b.ended()), (vec![], vec![(4, Status::Success)]));
            pair.a.domain.deregister(here.stag).unwrap();
            pair.b.domain.deregister(there.stag).unwrap();
        }
        assert!(pair.a.qp.is_quiet() && pair.b.qp.is_quiet());
    }
}

/// Both ends learn of a new segment size by being told.
// test: IW-FPD-05, IW-FPD-10
#[test]
fn fpdus_follow_the_segment_size() {
    let mut pair = Pair::new(3, 1448, &ConnectionConfig::default());
    let (here, there) = (pair.a.register(20_000, RW), pair.b.register(20_000, RW));
    for (emss, longest) in [(1448, 1442), (8948, 8942), (536, 530), (65_483, 20_014), (1448, 1442)] {
        pair.a.qp.set_emss(emss);
        pair.a.post(1, Operation::Write { remote: there.remote(0) }, &[here.sge(0, 20_000)]);
        let sent = pair.a.drain();
        let lens: Vec<usize> =
            parse(&sent).iter().map(|(header, payload)| header.size() + payload.len()).collect();
        assert_eq!(lens.iter().max(), Some(&longest));
        assert_eq!(lens.len(), 20_000_usize.div_ceil(longest - 14));
        pair.b.input_all(&sent);
    }
    assert_eq!(pair.b.qp.life(), Life::Open);
}

// test: IW-RDM-07, IW-INV-04
#[test]
fn solicited_and_invalidating_sends() {
    let mut pair = Pair::new(3, 1448, &ConnectionConfig::default());
    for solicited in [false, true] {
        let lent = pair.b.register(10, Access::REMOTE_WRITE | Access::REMOTE_INVALIDATE);
        for invalidate in [None, Some(lent.stag)] {
            pair.b.receive(1, &[]);
            pair.a.post(1, Operation::Send { invalidate, solicited }, &[]);
            pair.run();
            let [got] = pair.b.completions()[..] else { panic!() };
            assert_eq!(
                (got.invalidated, got.solicited, got.status),
                (invalidate, solicited, Status::Success)
            );
        }
        // The rights are gone, the slot is not.
        assert!(pair.b.domain.check(lent.stag, 0, 1, Access::empty(), pair.b.qp.id()).is_err());
        assert!(pair.b.domain.deregister(lent.stag).is_ok());
    }
}

// test: IW-QP-02, IW-QP-03, IW-RDM-10
#[test]
fn completions_keep_the_order_of_posts() {
    let config = ConnectionConfig { ord: 2, ird: 2, ..Default::default() };
    let mut pair = Pair::new(5, 1448, &config);
    let (here, there) = (pair.a.register(100_000, RW), pair.b.register(100_000, RW));
    pair.b.receive(0, &[]);
    // Five READs with two at a time, and things between them that are done at once.
    for id in 0..5 {
        pair.a.post(10 * id, Operation::Read { remote: there.remote(0) }, &[here.sge(id * 20_000, 20_000)]);
        let write = Operation::Write { remote: there.remote(0) };
        let unsignaled = SendRequest::new(10 * id + 1, write, Payload::Inline(b"x")).unsignaled();
        pair.a.qp.post_send(&unsignaled).unwrap();
        pair.a.post(10 * id + 2, write, &[]);
        assert!(pair.a.qp.reads_out.len() <= 2);
    }
    pair.a.post(99, Operation::SEND, &[]);
    pair.piece = 3000;
    let mut seen = 0;
    while pair.step() {
        assert!(pair.a.qp.reads_out.len() <= 2 && pair.b.qp.reads_in.len() <= 2);
        seen = seen.max(pair.a.qp.reads_out.len());
    }
    assert_eq!(seen, 2);
    let ids: Vec<u64> = pair.a.ended().iter().map(|&(id, _)| id).collect();
    assert_eq!(ids, [0, 2, 10, 12, 20, 22, 30, 32, 40, 42, 99]);
    assert_eq!(pair.b.ended(), [(0, Status::Success)]);
}

// test: IW-RDM-11
#[test]
fn a_fence_waits_for_reads() {
    let mut pair = Pair::new(5, 1448, &ConnectionConfig::default());
    let (here, there) = (pair.a.register(5000, RW), pair.b.register(5000, RW));
    pair.b.fill(&there, 1);
    let expected = pair.b.bytes(&there).to_vec();
    pair.a.post(1, Operation::Read { remote: there.remote(0) }, &[here.sge(0, 5000)]);
    // Overwrites what is being read.
    let request =
        SendRequest::new(2, Operation::Write { remote: there.remote(0) }, Payload::Inline(&[0xFF; 64]));
    pair.a.qp.post_send(&request.fenced()).unwrap();
    let first = parse(&pair.a.drain());
    assert_eq!(first.len(), 1, "the WRITE waits");
    pair.b.input_all(&fpdu(&first[0].0, &first[0].1));
    pair.run();
    assert_eq!(pair.a.bytes(&here), expected);
    assert_eq!(pair.b.bytes(&there)[..64], [0xFF; 64]);
    assert_eq!(pair.a.ended(), [(1, Status::Success), (2, Status::Success)]);
}

// test: IW-MEM-08, IW-INV-01
#[test]
fn windows_are_registered_and_invalidated_in_order() {
    let mut pair = Pair::new(5, 1448, &ConnectionConfig::default());
    let (here, there) = (pair.a.register(100, RW), pair.b.register(1000, RW));
    let window = pair.b.domain.allocate_window().unwrap();
    let old = window.with_key(window.key().wrapping_add(1));
    let new = window.with_key(window.key().wrapping_add(2));
    let show = |window, offset| Operation::FastRegister {
        window,
        parent: there.stag,
        offset,
        len: 10,
        access: Access::REMOTE_WRITE | Access::REMOTE_INVALIDATE,
        addressing: Addressing::At(1 << 40),
    };
    // The peer writes once something has come from it.
    pair.b.receive(0, &[]);
    pair.a.post(0, Operation::SEND, &[]);
    pair.run();
    pair.b.post(1, show(old, 100), &[]);
    pair.b.post(2, Operation::LocalInvalidate { stag: old }, &[]);
    pair.b.post(3, show(new, 500), &[]);
    pair.run();
    assert_eq!(
        pair.b.ended(),
        [(0, Status::Success), (1, Status::Success), (2, Status::Success), (3, Status::Success)]
    );
    pair.a.fill(&here, 9);
    let data = pair.a.bytes(&here)[..10].to_vec();
    let remote = Remote { stag: new, to: 1 << 40 };
    pair.a.post(4, Operation::Write { remote }, &[here.sge(0, 10)]);
    pair.run();
    assert_eq!(pair.b.bytes(&there)[500..510], data);
    assert!(pair.b.bytes(&there)[..500].iter().chain(&pair.b.bytes(&there)[510..]).all(|&byte| byte == 0));
    // The old key is no key any more.
    pair.a.post(5, Operation::Write { remote: Remote { stag: old, to: 1 << 40 } }, &[here.sge(0, 10)]);
    pair.run();
    assert!(matches!(pair.b.disconnected(), Disconnect::Terminated(t) if t.code == ErrorCode::new(1, 1, 0)));
}

// test: IW-DDP-07
#[test]
fn message_numbers_wrap() {
    let mut pair = Pair::new(1, 1448, &ConnectionConfig::default());
    (pair.a.qp.msn_out, pair.b.qp.msn_in) = ([u32::MAX; 2], [u32::MAX; 2]);
    let (here, there) = (pair.a.register(10, RW), pair.b.register(10, RW));
    for id in 0..3 {
        pair.b.receive(id, &[]);
        pair.a.post(id, Operation::SEND, &[]);
        pair.a.post(id, Operation::Read { remote: there.remote(0) }, &[here.sge(0, 10)]);
        pair.run();
        assert_eq!((pair.a.ended().len(), pair.b.ended().len()), (2, 1));
    }
    assert_eq!((pair.a.qp.msn_out, pair.b.qp.msn_in), ([2; 2], [2; 2]));
}

// test: IW-MRK-02, IW-MRK-07
#[test]
fn a_peer_that_wants_markers_gets_them() {
    let mut node = Node::new(7, &QpConfig::default());
    node.qp.set_emss(1448);
    let config = ConnectionConfig::default();
    let request = Frame { markers: true, ..mpa::request(&offer(&config), b"") };
    node.qp.accept(&config, &request, b"").unwrap();
    node.drain();
    let data = node.register(3000, RW);
    node.fill(&data, 1);
    node.input_all(&fpdu(&tagged(0, STag::new(1), 0, true), &[]));
    node.post(1, Operation::Write { remote: Remote::default() }, &[data.sge(0, 3000)]);
    let stream = node.drain();
    let (mut plain, mut markers) = (Vec::new(), 0);
    for (at, chunk) in stream.chunks(512).enumerate() {
        assert_eq!(chunk[..2], [0, 0], "marker {at}");
        markers += 1;
        plain.extend_from_slice(&chunk[4..]);
    }
    assert_eq!(markers, 7);
    // The CRC covers markers, so only the framing can be looked at here; the codec's tests look at the rest.
    let mut rest = &plain[..];
    let mut payload = Vec::new();
    while let [a, b, ..] = rest {
        let len = u16::from_be_bytes([*a, *b]);
        assert!(fpdu::total(len) + 12 <= 1448);
        payload.extend_from_slice(&rest[16..2 + usize::from(len)]);
        rest = &rest[fpdu::total(len)..];
    }
    assert_eq!(payload, node.bytes(&data));
    assert_eq!(node.ended(), [(1, Status::Success)]);
}

// test: IW-RDM-09, IW-RDM-12
#[test]
fn the_sink_of_a_read_must_be_writable_from_afar() {
    for (access, strict, works) in [
        (Access::LOCAL_WRITE, true, false),
        (Access::LOCAL_WRITE, false, true),
        (Access::REMOTE_WRITE, true, false),
        (Access::LOCAL_WRITE | Access::REMOTE_WRITE, true, true),
        (Access::REMOTE_READ, false, false),
    ] {
        let mut pair = Pair::new(1, 1448, &ConnectionConfig::default());
        pair.a.domain.strict_read_sink = strict;
        let (sink, source) = (pair.a.register(10, access), pair.b.register(10, RW));
        pair.a.post(1, Operation::Read { remote: source.remote(0) }, &[sink.sge(0, 10)]);
        pair.run();
        let expected = if works { Status::Success } else { Status::LocalProtection };
        assert_eq!(pair.a.ended(), [(1, expected)], "{access:?} {strict}");
    }
    // A READ of nothing needs no sink at all.
    let mut pair = Pair::new(1, 1448, &ConnectionConfig::default());
    pair.a.post(1, Operation::Read { remote: Remote::default() }, &[]);
    pair.run();
    assert_eq!(pair.a.ended(), [(1, Status::Success)]);
}

// test: IW-QP-01
#[test]
fn what_cannot_be_posted() {
    let qp = QpConfig { send_depth: 2, receive_depth: 1, max_sge: 2, max_inline: 4 };
    let config = ConnectionConfig { ord: 0, ..Default::default() };
    let mut node = Node::new(1, &qp);
    let send = |payload| SendRequest::new(1, Operation::SEND, payload);
    assert_eq!(node.qp.post_send(&send(Payload::EMPTY)), Err(PostError::NotConnected));
    let mut pair = Pair::with(1, 1448, &config, &config, &qp);
    let sges = [Sge::default(); 3];
    let huge = [Sge { len: u32::MAX, ..Sge::default() }, Sge { len: 1, ..Sge::default() }];
    let read = |payload| SendRequest::new(1, Operation::Read { remote: Remote::default() }, payload);
    assert_eq!(pair.a.qp.post_send(&send(Payload::Gather(&sges))), Err(PostError::TooManySges));
    assert_eq!(pair.a.qp.post_send(&send(Payload::Gather(&huge))), Err(PostError::TooLong));
    assert_eq!(pair.a.qp.post_send(&send(Payload::Inline(b"12345"))), Err(PostError::TooMuchInline));
    assert_eq!(pair.a.qp.post_send(&read(Payload::EMPTY)), Err(PostError::NoReadDepth));
    let receive = |scatter| ReceiveRequest { id: 1, scatter };
    assert_eq!(pair.a.qp.post_receive(&receive(&sges)), Err(PostError::TooManySges));
    assert_eq!(pair.a.qp.post_receive(&receive(&huge)), Err(PostError::TooLong));
    pair.a.receive(1, &[]);
    assert_eq!(pair.a.qp.post_receive(&receive(&[])), Err(PostError::Full));
    pair.a.post(1, Operation::SEND, &[]);
    pair.a.post(2, Operation::SEND, &[]);
    assert_eq!(pair.a.qp.post_send(&send(Payload::EMPTY)), Err(PostError::Full));
    pair.a.qp.disconnect();
    assert_eq!(pair.a.qp.post_send(&send(Payload::EMPTY)), Err(PostError::Closed));
    pair.a.drain();
    assert_eq!(pair.a.qp.post_receive(&receive(&[])), Err(PostError::Closed));
    let mut other = Pair::new(1, 1448, &ConnectionConfig::default());
    assert_eq!(other.a.qp.post_send(&read(Payload::Gather(&sges[..2]))), Err(PostError::TooManySges));
    assert_eq!(other.a.qp.post_send(&read(Payload::Inline(b""))), Err(PostError::TooMuchInline));
}

/// Local mistakes end the connection, as with verbs.
// test: IW-QP-05
#[test]
fn a_local_mistake_is_told_to_both_ends() {
    type Make = fn(&mut Node) -> (Operation, Vec<Sge>);
    let cases: [(Make, Status); 5] = [
        (|_| (Operation::SEND, vec![Sge { stag: STag::new(5), to: 0, len: 1 }]), Status::LocalProtection),
        (
            |node| {
                let region = node.register(10, Access::empty());
                (Operation::Write { remote: Remote::default() }, vec![region.sge(1, 10)])
            },
            Status::LocalProtection,
        ),
        (|_| (Operation::LocalInvalidate { stag: STag::new(3) }, vec![]), Status::LocalOperation),
        (
            |node| {
                let parent = node.register(10, Access::empty()).stag;
                let window = node.domain.allocate_window().unwrap();
                let addressing = Addressing::Zero;
                let access = Access::REMOTE_WRITE;
                (Operation::FastRegister { window, parent, offset: 0, len: 1, access, addressing }, vec![])
            },
            Status::LocalOperation,
        ),
        (
            |node| {
                let region = node.register(100_000, Access::empty());
                node.domain.invalidate(region.stag).unwrap();
                (Operation::SEND, vec![region.sge(0, 100_000)])
            },
            Status::LocalProtection,
        ),
    ];
    for (make, status) in cases {
        let mut pair = Pair::new(1, 1448, &ConnectionConfig::default());
        let (operation, list) = make(&mut pair.a);
        pair.a.receive(1, &[]);
        pair.a.post(2, Operation::Write { remote: Remote::default() }, &[]);
        pair.a.post(3, operation, &list);
        pair.a.post(4, Operation::SEND, &[]);
        pair.run();
        let ended = pair.a.ended();
        assert_eq!(ended[1..], [(3, status), (4, Status::Flushed), (1, Status::Flushed)], "{operation:?}");
        let code = ErrorCode::new(0, 0, 0);
        assert!(matches!(pair.a.disconnected(), Disconnect::Terminated(t) if t.code == code));
        assert!(matches!(pair.b.disconnected(), Disconnect::TerminatedByPeer(t) if t.code == code));
    }
}

/// Memory that goes away while it is being sent is not touched any more.
// test: IW-MEM-07
#[test]
fn memory_that_is_gone_is_not_sent() {
    let mut pair = Pair::new(1, 1448, &ConnectionConfig::default());
    let region = pair.a.register(200_000, Access::empty());
    pair.a.post(1, Operation::Write { remote: Remote::default() }, &[region.sge(0, 200_000)]);
    // Part of an FPDU leaves.
    assert_eq!(pair.a.output(5000).len(), 5000);
    pair.a.domain.deregister(region.stag).unwrap();
    assert_eq!(pair.a.output(usize::MAX >> 1), [0; 0]);
    // The rest of the FPDU cannot be had, so the stream cannot go on.
    assert_eq!(pair.a.qp.life(), Life::Over);
    assert_eq!(pair.a.ended(), [(1, Status::Flushed)]);
}
