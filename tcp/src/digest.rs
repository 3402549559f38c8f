//! CRC32C, the checksum of both NVMe/TCP digests (NVMe/TCP Transport 1.0 §3.3.1.1; conventions of RFC 3720 §12.1).
//!
//! One-shot for headers, incremental for data that arrives or leaves in pieces, and folded into a copy for data that
//! is copied anyway. Which library computes it, and why, is `docs/decisions/0002-crc32c.md`;
//! `examples/crc32c.rs` measures it.

use crc_fast::{CrcAlgorithm::Crc32Iscsi, Digest};

/// Bytes whose CRC is taken before they are copied: few enough to still be in the first-level cache for the copy.
const COPY_BLOCK: usize = 8192;

/// The CRC32C of `bytes`. It is stored in a PDU as `to_le_bytes`.
#[inline]
pub fn crc32c(bytes: &[u8]) -> u32 {
    // spec: TCP-DG-05
    crc_fast::crc32_iscsi(bytes)
}

/// Copies `src` to `dst` and returns its CRC32C, so that memory is read once.
///
/// # Panics
///
/// If the two differ in length.
#[inline]
pub fn copy_and_crc32c(dst: &mut [u8], src: &[u8]) -> u32 {
    if src.len() <= COPY_BLOCK {
        let crc = crc32c(src);
        dst.copy_from_slice(src);
        return crc;
    }
    let mut crc = Crc32c::new();
    crc.copy_and_update(dst, src);
    crc.finish()
}

/// A CRC32C over data that comes in pieces. Four bytes, so it may be kept for every transfer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Crc32c {
    /// The register, before the final inversion.
    state: u32,
}

impl Crc32c {
    /// Of nothing so far.
    #[inline]
    pub const fn new() -> Self {
        Self { state: u32::MAX }
    }

    /// Adds `bytes`.
    #[inline]
    pub fn update(&mut self, bytes: &[u8]) {
        let mut digest = Digest::new_with_init_state(Crc32Iscsi, u64::from(self.state));
        digest.update(bytes);
        // The upper half of a 32-bit CRC is zero. `finalize` inverts, which is undone here.
        self.state = !(digest.finalize() as u32);
    }

    /// Copies `src` to `dst` and adds it, block by block, so that memory is read once.
    ///
    /// # Panics
    ///
    /// If the two differ in length.
    #[inline]
    pub fn copy_and_update(&mut self, dst: &mut [u8], src: &[u8]) {
        assert_eq!(dst.len(), src.len(), "copy between slices of different length");
        for (dst, src) in dst.chunks_mut(COPY_BLOCK).zip(src.chunks(COPY_BLOCK)) {
            // Source first: reading back what was just stored is the slower order.
            self.update(src);
            dst.copy_from_slice(src);
        }
    }

    /// The CRC32C of all that was added.
    #[inline]
    pub const fn finish(&self) -> u32 {
        !self.state
    }
}

impl Default for Crc32c {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
#[path = "digest_tests.rs"]
pub(crate) mod tests;
