//! One engine's connections, queues and descriptors, and how they end.
//!
//! The order in which things go: the queue pair (with it the device's right to touch memory), its completions out of the
//! completion queues, the identifier; of a device, the completion queues, the channel, the memory, the protection domain. An
//! identifier on which a thread is inside `rdma_connect` waits for that thread; its queue pair is put into the error state at once.

use std::{
    collections::VecDeque,
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    ptr::NonNull,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use nvmf_transport::{Error, ErrorKind, Memory, Stage};
use rustix::event::{PollFd, PollFlags, epoll, poll};

use super::{
    address::CAddress,
    conn::{Conn, Conns, QueuePair},
    context::{Context, Stack, set_nonblocking},
    error,
    inbox::{Inbox, Note},
    memory::DeviceMemory,
    queues::DeviceQueues,
};
use crate::{
    ffi::{self, Libraries},
    verbs::{Capacity, CmEvent, Completion, ConnId, ListenId, Operation},
};

/// What the wait descriptor's events are about: two fixed ones, then two for each device.
pub(super) const CM: u64 = 0;
pub(super) const INBOX: u64 = 1;
pub(super) const FIRST_DEVICE: u64 = 2;

/// Completions taken with one call.
pub(super) const POLL_BATCH: usize = 32;

/// A listener.
pub(super) struct Listener {
    pub(super) name: ListenId,
    pub(super) id: *mut ffi::rdma_cm_id,
}

/// Everything of one engine.
pub(super) struct Engine {
    pub(super) stack: &'static Stack,
    pub(super) capacity: Capacity,
    pub(super) memory: Arc<DeviceMemory>,
    pub(super) channel: NonNull<ffi::rdma_event_channel>,
    pub(super) epoll: OwnedFd,
    pub(super) inbox: Arc<Inbox>,
    pub(super) conns: Conns,
    pub(super) listeners: Vec<Listener>,
    pub(super) next_listener: u32,
    /// By the index that the wait descriptor's events carry; `None` once a device has gone.
    pub(super) devices: Vec<Option<DeviceQueues>>,
    /// All completion queues, as device and queue, and whose turn it is.
    pub(super) order: Vec<(usize, usize)>,
    pub(super) turn: usize,
    /// Completions that had to be taken out of the queues when their neighbour was destroyed.
    pub(super) held: VecDeque<Completion>,
    /// Events that did not come from the connection manager.
    pub(super) pending: Vec<CmEvent>,
    pub(super) wcs: Box<[ffi::ibv_wc; POLL_BATCH]>,
    pub(super) send_requests: Vec<ffi::ibv_send_wr>,
    pub(super) recv_requests: Vec<ffi::ibv_recv_wr>,
    pub(super) elements: Vec<ffi::ibv_sge>,
    spread: usize,
}

// SAFETY: an engine is used by one thread at a time; the libraries do not mind which. The pointers in the request vectors are
// not used between calls.
unsafe impl Send for Engine {}

impl Engine {
    pub(super) fn open(stack: &'static Stack, capacity: Capacity) -> Result<Self, Error> {
        static ENGINES: AtomicUsize = AtomicUsize::new(0);
        let contexts = stack.contexts();
        if contexts.is_empty() {
            return Err(Error::new(Stage::Setup, ErrorKind::Unsupported, super::NO_DEVICE));
        }
        let memory = Arc::new(DeviceMemory { stack, contexts });
        // Whether memory can be registered at all is better known now than at the first command.
        drop(memory.allocate(64 * 1024)?);

        let setup = |detail: &'static str| move |e: io::Error| error::os(Stage::Setup, detail, e);
        let inbox = Arc::new(Inbox::new().map_err(setup("cannot create an event descriptor"))?);
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)
            .map_err(|e| error::os(Stage::Setup, "cannot create a wait descriptor", e.into()))?;
        // SAFETY: the function may be called at any time.
        let channel = NonNull::new(unsafe { (stack.libs.cm.rdma_create_event_channel)() }).ok_or_else(|| {
            let e = io::Error::last_os_error();
            error::os(
                Stage::Setup,
                "cannot open /dev/infiniband/rdma_cm (it needs the kernel's module rdma_ucm, and to be writable for this user)",
                e,
            )
        })?;
        let this = Self {
            stack,
            capacity,
            memory,
            channel,
            epoll,
            inbox,
            conns: Conns::default(),
            listeners: Vec::new(),
            next_listener: 0,
            devices: Vec::new(),
            order: Vec::new(),
            turn: 0,
            held: VecDeque::new(),
            pending: Vec::new(),
            // SAFETY: all zero is valid for a structure of numbers.
            wcs: Box::new(unsafe { std::mem::zeroed() }),
            send_requests: Vec::new(),
            recv_requests: Vec::new(),
            elements: Vec::new(),
            spread: ENGINES.fetch_add(1, Ordering::Relaxed),
        };
        set_nonblocking(this.cm_fd()).map_err(setup("cannot use the connection manager"))?;
        this.watch(this.cm_fd(), CM)?;
        this.watch(this.inbox.as_fd(), INBOX)?;
        Ok(this)
    }

    pub(super) fn libs(&self) -> &'static Libraries {
        self.stack.libs
    }

    fn cm_fd(&self) -> BorrowedFd<'_> {
        // SAFETY: the channel lives as long as `self`.
        unsafe { BorrowedFd::borrow_raw((*self.channel.as_ptr()).fd) }
    }

    fn watch(&self, fd: BorrowedFd<'_>, token: u64) -> Result<(), Error> {
        epoll::add(&self.epoll, fd, epoll::EventData::new_u64(token), epoll::EventFlags::IN)
            .map_err(|e| error::os(Stage::Setup, "cannot wait for a descriptor", e.into()))
    }

    /// The device's queues of this engine, opened at first use.
    pub(super) fn device(&mut self, context: &Arc<Context>) -> Result<usize, Error> {
        let is_it =
            |device: &Option<DeviceQueues>| device.as_ref().is_some_and(|d| d.context.id == context.id);
        if let Some(index) = self.devices.iter().position(is_it) {
            return Ok(index);
        }
        let queues = DeviceQueues::open(context.clone(), self.capacity.completions, self.spread)?;
        let index = self.devices.iter().position(Option::is_none).unwrap_or(self.devices.len());
        let token = FIRST_DEVICE + 2 * index as u64;
        self.watch(queues.channel_fd(), token)?;
        self.watch(context.async_fd(), token + 1)?;
        context.subscribe(&self.inbox);
        match self.devices.get_mut(index) {
            Some(place) => *place = Some(queues),
            None => self.devices.push(Some(queues)),
        }
        Ok(index)
    }

    /// Notes which completion queues there are.
    pub(super) fn reorder(&mut self) {
        self.order.clear();
        for (device, queues) in self.devices.iter().enumerate() {
            let count = queues.as_ref().map_or(0, DeviceQueues::len);
            self.order.extend((0..count).map(|queue| (device, queue)));
        }
        self.turn = 0;
    }

    /// Takes a connection from its owner.
    pub(super) fn destroy(&mut self, name: ConnId) {
        let Some(conn) = self.conns.live(name) else { return };
        self.pending.retain(|event| event.conn() != name);
        self.held.retain(|completion| completion.conn != name);
        if conn.connecting {
            conn.forsaken = true;
            let qp = conn.qp;
            self.break_off(qp);
        } else {
            self.bury(name.slot);
        }
    }

    /// Puts a queue pair into the error state: what was posted is flushed, and the device touches no memory by it any more.
    pub(super) fn break_off(&self, qp: Option<QueuePair>) {
        let Some(qp) = qp else { return };
        // SAFETY: all zero is valid for a structure of numbers.
        let mut attr: ffi::ibv_qp_attr = unsafe { std::mem::zeroed() };
        attr.qp_state = ffi::IBV_QPS_ERR;
        // SAFETY: the queue pair is live; only the state is named as changed.
        let failed =
            unsafe { (self.libs().ib.ibv_modify_qp)(qp.qp, &raw mut attr, ffi::IBV_QP_STATE as i32) };
        if failed != 0 {
            tracing::debug!(error = %error::of_code(failed), "a queue pair does not enter the error state");
        }
    }

    /// Frees everything of the connection in a slot.
    pub(super) fn bury(&mut self, slot: u32) {
        let Some(conn) = self.conns.remove(slot) else { return };
        if let Some(qp) = conn.qp {
            // SAFETY: the identifier is live and has this queue pair; no other thread is using either.
            unsafe { (self.libs().cm.rdma_destroy_qp)(conn.id) };
            self.sweep(qp);
            if let Some(Some(device)) = self.devices.get_mut(qp.device) {
                device.slots.remove(&qp.number);
                device.release(qp.pair, qp.send_wr, qp.recv_wr);
            }
        }
        self.destroy_id(conn.id);
        drop(conn);
        self.let_go_of_removed();
    }

    /// Destroys an identifier that has no queue pair.
    pub(super) fn destroy_id(&self, id: *mut ffi::rdma_cm_id) {
        // SAFETY: the identifier is live, destroyed once, and all its events have been acknowledged, for which this waits.
        let failed = unsafe { (self.libs().cm.rdma_destroy_id)(id) };
        if failed != 0 {
            tracing::warn!(error = %io::Error::last_os_error(), "an RDMA identifier cannot be destroyed");
        }
    }

    /// Takes the completions of a destroyed queue pair out of its queues. Some drivers leave them there, and some give the number
    /// to the next queue pair. What belongs to others is kept for the next poll.
    fn sweep(&mut self, qp: QueuePair) {
        let Some(Some(device)) = self.devices.get_mut(qp.device) else { return };
        for queue in [qp.pair * 2, qp.pair * 2 + 1] {
            // No more than the queue has entries can have been in it when the queue pair went.
            let mut left = device.size(queue);
            while left > 0 {
                let Ok((count @ 1.., operation)) = device.poll(queue, &mut self.wcs[..]) else { break };
                for wc in self.wcs.iter().take(count) {
                    if let Some(completion) = translate(wc, operation, device, &self.conns) {
                        self.held.push_back(completion);
                    }
                }
                left = left.saturating_sub(count);
            }
        }
    }

    /// Gives up the queues on devices that have gone, once no connection is left on them.
    pub(super) fn let_go_of_removed(&mut self) {
        let mut any = false;
        for place in &mut self.devices {
            let done = |device: &mut DeviceQueues| !device.context.is_alive() && device.slots.is_empty();
            if let Some(device) = place.take_if(done) {
                let _ = epoll::delete(&self.epoll, device.channel_fd());
                let _ = epoll::delete(&self.epoll, device.context.async_fd());
                any = true;
            }
        }
        if any {
            self.reorder();
            self.stack.settle_gone();
        }
    }

    /// Frees all that can be freed now; whether that was everything.
    pub(super) fn shut_down(&mut self) -> bool {
        for listener in std::mem::take(&mut self.listeners) {
            self.destroy_id(listener.id);
        }
        for slot in 0..self.conns.slots.len() {
            let slot = slot as u32;
            match self.conns.slots.get_mut(slot as usize).and_then(|place| place.conn.as_mut()) {
                Some(conn) if conn.connecting => {
                    let first = !std::mem::replace(&mut conn.forsaken, true);
                    let qp = conn.qp.filter(|_| first);
                    self.break_off(qp);
                }
                Some(_) => self.bury(slot),
                None => {}
            }
        }
        self.conns.len() == 0
    }

    /// Ends an engine whose connect calls have not all returned: waits for them. On a thread of its own.
    pub(super) fn wait_and_end(mut self) {
        while !self.shut_down() {
            let _ = poll(&mut [PollFd::new(&*self.inbox, PollFlags::IN)], None);
            for note in self.inbox.take() {
                if let Note::Connected { conn, .. } = note
                    && let Some(place) = self.conns.slots.get_mut(conn.slot as usize)
                    && let Some(conn) = &mut place.conn
                {
                    conn.connecting = false;
                }
            }
        }
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        if !self.shut_down() {
            // Only reached if no thread could be had to wait in: what is left is leaked, since a thread still uses it.
            tracing::warn!(
                "an RDMA engine ends with connections that are still being made; they are abandoned"
            );
            std::mem::take(&mut self.devices).into_iter().for_each(std::mem::forget);
            return;
        }
        self.devices.clear();
        // SAFETY: no identifier is left on the channel, and all events have been acknowledged.
        unsafe { (self.libs().cm.rdma_destroy_event_channel)(self.channel.as_ptr()) };
        self.stack.settle_gone();
    }
}

/// A completion in the interface's words; `None` if its connection has been destroyed.
pub(super) fn translate(
    wc: &ffi::ibv_wc,
    operation: Operation,
    device: &DeviceQueues,
    conns: &Conns,
) -> Option<Completion> {
    let conn = conns.name(*device.slots.get(&wc.qp_num)?)?;
    let status = error::wc_status(wc.status);
    let received = operation == Operation::Recv && wc.status == ffi::IBV_WC_SUCCESS;
    let invalidated = if received && wc.wc_flags & ffi::IBV_WC_WITH_INV != 0 {
        // SAFETY: both members of the union are 32-bit numbers, and the flag says which one is meant.
        Some(unsafe { wc.__bindgen_anon_1.invalidated_rkey })
    } else {
        None
    };
    Some(Completion {
        conn,
        id: wc.wr_id,
        operation,
        status,
        len: if received { wc.byte_len } else { 0 },
        invalidated,
    })
}

/// Creates an identifier on an engine's channel.
pub(super) fn create_id(
    libs: &Libraries,
    channel: NonNull<ffi::rdma_event_channel>,
) -> io::Result<*mut ffi::rdma_cm_id> {
    let mut id = std::ptr::null_mut();
    // SAFETY: the channel is live; the identifier is written on success.
    let failed = unsafe {
        (libs.cm.rdma_create_id)(channel.as_ptr(), &raw mut id, std::ptr::null_mut(), ffi::RDMA_PS_TCP)
    };
    if failed == 0 { Ok(id) } else { Err(io::Error::last_os_error()) }
}

/// Binds an identifier to a local address; for an address of a device, to that device.
pub(super) fn bind(libs: &Libraries, id: *mut ffi::rdma_cm_id, address: &CAddress) -> io::Result<()> {
    // SAFETY: the identifier is live, and the address during the call.
    let failed = unsafe { (libs.cm.rdma_bind_addr)(id, address.as_ptr()) };
    if failed == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// A connection that has just come into being.
pub(super) fn new_conn(id: *mut ffi::rdma_cm_id, phase: super::conn::Phase, active: bool) -> Conn {
    Conn {
        id,
        phase,
        active,
        depths: crate::verbs::Depths::default(),
        context: None,
        port: 1,
        qp: None,
        connecting: false,
        forsaken: false,
    }
}
