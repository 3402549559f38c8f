//! NVMe/TCP: PDU codec, sans-io connection, socket engine, accelerator seam.
//!
//! The transport of the *NVM Express TCP Transport Specification*: both roles, from the bytes up. [`pdu`] turns
//! bytes into PDUs that cannot be wrong and PDUs into bytes, [`digest`] is the CRC32C both digests use; neither
//! holds state. [`conn`] is one connection as a pure state machine, the engines move bytes between connections and
//! sockets, and [`accelerator`] is the seam where an adapter may take a connection over. Deliberately absent here: TLS,
//! and anything that knows what a command means.
//!
//! Start with [`Tcp`], what a program composes; with [`conn`] to see how a connection works; and with
//! [`pdu::Header::parse`], the one validator of everything a peer sends. The requirements obeyed are numbered in
//! `spec/nvme-tcp.md` and named at the code as `spec: TCP-…`.

pub mod accelerator;
mod config;
pub mod conn;
pub mod digest;
mod engine;
pub mod pdu;
mod transport;

pub use config::{ConfigError, Keepalive, TcpConfig};
pub use engine::{TcpControllerEngine, TcpHostEngine};
pub use transport::Tcp;
