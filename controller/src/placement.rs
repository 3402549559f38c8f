//! Which thread serves a connection: the one with the fewest, whichever has accepted it.
//!
//! Left to the kernel (`SO_REUSEPORT`), a connection's thread is a hash of its addresses: of 8 connections over 2 threads, 4 and 4 are
//! seen in 27 of 100 cases, and the 4 queues of one host are all on one thread in 12 of 100. Counting is exact. Among equals the
//! first thread is taken: a host's admin queue comes before its I/O queues, which are then spread evenly.
//! Deliberately absent: traffic. A queue never moves once it is served. Start at [`Seats`].

use std::{
    os::fd::OwnedFd,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use nvmf_transport::{ListenerId, Placement, Wake};

/// The engines of one transport, by thread.
#[derive(Debug)]
pub(crate) struct Seats(Vec<Seat>);

#[derive(Debug)]
struct Seat {
    wake: Wake,
    /// Connections as the engine last counted them.
    served: AtomicUsize,
    /// Connections in `inbox` or just being taken out.
    coming: AtomicUsize,
    inbox: Mutex<Vec<(OwnedFd, ListenerId)>>,
}

impl Seat {
    fn load(&self) -> usize {
        self.served.load(Ordering::Relaxed) + self.coming.load(Ordering::Relaxed)
    }
}

impl Seats {
    /// One for each thread, which is woken by the wake of its number.
    pub(crate) fn new(wakes: impl Iterator<Item = Wake>) -> Arc<Self> {
        let seat = |wake| Seat {
            wake,
            served: AtomicUsize::new(0),
            coming: AtomicUsize::new(0),
            inbox: Mutex::default(),
        };
        Arc::new(Self(wakes.map(seat).collect()))
    }

    /// Takes the connections that were placed with thread `number`; one atomic load if there are none. Each of them counts as
    /// coming until [`Seats::arrived`].
    pub(crate) fn take(&self, number: usize) -> Vec<(OwnedFd, ListenerId)> {
        match self.0.get(number) {
            Some(seat) if seat.coming.load(Ordering::Acquire) > 0 => {
                std::mem::take(&mut *seat.inbox.lock().unwrap_or_else(PoisonError::into_inner))
            }
            _ => Vec::new(),
        }
    }

    /// Notes that thread `number` has taken over `connections` that were coming, or dropped them.
    pub(crate) fn arrived(&self, number: usize, connections: usize) {
        if let Some(seat) = self.0.get(number) {
            seat.coming.fetch_sub(connections, Ordering::AcqRel);
        }
    }

    /// Connections by thread, those that are on their way included.
    pub(crate) fn counts(&self) -> impl Iterator<Item = usize> {
        self.0.iter().map(Seat::load)
    }

    /// Notes how many connections thread `number` serves.
    pub(crate) fn serves(&self, number: usize, connections: usize) {
        if let Some(seat) = self.0.get(number)
            && seat.served.load(Ordering::Relaxed) != connections
        {
            seat.served.store(connections, Ordering::Relaxed);
        }
    }
}

impl Placement for Seats {
    fn place(&self, connection: OwnedFd, listener: ListenerId) {
        let Some(seat) = self.0.iter().min_by_key(|seat| seat.load()) else { return };
        seat.inbox.lock().unwrap_or_else(PoisonError::into_inner).push((connection, listener));
        seat.coming.fetch_add(1, Ordering::AcqRel);
        seat.wake.wake();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connection() -> OwnedFd {
        std::os::unix::net::UnixStream::pair().unwrap().0.into()
    }

    #[test]
    fn the_least_loaded_thread_gets_it_and_the_first_among_equals() {
        let seats = Seats::new((0..3).map(|_| Wake::new().unwrap()));
        seats.serves(0, 2);
        for _ in 0..7 {
            seats.place(connection(), ListenerId(5));
        }
        let taken: Vec<_> = (0..3).map(|number| seats.take(number)).collect();
        assert_eq!(taken.iter().map(Vec::len).collect::<Vec<_>>(), [1, 3, 3]);
        assert!(taken.iter().flatten().all(|(_, listener)| *listener == ListenerId(5)));
        // Taken out and not yet counted by the engine: still there.
        seats.place(connection(), ListenerId(5));
        assert_eq!(seats.take(0).len(), 1);
        for (number, connections) in [(0, 2), (1, 3), (2, 3)] {
            seats.serves(number, connections);
            seats.arrived(number, connections);
        }
        // One of the second thread's connections has ended.
        seats.serves(1, 1);
        seats.serves(0, 4);
        for _ in 0..3 {
            seats.place(connection(), ListenerId(5));
        }
        assert_eq!((0..3).map(|number| seats.take(number).len()).collect::<Vec<_>>(), [0, 3, 0]);
    }
}
