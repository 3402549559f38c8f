//! The session of one engine: takes its events, answers with calls on it. Sans-io: no clock, no socket, no thread.
//!
//! Queues of one association may live in sessions on different threads; what they share is the [`Association`], and they
//! talk by messages ([`crate::port`]). A READ whose namespace answers at once goes event → checks → backend → `respond` with
//! no lock, no allocation and no look-up beyond indexing.
//!
//! Start at [`Session::handle`]. `connect` makes queues of connections, `plan` checks I/O commands and `io` runs them, `admin`
//! those of admin queues, `transfer` and `flush` are what takes longer, `queue` and `ops` are what is remembered, `timers` and
//! `ends` are how things end before their time.

mod admin;
mod connect;
mod ends;
mod flush;
mod io;
mod ops;
mod plan;
mod queue;
mod timers;
mod transfer;

use std::{
    sync::{Arc, atomic::Ordering},
    time::Instant,
};

use nvmf_transport::{
    Close, ControllerEngine, ControllerEvent, Gather, Memory, QueueId, QueueInfo, RequestData, RequestId,
    View, Wake, Wire,
};
use nvmf_wire::{Sqe, Status};

use self::{
    ops::{Ops, Work},
    queue::{Connecting, Fresh, Queue, Role},
};
use crate::{
    association::{Address, Place, Tick},
    backend::{Finish, Finished, Ring},
    port::{Message, Port},
    server::{Server, Shared},
};

/// The target side of one engine.
pub struct Session {
    shared: Arc<Shared>,
    port: Arc<Port>,
    finished: Finished,
    memory: Arc<dyn Memory>,
    wire: Wire,
    /// By [`QueueId::slot`].
    queues: Vec<Option<Box<Queue>>>,
    /// Queues that are gone while a backend still works for them.
    lingering: Vec<Queue>,
    ops: Ops,
    /// Connects that are asked again.
    retries: Vec<QueueId>,
    /// Queues with commands that wait for memory.
    starved: Vec<QueueId>,
    /// The earliest moment at which `timers` has something to do.
    deadline: Option<Instant>,
    /// When to look at `retries` and `starved` even if nothing happens.
    again: Option<Instant>,
    zeroes: Option<View>,
    finishes: Vec<Finish>,
    /// For operations on files, where whoever drives the session waits for it too.
    ring: Option<Ring>,
    draining: bool,
    /// The tick of the current pass.
    tick: Tick,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session")
            .field("wire", &self.wire)
            .field("queues", &self.queues())
            .finish_non_exhaustive()
    }
}

/// What running a command needs besides its queue.
struct Tools<'a> {
    engine: &'a mut dyn ControllerEngine,
    ops: &'a mut Ops,
    finished: &'a Finished,
    ring: Option<&'a mut Ring>,
    starved: &'a mut Vec<QueueId>,
    tick: Tick,
}

impl Session {
    /// A session for one engine of a transport that speaks `wire` and has `memory`. Other threads wake it by `wake`: whoever
    /// drives it waits for that and for the engine, clears it, and calls [`Session::advance`].
    pub fn new(server: &Server, wire: Wire, memory: Arc<dyn Memory>, wake: Wake) -> Self {
        Self {
            shared: Arc::clone(&server.shared),
            port: Port::new(wake.clone()),
            finished: Finished::new(wake),
            memory,
            wire,
            queues: Vec::new(),
            lingering: Vec::new(),
            ops: Ops::default(),
            retries: Vec::new(),
            starved: Vec::new(),
            deadline: None,
            again: None,
            zeroes: None,
            finishes: Vec::new(),
            ring: None,
            draining: false,
            tick: Tick::default(),
        }
    }

    /// Takes what a poll of the engine brought and leaves `events` empty.
    pub fn handle(
        &mut self,
        engine: &mut dyn ControllerEngine,
        now: Instant,
        events: &mut Vec<ControllerEvent>,
    ) {
        self.tick(now);
        for event in events.drain(..) {
            match event {
                ControllerEvent::Command { request, sqe, data } => {
                    self.command(engine, now, request, sqe, data)
                }
                ControllerEvent::Fetched { request, offset, data, outcome } => {
                    self.fetched(engine, now, request, offset, data, outcome);
                }
                ControllerEvent::Accepted { queue, info, .. } => self.accepted(engine, now, queue, info),
                ControllerEvent::Closed { queue, reason } => self.closed(queue, &reason),
                other => tracing::error!(?other, "an event this session does not know"),
            }
        }
        self.look_at_ring(engine);
    }

    /// Lets operations on files go through an io_uring of this session. Whoever drives the session also waits for its
    /// [`Session::ring`].
    pub fn use_ring(&mut self) {
        self.ring = Some(Ring::new());
    }

    /// The ring, which is to be waited for besides the engine and the wake-up; whether it has something to wait for may change
    /// with every call of [`Session::advance`].
    pub fn ring(&self) -> Option<&Ring> {
        self.ring.as_ref()
    }

    /// Hands over what was submitted to the ring and takes what has ended there. Whether anything had.
    fn look_at_ring(&mut self, engine: &mut dyn ControllerEngine) -> bool {
        let Some(ring) = &mut self.ring else { return false };
        let mut finishes = std::mem::take(&mut self.finishes);
        ring.advance(&mut finishes);
        let any = !finishes.is_empty() || ring.unsent();
        for Finish { tag, outcome } in finishes.drain(..) {
            self.finish(engine, tag as u32, outcome);
        }
        self.finishes = finishes;
        any
    }

    /// Takes what other threads left: ends of backend operations, messages; and does what time asks for. Call it once per
    /// poll. Whether anything happened.
    pub fn advance(&mut self, engine: &mut dyn ControllerEngine, now: Instant) -> bool {
        self.tick(now);
        let mut finishes = std::mem::take(&mut self.finishes);
        self.finished.drain(&mut finishes);
        let messages = self.port.take();
        let mut worked = !finishes.is_empty() || !messages.is_empty();
        for Finish { tag, outcome } in finishes.drain(..) {
            self.finish(engine, tag as u32, outcome);
        }
        self.finishes = finishes;
        for message in messages {
            self.message(engine, message);
        }
        worked |= self.timers(engine, now);
        worked |= self.look_at_ring(engine);
        if self.draining {
            self.drain_queues(engine);
        }
        worked
    }

    fn tick(&mut self, now: Instant) {
        if let Some(&start) = self.shared.started.get() {
            self.tick = Tick::at(now.saturating_duration_since(start));
        }
    }

    /// When [`Session::advance`] wants to be called even if nothing happens.
    pub fn next_timeout(&self) -> Option<Instant> {
        match (self.deadline, self.again) {
            (Some(deadline), Some(again)) => Some(deadline.min(again)),
            (one, other) => one.or(other),
        }
    }

    /// Starts to end all queues: what is outstanding is finished, nothing new is begun.
    pub fn drain(&mut self) {
        self.draining = true;
    }

    /// Queues now, those that end included.
    pub fn queues(&self) -> usize {
        self.queues.iter().flatten().count() + self.lingering.len()
    }

    /// The mailbox, for whoever has to reach this session from another thread.
    pub(crate) fn port(&self) -> Arc<Port> {
        Arc::clone(&self.port)
    }

    fn accepted(
        &mut self,
        engine: &mut dyn ControllerEngine,
        now: Instant,
        id: QueueId,
        info: Box<QueueInfo>,
    ) {
        let shared = Arc::clone(&self.shared);
        let options = &shared.options;
        shared.started.get_or_init(|| now);
        let place = Place::take(&shared.queues, 1, options.max_queues);
        let fresh = Place::take(&shared.unassociated, 1, options.max_unassociated);
        let (Some(place), Some(fresh), false) = (place, fresh, self.draining) else {
            shared.turned_away.fetch_add(1, Ordering::Relaxed);
            tracing::warn!(peer = %info.peer, "connection turned away: no place left");
            engine.close(id, Close::Now);
            return;
        };
        shared.accepted.fetch_add(1, Ordering::Relaxed);
        let deadline = now + options.connect_timeout;
        self.wake_at(deadline);
        let fresh = Fresh { deadline, connecting: Connecting::No, _place: fresh };
        let slot = id.slot();
        if self.queues.len() <= slot {
            self.queues.resize_with(slot + 1, || None);
        }
        self.queues[slot] = Some(Box::new(Queue::new(id, info, place, fresh)));
    }

    /// A queue that lives and the tools to run its commands with.
    fn parts<'a>(
        &'a mut self,
        engine: &'a mut dyn ControllerEngine,
        id: QueueId,
    ) -> Option<(&'a mut Queue, Tools<'a>)> {
        let queue = self.queues.get_mut(id.slot())?.as_deref_mut().filter(|queue| queue.id == id)?;
        let tools = Tools {
            engine,
            ops: &mut self.ops,
            finished: &self.finished,
            ring: self.ring.as_mut(),
            starved: &mut self.starved,
            tick: self.tick,
        };
        Some((queue, tools))
    }

    fn command(
        &mut self,
        engine: &mut dyn ControllerEngine,
        now: Instant,
        request: RequestId,
        sqe: Sqe,
        data: Result<RequestData, Status>,
    ) {
        let draining = self.draining;
        let Some((queue, mut tools)) = self.parts(engine, request.queue) else {
            return;
        };
        if queue.closing || draining {
            return;
        }
        queue.sq.consume();
        let data = match data {
            Ok(data) => data,
            Err(status) => return io::refuse(queue, &mut tools, request, &sqe, status),
        };
        match &queue.role {
            Role::Io(_) => io::command(queue, &mut tools, request, &sqe, data),
            Role::Admin(_) => self.admin_command(engine, now, request, &sqe, data),
            Role::Fresh(_) => self.first_command(engine, now, request, &sqe, data),
        }
    }

    fn fetched(
        &mut self,
        engine: &mut dyn ControllerEngine,
        now: Instant,
        request: RequestId,
        offset: u32,
        data: nvmf_transport::Buffer,
        outcome: Result<(), Status>,
    ) {
        let Some((queue, mut tools)) = self.parts(engine, request.queue) else {
            return;
        };
        let Some(index) = queue.kept(tools.ops, request) else {
            return;
        };
        if queue.closing {
            transfer::fetch_lost(tools.ops, index);
            return;
        }
        match tools.ops.get(index).map(|op| &op.work) {
            Some(Work::Transfer(_)) => transfer::fetched(queue, &mut tools, index, offset, data, outcome),
            Some(Work::Ranges { .. }) => io::ranges_fetched(queue, &mut tools, index, data, outcome),
            Some(Work::AdminData) => self.admin_data(engine, now, index, data, outcome),
            _ => tracing::error!(?request, "data for a command that asked for none"),
        }
    }

    /// An operation on a backend ended.
    fn finish(&mut self, engine: &mut dyn ControllerEngine, index: u32, outcome: Result<Gather, Status>) {
        let Some(id) = self.ops.get(index).map(ops::Op::queue) else {
            return;
        };
        let Some((queue, mut tools)) = self.parts(engine, id) else {
            return self.linger(index);
        };
        if queue.closing {
            // Its answer would go nowhere; the queue's end counts what is left.
            return transfer::forget_finished(queue, tools.ops, index);
        }
        match tools.ops.get(index).map(|op| &op.work) {
            Some(Work::Transfer(_)) => transfer::stored(queue, &mut tools, index, outcome),
            Some(Work::Flushes { .. }) => flush::one_ended(queue, &mut tools, index, outcome),
            _ => io::finished(queue, &mut tools, index, outcome),
        }
    }

    fn message(&mut self, engine: &mut dyn ControllerEngine, message: Message) {
        match message {
            Message::Close { queue, how } => self.close(engine, queue, how),
            Message::Look { queue } => self.look(engine, queue),
            Message::Abort { queue, cid, reply } => {
                let aborted = self.abort(engine, queue, cid);
                reply.port.post(Message::Aborted { request: reply.request, aborted });
            }
            Message::Aborted { request, aborted } => self.aborted(engine, request, aborted),
        }
    }

    /// Sees to it that `timers` runs at `at`.
    fn wake_at(&mut self, at: Instant) {
        self.deadline = Some(self.deadline.map_or(at, |deadline| deadline.min(at)));
    }

    fn address(&self, queue: QueueId) -> Address {
        Address { port: Arc::clone(&self.port), queue }
    }
}
