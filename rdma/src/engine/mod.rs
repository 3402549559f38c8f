//! Engines: what drives connections over the verbs of a provider.
//!
//! [`Core`] is what both roles share: one pass of posting, polling and ending. `host.rs` and `controller.rs` add what is said
//! to the connection manager. Generic over the verbs, so that nothing on the data path is called through a table.

mod connection;
mod controller;
mod core;
mod host;

use self::core::Core;

pub use controller::RdmaControllerEngine;
pub use host::RdmaHostEngine;
