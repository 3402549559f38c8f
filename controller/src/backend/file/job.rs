//! What is done to the disk for each operation: whole transfers out of partial system calls, zeroes, and errors as statuses.

use std::{
    io::{IoSlice, IoSliceMut},
    sync::atomic::{AtomicBool, Ordering},
};

use nvmf_transport::{Buffer, Gather, Region, View};
use nvmf_wire::Status;
use rustix::io::{Errno, retry_on_intr};
use smallvec::SmallVec;

use super::{
    disk::{Disk, Wait},
    sync::Durability,
};
use crate::backend::{BlockRange, Geometry, Kept, report::Report, same_bytes};

/// What `readv` and its like take at most (IOV_MAX).
const PIECES: usize = 1024;
/// What a transfer that ends before the disk does is noted as: ENODATA, where there is such a thing.
#[cfg(not(target_os = "freebsd"))]
pub(super) const SHORT: Errno = Errno::NODATA;
#[cfg(target_os = "freebsd")]
pub(super) const SHORT: Errno = Errno::NOMSG;
/// Zeroes written per call, in runs of the shared zero buffer.
const ZERO_RUNS: usize = 16;

/// The memory of a read.
pub(super) type Room = SmallVec<[Buffer; 2]>;

/// An operation for a worker thread, positions in bytes.
pub(super) struct Job {
    pub(super) work: Work,
    pub(super) ticket: Kept,
}

pub(super) enum Work {
    /// `done` bytes are there already.
    Read {
        offset: u64,
        room: Room,
        done: usize,
        fua: bool,
        compare: Option<Gather>,
    },
    Verify {
        offset: u64,
        len: u64,
        scratch: Buffer,
        fua: bool,
    },
    Write {
        offset: u64,
        data: Gather,
        done: usize,
        fua: bool,
    },
    Flush,
    Zero {
        offset: u64,
        len: u64,
        deallocate: bool,
        fua: bool,
    },
    /// In blocks, as they came.
    Deallocate {
        ranges: SmallVec<[BlockRange; 1]>,
    },
}

/// One open disk and what is known about it. Shared by the engine threads and the workers.
pub(super) struct Core {
    pub(super) geometry: Geometry,
    pub(super) disk: Box<dyn Disk>,
    pub(super) report: Report,
    pub(super) durability: Durability,
    /// Reads (writes) that would not wait can be tried; cleared by the first that says they cannot.
    pub(super) reads_inline: AtomicBool,
    pub(super) writes_inline: AtomicBool,
    pub(super) zeroes: View,
}

fn unsupported(errno: Errno) -> bool {
    matches!(errno, Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL | Errno::NODEV)
}

/// The bytes of a read as its result.
pub(super) fn gathered(room: Room) -> Gather {
    room.into_iter().map(Buffer::freeze).collect()
}

impl Core {
    pub(super) fn run(&self, Job { work, ticket }: Job) {
        let nothing = |()| Gather::new();
        match work {
            Work::Read { offset, room, done, fua, compare } => {
                ticket.finish(self.read(offset, room, done, fua, compare))
            }
            Work::Verify { offset, len, scratch, fua } => {
                ticket.finish(self.verify(offset, len, scratch, fua).map(nothing))
            }
            Work::Write { offset, data, done, fua } => {
                let written = self.write(offset, data, done);
                self.end_modification(written, fua, ticket);
            }
            Work::Flush => self.end_modification(self.intact(), true, ticket),
            Work::Zero { offset, len, deallocate, fua } => {
                let zeroed = self.intact().and_then(|()| self.zero(offset, len, deallocate));
                self.end_modification(zeroed, fua, ticket);
            }
            Work::Deallocate { ranges } => ticket.finish(self.deallocate(&ranges).map(nothing)),
        }
    }

    fn end_modification(&self, outcome: Result<(), Status>, fua: bool, ticket: Kept) {
        match outcome {
            Ok(()) if fua => self.durability.finish(ticket, &*self.disk, &self.report),
            Ok(()) => ticket.finish(Ok(Gather::new())),
            Err(status) => ticket.finish(Err(status)),
        }
    }

    fn read(
        &self,
        offset: u64,
        mut room: Room,
        mut done: usize,
        fua: bool,
        compare: Option<Gather>,
    ) -> Result<Gather, Status> {
        self.settle(fua)?;
        self.fill(offset, &mut room, &mut done, Wait::Allowed)?;
        let data = gathered(room);
        match compare {
            None => Ok(data),
            Some(expected) if same_bytes(&data, &expected) => Ok(Gather::new()),
            Some(_) => Err(Status::COMPARE_FAILURE.with_dnr()),
        }
    }

    /// Reads all of a range through a little memory.
    fn verify(&self, mut offset: u64, mut len: u64, mut scratch: Buffer, fua: bool) -> Result<(), Status> {
        self.settle(fua)?;
        while len > 0 && !scratch.is_empty() {
            scratch.truncate(usize::try_from(len).unwrap_or(usize::MAX));
            self.fill(offset, std::slice::from_mut(&mut scratch), &mut 0, Wait::Allowed)?;
            offset = offset.saturating_add(scratch.len() as u64);
            len = len.saturating_sub(scratch.len() as u64);
        }
        Ok(())
    }

    /// What a read with FUA needs first: data that were written before it on stable storage (NVM Command Set 1.0 §3.2.4).
    fn settle(&self, fua: bool) -> Result<(), Status> {
        if fua && !self.geometry.read_only { self.durability.sync(&*self.disk, &self.report) } else { Ok(()) }
    }

    /// Reads until `room` is full; `done` bytes are already. `Ok(false)`: the rest would wait.
    pub(super) fn fill(
        &self,
        offset: u64,
        room: &mut [Buffer],
        done: &mut usize,
        wait: Wait,
    ) -> Result<bool, Status> {
        loop {
            let mut skip = *done;
            let mut pieces: SmallVec<[IoSliceMut<'_>; 4]> = SmallVec::new();
            for buffer in room.iter_mut() {
                let len = buffer.len();
                let part = &mut buffer[skip.min(len)..];
                skip = skip.saturating_sub(len);
                if !part.is_empty() && pieces.len() < PIECES {
                    pieces.push(IoSliceMut::new(part));
                }
            }
            if pieces.is_empty() {
                return Ok(true);
            }
            match self.disk.read(&mut pieces, offset.saturating_add(*done as u64), wait) {
                // A worker finds out why, and says so once.
                Ok(0) if wait == Wait::Never => return Ok(false),
                Ok(0) => return Err(self.failure("read", SHORT)),
                Ok(read) => *done += read,
                Err(Errno::INTR) => {}
                Err(errno) if wait == Wait::Never => {
                    if unsupported(errno) {
                        self.reads_inline.store(false, Ordering::Relaxed);
                    }
                    return Ok(false);
                }
                Err(errno) => return Err(self.failure("read", errno)),
            }
        }
    }

    /// Whether writes may be accepted: no data lost, and the file still as long as it was.
    pub(super) fn intact(&self) -> Result<(), Status> {
        if self.durability.is_lost() {
            return Err(Status::WRITE_FAULT.with_dnr());
        }
        // Writing would make a truncated file grow again, with zeroes where the data were.
        if !self.disk.covers(self.geometry.bytes()) {
            return Err(self.failure("write", SHORT));
        }
        Ok(())
    }

    fn write(&self, offset: u64, data: Gather, mut done: usize) -> Result<(), Status> {
        let data = if self.takes(&data) { data } else { self.aligned(&data)? };
        if done == 0 {
            self.intact()?;
        }
        self.store(offset, &data, &mut done, Wait::Allowed).map(drop)
    }

    /// Whether direct I/O, if that is what the disk does, accepts the pieces of `data`.
    pub(super) fn takes(&self, data: &Gather) -> bool {
        let alignment = self.disk.alignment();
        let aligned = |view: &View| {
            view.as_ptr().addr().is_multiple_of(alignment) && view.len().is_multiple_of(alignment)
        };
        alignment <= 1 || data.views().iter().all(aligned)
    }

    /// A copy that direct I/O accepts.
    fn aligned(&self, data: &Gather) -> Result<Gather, Status> {
        let region = Region::allocate(data.len()).map_err(|_| self.failure("write", Errno::NOMEM))?;
        let mut copy = region.into_buffer();
        let mut room = &mut copy[..];
        for piece in data.slices(0..data.len()) {
            let (now, later) = room.split_at_mut(piece.len());
            now.copy_from_slice(piece);
            room = later;
        }
        Ok(copy.into())
    }

    /// Writes until all of `data` is with the system; `done` bytes are already. `Ok(false)`: the rest would wait.
    pub(super) fn store(
        &self,
        offset: u64,
        data: &Gather,
        done: &mut usize,
        wait: Wait,
    ) -> Result<bool, Status> {
        while *done < data.len() {
            let pieces: SmallVec<[IoSlice<'_>; 4]> =
                data.slices(*done..data.len()).take(PIECES).map(IoSlice::new).collect();
            match self.disk.write(&pieces, offset.saturating_add(*done as u64), wait) {
                Ok(0) if wait == Wait::Never => return Ok(false),
                Ok(0) => return Err(self.failure("write", Errno::IO)),
                Ok(written) => *done += written,
                Err(Errno::INTR) => {}
                Err(errno) if wait == Wait::Never => {
                    if unsupported(errno) {
                        self.writes_inline.store(false, Ordering::Relaxed);
                    }
                    return Ok(false);
                }
                Err(errno) => return Err(self.failure("write", errno)),
            }
        }
        Ok(true)
    }

    fn deallocate(&self, ranges: &[BlockRange]) -> Result<(), Status> {
        self.intact()?;
        let shift = self.geometry.block_size.shift();
        for range in ranges.iter().filter(|range| range.blocks > 0) {
            let (offset, len) = (range.slba << shift, range.blocks << shift);
            if self.geometry.deallocated_reads_zero {
                self.zero(offset, len, true)?;
            } else if let Err(errno) = self.free(offset, len)
                && !unsupported(errno)
            {
                return Err(self.failure("deallocate", errno));
            }
        }
        Ok(())
    }

    /// Gives storage back, or says that it cannot be. Not for an empty range, which the system calls invalid.
    fn free(&self, offset: u64, len: u64) -> Result<(), Errno> {
        retry_on_intr(|| self.disk.punch(offset, len))
    }

    /// Makes a range read as zeroes, by the cheapest means the file system has.
    fn zero(&self, offset: u64, len: u64, deallocate: bool) -> Result<(), Status> {
        if len == 0 {
            return Ok(());
        }
        if deallocate {
            match self.free(offset, len) {
                Ok(()) => return Ok(()),
                Err(errno) if unsupported(errno) => {}
                Err(errno) => return Err(self.failure("deallocate", errno)),
            }
        }
        match retry_on_intr(|| self.disk.zero(offset, len)) {
            Ok(()) => return Ok(()),
            Err(errno) if unsupported(errno) => {}
            Err(errno) => return Err(self.failure("write zeroes", errno)),
        }
        let end = offset.saturating_add(len);
        let mut offset = offset;
        while offset < end {
            let run = |left: u64| {
                self.zeroes.slice(0..usize::try_from(left).unwrap_or(usize::MAX).min(self.zeroes.len()))
            };
            let mut zeroes = Gather::new();
            for _ in 0..ZERO_RUNS {
                zeroes.push(run(end - offset - zeroes.len() as u64));
            }
            self.store(offset, &zeroes, &mut 0, Wait::Allowed)?;
            offset += zeroes.len() as u64;
        }
        Ok(())
    }

    /// The status for a system error, after logging it. `SHORT` stands for a file that has become too short.
    pub(super) fn failure(&self, action: &'static str, errno: Errno) -> Status {
        let reading = action == "read";
        let shrunk = errno == SHORT || !self.disk.covers(self.geometry.bytes());
        let status = match errno {
            _ if shrunk && reading => Status::UNRECOVERED_READ_ERROR.with_dnr(),
            _ if shrunk => Status::WRITE_FAULT.with_dnr(),
            Errno::NOMEM | Errno::AGAIN | Errno::NOBUFS | Errno::CANCELED => Status::COMMAND_INTERRUPTED,
            Errno::NOSPC | Errno::DQUOT | Errno::FBIG => Status::CAPACITY_EXCEEDED.with_dnr(),
            Errno::ROFS | Errno::PERM | Errno::ACCESS | Errno::BADF if !reading => {
                Status::NAMESPACE_WRITE_PROTECTED.with_dnr()
            }
            Errno::INVAL | Errno::BADF | Errno::FAULT => Status::INTERNAL_ERROR.with_dnr(),
            // Without Do Not Retry: a path or a sector may recover.
            _ if reading => Status::UNRECOVERED_READ_ERROR,
            _ => Status::WRITE_FAULT,
        };
        if shrunk {
            self.report.failure(action, &"the file is shorter than when it was opened", status);
        } else {
            self.report.failure(action, &errno, status);
        }
        status
    }
}
