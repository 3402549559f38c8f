//! Connect: every field, and who may.

use nvmf_controller::{Hosts, ServerOptions};
use nvmf_transport::{QueueKind, RequestData};
use nvmf_wire::{
    FabricsType, NqnField, Sqe, Status,
    fabrics::PropertyGet,
    fabrics::{CNTLID_STATIC_ANY, Connect, ConnectAttributes, ConnectData, InvalidParameter},
    property::PropertyOffset,
    zerocopy::{IntoBytes, little_endian::U16},
};

use crate::rig::*;

#[track_caller]
fn refused(rig: &mut Rig, command: Connect, data: &ConnectData) -> Answer {
    let before = rig.server.associations().len();
    let (queue, answer) = rig.connect(0, command, data);
    assert!(!answer.cqe.status().is_success());
    assert_eq!(rig.server.associations().len(), before, "a refused Connect left something behind");
    // The connection stays, and another Connect on it may do better.
    assert!(rig.is_open(queue));
    answer
}

#[track_caller]
fn invalid(rig: &mut Rig, command: Connect, data: &ConnectData, field: InvalidParameter) {
    let answer = refused(rig, command, data);
    assert!(answer.cqe.status().dnr());
    assert_eq!(InvalidParameter::parse(&answer.cqe), Some(field));
}

#[test]
fn admin_queue() {
    let mut rig = Rig::new();
    let (_, answer) = rig.connect(0, admin_connect(0), &connect_data());
    let cqe = answer.ok().cqe;
    assert_eq!(cqe.dw0(), 1, "CNTLID 1, AUTHREQ 0");
    assert_eq!(cqe.dw1(), 0);
    assert_eq!(cqe.sqhd(), 1);
    let settings = rig.engine().configured[0];
    assert_eq!((settings.kind, settings.depth, settings.sq_flow_control), (QueueKind::Admin, 32, true));
    let (_, second) = rig.connect(0, admin_connect(0), &connect_data());
    assert_eq!(second.ok().cqe.dw0(), 2, "every association has a controller of its own");
}

#[test]
fn fields_of_the_command() {
    let mut rig = Rig::new();
    let data = connect_data();
    let good = admin_connect(0);
    let format = refused(&mut rig, Connect { recfmt: 1, ..good }, &data);
    assert_eq!(format.status(), Status::CONNECT_INCOMPATIBLE_FORMAT);
    invalid(&mut rig, Connect { sqsize: 0, ..good }, &data, InvalidParameter::SQSIZE);
    invalid(&mut rig, Connect { sqsize: 128, ..good }, &data, InvalidParameter::SQSIZE);
    invalid(&mut rig, Connect { sqsize: 0xffff, ..good }, &data, InvalidParameter::SQSIZE);
    rig.connect(0, Connect { sqsize: 127, ..good }, &data).1.ok();
    rig.connect(0, Connect { sqsize: 1, ..good }, &data).1.ok();
    // Reserved bits and the priority class mean nothing here.
    rig.connect(0, Connect { cattr: ConnectAttributes(0xf3), ..good }, &data).1.ok();
}

#[test]
fn fields_of_the_data() {
    let mut rig = Rig::new();
    let good = admin_connect(0);
    let changed = |change: &dyn Fn(&mut ConnectData)| {
        let mut data = connect_data();
        change(&mut data);
        data
    };
    let cases: [(InvalidParameter, ConnectData); 8] = [
        (InvalidParameter::HOSTID, changed(&|d| d.hostid = [0; 16])),
        (InvalidParameter::CNTLID, changed(&|d| d.cntlid = U16::new(1))),
        (InvalidParameter::CNTLID, changed(&|d| d.cntlid = U16::new(CNTLID_STATIC_ANY))),
        (
            InvalidParameter::SUBNQN,
            changed(&|d| d.subnqn = NqnField::from(nqn("nqn.2024-01.com.example:none"))),
        ),
        (InvalidParameter::SUBNQN, changed(&|d| d.subnqn = NqnField([b'n'; 256]))),
        (InvalidParameter::SUBNQN, changed(&|d| d.subnqn = NqnField([0; 256]))),
        (InvalidParameter::HOSTNQN, changed(&|d| d.hostnqn = NqnField([0; 256]))),
        (InvalidParameter::HOSTNQN, changed(&|d| d.hostnqn.0[8] = 0xff)),
    ];
    for (field, data) in cases {
        invalid(&mut rig, good, &data, field);
    }
}

#[test]
fn data_length_and_psdt() {
    let mut rig = Rig::new();
    let queue = rig.accept(0);
    for data in
        [RequestData::None, RequestData::Remote { len: 1020 }, RequestData::InCapsule(buffer(&[0; 2048]))]
    {
        let answer = rig.run(queue, admin_connect(0).to_sqe(), data);
        assert_eq!(answer.status(), Status::DATA_SGL_LENGTH_INVALID);
    }
    let mut prp = admin_connect(0).to_sqe();
    prp.flags = 0;
    assert_eq!(rig.write(queue, prp, connect_data().as_bytes()).status(), Status::INVALID_FIELD);
    // What the transport found wrong with the data is passed on.
    let sqe = admin_connect(0).to_sqe();
    let request = rig.deliver(queue, sqe, Err(Status::TRANSIENT_TRANSPORT_ERROR));
    rig.settle();
    assert_eq!(rig.answer(queue, request).unwrap().status(), Status::TRANSIENT_TRANSPORT_ERROR);
    rig.write(queue, admin_connect(0).to_sqe(), connect_data().as_bytes()).ok();
}

#[test]
fn data_that_stay_with_the_host() {
    let mut rig = Rig::new();
    let queue = rig.accept(0);
    let request = rig.submit(queue, admin_connect(0).to_sqe(), RequestData::Remote { len: 1024 });
    assert_eq!(rig.engine().fetches.len(), 1);
    // Nothing else while that is under way.
    let second = rig.run(queue, admin_connect(0).to_sqe(), RequestData::Remote { len: 1024 });
    assert_eq!(second.status(), Status::COMMAND_SEQUENCE_ERROR);
    let (request_, offset, mut data) = rig.engine().fetches.pop().unwrap();
    assert_eq!((request_, offset, data.len()), (request, 0, 1024));
    data.copy_from_slice(connect_data().as_bytes());
    rig.serve_fetch(queue, request, offset, data, Ok(()));
    rig.answer(queue, request).unwrap().ok();

    let failing = rig.accept(0);
    let request = rig.submit(failing, admin_connect(0).to_sqe(), RequestData::Remote { len: 1024 });
    let (_, offset, data) = rig.engine().fetches.pop().unwrap();
    rig.serve_fetch(failing, request, offset, data, Err(Status::TRANSIENT_TRANSPORT_ERROR));
    assert_eq!(rig.answer(failing, request).unwrap().status(), Status::TRANSIENT_TRANSPORT_ERROR);
    rig.write_remote(failing, admin_connect(0).to_sqe(), connect_data().as_bytes().to_vec()).ok();
}

// test: TCP-QUE-02, TCP-IC-22
#[test]
fn sequence() {
    let mut rig = Rig::new();
    let queue = rig.accept(0);
    for sqe in [
        PropertyGet::new(PropertyOffset::CAP).to_sqe(),
        nvmf_wire::admin::keep_alive(),
        Sqe::fabrics(FabricsType::DISCONNECT),
        read(0, 1),
    ] {
        assert_eq!(rig.command(queue, sqe).status(), Status::COMMAND_SEQUENCE_ERROR);
    }
    rig.write(queue, admin_connect(0).to_sqe(), connect_data().as_bytes()).ok();
    let again = rig.write(queue, admin_connect(0).to_sqe(), connect_data().as_bytes());
    assert_eq!(again.status(), Status::COMMAND_SEQUENCE_ERROR);
    rig.enable(queue);
    let io = rig.io(0, 1, 1);
    let again = rig.write(io, io_connect(1, 8).to_sqe(), io_data(1).as_bytes());
    assert_eq!(again.status(), Status::COMMAND_SEQUENCE_ERROR);
}

#[test]
fn io_queue() {
    let mut rig =
        Rig::with(ServerOptions::default(), |s| (s.max_io_queues, s.max_queue_entries) = (4, 64), 1);
    let (admin, cntlid) = rig.associate(0, &connect_data(), 0);
    let good = io_connect(1, 64);
    let early = refused_io(&mut rig, good, &io_data(cntlid));
    assert_eq!(early.status(), Status::COMMAND_SEQUENCE_ERROR);
    rig.enable(admin);
    invalid_io(&mut rig, Connect { sqsize: 64, ..good }, &io_data(cntlid), InvalidParameter::SQSIZE);
    invalid_io(&mut rig, Connect { sqsize: 0, ..good }, &io_data(cntlid), InvalidParameter::SQSIZE);
    invalid_io(&mut rig, Connect { qid: 5, ..good }, &io_data(cntlid), InvalidParameter::QID);
    invalid_io(&mut rig, Connect { qid: 0xffff, ..good }, &io_data(cntlid), InvalidParameter::QID);
    invalid_io(&mut rig, good, &io_data(cntlid + 1), InvalidParameter::CNTLID);
    invalid_io(&mut rig, good, &connect_data(), InvalidParameter::CNTLID);
    let mut other = io_data(cntlid);
    other.hostid = [8; 16];
    invalid_io(&mut rig, good, &other, InvalidParameter::HOSTID);
    let mut other = io_data(cntlid);
    other.hostnqn = NqnField::from(nqn(OTHER_HOST));
    invalid_io(&mut rig, good, &other, InvalidParameter::HOSTNQN);
    // The timer is the admin queue's: what an I/O queue says of it neither matters nor changes anything.
    let (_, answer) = rig.connect(0, Connect { qid: 4, kato: 10_000, ..good }, &io_data(cntlid));
    assert_eq!(answer.ok().cqe.dw0(), u32::from(cntlid));
    assert_eq!(rig.engine().configured.last().unwrap().kind, QueueKind::Io(4));
    assert_eq!(rig.server.associations()[0].io_queues, 1);
}

#[track_caller]
fn refused_io(rig: &mut Rig, command: Connect, data: &ConnectData) -> Answer {
    let (_, answer) = rig.connect(0, command, data);
    assert_eq!(rig.server.associations()[0].io_queues, 0, "a refused Connect joined");
    answer
}

#[track_caller]
fn invalid_io(rig: &mut Rig, command: Connect, data: &ConnectData, field: InvalidParameter) {
    assert_eq!(InvalidParameter::parse(&refused_io(rig, command, data).cqe), Some(field));
}

// test: TCP-QUE-08
#[test]
fn sq_flow_control_off() {
    let mut rig = Rig::new();
    let cattr = ConnectAttributes(0).with_disable_sq_flow_control(true);
    let (queue, answer) = rig.connect(0, Connect { cattr, ..admin_connect(0) }, &connect_data());
    assert_eq!(answer.ok().cqe.sqhd(), 0xffff);
    assert!(!rig.engine().configured[0].sq_flow_control);
    let cap = rig.command(queue, PropertyGet::new(PropertyOffset::CAP).to_sqe()).ok();
    assert_eq!(cap.cqe.sqhd(), 0, "reserved");
}

// test: TCP-QUE-08
#[test]
fn submission_queue_head_wraps() {
    let mut rig = Rig::new();
    let (queue, answer) = rig.connect(0, Connect { sqsize: 3, ..admin_connect(0) }, &connect_data());
    assert_eq!(answer.ok().cqe.sqhd(), 1);
    for expected in [2, 3, 0, 1, 2] {
        let answer = rig.command(queue, PropertyGet::new(PropertyOffset::VS).to_sqe()).ok();
        assert_eq!(answer.cqe.sqhd(), expected);
    }
}

#[test]
fn hosts_are_asked_on_every_connect() {
    let mut rig = Rig::with(ServerOptions::default(), |s| s.hosts = Hosts::from_iter([nqn(HOST)]), 1);
    let mut stranger = connect_data();
    stranger.hostnqn = NqnField::from(nqn(OTHER_HOST));
    let answer = refused(&mut rig, admin_connect(0), &stranger);
    assert_eq!(answer.status(), Status::CONNECT_INVALID_HOST);
    let (_, cntlid) = rig.controller();
    rig.io(0, cntlid, 1);
    // An I/O queue under a stranger's name, and under the right name once the right is gone.
    let mut joins = io_data(cntlid);
    joins.hostnqn = NqnField::from(nqn(OTHER_HOST));
    let (_, answer) = rig.connect(0, io_connect(2, 8), &joins);
    assert_eq!(answer.status(), Status::CONNECT_INVALID_HOST);
    rig.subsystem.set_hosts(Hosts::from_iter([nqn(OTHER_HOST)]));
    let (_, answer) = rig.connect(0, io_connect(2, 8), &io_data(cntlid));
    assert_eq!(answer.status(), Status::CONNECT_INVALID_HOST);
}

#[test]
fn a_host_that_loses_its_right_loses_its_association() {
    let mut rig = Rig::with(ServerOptions::default(), |_| {}, 2);
    let (admin, cntlid) = rig.controller();
    let io = rig.io(1, cntlid, 1);
    rig.subsystem.set_hosts(Hosts::from_iter([nqn(OTHER_HOST)]));
    rig.settle();
    assert!(!rig.is_open(admin) && !rig.is_open(io));
    assert!(rig.server.associations().is_empty());
}

// test: TCP-QUE-03
#[test]
fn queue_identifier_in_use() {
    let mut rig = Rig::with(ServerOptions::default(), |_| {}, 2);
    let (_, cntlid) = rig.controller();
    let io = rig.io(0, cntlid, 1);
    // The old queue lives: refused, after a moment in which its end might have been on its way.
    let queue = rig.accept(1);
    let request = rig.submit(
        queue,
        io_connect(1, 8).to_sqe(),
        RequestData::InCapsule(buffer(io_data(cntlid).as_bytes())),
    );
    assert!(rig.answer(queue, request).is_none());
    rig.pass(std::time::Duration::from_secs(1));
    assert_eq!(rig.answer(queue, request).unwrap().status(), Status::COMMAND_SEQUENCE_ERROR);
    rig.read(io, read(0, 1), 512).ok();
    // The old connection is lost without Disconnect while the new one asks: accepted.
    let request = rig.submit(
        queue,
        io_connect(1, 8).to_sqe(),
        RequestData::InCapsule(buffer(io_data(cntlid).as_bytes())),
    );
    rig.hang_up(io);
    rig.pass(std::time::Duration::from_millis(20));
    rig.answer(queue, request).unwrap().ok();
    rig.read(queue, read(0, 1), 512).ok();
}

#[test]
fn queue_lost_and_made_again_without_disconnect() {
    let mut rig = Rig::new();
    let (_, cntlid) = rig.controller();
    for _ in 0..5 {
        let io = rig.io(0, cntlid, 3);
        rig.read(io, read(0, 1), 512).ok();
        rig.hang_up(io);
    }
    assert_eq!(rig.server.associations()[0].io_queues, 0);
}

#[test]
fn bounded_numbers() {
    let options =
        ServerOptions { max_associations: 2, max_unassociated: 3, max_queues: 6, ..ServerOptions::default() };
    let mut rig = Rig::with(options, |_| {}, 1);
    let silent: Vec<Q> = (0..4).map(|_| rig.accept(0)).collect();
    rig.settle();
    assert_eq!(
        silent.iter().filter(|&&queue| rig.is_open(queue)).count(),
        3,
        "unassociated queues are bounded"
    );
    assert_eq!(rig.server.statistics().turned_away, 1);
    silent.into_iter().for_each(|queue| rig.hang_up(queue));
    let (first, _) = rig.associate(0, &connect_data(), 0);
    rig.associate(0, &connect_data(), 0);
    let (_, third) = rig.connect(0, admin_connect(0), &connect_data());
    assert_eq!(third.status(), Status::CONNECT_CONTROLLER_BUSY);
    assert!(!third.cqe.status().dnr(), "another time it may do");
    rig.hang_up(first);
    rig.associate(0, &connect_data(), 0);
}

#[test]
fn data_memory_is_bounded() {
    let options = ServerOptions { memory: 5 << 20, queue_memory: 2 << 20, ..ServerOptions::default() };
    let mut rig = Rig::with(options, |s| s.max_transfer = 256 << 10, 1);
    let (_, cntlid) = rig.controller();
    let mut queues = Vec::new();
    let busy = loop {
        let (queue, answer) = rig.connect(0, io_connect(queues.len() as u16 + 1, 8), &io_data(cntlid));
        if !answer.cqe.status().is_success() {
            break answer;
        }
        queues.push(queue);
    };
    assert_eq!(busy.status(), Status::CONNECT_CONTROLLER_BUSY);
    assert!(queues.len() > 2, "the last queues get less");
    assert!(rig.server.statistics().memory <= 5 << 20);
    queues.into_iter().for_each(|queue| rig.hang_up(queue));
    assert_eq!(rig.server.statistics().memory, 0);
}
