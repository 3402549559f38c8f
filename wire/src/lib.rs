//! The structures of NVMe and NVMe over Fabrics, as bytes: no I/O, no allocation by the peer's wish.
//!
//! Every structure is little-endian by type ([`zerocopy::little_endian`]), has no alignment and accepts any
//! byte pattern, so a peer's bytes are viewed and never trusted: an enumerated value a specification does not
//! (yet) define stays representable, and the typed views (`parse`) say with a [`Status`] what is wrong.
//! Deliberately absent: anything that decides (state, limits, defaults of a product) and the PDUs of a transport.
//! Start at [`Sqe`] (a command), [`Cqe`] (its completion) and [`Status`] (how it ended).
#![no_std]
#![forbid(unsafe_code)]

#[cfg(test)]
extern crate std;

#[macro_use]
mod macros;

pub mod admin;
pub mod ascii;
pub mod cid;
pub mod cqe;
pub mod event;
pub mod fabrics;
pub mod feature;
pub mod identify;
pub mod io;
pub mod log;
pub mod nqn;
pub mod opcode;
pub mod property;
pub mod sgl;
pub mod sqe;
pub mod status;

pub use ascii::Ascii;
pub use cid::Cid;
pub use cqe::Cqe;
pub use nqn::{DISCOVERY_NQN, Nqn, NqnError, NqnField};
pub use opcode::{AdminOpcode, DataDirection, FabricsType, IoOpcode};
pub use sgl::{Sgl, SglDescriptor, SglError};
pub use sqe::Sqe;
pub use status::Status;

pub use zerocopy;

#[cfg(test)]
mod tests;
