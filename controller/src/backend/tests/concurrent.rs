//! Several threads on one backend at once.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use super::{bytes, deallocate, flush, read, write};
use crate::backend::{Backend, BlockSize, FileBackend, FileOptions, RamBackend};

const THREADS: u64 = 4;
const BLOCKS: u64 = 512;

/// Every thread writes its own blocks, which lie between those of the others in the same chunks, and reads all of them.
fn strangers_keep_apart(backend: &dyn Backend, rounds: u64) {
    thread::scope(|scope| {
        for me in 0..THREADS {
            scope.spawn(move || {
                let mut last = vec![0u8; BLOCKS as usize];
                let mut held = Vec::new();
                for round in 0..rounds {
                    let block = (round.wrapping_mul(2_654_435_761).wrapping_add(me * 7) % (BLOCKS / THREADS))
                        * THREADS
                        + me;
                    let value = (round % 250) as u8 + 1;
                    if round % 17 == 5 {
                        deallocate(backend, &[(block, 1)]).unwrap();
                        last[block as usize] = 0;
                    } else {
                        write(backend, block, &[value; 512]).unwrap();
                        last[block as usize] = value;
                    }
                    if round % 31 == 0 {
                        flush(backend).unwrap();
                    }
                    let data = read(backend, block, 1).unwrap();
                    assert_eq!(bytes(&data), [last[block as usize]; 512]);
                    held.push((data, last[block as usize]));
                    if held.len() > 8 {
                        let (data, value) = held.remove(0);
                        assert_eq!(bytes(&data), [value; 512], "a read has changed afterwards");
                    }
                }
                for block in (me..BLOCKS).step_by(THREADS as usize) {
                    assert_eq!(bytes(&read(backend, block, 1).unwrap()), [last[block as usize]; 512]);
                }
            });
        }
    });
}

#[test]
fn threads_share_ram() {
    let ram = RamBackend::new(BLOCKS * 512, BlockSize::B512).unwrap();
    strangers_keep_apart(&ram, 4000);
}

#[test]
fn threads_share_a_file() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("image");
    std::fs::File::create(&path).unwrap().set_len(BLOCKS * 512).unwrap();
    let file = FileBackend::open(&FileOptions::new(path)).unwrap();
    if file.geometry().deallocated_reads_zero {
        strangers_keep_apart(&file, 100);
    }
}

#[test]
fn a_ram_read_is_a_snapshot_of_each_chunk() {
    let ram = Arc::new(RamBackend::new(65536, BlockSize::B4096).unwrap());
    write(&*ram, 0, &[1; 65536]).unwrap();
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            for round in 0..3000u32 {
                write(&*ram, 0, &[(round % 200) as u8 + 1; 65536]).unwrap();
            }
            done.store(true, Ordering::Relaxed);
        });
        while !done.load(Ordering::Relaxed) {
            let data = read(&*ram, 0, 16).unwrap();
            let first = data.views()[0][0];
            assert!(first > 0 && bytes(&data).iter().all(|byte| *byte == first), "half of a write was read");
        }
    });
}
