//! NQNs and ASCII fields.

use crate::ascii::AsciiError;
use crate::nqn::NqnFault;
use crate::{Ascii, DISCOVERY_NQN, Nqn, NqnError, NqnField};
use std::collections::HashMap;
use std::format;
use std::string::{String, ToString};
use zerocopy::{FromBytes, IntoBytes};

const UUID_NQN: &str = "nqn.2014-08.org.nvmexpress:uuid:11111111-2222-3333-4444-555555555555";

#[test]
fn names_that_obey_the_specification() {
    let longest = format!("nqn.2014-08.com.example:{}", "x".repeat(223 - 24));
    let widest = format!("nqn.2014-08.com.{}:s", "a".repeat(63));
    for text in [
        DISCOVERY_NQN,
        UUID_NQN,
        "nqn.2014-08.org.nvmexpress:uuid:F81D4FAE-7dec-11d0-a765-00a0c91e6bf6",
        "nqn.2014-08.com.example",
        "nqn.2014-08.com.example:nvme:disk-1",
        "nqn.1999-12.com.ex-ample.4you:/é/ ü",
        "nqn.2014-01.com",
        &longest,
        &widest,
    ] {
        let nqn = Nqn::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!(nqn.as_str(), text);
        assert_eq!(Nqn::parse_lenient(text), Ok(nqn));
        assert_eq!(text.parse(), Ok(nqn));
        assert_eq!(Nqn::try_from(text), Ok(nqn));
        assert_eq!(NqnField::from(nqn).nqn(), Ok(nqn));
    }
}

#[test]
fn names_that_are_wrong_say_where() {
    use NqnFault::{ControlCharacter, Date, Domain, Empty, EmptySuffix, Prefix, TooLong, Uuid};
    let long = format!("nqn.2014-08.com.example:{}", "x".repeat(224 - 24));
    let label = format!("nqn.2014-08.com.{}:s", "a".repeat(64));
    for (text, at, fault) in [
        ("", 0, Empty),
        (long.as_str(), 223, TooLong),
        ("iqn.2014-08.com.example", 0, Prefix),
        ("nqn", 3, Prefix),
        ("NQN.2014-08.com.example", 0, Prefix),
        ("nqn.", 4, Domain),
        ("nqn.2014-08.com.example:a\nb", 25, ControlCharacter),
        ("nqn.2014-08.com.example:a\0b", 25, ControlCharacter),
        ("nqn.2014-08.com.example:\u{85}", 24, ControlCharacter),
        ("nqn.x", 4, Date),
        ("nqn.2014.08.com.example", 8, Date),
        ("nqn.2014-8.com.example", 10, Date),
        ("nqn.2014-08", 11, Date),
        ("nqn.2014-08:com", 11, Date),
        ("nqn.2014-00.com.example", 9, Date),
        ("nqn.2014-13.com.example", 9, Date),
        ("nqn.2014-20.com.example", 9, Date),
        ("nqn.2014-08.", 12, Domain),
        ("nqn.2014-08.:x", 12, Domain),
        ("nqn.2014-08.com..example", 16, Domain),
        ("nqn.2014-08.com.:x", 16, Domain),
        ("nqn.2014-08.com.ex_ample", 18, Domain),
        ("nqn.2014-08.com.exämple", 18, Domain),
        ("nqn.2014-08.-com", 12, Domain),
        ("nqn.2014-08.com-.example", 15, Domain),
        (label.as_str(), 79, Domain),
        ("nqn.2014-08.com.example:", 24, EmptySuffix),
        ("nqn.2014-08.org.nvmexpress:uuid:", 32, Uuid),
        ("nqn.2014-08.org.nvmexpress:uuid:1111111-2222-3333-4444-555555555555", 39, Uuid),
        ("nqn.2014-08.org.nvmexpress:uuid:1111111122223333444455555555555555555", 40, Uuid),
        ("nqn.2014-08.org.nvmexpress:uuid:g1111111-2222-3333-4444-555555555555", 32, Uuid),
        ("nqn.2014-08.org.nvmexpress:uuid:11111111-2222-3333-4444-55555555555", 67, Uuid),
        ("nqn.2014-08.org.nvmexpress:uuid:11111111-2222-3333-4444-5555555555555", 68, Uuid),
    ] {
        assert_eq!(Nqn::parse(text), Err(NqnError { at, fault }), "{text}");
    }
    let error = Nqn::parse("nqn.2014.08.com.example").unwrap_err();
    assert_eq!(error.to_string(), "the date is not of the form yyyy-mm followed by a dot (at byte 8)");
}

#[test]
fn a_peers_name_is_judged_leniently() {
    for text in [
        "nqn.x",
        "nqn.2014.08.org.nvmexpress:80868086PHLJ SAMSUNG",
        "nqn.2014-08.org.nvmexpress:uuid:not-a-uuid",
        "nqn.2014-08.com.exämple:",
        "testnqn",
        "nqn.",
        "nqn",
        "iqn.2014-08.com.example",
        "x",
    ] {
        let nqn = Nqn::parse_lenient(text).unwrap();
        assert_eq!(nqn.as_str(), text);
        assert_eq!(nqn.check_form().map(|()| nqn), Nqn::parse(text));
        assert!(nqn.check_form().is_err());
    }
    for text in ["", "nqn.a\tb", "test\nnqn", &"x".repeat(224)] {
        assert!(Nqn::parse_lenient(text).is_err(), "{text}");
    }
    assert!(Nqn::parse_lenient(&"x".repeat(223)).is_ok());
    let error = NqnError { at: 5, fault: NqnFault::NotUtf8 };
    assert_eq!(Nqn::from_utf8(b"nqn.a\xFFb"), Err(error));
}

#[test]
fn every_truncation_of_a_strict_name_is_judged() {
    let accepted: std::vec::Vec<_> =
        (0..=UUID_NQN.len()).filter(|&n| Nqn::parse(&UUID_NQN[..n]).is_ok()).collect();
    // From "nqn.2014-08.o": a domain may end after any of its characters but a dot; "nqn.2014-08.org.nvmexpress:u" is of
    // the general form, until the prefix of the UUID form is there.
    let mut expected: std::vec::Vec<_> = (13..=31).filter(|&n| !matches!(n, 16 | 27)).collect();
    expected.push(68);
    assert_eq!(accepted, expected);
}

#[test]
fn uuid_form_from_bytes() {
    let uuid =
        [0x11, 0x11, 0x11, 0x11, 0x22, 0x22, 0x33, 0x33, 0x44, 0x44, 0x55, 0x55, 0x55, 0x55, 0x55, 0x55];
    assert_eq!(Nqn::from_uuid(uuid), UUID_NQN);
    let bytes = core::array::from_fn(|i| (i as u8) * 0x11);
    let nqn = Nqn::from_uuid(bytes);
    assert_eq!(nqn.as_str(), "nqn.2014-08.org.nvmexpress:uuid:00112233-4455-6677-8899-aabbccddeeff");
    assert_eq!(Nqn::parse(nqn.as_str()), Ok(nqn));
}

#[test]
fn as_a_value() {
    assert!(Nqn::DISCOVERY.is_discovery());
    assert_eq!(Nqn::parse(DISCOVERY_NQN), Ok(Nqn::DISCOVERY));
    let other = Nqn::parse(UUID_NQN).unwrap();
    assert!(!other.is_discovery());
    assert_eq!(Nqn::DISCOVERY.cmp(&other), DISCOVERY_NQN.cmp(UUID_NQN));
    let map = HashMap::from([(other, 1)]);
    assert_eq!((map.get(UUID_NQN), map.get(DISCOVERY_NQN)), (Some(&1), None));
    assert_eq!(format!("{other}"), UUID_NQN);
    assert_eq!(format!("{other:?}"), format!("{UUID_NQN:?}"));
    assert_eq!(other.as_bytes(), UUID_NQN.as_bytes());
}

#[test]
fn the_field_of_256_bytes() {
    let field = NqnField::from(Nqn::DISCOVERY);
    let mut expected = [0; 256];
    expected[..DISCOVERY_NQN.len()].copy_from_slice(DISCOVERY_NQN.as_bytes());
    assert_eq!(field.as_bytes(), expected);
    assert_eq!(*NqnField::ref_from_bytes(&expected).unwrap(), field);
    assert!(NqnField::ref_from_bytes(&expected[1..]).is_err());
    assert!(!field.is_empty() && NqnField::default().is_empty());
    assert_eq!(NqnField::default().nqn(), Err(NqnError { at: 0, fault: NqnFault::Empty }));
    // What follows the NUL is not looked at.
    expected[DISCOVERY_NQN.len() + 1..].fill(0xFF);
    assert_eq!(NqnField(expected).nqn(), Ok(Nqn::DISCOVERY));
    // The NUL has to be there, and early enough.
    let too_long = Err(NqnError { at: 223, fault: NqnFault::TooLong });
    assert_eq!(NqnField([b'a'; 256]).nqn(), too_long);
    let mut field = [b'a'; 256];
    field[..4].copy_from_slice(b"nqn.");
    field[224] = 0;
    assert_eq!(NqnField(field).nqn(), too_long);
    field[223] = 0;
    assert_eq!(NqnField(field).nqn().unwrap().as_bytes().len(), 223);
    assert_eq!(format!("{:?}", NqnField::default()), "NqnField(the name is empty (at byte 0))");
}

#[test]
fn ascii_fields() {
    let field: Ascii<8> = "abc".parse().unwrap();
    assert_eq!(field.as_bytes(), b"abc     ");
    assert_eq!((field.as_str(), field.raw()), (Some("abc"), b"abc     "));
    assert_eq!((format!("{field}"), format!("{field:?}")), (String::from("abc"), String::from("\"abc\"")));
    assert_eq!(Ascii::<8>::new("12345678").unwrap().as_str(), Some("12345678"));
    assert_eq!(Ascii::<8>::new("123456789"), Err(AsciiError::TooLong { length: 9, capacity: 8 }));
    assert_eq!(Ascii::<8>::new("a\tb"), Err(AsciiError::NotPrintable { at: 1, byte: 9 }));
    assert_eq!(Ascii::<8>::new("aé"), Err(AsciiError::NotPrintable { at: 1, byte: 0xC3 }));
    assert_eq!(Ascii::<4>::lossy("aé\tb too long").as_bytes(), b"a??b");
    assert_eq!(Ascii::<4>::default(), Ascii::BLANK);
    assert_eq!(Ascii::<4>::BLANK.as_str(), Some(""));
}

#[test]
fn a_peers_ascii_field() {
    let read = |bytes: &[u8; 6]| Ascii::<6>::read_from_bytes(bytes).unwrap();
    assert_eq!(read(b"a b \0\0").as_str(), Some("a b"));
    assert_eq!(read(b" ab   ").as_str(), Some(" ab"));
    assert_eq!(read(b"\0\0\0\0\0\0").as_str(), Some(""));
    let hostile = read(b"a\x1b[\0\xFFb");
    assert_eq!(hostile.as_str(), None);
    assert_eq!(
        (format!("{hostile}"), format!("{hostile:?}")),
        ("a?[??b".into(), "\"a\\x1b[\\x00\\xffb\"".into())
    );
}
