//! Fuzz bodies: plain functions of bytes that panic when an invariant breaks.
//!
//! [`TARGETS`] lists them. Each turns its input into choices ([`Choices`]): what one side is asked to do, what the other side
//! says, how the bytes between them are cut, and when time passes. So both sides of every seam are fuzzed, and the body
//! knows what was really said. [`search`] runs them on a stable toolchain, seeded and bounded; `fuzz/` runs the same
//! functions under libFuzzer. Nothing here reads a clock or opens a socket, except the search, which stops by the clock.
//!
//! Start with `pdu.rs`, the simplest, then with `pair.rs`.

mod choices;
mod pattern;
mod search;
mod seeds;

mod pdu;
mod wire_structures;

pub use choices::Choices;
pub use search::{Budget, replay, search};

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
pub const TARGETS: &[Target] = &[wire_structures::TARGET, pdu::TARGET];

/// The target of that name.
pub fn target(name: &str) -> Option<&'static Target> {
    TARGETS.iter().find(|target| target.name == name)
}
