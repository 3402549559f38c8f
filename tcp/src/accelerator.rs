//! The seam an offload plugs into: an adapter that can carry an NVMe/TCP connection itself once it is negotiated.
//!
//! An engine asks twice. [`Accelerator::constrain`] comes before ICReq or ICResp, when what is negotiated can still be fitted
//! to the hardware; `claim` comes after, with the socket itself. The answer says by ownership what became of it: *taken* (a
//! [`Datapath`] carries the queue from here on), *declined* (the connection comes back untouched and software goes on), or
//! *lost* (the accelerator broke it, and the queue ends). None of it is silent: [`QueueInfo::data_path`] names who carries
//! the queue, `accelerator` among its negotiated values says why it is not the accelerator, and both are logged.
//!
//! [`QueueInfo::data_path`]: nvmf_transport::QueueInfo::data_path

use std::{
    ops::ControlFlow,
    os::fd::{BorrowedFd, OwnedFd},
    time::Instant,
};

use nvmf_transport::{
    Buffer, Close, Command, ControllerEvent, Error, Gather, HostEvent, Limits, Misuse, Offer, QueueSettings,
    Refused, RequestId,
};
use nvmf_wire::{Cid, Cqe};

use crate::{
    conn::{ControllerSetup, HostSetup},
    pdu::{ControllerTerms, HostTerms, Negotiated},
};

/// What is about to be negotiated; an accelerator may only make it stricter.
#[derive(Debug)]
pub enum Terms<'a> {
    /// Before ICReq.
    Host(&'a mut HostTerms),
    /// Before ICResp.
    Controller(&'a mut ControllerTerms),
}

/// A negotiated connection, on which no byte but ICReq and ICResp has been exchanged.
#[derive(Debug)]
pub struct Handover<S> {
    /// The connected, non-blocking socket.
    pub socket: OwnedFd,
    /// What was agreed.
    pub negotiated: Negotiated,
    /// The queue's name and its limits. Events carry this name.
    pub setup: S,
}

/// What became of a connection that was offered to an accelerator.
pub enum Claim<D: ?Sized, S> {
    /// It carries the queue from here on.
    Taken(Box<D>),
    /// It does not.
    Declined {
        /// The connection, as it was.
        given_back: Handover<S>,
        /// Why not.
        because: String,
    },
    /// The connection is gone.
    Lost(Error),
}

/// An adapter or anything else that can carry a negotiated connection.
pub trait Accelerator: Send + Sync {
    /// The name in [`QueueInfo::data_path`](nvmf_transport::QueueInfo::data_path).
    fn name(&self) -> &'static str;

    /// Says whether a connection could be carried, and tightens what will be negotiated so that it can.
    fn constrain(&self, socket: BorrowedFd<'_>, terms: Terms<'_>) -> Offer;

    /// Takes a host's connection or hands it back.
    fn claim_host(&self, connection: Handover<HostSetup>) -> Claim<dyn HostDatapath, HostSetup>;

    /// Takes a controller's connection or hands it back.
    fn claim_controller(
        &self,
        connection: Handover<ControllerSetup>,
    ) -> Claim<dyn ControllerDatapath, ControllerSetup>;
}

/// One queue that an accelerator carries. Obeys the contract of an engine for this queue, events included.
pub trait Datapath<E>: Send {
    /// Readable whenever `poll` has something to do.
    fn wait_handle(&self) -> BorrowedFd<'_>;

    /// When `poll` wants to be called even if the handle stays silent.
    fn next_timeout(&self) -> Option<Instant>;

    /// Makes the queue's limits those of the hardware.
    fn limit(&self, limits: &mut Limits);

    /// What Connect settled.
    fn configure(&mut self, settings: &QueueSettings) -> Result<(), Misuse>;

    /// Ends the queue; `Closed` follows in a later `poll`.
    fn close(&mut self, how: Close);

    /// Moves the queue forward. `Break` once `Closed` has been appended; nothing is called after that.
    fn poll(&mut self, now: Instant, events: &mut Vec<E>) -> ControlFlow<()>;
}

/// The host's side of a queue that an accelerator carries.
pub trait HostDatapath: Datapath<HostEvent> {
    /// Takes a command.
    fn submit(&mut self, command: Command) -> Result<Cid, Refused<Command>>;
}

/// The controller's side of a queue that an accelerator carries.
pub trait ControllerDatapath: Datapath<ControllerEvent> {
    /// Pulls data of a request into `into`.
    fn fetch(&mut self, request: RequestId, offset: u32, into: Buffer) -> Result<(), Refused<Buffer>>;

    /// Answers a request.
    fn respond(&mut self, request: RequestId, cqe: Cqe, data: Gather) -> Result<(), Refused<Gather>>;
}
