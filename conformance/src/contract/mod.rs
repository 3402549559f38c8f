//! The contract of the transport interface, a case or more per sentence, at the level of engines.
//!
//! No NVMe happens here: a controller is a script that answers commands, and the commands mean nothing. The sentences are
//! on the crate page of [`nvmf_transport`]; each file takes some of them.

pub mod bounds;
pub mod closing;
pub mod connecting;
pub mod data;
pub mod endings;
pub mod hostile;
pub mod identity;
pub mod load;
pub mod order;
pub mod refusals;
pub mod waiting;

use nvmf_transport::{Buffer, Data};
use nvmf_wire::{IoOpcode, Sqe};

/// A command that sends data.
fn write() -> Sqe {
    Sqe::io(IoOpcode::WRITE, 1)
}

/// A command that takes data.
fn read() -> Sqe {
    Sqe::io(IoOpcode::READ, 1)
}

/// A command without data.
fn flush() -> Sqe {
    Sqe::io(IoOpcode::FLUSH, 1)
}

/// Where a buffer lies, to know it again.
fn place(buffer: &Buffer) -> (*const u8, usize) {
    (buffer.as_ptr(), buffer.len())
}

/// Where the buffer of a command lies.
fn place_of(data: &Data) -> Option<(*const u8, usize)> {
    match data {
        Data::None => None,
        Data::ToController(buffer) | Data::FromController(buffer) => Some(place(buffer)),
    }
}

/// The period of the pattern: prime, so that no power of two hides a piece in the wrong place.
const PERIOD: usize = 251;

/// Many periods, so that filling and comparing is as fast as copying, also where nothing is optimised.
const PATTERN: [u8; PERIOD * 33] = {
    let mut bytes = [0; PERIOD * 33];
    let mut at = 0;
    while at < bytes.len() {
        bytes[at] = (at % PERIOD) as u8;
        at += 1;
    }
    bytes
};

/// Fills with bytes that tell positions and uses apart.
fn pattern(bytes: &mut [u8], salt: u8) {
    let start = usize::from(salt) % PERIOD;
    for chunk in bytes.chunks_mut(PERIOD * 32) {
        chunk.copy_from_slice(&PATTERN[start..start + chunk.len()]);
    }
}

/// Whether the bytes are those of [`pattern`] from `offset` on.
fn has_pattern(bytes: &[u8], offset: usize, salt: u8) -> bool {
    let start = (offset + usize::from(salt)) % PERIOD;
    bytes.chunks(PERIOD * 32).all(|chunk| *chunk == PATTERN[start..start + chunk.len()])
}
