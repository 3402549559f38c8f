//! For tests only: backends that fail, stall and lose power on request, and a way to run one operation to its end.
//!
//! [`Faulty`] makes chosen operations fail, withholds completions and releases them in another order, and runs out of space.
//! [`Volatile`] is a disk with a write cache that forgets it in a [crash](Volatile::crash). Both wrap any backend and are
//! public so that the session, the conformance suite and the program can be tested against misfortune. Neither is fast, and both
//! may block the submitting thread: nothing here belongs under a served namespace.

use nvmf_transport::{Memory, Pages, Wake};
use nvmf_wire::Status;
use rustix::event::{PollFd, PollFlags, poll};

use super::{Backend, Buffers, Finished, Operation, Outcome, Progress};

mod faults;
#[cfg(test)]
mod tests;
mod volatile;

pub use faults::{Faulty, Order};
pub use volatile::Volatile;

/// Runs one operation to its end, blocking. The data of reads come in plain pages.
pub fn run(backend: &dyn Backend, operation: Operation) -> Outcome {
    let mut pages: &dyn Memory = &Pages;
    run_with(backend, operation, &mut pages)
}

/// [`run`] with the caller's memory for the data of reads.
pub fn run_with(backend: &dyn Backend, operation: Operation, buffers: &mut dyn Buffers) -> Outcome {
    let wake = Wake::new().map_err(|_| Status::INTERNAL_ERROR)?;
    let finished = Finished::new(wake.clone());
    let mut ended = Vec::new();
    match backend.submit(operation, buffers, finished.ticket(0)) {
        Progress::Done(outcome) => return outcome,
        Progress::Pending => {}
    }
    loop {
        let _ = poll(&mut [PollFd::new(&wake, PollFlags::IN)], None);
        wake.clear();
        finished.drain(&mut ended);
        if let Some(finish) = ended.pop() {
            return finish.outcome;
        }
    }
}
