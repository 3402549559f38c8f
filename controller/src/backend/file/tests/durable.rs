//! What Flush and FUA acknowledge survives; what did not survive is never acknowledged.

use std::{sync::Arc, time::Duration};

use nvmf_transport::{Memory, Pages, Wake};
use nvmf_wire::Status;
use proptest::{prelude::*, test_runner::Config};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
};

use super::{
    backend,
    disk::{Call, SimDisk},
};
use crate::backend::{
    Backend, BlockSize, FileBackend, Finish, Finished, Operation, Progress,
    faulty::run,
    tests::{bytes, flush, model, pieces, read, write, write_zeroes},
};

fn write_fua(backend: &dyn Backend, slba: u64, data: &[u8]) -> Result<(), Status> {
    run(backend, Operation::Write { slba, data: pieces(data, 700), fua: true }).map(drop)
}

proptest! {
    #![proptest_config(Config { cases: 64, failure_persistence: None, ..Config::default() })]

    #[test]
    fn a_crash_loses_nothing_that_was_flushed(
        writes in prop::collection::vec((0u64..64, any::<u8>(), 0u8..6), 1..60), rough: bool, seed: u64,
        ringed: bool,
    ) {
        let disk = if rough { SimDisk::rough(64 * 512, seed) } else { SimDisk::new(64 * 512) }.ringed(ringed);
        let backend = backend(&disk, BlockSize::B512, 2);
        let mut newest = vec![0u8; 64];
        // Per block: the values it may have after a crash, the oldest of which is known to be durable.
        let mut possible: Vec<Vec<u8>> = vec![vec![0]; 64];
        for (block, value, kind) in writes {
            let at = block as usize;
            match kind {
                0 => {
                    flush(&backend).unwrap();
                    for (possible, newest) in possible.iter_mut().zip(&newest) {
                        *possible = vec![*newest];
                    }
                }
                1 => {
                    write_fua(&backend, block, &[value; 512]).unwrap();
                    newest[at] = value;
                    possible[at] = vec![value];
                }
                2 => {
                    let zero = Operation::WriteZeroes { slba: block, blocks: 1, deallocate: false, fua: true };
                    run(&backend, zero).unwrap();
                    newest[at] = 0;
                    possible[at] = vec![0];
                }
                _ => {
                    write(&backend, block, &[value; 512]).unwrap();
                    newest[at] = value;
                    possible[at].push(value);
                }
            }
            for (block, left) in disk.crash().chunks(512).enumerate() {
                prop_assert!(possible[block].contains(&left[0]), "block {} is {}", block, left[0]);
            }
        }
    }
}

#[test]
fn after_a_failed_sync_nothing_is_acknowledged_any_more() {
    for ringed in [false, true] {
        nothing_after_a_failed_sync(&SimDisk::new(1 << 20).ringed(ringed));
    }
}

fn nothing_after_a_failed_sync(disk: &Arc<SimDisk>) {
    let backend = backend(disk, BlockSize::B512, 2);
    write(&backend, 0, &[1; 512]).unwrap();
    flush(&backend).unwrap();
    write(&backend, 0, &[2; 512]).unwrap();
    disk.fail(Call::Sync, Errno::IO);
    let lost = Status::WRITE_FAULT.with_dnr();
    assert_eq!(flush(&backend).unwrap_err(), lost);
    // The disk itself would say now that all is well.
    for _ in 0..3 {
        assert_eq!(flush(&backend).unwrap_err(), lost);
        assert_eq!(write_fua(&backend, 1, &[3; 512]).unwrap_err(), lost);
        assert_eq!(write(&backend, 1, &[3; 512]).unwrap_err(), lost);
        assert_eq!(write_zeroes(&backend, 1, 1, true).unwrap_err(), lost);
        let fua = Operation::Read { slba: 0, blocks: 1, fua: true };
        assert_eq!(run(&backend, fua).unwrap_err(), lost);
    }
    assert_eq!(disk.syncs(), 2, "the second sync was the last");
    assert_eq!(bytes(&read(&backend, 0, 1).unwrap()), [2; 512], "plain reads go on");
    assert_eq!(disk.crash()[0], 1);
}

#[test]
fn a_failed_sync_fails_the_fua_write_that_asked() {
    for ringed in [false, true] {
        let disk = SimDisk::new(1 << 20).ringed(ringed);
        let backend = backend(&disk, BlockSize::B512, 1);
        disk.fail(Call::Sync, Errno::NOSPC);
        assert_eq!(write_fua(&backend, 1, &[3; 512]).unwrap_err(), Status::WRITE_FAULT.with_dnr());
        assert_eq!(flush(&backend).unwrap_err(), Status::WRITE_FAULT.with_dnr());
    }
}

#[test]
fn a_failed_write_with_fua_is_not_a_lost_one() {
    for ringed in [false, true] {
        let disk = SimDisk::new(1 << 20).ringed(ringed);
        let backend = backend(&disk, BlockSize::B512, 1);
        disk.fail(Call::Write, Errno::NOSPC);
        assert_eq!(write_fua(&backend, 1, &[3; 512]).unwrap_err(), Status::CAPACITY_EXCEEDED.with_dnr());
        write_fua(&backend, 1, &[3; 512]).unwrap();
        assert_eq!(disk.crash()[512..1024], [3; 512]);
    }
}

/// Several operations in flight on one thread.
struct InFlight<'a> {
    backend: &'a FileBackend,
    wake: Wake,
    finished: Finished,
}

impl<'a> InFlight<'a> {
    fn new(backend: &'a FileBackend) -> Self {
        let wake = Wake::new().unwrap();
        Self { backend, finished: Finished::new(wake.clone()), wake }
    }

    fn submit(&self, tag: u64, operation: Operation) {
        let mut pages: &dyn Memory = &Pages;
        let progress = self.backend.submit(operation, &mut pages, self.finished.ticket(tag));
        assert!(matches!(progress, Progress::Pending));
    }

    fn wait(&self, count: usize) -> Vec<Finish> {
        let mut ended = Vec::new();
        let timeout = Timespec { tv_sec: 20, tv_nsec: 0 };
        while ended.len() < count {
            let ready = poll(&mut [PollFd::new(&self.wake, PollFlags::IN)], Some(&timeout)).unwrap();
            assert!(ready > 0, "{} of {count} have ended", ended.len());
            self.wake.clear();
            self.finished.drain(&mut ended);
        }
        ended
    }
}

/// Waits until a sync has begun.
fn begun(disk: &SimDisk) {
    let (_sender, never) = std::sync::mpsc::channel::<()>();
    for _ in 0..20_000 {
        if disk.syncs() > 0 {
            return;
        }
        let _ = never.recv_timeout(Duration::from_millis(1));
    }
    panic!("no sync in 20 seconds");
}

#[test]
fn many_flushes_share_a_sync() {
    let disk = SimDisk::new(1 << 20);
    let backend = backend(&disk, BlockSize::B512, 2);
    let flight = InFlight::new(&backend);
    disk.close();
    flight.submit(0, Operation::Flush);
    begun(&disk);
    for tag in 1..=16 {
        let data = pieces(&[tag as u8; 512], 512);
        flight.submit(tag, Operation::Write { slba: tag, data, fua: true });
    }
    // The other worker carries out the writes and lets them wait for the first to sync: a plain read shows when it is through.
    assert_eq!(bytes(&read(&backend, 16, 1).unwrap()), [16; 512]);
    disk.open();
    assert!(flight.wait(17).iter().all(|finish| finish.outcome.is_ok()));
    assert!((2..=3).contains(&disk.syncs()), "{} syncs for 17 operations", disk.syncs());
    for tag in 1..=16usize {
        assert_eq!(disk.crash()[tag * 512], tag as u8);
    }
}

#[test]
fn of_concurrent_flushes_none_succeeds_after_one_that_failed() {
    for _ in 0..20 {
        let disk = SimDisk::new(1 << 20);
        let backend = backend(&disk, BlockSize::B512, 4);
        write(&backend, 0, &[1; 512]).unwrap();
        let flight = InFlight::new(&backend);
        disk.fail(Call::Sync, Errno::IO);
        disk.close();
        for tag in 0..8 {
            flight.submit(tag, Operation::Flush);
        }
        begun(&disk);
        disk.open();
        for finish in flight.wait(8) {
            assert_eq!(finish.outcome.unwrap_err(), Status::WRITE_FAULT.with_dnr());
        }
        assert_eq!(disk.syncs(), 1);
    }
}

#[test]
fn a_file_cut_short_loses_no_more_than_was_cut() {
    for ringed in [false, true] {
        cut_short(&SimDisk::new(model::BYTES).ringed(ringed));
    }
}

fn cut_short(disk: &Arc<SimDisk>) {
    let backend = backend(disk, BlockSize::B512, 1);
    write(&backend, 0, &[1; 4096]).unwrap();
    disk.truncate(1024);
    assert_eq!(bytes(&read(&backend, 0, 2).unwrap()), [1; 1024]);
    for slba in [1, 2, 100] {
        assert_eq!(read(&backend, slba, 2).unwrap_err(), Status::UNRECOVERED_READ_ERROR.with_dnr());
    }
    let verify = Operation::Verify { slba: 0, blocks: 600, fua: false };
    assert_eq!(run(&backend, verify).unwrap_err(), Status::UNRECOVERED_READ_ERROR.with_dnr());
    assert_eq!(write(&backend, 0, &[2; 512]).unwrap_err(), Status::WRITE_FAULT.with_dnr());
    assert_eq!(write_zeroes(&backend, 0, 1, true).unwrap_err(), Status::WRITE_FAULT.with_dnr());
    assert_eq!(flush(&backend).unwrap_err(), Status::WRITE_FAULT.with_dnr());
}
