//! Random operations on a backend and on a plain vector must give the same bytes; and bytes once read never change.

use std::sync::Arc;

use nvmf_transport::Gather;
use nvmf_wire::Status;
use proptest::{prelude::*, test_runner::Config};

use super::{bytes, deallocate, flush, pieces, read, write_zeroes};
use crate::backend::{
    Backend, BlockSize, FileBackend, FileOptions, OpenError, Operation, RamBackend,
    faulty::{Faulty, Volatile, run},
};

/// More than five 64 KiB chunks, and no multiple of one.
pub(in crate::backend) const BYTES: usize = 5 * 65536 + 3 * 4096;

#[derive(Clone, Debug)]
pub(in crate::backend) enum Step {
    Read { at: usize, len: usize, keep: bool, fua: bool },
    Write { at: usize, len: usize, seed: u8, cut: usize, fua: bool },
    WriteZeroes { at: usize, len: usize, deallocate: bool, fua: bool },
    Deallocate { ranges: Vec<(usize, usize)> },
    Compare { at: usize, len: usize, spoil: Option<usize>, fua: bool },
    Verify { at: usize, len: usize },
    Flush,
    DropViews,
}

pub(in crate::backend) fn steps() -> impl Strategy<Value = Vec<Step>> {
    // Positions and lengths in blocks of any size; cut to what exists when they are used.
    let at = 0usize..700;
    let len = prop_oneof![6 => 0usize..24, 2 => 24usize..300];
    let cut = prop_oneof![Just(usize::MAX), Just(4096), Just(512), 1usize..9000];
    let range = (at.clone(), len.clone());
    let step = prop_oneof![
        6 => (range.clone(), any::<bool>(), prop::bool::weighted(0.1))
            .prop_map(|((at, len), keep, fua)| Step::Read { at, len, keep, fua }),
        8 => (range.clone(), any::<u8>(), cut, prop::bool::weighted(0.1))
            .prop_map(|((at, len), seed, cut, fua)| Step::Write { at, len, seed, cut, fua }),
        2 => (range.clone(), any::<bool>(), prop::bool::weighted(0.1))
            .prop_map(|((at, len), deallocate, fua)| Step::WriteZeroes { at, len, deallocate, fua }),
        2 => prop::collection::vec(range.clone(), 0..4).prop_map(|ranges| Step::Deallocate { ranges }),
        1 => (range.clone(), prop::option::of(any::<usize>()), any::<bool>())
            .prop_map(|((at, len), spoil, fua)| Step::Compare { at, len, spoil, fua }),
        1 => range.prop_map(|(at, len)| Step::Verify { at, len }),
        1 => Just(Step::Flush),
        1 => Just(Step::DropViews),
    ];
    prop::collection::vec(step, 1..40)
}

/// What a write with `seed` stores; a third of the seeds store zeroes.
pub(in crate::backend) fn pattern(seed: u8, len: usize) -> Vec<u8> {
    if seed.is_multiple_of(3) {
        return vec![0; len];
    }
    (0..len).map(|at| seed.wrapping_add((at / 13) as u8) | 1).collect()
}

pub(in crate::backend) fn check(backend: &dyn Backend, steps: &[Step]) {
    let geometry = *backend.geometry();
    let block = geometry.block_size.bytes() as usize;
    let total = geometry.blocks as usize;
    assert_eq!(total * block, BYTES);
    let mut model = vec![0u8; BYTES];
    let mut kept: Vec<(Gather, Vec<u8>)> = Vec::new();
    let clip = |at: usize, len: usize| {
        let at = at % total;
        (at, len.min(total - at))
    };
    for step in steps {
        match step.clone() {
            Step::Read { at, len, keep, fua } => {
                let (at, len) = clip(at, len);
                let operation = Operation::Read { slba: at as u64, blocks: len as u32, fua };
                let data = run(backend, operation).unwrap();
                let expected = &model[at * block..(at + len) * block];
                assert!(bytes(&data) == expected, "read of {len} blocks at {at}");
                if keep {
                    kept.push((data, expected.to_vec()));
                }
            }
            Step::Write { at, len, seed, cut, fua } => {
                let (at, len) = clip(at, len);
                let new = pattern(seed, len * block);
                model[at * block..(at + len) * block].copy_from_slice(&new);
                let data = pieces(&new, cut);
                run(backend, Operation::Write { slba: at as u64, data, fua }).unwrap();
            }
            Step::WriteZeroes { at, len, deallocate, fua } => {
                let (at, len) = clip(at, len);
                model[at * block..(at + len) * block].fill(0);
                let operation =
                    Operation::WriteZeroes { slba: at as u64, blocks: len as u32, deallocate, fua };
                run(backend, operation).unwrap();
            }
            Step::Deallocate { ranges } => {
                let ranges: Vec<_> = ranges.into_iter().map(|(at, len)| clip(at, len)).collect();
                if geometry.deallocated_reads_zero {
                    for &(at, len) in &ranges {
                        model[at * block..(at + len) * block].fill(0);
                    }
                }
                let ranges: Vec<_> = ranges.iter().map(|&(at, len)| (at as u64, len as u64)).collect();
                deallocate(backend, &ranges).unwrap();
            }
            Step::Compare { at, len, spoil, fua } => {
                let (at, len) = clip(at, len);
                let mut expected = model[at * block..(at + len) * block].to_vec();
                let differs = match spoil {
                    Some(at) if !expected.is_empty() => {
                        let at = at % expected.len();
                        expected[at] ^= 1;
                        true
                    }
                    _ => false,
                };
                let data = pieces(&expected, 5000);
                let outcome = run(backend, Operation::Compare { slba: at as u64, data, fua });
                match outcome {
                    Ok(data) => assert!(!differs && data.is_empty()),
                    Err(status) => assert!(differs && status.is(Status::COMPARE_FAILURE), "{status}"),
                }
            }
            Step::Verify { at, len } => {
                let (at, len) = clip(at, len);
                let operation = Operation::Verify { slba: at as u64, blocks: len as u32, fua: false };
                assert!(run(backend, operation).unwrap().is_empty());
            }
            Step::Flush => flush(backend).unwrap(),
            Step::DropViews => kept.clear(),
        }
    }
    assert!(bytes(&read(backend, 0, total as u32).unwrap()) == model, "the whole namespace at the end");
    for (data, expected) in kept {
        assert!(bytes(&data) == expected, "bytes of an earlier read have changed");
    }
}

fn file(directory: &std::path::Path, block_size: BlockSize, direct: bool) -> Result<FileBackend, OpenError> {
    let path = directory.join("image");
    std::fs::File::create(&path).unwrap().set_len(BYTES as u64).unwrap();
    FileBackend::open(&FileOptions { block_size, direct, ..FileOptions::new(path) })
}

proptest! {
    #![proptest_config(Config { cases: 64, failure_persistence: None, ..Config::default() })]

    #[test]
    fn ram_is_a_vector(steps in steps(), large: bool) {
        let block_size = if large { BlockSize::B4096 } else { BlockSize::B512 };
        let ram = RamBackend::new(BYTES as u64, block_size).unwrap();
        check(&ram, &steps);
        write_zeroes(&ram, 0, ram.geometry().blocks as u32, false).unwrap();
        prop_assert_eq!(ram.allocated(), 0);
    }
}

proptest! {
    #![proptest_config(Config { cases: 12, failure_persistence: None, ..Config::default() })]

    #[test]
    fn a_file_is_a_vector(steps in steps(), large: bool) {
        let block_size = if large { BlockSize::B4096 } else { BlockSize::B512 };
        let directory = tempfile::tempdir().unwrap();
        check(&file(directory.path(), block_size, false).unwrap(), &steps);
    }

    #[test]
    fn a_file_without_page_cache_is_a_vector(steps in steps()) {
        let directory = tempfile::tempdir().unwrap();
        match file(directory.path(), BlockSize::B4096, true) {
            Ok(backend) => check(&backend, &steps),
            // Not every file system has direct I/O.
            Err(OpenError::System { .. } | OpenError::Alignment { .. }) => {}
            Err(error) => panic!("{error}"),
        }
    }

    #[test]
    fn a_file_in_memory_is_a_vector(steps in steps()) {
        if let Ok(directory) = tempfile::tempdir_in("/dev/shm") {
            check(&file(directory.path(), BlockSize::B512, false).unwrap(), &steps);
        }
    }

    #[test]
    fn wrappers_without_requests_are_vectors(steps in steps()) {
        let ram = || Arc::new(RamBackend::new(BYTES as u64, BlockSize::B512).unwrap());
        check(&Faulty::new(ram()), &steps);
        check(&Volatile::new(ram()), &steps);
    }
}
