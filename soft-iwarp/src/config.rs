//! What can be chosen: for an endpoint, for a queue pair, and for one connection.

use std::time::Duration;

pub use crate::mpa::{CrcPolicy, Revision, RtrKinds};

/// Choices for an endpoint. The defaults fit.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct EndpointConfig {
    /// Regions and windows that may be registered at a time.
    pub max_regions: u32,
    /// Bytes received in one system call; shared by all connections.
    pub scratch: usize,
    /// Bytes prepared for sending ahead of the socket, per connection.
    pub send_ahead: usize,
    /// For TCP to connect.
    pub connect_timeout: Duration,
    /// For the peer's half of the MPA handshake, and for the RTR message where one is due.
    pub handshake_timeout: Duration,
    /// For a peer to take one more byte while something is to be sent.
    pub stall_timeout: Duration,
    /// For the last words (a Terminate, the end of the stream) to be exchanged once a connection is given up.
    pub close_timeout: Duration,
    /// Connections of one listener that have not sent a whole request or wait for an answer to it; more are refused.
    pub max_pending: usize,
    /// The backlog of a listening socket.
    pub backlog: u16,
    /// Whether several listeners may share a port.
    pub reuse_port: bool,
    /// Send buffer of the sockets; the system's choice when `None`.
    pub send_buffer: Option<usize>,
    /// Receive buffer of the sockets; the system's choice when `None`.
    pub receive_buffer: Option<usize>,
    /// Linux siw may overlook what arrives right after its MPA reply until more arrives. While the peer has not said anything
    /// yet, an initiator that has sent something sends an empty RDMA WRITE after this time, and after twice it, four times
    /// in all. `None`: never.
    pub nudge: Option<Duration>,
    /// Whether the sink of an RDMA READ must have [`Access::REMOTE_WRITE`](crate::Access::REMOTE_WRITE), as on every RNIC.
    pub strict_read_sink: bool,
    /// What tags follow from. `None`: the system's randomness; fixed only for tests.
    pub seed: Option<u64>,
}

impl Default for EndpointConfig {
    fn default() -> Self {
        Self {
            max_regions: 1 << 16,
            scratch: 256 * 1024,
            send_ahead: 1 << 20,
            connect_timeout: Duration::from_secs(10),
            handshake_timeout: Duration::from_secs(10),
            stall_timeout: Duration::from_secs(30),
            close_timeout: Duration::from_secs(2),
            max_pending: 128,
            backlog: 128,
            reuse_port: false,
            send_buffer: None,
            receive_buffer: None,
            nudge: Some(Duration::from_millis(10)),
            strict_read_sink: true,
            seed: None,
        }
    }
}

/// The size of a queue pair. All of it is allocated when the queue pair is created.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QpConfig {
    /// Send requests that may be outstanding.
    pub send_depth: u32,
    /// Receives that may be outstanding.
    pub receive_depth: u32,
    /// Scatter-gather entries of one request, up to 16.
    pub max_sge: u8,
    /// Inline bytes of one send request.
    pub max_inline: u16,
}

impl Default for QpConfig {
    fn default() -> Self {
        Self { send_depth: 128, receive_depth: 128, max_sge: 4, max_inline: 128 }
    }
}

/// What both ends of a connection choose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectionConfig {
    /// RDMA READs that the peer may have outstanding here (inbound read depth), 1 to 128 are useful. Never sent as 0:
    /// Linux cannot use such a peer.
    pub ird: u16,
    /// RDMA READs that this side wants to have outstanding at the peer. Negotiated down to what that allows.
    pub ord: u16,
    /// Whether CRCs are used.
    pub crc: CrcPolicy,
    /// Which ready-to-receive messages, that nobody above notices, the initiator can send first of all (RFC 6581 §9); none by
    /// default. A responder ignores it and always answers what it is asked.
    pub rtr: RtrKinds,
    /// The revision of MPA that the initiator speaks. A responder answers in the initiator's.
    pub revision: Revision,
    /// The longest ULPDU to send, if it is to be shorter than the segment size allows.
    pub max_ulpdu: Option<u16>,
}

impl Default for ConnectionConfig {
    fn default() -> Self {
        Self {
            ird: 32,
            ord: 32,
            crc: CrcPolicy::Required,
            rtr: RtrKinds::empty(),
            revision: Revision::Two,
            max_ulpdu: None,
        }
    }
}
