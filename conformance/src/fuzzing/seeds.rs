//! Where to start from, for bodies that have nothing better: inputs of several lengths from fixed random numbers.

use nvmf_sim::Rng;

/// `count` inputs up to `longest` bytes.
pub(super) fn random(count: usize, longest: usize) -> Vec<Vec<u8>> {
    let mut rng = Rng::new(0x6e76_6d66);
    (1..=count)
        .map(|number| {
            let mut input = vec![0; longest * number / count];
            rng.fill(&mut input);
            input
        })
        .collect()
}
