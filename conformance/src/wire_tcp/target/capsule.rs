//! Command capsules: in-capsule data, SGLs, identifiers, the size of the queue.

use std::collections::HashMap;

use super::{Fatal, LIMIT, SEQUENCE, field};
use crate::{
    Stop, Verdict, check, check_eq,
    wire_tcp::{
        Target,
        bytes::{self, FLUSH, Sqe, kind, sgl},
        link::Heard,
        queue::{Ask, ENTRIES, Queue, read_command, write_command},
    },
};

/// Invalid Field in Command.
const INVALID_FIELD: u16 = 0x02;
/// Data SGL Length Invalid.
const LENGTH: u16 = 0x0f;
/// SGL Descriptor Type Invalid.
const TYPE: u16 = 0x11;
/// SGL Offset Invalid.
const OFFSET: u16 = 0x16;

/// In-capsule data an I/O queue takes, by Identify Controller's IOCCSZ.
fn limit(target: &Target) -> Result<usize, Stop> {
    let mut admin = Queue::admin(target)?;
    let cid = admin.cid();
    let identify = Sqe::new(0x06, cid).with_dword(10, 1).with_sgl(sgl::TRANSPORT, 0, 4096);
    let answer = admin.call(identify, &[])?;
    check_eq!((answer.status, answer.data.len()), (0, 4096), "Identify Controller");
    let ioccsz =
        u32::from_le_bytes([answer.data[1792], answer.data[1793], answer.data[1794], answer.data[1795]]);
    check!(ioccsz >= 4, "IOCCSZ {ioccsz}");
    Ok((ioccsz as usize - 4) * 16)
}

pub(super) fn sizes(target: &Target) -> Verdict {
    let limit = limit(target)?;
    let block = target.block_size as usize;
    let (_admin, mut io) = Queue::io(target)?;
    for len in [block, 2 * block, limit / 2 / block * block, limit / block * block] {
        if len == 0 || len > limit {
            continue;
        }
        let data: Vec<u8> = (0..len).map(|n| (n % 253) as u8).collect();
        let answer = io.write(target, 1, &data, true)?;
        check_eq!((answer.status, answer.r2ts.len()), (0, 0), "{len} bytes");
        check!(io.read(target, 1, len)?.data == data, "{len} bytes");
    }
    Ok(())
}

/// A write with so much in-capsule data: refused with its connection, or for itself.
fn refused_or_failed(queue: &mut Queue, sqe: Sqe, len: usize) -> Verdict {
    let pdu = bytes::capsule_cmd(sqe, &vec![0; len], queue.link.ours);
    queue.link.send(&pdu)?;
    match queue.link.hear()? {
        Heard::Pdu(reply) if reply.kind() == kind::CAPSULE_RESP => {
            check!([LENGTH, OFFSET, INVALID_FIELD].contains(&reply.status()), "status {:#x}", reply.status());
            Ok(())
        }
        Heard::Pdu(reply) if reply.kind() == kind::C2H_TERM_REQ => {
            let accepted: [Fatal; 2] = [LIMIT, field(4)];
            let (fes, fei) = reply.fatal();
            let fits = accepted.iter().any(|(one, at)| *one == fes && at.is_none_or(|at| at == fei));
            check!(fits, "FES {fes}, FEI {fei}");
            super::closes(&mut queue.link)
        }
        other => Err(Stop::failed(format!("{other:?}"))),
    }
}

pub(super) fn too_large(target: &Target) -> Verdict {
    let limit = limit(target)?;
    for extra in [4, target.block_size as usize, 1 << 20] {
        let (_admin, mut io) = Queue::io(target)?;
        let len = limit + extra;
        refused_or_failed(&mut io, write_command(target, 0, len, true, 0x31), len)?;
    }
    Ok(())
}

pub(super) fn admin_size(target: &Target) -> Verdict {
    let mut admin = Queue::admin(target)?;
    // An opcode that sends data and does not exist: the capsule is taken, the command is not.
    for len in [4, 1024, 8192] {
        let cid = admin.cid();
        let answer =
            admin.call(Sqe::new(0xc1, cid).with_sgl(sgl::IN_CAPSULE, 0, len as u32), &vec![0; len])?;
        check_eq!(answer.status, 0x01, "{len} bytes: Invalid Command Opcode");
    }
    admin.alive()
}

pub(super) fn admin_too_large(target: &Target) -> Verdict {
    for len in [8196, 16_384] {
        let mut admin = Queue::admin(target)?;
        refused_or_failed(&mut admin, Sqe::new(0xc1, 0x31).with_sgl(sgl::IN_CAPSULE, 0, len as u32), len)?;
    }
    Ok(())
}

/// Sends a capsule and expects its completion with one of these statuses; then the queue must be well.
fn fails(io: &mut Queue, target: &Target, sqe: Sqe, data: &[u8], accepted: &[u16], what: &str) -> Verdict {
    io.send(sqe, data)?;
    let reply = io.link.expect(kind::CAPSULE_RESP)?;
    check_eq!(reply.cid(), u16::from_le_bytes([sqe.0[2], sqe.0[3]]), "{what}");
    check!(
        accepted.contains(&reply.status()),
        "{what}: status {:#x}, expected one of {accepted:#x?}",
        reply.status()
    );
    io.io_alive(target)
}

pub(super) fn sgl_length(target: &Target) -> Verdict {
    let (_admin, mut io) = Queue::io(target)?;
    let block = target.block_size as usize;
    for (described, sent) in
        [(block, 2 * block), (2 * block, block), (block, block - 4), (block - 4, block), (0, block)]
    {
        let cid = io.cid();
        let sqe = write_command(target, 0, block, true, cid).with_sgl(sgl::IN_CAPSULE, 0, described as u32);
        let what = format!("{described} bytes described, {sent} sent");
        fails(&mut io, target, sqe, &vec![0; sent], &[LENGTH, OFFSET], &what)?;
    }
    Ok(())
}

pub(super) fn sgl_types(target: &Target) -> Verdict {
    let (_admin, mut io) = Queue::io(target)?;
    let block = target.block_size;
    // A host address, bit bucket, segments, keyed, reserved types and sub types, vendor specific.
    for identifier in
        [0x00, 0x10, 0x20, 0x21, 0x30, 0x31, 0x40, 0x4f, 0x50, 0x51, 0x60, 0x6a, 0xe0, 0xf0, 0xff]
    {
        let cid = io.cid();
        let sqe = read_command(target, 0, block as usize, cid).with_sgl(identifier, 0, block);
        fails(&mut io, target, sqe, &[], &[TYPE], &format!("read, SGL {identifier:02x}"))?;
        let cid = io.cid();
        let sqe = write_command(target, 0, block as usize, true, cid).with_sgl(identifier, 0, block);
        fails(
            &mut io,
            target,
            sqe,
            &vec![0; block as usize],
            &[TYPE, LENGTH],
            &format!("write, SGL {identifier:02x}"),
        )?;
    }
    Ok(())
}

pub(super) fn prp(target: &Target) -> Verdict {
    let (_admin, mut io) = Queue::io(target)?;
    let cid = io.cid();
    let sqe = read_command(target, 0, target.block_size as usize, cid).with(1, &[0x00]);
    fails(&mut io, target, sqe, &[], &[INVALID_FIELD], "PSDT 00b")
}

pub(super) fn both(target: &Target) -> Verdict {
    let (_admin, mut io) = Queue::io(target)?;
    let block = target.block_size as usize;
    let cid = io.cid();
    let sqe = write_command(target, 0, block, false, cid);
    fails(
        &mut io,
        target,
        sqe,
        &vec![0; block],
        &[LENGTH, INVALID_FIELD, TYPE],
        "data in the capsule and a transport SGL",
    )
}

pub(super) fn read_in_capsule(target: &Target) -> Verdict {
    let (_admin, mut io) = Queue::io(target)?;
    let block = target.block_size;
    let cid = io.cid();
    let sqe = read_command(target, 0, block as usize, cid).with_sgl(sgl::IN_CAPSULE, 0, block);
    fails(&mut io, target, sqe, &vec![0; block as usize], &[INVALID_FIELD, TYPE], "with data")?;
    let cid = io.cid();
    let sqe = read_command(target, 0, block as usize, cid).with_sgl(sgl::IN_CAPSULE, 0, block);
    fails(&mut io, target, sqe, &[], &[INVALID_FIELD, TYPE, LENGTH, OFFSET], "without data")
}

pub(super) fn sgl_offset(target: &Target) -> Verdict {
    let (_admin, mut io) = Queue::io(target)?;
    let block = target.block_size as usize;
    for offset in [block as u64, 1, 1 << 32, u64::MAX] {
        let cid = io.cid();
        let sqe = write_command(target, 0, block, true, cid).with_sgl(sgl::IN_CAPSULE, offset, block as u32);
        fails(&mut io, target, sqe, &vec![0; block], &[OFFSET, LENGTH], &format!("offset {offset}"))?;
    }
    // An offset within the capsule names the later part of its data.
    let cid = io.cid();
    let mut data = vec![1; block];
    data.extend(vec![2; block]);
    let sqe =
        write_command(target, 0, block, true, cid).with_sgl(sgl::IN_CAPSULE, block as u64, block as u32);
    io.send(sqe, &data)?;
    let reply = io.link.expect(kind::CAPSULE_RESP)?;
    match reply.status() {
        0 => check_eq!(io.read(target, 0, block)?.data, vec![2; block]),
        // Data that is in the capsule and not described is an error for some.
        other => check!([OFFSET, LENGTH].contains(&other), "status {other:#x}"),
    }
    io.io_alive(target)
}

pub(super) fn cid_ffff(target: &Target) -> Verdict {
    let (_admin, mut io) = Queue::io(target)?;
    let answer = io.call(Sqe::new(FLUSH, 0xffff).with_dword(1, target.nsid), &[])?;
    check_eq!(answer.status, 0);
    io.io_alive(target)
}

pub(super) fn overrun(target: &Target) -> Verdict {
    let (_admin, mut io) = Queue::io(target)?;
    // Writes whose data never comes stay outstanding, so that the queue is full for sure.
    let mut sent = Vec::new();
    for cid in 1..=2 * ENTRIES {
        sent.extend(bytes::capsule_cmd(write_command(target, 0, 65_536, false, cid), &[], io.link.ours));
    }
    io.link.send(&sent)?;
    let mut r2ts = 0;
    loop {
        match io.link.hear()? {
            Heard::Pdu(pdu) if pdu.kind() == kind::R2T => {
                r2ts += 1;
                check!(
                    r2ts <= u32::from(ENTRIES),
                    "{r2ts} commands of a queue of {ENTRIES} entries are served"
                );
            }
            Heard::Pdu(pdu) if pdu.kind() == kind::C2H_TERM_REQ => return super::closes(&mut io.link),
            Heard::End { .. } => return Ok(()),
            other => return Err(Stop::failed(format!("{other:?} after {r2ts} R2Ts"))),
        }
    }
}

pub(super) fn cid_twice(target: &Target) -> Verdict {
    let (_admin, mut io) = Queue::io(target)?;
    let cid = 0x0123;
    let (first, second) =
        (write_command(target, 0, 65_536, false, cid), Sqe::new(FLUSH, cid).with_dword(1, target.nsid));
    io.send(first, &[])?;
    let r2t = io.link.expect(kind::R2T)?;
    io.send(second, &[])?;
    match io.link.hear()? {
        Heard::Pdu(pdu) if pdu.kind() == kind::CAPSULE_RESP => {
            check_eq!((pdu.cid(), pdu.status()), (cid, 0x03), "Command ID Conflict");
        }
        Heard::Pdu(pdu) if pdu.kind() == kind::C2H_TERM_REQ => {
            check!(pdu.fatal().0 == SEQUENCE.0 || pdu.fatal().0 == 1, "{:?}", pdu.fatal());
            return super::closes(&mut io.link);
        }
        other => return Err(Stop::failed(format!("{other:?}"))),
    }
    // The first of the two goes on.
    check_eq!(r2t.cid(), cid);
    Ok(())
}

pub(super) fn flow_control(target: &Target) -> Verdict {
    for on in [true, false] {
        let (_admin, mut io) = Queue::io_with(target, Ask::default(), on)?;
        for n in 0..2 * ENTRIES {
            let answer = io.read(target, 0, target.block_size as usize)?;
            check!(!answer.folded || !on, "success is folded although SQ flow control is on");
            // Connect was the first command of the queue.
            check!(!on || answer.sqhd == (n + 2) % ENTRIES, "SQHD {} after {} commands", answer.sqhd, n + 2);
        }
        let flush = io.cid();
        let answers = {
            io.send(Sqe::new(FLUSH, flush).with_dword(1, target.nsid), &[])?;
            io.finish(&HashMap::from([(flush, Vec::new())]))?
        };
        check!(answers.values().all(|answer| answer.status == 0 && !answer.folded));
    }
    Ok(())
}
