//! A queue pair as a pure state machine: no socket, no clock, no thread.
//!
//! A driver moves bytes between a [`QueuePair`] and a byte stream and passes calls and events between it and whoever uses it:
//!
//! * in: [`targets`](QueuePair::targets) says where the next bytes belong, [`received`](QueuePair::received) deals with them;
//! * out: [`pump`](QueuePair::pump) makes FPDUs of what was posted, [`gather`](QueuePair::gather) lists slices for one system
//!   call, [`wrote`](QueuePair::wrote) notes how much of them left;
//! * end: [`life`](QueuePair::life) says what to do with the stream. When it ends, everything outstanding is reported at once.
//!
//! The memory it works on is a [`Domain`], which is passed in. Start with `receive.rs` (framing and placement) and
//! `deliver.rs` (what a segment may do), then `transmit.rs`. `queues.rs` has the work requests, `output.rs` what waits to be
//! sent, `finish.rs` how it ends.

mod deliver;
mod finish;
mod output;
mod queues;
mod receive;
mod transmit;

use std::{collections::VecDeque, net::SocketAddr};

use output::Output;
pub use output::Slices;
use queues::{ReceiveRing, SendRing};
use receive::Receive;
pub use receive::SCRATCH_MIN;
use transmit::Current;

use crate::{
    config::{ConnectionConfig, QpConfig},
    event::{Disconnect, Established, Event},
    memory::Domain,
    mpa::{self, Agreed, FRAME_MAX, Frame, MpaError, Offer, Rtr, fpdu},
    rdmap::ReadRequest,
    verbs::{Completion, Operation, PostError, Qp, ReceiveRequest, SendRequest, Sge},
};

/// What the driver has to do with the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Life {
    /// There is none yet.
    Idle,
    /// Carry bytes both ways.
    Open,
    /// Send what waits, then shut down this direction; throw away what comes, until the peer closes too.
    Draining,
    /// Close it.
    Over,
}

/// How far a connection has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// The request is on its way or the reply awaited.
    AwaitReply,
    /// The responder waits for the first message, which must be this one.
    AwaitRtr(Rtr),
    /// Full operation.
    Full,
}

/// An RDMA READ of this side.
#[derive(Clone, Copy, Debug)]
struct ReadOut {
    /// Its request; `None` for the ready-to-receive message.
    number: Option<u64>,
    sink: Sge,
    done: u32,
}

/// An RDMA READ of the peer.
#[derive(Clone, Copy, Debug)]
struct ReadIn {
    request: ReadRequest,
    msn: u32,
}

/// A queue pair and its connection.
#[derive(Debug)]
pub struct QueuePair {
    id: Qp,
    life: Life,
    phase: Phase,
    is_initiator: bool,
    offer: Offer,
    addresses: Option<(SocketAddr, SocketAddr)>,
    agreed: Option<Agreed>,
    /// To be reported with the next pump.
    announce: Option<Box<Established>>,
    announced: bool,
    /// Asked for, and not done yet.
    ending: Option<Disconnect>,
    /// The peer has ended its direction.
    peer_done: bool,

    send: SendRing,
    receives: ReceiveRing,
    output: Output,
    current: Current,
    /// Whose turn it is, if both a response and a request wait.
    response_first: bool,
    reads_out: VecDeque<ReadOut>,
    reads_in: VecDeque<ReadIn>,
    /// Message numbers of what is sent, by queue: Send, Read Request.
    msn_out: [u32; 2],

    input: Receive,
    /// Message numbers that come next, by queue.
    msn_in: [u32; 2],
    /// Bytes of the current Send that have come; `None` between two.
    message: Option<u32>,
    /// Within a tagged message of several segments.
    in_tagged: bool,
    /// A valid FPDU has come.
    heard: bool,
    /// The frame that is awaited, as far as it has come.
    frame: Vec<u8>,

    emss: u32,
    max_ulpdu: u16,
    send_ahead: u64,
}

impl QueuePair {
    /// A queue pair without a connection, that prepares about `send_ahead` bytes for a stream that does not take them yet.
    pub fn new(id: Qp, config: &QpConfig, send_ahead: usize) -> Self {
        let defaults = ConnectionConfig::default();
        Self {
            id,
            life: Life::Idle,
            phase: Phase::AwaitReply,
            is_initiator: false,
            offer: offer(&defaults),
            addresses: None,
            agreed: None,
            announce: None,
            announced: false,
            ending: None,
            peer_done: false,
            send: SendRing::new(config),
            receives: ReceiveRing::new(config),
            output: Output::new(),
            current: Current::None,
            response_first: false,
            reads_out: VecDeque::new(),
            reads_in: VecDeque::new(),
            msn_out: [1; 2],
            input: Receive::new(),
            msn_in: [1; 2],
            message: None,
            in_tagged: false,
            heard: false,
            frame: Vec::new(),
            emss: 0,
            max_ulpdu: u16::MAX,
            send_ahead: send_ahead.max(1) as u64,
        }
    }

    /// Its name.
    pub fn id(&self) -> Qp {
        self.id
    }

    /// What to do with the stream.
    #[inline]
    pub fn life(&self) -> Life {
        self.life
    }

    /// Whether the handshake, with the first message if there is one, is still going on.
    pub fn is_connecting(&self) -> bool {
        self.life == Life::Open && self.phase != Phase::Full
    }

    /// Posts a send request. It leaves with the next pump, at the earliest.
    pub fn post_send(&mut self, request: &SendRequest<'_>) -> Result<(), PostError> {
        match self.life {
            Life::Idle => return Err(PostError::NotConnected),
            Life::Open if self.ending.is_some() => return Err(PostError::Closed),
            Life::Open if self.phase == Phase::AwaitReply => return Err(PostError::NotConnected),
            Life::Open => {}
            Life::Draining | Life::Over => return Err(PostError::Closed),
        }
        if matches!(request.operation, Operation::Read { .. }) && self.ord() == 0 {
            return Err(PostError::NoReadDepth);
        }
        self.send.post(request)
    }

    /// Posts a receive.
    pub fn post_receive(&mut self, request: &ReceiveRequest<'_>) -> Result<(), PostError> {
        if self.ending.is_some() || matches!(self.life, Life::Draining | Life::Over) {
            return Err(PostError::Closed);
        }
        self.receives.post(request)
    }

    /// Begins as the initiator on a stream that is there, or will be when bytes are first taken from it.
    // spec: IW-MPA-01
    pub fn connect(&mut self, config: &ConnectionConfig, private_data: &[u8]) -> Result<(), MpaError> {
        let offer = offer(config);
        let mut bytes = Vec::with_capacity(FRAME_MAX);
        mpa::request(&offer, private_data).encode(&mut bytes)?;
        self.offer = offer;
        self.max_ulpdu = config.max_ulpdu.unwrap_or(u16::MAX);
        self.is_initiator = true;
        self.life = Life::Open;
        self.output.raw(&bytes);
        Ok(())
    }

    /// Goes on as the responder on a stream from which `request` was read.
    // spec: IW-MPA-06
    pub fn accept(
        &mut self,
        config: &ConnectionConfig,
        request: &Frame<'_>,
        private_data: &[u8],
    ) -> Result<(), MpaError> {
        let offer = offer(config);
        let (frame, agreed) = mpa::answer(&offer, request, private_data);
        let mut bytes = Vec::with_capacity(FRAME_MAX);
        frame.encode(&mut bytes)?;
        self.offer = offer;
        self.max_ulpdu = config.max_ulpdu.unwrap_or(u16::MAX);
        self.life = Life::Open;
        self.output.raw(&bytes);
        self.agree(agreed);
        match agreed.rtr {
            Some(kind) => self.phase = Phase::AwaitRtr(kind),
            None => self.establish(Vec::new()),
        }
        Ok(())
    }

    /// The two ends of the stream: this side's address and the peer's.
    pub fn set_addresses(&mut self, local: SocketAddr, peer: SocketAddr) {
        self.addresses = Some((local, peer));
    }

    /// The effective maximum segment size of the stream; it may change at any time.
    pub fn set_emss(&mut self, emss: u32) {
        self.emss = emss;
    }

    /// Ends the connection with the next pump.
    pub fn disconnect(&mut self) {
        if self.life == Life::Open {
            self.ending.get_or_insert(Disconnect::Local);
        }
    }

    /// What both ends agreed upon, once they have.
    pub fn agreed(&self) -> Option<&Agreed> {
        self.agreed.as_ref()
    }

    fn agree(&mut self, agreed: Agreed) {
        self.output.agree(agreed.crc, agreed.send_markers);
        self.input.agree(agreed.crc);
        // All that READs ever need, so that nothing is allocated later.
        self.reads_in.reserve(agreed.ird.into());
        self.reads_out.reserve(usize::from(agreed.ord).max(1));
        self.agreed = Some(agreed);
    }

    /// The connection is up.
    fn establish(&mut self, private_data: Vec<u8>) {
        self.phase = Phase::Full;
        let nowhere = SocketAddr::from(([0, 0, 0, 0], 0));
        let (local, peer) = self.addresses.unwrap_or((nowhere, nowhere));
        let Some(agreed) = &self.agreed else { return };
        self.announce = Some(Box::new(Established {
            local,
            peer,
            private_data,
            ird: agreed.ird,
            ord: agreed.ord,
            crc: agreed.crc,
            markers: agreed.send_markers,
        }));
    }

    fn ord(&self) -> u16 {
        self.agreed.map_or(0, |agreed| agreed.ord)
    }

    fn ird(&self) -> u16 {
        self.agreed.map_or(0, |agreed| agreed.ird)
    }

    /// The longest ULPDU to send.
    fn mulpdu(&self) -> u16 {
        let markers = self.agreed.is_some_and(|agreed| agreed.send_markers);
        fpdu::mulpdu(self.emss, markers).min(self.max_ulpdu.max(fpdu::MULPDU_MIN))
    }

    fn completed(&self, events: &mut Vec<Event>, completion: Completion) {
        events.push(Event::Completion(completion));
    }

    /// Everything that was asked of this side is done, and nothing is on its way out.
    pub fn is_quiet(&self) -> bool {
        self.send.is_empty() && self.reads_in.is_empty() && self.output.is_empty()
    }

    /// Whether the driver should call [`gather`](Self::gather) and send.
    #[inline]
    pub fn has_output(&self) -> bool {
        !self.output.is_empty()
    }

    /// Lists what one system call should send, and returns how many bytes that is. Memory that is gone ends the connection.
    #[inline]
    pub fn gather<'a>(&'a self, domain: &'a Domain, slices: &mut Slices<'a>) -> Option<usize> {
        self.output.gather(domain, self.id, slices).ok()
    }

    /// Notes that `n` more bytes have left.
    #[inline]
    pub fn wrote(&mut self, n: usize, events: &mut Vec<Event>) {
        self.output.wrote(n);
        self.reap(events);
        if self.life == Life::Draining {
            self.settle();
        }
    }
}

fn offer(config: &ConnectionConfig) -> Offer {
    Offer { ird: config.ird, ord: config.ord, crc: config.crc, rtr: config.rtr, revision: config.revision }
}

#[cfg(test)]
mod tests;
