//! Memory that is counted: what an engine or a connection holds, and whether all of it comes back.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use nvmf_transport::{Buffer, Error, Memory, Region, Registration};

/// Plain pages whose live bytes are counted. Clones count together.
#[derive(Clone, Debug, Default)]
pub(super) struct Counted {
    live: Arc<AtomicUsize>,
}

/// Takes its bytes off the count when the region is freed.
struct Share {
    live: Arc<AtomicUsize>,
    len: usize,
}

impl Registration for Share {}

impl Drop for Share {
    fn drop(&mut self) {
        self.live.fetch_sub(self.len, Ordering::Relaxed);
    }
}

impl Counted {
    /// Bytes allocated and not yet freed.
    pub(super) fn live(&self) -> usize {
        self.live.load(Ordering::Relaxed)
    }

    /// A buffer for the harness's own use.
    pub(super) fn buffer(&self, len: usize) -> Buffer {
        self.allocate(len).expect("memory for a test")
    }
}

impl Memory for Counted {
    fn allocate(&self, len: usize) -> Result<Buffer, Error> {
        let share = Share { live: Arc::clone(&self.live), len };
        self.live.fetch_add(len, Ordering::Relaxed);
        Ok(Region::allocate(len)?.registered(|_, _| Box::new(share)).into_buffer())
    }
}
