//! Peers over real sockets that are slow, silent, rude or gone, and that nobody else notices them.
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "a test, and a driver: it reads the clock"
)]

mod support;

use std::{
    io::{ErrorKind as Io, Read, Write},
    net::TcpStream,
    time::{Duration, Instant},
};

use nvmf_tcp::{
    TcpConfig,
    pdu::{HostTerms, Role, Sender},
};
use nvmf_transport::{CloseReason, ErrorKind};
use nvmf_wire::{Cid, IoOpcode, SglDescriptor, Sqe};
use support::*;

fn impatient() -> TcpConfig {
    TcpConfig {
        negotiate_timeout: Duration::from_millis(300),
        stall_timeout: Duration::from_millis(300),
        linger: Duration::from_millis(200),
        flush_timeout: Duration::from_millis(300),
        ..TcpConfig::default()
    }
}

fn raw(both: &Loop) -> TcpStream {
    let stream = TcpStream::connect(both.target.address).unwrap();
    stream.set_nonblocking(true).unwrap();
    stream
}

/// What has arrived, and whether the peer has ended.
fn take(stream: &mut TcpStream, into: &mut Vec<u8>) -> bool {
    let mut chunk = [0; 4096];
    loop {
        match stream.read(&mut chunk) {
            Ok(0) => return true,
            Ok(n) => into.extend_from_slice(&chunk[..n]),
            Err(e) if e.kind() == Io::WouldBlock => return false,
            Err(_) => return true,
        }
    }
}

fn ic_req() -> Vec<u8> {
    zerocopy::IntoBytes::as_bytes(&HostTerms::default().request()).to_vec()
}

/// A connection that has negotiated by hand.
fn negotiated(both: &mut Loop) -> TcpStream {
    let mut stream = raw(both);
    stream.write_all(&ic_req()).unwrap();
    let mut got = Vec::new();
    both.until(|_| {
        take(&mut stream, &mut got);
        got.len() == 128
    });
    stream
}

fn capsule(sqe: Sqe, data: &[u8]) -> Vec<u8> {
    let sender: Sender = {
        let (_, negotiated) =
            nvmf_tcp::pdu::ControllerTerms::default().answer(&HostTerms::default().request()).unwrap();
        negotiated.sender(Role::Host)
    };
    let mut out = [0; 128];
    let len = sender.capsule_cmd(&sqe, data.len() as u32, &mut out).unwrap().len;
    [&out[..len], data].concat()
}

fn read_command(cid: u16, len: u32) -> Vec<u8> {
    capsule(Sqe::io(IoOpcode::READ, 1).with_cid(Cid(cid)).with_sgl(SglDescriptor::transport(len)), &[])
}

// test: TCP-IC-24, TCP-RES-03, TCP-ERR-17
#[test]
fn silent_and_slow_peers_are_cut_off_while_others_work() {
    let mut both = Loop::with(impatient());
    let (queue, _) = both.connect();
    let start = Instant::now();
    let mut silent: Vec<_> = (0..20).map(|_| raw(&both)).collect();
    let mut slow = raw(&both);
    let (mut sent, mut gone) = (0, false);
    let bytes = ic_req();
    both.until(|both| {
        if !gone && start.elapsed() > Duration::from_millis(30) * sent {
            let _ = slow.write(&bytes[sent as usize..=sent as usize]);
            sent += 1;
        }
        gone = gone || take(&mut slow, &mut Vec::new());
        both.exchange(queue, 4096);
        gone && both.target.engine.connections() == 1
    });
    assert!(start.elapsed() < Duration::from_secs(5));
    assert!(silent.iter_mut().all(|stream| take(stream, &mut Vec::new())));
    assert!(both.target.closed.is_empty(), "queues that never were up are nobody's business");
}

#[test]
fn a_crowd_that_says_nothing_keeps_nobody_out() {
    let config =
        TcpConfig { max_negotiating: 16, negotiate_timeout: Duration::from_secs(60), ..TcpConfig::default() };
    let mut both = Loop::with(config);
    let mut crowd = Vec::new();
    for round in 0..10 {
        for _ in 0..20 {
            crowd.push(raw(&both));
            both.poll();
        }
        let (queue, _) = both.connect();
        both.exchange(queue, 512);
        both.until(|both| both.target.engine.connections() <= 16 + 1 + round);
    }
}

#[test]
fn more_connections_than_allowed_are_turned_away() {
    let mut both = Loop::with(TcpConfig { max_connections: 3, ..TcpConfig::default() });
    let queues: Vec<_> = (0..3).map(|_| both.connect().0).collect();
    let mut extra = raw(&both);
    let mut ended = false;
    both.until(|_| {
        ended = ended || take(&mut extra, &mut Vec::new());
        ended
    });
    queues.iter().for_each(|&queue| both.exchange(queue, 4096));
}

// test: TCP-ERR-02, TCP-ERR-12, TCP-TRM-02
#[test]
fn a_violation_is_answered_and_the_connection_ends_whether_the_peer_closes_or_not() {
    for closes in [true, false] {
        let mut both = Loop::with(impatient());
        let (queue, _) = both.connect();
        let mut peer = negotiated(&mut both);
        both.until(|both| both.target.infos.len() == 2);
        let mut bad = read_command(1, 512);
        bad[2] = 73;
        peer.write_all(&bad).unwrap();
        let mut got = Vec::new();
        let mut peer = Some(peer);
        let start = Instant::now();
        both.until(|both| {
            if let Some(stream) = &mut peer {
                // This side goes on sending, which is ignored.
                let _ = stream.write(&read_command(2, 512));
                if take(stream, &mut got) && closes {
                    peer = None;
                }
            }
            both.exchange(queue, 512);
            both.target.engine.connections() == 1
        });
        assert_eq!((got[0], got.len(), got[8], got[10]), (3, 24 + 72, 1, 2));
        assert!(closes || start.elapsed() >= Duration::from_millis(150), "the peer has a moment to close");
        let [CloseReason::Failed(error)] = &both.target.closed[..] else {
            panic!("{:?}", both.target.closed)
        };
        assert_eq!(error.kind(), ErrorKind::Protocol);
    }
}

// test: TCP-ERR-17, TCP-ERR-18
#[test]
fn a_reset_in_any_state_frees_everything_and_disturbs_nobody() {
    let mut both = Loop::with(TcpConfig::default());
    let (queue, _) = both.connect();
    let write = Sqe::io(IoOpcode::WRITE, 1).with_cid(Cid(1));
    let in_capsule = capsule(write.with_sgl(SglDescriptor::in_capsule(0, 8192)), &[1; 8192]);
    let fetched = capsule(write.with_sgl(SglDescriptor::transport(1 << 20)), &[]);
    let read = read_command(1, 4 << 20);
    let states: [(bool, &[u8]); 12] = [
        (false, &[]),
        (false, &ic_req()[..3]),
        (false, &ic_req()[..127]),
        (false, &ic_req()),
        (true, &[]),
        (true, &in_capsule[..5]),
        (true, &in_capsule[..71]),
        (true, &in_capsule[..72]),
        (true, &in_capsule[..5000]),
        (true, &in_capsule),
        (true, &fetched),
        (true, &read),
    ];
    for reset in [true, false] {
        for (up, bytes) in states {
            let mut peer = if up { negotiated(&mut both) } else { raw(&both) };
            peer.write_all(bytes).unwrap();
            for _ in 0..20 {
                both.poll();
            }
            if reset {
                socket2::SockRef::from(&peer).set_linger(Some(Duration::ZERO)).unwrap();
            }
            drop(peer);
            both.until(|both| both.target.engine.connections() == 1);
            both.exchange(queue, 4096);
        }
    }
}

// test: TCP-RES-03
#[test]
fn a_peer_that_does_not_read_is_left_while_others_work() {
    let mut both = Loop::with(impatient());
    let (queue, _) = both.connect();
    let mut peer = negotiated(&mut both);
    both.until(|both| both.target.infos.len() == 2);
    for cid in 0..u16::from(DEPTH as u8) {
        peer.write_all(&read_command(cid, 4 << 20)).unwrap();
    }
    let start = Instant::now();
    both.until(|both| {
        both.exchange(queue, 16_384);
        !both.target.closed.is_empty()
    });
    assert!(start.elapsed() < Duration::from_secs(5));
    let CloseReason::Failed(error) = &both.target.closed[0] else { panic!("{:?}", both.target.closed) };
    assert_eq!(error.kind(), ErrorKind::TimedOut, "{error}");
}

// test: TCP-RES-02
#[test]
fn a_peer_that_sends_its_data_drop_by_drop_holds_only_itself_up() {
    let mut both = Loop::with(impatient());
    let (queue, _) = both.connect();
    let mut peer = negotiated(&mut both);
    let write = Sqe::io(IoOpcode::WRITE, 1).with_sgl(SglDescriptor::in_capsule(0, 512));
    let bytes = capsule(write, &[7; 512]);
    let (last, rest) = bytes.split_last().unwrap();
    for byte in rest {
        peer.write_all(&[*byte]).unwrap();
        both.exchange(queue, 4096);
        assert_ne!(both.target.written, [7; 512], "delivered before it is complete");
    }
    // Nothing else is written meanwhile: the target keeps what was written last.
    peer.write_all(&[*last]).unwrap();
    let mut got = Vec::new();
    both.until(|_| {
        take(&mut peer, &mut got);
        got.len() >= 24
    });
    assert_eq!((got[0], &both.target.written[..]), (5, &[7; 512][..]));
}

// test: TCP-ERR-18, TCP-QUE-10
#[test]
fn a_peer_that_closes_its_direction_only_is_gone_at_once() {
    let mut both = Loop::with(TcpConfig::default());
    let (queue, _) = both.connect();
    let command = read_command(7, 4096);
    // Before ICReq, within it, between PDUs with an answer under way, and in the middle of a command.
    let request = ic_req();
    let unborn: [&[u8]; 2] = [&[], &request[..100]];
    for bytes in unborn {
        let mut stream = raw(&both);
        stream.write_all(bytes).unwrap();
        both.until(|both| both.target.engine.connections() == 2);
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        both.until(|both| both.target.engine.connections() == 1 && take(&mut stream, &mut Vec::new()));
    }
    assert!(both.target.closed.is_empty());
    for (bytes, whole) in [(&command[..], true), (&command[..60], false)] {
        let mut stream = negotiated(&mut both);
        stream.write_all(bytes).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        both.until(|both| both.target.engine.connections() == 1 && take(&mut stream, &mut Vec::new()));
        match both.target.closed.pop() {
            Some(CloseReason::PeerClosed) => assert!(whole),
            Some(CloseReason::Failed(error)) => {
                assert_eq!((error.kind(), whole), (ErrorKind::PeerClosed, false));
            }
            other => panic!("{other:?}"),
        }
        assert!(both.target.closed.is_empty(), "the end comes once");
    }
    both.exchange(queue, 4096);
}
