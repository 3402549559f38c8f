//! Moves requests: from the backlog to a queue with room, from a completion to the caller, and back when a retry is due.
//!
//! The steady state of an I/O is one slot, one call of the engine and one event; nothing here allocates for it.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use nvmf_transport::{Command, Data, Misuse, Refused};

use super::{
    Answer, Association, Cx, Phase,
    queues::ADMIN_RESERVE,
    retry::{self, Verdict},
    slots::{Lane, Owner, Place, Shape, Slot},
};
use crate::{Done, IoError, Outcome};

/// Something waiting for a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Waiting {
    Slot(u32),
    Split(u32),
}

#[derive(Debug, Default)]
pub(super) struct Backlog {
    pub(super) admin: VecDeque<u32>,
    pub(super) io: VecDeque<Waiting>,
    /// Retries, few: each with when it is due, and whether it is for the admin queue.
    delayed: Vec<(Instant, bool, u32)>,
}

impl Backlog {
    pub(super) fn next_retry(&self) -> Option<Instant> {
        self.delayed.iter().map(|(at, ..)| *at).min()
    }

    /// Moves retries whose time has come to the front.
    pub(super) fn due(&mut self, now: Instant) {
        while let Some(position) = self.delayed.iter().position(|(at, ..)| *at <= now) {
            let (_, admin, index) = self.delayed.swap_remove(position);
            if admin {
                self.admin.push_front(index);
            } else {
                self.io.push_front(Waiting::Slot(index));
            }
        }
    }

    /// Takes what waits for an I/O queue out, retries included.
    pub(super) fn take_io(&mut self) -> Vec<Waiting> {
        let mut taken: Vec<Waiting> = self.io.drain(..).collect();
        self.delayed.retain(|&(_, admin, index)| {
            if !admin {
                taken.push(Waiting::Slot(index));
            }
            admin
        });
        taken
    }

    /// Takes everything out.
    pub(super) fn take_all(&mut self) -> Vec<Waiting> {
        let delayed = self.delayed.drain(..).map(|(_, _, index)| Waiting::Slot(index));
        self.admin.drain(..).map(Waiting::Slot).chain(self.io.drain(..)).chain(delayed).collect()
    }
}

impl Association {
    /// Gives waiting requests to queues with room.
    pub(super) fn pump(&mut self, cx: &mut Cx<'_>) {
        if !matches!(self.phase, Phase::Live) && !self.is_quiescing() {
            return;
        }
        while let Some(&next) = self.backlog.io.front() {
            let hint = match next {
                Waiting::Slot(index) => self.slots.get(index).and_then(|slot| slot.hint),
                Waiting::Split(index) => self.splits.get(index).and_then(|split| split.hint),
            };
            let Some(queue) = self.queues.choose(hint) else {
                break;
            };
            let lane = Lane::Io(queue);
            match next {
                Waiting::Slot(index) => {
                    self.backlog.io.pop_front();
                    if !self.launch_waiting(cx, lane, index) {
                        break;
                    }
                }
                Waiting::Split(index) => {
                    let slot = self.carve(lane, index);
                    if self.splits.is_carved(index) {
                        self.backlog.io.pop_front();
                    }
                    if slot.is_some_and(|slot| !self.launch_waiting(cx, lane, slot)) {
                        break;
                    }
                }
            }
        }
        while let Some(&index) = self.backlog.admin.front() {
            let room =
                self.queues.admin.as_ref().is_some_and(|q| q.flying.saturating_add(ADMIN_RESERVE) < q.limit);
            if !room {
                break;
            }
            self.backlog.admin.pop_front();
            if !self.launch_waiting(cx, Lane::Admin, index) {
                break;
            }
        }
    }

    /// Makes the next part of a split a command.
    fn carve(&mut self, lane: Lane, index: u32) -> Option<u32> {
        let max = self.queues.get(lane)?.max_transfer;
        let (sequence, replay, hint) = self.splits.get(index).map(|s| (s.sequence, s.replay, s.hint))?;
        let part = self.splits.carve(index, max)?;
        Some(self.slots.insert(Slot {
            owner: Owner::Part { split: index, part: part.part },
            sqe: part.sqe,
            data: part.data,
            place: Place::Waiting,
            shape: part.shape,
            sequence,
            deadline: None,
            replay,
            aborting: false,
            attempts: 0,
            hint,
            admin: false,
        }))
    }

    /// Launches a request that waits. Answers whether the queue took it; if it did not, the request waits on, or has ended.
    pub(super) fn launch_waiting(&mut self, cx: &mut Cx<'_>, lane: Lane, index: u32) -> bool {
        let Some(slot) = self.slots.get_mut(index) else {
            return true;
        };
        let data = std::mem::take(&mut slot.data);
        let timeout =
            if lane == Lane::Admin { self.options.admin_timeout } else { self.options.command_timeout };
        match self.launch(cx, lane, index, data, Some(timeout)) {
            Ok(()) => true,
            Err((why @ (Misuse::DataLength | Misuse::Parameter), data)) => {
                self.finish(index, Err(IoError::Refused(why)), data);
                true
            }
            Err((why, data)) => {
                if let Some(slot) = self.slots.get_mut(index) {
                    slot.data = data;
                }
                match lane {
                    Lane::Admin => self.backlog.admin.push_front(index),
                    Lane::Io(_) => self.backlog.io.push_front(Waiting::Slot(index)),
                }
                if why == Misuse::QueueFull
                    && let Some(queue) = self.queues.get_mut(lane)
                    && queue.flying > 0
                {
                    // The transport holds fewer than we thought: now we know.
                    queue.limit = queue.flying;
                }
                false
            }
        }
    }

    /// Gives a command to the engine.
    pub(super) fn launch(
        &mut self,
        cx: &mut Cx<'_>,
        lane: Lane,
        index: u32,
        data: Data,
        timeout: Option<Duration>,
    ) -> Result<(), (Misuse, Data)> {
        let cookie = self.slots.cookie(index);
        let (Some(queue), Some(slot)) = (self.queues.get_mut(lane), self.slots.get_mut(index)) else {
            return Err((Misuse::UnknownQueue, data));
        };
        self.asked = true;
        match cx.engine.submit(queue.id, Command { sqe: slot.sqe, data, cookie }) {
            Ok(cid) => {
                queue.flying += 1;
                slot.place = Place::Flying { lane, cid };
                slot.deadline = timeout.and_then(|timeout| cx.now.checked_add(timeout));
                self.check_at = match (self.check_at, slot.deadline) {
                    (Some(at), Some(deadline)) => Some(at.min(deadline)),
                    (at, deadline) => at.or(deadline),
                };
                self.keep_alive.sent(cx.now);
                Ok(())
            }
            Err(Refused { given_back, why }) => Err((why, given_back.data)),
        }
    }

    /// Notes that a command is not with the engine any more.
    fn landed(&mut self, index: u32) {
        if let Some(slot) = self.slots.get_mut(index) {
            if let Place::Flying { lane, .. } = slot.place
                && let Some(queue) = self.queues.get_mut(lane)
            {
                queue.flying = queue.flying.saturating_sub(1);
            }
            slot.place = Place::Waiting;
            slot.deadline = None;
        }
    }

    pub(super) fn on_completed(&mut self, cx: &mut Cx<'_>, cookie: u64, answer: Answer, data: Data) {
        self.keep_alive.heard(cx.now);
        let Some(index) = self.slots.index(cookie) else {
            return;
        };
        self.landed(index);
        let Some(slot) = self.slots.get(index) else { return };
        if let Owner::Internal(what) = slot.owner {
            self.slots.end(index);
            return self.on_internal(cx, what, answer, data);
        }
        let status = answer.cqe.status();
        if !status.is_success() {
            return self.on_failed(cx, index, status, data);
        }
        let result = match &data {
            // A command of blocks moves all of its data or fails; a raw one may return less.
            Data::FromController(buffer)
                if slot.shape != Shape::Whole && answer.transferred as usize != buffer.len() =>
            {
                Err(IoError::ShortData { expected: buffer.len() as u32, transferred: answer.transferred })
            }
            _ => Ok(Outcome { result: answer.cqe.u64(), transferred: u64::from(answer.transferred) }),
        };
        self.finish(index, result, data);
    }

    /// A request's command ended with an error status: retry it or report it.
    fn on_failed(&mut self, cx: &mut Cx<'_>, index: u32, status: nvmf_wire::Status, data: Data) {
        let Some(slot) = self.slots.get_mut(index) else {
            return;
        };
        if slot.aborting && status.is(nvmf_wire::Status::ABORT_REQUESTED) {
            return self.finish(index, Err(IoError::Timeout), data);
        }
        let delays = self.info.as_ref().map(|info| info.retry_delays).unwrap_or_default();
        match retry::verdict(status, slot.attempts, slot.replay, &self.options, delays) {
            Verdict::Report => self.finish(index, Err(IoError::Status(status)), data),
            Verdict::Retry { after } => {
                slot.attempts += 1;
                slot.aborting = false;
                slot.data = data;
                slot.place = Place::Delayed;
                self.backlog.delayed.push((cx.now + after, slot.admin, index));
                // An association that is ending has no time left for a retry.
                if let Some(error) = self.held_requests_fail() {
                    self.fail_held(error);
                }
            }
        }
    }

    /// A command came back from a queue that ended.
    pub(super) fn on_aborted(&mut self, cookie: u64, data: Data) {
        let Some(index) = self.slots.index(cookie) else {
            return;
        };
        self.landed(index);
        let Some(slot) = self.slots.get_mut(index) else {
            return;
        };
        if let Owner::Internal(_) = slot.owner {
            self.slots.end(index);
            return;
        }
        if !slot.replay {
            return self.finish(index, Err(IoError::Disconnected), data);
        }
        // A command that was overdue when the association was reset is not tried for ever.
        if slot.aborting {
            slot.attempts = slot.attempts.saturating_add(1);
            if slot.attempts > self.options.retries {
                return self.finish(index, Err(IoError::Timeout), data);
            }
        }
        slot.aborting = false;
        slot.data = data;
        self.wait(Waiting::Slot(index));
        if let Some(error) = self.held_requests_fail() {
            self.fail_held(error);
        }
    }

    /// Ends a command: tells the caller, or joins the part to its request.
    pub(super) fn finish(&mut self, index: u32, result: Result<Outcome, IoError>, data: Data) {
        if let Some(owner) = self.slots.end(index) {
            self.end_owner(owner, result, data);
        }
    }

    pub(super) fn end_owner(&mut self, owner: Owner, result: Result<Outcome, IoError>, data: Data) {
        let (mut owner, mut result, mut data) = (owner, result, data);
        loop {
            match owner {
                Owner::User(user) => return self.done.push(Done { user, result, data }),
                Owner::Internal(_) => return,
                Owner::Part { split, part } => {
                    let failed = result.is_err();
                    let ended = self.splits.part_ended(split, part, result, data);
                    if failed {
                        self.backlog.io.retain(|waiting| *waiting != Waiting::Split(split));
                    }
                    let Some(joined) = ended else { return };
                    (owner, result, data) = (joined.owner, joined.result, joined.data);
                }
            }
        }
    }

    /// Puts something at the end of its backlog.
    pub(super) fn wait(&mut self, waiting: Waiting) {
        match waiting {
            Waiting::Slot(index) => {
                let Some(slot) = self.slots.get_mut(index) else {
                    return;
                };
                slot.place = Place::Waiting;
                if slot.admin {
                    self.backlog.admin.push_back(index);
                } else {
                    self.backlog.io.push_back(waiting);
                }
            }
            Waiting::Split(_) => self.backlog.io.push_back(waiting),
        }
    }

    /// Ends every request that is not with the engine.
    pub(super) fn fail_held(&mut self, error: IoError) {
        for waiting in self.backlog.take_all() {
            self.fail_waiting(waiting, error);
        }
    }

    /// Ends something that was taken out of the backlog.
    pub(super) fn fail_waiting(&mut self, waiting: Waiting, error: IoError) {
        match waiting {
            Waiting::Slot(index) => {
                let data =
                    self.slots.get_mut(index).map(|slot| std::mem::take(&mut slot.data)).unwrap_or_default();
                self.finish(index, Err(error), data);
            }
            Waiting::Split(index) => {
                if let Some(joined) = self.splits.fail(index, error) {
                    self.end_owner(joined.owner, joined.result, joined.data);
                }
            }
        }
    }
}
