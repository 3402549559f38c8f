//! Waits that start where no time is at hand.

use std::time::{Duration, Instant};

/// A wait. It gets its end when the time is next told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Timer {
    #[default]
    Off,
    Starting(Duration),
    Until(Instant),
}

impl Timer {
    /// Its end.
    pub(super) fn arm(&mut self, now: Instant) -> Option<Instant> {
        if let Self::Starting(wait) = *self {
            // A wait that ends beyond all time has no end.
            *self = now.checked_add(wait).map_or(Self::Off, Self::Until);
        }
        match *self {
            Self::Until(at) => Some(at),
            _ => None,
        }
    }

    pub(super) fn expired(self, now: Instant) -> bool {
        matches!(self, Self::Until(at) if at <= now)
    }
}
