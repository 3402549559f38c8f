//! The host of a floor: keeps the depth outstanding on every connection and notes how long each I/O took, as the load does.

use std::{
    io::{self, Write},
    net::{Shutdown, SocketAddr, TcpStream},
    time::{Duration, Instant},
};

use nvmf_transport::{Region, WaitPolicy};

use super::{
    COMMAND_LEN, Exchange, LAST, OP_READ, OP_WRITE, Traffic, kind,
    link::{Arrived, End, Landing, Link, Outbox},
    pdu, strange, u16_at, u32_at,
    waiting::Waiting,
};
use crate::{
    clock, data,
    load::{LoadError, Shape},
    pattern::Places,
    window::{Found, Meter, Window},
};

/// A peer that says nothing for so long has been stopped.
const PATIENCE: Duration = Duration::from_secs(20);

/// What was found, with what was moved from the first byte to the last.
#[derive(Debug, Default)]
pub struct FloorFound {
    /// As of a load.
    pub found: Found,
    /// Reads, warm-up included.
    pub reads: u64,
    /// Writes, warm-up included.
    pub writes: u64,
    /// What all of that moved.
    pub traffic: Traffic,
}

#[derive(Clone, Copy, Debug)]
struct Slot {
    /// Of the I/O, in bytes.
    at: u64,
    started: Instant,
    write: bool,
}

/// One connection and its commands.
struct Queue {
    link: Link,
    commands: Commands,
}

struct Commands {
    exchange: Exchange,
    /// Of the first slot's data in the memory.
    base: usize,
    slots: Vec<Slot>,
    /// Commands that have ended and not been looked at.
    ended: Vec<u16>,
}

impl Commands {
    #[inline]
    fn data_of(&self, cid: u16) -> usize {
        self.base + usize::from(cid) * self.exchange.block_size as usize
    }
}

impl End for Commands {
    #[inline]
    fn header(&mut self, header: &[u8], out: &mut Outbox) -> io::Result<Landing> {
        let size = self.exchange.block_size;
        let (offset, len) = (u32_at(header, 12), u32_at(header, 16));
        let cid = match header.first() {
            Some(&kind::RESPONSE) => u16_at(header, 20),
            _ => u16_at(header, 8),
        };
        if usize::from(cid) >= self.slots.len() || offset > size || len > size - offset {
            return Err(strange("the peer speaks of what was not asked for"));
        }
        let at = self.data_of(cid);
        match header.first() {
            Some(&kind::C2H_DATA) => {
                let last = header.get(1).is_some_and(|flags| flags & LAST != 0) && !self.exchange.responses;
                Ok(Landing { at: at + offset as usize, len: len as usize, cid, last })
            }
            Some(&kind::RESPONSE) => {
                self.ended.push(cid);
                Ok(Landing::default())
            }
            Some(&kind::R2T) => {
                let end = offset + len;
                let mut from = offset;
                while from < end {
                    let piece = self.exchange.h2c_data.min(end - from);
                    out.header(&pdu(kind::H2C_DATA, from + piece == end, cid, from, piece));
                    out.data(at + from as usize, piece as usize);
                    from += piece;
                }
                Ok(Landing::default())
            }
            _ => Err(strange("the peer sent no PDU of a target")),
        }
    }

    #[inline]
    fn landed(&mut self, landing: Landing, _: &mut [u8], _: &mut Outbox) -> io::Result<()> {
        if landing.last {
            self.ended.push(landing.cid);
        }
        Ok(())
    }
}

/// Runs a floor against a peer.
pub fn run(
    peer: SocketAddr,
    shape: &Shape,
    exchange: &Exchange,
    wait: WaitPolicy,
    meter: &Meter,
) -> Result<FloorFound, LoadError> {
    let count = shape.span / u64::from(shape.block_size.max(1));
    if count == 0 {
        return Err(LoadError::NoRoom);
    }
    let depth = usize::from(shape.depth);
    let per_queue = depth * shape.block_size as usize;
    let mut memory = Region::allocate(per_queue * usize::from(shape.queues))?.into_buffer();
    data::fill(&mut memory, 0, shape.seed);
    let queue = |index: u16| {
        let mut socket = TcpStream::connect(peer)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        socket.write_all(&exchange.encode())?;
        let empty = Slot { at: 0, started: clock(), write: false };
        let commands = Commands {
            exchange: *exchange,
            base: usize::from(index) * per_queue,
            slots: vec![empty; depth],
            ended: Vec::with_capacity(depth),
        };
        Ok(Queue { link: Link::new(socket, exchange)?, commands })
    };
    let queues: io::Result<Vec<_>> = (0..shape.queues).map(queue).collect();
    let places = Places::new(shape.pattern, count, shape.seed);
    let run = |queues| {
        Run { queues, memory: &mut memory, shape, places, result: FloorFound::default() }.run(wait, meter)
    };
    queues.and_then(run).map_err(|error| LoadError::Floor { peer, error })
}

struct Run<'a> {
    queues: Vec<Queue>,
    memory: &'a mut [u8],
    shape: &'a Shape,
    places: Places,
    result: FloorFound,
}

impl Run<'_> {
    fn run(mut self, wait: WaitPolicy, meter: &Meter) -> io::Result<FloorFound> {
        let mut waiting = Waiting::new(wait);
        let mut outstanding = 0;
        let mut now = clock();
        for index in 0..self.queues.len() {
            for cid in 0..self.shape.depth {
                self.issue(index, cid, now);
                outstanding += 1;
            }
        }
        self.flush()?;
        let mut window = Window::open(meter, self.shape.warm_up, self.shape.seconds);
        let mut last_work = now;
        while outstanding > 0 {
            let flags = waiting.flags(self.queues.iter().map(|queue| &queue.link), now);
            let mut worked = false;
            for Queue { link, commands } in &mut self.queues {
                match link.receive(self.memory, commands, flags)? {
                    Arrived::Bytes => worked = true,
                    Arrived::Nothing => {}
                    Arrived::End => return Err(strange("the peer has ended")),
                }
            }
            now = clock();
            window.tick(now, &mut self.result.found);
            for index in 0..self.queues.len() {
                while let Some(cid) = self.ended(index, now, window.counts()) {
                    match window.running() {
                        true => self.issue(index, cid, now),
                        false => outstanding -= 1,
                    }
                }
            }
            self.flush()?;
            if worked {
                last_work = now;
            } else if now.duration_since(last_work) > PATIENCE {
                return Err(io::ErrorKind::TimedOut.into());
            }
            waiting.after(worked, self.queues.iter().map(|queue| &queue.link), now)?;
        }
        for Queue { link, .. } in &self.queues {
            let (sum, link_sum) = (&mut self.result.traffic, link.traffic());
            sum.sent += link_sum.sent;
            sum.sends += link_sum.sends;
            sum.received += link_sum.received;
            sum.receives += link_sum.receives;
            link.socket.shutdown(Shutdown::Both)?;
        }
        let FloorFound { reads, writes, traffic, .. } = &self.result;
        tracing::info!(reads, writes, ?traffic, "a turn of the floor ended");
        Ok(self.result)
    }

    #[inline]
    fn flush(&mut self) -> io::Result<()> {
        self.queues.iter_mut().try_for_each(|Queue { link, .. }| link.out.flush(&link.socket, self.memory))
    }

    /// Notes the end of the next command that has ended.
    #[inline]
    fn ended(&mut self, index: usize, now: Instant, counts: bool) -> Option<u16> {
        let commands = &mut self.queues.get_mut(index)?.commands;
        let cid = commands.ended.pop()?;
        let slot = *commands.slots.get(usize::from(cid))?;
        let found = &mut self.result.found;
        if self.shape.verify && !slot.write {
            let from = commands.data_of(cid);
            let data = self.memory.get(from..from + self.shape.block_size as usize).unwrap_or_default();
            match data::mismatch(data, slot.at, self.shape.seed) {
                None => found.verified += 1,
                Some(byte) => {
                    found.errors += 1;
                    found.last_error = Some(LoadError::Mismatch(byte));
                }
            }
        }
        if counts {
            let side = if slot.write { &mut found.writes } else { &mut found.reads };
            side.record(now.saturating_duration_since(slot.started));
        }
        Some(cid)
    }

    #[inline]
    fn issue(&mut self, index: usize, cid: u16, now: Instant) {
        let (place, write) = self.places.step();
        let size = self.shape.block_size;
        let at = place * u64::from(size);
        let Some(Queue { link, commands }) = self.queues.get_mut(index) else { return };
        let from = commands.data_of(cid);
        if let Some(slot) = commands.slots.get_mut(usize::from(cid)) {
            *slot = Slot { at, started: now, write };
        }
        let mut command = [0; COMMAND_LEN];
        command[0] = kind::COMMAND;
        command[2] = COMMAND_LEN as u8;
        command[8] = if write { OP_WRITE } else { OP_READ };
        command[10..12].copy_from_slice(&cid.to_le_bytes());
        command[48..56].copy_from_slice(&at.to_le_bytes());
        link.out.header(&command);
        match write {
            false => self.result.reads += 1,
            true => {
                self.result.writes += 1;
                if self.shape.verify
                    && let Some(data) = self.memory.get_mut(from..from + size as usize)
                {
                    data::fill(data, at, self.shape.seed);
                }
                if size <= commands.exchange.in_capsule {
                    link.out.data(from, size as usize);
                }
            }
        }
    }
}
