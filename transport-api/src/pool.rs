//! A bounded set of equal buffers that come back by being dropped, so that the data path allocates nothing.

use std::sync::{
    Arc, Mutex, PoisonError, Weak,
    atomic::{AtomicUsize, Ordering},
};

use crate::{Buffer, Memory, Region};

/// The way a pooled region finds its pool again.
pub(crate) struct Home(Weak<Shared>);

struct Shared {
    free: Mutex<Vec<Arc<Region>>>,
    /// Buffers in existence, free or lent.
    made: AtomicUsize,
}

impl Home {
    /// Takes back a region whose last handle is gone.
    pub(crate) fn give_back(self, mut region: Arc<Region>) {
        let Some(shared) = self.0.upgrade() else { return };
        match Arc::get_mut(&mut region) {
            Some(only) => only.home = Some(self),
            None => return,
        }
        shared.free.lock().unwrap_or_else(PoisonError::into_inner).push(region);
    }

    /// Notes that a region was freed instead of given back.
    pub(crate) fn lost(self) {
        if let Some(shared) = self.0.upgrade() {
            shared.made.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

/// At most `capacity` buffers of one size, made on first use and reused when dropped.
///
/// Contents are those of the last user: whoever takes a buffer fills it before sending it anywhere.
pub struct Pool {
    shared: Arc<Shared>,
    memory: Arc<dyn Memory>,
    size: usize,
    capacity: usize,
}

impl Pool {
    /// A pool of at most `capacity` buffers of `size` bytes. Allocates nothing yet.
    pub fn new(memory: Arc<dyn Memory>, size: usize, capacity: usize) -> Self {
        let shared = Shared { free: Mutex::new(Vec::new()), made: AtomicUsize::new(0) };
        Self { shared: Arc::new(shared), memory, size, capacity }
    }

    /// Takes a buffer, or `None` when all are lent or memory is short.
    pub fn take(&self) -> Option<Buffer> {
        let recycled = self.shared.free.lock().unwrap_or_else(PoisonError::into_inner).pop();
        if let Some(region) = recycled {
            return Some(Buffer::whole(region));
        }
        if self.shared.made.load(Ordering::Relaxed) >= self.capacity {
            return None;
        }
        let buffer = self.memory.allocate(self.size).ok()?;
        self.shared.made.fetch_add(1, Ordering::Relaxed);
        buffer.with_region(|region| region.home = Some(Home(Arc::downgrade(&self.shared))))
    }

    /// The size of every buffer.
    pub fn buffer_size(&self) -> usize {
        self.size
    }

    /// How many buffers may exist at once.
    pub fn capacity(&self) -> usize {
        self.capacity
    }
}

impl std::fmt::Debug for Pool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pool")
            .field("size", &self.size)
            .field("capacity", &self.capacity)
            .finish_non_exhaustive()
    }
}
