//! Data whose every byte follows from a name and an offset, so that a byte in the wrong place is seen.

/// The bytes of the data `name` from `offset` on.
pub(super) fn fill(name: u64, offset: usize, bytes: &mut [u8]) {
    let first = (8 - offset % 8) % 8;
    let (head, rest) = bytes.split_at_mut(first.min(bytes.len()));
    head.copy_from_slice(&word(name, offset / 8)[offset % 8..][..head.len()]);
    let mut at = offset.div_ceil(8);
    for chunk in rest.chunks_mut(8) {
        chunk.copy_from_slice(&word(name, at)[..chunk.len()]);
        at = at.wrapping_add(1);
    }
}

/// Eight bytes, the `number`th of the data.
fn word(name: u64, number: usize) -> [u8; 8] {
    mix(name.wrapping_add((number as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15))).to_le_bytes()
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
