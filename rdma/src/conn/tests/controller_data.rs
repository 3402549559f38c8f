//! The controller's end: READs, WRITEs and answers.

use nvmf_transport::{ControllerEvent, Gather, Misuse, RequestData, RequestId};
use nvmf_wire::{Cid, IoOpcode, SglDescriptor, Status};

use super::*;
use crate::verbs::{Ending, Remote, SendOp};

/// Descriptors of the host: one for each length, at 1 MiB, 2 MiB, …, with keys 1, 2, …
fn descriptors(lens: &[u32], invalidate: bool) -> Vec<SglDescriptor> {
    let one = |(at, &len): (usize, &u32)| {
        SglDescriptor::keyed((at as u64 + 1) << 20, len, at as u32 + 1, invalidate).expect("24 bits")
    };
    lens.iter().enumerate().map(one).collect()
}

struct Under {
    controller: ControllerConn,
    keys: Fake,
    receives: Vec<RecvRequest>,
    events: Vec<ControllerEvent>,
}

impl Under {
    fn test(device: &Device) -> Self {
        let (controller, keys, receives) = up_controller(controller_setup(), 1, 8, device);
        Self { controller, keys, receives, events: Vec::new() }
    }

    /// A command with its data in these descriptors.
    fn command(&mut self, opcode: IoOpcode, lens: &[u32], invalidate: bool) -> RequestId {
        let list = descriptors(lens, invalidate);
        let mut bytes = Vec::new();
        let sgl = match list[..] {
            [one] => one,
            _ => {
                bytes = list.iter().flat_map(|one| one.as_bytes().to_vec()).collect();
                SglDescriptor::segment_in_capsule(0, bytes.len() as u32, true)
            }
        };
        let sqe = Sqe::io(opcode, 1).with_cid(Cid(0x77)).with_sgl(sgl);
        let receive = self.receives.pop().expect("a receive");
        let message = [sqe.as_bytes(), &bytes].concat();
        self.controller.completed(&arrive(&receive, &message), &mut self.keys, &mut self.events);
        match self.events.pop() {
            Some(ControllerEvent::Command { request, data: Ok(RequestData::Remote { len }), .. }) => {
                assert_eq!(len, lens.iter().sum::<u32>());
                request
            }
            other => panic!("{other:?}"),
        }
    }

    fn sends(&mut self) -> Vec<SendRequest> {
        controller_output(&mut self.controller).1
    }

    fn complete(&mut self, request: &SendRequest) {
        self.controller.completed(&sent(request), &mut self.keys, &mut self.events);
    }
}

// test: RDMA-DAT-01, RDMA-DAT-02, RDMA-IW-02
#[test]
fn reads_stay_within_depth_descriptors_and_one_sink() {
    let mut under = Under::test(&device());
    let request = under.command(IoOpcode::WRITE, &[1000, 24, 4096], false);
    let fetch = |under: &mut Under, offset, len| {
        under.controller.fetch(request, offset, buffer(len, 0), &mut under.keys).expect("a fetch");
    };
    fetch(&mut under, 0, 512);
    fetch(&mut under, 512, 1024);
    fetch(&mut under, 1536, 3584);
    let mut seen = Vec::new();
    let mut outstanding = under.sends();
    while !outstanding.is_empty() {
        assert!(outstanding.len() <= 2, "the agreed depth is 2: {outstanding:?}");
        let read = outstanding.remove(0);
        assert_eq!(read.sges.len(), 1, "one sink");
        match read.op {
            SendOp::Read(Remote { address, key }) => seen.push((key, address & 0xf_ffff, read.len())),
            other => panic!("{other:?}"),
        }
        under.complete(&read);
        outstanding.extend(under.sends());
    }
    assert_eq!(seen, [(1, 0, 512), (1, 512, 488), (2, 0, 24), (3, 0, 512), (3, 512, 3584)]);
    let ended: Vec<u32> = under
        .events
        .iter()
        .map(|event| match event {
            ControllerEvent::Fetched { offset, outcome: Ok(()), .. } => *offset,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(ended, [0, 512, 1536]);
}

// test: RDMA-DAT-03, RDMA-DAT-04
#[test]
fn an_answer_is_writes_and_then_one_send() {
    let mut under = Under::test(&device());
    let request = under.command(IoOpcode::READ, &[1000, 3096], false);
    let whole = buffer(4096, 5).freeze();
    // More pieces than a WRITE has elements, and a boundary of the host's within one of them.
    let gather: Gather =
        [0..500, 500..600, 600..1100, 1100..4096].map(|range| whole.slice(range)).into_iter().collect();
    under
        .controller
        .respond(request, Cqe::default().with_dw0(9), gather, &mut under.keys)
        .expect("an answer");
    let sends = under.sends();
    let (answer, writes) = sends.split_last().expect("something");
    let mut at = Vec::new();
    for write in writes {
        assert!(write.sges.len() <= 2 && !write.signaled);
        match write.op {
            SendOp::Write(Remote { address, key }) => at.push((key, address & 0xf_ffff, write.len())),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(at, [(1, 0, 600), (1, 600, 400), (2, 0, 3096)]);
    let bytes = gathered(&answer.sges);
    assert!(answer.signaled && answer.op == SendOp::Send);
    let cqe = Cqe::read_from_bytes(&bytes).expect("16 bytes");
    assert_eq!((cqe.cid(), cqe.dw0()), (Cid(0x77), 9));
}

// test: RDMA-DAT-05
#[test]
fn data_is_held_until_its_send_has_completed() {
    let mut under = Under::test(&device());
    let request = under.command(IoOpcode::READ, &[4096], false);
    let view = buffer(4096, 5).freeze();
    under
        .controller
        .respond(request, Cqe::default(), view.clone().into(), &mut under.keys)
        .expect("an answer");
    let sends = under.sends();
    let view = view.try_into_buffer().expect_err("held");
    // A silent WRITE that is reported all the same says nothing yet.
    under.complete(&sends[0]);
    let view = view.try_into_buffer().expect_err("held");
    under.complete(&sends[1]);
    assert!(view.try_into_buffer().is_ok());
}

// test: RDMA-KEY-06, RDMA-KEY-07, RDMA-SGL-05
#[test]
fn keys_are_invalidated_where_asked_for_and_possible() {
    for (asked, can, op) in [
        (true, true, SendOp::SendInvalidate { key: 1 }),
        (true, false, SendOp::Send),
        (false, true, SendOp::Send),
    ] {
        let mut under = Under::test(&Device { send_invalidate: can, ..device() });
        let request = under.command(IoOpcode::READ, &[512, 512], asked);
        let error = Cqe::error(Cid(0), Status::UNRECOVERED_READ_ERROR);
        under.controller.respond(request, error, Gather::new(), &mut under.keys).expect("an answer");
        assert_eq!(under.sends()[0].op, op);
    }
}

#[test]
fn silence_never_fills_the_send_queue() {
    let device = Device { max_qp_wr: 8, max_send_sge: 1, ..device() };
    let mut under = Under::test(&device);
    let request = under.command(IoOpcode::READ, &[4096], false);
    let whole = buffer(4096, 5).freeze();
    let gather: Gather = (0..64).map(|n| whole.slice(n * 64..n * 64 + 64)).collect();
    under.controller.respond(request, Cqe::default(), gather, &mut under.keys).expect("an answer");
    let (mut all, mut posted) = (0, under.sends());
    while !posted.is_empty() {
        assert!(posted.len() <= 8, "more than the queue has entries");
        let speaks = posted
            .iter()
            .rposition(|request| request.signaled)
            .expect("somebody who says that there is room");
        let done: Vec<_> = posted.drain(..=speaks).collect();
        all += done.len();
        under.complete(&done[speaks]);
        posted.extend(under.sends());
    }
    assert_eq!(all, 65);
}

#[test]
fn what_does_not_fit_is_refused_and_given_back() {
    let mut under = Under::test(&device());
    let request = under.command(IoOpcode::READ, &[512], false);
    let refused = under
        .controller
        .respond(request, Cqe::default(), buffer(513, 0).into(), &mut under.keys)
        .expect_err("too much");
    assert_eq!((refused.why, refused.given_back.len()), (Misuse::DataLength, 513));
    let refused = under.controller.fetch(request, 0, buffer(512, 0), &mut under.keys).expect_err("a read");
    assert_eq!(refused.why, Misuse::DataLength);
    assert!(under.sends().is_empty());
}

// test: RDMA-ERR-02, RDMA-ERR-05, RDMA-KEY-04
#[test]
fn a_refused_read_ends_the_queue_and_gives_fetches_back() {
    let mut under = Under::test(&device());
    let request = under.command(IoOpcode::WRITE, &[8192], false);
    for offset in [0, 4096] {
        under.controller.fetch(request, offset, buffer(4096, 0), &mut under.keys).expect("a fetch");
    }
    let sends = under.sends();
    let refused = done(sends[0].id, Operation::Send, WcStatus::RemoteAccess, 0);
    under.controller.completed(&refused, &mut under.keys, &mut under.events);
    assert_eq!(under.controller.life(), Life::Closing);
    assert!(under.events.is_empty(), "nothing comes back before the connection is destroyed");
    under.controller.disconnected(Ending::Orderly);
    under.controller.finish(&mut under.events);
    match &under.events[..] {
        [
            ControllerEvent::Fetched { outcome: Err(_), .. },
            ControllerEvent::Fetched { outcome: Err(_), .. },
            ControllerEvent::Closed { reason, .. },
        ] => assert!(reason.to_string().contains("RDMA READ"), "{reason}"),
        other => panic!("{other:?}"),
    }
}
