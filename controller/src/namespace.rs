//! A namespace and the table of a subsystem's namespaces.
//!
//! A table never changes: adding or removing a namespace publishes a new one, and every I/O queue looks at one atomic number
//! per command to know whether its copy is still the newest ([`Namespaces`]). So a command takes no lock, and one that has
//! started keeps the namespace it started with.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicU64, Ordering},
};

use crate::{
    backend::{Backend, Geometry},
    options::{ConfigError, NamespaceOptions},
};

/// One namespace of a subsystem.
#[derive(Debug)]
pub struct Namespace {
    nsid: u32,
    backend: Arc<dyn Backend>,
    geometry: Geometry,
    uuid: uuid::Uuid,
    nguid: [u8; 16],
    eui64: Option<[u8; 8]>,
}

impl Namespace {
    fn new(nsid: u32, options: NamespaceOptions) -> Self {
        let NamespaceOptions { backend, uuid, nguid, eui64 } = options;
        let geometry = *backend.geometry();
        Self {
            nsid,
            uuid: uuid.unwrap_or(geometry.identity.uuid()),
            nguid: nguid.unwrap_or(geometry.identity.nguid()),
            eui64,
            geometry,
            backend,
        }
    }

    /// The namespace identifier.
    pub fn nsid(&self) -> u32 {
        self.nsid
    }

    /// What stores its blocks.
    pub fn backend(&self) -> &Arc<dyn Backend> {
        &self.backend
    }

    /// The backend's geometry.
    pub fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    /// The UUID it is reported with.
    pub fn uuid(&self) -> uuid::Uuid {
        self.uuid
    }

    /// The NGUID it is reported with.
    pub fn nguid(&self) -> [u8; 16] {
        self.nguid
    }

    /// The EUI64 it is reported with.
    pub fn eui64(&self) -> Option<[u8; 8]> {
        self.eui64
    }
}

/// The namespaces of a subsystem at one moment.
#[derive(Clone, Debug, Default)]
pub(crate) struct NamespaceTable {
    by_nsid: Vec<Option<Arc<Namespace>>>,
}

impl NamespaceTable {
    /// The active namespace with this identifier.
    pub(crate) fn get(&self, nsid: u32) -> Option<&Arc<Namespace>> {
        self.by_nsid.get(nsid.checked_sub(1)? as usize)?.as_ref()
    }

    /// All active namespaces, by identifier.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Arc<Namespace>> {
        self.by_nsid.iter().flatten()
    }
}

/// The current table and its number.
#[derive(Debug, Default)]
pub(crate) struct Namespaces {
    table: Mutex<Arc<NamespaceTable>>,
    generation: AtomicU64,
}

impl Namespaces {
    /// The current table and its number.
    pub(crate) fn current(&self) -> Snapshot {
        let table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        Snapshot { table: Arc::clone(&table), generation: self.generation.load(Ordering::Relaxed) }
    }

    /// Brings a snapshot up to date; one atomic load if it is.
    pub(crate) fn refresh(&self, snapshot: &mut Snapshot) {
        if self.generation.load(Ordering::Acquire) != snapshot.generation {
            *snapshot = self.current();
        }
    }

    pub(crate) fn add(&self, nsid: u32, options: NamespaceOptions) -> Result<(), ConfigError> {
        self.change(|table| {
            let index = nsid.saturating_sub(1) as usize;
            if table.by_nsid.len() <= index {
                table.by_nsid.resize(index + 1, None);
            }
            match table.by_nsid.get_mut(index) {
                Some(place @ None) => {
                    *place = Some(Arc::new(Namespace::new(nsid, options)));
                    Ok(())
                }
                _ => Err(ConfigError::NamespaceExists(nsid)),
            }
        })
    }

    pub(crate) fn remove(&self, nsid: u32) -> Result<Arc<Namespace>, ConfigError> {
        self.change(|table| {
            let place = nsid.checked_sub(1).and_then(|index| table.by_nsid.get_mut(index as usize));
            place.and_then(Option::take).ok_or(ConfigError::NoNamespace(nsid))
        })
    }

    fn change<T>(
        &self,
        change: impl FnOnce(&mut NamespaceTable) -> Result<T, ConfigError>,
    ) -> Result<T, ConfigError> {
        let mut current = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        let mut next = NamespaceTable::clone(&current);
        let result = change(&mut next)?;
        *current = Arc::new(next);
        self.generation.fetch_add(1, Ordering::Release);
        Ok(result)
    }
}

/// A table and its number, as one queue knows it.
#[derive(Clone, Debug)]
pub(crate) struct Snapshot {
    pub(crate) table: Arc<NamespaceTable>,
    generation: u64,
}
