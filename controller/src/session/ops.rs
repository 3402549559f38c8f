//! Commands that did not end where they were received: waiting for data from the host, for a backend, or for memory.
//!
//! A slab without allocation per command. The index of an entry is the tag of its operations on a backend; an entry lives
//! until none of them is under way, so a tag always names the command it was made for.

use std::sync::Arc;

use nvmf_transport::{QueueId, RequestId};
use nvmf_wire::{Sqe, Status};

use crate::namespace::Namespace;

/// One such command.
#[derive(Debug)]
pub(super) struct Op {
    /// How to answer it. Of work that answers nothing, a request that never was.
    pub(super) request: RequestId,
    pub(super) sqe: Sqe,
    /// An Abort named it: it goes no further than it has to.
    pub(super) aborted: bool,
    pub(super) work: Work,
}

impl Op {
    pub(super) fn queue(&self) -> QueueId {
        self.request.queue
    }
}

/// What it waits for.
#[derive(Debug)]
pub(super) enum Work {
    /// One operation of a backend, whose outcome is the answer. `bytes` is what it moves.
    Backend { bytes: u32 },
    /// Data from the host, which go to a backend piece by piece.
    Transfer(Transfer),
    /// The ranges of a Dataset Management command, from the host.
    Ranges { namespace: Arc<Namespace> },
    /// Flushes of several namespaces.
    Flushes { left: usize, failed: Option<Status>, then: AfterFlush },
    /// The data of an admin command, or of Connect, from the host.
    AdminData,
    /// Memory: the command, whose data are this many bytes, starts again from the beginning.
    Memory { len: u32 },
}

/// What the flushes of several namespaces were for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AfterFlush {
    /// A Flush command with the broadcast namespace.
    Answer,
    /// A shutdown of the controller.
    Shutdown,
}

/// A write or compare whose data are fetched.
#[derive(Debug)]
pub(super) struct Transfer {
    pub(super) namespace: Arc<Namespace>,
    pub(super) slba: u64,
    pub(super) total: u32,
    pub(super) fua: bool,
    pub(super) compare: bool,
    /// Where the next fetch begins.
    pub(super) next: u32,
    pub(super) fetching: u16,
    pub(super) storing: u16,
    /// It is in its queue's list of those that wait for memory.
    pub(super) waiting: bool,
    pub(super) failed: Option<Status>,
}

impl Transfer {
    /// Whether nothing of it is under way.
    pub(super) fn idle(&self) -> bool {
        self.fetching == 0 && self.storing == 0
    }
}

/// The slab.
#[derive(Debug, Default)]
pub(super) struct Ops {
    entries: Vec<Option<Op>>,
    free: Vec<u32>,
}

impl Ops {
    /// The index that the next [`Ops::insert`] will give.
    pub(super) fn next(&self) -> u32 {
        self.free.last().copied().unwrap_or(self.entries.len() as u32)
    }

    pub(super) fn insert(&mut self, op: Op) -> u32 {
        match self.free.pop() {
            Some(index) => {
                self.entries[index as usize] = Some(op);
                index
            }
            None => {
                self.entries.push(Some(op));
                (self.entries.len() - 1) as u32
            }
        }
    }

    pub(super) fn get(&self, index: u32) -> Option<&Op> {
        self.entries.get(index as usize)?.as_ref()
    }

    pub(super) fn get_mut(&mut self, index: u32) -> Option<&mut Op> {
        self.entries.get_mut(index as usize)?.as_mut()
    }

    pub(super) fn remove(&mut self, index: u32) -> Option<Op> {
        let op = self.entries.get_mut(index as usize)?.take()?;
        self.free.push(index);
        Some(op)
    }

    /// The commands of one queue, with their index.
    pub(super) fn of(&self, queue: QueueId) -> impl Iterator<Item = (u32, &Op)> {
        let all = self.entries.iter().enumerate();
        all.filter_map(move |(index, op)| Some((index as u32, op.as_ref().filter(|op| op.queue() == queue)?)))
    }
}
