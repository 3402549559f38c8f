//! The devices of this machine, opened once per process: librdmacm hands out one context per device to everybody, so the
//! protection domain, the registered memory and the events of a device are the process's too, and every engine of the process
//! can use memory that any of them registered.
//!
//! A device may come and go while the process runs. One that has gone is *retired* when the last engine has let go of it: its
//! memory is deregistered and its context given back, so that the kernel can remove it.

use std::{
    ffi::{CStr, c_int},
    io,
    os::fd::BorrowedFd,
    ptr::{self, NonNull},
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak,
        atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering},
    },
};

use nvmf_transport::{Error, ErrorKind, Stage};

use super::{
    error,
    inbox::{Inbox, Note},
    probe::{self, Adapter},
};
use crate::{
    ffi::{self, Libraries, LoadError},
    verbs::Device,
};

/// Memory has to be readable and writable by peers, and as the sink of a READ on iWARP writable too (RFC 5040 §5.2).
const ACCESS: c_int =
    (ffi::IBV_ACCESS_LOCAL_WRITE | ffi::IBV_ACCESS_REMOTE_WRITE | ffi::IBV_ACCESS_REMOTE_READ) as c_int;

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The two libraries and the devices they know.
pub(super) struct Stack {
    pub(super) libs: &'static Libraries,
    known: Mutex<Known>,
    next: AtomicU32,
}

#[derive(Default)]
struct Known {
    contexts: Vec<Arc<Context>>,
    /// Devices that have gone and are still used, or still listed.
    gone: Vec<Arc<Context>>,
    /// The list that keeps `contexts` open.
    current: Option<DeviceList>,
    /// Those that keep `gone` open.
    older: Vec<DeviceList>,
}

/// An answer of `rdma_get_devices`, which holds a reference to each device in it.
struct DeviceList(NonNull<*mut ffi::ibv_context>);

// SAFETY: the list is only given back, which any thread may do.
unsafe impl Send for DeviceList {}

/// The stack of this process.
pub(super) fn stack() -> Result<&'static Stack, LoadError> {
    static STACK: OnceLock<Stack> = OnceLock::new();
    let libs = ffi::libraries()?;
    Ok(STACK.get_or_init(|| Stack { libs, known: Mutex::default(), next: AtomicU32::new(0) }))
}

impl Stack {
    /// The devices there are now.
    pub(super) fn contexts(&self) -> Vec<Arc<Context>> {
        let mut known = locked(&self.known);
        let Some((list, found)) = self.list() else {
            return known.contexts.clone();
        };
        let mut staying = Vec::new();
        for context in std::mem::take(&mut known.contexts) {
            if found.contains(&context.verbs.as_ptr()) && context.is_alive() {
                staying.push(context);
            } else {
                context.mark_gone();
                known.gone.push(context);
            }
        }
        for &verbs in &found {
            let Some(verbs) = NonNull::new(verbs) else { continue };
            // One that has failed and is still listed stays failed until the kernel has removed it.
            let is_known = |context: &Arc<Context>| context.verbs == verbs;
            if staying.iter().any(is_known) || known.gone.iter().any(is_known) {
                continue;
            }
            let id = self.next.fetch_add(1, Ordering::Relaxed);
            match Context::open(self.libs, id, verbs) {
                Ok(context) => staying.push(Arc::new(context)),
                Err(error) => tracing::warn!(%error, "an RDMA device cannot be used"),
            }
        }
        known.contexts = staying;
        let former = std::mem::replace(&mut known.current, list);
        known.older.extend(former);
        self.settle(&mut known, &found);
        known.contexts.clone()
    }

    /// The device of a context that librdmacm has put into an identifier.
    pub(super) fn context_of(&self, verbs: *mut ffi::ibv_context) -> Option<Arc<Context>> {
        let find =
            |all: &[Arc<Context>]| all.iter().find(|c| c.verbs.as_ptr() == verbs && c.is_alive()).cloned();
        let known = find(&locked(&self.known).contexts);
        known.or_else(|| find(&self.contexts()))
    }

    /// Lets go of devices that have gone and that nobody uses any more, if there are such.
    pub(super) fn settle_gone(&self) {
        let any = {
            let known = locked(&self.known);
            !known.gone.is_empty() || known.contexts.iter().any(|context| !context.is_alive())
        };
        if any {
            self.contexts();
        }
    }

    fn settle(&self, known: &mut Known, listed: &[*mut ffi::ibv_context]) {
        let used = |context: &Context| context.users.load(Ordering::Acquire) > 0;
        known.gone.iter().filter(|context| !used(context)).for_each(|context| context.retire());
        if !known.gone.iter().any(|context| used(context)) {
            for list in known.older.drain(..) {
                // SAFETY: each list came from `rdma_get_devices` and is given back once. What is still used is in `current`.
                unsafe { (self.libs.cm.rdma_free_devices)(list.0.as_ptr()) };
            }
        }
        // The kernel lists a device for as long as it waits for its users; it must not be taken for a new one.
        known.gone.retain(|context| used(context) || listed.contains(&context.verbs.as_ptr()));
    }

    /// Asks librdmacm for the devices; `None` if it could not tell.
    fn list(&self) -> Option<(Option<DeviceList>, Vec<*mut ffi::ibv_context>)> {
        // Without any device librdmacm complains on standard error instead of answering.
        let any =
            std::fs::read_dir("/sys/class/infiniband").is_ok_and(|mut entries| entries.next().is_some());
        if !any {
            return Some((None, Vec::new()));
        }
        let mut count: c_int = 0;
        // SAFETY: the function may be called at any time; `count` is written.
        let list = unsafe { (self.libs.cm.rdma_get_devices)(&raw mut count) };
        let Some(list) = NonNull::new(list) else {
            const ENODEV: i32 = 19;
            let none = io::Error::last_os_error().raw_os_error() == Some(ENODEV);
            return none.then(|| (None, Vec::new()));
        };
        let count = usize::try_from(count).unwrap_or(0);
        // SAFETY: the answer has `count` entries.
        let found = unsafe { std::slice::from_raw_parts(list.as_ptr(), count) }.to_vec();
        Some((Some(DeviceList(list)), found))
    }
}

/// A device in use.
pub(super) struct Context {
    pub(super) libs: &'static Libraries,
    /// Never used twice in a process.
    pub(super) id: u32,
    pub(super) verbs: NonNull<ffi::ibv_context>,
    /// What it is and can do.
    pub(super) adapter: Adapter,
    alive: AtomicBool,
    /// Engines that have queues on it.
    pub(super) users: AtomicUsize,
    resources: Mutex<Resources>,
    subscribers: Mutex<Vec<Weak<Inbox>>>,
}

struct Resources {
    /// Null once retired.
    pd: *mut ffi::ibv_pd,
    /// Null where free.
    regions: Vec<*mut ffi::ibv_mr>,
    free: Vec<usize>,
}

// SAFETY: libibverbs' functions may be called on a context from any thread; what must not meet is behind the mutexes.
unsafe impl Send for Context {}
// SAFETY: as above.
unsafe impl Sync for Context {}

/// Memory that a device knows.
#[derive(Clone, Copy, Debug)]
pub(super) struct Registered {
    pub(super) slot: usize,
    pub(super) lkey: u32,
    pub(super) rkey: u32,
}

impl Context {
    fn open(libs: &'static Libraries, id: u32, verbs: NonNull<ffi::ibv_context>) -> Result<Self, Error> {
        // SAFETY: the context is open, and has a device whose name is a C string.
        let name = unsafe { CStr::from_ptr((*(*verbs.as_ptr()).device).name.as_ptr()) }
            .to_string_lossy()
            .into_owned();
        set_nonblocking(async_fd(&verbs))
            .map_err(|e| error::os(Stage::Setup, format!("cannot read the events of {name}"), e))?;
        // SAFETY: the context is open.
        let pd = unsafe { (libs.ib.ibv_alloc_pd)(verbs.as_ptr()) };
        if pd.is_null() {
            let e = io::Error::last_os_error();
            return Err(error::os(Stage::Setup, format!("cannot create a protection domain on {name}"), e));
        }
        let adapter = probe::adapter(libs, verbs, pd, &name).inspect_err(|_| {
            // SAFETY: nothing uses the domain yet.
            unsafe { (libs.ib.ibv_dealloc_pd)(pd) };
        })?;
        Ok(Self {
            libs,
            id,
            verbs,
            adapter,
            alive: AtomicBool::new(true),
            users: AtomicUsize::new(0),
            resources: Mutex::new(Resources { pd, regions: Vec::new(), free: Vec::new() }),
            subscribers: Mutex::default(),
        })
    }

    pub(super) fn name(&self) -> &str {
        &self.adapter.name
    }

    /// What one of its ports is.
    pub(super) fn port(&self, number: u8) -> Option<&Device> {
        self.adapter.ports.iter().map(|port| &port.device).find(|device| device.port == number)
    }

    pub(super) fn is_alive(&self) -> bool {
        self.alive.load(Ordering::Acquire)
    }

    pub(super) fn mark_gone(&self) {
        self.alive.store(false, Ordering::Release);
    }

    /// The protection domain. Valid while an engine is counted among [`users`](Self::users).
    pub(super) fn pd(&self) -> *mut ffi::ibv_pd {
        locked(&self.resources).pd
    }

    /// The descriptor of asynchronous events.
    pub(super) fn async_fd(&self) -> BorrowedFd<'_> {
        async_fd(&self.verbs)
    }

    /// Makes memory known to the device.
    pub(super) fn register(&self, start: NonNull<u8>, len: usize) -> Result<Registered, Error> {
        let mut resources = locked(&self.resources);
        if resources.pd.is_null() || !self.is_alive() {
            let text = format!("{} has been removed", self.name());
            return Err(Error::new(Stage::Memory, ErrorKind::Unsupported, text));
        }
        // SAFETY: the domain is live, the caller owns the memory, and deregisters it before it is freed (`Registration`).
        let mr = unsafe { (self.libs.ib.ibv_reg_mr)(resources.pd, start.as_ptr().cast(), len, ACCESS) };
        if mr.is_null() {
            return Err(error::registration(self.name(), len, io::Error::last_os_error()));
        }
        let slot = match resources.free.pop() {
            Some(slot) => slot,
            None => {
                resources.regions.push(ptr::null_mut());
                resources.regions.len() - 1
            }
        };
        if let Some(place) = resources.regions.get_mut(slot) {
            *place = mr;
        }
        // SAFETY: the region is live.
        let (lkey, rkey) = unsafe { ((*mr).lkey, (*mr).rkey) };
        Ok(Registered { slot, lkey, rkey })
    }

    /// Makes the device forget memory.
    pub(super) fn deregister(&self, slot: usize) {
        let mut resources = locked(&self.resources);
        let Some(place) = resources.regions.get_mut(slot) else { return };
        let mr = std::mem::replace(place, ptr::null_mut());
        if mr.is_null() {
            return;
        }
        resources.free.push(slot);
        // SAFETY: the region is live and is forgotten here.
        let failed = unsafe { (self.libs.ib.ibv_dereg_mr)(mr) };
        if failed != 0 {
            tracing::warn!(device = self.name(), error = %error::of_code(failed), "memory cannot be deregistered");
        }
    }

    /// Gives up everything on the device. Nobody uses it any more.
    fn retire(&self) {
        let mut resources = locked(&self.resources);
        for place in &mut resources.regions {
            let mr = std::mem::replace(place, ptr::null_mut());
            if !mr.is_null() {
                // SAFETY: the region is live and is forgotten here; no queue pair is left to use it.
                unsafe { (self.libs.ib.ibv_dereg_mr)(mr) };
            }
        }
        let pd = std::mem::replace(&mut resources.pd, ptr::null_mut());
        if !pd.is_null() {
            // SAFETY: the domain is live, and nothing is left in it.
            unsafe { (self.libs.ib.ibv_dealloc_pd)(pd) };
        }
    }

    /// Has an engine told of what happens to the device.
    pub(super) fn subscribe(&self, inbox: &Arc<Inbox>) {
        let mut subscribers = locked(&self.subscribers);
        subscribers.retain(|other| other.strong_count() > 0);
        subscribers.push(Arc::downgrade(inbox));
    }

    /// Reads the device's events and tells all engines, whose they are only the engines know. False when there will be no more.
    pub(super) fn pump_events(&self) -> bool {
        let subscribers = locked(&self.subscribers);
        let tell = |make: &dyn Fn() -> Note| {
            for inbox in subscribers.iter().filter_map(Weak::upgrade) {
                inbox.put(make());
            }
        };
        let context = self.id;
        loop {
            // SAFETY: all zero is a valid event, which the call overwrites.
            let mut event: ffi::ibv_async_event = unsafe { std::mem::zeroed() };
            // SAFETY: the context is open, its descriptor does not block.
            if unsafe { (self.libs.ib.ibv_get_async_event)(self.verbs.as_ptr(), &raw mut event) } != 0 {
                let error = io::Error::last_os_error();
                if error::is_nothing(&error) {
                    return true;
                }
                // The kernel has cut the context off from the device.
                self.mark_gone();
                tell(&|| Note::DeviceGone { context });
                return false;
            }
            let what = event.event_type;
            match what {
                ffi::IBV_EVENT_QP_FATAL
                | ffi::IBV_EVENT_QP_REQ_ERR
                | ffi::IBV_EVENT_QP_ACCESS_ERR
                | ffi::IBV_EVENT_COMM_EST => {
                    // SAFETY: an event of these kinds names a queue pair, which is not freed before the event is acknowledged.
                    let qp_num = unsafe { (*event.element.qp).qp_num };
                    tell(&|| Note::QueuePair { context, qp_num, what });
                }
                ffi::IBV_EVENT_CQ_ERR => tell(&|| Note::CompletionQueue { context }),
                ffi::IBV_EVENT_DEVICE_FATAL => {
                    self.mark_gone();
                    tell(&|| Note::DeviceGone { context });
                }
                other => tracing::debug!(device = self.name(), event = other, "an event of the device"),
            }
            // SAFETY: the event came from the device and is acknowledged once.
            unsafe { (self.libs.ib.ibv_ack_async_event)(&raw mut event) };
        }
    }
}

fn async_fd(verbs: &NonNull<ffi::ibv_context>) -> BorrowedFd<'_> {
    // SAFETY: the context is open as long as the reference lives, and so is its descriptor.
    unsafe { BorrowedFd::borrow_raw((*verbs.as_ptr()).async_fd) }
}

/// Makes reads of a descriptor answer at once.
pub(super) fn set_nonblocking(fd: BorrowedFd<'_>) -> io::Result<()> {
    let flags = rustix::fs::fcntl_getfl(fd)?;
    Ok(rustix::fs::fcntl_setfl(fd, flags | rustix::fs::OFlags::NONBLOCK)?)
}
