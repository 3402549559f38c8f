//! What a controller makes of data that comes in another way than it asked for.

use super::{
    controller_faults::{capsule, h2c, put, terminated, up, write},
    *,
};
use crate::pdu::{DataToController, Sender};
use nvmf_transport::{CloseReason, ErrorKind};
use nvmf_wire::Cid;

/// A controller that has asked for `len` bytes of command 1 at offset 0; and the tag.
fn fetching(setting: &Setting, len: u32) -> (Raw<ControllerConn>, Sender, u16) {
    let (mut raw, sender) = up(setting);
    raw.send(&capsule(&sender, write(1, 2 * len), &[]));
    let Some(ControllerEvent::Command { request, .. }) = raw.events.pop() else { panic!() };
    raw.conn.fetch(request, 0, buffer(len as usize)).unwrap();
    let r2t = raw.output();
    assert_eq!((r2t[0], r2t.len() >= 24), (9, true));
    let tag = u16::from_le_bytes(r2t[10..12].try_into().unwrap());
    (raw, sender, tag)
}

// test: TCP-H2C-03, TCP-H2C-05, TCP-H2C-06, TCP-H2C-07, TCP-H2C-08, TCP-H2C-10, TCP-H2C-11, TCP-H2C-12, TCP-H2C-14, TCP-H2C-15
// test: TCP-ERR-05, TCP-ERR-07, TCP-ERR-08
#[test]
fn data_that_was_not_asked_for_that_way_ends_the_connection() {
    let setting = Setting::default().max_h2c_data(4096);
    let (_, sender, tag) = fetching(&setting, 8192);
    let fields = DataToController { cccid: 1, ttag: tag, offset: 0, length: 4096, last: false };
    let pdu = |fields: DataToController| h2c(&sender, fields, &vec![0; fields.length as usize]);
    let cases = [
        ("another tag", pdu(DataToController { ttag: tag ^ 1, ..fields }), 1, 10),
        ("a stale tag", pdu(DataToController { ttag: tag.wrapping_add(8), ..fields }), 1, 10),
        ("another command", pdu(DataToController { cccid: 2, ..fields }), 2, 0),
        ("a gap", pdu(DataToController { offset: 4096, last: true, ..fields }), 2, 0),
        ("beyond the R2T", pdu(DataToController { offset: 8192, ..fields }), 4, 0),
        ("across the end", pdu(DataToController { offset: 4100, ..fields }), 4, 0),
        ("wrapping", pdu(DataToController { offset: u32::MAX - 3, ..fields }), 4, 0),
        ("LAST_PDU too early", pdu(DataToController { last: true, ..fields }), 1, 1),
        ("more than MAXH2CDATA", pdu(DataToController { length: 4100, ..fields }), 5, 0),
        ("DATAL and PLEN differ", put(pdu(fields), 16, &4092u32.to_le_bytes()), 1, 4),
        ("no data", put(pdu(fields), 4, &24u32.to_le_bytes())[..24].to_vec(), 1, 4),
    ];
    for (what, bytes, fes, fei) in cases {
        let (mut raw, ..) = fetching(&setting, 8192);
        raw.send(&bytes);
        assert_eq!(terminated(raw, &bytes), (fes, fei, ErrorKind::Protocol), "{what}");
    }
    // Overlap: the same half twice; and the end without LAST_PDU.
    let (mut raw, ..) = fetching(&setting, 8192);
    raw.send(&pdu(fields));
    raw.send(&pdu(fields));
    assert_eq!(terminated(raw, &pdu(fields)).0, 2);
    let (mut raw, ..) = fetching(&setting, 8192);
    raw.send(&pdu(fields));
    let end = pdu(DataToController { offset: 4096, ..fields });
    raw.send(&end);
    let said = terminated(raw, &end);
    assert_eq!((said.0, said.1), (1, 1), "LAST_PDU missing");
}

#[test]
fn a_fetch_ends_aborted_when_the_queue_ends() {
    let (mut raw, sender, tag) = fetching(&Setting::default(), 8192);
    let fields = DataToController { cccid: 1, ttag: tag, offset: 0, length: 4096, last: false };
    raw.send(&h2c(&sender, fields, &[1; 4096]));
    raw.conn.peer_closed();
    raw.conn.finish(&mut raw.events);
    let [
        ControllerEvent::Fetched { data, outcome: Err(_), offset: 0, .. },
        ControllerEvent::Closed { reason, .. },
    ] = &raw.events[..]
    else {
        panic!("{:?}", raw.events)
    };
    assert!(data.len() == 8192 && matches!(reason, CloseReason::PeerClosed));
}

// test: TCP-DG-14
#[test]
fn fetched_data_with_a_wrong_digest_fails_the_fetch() {
    for wrong in 0..2 {
        let (mut raw, sender, tag) =
            fetching(&Setting::default().digests(true, true).max_h2c_data(20_000), 40_000);
        for at in 0..2 {
            let fields =
                DataToController { cccid: 1, ttag: tag, offset: at * 20_000, length: 20_000, last: at == 1 };
            let mut pdu = h2c(&sender, fields, &[5; 20_000]);
            if at == wrong {
                pdu[1000] ^= 1;
            }
            raw.send(&pdu);
        }
        let Some(ControllerEvent::Fetched { outcome, request, .. }) = raw.events.pop() else { panic!() };
        assert_eq!(outcome, Err(Status::TRANSIENT_TRANSPORT_ERROR));
        raw.conn.respond(request, Cqe::error(Cid(0), outcome.unwrap_err()), Gather::new()).unwrap();
        assert_eq!(raw.conn.life(), Life::Open);
    }
}

// test: TCP-H2C-05, TCP-QUE-05
#[test]
fn answers_to_two_r2ts_may_be_interleaved() {
    let (mut raw, sender) = up(&Setting::default().max_h2c_data(4096));
    let mut tags = Vec::new();
    // FFFFh is an identifier like any other.
    for cid in [0xffff, 0] {
        raw.send(&capsule(&sender, write(cid, 16_384), &[]));
        let Some(ControllerEvent::Command { request, .. }) = raw.events.pop() else { panic!() };
        raw.conn.fetch(request, 0, buffer(16_384)).unwrap();
        let r2t = raw.output();
        tags.push((cid, u16::from_le_bytes(r2t[10..12].try_into().unwrap())));
    }
    for offset in [0u32, 4096, 8192, 12_288] {
        for &(cccid, ttag) in &tags {
            let fields = DataToController { cccid, ttag, offset, length: 4096, last: offset == 12_288 };
            raw.send(&h2c(&sender, fields, &pattern(u64::from(cccid), 16_384)[offset as usize..][..4096]));
        }
    }
    for (cid, _) in tags {
        let ControllerEvent::Fetched { data, outcome: Ok(()), .. } = raw.events.remove(0) else { panic!() };
        assert_eq!(data[..], pattern(u64::from(cid), 16_384)[..]);
    }
}
