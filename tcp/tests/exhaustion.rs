//! Descriptors running out. Alone in its process, because the limit is the process's.
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "a test, and a driver: it reads the clock"
)]

mod support;

use std::{net::TcpStream, time::Instant};

use nvmf_tcp::TcpConfig;
use nvmf_transport::Engine;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use support::*;

#[test]
fn without_descriptors_a_listener_rests_and_recovers() {
    let mut both = Loop::with(TcpConfig::default());
    let (queue, _) = both.connect();
    let waiting =
        [TcpStream::connect(both.target.address).unwrap(), TcpStream::connect(both.target.address).unwrap()];
    let before = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: Some(3), maximum: before.maximum }).unwrap();
    both.target.poll();
    assert_eq!(both.target.engine.connections(), 1);
    // It is not a busy loop: the listener is out of the poller until its rest is over.
    both.until(|both| {
        both.target.poll();
        both.target.engine.next_timeout().is_some_and(|at| at > Instant::now())
    });
    both.exchange(queue, 4096);
    setrlimit(Resource::Nofile, before).unwrap();
    both.until(|both| both.target.engine.connections() == 3);
    drop(waiting);
    let (queue, _) = both.connect();
    both.exchange(queue, 4096);
}
