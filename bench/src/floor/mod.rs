//! The floor: what the exchange of a load costs on bare sockets, with everything above the bytes left out.
//!
//! Both ends move the very bytes that NVMe/TCP moves for the same I/Os: a command capsule of 72 bytes, with the data behind it
//! where the transport would send it in the capsule; C2HData headers of 24 bytes before the data of reads; R2T, H2CData and a
//! response capsule for larger writes; digests as 4 bytes that nobody computes. Depth, places, in-flight order and waiting are
//! those of the load. What is left out is what a transport has to earn: no state per command beyond a place, no checks,
//! no namespaces, no completions to hand over.
//!
//! Everything that one receive brought is answered with one vectored send. Small payloads are received into a bounce memory and
//! copied; large ones are received straight into their place, together with the next header. Data is sent from where it lies.
//!
//! Start at [`Exchange`], [`host::run`] and [`peer::Peer`]; `link` has the two system calls.

pub mod host;
mod link;
pub mod peer;
#[cfg(test)]
mod tests;
mod waiting;

use std::io;

use serde::Serialize;

use crate::load::Shape;

/// PDU types (NVMe/TCP Transport 1.0 §3.6).
mod kind {
    pub(super) const COMMAND: u8 = 0x04;
    pub(super) const RESPONSE: u8 = 0x05;
    pub(super) const H2C_DATA: u8 = 0x06;
    pub(super) const C2H_DATA: u8 = 0x07;
    pub(super) const R2T: u8 = 0x09;
}

const COMMAND_LEN: usize = 72;
const HEADER_LEN: usize = 24;
const DIGEST_LEN: usize = 4;
/// Opcodes of the NVM command set.
const OP_WRITE: u8 = 0x01;
const OP_READ: u8 = 0x02;
/// FLAGS of the common header: the last data PDU of a transfer.
const LAST: u8 = 1 << 2;

/// What one connection carries. Sent by the host as the first bytes of each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Exchange {
    /// The size of one I/O.
    pub block_size: u32,
    /// Commands outstanding on each connection.
    pub depth: u16,
    /// Connections.
    pub queues: u16,
    /// Writes of up to this size travel in the capsule.
    pub in_capsule: u32,
    /// The most data in one C2HData.
    pub c2h_data: u32,
    /// The most data in one H2CData.
    pub h2c_data: u32,
    /// 4 bytes behind every header.
    pub header_digest: bool,
    /// 4 bytes behind all data.
    pub data_digest: bool,
    /// Reads end with a response capsule and not with a flag of their last data (SQ flow control is on).
    pub responses: bool,
}

/// Bytes of one I/O on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WireBytes {
    /// From host to target.
    pub out: u64,
    /// From target to host.
    pub back: u64,
}

/// What a host moved, greetings aside.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Bytes sent.
    pub sent: u64,
    /// System calls that took some.
    pub sends: u64,
    /// Bytes received.
    pub received: u64,
    /// System calls that brought some.
    pub receives: u64,
}

const HELLO_LEN: usize = 32;
const HELLO: &[u8; 8] = b"floor  1";

impl Exchange {
    /// That of a load over NVMe/TCP as this project's transport does it by default.
    pub fn of(shape: &Shape, in_capsule: u32) -> Self {
        Self {
            block_size: shape.block_size,
            depth: shape.depth,
            queues: shape.queues,
            in_capsule,
            c2h_data: 256 << 10,
            h2c_data: 1 << 20,
            header_digest: false,
            data_digest: false,
            responses: false,
        }
    }

    fn encode(&self) -> [u8; HELLO_LEN] {
        let mut hello = [0; HELLO_LEN];
        let flags = [self.header_digest, self.data_digest, self.responses, false].map(u8::from);
        let fields = [
            self.block_size.to_le_bytes(),
            ((u32::from(self.queues) << 16) | u32::from(self.depth)).to_le_bytes(),
            self.in_capsule.to_le_bytes(),
            self.c2h_data.to_le_bytes(),
            self.h2c_data.to_le_bytes(),
            flags,
        ];
        let bytes = HELLO.iter().copied().chain(fields.into_iter().flatten());
        hello.iter_mut().zip(bytes).for_each(|(to, byte)| *to = byte);
        hello
    }

    fn decode(hello: &[u8; HELLO_LEN]) -> io::Result<Self> {
        let word = |index: usize| u32_at(hello, 8 + 4 * index);
        let flag = |index: usize| hello.get(28 + index).is_some_and(|&flag| flag != 0);
        let sizes = word(1);
        let exchange = Self {
            block_size: word(0),
            depth: sizes as u16,
            queues: (sizes >> 16) as u16,
            in_capsule: word(2),
            c2h_data: word(3),
            h2c_data: word(4),
            header_digest: flag(0),
            data_digest: flag(1),
            responses: flag(2),
        };
        let fine = hello.starts_with(HELLO)
            && [exchange.block_size, exchange.c2h_data, exchange.h2c_data].iter().all(|&size| size > 0)
            && exchange.depth > 0
            && exchange.queues > 0;
        if fine { Ok(exchange) } else { Err(strange("this is not the host of a floor")) }
    }

    /// The bytes of one I/O.
    pub fn wire_bytes(&self, write: bool) -> WireBytes {
        let size = u64::from(self.block_size);
        let digest = |on: bool, count: u64| u64::from(on) * DIGEST_LEN as u64 * count;
        let headers = |count: u64| HEADER_LEN as u64 * count + digest(self.header_digest, count);
        let data = |most: u32| {
            let pdus = size.div_ceil(u64::from(most));
            headers(pdus) + size + digest(self.data_digest, pdus)
        };
        let command = COMMAND_LEN as u64 + digest(self.header_digest, 1);
        match (write, self.block_size <= self.in_capsule) {
            (false, _) => {
                WireBytes { out: command, back: data(self.c2h_data) + headers(self.responses.into()) }
            }
            (true, true) => WireBytes { out: command + size + digest(self.data_digest, 1), back: headers(1) },
            (true, false) => WireBytes { out: command + data(self.h2c_data), back: headers(2) },
        }
    }
}

/// A header of 24 bytes about a command.
#[inline]
fn pdu(kind: u8, last: bool, cid: u16, offset: u32, len: u32) -> [u8; HEADER_LEN] {
    let mut header = [0; HEADER_LEN];
    header[0] = kind;
    header[1] = if last { LAST } else { 0 };
    header[2] = HEADER_LEN as u8;
    header[8..10].copy_from_slice(&cid.to_le_bytes());
    header[12..16].copy_from_slice(&offset.to_le_bytes());
    header[16..20].copy_from_slice(&len.to_le_bytes());
    header
}

/// A response capsule: the command's identifier is in its completion entry.
#[inline]
fn response(cid: u16) -> [u8; HEADER_LEN] {
    let mut header = [0; HEADER_LEN];
    header[0] = kind::RESPONSE;
    header[2] = HEADER_LEN as u8;
    header[20..22].copy_from_slice(&cid.to_le_bytes());
    header
}

fn strange(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

#[inline]
fn u16_at(bytes: &[u8], at: usize) -> u16 {
    bytes.get(at..).and_then(|rest| rest.first_chunk()).map_or(0, |two| u16::from_le_bytes(*two))
}

#[inline]
fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..).and_then(|rest| rest.first_chunk()).map_or(0, |four| u32::from_le_bytes(*four))
}

#[inline]
fn u64_at(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..).and_then(|rest| rest.first_chunk()).map_or(0, |eight| u64::from_le_bytes(*eight))
}
