//! What crosses the boundary: commands down, events up.

use nvmf_wire::{Cqe, Sqe, Status};

use crate::{Buffer, CloseReason, ListenerId, QueueId, QueueInfo, RequestId};

/// The data of a command, seen from the host.
#[derive(Debug, Default)]
pub enum Data {
    /// The command moves none.
    #[default]
    None,
    /// To be sent: the whole buffer is the command's data.
    ToController(Buffer),
    /// To be filled: the whole buffer is the room for the command's data.
    FromController(Buffer),
}

impl Data {
    /// The bytes of the buffer, 0 without one.
    pub fn len(&self) -> usize {
        match self {
            Self::None => 0,
            Self::ToController(buffer) | Self::FromController(buffer) => buffer.len(),
        }
    }

    /// Whether no byte moves.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The buffer, if there is one.
    pub fn into_buffer(self) -> Option<Buffer> {
        match self {
            Self::None => None,
            Self::ToController(buffer) | Self::FromController(buffer) => Some(buffer),
        }
    }
}

/// A command as a host submits it.
#[derive(Debug)]
pub struct Command {
    /// Opcode, namespace and command dwords. The transport writes CID, PSDT and SGL1; what the caller puts there is ignored.
    pub sqe: Sqe,
    /// The data, which belongs to the transport until the command ends.
    pub data: Data,
    /// The caller's name for the command; comes back unchanged.
    pub cookie: u64,
}

/// What happened on a host's engine.
#[derive(Debug)]
#[non_exhaustive]
pub enum HostEvent {
    /// The transport connection is up and negotiated; the Connect command may be submitted.
    Connected {
        /// The queue.
        queue: QueueId,
        /// What was negotiated.
        info: Box<QueueInfo>,
    },
    /// A command ended with a completion.
    Completed {
        /// The queue.
        queue: QueueId,
        /// The command's cookie.
        cookie: u64,
        /// The completion. Where the transport itself found the data bad (a digest), the status is Transient Transport Error
        /// and the buffer's contents mean nothing.
        cqe: Cqe,
        /// Whether `cqe` carries a submission queue head (a folded success does not).
        sqhd_valid: bool,
        /// Bytes that arrived in the buffer of a `FromController` command.
        transferred: u32,
        /// The command's data.
        data: Data,
    },
    /// A command ended without a completion, because its queue ended.
    Aborted {
        /// The queue.
        queue: QueueId,
        /// The command's cookie.
        cookie: u64,
        /// The command's data.
        data: Data,
    },
    /// The queue is gone. Its last event.
    Closed {
        /// The queue.
        queue: QueueId,
        /// Why.
        reason: CloseReason,
    },
}

/// The data of a command, seen from the controller.
#[derive(Debug)]
pub enum RequestData {
    /// The SGL describes no data.
    None,
    /// Data that came within the capsule: all there is.
    InCapsule(Buffer),
    /// Data that stays with the host until fetched, or room for data to be sent.
    Remote {
        /// Bytes described by the SGL.
        len: u32,
    },
}

impl RequestData {
    /// The bytes the SGL describes.
    pub fn len(&self) -> usize {
        match self {
            Self::None => 0,
            Self::InCapsule(buffer) => buffer.len(),
            Self::Remote { len } => *len as usize,
        }
    }

    /// Whether the SGL describes no byte.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// What happened on a controller's engine.
#[derive(Debug)]
#[non_exhaustive]
pub enum ControllerEvent {
    /// A host has connected and negotiated.
    Accepted {
        /// The queue.
        queue: QueueId,
        /// The listener it came by.
        listener: ListenerId,
        /// What was negotiated.
        info: Box<QueueInfo>,
    },
    /// A command arrived.
    Command {
        /// How to answer it: [`ControllerEngine::respond`](crate::ControllerEngine::respond), exactly once.
        request: RequestId,
        /// The command, with the host's CID.
        sqe: Sqe,
        /// Its data, or the status to answer with because its SGL or its digest was bad.
        data: Result<RequestData, Status>,
    },
    /// A fetch ended.
    Fetched {
        /// The request.
        request: RequestId,
        /// Where in the request's data it began.
        offset: u32,
        /// The buffer that was given to fill.
        data: Buffer,
        /// Whether it was filled; if not, the status to answer with.
        outcome: Result<(), Status>,
    },
    /// The queue is gone. Its last event.
    Closed {
        /// The queue.
        queue: QueueId,
        /// Why.
        reason: CloseReason,
    },
}

impl ControllerEvent {
    /// The queue it is about.
    pub fn queue(&self) -> QueueId {
        match self {
            Self::Accepted { queue, .. } | Self::Closed { queue, .. } => *queue,
            Self::Command { request, .. } | Self::Fetched { request, .. } => request.queue,
        }
    }

    /// The same, to be renamed by an engine that passes on the events of another.
    pub fn queue_mut(&mut self) -> &mut QueueId {
        match self {
            Self::Accepted { queue, .. } | Self::Closed { queue, .. } => queue,
            Self::Command { request, .. } | Self::Fetched { request, .. } => &mut request.queue,
        }
    }
}
