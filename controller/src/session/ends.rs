//! How queues and commands end before their time: connections that close, associations that end, Abort, draining.

use nvmf_transport::{Close, CloseReason, ControllerEngine, Gather, QueueId};
use nvmf_wire::{Cid, Status};

use super::{
    Session, ops,
    queue::{Queue, Role, answer},
    transfer,
};

impl Session {
    /// An operation ended for a queue that is gone.
    pub(super) fn linger(&mut self, index: u32) {
        let Some(id) = self.ops.get(index).map(ops::Op::queue) else {
            return;
        };
        let Some(at) = self.lingering.iter().position(|queue| queue.id == id) else {
            return;
        };
        transfer::forget_finished(&mut self.lingering[at], &mut self.ops, index);
        if self.lingering[at].outstanding == 0 {
            let queue = self.lingering.swap_remove(at);
            Self::leave(&queue);
        }
    }

    pub(super) fn closed(&mut self, id: QueueId, reason: &CloseReason) {
        let slot =
            self.queues.get_mut(id.slot()).filter(|slot| slot.as_ref().is_some_and(|queue| queue.id == id));
        let Some(mut queue) = slot.and_then(Option::take) else {
            return;
        };
        let peer = queue.info.peer;
        match &queue.role {
            Role::Fresh(_) => tracing::debug!(%peer, %reason, "connection ended before Connect"),
            Role::Io(io) => {
                tracing::debug!(%peer, qid = io.qid, cntlid = io.association.cntlid, %reason, "I/O queue ended");
            }
            Role::Admin(admin) => admin.association.end(&format!("the admin queue ended: {reason}")),
        }
        // All fetches have ended; what is left is with a backend, or nowhere.
        let idle: Vec<u32> =
            self.ops.of(id).filter(|(_, op)| transfer::with_host_only(op)).map(|(index, _)| index).collect();
        for index in idle {
            queue.release(&mut self.ops, index);
        }
        queue.waiting.clear();
        if queue.outstanding > 0 {
            self.lingering.push(*queue);
        } else {
            Self::leave(&queue);
        }
    }

    /// Nothing is left of a queue.
    pub(super) fn leave(queue: &Queue) {
        if let Role::Io(io) = &queue.role {
            io.subsystem.account.close(&io.counters);
            io.association.leave(io.qid, &io.address);
        }
    }

    pub(super) fn close(&mut self, engine: &mut dyn ControllerEngine, id: QueueId, how: Close) {
        let queue =
            self.queues.get_mut(id.slot()).and_then(Option::as_deref_mut).filter(|queue| queue.id == id);
        let Some(queue) = queue else { return };
        queue.closing = true;
        engine.close(id, how);
    }

    /// Ends a command of a queue early, if it only waits here; otherwise it goes no further than it has to.
    pub(super) fn abort(&mut self, engine: &mut dyn ControllerEngine, id: QueueId, cid: Cid) -> bool {
        let Some((queue, tools)) = self.parts(engine, id) else {
            return false;
        };
        let Some(index) = tools.ops.of(id).find(|(_, op)| op.sqe.cid() == cid).map(|(index, _)| index) else {
            return false;
        };
        if let Some(at) = queue.waiting.iter().position(|&waiting| waiting == index) {
            queue.waiting.remove(at);
            if let Some(op) = queue.release(tools.ops, index) {
                answer(tools.engine, &queue.sq, op.request, Status::ABORT_REQUESTED, 0, Gather::new());
                return true;
            }
        }
        if let Some(op) = tools.ops.get_mut(index) {
            op.aborted = true;
        }
        false
    }

    pub(super) fn drain_queues(&mut self, engine: &mut dyn ControllerEngine) {
        let idle = |queue: &&mut Box<Queue>| {
            let first = match &queue.role {
                // The end of the admin queue would end the I/O queues before their answers have left.
                Role::Admin(admin) => admin.association.lock().open_io_queues() > 0,
                Role::Fresh(_) | Role::Io(_) => false,
            };
            !queue.closing && queue.outstanding == 0 && !first
        };
        for queue in self.queues.iter_mut().flatten().filter(idle) {
            queue.closing = true;
            engine.close(queue.id, Close::AfterFlush);
        }
    }
}

/// The engine is gone with all its queues: so are the associations of admin queues, and I/O queues leave theirs.
impl Drop for Session {
    fn drop(&mut self) {
        let queues: Vec<QueueId> = self.queues.iter().flatten().map(|queue| queue.id).collect();
        queues.into_iter().for_each(|id| self.closed(id, &CloseReason::Requested));
        self.lingering.drain(..).for_each(|queue| Self::leave(&queue));
    }
}
