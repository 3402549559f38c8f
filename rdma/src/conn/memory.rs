//! Local memory as work requests name it, and copies of what the device does not know.
//!
//! Data normally lies in memory that the engine's own [`Memory`] allocated, and is named where it lies. Data from elsewhere is
//! copied to or from a buffer of that memory; pools of a few sizes keep such buffers.
#![allow(
    unsafe_code,
    reason = "exposing memory to the peer takes its address; each block says who keeps it alive"
)]

use std::sync::Arc;

use nvmf_transport::{Buffer, Error, ErrorKind, Memory, Pool, Stage, View};

use crate::verbs::{ConnId, Keys, RemoteAccess, RemoteKey, Sge};

/// Cuts one allocation into `count` buffers of `size` bytes, which one key serves.
pub(crate) fn carve(memory: &dyn Memory, count: usize, size: usize) -> Result<Vec<Buffer>, Error> {
    let too_much = || Error::new(Stage::Memory, ErrorKind::Resources, "a queue's buffers exceed all memory");
    let mut rest = memory.allocate(count.checked_mul(size).ok_or_else(too_much)?)?;
    let mut pieces = Vec::with_capacity(count);
    for _ in 0..count {
        let tail = rest.split_off(size);
        pieces.push(std::mem::replace(&mut rest, tail));
    }
    Ok(pieces)
}

/// Names bytes for a work request.
pub(crate) fn sge(bytes: &[u8], key: u32) -> Sge {
    Sge { address: bytes.as_ptr().expose_provenance() as u64, length: bytes.len() as u32, key }
}

/// Buffers of the engine's own memory for data that lies elsewhere.
pub struct Staging {
    memory: Arc<dyn Memory>,
    classes: [Pool; 4],
}

/// Sizes of staging buffers, and how many of each an engine keeps.
const CLASSES: [(usize, usize); 4] = [(4 << 10, 256), (32 << 10, 128), (256 << 10, 64), (1 << 20, 16)];

impl Staging {
    /// No buffer yet.
    #[must_use]
    pub fn new(memory: Arc<dyn Memory>) -> Self {
        let classes = CLASSES.map(|(size, count)| Pool::new(Arc::clone(&memory), size, count));
        Self { memory, classes }
    }

    /// The memory it takes buffers from.
    pub fn memory(&self) -> &Arc<dyn Memory> {
        &self.memory
    }

    /// A buffer of `len` bytes.
    pub(crate) fn take(&self, len: usize) -> Result<Buffer, Error> {
        let class = CLASSES.iter().position(|&(size, _)| len <= size);
        if let Some(mut buffer) = class.and_then(|class| self.classes.get(class)?.take()) {
            buffer.truncate(len);
            return Ok(buffer);
        }
        self.memory.allocate(len)
    }

    /// A copy of `bytes`.
    pub(crate) fn copy(&self, bytes: &[u8]) -> Result<Buffer, Error> {
        let mut buffer = self.take(bytes.len())?;
        buffer.copy_from_slice(bytes);
        Ok(buffer)
    }
}

impl std::fmt::Debug for Staging {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Staging")
    }
}

/// The device does not know memory that its own allocator has made.
pub(crate) fn unknown_memory() -> Error {
    Error::new(Stage::Memory, ErrorKind::Unsupported, "the device does not know its own memory")
}

/// The data of a host's command where the device finds it.
#[derive(Debug, Default)]
pub(crate) struct Placed {
    /// A copy, if the device does not know the caller's buffer.
    copy: Option<Buffer>,
    exposed: Option<RemoteKey>,
}

impl Placed {
    /// Finds out where the device can read `buffer`, and names it.
    pub(crate) fn local(
        buffer: &Buffer,
        staging: &Staging,
        conn: ConnId,
        keys: &mut impl Keys,
    ) -> Result<(Self, Sge), Error> {
        if let Some(key) = keys.local_key(conn, buffer.region()) {
            return Ok((Self::default(), sge(buffer, key)));
        }
        let copy = staging.copy(buffer)?;
        let key = keys.local_key(conn, copy.region()).ok_or_else(unknown_memory)?;
        let sge = sge(&copy, key);
        Ok((Self { copy: Some(copy), exposed: None }, sge))
    }

    /// Lets the peer reach `buffer` for one command.
    ///
    /// The caller keeps `buffer` and the answer together, and ends the command by [`withdraw`](Self::withdraw) or after the
    /// connection was destroyed.
    pub(crate) fn exposed(
        buffer: &mut Buffer,
        access: RemoteAccess,
        staging: &Staging,
        conn: ConnId,
        keys: &mut impl Keys,
    ) -> Result<(Self, RemoteKey), Error> {
        let mut copy = match keys.local_key(conn, buffer.region()) {
            Some(_) => None,
            None if access == RemoteAccess::Read => Some(staging.copy(buffer)?),
            None => Some(staging.take(buffer.len())?),
        };
        let memory = copy.as_mut().unwrap_or(buffer);
        let (start, len) = (memory.as_mut_ptr(), memory.len() as u32);
        // SAFETY: the bytes belong to the command, whose slot keeps the buffer (or this value the copy) untouched until
        // `withdraw` or the connection's destruction.
        let key = unsafe { keys.expose(conn, memory.region(), start, len, access) }?;
        Ok((Self { copy, exposed: Some(key) }, key))
    }

    /// The key the peer has for it.
    pub(crate) fn key(&self) -> Option<RemoteKey> {
        self.exposed
    }

    /// Takes the peer's right away, if it still has it, and frees the key.
    // spec: RDMA-KEY-03
    pub(crate) fn withdraw(&mut self, conn: ConnId, keys: &mut impl Keys) {
        if let Some(key) = self.exposed.take() {
            keys.withdraw(conn, key.key);
        }
    }

    /// Puts what arrived in a copy into the caller's buffer.
    pub(crate) fn collect(&mut self, into: &mut Buffer) {
        if let Some(copy) = self.copy.take() {
            let len = copy.len().min(into.len());
            into[..len].copy_from_slice(&copy[..len]);
        }
    }
}

/// A view of a response where the device finds it: as it is, or as a copy that replaces it.
pub(crate) fn place_view(
    view: View,
    staging: &Staging,
    conn: ConnId,
    keys: &mut impl Keys,
) -> Result<(View, u32), Error> {
    if let Some(key) = keys.local_key(conn, view.region()) {
        return Ok((view, key));
    }
    let copy = staging.copy(&view)?.freeze();
    let key = keys.local_key(conn, copy.region()).ok_or_else(unknown_memory)?;
    Ok((copy, key))
}
