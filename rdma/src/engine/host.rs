//! The initiator's engine: connects, then carries commands.

use std::{os::fd::BorrowedFd, sync::Arc, time::Instant};

use nvmf_transport::{
    Close, Command, ConnectOptions, Engine, Error, ErrorKind, HostEngine, HostEvent, Limits, Memory, Misuse,
    QueueId, QueueSettings, Refused, Stage, Target, Wire,
};
use nvmf_wire::Cid;

use super::Core;
use crate::{
    config::RdmaConfig,
    conn::{HostConn, HostSetup, Patience},
    verbs::{CmEvent, ConnId, ConnParams, Device, Verbs},
};

/// NVMe/RDMA for a host: any number of queues on one thread.
pub struct RdmaHostEngine<V: Verbs> {
    core: Core<V, HostConn>,
    name: &'static str,
}

impl<V: Verbs> RdmaHostEngine<V> {
    pub(crate) fn new(config: Arc<RdmaConfig>, verbs: V, least: &Device, name: &'static str) -> Self {
        let limits = config.limits(least);
        Self { core: Core::new(config, verbs, limits, name), name }
    }

    /// The device is known: makes the queues and asks the controller.
    // spec: RDMA-QUE-01, RDMA-QUE-03
    fn resolved(&mut self, conn: ConnId) {
        let Some(queue) = self.core.queue_of(conn) else { return };
        if let Err(error) = self.ask(conn, queue)
            && let Some((entry, _)) = self.core.entry(queue)
        {
            entry.conn.failed(error);
        }
    }

    fn ask(&mut self, conn: ConnId, queue: QueueId) -> Result<(), Error> {
        let Some((entry, verbs)) = self.core.entry(queue) else { return Ok(()) };
        let Some(device) = verbs.device(conn).cloned() else {
            return Err(Error::new(Stage::Connect, ErrorKind::Unreachable, "no RDMA device leads there"));
        };
        let caps = verbs.create_qp(conn, &entry.conn.caps(&device)?)?;
        entry.conn.prepare(&device, caps, verbs)?;
        entry.device = Some(device);
        self.core.post(queue);
        let Some((entry, verbs)) = self.core.entry(queue) else { return Ok(()) };
        let (private_data, depths) = entry.conn.request();
        verbs.request(conn, &ConnParams { private_data: &private_data, depths })
    }

    fn heard(&mut self, event: CmEvent, now: Instant, events: &mut Vec<HostEvent>) {
        let conn = event.conn();
        let Some(queue) = self.core.queue_of(conn) else { return };
        if let CmEvent::Resolved { .. } = event {
            self.resolved(conn);
        } else if let Some((entry, _)) = self.core.entry(queue) {
            match event {
                CmEvent::Established { private_data, depths, .. } => {
                    entry.conn.established(&private_data, depths);
                }
                CmEvent::Rejected { private_data, .. } => entry.conn.rejected(&private_data),
                CmEvent::Failed { error, .. } => entry.conn.failed(error),
                _ => {}
            }
        }
        self.core.settle(queue, now, events);
    }
}

impl<V: Verbs> Engine for RdmaHostEngine<V> {
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

impl<V: Verbs> HostEngine for RdmaHostEngine<V> {
    fn connect(&mut self, target: &Target, options: &ConnectOptions) -> Result<QueueId, Error> {
        let wrong = |kind, what: String| Err(Error::new(Stage::Connect, kind, what));
        if !target.allows(Wire::RDMA) {
            return wrong(ErrorKind::Unsupported, format!("this transport speaks nvme+rdma, not {target}"));
        }
        let config = Arc::clone(&self.core.config);
        if !(2..=config.max_depth).contains(&options.depth) {
            let detail =
                format!("a queue of {} entries; 2 to {} are possible", options.depth, config.max_depth);
            return wrong(ErrorKind::Unsupported, detail);
        }
        if self.core.queues.len() >= config.max_connections {
            return wrong(
                ErrorKind::Resources,
                format!("{} connections are all this engine has", config.max_connections),
            );
        }
        let conn = self.core.verbs.connect(target.address, options.source, options.timeout)?;
        let patience = Patience { negotiate: options.timeout, ..config.patience() };
        let staging = Arc::clone(&self.core.staging);
        let setup = |queue| HostSetup {
            queue,
            conn,
            kind: options.kind,
            depth: options.depth,
            in_capsule: options.max_in_capsule.min(config.max_transfer),
            in_capsule_offset: config.in_capsule_offset,
            max_transfer: config.max_transfer,
            read_depth: config.read_depth,
            inline: config.inline,
            staging,
            patience,
        };
        // The local address is known when the connection is.
        let local = options.source.unwrap_or(target.address);
        let queue = self.core.insert(conn, (local, target.address), |queue| HostConn::new(setup(queue)));
        if let Some((entry, _)) = self.core.entry(queue) {
            entry.limits.max_in_capsule.io = options.max_in_capsule;
        }
        Ok(queue)
    }

    #[inline]
    fn submit(&mut self, queue: QueueId, command: Command) -> Result<Cid, Refused<Command>> {
        match self.core.entry(queue) {
            Some((entry, verbs)) => entry.conn.submit(command, verbs),
            None => Err(Refused::new(command, Misuse::UnknownQueue)),
        }
    }

    fn poll(&mut self, now: Instant, events: &mut Vec<HostEvent>) -> Result<(), Error> {
        self.core.begin(now, events)?;
        while let Some(event) = self.core.next_event() {
            self.heard(event, now, events);
        }
        self.core.end(now, events)
    }
}
