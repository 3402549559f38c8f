//! epoll, for Linux.

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

use super::{BATCH, Interest, Ready};

/// Watches descriptors.
#[derive(Debug)]
pub struct Poller {
    epoll: OwnedFd,
}

impl Poller {
    /// Watches nothing yet.
    pub fn new() -> io::Result<Self> {
        Ok(Self { epoll: epoll::create(CreateFlags::CLOEXEC)? })
    }

    /// Readable when something is ready; can be watched by another poller.
    pub fn handle(&self) -> BorrowedFd<'_> {
        self.epoll.as_fd()
    }

    /// Watches a descriptor.
    pub fn add(&self, fd: impl AsFd, token: u32, interest: Interest) -> io::Result<()> {
        epoll::add(&self.epoll, fd, EventData::new_u64(token.into()), flags(interest))
    }

    /// Changes what is asked of a watched descriptor.
    pub fn modify(&self, fd: impl AsFd, token: u32, interest: Interest) -> io::Result<()> {
        epoll::modify(&self.epoll, fd, EventData::new_u64(token.into()), flags(interest))
    }

    /// Ends watching.
    pub fn remove(&self, fd: impl AsFd) -> io::Result<()> {
        epoll::delete(&self.epoll, fd)
    }

    /// Appends what is ready now. Does not wait.
    pub fn ready(&self, ready: &mut Vec<Ready>) -> io::Result<()> {
        let mut events = [const { MaybeUninit::<Event>::uninit() }; BATCH];
        let (events, _) = match epoll::wait(&self.epoll, &mut events[..], Some(&Timespec::default())) {
            Err(io::Errno::INTR) => return Ok(()),
            result => result?,
        };
        ready.extend(events.iter().map(|event| {
            let (flags, data) = (event.flags, event.data);
            let both = flags.intersects(EventFlags::ERR | EventFlags::HUP);
            Ready {
                token: data.u64() as u32,
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
