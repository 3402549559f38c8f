//! Tests of the codec: real frames, every truncation, and what both ends make of each other.

use proptest::prelude::*;

use super::{
    fpdu::{mulpdu, padding, total},
    marker::{MARKER_LEN, SPACING, Stamper},
    *,
};
use crate::crc32c;

fn unhex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    digits.chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

fn frame(bytes: &[u8], kind: FrameKind) -> Frame<'_> {
    let (frame, behind) = Frame::parse(bytes, kind).unwrap().unwrap();
    assert!(behind.is_empty());
    frame
}

fn encoded(frame: &Frame<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    frame.encode(&mut bytes).unwrap();
    bytes
}

const OFFER: Offer =
    Offer { ird: 32, ord: 16, crc: CrcPolicy::Required, rtr: RtrKinds::empty(), revision: Revision::Two };

// test: IW-MPA-02, IW-MPA-05, IW-ENH-02
#[test]
fn a_real_exchange() {
    let request = unhex(
        "4d504120494420526571204672616d65 10 02 0024 0080 0000 00000000 2000 1f00
         000000000000000000000000000000000000000000000000",
    );
    let parsed = frame(&request, FrameKind::Request);
    assert_eq!(parsed.enhanced, Some(Enhanced { peer_to_peer: None, ird: Some(128), ord: Some(0) }));
    assert_eq!((parsed.markers, parsed.crc, parsed.rejected), (false, false, false));
    assert_eq!(parsed.private_data.len(), 32);
    assert_eq!(encoded(&parsed), request);

    let reply = unhex("4d504120494420526570204672616d65 30 02 0008 00000080 0000 0200");
    let parsed = frame(&reply, FrameKind::Reply);
    assert!(parsed.rejected);
    assert_eq!(parsed.private_data, [0, 0, 2, 0]);
    assert_eq!(encoded(&parsed), reply);

    // Peer-to-peer: cxgb4 asks for a READ, siw answers with a WRITE to someone who asked for both.
    let parsed = unhex("4d504120494420526570204672616d65 50 02 0004 8001 8080");
    let parsed = frame(&parsed, FrameKind::Reply);
    let kinds = Some(RtrKinds::WRITE);
    assert_eq!(parsed.enhanced, Some(Enhanced { peer_to_peer: kinds, ird: Some(1), ord: Some(128) }));
    let all = unhex("4d504120494420526571204672616d65 d0 02 0004 ffff ffff");
    let parsed = frame(&all, FrameKind::Request);
    assert_eq!(parsed.enhanced, Some(Enhanced { peer_to_peer: Some(RtrKinds::all()), ird: None, ord: None }));
    assert!(parsed.markers && parsed.crc);
    assert_eq!(encoded(&parsed), all);
}

// test: IW-ENH-06
#[test]
fn without_peer_to_peer_the_kinds_do_not_count() {
    let bytes = unhex("4d504120494420526571204672616d65 10 02 0004 4001 c001");
    let parsed = frame(&bytes, FrameKind::Request);
    assert_eq!(parsed.enhanced, Some(Enhanced { peer_to_peer: None, ird: Some(1), ord: Some(1) }));
}

// test: IW-MPA-03, IW-MPA-04, IW-MPA-05, IW-MPA-07, IW-ENH-01
#[test]
fn what_is_no_frame() {
    let request = encoded(&request(&OFFER, b"data"));
    for len in 0..request.len() {
        assert_eq!(Frame::parse(&request[..len], FrameKind::Request), Ok(None), "{len}");
    }
    for at in 0..16 {
        let mut wrong = request.clone();
        wrong[at] ^= 1;
        // The first wrong byte is enough. One bit parts "Req" from "Rep".
        let error = if at == 9 { MpaError::Kind } else { MpaError::Key };
        assert_eq!(Frame::parse(&wrong[..=at], FrameKind::Request), Err(error), "{at}");
    }
    assert_eq!(Frame::parse(&request, FrameKind::Reply), Err(MpaError::Kind));
    assert_eq!(Frame::parse(b"GET / HTTP/1.1", FrameKind::Request), Err(MpaError::Key));
    for revision in [0, 3, 4, 255] {
        let mut wrong = request.clone();
        wrong[17] = revision;
        assert_eq!(Frame::parse(&wrong, FrameKind::Request), Err(MpaError::Revision(revision)));
    }
    for len in [513_u16, 514, 1024, u16::MAX] {
        let mut wrong = request.clone();
        wrong[18..20].copy_from_slice(&len.to_be_bytes());
        assert_eq!(Frame::parse(&wrong, FrameKind::Request), Err(MpaError::PrivateData(len)));
    }
    for len in 0..4_u16 {
        let mut wrong = request.clone();
        wrong[18..20].copy_from_slice(&len.to_be_bytes());
        assert_eq!(Frame::parse(&wrong, FrameKind::Request), Err(MpaError::Enhanced(len)));
        // Of the first revision the flag says nothing, so that these are four bytes of data or fewer.
        wrong[17] = 1;
        let (parsed, behind) = Frame::parse(&wrong, FrameKind::Request).unwrap().unwrap();
        assert_eq!((parsed.enhanced, parsed.private_data.len()), (None, usize::from(len)));
        assert_eq!(behind.len(), wrong.len() - 20 - usize::from(len));
    }
    // Reserved bits, and R of a request, do not count.
    let mut odd = request.clone();
    odd[16] |= 0x2F;
    assert_eq!(frame(&odd, FrameKind::Request), frame(&request, FrameKind::Request));
}

// test: IW-MPA-07
#[test]
fn private_data_of_every_length() {
    let data = [0x5A; PRIVATE_DATA_MAX + 1];
    for revision in [Revision::One, Revision::Two] {
        let offer = Offer { revision, ..OFFER };
        let most = if revision == Revision::Two { ULP_DATA_MAX } else { PRIVATE_DATA_MAX };
        for len in 0..=most {
            let bytes = encoded(&request(&offer, &data[..len]));
            assert!(bytes.len() <= FRAME_MAX);
            assert_eq!(frame(&bytes, FrameKind::Request).private_data, &data[..len]);
        }
        let mut bytes = Vec::new();
        let refused = request(&offer, &data[..most + 1]).encode(&mut bytes);
        assert_eq!((refused, bytes.len()), (Err(MpaError::PrivateData(513)), 0));
    }
}

// test: IW-ENH-04
#[test]
fn read_depth_is_never_offered_as_zero() {
    let offer = Offer { ird: 0, ..OFFER };
    let asked = request(&offer, &[]);
    assert_eq!(asked.enhanced.unwrap().ird, Some(1));
    let (reply, agreed) = answer(&offer, &asked, &[]);
    assert_eq!((reply.enhanced.unwrap().ird, agreed.ird), (Some(1), 1));
}

// test: IW-MRK-01
#[test]
fn markers_are_never_asked_for() {
    let asked = request(&OFFER, &[]);
    assert!(!asked.markers && !answer(&OFFER, &asked, &[]).0.markers && !reject(&asked, &[]).markers);
}

// test: IW-MPA-08, IW-ENH-05
#[test]
fn answers_have_the_form_of_the_request() {
    for revision in [Revision::One, Revision::Two] {
        let asked = request(&Offer { revision, ..OFFER }, b"x");
        for reply in [answer(&OFFER, &asked, b"y").0, reject(&asked, b"y")] {
            assert_eq!(reply.revision, revision);
            assert_eq!(reply.enhanced.is_some(), revision == Revision::Two);
            assert_eq!(reply.private_data, b"y");
        }
        assert!(reject(&asked, &[]).rejected);
    }
    // Revision 2, but plain.
    let plain = Frame { enhanced: None, ..request(&OFFER, &[]) };
    assert_eq!(answer(&OFFER, &plain, &[]).0.enhanced, None);
    // And the initiator insists.
    let reply = answer(&OFFER, &plain, &[]).0;
    assert_eq!(conclude(&OFFER, &reply), Err(MpaError::Form));
    let older = Offer { revision: Revision::One, ..OFFER };
    let reply = answer(&OFFER, &request(&older, &[]), &[]).0;
    assert_eq!(conclude(&OFFER, &reply), Err(MpaError::Form));
    assert!(conclude(&older, &reply).is_ok());
}

// test: IW-ENH-09
#[test]
fn exactly_one_kind_is_answered_and_it_was_asked_for() {
    for bits in 0..8 {
        let rtr = RtrKinds::from_bits_retain(bits);
        let mut asked = request(&OFFER, &[]);
        asked.enhanced.as_mut().unwrap().peer_to_peer = Some(rtr);
        let (reply, agreed) = answer(&OFFER, &asked, &[]);
        let kinds = reply.enhanced.unwrap().peer_to_peer.unwrap();
        assert_eq!(kinds.bits().count_ones(), 1);
        assert!(rtr.is_empty() || rtr.contains(kinds));
        assert_eq!(kinds.first(), agreed.rtr);
        if !rtr.is_empty() {
            assert_eq!(conclude(&Offer { rtr, ..OFFER }, &reply).unwrap().rtr, agreed.rtr);
        }
    }
    assert_eq!(answer(&OFFER, &request(&OFFER, &[]), &[]).0.enhanced.unwrap().peer_to_peer, None);
}

// test: IW-ENH-10
#[test]
fn a_reply_with_other_kinds() {
    let mut reply = answer(&OFFER, &request(&OFFER, &[]), &[]).0;
    // Not asked for: ignored.
    reply.enhanced.as_mut().unwrap().peer_to_peer = Some(RtrKinds::all());
    assert_eq!(conclude(&OFFER, &reply).unwrap().rtr, None);
    let offer = Offer { rtr: RtrKinds::READ | RtrKinds::WRITE, ..OFFER };
    assert_eq!(conclude(&offer, &reply).unwrap().rtr, Some(Rtr::Read));
    reply.enhanced.as_mut().unwrap().peer_to_peer = Some(RtrKinds::WRITE);
    assert_eq!(conclude(&offer, &reply).unwrap().rtr, Some(Rtr::Write));
    reply.enhanced.as_mut().unwrap().peer_to_peer = Some(RtrKinds::SEND);
    assert_eq!(conclude(&offer, &reply), Err(MpaError::NoCommonRtr));
    // The client-server model after all.
    reply.enhanced.as_mut().unwrap().peer_to_peer = None;
    assert_eq!(conclude(&offer, &reply).unwrap().rtr, None);
}

proptest! {
    // test: IW-MPA-11, IW-MRK-02, IW-ENH-03, IW-ENH-07, IW-ENH-08
    #[test]
    fn both_ends_agree(
        depths in any::<[u16; 4]>(), crc in any::<[bool; 2]>(), markers in any::<[bool; 2]>(), unknown in any::<[bool; 2]>(),
    ) {
        let policy = |required| if required { CrcPolicy::Required } else { CrcPolicy::WhenAsked };
        let depth = |depth: u16| depth % 200;
        let [ird, ord, their_ird, their_ord] = depths.map(depth);
        let a = Offer { ird, ord, crc: policy(crc[0]), ..OFFER };
        let b = Offer { ird: their_ird, ord: their_ord, crc: policy(crc[1]), ..OFFER };
        let mut asked = Frame { markers: markers[0], ..request(&a, &[]) };
        if unknown[0] { asked.enhanced.as_mut().unwrap().ird = None; }
        if unknown[1] { asked.enhanced.as_mut().unwrap().ord = None; }
        let bytes = encoded(&asked);
        let asked = frame(&bytes, FrameKind::Request);
        let (reply, agreed_b) = answer(&b, &asked, &[]);
        let reply = Frame { markers: markers[1], ..reply };
        let bytes = encoded(&reply);
        let reply = frame(&bytes, FrameKind::Reply);
        prop_assert_eq!(reply.enhanced.unwrap().ird.is_none(), unknown[1]);
        prop_assert_eq!(reply.enhanced.unwrap().ord.is_none(), unknown[0]);
        let agreed_a = conclude(&a, &reply).unwrap();
        prop_assert_eq!(agreed_a.crc, crc[0] || crc[1]);
        prop_assert_eq!(agreed_a.crc, agreed_b.crc);
        prop_assert_eq!((agreed_b.send_markers, agreed_a.send_markers), (markers[0], markers[1]));
        if !unknown[1] { prop_assert!(agreed_a.ord <= agreed_b.ird); }
        if !unknown[0] { prop_assert!(agreed_b.ord <= agreed_a.ird); }
        prop_assert!(agreed_a.ird >= 1 && agreed_b.ird >= 1);
    }

    #[test]
    fn arbitrary_bytes_are_parsed_or_refused(mut bytes in proptest::collection::vec(any::<u8>(), 0..600), key in any::<bool>()) {
        if key {
            let start = bytes.len().min(16);
            bytes[..start].copy_from_slice(&b"MPA ID Rep Frame"[..start]);
        }
        for kind in [FrameKind::Request, FrameKind::Reply] {
            if let Ok(Some((parsed, behind))) = Frame::parse(&bytes, kind) {
                let again = encoded(&parsed);
                prop_assert_eq!(again.len() + behind.len(), bytes.len());
                prop_assert_eq!(frame(&again, kind), parsed);
            }
        }
    }
}

// test: IW-ENH-08
#[test]
fn a_responder_that_wants_more_reads_than_offered() {
    let mut reply = answer(&OFFER, &request(&OFFER, &[]), &[]).0;
    for (ord, fits) in [(0, true), (32, true), (33, false), (200, false), (0x3FFE, false)] {
        reply.enhanced.as_mut().unwrap().ord = Some(ord);
        let expected = if fits { None } else { Some(MpaError::InsufficientIrd { wanted: ord, offered: 32 }) };
        assert_eq!(conclude(&OFFER, &reply).err(), expected);
    }
}

#[test]
fn a_port_for_two_protocols() {
    assert_eq!(looks_like_request(b""), None);
    assert_eq!(looks_like_request(b"MPA"), None);
    assert_eq!(looks_like_request(b"MPA "), Some(true));
    assert_eq!(looks_like_request(b"MPB"), Some(false));
    assert_eq!(looks_like_request(&[0]), Some(false));
    assert_eq!(looks_like_request(b"MPA ID Rep Frame"), Some(false));
    assert_eq!(looks_like_request(&encoded(&request(&OFFER, b"..."))), Some(true));
}

// test: IW-FPD-02
#[test]
fn padding_counts_the_length_field() {
    for len in 0..=u16::MAX {
        assert!(padding(len) < 4);
        assert_eq!((2 + usize::from(len) + padding(len)) % 4, 0);
        assert_eq!(total(len) % 4, 0);
    }
    assert_eq!((total(0x2a), total(0x22), total(0x2e), total(0x0e)), (48, 40, 52, 20));
}

// test: IW-FPD-06, IW-FPD-07, IW-MRK-07
#[test]
fn fpdus_fit_segments() {
    assert_eq!(mulpdu(1448, false), 1442);
    assert_eq!(mulpdu(1460, false), 1454);
    assert_eq!(mulpdu(65_483, false), 64_768);
    assert_eq!(
        (mulpdu(0, false), mulpdu(100, false), mulpdu(0, true), mulpdu(140, true)),
        (128, 128, 128, 130)
    );
    for emss in 200..66_000 {
        let plain = u32::from(mulpdu(emss, false));
        assert!(total(plain as u16) <= emss as usize && (128..=64_768).contains(&plain));
        let marked = u32::from(mulpdu(emss, true));
        let markers = (total(marked as u16) as u32).div_ceil(512) * 4;
        assert!(total(marked as u16) as u32 + markers <= emss + 4, "{emss}");
    }
}

/// Takes markers out again, checking each; answers with the FPDUs and whether every CRC was right.
fn unstamp(stream: &[u8]) -> Vec<Vec<u8>> {
    let mut fpdus = Vec::new();
    let (mut current, mut covered, mut length_at): (Vec<u8>, Vec<u8>, Option<usize>) = Default::default();
    let mut at = 0;
    while at < stream.len() {
        if at % SPACING as usize == 0 {
            let marker = &stream[at..at + MARKER_LEN];
            let back = u16::from_be_bytes([marker[2], marker[3]]);
            assert_eq!(marker[..2], [0, 0]);
            assert_eq!(usize::from(back), length_at.map_or(0, |start| at - start), "marker at {at}");
            assert_eq!(back % 4, 0);
            covered.extend_from_slice(marker);
            at += MARKER_LEN;
            continue;
        }
        length_at.get_or_insert(at);
        current.push(stream[at]);
        at += 1;
        let whole = current.first_chunk().map(|&len| total(u16::from_be_bytes(len)));
        match whole {
            Some(whole) if current.len() == whole => {
                assert_eq!(crc32c(&covered).to_le_bytes(), current[whole - 4..]);
                fpdus.push(std::mem::take(&mut current));
                covered.clear();
                length_at = None;
            }
            Some(whole) if current.len() > whole - 4 => {}
            _ => covered.push(stream[at - 1]),
        }
    }
    assert!(current.is_empty());
    fpdus
}

proptest! {
    // test: IW-MRK-03, IW-MRK-04, IW-MRK-05, IW-MRK-06
    #[test]
    fn markers_come_out_as_they_went_in(lens in proptest::collection::vec(0..3000_u16, 1..12), cut in 0..3000_usize) {
        let mut stamper = Stamper::new();
        let mut stream = Vec::new();
        let mut sent = Vec::new();
        for len in lens {
            let mut covered = len.to_be_bytes().to_vec();
            covered.extend((0..len).map(|i| i as u8));
            covered.resize(2 + usize::from(len) + padding(len), 0);
            let (first, second) = covered.split_at(cut.min(covered.len()));
            stamper.stamp(&[first, second], &mut stream, |bytes| crc32c(bytes).to_le_bytes());
            sent.push(covered);
        }
        let received = unstamp(&stream);
        prop_assert_eq!(received.len(), sent.len());
        for (received, sent) in received.iter().zip(&sent) {
            prop_assert_eq!(&received[..received.len() - 4], &sent[..]);
        }
    }
}

// test: IW-FPD-03, IW-MRK-04, IW-MRK-06
#[test]
fn the_figures_of_the_rfc() {
    let first = unhex("002a4143 00000000 00000000 00000001 00000000");
    let mut whole = first.clone();
    whole.resize(44, 0);
    assert_eq!(crc32c(&whole).to_le_bytes(), [0xb7, 0x24, 0x3e, 0xc3]);
    let mut stream = Vec::new();
    Stamper::new().stamp(&[&whole], &mut stream, |covered| crc32c(covered).to_le_bytes());
    assert_eq!(stream[..4], [0; 4]);
    assert_eq!(stream[4..48], whole);
    assert_eq!(stream[48..], [0x52, 0x23, 0x99, 0x83]);
}
