//! The verbs of one engine on the loopback network.
#![allow(unsafe_code, reason = "takes the addresses that callers post, as the interface says")]

use std::{
    net::SocketAddr,
    os::fd::{AsFd as _, BorrowedFd},
    ptr::NonNull,
    sync::Arc,
    time::{Duration, Instant},
};

use nvmf_transport::{Buffer, Error, ErrorKind, Memory, Region, Registration, Stage, Wake};

use super::{
    Network,
    state::{Conn, Exposed, Name, Posted},
};
use crate::verbs::{
    CmEvent, Completion, ConnId, ConnParams, Device, KeyScope, Keys, ListenId, PrivateData, QpCaps,
    RecvRequest, RemoteAccess, RemoteKey, SendOp, SendRequest, Verbs,
};

/// The verbs of one engine.
#[derive(Debug)]
pub struct LoopbackVerbs {
    network: Network,
    node: u64,
    device: Device,
    wake: Wake,
    last_listener: u32,
}

/// Memory the device knows.
#[derive(Clone, Debug)]
struct Known(Network);

/// The key of a region; goes with it.
struct Registered {
    network: Network,
    key: u32,
}

impl Registration for Registered {}

impl Drop for Registered {
    fn drop(&mut self) {
        self.network.lock().keys.remove(&self.key);
    }
}

impl Memory for Known {
    fn allocate(&self, len: usize) -> Result<Buffer, Error> {
        let network = self.0.clone();
        let register = |start: NonNull<u8>, len: usize| -> Box<dyn Registration> {
            let start = start.as_ptr().expose_provenance() as u64;
            let exposed = Exposed { conn: None, base: start, start, len: len as u64, access: None };
            let key = network.lock().key(exposed);
            Box::new(Registered { network, key })
        };
        Ok(Region::allocate(len)?.registered(register).into_buffer())
    }
}

fn gone(what: &'static str) -> Error {
    Error::new(Stage::Transfer, ErrorKind::Reset, what)
}

fn misposted(what: impl Into<String>) -> Error {
    Error::new(Stage::Transfer, ErrorKind::Unsupported, what.into())
}

impl LoopbackVerbs {
    pub(super) fn new(network: Network, device: Device) -> Result<Self, Error> {
        let wake = Wake::new()?;
        let node = network.lock().add_node(wake.clone());
        Ok(Self { network, node, device, wake, last_listener: 0 })
    }

    fn name(&self, conn: ConnId) -> Name {
        (self.node, conn)
    }

    /// Whether a request keeps to what the queue pair was made for.
    fn check(&self, request: &SendRequest, caps: &QpCaps) -> Result<(), Error> {
        let most = match request.op {
            SendOp::Read(_) => self.device.max_read_sge,
            _ => caps.send_sge,
        };
        if request.sges.len() > usize::from(most) {
            return Err(misposted(format!("{} elements in a request that has {most}", request.sges.len())));
        }
        if request.inline && request.len() > u64::from(caps.inline) {
            return Err(misposted(format!("{} inline bytes of {}", request.len(), caps.inline)));
        }
        if matches!(request.op, SendOp::SendInvalidate { .. }) && !self.device.send_invalidate {
            return Err(misposted("SEND with Invalidate on a device without it"));
        }
        Ok(())
    }
}

impl Keys for LoopbackVerbs {
    fn local_key(&mut self, _: ConnId, region: &Region) -> Option<u32> {
        let registration: &dyn std::any::Any = region.registration()?;
        registration.downcast_ref::<Registered>().map(|registered| registered.key)
    }

    unsafe fn expose(
        &mut self,
        conn: ConnId,
        region: &Region,
        start: *mut u8,
        len: u32,
        access: RemoteAccess,
    ) -> Result<RemoteKey, Error> {
        let start = start.expose_provenance() as u64;
        match (self.device.key_scope, self.local_key(conn, region)) {
            (_, None) => Err(misposted("memory that the device does not know")),
            (KeyScope::Region, Some(key)) => Ok(RemoteKey { address: start, key, invalidate: false }),
            (KeyScope::Command, Some(_)) => {
                // Tagged offsets that are no addresses, so that nobody mistakes the two.
                let base = 0x1000;
                let (conn, access) = (Some(self.name(conn)), Some(access));
                let exposed = Exposed { conn, base, start, len: len.into(), access };
                Ok(RemoteKey { address: base, key: self.network.lock().key(exposed), invalidate: true })
            }
        }
    }

    fn withdraw(&mut self, _: ConnId, key: u32) {
        if self.device.key_scope == KeyScope::Command {
            self.network.lock().keys.remove(&key);
        }
    }
}

impl Verbs for LoopbackVerbs {
    fn memory(&self) -> Arc<dyn Memory> {
        Arc::new(Known(self.network.clone()))
    }

    fn wait_handle(&self) -> BorrowedFd<'_> {
        self.wake.as_fd()
    }

    fn next_timeout(&self) -> Option<Instant> {
        None
    }

    fn listen(&mut self, at: SocketAddr) -> Result<(ListenId, SocketAddr), Error> {
        let mut state = self.network.lock();
        let mut address = at;
        while address.port() == 0 || (at.port() == 0 && state.listeners.contains_key(&address.port())) {
            address.set_port(state.port());
        }
        if state.listeners.contains_key(&address.port()) {
            let detail = format!("cannot listen at {address}: the address is taken");
            return Err(Error::new(Stage::Listen, ErrorKind::AddressInUse, detail));
        }
        let id = ListenId(self.last_listener);
        self.last_listener += 1;
        state.listeners.insert(address.port(), (self.node, id));
        Ok((id, address))
    }

    fn unlisten(&mut self, listener: ListenId) {
        self.network.lock().listeners.retain(|_, at| *at != (self.node, listener));
    }

    fn connect(&mut self, to: SocketAddr, from: Option<SocketAddr>, _: Duration) -> Result<ConnId, Error> {
        let mut state = self.network.lock();
        let from = from.unwrap_or_else(|| state.address());
        let id = state.add_conn(self.node, Conn::new((from, to)));
        let conn = id.ok_or_else(|| gone("the network is gone"))?;
        state.tell(self.node, CmEvent::Resolved { conn });
        Ok(conn)
    }

    fn device(&self, _: ConnId) -> Option<&Device> {
        Some(&self.device)
    }

    fn addresses(&self, conn: ConnId) -> Option<(SocketAddr, SocketAddr)> {
        self.network.lock().conn(self.name(conn)).map(|conn| conn.addresses)
    }

    fn create_qp(&mut self, conn: ConnId, caps: &QpCaps) -> Result<QpCaps, Error> {
        let mut state = self.network.lock();
        let conn = state.conn((self.node, conn)).ok_or_else(|| gone("no such connection"))?;
        conn.caps = Some(*caps);
        Ok(*caps)
    }

    fn request(&mut self, conn: ConnId, params: &ConnParams<'_>) -> Result<(), Error> {
        let name = self.name(conn);
        let mut state = self.network.lock();
        let to = state.conn(name).map(|conn| conn.addresses.1).ok_or_else(|| gone("no such connection"))?;
        state.ask(name, to, PrivateData::from_slice(params.private_data), params.depths);
        Ok(())
    }

    fn accept(&mut self, conn: ConnId, params: &ConnParams<'_>) -> Result<(), Error> {
        let name = self.name(conn);
        let mut state = self.network.lock();
        let ours = state.conn(name).ok_or_else(|| gone("no such connection"))?;
        if params.depths.initiator > ours.offered.initiator {
            return Err(misposted("more RDMA READs than the peer serves"));
        }
        (ours.up, ours.depths) = (true, params.depths);
        let peer = ours.peer.ok_or_else(|| gone("no peer"))?;
        // The peer may have gone since it asked.
        let theirs = state.conn(peer).ok_or_else(|| gone("the peer is gone"))?;
        theirs.up = true;
        theirs.depths.initiator = theirs.offered.initiator.min(params.depths.responder);
        theirs.depths.responder = params.depths.initiator;
        let (mine, its) = (params.depths, theirs.depths);
        let private_data = PrivateData::from_slice(params.private_data);
        state.tell(peer.0, CmEvent::Established { conn: peer.1, private_data, depths: its });
        let private_data = PrivateData::new();
        state.tell(name.0, CmEvent::Established { conn, private_data, depths: mine });
        Ok(())
    }

    fn reject(&mut self, conn: ConnId, private_data: &[u8]) -> Result<(), Error> {
        let name = self.name(conn);
        let mut state = self.network.lock();
        let peer = state.conn(name).and_then(|conn| conn.peer.take()).ok_or_else(|| gone("no peer"))?;
        let private_data = PrivateData::from_slice(private_data);
        state.tell(peer.0, CmEvent::Rejected { conn: peer.1, private_data });
        Ok(())
    }

    fn disconnect(&mut self, conn: ConnId) {
        let name = self.name(conn);
        let mut state = self.network.lock();
        state.advance(name);
        state.hang_up(name, None);
    }

    fn destroy(&mut self, conn: ConnId) {
        let name = self.name(conn);
        self.network.lock().destroy(name);
    }

    unsafe fn post_recv(&mut self, conn: ConnId, requests: &[RecvRequest]) -> Result<(), Error> {
        let name = self.name(conn);
        let mut state = self.network.lock();
        let conn = state.conn(name).ok_or_else(|| gone("no such connection"))?;
        let caps = conn.caps.ok_or_else(|| gone("no queue pair"))?;
        for request in requests {
            if conn.receives.len() >= caps.recv_wr as usize {
                return Err(misposted("more receives than the queue has entries"));
            }
            if request.sges.len() > usize::from(caps.recv_sge) {
                return Err(misposted("more elements than a receive has"));
            }
            conn.receives.push_back(request.clone());
        }
        Ok(())
    }

    unsafe fn post_send(&mut self, conn: ConnId, requests: &[SendRequest]) -> Result<(), Error> {
        let name = self.name(conn);
        let mut state = self.network.lock();
        let conn = state.conn(name).ok_or_else(|| gone("no such connection"))?;
        let caps = conn.caps.ok_or_else(|| gone("no queue pair"))?;
        for request in requests {
            self.check(request, &caps)?;
            if conn.sends.len() >= caps.send_wr as usize {
                return Err(misposted("more requests than the send queue has entries"));
            }
            let mut request = request.clone();
            let mut inline = None;
            if request.inline {
                let mut bytes = Vec::with_capacity(request.len() as usize);
                for sge in &request.sges {
                    let start = std::ptr::with_exposed_provenance::<u8>(sge.address as usize);
                    // SAFETY: the caller says that the memory is valid at the call.
                    bytes
                        .extend_from_slice(unsafe { std::slice::from_raw_parts(start, sge.length as usize) });
                }
                let bytes = bytes.into_boxed_slice();
                request.sges = smallvec::smallvec![crate::verbs::Sge {
                    address: bytes.as_ptr().expose_provenance() as u64,
                    length: bytes.len() as u32,
                    key: 0,
                }];
                inline = Some(bytes);
            }
            conn.sends.push_back(Posted { request, _inline: inline });
        }
        Ok(())
    }

    fn progress(&mut self, _: Instant, events: &mut Vec<CmEvent>) -> Result<(), Error> {
        self.wake.clear();
        let mut state = self.network.lock();
        for conn in state.conns(self.node) {
            state.advance((self.node, conn));
        }
        if let Some(node) = state.nodes.get_mut(&self.node) {
            events.extend(node.events.drain(..));
        }
        Ok(())
    }

    fn flush(&mut self, _: Instant) -> Result<(), Error> {
        let mut state = self.network.lock();
        for conn in state.conns(self.node) {
            state.advance((self.node, conn));
        }
        Ok(())
    }

    fn poll_cq(&mut self, into: &mut [Completion]) -> Result<usize, Error> {
        let mut state = self.network.lock();
        let Some(node) = state.nodes.get_mut(&self.node) else { return Ok(0) };
        let count = node.completions.len().min(into.len());
        for (place, completion) in into.iter_mut().zip(node.completions.drain(..count)) {
            *place = completion;
        }
        Ok(count)
    }

    fn arm(&mut self) -> Result<bool, Error> {
        let state = self.network.lock();
        let node = state.nodes.get(&self.node);
        Ok(node.is_some_and(|node| !node.completions.is_empty() || !node.events.is_empty()))
    }
}

impl Drop for LoopbackVerbs {
    fn drop(&mut self) {
        let mut state = self.network.lock();
        for conn in state.conns(self.node) {
            state.destroy((self.node, conn));
        }
        state.listeners.retain(|_, (node, _)| *node != self.node);
        state.nodes.remove(&self.node);
    }
}
