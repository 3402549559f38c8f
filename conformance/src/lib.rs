//! One suite of cases that every transport must pass, as a library.
//!
//! A transport brings a [`Fixture`] (how to make its engines, its kind of time, peers that break its rules) and gets one
//! test per case from [`conformance_suite!`]. The cases are data: [`cases`] lists them with the sentence each proves and where
//! that is written. [`contract`] tests engines against the contract on the page of [`nvmf_transport`]; [`association`] tests what
//! a host and a target must do whatever carries their commands.
//!
//! A case passes, fails, or is skipped for a reason that is said aloud. What is known to fail is an [`Exclusion`] with its
//! reason; one that passes fails the run, so that exclusions do not outlive their cause.

pub mod association;
pub mod contract;
pub mod fixtures;
pub mod fuzzing;
pub mod site;
pub mod wire_rdma;
pub mod wire_tcp;
pub mod world;

mod case;
mod failure;
mod fixture;
mod registry;
mod time;

pub use case::{Case, Exclusion, Outcome, run, test};
pub use failure::{Context, Stop, Verdict};
pub use fixture::{Fixture, Rogue, Time};
pub use registry::cases;
