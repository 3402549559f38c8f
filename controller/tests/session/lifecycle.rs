//! Properties, enabling, reset and shutdown of a controller.

use std::{sync::Arc, time::Duration};

use nvmf_controller::{
    NamespaceOptions, ServerOptions,
    backend::faulty::{Faulty, Order},
};
use nvmf_transport::{Close, RequestData};
use nvmf_wire::{
    FabricsType, Sqe, Status,
    admin::async_event_request,
    fabrics::{Connect, Disconnect, PropertyGet, PropertySet},
    feature::{Fid, GetFeatures, NumberOfQueues, SetFeatures},
    property::{
        Arbitration, Cap, Cc, CommandSetSelected, Crto, PropertyOffset, ShutdownNotification, ShutdownStatus,
        Version,
    },
    zerocopy::little_endian::U32,
};

use crate::rig::*;

#[test]
fn properties() {
    let mut rig = Rig::new();
    let (admin, _) = rig.associate(0, &connect_data(), 0);
    let cap = Cap(rig.property(admin, PropertyOffset::CAP));
    assert_eq!(cap.max_queue_entries(), 1024);
    assert!(cap.cqr());
    assert_eq!(cap.css(), Cap::CSS_NVM);
    assert_eq!((cap.mpsmin(), cap.mpsmax(), cap.dstrd(), cap.ams()), (0, 4, 0, 0));
    assert_eq!((cap.timeout(), cap.nssrs(), cap.crwms()), (15, false, true));
    assert_eq!(rig.property(admin, PropertyOffset::VS), u64::from(Version::V2_0.bits()));
    assert_eq!(rig.property(admin, PropertyOffset::CC), 0);
    assert_eq!(rig.property(admin, PropertyOffset::CSTS), 0);
    assert_eq!(Crto(rig.property(admin, PropertyOffset::CRTO) as u32).crwmt(), 15);
}

#[test]
fn property_commands_are_checked() {
    let mut rig = Rig::new();
    let (admin, _) = rig.associate(0, &connect_data(), 0);
    let get = |offset, wide| PropertyGet { offset, wide }.to_sqe();
    let set = |offset, wide, value| PropertySet { offset, wide, value }.to_sqe();
    for sqe in [
        get(PropertyOffset::CAP, false),
        get(PropertyOffset::CC, true),
        get(PropertyOffset::NSSR, false),
        get(PropertyOffset(0x04), false),
        get(PropertyOffset(0x1000), false),
        set(PropertyOffset::CC, true, 0),
        set(PropertyOffset::CAP, true, 0),
        set(PropertyOffset::VS, false, 0),
        set(PropertyOffset::CSTS, false, 0),
        set(PropertyOffset::NSSR, false, 0x4E56_4D65),
        set(PropertyOffset(0x24), false, 0),
    ] {
        assert_eq!(rig.command(admin, sqe).status(), Status::INVALID_FIELD, "{sqe:?}");
    }
    let mut reserved_size = get(PropertyOffset::CAP, true);
    reserved_size.cdw10 = U32::new(2);
    assert_eq!(rig.command(admin, reserved_size).status(), Status::INVALID_FIELD);
    let with_data = rig.read(admin, get(PropertyOffset::CAP, true), 8);
    assert_eq!(with_data.status(), Status::DATA_SGL_LENGTH_INVALID);
}

#[test]
fn other_fabrics_commands() {
    let mut rig = Rig::new();
    let (admin, io) = rig.ready();
    for kind in [FabricsType::AUTHENTICATION_SEND, FabricsType::AUTHENTICATION_RECEIVE, FabricsType(0x7f)] {
        assert_eq!(rig.command(admin, Sqe::fabrics(kind)).status(), Status::INVALID_OPCODE);
        assert_eq!(rig.command(io, Sqe::fabrics(kind)).status(), Status::INVALID_OPCODE);
    }
    let get = PropertyGet::new(PropertyOffset::CAP).to_sqe();
    assert_eq!(rig.command(io, get).status(), Status::INVALID_OPCODE);
    let disconnect = Disconnect::default().to_sqe();
    assert_eq!(rig.command(admin, disconnect).status(), Status::DISCONNECT_INVALID_QUEUE_TYPE);
    let format = rig.command(io, Disconnect { recfmt: 1 }.to_sqe());
    assert_eq!(format.status(), Status::CONNECT_INCOMPATIBLE_FORMAT);
    rig.command(io, disconnect).ok();
    assert_eq!(rig.engine().closes.last().unwrap().1, Close::AfterFlush);
    assert!(!rig.is_open(io) && rig.is_open(admin));
    rig.io(0, 1, 1);
}

#[test]
fn commands_wait_for_ready() {
    let mut rig = Rig::new();
    let (admin, _) = rig.associate(0, &connect_data(), 0);
    assert_eq!(rig.command(admin, nvmf_wire::admin::keep_alive()).status(), Status::COMMAND_SEQUENCE_ERROR);
    rig.enable(admin);
    rig.command(admin, nvmf_wire::admin::keep_alive()).ok();
}

#[test]
fn values_of_cc_that_cannot_be() {
    let bad = [
        Cc::ENABLE_NVM.with_css(CommandSetSelected::ALL_SUPPORTED),
        Cc::ENABLE_NVM.with_css(CommandSetSelected::ADMIN_ONLY),
        Cc::ENABLE_NVM.with_css(CommandSetSelected(1)),
        Cc::ENABLE_NVM.with_mps(5),
        Cc::ENABLE_NVM.with_ams(Arbitration::WEIGHTED_ROUND_ROBIN),
        Cc::ENABLE_NVM.with_iosqes(7),
        Cc::ENABLE_NVM.with_iocqes(6),
    ];
    for cc in bad {
        let mut rig = Rig::new();
        let (admin, cntlid) = rig.associate(0, &connect_data(), 0);
        rig.set_cc(admin, cc).ok();
        let csts = rig.csts(admin);
        assert!(csts.cfs() && !csts.rdy(), "{cc:?}");
        let (_, answer) = rig.connect(0, io_connect(1, 8), &io_data(cntlid));
        assert_eq!(answer.status(), Status::COMMAND_SEQUENCE_ERROR);
        // Disabling clears it, and a better value then does.
        rig.set_cc(admin, Cc(0)).ok();
        assert_eq!(rig.csts(admin).bits(), 0);
        rig.enable(admin);
    }
}

#[test]
fn selections_change_only_while_disabled() {
    let mut rig = Rig::new();
    let (admin, _) = rig.controller();
    for cc in [
        Cc::ENABLE_NVM.with_mps(1),
        Cc::ENABLE_NVM.with_ams(Arbitration::VENDOR_SPECIFIC),
        Cc::ENABLE_NVM.with_css(CommandSetSelected::ADMIN_ONLY),
    ] {
        assert_eq!(rig.set_cc(admin, cc).status(), Status::INVALID_FIELD);
        assert_eq!(rig.property(admin, PropertyOffset::CC), u64::from(Cc::ENABLE_NVM.bits()));
    }
    assert!(rig.csts(admin).rdy());
}

#[test]
fn entry_sizes_may_come_late() {
    let mut rig = Rig::new();
    let (admin, cntlid) = rig.associate(0, &connect_data(), 0);
    rig.set_cc(admin, Cc(0).with_en(true)).ok();
    assert!(rig.csts(admin).rdy());
    let (_, answer) = rig.connect(0, io_connect(1, 8), &io_data(cntlid));
    assert_eq!(answer.status(), Status::COMMAND_SEQUENCE_ERROR);
    rig.set_cc(admin, Cc::ENABLE_NVM).ok();
    rig.io(0, cntlid, 1);
}

#[test]
fn reset_ends_io_queues_and_forgets() {
    let mut rig = Rig::with(ServerOptions::default(), |_| {}, 2);
    let (admin, cntlid) = rig.controller();
    let queues = SetFeatures::new(Fid::NUMBER_OF_QUEUES, NumberOfQueues::pairs(3).bits());
    rig.command(admin, queues.to_sqe()).ok();
    let io = rig.io(1, cntlid, 3);
    let event = rig.submit(admin, async_event_request(), RequestData::None);
    rig.set_cc(admin, Cc(0)).ok();
    assert!(!rig.is_open(io) && rig.is_open(admin));
    assert_eq!(rig.csts(admin).bits(), 0);
    assert_eq!(rig.answer(admin, event).unwrap().status(), Status::ABORTED_SQ_DELETION);
    rig.enable(admin);
    let granted = rig.command(admin, GetFeatures::new(Fid::NUMBER_OF_QUEUES).to_sqe()).ok();
    assert_eq!(NumberOfQueues(granted.cqe.dw0()).queue_pairs(), 64, "the default again");
    let io = rig.io(1, cntlid, 3);
    rig.read(io, read(0, 1), 512).ok();
}

#[test]
fn reset_waits_for_a_backend() {
    let mut rig = Rig::with(ServerOptions::default(), |_| {}, 2);
    let disk = Arc::new(Faulty::new(ram(1024)));
    rig.subsystem.add_namespace(2, NamespaceOptions::new(disk.clone())).unwrap();
    let (admin, cntlid) = rig.controller();
    let io = rig.io(1, cntlid, 1);
    disk.hold();
    rig.submit(io, write(0, 1).with_nsid(2), RequestData::InCapsule(buffer(&[1; 512])));
    rig.set_cc(admin, Cc(0)).ok();
    assert!(!rig.is_open(io));
    assert!(rig.csts(admin).rdy(), "a write is still under way");
    assert_eq!(rig.set_cc(admin, Cc::ENABLE_NVM).status(), Status::COMMAND_SEQUENCE_ERROR);
    disk.release(Order::Arrival);
    rig.settle();
    assert!(!rig.csts(admin).rdy());
    rig.enable(admin);
    rig.io(1, cntlid, 1);
}

#[test]
fn shutdown() {
    let mut rig = Rig::with(ServerOptions::default(), |_| {}, 2);
    let disk = Arc::new(Faulty::new(ram(1024)));
    rig.subsystem.add_namespace(2, NamespaceOptions::new(disk.clone())).unwrap();
    let (admin, cntlid) = rig.controller();
    let io = rig.io(1, cntlid, 1);
    let before = disk.submitted();
    disk.hold();
    rig.set_cc(admin, Cc::ENABLE_NVM.with_shn(ShutdownNotification::NORMAL)).ok();
    assert!(!rig.is_open(io));
    assert_eq!(disk.submitted(), before + 1, "what was written is flushed");
    assert_eq!(rig.csts(admin).shst(), ShutdownStatus::IN_PROGRESS);
    disk.release(Order::Arrival);
    rig.settle();
    let csts = rig.csts(admin);
    assert_eq!((csts.shst(), csts.rdy()), (ShutdownStatus::COMPLETE, true));
    assert_eq!(rig.command(admin, nvmf_wire::admin::keep_alive()).status(), Status::COMMAND_SEQUENCE_ERROR);
    let (_, answer) = rig.connect(0, io_connect(1, 8), &io_data(cntlid));
    assert_eq!(answer.status(), Status::COMMAND_SEQUENCE_ERROR);
    // A reset, and the controller can be enabled again.
    rig.set_cc(admin, Cc(0)).ok();
    assert_eq!(rig.csts(admin).bits(), 0);
    rig.enable(admin);
    rig.io(1, cntlid, 1);
}

#[test]
fn abrupt_shutdown_does_not_flush() {
    let mut rig = Rig::new();
    let disk = Arc::new(Faulty::new(ram(1024)));
    rig.subsystem.add_namespace(2, NamespaceOptions::new(disk.clone())).unwrap();
    let (admin, _) = rig.controller();
    rig.set_cc(admin, Cc::ENABLE_NVM.with_shn(ShutdownNotification::ABRUPT)).ok();
    assert_eq!(rig.csts(admin).shst(), ShutdownStatus::COMPLETE);
    assert_eq!(disk.submitted(), 0);
}

#[test]
fn enabled_again_within_two_minutes() {
    let mut rig = Rig::new();
    let (admin, _) = rig.controller();
    rig.set_cc(admin, Cc(0)).ok();
    rig.pass(Duration::from_secs(119));
    rig.enable(admin);
    rig.pass(Duration::from_secs(3600));
    assert!(rig.is_open(admin), "no keep alive timer, no end");
    rig.set_cc(admin, Cc::ENABLE_NVM.with_shn(ShutdownNotification::NORMAL)).ok();
    rig.pass(Duration::from_secs(119));
    assert!(rig.is_open(admin));
    rig.pass(Duration::from_secs(2));
    assert!(!rig.is_open(admin));
    assert!(rig.server.associations().is_empty());
}

#[test]
fn the_end_of_the_admin_queue_ends_all() {
    let mut rig = Rig::with(ServerOptions::default(), |_| {}, 3);
    let (admin, cntlid) = rig.controller();
    let io = [rig.io(1, cntlid, 1), rig.io(2, cntlid, 2), rig.io(0, cntlid, 3)];
    let (other, other_cntlid) = rig.controller();
    let other_io = rig.io(1, other_cntlid, 1);
    rig.hang_up(admin);
    assert!(io.into_iter().all(|queue| !rig.is_open(queue)));
    assert!(rig.is_open(other));
    rig.read(other_io, read(0, 1), 512).ok();
    let (_, answer) = rig.connect(0, Connect { qid: 1, sqsize: 7, ..Connect::default() }, &io_data(cntlid));
    assert_eq!(answer.status(), Status::CONNECT_INVALID_PARAMETERS);
    assert_eq!(rig.server.statistics().associations, 1);
}

#[test]
fn a_subsystem_can_be_removed() {
    let mut rig = Rig::new();
    let (admin, io) = rig.ready();
    rig.server.remove_subsystem(&nqn(SUBSYSTEM)).unwrap();
    rig.settle();
    assert!(!rig.is_open(admin) && !rig.is_open(io));
    let (_, answer) = rig.connect(0, admin_connect(0), &connect_data());
    assert_eq!(answer.status(), Status::CONNECT_INVALID_PARAMETERS);
}

#[test]
fn an_engine_that_ends_takes_its_queues_along() {
    let mut rig = Rig::with(ServerOptions::default(), |_| {}, 2);
    let (admin, cntlid) = rig.controller();
    rig.io(1, cntlid, 1);
    rig.lanes.pop();
    rig.settle();
    assert_eq!(rig.server.associations()[0].io_queues, 0);
    let io = rig.io(0, cntlid, 1);
    rig.read(io, read(0, 1), 512).ok();
    assert!(rig.is_open(admin));
}

#[test]
fn drain() {
    let mut rig = Rig::new();
    let disk = Arc::new(Faulty::new(ram(1024)));
    rig.subsystem.add_namespace(2, NamespaceOptions::new(disk.clone())).unwrap();
    let (admin, io) = rig.ready();
    disk.hold();
    let request = rig.submit(io, write(0, 1).with_nsid(2), RequestData::InCapsule(buffer(&[1; 512])));
    rig.lanes[0].session.drain();
    rig.settle();
    rig.pass(Duration::from_millis(100));
    assert!(rig.is_open(io) && rig.is_open(admin), "a write is under way");
    disk.release(Order::Arrival);
    rig.settle();
    rig.answer(io, request).unwrap().ok();
    rig.settle();
    assert!(!rig.is_open(io) && !rig.is_open(admin));
    assert_eq!(rig.lanes[0].session.queues(), 0);
    let late = rig.accept(0);
    assert!(!rig.is_open(late));
}
