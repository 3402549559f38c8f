//! An association: one host's controller, from the admin queue's Connect to its end.
//!
//! The admin queue's session drives it; sessions of its I/O queues, on whatever thread, join and leave; the configuration
//! raises events. All of that takes the lock of [`State`]. The I/O path reads three atomics and no lock.
//! Start at [`Association`]; `registers`, `events`, `features` and `errors` are its parts, each without threads or time.

pub(crate) mod errors;
pub(crate) mod events;
pub(crate) mod features;
pub(crate) mod registers;

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering},
    },
    time::Duration,
};

use nvmf_transport::{Close, Limits, QueueId, Wire};
use nvmf_wire::{Cid, Nqn, Status, property::Cc};

use self::{
    errors::{ErrorLog, Failure},
    events::{Event, Events},
    features::Features,
    registers::{Effect, Registers},
};
use crate::{
    port::{Message, Port},
    registry::Registry,
    subsystem::Subsystem,
};

/// KAS in 100 ms: the granularity of the keep alive timer, 1 s.
pub(crate) const KAS: u16 = 10;

/// Time in tenths of a second since the server started: as fine as the keep alive timer needs it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tick(u32);

impl Tick {
    const LENGTH: Duration = Duration::from_millis(100);

    /// The tick that `elapsed` since the start lies in.
    pub(crate) fn at(elapsed: Duration) -> Self {
        Self((elapsed.as_millis() / Self::LENGTH.as_millis()) as u32)
    }

    /// When the tick is over, since the start.
    pub(crate) fn end(self) -> Duration {
        Self::LENGTH.saturating_mul(self.0.saturating_add(1))
    }
}

/// Who the host says it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Host {
    pub(crate) nqn: Nqn,
    pub(crate) id: [u8; 16],
}

/// A queue of some session.
#[derive(Clone, Debug)]
pub(crate) struct Address {
    pub(crate) port: Arc<Port>,
    pub(crate) queue: QueueId,
}

impl Address {
    /// Whether both are the same queue; identifiers alone are unique within one engine only.
    fn is(&self, other: &Self) -> bool {
        self.queue == other.queue && Arc::ptr_eq(&self.port, &other.port)
    }
}

/// What the admin queue's transport connection settles for the association.
#[derive(Clone, Debug)]
pub(crate) struct Facts {
    pub(crate) transport: &'static str,
    pub(crate) wire: Wire,
    pub(crate) limits: Limits,
    pub(crate) local: SocketAddr,
    pub(crate) peer: SocketAddr,
    /// Bytes one command may move (MDTS), a power of two of pages.
    pub(crate) max_transfer: u32,
    /// I/O queues at most.
    pub(crate) max_io_queues: u16,
}

/// One place among a bounded number of something; given back when dropped.
#[derive(Debug)]
pub(crate) struct Place {
    taken: Arc<AtomicUsize>,
    amount: usize,
}

impl Place {
    /// Takes `amount` of what `taken` counts, unless that would make it more than `limit`.
    pub(crate) fn take(taken: &Arc<AtomicUsize>, amount: usize, limit: usize) -> Option<Self> {
        let fits = |now: usize| now.checked_add(amount).filter(|&sum| sum <= limit);
        taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits).ok()?;
        Some(Self { taken: Arc::clone(taken), amount })
    }

    /// How much was taken.
    pub(crate) fn amount(&self) -> usize {
        self.amount
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.taken.fetch_sub(self.amount, Ordering::Relaxed);
    }
}

/// One host's controller.
#[derive(Debug)]
pub(crate) struct Association {
    pub(crate) cntlid: u16,
    /// `None` is the discovery subsystem.
    pub(crate) subsystem: Option<Arc<Subsystem>>,
    pub(crate) host: Host,
    pub(crate) facts: Facts,
    pub(crate) admin: Address,
    /// The controller is ready: I/O commands are processed.
    live: AtomicBool,
    /// The tick in which the last command of any queue arrived (CTRATT.TBKAS).
    last_traffic: AtomicU32,
    /// The host has disabled the volatile write cache: every write is on stable storage before it ends.
    write_through: AtomicBool,
    /// The keep alive timeout in milliseconds; 0 is none.
    kato: AtomicU32,
    state: Mutex<State>,
    registry: Arc<Registry>,
    _place: Place,
}

/// The part of an association that needs its lock.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) registers: Registers,
    pub(crate) events: Events,
    pub(crate) features: Features,
    pub(crate) errors: ErrorLog,
    /// By queue identifier less one; never longer than the number of I/O queues allowed.
    io_queues: Vec<Option<Address>>,
    ended: bool,
}

impl State {
    /// I/O queues that exist.
    pub(crate) fn open_io_queues(&self) -> usize {
        self.io_queues.iter().flatten().count()
    }
}

/// Why an I/O queue cannot join.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum JoinError {
    /// The controller is not enabled, or is going away.
    NotReady,
    /// The queue identifier is beyond what was granted.
    QueueId,
    /// The queue identifier is in use.
    Duplicate,
}

/// The parts of a new association.
pub(crate) struct Parts {
    pub(crate) subsystem: Option<Arc<Subsystem>>,
    pub(crate) host: Host,
    pub(crate) facts: Facts,
    pub(crate) admin: Address,
    pub(crate) registers: Registers,
    pub(crate) kato: u32,
    pub(crate) place: Place,
    pub(crate) registry: Arc<Registry>,
}

impl Association {
    pub(crate) fn new(cntlid: u16, parts: Parts) -> Self {
        let Parts { subsystem, host, facts, admin, registers, kato, place, registry } = parts;
        let association = Self {
            cntlid,
            subsystem,
            host,
            facts,
            admin,
            live: AtomicBool::new(false),
            last_traffic: AtomicU32::new(0),
            write_through: AtomicBool::new(false),
            kato: AtomicU32::new(0),
            state: Mutex::new(State {
                registers,
                events: Events::default(),
                features: Features::default(),
                errors: ErrorLog::default(),
                io_queues: Vec::new(),
                ended: false,
            }),
            registry,
            _place: place,
        };
        association.set_kato(kato);
        association
    }

    pub(crate) fn is_discovery(&self) -> bool {
        self.subsystem.is_none()
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether I/O commands are processed.
    pub(crate) fn is_live(&self) -> bool {
        self.live.load(Ordering::Acquire)
    }

    /// Notes that a command arrived. Writes once per tick, so that queues on many threads share the line.
    pub(crate) fn note_traffic(&self, now: Tick) {
        if self.last_traffic.load(Ordering::Relaxed) != now.0 {
            self.last_traffic.store(now.0, Ordering::Relaxed);
        }
    }

    /// The tick in which the last command arrived.
    pub(crate) fn last_traffic(&self) -> Tick {
        Tick(self.last_traffic.load(Ordering::Relaxed))
    }

    /// Whether writes have to be on stable storage before they end.
    pub(crate) fn write_through(&self) -> bool {
        self.write_through.load(Ordering::Relaxed)
    }

    pub(crate) fn set_write_through(&self, on: bool) {
        self.write_through.store(on, Ordering::Relaxed);
    }

    /// The keep alive timeout in milliseconds, as reported.
    pub(crate) fn kato(&self) -> u32 {
        self.kato.load(Ordering::Relaxed)
    }

    /// Sets the keep alive timeout, rounded up to the granularity (NVMe Base 2.0 §5.27.1.12).
    pub(crate) fn set_kato(&self, milliseconds: u32) {
        let unit = u32::from(KAS) * 100;
        let rounded = milliseconds.div_ceil(unit).saturating_mul(unit);
        self.kato.store(rounded, Ordering::Relaxed);
    }

    /// The keep alive timeout, if there is one.
    pub(crate) fn keep_alive(&self) -> Option<Duration> {
        let kato = self.kato();
        (kato != 0).then(|| Duration::from_millis(kato.into()))
    }

    /// Writes CC and starts what that asks for.
    pub(crate) fn write_cc(&self, cc: Cc) -> Result<Effect, Status> {
        let mut state = self.lock();
        let effect = state.registers.write_cc(cc)?;
        self.live.store(state.registers.ready() && !state.ended, Ordering::Release);
        if matches!(effect, Effect::Reset | Effect::Shutdown) {
            Self::close_io_queues(&state);
        }
        if effect == Effect::Reset {
            // NVMe Base 2.0 §3.7.2: a controller level reset; the error log and the Host Identifier outlive it.
            state.events.reset();
            state.features = Features::default();
            self.set_write_through(false);
            if state.open_io_queues() == 0 {
                state.registers.reset_done();
            }
        }
        Ok(effect)
    }

    fn close_io_queues(state: &State) {
        for Address { port, queue } in state.io_queues.iter().flatten() {
            port.post(Message::Close { queue: *queue, how: Close::Now });
        }
    }

    /// An I/O queue joins.
    pub(crate) fn join(&self, qid: u16, address: Address) -> Result<(), JoinError> {
        let mut state = self.lock();
        if state.ended || !state.registers.ready() || !state.registers.entry_sizes_set() {
            return Err(JoinError::NotReady);
        }
        let granted = state.features.queues.unwrap_or(self.facts.max_io_queues).min(self.facts.max_io_queues);
        if qid == 0 || qid > granted {
            return Err(JoinError::QueueId);
        }
        let index = usize::from(qid) - 1;
        if state.io_queues.len() <= index {
            state.io_queues.resize(index + 1, None);
        }
        match state.io_queues.get_mut(index) {
            Some(place @ None) => {
                *place = Some(address);
                Ok(())
            }
            // spec: TCP-QUE-03
            _ => Err(JoinError::Duplicate),
        }
    }

    /// An I/O queue is gone, and nothing of it is under way any more.
    pub(crate) fn leave(&self, qid: u16, queue: &Address) {
        let mut state = self.lock();
        let place = usize::from(qid).checked_sub(1).and_then(|index| state.io_queues.get_mut(index));
        let Some(place) = place else { return };
        if place.take_if(|address| address.is(queue)).is_none() || state.open_io_queues() > 0 {
            return;
        }
        let waiting = state.registers.shutting_down();
        state.registers.reset_done();
        drop(state);
        if waiting {
            self.look();
        }
    }

    /// The address of an I/O queue.
    pub(crate) fn io_queue(&self, qid: u16) -> Option<Address> {
        let index = usize::from(qid).checked_sub(1)?;
        self.lock().io_queues.get(index)?.clone()
    }

    /// What has to be done for a shutdown is done.
    pub(crate) fn shutdown_done(&self) {
        self.lock().registers.shutdown_done();
    }

    /// A namespace changed.
    pub(crate) fn namespace_changed(&self, nsid: u32) {
        if self.lock().events.namespace_changed(nsid) {
            self.look();
        }
    }

    /// Something worth an asynchronous event happened.
    pub(crate) fn raise(&self, event: Event) {
        if self.lock().events.raise(event) {
            self.look();
        }
    }

    /// Makes the admin queue's session look here.
    fn look(&self) {
        self.admin.port.post(Message::Look { queue: self.admin.queue });
    }

    /// Adds to the error log. The success path never comes here.
    pub(crate) fn log_failure(&self, qid: u16, cid: Cid, status: Status, nsid: u32, lba: u64) {
        let Some(subsystem) = &self.subsystem else { return };
        let number = subsystem.next_error_number();
        self.lock().errors.add(number, self.facts.wire.0, Failure { qid, cid, status, nsid, lba });
    }

    /// The keep alive timer expired: the controller fails and the association ends (NVMe Base 2.0 §3.9).
    pub(crate) fn keep_alive_expired(&self) {
        self.log_failure(0xffff, Cid::NONE, Status::KEEP_ALIVE_TIMER_EXPIRED, 0, 0);
        self.lock().registers.fail();
        self.end("the keep alive timer expired");
    }

    /// Ends the association: all its queues are closed. Says `why` in the log, the first time.
    pub(crate) fn end(&self, why: &str) {
        self.live.store(false, Ordering::Release);
        let mut state = self.lock();
        if std::mem::replace(&mut state.ended, true) {
            return;
        }
        Self::close_io_queues(&state);
        drop(state);
        self.registry.remove(self);
        tracing::info!(host = %self.host.nqn, cntlid = self.cntlid, peer = %self.facts.peer, why, "association ended");
        self.admin.port.post(Message::Close { queue: self.admin.queue, how: Close::AfterFlush });
    }
}
