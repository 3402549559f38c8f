//! Decides which faults strike, from what one engine sees. Knows nothing of events.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use nvmf_transport::{QueueId, QueueKind};

use super::{Fault, Faults, Moment, What, When};
use crate::Rng;

/// The decisions of one engine.
#[derive(Debug)]
pub(super) struct Injector {
    faults: Faults,
    who: String,
    rng: Rng,
    queues: BTreeMap<QueueId, Life>,
    /// How often each fault of the plan has struck.
    struck: Vec<u32>,
    /// Orders of [`Faults::now`] that were carried out.
    obeyed: usize,
}

/// What has happened on a queue.
#[derive(Clone, Debug, Default)]
struct Life {
    kind: Option<QueueKind>,
    commands: u64,
    bytes: u64,
    /// Faults, by their place in the plan, that wait for the next command.
    armed: Vec<usize>,
}

/// What strikes one command, decided.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Strike {
    pub(super) delay: Option<Duration>,
    pub(super) withhold: bool,
    pub(super) reorder: u16,
    pub(super) flip_write: bool,
    pub(super) flip_read: bool,
    pub(super) of_queue: Vec<What>,
    /// In words, to be remembered if the command is taken.
    deeds: Vec<String>,
}

/// How things stood before a command, should it be refused.
#[derive(Debug)]
pub(super) struct Before {
    rng: Rng,
    life: Life,
    struck: Vec<u32>,
}

impl Injector {
    pub(super) fn new(faults: &Faults, role: &str) -> Self {
        let number = faults.next_engine();
        let rng = Rng::new(faults.plan().seed).fork(number);
        let struck = vec![0; faults.plan().faults.len()];
        // Orders given before there was this engine are not meant for it.
        let obeyed = faults.orders().len();
        Self {
            faults: faults.clone(),
            who: format!("{role} {number}"),
            rng,
            queues: BTreeMap::new(),
            struck,
            obeyed,
        }
    }

    /// What [`Faults::now`] has ordered since the last time, for the queues there are.
    pub(super) fn ordered(&mut self) -> Vec<(QueueId, What)> {
        let orders = self.faults.orders();
        let new = orders.get(self.obeyed..).unwrap_or_default();
        self.obeyed = orders.len();
        let mut strikes = Vec::new();
        for (what, on) in new {
            let fit = self.queues.iter().filter(|(_, life)| on.fits(life.kind));
            strikes.extend(fit.map(|(queue, _)| (*queue, *what)));
        }
        for (queue, what) in &strikes {
            self.faults.did(format!("{}, {queue:?}: {what:?} by order", self.who));
        }
        strikes
    }

    /// Learns what kind of queue it is.
    pub(super) fn knows(&mut self, queue: QueueId, kind: QueueKind) {
        self.queues.entry(queue).or_default().kind = Some(kind);
    }

    /// A queue has come to a point of its life; what strikes the whole of it.
    pub(super) fn reached(&mut self, queue: QueueId, moment: Moment) -> Vec<What> {
        let life = self.queues.entry(queue).or_default();
        let mut strikes = Vec::new();
        for (place, fault) in self.faults.0.plan.faults.iter().enumerate() {
            if fault.when != When::Moment(moment) || !fault.on.fits(life.kind) {
                continue;
            }
            if fault.what.is_of_queue() {
                if !may_strike(&mut self.struck, place, fault) {
                    continue;
                }
                self.faults.did(format!("{}, {queue:?}: {fault}", self.who));
                strikes.push(fault.what);
            } else {
                life.armed.push(place);
            }
        }
        strikes
    }

    /// How things stand now.
    pub(super) fn before(&self, queue: QueueId) -> Before {
        Before {
            rng: self.rng.clone(),
            life: self.queues.get(&queue).cloned().unwrap_or_default(),
            struck: self.struck.clone(),
        }
    }

    /// The command was refused: nothing has happened.
    pub(super) fn undo(&mut self, queue: QueueId, before: Before) {
        self.rng = before.rng;
        self.struck = before.struck;
        self.queues.insert(queue, before.life);
    }

    /// The command was taken: what strikes it is remembered.
    pub(super) fn remember(&self, strike: &mut Strike) {
        strike.deeds.drain(..).for_each(|deed| self.faults.did(deed));
    }

    /// A command with so many bytes of data; what strikes it.
    pub(super) fn command(&mut self, queue: QueueId, bytes: usize) -> Strike {
        let life = self.queues.entry(queue).or_default();
        let before = life.bytes;
        life.commands += 1;
        life.bytes += bytes as u64;
        let mut strike = Strike::default();
        for (place, fault) in self.faults.0.plan.faults.iter().enumerate() {
            // The dice fall for every fault and command, so that one fault more or less in a plan changes nothing for the others.
            let luck = self.rng.fork(place as u64).below(1000);
            let strikes = match fault.when {
                When::Chance(per_mille) => luck < u64::from(per_mille),
                When::Command(number) => number == life.commands,
                When::Byte(number) => before < number && number <= life.bytes,
                When::Moment(_) => life.armed.contains(&place),
            };
            if !strikes || !fault.on.fits(life.kind) || !may_strike(&mut self.struck, place, fault) {
                continue;
            }
            strike.deeds.push(format!("{}, {queue:?}, command {}: {fault}", self.who, life.commands));
            match fault.what {
                What::Delay { least, most } => {
                    strike.delay = Some(self.rng.fork(!(place as u64)).time(least..=most))
                }
                What::Withhold => strike.withhold = true,
                What::Reorder { others } => strike.reorder = others,
                What::FlipWrite => strike.flip_write = true,
                What::FlipRead => strike.flip_read = true,
                What::Stall { .. } | What::Reset => strike.of_queue.push(fault.what),
            }
        }
        life.armed.clear();
        self.rng.bits();
        strike
    }

    /// Flips a bit and says which; none of nothing.
    pub(super) fn flip(&mut self, bytes: &mut [u8]) -> Option<Flip> {
        let at = self.rng.below(bytes.len() as u64) as usize;
        let flip = Flip { at, mask: 1 << self.rng.below(8) };
        flip.apply(bytes);
        (!bytes.is_empty()).then_some(flip)
    }

    pub(super) fn forget(&mut self, queue: QueueId) {
        self.queues.remove(&queue);
    }
}

/// Counts a strike, unless the fault has struck as often as it may.
fn may_strike(struck: &mut [u32], place: usize, fault: &Fault) -> bool {
    let Some(count) = struck.get_mut(place) else { return false };
    if fault.times > 0 && *count >= fault.times {
        return false;
    }
    *count += 1;
    true
}

/// A flipped bit. Applied twice it is undone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Flip {
    at: usize,
    mask: u8,
}

impl Flip {
    pub(super) fn apply(self, bytes: &mut [u8]) {
        if let Some(byte) = bytes.get_mut(self.at) {
            *byte ^= self.mask;
        }
    }
}

/// How long nothing of a queue is reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stall {
    /// Until this side closes it.
    Forever,
    /// So long from the next poll on.
    For(Duration),
    /// Until then.
    Until(Instant),
}

impl Stall {
    pub(super) fn new(time: Option<Duration>) -> Self {
        time.map_or(Self::Forever, Self::For)
    }

    /// Starts the time; whether it is over.
    pub(super) fn is_over(&mut self, now: Instant) -> bool {
        if let Self::For(time) = *self {
            *self = Self::Until(now + time);
        }
        matches!(self, Self::Until(until) if *until <= now)
    }

    pub(super) fn until(self) -> Option<Instant> {
        if let Self::Until(until) = self { Some(until) } else { None }
    }
}
