//! A keyed permutation of 24 bits, so that one STag says nothing about the next (RFC 5042 §6.2).

const MASK: u32 = 0xFF_FFFF;
const ROUNDS: usize = 4;

/// The permutation. Not a cipher: it keeps a peer from stepping through neighbours, and a wrong guess ends its connection.
#[derive(Clone, Debug)]
pub(crate) struct Scramble {
    /// What is added, what is multiplied by, and the inverse of that.
    rounds: [(u32, u32, u32); ROUNDS],
    state: u64,
}

impl Scramble {
    pub(crate) fn new(seed: u64) -> Self {
        let mut this = Self { rounds: [(0, 1, 1); ROUNDS], state: seed };
        this.rounds = std::array::from_fn(|_| {
            let add = this.random() as u32 & MASK;
            let factor = (this.random() as u32 | 1) & MASK;
            (add, factor, inverse(factor))
        });
        this
    }

    /// The next number of a sequence that follows from the seed (SplitMix64).
    pub(crate) fn random(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    #[inline]
    pub(crate) fn hide(&self, mut x: u32) -> u32 {
        for (add, factor, _) in self.rounds {
            x = x.wrapping_add(add).wrapping_mul(factor) & MASK;
            // A shift by at least half of the bits is its own inverse.
            x ^= x >> 12;
        }
        x
    }

    #[inline]
    pub(crate) fn reveal(&self, mut x: u32) -> u32 {
        for (add, _, inverse) in self.rounds.iter().rev() {
            x ^= x >> 12;
            x = x.wrapping_mul(*inverse).wrapping_sub(*add) & MASK;
        }
        x
    }
}

/// The inverse of an odd number modulo 2^24.
const fn inverse(odd: u32) -> u32 {
    // Newton: every step doubles the bits that are right, and an odd number is its own inverse in three bits.
    let (mut x, mut step) = (odd, 0);
    while step < 4 {
        x = x.wrapping_mul(2_u32.wrapping_sub(odd.wrapping_mul(x)));
        step += 1;
    }
    x & MASK
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_comes_back_and_neighbours_part() {
        for seed in [0, 1, 0xDEAD_BEEF, u64::MAX] {
            let scramble = Scramble::new(seed);
            for x in (0..=MASK).step_by(997).chain([0, 1, MASK]) {
                assert!(scramble.hide(x) <= MASK);
                assert_eq!(scramble.reveal(scramble.hide(x)), x);
                assert_eq!(scramble.hide(scramble.reveal(x)), x);
            }
            let near = (0..1000).filter(|&x| scramble.hide(x).abs_diff(scramble.hide(x + 1)) < 256).count();
            assert!(near < 50, "{near} of 1000 neighbours stay close");
        }
    }
}
