//! The part of an engine that does not depend on the role.

use std::{
    net::SocketAddr,
    os::fd::{BorrowedFd, OwnedFd},
    sync::Arc,
    time::Instant,
};

use nvmf_transport::{
    Close, Error, Limits, Misuse, QueueId, QueueSettings, Queues, Stage,
    poller::{Interest, Poller, Ready},
};

use super::{Connection, socket, stream::Stream};
use crate::{
    accelerator::{Accelerator, Datapath},
    config::TcpConfig,
    conn::Life,
};

/// Up to this many connections, the busy ones are read without asking the poller.
const DIRECT_QUEUES: usize = 4;

/// Fruitless direct reads after which a connection does not count as busy any more.
const BUSY: u16 = 256;

/// Passes in a row that may go without asking the poller, so that nobody waits for long.
const PASSES_BETWEEN_POLLS: u32 = 8;

/// Tokens of the poller: queues by slot, and with a bit above that whatever the role adds, and accelerators.
const ROLE_TOKEN: u32 = 1 << 30;
pub(super) const DATAPATH_TOKEN: u32 = 1 << 31;

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
    role_ready: Vec<u32>,
    /// Queues that an accelerator carries.
    pub(super) taken: Vec<QueueId>,
    /// No later than the earliest deadline of any queue.
    timer: Option<Instant>,
    /// Passes since the poller was asked.
    passes: u32,
    last_poll: Instant,
}

/// One connection, which is one queue.
// spec: TCP-QUE-01
pub(super) struct Entry<C: Connection> {
    pub(super) path: Path<C>,
    pub(super) limits: Limits,
    pub(super) local: SocketAddr,
    pub(super) connecting: bool,
    /// Whether the accelerator wants the connection, and if not, why.
    pub(super) wanted: Option<Result<(), String>>,
    /// Whether the caller has been told that the queue is up.
    pub(super) announced: bool,
    interest: Interest,
    working: bool,
    busy: u16,
}

/// Who moves the bytes.
pub(super) enum Path<C: Connection> {
    Software(Stream<C>),
    Accelerated(Box<C::Datapath>),
    /// Being handed over.
    Between,
}

impl<C: Connection> Core<C> {
    pub(super) fn new(
        config: Arc<TcpConfig>,
        accelerator: Option<Arc<dyn Accelerator>>,
    ) -> Result<Self, Error> {
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
        (local, peer): (SocketAddr, SocketAddr),
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
            wanted: None,
            announced: false,
            interest,
            working: false,
            busy: 0,
        });
        if let Some(Entry { path: Path::Software(stream), .. }) = self.queues.get(queue)
            && let Err(error) = self.poller.add(&stream.socket, queue.slot() as u32, interest)
        {
            self.queues.remove(queue);
            return Err(Error::from_io(Stage::Setup, "cannot watch a socket", error.into()));
        }
        self.touch(queue);
        Ok(queue)
    }

    /// Watches something of the role's own; [`take_ready`](Self::take_ready) reports it by `token`.
    pub(super) fn watch(&self, fd: BorrowedFd<'_>, token: u32) -> Result<(), Error> {
        self.poller
            .add(fd, ROLE_TOKEN | token, Interest::Read)
            .map_err(|e| Error::from_io(Stage::Setup, "cannot watch a socket", e.into()))
    }

    /// Ends watching.
    pub(super) fn unwatch(&self, fd: BorrowedFd<'_>) {
        // Fails only for what is not watched.
        let _ = self.poller.remove(fd);
    }

    /// One of the role's tokens that was ready in this pass.
    pub(super) fn take_ready(&mut self) -> Option<u32> {
        self.role_ready.pop()
    }

    /// Looks at a queue in the next pass.
    #[inline]
    pub(super) fn touch(&mut self, queue: QueueId) {
        self.entry(queue);
    }

    /// A queue, which will be looked at in the next pass.
    #[inline]
    pub(super) fn entry(&mut self, queue: QueueId) -> Option<&mut Entry<C>> {
        let entry = self.queues.get_mut(queue)?;
        if !entry.working {
            entry.working = true;
            self.work.push(queue);
        }
        Some(entry)
    }

    pub(super) fn limits(&self, queue: QueueId) -> Option<&Limits> {
        self.queues.get(queue).map(|entry| &entry.limits)
    }

    pub(super) fn configure(&mut self, queue: QueueId, settings: &QueueSettings) -> Result<(), Misuse> {
        match &mut self.queues.get_mut(queue).ok_or(Misuse::UnknownQueue)?.path {
            Path::Software(stream) => stream.conn.configure(settings),
            Path::Accelerated(datapath) => datapath.configure(settings),
            Path::Between => Err(Misuse::NotConnected),
        }
    }

    pub(super) fn close(&mut self, queue: QueueId, how: Close) {
        match self.entry(queue).map(|entry| &mut entry.path) {
            Some(Path::Software(stream)) => stream.conn.close(how),
            Some(Path::Accelerated(datapath)) => datapath.close(how),
            Some(Path::Between) | None => {}
        }
    }

    pub(super) fn wait_handle(&self) -> BorrowedFd<'_> {
        self.poller.handle()
    }

    pub(super) fn next_timeout(&self) -> Option<Instant> {
        if !self.work.is_empty() {
            return Some(self.last_poll);
        }
        let of_datapath = |&queue: &QueueId| match &self.queues.get(queue)?.path {
            Path::Accelerated(datapath) => datapath.next_timeout(),
            _ => None,
        };
        self.taken.iter().filter_map(of_datapath).chain(self.timer).min()
    }

    /// One pass. `connected` says what to do with a socket whose connecting has ended.
    pub(super) fn poll(
        &mut self,
        now: Instant,
        events: &mut Vec<C::Event>,
        connected: fn(&mut Entry<C>, &TcpConfig, Option<&dyn Accelerator>),
    ) -> Result<(), Error> {
        self.last_poll = now;
        self.work_off(now, events);
        self.read_busy(now, events);
        if self.passes == 0 {
            let mut ready = std::mem::take(&mut self.ready);
            let polled = self.poller.ready(&mut ready);
            for ready in ready.drain(..) {
                self.deal_with(ready, now, events, connected);
            }
            self.ready = ready;
            polled.map_err(|e| {
                Error::from_io(Stage::Transfer, "cannot ask which sockets are ready", e.into())
            })?;
        }
        self.poll_datapaths(now, events);
        if self.timer.is_some_and(|at| at <= now) {
            self.expire(now, events);
        }
        self.work_off(now, events);
        Ok(())
    }

    /// Sends for every queue that has something to send, and ends those that have ended.
    #[inline]
    fn work_off(&mut self, now: Instant, events: &mut Vec<C::Event>) {
        if self.work.is_empty() {
            return;
        }
        std::mem::swap(&mut self.work, &mut self.doing);
        let mut doing = std::mem::take(&mut self.doing);
        for queue in doing.drain(..) {
            let Some(entry) = self.queues.get_mut(queue) else {
                continue;
            };
            entry.working = false;
            if let Path::Software(stream) = &mut entry.path
                && !entry.connecting
            {
                stream.flush(events);
            }
            self.settle(queue, now, events);
        }
        self.doing = doing;
    }

    /// Reads the busy queues, and decides whether to ask the poller in this pass.
    #[inline]
    fn read_busy(&mut self, now: Instant, events: &mut Vec<C::Event>) {
        self.passes += 1;
        if self.queues.len() > DIRECT_QUEUES {
            self.passes = 0;
            return;
        }
        let (mut tried, mut hit, mut blocked) = (false, false, false);
        for slot in 0..DIRECT_QUEUES {
            let Some(queue) = self.queues.at_slot(slot) else {
                continue;
            };
            let Some(entry) = self.queues.get_mut(queue) else {
                continue;
            };
            let Path::Software(stream) = &mut entry.path else {
                continue;
            };
            blocked |= stream.blocked;
            if entry.busy == 0 {
                continue;
            }
            tried = true;
            if stream.receive(&mut self.scratch, events) {
                hit = true;
                entry.busy = BUSY;
                self.settle(queue, now, events);
            } else {
                entry.busy -= 1;
            }
        }
        // Whoever spins polls often: a fruitless pass asks the poller only now and then as well.
        let limit = if hit { PASSES_BETWEEN_POLLS } else { PASSES_BETWEEN_POLLS / 2 };
        if !tried || blocked || self.passes >= limit {
            self.passes = 0;
        }
    }

    fn deal_with(
        &mut self,
        ready: Ready,
        now: Instant,
        events: &mut Vec<C::Event>,
        connected: fn(&mut Entry<C>, &TcpConfig, Option<&dyn Accelerator>),
    ) {
        if ready.token & DATAPATH_TOKEN != 0 {
            // All data paths are polled in every pass.
            return;
        }
        if ready.token & ROLE_TOKEN != 0 {
            self.role_ready.push(ready.token & !ROLE_TOKEN);
            return;
        }
        let Some(queue) = self.queues.at_slot(ready.token as usize) else {
            return;
        };
        let Some(entry) = self.queues.get_mut(queue) else {
            return;
        };
        if entry.connecting {
            if ready.write {
                connected(entry, &self.config, self.accelerator.as_deref());
                self.touch(queue);
            }
            return;
        }
        let Path::Software(stream) = &mut entry.path else {
            return;
        };
        if ready.read && stream.receive(&mut self.scratch, events) {
            entry.busy = BUSY;
        }
        if ready.write && stream.blocked {
            stream.blocked = false;
            stream.flush(events);
        }
        self.settle(queue, now, events);
    }

    /// Draws the consequences of what has just happened to a queue.
    #[inline]
    pub(super) fn settle(&mut self, queue: QueueId, now: Instant, events: &mut Vec<C::Event>) {
        let Some(entry) = self.queues.get_mut(queue) else {
            return;
        };
        let Path::Software(stream) = &mut entry.path else {
            return;
        };
        if stream.conn.take_established() {
            return self.established(queue, now, events);
        }
        if stream.conn.life() != Life::Open {
            stream.settle();
            if stream.conn.life() == Life::Over {
                return self.end(queue, events);
            }
        }
        if let Some(deadline) = stream.conn.deadline(now)
            && self.timer.is_none_or(|at| deadline < at)
        {
            self.timer = Some(deadline);
        }
        let interest = match (entry.connecting, stream.blocked) {
            (true, _) => Interest::Write,
            (false, true) => Interest::Both,
            (false, false) => Interest::Read,
        };
        if interest != entry.interest {
            entry.interest = interest;
            // Cannot fail for a socket that is watched.
            let _ = self.poller.modify(&stream.socket, queue.slot() as u32, interest);
        }
        if stream.conn.has_output() && !stream.blocked && !entry.connecting {
            self.touch(queue);
        }
    }

    /// Ends everything that has been waited for long enough.
    #[cold]
    fn expire(&mut self, now: Instant, events: &mut Vec<C::Event>) {
        self.timer = None;
        // Deadlines are far apart and rare: looking at all queues is cheaper than keeping them sorted.
        let mut all = std::mem::take(&mut self.doing);
        all.extend(self.queues.iter().map(|(queue, _)| queue));
        for queue in all.drain(..) {
            let Some(entry) = self.queues.get_mut(queue) else {
                continue;
            };
            let Path::Software(stream) = &mut entry.path else {
                continue;
            };
            if stream.conn.deadline(now).is_some_and(|at| at <= now) {
                // spec: TCP-ADR-08, TCP-ERR-12
                match entry.connecting {
                    true => stream.conn.failed(socket::connect_timeout(stream.peer)),
                    false => stream.conn.expire(now),
                }
            }
            self.settle(queue, now, events);
        }
        self.doing = all;
    }

    /// A queue ends: everything outstanding goes back, then the reason.
    // spec: TCP-ERR-17, TCP-ERR-18, TCP-RES-02
    #[cold]
    fn end(&mut self, queue: QueueId, events: &mut Vec<C::Event>) {
        let Some(Entry { path: Path::Software(mut stream), announced, .. }) = self.queues.remove(queue)
        else {
            return;
        };
        // Closing the socket takes it out of the poller as well, unless it has been duplicated.
        let _ = self.poller.remove(&stream.socket);
        let known = events.len();
        stream.conn.finish(events);
        tracing::debug!(?queue, peer = %stream.peer, "queue ended");
        if C::SILENT_UNTIL_UP && !announced {
            events.truncate(known);
        }
    }
}
