//! Adds latency to any transport: every completion reaches the host later, by a distribution.
//!
//! Completions of one queue may overtake each other, as they do where a slow device answers; a queue's end comes after all
//! of them. Deliberately absent: what a link adds (that is [`Link`](crate::Link)) and anything of the controller's side.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use crate::decorate::{engine_of_inner, transport_of_inner};
use nvmf_transport::{
    Close, Command, ConnectOptions, Engine, Error, HostEngine, HostEvent, HostTransport, Misuse, QueueId,
    QueueSettings, Refused, Target,
};
use nvmf_wire::Cid;

use crate::{Rng, hold::Hold};

/// How latencies are distributed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Distribution {
    /// Always the same.
    Constant(Duration),
    /// Anything between two values.
    Uniform(Duration, Duration),
    /// Mostly short and sometimes long: exponential around a mean, cut at twenty times of it.
    Exponential(Duration),
    /// One value, and `per_mille` times of a thousand another: a device with hiccups.
    Hiccup {
        /// Usually.
        usual: Duration,
        /// Sometimes.
        hiccup: Duration,
        /// How often.
        per_mille: u16,
    },
}

impl Distribution {
    /// One latency.
    pub fn sample(self, rng: &mut Rng) -> Duration {
        match self {
            Self::Constant(time) => time,
            Self::Uniform(least, most) => rng.time(least..=most),
            Self::Exponential(mean) => mean.mul_f64((-rng.unit().ln()).min(20.0)),
            Self::Hiccup { usual, hiccup, per_mille } => {
                if rng.chance(per_mille) {
                    hiccup
                } else {
                    usual
                }
            }
        }
    }
}

/// A host's transport with added latency.
pub struct Delayed {
    inner: Arc<dyn HostTransport>,
    distribution: Distribution,
    seed: u64,
    engines: AtomicU64,
}

impl Delayed {
    /// Adds latency to `inner`; every choice follows from `seed`.
    #[must_use]
    pub fn new(inner: Arc<dyn HostTransport>, distribution: Distribution, seed: u64) -> Self {
        Self { inner, distribution, seed, engines: AtomicU64::new(0) }
    }
}

transport_of_inner!(Delayed);

impl HostTransport for Delayed {
    fn host_engine(&self) -> Result<Box<dyn HostEngine>, Error> {
        let inner = self.inner.host_engine()?;
        let rng = Rng::new(self.seed).fork(self.engines.fetch_add(1, Ordering::Relaxed));
        let (held, heard) = (Hold::default(), Vec::new());
        Ok(Box::new(Host { inner, distribution: self.distribution, rng, held, heard }))
    }
}

struct Host {
    inner: Box<dyn HostEngine>,
    distribution: Distribution,
    rng: Rng,
    held: Hold<(QueueId, HostEvent)>,
    heard: Vec<HostEvent>,
}

impl Engine for Host {
    engine_of_inner!();

    fn next_timeout(&self) -> Option<Instant> {
        self.inner.next_timeout().into_iter().chain(self.held.next()).min()
    }

    fn configure(&mut self, queue: QueueId, settings: QueueSettings) -> Result<(), Misuse> {
        self.inner.configure(queue, settings)
    }

    fn close(&mut self, queue: QueueId, how: Close) {
        self.inner.close(queue, how);
    }
}

impl HostEngine for Host {
    fn connect(&mut self, target: &Target, options: &ConnectOptions) -> Result<QueueId, Error> {
        self.inner.connect(target, options)
    }

    fn submit(&mut self, queue: QueueId, command: Command) -> Result<Cid, Refused<Command>> {
        self.inner.submit(queue, command)
    }

    fn poll(&mut self, now: Instant, events: &mut Vec<HostEvent>) -> Result<(), Error> {
        self.inner.poll(now, &mut self.heard)?;
        for event in self.heard.drain(..) {
            match event {
                HostEvent::Completed { queue, .. } => {
                    let due = now + self.distribution.sample(&mut self.rng);
                    self.held.until(due, (queue, event));
                }
                // Aborts and the end do not come before what has arrived.
                HostEvent::Aborted { queue, .. } | HostEvent::Closed { queue, .. } => {
                    events.extend(self.held.take(|(of, _)| *of == queue).into_iter().map(|(_, event)| event));
                    events.push(event);
                }
                other => events.push(other),
            }
        }
        events.extend(self.held.due(now).map(|(_, event)| event));
        Ok(())
    }
}

#[cfg(test)]
#[path = "latency_tests.rs"]
mod tests;
