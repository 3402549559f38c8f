//! [`Host`]: an engine and its associations on the caller's thread. Submit a batch, poll, wait; no lock, no wake-up and, in the
//! steady state, no allocation per request.
//!
//! The clients are built on it, and so is everything that cares for speed. Deliberately absent: the clock, except where a
//! function says that it blocks.

use std::{os::fd::BorrowedFd, sync::Arc, time::Instant};

use nvmf_transport::{Error, HostEngine, HostEvent, Memory, QueueId, Target, WaitPolicy, Waiter};

use crate::{
    Admin, ConnectError, ConnectErrorKind, Done, Io, IoError, Notice, Options, Rejected, Stage, State,
    association::Association,
};

/// An association of one [`Host`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct AssociationId(usize);

/// An engine and its associations.
pub struct Host {
    engine: Box<dyn HostEngine>,
    associations: Vec<Option<Association>>,
    events: Vec<HostEvent>,
    waiter: Waiter,
    /// Whether the engine was asked for something since its last poll.
    asked: bool,
}

impl std::fmt::Debug for Host {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Host")
            .field("transport", &self.engine.transport())
            .field("associations", &self.associations)
            .finish_non_exhaustive()
    }
}

impl Host {
    /// Takes an engine.
    pub fn new(engine: Box<dyn HostEngine>, wait: WaitPolicy) -> Self {
        Self { engine, associations: Vec::new(), events: Vec::new(), waiter: Waiter::new(wait), asked: false }
    }

    /// The transport's name.
    pub fn transport(&self) -> &'static str {
        self.engine.transport()
    }

    /// Where buffers for requests come from.
    pub fn memory(&self) -> Arc<dyn Memory> {
        self.engine.memory()
    }

    /// Starts an association; it connects as the host is polled.
    pub fn associate(&mut self, target: Target, options: Options) -> Result<AssociationId, ConnectError> {
        let association = Association::new(target, options)?;
        self.asked = true;
        let free = self.associations.iter().position(Option::is_none);
        match free.and_then(|at| Some((at, self.associations.get_mut(at)?))) {
            Some((at, place)) => {
                *place = Some(association);
                Ok(AssociationId(at))
            }
            None => {
                self.associations.push(Some(association));
                Ok(AssociationId(self.associations.len() - 1))
            }
        }
    }

    /// An association, to look at.
    pub fn association(&self, id: AssociationId) -> Option<&Association> {
        self.associations.get(id.0)?.as_ref()
    }

    /// What happened to an association since the last call.
    pub fn notices(&mut self, id: AssociationId) -> Vec<Notice> {
        let association = self.associations.get_mut(id.0).and_then(Option::as_mut);
        association.map(|association| association.take_notices().collect()).unwrap_or_default()
    }

    /// Takes a request. It leaves at the next [`Host::poll`] at the latest.
    pub fn submit(&mut self, id: AssociationId, io: Io, now: Instant) -> Result<(), Rejected<Io>> {
        match self.associations.get_mut(id.0) {
            Some(Some(association)) => {
                self.asked = true;
                association.submit(&mut *self.engine, io, now)
            }
            _ => Err(Rejected { request: io, why: IoError::Closed.into() }),
        }
    }

    /// Takes as many requests as there is room for, from the front; answers how many. Stops at the first it refuses, and gives
    /// that one back with the reason if it was not lack of room.
    pub fn submit_batch(
        &mut self,
        id: AssociationId,
        batch: &mut std::collections::VecDeque<Io>,
        now: Instant,
    ) -> Result<usize, Rejected<Io>> {
        let mut taken = 0;
        while let Some(io) = batch.pop_front() {
            match self.submit(id, io, now) {
                Ok(()) => taken += 1,
                Err(Rejected { request, why: crate::Why::Full }) => {
                    batch.push_front(request);
                    break;
                }
                Err(rejected) => return Err(rejected),
            }
        }
        Ok(taken)
    }

    /// Takes a command for the admin queue.
    pub fn submit_admin(
        &mut self,
        id: AssociationId,
        admin: Admin,
        now: Instant,
    ) -> Result<(), Rejected<Admin>> {
        match self.associations.get_mut(id.0) {
            Some(Some(association)) => {
                self.asked = true;
                association.submit_admin(&mut *self.engine, admin, now)
            }
            _ => Err(Rejected { request: admin, why: IoError::Closed.into() }),
        }
    }

    /// Moves everything forward without blocking and appends the requests that ended. Answers whether anything happened.
    ///
    /// When the engine fails, every request of every association ends; the error is returned once and the host is of no
    /// further use.
    pub fn poll(&mut self, now: Instant, done: &mut Vec<Done>) -> Result<bool, Error> {
        self.asked = false;
        let polled = self.engine.poll(now, &mut self.events);
        let before = done.len();
        let mut worked = !self.events.is_empty();
        for event in self.events.drain(..) {
            let Some(queue) = queue_of(&event) else { continue };
            let owner = match self.associations.as_mut_slice() {
                [Some(only)] => Some(only),
                several => several.iter_mut().flatten().find(|association| association.owns(queue)),
            };
            if let Some(association) = owner {
                association.on_event(&mut *self.engine, event, now);
            }
        }
        let failed = polled.err();
        for association in self.associations.iter_mut().flatten() {
            if let Some(error) = &failed {
                association.engine_failed(Error::new(error.stage(), error.kind(), error.detail().to_owned()));
            } else {
                association.advance(&mut *self.engine, now);
            }
            association.take_done(done);
            self.asked |= association.take_asked();
        }
        worked |= done.len() > before;
        if worked {
            self.waiter.worked(now);
        }
        match failed {
            Some(error) => Err(error),
            None => Ok(worked),
        }
    }

    /// When [`Host::poll`] wants to be called even if nothing happens.
    pub fn next_timeout(&self) -> Option<Instant> {
        let associations = self.associations.iter().flatten().filter_map(Association::next_timeout).min();
        [self.engine.next_timeout(), associations].into_iter().flatten().min()
    }

    /// Readable when [`Host::poll`] has something to do: for callers that wait for several things by themselves.
    pub fn wait_handle(&self) -> BorrowedFd<'_> {
        self.engine.wait_handle()
    }

    /// Whether something was asked for that leaves at the next [`Host::poll`], so that waiting before it would delay it.
    pub fn wants_poll(&self) -> bool {
        self.asked
    }

    /// Waits after a poll that brought nothing, until polling is worth it again or one of `others` is readable.
    pub fn wait(&mut self, now: Instant, others: &[BorrowedFd<'_>]) {
        if self.asked {
            return;
        }
        let until = self.next_timeout();
        let mut handles: smallvec::SmallVec<[BorrowedFd<'_>; 4]> =
            smallvec::smallvec![self.engine.wait_handle()];
        handles.extend_from_slice(others);
        self.waiter.idle(now, &handles, until);
    }

    /// Starts to end an association; see [`Association::close`].
    pub fn close(&mut self, id: AssociationId, orderly: bool, now: Instant) {
        if let Some(Some(association)) = self.associations.get_mut(id.0) {
            self.asked = true;
            association.close(&mut *self.engine, now, orderly);
        }
    }

    /// Forgets an association that has ended; gives it back. One that has not ended stays.
    pub fn remove(&mut self, id: AssociationId) -> Option<Association> {
        let place = self.associations.get_mut(id.0)?;
        place.take_if(|association| association.state() == State::Ended)
    }

    /// Connects, blocking until the association is up or has failed. Requests of other associations that end meanwhile are
    /// appended to `done`.
    pub fn connect(
        &mut self,
        target: Target,
        options: Options,
        done: &mut Vec<Done>,
    ) -> Result<AssociationId, ConnectError> {
        let id = self.associate(target, options)?;
        self.drive(done, |host| match host.association(id).map(Association::state) {
            // Closing: the attempt has failed, and its queues are on their way out.
            Some(State::Connecting | State::Reconnecting | State::Closing) => None,
            Some(State::Live) => Some(Ok(id)),
            _ => {
                let error = host.remove(id).and_then(|association| association.error().cloned());
                Some(Err(error.unwrap_or_else(|| {
                    ConnectError::new(Stage::Ready, ConnectErrorKind::Closed, "closed while connecting")
                })))
            }
        })?
    }

    /// Ends an association in good order, blocking until it has; bounded by its shutdown timeout.
    pub fn disconnect(&mut self, id: AssociationId, done: &mut Vec<Done>) -> Result<(), ConnectError> {
        self.close(id, true, clock());
        self.drive(done, |host| match host.association(id).map(Association::state) {
            Some(State::Ended) => {
                host.remove(id);
                Some(())
            }
            None => Some(()),
            Some(_) => None,
        })
    }

    /// Polls and waits until `finished` has an answer.
    pub fn drive<T>(
        &mut self,
        done: &mut Vec<Done>,
        mut finished: impl FnMut(&mut Self) -> Option<T>,
    ) -> Result<T, ConnectError> {
        loop {
            let now = clock();
            let worked =
                self.poll(now, done).map_err(|error| ConnectError::from_transport(Stage::Ready, error))?;
            if let Some(answer) = finished(self) {
                return Ok(answer);
            }
            if !worked {
                self.wait(now, &[]);
            }
        }
    }
}

fn queue_of(event: &HostEvent) -> Option<QueueId> {
    match event {
        HostEvent::Connected { queue, .. }
        | HostEvent::Completed { queue, .. }
        | HostEvent::Aborted { queue, .. }
        | HostEvent::Closed { queue, .. } => Some(*queue),
        _ => None,
    }
}

/// The time, for the functions that block.
#[expect(clippy::disallowed_methods, reason = "the driving loop is where time enters")]
pub(crate) fn clock() -> Instant {
    Instant::now()
}
