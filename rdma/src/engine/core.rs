//! The part of an engine that does not depend on the role.
//!
//! A pass: post what was asked for, let the provider move, hand out what the connection manager says, take completions until
//! there are none, end what has ended, post what came of all that. An end is looked at after the completions, because what
//! arrived before it counts.
#![allow(unsafe_code, reason = "posts work requests; the connections keep the memory they name")]

use std::{net::SocketAddr, os::fd::BorrowedFd, sync::Arc, time::Instant};

use nvmf_transport::{
    Close, Error, ErrorKind, Limits, Memory, Misuse, QueueId, QueueInfo, QueueSettings, Queues,
};

use super::connection::Connection;
use crate::{
    config::RdmaConfig,
    conn::{Life, Staging},
    verbs::{CmEvent, Completion, ConnId, Depths, Device, Ending, RecvRequest, SendRequest, Verbs},
};

/// Completions taken by one call, and calls in one pass.
const BATCH: usize = 64;
const BATCHES: usize = 32;

pub(super) struct Core<V: Verbs, C: Connection> {
    pub(super) config: Arc<RdmaConfig>,
    pub(super) verbs: V,
    pub(super) staging: Arc<Staging>,
    pub(super) queues: Queues<Entry<C>>,
    data_path: &'static str,
    /// Before a device is known.
    limits: Limits,
    /// Queues by the slot of their connection.
    by_conn: Vec<Option<(u32, QueueId)>>,
    /// Queues with something to post or to end. Each is named once.
    work: Vec<QueueId>,
    doing: Vec<QueueId>,
    events: Vec<CmEvent>,
    endings: Vec<CmEvent>,
    completions: Box<[Completion; BATCH]>,
    receives: Vec<RecvRequest>,
    sends: Vec<SendRequest>,
    /// No later than the earliest deadline of any queue.
    timer: Option<Instant>,
    /// Whether the last pass left something undone.
    again: bool,
    last_poll: Instant,
}

/// One connection, which is one queue.
// spec: RDMA-QUE-11
pub(super) struct Entry<C: Connection> {
    pub(super) conn: C,
    pub(super) id: ConnId,
    pub(super) limits: Limits,
    pub(super) addresses: (SocketAddr, SocketAddr),
    pub(super) device: Option<Device>,
    /// Whether the caller has been told that the queue is up.
    pub(super) announced: bool,
    working: bool,
}

impl<V: Verbs, C: Connection> Core<V, C> {
    pub(super) fn new(config: Arc<RdmaConfig>, verbs: V, limits: Limits, data_path: &'static str) -> Self {
        #[expect(clippy::disallowed_methods, reason = "a driver; the first poll replaces it")]
        let last_poll = Instant::now();
        Self {
            config,
            staging: Arc::new(Staging::new(verbs.memory())),
            verbs,
            queues: Queues::default(),
            data_path,
            limits,
            by_conn: Vec::new(),
            work: Vec::new(),
            doing: Vec::new(),
            events: Vec::new(),
            endings: Vec::new(),
            completions: Box::new([Completion::default(); BATCH]),
            receives: Vec::new(),
            sends: Vec::new(),
            timer: None,
            again: false,
            last_poll,
        }
    }

    pub(super) fn memory(&self) -> Arc<dyn Memory> {
        Arc::clone(self.staging.memory())
    }

    /// Adds a connection. `make` builds it, knowing its name.
    pub(super) fn insert(
        &mut self,
        id: ConnId,
        addresses: (SocketAddr, SocketAddr),
        make: impl FnOnce(QueueId) -> C,
    ) -> QueueId {
        let limits = self.limits.clone();
        let queue = self.queues.insert_with(|queue| Entry {
            conn: make(queue),
            id,
            limits,
            addresses,
            device: None,
            announced: false,
            working: false,
        });
        let slot = id.slot as usize;
        if self.by_conn.len() <= slot {
            self.by_conn.resize(slot + 1, None);
        }
        self.by_conn[slot] = Some((id.generation, queue));
        self.touch(queue);
        queue
    }

    /// Drops a connection that has been destroyed and never came up.
    pub(super) fn forget(&mut self, conn: ConnId) {
        if let Some(queue) = self.queue_of(conn) {
            self.queues.remove(queue);
            self.by_conn[conn.slot as usize] = None;
        }
    }

    /// The queue of a connection.
    pub(super) fn queue_of(&self, conn: ConnId) -> Option<QueueId> {
        match self.by_conn.get(conn.slot as usize) {
            Some(&Some((generation, queue))) if generation == conn.generation => Some(queue),
            _ => None,
        }
    }

    /// Looks at a queue in this pass or the next.
    pub(super) fn touch(&mut self, queue: QueueId) {
        if let Some(entry) = self.queues.get_mut(queue)
            && !entry.working
        {
            entry.working = true;
            self.work.push(queue);
        }
    }

    /// A queue, which will be looked at, and the verbs beside it.
    pub(super) fn entry(&mut self, queue: QueueId) -> Option<(&mut Entry<C>, &mut V)> {
        self.touch(queue);
        Some((self.queues.get_mut(queue)?, &mut self.verbs))
    }

    pub(super) fn limits(&self, queue: QueueId) -> Option<&Limits> {
        self.queues.get(queue).map(|entry| &entry.limits)
    }

    pub(super) fn configure(&mut self, queue: QueueId, settings: &QueueSettings) -> Result<(), Misuse> {
        self.queues.get_mut(queue).ok_or(Misuse::UnknownQueue)?.conn.configure(settings)
    }

    pub(super) fn close(&mut self, queue: QueueId, how: Close) {
        if let Some((entry, _)) = self.entry(queue) {
            entry.conn.close(how);
        }
    }

    pub(super) fn wait_handle(&self) -> BorrowedFd<'_> {
        self.verbs.wait_handle()
    }

    pub(super) fn next_timeout(&self) -> Option<Instant> {
        if self.again || !self.work.is_empty() {
            return Some(self.last_poll);
        }
        self.timer.into_iter().chain(self.verbs.next_timeout()).min()
    }

    /// The first half of a pass: posts, and asks what has happened.
    pub(super) fn begin(&mut self, now: Instant, events: &mut Vec<C::Event>) -> Result<(), Error> {
        self.last_poll = now;
        self.again = false;
        self.work_off(now, events);
        let mut news = std::mem::take(&mut self.events);
        let moved = self.verbs.progress(now, &mut news);
        // In the order they came; what `next_event` takes is at the end.
        news.reverse();
        self.events = news;
        moved
    }

    /// What the connection manager said next, except for ends.
    pub(super) fn next_event(&mut self) -> Option<CmEvent> {
        loop {
            match self.events.pop()? {
                end @ (CmEvent::Disconnected { .. } | CmEvent::DeviceRemoved { .. }) => {
                    self.endings.push(end)
                }
                other => return Some(other),
            }
        }
    }

    /// The second half: completions, ends, timers, and what is to be posted because of them.
    pub(super) fn end(&mut self, now: Instant, events: &mut Vec<C::Event>) -> Result<(), Error> {
        let mut taken = self.complete(events)?;
        taken |= !self.endings.is_empty();
        for ending in std::mem::take(&mut self.endings) {
            self.ended(ending, now, events);
        }
        if self.timer.is_some_and(|at| at <= now) {
            self.expire(now, events);
        }
        taken |= !self.work.is_empty();
        self.work_off(now, events);
        self.verbs.flush(now)?;
        if !taken {
            self.again = self.verbs.arm()?;
        } else {
            // Whoever has just been served has probably more; arming is for when there is nothing.
            self.again = true;
        }
        Ok(())
    }

    /// Takes completions until there are none; whether there were any.
    fn complete(&mut self, events: &mut Vec<C::Event>) -> Result<bool, Error> {
        let mut any = false;
        let mut batches = 0;
        loop {
            let count = self.verbs.poll_cq(&mut self.completions[..])?.min(BATCH);
            for at in 0..count {
                let completion = self.completions[at];
                self.completed(&completion, events);
            }
            any |= count > 0;
            batches += 1;
            // Where an end waits, everything before it has to be seen.
            if count == 0 || (batches >= BATCHES && self.endings.is_empty()) {
                return Ok(any);
            }
        }
    }

    #[inline]
    fn completed(&mut self, completion: &Completion, events: &mut Vec<C::Event>) {
        let Some(queue) = self.queue_of(completion.conn) else { return };
        let Some(entry) = self.queues.get_mut(queue) else { return };
        let before = events.len();
        entry.conn.completed(completion, &mut self.verbs, events);
        if !entry.announced
            && let Some(negotiated) = entry.conn.take_established()
        {
            let up = self.announce(queue, negotiated);
            events.splice(before..before, up);
        }
        // What follows from it is looked at once for all completions of the pass.
        self.touch(queue);
    }

    fn ended(&mut self, ending: CmEvent, now: Instant, events: &mut Vec<C::Event>) {
        let Some(queue) = self.queue_of(ending.conn()) else { return };
        let Some(entry) = self.queues.get_mut(queue) else { return };
        match ending {
            CmEvent::Disconnected { ending, .. } => entry.conn.disconnected(ending),
            // spec: RDMA-ERR-04
            _ => {
                let name = entry.device.as_ref().map_or("the RDMA device", |device| device.name.as_str());
                let detail = format!("{name} was removed");
                entry.conn.disconnected(Ending::Failed(Error::new(
                    entry.conn.stage(),
                    ErrorKind::AcceleratorLost,
                    detail,
                )));
            }
        }
        self.settle(queue, now, events);
    }

    /// Posts for every queue that has something to post, and ends those that have ended.
    #[inline]
    fn work_off(&mut self, now: Instant, events: &mut Vec<C::Event>) {
        if self.work.is_empty() {
            return;
        }
        std::mem::swap(&mut self.work, &mut self.doing);
        let mut doing = std::mem::take(&mut self.doing);
        for queue in doing.drain(..) {
            if let Some(entry) = self.queues.get_mut(queue) {
                entry.working = false;
                self.post(queue);
                self.settle(queue, now, events);
            }
        }
        self.doing = doing;
    }

    /// Posts what a queue has: receives, then sends, each in one list.
    // spec: RDMA-QUE-09, RDMA-DAT-04
    pub(super) fn post(&mut self, queue: QueueId) {
        let Some(entry) = self.queues.get_mut(queue) else { return };
        if entry.conn.life() == Life::Over {
            return;
        }
        entry.conn.take_output(&mut self.receives, &mut self.sends);
        let mut posted = Ok(());
        if !self.receives.is_empty() {
            // SAFETY: a connection keeps the buffers of its receives until they complete, and it is dropped, or gives them
            // away, only after it has been destroyed (`end_queue`, `drop`).
            posted = unsafe { self.verbs.post_recv(entry.id, &self.receives) };
        }
        if posted.is_ok() && !self.sends.is_empty() {
            // SAFETY: as above; views and buffers of commands stay in their slots until their requests have completed.
            posted = unsafe { self.verbs.post_send(entry.id, &self.sends) };
        }
        self.receives.clear();
        self.sends.clear();
        if let Err(error) = posted {
            entry.conn.failed(error);
        }
    }

    /// Draws the consequences of what has just happened to a queue.
    #[inline]
    pub(super) fn settle(&mut self, queue: QueueId, now: Instant, events: &mut Vec<C::Event>) {
        let Some(entry) = self.queues.get_mut(queue) else { return };
        if !entry.announced
            && let Some(negotiated) = entry.conn.take_established()
        {
            let up = self.announce(queue, negotiated);
            events.extend(up);
        }
        let Some(entry) = self.queues.get_mut(queue) else { return };
        if entry.conn.settle() {
            self.verbs.disconnect(entry.id);
        }
        if entry.conn.life() == Life::Over {
            return self.end_queue(queue, events);
        }
        if let Some(deadline) = entry.conn.deadline(now)
            && self.timer.is_none_or(|at| deadline < at)
        {
            self.timer = Some(deadline);
        }
        if entry.conn.has_output() {
            self.touch(queue);
        }
    }

    /// Says that a queue is up.
    #[cold]
    fn announce(&mut self, queue: QueueId, (crqsize, depths): (u16, Depths)) -> Option<C::Event> {
        let data_path = self.data_path;
        let entry = self.queues.get_mut(queue)?;
        entry.announced = true;
        if let Some(addresses) = self.verbs.addresses(entry.id) {
            entry.addresses = addresses;
        }
        if let Some(device) = &entry.device {
            let io = entry.limits.max_in_capsule.io;
            entry.limits = self.config.limits(device);
            entry.limits.max_in_capsule.io = io;
            entry.limits.max_depth = entry.limits.max_depth.min(self.limits.max_depth);
        }
        let device = entry.device.as_ref();
        let info = Box::new(QueueInfo {
            limits: entry.limits.clone(),
            local: entry.addresses.0,
            peer: entry.addresses.1,
            data_path,
            negotiated: vec![
                ("device", device.map_or_else(String::new, |d| format!("{} ({})", d.name, d.kind))),
                ("CRQSIZE", crqsize.to_string()),
                ("ORD", depths.initiator.to_string()),
                ("IRD", depths.responder.to_string()),
            ],
        });
        tracing::debug!(?queue, peer = %info.peer, "queue up");
        Some(entry.conn.announce(info))
    }

    /// Ends everything that has been waited for long enough.
    #[cold]
    fn expire(&mut self, now: Instant, events: &mut Vec<C::Event>) {
        self.timer = None;
        // Deadlines are far apart and rare: looking at all queues is cheaper than keeping them sorted.
        let all: Vec<QueueId> = self.queues.iter().map(|(queue, _)| queue).collect();
        for queue in all {
            if let Some(entry) = self.queues.get_mut(queue)
                && entry.conn.deadline(now).is_some_and(|at| at <= now)
            {
                entry.conn.expire(now);
            }
            self.settle(queue, now, events);
        }
    }

    /// A queue ends: its connection is destroyed, everything outstanding goes back, then the reason.
    // spec: RDMA-KEY-04, RDMA-ERR-05
    #[cold]
    fn end_queue(&mut self, queue: QueueId, events: &mut Vec<C::Event>) {
        let Some(mut entry) = self.queues.remove(queue) else { return };
        self.verbs.destroy(entry.id);
        if let Some(place) = self.by_conn.get_mut(entry.id.slot as usize) {
            *place = None;
        }
        let known = events.len();
        entry.conn.finish(events);
        tracing::debug!(?queue, peer = %entry.addresses.1, "queue ended");
        if C::SILENT_UNTIL_UP && !entry.announced {
            events.truncate(known);
        }
    }
}

impl<V: Verbs, C: Connection> Drop for Core<V, C> {
    fn drop(&mut self) {
        // Nobody may touch the buffers any more when they are freed.
        let all: Vec<ConnId> = self.queues.iter().map(|(_, entry)| entry.id).collect();
        for id in all {
            self.verbs.destroy(id);
        }
    }
}
