//! What both roles share of a connection: negotiated values, output, and how it ends.
//!
//! A connection is open, then perhaps draining (a last word is on its way and input no longer counts), then over. Every
//! wait has an end: negotiation, a peer that takes no data, a last word that is not collected.

use std::time::{Duration, Instant};

use nvmf_transport::{CloseReason, Error, ErrorKind, Stage};

use super::{receive::Fault, send::SendQueue};
use crate::pdu::{Alignment, Digests, Negotiated, Receiver, Role, Sender, TermReq, Violation};

/// What the driver has to do with the socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Life {
    /// Carry bytes both ways.
    Open,
    /// Send what waits, then shut down this direction; throw away what comes, until the peer closes too.
    Draining,
    /// Close it.
    Over,
}

/// How long to wait for what.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// For ICReq or ICResp to be complete.
    pub negotiate: Duration,
    /// For the peer to take one more byte.
    pub stall: Duration,
    /// For the peer to take all that is left when the connection is being closed.
    pub flush: Duration,
    /// For the peer to close after this side has.
    pub linger: Duration,
}

/// A wait. It starts where no time is at hand, and gets its end when the driver next tells the time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Timer {
    Off,
    Starting(Duration),
    Until(Instant),
}

impl Timer {
    fn arm(&mut self, now: Instant) -> Option<Instant> {
        if let Self::Starting(wait) = *self {
            // A wait that ends beyond all time has no end.
            *self = now.checked_add(wait).map_or(Self::Off, Self::Until);
        }
        match *self {
            Self::Until(at) => Some(at),
            _ => None,
        }
    }

    fn expired(self, now: Instant) -> bool {
        matches!(self, Self::Until(at) if at <= now)
    }
}

#[derive(Debug)]
pub(crate) struct Link<D> {
    pub(crate) role: Role,
    pub(crate) receiver: Receiver,
    pub(crate) sender: Sender,
    pub(crate) negotiated: Option<Negotiated>,
    pub(crate) send: SendQueue<D>,
    pub(crate) life: Life,
    reason: Option<CloseReason>,
    /// The end of negotiation or of draining.
    limit: Timer,
    /// The end of waiting for a peer that takes no data.
    stall: Timer,
    /// Whether all has been sent while draining.
    flushed: bool,
    patience: Patience,
}

impl<D> Link<D> {
    /// A connection that has not negotiated yet.
    pub(crate) fn new(role: Role, patience: Patience) -> Self {
        Self {
            role,
            receiver: Receiver::initializing(role),
            sender: Sender { digests: Digests::NONE, alignment: Alignment::DWORD },
            negotiated: None,
            send: SendQueue::default(),
            life: Life::Open,
            reason: None,
            limit: Timer::Starting(patience.negotiate),
            stall: Timer::Off,
            flushed: false,
            patience,
        }
    }

    /// From here on commands flow.
    pub(crate) fn establish(&mut self, negotiated: Negotiated, receiver: Receiver) {
        self.negotiated = Some(negotiated);
        self.sender = negotiated.sender(self.role);
        self.receiver = receiver;
        self.limit = Timer::Off;
    }

    pub(crate) fn stage(&self) -> Stage {
        if self.negotiated.is_some() { Stage::Transfer } else { Stage::Negotiate }
    }

    /// The peer broke the protocol: say so, then end.
    // spec: TCP-ERR-01, TCP-ERR-03
    pub(crate) fn violated(&mut self, fault: &Fault) {
        let kind = match fault.violation {
            Violation::DigestRequired { .. } => ErrorKind::Incompatible,
            Violation::HeaderDigest { .. } => ErrorKind::Digest,
            _ => ErrorKind::Protocol,
        };
        let reason = self.failure(kind, fault.violation.to_string());
        match TermReq::new(&fault.violation, fault.header()) {
            Some(request) => {
                let (bytes, len) = request.encode(self.role);
                self.send.copy(&bytes[..len]);
                self.drain(reason);
            }
            None => self.over(reason),
        }
    }

    /// The peer says that this side broke the protocol. Nothing is answered.
    pub(crate) fn accused(&mut self, request: &TermReq<'_>) {
        let sender = self.role.peer();
        let who = match sender {
            Role::Host => "host",
            Role::Controller => "controller",
        };
        let detail = format!("the {who} ended the connection: {}", request.describe(sender));
        self.over(self.failure(ErrorKind::PeerReported, detail));
    }

    /// The peer closed its direction, `mid_pdu` or between PDUs.
    pub(crate) fn peer_closed(&mut self, mid_pdu: bool) {
        let reason = if self.negotiated.is_none() {
            let missing = self.awaited();
            self.failure(
                ErrorKind::PeerClosed,
                format!("the peer closed the connection instead of sending {missing}"),
            )
        } else if mid_pdu {
            self.failure(ErrorKind::PeerClosed, "the peer closed the connection in the middle of a PDU")
        } else {
            CloseReason::PeerClosed
        };
        self.over(reason);
    }

    fn awaited(&self) -> &'static str {
        match self.role {
            Role::Host => "ICResp",
            Role::Controller => "ICReq",
        }
    }

    pub(crate) fn failure(
        &self,
        kind: ErrorKind,
        detail: impl Into<std::borrow::Cow<'static, str>>,
    ) -> CloseReason {
        CloseReason::Failed(Error::new(self.stage(), kind, detail))
    }

    /// Sends what waits and then ends. The first reason counts.
    pub(crate) fn drain(&mut self, reason: CloseReason) {
        if self.life == Life::Open {
            self.life = Life::Draining;
            self.reason = Some(reason);
            self.limit = Timer::Starting(self.patience.flush);
            self.note_output();
        }
    }

    /// Ends at once. The first reason counts.
    pub(crate) fn over(&mut self, reason: CloseReason) {
        self.life = Life::Over;
        self.reason.get_or_insert(reason);
        (self.limit, self.stall) = (Timer::Off, Timer::Off);
    }

    /// Why the connection ended.
    pub(crate) fn take_reason(&mut self) -> CloseReason {
        self.reason.take().unwrap_or(CloseReason::Requested)
    }

    /// The socket took bytes, or there was nothing to take.
    #[inline]
    pub(crate) fn note_output(&mut self) {
        self.stall = Timer::Off;
        if self.life == Life::Draining && self.send.is_empty() && !self.flushed {
            self.flushed = true;
            self.limit = Timer::Starting(self.patience.linger);
        }
    }

    /// The socket takes nothing at the moment.
    // spec: TCP-RES-03
    pub(crate) fn note_blocked(&mut self) {
        if self.stall == Timer::Off {
            self.stall = Timer::Starting(self.patience.stall);
        }
    }

    /// When [`expire`](Self::expire) wants to be called.
    #[inline]
    pub(crate) fn deadline(&mut self, now: Instant) -> Option<Instant> {
        if (self.limit, self.stall) == (Timer::Off, Timer::Off) {
            return None;
        }
        match (self.limit.arm(now), self.stall.arm(now)) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        }
    }

    /// Ends the connection if it has been waited for long enough.
    pub(crate) fn expire(&mut self, now: Instant, partial: bool) {
        if self.limit.expired(now) {
            let missing = self.awaited();
            let detail = match partial {
                true => format!("{missing} began to arrive but was not complete in time"),
                false => format!("no {missing} came in time"),
            };
            self.over(self.failure(ErrorKind::TimedOut, detail));
        } else if self.stall.expired(now) {
            let detail = format!("the peer took no data for {} s", self.patience.stall.as_secs_f32());
            self.over(self.failure(ErrorKind::TimedOut, detail));
        }
    }
}
