//! Waiting as a load is asked to, with as few system calls as that takes: one connection blocks in its receive.

use std::{io, os::fd::AsFd, time::Instant};

use nvmf_transport::WaitPolicy;
use rustix::{
    event::{PollFd, PollFlags, poll},
    io::Errno,
    net::RecvFlags,
};
use smallvec::SmallVec;

use super::link::Link;

#[derive(Debug)]
pub(super) struct Waiting {
    policy: WaitPolicy,
    last_work: Option<Instant>,
}

impl Waiting {
    pub(super) fn new(policy: WaitPolicy) -> Self {
        Self { policy, last_work: None }
    }

    /// Whether spinning is over (or never was).
    #[inline]
    fn blocks(&self, now: Instant) -> bool {
        match self.policy {
            WaitPolicy::Spin => false,
            WaitPolicy::Block => true,
            WaitPolicy::Adaptive(limit) => {
                self.last_work.is_none_or(|last| now.saturating_duration_since(last) >= limit)
            }
        }
    }

    /// How to receive: an only connection with nothing to send may block in it.
    #[inline]
    pub(super) fn flags<'a>(&self, mut links: impl Iterator<Item = &'a Link>, now: Instant) -> RecvFlags {
        match (links.next(), links.next()) {
            (Some(only), None) if only.out.is_empty() && self.blocks(now) => RecvFlags::empty(),
            _ => RecvFlags::DONTWAIT,
        }
    }

    /// After a pass over all connections: notes work, or waits for some.
    #[inline]
    pub(super) fn after<'a>(
        &mut self,
        worked: bool,
        links: impl Iterator<Item = &'a Link> + Clone,
        now: Instant,
    ) -> io::Result<()> {
        if worked {
            self.last_work = Some(now);
        } else if !self.blocks(now) {
            std::hint::spin_loop();
        } else if links.clone().count() != 1 || links.clone().any(|link| !link.out.is_empty()) {
            let interest = |link: &Link| match link.out.is_empty() {
                true => PollFlags::IN,
                false => PollFlags::IN | PollFlags::OUT,
            };
            let mut handles: SmallVec<[PollFd<'_>; 64]> =
                links.map(|link| PollFd::from_borrowed_fd(link.socket.as_fd(), interest(link))).collect();
            match poll(&mut handles, None) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}
