//! NVMe/TCP at the level of bytes: a tester that is a host towards any target, and a controller towards any host.
//!
//! The cases of [`target`] need an address and names ([`Target`]), so that the same table judges a foreign target; those of
//! [`host`] need a way to make a host connect ([`host::HostUnderTest`]). What is sent and what must come back is bytes made by
//! hand ([`bytes`]). Every case against a target ends by asking a bystander, a queue that was connected before, whether it noticed.
//!
//! Where the specification leaves a choice, a case accepts each of its answers and nothing else.

pub mod bytes;
pub mod host;
pub mod link;
pub mod queue;
pub mod target;

use std::{fmt, net::SocketAddr, time::Duration};

use crate::{Outcome, Stop, Verdict};

/// A target to be tested, and what the tester may do there.
#[derive(Clone, Debug)]
pub struct Target {
    /// Its address.
    pub address: SocketAddr,
    /// A subsystem that the host may connect to.
    pub subnqn: String,
    /// Who the tester says it is.
    pub hostnqn: String,
    /// A namespace that may be overwritten: at least 4 MiB.
    pub nsid: u32,
    /// Bytes of its blocks.
    pub block_size: u32,
    /// How long the target waits for ICReq, if the case of silent hosts is to be run: it takes this long.
    pub init_timeout: Option<Duration>,
}

/// A case against a target.
#[derive(Clone, Copy)]
pub struct Case {
    /// A short name, stable across versions.
    pub id: &'static str,
    /// What must hold, as a sentence.
    pub title: &'static str,
    /// Sections of NVMe/TCP Transport 1.0, unless another document is named.
    pub reference: &'static str,
    /// Runs it.
    pub run: fn(&Target) -> Verdict,
}

impl fmt::Debug for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Case({}: {})", self.id, self.title)
    }
}

/// Runs a case with a bystander, and says what became of it. Blocks until it is over; every wait is bounded.
#[must_use]
pub fn run(case: &Case, target: &Target) -> Outcome {
    let judged = queue::Queue::admin(target).and_then(|mut bystander| {
        (case.run)(target)?;
        bystander.alive().map_err(|stop| Stop::failed(format!("another connection noticed: {stop}")))
    });
    match judged {
        Ok(()) => Outcome::Passed,
        Err(Stop::Skipped { reason }) => Outcome::Skipped(reason),
        Err(failure) => Outcome::Failed(failure.to_string()),
    }
}
