//! Requests while the association is up: what they become, how they are cut, how they are retried.

use nvmf_transport::QueueKind;
use nvmf_wire::{
    AdminOpcode, IoOpcode, Sqe, Status,
    io::{DatasetManagement, Rw},
    sqe::NSID_BROADCAST,
};

use super::{fake::Reply, *};
use crate::{Admin, BlockRange, Why};

fn io_sent(sim: &Sim) -> Vec<Sqe> {
    sim.fake
        .sent
        .iter()
        .filter(|(kind, sqe)| *kind != QueueKind::Admin && !sqe.is_fabrics())
        .map(|(_, sqe)| *sqe)
        .collect()
}

#[test]
fn what_is_written_is_read() {
    let mut sim = Sim::live(options());
    sim.submit(1, write(10, 2, 0xab));
    sim.settle();
    assert!(sim.result(1).is_ok());
    sim.submit(2, read(9, 4));
    sim.settle();
    let done = sim.ended(2);
    assert_eq!(done.result, Ok(Outcome { result: 0, transferred: 2048 }));
    let bytes = bytes(done);
    assert_eq!((bytes[511], bytes[512], bytes[1535], bytes[1536]), (0, 0xab, 0xab, 0));
    assert_eq!(sim.association.outstanding(), 0);
}

#[test]
fn every_operation_becomes_its_command() {
    let mut sim = Sim::live(options());
    sim.submit(1, Op::Write { start: 1, data: buffer(1, 1), fua: true });
    sim.submit(2, Op::Flush);
    sim.submit(3, Op::WriteZeroes { start: 5, blocks: 3, deallocate: true, fua: false });
    sim.submit(
        4,
        Op::Deallocate {
            ranges: vec![BlockRange { start: 7, blocks: 9 }, BlockRange { start: 20, blocks: 1 }],
        },
    );
    sim.submit(5, Op::Compare { start: 1, data: buffer(1, 1) });
    sim.settle();
    (1..=5).for_each(|user| assert!(sim.result(user).is_ok(), "{user}"));
    let sent = io_sent(&sim);
    let rw = Rw::parse(&sent[0]);
    assert_eq!((sent[0].io_opcode(), rw.slba, rw.blocks, rw.fua), (IoOpcode::WRITE, 1, 1, true));
    assert_eq!((sent[1].io_opcode(), sent[1].nsid()), (IoOpcode::FLUSH, 1));
    let rw = Rw::parse(&sent[2]);
    assert_eq!(
        (sent[2].io_opcode(), rw.slba, rw.blocks, rw.deallocate),
        (IoOpcode::WRITE_ZEROES, 5, 3, true)
    );
    assert_eq!(sent[3].io_opcode(), IoOpcode::DATASET_MANAGEMENT);
    assert_eq!(DatasetManagement::parse(&sent[3]).ranges.get(), 2);
    assert_eq!(sent[4].io_opcode(), IoOpcode::COMPARE);
}

#[test]
fn zeroes_beyond_the_largest_transfer_are_cut() {
    let mut sim = Sim::live(options());
    // MDTS is 16 KiB, 32 blocks.
    sim.submit(1, Op::WriteZeroes { start: 5, blocks: 70, deallocate: true, fua: false });
    sim.settle();
    assert!(sim.result(1).is_ok());
    let parts: Vec<_> =
        io_sent(&sim).iter().map(|sqe| (Rw::parse(sqe).slba, Rw::parse(sqe).blocks)).collect();
    assert_eq!(parts, [(5, 32), (37, 32), (69, 6)]);
}

#[test]
fn bad_requests_come_back_whole_and_are_not_sent() {
    let mut sim = Sim::live(options());
    let before = sim.fake.sent.len();
    let why = |sim: &mut Sim, op| sim.try_submit(1, op).unwrap_err().why;
    assert_eq!(why(&mut sim, read(99_999, 2)), IoError::OutOfRange.into());
    assert_eq!(why(&mut sim, read(u64::MAX, 1)), IoError::OutOfRange.into());
    let mut odd = buffer(1, 0);
    odd.truncate(100);
    assert_eq!(why(&mut sim, Op::Read { start: 0, data: odd }), IoError::Unaligned.into());
    assert_eq!(why(&mut sim, Op::Deallocate { ranges: vec![] }), IoError::Parameter.into());
    let range = BlockRange { start: 0, blocks: 1 };
    assert_eq!(why(&mut sim, Op::Deallocate { ranges: vec![range; 257] }), IoError::Parameter.into());
    assert_eq!(
        why(&mut sim, Op::WriteZeroes { start: 0, blocks: 0, deallocate: false, fua: false }),
        IoError::Unaligned.into()
    );
    let io = Io { user: 1, nsid: 9, op: read(0, 1), queue: None };
    let rejected = sim.association.submit(&mut sim.fake, io, sim.now).unwrap_err();
    assert_eq!(rejected.why, IoError::UnknownNamespace(9).into());
    assert_eq!(rejected.request.op.into_data().len(), 512);
    sim.settle();
    assert_eq!(sim.fake.sent.len(), before);
    assert!(sim.done.is_empty());
}

#[test]
fn flush_of_all_namespaces_needs_none() {
    let mut sim = Sim::live(options());
    let io = Io { user: 1, nsid: NSID_BROADCAST, op: Op::Flush, queue: None };
    sim.association.submit(&mut sim.fake, io, sim.now).unwrap();
    sim.settle();
    assert!(sim.result(1).is_ok());
}

#[test]
fn large_requests_are_cut_and_joined() {
    let mut sim = Sim::live(options());
    // 100 blocks, 32 to a command.
    let mut data = buffer(100, 0);
    data.chunks_mut(512).enumerate().for_each(|(at, block)| block.fill(at as u8));
    let whole = data.as_ptr();
    sim.submit(1, Op::Write { start: 50, data, fua: true });
    sim.settle();
    let done = sim.ended(1);
    assert!(done.result.is_ok());
    let Data::ToController(back) = done.data else { panic!("direction") };
    assert_eq!((back.len(), back.as_ptr()), (51_200, whole));
    let sent: Vec<_> = io_sent(&sim).iter().map(Rw::parse).map(|rw| (rw.slba, rw.blocks, rw.fua)).collect();
    assert_eq!(sent, [(50, 32, true), (82, 32, true), (114, 32, true), (146, 4, true)]);
    sim.submit(2, read(50, 100));
    sim.settle();
    let bytes = bytes(sim.ended(2));
    assert!(bytes.chunks(512).enumerate().all(|(at, block)| block.iter().all(|&byte| byte == at as u8)));
}

#[test]
fn more_than_the_queues_hold_waits_its_turn() {
    let mut sim = Sim::live(options());
    sim.fake.rule(|kind, _| (kind != QueueKind::Admin).then_some(Reply::Hold));
    // Two queues of seven; each request is 50 commands.
    sim.submit(1, write(0, 1600, 1));
    sim.submit(2, write(5000, 1600, 2));
    sim.settle();
    assert_eq!(sim.fake.held().len(), 14);
    sim.fake.clear_rules();
    for (queue, cid, _) in sim.fake.held() {
        sim.fake.answer(queue, cid, Reply::Good);
    }
    sim.settle();
    assert!(sim.result(1).is_ok() && sim.result(2).is_ok());
    assert_eq!(sim.fake.disk.len(), 3200);
}

#[test]
fn admission_is_bounded() {
    let mut options = options();
    options.backlog = 3;
    let mut sim = Sim::live(options);
    sim.fake.rule(|kind, _| (kind != QueueKind::Admin).then_some(Reply::Hold));
    for user in 0..17 {
        sim.submit(user, read(user, 1));
    }
    let rejected = sim.try_submit(17, read(0, 1)).unwrap_err();
    assert_eq!(rejected.why, Why::Full);
    let (queue, cid, _) = sim.fake.held()[0];
    sim.fake.answer(queue, cid, Reply::Good);
    sim.settle();
    sim.submit(17, read(0, 1));
}

#[test]
fn queues_take_turns_or_follow_the_caller() {
    let mut sim = Sim::live(options());
    for user in 0..6 {
        sim.submit(user, read(user, 1));
    }
    let on = |sim: &Sim, qid| {
        sim.fake.sent.iter().filter(|(kind, sqe)| *kind == QueueKind::Io(qid) && !sqe.is_fabrics()).count()
    };
    assert_eq!((on(&sim, 1), on(&sim, 2)), (3, 3));
    for user in 6..9 {
        let io = Io { user, nsid: 1, op: read(user, 1), queue: Some(1) };
        sim.association.submit(&mut sim.fake, io, sim.now).unwrap();
    }
    assert_eq!((on(&sim, 1), on(&sim, 2)), (3, 6));
}

#[test]
fn a_part_that_fails_fails_the_request_once() {
    let mut sim = Sim::live(options());
    sim.fake.rule(|_, sqe| {
        (sqe.opcode == 2 && Rw::parse(sqe).slba == 32)
            .then_some(Reply::Status(Status::UNRECOVERED_READ_ERROR))
    });
    sim.submit(1, read(0, 100));
    sim.settle();
    let done = sim.ended(1);
    assert_eq!(done.result, Err(IoError::Status(Status::UNRECOVERED_READ_ERROR)));
    assert_eq!(done.data.len(), 51_200);
}

#[test]
fn transient_errors_are_retried_and_the_controllers_delay_is_kept() {
    let mut sim = Sim::new(options());
    sim.fake.identify.crdt2 = 15.into();
    sim.settle();
    let mut left = vec![Status::COMMAND_INTERRUPTED.with_crd(2), Status::TRANSIENT_TRANSPORT_ERROR];
    sim.fake.rule(move |kind, sqe| {
        if kind == QueueKind::Admin || sqe.is_fabrics() { None } else { left.pop().map(Reply::Status) }
    });
    sim.submit(1, write(3, 1, 9));
    sim.run(Duration::from_millis(1400));
    assert_eq!(io_sent(&sim).len(), 2, "the first retry is immediate, the second after 1.5 s");
    sim.run(Duration::from_millis(200));
    assert!(sim.result(1).is_ok());
    assert_eq!(sim.fake.disk.get(&3), Some(&9));
}

#[test]
fn retries_end() {
    let mut sim = Sim::live(options());
    sim.fake.rule(|kind, _| {
        (kind != QueueKind::Admin).then_some(Reply::Status(Status::TRANSIENT_TRANSPORT_ERROR))
    });
    sim.submit(1, read(0, 1));
    sim.run(Duration::from_secs(60));
    assert_eq!(sim.result(1), Err(IoError::Status(Status::TRANSIENT_TRANSPORT_ERROR)));
    assert_eq!(io_sent(&sim).len(), 6);
}

#[test]
fn raw_commands_pass_through_once() {
    let mut sim = Sim::live(options());
    sim.fake.rule(|kind, _| {
        (kind != QueueKind::Admin).then_some(Reply::Status(Status::TRANSIENT_TRANSPORT_ERROR))
    });
    sim.submit(1, Op::Raw { sqe: Sqe::with_opcode(0xc0), data: Data::None, replay: false });
    sim.settle();
    assert_eq!(sim.result(1), Err(IoError::Status(Status::TRANSIENT_TRANSPORT_ERROR)));
    assert_eq!(io_sent(&sim).len(), 1);
}

#[test]
fn admin_commands_leave_room_for_the_association() {
    let mut sim = Sim::live(options());
    sim.fake.rule(|_, sqe| (sqe.opcode == AdminOpcode::GET_FEATURES.0).then_some(Reply::Hold));
    for user in 0..40 {
        let sqe = Sqe::admin(AdminOpcode::GET_FEATURES);
        sim.association
            .submit_admin(&mut sim.fake, Admin { user, sqe, data: Data::None, replay: true }, sim.now)
            .unwrap();
    }
    // Keep-alive still gets through.
    sim.run(Duration::from_secs(20));
    assert_eq!(sim.association.state(), State::Live);
    assert!(sim.fake.count(AdminOpcode::KEEP_ALIVE.0, true) >= 7);
}

#[test]
fn without_io_queues_io_is_refused() {
    let mut sim = Sim::live(Options::discovery());
    assert_eq!(sim.try_submit(1, Op::Flush).unwrap_err().why, IoError::NoQueues.into());
}
