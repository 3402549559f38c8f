//! The load itself: one thread that keeps every queue full, polls, and notes how long each command took.
//!
//! Submitting and completing happen in the same loop, so that what is measured is the transport and the controller and not the
//! wake-up of a thread. Buffers are made before the clock starts; the loop allocates nothing of its own.

use std::time::{Duration, Instant};

use nvmf_host::{Done, IoError, Op};
use nvmf_transport::Buffer;

use super::report::Latencies;
use crate::{
    args::Pattern,
    disk::{Disk, clock},
    failure::{Code, Failure},
    pattern::{self, Random},
    processor::Usage,
};

/// What to do.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    /// Which places, and how many of them are read.
    pub(crate) pattern: Pattern,
    /// The size of one I/O.
    pub(crate) block_size: u32,
    /// Queues to use.
    pub(crate) queues: u16,
    /// Commands outstanding on each.
    pub(crate) depth: u16,
    /// Bytes of the namespace to use.
    pub(crate) span: u64,
    /// Whether writes carry a pattern that reads compare with.
    pub(crate) verify: bool,
    /// Of places and contents.
    pub(crate) seed: u64,
    /// Run this long before measuring.
    pub(crate) warm_up: Duration,
    /// Measure this long.
    pub(crate) seconds: Duration,
}

/// What was found.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) reads: Latencies,
    pub(crate) writes: Latencies,
    pub(crate) errors: u64,
    /// The last of them.
    pub(crate) last_error: Option<Failure>,
    pub(crate) verified: u64,
    /// How long was measured.
    pub(crate) took: Duration,
    /// Processor time of this thread and of the process.
    pub(crate) thread: Duration,
    pub(crate) process: Duration,
}

/// A command that may be outstanding.
#[derive(Clone, Copy, Debug)]
struct Slot {
    queue: u16,
    at: u64,
    started: Instant,
    write: bool,
    /// Whether what is read is known.
    known: bool,
}

struct Load<'a> {
    disk: &'a mut Disk,
    shape: Shape,
    slots: Vec<Slot>,
    random: Random,
    places: u64,
    next: u64,
    /// One bit per place that was written.
    written: Vec<u64>,
    found: Found,
}

/// Runs a load to its end.
pub(crate) fn run(disk: &mut Disk, shape: &Shape) -> Result<Found, Failure> {
    let size = disk.block_size();
    if shape.block_size == 0 || !shape.block_size.is_multiple_of(size) {
        let message =
            format!("--block-size {}: not a multiple of the namespace's {size} bytes", shape.block_size);
        return Err(Failure::new(Code::Usage, "command line", message));
    }
    let places = shape.span.min(disk.bytes()) / u64::from(shape.block_size);
    if places == 0 {
        return Err(Failure::new(Code::OutOfRange, "namespace", "the namespace has no room for one I/O")
            .hint("choose a smaller --block-size or a larger --span"));
    }
    let now = clock();
    let slots = (0..shape.queues)
        .flat_map(|queue| (0..shape.depth).map(move |_| queue))
        .map(|queue| Slot { queue, at: 0, started: now, write: false, known: false })
        .collect();
    let bits = if shape.verify { places.div_ceil(64) } else { 0 };
    Load {
        slots,
        random: Random::new(shape.seed),
        places,
        next: 0,
        written: vec![0; usize::try_from(bits).unwrap_or(0)],
        found: Found {
            reads: Latencies::new(),
            writes: Latencies::new(),
            errors: 0,
            last_error: None,
            verified: 0,
            took: Duration::ZERO,
            thread: Duration::ZERO,
            process: Duration::ZERO,
        },
        shape: *shape,
        disk,
    }
    .run()
}

impl Load<'_> {
    fn run(mut self) -> Result<Found, Failure> {
        let memory = self.disk.memory();
        for slot in 0..self.slots.len() {
            let mut buffer = memory.allocate(self.shape.block_size as usize)?;
            // Without verification contents do not matter, but zeroes could be treated specially somewhere.
            pattern::fill(&mut buffer, slot as u64 * u64::from(self.shape.block_size), self.shape.seed);
            self.issue(slot, buffer, clock())?;
        }
        let begin = clock();
        let mut from = begin + self.shape.warm_up;
        let mut measuring = false;
        let mut usage = Usage::now();
        let mut outstanding = self.slots.len();
        let mut running = true;
        let mut done = Vec::with_capacity(outstanding);
        while outstanding > 0 {
            let now = clock();
            let worked = self.disk.poll(now, &mut done)?;
            let after = clock();
            if running && !measuring && after >= from {
                (measuring, from, usage) = (true, after, Usage::now());
            }
            if running && measuring && after.duration_since(from) >= self.shape.seconds {
                running = false;
                self.found.took = after.duration_since(from);
                (self.found.thread, self.found.process) = Usage::now().since(usage);
            }
            for ended in done.drain(..) {
                let slot = usize::try_from(ended.user).unwrap_or(usize::MAX);
                let buffer = self.ended(slot, ended, after, running && measuring)?;
                match buffer {
                    Some(buffer) if running => self.issue(slot, buffer, after)?,
                    _ => outstanding -= 1,
                }
            }
            if !worked {
                self.disk.wait(after);
            }
        }
        match self.found.last_error {
            Some(failure) if self.found.reads.count() + self.found.writes.count() == 0 => Err(failure),
            _ => Ok(self.found),
        }
    }

    /// Notes the end of a command; answers its buffer.
    fn ended(
        &mut self,
        slot: usize,
        ended: Done,
        now: Instant,
        count: bool,
    ) -> Result<Option<Buffer>, Failure> {
        let Some(&Slot { at, started, write, known, .. }) = self.slots.get(slot) else {
            return Ok(None);
        };
        let buffer = ended.data.into_buffer();
        match ended.result {
            Ok(_) => {
                let latency = now.saturating_duration_since(started);
                let place = at / u64::from(self.shape.block_size);
                if write {
                    self.mark(place);
                } else if let (true, Some(data)) = (known, &buffer) {
                    if let Some(byte) = pattern::mismatch(data, at, self.shape.seed) {
                        let message = format!("byte {byte} is not what was written");
                        return Err(Failure::new(Code::Verify, "verify", message));
                    }
                    self.found.verified += 1;
                }
                if count {
                    let side = if write { &mut self.found.writes } else { &mut self.found.reads };
                    side.record(latency);
                }
            }
            Err(error @ (IoError::Disconnected | IoError::FastFail | IoError::Lost | IoError::Closed)) => {
                return Err(self.disk.failure(error));
            }
            Err(error) => {
                self.found.errors += 1;
                if self.found.last_error.is_none() {
                    tracing::warn!(%error, at, write, "an I/O failed; further ones are only counted");
                }
                self.found.last_error = Some(self.disk.failure(error));
            }
        }
        Ok(buffer)
    }

    fn issue(&mut self, slot: usize, mut buffer: Buffer, now: Instant) -> Result<(), Failure> {
        let Shape { pattern, verify, seed, block_size, .. } = self.shape;
        let place = if pattern.random {
            self.random.below(self.places)
        } else {
            let place = self.next;
            self.next = if place + 1 < self.places { place + 1 } else { 0 };
            place
        };
        let write = match pattern.reads {
            0 => true,
            100 => false,
            reads => self.random.below(100) >= u64::from(reads),
        };
        let at = place * u64::from(block_size);
        let known = verify && self.is_marked(place);
        if write && verify {
            pattern::fill(&mut buffer, at, seed);
        }
        let Some(mine) = self.slots.get_mut(slot) else { return Ok(()) };
        *mine = Slot { queue: mine.queue, at, started: now, write, known };
        let queue = mine.queue;
        let start = at / u64::from(self.disk.block_size());
        let op = if write {
            Op::Write { start, data: buffer, fua: false }
        } else {
            Op::Read { start, data: buffer }
        };
        self.disk.submit(slot as u64, Some(queue), op, now)
    }

    fn mark(&mut self, place: u64) {
        if let Some(word) = self.written.get_mut((place / 64) as usize) {
            *word |= 1 << (place % 64);
        }
    }

    fn is_marked(&self, place: u64) -> bool {
        self.written.get((place / 64) as usize).is_some_and(|word| word & (1 << (place % 64)) != 0)
    }
}
