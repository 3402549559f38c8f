//! Connections that were accepted by TCP and not yet by the upper layer.

use std::{net::SocketAddr, os::fd::OwnedFd, time::Instant};

use rustix::{
    io::Errno,
    net::{RecvFlags, SendFlags, recv, send},
};

use super::{socket, timer::Timer};
use crate::{
    event::{Listener, RequestInfo},
    mpa::{FRAME_MAX, Frame, FrameKind},
};

#[derive(Debug)]
pub(super) struct Pending {
    pub(super) socket: OwnedFd,
    pub(super) local: SocketAddr,
    pub(super) peer: SocketAddr,
    pub(super) listener: Option<Listener>,
    /// What was read: the request, or its beginning.
    pub(super) bytes: Vec<u8>,
    pub(super) stage: Stage,
    pub(super) limit: Timer,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// The request is not complete.
    Reading,
    /// The upper layer has been asked.
    Asked,
    /// A rejection was sent; the peer is to close.
    Closing,
}

/// What became of a pending connection.
pub(super) enum Outcome {
    /// Nothing new.
    Wait,
    /// The request is complete.
    Ask(Box<RequestInfo>),
    /// It is no use.
    Gone,
}

impl Pending {
    /// Takes in what has arrived.
    pub(super) fn receive(&mut self, scratch: &mut [u8]) -> Outcome {
        let room = scratch.len().min(FRAME_MAX);
        let n = match recv(&self.socket, &mut scratch[..room], RecvFlags::empty()) {
            Ok((0, _)) => return Outcome::Gone,
            Ok((n, _)) => n,
            Err(Errno::AGAIN | Errno::INTR) => return Outcome::Wait,
            Err(_) => return Outcome::Gone,
        };
        match self.stage {
            Stage::Reading => {
                self.bytes.extend_from_slice(&scratch[..n]);
                self.look()
            }
            // Nothing may follow the request before the reply.
            // spec: IW-MPA-10
            Stage::Asked => Outcome::Gone,
            Stage::Closing => Outcome::Wait,
        }
    }

    /// Looks at what was read.
    // spec: IW-MPA-03, IW-MPA-10
    pub(super) fn look(&mut self) -> Outcome {
        let info = match Frame::parse(&self.bytes, FrameKind::Request) {
            Ok(None) => return Outcome::Wait,
            Ok(Some((frame, []))) => RequestInfo {
                local: self.local,
                peer: self.peer,
                private_data: frame.private_data.to_vec(),
                ird: frame.enhanced.and_then(|enhanced| enhanced.ird),
                ord: frame.enhanced.and_then(|enhanced| enhanced.ord),
            },
            Ok(Some(_)) => {
                tracing::debug!(peer = %self.peer, "bytes behind an MPA request");
                return Outcome::Gone;
            }
            Err(error) => {
                tracing::debug!(peer = %self.peer, %error, "no MPA request");
                return Outcome::Gone;
            }
        };
        self.stage = Stage::Asked;
        self.limit = Timer::Off;
        Outcome::Ask(Box::new(info))
    }

    /// Says the last words. Whether they were taken whole.
    pub(super) fn refuse(&mut self, frame: &[u8]) -> bool {
        // The first bytes on a new connection: the socket has room for them.
        let whole = send(&self.socket, frame, SendFlags::NOSIGNAL) == Ok(frame.len());
        socket::shut_down(&self.socket);
        self.stage = Stage::Closing;
        whole
    }

    pub(super) fn expired(&self, now: Instant) -> bool {
        self.limit.expired(now)
    }
}
