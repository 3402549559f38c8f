//! R2T, H2CData and C2HData.

use std::{collections::HashMap, time::Duration};

use super::{Fatal, LIMIT, OUT_OF_RANGE, SEQUENCE, ends_with, field};
use crate::{
    Stop, Verdict, check, check_eq,
    wire_tcp::{
        Target,
        bytes::{self, Pdu, Sqe, kind, sgl},
        link::Heard,
        queue::{Ask, Queue, read_command, write_command},
    },
};

fn pattern(len: usize, salt: usize) -> Vec<u8> {
    (0..len).map(|n| ((n + salt) % 251) as u8).collect()
}

pub(super) fn write(target: &Target) -> Verdict {
    for maxr2t in [0, 3] {
        let (_admin, mut io) = Queue::io_with(target, Ask { maxr2t, ..Ask::default() }, true)?;
        for len in [65_536, 128 * 1024] {
            let data = pattern(len, 1);
            let answer = io.write(target, 0, &data, false)?;
            check_eq!(answer.status, 0, "{len} bytes");
            let mut covered = 0;
            for (offset, len) in &answer.r2ts {
                check_eq!(*offset, covered, "an R2T that does not go on where the last one ended");
                covered += len;
            }
            check_eq!(covered as usize, len, "what the R2Ts cover");
            check!(io.read(target, 0, len)?.data == data, "{len} bytes");
        }
    }
    Ok(())
}

/// Sends a write and gives the R2T that answers it.
fn solicited(io: &mut Queue, target: &Target, slba: u64, len: usize) -> Result<(u16, Pdu), Stop> {
    let cid = io.cid();
    io.send(write_command(target, slba, len, false, cid), &[])?;
    let r2t = io.link.expect(kind::R2T)?;
    check_eq!(r2t.cid(), cid);
    check_eq!((r2t.hlen(), r2t.pdo()), (24, 0), "header of R2T");
    Ok((cid, r2t))
}

pub(super) fn parallel(target: &Target) -> Verdict {
    let (_admin, mut io) = Queue::io(target)?;
    let len = 32 * 1024;
    let block = u64::from(target.block_size);
    let (first, one) = solicited(&mut io, target, 0, len)?;
    let (second, two) = solicited(&mut io, target, len as u64 / block, len)?;
    let datas = [pattern(len, 5), pattern(len, 9)];
    for r2t in [&one, &two] {
        check_eq!((r2t.offset(), r2t.length() as usize), (0, len), "one R2T for {len} bytes");
    }
    // Piece by piece, in turn, the second first.
    let piece = 4096;
    for at in (0..len).step_by(piece) {
        for (cid, r2t, data) in [(second, &two, &datas[1]), (first, &one, &datas[0])] {
            let last = at + piece == len;
            let pdu = bytes::h2c_data(cid, r2t.u16(10), at as u32, &data[at..at + piece], last, io.link.ours);
            io.link.send(&pdu)?;
        }
    }
    let out = HashMap::from([(first, Vec::new()), (second, Vec::new())]);
    check!(io.finish(&out)?.values().all(|answer| answer.status == 0));
    let back = io.read(target, 0, 2 * len)?.data;
    check!(back == datas.concat(), "data of two writes got mixed");
    Ok(())
}

/// Answers an R2T with a PDU that is wrong; the connection must end with one of these.
fn refused(target: &Target, accepted: &[Fatal], wrong: impl FnOnce(u16, &Pdu, &Queue) -> Vec<u8>) -> Verdict {
    let (_admin, mut io) = Queue::io(target)?;
    let (cid, r2t) = solicited(&mut io, target, 0, 65_536)?;
    let pdu = wrong(cid, &r2t, &io);
    io.link.send(&pdu)?;
    ends_with(&mut io.link, accepted, &pdu)
}

pub(super) fn unsolicited(target: &Target) -> Verdict {
    let accepted = [SEQUENCE, field(10), field(8)];
    let (_admin, mut io) = Queue::io(target)?;
    let pdu = bytes::h2c_data(1, 1, 0, &[0; 512], true, io.link.ours);
    io.link.send(&pdu)?;
    ends_with(&mut io.link, &accepted, &pdu)?;
    refused(target, &accepted, |cid, r2t, io| {
        bytes::h2c_data(cid, r2t.u16(10) ^ 0x5555, 0, &[0; 512], false, io.link.ours)
    })?;
    // A tag whose transfer is over.
    let (_admin, mut io) = Queue::io(target)?;
    let (cid, r2t) = solicited(&mut io, target, 0, 4096)?;
    let pdu = bytes::h2c_data(cid, r2t.u16(10), 0, &[0; 4096], true, io.link.ours);
    io.link.send(&pdu)?;
    check_eq!(io.link.expect(kind::CAPSULE_RESP)?.status(), 0);
    io.link.send(&pdu)?;
    ends_with(&mut io.link, &accepted, &pdu)
}

pub(super) fn wrong_command(target: &Target) -> Verdict {
    refused(target, &[SEQUENCE, field(8), field(10)], |cid, r2t, io| {
        bytes::h2c_data(cid ^ 0x100, r2t.u16(10), 0, &[0; 512], false, io.link.ours)
    })
}

pub(super) fn wrong_offset(target: &Target) -> Verdict {
    // A gap, and the same again.
    refused(target, &[OUT_OF_RANGE, SEQUENCE, field(12)], |cid, r2t, io| {
        bytes::h2c_data(cid, r2t.u16(10), 512, &[0; 512], false, io.link.ours)
    })?;
    let (_admin, mut io) = Queue::io(target)?;
    let (cid, r2t) = solicited(&mut io, target, 0, 65_536)?;
    let pdu = bytes::h2c_data(cid, r2t.u16(10), 0, &[0; 4096], false, io.link.ours);
    io.link.send(&pdu)?;
    io.link.send(&pdu)?;
    ends_with(&mut io.link, &[OUT_OF_RANGE, SEQUENCE, field(12)], &pdu)
}

pub(super) fn beyond(target: &Target) -> Verdict {
    refused(target, &[OUT_OF_RANGE], |cid, r2t, io| {
        bytes::h2c_data(cid, r2t.u16(10), r2t.offset() + r2t.length(), &[0; 512], true, io.link.ours)
    })?;
    refused(target, &[OUT_OF_RANGE], |cid, r2t, io| {
        bytes::h2c_data(cid, r2t.u16(10), u32::MAX - 100, &[0; 512], true, io.link.ours)
    })?;
    // The last PDU too long.
    let (_admin, mut io) = Queue::io(target)?;
    let (cid, r2t) = solicited(&mut io, target, 0, 8192)?;
    let first = bytes::h2c_data(cid, r2t.u16(10), 0, &[0; 4096], false, io.link.ours);
    io.link.send(&first)?;
    let pdu = bytes::h2c_data(cid, r2t.u16(10), 4096, &[0; 4100], true, io.link.ours);
    io.link.send(&pdu)?;
    ends_with(&mut io.link, &[OUT_OF_RANGE, LIMIT], &pdu)
}

pub(super) fn too_much(target: &Target) -> Verdict {
    let (_admin, mut io) = Queue::io(target)?;
    let most = io.max_h2c_data as usize;
    if most + 4 > 128 * 1024 {
        // As far as the header: with MAXH2CDATA as large as this no write is long enough, and the header says it all.
        let (cid, r2t) = solicited(&mut io, target, 0, 65_536)?;
        let mut pdu = bytes::h2c_data(cid, r2t.u16(10), 0, &[0; 4], true, io.link.ours);
        let plen = (pdu.len() - 4 + most + 4) as u32;
        pdu[4..8].copy_from_slice(&plen.to_le_bytes());
        pdu[16..20].copy_from_slice(&(most as u32 + 4).to_le_bytes());
        io.link.send(&pdu)?;
        return ends_with(&mut io.link, &[LIMIT, OUT_OF_RANGE], &pdu);
    }
    let (cid, r2t) = solicited(&mut io, target, 0, 128 * 1024)?;
    let pdu = bytes::h2c_data(cid, r2t.u16(10), 0, &vec![0; most + 4], false, io.link.ours);
    io.link.send(&pdu)?;
    ends_with(&mut io.link, &[LIMIT, OUT_OF_RANGE], &pdu)
}

pub(super) fn odd_length(target: &Target) -> Verdict {
    let (_admin, mut io) = Queue::io(target)?;
    // In two PDUs, both within any MAXH2CDATA.
    let len = 8 * 512.max(target.block_size as usize / 8);
    let (cid, r2t) = solicited(&mut io, target, 0, len)?;
    let data = pattern(len, 3);
    let odd = len / 2 + 1;
    let refusal = |reply: &Pdu| {
        check_eq!(
            (reply.kind(), reply.fatal().0),
            (kind::C2H_TERM_REQ, 1),
            "a length that is no multiple of 4"
        );
        Ok(())
    };
    io.link.send(&bytes::h2c_data(cid, r2t.u16(10), 0, &data[..odd], false, io.link.ours))?;
    match io.link.hear_within(Duration::from_millis(200))? {
        Heard::Pdu(reply) => return refusal(&reply),
        Heard::Silence => {}
        other => return Err(Stop::failed(format!("{other:?}"))),
    }
    io.link.send(&bytes::h2c_data(cid, r2t.u16(10), odd as u32, &data[odd..], true, io.link.ours))?;
    match io.link.hear()? {
        Heard::Pdu(reply) if reply.kind() == kind::CAPSULE_RESP => {
            check_eq!((reply.cid(), reply.status()), (cid, 0));
            check!(io.read(target, 0, data.len())?.data == data);
            Ok(())
        }
        Heard::Pdu(reply) => refusal(&reply),
        other => Err(Stop::failed(format!("{other:?}"))),
    }
}

pub(super) fn length_mismatch(target: &Target) -> Verdict {
    for (field_at, by) in [(16, 4), (16, u32::MAX - 3), (4, 4), (4, u32::MAX - 3)] {
        // DATAL or PLEN, four more or four less than the other says.
        refused(target, &[field(4), field(16), field(3)], |cid, r2t, io| {
            let mut pdu = bytes::h2c_data(cid, r2t.u16(10), 0, &[0; 512], false, io.link.ours);
            let value =
                u32::from_le_bytes([pdu[field_at], pdu[field_at + 1], pdu[field_at + 2], pdu[field_at + 3]]);
            pdu[field_at..field_at + 4].copy_from_slice(&value.wrapping_add(by).to_le_bytes());
            pdu
        })?;
    }
    Ok(())
}

pub(super) fn last(target: &Target) -> Verdict {
    // Too early.
    refused(target, &[field(1), SEQUENCE, OUT_OF_RANGE], |cid, r2t, io| {
        bytes::h2c_data(cid, r2t.u16(10), 0, &[0; 512], true, io.link.ours)
    })?;
    // Missing: an error, or the data are there and that is enough.
    let (_admin, mut io) = Queue::io(target)?;
    let (cid, r2t) = solicited(&mut io, target, 0, 4096)?;
    let pdu = bytes::h2c_data(cid, r2t.u16(10), 0, &[8; 4096], false, io.link.ours);
    io.link.send(&pdu)?;
    match io.link.hear()? {
        Heard::Pdu(reply) if reply.kind() == kind::CAPSULE_RESP => {
            check_eq!(reply.status(), 0);
            check_eq!(io.read(target, 0, 4096)?.data, vec![8; 4096]);
            Ok(())
        }
        Heard::Pdu(reply) if reply.kind() == kind::C2H_TERM_REQ => {
            check_eq!(reply.fatal(), (1, 1));
            super::closes(&mut io.link)
        }
        other => Err(Stop::failed(format!("{other:?}"))),
    }
}

pub(super) fn never(target: &Target) -> Verdict {
    let (mut admin, mut io) = Queue::io(target)?;
    for n in 0..8 {
        solicited(&mut io, target, n * 128, 65_536)?;
    }
    // Commands behind them are not held up, on this queue or another.
    io.io_alive(target)?;
    admin.alive()?;
    drop(io);
    let mut again = Queue::negotiated(target, Ask::default())?;
    for _ in 0..50 {
        let cid = again.cid();
        let (sqe, data) = Queue::connect_command(target, 1, admin.cntlid, cid, true);
        if again.call(sqe, &data)?.status == 0 {
            return again.io_alive(target);
        }
        std::thread::park_timeout(Duration::from_millis(100));
    }
    Err(Stop::failed("the number of a queue that is gone stays in use"))
}

pub(super) fn small_pieces(target: &Target) -> Verdict {
    let ask = Ask { hdgst: true, ddgst: true, ..Ask::default() };
    for ask in [Ask::default(), ask] {
        let (_admin, mut io) = Queue::io_with(target, ask, true)?;
        let data = pattern(32_768, 7);
        let most = io.max_h2c_data as usize;
        for piece in [4, 8, 252, 512, 4096, 16_384].into_iter().filter(|&piece| piece <= most) {
            let (cid, r2t) = solicited(&mut io, target, 0, data.len())?;
            check_eq!(r2t.length() as usize, data.len());
            let mut out = Vec::new();
            for at in (0..data.len()).step_by(piece) {
                let end = (at + piece).min(data.len());
                out.extend(bytes::h2c_data(
                    cid,
                    r2t.u16(10),
                    at as u32,
                    &data[at..end],
                    end == data.len(),
                    io.link.ours,
                ));
            }
            io.link.send(&out)?;
            check_eq!(io.link.expect(kind::CAPSULE_RESP)?.status(), 0, "pieces of {piece} bytes");
            check!(io.read(target, 0, data.len())?.data == data, "pieces of {piece} bytes");
        }
    }
    Ok(())
}

pub(super) fn reads(target: &Target) -> Verdict {
    let data = pattern(128 * 1024, 11);
    for flow_control in [true, false] {
        for hpda in [0, 31] {
            let (_admin, mut io) = Queue::io_with(target, Ask { hpda, ..Ask::DIGESTS }, flow_control)?;
            check_eq!(io.write(target, 0, &data, false)?.status, 0);
            let block = target.block_size as usize;
            for len in [block, 2 * block, 4096.max(block), 65_536, 128 * 1024] {
                let answer = io.read(target, 0, len)?;
                check!(answer.status == 0 && answer.data == data[..len], "{len} bytes");
                check!(answer.data_pdus >= 1);
            }
        }
    }
    Ok(())
}

pub(super) fn failed_read(target: &Target) -> Verdict {
    for flow_control in [true, false] {
        let (_admin, mut io) = Queue::io_with(target, Ask::default(), flow_control)?;
        let cid = io.cid();
        let beyond = Sqe::rw(bytes::READ, target.nsid, u64::MAX - 8, 8, cid).with_sgl(
            sgl::TRANSPORT,
            0,
            8 * target.block_size,
        );
        let answer = io.call(beyond, &[])?;
        check_eq!((answer.status, answer.folded), (0x80, false), "LBA Out of Range");
        check!(answer.data.is_empty(), "{} bytes of data with an error", answer.data.len());
        io.io_alive(target)?;
    }
    Ok(())
}

pub(super) fn many_reads(target: &Target) -> Verdict {
    let (_admin, mut io) = Queue::io_with(target, Ask::default(), false)?;
    let data = pattern(128 * 1024, 2);
    check_eq!(io.write(target, 0, &data, false)?.status, 0);
    let block = target.block_size as usize;
    let mut capsules = Vec::new();
    let mut wanted = HashMap::new();
    for n in 0..24u16 {
        let cid = 0x400 + n;
        // No more than there is of the pattern behind block `n`.
        let blocks = [1, 64, 7, 128][usize::from(n) % 4].min(data.len() / block - usize::from(n));
        capsules.extend(bytes::capsule_cmd(
            read_command(target, u64::from(n), blocks * block, cid),
            &[],
            io.link.ours,
        ));
        wanted.insert(cid, (usize::from(n) * block, blocks * block));
    }
    io.link.send(&capsules)?;
    let answers = io.finish(&wanted.keys().map(|cid| (*cid, Vec::new())).collect())?;
    for (cid, (at, len)) in wanted {
        let answer = answers.get(&cid).ok_or_else(|| Stop::failed("a command without an answer"))?;
        check!(
            answer.status == 0 && answer.data == data[at..at + len],
            "command {cid:#x}: {len} bytes at {at}"
        );
    }
    Ok(())
}
