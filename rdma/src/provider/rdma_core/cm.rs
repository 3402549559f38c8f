//! Connections come and go: calls to the connection manager, and its events.

use std::{
    ffi::{c_int, c_void},
    io,
    net::SocketAddr,
    ptr,
    sync::Arc,
    time::{Duration, Instant},
};

use nvmf_transport::{Error, ErrorKind, Stage};

use super::{
    address::{self, CAddress},
    conn::{Phase, QueuePair},
    engine::{Engine, Listener, bind, create_id, new_conn},
    error,
    inbox::Note,
};
use crate::{
    ffi,
    verbs::{CmEvent, ConnId, ConnParams, Depths, Ending, Kind, ListenId, PrivateData, QpCaps},
};

/// Events taken from the connection manager in one go; more are left for the next.
const BATCH: usize = 64;

/// An event, copied so that it can be acknowledged before anything is done about it.
struct Event {
    id: *mut ffi::rdma_cm_id,
    listener: *mut ffi::rdma_cm_id,
    what: ffi::rdma_cm_event_type,
    status: c_int,
    private_data: PrivateData,
    depths: Depths,
}

/// An identifier on its way to the thread that connects it.
struct Connecting {
    libs: &'static crate::ffi::Libraries,
    id: *mut ffi::rdma_cm_id,
    private_data: PrivateData,
    depths: Depths,
}

// SAFETY: the identifier is not destroyed before the thread has said that it is done (`Conn::connecting`), and librdmacm's calls
// on different threads do not disturb each other.
unsafe impl Send for Connecting {}

impl Connecting {
    fn run(&self) -> io::Result<()> {
        let mut param = conn_param(&self.private_data, self.depths);
        // SAFETY: the identifier is live, `param` and the private data are during the call.
        let failed = unsafe { (self.libs.cm.rdma_connect)(self.id, &raw mut param) };
        if failed == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }
}

fn conn_param(private_data: &[u8], depths: Depths) -> ffi::rdma_conn_param {
    ffi::rdma_conn_param {
        private_data: private_data.as_ptr().cast::<c_void>(),
        private_data_len: u8::try_from(private_data.len()).unwrap_or(u8::MAX),
        responder_resources: depths.responder,
        initiator_depth: depths.initiator,
        flow_control: 1,
        // The most that InfiniBand has: about half a minute of silence, and for ever where the peer is only slow to post.
        retry_count: 7,
        rnr_retry_count: 7,
        srq: 0,
        qp_num: 0,
    }
}

fn out_of_order(stage: Stage, what: &'static str) -> Error {
    Error::new(stage, ErrorKind::Io, what)
}

fn unknown(stage: Stage) -> Error {
    out_of_order(stage, "no such RDMA connection")
}

impl Engine {
    pub(super) fn listen(&mut self, at: SocketAddr) -> Result<(ListenId, SocketAddr), Error> {
        let fail =
            |what: &str, e: io::Error| error::os(Stage::Listen, format!("cannot {what} {at} by RDMA"), e);
        let id = create_id(self.libs(), self.channel).map_err(|e| fail("listen at", e))?;
        match self.bind_and_listen(id, at) {
            Ok(got) => {
                let name = ListenId(self.next_listener);
                self.next_listener = self.next_listener.wrapping_add(1);
                self.listeners.push(Listener { name, id });
                Ok((name, got))
            }
            Err(e) => {
                self.destroy_id(id);
                // What is not an address of an RDMA device has no port there.
                if e.raw_os_error() == Some(19) {
                    let text = format!("cannot listen at {at}: the address is not one of an RDMA device");
                    return Err(Error::new(Stage::Listen, ErrorKind::AddressUnavailable, text).with_source(e));
                }
                Err(fail("listen at", e))
            }
        }
    }

    fn bind_and_listen(&self, id: *mut ffi::rdma_cm_id, at: SocketAddr) -> io::Result<SocketAddr> {
        let set = |option: u32| {
            let mut on: c_int = 1;
            // SAFETY: the identifier is live and the value has the length that is said.
            unsafe {
                (self.libs().cm.rdma_set_option)(
                    id,
                    ffi::RDMA_OPTION_ID as c_int,
                    option as c_int,
                    (&raw mut on).cast(),
                    size_of::<c_int>(),
                )
            };
        };
        // A daemon that is restarted gets its port although connections of the former one are still ending.
        set(ffi::RDMA_OPTION_ID_REUSEADDR);
        if at.is_ipv6() {
            // [::] leaves 0.0.0.0 to another listener, as it does over TCP here.
            set(ffi::RDMA_OPTION_ID_AFONLY);
        }
        bind(self.libs(), id, &CAddress::new(at))?;
        let backlog = c_int::from(self.capacity.backlog.max(1));
        // SAFETY: the identifier is live and bound.
        if unsafe { (self.libs().cm.rdma_listen)(id, backlog) } != 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the identifier is live.
        let (local, _) = unsafe { address::of_id(id) };
        Ok(local.unwrap_or(at))
    }

    pub(super) fn unlisten(&mut self, name: ListenId) {
        if let Some(index) = self.listeners.iter().position(|listener| listener.name == name) {
            let listener = self.listeners.swap_remove(index);
            self.destroy_id(listener.id);
        }
    }

    pub(super) fn connect(
        &mut self,
        to: SocketAddr,
        from: Option<SocketAddr>,
        timeout: Duration,
        now: Instant,
    ) -> Result<ConnId, Error> {
        if self.conns.len() >= self.capacity.connections {
            let text = format!("all {} RDMA connections are taken", self.capacity.connections);
            return Err(Error::new(Stage::Connect, ErrorKind::Resources, text));
        }
        let fail = |e| error::os(Stage::Connect, format!("cannot find a way to {to} by RDMA"), e);
        let id = create_id(self.libs(), self.channel).map_err(fail)?;
        let name = self.conns.insert(new_conn(id, Phase::Resolving { until: now + timeout }, true));
        self.label(id, name);
        let to = CAddress::new(to);
        let from = from.map(CAddress::new);
        let source = from.as_ref().map_or(ptr::null_mut(), CAddress::as_ptr);
        // SAFETY: the identifier is live, the addresses are during the call.
        let failed =
            unsafe { (self.libs().cm.rdma_resolve_addr)(id, source, to.as_ptr(), milliseconds(timeout)) };
        if failed != 0 {
            let e = io::Error::last_os_error();
            self.bury(name.slot);
            return Err(fail(e));
        }
        Ok(name)
    }

    /// Writes a connection's slot into its identifier, from where events bring it back.
    fn label(&self, id: *mut ffi::rdma_cm_id, name: ConnId) {
        // SAFETY: the identifier is live; the library passes the value on and does not look at it.
        unsafe { (*id).context = ptr::without_provenance_mut(name.slot as usize + 1) };
    }

    pub(super) fn create_qp(&mut self, name: ConnId, caps: &QpCaps) -> Result<QpCaps, Error> {
        let conn = self.conns.live(name).ok_or_else(|| unknown(Stage::Connect))?;
        let (Phase::Ready, None, Some(context)) = (conn.phase, conn.qp, conn.context.clone()) else {
            return Err(out_of_order(Stage::Connect, "the RDMA connection is not ready for a queue pair"));
        };
        let id = conn.id;
        let (send_wr, recv_wr) = (caps.send_wr.max(1), caps.recv_wr.max(1));
        let device = self.device(&context)?;
        let Some(Some(queues)) = self.devices.get_mut(device) else { return Err(unknown(Stage::Connect)) };
        let known = queues.len();
        let pair = queues.reserve(send_wr, recv_wr)?;
        let (send_cq, recv_cq) = queues.pair(pair).ok_or_else(|| unknown(Stage::Connect))?;
        let more = queues.len() != known;

        // SAFETY: all zero (null pointers, no capacities) is valid.
        let mut attr: ffi::ibv_qp_init_attr = unsafe { std::mem::zeroed() };
        attr.send_cq = send_cq;
        attr.recv_cq = recv_cq;
        attr.qp_type = ffi::IBV_QPT_RC;
        attr.cap = ffi::ibv_qp_cap {
            max_send_wr: send_wr,
            max_recv_wr: recv_wr,
            max_send_sge: u32::from(caps.send_sge.max(1)),
            max_recv_sge: u32::from(caps.recv_sge.max(1)),
            max_inline_data: caps.inline,
        };
        // SAFETY: identifier and queues are live and of one device, the domain is, since this engine is counted as its user.
        let failed = unsafe { (self.stack.libs.cm.rdma_create_qp)(id, context.pd(), &raw mut attr) };
        if failed != 0 {
            let e = io::Error::last_os_error();
            queues.release(pair, send_wr, recv_wr);
            if more {
                self.reorder();
            }
            let text = format!(
                "cannot create a queue pair of {send_wr} sends and {recv_wr} receives on {}",
                context.name()
            );
            return Err(error::os(Stage::Connect, text, e));
        }
        // SAFETY: the identifier is live, and has a queue pair now.
        let (qp, number) = unsafe { ((*id).qp, (*(*id).qp).qp_num) };
        queues.slots.insert(number, name.slot);
        if more {
            self.reorder();
        }
        if let Some(conn) = self.conns.live(name) {
            conn.qp = Some(QueuePair { qp, number, device, pair, send_wr, recv_wr });
        }
        let sge = |granted: u32, asked: u16| u16::try_from(granted).unwrap_or(u16::MAX).max(asked);
        Ok(QpCaps {
            // What the device rounded up to has no room in the completion queues.
            send_wr,
            recv_wr,
            send_sge: sge(attr.cap.max_send_sge, caps.send_sge),
            recv_sge: sge(attr.cap.max_recv_sge, caps.recv_sge),
            inline: attr.cap.max_inline_data.max(caps.inline),
        })
    }

    pub(super) fn request(&mut self, name: ConnId, params: &ConnParams<'_>) -> Result<(), Error> {
        let libs = self.libs();
        let inbox = self.inbox.clone();
        let conn = self.conns.live(name).ok_or_else(|| unknown(Stage::Connect))?;
        if conn.phase != Phase::Ready || !conn.active || conn.qp.is_none() {
            return Err(out_of_order(Stage::Connect, "the RDMA connection is not ready to be asked for"));
        }
        let job = Connecting {
            libs,
            id: conn.id,
            private_data: checked(params.private_data)?,
            depths: params.depths,
        };
        conn.depths = params.depths;
        conn.phase = Phase::Pending;
        if kind(conn) != Kind::Iwarp {
            return job.run().map_err(|e| error::os(Stage::Connect, "cannot connect by RDMA", e));
        }
        // Software iWARP makes its TCP connection within the call.
        conn.connecting = true;
        let work = move || {
            let result = job.run();
            inbox.put(Note::Connected { conn: name, result });
        };
        std::thread::Builder::new()
            .name("rdma-connect".into())
            .stack_size(128 * 1024)
            .spawn(work)
            .map(drop)
            .map_err(|e| {
                if let Some(conn) = self.conns.live(name) {
                    conn.connecting = false;
                }
                Error::new(Stage::Connect, ErrorKind::Resources, "no thread to connect in").with_source(e)
            })
    }

    pub(super) fn accept(&mut self, name: ConnId, params: &ConnParams<'_>) -> Result<(), Error> {
        let libs = self.libs();
        let conn = self.conns.live(name).ok_or_else(|| unknown(Stage::Negotiate))?;
        if conn.phase != Phase::Ready || conn.active || conn.qp.is_none() {
            return Err(out_of_order(Stage::Negotiate, "the RDMA connection is not ready to be accepted"));
        }
        let private_data = checked(params.private_data)?;
        let mut param = conn_param(&private_data, params.depths);
        conn.depths = params.depths;
        conn.phase = Phase::Pending;
        // SAFETY: the identifier is live, `param` and the private data are during the call.
        if unsafe { (libs.cm.rdma_accept)(conn.id, &raw mut param) } != 0 {
            let e = io::Error::last_os_error();
            return Err(error::os(Stage::Negotiate, "cannot accept an RDMA connection", e));
        }
        Ok(())
    }

    pub(super) fn reject(&mut self, name: ConnId, private_data: &[u8]) -> Result<(), Error> {
        let libs = self.libs();
        let conn = self.conns.live(name).ok_or_else(|| unknown(Stage::Negotiate))?;
        if conn.phase != Phase::Ready || conn.active {
            return Err(out_of_order(Stage::Negotiate, "the RDMA connection cannot be rejected any more"));
        }
        let private_data = checked(private_data)?;
        conn.phase = Phase::Over;
        reject_id(libs, conn.id, &private_data)
            .map_err(|e| error::os(Stage::Negotiate, "cannot reject an RDMA connection", e))
    }

    pub(super) fn disconnect(&mut self, name: ConnId) {
        let libs = self.libs();
        let Some(conn) = self.conns.live(name) else { return };
        match conn.phase {
            Phase::Over => {}
            Phase::Up if !conn.connecting => {
                // SAFETY: the identifier is live.
                if unsafe { (libs.cm.rdma_disconnect)(conn.id) } != 0 {
                    // The peer was first: its event is on the way, or has been missed, and what is sure is that it is over.
                    let qp = conn.qp;
                    self.break_off(qp);
                    self.end(name, Ending::Orderly);
                }
            }
            _ => {
                let qp = conn.qp;
                self.break_off(qp);
                self.end(name, Ending::Orderly);
            }
        }
    }

    /// Reports the end of a connection with the next events.
    fn end(&mut self, name: ConnId, ending: Ending) {
        let Some(conn) = self.conns.live(name) else { return };
        if conn.phase != Phase::Over {
            conn.phase = Phase::Over;
            self.pending.push(CmEvent::Disconnected { conn: name, ending });
            self.inbox.put(Note::Look);
        }
    }

    /// Takes what the connection manager has to report.
    pub(super) fn take_cm_events(&mut self, now: Instant, events: &mut Vec<CmEvent>) -> Result<(), Error> {
        for _ in 0..BATCH {
            let mut event = ptr::null_mut();
            // SAFETY: the channel is live and does not block.
            if unsafe { (self.libs().cm.rdma_get_cm_event)(self.channel.as_ptr(), &raw mut event) } != 0 {
                let e = io::Error::last_os_error();
                // Without any device left the library answers that instead of "nothing".
                if error::is_nothing(&e) || e.raw_os_error() == Some(19) {
                    return Ok(());
                }
                return Err(error::os(Stage::Connect, "cannot read the connection manager's events", e));
            }
            // SAFETY: the event is valid until it is acknowledged; the private data is within it, and as long as it says.
            let copy = unsafe {
                let conn = &(*event).param.conn;
                let private_data = if conn.private_data.is_null() {
                    PrivateData::new()
                } else {
                    let len = usize::from(conn.private_data_len);
                    PrivateData::from_slice(std::slice::from_raw_parts(conn.private_data.cast::<u8>(), len))
                };
                Event {
                    id: (*event).id,
                    listener: (*event).listen_id,
                    what: (*event).event,
                    status: (*event).status,
                    private_data,
                    depths: Depths { initiator: conn.initiator_depth, responder: conn.responder_resources },
                }
            };
            // SAFETY: each event is acknowledged once. It is done before anything else, because destroying an identifier waits for it.
            unsafe { (self.libs().cm.rdma_ack_cm_event)(event) };
            self.handle(copy, now, events);
        }
        // The descriptor is still readable.
        Ok(())
    }

    fn handle(&mut self, event: Event, now: Instant, events: &mut Vec<CmEvent>) {
        if event.what == ffi::RDMA_CM_EVENT_CONNECT_REQUEST {
            self.requested(event, events);
            return;
        }
        // SAFETY: an identifier lives until it is destroyed here, and the kernel drops the events of destroyed ones.
        let carried = unsafe { (*event.id).context }.addr();
        let Some(slot) = self.conns.slot_of(event.id, carried) else {
            if event.what == ffi::RDMA_CM_EVENT_DEVICE_REMOVAL {
                tracing::warn!("the RDMA device of a listener has been removed");
            }
            return;
        };
        let Some(name) = self.conns.name(slot) else { return };
        match event.what {
            ffi::RDMA_CM_EVENT_ADDR_RESOLVED => self.address_resolved(name, now, events),
            ffi::RDMA_CM_EVENT_ROUTE_RESOLVED => self.route_resolved(name, events),
            ffi::RDMA_CM_EVENT_ADDR_ERROR | ffi::RDMA_CM_EVENT_ROUTE_ERROR => {
                self.failed(name, "no way there by RDMA", event.status, events);
            }
            ffi::RDMA_CM_EVENT_CONNECT_ERROR | ffi::RDMA_CM_EVENT_UNREACHABLE => {
                self.failed(name, "the RDMA connection was not made", event.status, events);
            }
            ffi::RDMA_CM_EVENT_REJECTED => self.rejected(name, event, events),
            ffi::RDMA_CM_EVENT_ESTABLISHED => {
                let Some(conn) = self.conns.live(name) else { return };
                if conn.phase != Phase::Pending {
                    return;
                }
                conn.phase = Phase::Up;
                let mut depths = conn.depths;
                let mut private_data = PrivateData::new();
                if conn.active {
                    depths = settled(kind(conn), depths, event.depths);
                    private_data = event.private_data;
                }
                events.push(CmEvent::Established { conn: name, private_data, depths });
            }
            ffi::RDMA_CM_EVENT_DISCONNECTED => self.disconnected(name, events),
            ffi::RDMA_CM_EVENT_DEVICE_REMOVAL => {
                if let Some(context) = self.conns.live(name).and_then(|conn| conn.context.clone()) {
                    context.mark_gone();
                }
                self.removed(name, events);
            }
            _ => {}
        }
    }

    fn requested(&mut self, event: Event, events: &mut Vec<CmEvent>) {
        let listener = self.listeners.iter().find(|listener| listener.id == event.listener).map(|l| l.name);
        // SAFETY: the identifier is new and ours.
        let (verbs, port) = unsafe { ((*event.id).verbs, (*event.id).port_num) };
        let context = self.stack.context_of(verbs);
        let (Some(listener), Some(context)) = (listener, context) else {
            let _ = reject_id(self.libs(), event.id, &[]);
            self.destroy_id(event.id);
            return;
        };
        if self.conns.len() >= self.capacity.connections {
            tracing::warn!(
                limit = self.capacity.connections,
                "an RDMA connection is turned down: all are taken"
            );
            let _ = reject_id(self.libs(), event.id, &[]);
            self.destroy_id(event.id);
            return;
        }
        let mut conn = new_conn(event.id, Phase::Ready, false);
        conn.context = Some(context);
        conn.port = port;
        let name = self.conns.insert(conn);
        self.label(event.id, name);
        events.push(CmEvent::Requested {
            conn: name,
            listener,
            private_data: event.private_data,
            depths: event.depths,
        });
    }

    fn address_resolved(&mut self, name: ConnId, now: Instant, events: &mut Vec<CmEvent>) {
        let libs = self.libs();
        let Some(conn) = self.conns.live(name) else { return };
        let Phase::Resolving { until } = conn.phase else { return };
        let left = milliseconds(until.saturating_duration_since(now));
        // SAFETY: the identifier is live and has found its address.
        if unsafe { (libs.cm.rdma_resolve_route)(conn.id, left) } != 0 {
            let status = io::Error::last_os_error().raw_os_error().unwrap_or(0);
            self.failed(name, "no route there by RDMA", -status, events);
        }
    }

    fn route_resolved(&mut self, name: ConnId, events: &mut Vec<CmEvent>) {
        let stack = self.stack;
        let Some(conn) = self.conns.live(name) else { return };
        if !matches!(conn.phase, Phase::Resolving { .. }) {
            return;
        }
        // SAFETY: the identifier is live.
        let (verbs, port) = unsafe { ((*conn.id).verbs, (*conn.id).port_num) };
        let Some(context) = stack.context_of(verbs) else {
            self.failed(name, "the route leads over a device that cannot be used", -19, events);
            return;
        };
        conn.context = Some(context);
        conn.port = port;
        conn.phase = Phase::Ready;
        events.push(CmEvent::Resolved { conn: name });
    }

    /// A connection that does not come to be, or no longer is.
    fn failed(&mut self, name: ConnId, what: &str, status: c_int, events: &mut Vec<CmEvent>) {
        let Some(conn) = self.conns.live(name) else { return };
        let was = std::mem::replace(&mut conn.phase, Phase::Over);
        let error = error::refused(kind(conn), what, status);
        match was {
            Phase::Over => {}
            Phase::Up => events.push(CmEvent::Disconnected { conn: name, ending: Ending::Failed(error) }),
            _ => events.push(CmEvent::Failed { conn: name, error }),
        }
    }

    fn rejected(&mut self, name: ConnId, event: Event, events: &mut Vec<CmEvent>) {
        const BY_THE_PEER_ITSELF: c_int = 28;
        const CONNECTION_RESET: c_int = -104;
        let Some(conn) = self.conns.live(name) else { return };
        // On iWARP a peer without listener and one that says no without a word are told apart only by what siw makes of the
        // latter: it reports a reset.
        let by_peer = match kind(conn) {
            Kind::Iwarp => !event.private_data.is_empty() || event.status == CONNECTION_RESET,
            _ => event.status == BY_THE_PEER_ITSELF,
        };
        if !by_peer {
            self.failed(name, "the RDMA connection was refused", event.status, events);
        } else if conn.phase != Phase::Over {
            conn.phase = Phase::Over;
            events.push(CmEvent::Rejected { conn: name, private_data: event.private_data });
        }
    }

    fn disconnected(&mut self, name: ConnId, events: &mut Vec<CmEvent>) {
        let libs = self.libs();
        let Some(conn) = self.conns.live(name) else { return };
        let was = std::mem::replace(&mut conn.phase, Phase::Over);
        let (id, qp) = (conn.id, conn.qp);
        match was {
            Phase::Up => {
                // InfiniBand's peer waits for the answer. On iWARP the connection is gone and the call fails.
                // SAFETY: the identifier is live.
                unsafe { (libs.cm.rdma_disconnect)(id) };
                events.push(CmEvent::Disconnected { conn: name, ending: Ending::Orderly });
            }
            Phase::Over => {}
            _ => {
                let text = "the peer left while the connection was being made";
                let error = Error::new(Stage::Connect, ErrorKind::Reset, text);
                events.push(CmEvent::Failed { conn: name, error });
            }
        }
        // So that what is outstanding is flushed, whichever side ended it.
        self.break_off(qp);
    }

    fn removed(&mut self, name: ConnId, events: &mut Vec<CmEvent>) {
        if let Some(conn) = self.conns.live(name)
            && conn.phase != Phase::Over
        {
            conn.phase = Phase::Over;
            events.push(CmEvent::DeviceRemoved { conn: name });
        }
    }

    /// Takes what other threads have to report.
    pub(super) fn take_notes(&mut self, events: &mut Vec<CmEvent>) {
        for note in self.inbox.take() {
            match note {
                Note::Look => {}
                Note::Connected { conn: name, result } => self.connect_returned(name, result, events),
                Note::QueuePair { context, qp_num, what } => {
                    self.queue_pair_event(context, qp_num, what, events)
                }
                Note::CompletionQueue { context } => {
                    for name in self.on_device(context) {
                        let text = "a completion queue of the device failed";
                        self.broken(name, Error::new(Stage::Transfer, ErrorKind::Resources, text), events);
                    }
                }
                Note::DeviceGone { context } => {
                    for name in self.on_device(context) {
                        self.removed(name, events);
                    }
                    self.let_go_of_removed();
                }
            }
        }
        events.append(&mut self.pending);
    }

    fn connect_returned(&mut self, name: ConnId, result: io::Result<()>, events: &mut Vec<CmEvent>) {
        // Forsaken connections keep their slot and its generation until they are buried, here.
        let Some(conn) = self.conns.slots.get_mut(name.slot as usize).and_then(|slot| slot.conn.as_mut())
        else {
            return;
        };
        conn.connecting = false;
        if conn.forsaken {
            self.bury(name.slot);
        } else if let Err(e) = result {
            let status = e.raw_os_error().unwrap_or(5);
            self.failed(name, "the RDMA connection was not made", -status, events);
        }
    }

    fn on_device(&self, context: u32) -> Vec<ConnId> {
        let is_on = |slot: &usize| {
            let conn = self.conns.slots.get(*slot).and_then(|place| place.conn.as_ref());
            conn.and_then(|conn| conn.context.as_ref()).is_some_and(|of| of.id == context)
        };
        (0..self.conns.slots.len()).filter(is_on).filter_map(|slot| self.conns.name(slot as u32)).collect()
    }

    fn queue_pair_event(
        &mut self,
        context: u32,
        number: u32,
        what: ffi::ibv_event_type,
        events: &mut Vec<CmEvent>,
    ) {
        let libs = self.libs();
        let device = self.devices.iter().flatten().find(|device| device.context.id == context);
        let slot = device.and_then(|device| device.slots.get(&number)).copied();
        let Some(name) = slot.and_then(|slot| self.conns.name(slot)) else { return };
        let (kind, text) = match what {
            ffi::IBV_EVENT_COMM_EST => {
                // The first message overtook the handshake's last; the connection manager is told to take it for that.
                if let Some(conn) = self.conns.live(name) {
                    // SAFETY: the identifier is live.
                    unsafe { (libs.cm.rdma_notify)(conn.id, what) };
                }
                return;
            }
            ffi::IBV_EVENT_QP_ACCESS_ERR => {
                (ErrorKind::Protocol, "the peer reached for memory it has no right to")
            }
            ffi::IBV_EVENT_QP_REQ_ERR => (ErrorKind::Protocol, "the peer sent what RDMA does not allow"),
            _ => (ErrorKind::Io, "the queue pair failed"),
        };
        self.broken(name, Error::new(Stage::Transfer, kind, text), events);
    }

    fn broken(&mut self, name: ConnId, error: Error, events: &mut Vec<CmEvent>) {
        let Some(conn) = self.conns.live(name) else { return };
        let qp = conn.qp;
        match std::mem::replace(&mut conn.phase, Phase::Over) {
            Phase::Over => {}
            Phase::Up => events.push(CmEvent::Disconnected { conn: name, ending: Ending::Failed(error) }),
            _ => events.push(CmEvent::Failed { conn: name, error }),
        }
        self.break_off(qp);
    }

    pub(super) fn addresses(&self, name: ConnId) -> Option<(SocketAddr, SocketAddr)> {
        let conn = self.conns.look(name)?;
        // SAFETY: the identifier is live.
        let (local, peer) = unsafe { address::of_id(conn.id) };
        Some((local?, peer?))
    }
}

fn kind(conn: &super::conn::Conn) -> Kind {
    let device = conn.context.as_ref().and_then(|context: &Arc<_>| context.port(conn.port));
    device.map_or(Kind::Iwarp, |device| device.kind)
}

fn reject_id(libs: &crate::ffi::Libraries, id: *mut ffi::rdma_cm_id, private_data: &[u8]) -> io::Result<()> {
    let len = u8::try_from(private_data.len()).unwrap_or(u8::MAX);
    // SAFETY: the identifier is live, the private data is during the call and at least as long as is said.
    let failed = unsafe { (libs.cm.rdma_reject)(id, private_data.as_ptr().cast(), len) };
    if failed == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// What holds of the depths that the active side asked for, given what the manager reports.
///
/// Of iWARP, cxgb4 reports them from this side's view, as the connection manager means it, and siw the other way round. What was
/// asked for is never exceeded, so that where only one reading is possible, it is the right one.
fn settled(kind: Kind, asked: Depths, told: Depths) -> Depths {
    let fits = |told: Depths| told.initiator <= asked.initiator && told.responder <= asked.responder;
    let other = Depths { initiator: told.responder, responder: told.initiator };
    let told = if kind == Kind::Iwarp && !fits(told) && fits(other) { other } else { told };
    Depths { initiator: told.initiator.min(asked.initiator), responder: told.responder.min(asked.responder) }
}

/// The call has a byte for the length.
fn checked(private_data: &[u8]) -> Result<PrivateData, Error> {
    if private_data.len() > usize::from(u8::MAX) {
        let text =
            format!("{} bytes of private data; the connection manager carries 255", private_data.len());
        return Err(Error::new(Stage::Negotiate, ErrorKind::Incompatible, text));
    }
    Ok(PrivateData::from_slice(private_data))
}

/// A time for the connection manager: at least 1, since it takes 0 for "no time at all".
fn milliseconds(time: Duration) -> c_int {
    c_int::try_from(time.as_millis()).unwrap_or(c_int::MAX).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn private_data_is_never_cut() {
        assert_eq!(checked(&[7; 255]).unwrap().len(), 255);
        assert_eq!(checked(&[7; 256]).unwrap_err().kind(), ErrorKind::Incompatible);
        let param = conn_param(&[1, 2, 3], Depths { initiator: 4, responder: 5 });
        assert_eq!((param.private_data_len, param.initiator_depth, param.responder_resources), (3, 4, 5));
    }

    #[test]
    fn depths_are_read_as_they_can_be_meant() {
        let depths = |initiator, responder| Depths { initiator, responder };
        // A host of NVMe/RDMA: as cxgb4 tells it, and as siw does.
        assert_eq!(settled(Kind::Iwarp, depths(0, 128), depths(0, 16)), depths(0, 16));
        assert_eq!(settled(Kind::Iwarp, depths(0, 128), depths(128, 0)), depths(0, 128));
        assert_eq!(settled(Kind::RoCe, depths(4, 16), depths(8, 16)), depths(4, 16));
        assert_eq!(settled(Kind::RoCe, depths(0, 16), depths(16, 0)), depths(0, 0));
        assert_eq!(settled(Kind::Iwarp, depths(4, 4), depths(255, 255)), depths(4, 4));
    }

    #[test]
    fn times_fit_the_call() {
        assert_eq!(milliseconds(Duration::ZERO), 1);
        assert_eq!(milliseconds(Duration::from_secs(3)), 3000);
        assert_eq!(milliseconds(Duration::MAX), c_int::MAX);
    }
}
