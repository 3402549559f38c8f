//! What an endpoint reports.

use std::{io, net::SocketAddr};

use crate::{
    mpa::MpaError,
    rdmap::Terminate,
    verbs::{Completion, Qp},
};

/// A listener of an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Listener(pub(crate) u64);

/// A connection that asks to be accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Request(pub(crate) u64);

impl Request {
    /// A small number, shared by requests that do not live at the same time.
    pub const fn slot(self) -> u32 {
        self.0 as u32
    }
}

/// What happened. Events of one queue pair are in order; `Disconnected` is its last, unless `ConnectFailed` or `Rejected` is.
#[derive(Debug)]
pub enum Event {
    /// A work request has ended.
    Completion(Completion),
    /// Somebody wants to connect: accept, reject or release it.
    Request {
        /// Its name, until it is answered.
        request: Request,
        /// Where it came in; `None` if it was adopted.
        listener: Option<Listener>,
        /// What it says.
        info: Box<RequestInfo>,
    },
    /// A request need not be answered any more: the peer has gone, or broke the protocol.
    RequestGone {
        /// Which.
        request: Request,
    },
    /// A connection is up. The initiator may send; what a responder sends leaves when the initiator has sent something.
    Established {
        /// Which.
        qp: Qp,
        /// What was agreed.
        info: Box<Established>,
    },
    /// The peer answered that it does not want the connection. Receives posted before have been flushed.
    Rejected {
        /// Which.
        qp: Qp,
        /// Its reason, in the words of the upper layer.
        private_data: Box<[u8]>,
    },
    /// A connection did not come about. Receives posted before have been flushed.
    ConnectFailed {
        /// Which.
        qp: Qp,
        /// Why.
        error: Box<ConnectError>,
    },
    /// A connection that was established is over. All work requests have been reported before.
    Disconnected {
        /// Which.
        qp: Qp,
        /// Why.
        reason: Box<Disconnect>,
    },
}

/// A connection request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestInfo {
    /// This side's address.
    pub local: SocketAddr,
    /// The peer's address.
    pub peer: SocketAddr,
    /// What the initiator's upper layer says, at most 512 bytes.
    pub private_data: Vec<u8>,
    /// RDMA READs that the initiator takes at a time; `None` if it does not say.
    pub ird: Option<u16>,
    /// RDMA READs that it wants to have outstanding here; `None` if it does not say.
    pub ord: Option<u16>,
}

/// What was agreed when a connection was established.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Established {
    /// This side's address.
    pub local: SocketAddr,
    /// The peer's address.
    pub peer: SocketAddr,
    /// What the responder's upper layer says. Empty at the responder.
    pub private_data: Vec<u8>,
    /// RDMA READs that the peer may have outstanding here.
    pub ird: u16,
    /// RDMA READs that may be outstanding at the peer.
    pub ord: u16,
    /// Whether CRCs are used.
    pub crc: bool,
    /// Whether the peer gets markers.
    pub markers: bool,
}

/// Why a connection did not come about.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// TCP did not connect, or was lost.
    #[error("{0}")]
    Tcp(#[from] io::Error),
    /// Nobody answered in time.
    #[error("no answer in time")]
    TimedOut,
    /// The peer ended the connection without an answer: it may speak no MPA, or not this revision.
    #[error("the peer closed the connection during the MPA handshake")]
    Closed,
    /// What it said is not MPA, or cannot be agreed to.
    #[error("{0}")]
    Mpa(#[from] MpaError),
}

/// Why an established connection is over.
#[derive(Debug, thiserror::Error)]
pub enum Disconnect {
    /// It was disconnected, or its queue pair destroyed, on this side.
    #[error("disconnected by this side")]
    Local,
    /// The peer ended it between two messages.
    #[error("disconnected by the peer")]
    Peer,
    /// The peer said that this side broke the protocol, or that it failed.
    #[error("terminated by the peer: {0}")]
    TerminatedByPeer(Terminate),
    /// The peer broke the protocol and was told so.
    #[error("terminated: {0}")]
    Terminated(Terminate),
    /// The connection was lost, or ended within a message.
    #[error("connection lost: {0}")]
    Lost(#[from] io::Error),
}
