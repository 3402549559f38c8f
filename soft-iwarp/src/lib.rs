//! iWARP in user space: MPA, DDP and RDMAP over any TCP socket, with the semantics of verbs.
//!
//! No kernel module, no device, no privilege: two programs with a TCP connection between them get Send, RDMA WRITE and RDMA
//! READ, wire-compatible with Linux `siw` and with RNICs. The documents are RFC 5044 and RFC 6581 (MPA), RFC 5041 (DDP) and
//! RFC 5040 (RDMAP); the requirements obeyed are numbered in `spec/iwarp.md` and named at the code as `spec: IW-…`.
//!
//! Start with [`Endpoint`], which has everything of one thread: memory, queue pairs, connections. Below it are [`qp`], a queue
//! pair without a socket, [`memory`], the protection domain, and the codecs [`mpa`], [`ddp`] and [`rdmap`].
//!
//! Deliberately absent: atomics and immediate data (RFC 7306), shared receive queues, receiving with markers (peers that want
//! them get them), encryption, and any TCP but the system's.

pub mod config;
mod crc;
pub mod ddp;
mod endpoint;
pub mod event;
pub mod memory;
pub mod mpa;
pub mod qp;
pub mod rdmap;
pub mod verbs;
pub mod violation;

pub use config::{ConnectionConfig, EndpointConfig, QpConfig};
pub use crc::crc32c;
pub use endpoint::{CallError, Endpoint, Handover};
pub use event::{ConnectError, Disconnect, Established, Event, Listener, Request, RequestInfo};
pub use verbs::{
    Access, Addressing, Completed, Completion, MemoryError, Operation, Payload, PostError, Qp,
    ReceiveRequest, Region, RegionOptions, Remote, STag, SendRequest, Sge, Status,
};

/// The example of the README, so that it compiles and runs.
#[doc = include_str!("../README.md")]
#[cfg(doctest)]
struct Readme;
