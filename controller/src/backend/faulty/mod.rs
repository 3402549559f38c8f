//! For tests only: backends that fail, stall and lose power on request, and a way to run one operation to its end.
//!
//! [`Faulty`] makes chosen operations fail, withholds completions and releases them in another order, and runs out of space.
//! [`Volatile`] is a disk with a write cache that forgets it in a [crash](Volatile::crash). Both wrap any backend and are
//! public so that the session, the conformance suite and the program can be tested against misfortune. Neither is fast, and both
//! may block the submitting thread: nothing here belongs under a served namespace.

use nvmf_transport::{Buffer, Memory, Pages, Wake};
use nvmf_wire::Status;
use rustix::event::{PollFd, PollFlags, poll};
use smallvec::SmallVec;

use super::{Backend, Buffers, Finished, Operation, Outcome, Progress, Ring};

mod faults;
#[cfg(test)]
mod tests;
mod volatile;

pub use faults::{Faulty, Order};
pub use volatile::Volatile;

/// Somebody's memory and a ring.
struct Ringed<'a>(&'a mut dyn Buffers, &'a mut Ring);

impl Buffers for Ringed<'_> {
    fn take(&mut self, len: usize) -> Option<Buffer> {
        self.0.take(len)
    }

    fn ring(&mut self) -> Option<&mut Ring> {
        Some(self.1)
    }
}

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
    let mut ring = Ring::new();
    match backend.submit(operation, &mut Ringed(buffers, &mut ring), finished.ticket(0)) {
        Progress::Done(outcome) => return outcome,
        Progress::Pending => {}
    }
    loop {
        ring.advance(&mut ended);
        finished.drain(&mut ended);
        if let Some(finish) = ended.pop() {
            return finish.outcome;
        }
        // A simulated ring goes on whenever it is looked at.
        if ring.in_flight() == 0 || ring.wait_handle().is_some() {
            let mut handles: SmallVec<[PollFd<'_>; 2]> = SmallVec::new();
            handles.push(PollFd::new(&wake, PollFlags::IN));
            handles.extend(ring.wait_handle().map(|ring| PollFd::from_borrowed_fd(ring, PollFlags::IN)));
            let _ = poll(&mut handles, None);
            wake.clear();
        }
    }
}
