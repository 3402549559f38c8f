//! The validator, case by case: the first wrong field is the one reported.

use super::*;

const CMD: [u8; 8] = [4, 0, 72, 0, 72, 0, 0, 0];
const H2C: [u8; 8] = [6, 4, 24, 24, 24 + 64, 0, 0, 0];
const C2H: [u8; 8] = [7, 4, 24, 24, 24 + 64, 0, 0, 0];
const RSP: [u8; 8] = [5, 0, 24, 0, 24, 0, 0, 0];
const R2T: [u8; 8] = [9, 0, 24, 0, 24, 0, 0, 0];
const IC_REQ: [u8; 8] = [0, 0, 128, 0, 128, 0, 0, 0];
const IC_RESP: [u8; 8] = [1, 0, 128, 0, 128, 0, 0, 0];

fn plain(role: Role) -> Receiver {
    receiver(role, Digests::NONE, Alignment::DWORD)
}

fn with(mut bytes: [u8; 8], at: usize, value: u8) -> [u8; 8] {
    bytes[at] = value;
    bytes
}

fn with_plen(mut bytes: [u8; 8], plen: u32) -> [u8; 8] {
    bytes[4..].copy_from_slice(&plen.to_le_bytes());
    bytes
}

#[track_caller]
fn rejected(bytes: [u8; 8], receiver: &Receiver) -> (u16, u32) {
    report(Header::parse(&bytes, receiver).expect_err("rejected"))
}

#[track_caller]
fn accepted(bytes: [u8; 8], receiver: &Receiver) -> Header {
    Header::parse(&bytes, receiver).expect("accepted")
}

#[test]
fn valid_headers_are_accepted() {
    for (bytes, role) in [
        (CMD, Role::Controller),
        (H2C, Role::Controller),
        (C2H, Role::Host),
        (RSP, Role::Host),
        (R2T, Role::Host),
    ] {
        let header = accepted(bytes, &plain(role));
        assert_eq!(header.kind().pdu_type().0, bytes[0]);
        assert_eq!(header.plen(), u32::from(bytes[4]));
        assert_eq!(header.plen(), header.layout().plen());
    }
    accepted(IC_REQ, &Receiver::initializing(Role::Controller));
    accepted(IC_RESP, &Receiver::initializing(Role::Host));
}

// test: TCP-CH-02, TCP-CH-03
#[test]
fn types_that_do_not_exist_or_go_the_other_way() {
    for phase in [Phase::Initializing, Phase::Ready] {
        for (role, other_way) in [(Role::Controller, [1, 3, 5, 7, 9].as_slice()), (Role::Host, &[0, 2, 4, 6])]
        {
            let receiver = Receiver { phase, ..plain(role) };
            for pdu_type in other_way.iter().copied().chain([8]).chain(10..=255) {
                assert_eq!(rejected([pdu_type, 0, 0, 0, 0, 0, 0, 0], &receiver), (1, 0), "type {pdu_type}");
            }
        }
    }
}

// test: TCP-IC-02, TCP-IC-03, TCP-IC-04, TCP-ERR-05
#[test]
fn initialisation_comes_first_and_once() {
    let waiting = Receiver::initializing(Role::Controller);
    for bytes in [CMD, H2C] {
        assert_eq!(rejected(bytes, &waiting), (2, 0));
    }
    let waiting = Receiver::initializing(Role::Host);
    for bytes in [RSP, C2H, R2T] {
        assert_eq!(rejected(bytes, &waiting), (2, 0));
    }
    assert_eq!(rejected(IC_REQ, &plain(Role::Controller)), (2, 0));
    assert_eq!(rejected(IC_RESP, &plain(Role::Host)), (2, 0));
}

// test: TCP-CH-05, TCP-CH-12
#[test]
fn reserved_flags() {
    let cases = [
        (CMD, Role::Controller, 0b1111_1100u8),
        (H2C, Role::Controller, 0b1111_1000),
        (C2H, Role::Host, 0b1111_0000),
        (RSP, Role::Host, 0b1111_1110),
        (R2T, Role::Host, 0b1111_1110),
    ];
    for (bytes, role, reserved) in cases {
        for bit in (0..8).map(|bit| 1u8 << bit).filter(|bit| bit & reserved != 0) {
            // Everything behind FLAGS is wrong too; the lowest offset counts.
            let bytes = [bytes[0], bit, 0, 1, 0xFF, 0xFF, 0xFF, 0xFF];
            assert_eq!(rejected(bytes, &plain(role)), (1, 1));
        }
    }
    // Where extensions would be negotiated, what is unknown is passed over.
    for flags in 0..=255 {
        for (bytes, role) in [(IC_REQ, Role::Controller), (IC_RESP, Role::Host)] {
            let header = accepted(with(bytes, 1, flags), &Receiver::initializing(role));
            assert_eq!((header.flags(), header.layout().has_header_digest()), (Flags(0), false));
        }
    }
}

// test: TCP-DG-02, TCP-DG-03, TCP-DG-04
#[test]
fn digest_flags_follow_the_negotiation() {
    // What each PDU looks like with data and the given digests.
    let data = |kind: u8, role, digests: Digests| {
        let hlen = if kind == 4 { 72u8 } else { 24 };
        let pdo = hlen + if digests.header { 4 } else { 0 };
        let plen = pdo + 64 + if digests.data { 4 } else { 0 };
        ([kind, digests.bits(), hlen, pdo, plen, 0, 0, 0], role)
    };
    for digests in ALL_DIGESTS {
        for (bytes, role) in [
            data(4, Role::Controller, digests),
            data(6, Role::Controller, digests),
            data(7, Role::Host, digests),
        ] {
            for negotiated in ALL_DIGESTS {
                let receiver = receiver(role, negotiated, Alignment::DWORD);
                if negotiated == digests {
                    let header = accepted(bytes, &receiver);
                    assert_eq!(header.layout().data_len(), 64);
                    assert_eq!(header.layout().has_data_digest(), digests.data);
                    assert_eq!(header.layout().has_header_digest(), digests.header);
                } else {
                    assert_eq!(rejected(bytes, &receiver), (1, 1));
                }
            }
        }
        let receiver = receiver(Role::Host, digests, Alignment::DWORD);
        for bytes in [RSP, R2T] {
            let right =
                [bytes[0], u8::from(digests.header), 24, 0, if digests.header { 28 } else { 24 }, 0, 0, 0];
            accepted(right, &receiver);
            assert_eq!(rejected(with(right, 1, right[1] ^ 1), &receiver), (1, 1));
        }
    }
}

// test: TCP-DG-04, TCP-CH-07
#[test]
fn a_command_without_data_needs_no_data_digest_flag() {
    let receiver = receiver(Role::Controller, Digests { header: false, data: true }, alignment(15));
    for bytes in [CMD, with(CMD, 1, 2)] {
        let header = accepted(bytes, &receiver);
        assert_eq!(header.layout().data_len(), 0);
        assert!(!header.layout().has_data_digest());
        assert_eq!(header.layout().plen(), 72);
    }
    // PDO may point to the end of the PDU, and nowhere else.
    accepted(with(CMD, 3, 72), &plain(Role::Controller));
    accepted(with(CMD, 3, 72), &receiver);
    for pdo in [1, 8, 71, 73, 76, 128, 255] {
        assert_eq!(rejected(with(CMD, 3, pdo), &plain(Role::Controller)), (1, 3), "PDO {pdo}");
    }
}

// test: TCP-C2H-08
#[test]
fn success_needs_last() {
    let host = plain(Role::Host);
    assert_eq!(rejected(with(C2H, 1, 0b1000), &host), (1, 1));
    let header = accepted(with(C2H, 1, 0b1100), &host);
    assert!(header.flags().has(Flags::SUCCESS) && header.flags().has(Flags::LAST_PDU));
    assert!(!accepted(with(C2H, 1, 0), &host).flags().has(Flags::LAST_PDU));
}

// test: TCP-CH-04
#[test]
fn header_lengths() {
    for (bytes, role) in [
        (CMD, Role::Controller),
        (H2C, Role::Controller),
        (C2H, Role::Host),
        (RSP, Role::Host),
        (R2T, Role::Host),
    ] {
        for hlen in (0..=255).filter(|hlen| *hlen != bytes[2]) {
            assert_eq!(rejected(with(bytes, 2, hlen), &plain(role)), (1, 2), "HLEN {hlen}");
        }
    }
    for hlen in [0, 127, 129, 255] {
        assert_eq!(rejected(with(IC_REQ, 2, hlen), &Receiver::initializing(Role::Controller)), (1, 2));
        assert_eq!(rejected(with(IC_RESP, 2, hlen), &Receiver::initializing(Role::Host)), (1, 2));
    }
}

// test: TCP-CH-06, TCP-CH-07
#[test]
fn data_offsets() {
    // Header and digest end at 28; the alignment is 32.
    let digests = Digests { header: true, data: false };
    let receiver = receiver(Role::Controller, digests, alignment(7));
    for pdo in 0..=255u8 {
        let bytes = with_plen([6, 5, 24, pdo, 0, 0, 0, 0], 255 + 64);
        if pdo >= 28 && pdo % 32 == 0 {
            let header = accepted(bytes, &receiver);
            assert_eq!(header.layout().data_len(), 255 + 64 - u32::from(pdo));
            assert_eq!(header.layout().padding(), usize::from(pdo) - 28);
        } else {
            assert_eq!(rejected(bytes, &receiver), (1, 3), "PDO {pdo}");
        }
    }
    // Behind the end of the PDU.
    assert_eq!(rejected(with_plen([6, 5, 24, 64, 0, 0, 0, 0], 63), &receiver), (1, 3));
    // At the end of the PDU: an offset, but nothing at it.
    assert_eq!(rejected(with_plen([6, 5, 24, 64, 0, 0, 0, 0], 64), &receiver), (1, 4));
}

// test: TCP-CH-10
#[test]
fn pdus_without_data_end_with_their_header() {
    for bytes in [RSP, R2T] {
        let host = plain(Role::Host);
        assert_eq!(rejected(with(bytes, 3, 24), &host), (1, 3));
        for plen in [0, 8, 23, 25, 28, u32::MAX] {
            assert_eq!(rejected(with_plen(bytes, plen), &host), (1, 4), "PLEN {plen}");
        }
    }
    for plen in [0, 8, 127, 129, u32::MAX] {
        assert_eq!(rejected(with_plen(IC_REQ, plen), &Receiver::initializing(Role::Controller)), (1, 4));
        assert_eq!(rejected(with_plen(IC_RESP, plen), &Receiver::initializing(Role::Host)), (1, 4));
    }
    assert_eq!(rejected(with(IC_REQ, 3, 128), &Receiver::initializing(Role::Controller)), (1, 3));
}

// test: TCP-CH-08, TCP-CH-11, TCP-RES-01
#[test]
fn lengths_that_cannot_be() {
    let controller = plain(Role::Controller);
    for plen in [0, 1, 71] {
        assert_eq!(rejected(with_plen(CMD, plen), &controller), (1, 4), "PLEN {plen}");
    }
    // Without an offset there is no data, so PLEN is what is wrong when no PDU could be that long.
    assert_eq!(rejected(with_plen(CMD, u32::MAX), &controller), (1, 4));
    assert_eq!(rejected(with_plen(CMD, LIMIT + 256 + 4), &controller), (1, 4));
    // It could be data whose offset is missing.
    assert_eq!(rejected(with_plen(CMD, 73), &controller), (1, 3));

    // A data digest takes four bytes behind at least one of data.
    let digests = Digests { header: false, data: true };
    let receiver = receiver(Role::Controller, digests, Alignment::DWORD);
    for plen in 73..=76 {
        assert_eq!(rejected(with_plen([4, 2, 72, 72, 0, 0, 0, 0], plen), &receiver), (1, 4), "PLEN {plen}");
    }
    assert_eq!(accepted([4, 2, 72, 72, 77, 0, 0, 0], &receiver).layout().data_len(), 1);
}

// test: TCP-C2H-17, TCP-H2C-15
#[test]
fn data_pdus_carry_data() {
    for (bytes, role) in [(H2C, Role::Controller), (C2H, Role::Host)] {
        assert_eq!(rejected(with_plen(bytes, 24), &plain(role)), (1, 4));
        assert_eq!(rejected(with_plen(with(bytes, 3, 0), 24), &plain(role)), (1, 4));
    }
}

// test: TCP-CMD-05, TCP-CMD-02, TCP-CMD-03, TCP-H2C-08, TCP-C2H-04, TCP-ERR-07, TCP-ERR-08
#[test]
fn limits() {
    let cases = [(with(CMD, 3, 72), Role::Controller, 5), (H2C, Role::Controller, 5), (C2H, Role::Host, 4)];
    for (bytes, role, fes) in cases {
        let start = u32::from(bytes[3]);
        for len in [1, 4, LIMIT - 1, LIMIT] {
            let header = accepted(with_plen(bytes, start + len), &plain(role));
            assert_eq!(header.layout().data_len(), len);
        }
        for len in [LIMIT + 1, LIMIT + 4, LIMIT * 2, u32::MAX - start] {
            assert_eq!(rejected(with_plen(bytes, start + len), &plain(role)), (fes, 0), "{len} bytes");
        }
    }
    // The two limits of a controller are separate, and none at all is one.
    let none = Receiver { max_in_capsule: 0, ..plain(Role::Controller) };
    accepted(CMD, &none);
    accepted(H2C, &none);
    assert_eq!(rejected(with_plen(with(CMD, 3, 72), 76), &none), (5, 0));
    let admin = Receiver { max_in_capsule: ADMIN_IN_CAPSULE, ..plain(Role::Controller) };
    accepted(with_plen(with(CMD, 3, 72), 72 + 8192), &admin);
    assert_eq!(rejected(with_plen(with(CMD, 3, 72), 72 + 8196), &admin), (5, 0));
    let all = Receiver { max_data: u32::MAX, ..plain(Role::Controller) };
    assert_eq!(accepted(with_plen(H2C, u32::MAX), &all).layout().data_len(), u32::MAX - 24);
}
