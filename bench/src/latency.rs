//! How long commands took: a histogram, and the numbers that are reported of it.

use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

/// Latencies from a nanosecond to a minute, three significant digits.
#[derive(Clone, Debug)]
pub struct Latencies(Histogram<u64>);

const LONGEST: u64 = 60_000_000_000;

impl Default for Latencies {
    fn default() -> Self {
        Self::new()
    }
}

impl Latencies {
    /// None yet.
    pub fn new() -> Self {
        let mut histogram = Histogram::new_with_bounds(1, LONGEST, 3)
            .unwrap_or_else(|error| unreachable!("constant bounds are valid: {error}"));
        histogram.auto(false);
        Self(histogram)
    }

    /// Adds one.
    #[inline]
    pub fn record(&mut self, latency: Duration) {
        let nanos = u64::try_from(latency.as_nanos()).unwrap_or(LONGEST);
        self.0.saturating_record(nanos.max(1));
    }

    /// How many there are.
    pub fn count(&self) -> u64 {
        self.0.len()
    }

    /// Adds those of another.
    pub fn add(&mut self, other: &Self) {
        // The same bounds: nothing can be out of range.
        let _ = self.0.add(&other.0);
    }

    /// The numbers to report.
    pub fn summary(&self) -> Summary {
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
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[expect(missing_docs, reason = "the names say it")]
pub struct Summary {
    pub min: f64,
    pub mean: f64,
    pub p50: f64,
    pub p90: f64,
    pub p99: f64,
    #[serde(rename = "p99.9")]
    pub p99_9: f64,
    #[serde(rename = "p99.99")]
    pub p99_99: f64,
    pub max: f64,
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
