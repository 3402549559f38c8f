//! The common header, wrong in every field.

use super::{Fatal, LIMIT, SEQUENCE, ends_with, field};
use crate::{
    Verdict, check_eq,
    wire_tcp::{
        Target,
        bytes::{self, FLUSH, Shape, Sqe, flag, kind},
        queue::{Ask, Queue, write_command},
    },
};

/// Sends bytes on a connected admin queue; the answer must be one of these.
fn refused(target: &Target, ask: Ask, pdu: impl FnOnce(&Queue) -> Vec<u8>, accepted: &[Fatal]) -> Verdict {
    let mut queue = Queue::admin_with(target, ask)?;
    let pdu = pdu(&queue);
    queue.link.send(&pdu)?;
    ends_with(&mut queue.link, accepted, &pdu)
}

fn keep_alive(shape: Shape) -> Vec<u8> {
    bytes::capsule_cmd(Sqe::new(0x18, 0x55), &[], shape)
}

pub(super) fn wrong_direction(target: &Target) -> Verdict {
    let plain = Shape::default();
    let pdus = [
        bytes::term_req(kind::C2H_TERM_REQ, 1, 0, &[]),
        bytes::capsule_resp(1, 0, plain),
        bytes::c2h_data(1, 0, &[0; 64], flag::LAST, plain),
        bytes::r2t(1, 1, 0, 64, plain),
    ];
    for pdu in pdus {
        refused(target, Ask::default(), |_| pdu, &[field(0)])?;
    }
    refused(target, Ask::default(), |_| bytes::ic_resp().to_vec(), &[field(0), SEQUENCE])
}

pub(super) fn unknown_type(target: &Target) -> Verdict {
    for kind in [0x08, 0x0a, 0x0b, 0x10, 0x40, 0x7f, 0x80, 0xff] {
        refused(
            target,
            Ask::default(),
            |queue| {
                let mut pdu = keep_alive(queue.link.ours);
                pdu[0] = kind;
                pdu
            },
            &[field(0)],
        )?;
    }
    Ok(())
}

/// A command with one byte of its header changed.
fn changed(at: usize, value: u8) -> impl FnOnce(&Queue) -> Vec<u8> {
    move |queue| {
        let mut pdu = keep_alive(queue.link.ours);
        pdu[at] = value;
        pdu
    }
}

pub(super) fn capsule_header_length(target: &Target) -> Verdict {
    for hlen in [0, 8, 24, 71, 73, 76, 128, 255] {
        refused(target, Ask::default(), changed(2, hlen), &[field(2)])?;
    }
    Ok(())
}

pub(super) fn data_header_length(target: &Target) -> Verdict {
    for hlen in [0, 8, 23, 25, 72, 255] {
        refused(
            target,
            Ask::default(),
            |queue| {
                let mut pdu = bytes::h2c_data(1, 1, 0, &[0; 64], true, queue.link.ours);
                pdu[2] = hlen;
                pdu
            },
            &[field(2)],
        )?;
    }
    Ok(())
}

pub(super) fn reserved_flags(target: &Target) -> Verdict {
    // LAST_PDU and SUCCESS mean nothing on a capsule.
    for bit in [flag::LAST, flag::SUCCESS, 1 << 4, 1 << 7] {
        refused(target, Ask::default(), changed(1, bit), &[field(1)])?;
    }
    Ok(())
}

pub(super) fn header_digest_flag(target: &Target) -> Verdict {
    refused(target, Ask::default(), changed(1, flag::HDGST), &[field(1)])?;
    let mut queue = Queue::admin_with(target, Ask { hdgst: true, ..Ask::default() })?;
    if !queue.link.ours.hdgst {
        return Err(crate::Stop::skipped("the target does not enable header digests"));
    }
    let pdu = keep_alive(Shape::default());
    queue.link.send(&pdu)?;
    // Its digest would be the next four bytes: they never come, but the flag is there to see.
    queue.link.send(&[0; 4])?;
    ends_with(&mut queue.link, &[field(1)], &pdu)
}

pub(super) fn data_digest_flag(target: &Target) -> Verdict {
    let len = target.block_size as usize;
    let write = |shape| bytes::capsule_cmd(write_command(target, 0, len, true, 0x66), &vec![0; len], shape);
    let (_admin, mut io) = Queue::io(target)?;
    let pdu = write(Shape { ddgst: true, ..io.link.ours });
    io.link.send(&pdu)?;
    ends_with(&mut io.link, &[field(1)], &pdu)?;
    let (_admin, mut io) = Queue::io_with(target, Ask { ddgst: true, ..Ask::default() }, true)?;
    if !io.link.ours.ddgst {
        return Err(crate::Stop::skipped("the target does not enable data digests"));
    }
    let mut pdu = write(Shape { ddgst: false, ..io.link.ours });
    pdu.extend([0; 4]);
    io.link.send(&pdu)?;
    ends_with(&mut io.link, &[field(1)], &pdu)
}

pub(super) fn data_offset(target: &Target) -> Verdict {
    let len = target.block_size as usize;
    for pdo in [1, 8, 68, 71, 255] {
        let (_admin, mut io) = Queue::io(target)?;
        let mut pdu =
            bytes::capsule_cmd(write_command(target, 0, len, true, 0x66), &vec![0; len], io.link.ours);
        pdu[3] = pdo;
        io.link.send(&pdu)?;
        // 255 is inside the PDU, and not where data can start.
        ends_with(&mut io.link, &[field(3)], &pdu)?;
    }
    Ok(())
}

pub(super) fn no_data(target: &Target) -> Verdict {
    let (_admin, mut io) = Queue::io(target)?;
    let cid = io.cid();
    let pdu = bytes::capsule_cmd(Sqe::new(FLUSH, cid).with_dword(1, target.nsid), &[], io.link.ours);
    check_eq!(pdu[3], 0);
    io.link.send(&pdu)?;
    let reply = io.link.expect(kind::CAPSULE_RESP)?;
    check_eq!((reply.cid(), reply.status()), (cid, 0));
    Ok(())
}

fn with_length(plen: u32) -> impl FnOnce(&Queue) -> Vec<u8> {
    move |queue| {
        let mut pdu = keep_alive(queue.link.ours);
        pdu[4..8].copy_from_slice(&plen.to_le_bytes());
        pdu
    }
}

pub(super) fn pdu_length(target: &Target) -> Verdict {
    // Without data the header is all there is; with PDO 0 there cannot be more.
    for plen in [0, 1, 7, 8, 71] {
        refused(target, Ask::default(), with_length(plen), &[field(4)])?;
    }
    // There would be data, and PDO says that there is none: either field may be blamed.
    for plen in [73, 76] {
        refused(target, Ask::default(), with_length(plen), &[field(4), field(3)])?;
    }
    Ok(())
}

pub(super) fn huge(target: &Target) -> Verdict {
    for plen in [u32::MAX, u32::MAX - 3, 1 << 31, 64 << 20] {
        refused(target, Ask::default(), with_length(plen), &[field(4), LIMIT])?;
        // The same with data.
        refused(
            target,
            Ask::default(),
            |queue| {
                let mut pdu = keep_alive(queue.link.ours);
                // Where data can start with any CPDA.
                pdu[3] = 128;
                pdu[4..8].copy_from_slice(&plen.to_le_bytes());
                pdu
            },
            &[field(4), LIMIT, field(3)],
        )?;
    }
    Ok(())
}
