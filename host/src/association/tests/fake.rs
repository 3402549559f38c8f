//! A host's engine with a controller behind it that does what the test says.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    os::fd::{AsFd, BorrowedFd},
    sync::Arc,
    time::Instant,
};

use nvmf_transport::{
    Close, CloseReason, Command, ConnectOptions, Data, Engine, Error, ErrorKind, HostEngine, HostEvent,
    InCapsule, Limits, Memory, Misuse, Pages, QueueId, QueueInfo, QueueKind, QueueSettings, Queues, Refused,
    Stage as At, Target, Wake,
};
use nvmf_wire::{
    AdminOpcode, Cid, Cqe, FabricsType, IoOpcode, Sqe, Status,
    fabrics::{Connect, ConnectData, PropertyGet, PropertySet},
    identify::{
        Cns, Identify, IdentifyController, IdentifyNamespace, LbaFormat, NamespaceDescriptor,
        NamespaceDescriptorsBuilder, NamespaceList,
    },
    io::Rw,
    property::{Cap, Cc, Csts, PropertyOffset, ShutdownNotification, ShutdownStatus, Version},
    zerocopy::IntoBytes,
};

/// What becomes of a connection that is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Connection {
    Accept,
    Fail(At, ErrorKind),
    CloseAtOnce,
    Silent,
}

/// What a command gets for an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reply {
    /// What a good controller says.
    Good,
    Status(Status),
    StatusWith(Status, u32),
    /// Nothing, until the test says so.
    Hold,
    /// The queue closes instead.
    Close,
    /// Success, and less data than asked for.
    Short,
}

type Rule = Box<dyn FnMut(QueueKind, &Sqe) -> Option<Reply> + Send>;

struct Queue {
    kind: QueueKind,
    depth: u16,
    flow_control: bool,
    connected: bool,
    next_cid: u16,
    commands: BTreeMap<u16, (u64, Sqe, Data)>,
}

impl Queue {
    fn keep(&mut self, cookie: u64, sqe: Sqe, data: Data) -> Cid {
        self.next_cid = self.next_cid.wrapping_add(1);
        assert!(self.commands.insert(self.next_cid, (cookie, sqe, data)).is_none());
        Cid(self.next_cid)
    }
}

pub(super) struct Fake {
    wake: Wake,
    queues: Queues<Queue>,
    events: VecDeque<HostEvent>,
    limits: Limits,
    /// Asked first, in order; the first answer counts.
    rules: Vec<Rule>,
    pub(super) connection: Connection,
    pub(super) io_connection: Connection,
    pub(super) cap: Cap,
    pub(super) csts: Csts,
    pub(super) cc: Cc,
    /// How many reads of CSTS say "not ready"; `None` for all.
    pub(super) not_ready: Option<u32>,
    pub(super) identify: IdentifyController,
    pub(super) granted: u32,
    pub(super) namespaces: Vec<(u32, IdentifyNamespace)>,
    pub(super) uuid: [u8; 16],
    /// What is stored, one byte per block.
    pub(super) disk: HashMap<u64, u8>,
    pub(super) sent: Vec<(QueueKind, Sqe)>,
    pub(super) connects: Vec<ConnectOptions>,
    pub(super) configured: Vec<QueueSettings>,
    /// Data of Connect commands.
    pub(super) connect_data: Vec<ConnectData>,
}

impl Fake {
    pub(super) fn new() -> Self {
        let mut identify = IdentifyController::zeroed();
        identify.ioccsz = 68.into();
        identify.iorcsz = 1.into();
        identify.sgls = 1.into();
        identify.mdts = 2;
        identify.nn = 4.into();
        identify.acl = 3;
        identify.aerl = 3;
        identify.oaes = (1 << 8).into();
        let mut namespace = IdentifyNamespace::zeroed();
        namespace.nsze = 100_000.into();
        namespace.ncap = 100_000.into();
        namespace.lbaf[0] = LbaFormat::new(9, 0);
        let mut limits = Limits::default();
        limits.max_transfer = 1 << 20;
        limits.max_depth = 1024;
        limits.max_in_capsule = InCapsule { admin: 8192, io: 1024 };
        Self {
            wake: Wake::new().unwrap(),
            queues: Queues::default(),
            events: VecDeque::new(),
            limits,
            rules: Vec::new(),
            connection: Connection::Accept,
            io_connection: Connection::Accept,
            cap: Cap(0).with_mqes(127).with_css(Cap::CSS_NVM).with_timeout(4),
            csts: Csts(0),
            cc: Cc(0),
            not_ready: Some(0),
            identify,
            granted: 64,
            namespaces: vec![(1, namespace)],
            uuid: [7; 16],
            disk: HashMap::new(),
            sent: Vec::new(),
            connects: Vec::new(),
            configured: Vec::new(),
            connect_data: Vec::new(),
        }
    }

    /// Adds a rule before all others.
    pub(super) fn rule(&mut self, rule: impl FnMut(QueueKind, &Sqe) -> Option<Reply> + Send + 'static) {
        self.rules.insert(0, Box::new(rule));
    }

    pub(super) fn clear_rules(&mut self) {
        self.rules.clear();
    }

    pub(super) fn any_open(&self) -> bool {
        !self.queues.is_empty()
    }

    pub(super) fn open(&self) -> Vec<QueueKind> {
        self.queues.iter().map(|(_, queue)| queue.kind).collect()
    }

    /// Commands without an answer on I/O queues.
    pub(super) fn held(&self) -> Vec<(QueueId, Cid, Sqe)> {
        let io = self.queues.iter().filter(|(_, queue)| queue.kind != QueueKind::Admin);
        io.flat_map(|(id, queue)| queue.commands.iter().map(move |(cid, (_, sqe, _))| (id, Cid(*cid), *sqe)))
            .collect()
    }

    /// Commands of an opcode that were sent.
    pub(super) fn count(&self, opcode: u8, admin: bool) -> usize {
        self.sent
            .iter()
            .filter(|(kind, sqe)| (*kind == QueueKind::Admin) == admin && sqe.opcode == opcode)
            .count()
    }

    /// Answers a held command.
    pub(super) fn answer(&mut self, queue: QueueId, cid: Cid, reply: Reply) {
        let Some((cookie, sqe, data)) = self.queues.get_mut(queue).and_then(|q| q.commands.remove(&cid.0))
        else {
            return;
        };
        let kind = self.queues.get(queue).unwrap().kind;
        self.reply(queue, kind, cookie, sqe, data, reply);
    }

    /// Answers one of the Asynchronous Event Requests that wait.
    pub(super) fn answer_event(&mut self, dw0: u32) {
        let (id, queue) = self.queues.iter().find(|(_, queue)| queue.kind == QueueKind::Admin).unwrap();
        let request = |(cid, (_, sqe, _)): (&u16, &(u64, Sqe, Data))| {
            (sqe.opcode == AdminOpcode::ASYNC_EVENT_REQUEST.0).then_some(*cid)
        };
        let cid = queue.commands.iter().find_map(request).expect("a request that waits");
        self.answer(id, Cid(cid), Reply::StatusWith(Status::SUCCESS, dw0));
    }

    /// Does what a write asks for and says nothing.
    pub(super) fn execute_silently(&mut self, queue: QueueId, cid: Cid) {
        let Some((_, sqe, Data::ToController(buffer))) =
            self.queues.get(queue).and_then(|q| q.commands.get(&cid.0))
        else {
            return;
        };
        if sqe.io_opcode() == IoOpcode::WRITE {
            let rw = Rw::parse(sqe);
            for (at, block) in buffer.chunks(512).enumerate() {
                self.disk.insert(rw.slba + at as u64, block[0]);
            }
        }
    }

    /// Cuts every connection.
    pub(super) fn cut(&mut self) {
        let ids: Vec<QueueId> = self.queues.iter().map(|(id, _)| id).collect();
        for id in ids {
            let error = Error::new(At::Transfer, ErrorKind::Reset, "cut by the test");
            self.shut(id, CloseReason::Failed(error));
        }
    }

    /// Cuts one connection.
    pub(super) fn cut_one(&mut self, kind: QueueKind) {
        let id = self.queues.iter().find(|(_, queue)| queue.kind == kind).unwrap().0;
        self.shut(id, CloseReason::PeerClosed);
    }

    fn shut(&mut self, id: QueueId, reason: CloseReason) {
        let Some(mut queue) = self.queues.remove(id) else { return };
        if queue.kind == QueueKind::Admin {
            self.csts = Csts(0);
        }
        for (cookie, _, data) in std::mem::take(&mut queue.commands).into_values() {
            self.events.push_back(HostEvent::Aborted { queue: id, cookie, data });
        }
        self.events.push_back(HostEvent::Closed { queue: id, reason });
    }

    fn reply(
        &mut self,
        queue: QueueId,
        kind: QueueKind,
        cookie: u64,
        sqe: Sqe,
        mut data: Data,
        reply: Reply,
    ) {
        let mut transferred = data.len() as u32;
        let cqe = match reply {
            Reply::Good | Reply::Short => {
                if reply == Reply::Short {
                    transferred /= 2;
                }
                match self.good(queue, kind, &sqe, &mut data) {
                    Some(cqe) => cqe,
                    None => return self.hold(queue, cookie, sqe, data),
                }
            }
            Reply::Status(status) => Cqe::error(Cid(0), status),
            Reply::StatusWith(status, dw0) => Cqe::error(Cid(0), status).with_dw0(dw0),
            Reply::Hold => return self.hold(queue, cookie, sqe, data),
            Reply::Close => {
                self.hold(queue, cookie, sqe, data);
                return self.shut(queue, CloseReason::PeerClosed);
            }
        };
        if !cqe.status().is_success() || !matches!(data, Data::FromController(_)) {
            transferred = 0;
        }
        let flow_control = self.queues.get(queue).is_none_or(|queue| queue.flow_control);
        let cqe = cqe.with_sqhd(if flow_control { 1 } else { 0xffff });
        self.events.push_back(HostEvent::Completed {
            queue,
            cookie,
            cqe,
            sqhd_valid: true,
            transferred,
            data,
        });
    }

    fn hold(&mut self, queue: QueueId, cookie: u64, sqe: Sqe, data: Data) {
        self.queues.get_mut(queue).unwrap().keep(cookie, sqe, data);
    }

    /// What a good controller does; `None` to keep the command.
    fn good(&mut self, queue: QueueId, kind: QueueKind, sqe: &Sqe, data: &mut Data) -> Option<Cqe> {
        let ok = Cqe::success(Cid(0));
        let fill = |data: &mut Data, bytes: &[u8]| {
            if let Data::FromController(buffer) = data {
                let n = buffer.len().min(bytes.len());
                buffer[..n].copy_from_slice(&bytes[..n]);
            }
        };
        if let Some(fctype) = sqe.fctype() {
            return Some(match fctype {
                FabricsType::CONNECT => {
                    let Data::ToController(buffer) = &data else { panic!("Connect without data") };
                    let connect = Connect::parse(sqe);
                    assert_eq!(connect.qid, kind.qid());
                    self.connect_data.push(*ConnectData::view(buffer).unwrap());
                    let queue = self.queues.get_mut(queue).unwrap();
                    assert_eq!(connect.entries(), u32::from(queue.depth));
                    queue.connected = true;
                    queue.flow_control = !connect.cattr.disable_sq_flow_control();
                    ok.with_dw0(5)
                }
                FabricsType::PROPERTY_GET => match PropertyGet::parse(sqe).unwrap().offset {
                    PropertyOffset::CAP => ok.with_u64(self.cap.bits()),
                    PropertyOffset::VS => ok.with_dw0(Version::V2_0.bits()),
                    PropertyOffset::CSTS => ok.with_dw0(self.status().bits()),
                    other => panic!("{other:?}"),
                },
                FabricsType::PROPERTY_SET => {
                    let set = PropertySet::parse(sqe).unwrap();
                    assert_eq!(set.offset, PropertyOffset::CC);
                    self.cc = Cc(set.value as u32);
                    if self.cc.shn() == ShutdownNotification::NORMAL {
                        self.csts = self.csts.with_shst(ShutdownStatus::COMPLETE);
                    }
                    ok
                }
                FabricsType::DISCONNECT => ok,
                other => panic!("{other:?}"),
            });
        }
        if kind == QueueKind::Admin {
            return match sqe.admin_opcode() {
                AdminOpcode::IDENTIFY => {
                    let identify = Identify::parse(sqe);
                    let namespace = self.namespaces.iter().find(|(nsid, _)| *nsid == identify.nsid);
                    match identify.cns {
                        Cns::CONTROLLER => fill(data, self.identify.as_bytes()),
                        Cns::ACTIVE_NAMESPACES => {
                            let ids = self.namespaces.iter().map(|(nsid, _)| *nsid);
                            fill(data, NamespaceList::after(identify.nsid, ids).as_bytes());
                        }
                        Cns::NAMESPACE => match namespace {
                            Some((_, namespace)) => fill(data, namespace.as_bytes()),
                            None => return Some(Cqe::error(Cid(0), Status::INVALID_NAMESPACE_OR_FORMAT)),
                        },
                        Cns::NAMESPACE_DESCRIPTORS => {
                            let uuid = NamespaceDescriptor::Uuid(self.uuid);
                            fill(data, &NamespaceDescriptorsBuilder::new().with(uuid).finish());
                        }
                        other => panic!("{other:?}"),
                    }
                    Some(ok)
                }
                AdminOpcode::SET_FEATURES if sqe.cdw10.get() & 0xff == 7 => {
                    let n = self.granted.wrapping_sub(1) & 0xffff;
                    Some(ok.with_dw0(n | n << 16))
                }
                AdminOpcode::ASYNC_EVENT_REQUEST => None,
                _ => Some(ok),
            };
        }
        let rw = Rw::parse(sqe);
        match (sqe.io_opcode(), data) {
            (IoOpcode::READ, Data::FromController(buffer)) => {
                assert_eq!(buffer.len(), rw.blocks as usize * 512);
                for (at, block) in buffer.chunks_mut(512).enumerate() {
                    block.fill(self.disk.get(&(rw.slba + at as u64)).copied().unwrap_or(0));
                }
            }
            (IoOpcode::WRITE, Data::ToController(buffer)) => {
                assert_eq!(buffer.len(), rw.blocks as usize * 512);
                for (at, block) in buffer.chunks(512).enumerate() {
                    self.disk.insert(rw.slba + at as u64, block[0]);
                }
            }
            _ => {}
        }
        Some(ok)
    }

    fn status(&mut self) -> Csts {
        if !self.cc.en() {
            return self.csts;
        }
        match &mut self.not_ready {
            None => {}
            Some(0) => self.csts = self.csts.with_rdy(true),
            Some(left) => *left -= 1,
        }
        self.csts
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
    fn limits(&self, queue: QueueId) -> Option<&Limits> {
        self.queues.get(queue).map(|_| &self.limits)
    }
    fn configure(&mut self, queue: QueueId, settings: QueueSettings) -> Result<(), Misuse> {
        self.queues.get(queue).ok_or(Misuse::UnknownQueue)?;
        self.configured.push(settings);
        Ok(())
    }
    fn close(&mut self, queue: QueueId, _: Close) {
        self.shut(queue, CloseReason::Requested);
    }
}

impl HostEngine for Fake {
    fn connect(&mut self, target: &Target, options: &ConnectOptions) -> Result<QueueId, Error> {
        self.connects.push(options.clone());
        let behavior = if options.kind == QueueKind::Admin { self.connection } else { self.io_connection };
        let id = self.queues.insert(Queue {
            kind: options.kind,
            depth: options.depth,
            flow_control: true,
            connected: false,
            next_cid: 0,
            commands: BTreeMap::new(),
        });
        match behavior {
            Connection::Accept => {
                let info = Box::new(QueueInfo {
                    limits: self.limits.clone(),
                    local: "192.0.2.2:50000".parse().unwrap(),
                    peer: target.address,
                    data_path: "software",
                    negotiated: Vec::new(),
                });
                self.events.push_back(HostEvent::Connected { queue: id, info });
            }
            Connection::Fail(stage, kind) => {
                self.shut(id, CloseReason::Failed(Error::new(stage, kind, format!("{kind:?}"))));
            }
            Connection::CloseAtOnce => self.shut(id, CloseReason::PeerClosed),
            Connection::Silent => {}
        }
        Ok(id)
    }

    fn submit(&mut self, queue: QueueId, command: Command) -> Result<Cid, Refused<Command>> {
        let Some(q) = self.queues.get_mut(queue) else {
            return Err(Refused::new(command, Misuse::UnknownQueue));
        };
        let kind = q.kind;
        // NVMe-oF 1.1 §2.4.1: one less than the entries.
        assert!(
            q.commands.len() + 1 < usize::from(q.depth),
            "{kind:?} holds {} of {}",
            q.commands.len(),
            q.depth
        );
        let connect = command.sqe.fctype() == Some(FabricsType::CONNECT);
        assert!(q.connected || connect, "a command before Connect");
        let Command { sqe, data, cookie } = command;
        self.sent.push((kind, sqe));
        let cid = q.keep(cookie, sqe, data);
        let reply = self.rules.iter_mut().find_map(|rule| rule(kind, &sqe)).unwrap_or(Reply::Good);
        match reply {
            Reply::Hold => {}
            Reply::Close => self.shut(queue, CloseReason::PeerClosed),
            reply => {
                let keep = kind == QueueKind::Admin
                    && !sqe.is_fabrics()
                    && sqe.admin_opcode() == AdminOpcode::ASYNC_EVENT_REQUEST;
                if !(keep && reply == Reply::Good) {
                    self.answer(queue, cid, reply);
                }
            }
        }
        Ok(cid)
    }

    fn poll(&mut self, _: Instant, events: &mut Vec<HostEvent>) -> Result<(), Error> {
        events.extend(self.events.drain(..));
        Ok(())
    }
}
