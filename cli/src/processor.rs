//! Processors: pinning a thread to one, and counting the time it used.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

use crate::failure::{Code, Failure};

/// Processor time used so far, by one thread or by the whole process.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Usage {
    thread: Duration,
    process: Duration,
}

impl Usage {
    /// That of the calling thread and its process.
    pub(crate) fn now() -> Self {
        let read = |clock| {
            let time = clock_gettime(clock);
            Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
        };
        Self { thread: read(ClockId::ThreadCPUTime), process: read(ClockId::ProcessCPUTime) }
    }

    /// The thread's and the process's time since `earlier`.
    pub(crate) fn since(self, earlier: Self) -> (Duration, Duration) {
        (self.thread.saturating_sub(earlier.thread), self.process.saturating_sub(earlier.process))
    }
}

/// Keeps the calling thread, and those it starts, on these processors. None is no restriction.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(crate) fn pin_to(cpus: &[usize]) -> Result<(), Failure> {
    use rustix::thread::{CpuSet, sched_setaffinity};
    let refuse = |why: String| {
        Failure::new(Code::Usage, "setup", format!("cannot run on processor {cpus:?}: {why}"))
            .hint("choose among those that `nproc --all` counts, from 0")
    };
    if cpus.is_empty() {
        return Ok(());
    }
    let mut set = CpuSet::new();
    for &cpu in cpus {
        if cpu >= CpuSet::MAX_CPU {
            return Err(refuse(format!("processors are numbered below {}", CpuSet::MAX_CPU)));
        }
        set.set(cpu);
    }
    sched_setaffinity(None, &set).map_err(|error| refuse(error.to_string()))
}

/// Keeps the calling thread, and those it starts, on these processors. None is no restriction.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(crate) fn pin_to(cpus: &[usize]) -> Result<(), Failure> {
    if cpus.is_empty() {
        return Ok(());
    }
    Err(Failure::new(Code::Usage, "setup", "--cpu is not available on this system"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_is_used() {
        let before = Usage::now();
        let mut sum = 0u64;
        for i in 0..3_000_000u64 {
            sum = std::hint::black_box(sum.wrapping_add(i));
        }
        let (thread, process) = Usage::now().since(before);
        assert!(thread > Duration::ZERO && process >= thread);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_processor_that_is_not_there_is_refused() {
        assert_eq!(pin_to(&[usize::MAX]).unwrap_err().code(), Code::Usage);
    }
}
