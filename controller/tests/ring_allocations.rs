//! In steady state files are read and written through a ring without allocating per operation.
#![allow(clippy::unwrap_used, reason = "what a test cannot have it fails for")]

use std::sync::Arc;

use allocation_counter::measure;
use nvmf_controller::backend::{
    Backend, BlockSize, Buffers, FileBackend, FileIo, FileOptions, Finish, Finished, OpenError, Operation,
    Progress, Ring,
};
use nvmf_transport::{Buffer, Pages, Pool, Wake};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

struct Lent<'a>(&'a Pool, &'a mut Ring);

impl Buffers for Lent<'_> {
    fn take(&mut self, len: usize) -> Option<Buffer> {
        let mut buffer = self.0.take()?;
        buffer.truncate(len);
        Some(buffer)
    }

    fn ring(&mut self) -> Option<&mut Ring> {
        Some(self.1)
    }
}

/// Rounds of 8 writes and 8 reads under way together.
fn operate(backend: &FileBackend, pool: &Pool, ring: &mut Ring, ended: &mut Vec<Finish>, rounds: u64) {
    let wake = Wake::new().unwrap();
    let finished = Finished::new(wake);
    for round in 0..rounds {
        for n in 0..8 {
            let mut data = pool.take().unwrap();
            data.truncate(4096);
            let write = Operation::Write { slba: (round * 8 + n) % 512, data: data.into(), fua: false };
            let read = Operation::Read { slba: (round * 16 + n) % 512, blocks: 4, fua: false };
            for operation in [write, read] {
                let progress = backend.submit(operation, &mut Lent(pool, ring), finished.ticket(n));
                assert!(matches!(progress, Progress::Pending), "{progress:?}");
            }
        }
        let mut left = 16;
        while left > 0 {
            ring.advance(ended);
            left -= ended.len();
            ended.drain(..).for_each(|finish| drop(finish.outcome.unwrap()));
            if left > 0 {
                let timeout = Timespec { tv_sec: 20, tv_nsec: 0 };
                let handle = ring.wait_handle().unwrap();
                let waited = poll(&mut [PollFd::from_borrowed_fd(handle, PollFlags::IN)], Some(&timeout));
                assert_ne!(waited, Ok(0), "{left} operations have not ended");
            }
        }
    }
}

#[test]
fn a_file_through_a_ring() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("image");
    std::fs::File::create(&path).unwrap().set_len(4 << 20).unwrap();
    let options = FileOptions { io: FileIo::Ring, block_size: BlockSize::B4096, ..FileOptions::new(&path) };
    let backend = match FileBackend::open(&options) {
        Ok(backend) => backend,
        Err(OpenError::NoRing { why, .. }) => return eprintln!("not run: {why}"),
        Err(error) => panic!("{error}"),
    };
    let pool = Pool::new(Arc::new(Pages), 16 << 10, 64);
    let (mut ring, mut ended) = (Ring::new(), Vec::with_capacity(64));
    operate(&backend, &pool, &mut ring, &mut ended, 64);
    // A wake-up and a queue for the ends of worker threads are made once per call.
    let once = measure(|| operate(&backend, &pool, &mut ring, &mut ended, 0)).count_total;
    let many = measure(|| operate(&backend, &pool, &mut ring, &mut ended, 200)).count_total;
    assert_eq!(many, once, "3,200 operations allocated");
}
