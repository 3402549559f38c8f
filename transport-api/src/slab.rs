//! Memory in large mappings, cut into equal pieces: for whoever holds very many of them for long.
//!
//! A processor reaches a gigabyte in huge pages through a few hundred translations, and in small ones through 262,144. Huge pages
//! are asked for where the system has them and never required. A piece that is dropped gives its memory back to the
//! system at once and its addresses to the next one who asks; the mappings themselves go with the last handle.
//! Start at [`Slabs`].
#![allow(unsafe_code, reason = "maps and unmaps memory")]

use std::{
    ptr::NonNull,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
};

use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous, munmap};

use crate::{Buffer, Error, ErrorKind, Memory, Region, Stage};

/// The size of a huge page, and the alignment of mappings.
const HUGE: usize = 2 << 20;
/// Bytes mapped at once.
const SLAB: usize = 16 << 20;
const PAGE: usize = 4096;

/// A mapping of its own, unmapped when it is dropped.
pub(crate) struct Mapping {
    start: NonNull<u8>,
    len: usize,
}

// SAFETY: plain memory; who may access which part of it is decided by who holds the pieces.
unsafe impl Send for Mapping {}
// SAFETY: as above; `&Mapping` gives no access to the bytes.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Maps `len` zeroed bytes, a multiple of huge pages.
    fn new(len: usize) -> Option<Self> {
        let reserved = len.checked_add(HUGE)?;
        let (protection, flags) = (ProtFlags::READ | ProtFlags::WRITE, MapFlags::PRIVATE);
        // SAFETY: a new mapping at an address of the system's choice touches nobody's memory.
        let base = unsafe { mmap_anonymous(std::ptr::null_mut(), reserved, protection, flags) }.ok()?;
        let before = base.align_offset(HUGE).min(HUGE);
        // SAFETY: within the mapping, which is `HUGE` longer than what is kept; both ends are not used by anybody.
        let start = unsafe {
            let start = base.byte_add(before);
            if before > 0 {
                let _ = munmap(base, before);
            }
            if before < HUGE {
                let _ = munmap(start.byte_add(len), HUGE - before);
            }
            // Only a wish: where it is not granted, pages are small.
            #[cfg(target_os = "linux")]
            let _ = rustix::mm::madvise(start, len, rustix::mm::Advice::LinuxHugepage);
            start
        };
        NonNull::new(start.cast()).map(|start| Self { start, len })
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: mapped by `new`, and no piece of it is left: each holds a reference to the mapping.
        let _ = unsafe { munmap(self.start.as_ptr().cast(), self.len) };
    }
}

/// One piece of a mapping, which nobody else has.
pub(crate) struct Piece {
    pub(crate) start: NonNull<u8>,
    len: usize,
    mapping: Arc<Mapping>,
    home: Weak<Mutex<State>>,
}

impl Piece {
    /// Gives the memory back. Nobody may access the piece any more.
    pub(crate) fn give_back(&self) {
        // Without this the next user would find old bytes, and zeroes are promised: then the addresses are not used again.
        // SAFETY: the caller's region was the only one with access to these whole pages.
        #[cfg(target_os = "linux")]
        if unsafe {
            rustix::mm::madvise(self.start.as_ptr().cast(), self.len, rustix::mm::Advice::LinuxDontNeed)
        }
        .is_ok()
            && let Some(home) = self.home.upgrade()
        {
            lock(&home).free.push((Arc::clone(&self.mapping), Start(self.start)));
        }
        #[cfg(not(target_os = "linux"))]
        let _ = (self.len, &self.mapping, &self.home);
    }
}

struct Start(NonNull<u8>);

// SAFETY: an address only.
unsafe impl Send for Start {}

#[derive(Default)]
pub(crate) struct State {
    /// The newest mapping, and how much of it has been cut off.
    newest: Option<(Arc<Mapping>, usize)>,
    /// Pieces that were given back and are zero again.
    free: Vec<(Arc<Mapping>, Start)>,
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Buffers of one size out of large mappings; of any other size, plain pages.
pub struct Slabs {
    state: Arc<Mutex<State>>,
    piece: usize,
}

impl Slabs {
    /// For buffers of `piece` bytes, rounded up to whole pages. Maps nothing yet.
    pub fn new(piece: usize) -> Self {
        Self { state: Arc::default(), piece: piece.max(1).next_multiple_of(PAGE) }
    }

    fn piece(&self) -> Option<Piece> {
        let mut state = lock(&self.state);
        let piece = |mapping: Arc<Mapping>, start| Piece {
            start,
            len: self.piece,
            mapping,
            home: Arc::downgrade(&self.state),
        };
        if let Some((mapping, Start(start))) = state.free.pop() {
            return Some(piece(mapping, start));
        }
        let (mapping, cut) = match state.newest.take() {
            Some((mapping, cut)) if mapping.len - cut >= self.piece => (mapping, cut),
            _ => (Arc::new(Mapping::new(SLAB.max(self.piece.next_multiple_of(HUGE)))?), 0),
        };
        // SAFETY: within the mapping, as was just made sure of.
        let start = unsafe { mapping.start.add(cut) };
        state.newest = Some((Arc::clone(&mapping), cut + self.piece));
        Some(piece(mapping, start))
    }
}

impl Memory for Slabs {
    fn allocate(&self, len: usize) -> Result<Buffer, Error> {
        if len.max(1).next_multiple_of(PAGE) != self.piece {
            return Region::allocate(len).map(Region::into_buffer);
        }
        let short = || Error::new(Stage::Memory, ErrorKind::Resources, format!("cannot map {len} bytes"));
        self.piece().map(|piece| Region::of_piece(piece, len).into_buffer()).ok_or_else(short)
    }
}

impl std::fmt::Debug for Slabs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Slabs").field("piece", &self.piece).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PIECE: usize = 64 << 10;

    #[test]
    fn pieces_are_disjoint_zero_and_used_again() {
        let slabs = Slabs::new(PIECE);
        let mut all: Vec<Buffer> = (0..600).map(|_| slabs.allocate(PIECE).unwrap()).collect();
        for (n, buffer) in all.iter_mut().enumerate() {
            assert!(buffer.as_ptr().addr().is_multiple_of(PAGE) && buffer.len() == PIECE);
            assert!(buffer.iter().all(|&byte| byte == 0));
            buffer.fill(n as u8 | 1);
        }
        assert!(all.iter().enumerate().all(|(n, buffer)| buffer.iter().all(|&byte| byte == n as u8 | 1)));
        let mut starts: Vec<_> = all.iter().map(|buffer| buffer.as_ptr().addr()).collect();
        starts.sort_unstable();
        assert!(starts.windows(2).all(|pair| pair[1] - pair[0] >= PIECE));
        all.truncate(1);
        let again: Vec<Buffer> = (0..300).map(|_| slabs.allocate(PIECE).unwrap()).collect();
        assert!(again.iter().all(|buffer| buffer.iter().all(|&byte| byte == 0)));
        if cfg!(target_os = "linux") {
            assert!(again.iter().all(|buffer| starts.binary_search(&buffer.as_ptr().addr()).is_ok()));
        }
        drop(slabs);
        assert_eq!(all[0][PIECE - 1], 1, "a buffer outlives what it came from");
        assert_eq!(again[299][0], 0);
    }

    #[test]
    fn other_sizes_are_plain_pages() {
        let slabs = Slabs::new(PIECE);
        assert_eq!(slabs.allocate(100).unwrap().len(), 100);
        assert_eq!(slabs.allocate(3 << 20).unwrap().len(), 3 << 20);
        assert!(Slabs::new(usize::MAX / 2).allocate(usize::MAX / 2).is_err());
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn dropped_pieces_go_back_to_the_system() {
        let resident = || {
            let text = std::fs::read_to_string("/proc/self/statm").unwrap();
            text.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * PAGE
        };
        let slabs = Slabs::new(PIECE);
        let mut all: Vec<Buffer> = (0..2048).map(|_| slabs.allocate(PIECE).unwrap()).collect();
        all.iter_mut().for_each(|buffer| buffer.fill(1));
        let full = resident();
        drop(all);
        assert!(resident() + (64 << 20) < full, "{} of {full} bytes are still resident", resident());
    }
}
