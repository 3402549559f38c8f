//! In the steady state a host allocates nothing per request on the thread that drives it.
#![allow(unsafe_code, reason = "a global allocator is the only way to count allocations")]

mod common;

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
    time::Instant,
};

use common::{endpoint, options, serve, transports};
use nvmf_controller::Hosts;
use nvmf_host::{Done, Io, Op, connect};
use nvmf_transport::{Buffer, WaitPolicy};

struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

// SAFETY: everything is the system allocator's; counting touches a constant-initialised thread-local and allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise is passed on.
        unsafe { System.dealloc(memory, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

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
        let (mut sent, mut ended, mut counted) = (0u64, 0u64, 0);
        while ended < rounds {
            let at = now();
            while sent < rounds
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
            // The first half is for tables and lists to grow to their size.
            if ended < rounds / 2 {
                counted = ALLOCATIONS.get();
            }
        }
        let allocations = ALLOCATIONS.get() - counted;
        // A table may still double; nothing may grow with the requests.
        assert!(allocations <= 8, "{allocations} allocations in {} requests of {len} bytes", rounds / 2);
    }
}
