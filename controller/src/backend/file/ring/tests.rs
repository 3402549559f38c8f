//! The order of what goes through a ring, on a simulated one; and the system's, where there is one.

use std::{io::IoSliceMut, sync::Arc};

use nvmf_transport::{Buffer, Memory, Pages, Wake};
use nvmf_wire::Status;
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
};
use smallvec::SmallVec;

use super::{Call, Kind, Ring, available};
use crate::backend::{
    Backend, BlockSize, Buffers, FileBackend, FileIo, FileOptions, Finish, Finished, Operation, Progress,
    file::{
        disk::Wait,
        tests::{
            backend,
            disk::{Call as Asked, SimDisk},
        },
    },
    tests::{bytes, pieces},
};

/// What the simulated ring does for a call.
pub(super) fn carry_out(call: &mut Call) -> Result<usize, Errno> {
    let disk = &call.core.disk;
    match &mut call.kind {
        Kind::Read { offset, room, done, .. } => {
            let mut skip = *done;
            let mut pieces: SmallVec<[IoSliceMut<'_>; 4]> = SmallVec::new();
            for buffer in room.iter_mut() {
                let from = skip.min(buffer.len());
                skip -= from;
                pieces.push(IoSliceMut::new(&mut buffer[from..]));
            }
            disk.read(&mut pieces, *offset + *done as u64, Wait::Allowed)
        }
        Kind::Write { offset, data, done, .. } => {
            let pieces: Vec<_> = data.slices(*done..data.len()).map(std::io::IoSlice::new).collect();
            disk.write(&pieces, *offset + *done as u64, Wait::Allowed)
        }
        Kind::Sync { .. } => disk.sync().map(|()| 0),
    }
}

/// A thread with a ring.
struct Rig {
    ring: Ring,
    wake: Wake,
    finished: Finished,
    ended: Vec<Finish>,
}

struct Lent<'a>(&'a mut Ring);

impl Buffers for Lent<'_> {
    fn take(&mut self, len: usize) -> Option<Buffer> {
        Pages.allocate(len).ok()
    }

    fn ring(&mut self) -> Option<&mut Ring> {
        Some(self.0)
    }
}

impl Rig {
    fn new() -> Self {
        let wake = Wake::new().unwrap();
        Self { ring: Ring::new(), finished: Finished::new(wake.clone()), wake, ended: Vec::new() }
    }

    fn submit(&mut self, backend: &FileBackend, tag: u64, operation: Operation) {
        let progress = backend.submit(operation, &mut Lent(&mut self.ring), self.finished.ticket(tag));
        assert!(matches!(progress, Progress::Pending), "{progress:?}");
    }

    fn write(&mut self, backend: &FileBackend, tag: u64, fua: bool) {
        let data = pieces(&[tag as u8; 512], 512);
        self.submit(backend, tag, Operation::Write { slba: tag, data, fua });
    }

    fn look(&mut self) {
        self.ring.advance(&mut self.ended);
        self.finished.drain(&mut self.ended);
    }

    fn until(&mut self, count: usize) -> Vec<Finish> {
        let timeout = Timespec { tv_sec: 20, tv_nsec: 0 };
        loop {
            self.look();
            if self.ended.len() >= count {
                let mut ended = std::mem::take(&mut self.ended);
                ended.sort_by_key(|finish| finish.tag);
                return ended;
            }
            let mut handles = vec![PollFd::new(&self.wake, PollFlags::IN)];
            if let Some(ring) = self.ring.wait_handle() {
                handles.push(PollFd::from_borrowed_fd(ring, PollFlags::IN));
                assert!(poll(&mut handles, Some(&timeout)).unwrap_or(1) > 0, "{} ended", self.ended.len());
            }
            self.wake.clear();
        }
    }
}

fn simulated() -> (Arc<SimDisk>, FileBackend) {
    let disk = SimDisk::new(1 << 20).ringed(true);
    let backend = backend(&disk, BlockSize::B512, 1);
    (disk, backend)
}

#[test]
fn a_flush_covers_what_ended_before_and_many_share_one() {
    let (disk, backend) = simulated();
    let (mut one, mut other) = (Rig::new(), Rig::new());
    one.write(&backend, 1, false);
    assert!(one.until(1)[0].outcome.is_ok());
    assert_eq!(disk.crash()[512], 0, "not yet");
    // The first to come syncs; who comes before that has begun is covered by it, from whichever thread.
    one.submit(&backend, 100, Operation::Flush);
    for tag in 2..10 {
        other.write(&backend, tag, true);
    }
    other.look();
    assert!(other.ended.is_empty(), "no sync has ended");
    assert_eq!(disk.syncs(), 0);
    let flushed = one.until(1);
    assert!(flushed[0].tag == 100 && flushed[0].outcome.is_ok());
    assert_eq!(disk.crash()[512], 1);
    one.look();
    assert!(other.until(8).iter().all(|finish| finish.outcome.is_ok()));
    assert!((1..=2).contains(&disk.syncs()), "{} syncs", disk.syncs());
    for tag in 1..10usize {
        assert_eq!(disk.crash()[tag * 512], tag as u8);
    }
}

#[test]
fn one_failed_sync_fails_all_who_wait_and_all_who_come() {
    let (disk, backend) = simulated();
    let (mut one, mut other) = (Rig::new(), Rig::new());
    disk.fail(Asked::Sync, Errno::IO);
    one.write(&backend, 1, true);
    other.submit(&backend, 2, Operation::Flush);
    one.submit(&backend, 3, Operation::Flush);
    let lost = Status::WRITE_FAULT.with_dnr();
    for finish in other.until(1) {
        assert_eq!(finish.outcome.unwrap_err(), lost);
    }
    for finish in one.until(2) {
        assert_eq!(finish.outcome.unwrap_err(), lost);
    }
    assert_eq!(disk.syncs(), 1);
    let progress = backend.submit(Operation::Flush, &mut Lent(&mut one.ring), one.finished.ticket(4));
    assert!(matches!(progress, Progress::Done(Err(status)) if status == lost));
}

#[test]
fn beyond_what_a_ring_takes_workers_help() {
    let (disk, backend) = simulated();
    let mut rig = Rig::new();
    for tag in 0..1500 {
        rig.write(&backend, tag, false);
    }
    assert!(rig.ring.in_flight() < 1500);
    let mut left = 1500;
    while left > 0 {
        left -= rig.until(1).len();
    }
    assert_eq!(disk.syncs(), 0);
    for tag in 0..1500 {
        rig.submit(&backend, tag, Operation::Read { slba: tag, blocks: 1, fua: false });
        assert_eq!(bytes(rig.until(1)[0].outcome.as_ref().unwrap()), [tag as u8; 512]);
    }
}

fn on_a_file(check: impl Fn(&FileBackend)) {
    if let Err(why) = available() {
        eprintln!("not run: {why}");
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("image");
    std::fs::File::create(&path).unwrap().set_len(4 << 20).unwrap();
    for direct in [false, true] {
        let options =
            FileOptions { io: FileIo::Ring, direct, block_size: BlockSize::B4096, ..FileOptions::new(&path) };
        match FileBackend::open(&options) {
            Ok(backend) => check(&backend),
            Err(error) if direct => eprintln!("not run: {error}"),
            Err(error) => panic!("{error}"),
        }
    }
}

#[test]
fn the_system_reads_and_writes_in_batches() {
    on_a_file(|backend| {
        assert!(backend.describe().contains("io_uring"), "{}", backend.describe());
        let mut rig = Rig::new();
        let data = |tag: u64| vec![(tag % 250) as u8 + 1; 8192];
        for tag in 0..300 {
            let operation =
                Operation::Write { slba: tag * 2, data: pieces(&data(tag), 4096), fua: tag % 50 == 0 };
            rig.submit(backend, tag, operation);
        }
        assert_eq!(rig.ring.in_flight(), 300, "no worker helped");
        assert!(rig.until(300).iter().all(|finish| finish.outcome.is_ok()));
        for tag in 0..300 {
            rig.submit(backend, tag, Operation::Read { slba: tag * 2, blocks: 2, fua: false });
        }
        rig.submit(backend, 300, Operation::Flush);
        for (tag, finish) in rig.until(301).into_iter().enumerate() {
            assert_eq!(finish.tag, tag as u64);
            let read = finish.outcome.unwrap();
            assert!(tag == 300 || bytes(&read) == data(tag as u64), "{tag}");
        }
        assert_eq!(rig.ring.in_flight(), 0);
    });
}

#[test]
fn dropped_with_calls_under_way_the_memory_outlives_them() {
    on_a_file(|backend| {
        for round in 0..20 {
            let mut rig = Rig::new();
            for tag in 0..100 {
                rig.submit(backend, tag, Operation::Read { slba: tag * 7, blocks: 4, fua: false });
                let data = pieces(&[tag as u8; 4096], 4096);
                rig.submit(backend, tag, Operation::Write { slba: tag % 64, data, fua: false });
            }
            if round % 2 == 0 {
                rig.look();
            }
            rig.submit(backend, 1000, Operation::Flush);
            drop(rig);
        }
        // Nobody is left with a duty to sync that was dropped.
        let mut rig = Rig::new();
        rig.submit(backend, 1, Operation::Flush);
        assert!(rig.until(1)[0].outcome.is_ok());
    });
}

#[test]
fn a_file_is_closed_with_its_backend_and_not_with_the_ring() {
    if available().is_err() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("image");
    std::fs::File::create(&path).unwrap().set_len(1 << 20).unwrap();
    let options = FileOptions { io: FileIo::Ring, ..FileOptions::new(&path) };
    let mut rig = Rig::new();
    for _ in 0..3 {
        let backend = FileBackend::open(&options).unwrap();
        rig.submit(&backend, 0, Operation::Read { slba: 0, blocks: 1, fua: false });
        assert!(rig.until(1)[0].outcome.is_ok());
    }
}
