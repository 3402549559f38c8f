//! A host engine and a controller engine on one thread, over 127.0.0.1, and the little session that tests need above them.

#![allow(dead_code, unreachable_pub, reason = "every test file uses a part of it")]
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "a test, and a driver: it reads the clock"
)]

use std::{
    net::SocketAddr,
    sync::OnceLock,
    time::{Duration, Instant},
};

use nvmf_tcp::{Tcp, TcpConfig, TcpControllerEngine, TcpHostEngine};
use nvmf_transport::{
    Buffer, CloseReason, Command, ConnectOptions, ControllerEngine, ControllerEvent, Data, Engine, Gather,
    HostEngine, HostEvent, ListenerId, QueueId, QueueInfo, QueueKind, QueueSettings, Region, RequestData,
    Target, View, Wire,
};
use nvmf_wire::{Cqe, IoOpcode, Sqe, Status};

/// No test waits longer than this for anything.
pub const PATIENCE: Duration = Duration::from_secs(10);

pub const DEPTH: u16 = 32;

pub fn buffer(len: usize) -> Buffer {
    Region::allocate(len).unwrap().into_buffer()
}

/// What every read answers with: no two words are alike.
pub fn store() -> &'static [u8] {
    static STORE: OnceLock<Vec<u8>> = OnceLock::new();
    STORE.get_or_init(|| {
        (0..1u64 << 19).flat_map(|at| (at + 1).wrapping_mul(0x2545_F491_4F6C_DD1D).to_le_bytes()).collect()
    })
}

/// A piece of it, for writes; another one for every seed.
pub fn pattern(len: usize, seed: u64) -> Buffer {
    let mut made = buffer(len);
    let from = (seed as usize * 4096 + 13) % (store().len() - len);
    made.copy_from_slice(&store()[from..from + len]);
    made
}

pub fn target(address: SocketAddr) -> Target {
    Target::new(Wire::TCP, address)
}

pub fn options() -> ConnectOptions {
    ConnectOptions {
        kind: QueueKind::Io(1),
        depth: DEPTH,
        max_in_capsule: 16 * 1024,
        timeout: Duration::from_secs(5),
        source: None,
    }
}

pub fn settings() -> QueueSettings {
    QueueSettings { kind: QueueKind::Io(1), depth: DEPTH, sq_flow_control: false }
}

/// A controller that serves one pattern to every read and keeps what was written last.
pub struct Target1 {
    pub engine: TcpControllerEngine,
    pub address: SocketAddr,
    pub listener: ListenerId,
    pub events: Vec<ControllerEvent>,
    pub infos: Vec<QueueInfo>,
    pub closed: Vec<CloseReason>,
    pub written: Vec<u8>,
    pub queues: Vec<QueueId>,
    store: View,
}

impl Target1 {
    pub fn new(tcp: &Tcp) -> Self {
        let mut whole = buffer(store().len());
        whole.copy_from_slice(store());
        let mut engine = tcp.controller().unwrap();
        let listener = engine.listen(&target("127.0.0.1:0".parse().unwrap())).unwrap();
        Self {
            engine,
            address: listener.address,
            listener: listener.id,
            events: Vec::new(),
            infos: Vec::new(),
            closed: Vec::new(),
            written: Vec::new(),
            queues: Vec::new(),
            store: whole.freeze(),
        }
    }

    pub fn poll(&mut self) {
        self.engine.poll(Instant::now(), &mut self.events).unwrap();
        for event in std::mem::take(&mut self.events) {
            match event {
                ControllerEvent::Accepted { queue, info, .. } => {
                    // A queue may have ended in the pass in which it came up.
                    let _ = self.engine.configure(queue, settings());
                    self.infos.push(*info);
                    self.queues.push(queue);
                }
                ControllerEvent::Command { request, sqe, data } => {
                    let (cqe, answer) = match data {
                        Err(status) => (Cqe::error(sqe.cid(), status), Gather::new()),
                        Ok(RequestData::Remote { len }) if sqe.io_opcode() == IoOpcode::READ => {
                            (Cqe::default(), self.store.slice(0..len as usize).into())
                        }
                        Ok(RequestData::Remote { len }) => {
                            self.engine.fetch(request, 0, buffer(len as usize)).unwrap();
                            continue;
                        }
                        Ok(RequestData::InCapsule(data)) => {
                            self.written = data.to_vec();
                            (Cqe::default(), Gather::new())
                        }
                        Ok(RequestData::None) => (Cqe::default(), Gather::new()),
                    };
                    self.engine.respond(request, cqe, answer).unwrap();
                }
                ControllerEvent::Fetched { request, data, outcome, .. } => {
                    self.written = data.to_vec();
                    let status = outcome.err().unwrap_or(Status::SUCCESS);
                    // A queue that ended meanwhile takes no answer.
                    let _ =
                        self.engine.respond(request, Cqe::error(Default::default(), status), Gather::new());
                }
                ControllerEvent::Closed { reason, .. } => self.closed.push(reason),
                _ => {}
            }
        }
    }
}

/// Both engines.
pub struct Loop {
    pub target: Target1,
    pub host: TcpHostEngine,
    pub events: Vec<HostEvent>,
}

impl Loop {
    pub fn new(tcp: &Tcp) -> Self {
        Self::of(tcp, tcp)
    }

    pub fn of(host: &Tcp, controller: &Tcp) -> Self {
        Self { target: Target1::new(controller), host: host.host().unwrap(), events: Vec::new() }
    }

    pub fn with(config: TcpConfig) -> Self {
        Self::new(&Tcp::new(config).unwrap())
    }

    pub fn poll(&mut self) {
        self.host.poll(Instant::now(), &mut self.events).unwrap();
        self.target.poll();
    }

    /// Polls until `done` says so.
    pub fn until(&mut self, mut done: impl FnMut(&mut Self) -> bool) {
        let end = Instant::now() + PATIENCE;
        while !done(self) {
            assert!(Instant::now() < end, "waited too long; host events: {:?}", self.events);
            self.poll();
        }
    }

    /// Starts to connect to this controller.
    pub fn start(&mut self) -> QueueId {
        let address = self.target.address;
        self.host.connect(&target(address), &options()).unwrap()
    }

    /// Connects, and returns the queue with what both sides say of it.
    pub fn connect(&mut self) -> (QueueId, QueueInfo) {
        let queue = self.start();
        let (known, mut info) = (self.target.infos.len(), None);
        self.until(|this| {
            for event in this.events.drain(..) {
                match event {
                    HostEvent::Connected { queue: of, info: of_queue } if of == queue => {
                        info = Some(*of_queue)
                    }
                    other => panic!("{other:?}"),
                }
            }
            info.is_some() && this.target.infos.len() > known
        });
        self.host.configure(queue, settings()).unwrap();
        (queue, info.unwrap())
    }

    pub fn submit(&mut self, queue: QueueId, opcode: IoOpcode, data: Data, cookie: u64) {
        self.host.submit(queue, Command { sqe: Sqe::io(opcode, 1), data, cookie }).unwrap();
    }

    /// The next event of the host.
    pub fn event(&mut self) -> HostEvent {
        self.until(|this| !this.events.is_empty());
        self.events.remove(0)
    }

    /// Why the only queue that ends has ended.
    pub fn closed(&mut self) -> CloseReason {
        match self.event() {
            HostEvent::Closed { reason, .. } => reason,
            other => panic!("{other:?}"),
        }
    }

    /// Why it has, if it failed.
    pub fn failure(&mut self) -> nvmf_transport::Error {
        match self.closed() {
            CloseReason::Failed(error) => error,
            other => panic!("{other:?}"),
        }
    }

    /// Writes and reads `len` bytes.
    pub fn exchange(&mut self, queue: QueueId, len: usize) {
        self.submit(queue, IoOpcode::WRITE, Data::ToController(pattern(len, len as u64)), 1);
        self.completed(Status::SUCCESS);
        assert!(self.target.written[..] == pattern(len, len as u64)[..]);
        self.submit(queue, IoOpcode::READ, Data::FromController(buffer(len)), 2);
        let read = self.completed(Status::SUCCESS);
        assert!(read[..] == store()[..len]);
    }

    pub fn completed(&mut self, status: Status) -> Buffer {
        match self.event() {
            HostEvent::Completed { cqe, data, .. } => {
                assert_eq!(cqe.status(), status);
                data.into_buffer().unwrap_or_else(|| buffer(0))
            }
            other => panic!("{other:?}"),
        }
    }
}
