//! The time that cases live in, and waiting in it.

use std::{
    os::fd::BorrowedFd,
    time::{Duration, Instant},
};

use nvmf_sim::Clock;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::Time;

/// A clock of either kind.
#[derive(Debug)]
pub(crate) enum Now {
    Virtual(Clock),
    Real,
}

impl Now {
    pub(crate) fn of(time: Time) -> Self {
        match time {
            Time::Virtual => Self::Virtual(Clock::new()),
            Time::Real => Self::Real,
        }
    }

    pub(crate) fn get(&self) -> Instant {
        match self {
            Self::Virtual(clock) => clock.now(),
            #[expect(clippy::disallowed_methods, reason = "this is the driving loop")]
            Self::Real => Instant::now(),
        }
    }

    pub(crate) fn is_virtual(&self) -> bool {
        matches!(self, Self::Virtual(_))
    }

    /// Waits until a handle is readable or `until` has come: real time passes, virtual time jumps.
    pub(crate) fn wait(&mut self, handles: &[BorrowedFd<'_>], until: Instant) {
        match self {
            Self::Virtual(clock) => {
                // What was sent without latency is there now, and a handle says so.
                if !readable(handles, Duration::ZERO) {
                    clock.advance_to(until);
                }
            }
            Self::Real => {
                let wait = until.saturating_duration_since(self.get());
                readable(handles, wait);
            }
        }
    }
}

fn readable(handles: &[BorrowedFd<'_>], wait: Duration) -> bool {
    let timeout = Timespec { tv_sec: wait.as_secs().min(3600) as _, tv_nsec: wait.subsec_nanos().into() };
    let mut fds: Vec<_> =
        handles.iter().map(|&handle| PollFd::from_borrowed_fd(handle, PollFlags::IN)).collect();
    matches!(poll(&mut fds, Some(&timeout)), Ok(ready) if ready > 0)
}
