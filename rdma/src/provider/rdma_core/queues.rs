//! The completion queues that one engine has on one device.

use std::{
    collections::HashMap,
    ffi::c_int,
    hash::{BuildHasherDefault, Hasher},
    io,
    os::fd::BorrowedFd,
    ptr,
    sync::{Arc, atomic::Ordering},
};

use nvmf_transport::{Error, ErrorKind, Stage};

use super::{
    budget::{Budget, Full},
    context::{Context, set_nonblocking},
    error,
};
use crate::{ffi, verbs::Operation};

/// Events are acknowledged in batches: each acknowledgement takes a lock.
const ACK_BATCH: u32 = 64;

/// Queue pair numbers are distinct small numbers; a multiplication spreads them enough.
#[derive(Default)]
pub(super) struct NumberHasher(u64);

impl Hasher for NumberHasher {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u32(u32::from(*byte));
        }
    }
    fn write_u32(&mut self, number: u32) {
        self.0 = (self.0 ^ u64::from(number)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    }
    fn finish(&self) -> u64 {
        self.0
    }
}

/// One completion queue.
struct CompletionQueue {
    cq: *mut ffi::ibv_cq,
    size: u32,
    operation: Operation,
    armed: bool,
    /// Events taken from the channel and not acknowledged yet.
    unacknowledged: u32,
}

/// What one engine has on one device.
pub(super) struct DeviceQueues {
    pub(super) context: Arc<Context>,
    channel: *mut ffi::ibv_comp_channel,
    budget: Budget,
    /// In pairs: sends, receives.
    queues: Vec<CompletionQueue>,
    /// Slots of connections by queue pair number.
    pub(super) slots: HashMap<u32, u32, BuildHasherDefault<NumberHasher>>,
    vector: c_int,
}

// SAFETY: the queues are used by one thread at a time, and libibverbs has no thread of its own in mind.
unsafe impl Send for DeviceQueues {}

impl DeviceQueues {
    /// `spread` tells engines apart, so that their interrupts go to different processors where the device has several.
    pub(super) fn open(context: Arc<Context>, completions: u32, spread: usize) -> Result<Self, Error> {
        context.users.fetch_add(1, Ordering::AcqRel);
        let max_cqe = context.adapter.ports.first().map_or(0, |port| port.device.max_cqe);
        let mut this = Self {
            budget: Budget::new(completions, max_cqe),
            channel: ptr::null_mut(),
            queues: Vec::new(),
            slots: HashMap::default(),
            vector: 0,
            context,
        };
        let fail = |detail: &str, e: io::Error, name: &str| {
            error::os(Stage::Setup, format!("{detail} on {name}"), e)
        };
        // SAFETY: a user's context is open.
        let (vectors, channel) = unsafe {
            let verbs = this.context.verbs.as_ptr();
            ((*verbs).num_comp_vectors, (this.context.libs.ib.ibv_create_comp_channel)(verbs))
        };
        this.channel = channel;
        if channel.is_null() {
            return Err(fail(
                "cannot create a completion channel",
                io::Error::last_os_error(),
                this.context.name(),
            ));
        }
        if let Ok(vectors @ 1..) = usize::try_from(vectors) {
            this.vector = c_int::try_from(spread % vectors).unwrap_or(0);
        }
        set_nonblocking(this.channel_fd())
            .map_err(|e| fail("cannot use a completion channel", e, this.context.name()))?;
        Ok(this)
    }

    /// Readable when an armed queue has something.
    pub(super) fn channel_fd(&self) -> BorrowedFd<'_> {
        // SAFETY: the channel lives as long as `self`.
        unsafe { BorrowedFd::borrow_raw((*self.channel).fd) }
    }

    /// Reserves room for a queue pair and answers the pair of queues, for sends and for receives.
    pub(super) fn reserve(&mut self, send: u32, recv: u32) -> Result<usize, Error> {
        let place = self.budget.reserve(send, recv).map_err(|full: Full| {
            let text = format!("no room in the completion queues on {}: {full}", self.context.name());
            Error::new(Stage::Connect, ErrorKind::Resources, text)
        })?;
        if let Some(size) = place.create {
            for operation in [Operation::Send, Operation::Recv] {
                if let Err(error) = self.create(size, operation) {
                    while self.queues.len() > place.pair * 2
                        && let Some(half) = self.queues.pop()
                    {
                        self.destroy_queue(half);
                    }
                    self.budget.cancel_pair();
                    return Err(error);
                }
            }
        }
        Ok(place.pair)
    }

    fn create(&mut self, size: u32, operation: Operation) -> Result<(), Error> {
        let index = self.queues.len();
        let entries = c_int::try_from(size).unwrap_or(c_int::MAX);
        // SAFETY: context and channel are live; the context pointer of the queue is only a number, its index.
        let cq = unsafe {
            (self.context.libs.ib.ibv_create_cq)(
                self.context.verbs.as_ptr(),
                entries,
                ptr::without_provenance_mut(index),
                self.channel,
                self.vector,
            )
        };
        if cq.is_null() {
            let text =
                format!("cannot create a completion queue of {size} entries on {}", self.context.name());
            return Err(error::os(Stage::Connect, text, io::Error::last_os_error()));
        }
        self.queues.push(CompletionQueue { cq, size, operation, armed: false, unacknowledged: 0 });
        Ok(())
    }

    /// Gives back what a queue pair had reserved, once none of its completions is left in the queues.
    pub(super) fn release(&mut self, pair: usize, send: u32, recv: u32) {
        self.budget.release(pair, send, recv);
    }

    /// The two queues of a pair.
    pub(super) fn pair(&self, pair: usize) -> Option<(*mut ffi::ibv_cq, *mut ffi::ibv_cq)> {
        Some((self.queues.get(pair * 2)?.cq, self.queues.get(pair * 2 + 1)?.cq))
    }

    /// How many queues there are.
    pub(super) fn len(&self) -> usize {
        self.queues.len()
    }

    /// Entries of a queue.
    pub(super) fn size(&self, queue: usize) -> usize {
        self.queues.get(queue).map_or(0, |queue| queue.size as usize)
    }

    /// Takes completions from one queue.
    pub(super) fn poll(
        &mut self,
        queue: usize,
        into: &mut [ffi::ibv_wc],
    ) -> Result<(usize, Operation), Error> {
        let Some(queue) = self.queues.get(queue) else { return Ok((0, Operation::Send)) };
        // SAFETY: the queue is live.
        let count = unsafe { ffi::poll_cq(queue.cq, into) };
        match usize::try_from(count) {
            Ok(count) => Ok((count.min(into.len()), queue.operation)),
            // What is gone has nothing to tell; the engine hears of it otherwise.
            Err(_) if !self.context.is_alive() => Ok((0, queue.operation)),
            Err(_) => {
                let text = format!("cannot poll a completion queue on {}", self.context.name());
                Err(error::os(Stage::Transfer, text, error::of_code(count)))
            }
        }
    }

    /// Has every queue that does not tell of its next completion do so. Answers whether there was one.
    pub(super) fn arm(&mut self) -> Result<bool, Error> {
        let mut any = false;
        for queue in self.queues.iter_mut().filter(|queue| !queue.armed) {
            // SAFETY: the queue is live.
            let failed = unsafe { ffi::req_notify_cq(queue.cq) };
            if failed != 0 && self.context.is_alive() {
                let text = format!("cannot arm a completion queue on {}", self.context.name());
                return Err(error::os(Stage::Transfer, text, error::of_code(failed)));
            }
            queue.armed = true;
            any = true;
        }
        Ok(any)
    }

    /// Takes all events out of the channel. False when there will be no more.
    pub(super) fn take_events(&mut self) -> bool {
        loop {
            let mut cq = ptr::null_mut();
            let mut index = ptr::null_mut();
            // SAFETY: the channel is live and does not block.
            let failed =
                unsafe { (self.context.libs.ib.ibv_get_cq_event)(self.channel, &raw mut cq, &raw mut index) };
            if failed != 0 {
                return error::is_nothing(&io::Error::last_os_error());
            }
            if let Some(queue) = self.queues.get_mut(index.addr()) {
                queue.armed = false;
                queue.unacknowledged += 1;
                if queue.unacknowledged >= ACK_BATCH {
                    // SAFETY: the queue is live, and so many events of it have been taken and not acknowledged.
                    unsafe { (self.context.libs.ib.ibv_ack_cq_events)(queue.cq, queue.unacknowledged) };
                    queue.unacknowledged = 0;
                }
            }
        }
    }

    fn destroy_queue(&self, queue: CompletionQueue) {
        let ib = &self.context.libs.ib;
        // SAFETY: the queue is live, no queue pair is left on it, and its events are acknowledged, for which destruction waits.
        let failed = unsafe {
            if queue.unacknowledged > 0 {
                (ib.ibv_ack_cq_events)(queue.cq, queue.unacknowledged);
            }
            (ib.ibv_destroy_cq)(queue.cq)
        };
        if failed != 0 {
            let error = error::of_code(failed);
            tracing::warn!(device = self.context.name(), %error, "a completion queue cannot be destroyed");
        }
    }
}

impl Drop for DeviceQueues {
    fn drop(&mut self) {
        if !self.channel.is_null() {
            // What is in the channel has to be acknowledged as well.
            self.take_events();
            for queue in std::mem::take(&mut self.queues) {
                self.destroy_queue(queue);
            }
            // SAFETY: no queue is left on the channel.
            unsafe { (self.context.libs.ib.ibv_destroy_comp_channel)(self.channel) };
        }
        self.context.users.fetch_sub(1, Ordering::AcqRel);
    }
}
