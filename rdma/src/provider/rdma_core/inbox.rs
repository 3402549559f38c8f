//! What other threads tell an engine: that a connect call has returned, or that a device has reported something.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    sync::{Mutex, PoisonError},
};

use rustix::event::{EventfdFlags, eventfd};

use crate::{ffi, verbs::ConnId};

/// A piece of news.
#[derive(Debug)]
pub(super) enum Note {
    /// `rdma_connect` of a connection has returned.
    Connected { conn: ConnId, result: io::Result<()> },
    /// Something happened to a queue pair of a device.
    QueuePair { context: u32, qp_num: u32, what: ffi::ibv_event_type },
    /// A completion queue has overrun, or failed.
    CompletionQueue { context: u32 },
    /// A device has failed or goes away.
    DeviceGone { context: u32 },
    /// Nothing: the engine has something in its own hands to report.
    Look,
}

/// Unbounded in form; what is put in is bounded by connections and by what devices report.
#[derive(Debug)]
pub(super) struct Inbox {
    wake: OwnedFd,
    notes: Mutex<Vec<Note>>,
}

impl Inbox {
    pub(super) fn new() -> io::Result<Self> {
        let wake = eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)?;
        Ok(Self { wake, notes: Mutex::new(Vec::new()) })
    }

    /// Puts something in and wakes the engine.
    pub(super) fn put(&self, note: Note) {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner).push(note);
        // It fails only when the counter is at its limit, and then the engine is awake.
        let _ = rustix::io::write(&self.wake, &1u64.to_ne_bytes());
    }

    /// Takes everything out.
    pub(super) fn take(&self) -> Vec<Note> {
        let _ = rustix::io::read(&self.wake, &mut [0u8; 8]);
        std::mem::take(&mut *self.notes.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl AsFd for Inbox {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.wake.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use rustix::event::{PollFd, PollFlags, poll};

    use super::*;

    fn readable(inbox: &Inbox) -> bool {
        let now = rustix::time::Timespec { tv_sec: 0, tv_nsec: 0 };
        poll(&mut [PollFd::new(inbox, PollFlags::IN)], Some(&now)).unwrap() == 1
    }

    #[test]
    fn news_wakes_until_it_is_taken() {
        let inbox = Inbox::new().unwrap();
        assert!(!readable(&inbox));
        inbox.put(Note::Look);
        inbox.put(Note::DeviceGone { context: 3 });
        assert!(readable(&inbox));
        assert!(matches!(inbox.take()[..], [Note::Look, Note::DeviceGone { context: 3 }]));
        assert!(!readable(&inbox));
        assert!(inbox.take().is_empty());
    }
}
