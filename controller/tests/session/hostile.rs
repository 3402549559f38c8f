//! Arbitrary commands on queues in any state: nothing panics, every request is answered once, nothing is left behind.

use std::time::Duration;

use nvmf_transport::RequestData;
use nvmf_wire::{
    Sqe, Status,
    zerocopy::{FromBytes, IntoBytes},
};
use proptest::prelude::*;

use crate::rig::*;

#[derive(Clone, Debug)]
enum Data {
    None,
    InCapsule(usize),
    /// The host serves as much as is asked for, or fails it.
    Remote(u32, bool),
    Bad,
}

#[derive(Clone, Debug)]
struct Step {
    queue: usize,
    sqe: [u8; 64],
    data: Data,
    hang_up: bool,
}

fn number() -> impl Strategy<Value = u32> {
    prop_oneof![4 => 0u32..4, 2 => 0u32..70_000, 1 => Just(u32::MAX), 1 => any::<u32>()]
}

fn sqe() -> impl Strategy<Value = [u8; 64]> {
    let opcode = prop_oneof![6 => 0u8..0x20, 3 => Just(0x7f), 1 => any::<u8>()];
    let flags = prop_oneof![8 => Just(0x40), 1 => any::<u8>()];
    let words = proptest::array::uniform6(number());
    (opcode, flags, 0u16..64, number(), words, any::<[u8; 64]>(), 0..20u8).prop_map(
        |(opcode, flags, cid, nsid, words, noise, wild)| {
            let mut bytes = if wild == 0 { noise } else { [0; 64] };
            (bytes[0], bytes[1]) = (opcode, flags);
            bytes[2..4].copy_from_slice(&cid.to_le_bytes());
            bytes[4..8].copy_from_slice(&nsid.to_le_bytes());
            for (to, word) in bytes[40..64].chunks_exact_mut(4).zip(words) {
                to.copy_from_slice(&word.to_le_bytes());
            }
            bytes
        },
    )
}

fn step() -> impl Strategy<Value = Step> {
    let length = prop_oneof![
        Just(512u32),
        Just(1024),
        Just(4096),
        Just(16),
        Just(64),
        (0u32..400).prop_map(|blocks| blocks * 512),
        any::<u32>()
    ];
    let data = prop_oneof![
        2 => Just(Data::None),
        2 => (0usize..17).prop_map(|k| Data::InCapsule(k * 512)),
        5 => (length, any::<bool>()).prop_map(|(len, good)| Data::Remote(len, good)),
        1 => Just(Data::Bad),
    ];
    (0usize..5, sqe(), data, 0..60u8).prop_map(|(queue, sqe, data, hang_up)| Step {
        queue,
        sqe,
        data,
        hang_up: hang_up == 0,
    })
}

/// Serves all fetches that wait, from nothing.
fn serve(rig: &mut Rig, queues: &[Q], good: bool) {
    for _ in 0..10_000 {
        let Some((request, offset, mut data)) = rig.engine().fetches.pop() else { return };
        let queue = *queues.iter().find(|queue| queue.id == request.queue).unwrap();
        data.fill(0);
        let outcome = if good { Ok(()) } else { Err(Status::TRANSIENT_TRANSPORT_ERROR) };
        rig.serve_fetch(queue, request, offset, data, outcome);
    }
    panic!("fetches without end");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn anything(steps in proptest::collection::vec(step(), 1..120)) {
        let mut rig = Rig::new();
        let (admin, cntlid) = rig.controller();
        let mut queues = vec![admin, rig.io(0, cntlid, 1), rig.io(0, cntlid, 2), rig.discovery(0), rig.accept(0)];
        let mut requests = Vec::new();
        for Step { queue, sqe, data, hang_up } in steps {
            let queue = queues[queue];
            if !rig.is_open(queue) {
                continue;
            }
            if hang_up {
                rig.hang_up(queue);
                continue;
            }
            let sqe = Sqe::read_from_bytes(&sqe).unwrap();
            let good = !matches!(data, Data::Remote(_, false));
            let data = match data {
                Data::None => Ok(RequestData::None),
                Data::InCapsule(len) => Ok(RequestData::InCapsule(buffer(&vec![0; len]))),
                Data::Remote(len, _) => Ok(RequestData::Remote { len }),
                Data::Bad => Err(Status::DATA_TRANSFER_ERROR),
            };
            requests.push((queue, rig.deliver(queue, sqe, data)));
            rig.settle();
            if good || requests.len() % 7 == 0 {
                serve(&mut rig, &queues, good);
            }
        }
        serve(&mut rig, &queues, true);
        rig.pass(Duration::from_millis(50));
        serve(&mut rig, &queues, true);
        // Whatever is open and not answered is an Asynchronous Event Request, of which a controller holds four.
        let mut held = 0;
        for (queue, request) in requests {
            let answers = rig.engine().answers.iter().filter(|answer| answer.request == request).count();
            prop_assert!(answers <= 1);
            if rig.is_open(queue) && answers == 0 {
                held += 1;
            }
        }
        prop_assert!(held <= 8, "{held} requests without an answer");
        // The end of all connections leaves nothing.
        queues.drain(..).filter(|&queue| rig.is_open(queue)).collect::<Vec<_>>().into_iter().for_each(|queue| {
            if rig.is_open(queue) {
                rig.hang_up(queue);
            }
        });
        let statistics = rig.server.statistics();
        prop_assert_eq!((statistics.queues, statistics.associations, statistics.memory), (0, 0, 0));
        prop_assert_eq!(rig.lanes[0].session.queues(), 0);
    }

    #[test]
    fn any_connect(command in any::<[u8; 24]>(), mut data in proptest::collection::vec(any::<u8>(), 1024), known in any::<bool>()) {
        let mut rig = Rig::new();
        rig.controller();
        if known {
            // The names are right, the rest is not.
            data[256..768].copy_from_slice(&connect_data().as_bytes()[256..768]);
        }
        let queue = rig.accept(0);
        let mut sqe = admin_connect(0).to_sqe();
        sqe.as_mut_bytes()[40..64].copy_from_slice(&command);
        let answer = rig.write(queue, sqe, &data);
        prop_assert!(!answer.cqe.status().is_success());
    }
}
