//! Sessions on scripted engines in simulated time, and how a test speaks to them.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use nvmf_controller::{
    NamespaceOptions, Server, ServerOptions, Session, Subsystem, SubsystemOptions,
    backend::{Backend, BlockSize, RamBackend},
};
use nvmf_transport::{
    Buffer, CloseReason, ControllerEngine, ControllerEvent, Engine, ListenerId, Memory, Pages, QueueId,
    QueueInfo, RequestData, RequestId, Wake, Wire,
};
use nvmf_wire::{
    Cid, IoOpcode, Nqn, NqnField, Sqe, Status,
    fabrics::{CNTLID_DYNAMIC, Connect, ConnectData, PropertyGet, PropertySet},
    property::{Cc, Csts, PropertyOffset},
    zerocopy::{IntoBytes, little_endian::U16},
};

pub(crate) use crate::fake::Answer;
use crate::fake::{Fake, FakeQueue};

pub(crate) const SUBSYSTEM: &str = "nqn.2024-01.com.example:disk";
pub(crate) const HOST: &str = "nqn.2014-08.org.nvmexpress:uuid:11111111-2222-3333-4444-555555555555";
pub(crate) const OTHER_HOST: &str = "nqn.2014-08.org.nvmexpress:uuid:99999999-2222-3333-4444-555555555555";
pub(crate) const HOST_ID: [u8; 16] = [7; 16];

pub(crate) fn nqn(text: &str) -> Nqn {
    Nqn::parse(text).unwrap()
}

/// An engine and its session.
pub(crate) struct Lane {
    pub(crate) engine: Fake,
    pub(crate) session: Session,
    events: Vec<ControllerEvent>,
}

impl Lane {
    fn new(server: &Server) -> Self {
        let engine = Fake::new();
        let session = Session::new(server, Wire::TCP, engine.memory(), Wake::new().unwrap());
        Self { engine, session, events: Vec::new() }
    }

    /// Passes until nothing happens.
    fn settle(&mut self, now: Instant) -> bool {
        let mut any = false;
        for _ in 0..10_000 {
            let mut worked = self.session.advance(&mut self.engine, now);
            self.engine.poll(now, &mut self.events).unwrap();
            if !self.events.is_empty() {
                self.session.handle(&mut self.engine, now, &mut self.events);
                worked = true;
            }
            if !worked {
                return any;
            }
            any = true;
        }
        panic!("the session never comes to rest");
    }
}

/// A queue of a lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Q {
    pub(crate) lane: usize,
    pub(crate) id: QueueId,
}

/// A server with sessions on scripted engines.
pub(crate) struct Rig {
    pub(crate) server: Server,
    pub(crate) subsystem: Arc<Subsystem>,
    pub(crate) lanes: Vec<Lane>,
    pub(crate) now: Instant,
    pub(crate) local: SocketAddr,
    cid: u16,
}

#[expect(clippy::disallowed_methods, reason = "an arbitrary origin of simulated time")]
fn origin() -> Instant {
    Instant::now()
}

pub(crate) fn ram(blocks: u64) -> Arc<dyn Backend> {
    Arc::new(RamBackend::new(blocks * 512, BlockSize::B512).unwrap())
}

impl Rig {
    pub(crate) fn new() -> Self {
        Self::with(ServerOptions::default(), |_| {}, 1)
    }

    pub(crate) fn with(
        options: ServerOptions,
        change: impl FnOnce(&mut SubsystemOptions),
        lanes: usize,
    ) -> Self {
        let server = Server::new(options);
        let mut subsystem = SubsystemOptions::new(nqn(SUBSYSTEM));
        change(&mut subsystem);
        let subsystem = server.add_subsystem(subsystem).unwrap();
        subsystem.add_namespace(1, NamespaceOptions::new(ram(65_536))).unwrap();
        let lanes = (0..lanes).map(|_| Lane::new(&server)).collect();
        Self { server, subsystem, lanes, now: origin(), local: "192.0.2.1:4420".parse().unwrap(), cid: 0 }
    }

    pub(crate) fn engine(&mut self) -> &mut Fake {
        &mut self.lanes[0].engine
    }

    /// Lets all sessions come to rest.
    pub(crate) fn settle(&mut self) {
        let now = self.now;
        while self.lanes.iter_mut().fold(false, |any, lane| lane.settle(now) | any) {}
    }

    /// Lets time pass, stopping wherever a session wants to be called.
    pub(crate) fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        self.settle();
        for _ in 0..100_000 {
            let next = self.lanes.iter().filter_map(|lane| lane.session.next_timeout()).min();
            match next.filter(|&next| next <= end) {
                Some(next) => self.now = self.now.max(next),
                None => {
                    self.now = end;
                    self.settle();
                    return;
                }
            }
            self.settle();
        }
        panic!("the session's timers never come to rest");
    }

    /// A host connects.
    pub(crate) fn accept(&mut self, lane: usize) -> Q {
        let engine = &mut self.lanes[lane].engine;
        let id = engine.queues.insert(FakeQueue { next: 0, closing: false, open: HashMap::new() });
        let info = Box::new(QueueInfo {
            limits: engine.limits.clone(),
            local: self.local,
            peer: "192.0.2.9:50000".parse().unwrap(),
            data_path: "software",
            negotiated: Vec::new(),
        });
        engine.events.push(ControllerEvent::Accepted { queue: id, listener: ListenerId(1), info });
        self.settle();
        Q { lane, id }
    }

    /// A command arrives; its request.
    pub(crate) fn deliver(&mut self, queue: Q, sqe: Sqe, data: Result<RequestData, Status>) -> RequestId {
        let engine = &mut self.lanes[queue.lane].engine;
        let remote = data.as_ref().map_or(0, |data| data.len() as u32);
        let known = engine.queues.get_mut(queue.id).expect("the queue is gone");
        known.next += 1;
        // Slots as a transport gives them: the lowest that is free.
        let slot = (0..).find(|slot| !known.open.keys().any(|open| open.slot == *slot)).unwrap();
        let request = RequestId { queue: queue.id, slot, generation: known.next };
        known.open.insert(request, remote);
        engine.events.push(ControllerEvent::Command { request, sqe, data });
        request
    }

    /// The next command identifier.
    pub(crate) fn cid(&mut self) -> Cid {
        self.cid = self.cid.wrapping_add(1);
        Cid(self.cid)
    }

    /// A command with the next identifier arrives, and everything comes to rest; its request.
    pub(crate) fn submit(&mut self, queue: Q, sqe: Sqe, data: RequestData) -> RequestId {
        let sqe = sqe.with_cid(self.cid());
        let request = self.deliver(queue, sqe, Ok(data));
        self.settle();
        request
    }

    /// The answer to a request, if there is one.
    pub(crate) fn answer(&mut self, queue: Q, request: RequestId) -> Option<Answer> {
        let answers = &mut self.lanes[queue.lane].engine.answers;
        let at = answers.iter().position(|answer| answer.request == request)?;
        Some(answers.remove(at))
    }

    /// A command and its answer.
    #[track_caller]
    pub(crate) fn run(&mut self, queue: Q, sqe: Sqe, data: RequestData) -> Answer {
        let request = self.submit(queue, sqe, data);
        self.answer(queue, request).expect("no answer")
    }

    #[track_caller]
    pub(crate) fn command(&mut self, queue: Q, sqe: Sqe) -> Answer {
        self.run(queue, sqe, RequestData::None)
    }

    /// A command with room for `len` bytes of data.
    #[track_caller]
    pub(crate) fn read(&mut self, queue: Q, sqe: Sqe, len: u32) -> Answer {
        self.run(queue, sqe, RequestData::Remote { len })
    }

    /// A command whose data are in the capsule.
    #[track_caller]
    pub(crate) fn write(&mut self, queue: Q, sqe: Sqe, data: &[u8]) -> Answer {
        self.run(queue, sqe, RequestData::InCapsule(buffer(data)))
    }

    /// A command whose data stay with the host, which serves them at once.
    pub(crate) fn submit_remote(&mut self, queue: Q, sqe: Sqe, data: Vec<u8>) -> RequestId {
        let sqe = sqe.with_cid(self.cid());
        let request = self.deliver(queue, sqe, Ok(RequestData::Remote { len: data.len() as u32 }));
        self.lanes[queue.lane].engine.host_data.insert(request, data);
        self.settle();
        request
    }

    #[track_caller]
    pub(crate) fn write_remote(&mut self, queue: Q, sqe: Sqe, data: Vec<u8>) -> Answer {
        let request = self.submit_remote(queue, sqe, data);
        self.answer(queue, request).expect("no answer")
    }

    /// A Connect on a new connection; the queue and the answer.
    #[track_caller]
    pub(crate) fn connect(&mut self, lane: usize, command: Connect, data: &ConnectData) -> (Q, Answer) {
        let queue = self.accept(lane);
        let answer = self.write(queue, command.to_sqe(), data.as_bytes());
        (queue, answer)
    }

    /// An admin queue that is connected; the CNTLID.
    #[track_caller]
    pub(crate) fn associate(&mut self, lane: usize, data: &ConnectData, kato: u32) -> (Q, u16) {
        let (queue, answer) = self.connect(lane, admin_connect(kato), data);
        (queue, answer.ok().cqe.dw0() as u16)
    }

    /// An admin queue whose controller is enabled.
    #[track_caller]
    pub(crate) fn controller(&mut self) -> (Q, u16) {
        let (queue, cntlid) = self.associate(0, &connect_data(), 0);
        self.enable(queue);
        (queue, cntlid)
    }

    #[track_caller]
    pub(crate) fn discovery(&mut self, kato: u32) -> Q {
        let (queue, _) = self.associate(0, &data_for(nvmf_wire::DISCOVERY_NQN), kato);
        self.enable(queue);
        queue
    }

    #[track_caller]
    pub(crate) fn enable(&mut self, queue: Q) {
        self.set_cc(queue, Cc::ENABLE_NVM).ok();
        assert!(self.csts(queue).rdy());
    }

    #[track_caller]
    pub(crate) fn set_cc(&mut self, queue: Q, cc: Cc) -> Answer {
        self.command(queue, PropertySet::new(PropertyOffset::CC, cc.bits().into()).to_sqe())
    }

    #[track_caller]
    pub(crate) fn property(&mut self, queue: Q, offset: PropertyOffset) -> u64 {
        self.command(queue, PropertyGet::new(offset).to_sqe()).ok().cqe.u64()
    }

    #[track_caller]
    pub(crate) fn csts(&mut self, queue: Q) -> Csts {
        Csts(self.property(queue, PropertyOffset::CSTS) as u32)
    }

    /// An I/O queue of an association.
    #[track_caller]
    pub(crate) fn io(&mut self, lane: usize, cntlid: u16, qid: u16) -> Q {
        let (queue, answer) = self.connect(lane, io_connect(qid, 128), &io_data(cntlid));
        answer.ok();
        queue
    }

    /// An enabled controller with one I/O queue.
    #[track_caller]
    pub(crate) fn ready(&mut self) -> (Q, Q) {
        let (admin, cntlid) = self.controller();
        let io = self.io(0, cntlid, 1);
        (admin, io)
    }

    /// The host closes a connection.
    pub(crate) fn hang_up(&mut self, queue: Q) {
        self.lanes[queue.lane].engine.gone(queue.id, CloseReason::PeerClosed);
        self.settle();
    }

    pub(crate) fn is_open(&self, queue: Q) -> bool {
        self.lanes[queue.lane].engine.queues.get(queue.id).is_some()
    }
}

/// Bytes in the memory of an engine.
pub(crate) fn buffer(bytes: &[u8]) -> Buffer {
    let mut buffer = Pages.allocate(bytes.len()).unwrap();
    buffer.copy_from_slice(bytes);
    buffer
}

pub(crate) fn admin_connect(kato: u32) -> Connect {
    Connect { sqsize: 31, kato, ..Connect::default() }
}

pub(crate) fn io_connect(qid: u16, depth: u16) -> Connect {
    Connect { qid, sqsize: depth - 1, ..Connect::default() }
}

pub(crate) fn data_for(subsystem: &str) -> ConnectData {
    let mut data = ConnectData::zeroed();
    data.hostid = HOST_ID;
    data.cntlid = U16::new(CNTLID_DYNAMIC);
    data.subnqn = NqnField::from(nqn(subsystem));
    data.hostnqn = NqnField::from(nqn(HOST));
    data
}

pub(crate) fn connect_data() -> ConnectData {
    data_for(SUBSYSTEM)
}

pub(crate) fn io_data(cntlid: u16) -> ConnectData {
    let mut data = connect_data();
    data.cntlid = U16::new(cntlid);
    data
}

/// A read of blocks of namespace 1.
pub(crate) fn read(slba: u64, blocks: u32) -> Sqe {
    nvmf_wire::io::Rw::new(slba, blocks).read(1)
}

/// A write of blocks of namespace 1.
pub(crate) fn write(slba: u64, blocks: u32) -> Sqe {
    nvmf_wire::io::Rw::new(slba, blocks).to_sqe(IoOpcode::WRITE, 1)
}

/// Bytes that tell where they belong.
pub(crate) fn pattern(blocks: u32, seed: u8) -> Vec<u8> {
    (0..blocks as usize * 512).map(|i| (i / 512) as u8 ^ (i % 251) as u8 ^ seed).collect()
}

impl Rig {
    /// The host serves a fetch that waited.
    pub(crate) fn serve_fetch(
        &mut self,
        queue: Q,
        request: RequestId,
        offset: u32,
        data: Buffer,
        outcome: Result<(), Status>,
    ) {
        let event = ControllerEvent::Fetched { request, offset, data, outcome };
        self.lanes[queue.lane].engine.events.push(event);
        self.settle();
    }
}

impl Rig {
    /// The identifier of the command that arrived last.
    pub(crate) fn last_cid(&self) -> u16 {
        self.cid
    }
}

impl Rig {
    /// Tries again, for a while of real time, what depends on a backend's own threads.
    #[expect(clippy::disallowed_methods, reason = "threads of a backend take real time")]
    pub(crate) fn eventually<T>(&mut self, mut attempt: impl FnMut(&mut Self) -> Option<T>) -> T {
        for _ in 0..5000 {
            if let Some(done) = attempt(self) {
                return done;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        panic!("it never happened");
    }
}
