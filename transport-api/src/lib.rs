//! The transport interface: how the host and the controller of NVMe over Fabrics reach each other without knowing by what.
//!
//! A transport carries *a command with its data*. It is neither a byte stream (which would exclude RDMA) nor a
//! set of controller registers (which would drag PCIe in). The crate holds the vocabulary both sides of the cut share;
//! nothing in it implements a transport, opens a socket or reads a clock.
//!
//! # Where to start
//!
//! [`Transport`] is what the program composes and [`Transports::select`] what it asks at connect time. An engine
//! ([`HostEngine`], [`ControllerEngine`]) is one thread's worth of queues. [`Command`], [`HostEvent`] and
//! [`ControllerEvent`] are what crosses the boundary; [`Buffer`] and [`View`] are the memory that crosses with them.
//!
//! # How an engine is driven
//!
//! 1. *Ask*: [`HostEngine::connect`], [`HostEngine::submit`], [`ControllerEngine::respond`], … record work. None of them
//!    blocks, and nothing needs to reach the wire before the next `poll`, so that a whole batch leaves in one system
//!    call or one doorbell.
//! 2. *Poll*: `poll(now, &mut events)` moves the world forward as far as it goes without blocking, flushes what was
//!    asked, and appends what happened.
//! 3. *Wait*: when `poll` appended nothing, sleep until [`Engine::wait_handle`] is readable or [`Engine::next_timeout`]
//!    has passed ([`Waiter`] does that, spinning first if told to), then poll again.
//!
//! # The contract
//!
//! The `conformance` crate has a case for every sentence below; the words in brackets name it.
//!
//! * \[ends-once\] A submitted command ends in exactly one [`HostEvent::Completed`] or [`HostEvent::Aborted`]; an accepted
//!   fetch ends in exactly one [`ControllerEvent::Fetched`].
//! * \[buffer-returns\] Its buffer comes back in that event, and not before the peer and the hardware have lost the right to
//!   touch it.
//! * \[refusal-returns\] A refused call gives back everything it was given ([`Refused`]) and has no other effect.
//! * \[closed-last\] [`HostEvent::Closed`] / [`ControllerEvent::Closed`] is the last event of a queue, comes exactly once,
//!   and comes after every outstanding command or fetch of that queue has ended.
//! * \[arrival-order\] Events of one queue are in arrival order; completions of different commands may arrive in any order.
//! * \[never-blocks\] No call blocks.
//! * \[hostile-peer\] Nothing the peer sends panics, and nothing it sends is delivered unless it obeyed the protocol.
//! * \[bounded\] Memory per queue is bounded by [`Limits`] and the negotiated queue size.
//! * \[drop-any-time\] An engine may be dropped at any time; its peers see a closed connection and its buffers are freed.
//! * \[cid-unique\] The CIDs of outstanding commands of a queue differ, and the CID [`HostEngine::submit`] returned is the one
//!   on the wire (Abort and tracing need it).
//! * \[stale-id\] A call that names a queue or request that has ended is refused; it never reaches another queue.
//!
//! # What is deliberately absent
//!
//! No async runtime (the host crate has the async face), no default method that fails at run time (a role that a transport
//! does not have is a trait it does not implement), and no global registry: the program says which transports exist.

mod buffer;
mod command;
mod engine;
mod error;
mod gather;
mod id;
mod limits;
pub mod poller;
mod pool;
mod select;
mod slab;
mod slots;
mod target;
mod wait;
mod wake;

pub use buffer::{Buffer, Memory, Pages, Region, Registration, View};
pub use command::{Command, ControllerEvent, Data, HostEvent, RequestData};
pub use engine::{
    Close, ConnectOptions, ControllerEngine, Engine, HostEngine, Listener, Placement, QueueInfo, QueueKind,
    QueueSettings, Sharing,
};
pub use error::{CloseReason, Error, ErrorKind, Misuse, Refused, Stage};
pub use gather::Gather;
pub use id::{ListenerId, QueueId, Queues, RequestId};
pub use limits::{DigestBy, InCapsule, Limits, SglKinds};
pub use pool::Pool;
pub use select::{
    ControllerTransport, HostTransport, NoTransport, Offer, Policy, Selection, Transport, Transports, Verdict,
};
pub use slab::Slabs;
pub use slots::CommandSlots;
pub use target::{Advertisement, Target, Wire};
pub use wait::{WaitPolicy, Waiter};
pub use wake::Wake;

#[cfg(test)]
mod tests;
