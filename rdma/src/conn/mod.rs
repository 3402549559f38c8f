//! The connection as a pure state machine: no device, no clock, no thread.
//!
//! [`HostConn`] and [`ControllerConn`] are one queue pair each. A driver carries work requests and completions between them and
//! a [`Verbs`](crate::verbs::Verbs), tells them the time, and passes calls and events between them and whoever uses the
//! transport:
//!
//! * up: `caps` says what queues to create, `prepare` takes their memory, `request` or `accept` is what to say to the peer;
//! * out: `take_output` gives what to post now, receives before sends;
//! * in: `completed` deals with each completion;
//! * time: `deadline` says when `expire` wants to be called;
//! * end: `settle` says when to disconnect; when `life` is [`Life::Over`] the driver destroys the connection and only then
//!   calls `finish`, which gives back what is outstanding and the reason.
//!
//! The keys of memory come through [`Keys`](crate::verbs::Keys), which the driver lends to the calls that need it. Start with
//! `private_data.rs` (what is agreed on), then `host.rs` and `controller.rs`; `send.rs` is the send queue, `link.rs` what both
//! roles share. Absent: what a command means.

mod controller;
mod controller_commands;
mod fetch;
mod host;
mod host_commands;
mod link;
mod memory;
pub mod private_data;
mod send;
mod slots;

pub use controller::{ControllerConn, ControllerSetup};
pub use host::{HostConn, HostSetup};
pub use link::{Life, Patience};
pub use memory::Staging;

#[cfg(test)]
mod tests;
