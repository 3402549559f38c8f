//! Reads, writes and syncs of files through an io_uring of the engine thread that submits them.
//!
//! A [`Ring`] belongs to one thread, as a session does. Operations are noted in it while commands are looked at; one system
//! call hands all of them over, and what the page cache answers is done when it returns. The rest ends later: the ring's
//! descriptor, among those the thread waits for, becomes readable. No other thread, lock or wake-up is on the way, and nothing is
//! allocated per operation.
//!
//! A [`Call`] owns its memory and its file until the system has ended it; `flight` is where that is kept, and the only place with
//! `unsafe`. What a short or interrupted call means, and the order of writing and syncing, is decided here.
//!
//! Deliberately absent: everything rare (zeroes, Deallocate, Compare, Verify, reads with FUA), which is left to worker threads; and
//! registered files and buffers: see `docs/decisions/0006-file-backend.md`. Start at [`Ring`].

use std::{
    os::fd::BorrowedFd,
    sync::{Arc, Mutex, PoisonError},
};

use nvmf_transport::Gather;
use nvmf_wire::Status;
use rustix::io::Errno;

use super::{
    job::{Core, Room, SHORT, gathered},
    sync::{Duty, Waiter},
};
use crate::backend::{Finish, Kept};

mod flight;
#[cfg(test)]
mod tests;

use flight::Flights;
pub(in crate::backend::file) use flight::available;

/// One call to the system and what it needs, owned until it has ended.
pub(super) struct Call {
    pub(super) core: Arc<Core>,
    pub(super) kind: Kind,
}

pub(super) enum Kind {
    /// `done` bytes of `room` are filled.
    Read {
        ticket: Kept,
        offset: u64,
        room: Room,
        done: usize,
    },
    /// `done` bytes of `data` are written.
    Write {
        ticket: Kept,
        offset: u64,
        data: Gather,
        done: usize,
        fua: bool,
    },
    Sync {
        duty: Duty,
    },
}

/// The file operations of one thread that its system carries out. Makes an io_uring when the first of them comes, or does
/// without; dropping it waits for those under way.
#[derive(Default)]
pub struct Ring(State);

#[derive(Default)]
enum State {
    #[default]
    Untried,
    Refused,
    Open(Box<Flights>),
}

impl Ring {
    /// A ring for the calling thread. Asks the system for nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// What to wait for, once there is something.
    pub fn wait_handle(&self) -> Option<BorrowedFd<'_>> {
        match &self.0 {
            State::Open(flights) => flights.handle(),
            _ => None,
        }
    }

    /// Operations that have not ended.
    pub fn in_flight(&self) -> usize {
        match &self.0 {
            State::Open(flights) => flights.len(),
            _ => 0,
        }
    }

    /// Whether the system has not taken all that was handed over: call [`Ring::advance`] again soon.
    pub fn unsent(&self) -> bool {
        matches!(&self.0, State::Open(flights) if flights.queued() > 0)
    }

    /// Hands over what was submitted and appends what has ended. Call it after submitting and whenever the handle is readable.
    pub fn advance(&mut self, finishes: &mut Vec<Finish>) {
        let State::Open(flights) = &mut self.0 else { return };
        if flights.len() == 0 {
            return;
        }
        // Twice at most: for what an end gives rise to (the rest of a short call, the sync of a write with FUA).
        for _ in 0..2 {
            flights.enter();
            while let Some((call, result)) = flights.next_ended() {
                match ended(call, result) {
                    Next::Finish(finish) => finishes.push(finish),
                    Next::Call(call) => fly(flights, call),
                    Next::Nothing => {}
                }
            }
            if flights.queued() == 0 {
                break;
            }
        }
    }

    /// Whether another call can be taken: an io_uring is to be had, and not too much is under way.
    pub(super) fn takes(&mut self, core: &Core) -> bool {
        if let State::Untried = self.0 {
            self.0 = match Flights::new(core) {
                Ok(flights) => State::Open(Box::new(flights)),
                Err(why) => {
                    tracing::warn!(%why, "no io_uring for this thread: files are served by worker threads");
                    State::Refused
                }
            };
        }
        match &mut self.0 {
            State::Open(flights) => flights.has_room(),
            State::Untried | State::Refused => false,
        }
    }

    /// Starts a call, which [`Ring::takes`] has allowed.
    pub(super) fn start(&mut self, call: Call) {
        match &mut self.0 {
            State::Open(flights) => fly(flights, call),
            State::Untried | State::Refused => delegate(call),
        }
    }

    /// Ends an operation once everything written before the call is durable.
    pub(super) fn sync(&mut self, core: &Arc<Core>, ticket: Kept) {
        let Some(duty) = core.durability.join(Waiter::Ticket(ticket)) else { return };
        self.start(Call { core: Arc::clone(core), kind: Kind::Sync { duty } });
    }
}

impl std::fmt::Debug for Ring {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ring").field("in_flight", &self.in_flight()).finish_non_exhaustive()
    }
}

/// What is left to do when a call has ended.
enum Next {
    Finish(Finish),
    Call(Call),
    Nothing,
}

fn fly(flights: &mut Flights, call: Call) {
    // There is room; only a ring that has failed refuses.
    if let Err(call) = flights.start(call) {
        delegate(call);
    }
}

/// Ends what no ring takes any more. A host submits again what is interrupted; a sync, for which others wait, is done.
#[cold]
fn delegate(Call { core, kind }: Call) {
    match kind {
        Kind::Read { ticket, .. } | Kind::Write { ticket, .. } => {
            ticket.finish(Err(Status::COMMAND_INTERRUPTED))
        }
        Kind::Sync { duty } => {
            let duty = Arc::new(Mutex::new(Some(duty)));
            let attend = move |core: &Core, duty: &Mutex<Option<Duty>>| {
                let duty = duty.lock().unwrap_or_else(PoisonError::into_inner).take();
                core.durability.attend(duty, &*core.disk, &core.report);
            };
            let thread = std::thread::Builder::new().name("nvmf-sync".into());
            let (there, then) = (Arc::clone(&core), Arc::clone(&duty));
            if thread.spawn(move || attend(&there, &then)).is_err() {
                attend(&core, &duty);
            }
        }
    }
}

fn ended(Call { core, kind }: Call, result: Result<usize, Errno>) -> Next {
    let finish = |ticket: Kept, outcome| Next::Finish(ticket.into_finish(outcome));
    match (kind, result) {
        (kind, Err(Errno::INTR)) => Next::Call(Call { core, kind }),
        (Kind::Read { ticket, .. }, Ok(0)) => finish(ticket, Err(core.failure("read", SHORT))),
        (Kind::Read { ticket, .. }, Err(errno)) => finish(ticket, Err(core.failure("read", errno))),
        (Kind::Read { ticket, offset, room, done }, Ok(read)) => {
            let done = done.saturating_add(read);
            if done >= room.iter().map(|buffer| buffer.len()).sum() {
                finish(ticket, Ok(gathered(room)))
            } else {
                Next::Call(Call { core, kind: Kind::Read { ticket, offset, room, done } })
            }
        }
        (Kind::Write { ticket, .. }, Ok(0)) => finish(ticket, Err(core.failure("write", Errno::IO))),
        (Kind::Write { ticket, .. }, Err(errno)) => finish(ticket, Err(core.failure("write", errno))),
        (Kind::Write { ticket, offset, data, done, fua }, Ok(written)) => {
            let done = done.saturating_add(written);
            if done < data.len() {
                return Next::Call(Call { core, kind: Kind::Write { ticket, offset, data, done, fua } });
            }
            if !fua {
                return finish(ticket, Ok(Gather::new()));
            }
            match core.durability.join(Waiter::Ticket(ticket)) {
                Some(duty) => Next::Call(Call { core, kind: Kind::Sync { duty } }),
                None => Next::Nothing,
            }
        }
        (Kind::Sync { duty }, result) => match core.durability.synced(duty, result.map(drop), &core.report) {
            Some(duty) => Next::Call(Call { core, kind: Kind::Sync { duty } }),
            None => Next::Nothing,
        },
    }
}

/// What is under way ends first: the system may still read and write its memory.
impl Drop for Ring {
    fn drop(&mut self) {
        let State::Open(mut flights) = std::mem::take(&mut self.0) else { return };
        while flights.len() > 0 && flights.wait() {
            while let Some((call, result)) = flights.next_ended() {
                match ended(call, result) {
                    Next::Call(Call { core, kind: Kind::Sync { duty } }) => {
                        core.durability.attend(Some(duty), &*core.disk, &core.report);
                    }
                    // Nobody listens for operations of this thread any more.
                    Next::Call(_) | Next::Finish(_) | Next::Nothing => {}
                }
            }
        }
    }
}
