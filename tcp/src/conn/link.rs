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
    /// For the peer to take one more byte.
    pub stall: Duration,
    /// For the peer to take all that is left when the connection is being closed.
    pub flush: Duration,
    /// For the peer to close after this side has.
    pub linger: Duration,
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
    deadline: Option<Instant>,
    /// When a peer that takes no data has been waited for long enough.
    stalled: Option<Instant>,
    /// Whether all has been sent while draining.
    flushed: bool,
    patience: Patience,
}

impl<D> Link<D> {
    /// A connection that has to negotiate before `deadline`.
    pub(crate) fn new(role: Role, deadline: Instant, patience: Patience) -> Self {
        Self {
            role,
            receiver: Receiver::initializing(role),
            sender: Sender { digests: Digests::NONE, alignment: Alignment::DWORD },
            negotiated: None,
            send: SendQueue::default(),
            life: Life::Open,
            reason: None,
            deadline: Some(deadline),
            stalled: None,
            flushed: false,
            patience,
        }
    }

    /// From here on commands flow.
    pub(crate) fn establish(&mut self, negotiated: Negotiated, receiver: Receiver) {
        self.negotiated = Some(negotiated);
        self.sender = negotiated.sender(self.role);
        self.receiver = receiver;
        self.deadline = None;
    }

    pub(crate) fn stage(&self) -> Stage {
        if self.negotiated.is_some() { Stage::Transfer } else { Stage::Negotiate }
    }

    /// The peer broke the protocol: say so, then end.
    // spec: TCP-ERR-01
    pub(crate) fn violated(&mut self, fault: &Fault, now: Instant) {
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
                self.drain(reason, now);
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
            self.failure(ErrorKind::PeerClosed, format!("the peer closed the connection instead of sending {missing}"))
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

    pub(crate) fn failure(&self, kind: ErrorKind, detail: impl Into<std::borrow::Cow<'static, str>>) -> CloseReason {
        CloseReason::Failed(Error::new(self.stage(), kind, detail))
    }

    /// Sends what waits and then ends. The first reason counts.
    pub(crate) fn drain(&mut self, reason: CloseReason, now: Instant) {
        if self.life == Life::Open {
            self.life = Life::Draining;
            self.reason = Some(reason);
            self.deadline = now.checked_add(self.patience.flush);
            self.note_output(now);
        }
    }

    /// Ends at once. The first reason counts.
    pub(crate) fn over(&mut self, reason: CloseReason) {
        self.life = Life::Over;
        self.reason.get_or_insert(reason);
        (self.deadline, self.stalled) = (None, None);
    }

    /// Why the connection ended.
    pub(crate) fn take_reason(&mut self) -> CloseReason {
        self.reason.take().unwrap_or(CloseReason::Requested)
    }

    /// The socket took bytes, or there was nothing to take.
    pub(crate) fn note_output(&mut self, now: Instant) {
        self.stalled = None;
        if self.life == Life::Draining && self.send.is_empty() && !self.flushed {
            self.flushed = true;
            self.deadline = now.checked_add(self.patience.linger);
        }
    }

    /// The socket takes nothing at the moment.
    pub(crate) fn note_blocked(&mut self, now: Instant) {
        if self.stalled.is_none() {
            self.stalled = now.checked_add(self.patience.stall);
        }
    }

    /// When [`expire`](Self::expire) wants to be called.
    #[inline]
    pub(crate) fn deadline(&self) -> Option<Instant> {
        match (self.deadline, self.stalled) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        }
    }

    /// Ends the connection if it has been waited for long enough.
    pub(crate) fn expire(&mut self, now: Instant, partial: bool) {
        if self.deadline.is_some_and(|at| at <= now) {
            let missing = self.awaited();
            let detail = match partial {
                true => format!("{missing} began to arrive but was not complete in time"),
                false => format!("no {missing} came in time"),
            };
            self.over(self.failure(ErrorKind::TimedOut, detail));
        } else if self.stalled.is_some_and(|at| at <= now) {
            let detail = format!("the peer took no data for {} s", self.patience.stall.as_secs());
            self.over(self.failure(ErrorKind::TimedOut, detail));
        }
    }
}
