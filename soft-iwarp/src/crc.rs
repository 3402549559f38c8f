//! CRC32C, the checksum of FPDUs (RFC 5044 §4.4).
//!
//! One-shot for what lies together, incremental for what arrives or leaves in pieces, and folded into a copy.

use crc_fast::{CrcAlgorithm::Crc32Iscsi, Digest};

/// Bytes whose CRC is taken before they are copied: few enough to still be in the first-level cache for the copy.
const COPY_BLOCK: usize = 8192;

/// The CRC32C of `bytes`. It is stored in an FPDU as `to_le_bytes`.
#[inline]
pub fn crc32c(bytes: &[u8]) -> u32 {
    // spec: IW-FPD-03
    crc_fast::crc32_iscsi(bytes)
}

/// A CRC32C over data that comes in pieces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Crc32c {
    /// The register, before the final inversion.
    state: u32,
}

impl Crc32c {
    /// Of nothing so far.
    pub(crate) const fn new() -> Self {
        Self { state: u32::MAX }
    }

    /// Adds `bytes`.
    #[inline]
    pub(crate) fn update(&mut self, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        let mut digest = Digest::new_with_init_state(Crc32Iscsi, u64::from(self.state));
        digest.update(bytes);
        // The upper half of a 32-bit CRC is zero. `finalize` inverts, which is undone here.
        self.state = !(digest.finalize() as u32);
    }

    /// Copies `src` to the beginning of `dst`, which is at least as long, and adds it: memory is read once.
    #[inline]
    pub(crate) fn copy_and_update(&mut self, dst: &mut [u8], src: &[u8]) {
        for (dst, src) in dst.chunks_mut(COPY_BLOCK).zip(src.chunks(COPY_BLOCK)) {
            // Source first: reading back what was just stored is the slower order.
            self.update(src);
            dst[..src.len()].copy_from_slice(src);
        }
    }

    /// The CRC32C of all that was added.
    pub(crate) const fn finish(self) -> u32 {
        !self.state
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // test: IW-FPD-03
    #[test]
    fn pieces_and_copies_give_what_the_whole_gives() {
        assert_eq!(crc32c(b"123456789").to_le_bytes(), [0x83, 0x92, 0x06, 0xe3]);
        let bytes: Vec<u8> = (0..40_000_u32).map(|i| ((i * 31) >> 3) as u8).collect();
        for cut in [0, 1, 3, 4, 63, 64, 511, 8191, 8192, 8193, 39_999, 40_000] {
            let mut copy = vec![0; bytes.len()];
            let mut crc = Crc32c::new();
            crc.update(&bytes[..cut]);
            crc.copy_and_update(&mut copy[cut..], &bytes[cut..]);
            assert_eq!(crc.finish(), crc32c(&bytes));
            assert_eq!(copy[cut..], bytes[cut..]);
        }
    }
}
