//! I/O commands (NVM Command Set 1.0 §3.2; NVMe Base 2.0 §7).

use std::num::NonZeroU16;

use nvmf_controller::{
    NamespaceOptions,
    backend::{BlockSize, RamBackend, faulty::Order},
};
use nvmf_sim::Rng;
use nvmf_transport::{Data, QueueId};
use nvmf_wire::{
    IoOpcode, Sqe, Status,
    io::{DatasetAttributes, DatasetManagement, DatasetRange, Rw, flush},
    sqe::NSID_BROADCAST,
    zerocopy::IntoBytes as _,
};
use std::sync::Arc;

use super::check_status;
use crate::{
    Context as _, Fixture, Stop, Verdict, check, check_eq,
    site::{LARGE, LARGE_BLOCKS, MAX_TRANSFER, READ_ONLY, SMALL, SMALL_BLOCKS, Site},
};

fn random(len: usize, seed: u64) -> Vec<u8> {
    let mut bytes = vec![0; len];
    Rng::new(seed).fill(&mut bytes);
    bytes
}

/// Writes, reads back and compares.
fn round_trip(site: &mut Site, io: QueueId, nsid: u32, rw: Rw, size: usize) -> Verdict {
    let bytes = random(rw.blocks as usize * size, rw.slba ^ u64::from(rw.blocks));
    check_status!(site.put(io, rw.write(nsid), &bytes)?, Status::SUCCESS, "write of {} blocks", rw.blocks);
    let back = site.get(io, rw.read(nsid), bytes.len())?;
    check!(back == bytes, "{} blocks of {size} at {} came back as something else", rw.blocks, rw.slba);
    Ok(())
}

fn no_data(site: &mut Site, io: QueueId, sqe: Sqe, expected: Status, what: &str) -> Verdict {
    check_status!(site.status(io, sqe)?, expected, "{what}");
    Ok(())
}

/// Every size around the limits, both block sizes, with flow control and without, on shallow and deep queues.
pub fn sizes(fixture: &dyn Fixture) -> Verdict {
    let mut site = Site::new(fixture)?;
    let associated = site.usual()?;
    let most = MAX_TRANSFER.min(fixture.controller().limits().max_transfer) as usize;
    let capsule = site.io_in_capsule as usize;
    for (qid, depth, sq_flow_control) in [(1, 2, true), (2, 32, true), (3, 2, false), (4, 32, false)] {
        let io = site.io_queue_at(0, &associated, qid, depth, sq_flow_control)?;
        for (nsid, size) in [(SMALL, 512), (LARGE, 4096)] {
            let mut lens = vec![size, 2 * size, 8 * size, most - size, most];
            lens.extend([capsule.saturating_sub(size), capsule, capsule + size, capsule / 2]);
            for len in lens.into_iter().map(|len| len / size * size).filter(|&len| len > 0 && len <= most) {
                round_trip(&mut site, io, nsid, Rw::new(len as u64 % 97, (len / size) as u32), size)?;
            }
        }
    }
    Ok(())
}

/// One block more than MDTS allows.
pub fn too_large(fixture: &dyn Fixture) -> Verdict {
    let mut site = Site::new(fixture)?;
    let (_, io) = site.usual_io()?;
    let most = MAX_TRANSFER.min(fixture.controller().limits().max_transfer) as usize;
    let rw = Rw::new(0, (most / 512) as u32 + 1);
    let bytes = vec![0; most + 512];
    if most + 512 > fixture.host().limits().max_transfer as usize {
        return Err(Stop::skipped("the transport carries no more than MDTS allows"));
    }
    check_status!(site.put(io, rw.write(SMALL), &bytes)?, Status::INVALID_FIELD, "write");
    match site.fetch(io, rw.read(SMALL), bytes.len())? {
        Ok(_) => check!(false, "read: answered"),
        Err(status) => check_status!(status, Status::INVALID_FIELD, "read"),
    }
    round_trip(&mut site, io, SMALL, Rw::new(5, 3), 512)
}

/// Ranges that end at the end, beyond it, and beyond the end of numbers.
pub fn range(fixture: &dyn Fixture) -> Verdict {
    let mut site = Site::new(fixture)?;
    let (_, io) = site.usual_io()?;
    for (nsid, blocks, size) in [(SMALL, SMALL_BLOCKS, 512), (LARGE, LARGE_BLOCKS, 4096)] {
        round_trip(&mut site, io, nsid, Rw::new(blocks - 8, 8), size)?;
        for (slba, count) in
            [(blocks, 1), (blocks - 7, 8), (u64::MAX, 1), (u64::MAX, 2), (u64::MAX - 3, 8), (1 << 63, 1)]
        {
            let rw = Rw::new(slba, count);
            let bytes = vec![0; count as usize * size];
            let what = format!("{count} blocks at {slba:#x}");
            check_status!(site.put(io, rw.write(nsid), &bytes)?, Status::LBA_OUT_OF_RANGE, "write of {what}");
            match site.fetch(io, rw.read(nsid), bytes.len())? {
                Ok(_) => check!(false, "read of {what}: answered"),
                Err(status) => check_status!(status, Status::LBA_OUT_OF_RANGE, "read of {what}"),
            }
            no_data(&mut site, io, rw.write_zeroes(nsid), Status::LBA_OUT_OF_RANGE, &what)?;
        }
    }
    Ok(())
}

/// Namespaces that are not there.
pub fn no_namespace(fixture: &dyn Fixture) -> Verdict {
    let mut site = Site::new(fixture)?;
    let (_, io) = site.usual_io()?;
    for nsid in [0, 2, 64, 65, 0x8000_0000, NSID_BROADCAST - 1, NSID_BROADCAST] {
        let rw = Rw::new(0, 1);
        check_status!(
            site.put(io, rw.write(nsid), &[0; 512])?,
            Status::INVALID_NAMESPACE_OR_FORMAT,
            "write, NSID {nsid:#x}"
        );
        match site.fetch(io, rw.read(nsid), 512)? {
            Ok(_) => check!(false, "read, NSID {nsid:#x}: answered"),
            Err(status) => check_status!(status, Status::INVALID_NAMESPACE_OR_FORMAT, "read, NSID {nsid:#x}"),
        }
        if nsid != NSID_BROADCAST {
            no_data(&mut site, io, flush(nsid), Status::INVALID_NAMESPACE_OR_FORMAT, "flush")?;
        }
    }
    round_trip(&mut site, io, SMALL, Rw::new(0, 1), 512)
}

/// Data of another length than the blocks have, and none at all; the next command is well.
pub fn data_length(fixture: &dyn Fixture) -> Verdict {
    let mut site = Site::new(fixture)?;
    let (_, io) = site.usual_io()?;
    let (small, large) = (Rw::new(0, 2), Rw::new(0, 128));
    for (rw, len) in [
        (small, 512),
        (small, 1020),
        (small, 1028),
        (small, 2048),
        (large, 65_532),
        (large, 66_048),
        (large, 512),
    ] {
        let what = format!("{len} bytes for {} blocks", rw.blocks);
        check_status!(
            site.put(io, rw.write(SMALL), &vec![0; len])?,
            Status::DATA_SGL_LENGTH_INVALID,
            "write, {what}"
        );
        match site.fetch(io, rw.read(SMALL), len)? {
            Ok(_) => check!(false, "read, {what}: answered"),
            Err(status) => check_status!(status, Status::DATA_SGL_LENGTH_INVALID, "read, {what}"),
        }
        round_trip(&mut site, io, SMALL, Rw::new(7, 2), 512)?;
    }
    no_data(&mut site, io, small.write(SMALL), Status::DATA_SGL_LENGTH_INVALID, "write without data")?;
    no_data(&mut site, io, small.read(SMALL), Status::DATA_SGL_LENGTH_INVALID, "read without room")
}

/// Flush, of one namespace and of all.
pub fn flushes(fixture: &dyn Fixture) -> Verdict {
    let mut site = Site::new(fixture)?;
    let (_, io) = site.usual_io()?;
    for nsid in [SMALL, LARGE, READ_ONLY, NSID_BROADCAST] {
        no_data(&mut site, io, flush(nsid), Status::SUCCESS, &format!("NSID {nsid:#x}"))?;
    }
    let rw = Rw::new(3, 4).with_fua(true);
    let bytes = random(2048, 1);
    check_status!(site.put(io, rw.write(SMALL), &bytes)?, Status::SUCCESS, "write with FUA");
    check!(site.get(io, rw.read(SMALL), 2048)? == bytes);
    Ok(())
}

/// Write Zeroes makes zeroes, deallocating or not, and nothing beside them.
pub fn write_zeroes(fixture: &dyn Fixture) -> Verdict {
    let mut site = Site::new(fixture)?;
    let (_, io) = site.usual_io()?;
    for (nsid, size) in [(SMALL, 512), (LARGE, 4096)] {
        for deallocate in [false, true] {
            let whole = Rw::new(16, 32);
            let mut bytes = random(32 * size, 2);
            check_status!(site.put(io, whole.write(nsid), &bytes)?, Status::SUCCESS);
            let zeroes = Rw::new(20, 9).with_deallocate(deallocate);
            no_data(&mut site, io, zeroes.write_zeroes(nsid), Status::SUCCESS, "write zeroes")?;
            bytes[4 * size..13 * size].fill(0);
            check!(site.get(io, whole.read(nsid), bytes.len())? == bytes, "deallocate {deallocate}");
        }
    }
    let status = site.put(io, Rw::new(0, 1).write_zeroes(SMALL), &[0; 512])?;
    check!(!status.is_success(), "Write Zeroes with data succeeded");
    Ok(())
}

/// Dataset Management: one range and the most there may be, ranges that do not exist, and lists of the wrong length.
pub fn dataset_management(fixture: &dyn Fixture) -> Verdict {
    let mut site = Site::new(fixture)?;
    let (_, io) = site.usual_io()?;
    let list = |ranges: &[DatasetRange]| {
        ranges.iter().flat_map(|range| range.as_bytes().to_vec()).collect::<Vec<_>>()
    };
    let whole = Rw::new(0, 512);
    let mut bytes = random(512 * 512, 3);
    check_status!(site.put(io, whole.write(SMALL), &bytes)?, Status::SUCCESS);
    for ranges in [vec![DatasetRange::new(10, 5)], (0..256).map(|n| DatasetRange::new(2 * n, 1)).collect()] {
        let command = DatasetManagement::deallocate(ranges.len()).doing("a command")?.to_sqe(SMALL);
        check_status!(site.put(io, command, &list(&ranges))?, Status::SUCCESS, "{} ranges", ranges.len());
        // Deallocated blocks of this namespace read as zeroes (Identify Namespace, DLFEAT).
        for range in &ranges {
            let start = range.slba.get() as usize * 512;
            bytes[start..start + range.length.get() as usize * 512].fill(0);
        }
        check!(site.get(io, whole.read(SMALL), bytes.len())? == bytes, "{} ranges", ranges.len());
    }
    let beyond = [DatasetRange::new(0, 1), DatasetRange::new(SMALL_BLOCKS - 1, 2)];
    let command = DatasetManagement::deallocate(2).doing("a command")?.to_sqe(SMALL);
    check_status!(site.put(io, command, &list(&beyond))?, Status::LBA_OUT_OF_RANGE, "a range beyond the end");
    check_status!(
        site.put(io, command, &[0; 16])?,
        Status::DATA_SGL_LENGTH_INVALID,
        "one range instead of two"
    );
    // Linux describes room for the most ranges there may be, whatever NR says.
    let mut page = list(&[DatasetRange::new(600, 1)]);
    page.resize(4096, 0xff);
    let command = DatasetManagement::deallocate(1).doing("a command")?.to_sqe(SMALL);
    check_status!(site.put(io, command, &page)?, Status::SUCCESS, "more room than ranges");
    let hint = DatasetManagement { ranges: NonZeroU16::MIN, attributes: DatasetAttributes(0) }.to_sqe(SMALL);
    check_status!(site.put(io, hint, &list(&[DatasetRange::new(0, 1)]))?, Status::SUCCESS, "a hint");
    Ok(())
}

/// Compare, equal and different, in the capsule and not.
pub fn compare(fixture: &dyn Fixture) -> Verdict {
    let mut site = Site::new(fixture)?;
    let (_, io) = site.usual_io()?;
    for blocks in [1, 8, 200] {
        let rw = Rw::new(40, blocks);
        let mut bytes = random(blocks as usize * 512, 4);
        check_status!(site.put(io, rw.write(SMALL), &bytes)?, Status::SUCCESS);
        check_status!(site.put(io, rw.compare(SMALL), &bytes)?, Status::SUCCESS, "{blocks} equal blocks");
        if let Some(last) = bytes.last_mut() {
            *last ^= 1;
        }
        check_status!(
            site.put(io, rw.compare(SMALL), &bytes)?,
            Status::COMPARE_FAILURE,
            "{blocks} blocks, one bit differs"
        );
    }
    Ok(())
}

/// A namespace that is write protected can be read, and nothing else.
pub fn write_protected(fixture: &dyn Fixture) -> Verdict {
    let mut site = Site::new(fixture)?;
    let (_, io) = site.usual_io()?;
    let rw = Rw::new(0, 1);
    site.get(io, rw.read(READ_ONLY), 4096)?;
    check_status!(site.put(io, rw.write(READ_ONLY), &[1; 4096])?, Status::NAMESPACE_WRITE_PROTECTED, "write");
    no_data(&mut site, io, rw.write_zeroes(READ_ONLY), Status::NAMESPACE_WRITE_PROTECTED, "write zeroes")?;
    let command = DatasetManagement::deallocate(1).doing("a command")?.to_sqe(READ_ONLY);
    let range = DatasetRange::new(0, 1);
    check_status!(site.put(io, command, range.as_bytes())?, Status::NAMESPACE_WRITE_PROTECTED, "deallocate");
    check!(site.get(io, rw.read(READ_ONLY), 4096)?.iter().all(|&byte| byte == 0));
    Ok(())
}

/// What the medium says reaches the host, and the queue goes on.
pub fn medium_errors(fixture: &dyn Fixture) -> Verdict {
    let mut site = Site::new(fixture)?;
    let (_, io) = site.usual_io()?;
    round_trip(&mut site, io, SMALL, Rw::new(0, 4), 512)?;
    for (len, expected) in [(512, Status::WRITE_FAULT), (65_536, Status::CAPACITY_EXCEEDED)] {
        site.backend.fail_nth(1, expected);
        let rw = Rw::new(100, (len / 512) as u32);
        check_status!(site.put(io, rw.write(SMALL), &vec![1; len])?, expected, "write of {len} bytes");
        site.backend.fail_nth(1, Status::UNRECOVERED_READ_ERROR);
        match site.fetch(io, rw.read(SMALL), len)? {
            Ok(_) => check!(false, "a read that failed was answered with data"),
            Err(status) => check_status!(status, Status::UNRECOVERED_READ_ERROR, "read of {len} bytes"),
        }
    }
    site.backend.fail_nth(1, Status::INTERNAL_ERROR);
    no_data(&mut site, io, flush(SMALL), Status::INTERNAL_ERROR, "flush")?;
    round_trip(&mut site, io, SMALL, Rw::new(0, 4), 512)
}

/// Opcodes that do not exist.
pub fn opcodes(fixture: &dyn Fixture) -> Verdict {
    let mut site = Site::new(fixture)?;
    let (_, io) = site.usual_io()?;
    for opcode in [IoOpcode(0x3c), IoOpcode(0x7c), IoOpcode(0x80), IoOpcode(0xff), IoOpcode(0x03)] {
        no_data(&mut site, io, Sqe::io(opcode, SMALL), Status::INVALID_OPCODE, &format!("{opcode:?}"))?;
    }
    round_trip(&mut site, io, SMALL, Rw::new(0, 1), 512)
}

/// A namespace that goes away under its commands: those that run end, those that come later are refused.
pub fn namespace_removed(fixture: &dyn Fixture) -> Verdict {
    let mut site = Site::new(fixture)?;
    let (_, io) = site.usual_io()?;
    site.backend.hold();
    let mut running = Vec::new();
    for slba in 0..4 {
        let room = site.room(512)?;
        running.push(site.send(io, Rw::new(slba, 1).read(SMALL), room)?);
    }
    site.until("the reads to reach the namespace", |site| site.backend.held() == 4)?;
    site.subsystem.remove_namespace(SMALL).doing("to remove it")?;
    no_data(&mut site, io, flush(SMALL), Status::INVALID_NAMESPACE_OR_FORMAT, "after it was removed")?;
    site.backend.release(Order::Reverse);
    for sent in running {
        site.answer(sent)?; // It ends; how is the target's business.
    }
    let size = BlockSize::from_bytes(512).doing("a block size")?;
    let backend = RamBackend::new(1 << 20, size).doing("memory")?;
    site.subsystem.add_namespace(SMALL, NamespaceOptions::new(Arc::new(backend))).doing("a namespace")?;
    round_trip(&mut site, io, SMALL, Rw::new(0, 1), 512)?;
    let status = site.call(io, Rw::new(SMALL_BLOCKS - 1, 1).write_zeroes(SMALL), Data::None)?.status();
    check_eq!(status.code(), Status::LBA_OUT_OF_RANGE, "the new namespace is smaller");
    Ok(())
}

/// A write that overtakes reads of the same blocks changes nothing of what they return: each is of one moment.
pub fn reads_are_whole(fixture: &dyn Fixture) -> Verdict {
    let mut site = Site::new(fixture)?;
    let (_, io) = site.usual_io()?;
    let blocks = 16;
    let rw = Rw::new(0, blocks);
    let len = blocks as usize * 512;
    check_status!(site.put(io, rw.write(SMALL), &vec![0; len])?, Status::SUCCESS);
    for round in 1..20u8 {
        let mut reads = Vec::new();
        for _ in 0..4 {
            let room = site.room(len)?;
            reads.push(site.send(io, rw.read(SMALL), room)?);
        }
        let data = site.out(&vec![round; len])?;
        let write = site.send(io, rw.write(SMALL), data)?;
        for read in reads {
            let answer = site.answer(read)?;
            let bytes = answer.bytes();
            check!(bytes.windows(2).all(|pair| pair[0] == pair[1]), "round {round}: a read of two moments");
            check!(bytes[0] == round || bytes[0] == round - 1, "round {round}: {}", bytes[0]);
        }
        check_status!(site.answer(write)?.status(), Status::SUCCESS);
    }
    Ok(())
}
