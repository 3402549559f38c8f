//! Queue pairs without sockets: two of them over a stream that is cut anywhere, and one with a peer that says anything.

mod data;
mod hostile;
mod life;
mod model;

use super::*;
use crate::{
    crc32c,
    ddp::{self, Header, Place},
    mpa::{FrameKind, fpdu},
    rdmap::{ErrorCode, Terminate},
    verbs::{
        Access, Completed, Operation, Payload, Region, RegionOptions, Remote, STag, SendRequest, Sge, Status,
    },
};

/// Numbers that follow from a seed.
pub(super) struct Chance(u64);

impl Chance {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(super) fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) as usize) % limit.max(1)
    }
}

/// A queue pair with its memory, and what it has said.
pub(super) struct Node {
    pub(super) qp: QueuePair,
    pub(super) domain: Domain,
    pub(super) events: Vec<Event>,
    scratch: Vec<u8>,
}

impl Node {
    pub(super) fn new(seed: u64, config: &QpConfig) -> Self {
        Self {
            qp: QueuePair::new(Qp::new(0, 1), config, 1 << 18),
            domain: Domain::new(1024, seed),
            events: Vec::new(),
            scratch: vec![0; SCRATCH_MIN.max(20_000)],
        }
    }

    pub(super) fn register(&mut self, len: usize, access: Access) -> Region {
        self.domain.register(vec![0; len].into_boxed_slice(), RegionOptions::new(access)).unwrap()
    }

    pub(super) fn bytes(&self, region: &Region) -> &[u8] {
        self.domain.bytes(region.stag).unwrap()
    }

    pub(super) fn fill(&mut self, region: &Region, seed: u8) {
        for (i, byte) in self.domain.bytes_mut(region.stag).unwrap().iter_mut().enumerate() {
            *byte = (i as u32).wrapping_mul(2_654_435_761).to_be_bytes()[0] ^ seed;
        }
    }

    pub(super) fn post(&mut self, id: u64, operation: Operation, list: &[Sge]) {
        self.qp.post_send(&SendRequest::new(id, operation, Payload::Gather(list))).unwrap();
    }

    pub(super) fn receive(&mut self, id: u64, list: &[Sge]) {
        self.qp.post_receive(&ReceiveRequest { id, scatter: list }).unwrap();
    }

    /// Takes up to `most` bytes that it wants to send.
    pub(super) fn output(&mut self, most: usize) -> Vec<u8> {
        self.qp.pump(&mut self.domain, &mut self.events);
        let mut slices = Slices::new();
        let Some(_) = self.qp.gather(&self.domain, &mut slices) else {
            drop(slices);
            self.qp.memory_lost(&self.domain, &mut self.events);
            return Vec::new();
        };
        let mut bytes: Vec<u8> = Vec::new();
        for slice in &slices {
            let room = most - bytes.len();
            bytes.extend_from_slice(&slice[..slice.len().min(room)]);
        }
        drop(slices);
        self.qp.wrote(bytes.len(), &mut self.events);
        bytes
    }

    /// All that it wants to send.
    pub(super) fn drain(&mut self) -> Vec<u8> {
        let mut all = Vec::new();
        loop {
            let piece = self.output(usize::MAX >> 1);
            if piece.is_empty() {
                return all;
            }
            all.extend(piece);
        }
    }

    /// Gives it bytes; answers with how many it took.
    pub(super) fn input(&mut self, bytes: &[u8]) -> usize {
        let [direct, rest] = self.qp.targets(&mut self.domain, &mut self.scratch);
        let first = bytes.len().min(direct.len());
        direct[..first].copy_from_slice(&bytes[..first]);
        let second = (bytes.len() - first).min(rest.len());
        rest[..second].copy_from_slice(&bytes[first..first + second]);
        let n = first + second;
        self.qp.received(n, &mut self.scratch, &mut self.domain, &mut self.events);
        n
    }

    pub(super) fn input_all(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() && self.qp.life() == Life::Open {
            let n = self.input(bytes);
            bytes = &bytes[n..];
        }
    }

    pub(super) fn completions(&mut self) -> Vec<Completion> {
        let (completions, rest) = std::mem::take(&mut self.events)
            .into_iter()
            .partition(|event| matches!(event, Event::Completion(_)));
        self.events = rest;
        let completions: Vec<Event> = completions;
        completions
            .into_iter()
            .map(|event| match event {
                Event::Completion(completion) => completion,
                _ => unreachable!(),
            })
            .collect()
    }

    /// Completions as (id, status).
    pub(super) fn ended(&mut self) -> Vec<(u64, Status)> {
        self.completions().iter().map(|completion| (completion.id, completion.status)).collect()
    }

    pub(super) fn is_established(&self) -> bool {
        self.events.iter().any(|event| matches!(event, Event::Established { .. }))
    }

    /// The reason in the last event.
    pub(super) fn disconnected(&self) -> &Disconnect {
        match self.events.last() {
            Some(Event::Disconnected { reason, .. }) => reason,
            other => panic!("{other:?}"),
        }
    }
}

/// Two nodes and the bytes between them.
pub(super) struct Pair {
    pub(super) a: Node,
    pub(super) b: Node,
    to_a: Vec<u8>,
    to_b: Vec<u8>,
    pub(super) chance: Chance,
    /// The most bytes of one step; 0: all.
    pub(super) piece: usize,
}

impl Pair {
    /// Two that are connected; `a` is the initiator.
    pub(super) fn new(seed: u64, emss: u32, config: &ConnectionConfig) -> Self {
        Self::with(seed, emss, config, config, &QpConfig::default())
    }

    pub(super) fn with(
        seed: u64,
        emss: u32,
        ours: &ConnectionConfig,
        theirs: &ConnectionConfig,
        qp: &QpConfig,
    ) -> Self {
        let (mut a, mut b) = (Node::new(seed, qp), Node::new(seed ^ 0x5555, qp));
        a.qp.set_emss(emss);
        b.qp.set_emss(emss);
        a.qp.connect(ours, b"question").unwrap();
        let request = a.drain();
        let (frame, behind) = Frame::parse(&request, FrameKind::Request).unwrap().unwrap();
        assert!(behind.is_empty());
        b.qp.accept(theirs, &frame, b"answer").unwrap();
        let mut pair = Self { a, b, to_a: Vec::new(), to_b: Vec::new(), chance: Chance::new(seed), piece: 0 };
        pair.run();
        assert!(pair.a.is_established() && pair.b.is_established());
        pair.a.events.clear();
        pair.b.events.clear();
        pair
    }

    /// Carries a piece in each direction; whether there was any.
    pub(super) fn step(&mut self) -> bool {
        let piece = self.piece;
        let mut any = false;
        for back in [false, true] {
            let (from, to, wire) = match back {
                false => (&mut self.a, &mut self.b, &mut self.to_b),
                true => (&mut self.b, &mut self.a, &mut self.to_a),
            };
            let mut size = || if piece == 0 { 1 << 20 } else { 1 + self.chance.below(piece) };
            let sent = from.output(size());
            any |= !sent.is_empty();
            wire.extend(sent);
            if !wire.is_empty() && matches!(to.qp.life(), Life::Open) {
                let now = wire.len().min(size());
                let taken = to.input(&wire[..now]);
                wire.drain(..taken);
                any |= taken > 0;
            }
        }
        any
    }

    /// Until nothing moves any more.
    pub(super) fn run(&mut self) {
        for _ in 0..10_000_000 {
            if !self.step() {
                return;
            }
        }
        panic!("does not come to rest");
    }
}

/// A node as the responder of a peer that is played by the test.
pub(super) fn responder(config: &ConnectionConfig) -> Node {
    let mut node = Node::new(7, &QpConfig::default());
    node.qp.set_emss(1448);
    let mut bytes = Vec::new();
    mpa::request(&offer(config), b"").encode(&mut bytes).unwrap();
    let (frame, _) = Frame::parse(&bytes, FrameKind::Request).unwrap().unwrap();
    node.qp.accept(&ConnectionConfig::default(), &frame, b"").unwrap();
    let reply = node.drain();
    assert!(Frame::parse(&reply, FrameKind::Reply).unwrap().is_some());
    node.events.clear();
    node
}

/// A node as the initiator, connected to a peer that is played by the test.
pub(super) fn initiator(config: &ConnectionConfig) -> Node {
    let mut node = Node::new(9, &QpConfig::default());
    node.qp.set_emss(1448);
    node.qp.connect(config, b"").unwrap();
    let request = node.drain();
    let (frame, _) = Frame::parse(&request, FrameKind::Request).unwrap().unwrap();
    let (reply, _) = mpa::answer(&offer(&ConnectionConfig::default()), &frame, b"");
    let mut bytes = Vec::new();
    reply.encode(&mut bytes).unwrap();
    node.input_all(&bytes);
    node.qp.pump(&mut node.domain, &mut node.events);
    assert!(node.is_established());
    node.events.clear();
    node
}

pub(super) fn untagged(opcode: u8, queue: u32, msn: u32, offset: u32, last: bool) -> Header {
    Header { last, rdmap: 0x40 | opcode, place: Place::Untagged { ulp: 0, queue, msn, offset } }
}

pub(super) fn tagged(opcode: u8, stag: STag, to: u64, last: bool) -> Header {
    Header { last, rdmap: 0x40 | opcode, place: Place::Tagged { stag, to } }
}

/// One FPDU with a right CRC.
pub(super) fn fpdu(header: &Header, payload: &[u8]) -> Vec<u8> {
    let mut raw = [0; ddp::UNTAGGED_LEN];
    let len = header.encode(&mut raw);
    let mut ulpdu = raw[..len].to_vec();
    ulpdu.extend_from_slice(payload);
    framed(&ulpdu)
}

/// The same around any ULPDU.
pub(super) fn framed(ulpdu: &[u8]) -> Vec<u8> {
    let len = ulpdu.len() as u16;
    let mut bytes = len.to_be_bytes().to_vec();
    bytes.extend_from_slice(ulpdu);
    bytes.resize(2 + ulpdu.len() + fpdu::padding(len), 0);
    let crc = crc32c(&bytes);
    bytes.extend_from_slice(&crc.to_le_bytes());
    bytes
}

/// Takes FPDUs apart: header and payload.
pub(super) fn parse(mut bytes: &[u8]) -> Vec<(Header, Vec<u8>)> {
    let mut all = Vec::new();
    while let [a, b, ..] = bytes {
        let len = u16::from_be_bytes([*a, *b]);
        let (one, behind) = bytes.split_at(fpdu::total(len));
        let (covered, crc) = one.split_at(one.len() - 4);
        assert_eq!(crc32c(covered).to_le_bytes(), crc);
        let (header, header_len) = Header::parse(&one[2..]).unwrap().unwrap();
        all.push((header, one[2 + header_len..2 + usize::from(len)].to_vec()));
        bytes = behind;
    }
    all
}

/// What a node says last: a Terminate message.
pub(super) fn terminate(node: &mut Node) -> Terminate {
    let said = parse(&node.drain());
    let (header, payload) = said.last().expect("a last word");
    assert_eq!(*header, untagged(7, 2, 1, 0, true));
    assert_eq!(node.qp.life(), Life::Draining);
    Terminate::parse(payload).unwrap()
}
