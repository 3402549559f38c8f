//! A scripted engine, and a session on it in simulated time.

use std::{
    collections::HashMap,
    net::SocketAddr,
    os::fd::{AsFd, BorrowedFd},
    sync::Arc,
    time::{Duration, Instant},
};

use nvmf_controller::{
    NamespaceOptions, Server, ServerOptions, Session, Subsystem, SubsystemOptions,
    backend::{Backend, BlockSize, RamBackend},
};
use nvmf_transport::{
    Buffer, Close, CloseReason, ControllerEngine, ControllerEvent, Engine, Error, Gather, InCapsule, Limits,
    Listener, ListenerId, Memory, Misuse, Pages, QueueId, QueueInfo, QueueSettings, Queues, Refused,
    RequestData, RequestId, SglKinds, Target, Wake, Wire,
};
use nvmf_wire::{
    Cid, Cqe, IoOpcode, Nqn, NqnField, Sqe, Status,
    fabrics::{CNTLID_DYNAMIC, Connect, ConnectData, PropertyGet, PropertySet},
    property::{Cc, Csts, PropertyOffset},
    zerocopy::{IntoBytes, little_endian::U16},
};

pub(crate) const SUBSYSTEM: &str = "nqn.2024-01.com.example:disk";
pub(crate) const HOST: &str = "nqn.2014-08.org.nvmexpress:uuid:11111111-2222-3333-4444-555555555555";
pub(crate) const OTHER_HOST: &str = "nqn.2014-08.org.nvmexpress:uuid:99999999-2222-3333-4444-555555555555";
pub(crate) const HOST_ID: [u8; 16] = [7; 16];

pub(crate) fn nqn(text: &str) -> Nqn {
    Nqn::parse(text).unwrap()
}

/// What the session answered.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) request: RequestId,
    pub(crate) cqe: Cqe,
    pub(crate) data: Vec<u8>,
    /// How many views the data were given in.
    pub(crate) views: usize,
}

impl Answer {
    pub(crate) fn status(&self) -> Status {
        self.cqe.status().code()
    }

    #[track_caller]
    pub(crate) fn ok(self) -> Self {
        assert!(self.cqe.status().is_success(), "{:?}", self.cqe.status());
        self
    }
}

#[derive(Debug)]
struct FakeQueue {
    next: u32,
    closing: bool,
    /// Requests that were delivered and not answered, with the length of their remote data.
    open: HashMap<RequestId, u32>,
}

/// An engine whose peer is the test.
pub(crate) struct Fake {
    queues: Queues<FakeQueue>,
    events: Vec<ControllerEvent>,
    pub(crate) answers: Vec<Answer>,
    /// Fetches that were not served: the request, the offset and the buffer.
    pub(crate) fetches: Vec<(RequestId, u32, Buffer)>,
    /// What the host has for a request; served as soon as it is asked for.
    pub(crate) host_data: HashMap<RequestId, Vec<u8>>,
    /// Data of responses are kept, as if the host did not take them.
    pub(crate) hold_data: Option<Vec<Gather>>,
    pub(crate) configured: Vec<QueueSettings>,
    pub(crate) closes: Vec<(QueueId, Close)>,
    pub(crate) fetched: Vec<(u32, usize)>,
    pub(crate) limits: Limits,
    wake: Wake,
}

impl Fake {
    fn new() -> Self {
        let mut limits = Limits::default();
        limits.max_transfer = 4 << 20;
        limits.max_in_capsule = InCapsule { admin: 8192, io: 16384 };
        limits.max_depth = 4096;
        limits.sgl = SglKinds::IN_CAPSULE | SglKinds::TRANSPORT;
        limits.max_segments = 64;
        limits.max_fetches = 2;
        Self {
            queues: Queues::default(),
            events: Vec::new(),
            answers: Vec::new(),
            fetches: Vec::new(),
            host_data: HashMap::new(),
            hold_data: None,
            configured: Vec::new(),
            closes: Vec::new(),
            fetched: Vec::new(),
            limits,
            wake: Wake::new().unwrap(),
        }
    }

    fn open(&mut self, request: RequestId) -> Result<u32, Misuse> {
        let queue = self.queues.get(request.queue).ok_or(Misuse::UnknownQueue)?;
        if queue.closing {
            return Err(Misuse::Closing);
        }
        queue.open.get(&request).copied().ok_or(Misuse::UnknownRequest)
    }
}

impl Engine for Fake {
    fn transport(&self) -> &'static str {
        "fake"
    }
    fn memory(&self) -> Arc<dyn Memory> {
        Arc::new(Pages)
    }
    fn wait_handle(&self) -> BorrowedFd<'_> {
        self.wake.as_fd()
    }
    fn next_timeout(&self) -> Option<Instant> {
        None
    }
    fn limits(&self, _: QueueId) -> Option<&Limits> {
        Some(&self.limits)
    }
    fn configure(&mut self, _: QueueId, settings: QueueSettings) -> Result<(), Misuse> {
        self.configured.push(settings);
        Ok(())
    }
    fn close(&mut self, queue: QueueId, how: Close) {
        if let Some(known) = self.queues.get_mut(queue).filter(|known| !known.closing) {
            known.closing = true;
            self.closes.push((queue, how));
        }
    }
}

impl ControllerEngine for Fake {
    fn listen(&mut self, at: &Target) -> Result<Listener, Error> {
        Ok(Listener { id: ListenerId(1), address: at.address })
    }
    fn unlisten(&mut self, _: ListenerId) {}
    fn fetch(&mut self, request: RequestId, offset: u32, mut into: Buffer) -> Result<(), Refused<Buffer>> {
        let len = match self.open(request) {
            Ok(len) => len,
            Err(why) => return Err(Refused::new(into, why)),
        };
        let end = offset as usize + into.len();
        assert!(end <= len as usize, "fetch of {offset}..{end} of {len} bytes");
        let outstanding = self.fetches.iter().filter(|fetch| fetch.0 == request).count();
        if outstanding >= self.limits.max_fetches.into() {
            return Err(Refused::new(into, Misuse::TooManyFetches));
        }
        self.fetched.push((offset, into.len()));
        match self.host_data.get(&request) {
            Some(data) => {
                into.copy_from_slice(&data[offset as usize..end]);
                self.events.push(ControllerEvent::Fetched { request, offset, data: into, outcome: Ok(()) });
            }
            None => self.fetches.push((request, offset, into)),
        }
        Ok(())
    }
    fn respond(&mut self, request: RequestId, cqe: Cqe, data: Gather) -> Result<(), Refused<Gather>> {
        let len = match self.open(request) {
            Ok(len) => len,
            Err(why) => return Err(Refused::new(data, why)),
        };
        assert!(!self.fetches.iter().any(|fetch| fetch.0 == request), "answered with a fetch outstanding");
        assert!(data.len() <= len as usize, "{} bytes for a request of {len}", data.len());
        self.queues.get_mut(request.queue).unwrap().open.remove(&request);
        self.host_data.remove(&request);
        let bytes = data.slices(0..data.len()).flatten().copied().collect();
        self.answers.push(Answer { request, cqe, data: bytes, views: data.views().len() });
        if let Some(held) = &mut self.hold_data {
            held.push(data);
        }
        Ok(())
    }
    fn poll(&mut self, _: Instant, events: &mut Vec<ControllerEvent>) -> Result<(), Error> {
        let closing: Vec<QueueId> = self.queues.iter().filter(|(_, q)| q.closing).map(|(id, _)| id).collect();
        for queue in closing {
            self.gone(queue, CloseReason::Requested);
        }
        events.append(&mut self.events);
        Ok(())
    }
}

impl Fake {
    /// Ends a queue as the contract wants it: first its fetches, then `Closed`.
    fn gone(&mut self, queue: QueueId, reason: CloseReason) {
        for (request, offset, data) in std::mem::take(&mut self.fetches) {
            if request.queue == queue {
                let outcome = Err(Status::ABORTED_SQ_DELETION);
                self.events.push(ControllerEvent::Fetched { request, offset, data, outcome });
            } else {
                self.fetches.push((request, offset, data));
            }
        }
        if self.queues.remove(queue).is_some() {
            self.events.push(ControllerEvent::Closed { queue, reason });
        }
    }
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
