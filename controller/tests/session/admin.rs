//! Abort, identifiers, opcodes, and memory for responses.

use std::sync::Arc;

use nvmf_controller::{
    NamespaceOptions, ServerOptions,
    backend::faulty::{Faulty, Order},
};
use nvmf_transport::RequestData;
use nvmf_wire::{
    AdminOpcode, Sqe, Status,
    admin::Abort,
    identify::{Cns, Identify},
};

use crate::{identify::identify, rig::*};

#[test]
fn unknown_opcodes() {
    let mut rig = Rig::new();
    let (admin, _) = rig.controller();
    for opcode in 0..=u8::MAX {
        let opcode = AdminOpcode(opcode);
        let known = [
            AdminOpcode::GET_LOG_PAGE,
            AdminOpcode::IDENTIFY,
            AdminOpcode::ABORT,
            AdminOpcode::SET_FEATURES,
            AdminOpcode::GET_FEATURES,
            AdminOpcode::ASYNC_EVENT_REQUEST,
            AdminOpcode::KEEP_ALIVE,
            AdminOpcode::FABRICS,
        ];
        if !known.contains(&opcode) {
            assert_eq!(rig.command(admin, Sqe::admin(opcode)).status(), Status::INVALID_OPCODE, "{opcode:?}");
        }
    }
}

#[test]
fn abort_of_a_command_under_way() {
    let mut rig = Rig::with(ServerOptions::default(), |_| {}, 2);
    let disk = Arc::new(Faulty::new(ram(1024)));
    rig.subsystem.add_namespace(2, NamespaceOptions::new(disk.clone())).unwrap();
    let (admin, cntlid) = rig.controller();
    let io = rig.io(1, cntlid, 1);
    // On a backend: it cannot be called back.
    disk.hold();
    let pending = rig.submit(io, read(0, 1).with_nsid(2), RequestData::Remote { len: 512 });
    let cid = nvmf_wire::Cid(rig.last_cid());
    let answer = rig.command(admin, Abort { sqid: 1, cid }.to_sqe()).ok();
    assert!(!Abort::was_aborted(&answer.cqe));
    disk.release(Order::Arrival);
    rig.settle();
    rig.answer(io, pending).unwrap().ok();
    // Waiting for the host's data: it ends as soon as what was asked for has come or gone.
    let fetching = rig.submit(io, write(0, 2048), RequestData::Remote { len: 1 << 20 });
    let cid = nvmf_wire::Cid(rig.last_cid());
    let answer = rig.command(admin, Abort { sqid: 1, cid }.to_sqe()).ok();
    assert!(!Abort::was_aborted(&answer.cqe));
    assert!(rig.answer(io, fetching).is_none());
    for (request, offset, data) in std::mem::take(&mut rig.lanes[1].engine.fetches) {
        rig.serve_fetch(io, request, offset, data, Ok(()));
    }
    assert_eq!(rig.answer(io, fetching).unwrap().status(), Status::ABORT_REQUESTED);
    // Unknown commands and queues.
    for (sqid, cid) in [(1, 999), (0, 999), (2, 1), (0xffff, 1)] {
        let answer = rig.command(admin, Abort { sqid, cid: nvmf_wire::Cid(cid) }.to_sqe()).ok();
        assert!(!Abort::was_aborted(&answer.cqe));
    }
}

#[test]
fn identifiers_in_use() {
    let mut rig = Rig::new();
    let disk = Arc::new(Faulty::new(ram(1024)));
    rig.subsystem.add_namespace(2, NamespaceOptions::new(disk.clone())).unwrap();
    let (admin, io) = rig.ready();
    let event = nvmf_wire::admin::async_event_request().with_cid(nvmf_wire::Cid(77));
    rig.deliver(admin, event, Ok(RequestData::None));
    let again = rig.deliver(
        admin,
        nvmf_wire::admin::keep_alive().with_cid(nvmf_wire::Cid(77)),
        Ok(RequestData::None),
    );
    rig.settle();
    // An event request does not keep its identifier from others: hosts that shut down use it for a Property Get.
    rig.answer(admin, again).unwrap().ok();
    disk.hold();
    let sqe = read(0, 1).with_nsid(2).with_cid(nvmf_wire::Cid(0xffff));
    let first = rig.deliver(io, sqe, Ok(RequestData::Remote { len: 512 }));
    let second = rig.deliver(io, sqe, Ok(RequestData::Remote { len: 512 }));
    rig.settle();
    assert_eq!(rig.answer(io, second).unwrap().status(), Status::COMMAND_ID_CONFLICT);
    disk.release(Order::Arrival);
    rig.settle();
    rig.answer(io, first).unwrap().ok();
    let third = rig.deliver(io, sqe, Ok(RequestData::Remote { len: 512 }));
    rig.settle();
    rig.answer(io, third).unwrap().ok();
}

#[test]
fn a_host_that_takes_no_answers_waits_for_itself() {
    let mut rig = Rig::new();
    let (slow, _) = rig.controller();
    rig.engine().hold_data = Some(Vec::new());
    let sqe = Identify::new(Cns::CONTROLLER, 0).to_sqe();
    let requests: Vec<_> =
        (0..100).map(|_| rig.submit(slow, sqe, RequestData::Remote { len: 4096 })).collect();
    assert_eq!(rig.engine().answers.len(), 32, "pages of one queue");
    // Another host does not notice.
    rig.engine().answers.clear();
    let (other, _) = rig.controller();
    rig.engine().answers.clear();
    identify(&mut rig, other, Identify::new(Cns::CONTROLLER, 0));
    let held = rig.engine().hold_data.take();
    drop(held);
    rig.pass(std::time::Duration::from_millis(10));
    let order: Vec<_> = rig.engine().answers.iter().map(|answer| answer.request).collect();
    assert_eq!(order, requests[32..], "all of them, in order");
    assert!(rig.engine().answers.iter().all(|answer| answer.data.len() == 4096));
}
