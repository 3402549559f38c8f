//! The target of a floor: a memory, and the answers to commands on it.
//!
//! Reads are answered from the memory and writes land in it, without a check but that the place exists. One turn after the other:
//! between turns it blocks, so that it costs whoever shares its processor nothing.

use std::{
    io::{self, Read},
    net::{SocketAddr, TcpListener, TcpStream},
    time::Duration,
};

use nvmf_transport::{Buffer, Region, WaitPolicy};

use super::{
    Exchange, HELLO_LEN, OP_WRITE, kind,
    link::{Arrived, End, Landing, Link, Outbox},
    pdu, response, strange, u16_at, u32_at, u64_at,
    waiting::Waiting,
};
use crate::{clock, data, load::LoadError};

/// A host greets at once, and opens its connections one after the other.
const GREETING: Duration = Duration::from_secs(10);

/// A listening peer.
#[derive(Debug)]
pub struct Peer {
    listener: TcpListener,
    memory: Buffer,
    wait: WaitPolicy,
}

impl Peer {
    /// Listens on an address, with a memory of `bytes` that is filled from a seed.
    pub fn bind(at: SocketAddr, bytes: usize, seed: u64, wait: WaitPolicy) -> Result<Self, LoadError> {
        let listener = TcpListener::bind(at).map_err(|error| LoadError::Floor { peer: at, error })?;
        let mut memory = Region::allocate(bytes)?.into_buffer();
        data::fill(&mut memory, 0, seed);
        Ok(Self { listener, memory, wait })
    }

    /// Where it listens.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// What it holds.
    pub fn memory(&mut self) -> &mut [u8] {
        &mut self.memory
    }

    /// Serves the connections of one host until it has closed them.
    pub fn turn(&mut self) -> io::Result<()> {
        let (exchange, first) = greeting(self.listener.accept()?.0)?;
        let mut sockets = vec![first];
        while sockets.len() < usize::from(exchange.queues) {
            sockets.push(greeting(self.listener.accept()?.0)?.1);
        }
        let links: io::Result<Vec<_>> =
            sockets.into_iter().map(|socket| Link::new(socket, &exchange)).collect();
        let blank = Commands { exchange, places: vec![0; exchange.depth.into()], room: self.memory.len() };
        let mut queues: Vec<_> = links?.into_iter().map(|link| (link, blank.clone())).collect();
        let mut waiting = Waiting::new(self.wait);
        let mut now = clock();
        while !queues.is_empty() {
            let flags = waiting.flags(queues.iter().map(|(link, _)| link), now);
            let mut worked = false;
            let mut over = false;
            for (link, commands) in &mut queues {
                match link.receive(&mut self.memory, commands, flags)? {
                    Arrived::Bytes => worked = true,
                    Arrived::Nothing => {}
                    Arrived::End => over = true,
                }
                link.out.flush(&link.socket, &self.memory)?;
            }
            if over {
                // A host closes all of its connections at once, with nothing outstanding.
                return Ok(());
            }
            now = clock();
            waiting.after(worked, queues.iter().map(|(link, _)| link), now)?;
        }
        Ok(())
    }
}

fn greeting(mut socket: TcpStream) -> io::Result<(Exchange, TcpStream)> {
    let mut hello = [0; HELLO_LEN];
    socket.set_read_timeout(Some(GREETING))?;
    socket.read_exact(&mut hello)?;
    socket.set_read_timeout(None)?;
    Ok((Exchange::decode(&hello)?, socket))
}

#[derive(Clone, Debug)]
struct Commands {
    exchange: Exchange,
    /// Of the commands whose data was asked for.
    places: Vec<usize>,
    room: usize,
}

impl End for Commands {
    #[inline]
    fn header(&mut self, header: &[u8], out: &mut Outbox) -> io::Result<Landing> {
        let size = self.exchange.block_size;
        if header.first() == Some(&kind::H2C_DATA) {
            let (cid, offset, len) = (u16_at(header, 8), u32_at(header, 12), u32_at(header, 16));
            let place = self.places.get(usize::from(cid)).filter(|_| offset <= size && len <= size - offset);
            let at = place.ok_or_else(|| strange("data that was not asked for"))? + offset as usize;
            return Ok(Landing { at, len: len as usize, cid, last: offset + len == size });
        }
        let (cid, at) = (u16_at(header, 10), u64_at(header, 48));
        let at = usize::try_from(at).ok().filter(|at| at.saturating_add(size as usize) <= self.room);
        let (Some(&kind::COMMAND), Some(at)) = (header.first(), at) else {
            return Err(strange("the host sent no command that can be carried out"));
        };
        if header.get(8) == Some(&OP_WRITE) {
            if size <= self.exchange.in_capsule {
                return Ok(Landing { at, len: size as usize, cid, last: true });
            }
            let place = self.places.get_mut(usize::from(cid));
            *place.ok_or_else(|| strange("a command beyond the depth"))? = at;
            out.header(&pdu(kind::R2T, false, cid, 0, size));
            return Ok(Landing::default());
        }
        let mut from = 0;
        while from < size {
            let piece = self.exchange.c2h_data.min(size - from);
            out.header(&pdu(kind::C2H_DATA, from + piece == size, cid, from, piece));
            out.data(at + from as usize, piece as usize);
            from += piece;
        }
        if self.exchange.responses {
            out.header(&response(cid));
        }
        Ok(Landing::default())
    }

    #[inline]
    fn landed(&mut self, landing: Landing, _: &mut [u8], out: &mut Outbox) -> io::Result<()> {
        if landing.last {
            out.header(&response(landing.cid));
        }
        Ok(())
    }
}
