//! A disk with a page cache, in memory: partial and interrupted calls by a seed, failures on request, and Linux's way of
//! reporting a failed write-back once.

use std::{
    io::{IoSlice, IoSliceMut},
    marker::PhantomData,
    sync::{
        Arc, Condvar, Mutex, MutexGuard,
        atomic::{AtomicBool, Ordering},
    },
};

use rustix::io::Errno;

use super::super::disk::{Disk, Wait, Way};

/// Which call a failure is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::backend::file) enum Call {
    Read,
    Write,
    Sync,
    Punch,
    Zero,
}

pub(in crate::backend::file) struct SimDisk {
    state: Mutex<State>,
    gate: Condvar,
    /// Reads, writes and syncs come through a ring.
    ringed: AtomicBool,
}

struct State {
    durable: Vec<u8>,
    cached: Vec<u8>,
    /// What the file was cut to.
    len: usize,
    /// Interrupt, shorten and refuse to go without waiting.
    rough: bool,
    random: u64,
    failures: Vec<(Call, Errno)>,
    syncs: u32,
    /// Syncs wait while this is set.
    closed: bool,
    punches: bool,
    zeroes: bool,
}

impl SimDisk {
    pub(in crate::backend::file) fn new(bytes: usize) -> Arc<Self> {
        let state = State {
            durable: vec![0; bytes],
            cached: vec![0; bytes],
            len: bytes,
            rough: false,
            random: 0x9E37_79B9_7F4A_7C15,
            failures: Vec::new(),
            syncs: 0,
            closed: false,
            punches: true,
            zeroes: true,
        };
        Arc::new(Self { state: Mutex::new(state), gate: Condvar::new(), ringed: AtomicBool::new(false) })
    }

    pub(in crate::backend::file) fn rough(bytes: usize, seed: u64) -> Arc<Self> {
        let disk = Self::new(bytes);
        disk.state().rough = true;
        disk.state().random ^= seed;
        disk
    }

    /// Lets reads, writes and syncs come through a ring, or not.
    pub(in crate::backend::file) fn ringed(self: Arc<Self>, ringed: bool) -> Arc<Self> {
        self.ringed.store(ringed, Ordering::Relaxed);
        self
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    pub(in crate::backend::file) fn size(&self) -> u64 {
        self.state().cached.len() as u64
    }

    /// The next call of a kind fails.
    pub(in crate::backend::file) fn fail(&self, call: Call, errno: Errno) {
        self.state().failures.push((call, errno));
    }

    /// Whether holes can be punched and ranges zeroed.
    pub(in crate::backend::file) fn support(&self, punches: bool, zeroes: bool) {
        let mut state = self.state();
        (state.punches, state.zeroes) = (punches, zeroes);
    }

    pub(in crate::backend::file) fn truncate(&self, len: usize) {
        self.state().len = len;
    }

    pub(in crate::backend::file) fn syncs(&self) -> u32 {
        self.state().syncs
    }

    /// Lets syncs begin but not end.
    pub(in crate::backend::file) fn close(&self) {
        self.state().closed = true;
    }

    pub(in crate::backend::file) fn open(&self) {
        self.state().closed = false;
        self.gate.notify_all();
    }

    /// The power fails; what remains.
    pub(in crate::backend::file) fn crash(&self) -> Vec<u8> {
        self.state().durable.clone()
    }
}

impl State {
    fn roll(&mut self, sides: u64) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random % sides
    }

    fn requested(&mut self, call: Call) -> Result<(), Errno> {
        match self.failures.iter().position(|(at, _)| *at == call) {
            Some(at) => Err(self.failures.remove(at).1),
            None => Ok(()),
        }
    }

    /// How much of `len` bytes this call does.
    fn begin(&mut self, call: Call, len: usize, wait: Wait) -> Result<usize, Errno> {
        if !self.rough {
            // Like a file system that cannot be asked not to wait; requested failures are then met by the workers.
            if wait == Wait::Never {
                return Err(Errno::AGAIN);
            }
            self.requested(call)?;
            return Ok(len);
        }
        if wait == Wait::Never && self.roll(2) == 0 {
            return Err(Errno::AGAIN);
        }
        if self.roll(4) == 0 {
            return Err(Errno::INTR);
        }
        match self.roll(3) {
            0 => Ok(len),
            _ => Ok(self.roll(len as u64) as usize + 1),
        }
    }
}

impl Disk for Arc<SimDisk> {
    fn read(&self, into: &mut [IoSliceMut<'_>], offset: u64, wait: Wait) -> Result<usize, Errno> {
        let mut state = self.state();
        let offset = offset as usize;
        let wanted: usize = into.iter().map(|piece| piece.len()).sum();
        let len = wanted.min(state.len.saturating_sub(offset));
        if len == 0 {
            return Ok(0);
        }
        let len = state.begin(Call::Read, len, wait)?;
        let mut from = &state.cached[offset..offset + len];
        for piece in into {
            let part = piece.len().min(from.len());
            piece[..part].copy_from_slice(&from[..part]);
            from = &from[part..];
        }
        Ok(len)
    }

    fn write(&self, from: &[IoSlice<'_>], offset: u64, wait: Wait) -> Result<usize, Errno> {
        let mut state = self.state();
        let offset = offset as usize;
        let all = from.iter().flat_map(|piece| piece.iter().copied()).collect::<Vec<_>>();
        assert!(!all.is_empty() && offset + all.len() <= state.cached.len());
        let len = state.begin(Call::Write, all.len(), wait)?;
        state.cached[offset..offset + len].copy_from_slice(&all[..len]);
        Ok(len)
    }

    fn sync(&self) -> Result<(), Errno> {
        let mut state = self.state();
        state.syncs += 1;
        if state.rough && state.roll(3) == 0 {
            return Err(Errno::INTR);
        }
        let covered = state.cached.clone();
        while state.closed {
            state = self.gate.wait(state).unwrap();
        }
        // If this fails the pages count as clean all the same: the next sync finds nothing to write and succeeds.
        state.requested(Call::Sync)?;
        state.durable = covered;
        Ok(())
    }

    fn punch(&self, offset: u64, len: u64) -> Result<(), Errno> {
        let mut state = self.state();
        state.requested(Call::Punch)?;
        if !state.punches {
            return Err(Errno::OPNOTSUPP);
        }
        assert!(len > 0);
        if state.rough && state.roll(3) == 0 {
            return Err(Errno::INTR);
        }
        state.cached[offset as usize..(offset + len) as usize].fill(0);
        Ok(())
    }

    fn zero(&self, offset: u64, len: u64) -> Result<(), Errno> {
        let mut state = self.state();
        state.requested(Call::Zero)?;
        if !state.zeroes {
            return Err(Errno::OPNOTSUPP);
        }
        assert!(len > 0);
        if state.rough && state.roll(3) == 0 {
            return Err(Errno::INTR);
        }
        state.cached[offset as usize..(offset + len) as usize].fill(0);
        Ok(())
    }

    fn covers(&self, bytes: u64) -> bool {
        self.state().len as u64 >= bytes
    }

    fn alignment(&self) -> usize {
        1
    }

    fn way(&self) -> Way<'_> {
        if self.ringed.load(Ordering::Relaxed) { Way::Simulated(PhantomData) } else { Way::Calls }
    }
}
