//! The world hosts and controllers meet in: who listens where, and what their links are like.

use std::{
    collections::{HashMap, VecDeque},
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use nvmf_transport::{Error, ErrorKind, ListenerId, Stage, Wake};

use crate::{
    Rng,
    message::{ToController, ToHost},
    pipe::{self, End, Wires},
};

/// What every connection made from now on is like, per direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    /// From the last bit sent to its arrival.
    pub latency: Duration,
    /// At most this much more, at random. Order is kept.
    pub jitter: Duration,
    /// How fast bits leave; `None` for at once.
    pub bytes_per_second: Option<u64>,
    /// Bytes under way before the sender has to wait.
    pub in_flight: usize,
}

impl Default for Link {
    /// No delay, and a mebibyte under way.
    fn default() -> Self {
        Self { latency: Duration::ZERO, jitter: Duration::ZERO, bytes_per_second: None, in_flight: 1 << 20 }
    }
}

impl Link {
    pub(crate) fn transmission(&self, bytes: usize) -> Duration {
        match self.bytes_per_second {
            Some(rate) => Duration::from_nanos((bytes as u64).saturating_mul(1_000_000_000) / rate.max(1)),
            None => Duration::ZERO,
        }
    }
}

pub(crate) type HostEnd = End<ToController, ToHost>;
pub(crate) type ControllerEnd = End<ToHost, ToController>;

/// A connection that waits to be accepted.
#[derive(Debug)]
pub(crate) struct Pending {
    pub(crate) due: Instant,
    pub(crate) end: ControllerEnd,
    pub(crate) peer: SocketAddr,
}

#[derive(Debug)]
struct Listening {
    id: ListenerId,
    /// The transport value whose engines may share the address.
    group: usize,
    wake: Wake,
    backlog: VecDeque<Pending>,
}

#[derive(Debug)]
struct Net {
    rng: Rng,
    link: Link,
    listeners: HashMap<SocketAddr, Vec<Listening>>,
    wires: Vec<(SocketAddr, Wires<ToController, ToHost>)>,
    frozen: Vec<SocketAddr>,
    next_listener: u32,
    next_port: u16,
    connections: u64,
}

/// Connections a listener holds before it has accepted them; more are refused.
const BACKLOG: usize = 128;

/// The first of the ports given away, those of RFC 6335 §6.
const EPHEMERAL: u16 = 49_152;

/// A network inside this process. Clones are the same network.
#[derive(Clone, Debug)]
pub struct Network(Arc<Mutex<Net>>);

/// What a dialled number answers.
pub(crate) enum Dialled {
    Ringing(HostEnd, SocketAddr),
    NobodyThere,
    Silence,
}

impl Network {
    /// An empty network whose every random choice follows from `seed`.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(Net {
            rng: Rng::new(seed),
            link: Link::default(),
            listeners: HashMap::new(),
            wires: Vec::new(),
            frozen: Vec::new(),
            next_listener: 0,
            next_port: EPHEMERAL,
            connections: 0,
        })))
    }

    /// The same network with another link for connections to come.
    #[must_use]
    pub fn with_link(self, link: Link) -> Self {
        self.set_link(link);
        self
    }

    /// Changes the link for connections to come.
    pub fn set_link(&self, link: Link) {
        self.net().link = link;
    }

    /// Breaks every connection to `address`, for both sides at once, as a crash or a firewall would.
    pub fn reset(&self, address: SocketAddr) {
        for (_, wires) in self.net().wires.iter().filter(|(to, _)| *to == address) {
            wires.reset();
        }
    }

    /// From now on nothing reaches `address` or comes from it, and nobody is told: a pulled cable.
    /// What is under way waits for [`Network::thaw`].
    pub fn freeze(&self, address: SocketAddr) {
        let mut net = self.net();
        net.frozen.push(address);
        net.wires.iter().filter(|(to, _)| *to == address).for_each(|(_, wires)| wires.freeze(true));
    }

    /// Ends a [`Network::freeze`].
    pub fn thaw(&self, address: SocketAddr) {
        let mut net = self.net();
        net.frozen.retain(|frozen| *frozen != address);
        net.wires.iter().filter(|(to, _)| *to == address).for_each(|(_, wires)| wires.freeze(false));
    }

    /// How many connections exist, by either end.
    pub fn connections(&self) -> usize {
        let mut net = self.net();
        net.wires.retain(|(_, wires)| !wires.is_gone());
        net.wires.len()
    }

    fn net(&self) -> MutexGuard<'_, Net> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A port that no listener has at this address.
    fn free_port(net: &mut Net, address: SocketAddr) -> Result<SocketAddr, Error> {
        for _ in 0..=u16::MAX - EPHEMERAL {
            let candidate = SocketAddr::new(address.ip(), net.next_port);
            net.next_port = net.next_port.checked_add(1).unwrap_or(EPHEMERAL);
            if !net.listeners.contains_key(&candidate) {
                return Ok(candidate);
            }
        }
        Err(Error::new(Stage::Listen, ErrorKind::Resources, format!("no free port at {}", address.ip())))
    }

    pub(crate) fn listen(
        &self,
        at: SocketAddr,
        group: usize,
        wake: &Wake,
    ) -> Result<(ListenerId, SocketAddr), Error> {
        let mut net = self.net();
        let at = if at.port() == 0 { Self::free_port(&mut net, at)? } else { at };
        let id = ListenerId(net.next_listener);
        let there = net.listeners.entry(at).or_default();
        if there.iter().any(|other| other.group != group) {
            return Err(Error::new(Stage::Listen, ErrorKind::AddressInUse, format!("{at} is taken")));
        }
        there.push(Listening { id, group, wake: wake.clone(), backlog: VecDeque::new() });
        net.next_listener += 1;
        Ok((id, at))
    }

    pub(crate) fn unlisten(&self, id: ListenerId) {
        let mut net = self.net();
        let mut closed = Vec::new();
        net.listeners.retain(|_, there| {
            closed.extend(there.extract_if(.., |listening| listening.id == id));
            !there.is_empty()
        });
        // Dropped after the lock: the pending ends hang up and wake their hosts.
        drop(net);
    }

    /// Connects to whoever listens; of several engines at one address each gets its turn.
    pub(crate) fn dial(
        &self,
        to: SocketAddr,
        from: Option<SocketAddr>,
        host: &Wake,
        now: Instant,
    ) -> Dialled {
        let mut guard = self.net();
        let net = &mut *guard;
        if net.frozen.contains(&to) {
            return Dialled::Silence;
        }
        let Some(there) = net.listeners.get_mut(&to) else {
            return Dialled::NobodyThere;
        };
        let turn = net.connections as usize % there.len().max(1);
        let Some(listening) = there.get_mut(turn) else {
            return Dialled::NobodyThere;
        };
        if listening.backlog.len() >= BACKLOG {
            return Dialled::NobodyThere;
        }
        net.connections += 1;
        let from = match from {
            Some(from) if from.port() != 0 => from,
            from => {
                let port = net.next_port;
                net.next_port = net.next_port.checked_add(1).unwrap_or(EPHEMERAL);
                SocketAddr::new(from.map_or(to.ip(), |from| from.ip()), port)
            }
        };
        let rng = net.rng.fork(net.connections);
        let (host_end, end, wires) = pipe::connect(net.link, &rng, host.clone(), listening.wake.clone());
        listening.backlog.push_back(Pending { due: now + net.link.latency, end, peer: from });
        listening.wake.wake();
        net.wires.retain(|(_, wires)| !wires.is_gone());
        net.wires.push((to, wires));
        Dialled::Ringing(host_end, from)
    }

    /// A connection that has reached the listener by `now`.
    pub(crate) fn accept(&self, id: ListenerId, at: SocketAddr, now: Instant) -> Option<Pending> {
        let mut net = self.net();
        let backlog =
            &mut net.listeners.get_mut(&at)?.iter_mut().find(|listening| listening.id == id)?.backlog;
        backlog.front().is_some_and(|pending| pending.due <= now).then(|| backlog.pop_front()).flatten()
    }

    /// When the next connection reaches the listener.
    pub(crate) fn next_pending(&self, id: ListenerId, at: SocketAddr) -> Option<Instant> {
        let net = self.net();
        let listening = net.listeners.get(&at)?.iter().find(|listening| listening.id == id)?;
        listening.backlog.front().map(|pending| pending.due)
    }

    /// How long a refusal takes to come back.
    pub(crate) fn round_trip(&self) -> Duration {
        self.net().link.latency * 2
    }
}
