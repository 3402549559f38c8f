//! Both ends of a connection against each other, and each against a peer made of bytes, in simulated time.
//!
//! [`Pair`] moves bytes between a [`HostConn`] and a [`ControllerConn`] in pieces of random size; [`Raw`] is one end with the
//! test as its peer. Nothing here knows a socket.

mod controller_faults;
mod data;
mod fetch_faults;
mod fuzz;
mod host_faults;
mod life;
mod matrix;
mod negotiation;

use std::{
    num::NonZeroU32,
    sync::Arc,
    time::{Duration, Instant},
};

use nvmf_transport::{
    Buffer, Command, ControllerEvent, Data, Gather, HostEvent, ListenerId, Pages, Pool, QueueId, QueueKind,
    QueueSettings, Queues, Region, RequestData, RequestId, View,
};
use nvmf_wire::{Cqe, IoOpcode, Sqe, Status};

use super::{ControllerConn, ControllerSetup, HostConn, HostSetup, Life, Patience, Slices};
use crate::pdu::{ADMIN_IN_CAPSULE, Alignment, ControllerTerms, DigestPolicy, HostTerms};

pub(super) const PATIENCE: Patience = Patience {
    negotiate: Duration::from_secs(10),
    stall: Duration::from_secs(60),
    flush: Duration::from_secs(5),
    linger: Duration::from_secs(1),
};

/// A name for the queue under test.
pub(super) fn queue() -> QueueId {
    Queues::<()>::default().insert(())
}

#[expect(clippy::disallowed_methods, reason = "any instant will do as the origin of simulated time")]
pub(super) fn origin() -> Instant {
    Instant::now()
}

/// xorshift64*: small, seeded, the same everywhere.
#[derive(Clone, Debug)]
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    pub(super) fn below(&mut self, limit: usize) -> usize {
        (self.next() >> 33) as usize % limit.max(1)
    }
}

pub(super) fn buffer(len: usize) -> Buffer {
    Region::allocate(len).unwrap().into_buffer()
}

/// Bytes that differ at every offset and from seed to seed.
pub(super) fn pattern(seed: u64, len: usize) -> Buffer {
    let mut buffer = buffer(len);
    let mut random = Random::new(seed + 1);
    for chunk in buffer.chunks_mut(8) {
        let bytes = random.next().to_le_bytes();
        chunk.copy_from_slice(&bytes[..chunk.len()]);
    }
    buffer
}

/// What can be varied of a connection.
#[derive(Clone, Debug)]
pub(super) struct Setting {
    pub(super) host: HostTerms,
    pub(super) controller: ControllerTerms,
    pub(super) in_capsule: u32,
    pub(super) max_c2h_data: u32,
    pub(super) depth: u16,
    pub(super) sq_flow_control: bool,
    pub(super) max_fetches: u16,
    pub(super) kind: QueueKind,
}

impl Default for Setting {
    fn default() -> Self {
        Self {
            host: HostTerms::default(),
            controller: ControllerTerms::default(),
            in_capsule: 16 * 1024,
            max_c2h_data: 64 * 1024,
            depth: 8,
            sq_flow_control: false,
            max_fetches: 8,
            kind: QueueKind::Io(1),
        }
    }
}

impl Setting {
    pub(super) fn digests(mut self, header: bool, data: bool) -> Self {
        let policy = |on| if on { DigestPolicy::On } else { DigestPolicy::Off };
        (self.host.header_digest, self.host.data_digest) = (policy(header), policy(data));
        self
    }

    pub(super) fn alignment(mut self, hpda: u8, cpda: u8) -> Self {
        self.host.alignment = Alignment::new(hpda).unwrap();
        self.controller.alignment = Alignment::new(cpda).unwrap();
        self
    }

    pub(super) fn max_r2t(mut self, max_r2t: u32) -> Self {
        self.host.max_r2t = NonZeroU32::new(max_r2t).unwrap();
        self
    }

    pub(super) fn max_h2c_data(mut self, bytes: u32) -> Self {
        self.controller.max_h2c_data = bytes;
        self
    }

    pub(super) fn settings(&self) -> QueueSettings {
        QueueSettings { kind: self.kind, depth: self.depth, sq_flow_control: self.sq_flow_control }
    }

    pub(super) fn host_setup(&self) -> HostSetup {
        HostSetup {
            queue: queue(),
            depth: self.depth,
            in_capsule: self.in_capsule,
            max_transfer: 32 << 20,
            patience: PATIENCE,
        }
    }

    pub(super) fn controller_setup(&self) -> ControllerSetup {
        let pool = |size: u32| Arc::new(Pool::new(Arc::new(Pages), size as usize, 64));
        ControllerSetup {
            queue: queue(),
            listener: ListenerId(0),
            in_capsule: self.in_capsule,
            max_c2h_data: self.max_c2h_data,
            max_fetches: self.max_fetches,
            max_depth: 1024,
            small: pool(ADMIN_IN_CAPSULE),
            large: pool(self.in_capsule.max(ADMIN_IN_CAPSULE)),
            patience: PATIENCE,
        }
    }
}

/// What both connections have in common, for the tests.
pub(super) trait End {
    type Event;
    fn take_in(&mut self, bytes: &[u8], scratch: &mut [u8], events: &mut Vec<Self::Event>);
    fn give_out(&mut self, limit: usize, events: &mut Vec<Self::Event>) -> Vec<u8>;
}

macro_rules! end {
    ($conn:ty, $event:ty) => {
        impl End for $conn {
            type Event = $event;

            fn take_in(&mut self, mut bytes: &[u8], scratch: &mut [u8], events: &mut Vec<$event>) {
                while !bytes.is_empty() {
                    let mut n = 0;
                    for target in self.targets(scratch) {
                        let (piece, rest) = bytes.split_at(target.len().min(bytes.len()));
                        target[..piece.len()].copy_from_slice(piece);
                        n += piece.len();
                        bytes = rest;
                    }
                    assert!(n > 0, "a connection always has room");
                    self.received(n, scratch, events);
                }
            }

            fn give_out(&mut self, limit: usize, events: &mut Vec<$event>) -> Vec<u8> {
                let mut out = Vec::new();
                let mut slices = Slices::new();
                let bytes = self.gather(&mut slices);
                assert_eq!(bytes, slices.iter().map(|slice| slice.len()).sum::<usize>());
                for slice in &slices {
                    let room = limit - out.len();
                    out.extend_from_slice(&slice[..slice.len().min(room)]);
                }
                drop(slices);
                self.wrote(out.len(), events);
                out
            }
        }
    };
}

end!(HostConn, HostEvent);
end!(ControllerConn, ControllerEvent);

/// A host and a controller with a wire between them.
pub(super) struct Pair {
    pub(super) host: HostConn,
    pub(super) controller: ControllerConn,
    pub(super) host_events: Vec<HostEvent>,
    pub(super) controller_events: Vec<ControllerEvent>,
    /// All that went over the wire, by direction.
    pub(super) to_controller: Vec<u8>,
    pub(super) to_host: Vec<u8>,
    scratch: Vec<u8>,
    random: Random,
    /// The longest piece of bytes moved at a time.
    piece: usize,
}

impl Pair {
    /// Both ends, not negotiated.
    pub(super) fn new(setting: &Setting, seed: u64, piece: usize) -> Self {
        let mut host = HostConn::new(setting.host_setup());
        host.start(setting.host);
        Self {
            host,
            controller: ControllerConn::new(setting.controller_setup(), setting.controller),
            host_events: Vec::new(),
            controller_events: Vec::new(),
            to_controller: Vec::new(),
            to_host: Vec::new(),
            scratch: vec![0; 64 * 1024],
            random: Random::new(seed),
            piece,
        }
    }

    /// Both ends, negotiated and configured.
    pub(super) fn up(setting: &Setting, seed: u64, piece: usize) -> Self {
        let mut pair = Self::new(setting, seed, piece);
        pair.run();
        assert!(pair.host.take_established() && pair.controller.take_established());
        pair.host.configure(&setting.settings()).unwrap();
        pair.controller.configure(&setting.settings()).unwrap();
        pair
    }

    /// Moves one piece each way. Returns whether anything moved.
    pub(super) fn step(&mut self) -> bool {
        let limit = 1 + self.random.below(self.piece);
        let bytes = self.host.give_out(limit, &mut self.host_events);
        self.controller.take_in(&bytes, &mut self.scratch, &mut self.controller_events);
        self.to_controller.extend_from_slice(&bytes);
        let limit = 1 + self.random.below(self.piece);
        let back = self.controller.give_out(limit, &mut self.controller_events);
        self.host.take_in(&back, &mut self.scratch, &mut self.host_events);
        self.to_host.extend_from_slice(&back);
        !bytes.is_empty() || !back.is_empty()
    }

    /// Moves bytes until none is left.
    pub(super) fn run(&mut self) {
        while self.step() {}
    }

    /// Submits a command without caring for its CID.
    pub(super) fn submit(&mut self, sqe: Sqe, data: Data, cookie: u64) {
        self.host.submit(Command { sqe, data, cookie }).unwrap();
    }

    /// A READ of `len` bytes.
    pub(super) fn read(&mut self, len: usize, cookie: u64) {
        self.submit(Sqe::io(IoOpcode::READ, 1), Data::FromController(buffer(len)), cookie);
    }

    /// A WRITE of `len` bytes of the pattern that belongs to the cookie.
    pub(super) fn write(&mut self, len: usize, cookie: u64) {
        self.submit(Sqe::io(IoOpcode::WRITE, 1), Data::ToController(pattern(cookie, len)), cookie);
    }

    /// The one command that has arrived.
    pub(super) fn command(&mut self) -> (RequestId, Sqe, Result<RequestData, Status>) {
        self.run();
        assert_eq!(self.controller_events.len(), 1, "{:?}", self.controller_events);
        match self.controller_events.pop() {
            Some(ControllerEvent::Command { request, sqe, data }) => (request, sqe, data),
            other => panic!("not a command: {other:?}"),
        }
    }

    /// The one completion that has arrived.
    pub(super) fn completion(&mut self) -> (Cqe, bool, u32, Data, u64) {
        self.run();
        assert_eq!(self.host_events.len(), 1, "{:?}", self.host_events);
        match self.host_events.pop() {
            Some(HostEvent::Completed { cqe, sqhd_valid, transferred, data, cookie, .. }) => {
                (cqe, sqhd_valid, transferred, data, cookie)
            }
            other => panic!("not a completion: {other:?}"),
        }
    }

    pub(super) fn success(&mut self, request: RequestId, data: impl Into<Gather>) {
        self.controller.respond(request, Cqe::default(), data.into()).unwrap();
    }

    pub(super) fn both_open(&self) -> bool {
        self.host.life() == Life::Open && self.controller.life() == Life::Open
    }
}

/// Several views of the same bytes as one list.
pub(super) fn gather(view: &View, cuts: &[usize]) -> Gather {
    let mut from = 0;
    cuts.iter()
        .copied()
        .chain([view.len()])
        .map(|to| {
            let part = view.slice(from..to);
            from = to;
            part
        })
        .collect()
}

/// One end, whose peer is the test.
pub(super) struct Raw<C: End> {
    pub(super) conn: C,
    pub(super) events: Vec<C::Event>,
    scratch: Vec<u8>,
}

impl<C: End> Raw<C> {
    pub(super) fn new(conn: C) -> Self {
        Self { conn, events: Vec::new(), scratch: vec![0; 64 * 1024] }
    }

    pub(super) fn send(&mut self, bytes: &[u8]) {
        self.conn.take_in(bytes, &mut self.scratch, &mut self.events);
    }

    /// All that the end has to say.
    pub(super) fn output(&mut self) -> Vec<u8> {
        let mut all = Vec::new();
        loop {
            let bytes = self.conn.give_out(usize::MAX, &mut self.events);
            if bytes.is_empty() {
                return all;
            }
            all.extend(bytes);
        }
    }
}

/// FES and FEI of the termination request that `bytes` end with, which has to echo `offender`.
pub(super) fn term_req(bytes: &[u8], pdu_type: u8) -> (u16, u32) {
    assert!(bytes.len() >= 24, "no termination request: {bytes:02x?}");
    assert_eq!(bytes[0], pdu_type, "not a termination request: {bytes:02x?}");
    assert_eq!((bytes[1], bytes[2], bytes[3]), (0, 24, 0));
    assert_eq!(u32::from_le_bytes(bytes[4..8].try_into().unwrap()) as usize, bytes.len());
    (
        u16::from_le_bytes(bytes[8..10].try_into().unwrap()),
        u32::from_le_bytes(bytes[10..14].try_into().unwrap()),
    )
}

/// The PDUs of a byte stream, by nothing but their lengths.
pub(super) fn pdus(mut bytes: &[u8]) -> Vec<&[u8]> {
    let mut all = Vec::new();
    while !bytes.is_empty() {
        let plen = u32::from_le_bytes(bytes[4..8].try_into().unwrap()) as usize;
        let (pdu, rest) = bytes.split_at(plen);
        all.push(pdu);
        bytes = rest;
    }
    all
}
