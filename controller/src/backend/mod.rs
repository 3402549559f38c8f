//! What a namespace stores its blocks in: the [`Backend`] trait, the operations it takes and how they end.
//!
//! A backend never blocks the thread that submits. It ends an operation at once ([`Progress::Done`]) or keeps the [`Ticket`] and
//! ends it later from any thread; late ends collect in the submitting thread's [`Finished`] queue, which wakes that thread.
//! Memory moves in with the operation and out with its result, so no lock and no copy is forced on anybody.
//!
//! Operations of one backend run concurrently and unordered, as NVMe commands do (NVMe Base 2.0 §3.4.1). The one promise: a
//! [`Operation::Flush`] covers every write that ended before the flush was submitted (NVMe NVM Command Set 1.0 §3.2.1).
//! What is deliberately absent: NSIDs, queues, commands (the session translates) and fused operations.
//! Start at [`Backend`].

use std::fmt;

use nvmf_wire::Status;

mod error;
pub mod faulty;
mod file;
mod finish;
mod geometry;
mod operation;
mod ram;
mod report;
#[cfg(test)]
mod tests;
mod workers;

pub use error::OpenError;
pub use file::{FileBackend, FileIo, FileOptions, Ring};
pub use finish::{Finish, Finished, Kept, Ticket};
pub use geometry::{BlockSize, Geometry, Identity, Optimal};
pub use operation::{BlockRange, Operation};
pub use ram::RamBackend;

use nvmf_transport::{Buffer, Gather, Memory, Pool};

/// How an operation ended: the data of a read (empty for everything else), or why it failed.
pub type Outcome = Result<Gather, Status>;

/// What [`Backend::submit`] answers.
#[derive(Debug)]
#[must_use]
pub enum Progress {
    /// The operation has ended. The ticket was not kept and will not finish.
    Done(Outcome),
    /// The ticket was kept and will finish exactly once.
    Pending,
}

impl From<Status> for Progress {
    fn from(status: Status) -> Self {
        Self::Done(Err(status))
    }
}

/// Where a backend takes the memory for the data of a read that it does not hold itself.
pub trait Buffers {
    /// A buffer of `len` bytes, or of a smaller multiple of 4096 (the backend then asks again for the rest). Page-aligned.
    /// Its contents are anything. `None` when there is none to be had now: the operation then ends
    /// with Command Interrupted and no effect, and may be submitted again.
    fn take(&mut self, len: usize) -> Option<Buffer>;

    /// The submitting thread's ring for operations on files, if it drives one.
    fn ring(&mut self) -> Option<&mut Ring> {
        None
    }
}

impl Buffers for &Pool {
    fn take(&mut self, len: usize) -> Option<Buffer> {
        let mut buffer = Pool::take(self)?;
        buffer.truncate(len);
        Some(buffer)
    }
}

impl Buffers for &dyn Memory {
    fn take(&mut self, len: usize) -> Option<Buffer> {
        self.allocate(len).ok()
    }
}

/// Storage for the blocks of one namespace. Shared by every engine thread.
pub trait Backend: Send + Sync + fmt::Debug {
    /// Size, block size and traits. Constant for the life of the backend.
    fn geometry(&self) -> &Geometry;

    /// What it is, for people: `ram, 1073741824 bytes`, `file /srv/disk.img`.
    fn describe(&self) -> String;

    /// Memory of the backend's own that data to be written from block `slba` on may be received into: for the first of `len`
    /// bytes, at most all. A [`Operation::Write`] with just this memory then costs no copy. Its contents are anything; it may
    /// be dropped, and the write may come in other memory. `None` where the backend has nothing of the kind.
    fn landing(&self, slba: u64, len: usize) -> Option<Buffer> {
        let _ = (slba, len);
        None
    }

    /// Starts an operation; never blocks for longer than a memory copy takes.
    ///
    /// The caller has checked it ([`Operation::check`]); a backend answers an unchecked one with a status all the same.
    /// A failure is an NVMe status here and one (rate-limited) log line in the backend.
    fn submit(&self, operation: Operation, buffers: &mut dyn Buffers, ticket: Ticket<'_>) -> Progress;
}

/// The number of blocks in `bytes`, which must be at least one, whole, and no more than `limit` bytes.
fn whole_blocks(bytes: u64, block_size: BlockSize, limit: u64) -> Result<u64, OpenError> {
    let block_size = block_size.bytes();
    match bytes {
        0 => Err(OpenError::Empty),
        _ if bytes > limit => Err(OpenError::TooLarge { bytes, limit }),
        _ if !bytes.is_multiple_of(u64::from(block_size)) => Err(OpenError::Ragged { bytes, block_size }),
        _ => Ok(bytes / u64::from(block_size)),
    }
}

/// Whether two lists of pieces, cut differently, hold the same bytes.
fn same_bytes(one: &Gather, other: &Gather) -> bool {
    let mut at = 0;
    one.len() == other.len()
        && one.views().iter().all(|view| {
            let mut left = &view[..];
            let range = at..at + left.len();
            at = range.end;
            other.slices(range).all(|piece| {
                let (now, later) = left.split_at(piece.len());
                left = later;
                now == piece
            })
        })
}
