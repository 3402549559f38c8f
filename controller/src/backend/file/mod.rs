//! A namespace in a regular file or on a block device.
//!
//! *Who makes the system calls.* On Linux the io_uring of the engine thread ([`Ring`]), where the system allows one and the thread
//! drives it: reads, writes and syncs are handed over in batches and end without another thread. `docs/decisions/0006-file-backend.md`
//! has the figures.
//!
//! Where there is none, and for what is rare, calls are made as follows. A read first asks for what the page cache has (`preadv2`, `RWF_NOWAIT`) on the engine thread: a
//! hit costs one copy and no thread hop. What would wait goes to the backend's worker threads, and so does everything else that
//! may: `fdatasync`, `fallocate`, direct I/O, and writes wherever they cannot be asked not to wait (ext4). A write to the page cache
//! takes about 4 µs, and the hop to a worker adds 10 to 15 µs of latency (4 KiB, ext4, two cores) but hardly limits throughput.
//! Yet once the kernel's limit of dirty pages is reached the same call takes seconds, during which an engine thread would answer
//! nobody, not even a Keep Alive; so it is never made there. Where the file system knows `RWF_NOWAIT` for writes
//! (XFS, Btrfs) it is tried first, and tmpfs is memory: both directions stay inline.
//!
//! *Durability.* A write is acknowledged when the system has it (`volatile_write_cache`), Flush and FUA when `fdatasync` has
//! succeeded; see `sync` for why one failure is final. *Truncation* while serving gives statuses, never a signal (nothing is
//! mapped) and never zeroes in place of data. *Deallocate* punches holes, which read as zeroes; a file system that cannot punch
//! is found out at open, and then Deallocate does nothing, as it may.
//!
//! Deliberately absent: creating and resizing files. Start at [`FileBackend::open`].

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use nvmf_transport::{Gather, Region};
use nvmf_wire::Status;

use super::{
    Backend, BlockSize, Buffers, Geometry, Identity, OpenError, Operation, Optimal, Progress, Ticket,
    report::Report, workers::Workers,
};

mod disk;
mod job;
mod os;
mod ring;
mod sync;
#[cfg(test)]
mod tests;

use disk::{Disk, Wait, Way};
use job::{Core, Job, Room, Work, gathered};
use os::OsFile;
pub use ring::Ring;
use ring::{Call, Kind};

/// Zeroes kept to be written where a file system cannot make them itself.
const ZEROES: usize = 64 << 10;
/// The memory a Verify goes through.
const VERIFY: usize = 128 << 10;

/// Who reads, writes and syncs a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FileIo {
    /// The io_uring of the engine thread if there can be one, else worker threads.
    #[default]
    Auto,
    /// The io_uring; opening fails where there is none.
    Ring,
    /// Worker threads.
    Threads,
}

/// How to open a file or block device.
#[derive(Clone, Debug)]
pub struct FileOptions {
    /// Where it is.
    pub path: PathBuf,
    /// The block size of the namespace; the file's size must be a multiple of it.
    pub block_size: BlockSize,
    /// Never write. Several servers may then share the file.
    pub read_only: bool,
    /// Bypass the page cache (`O_DIRECT`).
    pub direct: bool,
    /// Who reads, writes and syncs it.
    pub io: FileIo,
    /// Threads for calls that wait, at most. They start on demand.
    pub workers: usize,
    /// The identity to show instead of one derived from the file.
    pub identity: Option<Identity>,
}

impl FileOptions {
    /// Read and write `path` through the page cache, in blocks of 512 bytes.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            block_size: BlockSize::default(),
            read_only: false,
            direct: false,
            io: FileIo::default(),
            workers: 16,
            identity: None,
        }
    }
}

/// A file or block device as a namespace. Dropping it ends what is queued for worker threads and waits for it; calls in the rings
/// of engine threads keep the file open until they have ended.
pub struct FileBackend {
    core: Arc<Core>,
    workers: Workers<Job>,
    name: String,
}

impl FileBackend {
    /// Opens and locks the file: exclusively for writing, shared for reading only.
    pub fn open(options: &FileOptions) -> Result<Self, OpenError> {
        let mut file = OsFile::open(options)?;
        let way = file.choose(options)?;
        let block_size = options.block_size;
        // Where nothing else is known: what file systems and page caches work in.
        let page = 4096 >> block_size.shift();
        let geometry = Geometry {
            blocks: super::whole_blocks(file.bytes, block_size, i64::MAX as u64)?,
            block_size,
            read_only: options.read_only,
            thin: file.punches,
            deallocated_reads_zero: file.punches,
            write_zeroes_deallocates: file.punches,
            volatile_write_cache: !options.read_only,
            optimal: Optimal { write: page, deallocate: page, write_size: (128 << 10) >> block_size.shift() },
            identity: file.identity,
        };
        let name = format!(
            "file {} ({}{way})",
            options.path.display(),
            if options.direct { "direct, " } else { "" }
        );
        Self::new(geometry, Box::new(file), name, options.workers)
    }

    fn new(geometry: Geometry, disk: Box<dyn Disk>, name: String, workers: usize) -> Result<Self, OpenError> {
        let core = Arc::new(Core {
            geometry,
            disk,
            report: Report::new(name.clone()),
            durability: sync::Durability::default(),
            reads_inline: AtomicBool::new(true),
            writes_inline: AtomicBool::new(true),
            zeroes: Region::allocate(ZEROES)?.into_buffer().freeze(),
        });
        let run = core.clone();
        let workers = Workers::new("nvmf-file", workers, move |job| run.run(job));
        Ok(Self { core, workers, name })
    }

    fn offset(&self, blocks: u64) -> u64 {
        blocks << self.core.geometry.block_size.shift()
    }

    fn queue(&self, work: Work, ticket: Ticket<'_>) -> Progress {
        let ticket = ticket.keep();
        if let Err(Job { ticket, .. }) = self.workers.submit(Job { work, ticket }) {
            ticket.finish(Err(Status::COMMAND_INTERRUPTED));
        }
        Progress::Pending
    }

    fn room(&self, len: usize, buffers: &mut dyn Buffers) -> Result<Room, Status> {
        let mut room = Room::new();
        let mut left = len;
        while left > 0 {
            let buffer = buffers.take(left).filter(|buffer| {
                let fits = buffer.len() == left || (buffer.len() < left && buffer.len().is_multiple_of(4096));
                fits && !buffer.is_empty()
            });
            // Not logged: running out of buffers is the caller's way to bound its memory.
            let Some(buffer) = buffer else { return Err(Status::COMMAND_INTERRUPTED) };
            left -= buffer.len();
            room.push(buffer);
        }
        Ok(room)
    }

    fn read(
        &self,
        slba: u64,
        blocks: u32,
        fua: bool,
        buffers: &mut dyn Buffers,
        ticket: Ticket<'_>,
    ) -> Progress {
        let offset = self.offset(slba);
        let mut room = match self.room(self.offset(blocks.into()) as usize, buffers) {
            Ok(room) => room,
            Err(status) => return status.into(),
        };
        let mut done = 0;
        if !fua
            && !room.is_empty()
            && let Some(ring) = self.ring(buffers)
        {
            let ticket = ticket.keep();
            ring.start(self.call(Kind::Read { ticket, offset, room, done }));
            return Progress::Pending;
        }
        if !fua && self.core.reads_inline.load(Ordering::Relaxed) {
            match self.core.fill(offset, &mut room, &mut done, Wait::Never) {
                Ok(true) => return Progress::Done(Ok(gathered(room))),
                Ok(false) => {}
                Err(status) => return status.into(),
            }
        }
        self.queue(Work::Read { offset, room, done, fua, compare: None }, ticket)
    }

    fn write(
        &self,
        slba: u64,
        data: Gather,
        fua: bool,
        buffers: &mut dyn Buffers,
        ticket: Ticket<'_>,
    ) -> Progress {
        let offset = self.offset(slba);
        let mut done = 0;
        if !data.is_empty()
            && self.core.takes(&data)
            && let Some(ring) = self.ring(buffers)
        {
            if let Err(status) = self.core.intact() {
                return status.into();
            }
            let ticket = ticket.keep();
            ring.start(self.call(Kind::Write { ticket, offset, data, done, fua }));
            return Progress::Pending;
        }
        if self.core.writes_inline.load(Ordering::Relaxed) {
            let stored =
                self.core.intact().and_then(|()| self.core.store(offset, &data, &mut done, Wait::Never));
            match stored {
                Ok(true) if fua => return self.queue(Work::Flush, ticket),
                Ok(true) => return Progress::Done(Ok(Gather::new())),
                Ok(false) => {}
                Err(status) => return status.into(),
            }
        }
        self.queue(Work::Write { offset, data, done, fua }, ticket)
    }
}

impl FileBackend {
    fn flush(&self, buffers: &mut dyn Buffers, ticket: Ticket<'_>) -> Progress {
        let Some(ring) = self.ring(buffers) else { return self.queue(Work::Flush, ticket) };
        if let Err(status) = self.core.intact() {
            return status.into();
        }
        ring.sync(&self.core, ticket.keep());
        Progress::Pending
    }

    /// The submitting thread's ring, if it can take a call for this file.
    fn ring<'a>(&self, buffers: &'a mut dyn Buffers) -> Option<&'a mut Ring> {
        if matches!(self.core.disk.way(), Way::Calls) {
            return None;
        }
        let ring = buffers.ring()?;
        ring.takes(&self.core).then_some(ring)
    }

    fn call(&self, kind: Kind) -> Call {
        Call { core: Arc::clone(&self.core), kind }
    }
}

impl Backend for FileBackend {
    fn geometry(&self) -> &Geometry {
        &self.core.geometry
    }

    fn describe(&self) -> String {
        self.name.clone()
    }

    fn submit(&self, operation: Operation, buffers: &mut dyn Buffers, ticket: Ticket<'_>) -> Progress {
        if let Err(status) = operation.check(&self.core.geometry) {
            return status.into();
        }
        match operation {
            Operation::Read { slba, blocks, fua } => self.read(slba, blocks, fua, buffers, ticket),
            Operation::Write { slba, data, fua } => self.write(slba, data, fua, buffers, ticket),
            Operation::Flush if self.core.geometry.read_only => Progress::Done(Ok(Gather::new())),
            Operation::Flush => self.flush(buffers, ticket),
            Operation::WriteZeroes { slba, blocks, deallocate, fua } => {
                let (offset, len) = (self.offset(slba), self.offset(blocks.into()));
                self.queue(Work::Zero { offset, len, deallocate, fua }, ticket)
            }
            Operation::Deallocate { ranges } => self.queue(Work::Deallocate { ranges }, ticket),
            Operation::Compare { slba, data, fua } => match self.room(data.len(), buffers) {
                Ok(room) => {
                    let (offset, compare) = (self.offset(slba), Some(data));
                    self.queue(Work::Read { offset, room, done: 0, fua, compare }, ticket)
                }
                Err(status) => status.into(),
            },
            Operation::Verify { slba, blocks, fua } => {
                let (offset, len) = (self.offset(slba), self.offset(blocks.into()));
                // A host's transfer limit does not bound a Verify, so its memory must be bounded here.
                let scratch = match self.room(VERIFY.min(usize::try_from(len).unwrap_or(VERIFY)), buffers) {
                    Ok(room) => room.into_iter().next(),
                    Err(status) => return status.into(),
                };
                match scratch {
                    Some(scratch) => self.queue(Work::Verify { offset, len, scratch, fua }, ticket),
                    None => Progress::Done(Ok(Gather::new())),
                }
            }
        }
    }
}

impl std::fmt::Debug for FileBackend {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FileBackend")
            .field("name", &self.name)
            .field("geometry", &self.core.geometry)
            .finish_non_exhaustive()
    }
}
