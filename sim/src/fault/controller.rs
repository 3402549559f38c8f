//! A controller's engine that suffers: faults strike commands on arrival, flipped bits the data of both directions.

use std::{collections::BTreeMap, sync::Arc, time::Instant};

use crate::decorate::{engine_of_inner, transport_of_inner};
use nvmf_transport::{
    Buffer, Close, CloseReason, ControllerEngine, ControllerEvent, ControllerTransport, Engine, Error,
    ErrorKind, Gather, Listener, ListenerId, Misuse, QueueId, QueueSettings, Refused, RequestData, RequestId,
    Stage, Target,
};
use nvmf_wire::Cqe;

use super::{
    Faults, Moment, What,
    host::OVERTAKE,
    inject::{Injector, Stall, Strike},
};
use crate::hold::Hold;

pub(super) struct Faulty {
    pub(super) inner: Arc<dyn ControllerTransport>,
    pub(super) faults: Faults,
}

transport_of_inner!(Faulty);

impl ControllerTransport for Faulty {
    fn controller_engine(&self) -> Result<Box<dyn ControllerEngine>, Error> {
        Ok(Box::new(Controller {
            inner: self.inner.controller_engine()?,
            injector: Injector::new(&self.faults, "controller"),
            now: None,
            queues: BTreeMap::new(),
            held: Hold::default(),
            heard: Vec::new(),
        }))
    }
}

/// What goes on with a queue as a whole.
#[derive(Debug, Default)]
struct Queue {
    stalled: Option<Stall>,
    /// What happened while it was stalled.
    silenced: Vec<ControllerEvent>,
    /// Commands that let others pass, and how many still.
    overtaken: Vec<(u16, Instant, ControllerEvent)>,
    /// This side has closed it, or a fault has: then this is the reason to give.
    closing: Option<Option<Stage>>,
    /// Requests whose data is to be wrong: as the host sent it, as the host gets it.
    flip_write: Vec<RequestId>,
    flip_read: Vec<RequestId>,
}

struct Controller {
    inner: Box<dyn ControllerEngine>,
    injector: Injector,
    now: Option<Instant>,
    queues: BTreeMap<QueueId, Queue>,
    held: Hold<(QueueId, ControllerEvent)>,
    heard: Vec<ControllerEvent>,
}

impl Controller {
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

    /// Reports an event, or lets the faults have it.
    fn report(&mut self, event: ControllerEvent, now: Instant, events: &mut Vec<ControllerEvent>) {
        let queue = match &event {
            ControllerEvent::Accepted { queue, .. } | ControllerEvent::Closed { queue, .. } => *queue,
            ControllerEvent::Command { request, .. } | ControllerEvent::Fetched { request, .. } => {
                request.queue
            }
            _ => return events.push(event),
        };
        if matches!(event, ControllerEvent::Accepted { .. }) {
            let strikes = self.injector.reached(queue, Moment::Connected);
            self.strike_queue(queue, &strikes, Stage::Negotiate);
        }
        let state = self.queues.entry(queue).or_default();
        if state.stalled.is_some() && state.closing.is_none() {
            state.silenced.push(event);
            return;
        }
        match event {
            ControllerEvent::Command { request, sqe, mut data } => {
                let bytes = data.as_ref().map_or(0, RequestData::len);
                let mut strike = self.injector.command(queue, bytes);
                self.injector.remember(&mut strike);
                let Strike { delay, withhold, reorder, flip_write, flip_read, of_queue, .. } = strike;
                if let (true, Ok(RequestData::InCapsule(buffer))) = (flip_write, &mut data) {
                    self.injector.flip(buffer);
                }
                if flip_write && matches!(data, Ok(RequestData::Remote { .. })) {
                    state.flip_write.push(request);
                }
                if flip_read {
                    state.flip_read.push(request);
                }
                let event = ControllerEvent::Command { request, sqe, data };
                if withhold {
                    // The request stays with the transport below: the host never gets an answer.
                } else if let Some(delay) = delay {
                    self.held.until(now + delay, (queue, event));
                } else if reorder > 0 {
                    state.overtaken.push((reorder, now + OVERTAKE, event));
                } else {
                    events.push(event);
                    state.overtaken.iter_mut().for_each(|(others, _, _)| *others -= 1);
                    let passed = state.overtaken.extract_if(.., |(others, _, _)| *others == 0);
                    events.extend(passed.map(|(_, _, event)| event));
                }
                self.strike_queue(queue, &of_queue, Stage::Transfer);
            }
            ControllerEvent::Fetched { request, offset, mut data, outcome } => {
                if let (Some(at), true) =
                    (state.flip_write.iter().position(|of| *of == request), outcome.is_ok())
                {
                    state.flip_write.swap_remove(at);
                    self.injector.flip(&mut data);
                }
                events.push(ControllerEvent::Fetched { request, offset, data, outcome });
            }
            ControllerEvent::Closed { queue, reason } => self.finish(queue, reason, events),
            other => events.push(other),
        }
    }

    /// The end of a queue. Commands held of it are not reported: nobody waits for them any more.
    fn finish(&mut self, queue: QueueId, reason: CloseReason, events: &mut Vec<ControllerEvent>) {
        let state = self.queues.remove(&queue).unwrap_or_default();
        self.injector.forget(queue);
        drop(self.held.take(|(of, _)| *of == queue));
        let reason = match state.closing {
            Some(Some(stage)) => {
                let what = "the connection was broken by the fault plan";
                CloseReason::Failed(Error::new(stage, ErrorKind::Reset, what))
            }
            _ => reason,
        };
        events.push(ControllerEvent::Closed { queue, reason });
    }

    /// Ends stalls: those whose time is over, and those of queues that this side has closed.
    fn unstall(&mut self, now: Instant, events: &mut Vec<ControllerEvent>) {
        let over = |state: &mut Queue| {
            state.stalled.as_mut().is_some_and(|stall| stall.is_over(now) || state.closing.is_some())
        };
        let ended: Vec<QueueId> =
            self.queues.iter_mut().filter_map(|(id, state)| over(state).then_some(*id)).collect();
        for queue in ended {
            let Some(state) = self.queues.get_mut(&queue) else { continue };
            state.stalled = None;
            let closed_here = state.closing.is_some();
            for event in std::mem::take(&mut state.silenced) {
                match event {
                    ControllerEvent::Closed { queue, reason } => {
                        let reason = if closed_here { CloseReason::Requested } else { reason };
                        self.finish(queue, reason, events);
                    }
                    ControllerEvent::Command { .. } if closed_here => {}
                    event => events.push(event),
                }
            }
        }
    }
}

impl Engine for Controller {
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
        self.injector.knows(queue, settings.kind);
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

impl ControllerEngine for Controller {
    fn listen(&mut self, at: &Target) -> Result<Listener, Error> {
        self.inner.listen(at)
    }

    fn unlisten(&mut self, listener: ListenerId) {
        self.inner.unlisten(listener);
    }

    fn fetch(&mut self, request: RequestId, offset: u32, into: Buffer) -> Result<(), Refused<Buffer>> {
        self.inner.fetch(request, offset, into)
    }

    fn respond(&mut self, request: RequestId, cqe: Cqe, data: Gather) -> Result<(), Refused<Gather>> {
        let unlucky = self.queues.get_mut(&request.queue).and_then(|state| {
            let at = state.flip_read.iter().position(|of| *of == request)?;
            Some(state.flip_read.swap_remove(at))
        });
        if unlucky.is_none() || data.is_empty() {
            return self.inner.respond(request, cqe, data);
        }
        // What the namespace stores must not change: the bit flips in a copy.
        let Ok(mut copy) = self.inner.memory().allocate(data.len()) else {
            return self.inner.respond(request, cqe, data);
        };
        let mut at = 0;
        for slice in data.slices(0..data.len()) {
            copy[at..at + slice.len()].copy_from_slice(slice);
            at += slice.len();
        }
        self.injector.flip(&mut copy);
        match self.inner.respond(request, cqe, copy.into()) {
            Ok(()) => Ok(()),
            Err(Refused { why, .. }) => Err(Refused::new(data, why)),
        }
    }

    fn poll(&mut self, now: Instant, events: &mut Vec<ControllerEvent>) -> Result<(), Error> {
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
