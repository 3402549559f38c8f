//! Fabrics commands (NVMe-oF 1.1 §3; NVMe Base 2.0 §6): Property Get and Set, Disconnect, Authentication Send and
//! Receive; Connect has a module of its own.
//!
//! They share opcode 7Fh and tell themselves apart by FCTYPE ([`crate::FabricsType`]). `parse` reads the fields and judges
//! only what has one meaning everywhere; which values are acceptable is the controller's affair.

mod connect;

pub use connect::{
    Connect, ConnectAccepted, ConnectAttributes, ConnectData, Field, InvalidParameter, PriorityClass,
};

use crate::property::PropertyOffset;
use crate::{FabricsType, Sqe, Status};
use zerocopy::little_endian::U32;

/// CNTLID of a Connect or a discovery entry: any controller of the dynamic model (NVMe-oF 1.1 §3.3).
pub const CNTLID_DYNAMIC: u16 = 0xFFFF;
/// CNTLID of a Connect or a discovery entry: any controller of the static model (NVMe-oF 1.1 §3.3).
pub const CNTLID_STATIC_ANY: u16 = 0xFFFE;
/// The largest identifier a controller has (NVMe Base 2.0 §3.1.1).
pub const CNTLID_MAX: u16 = 0xFFEF;

/// Property Get (NVMe Base 2.0 §6.5): its completion carries the value in dwords 0 and 1.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct PropertyGet {
    /// The property.
    pub offset: PropertyOffset,
    /// ATTRIB size: 8 bytes if set, 4 if not.
    pub wide: bool,
}

/// Property Set (NVMe Base 2.0 §6.6).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct PropertySet {
    /// The property.
    pub offset: PropertyOffset,
    /// ATTRIB size: 8 bytes if set, 4 if not.
    pub wide: bool,
    /// The value; of a property of 4 bytes the upper half is reserved.
    pub value: u64,
}

/// ATTRIB bits 2:0: the size of a property; any other value than 4 and 8 bytes is an invalid field.
const fn is_wide(sqe: &Sqe) -> Result<bool, Status> {
    match sqe.cdw10.get() & 0b111 {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(Status::INVALID_FIELD),
    }
}

impl PropertyGet {
    /// Asks for a property in its own size.
    #[must_use]
    pub const fn new(offset: PropertyOffset) -> Self {
        Self { offset, wide: matches!(offset.size(), Some(8)) }
    }

    /// The fields of the command, or Invalid Field in Command for a reserved size.
    pub const fn parse(sqe: &Sqe) -> Result<Self, Status> {
        match is_wide(sqe) {
            Ok(wide) => Ok(Self { offset: PropertyOffset(sqe.cdw11.get()), wide }),
            Err(status) => Err(status),
        }
    }

    /// The command.
    #[must_use]
    pub const fn to_sqe(self) -> Sqe {
        let mut sqe = Sqe::fabrics(FabricsType::PROPERTY_GET);
        sqe.cdw10 = U32::new(self.wide as u32);
        sqe.cdw11 = U32::new(self.offset.0);
        sqe
    }
}

impl PropertySet {
    /// Sets a property in its own size.
    #[must_use]
    pub const fn new(offset: PropertyOffset, value: u64) -> Self {
        Self { offset, wide: matches!(offset.size(), Some(8)), value }
    }

    /// The fields of the command, or Invalid Field in Command for a reserved size.
    pub const fn parse(sqe: &Sqe) -> Result<Self, Status> {
        let wide = match is_wide(sqe) {
            Ok(wide) => wide,
            Err(status) => return Err(status),
        };
        let upper = if wide { sqe.cdw13.get() } else { 0 };
        let value = sqe.cdw12.get() as u64 | (upper as u64) << 32;
        Ok(Self { offset: PropertyOffset(sqe.cdw11.get()), wide, value })
    }

    /// The command.
    #[must_use]
    pub const fn to_sqe(self) -> Sqe {
        let mut sqe = Sqe::fabrics(FabricsType::PROPERTY_SET);
        sqe.cdw10 = U32::new(self.wide as u32);
        sqe.cdw11 = U32::new(self.offset.0);
        sqe.cdw12 = U32::new(self.value as u32);
        if self.wide {
            sqe.cdw13 = U32::new((self.value >> 32) as u32);
        }
        sqe
    }
}

/// Disconnect (NVMe Base 2.0 §6.4): deletes one I/O queue and keeps the association.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Disconnect {
    /// Record Format; 0 is the only one.
    pub recfmt: u16,
}

impl Disconnect {
    /// The fields of the command.
    #[must_use]
    pub const fn parse(sqe: &Sqe) -> Self {
        Self { recfmt: sqe.cdw10.get() as u16 }
    }

    /// The command.
    #[must_use]
    pub const fn to_sqe(self) -> Sqe {
        let mut sqe = Sqe::fabrics(FabricsType::DISCONNECT);
        sqe.cdw10 = U32::new(self.recfmt as u32);
        sqe
    }
}

/// The fields Authentication Send and Authentication Receive share (NVMe Base 2.0 §6.1, §6.2).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Authentication {
    /// Security Protocol Specific 0.
    pub spsp0: u8,
    /// Security Protocol Specific 1.
    pub spsp1: u8,
    /// Security Protocol; see [`Authentication::SECP_NVME`].
    pub secp: u8,
    /// Transfer Length of a Send, Allocation Length of a Receive, in bytes.
    pub length: u32,
}

impl Authentication {
    /// SECP: the protocol number assigned to NVMe.
    pub const SECP_NVME: u8 = 0xE9;

    /// A message of in-band authentication of `length` bytes (SPSP0 and SPSP1 are 01h).
    #[must_use]
    pub const fn in_band(length: u32) -> Self {
        Self { spsp0: 1, spsp1: 1, secp: Self::SECP_NVME, length }
    }

    /// The fields of either command.
    #[must_use]
    pub const fn parse(sqe: &Sqe) -> Self {
        let [_, spsp0, spsp1, secp] = sqe.cdw10.get().to_le_bytes();
        Self { spsp0, spsp1, secp, length: sqe.cdw11.get() }
    }

    /// Authentication Send.
    #[must_use]
    pub const fn to_send(self) -> Sqe {
        self.to_sqe(FabricsType::AUTHENTICATION_SEND)
    }

    /// Authentication Receive.
    #[must_use]
    pub const fn to_receive(self) -> Sqe {
        self.to_sqe(FabricsType::AUTHENTICATION_RECEIVE)
    }

    const fn to_sqe(self, kind: FabricsType) -> Sqe {
        let mut sqe = Sqe::fabrics(kind);
        sqe.cdw10 = U32::new(u32::from_le_bytes([0, self.spsp0, self.spsp1, self.secp]));
        sqe.cdw11 = U32::new(self.length);
        sqe
    }
}
