//! What the tests of all backends share, and the tests that run over each of them.

use nvmf_transport::{Buffer, Gather, Region};
use nvmf_wire::Status;

use super::{Backend, BlockRange, Operation, Outcome, faulty::run, same_bytes};

mod concurrent;
mod finish;
pub(super) mod model;

pub(super) fn buffer(bytes: &[u8]) -> Buffer {
    let mut buffer = Region::allocate(bytes.len()).unwrap().into_buffer();
    buffer.copy_from_slice(bytes);
    buffer
}

/// Bytes in pieces of `cut` bytes, as a transport that fetches in parts delivers them.
pub(super) fn pieces(bytes: &[u8], cut: usize) -> Gather {
    bytes.chunks(cut.max(1)).map(|piece| buffer(piece).freeze()).collect()
}

pub(super) fn bytes(data: &Gather) -> Vec<u8> {
    data.slices(0..data.len()).collect::<Vec<_>>().concat()
}

pub(super) fn write(backend: &dyn Backend, slba: u64, data: &[u8]) -> Result<(), Status> {
    let data = pieces(data, data.len());
    run(backend, Operation::Write { slba, data, fua: false }).map(|data| assert!(data.is_empty()))
}

pub(super) fn read(backend: &dyn Backend, slba: u64, blocks: u32) -> Outcome {
    run(backend, Operation::Read { slba, blocks, fua: false })
}

pub(super) fn flush(backend: &dyn Backend) -> Result<(), Status> {
    run(backend, Operation::Flush).map(drop)
}

pub(super) fn deallocate(backend: &dyn Backend, ranges: &[(u64, u64)]) -> Result<(), Status> {
    let ranges = ranges.iter().map(|&(slba, blocks)| BlockRange { slba, blocks }).collect();
    run(backend, Operation::Deallocate { ranges }).map(drop)
}

pub(super) fn write_zeroes(
    backend: &dyn Backend,
    slba: u64,
    blocks: u32,
    deallocate: bool,
) -> Result<(), Status> {
    run(backend, Operation::WriteZeroes { slba, blocks, deallocate, fua: false }).map(drop)
}

#[test]
fn the_same_bytes_cut_differently_are_the_same() {
    let data: Vec<u8> = (0..=255).collect();
    for cut in [1, 3, 100, 256] {
        assert!(same_bytes(&pieces(&data, cut), &pieces(&data, 7)));
    }
    let mut other = data.clone();
    other[255] = 0;
    assert!(!same_bytes(&pieces(&data, 5), &pieces(&other, 64)));
    assert!(!same_bytes(&pieces(&data, 5), &pieces(&data[..255], 5)));
    assert!(same_bytes(&Gather::new(), &Gather::new()));
}
