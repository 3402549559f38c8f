//! Losses: what is held, what is sent again, what fails and when.

use nvmf_transport::{ErrorKind, QueueKind, Stage as At};
use nvmf_wire::{
    AdminOpcode, FabricsType, Sqe, Status,
    fabrics::{Connect, InvalidParameter},
};

use super::{
    fake::{Connection, Reply},
    *,
};
use crate::Admin;

fn hold_io(sim: &mut Sim) {
    sim.fake.rule(|kind, sqe| (kind != QueueKind::Admin && !sqe.is_fabrics()).then_some(Reply::Hold));
}

fn refuse(sim: &mut Sim) {
    sim.fake.connection = Connection::Fail(At::Connect, ErrorKind::Refused);
}

fn seconds(sim: &Sim, which: fn(&Notice) -> bool) -> Vec<u64> {
    sim.notices.iter().filter(|(_, notice)| which(notice)).map(|(at, _)| at.as_secs()).collect()
}

#[test]
fn requests_in_flight_are_held_and_sent_again() {
    let mut sim = Sim::live(options());
    hold_io(&mut sim);
    for user in 0..10 {
        sim.submit(user, write(user, 1, user as u8 + 1));
    }
    sim.settle();
    sim.fake.cut();
    sim.settle();
    assert_eq!(sim.association.state(), State::Reconnecting);
    assert!(sim.done.is_empty());
    sim.submit(10, write(10, 1, 11));
    sim.fake.clear_rules();
    sim.run(Duration::from_secs(11));
    assert_eq!(sim.association.state(), State::Live);
    for user in 0..=10 {
        assert!(sim.result(user).is_ok());
        assert_eq!(sim.fake.disk.get(&user), Some(&(user as u8 + 1)));
    }
}

#[test]
fn one_lost_queue_takes_all_down_and_all_come_back_with_the_same_parameters() {
    let mut options = options();
    options.sq_flow_control = true;
    options.kato = Some(Duration::from_secs(9));
    let mut sim = Sim::live(options);
    let first: Vec<_> = sim
        .fake
        .sent
        .iter()
        .filter(|(_, s)| s.fctype() == Some(FabricsType::CONNECT))
        .map(|(_, s)| Connect::parse(s))
        .collect();
    let connects = sim.fake.connects.clone();
    let before = sim.fake.sent.len();
    sim.fake.cut_one(QueueKind::Io(2));
    sim.settle();
    assert!(!sim.fake.any_open());
    sim.run(Duration::from_secs(11));
    assert_eq!(sim.association.state(), State::Live);
    let again: Vec<_> = sim.fake.sent[before..]
        .iter()
        .filter(|(_, s)| s.fctype() == Some(FabricsType::CONNECT))
        .map(|(_, s)| Connect::parse(s))
        .collect();
    assert_eq!(first, again);
    for (a, b) in connects.iter().zip(&sim.fake.connects[connects.len()..]) {
        assert_eq!((a.kind, a.depth, a.max_in_capsule), (b.kind, b.depth, b.max_in_capsule));
    }
}

#[test]
fn the_delay_between_attempts_is_fixed() {
    let mut sim = Sim::live(options());
    sim.run(Duration::from_secs(5));
    refuse(&mut sim);
    sim.fake.cut();
    sim.run(Duration::from_secs(35));
    assert_eq!(seconds(&sim, |n| matches!(n, Notice::Lost { .. })), [5]);
    assert_eq!(seconds(&sim, |n| matches!(n, Notice::AttemptFailed { .. })), [15, 25, 35]);
    sim.fake.connection = Connection::Accept;
    sim.run(Duration::from_secs(10));
    assert_eq!(seconds(&sim, |n| matches!(n, Notice::Connected { again: true })), [45]);
}

#[test]
fn a_controller_that_needs_time_to_give_old_commands_up_gets_it() {
    let mut sim = Sim::new(options());
    sim.fake.identify.cqt = 20_000.into();
    sim.settle();
    sim.fake.cut();
    sim.run(Duration::from_secs(19));
    assert_eq!(sim.association.state(), State::Reconnecting);
    sim.run(Duration::from_secs(2));
    assert_eq!(sim.association.state(), State::Live);
}

#[test]
fn fast_fail_fails_held_and_new_requests_until_it_is_back() {
    let mut options = options();
    options.fast_io_fail_timeout = Some(Duration::from_secs(15));
    let mut sim = Sim::live(options);
    hold_io(&mut sim);
    sim.submit(1, read(0, 1));
    sim.submit(2, read(0, 500));
    refuse(&mut sim);
    sim.settle();
    sim.fake.cut();
    sim.run(Duration::from_secs(14));
    assert!(sim.done.is_empty());
    sim.run(Duration::from_secs(2));
    for (user, len) in [(1, 512), (2, 256_000)] {
        let done = sim.ended(user);
        assert_eq!((done.result, done.data.len()), (Err(IoError::FastFail), len));
    }
    assert_eq!(seconds(&sim, |n| matches!(n, Notice::FastFailing)), [15]);
    assert_eq!(sim.try_submit(3, read(0, 1)).unwrap_err().why, IoError::FastFail.into());
    sim.fake.connection = Connection::Accept;
    sim.fake.clear_rules();
    sim.run(Duration::from_secs(10));
    sim.submit(4, read(0, 1));
    sim.settle();
    assert!(sim.result(4).is_ok());
}

#[test]
fn controller_loss_ends_everything() {
    let mut options = options();
    options.controller_loss_timeout = Some(Duration::from_secs(25));
    let mut sim = Sim::live(options);
    hold_io(&mut sim);
    sim.submit(1, read(0, 1));
    refuse(&mut sim);
    sim.fake.cut();
    sim.run(Duration::from_secs(60));
    assert_eq!(sim.association.state(), State::Ended);
    assert_eq!(sim.result(1), Err(IoError::Lost));
    assert_eq!(seconds(&sim, |n| matches!(n, Notice::Ended { .. })), [25]);
    let error = sim.association.error().unwrap();
    assert_eq!(error.code(), "controller-lost");
    assert!(error.detail().contains("Refused"), "the last reason is told: {error}");
    assert_eq!(sim.try_submit(2, read(0, 1)).unwrap_err().why, IoError::Lost.into());
    assert_eq!(sim.association.next_timeout(), None);
}

#[test]
fn loss_timeout_zero_means_no_second_try() {
    let mut options = options();
    options.controller_loss_timeout = Some(Duration::ZERO);
    let mut sim = Sim::live(options);
    hold_io(&mut sim);
    sim.submit(1, read(0, 1));
    sim.settle();
    sim.fake.cut();
    sim.settle();
    assert_eq!(sim.result(1), Err(IoError::Lost));
    assert_eq!(sim.association.state(), State::Ended);
    assert_eq!(sim.association.error().unwrap().code(), "connection-lost");
}

#[test]
fn never_given_up_without_a_loss_timeout() {
    let mut options = options();
    options.controller_loss_timeout = None;
    let mut sim = Sim::live(options);
    refuse(&mut sim);
    sim.fake.cut();
    sim.run(Duration::from_secs(3600));
    assert_eq!(sim.association.state(), State::Reconnecting);
    sim.fake.connection = Connection::Accept;
    sim.run(Duration::from_secs(11));
    assert_eq!(sim.association.state(), State::Live);
}

#[test]
fn a_final_answer_ends_reconnecting() {
    let mut sim = Sim::live(options());
    let reply =
        Reply::StatusWith(Status::CONNECT_INVALID_PARAMETERS.with_dnr(), InvalidParameter::SUBNQN.dw0());
    sim.fake.rule(move |_, sqe| (sqe.fctype() == Some(FabricsType::CONNECT)).then_some(reply));
    sim.fake.cut();
    sim.run(Duration::from_secs(11));
    assert_eq!(sim.association.state(), State::Ended);
    assert_eq!(sim.association.error().unwrap().code(), "unknown-subsystem");
}

#[test]
fn a_busy_controller_is_tried_again() {
    let mut sim = Sim::live(options());
    let mut left = 2;
    sim.fake.rule(move |_, sqe| {
        let refuse = sqe.fctype() == Some(FabricsType::CONNECT) && left > 0;
        left -= usize::from(refuse);
        refuse.then_some(Reply::Status(Status::CONNECT_CONTROLLER_BUSY))
    });
    sim.fake.cut();
    sim.run(Duration::from_secs(31));
    assert_eq!(sim.association.state(), State::Live);
}

#[test]
fn what_must_not_be_sent_twice_ends_distinctly() {
    let mut sim = Sim::live(options());
    sim.fake.rule(|_, sqe| (!sqe.is_fabrics() && sqe.opcode >= 0xc0).then_some(Reply::Hold));
    let raw = |replay| Op::Raw { sqe: Sqe::with_opcode(0xc0), data: Data::None, replay };
    sim.submit(1, raw(false));
    sim.submit(2, raw(true));
    let admin = |user, replay| Admin { user, sqe: Sqe::admin(AdminOpcode(0xc1)), data: Data::None, replay };
    sim.association.submit_admin(&mut sim.fake, admin(3, false), sim.now).unwrap();
    sim.association.submit_admin(&mut sim.fake, admin(4, true), sim.now).unwrap();
    sim.settle();
    sim.fake.cut();
    sim.settle();
    assert_eq!(sim.result(1), Err(IoError::Disconnected));
    assert_eq!(sim.result(3), Err(IoError::Disconnected));
    // Not sent yet when the association is down: nothing can have happened, so it waits.
    sim.submit(5, raw(false));
    sim.fake.clear_rules();
    sim.run(Duration::from_secs(11));
    assert!(sim.result(2).is_ok() && sim.result(4).is_ok() && sim.result(5).is_ok());
}

#[test]
fn another_disk_under_the_same_number_gets_nothing() {
    let mut sim = Sim::live(options());
    hold_io(&mut sim);
    sim.submit(1, write(0, 1, 1));
    sim.submit(2, write(0, 500, 1));
    sim.settle();
    sim.fake.cut();
    sim.fake.uuid = [8; 16];
    sim.fake.clear_rules();
    sim.run(Duration::from_secs(11));
    assert_eq!(sim.association.state(), State::Live);
    assert_eq!(sim.result(1), Err(IoError::NamespaceChanged));
    assert_eq!(sim.result(2), Err(IoError::NamespaceChanged));
    assert!(sim.fake.disk.is_empty());
    sim.submit(3, write(0, 1, 1));
    sim.settle();
    assert!(sim.result(3).is_ok());
}

#[test]
fn held_requests_are_cut_to_smaller_limits() {
    let mut sim = Sim::live(options());
    hold_io(&mut sim);
    sim.submit(1, write(0, 32, 1));
    sim.submit(2, write(100, 100, 2));
    sim.settle();
    sim.fake.cut();
    sim.fake.clear_rules();
    sim.fake.identify.mdts = 1;
    sim.run(Duration::from_secs(11));
    assert!(sim.result(1).is_ok());
    let done = sim.ended(2);
    assert_eq!((done.result.is_ok(), done.data.len()), (true, 51_200));
    assert_eq!(sim.fake.disk.len(), 132);
}

#[test]
fn fewer_queues_after_a_reconnect_are_enough() {
    let mut sim = Sim::live(options());
    sim.fake.granted = 1;
    sim.fake.cut();
    sim.run(Duration::from_secs(11));
    assert_eq!(sim.association.info().unwrap().queues.len(), 2);
    for user in 0..20 {
        sim.submit(user, read(user, 1));
    }
    sim.settle();
    (0..20).for_each(|user| assert!(sim.result(user).is_ok()));
}

#[test]
fn a_cut_at_every_step_of_reconnecting_is_survived() {
    for rounds in 0..40 {
        let mut sim = Sim::live(options());
        sim.submit(1, write(1, 100, 1));
        sim.fake.cut();
        sim.run(Duration::from_secs(10) - Duration::from_nanos(1));
        sim.now += Duration::from_nanos(2);
        for _ in 0..rounds {
            sim.poll();
        }
        sim.fake.cut();
        sim.run(Duration::from_secs(25));
        assert_eq!(sim.association.state(), State::Live, "cut after {rounds} polls: {:?}", sim.notices);
        assert!(sim.result(1).is_ok());
    }
}

#[test]
fn an_engine_that_fails_ends_everything_once() {
    let mut sim = Sim::live(options());
    hold_io(&mut sim);
    sim.submit(1, write(1, 1, 1));
    sim.submit(2, write(1, 2000, 1));
    sim.association.engine_failed(nvmf_transport::Error::new(At::Setup, ErrorKind::Io, "epoll is gone"));
    sim.association.take_done(&mut sim.done);
    assert!(sim.result(1).is_err() && sim.result(2).is_err());
    assert_eq!(sim.association.state(), State::Ended);
    assert_eq!(sim.association.outstanding(), 0);
}
