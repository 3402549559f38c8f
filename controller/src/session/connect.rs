//! Connections that have not become queues yet: their Connect command, and nothing else.

use std::time::{Duration, Instant};

use nvmf_transport::{Buffer, Close, ControllerEngine, Gather, Pool, RequestData, RequestId};
use nvmf_wire::{
    Cid, Cqe, FabricsType, Sqe, Status,
    fabrics::{ConnectAccepted, ConnectData},
    sqe::Psdt,
};

use super::{
    Session,
    ops::{Op, Work},
    queue::{AdminQueue, Connecting, IoQueue, Queue, Role, answer, respond},
};
use crate::{
    association::Association,
    buffers::DataBuffers,
    connect::{Accepted, Arrival, Rejection},
    options::ServerOptions,
};

/// How long a Connect for a queue identifier in use is asked again: the end of the old connection may be on its way.
const DUPLICATE_PATIENCE: Duration = Duration::from_millis(500);
/// How often.
pub(super) const DUPLICATE_INTERVAL: Duration = Duration::from_millis(5);
/// Pages for the responses of one admin queue.
const ADMIN_PAGES: usize = 32;

impl Session {
    /// A command on a queue that is not connected.
    pub(super) fn first_command(
        &mut self,
        engine: &mut dyn ControllerEngine,
        now: Instant,
        request: RequestId,
        sqe: &Sqe,
        data: RequestData,
    ) {
        let memory = self.memory.clone();
        let Some((queue, tools)) = self.parts(engine, request.queue) else {
            return;
        };
        let Role::Fresh(fresh) = &mut queue.role else {
            return;
        };
        let idle = matches!(fresh.connecting, Connecting::No);
        let status = match data {
            // spec: TCP-IC-22
            // NVMe-oF 1.1 §3.3: Connect first, and once.
            _ if sqe.fctype() != Some(FabricsType::CONNECT) || !idle => Status::COMMAND_SEQUENCE_ERROR,
            _ if sqe.psdt() == Psdt::PRP => Status::INVALID_FIELD,
            RequestData::InCapsule(buffer) if buffer.len() == ConnectData::SIZE => {
                return self.connect(engine, now, request, sqe, buffer, None);
            }
            RequestData::Remote { len } if len as usize == ConnectData::SIZE => {
                let fetch = memory.allocate(ConnectData::SIZE).map_err(|_| Status::CONNECT_CONTROLLER_BUSY);
                match fetch.and_then(|into| {
                    tools.engine.fetch(request, 0, into).map_err(|_| Status::DATA_TRANSFER_ERROR.with_dnr())
                }) {
                    Ok(()) => {
                        fresh.connecting = Connecting::Fetching;
                        let op = Op { request, sqe: *sqe, aborted: false, work: Work::AdminData };
                        queue.keep(tools.ops, op);
                        return;
                    }
                    Err(status) => return answer(tools.engine, &queue.sq, request, status, 0, Gather::new()),
                }
            }
            _ => Status::DATA_SGL_LENGTH_INVALID,
        };
        answer(tools.engine, &queue.sq, request, status.with_dnr(), 0, Gather::new());
    }

    /// The data of a Connect arrived.
    pub(super) fn connect_fetched(
        &mut self,
        engine: &mut dyn ControllerEngine,
        now: Instant,
        op: &Op,
        data: Buffer,
        outcome: Result<(), Status>,
    ) {
        let Some((queue, tools)) = self.parts(engine, op.queue()) else {
            return;
        };
        if let Role::Fresh(fresh) = &mut queue.role {
            fresh.connecting = Connecting::No;
        }
        match outcome {
            Ok(()) => self.connect(engine, now, op.request, &op.sqe, data, None),
            Err(status) => answer(tools.engine, &queue.sq, op.request, status, 0, Gather::new()),
        }
    }

    /// Judges a Connect; `until` is when a queue identifier in use is taken for an error.
    fn connect(
        &mut self,
        engine: &mut dyn ControllerEngine,
        now: Instant,
        request: RequestId,
        sqe: &Sqe,
        data: Buffer,
        until: Option<Instant>,
    ) {
        let (shared, address) = (self.shared.clone(), self.address(request.queue));
        let wire = engine.wire(request.queue).unwrap_or(self.wire);
        let transport = engine.transport();
        let Some((queue, tools)) = self.parts(engine, request.queue) else {
            return;
        };
        let Some(fields) = ConnectData::view(&data) else {
            return;
        };
        let arrival = Arrival { address, transport, wire, info: &queue.info };
        let rejection = match shared.connect(arrival, sqe, fields) {
            Ok(accepted) => return self.connected(engine, now, request, accepted),
            Err(Rejection::Duplicate) => {
                let until = until.unwrap_or(now + DUPLICATE_PATIENCE);
                if now < until
                    && let Role::Fresh(fresh) = &mut queue.role
                {
                    fresh.connecting = Connecting::Again { request, sqe: Box::new(*sqe), data, until };
                    self.retries.push(request.queue);
                    self.again_at(now + DUPLICATE_INTERVAL);
                    return;
                }
                Rejection::Status(Status::COMMAND_SEQUENCE_ERROR.with_dnr())
            }
            Err(rejection) => rejection,
        };
        let cqe = match rejection {
            Rejection::Parameter(parameter) => parameter.to_cqe(Cid(0)),
            Rejection::Status(status) => Cqe::error(Cid(0), status),
            Rejection::Duplicate => Cqe::error(Cid(0), Status::COMMAND_SEQUENCE_ERROR),
        };
        let (host, subsystem) = (&fields.hostnqn, &fields.subnqn);
        tracing::info!(peer = %queue.info.peer, ?host, ?subsystem, ?rejection, "connect refused");
        respond(tools.engine, request, cqe.with_sqhd(queue.sq.head()), Gather::new());
    }

    fn connected(
        &mut self,
        engine: &mut dyn ControllerEngine,
        now: Instant,
        request: RequestId,
        accepted: Accepted,
    ) {
        let memory = self.memory.clone();
        let address = self.address(request.queue);
        let shared = self.shared.clone();
        let Some((queue, tools)) = self.parts(engine, request.queue) else {
            return;
        };
        let (role, settings, cntlid) = match accepted {
            Accepted::Admin { association, settings } => {
                let cntlid = association.cntlid;
                tracing::info!(host = %association.host.nqn, cntlid, peer = %queue.info.peer, "associated");
                let mut admin = AdminQueue {
                    association,
                    events: std::collections::VecDeque::new(),
                    aborts: 0,
                    deadline: None,
                    flushing: false,
                    abrupt: false,
                    pages: Pool::new(memory, crate::subsystem::PAGE as usize, ADMIN_PAGES),
                    directory: None,
                };
                admin.arm(now, &shared.options);
                (Role::Admin(Box::new(admin)), settings, cntlid)
            }
            Accepted::Io { association, settings, grant } => {
                let cntlid = association.cntlid;
                let buffers = DataBuffers::new(&memory, grant.memory.amount(), grant.max_transfer);
                let io = IoQueue {
                    qid: settings.kind.qid(),
                    namespaces: grant.subsystem.namespaces.current(),
                    subsystem: grant.subsystem,
                    counters: grant.counters,
                    max_transfer: grant.max_transfer,
                    _memory: grant.memory,
                    association,
                    address,
                    buffers,
                };
                (Role::Io(Box::new(io)), settings, cntlid)
            }
        };
        queue.role = role;
        queue.sq.configure(&settings);
        let deadline = queue.admin().and_then(|admin| admin.deadline);
        if let Err(why) = tools.engine.configure(queue.id, settings) {
            // The queue ended meanwhile, or the transport cannot do what Connect settled: either way it is over.
            tracing::debug!(peer = %queue.info.peer, %why, "the transport refused the queue's settings");
            queue.closing = true;
            tools.engine.close(queue.id, Close::Now);
            return;
        }
        let cqe =
            ConnectAccepted(0).with_cntlid(cntlid).to_cqe(Cid(0)).with_sqhd(queue.sq.head_for_connect());
        respond(tools.engine, request, cqe, Gather::new());
        if let Some(deadline) = deadline {
            self.wake_at(deadline);
        }
    }

    /// Asks the Connects again whose queue identifier was in use.
    pub(super) fn retry_connects(&mut self, engine: &mut dyn ControllerEngine, now: Instant) -> bool {
        let retries = std::mem::take(&mut self.retries);
        for id in &retries {
            let Some((queue, _)) = self.parts(engine, *id) else {
                continue;
            };
            let Role::Fresh(fresh) = &mut queue.role else {
                continue;
            };
            if let Connecting::Again { request, sqe, data, until } =
                std::mem::replace(&mut fresh.connecting, Connecting::No)
            {
                self.connect(engine, now, request, &sqe, data, Some(until));
            }
        }
        self.retries.len() < retries.len()
    }
}

impl Queue {
    pub(super) fn admin(&self) -> Option<&AdminQueue> {
        match &self.role {
            Role::Admin(admin) => Some(admin),
            _ => None,
        }
    }

    pub(super) fn admin_mut(&mut self) -> Option<&mut AdminQueue> {
        match &mut self.role {
            Role::Admin(admin) => Some(admin),
            _ => None,
        }
    }
}

impl AdminQueue {
    /// How long the state of the controller lets the host be silent.
    pub(super) fn patience(&self, options: &ServerOptions) -> Option<Duration> {
        let association: &Association = &self.association;
        if !association.is_live() {
            // NVMe-oF 1.1 §4.6: a controller that is disabled or shut down keeps its association for 2 minutes.
            return Some(options.enable_timeout);
        }
        // NVMe-oF 1.1 §5.2: a discovery controller without keep alive ends on its own.
        let default = association.is_discovery().then_some(options.discovery_timeout);
        association.keep_alive().or(default)
    }

    /// Sets the deadline that the state of the controller asks for, from `now` on.
    pub(super) fn arm(&mut self, now: Instant, options: &ServerOptions) {
        self.deadline = self.patience(options).map(|patience| now + patience);
    }
}
