//! One connection of a floor: the receive that brings several PDUs, and the send that takes several.
//!
//! *Receiving*: while the payload that is due is large, straight into its place, with room behind it for a few headers; else
//! into the bounce memory, from which payloads are copied. A payload may come in any number of pieces; only a header that is cut
//! is moved. *Sending*: headers lie in one arena, data stays where it is; neighbours in the arena share an entry of the vector.

use std::{
    io::{self, IoSlice, IoSliceMut},
    net::TcpStream,
};

use rustix::{
    io::Errno,
    net::{RecvAncillaryBuffer, RecvFlags, SendAncillaryBuffer, SendFlags, recv, recvmsg, sendmsg},
};
use smallvec::SmallVec;

use super::{DIGEST_LEN, Exchange, Traffic, strange};

/// Received in one system call when payloads are small.
const BOUNCE: usize = 256 << 10;
/// Payloads from this size on are received straight into their place.
const DIRECT: usize = 8 << 10;
/// What is received besides such a payload: the next headers or a batch of commands, and little of what would have to be copied.
const BESIDE: usize = 4 << 10;
/// System calls in one go, so that what has been answered is sent at last.
const RECEIVES: usize = 8;
/// Entries of one vector (IOV_MAX).
const ENTRIES: usize = 1024;

/// Where the payload of a PDU belongs.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Landing {
    pub(super) at: usize,
    pub(super) len: usize,
    pub(super) cid: u16,
    /// Nothing more of this transfer follows.
    pub(super) last: bool,
}

/// What an end does about what arrives.
pub(super) trait End {
    /// A header, without its digest; answers where its payload belongs.
    fn header(&mut self, header: &[u8], out: &mut Outbox) -> io::Result<Landing>;
    /// A payload has landed.
    fn landed(&mut self, landing: Landing, memory: &mut [u8], out: &mut Outbox) -> io::Result<()>;
}

/// What came of a receive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Arrived {
    Nothing,
    Bytes,
    End,
}

#[derive(Debug)]
pub(super) struct Link {
    pub(super) socket: TcpStream,
    inbox: Inbox,
    pub(super) out: Outbox,
}

#[derive(Debug)]
struct Inbox {
    bounce: Vec<u8>,
    /// Bytes of a cut header at the front of the bounce memory.
    have: usize,
    landing: Landing,
    left: usize,
    /// Bytes of a data digest that are still to come.
    skip: usize,
    header_digest: usize,
    data_digest: usize,
    received: u64,
    receives: u64,
}

impl Link {
    pub(super) fn new(socket: TcpStream, exchange: &Exchange) -> io::Result<Self> {
        socket.set_nodelay(true)?;
        let digest = |on: bool| if on { DIGEST_LEN } else { 0 };
        let bounce = if exchange.block_size as usize >= DIRECT { 2 * BESIDE } else { BOUNCE };
        Ok(Self {
            socket,
            inbox: Inbox {
                bounce: vec![0; bounce],
                have: 0,
                landing: Landing::default(),
                left: 0,
                skip: 0,
                header_digest: digest(exchange.header_digest),
                data_digest: digest(exchange.data_digest),
                received: 0,
                receives: 0,
            },
            out: Outbox {
                header_digest: digest(exchange.header_digest),
                data_digest: digest(exchange.data_digest),
                ..Outbox::default()
            },
        })
    }

    /// What was moved so far.
    pub(super) fn traffic(&self) -> Traffic {
        Traffic {
            sent: self.out.sent,
            sends: self.out.sends,
            received: self.inbox.received,
            receives: self.inbox.receives,
        }
    }

    /// Takes in what is there; blocks for it unless `flags` say otherwise. More than one system call only while one brings all
    /// it has room for.
    #[inline]
    pub(super) fn receive(
        &mut self,
        memory: &mut [u8],
        end: &mut impl End,
        mut flags: RecvFlags,
    ) -> io::Result<Arrived> {
        let mut arrived = Arrived::Nothing;
        for _ in 0..RECEIVES {
            // A large payload is worth an answer of its own: waiting for the next would leave the peer idle.
            let large = self.inbox.direct() > 0;
            let (received, room) = self.inbox.receive(&self.socket, memory, flags);
            match received {
                Ok(0) => return Ok(Arrived::End),
                Ok(received) => {
                    arrived = Arrived::Bytes;
                    self.inbox.take(received, memory, end, &mut self.out)?;
                    if received < room || large {
                        break;
                    }
                }
                Err(Errno::AGAIN | Errno::INTR) => break,
                Err(error) => return Err(error.into()),
            }
            flags |= RecvFlags::DONTWAIT;
        }
        Ok(arrived)
    }
}

impl Inbox {
    /// Bytes of the payload that is due which are received straight into their place.
    #[inline]
    fn direct(&self) -> usize {
        if self.left >= DIRECT { self.left } else { 0 }
    }

    /// One system call; answers what it brought and what it had room for.
    #[inline]
    fn receive(
        &mut self,
        socket: &TcpStream,
        memory: &mut [u8],
        flags: RecvFlags,
    ) -> (Result<usize, Errno>, usize) {
        let direct = self.direct();
        let place = self.landing.at + self.landing.len - self.left;
        match memory.get_mut(place..place + direct).filter(|_| direct > 0) {
            Some(place) => {
                let beside = self.bounce.get_mut(..BESIDE).unwrap_or_default();
                let room = direct + beside.len();
                let mut vector = [IoSliceMut::new(place), IoSliceMut::new(beside)];
                let got = recvmsg(socket, &mut vector, &mut RecvAncillaryBuffer::default(), flags);
                (got.map(|got| got.bytes), room)
            }
            None => {
                let room = self.bounce.get_mut(self.have..).unwrap_or_default();
                let len = room.len();
                (recv(socket, room, flags).map(|(received, _)| received), len)
            }
        }
    }

    /// Goes through what has arrived.
    #[inline]
    fn take(
        &mut self,
        received: usize,
        memory: &mut [u8],
        end: &mut impl End,
        out: &mut Outbox,
    ) -> io::Result<()> {
        self.received += received as u64;
        self.receives += 1;
        let placed = received.min(self.direct());
        let filled = self.have + received - placed;
        let mut at = 0;
        self.left -= placed;
        loop {
            let here = filled - at;
            if self.landing.len > 0 {
                let piece = self.left.min(here);
                if piece > 0 {
                    let place = self.landing.at + self.landing.len - self.left;
                    let (Some(to), Some(from)) =
                        (memory.get_mut(place..place + piece), self.bounce.get(at..at + piece))
                    else {
                        return Err(strange("no such place"));
                    };
                    to.copy_from_slice(from);
                    self.left -= piece;
                    at += piece;
                }
                let digest = self.skip.min(filled - at);
                at += if self.left == 0 { digest } else { 0 };
                self.skip -= if self.left == 0 { digest } else { 0 };
                if self.left + self.skip > 0 {
                    break;
                }
                let landing = std::mem::take(&mut self.landing);
                end.landed(landing, memory, out)?;
                continue;
            }
            let rest = self.bounce.get(at..filled).unwrap_or_default();
            let Some(&len) = rest.get(2) else { break };
            let len = usize::from(len);
            if rest.len() < len + self.header_digest {
                break;
            }
            let header = rest.get(..len).filter(|header| header.len() >= super::HEADER_LEN);
            self.landing = end.header(header.ok_or_else(|| strange("a short header"))?, out)?;
            if memory.len() < self.landing.at + self.landing.len {
                return Err(strange("no such place"));
            }
            self.left = self.landing.len;
            self.skip = if self.left > 0 { self.data_digest } else { 0 };
            at += len + self.header_digest;
        }
        self.have = filled - at;
        if at > 0 && self.have > 0 {
            self.bounce.copy_within(at..filled, 0);
        }
        Ok(())
    }
}

/// A piece of what is to be sent.
#[derive(Clone, Copy, Debug)]
struct Piece {
    /// In the memory, and not in the arena.
    data: bool,
    at: usize,
    len: usize,
}

#[derive(Debug, Default)]
pub(super) struct Outbox {
    arena: Vec<u8>,
    pieces: Vec<Piece>,
    /// Pieces that have left, and bytes of the next that have.
    gone: usize,
    part: usize,
    header_digest: usize,
    data_digest: usize,
    sent: u64,
    sends: u64,
}

impl Outbox {
    /// Adds a header and room for its digest.
    #[inline]
    pub(super) fn header(&mut self, header: &[u8]) {
        let at = self.arena.len();
        self.arena.extend_from_slice(header);
        if self.header_digest > 0 {
            self.arena.extend_from_slice(&[0; DIGEST_LEN]);
        }
        self.grown(at);
    }

    /// Adds data that lies in the memory, and room for its digest.
    #[inline]
    pub(super) fn data(&mut self, at: usize, len: usize) {
        self.pieces.push(Piece { data: true, at, len });
        if self.data_digest > 0 {
            let at = self.arena.len();
            self.arena.extend_from_slice(&[0; DIGEST_LEN]);
            self.grown(at);
        }
    }

    #[inline]
    fn grown(&mut self, from: usize) {
        let more = self.arena.len() - from;
        match self.pieces.last_mut() {
            Some(last) if !last.data => last.len += more,
            _ => self.pieces.push(Piece { data: false, at: from, len: more }),
        }
    }

    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    /// Sends what waits with one system call, if the socket takes it. Never blocks: both ends could, and for each other.
    #[inline]
    pub(super) fn flush(&mut self, socket: &TcpStream, memory: &[u8]) -> io::Result<()> {
        if self.pieces.is_empty() {
            return Ok(());
        }
        let mut vector: SmallVec<[IoSlice<'_>; 272]> = SmallVec::new();
        let mut skip = self.part;
        for piece in self.pieces.iter().skip(self.gone).take(ENTRIES) {
            let from = if piece.data { memory } else { self.arena.as_slice() };
            let slice = from.get(piece.at + skip..piece.at + piece.len);
            vector.push(IoSlice::new(slice.ok_or_else(|| strange("no such place"))?));
            skip = 0;
        }
        let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
        match sendmsg(socket, &vector, &mut SendAncillaryBuffer::default(), flags) {
            Ok(sent) => {
                drop(vector);
                self.went(sent);
                Ok(())
            }
            Err(Errno::AGAIN | Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    #[inline]
    fn went(&mut self, sent: usize) {
        self.sent += sent as u64;
        self.sends += 1;
        let mut left = self.part + sent;
        while let Some(piece) = self.pieces.get(self.gone).filter(|piece| piece.len <= left) {
            left -= piece.len;
            self.gone += 1;
        }
        self.part = left;
        if self.gone == self.pieces.len() {
            self.pieces.clear();
            self.arena.clear();
            self.gone = 0;
        }
    }
}
