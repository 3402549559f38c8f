//! One queue of a session: what it is, its submission queue head, and its commands that have not ended.

use std::{collections::VecDeque, sync::Arc, time::Instant};

use nvmf_transport::{
    Buffer, ControllerEngine, Gather, Misuse, Pool, QueueId, QueueInfo, QueueSettings, RequestId,
};
use nvmf_wire::{Cid, Cqe, Sqe, Status};

use super::ops::{Op, Ops};
use crate::{
    association::{Address, Association, Place},
    buffers::DataBuffers,
    counters::QueueCounters,
    directory::Directory,
    namespace::Snapshot,
    subsystem::Subsystem,
};

/// The submission queue of a queue pair, as completions tell of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct SubmissionQueue {
    head: u16,
    entries: u16,
    flow_control: bool,
}

impl SubmissionQueue {
    /// Before Connect has said how large it is: one entry, whose consumption the Connect completion will tell.
    pub(super) fn unknown() -> Self {
        Self { head: 0, entries: u16::MAX, flow_control: true }
    }

    pub(super) fn configure(&mut self, settings: &QueueSettings) {
        self.entries = settings.depth;
        self.flow_control = settings.sq_flow_control;
        self.head %= settings.depth.max(1);
    }

    /// Takes note of a command that was taken from the queue.
    pub(super) fn consume(&mut self) {
        self.head = if self.head.saturating_add(1) >= self.entries { 0 } else { self.head + 1 };
    }

    // spec: TCP-QUE-08
    /// SQHD of a completion; reserved, so 0, without flow control (NVMe-oF 1.1 §2.4.1).
    pub(super) fn head(&self) -> u16 {
        if self.flow_control { self.head } else { 0 }
    }

    /// SQHD of the Connect completion: FFFFh says that there is no flow control (NVMe-oF 1.1 §3.3).
    pub(super) fn head_for_connect(&self) -> u16 {
        if self.flow_control { self.head } else { 0xffff }
    }
}

/// A set of command identifiers.
pub(super) struct CidSet(Box<[u64; 1024]>);

impl CidSet {
    pub(super) fn new() -> Self {
        Self(Box::new([0; 1024]))
    }

    fn place(cid: Cid) -> (usize, u64) {
        (usize::from(cid.0 >> 6), 1 << (cid.0 & 63))
    }

    pub(super) fn contains(&self, cid: Cid) -> bool {
        let (word, bit) = Self::place(cid);
        self.0[word] & bit != 0
    }

    fn set(&mut self, cid: Cid, on: bool) {
        let (word, bit) = Self::place(cid);
        if on { self.0[word] |= bit } else { self.0[word] &= !bit }
    }
}

impl std::fmt::Debug for CidSet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "CidSet({})", self.0.iter().map(|word| word.count_ones()).sum::<u32>())
    }
}

/// A queue.
#[derive(Debug)]
pub(super) struct Queue {
    pub(super) id: QueueId,
    pub(super) info: Box<QueueInfo>,
    pub(super) sq: SubmissionQueue,
    /// It is being closed: nothing more is answered.
    pub(super) closing: bool,
    /// Its commands that have not ended, AERs excepted.
    pub(super) outstanding: usize,
    /// Those of them that wait for memory, in order of arrival.
    pub(super) waiting: VecDeque<u32>,
    pub(super) cids: CidSet,
    /// By the transport's slot of the request: one more than the index of the command.
    by_slot: Vec<u32>,
    pub(super) role: Role,
    pub(super) _place: Place,
}

/// What a queue is.
#[derive(Debug)]
pub(super) enum Role {
    Fresh(Fresh),
    Admin(Box<AdminQueue>),
    Io(Box<IoQueue>),
}

/// A queue that has not been connected yet.
#[derive(Debug)]
pub(super) struct Fresh {
    pub(super) deadline: Instant,
    pub(super) connecting: Connecting,
    pub(super) _place: Place,
}

/// How far its Connect command is.
#[derive(Debug)]
pub(super) enum Connecting {
    /// There is none.
    No,
    /// Its data are being fetched.
    Fetching,
    /// The queue identifier is in use; asked again until it is free or the time is over.
    Again { request: RequestId, sqe: Box<Sqe>, data: Buffer, until: Instant },
}

/// The admin queue of an association.
#[derive(Debug)]
pub(super) struct AdminQueue {
    pub(super) association: Arc<Association>,
    /// Asynchronous Event Requests that wait for an event.
    pub(super) events: VecDeque<(RequestId, Cid)>,
    /// Abort commands whose answer comes from another thread.
    pub(super) aborts: u8,
    /// When the association ends unless something happens before.
    pub(super) deadline: Option<Instant>,
    /// Whether the flushes of a shutdown are under way.
    pub(super) flushing: bool,
    /// Whether the shutdown is an abrupt one.
    pub(super) abrupt: bool,
    /// Pages for the data of responses.
    pub(super) pages: Pool,
    /// The directory whose header was read last.
    pub(super) directory: Option<Arc<Directory>>,
}

/// An I/O queue of an association.
#[derive(Debug)]
pub(super) struct IoQueue {
    pub(super) association: Arc<Association>,
    pub(super) subsystem: Arc<Subsystem>,
    pub(super) qid: u16,
    pub(super) address: Address,
    pub(super) namespaces: Snapshot,
    pub(super) counters: Arc<QueueCounters>,
    pub(super) max_transfer: u32,
    pub(super) buffers: DataBuffers,
    pub(super) _memory: Place,
}

impl Queue {
    pub(super) fn new(id: QueueId, info: Box<QueueInfo>, place: Place, fresh: Fresh) -> Self {
        Self {
            id,
            info,
            sq: SubmissionQueue::unknown(),
            closing: false,
            outstanding: 0,
            waiting: VecDeque::new(),
            cids: CidSet::new(),
            by_slot: Vec::new(),
            role: Role::Fresh(fresh),
            _place: place,
        }
    }

    /// Keeps a command that has not ended.
    pub(super) fn keep(&mut self, ops: &mut Ops, op: Op) -> u32 {
        let (slot, cid) = (usize::from(op.request.slot), op.sqe.cid());
        let index = ops.insert(op);
        if self.by_slot.len() <= slot {
            self.by_slot.resize(slot + 1, 0);
        }
        self.by_slot[slot] = index + 1;
        self.cids.set(cid, true);
        self.outstanding += 1;
        index
    }

    /// Keeps work that answers no command.
    pub(super) fn keep_silent(&mut self, ops: &mut Ops, op: Op) -> u32 {
        self.outstanding += 1;
        ops.insert(op)
    }

    /// Ends a command that was kept.
    pub(super) fn release(&mut self, ops: &mut Ops, index: u32) -> Option<Op> {
        let op = ops.remove(index)?;
        self.outstanding = self.outstanding.saturating_sub(1);
        let slot = self.by_slot.get_mut(usize::from(op.request.slot)).filter(|slot| **slot == index + 1);
        if let Some(slot) = slot {
            *slot = 0;
            self.cids.set(op.sqe.cid(), false);
        }
        Some(op)
    }

    /// The command that was kept for a request.
    pub(super) fn kept(&self, ops: &Ops, request: RequestId) -> Option<u32> {
        let index = self.by_slot.get(usize::from(request.slot))?.checked_sub(1)?;
        ops.get(index).filter(|op| op.request == request).map(|_| index)
    }
}

/// Answers a request. A queue that is gone or closing takes no answer, and that is no loss.
pub(super) fn answer(
    engine: &mut dyn ControllerEngine,
    sq: &SubmissionQueue,
    request: RequestId,
    status: Status,
    result: u64,
    data: Gather,
) {
    let cqe = Cqe::error(Cid(0), status).with_u64(result).with_sqhd(sq.head());
    respond(engine, request, cqe, data);
}

/// As [`answer`], with the completion made.
pub(super) fn respond(engine: &mut dyn ControllerEngine, request: RequestId, cqe: Cqe, data: Gather) {
    let Err(refused) = engine.respond(request, cqe, data) else {
        return;
    };
    if matches!(refused.why, Misuse::UnknownQueue | Misuse::UnknownRequest | Misuse::Closing) {
        return;
    }
    // The host waits for an answer; that the data did not suit the transport is this side's fault.
    tracing::error!(?request, why = %refused.why, "the transport refused a response");
    let cqe = cqe.with_u64(0).with_status(Status::INTERNAL_ERROR);
    if let Err(refused) = engine.respond(request, cqe, Gather::new()) {
        tracing::error!(?request, why = %refused.why, "the transport refused an error response");
    }
}
