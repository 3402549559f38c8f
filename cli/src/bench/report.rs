//! What a measurement found, for people and for programs.

use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

use crate::output::{Style, bytes, list, micros};

/// Latencies from a nanosecond to a minute, three significant digits.
#[derive(Debug)]
pub(crate) struct Latencies(Histogram<u64>);

const LONGEST: u64 = 60_000_000_000;

impl Latencies {
    /// None yet.
    pub(crate) fn new() -> Self {
        let mut histogram = Histogram::new_with_bounds(1, LONGEST, 3)
            .unwrap_or_else(|error| unreachable!("constant bounds are valid: {error}"));
        histogram.auto(false);
        Self(histogram)
    }

    /// Adds one.
    pub(crate) fn record(&mut self, latency: Duration) {
        let nanos = u64::try_from(latency.as_nanos()).unwrap_or(LONGEST);
        self.0.saturating_record(nanos.max(1));
    }

    /// How many there are.
    pub(crate) fn count(&self) -> u64 {
        self.0.len()
    }

    /// Adds those of another.
    pub(crate) fn add(&mut self, other: &Self) {
        // The same bounds: nothing can be out of range.
        let _ = self.0.add(&other.0);
    }

    /// The numbers to report.
    pub(crate) fn summary(&self) -> Summary {
        let at = |quantile| self.0.value_at_quantile(quantile) as f64 / 1e3;
        let some = |value: f64| if self.0.is_empty() { 0.0 } else { value };
        Summary {
            min: some(self.0.min() as f64 / 1e3),
            mean: some(self.0.mean() / 1e3),
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p99_9: at(0.999),
            p99_99: at(0.9999),
            max: self.0.max() as f64 / 1e3,
        }
    }
}

/// Latencies in microseconds.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Summary {
    pub(crate) min: f64,
    pub(crate) mean: f64,
    pub(crate) p50: f64,
    pub(crate) p90: f64,
    pub(crate) p99: f64,
    #[serde(rename = "p99.9")]
    pub(crate) p99_9: f64,
    #[serde(rename = "p99.99")]
    pub(crate) p99_99: f64,
    pub(crate) max: f64,
}

impl Summary {
    /// Percentiles on one line.
    pub(crate) fn line(&self) -> String {
        format!(
            "mean {}, 50% {}, 90% {}, 99% {}, 99.9% {}, max {}",
            micros(self.mean),
            micros(self.p50),
            micros(self.p90),
            micros(self.p99),
            micros(self.p99_9),
            micros(self.max)
        )
    }
}

/// Reads or writes among all I/O.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Side {
    /// How many.
    pub(crate) ios: u64,
    /// Per second.
    pub(crate) iops: f64,
    /// Latencies in microseconds.
    pub(crate) latency_us: Summary,
}

/// A whole measurement.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Report {
    /// What was measured.
    pub(crate) target: String,
    /// Who carried it.
    pub(crate) transport: String,
    /// Whether the controller ran in this very process.
    pub(crate) own_controller: bool,
    pub(crate) pattern: String,
    pub(crate) block_size: u32,
    pub(crate) queues: u16,
    pub(crate) queue_depth: u16,
    pub(crate) header_digest: bool,
    pub(crate) data_digest: bool,
    /// How long was measured.
    pub(crate) seconds: f64,
    pub(crate) ios: u64,
    pub(crate) iops: f64,
    pub(crate) mib_per_second: f64,
    pub(crate) errors: u64,
    /// Reads that were compared with what had been written.
    pub(crate) verified: u64,
    /// Latencies in microseconds.
    pub(crate) latency_us: Summary,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) reads: Option<Side>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) writes: Option<Side>,
    /// Processor time of the thread that submits and polls, per I/O, in microseconds.
    pub(crate) cpu_us_per_io: f64,
    /// Of the whole process, with its own controller if there is one.
    pub(crate) process_cpu_us_per_io: f64,
    /// How busy the thread was, in percent of one processor.
    pub(crate) cpu_percent: f64,
}

impl Report {
    /// For people.
    pub(crate) fn to_text(&self, style: Style) -> String {
        let mut pairs = vec![
            ("target", self.target.clone()),
            ("carried by", self.transport.clone()),
            (
                "load",
                format!(
                    "{} of {}, {} queue{} of {} commands, {:.1} s",
                    self.pattern,
                    bytes(self.block_size.into()),
                    self.queues,
                    if self.queues == 1 { "" } else { "s" },
                    self.queue_depth,
                    self.seconds
                ),
            ),
            ("result", style.bold(&format!("{:.0} IOPS, {:.1} MiB/s", self.iops, self.mib_per_second))),
            ("latency", self.latency_us.line()),
        ];
        for (name, side) in [("reads", self.reads), ("writes", self.writes)] {
            if let Some(side) = side.filter(|_| self.reads.is_some() && self.writes.is_some()) {
                pairs.push((name, format!("{:.0} IOPS, {}", side.iops, side.latency_us.line())));
            }
        }
        let mut processor = format!("{:.2} µs per I/O, {:.0} % of one", self.cpu_us_per_io, self.cpu_percent);
        if self.own_controller {
            processor.push_str(&format!(
                " ({:.2} µs per I/O with the controller in this process)",
                self.process_cpu_us_per_io
            ));
        }
        pairs.push(("processor", processor));
        if self.verified > 0 {
            pairs.push(("verified", format!("{} reads", self.verified)));
        }
        if self.errors > 0 {
            pairs.push(("errors", style.red(&self.errors.to_string())));
        }
        list(pairs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_in_microseconds() {
        let mut latencies = Latencies::new();
        for micros in 1..=1000 {
            latencies.record(Duration::from_micros(micros));
        }
        let mut both = Latencies::new();
        both.add(&latencies);
        let summary = both.summary();
        assert_eq!(both.count(), 1000);
        assert!((summary.p50 - 500.0).abs() < 2.0, "{summary:?}");
        assert!((summary.p99 - 990.0).abs() < 2.0, "{summary:?}");
        assert!((summary.max - 1000.0).abs() < 2.0 && summary.min <= 1.0, "{summary:?}");
    }

    #[test]
    fn nothing_measured_is_all_zero() {
        let summary = Latencies::new().summary();
        assert_eq!((summary.min, summary.mean, summary.max), (0.0, 0.0, 0.0));
        let mut latencies = Latencies::new();
        latencies.record(Duration::from_secs(3600));
        assert!(latencies.summary().max <= 61e6);
    }
}
