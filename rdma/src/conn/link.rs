//! What both roles share of a connection: how far it has come, how it ends, and how long each wait may take.
//!
//! A connection is being made, then open, then perhaps draining (what was asked for is still leaving) and closing (the
//! connection manager ends it), then over: it may be destroyed, which is what gives memory back.

use std::time::{Duration, Instant};

use nvmf_transport::{CloseReason, Error, ErrorKind, Stage};

use crate::verbs::{Ending, WcStatus};

/// What the driver has to do with the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Life {
    /// Bring it up.
    Connecting,
    /// Carry commands.
    Open,
    /// Post what waits; when all has left, disconnect.
    Draining,
    /// Disconnect, and wait for the connection manager to say that it is done.
    Closing,
    /// Destroy it.
    Over,
}

/// How long to wait for what.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// For the connection to be up.
    pub negotiate: Duration,
    /// For anything that was posted to complete.
    pub stall: Duration,
    /// For everything to complete when the connection is being closed.
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
pub(crate) struct Link {
    pub(crate) life: Life,
    reason: Option<CloseReason>,
    /// The end of connecting, draining or closing.
    limit: Timer,
    /// The end of waiting for a completion.
    stall: Timer,
    /// Whether the connection manager has been asked to end the connection.
    asked: bool,
    /// What connecting has come to: which stage an error is of.
    stage: Stage,
    patience: Patience,
}

impl Link {
    pub(crate) fn new(patience: Patience) -> Self {
        Self {
            life: Life::Connecting,
            reason: None,
            limit: Timer::Starting(patience.negotiate),
            stall: Timer::Off,
            asked: false,
            stage: Stage::Connect,
            patience,
        }
    }

    pub(crate) fn stage(&self) -> Stage {
        self.stage
    }

    /// The peer has been asked, or has asked.
    pub(crate) fn negotiating(&mut self) {
        self.stage = Stage::Negotiate;
    }

    /// From here on commands flow.
    pub(crate) fn established(&mut self) {
        self.stage = Stage::Transfer;
        self.life = Life::Open;
        self.limit = Timer::Off;
    }

    pub(crate) fn failure(&self, kind: ErrorKind, detail: impl Into<String>) -> CloseReason {
        CloseReason::Failed(Error::new(self.stage, kind, detail.into()))
    }

    /// The peer broke the protocol. NVMe/RDMA has no message to say so: the connection ends.
    // spec: RDMA-ERR-01
    pub(crate) fn violated(&mut self, detail: impl Into<String>) {
        let reason = self.failure(ErrorKind::Protocol, detail);
        self.close(reason);
    }

    /// Sends what waits and then ends. The first reason counts.
    pub(crate) fn drain(&mut self, reason: CloseReason) {
        if self.life == Life::Open {
            self.life = Life::Draining;
            self.reason = Some(reason);
            self.limit = Timer::Starting(self.patience.flush);
        }
    }

    /// Ends in good order but without what waits. The first reason counts.
    pub(crate) fn close(&mut self, reason: CloseReason) {
        match self.life {
            Life::Open | Life::Draining => {
                self.life = Life::Closing;
                self.reason.get_or_insert(reason);
                (self.limit, self.stall) = (Timer::Starting(self.patience.linger), Timer::Off);
            }
            Life::Connecting => self.over(reason),
            Life::Closing | Life::Over => {}
        }
    }

    /// Ends at once. The first reason counts.
    pub(crate) fn over(&mut self, reason: CloseReason) {
        self.life = Life::Over;
        self.reason.get_or_insert(reason);
        (self.limit, self.stall) = (Timer::Off, Timer::Off);
    }

    /// The connection manager says that the connection has ended.
    pub(crate) fn disconnected(&mut self, ending: Ending) {
        let reason = match ending {
            Ending::Orderly => CloseReason::PeerClosed,
            Ending::Failed(error) => CloseReason::Failed(error),
        };
        self.over(reason);
    }

    /// Whether the connection manager is now to be asked to end the connection: once.
    pub(crate) fn take_disconnect(&mut self) -> bool {
        self.life == Life::Closing && !std::mem::replace(&mut self.asked, true)
    }

    /// Something went wrong with a work request.
    // spec: RDMA-ERR-02, RDMA-ERR-03
    pub(crate) fn request_failed(&mut self, what: &str, status: WcStatus) {
        let kind = match status {
            WcStatus::Success => return,
            WcStatus::Flushed => {
                // The reason follows from the connection manager, unless it has lost its voice.
                if self.life == Life::Open {
                    self.flushed();
                }
                return;
            }
            WcStatus::LocalLength | WcStatus::RemoteAccess | WcStatus::RemoteOperation => ErrorKind::Protocol,
            WcStatus::TransportRetry => ErrorKind::TimedOut,
            WcStatus::LocalProtection | WcStatus::Other(_) => ErrorKind::Io,
        };
        let detail = match status {
            WcStatus::LocalLength => {
                format!("{what} failed: a message of the peer was longer than the room for it")
            }
            WcStatus::RemoteAccess => {
                format!("{what} failed: the peer's key, address or length allows no such access")
            }
            WcStatus::RemoteOperation => format!("{what} failed: the peer could not carry it out"),
            WcStatus::TransportRetry => format!("{what} failed: the peer is not reached any more"),
            WcStatus::LocalProtection => format!("{what} failed: the device refuses this side's memory"),
            other => format!("{what} failed: {other:?}"),
        };
        let reason = self.failure(kind, detail);
        self.close(reason);
    }

    /// Requests came back undone: wait for the reason, but not for long.
    fn flushed(&mut self) {
        if self.limit == Timer::Off {
            self.limit = Timer::Starting(self.patience.linger);
        }
    }

    /// Why the connection ended.
    pub(crate) fn take_reason(&mut self) -> CloseReason {
        self.reason.take().unwrap_or(CloseReason::Requested)
    }

    /// Whether requests are outstanding, and whether one has just completed.
    #[inline]
    pub(crate) fn note_progress(&mut self, outstanding: bool, completed: bool) {
        if !outstanding {
            self.stall = Timer::Off;
        } else if completed || self.stall == Timer::Off {
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

    /// Ends what has been waited for long enough.
    pub(crate) fn expire(&mut self, now: Instant) {
        if self.limit.expired(now) {
            let detail = match self.life {
                Life::Connecting if self.stage == Stage::Connect => "no device and route in time",
                Life::Connecting => "the peer did not answer the connection request in time",
                Life::Open => "the connection failed and nobody says why",
                Life::Draining => "the peer did not take what was left in time",
                // It had its reason when it began.
                Life::Closing | Life::Over => return self.over(CloseReason::Requested),
            };
            let kind = if self.life == Life::Open { ErrorKind::Reset } else { ErrorKind::TimedOut };
            let reason = self.failure(kind, detail);
            self.over(reason);
        } else if self.stall.expired(now) {
            let detail =
                format!("nothing that was sent has completed for {} s", self.patience.stall.as_secs_f32());
            let reason = self.failure(ErrorKind::TimedOut, detail);
            self.over(reason);
        }
    }
}
