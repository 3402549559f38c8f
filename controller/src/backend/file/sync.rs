//! Flush and FUA: one `fdatasync` at a time, many waiters per call, and no forgiveness.
//!
//! Linux reports a failed write-back once per open file: whichever `fdatasync` comes first hears of it, the next one succeeds
//! although the data are gone, and the pages are clean so that nothing ever writes them again. Hence the two rules here.
//! *One at a time*: of two concurrent calls that cover the same lost write only one would fail. *Sticky*: after one failure every
//! write, Flush and FUA fails until the backend is opened anew, when the host can look at what is really stored.
//!
//! FUA is a plain write followed by `fdatasync`, not `RWF_DSYNC`: an error of the latter does not say whether the write
//! failed (harmless, it was never acknowledged) or the write-back of somebody else's data did.

//!
//! Whoever comes when nobody syncs has the duty to, for itself and all who come meanwhile, until nobody waits: a worker thread by
//! blocking, an engine thread by a call in its ring that comes back as a completion.

use std::sync::{
    Mutex, MutexGuard, PoisonError,
    atomic::{AtomicBool, Ordering},
    mpsc::{SyncSender, sync_channel},
};

use nvmf_transport::Gather;
use nvmf_wire::Status;
use rustix::io::{Errno, retry_on_intr};

use super::disk::Disk;
use crate::backend::{Kept, report::Report};

/// The state of one file's durability.
#[derive(Default)]
pub(super) struct Durability {
    waiting: Mutex<Waiting>,
    /// Written data may be gone.
    lost: AtomicBool,
}

#[derive(Default)]
struct Waiting {
    waiters: Vec<Waiter>,
    /// Somebody has the duty to sync and will look here again.
    attended: bool,
}

/// Who waits for a sync.
pub(super) enum Waiter {
    /// An operation that ends with it.
    Ticket(Kept),
    /// A worker thread that goes on when it has ended.
    Thread(SyncSender<Result<(), Status>>),
}

/// The duty to sync, and those it is done for.
#[must_use]
pub(super) struct Duty(Vec<Waiter>);

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Durability {
    /// Whether an earlier sync failed.
    pub(super) fn is_lost(&self) -> bool {
        self.lost.load(Ordering::Acquire)
    }

    /// Lets `waiter` wait until everything written before the call is durable. Answers the duty to sync if nobody has it:
    /// the sync begins after this call, and [`Durability::synced`] takes its outcome.
    pub(super) fn join(&self, waiter: Waiter) -> Option<Duty> {
        let mut waiting = lock(&self.waiting);
        waiting.waiters.push(waiter);
        if std::mem::replace(&mut waiting.attended, true) {
            return None;
        }
        self.next(&mut waiting, Vec::new())
    }

    /// Those who wait now, if a sync is of use to them. Who comes later is covered by the next round only.
    fn next(&self, waiting: &mut Waiting, mut batch: Vec<Waiter>) -> Option<Duty> {
        std::mem::swap(&mut waiting.waiters, &mut batch);
        if self.is_lost() {
            end(&mut batch, Err(Status::WRITE_FAULT.with_dnr()));
        }
        waiting.attended = !batch.is_empty();
        waiting.attended.then_some(Duty(batch))
    }

    /// Ends those a sync was for. Answers the duty to sync again if others have come meanwhile.
    pub(super) fn synced(&self, mut duty: Duty, outcome: Result<(), Errno>, report: &Report) -> Option<Duty> {
        let outcome = outcome.map_err(|errno| {
            self.lost.store(true, Ordering::Release);
            let status = Status::WRITE_FAULT.with_dnr();
            report.failure("sync (writes, Flush and FUA fail from now on)", &errno, status);
            status
        });
        end(&mut duty.0, outcome);
        self.next(&mut lock(&self.waiting), duty.0)
    }

    /// Does a duty, blocking.
    pub(super) fn attend(&self, duty: Option<Duty>, disk: &dyn Disk, report: &Report) {
        let mut duty = duty;
        while let Some(now) = duty {
            duty = self.synced(now, retry_on_intr(|| disk.sync()), report);
        }
    }

    /// Makes everything durable that was written before the call.
    pub(super) fn sync(&self, disk: &dyn Disk, report: &Report) -> Result<(), Status> {
        let (sender, ended) = sync_channel(1);
        self.attend(self.join(Waiter::Thread(sender)), disk, report);
        ended.recv().unwrap_or(Err(Status::INTERNAL_ERROR))
    }

    /// Ends an operation once everything written before the call is durable: by this thread, or by whoever syncs already.
    pub(super) fn finish(&self, ticket: Kept, disk: &dyn Disk, report: &Report) {
        self.attend(self.join(Waiter::Ticket(ticket)), disk, report);
    }
}

fn end(batch: &mut Vec<Waiter>, outcome: Result<(), Status>) {
    for waiter in batch.drain(..) {
        match waiter {
            Waiter::Ticket(ticket) => ticket.finish(outcome.map(|()| Gather::new())),
            // A thread that has panicked meanwhile does not listen.
            Waiter::Thread(thread) => drop(thread.try_send(outcome)),
        }
    }
}
