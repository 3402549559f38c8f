//! The traits a transport implements: one engine per thread and role.

use std::{
    net::SocketAddr,
    os::fd::{BorrowedFd, OwnedFd},
    sync::Arc,
    time::{Duration, Instant},
};

use nvmf_wire::{Cid, Cqe};

use crate::{
    Buffer, Command, ControllerEvent, Error, Gather, HostEvent, Limits, ListenerId, Memory, Misuse, QueueId,
    Refused, RequestId, Target, Wire,
};

/// Whether a queue carries the commands of the controller or of its namespaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum QueueKind {
    /// Queue 0.
    Admin,
    /// Any other, by its number.
    Io(u16),
}

impl QueueKind {
    /// The kind of a queue number.
    pub fn from_qid(qid: u16) -> Self {
        if qid == 0 { Self::Admin } else { Self::Io(qid) }
    }

    /// The queue number.
    pub fn qid(self) -> u16 {
        match self {
            Self::Admin => 0,
            Self::Io(qid) => qid,
        }
    }
}

/// What a host asks of a new queue. What only one transport knows (digests, alignment, …) is configured on that transport.
#[derive(Clone, Debug)]
pub struct ConnectOptions {
    /// The queue to be.
    pub kind: QueueKind,
    /// Entries of the submission queue; also how many commands may be outstanding, less one while SQ flow control is on.
    pub depth: u16,
    /// In-capsule data the controller takes on this queue (from IOCCSZ); ignored for the admin queue, whose size the
    /// transport's specification fixes.
    pub max_in_capsule: u32,
    /// How long connecting and negotiating may take together.
    pub timeout: Duration,
    /// The local address to connect from.
    pub source: Option<SocketAddr>,
}

/// What the Connect command settled, told to the transport by the session above it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueSettings {
    /// The queue.
    pub kind: QueueKind,
    /// Entries of the submission queue.
    pub depth: u16,
    /// Whether SQ flow control is on. Only without it may a transport fold a success into the last of the data.
    pub sq_flow_control: bool,
}

/// What is known of a queue once it is negotiated. For people and for limits; nothing to act on per command.
#[derive(Clone, Debug)]
pub struct QueueInfo {
    /// The limits that hold on this queue.
    pub limits: Limits,
    /// This side's address.
    pub local: SocketAddr,
    /// The peer's address.
    pub peer: SocketAddr,
    /// Who moves the data: `software`, or the name of the accelerator that took the connection.
    pub data_path: &'static str,
    /// Negotiated values by the specification's names, for display.
    pub negotiated: Vec<(&'static str, String)>,
}

/// How to end a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Close {
    /// Send first what has been submitted or answered, as long as the peer takes it in reasonable time.
    AfterFlush,
    /// At once.
    Now,
}

/// What both roles share.
pub trait Engine: Send {
    /// The transport's name.
    fn transport(&self) -> &'static str;

    /// Where buffers for this engine come from.
    fn memory(&self) -> Arc<dyn Memory>;

    /// Readable whenever `poll` has something to do.
    fn wait_handle(&self) -> BorrowedFd<'_>;

    /// When `poll` wants to be called even if the handle stays silent.
    fn next_timeout(&self) -> Option<Instant>;

    /// The limits of a queue, as negotiated so far.
    fn limits(&self, queue: QueueId) -> Option<&Limits>;

    /// Tells the transport what the Connect command settled. Until then a queue has the admin queue's limits.
    fn configure(&mut self, queue: QueueId, settings: QueueSettings) -> Result<(), Misuse>;

    /// Ends a queue; `Closed` follows in a later `poll`. Naming a queue that has ended does nothing.
    fn close(&mut self, queue: QueueId, how: Close);
}

/// The initiator's side of a transport.
pub trait HostEngine: Engine {
    /// Starts to connect; `Connected` or `Closed` follows. Fails at once only for local reasons.
    fn connect(&mut self, target: &Target, options: &ConnectOptions) -> Result<QueueId, Error>;

    /// Takes a command. It leaves at the next `poll` at the latest. The CID is the one on the wire.
    fn submit(&mut self, queue: QueueId, command: Command) -> Result<Cid, Refused<Command>>;

    /// Moves everything forward without blocking and appends what happened. An error is the end of the engine.
    fn poll(&mut self, now: Instant, events: &mut Vec<HostEvent>) -> Result<(), Error>;
}

/// A listener that is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listener {
    /// Its name in events.
    pub id: ListenerId,
    /// The address it got (port 0 asks for any).
    pub address: SocketAddr,
}

/// Decides which of several engines carries a connection.
pub trait Placement: Send + Sync {
    /// Takes a connection that came by `listener`, from which nothing has been read yet.
    fn place(&self, connection: OwnedFd, listener: ListenerId);
}

/// What a controller's engine can do if its connections may begin on one thread and be carried by another.
pub trait Sharing {
    /// Gives every connection that comes by a listener to `to`.
    fn divert(&mut self, listener: ListenerId, to: Arc<dyn Placement>);

    /// Takes over a connection that was accepted elsewhere, within this engine's own bounds. Nothing has been read from it; its
    /// queue counts as come by `listener`, which need not be one of this engine's.
    fn adopt(&mut self, connection: OwnedFd, listener: ListenerId, now: Instant);

    /// Connections of this engine, negotiated or not.
    fn connections(&self) -> usize;
}

/// The target's side of a transport.
pub trait ControllerEngine: Engine {
    /// How engines of this transport share listeners. `None`: each opens its own, if the address allows that.
    fn sharing(&mut self) -> Option<&mut dyn Sharing> {
        None
    }

    /// The wire a queue is spoken on, of an engine that speaks several. `None`: its transport's.
    fn wire(&self, _queue: QueueId) -> Option<Wire> {
        None
    }

    /// Opens a listener.
    fn listen(&mut self, at: &Target) -> Result<Listener, Error>;

    /// Closes a listener. Queues that came by it live on.
    fn unlisten(&mut self, listener: ListenerId);

    /// Pulls `into.len()` bytes of the request's data, from `offset`, into `into`; `Fetched` follows.
    ///
    /// Only for requests with [`RequestData::Remote`](crate::RequestData::Remote) data; from offset 0 on, each fetch where the one
    /// before ends, and each but the last a multiple of four bytes long. Anything else is refused as
    /// [`Misuse::DataLength`] (an R2T continues where the last one ended: NVMe/TCP Transport 1.0 §3.6.2.10).
    fn fetch(&mut self, request: RequestId, offset: u32, into: Buffer) -> Result<(), Refused<Buffer>>;

    /// Answers a request: first the data, then the completion. The transport writes the CID; the caller writes everything else.
    ///
    /// The request must have no fetch outstanding. The views are dropped when the peer has them or the queue is gone.
    fn respond(&mut self, request: RequestId, cqe: Cqe, data: Gather) -> Result<(), Refused<Gather>>;

    /// Moves everything forward without blocking and appends what happened. An error is the end of the engine.
    fn poll(&mut self, now: Instant, events: &mut Vec<ControllerEvent>) -> Result<(), Error>;
}
