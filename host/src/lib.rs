//! The host (initiator) side of NVMe over Fabrics.
//!
//! * [`association::Association`]: one association as a state machine without clock or socket: connect in named stages, several I/O
//!   queues, timeouts and aborts, keep-alive, events, reconnect with everything held and resumed.
//! * [`Host`]: an engine and its associations on one thread, driven by polling: for embedding and for speed.
//! * [`Client`] (blocking) and [`AsyncClient`] (for any executor): the same behind a thread of its own, in byte ranges.
//!
//! Start at [`Options`] and [`connect`], or at [`Client::connect`]. Every failure has a stage, a stable code and a hint
//! ([`ConnectError`], [`IoError`]). Deliberately absent: transports (any that implement
//! [`HostTransport`](nvmf_transport::HostTransport) will do), multipath, authentication.
#![allow(
    clippy::result_large_err,
    reason = "a request that is not taken goes back whole, and boxing it would allocate per I/O"
)]

pub mod association;
mod client;
mod connect;
mod discovery;
mod error;
mod identity;
mod options;
mod poller;
mod request;

pub use association::{ControllerInfo, Namespace, NamespaceIdentity, Notice, QueueDetails, State};
pub use client::{AsyncClient, Client, ClientError, Events, Pending};
pub use connect::{Connection, Endpoint, connect, resolve};
pub use discovery::{DiscoveryLog, MAX_DISCOVERY_ENTRIES};
pub use error::{ConnectError, ConnectErrorKind, Stage};
pub use identity::{HostIdentity, IdentityError, SYSTEM_FOLDER};
pub use options::{ControllerId, Options, OptionsError};
pub use poller::{AssociationId, Host};
pub use request::{Admin, BlockRange, Done, Io, IoError, Op, Outcome, Rejected, Why};
