//! Calls under way, and the memory that the system reads and writes for them.
//!
//! The rule that makes this sound: a [`Call`] is put into a slot before the system learns of its memory, and is taken out when the
//! system has reported its end, or was never told of it. A buffer inside a call is a piece of a region on the heap, which does not
//! move with the call; nobody else has a handle that could write it, as buffers and views are owned by value. If the
//! system cannot be waited for, the slots are leaked and not freed.
#![allow(unsafe_code, reason = "hands addresses of memory that it owns to the system")]

use std::{
    collections::VecDeque,
    os::fd::{AsFd, BorrowedFd},
};

use rustix::io::Errno;

use super::{Call, Kind};
use crate::backend::file::{disk::Way, job::Core};

/// Calls under way at most. Beyond, worker threads help.
const SLOTS: usize = 512;
/// Calls handed over at once.
#[cfg(target_os = "linux")]
const QUEUE: u32 = 256;

/// Calls in slots, and the system that carries them out.
pub(super) struct Flights {
    system: System,
    slots: Box<[Option<Call>]>,
    free: Vec<u32>,
    /// Calls that the system has not been told of yet, in order.
    queued: VecDeque<u32>,
    /// The system has refused to go on: nothing new is started.
    failed: bool,
}

enum System {
    #[cfg(target_os = "linux")]
    Uring(Box<uring::Uring>),
    /// Carries calls out on the simulated disk of tests when asked what has ended.
    #[cfg(test)]
    Simulated(VecDeque<u32>),
    #[cfg(not(any(test, target_os = "linux")))]
    None(std::convert::Infallible),
}

/// Whether this process can have a ring, and if not, why.
pub(in crate::backend::file) fn available() -> Result<(), String> {
    #[cfg(target_os = "linux")]
    {
        static KNOWN: std::sync::OnceLock<Result<(), String>> = std::sync::OnceLock::new();
        let try_once = || uring::Uring::new(2, 2).map(drop).map_err(uring::explain);
        KNOWN.get_or_init(try_once).clone()
    }
    #[cfg(not(target_os = "linux"))]
    Err("io_uring is of Linux only".into())
}

impl Flights {
    /// For calls like those that `core` makes.
    pub(super) fn new(core: &Core) -> Result<Self, String> {
        let system = match core.disk.way() {
            #[cfg(test)]
            Way::Simulated(_) => System::Simulated(VecDeque::new()),
            #[cfg(target_os = "linux")]
            Way::File(_) => {
                System::Uring(Box::new(uring::Uring::new(QUEUE, SLOTS as u32 * 2).map_err(uring::explain)?))
            }
            _ => return Err("not a file of the system".into()),
        };
        Ok(Self {
            system,
            slots: (0..SLOTS).map(|_| None).collect(),
            free: (0..SLOTS as u32).rev().collect(),
            queued: VecDeque::with_capacity(SLOTS),
            failed: false,
        })
    }

    /// Calls that have not ended.
    pub(super) fn len(&self) -> usize {
        SLOTS - self.free.len()
    }

    /// Calls that have not been handed over.
    pub(super) fn queued(&self) -> usize {
        if self.failed { 0 } else { self.queued.len() }
    }

    pub(super) fn handle(&self) -> Option<BorrowedFd<'_>> {
        match &self.system {
            #[cfg(target_os = "linux")]
            System::Uring(uring) => Some(uring.as_fd()),
            #[cfg(test)]
            System::Simulated(_) => None,
            #[cfg(not(any(test, target_os = "linux")))]
            System::None(never) => match *never {},
        }
    }

    /// Notes a call, to be handed over with the next [`Flights::enter`]; gives it back if there is no room.
    pub(super) fn start(&mut self, call: Call) -> Result<(), Call> {
        if !self.has_room() {
            return Err(call);
        }
        let Some(slot) = self.free.pop() else { return Err(call) };
        let Some(place) = self.slots.get_mut(slot as usize) else { return Err(call) };
        let call = place.insert(call);
        match &mut self.system {
            #[cfg(target_os = "linux")]
            System::Uring(uring) => {
                // SAFETY: the call stays in its slot until the system has reported its end.
                let pushed = unsafe { uring.push(slot, call) };
                if !pushed {
                    self.free.push(slot);
                    return place.take().map_or(Ok(()), Err);
                }
            }
            #[cfg(test)]
            System::Simulated(_) => {
                let _ = call;
            }
            #[cfg(not(any(test, target_os = "linux")))]
            System::None(never) => match *never {},
        }
        self.queued.push_back(slot);
        Ok(())
    }

    /// Whether another call can be noted; hands over the others if that makes room.
    pub(super) fn has_room(&mut self) -> bool {
        if self.failed || self.free.is_empty() {
            return false;
        }
        #[cfg(target_os = "linux")]
        if let System::Uring(uring) = &mut self.system
            && uring.is_full()
        {
            self.enter();
            return match &mut self.system {
                System::Uring(uring) => !uring.is_full(),
                #[cfg(test)]
                System::Simulated(_) => true,
            };
        }
        true
    }

    /// Tells the system of the calls that were noted.
    pub(super) fn enter(&mut self) {
        if self.queued.is_empty() || self.failed {
            return;
        }
        let told = match &mut self.system {
            #[cfg(target_os = "linux")]
            System::Uring(uring) => uring.enter(),
            #[cfg(test)]
            System::Simulated(entered) => {
                entered.extend(self.queued.iter());
                Ok(self.queued.len())
            }
            #[cfg(not(any(test, target_os = "linux")))]
            System::None(never) => match *never {},
        };
        match told {
            Ok(told) => drop(self.queued.drain(..told.min(self.queued.len()))),
            // Too much is under way or memory is short: again at the next opportunity.
            Err(Errno::INTR | Errno::AGAIN | Errno::BUSY) => {}
            Err(errno) => {
                tracing::error!(%errno, "io_uring has failed: files are served by worker threads");
                self.failed = true;
            }
        }
    }

    /// A call that has ended, with what it has moved or why not.
    pub(super) fn next_ended(&mut self) -> Option<(Call, Result<usize, Errno>)> {
        let (slot, result) = self.completion().or_else(|| {
            // What a failed system was never told of.
            let slot = if self.failed { self.queued.pop_front()? } else { return None };
            Some((slot, Err(Errno::AGAIN)))
        })?;
        let call = self.slots.get_mut(slot as usize)?.take()?;
        self.free.push(slot);
        Some((call, result))
    }

    fn completion(&mut self) -> Option<(u32, Result<usize, Errno>)> {
        match &mut self.system {
            #[cfg(target_os = "linux")]
            System::Uring(uring) => {
                let (slot, result) = uring.completion()?;
                let moved = |moved| usize::try_from(moved).unwrap_or(0);
                Some((
                    slot,
                    if result < 0 { Err(Errno::from_raw_os_error(-result)) } else { Ok(moved(result)) },
                ))
            }
            #[cfg(test)]
            System::Simulated(entered) => {
                let slot = entered.pop_front()?;
                let call = self.slots.get_mut(slot as usize)?.as_mut()?;
                Some((slot, super::tests::carry_out(call)))
            }
            #[cfg(not(any(test, target_os = "linux")))]
            System::None(never) => match *never {},
        }
    }

    /// Waits until a call has ended. `false`: that cannot be waited for.
    pub(super) fn wait(&mut self) -> bool {
        self.enter();
        #[cfg(target_os = "linux")]
        if let System::Uring(uring) = &mut self.system
            && self.queued.len() < SLOTS - self.free.len()
        {
            use rustix::event::{PollFd, PollFlags, poll};
            let waited = poll(&mut [PollFd::from_borrowed_fd(uring.as_fd(), PollFlags::IN)], None);
            return matches!(waited, Ok(_) | Err(Errno::INTR));
        }
        true
    }
}

impl Drop for Flights {
    fn drop(&mut self) {
        // Whoever drops this has waited before. If that was in vain, the memory is the system's for ever.
        for slot in &mut self.slots {
            if let Some(call) = slot.take() {
                tracing::error!("a file operation did not end");
                std::mem::forget(call);
            }
        }
    }
}

#[cfg(target_os = "linux")]
mod uring {
    //! The system's io_uring.

    use std::{
        io,
        os::fd::{AsFd, AsRawFd, BorrowedFd},
    };

    use io_uring::{IoUring, opcode, squeue::Entry, types};
    use rustix::io::Errno;
    use smallvec::SmallVec;

    use super::{Call, Kind, Way};

    /// What one call takes in pieces at most (IOV_MAX). The rest is done as after a short call.
    const PIECES: usize = 1024;

    /// A piece of memory as the system wants it (`struct iovec`).
    #[repr(C)]
    struct Piece {
        start: *const u8,
        len: usize,
    }

    pub(super) struct Uring {
        ring: IoUring,
        /// The pieces of the call in each slot, where it has several. They stay in place until the slot is used again.
        pieces: Vec<SmallVec<[Piece; 2]>>,
    }

    // SAFETY: the addresses are of memory that the calls in the slots own, which may go from thread to thread with them.
    unsafe impl Send for Uring {}

    pub(super) fn explain(error: io::Error) -> String {
        let why = match Errno::from_io_error(&error) {
            Some(Errno::NOSYS) => "this kernel has none",
            Some(Errno::PERM | Errno::ACCESS) => {
                "not allowed here (kernel.io_uring_disabled, or a seccomp filter)"
            }
            Some(Errno::NOMEM) => "memory is short (or RLIMIT_MEMLOCK is low, before Linux 5.12)",
            _ => return format!("io_uring: {error}"),
        };
        format!("io_uring: {why}")
    }

    impl Uring {
        pub(super) fn new(queue: u32, completions: u32) -> io::Result<Self> {
            let mut builder = IoUring::builder();
            builder.dontfork().setup_clamp().setup_cqsize(completions);
            // Completions are looked for after system calls anyway: no interrupt has to say so (Linux 5.19).
            let modest = builder.clone();
            let ring = match builder.setup_coop_taskrun().build(queue) {
                Err(error) if Errno::from_io_error(&error) == Some(Errno::INVAL) => modest.build(queue)?,
                built => built?,
            };
            let parameters = ring.params();
            if !parameters.is_feature_nodrop() || !parameters.is_feature_rw_cur_pos() {
                return Err(io::Error::from_raw_os_error(Errno::NOSYS.raw_os_error()));
            }
            let mut pieces = Vec::new();
            pieces.resize_with(completions as usize, SmallVec::new);
            Ok(Self { ring, pieces })
        }

        pub(super) fn is_full(&mut self) -> bool {
            self.ring.submission().is_full()
        }

        /// Notes a call.
        ///
        /// # Safety
        ///
        /// The memory of `call` stays where it is, untouched by others, until [`Uring::completion`] has answered `slot`.
        pub(super) unsafe fn push(&mut self, slot: u32, call: &mut Call) -> bool {
            let Way::File(fd) = call.core.disk.way() else { return false };
            let fd = types::Fd(fd.as_raw_fd());
            let Some(pieces) = self.pieces.get_mut(slot as usize) else { return false };
            pieces.clear();
            let entry = match &mut call.kind {
                Kind::Read { offset, room, done, .. } => {
                    let mut skip = *done;
                    for buffer in room {
                        let part = buffer.get_mut(skip..).unwrap_or_default();
                        let len = part.len();
                        if len > 0 && pieces.len() < PIECES {
                            pieces.push(Piece { start: part.as_mut_ptr(), len });
                        }
                        skip = if len > 0 { 0 } else { skip - buffer.len() };
                    }
                    let at = offset.saturating_add(*done as u64);
                    match &pieces[..] {
                        [piece] => opcode::Read::new(fd, piece.start.cast_mut(), length(piece.len))
                            .offset(at)
                            .build(),
                        pieces => opcode::Readv::new(fd, pieces.as_ptr().cast(), length(pieces.len()))
                            .offset(at)
                            .build(),
                    }
                }
                Kind::Write { offset, data, done, .. } => {
                    let parts = data.slices(*done..data.len()).take(PIECES);
                    pieces.extend(parts.map(|part| Piece { start: part.as_ptr(), len: part.len() }));
                    let at = offset.saturating_add(*done as u64);
                    match &pieces[..] {
                        [piece] => opcode::Write::new(fd, piece.start, length(piece.len)).offset(at).build(),
                        pieces => opcode::Writev::new(fd, pieces.as_ptr().cast(), length(pieces.len()))
                            .offset(at)
                            .build(),
                    }
                }
                Kind::Sync { .. } => opcode::Fsync::new(fd).flags(types::FsyncFlags::DATASYNC).build(),
            };
            let entry: Entry = entry.user_data(slot.into());
            // SAFETY: the caller keeps the call's memory and file; the pieces stay in this slot's list, whose small vector is
            // not touched before the slot is used again, and the outer vector never grows.
            unsafe { self.ring.submission().push(&entry) }.is_ok()
        }

        /// Tells the system; answers of how many calls.
        pub(super) fn enter(&mut self) -> Result<usize, Errno> {
            self.ring.submit().map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))
        }

        pub(super) fn completion(&mut self) -> Option<(u32, i32)> {
            let entry = self.ring.completion().next()?;
            Some((u32::try_from(entry.user_data()).ok()?, entry.result()))
        }
    }

    /// A length as the system takes it; more is done as after a short call.
    fn length(bytes: usize) -> u32 {
        u32::try_from(bytes).unwrap_or(1 << 30)
    }

    impl AsFd for Uring {
        fn as_fd(&self) -> BorrowedFd<'_> {
            // SAFETY: the ring, and with it its descriptor, lives as long as the borrow.
            unsafe { BorrowedFd::borrow_raw(self.ring.as_raw_fd()) }
        }
    }
}
