//! Data whose every byte follows from a name and an offset, so that a byte in the wrong place is seen.

/// The bytes of the data `name` from `offset` on.
pub(super) fn fill(name: u64, offset: usize, bytes: &mut [u8]) {
    let mut at = offset;
    let mut rest = bytes;
    while !rest.is_empty() {
        let word = mix(name.wrapping_add((at as u64 / 8).wrapping_mul(0x9e37_79b9_7f4a_7c15))).to_le_bytes();
        let from = &word[at % 8..];
        let len = from.len().min(rest.len());
        let (now, later) = rest.split_at_mut(len);
        now.copy_from_slice(&from[..len]);
        at += len;
        rest = later;
    }
}

/// The bytes of the data `name` in `offset..offset + len`.
pub(super) fn bytes(name: u64, offset: usize, len: usize) -> Vec<u8> {
    let mut all = vec![0; len];
    fill(name, offset, &mut all);
    all
}

/// The first byte of `found` that is not what the data `name` has from `offset` on.
pub(super) fn difference(name: u64, offset: usize, found: &[u8]) -> Option<usize> {
    let expected = bytes(name, offset, found.len());
    found.iter().zip(&expected).position(|(a, b)| a != b)
}

fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
