//! The target's engine: listens, accepts, then carries commands.

use std::{
    net::SocketAddr,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    sync::Arc,
    time::{Duration, Instant},
};

use nvmf_transport::{
    Buffer, Close, ControllerEngine, ControllerEvent, Engine, Error, ErrorKind, Gather, Limits, Listener,
    ListenerId, Memory, Misuse, Offer, Pages, Placement, Pool, QueueId, QueueSettings, Refused, RequestId,
    Sharing, Stage, Target, Wire,
};
use nvmf_wire::Cqe;

use super::{Core, core::Path, socket};
use crate::{
    accelerator::{Accelerator, Terms},
    config::TcpConfig,
    conn::{ControllerConn, ControllerSetup},
    pdu::ADMIN_IN_CAPSULE,
};

/// Connections accepted by one listener in one pass.
const ACCEPTS: usize = 64;

/// How long a listener rests when the system has no descriptor or memory left for a connection.
const REST: Duration = Duration::from_millis(100);

/// NVMe/TCP for a controller: any number of listeners and queues on one thread.
pub struct TcpControllerEngine {
    core: Core<ControllerConn>,
    listeners: Vec<Option<Listening>>,
    small: Arc<Pool>,
    large: Arc<Pool>,
}

struct Listening {
    socket: OwnedFd,
    address: SocketAddr,
    /// Not watched until then.
    resting: Option<Instant>,
    /// Who gets its connections, if not this engine.
    to: Option<Arc<dyn Placement>>,
}

impl TcpControllerEngine {
    pub(crate) fn new(
        config: Arc<TcpConfig>,
        accelerator: Option<Arc<dyn Accelerator>>,
    ) -> Result<Self, Error> {
        let pool = |size: u32| Arc::new(Pool::new(Arc::new(Pages), size as usize, config.in_capsule_buffers));
        Ok(Self {
            small: pool(ADMIN_IN_CAPSULE),
            large: pool(config.in_capsule.max(ADMIN_IN_CAPSULE)),
            core: Core::new(config, accelerator)?,
            listeners: Vec::new(),
        })
    }

    /// Connections of this engine, negotiated or not.
    pub fn connections(&self) -> usize {
        self.core.queues.len()
    }

    /// Takes over a connected socket that somebody else has accepted; its queue counts as come by `listener`.
    ///
    /// Nothing may have been read from it. `Accepted` follows once the host has negotiated.
    pub fn adopt(&mut self, socket: OwnedFd, listener: ListenerId) -> Result<QueueId, Error> {
        socket::prepare(&socket, &self.core.config)
            .map_err(|e| Error::from_io(Stage::Setup, "cannot use the socket", e))?;
        self.welcome(socket, listener)
    }

    /// Makes a queue of a connection.
    fn welcome(&mut self, socket: OwnedFd, listener: ListenerId) -> Result<QueueId, Error> {
        let addresses = socket::addresses(&socket)
            .map_err(|e| Error::from_io(Stage::Negotiate, "the peer was gone before negotiation", e))?;
        let config = Arc::clone(&self.core.config);
        let mut terms = config.controller;
        let wanted = self.core.accelerator.as_ref().map(|accelerator| {
            match accelerator.constrain(socket.as_fd(), Terms::Controller(&mut terms)) {
                Offer::Accept { .. } => Ok(()),
                Offer::Decline { because } => {
                    terms = config.controller;
                    Err(because)
                }
            }
        });
        let (small, large) = (Arc::clone(&self.small), Arc::clone(&self.large));
        let make = |queue| {
            let setup = ControllerSetup {
                queue,
                listener,
                in_capsule: config.in_capsule,
                max_c2h_data: config.max_c2h_data,
                max_fetches: config.max_fetches,
                max_depth: config.max_depth,
                small,
                large,
                patience: config.patience(),
            };
            ControllerConn::new(setup, terms)
        };
        let queue = self.core.insert(socket, addresses, false, make)?;
        if let Some(entry) = self.core.entry(queue) {
            entry.wanted = wanted;
        }
        Ok(queue)
    }

    /// Accepts what waits at a listener, as much as is fair.
    #[cold]
    fn accept(&mut self, listener: u32, now: Instant) {
        for _ in 0..ACCEPTS {
            let Some(Some(listening)) = self.listeners.get_mut(listener as usize) else {
                return;
            };
            let accepted = match socket::accept(&listening.socket, &self.core.config) {
                Ok(Some(socket)) => socket,
                Ok(None) => return,
                Err(error) => {
                    // The connection stays in the backlog and the listener readable: look away for a while.
                    tracing::warn!(address = %listening.address, %error, "cannot accept a connection");
                    self.core.unwatch(listening.socket.as_fd());
                    listening.resting = now.checked_add(REST);
                    return;
                }
            };
            match &listening.to {
                Some(to) => to.place(accepted, ListenerId(listener)),
                None => self.admit(accepted, ListenerId(listener), now),
            }
        }
    }

    /// Makes a queue of a connection if there is room for one.
    fn admit(&mut self, socket: OwnedFd, listener: ListenerId, now: Instant) {
        if self.core.queues.len() >= self.core.config.max_connections {
            tracing::warn!("too many connections, one is turned away");
            return;
        }
        self.make_way(now);
        if let Err(error) = self.welcome(socket, listener) {
            tracing::debug!(%error, "a connection is lost before negotiation");
        }
    }

    /// Keeps the number of connections that negotiate within bounds: the one that has taken longest gives way. A host that
    /// means it is done within a round trip; whoever holds connections open without a word only competes with his own.
    fn make_way(&mut self, now: Instant) {
        let limit = self.core.config.max_negotiating;
        if self.core.queues.len() < limit {
            return;
        }
        let (mut negotiating, mut oldest) = (0, None);
        for (queue, entry) in self.core.queues.iter_mut() {
            if let Path::Software(stream) = &mut entry.path
                && !entry.announced
            {
                negotiating += 1;
                if let Some(deadline) = stream.conn.deadline(now)
                    && oldest.is_none_or(|(at, _)| deadline < at)
                {
                    oldest = Some((deadline, queue));
                }
            }
        }
        if let Some((_, queue)) = oldest.filter(|_| negotiating >= limit) {
            self.core.close(queue, Close::Now);
        }
    }

    /// Watches the listeners again that have rested.
    fn wake_listeners(&mut self, now: Instant) {
        for (token, listening) in self.listeners.iter_mut().enumerate() {
            let Some(listening) = listening else { continue };
            if listening.resting.is_some_and(|until| until <= now) {
                listening.resting = match self.core.watch(listening.socket.as_fd(), token as u32) {
                    Ok(()) => None,
                    Err(_) => now.checked_add(REST),
                };
            }
        }
    }
}

impl Engine for TcpControllerEngine {
    fn transport(&self) -> &'static str {
        "tcp"
    }

    fn memory(&self) -> Arc<dyn Memory> {
        Arc::new(Pages)
    }

    fn wait_handle(&self) -> BorrowedFd<'_> {
        self.core.wait_handle()
    }

    fn next_timeout(&self) -> Option<Instant> {
        let resting = self.listeners.iter().flatten().filter_map(|listening| listening.resting);
        resting.chain(self.core.next_timeout()).min()
    }

    fn limits(&self, queue: QueueId) -> Option<&Limits> {
        self.core.limits(queue)
    }

    fn configure(&mut self, queue: QueueId, settings: QueueSettings) -> Result<(), Misuse> {
        self.core.configure(queue, &settings)
    }

    fn close(&mut self, queue: QueueId, how: Close) {
        self.core.close(queue, how);
    }
}

impl Sharing for TcpControllerEngine {
    fn divert(&mut self, listener: ListenerId, to: Arc<dyn Placement>) {
        if let Some(Some(listening)) = self.listeners.get_mut(listener.0 as usize) {
            listening.to = Some(to);
        }
    }

    fn adopt(&mut self, connection: OwnedFd, listener: ListenerId, now: Instant) {
        if let Err(error) = socket::prepare(&connection, &self.core.config) {
            tracing::debug!(%error, "a connection cannot be taken over");
            return;
        }
        self.admit(connection, listener, now);
    }

    fn connections(&self) -> usize {
        self.core.queues.len()
    }
}

impl ControllerEngine for TcpControllerEngine {
    fn sharing(&mut self) -> Option<&mut dyn Sharing> {
        Some(self)
    }

    fn listen(&mut self, at: &Target) -> Result<Listener, Error> {
        // spec: TCP-ADR-01
        if !at.allows(Wire::TCP) {
            let detail = format!("this transport speaks nvme+tcp, not {at}");
            return Err(Error::new(Stage::Listen, ErrorKind::Unsupported, detail));
        }
        let (socket, address) = socket::listen(at.address, &self.core.config)?;
        let token = self.listeners.len() as u32;
        self.core.watch(socket.as_fd(), token)?;
        self.listeners.push(Some(Listening { socket, address, resting: None, to: None }));
        Ok(Listener { id: ListenerId(token), address })
    }

    fn unlisten(&mut self, listener: ListenerId) {
        // Its number is not given again: queues that came by it still carry it.
        if let Some(listening) = self.listeners.get_mut(listener.0 as usize).and_then(Option::take) {
            self.core.unwatch(listening.socket.as_fd());
        }
    }

    fn fetch(&mut self, request: RequestId, offset: u32, into: Buffer) -> Result<(), Refused<Buffer>> {
        match self.core.entry(request.queue).map(|entry| &mut entry.path) {
            Some(Path::Software(stream)) => stream.conn.fetch(request, offset, into),
            Some(Path::Accelerated(datapath)) => datapath.fetch(request, offset, into),
            Some(Path::Between) | None => Err(Refused::new(into, Misuse::UnknownRequest)),
        }
    }

    #[inline]
    fn respond(&mut self, request: RequestId, cqe: Cqe, data: Gather) -> Result<(), Refused<Gather>> {
        match self.core.entry(request.queue).map(|entry| &mut entry.path) {
            Some(Path::Software(stream)) => stream.conn.respond(request, cqe, data),
            Some(Path::Accelerated(datapath)) => datapath.respond(request, cqe, data),
            Some(Path::Between) | None => Err(Refused::new(data, Misuse::UnknownRequest)),
        }
    }

    fn poll(&mut self, now: Instant, events: &mut Vec<ControllerEvent>) -> Result<(), Error> {
        self.wake_listeners(now);
        self.core.poll(now, events, |_, _, _| {})?;
        while let Some(listener) = self.core.take_ready() {
            self.accept(listener, now);
        }
        Ok(())
    }
}
