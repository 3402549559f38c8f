//! Time that passes only when told to.

use std::time::{Duration, Instant};

/// A virtual clock. `Instant` has no zero, so the epoch is the moment of creation; no behaviour depends on it.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    epoch: Instant,
    now: Instant,
}

impl Clock {
    /// A clock that stands at its epoch.
    #[must_use]
    pub fn new() -> Self {
        #[expect(
            clippy::disallowed_methods,
            reason = "the only way to make an Instant; everything after is relative"
        )]
        let epoch = Instant::now();
        Self { epoch, now: epoch }
    }

    /// The time it shows.
    pub fn now(&self) -> Instant {
        self.now
    }

    /// How long it has run.
    pub fn elapsed(&self) -> Duration {
        self.now - self.epoch
    }

    /// Lets time pass.
    pub fn advance(&mut self, by: Duration) {
        self.now += by;
    }

    /// Jumps to a time; never back.
    pub fn advance_to(&mut self, time: Instant) {
        self.now = self.now.max(time);
    }
}

impl Default for Clock {
    fn default() -> Self {
        Self::new()
    }
}
