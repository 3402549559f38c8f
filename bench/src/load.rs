//! The load itself: one thread that keeps every queue full, polls, and notes how long each command took.
//!
//! Submitting and completing happen in the same loop, so that what is measured is the transport and the controller and not the
//! wake-up of a thread. Buffers are made before the clock starts; the loop allocates nothing of its own. Start at [`run`].

use std::time::{Duration, Instant};

use nvmf_host::{AssociationId, Done, Host, Io, IoError, Op, Why};
use nvmf_transport::Buffer;

use crate::{
    Pattern, clock, data,
    pattern::Places,
    window::{Found, Meter, Window},
};

/// What to do.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// Which places, and how many of them are read.
    pub pattern: Pattern,
    /// The size of one I/O.
    pub block_size: u32,
    /// Queues to use.
    pub queues: u16,
    /// Commands outstanding on each.
    pub depth: u16,
    /// Bytes of the namespace to use.
    pub span: u64,
    /// Whether writes carry a pattern that reads compare with.
    pub verify: bool,
    /// Of places and contents.
    pub seed: u64,
    /// Run this long before measuring.
    pub warm_up: Duration,
    /// Measure this long.
    pub seconds: Duration,
}

/// A namespace of an association that is up.
#[derive(Debug)]
pub struct Namespace<'a> {
    /// The thread's engine.
    pub host: &'a mut Host,
    /// The association.
    pub association: AssociationId,
    /// The namespace.
    pub nsid: u32,
    /// Its size in bytes.
    pub bytes: u64,
    /// The size of a logical block.
    pub block_size: u32,
}

/// Why a load did not run to its end, or what became of one command.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The size of one I/O is not a multiple of the namespace's blocks.
    #[error("I/Os of {size} bytes: not a multiple of the namespace's {block} bytes")]
    BlockSize {
        /// The size that was asked for.
        size: u32,
        /// The logical block size.
        block: u32,
    },
    /// Not one I/O fits.
    #[error("the namespace has no room for one I/O")]
    NoRoom,
    /// What was read is not what was written.
    #[error("byte {0} is not what was written")]
    Mismatch(u64),
    /// The association holds fewer requests than were to be outstanding.
    #[error("more requests than the association holds")]
    Full,
    /// The floor could not be measured.
    #[error("the floor's peer {peer}: {error}")]
    Floor {
        /// Where the peer is.
        peer: std::net::SocketAddr,
        /// What happened.
        error: std::io::Error,
    },
    /// A command failed, or the association was lost.
    #[error(transparent)]
    Io(#[from] IoError),
    /// The engine failed, or memory is short.
    #[error(transparent)]
    Transport(#[from] nvmf_transport::Error),
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
    namespace: Namespace<'a>,
    shape: Shape,
    slots: Vec<Slot>,
    places: Places,
    /// One bit per place that was written.
    written: Vec<u64>,
    found: Found,
}

/// Runs a load to its end.
pub fn run(namespace: Namespace<'_>, shape: &Shape, meter: &Meter) -> Result<Found, LoadError> {
    let block = namespace.block_size;
    if shape.block_size == 0 || !shape.block_size.is_multiple_of(block) {
        return Err(LoadError::BlockSize { size: shape.block_size, block });
    }
    let places = shape.span.min(namespace.bytes) / u64::from(shape.block_size);
    if places == 0 {
        return Err(LoadError::NoRoom);
    }
    let now = clock();
    let slots = (0..shape.queues)
        .flat_map(|queue| (0..shape.depth).map(move |_| queue))
        .map(|queue| Slot { queue, at: 0, started: now, write: false, known: false })
        .collect();
    let bits = if shape.verify { places.div_ceil(64) } else { 0 };
    Load {
        namespace,
        shape: *shape,
        slots,
        places: Places::new(shape.pattern, places, shape.seed),
        written: vec![0; usize::try_from(bits).unwrap_or(0)],
        found: Found::default(),
    }
    .run(meter)
}

/// Writes the first `span` bytes once, so that reads meet data and not the zeroes of memory that was never written.
pub fn fill(namespace: Namespace<'_>, depth: u16, span: u64, seed: u64) -> Result<(), LoadError> {
    let Namespace { host, association, nsid, bytes, block_size } = namespace;
    let chunk = u64::from(block_size.max(128 << 10));
    let end = span.min(bytes) / u64::from(block_size) * u64::from(block_size);
    let memory = host.memory();
    let (mut at, mut outstanding, mut done, mut spare) = (0, 0u16, Vec::new(), Vec::new());
    while at < end || outstanding > 0 {
        let now = clock();
        while at < end && outstanding < depth {
            let mut buffer: Buffer = match spare.pop() {
                Some(buffer) => buffer,
                None => memory.allocate(chunk as usize)?,
            };
            buffer.truncate((end - at) as usize);
            data::fill(&mut buffer, at, seed);
            let (start, len) = (at / u64::from(block_size), buffer.len() as u64);
            let op = Op::Write { start, data: buffer, fua: false };
            submit(host, association, Io { user: 0, nsid, op, queue: None }, now)?;
            (at, outstanding) = (at + len, outstanding + 1);
        }
        let worked = host.poll(now, &mut done)?;
        for ended in done.drain(..) {
            outstanding -= 1;
            ended.result?;
            spare.extend(ended.data.into_buffer());
        }
        if !worked {
            host.wait(now, &[]);
        }
    }
    Ok(())
}

#[inline]
fn submit(host: &mut Host, association: AssociationId, io: Io, now: Instant) -> Result<(), LoadError> {
    host.submit(association, io, now).map_err(|rejected| match rejected.why {
        Why::Error(error) => error.into(),
        Why::Full => LoadError::Full,
    })
}

impl Load<'_> {
    fn run(mut self, meter: &Meter) -> Result<Found, LoadError> {
        let memory = self.namespace.host.memory();
        for slot in 0..self.slots.len() {
            let mut buffer = memory.allocate(self.shape.block_size as usize)?;
            // Without verification contents do not matter, but zeroes could be treated specially somewhere.
            data::fill(&mut buffer, slot as u64 * u64::from(self.shape.block_size), self.shape.seed);
            self.issue(slot, buffer, clock())?;
        }
        let mut window = Window::open(meter, self.shape.warm_up, self.shape.seconds);
        let mut outstanding = self.slots.len();
        let mut done = Vec::with_capacity(outstanding);
        while outstanding > 0 {
            let now = clock();
            let worked = self.namespace.host.poll(now, &mut done)?;
            let after = clock();
            window.tick(after, &mut self.found);
            for ended in done.drain(..) {
                let slot = usize::try_from(ended.user).unwrap_or(usize::MAX);
                let buffer = self.ended(slot, ended, after, window.counts())?;
                match buffer {
                    Some(buffer) if window.running() => self.issue(slot, buffer, after)?,
                    _ => outstanding -= 1,
                }
            }
            if !worked {
                self.namespace.host.wait(after, &[]);
            }
        }
        match self.found.last_error {
            Some(error) if self.found.ios() == 0 => Err(error),
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
    ) -> Result<Option<Buffer>, LoadError> {
        let Some(&Slot { at, started, write, known, .. }) = self.slots.get(slot) else {
            return Ok(None);
        };
        let buffer = ended.data.into_buffer();
        match ended.result {
            Ok(_) => {
                let latency = now.saturating_duration_since(started);
                if write {
                    self.mark(at);
                } else if let (true, Some(data)) = (known, &buffer) {
                    if let Some(byte) = data::mismatch(data, at, self.shape.seed) {
                        return Err(LoadError::Mismatch(byte));
                    }
                    self.found.verified += 1;
                }
                if count {
                    let side = if write { &mut self.found.writes } else { &mut self.found.reads };
                    side.record(latency);
                }
            }
            Err(error @ (IoError::Disconnected | IoError::FastFail | IoError::Lost | IoError::Closed)) => {
                return Err(error.into());
            }
            Err(error) => {
                self.found.errors += 1;
                if self.found.last_error.is_none() {
                    tracing::warn!(%error, at, write, "an I/O failed; further ones are only counted");
                }
                self.found.last_error = Some(error.into());
            }
        }
        Ok(buffer)
    }

    fn issue(&mut self, slot: usize, mut buffer: Buffer, now: Instant) -> Result<(), LoadError> {
        let Shape { verify, seed, block_size, .. } = self.shape;
        let (place, write) = self.places.step();
        let at = place * u64::from(block_size);
        let known = verify && self.is_marked(at);
        if write && verify {
            data::fill(&mut buffer, at, seed);
        }
        let Some(mine) = self.slots.get_mut(slot) else { return Ok(()) };
        *mine = Slot { queue: mine.queue, at, started: now, write, known };
        let queue = Some(mine.queue);
        let start = at / u64::from(self.namespace.block_size);
        let op = if write {
            Op::Write { start, data: buffer, fua: false }
        } else {
            Op::Read { start, data: buffer }
        };
        let Namespace { nsid, association, .. } = self.namespace;
        submit(self.namespace.host, association, Io { user: slot as u64, nsid, op, queue }, now)
    }

    fn mark(&mut self, at: u64) {
        let place = at / u64::from(self.shape.block_size);
        if let Some(word) = self.written.get_mut((place / 64) as usize) {
            *word |= 1 << (place % 64);
        }
    }

    fn is_marked(&self, at: u64) -> bool {
        let place = at / u64::from(self.shape.block_size);
        self.written.get((place / 64) as usize).is_some_and(|word| word & (1 << (place % 64)) != 0)
    }
}
