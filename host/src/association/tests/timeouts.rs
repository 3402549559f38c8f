//! Keep-alive, command timeouts, aborts and the orderly end.

use nvmf_transport::QueueKind;
use nvmf_wire::{
    AdminOpcode, FabricsType, Status,
    admin::Abort,
    event::{AsyncEvent, NoticeEvent},
    identify::IdentifyController,
    property::ShutdownNotification,
};

use super::{fake::Reply, *};

fn hold_io(sim: &mut Sim) {
    sim.fake.rule(|kind, sqe| (kind != QueueKind::Admin && !sqe.is_fabrics()).then_some(Reply::Hold));
}

#[test]
fn an_idle_association_is_kept_alive() {
    let mut sim = Sim::live(options());
    sim.run(Duration::from_secs(100));
    assert_eq!(sim.association.state(), State::Live);
    let sent = sim.fake.count(AdminOpcode::KEEP_ALIVE.0, true);
    assert!((38..=41).contains(&sent), "every half of 5 s: {sent}");
}

#[test]
fn without_kato_there_is_silence() {
    let mut options = options();
    options.kato = None;
    let mut sim = Sim::live(options);
    sim.run(Duration::from_secs(100));
    assert_eq!(sim.fake.count(AdminOpcode::KEEP_ALIVE.0, true), 0);
}

#[test]
fn traffic_replaces_keep_alive_where_the_controller_says_so() {
    let mut sim = Sim::new(options());
    sim.fake.identify.ctratt = (1 << 6).into();
    sim.settle();
    for user in 0..100 {
        sim.submit(user, read(0, 1));
        sim.run(Duration::from_millis(500));
    }
    assert_eq!(sim.fake.count(AdminOpcode::KEEP_ALIVE.0, true), 0);
    sim.run(Duration::from_secs(10));
    assert!(sim.fake.count(AdminOpcode::KEEP_ALIVE.0, true) >= 4);
}

// test: TCP-KA-01
#[test]
fn a_dead_controller_is_noticed_at_kato() {
    let mut sim = Sim::live(options());
    sim.submit(1, read(0, 1));
    sim.run(Duration::from_secs(1));
    let last = sim.elapsed();
    sim.fake.rule(|_, _| Some(Reply::Hold));
    sim.run(Duration::from_secs(9));
    let (at, error) = sim
        .notices
        .iter()
        .find_map(|(at, notice)| match notice {
            Notice::Lost { error, .. } => Some((*at, error.clone())),
            _ => None,
        })
        .expect("lost");
    assert_eq!(error.code(), "keep-alive-timeout");
    // Heard last with the keep-alive or read before; dead one KATO after.
    assert!(at <= last + Duration::from_secs(5) + Duration::from_millis(10), "{at:?} after {last:?}");
    assert!(at >= Duration::from_secs(5), "{at:?}");
}

#[test]
fn an_unknown_keep_alive_is_not_insisted_on() {
    let mut sim = Sim::live(options());
    sim.fake.rule(|_, sqe| {
        (sqe.opcode == AdminOpcode::KEEP_ALIVE.0).then_some(Reply::Status(Status::INVALID_OPCODE))
    });
    sim.run(Duration::from_secs(60));
    assert_eq!((sim.association.state(), sim.fake.count(AdminOpcode::KEEP_ALIVE.0, true)), (State::Live, 1));
}

#[test]
fn an_overdue_command_is_aborted_and_reported() {
    let mut sim = Sim::live(options());
    hold_io(&mut sim);
    sim.submit(1, read(0, 1));
    sim.run(Duration::from_secs(29));
    assert_eq!(sim.fake.count(AdminOpcode::ABORT.0, true), 0);
    sim.run(Duration::from_secs(2));
    let abort = sim.fake.sent.iter().find(|(_, sqe)| sqe.opcode == AdminOpcode::ABORT.0).unwrap().1;
    let abort = Abort::parse(&abort);
    let (queue, cid, _) = sim.fake.held()[0];
    assert_eq!(abort.cid, cid, "the CID on the wire");
    assert!(abort.sqid == 1 || abort.sqid == 2);
    sim.fake.answer(queue, cid, Reply::Status(Status::ABORT_REQUESTED));
    sim.settle();
    let done = sim.ended(1);
    assert_eq!((done.result, done.data.len()), (Err(IoError::Timeout), 512));
    assert_eq!(sim.association.state(), State::Live);
}

#[test]
fn a_late_answer_still_counts() {
    let mut sim = Sim::live(options());
    hold_io(&mut sim);
    sim.submit(1, read(0, 1));
    sim.run(Duration::from_secs(31));
    let (queue, cid, _) = sim.fake.held()[0];
    sim.fake.answer(queue, cid, Reply::Good);
    sim.settle();
    assert!(sim.result(1).is_ok());
}

#[test]
fn an_ineffective_abort_resets_and_the_command_is_sent_again() {
    for abort in [Reply::Good, Reply::Hold] {
        let mut sim = Sim::live(options());
        hold_io(&mut sim);
        sim.fake.rule(move |kind, sqe| {
            (kind == QueueKind::Admin && sqe.opcode == AdminOpcode::ABORT.0).then_some(abort)
        });
        sim.submit(1, write(7, 1, 3));
        sim.run(Duration::from_secs(36));
        let lost = sim
            .notices
            .iter()
            .any(|(_, n)| matches!(n, Notice::Lost { error, .. } if error.code() == "abort-timeout"));
        assert!(lost, "{:?}", sim.notices);
        assert!(sim.done.is_empty(), "held, not failed");
        sim.fake.clear_rules();
        sim.run(Duration::from_secs(15));
        assert!(sim.result(1).is_ok());
        assert_eq!(sim.fake.disk.get(&7), Some(&3));
    }
}

#[test]
fn a_command_that_kills_every_association_ends_at_last() {
    let mut options = options();
    options.controller_loss_timeout = None;
    let mut sim = Sim::live(options);
    hold_io(&mut sim);
    sim.submit(1, write(7, 1, 3));
    sim.run(Duration::from_secs(600));
    assert_eq!(sim.result(1), Err(IoError::Timeout));
}

#[test]
fn aborts_respect_the_controllers_limit() {
    let mut sim = Sim::live(options());
    hold_io(&mut sim);
    sim.fake.rule(|kind, sqe| {
        (kind == QueueKind::Admin && sqe.opcode == AdminOpcode::ABORT.0).then_some(Reply::Hold)
    });
    for user in 0..14 {
        sim.submit(user, read(user, 1));
    }
    sim.run(Duration::from_secs(32));
    assert_eq!(sim.fake.count(AdminOpcode::ABORT.0, true), 4, "ACL is 3, 0's based");
}

#[test]
fn namespace_events_lead_to_a_scan_and_a_new_request() {
    let mut sim = Sim::live(options());
    let namespace = sim.fake.namespaces[0].1;
    sim.fake.namespaces.push((3, namespace));
    let event = AsyncEvent::notice(NoticeEvent::NAMESPACE_ATTRIBUTE_CHANGED);
    sim.fake.answer_event(event.bits());
    sim.settle();
    assert!(sim.notices.iter().any(|(_, notice)| matches!(notice, Notice::NamespacesChanged)));
    assert_eq!(sim.association.namespaces().len(), 2);
    assert_eq!(sim.fake.count(AdminOpcode::ASYNC_EVENT_REQUEST.0, true), 5);
    assert_eq!(sim.fake.count(AdminOpcode::GET_LOG_PAGE.0, true), 1, "read, and thereby acknowledged");
}

#[test]
fn discovery_events_are_reported_even_if_the_log_cannot_be_read() {
    let mut sim = Sim::new(Options::persistent_discovery());
    sim.fake.identify.oaes = (1 << 31).into();
    sim.fake.rule(|_, sqe| {
        (sqe.opcode == AdminOpcode::GET_LOG_PAGE.0).then_some(Reply::Status(Status::INVALID_LOG_PAGE))
    });
    sim.settle();
    for round in 1..=3 {
        sim.fake.answer_event(AsyncEvent::notice(NoticeEvent::DISCOVERY_LOG_CHANGE).bits());
        sim.settle();
        let reported =
            sim.notices.iter().filter(|(_, notice)| matches!(notice, Notice::DiscoveryChanged)).count();
        assert_eq!(reported, round);
    }
}

#[test]
fn closing_finishes_requests_and_shuts_the_controller_down() {
    let mut sim = Sim::new(options());
    sim.fake.identify.ofcs = IdentifyController::OFCS_DISCONNECT.into();
    sim.settle();
    hold_io(&mut sim);
    sim.submit(1, write(1, 1, 5));
    sim.association.close(&mut sim.fake, sim.now, true);
    assert_eq!(sim.try_submit(2, read(0, 1)).unwrap_err().why, IoError::Closed.into());
    sim.settle();
    assert_eq!(sim.association.state(), State::Closing);
    let (queue, cid, _) = sim.fake.held()[0];
    sim.fake.answer(queue, cid, Reply::Good);
    sim.run(Duration::from_secs(1));
    assert!(sim.result(1).is_ok());
    assert_eq!(sim.association.state(), State::Ended);
    assert!(sim.association.error().is_none());
    assert_eq!(sim.fake.cc.shn(), ShutdownNotification::NORMAL);
    let disconnects =
        sim.fake.sent.iter().filter(|(_, sqe)| sqe.fctype() == Some(FabricsType::DISCONNECT)).count();
    assert_eq!(disconnects, 2);
    assert!(matches!(sim.notices.last(), Some((_, Notice::Ended { error: None }))));
}

#[test]
fn a_controller_that_shuts_down_is_not_kept_alive() {
    let mut sim = Sim::live(options());
    sim.fake.rule(|_, sqe| (sqe.fctype() == Some(FabricsType::PROPERTY_SET)).then_some(Reply::Hold));
    sim.association.close(&mut sim.fake, sim.now, true);
    sim.run(Duration::from_secs(4));
    assert_eq!(sim.association.state(), State::Closing);
    // Its timer stands still (CSTS.SHST is not 0), and Linux's target calls the command out of sequence.
    assert_eq!(sim.fake.count(AdminOpcode::KEEP_ALIVE.0, true), 0);
}

#[test]
fn closing_is_bounded_and_everything_ends() {
    let mut sim = Sim::live(options());
    sim.fake.rule(|_, _| Some(Reply::Hold));
    sim.submit(1, write(1, 1, 5));
    sim.submit(2, Op::Raw { sqe: nvmf_wire::Sqe::with_opcode(0xc0), data: Data::None, replay: false });
    sim.association.close(&mut sim.fake, sim.now, true);
    sim.run(Duration::from_secs(6));
    assert_eq!(sim.association.state(), State::Ended);
    assert_eq!(sim.result(1), Err(IoError::Closed));
    assert_eq!(sim.result(2), Err(IoError::Disconnected));
    assert!(!sim.fake.any_open());
}

#[test]
fn closing_at_any_moment_ends() {
    for rounds in 0..40 {
        for orderly in [false, true] {
            let mut sim = Sim::new(options());
            for _ in 0..rounds {
                sim.poll();
            }
            sim.association.close(&mut sim.fake, sim.now, orderly);
            sim.run(Duration::from_secs(10));
            assert_eq!(sim.association.state(), State::Ended, "closed after {rounds} polls");
            assert!(!sim.fake.any_open());
        }
    }
}
