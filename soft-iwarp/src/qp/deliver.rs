//! What a segment of the peer may do, and what happens when it is complete.
//!
//! [`admit`](QueuePair::admit) checks a header against all that is known, [`place`](QueuePair::place) says where payload goes,
//! [`deliver`](QueuePair::deliver) draws the consequences; only that changes anything. Checks follow RFC 5041 §5.2 and RFC
//! 5040 §7.

use super::{
    Life, Phase, QueuePair, ReadIn,
    queues::{State, locate},
    receive::{Fault, Segment},
};
use crate::{
    ddp::{Place, QUEUE_READ, QUEUE_SEND, QUEUE_TERMINATE},
    event::Event,
    memory::{AccessError, Domain, Span},
    mpa::Rtr,
    rdmap::{BadControl, Opcode, ReadRequest, TERMINATE_MAX, Terminate},
    verbs::{Access, Completed, Completion, STag, Status},
    violation::Violation,
};

impl Segment {
    /// The opcode, once the segment was admitted.
    fn opcode(&self) -> Result<Opcode, Violation> {
        Opcode::parse(self.header.rdmap).map_err(|bad| match bad {
            BadControl::Version => Violation::RdmapVersion,
            BadControl::Opcode => Violation::Opcode,
        })
    }
}

impl QueuePair {
    /// Whether a segment is looked at only as a whole, because it says something to this layer.
    pub(super) fn needs_whole(&self, segment: &Segment) -> bool {
        matches!(segment.header.place, Place::Untagged { queue: QUEUE_READ | QUEUE_TERMINATE, .. })
    }

    /// Whether a segment may come now.
    #[inline]
    pub(super) fn admit(&self, segment: &Segment, domain: &Domain) -> Result<(), Fault> {
        let header = &segment.header;
        match header.place {
            Place::Tagged { stag, to } => match segment.opcode()? {
                Opcode::Write => {
                    self.admit_first(Rtr::Write, segment.len == 0 && header.last)?;
                    // spec: IW-RDM-03, IW-RDM-04
                    if segment.len > 0 {
                        domain
                            .check(stag, to, segment.len, Access::REMOTE_WRITE, self.id())
                            .map_err(Violation::Tagged)?;
                    }
                    Ok(())
                }
                Opcode::ReadResponse => {
                    self.not_first()?;
                    Ok(self.admit_response(segment, stag, to, domain)?)
                }
                _ => Err(Violation::Opcode.into()),
            },
            Place::Untagged { queue, msn, offset, .. } => {
                // spec: IW-DDP-08
                if queue > QUEUE_TERMINATE {
                    return Err(Violation::Queue.into());
                }
                // spec: IW-RDM-05
                match (queue, segment.opcode()?) {
                    (QUEUE_SEND, Opcode::Send { .. }) => self.admit_send(segment, msn, offset),
                    (QUEUE_READ, Opcode::ReadRequest) => Ok(self.admit_read(segment, msn, offset)?),
                    (QUEUE_TERMINATE, Opcode::Terminate) => match segment.len as usize > TERMINATE_MAX {
                        true => Err(Violation::TooLong.into()),
                        false => Ok(()),
                    },
                    _ => Err(Violation::Opcode.into()),
                }
            }
        }
    }

    /// The first message of the peer-to-peer model is the one that was agreed upon.
    // spec: IW-ENH-12
    fn admit_first(&self, kind: Rtr, empty: bool) -> Result<(), Violation> {
        match self.phase {
            Phase::AwaitRtr(awaited) if awaited != kind || !empty => Err(Violation::Rtr),
            _ => Ok(()),
        }
    }

    fn not_first(&self) -> Result<(), Violation> {
        if matches!(self.phase, Phase::AwaitRtr(_)) { Err(Violation::Rtr) } else { Ok(()) }
    }

    // spec: IW-DDP-09, IW-DDP-10, IW-DDP-11, IW-DDP-12, IW-RDM-06
    fn admit_send(&self, segment: &Segment, msn: u32, offset: u32) -> Result<(), Fault> {
        self.admit_first(Rtr::Send, segment.len == 0 && segment.header.last)?;
        if msn != self.msn_in[0] {
            return Err(Violation::Msn.into());
        }
        if offset != self.message.unwrap_or(0) {
            return Err(Violation::Offset.into());
        }
        if self.phase == Phase::AwaitRtr(Rtr::Send) {
            return Ok(());
        }
        let Some((room, _)) = self.receives.front() else {
            return Err(Violation::NoBuffer.into());
        };
        if segment.len > room - offset.min(room) {
            return Err(Fault { violation: Violation::TooLong, receive: Some(Status::LocalLength) });
        }
        Ok(())
    }

    // spec: IW-RDM-13
    fn admit_read(&self, segment: &Segment, msn: u32, offset: u32) -> Result<(), Violation> {
        if segment.len as usize > ReadRequest::LEN || !segment.header.last {
            return Err(Violation::TooLong);
        }
        if (segment.len as usize) < ReadRequest::LEN {
            return Err(Violation::Malformed);
        }
        if msn != self.msn_in[1] {
            return Err(Violation::Msn);
        }
        if offset != 0 {
            return Err(Violation::Offset);
        }
        if self.reads_in.len() >= self.ird().into() {
            return Err(Violation::NoBuffer);
        }
        Ok(())
    }

    // spec: IW-RDM-17, IW-RDM-18
    fn admit_response(
        &self,
        segment: &Segment,
        stag: STag,
        to: u64,
        domain: &Domain,
    ) -> Result<(), Violation> {
        let read = self.reads_out.front().ok_or(Violation::Opcode)?;
        if stag != read.sink.stag {
            return Err(Violation::Tagged(AccessError::Invalid));
        }
        let left = read.sink.len - read.done;
        // What was asked for, from where the last segment ended, and all of it with the last.
        if to != read.sink.to.wrapping_add(read.done.into())
            || segment.len > left
            || segment.header.last != (segment.len == left)
        {
            return Err(Violation::Tagged(AccessError::Bounds));
        }
        if segment.len > 0 {
            domain.check(stag, to, segment.len, Access::LOCAL_WRITE, self.id()).map_err(Violation::Tagged)?;
        }
        Ok(())
    }

    /// Where the payload of an admitted segment goes from byte `done` on: at most `len` bytes.
    #[inline]
    pub(super) fn place(
        &self,
        domain: &Domain,
        segment: &Segment,
        done: u32,
        len: u32,
    ) -> Result<Span, Violation> {
        match segment.header.place {
            Place::Tagged { stag, to } => {
                // The right that was asked for when the segment was admitted.
                let need = match segment.opcode() {
                    Ok(Opcode::Write) => Access::REMOTE_WRITE,
                    _ => Access::LOCAL_WRITE,
                };
                domain
                    .check(stag, to.wrapping_add(done.into()), len, need, self.id())
                    .map_err(Violation::Tagged)
            }
            Place::Untagged { offset, .. } => {
                let (_, list) = self.receives.front().ok_or(Violation::NoBuffer)?;
                let sge = locate(list, offset.wrapping_add(done)).ok_or(Violation::TooLong)?;
                domain
                    .check(sge.stag, sge.to, sge.len.min(len), Access::LOCAL_WRITE, self.id())
                    // The receive names memory that is not there: no fault of the peer.
                    .map_err(|_| Violation::Local)
            }
        }
    }

    /// A segment is complete and intact. `payload` is there for those that are looked at as a whole.
    pub(super) fn deliver(
        &mut self,
        segment: &Segment,
        payload: &[u8],
        domain: &mut Domain,
        events: &mut Vec<Event>,
    ) -> Result<(), Fault> {
        let header = &segment.header;
        let opcode = segment.opcode()?;
        if opcode != Opcode::Terminate {
            self.heard = true;
        }
        let awaited = matches!(self.phase, Phase::AwaitRtr(_));
        match (header.place, opcode) {
            (_, Opcode::Write) => self.in_tagged = !header.last,
            (_, Opcode::ReadResponse) => {
                self.in_tagged = !header.last;
                self.response_delivered(segment);
            }
            (Place::Untagged { queue: QUEUE_READ, .. }, _) => {
                self.msn_in[1] = self.msn_in[1].wrapping_add(1);
                let request = payload.first_chunk().map(ReadRequest::parse).ok_or(Violation::Malformed)?;
                self.admit_first(Rtr::Read, request.len == 0)?;
                // spec: IW-RDM-14
                if request.len > 0 {
                    let (stag, to) = (request.source.stag, request.source.to);
                    domain
                        .check(stag, to, request.len, Access::REMOTE_READ, self.id())
                        .map_err(Violation::Read)?;
                }
                let Place::Untagged { msn, .. } = header.place else { return Ok(()) };
                self.reads_in.push_back(ReadIn { request, msn });
            }
            (Place::Untagged { .. }, Opcode::Terminate) => {
                let terminate = Terminate::parse(payload).unwrap_or(Self::unreadable());
                self.terminated(terminate, domain, events);
                return Ok(());
            }
            (Place::Untagged { ulp, .. }, Opcode::Send { invalidate, solicited }) => {
                let invalidate = invalidate.then_some(STag::new(ulp));
                self.send_delivered(segment, invalidate, solicited, domain, events)?;
            }
            // Not admitted.
            _ => return Err(Violation::Opcode.into()),
        }
        if awaited && self.life() == Life::Open {
            self.establish(Vec::new());
        }
        Ok(())
    }

    fn response_delivered(&mut self, segment: &Segment) {
        let Some(read) = self.reads_out.front_mut() else { return };
        read.done += segment.len;
        if segment.header.last {
            let number = read.number;
            self.reads_out.pop_front();
            if let Some(number) = number {
                self.send.set(number, State::Done(Status::Success));
            }
        }
    }

    // spec: IW-RDM-07, IW-INV-02, IW-INV-04
    fn send_delivered(
        &mut self,
        segment: &Segment,
        invalidate: Option<STag>,
        solicited: bool,
        domain: &mut Domain,
        events: &mut Vec<Event>,
    ) -> Result<(), Fault> {
        let len = self.message.unwrap_or(0) + segment.len;
        if !segment.header.last {
            self.message = Some(len);
            return Ok(());
        }
        self.message = None;
        self.msn_in[0] = self.msn_in[0].wrapping_add(1);
        if self.phase == Phase::AwaitRtr(Rtr::Send) {
            return Ok(());
        }
        if let Some(stag) = invalidate {
            domain.invalidate_remotely(stag, self.id()).map_err(Violation::Invalidate)?;
        }
        let id = self.receives.pop().ok_or(Violation::NoBuffer)?;
        let completion = Completion {
            qp: self.id(),
            id,
            what: Completed::Receive,
            status: Status::Success,
            len,
            invalidated: invalidate,
            solicited,
        };
        self.completed(events, completion);
        Ok(())
    }
}
