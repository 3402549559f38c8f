//! A way for one thread to end another's wait.

use std::{
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    sync::Arc,
};

use rustix::{fs::OFlags, io, pipe::PipeFlags};

use crate::{Error, Stage};

/// A descriptor that becomes readable when any clone is woken. A self-pipe: the same on every Unix.
#[derive(Clone, Debug)]
pub struct Wake(Arc<Ends>);

#[derive(Debug)]
struct Ends {
    read: OwnedFd,
    write: OwnedFd,
}

impl Wake {
    /// A new one, not yet woken.
    pub fn new() -> Result<Self, Error> {
        let failed =
            |e: io::Errno| Error::from_io(Stage::Setup, "cannot create a wake-up descriptor", e.into());
        let (read, write) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC).map_err(failed)?;
        for end in [&read, &write] {
            let flags = rustix::fs::fcntl_getfl(end).map_err(failed)?;
            rustix::fs::fcntl_setfl(end, flags | OFlags::NONBLOCK).map_err(failed)?;
        }
        Ok(Self(Arc::new(Ends { read, write })))
    }

    /// Makes the descriptor readable.
    pub fn wake(&self) {
        // A full pipe is already readable: nothing to add.
        let _ = io::write(&self.0.write, &[1]);
    }

    /// Makes the descriptor silent again; call it after waking and before looking at what the waker left.
    pub fn clear(&self) {
        let mut sink = [0u8; 64];
        while matches!(io::read(&self.0.read, &mut sink), Ok(n) if n == sink.len()) {}
    }
}

impl AsFd for Wake {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.read.as_fd()
    }
}
