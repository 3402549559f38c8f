//! What hosts did, counted: per queue without sharing, summed when somebody asks.

use std::sync::{
    Arc, Mutex, PoisonError, Weak,
    atomic::{AtomicU64, Ordering::Relaxed},
};

/// Commands and bytes of namespaces that hosts moved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IoCounters {
    /// Read commands that ended well.
    pub reads: u64,
    /// Write commands that ended well.
    pub writes: u64,
    /// Bytes of those reads.
    pub read_bytes: u64,
    /// Bytes of those writes.
    pub written_bytes: u64,
    /// I/O commands of other kinds that ended well.
    pub others: u64,
    /// I/O commands that ended with an error.
    pub errors: u64,
    /// Of these, with a media or data integrity error.
    pub media_errors: u64,
}

impl IoCounters {
    fn add(&mut self, other: &Self) {
        self.reads += other.reads;
        self.writes += other.writes;
        self.read_bytes += other.read_bytes;
        self.written_bytes += other.written_bytes;
        self.others += other.others;
        self.errors += other.errors;
        self.media_errors += other.media_errors;
    }
}

/// Counters of one queue. One thread writes, any may read.
#[derive(Debug, Default)]
pub(crate) struct QueueCounters {
    pub(crate) reads: Counter,
    pub(crate) writes: Counter,
    pub(crate) read_bytes: Counter,
    pub(crate) written_bytes: Counter,
    pub(crate) others: Counter,
    pub(crate) errors: Counter,
    pub(crate) media_errors: Counter,
}

impl QueueCounters {
    pub(crate) fn read(&self) -> IoCounters {
        IoCounters {
            reads: self.reads.value(),
            writes: self.writes.value(),
            read_bytes: self.read_bytes.value(),
            written_bytes: self.written_bytes.value(),
            others: self.others.value(),
            errors: self.errors.value(),
            media_errors: self.media_errors.value(),
        }
    }
}

/// A number with one writer: no locked instruction on the I/O path.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self, n: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_add(n), Relaxed);
    }

    pub(crate) fn value(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// The counters of all queues of a subsystem, those that are gone included.
#[derive(Debug, Default)]
pub(crate) struct Account(Mutex<Books>);

#[derive(Debug, Default)]
struct Books {
    closed: IoCounters,
    open: Vec<Weak<QueueCounters>>,
}

impl Account {
    /// Opens the counters of a new queue.
    pub(crate) fn open(&self) -> Arc<QueueCounters> {
        let counters = Arc::default();
        self.0.lock().unwrap_or_else(PoisonError::into_inner).open.push(Arc::downgrade(&counters));
        counters
    }

    /// Keeps the sums of a queue that is gone.
    pub(crate) fn close(&self, counters: &Arc<QueueCounters>) {
        let mut books = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let before = books.open.len();
        books
            .open
            .retain(|open| !std::ptr::eq(open.as_ptr(), Arc::as_ptr(counters)) && open.strong_count() > 0);
        if books.open.len() < before {
            books.closed.add(&counters.read());
        }
    }

    /// The sum over all queues.
    pub(crate) fn total(&self) -> IoCounters {
        let books = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut total = books.closed;
        books.open.iter().filter_map(Weak::upgrade).for_each(|open| total.add(&open.read()));
        total
    }
}
