//! What waits to be sent: a run of bytes made of headers that are stored here and data that lies elsewhere.
//!
//! Headers, padding, digests and very short data go into one arena, one behind the other, so that neighbours leave as one
//! slice. Longer data is only referred to. [`SendQueue::gather`] lists slices for one `writev`, [`SendQueue::wrote`] notes
//! how much of it left; a partial write may end anywhere. In steady state nothing is allocated.

use std::{collections::VecDeque, io::IoSlice};

use smallvec::SmallVec;

use crate::pdu::{DIGEST_LEN, ENCODED_MAX, Encoded};

/// Data up to this length is copied behind its header: cheaper than an entry of its own in the kernel's list.
pub(crate) const INLINE: usize = 512;

/// Slices in one system call; the least that every Unix takes (IOV_MAX).
pub(crate) const SLICES: usize = 1024;

/// Bytes offered to one system call: more than any socket takes at once.
const BATCH: usize = 4 << 20;

/// The slices of one `writev`, on the stack.
pub type Slices<'a> = SmallVec<[IoSlice<'a>; SLICES]>;

/// A queue of bytes to send; `D` says where data lies that is not stored in the arena.
#[derive(Debug)]
pub(crate) struct SendQueue<D> {
    /// Bytes `start..end` are stored and not yet sent. Never shrunk: what is beyond `end` is room.
    arena: Vec<u8>,
    start: usize,
    end: usize,
    segments: VecDeque<Segment<D>>,
    /// Bytes of the first segment that have been sent.
    sent: usize,
}

#[derive(Debug)]
struct Segment<D> {
    len: usize,
    /// Answers that are complete when this segment has left.
    ends: u32,
    /// Where the bytes lie; `None` means the next `len` bytes of the arena.
    data: Option<D>,
}

impl<D> Default for SendQueue<D> {
    fn default() -> Self {
        Self { arena: Vec::new(), start: 0, end: 0, segments: VecDeque::new(), sent: 0 }
    }
}

impl<D> SendQueue<D> {
    /// Whether nothing waits.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.segments.is_empty()
    }

    /// Appends what `encode` writes: header, header digest and padding of one PDU.
    #[inline]
    pub(crate) fn header(&mut self, encode: impl FnOnce(&mut [u8]) -> Option<Encoded>) {
        let room = self.reserve(ENCODED_MAX);
        // The room is as long as the longest header, so encoding cannot fail.
        let Some(Encoded { len, .. }) = encode(room) else {
            debug_assert!(false, "header longer than {ENCODED_MAX} bytes");
            return;
        };
        self.stored(len);
    }

    /// Appends a copy of `bytes`.
    #[inline]
    pub(crate) fn copy(&mut self, bytes: &[u8]) {
        self.reserve(bytes.len()).copy_from_slice(bytes);
        self.stored(bytes.len());
    }

    /// Appends a data digest.
    #[inline]
    pub(crate) fn digest(&mut self, crc: u32) {
        let bytes: [u8; DIGEST_LEN] = crc.to_le_bytes();
        self.copy(&bytes);
    }

    /// Appends `len` bytes that lie at `data` until [`wrote`](Self::wrote) gives it back.
    #[inline]
    pub(crate) fn data(&mut self, data: D, len: usize) {
        if len > 0 {
            self.segments.push_back(Segment { len, ends: 0, data: Some(data) });
        }
    }

    /// Marks the end of an answer: `wrote` counts it when all up to here has left.
    #[inline]
    pub(crate) fn end_answer(&mut self) {
        if let Some(last) = self.segments.back_mut() {
            last.ends += 1;
        }
    }

    /// Exactly `len` bytes of room behind what is stored.
    #[inline]
    fn reserve(&mut self, len: usize) -> &mut [u8] {
        if self.arena.len() - self.end < len {
            self.make_room(len);
        }
        &mut self.arena[self.end..self.end + len]
    }

    #[cold]
    fn make_room(&mut self, len: usize) {
        if self.start >= self.arena.len() / 2 {
            self.arena.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        if self.arena.len() - self.end < len {
            let size = (self.end + len).max(self.arena.len() * 2).max(32 * ENCODED_MAX);
            self.arena.resize(size, 0);
        }
    }

    #[inline]
    fn stored(&mut self, len: usize) {
        self.end += len;
        match self.segments.back_mut() {
            // Answers are counted by segment: one that has been marked as the end of an answer is not continued.
            Some(last) if last.data.is_none() && last.ends == 0 => last.len += len,
            _ => self.segments.push_back(Segment { len, ends: 0, data: None }),
        }
    }

    /// Lists what one system call should send, from the first byte not yet sent, and returns how many bytes that is.
    /// `resolve` finds data by its place.
    pub(crate) fn gather<'a>(
        &'a self,
        resolve: impl Fn(&'a D, usize) -> &'a [u8],
        slices: &mut Slices<'a>,
    ) -> usize {
        let (mut from, mut to, mut skip, mut bytes) = (self.start, self.start, self.sent, 0);
        for segment in &self.segments {
            if slices.len() + 2 > SLICES || bytes >= BATCH {
                break;
            }
            let left = segment.len - skip;
            bytes += left;
            match &segment.data {
                // What lies together leaves as one slice.
                None => to += left,
                Some(data) => {
                    if from < to {
                        slices.push(IoSlice::new(&self.arena[from..to]));
                        from = to;
                    }
                    slices.push(IoSlice::new(resolve(data, segment.len).get(skip..).unwrap_or_default()));
                }
            }
            skip = 0;
        }
        if from < to {
            slices.push(IoSlice::new(&self.arena[from..to]));
        }
        bytes
    }

    /// Notes that `written` more bytes have left, hands `done` every data reference that is no longer needed, and returns how
    /// many answers were completed by this.
    pub(crate) fn wrote(&mut self, mut written: usize, mut done: impl FnMut(D)) -> u32 {
        let mut answers = 0;
        while let Some(first) = self.segments.front() {
            let left = first.len - self.sent;
            let now = left.min(written);
            if first.data.is_none() {
                self.start += now;
            }
            written -= now;
            if now < left {
                self.sent += now;
                return answers;
            }
            self.sent = 0;
            if let Some(Segment { ends, data, .. }) = self.segments.pop_front() {
                answers += ends;
                if let Some(data) = data {
                    done(data);
                }
            }
            if written == 0 && !self.segments.is_empty() {
                return answers;
            }
        }
        (self.start, self.end) = (0, 0);
        answers
    }
}
