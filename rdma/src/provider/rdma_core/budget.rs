//! How many completion queues of what size, and which queue pair's completions go where.
//!
//! A completion queue that overflows takes every connection on it down, and iWARP devices cannot resize one. So each queue pair
//! reserves as many entries as it has work requests before it is created, in a pair of queues, one for sends and one for receives:
//! a failed completion does not say which of the two it was, the queue that it is in does.

/// One pair of completion queues.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Share {
    size: u32,
    send: u32,
    recv: u32,
}

/// The completion queues of one device.
#[derive(Debug)]
pub(super) struct Budget {
    /// Work requests that all queue pairs together may have.
    completions: u32,
    /// Entries that the device allows in one queue.
    max_cqe: u32,
    shares: Vec<Share>,
}

/// Where a queue pair's completions go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// The pair of queues.
    pub(super) pair: usize,
    /// If the pair has to be created first: with how many entries in each queue.
    pub(super) create: Option<u32>,
}

/// There is no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Full {
    #[error("a queue of {asked} work requests, and a completion queue of this device holds {max_cqe}")]
    Device { asked: u32, max_cqe: u32 },
    #[error("{asked} more work requests, {taken} of {completions} are taken")]
    Engine { asked: u32, taken: u32, completions: u32 },
}

impl Budget {
    pub(super) fn new(completions: u32, max_cqe: u32) -> Self {
        Self { completions, max_cqe: max_cqe.max(1), shares: Vec::new() }
    }

    /// Reserves room for a queue pair's completions.
    pub(super) fn reserve(&mut self, send: u32, recv: u32) -> Result<Place, Full> {
        let needed = send.max(recv);
        if needed > self.max_cqe {
            return Err(Full::Device { asked: needed, max_cqe: self.max_cqe });
        }
        let taken = self
            .shares
            .iter()
            .fold(0u32, |sum, share| sum.saturating_add(share.send).saturating_add(share.recv));
        let asked = send.saturating_add(recv);
        if asked > self.completions.saturating_sub(taken) {
            return Err(Full::Engine { asked, taken, completions: self.completions });
        }
        let fits = |share: &Share| share.size - share.send >= send && share.size - share.recv >= recv;
        if let Some(pair) = self.shares.iter().position(fits) {
            self.take(pair, send, recv);
            return Ok(Place { pair, create: None });
        }
        // Half of all are sends and half receives, usually; where they are not, there will be one pair more.
        let size = self.completions.div_ceil(2).max(needed).min(self.max_cqe);
        self.shares.push(Share { size, send, recv });
        Ok(Place { pair: self.shares.len() - 1, create: Some(size) })
    }

    fn take(&mut self, pair: usize, send: u32, recv: u32) {
        if let Some(share) = self.shares.get_mut(pair) {
            share.send += send;
            share.recv += recv;
        }
    }

    /// Gives back what a queue pair had reserved.
    pub(super) fn release(&mut self, pair: usize, send: u32, recv: u32) {
        if let Some(share) = self.shares.get_mut(pair) {
            share.send = share.send.saturating_sub(send);
            share.recv = share.recv.saturating_sub(recv);
        }
    }

    /// Takes back a pair that could not be created; it is the last.
    pub(super) fn cancel_pair(&mut self) {
        self.shares.pop();
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn one_pair_serves_all_while_the_device_allows_it() {
        let mut budget = Budget::new(1000, 4096);
        assert_eq!(budget.reserve(100, 100), Ok(Place { pair: 0, create: Some(500) }));
        for _ in 0..4 {
            assert_eq!(budget.reserve(100, 100), Ok(Place { pair: 0, create: None }));
        }
        assert_eq!(budget.reserve(1, 0), Err(Full::Engine { asked: 1, taken: 1000, completions: 1000 }));
        budget.release(0, 100, 100);
        assert_eq!(budget.reserve(100, 100), Ok(Place { pair: 0, create: None }));
    }

    #[test]
    fn a_device_with_short_queues_gets_several() {
        let mut budget = Budget::new(1000, 128);
        assert_eq!(budget.reserve(100, 50), Ok(Place { pair: 0, create: Some(128) }));
        assert_eq!(budget.reserve(100, 50), Ok(Place { pair: 1, create: Some(128) }));
        assert_eq!(budget.reserve(28, 50), Ok(Place { pair: 0, create: None }));
        assert_eq!(budget.reserve(129, 1), Err(Full::Device { asked: 129, max_cqe: 128 }));
    }

    #[test]
    fn a_pair_that_failed_is_forgotten() {
        let mut budget = Budget::new(100, 100);
        assert_eq!(budget.reserve(50, 50), Ok(Place { pair: 0, create: Some(50) }));
        budget.cancel_pair();
        assert_eq!(budget.reserve(50, 50), Ok(Place { pair: 0, create: Some(50) }));
    }

    proptest! {
        /// Whatever is reserved and released, no queue can be given more completions than it has entries.
        #[test]
        fn no_queue_overruns(
            completions in 0u32..5000,
            max_cqe in 0u32..600,
            steps in prop::collection::vec((any::<bool>(), 0u32..700, 0u32..700, any::<prop::sample::Index>()), 0..60),
        ) {
            let mut budget = Budget::new(completions, max_cqe);
            let mut sizes = Vec::new();
            let mut live: Vec<(usize, u32, u32)> = Vec::new();
            for (add, send, recv, which) in steps {
                if add {
                    if let Ok(place) = budget.reserve(send, recv) {
                        if let Some(size) = place.create {
                            prop_assert_eq!(place.pair, sizes.len());
                            prop_assert!(size <= max_cqe.max(1));
                            sizes.push(size);
                        }
                        live.push((place.pair, send, recv));
                    }
                } else if !live.is_empty() {
                    let (pair, send, recv) = live.swap_remove(which.index(live.len()));
                    budget.release(pair, send, recv);
                }
                for (pair, size) in sizes.iter().enumerate() {
                    let (sends, recvs) = live
                        .iter()
                        .filter(|entry| entry.0 == pair)
                        .fold((0, 0), |sum, entry| (sum.0 + entry.1, sum.1 + entry.2));
                    prop_assert!(sends <= *size && recvs <= *size);
                }
                prop_assert!(live.iter().map(|entry| entry.1 + entry.2).sum::<u32>() <= completions);
            }
        }
    }
}
