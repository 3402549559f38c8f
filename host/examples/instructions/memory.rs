//! Engines of both roles over the sans-io connections of NVMe/TCP, with memory where sockets would be.
//!
//! They do what the socket engines do for a connection, in the same order: send, receive, send. What the kernel would do is in
//! [`kernel_send`] and [`kernel_receive`], which are not counted, and which take and give all there is: how bytes are
//! cut is then the same on every machine.

use std::{
    io::IoSlice,
    net::SocketAddr,
    os::fd::{AsFd as _, BorrowedFd},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use nvmf_tcp::{
    Tcp, TcpConfig,
    conn::{ControllerConn, ControllerSetup, HostConn, HostSetup, Life, Patience, Slices},
    pdu::{ADMIN_IN_CAPSULE, Negotiated},
};
use nvmf_transport::{
    Buffer, Close, Command, ConnectOptions, ControllerEngine, ControllerEvent, DigestBy, Engine, Error,
    Gather, HostEngine, HostEvent, Limits, Listener, ListenerId, Memory, Misuse, Pages, Pool, QueueId,
    QueueInfo, QueueSettings, Queues, Refused, RequestId, Target, Transport as _, Wake,
};
use nvmf_wire::{Cid, Cqe};

use crate::Failure;

/// Reads of one connection in one pass, as in the socket engine.
const READS: usize = 8;

/// The bytes of one direction that are on their way.
#[derive(Debug, Default)]
struct Pipe {
    bytes: Vec<u8>,
    taken: usize,
}

/// A connection's bytes, towards the host and towards the controller.
#[derive(Debug, Default)]
struct Line([Mutex<Pipe>; 2]);

/// Lines that a host has opened and the controller has not accepted.
type Backlog = Arc<Mutex<Vec<Arc<Line>>>>;

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[inline(never)]
fn kernel_send(pipe: &Mutex<Pipe>, slices: &[IoSlice<'_>]) {
    let mut pipe = lock(pipe);
    slices.iter().for_each(|slice| pipe.bytes.extend_from_slice(slice));
}

#[inline(never)]
fn kernel_receive(pipe: &Mutex<Pipe>, targets: [&mut [u8]; 2]) -> usize {
    let mut pipe = lock(pipe);
    let mut received = 0;
    for target in targets {
        let waiting = pipe.bytes.get(pipe.taken..).unwrap_or_default();
        let n = waiting.len().min(target.len());
        target[..n].copy_from_slice(&waiting[..n]);
        pipe.taken += n;
        received += n;
    }
    if pipe.taken == pipe.bytes.len() {
        pipe.bytes.clear();
        pipe.taken = 0;
    }
    received
}

/// What the engines need of a connection of either role.
trait Connection: Send {
    type Event;
    /// Which direction of a line it reads.
    const READS_FROM: usize;
    fn targets<'a>(&'a mut self, scratch: &'a mut [u8]) -> [&'a mut [u8]; 2];
    fn received(&mut self, n: usize, scratch: &[u8], events: &mut Vec<Self::Event>);
    fn has_output(&self) -> bool;
    fn gather<'a>(&'a self, slices: &mut Slices<'a>) -> usize;
    fn wrote(&mut self, n: usize, events: &mut Vec<Self::Event>);
    fn life(&self) -> Life;
    fn deadline(&mut self, now: Instant) -> Option<Instant>;
    fn finish(&mut self, events: &mut Vec<Self::Event>);
    fn take_established(&mut self) -> bool;
    fn terms(&self) -> Option<&Negotiated>;
    fn announce(&self, info: Box<QueueInfo>) -> Self::Event;
}

macro_rules! connection {
    ($Conn:ty, $Event:ty, $reads_from:expr) => {
        impl Connection for $Conn {
            type Event = $Event;
            const READS_FROM: usize = $reads_from;
            fn targets<'a>(&'a mut self, scratch: &'a mut [u8]) -> [&'a mut [u8]; 2] {
                self.targets(scratch)
            }
            fn received(&mut self, n: usize, scratch: &[u8], events: &mut Vec<$Event>) {
                self.received(n, scratch, events);
            }
            fn has_output(&self) -> bool {
                self.has_output()
            }
            fn gather<'a>(&'a self, slices: &mut Slices<'a>) -> usize {
                self.gather(slices)
            }
            fn wrote(&mut self, n: usize, events: &mut Vec<$Event>) {
                self.wrote(n, events);
            }
            fn life(&self) -> Life {
                self.life()
            }
            fn deadline(&mut self, now: Instant) -> Option<Instant> {
                self.deadline(now)
            }
            fn finish(&mut self, events: &mut Vec<$Event>) {
                self.finish(events);
            }
            fn take_established(&mut self) -> bool {
                self.take_established()
            }
            fn terms(&self) -> Option<&Negotiated> {
                self.negotiated_terms()
            }
            fn announce(&self, info: Box<QueueInfo>) -> $Event {
                self.setup().announce(info)
            }
        }
    };
}

connection!(HostConn, HostEvent, 0);
connection!(ControllerConn, ControllerEvent, 1);

struct Queue<C> {
    conn: C,
    line: Arc<Line>,
    limits: Limits,
}

impl<C: Connection> Queue<C> {
    /// Sends what waits, then says so if that, or what had been received, ended negotiation.
    fn flush(&mut self, address: SocketAddr, events: &mut Vec<C::Event>) {
        while self.conn.has_output() && self.conn.life() != Life::Over {
            let mut slices = Slices::new();
            let n = self.conn.gather(&mut slices);
            kernel_send(&self.line.0[1 - C::READS_FROM], &slices);
            drop(slices);
            self.conn.wrote(n, events);
        }
        if self.conn.take_established() {
            self.announce(address, events);
        }
    }

    #[cold]
    fn announce(&mut self, address: SocketAddr, events: &mut Vec<C::Event>) {
        let by = |on| if on { DigestBy::Software } else { DigestBy::None };
        if let Some(Negotiated { digests, .. }) = self.conn.terms() {
            self.limits.header_digest = by(digests.header);
            self.limits.data_digest = by(digests.data);
        }
        let (limits, negotiated) = (self.limits.clone(), Vec::new());
        let info = QueueInfo { limits, local: address, peer: address, data_path: "software", negotiated };
        events.push(self.conn.announce(Box::new(info)));
    }

    fn receive(&mut self, scratch: &mut [u8], events: &mut Vec<C::Event>) {
        for _ in 0..READS {
            let targets = self.conn.targets(scratch);
            let room: usize = targets.iter().map(|target| target.len()).sum();
            let n = kernel_receive(&self.line.0[C::READS_FROM], targets);
            if n == 0 {
                return;
            }
            self.conn.received(n, scratch, events);
            if n < room || self.conn.life() == Life::Over {
                return;
            }
        }
    }
}

/// The part of an engine that does not depend on the role.
struct Core<C> {
    config: TcpConfig,
    limits: Limits,
    queues: Queues<Queue<C>>,
    ended: Vec<QueueId>,
    scratch: Box<[u8]>,
    backlog: Backlog,
    address: SocketAddr,
    wake: Wake,
}

impl<C: Connection> Core<C> {
    fn new(tcp: &Tcp, backlog: &Backlog) -> Result<Self, Failure> {
        Ok(Self {
            config: tcp.config().clone(),
            limits: tcp.limits(),
            queues: Queues::default(),
            ended: Vec::new(),
            scratch: vec![0; tcp.config().scratch].into(),
            backlog: Arc::clone(backlog),
            address: "192.0.2.1:4420".parse()?,
            wake: Wake::new()?,
        })
    }

    fn patience(&self) -> Patience {
        Patience {
            negotiate: self.config.negotiate_timeout,
            stall: self.config.stall_timeout,
            flush: self.config.flush_timeout,
            linger: self.config.linger,
        }
    }

    fn insert(&mut self, line: Arc<Line>, make: impl FnOnce(QueueId) -> C) -> QueueId {
        let limits = self.limits.clone();
        self.queues.insert_with(|id| Queue { conn: make(id), line, limits })
    }

    fn poll(&mut self, now: Instant, events: &mut Vec<C::Event>) {
        for (id, queue) in self.queues.iter_mut() {
            queue.flush(self.address, events);
            queue.receive(&mut self.scratch, events);
            queue.flush(self.address, events);
            if queue.conn.life() == Life::Over {
                queue.conn.finish(events);
                self.ended.push(id);
            }
            queue.conn.deadline(now);
        }
        for id in self.ended.drain(..) {
            self.queues.remove(id);
        }
    }
}

macro_rules! engine {
    ($Engine:ident, $Conn:ty) => {
        impl Engine for $Engine {
            fn transport(&self) -> &'static str {
                "memory"
            }
            fn memory(&self) -> Arc<dyn Memory> {
                Arc::new(Pages)
            }
            fn wait_handle(&self) -> BorrowedFd<'_> {
                self.core.wake.as_fd()
            }
            fn next_timeout(&self) -> Option<Instant> {
                None
            }
            fn limits(&self, queue: QueueId) -> Option<&Limits> {
                self.core.queues.get(queue).map(|queue| &queue.limits)
            }
            fn configure(&mut self, queue: QueueId, settings: QueueSettings) -> Result<(), Misuse> {
                self.core.queues.get_mut(queue).ok_or(Misuse::UnknownQueue)?.conn.configure(&settings)
            }
            fn close(&mut self, queue: QueueId, how: Close) {
                if let Some(queue) = self.core.queues.get_mut(queue) {
                    queue.conn.close(how);
                }
            }
        }
    };
}

struct HostSide {
    core: Core<HostConn>,
}

engine!(HostSide, HostConn);

impl HostEngine for HostSide {
    fn connect(&mut self, _: &Target, options: &ConnectOptions) -> Result<QueueId, Error> {
        let line = Arc::new(Line::default());
        lock(&self.core.backlog).push(Arc::clone(&line));
        let (max_transfer, patience) = (self.core.config.max_transfer, self.core.patience());
        let &ConnectOptions { depth, max_in_capsule: in_capsule, .. } = options;
        let terms = self.core.config.host;
        let id = self.core.insert(line, |queue| {
            let mut conn = HostConn::new(HostSetup { queue, depth, in_capsule, max_transfer, patience });
            conn.start(terms);
            conn
        });
        if let Some(queue) = self.core.queues.get_mut(id) {
            queue.limits.max_in_capsule.io = in_capsule;
        }
        Ok(id)
    }

    fn submit(&mut self, queue: QueueId, command: Command) -> Result<Cid, Refused<Command>> {
        match self.core.queues.get_mut(queue) {
            Some(queue) => queue.conn.submit(command),
            None => Err(Refused::new(command, Misuse::UnknownQueue)),
        }
    }

    fn poll(&mut self, now: Instant, events: &mut Vec<HostEvent>) -> Result<(), Error> {
        self.core.poll(now, events);
        Ok(())
    }
}

struct ControllerSide {
    core: Core<ControllerConn>,
    small: Arc<Pool>,
    large: Arc<Pool>,
}

engine!(ControllerSide, ControllerConn);

impl ControllerEngine for ControllerSide {
    fn listen(&mut self, at: &Target) -> Result<Listener, Error> {
        Ok(Listener { id: ListenerId(0), address: at.address })
    }

    fn unlisten(&mut self, _: ListenerId) {}

    fn fetch(&mut self, request: RequestId, offset: u32, into: Buffer) -> Result<(), Refused<Buffer>> {
        match self.core.queues.get_mut(request.queue) {
            Some(queue) => queue.conn.fetch(request, offset, into),
            None => Err(Refused::new(into, Misuse::UnknownRequest)),
        }
    }

    fn respond(&mut self, request: RequestId, cqe: Cqe, data: Gather) -> Result<(), Refused<Gather>> {
        match self.core.queues.get_mut(request.queue) {
            Some(queue) => queue.conn.respond(request, cqe, data),
            None => Err(Refused::new(data, Misuse::UnknownRequest)),
        }
    }

    fn poll(&mut self, now: Instant, events: &mut Vec<ControllerEvent>) -> Result<(), Error> {
        let backlog = std::mem::take(&mut *lock(&self.core.backlog));
        for line in backlog {
            let (config, patience) = (self.core.config.clone(), self.core.patience());
            let (small, large) = (Arc::clone(&self.small), Arc::clone(&self.large));
            self.core.insert(line, |queue| {
                let setup = ControllerSetup {
                    queue,
                    listener: ListenerId(0),
                    in_capsule: config.in_capsule,
                    max_c2h_data: config.max_c2h_data,
                    max_fetches: config.max_fetches,
                    max_depth: config.max_depth,
                    small,
                    large,
                    patience,
                };
                ControllerConn::new(setup, config.controller)
            });
        }
        self.core.poll(now, events);
        Ok(())
    }
}

/// An engine of each role.
type Pair = (Box<dyn HostEngine>, Box<dyn ControllerEngine>);

/// Both engines, joined.
pub(crate) fn engines(config: TcpConfig) -> Result<Pair, Failure> {
    let tcp = Tcp::new(config)?;
    let backlog = Backlog::default();
    let config = tcp.config();
    let pool = |size: u32| Arc::new(Pool::new(Arc::new(Pages), size as usize, config.in_capsule_buffers));
    let (small, large) = (pool(ADMIN_IN_CAPSULE), pool(config.in_capsule.max(ADMIN_IN_CAPSULE)));
    let host = HostSide { core: Core::new(&tcp, &backlog)? };
    let controller = ControllerSide { core: Core::new(&tcp, &backlog)?, small, large };
    Ok((Box::new(host), Box::new(controller)))
}
