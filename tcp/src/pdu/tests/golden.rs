//! Every field of every PDU at its place, byte by byte.

use zerocopy::IntoBytes;

use super::*;
use crate::digest::tests::bitwise;

const PLAIN: Sender = Sender { digests: Digests::NONE, alignment: Alignment::DWORD };

/// The header in `pdu` followed by its digest, computed from the definition.
fn with_digest(header: &[u8]) -> Vec<u8> {
    let mut all = header.to_vec();
    all.extend(bitwise(header).to_le_bytes());
    all
}

// test: TCP-IC-05, TCP-IC-06, TCP-IC-07, TCP-IC-08, TCP-IC-09, TCP-QUE-06
#[test]
fn ic_req() {
    let terms = HostTerms {
        alignment: alignment(17),
        header_digest: DigestPolicy::On,
        data_digest: DigestPolicy::Off,
        max_r2t: 0x0403_0202.try_into().unwrap(),
    };
    let mut expected = [0; 128];
    expected[..16].copy_from_slice(&[0x00, 0, 128, 0, 128, 0, 0, 0, 0, 0, 17, 0b01, 0x01, 0x02, 0x03, 0x04]);
    assert_eq!(terms.request().as_bytes(), expected);

    let terms = HostTerms { data_digest: DigestPolicy::Required, header_digest: DigestPolicy::Off, ..terms };
    assert_eq!(terms.request().as_bytes()[11], 0b10);
    assert_eq!(HostTerms::default().request().as_bytes()[8..], [0; 120], "defaults ask for nothing");
}

// test: TCP-IC-11, TCP-IC-13, TCP-IC-14, TCP-IC-16
#[test]
fn ic_resp() {
    let terms = ControllerTerms {
        alignment: alignment(31),
        header_digest: DigestPolicy::On,
        data_digest: DigestPolicy::On,
        max_h2c_data: 0x0403_0204,
    };
    let host =
        HostTerms { header_digest: DigestPolicy::On, data_digest: DigestPolicy::On, ..HostTerms::default() };
    let (response, _) = terms.answer(&host.request()).unwrap();
    let mut expected = [0; 128];
    expected[..16].copy_from_slice(&[0x01, 0, 128, 0, 128, 0, 0, 0, 0, 0, 31, 0b11, 0x04, 0x02, 0x03, 0x04]);
    assert_eq!(response.as_bytes(), expected);
}

// test: TCP-CMD-01, TCP-CH-01, TCP-CH-08, TCP-PAD-04
#[test]
fn capsule_cmd() {
    let (plain, _) = encode(Kind::CapsuleCmd, &PLAIN, 0);
    let mut expected = vec![0x04, 0b00, 72, 0, 72, 0, 0, 0];
    expected.extend(8..72);
    assert_eq!(plain, expected);

    // 76 bytes of header and digest, padded to 96 = 3 × 32, 4100 bytes of data and their digest: 4200.
    let both = Sender { digests: Digests::BOTH, alignment: alignment(7) };
    let (bytes, layout) = encode(Kind::CapsuleCmd, &both, 4100);
    let mut header = vec![0x04, 0b11, 72, 96, 0x68, 0x10, 0, 0];
    header.extend(8..72);
    let mut expected = with_digest(&header);
    expected.extend([0; 20]);
    assert_eq!(bytes, expected);
    assert_eq!((layout.padding(), layout.data_start(), layout.plen()), (20, 96, 4200));

    // Without data neither padding nor data digest, whatever was negotiated.
    let (bytes, layout) = encode(Kind::CapsuleCmd, &both, 0);
    let mut header = vec![0x04, 0b01, 72, 0, 76, 0, 0, 0];
    header.extend(8..72);
    assert_eq!(bytes, with_digest(&header));
    assert!(!layout.has_data_digest());
}

// test: TCP-RSP-01, TCP-RSP-02
#[test]
fn capsule_resp() {
    let mut expected = vec![0x05, 0b00, 24, 0, 24, 0, 0, 0];
    expected.extend(8..24);
    assert_eq!(encode(Kind::CapsuleResp, &PLAIN, 0).0, expected);

    let both = Sender { digests: Digests::BOTH, alignment: Alignment::MAX };
    expected[1] = 0b01;
    expected[4] = 28;
    assert_eq!(encode(Kind::CapsuleResp, &both, 0).0, with_digest(&expected));
}

// test: TCP-H2C-03, TCP-H2C-04, TCP-H2C-05, TCP-PAD-01, TCP-PAD-02
#[test]
fn h2c_data() {
    let (bytes, layout) = encode(Kind::H2cData, &PLAIN, 0x0004_0302);
    let header = [
        0x06, 0b100, 24, 24, 0x1A, 0x03, 0x04, 0, 8, 9, 10, 11, 12, 13, 14, 15, 0x02, 0x03, 0x04, 0, 0, 0, 0,
        0,
    ];
    assert_eq!(bytes, header);
    assert_eq!(layout.plen(), 0x0004_031A);

    // The specification's own example: alignment 0Fh, no digest, 40 bytes of padding.
    let aligned = Sender { digests: Digests::NONE, alignment: alignment(0x0F) };
    let (bytes, layout) = encode(Kind::H2cData, &aligned, 512);
    assert_eq!((bytes[3], layout.padding(), bytes.len()), (64, 40, 64));
    assert!(bytes[24..].iter().all(|byte| *byte == 0), "padding is zero");

    let more = DataToController { cccid: 1, ttag: 2, offset: 0, length: 4, last: false };
    let mut out = [0; ENCODED_MAX];
    PLAIN.h2c_data(&more, &mut out).unwrap();
    assert_eq!(out[1], 0);
}

// test: TCP-C2H-02, TCP-C2H-08, TCP-DG-02, TCP-DG-06, TCP-DG-08
#[test]
fn c2h_data() {
    let (bytes, _) = encode(Kind::C2hData, &PLAIN, 8);
    let header = [0x07, 0b1100, 24, 24, 32, 0, 0, 0, 8, 9, 0, 0, 12, 13, 14, 15, 8, 0, 0, 0, 0, 0, 0, 0];
    assert_eq!(bytes, header);

    // The specification's other example: alignment 03h, 8 bytes of padding.
    let aligned = Sender { digests: Digests::NONE, alignment: alignment(3) };
    assert_eq!(encode(Kind::C2hData, &aligned, 8).1.padding(), 8);

    let header_digest = Sender { digests: Digests { header: true, data: false }, alignment: alignment(3) };
    let (bytes, layout) = encode(Kind::C2hData, &header_digest, 8);
    let header = [0x07, 0b1101, 24, 32, 40, 0, 0, 0, 8, 9, 0, 0, 12, 13, 14, 15, 8, 0, 0, 0, 0, 0, 0, 0];
    let mut expected = with_digest(&header);
    expected.extend([0; 4]);
    assert_eq!(bytes, expected);
    assert_eq!(layout.plen(), 40);

    let mut out = [0; ENCODED_MAX];
    let middle = DataToHost { cccid: 1, offset: 0, length: 4, last: false, success: false };
    PLAIN.c2h_data(&middle, &mut out).unwrap();
    assert_eq!(out[1], 0);
    PLAIN.c2h_data(&DataToHost { last: true, ..middle }, &mut out).unwrap();
    assert_eq!(out[1], 0b0100);
}

// test: TCP-R2T-02
#[test]
fn r2t() {
    let mut header: Vec<u8> = vec![0x09, 0, 24, 0, 24, 0, 0, 0];
    header.extend(8..20);
    header.extend([0; 4]);
    assert_eq!(encode(Kind::R2t, &PLAIN, 0).0, header);

    let both = Sender { digests: Digests::BOTH, alignment: Alignment::MAX };
    header[1] = 1;
    header[4] = 28;
    assert_eq!(encode(Kind::R2t, &both, 0).0, with_digest(&header));
}

// test: TCP-TRM-01, TCP-TRM-02, TCP-TRM-03, TCP-TRM-06
#[test]
fn term_req() {
    let header: Vec<u8> = (100..124).collect();
    let request = TermReq { fes: FatalErrorStatus::new(0x0201), fei: 0x0605_0403, header: &header };
    for (role, pdu_type) in [(Role::Host, 2), (Role::Controller, 3)] {
        let (bytes, len) = request.encode(role);
        let mut expected =
            vec![pdu_type, 0, 24, 0, 48, 0, 0, 0, 1, 2, 3, 4, 5, 6, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        expected.extend(100..124);
        assert_eq!(bytes[..len], expected);
    }
}

// test: TCP-CH-09, TCP-PAD-01, TCP-DG-07
#[test]
fn parts_lie_where_every_alignment_wants_them() {
    let mut longest = 0;
    for digests in ALL_DIGESTS {
        for value in 0..=31 {
            for kind in [Kind::CapsuleCmd, Kind::H2cData, Kind::C2hData] {
                for data_len in [1, 4, 513, LIMIT] {
                    let layout = Layout::new(kind, digests, alignment(value), data_len);
                    let unit = (usize::from(value) + 1) * 4;
                    assert_eq!(layout.header_len(), usize::from(kind.header_len()));
                    assert_eq!(layout.header_end() - layout.header_len(), if digests.header { 4 } else { 0 });
                    assert_eq!(layout.data_start() % unit, 0);
                    assert!(layout.padding() < unit);
                    assert_eq!(layout.data_start(), layout.header_end() + layout.padding());
                    let digest = if digests.data { 4 } else { 0 };
                    assert_eq!(layout.plen(), layout.data_start() as u32 + data_len + digest);
                    longest = longest.max(layout.data_start());
                }
            }
        }
    }
    assert_eq!(longest, ENCODED_MAX);
}

#[test]
fn the_longest_data_still_fits_plen() {
    let layout = Layout::new(Kind::CapsuleCmd, Digests::BOTH, Alignment::MAX, DATA_MAX);
    assert_eq!(u64::from(layout.plen()), 128 + u64::from(DATA_MAX) + 4);
}

#[test]
fn a_short_buffer_is_refused_and_left_alone() {
    let sender = Sender { digests: Digests::BOTH, alignment: alignment(15) };
    let needed = encode(Kind::CapsuleCmd, &sender, 512).0.len();
    assert_eq!(needed, 128);
    let mut exact = vec![0; needed];
    assert!(sender.capsule_cmd(&sqe(), 512, &mut exact).is_some());
    for len in 0..needed {
        let mut out = vec![0xEE; len];
        assert_eq!(sender.capsule_cmd(&sqe(), 512, &mut out), None);
        assert!(out.iter().all(|byte| *byte == 0xEE));
    }
}
