use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use nvmf_transport::{Buffer, Error, ErrorKind, Gather, Memory, Region, Stage, Wake};
use nvmf_wire::Status;

use super::{CHUNK, RamBackend};
use crate::backend::{
    Backend, BlockRange, BlockSize, Buffers, Finished, Identity, OpenError, Operation, Progress,
    tests::{bytes, deallocate, pieces, read, write, write_zeroes},
};

/// Counts allocations, and refuses those beyond a limit.
struct Counting {
    made: AtomicUsize,
    limit: usize,
}

impl Memory for Counting {
    fn allocate(&self, len: usize) -> Result<Buffer, Error> {
        if self.made.fetch_add(1, Ordering::Relaxed) >= self.limit {
            return Err(Error::new(Stage::Memory, ErrorKind::Resources, "limit of the test"));
        }
        Region::allocate(len).map(Region::into_buffer)
    }
}

fn counting(limit: usize) -> (Arc<Counting>, RamBackend) {
    let made = AtomicUsize::new(0);
    let memory = Arc::new(Counting { made, limit });
    let ram = RamBackend::with_memory(1 << 30, BlockSize::B4096, Identity::random(), memory.clone()).unwrap();
    (memory, ram)
}

fn ram(bytes: u64) -> RamBackend {
    RamBackend::new(bytes, BlockSize::B4096).unwrap()
}

/// Where the bytes of a read lie.
fn addresses(data: &Gather) -> Vec<usize> {
    data.views().iter().map(|view| view.as_ptr().addr()).collect()
}

#[test]
fn what_was_never_written_is_zero_and_shared() {
    let ram = ram(1 << 30);
    let one = read(&ram, 0, 64).unwrap();
    assert_eq!((one.len(), one.views().len()), (256 << 10, 2));
    assert!(bytes(&one).iter().all(|byte| *byte == 0));
    assert_eq!(addresses(&one), addresses(&read(&ram, 32 * 1000, 64).unwrap()));
    assert_eq!(ram.allocated(), 0);
}

#[test]
fn a_read_leaves_from_the_chunk_itself() {
    let ram = ram(1 << 20);
    write(&ram, 3, &[7; 4096]).unwrap();
    let one = read(&ram, 3, 1).unwrap();
    assert_eq!(addresses(&one), addresses(&read(&ram, 3, 1).unwrap()));
    assert_eq!(ram.allocated(), CHUNK as u64);
}

#[test]
fn a_write_is_in_place_unless_a_view_is_out() {
    let ram = ram(1 << 20);
    write(&ram, 0, &[1; 4096]).unwrap();
    let before = addresses(&read(&ram, 0, 1).unwrap());
    write(&ram, 1, &[2; 4096]).unwrap();
    let held = read(&ram, 0, 2).unwrap();
    assert_eq!(addresses(&held), before, "nobody looked, yet it was copied");
    write(&ram, 0, &[3; 4096]).unwrap();
    let after = read(&ram, 0, 2).unwrap();
    assert_ne!(addresses(&after), before);
    assert_eq!(bytes(&held), [[1; 4096], [2; 4096]].concat());
    assert_eq!(bytes(&after), [[3; 4096], [2; 4096]].concat());
}

#[test]
fn what_lands_in_memory_of_the_namespace_is_not_copied() {
    const BLOCKS: u64 = (CHUNK / 4096) as u64;
    let (memory, ram) = counting(usize::MAX);
    assert!(ram.landing(1, CHUNK).is_none(), "not a whole chunk");
    assert!(ram.landing(0, CHUNK - 4096).is_none(), "not a whole chunk");
    let store = |slba: u64, byte: u8| {
        let mut landing = ram.landing(slba, 4 * CHUNK).unwrap();
        assert_eq!(landing.len(), CHUNK);
        landing.fill(byte);
        let (at, data) = (landing.as_ptr().addr(), Gather::from(landing));
        crate::backend::faulty::run(&ram, Operation::Write { slba, data, fua: false }).unwrap();
        at
    };
    let at = store(BLOCKS, 1);
    let held = read(&ram, BLOCKS, BLOCKS as u32).unwrap();
    assert_eq!((addresses(&held), ram.allocated()), (vec![at], CHUNK as u64));
    // Again, over what is being read: the reader keeps what it has.
    let next = store(BLOCKS, 2);
    assert_ne!(next, at);
    assert_eq!((held.views()[0][7], read(&ram, BLOCKS, 1).unwrap().views()[0][7]), (1, 2));
    assert_eq!(ram.allocated(), CHUNK as u64);
    // Part of a chunk that landed is written in place, and chunks whose place was taken are used again.
    write(&ram, BLOCKS + 3, &[3; 4096]).unwrap();
    assert_eq!(addresses(&read(&ram, BLOCKS + 3, 1).unwrap()), [next + 3 * 4096]);
    drop(held);
    for round in 0..1000 {
        store(BLOCKS * (round % 3), round as u8 | 1);
    }
    assert!(memory.made.load(Ordering::Relaxed) <= 6, "{} chunks made", memory.made.load(Ordering::Relaxed));
    write_zeroes(&ram, 0, 3 * BLOCKS as u32, true).unwrap();
    assert_eq!(ram.allocated(), 0);
}

#[test]
fn copies_reuse_the_chunks_of_earlier_copies() {
    let (memory, ram) = counting(usize::MAX);
    write(&ram, 0, &[9; 4096]).unwrap();
    for round in 0..1000u32 {
        let held = read(&ram, 0, 16).unwrap();
        write(&ram, 1 + u64::from(round) % 15, &[round as u8; 4096]).unwrap();
        assert_eq!(bytes(&held)[..4096], [9; 4096]);
    }
    assert!(memory.made.load(Ordering::Relaxed) <= 4, "{} chunks made", memory.made.load(Ordering::Relaxed));
}

#[test]
fn zeroes_take_no_memory_and_give_it_back() {
    let ram = ram(1 << 20);
    write(&ram, 0, &[0; 1 << 20]).unwrap();
    assert_eq!(ram.allocated(), 0);
    write(&ram, 31, &[5; 8192]).unwrap();
    assert_eq!(ram.allocated(), 2 * CHUNK as u64);
    write_zeroes(&ram, 31, 1, false).unwrap();
    assert_eq!(ram.allocated(), CHUNK as u64, "the first chunk is all zero again");
    deallocate(&ram, &[(0, 8), (32, 16)]).unwrap();
    assert_eq!(ram.allocated(), 0);
    assert!(bytes(&read(&ram, 0, 256).unwrap()).iter().all(|byte| *byte == 0));
}

#[test]
fn terabytes_cost_nothing_and_are_cleared_in_the_background() {
    let ram = ram(RamBackend::MAX_BYTES);
    let blocks = ram.geometry().blocks;
    for slba in [0, blocks / 2, blocks - 1] {
        write(&ram, slba, &[1; 4096]).unwrap();
    }
    assert_eq!(ram.allocated(), 3 * CHUNK as u64);
    assert_eq!(bytes(&read(&ram, blocks - 1, 1).unwrap()), [1; 4096]);
    deallocate(&ram, &[(0, blocks - 1); 16]).unwrap();
    assert_eq!(ram.allocated(), CHUNK as u64);
    assert_eq!(bytes(&read(&ram, blocks / 2, 1).unwrap()), [0; 4096]);

    struct None;
    impl Buffers for None {
        fn take(&mut self, _: usize) -> Option<Buffer> {
            Option::None
        }
    }
    let finished = Finished::new(Wake::new().unwrap());
    let ranges = [BlockRange { slba: 0, blocks }].into_iter().collect();
    let progress = ram.submit(Operation::Deallocate { ranges }, &mut None, finished.ticket(5));
    assert!(matches!(progress, Progress::Pending));
    drop(ram);
    let mut ended = Vec::new();
    finished.drain(&mut ended);
    assert!(matches!(&ended[..], [end] if end.tag == 5 && end.outcome.is_ok()));
}

#[test]
fn what_does_not_fit_is_refused() {
    let ram = ram(1 << 20);
    for (slba, blocks) in [(256, 1), (255, 2), (u64::MAX, 1), (u64::MAX, u32::MAX), (257, 0)] {
        assert_eq!(read(&ram, slba, blocks).unwrap_err(), Status::LBA_OUT_OF_RANGE.with_dnr());
        let zeroed = write_zeroes(&ram, slba, blocks, true);
        assert_eq!(zeroed.unwrap_err(), Status::LBA_OUT_OF_RANGE.with_dnr());
        let freed = deallocate(&ram, &[(0, 1), (slba, blocks.into())]);
        assert_eq!(freed.unwrap_err(), Status::LBA_OUT_OF_RANGE.with_dnr());
    }
    assert_eq!(write(&ram, 255, &[0; 8192]).unwrap_err(), Status::LBA_OUT_OF_RANGE.with_dnr());
    assert_eq!(write(&ram, 0, &[0; 100]).unwrap_err(), Status::DATA_SGL_LENGTH_INVALID.with_dnr());
    assert!(read(&ram, 256, 0).unwrap().is_empty());
    assert!(matches!(RamBackend::new(0, BlockSize::B512), Err(OpenError::Empty)));
    let ragged = RamBackend::new(4096 + 512, BlockSize::B4096);
    assert!(matches!(ragged, Err(OpenError::Ragged { bytes: 4608, block_size: 4096 })));
    let large = RamBackend::new(RamBackend::MAX_BYTES + 512, BlockSize::B512);
    assert!(matches!(large, Err(OpenError::TooLarge { .. })));
}

#[test]
fn short_memory_is_a_status_and_loses_nothing() {
    // One for the zeroes, one for a chunk.
    let (_, ram) = counting(2);
    write(&ram, 0, &[1; 4096]).unwrap();
    assert_eq!(write(&ram, 100, &[1; 4096]).unwrap_err(), Status::CAPACITY_EXCEEDED);
    assert_eq!(bytes(&read(&ram, 100, 1).unwrap()), [0; 4096]);
    let held = read(&ram, 0, 1).unwrap();
    assert_eq!(write(&ram, 0, &[2; 4096]).unwrap_err(), Status::CAPACITY_EXCEEDED);
    assert_eq!(write_zeroes(&ram, 0, 1, false).unwrap_err(), Status::CAPACITY_EXCEEDED);
    assert_eq!(bytes(&read(&ram, 0, 1).unwrap()), [1; 4096]);
    drop(held);
    write(&ram, 0, &[2; 4096]).unwrap();
    assert_eq!(bytes(&read(&ram, 0, 1).unwrap()), [2; 4096]);
    assert_eq!(ram.allocated(), CHUNK as u64);
}

#[test]
fn pieces_land_side_by_side_across_chunks() {
    let ram = ram(1 << 20);
    let data: Vec<u8> = (0..5 * 4096u32).map(|at| (at % 251) as u8).collect();
    let write = Operation::Write { slba: 30, data: pieces(&data, 1000), fua: true };
    crate::backend::faulty::run(&ram, write).unwrap();
    assert_eq!(bytes(&read(&ram, 30, 5).unwrap()), data);
}
