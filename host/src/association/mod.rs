//! One association with a controller, as a state machine without clock, socket or thread.
//!
//! Whoever owns the engine hands over its events ([`Association::on_event`]) and lets time pass ([`Association::advance`]);
//! requests go in by [`Association::submit`] and [`Association::submit_admin`] and come out of [`Association::take_done`], each
//! exactly once. What happened to the association itself comes out of [`Association::take_notices`].
//!
//! `attempt` connects, `dispatch` moves requests, `timeouts` bounds them, `recovery` survives losses, `scan` finds namespaces,
//! `events` and `keep_alive` listen, `shutdown` ends in good order. Deliberately absent: choosing transports and addresses.

mod attempt;
mod connect_command;
mod dispatch;
mod events;
mod facts;
mod internal;
mod keep_alive;
mod namespace;
mod notice;
mod queues;
mod recovery;
mod retry;
mod scan;
mod shutdown;
mod slots;
mod split;
mod submit;
mod timeouts;

use std::{collections::VecDeque, sync::Arc, time::Instant};

use nvmf_transport::{Data, HostEngine, HostEvent, QueueId, Target};
use nvmf_wire::Cqe;

use self::{
    attempt::Attempt,
    events::Events,
    internal::Internal,
    keep_alive::KeepAlive,
    queues::Queues,
    recovery::Outage,
    scan::Scan,
    shutdown::Closing,
    slots::{Owner, Place, Slots},
    split::Splits,
};
pub use self::{
    facts::{ControllerInfo, QueueDetails},
    namespace::{Namespace, NamespaceIdentity},
    notice::{Notice, State},
};
use crate::{ConnectError, Done, Options, Stage};

#[derive(Debug)]
enum Phase {
    /// Not started yet.
    New,
    Connecting(Box<Attempt>),
    Live,
    /// All queues are closing; `next` is what happens when they have.
    Draining {
        next: AfterDrain,
    },
    /// Until the next attempt.
    Waiting {
        until: Instant,
    },
    Closing(Closing),
    Ended,
}

#[derive(Debug)]
enum AfterDrain {
    Retry { at: Instant },
    End(Option<ConnectError>),
}

/// What every step needs: the engine and the time.
struct Cx<'a> {
    engine: &'a mut dyn HostEngine,
    now: Instant,
}

/// One association with a controller. See the [module](self).
pub struct Association {
    target: Target,
    options: Options,
    phase: Phase,
    queues: Queues,
    slots: Slots,
    splits: Splits,
    backlog: dispatch::Backlog,
    /// Requests accepted and not done, as the caller counts them.
    outstanding: usize,
    sequence: u64,
    /// Commands with a deadline are looked through then.
    check_at: Option<Instant>,
    aborts: u16,
    keep_alive: KeepAlive,
    events: Events,
    scan: Option<Scan>,
    rescan: bool,
    farewell: shutdown::Farewell,
    outage: Option<Outage>,
    info: Option<Arc<ControllerInfo>>,
    namespaces: Arc<[Namespace]>,
    error: Option<ConnectError>,
    done: Vec<Done>,
    notices: VecDeque<Notice>,
    /// Whether the engine was asked for something that leaves at its next poll.
    asked: bool,
}

impl std::fmt::Debug for Association {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Association")
            .field("target", &self.target)
            .field("subnqn", &self.options.subnqn)
            .field("phase", &self.phase)
            .field("outstanding", &self.outstanding)
            .finish_non_exhaustive()
    }
}

/// Notices kept for a caller that does not look at them; the oldest goes first.
const NOTICES: usize = 1024;

impl Association {
    /// An association that starts to connect when it is first [advanced](Self::advance). Fails if the options are out of range.
    pub fn new(target: Target, options: Options) -> Result<Self, ConnectError> {
        options.validate().map_err(|error| ConnectError::from(error).at(target.address))?;
        Ok(Self {
            target,
            phase: Phase::New,
            queues: Queues::default(),
            slots: Slots::default(),
            splits: Splits::default(),
            backlog: dispatch::Backlog::default(),
            outstanding: 0,
            sequence: 0,
            check_at: None,
            aborts: 0,
            keep_alive: KeepAlive::default(),
            events: Events::default(),
            scan: None,
            rescan: false,
            farewell: shutdown::Farewell::default(),
            outage: None,
            info: None,
            namespaces: Arc::from([]),
            error: None,
            done: Vec::new(),
            notices: VecDeque::new(),
            asked: false,
            options,
        })
    }

    /// Where it leads.
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// What was asked for.
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// Where it stands.
    pub fn state(&self) -> State {
        match self.phase {
            Phase::Live => State::Live,
            Phase::Closing(_) | Phase::Draining { next: AfterDrain::End(_) } => State::Closing,
            Phase::Ended => State::Ended,
            _ if self.outage.is_some() => State::Reconnecting,
            _ => State::Connecting,
        }
    }

    /// Why it ended, or the last reason why it is not up.
    pub fn error(&self) -> Option<&ConnectError> {
        self.error.as_ref()
    }

    /// What is known of the controller and the queues, since it was up for the first time.
    pub fn info(&self) -> Option<&Arc<ControllerInfo>> {
        self.info.as_ref()
    }

    /// The active namespaces, in ascending order.
    pub fn namespaces(&self) -> &Arc<[Namespace]> {
        &self.namespaces
    }

    /// Requests accepted and not done.
    pub fn outstanding(&self) -> usize {
        self.outstanding
    }

    /// How many more requests would be accepted now.
    pub fn room(&self) -> usize {
        self.capacity().saturating_sub(self.outstanding)
    }

    fn capacity(&self) -> usize {
        let per_queue = usize::from(self.options.queue_depth.saturating_sub(1));
        per_queue * usize::from(self.options.queues) + self.options.backlog
    }

    /// Whether a queue is this association's.
    pub fn owns(&self, queue: QueueId) -> bool {
        self.queues.lane(queue).is_some()
    }

    /// Moves the ended requests out.
    pub fn take_done(&mut self, into: &mut Vec<Done>) {
        self.outstanding = self.outstanding.saturating_sub(self.done.len());
        into.append(&mut self.done);
    }

    /// Moves the notices out, the oldest first.
    pub fn take_notices(&mut self) -> impl Iterator<Item = Notice> + '_ {
        self.notices.drain(..)
    }

    /// Whether the engine was asked for something since the last call, and so wants to be polled.
    pub fn take_asked(&mut self) -> bool {
        std::mem::take(&mut self.asked)
    }

    /// When [`Association::advance`] wants to be called even if nothing happens.
    pub fn next_timeout(&self) -> Option<Instant> {
        let phase = match &self.phase {
            Phase::Connecting(attempt) => attempt.next_timeout(),
            Phase::Waiting { until } => Some(*until),
            Phase::Closing(closing) => Some(closing.next_timeout()),
            _ => None,
        };
        let outage = self.outage.as_ref().and_then(|outage| outage.next_timeout(&self.options));
        [
            phase,
            outage,
            self.check_at,
            self.keep_alive.next_timeout(),
            self.events.next_timeout(),
            self.backlog.next_retry(),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// Takes an event of one of this association's queues.
    pub fn on_event(&mut self, engine: &mut dyn HostEngine, event: HostEvent, now: Instant) {
        let mut cx = Cx { engine, now };
        match event {
            HostEvent::Completed { cookie, cqe, sqhd_valid, transferred, data, .. } => {
                self.on_completed(&mut cx, cookie, Answer { cqe, sqhd_valid, transferred }, data);
            }
            HostEvent::Aborted { cookie, data, .. } => self.on_aborted(cookie, data),
            HostEvent::Connected { queue, info } => self.on_connected(&mut cx, queue, info),
            HostEvent::Closed { queue, reason } => self.on_closed(&mut cx, queue, reason),
            _ => {}
        }
    }

    /// Lets time pass and sends what can be sent. Call it after the events of a poll, not before.
    pub fn advance(&mut self, engine: &mut dyn HostEngine, now: Instant) {
        let mut cx = Cx { engine, now };
        if matches!(self.phase, Phase::New) {
            self.start_attempt(&mut cx);
        }
        // One comparison in the steady state.
        if self.next_timeout().is_some_and(|at| at <= now) {
            self.on_time(&mut cx);
        }
        self.pump(&mut cx);
        if self.is_quiescing() {
            self.check_quiesced(&mut cx);
        }
    }

    fn on_time(&mut self, cx: &mut Cx<'_>) {
        self.check_deadlines(cx);
        self.check_keep_alive(cx);
        self.check_events(cx);
        self.check_outage(cx);
        self.backlog.due(cx.now);
        match &self.phase {
            Phase::Connecting(attempt) if attempt.is_due(cx.now) => self.attempt_due(cx),
            Phase::Waiting { until } if *until <= cx.now => self.start_attempt(cx),
            Phase::Closing(closing) if closing.next_timeout() <= cx.now => self.closing_due(cx),
            _ => {}
        }
    }

    /// The engine has failed: nothing will be heard of any queue again. Every request ends.
    pub fn engine_failed(&mut self, error: nvmf_transport::Error) {
        let error = ConnectError::from_transport(Stage::Ready, error).at(self.target.address);
        self.queues.forget_all();
        let flying: Vec<u32> = self.slots.iter().map(|(index, _)| index).collect();
        for index in flying {
            if let Some(slot) = self.slots.get_mut(index)
                && matches!(slot.place, Place::Flying { .. })
            {
                match slot.owner {
                    Owner::Internal(_) => drop(self.slots.end(index)),
                    _ => self.finish(index, Err(crate::IoError::Disconnected), Data::None),
                }
            }
        }
        self.end(Some(error));
    }

    fn notice(&mut self, notice: Notice) {
        if self.notices.len() >= NOTICES {
            self.notices.pop_front();
        }
        self.notices.push_back(notice);
    }
}

/// The completion of a command, with what the transport says of it.
#[derive(Clone, Copy, Debug)]
struct Answer {
    cqe: Cqe,
    sqhd_valid: bool,
    transferred: u32,
}

#[cfg(test)]
mod tests;
