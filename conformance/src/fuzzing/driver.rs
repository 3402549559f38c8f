//! What a driver does between a connection and a byte stream, with every choice left to the fuzz: how many bytes one system
//! call moves, and when time passes.

use std::time::{Duration, Instant};

use nvmf_sim::Clock;
use nvmf_tcp::conn::{ControllerConn, HostConn, Life, Patience, SCRATCH_MIN, Slices};
use nvmf_transport::{Close, ControllerEvent, HostEvent};

use super::Choices;

/// How long the connections under test wait for what.
pub(super) const PATIENCE: Patience = Patience {
    negotiate: Duration::from_secs(10),
    stall: Duration::from_secs(60),
    flush: Duration::from_secs(5),
    linger: Duration::from_secs(1),
};

/// A connection of either role, as far as bytes and time go.
pub(super) trait Conn {
    type Event;
    fn targets<'a>(&'a mut self, scratch: &'a mut [u8]) -> [&'a mut [u8]; 2];
    fn received(&mut self, n: usize, scratch: &[u8], events: &mut Vec<Self::Event>);
    fn peer_closed(&mut self);
    fn has_output(&self) -> bool;
    fn gather<'a>(&'a self, slices: &mut Slices<'a>) -> usize;
    fn wrote(&mut self, n: usize, events: &mut Vec<Self::Event>);
    fn blocked(&mut self);
    fn life(&self) -> Life;
    fn deadline(&mut self, now: Instant) -> Option<Instant>;
    fn expire(&mut self, now: Instant);
    fn close(&mut self, how: Close);
    fn finish(&mut self, events: &mut Vec<Self::Event>);
    fn is_closed(event: &Self::Event) -> bool;
}

macro_rules! conn {
    ($Conn:ty, $Event:ident) => {
        impl Conn for $Conn {
            type Event = $Event;
            fn targets<'a>(&'a mut self, scratch: &'a mut [u8]) -> [&'a mut [u8]; 2] {
                self.targets(scratch)
            }
            fn received(&mut self, n: usize, scratch: &[u8], events: &mut Vec<$Event>) {
                self.received(n, scratch, events);
            }
            fn peer_closed(&mut self) {
                self.peer_closed();
            }
            fn has_output(&self) -> bool {
                self.has_output()
            }
            fn gather<'a>(&'a self, slices: &mut Slices<'a>) -> usize {
                self.gather(slices)
            }
            fn wrote(&mut self, n: usize, events: &mut Vec<$Event>) {
                self.wrote(n, events);
            }
            fn blocked(&mut self) {
                self.blocked();
            }
            fn life(&self) -> Life {
                self.life()
            }
            fn deadline(&mut self, now: Instant) -> Option<Instant> {
                self.deadline(now)
            }
            fn expire(&mut self, now: Instant) {
                self.expire(now);
            }
            fn close(&mut self, how: Close) {
                self.close(how);
            }
            fn finish(&mut self, events: &mut Vec<$Event>) {
                self.finish(events);
            }
            fn is_closed(event: &$Event) -> bool {
                matches!(event, $Event::Closed { .. })
            }
        }
    };
}

conn!(HostConn, HostEvent);
conn!(ControllerConn, ControllerEvent);

/// A connection, what has arrived for it, and what it reported.
pub(super) struct Driven<C: Conn> {
    pub(super) conn: C,
    pub(super) events: Vec<C::Event>,
    /// Bytes from the peer, of which the first `taken` have been taken in.
    inbox: Vec<u8>,
    taken: usize,
    scratch: Box<[u8]>,
    clock: Clock,
    finished: bool,
}

/// How many bytes one system call moves.
pub(super) fn stride(choices: &mut Choices<'_>) -> usize {
    match choices.u8() % 8 {
        0 => 1 + choices.below(8),
        1 => 1 + choices.below(80),
        2 => 1 + choices.below(1500),
        3 => 1 + choices.below(20_000),
        _ => usize::MAX,
    }
}

impl<C: Conn> Driven<C> {
    pub(super) fn new(conn: C, choices: &mut Choices<'_>) -> Self {
        let scratch = choices.pick(&[SCRATCH_MIN, SCRATCH_MIN + 1, 16_384, 65_536]);
        Self {
            conn,
            events: Vec::new(),
            inbox: Vec::new(),
            taken: 0,
            scratch: vec![0; scratch].into(),
            clock: Clock::new(),
            finished: false,
        }
    }

    pub(super) fn open(&self) -> bool {
        self.conn.life() == Life::Open
    }

    pub(super) fn finished(&self) -> bool {
        self.finished
    }

    /// Puts bytes on the way to the connection.
    pub(super) fn arrive(&mut self, bytes: &[u8]) {
        self.inbox.drain(..self.taken);
        self.taken = 0;
        self.inbox.extend_from_slice(bytes);
    }

    /// The bytes that are on the way, to be damaged.
    pub(super) fn under_way(&mut self) -> &mut [u8] {
        &mut self.inbox[self.taken..]
    }

    /// Whether nothing is on the way.
    pub(super) fn all_taken(&self) -> bool {
        self.taken == self.inbox.len()
    }

    /// One read of at most `most` bytes; whether anything was read.
    pub(super) fn receive(&mut self, most: usize) -> bool {
        let waiting = &self.inbox[self.taken..];
        if self.conn.life() == Life::Over || waiting.is_empty() {
            return false;
        }
        let [direct, rest] = self.conn.targets(&mut self.scratch);
        let room = direct.len() + rest.len();
        assert!(room > 0, "a read into nothing looks like the end of the stream");
        let n = most.min(room).min(waiting.len());
        let first = n.min(direct.len());
        direct[..first].copy_from_slice(&waiting[..first]);
        rest[..n - first].copy_from_slice(&waiting[first..n]);
        self.taken += n;
        self.conn.received(n, &self.scratch, &mut self.events);
        self.settle();
        true
    }

    /// The peer closed its direction, and all it had said has arrived.
    pub(super) fn end_of_stream(&mut self) {
        while self.receive(usize::MAX) {}
        if self.conn.life() != Life::Over {
            self.conn.peer_closed();
            assert_eq!(self.conn.life(), Life::Over, "still there after the peer has closed");
        }
        self.settle();
    }

    /// One write of at most `most` bytes.
    pub(super) fn transmit(&mut self, most: usize) -> Vec<u8> {
        if !self.conn.has_output() || self.conn.life() == Life::Over {
            return Vec::new();
        }
        let mut slices = Slices::new();
        let offered = self.conn.gather(&mut slices);
        assert_eq!(
            slices.iter().map(|slice| slice.len()).sum::<usize>(),
            offered,
            "gathered other than it says"
        );
        assert!(offered > 0, "output that cannot be sent");
        let mut bytes = Vec::with_capacity(most.min(offered));
        for slice in &slices {
            let room = most - bytes.len();
            bytes.extend_from_slice(&slice[..slice.len().min(room)]);
        }
        drop(slices);
        if !bytes.is_empty() {
            self.conn.wrote(bytes.len(), &mut self.events);
        }
        if bytes.len() < offered {
            self.conn.blocked();
        }
        self.settle();
        bytes
    }

    /// The socket takes nothing.
    pub(super) fn refuse_output(&mut self) {
        if self.conn.has_output() && self.conn.life() != Life::Over {
            self.conn.blocked();
        }
    }

    pub(super) fn pass(&mut self, time: Duration) {
        self.conn.deadline(self.clock.now());
        self.clock.advance(time);
        self.expire();
    }

    fn expire(&mut self) {
        let now = self.clock.now();
        if self.conn.deadline(now).is_some_and(|at| at <= now) {
            self.conn.expire(now);
            let next = self.conn.deadline(now);
            assert!(next.is_none_or(|at| at > now), "a deadline that passes without effect");
        }
        self.settle();
    }

    /// Lets time run to the end of everything that is waited for; with nobody helping, every wait ends.
    pub(super) fn run_out(&mut self) {
        self.refuse_output();
        for _ in 0..8 {
            let Some(at) = self.conn.deadline(self.clock.now()) else { break };
            self.clock.advance_to(at);
            self.expire();
        }
        assert_eq!(self.conn.deadline(self.clock.now()), None, "waits for ever again");
        assert!(
            self.conn.life() == Life::Over || (self.conn.life() == Life::Open && !self.conn.has_output()),
            "hangs although everything has timed out: {:?}, output {}",
            self.conn.life(),
            self.conn.has_output()
        );
    }

    pub(super) fn close(&mut self, how: Close) {
        self.conn.close(how);
        self.settle();
    }

    fn settle(&mut self) {
        if self.conn.life() == Life::Over && !self.finished {
            self.finished = true;
            self.conn.finish(&mut self.events);
            assert!(self.events.last().is_some_and(C::is_closed), "Closed is not last");
        }
    }
}
