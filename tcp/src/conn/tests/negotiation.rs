//! ICReq and ICResp: what is agreed, and every way in which it is not.

use super::*;
use crate::pdu::{Kind, Role};
use nvmf_transport::{Close, CloseReason, ErrorKind, Misuse};
use zerocopy::IntoBytes;

fn closed(events: &mut Vec<HostEvent>) -> nvmf_transport::Error {
    match events.pop() {
        Some(HostEvent::Closed { reason: CloseReason::Failed(error), .. }) => error,
        other => panic!("{other:?}"),
    }
}

fn host() -> Raw<HostConn> {
    let setting = Setting::default();
    let mut conn = HostConn::new(setting.host_setup());
    conn.start(setting.host);
    let mut raw = Raw::new(conn);
    raw.output();
    raw
}

fn controller(setting: &Setting) -> Raw<ControllerConn> {
    Raw::new(ControllerConn::new(setting.controller_setup(), setting.controller))
}

fn ic_resp() -> Vec<u8> {
    let setting = Setting::default();
    setting.controller.answer(&setting.host.request()).unwrap().0.as_bytes().to_vec()
}

fn put(mut pdu: Vec<u8>, at: usize, value: &[u8]) -> Vec<u8> {
    pdu[at..at + value.len()].copy_from_slice(value);
    pdu
}

// test: TCP-IC-01, TCP-IC-05, TCP-IC-10, TCP-IC-11, TCP-IC-15, TCP-IC-16, TCP-IC-21
#[test]
fn what_is_offered_and_supported_is_agreed() {
    for offered in 0..4u8 {
        for granted in 0..4u8 {
            let policy =
                |bits: u8, bit: u8| if bits & bit != 0 { DigestPolicy::On } else { DigestPolicy::Off };
            let mut setting = Setting::default().digests(offered & 1 != 0, offered & 2 != 0);
            setting.controller.header_digest = policy(granted, 1);
            setting.controller.data_digest = policy(granted, 2);
            let mut pair = Pair::new(&setting, 1, 50);
            assert!(!pair.host.take_established());
            pair.run();
            assert!(pair.host.take_established() && pair.controller.take_established());
            assert!(!pair.host.take_established(), "told once");
            assert_eq!(pair.host.negotiated_terms(), pair.controller.negotiated_terms());
            assert_eq!(pair.host.negotiated_terms().unwrap().digests.bits(), offered & granted);
            assert_eq!((pair.to_controller.len(), pair.to_host.len()), (128, 128));
            assert_eq!(pair.to_host[4..8], 128u32.to_le_bytes());
        }
    }
}

// test: TCP-IC-02, TCP-IC-06, TCP-IC-07, TCP-IC-17, TCP-IC-20, TCP-IC-18, TCP-ERR-10
#[test]
fn a_wrong_icreq_is_answered_with_the_offset_of_what_is_wrong() {
    let setting = Setting::default();
    let good = setting.host.request().as_bytes().to_vec();
    let cases: Vec<(&str, Vec<u8>, u16, u32)> = vec![
        ("PFV", put(good.clone(), 8, &[1]), 1, 8),
        ("HPDA", put(good.clone(), 10, &[32]), 1, 10),
        ("HLEN", put(good.clone(), 2, &[127]), 1, 2),
        ("PLEN short", put(good.clone(), 4, &127u32.to_le_bytes()), 1, 4),
        ("PLEN long", put(good.clone(), 4, &129u32.to_le_bytes()), 1, 4),
        ("PLEN huge", put(good.clone(), 4, &[0xff; 4]), 1, 4),
        ("PDO", put(good.clone(), 3, &[8]), 1, 3),
        ("a command first", [vec![4, 0, 72, 0, 72, 0, 0, 0], vec![0; 64]].concat(), 2, 0),
        ("data first", [vec![6, 0, 24, 24, 28, 0, 0, 0], vec![0; 20]].concat(), 2, 0),
        ("a response", put(good.clone(), 0, &[1]), 1, 0),
        ("HTTP", b"GET / HTTP/1.1\r\nHost: a\r\n\r\n".to_vec(), 1, 0),
        ("TLS", vec![0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3], 1, 0),
    ];
    for (what, bytes, fes, fei) in cases {
        let mut raw = controller(&setting);
        raw.send(&bytes);
        assert_eq!(term_req(&raw.output(), 3), (fes, fei), "{what}");
        assert!(raw.events.is_empty() && !raw.conn.take_established(), "{what}");
    }
    let mut required = setting.clone();
    required.controller.data_digest = DigestPolicy::Required;
    let mut raw = controller(&required);
    raw.send(&good);
    assert_eq!(term_req(&raw.output(), 3), (6, 11));
    raw.conn.peer_closed();
    raw.conn.finish(&mut raw.events);
    let Some(ControllerEvent::Closed { reason: CloseReason::Failed(error), .. }) = raw.events.pop() else {
        panic!()
    };
    assert_eq!(error.kind(), ErrorKind::Incompatible);
}

// test: TCP-CH-05
#[test]
fn unknown_flags_of_icreq_are_passed_over() {
    let setting = Setting::default();
    let good = setting.host.request().as_bytes().to_vec();
    for flags in [1, 2, 3, 0x80, 0xff] {
        let mut raw = controller(&setting);
        raw.send(&put(good.clone(), 1, &[flags]));
        let answer = raw.output();
        assert_eq!((answer.len(), answer[0], answer[1]), (128, 1, 0), "an ICResp without flags");
        assert!(raw.conn.take_established());
    }
}

// test: TCP-IC-21
#[test]
fn nothing_may_come_before_icresp_has_left() {
    let setting = Setting::default();
    let request = setting.host.request();
    let flush = [vec![4, 0, 72, 0, 72, 0, 0, 0], vec![0; 64]].concat();
    for second in [flush, request.as_bytes().to_vec()] {
        let mut raw = controller(&setting);
        raw.send(&[request.as_bytes(), &second].concat());
        let out = raw.output();
        let pdus = pdus(&out);
        assert_eq!((pdus.len(), pdus[0][0]), (2, 1));
        assert_eq!(term_req(pdus[1], 3).0, 2);
        assert!(raw.events.is_empty());
    }
}

// test: TCP-IC-03, TCP-IC-12, TCP-IC-13, TCP-IC-14, TCP-IC-15, TCP-IC-16, TCP-IC-19
#[test]
fn a_wrong_icresp_is_refused_with_the_offset_of_what_is_wrong() {
    let good = ic_resp();
    let cases = [
        ("PFV", put(good.clone(), 8, &[1]), 1, 8),
        ("CPDA", put(good.clone(), 10, &[32]), 1, 10),
        ("a digest not offered", put(good.clone(), 11, &[1]), 1, 11),
        ("MAXH2CDATA 0", put(good.clone(), 12, &[0; 4]), 1, 12),
        ("MAXH2CDATA 4095", put(good.clone(), 12, &4095u32.to_le_bytes()), 1, 12),
        ("MAXH2CDATA 4097", put(good.clone(), 12, &4097u32.to_le_bytes()), 1, 12),
        ("HLEN", put(good.clone(), 2, &[24]), 1, 2),
        ("PLEN", put(good.clone(), 4, &[0]), 1, 4),
        ("ICReq back", put(good.clone(), 0, &[0]), 1, 0),
        ("a completion", [vec![5, 0, 24, 0, 24, 0, 0, 0], vec![0; 16]].concat(), 2, 0),
    ];
    for (what, bytes, fes, fei) in cases {
        let mut raw = host();
        raw.send(&bytes);
        assert_eq!(term_req(&raw.output(), 2), (fes, fei), "{what}");
        raw.conn.peer_closed();
        raw.conn.finish(&mut raw.events);
        assert_eq!(closed(&mut raw.events).kind(), ErrorKind::Protocol, "{what}");
    }
    let mut raw = host();
    raw.send(&good);
    raw.send(&good);
    assert_eq!(term_req(&raw.output(), 2), (2, 0), "twice");
}

// test: TCP-IC-20
#[test]
fn a_host_can_insist_on_a_digest() {
    let mut setting = Setting::default();
    setting.host.header_digest = DigestPolicy::Required;
    let mut pair =
        Pair::new(&Setting { controller: Setting::default().controller, ..setting.clone() }, 1, 1000);
    pair.run();
    assert!(pair.host.take_established());
    setting.controller.header_digest = DigestPolicy::Off;
    let mut pair = Pair::new(&setting, 1, 1000);
    pair.run();
    assert_eq!(pair.host.life(), Life::Draining);
    pair.host.peer_closed();
    pair.host.finish(&mut pair.host_events);
    assert_eq!(closed(&mut pair.host_events).kind(), ErrorKind::Incompatible);
    assert_eq!(term_req(&pair.to_controller[128..], 2).0, 6);
    assert_eq!(pair.controller.life(), Life::Over, "a termination request ends it");
}

#[test]
fn a_server_of_something_else_is_told_apart() {
    for banner in
        [&b"HTTP/1.1 400 Bad Request\r\n\r\n"[..], b"SSH-2.0-OpenSSH_9.9\r\n", b"220 mail ESMTP\r\n"]
    {
        let mut raw = host();
        raw.send(banner);
        assert!(raw.conn.life() == Life::Over && raw.output().is_empty());
        raw.conn.finish(&mut raw.events);
        let error = closed(&mut raw.events);
        assert_eq!(error.kind(), ErrorKind::NotNvme);
        assert!(error.detail().contains(std::str::from_utf8(&banner[..7]).unwrap()), "{error}");
    }
    // Too short for a header, then closed.
    let mut raw = host();
    raw.send(b"NO\r\n");
    raw.conn.peer_closed();
    raw.conn.finish(&mut raw.events);
    assert_eq!(closed(&mut raw.events).kind(), ErrorKind::NotNvme);
}

#[test]
fn a_missing_icresp_is_called_by_its_name() {
    let now = origin();
    let mut raw = host();
    raw.conn.peer_closed();
    raw.conn.finish(&mut raw.events);
    let error = closed(&mut raw.events);
    assert_eq!(error.kind(), ErrorKind::PeerClosed);
    assert!(error.detail().contains("ICResp"));

    for partial in [&[][..], &ic_resp()[..127]] {
        let mut raw = host();
        raw.send(partial);
        let deadline = raw.conn.deadline(now).unwrap();
        assert_eq!(deadline, now + PATIENCE.negotiate);
        raw.conn.expire(deadline - Duration::from_millis(1));
        assert_eq!(raw.conn.life(), Life::Open);
        raw.conn.expire(deadline);
        raw.conn.finish(&mut raw.events);
        let error = closed(&mut raw.events);
        assert_eq!(error.kind(), ErrorKind::TimedOut);
        assert!(error.detail().contains("ICResp"), "{error}");
    }
}

// test: TCP-IC-24
#[test]
fn a_slow_host_is_cut_off_and_a_slow_but_timely_one_is_not() {
    let setting = Setting::default();
    let request = setting.host.request().as_bytes().to_vec();
    let start = origin();
    for (step, fine) in [(Duration::from_secs(1), false), (Duration::from_millis(70), true)] {
        let mut raw = controller(&setting);
        raw.conn.deadline(start);
        for (at, byte) in request.iter().enumerate() {
            let now = start + step * at as u32;
            raw.conn.expire(now);
            raw.send(&[*byte]);
            // No byte starts the timer anew.
            assert!(raw.conn.deadline(now).is_none_or(|at| at == start + PATIENCE.negotiate));
        }
        raw.output();
        assert_eq!(raw.conn.take_established(), fine);
        assert_eq!(raw.conn.life(), if fine { Life::Open } else { Life::Over });
        assert!(raw.conn.deadline(start).is_none());
    }
}

#[test]
fn a_command_before_the_connection_is_up_is_refused() {
    let mut raw = host();
    let refused = raw.conn.submit(Command { sqe: Sqe::default(), data: Data::None, cookie: 3 }).unwrap_err();
    assert_eq!((refused.why, refused.given_back.cookie), (Misuse::NotConnected, 3));
    raw.conn.close(Close::AfterFlush);
    assert_eq!(raw.conn.life(), Life::Over, "there is nothing to flush");
}

// test: TCP-IC-09, TCP-IC-25
#[test]
fn what_a_peer_announces_is_clamped() {
    let setting = Setting::default();
    let request = put(setting.host.request().as_bytes().to_vec(), 12, &[0xff; 4]);
    let mut raw = controller(&setting);
    raw.send(&request);
    raw.output();
    assert_eq!(raw.conn.negotiated_terms().unwrap().max_r2t.get(), u32::MAX);

    let mut raw = host();
    raw.send(&put(ic_resp(), 12, &[0xfc, 0xff, 0xff, 0xff]));
    let terms = *raw.conn.negotiated_terms().unwrap();
    assert!(terms.sender(Role::Host).layout(Kind::H2cData, terms.max_h2c_data).plen() > terms.max_h2c_data);
}
