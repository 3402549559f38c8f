//! Flush and FUA: one `fdatasync` at a time, many waiters per call, and no forgiveness.
//!
//! Linux reports a failed write-back once per open file: whichever `fdatasync` comes first hears of it, the next one succeeds
//! although the data are gone, and the pages are clean so that nothing ever writes them again. Hence the two rules here.
//! *One at a time*: of two concurrent calls that cover the same lost write only one would fail. *Sticky*: after one failure every
//! write, Flush and FUA fails until the backend is opened anew, when the host can look at what is really stored.
//!
//! FUA is a plain write followed by `fdatasync`, not `RWF_DSYNC`: an error of the latter does not say whether the write
//! failed (harmless, it was never acknowledged) or the write-back of somebody else's data did.

use std::sync::{
    Mutex, MutexGuard, PoisonError,
    atomic::{AtomicBool, Ordering},
};

use nvmf_transport::Gather;
use nvmf_wire::Status;
use rustix::io::retry_on_intr;

use super::disk::Disk;
use crate::backend::{Kept, report::Report};

/// The state of one file's durability.
#[derive(Default)]
pub(super) struct Durability {
    waiting: Mutex<Waiting>,
    /// Held during `fdatasync` and until its outcome is in `lost`.
    one_at_a_time: Mutex<()>,
    /// Written data may be gone.
    lost: AtomicBool,
}

#[derive(Default)]
struct Waiting {
    tickets: Vec<Kept>,
    /// Some thread is syncing and will look here again.
    attended: bool,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Durability {
    /// Whether an earlier sync failed.
    pub(super) fn is_lost(&self) -> bool {
        self.lost.load(Ordering::Acquire)
    }

    /// Makes everything durable that was written before the call.
    pub(super) fn sync(&self, disk: &dyn Disk, report: &Report) -> Result<(), Status> {
        let _one = lock(&self.one_at_a_time);
        if self.is_lost() {
            return Err(Status::WRITE_FAULT.with_dnr());
        }
        retry_on_intr(|| disk.sync()).map_err(|errno| {
            self.lost.store(true, Ordering::Release);
            let status = Status::WRITE_FAULT.with_dnr();
            report.failure("sync (writes, Flush and FUA fail from now on)", &errno, status);
            status
        })
    }

    /// Ends an operation once everything written before the call is durable: by this thread, or by the one that syncs already.
    pub(super) fn finish(&self, ticket: Kept, disk: &dyn Disk, report: &Report) {
        let mut waiting = lock(&self.waiting);
        waiting.tickets.push(ticket);
        if std::mem::replace(&mut waiting.attended, true) {
            return;
        }
        let mut batch = Vec::new();
        loop {
            // Only those that wait before the sync begins; who comes later is covered by the next round.
            std::mem::swap(&mut waiting.tickets, &mut batch);
            if batch.is_empty() {
                waiting.attended = false;
                return;
            }
            drop(waiting);
            let outcome = self.sync(disk, report);
            for ticket in batch.drain(..) {
                ticket.finish(outcome.map(|()| Gather::new()));
            }
            waiting = lock(&self.waiting);
        }
    }
}
