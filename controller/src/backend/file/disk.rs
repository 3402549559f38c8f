//! The system calls a file backend makes, as a trait: tests put a disk under it that interrupts, shortens and fails them.

use std::io::{IoSlice, IoSliceMut};
#[cfg(target_os = "linux")]
use std::os::fd::BorrowedFd;

use rustix::io::Errno;

/// Whether a call may wait for a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wait {
    /// Fail with `EAGAIN` instead, or with `EOPNOTSUPP` where that cannot be asked.
    Never,
    /// As long as it takes.
    Allowed,
}

/// Who may carry out reads, writes and syncs.
#[derive(Clone, Copy, Debug)]
pub(super) enum Way<'a> {
    /// Only the calls below.
    Calls,
    /// The io_uring of a thread as well, on this file.
    #[cfg(target_os = "linux")]
    File(BorrowedFd<'a>),
    /// What stands for an io_uring in tests.
    #[cfg(test)]
    Simulated(std::marker::PhantomData<&'a ()>),
}

/// Storage addressed in bytes. Every call may be interrupted, and reads and writes may do less than asked.
pub(super) trait Disk: Send + Sync {
    fn read(&self, into: &mut [IoSliceMut<'_>], offset: u64, wait: Wait) -> Result<usize, Errno>;

    fn write(&self, from: &[IoSlice<'_>], offset: u64, wait: Wait) -> Result<usize, Errno>;

    /// Puts everything written so far on stable storage. An error is reported once, to one caller.
    fn sync(&self) -> Result<(), Errno>;

    /// Makes the range read as zeroes and gives its storage back. `EOPNOTSUPP` if it cannot; then nothing has changed.
    fn punch(&self, offset: u64, len: u64) -> Result<(), Errno>;

    /// Makes the range read as zeroes and keeps its storage. `EOPNOTSUPP` if it cannot; then nothing has changed.
    fn zero(&self, offset: u64, len: u64) -> Result<(), Errno>;

    /// Whether it still has `bytes` bytes (a file may be truncated while it is served).
    fn covers(&self, bytes: u64) -> bool;

    /// What the address and the length of every piece of a transfer must be multiples of: 1, except for direct I/O.
    fn alignment(&self) -> usize;

    /// Who may carry out its reads, writes and syncs. The same for its whole life.
    fn way(&self) -> Way<'_>;
}
