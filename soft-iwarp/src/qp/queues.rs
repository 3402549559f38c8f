//! The send and the receive queue: rings of work requests, all of whose memory is allocated once.

use crate::{
    config::QpConfig,
    verbs::{Completed, Operation, Payload, PostError, ReceiveRequest, SendRequest, Sge, Status},
};

/// Scatter-gather entries that one request may have, whatever was configured.
const SGES_MAX: usize = 16;

/// A send request in the ring.
#[derive(Clone, Copy, Debug)]
pub(super) struct SendEntry {
    pub(super) id: u64,
    pub(super) operation: Operation,
    pub(super) signaled: bool,
    pub(super) fence: bool,
    /// Bytes of data.
    pub(super) len: u32,
    /// The data lies in the ring.
    pub(super) inline: bool,
    sges: u8,
    pub(super) state: State,
}

/// How far a send request has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Not begun, or not wholly handed to the output.
    Waiting,
    /// Done when this much of the output has left.
    Leaving(u64),
    /// An RDMA READ whose data is on its way.
    Reading,
    /// Done; reported when all before it are.
    Done(Status),
}

impl SendEntry {
    pub(super) const fn what(&self) -> Completed {
        match self.operation {
            Operation::Send { .. } => Completed::Send,
            Operation::Write { .. } => Completed::Write,
            Operation::Read { .. } => Completed::Read,
            Operation::LocalInvalidate { .. } => Completed::LocalInvalidate,
            Operation::FastRegister { .. } => Completed::FastRegister,
        }
    }
}

/// The send queue. Requests are named by the number of their post.
#[derive(Debug)]
pub(super) struct SendRing {
    entries: Box<[Option<SendEntry>]>,
    sges: Box<[Sge]>,
    inline: Box<[u8]>,
    max_sge: usize,
    max_inline: usize,
    /// The oldest that has not been reported, and its place.
    head: u64,
    head_at: usize,
    /// The first that has not been begun, or is being handed to the output.
    pub(super) next: u64,
    /// The next to be posted.
    tail: u64,
}

/// The numbers that a depth and a limit of entries stand for.
fn sizes(depth: u32, max_sge: u8) -> (usize, usize) {
    (depth.max(1) as usize, usize::from(max_sge).clamp(1, SGES_MAX))
}

/// The place `ahead` places behind `at` in a ring of `len`, if both are less: without the division that a remainder needs.
#[inline]
const fn step(at: usize, ahead: u64, len: usize) -> usize {
    let place = at + ahead as usize;
    if place >= len { place - len } else { place }
}

/// The bytes that a list covers, if a message can be that long.
fn total(list: &[Sge]) -> Result<u32, PostError> {
    list.iter().try_fold(0_u32, |sum, sge| sum.checked_add(sge.len)).ok_or(PostError::TooLong)
}

impl SendRing {
    // spec: IW-QP-06
    pub(super) fn new(config: &QpConfig) -> Self {
        let (depth, max_sge) = sizes(config.send_depth, config.max_sge);
        let max_inline = usize::from(config.max_inline);
        Self {
            entries: vec![None; depth].into_boxed_slice(),
            sges: vec![Sge::default(); depth * max_sge].into_boxed_slice(),
            inline: vec![0; depth * max_inline].into_boxed_slice(),
            max_sge,
            max_inline,
            head: 0,
            head_at: 0,
            next: 0,
            tail: 0,
        }
    }

    /// The place of a request that is outstanding, or is the next to be posted and there is room.
    #[inline]
    fn place(&self, number: u64) -> usize {
        step(self.head_at, number - self.head, self.entries.len())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.head == self.tail
    }

    /// Whether any request has not been begun.
    pub(super) fn has_waiting(&self) -> bool {
        self.next < self.tail
    }

    /// Whether everything before the next has been reported.
    pub(super) fn next_is_oldest(&self) -> bool {
        self.next == self.head
    }

    // spec: IW-QP-01
    pub(super) fn post(&mut self, request: &SendRequest<'_>) -> Result<(), PostError> {
        if self.tail - self.head == self.entries.len() as u64 {
            return Err(PostError::Full);
        }
        let place = self.place(self.tail);
        let is_read = matches!(request.operation, Operation::Read { .. });
        let (len, sges, inline) = match request.payload {
            Payload::Gather(list) => {
                if list.len() > if is_read { 1 } else { self.max_sge } {
                    return Err(PostError::TooManySges);
                }
                let len = total(list)?;
                self.sges[place * self.max_sge..][..list.len()].copy_from_slice(list);
                (len, list.len() as u8, false)
            }
            Payload::Inline(bytes) => {
                if is_read || bytes.len() > self.max_inline {
                    return Err(PostError::TooMuchInline);
                }
                self.inline[place * self.max_inline..][..bytes.len()].copy_from_slice(bytes);
                (bytes.len() as u32, 0, true)
            }
        };
        self.entries[place] = Some(SendEntry {
            id: request.id,
            operation: request.operation,
            signaled: request.signaled,
            fence: request.fence,
            len,
            inline,
            sges,
            state: State::Waiting,
        });
        self.tail += 1;
        Ok(())
    }

    pub(super) fn get(&self, number: u64) -> Option<&SendEntry> {
        if !(self.head..self.tail).contains(&number) {
            return None;
        }
        self.entries[self.place(number)].as_ref()
    }

    pub(super) fn set(&mut self, number: u64, state: State) {
        if (self.head..self.tail).contains(&number)
            && let Some(entry) = &mut self.entries[self.place(number)]
        {
            entry.state = state;
        }
    }

    pub(super) fn sges(&self, number: u64) -> &[Sge] {
        let Some(entry) = self.get(number) else { return &[] };
        let used = entry.sges.into();
        &self.sges[self.place(number) * self.max_sge..][..used]
    }

    pub(super) fn inline(&self, number: u64) -> &[u8] {
        let Some(entry) = self.get(number).filter(|entry| entry.inline) else { return &[] };
        let used = entry.len as usize;
        &self.inline[self.place(number) * self.max_inline..][..used]
    }

    /// The oldest, if it has succeeded when `left` bytes of output have left.
    // spec: IW-QP-02
    pub(super) fn pop_done(&mut self, left: u64) -> Option<SendEntry> {
        match self.get(self.head)?.state {
            State::Leaving(at) if at <= left => self.pop(),
            State::Done(Status::Success) => self.pop(),
            _ => None,
        }
    }

    /// The oldest, done or not.
    pub(super) fn pop(&mut self) -> Option<SendEntry> {
        let entry = *self.get(self.head)?;
        self.head_at = step(self.head_at, 1, self.entries.len());
        self.head += 1;
        self.next = self.next.max(self.head);
        Some(entry)
    }
}

/// A receive in the ring.
#[derive(Clone, Copy, Debug, Default)]
struct ReceiveEntry {
    id: u64,
    len: u32,
    sges: u8,
}

/// The receive queue.
#[derive(Debug)]
pub(super) struct ReceiveRing {
    entries: Box<[ReceiveEntry]>,
    sges: Box<[Sge]>,
    max_sge: usize,
    /// The place of the oldest.
    head_at: usize,
    len: u64,
}

impl ReceiveRing {
    pub(super) fn new(config: &QpConfig) -> Self {
        let (depth, max_sge) = sizes(config.receive_depth, config.max_sge);
        Self {
            entries: vec![ReceiveEntry::default(); depth].into_boxed_slice(),
            sges: vec![Sge::default(); depth * max_sge].into_boxed_slice(),
            max_sge,
            head_at: 0,
            len: 0,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub(super) fn post(&mut self, request: &ReceiveRequest<'_>) -> Result<(), PostError> {
        if self.len == self.entries.len() as u64 {
            return Err(PostError::Full);
        }
        if request.scatter.len() > self.max_sge {
            return Err(PostError::TooManySges);
        }
        let len = total(request.scatter)?;
        let place = step(self.head_at, self.len, self.entries.len());
        self.sges[place * self.max_sge..][..request.scatter.len()].copy_from_slice(request.scatter);
        self.entries[place] = ReceiveEntry { id: request.id, len, sges: request.scatter.len() as u8 };
        self.len += 1;
        Ok(())
    }

    /// The oldest: its bytes and its list.
    #[inline]
    pub(super) fn front(&self) -> Option<(u32, &[Sge])> {
        if self.is_empty() {
            return None;
        }
        let place = self.head_at;
        let entry = &self.entries[place];
        Some((entry.len, &self.sges[place * self.max_sge..][..entry.sges.into()]))
    }

    /// Takes the oldest out and returns its name.
    pub(super) fn pop(&mut self) -> Option<u64> {
        if self.is_empty() {
            return None;
        }
        let id = self.entries[self.head_at].id;
        self.head_at = step(self.head_at, 1, self.entries.len());
        self.len -= 1;
        Some(id)
    }
}

/// The piece of a list that byte `offset` of its data is in: where that byte is, and how many follow in the piece.
#[inline]
pub(super) fn locate(list: &[Sge], offset: u32) -> Option<Sge> {
    let mut skip = offset;
    for sge in list {
        if skip < sge.len {
            // Beyond all offsets nothing is accessible, so a sum that wraps must not become a small one.
            let to = sge.to.saturating_add(skip.into());
            return Some(Sge { to, len: sge.len - skip, ..*sge });
        }
        skip -= sge.len;
    }
    None
}
