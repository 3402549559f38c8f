//! How a connection ends: a Terminate message if the peer or this side broke it, then the end of the stream; and everything
//! outstanding is reported at once, in order.

use std::io;

use super::{Life, Phase, QueuePair, output::Data, queues::State, transmit::Current};
use crate::{
    ddp::{self, Header, Place},
    event::{ConnectError, Disconnect, Event},
    memory::Domain,
    mpa::MpaError,
    rdmap::{ErrorCode, Offender, Opcode, TERMINATE_MAX, Terminate},
    verbs::{Completed, Completion, Status},
    violation::{Headers, Violation},
};

impl QueuePair {
    /// The peer broke the protocol, or something failed here: says so and ends.
    // spec: IW-TRM-09, IW-TRM-10
    #[cold]
    pub(super) fn violated(
        &mut self,
        violation: Violation,
        offender: Option<Offender>,
        domain: &Domain,
        events: &mut Vec<Event>,
    ) {
        let mut terminate = Terminate::new(violation.code());
        terminate.segment = match violation.headers() {
            Headers::None => None,
            Headers::Ddp => offender.map(Offender::without_read),
            Headers::DdpAndRead => offender,
        };
        self.end(Disconnect::Terminated(terminate), Some(terminate), domain, events);
    }

    /// The oldest receive has failed.
    pub(super) fn receive_failed(&mut self, events: &mut Vec<Event>, status: Status) {
        if let Some(id) = self.receives.pop() {
            self.received_completion(events, id, status);
        }
    }

    fn received_completion(&self, events: &mut Vec<Event>, id: u64, status: Status) {
        let what = Completed::Receive;
        self.completed(
            events,
            Completion { qp: self.id, id, what, status, len: 0, invalidated: None, solicited: false },
        );
    }

    /// The reply cannot be agreed to. Where there is a code for it the peer is told.
    #[cold]
    pub(super) fn disagreed(&mut self, error: MpaError, domain: &Domain, events: &mut Vec<Event>) {
        let violation = match error {
            MpaError::InsufficientIrd { .. } => Some(Violation::InsufficientIrd),
            MpaError::NoCommonRtr => Some(Violation::Rtr),
            _ => None,
        };
        self.close(violation.map(|v| Terminate::new(v.code())), domain, events);
        let error = Box::new(ConnectError::Mpa(error));
        events.push(Event::ConnectFailed { qp: self.id, error });
    }

    /// The responder does not want the connection.
    #[cold]
    pub(super) fn rejected(&mut self, private_data: Box<[u8]>, domain: &Domain, events: &mut Vec<Event>) {
        self.close(None, domain, events);
        events.push(Event::Rejected { qp: self.id, private_data });
    }

    /// A Terminate message of the peer.
    // spec: IW-TRM-11
    #[cold]
    pub(super) fn terminated(&mut self, terminate: Terminate, domain: &Domain, events: &mut Vec<Event>) {
        // A READ that was refused is known by the protection error of RDMAP: READs are answered in order, so it is the oldest.
        if terminate.code.layer == 0
            && terminate.code.kind == 1
            && terminate.segment.as_ref().is_some_and(|segment| segment.read().is_some())
            && let Some(number) = self.reads_out.front().and_then(|read| read.number)
        {
            self.send.set(number, State::Done(Status::RemoteAccess));
        }
        self.end(Disconnect::TerminatedByPeer(terminate), None, domain, events);
    }

    /// The peer has ended its direction.
    // spec: IW-END-01, IW-END-02
    #[cold]
    pub fn peer_closed(&mut self, domain: &Domain, events: &mut Vec<Event>) {
        self.peer_done = true;
        if self.life != Life::Open {
            return self.settle();
        }
        if self.phase == Phase::AwaitReply {
            return self.connect_failed(ConnectError::Closed, domain, events);
        }
        let within = self.input.is_within() || self.message.is_some() || self.in_tagged;
        let reason = match within {
            true => Disconnect::Lost(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "the peer ended the connection within a message",
            )),
            false => Disconnect::Peer,
        };
        self.end(reason, None, domain, events);
    }

    /// The stream is lost.
    // spec: IW-END-03
    #[cold]
    pub fn failed(&mut self, error: io::Error, domain: &Domain, events: &mut Vec<Event>) {
        if self.life == Life::Open {
            match self.phase {
                Phase::AwaitReply => self.connect_failed(ConnectError::Tcp(error), domain, events),
                _ => self.end(Disconnect::Lost(error), None, domain, events),
            }
        }
        self.life = Life::Over;
    }

    /// The connection did not come about.
    #[cold]
    pub fn connect_failed(&mut self, error: ConnectError, domain: &Domain, events: &mut Vec<Event>) {
        if self.life != Life::Open {
            return;
        }
        self.close(None, domain, events);
        events.push(Event::ConnectFailed { qp: self.id, error: Box::new(error) });
    }

    /// Memory that was to be sent is gone: ends the connection.
    #[cold]
    pub fn memory_lost(&mut self, domain: &Domain, events: &mut Vec<Event>) {
        self.violated(Violation::Local, None, domain, events);
    }

    /// Ends the connection without a report, and lets go of all memory: the queue pair is destroyed.
    #[cold]
    pub fn abandon(&mut self, domain: &Domain) {
        match self.life {
            Life::Open => self.close(None, domain, &mut Vec::new()),
            Life::Idle => self.life = Life::Over,
            Life::Draining | Life::Over => {}
        }
    }

    #[cold]
    pub(super) fn end(
        &mut self,
        reason: Disconnect,
        last_word: Option<Terminate>,
        domain: &Domain,
        events: &mut Vec<Event>,
    ) {
        if self.life != Life::Open {
            return;
        }
        let announced = self.announced;
        if let Some(info) = self.announce.take().filter(|_| !announced) {
            self.announced = true;
            events.push(Event::Established { qp: self.id, info });
        }
        self.close(last_word, domain, events);
        events.push(match (self.announced, reason) {
            (true, reason) => Event::Disconnected { qp: self.id, reason: Box::new(reason) },
            (false, Disconnect::Lost(error)) => {
                Event::ConnectFailed { qp: self.id, error: Box::new(ConnectError::Tcp(error)) }
            }
            (false, _) => Event::ConnectFailed { qp: self.id, error: Box::new(ConnectError::Closed) },
        });
    }

    /// Stops: the last words are queued, and all work requests come back.
    fn close(&mut self, last_word: Option<Terminate>, domain: &Domain, events: &mut Vec<Event>) {
        self.reap(events);
        let whole = self.output.abandon(domain, self.id);
        self.current = Current::None;
        self.life = if whole { Life::Draining } else { Life::Over };
        if let Some(terminate) = last_word.filter(|_| whole) {
            self.send_terminate(&terminate, domain);
        }
        self.reads_in.clear();
        self.reads_out.clear();
        self.flush(events);
        self.settle();
    }

    // spec: IW-TRM-01, IW-TRM-02
    fn send_terminate(&mut self, terminate: &Terminate, domain: &Domain) {
        let mut bytes = [0; TERMINATE_MAX];
        let len = terminate.encode(&mut bytes);
        let header = Header {
            last: true,
            rdmap: Opcode::Terminate.control(),
            place: Place::Untagged { ulp: 0, queue: ddp::QUEUE_TERMINATE, msn: 1, offset: 0 },
        };
        let _ = self.output.fpdu(&header, Data::Bytes(&bytes[..len]), domain, self.id);
    }

    /// Reports everything outstanding, in order.
    // spec: IW-QP-04
    fn flush(&mut self, events: &mut Vec<Event>) {
        while let Some(entry) = self.send.pop() {
            let status = match entry.state {
                State::Done(Status::Success) | State::Waiting | State::Leaving(_) | State::Reading => {
                    Status::Flushed
                }
                State::Done(status) => status,
            };
            self.completed(events, self.completion(&entry, status));
        }
        while let Some(id) = self.receives.pop() {
            self.received_completion(events, id, Status::Flushed);
        }
        self.message = None;
    }

    /// Whether the stream has served its purpose.
    pub(super) fn settle(&mut self) {
        if self.life == Life::Draining && self.peer_done && self.output.is_empty() {
            self.life = Life::Over;
        }
    }

    /// A Terminate message that could not be read.
    pub(super) const fn unreadable() -> Terminate {
        Terminate::new(ErrorCode::new(0, 2, 0xFF))
    }
}
