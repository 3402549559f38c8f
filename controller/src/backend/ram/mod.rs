//! A namespace in memory: sparse, shared by all engine threads, read without a copy.
//!
//! *Reads* answer with views of the chunks themselves; what was never written is a view of one shared run of zeroes. *Writes*
//! change a chunk in place unless a view of it is still on its way to a host; then they copy it and leave the old one to the
//! view, so a read is a snapshot of each chunk and a write never waits for the wire. A write of a whole chunk that was received
//! into memory from [`Backend::landing`] takes the chunk's place, and nothing is copied.
//!
//! *Synchronisation* is one futex-sized lock per 128 KiB chunk, held for a reference count (read) or a memory copy of at most one
//! chunk (write). Uncontended that is one atomic exchange in and one out, on a cache line that the operation writes anyway
//! (the view's own count); two threads meet only when they work on the same 128 KiB at the same moment. A lock per shard would
//! make strangers meet, and a lock-free table would need its own reclamation for nothing but those two exchanges.
//!
//! *Memory* comes in large mappings with huge pages where the system has them, and goes back to the system when blocks are
//! deallocated; `docs/decisions/0007-ram-huge-pages.md` has the figures.
//!
//! Nothing is allocated per operation in steady state: reads of up to two chunks fit in a `Gather` inline, writes reuse chunks.
//! Deliberately absent: persistence and a bound on memory below the namespace's size. Start at [`RamBackend`]; the chunks
//! are in `table`.

use std::sync::Arc;

use nvmf_transport::{Buffer, Gather, Memory, Slabs};
use nvmf_wire::Status;
use smallvec::SmallVec;

use super::{
    Backend, BlockRange, BlockSize, Buffers, Geometry, Identity, Kept, OpenError, Operation, Optimal,
    Progress, Ticket, workers::Workers,
};

mod table;
#[cfg(test)]
mod tests;

use table::{CHUNK, Table};

/// Clearing more than this leaves the submitting thread: freeing memory is slow, and a host may ask for terabytes at once.
const CLEAR_INLINE: u64 = 4 << 20;

/// Sparse memory as a namespace.
pub struct RamBackend {
    geometry: Geometry,
    table: Arc<Table>,
    background: Workers<Clear>,
}

/// Ranges in bytes to clear, away from the engine thread.
struct Clear {
    ranges: SmallVec<[BlockRange; 1]>,
    ticket: Kept,
}

impl RamBackend {
    /// The largest size, in bytes: 256 TiB, whose (empty) table takes 16 MiB.
    pub const MAX_BYTES: u64 = 1 << 48;

    /// Memory of `bytes` bytes, all zero, none of it allocated yet.
    pub fn new(bytes: u64, block_size: BlockSize) -> Result<Self, OpenError> {
        Self::with_memory(bytes, block_size, Identity::random(), Arc::new(Slabs::new(CHUNK)))
    }

    /// The same, with chunks from `memory` (registered with a device, for example) and a given identity.
    pub fn with_memory(
        bytes: u64,
        block_size: BlockSize,
        identity: Identity,
        memory: Arc<dyn Memory>,
    ) -> Result<Self, OpenError> {
        let blocks = super::whole_blocks(bytes, block_size, Self::MAX_BYTES)?;
        let chunk = CHUNK as u32 >> block_size.shift();
        let geometry = Geometry {
            blocks,
            block_size,
            read_only: false,
            thin: true,
            deallocated_reads_zero: true,
            write_zeroes_deallocates: true,
            volatile_write_cache: false,
            optimal: Optimal { write: 1, deallocate: chunk, write_size: chunk },
            identity,
        };
        let table = Arc::new(Table::new(bytes, memory)?);
        let cleared = table.clone();
        let shift = block_size.shift();
        let background = Workers::new("nvmf-ram", 1, move |job: Clear| {
            job.ticket.finish(clear(&cleared, shift, &job.ranges));
        });
        Ok(Self { geometry, table, background })
    }

    /// The same, writable or not.
    #[must_use]
    pub fn read_only(mut self, read_only: bool) -> Self {
        self.geometry.read_only = read_only;
        self
    }

    /// Bytes of memory that hold data now.
    pub fn allocated(&self) -> u64 {
        self.table.allocated()
    }

    fn offset(&self, blocks: u64) -> u64 {
        blocks << self.geometry.block_size.shift()
    }

    fn clear(&self, ranges: SmallVec<[BlockRange; 1]>, ticket: Ticket<'_>) -> Progress {
        let total = ranges.iter().fold(0u64, |sum, range| sum.saturating_add(self.offset(range.blocks)));
        if total <= CLEAR_INLINE {
            return Progress::Done(clear(&self.table, self.geometry.block_size.shift(), &ranges));
        }
        let ticket = ticket.keep();
        match self.background.submit(Clear { ranges, ticket }) {
            Ok(()) => {}
            Err(job) => job.ticket.finish(Err(Status::COMMAND_INTERRUPTED)),
        }
        Progress::Pending
    }

    fn compare(&self, slba: u64, data: &Gather) -> Result<Gather, Status> {
        let stored = self.table.read(self.offset(slba), data.len())?;
        if super::same_bytes(&stored, data) {
            Ok(Gather::new())
        } else {
            Err(Status::COMPARE_FAILURE.with_dnr())
        }
    }
}

fn clear(table: &Table, shift: u32, ranges: &[BlockRange]) -> Result<Gather, Status> {
    for range in ranges {
        table.clear(range.slba << shift, range.blocks << shift)?;
    }
    Ok(Gather::new())
}

impl Backend for RamBackend {
    fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    fn describe(&self) -> String {
        format!("ram, {} bytes", self.geometry.bytes())
    }

    fn landing(&self, slba: u64, len: usize) -> Option<Buffer> {
        self.table.landing(self.offset(slba), len)
    }

    fn submit(&self, operation: Operation, _: &mut dyn Buffers, ticket: Ticket<'_>) -> Progress {
        if let Err(status) = operation.check(&self.geometry) {
            return status.into();
        }
        match operation {
            Operation::Read { slba, blocks, .. } => {
                let len = (blocks as usize) << self.geometry.block_size.shift();
                Progress::Done(self.table.read(self.offset(slba), len))
            }
            Operation::Write { slba, data, .. } => {
                Progress::Done(self.table.write(self.offset(slba), &data).map(|()| Gather::new()))
            }
            Operation::WriteZeroes { slba, blocks, .. } => {
                let blocks = u64::from(blocks);
                self.clear(SmallVec::from_buf([BlockRange { slba, blocks }]), ticket)
            }
            Operation::Deallocate { ranges } => self.clear(ranges, ticket),
            Operation::Compare { slba, data, .. } => Progress::Done(self.compare(slba, &data)),
            // There is nothing to flush, and memory that can be addressed can be read.
            Operation::Flush | Operation::Verify { .. } => Progress::Done(Ok(Gather::new())),
        }
    }
}

impl std::fmt::Debug for RamBackend {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RamBackend").field("geometry", &self.geometry).finish_non_exhaustive()
    }
}
