//! Records every call and event of any transport in a bounded ring, for people and for programs.
//!
//! A [`Trace`] is shared by the engines of the transports it wraps; the newest records replace the oldest. It is printed as
//! text ([`Trace`]'s `Display`) or as one JSON object per line ([`Trace::json`]). Times are those the engines were polled
//! with, relative to the first, so a trace of a simulated run is the same every time. Deliberately absent: payload.

mod controller;
mod host;
mod record;

use std::{
    collections::VecDeque,
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    time::Instant,
};

use nvmf_transport::{ControllerTransport, HostTransport};

pub use record::{Record, What};

/// A ring of records. Clones are the same ring.
#[derive(Clone, Debug)]
pub struct Trace(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    ring: Mutex<Ring>,
    engines: AtomicU32,
}

#[derive(Debug)]
struct Ring {
    records: VecDeque<Record>,
    capacity: usize,
    /// Records that were replaced.
    lost: u64,
    start: Option<Instant>,
}

impl Trace {
    /// A ring of at most `capacity` records.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        let ring = Ring { records: VecDeque::new(), capacity: capacity.max(1), lost: 0, start: None };
        Self(Arc::new(Shared { ring: Mutex::new(ring), engines: AtomicU32::new(0) }))
    }

    /// The same transport with its hosts' engines traced.
    #[must_use]
    pub fn host(&self, inner: Arc<dyn HostTransport>) -> Arc<dyn HostTransport> {
        Arc::new(host::Traced { inner, trace: self.clone() })
    }

    /// The same transport with its controllers' engines traced.
    #[must_use]
    pub fn controller(&self, inner: Arc<dyn ControllerTransport>) -> Arc<dyn ControllerTransport> {
        Arc::new(controller::Traced { inner, trace: self.clone() })
    }

    /// The records, oldest first.
    #[must_use]
    pub fn records(&self) -> Vec<Record> {
        self.ring().records.iter().cloned().collect()
    }

    /// How many records the ring had no room for.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.ring().lost
    }

    /// The records as JSON, one object per line.
    #[must_use]
    pub fn json(&self) -> String {
        let ring = self.ring();
        let lines =
            ring.records.iter().map(|record| serde_json::to_string(record).unwrap_or_default() + "\n");
        lines.collect()
    }

    fn ring(&self) -> MutexGuard<'_, Ring> {
        self.0.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What one engine needs to write.
    fn pen(&self, role: &'static str) -> Pen {
        Pen { trace: self.clone(), engine: self.0.engines.fetch_add(1, Ordering::Relaxed), role, now: None }
    }
}

impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ring = self.ring();
        if ring.lost > 0 {
            writeln!(f, "({} older records are gone)", ring.lost)?;
        }
        ring.records.iter().try_for_each(|record| writeln!(f, "{record}"))
    }
}

/// Writes the records of one engine.
#[derive(Debug)]
struct Pen {
    trace: Trace,
    engine: u32,
    role: &'static str,
    /// The last time the engine was told: calls have none of their own.
    now: Option<Instant>,
}

impl Pen {
    fn write(&self, what: What) {
        let mut ring = self.trace.ring();
        let ring = &mut *ring;
        let at = match (self.now, &mut ring.start) {
            (Some(now), Some(start)) => now.saturating_duration_since(*start),
            (Some(now), start @ None) => {
                *start = Some(now);
                Default::default()
            }
            (None, _) => Default::default(),
        };
        if ring.records.len() == ring.capacity {
            ring.records.pop_front();
            ring.lost += 1;
        }
        let at = u64::try_from(at.as_micros()).unwrap_or(u64::MAX);
        ring.records.push_back(Record { at, engine: self.engine, role: self.role, what });
    }
}

#[cfg(test)]
mod tests;
