//! Fuzz bodies: plain functions of bytes that panic when an invariant breaks.
//!
//! [`TARGETS`] lists them. Each turns its input into choices ([`Choices`]): what one side is asked to do, what the other side
//! says, how the bytes between them are cut, and when time passes. So both sides of every seam are fuzzed, and the body
//! knows what was really said. [`search`] runs them on a stable toolchain, seeded and bounded; `fuzz/` runs the same
//! functions under libFuzzer. Nothing here reads a clock or opens a socket, except the search, which stops by the clock.
//!
//! Start with `pdu.rs`, the simplest, then with `pair.rs`.

mod choices;
mod commands;
mod pair;
mod pattern;
mod search;
mod seeds;

mod controller_conn;
mod controller_session;
mod controller_side;
mod controller_voice;
mod driver;
mod fake_controller;
mod hearing;
mod host_association;
mod host_conn;
mod host_side;
mod host_voice;
mod iwarp;
mod memory;
mod pdu;
mod raw_line;
mod wire_structures;

pub use choices::Choices;
pub use search::{Budget, replay, search, unhex};

/// One fuzz body.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Its name: of the libFuzzer target, of the corpus folder and of the folder of regressions.
    pub name: &'static str,
    /// The body. Panics on a broken invariant; terminates for every input.
    pub body: fn(&[u8]),
    /// Inputs that reach deep, to start from.
    pub seeds: fn() -> Vec<Vec<u8>>,
    /// The longest input that is worth trying.
    pub longest: usize,
}

/// Every fuzz body there is.
pub const TARGETS: &[Target] = &[
    wire_structures::TARGET,
    pdu::TARGET,
    controller_conn::TARGET,
    host_conn::TARGET,
    pair::TARGET,
    controller_session::TARGET,
    host_association::TARGET,
    iwarp::TARGET,
];

/// The target of that name.
pub fn target(name: &str) -> Option<&'static Target> {
    TARGETS.iter().find(|target| target.name == name)
}

/// Runs the body of that name.
///
/// # Panics
///
/// When the body does, or when there is none.
pub fn run(name: &str, data: &[u8]) {
    (target(name).expect("a fuzz body of that name").body)(data);
}
