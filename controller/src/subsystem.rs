//! A subsystem: its names, its namespaces, its hosts, and the controllers that hosts have made of it.
//!
//! Everything here may change while hosts are connected. Namespaces are announced by asynchronous events, hosts that lose
//! their right lose their associations. The I/O path reaches only [`Subsystem::namespaces`].

use std::sync::{
    Arc, Mutex, PoisonError, Weak,
    atomic::{AtomicU64, Ordering},
};

use nvmf_wire::{Ascii, Nqn};

use crate::{
    association::Association,
    counters::{Account, IoCounters},
    namespace::{Namespace, Namespaces},
    options::{ConfigError, Hosts, NamespaceOptions, SubsystemOptions},
    registry::Registry,
    server::Shared,
};

/// The smallest memory page, the unit of MDTS (CAP.MPSMIN 0).
pub(crate) const PAGE: u32 = 4096;

/// One NVM subsystem. Made by [`Server::add_subsystem`](crate::Server::add_subsystem).
#[derive(Debug)]
pub struct Subsystem {
    nqn: Nqn,
    pub(crate) serial: Ascii<20>,
    pub(crate) model: Ascii<40>,
    pub(crate) firmware: Ascii<8>,
    pub(crate) max_io_queues: u16,
    pub(crate) max_queue_entries: u16,
    pub(crate) max_transfer: u32,
    pub(crate) max_namespaces: u32,
    pub(crate) namespaces: Namespaces,
    pub(crate) controllers: Arc<Registry>,
    pub(crate) account: Account,
    errors_logged: AtomicU64,
    hosts: Mutex<Arc<Hosts>>,
    server: Weak<Shared>,
}

impl Subsystem {
    pub(crate) fn new(options: SubsystemOptions, server: Weak<Shared>) -> Result<Self, ConfigError> {
        let SubsystemOptions {
            nqn,
            serial,
            model,
            firmware,
            hosts,
            max_io_queues,
            max_queue_entries,
            max_transfer,
            max_namespaces,
            cntlids,
        } = options;
        let serial = serial.unwrap_or_else(|| format!("{:016X}", fingerprint(nqn.as_bytes())));
        range("max_io_queues", max_io_queues.into(), 1, 65_534)?;
        range("max_queue_entries", max_queue_entries.into(), 2, 65_535)?;
        range("max_transfer", max_transfer.into(), PAGE.into(), 1 << 30)?;
        range("max_namespaces", max_namespaces.into(), 1, 65_536)?;
        range("cntlids start", (*cntlids.start()).into(), 1, (*cntlids.end()).into())?;
        range("cntlids end", (*cntlids.end()).into(), 1, nvmf_wire::fabrics::CNTLID_MAX.into())?;
        Ok(Self {
            nqn,
            serial: text("serial", &serial)?,
            model: text("model", &model)?,
            firmware: text("firmware", &firmware)?,
            max_io_queues,
            max_queue_entries,
            max_transfer,
            max_namespaces,
            namespaces: Namespaces::default(),
            controllers: Arc::new(Registry::new(cntlids)),
            account: Account::default(),
            errors_logged: AtomicU64::new(0),
            hosts: Mutex::new(Arc::new(hosts)),
            server,
        })
    }

    /// The name.
    pub fn nqn(&self) -> &Nqn {
        &self.nqn
    }

    /// The active namespaces, by identifier.
    pub fn namespaces(&self) -> Vec<Arc<Namespace>> {
        self.namespaces.current().table.iter().cloned().collect()
    }

    /// Adds a namespace and tells the hosts.
    pub fn add_namespace(&self, nsid: u32, options: NamespaceOptions) -> Result<(), ConfigError> {
        range("nsid", nsid.into(), 1, self.max_namespaces.into())?;
        self.namespaces.add(nsid, options)?;
        self.announce(nsid);
        Ok(())
    }

    /// Removes a namespace and tells the hosts. Commands that have started on it end as they would have.
    pub fn remove_namespace(&self, nsid: u32) -> Result<Arc<Namespace>, ConfigError> {
        let removed = self.namespaces.remove(nsid)?;
        self.announce(nsid);
        Ok(removed)
    }

    fn announce(&self, nsid: u32) {
        self.controllers.all().iter().for_each(|association| association.namespace_changed(nsid));
    }

    /// Who may connect.
    pub fn hosts(&self) -> Arc<Hosts> {
        Arc::clone(&self.hosts.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Changes who may connect. Associations of hosts that may not any more end, and the discovery log page changes.
    pub fn set_hosts(&self, hosts: Hosts) {
        let hosts = Arc::new(hosts);
        *self.hosts.lock().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&hosts);
        for association in self.controllers.all() {
            if !hosts.allow(&association.host.nqn) {
                association.end("the host lost the right to connect");
            }
        }
        if let Some(server) = self.server.upgrade() {
            server.directory_changed();
        }
    }

    /// Whether a host may connect.
    pub(crate) fn allows(&self, host: &Nqn) -> bool {
        self.hosts.lock().unwrap_or_else(PoisonError::into_inner).allow(host)
    }

    /// What hosts moved, over the life of the subsystem.
    pub fn counters(&self) -> IoCounters {
        self.account.total()
    }

    /// The associations of the subsystem.
    pub(crate) fn associations(&self) -> Vec<Arc<Association>> {
        self.controllers.all()
    }

    /// Errors logged over the life of the subsystem.
    pub(crate) fn errors_logged(&self) -> u64 {
        self.errors_logged.load(Ordering::Relaxed)
    }

    pub(crate) fn next_error_number(&self) -> u64 {
        self.errors_logged.fetch_add(1, Ordering::Relaxed) + 1
    }
}

fn text<const N: usize>(field: &'static str, value: &str) -> Result<Ascii<N>, ConfigError> {
    Ascii::new(value).map_err(|source| ConfigError::Text { field, source })
}

fn range(field: &'static str, value: u64, low: u64, high: u64) -> Result<(), ConfigError> {
    if (low..=high).contains(&value) {
        Ok(())
    } else {
        Err(ConfigError::Range { field, value, range: format!("{low}..={high}") })
    }
}

/// FNV-1a: a serial number that is the same every time the same subsystem is served.
fn fingerprint(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, &byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}
