//! From bytes to segments: the handshake's reply, then framing, CRC and placement.
//!
//! Scratch memory is shared by all connections of a driver and holds nothing between two calls: what is left over is at most an
//! incomplete header, kept here. An FPDU that lies wholly in scratch memory is checked before anything of it is used. Of a
//! longer one the payload is placed as it comes, straight from the stream if much is missing, and delivered when its CRC was
//! right (RFC 5041 §5.3 keeps placement and delivery apart).

use super::{Life, Phase, QueuePair};
use crate::{
    crc::{Crc32c, crc32c},
    ddp::{self, Header, Place, WrongVersion},
    event::{ConnectError, Event},
    memory::Domain,
    mpa::{
        self, FRAME_MAX, Frame, FrameKind,
        fpdu::{self, CRC_LEN, LENGTH_LEN},
    },
    rdmap::{Offender, ReadRequest, TERMINATE_MAX},
    verbs::Status,
    violation::Violation,
};

/// Payload longer than this, still missing, is received directly; less is copied, which costs less than a second slice.
pub(super) const DIRECT: usize = 16 * 1024;

/// Payload that makes long payload likely to follow.
const BULK: usize = 2 * DIRECT;

/// What is received behind long payload: enough for the next header, and so little that the payload behind that is received
/// directly as well.
const BEHIND: usize = 4096;

/// The least scratch memory that works; far more is needed for speed.
pub const SCRATCH_MIN: usize = BEHIND;

/// The longest FPDU that must be whole before it is looked at: a Terminate message.
const WHOLE_MAX: usize = fpdu::total((ddp::UNTAGGED_LEN + TERMINATE_MAX) as u16);

/// The longest run of bytes that waits for more.
const CARRY: usize = WHOLE_MAX;

/// What is wrong with what came.
pub(super) struct Fault {
    pub(super) violation: Violation,
    /// How the oldest receive ends, if this is its fault.
    pub(super) receive: Option<Status>,
}

impl From<Violation> for Fault {
    fn from(violation: Violation) -> Self {
        Self { violation, receive: None }
    }
}

/// A segment that has begun.
#[derive(Clone, Copy, Debug)]
pub(super) struct Segment {
    pub(super) header: Header,
    /// Bytes of payload.
    pub(super) len: u32,
    raw: [u8; ddp::UNTAGGED_LEN],
    ulpdu: u16,
}

impl Segment {
    /// What a Terminate message repeats of it.
    fn offender(&self, read: Option<[u8; ReadRequest::LEN]>) -> Offender {
        Offender::new(&self.raw[..self.header.size()], self.ulpdu, read)
    }
}

/// The receiving half of a connection.
#[derive(Debug)]
pub(super) struct Receive {
    carry: [u8; CARRY],
    carried: usize,
    state: State,
    sum: Crc32c,
    check: bool,
    /// The last payload was long, so the next may be.
    bulk: bool,
}

#[derive(Clone, Copy, Debug)]
enum State {
    /// The next byte is the first of an FPDU (or of what is carried).
    Header,
    Data(Payload),
    /// The payload is complete; padding and CRC are not.
    Trailer(Segment),
}

#[derive(Clone, Copy, Debug)]
struct Payload {
    segment: Segment,
    done: u32,
    left: u32,
    /// Bytes that the driver was told to receive where they belong.
    direct: usize,
}

impl Receive {
    pub(super) fn new() -> Self {
        Self {
            carry: [0; CARRY],
            carried: 0,
            state: State::Header,
            sum: Crc32c::new(),
            check: true,
            bulk: false,
        }
    }

    pub(super) fn agree(&mut self, crc: bool) {
        self.check = crc;
    }

    /// Whether part of an FPDU has come.
    pub(super) fn is_within(&self) -> bool {
        self.carried > 0 || !matches!(self.state, State::Header)
    }
}

impl QueuePair {
    /// Where the next bytes belong: the first slice is to be filled before the second. `scratch` has at least
    /// [`SCRATCH_MIN`] bytes, and is passed to [`received`](Self::received) again.
    pub fn targets<'a>(&mut self, domain: &'a mut Domain, scratch: &'a mut [u8]) -> [&'a mut [u8]; 2] {
        if self.life != Life::Open || self.phase == Phase::AwaitReply {
            // A frame, or what nobody wants any more.
            let room = scratch.len().min(if self.life == Life::Open { FRAME_MAX } else { usize::MAX });
            return [&mut [], &mut scratch[..room]];
        }
        let input = &mut self.input;
        let bulk = input.bulk;
        if let State::Data(payload) = &mut input.state {
            payload.direct = 0;
            if payload.left as usize > DIRECT {
                let (segment, done, left) = (payload.segment, payload.done, payload.left);
                // A place that is gone is found out with the bytes that were to go there.
                if let Ok(span) = self.place(domain, &segment, done, left) {
                    let room = domain.write(&span);
                    let behind = if room.len() == left as usize && !bulk { scratch.len() } else { BEHIND };
                    if let State::Data(payload) = &mut self.input.state {
                        payload.direct = room.len();
                    }
                    return [room, &mut scratch[..behind]];
                }
            }
            return [&mut [], scratch];
        }
        let (carry, rest) = scratch.split_at_mut(input.carried);
        carry.copy_from_slice(&input.carry[..input.carried]);
        let room = if bulk { BEHIND - input.carried } else { rest.len() };
        [&mut [], &mut rest[..room]]
    }

    /// Deals with the `n` bytes that were received into the targets.
    pub fn received(&mut self, n: usize, scratch: &mut [u8], domain: &mut Domain, events: &mut Vec<Event>) {
        if self.life != Life::Open {
            return;
        }
        if self.phase == Phase::AwaitReply {
            let consumed = self.handshake(&scratch[..n], domain, events);
            if self.life == Life::Open && consumed < n {
                // FPDUs right behind the reply: nothing forbids them at this end.
                scratch.copy_within(consumed..n, 0);
                self.process(&scratch[..n - consumed], domain, events);
            }
            return;
        }
        let mut direct = 0;
        if let State::Data(payload) = self.input.state {
            direct = payload.direct.min(n);
            if direct > 0 {
                self.landed(payload, direct as u32, domain);
            }
        }
        let carried = std::mem::take(&mut self.input.carried);
        self.process(&scratch[..carried + n - direct], domain, events);
    }

    /// Payload that was received where it belongs.
    fn landed(&mut self, mut payload: Payload, len: u32, domain: &Domain) {
        if self.input.check
            && let Ok(span) = self.place(domain, &payload.segment, payload.done, len)
        {
            self.input.sum.update(domain.read(&span));
        }
        payload.done += len;
        payload.left -= len;
        payload.direct = 0;
        self.input.state = match payload.left {
            0 => State::Trailer(payload.segment),
            _ => State::Data(payload),
        };
    }

    fn process(&mut self, mut bytes: &[u8], domain: &mut Domain, events: &mut Vec<Event>) {
        while self.life == Life::Open {
            match self.step(bytes, domain, events) {
                Some(behind) => bytes = behind,
                None => break,
            }
        }
        // Nothing that waits for more is longer than CARRY, see `step`.
        let rest = bytes.len().min(CARRY);
        self.input.carry[..rest].copy_from_slice(&bytes[..rest]);
        self.input.carried = rest;
    }

    #[cold]
    fn fault(
        &mut self,
        fault: Fault,
        segment: Option<&Segment>,
        payload: &[u8],
        domain: &Domain,
        events: &mut Vec<Event>,
    ) {
        if let Some(status) = fault.receive {
            self.receive_failed(events, status);
        }
        let read = payload.first_chunk::<{ ReadRequest::LEN }>().copied();
        let offender = segment.map(|segment| segment.offender(read));
        self.violated(fault.violation, offender, domain, events);
    }

    /// One FPDU, or one part of it; returns the bytes behind it, or `None` when `bytes` do not suffice or all is over.
    #[inline]
    fn step<'b>(
        &mut self,
        bytes: &'b [u8],
        domain: &mut Domain,
        events: &mut Vec<Event>,
    ) -> Option<&'b [u8]> {
        match self.input.state {
            State::Header => self.begin(bytes, domain, events),
            State::Data(mut payload) => {
                let (piece, behind) = bytes.split_at((payload.left as usize).min(bytes.len()));
                if piece.is_empty() {
                    return None;
                }
                if let Err(fault) = self.put(&payload.segment, payload.done, piece, true, domain) {
                    self.fault(fault, Some(&payload.segment), &[], domain, events);
                    return None;
                }
                payload.done += piece.len() as u32;
                payload.left -= piece.len() as u32;
                self.input.state = match payload.left {
                    0 => State::Trailer(payload.segment),
                    _ => State::Data(payload),
                };
                Some(behind)
            }
            State::Trailer(segment) => {
                let padding = fpdu::padding(segment.ulpdu);
                let (trailer, behind) = bytes.split_at_checked(padding + CRC_LEN)?;
                let (padding, crc) = trailer.split_at(padding);
                self.input.sum.update(padding);
                self.input.state = State::Header;
                if self.input.check && self.input.sum.finish().to_le_bytes() != *crc {
                    self.fault(Violation::Crc.into(), None, &[], domain, events);
                    return None;
                }
                if let Err(fault) = self.deliver(&segment, &[], domain, events) {
                    self.fault(fault, Some(&segment), &[], domain, events);
                    return None;
                }
                Some(behind)
            }
        }
    }

    /// The beginning of an FPDU.
    // spec: IW-FPD-01, IW-FPD-08, IW-FPD-09, IW-FPD-11
    #[inline]
    fn begin<'b>(
        &mut self,
        bytes: &'b [u8],
        domain: &mut Domain,
        events: &mut Vec<Event>,
    ) -> Option<&'b [u8]> {
        let &[a, b, control, _, ..] = bytes else { return None };
        let ulpdu = u16::from_be_bytes([a, b]);
        let header_len = ddp::header_len(control);
        let Some(len) = usize::from(ulpdu).checked_sub(header_len) else {
            self.fault(Violation::Length.into(), None, &[], domain, events);
            return None;
        };
        let total = fpdu::total(ulpdu);
        let whole = bytes.split_at_checked(total);
        if let Some((fpdu, _)) = whole
            && self.input.check
        {
            let (covered, crc) = fpdu.split_at(total - CRC_LEN);
            if crc32c(covered).to_le_bytes() != *crc {
                self.fault(Violation::Crc.into(), None, &[], domain, events);
                return None;
            }
        }
        let raw = bytes.get(LENGTH_LEN..LENGTH_LEN + header_len)?;
        let mut segment = Segment {
            header: Header { last: true, rdmap: 0, place: Place::Tagged { stag: Default::default(), to: 0 } },
            len: len as u32,
            raw: [0; ddp::UNTAGGED_LEN],
            ulpdu,
        };
        segment.raw[..header_len].copy_from_slice(raw);
        match Header::parse(raw)? {
            Ok((header, _)) => segment.header = header,
            Err(WrongVersion { tagged }) => {
                segment.header.place = match tagged {
                    true => Place::Tagged { stag: Default::default(), to: 0 },
                    false => Place::Untagged { ulp: 0, queue: 0, msn: 0, offset: 0 },
                };
                self.fault(Violation::DdpVersion { tagged }.into(), Some(&segment), &[], domain, events);
                return None;
            }
        }
        let payload = whole.map(|(fpdu, _)| &fpdu[LENGTH_LEN + header_len..LENGTH_LEN + usize::from(ulpdu)]);
        if let Err(fault) = self.admit(&segment, domain) {
            self.fault(fault, Some(&segment), payload.unwrap_or_default(), domain, events);
            return None;
        }
        let Some((payload, (_, behind))) = payload.zip(whole) else {
            if self.needs_whole(&segment) {
                // Not longer than WHOLE_MAX: `admit` has seen to that.
                return None;
            }
            let mut sum = Crc32c::new();
            sum.update(&bytes[..LENGTH_LEN + header_len]);
            self.input.sum = sum;
            self.input.bulk = len > BULK;
            self.input.state = match len {
                0 => State::Trailer(segment),
                _ => State::Data(Payload { segment, done: 0, left: len as u32, direct: 0 }),
            };
            return Some(&bytes[LENGTH_LEN + header_len..]);
        };
        self.input.bulk = len > BULK;
        let taken = match self.needs_whole(&segment) {
            true => Ok(()),
            false => self.put(&segment, 0, payload, false, domain),
        };
        if let Err(fault) = taken.and_then(|()| self.deliver(&segment, payload, domain, events)) {
            self.fault(fault, Some(&segment), payload, domain, events);
            return None;
        }
        Some(behind)
    }

    /// Puts payload where it belongs. Its CRC is taken on the way if it was not checked before.
    #[inline]
    fn put(
        &mut self,
        segment: &Segment,
        mut done: u32,
        mut bytes: &[u8],
        sum: bool,
        domain: &mut Domain,
    ) -> Result<(), Fault> {
        while !bytes.is_empty() {
            let span = self.place(domain, segment, done, bytes.len() as u32)?;
            let room = domain.write(&span);
            let (now, later) = bytes.split_at(room.len().min(bytes.len()));
            if now.is_empty() {
                return Err(Violation::Local.into());
            }
            if sum && self.input.check {
                self.input.sum.copy_and_update(room, now);
            } else {
                room[..now.len()].copy_from_slice(now);
            }
            done += now.len() as u32;
            bytes = later;
        }
        Ok(())
    }

    /// The reply, or a piece of it; returns how many bytes belong to it.
    fn handshake(&mut self, bytes: &[u8], domain: &mut Domain, events: &mut Vec<Event>) -> usize {
        let known = self.frame.len();
        self.frame.extend_from_slice(bytes);
        let frame = std::mem::take(&mut self.frame);
        let (reply, behind) = match Frame::parse(&frame, FrameKind::Reply) {
            Ok(Some(parsed)) => parsed,
            Ok(None) => {
                // Shorter than the longest frame: the private data is bounded by the parser.
                self.frame = frame;
                return bytes.len();
            }
            Err(error) => {
                self.connect_failed(ConnectError::Mpa(error), domain, events);
                return bytes.len();
            }
        };
        let consumed = frame.len() - behind.len() - known;
        if reply.rejected {
            self.rejected(reply.private_data.into(), domain, events);
            return consumed;
        }
        match mpa::conclude(&self.offer, &reply) {
            Ok(agreed) => {
                self.agree(agreed);
                self.establish(reply.private_data.to_vec());
                if let Some(kind) = agreed.rtr {
                    self.ready_to_receive(kind, domain);
                }
            }
            Err(error) => {
                let crc = reply.crc || self.offer.crc == mpa::CrcPolicy::Required;
                self.output.agree(crc, reply.markers);
                self.disagreed(error, domain, events);
            }
        }
        consumed
    }
}
