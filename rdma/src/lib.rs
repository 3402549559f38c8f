//! The RDMA transport of NVMe over Fabrics, on verbs or on soft-iWARP.
//!
//! The binding of the *NVM Express RDMA Transport Specification*: both roles, capsules in messages, data by RDMA READ and
//! RDMA WRITE. [`verbs`] is the small interface all of it stands on; [`provider`] has those who offer it: software that speaks
//! iWARP over any TCP socket, and the system's RDMA stack. [`conn`] is one connection as a pure state machine, the engines
//! carry work requests and completions between connections and verbs. Deliberately absent: anything that knows what a command
//! means.
//!
//! Start with [`Rdma`], what a program composes; with [`conn`] to see how a connection works; and with
//! [`conn::private_data`], what two sides agree on. The requirements obeyed are numbered in `spec/nvme-rdma.md` and named at
//! the code as `spec: RDMA-…`.

mod config;
pub mod conn;
mod engine;
mod ffi;
pub mod provider;
mod transport;
pub mod verbs;

pub use config::{ConfigError, RdmaConfig};
pub use engine::{RdmaControllerEngine, RdmaHostEngine};
pub use transport::Rdma;
