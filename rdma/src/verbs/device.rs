//! What a device can do, as a value.

use std::fmt;

/// The protocol under the verbs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// RDMA over TCP (RFC 5040, 5041, 5044).
    Iwarp,
    /// RDMA over Converged Ethernet.
    RoCe,
    /// InfiniBand.
    InfiniBand,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Iwarp => "iWARP",
            Self::RoCe => "RoCE",
            Self::InfiniBand => "InfiniBand",
        })
    }
}

/// What one remote key covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum KeyScope {
    /// One command's bytes, with its rights only; withdrawn with the command, or invalidated by the controller.
    Command,
    /// A whole registered region. Bounds are not those of the command, and the key outlives it.
    Region,
}

/// A device, or what all devices of a provider have in common.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// Its name, e.g. `siw0`.
    pub name: String,
    /// Its port, from 1 on.
    pub port: u8,
    /// The protocol under the verbs.
    pub kind: Kind,
    /// Elements of a send or RDMA WRITE.
    pub max_send_sge: u16,
    /// Elements of a receive.
    pub max_recv_sge: u16,
    /// Local elements of an RDMA READ (1 on iWARP).
    pub max_read_sge: u16,
    /// Inline bytes of a send; what create_qp grants may be less and is what holds.
    pub max_inline: u32,
    /// READs outstanding as initiator.
    pub max_initiator_depth: u8,
    /// READs served at a time.
    pub max_responder_resources: u8,
    /// Work requests of one queue.
    pub max_qp_wr: u32,
    /// Entries of a completion queue.
    pub max_cqe: u32,
    /// Memory regions.
    pub max_mr: u32,
    /// Bytes of a memory region.
    pub max_mr_size: u64,
    /// Private data of a request, in bytes.
    pub max_private_data: u16,
    /// Whether completion queues can be resized.
    pub cq_resize: bool,
    /// Whether it has shared receive queues.
    pub srq: bool,
    /// What a remote key covers that [`Keys::expose`](super::Keys::expose) makes.
    pub key_scope: KeyScope,
    /// Whether SEND with Invalidate can be posted.
    pub send_invalidate: bool,
    /// Whether the sink of a READ has to allow remote writes. The provider registers its memory accordingly; for display.
    pub read_sink_remote_write: bool,
}
