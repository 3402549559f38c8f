//! The few verbs NVMe/RDMA needs, in a form that both a real RDMA stack and software can offer.
//!
//! A [`Provider`] is configuration and judgement: which devices there are, whether they lead to a target. It opens one
//! [`Verbs`] per engine: everything that one thread does with connections, memory and completions, over as many devices as its
//! connections happen to use. [`Keys`] is the part of it that the sans-io connection needs while it writes descriptors.
//!
//! Deliberately absent: shared receive queues, datagrams, atomics, immediate data, completion queues as objects of their own
//! (a provider sees to it that none of its queues overruns), and anything that blocks.
#![allow(
    unsafe_code,
    reason = "posting names memory by address: the methods that take addresses say what holds of them"
)]

mod cm;
mod device;
mod work;

use std::{
    net::{IpAddr, SocketAddr},
    os::fd::{BorrowedFd, OwnedFd},
    sync::Arc,
    time::{Duration, Instant},
};

use nvmf_transport::{Error, Memory, Offer, Region, Target};

pub use cm::{CmEvent, ConnId, ConnParams, Depths, Ending, ListenId, PrivateData};
pub use device::{Device, KeyScope, Kind};
pub use work::{
    Completion, Operation, RecvRequest, Remote, RemoteAccess, RemoteKey, SendOp, SendRequest, Sge, WcStatus,
};

/// What the engine of a provider must be able to hold. A provider without resizable completion queues sizes them by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capacity {
    /// Connections at a time.
    pub connections: usize,
    /// Work requests, sends and receives together, that all connections may have outstanding. What a device cannot hold in one
    /// completion queue is spread over several.
    pub completions: u32,
    /// Connections that the system may hold for a listener before they are seen here.
    pub backlog: u16,
}

/// The queues of a connection, in work requests and scatter/gather elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QpCaps {
    /// Work requests in the send queue.
    pub send_wr: u32,
    /// Work requests in the receive queue.
    pub recv_wr: u32,
    /// Elements of a send or write.
    pub send_sge: u16,
    /// Elements of a receive.
    pub recv_sge: u16,
    /// Bytes that a send may carry inline: taken at the call, so that they need no key.
    pub inline: u32,
}

/// A way to RDMA: an adapter's stack or software. Cheap, shared, holds configuration only.
pub trait Provider: Send + Sync + 'static {
    /// What it opens.
    type Verbs: Verbs;

    /// Its name in `--transport NAME`: `verbs` or `soft-iwarp`.
    fn name(&self) -> &'static str;

    /// Whether it leads to `target` (or can listen there), and why. Looks at this machine only; sends nothing, and does not
    /// block on the network. An empty device list or a missing library is a decline that says what to install or do.
    fn offer(&self, target: &Target) -> Offer;

    /// The devices there are, for people; empty when there is none.
    fn devices(&self) -> Vec<Device>;

    /// What every device of it can do: the narrowest of each value. Known without any device being there.
    fn least(&self) -> Device;

    /// The protocol under the verbs at an address of this machine, as far as that can be told.
    fn kind_at(&self, _local: IpAddr) -> Option<Kind> {
        let devices = self.devices();
        let first = devices.first()?.kind;
        devices.iter().all(|device| device.kind == first).then_some(first)
    }

    /// Verbs for one engine. Fails with the reason and the remedy where the machine cannot (no library, memlock too low).
    fn open(&self, capacity: &Capacity) -> Result<Self::Verbs, Error>;
}

/// Connections that are sockets, and so can be accepted by one and carried by another.
pub trait Handovers {
    /// Gives every connection that comes by a listener to `to`, before anything is read from it.
    fn divert(&mut self, listener: ListenId, to: Box<dyn FnMut(OwnedFd) + Send>);

    /// Takes over a connection that was accepted elsewhere and from which nothing has been read. [`CmEvent::Requested`] by
    /// `listener` follows if its peer asks for a connection.
    fn take_over(&mut self, connection: OwnedFd, listener: ListenId) -> Result<(), Error>;
}

/// The keys of memory. Each belongs to the device of a connection.
pub trait Keys {
    /// The key by which work requests of `conn` name memory of `region`; `None` if the device does not know the region, so that
    /// its contents have to be copied to or from memory it knows.
    fn local_key(&mut self, conn: ConnId, region: &Region) -> Option<u32>;

    /// Lets the peer of `conn` reach `len` bytes at `start`, which lie in `region`, for one command.
    ///
    /// With [`KeyScope::Command`] the key covers exactly these bytes, allows exactly `access`, serves no other connection, and
    /// is unpredictable. With [`KeyScope::Region`] it is the region's own key, and the peer could reach more.
    ///
    /// # Safety
    /// The bytes stay allocated, and are neither read (for [`RemoteAccess::Write`]) nor written, until
    /// [`withdraw`](Self::withdraw) has returned for the key, the peer has invalidated it, or the connection has been
    /// destroyed.
    unsafe fn expose(
        &mut self,
        conn: ConnId,
        region: &Region,
        start: *mut u8,
        len: u32,
        access: RemoteAccess,
    ) -> Result<RemoteKey, Error>;

    /// Ends the peer's right to use a key: when this returns, no access by it is under way and none succeeds any more
    /// ([`KeyScope::Command`]); nothing happens with [`KeyScope::Region`]. Called once for each exposed key, also if the peer
    /// has invalidated it, unless the connection is destroyed before: whatever the provider keeps for the key goes.
    fn withdraw(&mut self, conn: ConnId, key: u32);
}

/// Verbs of one engine: the connection manager and the data path of all its connections.
///
/// # Order of calls
///
/// Active: [`connect`](Self::connect), then on [`CmEvent::Resolved`] [`create_qp`](Self::create_qp),
/// [`post_recv`](Self::post_recv), [`request`](Self::request); [`CmEvent::Established`] or an end follows. Passive:
/// [`listen`](Self::listen), then on [`CmEvent::Requested`] either [`reject`](Self::reject) or `create_qp`, `post_recv`,
/// [`accept`](Self::accept). Either may be ended at any moment by [`disconnect`](Self::disconnect) (in good order) or
/// [`destroy`](Self::destroy) (at once). Every connection named by [`connect`](Self::connect) or `Requested` is destroyed by
/// the caller exactly once, whatever became of it; `reject` and failed calls do not destroy.
///
/// # Completions
///
/// Each work request of a live connection completes at most once. Send requests complete in the order they were posted, receive
/// requests likewise. A send request that is not [signaled](SendRequest::signaled) completes only if it fails (a provider may
/// report it all the same); a signaled one that completed says that all before it have. When a connection ends or one of its
/// requests fails, everything outstanding completes with [`WcStatus::Flushed`]. What arrived before the end is reported before
/// [`CmEvent::Disconnected`] takes effect: whoever gets that event finds it by polling completions until they are empty.
///
/// # Rules for all methods
///
/// None blocks for the network or for the peer. An unknown or destroyed connection is an error, or nothing where there is no
/// result. Errors of single connections are [`CmEvent::Failed`], completions or `Err` of the call that named it; an `Err` of
/// [`progress`](Self::progress), [`poll_cq`](Self::poll_cq) or [`arm`](Self::arm) is the end of the engine.
pub trait Verbs: Keys + Send + 'static {
    /// Memory that all devices of this provider know, now and for as long as the memory lives; page aligned. Buffers from it
    /// serve every engine of the same provider and may outlive this value.
    fn memory(&self) -> Arc<dyn Memory>;

    /// Readable when [`progress`](Self::progress) or [`poll_cq`](Self::poll_cq) have something to do, provided that
    /// [`arm`](Self::arm) was the last to say that there was nothing.
    fn wait_handle(&self) -> BorrowedFd<'_>;

    /// When [`progress`](Self::progress) wants to be called even if the handle stays silent.
    fn next_timeout(&self) -> Option<Instant>;

    /// Listens at an address; port 0 picks one. Answers the address it got.
    fn listen(&mut self, at: SocketAddr) -> Result<(ListenId, SocketAddr), Error>;

    /// How sockets that were accepted elsewhere are taken over; `None` where connections are no sockets of this process.
    fn handovers(&mut self) -> Option<&mut dyn Handovers> {
        None
    }

    /// Stops to listen. Connections that came by it live on; requests not yet reported are dropped.
    fn unlisten(&mut self, listener: ListenId);

    /// Starts to find the device and the route to an address; [`CmEvent::Resolved`] or [`CmEvent::Failed`] follows within
    /// `timeout`.
    fn connect(
        &mut self,
        to: SocketAddr,
        from: Option<SocketAddr>,
        timeout: Duration,
    ) -> Result<ConnId, Error>;

    /// The device a connection leads over, once it is known: from `Resolved` or `Requested` on.
    fn device(&self, conn: ConnId) -> Option<&Device>;

    /// Local and peer's address, once they are known.
    fn addresses(&self, conn: ConnId) -> Option<(SocketAddr, SocketAddr)>;

    /// Creates the queue pair. `caps` is within the limits of the connection's [`Device`]; the answer is what it got, which is
    /// not less. Refused with `ErrorKind::Resources` where the completion queues are full.
    fn create_qp(&mut self, conn: ConnId, caps: &QpCaps) -> Result<QpCaps, Error>;

    /// Active: asks the peer for the connection.
    fn request(&mut self, conn: ConnId, params: &ConnParams<'_>) -> Result<(), Error>;

    /// Passive: accepts the connection; [`CmEvent::Established`] follows.
    fn accept(&mut self, conn: ConnId, params: &ConnParams<'_>) -> Result<(), Error>;

    /// Passive: turns the connection down. The peer gets `private_data` if the connection manager can carry it, also if the
    /// connection is destroyed right after this.
    fn reject(&mut self, conn: ConnId, private_data: &[u8]) -> Result<(), Error>;

    /// Ends a connection in good order: what has been posted to the send queue and completed reaches the peer;
    /// [`CmEvent::Disconnected`] follows when both sides have ended it. Of an ended connection: nothing.
    fn disconnect(&mut self, conn: ConnId);

    /// Frees everything of a connection, abruptly if it is still up. When this returns no byte of memory that was named in its
    /// work requests or exposed on it is touched any more, and no event or completion of it is reported.
    fn destroy(&mut self, conn: ConnId);

    /// Posts receives, in order.
    ///
    /// # Safety
    /// The memory stays allocated and is neither read nor written until the request has completed or the connection has been
    /// destroyed.
    unsafe fn post_recv(&mut self, conn: ConnId, requests: &[RecvRequest]) -> Result<(), Error>;

    /// Posts sends, in order and with one doorbell. Never more than the queue pair holds; each within its elements and inline
    /// size. An error is the end of the connection, and some of the requests may have been posted.
    ///
    /// # Safety
    /// Except for inline requests, the memory stays allocated and is not written (nor read, for [`SendOp::Read`]) until the
    /// request, or a later signaled one, has completed or the connection has been destroyed.
    unsafe fn post_send(&mut self, conn: ConnId, requests: &[SendRequest]) -> Result<(), Error>;

    /// Moves the connection manager (and, of a provider in software, everything) forward and appends what happened.
    fn progress(&mut self, now: Instant, events: &mut Vec<CmEvent>) -> Result<(), Error>;

    /// Sends what has been posted in this pass and is still here; nothing to do for hardware.
    fn flush(&mut self, now: Instant) -> Result<(), Error>;

    /// Takes completions, as many as there are and fit; answers how many.
    fn poll_cq(&mut self, into: &mut [Completion]) -> Result<usize, Error>;

    /// Makes the wait handle tell of the next completion. Called when polling brought nothing, again and again: it must be
    /// cheap while armed. Answers whether something may have come meanwhile, so that polling once more is due.
    fn arm(&mut self) -> Result<bool, Error>;
}
