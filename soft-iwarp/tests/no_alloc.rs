//! That the data path allocates nothing once it is warm. Alone in its process, because the allocator is the process's.
#![allow(clippy::unwrap_used, reason = "a test")]
#![allow(unsafe_code, reason = "an allocator that counts")]

mod support;

use std::{
    alloc::{GlobalAlloc, Layout, System},
    sync::atomic::{AtomicU64, Ordering},
};

use nvmf_soft_iwarp::{
    Access, Completed, ConnectionConfig, EndpointConfig, Operation, Payload, RegionOptions, SendRequest,
};
use support::*;

struct Counting;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

// SAFETY: all is passed on to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(at, layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: as the caller promises.
        unsafe { System.realloc(at, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// A command and its answer, as NVMe does it: a message there, a WRITE or READ of `len` bytes and a message back; windows of
/// memory are lent and taken back each time.
fn exchange(a: &mut Side, b: &mut Side, memory: [nvmf_soft_iwarp::Region; 2], len: u32, write: bool) {
    let [here, there] = memory;
    let window = a.endpoint.allocate_window().unwrap();
    let lend = Operation::FastRegister {
        window,
        parent: here.stag,
        offset: 0,
        len: len.into(),
        access: Access::REMOTE_READ | Access::REMOTE_WRITE | Access::REMOTE_INVALIDATE,
        addressing: Default::default(),
    };
    a.post(SendRequest::new(1, lend, Payload::EMPTY).unsignaled());
    a.receive(2, &here, 1 << 20, 16);
    a.post(SendRequest::new(3, Operation::SEND, Payload::Inline(&[1; 64])));
    let message = until(a, b, "a command", |_, b| b.completion());
    assert_success(message, 4, Completed::Receive, 64);
    b.receive(4, &there, 1 << 20, 64);
    let list = [there.sge(0, len)];
    let remote = nvmf_soft_iwarp::Remote { stag: window, to: 0 };
    let operation = if write { Operation::Write { remote } } else { Operation::Read { remote } };
    b.post(SendRequest::new(5, operation, Payload::Gather(&list)));
    let back = Operation::Send { invalidate: Some(window), solicited: false };
    // The window must not go before the data has come.
    b.post(SendRequest::new(6, back, Payload::Inline(&[2; 16])).fenced());
    let (mut from_a, mut from_b) = (0, 0);
    until(a, b, "an answer", |a, b| {
        while let Some(completion) = a.completion() {
            assert_eq!(completion.status, nvmf_soft_iwarp::Status::Success);
            from_a += 1;
        }
        while let Some(completion) = b.completion() {
            assert_eq!(completion.status, nvmf_soft_iwarp::Status::Success);
            from_b += 1;
        }
        (from_a == 2 && from_b == 2).then_some(())
    });
    a.endpoint.deregister(window).unwrap();
}

// test: IW-QP-06
#[test]
fn a_warm_connection_allocates_nothing() {
    let (mut a, mut b) =
        connected(&ConnectionConfig::default(), EndpointConfig::default(), EndpointConfig::default());
    let all = RegionOptions::new(Access::all());
    let memory = [&mut a, &mut b]
        .map(|side| side.endpoint.register(vec![7; (1 << 20) + 64].into_boxed_slice(), all).unwrap());
    b.receive(4, &memory[1], 1 << 20, 64);
    let shapes = [
        (512, true),
        (512, false),
        (4096, true),
        (4096, false),
        (131_072, true),
        (131_072, false),
        (1 << 20, true),
    ];
    for round in 0..40 {
        let before = ALLOCATIONS.load(Ordering::Relaxed);
        for (len, write) in shapes {
            exchange(&mut a, &mut b, memory, len, write);
        }
        let allocated = ALLOCATIONS.load(Ordering::Relaxed) - before;
        assert!(round < 30 || allocated == 0, "{allocated} allocations in round {round}");
    }
}
