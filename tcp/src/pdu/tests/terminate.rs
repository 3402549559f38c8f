//! Termination requests, given and taken.

use super::*;

fn take(bytes: &[u8], role: Role) -> Result<Option<(u16, u32, Vec<u8>)>, Violation> {
    let receiver = receiver(role, Digests::BOTH, Alignment::MAX);
    Ok(parse(bytes, &receiver)?.map(|(_, incoming)| match incoming {
        Incoming::TermReq(request) => (request.fes.value(), request.fei, request.header.to_vec()),
        other => panic!("{other:?}"),
    }))
}

// test: TCP-TRM-01, TCP-TRM-02, TCP-TRM-03, TCP-TRM-04, TCP-TRM-05, TCP-TRM-06
#[test]
fn what_one_side_says_the_other_reads() {
    let header: Vec<u8> = (0..200).collect();
    for len in [0, 1, 8, 24, 72, 76, 127, 128, 129, 200] {
        let violation = Violation::HeaderDigest { received: 0xDEAD_BEEF, computed: 1 };
        let request = TermReq::new(&violation, &header[..len]).unwrap();
        for sender in [Role::Host, Role::Controller] {
            let (bytes, written) = request.encode(sender);
            assert_eq!(written, 24 + len.min(128));
            let taken = take(&bytes[..written], sender.peer()).unwrap().unwrap();
            assert_eq!(taken, (3, 0xDEAD_BEEF, header[..len.min(128)].to_vec()));
            // Nothing is concluded before all of it is there.
            for part in 0..written {
                assert_eq!(take(&bytes[..part], sender.peer()).unwrap(), None);
            }
        }
    }
    // Even one built by hand around more than fits is cut.
    let (_, written) =
        TermReq { fes: FatalErrorStatus::SEQUENCE_ERROR, fei: 0, header: &header }.encode(Role::Host);
    assert_eq!(written, 152);
}

// test: TCP-ERR-15, TCP-TRM-04
#[test]
fn a_malformed_one_is_never_answered() {
    for (role, pdu_type) in [(Role::Controller, 2), (Role::Host, 3)] {
        for phase in [Phase::Initializing, Phase::Ready] {
            let receiver = Receiver { phase, ..receiver(role, Digests::NONE, Alignment::DWORD) };
            for (hlen, plen) in
                [(24u8, 0u32), (24, 23), (24, 153), (24, u32::MAX), (23, 48), (25, 48), (0, 48)]
            {
                let [a, b, c, d] = plen.to_le_bytes();
                let violation = Header::parse(&[pdu_type, 0, hlen, 0, a, b, c, d], &receiver).unwrap_err();
                assert_eq!(violation, Violation::MalformedTermReq);
                assert_eq!(violation.report(), None);
                assert_eq!(TermReq::new(&violation, &[0; 8]), None);
            }
        }
    }
}

// test: TCP-TRM-05, TCP-ERR-14
#[test]
fn flags_offset_and_unknown_status_do_not_matter() {
    for fes in [0, 1, 6, 7, 0x7FFF, 0xFFFF] {
        let request = TermReq { fes: FatalErrorStatus::new(fes), fei: 7, header: &[1, 2, 3] };
        let (mut bytes, len) = request.encode(Role::Host);
        bytes[1] = 0xFF;
        bytes[3] = 0xFF;
        bytes[14..24].fill(0xFF);
        assert_eq!(take(&bytes[..len], Role::Controller).unwrap().unwrap(), (fes, 7, vec![1, 2, 3]));
    }
}

// test: TCP-TRM-07, TCP-ERR-09, TCP-ERR-08
#[test]
fn they_are_told_by_name() {
    let say =
        |fes, fei, sender| TermReq { fes: FatalErrorStatus::new(fes), fei, header: &[] }.describe(sender);
    assert_eq!(say(1, 3, Role::Host), "Invalid PDU Header Field (1): header field at byte 3");
    assert_eq!(say(2, 3, Role::Host), "PDU Sequence Error (2): no further information");
    assert_eq!(say(3, 0xAB, Role::Host), "Header Digest Error (3): received digest 0x000000ab");
    assert_eq!(say(4, 0, Role::Controller), "Data Transfer Out of Range (4): no further information");
    assert_eq!(say(5, 0, Role::Host), "R2T Limit Exceeded (5): no further information");
    assert_eq!(say(5, 0, Role::Controller), "Data Transfer Limit Exceeded (5): no further information");
    assert_eq!(say(6, 11, Role::Controller), "Unsupported Parameter (6): parameter at byte 11");
    assert_eq!(say(9, 0, Role::Controller), "reserved status (9): no further information");
}

// test: TCP-ERR-04, TCP-ERR-05, TCP-ERR-06, TCP-ERR-07, TCP-ERR-08, TCP-ERR-09, TCP-ERR-10
#[test]
fn each_violation_of_a_connection_has_its_status() {
    let kind = Kind::C2hData;
    let cases = [
        (Violation::SuccessWithFlowControl, (1, 1)),
        (Violation::LastTooEarly, (1, 1)),
        (Violation::LastMissing, (1, 1)),
        (Violation::UnknownCommand { kind, cid: 1 }, (1, 8)),
        (Violation::UnsolicitedData { ttag: 1 }, (1, 10)),
        (Violation::UnknownCompletion { cid: 1 }, (1, 20)),
        (Violation::TransferCommand { expected: 1, found: 2 }, (2, 0)),
        (Violation::UnexpectedTransfer { kind, cid: 1 }, (2, 0)),
        (Violation::DataOutOfOrder { expected: 1, found: 2 }, (2, 0)),
        (Violation::R2tOutOfOrder { expected: 1, found: 2 }, (2, 0)),
        (Violation::QueueOverrun { depth: 32 }, (2, 0)),
        (Violation::DataBeyondTransfer { end: 2, limit: 1 }, (4, 0)),
        (Violation::R2tBeyondCommand { end: 2, limit: 1 }, (4, 0)),
        (Violation::R2tLimit { limit: 1 }, (5, 0)),
    ];
    for (violation, expected) in cases {
        assert_eq!(report(violation), expected, "{violation}");
    }
}
