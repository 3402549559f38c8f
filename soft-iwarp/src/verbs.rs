//! The vocabulary of verbs: names, memory keys, work requests and completions.
//!
//! Plain values, no behaviour: what a caller says to an [`Endpoint`](crate::Endpoint) and hears from it. The words are those
//! of RFC 5040 and of the verbs that Linux has; deliberately absent are atomics, immediate data and shared receive queues.
//! Start with [`SendRequest`] and [`Completion`].

use std::fmt;

use bitflags::bitflags;

/// A queue pair of an endpoint: a slot and a generation, so that a name that is out of date finds nothing.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Qp(pub(crate) u64);

impl Qp {
    /// The name with this slot and generation; for whoever drives a `QueuePair` without an endpoint.
    pub const fn new(slot: u32, generation: u32) -> Self {
        Self((generation as u64) << 32 | slot as u64)
    }

    /// The slot: small, unique among the queue pairs that exist, used again after `destroy_qp`. For tables of the caller.
    pub const fn slot(self) -> usize {
        (self.0 & 0xFFFF_FFFF) as usize
    }

    /// The whole name as a number.
    pub const fn value(self) -> u64 {
        self.0
    }

    pub(crate) const fn generation(self) -> u32 {
        (self.0 >> 32) as u32
    }
}

impl fmt::Debug for Qp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Qp({}.{})", self.slot(), self.generation())
    }
}

/// A steering tag (RFC 5041 §2.1): 24 bits that name a region and 8 bits of key that its owner changes at will.
///
/// It is the local key and the remote key of a region at once.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct STag(u32);

impl STag {
    /// All memory of this process, named by address: in requests of this side, once
    /// [`Endpoint::trust_addresses`](crate::Endpoint::trust_addresses) was called. It names nothing for peers.
    pub const LOCAL: Self = Self(0);

    /// The tag with this value, as it stands in a DDP header (where it is big-endian).
    pub const fn new(value: u32) -> Self {
        Self(value)
    }

    /// The tag of this index (24 bits) and key.
    pub const fn from_parts(index: u32, key: u8) -> Self {
        Self(index << 8 | key as u32)
    }

    /// The value.
    pub const fn value(self) -> u32 {
        self.0
    }

    /// The upper 24 bits.
    pub const fn index(self) -> u32 {
        self.0 >> 8
    }

    /// The lower 8 bits.
    pub const fn key(self) -> u8 {
        self.0 as u8
    }

    /// The same index with another key.
    #[must_use]
    pub const fn with_key(self, key: u8) -> Self {
        Self(self.0 & !0xFF | key as u32)
    }
}

impl fmt::Debug for STag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "STag({:#010x})", self.0)
    }
}

bitflags! {
    /// What may be done with a region. Reading by this side is always allowed.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct Access: u8 {
        /// This side may have messages and read data placed there.
        const LOCAL_WRITE = 1;
        /// Peers may RDMA READ it.
        const REMOTE_READ = 2;
        /// Peers may RDMA WRITE it; the sink of an RDMA READ needs it as well.
        const REMOTE_WRITE = 4;
        /// Peers may take its rights away by a Send with Invalidate.
        const REMOTE_INVALIDATE = 8;
    }
}

/// What the first byte of a region is called on the wire.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Addressing {
    /// Tagged offset 0.
    #[default]
    Zero,
    /// Its address in this process.
    Virtual,
    /// This tagged offset.
    At(u64),
}

/// The rights of a region.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RegionOptions {
    /// What may be done with it.
    pub access: Access,
    /// What its first byte is called.
    pub addressing: Addressing,
    /// The only queue pair that may use it; `None`: all of the endpoint.
    pub stream: Option<Qp>,
}

impl RegionOptions {
    /// Zero-based, for all queue pairs.
    pub const fn new(access: Access) -> Self {
        Self { access, addressing: Addressing::Zero, stream: None }
    }

    /// The same for one queue pair only (RFC 5042 §7.2 advises it).
    #[must_use]
    pub const fn only(self, qp: Qp) -> Self {
        Self { stream: Some(qp), ..self }
    }

    /// The same with other addresses.
    #[must_use]
    pub const fn addressed(self, addressing: Addressing) -> Self {
        Self { addressing, ..self }
    }
}

/// A registered region as its owner sees it. A copy of the facts: the endpoint has the region itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Region {
    /// Its key, local and remote.
    pub stag: STag,
    /// The tagged offset of its first byte.
    pub base: u64,
    /// Its length in bytes.
    pub len: u64,
}

impl Region {
    /// `len` bytes from byte `offset` of the region.
    pub const fn sge(&self, offset: u64, len: u32) -> Sge {
        Sge { stag: self.stag, to: self.base.wrapping_add(offset), len }
    }

    /// Where byte `offset` is, for a peer.
    pub const fn remote(&self, offset: u64) -> Remote {
        Remote { stag: self.stag, to: self.base.wrapping_add(offset) }
    }
}

/// A piece of a local region: an entry of a scatter-gather list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sge {
    /// The region.
    pub stag: STag,
    /// The tagged offset of the first byte (not an index: of a zero-based region the two are the same).
    pub to: u64,
    /// The length in bytes.
    pub len: u32,
}

/// A place in a peer's memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Remote {
    /// The peer's region.
    pub stag: STag,
    /// The tagged offset in it.
    pub to: u64,
}

/// What a work request of the send queue does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Sends a message into a receive of the peer.
    Send {
        /// A region of the peer that its rights are taken away from when the message is delivered.
        invalidate: Option<STag>,
        /// Whether the peer should be told at once (Solicited Event).
        solicited: bool,
    },
    /// Writes into a region of the peer, which does not notice.
    Write {
        /// Where to.
        remote: Remote,
    },
    /// Reads from a region of the peer into this side's; at most one scatter-gather entry.
    Read {
        /// Where from.
        remote: Remote,
    },
    /// Takes all rights away from a region, after everything posted before has completed.
    LocalInvalidate {
        /// The region.
        stag: STag,
    },
    /// Gives a window that has no rights a range of a region and rights (fast registration).
    FastRegister {
        /// The window, with the key it is to have.
        window: STag,
        /// The region whose memory it shows.
        parent: STag,
        /// The first byte, counted from the beginning of the parent.
        offset: u64,
        /// The length in bytes.
        len: u64,
        /// The rights. A window may be written only if its parent may.
        access: Access,
        /// What the first byte is called.
        addressing: Addressing,
    },
}

impl Operation {
    /// A plain Send.
    pub const SEND: Self = Self::Send { invalidate: None, solicited: false };
}

/// The data of a work request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Payload<'a> {
    /// Pieces of regions; read until the request has completed.
    Gather(&'a [Sge]),
    /// Bytes copied when the request is posted; at most `QpConfig::max_inline`. Not for `Read`.
    Inline(&'a [u8]),
}

impl Payload<'_> {
    /// No bytes.
    pub const EMPTY: Self = Payload::Gather(&[]);
}

/// A work request for the send queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SendRequest<'a> {
    /// Comes back in the completion.
    pub id: u64,
    /// What to do.
    pub operation: Operation,
    /// What to send, or for `Read` where to put it.
    pub payload: Payload<'a>,
    /// Whether success is reported. Failure always is.
    pub signaled: bool,
    /// Whether to wait for all earlier `Read`s first.
    pub fence: bool,
}

impl<'a> SendRequest<'a> {
    /// A signaled request without fence.
    pub const fn new(id: u64, operation: Operation, payload: Payload<'a>) -> Self {
        Self { id, operation, payload, signaled: true, fence: false }
    }

    /// The same, but success is not reported.
    #[must_use]
    pub const fn unsignaled(self) -> Self {
        Self { signaled: false, ..self }
    }

    /// The same, after all earlier `Read`s.
    #[must_use]
    pub const fn fenced(self) -> Self {
        Self { fence: true, ..self }
    }
}

/// A work request for the receive queue: takes one Send of the peer, which may be shorter but not longer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReceiveRequest<'a> {
    /// Comes back in the completion.
    pub id: u64,
    /// Where to put the message; regions with [`Access::LOCAL_WRITE`].
    pub scatter: &'a [Sge],
}

/// What completed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Completed {
    /// A `Send`: its bytes have left this process. Says nothing about the peer.
    Send,
    /// A `Write`, likewise.
    Write,
    /// A `Read`: the data is here.
    Read,
    /// A `LocalInvalidate`.
    LocalInvalidate,
    /// A `FastRegister`.
    FastRegister,
    /// A receive: a message of the peer is here.
    Receive,
}

/// How it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Status {
    /// As asked.
    Success,
    /// Not done, because the queue pair failed or was closed before. Remote effects of a send request are unknown.
    Flushed,
    /// A receive was shorter than the message.
    LocalLength,
    /// A scatter-gather entry names no region, or more than there is of it, or lacks a right.
    LocalProtection,
    /// The region cannot be invalidated or registered.
    LocalOperation,
    /// The peer refused access to its memory.
    RemoteAccess,
}

/// The end of one work request. Those of one queue come in the order in which they were posted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Completion {
    /// Whose.
    pub qp: Qp,
    /// As posted.
    pub id: u64,
    /// What.
    pub what: Completed,
    /// How.
    pub status: Status,
    /// The bytes received, read, written or sent.
    pub len: u32,
    /// Of a receive: the region of this side that the message took the rights from.
    pub invalidated: Option<STag>,
    /// Of a receive: whether the peer asked for an event.
    pub solicited: bool,
}

/// Why a work request was not taken. Nothing of it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PostError {
    /// There is no such queue pair.
    #[error("no such queue pair")]
    UnknownQp,
    /// The queue is full: completions have to be taken first.
    #[error("the queue is full")]
    Full,
    /// The queue pair has failed or is closed.
    #[error("the queue pair is closed")]
    Closed,
    /// Sends can be posted when the connection is established.
    #[error("the queue pair is not connected")]
    NotConnected,
    /// More scatter-gather entries than `QpConfig::max_sge`, or more than one for a `Read`.
    #[error("too many scatter-gather entries")]
    TooManySges,
    /// More bytes than `QpConfig::max_inline`, or inline data where none can be.
    #[error("too much inline data")]
    TooMuchInline,
    /// A message has at most 2³² − 1 bytes.
    #[error("longer than a message can be")]
    TooLong,
    /// The peer accepts no RDMA READ, or this side was configured to send none.
    #[error("no RDMA READ can be outstanding on this connection")]
    NoReadDepth,
}

/// Why memory was not registered, or not given back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MemoryError {
    /// `EndpointConfig::max_regions` are registered.
    #[error("too many regions")]
    TooMany,
    /// There is no such region.
    #[error("no such region")]
    Unknown,
    /// Windows show parts of it.
    #[error("windows of the region are left")]
    InUse,
    /// The range is not within the region, or its tagged offsets wrap.
    #[error("range outside of the region")]
    OutOfRange,
    /// More rights than the parent has.
    #[error("more rights than the region has")]
    Access,
    /// The window has rights already.
    #[error("the window is in use")]
    Bound,
}
