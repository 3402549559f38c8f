//! NVMe/RDMA at the level of messages and keys: a tester that is a host towards any iWARP target, and a controller towards any
//! iWARP host.
//!
//! The tester is soft-iWARP with capsules made by hand, and for what the connection manager carries a plain TCP socket with
//! MPA frames made by hand ([`mpa`]). [`target`] has the cases against a target; [`rogue`] are peers for the contract's suite.
//! Every case against a target ends by asking a bystander, a queue that was connected before, whether it noticed.
//!
//! Where the specification leaves a choice, a case accepts each of its answers and nothing else.

pub mod mpa;
pub mod peer;
pub mod queue;
pub mod rogue;
pub mod target;

use crate::{Outcome, Stop};

pub use crate::wire_tcp::{Case, Target};

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
