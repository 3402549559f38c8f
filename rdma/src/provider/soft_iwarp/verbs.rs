//! The verbs of one engine on a soft-iWARP endpoint.
#![allow(unsafe_code, reason = "registers the memory that requests name, by address")]

use std::{
    collections::VecDeque,
    io,
    net::SocketAddr,
    os::fd::BorrowedFd,
    sync::Arc,
    time::{Duration, Instant},
};

use nvmf_soft_iwarp::{
    ConnectionConfig, Endpoint, EndpointConfig, Event, Handover, Listener, Operation as SoftOp, Payload, Qp,
    QpConfig, ReceiveRequest, Remote as SoftRemote, Request, STag, SendRequest as SoftSend,
};
use nvmf_transport::{Error, ErrorKind, Memory, Pages, Stage};
use smallvec::SmallVec;

use super::{Options, at, memory::by_address};
use crate::verbs::{
    CmEvent, Completion, ConnId, ConnParams, Device, Handovers, ListenId, QpCaps, RecvRequest, SendOp,
    SendRequest, Verbs,
};

/// The verbs of one engine.
#[derive(Debug)]
pub struct SoftIwarpVerbs {
    pub(super) endpoint: Endpoint,
    pub(super) device: Device,
    config: ConnectionConfig,
    pub(super) conns: Vec<(u32, Option<Conn>)>,
    /// Connections by the slot of their queue pair.
    pub(super) by_qp: Vec<Option<ConnId>>,
    pub(super) listeners: Vec<Option<Listener>>,
    /// Requests that were taken over, and what they count as come by.
    pub(super) adopted: Vec<(Request, ListenId)>,
    events: Vec<Event>,
    pub(super) news: Vec<CmEvent>,
    pub(super) completions: VecDeque<Completion>,
    /// Whether something was posted since the endpoint was last polled.
    posted: bool,
    last_poll: Option<Instant>,
}

#[derive(Debug)]
pub(super) struct Conn {
    pub(super) qp: Option<Qp>,
    pub(super) request: Option<Request>,
    pub(super) local: Option<SocketAddr>,
    pub(super) peer: SocketAddr,
    /// Whether the connection is up.
    pub(super) up: bool,
    /// Posted and not completed, with the region of what it reads.
    pub(super) sends: VecDeque<(u64, Option<STag>)>,
    /// Keys the peer has, also if it has invalidated them.
    pub(super) exposed: Vec<STag>,
}

impl Conn {
    pub(super) fn new(peer: SocketAddr, local: Option<SocketAddr>) -> Self {
        Self { qp: None, request: None, local, peer, up: false, sends: VecDeque::new(), exposed: Vec::new() }
    }
}

pub(super) fn gone() -> Error {
    Error::new(Stage::Transfer, ErrorKind::Reset, "the connection is gone")
}

fn refused(why: &dyn std::fmt::Display) -> Error {
    Error::new(Stage::Transfer, ErrorKind::Reset, format!("soft-iWARP takes no request: {why}"))
}

impl SoftIwarpVerbs {
    pub(super) fn new(config: EndpointConfig, options: &Options, device: Device) -> io::Result<Self> {
        let mut endpoint = Endpoint::new(config)?;
        // SAFETY: only `post_recv` and `post_send` name memory by address, and whoever calls them promises the same.
        // Connections hold no slices across calls.
        unsafe { endpoint.trust_addresses() };
        Ok(Self {
            endpoint,
            device,
            config: ConnectionConfig {
                crc: options.crc,
                max_ulpdu: options.max_ulpdu,
                ..ConnectionConfig::default()
            },
            conns: Vec::new(),
            by_qp: Vec::new(),
            listeners: Vec::new(),
            adopted: Vec::new(),
            events: Vec::new(),
            news: Vec::new(),
            completions: VecDeque::new(),
            posted: false,
            last_poll: None,
        })
    }

    /// Takes over a connected socket that somebody else has accepted, of which `bytes` were read; its queue counts as come by
    /// `listener`.
    pub fn adopt(&mut self, handover: Handover, listener: ListenId) -> Result<(), Error> {
        self.posted = true;
        let request = self
            .endpoint
            .adopt(handover)
            .map_err(|e| Error::from_io(Stage::Setup, "cannot take over a connection", e))?;
        // Of those that went before they had asked nothing is heard; their numbers are given again.
        match self.adopted.iter_mut().find(|(known, _)| known.slot() == request.slot()) {
            Some(place) => *place = (request, listener),
            None => self.adopted.push((request, listener)),
        }
        Ok(())
    }

    pub(super) fn add(&mut self, conn: Conn) -> ConnId {
        let slot = self.conns.iter().position(|(_, conn)| conn.is_none()).unwrap_or_else(|| {
            self.conns.push((0, None));
            self.conns.len() - 1
        });
        let place = &mut self.conns[slot];
        place.0 = place.0.wrapping_add(1);
        place.1 = Some(conn);
        ConnId { slot: slot as u32, generation: place.0 }
    }

    pub(super) fn conn(&mut self, id: ConnId) -> Option<&mut Conn> {
        let (generation, conn) = self.conns.get_mut(id.slot as usize)?;
        conn.as_mut().filter(|_| *generation == id.generation)
    }

    pub(super) fn qp(&mut self, id: ConnId) -> Result<Qp, Error> {
        self.conn(id).and_then(|conn| conn.qp).ok_or_else(gone)
    }

    #[inline]
    pub(super) fn free(&mut self, tags: impl IntoIterator<Item = STag>) {
        for tag in tags {
            // Fails only for a tag that is not registered, and then there is nothing to free.
            let _ = self.endpoint.deregister(tag);
        }
    }

    /// Polls the endpoint and sorts what it says.
    fn advance(&mut self, now: Instant) -> Result<(), Error> {
        self.last_poll = Some(now);
        self.posted = false;
        let mut events = std::mem::take(&mut self.events);
        let polled = self.endpoint.poll(now, &mut events);
        for event in events.drain(..) {
            self.sort(event);
        }
        self.events = events;
        polled.map_err(|e| Error::from_io(Stage::Transfer, "cannot ask which sockets are ready", e))
    }
}

impl Verbs for SoftIwarpVerbs {
    fn memory(&self) -> Arc<dyn Memory> {
        Arc::new(Pages)
    }

    fn wait_handle(&self) -> BorrowedFd<'_> {
        self.endpoint.wait_handle()
    }

    fn next_timeout(&self) -> Option<Instant> {
        if self.posted || !self.news.is_empty() || !self.completions.is_empty() {
            return self.last_poll;
        }
        self.endpoint.next_timeout()
    }

    fn listen(&mut self, address: SocketAddr) -> Result<(ListenId, SocketAddr), Error> {
        let (listener, bound) =
            self.endpoint.listen(address).map_err(|error| at(Stage::Listen, "listen at", address, error))?;
        self.listeners.push(Some(listener));
        Ok((ListenId(self.listeners.len() as u32 - 1), bound))
    }

    fn handovers(&mut self) -> Option<&mut dyn Handovers> {
        Some(self)
    }

    fn unlisten(&mut self, listener: ListenId) {
        // Its number is not given again: connections that came by it still carry it.
        if let Some(listener) = self.listeners.get_mut(listener.0 as usize).and_then(Option::take) {
            self.endpoint.unlisten(listener);
        }
    }

    fn connect(&mut self, to: SocketAddr, from: Option<SocketAddr>, _: Duration) -> Result<ConnId, Error> {
        // There is but one device and TCP finds the route: resolved as soon as asked.
        let conn = self.add(Conn::new(to, from));
        self.news.push(CmEvent::Resolved { conn });
        Ok(conn)
    }

    fn device(&self, _: ConnId) -> Option<&Device> {
        Some(&self.device)
    }

    fn addresses(&self, id: ConnId) -> Option<(SocketAddr, SocketAddr)> {
        let (generation, conn) = self.conns.get(id.slot as usize)?;
        let conn = conn.as_ref().filter(|_| *generation == id.generation)?;
        Some((conn.local?, conn.peer))
    }

    fn create_qp(&mut self, id: ConnId, caps: &QpCaps) -> Result<QpCaps, Error> {
        let config = QpConfig {
            send_depth: caps.send_wr,
            receive_depth: caps.recv_wr,
            max_sge: caps.send_sge.max(caps.recv_sge).clamp(1, 16) as u8,
            max_inline: caps.inline.min(u16::MAX.into()) as u16,
        };
        let qp = self.endpoint.create_qp(&config);
        let Some(conn) = self.conn(id) else {
            self.endpoint.destroy_qp(qp);
            return Err(gone());
        };
        conn.qp = Some(qp);
        if self.by_qp.len() <= qp.slot() {
            self.by_qp.resize(qp.slot() + 1, None);
        }
        self.by_qp[qp.slot()] = Some(id);
        Ok(*caps)
    }

    fn request(&mut self, id: ConnId, params: &ConnParams<'_>) -> Result<(), Error> {
        let qp = self.qp(id)?;
        let Some(&mut Conn { peer, local, .. }) = self.conn(id) else { return Err(gone()) };
        let config = ConnectionConfig {
            ird: params.depths.responder.into(),
            ord: params.depths.initiator.into(),
            ..self.config
        };
        self.posted = true;
        self.endpoint.connect(qp, peer, local, &config, params.private_data).map_err(|error| match error {
            nvmf_soft_iwarp::CallError::Io(error) => at(Stage::Connect, "connect to", peer, error),
            other => Error::new(Stage::Connect, ErrorKind::Io, format!("cannot connect to {peer}: {other}")),
        })
    }

    fn accept(&mut self, id: ConnId, params: &ConnParams<'_>) -> Result<(), Error> {
        let qp = self.qp(id)?;
        let request = self.conn(id).and_then(|conn| conn.request.take()).ok_or_else(gone)?;
        let config = ConnectionConfig {
            ird: params.depths.responder.into(),
            ord: params.depths.initiator.into(),
            ..self.config
        };
        self.posted = true;
        self.endpoint.accept(request, qp, &config, params.private_data).map_err(|error| {
            // A request that cannot be accepted can still be rejected.
            if let Some(conn) = self.conn(id) {
                conn.request = Some(request);
            }
            Error::new(Stage::Negotiate, ErrorKind::Incompatible, error.to_string())
        })
    }

    fn reject(&mut self, id: ConnId, private_data: &[u8]) -> Result<(), Error> {
        let request = self.conn(id).and_then(|conn| conn.request.take()).ok_or_else(gone)?;
        self.posted = true;
        self.endpoint
            .reject(request, private_data)
            .map_err(|error| Error::new(Stage::Negotiate, ErrorKind::Reset, error.to_string()))
    }

    fn disconnect(&mut self, id: ConnId) {
        if let Ok(qp) = self.qp(id) {
            self.posted = true;
            self.endpoint.disconnect(qp);
        }
    }

    fn destroy(&mut self, id: ConnId) {
        let Some((generation, place)) = self.conns.get_mut(id.slot as usize) else { return };
        if *generation != id.generation {
            return;
        }
        let Some(conn) = place.take() else { return };
        self.posted = true;
        if let Some(request) = conn.request {
            // Neither accepted nor rejected: the peer hears at least that.
            let _ = self.endpoint.reject(request, &[]);
        }
        if let Some(qp) = conn.qp {
            self.endpoint.destroy_qp(qp);
            self.by_qp[qp.slot()] = None;
        }
        self.free(conn.sends.into_iter().filter_map(|(_, sink)| sink));
        self.free(conn.exposed);
        self.completions.retain(|completion| completion.conn != id);
        self.news.retain(|event| event.conn() != id);
    }

    unsafe fn post_recv(&mut self, id: ConnId, requests: &[RecvRequest]) -> Result<(), Error> {
        let qp = self.qp(id)?;
        for request in requests {
            let scatter = by_address(&request.sges);
            let receive = ReceiveRequest { id: request.id, scatter: &scatter };
            self.endpoint.post_receive(qp, &receive).map_err(|error| refused(&error))?;
        }
        Ok(())
    }

    unsafe fn post_send(&mut self, id: ConnId, requests: &[SendRequest]) -> Result<(), Error> {
        let qp = self.qp(id)?;
        self.posted = true;
        for request in requests {
            let remote =
                |remote: crate::verbs::Remote| SoftRemote { stag: STag::new(remote.key), to: remote.address };
            let operation = match request.op {
                SendOp::Send => SoftOp::SEND,
                SendOp::SendInvalidate { key } => {
                    SoftOp::Send { invalidate: Some(STag::new(key)), solicited: false }
                }
                SendOp::Write(at) => SoftOp::Write { remote: remote(at) },
                SendOp::Read(at) => SoftOp::Read { remote: remote(at) },
            };
            let inline = match request.sges.as_slice() {
                [sge] if request.inline => {
                    let start = std::ptr::with_exposed_provenance::<u8>(sge.address as usize);
                    // SAFETY: the caller says that the bytes are valid at the call.
                    Some(unsafe { std::slice::from_raw_parts(start, sge.length as usize) })
                }
                _ => None,
            };
            let (mut sink, mut gather) = (None, SmallVec::new());
            match (request.op, request.sges.as_slice()) {
                _ if inline.is_some() => {}
                (SendOp::Read(_), [sge]) => {
                    // SAFETY: the caller's promise is the same.
                    let named = unsafe { self.sink(qp, sge) }?;
                    sink = Some(named.stag);
                    gather.push(named);
                }
                (_, sges) => gather = by_address(sges),
            }
            let payload = inline.map_or(Payload::Gather(&gather), Payload::Inline);
            let send =
                SoftSend { signaled: request.signaled, ..SoftSend::new(request.id, operation, payload) };
            match self.endpoint.post_send(qp, &send) {
                Ok(()) => {
                    if let Some(conn) = self.conn(id) {
                        conn.sends.push_back((request.id, sink));
                    }
                }
                Err(error) => {
                    self.free(sink);
                    return Err(refused(&error));
                }
            }
        }
        Ok(())
    }

    fn progress(&mut self, now: Instant, events: &mut Vec<CmEvent>) -> Result<(), Error> {
        let moved = self.advance(now);
        events.append(&mut self.news);
        moved
    }

    fn flush(&mut self, now: Instant) -> Result<(), Error> {
        if self.posted { self.advance(now) } else { Ok(()) }
    }

    fn poll_cq(&mut self, into: &mut [Completion]) -> Result<usize, Error> {
        let count = self.completions.len().min(into.len());
        for (place, completion) in into.iter_mut().zip(self.completions.drain(..count)) {
            *place = completion;
        }
        Ok(count)
    }

    fn arm(&mut self) -> Result<bool, Error> {
        Ok(self.posted || !self.news.is_empty() || !self.completions.is_empty() || self.endpoint.has_work())
    }
}
