//! The connection as a pure state machine: no socket, no clock, no thread.
//!
//! [`HostConn`] and [`ControllerConn`] are one queue pair each. A driver moves bytes between them and a byte stream, tells
//! them the time, and passes calls and events between them and whoever uses the transport:
//!
//! * in: [`targets`](HostConn::targets) says where the next bytes belong, `received` deals with them;
//! * out: `gather` lists slices for one system call, `wrote` says how much of them left;
//! * time: `deadline` says when `expire` wants to be called;
//! * end: when `life` is [`Life::Over`], `finish` gives back what is outstanding and the reason.
//!
//! Start with `receive.rs` (framing and placement), then `host.rs` and `controller.rs` (what each role makes of a PDU).
//! `send.rs` is the output queue, `link.rs` what both roles share. Absent: what a command means.

mod controller;
mod controller_commands;
mod fetch;
mod host;
mod host_commands;
mod link;
mod negotiate;
mod receive;
mod send;
mod slots;

pub use controller::{ControllerConn, ControllerSetup};
pub use host::{HostConn, HostSetup};
pub use link::{Life, Patience};
pub use negotiate::describe;
pub use receive::SCRATCH_MIN;
pub use send::Slices;

#[cfg(test)]
mod tests;
