//! Input bytes as choices.
//!
//! A thin layer over [`arbitrary::Unstructured`]: when the bytes have run out every choice is its first alternative, so a
//! loop over [`Choices::more`] ends, and what is shorter is simpler.

use arbitrary::Unstructured;

/// Values at which something changes: field widths, page and block sizes, the limits of the protocol.
const EDGES: [u32; 36] = [
    0,
    1,
    2,
    3,
    4,
    7,
    8,
    15,
    16,
    31,
    32,
    63,
    64,
    127,
    128,
    255,
    256,
    511,
    512,
    513,
    1023,
    1024,
    4095,
    4096,
    4097,
    8191,
    8192,
    8193,
    16_384,
    16_385,
    65_535,
    65_536,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_fffe,
    0xffff_ffff,
];

/// Input bytes, to be used up from the front.
pub struct Choices<'a>(Unstructured<'a>);

impl<'a> Choices<'a> {
    /// All choices that `bytes` hold.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self(Unstructured::new(bytes))
    }

    /// Whether any byte is left.
    pub fn more(&self) -> bool {
        !self.0.is_empty()
    }

    /// Any byte.
    pub fn u8(&mut self) -> u8 {
        self.0.arbitrary().unwrap_or_default()
    }

    /// Any 16 bits.
    pub fn u16(&mut self) -> u16 {
        self.0.arbitrary().unwrap_or_default()
    }

    /// Any 32 bits.
    pub fn u32(&mut self) -> u32 {
        self.0.arbitrary().unwrap_or_default()
    }

    /// Any 64 bits.
    pub fn u64(&mut self) -> u64 {
        self.0.arbitrary().unwrap_or_default()
    }

    /// Yes or no; no when the bytes have run out.
    pub fn yes(&mut self) -> bool {
        self.u8() & 1 != 0
    }

    /// A number below `limit`; 0 if the limit is 0.
    pub fn below(&mut self, limit: usize) -> usize {
        match limit.checked_sub(1) {
            Some(last) => self.0.int_in_range(0..=last).unwrap_or_default(),
            None => 0,
        }
    }

    /// Yes once in `n` times; no when the bytes have run out.
    pub fn once_in(&mut self, n: usize) -> bool {
        self.below(n) + 1 == n
    }

    /// One of `all`, which are some.
    pub fn pick<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len())]
    }

    /// A length up to `most`, often at an edge.
    pub fn length(&mut self, most: usize) -> usize {
        match self.u8() % 8 {
            0 => self.below(most.min(64) + 1),
            1 | 2 => self.below(most + 1),
            3 => most,
            4 => most.saturating_sub(self.below(5)),
            5 => (self.below(most / 512 + 1) * 512).min(most),
            _ => (self.pick(&EDGES) as usize).min(most),
        }
    }

    /// Any 32 bits, often at an edge.
    pub fn word(&mut self) -> u32 {
        match self.u8() % 4 {
            0 => self.u32(),
            1 => u32::from(self.u8()),
            2 => self.pick(&EDGES),
            _ => self.pick(&EDGES).wrapping_add(u32::from(self.u8()) % 5).wrapping_sub(2),
        }
    }

    /// Up to `most` of the bytes as they are.
    pub fn bytes(&mut self, most: usize) -> &'a [u8] {
        let len = self.below(most + 1).min(self.0.len());
        self.0.bytes(len).unwrap_or_default()
    }

    /// Everything that is left.
    pub fn rest(&mut self) -> &'a [u8] {
        let len = self.0.len();
        self.0.bytes(len).unwrap_or_default()
    }

    /// Damages `bytes` in a few places: flipped bits, edge values, cut, doubled or moved parts.
    pub fn damage(&mut self, bytes: &mut Vec<u8>) {
        for _ in 0..=self.below(4) {
            if bytes.is_empty() {
                return;
            }
            // Most of what can be wrong is wrong in the first bytes.
            let reach = if self.yes() { bytes.len() } else { bytes.len().min(32) };
            let at = self.below(reach);
            match self.u8() % 6 {
                0 | 1 => bytes[at] ^= 1 << (self.u8() % 8),
                2 => bytes[at] = self.pick(&[0, 1, 3, 4, 24, 72, 127, 128, 254, 255]),
                3 => {
                    let word = self.word().to_le_bytes();
                    bytes[at..].iter_mut().zip(word).for_each(|(to, from)| *to = from);
                }
                4 => bytes.truncate(at),
                _ => {
                    let end = at + self.below(bytes.len() - at + 1).min(256);
                    let part = bytes[at..end].to_vec();
                    let to = self.below(bytes.len() + 1);
                    bytes.splice(to..to, part);
                }
            }
        }
    }
}
