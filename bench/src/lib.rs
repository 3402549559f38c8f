//! Measuring: the load on a namespace, the floor that raw sockets set for the same exchange, and what both come to.
//!
//! * [`load`] keeps every queue of an association full from one thread and notes how long each command took.
//! * [`floor`] moves the same bytes in the same order over bare sockets, with a peer of its own and nothing of NVMe above it:
//!   what remains for a transport to be judged against.
//! * [`report`] turns several turns of both into ratios with their spread; [`noise`] says how far they can be believed;
//!   [`sweep`] names the points of a grid; [`page`] draws them.
//!
//! Deliberately absent: the command line, connecting, and how results look in a terminal (all in the program), and transports:
//! a load takes an association that is up.

pub mod child;
pub mod data;
pub mod floor;
pub mod latency;
pub mod load;
pub mod noise;
pub mod page;
pub mod pattern;
pub mod report;
pub mod sweep;
pub mod window;

use std::time::Instant;

pub use latency::{Latencies, Summary};
pub use load::{LoadError, Namespace, Shape};
pub use pattern::Pattern;
pub use window::{Found, Meter};

/// The time, for the loops that measure.
#[expect(clippy::disallowed_methods, reason = "loads are drivers: they read the clock")]
fn clock() -> Instant {
    Instant::now()
}
