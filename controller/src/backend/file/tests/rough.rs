//! Partial and interrupted calls must not show; failures must show as the right status.

use std::{
    io::{IoSlice, IoSliceMut},
    sync::Arc,
};

use nvmf_transport::Buffer;
use nvmf_wire::Status;
use proptest::{prelude::*, test_runner::Config};
use rustix::io::Errno;

use super::{
    super::disk::{Disk, Wait, Way},
    backend,
    disk::{Call, SimDisk},
};
use crate::backend::{
    BlockSize, Buffers, FileBackend, Operation,
    faulty::{run, run_with},
    tests::{bytes, deallocate, model, read, write, write_zeroes},
};

proptest! {
    #![proptest_config(Config { cases: 64, failure_persistence: None, ..Config::default() })]

    #[test]
    fn a_rough_disk_is_a_vector(
        steps in model::steps(), seed: u64, large: bool, punches: bool, zeroes: bool, workers in 1usize..4,
        ringed: bool,
    ) {
        let disk = SimDisk::rough(model::BYTES, seed).ringed(ringed);
        disk.support(punches, zeroes);
        let block_size = if large { BlockSize::B4096 } else { BlockSize::B512 };
        model::check(&backend(&disk, block_size, workers), &steps);
    }
}

#[test]
fn a_file_system_without_holes_gets_zeroes_written() {
    for ringed in [false, true] {
        zeroes_get_written(&SimDisk::new(3 << 20).ringed(ringed));
    }
}

fn zeroes_get_written(disk: &Arc<SimDisk>) {
    disk.support(false, false);
    let backend = backend(disk, BlockSize::B512, 1);
    write(&backend, 0, &vec![7; 3 << 20]).unwrap();
    deallocate(&backend, &[(1, 4000), (5000, 1)]).unwrap();
    write_zeroes(&backend, 6000, 100, false).unwrap();
    let data = bytes(&read(&backend, 0, 6144).unwrap());
    for (block, bytes) in data.chunks(512).enumerate() {
        let zero = (1..4001).contains(&block) || block == 5000 || (6000..6100).contains(&block);
        assert_eq!(bytes, [if zero { 0 } else { 7 }; 512], "block {block}");
    }
}

#[test]
fn every_error_has_its_status() {
    let media = Status::WRITE_FAULT;
    let cases = [
        (Call::Read, Errno::IO, Status::UNRECOVERED_READ_ERROR),
        (Call::Read, Errno::NXIO, Status::UNRECOVERED_READ_ERROR),
        (Call::Read, Errno::NOMEM, Status::COMMAND_INTERRUPTED),
        (Call::Read, Errno::INVAL, Status::INTERNAL_ERROR.with_dnr()),
        (Call::Write, Errno::IO, media),
        (Call::Write, Errno::NOSPC, Status::CAPACITY_EXCEEDED.with_dnr()),
        (Call::Write, Errno::DQUOT, Status::CAPACITY_EXCEEDED.with_dnr()),
        (Call::Write, Errno::FBIG, Status::CAPACITY_EXCEEDED.with_dnr()),
        (Call::Write, Errno::ROFS, Status::NAMESPACE_WRITE_PROTECTED.with_dnr()),
        (Call::Write, Errno::PERM, Status::NAMESPACE_WRITE_PROTECTED.with_dnr()),
        (Call::Write, Errno::NOMEM, Status::COMMAND_INTERRUPTED),
        (Call::Punch, Errno::IO, media),
        (Call::Punch, Errno::NOSPC, Status::CAPACITY_EXCEEDED.with_dnr()),
        (Call::Zero, Errno::ROFS, Status::NAMESPACE_WRITE_PROTECTED.with_dnr()),
    ];
    let both = cases.iter().flat_map(|case| [false, true].map(|ringed| (ringed, *case)));
    for (ringed, (call, errno, expected)) in both {
        let disk = SimDisk::new(1 << 20).ringed(ringed);
        let backend = backend(&disk, BlockSize::B512, 1);
        let attempt = || match call {
            Call::Read => read(&backend, 1, 2).map(drop),
            Call::Write => write(&backend, 1, &[1; 1024]),
            Call::Punch => deallocate(&backend, &[(1, 2)]),
            Call::Zero => write_zeroes(&backend, 1, 2, false),
            Call::Sync => unreachable!(),
        };
        disk.fail(call, errno);
        assert_eq!(attempt().unwrap_err(), expected, "{call:?} {errno}");
        attempt().unwrap_or_else(|status| panic!("{call:?} after {errno}: {status}"));
    }
}

/// A simulated disk whose writes go to the system's device for that.
struct Full(std::sync::Arc<SimDisk>, std::fs::File);

impl Disk for Full {
    fn read(&self, into: &mut [IoSliceMut<'_>], offset: u64, wait: Wait) -> Result<usize, Errno> {
        self.0.read(into, offset, wait)
    }
    fn write(&self, from: &[IoSlice<'_>], offset: u64, _: Wait) -> Result<usize, Errno> {
        rustix::io::pwritev(&self.1, from, offset)
    }
    fn sync(&self) -> Result<(), Errno> {
        self.0.sync()
    }
    fn punch(&self, _: u64, _: u64) -> Result<(), Errno> {
        Err(Errno::OPNOTSUPP)
    }
    fn zero(&self, _: u64, _: u64) -> Result<(), Errno> {
        Err(Errno::OPNOTSUPP)
    }
    fn covers(&self, _: u64) -> bool {
        true
    }
    fn alignment(&self) -> usize {
        1
    }
    fn way(&self) -> Way<'_> {
        self.0.way()
    }
}

#[test]
fn a_full_disk_is_capacity_exceeded() {
    // Linux and the BSDs have it.
    let Ok(full) = std::fs::OpenOptions::new().write(true).open("/dev/full") else {
        return;
    };
    for ringed in [false, true] {
        full_is_full(SimDisk::new(1 << 20).ringed(ringed), full.try_clone().unwrap());
    }
}

fn full_is_full(disk: Arc<SimDisk>, full: std::fs::File) {
    let geometry = backend(&disk, BlockSize::B4096, 1).core.geometry;
    let backend = FileBackend::new(geometry, Box::new(Full(disk, full)), "full".into(), 1).unwrap();
    for _ in 0..3 {
        assert_eq!(write(&backend, 0, &[1; 4096]).unwrap_err(), Status::CAPACITY_EXCEEDED.with_dnr());
        assert_eq!(write_zeroes(&backend, 0, 1, true).unwrap_err(), Status::CAPACITY_EXCEEDED.with_dnr());
    }
    // The writes were never acknowledged, so nothing is lost and Flush has nothing to report.
    run(&backend, Operation::Flush).unwrap();
    assert_eq!(bytes(&read(&backend, 0, 1).unwrap()), [0; 4096]);
}

#[test]
fn without_a_buffer_a_read_is_interrupted_and_odd_buffers_are_not_trusted() {
    struct Gives(Vec<usize>);
    impl Buffers for Gives {
        fn take(&mut self, _: usize) -> Option<Buffer> {
            let len = self.0.pop()?;
            Some(nvmf_transport::Region::allocate(len).unwrap().into_buffer())
        }
    }
    for ringed in [false, true] {
        odd_buffers(&SimDisk::new(1 << 20).ringed(ringed), |gives| Box::new(Gives(gives)));
    }
}

fn odd_buffers(disk: &Arc<SimDisk>, giving: impl Fn(Vec<usize>) -> Box<dyn Buffers>) {
    let backend = backend(disk, BlockSize::B512, 1);
    write(&backend, 0, &[4; 9216]).unwrap();
    for (gives, good) in [
        (vec![], false),
        (vec![4096], false),
        (vec![0], false),
        (vec![1000], false),
        (vec![20000], false),
        (vec![1024, 8192], true),
        (vec![9216], true),
        (vec![1024, 4096, 4096], true),
    ] {
        let outcome = run_with(
            &backend,
            Operation::Read { slba: 0, blocks: 18, fua: false },
            &mut *giving(gives.clone()),
        );
        match outcome {
            Ok(data) => assert!(good && bytes(&data) == [4; 9216], "{gives:?}"),
            Err(status) => assert!(!good && status == Status::COMMAND_INTERRUPTED, "{gives:?}: {status}"),
        }
    }
}
