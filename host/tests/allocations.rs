//! In the steady state a host allocates nothing per request on the thread that drives it.

mod common;

use std::time::Instant;

use allocation_counter::measure;
use common::{endpoint, options, serve, transports};
use nvmf_controller::Hosts;
use nvmf_host::{Done, Io, Op, connect};
use nvmf_transport::{Buffer, WaitPolicy};

#[expect(clippy::disallowed_methods, reason = "this test drives a host by itself")]
fn now() -> Instant {
    Instant::now()
}

#[test]
fn none_per_request() {
    let serving = serve(Hosts::Any, WaitPolicy::Block);
    let endpoint = endpoint(serving.listeners()[0].address);
    let mut options = options();
    // Events of its own (keep-alive buffers none, rescans some) would blur the count.
    (options.kato, options.async_events) = (None, false);
    let connection = connect(&transports(), &endpoint, &options, WaitPolicy::Block).unwrap();
    let (mut host, id) = (connection.host, connection.association);
    // 4 KiB in one command each; 3 MiB in several.
    for (len, depth, rounds) in [(4096usize, 32, 4000u64), (3 << 20, 2, 120)] {
        let mut free: Vec<Buffer> = (0..depth).map(|_| host.memory().allocate(len).unwrap()).collect();
        let mut done: Vec<Done> = Vec::with_capacity(64);
        let (mut sent, mut ended) = (0u64, 0u64);
        let mut run = |until: u64| {
            while ended < until {
                let at = now();
                while sent < until
                    && let Some(data) = free.pop()
                {
                    let start = sent % 8 * (len as u64 / 512);
                    let op = if sent.is_multiple_of(2) {
                        Op::Write { start, data, fua: false }
                    } else {
                        Op::Read { start, data }
                    };
                    host.submit(id, Io { user: sent, nsid: 1, op, queue: None }, at).unwrap();
                    sent += 1;
                }
                let worked = host.poll(at, &mut done).unwrap();
                for done in done.drain(..) {
                    assert!(done.result.is_ok());
                    free.extend(done.data.into_buffer());
                    ended += 1;
                }
                if !worked {
                    host.wait(at, &[]);
                }
            }
        };
        // The first half is for tables and lists to grow to their size.
        run(rounds / 2);
        let allocations = measure(|| run(rounds)).count_total;
        // A table may still double; nothing may grow with the requests.
        assert!(allocations <= 8, "{allocations} allocations in {} requests of {len} bytes", rounds / 2);
    }
}
