//! Every way in which a stream is ended by this side, and what its Terminate message says about it.
//!
//! The vocabulary is closed: one table maps all of it to layer, type and code (RFC 5040 §4.8, RFC 5041 §8.2, RFC 5044 §8).

use crate::{memory::AccessError, rdmap::ErrorCode};

/// What a peer did, or what failed here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Violation {
    /// The CRC of an FPDU is wrong.
    Crc,
    /// A ULPDU length that no segment has.
    Length,
    /// The version of a DDP header is not 1.
    DdpVersion {
        /// Whether the segment is tagged.
        tagged: bool,
    },
    /// The version of RDMAP is not 1.
    RdmapVersion,
    /// An opcode that is unknown, or may not come here or now.
    Opcode,
    /// A message that is not what its opcode says.
    Malformed,
    /// A tagged segment may not go where it wants.
    Tagged(AccessError),
    /// The data of an RDMA READ may not be had.
    Read(AccessError),
    /// The STag of a Send with Invalidate.
    Invalidate(AccessError),
    /// A queue that does not exist.
    Queue,
    /// A message for which there is no buffer.
    NoBuffer,
    /// A message out of turn.
    Msn,
    /// A segment out of turn.
    Offset,
    /// A message longer than the buffer that waits for it.
    TooLong,
    /// The peer's outstanding RDMA READs exceed what it was offered.
    InsufficientIrd,
    /// There is no first message that both can, or the first message is another one.
    Rtr,
    /// Something is wrong on this side.
    Local,
}

/// Which headers a Terminate message repeats.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Headers {
    None,
    Ddp,
    DdpAndRead,
}

impl Violation {
    /// What a Terminate message says.
    // spec: IW-TRM-04, IW-TRM-05, IW-TRM-06, IW-TRM-07
    pub const fn code(self) -> ErrorCode {
        let (layer, kind, code) = match self {
            Self::Local => (0, 0, 0x00),
            Self::Read(error) => (0, 1, protection(error)),
            Self::Invalidate(AccessError::Rights) => (0, 1, 0x09),
            Self::Invalidate(error) => (0, 1, protection(error)),
            // DDP has no code for missing rights: the check is RDMAP's.
            Self::Tagged(AccessError::Rights) => (0, 1, 0x02),
            Self::Tagged(AccessError::Invalid) => (1, 1, 0x00),
            Self::Tagged(AccessError::Bounds) => (1, 1, 0x01),
            Self::Tagged(AccessError::Stream) => (1, 1, 0x02),
            Self::Tagged(AccessError::Wrap) => (1, 1, 0x03),
            Self::RdmapVersion => (0, 2, 0x05),
            Self::Opcode => (0, 2, 0x06),
            Self::Malformed => (0, 2, 0xFF),
            Self::DdpVersion { tagged: true } => (1, 1, 0x04),
            Self::DdpVersion { tagged: false } => (1, 2, 0x06),
            Self::Queue => (1, 2, 0x01),
            Self::NoBuffer => (1, 2, 0x02),
            Self::Msn => (1, 2, 0x03),
            Self::Offset => (1, 2, 0x04),
            Self::TooLong => (1, 2, 0x05),
            Self::Crc => (2, 0, 0x02),
            Self::Length => (2, 0, 0x03),
            Self::InsufficientIrd => (2, 0, 0x06),
            Self::Rtr => (2, 0, 0x07),
        };
        ErrorCode::new(layer, kind, code)
    }

    pub(crate) const fn headers(self) -> Headers {
        match self {
            Self::Crc | Self::Length | Self::InsufficientIrd | Self::Rtr | Self::Local => Headers::None,
            Self::Read(_) => Headers::DdpAndRead,
            _ => Headers::Ddp,
        }
    }
}

const fn protection(error: AccessError) -> u8 {
    match error {
        AccessError::Invalid => 0x00,
        AccessError::Bounds => 0x01,
        AccessError::Rights => 0x02,
        AccessError::Stream => 0x03,
        AccessError::Wrap => 0x04,
    }
}
