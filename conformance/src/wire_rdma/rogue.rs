//! Peers that break the rules of NVMe/RDMA on iWARP, for the contract's suite.

use std::{
    io::{Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use super::{
    mpa::{PATIENCE, admin_request, request},
    peer::{Door, Heard, Peer},
    queue::none,
};
use crate::{
    Context as _, Rogue, Verdict,
    fixtures::{Rogues, Scripted},
    wire_tcp::bytes::{FLUSH, Sqe, WRITE},
};

/// All of them.
pub const ROGUES: Rogues =
    Rogues { silent: Some(silent), hosts: Some(hosts), controllers: Some(controllers) };

/// A peer that takes a TCP connection and says nothing.
fn silent() -> Option<Box<dyn Rogue>> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).ok()?;
    listener.set_nonblocking(true).ok()?;
    let address = listener.local_addr().ok()?;
    let act = move |stop: &AtomicBool| {
        let mut taken = Vec::new();
        while !stop.load(Ordering::Relaxed) {
            match listener.accept() {
                Ok((stream, _)) => taken.push(stream),
                Err(_) => thread::park_timeout(Duration::from_millis(1)),
            }
        }
        Ok(())
    };
    Some(Box::new(Scripted::new("takes connections and says nothing", Some(address), act)))
}

type Misdeed = fn(&mut Peer) -> Verdict;

/// Hosts.
fn hosts(to: SocketAddr) -> Vec<Box<dyn Rogue>> {
    let misdeeds: [(&'static str, Misdeed); 7] = [
        ("a capsule of 63 bytes", |peer| peer.send(&[0; 63])),
        ("an empty capsule", |peer| peer.send(&[])),
        ("a capsule longer than any receive", |peer| peer.send(&vec![0; 1 << 18])),
        ("more commands than any queue has entries", |peer| {
            for cid in 0..200 {
                peer.send(&none(Sqe::new(FLUSH, cid)).0)?;
            }
            Ok(())
        }),
        ("writes to memory that nobody exposed", |peer| peer.write(&[1; 64], 0x1234_5600, 0)),
        ("reads memory that nobody exposed", |peer| peer.read(64, 0x1234_5600, 0)),
        ("invalidates a key that nobody has", |peer| {
            peer.send_invalidate(&none(Sqe::new(WRITE, 1)).0, 0x1234_5600)
        }),
    ];
    let mut rogues: Vec<Box<dyn Rogue>> = Vec::new();
    for (name, misdeed) in misdeeds {
        let act = move |_: &AtomicBool| {
            let mut peer = Peer::connect(to, &request(0, 32, 31, 0), 16)?;
            misdeed(&mut peer)?;
            peer.end().map(drop)
        };
        rogues.push(Box::new(Scripted::new(name, None, act)));
    }
    let act = move |_: &AtomicBool| {
        let mut stream = TcpStream::connect(to).doing("to connect")?;
        stream.set_read_timeout(Some(PATIENCE)).doing("a timeout")?;
        stream.write_all(&b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(8)).doing("to send")?;
        // Until the controller has had enough.
        while stream.read(&mut [0; 64]).is_ok_and(|n| n > 0) {}
        Ok(())
    };
    rogues.push(Box::new(Scripted::new("another protocol", None, act)));
    let act = move |_: &AtomicBool| match super::mpa::ask(to, 0, &admin_request()[..31]) {
        Ok(_) => Ok(()),
        Err(stop) => Err(stop),
    };
    rogues.push(Box::new(Scripted::new("private data that is too short", None, act)));
    rogues
}

/// A command of the host, as it arrived.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    cid: u16,
    key: u32,
    address: u64,
}

type Lie = fn(&mut Peer, Seen, Seen) -> Verdict;

fn cqe(cid: u16, status: u16) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[12..14].copy_from_slice(&cid.to_le_bytes());
    bytes[14..16].copy_from_slice(&(status << 1).to_le_bytes());
    bytes
}

/// Controllers: each gets one write and one read of 64 KiB, and lies.
fn controllers() -> Vec<Box<dyn Rogue>> {
    let lies: [(&'static str, Lie); 9] = [
        ("answers a command that is not outstanding", |peer, write, _| {
            peer.send(&cqe(write.cid ^ 0x4000, 0))
        }),
        ("answers a command twice", |peer, write, _| {
            peer.send(&cqe(write.cid, 6))?;
            peer.send(&cqe(write.cid, 6))
        }),
        ("answers with 15 bytes", |peer, write, _| peer.send(&cqe(write.cid, 0)[..15])),
        ("answers with more than a completion", |peer, write, _| {
            peer.send(&[&cqe(write.cid, 0)[..], &[0; 16]].concat())
        }),
        ("sends data beyond the room", |peer, _, read| {
            peer.write(&[1; 512], read.key, read.address + 65_536 - 256)
        }),
        ("writes what it may only read", |peer, write, _| peer.write(&[1; 512], write.key, write.address)),
        ("reads what it may only write", |peer, _, read| peer.read(512, read.key, read.address)),
        ("invalidates another command's key", |peer, write, read| {
            peer.send_invalidate(&cqe(write.cid, 0), read.key)
        }),
        ("sends more than the host has receives for", |peer, _, _| {
            for _ in 0..64 {
                peer.send(&cqe(0x7777, 0))?;
            }
            Ok(())
        }),
    ];
    lies.into_iter().filter_map(|(name, lie)| controller(name, lie)).collect()
}

fn controller(name: &'static str, lie: Lie) -> Option<Box<dyn Rogue>> {
    let door = Door::open().ok()?;
    let address = door.address;
    let act = move |stop: &AtomicBool| {
        let mut accept = [0; 32];
        accept[2..4].copy_from_slice(&32u16.to_le_bytes());
        let Some(mut peer) = door.accept(&accept, || stop.load(Ordering::Relaxed))? else { return Ok(()) };
        let (mut write, mut read) = (None, None);
        while write.is_none() || read.is_none() {
            let Heard::Message(capsule, _) = peer.hear()? else { return Ok(()) };
            let at = |from: usize| capsule.get(from..from + 8).and_then(|bytes| bytes.try_into().ok());
            let (address, tail) = (at(24).doing("an SQE")?, at(32).doing("an SQE")?);
            let [_, _, _, k0, k1, k2, k3, _]: [u8; 8] = tail;
            let seen = Seen {
                cid: u16::from_le_bytes([capsule[2], capsule[3]]),
                key: u32::from_le_bytes([k0, k1, k2, k3]),
                address: u64::from_le_bytes(address),
            };
            *if capsule[0] == WRITE { &mut write } else { &mut read } = Some(seen);
        }
        lie(&mut peer, write.unwrap_or_default(), read.unwrap_or_default())?;
        // Until the host has had enough.
        peer.end().map(drop)
    };
    Some(Box::new(Scripted::new(name, Some(address), act)))
}
