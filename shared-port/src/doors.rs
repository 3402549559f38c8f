//! Listening sockets, and connections that have not sent their first byte.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    sync::Arc,
    time::{Duration, Instant},
};

use nvmf_transport::{
    Error, Listener, ListenerId, Placement, Stage,
    poller::{Interest, Poller, Ready},
};
use rustix::{
    io::Errno,
    net::{RecvFlags, recv},
};
use socket2::{Domain, Protocol, SockRef, Socket, Type};

use crate::SharedPortConfig;

/// Connections accepted by one listener in one pass.
const ACCEPTS: usize = 64;

/// How long a listener rests when the system has no descriptor or memory left for a connection.
const REST: Duration = Duration::from_millis(100);

/// Tokens of the poller: undecided connections, and with this bit listeners.
const LISTENER: u32 = 1 << 31;

/// Connections that went no further, by the reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TurnedAway {
    /// Their first byte begins no wire that is spoken here.
    pub unknown: u64,
    /// They said nothing in time.
    pub silent: u64,
    /// They had said nothing when too many others came.
    pub displaced: u64,
    /// Their peer closed them without a word.
    pub closed: u64,
}

/// A connection whose first byte is known and still to be read.
pub(crate) struct Decided {
    pub(crate) socket: OwnedFd,
    pub(crate) listener: ListenerId,
    pub(crate) first: u8,
}

struct Listening {
    socket: OwnedFd,
    address: SocketAddr,
    /// Not watched until then.
    resting: Option<Instant>,
    /// Who gets its connections, if not this engine.
    to: Option<Arc<dyn Placement>>,
}

struct Undecided {
    socket: OwnedFd,
    listener: ListenerId,
    /// When it has been silent for too long.
    until: Instant,
}

pub(crate) struct Doors {
    config: SharedPortConfig,
    poller: Poller,
    listeners: Vec<Option<Listening>>,
    undecided: BTreeMap<u32, Undecided>,
    next: u32,
    ready: Vec<Ready>,
    /// No later than the earliest end of any wait.
    timer: Option<Instant>,
    pub(crate) turned_away: TurnedAway,
}

/// What is known of a first byte.
enum First {
    Byte(u8),
    Waiting,
    Closed,
}

fn first(socket: &OwnedFd) -> First {
    let mut byte = [0u8; 1];
    match recv(socket, &mut byte, RecvFlags::PEEK | RecvFlags::DONTWAIT) {
        Ok((1.., _)) => First::Byte(byte[0]),
        Err(Errno::AGAIN | Errno::INTR) => First::Waiting,
        Ok(_) | Err(_) => First::Closed,
    }
}

impl Doors {
    pub(crate) fn new(config: SharedPortConfig) -> Result<Self, Error> {
        let failed = |e: Errno| Error::from_io(Stage::Setup, "cannot create a poller", e.into());
        Ok(Self {
            config,
            poller: Poller::new().map_err(failed)?,
            listeners: Vec::new(),
            undecided: BTreeMap::new(),
            next: 0,
            ready: Vec::new(),
            timer: None,
            turned_away: TurnedAway::default(),
        })
    }

    pub(crate) fn wait_handle(&self) -> BorrowedFd<'_> {
        self.poller.handle()
    }

    /// Connections that have not sent their first byte.
    pub(crate) fn undecided(&self) -> usize {
        self.undecided.len()
    }

    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        let resting = self.listeners.iter().flatten().filter_map(|listening| listening.resting);
        resting.chain(self.timer).min()
    }

    pub(crate) fn listen(&mut self, at: SocketAddr) -> Result<Listener, Error> {
        let failed = |error: std::io::Error| {
            Error::from_io(Stage::Listen, format!("cannot listen on {at}: {error}"), error)
        };
        let (socket, address) = open(at, self.config.backlog).map_err(failed)?;
        let id = self.listeners.len() as u32;
        self.poller.add(&socket, LISTENER | id, Interest::Read).map_err(|e| failed(e.into()))?;
        self.listeners.push(Some(Listening { socket, address, resting: None, to: None }));
        Ok(Listener { id: ListenerId(id), address })
    }

    /// Ends listening. Connections that came before stay.
    pub(crate) fn unlisten(&mut self, listener: ListenerId) {
        // Its number is not given again: queues that came by it still carry it.
        if let Some(listening) = self.listeners.get_mut(listener.0 as usize).and_then(Option::take) {
            // Fails only for what is not watched.
            let _ = self.poller.remove(&listening.socket);
        }
    }

    pub(crate) fn divert(&mut self, listener: ListenerId, to: Arc<dyn Placement>) {
        if let Some(Some(listening)) = self.listeners.get_mut(listener.0 as usize) {
            listening.to = Some(to);
        }
    }

    /// One pass: accepts, looks at first bytes, and gives up on whoever has been silent for too long.
    pub(crate) fn look(&mut self, now: Instant, decided: &mut Vec<Decided>) -> Result<(), Error> {
        self.wake_listeners(now);
        let mut ready = std::mem::take(&mut self.ready);
        let polled = self.poller.ready(&mut ready);
        for Ready { token, .. } in ready.drain(..) {
            match token & LISTENER {
                0 => self.look_at(token, decided),
                _ => self.accept(token & !LISTENER, now, decided),
            }
        }
        self.ready = ready;
        if self.timer.is_some_and(|at| at <= now) {
            self.expire(now);
        }
        polled.map_err(|e| Error::from_io(Stage::Transfer, "cannot ask which sockets are ready", e.into()))
    }

    fn look_at(&mut self, token: u32, decided: &mut Vec<Decided>) {
        let Some(waiting) = self.undecided.get(&token) else { return };
        let found = first(&waiting.socket);
        if let First::Waiting = found {
            return;
        }
        let Some(Undecided { socket, listener, .. }) = self.undecided.remove(&token) else { return };
        let _ = self.poller.remove(&socket);
        match found {
            First::Byte(first) => decided.push(Decided { socket, listener, first }),
            First::Waiting | First::Closed => self.turned_away.closed += 1,
        }
    }

    /// Accepts what waits at a listener, as much as is fair.
    fn accept(&mut self, listener: u32, now: Instant, decided: &mut Vec<Decided>) {
        for _ in 0..ACCEPTS {
            let Some(Some(listening)) = self.listeners.get_mut(listener as usize) else { return };
            let socket: OwnedFd = match SockRef::from(&listening.socket).accept() {
                Ok((socket, _)) => socket.into(),
                Err(error) if is_nothing(&error) => return,
                Err(error) => {
                    // The connection stays in the backlog and the listener readable: look away for a while.
                    tracing::warn!(address = %listening.address, %error, "cannot accept a connection");
                    let _ = self.poller.remove(&listening.socket);
                    listening.resting = now.checked_add(REST);
                    return;
                }
            };
            match &listening.to {
                Some(to) => to.place(socket, ListenerId(listener)),
                None => self.admit(socket, ListenerId(listener), now, decided),
            }
        }
    }

    /// Takes in a connection. Its first byte has often come with it.
    pub(crate) fn admit(
        &mut self,
        socket: OwnedFd,
        listener: ListenerId,
        now: Instant,
        decided: &mut Vec<Decided>,
    ) {
        match first(&socket) {
            First::Byte(first) => return decided.push(Decided { socket, listener, first }),
            First::Closed => return self.turned_away.closed += 1,
            First::Waiting => {}
        }
        if self.undecided.len() >= self.config.max_undecided.max(1) {
            // Whoever means it speaks within a round trip; whoever holds connections open without a word only competes with
            // his own.
            let oldest =
                self.undecided.iter().min_by_key(|(_, waiting)| waiting.until).map(|(token, _)| *token);
            if let Some(oldest) = oldest.and_then(|token| self.undecided.remove(&token)) {
                let _ = self.poller.remove(&oldest.socket);
                self.turned_away.displaced += 1;
                tracing::debug!("too many connections say nothing, the oldest is closed");
            }
        }
        let Some(until) = now.checked_add(self.config.first_byte_timeout) else { return };
        let token = self.token();
        if let Err(error) = self.poller.add(&socket, token, Interest::Read) {
            tracing::warn!(%error, "cannot watch a socket");
            return;
        }
        self.timer = Some(self.timer.map_or(until, |timer| timer.min(until)));
        self.undecided.insert(token, Undecided { socket, listener, until });
    }

    /// A token that no waiting connection has.
    fn token(&mut self) -> u32 {
        loop {
            self.next = self.next.wrapping_add(1) & !LISTENER;
            if !self.undecided.contains_key(&self.next) {
                return self.next;
            }
        }
    }

    fn expire(&mut self, now: Instant) {
        let (poller, turned_away) = (&self.poller, &mut self.turned_away);
        self.undecided.retain(|_, waiting| {
            if waiting.until > now {
                return true;
            }
            let _ = poller.remove(&waiting.socket);
            turned_away.silent += 1;
            tracing::debug!(peer = ?peer(&waiting.socket), "a connection is closed that said nothing");
            false
        });
        self.timer = self.undecided.values().map(|waiting| waiting.until).min();
    }

    /// Watches the listeners again that have rested.
    fn wake_listeners(&mut self, now: Instant) {
        for (token, listening) in self.listeners.iter_mut().enumerate() {
            let Some(listening) = listening else { continue };
            if listening.resting.is_some_and(|until| until <= now) {
                listening.resting = match self.poller.add(
                    listening.socket.as_fd(),
                    LISTENER | token as u32,
                    Interest::Read,
                ) {
                    Ok(()) => None,
                    Err(_) => now.checked_add(REST),
                };
            }
        }
    }
}

/// The peer's address, for people.
pub(crate) fn peer(socket: &OwnedFd) -> Option<SocketAddr> {
    SockRef::from(socket).peer_addr().ok()?.as_socket()
}

/// Whether there was no connection to accept, or it was gone before it was.
fn is_nothing(error: &std::io::Error) -> bool {
    use std::io::ErrorKind;
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::ConnectionAborted | ErrorKind::Interrupted)
}

fn open(at: SocketAddr, backlog: u16) -> std::io::Result<(OwnedFd, SocketAddr)> {
    let socket = Socket::new(Domain::for_address(at), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    socket.set_reuse_address(true)?;
    if at.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.bind(&at.into())?;
    socket.listen(backlog.into())?;
    let bound = socket.local_addr()?.as_socket().unwrap_or(at);
    Ok((socket.into(), bound))
}
