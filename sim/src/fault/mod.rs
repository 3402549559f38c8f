//! Misfortune for any transport, by a plan: delays, completions that never come or come in another order, flipped bits,
//! stalls, broken connections.
//!
//! A [`Plan`] is a seed and a list of faults; its text (`Display`, `FromStr`) is all that is needed to see the same misfortune
//! again. [`Faults`] wraps the transports of one run, remembers what it did, and prints plan and deeds when a test that holds
//! it fails. The contract of [`nvmf_transport`] is kept: whatever befalls a command, it ends once, with its buffer.
//!
//! At a host a fault strikes a command's completion, at a controller its arrival; bits flip in what is sent and in what is
//! received. Deliberately absent: faults of bytes on a wire ([`proxy`](crate::proxy)) and of a network ([`Network`](crate::Network)).

mod controller;
mod host;
mod inject;
mod plan;
mod text;

use std::{
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use nvmf_transport::{ControllerTransport, HostTransport};

pub use plan::{Fault, Moment, On, Plan, What, When};
pub use text::PlanError;

/// A plan at work. Clones are the same one.
#[derive(Clone)]
pub struct Faults(Arc<Shared>);

struct Shared {
    plan: Plan,
    deeds: Mutex<Vec<String>>,
    orders: Mutex<Vec<(What, On)>>,
    engines: AtomicU64,
}

/// Deeds that are remembered; a plan may strike more often.
const REMEMBERED: usize = 1000;

impl Faults {
    /// Puts a plan to work.
    #[must_use]
    pub fn new(plan: Plan) -> Self {
        Self(Arc::new(Shared {
            plan,
            deeds: Mutex::default(),
            orders: Mutex::default(),
            engines: AtomicU64::new(0),
        }))
    }

    /// The plan.
    #[must_use]
    pub fn plan(&self) -> &Plan {
        &self.0.plan
    }

    /// The same transport, whose hosts' engines suffer.
    #[must_use]
    pub fn host(&self, inner: Arc<dyn HostTransport>) -> Arc<dyn HostTransport> {
        Arc::new(host::Faulty { inner, faults: self.clone() })
    }

    /// The same transport, whose controllers' engines suffer.
    #[must_use]
    pub fn controller(&self, inner: Arc<dyn ControllerTransport>) -> Arc<dyn ControllerTransport> {
        Arc::new(controller::Faulty { inner, faults: self.clone() })
    }

    /// What was done so far, in words.
    #[must_use]
    pub fn deeds(&self) -> Vec<String> {
        self.locked().clone()
    }

    /// Strikes queues that exist now, at their engines' next poll: [`What::Stall`] and [`What::Reset`], which are of whole queues.
    pub fn now(&self, what: What, on: On) {
        self.0.orders.lock().unwrap_or_else(PoisonError::into_inner).push((what, on));
    }

    fn orders(&self) -> Vec<(What, On)> {
        self.0.orders.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn locked(&self) -> MutexGuard<'_, Vec<String>> {
        self.0.deeds.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn did(&self, deed: String) {
        let mut deeds = self.locked();
        if deeds.len() < REMEMBERED {
            deeds.push(deed);
        }
    }

    /// Numbers engines in the order they are made, for a random sequence of its own each.
    fn next_engine(&self) -> u64 {
        self.0.engines.fetch_add(1, Ordering::Relaxed)
    }
}

impl fmt::Debug for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Faults")
            .field("plan", &self.0.plan.to_string())
            .field("deeds", &*self.locked())
            .finish()
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let deeds = self.deeds.get_mut().unwrap_or_else(PoisonError::into_inner);
            eprintln!("fault plan of this run: {}\nwhat it did: {deeds:#?}", self.plan);
        }
    }
}

#[cfg(test)]
mod tests;
