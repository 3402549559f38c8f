//! How operations that do not end at once find back to the thread that submitted them.
//!
//! One [`Finished`] belongs to one engine thread; every operation submitted there carries a [`Ticket`] on it. A ticket costs
//! nothing until it is [kept](Ticket::keep), so an operation that ends at once touches no shared counter. Finishing pushes to a
//! list under a short lock and wakes the thread once per batch, not once per operation.

use std::{
    fmt, mem,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use nvmf_transport::Wake;
use nvmf_wire::Status;

use super::Outcome;

/// One operation that ended late.
#[derive(Debug)]
pub struct Finish {
    /// The number its ticket was made with.
    pub tag: u64,
    /// How it ended.
    pub outcome: Outcome,
}

struct Shared {
    list: Mutex<Vec<Finish>>,
    /// Set when `list` may hold something the owner has not been woken for yet.
    signalled: AtomicBool,
    wake: Wake,
}

/// The late ends of one thread's operations. Clones are the same queue.
#[derive(Clone)]
pub struct Finished(Arc<Shared>);

impl Finished {
    /// A queue that wakes its thread by `wake`. The thread clears `wake` after every wait that it ended and then drains.
    pub fn new(wake: Wake) -> Self {
        Self(Arc::new(Shared { list: Mutex::default(), signalled: AtomicBool::new(false), wake }))
    }

    /// A ticket for an operation about to be submitted. `tag` is the caller's and comes back in [`Finish::tag`].
    pub fn ticket(&self, tag: u64) -> Ticket<'_> {
        Ticket { finished: self, tag }
    }

    /// Appends everything that ended since the last call. One atomic load when there is nothing.
    pub fn drain(&self, into: &mut Vec<Finish>) {
        if !self.0.signalled.load(Ordering::Acquire) {
            return;
        }
        // Before the list is looked at: a push after the look must signal again.
        self.0.signalled.store(false, Ordering::SeqCst);
        let mut list = self.0.list.lock().unwrap_or_else(PoisonError::into_inner);
        if into.is_empty() {
            mem::swap(&mut *list, into);
        } else {
            into.append(&mut list);
        }
    }

    fn push(&self, finish: Finish) {
        self.0.list.lock().unwrap_or_else(PoisonError::into_inner).push(finish);
        if !self.0.signalled.swap(true, Ordering::SeqCst) {
            self.0.wake.wake();
        }
    }
}

impl fmt::Debug for Finished {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Finished").field("signalled", &self.0.signalled).finish_non_exhaustive()
    }
}

/// The right to end one operation later. Dropped without effect by a backend that ends it at once.
#[derive(Clone, Copy, Debug)]
pub struct Ticket<'a> {
    finished: &'a Finished,
    tag: u64,
}

impl Ticket<'_> {
    /// Keeps the ticket beyond the call; the backend answers [`super::Progress::Pending`].
    pub fn keep(self) -> Kept {
        Kept { finished: Some(self.finished.clone()), tag: self.tag }
    }
}

/// A kept ticket. Finishes exactly once: by [`Kept::finish`], or with Internal Error if it is dropped without.
#[derive(Debug)]
#[must_use]
pub struct Kept {
    finished: Option<Finished>,
    tag: u64,
}

impl Kept {
    /// Ends the operation, from any thread.
    pub fn finish(mut self, outcome: Outcome) {
        self.end(outcome);
    }

    /// Ends the operation for the owner of its queue, who takes the end at once instead of draining the queue.
    pub(super) fn into_finish(mut self, outcome: Outcome) -> Finish {
        self.finished = None;
        Finish { tag: self.tag, outcome }
    }

    fn end(&mut self, outcome: Outcome) {
        if let Some(finished) = self.finished.take() {
            finished.push(Finish { tag: self.tag, outcome });
        }
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.end(Err(Status::INTERNAL_ERROR));
    }
}
