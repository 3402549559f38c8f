//! One association with a controller, as a state machine without clock, socket or thread.
//!
//! Whoever owns the engine hands over its events ([`Association::on_event`]) and lets time pass ([`Association::advance`]);
//! requests go in by [`Association::submit`] and [`Association::submit_admin`] and come out of [`Association::take_done`], each
//! exactly once. What happened to the association itself comes out of [`Association::take_notices`].
//!
//! `attempt` connects, `dispatch` moves requests, `timeouts` bounds them, `recovery` survives losses, `scan` finds namespaces,
//! `events` and `keep_alive` listen, `shutdown` ends in good order. Deliberately absent: choosing transports and addresses.

mod attempt;
mod dispatch;
mod events;
mod facts;
mod keep_alive;
mod namespace;
mod queues;
mod recovery;
mod retry;
mod scan;
mod shutdown;
mod slots;
mod split;
mod submit;
mod timeouts;

use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, Instant},
};

use nvmf_transport::{Data, HostEngine, HostEvent, Misuse, QueueId, Target};
use nvmf_wire::{Cqe, Sqe, event::AsyncEvent};

use self::{
    attempt::Attempt,
    events::Events,
    keep_alive::KeepAlive,
    queues::Queues,
    recovery::Outage,
    scan::Scan,
    shutdown::Closing,
    slots::{Lane, Owner, Place, Shape, Slot, Slots},
    split::Splits,
};
pub use self::{
    facts::{ControllerInfo, QueueDetails},
    namespace::{Namespace, NamespaceIdentity},
};
use crate::{ConnectError, ConnectErrorKind, Done, Options, Stage};

/// Commands of the association itself, by what their completion is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Internal {
    Connect(Lane),
    Capabilities,
    Version,
    Enable,
    ReadyStatus,
    IdentifyController,
    HostBehavior,
    QueueCount,
    EventConfiguration,
    ListNamespaces,
    IdentifyNamespace(u32),
    Descriptors(u32),
    KeepAlive,
    AsyncEvent,
    EventLog,
    /// The cookie of the command to abort.
    Abort(u64),
    Disconnect,
    ShutdownNotification,
    ShutdownStatus,
}

/// What happened to an association.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Notice {
    /// It is up: for the first time, or again.
    Connected {
        /// Whether it had been up before.
        again: bool,
    },
    /// It was lost; requests are held and it reconnects.
    Lost {
        /// Why.
        error: ConnectError,
        /// When the first attempt to connect again is made, from now.
        retry_in: Duration,
    },
    /// An attempt to connect again failed; there will be another.
    AttemptFailed {
        /// Why.
        error: ConnectError,
        /// When the next one is made, from now.
        retry_in: Duration,
    },
    /// The fast I/O fail timeout has passed: held and new requests fail until it is back.
    FastFailing,
    /// The list of namespaces, or something about one of them, has changed.
    NamespacesChanged,
    /// The discovery log has changed.
    DiscoveryChanged,
    /// Any other asynchronous event.
    Event(AsyncEvent),
    /// It is over. `None` if this side closed it.
    Ended {
        /// Why.
        error: Option<ConnectError>,
    },
}

/// Where the association stands, for people and for callers that wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It has never been up.
    Connecting,
    /// It is up.
    Live,
    /// It was lost and comes back.
    Reconnecting,
    /// It is being closed.
    Closing,
    /// It is over.
    Ended,
}

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
        options
            .validate()
            .map_err(|error| ConnectError::from(error).at(target.address))?;
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
            Phase::Closing(_)
            | Phase::Draining {
                next: AfterDrain::End(_),
            } => State::Closing,
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
        let outage = self
            .outage
            .as_ref()
            .and_then(|outage| outage.next_timeout(&self.options));
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
            HostEvent::Completed {
                cookie,
                cqe,
                sqhd_valid,
                transferred,
                data,
                ..
            } => {
                self.on_completed(
                    &mut cx,
                    cookie,
                    Answer {
                        cqe,
                        sqhd_valid,
                        transferred,
                    },
                    data,
                );
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
                    Owner::Internal(_) => drop(self.slots.remove(index)),
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

    /// Sends a command of the association itself.
    fn internal(
        &mut self,
        cx: &mut Cx<'_>,
        lane: Lane,
        what: Internal,
        sqe: Sqe,
        data: Data,
        timeout: Option<Duration>,
    ) {
        let sequence = self.sequence;
        let slot = Slot {
            owner: Owner::Internal(what),
            sqe,
            data: Data::None,
            place: Place::Waiting,
            shape: Shape::Whole,
            sequence,
            deadline: None,
            replay: false,
            aborting: false,
            attempts: 0,
            hint: None,
            admin: lane == Lane::Admin,
        };
        let index = self.slots.insert(slot);
        if let Err((why, _)) = self.launch(cx, lane, index, data, timeout) {
            self.slots.remove(index);
            // A queue that has gone says so itself, in its own event.
            if !matches!(why, Misuse::Closing | Misuse::UnknownQueue | Misuse::NotConnected) {
                let stage = self.stage_of(what);
                let error = ConnectError::new(
                    stage,
                    ConnectErrorKind::Resources,
                    format!("the transport refused a command: {why}"),
                );
                self.lose(cx, error);
            }
        }
    }

    /// As [`Self::internal`], with room for `len` bytes from the controller.
    fn internal_read(&mut self, cx: &mut Cx<'_>, what: Internal, sqe: Sqe, len: usize, timeout: Duration) {
        match cx.engine.memory().allocate(len) {
            Ok(buffer) => self.internal(
                cx,
                Lane::Admin,
                what,
                sqe,
                Data::FromController(buffer),
                Some(timeout),
            ),
            Err(error) => {
                let error = ConnectError::from_transport(self.stage_of(what), error);
                self.lose(cx, error);
            }
        }
    }

    fn stage_of(&self, what: Internal) -> Stage {
        if !matches!(self.phase, Phase::Connecting(_)) {
            return Stage::Ready;
        }
        match what {
            Internal::Connect(_) => Stage::Connect,
            Internal::Capabilities | Internal::Version => Stage::Property,
            Internal::Enable | Internal::ReadyStatus => Stage::Enable,
            Internal::IdentifyController
            | Internal::ListNamespaces
            | Internal::IdentifyNamespace(_)
            | Internal::Descriptors(_) => Stage::Identify,
            Internal::HostBehavior | Internal::QueueCount | Internal::EventConfiguration => Stage::Features,
            _ => Stage::Ready,
        }
    }

    fn on_internal(&mut self, cx: &mut Cx<'_>, what: Internal, answer: Answer, data: Data) {
        match what {
            Internal::ListNamespaces | Internal::IdentifyNamespace(_) | Internal::Descriptors(_) => {
                self.on_scan(cx, what, answer, data);
            }
            Internal::KeepAlive => self.on_keep_alive(cx, answer.cqe.status()),
            Internal::AsyncEvent => self.on_async_event(cx, answer.cqe),
            Internal::EventLog => self.on_event_log(answer.cqe.status()),
            Internal::Abort(cookie) => self.on_abort_answered(cookie, answer.cqe),
            Internal::Disconnect | Internal::ShutdownNotification | Internal::ShutdownStatus => {
                self.on_shutdown(cx, what, answer.cqe);
            }
            _ => self.on_attempt(cx, what, answer, data),
        }
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
