//! Verbs by rdma-core: any adapter that has a Linux driver (iWARP, RoCE, InfiniBand), and the kernel's software ones, siw and rxe.
//!
//! libibverbs and librdmacm are loaded when they are first needed; where they are missing, or where there is no device,
//! [`RdmaCore`] declines and says what to install. Only the classical interface is used (`ibv_post_send`, `ibv_poll_cq`):
//! neither siw nor cxgb4 has the extended one. Deliberately absent: shared receive queues, resizing of completion queues
//! (iWARP adapters cannot), memory windows and fast registration (not available to user space everywhere), and forking: a
//! process that has opened an engine does not `fork` without `exec`.
//!
//! A device can be removed while it is used: its connections end with `DeviceRemoved`, as soon as the kernel tells. librdmacm
//! keeps a device open for as long as it is listed, so a driver that waits for its users is gone only when this process ends.
//!
//! Start with `context` for what belongs to the process, then `engine` for what belongs to one thread; `cm` has the
//! connections' lives, `path` the data path, `probe` what can be shown to people.
#![allow(unsafe_code, reason = "calls libibverbs and librdmacm; each block says why it may")]

mod address;
mod budget;
mod cm;
mod conn;
mod context;
mod engine;
mod error;
mod inbox;
mod memory;
mod path;
mod probe;
mod queues;

use std::{
    mem::ManuallyDrop,
    net::{IpAddr, SocketAddr},
    os::fd::{AsFd, BorrowedFd},
    ptr::NonNull,
    sync::Arc,
    time::{Duration, Instant},
};

use nvmf_transport::{Error, ErrorKind, Memory, Offer, Region, Stage, Target};
use rustix::{event::epoll, time::Timespec};
use smallvec::SmallVec;

pub use crate::ffi::LoadError;
pub use probe::{Adapter, Port, PortState, Report};

use self::{
    address::CAddress,
    context::{Context, Stack},
    engine::Engine,
    memory::Registrations,
};
use crate::verbs::{
    Capacity, CmEvent, Completion, ConnId, ConnParams, Device, Keys, Kind, ListenId, Provider, QpCaps,
    RecvRequest, RemoteAccess, RemoteKey, SendRequest, Verbs,
};

/// What to say where everything is installed and there is nothing to use it with.
const NO_DEVICE: &str = "this machine has no RDMA device (`rdma link` lists them)";

/// Hardware is sure of itself; what the kernel does in software is still asked for by having been set up.
const PREFERENCE_HARDWARE: u8 = 80;
const PREFERENCE_SOFTWARE: u8 = 60;

/// The verbs of the system. One value is like another: devices and memory are shared by the whole process.
#[derive(Clone, Copy, Debug, Default)]
pub struct RdmaCore;

impl RdmaCore {
    /// The system's verbs. Loads nothing yet.
    pub fn new() -> Self {
        Self
    }

    /// What there is and what stands in its way, for people.
    pub fn report(&self) -> Report {
        let (library, adapters) = match context::stack() {
            Ok(stack) => (Ok(()), stack.contexts().iter().map(|context| context.adapter.clone()).collect()),
            Err(error) => (Err(error), Vec::new()),
        };
        Report { library, memlock: error::memlock(), adapters }
    }
}

/// The device that owns a local address. The kernel knows; nothing is sent.
fn device_at(stack: &'static Stack, local: IpAddr) -> std::io::Result<Option<(Arc<Context>, u8)>> {
    let last = std::io::Error::last_os_error;
    // SAFETY: the function may be called at any time.
    let channel = NonNull::new(unsafe { (stack.libs.cm.rdma_create_event_channel)() }).ok_or_else(last)?;
    let found = engine::create_id(stack.libs, channel).and_then(|id| {
        let bound = engine::bind(stack.libs, id, &CAddress::new(SocketAddr::new(local, 0)));
        // SAFETY: the identifier is live; the context is null unless it was bound to a device.
        let (verbs, port) = unsafe { ((*id).verbs, (*id).port_num) };
        let context = bound.map(|()| if verbs.is_null() { None } else { stack.context_of(verbs) });
        // SAFETY: the identifier is live and has no events and no queue pair.
        unsafe { (stack.libs.cm.rdma_destroy_id)(id) };
        Ok(context?.map(|context| (context, port)))
    });
    // SAFETY: the channel is live and nothing is left on it.
    unsafe { (stack.libs.cm.rdma_destroy_event_channel)(channel.as_ptr()) };
    found
}

fn decline(because: impl Into<String>) -> Offer {
    Offer::Decline { because: because.into() }
}

fn accept(context: &Context, because: String) -> Offer {
    let preference = if context.adapter.software { PREFERENCE_SOFTWARE } else { PREFERENCE_HARDWARE };
    Offer::Accept { preference, because }
}

fn offer(stack: &'static Stack, target: &Target) -> Offer {
    let contexts = stack.contexts();
    let Some(first) = contexts.first() else { return decline(NO_DEVICE) };
    let ip = target.address.ip();
    if ip.is_unspecified() {
        let names: Vec<&str> = contexts.iter().map(|context| context.name()).collect();
        return accept(first, format!("listens on {}", names.join(", ")));
    }
    let local = match address::source_towards(target.address) {
        Ok(local) => local,
        Err(error) => return decline(format!("this machine has no route to {ip}: {error}")),
    };
    match device_at(stack, local) {
        Ok(Some((context, port))) => {
            let kind = context.port(port).map_or_else(|| "RDMA".into(), |device| device.kind.to_string());
            let because = format!(
                "the route to {ip} leaves over {} ({kind}, {})",
                context.name(),
                context.adapter.driver
            );
            accept(&context, because)
        }
        Ok(None) => decline(format!("the route to {ip} leaves by {local}, which no RDMA device has")),
        Err(error) => {
            decline(format!("the route to {ip} leaves by {local}, which no RDMA device has ({error})"))
        }
    }
}

impl Provider for RdmaCore {
    type Verbs = RdmaCoreVerbs;

    fn name(&self) -> &'static str {
        "verbs"
    }

    fn offer(&self, target: &Target) -> Offer {
        match context::stack() {
            Ok(stack) => offer(stack, target),
            Err(error) => decline(error.to_string()),
        }
    }

    fn devices(&self) -> Vec<Device> {
        let Ok(stack) = context::stack() else { return Vec::new() };
        let contexts = stack.contexts();
        contexts.iter().flat_map(|context| &context.adapter.ports).map(|port| port.device.clone()).collect()
    }

    fn kind_at(&self, local: IpAddr) -> Option<Kind> {
        let stack = context::stack().ok()?;
        if local.is_unspecified() {
            let mut kinds = self.devices().into_iter().map(|device| device.kind);
            let first = kinds.next()?;
            return kinds.all(|kind| kind == first).then_some(first);
        }
        let (context, port) = device_at(stack, local).ok().flatten()?;
        context.port(port).map(|device| device.kind)
    }

    fn least(&self) -> Device {
        probe::least(&self.devices())
    }

    fn open(&self, capacity: &Capacity) -> Result<RdmaCoreVerbs, Error> {
        let stack = context::stack().map_err(|error| {
            Error::new(Stage::Setup, ErrorKind::Unsupported, error.to_string()).with_source(error)
        })?;
        let engine = Engine::open(stack, *capacity)?;
        Ok(RdmaCoreVerbs { engine: ManuallyDrop::new(Box::new(engine)) })
    }
}

/// Verbs of one engine, over all RDMA devices of the machine.
pub struct RdmaCoreVerbs {
    engine: ManuallyDrop<Box<Engine>>,
}

impl Drop for RdmaCoreVerbs {
    fn drop(&mut self) {
        // SAFETY: taken once, here.
        let mut engine = unsafe { ManuallyDrop::take(&mut self.engine) };
        if !engine.shut_down() {
            // Connect calls are under way. They have touched no memory yet and will not, but have to be waited for.
            let work = move || engine.wait_and_end();
            if let Err(error) = std::thread::Builder::new().name("rdma-closing".into()).spawn(work) {
                tracing::warn!(%error, "no thread to end an RDMA engine in");
            }
        }
    }
}

impl std::fmt::Debug for RdmaCoreVerbs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RdmaCoreVerbs").field("connections", &self.engine.conns.len()).finish_non_exhaustive()
    }
}

impl Keys for RdmaCoreVerbs {
    fn local_key(&mut self, conn: ConnId, region: &Region) -> Option<u32> {
        let context = self.engine.conns.look(conn)?.context.as_ref()?.id;
        Registrations::of(region, context).map(|keys| keys.lkey)
    }

    unsafe fn expose(
        &mut self,
        conn: ConnId,
        region: &Region,
        start: *mut u8,
        _len: u32,
        _access: RemoteAccess,
    ) -> Result<RemoteKey, Error> {
        let context = self.engine.conns.look(conn).and_then(|conn| conn.context.as_ref());
        let keys = context.and_then(|context| Registrations::of(region, context.id)).ok_or_else(|| {
            let text = "the memory is not registered with the device of the connection";
            Error::new(Stage::Memory, ErrorKind::Unsupported, text)
        })?;
        Ok(RemoteKey { address: start.expose_provenance() as u64, key: keys.rkey, invalidate: false })
    }

    fn withdraw(&mut self, _conn: ConnId, _key: u32) {}
}

impl Verbs for RdmaCoreVerbs {
    fn memory(&self) -> Arc<dyn Memory> {
        self.engine.memory.clone()
    }

    fn wait_handle(&self) -> BorrowedFd<'_> {
        self.engine.epoll.as_fd()
    }

    fn next_timeout(&self) -> Option<Instant> {
        // The kernel keeps the connection manager's times, and reports their end as an event.
        None
    }

    fn listen(&mut self, at: SocketAddr) -> Result<(ListenId, SocketAddr), Error> {
        self.engine.listen(at)
    }

    fn unlisten(&mut self, listener: ListenId) {
        self.engine.unlisten(listener);
    }

    fn connect(
        &mut self,
        to: SocketAddr,
        from: Option<SocketAddr>,
        timeout: Duration,
    ) -> Result<ConnId, Error> {
        #[expect(
            clippy::disallowed_methods,
            reason = "a driver: the time for the route is what the address left over"
        )]
        let now = Instant::now();
        self.engine.connect(to, from, timeout, now)
    }

    fn device(&self, conn: ConnId) -> Option<&Device> {
        let conn = self.engine.conns.look(conn)?;
        conn.context.as_ref()?.port(conn.port)
    }

    fn addresses(&self, conn: ConnId) -> Option<(SocketAddr, SocketAddr)> {
        self.engine.addresses(conn)
    }

    fn create_qp(&mut self, conn: ConnId, caps: &QpCaps) -> Result<QpCaps, Error> {
        self.engine.create_qp(conn, caps)
    }

    fn request(&mut self, conn: ConnId, params: &ConnParams<'_>) -> Result<(), Error> {
        self.engine.request(conn, params)
    }

    fn accept(&mut self, conn: ConnId, params: &ConnParams<'_>) -> Result<(), Error> {
        self.engine.accept(conn, params)
    }

    fn reject(&mut self, conn: ConnId, private_data: &[u8]) -> Result<(), Error> {
        self.engine.reject(conn, private_data)
    }

    fn disconnect(&mut self, conn: ConnId) {
        self.engine.disconnect(conn);
    }

    fn destroy(&mut self, conn: ConnId) {
        self.engine.destroy(conn);
    }

    unsafe fn post_recv(&mut self, conn: ConnId, requests: &[RecvRequest]) -> Result<(), Error> {
        // SAFETY: the caller's promise is the same.
        unsafe { self.engine.post_recv(conn, requests) }
    }

    unsafe fn post_send(&mut self, conn: ConnId, requests: &[SendRequest]) -> Result<(), Error> {
        // SAFETY: the caller's promise is the same.
        unsafe { self.engine.post_send(conn, requests) }
    }

    fn progress(&mut self, now: Instant, events: &mut Vec<CmEvent>) -> Result<(), Error> {
        let engine = &mut **self.engine;
        for token in ready_tokens(engine)? {
            match token {
                engine::CM => engine.take_cm_events(now, events)?,
                engine::INBOX => {}
                token => {
                    let index = usize::try_from((token - engine::FIRST_DEVICE) / 2).unwrap_or(usize::MAX);
                    let Some(Some(device)) = engine.devices.get_mut(index) else { continue };
                    if token % 2 == engine::FIRST_DEVICE % 2 {
                        if !device.take_events() {
                            let _ = epoll::delete(&engine.epoll, device.channel_fd());
                        }
                    } else if !device.context.pump_events() {
                        let _ = epoll::delete(&engine.epoll, device.context.async_fd());
                    }
                }
            }
        }
        // Last, so that what devices have just reported, to this engine too, is told at once.
        engine.take_notes(events);
        Ok(())
    }

    fn flush(&mut self, _now: Instant) -> Result<(), Error> {
        Ok(())
    }

    fn poll_cq(&mut self, into: &mut [Completion]) -> Result<usize, Error> {
        self.engine.poll_cq(into)
    }

    fn arm(&mut self) -> Result<bool, Error> {
        self.engine.arm()
    }
}

/// Which descriptors have something, without waiting.
fn ready_tokens(engine: &Engine) -> Result<SmallVec<[u64; 16]>, Error> {
    let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
    let blank = epoll::Event { flags: epoll::EventFlags::empty(), data: epoll::EventData::new_u64(0) };
    let mut found = [blank; 16];
    let count = match epoll::wait(&engine.epoll, &mut found, Some(&at_once)) {
        Ok(count) => count,
        Err(rustix::io::Errno::INTR) => 0,
        Err(error) => return Err(error::os(Stage::Transfer, "cannot wait for RDMA devices", error.into())),
    };
    Ok(found.iter().take(count).map(|event| event.data.u64()).collect())
}

#[cfg(test)]
mod tests {
    use nvmf_transport::Wire;

    use super::*;

    /// On a machine with devices this is what the tests of the virtual machine are for.
    fn without_devices() -> bool {
        let none = RdmaCore.devices().is_empty();
        if !none {
            println!("skipped: this machine has RDMA devices");
        }
        none
    }

    #[test]
    fn a_machine_without_verbs_declines_and_says_why() {
        if !without_devices() {
            return;
        }
        let target = Target::new(Wire::RDMA, "127.0.0.1:4420".parse().unwrap());
        let Offer::Decline { because } = RdmaCore.offer(&target) else { panic!("there is no device") };
        assert!(because.contains("install") || because.contains("no RDMA device"), "{because}");
        let capacity = Capacity { connections: 1, completions: 8, backlog: 1 };
        let error = RdmaCore.open(&capacity).unwrap_err();
        assert_eq!((error.stage(), error.kind()), (Stage::Setup, ErrorKind::Unsupported));
        assert!(RdmaCore.report().adapters.is_empty());
    }

    #[test]
    fn limits_are_known_without_a_device() {
        let least = RdmaCore.least();
        assert!(least.max_read_sge >= 1 && least.max_send_sge >= 1 && least.max_private_data >= 32);
        assert_eq!(RdmaCore.name(), "verbs");
    }
}
