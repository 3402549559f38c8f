//! The engines: many connections, one thread, one poller.
//!
//! [`Core`] is what both roles share: it sends what waits (one system call per connection and pass), takes in what has
//! arrived, watches deadlines, and ends connections. `host.rs` adds connecting, `controller.rs` listening. `stream.rs` has
//! the system calls, `socket.rs` the socket options.
//!
//! No call blocks, and a pass is bounded for every connection. While few connections are busy they are read without asking
//! the poller first, which saves a system call per pass.

mod connection;
mod controller;
mod core;
mod handover;
mod host;
mod socket;
mod stream;

pub use controller::TcpControllerEngine;
pub use host::TcpHostEngine;

use self::{connection::Connection, core::Core};
