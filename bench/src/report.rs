//! What several turns came to: figures, their spread over the repeats, and their ratio to the floor of the same round.
//!
//! A ratio is taken within a round, between two turns that follow each other, and only then is the median taken: what disturbs
//! the machine for longer than a round disturbs both. Start at [`Rounds`] and [`Rounds::report`].

use std::time::Duration;

use serde::Serialize;

use crate::{
    Latencies, Pattern, Shape, Summary,
    floor::Exchange,
    noise::{Machine, Noise, Spread},
    window::Found,
};

/// Who was measured, and how.
#[derive(Clone, Debug, Serialize)]
pub struct Subject {
    /// What was measured.
    pub target: String,
    /// Who carried it.
    pub transport: String,
    /// Whether the controller is this program's own, with a namespace in memory.
    pub own_controller: bool,
    /// How idle threads waited.
    pub wait: String,
    /// The processor of the host.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host_cpu: Option<usize>,
    /// The processor of the target, if it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target_cpu: Option<usize>,
    /// Whether header digests were on.
    pub header_digest: bool,
    /// Whether data digests were on.
    pub data_digest: bool,
}

/// The turns of one point.
#[derive(Debug, Default)]
pub struct Rounds {
    /// Of the transport.
    pub turns: Vec<Found>,
    /// Of the floor, in the same rounds; none if it was not measured.
    pub floor: Vec<Found>,
}

/// Reads or writes among all I/O.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Side {
    /// How many.
    pub ios: u64,
    /// Per second.
    pub iops: f64,
    /// Latencies in microseconds.
    pub latency_us: Summary,
}

/// The spread of what was measured, over repeats; a ratio's, if the values are ratios.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Spreads {
    /// I/Os per second.
    pub iops: Spread,
    /// Processor time of the host per I/O, in microseconds.
    pub host_cpu_us_per_io: Spread,
    /// Processor time of the target per I/O, in microseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target_cpu_us_per_io: Option<Spread>,
    /// The median latency, in microseconds.
    pub latency_us_p50: Spread,
    /// The latency that one of a hundred I/Os exceeds, in microseconds.
    pub latency_us_p99: Spread,
}

/// The floor of the same exchange.
#[derive(Clone, Debug, Serialize)]
pub struct Floor {
    /// What was exchanged.
    pub exchange: Exchange,
    /// How many I/Os.
    pub ios: u64,
    /// Per second.
    pub iops: f64,
    /// Data per second.
    pub mib_per_second: f64,
    /// Latencies in microseconds.
    pub latency_us: Summary,
    /// Over the repeats.
    pub spread: Spreads,
}

/// A whole measurement.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Who was measured.
    #[serde(flatten)]
    pub subject: Subject,
    /// Which places.
    pub pattern: Pattern,
    /// The size of one I/O.
    pub block_size: u32,
    /// Queues used.
    pub queues: u16,
    /// Commands outstanding on each.
    pub queue_depth: u16,
    /// Turns of each.
    pub repeats: usize,
    /// How long was measured, over all turns.
    pub seconds: f64,
    /// I/Os that succeeded.
    pub ios: u64,
    /// Per second.
    pub iops: f64,
    /// Data per second.
    pub mib_per_second: f64,
    /// I/Os that failed.
    pub errors: u64,
    /// Reads that were compared with what had been written.
    pub verified: u64,
    /// Latencies in microseconds.
    pub latency_us: Summary,
    /// Reads alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reads: Option<Side>,
    /// Writes alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub writes: Option<Side>,
    /// Processor time of the thread that submits and polls, per I/O, in microseconds.
    pub cpu_us_per_io: f64,
    /// Processor time of the target's process, per I/O, in microseconds, if it is one of this machine that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target_cpu_us_per_io: Option<f64>,
    /// How busy the thread was, in percent of one processor.
    pub cpu_percent: f64,
    /// Over the repeats.
    pub spread: Spreads,
    /// The floor.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub floor: Option<Floor>,
    /// What was measured ÷ the floor of the same round, over the repeats.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ratio: Option<Spreads>,
    /// What disturbed it.
    pub noise: Noise,
    /// The machine. Left out where it is said once for many.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub machine: Option<Machine>,
}

/// The figures of one turn.
#[derive(Clone, Copy, Debug)]
struct Figures {
    iops: f64,
    host: f64,
    target: Option<f64>,
    p50: f64,
    p99: f64,
}

impl Figures {
    fn of(found: &Found) -> Self {
        let ios = found.ios().max(1) as f64;
        let mut all = found.reads.clone();
        all.add(&found.writes);
        let latency = all.summary();
        let per_io = |time: Duration| time.as_secs_f64() * 1e6 / ios;
        Self {
            iops: found.ios() as f64 / found.took.as_secs_f64().max(1e-9),
            host: per_io(found.used.host),
            target: found.used.target.map(per_io),
            p50: latency.p50,
            p99: latency.p99,
        }
    }

    fn over(self, floor: Self) -> Self {
        let ratio = |value: f64, floor: f64| if floor > 0.0 { value / floor } else { 0.0 };
        Self {
            iops: ratio(self.iops, floor.iops),
            host: ratio(self.host, floor.host),
            target: self.target.zip(floor.target).map(|(value, floor)| ratio(value, floor)),
            p50: ratio(self.p50, floor.p50),
            p99: ratio(self.p99, floor.p99),
        }
    }
}

fn spreads(turns: &[Figures]) -> Option<Spreads> {
    let of = |value: fn(&Figures) -> f64| Spread::of(turns.iter().map(value));
    let targets: Option<Vec<f64>> = turns.iter().map(|turn| turn.target).collect();
    Some(Spreads {
        iops: of(|turn| turn.iops)?,
        host_cpu_us_per_io: of(|turn| turn.host)?,
        target_cpu_us_per_io: targets.and_then(Spread::of),
        latency_us_p50: of(|turn| turn.p50)?,
        latency_us_p99: of(|turn| turn.p99)?,
    })
}

/// All turns as one.
struct Sum {
    reads: Latencies,
    writes: Latencies,
    all: Latencies,
    seconds: f64,
    host: f64,
    target: Option<f64>,
    errors: u64,
    verified: u64,
}

impl Sum {
    fn of(turns: &[Found]) -> Self {
        let mut sum = Self {
            reads: Latencies::new(),
            writes: Latencies::new(),
            all: Latencies::new(),
            seconds: 0.0,
            host: 0.0,
            target: Some(0.0),
            errors: 0,
            verified: 0,
        };
        for turn in turns {
            sum.reads.add(&turn.reads);
            sum.writes.add(&turn.writes);
            sum.seconds += turn.took.as_secs_f64();
            sum.host += turn.used.host.as_secs_f64();
            sum.target = sum.target.zip(turn.used.target).map(|(sum, turn)| sum + turn.as_secs_f64());
            sum.errors += turn.errors;
            sum.verified += turn.verified;
        }
        sum.all.add(&sum.reads);
        sum.all.add(&sum.writes);
        sum.seconds = sum.seconds.max(1e-9);
        sum
    }

    fn iops(&self) -> f64 {
        self.all.count() as f64 / self.seconds
    }

    fn mib_per_second(&self, block_size: u32) -> f64 {
        self.iops() * f64::from(block_size) / f64::from(1 << 20)
    }
}

impl Rounds {
    /// What disturbed these turns, of both, on so many processors.
    fn noise(&self, processors: usize) -> Noise {
        let (mut seconds, mut own) = (0.0, 0.0);
        let (mut busy, mut steal) = (0.0, 0.0);
        let mut known = true;
        for turn in self.turns.iter().chain(&self.floor) {
            seconds += turn.took.as_secs_f64() * processors.max(1) as f64;
            own += (turn.used.host + turn.used.target.unwrap_or_default()).as_secs_f64();
            match turn.used.system {
                Some(system) => (busy, steal) = (busy + system.busy, steal + system.steal),
                None => known = false,
            }
        }
        let percent =
            |part: f64| (known && seconds > 0.0).then(|| (part * 100.0 / seconds).clamp(0.0, 100.0));
        let spread = |turns: &[Found]| {
            let spread = Spread::of(turns.iter().map(|turn| Figures::of(turn).iops));
            spread.filter(|_| turns.len() > 1).map(|spread| spread.relative() * 100.0)
        };
        let targets = self.turns.iter().chain(&self.floor).all(|turn| turn.used.target.is_some());
        Noise {
            steal_percent: percent(steal),
            // Without the target's own time, what others did cannot be told from what it did.
            others_percent: percent(busy - own).filter(|_| targets),
            load_average: crate::noise::load_average(),
            spread_percent: spread(&self.turns),
            floor_spread_percent: spread(&self.floor),
        }
    }

    /// Everything there is to say. `processors` is how many the meter watched.
    pub fn report(&self, subject: Subject, shape: &Shape, exchange: Exchange, processors: usize) -> Report {
        let sum = Sum::of(&self.turns);
        let ios = sum.all.count();
        let per_io = |seconds: f64| seconds * 1e6 / ios.max(1) as f64;
        let side = |latencies: &Latencies| {
            (latencies.count() > 0).then(|| Side {
                ios: latencies.count(),
                iops: latencies.count() as f64 / sum.seconds,
                latency_us: latencies.summary(),
            })
        };
        let turns: Vec<_> = self.turns.iter().map(Figures::of).collect();
        let floors: Vec<_> = self.floor.iter().map(Figures::of).collect();
        let ratios: Vec<_> = turns.iter().zip(&floors).map(|(turn, floor)| turn.over(*floor)).collect();
        let floor = spreads(&floors).map(|spread| {
            let sum = Sum::of(&self.floor);
            Floor {
                exchange,
                ios: sum.all.count(),
                iops: sum.iops(),
                mib_per_second: sum.mib_per_second(shape.block_size),
                latency_us: sum.all.summary(),
                spread,
            }
        });
        Report {
            subject,
            pattern: shape.pattern,
            block_size: shape.block_size,
            queues: shape.queues,
            queue_depth: shape.depth,
            repeats: self.turns.len(),
            seconds: sum.seconds,
            ios,
            iops: sum.iops(),
            mib_per_second: sum.mib_per_second(shape.block_size),
            errors: sum.errors,
            verified: sum.verified,
            latency_us: sum.all.summary(),
            reads: side(&sum.reads),
            writes: side(&sum.writes),
            cpu_us_per_io: per_io(sum.host),
            target_cpu_us_per_io: sum.target.map(per_io),
            cpu_percent: sum.host * 100.0 / sum.seconds,
            spread: spreads(&turns).unwrap_or_default(),
            floor,
            ratio: spreads(&ratios),
            noise: self.noise(processors),
            machine: None,
        }
    }
}
