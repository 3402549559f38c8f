//! The submission queue entry (NVMe Base 2.0 §3.3.3.1; as a command capsule NVMe-oF 1.1 §2.1).
//!
//! [`Sqe`] is the common form of every command. What the command dwords of one command mean is in its own module:
//! [`crate::fabrics`], [`crate::identify`], [`crate::log`], [`crate::feature`], [`crate::io`], [`crate::admin`].

use crate::opcode::FABRICS;
use crate::{AdminOpcode, Cid, DataDirection, FabricsType, IoOpcode, SglDescriptor};
use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// The 64 bytes of a command.
#[derive(
    Clone, Copy, PartialEq, Eq, Hash, Debug, Default, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned,
)]
#[repr(C)]
pub struct Sqe {
    /// Opcode; its meaning depends on the queue.
    pub opcode: u8,
    /// FUSE in bits 1:0, PSDT in bits 7:6.
    pub flags: u8,
    /// Command Identifier.
    pub cid: U16,
    /// Namespace Identifier; of a Fabrics command FCTYPE in the low byte.
    pub nsid: U32,
    /// Command dword 2.
    pub cdw2: U32,
    /// Command dword 3.
    pub cdw3: U32,
    /// Metadata Pointer.
    pub mptr: U64,
    /// Data Pointer: in Fabrics always an SGL descriptor.
    pub sgl: SglDescriptor,
    /// Command dword 10.
    pub cdw10: U32,
    /// Command dword 11.
    pub cdw11: U32,
    /// Command dword 12.
    pub cdw12: U32,
    /// Command dword 13.
    pub cdw13: U32,
    /// Command dword 14.
    pub cdw14: U32,
    /// Command dword 15.
    pub cdw15: U32,
}
const _: () = assert!(size_of::<Sqe>() == 64);

open_enum! {
    /// Fused Operation (FUSE), bits 1:0 of byte 1 (NVMe Base 2.0 §3.3.3.1).
    pub Fuse: u8 {
        NORMAL = 0b00, "normal operation";
        FIRST = 0b01, "first command of a fused operation";
        SECOND = 0b10, "second command of a fused operation";
    }
}

open_enum! {
    /// PRP or SGL for Data Transfer (PSDT), bits 7:6 of byte 1 (NVMe Base 2.0 §3.3.3.1).
    pub Psdt: u8 {
        PRP = 0b00, "PRPs";
        SGL_METADATA_BUFFER = 0b01, "SGLs, metadata in one contiguous buffer";
        SGL_METADATA_SGL = 0b10, "SGLs, metadata by an SGL segment";
    }
}

/// NSID FFFFFFFFh: every namespace (NVMe Base 2.0 §3.2.1.2).
pub const NSID_BROADCAST: u32 = 0xFFFF_FFFF;

impl Sqe {
    /// A command of the Admin queue, otherwise zero, that uses SGLs as every Fabrics command does.
    #[must_use]
    pub const fn admin(opcode: AdminOpcode) -> Self {
        Self::with_opcode(opcode.0)
    }

    /// A command of an I/O queue for one namespace, otherwise zero.
    #[must_use]
    pub const fn io(opcode: IoOpcode, nsid: u32) -> Self {
        Self::with_opcode(opcode.0).with_nsid(nsid)
    }

    /// A Fabrics command, otherwise zero.
    #[must_use]
    pub const fn fabrics(kind: FabricsType) -> Self {
        Self::with_opcode(FABRICS).with_nsid(kind.0 as u32)
    }

    /// A command of any opcode with PSDT 01b, which Fabrics asks for (NVMe-oF 1.1 §2.1), otherwise zero.
    #[must_use]
    pub const fn with_opcode(opcode: u8) -> Self {
        Self {
            opcode,
            flags: Psdt::SGL_METADATA_BUFFER.0 << 6,
            cid: U16::ZERO,
            nsid: U32::ZERO,
            cdw2: U32::ZERO,
            cdw3: U32::ZERO,
            mptr: U64::ZERO,
            sgl: SglDescriptor { address: U64::ZERO, specific: [0; 7], identifier: 0 },
            cdw10: U32::ZERO,
            cdw11: U32::ZERO,
            cdw12: U32::ZERO,
            cdw13: U32::ZERO,
            cdw14: U32::ZERO,
            cdw15: U32::ZERO,
        }
    }

    /// The same command with its identifier set.
    #[must_use]
    pub const fn with_cid(mut self, cid: Cid) -> Self {
        self.cid = U16::new(cid.0);
        self
    }

    /// The same command with its namespace set (not for a Fabrics command).
    #[must_use]
    pub const fn with_nsid(mut self, nsid: u32) -> Self {
        self.nsid = U32::new(nsid);
        self
    }

    /// The same command with its data pointer set.
    #[must_use]
    pub const fn with_sgl(mut self, sgl: SglDescriptor) -> Self {
        self.sgl = sgl;
        self
    }

    /// The same command with FUSE set.
    #[must_use]
    pub const fn with_fuse(mut self, fuse: Fuse) -> Self {
        self.flags = (self.flags & !0b11) | (fuse.0 & 0b11);
        self
    }

    /// The same command with PSDT set.
    #[must_use]
    pub const fn with_psdt(mut self, psdt: Psdt) -> Self {
        self.flags = (self.flags & 0x3F) | (psdt.0 << 6);
        self
    }

    /// Command Identifier.
    #[must_use]
    pub const fn cid(&self) -> Cid {
        Cid(self.cid.get())
    }

    /// Namespace Identifier.
    #[must_use]
    pub const fn nsid(&self) -> u32 {
        self.nsid.get()
    }

    /// Fused Operation.
    #[must_use]
    pub const fn fuse(&self) -> Fuse {
        Fuse(self.flags & 0b11)
    }

    /// PRP or SGL for Data Transfer.
    #[must_use]
    pub const fn psdt(&self) -> Psdt {
        Psdt(self.flags >> 6)
    }

    /// The opcode as one of the Admin queue.
    #[must_use]
    pub const fn admin_opcode(&self) -> AdminOpcode {
        AdminOpcode(self.opcode)
    }

    /// The opcode as one of an I/O queue.
    #[must_use]
    pub const fn io_opcode(&self) -> IoOpcode {
        IoOpcode(self.opcode)
    }

    /// Whether this is a Fabrics command.
    #[must_use]
    pub const fn is_fabrics(&self) -> bool {
        self.opcode == FABRICS
    }

    /// Fabrics Command Type, if this is a Fabrics command.
    #[must_use]
    pub const fn fctype(&self) -> Option<FabricsType> {
        if self.is_fabrics() { Some(FabricsType(self.nsid.get() as u8)) } else { None }
    }

    /// Which way the command's data goes, if it has any (an SGL of length 0 means it has none).
    #[must_use]
    pub const fn data_direction(&self) -> DataDirection {
        match self.fctype() {
            Some(kind) => kind.data_direction(),
            None => DataDirection::from_code(self.opcode),
        }
    }
}
