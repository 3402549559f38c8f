//! Data that is made from its place, so that what is read can be checked without keeping what was written.

/// Fills `data`, which belongs at byte `offset`, from a seed. `offset` and the length are multiples of 8.
pub fn fill(data: &mut [u8], offset: u64, seed: u64) {
    for (index, word) in (offset / 8..).zip(data.chunks_exact_mut(8)) {
        word.copy_from_slice(&word_at(index, seed).to_le_bytes());
    }
}

/// The first byte at which `data`, read from byte `offset`, differs from what [`fill`] puts there.
pub fn mismatch(data: &[u8], offset: u64, seed: u64) -> Option<u64> {
    let wrong = (offset / 8..)
        .zip(data.chunks_exact(8))
        .find(|(index, word)| *word != word_at(*index, seed).to_le_bytes())?;
    let (index, word) = wrong;
    let within = word_at(index, seed).to_le_bytes().iter().zip(word).take_while(|(a, b)| a == b).count();
    Some(index * 8 + within as u64)
}

/// The finaliser of SplitMix64 over a counter: every word differs from its neighbours in about half of its bits.
fn word_at(index: u64, seed: u64) -> u64 {
    let mut word = seed.wrapping_add(index.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15));
    word = (word ^ (word >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    word = (word ^ (word >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    word ^ (word >> 31)
}

/// Random numbers for places; the same for the same seed.
#[derive(Clone, Debug)]
pub struct Random {
    seed: u64,
    index: u64,
}

impl Random {
    /// Begins a sequence.
    pub fn new(seed: u64) -> Self {
        Self { seed, index: 0 }
    }

    /// A number below `bound`, which is not 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.index = self.index.wrapping_add(1);
        let word = word_at(self.index, self.seed);
        // Multiply and shift: as even as a 64-bit number allows, without a division.
        (u128::from(word).wrapping_mul(u128::from(bound)) >> 64) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_filled_matches_in_any_cut() {
        let mut whole = vec![0; 8192];
        fill(&mut whole, 4096, 7);
        assert_eq!(mismatch(&whole, 4096, 7), None);
        assert_eq!(mismatch(&whole[512..1024], 4096 + 512, 7), None);
        assert_eq!(mismatch(&whole, 4104, 7), Some(4104));
        assert!(mismatch(&whole, 4096, 8).is_some());
        whole[4097] ^= 1;
        assert_eq!(mismatch(&whole, 4096, 7), Some(4096 + 4097));
    }

    #[test]
    fn random_numbers_stay_below_and_reach_everything() {
        let mut random = Random::new(3);
        let mut seen = [false; 10];
        for _ in 0..1000 {
            seen[random.below(10) as usize] = true;
        }
        assert_eq!(seen, [true; 10]);
        assert_eq!(Random::new(3).below(1), 0);
    }
}
