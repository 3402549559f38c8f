//! The initiator's engine: connects, then carries commands.

use std::{os::fd::AsFd, os::fd::BorrowedFd, sync::Arc, time::Instant};

use nvmf_transport::{
    Close, Command, ConnectOptions, Engine, Error, ErrorKind, HostEngine, HostEvent, Limits, Memory, Misuse,
    Offer, Pages, QueueId, QueueSettings, Refused, Stage, Target, Wire,
};
use nvmf_wire::Cid;

use super::{
    Core,
    core::{Entry, Path},
    socket,
};
use crate::{
    accelerator::{Accelerator, Terms},
    config::TcpConfig,
    conn::{HostConn, HostSetup, Patience},
};

/// NVMe/TCP for a host: any number of queues on one thread.
pub struct TcpHostEngine {
    core: Core<HostConn>,
}

impl TcpHostEngine {
    pub(crate) fn new(
        config: Arc<TcpConfig>,
        accelerator: Option<Arc<dyn Accelerator>>,
    ) -> Result<Self, Error> {
        Ok(Self { core: Core::new(config, accelerator)? })
    }
}

impl Engine for TcpHostEngine {
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

impl HostEngine for TcpHostEngine {
    fn connect(&mut self, target: &Target, options: &ConnectOptions) -> Result<QueueId, Error> {
        let wrong = |what: String| Err(Error::new(Stage::Connect, ErrorKind::Unsupported, what));
        if !target.allows(Wire::TCP) {
            return wrong(format!("this transport speaks nvme+tcp, not {target}"));
        }
        let config = Arc::clone(&self.core.config);
        if !(2..=config.max_depth).contains(&options.depth) {
            return wrong(format!(
                "a queue of {} entries; 2 to {} are possible",
                options.depth, config.max_depth
            ));
        }
        let socket = socket::connect(target.address, options.source, &config)?;
        let patience = Patience { negotiate: options.timeout, ..config.patience() };
        let setup = |queue| HostSetup {
            queue,
            depth: options.depth,
            in_capsule: options.max_in_capsule.min(config.max_transfer),
            max_transfer: config.max_transfer,
            patience,
        };
        // The local address is known when the connection is.
        let local = options.source.unwrap_or(target.address);
        let queue =
            self.core.insert(socket, (local, target.address), true, |queue| HostConn::new(setup(queue)))?;
        if let Some(entry) = self.core.entry(queue) {
            entry.limits.max_in_capsule.io = options.max_in_capsule;
        }
        Ok(queue)
    }

    #[inline]
    fn submit(&mut self, queue: QueueId, command: Command) -> Result<Cid, Refused<Command>> {
        match self.core.entry(queue).map(|entry| &mut entry.path) {
            Some(Path::Software(stream)) => stream.conn.submit(command),
            Some(Path::Accelerated(datapath)) => datapath.submit(command),
            Some(Path::Between) | None => Err(Refused::new(command, Misuse::UnknownQueue)),
        }
    }

    fn poll(&mut self, now: Instant, events: &mut Vec<HostEvent>) -> Result<(), Error> {
        self.core.poll(now, events, connected)
    }
}

/// Connecting has ended: negotiates, or gives up.
#[cold]
fn connected(entry: &mut Entry<HostConn>, config: &TcpConfig, accelerator: Option<&dyn Accelerator>) {
    let Path::Software(stream) = &mut entry.path else {
        return;
    };
    if let Err(error) = socket::connected(&stream.socket, stream.peer) {
        return stream.conn.failed(error);
    }
    match socket::addresses(&stream.socket) {
        Ok((local, _)) => entry.local = local,
        // The connection is gone again already.
        Err(error) => {
            let detail = format!("cannot connect to {}: {error}", stream.peer);
            return stream.conn.failed(Error::from_io(Stage::Connect, detail, error));
        }
    }
    entry.connecting = false;
    let mut terms = config.host;
    entry.wanted = accelerator.map(|accelerator| {
        match accelerator.constrain(stream.socket.as_fd(), Terms::Host(&mut terms)) {
            Offer::Accept { .. } => Ok(()),
            Offer::Decline { because } => {
                terms = config.host;
                Err(because)
            }
        }
    });
    stream.conn.start(terms);
}
