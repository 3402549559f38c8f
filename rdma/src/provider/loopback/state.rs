//! The network: nodes, their connections, and what work requests do.
#![allow(unsafe_code, reason = "copies between memory that work requests name")]

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    net::{Ipv4Addr, SocketAddr},
};

use nvmf_transport::{Error, ErrorKind, Stage, Wake};

use crate::verbs::{
    CmEvent, Completion, ConnId, Depths, Ending, ListenId, Operation, PrivateData, QpCaps, RecvRequest,
    Remote, RemoteAccess, SendOp, SendRequest, Sge, WcStatus,
};

/// A connection of a node.
pub(super) type Name = (u64, ConnId);

#[derive(Debug, Default)]
pub(crate) struct State {
    pub(super) nodes: HashMap<u64, Node>,
    pub(super) listeners: BTreeMap<u16, (u64, ListenId)>,
    pub(super) keys: HashMap<u32, Exposed>,
    last_node: u64,
    last_port: u16,
    last_key: u32,
}

#[derive(Debug)]
pub(super) struct Node {
    pub(super) wake: Wake,
    pub(super) events: VecDeque<CmEvent>,
    pub(super) completions: VecDeque<Completion>,
    conns: Vec<(u32, Option<Conn>)>,
}

#[derive(Debug)]
pub(super) struct Conn {
    pub(super) peer: Option<Name>,
    pub(super) up: bool,
    pub(super) caps: Option<QpCaps>,
    pub(super) depths: Depths,
    /// What the peer allows: the answer must keep within it.
    pub(super) offered: Depths,
    pub(super) addresses: (SocketAddr, SocketAddr),
    pub(super) receives: VecDeque<RecvRequest>,
    pub(super) sends: VecDeque<Posted>,
    /// Carried out and not reported; a READ is reported one move later.
    done: VecDeque<SendRequest>,
}

/// A request, and its data if that was taken when it was posted.
#[derive(Debug)]
pub(super) struct Posted {
    pub(super) request: SendRequest,
    pub(super) _inline: Option<Box<[u8]>>,
}

/// Memory that peers may reach.
#[derive(Clone, Copy, Debug)]
pub(super) struct Exposed {
    /// The only connection it serves; `None`: a whole region, for everybody.
    pub(super) conn: Option<Name>,
    /// What its first byte is called, and where it is.
    pub(super) base: u64,
    pub(super) start: u64,
    pub(super) len: u64,
    pub(super) access: Option<RemoteAccess>,
}

impl Conn {
    pub(super) fn new(addresses: (SocketAddr, SocketAddr)) -> Self {
        Self {
            peer: None,
            up: false,
            caps: None,
            depths: Depths::default(),
            offered: Depths::default(),
            addresses,
            receives: VecDeque::new(),
            sends: VecDeque::new(),
            done: VecDeque::new(),
        }
    }

    fn reads(&self) -> usize {
        self.done.iter().filter(|request| matches!(request.op, SendOp::Read(_))).count()
    }
}

impl State {
    pub(super) fn add_node(&mut self, wake: Wake) -> u64 {
        self.last_node += 1;
        let node = Node { wake, events: VecDeque::new(), completions: VecDeque::new(), conns: Vec::new() };
        self.nodes.insert(self.last_node, node);
        self.last_node
    }

    pub(super) fn port(&mut self) -> u16 {
        self.last_port = self.last_port.checked_add(1).unwrap_or(1);
        10_000 + self.last_port % 50_000
    }

    pub(super) fn address(&mut self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.port()))
    }

    /// A key nobody guesses by counting.
    pub(super) fn key(&mut self, exposed: Exposed) -> u32 {
        loop {
            self.last_key = self.last_key.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            if let std::collections::hash_map::Entry::Vacant(vacant) = self.keys.entry(self.last_key) {
                vacant.insert(exposed);
                return self.last_key;
            }
        }
    }

    pub(super) fn add_conn(&mut self, node: u64, conn: Conn) -> Option<ConnId> {
        let conns = &mut self.nodes.get_mut(&node)?.conns;
        let slot = conns.iter().position(|(_, conn)| conn.is_none()).unwrap_or_else(|| {
            conns.push((0, None));
            conns.len() - 1
        });
        let place = conns.get_mut(slot)?;
        place.0 += 1;
        place.1 = Some(conn);
        Some(ConnId { slot: slot as u32, generation: place.0 })
    }

    pub(super) fn conn(&mut self, (node, id): Name) -> Option<&mut Conn> {
        let (generation, conn) = self.nodes.get_mut(&node)?.conns.get_mut(id.slot as usize)?;
        conn.as_mut().filter(|_| *generation == id.generation)
    }

    pub(super) fn conns(&self, node: u64) -> Vec<ConnId> {
        let conns = self.nodes.get(&node).map(|node| node.conns.as_slice()).unwrap_or_default();
        let live = conns.iter().enumerate().filter(|(_, (_, conn))| conn.is_some());
        live.map(|(slot, &(generation, _))| ConnId { slot: slot as u32, generation }).collect()
    }

    pub(super) fn tell(&mut self, node: u64, event: CmEvent) {
        if let Some(node) = self.nodes.get_mut(&node) {
            node.events.push_back(event);
            node.wake.wake();
        }
    }

    fn complete(&mut self, (node, conn): Name, id: u64, operation: Operation, status: WcStatus) {
        self.report(node, Completion { conn, id, operation, status, ..Completion::default() });
    }

    fn report(&mut self, node: u64, completion: Completion) {
        if let Some(node) = self.nodes.get_mut(&node) {
            node.completions.push_back(completion);
            node.wake.wake();
        }
    }

    /// Ends a connection that is up, on both sides.
    pub(super) fn hang_up(&mut self, name: Name, why: Option<&str>) {
        let peer = self.conn(name).and_then(|conn| conn.peer);
        for name in [Some(name), peer].into_iter().flatten() {
            let Some(conn) = self.conn(name) else { continue };
            let up = std::mem::replace(&mut conn.up, false);
            let sends = conn.done.drain(..).chain(conn.sends.drain(..).map(|posted| posted.request));
            let mut flushed: Vec<_> = sends.map(|request| (request.id, Operation::Send)).collect();
            flushed.extend(conn.receives.drain(..).map(|request| (request.id, Operation::Recv)));
            for (id, operation) in flushed {
                self.complete(name, id, operation, WcStatus::Flushed);
            }
            if up {
                let ending = match why {
                    None => Ending::Orderly,
                    Some(why) => {
                        Ending::Failed(Error::new(Stage::Transfer, ErrorKind::Reset, why.to_owned()))
                    }
                };
                self.tell(name.0, CmEvent::Disconnected { conn: name.1, ending });
            }
        }
    }

    pub(super) fn destroy(&mut self, name: Name) {
        self.hang_up(name, Some("the connection was cut"));
        self.keys.retain(|_, exposed| exposed.conn != Some(name));
        let Some(node) = self.nodes.get_mut(&name.0) else { return };
        if let Some(place) = node.conns.get_mut(name.1.slot as usize)
            && place.0 == name.1.generation
        {
            place.1 = None;
        }
        node.events.retain(|event| event.conn() != name.1);
        node.completions.retain(|completion| completion.conn != name.1);
    }

    /// Carries out what a connection has posted.
    pub(super) fn advance(&mut self, name: Name) {
        // What was carried out in the last move completes, in order.
        while let Some(conn) = self.conn(name)
            && let Some(request) = conn.done.pop_front()
        {
            if request.signaled {
                self.complete(name, request.id, Operation::Send, WcStatus::Success);
            }
        }
        loop {
            let Some(conn) = self.conn(name) else { return };
            if !conn.up {
                return;
            }
            let Some(peer) = conn.peer else { return };
            let reading =
                matches!(conn.sends.front(), Some(posted) if matches!(posted.request.op, SendOp::Read(_)));
            if reading && conn.reads() >= usize::from(conn.depths.initiator) {
                // Others would queue it; that this side asks for more than was agreed on is what a test wants to hear of.
                return self.hang_up(name, Some("more RDMA READs than were agreed on"));
            }
            let waits = !conn.done.is_empty();
            let Some(posted) = conn.sends.pop_front() else { return };
            let request = &posted.request;
            match self.carry_out(peer, request) {
                Ok(()) if waits || reading => {
                    if let Some(conn) = self.conn(name) {
                        conn.done.push_back(posted.request);
                    }
                    self.nodes.get(&name.0).inspect(|node| node.wake.wake());
                }
                Ok(()) if request.signaled => {
                    self.complete(name, request.id, Operation::Send, WcStatus::Success);
                }
                Ok(()) => {}
                Err(status) => {
                    self.complete(name, request.id, Operation::Send, status);
                    return self.hang_up(name, Some("a request failed"));
                }
            }
        }
    }

    fn carry_out(&mut self, peer: Name, request: &SendRequest) -> Result<(), WcStatus> {
        match request.op {
            SendOp::Send => self.deliver(peer, request, None),
            SendOp::SendInvalidate { key } => {
                let exposed = self.keys.get(&key).copied().ok_or(WcStatus::RemoteAccess)?;
                if exposed.conn != Some(peer) {
                    return Err(WcStatus::RemoteAccess);
                }
                self.deliver(peer, request, Some(key))?;
                self.keys.remove(&key);
                Ok(())
            }
            SendOp::Write(remote) => {
                let mut at = self.reach(peer, remote, request.len(), RemoteAccess::Write)?;
                for sge in &request.sges {
                    copy(sge.address, at, sge.length);
                    at += u64::from(sge.length);
                }
                Ok(())
            }
            SendOp::Read(remote) => {
                let mut at = self.reach(peer, remote, request.len(), RemoteAccess::Read)?;
                for sge in &request.sges {
                    copy(at, sge.address, sge.length);
                    at += u64::from(sge.length);
                }
                Ok(())
            }
        }
    }

    /// Where a remote access goes, if it may.
    fn reach(&self, peer: Name, remote: Remote, len: u64, access: RemoteAccess) -> Result<u64, WcStatus> {
        let exposed = self.keys.get(&remote.key).ok_or(WcStatus::RemoteAccess)?;
        let offset = remote.address.checked_sub(exposed.base).ok_or(WcStatus::RemoteAccess)?;
        let end = offset.checked_add(len).ok_or(WcStatus::RemoteAccess)?;
        let allowed = exposed.access.is_none_or(|allowed| allowed == access)
            && exposed.conn.is_none_or(|conn| conn == peer)
            && end <= exposed.len;
        if allowed { Ok(exposed.start + offset) } else { Err(WcStatus::RemoteAccess) }
    }

    fn deliver(
        &mut self,
        peer: Name,
        request: &SendRequest,
        invalidated: Option<u32>,
    ) -> Result<(), WcStatus> {
        let conn = self.conn(peer).ok_or(WcStatus::TransportRetry)?;
        // No flow control on iWARP: a message without a receive ends the connection.
        let receive = conn.receives.pop_front().ok_or(WcStatus::RemoteOperation)?;
        let room: u64 = receive.sges.iter().map(|sge| u64::from(sge.length)).sum();
        if request.len() > room {
            self.complete(peer, receive.id, Operation::Recv, WcStatus::LocalLength);
            return Err(WcStatus::RemoteOperation);
        }
        scatter(&request.sges, &receive.sges);
        let completion = Completion {
            conn: peer.1,
            id: receive.id,
            operation: Operation::Recv,
            status: WcStatus::Success,
            len: request.len() as u32,
            invalidated,
        };
        self.report(peer.0, completion);
        Ok(())
    }

    /// The device of every connection goes away.
    pub(super) fn remove_device(&mut self) {
        let nodes: Vec<u64> = self.nodes.keys().copied().collect();
        for node in nodes {
            for conn in self.conns(node) {
                self.tell(node, CmEvent::DeviceRemoved { conn });
            }
        }
    }

    /// A connection asks another node.
    pub(super) fn ask(&mut self, name: Name, to: SocketAddr, private_data: PrivateData, depths: Depths) {
        let from = self.conn(name).map(|conn| conn.addresses.0);
        let Some((&(node, listener), from)) = self.listeners.get(&to.port()).zip(from) else {
            let detail = format!("cannot connect to {to}: nobody listens there");
            let error = Error::new(Stage::Connect, ErrorKind::Refused, detail);
            return self.tell(name.0, CmEvent::Failed { conn: name.1, error });
        };
        let offered = Depths { initiator: depths.responder, responder: depths.initiator };
        let conn = Conn { peer: Some(name), offered, ..Conn::new((to, from)) };
        let Some(id) = self.add_conn(node, conn) else { return };
        if let Some(conn) = self.conn(name) {
            conn.peer = Some((node, id));
            conn.offered = depths;
        }
        self.tell(node, CmEvent::Requested { conn: id, listener, private_data, depths: offered });
    }
}

fn copy(from: u64, to: u64, len: u32) {
    let (from, to) = (from as usize, to as usize);
    let from = std::ptr::with_exposed_provenance::<u8>(from);
    let to = std::ptr::with_exposed_provenance_mut::<u8>(to);
    // SAFETY: both sides promised, when they posted or exposed it, that this memory stays and is not touched by others until
    // the request has completed, and everything that ends that promise takes the lock this runs under.
    unsafe { std::ptr::copy(from, to, len as usize) };
}

/// Copies a list of pieces into another one with at least as much room.
fn scatter(from: &[Sge], to: &[Sge]) {
    let mut room = to.iter().copied();
    let mut sink = room.next().unwrap_or_default();
    for piece in from {
        let (mut address, mut left) = (piece.address, piece.length);
        while left > 0 {
            while sink.length == 0 {
                let Some(next) = room.next() else { return };
                sink = next;
            }
            let now = left.min(sink.length);
            copy(address, sink.address, now);
            (address, left) = (address + u64::from(now), left - now);
            (sink.address, sink.length) = (sink.address + u64::from(now), sink.length - now);
        }
    }
}
