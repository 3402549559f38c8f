//! Failures and delays at chosen operations.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use nvmf_transport::{Buffer, Gather};
use nvmf_wire::Status;

use super::run_with;
use crate::backend::{Backend, Buffers, Geometry, Kept, Operation, Outcome, Progress, Ticket};

/// In which order withheld completions are released.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// As they were submitted.
    Arrival,
    /// The last first.
    Reverse,
    /// Any, by a seed.
    Shuffled(u64),
}

/// A backend with faults on request. Without requests it is the backend it wraps.
#[derive(Debug)]
pub struct Faulty {
    inner: Arc<dyn Backend>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    submitted: u64,
    failures: Vec<(u64, Status)>,
    /// Bytes that may still be written.
    room: Option<u64>,
    holding: bool,
    held: Vec<(Kept, Outcome)>,
}

impl Faulty {
    /// Wraps a backend.
    pub fn new(inner: Arc<dyn Backend>) -> Self {
        Self { inner, state: Mutex::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many operations were submitted so far, whatever became of them.
    pub fn submitted(&self) -> u64 {
        self.state().submitted
    }

    /// Makes the `n`th operation from now on (1 is the next) end with `status` and have no effect.
    pub fn fail_nth(&self, n: u64, status: Status) {
        let mut state = self.state();
        let at = state.submitted.saturating_add(n);
        state.failures.push((at, status));
    }

    /// Lets `bytes` more bytes be written, after which writes end with Capacity Exceeded; `None` lifts the limit.
    pub fn limit_writes(&self, bytes: Option<u64>) {
        self.state().room = bytes;
    }

    /// From now on carries operations out but withholds their completions.
    pub fn hold(&self) {
        self.state().holding = true;
    }

    /// How many completions are withheld.
    pub fn held(&self) -> usize {
        self.state().held.len()
    }

    /// Ends withholding, and delivers what was withheld.
    pub fn release(&self, order: Order) {
        let mut held = {
            let mut state = self.state();
            state.holding = false;
            std::mem::take(&mut state.held)
        };
        match order {
            Order::Arrival => {}
            Order::Reverse => held.reverse(),
            Order::Shuffled(seed) => shuffle(&mut held, seed),
        }
        for (ticket, outcome) in held {
            ticket.finish(outcome);
        }
    }

    /// Delivers the withheld completion at `index` (in order of arrival) and goes on withholding; `false` if there is none.
    pub fn release_one(&self, index: usize) -> bool {
        let mut state = self.state();
        if index >= state.held.len() {
            return false;
        }
        let (ticket, outcome) = state.held.remove(index);
        drop(state);
        ticket.finish(outcome);
        true
    }
}

/// Fisher-Yates, with a xorshift generator that a seed replays.
fn shuffle<T>(list: &mut [T], seed: u64) {
    let mut random = seed | 1;
    for end in (1..list.len()).rev() {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        let other = (random % (end as u64 + 1)) as usize;
        list.swap(end, other);
    }
}

impl State {
    /// Counts the operation and says whether it must fail.
    fn admit(&mut self, operation: &Operation) -> Result<(), Status> {
        self.submitted = self.submitted.saturating_add(1);
        let now = self.submitted;
        if let Some(at) = self.failures.iter().position(|(nth, _)| *nth == now) {
            return Err(self.failures.swap_remove(at).1);
        }
        if let (Operation::Write { data, .. }, Some(room)) = (operation, &mut self.room) {
            *room = room.checked_sub(data.len() as u64).ok_or(Status::CAPACITY_EXCEEDED.with_dnr())?;
        }
        Ok(())
    }
}

impl Backend for Faulty {
    fn geometry(&self) -> &Geometry {
        self.inner.geometry()
    }

    fn describe(&self) -> String {
        format!("faulty {}", self.inner.describe())
    }

    fn landing(&self, slba: u64, len: usize) -> Option<Buffer> {
        self.inner.landing(slba, len)
    }

    fn submit(&self, operation: Operation, buffers: &mut dyn Buffers, ticket: Ticket<'_>) -> Progress {
        let mut state = self.state();
        let admitted = state.admit(&operation);
        if !state.holding {
            drop(state);
            return match admitted {
                Ok(()) => self.inner.submit(operation, buffers, ticket),
                Err(status) => status.into(),
            };
        }
        drop(state);
        let outcome: Result<Gather, Status> =
            admitted.and_then(|()| run_with(&*self.inner, operation, buffers));
        let mut state = self.state();
        if state.holding {
            state.held.push((ticket.keep(), outcome));
            return Progress::Pending;
        }
        Progress::Done(outcome)
    }
}
