//! Latency comes as its distribution says, and nothing comes twice.

use std::time::Duration;

use super::{Delayed, Distribution};
use crate::{Network, SimTransport, tests::Pair};

const MILLI: Duration = Duration::from_millis(1);

#[test]
fn latency_follows_its_distribution() {
    let network = Network::new(1);
    let (host, controller) = SimTransport::new(&network).shared();
    let host = Delayed::new(host, Distribution::Uniform(2 * MILLI, 4 * MILLI), 5);
    let mut pair = Pair::over(&network, &host, &*controller);
    let queue = pair.connect();
    (0..20).for_each(|cookie| pair.read(queue, 4096, cookie));
    pair.run(MILLI / 10);
    pair.answer_reads();
    pair.run(MILLI / 10);
    pair.run(MILLI);
    assert!(pair.completed().is_empty());
    pair.run(MILLI * 3);
    assert_eq!(pair.completed().len(), 20);

    let mut rng = crate::Rng::new(9);
    let mean = Distribution::Exponential(MILLI);
    let total: Duration = (0..10_000).map(|_| mean.sample(&mut rng)).sum();
    assert!((9..=11).contains(&(total.as_millis() / 1000)), "{total:?} over 10000 samples of mean 1 ms");
    let hiccup = Distribution::Hiccup { usual: MILLI, hiccup: 10 * MILLI, per_mille: 100 };
    let hiccups = (0..10_000).filter(|_| hiccup.sample(&mut rng) > MILLI).count();
    assert!((800..1200).contains(&hiccups), "{hiccups}");
}
