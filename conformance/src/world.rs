//! Engines, the time they live in, and a way to write a case as a script: ask, wait for what must follow, look at it.
//!
//! [`World::turn`] is the loop of every driver, once: poll, and if nothing happened wait on the handles, or let virtual
//! time jump to the next timeout. Every wait is bounded; what must not happen is waited for too ([`World::quiet`]).

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use nvmf_transport::{
    Buffer, Command, ConnectOptions, ControllerEngine, ControllerEvent, Data, Gather, HostEngine, HostEvent,
    Listener, QueueId, QueueInfo, QueueKind, QueueSettings, RequestData, RequestId, Target,
};
use nvmf_wire::{Cid, Cqe, Sqe, Status};

use crate::{Context as _, Fixture, Rogue, Stop, time::Now};

/// How long anything that must happen may take.
pub const LIMIT: Duration = Duration::from_secs(10);

/// A host's engine and what it reported.
pub struct HostSide {
    /// The engine.
    pub engine: Box<dyn HostEngine>,
    /// What happened and has not been looked at.
    pub events: VecDeque<HostEvent>,
}

/// A controller's engine and what it reported.
pub struct ControllerSide {
    /// The engine.
    pub engine: Box<dyn ControllerEngine>,
    /// What happened and has not been looked at.
    pub events: VecDeque<ControllerEvent>,
}

/// A queue, by the names both sides have for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Both {
    /// At the host.
    pub host: QueueId,
    /// At the controller.
    pub controller: QueueId,
}

/// A command as the controller got it.
#[derive(Debug)]
pub struct Request {
    /// To answer it.
    pub id: RequestId,
    /// The command.
    pub sqe: Sqe,
    /// Its data.
    pub data: Result<RequestData, Status>,
}

/// A command as it came back.
#[derive(Debug)]
pub struct Done {
    /// The queue.
    pub queue: QueueId,
    /// Its cookie.
    pub cookie: u64,
    /// The completion.
    pub cqe: Cqe,
    /// Whether the SQ head means something.
    pub sqhd_valid: bool,
    /// Bytes that arrived.
    pub transferred: u32,
    /// The data.
    pub data: Data,
}

/// Engines that live in one time.
pub struct World {
    now: Now,
    /// Hosts; most cases have one.
    pub hosts: Vec<HostSide>,
    /// Controllers; most cases have one.
    pub controllers: Vec<ControllerSide>,
    /// Peers made by hand.
    pub rogues: Vec<Box<dyn Rogue>>,
    /// Where the first controller listens.
    pub listener: Listener,
    /// The same, as a target.
    pub target: Target,
    /// In-capsule data the controller takes on I/O queues, as IOCCSZ would say.
    pub io_in_capsule: u32,
}

impl World {
    /// A host and a controller that listens.
    pub fn new(fixture: &dyn Fixture) -> Result<Self, Stop> {
        let host = fixture.host().host_engine().doing("a host's engine")?;
        let mut controller = fixture.controller().controller_engine().doing("a controller's engine")?;
        let at = fixture.listen_at();
        let listener = controller.listen(&at).doing("to listen")?;
        let now = Now::of(fixture.time());
        Ok(Self {
            now,
            hosts: vec![HostSide { engine: host, events: VecDeque::new() }],
            controllers: vec![ControllerSide { engine: controller, events: VecDeque::new() }],
            rogues: Vec::new(),
            listener,
            target: Target { wire: at.wire, address: listener.address },
            io_in_capsule: fixture.controller().limits().max_in_capsule.io,
        })
    }

    /// The time.
    pub fn now(&self) -> Instant {
        self.now.get()
    }

    /// Whether time passes only when the suite says so.
    pub fn is_virtual(&self) -> bool {
        self.now.is_virtual()
    }

    /// Adds a host; its index.
    pub fn add_host(&mut self, fixture: &dyn Fixture) -> Result<usize, Stop> {
        let engine = fixture.host().host_engine().doing("another host's engine")?;
        self.hosts.push(HostSide { engine, events: VecDeque::new() });
        Ok(self.hosts.len() - 1)
    }

    /// The first host's engine.
    pub fn host(&mut self) -> &mut dyn HostEngine {
        &mut *self.hosts[0].engine
    }

    /// The first controller's engine.
    pub fn controller(&mut self) -> &mut dyn ControllerEngine {
        &mut *self.controllers[0].engine
    }

    /// Polls everyone once; whether anything happened.
    pub fn poll(&mut self) -> Result<bool, Stop> {
        let now = self.now();
        self.rogues.iter_mut().for_each(|rogue| rogue.step(now));
        let mut happened = false;
        let mut events = Vec::new();
        for host in &mut self.hosts {
            host.engine.poll(now, &mut events).doing("the host's poll")?;
            happened |= !events.is_empty();
            host.events.extend(events.drain(..));
        }
        let mut events = Vec::new();
        for controller in &mut self.controllers {
            controller.engine.poll(now, &mut events).doing("the controller's poll")?;
            happened |= !events.is_empty();
            controller.events.extend(events.drain(..));
        }
        Ok(happened)
    }

    /// Polls everyone once and, if nothing happened, waits until something may; not beyond `until`.
    pub fn turn(&mut self, until: Instant) -> Result<(), Stop> {
        if self.poll()? {
            return Ok(());
        }
        let hosts = self.hosts.iter().map(|host| (host.engine.wait_handle(), host.engine.next_timeout()));
        let controllers = self.controllers.iter().map(|c| (c.engine.wait_handle(), c.engine.next_timeout()));
        let (handles, timeouts): (Vec<_>, Vec<_>) = hosts.chain(controllers).unzip();
        let mut next = timeouts.into_iter().flatten().chain([until]).min().unwrap_or(until);
        if !self.rogues.is_empty() {
            next = next.min(self.now() + Duration::from_millis(1));
        }
        self.now.wait(&handles, next);
        Ok(())
    }

    /// Runs until `enough` says so, or fails: `what` did not happen.
    pub fn until(&mut self, what: &str, mut enough: impl FnMut(&mut Self) -> bool) -> Result<(), Stop> {
        let until = self.now() + LIMIT;
        while !enough(self) {
            if self.now() >= until {
                return Err(Stop::failed(format!(
                    "{what} did not happen within {LIMIT:?}; {}",
                    self.pending()
                )));
            }
            self.turn(until)?;
        }
        Ok(())
    }

    /// Lets time pass.
    pub fn pass(&mut self, time: Duration) -> Result<(), Stop> {
        let until = self.now() + time;
        while self.now() < until {
            self.turn(until)?;
        }
        self.poll().map(drop)
    }

    /// Runs a while, and fails if anything is reported that has not been looked at.
    pub fn quiet(&mut self) -> Result<(), Stop> {
        self.pass(Duration::from_millis(if self.is_virtual() { 1000 } else { 20 }))?;
        if self.hosts.iter().all(|host| host.events.is_empty())
            && self.controllers.iter().all(|controller| controller.events.is_empty())
        {
            return Ok(());
        }
        Err(Stop::failed(format!("something happened that should not: {}", self.pending())))
    }

    fn pending(&self) -> String {
        let hosts: Vec<_> = self.hosts.iter().map(|host| &host.events).collect();
        let controllers: Vec<_> = self.controllers.iter().map(|controller| &controller.events).collect();
        format!("hosts: {hosts:?}, controllers: {controllers:?}")
    }

    /// The next thing that happens at the first host.
    pub fn host_event(&mut self) -> Result<HostEvent, Stop> {
        self.until("an event at the host", |world| !world.hosts[0].events.is_empty())?;
        self.hosts[0].events.pop_front().doing("an event")
    }

    /// The next thing that happens at the first controller.
    pub fn controller_event(&mut self) -> Result<ControllerEvent, Stop> {
        self.until("an event at the controller", |world| !world.controllers[0].events.is_empty())?;
        self.controllers[0].events.pop_front().doing("an event")
    }

    /// Connects the first host and waits for both sides to say so.
    pub fn connect(&mut self, options: &ConnectOptions) -> Result<Both, Stop> {
        self.connect_with_info(options).map(|(both, _, _)| both)
    }

    /// The same, with what both sides negotiated.
    pub fn connect_with_info(
        &mut self,
        options: &ConnectOptions,
    ) -> Result<(Both, Box<QueueInfo>, Box<QueueInfo>), Stop> {
        self.connect_from(0, options)
    }

    /// The same, from any of the hosts.
    pub fn connect_from(
        &mut self,
        host: usize,
        options: &ConnectOptions,
    ) -> Result<(Both, Box<QueueInfo>, Box<QueueInfo>), Stop> {
        let target = self.target;
        let asked = self.hosts[host].engine.connect(&target, options).doing("to connect")?;
        let (mut ours, mut theirs) = (None, None);
        self.until("a connection", |world| {
            // Picked out of their order: other queues may be busy meanwhile.
            let events = &mut world.hosts[host].events;
            if let Some(at) = events.iter().position(
                |event| matches!(event, HostEvent::Connected { queue, .. } | HostEvent::Closed { queue, .. } if *queue == asked),
            ) {
                ours = events.remove(at);
            }
            let events = &mut world.controllers[0].events;
            if let Some(at) = events.iter().position(|event| matches!(event, ControllerEvent::Accepted { .. })) {
                theirs = events.remove(at);
            }
            matches!(ours, Some(HostEvent::Closed { .. })) || (ours.is_some() && theirs.is_some())
        })?;
        match (ours, theirs) {
            (
                Some(HostEvent::Connected { info: ours, .. }),
                Some(ControllerEvent::Accepted { queue, info: theirs, .. }),
            ) => Ok((Both { host: asked, controller: queue }, ours, theirs)),
            (ours, theirs) => Err(Stop::failed(format!("no connection: {ours:?}, {theirs:?}"))),
        }
    }

    /// Says on both sides what a Connect command would have settled.
    pub fn configure(&mut self, queue: Both, settings: QueueSettings) -> Result<(), Stop> {
        self.controller().configure(queue.controller, settings).doing("the controller's configure")?;
        self.host().configure(queue.host, settings).doing("the host's configure")
    }

    /// A connected queue as after a Connect command, with SQ flow control as wanted.
    pub fn open(&mut self, depth: u16, sq_flow_control: bool) -> Result<Both, Stop> {
        let kind = QueueKind::Io(1);
        let max_in_capsule = self.io_in_capsule;
        let queue = self.connect(&ConnectOptions { max_in_capsule, ..options(kind, depth) })?;
        self.configure(queue, QueueSettings { kind, depth, sq_flow_control })?;
        Ok(queue)
    }

    /// A buffer of the host.
    pub fn buffer(&mut self, len: usize) -> Result<Buffer, Stop> {
        self.host().memory().allocate(len).doing("a buffer of the host")
    }

    /// A buffer of the controller.
    pub fn controller_buffer(&mut self, len: usize) -> Result<Buffer, Stop> {
        self.controller().memory().allocate(len).doing("a buffer of the controller")
    }

    /// Submits, and fails if that is refused.
    pub fn submit(&mut self, queue: QueueId, sqe: Sqe, data: Data, cookie: u64) -> Result<Cid, Stop> {
        self.host().submit(queue, Command { sqe, data, cookie }).doing("to submit")
    }

    /// The next thing at the controller, which must be a command.
    pub fn request(&mut self) -> Result<Request, Stop> {
        match self.controller_event()? {
            ControllerEvent::Command { request, sqe, data } => Ok(Request { id: request, sqe, data }),
            other => Err(Stop::failed(format!("expected a command, got {other:?}"))),
        }
    }

    /// The next thing at the host, which must be a completion.
    pub fn done(&mut self) -> Result<Done, Stop> {
        match self.host_event()? {
            HostEvent::Completed { queue, cookie, cqe, sqhd_valid, transferred, data } => {
                Ok(Done { queue, cookie, cqe, sqhd_valid, transferred, data })
            }
            other => Err(Stop::failed(format!("expected a completion, got {other:?}"))),
        }
    }

    /// Answers with success and no data.
    pub fn succeed(&mut self, request: &Request) -> Result<(), Stop> {
        self.respond(request, Gather::new())
    }

    /// Answers with success and data.
    pub fn respond(&mut self, request: &Request, data: Gather) -> Result<(), Stop> {
        self.controller().respond(request.id, Cqe::success(request.sqe.cid()), data).doing("to respond")
    }

    /// Shows that a queue works: a command goes there and its answer comes back.
    pub fn works(&mut self, queue: Both) -> Result<(), Stop> {
        self.submit(queue.host, Sqe::default(), Data::None, u64::MAX)?;
        let request = self.request()?;
        crate::check_eq!(request.id.queue, queue.controller);
        self.succeed(&request)?;
        let done = self.done()?;
        crate::check_eq!((done.queue, done.cookie), (queue.host, u64::MAX));
        Ok(())
    }
}

/// Plain options of a queue.
#[must_use]
pub fn options(kind: QueueKind, depth: u16) -> ConnectOptions {
    ConnectOptions { kind, depth, max_in_capsule: 0, timeout: Duration::from_secs(5), source: None }
}
