//! Header and data digests.

use super::{ends_with, header_digest};
use crate::{
    Stop, Verdict, check, check_eq,
    wire_tcp::{
        Target,
        bytes::{self, Sqe, kind},
        queue::{Ask, Queue, write_command},
    },
};

/// SCT 0, SC 22h.
const TRANSIENT_TRANSPORT_ERROR: u16 = 0x22;

/// An I/O queue with both digests, and what is stored in its first blocks.
fn with_digests(target: &Target) -> Result<(Queue, Queue, Vec<u8>), Stop> {
    let (admin, mut io) = Queue::io_with(target, Ask::DIGESTS, true)?;
    if !io.link.ours.hdgst || !io.link.ours.ddgst {
        return Err(Stop::skipped("the target does not enable digests"));
    }
    let stored = vec![0x11; 64 * target.block_size as usize];
    check_eq!(io.write(target, 0, &stored, false)?.status, 0);
    Ok((admin, io, stored))
}

pub(super) fn bad_header(target: &Target) -> Verdict {
    for bit in [0, 13, 31] {
        let mut queue = Queue::admin_with(target, Ask { hdgst: true, ..Ask::default() })?;
        if !queue.link.ours.hdgst {
            return Err(Stop::skipped("the target does not enable header digests"));
        }
        let mut pdu = bytes::capsule_cmd(Sqe::new(0x18, 0x44), &[], queue.link.ours);
        let at = pdu.len() - 4 + bit / 8;
        pdu[at] ^= 1 << (bit % 8);
        let received = u32::from_le_bytes([pdu[72], pdu[73], pdu[74], pdu[75]]);
        queue.link.send(&pdu)?;
        ends_with(&mut queue.link, &[header_digest(received)], &pdu)?;
    }
    // A bit of the header that makes another legal header.
    let mut queue = Queue::admin_with(target, Ask { hdgst: true, ..Ask::default() })?;
    let mut pdu = bytes::capsule_cmd(Sqe::new(0x18, 0x44), &[], queue.link.ours);
    pdu[10] ^= 1;
    let received = u32::from_le_bytes([pdu[72], pdu[73], pdu[74], pdu[75]]);
    queue.link.send(&pdu)?;
    ends_with(&mut queue.link, &[header_digest(received)], &pdu)
}

pub(super) fn bad_in_capsule(target: &Target) -> Verdict {
    let (_admin, mut io, stored) = with_digests(target)?;
    let len = target.block_size as usize;
    for spoil in [0, len / 2, len + 3] {
        let cid = io.cid();
        let mut pdu =
            bytes::capsule_cmd(write_command(target, 0, len, true, cid), &vec![0x22; len], io.link.ours);
        let data = pdu.len() - len - 4;
        pdu[data + spoil] ^= 0x10;
        io.link.send(&pdu)?;
        let reply = io.link.expect(kind::CAPSULE_RESP)?;
        check_eq!((reply.cid(), reply.status()), (cid, TRANSIENT_TRANSPORT_ERROR), "byte {spoil}");
        // The very next command is well, and nothing was stored.
        check!(io.read(target, 0, stored.len())?.data == stored, "corrupt data was stored");
    }
    check_eq!(io.write(target, 0, &vec![0x33; len], true)?.status, 0);
    check_eq!(io.read(target, 0, len)?.data, vec![0x33; len]);
    Ok(())
}

pub(super) fn bad_data(target: &Target) -> Verdict {
    let (_admin, mut io, stored) = with_digests(target)?;
    let len = stored.len();
    let cid = io.cid();
    io.send(write_command(target, 0, len, false, cid), &[])?;
    let mut spoiled = false;
    let reply = loop {
        let pdu = match io.link.hear()? {
            crate::wire_tcp::link::Heard::Pdu(pdu) => pdu,
            other => return Err(Stop::failed(format!("{other:?}"))),
        };
        match pdu.kind() {
            kind::R2T => {
                let data = vec![0x22; pdu.length() as usize];
                let most = io.max_h2c_data as usize;
                let pieces = data.chunks(most).count();
                for (n, piece) in data.chunks(most).enumerate() {
                    let at = pdu.offset() + (n * most) as u32;
                    let mut out = bytes::h2c_data(cid, pdu.u16(10), at, piece, n + 1 == pieces, io.link.ours);
                    // One bit of one PDU, and the digest that does not notice is none.
                    if !spoiled {
                        let middle = out.len() - 4 - piece.len() / 2;
                        out[middle] ^= 1;
                        spoiled = true;
                    }
                    io.link.send(&out)?;
                }
            }
            kind::CAPSULE_RESP => break pdu,
            other => return Err(Stop::failed(format!("PDU type {other:02x}: {:02x?}", pdu.bytes))),
        }
    };
    check!(spoiled, "no R2T for {len} bytes");
    check_eq!((reply.cid(), reply.status()), (cid, TRANSIENT_TRANSPORT_ERROR));
    let block = target.block_size as usize;
    let back = io.read(target, 0, len)?.data;
    // What the bad PDU carried must not be there; other pieces may have been stored before.
    check!(back.iter().all(|&byte| byte == 0x11 || byte == 0x22), "corrupt data was stored");
    check!(
        back.chunks(block).all(|block| block.iter().all(|&byte| byte == block[0])),
        "a block of two writes"
    );
    check_eq!(io.write(target, 0, &stored, false)?.status, 0);
    check!(io.read(target, 0, len)?.data == stored);
    Ok(())
}

pub(super) fn padding(target: &Target) -> Verdict {
    // The tester fills padding with A5h and no digest of it covers that; `read` checks the target's.
    for hpda in [0, 3, 31] {
        let (_admin, mut io) = Queue::io_with(target, Ask { hpda, ..Ask::DIGESTS }, true)?;
        let data = vec![hpda; 3 * target.block_size as usize];
        for in_capsule in [true, false] {
            check_eq!(io.write(target, 8, &data, in_capsule)?.status, 0);
            check!(io.read(target, 8, data.len())?.data == data);
        }
    }
    Ok(())
}

pub(super) fn every_command(target: &Target) -> Verdict {
    for (hdgst, ddgst) in [(true, false), (false, true), (true, true)] {
        for flow_control in [true, false] {
            let ask = Ask { hdgst, ddgst, maxr2t: 3, hpda: 1 };
            let (mut admin, mut io) = Queue::io_with(target, ask, flow_control)?;
            admin.alive()?;
            for blocks in [1, 8, 200] {
                let data: Vec<u8> =
                    (0..blocks * target.block_size as usize).map(|n| (n % 251) as u8).collect();
                check_eq!(io.write(target, 3, &data, false)?.status, 0);
                check!(io.read(target, 3, data.len())?.data == data, "{blocks} blocks");
            }
            io.io_alive(target)?;
        }
    }
    Ok(())
}
