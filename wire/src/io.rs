//! Commands of the NVM command set (NVM Command Set 1.0 §3.2), as typed views of an SQE and back.
//!
//! [`Rw`] is the form Read, Write, Compare, Verify, Write Zeroes and Write Uncorrectable share; what a bit of it means
//! that only some of them have is said at the field. Deliberately absent: checks against a namespace (size, format, limits).

use crate::{IoOpcode, Sqe};
use core::num::NonZeroU16;
use zerocopy::little_endian::{U32, U64};

bitfield! {
    /// Dword 12 of the commands that name logical blocks.
    pub struct RwControl(u32) {
        /// Number of Logical Blocks, 0's based.
        nlb, with_nlb: u16 = 0..16;
        /// Directive Type (Write).
        dtype, with_dtype: u8 = 20..24;
        /// Storage Tag Check.
        stc, with_stc: bool = 24..25;
        /// Deallocate (Write Zeroes).
        deac, with_deac: bool = 25..26;
        /// Protection information: PRCHK in bits 2:0 (reference tag, application tag, guard), PRACT in bit 3.
        prinfo, with_prinfo: u8 = 26..30;
        /// Force Unit Access.
        fua, with_fua: bool = 30..31;
        /// Limited Retry.
        lr, with_lr: bool = 31..32;
    }
}

/// PRINFO.PRACT: the controller strips or inserts protection information.
pub const PRINFO_PRACT: u8 = 1 << 3;
/// PRINFO.PRCHK: check the guard.
pub const PRINFO_PRCHK_GUARD: u8 = 1 << 2;
/// PRINFO.PRCHK: check the application tag.
pub const PRINFO_PRCHK_APPTAG: u8 = 1 << 1;
/// PRINFO.PRCHK: check the reference tag.
pub const PRINFO_PRCHK_REFTAG: u8 = 1 << 0;

/// A command that names a run of logical blocks.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Rw {
    /// Starting LBA.
    pub slba: u64,
    /// Number of logical blocks, 1's based: 1 to 65536.
    pub blocks: u32,
    /// Force Unit Access: completes when the data are on (or read from) non-volatile media.
    pub fua: bool,
    /// Limited Retry: the controller should not try hard.
    pub limited_retry: bool,
    /// Deallocate, of Write Zeroes: the blocks may be deallocated if they read as zeroes then.
    pub deallocate: bool,
    /// Storage Tag Check.
    pub storage_tag_check: bool,
    /// Protection information field: [`PRINFO_PRACT`] and its like.
    pub prinfo: u8,
    /// Directive Type, of Write.
    pub directive_type: u8,
    /// Directive Specific, of Write.
    pub directive_specific: u16,
    /// Dataset Management hints (access frequency, latency, sequential, incompressible), of Read and Write.
    pub dataset_hints: u8,
    /// Low 32 bits of the (expected) initial logical block reference tag or storage tag.
    pub reference_tag: u32,
    /// Dwords 2 and 3: the upper bits of the tags of the 32-bit and 64-bit guard formats.
    pub extended_tag: u64,
    /// Logical Block Application Tag.
    pub application_tag: u16,
    /// Logical Block Application Tag Mask.
    pub application_tag_mask: u16,
}

impl Rw {
    /// The most blocks one command names.
    pub const MAX_BLOCKS: u32 = 1 << 16;

    /// Blocks from `slba`, everything else 0. A `blocks` outside of 1 to 65536 is brought to the nearer end.
    #[must_use]
    pub const fn new(slba: u64, blocks: u32) -> Self {
        Self {
            slba,
            blocks: Self::clamped(blocks),
            fua: false,
            limited_retry: false,
            deallocate: false,
            storage_tag_check: false,
            prinfo: 0,
            directive_type: 0,
            directive_specific: 0,
            dataset_hints: 0,
            reference_tag: 0,
            extended_tag: 0,
            application_tag: 0,
            application_tag_mask: 0,
        }
    }

    const fn clamped(blocks: u32) -> u32 {
        match blocks {
            0 => 1,
            1..Self::MAX_BLOCKS => blocks,
            _ => Self::MAX_BLOCKS,
        }
    }

    /// The same with Force Unit Access.
    #[must_use]
    pub const fn with_fua(mut self, fua: bool) -> Self {
        self.fua = fua;
        self
    }

    /// The same with Deallocate (Write Zeroes).
    #[must_use]
    pub const fn with_deallocate(mut self, deallocate: bool) -> Self {
        self.deallocate = deallocate;
        self
    }

    /// The fields of the command, whichever of them it is.
    #[must_use]
    pub const fn parse(sqe: &Sqe) -> Self {
        let control = RwControl(sqe.cdw12.get());
        let (cdw13, cdw15) = (sqe.cdw13.get(), sqe.cdw15.get());
        Self {
            slba: sqe.cdw10.get() as u64 | (sqe.cdw11.get() as u64) << 32,
            blocks: control.nlb() as u32 + 1,
            fua: control.fua(),
            limited_retry: control.lr(),
            deallocate: control.deac(),
            storage_tag_check: control.stc(),
            prinfo: control.prinfo(),
            directive_type: control.dtype(),
            directive_specific: (cdw13 >> 16) as u16,
            dataset_hints: cdw13 as u8,
            reference_tag: sqe.cdw14.get(),
            extended_tag: sqe.cdw2.get() as u64 | (sqe.cdw3.get() as u64) << 32,
            application_tag: cdw15 as u16,
            application_tag_mask: (cdw15 >> 16) as u16,
        }
    }

    /// The command of that opcode for a namespace. A `blocks` out of range is brought to the nearer end.
    #[must_use]
    pub const fn to_sqe(self, opcode: IoOpcode, nsid: u32) -> Sqe {
        let control = RwControl(0)
            .with_nlb((Self::clamped(self.blocks) - 1) as u16)
            .with_dtype(self.directive_type)
            .with_stc(self.storage_tag_check)
            .with_deac(self.deallocate)
            .with_prinfo(self.prinfo)
            .with_fua(self.fua)
            .with_lr(self.limited_retry);
        let mut sqe = Sqe::io(opcode, nsid);
        sqe.cdw2 = U32::new(self.extended_tag as u32);
        sqe.cdw3 = U32::new((self.extended_tag >> 32) as u32);
        sqe.cdw10 = U32::new(self.slba as u32);
        sqe.cdw11 = U32::new((self.slba >> 32) as u32);
        sqe.cdw12 = U32::new(control.0);
        sqe.cdw13 = U32::new(self.dataset_hints as u32 | (self.directive_specific as u32) << 16);
        sqe.cdw14 = U32::new(self.reference_tag);
        sqe.cdw15 = U32::new(self.application_tag as u32 | (self.application_tag_mask as u32) << 16);
        sqe
    }

    /// Read.
    #[must_use]
    pub const fn read(self, nsid: u32) -> Sqe {
        self.to_sqe(IoOpcode::READ, nsid)
    }

    /// Write.
    #[must_use]
    pub const fn write(self, nsid: u32) -> Sqe {
        self.to_sqe(IoOpcode::WRITE, nsid)
    }

    /// Compare.
    #[must_use]
    pub const fn compare(self, nsid: u32) -> Sqe {
        self.to_sqe(IoOpcode::COMPARE, nsid)
    }

    /// Verify.
    #[must_use]
    pub const fn verify(self, nsid: u32) -> Sqe {
        self.to_sqe(IoOpcode::VERIFY, nsid)
    }

    /// Write Zeroes.
    #[must_use]
    pub const fn write_zeroes(self, nsid: u32) -> Sqe {
        self.to_sqe(IoOpcode::WRITE_ZEROES, nsid)
    }

    /// Write Uncorrectable.
    #[must_use]
    pub const fn write_uncorrectable(self, nsid: u32) -> Sqe {
        self.to_sqe(IoOpcode::WRITE_UNCORRECTABLE, nsid)
    }

    /// The LBA behind the last one, or `None` if there is no such number.
    #[must_use]
    pub const fn end(&self) -> Option<u64> {
        self.slba.checked_add(self.blocks as u64)
    }

    /// Whether all blocks lie below `capacity`, the namespace's size in blocks.
    #[must_use]
    pub const fn is_within(&self, capacity: u64) -> bool {
        matches!(self.end(), Some(end) if end <= capacity)
    }
}

/// Flush: makes what was written before durable (NVMe Base 2.0 §7.1).
#[must_use]
pub const fn flush(nsid: u32) -> Sqe {
    Sqe::io(IoOpcode::FLUSH, nsid)
}

bitfield! {
    /// Dword 11 of Dataset Management: what the ranges are named for.
    pub struct DatasetAttributes(u32) {
        /// The ranges are about to be read as a whole.
        integral_for_read, with_integral_for_read: bool = 0..1;
        /// The ranges are about to be written as a whole.
        integral_for_write, with_integral_for_write: bool = 1..2;
        /// The ranges' data are of no use any more.
        deallocate, with_deallocate: bool = 2..3;
    }
}

/// Dataset Management: a hint about up to 256 ranges, which are the command's data (NVM Command Set 1.0 §3.2.3).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct DatasetManagement {
    /// Number of ranges, 1's based: 1 to 256.
    pub ranges: NonZeroU16,
    /// What they are named for.
    pub attributes: DatasetAttributes,
}

impl DatasetManagement {
    /// The most ranges of one command.
    pub const MAX_RANGES: usize = 256;

    /// Deallocates that many ranges; `None` if they are none or too many.
    #[must_use]
    pub const fn deallocate(ranges: usize) -> Option<Self> {
        if ranges > Self::MAX_RANGES {
            return None;
        }
        match NonZeroU16::new(ranges as u16) {
            Some(ranges) => Some(Self { ranges, attributes: DatasetAttributes(0).with_deallocate(true) }),
            None => None,
        }
    }

    /// The fields of the command.
    #[must_use]
    pub const fn parse(sqe: &Sqe) -> Self {
        let ranges = NonZeroU16::MIN.saturating_add(sqe.cdw10.get() as u8 as u16);
        Self { ranges, attributes: DatasetAttributes(sqe.cdw11.get()) }
    }

    /// The command; more than 256 ranges do not fit and count as 256.
    #[must_use]
    pub const fn to_sqe(self, nsid: u32) -> Sqe {
        let ranges = self.ranges.get();
        let zero_based = if ranges > Self::MAX_RANGES as u16 { u8::MAX } else { (ranges - 1) as u8 };
        let mut sqe = Sqe::io(IoOpcode::DATASET_MANAGEMENT, nsid);
        sqe.cdw10 = U32::new(zero_based as u32);
        sqe.cdw11 = U32::new(self.attributes.0);
        sqe
    }

    /// Length of the ranges in bytes.
    #[must_use]
    pub const fn data_length(&self) -> usize {
        self.ranges.get() as usize * DatasetRange::SIZE
    }
}

bitfield! {
    /// Context Attributes of a range.
    pub struct ContextAttributes(u32) {
        /// Access Frequency.
        access_frequency, with_access_frequency: u8 = 0..4;
        /// Access Latency.
        access_latency, with_access_latency: u8 = 4..6;
        /// Sequential Read.
        sequential_read, with_sequential_read: bool = 8..9;
        /// Sequential Write.
        sequential_write, with_sequential_write: bool = 9..10;
        /// Write Prepare: the range will be written soon.
        write_prepare, with_write_prepare: bool = 10..11;
        /// Command Access Size in logical blocks.
        access_size, with_access_size: u8 = 24..32;
    }
}

wire_struct! {
    /// One range of a Dataset Management command.
    pub struct DatasetRange[16] {
        /// Context attributes: [`ContextAttributes`].
        pub attributes: U32,
        /// Length in logical blocks; 0 is an empty range.
        pub length: U32,
        /// Starting LBA.
        pub slba: U64,
    }
}

typed_fields! {
    DatasetRange {
        attributes, set_attributes: ContextAttributes;
    }
}

impl DatasetRange {
    /// A range without context attributes.
    #[must_use]
    pub const fn new(slba: u64, length: u32) -> Self {
        Self { attributes: U32::ZERO, length: U32::new(length), slba: U64::new(slba) }
    }
}
