//! Work requests and completions.

use smallvec::SmallVec;

use super::ConnId;

/// A piece of local memory. A plain address: the methods that take it say how long it must stay valid.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sge {
    /// Where it starts, as an address in this process.
    pub address: u64,
    /// Its length in bytes.
    pub length: u32,
    /// Its key, from [`Keys::local_key`](super::Keys::local_key); 0 for inline data.
    pub key: u32,
}

/// A place in the peer's memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Remote {
    /// The address as the peer gave it.
    pub address: u64,
    /// The key as the peer gave it.
    pub key: u32,
}

/// What the peer may do with exposed memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RemoteAccess {
    /// RDMA READ it.
    Read,
    /// RDMA WRITE it.
    Write,
}

/// How the peer names exposed memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RemoteKey {
    /// The address to give to the peer.
    pub address: u64,
    /// The key to give to the peer.
    pub key: u32,
    /// Whether the peer may invalidate the key.
    pub invalidate: bool,
}

/// What a send request does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SendOp {
    /// SEND.
    Send,
    /// SEND with Invalidate of a key of the peer's.
    SendInvalidate {
        /// The key.
        key: u32,
    },
    /// RDMA WRITE.
    Write(Remote),
    /// RDMA READ into the local elements.
    Read(Remote),
}

/// A request for the send queue.
#[derive(Clone, Debug)]
pub struct SendRequest {
    /// The caller's name for it.
    pub id: u64,
    /// What to do.
    pub op: SendOp,
    /// Local memory, in order.
    pub sges: SmallVec<[Sge; 2]>,
    /// Whether the data is taken at the call (sends and writes, up to the inline size of the queue pair).
    pub inline: bool,
    /// Whether success is worth a completion.
    pub signaled: bool,
}

impl SendRequest {
    /// Bytes of local memory.
    pub fn len(&self) -> u64 {
        self.sges.iter().map(|sge| u64::from(sge.length)).sum()
    }

    /// Whether no byte moves.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A request for the receive queue.
#[derive(Clone, Debug)]
pub struct RecvRequest {
    /// The caller's name for it.
    pub id: u64,
    /// Local memory, in order.
    pub sges: SmallVec<[Sge; 2]>,
}

/// What a completion is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operation {
    /// A request of the send queue.
    Send,
    /// A receive.
    Recv,
}

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum WcStatus {
    /// Well.
    Success,
    /// Not carried out, because the connection had ended or an earlier request had failed.
    Flushed,
    /// A local element is wrong: length, bounds or rights.
    LocalProtection,
    /// A message was longer than the receive.
    LocalLength,
    /// The peer refused access: key, bounds or rights.
    RemoteAccess,
    /// The peer could not carry it out: malformed, or no receive posted.
    RemoteOperation,
    /// The peer was not reached any more.
    TransportRetry,
    /// Anything else; the provider's own number.
    Other(u32),
}

/// The end of a work request.
#[derive(Clone, Copy, Debug)]
pub struct Completion {
    /// The connection.
    pub conn: ConnId,
    /// The request's name.
    pub id: u64,
    /// Which queue it was in.
    pub operation: Operation,
    /// How it ended. If not `Success`, only `conn`, `id` and `operation` of the rest mean something.
    pub status: WcStatus,
    /// Of a receive: bytes that arrived.
    pub len: u32,
    /// Of a receive: the key of this side's that the peer invalidated with the message, where the device tells.
    pub invalidated: Option<u32>,
}

impl Default for Completion {
    fn default() -> Self {
        Self {
            conn: ConnId { slot: 0, generation: 0 },
            id: 0,
            operation: Operation::Send,
            status: WcStatus::Other(0),
            len: 0,
            invalidated: None,
        }
    }
}
