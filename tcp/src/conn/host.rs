//! The host's end of a connection.
//!
//! A command lives in a slot named by its CID from `submit` until its completion. Its buffer never leaves the slot: data to
//! send is referred to by CID and offset, data that arrives is placed in it. So a completion that comes while data of the
//! command is still waiting to be sent is held back until that has left. What happens to a command is in
//! `host_commands.rs`.

use std::time::Instant;

use nvmf_transport::{
    Close, CloseReason, Command, CommandSlots, Data, Error, HostEvent, Misuse, QueueId, QueueInfo,
    QueueSettings, Refused, Stage,
};
use nvmf_wire::{Cid, Cqe};

use super::{
    host_commands::{Pending, Side, complete},
    link::{Life, Link, Patience},
    negotiate::take_response,
    receive::{Flow, Protocol, Receive},
    send::Slices,
};
use crate::pdu::{ADMIN_IN_CAPSULE, Header, HostTerms, Incoming, Negotiated, Receiver, Role, Violation};

/// What a host's connection has to know.
#[derive(Clone, Copy, Debug)]
pub struct HostSetup {
    /// The queue's name in events.
    pub queue: QueueId,
    /// Entries of the submission queue.
    pub depth: u16,
    /// In-capsule data the controller takes once Connect is done.
    pub in_capsule: u32,
    /// The most data of one command.
    pub max_transfer: u32,
    /// How long to wait for what.
    pub patience: Patience,
}

impl HostSetup {
    /// The event that says the queue is up.
    pub fn announce(&self, info: Box<QueueInfo>) -> HostEvent {
        HostEvent::Connected { queue: self.queue, info }
    }
}

/// One queue pair, seen from the host.
#[derive(Debug)]
pub struct HostConn {
    receive: Receive,
    side: Side,
}

impl HostConn {
    /// A connection that has not sent ICReq yet and has to be negotiated.
    pub fn new(setup: HostSetup) -> Self {
        let depth = setup.depth.max(2);
        let side = Side {
            setup,
            terms: HostTerms::default(),
            link: Link::new(Role::Host, setup.patience),
            commands: CommandSlots::new(depth),
            room: usize::from(depth) - 1,
            in_capsule: ADMIN_IN_CAPSULE,
            landing: None,
            fresh: false,
        };
        Self { receive: Receive::new(), side }
    }

    /// A connection that somebody else has negotiated.
    pub fn negotiated(setup: HostSetup, negotiated: Negotiated) -> Self {
        let mut conn = Self::new(setup);
        conn.side.establish(negotiated);
        conn
    }

    /// Sends ICReq.
    pub fn start(&mut self, terms: HostTerms) {
        self.side.terms = terms;
        self.side.link.request(&terms);
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
        let slots = self.side.setup.depth.max(2);
        if settings.depth > slots || settings.depth < 2 {
            return Err(Misuse::Parameter);
        }
        // spec: TCP-QUE-07
        // With flow control the queue is a ring, which is full when one entry is left.
        self.side.room = usize::from(settings.depth) - usize::from(settings.sq_flow_control);
        // spec: TCP-CMD-03
        self.side.in_capsule = match settings.kind {
            nvmf_transport::QueueKind::Admin => ADMIN_IN_CAPSULE,
            nvmf_transport::QueueKind::Io(_) => self.side.setup.in_capsule,
        };
        Ok(())
    }

    /// Takes a command.
    pub fn submit(&mut self, command: Command) -> Result<Cid, Refused<Command>> {
        self.side.submit(command)
    }

    /// Commands outstanding.
    pub fn outstanding(&self) -> usize {
        self.side.commands.len()
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
    pub fn received(&mut self, n: usize, scratch: &[u8], events: &mut Vec<HostEvent>) {
        // spec: TCP-ERR-01
        if self.side.link.life != Life::Open {
            return;
        }
        let mut pass = Pass { side: &mut self.side, events };
        if let Err(fault) = self.receive.received(n, scratch, &mut pass) {
            let link = &mut self.side.link;
            match link.negotiated.is_none().then(|| link.stranger(&fault)).flatten() {
                Some(reason) => link.over(reason),
                None => link.violated(&fault),
            }
        }
    }

    /// The peer closed its direction.
    pub fn peer_closed(&mut self) {
        let link = &mut self.side.link;
        let partial = self.receive.partial();
        match link.negotiated.is_none().then(|| link.stranger_closed(partial)).flatten() {
            Some(reason) => link.over(reason),
            None => link.peer_closed(self.receive.mid_pdu()),
        }
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
        let commands = &self.side.commands;
        self.side.link.send.gather(
            |part, len| match commands.get(part.cid).map(|pending| &pending.data) {
                Some(Data::ToController(buffer)) => {
                    buffer.get(part.start..part.start + len).unwrap_or_default()
                }
                // Not reached: a command with parts in the queue keeps its slot and its buffer.
                _ => &[],
            },
            slices,
        )
    }

    /// `n` more bytes have left.
    #[inline]
    pub fn wrote(&mut self, n: usize, events: &mut Vec<HostEvent>) {
        let Side { link, commands, setup, .. } = &mut self.side;
        link.send.wrote(n, |part| {
            let Some(pending) = commands.get_mut(part.cid) else {
                return;
            };
            pending.unsent -= 1;
            pending.r2ts -= u32::from(part.ends_r2t);
            if pending.unsent == 0
                && let Some(cqe) = pending.held
            {
                complete(commands, setup.queue, part.cid, cqe, true, events);
            }
        });
        link.note_output();
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
    pub fn finish(&mut self, events: &mut Vec<HostEvent>) {
        let Side { setup: HostSetup { queue, .. }, commands, link, .. } = &mut self.side;
        // spec: TCP-QUE-10
        events.extend(commands.drain().map(|Pending { cookie, data, .. }| HostEvent::Aborted {
            queue: *queue,
            cookie,
            data,
        }));
        events.push(HostEvent::Closed { queue: *queue, reason: link.take_reason() });
    }

    /// What the connection was set up with.
    pub fn setup(&self) -> &HostSetup {
        &self.side.setup
    }
}

/// The connection while it takes in bytes.
struct Pass<'a> {
    side: &'a mut Side,
    events: &'a mut Vec<HostEvent>,
}

impl Protocol for Pass<'_> {
    #[inline]
    fn receiver(&self) -> &Receiver {
        &self.side.link.receiver
    }

    #[inline]
    fn begin(&mut self, _: &Header, pdu: Incoming<'_>) -> Result<Flow, Violation> {
        match pdu {
            Incoming::C2hData(pdu) => self.side.data_begins(pdu)?,
            Incoming::CapsuleResp(pdu) => {
                let cid = pdu.cqe.cid();
                let commands = &mut self.side.commands;
                // spec: TCP-RSP-05
                if commands.get(cid).is_none_or(|pending| pending.held.is_some()) {
                    return Err(Violation::UnknownCompletion { cid: cid.0 });
                }
                complete(commands, self.side.setup.queue, cid, pdu.cqe, true, self.events);
            }
            Incoming::R2t(pdu) => self.side.ready_to_transfer(pdu)?,
            Incoming::IcResp(pdu) => {
                let negotiated = take_response(&self.side.terms, pdu)?;
                self.side.establish(negotiated);
            }
            Incoming::TermReq(request) => {
                // spec: TCP-ERR-11, TCP-ERR-14, TCP-TRM-07
                self.side.link.accused(&request);
                return Ok(Flow::Stop);
            }
            // Not reached: the validator refuses what goes the other way.
            Incoming::IcReq(_) | Incoming::CapsuleCmd(_) | Incoming::H2cData(_) => return Ok(Flow::Stop),
        }
        Ok(Flow::Continue)
    }

    #[inline]
    fn sink(&mut self) -> Option<&mut [u8]> {
        self.side.sink()
    }

    #[inline]
    fn end(&mut self, intact: bool) {
        let Some(landing) = self.side.landing.take() else {
            return;
        };
        // spec: TCP-DG-11, TCP-DG-12
        if !intact && let Some(pending) = self.side.commands.get_mut(landing.cid) {
            pending.corrupt = true;
        }
        if landing.success {
            // spec: TCP-C2H-07
            // Some controllers do this with flow control on, although they must not (TCP-C2H-09). The completion is valid
            // all the same; that it carries no queue head is said in the event.
            let cqe = Cqe::success(landing.cid);
            complete(&mut self.side.commands, self.side.setup.queue, landing.cid, cqe, false, self.events);
        }
    }
}
