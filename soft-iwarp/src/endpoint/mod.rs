//! The endpoint: sockets, queue pairs and memory of one thread, with the semantics of verbs.
//!
//! Everything of one thread belongs to one [`Endpoint`]: a protection domain, its queue pairs, listeners and one poller. Calls
//! record what is to be done; [`poll`](Endpoint::poll) does it and reports in events. No call blocks, and memory that was
//! registered is touched in calls of the endpoint only. `connections.rs` sets connections up, `pass.rs` is one poll,
//! `stream.rs` a queue pair on its socket, `pending.rs` a connection that waits to be accepted.

mod connections;
mod pass;
mod pending;
mod poller;
mod slab;
mod socket;
mod stream;
mod timer;

use std::{
    hash::{BuildHasher, RandomState},
    io,
    os::fd::BorrowedFd,
    ptr::NonNull,
    time::Instant,
};

use connections::Listening;
pub use connections::{CallError, Handover};
use pending::Pending;
use poller::{Poller, Ready};
use slab::Slab;
use stream::Stream;

use crate::{
    config::{EndpointConfig, QpConfig},
    event::Request,
    memory::Domain,
    qp::{self, QueuePair},
    verbs::{MemoryError, PostError, Qp, ReceiveRequest, Region, RegionOptions, STag, SendRequest},
};

/// Sockets, queue pairs and memory of one thread.
#[derive(Debug)]
pub struct Endpoint {
    config: EndpointConfig,
    poller: Poller,
    domain: Domain,
    streams: Slab<Stream>,
    pending: Slab<Pending>,
    listeners: Slab<Listening>,
    scratch: Box<[u8]>,
    /// Queue pairs with something to send or to end. Each is named once.
    work: Vec<u32>,
    doing: Vec<u32>,
    ready: Vec<Ready>,
    /// Requests that were complete when they were adopted.
    adopted: Vec<Request>,
    /// No later than the earliest end of any wait.
    timer: Option<Instant>,
    /// Passes since the poller was asked.
    passes: u32,
    last_poll: Option<Instant>,
}

impl Endpoint {
    /// An endpoint without connections.
    pub fn new(config: EndpointConfig) -> io::Result<Self> {
        let seed = config.seed.unwrap_or_else(|| RandomState::new().hash_one(std::process::id()));
        let mut domain = Domain::new(config.max_regions, seed);
        domain.strict_read_sink = config.strict_read_sink;
        Ok(Self {
            poller: Poller::new()?,
            domain,
            streams: Slab::default(),
            pending: Slab::default(),
            listeners: Slab::default(),
            scratch: vec![0; config.scratch.max(qp::SCRATCH_MIN)].into_boxed_slice(),
            work: Vec::new(),
            doing: Vec::new(),
            ready: Vec::new(),
            adopted: Vec::new(),
            timer: None,
            passes: 0,
            last_poll: None,
            config,
        })
    }

    /// Readable when [`poll`](Self::poll) has something to do.
    pub fn wait_handle(&self) -> BorrowedFd<'_> {
        self.poller.handle()
    }

    /// When [`poll`](Self::poll) wants to be called even if nothing is readable.
    pub fn next_timeout(&self) -> Option<Instant> {
        if self.work.is_empty() && self.adopted.is_empty() {
            self.timer
        } else {
            self.last_poll.or(self.timer)
        }
    }

    /// Whether work was posted that the next poll will begin: then it should not be waited for.
    pub fn has_work(&self) -> bool {
        !self.work.is_empty() || !self.adopted.is_empty()
    }

    /// Registers memory and takes it; [`deregister`](Self::deregister) gives it back.
    pub fn register(&mut self, memory: Box<[u8]>, options: RegionOptions) -> Result<Region, MemoryError> {
        self.domain.register(memory, options)
    }

    /// Registers memory that stays somebody else's.
    ///
    /// # Safety
    ///
    /// Until [`deregister`](Self::deregister) has returned, or the endpoint is dropped, `len` initialised bytes from `start`
    /// stay valid (`len` is at most `isize::MAX`). While any method of the endpoint runs, on whatever thread, nobody writes
    /// them, and no reference to them that was made before is used then or later. Shared references may be if `access` has
    /// neither `LOCAL_WRITE` nor `REMOTE_WRITE`, and the same holds of other registrations of these bytes. Between two calls the
    /// owner may read and write: but what peers may read or write at that time, or what is being sent, changes for them.
    #[allow(unsafe_code, reason = "the promise is the caller's, and is passed on")]
    pub unsafe fn register_raw(
        &mut self,
        start: NonNull<u8>,
        len: usize,
        options: RegionOptions,
    ) -> Result<Region, MemoryError> {
        // SAFETY: promised by the caller in the same words.
        unsafe { self.domain.register_raw(start, len, options) }
    }

    /// From here on requests may name any memory of the process by [`STag::LOCAL`] and its exposed address: registering what
    /// this side alone uses, and only for one request, is saved. Sinks of RDMA READs are named to the peer, and need regions.
    ///
    /// # Safety
    ///
    /// Every piece of memory that a request names so is valid, and treated by everybody else, as
    /// [`register_raw`](Self::register_raw) asks for, from the call that posts the request until it has completed or
    /// [`destroy_qp`](Self::destroy_qp) of its queue pair has returned.
    #[allow(unsafe_code, reason = "the promise is the caller's, and is passed on")]
    pub unsafe fn trust_addresses(&mut self) {
        // SAFETY: promised by the caller in the same words.
        unsafe { self.domain.trust_addresses() }
    }

    /// Takes a window that shows nothing, for [`Operation::FastRegister`](crate::Operation::FastRegister).
    pub fn allocate_window(&mut self) -> Result<STag, MemoryError> {
        self.domain.allocate_window()
    }

    /// Takes all rights away from a region or window at once, for peers and for work requests alike.
    pub fn invalidate(&mut self, stag: STag) -> Result<(), MemoryError> {
        self.domain.invalidate(stag)
    }

    /// Gives a region or window back, with its memory if the endpoint has it. The key of `stag` does not matter. When this
    /// returns the memory is not touched any more; a queue pair that still needed it fails.
    pub fn deregister(&mut self, stag: STag) -> Result<Option<Box<[u8]>>, MemoryError> {
        self.domain.deregister(stag)
    }

    /// The bytes of a region that was registered with its memory.
    pub fn bytes(&self, stag: STag) -> Option<&[u8]> {
        self.domain.bytes(stag)
    }

    /// The same, to be written.
    pub fn bytes_mut(&mut self, stag: STag) -> Option<&mut [u8]> {
        self.domain.bytes_mut(stag)
    }

    /// The protection domain.
    pub fn domain(&self) -> &Domain {
        &self.domain
    }

    /// Makes a queue pair. Receives may be posted to it at once.
    pub fn create_qp(&mut self, config: &QpConfig) -> Qp {
        let send_ahead = self.config.send_ahead;
        let (slot, generation) = self.streams.insert_with(|slot, generation| {
            Stream::new(QueuePair::new(Qp::new(slot, generation), config, send_ahead))
        });
        Qp::new(slot, generation)
    }

    /// Ends a queue pair, connected or not. Nothing more is heard of it, and none of its memory is touched any more; what must
    /// still be said to its peer is said in the polls that follow.
    pub fn destroy_qp(&mut self, qp: Qp) {
        let Some(stream) = stream(&mut self.streams, qp) else { return };
        stream.qp.abandon(&self.domain);
        stream.destroyed = true;
        self.touch(qp.slot() as u32);
    }

    /// Posts a send request. It leaves with the next poll, at the earliest.
    #[inline]
    pub fn post_send(&mut self, qp: Qp, request: &SendRequest<'_>) -> Result<(), PostError> {
        let stream = stream(&mut self.streams, qp).ok_or(PostError::UnknownQp)?;
        stream.qp.post_send(request)?;
        if !stream.working {
            stream.working = true;
            self.work.push(qp.slot() as u32);
        }
        Ok(())
    }

    /// Posts a receive.
    #[inline]
    pub fn post_receive(&mut self, qp: Qp, request: &ReceiveRequest<'_>) -> Result<(), PostError> {
        stream(&mut self.streams, qp).ok_or(PostError::UnknownQp)?.qp.post_receive(request)
    }

    /// Ends a connection with the next poll, which reports everything outstanding and then the end.
    pub fn disconnect(&mut self, qp: Qp) {
        if let Some(stream) = stream(&mut self.streams, qp) {
            stream.qp.disconnect();
            self.touch(qp.slot() as u32);
        }
    }

    /// Looks at a queue pair in the next pass.
    #[inline]
    fn touch(&mut self, slot: u32) {
        if let Some(stream) = self.streams.at(slot)
            && !stream.working
        {
            stream.working = true;
            self.work.push(slot);
        }
    }
}

/// The queue pair of that name, unless it was destroyed.
#[inline]
fn stream(streams: &mut Slab<Stream>, qp: Qp) -> Option<&mut Stream> {
    streams.get_mut(qp.slot() as u32, qp.generation()).filter(|stream| !stream.destroyed)
}
