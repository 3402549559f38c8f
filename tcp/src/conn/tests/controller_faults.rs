//! What a controller makes of a host that breaks the rules, and of commands whose data is not as they say.

use super::*;
use crate::{
    digest::crc32c,
    pdu::{DataToController, Kind, Sender},
};
use nvmf_transport::{CloseReason, ErrorKind};
use nvmf_wire::{Cid, SglDescriptor, sqe::Psdt};
use zerocopy::IntoBytes;

/// A controller that has negotiated and, if told to, knows its queue.
pub(super) fn up(setting: &Setting) -> (Raw<ControllerConn>, Sender) {
    let mut raw = Raw::new(ControllerConn::new(setting.controller_setup(), setting.controller));
    raw.send(setting.host.request().as_bytes());
    let answer = raw.output();
    assert_eq!((answer[0], answer.len()), (1, 128));
    raw.conn.configure(&setting.settings()).unwrap();
    let sender = raw.conn.negotiated_terms().unwrap().sender(crate::pdu::Role::Host);
    (raw, sender)
}

/// Header and data as one PDU.
fn with_data(sender: &Sender, kind: Kind, header: &[u8], data: &[u8]) -> Vec<u8> {
    let mut pdu = header.to_vec();
    pdu.extend_from_slice(data);
    if sender.layout(kind, data.len() as u32).has_data_digest() {
        pdu.extend_from_slice(&crc32c(data).to_le_bytes());
    }
    pdu
}

pub(super) fn capsule(sender: &Sender, sqe: Sqe, data: &[u8]) -> Vec<u8> {
    let mut out = [0; 128];
    let len = sender.capsule_cmd(&sqe, data.len() as u32, &mut out).unwrap().len;
    with_data(sender, Kind::CapsuleCmd, &out[..len], data)
}

pub(super) fn h2c(sender: &Sender, fields: DataToController, data: &[u8]) -> Vec<u8> {
    let mut out = [0; 128];
    let len = sender.h2c_data(&fields, &mut out).unwrap().len;
    with_data(sender, Kind::H2cData, &out[..len], data)
}

pub(super) fn write(cid: u16, len: u32) -> Sqe {
    Sqe::io(IoOpcode::WRITE, 1).with_cid(Cid(cid)).with_sgl(SglDescriptor::transport(len))
}

pub(super) fn write_in_capsule(cid: u16, len: u32) -> Sqe {
    write(cid, 0).with_sgl(SglDescriptor::in_capsule(0, len))
}

/// The end of a queue that was terminated: what was said, and how it is told.
// test: TCP-ERR-02, TCP-TRM-02, TCP-TRM-03, TCP-TRM-04
pub(super) fn terminated(mut raw: Raw<ControllerConn>, offender: &[u8]) -> (u16, u32, ErrorKind) {
    let out = raw.output();
    let said = term_req(&out, 3);
    assert!(out.len() <= 152 && offender.starts_with(&out[24..]), "the offending header is echoed");
    assert_eq!(raw.conn.life(), Life::Draining);
    raw.conn.peer_closed();
    assert_eq!(raw.conn.life(), Life::Over);
    raw.conn.finish(&mut raw.events);
    match raw.events.last() {
        Some(ControllerEvent::Closed { reason: CloseReason::Failed(error), .. }) => {
            (said.0, said.1, error.kind())
        }
        other => panic!("{other:?}"),
    }
}

pub(super) fn put(mut pdu: Vec<u8>, at: usize, value: &[u8]) -> Vec<u8> {
    pdu[at..at + value.len()].copy_from_slice(value);
    pdu
}

// test: TCP-CH-02, TCP-CH-03, TCP-CH-04, TCP-CH-05, TCP-CH-07, TCP-CH-11, TCP-DG-02, TCP-DG-03, TCP-ERR-04, TCP-IC-04, TCP-CMD-05
#[test]
fn malformed_headers_end_the_connection_with_their_offset() {
    let plain = Setting::default();
    let (_, sender) = up(&plain);
    let good = capsule(&sender, Sqe::io(IoOpcode::FLUSH, 1).with_sgl(SglDescriptor::transport(0)), &[]);
    let full = capsule(&sender, write_in_capsule(1, 512), &[0; 512]);
    let huge = 16 * 1024 + 4 + 72;
    let ic_req = plain.host.request().as_bytes().to_vec();
    let cases: Vec<(&str, Vec<u8>, u16, u32)> = [1u8, 3, 5, 7, 9, 8, 0x0a, 0x80, 0xff]
        .map(|kind| ("type", put(good.clone(), 0, &[kind]), 1, 0))
        .into_iter()
        .chain([71, 73, 0, 255].map(|hlen| ("HLEN", put(good.clone(), 2, &[hlen]), 1, 2)))
        .chain([4u8, 8, 16, 0x80].map(|flags| ("flags", put(good.clone(), 1, &[flags]), 1, 1)))
        .chain([
            ("HDGSTF not negotiated", put(good.clone(), 1, &[1]), 1, 1),
            ("DDGSTF not negotiated", put(full.clone(), 1, &[2]), 1, 1),
            ("PLEN below HLEN", put(good.clone(), 4, &71u32.to_le_bytes()), 1, 4),
            ("PLEN 0", put(good.clone(), 4, &[0; 4]), 1, 4),
            ("PDO in the header", put(full.clone(), 3, &[68]), 1, 3),
            ("PDO not aligned", put(full.clone(), 3, &[74]), 1, 3),
            ("data without PDO", put(full.clone(), 3, &[0]), 1, 3),
            ("too much in the capsule", put(full.clone(), 4, &(huge as u32).to_le_bytes()), 5, 0),
            ("second ICReq", ic_req, 2, 0),
        ])
        .collect();
    for (what, bytes, fes, fei) in cases {
        let (mut raw, _) = up(&plain);
        raw.send(&bytes);
        assert!(raw.events.is_empty(), "{what}");
        let said = terminated(raw, &bytes);
        assert_eq!(said, (fes, fei, ErrorKind::Protocol), "{what}");
    }
    // A length that no memory could hold is refused like any other.
    let (mut raw, _) = up(&plain);
    raw.send(&put(full, 4, &[0xff; 4]));
    let fes = term_req(&raw.output(), 3).0;
    assert!(fes == 5 || fes == 1);
}

// test: TCP-DG-09, TCP-ERR-06
#[test]
fn a_wrong_header_digest_ends_the_connection() {
    let setting = Setting::default().digests(true, true);
    for (bit, kind) in [(0, 4), (70, 4), (9, 6)] {
        let (mut raw, sender) = up(&setting);
        let good = match kind {
            4 => capsule(&sender, write_in_capsule(1, 512), &[7; 512]),
            _ => h2c(
                &sender,
                DataToController { cccid: 1, ttag: 1, offset: 0, length: 4, last: true },
                &[0; 4],
            ),
        };
        let bad = put(good.clone(), 8 + bit % 16, &[good[8 + bit % 16] ^ 1]);
        let hlen = usize::from(bad[2]);
        let received = u32::from_le_bytes(bad[hlen..hlen + 4].try_into().unwrap());
        raw.send(&bad);
        assert!(raw.events.is_empty());
        assert_eq!(terminated(raw, &bad), (3, received, ErrorKind::Digest));
    }
}

// test: TCP-DG-11, TCP-DG-13, TCP-DG-15, TCP-ERR-16
#[test]
fn in_capsule_data_with_a_wrong_digest_fails_its_command_only() {
    for len in [4usize, 512, 16_384] {
        let (mut raw, sender) = up(&Setting::default().digests(false, true));
        let good = capsule(&sender, write_in_capsule(1, len as u32), &vec![7; len]);
        for bit in [0, 1, len * 4, len * 8 - 1, len * 8, len * 8 + 31] {
            let at = 72 + bit / 8;
            raw.send(&put(good.clone(), at, &[good[at] ^ (1 << (bit % 8))]));
            let Some(ControllerEvent::Command { request, data: Err(status), .. }) = raw.events.pop() else {
                panic!("bit {bit} of {len}: {:?}", raw.events)
            };
            assert_eq!(status, Status::TRANSIENT_TRANSPORT_ERROR);
            raw.conn.respond(request, Cqe::error(Cid(0), status), Gather::new()).unwrap();
        }
        raw.send(&good);
        let Some(ControllerEvent::Command { data: Ok(RequestData::InCapsule(data)), .. }) = raw.events.pop()
        else {
            panic!("{:?}", raw.events)
        };
        assert_eq!(data[..], vec![7; len]);
        assert_eq!(raw.conn.life(), Life::Open);
    }
}

// test: TCP-CMD-06, TCP-CMD-07, TCP-CMD-08, TCP-CMD-11, TCP-CMD-12, TCP-CMD-13
#[test]
fn a_descriptor_that_does_not_fit_its_capsule_fails_the_command() {
    let keyed = SglDescriptor::keyed(0, 512, 1, false).unwrap();
    let reserved = SglDescriptor { identifier: 0x60, ..SglDescriptor::transport(512) };
    let read = Sqe::io(IoOpcode::READ, 1);
    let base = write(1, 512);
    let cases = [
        ("PRP", base.with_psdt(Psdt::PRP), 0, Status::INVALID_FIELD),
        ("PSDT reserved", base.with_psdt(Psdt(3)), 0, Status::INVALID_FIELD),
        ("address", base.with_sgl(SglDescriptor::data_block(0, 512)), 0, Status::SGL_DESCRIPTOR_TYPE_INVALID),
        ("keyed", base.with_sgl(keyed), 0, Status::SGL_DESCRIPTOR_TYPE_INVALID),
        ("bit bucket", base.with_sgl(SglDescriptor::bit_bucket(512)), 0, Status::SGL_DESCRIPTOR_TYPE_INVALID),
        (
            "segment",
            base.with_sgl(SglDescriptor::segment_in_capsule(0, 512, false)),
            512,
            Status::SGL_DESCRIPTOR_TYPE_INVALID,
        ),
        (
            "last segment",
            base.with_sgl(SglDescriptor::segment_in_capsule(0, 512, true)),
            512,
            Status::SGL_DESCRIPTOR_TYPE_INVALID,
        ),
        ("reserved type", base.with_sgl(reserved), 0, Status::SGL_DESCRIPTOR_TYPE_INVALID),
        ("both ways", base, 512, Status::DATA_SGL_LENGTH_INVALID),
        ("longer than the capsule", write_in_capsule(1, 516), 512, Status::DATA_SGL_LENGTH_INVALID),
        ("shorter than the capsule", write_in_capsule(1, 508), 512, Status::DATA_SGL_LENGTH_INVALID),
        ("nothing in the capsule", write_in_capsule(1, 512), 0, Status::DATA_SGL_LENGTH_INVALID),
        ("offset", base.with_sgl(SglDescriptor::in_capsule(4, 508)), 512, Status::SGL_OFFSET_INVALID),
        ("read in the capsule", read.with_sgl(SglDescriptor::in_capsule(0, 512)), 512, Status::INVALID_FIELD),
    ];
    let (mut raw, sender) = up(&Setting::default());
    for (what, sqe, data, status) in cases {
        raw.send(&capsule(&sender, sqe, &vec![0; data]));
        let Some(ControllerEvent::Command { request, data, .. }) = raw.events.pop() else { panic!("{what}") };
        let found = data.expect_err(what);
        assert_eq!(found, status, "{what}");
        raw.conn.respond(request, Cqe::error(Cid(0), found), Gather::new()).unwrap();
        raw.output();
    }
    // Nothing of it disturbs what follows.
    raw.send(&capsule(&sender, write_in_capsule(3, 512), &[9; 512]));
    assert!(matches!(
        raw.events.pop(),
        Some(ControllerEvent::Command { data: Ok(RequestData::InCapsule(_)), .. })
    ));
}

#[test]
fn a_smaller_in_capsule_limit_holds_for_all_but_fabrics_commands() {
    let (mut raw, sender) = up(&Setting { in_capsule: 4096, ..Setting::default() });
    let fabrics = Sqe::with_opcode(0x7f).with_nsid(1).with_sgl(SglDescriptor::in_capsule(0, 8192));
    raw.send(&capsule(&sender, fabrics, &[0; 8192]));
    assert!(matches!(raw.events.pop(), Some(ControllerEvent::Command { data: Ok(_), .. })));
    raw.send(&capsule(&sender, write_in_capsule(2, 4100), &[0; 4100]));
    let Some(ControllerEvent::Command { data, .. }) = raw.events.pop() else { panic!() };
    assert_eq!(data.unwrap_err(), Status::DATA_SGL_LENGTH_INVALID);
}

// test: TCP-QUE-09
#[test]
fn more_commands_than_entries_end_the_connection() {
    let setting = Setting { depth: 4, ..Setting::default() };
    let (mut raw, sender) = up(&setting);
    // The table that existed before Connect is larger; what Connect settled counts.
    for cid in 0..4 {
        raw.send(&capsule(&sender, write(cid, 512), &[]));
    }
    assert_eq!(raw.events.len(), 4);
    let fifth = capsule(&sender, write(4, 512), &[]);
    raw.send(&fifth);
    assert_eq!(raw.events.len(), 4);
    assert_eq!(terminated(raw, &fifth).0, 2);
}

// test: TCP-RES-03
#[test]
fn a_host_that_does_not_take_answers_cannot_pile_them_up() {
    let setting = Setting { depth: 4, ..Setting::default() };
    let (mut raw, sender) = up(&setting);
    for cid in 0..4 {
        raw.send(&capsule(&sender, write(cid, 0), &[]));
        let Some(ControllerEvent::Command { request, .. }) = raw.events.pop() else { panic!() };
        raw.conn.respond(request, Cqe::default(), Gather::new()).unwrap();
    }
    assert_eq!(raw.conn.outstanding(), 0);
    raw.send(&capsule(&sender, write(4, 0), &[]));
    assert!(raw.events.is_empty() && raw.conn.life() == Life::Draining);

    // Whoever takes them may go on; an answer counts until its last byte has left.
    let (mut raw, sender) = up(&setting);
    for cid in 0..200u16 {
        raw.send(&capsule(&sender, write(cid, 0), &[]));
        let Some(ControllerEvent::Command { request, .. }) = raw.events.pop() else { panic!("{cid}") };
        raw.conn.respond(request, Cqe::default(), Gather::new()).unwrap();
        if cid >= 3 {
            assert_eq!(raw.conn.give_out(24, &mut raw.events).len(), 24);
        }
    }
}

#[test]
fn a_command_identifier_in_use_is_a_conflict() {
    let (mut raw, sender) = up(&Setting::default());
    raw.send(&capsule(&sender, write(7, 512), &[]));
    raw.send(&capsule(&sender, write_in_capsule(7, 512), &[0; 512]));
    let Some(ControllerEvent::Command { request: second, data, .. }) = raw.events.pop() else { panic!() };
    assert_eq!(data.unwrap_err(), Status::COMMAND_ID_CONFLICT);
    let Some(ControllerEvent::Command { request: first, data: Ok(_), .. }) = raw.events.pop() else {
        panic!()
    };
    raw.conn.respond(second, Cqe::error(Cid(0), Status::COMMAND_ID_CONFLICT), Gather::new()).unwrap();
    // The first is still outstanding, so the identifier still is in use.
    raw.send(&capsule(&sender, write(7, 512), &[]));
    assert!(matches!(raw.events.pop(), Some(ControllerEvent::Command { data: Err(_), .. })));
    raw.conn.respond(first, Cqe::default(), Gather::new()).unwrap();
    raw.send(&capsule(&sender, write(7, 512), &[]));
    assert!(matches!(raw.events.pop(), Some(ControllerEvent::Command { data: Ok(_), .. })));
}

// test: TCP-ERR-01, TCP-ERR-03
#[test]
fn after_a_termination_request_nothing_counts() {
    let (mut raw, sender) = up(&Setting::default());
    let bad = put(capsule(&sender, write(1, 0), &[]), 0, &[0xff]);
    raw.send(&bad);
    for _ in 0..1000 {
        raw.send(&capsule(&sender, write(2, 0), &[]));
    }
    assert!(raw.events.is_empty());
    assert_eq!(terminated(raw, &bad).0, 1);
}

// test: TCP-ERR-11, TCP-ERR-14, TCP-ERR-15, TCP-TRM-01, TCP-TRM-05, TCP-TRM-07
#[test]
fn a_termination_request_ends_the_connection_unanswered() {
    for fes in [0u16, 1, 2, 3, 4, 5, 6, 7, 0xffff] {
        for len in [24u32, 100, 152] {
            let (mut raw, _) = up(&Setting::default());
            let mut bytes = vec![0; len as usize];
            bytes[..8].copy_from_slice(&[2, 0xff, 24, 0xff, len as u8, 0, 0, 0]);
            bytes[8..10].copy_from_slice(&fes.to_le_bytes());
            bytes[10] = 2;
            raw.send(&bytes);
            assert!(raw.output().is_empty() && raw.conn.life() == Life::Over);
            raw.conn.finish(&mut raw.events);
            let Some(ControllerEvent::Closed { reason: CloseReason::Failed(error), .. }) = raw.events.pop()
            else {
                panic!()
            };
            assert_eq!(error.kind(), ErrorKind::PeerReported);
            let name = crate::pdu::FatalErrorStatus::new(fes).name(crate::pdu::Role::Host);
            assert!(error.detail().contains(name), "{error}");
        }
    }
    for len in [23u32, 153, 0, u32::MAX] {
        let (mut raw, _) = up(&Setting::default());
        let mut bytes = [0; 160];
        bytes[..4].copy_from_slice(&[2, 0, 24, 0]);
        bytes[4..8].copy_from_slice(&len.to_le_bytes());
        raw.send(&bytes);
        assert!(raw.output().is_empty() && raw.conn.life() == Life::Over);
    }
}

#[test]
fn calls_that_come_too_late_or_ask_too_much_are_refused_with_what_they_brought() {
    use nvmf_transport::Misuse;
    let setting = Setting { max_fetches: 2, ..Setting::default() };
    let (mut raw, sender) = up(&setting);
    raw.send(&capsule(&sender, write(1, 65_536), &[]));
    let Some(ControllerEvent::Command { request, .. }) = raw.events.pop() else { panic!() };
    let why = |result: Result<(), nvmf_transport::Refused<Buffer>>| result.unwrap_err().why;
    let conn = &mut raw.conn;
    assert_eq!(why(conn.fetch(request, 0, buffer(65_540))), Misuse::DataLength);
    assert_eq!(why(conn.fetch(request, 4, buffer(4))), Misuse::DataLength);
    assert_eq!(why(conn.fetch(request, u32::MAX, buffer(4))), Misuse::DataLength);
    assert_eq!(why(conn.fetch(request, 0, buffer(6))), Misuse::DataLength);
    conn.fetch(request, 0, buffer(4)).unwrap();
    conn.fetch(request, 4, buffer(4)).unwrap();
    assert_eq!(why(conn.fetch(request, 8, buffer(4))), Misuse::TooManyFetches);
    let refused = conn.respond(request, Cqe::default(), Gather::new()).unwrap_err();
    assert_eq!(refused.why, Misuse::Parameter, "a fetch is outstanding");

    raw.send(&capsule(
        &sender,
        Sqe::io(IoOpcode::READ, 1).with_cid(Cid(2)).with_sgl(SglDescriptor::transport(512)),
        &[],
    ));
    let Some(ControllerEvent::Command { request, .. }) = raw.events.pop() else { panic!() };
    assert_eq!(
        why(raw.conn.fetch(request, 0, buffer(512))),
        Misuse::DataLength,
        "a read has nothing to fetch"
    );
    let refused = raw.conn.respond(request, Cqe::default(), pattern(1, 516).into()).unwrap_err();
    assert_eq!((refused.why, refused.given_back.len()), (Misuse::DataLength, 516));
    raw.conn.respond(request, Cqe::default(), pattern(1, 512).into()).unwrap();
    let refused = raw.conn.respond(request, Cqe::default(), pattern(1, 512).into()).unwrap_err();
    assert_eq!((refused.why, refused.given_back.len()), (Misuse::UnknownRequest, 512));
    assert_eq!(why(raw.conn.fetch(request, 0, buffer(4))), Misuse::UnknownRequest);
}

#[test]
fn without_a_buffer_left_a_command_can_be_tried_again() {
    let setting = Setting { depth: 128, ..Setting::default() };
    let (mut raw, sender) = up(&setting);
    let mut held = Vec::new();
    for cid in 0..65 {
        raw.send(&capsule(&sender, write_in_capsule(cid, 512), &[0; 512]));
        held.append(&mut raw.events);
    }
    let Some(ControllerEvent::Command { data: Err(status), .. }) = held.pop() else { panic!() };
    assert_eq!(status, Status::COMMAND_INTERRUPTED);
    held.clear();
    raw.send(&capsule(&sender, write_in_capsule(100, 512), &[0; 512]));
    assert!(matches!(raw.events.pop(), Some(ControllerEvent::Command { data: Ok(_), .. })));
}

#[test]
fn an_event_request_leaves_its_identifier_to_others() {
    use nvmf_transport::{QueueKind, QueueSettings};
    let event = || nvmf_wire::admin::async_event_request().with_cid(Cid(7));
    for (kind, free) in [(QueueKind::Admin, true), (QueueKind::Io(1), false)] {
        let (mut raw, sender) = up(&Setting::default());
        raw.conn.configure(&QueueSettings { kind, depth: 32, sq_flow_control: true }).unwrap();
        raw.send(&capsule(&sender, event(), &[]));
        let Some(ControllerEvent::Command { request: first, data: Ok(_), .. }) = raw.events.pop() else {
            panic!()
        };
        raw.send(&capsule(&sender, write(7, 512), &[]));
        let Some(ControllerEvent::Command { request: second, data, .. }) = raw.events.pop() else { panic!() };
        assert_eq!(data.is_ok(), free, "{kind:?}");
        // The event's answer does not free the identifier of the other command.
        raw.conn.respond(first, Cqe::default(), Gather::new()).unwrap();
        raw.send(&capsule(&sender, write(7, 512), &[]));
        let Some(ControllerEvent::Command { data, .. }) = raw.events.pop() else { panic!() };
        assert_eq!(data.is_err(), free, "{kind:?}");
        raw.conn.respond(second, Cqe::default(), Gather::new()).unwrap();
    }
}
