//! The second step: what the type's own header says.

use super::*;
use crate::digest::{crc32c, tests::bitwise};

fn plain(role: Role) -> Receiver {
    receiver(role, Digests::NONE, Alignment::DWORD)
}

#[test]
fn every_field_is_read_from_its_place() {
    let sender = Sender { digests: Digests::NONE, alignment: Alignment::DWORD };
    let (controller, host) = (plain(Role::Controller), plain(Role::Host));

    let bytes = encode(Kind::CapsuleCmd, &sender, 512).0;
    let Some((header, Incoming::CapsuleCmd(pdu))) = parse(&bytes, &controller).unwrap() else { panic!() };
    assert_eq!((pdu.sqe, header.layout().data_len(), header.plen()), (sqe(), 512, 584));

    let bytes = encode(Kind::CapsuleResp, &sender, 0).0;
    let Some((_, Incoming::CapsuleResp(pdu))) = parse(&bytes, &host).unwrap() else { panic!() };
    assert_eq!(pdu.cqe, cqe());

    let bytes = encode(Kind::H2cData, &sender, 512).0;
    let Some((_, Incoming::H2cData(pdu))) = parse(&bytes, &controller).unwrap() else { panic!() };
    assert_eq!((pdu.cccid.get(), pdu.ttag.get()), (0x0908, 0x0B0A));
    assert_eq!((pdu.datao.get(), pdu.datal.get(), pdu.is_last()), (0x0F0E_0D0C, 512, true));

    let bytes = encode(Kind::C2hData, &sender, 512).0;
    let Some((_, Incoming::C2hData(pdu))) = parse(&bytes, &host).unwrap() else { panic!() };
    assert_eq!((pdu.cccid.get(), pdu.datao.get(), pdu.datal.get()), (0x0908, 0x0F0E_0D0C, 512));
    assert!(pdu.is_last() && pdu.is_success());

    let bytes = encode(Kind::R2t, &sender, 0).0;
    let Some((_, Incoming::R2t(pdu))) = parse(&bytes, &host).unwrap() else { panic!() };
    assert_eq!((pdu.cccid.get(), pdu.ttag.get()), (0x0908, 0x0B0A));
    assert_eq!((pdu.r2to.get(), pdu.r2tl.get()), (0x0F0E_0D0C, 0x1312_1110));
}

// test: TCP-H2C-07, TCP-C2H-05
#[test]
fn datal_is_what_plen_leaves() {
    let sender = Sender { digests: Digests::NONE, alignment: Alignment::DWORD };
    for (kind, role) in [(Kind::H2cData, Role::Controller), (Kind::C2hData, Role::Host)] {
        for datal in [0, 1, 508, 511, 513, 516, u32::MAX] {
            let mut bytes = encode(kind, &sender, 512).0;
            bytes[16..20].copy_from_slice(&u32::to_le_bytes(datal));
            assert_eq!(report(parse(&bytes, &plain(role)).unwrap_err()), (1, 4), "DATAL {datal}");
        }
    }
}

// test: TCP-H2C-06, TCP-C2H-04, TCP-R2T-05, TCP-ERR-07
#[test]
fn offset_and_length_do_not_wrap() {
    let sender = Sender { digests: Digests::NONE, alignment: Alignment::DWORD };
    for (kind, role, len) in [
        (Kind::H2cData, Role::Controller, 512),
        (Kind::C2hData, Role::Host, 512),
        (Kind::R2t, Role::Host, 0x1312_1110),
    ] {
        let mut bytes = encode(kind, &sender, 512).0;
        bytes[12..16].copy_from_slice(&(u32::MAX - len).to_le_bytes());
        assert!(parse(&bytes, &plain(role)).unwrap().is_some());
        bytes[12..16].copy_from_slice(&(u32::MAX - len + 1).to_le_bytes());
        assert_eq!(report(parse(&bytes, &plain(role)).unwrap_err()), (4, 0));
    }
}

// test: TCP-R2T-06
#[test]
fn an_r2t_asks_for_something() {
    let sender = Sender { digests: Digests::NONE, alignment: Alignment::DWORD };
    let mut bytes = encode(Kind::R2t, &sender, 0).0;
    bytes[16..20].fill(0);
    assert_eq!(report(parse(&bytes, &plain(Role::Host)).unwrap_err()), (1, 16));
}

// test: TCP-CH-13, TCP-C2H-15, TCP-H2C-13, TCP-R2T-12
#[test]
fn reserved_bytes_and_odd_lengths_are_tolerated() {
    let sender = Sender { digests: Digests::NONE, alignment: Alignment::DWORD };
    for (kind, role) in
        [(Kind::H2cData, Role::Controller), (Kind::C2hData, Role::Host), (Kind::R2t, Role::Host)]
    {
        let mut bytes = encode(kind, &sender, 511).0;
        bytes[20..24].fill(0xFF);
        if kind == Kind::C2hData {
            bytes[10..12].fill(0xFF);
        }
        bytes[12] |= 1;
        assert!(parse(&bytes, &plain(role)).unwrap().is_some());
    }
}

// test: TCP-DG-08, TCP-DG-09, TCP-ERR-06
#[test]
fn a_wrong_header_digest_comes_before_anything_the_header_says() {
    let sender = Sender { digests: Digests::BOTH, alignment: Alignment::DWORD };
    for kind in [Kind::CapsuleCmd, Kind::CapsuleResp, Kind::H2cData, Kind::C2hData, Kind::R2t] {
        let receiver = receiver(kind.receiver(), Digests::BOTH, Alignment::DWORD);
        let (bytes, layout) = encode(kind, &sender, 512);
        assert!(parse(&bytes, &receiver).unwrap().is_some());
        let hlen = layout.header_len();
        for at in 8..hlen {
            let mut bytes = bytes.clone();
            bytes[at] ^= 0x10;
            let received = u32::from_le_bytes(bytes[hlen..hlen + 4].try_into().unwrap());
            let violation = parse(&bytes, &receiver).unwrap_err();
            assert_eq!(violation, Violation::HeaderDigest { received, computed: bitwise(&bytes[..hlen]) });
            assert_eq!(report(violation), (3, received));
        }
        for at in hlen..hlen + 4 {
            let mut bytes = bytes.clone();
            bytes[at] ^= 0x10;
            let received = u32::from_le_bytes(bytes[hlen..hlen + 4].try_into().unwrap());
            assert_eq!(report(parse(&bytes, &receiver).unwrap_err()), (3, received));
        }
        // Data is none of the header digest's business.
        let mut with_data = bytes.clone();
        with_data.extend([0xAB; 64]);
        assert!(parse(&with_data, &receiver).unwrap().is_some());
    }
}

// test: TCP-DG-06, TCP-PAD-02, TCP-PAD-03
#[test]
fn padding_is_neither_covered_nor_looked_at() {
    let digests = Digests { header: true, data: false };
    let sender = Sender { digests, alignment: Alignment::MAX };
    let (mut bytes, layout) = encode(Kind::H2cData, &sender, 512);
    assert_eq!(layout.padding(), 100);
    bytes[28..].fill(0xFF);
    let receiver = receiver(Role::Controller, digests, Alignment::MAX);
    let (header, _) = parse(&bytes, &receiver).unwrap().unwrap();
    assert_eq!(header.layout(), &layout);
    assert_eq!(bytes[24..28], crc32c(&bytes[..24]).to_le_bytes());
}
