//! The exchange is what it says it is: every byte on the wire is accounted for, and every byte of data is the right one.

use std::{thread, time::Duration};

use nvmf_transport::WaitPolicy;

use super::{Exchange, host, host::FloorFound, peer::Peer};
use crate::{Meter, Shape, data};

const SPAN: usize = 4 << 20;
const SEED: u64 = 11;

fn shape(pattern: &str, block_size: u32, queues: u16, depth: u16) -> Shape {
    Shape {
        pattern: pattern.parse().unwrap(),
        block_size,
        queues,
        depth,
        span: SPAN as u64,
        verify: true,
        seed: SEED,
        warm_up: Duration::ZERO,
        seconds: Duration::from_millis(40),
    }
}

/// Runs a floor; answers what was found and what the peer holds in the end.
fn run(shape: &Shape, exchange: &Exchange, wait: WaitPolicy, seed: u64) -> (FloorFound, Vec<u8>) {
    let mut peer = Peer::bind("127.0.0.1:0".parse().unwrap(), SPAN, seed, wait).unwrap();
    let address = peer.address().unwrap();
    let served = thread::spawn(move || {
        peer.turn().unwrap();
        peer.memory().to_vec()
    });
    let found = host::run(address, shape, exchange, wait, &Meter::default()).unwrap();
    let held = served.join().unwrap();
    assert_eq!(found.found.errors, 0, "{:?}", found.found.last_error);
    assert!(found.found.ios() > 0 && found.found.ios() <= found.reads + found.writes);
    let (read, write) = (exchange.wire_bytes(false), exchange.wire_bytes(true));
    assert_eq!(found.traffic.sent, found.reads * read.out + found.writes * write.out);
    assert_eq!(found.traffic.received, found.reads * read.back + found.writes * write.back);
    (found, held)
}

#[test]
fn reads_bring_the_right_bytes() {
    for (block_size, queues, depth) in
        [(512, 1, 128), (4096, 1, 32), (4096, 3, 4), (131_072, 1, 8), (1 << 20, 1, 2)]
    {
        for digests in [false, true] {
            let shape = shape("randread", block_size, queues, depth);
            let exchange = Exchange {
                header_digest: digests,
                data_digest: digests,
                responses: digests,
                ..Exchange::of(&shape, 16 << 10)
            };
            let (found, _) = run(&shape, &exchange, WaitPolicy::default(), SEED);
            assert_eq!(found.found.verified, found.reads);
            assert_eq!(found.writes, 0);
        }
    }
}

#[test]
fn writes_arrive_where_they_belong() {
    for (block_size, wait) in
        [(4096, WaitPolicy::Block), (131_072, WaitPolicy::Block), (131_072, WaitPolicy::default())]
    {
        let shape = shape("write", block_size, 1, 16);
        let exchange = Exchange { data_digest: true, ..Exchange::of(&shape, 16 << 10) };
        let (found, held) = run(&shape, &exchange, wait, SEED + 1);
        let written = (found.writes as usize * block_size as usize).min(SPAN);
        assert_eq!(data::mismatch(&held[..written], 0, SEED), None);
        assert_eq!(data::mismatch(&held[written..], written as u64, SEED + 1), None);
    }
}

#[test]
fn both_directions_at_once_neither_mix_nor_stall() {
    for block_size in [4096, 65_536, 262_144] {
        let shape = shape("rw:50", block_size, 2, 32);
        let (found, held) = run(&shape, &Exchange::of(&shape, 4096), WaitPolicy::Block, SEED);
        assert!(found.reads > 0 && found.writes > 0);
        assert_eq!(found.found.verified, found.reads);
        assert_eq!(data::mismatch(&held, 0, SEED), None);
    }
}

#[test]
fn the_bytes_of_an_exchange_are_those_of_the_transport() {
    let shape = shape("randread", 4096, 1, 32);
    let plain = Exchange::of(&shape, 8192);
    let bytes = |exchange: &Exchange, write| {
        let bytes = exchange.wire_bytes(write);
        (bytes.out, bytes.back)
    };
    assert_eq!(bytes(&plain, false), (72, 24 + 4096));
    assert_eq!(bytes(&plain, true), (72 + 4096, 24));
    let digests = Exchange { header_digest: true, data_digest: true, ..plain };
    assert_eq!(bytes(&digests, false), (76, 28 + 4096 + 4));
    assert_eq!(bytes(&digests, true), (76 + 4096 + 4, 28));
    let by_r2t = Exchange { in_capsule: 0, ..plain };
    assert_eq!(bytes(&by_r2t, true), (72 + 24 + 4096, 24 + 24));
    let responses = Exchange { responses: true, block_size: 512 << 10, ..plain };
    assert_eq!(bytes(&responses, false), (72, 2 * 24 + (512 << 10) + 24));
}

#[test]
fn a_stranger_is_turned_away() {
    use std::io::Write;
    let mut peer = Peer::bind("127.0.0.1:0".parse().unwrap(), SPAN, SEED, WaitPolicy::Block).unwrap();
    let address = peer.address().unwrap();
    let served = thread::spawn(move || peer.turn().unwrap_err().to_string());
    std::net::TcpStream::connect(address).unwrap().write_all(&[b'x'; 64]).unwrap();
    assert!(served.join().unwrap().contains("not the host of a floor"));
}
