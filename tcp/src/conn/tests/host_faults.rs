//! What a host makes of a controller that breaks the rules.

use super::*;
use crate::{
    digest::crc32c,
    pdu::{DataToHost, Kind, Role, Sender},
};
use nvmf_transport::{CloseReason, ErrorKind, Misuse};
use nvmf_wire::Cid;
use zerocopy::IntoBytes;

/// A host that has negotiated, and what its controller sends with.
fn up(setting: &Setting) -> (Raw<HostConn>, Sender) {
    let mut conn = HostConn::new(setting.host_setup());
    conn.start(setting.host);
    let mut raw = Raw::new(conn);
    assert_eq!(raw.output().len(), 128);
    let (response, negotiated) = setting.controller.answer(&setting.host.request()).unwrap();
    raw.send(response.as_bytes());
    raw.conn.configure(&setting.settings()).unwrap();
    (raw, negotiated.sender(Role::Controller))
}

fn read(raw: &mut Raw<HostConn>, len: usize) -> Cid {
    let data = Data::FromController(buffer(len));
    raw.conn.submit(Command { sqe: Sqe::io(IoOpcode::READ, 1), data, cookie: 1 }).unwrap()
}

fn write(raw: &mut Raw<HostConn>, len: usize) -> Cid {
    let data = Data::ToController(pattern(1, len));
    raw.conn.submit(Command { sqe: Sqe::io(IoOpcode::WRITE, 1), data, cookie: 1 }).unwrap()
}

fn response(sender: &Sender, cqe: &Cqe) -> Vec<u8> {
    let mut out = [0; 128];
    let len = sender.capsule_resp(cqe, &mut out).unwrap().len;
    out[..len].to_vec()
}

fn c2h(sender: &Sender, fields: DataToHost, data: &[u8]) -> Vec<u8> {
    let mut out = [0; 128];
    let len = sender.c2h_data(&fields, &mut out).unwrap().len;
    let mut pdu = out[..len].to_vec();
    pdu.extend_from_slice(data);
    if sender.layout(Kind::C2hData, data.len() as u32).has_data_digest() {
        pdu.extend_from_slice(&crc32c(data).to_le_bytes());
    }
    pdu
}

fn r2t(sender: &Sender, cid: Cid, ttag: u16, offset: u32, len: u32) -> Vec<u8> {
    let mut out = [0; 128];
    let n = sender.r2t(cid.0, ttag, offset, len, &mut out).unwrap().len;
    out[..n].to_vec()
}

/// The end of a queue that the host terminated: what it said, and how many commands came back.
// test: TCP-TRM-01, TCP-TRM-06, TCP-QUE-10
fn terminated(mut raw: Raw<HostConn>, offender: &[u8], outstanding: usize) -> (u16, u32) {
    let out = raw.output();
    let out = pdus(&out).pop().expect("something was said").to_vec();
    let said = term_req(&out, 2);
    assert!(offender.starts_with(&out[24..]));
    assert_eq!(raw.conn.life(), Life::Draining);
    raw.conn.peer_closed();
    raw.conn.finish(&mut raw.events);
    let aborted = raw.events.iter().filter(|event| matches!(event, HostEvent::Aborted { .. })).count();
    assert_eq!(aborted, outstanding);
    assert!(matches!(raw.events.last(), Some(HostEvent::Closed { reason: CloseReason::Failed(_), .. })));
    said
}

// test: TCP-C2H-04, TCP-C2H-05, TCP-C2H-08, TCP-C2H-11, TCP-C2H-12, TCP-C2H-13, TCP-C2H-17
#[test]
fn data_that_does_not_belong_ends_the_connection() {
    let setting = Setting::default();
    let (mut raw, sender) = up(&setting);
    let cid = read(&mut raw, 8192);
    let fields = DataToHost { cccid: cid.0, offset: 0, length: 4096, last: false, success: false };
    let pdu = |fields: DataToHost| c2h(&sender, fields, &vec![0; fields.length as usize]);
    let mut success_alone = pdu(fields);
    success_alone[1] = 8;
    let cases = [
        ("unknown command", vec![pdu(DataToHost { cccid: cid.0 ^ 1, ..fields })], 1, 8),
        ("stale command", vec![pdu(DataToHost { cccid: cid.0.wrapping_add(8), ..fields })], 1, 8),
        ("a gap", vec![pdu(DataToHost { offset: 4096, ..fields })], 2, 0),
        ("overlap", vec![pdu(fields), pdu(fields)], 2, 0),
        ("beyond the buffer", vec![pdu(DataToHost { offset: 8192, ..fields })], 4, 0),
        ("across the end", vec![pdu(DataToHost { length: 8196, ..fields })], 4, 0),
        ("wrapping", vec![pdu(DataToHost { offset: u32::MAX - 3, ..fields })], 4, 0),
        (
            "after LAST_PDU",
            vec![pdu(DataToHost { last: true, ..fields }), pdu(DataToHost { offset: 4096, ..fields })],
            2,
            0,
        ),
        ("SUCCESS alone", vec![success_alone], 1, 1),
    ];
    for (what, pdus, fes, fei) in cases {
        let (mut raw, _) = up(&setting);
        assert_eq!(read(&mut raw, 8192), cid);
        pdus.iter().for_each(|pdu| raw.send(pdu));
        assert!(raw.events.is_empty(), "{what}");
        assert_eq!(terminated(raw, pdus.last().unwrap(), 1), (fes, fei), "{what}");
    }
    // Data for a command that sends data.
    let (mut raw, _) = up(&setting);
    let cid = write(&mut raw, 512);
    let bad = pdu(DataToHost { cccid: cid.0, ..fields });
    raw.send(&bad);
    assert_eq!(terminated(raw, &bad, 1), (2, 0));
}

// test: TCP-RSP-05
#[test]
fn a_completion_for_nothing_ends_the_connection() {
    let (mut raw, sender) = up(&Setting::default());
    let cid = read(&mut raw, 512);
    raw.send(&response(&sender, &Cqe::error(cid, Status::LBA_OUT_OF_RANGE)));
    assert!(matches!(raw.events.pop(), Some(HostEvent::Completed { .. })));
    let again = response(&sender, &Cqe::success(cid));
    raw.send(&again);
    assert_eq!(terminated(raw, &again, 0), (1, 20));

    // A slot that is used again has another identifier.
    let (mut raw, sender) = up(&Setting::default());
    let old = read(&mut raw, 512);
    raw.send(&response(&sender, &Cqe::success(old)));
    raw.events.clear();
    assert_ne!(read(&mut raw, 512), old);
    let stale = response(&sender, &Cqe::success(old));
    raw.send(&stale);
    assert_eq!(terminated(raw, &stale, 1), (1, 20));
}

// test: TCP-R2T-04, TCP-R2T-05, TCP-R2T-06, TCP-R2T-08, TCP-R2T-13, TCP-R2T-14, TCP-ERR-09
#[test]
fn an_r2t_that_asks_for_what_is_not_there_ends_the_connection() {
    let len = 65_536;
    let setting = Setting::default().max_r2t(2);
    let (mut raw, sender) = up(&setting);
    let cid = write(&mut raw, len);
    let r2t = |offset, len| r2t(&sender, cid, 1, offset, len);
    let cases = [
        ("nothing", vec![r2t(0, 0)], 1, 16),
        ("beyond the end", vec![r2t(0, len as u32 + 4)], 4, 0),
        ("wrapping", vec![r2t(0, 4096), r2t(4096, 0u32.wrapping_sub(4096))], 4, 0),
        ("wrapping far", vec![r2t(u32::MAX - 3, 16)], 4, 0),
        ("a gap", vec![r2t(4, 4096)], 2, 0),
        ("the same twice", vec![r2t(0, 4096), r2t(0, 4096)], 2, 0),
        ("three at a time", vec![r2t(0, 4096), r2t(4096, 4096), r2t(8192, 4096)], 5, 0),
        // What is copied into the output has not left either: a controller that does not read would make it grow.
        ("three small ones at a time", vec![r2t(0, 4), r2t(4, 4), r2t(8, 4)], 5, 0),
        ("another command", vec![super::host_faults::r2t(&sender, Cid(cid.0 ^ 1), 1, 0, 4096)], 1, 8),
    ];
    for (what, pdus, fes, fei) in cases {
        let (mut raw, _) = up(&setting);
        assert_eq!(write(&mut raw, len), cid);
        raw.output();
        pdus.iter().for_each(|pdu| raw.send(pdu));
        assert_eq!(terminated(raw, pdus.last().unwrap(), 1), (fes, fei), "{what}");
    }
    for len in [512, 0] {
        let (mut raw, _) = up(&setting);
        let cid = if len > 0 { write(&mut raw, len) } else { read(&mut raw, 65_536) };
        let bad = super::host_faults::r2t(&sender, cid, 1, 0, 512);
        raw.send(&bad);
        assert_eq!(terminated(raw, &bad, 1), (2, 0), "no data to ask for");
    }
}

// test: TCP-H2C-04, TCP-R2T-02, TCP-R2T-09, TCP-R2T-11, TCP-R2T-12
#[test]
fn r2ts_in_slices_are_answered_in_their_order() {
    let (mut raw, sender) = up(&Setting::default().max_r2t(4).max_h2c_data(4096));
    let cid = write(&mut raw, 1 << 20);
    raw.output();
    let mut at = 0;
    while at < 1 << 20 {
        for ttag in [7, 0xffff, 0, 7] {
            raw.send(&r2t(&sender, cid, ttag, at, 8192));
            at += 8192;
        }
        let out = raw.output();
        for (n, pdu) in pdus(&out).iter().enumerate() {
            let offset = at - 4 * 8192 + n as u32 * 4096;
            assert_eq!(pdu[0], 6);
            assert_eq!(pdu[1] & 4 != 0, n % 2 == 1, "LAST_PDU ends each R2T");
            assert_eq!(u16::from_le_bytes([pdu[10], pdu[11]]), [7, 0xffff, 0, 7][n / 2]);
            assert_eq!(u32::from_le_bytes(pdu[12..16].try_into().unwrap()), offset);
            assert_eq!(pdu[24..], pattern(1, 1 << 20)[offset as usize..offset as usize + 4096]);
        }
    }
    raw.send(&response(&sender, &Cqe::success(cid)));
    assert!(matches!(raw.events.pop(), Some(HostEvent::Completed { .. })));
}

// test: TCP-DG-12, TCP-DG-15
#[test]
fn data_with_a_wrong_digest_fails_its_command_only() {
    // In one or two pieces, the wrong one first or last; ended by SUCCESS or by a completion; short and directly placed.
    for len in [512u32, 40_000] {
        for wrong in 0..2 {
            for success in [true, false] {
                let (mut raw, sender) = up(&Setting::default().digests(false, true));
                let (cid, other) = (read(&mut raw, 2 * len as usize), read(&mut raw, 512));
                for at in 0..2 {
                    let last = at == 1;
                    let fields = DataToHost {
                        cccid: cid.0,
                        offset: at * len,
                        length: len,
                        last,
                        success: last && success,
                    };
                    let mut pdu = c2h(&sender, fields, &vec![3; len as usize]);
                    if at == wrong {
                        let middle = pdu.len() / 2;
                        pdu[middle] ^= 0x10;
                    }
                    raw.send(&pdu);
                }
                if !success {
                    raw.send(&response(&sender, &Cqe::success(cid).with_sqhd(5)));
                }
                let Some(HostEvent::Completed { cqe, sqhd_valid, .. }) = raw.events.pop() else { panic!() };
                assert_eq!((cqe.status(), sqhd_valid), (Status::TRANSIENT_TRANSPORT_ERROR, !success));
                assert_eq!(cqe.sqhd(), if success { 0 } else { 5 });
                let fields = DataToHost { cccid: other.0, offset: 0, length: 512, last: true, success: true };
                raw.send(&c2h(&sender, fields, &[1; 512]));
                let Some(HostEvent::Completed { cqe, data, .. }) = raw.events.pop() else { panic!() };
                assert!(cqe.status().is_success() && data.into_buffer().unwrap().iter().all(|&b| b == 1));
                assert_eq!(raw.conn.life(), Life::Open);
            }
        }
    }
    // What the controller says about a failure is kept.
    let (mut raw, sender) = up(&Setting::default().digests(false, true));
    let cid = read(&mut raw, 512);
    let fields = DataToHost { cccid: cid.0, offset: 0, length: 512, last: true, success: false };
    let mut pdu = c2h(&sender, fields, &[3; 512]);
    pdu[100] ^= 1;
    raw.send(&pdu);
    raw.send(&response(&sender, &Cqe::error(cid, Status::UNRECOVERED_READ_ERROR)));
    let Some(HostEvent::Completed { cqe, .. }) = raw.events.pop() else { panic!() };
    assert_eq!(cqe.status(), Status::UNRECOVERED_READ_ERROR);
}

// test: TCP-DG-09
#[test]
fn a_wrong_header_digest_ends_the_connection() {
    let (mut raw, sender) = up(&Setting::default().digests(true, false));
    let cid = read(&mut raw, 512);
    let mut bad = response(&sender, &Cqe::success(cid));
    bad[9] ^= 1;
    let received = u32::from_le_bytes(bad[24..28].try_into().unwrap());
    raw.send(&bad);
    assert_eq!(terminated(raw, &bad, 1), (3, received));
}

/// A completion that comes while data of its command is still waiting to be sent must not give the buffer back.
#[test]
fn an_early_completion_waits_for_the_data_to_leave() {
    let (mut raw, sender) = up(&Setting::default());
    let cid = write(&mut raw, 65_536);
    raw.output();
    raw.send(&r2t(&sender, cid, 1, 0, 65_536));
    raw.conn.give_out(1000, &mut raw.events);
    let early = response(&sender, &Cqe::error(cid, Status::INTERNAL_ERROR).with_sqhd(9));
    raw.send(&early);
    assert!(raw.events.is_empty());
    // A second one is one too many all the same, and no further R2T is legal.
    raw.conn.give_out(30_000, &mut raw.events);
    assert!(raw.events.is_empty());
    raw.output();
    let Some(HostEvent::Completed { cqe, data: Data::ToController(buffer), .. }) = raw.events.pop() else {
        panic!()
    };
    assert_eq!((cqe.status(), cqe.sqhd(), buffer.len()), (Status::INTERNAL_ERROR, 9, 65_536));

    let cid = write(&mut raw, 65_536);
    raw.output();
    raw.send(&r2t(&sender, cid, 1, 0, 4096));
    raw.send(&response(&sender, &Cqe::error(cid, Status::INTERNAL_ERROR)));
    let more = r2t(&sender, cid, 1, 4096, 4096);
    raw.send(&more);
    assert_eq!(terminated(raw, &more, 0), (2, 0));
}

// test: TCP-ERR-11, TCP-TRM-02, TCP-TRM-07
#[test]
fn a_termination_request_is_told_by_name() {
    let (mut raw, _) = up(&Setting::default());
    read(&mut raw, 512);
    raw.output();
    raw.send(&[3, 0, 24, 0, 24, 0, 0, 0, 1, 0, 10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    assert!(raw.output().is_empty() && raw.conn.life() == Life::Over);
    raw.conn.finish(&mut raw.events);
    let Some(HostEvent::Closed { reason: CloseReason::Failed(error), .. }) = raw.events.pop() else {
        panic!()
    };
    assert_eq!(error.kind(), ErrorKind::PeerReported);
    let text = error.detail();
    assert!(text.contains("Invalid PDU Header Field") && text.contains("10"), "{text}");
}

// test: TCP-QUE-07
#[test]
fn a_full_queue_and_too_much_data_are_refused() {
    for (flow_control, room) in [(true, 7), (false, 8)] {
        let (mut raw, sender) = up(&Setting { sq_flow_control: flow_control, ..Setting::default() });
        let cids: Vec<Cid> = (0..room).map(|_| read(&mut raw, 512)).collect();
        let command = Command { sqe: Sqe::default(), data: Data::FromController(buffer(512)), cookie: 4 };
        let refused = raw.conn.submit(command).unwrap_err();
        assert_eq!(
            (refused.why, refused.given_back.data.len(), refused.given_back.cookie),
            (Misuse::QueueFull, 512, 4)
        );
        raw.send(&response(&sender, &Cqe::success(cids[3])));
        assert!(!cids.contains(&read(&mut raw, 512)));
    }
    let (mut raw, _) = up(&Setting::default());
    let data = Data::FromController(buffer((32 << 20) + 1));
    let refused = raw.conn.submit(Command { sqe: Sqe::default(), data, cookie: 1 }).unwrap_err();
    assert_eq!(refused.why, Misuse::DataLength);
}
