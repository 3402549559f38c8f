//! Golden bytes of what is agreed on, and every field that can be wrong.

use super::*;

/// What a Linux host says for its admin queue, as captured: 32 receives, 31 + 1 entries.
const ADMIN: [u8; 10] = [0, 0, 0, 0, 0x20, 0, 0x1f, 0, 0, 0];

fn padded<const N: usize>(bytes: &[u8]) -> [u8; N] {
    let mut whole = [0; N];
    whole[..bytes.len()].copy_from_slice(bytes);
    whole
}

// test: RDMA-CM-01
#[test]
fn requests_have_their_bytes() {
    let admin = Request { qid: 0, hrqsize: 32, hsqsize: 31, cntlid: 0 };
    assert_eq!(admin.encode(), padded(&ADMIN));
    let io = Request { qid: 0x0102, hrqsize: 0x0304, hsqsize: 0x0506, cntlid: 0x0708 };
    assert_eq!(io.encode(), padded(&[0, 0, 2, 1, 4, 3, 6, 5, 8, 7]));
    assert_eq!(Request::parse(&io.encode(), Kind::Iwarp), Ok(io));
    assert_eq!(Request { hsqsize: 0xffff, ..io }.entries(), 65_536);
}

// test: RDMA-CM-02
#[test]
fn requests_have_their_length() {
    let good: [u8; 64] = padded(&ADMIN);
    for len in 0..64 {
        let iwarp = Request::parse(&good[..len], Kind::Iwarp);
        assert_eq!(iwarp.err(), (len != 32).then_some(RejectStatus::PRIVATE_DATA_LENGTH), "{len}");
        let padding = Request::parse(&good[..len], Kind::RoCe);
        assert_eq!(padding.err(), (len < 32).then_some(RejectStatus::PRIVATE_DATA_LENGTH), "{len}");
    }
}

// test: RDMA-CM-03, RDMA-CM-07
#[test]
fn requests_have_a_known_format_and_whatever_is_reserved() {
    let mut bytes: [u8; 32] = padded(&ADMIN);
    bytes[10..].fill(0xff);
    assert!(Request::parse(&bytes, Kind::Iwarp).is_ok());
    for format in [1u16, 0x100, 0xffff] {
        bytes[..2].copy_from_slice(&format.to_le_bytes());
        assert_eq!(Request::parse(&bytes, Kind::Iwarp), Err(RejectStatus::RECFMT));
    }
}

// test: RDMA-CM-08, RDMA-CM-09, RDMA-CM-10, RDMA-CM-11, RDMA-CM-12
#[test]
fn every_field_of_a_request_is_judged() {
    let good = Request { qid: 1, hrqsize: 128, hsqsize: 127, cntlid: 1 };
    let cases = [
        (good, 1, Ok(())),
        (Request { hrqsize: 127, ..good }, 1, Ok(())),
        (Request { cntlid: 0xffef, ..good }, 255, Ok(())),
        (Request { qid: 0xfffe, ..good }, 1, Ok(())),
        (Request { qid: 0xffff, ..good }, 1, Err(RejectStatus::QID)),
        (Request { hsqsize: 0, ..good }, 1, Err(RejectStatus::HSQSIZE)),
        (Request { hsqsize: 128, hrqsize: 129, ..good }, 1, Err(RejectStatus::HSQSIZE)),
        (Request { hsqsize: 0xffff, hrqsize: 0xffff, ..good }, 1, Err(RejectStatus::HSQSIZE)),
        (Request { hrqsize: 0, ..good }, 1, Err(RejectStatus::HRQSIZE)),
        (Request { hrqsize: 126, ..good }, 1, Err(RejectStatus::HRQSIZE)),
        (good, 0, Err(RejectStatus::IRD)),
        (Request { cntlid: 0xfff0, ..good }, 1, Err(RejectStatus::CNTLID)),
        (Request { cntlid: 0xffff, ..good }, 1, Err(RejectStatus::CNTLID)),
    ];
    for (request, ird, verdict) in cases {
        assert_eq!(judge(&request, 128, ird), verdict, "{request:?} with IRD {ird}");
    }
}

// test: RDMA-CM-13, RDMA-CM-14
#[test]
fn accepts_have_their_bytes() {
    let accept = Accept { crqsize: 0x0120 };
    assert_eq!(accept.encode(), padded(&[0, 0, 0x20, 1]));
    assert_eq!(Accept::parse(&accept.encode(), Kind::Iwarp), Ok(accept));
    assert_eq!(Accept::parse(&padded::<196>(&accept.encode()), Kind::RoCe), Ok(accept));
    for (bytes, error) in [
        (&padded::<31>(&[0, 0, 32, 0])[..], AcceptError::Length(31)),
        (&padded::<33>(&[0, 0, 32, 0])[..], AcceptError::Length(33)),
        (&[][..], AcceptError::Length(0)),
        (&padded::<32>(&[1, 0, 32, 0])[..], AcceptError::Format(1)),
        (&padded::<32>(&[0, 0, 0, 0])[..], AcceptError::Size(0)),
        (&padded::<32>(&[0, 0, 1, 0])[..], AcceptError::Size(1)),
    ] {
        assert_eq!(Accept::parse(bytes, Kind::Iwarp), Err(error));
    }
}

// test: RDMA-CM-15, RDMA-CM-16
#[test]
fn rejects_have_their_bytes() {
    assert_eq!(encode_reject(RejectStatus::RECFMT), [0, 0, 2, 0]);
    assert_eq!(parse_reject(&[0, 0, 9, 0]), Some(RejectStatus::CNTLID));
    assert_eq!(parse_reject(&[0, 0, 0x34, 0x12, 0, 0]), Some(RejectStatus(0x1234)));
    for strange in [&[][..], &[0, 0, 1], &[1, 0, 1, 0], b"go away"] {
        assert_eq!(parse_reject(strange), None);
    }
    assert_eq!(
        RejectStatus::IRD.to_string(),
        "invalid number of RDMA READs that the host serves (IRD) (status 7)"
    );
    assert_eq!(RejectStatus(77).to_string(), "status 77");
}
