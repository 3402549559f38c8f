//! Setting connections up: listen, connect, accept, reject, and handing requests from one endpoint to another.

use std::{
    io,
    net::SocketAddr,
    os::fd::{AsFd, OwnedFd},
};

use super::{
    Endpoint,
    pass::{LISTENER, PENDING},
    pending::{Outcome, Pending, Stage},
    poller::Interest,
    slab::{pack, unpack},
    socket,
    stream::Stream,
    timer::Timer,
};
use crate::{
    config::ConnectionConfig,
    event::{Event, Listener, Request},
    mpa::{self, FRAME_MAX, Frame, FrameKind, MpaError},
    qp::Life,
    verbs::Qp,
};

/// Why a call about a connection was refused.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// There is no such queue pair.
    #[error("no such queue pair")]
    UnknownQp,
    /// There is no such request: it was answered, or the peer has gone.
    #[error("no such connection request")]
    UnknownRequest,
    /// The queue pair is or was connected. Each carries one connection in its life.
    #[error("the queue pair was used already")]
    Used,
    /// More private data than the frame has room for.
    #[error("{0}")]
    Frame(#[from] MpaError),
    /// The system refused a socket.
    #[error("{0}")]
    Io(#[from] io::Error),
}

/// A connection whose request is not answered, on its way to another endpoint.
#[derive(Debug)]
pub struct Handover {
    /// The socket.
    pub socket: OwnedFd,
    /// What was read from it.
    pub bytes: Vec<u8>,
}

/// A listening socket.
#[derive(Debug)]
pub(super) struct Listening {
    socket: OwnedFd,
    to: Option<Taker>,
}

/// Who gets the connections of a listener.
struct Taker(Box<dyn FnMut(OwnedFd) + Send>);

impl std::fmt::Debug for Taker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Taker")
    }
}

/// Connections accepted from one listener in one pass.
const ACCEPTS: usize = 16;

impl Endpoint {
    /// Listens, and returns the address that was bound.
    pub fn listen(&mut self, address: SocketAddr) -> io::Result<(Listener, SocketAddr)> {
        let (socket, bound) = socket::listen(address, &self.config)?;
        let (slot, generation) = self.listeners.insert_with(|_, _| Listening { socket, to: None });
        if let Some(Listening { socket, .. }) = self.listeners.at(slot)
            && let Err(error) = self.poller.add(socket.as_fd(), LISTENER | slot, Interest::Read)
        {
            self.listeners.remove(slot);
            return Err(error.into());
        }
        Ok((Listener(pack((slot, generation))), bound))
    }

    /// Ends listening. Requests that came in before stay.
    pub fn unlisten(&mut self, listener: Listener) {
        let (slot, generation) = unpack(listener.0);
        if let Some(Listening { socket, .. }) = self.listeners.get_mut(slot, generation) {
            let _ = self.poller.remove(socket.as_fd());
            self.listeners.remove(slot);
        }
    }

    /// Gives the connections of a listener to `to`, as they are accepted and before anything is read from them; another endpoint may
    /// [`adopt`](Self::adopt) them.
    pub fn divert(&mut self, listener: Listener, to: Box<dyn FnMut(OwnedFd) + Send>) {
        let (slot, generation) = unpack(listener.0);
        if let Some(listening) = self.listeners.get_mut(slot, generation) {
            listening.to = Some(Taker(to));
        }
    }

    /// Connects a queue pair to `address`. `Established`, `Rejected` or `ConnectFailed` follows.
    pub fn connect(
        &mut self,
        qp: Qp,
        address: SocketAddr,
        source: Option<SocketAddr>,
        config: &ConnectionConfig,
        private_data: &[u8],
    ) -> Result<(), CallError> {
        let limit = Timer::Starting(self.config.connect_timeout);
        let stream = idle(super::stream(&mut self.streams, qp))?;
        let fd = socket::connect(address, source, &self.config)?;
        self.poller.add(&fd, qp.slot() as u32, Interest::Write).map_err(io::Error::from)?;
        // After the last thing that can fail but the length of the private data; the socket is closed with that.
        stream.qp.connect(config, private_data)?;
        (stream.socket, stream.connecting, stream.interest) = (Some(fd), true, Interest::Write);
        stream.limit = limit;
        self.touch(qp.slot() as u32);
        Ok(())
    }

    /// Accepts a connection with a queue pair; receives should have been posted to it before.
    pub fn accept(
        &mut self,
        request: Request,
        qp: Qp,
        config: &ConnectionConfig,
        private_data: &[u8],
    ) -> Result<(), CallError> {
        let (slot, generation) = unpack(request.0);
        let limit = Timer::Starting(self.config.handshake_timeout);
        let pending = asked(self.pending.get_mut(slot, generation))?;
        let stream = idle(super::stream(&mut self.streams, qp))?;
        let (frame, _) =
            Frame::parse(&pending.bytes, FrameKind::Request)?.ok_or(CallError::UnknownRequest)?;
        stream.qp.accept(config, &frame, private_data)?;
        stream.qp.set_addresses(pending.local, pending.peer);
        stream.limit = limit;
        if let Some(pending) = self.pending.remove(slot) {
            // Cannot fail for a socket that is watched.
            let _ = self.poller.modify(&pending.socket, qp.slot() as u32, Interest::Read);
            stream.socket = Some(pending.socket);
        }
        self.touch(qp.slot() as u32);
        Ok(())
    }

    /// Refuses a connection.
    pub fn reject(&mut self, request: Request, private_data: &[u8]) -> Result<(), CallError> {
        let (slot, generation) = unpack(request.0);
        let pending = asked(self.pending.get_mut(slot, generation))?;
        let (frame, _) =
            Frame::parse(&pending.bytes, FrameKind::Request)?.ok_or(CallError::UnknownRequest)?;
        let mut bytes = Vec::with_capacity(FRAME_MAX);
        mpa::reject(&frame, private_data).encode(&mut bytes)?;
        if pending.refuse(&bytes) {
            pending.limit = Timer::Starting(self.config.close_timeout);
            self.watch_pending(slot);
        } else {
            self.drop_pending(slot);
        }
        Ok(())
    }

    /// Takes a connection that was accepted elsewhere, and of which `bytes` were read. A request event follows when the request
    /// is complete, and has the name that is returned. Refused where as many wait as those of one listener may.
    pub fn adopt(&mut self, handover: Handover) -> io::Result<Request> {
        let Handover { socket, bytes } = handover;
        let waiting = self.pending.iter().filter(|pending| pending.listener.is_none()).count();
        if waiting >= self.config.max_pending {
            socket::reset_on_close(&socket);
            return Err(io::ErrorKind::QuotaExceeded.into());
        }
        let request = self.take(socket, None, bytes)?;
        self.adopted.push(request);
        Ok(request)
    }

    /// Gives a connection away that was neither accepted nor rejected.
    pub fn release(&mut self, request: Request) -> Result<Handover, CallError> {
        let (slot, generation) = unpack(request.0);
        asked(self.pending.get_mut(slot, generation))?;
        let pending = self.pending.remove(slot).ok_or(CallError::UnknownRequest)?;
        let _ = self.poller.remove(&pending.socket);
        Ok(Handover { socket: pending.socket, bytes: pending.bytes })
    }

    fn take(&mut self, fd: OwnedFd, listener: Option<Listener>, bytes: Vec<u8>) -> io::Result<Request> {
        let (local, peer) = socket::prepare(&fd, &self.config)?;
        let limit = Timer::Starting(self.config.handshake_timeout);
        let stage = Stage::Reading;
        let (slot, generation) = self.pending.insert_with(|_, _| Pending {
            socket: fd,
            local,
            peer,
            listener,
            bytes,
            stage,
            limit,
        });
        if let Some(pending) = self.pending.at(slot)
            && let Err(error) = self.poller.add(&pending.socket, PENDING | slot, Interest::Read)
        {
            self.pending.remove(slot);
            return Err(error.into());
        }
        self.watch_pending(slot);
        Ok(Request(pack((slot, generation))))
    }

    /// Sees to it that a pending connection's wait ends in time.
    fn watch_pending(&mut self, slot: u32) {
        let Some(now) = self.last_poll else { return };
        if let Some(at) = self.pending.at(slot).and_then(|pending| pending.limit.arm(now)) {
            self.timer = Some(self.timer.map_or(at, |timer| timer.min(at)));
        }
    }

    pub(super) fn drop_pending(&mut self, slot: u32) {
        if let Some(pending) = self.pending.remove(slot) {
            let _ = self.poller.remove(&pending.socket);
        }
    }

    /// A listener has connections.
    // spec: IW-MPA-14
    pub(super) fn accept_some(&mut self, slot: u32, events: &mut Vec<Event>) {
        for _ in 0..ACCEPTS {
            let Some(Listening { socket: listening, to }) = self.listeners.at(slot) else { return };
            let socket = match socket::accept(listening) {
                Ok(Some(socket)) => socket,
                Ok(None) => return,
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    return;
                }
            };
            if let Some(Taker(to)) = to {
                to(socket);
                continue;
            }
            let listener = self.listeners.name(slot).map(|name| Listener(pack(name)));
            let waiting = self.pending.iter().filter(|pending| pending.listener == listener).count();
            if waiting >= self.config.max_pending {
                tracing::debug!("too many connections wait to be accepted");
                socket::reset_on_close(&socket);
                continue;
            }
            match self.take(socket, listener, Vec::new()) {
                // The request often comes with the connection.
                Ok(request) => self.read_pending(unpack(request.0).0, events),
                Err(error) => tracing::debug!(%error, "a connection was gone when it was accepted"),
            }
        }
    }

    /// A pending connection has bytes, or the end of them.
    pub(super) fn read_pending(&mut self, slot: u32, events: &mut Vec<Event>) {
        let Some(pending) = self.pending.at(slot) else { return };
        let outcome = pending.receive(&mut self.scratch);
        self.pending_outcome(slot, outcome, events);
    }

    /// Requests that came with their bytes.
    pub(super) fn look_at_adopted(&mut self, events: &mut Vec<Event>) {
        while let Some(request) = self.adopted.pop() {
            let (slot, generation) = unpack(request.0);
            if let Some(pending) = self.pending.get_mut(slot, generation) {
                let outcome = pending.look();
                self.pending_outcome(slot, outcome, events);
            }
        }
    }

    pub(super) fn pending_outcome(&mut self, slot: u32, outcome: Outcome, events: &mut Vec<Event>) {
        let (Some(name), Some(pending)) = (self.pending.name(slot), self.pending.at(slot)) else { return };
        let request = Request(pack(name));
        match outcome {
            Outcome::Wait => {}
            Outcome::Ask(info) => {
                events.push(Event::Request { request, listener: pending.listener, info });
            }
            Outcome::Gone => {
                if pending.stage == Stage::Asked {
                    events.push(Event::RequestGone { request });
                }
                self.drop_pending(slot);
            }
        }
    }
}

fn idle(stream: Option<&mut Stream>) -> Result<&mut Stream, CallError> {
    let stream = stream.ok_or(CallError::UnknownQp)?;
    if stream.qp.life() == Life::Idle { Ok(stream) } else { Err(CallError::Used) }
}

fn asked(pending: Option<&mut Pending>) -> Result<&mut Pending, CallError> {
    pending.filter(|pending| pending.stage == Stage::Asked).ok_or(CallError::UnknownRequest)
}
