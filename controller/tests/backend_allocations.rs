//! In steady state neither backend allocates per operation on the thread that submits.
#![allow(clippy::unwrap_used, reason = "what a test cannot have it fails for")]

use std::sync::Arc;

use allocation_counter::measure;
use nvmf_controller::backend::{
    Backend, BlockSize, FileBackend, FileOptions, Finished, Operation, Progress, RamBackend,
};
use nvmf_transport::{Pages, Pool, Wake};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// Runs writes and reads of `blocks` blocks one after the other, as a session does with pooled buffers.
/// Answers how many allocations there were.
fn operate(backend: &dyn Backend, pool: &Pool, blocks: u32, rounds: u64) -> u64 {
    let wake = Wake::new().unwrap();
    let finished = Finished::new(wake.clone());
    let mut ended = Vec::with_capacity(4);
    let (geometry, mut buffers) = (backend.geometry(), pool);
    let len = (blocks * geometry.block_size.bytes()) as usize;
    let mut run = |rounds: std::ops::Range<u64>| {
        for round in rounds {
            let slba = round * 7 % (geometry.blocks / u64::from(blocks)) * u64::from(blocks);
            let mut data = pool.take().unwrap();
            data.truncate(len);
            data.fill(round as u8 | 1);
            let write = Operation::Write { slba, data: data.into(), fua: false };
            let read = Operation::Read { slba, blocks, fua: false };
            for operation in [write, read] {
                match backend.submit(operation, &mut buffers, finished.ticket(round)) {
                    Progress::Done(outcome) => drop(outcome.unwrap()),
                    Progress::Pending => {
                        let timeout = Timespec { tv_sec: 20, tv_nsec: 0 };
                        while ended.is_empty() {
                            assert!(
                                poll(&mut [PollFd::new(&wake, PollFlags::IN)], Some(&timeout)).unwrap() > 0
                            );
                            wake.clear();
                            finished.drain(&mut ended);
                        }
                        ended.drain(..).for_each(|finish| drop(finish.outcome.unwrap()));
                    }
                }
            }
        }
    };
    // The queue's list and the caller's change places: both are as large as they get after two rounds.
    run(0..2);
    measure(|| run(2..rounds + 2)).count_total
}

fn steady(backend: &dyn Backend) -> u64 {
    let pool = Pool::new(Arc::new(Pages), 128 << 10, 8);
    let sizes = [1, (128 << 10) / backend.geometry().block_size.bytes()];
    let mut allocations = 0;
    for blocks in sizes {
        operate(backend, &pool, blocks, 600);
        allocations += operate(backend, &pool, blocks, 600);
    }
    allocations
}

#[test]
fn ram() {
    let ram = RamBackend::new(16 << 20, BlockSize::B4096).unwrap();
    // Every chunk is made first: the first write to one does allocate.
    let pool = Pool::new(Arc::new(Pages), 128 << 10, 8);
    operate(&ram, &pool, 32, 600);
    assert_eq!(steady(&ram), 0);
}

#[test]
fn file() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("image");
    std::fs::File::create(&path).unwrap().set_len(16 << 20).unwrap();
    // One worker: starting another, whenever load asks for it, does allocate.
    let file = FileBackend::open(&FileOptions { workers: 1, ..FileOptions::new(path) }).unwrap();
    assert_eq!(steady(&file), 0);
}
