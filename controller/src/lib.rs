//! The controller (target) side of NVMe over Fabrics: subsystems, namespaces, hosts, discovery.
//!
//! A [`Server`] holds [`Subsystem`]s whose namespaces store their blocks in a [`backend::Backend`]; [`Server::serve`] opens
//! listeners and runs threads, each with one engine per transport and a [`Session`] that answers its commands. Everything but
//! the threads is sans-io: a session takes events of a [`nvmf_transport::ControllerEngine`] and makes calls on it, with time as
//! an argument.
//!
//! What is deliberately absent: transports (given to [`Server::serve`]), file formats of configuration, authentication,
//! asymmetric access, reservations, metadata and protection information. Start at [`Server`], then [`Session`].

pub mod backend;

mod admin;
mod association;
mod buffers;
mod connect;
mod counters;
mod directory;
mod namespace;
mod options;
mod placement;
mod port;
mod registry;
mod serve;
mod server;
mod session;
mod subsystem;
mod worker;

pub use counters::IoCounters;
pub use directory::ListenerEntry;
pub use namespace::Namespace;
pub use options::{ConfigError, Hosts, NamespaceOptions, ServerOptions, SubsystemOptions};
pub use serve::{ServeError, ServeOptions, ServedListener, Serving};
pub use server::{AssociationInfo, Server, ServerStatistics};
pub use session::Session;
pub use subsystem::Subsystem;
pub use worker::Worker;
