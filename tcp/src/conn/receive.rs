//! From bytes to PDUs: framing, placement of payload, data digests.
//!
//! The driver asks where the next bytes belong ([`Receive::targets`]), reads them with one system call, and says how many
//! came ([`Receive::received`]); every PDU among them is dealt with in that one pass. Payload goes straight to where it
//! belongs when much of it is missing, and is copied out of the scratch memory, checked on the way, when little is.
//!
//! Scratch memory holds nothing between two calls: what is left over is at most an incomplete header, which is kept here.
//! So one scratch serves all connections of an engine, it stays in the cache, and an idle peer costs no memory.

use crate::{
    digest::Crc32c,
    pdu::{COMMON_HEADER_LEN, DIGEST_LEN, Header, Incoming, Receiver, TERM_REQ_DATA_MAX, Violation},
};

/// Payload longer than this, still missing, is received directly; less is copied, which costs less than a second slice.
pub(crate) const DIRECT: usize = 8 * 1024;

/// Payload that makes long payload likely to follow.
const BULK: usize = 2 * DIRECT;

/// What is received behind long payload, and while more of it is expected: enough for the next header, and so little that
/// the payload behind that header is received directly as well.
const BEHIND: usize = 4096;

/// The longest run of bytes that cannot be dealt with before its end: PDO, which ends header and padding, is one byte.
const CARRY: usize = 256;

/// The least scratch memory that works; far more is needed for speed.
pub const SCRATCH_MIN: usize = BEHIND;

/// What a role makes of PDUs.
pub(crate) trait Protocol {
    /// What the peer is held to at this moment.
    fn receiver(&self) -> &Receiver;

    /// A PDU whose header is complete. If it has data, [`sink`](Self::sink) is asked where that goes, and
    /// [`end`](Self::end) follows.
    fn begin(&mut self, header: &Header, pdu: Incoming<'_>) -> Result<Flow, Violation>;

    /// Where the data of the current PDU goes: exactly as long as that data. `None` if nobody wants it.
    fn sink(&mut self) -> Option<&mut [u8]>;

    /// The data of the current PDU is complete; `intact` says whether its digest, if it has one, is right.
    fn end(&mut self, intact: bool);
}

/// Whether to look at what comes behind a PDU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flow {
    Continue,
    Stop,
}

/// A violation with the header it was found in.
#[derive(Debug)]
pub(crate) struct Fault {
    pub(crate) violation: Violation,
    header: [u8; TERM_REQ_DATA_MAX],
    len: usize,
}

impl Fault {
    fn new(violation: Violation, bytes: &[u8]) -> Box<Self> {
        let len = bytes.len().min(TERM_REQ_DATA_MAX);
        let mut header = [0; TERM_REQ_DATA_MAX];
        header[..len].copy_from_slice(&bytes[..len]);
        Box::new(Self { violation, header, len })
    }

    /// As much of the offending PDU as there is, at most what a termination request carries.
    pub(crate) fn header(&self) -> &[u8] {
        &self.header[..self.len]
    }
}

/// The receiving half of a connection.
#[derive(Debug)]
pub(crate) struct Receive {
    carry: [u8; CARRY],
    carried: usize,
    state: State,
    crc: Crc32c,
    /// The last payload was long, so the next may be.
    bulk: bool,
}

#[derive(Clone, Copy, Debug)]
enum State {
    /// The next byte is the first of a PDU (or of what is carried).
    Header,
    Data(Payload),
    /// The data is complete, its digest is not.
    Digest,
}

/// How far the data of the current PDU has come.
#[derive(Clone, Copy, Debug)]
struct Payload {
    done: usize,
    left: usize,
    /// Whether a digest follows.
    check: bool,
    /// Whether the driver was told to receive it where it belongs.
    direct: bool,
}

impl Receive {
    pub(crate) fn new() -> Self {
        Self { carry: [0; CARRY], carried: 0, state: State::Header, crc: Crc32c::new(), bulk: false }
    }

    /// Whether a PDU has begun and not ended.
    pub(crate) fn mid_pdu(&self) -> bool {
        self.carried > 0 || !matches!(self.state, State::Header)
    }

    /// What has come of a PDU whose header is not complete.
    pub(crate) fn partial(&self) -> &[u8] {
        &self.carry[..self.carried]
    }

    /// Where the next bytes belong, in order. The same `scratch`, unchanged, goes into [`received`](Self::received); it is
    /// at least [`SCRATCH_MIN`] long.
    #[inline]
    pub(crate) fn targets<'a>(
        &mut self,
        sink: impl FnOnce() -> Option<&'a mut [u8]>,
        scratch: &'a mut [u8],
    ) -> [&'a mut [u8]; 2] {
        if let State::Data(payload) = &mut self.state {
            payload.direct = false;
            if payload.left > DIRECT
                && let Some(room) = sink().and_then(|sink| sink.get_mut(payload.done..))
            {
                payload.direct = true;
                let behind = if self.bulk { BEHIND } else { scratch.len() };
                return [room, &mut scratch[..behind]];
            }
            return [&mut [], scratch];
        }
        let (carry, rest) = scratch.split_at_mut(self.carried);
        carry.copy_from_slice(&self.carry[..self.carried]);
        let room = if self.bulk { BEHIND - self.carried } else { rest.len() };
        [&mut [], &mut rest[..room]]
    }

    /// Deals with the `n` bytes that were received into the targets, as far as they go.
    pub(crate) fn received<P: Protocol>(
        &mut self,
        mut n: usize,
        scratch: &[u8],
        protocol: &mut P,
    ) -> Result<(), Box<Fault>> {
        if let State::Data(payload) = &mut self.state
            && payload.direct
        {
            let landed = n.min(payload.left);
            let range = payload.done..payload.done + landed;
            if payload.check
                && let Some(piece) = protocol.sink().and_then(|sink| sink.get(range))
            {
                self.crc.update(piece);
            }
            payload.done += landed;
            payload.left -= landed;
            n -= landed;
        }
        let mut bytes = &scratch[..self.carried + n];
        self.carried = 0;
        while let Some(behind) = self.step(bytes, protocol)? {
            bytes = behind;
        }
        // Nothing that waits for more is longer than CARRY, see `step`.
        let rest = bytes.len().min(CARRY);
        self.carry[..rest].copy_from_slice(&bytes[..rest]);
        self.carried = rest;
        Ok(())
    }

    /// One PDU, or one part of it; returns the bytes behind it, or `None` when `bytes` do not suffice.
    #[inline]
    fn step<'b, P: Protocol>(
        &mut self,
        bytes: &'b [u8],
        protocol: &mut P,
    ) -> Result<Option<&'b [u8]>, Box<Fault>> {
        match &mut self.state {
            State::Header => {
                let Some(common) = bytes.first_chunk::<COMMON_HEADER_LEN>() else {
                    return Ok(None);
                };
                let header = Header::parse(common, protocol.receiver()).map_err(|v| Fault::new(v, bytes))?;
                let layout = header.layout();
                let needed = header.needed().max(layout.data_start());
                let Some((head, behind)) = bytes.split_at_checked(needed) else {
                    return Ok(None);
                };
                let fault = |v| Fault::new(v, &head[..layout.header_end()]);
                let Some(pdu) = Incoming::parse(&header, head).map_err(fault)? else {
                    return Ok(None);
                };
                let flow = protocol.begin(&header, pdu).map_err(fault)?;
                if layout.data_len() > 0 {
                    // spec: TCP-DG-10
                    let check = layout.has_data_digest();
                    if check {
                        self.crc = Crc32c::new();
                    }
                    let left = layout.data_len() as usize;
                    self.bulk = left > BULK;
                    self.state = State::Data(Payload { done: 0, left, check, direct: false });
                }
                Ok(match flow {
                    Flow::Continue => Some(behind),
                    Flow::Stop => None,
                })
            }
            State::Data(payload) => {
                let (piece, behind) = bytes.split_at(payload.left.min(bytes.len()));
                let range = payload.done..payload.done + piece.len();
                if let Some(room) = protocol.sink().and_then(|sink| sink.get_mut(range)) {
                    if payload.check {
                        self.crc.copy_and_update(room, piece);
                    } else {
                        room.copy_from_slice(piece);
                    }
                }
                payload.done += piece.len();
                payload.left -= piece.len();
                if payload.left > 0 {
                    // All bytes are used up: nothing is carried in this state.
                    return Ok(if piece.is_empty() { None } else { Some(behind) });
                }
                if payload.check {
                    self.state = State::Digest;
                } else {
                    self.state = State::Header;
                    protocol.end(true);
                }
                Ok(Some(behind))
            }
            State::Digest => {
                let Some((digest, behind)) = bytes.split_first_chunk::<DIGEST_LEN>() else {
                    return Ok(None);
                };
                self.state = State::Header;
                protocol.end(u32::from_le_bytes(*digest) == self.crc.finish());
                Ok(Some(behind))
            }
        }
    }
}
