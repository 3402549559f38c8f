//! One poll: send what was posted, take in what has arrived, end what has lasted too long.

use std::{io, time::Instant};

use super::{
    Endpoint,
    pending::Outcome,
    poller::{Interest, Ready},
    socket,
    timer::Timer,
};
use crate::{event::Event, qp::Life};

/// Tokens of the poller: queue pairs by slot, and with a bit above that pending connections and listeners.
pub(super) const PENDING: u32 = 1 << 30;
pub(super) const LISTENER: u32 = 1 << 31;

/// Up to this many queue pairs, the busy ones are read without asking the poller.
const DIRECT_QUEUES: u32 = 4;

/// Fruitless direct reads after which a connection does not count as busy any more.
const BUSY: u16 = 256;

/// Passes in a row that may go without asking the poller, so that nobody waits for long.
const PASSES_BETWEEN_POLLS: u32 = 8;

impl Endpoint {
    /// Does what was asked for and what has become possible, and appends what happened to `events`. Does not wait.
    pub fn poll(&mut self, now: Instant, events: &mut Vec<Event>) -> io::Result<()> {
        self.last_poll = Some(now);
        self.look_at_adopted(events);
        self.work_off(now, events);
        self.read_busy(now, events);
        let mut polled = Ok(());
        if self.passes == 0 {
            let mut ready = std::mem::take(&mut self.ready);
            polled = self.poller.ready(&mut ready);
            for ready in ready.drain(..) {
                self.deal_with(ready, now, events);
            }
            self.ready = ready;
        }
        if self.timer.is_some_and(|at| at <= now) {
            self.expire(now, events);
        }
        self.work_off(now, events);
        polled.map_err(io::Error::from)
    }

    /// Sends for every queue pair that has something to send, and ends those that have ended.
    #[inline]
    fn work_off(&mut self, now: Instant, events: &mut Vec<Event>) {
        if self.work.is_empty() {
            return;
        }
        std::mem::swap(&mut self.work, &mut self.doing);
        let mut doing = std::mem::take(&mut self.doing);
        for slot in doing.drain(..) {
            let Some(stream) = self.streams.at(slot) else { continue };
            stream.working = false;
            if !stream.connecting && stream.flush(now, &self.config, &mut self.domain, events) {
                self.touch(slot);
            }
            self.settle(slot, now);
        }
        self.doing = doing;
    }

    /// Reads the busy queue pairs, and decides whether to ask the poller in this pass.
    #[inline]
    fn read_busy(&mut self, now: Instant, events: &mut Vec<Event>) {
        self.passes += 1;
        if self.streams.len() > DIRECT_QUEUES as usize
            || self.listeners.len() + self.pending.len() > DIRECT_QUEUES as usize
        {
            self.passes = 0;
            return;
        }
        let (mut tried, mut hit, mut blocked) = (false, false, false);
        for slot in 0..self.streams.slots() {
            let Some(stream) = self.streams.at(slot) else { continue };
            blocked |= stream.blocked;
            if stream.busy == 0 || stream.connecting {
                continue;
            }
            tried = true;
            if stream.receive(&mut self.scratch, &mut self.domain, events) {
                hit = true;
                stream.busy = BUSY;
                self.touch(slot);
                self.settle(slot, now);
            } else {
                stream.busy -= 1;
            }
        }
        // Whoever spins polls often: a fruitless pass asks the poller only now and then as well.
        let limit = if hit { PASSES_BETWEEN_POLLS } else { PASSES_BETWEEN_POLLS / 2 };
        if !tried || blocked || self.passes >= limit {
            self.passes = 0;
        }
    }

    fn deal_with(&mut self, ready: Ready, now: Instant, events: &mut Vec<Event>) {
        let slot = ready.token & !(PENDING | LISTENER);
        if ready.token & LISTENER != 0 {
            return self.accept_some(slot, events);
        }
        if ready.token & PENDING != 0 {
            return self.read_pending(slot, events);
        }
        let Some(stream) = self.streams.at(slot) else { return };
        if stream.connecting {
            if ready.write {
                self.connected(slot, events);
                self.touch(slot);
            }
            return;
        }
        if ready.read && stream.receive(&mut self.scratch, &mut self.domain, events) {
            stream.busy = BUSY;
        }
        if ready.write {
            stream.blocked = false;
        }
        self.touch(slot);
        self.settle(slot, now);
    }

    /// TCP has connected, or not.
    fn connected(&mut self, slot: u32, events: &mut Vec<Event>) {
        let Some(stream) = self.streams.at(slot) else { return };
        let Some(fd) = &stream.socket else { return };
        stream.connecting = false;
        match socket::connected(fd).and_then(|()| socket::addresses(fd)) {
            Ok((local, peer)) => {
                stream.qp.set_addresses(local, peer);
                stream.limit = Timer::Starting(self.config.handshake_timeout);
            }
            // Reported for a socket that had this place before.
            Err(error) if error.kind() == io::ErrorKind::NotConnected => stream.connecting = true,
            Err(error) => stream.qp.failed(error, &self.domain, events),
        }
    }

    /// Draws the consequences of what has just happened to a queue pair.
    #[inline]
    fn settle(&mut self, slot: u32, now: Instant) {
        let Some(stream) = self.streams.at(slot) else { return };
        if stream.qp.life() == Life::Over
            && let Some(socket) = &stream.socket
        {
            // Closing the socket takes it out of the poller as well, unless it has been duplicated.
            let _ = self.poller.remove(socket);
        }
        stream.settle(&self.config);
        if stream.destroyed && (stream.is_over() || stream.qp.life() == Life::Idle) {
            self.streams.remove(slot);
            return;
        }
        if let Some(deadline) = stream.deadline(now)
            && self.timer.is_none_or(|at| deadline < at)
        {
            self.timer = Some(deadline);
        }
        let interest = match (stream.connecting, stream.blocked) {
            (true, _) => Interest::Write,
            (false, true) => Interest::Both,
            (false, false) => Interest::Read,
        };
        if interest != stream.interest
            && let Some(socket) = &stream.socket
        {
            stream.interest = interest;
            // Cannot fail for a socket that is watched.
            let _ = self.poller.modify(socket, slot, interest);
        }
    }

    /// Ends everything that has been waited for long enough.
    #[cold]
    fn expire(&mut self, now: Instant, events: &mut Vec<Event>) {
        self.timer = None;
        // Deadlines are far apart and rare: looking at all is cheaper than keeping them sorted.
        for slot in 0..self.streams.slots() {
            let Some(stream) = self.streams.at(slot) else { continue };
            if stream.deadline(now).is_some_and(|at| at <= now) {
                stream.expire(now, &self.domain, events);
                self.touch(slot);
            }
            self.settle(slot, now);
        }
        for slot in 0..self.pending.slots() {
            let Some(pending) = self.pending.at(slot) else { continue };
            let at = pending.limit.arm(now);
            if pending.expired(now) {
                self.pending_outcome(slot, Outcome::Gone, events);
            } else if let Some(at) = at {
                self.timer = Some(self.timer.map_or(at, |timer| timer.min(at)));
            }
        }
    }
}
