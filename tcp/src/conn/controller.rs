//! The controller's end of a connection.
//!
//! A command lives in a slot named by its [`RequestId`] until it is answered. Data that came with it is placed in a pooled
//! buffer; other data is fetched by R2T, one per fetch, into the buffer that the fetch brought, at most MAXR2T of them at a
//! time and in order. An answer is data by reference, then the completion, folded into the last data where that is allowed.
//!
//! What happens to a command is in `controller_commands.rs`, its slot and how its SGL is judged in `slots.rs`, the fetches
//! in `fetch.rs`.

use std::{sync::Arc, time::Instant};

use nvmf_transport::{
    Buffer, Close, CloseReason, ControllerEvent, Error, Gather, ListenerId, Misuse, Pool, QueueId, QueueInfo,
    QueueSettings, Refused, RequestData, RequestId, Stage,
};
use nvmf_wire::{Cqe, Status};

use super::{
    controller_commands::{Current, Side},
    fetch::Fetches,
    link::{Life, Link, Patience},
    negotiate::Answer,
    receive::{Flow, Protocol, Receive},
    send::Slices,
    slots::{Direction, Slots},
};
use crate::pdu::{
    ADMIN_IN_CAPSULE, ControllerTerms, Header, Incoming, Negotiated, Receiver, Role, Violation,
};

/// Commands accepted before Connect has settled the size of the queue.
const DEPTH_BEFORE_CONNECT: u16 = 32;

/// What a controller's connection has to know.
#[derive(Clone, Debug)]
pub struct ControllerSetup {
    /// The queue's name in events.
    pub queue: QueueId,
    /// The listener it came by.
    pub listener: ListenerId,
    /// In-capsule data taken on I/O queues.
    pub in_capsule: u32,
    /// The most data in one C2HData; a multiple of 4.
    pub max_c2h_data: u32,
    /// Fetches of one request that may be outstanding.
    pub max_fetches: u16,
    /// The largest queue.
    pub max_depth: u16,
    /// Where in-capsule data goes, up to [`ADMIN_IN_CAPSULE`] bytes.
    pub small: Arc<Pool>,
    /// Where longer in-capsule data goes.
    pub large: Arc<Pool>,
    /// How long to wait for what.
    pub patience: Patience,
}

impl ControllerSetup {
    /// The event that says the queue is up.
    pub fn announce(&self, info: Box<QueueInfo>) -> ControllerEvent {
        ControllerEvent::Accepted { queue: self.queue, listener: self.listener, info }
    }
}

/// One queue pair, seen from the controller.
#[derive(Debug)]
pub struct ControllerConn {
    receive: Receive,
    side: Side,
}

impl ControllerConn {
    /// A connection on which ICReq is awaited.
    pub fn new(setup: ControllerSetup, terms: ControllerTerms) -> Self {
        let depth = DEPTH_BEFORE_CONNECT.min(setup.max_depth);
        let side = Side {
            terms,
            answer: Answer::Awaited,
            link: Link::new(Role::Controller, setup.patience),
            slots: Slots::new(depth),
            fetches: Fetches::new(depth, setup.max_fetches),
            fold: false,
            admin: false,
            in_capsule: ADMIN_IN_CAPSULE,
            current: Current::Nothing,
            fresh: false,
            setup,
        };
        Self { receive: Receive::new(), side }
    }

    /// A connection that somebody else has negotiated.
    pub fn negotiated(setup: ControllerSetup, negotiated: Negotiated) -> Self {
        let mut conn = Self::new(setup, ControllerTerms::default());
        conn.side.establish(negotiated);
        conn
    }

    /// What was negotiated, once it is.
    pub fn negotiated_terms(&self) -> Option<&Negotiated> {
        self.side.link.negotiated.as_ref()
    }

    /// Whether negotiation ended since this was last asked.
    pub fn take_established(&mut self) -> bool {
        std::mem::take(&mut self.side.fresh)
    }

    /// What Connect settled.
    pub fn configure(&mut self, settings: &QueueSettings) -> Result<(), Misuse> {
        self.side.configure(settings)
    }

    /// Pulls data of a request into `into`.
    pub fn fetch(&mut self, request: RequestId, offset: u32, into: Buffer) -> Result<(), Refused<Buffer>> {
        let Side { link, slots, fetches, .. } = &mut self.side;
        let Some(slot) = slots.get_mut(request) else {
            return Err(Refused::new(into, Misuse::UnknownRequest));
        };
        if link.life != Life::Open {
            return Err(Refused::new(into, Misuse::Closing));
        }
        if slot.direction != Direction::ToController {
            return Err(Refused::new(into, Misuse::DataLength));
        }
        fetches.ask(request, slot, offset, into)?;
        fetches.issue(slots, link);
        Ok(())
    }

    /// Answers a request: data, then the completion.
    #[inline]
    pub fn respond(&mut self, request: RequestId, cqe: Cqe, data: Gather) -> Result<(), Refused<Gather>> {
        self.side.respond(request, cqe, data)
    }

    /// Commands received and not answered.
    pub fn outstanding(&self) -> usize {
        self.side.slots.live()
    }

    /// Where the next bytes from the peer belong, in order; the same `scratch`, unchanged, goes into
    /// [`received`](Self::received).
    #[inline]
    pub fn targets<'a>(&'a mut self, scratch: &'a mut [u8]) -> [&'a mut [u8]; 2] {
        if self.side.link.life != Life::Open {
            return [&mut [], scratch];
        }
        let side = &mut self.side;
        self.receive.targets(|| side.sink(), scratch)
    }

    /// `n` bytes arrived in the targets.
    #[inline]
    pub fn received(&mut self, n: usize, scratch: &[u8], events: &mut Vec<ControllerEvent>) {
        // spec: TCP-ERR-01
        if self.side.link.life != Life::Open {
            return;
        }
        let mut pass = Pass { side: &mut self.side, events };
        if let Err(fault) = self.receive.received(n, scratch, &mut pass) {
            // spec: TCP-ERR-02
            self.side.link.violated(&fault);
        }
    }

    /// The peer closed its direction.
    pub fn peer_closed(&mut self) {
        self.side.link.peer_closed(self.receive.mid_pdu());
    }

    /// The byte stream failed.
    pub fn failed(&mut self, error: Error) {
        self.side.link.over(CloseReason::Failed(error));
    }

    /// Whether bytes wait to be sent.
    #[inline]
    pub fn has_output(&self) -> bool {
        !self.side.link.send.is_empty()
    }

    /// What one system call should send, and how many bytes that is.
    #[inline]
    pub fn gather<'a>(&'a self, slices: &mut Slices<'a>) -> usize {
        self.side.link.send.gather(|view, _| view, slices)
    }

    /// `n` more bytes have left.
    #[inline]
    pub fn wrote(&mut self, n: usize, _: &mut Vec<ControllerEvent>) {
        let side = &mut self.side;
        side.slots.unsent -= side.link.send.wrote(n, drop);
        side.link.note_output();
        // spec: TCP-IC-21
        if let Answer::Leaving(negotiated) = side.answer
            && side.link.send.is_empty()
            && side.link.life == Life::Open
        {
            side.establish(negotiated);
        }
    }

    /// The socket takes nothing at the moment.
    pub fn blocked(&mut self) {
        self.side.link.note_blocked();
    }

    /// What to do with the socket.
    #[inline]
    pub fn life(&self) -> Life {
        self.side.link.life
    }

    /// When [`expire`](Self::expire) wants to be called.
    #[inline]
    pub fn deadline(&mut self, now: Instant) -> Option<Instant> {
        self.side.link.deadline(now)
    }

    /// How far the connection has come.
    pub fn stage(&self) -> Stage {
        self.side.link.stage()
    }

    /// Ends what has been waited for long enough.
    pub fn expire(&mut self, now: Instant) {
        // spec: TCP-IC-24
        self.side.link.expire(now, self.receive.mid_pdu());
    }

    /// Ends the queue.
    pub fn close(&mut self, how: Close) {
        match how {
            Close::AfterFlush if self.side.link.negotiated.is_some() => {
                self.side.link.drain(CloseReason::Requested);
            }
            _ => self.side.link.over(CloseReason::Requested),
        }
    }

    /// Gives back everything that is outstanding, then the end.
    pub fn finish(&mut self, events: &mut Vec<ControllerEvent>) {
        let Side { setup, fetches, link, .. } = &mut self.side;
        // spec: TCP-QUE-10
        fetches.abort(events);
        events.push(ControllerEvent::Closed { queue: setup.queue, reason: link.take_reason() });
    }

    /// What the connection was set up with.
    pub fn setup(&self) -> &ControllerSetup {
        &self.side.setup
    }
}

/// The connection while it takes in bytes.
struct Pass<'a> {
    side: &'a mut Side,
    events: &'a mut Vec<ControllerEvent>,
}

impl Protocol for Pass<'_> {
    #[inline]
    fn receiver(&self) -> &Receiver {
        &self.side.link.receiver
    }

    #[inline]
    fn begin(&mut self, header: &Header, pdu: Incoming<'_>) -> Result<Flow, Violation> {
        match pdu {
            Incoming::CapsuleCmd(pdu) => {
                self.side.command(&pdu.sqe, header.layout().data_len(), self.events)?;
            }
            Incoming::H2cData(pdu) => self.side.data_begins(pdu)?,
            Incoming::IcReq(request) => {
                // spec: TCP-IC-04
                if !matches!(self.side.answer, Answer::Awaited) {
                    return Err(Violation::AlreadyInitialized(header.kind()));
                }
                let negotiated = self.side.link.answer(&self.side.terms, request)?;
                self.side.answer = Answer::Leaving(negotiated);
            }
            Incoming::TermReq(request) => {
                // spec: TCP-ERR-11, TCP-ERR-14, TCP-TRM-07
                self.side.link.accused(&request);
                return Ok(Flow::Stop);
            }
            // Not reached: the validator refuses what goes the other way.
            Incoming::IcResp(_) | Incoming::CapsuleResp(_) | Incoming::C2hData(_) | Incoming::R2t(_) => {
                return Ok(Flow::Stop);
            }
        }
        Ok(Flow::Continue)
    }

    #[inline]
    fn sink(&mut self) -> Option<&mut [u8]> {
        self.side.sink()
    }

    #[inline]
    fn end(&mut self, intact: bool) {
        match std::mem::replace(&mut self.side.current, Current::Nothing) {
            Current::Nothing => {}
            Current::Capsule { request, sqe, data } => {
                // spec: TCP-DG-13, TCP-DG-15
                let data = match data {
                    Ok(_) if !intact => Err(Status::TRANSIENT_TRANSPORT_ERROR),
                    data => data.map(RequestData::InCapsule),
                };
                self.events.push(ControllerEvent::Command { request, sqe, data });
            }
            Current::Fetch { tag, len, .. } => {
                let Side { fetches, slots, link, .. } = &mut *self.side;
                if fetches.data_ends(tag, len, intact, slots, self.events) {
                    fetches.issue(slots, link);
                }
            }
        }
    }
}
