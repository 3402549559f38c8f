//! From work requests to FPDUs.
//!
//! Requests are taken in the order in which they were posted (RFC 5040 §5.5). A message is cut into segments of one FPDU each
//! and never mixed with another; answers to the peer's RDMA READs take turns with this side's messages.

use super::{
    Phase, QueuePair, ReadIn, ReadOut,
    output::Data,
    queues::{SendEntry, State},
};
use crate::{
    ddp::{self, Header, Place},
    event::Event,
    memory::{AccessError, Domain},
    mpa::{Rtr, fpdu},
    rdmap::{Offender, Opcode, ReadRequest},
    verbs::{Access, Completion, Operation, RegionOptions, Remote, STag, Sge, Status},
    violation::Violation,
};

/// The message that is being cut into segments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Current {
    None,
    /// The next send request, from this byte on.
    Request(u32),
    /// The answer to the oldest RDMA READ of the peer, from this byte on.
    Response(u32),
}

/// Why nothing more can be sent.
pub(super) struct Failure {
    pub(super) violation: Violation,
    pub(super) offender: Option<Offender>,
}

impl From<Violation> for Failure {
    fn from(violation: Violation) -> Self {
        Self { violation, offender: None }
    }
}

impl QueuePair {
    /// Makes FPDUs of what waits, as many as are worth preparing, and reports what is done.
    #[inline]
    pub fn pump(&mut self, domain: &mut Domain, events: &mut Vec<Event>) {
        if let Some(info) = self.announce.take() {
            self.announced = true;
            events.push(Event::Established { qp: self.id, info });
        }
        if let Some(reason) = self.ending.take() {
            return self.end(reason, None, domain, events);
        }
        if self.life != super::Life::Open || self.phase == Phase::AwaitReply {
            return;
        }
        // spec: IW-MPA-09
        if !self.is_initiator && !self.heard {
            return;
        }
        loop {
            self.reap(events);
            while self.output.waiting() < self.send_ahead {
                let progress = match self.current {
                    Current::None => match self.choose() {
                        Some(current) => {
                            self.current = current;
                            Ok(())
                        }
                        None => break,
                    },
                    Current::Request(offset) => self.request(offset, domain),
                    Current::Response(offset) => self.response(offset, domain),
                };
                if let Err(Failure { violation, offender }) = progress {
                    return self.violated(violation, offender, domain, events);
                }
            }
            // What is done without the peer may be what the next request waits for.
            if !self.send.has_waiting() || !self.reap(events) {
                break;
            }
        }
        self.reap(events);
    }

    /// Reports requests that are done, oldest first, and whether there were any. Those that failed wait for the end.
    // spec: IW-QP-02, IW-QP-03
    #[inline]
    pub(super) fn reap(&mut self, events: &mut Vec<Event>) -> bool {
        let mut any = false;
        while let Some(entry) = self.send.pop_done(self.output.left()) {
            any = true;
            if entry.signaled {
                self.completed(events, self.completion(&entry, Status::Success));
            }
        }
        any
    }

    pub(super) fn completion(&self, entry: &SendEntry, status: Status) -> Completion {
        Completion {
            qp: self.id,
            id: entry.id,
            what: entry.what(),
            status,
            len: if status == Status::Success { entry.len } else { 0 },
            invalidated: None,
            solicited: false,
        }
    }

    /// Which message comes next.
    fn choose(&mut self) -> Option<Current> {
        let request = self.send.has_waiting() && self.may_begin();
        let response = !self.reads_in.is_empty();
        self.response_first = response && (!request || self.response_first);
        match (response, request) {
            (true, _) if self.response_first => {
                self.response_first = false;
                Some(Current::Response(0))
            }
            (_, true) => {
                self.response_first = true;
                Some(Current::Request(0))
            }
            _ => None,
        }
    }

    /// Whether the next request may be begun before those in front of it are done.
    // spec: IW-RDM-10, IW-RDM-11, IW-INV-01
    fn may_begin(&self) -> bool {
        let Some(entry) = self.send.get(self.send.next) else { return false };
        if entry.fence && !self.reads_out.is_empty() {
            return false;
        }
        match entry.operation {
            Operation::Read { .. } => self.reads_out.len() < usize::from(self.ord()),
            Operation::LocalInvalidate { .. } => self.send.next_is_oldest(),
            _ => true,
        }
    }

    /// One segment of the next request.
    fn request(&mut self, offset: u32, domain: &mut Domain) -> Result<(), Failure> {
        let number = self.send.next;
        let Some(&entry) = self.send.get(number) else {
            self.current = Current::None;
            return Ok(());
        };
        let done = match entry.operation {
            Operation::Send { invalidate, solicited } => {
                let opcode = Opcode::Send { invalidate: invalidate.is_some(), solicited };
                let place = Place::Untagged {
                    ulp: invalidate.map_or(0, STag::value),
                    queue: ddp::QUEUE_SEND,
                    msn: self.msn_out[0],
                    offset,
                };
                self.segment(number, &entry, opcode, place, offset, domain)
            }
            Operation::Write { remote } => {
                let to = remote.to.wrapping_add(offset.into());
                let place = Place::Tagged { stag: remote.stag, to };
                self.segment(number, &entry, Opcode::Write, place, offset, domain)
            }
            Operation::Read { remote } => self.read(number, &entry, remote, domain).map(|()| None),
            Operation::LocalInvalidate { stag } => match domain.invalidate(stag) {
                Ok(()) => Ok(Some(State::Done(Status::Success))),
                Err(_) => Err(Status::LocalOperation),
            },
            Operation::FastRegister { window, parent, offset, len, access, addressing } => {
                let options = RegionOptions { access, addressing, stream: Some(self.id) };
                let range = offset..offset.saturating_add(len);
                match domain.bind(window, parent, range, options) {
                    Ok(_) => Ok(Some(State::Done(Status::Success))),
                    Err(_) => Err(Status::LocalOperation),
                }
            }
        };
        match done {
            // More segments follow, or the READ has been noted.
            Ok(None) => Ok(()),
            Ok(Some(state)) => {
                if matches!(entry.operation, Operation::Send { .. }) {
                    self.msn_out[0] = self.msn_out[0].wrapping_add(1);
                }
                self.advance(number, state);
                Ok(())
            }
            // spec: IW-QP-05
            Err(status) => {
                self.advance(number, State::Done(status));
                Err(Violation::Local.into())
            }
        }
    }

    fn advance(&mut self, number: u64, state: State) {
        self.send.set(number, state);
        self.send.next = number + 1;
        self.current = Current::None;
    }

    /// One segment of a Send or Write; answers with the new state after the last.
    // spec: IW-DDP-05, IW-DDP-06, IW-DDP-07, IW-FPD-05
    fn segment(
        &mut self,
        number: u64,
        entry: &SendEntry,
        opcode: Opcode,
        place: Place,
        offset: u32,
        domain: &Domain,
    ) -> Result<Option<State>, Status> {
        let mut header = Header { last: false, rdmap: opcode.control(), place };
        // Not more than a u16, and at least 110: the shortest ULPDU limit is 128.
        let room = u32::from(self.mulpdu()) - header.size() as u32;
        let len = room.min(entry.len - offset);
        let end = offset + len;
        header.last = end == entry.len;
        let data = match entry.inline {
            true => Data::Bytes(&self.send.inline(number)[offset as usize..end as usize]),
            false => Data::Pieces { list: self.send.sges(number), offset, len, need: Access::empty() },
        };
        self.output.fpdu(&header, data, domain, self.id).map_err(|_| Status::LocalProtection)?;
        self.current = Current::Request(end);
        Ok(header.last.then(|| State::Leaving(self.output.queued())))
    }

    /// The request of an RDMA READ.
    // spec: IW-RDM-09, IW-RDM-12
    fn read(
        &mut self,
        number: u64,
        entry: &SendEntry,
        source: Remote,
        domain: &Domain,
    ) -> Result<(), Status> {
        let sink = self.send.sges(number).first().copied().unwrap_or_default();
        if sink.len > 0 {
            let mut need = Access::LOCAL_WRITE;
            // The peer is told where to write: that is never said of all memory.
            need.set(Access::REMOTE_WRITE, domain.strict_read_sink || sink.stag == STag::LOCAL);
            domain.check(sink.stag, sink.to, sink.len, need, self.id).map_err(|_| Status::LocalProtection)?;
        }
        let sink_at = Remote { stag: sink.stag, to: sink.to };
        self.send_read(ReadRequest { sink: sink_at, len: entry.len, source }, domain);
        self.reads_out.push_back(ReadOut { number: Some(number), sink, done: 0 });
        self.advance(number, State::Reading);
        Ok(())
    }

    fn send_read(&mut self, request: ReadRequest, domain: &Domain) {
        let header = Header {
            last: true,
            rdmap: Opcode::ReadRequest.control(),
            place: Place::Untagged { ulp: 0, queue: ddp::QUEUE_READ, msn: self.msn_out[1], offset: 0 },
        };
        self.msn_out[1] = self.msn_out[1].wrapping_add(1);
        // Bytes that lie here need no region, so this cannot fail.
        let _ = self.output.fpdu(&header, Data::Bytes(&request.encode()), domain, self.id);
    }

    /// One segment of the answer to the peer's oldest RDMA READ.
    // spec: IW-RDM-14, IW-RDM-15, IW-RDM-16
    fn response(&mut self, offset: u32, domain: &Domain) -> Result<(), Failure> {
        let Some(&ReadIn { request, msn }) = self.reads_in.front() else {
            self.current = Current::None;
            return Ok(());
        };
        let to = request.sink.to.wrapping_add(offset.into());
        let mut header = Header {
            last: false,
            rdmap: Opcode::ReadResponse.control(),
            place: Place::Tagged { stag: request.sink.stag, to },
        };
        let room = u32::from(self.mulpdu()) - header.size() as u32;
        let len = room.min(request.len - offset);
        let end = offset + len;
        header.last = end == request.len;
        let source = Sge { stag: request.source.stag, to: request.source.to, len: request.len };
        let list = [source];
        let data = Data::Pieces { list: &list, offset, len, need: Access::REMOTE_READ };
        self.output
            .fpdu(&header, data, domain, self.id)
            .map_err(|error| read_refused(&request, msn, error))?;
        if header.last {
            self.reads_in.pop_front();
            self.current = Current::None;
        } else {
            self.current = Current::Response(end);
        }
        Ok(())
    }

    /// The first message of the peer-to-peer model.
    // spec: IW-ENH-11
    pub(super) fn ready_to_receive(&mut self, kind: Rtr, domain: &Domain) {
        match kind {
            Rtr::Read => {
                // The peer validates neither of the two; these are what RNICs send.
                let nowhere = Remote { stag: STag::new(1), to: 1 };
                self.send_read(ReadRequest { sink: nowhere, len: 0, source: nowhere }, domain);
                let sink = Sge { stag: nowhere.stag, to: nowhere.to, len: 0 };
                self.reads_out.push_back(ReadOut { number: None, sink, done: 0 });
            }
            Rtr::Write => self.empty_write(domain),
            Rtr::Send => {
                let place =
                    Place::Untagged { ulp: 0, queue: ddp::QUEUE_SEND, msn: self.msn_out[0], offset: 0 };
                let rdmap = Opcode::Send { invalidate: false, solicited: false }.control();
                self.msn_out[0] = self.msn_out[0].wrapping_add(1);
                let header = Header { last: true, rdmap, place };
                let _ = self.output.fpdu(&header, Data::Bytes(&[]), domain, self.id);
            }
        }
    }

    /// An RDMA WRITE of nothing to nowhere: valid, and without effect.
    fn empty_write(&mut self, domain: &Domain) {
        let place = Place::Tagged { stag: STag::new(1), to: 1 };
        let header = Header { last: true, rdmap: Opcode::Write.control(), place };
        let _ = self.output.fpdu(&header, Data::Bytes(&[]), domain, self.id);
    }

    /// Whether the peer may have overlooked what was sent: the initiator has sent something, and has not heard anything.
    pub fn is_unheard(&self) -> bool {
        self.life == super::Life::Open
            && self.is_initiator
            && self.phase == Phase::Full
            && !self.heard
            && (self.send.next > 0 || self.agreed.is_some_and(|agreed| agreed.rtr.is_some()))
    }

    /// Sends something without effect, if that is possible now, to a peer that looks only when something arrives.
    // spec: IW-MPA-13
    pub fn nudge(&mut self, domain: &Domain) {
        if self.is_unheard() && self.current == Current::None && self.output.is_empty() {
            self.empty_write(domain);
        }
    }
}

/// The peer reads what it may not, or may not any more.
fn read_refused(request: &ReadRequest, msn: u32, error: AccessError) -> Failure {
    let place = Place::Untagged { ulp: 0, queue: ddp::QUEUE_READ, msn, offset: 0 };
    let header = Header { last: true, rdmap: Opcode::ReadRequest.control(), place };
    let mut bytes = [0; ddp::UNTAGGED_LEN];
    let len = header.encode(&mut bytes);
    let ulpdu = (len + ReadRequest::LEN) as u16;
    debug_assert_eq!(fpdu::padding(ulpdu), 0);
    let offender = Offender::new(&bytes[..len], ulpdu, Some(request.encode()));
    Failure { violation: Violation::Read(error), offender: Some(offender) }
}
