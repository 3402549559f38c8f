//! Processors: pinning a thread to some.

use crate::failure::{Code, Failure};

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
    #[cfg(target_os = "linux")]
    fn a_processor_that_is_not_there_is_refused() {
        assert_eq!(pin_to(&[usize::MAX]).unwrap_err().code(), Code::Usage);
    }
}
