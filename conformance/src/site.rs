//! A whole target and hosts made of raw commands, over one transport and in one time: what association cases are written with.
//!
//! The target has two engines with a session and a listener each, as two threads of a program would, so that a case can have
//! the queues of one association in different sessions. A host is an engine; what it says is the case's business.

use std::{
    collections::HashMap,
    os::fd::{AsFd as _, BorrowedFd},
    sync::Arc,
    time::{Duration, Instant},
};

use nvmf_controller::{
    NamespaceOptions, Server, ServerOptions, Session, Subsystem, SubsystemOptions,
    backend::{Backend, BlockSize, RamBackend, faulty::Faulty},
};
use nvmf_transport::{
    CloseReason, Command, ConnectOptions, ControllerEngine, ControllerEvent, Data, HostEngine, HostEvent,
    Listener, QueueId, QueueKind, Target, Wake, Wire,
};
use nvmf_wire::{Cid, Cqe, Nqn, Sqe, Status};

use crate::{Context as _, Fixture, Stop, Verdict, time::Now, world::LIMIT};

/// The subsystem every host may connect to.
pub const OPEN: &str = "nqn.2024-01.org.example:open";
/// The subsystem only [`FRIEND`] may connect to.
pub const CLOSED: &str = "nqn.2024-01.org.example:closed";
/// The host most cases are.
pub const FRIEND: &str = "nqn.2014-08.org.nvmexpress:uuid:11111111-2222-3333-4444-555555555555";
/// Another host.
pub const STRANGER: &str = "nqn.2014-08.org.nvmexpress:uuid:99999999-8888-7777-6666-555555555555";

/// The namespace with blocks of 512 bytes, whose backend can be made to fail.
pub const SMALL: u32 = 1;
/// The namespace with blocks of 4096 bytes.
pub const LARGE: u32 = 3;
/// The namespace that cannot be written.
pub const READ_ONLY: u32 = 7;

/// The most I/O queues per association.
pub const MAX_QUEUES: u16 = 4;
/// The largest I/O queue, if the transport does not lower it.
pub const MAX_ENTRIES: u16 = 128;
/// The most data of a command.
pub const MAX_TRANSFER: u32 = 256 * 1024;
/// Blocks of [`SMALL`].
pub const SMALL_BLOCKS: u64 = 32_768;
/// Blocks of [`LARGE`].
pub const LARGE_BLOCKS: u64 = 2048;

/// A name that is known to be one.
///
/// # Panics
/// If it is not.
#[must_use]
pub fn nqn(text: &str) -> Nqn {
    match Nqn::parse(text) {
        Ok(nqn) => nqn,
        Err(error) => panic!("{text}: {error}"),
    }
}

struct Unit {
    engine: Box<dyn ControllerEngine>,
    session: Session,
    wake: Wake,
    events: Vec<ControllerEvent>,
}

impl Unit {
    fn new(server: &Server, wire: Wire, engine: Box<dyn ControllerEngine>) -> Result<Self, Stop> {
        let wake = Wake::new().doing("a wake-up")?;
        let session = Session::new(server, wire, engine.memory(), wake.clone());
        Ok(Self { engine, session, wake, events: Vec::new() })
    }
}

/// A command as it came back.
#[derive(Debug)]
pub struct Answer {
    /// The completion.
    pub cqe: Cqe,
    /// Whether the SQ head means something.
    pub sqhd_valid: bool,
    /// Bytes that arrived.
    pub transferred: u32,
    /// The data.
    pub data: Data,
}

impl Answer {
    /// The status.
    pub fn status(&self) -> Status {
        self.cqe.status()
    }

    /// The data that arrived.
    pub fn bytes(&self) -> &[u8] {
        match &self.data {
            Data::FromController(buffer) => &buffer[..],
            _ => &[],
        }
    }
}

/// How a command ended.
#[derive(Debug)]
enum End {
    Answered(Answer),
    Aborted,
}

/// A command that was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Sent {
    cookie: u64,
    /// The identifier on the wire.
    pub cid: Cid,
}

#[derive(Default)]
struct Heard {
    connected: HashMap<QueueId, u32>,
    closed: HashMap<QueueId, CloseReason>,
    ended: HashMap<u64, End>,
    /// Cookies in the order their commands ended.
    order: Vec<u64>,
}

/// A target and its hosts.
pub struct Site {
    now: Now,
    units: Vec<Unit>,
    /// The target's configuration and state.
    pub server: Server,
    /// The subsystem [`OPEN`].
    pub subsystem: Arc<Subsystem>,
    /// The backend of [`SMALL`].
    pub backend: Arc<Faulty>,
    host: Box<dyn HostEngine>,
    heard: Heard,
    next_cookie: u64,
    /// Where the engines listen.
    pub listeners: Vec<Listener>,
    /// The same, as targets.
    pub targets: Vec<Target>,
    /// In-capsule data taken on I/O queues by the transport.
    pub io_in_capsule: u32,
    /// The largest queue of the transport.
    pub max_depth: u16,
}

impl Site {
    /// The usual target: [`OPEN`] and [`CLOSED`], with the three namespaces.
    pub fn new(fixture: &dyn Fixture) -> Result<Self, Stop> {
        Self::with_options(fixture, ServerOptions::default())
    }

    /// The same, with other bounds.
    pub fn with_options(fixture: &dyn Fixture, options: ServerOptions) -> Result<Self, Stop> {
        let server = Server::new(options);
        let transport = fixture.controller();
        let mut units = Vec::new();
        let (mut listeners, mut targets) = (Vec::new(), Vec::new());
        for _ in 0..2 {
            let mut engine = transport.controller_engine().doing("a controller's engine")?;
            let at = fixture.listen_at();
            let listener = engine.listen(&at).doing("to listen")?;
            listeners.push(listener);
            targets.push(Target { wire: at.wire, address: listener.address });
            units.push(Unit::new(&server, transport.wire(), engine)?);
        }
        let memory = units[0].engine.memory();
        let ram = |blocks: u64, size: BlockSize| {
            let identity = nvmf_controller::backend::Identity::random();
            RamBackend::with_memory(blocks << size.shift(), size, identity, Arc::clone(&memory))
                .doing("memory")
        };
        let size = |bytes| BlockSize::from_bytes(bytes).doing("a block size");
        let backend = Arc::new(Faulty::new(Arc::new(ram(SMALL_BLOCKS, size(512)?)?)));
        let large: Arc<dyn Backend> = Arc::new(ram(LARGE_BLOCKS, size(4096)?)?);
        let read_only: Arc<dyn Backend> = Arc::new(ram(LARGE_BLOCKS, size(4096)?)?.read_only(true));
        let usual = |name| SubsystemOptions {
            max_io_queues: MAX_QUEUES,
            max_queue_entries: MAX_ENTRIES,
            max_transfer: MAX_TRANSFER,
            max_namespaces: 64,
            ..SubsystemOptions::new(nqn(name))
        };
        let subsystem = server.add_subsystem(usual(OPEN)).doing("a subsystem")?;
        let small: Arc<dyn Backend> = Arc::clone(&backend) as _;
        for (nsid, backend) in [(SMALL, small), (LARGE, large), (READ_ONLY, read_only)] {
            subsystem.add_namespace(nsid, NamespaceOptions::new(backend)).doing("a namespace")?;
        }
        let closed = SubsystemOptions { hosts: [nqn(FRIEND)].into_iter().collect(), ..usual(CLOSED) };
        server.add_subsystem(closed).doing("a subsystem")?;
        for listener in &listeners {
            server.add_listener(transport.wire(), listener.address);
        }
        Ok(Self {
            now: Now::of(fixture.time()),
            units,
            server,
            subsystem,
            backend,
            host: fixture.host().host_engine().doing("a host's engine")?,
            heard: Heard::default(),
            next_cookie: 0,
            listeners,
            targets,
            io_in_capsule: transport.limits().max_in_capsule.io,
            max_depth: transport.limits().max_depth,
        })
    }

    /// The target's engines vanish, and their sessions; configuration and namespaces stay.
    pub fn stop(&mut self) {
        self.units.clear();
    }

    /// The target comes back at the same addresses.
    pub fn restart(&mut self, fixture: &dyn Fixture) -> Verdict {
        let transport = fixture.controller();
        for target in &self.targets {
            let mut engine = transport.controller_engine().doing("a controller's engine")?;
            engine.listen(target).doing("to listen again")?;
            self.units.push(Unit::new(&self.server, transport.wire(), engine)?);
        }
        Ok(())
    }

    /// The time.
    pub fn now(&self) -> Instant {
        self.now.get()
    }

    /// Whether time passes only when the suite says so.
    pub fn is_virtual(&self) -> bool {
        self.now.is_virtual()
    }

    /// The host's engine.
    pub fn host(&mut self) -> &mut dyn HostEngine {
        &mut *self.host
    }

    /// Everyone does what can be done now; whether anything happened.
    pub fn poll(&mut self) -> Result<bool, Stop> {
        let now = self.now();
        let mut events = Vec::new();
        self.host.poll(now, &mut events).doing("the host's poll")?;
        let mut happened = !events.is_empty();
        for event in events {
            self.hear(event);
        }
        for Unit { engine, session, wake, events } in &mut self.units {
            wake.clear();
            happened |= session.advance(&mut **engine, now);
            engine.poll(now, events).doing("the controller's poll")?;
            happened |= !events.is_empty();
            session.handle(&mut **engine, now, events);
        }
        Ok(happened)
    }

    fn hear(&mut self, event: HostEvent) {
        match event {
            HostEvent::Connected { queue, info } => {
                self.heard.connected.insert(queue, info.limits.max_transfer);
            }
            HostEvent::Completed { cookie, cqe, sqhd_valid, transferred, data, .. } => {
                self.heard.order.push(cookie);
                let answer = Answer { cqe, sqhd_valid, transferred, data };
                self.heard.ended.insert(cookie, End::Answered(answer));
            }
            HostEvent::Aborted { cookie, .. } => {
                self.heard.order.push(cookie);
                self.heard.ended.insert(cookie, End::Aborted);
            }
            HostEvent::Closed { queue, reason } => {
                self.heard.closed.insert(queue, reason);
            }
            other => tracing::error!(?other, "an event the suite does not know"),
        }
    }

    /// Everyone once and, if nothing happened, waits until something may; not beyond `until`.
    pub fn turn(&mut self, until: Instant) -> Verdict {
        self.turn_with(until, &[])
    }

    /// The same, for a case that has something else to wait for.
    pub fn turn_with(&mut self, until: Instant, others: &[BorrowedFd<'_>]) -> Verdict {
        // Twice: what the first pass answered leaves with the second.
        if self.poll()? | self.poll()? {
            return Ok(());
        }
        let mut handles = vec![self.host.wait_handle()];
        handles.extend_from_slice(others);
        let mut next = vec![until];
        next.extend(self.host.next_timeout());
        for Unit { engine, session, wake, .. } in &self.units {
            handles.extend([engine.wait_handle(), wake.as_fd()]);
            next.extend([engine.next_timeout(), session.next_timeout()].into_iter().flatten());
        }
        let next = next.into_iter().min().unwrap_or(until);
        self.now.wait(&handles, next);
        Ok(())
    }

    /// Runs until `enough` says so, or fails: `what` did not happen.
    pub fn until(&mut self, what: &str, mut enough: impl FnMut(&mut Self) -> bool) -> Verdict {
        let until = self.now() + LIMIT;
        while !enough(self) {
            if self.now() >= until {
                return Err(Stop::failed(format!("{what} did not happen within {LIMIT:?}")));
            }
            self.turn(until)?;
        }
        Ok(())
    }

    /// Lets time pass.
    pub fn pass(&mut self, time: Duration) -> Verdict {
        let until = self.now() + time;
        while self.now() < until {
            self.turn(until)?;
        }
        self.poll().map(drop)
    }

    /// A connection of the transport to one of the target's engines, before any command.
    pub fn open_at(&mut self, engine: usize, kind: QueueKind, depth: u16) -> Result<QueueId, Stop> {
        let queue = self.dial(engine, kind, depth)?;
        match self.heard.closed.get(&queue) {
            None => Ok(queue),
            Some(reason) => Err(Stop::failed(format!("no connection: {reason}"))),
        }
    }

    /// The same, where the target may end it at once.
    pub fn dial(&mut self, engine: usize, kind: QueueKind, depth: u16) -> Result<QueueId, Stop> {
        let options = ConnectOptions {
            kind,
            depth,
            max_in_capsule: self.io_in_capsule,
            timeout: Duration::from_secs(5),
            source: None,
        };
        let target = self.targets[engine];
        let queue = self.host.connect(&target, &options).doing("to connect")?;
        self.until("a connection", |site| {
            site.heard.connected.contains_key(&queue) || site.heard.closed.contains_key(&queue)
        })?;
        Ok(queue)
    }

    /// A connection to the first engine.
    pub fn open(&mut self, kind: QueueKind, depth: u16) -> Result<QueueId, Stop> {
        self.open_at(0, kind, depth)
    }

    /// Sends a command.
    pub fn send(&mut self, queue: QueueId, sqe: Sqe, data: Data) -> Result<Sent, Stop> {
        let cookie = self.next_cookie;
        self.next_cookie += 1;
        let cid = self.host.submit(queue, Command { sqe, data, cookie }).doing("to submit")?;
        Ok(Sent { cookie, cid })
    }

    /// Waits for a command's completion.
    pub fn answer(&mut self, sent: Sent) -> Result<Answer, Stop> {
        self.until("an answer", |site| site.heard.ended.contains_key(&sent.cookie))?;
        match self.heard.ended.remove(&sent.cookie) {
            Some(End::Answered(answer)) => Ok(answer),
            _ => Err(Stop::failed("the command was aborted with its queue")),
        }
    }

    /// Whether a command has ended, by a completion or with its queue.
    pub fn has_ended(&self, sent: Sent) -> bool {
        self.heard.ended.contains_key(&sent.cookie)
    }

    /// The commands in the order they ended since the last call.
    pub fn take_order(&mut self, of: &[Sent]) -> Vec<usize> {
        let order = std::mem::take(&mut self.heard.order);
        order.iter().filter_map(|cookie| of.iter().position(|sent| sent.cookie == *cookie)).collect()
    }

    /// Sends a command and waits for its completion.
    pub fn call(&mut self, queue: QueueId, sqe: Sqe, data: Data) -> Result<Answer, Stop> {
        let sent = self.send(queue, sqe, data)?;
        self.answer(sent)
    }

    /// Waits for the end of a queue.
    pub fn closed(&mut self, queue: QueueId) -> Result<String, Stop> {
        self.until("the end of a queue", |site| site.heard.closed.contains_key(&queue))?;
        Ok(self.heard.closed.get(&queue).map(ToString::to_string).unwrap_or_default())
    }

    /// Whether a queue lives.
    pub fn is_open(&self, queue: QueueId) -> bool {
        !self.heard.closed.contains_key(&queue)
    }

    /// Data to send.
    pub fn out(&mut self, bytes: &[u8]) -> Result<Data, Stop> {
        let mut buffer = self.host.memory().allocate(bytes.len()).doing("memory")?;
        buffer.copy_from_slice(bytes);
        Ok(Data::ToController(buffer))
    }

    /// Room for data.
    pub fn room(&mut self, len: usize) -> Result<Data, Stop> {
        Ok(Data::FromController(self.host.memory().allocate(len).doing("memory")?))
    }
}
