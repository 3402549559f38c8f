//! One queue pair on one socket: the two system calls of the data path, and every wait of a connection.

use std::{
    io::{self, IoSliceMut},
    os::fd::OwnedFd,
    time::{Duration, Instant},
};

use rustix::{
    io::{Errno, readv},
    net::{RecvFlags, SendAncillaryBuffer, SendFlags, recv, sendmsg},
};

use super::{poller::Interest, socket, timer::Timer};
use crate::{
    config::EndpointConfig,
    event::{ConnectError, Event},
    memory::Domain,
    qp::{Life, QueuePair, Slices},
};

/// System calls of one connection in one pass and direction, so that none starves the others.
const CALLS: usize = 8;

/// How long a segment size is believed.
const EMSS_AGE: Duration = Duration::from_millis(500);

/// Nudges of one connection.
const NUDGES: u32 = 4;

#[derive(Debug)]
pub(super) struct Stream {
    pub(super) qp: QueuePair,
    pub(super) socket: Option<OwnedFd>,
    /// TCP is still connecting.
    pub(super) connecting: bool,
    /// The socket took less than it was given: wait until it is writable.
    pub(super) blocked: bool,
    /// This direction has been shut down.
    shut: bool,
    /// Why sending failed, while what the peer had said before is still being read.
    broken: Option<Errno>,
    pub(super) interest: Interest,
    /// Whether it is among those that the next pass looks at.
    pub(super) working: bool,
    /// Passes that still read it without asking the poller.
    pub(super) busy: u16,
    /// The owner does not want it any more.
    pub(super) destroyed: bool,
    /// The end of connecting, of the handshake, of closing.
    pub(super) limit: Timer,
    /// The end of waiting for a peer that takes no data.
    stall: Timer,
    nudge: Timer,
    nudges: u32,
    emss_at: Option<Instant>,
}

impl Stream {
    pub(super) fn new(qp: QueuePair) -> Self {
        Self {
            qp,
            socket: None,
            connecting: false,
            blocked: false,
            shut: false,
            broken: None,
            interest: Interest::Read,
            working: false,
            busy: 0,
            destroyed: false,
            limit: Timer::Off,
            stall: Timer::Off,
            nudge: Timer::Off,
            nudges: 0,
            emss_at: None,
        }
    }

    /// Takes in what has arrived, as much as is fair. Returns whether anything had.
    #[inline]
    pub(super) fn receive(
        &mut self,
        scratch: &mut [u8],
        domain: &mut Domain,
        events: &mut Vec<Event>,
    ) -> bool {
        let mut any = false;
        let Some(socket) = &self.socket else { return false };
        for _ in 0..CALLS {
            let [direct, rest] = self.qp.targets(domain, scratch);
            let room = direct.len() + rest.len();
            let received = if direct.is_empty() {
                recv(socket, rest, RecvFlags::empty()).map(|(n, _)| n)
            } else {
                readv(socket, &mut [IoSliceMut::new(direct), IoSliceMut::new(rest)])
            };
            match received {
                Ok(0) => {
                    match self.broken {
                        Some(errno) => self.qp.failed(errno.into(), domain, events),
                        None => self.qp.peer_closed(domain, events),
                    }
                    return true;
                }
                Ok(n) => {
                    any = true;
                    self.qp.received(n, scratch, domain, events);
                    if n < room || self.qp.life() == Life::Over {
                        break;
                    }
                }
                Err(Errno::AGAIN) => break,
                Err(Errno::INTR) => {}
                Err(errno) => {
                    self.qp.failed(self.broken.unwrap_or(errno).into(), domain, events);
                    return true;
                }
            }
        }
        any
    }

    /// Sends what waits. Returns whether more could be sent at once.
    #[inline]
    pub(super) fn flush(
        &mut self,
        now: Instant,
        config: &EndpointConfig,
        domain: &mut Domain,
        events: &mut Vec<Event>,
    ) -> bool {
        for _ in 0..CALLS {
            self.qp.pump(domain, events);
            if !self.qp.has_output() || self.blocked || self.qp.life() == Life::Over {
                return false;
            }
            let Some(socket) = &self.socket else { return false };
            // spec: IW-FPD-10
            if self.emss_at.is_none_or(|at| now.saturating_duration_since(at) > EMSS_AGE) {
                self.emss_at = Some(now);
                if let Some(emss) = socket::emss(socket) {
                    self.qp.set_emss(emss);
                }
            }
            let mut slices = Slices::new();
            let Some(wanted) = self.qp.gather(domain, &mut slices) else {
                drop(slices);
                self.qp.memory_lost(domain, events);
                continue;
            };
            let sent = sendmsg(socket, &slices, &mut SendAncillaryBuffer::default(), SendFlags::NOSIGNAL);
            drop(slices);
            match sent {
                Ok(n) => {
                    self.qp.wrote(n, events);
                    self.blocked = n < wanted;
                    self.stall =
                        if self.blocked { Timer::Starting(config.stall_timeout) } else { Timer::Off };
                }
                Err(Errno::AGAIN) => {
                    self.blocked = true;
                    if self.stall == Timer::Off {
                        self.stall = Timer::Starting(config.stall_timeout);
                    }
                }
                Err(Errno::INTR) => {}
                // A peer that has reset the connection may have said why before: what has arrived is read first.
                Err(errno @ (Errno::PIPE | Errno::CONNRESET)) if self.qp.life() == Life::Open => {
                    self.broken.get_or_insert(errno);
                    self.blocked = true;
                }
                Err(errno) => self.qp.failed(errno.into(), domain, events),
            }
        }
        !self.blocked
    }

    /// Draws the consequences of what has just happened.
    // spec: IW-END-04, IW-END-05
    pub(super) fn settle(&mut self, config: &EndpointConfig) {
        match self.qp.life() {
            Life::Idle => {}
            Life::Open => {
                if !self.connecting && !self.qp.is_connecting() {
                    self.limit = Timer::Off;
                }
                if self.nudge == Timer::Off && self.nudges < NUDGES && self.qp.is_unheard() {
                    if let Some(wait) = config.nudge {
                        self.nudge = Timer::Starting(wait * (1 << self.nudges));
                    }
                } else if self.nudge != Timer::Off && !self.qp.is_unheard() {
                    self.nudge = Timer::Off;
                }
            }
            Life::Draining => {
                (self.nudge, self.stall) = (Timer::Off, Timer::Off);
                if self.socket.is_none() || self.connecting {
                    return self.hang_up();
                }
                if !self.qp.has_output() && !self.shut {
                    self.shut = true;
                    self.limit = Timer::Starting(config.close_timeout);
                    if let Some(socket) = &self.socket {
                        socket::shut_down(socket);
                    }
                } else if !self.shut && !matches!(self.limit, Timer::Starting(_) | Timer::Until(_)) {
                    self.limit = Timer::Starting(config.close_timeout);
                }
            }
            Life::Over => self.hang_up(),
        }
    }

    fn hang_up(&mut self) {
        if let Some(socket) = self.socket.take()
            && (self.qp.has_output() || !self.shut)
        {
            socket::reset_on_close(&socket);
        }
        (self.limit, self.stall, self.nudge) = (Timer::Off, Timer::Off, Timer::Off);
    }

    /// Whether nothing is left to be done with the socket.
    pub(super) fn is_over(&self) -> bool {
        self.socket.is_none() && matches!(self.qp.life(), Life::Draining | Life::Over)
    }

    /// The earliest end of a wait.
    pub(super) fn deadline(&mut self, now: Instant) -> Option<Instant> {
        [self.limit.arm(now), self.stall.arm(now), self.nudge.arm(now)].into_iter().flatten().min()
    }

    /// Ends every wait that has lasted long enough.
    // spec: IW-MPA-12
    pub(super) fn expire(&mut self, now: Instant, domain: &Domain, events: &mut Vec<Event>) {
        if self.limit.expired(now) {
            self.limit = Timer::Off;
            match self.qp.life() {
                Life::Open if self.connecting || self.qp.is_connecting() => {
                    self.qp.connect_failed(ConnectError::TimedOut, domain, events);
                }
                // The peer has had its time to close: nobody waits for it any more.
                Life::Draining => self.qp.failed(io::ErrorKind::TimedOut.into(), domain, events),
                _ => {}
            }
        }
        if self.stall.expired(now) {
            self.stall = Timer::Off;
            self.qp.failed(io::ErrorKind::TimedOut.into(), domain, events);
        }
        if self.nudge.expired(now) {
            self.nudge = Timer::Off;
            self.nudges += 1;
            self.qp.nudge(domain);
        }
    }
}
