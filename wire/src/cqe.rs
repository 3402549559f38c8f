//! The completion queue entry (NVMe Base 2.0 §3.3.3.2; as a response capsule NVMe-oF 1.1 §2.2).

use crate::{Cid, Status};
use zerocopy::little_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// The 16 bytes of a completion.
#[derive(
    Clone, Copy, PartialEq, Eq, Hash, Debug, Default, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned,
)]
#[repr(C)]
pub struct Cqe {
    /// Dwords 0 and 1: what the command returns besides data.
    pub result: [U32; 2],
    /// SQ Head Pointer; FFFFh or reserved with SQ flow control off (NVMe-oF 1.1 §2.4.1).
    pub sqhd: U16,
    /// SQ Identifier; reserved in Fabrics, where a queue pair has its own connection.
    pub sqid: U16,
    /// Command Identifier.
    pub cid: U16,
    /// Phase tag in bit 0 (reserved in Fabrics), the status in bits 15:1.
    pub status: U16,
}
const _: () = assert!(size_of::<Cqe>() == 16);

impl Cqe {
    /// A command that succeeded and returns nothing.
    #[must_use]
    pub const fn success(cid: Cid) -> Self {
        Self::error(cid, Status::SUCCESS)
    }

    /// A command that ended with `status`.
    #[must_use]
    pub const fn error(cid: Cid, status: Status) -> Self {
        Self {
            result: [U32::ZERO; 2],
            sqhd: U16::ZERO,
            sqid: U16::ZERO,
            cid: U16::new(cid.0),
            status: U16::new(status.raw() << 1),
        }
    }

    /// The same completion with the SQ head pointer set.
    #[must_use]
    pub const fn with_sqhd(mut self, sqhd: u16) -> Self {
        self.sqhd = U16::new(sqhd);
        self
    }

    /// The same completion for another command.
    #[must_use]
    pub const fn with_cid(mut self, cid: Cid) -> Self {
        self.cid = U16::new(cid.0);
        self
    }

    /// The same completion with the SQ identifier set.
    #[must_use]
    pub const fn with_sqid(mut self, sqid: u16) -> Self {
        self.sqid = U16::new(sqid);
        self
    }

    /// The same completion with another status; the phase tag stays.
    #[must_use]
    pub const fn with_status(mut self, status: Status) -> Self {
        self.status = U16::new((status.raw() << 1) | (self.status.get() & 1));
        self
    }

    /// The same completion with the phase tag set.
    #[must_use]
    pub const fn with_phase(mut self, phase: bool) -> Self {
        self.status = U16::new((self.status.get() & !1) | phase as u16);
        self
    }

    /// The same completion with dword 0 set.
    #[must_use]
    pub const fn with_dw0(mut self, value: u32) -> Self {
        self.result = [U32::new(value), self.result[1]];
        self
    }

    /// The same completion with dwords 0 and 1 set.
    #[must_use]
    pub const fn with_u64(mut self, value: u64) -> Self {
        self.result = [U32::new(value as u32), U32::new((value >> 32) as u32)];
        self
    }

    /// Dword 0.
    #[must_use]
    pub const fn dw0(&self) -> u32 {
        self.result[0].get()
    }

    /// Dword 1.
    #[must_use]
    pub const fn dw1(&self) -> u32 {
        self.result[1].get()
    }

    /// Dwords 0 and 1 as one number.
    #[must_use]
    pub const fn u64(&self) -> u64 {
        self.dw0() as u64 | (self.dw1() as u64) << 32
    }

    /// The command this completes.
    #[must_use]
    pub const fn cid(&self) -> Cid {
        Cid(self.cid.get())
    }

    /// SQ Head Pointer.
    #[must_use]
    pub const fn sqhd(&self) -> u16 {
        self.sqhd.get()
    }

    /// SQ Identifier.
    #[must_use]
    pub const fn sqid(&self) -> u16 {
        self.sqid.get()
    }

    /// How the command ended.
    pub const fn status(&self) -> Status {
        Status::from_raw(self.status.get() >> 1)
    }

    /// The phase tag.
    #[must_use]
    pub const fn phase(&self) -> bool {
        self.status.get() & 1 != 0
    }

    /// `Ok` with the completion if the command succeeded, the status otherwise.
    pub const fn ok(self) -> Result<Self, Status> {
        let status = self.status();
        if status.is_success() { Ok(self) } else { Err(status) }
    }
}
