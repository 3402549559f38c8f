//! The target's engine: listens, accepts, then carries commands.

use std::{
    net::{Ipv4Addr, SocketAddr},
    os::fd::{BorrowedFd, OwnedFd},
    sync::Arc,
    time::Instant,
};

use nvmf_transport::{
    Buffer, Close, ControllerEngine, ControllerEvent, Engine, Error, ErrorKind, Gather, Limits, Listener,
    ListenerId, Memory, Misuse, Placement, QueueId, QueueSettings, Refused, RequestId, Sharing, Stage,
    Target, Wire,
};
use nvmf_wire::Cqe;

use super::Core;
use crate::{
    config::RdmaConfig,
    conn::{
        ControllerConn, ControllerSetup,
        private_data::{RejectStatus, encode_reject},
    },
    verbs::{CmEvent, ConnId, ConnParams, Depths, Device, ListenId, Verbs},
};

/// NVMe/RDMA for a controller: any number of listeners and queues on one thread.
pub struct RdmaControllerEngine<V: Verbs> {
    core: Core<V, ControllerConn>,
    name: &'static str,
}

impl<V: Verbs> RdmaControllerEngine<V> {
    pub(crate) fn new(config: Arc<RdmaConfig>, verbs: V, least: &Device, name: &'static str) -> Self {
        let limits = config.limits(least);
        Self { core: Core::new(config, verbs, limits, name), name }
    }

    /// Connections of this engine, up or not.
    pub fn connections(&self) -> usize {
        self.core.queues.len()
    }

    /// The verbs under it, for what only one provider can do (such as taking over an accepted socket).
    pub fn verbs_mut(&mut self) -> &mut V {
        &mut self.core.verbs
    }

    /// A host asks for a queue: accepts it, or says why not.
    #[cold]
    fn requested(
        &mut self,
        (conn, listener): (ConnId, ListenId),
        private_data: &[u8],
        depths: Depths,
        now: Instant,
    ) {
        if let Err(status) = self.admit(conn, listener, private_data, depths, now) {
            tracing::debug!(%status, "a queue is turned down");
            // spec: RDMA-CM-15
            // The peer may be gone already; then there is nobody to tell.
            let _ = self.core.verbs.reject(conn, &encode_reject(status));
            self.core.verbs.destroy(conn);
            self.core.forget(conn);
        }
    }

    fn admit(
        &mut self,
        conn: ConnId,
        listener: ListenId,
        private_data: &[u8],
        depths: Depths,
        now: Instant,
    ) -> Result<(), RejectStatus> {
        let core = &mut self.core;
        let config = Arc::clone(&core.config);
        let device = core.verbs.device(conn).cloned().ok_or(RejectStatus::NO_RESOURCES)?;
        // spec: RDMA-CM-18
        if core.queues.len() >= config.max_connections {
            tracing::warn!("too many connections, one is turned away");
            return Err(RejectStatus::NO_RESOURCES);
        }
        let request = ControllerConn::judge(private_data, &device, depths, config.max_depth)?;
        self.make_way(now);
        let core = &mut self.core;
        let staging = Arc::clone(&core.staging);
        let make = |queue| {
            let setup = ControllerSetup {
                queue,
                conn,
                listener: ListenerId(listener.0),
                in_capsule: config.in_capsule,
                in_capsule_offset: config.in_capsule_offset,
                max_transfer: config.max_transfer,
                max_descriptors: config.limits(&device).max_descriptors,
                max_fetches: config.max_fetches,
                max_depth: config.max_depth,
                read_depth: config.read_depth,
                inline: config.inline,
                staging,
                patience: config.patience(),
            };
            ControllerConn::new(setup, request, &device, depths)
        };
        let nobody = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
        let addresses = core.verbs.addresses(conn).unwrap_or((nobody, nobody));
        let queue = core.insert(conn, addresses, make);
        self.accept(conn, queue, device).map_err(|error| {
            tracing::warn!(%error, peer = %addresses.1, "a queue cannot be made");
            RejectStatus::NO_RESOURCES
        })
    }

    /// Makes the queues, posts the receives, and only then says yes.
    // spec: RDMA-QUE-08
    fn accept(&mut self, conn: ConnId, queue: QueueId, device: Device) -> Result<(), Error> {
        let Some((entry, verbs)) = self.core.entry(queue) else { return Ok(()) };
        let caps = verbs.create_qp(conn, &entry.conn.caps(&device)?)?;
        entry.conn.prepare(caps, verbs)?;
        entry.device = Some(device);
        self.core.post(queue);
        let Some((entry, verbs)) = self.core.entry(queue) else { return Ok(()) };
        let (private_data, depths) = entry.conn.accept();
        verbs.accept(conn, &ConnParams { private_data: &private_data, depths })
    }

    /// Keeps the number of connections that are coming up within bounds: the one that has taken longest gives way.
    fn make_way(&mut self, now: Instant) {
        let limit = self.core.config.max_negotiating;
        if self.core.queues.len() < limit {
            return;
        }
        let (mut negotiating, mut oldest) = (0, None);
        for (queue, entry) in self.core.queues.iter_mut() {
            if !entry.announced {
                negotiating += 1;
                if let Some(deadline) = entry.conn.deadline(now)
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

    fn heard(&mut self, event: CmEvent, now: Instant, events: &mut Vec<ControllerEvent>) {
        if let CmEvent::Requested { conn, listener, private_data, depths } = event {
            return self.requested((conn, listener), &private_data, depths, now);
        }
        let Some(queue) = self.core.queue_of(event.conn()) else { return };
        if let Some((entry, _)) = self.core.entry(queue) {
            match event {
                CmEvent::Established { .. } => entry.conn.established(),
                CmEvent::Failed { error, .. } => entry.conn.failed(error),
                _ => {}
            }
        }
        self.core.settle(queue, now, events);
    }
}

impl<V: Verbs> Engine for RdmaControllerEngine<V> {
    fn transport(&self) -> &'static str {
        self.name
    }

    fn memory(&self) -> Arc<dyn Memory> {
        self.core.memory()
    }

    fn wait_handle(&self) -> BorrowedFd<'_> {
        self.core.wait_handle()
    }

    fn next_timeout(&self) -> Option<Instant> {
        self.core.next_timeout()
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

impl<V: Verbs> Sharing for RdmaControllerEngine<V> {
    fn divert(&mut self, listener: ListenerId, to: Arc<dyn Placement>) {
        if let Some(handovers) = self.core.verbs.handovers() {
            handovers.divert(ListenId(listener.0), Box::new(move |socket| to.place(socket, listener)));
        }
    }

    fn adopt(&mut self, connection: OwnedFd, listener: ListenerId, _: Instant) {
        let taken = self
            .core
            .verbs
            .handovers()
            .map(|handovers| handovers.take_over(connection, ListenId(listener.0)));
        if let Some(Err(error)) = taken {
            tracing::debug!(%error, "a connection cannot be taken over");
        }
    }

    fn connections(&self) -> usize {
        self.core.queues.len()
    }
}

impl<V: Verbs> ControllerEngine for RdmaControllerEngine<V> {
    fn sharing(&mut self) -> Option<&mut dyn Sharing> {
        if self.core.verbs.handovers().is_some() { Some(self) } else { None }
    }

    fn listen(&mut self, at: &Target) -> Result<Listener, Error> {
        if !at.allows(Wire::RDMA) {
            let detail = format!("this transport speaks nvme+rdma, not {at}");
            return Err(Error::new(Stage::Listen, ErrorKind::Unsupported, detail));
        }
        let (ListenId(id), address) = self.core.verbs.listen(at.address)?;
        Ok(Listener { id: ListenerId(id), address })
    }

    fn unlisten(&mut self, listener: ListenerId) {
        self.core.verbs.unlisten(ListenId(listener.0));
    }

    fn fetch(&mut self, request: RequestId, offset: u32, into: Buffer) -> Result<(), Refused<Buffer>> {
        match self.core.entry(request.queue) {
            Some((entry, verbs)) => entry.conn.fetch(request, offset, into, verbs),
            None => Err(Refused::new(into, Misuse::UnknownRequest)),
        }
    }

    #[inline]
    fn respond(&mut self, request: RequestId, cqe: Cqe, data: Gather) -> Result<(), Refused<Gather>> {
        match self.core.entry(request.queue) {
            Some((entry, verbs)) => entry.conn.respond(request, cqe, data, verbs),
            None => Err(Refused::new(data, Misuse::UnknownRequest)),
        }
    }

    fn poll(&mut self, now: Instant, events: &mut Vec<ControllerEvent>) -> Result<(), Error> {
        self.core.begin(now, events)?;
        while let Some(event) = self.core.next_event() {
            self.heard(event, now, events);
        }
        self.core.end(now, events)
    }
}
