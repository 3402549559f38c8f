//! Descriptors and the keys in them.

use nvmf_soft_iwarp::Access;

use super::capsule::room;

use crate::{
    Stop, Verdict, check, check_eq,
    wire_rdma::{
        Target,
        queue::{Queue, keyed, none, rw, sgl, with_region},
    },
    wire_tcp::bytes::{FLUSH, READ, Sqe, WRITE},
};

fn block(target: &Target) -> usize {
    target.block_size as usize
}

pub(super) fn other_kinds(target: &Target) -> Verdict {
    let (_admin, mut io) = Queue::io(target, 16)?;
    // Data block, bit bucket, segment, last segment by address, transport, keyed with another sub type, vendor specific.
    for identifier in [0x00, 0x10, 0x20, 0x30, 0x5a, 0x41, 0xf0] {
        let sqe = rw(target, READ, 0, block(target), io.cid()).with_sgl(identifier, 4096, target.block_size);
        let answer = io.call(sqe, &[])?;
        check_eq!(answer.status, 0x11, "descriptor {identifier:#04x}");
    }
    io.alive_io(target)
}

pub(super) fn several(target: &Target) -> Verdict {
    let (mut admin, mut io) = Queue::io(target, 16)?;
    let sqe = Sqe::new(0x06, admin.cid()).with_dword(10, 1);
    let identify = admin.peer.expose(vec![0; 4096], Access::REMOTE_WRITE)?;
    check_eq!(admin.call(with_region(sqe, sgl::KEYED, identify), &[])?.status, 0, "Identify Controller");
    let msdbd = usize::from(admin.peer.bytes(identify)[1803]).max(1);
    if room(&mut admin)? < (msdbd + 1) * 16 {
        return Err(Stop::skipped("no room for more descriptors in a capsule"));
    }
    let len = block(target) * msdbd;
    let data: Vec<u8> = (0..len).map(|at| (at % 241) as u8).collect();
    check_eq!(io.write(target, 16, data.clone())?.status, 0, "Write");
    // The answer in as many pieces as there are descriptors.
    let mut descriptors = Vec::new();
    let mut pieces = Vec::new();
    for _ in 0..msdbd {
        let region = io.peer.expose(vec![0; block(target)], Access::REMOTE_WRITE)?;
        let remote = region.remote(0);
        descriptors.extend(keyed(sgl::KEYED, remote.to, target.block_size, remote.stag.value()));
        pieces.push(region);
    }
    let list = |sqe: Sqe, len: usize| sqe.with_sgl(sgl::LAST_SEGMENT_IN_CAPSULE, 0, len as u32);
    let sqe = list(rw(target, READ, 16, len, io.cid()), descriptors.len());
    check_eq!(io.call(sqe, &descriptors)?.status, 0, "Read with {msdbd} descriptors");
    let read: Vec<u8> = pieces.iter().flat_map(|&piece| io.peer.bytes(piece)).collect();
    check_eq!(read, data);
    // One more.
    let extra = descriptors[..16].to_vec();
    descriptors.extend(extra);
    let sqe = list(rw(target, READ, 16, len, io.cid()), descriptors.len());
    check_eq!(io.call(sqe, &descriptors)?.status, 0x0e, "{} descriptors", msdbd + 1);
    // Half a descriptor, and descriptors that are not there.
    let sqe = list(rw(target, READ, 16, len, io.cid()), 8);
    check_eq!(io.call(sqe, &descriptors)?.status, 0x0d, "half a descriptor");
    let sqe = list(rw(target, READ, 16, len, io.cid()), 64);
    check!(io.call(sqe, &descriptors[..16])?.status != 0, "descriptors that are not there");
    io.alive_io(target)
}

pub(super) fn length(target: &Target) -> Verdict {
    let (_admin, mut io) = Queue::io(target, 16)?;
    for len in [1, block(target) - 1] {
        let sqe = rw(target, READ, 0, block(target), io.cid());
        let region = io.peer.expose(vec![0xa5; len], Access::REMOTE_WRITE)?;
        let answer = io.call(with_region(sqe, sgl::KEYED, region), &[])?;
        check_eq!(answer.status, 0x0f, "a read of {} bytes into {len}", block(target));
        check!(io.peer.bytes(region).iter().all(|&byte| byte == 0xa5), "something was written");
    }
    io.alive_io(target)
}

pub(super) fn nothing(target: &Target) -> Verdict {
    let (_admin, mut io) = Queue::io(target, 16)?;
    for descriptor in [keyed(sgl::KEYED, 0, 0, 0), keyed(sgl::KEYED, u64::MAX, 0, 0xdead_beef), [0; 16]] {
        let sqe = Sqe::new(FLUSH, io.cid()).with_dword(1, target.nsid).with(24, &descriptor);
        check_eq!(io.call(sqe, &[])?.status, 0, "Flush with {descriptor:02x?}");
    }
    Ok(())
}

pub(super) fn invalidate(target: &Target) -> Verdict {
    let (_admin, mut io) = Queue::io(target, 16)?;
    let mut used = 0;
    for (opcode, access) in [(READ, Access::REMOTE_WRITE), (WRITE, Access::REMOTE_READ)] {
        for identifier in [sgl::KEYED, sgl::KEYED_INVALIDATE] {
            let sqe = rw(target, opcode, 0, block(target), io.cid());
            let region = io.peer.expose(vec![0; block(target)], access)?;
            let answer = io.call(with_region(sqe, identifier, region), &[])?;
            check_eq!(answer.status, 0, "opcode {opcode:#x} with descriptor {identifier:#x}");
            match answer.invalidated {
                None => {}
                Some(key) => {
                    check_eq!(identifier, sgl::KEYED_INVALIDATE, "invalidated without being asked to");
                    check_eq!(key, region.stag, "another key was invalidated");
                    used += 1;
                }
            }
        }
    }
    // A controller may leave it to the host; one that does it half of the time is broken.
    check!(used == 0 || used == 2, "{used} of 2 keys were invalidated");
    // An error is a completion like any other.
    let region = io.peer.expose(vec![0; block(target)], Access::REMOTE_WRITE)?;
    let beyond = rw(target, READ, u64::MAX / 2, block(target), io.cid());
    let answer = io.call(with_region(beyond, sgl::KEYED_INVALIDATE, region), &[])?;
    check_eq!(answer.status, 0x80, "LBA out of range");
    check!(answer.invalidated.is_none_or(|key| key == region.stag), "another key was invalidated");
    io.alive_io(target)
}

pub(super) fn unknown(target: &Target) -> Verdict {
    for opcode in [READ, WRITE] {
        let (_admin, mut io) = Queue::io(target, 16)?;
        let len = target.block_size * 64;
        let sqe = rw(target, opcode, 0, len as usize, io.cid())
            .with(24, &keyed(sgl::KEYED, 4096, len, 0x1234_5678));
        io.send(sqe, &[])?;
        io.peer.end()?;
    }
    Ok(())
}

pub(super) fn no_right(target: &Target) -> Verdict {
    for (opcode, access) in [(READ, Access::REMOTE_READ), (WRITE, Access::REMOTE_WRITE)] {
        let (_admin, mut io) = Queue::io(target, 16)?;
        let len = block(target) * 64;
        let region = io.peer.expose(vec![0xa5; len], access)?;
        let sqe = rw(target, opcode, 0, len, io.cid());
        io.send(with_region(sqe, sgl::KEYED, region), &[])?;
        io.peer.end()?;
        check!(
            io.peer.bytes(region).iter().all(|&byte| byte == 0xa5),
            "memory was written without the right"
        );
    }
    Ok(())
}

pub(super) fn beyond(target: &Target) -> Verdict {
    for (opcode, access) in [(READ, Access::REMOTE_WRITE), (WRITE, Access::REMOTE_READ)] {
        let (_admin, mut io) = Queue::io(target, 16)?;
        let len = block(target) * 32;
        // What the descriptor says is twice what there is.
        let region = io.peer.expose(vec![0xa5; len], access)?;
        let remote = region.remote(0);
        let sqe = rw(target, opcode, 0, 2 * len, io.cid());
        io.send(sqe.with(24, &keyed(sgl::KEYED, remote.to, 2 * len as u32, remote.stag.value())), &[])?;
        io.peer.end()?;
    }
    // An address range that wraps is told as such, or ends the connection.
    let (_admin, mut io) = Queue::io(target, 16)?;
    let sqe = rw(target, READ, 0, block(target), io.cid());
    io.send(sqe.with(24, &keyed(sgl::KEYED, u64::MAX - 8, target.block_size, 0x77)), &[])?;
    match io.answer() {
        Ok(answer) => check!(answer.status != 0, "a range beyond all addresses was read into"),
        Err(Stop::Failed { .. }) => {}
        Err(skipped) => return Err(skipped),
    }
    Ok(())
}

pub(super) fn order(target: &Target) -> Verdict {
    let (_admin, mut io) = Queue::io(target, 16)?;
    let len = 64 * 1024;
    for round in 0..16u8 {
        let data: Vec<u8> = (0..len).map(|at| (at % 239) as u8 ^ round).collect();
        check_eq!(io.write(target, 0, data.clone())?.status, 0, "Write");
        check!(io.read(target, 0, len)? == data, "round {round}: the completion came before the data");
    }
    Ok(())
}

pub(super) fn read_depth(target: &Target) -> Verdict {
    let (_admin, mut io) = Queue::io(target, 1)?;
    let len = 128 * 1024;
    let mut open = Vec::new();
    for n in 0..8u64 {
        let data: Vec<u8> = (0..len).map(|at| (at % 199) as u8 ^ n as u8).collect();
        let slba = n * len as u64 / u64::from(target.block_size);
        let sqe = rw(target, WRITE, slba, len, io.cid());
        let region = io.peer.expose(data, Access::REMOTE_READ)?;
        io.send(with_region(sqe, sgl::KEYED, region), &[])?;
        open.push(sqe.0[2..4].to_vec());
    }
    while !open.is_empty() {
        let answer = io.answer()?;
        check_eq!(answer.status, 0, "Write");
        open.retain(|cid| *cid != answer.cid.to_le_bytes());
    }
    let sqe = none(Sqe::new(FLUSH, io.cid()).with_dword(1, target.nsid));
    check_eq!(io.call(sqe, &[])?.status, 0, "Flush");
    let slba = 3 * len as u64 / u64::from(target.block_size);
    check!(io.read(target, slba, len)?.iter().enumerate().all(|(at, &byte)| byte == (at % 199) as u8 ^ 3));
    Ok(())
}
