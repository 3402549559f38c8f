//! A host's engine that suffers: faults strike completions, flipped bits what is sent and what has arrived.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::{Duration, Instant},
};

use crate::decorate::{engine_of_inner, transport_of_inner};
use nvmf_transport::{
    Close, CloseReason, Command, ConnectOptions, Data, Engine, Error, ErrorKind, HostEngine, HostEvent,
    HostTransport, Misuse, QueueId, QueueSettings, Refused, Stage, Target,
};
use nvmf_wire::Cid;

use super::{
    Faults, Moment, What,
    inject::{Flip, Injector, Stall, Strike},
};
use crate::hold::Hold;

pub(super) struct Faulty {
    pub(super) inner: Arc<dyn HostTransport>,
    pub(super) faults: Faults,
}

transport_of_inner!(Faulty);

impl HostTransport for Faulty {
    fn host_engine(&self) -> Result<Box<dyn HostEngine>, Error> {
        Ok(Box::new(Host {
            inner: self.inner.host_engine()?,
            injector: Injector::new(&self.faults, "host"),
            now: None,
            commands: HashMap::new(),
            next: 0,
            queues: BTreeMap::new(),
            held: Hold::default(),
            heard: Vec::new(),
        }))
    }
}

/// How long a reordered completion waits for others to overtake it.
pub(super) const OVERTAKE: Duration = Duration::from_millis(20);

/// A command on its way, under our own cookie.
#[derive(Debug)]
struct Struck {
    cookie: u64,
    strike: Strike,
    flipped: Option<Flip>,
}

/// What goes on with a queue as a whole.
#[derive(Debug, Default)]
struct Queue {
    /// `Some` while nothing of it is reported.
    stalled: Option<Stall>,
    /// What happened while it was stalled.
    silenced: Vec<HostEvent>,
    /// Completions that never come.
    withheld: Vec<HostEvent>,
    /// Completions that let others pass, and how many still.
    overtaken: Vec<(u16, Instant, HostEvent)>,
    /// This side has closed it, or a fault has: then this is the reason to give.
    closing: Option<Option<Stage>>,
}

struct Host {
    inner: Box<dyn HostEngine>,
    injector: Injector,
    now: Option<Instant>,
    commands: HashMap<u64, Struck>,
    next: u64,
    queues: BTreeMap<QueueId, Queue>,
    held: Hold<(QueueId, HostEvent)>,
    heard: Vec<HostEvent>,
}

fn broken(stage: Stage) -> CloseReason {
    CloseReason::Failed(Error::new(stage, ErrorKind::Reset, "the connection was broken by the fault plan"))
}

/// A completion the caller shall not see, as the abort it sees instead.
fn aborted(event: HostEvent) -> HostEvent {
    match event {
        HostEvent::Completed { queue, cookie, data, .. } => HostEvent::Aborted { queue, cookie, data },
        other => other,
    }
}

impl Host {
    fn strike_queue(&mut self, queue: QueueId, strikes: &[What], stage: Stage) {
        for what in strikes {
            let state = self.queues.entry(queue).or_default();
            match what {
                What::Stall { time } => state.stalled = Some(Stall::new(*time)),
                What::Reset => {
                    state.closing.get_or_insert(Some(stage));
                    self.inner.close(queue, Close::Now);
                }
                _ => {}
            }
        }
    }

    /// Gives a command its own cookie back, and its data as they were or as they shall seem.
    fn restore(&mut self, event: HostEvent) -> (HostEvent, Option<Strike>) {
        match event {
            HostEvent::Completed { queue, cookie: ours, cqe, sqhd_valid, transferred, mut data } => {
                let Some(Struck { cookie, strike, flipped }) = self.commands.remove(&ours) else {
                    return (
                        HostEvent::Completed { queue, cookie: ours, cqe, sqhd_valid, transferred, data },
                        None,
                    );
                };
                match &mut data {
                    Data::ToController(buffer) => flipped.into_iter().for_each(|flip| flip.apply(buffer)),
                    Data::FromController(buffer) if strike.flip_read => {
                        let arrived = (transferred as usize).min(buffer.len());
                        self.injector.flip(&mut buffer[..arrived]);
                    }
                    _ => {}
                }
                (HostEvent::Completed { queue, cookie, cqe, sqhd_valid, transferred, data }, Some(strike))
            }
            HostEvent::Aborted { queue, cookie: ours, mut data } => {
                let Some(Struck { cookie, flipped, .. }) = self.commands.remove(&ours) else {
                    return (HostEvent::Aborted { queue, cookie: ours, data }, None);
                };
                if let Data::ToController(buffer) = &mut data {
                    flipped.into_iter().for_each(|flip| flip.apply(buffer));
                }
                (HostEvent::Aborted { queue, cookie, data }, None)
            }
            other => (other, None),
        }
    }

    /// Reports an event, or lets the faults have it.
    fn report(&mut self, event: HostEvent, now: Instant, events: &mut Vec<HostEvent>) {
        let (event, strike) = self.restore(event);
        let queue = match &event {
            HostEvent::Connected { queue, .. }
            | HostEvent::Completed { queue, .. }
            | HostEvent::Aborted { queue, .. }
            | HostEvent::Closed { queue, .. } => *queue,
            _ => return events.push(event),
        };
        if matches!(event, HostEvent::Connected { .. }) {
            let strikes = self.injector.reached(queue, Moment::Connected);
            self.strike_queue(queue, &strikes, Stage::Negotiate);
        }
        let state = self.queues.entry(queue).or_default();
        if state.stalled.is_some() && state.closing.is_none() {
            state.silenced.push(event);
            return;
        }
        match (event, strike) {
            (event @ HostEvent::Completed { .. }, Some(strike)) => {
                if strike.withhold {
                    state.withheld.push(event);
                } else if let Some(delay) = strike.delay {
                    self.held.until(now + delay, (queue, event));
                } else if strike.reorder > 0 {
                    state.overtaken.push((strike.reorder, now + OVERTAKE, event));
                } else {
                    events.push(event);
                    self.overtake(queue, events);
                }
            }
            (event @ HostEvent::Closed { .. }, _) => self.finish(queue, event, events),
            (event, _) => events.push(event),
        }
    }

    /// One completion of the queue has passed those that wait to be overtaken.
    fn overtake(&mut self, queue: QueueId, events: &mut Vec<HostEvent>) {
        let Some(state) = self.queues.get_mut(&queue) else { return };
        state.overtaken.iter_mut().for_each(|(others, _, _)| *others -= 1);
        let passed = state.overtaken.extract_if(.., |(others, _, _)| *others == 0);
        events.extend(passed.map(|(_, _, event)| event));
    }

    /// The end of a queue: everything held of it first.
    fn finish(&mut self, queue: QueueId, closed: HostEvent, events: &mut Vec<HostEvent>) {
        let state = self.queues.remove(&queue).unwrap_or_default();
        self.injector.forget(queue);
        events.extend(self.held.take(|(of, _)| *of == queue).into_iter().map(|(_, event)| event));
        events.extend(state.overtaken.into_iter().map(|(_, _, event)| event));
        events.extend(state.withheld.into_iter().map(aborted));
        events.push(match (closed, state.closing) {
            (HostEvent::Closed { queue, .. }, Some(Some(stage))) => {
                HostEvent::Closed { queue, reason: broken(stage) }
            }
            (closed, _) => closed,
        });
    }

    /// Ends stalls: those whose time is over, and those of queues that this side has closed.
    fn unstall(&mut self, now: Instant, events: &mut Vec<HostEvent>) {
        let over = |state: &mut Queue| {
            state.stalled.as_mut().is_some_and(|stall| stall.is_over(now) || state.closing.is_some())
        };
        let ended: Vec<QueueId> =
            self.queues.iter_mut().filter_map(|(id, state)| over(state).then_some(*id)).collect();
        for queue in ended {
            let Some(state) = self.queues.get_mut(&queue) else { continue };
            state.stalled = None;
            let closed_here = state.closing.is_some();
            let mut silenced = std::mem::take(&mut state.silenced);
            if closed_here {
                silenced.retain(|event| !matches!(event, HostEvent::Connected { .. }));
            }
            for event in silenced {
                match event {
                    HostEvent::Closed { queue, .. } if closed_here => {
                        self.finish(
                            queue,
                            HostEvent::Closed { queue, reason: CloseReason::Requested },
                            events,
                        );
                    }
                    HostEvent::Closed { .. } => self.finish(queue, event, events),
                    event if closed_here => events.push(aborted(event)),
                    event => events.push(event),
                }
            }
        }
    }
}

impl Engine for Host {
    engine_of_inner!();

    fn next_timeout(&self) -> Option<Instant> {
        let of_queues = self.queues.values().flat_map(|queue| {
            let closed = queue.stalled.is_some() && queue.closing.is_some();
            let stalled = if closed { self.now } else { queue.stalled.and_then(Stall::until) };
            queue.overtaken.iter().map(|(_, until, _)| *until).chain(stalled)
        });
        of_queues.chain(self.inner.next_timeout()).chain(self.held.next()).min()
    }

    fn configure(&mut self, queue: QueueId, settings: QueueSettings) -> Result<(), Misuse> {
        self.inner.configure(queue, settings)?;
        let strikes = self.injector.reached(queue, Moment::Configured);
        self.strike_queue(queue, &strikes, Stage::Transfer);
        Ok(())
    }

    fn close(&mut self, queue: QueueId, how: Close) {
        if let Some(state) = self.queues.get_mut(&queue) {
            state.closing.get_or_insert(None);
        }
        self.inner.close(queue, how);
    }
}

impl HostEngine for Host {
    fn connect(&mut self, target: &Target, options: &ConnectOptions) -> Result<QueueId, Error> {
        let queue = self.inner.connect(target, options)?;
        self.queues.insert(queue, Queue::default());
        self.injector.knows(queue, options.kind);
        let strikes = self.injector.reached(queue, Moment::Connecting);
        self.strike_queue(queue, &strikes, Stage::Connect);
        Ok(queue)
    }

    fn submit(&mut self, queue: QueueId, command: Command) -> Result<Cid, Refused<Command>> {
        let Command { sqe, mut data, cookie } = command;
        let Some(state) = self.queues.get(&queue) else {
            return Err(Refused::new(Command { sqe, data, cookie }, Misuse::UnknownQueue));
        };
        // The caller has not heard of the queue's end yet.
        let ended = state.silenced.iter().any(|event| matches!(event, HostEvent::Closed { .. }));
        let (ours, before) = (self.next, self.injector.before(queue));
        let mut strike = if ended { Strike::default() } else { self.injector.command(queue, data.len()) };
        let flipped = match &mut data {
            Data::ToController(buffer) if strike.flip_write => self.injector.flip(buffer),
            _ => None,
        };
        match self.inner.submit(queue, Command { sqe, data, cookie: ours }) {
            Ok(cid) => {
                self.next += 1;
                self.injector.remember(&mut strike);
                let of_queue = strike.of_queue.clone();
                self.commands.insert(ours, Struck { cookie, strike, flipped });
                self.strike_queue(queue, &of_queue, Stage::Transfer);
                Ok(cid)
            }
            Err(Refused { given_back: Command { sqe, mut data, .. }, why }) => {
                if let (Data::ToController(buffer), Some(flip)) = (&mut data, flipped) {
                    flip.apply(buffer);
                }
                self.injector.undo(queue, before);
                let why = if ended && why == Misuse::UnknownQueue { Misuse::Closing } else { why };
                Err(Refused::new(Command { sqe, data, cookie }, why))
            }
        }
    }

    fn poll(&mut self, now: Instant, events: &mut Vec<HostEvent>) -> Result<(), Error> {
        self.now = Some(now);
        for (queue, what) in self.injector.ordered() {
            self.strike_queue(queue, &[what], Stage::Transfer);
        }
        self.unstall(now, events);
        let mut heard = std::mem::take(&mut self.heard);
        let result = self.inner.poll(now, &mut heard);
        heard.drain(..).for_each(|event| self.report(event, now, events));
        self.heard = heard;
        events.extend(self.held.due(now).map(|(_, event)| event));
        for state in self.queues.values_mut() {
            let waited = state.overtaken.extract_if(.., |(_, until, _)| *until <= now);
            events.extend(waited.map(|(_, _, event)| event));
        }
        result
    }
}
