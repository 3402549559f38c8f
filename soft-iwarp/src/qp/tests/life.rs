//! How connections begin and end.

use std::io;

use super::*;
use crate::{
    event::ConnectError,
    mpa::{Revision, RtrKinds},
};

fn reply(node: &Node, change: impl FnOnce(&mut Frame<'_>)) -> Vec<u8> {
    let (mut frame, _) =
        mpa::answer(&offer(&ConnectionConfig::default()), &mpa::request(&node.qp.offer, b""), b"private");
    change(&mut frame);
    let mut bytes = Vec::new();
    frame.encode(&mut bytes).unwrap();
    bytes
}

fn asking(config: &ConnectionConfig) -> Node {
    let mut node = Node::new(1, &QpConfig::default());
    node.qp.connect(config, b"please").unwrap();
    node.receive(1, &[]);
    node.drain();
    node
}

// test: IW-MPA-01, IW-MPA-06
#[test]
fn private_data_reaches_both_ends() {
    for revision in [Revision::One, Revision::Two] {
        let config = ConnectionConfig { revision, ..Default::default() };
        let (mut a, mut b) = (Node::new(1, &QpConfig::default()), Node::new(2, &QpConfig::default()));
        a.qp.connect(&config, b"question").unwrap();
        let request = a.drain();
        let (frame, _) = Frame::parse(&request, FrameKind::Request).unwrap().unwrap();
        assert_eq!((frame.private_data, frame.revision), (&b"question"[..], revision));
        b.qp.accept(&ConnectionConfig::default(), &frame, b"answer").unwrap();
        for byte in b.drain() {
            assert!(a.events.is_empty());
            a.input_all(&[byte]);
        }
        a.qp.pump(&mut a.domain, &mut a.events);
        let Some(Event::Established { info, .. }) = a.events.first() else { panic!() };
        assert_eq!(info.private_data, b"answer");
        assert!(info.crc && !info.markers);
    }
}

// test: IW-MPA-09
#[test]
fn the_responder_waits_for_the_first_fpdu() {
    let mut node = responder(&ConnectionConfig::default());
    node.post(1, Operation::SEND, &[]);
    assert_eq!(node.drain(), [0; 0]);
    // A broken one does not count.
    node.input_all(&fpdu(&tagged(0, STag::new(0), 0, true), &[])[..10]);
    assert_eq!(node.drain(), [0; 0]);
    node.input_all(&fpdu(&tagged(0, STag::new(0), 0, true), &[])[10..]);
    assert_eq!(parse(&node.drain()).len(), 1);
    assert_eq!(node.ended(), [(1, Status::Success)]);
}

/// FPDUs may come right behind the reply.
// test: IW-MPA-10
#[test]
fn the_initiator_takes_what_is_glued_to_the_reply() {
    for piece in [1, 5, 1000] {
        let mut node = asking(&ConnectionConfig::default());
        let mut bytes = reply(&node, |_| {});
        bytes.extend(fpdu(&untagged(3, 0, 1, 0, true), &[]));
        bytes.chunks(piece).for_each(|chunk| node.input_all(chunk));
        node.qp.pump(&mut node.domain, &mut node.events);
        assert!(node.is_established());
        assert_eq!(node.ended(), [(1, Status::Success)]);
    }
}

// test: IW-MPA-08, IW-QP-04
#[test]
fn a_rejection_hands_over_its_reason() {
    let mut node = asking(&ConnectionConfig::default());
    let bytes = reply(&node, |frame| frame.rejected = true);
    node.input_all(&bytes);
    assert!(
        matches!(node.events.last(), Some(Event::Rejected { private_data, .. }) if **private_data == *b"private")
    );
    assert_eq!(node.ended(), [(1, Status::Flushed)]);
    assert_eq!((node.qp.life(), node.drain()), (Life::Draining, vec![]));
}

// test: IW-MPA-02, IW-MPA-03, IW-MPA-04
#[test]
fn replies_that_are_none() {
    let request = {
        let mut node = Node::new(1, &QpConfig::default());
        node.qp.connect(&ConnectionConfig::default(), b"").unwrap();
        node.drain()
    };
    type Check = fn(&MpaError) -> bool;
    let cases: [(Vec<u8>, Check); 4] = [
        (b"HTTP/1.1 400 Bad Request".to_vec(), |e| *e == MpaError::Key),
        (request, |e| *e == MpaError::Kind),
        (b"MPA ID Rep Frame\x50\x03\x00\x00".to_vec(), |e| *e == MpaError::Revision(3)),
        (b"MPA ID Rep Frame\x50\x02\x02\x01".to_vec(), |e| *e == MpaError::PrivateData(513)),
    ];
    for (bytes, check) in cases {
        let mut node = asking(&ConnectionConfig::default());
        node.input_all(&bytes);
        let Some(Event::ConnectFailed { error, .. }) = node.events.last() else { panic!() };
        assert!(matches!(&**error, ConnectError::Mpa(e) if check(e)), "{error:?}");
        assert_eq!(node.ended(), [(1, Status::Flushed)]);
        assert_eq!(node.drain(), [0; 0]);
    }
}

/// What the reply asks for cannot be given, and there is a code for that.
// test: IW-ENH-08, IW-ENH-10, IW-TRM-07
#[test]
fn disagreement_is_told_in_a_terminate() {
    let config = ConnectionConfig { rtr: RtrKinds::READ, ..Default::default() };
    for (ord, kinds, code) in [(33, RtrKinds::READ, 6), (32, RtrKinds::WRITE, 7)] {
        let mut node = asking(&config);
        let bytes = reply(&node, |frame| {
            let enhanced = frame.enhanced.as_mut().unwrap();
            (enhanced.ord, enhanced.peer_to_peer) = (Some(ord), Some(kinds));
        });
        node.input_all(&bytes);
        assert_eq!(terminate(&mut node).code, ErrorCode::new(2, 0, code));
        assert!(matches!(node.events.last(), Some(Event::ConnectFailed { .. })));
    }
}

// test: IW-ENH-11, IW-ENH-12
#[test]
fn each_kind_of_first_message() {
    for kinds in [RtrKinds::READ, RtrKinds::WRITE, RtrKinds::SEND] {
        let config = ConnectionConfig { rtr: kinds, ord: 0, ..Default::default() };
        let mut pair = Pair::new(1, 1448, &config);
        assert_eq!(pair.a.qp.agreed().unwrap().rtr, kinds.first());
        // Nobody above notices it: the first receive takes the first Send that was posted, and numbers go on.
        pair.b.receive(1, &[]);
        pair.a.post(2, Operation::SEND, &[]);
        pair.a.receive(3, &[]);
        pair.b.post(4, Operation::SEND, &[]);
        pair.run();
        assert_eq!(pair.a.ended(), [(2, Status::Success), (3, Status::Success)]);
        assert_eq!(pair.b.ended(), [(1, Status::Success), (4, Status::Success)]);
    }
}

/// The responder is not established, and says nothing, until the first message is there, and it is the one that was agreed.
// test: IW-ENH-12
#[test]
fn another_first_message() {
    let messages = [
        fpdu(&untagged(1, 1, 1, 0, true), &[0; 28]),
        fpdu(&tagged(0, STag::new(1), 1, true), &[]),
        fpdu(&untagged(3, 0, 1, 0, true), &[]),
        fpdu(&untagged(3, 0, 1, 0, true), b"x"),
        fpdu(&tagged(0, STag::new(1), 1, true), b"x"),
        fpdu(&tagged(2, STag::new(1), 1, true), &[]),
    ];
    for (fits, kinds) in [RtrKinds::READ, RtrKinds::WRITE, RtrKinds::SEND].into_iter().enumerate() {
        for (which, message) in messages.iter().enumerate() {
            let mut node = responder(&ConnectionConfig { rtr: kinds, ..Default::default() });
            node.receive(1, &[]);
            node.input_all(message);
            node.qp.pump(&mut node.domain, &mut node.events);
            assert_eq!(node.is_established(), which == fits, "{kinds:?} {which}");
            if which != fits {
                assert_eq!(terminate(&mut node).code, ErrorCode::new(2, 0, 7));
                assert!(matches!(node.events.last(), Some(Event::ConnectFailed { .. })));
            } else {
                assert_eq!(node.ended(), []);
            }
        }
    }
}

// test: IW-END-01, IW-END-02, IW-QP-04
#[test]
fn the_end_of_the_stream() {
    let message = fpdu(&untagged(3, 0, 1, 0, false), &[1; 20]);
    for cut in 0..=message.len() {
        let mut node = responder(&ConnectionConfig::default());
        let memory = node.register(100, Access::LOCAL_WRITE);
        node.receive(1, &[memory.sge(0, 100)]);
        node.input_all(&message[..cut]);
        node.qp.pump(&mut node.domain, &mut node.events);
        node.qp.peer_closed(&node.domain, &mut node.events);
        match node.disconnected() {
            Disconnect::Peer => assert_eq!(cut, 0),
            Disconnect::Lost(error) => assert!(cut > 0 && error.kind() == io::ErrorKind::UnexpectedEof),
            other => panic!("{other:?}"),
        }
        assert_eq!(node.ended(), [(1, Status::Flushed)]);
        assert_eq!(node.qp.life(), Life::Over);
    }
    // Before the reply is whole.
    let mut node = asking(&ConnectionConfig::default());
    node.qp.peer_closed(&node.domain, &mut node.events);
    assert!(
        matches!(node.events.last(), Some(Event::ConnectFailed { error, .. }) if matches!(**error, ConnectError::Closed))
    );
}

// test: IW-END-03
#[test]
fn a_lost_stream() {
    let mut node = responder(&ConnectionConfig::default());
    node.receive(1, &[]);
    node.qp.failed(io::ErrorKind::ConnectionReset.into(), &node.domain, &mut node.events);
    assert!(matches!(node.disconnected(), Disconnect::Lost(_)));
    assert_eq!((node.ended(), node.qp.life()), (vec![(1, Status::Flushed)], Life::Over));
    // Once is enough.
    let known = node.events.len();
    node.qp.failed(io::ErrorKind::ConnectionReset.into(), &node.domain, &mut node.events);
    node.qp.peer_closed(&node.domain, &mut node.events);
    assert_eq!(node.events.len(), known);
}

/// Whoever disconnects finishes the FPDU that it has begun, so that the peer sees the end between two.
// test: IW-END-05, IW-TRM-09
#[test]
fn an_fpdu_is_finished() {
    for cut in [0, 1, 1447, 1448, 1449, 5000, 100_000] {
        let mut pair = Pair::new(1, 1448, &ConnectionConfig::default());
        let memory = pair.a.register(50_000, Access::empty());
        let sink = pair.b.register(50_000, Access::REMOTE_WRITE);
        pair.a.post(1, Operation::Write { remote: sink.remote(0) }, &[memory.sge(0, 50_000)]);
        let mut sent = pair.a.output(cut);
        let done = sent.len() > 50_000;
        pair.a.qp.disconnect();
        pair.a.qp.pump(&mut pair.a.domain, &mut pair.a.events);
        let expected = if done { Status::Success } else { Status::Flushed };
        assert_eq!(pair.a.ended(), [(1, expected)]);
        // The memory can go at once.
        pair.a.domain.deregister(memory.stag).unwrap();
        sent.extend(pair.a.drain());
        let whole = parse(&sent);
        assert_eq!(whole.len(), cut.min(sent.len()).div_ceil(1448));
        assert!(matches!(pair.a.disconnected(), Disconnect::Local));
    }
}

// test: IW-MPA-13
#[test]
fn a_nudge_has_no_effect_but_to_arrive() {
    let mut pair = Pair::new(1, 1448, &ConnectionConfig::default());
    assert!(!pair.a.qp.is_unheard(), "nothing was sent yet");
    pair.b.receive(1, &[]);
    pair.a.post(1, Operation::SEND, &[]);
    let first = pair.a.drain();
    assert!(pair.a.qp.is_unheard());
    pair.a.qp.nudge(&pair.a.domain);
    let nudge = pair.a.drain();
    assert_eq!(parse(&nudge), [(tagged(0, STag::new(1), 1, true), vec![])]);
    pair.b.input_all(&[first, nudge].concat());
    assert_eq!(pair.b.ended(), [(1, Status::Success)]);
    pair.a.receive(2, &[]);
    pair.b.post(2, Operation::SEND, &[]);
    pair.run();
    assert!(!pair.a.qp.is_unheard() && !pair.b.qp.is_unheard());
    pair.a.qp.nudge(&pair.a.domain);
    assert_eq!(pair.a.drain(), [0; 0]);
}

#[test]
fn a_destroyed_queue_pair_says_nothing() {
    let mut pair = Pair::new(1, 1448, &ConnectionConfig::default());
    pair.a.receive(1, &[]);
    pair.a.qp.abandon(&pair.a.domain);
    assert_eq!((pair.a.events.len(), pair.a.qp.life()), (0, Life::Draining));
    let mut unused = Node::new(1, &QpConfig::default());
    unused.qp.abandon(&unused.domain);
    assert_eq!(unused.qp.life(), Life::Over);
}
