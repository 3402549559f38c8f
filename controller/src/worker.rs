//! One thread's worth of the target: its engines, a session for each, and the loop that drives them.
//!
//! [`Worker::turn`] is one pass without blocking and with time as an argument, for whoever has a loop of its own (tests in
//! simulated time do); [`Worker::run`] is the loop of a thread and reads the clock.

use std::{
    os::fd::{AsFd, BorrowedFd},
    sync::Arc,
    time::{Duration, Instant},
};

use nvmf_transport::{
    ControllerEngine, ControllerEvent, Error, Listener, ListenerId, Target, WaitPolicy, Waiter, Wake, Wire,
};
use smallvec::SmallVec;

use crate::{placement::Seats, server::Server, session::Session};

/// Engines and their sessions, driven together.
#[derive(Debug)]
pub struct Worker {
    units: Vec<Unit>,
    wake: Wake,
    waiter: Waiter,
    server: Server,
    /// The last wait blocked, so `wake` may be readable.
    blocked: bool,
    draining: bool,
}

struct Unit {
    engine: Box<dyn ControllerEngine>,
    session: Session,
    listeners: Vec<ListenerId>,
    events: Vec<ControllerEvent>,
    /// Where connections come from that another thread may have accepted, and this thread's number there.
    seat: Option<(Arc<Seats>, usize)>,
}

impl Unit {
    /// Takes over the connections that were placed here. Whether there were any.
    fn take_seats(&mut self, now: Instant) -> bool {
        let Some((seats, number)) = &self.seat else { return false };
        let coming = seats.take(*number);
        let count = coming.len();
        let Some(sharing) = self.engine.sharing() else { return false };
        for (connection, listener) in coming {
            sharing.adopt(connection, listener, now);
        }
        seats.serves(*number, sharing.connections());
        if count > 0 {
            seats.arrived(*number, count);
        }
        count > 0
    }
}

impl std::fmt::Debug for Unit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Unit")
            .field("transport", &self.engine.transport())
            .field("session", &self.session)
            .field("listeners", &self.listeners)
            .finish_non_exhaustive()
    }
}

impl Worker {
    /// A worker without engines.
    pub fn new(server: &Server, wait: WaitPolicy) -> Result<Self, Error> {
        Ok(Self {
            units: Vec::new(),
            wake: Wake::new()?,
            waiter: Waiter::new(wait),
            server: server.clone(),
            blocked: false,
            draining: false,
        })
    }

    /// Adds an engine of a transport that speaks `wire`; answers its index.
    pub fn add_engine(&mut self, wire: Wire, engine: Box<dyn ControllerEngine>) -> usize {
        let mut session = Session::new(&self.server, wire, engine.memory(), self.wake.clone());
        session.use_ring();
        self.units.push(Unit { engine, session, listeners: Vec::new(), events: Vec::new(), seat: None });
        self.units.len() - 1
    }

    /// Opens a listener on an engine.
    pub fn listen(&mut self, engine: usize, at: &Target) -> Result<Listener, Error> {
        let unknown = || {
            Error::new(
                nvmf_transport::Stage::Listen,
                nvmf_transport::ErrorKind::Unsupported,
                "no such engine",
            )
        };
        let unit = self.units.get_mut(engine).ok_or_else(unknown)?;
        let listener = unit.engine.listen(at)?;
        unit.listeners.push(listener.id);
        Ok(listener)
    }

    /// Whether queues can come: by a listener of its own, or from another thread.
    pub(crate) fn is_reachable(&self) -> bool {
        self.units.iter().any(|unit| !unit.listeners.is_empty() || unit.seat.is_some())
    }

    /// Whether an engine can share listeners with those of other threads.
    pub(crate) fn shares(&mut self, engine: usize) -> bool {
        self.units.get_mut(engine).is_some_and(|unit| unit.engine.sharing().is_some())
    }

    /// Takes part in the placing of connections, as number `number`.
    pub(crate) fn sit(&mut self, engine: usize, seats: &Arc<Seats>, number: usize) {
        if let Some(unit) = self.units.get_mut(engine) {
            unit.seat = Some((Arc::clone(seats), number));
        }
    }

    /// Lets the connections of a listener be placed.
    pub(crate) fn divert(&mut self, engine: usize, listener: ListenerId, seats: &Arc<Seats>) {
        if let Some(sharing) = self.units.get_mut(engine).and_then(|unit| unit.engine.sharing()) {
            sharing.divert(listener, Arc::clone(seats) as Arc<dyn nvmf_transport::Placement>);
        }
    }

    /// What ends the wait of this worker.
    pub fn wake(&self) -> Wake {
        self.wake.clone()
    }

    /// One pass over all engines without blocking. Whether anything happened; if so, pass again at once: answers leave with
    /// the next pass. An error is the end of an engine, and of the worker.
    pub fn turn(&mut self, now: Instant) -> Result<bool, Error> {
        if std::mem::take(&mut self.blocked) {
            self.wake.clear();
        }
        let mut worked = false;
        for unit in &mut self.units {
            worked |= unit.take_seats(now);
            let Unit { engine, session, events, .. } = unit;
            worked |= session.advance(engine.as_mut(), now);
            engine.poll(now, events)?;
            if !events.is_empty() {
                worked = true;
                session.handle(engine.as_mut(), now, events);
            }
        }
        if worked {
            self.waiter.worked(now);
        }
        Ok(worked)
    }

    /// When [`Worker::turn`] wants to be called even if nothing happens.
    pub fn next_timeout(&self) -> Option<Instant> {
        let timeouts =
            self.units.iter().flat_map(|unit| [unit.engine.next_timeout(), unit.session.next_timeout()]);
        timeouts.flatten().min()
    }

    /// Waits after a pass at `now` in which nothing happened, for something or until `until`.
    pub fn wait(&mut self, now: Instant, until: Option<Instant>) {
        let until = self.next_timeout().into_iter().chain(until).min();
        let engines = self.units.iter().map(|unit| unit.engine.wait_handle());
        let rings = self.units.iter().filter_map(|unit| unit.session.ring()?.wait_handle());
        let handles: SmallVec<[BorrowedFd<'_>; 4]> =
            std::iter::once(self.wake.as_fd()).chain(engines).chain(rings).collect();
        self.blocked = self.waiter.idle(now, &handles, until);
    }

    /// Closes the listeners and starts to end all queues: what is outstanding is finished, nothing new is begun.
    pub fn drain(&mut self) {
        if std::mem::replace(&mut self.draining, true) {
            return;
        }
        for Unit { engine, session, listeners, .. } in &mut self.units {
            listeners.drain(..).for_each(|listener| engine.unlisten(listener));
            session.drain();
        }
    }

    /// Queues now, those that end included.
    pub fn queues(&self) -> usize {
        self.units.iter().map(|unit| unit.session.queues()).sum()
    }

    /// Drives the engines until `stop` says so and the queues have drained, or `drain_timeout` has passed since.
    #[expect(clippy::disallowed_methods, reason = "the loop of a thread is where time comes from")]
    pub fn run(&mut self, stop: impl Fn() -> bool, drain_timeout: Duration) -> Result<(), Error> {
        let mut give_up = None;
        loop {
            let now = Instant::now();
            if give_up.is_none() && stop() {
                self.drain();
                give_up = Some(now + drain_timeout);
            }
            let worked = self.turn(now)?;
            if let Some(give_up) = give_up
                && (self.queues() == 0 || now >= give_up)
            {
                return Ok(());
            }
            if !worked {
                self.wait(now, give_up);
            }
        }
    }
}
