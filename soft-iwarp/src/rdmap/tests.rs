//! Golden bytes, every truncation, and both layouts of the Terminate message.

use proptest::prelude::*;

use super::*;
use crate::ddp::{self, Header, Place, WrongVersion};

fn unhex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    digits.chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

fn parse(bytes: &[u8]) -> Header {
    let (header, len) = Header::parse(bytes).unwrap().unwrap();
    let mut again = [0; ddp::UNTAGGED_LEN];
    assert_eq!((header.encode(&mut again), header.size()), (len, len));
    assert_eq!(again[..len], bytes[..len]);
    header
}

// test: IW-DDP-01, IW-DDP-02, IW-DDP-03, IW-DDP-04, IW-RDM-01, IW-RDM-02
#[test]
fn golden_headers() {
    let tagged =
        |last, rdmap, stag, to| Header { last, rdmap, place: Place::Tagged { stag: STag::new(stag), to } };
    let untagged = |last, rdmap, ulp, queue, msn, offset| Header {
        last,
        rdmap,
        place: Place::Untagged { ulp, queue, msn, offset },
    };
    for (bytes, header, opcode) in [
        ("c140 0055aa00 0000000000020000", tagged(true, 0x40, 0x0055_aa00, 0x20000), Opcode::Write),
        ("8140 00000001 ffffffffffffffff", tagged(false, 0x40, 1, u64::MAX), Opcode::Write),
        ("4141 00000000 00000001 00000001 00000000", untagged(true, 0x41, 0, 1, 1, 0), Opcode::ReadRequest),
        (
            "c142 8bb88e01 ff27672283505000",
            tagged(true, 0x42, 0x8bb8_8e01, 0xff27_6722_8350_5000),
            Opcode::ReadResponse,
        ),
        (
            "4143 00000000 00000000 00000001 00000000",
            untagged(true, 0x43, 0, 0, 1, 0),
            Opcode::Send { invalidate: false, solicited: false },
        ),
        (
            "4144 0055aa00 00000000 00000004 00000000",
            untagged(true, 0x44, 0x0055_aa00, 0, 4, 0),
            Opcode::Send { invalidate: true, solicited: false },
        ),
        (
            "0145 00000000 00000000 ffffffff 00000014",
            untagged(false, 0x45, 0, 0, u32::MAX, 20),
            Opcode::Send { invalidate: false, solicited: true },
        ),
        (
            "4146 00000007 00000000 00000002 0000002c",
            untagged(true, 0x46, 7, 0, 2, 0x2c),
            Opcode::Send { invalidate: true, solicited: true },
        ),
        ("4147 00000000 00000002 00000001 00000000", untagged(true, 0x47, 0, 2, 1, 0), Opcode::Terminate),
    ] {
        let bytes = unhex(bytes);
        assert_eq!(parse(&bytes), header);
        assert_eq!(Opcode::parse(header.rdmap), Ok(opcode));
        assert_eq!(opcode.control(), header.rdmap);
        assert_eq!(opcode.is_tagged(), matches!(header.place, Place::Tagged { .. }));
        for len in 0..bytes.len() {
            assert_eq!(Header::parse(&bytes[..len]), None, "{len} bytes");
        }
        // Reserved bits do not count, the version does.
        let mut odd = bytes.clone();
        odd[0] |= 0x3C;
        assert_eq!(Header::parse(&odd).unwrap().unwrap().0, header);
        for version in [0, 2, 3] {
            odd[0] = bytes[0] & !3 | version;
            let tagged = bytes[0] & 0x80 != 0;
            assert_eq!(Header::parse(&odd), Some(Err(WrongVersion { tagged })));
        }
    }
    for control in 0..=u8::MAX {
        let expected = match (control >> 6, control & 15) {
            (1, 0..=7) => None,
            (1, _) => Some(BadControl::Opcode),
            _ => Some(BadControl::Version),
        };
        assert_eq!(Opcode::parse(control).err(), expected, "{control:#x}");
    }
}

// test: IW-RDM-08
#[test]
fn a_real_read_request() {
    let fpdu = unhex(
        "002e4141 00000000 00000001 00000001 00000000 14eb3201 ff2767228350d000 00000400 01234500 0000000000010000",
    );
    assert_eq!(crate::crc32c(&fpdu).to_le_bytes(), [0x6a, 0xce, 0x2e, 0x3d]);
    let request = ReadRequest::parse(fpdu[20..].try_into().unwrap());
    let sink = Remote { stag: STag::new(0x14eb_3201), to: 0xff27_6722_8350_d000 };
    let source = Remote { stag: STag::new(0x0123_4500), to: 0x10000 };
    assert_eq!(request, ReadRequest { sink, len: 1024, source });
    assert_eq!(request.encode(), fpdu[20..]);
}

fn round(terminate: &Terminate) -> Vec<u8> {
    let mut bytes = [0xEE; TERMINATE_MAX];
    let len = terminate.encode(&mut bytes);
    assert_eq!(Terminate::parse(&bytes[..len]).as_ref(), Some(terminate));
    bytes[..len].to_vec()
}

// test: IW-TRM-01, IW-TRM-02
#[test]
fn terminate_is_written_as_the_rfc_has_it() {
    let mut terminate = Terminate::new(ErrorCode::new(2, 0, 2));
    assert_eq!(round(&terminate), [0x20, 2, 0, 0]);
    let header = unhex("4143 00000000 00000000 00000005 00000000");
    terminate.code = ErrorCode::new(1, 2, 3);
    terminate.segment = Some(Offender::new(&header, 0x52, None));
    assert_eq!(round(&terminate), unhex("12 03 c0 00 0052 4143 00000000 00000000 00000005 00000000"));
    let header = unhex("4141 00000000 00000001 00000001 00000000");
    terminate.code = ErrorCode::new(0, 1, 0);
    terminate.segment = Some(Offender::new(&header, 0x2e, Some([7; 28])));
    let mut expected = unhex("01 00 e0 00 002e 4141 00000000 00000001 00000001 00000000");
    expected.extend([7; 28]);
    assert_eq!(round(&terminate), expected);
    assert_eq!(terminate.segment.unwrap().read().unwrap().len, 0x0707_0707);
    let header = unhex("c140 0000dead 0000000000000000");
    terminate.code = ErrorCode::new(1, 1, 0);
    terminate.segment = Some(Offender::new(&header, 0x1e, None));
    assert_eq!(round(&terminate), unhex("11 00 c0 00 001e c140 0000dead 0000000000000000"));
}

// test: IW-TRM-03
#[test]
fn both_layouts_are_read() {
    for (first, siw, rfc) in [
        ("21 03 03 00", (1, 2, 3), "12 03 c0 00"),
        ("21 01 03 00", (1, 2, 1), "12 01 c0 00"),
        ("11 00 03 00", (1, 1, 0), "11 00 c0 00"),
        ("10 00 07 00", (0, 1, 0), "01 00 e0 00"),
        ("20 07 03 00", (0, 2, 7), "02 07 c0 00"),
        ("20 09 03 00", (0, 2, 9), "02 09 c0 00"),
        ("02 02 00 00", (2, 0, 2), "20 02 00 00"),
        ("02 03 00 00", (2, 0, 3), "20 03 00 00"),
        ("02 06 00 00", (2, 0, 6), "20 06 00 00"),
        ("20 05 03 00", (0, 2, 5), "02 05 c0 00"),
        ("21 06 00 00", (1, 2, 6), "12 06 c0 00"),
    ] {
        let code = ErrorCode::new(siw.0, siw.1, siw.2);
        let parsed = Terminate::parse(&unhex(first)).unwrap();
        assert_eq!((parsed.code, parsed.layout), (code, Layout::Siw), "{first}");
        let parsed = Terminate::parse(&unhex(rfc)).unwrap();
        assert_eq!((parsed.code, parsed.layout), (code, Layout::Rfc), "{rfc}");
        assert_ne!(code.name(), "unknown error");
    }
    // siw repeats headers as well.
    let parsed = Terminate::parse(&unhex("11 00 03 00 0010 c140 00dead00 0000000000000000")).unwrap();
    let segment = parsed.segment.unwrap();
    assert_eq!((segment.len, segment.header()), (Some(16), &unhex("c140 00dead00 0000000000000000")[..]));
}

proptest! {
    // test: IW-TRM-03
    #[test]
    fn any_terminate_is_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
        prop_assert_eq!(Terminate::parse(&bytes).is_some(), bytes.len() >= 4);
    }

    #[test]
    fn any_code_survives(layer in 0..3_u8, kind in 0..4_u8, code in any::<u8>(), len in any::<u16>(), tagged in any::<bool>()) {
        let mut header = [0x11; 18];
        header[0] = if tagged { 0xC1 } else { 0x41 };
        let header = &header[..ddp::header_len(header[0])];
        let mut terminate = Terminate::new(ErrorCode::new(layer, kind, code));
        terminate.segment = Some(Offender::new(header, len, None));
        round(&terminate);
    }
}

// test: IW-TRM-08
#[test]
fn errors_have_names() {
    assert_eq!(ErrorCode::new(1, 2, 2).to_string(), "DDP untagged: no buffer available (1,2,02)");
    assert_eq!(ErrorCode::new(7, 9, 2).name(), "unknown error");
}
