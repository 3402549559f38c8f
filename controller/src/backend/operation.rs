//! What can be asked of a backend, and the checks every backend and every session share.

use nvmf_transport::Gather;
use nvmf_wire::Status;
use smallvec::SmallVec;

use super::Geometry;

/// A run of logical blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockRange {
    /// The first block.
    pub slba: u64,
    /// How many, not zeroes-based; 0 is an empty range.
    pub blocks: u64,
}

/// One operation on the blocks of a namespace.
#[derive(Debug)]
pub enum Operation {
    /// Read blocks; ends with their bytes. The caller has bounded the length (MDTS), and with it the memory.
    Read {
        /// The first block.
        slba: u64,
        /// How many, not zeroes-based.
        blocks: u32,
        /// What is read must be on stable storage first.
        fua: bool,
    },
    /// Write whole blocks.
    Write {
        /// The first block.
        slba: u64,
        /// The bytes, in as many pieces as they came; a multiple of the block size in total. Dropped when stored.
        data: Gather,
        /// End only when the data are on stable storage.
        fua: bool,
    },
    /// Put every write that ended before this was submitted on stable storage.
    Flush,
    /// Make blocks read as zeroes.
    WriteZeroes {
        /// The first block.
        slba: u64,
        /// How many, not zeroes-based.
        blocks: u32,
        /// The storage may be given back (DEAC).
        deallocate: bool,
        /// End only when the zeroes are on stable storage.
        fua: bool,
    },
    /// Give back the storage of ranges, as far as that is possible (Dataset Management, AD).
    Deallocate {
        /// The ranges, at most 256 of them.
        ranges: SmallVec<[BlockRange; 1]>,
    },
    /// Compare stored blocks with data; ends with Compare Failure when they differ.
    Compare {
        /// The first block.
        slba: u64,
        /// The bytes to compare with; a multiple of the block size in total.
        data: Gather,
        /// What is compared must be on stable storage first.
        fua: bool,
    },
    /// Read blocks and throw them away; ends with the status a read would have.
    Verify {
        /// The first block.
        slba: u64,
        /// How many, not zeroes-based.
        blocks: u32,
        /// What is verified must be on stable storage first.
        fua: bool,
    },
}

impl Operation {
    /// Whether it changes blocks.
    pub const fn modifies(&self) -> bool {
        matches!(self, Self::Write { .. } | Self::WriteZeroes { .. } | Self::Deallocate { .. })
    }

    /// Checks range, length and write permission against a geometry; the status of the first thing wrong.
    pub fn check(&self, geometry: &Geometry) -> Result<(), Status> {
        if geometry.read_only && self.modifies() {
            return Err(Status::NAMESPACE_WRITE_PROTECTED.with_dnr());
        }
        let inside = |slba: u64, blocks: u64| {
            if geometry.contains(slba, blocks) { Ok(()) } else { Err(Status::LBA_OUT_OF_RANGE.with_dnr()) }
        };
        match self {
            Self::Flush => Ok(()),
            Self::Read { slba, blocks, .. }
            | Self::WriteZeroes { slba, blocks, .. }
            | Self::Verify { slba, blocks, .. } => inside(*slba, u64::from(*blocks)),
            Self::Write { slba, data, .. } | Self::Compare { slba, data, .. } => {
                let bytes = data.len() as u64;
                if !bytes.is_multiple_of(u64::from(geometry.block_size.bytes())) {
                    return Err(Status::DATA_SGL_LENGTH_INVALID.with_dnr());
                }
                inside(*slba, bytes >> geometry.block_size.shift())
            }
            Self::Deallocate { ranges } => {
                ranges.iter().try_for_each(|range| inside(range.slba, range.blocks))
            }
        }
    }
}
