//! kqueue, for FreeBSD and its relatives. Checked by the compiler only: nobody has run it here.
#![allow(unsafe_code, reason = "kevent takes descriptors by number")]

use std::{
    mem::MaybeUninit,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
};

use rustix::{
    event::{
        Timespec,
        kqueue::{self, Event, EventFilter, EventFlags},
    },
    io,
};

use super::{BATCH, Interest, Ready};

/// Watches descriptors.
#[derive(Debug)]
pub struct Poller {
    kqueue: OwnedFd,
}

impl Poller {
    /// Watches nothing yet.
    pub fn new() -> io::Result<Self> {
        let kqueue = kqueue::kqueue()?;
        io::fcntl_setfd(&kqueue, io::FdFlags::CLOEXEC)?;
        Ok(Self { kqueue })
    }

    /// Readable when something is ready; can be watched by another poller.
    pub fn handle(&self) -> BorrowedFd<'_> {
        self.kqueue.as_fd()
    }

    /// Watches a descriptor.
    pub fn add(&self, fd: impl AsFd, token: u32, interest: Interest) -> io::Result<()> {
        self.modify(fd, token, interest)
    }

    /// Changes what is asked of a watched descriptor.
    pub fn modify(&self, fd: impl AsFd, token: u32, interest: Interest) -> io::Result<()> {
        self.set(fd.as_fd(), token, interest != Interest::Write, interest != Interest::Read)
    }

    /// Ends watching.
    pub fn remove(&self, fd: impl AsFd) -> io::Result<()> {
        self.set(fd.as_fd(), 0, false, false)
    }

    fn set(&self, fd: BorrowedFd<'_>, token: u32, read: bool, write: bool) -> io::Result<()> {
        let raw = fd.as_raw_fd();
        for (filter, on) in [(EventFilter::Read(raw), read), (EventFilter::Write(raw), write)] {
            let flags = if on { EventFlags::ADD } else { EventFlags::DELETE };
            let change = Event::new(filter, flags, std::ptr::without_provenance_mut(token as usize));
            let nothing: &mut [MaybeUninit<Event>] = &mut [];
            // SAFETY: `fd` is open during the call, and the kernel forgets a descriptor that is closed.
            match unsafe {
                kqueue::kevent_timespec(&self.kqueue, &[change], nothing, Some(&Timespec::default()))
            } {
                Ok(_) => {}
                // What was not watched need not be forgotten.
                Err(io::Errno::NOENT) if !on => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Appends what is ready now. Does not wait.
    pub fn ready(&self, ready: &mut Vec<Ready>) -> io::Result<()> {
        let mut events = [const { MaybeUninit::<Event>::uninit() }; BATCH];
        // SAFETY: nothing is changed, so no descriptor is named.
        let polled = unsafe {
            kqueue::kevent_timespec(&self.kqueue, &[], &mut events[..], Some(&Timespec::default()))
        };
        let (events, _) = match polled {
            Err(io::Errno::INTR) => return Ok(()),
            result => result?,
        };
        ready.extend(events.iter().map(|event| Ready {
            token: event.udata().addr() as u32,
            read: matches!(event.filter(), EventFilter::Read(_)),
            write: matches!(event.filter(), EventFilter::Write(_)),
        }));
        Ok(())
    }
}
