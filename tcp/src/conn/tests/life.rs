//! How connections end, and that every wait has an end.

use super::*;
use nvmf_transport::{Close, CloseReason, ErrorKind};
use zerocopy::IntoBytes;

fn reason(events: &mut Vec<ControllerEvent>) -> CloseReason {
    match events.pop() {
        Some(ControllerEvent::Closed { reason, .. }) => reason,
        other => panic!("{other:?}"),
    }
}

// test: TCP-QUE-10
#[test]
fn commands_come_back_aborted_then_the_queue_is_closed() {
    let mut pair = Pair::up(&Setting::default(), 1, 1000);
    pair.read(4096, 1);
    pair.write(65_536, 2);
    pair.run();
    pair.host.close(Close::Now);
    assert_eq!(pair.host.life(), Life::Over);
    pair.host.finish(&mut pair.host_events);
    let [
        HostEvent::Aborted { cookie: 1, data: a, .. },
        HostEvent::Aborted { cookie: 2, data: b, .. },
        HostEvent::Closed { reason, .. },
    ] = &pair.host_events[..]
    else {
        panic!("{:?}", pair.host_events)
    };
    assert_eq!((a.len(), b.len()), (4096, 65_536));
    assert!(matches!(reason, CloseReason::Requested));
}

#[test]
fn closing_after_flush_sends_what_was_answered() {
    let now = origin();
    let mut pair = Pair::up(&Setting::default(), 1, 1000);
    pair.read(4096, 1);
    let (request, ..) = pair.command();
    pair.success(request, pattern(1, 4096));
    pair.controller.close(Close::AfterFlush);
    assert_eq!(pair.controller.life(), Life::Draining);
    assert_eq!(pair.controller.deadline(now), Some(now + PATIENCE.flush));
    assert!(pair.completion().0.status().is_success());
    // All has left: the peer has a little while to close.
    assert_eq!(pair.controller.deadline(now), Some(now + PATIENCE.linger));
    pair.controller.peer_closed();
    assert_eq!(pair.controller.life(), Life::Over);
    pair.controller.finish(&mut pair.controller_events);
    assert!(matches!(reason(&mut pair.controller_events), CloseReason::Requested));
}

// test: TCP-ERR-12, TCP-ERR-13
#[test]
fn a_peer_that_takes_no_last_word_is_left() {
    let now = origin();
    let mut pair = Pair::up(&Setting::default(), 1, 1000);
    pair.host.take_in(&[0xff; 8], &mut [0; 4096], &mut Vec::new());
    assert_eq!(pair.host.life(), Life::Draining);
    pair.host.blocked();
    assert_eq!(pair.host.deadline(now), Some(now + PATIENCE.flush));
    pair.host.expire(now + PATIENCE.flush);
    assert!(pair.host.life() == Life::Over && pair.host.has_output());
    pair.host.finish(&mut pair.host_events);
    let Some(HostEvent::Closed { reason: CloseReason::Failed(error), .. }) = pair.host_events.pop() else {
        panic!()
    };
    assert_eq!(error.kind(), ErrorKind::Protocol, "the first reason is kept");
}

// test: TCP-ERR-12
#[test]
fn a_host_that_errs_right_after_icreq_is_left_in_time_too() {
    let now = origin();
    let setting = Setting::default();
    let mut raw = Raw::new(ControllerConn::new(setting.controller_setup(), setting.controller));
    // The second ICReq comes with the first, before the answer has left.
    raw.send(&[setting.host.request().as_bytes(), setting.host.request().as_bytes()].concat());
    assert_eq!(raw.conn.life(), Life::Draining);
    raw.output();
    assert!(!raw.conn.take_established(), "a connection that is ending never comes up");
    assert_eq!(raw.conn.deadline(now), Some(now + PATIENCE.linger));
    raw.conn.expire(now + PATIENCE.linger);
    assert_eq!(raw.conn.life(), Life::Over);
}

// test: TCP-RES-03
#[test]
fn a_peer_that_stops_reading_is_left_and_one_that_reads_slowly_is_not() {
    let start = origin();
    let mut pair = Pair::up(&Setting::default(), 1, 1 << 20);
    pair.read(65_536, 1);
    let (request, ..) = pair.command();
    pair.success(request, pattern(1, 65_536));
    let mut now = start;
    for _ in 0..100 {
        pair.controller.blocked();
        assert_eq!(pair.controller.deadline(now), Some(now + PATIENCE.stall));
        now += PATIENCE.stall - Duration::from_secs(1);
        pair.controller.expire(now);
        assert_eq!(pair.controller.life(), Life::Open);
        pair.controller.give_out(10, &mut pair.controller_events);
        assert_eq!(pair.controller.deadline(now), None);
    }
    pair.controller.blocked();
    pair.controller.deadline(now);
    pair.controller.expire(now + PATIENCE.stall);
    pair.controller.finish(&mut pair.controller_events);
    let CloseReason::Failed(error) = reason(&mut pair.controller_events) else { panic!() };
    assert_eq!(error.kind(), ErrorKind::TimedOut);
}

// test: TCP-ERR-18
#[test]
fn a_peer_that_closes_between_pdus_closes_in_good_order() {
    let setting = Setting::default();
    let mut pair = Pair::up(&setting, 1, 1000);
    pair.write(4096, 1);
    let bytes = pair.host.give_out(usize::MAX, &mut pair.host_events);
    for cut in [1, 7, 71, 72, 73, 4000, bytes.len() - 1] {
        let mut pair = Pair::up(&setting, 1, 1000);
        pair.controller.take_in(&bytes[..cut], &mut vec![0; 8192], &mut pair.controller_events);
        assert!(pair.controller_events.is_empty());
        pair.controller.peer_closed();
        pair.controller.finish(&mut pair.controller_events);
        let CloseReason::Failed(error) = reason(&mut pair.controller_events) else { panic!("cut at {cut}") };
        assert_eq!(error.kind(), ErrorKind::PeerClosed);
        assert!(pair.controller_events.is_empty());
    }
    let mut pair = Pair::up(&setting, 1, 1000);
    pair.controller.peer_closed();
    pair.controller.finish(&mut pair.controller_events);
    assert!(matches!(reason(&mut pair.controller_events), CloseReason::PeerClosed));
}

#[test]
fn a_busy_connection_has_no_deadline() {
    let mut pair = Pair::up(&Setting::default(), 1, 1000);
    pair.read(4096, 1);
    let (request, ..) = pair.command();
    pair.success(request, pattern(1, 4096));
    pair.run();
    assert_eq!((pair.host.deadline(origin()), pair.controller.deadline(origin())), (None, None));
}

#[test]
fn queues_of_impossible_sizes_are_refused() {
    let setting = Setting::default();
    let mut pair = Pair::up(&setting, 1, 1000);
    for depth in [0, 1, 9, 65_535] {
        let settings = QueueSettings { depth, ..setting.settings() };
        assert!(pair.host.configure(&settings).is_err());
    }
    for depth in [0, 1, 1025, 65_535] {
        let settings = QueueSettings { depth, ..setting.settings() };
        assert!(pair.controller.configure(&settings).is_err());
    }
}
