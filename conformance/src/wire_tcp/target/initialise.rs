//! ICReq and ICResp.

use std::{thread, time::Duration};

use super::{SEQUENCE, ends, ends_with, field};
use crate::{
    Stop, Verdict, check, check_eq,
    wire_tcp::{
        Target,
        bytes::{self, Sqe, flag, ic_req, kind},
        link::{Heard, Link},
        queue::{Ask, Queue},
    },
};

/// Sends an ICReq with one thing wrong; the answer must be one of these.
fn refused(target: &Target, change: impl FnOnce(&mut [u8; 128]), accepted: &[super::Fatal]) -> Verdict {
    let mut link = Link::connect(target.address)?;
    let mut pdu = ic_req();
    change(&mut pdu);
    link.send(&pdu)?;
    ends(&mut link, accepted, &pdu)
}

pub(super) fn valid(target: &Target) -> Verdict {
    for maxr2t in [0, 1, 31, u32::MAX] {
        Queue::negotiated(target, Ask { maxr2t, ..Ask::default() })?;
    }
    Ok(())
}

pub(super) fn digests(target: &Target) -> Verdict {
    for (hdgst, ddgst) in [(false, false), (true, false), (false, true), (true, true)] {
        let (_admin, mut io) = Queue::io_with(target, Ask { hdgst, ddgst, ..Ask::default() }, true)?;
        io.write(target, 0, &vec![7; 2 * target.block_size as usize], true)?;
        check_eq!(io.read(target, 0, target.block_size as usize)?.data, vec![7; target.block_size as usize]);
    }
    Ok(())
}

pub(super) fn alignment(target: &Target) -> Verdict {
    for hpda in [0, 1, 7, 15, 31] {
        for digests in [false, true] {
            let ask = Ask { hpda, hdgst: digests, ddgst: digests, maxr2t: 0 };
            let (_admin, mut io) = Queue::io_with(target, ask, true)?;
            // `read` checks PDO of every PDU.
            for blocks in [1, 3, 64] {
                let len = blocks * target.block_size as usize;
                check_eq!(io.read(target, 0, len)?.data.len(), len, "HPDA {hpda}");
            }
        }
    }
    Ok(())
}

pub(super) fn alignment_too_large(target: &Target) -> Verdict {
    for hpda in [32, 64, 255] {
        refused(target, |pdu| pdu[10] = hpda, &[field(10)])?;
    }
    Ok(())
}

pub(super) fn format_version(target: &Target) -> Verdict {
    for pfv in [1u16, 0x0100, 0xffff] {
        refused(target, |pdu| pdu[8..10].copy_from_slice(&pfv.to_le_bytes()), &[field(8)])?;
    }
    Ok(())
}

pub(super) fn pdu_length(target: &Target) -> Verdict {
    for plen in [0u32, 7, 127, 129, 4096, u32::MAX] {
        refused(target, |pdu| pdu[4..8].copy_from_slice(&plen.to_le_bytes()), &[field(4)])?;
    }
    Ok(())
}

pub(super) fn header_length(target: &Target) -> Verdict {
    for hlen in [0, 8, 127, 129, 255] {
        refused(target, |pdu| pdu[2] = hlen, &[field(2)])?;
    }
    Ok(())
}

pub(super) fn flags_and_offset(target: &Target) -> Verdict {
    for (at, value, what) in [(1, 0xff, "flags"), (1, 1, "HDGSTF"), (3, 64, "PDO")] {
        let mut link = Link::connect(target.address)?;
        let mut pdu = ic_req();
        pdu[at] = value;
        link.send(&pdu)?;
        match link.hear()? {
            Heard::Pdu(reply) if reply.kind() == kind::IC_RESP => {}
            Heard::Pdu(reply) if reply.kind() == kind::C2H_TERM_REQ => {
                check_eq!(reply.fatal(), (1, at as u32), "{what}");
            }
            other => return Err(Stop::failed(format!("{what}: {other:?}"))),
        }
    }
    Ok(())
}

pub(super) fn twice(target: &Target) -> Verdict {
    let mut queue = Queue::negotiated(target, Ask::default())?;
    queue.link.send(&ic_req())?;
    ends_with(&mut queue.link, &[SEQUENCE, field(0)], &ic_req())
}

pub(super) fn not_first(target: &Target) -> Verdict {
    let shape = bytes::Shape::default();
    let (connect, data) = Queue::connect_command(target, 0, 0xffff, 1, true);
    for pdu in [
        bytes::capsule_cmd(connect, &data, shape),
        bytes::h2c_data(1, 1, 0, &[0; 64], true, shape),
        bytes::capsule_cmd(Sqe::new(0x18, 1), &[], shape),
    ] {
        let mut link = Link::connect(target.address)?;
        link.send(&pdu)?;
        ends(&mut link, &[SEQUENCE, field(0)], &pdu)?;
    }
    let mut link = Link::connect(target.address)?;
    link.send(&bytes::term_req(kind::H2C_TERM_REQ, 1, 0, &[]))?;
    super::closes(&mut link)
}

pub(super) fn piece_by_piece(target: &Target) -> Verdict {
    let mut link = Link::connect(target.address)?;
    for byte in ic_req() {
        link.send(&[byte])?;
        thread::park_timeout(Duration::from_millis(1));
    }
    link.expect(kind::IC_RESP).map(drop)
}

pub(super) fn silence(target: &Target) -> Verdict {
    let Some(limit) = target.init_timeout else {
        return Err(Stop::skipped("how long the target waits for ICReq is not known"));
    };
    let grace = limit + Duration::from_secs(3);
    let mut silent = Link::connect(target.address)?;
    let mut slow = Link::connect(target.address)?;
    slow.send(&ic_req()[..100])?;
    for link in [&mut silent, &mut slow] {
        match link.hear_within(grace)? {
            Heard::End { .. } => {}
            // Some say why before they go.
            Heard::Pdu(pdu) if pdu.kind() == kind::C2H_TERM_REQ => super::closes(link)?,
            other => return Err(Stop::failed(format!("after {grace:?}: {other:?}"))),
        }
    }
    Ok(())
}

pub(super) fn in_one_segment(target: &Target) -> Verdict {
    let mut link = Link::connect(target.address)?;
    let (sqe, data) = Queue::connect_command(target, 0, 0xffff, 9, true);
    let mut both = ic_req().to_vec();
    both.extend(bytes::capsule_cmd(sqe, &data, bytes::Shape::default()));
    link.send(&both)?;
    link.expect(kind::IC_RESP)?;
    match link.hear()? {
        Heard::Pdu(pdu) if pdu.kind() == kind::CAPSULE_RESP => {
            check_eq!((pdu.cid(), pdu.status()), (9, 0));
            Ok(())
        }
        Heard::Pdu(pdu) if pdu.kind() == kind::C2H_TERM_REQ => {
            check!(pdu.fatal().0 == 2, "{:?}", pdu.fatal());
            Ok(())
        }
        other => Err(Stop::failed(format!("{other:?}"))),
    }
}

pub(super) fn per_queue(target: &Target) -> Verdict {
    let mut admin = Queue::admin_with(target, Ask { hdgst: true, ..Ask::default() })?;
    let mut io = Queue::negotiated(target, Ask { ddgst: true, hpda: 3, ..Ask::default() })?;
    io.connect(target, 1, admin.cntlid, true)?;
    for n in 0..3u8 {
        io.write(target, 0, &vec![n; target.block_size as usize], false)?;
        admin.alive()?;
        check_eq!(io.read(target, 0, target.block_size as usize)?.data, vec![n; target.block_size as usize]);
    }
    Ok(())
}

pub(super) fn reserved(target: &Target) -> Verdict {
    let mut link = Link::connect(target.address)?;
    let mut pdu = ic_req();
    pdu[16..].fill(0xee);
    link.send(&pdu)?;
    let reply = link.expect(kind::IC_RESP)?;
    check!(reply.flags() & flag::HDGST == 0);
    // The upper bits of DGST are reserved as well.
    let mut link = Link::connect(target.address)?;
    let mut pdu = ic_req();
    pdu[11] = 0xfc;
    link.send(&pdu)?;
    let reply = link.expect(kind::IC_RESP)?;
    check_eq!(reply.byte(11), 0, "DGST granted");
    Ok(())
}
