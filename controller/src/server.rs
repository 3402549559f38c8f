//! The target as a whole: subsystems, listeners, and what all sessions share.
//!
//! A [`Server`] is a handle; its clones are the same server. It moves no data and owns no thread: sessions
//! ([`Session`](crate::Session)) do the work, and [`Server::serve`](crate::Server::serve) runs them.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Instant,
};

use nvmf_transport::{Advertisement, Wire};
use nvmf_wire::Nqn;

use crate::{
    association::{Association, events::Event},
    directory::{Directory, ListenerEntry},
    options::{ConfigError, ServerOptions, SubsystemOptions},
    registry::Registry,
    subsystem::Subsystem,
};

/// A target: many subsystems, one discovery controller, any number of listeners.
#[derive(Clone, Debug)]
pub struct Server {
    pub(crate) shared: Arc<Shared>,
}

/// What the sessions of a server share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) options: ServerOptions,
    pub(crate) discovery: Arc<Registry>,
    /// Places taken among the bounded numbers of [`ServerOptions`].
    pub(crate) associations: Arc<AtomicUsize>,
    pub(crate) queues: Arc<AtomicUsize>,
    pub(crate) unassociated: Arc<AtomicUsize>,
    pub(crate) memory: Arc<AtomicUsize>,
    /// When the first session started: the origin of Power On Hours.
    pub(crate) started: OnceLock<Instant>,
    /// Queues accepted since the start, and those turned away for want of a place.
    pub(crate) accepted: AtomicU64,
    pub(crate) turned_away: AtomicU64,
    config: Mutex<Config>,
}

#[derive(Debug)]
struct Config {
    subsystems: BTreeMap<Nqn, Arc<Subsystem>>,
    listeners: Vec<ListenerEntry>,
    next_portid: u16,
    directory: Arc<Directory>,
}

/// One association, for people.
#[derive(Clone, Debug)]
pub struct AssociationInfo {
    /// The subsystem; `None` is discovery.
    pub subsystem: Option<Nqn>,
    /// The controller identifier.
    pub cntlid: u16,
    /// The host's name.
    pub host: Nqn,
    /// The host's identifier.
    pub host_id: [u8; 16],
    /// The host's address.
    pub peer: SocketAddr,
    /// The transport of the admin queue.
    pub transport: &'static str,
    /// I/O queues now.
    pub io_queues: usize,
    /// Whether the host has enabled the controller.
    pub ready: bool,
}

/// Numbers of a server, for people.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServerStatistics {
    /// Queues that have been accepted.
    pub accepted: u64,
    /// Queues that were turned away for want of a place.
    pub turned_away: u64,
    /// Queues now.
    pub queues: usize,
    /// Associations now.
    pub associations: usize,
    /// Bytes of data buffers promised to I/O queues now.
    pub memory: usize,
}

impl Server {
    /// A server without subsystems.
    pub fn new(options: ServerOptions) -> Self {
        let directory =
            Arc::new(Directory { admin_entries: options.max_admin_entries, ..Directory::default() });
        let config = Config { subsystems: BTreeMap::new(), listeners: Vec::new(), next_portid: 1, directory };
        let shared = Shared {
            options,
            discovery: Arc::new(Registry::new(1..=nvmf_wire::fabrics::CNTLID_MAX)),
            associations: Arc::default(),
            queues: Arc::default(),
            unassociated: Arc::default(),
            memory: Arc::default(),
            started: OnceLock::new(),
            accepted: AtomicU64::new(0),
            turned_away: AtomicU64::new(0),
            config: Mutex::new(config),
        };
        Self { shared: Arc::new(shared) }
    }

    /// The options it was made with.
    pub fn options(&self) -> &ServerOptions {
        &self.shared.options
    }

    /// Adds a subsystem; hosts that watch the discovery log page are told.
    pub fn add_subsystem(&self, options: SubsystemOptions) -> Result<Arc<Subsystem>, ConfigError> {
        let subsystem = Arc::new(Subsystem::new(options, Arc::downgrade(&self.shared))?);
        let nqn = *subsystem.nqn();
        {
            let mut config = self.shared.config();
            if nqn.is_discovery() || config.subsystems.contains_key(&nqn) {
                return Err(ConfigError::SubsystemExists(Box::new(nqn)));
            }
            config.subsystems.insert(nqn, Arc::clone(&subsystem));
        }
        self.shared.directory_changed();
        Ok(subsystem)
    }

    /// Removes a subsystem: its associations end.
    pub fn remove_subsystem(&self, nqn: &Nqn) -> Result<Arc<Subsystem>, ConfigError> {
        let removed =
            self.shared.config().subsystems.remove(nqn).ok_or(ConfigError::NoSubsystem(Box::new(*nqn)))?;
        removed.associations().iter().for_each(|association| association.end("the subsystem was removed"));
        self.shared.directory_changed();
        Ok(removed)
    }

    /// The subsystem of that name.
    pub fn subsystem(&self, nqn: &Nqn) -> Option<Arc<Subsystem>> {
        self.shared.subsystem(nqn)
    }

    /// All subsystems, by name.
    pub fn subsystems(&self) -> Vec<Arc<Subsystem>> {
        self.shared.config().subsystems.values().cloned().collect()
    }

    /// Makes a listener known to discovery; answers its port identifier. [`Server::serve`](crate::Server::serve) does so itself.
    pub fn add_listener(&self, wire: Wire, address: SocketAddr) -> u16 {
        self.advertise(wire.into(), address)
    }

    /// The same, with what its transport says of it.
    pub fn advertise(&self, how: Advertisement, address: SocketAddr) -> u16 {
        let Advertisement { wire, rdma_provider } = how;
        let portid = {
            let mut config = self.shared.config();
            let portid = config.next_portid;
            config.next_portid = portid.checked_add(1).unwrap_or(1);
            config.listeners.push(ListenerEntry { portid, wire, rdma_provider, address });
            portid
        };
        self.shared.directory_changed();
        portid
    }

    /// Makes discovery forget a listener.
    pub fn remove_listener(&self, portid: u16) {
        self.shared.config().listeners.retain(|listener| listener.portid != portid);
        self.shared.directory_changed();
    }

    /// The listeners known to discovery.
    pub fn listeners(&self) -> Vec<ListenerEntry> {
        self.shared.config().listeners.clone()
    }

    /// The generation counter of the discovery log page.
    pub fn generation(&self) -> u64 {
        self.shared.directory().generation
    }

    /// The associations of all subsystems and of discovery.
    pub fn associations(&self) -> Vec<AssociationInfo> {
        self.shared.associations().iter().map(|association| association.info()).collect()
    }

    /// Numbers of the server.
    pub fn statistics(&self) -> ServerStatistics {
        let shared = &self.shared;
        ServerStatistics {
            accepted: shared.accepted.load(Ordering::Relaxed),
            turned_away: shared.turned_away.load(Ordering::Relaxed),
            queues: shared.queues.load(Ordering::Relaxed),
            associations: shared.associations.load(Ordering::Relaxed),
            memory: shared.memory.load(Ordering::Relaxed),
        }
    }
}

impl Shared {
    fn config(&self) -> MutexGuard<'_, Config> {
        self.config.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn subsystem(&self, nqn: &Nqn) -> Option<Arc<Subsystem>> {
        self.config().subsystems.get(nqn).cloned()
    }

    /// The newest directory.
    pub(crate) fn directory(&self) -> Arc<Directory> {
        Arc::clone(&self.config().directory)
    }

    /// Publishes a new generation of the discovery log page and tells the discovery controllers.
    pub(crate) fn directory_changed(&self) {
        {
            let mut config = self.config();
            config.directory = Arc::new(Directory {
                generation: config.directory.generation.wrapping_add(1),
                subsystems: config
                    .subsystems
                    .iter()
                    .map(|(nqn, subsystem)| (*nqn, subsystem.hosts()))
                    .collect(),
                listeners: config.listeners.clone(),
                admin_entries: self.options.max_admin_entries,
            });
        }
        self.discovery.all().iter().for_each(|association| association.raise(Event::DiscoveryChanged));
    }

    pub(crate) fn associations(&self) -> Vec<Arc<Association>> {
        let subsystems: Vec<_> = self.config().subsystems.values().cloned().collect();
        let mut all: Vec<_> = subsystems.iter().flat_map(|subsystem| subsystem.associations()).collect();
        all.extend(self.discovery.all());
        all
    }
}

impl Association {
    pub(crate) fn info(&self) -> AssociationInfo {
        let state = self.lock();
        AssociationInfo {
            subsystem: self.subsystem.as_ref().map(|subsystem| *subsystem.nqn()),
            cntlid: self.cntlid,
            host: self.host.nqn,
            host_id: self.host.id,
            peer: self.facts.peer,
            transport: self.facts.transport,
            io_queues: state.open_io_queues(),
            ready: state.registers.ready(),
        }
    }
}
