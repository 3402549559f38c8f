//! The part of a run that counts: begins behind the warm-up, ends when its time is over, and knows what it used.
//!
//! Processor time is read at both ends for the thread that loads, and for the target when that is a process of this machine.

use std::{
    fs,
    time::{Duration, Instant},
};

use rustix::time::{ClockId, clock_gettime};

use crate::{Latencies, clock, load::LoadError, noise::SystemTimes};

/// What is read at both ends of a window.
#[derive(Clone, Debug, Default)]
pub struct Meter {
    /// The target, if it is a process of this machine.
    pub target: Option<u32>,
    /// The processors whose other users are noise.
    pub processors: Vec<usize>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Reading {
    thread: Duration,
    target: Option<Duration>,
    system: Option<SystemTimes>,
}

impl Meter {
    fn read(&self) -> Reading {
        Reading {
            thread: time_of(ClockId::ThreadCPUTime),
            target: self.target.and_then(process_time),
            system: SystemTimes::of(&self.processors),
        }
    }
}

/// What a window used.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Used {
    /// Processor time of the thread that loaded.
    pub host: Duration,
    /// Processor time of the target's process, if it could be read.
    pub target: Option<Duration>,
    /// What the machine did meanwhile on the processors in use, if it says.
    pub system: Option<SystemTimes>,
}

/// What was found in one window.
#[derive(Debug, Default)]
pub struct Found {
    /// How long reads took.
    pub reads: Latencies,
    /// How long writes took.
    pub writes: Latencies,
    /// Commands that failed; no other number includes them.
    pub errors: u64,
    /// The last of them.
    pub last_error: Option<LoadError>,
    /// Reads that were compared with what had been written.
    pub verified: u64,
    /// How long was measured.
    pub took: Duration,
    /// What that cost.
    pub used: Used,
}

impl Found {
    /// I/Os that succeeded.
    pub fn ios(&self) -> u64 {
        self.reads.count() + self.writes.count()
    }
}

/// A window, driven by the time of every pass of a loop.
#[derive(Debug)]
pub(crate) struct Window<'a> {
    meter: &'a Meter,
    seconds: Duration,
    from: Instant,
    state: State,
    before: Reading,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    WarmingUp,
    Measuring,
    Over,
}

impl<'a> Window<'a> {
    /// The warm-up begins now.
    pub(crate) fn open(meter: &'a Meter, warm_up: Duration, seconds: Duration) -> Self {
        let from = clock() + warm_up;
        Self { meter, seconds, from, state: State::WarmingUp, before: Reading::default() }
    }

    /// Whether what ends now counts.
    #[inline]
    pub(crate) fn counts(&self) -> bool {
        self.state == State::Measuring
    }

    /// Whether what has ended is to begin again.
    #[inline]
    pub(crate) fn running(&self) -> bool {
        self.state != State::Over
    }

    /// Moves on; when the window closes, `found` learns what it used.
    #[inline]
    pub(crate) fn tick(&mut self, now: Instant, found: &mut Found) {
        let ends = match self.state {
            State::WarmingUp => self.from,
            State::Measuring => self.from + self.seconds,
            State::Over => return,
        };
        if now >= ends {
            self.turn(found);
        }
    }

    #[cold]
    fn turn(&mut self, found: &mut Found) {
        let reading = self.meter.read();
        let now = clock();
        if self.state == State::WarmingUp {
            (self.state, self.from, self.before) = (State::Measuring, now, reading);
            return;
        }
        self.state = State::Over;
        found.took = now.duration_since(self.from);
        found.used = Used {
            host: reading.thread.saturating_sub(self.before.thread),
            target: reading.target.zip(self.before.target).map(|(now, then)| now.saturating_sub(then)),
            system: reading.system.zip(self.before.system).map(|(now, then)| now.since(then)),
        };
    }
}

fn time_of(clock: ClockId) -> Duration {
    let time = clock_gettime(clock);
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// Processor time of all threads of another process. Linux counts it in nanoseconds in `schedstat`; a thread that runs at this
/// moment is behind by up to a tick (4 ms at most), which windows of a second and more can bear.
fn process_time(pid: u32) -> Option<Duration> {
    let mut sum = Duration::ZERO;
    for task in fs::read_dir(format!("/proc/{pid}/task")).ok()? {
        // A thread that ends meanwhile takes its time along; the threads that serve do not end.
        let Ok(text) = fs::read_to_string(task.ok()?.path().join("schedstat")) else { continue };
        sum += Duration::from_nanos(text.split_ascii_whitespace().next()?.parse().ok()?);
    }
    Some(sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn work() {
        let mut sum = 0u64;
        for i in 0..20_000_000u64 {
            sum = std::hint::black_box(sum.wrapping_add(i));
        }
    }

    #[test]
    fn a_window_counts_what_is_within() {
        let meter = Meter { target: Some(std::process::id()), processors: Vec::new() };
        let mut window = Window::open(&meter, Duration::ZERO, Duration::from_millis(5));
        let mut found = Found::default();
        assert!(window.running() && !window.counts());
        window.tick(clock(), &mut found);
        assert!(window.running() && window.counts());
        while window.running() {
            work();
            window.tick(clock(), &mut found);
        }
        assert!(!window.counts());
        assert!(found.took >= Duration::from_millis(5));
        assert!(found.used.host > Duration::ZERO, "{found:?}");
        #[cfg(target_os = "linux")]
        assert!(found.used.target.is_some());
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn the_time_of_a_process_grows() {
        let before = process_time(std::process::id()).unwrap();
        while process_time(std::process::id()).unwrap() <= before {
            work();
        }
        assert_eq!(process_time(u32::MAX), None);
    }
}
