//! The endpoint: sockets, queue pairs and memory of one thread, with the semantics of verbs.
//!
//! Everything of one thread belongs to one [`Endpoint`]: a protection domain, its queue pairs, listeners and one poller. Calls
//! record what is to be done; [`poll`](Endpoint::poll) does it and reports in events. No call blocks.

use std::{
    io,
    net::SocketAddr,
    os::fd::{BorrowedFd, OwnedFd},
    ptr::NonNull,
    time::Instant,
};

use crate::{
    config::{ConnectionConfig, EndpointConfig, QpConfig},
    event::{Event, Listener, Request},
    verbs::{MemoryError, PostError, Qp, ReceiveRequest, Region, RegionOptions, STag, SendRequest},
};

/// Why a call about a connection was refused.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// There is no such queue pair.
    #[error("no such queue pair")]
    UnknownQp,
    /// There is no such request: it was answered, or the peer has gone.
    #[error("no such connection request")]
    UnknownRequest,
    /// The queue pair is or was connected. Each carries one connection in its life.
    #[error("the queue pair was used already")]
    Used,
    /// More private data than the frame has room for.
    #[error("{0} bytes of private data are too many")]
    PrivateData(usize),
    /// The system refused a socket.
    #[error("{0}")]
    Io(#[from] io::Error),
}

/// A connection that has sent nothing or a request, on its way to another endpoint.
#[derive(Debug)]
pub struct Handover {
    /// The socket.
    pub socket: OwnedFd,
    /// What was read from it.
    pub bytes: Vec<u8>,
}

/// Sockets, queue pairs and memory of one thread.
#[derive(Debug)]
pub struct Endpoint {
    _config: EndpointConfig,
}
