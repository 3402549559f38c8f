//! Random operations of both ends against a model of two memories.

use proptest::prelude::*;

use super::*;

const SIZE: usize = 60_000;

#[derive(Clone, Debug)]
enum Op {
    Send {
        from: usize,
        len: usize,
    },
    Write {
        from: usize,
        to: usize,
        len: usize,
    },
    Read {
        from: usize,
        to: usize,
        len: usize,
    },
    Inline {
        to: usize,
        bytes: Vec<u8>,
    },
    /// Let some bytes move.
    Steps(u8),
}

fn op() -> impl Strategy<Value = (bool, Op)> {
    let place = || 0..SIZE;
    let len = || prop_oneof![0..40_usize, 400..600_usize, 0..SIZE];
    let op = prop_oneof![
        2 => (place(), len()).prop_map(|(from, len)| Op::Send { from, len }),
        2 => (place(), place(), len()).prop_map(|(from, to, len)| Op::Write { from, to, len }),
        2 => (place(), place(), len()).prop_map(|(from, to, len)| Op::Read { from, to, len }),
        1 => (place(), proptest::collection::vec(any::<u8>(), 0..64)).prop_map(|(to, bytes)| Op::Inline { to, bytes }),
        2 => any::<u8>().prop_map(Op::Steps),
    ];
    (any::<bool>(), op)
}

/// One side: what it sends from never changes, what the peer may write is compared in the end, messages are compared each.
struct Side {
    source: Region,
    sink: Region,
    /// Where its READs go.
    fetched: Region,
    inbox: Region,
    /// What `sink` of the peer and `fetched` here should become.
    model_sink: Vec<u8>,
    model_fetched: Vec<u8>,
    posted: u64,
    sent: Vec<Vec<u8>>,
    expected: Vec<u64>,
}

fn side(node: &mut Node, seed: u8) -> Side {
    let source = node.register(SIZE, Access::REMOTE_READ);
    node.fill(&source, seed);
    let inbox = node.register(SIZE * 8, Access::LOCAL_WRITE);
    for id in 0..8 {
        node.receive(1000 + id, &[inbox.sge(id * SIZE as u64, SIZE as u32)]);
    }
    Side {
        source,
        sink: node.register(SIZE, Access::REMOTE_WRITE),
        fetched: node.register(SIZE, Access::LOCAL_WRITE | Access::REMOTE_WRITE),
        inbox,
        model_sink: vec![0; SIZE],
        model_fetched: vec![0; SIZE],
        posted: 0,
        sent: Vec::new(),
        expected: Vec::new(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    // test: IW-DDP-05, IW-DDP-06, IW-RDM-04, IW-RDM-14, IW-RDM-18, IW-QP-02
    #[test]
    fn memories_become_what_was_asked(
        ops in proptest::collection::vec(op(), 1..40), seed in any::<u64>(), piece in 1..4000_usize,
        emss in prop_oneof![Just(140_u32), Just(536), Just(1448), Just(8948), Just(65_483)], crc in any::<bool>(), depth in 1..5_u16,
    ) {
        let crc = if crc { mpa::CrcPolicy::Required } else { mpa::CrcPolicy::WhenAsked };
        let config = ConnectionConfig { crc, ird: depth, ord: depth, ..Default::default() };
        let mut pair = Pair::new(seed, emss, &config);
        pair.piece = piece;
        let mut sides = [side(&mut pair.a, 1), side(&mut pair.b, 2)];
        for (second, op) in ops {
            let (mine, theirs) = if second {
                let [theirs, mine] = &mut sides;
                (mine, theirs)
            } else {
                let [mine, theirs] = &mut sides;
                (mine, theirs)
            };
            let node = if second { &mut pair.b } else { &mut pair.a };
            let id = mine.posted;
            match op {
                Op::Send { from, len } => {
                    // As many as there are receives.
                    if mine.sent.len() == 8 { continue; }
                    let len = len.min(SIZE - from);
                    mine.sent.push(node.bytes(&mine.source)[from..from + len].to_vec());
                    node.post(id, Operation::SEND, &[mine.source.sge(from as u64, len as u32)]);
                }
                Op::Write { from, to, len } => {
                    let len = len.min(SIZE - from).min(SIZE - to);
                    let data = node.bytes(&mine.source)[from..from + len].to_vec();
                    theirs.model_sink[to..to + len].copy_from_slice(&data);
                    let remote = theirs.sink.remote(to as u64);
                    let half = (len / 2) as u32;
                    let list = [mine.source.sge(from as u64, half),
                        mine.source.sge(from as u64 + u64::from(half), len as u32 - half)];
                    node.post(id, Operation::Write { remote }, &list);
                }
                Op::Inline { to, bytes } => {
                    let len = bytes.len().min(SIZE - to);
                    theirs.model_sink[to..to + len].copy_from_slice(&bytes[..len]);
                    let remote = theirs.sink.remote(to as u64);
                    let request = SendRequest::new(id, Operation::Write { remote }, Payload::Inline(&bytes[..len]));
                    node.qp.post_send(&request).unwrap();
                }
                Op::Read { from, to, len } => {
                    let len = len.min(SIZE - from).min(SIZE - to);
                    let data = if second { pair.a.bytes(&theirs.source) } else { pair.b.bytes(&theirs.source) };
                    let data = data[from..from + len].to_vec();
                    mine.model_fetched[to..to + len].copy_from_slice(&data);
                    let remote = theirs.source.remote(from as u64);
                    let list = [mine.fetched.sge(to as u64, len as u32)];
                    let node = if second { &mut pair.b } else { &mut pair.a };
                    node.post(id, Operation::Read { remote }, &list);
                }
                Op::Steps(steps) => {
                    for _ in 0..steps {
                        pair.step();
                    }
                    continue;
                }
            }
            mine.expected.push(id);
            mine.posted += 1;
        }
        // The responder speaks only when it has heard something.
        pair.a.post(u64::MAX, Operation::Write { remote: Remote::default() }, &[]);
        sides[0].expected.push(u64::MAX);
        pair.run();
        let [a, b] = &sides;
        for (node, mine, theirs) in [(&mut pair.a, a, b), (&mut pair.b, b, a)] {
            prop_assert_eq!(node.qp.life(), Life::Open);
            prop_assert!(node.qp.is_quiet());
            prop_assert!(node.bytes(&mine.sink) == mine.model_sink, "sink");
            prop_assert!(node.bytes(&mine.fetched) == mine.model_fetched, "fetched");
            let (received, sent): (Vec<_>, Vec<_>) =
                node.completions().into_iter().partition(|c| c.what == Completed::Receive);
            let ids: Vec<u64> = sent.iter().map(|c| c.id).collect();
            prop_assert_eq!(&ids, &mine.expected);
            prop_assert!(sent.iter().chain(&received).all(|c| c.status == Status::Success));
            prop_assert_eq!(received.len(), theirs.sent.len());
            for (i, (completion, message)) in received.iter().zip(&theirs.sent).enumerate() {
                prop_assert_eq!((completion.id, completion.len as usize), (1000 + i as u64, message.len()));
                let bytes = &node.bytes(&mine.inbox)[i * SIZE..(i + 1) * SIZE];
                prop_assert!(bytes[..message.len()] == message[..], "message {i}");
                prop_assert!(bytes[message.len()..].iter().all(|&byte| byte == 0), "behind message {i}");
            }
        }
    }
}
