//! Commands that are overdue: first an Abort for the one, then a reset of the association (NVMe Base 2.0 §5.1).

use std::time::{Duration, Instant};

use nvmf_transport::{Data, QueueKind};
use nvmf_wire::{Cqe, admin::Abort};

use super::{
    Association, Cx, Internal, Phase, internal,
    slots::{Lane, Owner, Place},
};
use crate::{ConnectError, ConnectErrorKind, Stage};

/// When no further Abort may be sent (ACL), a command that waits for one is looked at again after this long.
const ABORT_QUEUE_DELAY: Duration = Duration::from_millis(100);

impl Association {
    /// Looks through the commands once the earliest deadline known has passed. In the steady state that deadline is of a
    /// command long gone, so the look happens about once per timeout.
    pub(super) fn check_deadlines(&mut self, cx: &mut Cx<'_>) {
        if self.check_at.is_none_or(|at| at > cx.now) {
            return;
        }
        let mut overdue = Vec::new();
        let mut earliest: Option<Instant> = None;
        for (index, slot) in self.slots.iter() {
            let Some(deadline) = slot.deadline else { continue };
            if deadline <= cx.now {
                overdue.push(index);
            } else {
                earliest = Some(earliest.map_or(deadline, |at| at.min(deadline)));
            }
        }
        self.check_at = earliest;
        for index in overdue {
            self.overdue(cx, index);
        }
    }

    fn overdue(&mut self, cx: &mut Cx<'_>, index: u32) {
        let abort_limit = self.info.as_ref().map_or(1, |info| info.abort_limit);
        let cookie = self.slots.cookie(index);
        let Some(slot) = self.slots.get_mut(index) else {
            return;
        };
        let Place::Flying { lane, cid } = slot.place else {
            return;
        };
        if let Owner::Internal(what) = slot.owner {
            slot.deadline = None;
            return self.internal_overdue(cx, what);
        }
        if slot.aborting {
            slot.deadline = None;
            let error = ConnectError::new(
                Stage::Ready,
                ConnectErrorKind::AbortTimedOut,
                format!(
                    "command {cid} (opcode {:02X}h) was not answered, nor was its abort effective",
                    slot.sqe.opcode
                ),
            );
            return self.lose(cx, error);
        }
        let wait = if self.aborts < abort_limit {
            slot.aborting = true;
            self.options.abort_timeout
        } else {
            ABORT_QUEUE_DELAY
        };
        let deadline = cx.now + wait;
        slot.deadline = Some(deadline);
        let abort = slot.aborting;
        self.check_at = Some(self.check_at.map_or(deadline, |at| at.min(deadline)));
        if abort {
            let sqid = self.queues.get(lane).map_or(0, |queue| queue.kind.qid());
            tracing::warn!(%cid, sqid, "a command was not answered in time; aborting it");
            self.aborts += 1;
            let sqe = Abort { sqid, cid }.to_sqe();
            self.internal(
                cx,
                Lane::Admin,
                Internal::Abort(cookie),
                sqe,
                Data::None,
                Some(self.options.abort_timeout),
            );
        }
    }

    fn internal_overdue(&mut self, cx: &mut Cx<'_>, what: Internal) {
        // The end of the association has a bound of its own.
        if matches!(self.phase, Phase::Closing(_)) {
            return;
        }
        let stage = self.stage_of(what);
        let (kind, detail) = match what {
            Internal::Abort(_) => (ConnectErrorKind::AbortTimedOut, "an Abort was not answered".to_owned()),
            what => (ConnectErrorKind::CommandTimedOut, format!("no answer to {}", internal::name(what))),
        };
        let mut error = ConnectError::new(stage, kind, detail);
        if let Internal::Connect(lane @ Lane::Io(_)) = what
            && let Some(queue) = self.queues.get(lane)
        {
            error = error.on(queue.kind);
        }
        self.lose(cx, error);
    }

    pub(super) fn on_abort_answered(&mut self, cookie: u64, cqe: Cqe) {
        self.aborts = self.aborts.saturating_sub(1);
        let alive = self.slots.index(cookie).is_some();
        tracing::debug!(status = %cqe.status(), aborted = Abort::was_aborted(&cqe), alive, "Abort answered");
    }
}

/// The queue of a lane, for errors.
pub(super) fn on_queue(error: ConnectError, kind: Option<QueueKind>) -> ConnectError {
    match kind {
        Some(kind) => error.on(kind),
        None => error,
    }
}
