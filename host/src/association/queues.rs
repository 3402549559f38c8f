//! The queues of the association: which is which, how much each may hold, how much it does.

use std::collections::HashMap;

use nvmf_transport::{QueueId, QueueInfo, QueueKind};

use super::slots::Lane;

/// Commands of the admin queue kept free for the association itself: events, keep-alive, aborts, scans.
pub(super) const ADMIN_RESERVE: u16 = 16;

#[derive(Debug)]
pub(super) struct Queue {
    pub(super) id: QueueId,
    pub(super) kind: QueueKind,
    /// Entries of its submission queue.
    pub(super) depth: u16,
    /// Commands it may hold; less than its depth, because a controller may treat more as a fatal error
    /// (NVMe-oF 1.1 §2.4.1).
    pub(super) limit: u16,
    /// Commands it holds.
    pub(super) flying: u16,
    /// Data one command of it may move.
    pub(super) max_transfer: u32,
    pub(super) sq_flow_control: bool,
    /// Whether its Connect command has succeeded.
    pub(super) connected: bool,
    pub(super) info: Option<Box<QueueInfo>>,
}

impl Queue {
    pub(super) fn new(id: QueueId, kind: QueueKind, depth: u16) -> Self {
        Self {
            id,
            kind,
            depth,
            limit: depth.saturating_sub(1).max(1),
            flying: 0,
            max_transfer: 4096,
            sq_flow_control: true,
            connected: false,
            info: None,
        }
    }

    pub(super) fn has_room(&self) -> bool {
        self.flying < self.limit
    }
}

#[derive(Debug, Default)]
pub(super) struct Queues {
    pub(super) admin: Option<Queue>,
    pub(super) io: Vec<Queue>,
    /// The queues that have not closed. By name and not by slot: an engine may give the slot of a queue that has ended to a
    /// new one before we have seen the end.
    lanes: HashMap<QueueId, Lane>,
    turn: usize,
}

impl Queues {
    pub(super) fn add(&mut self, queue: Queue) -> Lane {
        let lane = match queue.kind {
            QueueKind::Admin => Lane::Admin,
            QueueKind::Io(_) => Lane::Io(self.io.len() as u16),
        };
        self.lanes.insert(queue.id, lane);
        match lane {
            Lane::Admin => self.admin = Some(queue),
            Lane::Io(_) => self.io.push(queue),
        }
        lane
    }

    pub(super) fn lane(&self, id: QueueId) -> Option<Lane> {
        self.lanes.get(&id).copied()
    }

    pub(super) fn get(&self, lane: Lane) -> Option<&Queue> {
        match lane {
            Lane::Admin => self.admin.as_ref(),
            Lane::Io(index) => self.io.get(usize::from(index)),
        }
    }

    pub(super) fn get_mut(&mut self, lane: Lane) -> Option<&mut Queue> {
        match lane {
            Lane::Admin => self.admin.as_mut(),
            Lane::Io(index) => self.io.get_mut(usize::from(index)),
        }
    }

    /// Notes that a queue has closed. The queues themselves stay listed until all have, so that places keep their meaning.
    pub(super) fn closed(&mut self, id: QueueId) -> Option<Lane> {
        let lane = self.lanes.remove(&id)?;
        if self.lanes.is_empty() {
            self.admin = None;
            self.io.clear();
        }
        Some(lane)
    }

    pub(super) fn forget_all(&mut self) {
        self.lanes.clear();
        self.admin = None;
        self.io.clear();
    }

    pub(super) fn any_open(&self) -> bool {
        !self.lanes.is_empty()
    }

    /// The names of all queues that have not closed.
    pub(super) fn open_ids(&self) -> impl Iterator<Item = QueueId> + '_ {
        self.lanes.keys().copied()
    }

    /// An I/O queue with room: the preferred one if it has some, or the next in turn.
    pub(super) fn choose(&mut self, hint: Option<u16>) -> Option<u16> {
        let count = self.io.len();
        let start = match hint {
            Some(hint) => usize::from(hint).checked_rem(count)?,
            None => {
                self.turn = self.turn.wrapping_add(1);
                self.turn.checked_rem(count)?
            }
        };
        (start..count)
            .chain(0..start)
            .find(|&at| self.io.get(at).is_some_and(Queue::has_room))
            .map(|at| at as u16)
    }

    /// The most data one I/O command may move, whichever queue it takes.
    pub(super) fn max_transfer(&self) -> u32 {
        self.io.iter().map(|queue| queue.max_transfer).min().unwrap_or(4096)
    }
}
