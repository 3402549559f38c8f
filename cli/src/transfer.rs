//! Moving bytes from a source to a sink, many pieces at a time.
//!
//! A piece is a buffer and its place. Sources fill pieces and sinks take them, at once (files, pipes) or later (namespaces), in
//! any order; as many pieces as the queues hold are under way. `read`, `write` and `copy` are this loop with different ends.
//! Start with [`transfer`].

mod compare;
mod file;
mod namespace;
mod stream;

use std::{os::fd::BorrowedFd, sync::Arc, time::Instant};

use nvmf_transport::{Buffer, Memory, WaitPolicy, Waiter};

pub(crate) use compare::CompareSink;
pub(crate) use file::{FileSink, FileSource};
pub(crate) use namespace::{NamespaceSink, NamespaceSource, Tail, Writing};
pub(crate) use stream::{StreamSink, StreamSource};

use crate::{
    failure::{Code, Failure},
    progress::Progress,
};

/// Bytes and their place, counted from the beginning of the transfer.
#[derive(Debug)]
pub(crate) struct Piece {
    /// Where they belong.
    pub(crate) at: u64,
    /// The room for them, or they themselves.
    pub(crate) data: Buffer,
    /// How many of them count.
    pub(crate) len: usize,
}

impl Piece {
    /// The bytes.
    pub(crate) fn bytes(&self) -> &[u8] {
        self.data.get(..self.len).unwrap_or_default()
    }

    /// The room.
    pub(crate) fn room(&mut self) -> &mut [u8] {
        self.data.get_mut(..self.len).unwrap_or_default()
    }
}

/// What an end waits for, if it has something under way.
pub(crate) type Waiting<'a> = Option<(BorrowedFd<'a>, Option<Instant>)>;

/// What both ends share.
pub(crate) trait End {
    /// Moves what is under way forward, without blocking, and appends the pieces that are done.
    fn collect(&mut self, now: Instant, done: &mut Vec<Piece>) -> Result<(), Failure>;

    /// What to wait for when nothing moved.
    fn waiting(&self) -> Waiting<'_>;
}

/// Where bytes come from.
pub(crate) trait Source: End {
    /// Fills a piece: at once, or by a later [`End::collect`]. A piece that comes back shorter was the last one.
    fn fill(&mut self, piece: Piece) -> Result<Option<Piece>, Failure>;
}

/// Where bytes go.
pub(crate) trait Sink: End {
    /// Takes a piece: at once, or by a later [`End::collect`].
    fn take(&mut self, piece: Piece) -> Result<Option<Piece>, Failure>;

    /// Makes sure of everything that was taken.
    fn finish(&mut self) -> Result<(), Failure>;
}

/// How to cut what is transferred.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    /// How much; `None` is all that the source has.
    pub(crate) length: Option<u64>,
    /// The size of a piece.
    pub(crate) chunk: usize,
    /// Where within a chunk the first byte lies, so that all later pieces begin at whole chunks.
    pub(crate) skew: usize,
    /// Pieces under way at a time.
    pub(crate) pieces: usize,
}

impl Plan {
    /// As many pieces of `chunk` bytes as `commands` allow, within a bounded memory.
    pub(crate) fn new(length: Option<u64>, chunk: u32, skew: u64, commands: usize) -> Self {
        const MEMORY: usize = 64 << 20;
        let chunk = chunk as usize;
        Self {
            length,
            chunk,
            skew: (skew % chunk as u64) as usize,
            pieces: (MEMORY / chunk).min(commands).max(1),
        }
    }
}

/// Transfers, and answers how many bytes it were.
#[expect(clippy::disallowed_methods, reason = "the program drives the engines and reads the clock for them")]
pub(crate) fn transfer(
    source: &mut dyn Source,
    sink: &mut dyn Sink,
    memory: &Arc<dyn Memory>,
    plan: Plan,
    progress: &mut Progress,
) -> Result<u64, Failure> {
    let mut free: Vec<Buffer> = Vec::new();
    let mut made = 0;
    let mut next = 0u64;
    let mut moved = 0u64;
    let mut under_way = 0usize;
    let mut ended = plan.length == Some(0);
    let (mut full, mut done) = (Vec::new(), Vec::new());
    let mut waiter = Waiter::new(WaitPolicy::default());
    while !ended || under_way > 0 {
        let mut idle = true;
        while !ended && full.is_empty() && (made < plan.pieces || !free.is_empty()) {
            let data = match free.pop() {
                Some(buffer) => buffer,
                None => {
                    made += 1;
                    memory.allocate(plan.chunk)?
                }
            };
            let aligned = plan.chunk - if next == 0 { plan.skew } else { 0 };
            let left = plan.length.map_or(u64::MAX, |length| length - next);
            let len = aligned.min(usize::try_from(left).unwrap_or(usize::MAX));
            let piece = Piece { at: next, data, len };
            next += len as u64;
            ended = plan.length == Some(next);
            under_way += 1;
            idle = false;
            if let Some(piece) = source.fill(piece)? {
                // Only a source that fills at once can be found to end early.
                ended |= piece.at + (piece.len as u64) < next;
                full.push(piece);
            }
        }
        let now = Instant::now();
        source.collect(now, &mut full)?;
        for piece in full.drain(..) {
            idle = false;
            done.extend(sink.take(piece)?);
        }
        sink.collect(now, &mut done)?;
        for piece in done.drain(..) {
            idle = false;
            under_way -= 1;
            moved += piece.len as u64;
            progress.add(piece.len as u64);
            free.push(piece.data);
        }
        if idle {
            let waiting: Vec<_> = [source.waiting(), sink.waiting()].into_iter().flatten().collect();
            if waiting.is_empty() {
                return Err(Failure::new(
                    Code::Internal,
                    "transfer",
                    "nothing moves and nothing is waited for",
                ));
            }
            let until = waiting.iter().filter_map(|(_, until)| *until).min();
            let handles: Vec<_> = waiting.iter().map(|(handle, _)| *handle).collect();
            waiter.idle(now, &handles, until);
        } else {
            waiter.worked(now);
        }
    }
    sink.finish()?;
    match plan.length {
        Some(length) if moved < length => Err(Failure::new(
            Code::LocalIo,
            "transfer",
            format!("the input ended after {moved} of {length} bytes"),
        )
        .hint("leave --length out to transfer what there is")),
        _ => Ok(moved),
    }
}

#[cfg(test)]
#[path = "transfer_tests.rs"]
mod tests;
