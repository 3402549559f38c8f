//! A disk with a volatile write cache: what was not flushed when the power fails may or may not be there afterwards.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use nvmf_transport::{Buffer, Gather, Region};
use nvmf_wire::Status;

use super::run;
use crate::backend::{Backend, Buffers, Geometry, Operation, Outcome, Progress, Ticket, same_bytes};

/// A cache of blocks over a backend. Only Flush, FUA and luck bring a block from the cache to the backend.
#[derive(Debug)]
pub struct Volatile {
    inner: Arc<dyn Backend>,
    geometry: Geometry,
    /// Blocks newer than the backend's.
    cache: Mutex<BTreeMap<u64, Box<[u8]>>>,
}

impl Volatile {
    /// Wraps a backend, which then holds what is durable.
    pub fn new(inner: Arc<dyn Backend>) -> Self {
        let geometry = Geometry { volatile_write_cache: true, ..*inner.geometry() };
        Self { inner, geometry, cache: Mutex::default() }
    }

    fn cache(&self) -> MutexGuard<'_, BTreeMap<u64, Box<[u8]>>> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many blocks a crash could lose.
    pub fn unflushed(&self) -> usize {
        self.cache().len()
    }

    /// The power fails. Of every block that was not flushed `survives` says whether it reached the medium all the same: disks
    /// write their cache in any order, so any subset is possible.
    pub fn crash(&self, mut survives: impl FnMut(u64) -> bool) -> Result<(), Status> {
        let lost = std::mem::take(&mut *self.cache());
        for (block, bytes) in lost.into_iter().filter(|(block, _)| survives(*block)) {
            self.write_through(block, &bytes)?;
        }
        Ok(())
    }

    fn block(&self) -> usize {
        self.geometry.block_size.bytes() as usize
    }

    fn write_through(&self, slba: u64, bytes: &[u8]) -> Result<(), Status> {
        let mut buffer = allocate(bytes.len())?;
        buffer.copy_from_slice(bytes);
        let write = Operation::Write { slba, data: buffer.into(), fua: false };
        run(&*self.inner, write).map(drop)
    }

    /// Brings the cached blocks of a range to the backend, and the backend to rest.
    fn settle(&self, slba: u64, blocks: u64) -> Result<(), Status> {
        let mut cache = self.cache();
        let range = slba..slba.saturating_add(blocks);
        for (block, bytes) in cache.range(range.clone()) {
            self.write_through(*block, bytes)?;
        }
        run(&*self.inner, Operation::Flush)?;
        cache.retain(|block, _| !range.contains(block));
        Ok(())
    }

    fn read(&self, slba: u64, blocks: u64) -> Outcome {
        if blocks == 0 {
            return Ok(Gather::new());
        }
        let cache = self.cache();
        let durable = run(&*self.inner, Operation::Read { slba, blocks: blocks as u32, fua: false })?;
        let mut data = allocate(durable.len())?;
        let mut room = &mut data[..];
        for piece in durable.slices(0..durable.len()) {
            let (now, later) = room.split_at_mut(piece.len());
            now.copy_from_slice(piece);
            room = later;
        }
        for (at, bytes) in data.chunks_mut(self.block()).enumerate() {
            if let Some(newer) = cache.get(&slba.saturating_add(at as u64)) {
                bytes.copy_from_slice(newer);
            }
        }
        Ok(data.into())
    }

    fn write(&self, slba: u64, bytes: impl Iterator<Item = u8>, fua: bool) -> Outcome {
        let mut bytes = bytes.peekable();
        let mut blocks = 0;
        while bytes.peek().is_some() {
            let block: Box<[u8]> = bytes.by_ref().take(self.block()).collect();
            self.cache().insert(slba.saturating_add(blocks), block);
            blocks += 1;
        }
        if fua {
            self.settle(slba, blocks)?;
        }
        Ok(Gather::new())
    }

    fn zero(&self, slba: u64, blocks: u64, fua: bool) -> Outcome {
        let bytes = (blocks as usize).saturating_mul(self.block());
        self.write(slba, std::iter::repeat_n(0, bytes), fua)
    }

    fn perform(&self, operation: Operation) -> Outcome {
        operation.check(&self.geometry)?;
        match operation {
            Operation::Read { slba, blocks, fua } => {
                if fua {
                    self.settle(slba, blocks.into())?;
                }
                self.read(slba, blocks.into())
            }
            Operation::Write { slba, data, fua } => {
                let bytes = data.views().iter().flat_map(|view| view.iter().copied());
                self.write(slba, bytes, fua)
            }
            Operation::Flush => self.settle(0, self.geometry.blocks).map(|()| Gather::new()),
            Operation::WriteZeroes { slba, blocks, fua, .. } => self.zero(slba, blocks.into(), fua),
            Operation::Deallocate { ranges } => {
                ranges.iter().try_for_each(|range| self.zero(range.slba, range.blocks, false).map(drop))?;
                Ok(Gather::new())
            }
            Operation::Compare { slba, data, .. } => {
                let stored = self.read(slba, data.len() as u64 >> self.geometry.block_size.shift())?;
                if same_bytes(&stored, &data) {
                    Ok(Gather::new())
                } else {
                    Err(Status::COMPARE_FAILURE.with_dnr())
                }
            }
            Operation::Verify { slba, blocks, .. } => self.read(slba, blocks.into()).map(|_| Gather::new()),
        }
    }
}

fn allocate(len: usize) -> Result<Buffer, Status> {
    Region::allocate(len).map(Region::into_buffer).map_err(|_| Status::INTERNAL_ERROR)
}

impl Backend for Volatile {
    fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    fn describe(&self) -> String {
        format!("volatile cache over {}", self.inner.describe())
    }

    fn submit(&self, operation: Operation, _: &mut dyn Buffers, _: Ticket<'_>) -> Progress {
        Progress::Done(self.perform(operation))
    }
}
