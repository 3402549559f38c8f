//! The part of an engine that does not depend on the role.

use std::{
    net::SocketAddr,
    ops::ControlFlow,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    sync::Arc,
    time::Instant,
};

use nvmf_transport::{
    Close, DigestBy, Error, ErrorKind, Limits, Misuse, QueueId, QueueInfo, QueueSettings, Queues, Stage,
};

use super::{
    Connection,
    poller::{Interest, Poller, Ready},
    socket,
    stream::Stream,
};
use crate::{
    accelerator::{Accelerator, Claim, Datapath, Handover},
    config::{TcpConfig, sharpen},
    conn::{Life, describe},
};

/// Up to this many connections, the busy ones are read without asking the poller.
const DIRECT_QUEUES: usize = 4;

/// Fruitless direct reads after which a connection does not count as busy any more.
const BUSY: u16 = 256;

/// Passes in a row that may go without asking the poller, so that nobody waits for long.
const PASSES_BETWEEN_POLLS: u32 = 8;

/// The name of the data path when nobody took the connection over.
const SOFTWARE: &str = "software";

/// Tokens of the poller: queues by slot, whatever the role adds behind this bit, and data paths of accelerators.
pub(super) const ROLE_TOKEN: u64 = 1 << 62;
const DATAPATH_TOKEN: u64 = 1 << 63;

pub(super) struct Core<C: Connection> {
    pub(super) config: Arc<TcpConfig>,
    pub(super) accelerator: Option<Arc<dyn Accelerator>>,
    pub(super) poller: Poller,
    pub(super) queues: Queues<Entry<C>>,
    scratch: Box<[u8]>,
    /// Queues with something to send or to end. Each is named once.
    work: Vec<QueueId>,
    doing: Vec<QueueId>,
    ready: Vec<Ready>,
    /// Tokens of the role that were ready in this pass.
    pub(super) role_ready: Vec<u64>,
    /// Queues that an accelerator carries.
    taken: Vec<QueueId>,
    /// No later than the earliest deadline of any queue.
    timer: Option<Instant>,
    passes: u32,
    pub(super) last_poll: Instant,
}

pub(super) struct Entry<C: Connection> {
    pub(super) path: Path<C>,
    pub(super) limits: Limits,
    pub(super) local: SocketAddr,
    pub(super) connecting: bool,
    /// Whether the accelerator wants the connection, and if not why.
    pub(super) accelerator: Option<Result<(), String>>,
    interest: Interest,
    working: bool,
    busy: u16,
}

/// Who moves the bytes.
pub(super) enum Path<C: Connection> {
    Software(Stream<C>),
    Accelerated(Box<C::Datapath>),
}

impl<C: Connection> Core<C> {
    pub(super) fn new(config: Arc<TcpConfig>, accelerator: Option<Arc<dyn Accelerator>>) -> Result<Self, Error> {
        let failed = |e: rustix::io::Errno| Error::from_io(Stage::Setup, "cannot create a poller", e.into());
        #[expect(clippy::disallowed_methods, reason = "a driver; the first poll replaces it")]
        let last_poll = Instant::now();
        Ok(Self {
            scratch: vec![0; config.scratch].into_boxed_slice(),
            config,
            accelerator,
            poller: Poller::new().map_err(failed)?,
            queues: Queues::default(),
            work: Vec::new(),
            doing: Vec::new(),
            ready: Vec::new(),
            role_ready: Vec::new(),
            taken: Vec::new(),
            timer: None,
            passes: 0,
            last_poll,
        })
    }

    /// Adds a connection. `make` builds it, knowing its name.
    pub(super) fn insert(
        &mut self,
        socket: OwnedFd,
        local: SocketAddr,
        peer: SocketAddr,
        connecting: bool,
        make: impl FnOnce(QueueId) -> C,
    ) -> Result<QueueId, Error> {
        let limits = self.config.limits();
        let interest = if connecting { Interest::Write } else { Interest::Read };
        let queue = self.queues.insert_with(|queue| Entry {
            path: Path::Software(Stream::new(socket, make(queue), peer)),
            limits,
            local,
            connecting,
            accelerator: None,
            interest,
            working: false,
            busy: 0,
        });
        let Self { queues, poller, timer, .. } = self;
        if let Some(Entry { path: Path::Software(stream), .. }) = queues.get_mut(queue) {
            if let Err(error) = poller.add(&stream.socket, queue.slot() as u64, interest) {
                queues.remove(queue);
                return Err(Error::from_io(Stage::Setup, "cannot watch a socket", error.into()));
            }
            note_deadline(timer, stream.conn.deadline());
        }
        self.touch(queue);
        Ok(queue)
    }

    /// Looks at a queue in the next pass.
    #[inline]
    pub(super) fn touch(&mut self, queue: QueueId) {
        if let Some(entry) = self.queues.get_mut(queue)
            && !entry.working
        {
            entry.working = true;
            self.work.push(queue);
        }
    }

    /// The sans-io connection of a queue that software carries and that is up.
    #[inline]
    pub(super) fn path(&mut self, queue: QueueId) -> Option<&mut Path<C>> {
        let entry = self.queues.get_mut(queue)?;
        if !entry.working {
            entry.working = true;
            self.work.push(queue);
        }
        Some(&mut entry.path)
    }

    pub(super) fn limits(&self, queue: QueueId) -> Option<&Limits> {
        self.queues.get(queue).map(|entry| &entry.limits)
    }

    pub(super) fn configure(&mut self, queue: QueueId, settings: &QueueSettings) -> Result<(), Misuse> {
        match &mut self.queues.get_mut(queue).ok_or(Misuse::UnknownQueue)?.path {
            Path::Software(stream) => stream.conn.configure(settings),
            Path::Accelerated(datapath) => datapath.configure(settings),
        }
    }

    pub(super) fn close(&mut self, queue: QueueId, how: Close) {
        let now = self.last_poll;
        match self.path(queue) {
            Some(Path::Software(stream)) => stream.conn.close(how, now),
            Some(Path::Accelerated(datapath)) => datapath.close(how),
            None => {}
        }
    }

    pub(super) fn wait_handle(&self) -> BorrowedFd<'_> {
        self.poller.handle()
    }

    pub(super) fn next_timeout(&self) -> Option<Instant> {
        if !self.work.is_empty() {
            return Some(self.last_poll);
        }
        self.taken
            .iter()
            .filter_map(|&queue| match &self.queues.get(queue)?.path {
                Path::Accelerated(datapath) => datapath.next_timeout(),
                Path::Software(_) => None,
            })
            .chain(self.timer)
            .min()
    }

    /// One pass. `connected` says what to do with a socket whose connecting has ended.
    pub(super) fn poll(
        &mut self,
        now: Instant,
        events: &mut Vec<C::Event>,
        mut connected: impl FnMut(&mut Entry<C>, Option<&dyn Accelerator>),
    ) -> Result<(), Error> {
        self.last_poll = now;
        self.work_off(now, events);
        self.read_busy(now, events);
        if self.passes == 0 {
            let mut ready = std::mem::take(&mut self.ready);
            let polled = self.poller.ready(&mut ready);
            for ready in ready.drain(..) {
                self.deal_with(ready, now, events, &mut connected);
            }
            self.ready = ready;
            polled.map_err(|e| Error::from_io(Stage::Transfer, "cannot ask which sockets are ready", e.into()))?;
        }
        for at in (0..self.taken.len()).rev() {
            self.poll_datapath(at, now, events);
        }
        if self.timer.is_some_and(|at| at <= now) {
            self.expire(now);
        }
        self.work_off(now, events);
        Ok(())
    }

    /// Sends for every queue that has something to send, and ends those that have ended.
    #[inline]
    fn work_off(&mut self, now: Instant, events: &mut Vec<C::Event>) {
        std::mem::swap(&mut self.work, &mut self.doing);
        let mut doing = std::mem::take(&mut self.doing);
        for queue in doing.drain(..) {
            let Some(entry) = self.queues.get_mut(queue) else { continue };
            entry.working = false;
            if let Path::Software(stream) = &mut entry.path
                && !entry.connecting
            {
                stream.flush(now, events);
            }
            self.settle(queue, events);
        }
        self.doing = doing;
    }

    /// Reads the busy queues, and decides whether to ask the poller in this pass.
    #[inline]
    fn read_busy(&mut self, now: Instant, events: &mut Vec<C::Event>) {
        if self.queues.len() > DIRECT_QUEUES {
            self.passes = 0;
            return;
        }
        let (mut tried, mut hit) = (false, false);
        for slot in 0..DIRECT_QUEUES {
            let Some(queue) = self.queues.at_slot(slot) else { continue };
            let Some(entry) = self.queues.get_mut(queue) else { continue };
            if entry.busy == 0 {
                continue;
            }
            let Path::Software(stream) = &mut entry.path else { continue };
            tried = true;
            if stream.receive(&mut self.scratch, now, events) {
                hit = true;
                entry.busy = BUSY;
                self.settle(queue, events);
            } else {
                entry.busy -= 1;
            }
        }
        // Whoever spins polls often: a fruitless pass asks the poller only now and then as well.
        let often = if hit { PASSES_BETWEEN_POLLS } else { PASSES_BETWEEN_POLLS / 2 };
        self.passes = if tried && self.passes + 1 < often { self.passes + 1 } else { 0 };
    }

    fn deal_with(
        &mut self,
        ready: Ready,
        now: Instant,
        events: &mut Vec<C::Event>,
        connected: &mut impl FnMut(&mut Entry<C>, Option<&dyn Accelerator>),
    ) {
        if ready.token & DATAPATH_TOKEN != 0 {
            // All data paths are polled in every pass.
            return;
        }
        if ready.token & ROLE_TOKEN != 0 {
            self.role_ready.push(ready.token & !ROLE_TOKEN);
            return;
        }
        let Some(queue) = self.queues.at_slot(ready.token as usize) else { return };
        let Some(entry) = self.queues.get_mut(queue) else { return };
        if entry.connecting {
            if ready.write {
                connected(entry, self.accelerator.as_deref());
            }
            self.touch(queue);
            return;
        }
        let Path::Software(stream) = &mut entry.path else { return };
        if ready.read {
            stream.receive(&mut self.scratch, now, events);
            entry.busy = BUSY;
        }
        if ready.write && stream.blocked {
            stream.blocked = false;
            stream.flush(now, events);
        }
        self.settle(queue, events);
    }

    /// Draws the consequences of what has just happened to a queue.
    #[inline]
    fn settle(&mut self, queue: QueueId, events: &mut Vec<C::Event>) {
        let Some(entry) = self.queues.get_mut(queue) else { return };
        let Path::Software(stream) = &mut entry.path else { return };
        if stream.conn.take_established() {
            self.established(queue, events);
            return self.settle(queue, events);
        }
        if stream.conn.life() != Life::Open {
            stream.settle();
            if stream.conn.life() == Life::Over {
                return self.end(queue, events);
            }
        }
        note_deadline(&mut self.timer, stream.conn.deadline());
        let wanted = match (entry.connecting, stream.blocked) {
            (true, _) => Interest::Write,
            (false, true) => Interest::Both,
            (false, false) => Interest::Read,
        };
        if wanted != entry.interest {
            entry.interest = wanted;
            // Cannot fail for a socket that was added.
            let _ = self.poller.modify(&stream.socket, queue.slot() as u64, wanted);
        }
        if stream.conn.has_output() && !stream.blocked && !entry.connecting {
            self.touch(queue);
        }
    }

    /// A queue ends: everything outstanding goes back, then the reason.
    #[cold]
    fn end(&mut self, queue: QueueId, events: &mut Vec<C::Event>) {
        if let Some(Entry { path: Path::Software(mut stream), .. }) = self.queues.remove(queue) {
            // Closing the socket takes it out of the poller as well, unless it has been duplicated.
            let _ = self.poller.remove(&stream.socket);
            stream.conn.finish(events);
            tracing::debug!(?queue, peer = %stream.peer, "queue ended");
        }
    }

    /// Negotiation has ended: offers the connection to the accelerator, then says that the queue is up.
    #[cold]
    fn established(&mut self, queue: QueueId, events: &mut Vec<C::Event>) {
        let Some(entry) = self.queues.get_mut(queue) else { return };
        let Path::Software(stream) = &mut entry.path else { return };
        let Some(negotiated) = stream.conn.negotiated_terms().copied() else { return };
        sharpen(&mut entry.limits, &negotiated, DigestBy::Software);
        let mut shown = describe(&negotiated);
        let (local, peer) = (entry.local, stream.peer);
        let mut data_path = SOFTWARE;
        let mut because = match &entry.accelerator {
            Some(Err(because)) => Some(because.clone()),
            _ => None,
        };
        if let (Some(Ok(())), Some(accelerator)) = (&entry.accelerator, self.accelerator.clone())
            && stream.conn.life() == Life::Open
        {
            match self.offer(queue, &*accelerator) {
                Offered::Taken => data_path = accelerator.name(),
                Offered::Declined(reason) => because = Some(reason),
                Offered::Lost(error) => {
                    tracing::warn!(?queue, %peer, accelerator = accelerator.name(), %error, "connection lost");
                    return self.lose(queue, accelerator.name(), error, events);
                }
            }
        }
        if let Some(because) = because {
            tracing::info!(?queue, %peer, because, "accelerator declines, software carries the queue");
            shown.push(("accelerator", format!("declined: {because}")));
        }
        let Some(entry) = self.queues.get_mut(queue) else { return };
        let info = QueueInfo { limits: entry.limits.clone(), local, peer, data_path, negotiated: shown };
        tracing::debug!(?queue, %peer, data_path, "queue is up");
        match &entry.path {
            Path::Software(stream) => events.push(stream.conn.announce(Box::new(info))),
            Path::Accelerated(_) => {}
        }
    }
}

fn note_deadline(timer: &mut Option<Instant>, deadline: Option<Instant>) {
    if let Some(deadline) = deadline
        && timer.is_none_or(|at| deadline < at)
    {
        *timer = Some(deadline);
    }
}
