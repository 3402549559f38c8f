//! What Linux siw really sent, decoded to the last byte.
//!
//! `testdata/siw.bin` holds both directions of 35 TCP connections with siw of Linux 6.1: two runs of rping (siw at both ends),
//! a kernel host, and a script that tried what is and what is not allowed. Per direction: the length, the length of what follows,
//! and then literals and repetitions in turn (u16 length, bytes, u16 distance, u16 count), all big-endian.
#![allow(clippy::unwrap_used, reason = "a test")]

use nvmf_soft_iwarp::{
    crc32c, ddp,
    mpa::{Frame, FrameKind, MpaError, Revision, fpdu},
    rdmap::{BadControl, ErrorCode, Layout, Opcode, ReadRequest, Terminate},
};

const DATA: &[u8] = include_bytes!("../testdata/siw.bin");

fn word(bytes: &mut &[u8], len: usize) -> usize {
    let (word, rest) = bytes.split_at(len);
    *bytes = rest;
    word.iter().fold(0, |sum, &byte| sum << 8 | usize::from(byte))
}

fn unpack(mut packed: &[u8]) -> Vec<u8> {
    let mut out: Vec<u8> = Vec::new();
    while !packed.is_empty() {
        let literal = word(&mut packed, 2);
        out.extend_from_slice(&packed[..literal]);
        packed = &packed[literal..];
        let (distance, count) = (word(&mut packed, 2), word(&mut packed, 2));
        for _ in 0..count {
            out.push(out[out.len() - distance]);
        }
    }
    out
}

/// Connections: what the initiator sent, what the responder (always siw) did.
fn connections() -> Vec<[Vec<u8>; 2]> {
    let mut rest = DATA;
    let mut found = Vec::new();
    while !rest.is_empty() {
        found.push([(), ()].map(|()| {
            let (len, packed) = (word(&mut rest, 4), word(&mut rest, 4));
            let bytes = unpack(&rest[..packed]);
            rest = &rest[packed..];
            assert_eq!(bytes.len(), len);
            bytes
        }));
    }
    found
}

#[derive(Default, Debug)]
struct Seen {
    fpdus: usize,
    checked: usize,
    bytes: usize,
    sends: usize,
    invalidates: usize,
    writes: usize,
    reads: usize,
    responses: usize,
    terminates: Vec<(ErrorCode, Layout)>,
    odd: Vec<String>,
}

/// Decodes FPDUs until the last byte, or until one that cannot be.
fn decode(mut bytes: &[u8], crc: bool, seen: &mut Seen) {
    while let [a, b, rest @ ..] = bytes {
        let len = u16::from_be_bytes([*a, *b]);
        let Some((fpdu, behind)) = bytes.split_at_checked(fpdu::total(len)) else {
            return seen.odd.push(format!("{} bytes left of an FPDU of {len}", bytes.len()));
        };
        let ulpdu = &rest[..len.into()];
        bytes = behind;
        seen.fpdus += 1;
        seen.bytes += fpdu.len();
        let (covered, sum) = fpdu.split_at(fpdu.len() - 4);
        if crc && crc32c(covered).to_le_bytes() != sum {
            seen.odd.push("CRC".into());
            continue;
        }
        seen.checked += usize::from(crc);
        let Some(parsed) = ddp::Header::parse(ulpdu) else {
            seen.odd.push(format!("no header in {len} bytes"));
            continue;
        };
        let Ok((header, header_len)) = parsed else {
            seen.odd.push("DDP version".into());
            continue;
        };
        // What was parsed is what would have been written.
        let mut again = [0; ddp::UNTAGGED_LEN];
        assert_eq!(header.encode(&mut again), header_len);
        assert_eq!(again[..header_len], ulpdu[..header_len]);
        let payload = &ulpdu[header_len..];
        let opcode = match Opcode::parse(header.rdmap) {
            Ok(opcode) => opcode,
            Err(BadControl::Version) => {
                seen.odd.push("RDMAP version".into());
                continue;
            }
            Err(BadControl::Opcode) => {
                seen.odd.push("opcode".into());
                continue;
            }
        };
        assert_eq!(opcode.control(), header.rdmap);
        match opcode {
            Opcode::Write => seen.writes += 1,
            Opcode::ReadResponse => seen.responses += 1,
            Opcode::Send { invalidate, .. } => {
                seen.sends += 1;
                seen.invalidates += usize::from(invalidate);
            }
            Opcode::ReadRequest => {
                seen.reads += 1;
                let request: &[u8; ReadRequest::LEN] = payload.try_into().unwrap();
                assert_eq!(ReadRequest::parse(request).encode(), *request);
            }
            Opcode::Terminate => {
                let terminate = Terminate::parse(payload).unwrap();
                seen.terminates.push((terminate.code, terminate.layout));
            }
        }
    }
    if !bytes.is_empty() {
        seen.odd.push("a single byte".into());
    }
}

// test: IW-TRM-03, IW-FPD-01, IW-FPD-02, IW-DDP-01, IW-RDM-01, IW-RDM-08
#[test]
fn all_of_it() {
    let all = connections();
    assert_eq!(all.len(), 35);
    let (mut siw, mut script) = (Seen::default(), Seen::default());
    let (mut answered, mut rejected) = (0, 0);
    for [initiator, responder] in &all {
        let request = Frame::parse(initiator, FrameKind::Request);
        let (request, sent) = match request {
            Ok(Some(parsed)) => parsed,
            Err(MpaError::Revision(3)) => {
                assert!(responder.is_empty());
                continue;
            }
            other => panic!("{other:?}"),
        };
        let mut again = Vec::new();
        request.encode(&mut again).unwrap();
        assert_eq!(again, initiator[..initiator.len() - sent.len()]);
        if responder.is_empty() {
            // Bytes glued to the request: siw hangs up.
            assert!(!sent.is_empty());
            continue;
        }
        let (reply, answer) = Frame::parse(responder, FrameKind::Reply).unwrap().unwrap();
        let mut again = Vec::new();
        reply.encode(&mut again).unwrap();
        assert_eq!(again, responder[..responder.len() - answer.len()]);
        assert_eq!(reply.enhanced.is_some(), reply.revision == Revision::Two);
        if reply.rejected {
            rejected += 1;
            assert!(sent.is_empty() && answer.is_empty());
            continue;
        }
        answered += 1;
        assert!(!reply.markers && !request.markers);
        decode(sent, reply.crc, &mut script);
        decode(answer, reply.crc, &mut siw);
    }
    assert_eq!((answered, rejected), (29, 4));
    // Everything that siw said is valid, however it was provoked.
    assert_eq!(siw.odd, [] as [String; 0]);
    assert_eq!((siw.fpdus, siw.bytes), (89, 258_888));
    assert_eq!((siw.sends, siw.invalidates, siw.writes, siw.reads, siw.responses), (43, 19, 23, 8, 1));
    let swapped = |&(code, layout): &(ErrorCode, Layout)| (layout == Layout::Siw).then_some(code);
    let said: Vec<_> = siw.terminates.iter().filter_map(swapped).collect();
    for expected in [
        ErrorCode::new(1, 2, 3),
        ErrorCode::new(1, 2, 1),
        ErrorCode::new(1, 1, 0),
        ErrorCode::new(1, 1, 1),
        ErrorCode::new(1, 2, 4),
        ErrorCode::new(1, 2, 6),
        ErrorCode::new(0, 2, 9),
        ErrorCode::new(2, 0, 2),
        ErrorCode::new(2, 0, 3),
    ] {
        assert!(said.contains(&expected), "{expected:?} is not among {said:?}");
    }
    // Only the script sent nonsense, and all of it on purpose.
    for odd in &script.odd {
        assert!(
            ["CRC", "DDP version", "RDMAP version", "opcode"].contains(&odd.as_str())
                || odd.contains("no header")
                || odd == "4 bytes left of an FPDU of 0",
            "{odd}"
        );
    }
}
