//! Capsules: their length, and the data in them.

use crate::{
    Stop, Verdict, check_eq,
    wire_rdma::{
        Target,
        queue::{Queue, none, rw, sgl, with_region},
    },
    wire_tcp::bytes::{FLUSH, Sqe, WRITE},
};

pub(super) fn short(target: &Target) -> Verdict {
    for len in [0, 1, 16, 63] {
        let (_admin, mut io) = Queue::io(target, 16)?;
        let flush = none(Sqe::new(FLUSH, 1).with_dword(1, target.nsid));
        io.peer.send(&flush.0[..len])?;
        io.peer.end()?;
    }
    Ok(())
}

/// In-capsule data the target takes, from IOCCSZ.
pub(super) fn room(admin: &mut Queue) -> Result<usize, Stop> {
    let sqe = Sqe::new(0x06, admin.cid()).with_dword(10, 1);
    let region = admin.peer.expose(vec![0; 4096], nvmf_soft_iwarp::Access::REMOTE_WRITE)?;
    check_eq!(admin.call(with_region(sqe, sgl::KEYED, region), &[])?.status, 0, "Identify Controller");
    let bytes = admin.peer.bytes(region);
    let ioccsz = u32::from_le_bytes([bytes[1792], bytes[1793], bytes[1794], bytes[1795]]) as usize;
    check_eq!(u16::from_le_bytes([bytes[1800], bytes[1801]]), 0, "ICDOFF, which the cases take for 0");
    Ok((ioccsz * 16).saturating_sub(64))
}

pub(super) fn long(target: &Target) -> Verdict {
    let (mut admin, mut io) = Queue::io(target, 16)?;
    let room = room(&mut admin)?;
    let sqe =
        rw(target, WRITE, 0, target.block_size as usize, 1).with_sgl(sgl::IN_CAPSULE, 0, target.block_size);
    io.send(sqe, &vec![0; room + 4])?;
    io.peer.end().map(drop)
}

pub(super) fn admin_data(target: &Target) -> Verdict {
    let mut admin = Queue::admin(target)?;
    admin.send(none(Sqe::property_get(0x08, false, 1)), &[0; 4])?;
    admin.peer.end().map(drop)
}

pub(super) fn offset(target: &Target) -> Verdict {
    let (mut admin, mut io) = Queue::io(target, 16)?;
    let block = target.block_size as usize;
    if room(&mut admin)? < 2 * block {
        return Err(Stop::skipped("no room for two blocks in a capsule"));
    }
    let data: Vec<u8> = (0..2 * block).map(|at| (at % 251) as u8).collect();
    let sqe = rw(target, WRITE, 8, block, io.cid()).with_sgl(sgl::IN_CAPSULE, block as u64, block as u32);
    check_eq!(io.call(sqe, &data)?.status, 0, "Write of the second block of the capsule");
    check_eq!(io.read(target, 8, block)?, data[block..].to_vec());
    // A capsule may carry more than its command names.
    let sqe = rw(target, WRITE, 9, block, io.cid()).with_sgl(sgl::IN_CAPSULE, 0, block as u32);
    check_eq!(io.call(sqe, &data)?.status, 0, "Write of the first block of the capsule");
    check_eq!(io.read(target, 9, block)?, data[..block].to_vec());
    Ok(())
}

pub(super) fn missing(target: &Target) -> Verdict {
    let (mut admin, mut io) = Queue::io(target, 16)?;
    let block = target.block_size;
    if room(&mut admin)? < block as usize {
        return Err(Stop::skipped("no room for a block in a capsule"));
    }
    let data = vec![0x11; block as usize];
    // (offset, length, bytes in the capsule, status)
    let lies = [
        (0, block, 0, 0x0f),
        (0, block, block as usize - 1, 0x0f),
        (1, block, block as usize, 0x0f),
        (u64::from(block) + 1, block, block as usize, 0x16),
        (u64::MAX, block, block as usize, 0x16),
        (0, u32::MAX, block as usize, 0x0f),
    ];
    for (offset, length, carried, status) in lies {
        let sqe = rw(target, WRITE, 0, block as usize, io.cid()).with_sgl(sgl::IN_CAPSULE, offset, length);
        let answer = io.call(sqe, &data[..carried])?;
        check_eq!(answer.status, status, "{length} bytes at {offset} of {carried}");
    }
    io.alive_io(target)
}
