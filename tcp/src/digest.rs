//! CRC32C, the checksum of both NVMe/TCP digests (NVMe/TCP Transport 1.0 §3.3.1.1; polynomial and bit order of
//! RFC 3720 §12.1).
//!
//! One-shot for headers, incremental for data that arrives or leaves in pieces, and folded into a copy for data that
//! is copied anyway. Which library computes it, and why, is `docs/decisions/0002-crc32c.md`.

/// Bytes copied before their CRC is taken: they are still in the first-level cache then.
const COPY_BLOCK: usize = 4096;

/// The CRC32C of `bytes`. It is stored in a PDU as `to_le_bytes`.
#[inline]
pub fn crc32c(bytes: &[u8]) -> u32 {
    // spec: TCP-DG-05
    crc_fast::crc32_iscsi(bytes)
}

/// A CRC32C over data that comes in pieces.
#[derive(Clone, Copy, Debug)]
pub struct Crc32c(crc_fast::Digest);

impl Crc32c {
    /// Of nothing so far.
    #[inline]
    pub fn new() -> Self {
        Self(crc_fast::Digest::new(crc_fast::CrcAlgorithm::Crc32Iscsi))
    }

    /// Adds `bytes`.
    #[inline]
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
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
            dst.copy_from_slice(src);
            self.0.update(dst);
        }
    }

    /// The CRC32C of all that was added.
    #[inline]
    pub fn finish(&self) -> u32 {
        // The upper half of the value is zero for a 32-bit CRC.
        self.0.finalize() as u32
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
