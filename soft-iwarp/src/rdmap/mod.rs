//! RDMAP (RFC 5040): what a message is for.
//!
//! The control byte with its opcode, the Read Request, and the [`Terminate`] message. Bytes only. Immediate data and atomics
//! (RFC 7306) are deliberately absent: their opcodes are refused.

mod terminate;

pub use terminate::{ErrorCode, Layout, Offender, TERMINATE_MAX, Terminate};

use crate::verbs::{Remote, STag};

const VERSION: u8 = 0x40;
const VERSION_MASK: u8 = 0xC0;
const OPCODE_MASK: u8 = 0x0F;

/// What a message is (RFC 5040 §4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Opcode {
    /// RDMA WRITE.
    Write,
    /// The request of an RDMA READ.
    ReadRequest,
    /// The data of an RDMA READ.
    ReadResponse,
    /// A Send.
    Send {
        /// Whether a region of the receiver loses its rights.
        invalidate: bool,
        /// Whether the receiver should be told at once.
        solicited: bool,
    },
    /// The end of the stream.
    Terminate,
}

/// Why a control byte is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadControl {
    /// The version is not 1.
    Version,
    /// The opcode is reserved, or one of RFC 7306.
    Opcode,
}

impl Opcode {
    /// Reads a control byte.
    // spec: IW-RDM-01, IW-RDM-02
    pub const fn parse(control: u8) -> Result<Self, BadControl> {
        if control & VERSION_MASK != VERSION {
            return Err(BadControl::Version);
        }
        Ok(match control & OPCODE_MASK {
            0 => Self::Write,
            1 => Self::ReadRequest,
            2 => Self::ReadResponse,
            3 => Self::Send { invalidate: false, solicited: false },
            4 => Self::Send { invalidate: true, solicited: false },
            5 => Self::Send { invalidate: false, solicited: true },
            6 => Self::Send { invalidate: true, solicited: true },
            7 => Self::Terminate,
            _ => return Err(BadControl::Opcode),
        })
    }

    /// The control byte.
    pub const fn control(self) -> u8 {
        VERSION
            | match self {
                Self::Write => 0,
                Self::ReadRequest => 1,
                Self::ReadResponse => 2,
                Self::Send { invalidate: false, solicited: false } => 3,
                Self::Send { invalidate: true, solicited: false } => 4,
                Self::Send { invalidate: false, solicited: true } => 5,
                Self::Send { invalidate: true, solicited: true } => 6,
                Self::Terminate => 7,
            }
    }

    /// Whether its segments are tagged.
    pub const fn is_tagged(self) -> bool {
        matches!(self, Self::Write | Self::ReadResponse)
    }
}

/// What an RDMA READ asks for (RFC 5040 §4.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadRequest {
    /// Where the requester wants the data.
    pub sink: Remote,
    /// How much.
    pub len: u32,
    /// Where the responder has it.
    pub source: Remote,
}

impl ReadRequest {
    /// The length on the wire.
    pub const LEN: usize = 28;

    /// Reads a request; every combination of bytes is one.
    // spec: IW-RDM-08
    pub fn parse(bytes: &[u8; Self::LEN]) -> Self {
        let word = |at: usize| u32::from_be_bytes(std::array::from_fn(|i| bytes[at + i]));
        let long = |at: usize| u64::from(word(at)) << 32 | u64::from(word(at + 4));
        Self {
            sink: Remote { stag: STag::new(word(0)), to: long(4) },
            len: word(12),
            source: Remote { stag: STag::new(word(16)), to: long(20) },
        }
    }

    /// The request on the wire.
    pub fn encode(&self) -> [u8; Self::LEN] {
        let mut out = [0; Self::LEN];
        out[..4].copy_from_slice(&self.sink.stag.value().to_be_bytes());
        out[4..12].copy_from_slice(&self.sink.to.to_be_bytes());
        out[12..16].copy_from_slice(&self.len.to_be_bytes());
        out[16..20].copy_from_slice(&self.source.stag.value().to_be_bytes());
        out[20..].copy_from_slice(&self.source.to.to_be_bytes());
        out
    }
}

#[cfg(test)]
mod tests;
