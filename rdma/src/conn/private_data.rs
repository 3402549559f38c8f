//! What both sides say through the connection manager: request, accept and reject (RDMA Transport 1.0 §3.1,
//! §3.6).
//!
//! Little-endian bytes to values that cannot be wrong and back; no state. Whoever judges a request answers with the
//! [`RejectStatus`] that [`Request::parse`] or [`judge`] names.

use std::fmt;

use crate::verbs::Kind;

/// Bytes of a request and of an accept.
pub const LEN: usize = 32;

/// Bytes of a reject.
pub const REJECT_LEN: usize = 4;

/// The only record format there is.
const RECFMT: u16 = 0;

/// Why a controller turns a connection down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RejectStatus(pub u16);

impl RejectStatus {
    /// The private data has a wrong length.
    pub const PRIVATE_DATA_LENGTH: Self = Self(1);
    /// The record format is not known.
    pub const RECFMT: Self = Self(2);
    /// The queue identifier is not possible.
    pub const QID: Self = Self(3);
    /// The submission queue is too large, or has no entries.
    pub const HSQSIZE: Self = Self(4);
    /// The host's receive queue does not fit its submission queue.
    pub const HRQSIZE: Self = Self(5);
    /// Something ran out.
    pub const NO_RESOURCES: Self = Self(6);
    /// The host serves no RDMA READ.
    pub const IRD: Self = Self(7);
    /// The host asks for more RDMA READs than possible.
    pub const ORD: Self = Self(8);
    /// The controller identifier is not possible.
    pub const CNTLID: Self = Self(9);
}

impl fmt::Display for RejectStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match *self {
            Self::PRIVATE_DATA_LENGTH => "invalid private data length",
            Self::RECFMT => "invalid record format",
            Self::QID => "invalid queue identifier",
            Self::HSQSIZE => "invalid host submission queue size (HSQSIZE)",
            Self::HRQSIZE => "invalid host receive queue size (HRQSIZE)",
            Self::NO_RESOURCES => "no resources",
            Self::IRD => "invalid number of RDMA READs that the host serves (IRD)",
            Self::ORD => "invalid number of RDMA READs that the host issues (ORD)",
            Self::CNTLID => "invalid controller identifier",
            Self(other) => return write!(f, "status {other}"),
        };
        write!(f, "{what} (status {})", self.0)
    }
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    match bytes.get(at..) {
        Some([low, high, ..]) => u16::from_le_bytes([*low, *high]),
        _ => 0,
    }
}

/// Whether private data has a record's length. A manager that carries a fixed size pads with zeroes, iWARP carries what
/// was said.
// spec: RDMA-CM-02
fn has_length(bytes: &[u8], kind: Kind) -> bool {
    match kind {
        Kind::Iwarp => bytes.len() == LEN,
        Kind::RoCe | Kind::InfiniBand => bytes.len() >= LEN,
    }
}

/// What a host says of the queue it asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// QID: 0 for the admin queue.
    pub qid: u16,
    /// HRQSIZE: receives the host posts.
    pub hrqsize: u16,
    /// HSQSIZE: entries of the submission queue, less one.
    pub hsqsize: u16,
    /// CNTLID: the controller an I/O queue is for; 0 from hosts that do not say.
    pub cntlid: u16,
}

impl Request {
    /// The bytes.
    // spec: RDMA-CM-01, RDMA-CM-04, RDMA-CM-05, RDMA-CM-06
    pub fn encode(&self) -> [u8; LEN] {
        let mut bytes = [0; LEN];
        for (at, value) in
            [(0, RECFMT), (2, self.qid), (4, self.hrqsize), (6, self.hsqsize), (8, self.cntlid)]
        {
            bytes[at..at + 2].copy_from_slice(&value.to_le_bytes());
        }
        bytes
    }

    /// The request, or why it is none. Reserved bytes are not looked at.
    // spec: RDMA-CM-02, RDMA-CM-03, RDMA-CM-07
    pub fn parse(bytes: &[u8], kind: Kind) -> Result<Self, RejectStatus> {
        if !has_length(bytes, kind) {
            return Err(RejectStatus::PRIVATE_DATA_LENGTH);
        }
        if u16_at(bytes, 0) != RECFMT {
            return Err(RejectStatus::RECFMT);
        }
        Ok(Self {
            qid: u16_at(bytes, 2),
            hrqsize: u16_at(bytes, 4),
            hsqsize: u16_at(bytes, 6),
            cntlid: u16_at(bytes, 8),
        })
    }

    /// Entries of the submission queue.
    pub fn entries(&self) -> u32 {
        u32::from(self.hsqsize) + 1
    }
}

/// The last identifier a queue or a controller can have; those above are reserved (NVMe-oF 1.1 §3.3).
const LAST_QID: u16 = 0xFFFE;
const LAST_CNTLID: u16 = 0xFFEF;

/// Whether a controller with queues of at most `max_depth` entries can serve a request over a connection on which the host
/// serves `ird` RDMA READs at a time.
// spec: RDMA-CM-08, RDMA-CM-09, RDMA-CM-10, RDMA-CM-11, RDMA-CM-12
pub fn judge(request: &Request, max_depth: u16, ird: u8) -> Result<(), RejectStatus> {
    if request.qid > LAST_QID {
        return Err(RejectStatus::QID);
    }
    if request.hsqsize == 0 || request.entries() > u32::from(max_depth) {
        return Err(RejectStatus::HSQSIZE);
    }
    // Each command is answered by a message that takes one receive: with fewer of them the connection would break.
    if request.hrqsize < request.hsqsize {
        return Err(RejectStatus::HRQSIZE);
    }
    if ird == 0 {
        return Err(RejectStatus::IRD);
    }
    // Hosts leave it 0 or name a controller; FFFFh and its like belong into the Connect command.
    if request.cntlid > LAST_CNTLID {
        return Err(RejectStatus::CNTLID);
    }
    Ok(())
}

/// What a controller says when it accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Accept {
    /// CRQSIZE: receives the controller posts.
    pub crqsize: u16,
}

/// Why what a controller said is no accept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AcceptError {
    /// It is too short, or on iWARP too long.
    #[error("the controller accepted with {0} bytes of private data instead of {LEN}")]
    Length(usize),
    /// Its record format is not known.
    #[error("the controller accepted with record format {0}, which this host does not know")]
    Format(u16),
    /// The controller posts no receive.
    #[error("the controller accepted with a receive queue of {0} entries (CRQSIZE)")]
    Size(u16),
}

impl Accept {
    /// The bytes.
    // spec: RDMA-CM-13
    pub fn encode(&self) -> [u8; LEN] {
        let mut bytes = [0; LEN];
        bytes[..2].copy_from_slice(&RECFMT.to_le_bytes());
        bytes[2..4].copy_from_slice(&self.crqsize.to_le_bytes());
        bytes
    }

    /// The accept, or why it is none.
    // spec: RDMA-CM-14
    pub fn parse(bytes: &[u8], kind: Kind) -> Result<Self, AcceptError> {
        if !has_length(bytes, kind) {
            return Err(AcceptError::Length(bytes.len()));
        }
        if u16_at(bytes, 0) != RECFMT {
            return Err(AcceptError::Format(u16_at(bytes, 0)));
        }
        match u16_at(bytes, 2) {
            // One entry is no queue: a submission queue has at least two (NVMe Base 2.0 §3.1.3.1).
            crqsize @ 0..=1 => Err(AcceptError::Size(crqsize)),
            crqsize => Ok(Self { crqsize }),
        }
    }
}

/// The bytes of a reject.
// spec: RDMA-CM-15
pub fn encode_reject(status: RejectStatus) -> [u8; REJECT_LEN] {
    let [low, high] = status.0.to_le_bytes();
    let [format_low, format_high] = RECFMT.to_le_bytes();
    [format_low, format_high, low, high]
}

/// The status of a reject, if there is one: a connection may be turned down by somebody who knows nothing of NVMe.
// spec: RDMA-CM-16
pub fn parse_reject(bytes: &[u8]) -> Option<RejectStatus> {
    (bytes.len() >= REJECT_LEN && u16_at(bytes, 0) == RECFMT).then(|| RejectStatus(u16_at(bytes, 2)))
}

#[cfg(test)]
#[path = "tests/private_data.rs"]
mod tests;
