//! The SGL descriptor of a command: where its data is (NVMe Base 2.0 §4.1.2, NVMe-oF 1.1 §2.3.1, RDMA Transport 1.0 §3.2).
//!
//! [`SglDescriptor`] is the 16 bytes; [`SglDescriptor::parse`] makes the typed [`Sgl`] of it or says with which status
//! the command fails. Deliberately absent: whether a transport accepts a kind of descriptor in a given place.

use crate::Status;
use core::ops::Range;
use zerocopy::little_endian::U64;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

open_enum! {
    /// SGL Descriptor Type, the high nibble of byte 15 (NVMe Base 2.0 §4.1.2).
    pub SglType: u8 {
        DATA_BLOCK = 0x0, "SGL Data Block";
        BIT_BUCKET = 0x1, "SGL Bit Bucket";
        SEGMENT = 0x2, "SGL Segment";
        LAST_SEGMENT = 0x3, "SGL Last Segment";
        KEYED_DATA_BLOCK = 0x4, "Keyed SGL Data Block";
        TRANSPORT_DATA_BLOCK = 0x5, "Transport SGL Data Block";
        VENDOR_SPECIFIC = 0xF, "vendor specific SGL descriptor";
    }
}

open_enum! {
    /// SGL Descriptor Sub Type, the low nibble of byte 15 (NVMe Base 2.0 §4.1.2).
    pub SglSubtype: u8 {
        ADDRESS = 0x0, "address";
        OFFSET = 0x1, "offset within the capsule";
        TRANSPORT_A = 0xA, "transport specific A";
        INVALIDATE = 0xF, "transport specific F: invalidate the key after use";
    }
}

/// The 16 bytes of an SGL descriptor.
#[derive(
    Clone, Copy, PartialEq, Eq, Hash, Debug, Default, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned,
)]
#[repr(C)]
pub struct SglDescriptor {
    /// Bytes 7:0: an address or an offset, by sub type.
    pub address: U64,
    /// Bytes 14:8: a 32-bit length and three reserved bytes, or a 24-bit length and a 32-bit key.
    pub specific: [u8; 7],
    /// Byte 15: type in bits 7:4, sub type in bits 3:0.
    pub identifier: u8,
}
const _: () = assert!(size_of::<SglDescriptor>() == 16);

/// What a descriptor says, once it makes sense.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Sgl {
    /// A buffer at an address of the host.
    DataBlock {
        /// Where the buffer starts.
        address: u64,
        /// Its length in bytes.
        length: u32,
    },
    /// Data within the capsule, behind the SQE (and the transport's ICDOFF).
    InCapsule {
        /// From the start of the in-capsule data area.
        offset: u64,
        /// Its length in bytes.
        length: u32,
    },
    /// Bytes of a read that nobody wants.
    BitBucket {
        /// How many.
        length: u32,
    },
    /// More descriptors follow elsewhere.
    Segment {
        /// An address, or an offset in the capsule.
        at: u64,
        /// Length of the segment in bytes, a multiple of 16 and not 0.
        length: u32,
        /// Whether `at` is an offset in the capsule.
        in_capsule: bool,
        /// Whether that segment is the last one.
        last: bool,
    },
    /// A buffer of the host that remote direct memory access reaches by a key (an STag).
    Keyed {
        /// Where the buffer starts.
        address: u64,
        /// Its length in bytes, at most 2^24 - 1.
        length: u32,
        /// The remote key.
        key: u32,
        /// Whether the controller invalidates the key with its response.
        invalidate: bool,
    },
    /// A buffer the transport moves by its own means (of NVMe/TCP: R2T and data PDUs).
    Transport {
        /// Its length in bytes.
        length: u32,
    },
}

/// Why a descriptor makes no sense.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SglError {
    /// The type, or the type with this sub type, is not defined.
    #[error("no such SGL descriptor: type {kind:X}h, sub type {subtype:X}h")]
    Type {
        /// The type nibble.
        kind: u8,
        /// The sub type nibble.
        subtype: u8,
    },
    /// A segment's length is 0 or no multiple of 16.
    #[error("SGL segment of {length} bytes: not a positive multiple of 16")]
    SegmentLength {
        /// What the descriptor says.
        length: u32,
    },
    /// The in-capsule offset lies outside of the data the capsule carries.
    #[error("in-capsule offset {offset} lies beyond the {available} bytes of the capsule")]
    Offset {
        /// What the descriptor says.
        offset: u64,
        /// In-capsule data there is.
        available: u64,
    },
    /// The in-capsule data ends behind the data the capsule carries.
    #[error(
        "{length} bytes of in-capsule data from offset {offset} exceed the {available} bytes of the capsule"
    )]
    Length {
        /// What the descriptor says.
        offset: u64,
        /// What the descriptor says.
        length: u32,
        /// In-capsule data there is.
        available: u64,
    },
}

impl SglError {
    /// The status the command fails with (NVMe Base 2.0 §3.3.3.2.1.1).
    pub const fn status(self) -> Status {
        match self {
            Self::Type { .. } => Status::SGL_DESCRIPTOR_TYPE_INVALID,
            Self::SegmentLength { .. } => Status::INVALID_SGL_SEGMENT_DESCRIPTOR,
            Self::Offset { .. } => Status::SGL_OFFSET_INVALID,
            Self::Length { .. } => Status::DATA_SGL_LENGTH_INVALID,
        }
    }
}

impl From<SglError> for Status {
    fn from(error: SglError) -> Self {
        error.status()
    }
}

impl SglDescriptor {
    /// The longest buffer a keyed descriptor describes: its length has 24 bits.
    pub const MAX_KEYED_LENGTH: u32 = 0x00FF_FFFF;

    const fn with_length(kind: SglType, subtype: SglSubtype, address: u64, length: u32) -> Self {
        let [a, b, c, d] = length.to_le_bytes();
        Self {
            address: U64::new(address),
            specific: [a, b, c, d, 0, 0, 0],
            identifier: identifier(kind, subtype),
        }
    }

    /// A buffer at an address.
    #[must_use]
    pub const fn data_block(address: u64, length: u32) -> Self {
        Self::with_length(SglType::DATA_BLOCK, SglSubtype::ADDRESS, address, length)
    }

    /// Data in the capsule, `offset` from the start of the in-capsule data area.
    #[must_use]
    pub const fn in_capsule(offset: u64, length: u32) -> Self {
        Self::with_length(SglType::DATA_BLOCK, SglSubtype::OFFSET, offset, length)
    }

    /// Bytes of a read to be dropped.
    #[must_use]
    pub const fn bit_bucket(length: u32) -> Self {
        Self::with_length(SglType::BIT_BUCKET, SglSubtype::ADDRESS, 0, length)
    }

    /// A segment of further descriptors in the capsule.
    #[must_use]
    pub const fn segment_in_capsule(offset: u64, length: u32, last: bool) -> Self {
        let kind = if last { SglType::LAST_SEGMENT } else { SglType::SEGMENT };
        Self::with_length(kind, SglSubtype::OFFSET, offset, length)
    }

    /// A buffer the transport moves by its own means.
    #[must_use]
    pub const fn transport(length: u32) -> Self {
        Self::with_length(SglType::TRANSPORT_DATA_BLOCK, SglSubtype::TRANSPORT_A, 0, length)
    }

    /// A buffer reached by a remote key; `None` when it is longer than [`Self::MAX_KEYED_LENGTH`].
    #[must_use]
    pub const fn keyed(address: u64, length: u32, key: u32, invalidate: bool) -> Option<Self> {
        if length > Self::MAX_KEYED_LENGTH {
            return None;
        }
        let [l0, l1, l2, _] = length.to_le_bytes();
        let [k0, k1, k2, k3] = key.to_le_bytes();
        let subtype = if invalidate { SglSubtype::INVALIDATE } else { SglSubtype::ADDRESS };
        Some(Self {
            address: U64::new(address),
            specific: [l0, l1, l2, k0, k1, k2, k3],
            identifier: identifier(SglType::KEYED_DATA_BLOCK, subtype),
        })
    }

    /// Type, the high nibble of the identifier.
    #[must_use]
    pub const fn kind(&self) -> SglType {
        SglType(self.identifier >> 4)
    }

    /// Sub type, the low nibble of the identifier.
    #[must_use]
    pub const fn subtype(&self) -> SglSubtype {
        SglSubtype(self.identifier & 0x0F)
    }

    /// The length field: 24 bits of a keyed descriptor, 32 bits of every other.
    #[must_use]
    pub const fn length(&self) -> u32 {
        let [a, b, c, d, ..] = self.specific;
        let d = if matches!(self.kind(), SglType::KEYED_DATA_BLOCK) { 0 } else { d };
        u32::from_le_bytes([a, b, c, d])
    }

    /// The key of a keyed descriptor; of another the bytes mean nothing.
    #[must_use]
    pub const fn key(&self) -> u32 {
        let [_, _, _, a, b, c, d] = self.specific;
        u32::from_le_bytes([a, b, c, d])
    }

    /// The typed view, or why there is none. Reserved bytes are not looked at (NVMe Base 2.0 §1.4.1).
    pub const fn parse(&self) -> Result<Sgl, SglError> {
        let (kind, subtype) = (self.kind(), self.subtype());
        let address = self.address.get();
        let length = self.length();
        match (kind, subtype) {
            (SglType::DATA_BLOCK, SglSubtype::ADDRESS) => Ok(Sgl::DataBlock { address, length }),
            (SglType::DATA_BLOCK, SglSubtype::OFFSET) => Ok(Sgl::InCapsule { offset: address, length }),
            (SglType::BIT_BUCKET, SglSubtype::ADDRESS) => Ok(Sgl::BitBucket { length }),
            (SglType::SEGMENT | SglType::LAST_SEGMENT, SglSubtype::ADDRESS | SglSubtype::OFFSET) => {
                if length == 0 || !length.is_multiple_of(16) {
                    return Err(SglError::SegmentLength { length });
                }
                Ok(Sgl::Segment {
                    at: address,
                    length,
                    in_capsule: matches!(subtype, SglSubtype::OFFSET),
                    last: matches!(kind, SglType::LAST_SEGMENT),
                })
            }
            (SglType::KEYED_DATA_BLOCK, SglSubtype::ADDRESS | SglSubtype::INVALIDATE) => Ok(Sgl::Keyed {
                address,
                length,
                key: self.key(),
                invalidate: matches!(subtype, SglSubtype::INVALIDATE),
            }),
            (SglType::TRANSPORT_DATA_BLOCK, SglSubtype::TRANSPORT_A) => Ok(Sgl::Transport { length }),
            _ => Err(SglError::Type { kind: kind.0, subtype: subtype.0 }),
        }
    }
}

impl Sgl {
    /// Bytes of data the descriptor stands for; of a segment, the length of the segment.
    #[must_use]
    pub const fn length(&self) -> u32 {
        match *self {
            Self::DataBlock { length, .. }
            | Self::InCapsule { length, .. }
            | Self::BitBucket { length }
            | Self::Segment { length, .. }
            | Self::Keyed { length, .. }
            | Self::Transport { length } => length,
        }
    }
}

/// The part of a capsule's `available` bytes of data that an in-capsule descriptor names.
pub fn in_capsule_range(offset: u64, length: u32, available: usize) -> Result<Range<usize>, SglError> {
    let available64 = available as u64;
    let start = match usize::try_from(offset) {
        Ok(start) if start <= available => start,
        _ => {
            return Err(SglError::Offset { offset, available: available64 });
        }
    };
    match usize::try_from(length).ok().and_then(|length| start.checked_add(length)) {
        Some(end) if end <= available => Ok(start..end),
        _ => Err(SglError::Length { offset, length, available: available64 }),
    }
}

const fn identifier(kind: SglType, subtype: SglSubtype) -> u8 {
    (kind.0 << 4) | (subtype.0 & 0x0F)
}
