//! The data buffers of one I/O queue: what bounds the memory a host can make the server hold.
//!
//! Every queue has its own, so a host that sends or takes its data slowly stalls its own queue and nobody else's. There are
//! always enough for one command of the largest size, so a queue whose buffers are all free can go on: waiting for buffers
//! cannot deadlock.

use std::sync::Arc;

use nvmf_transport::{Buffer, Memory, Pool};

use crate::backend::{Backend, Buffers, Ring};

/// Size of a small buffer.
pub(crate) const SMALL: usize = 16 << 10;
/// Size of a large buffer, and of the pieces a write is fetched in.
pub(crate) const LARGE: usize = 128 << 10;

/// Two pools.
#[derive(Debug)]
pub(crate) struct DataBuffers {
    small: Pool,
    large: Pool,
    /// How much memory of backends may be lent for data on its way in, in large buffers.
    landings: usize,
}

impl DataBuffers {
    /// The fewest bytes that let a command of `max_transfer` bytes, and some small ones beside, go on.
    pub(crate) fn least(max_transfer: u32) -> usize {
        (max_transfer as usize).next_multiple_of(LARGE) + 8 * SMALL
    }

    /// Buffers of `bytes` in total, which are at least [`DataBuffers::least`]. Allocates on first use.
    pub(crate) fn new(memory: &Arc<dyn Memory>, bytes: usize, max_transfer: u32) -> Self {
        let spare = bytes.saturating_sub((max_transfer as usize).next_multiple_of(LARGE));
        let small = (bytes / 4).min(spare) / SMALL;
        let large = (bytes - small * SMALL) / LARGE;
        Self {
            small: Pool::new(Arc::clone(memory), SMALL, small),
            large: Pool::new(Arc::clone(memory), LARGE, large),
            landings: large,
        }
    }

    /// Memory for the next piece of a write of `len` bytes: the backend's own where it has some, and not too much of that
    /// is out already, else a buffer as by [`take`](Self::take). [`arrived`](Self::arrived) follows.
    pub(crate) fn take_for(&mut self, backend: &dyn Backend, slba: u64, len: usize) -> Option<Buffer> {
        if self.landings > 0
            && let Some(buffer) = backend.landing(slba, len.min(LARGE))
        {
            self.landings -= 1;
            return Some(buffer);
        }
        self.take(len.min(LARGE))
    }

    /// The data have arrived, or will not.
    pub(crate) fn arrived(&mut self, buffer: &Buffer) {
        if !buffer.region().is_pooled() {
            self.landings += 1;
        }
    }

    /// A buffer of `len` bytes, or of less if `len` is more than a large one has.
    pub(crate) fn take(&self, len: usize) -> Option<Buffer> {
        let small = if len <= SMALL { self.small.take() } else { None };
        let mut buffer = small.or_else(|| self.large.take())?;
        buffer.truncate(len);
        Some(buffer)
    }
}

/// [`DataBuffers`] for one operation of a backend; remembers whether there were too few.
#[derive(Debug)]
pub(crate) struct Lender<'a> {
    buffers: &'a DataBuffers,
    /// Others wait already: this operation has to wait behind them if it needs any.
    behind: bool,
    pub(crate) starved: bool,
    ring: Option<&'a mut Ring>,
}

impl<'a> Lender<'a> {
    pub(crate) fn new(buffers: &'a DataBuffers, ring: Option<&'a mut Ring>, behind: bool) -> Self {
        Self { buffers, behind, starved: false, ring }
    }
}

impl Buffers for Lender<'_> {
    fn take(&mut self, len: usize) -> Option<Buffer> {
        let buffer = if self.behind { None } else { self.buffers.take(len) };
        self.starved |= buffer.is_none();
        buffer
    }

    fn ring(&mut self) -> Option<&mut Ring> {
        self.ring.as_deref_mut()
    }
}

#[cfg(test)]
mod tests {
    use nvmf_transport::Pages;

    use super::*;
    use crate::backend::{BlockSize, RamBackend};

    #[test]
    fn memory_of_backends_is_lent_within_the_bound_of_the_queue() {
        let ram = RamBackend::new(1 << 30, BlockSize::B4096).unwrap();
        let memory: Arc<dyn Memory> = Arc::new(Pages);
        let mut buffers = DataBuffers::new(&memory, 2 * LARGE, LARGE as u32);
        let lent = |buffers: &mut DataBuffers, slba| {
            let buffer = buffers.take_for(&ram, slba, 8 * LARGE)?;
            Some((!buffer.region().is_pooled(), buffer))
        };
        let limit = buffers.landings;
        let mut out: Vec<_> = (0..limit).map(|n| lent(&mut buffers, n as u64 * 32).unwrap()).collect();
        assert!(limit > 0 && out.iter().all(|(landing, buffer)| *landing && buffer.len() == LARGE));
        let pooled = lent(&mut buffers, 0).unwrap();
        assert!(!pooled.0, "more of the backend's memory is out than the queue has buffers");
        buffers.arrived(&pooled.1);
        drop(pooled);
        assert_eq!(buffers.landings, 0);
        for (_, buffer) in out.drain(..) {
            buffers.arrived(&buffer);
        }
        assert!(!lent(&mut buffers, 1).unwrap().0, "not the beginning of a chunk");
        assert!(lent(&mut buffers, 32).unwrap().0);
    }
}
