//! Failures: which NVMe status a system error becomes, and the log line about it.
//!
//! A line is written for the 1st, 2nd, 4th, 8th, … failure of one kind, which bounds the log without a clock: a dying disk under
//! load says so a few dozen times and not a million.

use std::{
    fmt,
    sync::atomic::{AtomicU64, Ordering},
};

use nvmf_wire::Status;

/// Kinds of failure that are counted apart, by status code.
const KINDS: usize = 8;

/// Logs the failures of one backend.
pub(super) struct Report {
    name: String,
    counts: [AtomicU64; KINDS],
}

impl Report {
    /// For the backend called `name`.
    pub(super) fn new(name: String) -> Self {
        Self { name, counts: Default::default() }
    }

    /// Notes that `action` failed by `cause` and is answered with `status`.
    pub(super) fn failure(&self, action: &str, cause: &dyn fmt::Display, status: Status) {
        let kind = usize::from(status.sc()) % KINDS;
        let Some(count) = self.counts.get(kind) else {
            return;
        };
        let times = count.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        if times.is_power_of_two() {
            tracing::error!(backend = %self.name, times, "{action} failed: {cause}; answered {status}");
        }
    }
}
