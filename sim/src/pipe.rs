//! One direction of a connection: messages in order, each with the time it arrives.
//!
//! [`Pipe`] is the shared part, [`End`] what one side holds of both directions. Dropping an end hangs up, whoever drops it
//! and why, so an engine needs no code for being dropped.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::{Duration, Instant},
};

use nvmf_transport::Wake;

use crate::{Link, Rng};

/// What a message weighs on the link.
pub(crate) trait Size {
    fn size(&self) -> usize;
}

/// How a side ended its sending.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HangUp {
    /// After everything sent before.
    Orderly,
    /// At once; what is under way is lost.
    Reset,
}

/// What the reading side finds.
#[derive(Debug)]
pub(crate) enum Received<T> {
    Message(T),
    Ended(HangUp),
    Nothing,
}

#[derive(Debug)]
pub(crate) struct Pipe<T> {
    messages: VecDeque<(Instant, T)>,
    /// Bytes of `messages`.
    in_flight: usize,
    /// When the last bit of what was sent has left the sender.
    sent_until: Option<Instant>,
    /// Arrival of the last message: a later one never overtakes it.
    last_arrival: Option<Instant>,
    /// `None` as time: as soon as everything before has been read.
    end: Option<(Option<Instant>, HangUp)>,
    link: Link,
    rng: Rng,
    frozen: bool,
    reader_gone: bool,
    writer_waits: bool,
}

impl<T: Size> Pipe<T> {
    pub(crate) fn new(link: Link, rng: Rng) -> Self {
        Self {
            messages: VecDeque::new(),
            in_flight: 0,
            sent_until: None,
            last_arrival: None,
            end: None,
            link,
            rng,
            frozen: false,
            reader_gone: false,
            writer_waits: false,
        }
    }

    /// When something sent now arrives.
    fn arrival(&mut self, now: Instant, bytes: usize) -> Instant {
        let start = self.sent_until.map_or(now, |until| until.max(now));
        let sent = start + self.link.transmission(bytes);
        self.sent_until = Some(sent);
        let arrival = sent + self.link.latency + self.rng.time(Duration::ZERO..=self.link.jitter);
        let arrival = self.last_arrival.map_or(arrival, |last| last.max(arrival));
        self.last_arrival = Some(arrival);
        arrival
    }

    fn send(&mut self, now: Instant, message: T) -> Result<(), T> {
        if self.reader_gone || self.end.is_some() {
            return Ok(()); // Like a datagram to nobody: the sender learns it from the other direction.
        }
        let size = message.size();
        // A message larger than the link's capacity goes alone, or it would never go.
        if !self.messages.is_empty() && self.in_flight + size > self.link.in_flight {
            self.writer_waits = true;
            return Err(message);
        }
        self.in_flight += size;
        let arrival = self.arrival(now, size);
        self.messages.push_back((arrival, message));
        Ok(())
    }

    fn hang_up(&mut self, now: Option<Instant>, how: HangUp) {
        if self.end.is_some() {
            return;
        }
        if how == HangUp::Reset {
            self.messages.clear();
            self.in_flight = 0;
            self.last_arrival = None;
        }
        let due = now.map(|now| self.arrival(now, 0));
        self.end = Some((due, how));
    }

    fn receive(&mut self, now: Instant) -> Received<T> {
        if self.frozen {
            return Received::Nothing;
        }
        if let Some((due, _)) = self.messages.front() {
            if *due > now {
                return Received::Nothing;
            }
            let Some((_, message)) = self.messages.pop_front() else {
                return Received::Nothing;
            };
            self.in_flight -= message.size();
            return Received::Message(message);
        }
        match self.end {
            Some((due, how)) if due.is_none_or(|due| due <= now) => Received::Ended(how),
            _ => Received::Nothing,
        }
    }

    fn next_due(&self) -> Option<Instant> {
        if self.frozen {
            return None;
        }
        match self.messages.front() {
            Some((due, _)) => Some(*due),
            None => self.end.and_then(|(due, _)| due),
        }
    }

    fn forget_reader(&mut self) {
        self.reader_gone = true;
        self.messages.clear();
        self.in_flight = 0;
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panic of another test thread must not hide its message behind a poisoned lock.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A connection seen by the network: what can befall it from outside.
#[derive(Debug)]
pub(crate) struct Wires<A, B> {
    to_controller: Weak<Mutex<Pipe<A>>>,
    to_host: Weak<Mutex<Pipe<B>>>,
    host: Wake,
    controller: Wake,
}

impl<A: Size, B: Size> Wires<A, B> {
    pub(crate) fn is_gone(&self) -> bool {
        self.to_controller.strong_count() == 0 && self.to_host.strong_count() == 0
    }

    /// Stops or restarts both directions; what is under way waits.
    pub(crate) fn freeze(&self, frozen: bool) {
        if let Some(pipe) = self.to_controller.upgrade() {
            locked(&pipe).frozen = frozen;
        }
        if let Some(pipe) = self.to_host.upgrade() {
            locked(&pipe).frozen = frozen;
        }
        self.wake();
    }

    /// Breaks the connection for both sides at once.
    pub(crate) fn reset(&self) {
        if let Some(pipe) = self.to_controller.upgrade() {
            locked(&pipe).hang_up(None, HangUp::Reset);
        }
        if let Some(pipe) = self.to_host.upgrade() {
            locked(&pipe).hang_up(None, HangUp::Reset);
        }
        self.wake();
    }

    fn wake(&self) {
        self.host.wake();
        self.controller.wake();
    }
}

/// One side of a connection: sends `O`, receives `I`.
#[derive(Debug)]
pub(crate) struct End<O: Size, I: Size> {
    out: Arc<Mutex<Pipe<O>>>,
    inward: Arc<Mutex<Pipe<I>>>,
    peer: Wake,
    /// The last time this side was told, for a hang-up by drop.
    now: Option<Instant>,
    hung_up: bool,
}

/// The host's end, the controller's end, and the network's view of the connection between them.
pub(crate) type Ends<A, B> = (End<A, B>, End<B, A>, Wires<A, B>);

/// Makes a connection.
pub(crate) fn connect<A: Size, B: Size>(link: Link, rng: &Rng, host: Wake, controller: Wake) -> Ends<A, B> {
    let to_controller = Arc::new(Mutex::new(Pipe::new(link, rng.fork(1))));
    let to_host = Arc::new(Mutex::new(Pipe::new(link, rng.fork(2))));
    let wires = Wires {
        to_controller: Arc::downgrade(&to_controller),
        to_host: Arc::downgrade(&to_host),
        host: host.clone(),
        controller: controller.clone(),
    };
    let host_end = End {
        out: Arc::clone(&to_controller),
        inward: Arc::clone(&to_host),
        peer: controller,
        now: None,
        hung_up: false,
    };
    let controller_end = End { out: to_host, inward: to_controller, peer: host, now: None, hung_up: false };
    (host_end, controller_end, wires)
}

impl<O: Size, I: Size> End<O, I> {
    /// Sends one message, or gives it back when the link is full.
    pub(crate) fn send(&mut self, now: Instant, message: O) -> Result<(), O> {
        self.now = Some(now);
        locked(&self.out).send(now, message)?;
        self.peer.wake();
        Ok(())
    }

    /// Sends what the link takes of `queue`, in order.
    pub(crate) fn flush(&mut self, now: Instant, queue: &mut VecDeque<O>) {
        self.now = Some(now);
        if queue.is_empty() {
            return;
        }
        let mut pipe = locked(&self.out);
        let before = queue.len();
        while let Some(message) = queue.pop_front() {
            if let Err(message) = pipe.send(now, message) {
                queue.push_front(message);
                break;
            }
        }
        drop(pipe);
        // Two sides that wait for each other must not keep each other awake.
        if queue.len() < before {
            self.peer.wake();
        }
    }

    /// The next message that has arrived.
    pub(crate) fn receive(&mut self, now: Instant) -> Received<I> {
        self.now = Some(now);
        let mut pipe = locked(&self.inward);
        let received = pipe.receive(now);
        if matches!(received, Received::Message(_)) && std::mem::take(&mut pipe.writer_waits) {
            drop(pipe);
            self.peer.wake();
        }
        received
    }

    /// When the next message arrives, as far as is known.
    pub(crate) fn next_due(&self) -> Option<Instant> {
        locked(&self.inward).next_due()
    }

    /// Ends both directions. Nothing is delivered to this side any more.
    pub(crate) fn hang_up(&mut self, how: HangUp) {
        if std::mem::replace(&mut self.hung_up, true) {
            return;
        }
        locked(&self.out).hang_up(self.now, how);
        locked(&self.inward).forget_reader();
        self.peer.wake();
    }
}

impl<O: Size, I: Size> Drop for End<O, I> {
    fn drop(&mut self) {
        self.hang_up(HangUp::Orderly);
    }
}
