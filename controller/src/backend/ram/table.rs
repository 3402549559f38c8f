//! The chunks of a RAM namespace: a two-level table, so that terabytes cost nothing until they are written.
//!
//! The upper level is an array with one entry per 256 MiB; an entry's leaf of 2048 locked slots is made by the first write
//! there and stays. A slot holds the only permanent [`View`] of its chunk; reads hand out more of them, and a write asks
//! `try_into_buffer` whether any is still out.

use std::{
    ops::Range,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
};

use nvmf_transport::{Buffer, Error, Gather, Memory, View};
use nvmf_wire::Status;

use crate::backend::report::Report;

/// Bytes per chunk: as much as a write is fetched in one piece, so that a chunk can take the place of another, and small
/// enough that copying one is a matter of microseconds.
pub(super) const CHUNK: usize = 128 << 10;
const SLOTS: usize = 2048;
/// Chunks whose place was taken, kept until their readers are done, to be written next time.
const SPARES: usize = 32;

struct Leaf {
    slots: Box<[Mutex<Option<View>>]>,
    /// Slots that hold a chunk; lets a clear of terabytes pass by what is empty. Only changed under the slot's lock.
    held: AtomicUsize,
}

pub(super) struct Table {
    leaves: Box<[OnceLock<Leaf>]>,
    zeroes: View,
    memory: Arc<dyn Memory>,
    spares: Mutex<Vec<View>>,
    allocated: AtomicU64,
    report: Report,
}

/// The part of one chunk that an operation touches.
struct Span {
    leaf: usize,
    slot: usize,
    within: Range<usize>,
    /// Where in the operation's data the part begins.
    at: usize,
}

/// The spans of at most `usize::MAX` bytes from `offset` on.
fn spans(offset: u64, len: usize) -> impl Iterator<Item = Span> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let left = len.checked_sub(at).filter(|&left| left > 0)?;
        let position = offset.checked_add(at as u64)?;
        let chunk = position / CHUNK as u64;
        let start = (position % CHUNK as u64) as usize;
        let part = left.min(CHUNK - start);
        let span = Span {
            leaf: usize::try_from(chunk / SLOTS as u64).ok()?,
            slot: (chunk % SLOTS as u64) as usize,
            within: start..start + part,
            at,
        };
        at += part;
        Some(span)
    })
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The view in `data` that begins at `at`, if it is a chunk by itself: a region of that size which no pool wants back.
fn chunk_of(data: &Gather, at: usize) -> Option<&View> {
    let mut start = 0;
    let view = data.views().iter().find(|view| {
        let found = start == at;
        start += view.len();
        found
    })?;
    let region = view.region();
    (view.len() == CHUNK && region.len() == CHUNK && !region.is_pooled()).then_some(view)
}

impl Leaf {
    fn new() -> Self {
        Self { slots: (0..SLOTS).map(|_| Mutex::new(None)).collect(), held: AtomicUsize::new(0) }
    }
}

impl Table {
    pub(super) fn new(bytes: u64, memory: Arc<dyn Memory>) -> Result<Self, Error> {
        let leaves = bytes.div_ceil((CHUNK * SLOTS) as u64);
        Ok(Self {
            leaves: (0..leaves).map(|_| OnceLock::new()).collect(),
            zeroes: memory.allocate(CHUNK)?.freeze(),
            memory,
            spares: Mutex::default(),
            allocated: AtomicU64::new(0),
            report: Report::new("ram".into()),
        })
    }

    pub(super) fn allocated(&self) -> u64 {
        self.allocated.load(Ordering::Relaxed).saturating_mul(CHUNK as u64)
    }

    /// The slot of a span, `None` if nothing was ever written near it.
    fn slot(&self, span: &Span) -> Option<(&Leaf, &Mutex<Option<View>>)> {
        let leaf = self.leaves.get(span.leaf)?.get()?;
        Some((leaf, leaf.slots.get(span.slot)?))
    }

    /// Views of `len` bytes from `offset` on.
    pub(super) fn read(&self, offset: u64, len: usize) -> Result<Gather, Status> {
        let mut gather = Gather::new();
        for span in spans(offset, len) {
            let view = match self.slot(&span) {
                Some((_, slot)) => lock(slot).as_ref().map(|chunk| chunk.slice(span.within.clone())),
                None => None,
            };
            gather.push(view.unwrap_or_else(|| self.zeroes.slice(span.within)));
        }
        if gather.len() == len { Ok(gather) } else { Err(Status::LBA_OUT_OF_RANGE.with_dnr()) }
    }

    /// Memory that can become the chunk at `offset` when all of that is written.
    pub(super) fn landing(&self, offset: u64, len: usize) -> Option<Buffer> {
        if !offset.is_multiple_of(CHUNK as u64) || len < CHUNK {
            return None;
        }
        self.spare().or_else(|| self.memory.allocate(CHUNK).ok())
    }

    /// Stores all of `data` from `offset` on.
    pub(super) fn write(&self, offset: u64, data: &Gather) -> Result<(), Status> {
        for span in spans(offset, data.len()) {
            let from = || data.slices(span.at..span.at + span.within.len());
            let landed = if span.within.len() == CHUNK { chunk_of(data, span.at) } else { None };
            if self.slot(&span).is_none() && from().all(|piece| self.is_zero(piece)) {
                continue;
            }
            let Some(leaf) = self.leaves.get(span.leaf) else {
                return Err(Status::LBA_OUT_OF_RANGE.with_dnr());
            };
            let leaf = leaf.get_or_init(Leaf::new);
            let Some(slot) = leaf.slots.get(span.slot) else {
                return Err(Status::INTERNAL_ERROR);
            };
            let mut slot = lock(slot);
            if let Some(chunk) = landed {
                if let Some(old) = slot.replace(chunk.clone()) {
                    drop(slot);
                    self.keep_spare(old);
                } else {
                    self.hold(leaf);
                }
                continue;
            }
            let mut chunk = match slot.take() {
                Some(view) => self.exclusive(&mut slot, view, &span.within)?,
                None if from().all(|piece| self.is_zero(piece)) => continue,
                None => {
                    let chunk = self.fresh()?;
                    self.hold(leaf);
                    chunk
                }
            };
            let mut room = &mut chunk[span.within.clone()];
            for piece in from() {
                let (now, later) = room.split_at_mut(piece.len());
                now.copy_from_slice(piece);
                room = later;
            }
            *slot = Some(chunk.freeze());
        }
        Ok(())
    }

    /// Counts a chunk where there was none; called under the slot's lock.
    fn hold(&self, leaf: &Leaf) {
        leaf.held.fetch_add(1, Ordering::Relaxed);
        self.allocated.fetch_add(1, Ordering::Relaxed);
    }

    /// Makes `len` bytes from `offset` on read as zeroes, and frees every chunk that is all zero by then.
    pub(super) fn clear(&self, offset: u64, len: u64) -> Result<(), Status> {
        const LEAF: u64 = (CHUNK * SLOTS) as u64;
        let end = offset.saturating_add(len);
        let mut offset = offset;
        while offset < end {
            let next = (offset / LEAF + 1).saturating_mul(LEAF).min(end);
            let leaf = usize::try_from(offset / LEAF).ok().and_then(|leaf| self.leaves.get(leaf));
            if leaf.and_then(OnceLock::get).is_some_and(|leaf| leaf.held.load(Ordering::Relaxed) > 0) {
                self.clear_within(offset, (next - offset) as usize)?;
            }
            offset = next;
        }
        Ok(())
    }

    /// Clears at most what one leaf holds.
    fn clear_within(&self, offset: u64, len: usize) -> Result<(), Status> {
        for span in spans(offset, len) {
            let Some((leaf, slot)) = self.slot(&span) else {
                continue;
            };
            let mut slot = lock(slot);
            let Some(view) = slot.take() else { continue };
            let unused = if span.within.len() == CHUNK {
                view
            } else {
                let mut chunk = self.exclusive(&mut slot, view, &span.within)?;
                chunk[span.within].fill(0);
                let view = chunk.freeze();
                if !self.is_zero(&view) {
                    *slot = Some(view);
                    continue;
                }
                view
            };
            leaf.held.fetch_sub(1, Ordering::Relaxed);
            self.allocated.fetch_sub(1, Ordering::Relaxed);
            // Freeing is slower than clearing; nobody should wait for it.
            drop(slot);
            drop(unused);
        }
        Ok(())
    }

    /// The chunk to write into: `view` itself if no other view of it is out, else a copy of all but `overwritten`. On failure
    /// `view` is back in its slot.
    fn exclusive(
        &self,
        slot: &mut Option<View>,
        view: View,
        overwritten: &Range<usize>,
    ) -> Result<Buffer, Status> {
        let view = match view.try_into_buffer() {
            Ok(buffer) => return Ok(buffer),
            Err(view) => view,
        };
        let mut copy = match self.spare().map_or_else(|| self.fresh(), Ok) {
            Ok(copy) => copy,
            Err(status) => {
                *slot = Some(view);
                return Err(status);
            }
        };
        for kept in [0..overwritten.start, overwritten.end..CHUNK] {
            copy[kept.clone()].copy_from_slice(&view[kept]);
        }
        self.keep_spare(view);
        Ok(copy)
    }

    /// Keeps a chunk whose place was taken, if not too many are kept already.
    fn keep_spare(&self, view: View) {
        let mut spares = lock(&self.spares);
        if spares.len() < SPARES {
            return spares.push(view);
        }
        // Freeing is slow; nobody should wait for it.
        drop(spares);
        drop(view);
    }

    /// A chunk whose place was taken and whose readers are done. Holds old bytes.
    fn spare(&self) -> Option<Buffer> {
        let mut spares = lock(&self.spares);
        for at in 0..spares.len() {
            match spares.swap_remove(at).try_into_buffer() {
                Ok(buffer) => return Some(buffer),
                Err(view) => {
                    // Back to where it was, so that every one is looked at once.
                    spares.push(view);
                    let last = spares.len() - 1;
                    spares.swap(at, last);
                }
            }
        }
        None
    }

    /// A new chunk, all zero.
    fn fresh(&self) -> Result<Buffer, Status> {
        self.memory.allocate(CHUNK).map_err(|error| {
            // Not for good: another namespace or a deallocate may free memory.
            let status = Status::CAPACITY_EXCEEDED;
            self.report.failure("write", &error, status);
            status
        })
    }

    fn is_zero(&self, bytes: &[u8]) -> bool {
        // A comparison of memory, which is faster than looking at each byte and stops at the first difference.
        bytes.chunks(CHUNK).all(|part| part == &self.zeroes[..part.len()])
    }
}
