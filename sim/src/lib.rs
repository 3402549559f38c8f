//! The transport interface implemented in memory, with virtual time; and decorators for any transport.
//!
//! [`Network`] joins hosts and controllers of one process by links with latency, jitter, bandwidth and a bound on what
//! is in flight. No clock is read: a message becomes visible when the `now` given to `poll` has reached its time, so a
//! test that owns a [`Clock`] runs hours in milliseconds and the same seed gives the same run. Threads that poll with
//! real time work as well. It is the reference for the contract of [`nvmf_transport`], written to be read.
//!
//! Around *any* transport go [`fault`] (seeded, replayable misfortune), [`trace`] (what was asked and what happened) and
//! [`latency`]; [`proxy`] disturbs the bytes of a TCP connection between two real peers.
//!
//! Deliberately absent: digests (nothing here can corrupt memory except on request) and zero-copy (a link copies once, as
//! a network would). Start at [`Network`] and [`SimTransport`].

pub mod fault;
pub mod latency;
pub mod proxy;
pub mod trace;

mod clock;
mod controller;
mod decorate;
mod hold;
mod host;
mod message;
mod network;
mod pipe;
mod raw;
mod requests;
mod rng;
mod transport;

pub use clock::Clock;
pub use message::{ToController, ToHost};
pub use network::{Link, Network};
pub use raw::{Heard, RawController, RawHost};
pub use rng::Rng;
pub use transport::{SimConfig, SimTransport};

#[cfg(test)]
mod tests;
