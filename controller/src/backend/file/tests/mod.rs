//! The file backend over a disk that misbehaves on request, and over real files.

use std::sync::Arc;

use crate::backend::{BlockSize, FileBackend, Geometry, Identity, Optimal};

pub(super) mod disk;
mod durable;
mod real;
mod rough;

use disk::SimDisk;

/// A backend over a simulated disk of as many bytes as the disk has.
pub(super) fn backend(disk: &Arc<SimDisk>, block_size: BlockSize, workers: usize) -> FileBackend {
    let geometry = Geometry {
        blocks: disk.size() >> block_size.shift(),
        block_size,
        read_only: false,
        thin: true,
        deallocated_reads_zero: true,
        write_zeroes_deallocates: true,
        volatile_write_cache: true,
        optimal: Optimal { write: 1, deallocate: 1, write_size: 1 },
        identity: Identity::random(),
    };
    FileBackend::new(geometry, Box::new(disk.clone()), "simulated disk".into(), workers).unwrap()
}
