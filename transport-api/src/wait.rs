//! Waiting for an engine: spin while work is likely, then block, so that an idle process uses no processor.

use std::{
    os::fd::BorrowedFd,
    time::{Duration, Instant},
};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// How to wait when a poll brought nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WaitPolicy {
    /// Never block.
    Spin,
    /// Block at once.
    Block,
    /// Keep polling this long after the last work, then block.
    Adaptive(Duration),
}

impl Default for WaitPolicy {
    /// Long enough to catch the next request of a busy peer on a local network, short enough to be free when idle.
    fn default() -> Self {
        Self::Adaptive(Duration::from_micros(50))
    }
}

/// Decides between polling again and blocking. One per driving thread.
#[derive(Debug)]
pub struct Waiter {
    policy: WaitPolicy,
    last_work: Option<Instant>,
}

impl Waiter {
    /// A waiter that has seen no work yet.
    pub fn new(policy: WaitPolicy) -> Self {
        Self { policy, last_work: None }
    }

    /// Notes that a poll brought something.
    pub fn worked(&mut self, now: Instant) {
        self.last_work = Some(now);
    }

    /// Returns when it is worth polling again: at once while spinning; otherwise when one of `handles` is readable, `until`
    /// has passed, or a signal arrived. `now` is the time of the poll that brought nothing. Answers whether it blocked, so
    /// that a [`Wake`](crate::Wake) among the handles has to be cleared.
    pub fn idle(&mut self, now: Instant, handles: &[BorrowedFd<'_>], until: Option<Instant>) -> bool {
        let spin = match self.policy {
            WaitPolicy::Spin => true,
            WaitPolicy::Block => false,
            WaitPolicy::Adaptive(limit) => {
                self.last_work.is_some_and(|last| now.saturating_duration_since(last) < limit)
            }
        };
        if spin {
            std::hint::spin_loop();
            return false;
        }
        let timeout = until.map(|until| {
            let left = until.saturating_duration_since(now);
            Timespec { tv_sec: left.as_secs().min(86_400) as _, tv_nsec: left.subsec_nanos().into() }
        });
        let mut fds: smallvec::SmallVec<[PollFd<'_>; 4]> =
            handles.iter().map(|&handle| PollFd::from_borrowed_fd(handle, PollFlags::IN)).collect();
        // EINTR is a reason to look around, not a failure; nothing else can happen to valid descriptors.
        let _ = poll(&mut fds, timeout.as_ref());
        true
    }
}
