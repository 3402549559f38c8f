//! What waits to be sent: FPDUs, of which headers, trailers and short data are stored here and long data lies in regions.
//!
//! Stored neighbours leave as one slice. [`Output::gather`] lists slices for one system call and looks every region up again,
//! so memory that was deregistered meanwhile is not touched; [`Output::wrote`] notes how much left, which may end anywhere.
//! [`Output::abandon`] drops everything but the rest of an FPDU that was begun. In steady state nothing is allocated.

use std::{collections::VecDeque, io::IoSlice};

use smallvec::SmallVec;

use crate::{
    crc::{Crc32c, crc32c},
    ddp,
    memory::{AccessError, Domain},
    mpa::{
        fpdu::{self, CRC_LEN, LENGTH_LEN},
        marker::Stamper,
    },
    verbs::{Access, Qp, Sge},
};

/// Data up to this length is copied behind its header: cheaper than an entry of its own in the kernel's list.
const COPIED: usize = 512;

/// Slices in one system call; the least that every Unix takes (IOV_MAX).
const SLICES: usize = 1024;

/// Bytes offered to one system call: more than any socket takes at once.
const BATCH: usize = 4 << 20;

/// The slices of one system call, on the stack.
pub type Slices<'a> = SmallVec<[IoSlice<'a>; SLICES]>;

/// Memory for headers that is kept however much was used once.
const ARENA: usize = 4096;

#[derive(Debug)]
pub(super) struct Output {
    /// Bytes `start..` are stored and not yet sent.
    arena: Vec<u8>,
    start: usize,
    segments: VecDeque<Segment>,
    /// Bytes of the first segment that have left.
    sent: usize,
    /// Where FPDUs end, counted like `queued`.
    ends: VecDeque<u64>,
    /// Bytes queued and bytes that left, ever.
    queued: u64,
    left: u64,
    /// Where the FPDU that leaves next, or whose rest does, begins.
    begun: u64,
    /// Puts markers in, if the peer wants them.
    stamper: Option<Stamper>,
    crc: bool,
}

#[derive(Clone, Copy, Debug)]
struct Segment {
    len: usize,
    /// Where the bytes lie; `None`: the next `len` bytes of the arena.
    data: Option<Sge>,
}

/// The data of an FPDU.
#[derive(Clone, Copy, Debug)]
pub(super) enum Data<'a> {
    Bytes(&'a [u8]),
    /// `len` bytes from byte `offset` of a list.
    Pieces {
        list: &'a [Sge],
        offset: u32,
        len: u32,
        need: Access,
    },
}

impl Data<'_> {
    fn len(&self) -> usize {
        match self {
            Self::Bytes(bytes) => bytes.len(),
            Self::Pieces { len, .. } => *len as usize,
        }
    }

    /// Hands every piece to `each`.
    fn visit(&self, mut each: impl FnMut(Sge) -> Result<(), AccessError>) -> Result<(), AccessError> {
        let &Self::Pieces { list, mut offset, mut len, .. } = self else { return Ok(()) };
        while len > 0 {
            let mut piece = super::queues::locate(list, offset).ok_or(AccessError::Bounds)?;
            piece.len = piece.len.min(len);
            each(piece)?;
            (offset, len) = (offset + piece.len, len - piece.len);
        }
        Ok(())
    }
}

impl Output {
    pub(super) fn new() -> Self {
        Self {
            arena: Vec::with_capacity(ARENA),
            start: 0,
            segments: VecDeque::new(),
            sent: 0,
            ends: VecDeque::new(),
            queued: 0,
            left: 0,
            begun: 0,
            stamper: None,
            crc: true,
        }
    }

    /// What the connection agreed upon.
    pub(super) fn agree(&mut self, crc: bool, markers: bool) {
        self.crc = crc;
        self.stamper = markers.then(Stamper::new);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.segments.is_empty()
    }

    /// Bytes that wait.
    pub(super) fn waiting(&self) -> u64 {
        self.queued - self.left
    }

    /// Bytes queued, ever: what is queued by now has left when `left` says as much.
    pub(super) fn queued(&self) -> u64 {
        self.queued
    }

    pub(super) fn left(&self) -> u64 {
        self.left
    }

    /// Appends bytes that are no FPDU: a frame of the handshake.
    pub(super) fn raw(&mut self, bytes: &[u8]) {
        self.arena.extend_from_slice(bytes);
        self.stored(bytes.len());
        self.ends.push_back(self.queued);
    }

    fn stored(&mut self, len: usize) {
        self.queued += len as u64;
        match self.segments.back_mut() {
            Some(Segment { len: before, data: None }) => *before += len,
            _ => self.segments.push_back(Segment { len, data: None }),
        }
    }

    /// Appends one FPDU. On an error nothing was appended.
    // spec: IW-FPD-01, IW-FPD-02, IW-FPD-03, IW-FPD-04
    pub(super) fn fpdu(
        &mut self,
        header: &ddp::Header,
        data: Data<'_>,
        domain: &Domain,
        qp: Qp,
    ) -> Result<(), AccessError> {
        let mut bytes = [0; ddp::UNTAGGED_LEN];
        let header_len = header.encode(&mut bytes);
        // Whoever cuts messages into segments keeps to a ULPDU length that fits.
        let ulpdu = (header_len + data.len()) as u16;
        let length = ulpdu.to_be_bytes();
        let padding = &[0; 3][..fpdu::padding(ulpdu)];
        if let Some(stamper) = &mut self.stamper {
            let before = self.arena.len();
            let whole: Result<SmallVec<[&[u8]; 24]>, AccessError> = (|| {
                let mut parts: SmallVec<[&[u8]; 24]> = SmallVec::new();
                parts.extend([&length[..], &bytes[..header_len]]);
                if let Data::Bytes(bytes) = data {
                    parts.push(bytes);
                }
                data.visit(|piece| {
                    parts.push(domain.read(&domain.check(
                        piece.stag,
                        piece.to,
                        piece.len,
                        data.need(),
                        qp,
                    )?));
                    Ok(())
                })?;
                parts.push(padding);
                Ok(parts)
            })();
            let crc = self.crc;
            stamper.stamp(
                &whole?,
                &mut self.arena,
                |covered| if crc { crc32c(covered).to_le_bytes() } else { [0; 4] },
            );
            self.stored(self.arena.len() - before);
            self.ends.push_back(self.queued);
            return Ok(());
        }

        let start = self.arena.len();
        self.arena.extend_from_slice(&length);
        self.arena.extend_from_slice(&bytes[..header_len]);
        if data.len() <= COPIED {
            if let Data::Bytes(bytes) = data {
                self.arena.extend_from_slice(bytes);
            }
            let copied = data.visit(|piece| {
                let span = domain.check(piece.stag, piece.to, piece.len, data.need(), qp)?;
                self.arena.extend_from_slice(domain.read(&span));
                Ok(())
            });
            if let Err(error) = copied {
                self.arena.truncate(start);
                return Err(error);
            }
            self.arena.extend_from_slice(padding);
            let crc = if self.crc { crc32c(&self.arena[start..]) } else { 0 };
            self.arena.extend_from_slice(&crc.to_le_bytes());
            self.stored(self.arena.len() - start);
        } else {
            let mut crc = Crc32c::new();
            let checks = self.crc;
            if checks {
                crc.update(&self.arena[start..]);
            }
            // Nothing is queued before all pieces were found.
            let mut pieces: SmallVec<[Sge; 16]> = SmallVec::new();
            let found = data.visit(|piece| {
                let span = domain.check(piece.stag, piece.to, piece.len, data.need(), qp)?;
                if checks {
                    crc.update(domain.read(&span));
                }
                pieces.push(piece);
                Ok(())
            });
            if let Err(error) = found {
                self.arena.truncate(start);
                return Err(error);
            }
            self.stored(LENGTH_LEN + header_len);
            match data {
                Data::Bytes(bytes) => {
                    self.arena.extend_from_slice(bytes);
                    self.stored(bytes.len());
                    crc.update(bytes);
                }
                Data::Pieces { .. } => {
                    for piece in pieces {
                        self.queued += u64::from(piece.len);
                        self.segments.push_back(Segment { len: piece.len as usize, data: Some(piece) });
                    }
                }
            }
            self.arena.extend_from_slice(padding);
            let sum = if checks {
                crc.update(padding);
                crc.finish()
            } else {
                0
            };
            self.arena.extend_from_slice(&sum.to_le_bytes());
            self.stored(padding.len() + CRC_LEN);
        }
        self.ends.push_back(self.queued);
        Ok(())
    }

    /// Lists what one system call should send, and returns how many bytes that is.
    // spec: IW-MEM-07
    pub(super) fn gather<'a>(
        &'a self,
        domain: &'a Domain,
        qp: Qp,
        slices: &mut Slices<'a>,
    ) -> Result<usize, AccessError> {
        let (mut at, mut skip, mut bytes) = (self.start, self.sent, 0);
        for segment in &self.segments {
            if slices.len() == SLICES || bytes >= BATCH {
                break;
            }
            let left = segment.len - skip;
            bytes += left;
            match segment.data {
                None => {
                    slices.push(IoSlice::new(&self.arena[at..at + left]));
                    at += left;
                }
                Some(place) => {
                    let span = domain.check(place.stag, place.to, place.len, Access::empty(), qp)?;
                    slices.push(IoSlice::new(domain.read(&span).get(skip..).unwrap_or_default()));
                }
            }
            skip = 0;
        }
        Ok(bytes)
    }

    /// Notes that `written` more bytes have left.
    pub(super) fn wrote(&mut self, mut written: usize) {
        self.left += written as u64;
        while let Some(&end) = self.ends.front().filter(|&&end| end <= self.left) {
            self.begun = end;
            self.ends.pop_front();
        }
        while let Some(first) = self.segments.front() {
            let left = first.len - self.sent;
            let now = left.min(written);
            if first.data.is_none() {
                self.start += now;
            }
            written -= now;
            if now < left {
                self.sent += now;
                break;
            }
            self.sent = 0;
            self.segments.pop_front();
        }
        if self.segments.is_empty() {
            self.arena.clear();
            self.start = 0;
        } else if self.start >= ARENA.max(self.arena.len() / 2) {
            self.arena.drain(..self.start);
            self.start = 0;
        }
    }

    /// Drops what has not been begun. The rest of an FPDU that was begun is copied, so that no region is needed any more; when
    /// that fails the stream cannot go on, everything is dropped and the answer is false.
    // spec: IW-TRM-09
    pub(super) fn abandon(&mut self, domain: &Domain, qp: Qp) -> bool {
        let end = self.ends.front().copied().unwrap_or(self.left);
        // Where the last FPDU ended nothing has to be finished.
        let boundary = if self.begun == self.left { self.left } else { end };
        let mut rest = Vec::new();
        let mut wanted = (boundary - self.left) as usize;
        let mut slices = Slices::new();
        let whole = self.gather(domain, qp, &mut slices).is_ok();
        for slice in &slices {
            let taken = wanted.min(slice.len());
            rest.extend_from_slice(&slice[..taken]);
            wanted -= taken;
        }
        drop(slices);
        let whole = whole || wanted == 0;
        self.segments.clear();
        self.ends.clear();
        (self.start, self.sent) = (0, 0);
        self.arena = if whole { rest } else { Vec::new() };
        self.queued = self.left;
        if self.arena.is_empty() {
            self.begun = self.left;
        }
        if !self.arena.is_empty() {
            self.stored(self.arena.len());
            self.ends.push_back(self.queued);
        }
        whole && wanted == 0
    }
}

impl Data<'_> {
    const fn need(&self) -> Access {
        match self {
            Self::Bytes(_) => Access::empty(),
            Self::Pieces { need, .. } => *need,
        }
    }
}
