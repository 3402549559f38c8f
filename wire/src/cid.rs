//! The command identifier: what pairs a completion with its command on one queue.

use core::fmt;

/// Command Identifier (CID), unique among a submission queue's outstanding commands (NVMe Base 2.0 §3.3.3.1).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Cid(pub u16);

impl Cid {
    /// FFFFh, which hosts avoid: a controller uses it in an error log entry that belongs to no command
    /// (NVMe Base 2.0 §5.16.1.2).
    pub const NONE: Self = Self(0xFFFF);
}

impl fmt::Debug for Cid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Cid({:#06x})", self.0)
    }
}

impl fmt::Display for Cid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04X}h", self.0)
    }
}

impl From<u16> for Cid {
    fn from(value: u16) -> Self {
        Self(value)
    }
}

impl From<Cid> for u16 {
    fn from(value: Cid) -> Self {
        value.0
    }
}
