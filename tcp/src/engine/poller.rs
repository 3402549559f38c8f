//! Which sockets are ready: epoll on Linux. The one file that another system replaces (kqueue on FreeBSD).
//!
//! Level-triggered, so that work left for the next pass is reported again and nothing is ever forgotten.

use std::{
    mem::MaybeUninit,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use rustix::{
    event::{
        Timespec,
        epoll::{self, CreateFlags, Event, EventData, EventFlags},
    },
    io,
};

/// Sockets reported by one call.
const BATCH: usize = 128;

/// What to be told about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Interest {
    Read,
    Write,
    Both,
}

/// A socket that is ready, by the token it was added with. An error counts as both.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ready {
    pub(crate) token: u64,
    pub(crate) read: bool,
    pub(crate) write: bool,
}

#[derive(Debug)]
pub(crate) struct Poller {
    epoll: OwnedFd,
}

impl Poller {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self { epoll: epoll::create(CreateFlags::CLOEXEC)? })
    }

    pub(crate) fn handle(&self) -> BorrowedFd<'_> {
        self.epoll.as_fd()
    }

    pub(crate) fn add(&self, fd: impl AsFd, token: u64, interest: Interest) -> io::Result<()> {
        epoll::add(&self.epoll, fd, EventData::new_u64(token), flags(interest))
    }

    pub(crate) fn modify(&self, fd: impl AsFd, token: u64, interest: Interest) -> io::Result<()> {
        epoll::modify(&self.epoll, fd, EventData::new_u64(token), flags(interest))
    }

    pub(crate) fn remove(&self, fd: impl AsFd) -> io::Result<()> {
        epoll::delete(&self.epoll, fd)
    }

    /// Appends what is ready now. Does not wait.
    pub(crate) fn ready(&self, ready: &mut Vec<Ready>) -> io::Result<()> {
        let mut events = [const { MaybeUninit::<Event>::uninit() }; BATCH];
        let (events, _) = match epoll::wait(&self.epoll, &mut events[..], Some(&Timespec::default())) {
            Err(io::Errno::INTR) => return Ok(()),
            result => result?,
        };
        ready.extend(events.iter().map(|event| {
            let (flags, data) = (event.flags, event.data);
            let both = flags.intersects(EventFlags::ERR | EventFlags::HUP);
            Ready {
                token: data.u64(),
                read: both || flags.contains(EventFlags::IN),
                write: both || flags.contains(EventFlags::OUT),
            }
        }));
        Ok(())
    }
}

fn flags(interest: Interest) -> EventFlags {
    match interest {
        Interest::Read => EventFlags::IN,
        Interest::Write => EventFlags::OUT,
        Interest::Both => EventFlags::IN | EventFlags::OUT,
    }
}
