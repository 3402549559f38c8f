//! What a person configures: bounds of the whole server, subsystems, namespaces, hosts. Plain values with defaults.
//!
//! Deliberately absent: file formats (the program reads those) and anything of a transport. What is wrong with a value is
//! said by [`ConfigError`] when it is given to [`Server`](crate::Server) or [`Subsystem`](crate::Subsystem).

use std::{collections::BTreeSet, ops::RangeInclusive, sync::Arc, time::Duration};

use nvmf_wire::{Nqn, ascii::AsciiError};

use crate::backend::Backend;

/// Bounds of everything hosts can make the server hold, and how long it waits for them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerOptions {
    /// Associations at once, over all subsystems and discovery.
    pub max_associations: usize,
    /// Queues at once, over all associations, and queues that have not connected yet.
    pub max_queues: usize,
    /// Queues at once that have not sent a Connect command yet.
    pub max_unassociated: usize,
    /// How long a queue may stay without a successful Connect command.
    pub connect_timeout: Duration,
    /// How long an association outlives a controller that is disabled or shut down (NVMe-oF 1.1 §4.6 says 2 minutes).
    pub enable_timeout: Duration,
    /// How long a discovery controller without keep alive waits for a command (NVMe-oF 1.1 §5.2 says 2 minutes).
    pub discovery_timeout: Duration,
    /// Entries of an admin queue at most (ASQSZ of the discovery log page).
    pub max_admin_entries: u16,
    /// Bytes of data buffers over all I/O queues. What a namespace in memory answers from itself does not count.
    pub memory: usize,
    /// Bytes of data buffers one I/O queue is given, as long as `memory` lasts.
    pub queue_memory: usize,
}

impl Default for ServerOptions {
    fn default() -> Self {
        Self {
            max_associations: 256,
            max_queues: 2048,
            max_unassociated: 128,
            connect_timeout: Duration::from_secs(20),
            enable_timeout: Duration::from_secs(120),
            discovery_timeout: Duration::from_secs(120),
            max_admin_entries: 128,
            memory: 1 << 30,
            queue_memory: 8 << 20,
        }
    }
}

/// Which hosts may connect to a subsystem, and see it in the discovery log page.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Hosts {
    /// Every host.
    #[default]
    Any,
    /// These and no others.
    Only(BTreeSet<Nqn>),
}

impl Hosts {
    /// Whether `host` is one of them.
    pub fn allow(&self, host: &Nqn) -> bool {
        match self {
            Self::Any => true,
            Self::Only(names) => names.contains(host),
        }
    }
}

impl FromIterator<Nqn> for Hosts {
    fn from_iter<I: IntoIterator<Item = Nqn>>(names: I) -> Self {
        Self::Only(names.into_iter().collect())
    }
}

/// A subsystem to be.
#[derive(Clone, Debug)]
pub struct SubsystemOptions {
    /// Its name.
    pub nqn: Nqn,
    /// The serial number, at most 20 printable ASCII characters; `None` makes one of the name, the same every time.
    pub serial: Option<String>,
    /// The model number, at most 40 printable ASCII characters.
    pub model: String,
    /// The firmware revision, at most 8 printable ASCII characters.
    pub firmware: String,
    /// Who may connect.
    pub hosts: Hosts,
    /// I/O queues per association at most.
    pub max_io_queues: u16,
    /// Entries of an I/O queue at most (CAP.MQES + 1); a transport may lower it.
    pub max_queue_entries: u16,
    /// Bytes one command may move at most (MDTS), rounded down to a power of two of 4 KiB pages; a transport may lower it.
    pub max_transfer: u32,
    /// The highest namespace identifier (NN).
    pub max_namespaces: u32,
    /// The controller identifiers that associations get.
    pub cntlids: RangeInclusive<u16>,
}

impl SubsystemOptions {
    /// A subsystem for any host, with the defaults.
    pub fn new(nqn: Nqn) -> Self {
        Self {
            nqn,
            serial: None,
            model: "nvmf".into(),
            firmware: env!("CARGO_PKG_VERSION").into(),
            hosts: Hosts::Any,
            max_io_queues: 64,
            max_queue_entries: 1024,
            max_transfer: 1 << 20,
            max_namespaces: 1024,
            cntlids: 1..=0xffef,
        }
    }
}

/// A namespace to be.
#[derive(Clone, Debug)]
pub struct NamespaceOptions {
    /// What stores its blocks.
    pub backend: Arc<dyn Backend>,
    /// Its UUID; `None` takes the backend's identity.
    pub uuid: Option<uuid::Uuid>,
    /// Its NGUID; `None` takes the backend's identity.
    pub nguid: Option<[u8; 16]>,
    /// Its EUI64; `None` reports none.
    pub eui64: Option<[u8; 8]>,
}

impl NamespaceOptions {
    /// A namespace named after its backend's identity.
    pub fn new(backend: Arc<dyn Backend>) -> Self {
        Self { backend, uuid: None, nguid: None, eui64: None }
    }
}

/// What is wrong with a configuration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// A text of Identify Controller does not fit.
    #[error("{field}: {source}")]
    Text {
        /// Which one.
        field: &'static str,
        /// Why not.
        source: AsciiError,
    },
    /// A number out of its range.
    #[error("{field}: {value} is not in {range}")]
    Range {
        /// Which one.
        field: &'static str,
        /// Its value.
        value: u64,
        /// What is allowed.
        range: String,
    },
    /// There is a subsystem of that name already, or it is the discovery subsystem's.
    #[error("subsystem {0} exists already")]
    SubsystemExists(Box<Nqn>),
    /// There is no subsystem of that name.
    #[error("there is no subsystem {0}")]
    NoSubsystem(Box<Nqn>),
    /// The namespace identifier is in use.
    #[error("namespace {0} exists already")]
    NamespaceExists(u32),
    /// The namespace identifier is not in use.
    #[error("there is no namespace {0}")]
    NoNamespace(u32),
}
