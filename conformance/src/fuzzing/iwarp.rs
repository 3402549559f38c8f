//! A queue pair of soft-iWARP, its memory and arbitrary calls on it, against a peer that says anything, cut anywhere.
//!
//! Whatever comes: not a byte outside of what was lent changes; all that is said is whole FPDUs, with a right CRC where there are
//! CRCs, and a Terminate message is the last; no more completions than requests, each once and in order; after the end of the
//! connection nothing is reported any more, and every request has been.

use std::collections::VecDeque;

use nvmf_soft_iwarp::{
    Access, Completed, ConnectionConfig, Event, Operation, Payload, Qp, QpConfig, ReceiveRequest, Region,
    RegionOptions, Remote, STag, SendRequest, Sge, Status,
    config::{CrcPolicy, Revision, RtrKinds},
    crc32c, ddp,
    memory::Domain,
    mpa::{self, Frame, FrameKind, Offer, fpdu},
    qp::{Life, QueuePair, Slices},
    rdmap::{Opcode, ReadRequest, Terminate},
};

use super::{Choices, Target, seeds};

pub(super) const TARGET: Target =
    Target { name: "iwarp", body, seeds: || seeds::random(24, 600), longest: 2000 };

const SENTINEL: u8 = 0xA5;
const REGION: usize = 300;

struct Node {
    qp: QueuePair,
    domain: Domain,
    events: Vec<Event>,
    scratch: Vec<u8>,
    /// Regions with what peers and messages may change in them.
    regions: Vec<(Region, bool)>,
    /// Names of requests that have not ended, by queue.
    sends: VecDeque<u64>,
    receives: VecDeque<u64>,
    crc: bool,
    markers: bool,
    posted: u64,
    ended: bool,
    said: Vec<u8>,
    /// Frames of the handshake that stand in front of what is said.
    preface: usize,
}

/// The body.
pub(super) fn body(data: &[u8]) {
    let choices = &mut Choices::new(data);
    let config = ConnectionConfig {
        ird: choices.u16() % 4,
        ord: choices.u16() % 4,
        crc: choices.pick(&[CrcPolicy::Required, CrcPolicy::WhenAsked]),
        rtr: RtrKinds::from_bits_truncate(choices.u8()),
        revision: choices.pick(&[Revision::Two, Revision::One]),
        max_ulpdu: choices.pick(&[None, Some(0), Some(200)]),
    };
    let Some(mut node) = begin(choices, &config) else { return };
    while choices.more() && !node.ended {
        match choices.u8() % 12 {
            0 => node.post_send(choices),
            1 => node.post_receive(choices),
            2 => node.memory(choices),
            3 if choices.once_in(20) => node.end(choices),
            3 | 4 => node.speak(choices),
            5 => {
                let raw = choices.bytes(80).to_vec();
                node.hear(&raw, choices);
            }
            _ => {
                let mut message = node.message(choices);
                if choices.once_in(12) {
                    choices.damage(&mut message);
                }
                node.hear(&message, choices);
            }
        }
        node.judge();
    }
    node.speak_all();
    node.judge();
    if !node.ended {
        node.qp.disconnect();
        node.speak_all();
        node.judge();
    }
    assert!(node.sends.is_empty() && node.receives.is_empty(), "work that was never reported");
    node.listen_to_what_was_said();
}

/// A node that is past the frames of the handshake, if these worked out.
fn begin(choices: &mut Choices<'_>, config: &ConnectionConfig) -> Option<Node> {
    let size = QpConfig { send_depth: 4, receive_depth: 4, max_sge: 3, max_inline: 40 };
    let mut node = Node {
        qp: QueuePair::new(Qp::new(0, 1), &size, choices.pick(&[1 << 16, 1, 3000])),
        domain: Domain::new(32, 1),
        events: Vec::new(),
        scratch: vec![0; nvmf_soft_iwarp::qp::SCRATCH_MIN],
        regions: Vec::new(),
        sends: VecDeque::new(),
        receives: VecDeque::new(),
        crc: true,
        markers: false,
        posted: 0,
        ended: false,
        said: Vec::new(),
        preface: 0,
    };
    node.qp.set_emss(choices.pick(&[1448, 0, 536, 65_483]));
    for bits in 0..8 {
        let access = Access::from_bits_truncate(bits * 2);
        node.register(access | Access::LOCAL_WRITE & Access::from_bits_truncate(bits >> 1));
    }
    let theirs = Offer {
        ird: choices.u16() % 4,
        ord: choices.u16() % 4,
        crc: choices.pick(&[CrcPolicy::Required, CrcPolicy::WhenAsked]),
        rtr: RtrKinds::from_bits_truncate(choices.u8()),
        revision: choices.pick(&[Revision::Two, Revision::One]),
    };
    let markers = choices.once_in(4);
    let mut bytes = Vec::new();
    if choices.yes() {
        let request = Frame { markers, ..mpa::request(&theirs, b"private") };
        node.qp.accept(config, &request, b"answer").ok()?;
    } else {
        node.qp.connect(config, b"question").ok()?;
        node.speak_all();
        let request = std::mem::take(&mut node.said);
        let (frame, behind) = Frame::parse(&request, FrameKind::Request).ok()??;
        assert!(behind.is_empty());
        let reply = match choices.once_in(10) {
            true => mpa::reject(&frame, b"no"),
            false => Frame { markers, ..mpa::answer(&theirs, &frame, b"answer").0 },
        };
        reply.encode(&mut bytes).ok()?;
        if choices.once_in(10) {
            choices.damage(&mut bytes);
        }
        node.hear(&bytes, choices);
    }
    node.speak_all();
    if let Some(agreed) = node.qp.agreed() {
        (node.crc, node.markers) = (agreed.crc, agreed.send_markers);
    } else {
        // A last word to a peer that cannot be agreed with: with markers and CRC as its reply had them, whatever that was.
        node.markers = true;
    }
    if let Ok(Some((_, behind))) = Frame::parse(&node.said, FrameKind::Reply) {
        node.preface = node.said.len() - behind.len();
    }
    Some(node)
}

impl Node {
    fn register(&mut self, access: Access) {
        let memory = vec![SENTINEL; REGION].into_boxed_slice();
        if let Ok(region) = self.domain.register(memory, RegionOptions::new(access)) {
            let may_change = access.intersects(Access::LOCAL_WRITE | Access::REMOTE_WRITE);
            self.regions.push((region, may_change));
        }
    }

    fn region(&self, choices: &mut Choices<'_>) -> Region {
        let at = choices.below(self.regions.len());
        self.regions
            .get(at)
            .map_or(Region { stag: STag::new(choices.u32()), base: 0, len: 9 }, |&(region, _)| region)
    }

    fn stag(&self, choices: &mut Choices<'_>) -> STag {
        let stag = self.region(choices).stag;
        match choices.once_in(8) {
            true => STag::new(stag.value() ^ 1 << (choices.u8() % 32)),
            false => stag,
        }
    }

    fn place(&self, choices: &mut Choices<'_>) -> Remote {
        let to = match choices.u8() % 8 {
            0 => choices.u64(),
            1 => u64::MAX - u64::from(choices.u8()),
            2 => REGION as u64 - u64::from(choices.u8() % 3),
            _ => choices.below(REGION) as u64,
        };
        Remote { stag: self.stag(choices), to }
    }

    fn list(&self, choices: &mut Choices<'_>) -> Vec<Sge> {
        (0..choices.below(4))
            .map(|_| {
                let region = self.region(choices);
                let offset = choices.below(REGION + 1);
                // Most lists are right.
                let len = choices.length(REGION - offset) + usize::from(choices.once_in(30));
                region.sge(offset as u64, len as u32)
            })
            .collect()
    }

    fn post_send(&mut self, choices: &mut Choices<'_>) {
        let operation = match choices.u8() % 6 {
            0 | 1 => Operation::Send {
                invalidate: choices.yes().then(|| self.stag(choices)),
                solicited: choices.yes(),
            },
            2 => Operation::Write { remote: self.place(choices) },
            3 => Operation::Read { remote: self.place(choices) },
            4 if choices.once_in(4) => Operation::LocalInvalidate { stag: self.stag(choices) },
            _ => Operation::SEND,
        };
        let list = self.list(choices);
        let payload = match choices.yes() {
            true => Payload::Gather(&list),
            false => Payload::Inline(choices.bytes(41)),
        };
        let mut request = SendRequest::new(self.posted, operation, payload);
        request.fence = choices.once_in(4);
        if self.qp.post_send(&request).is_ok() {
            self.sends.push_back(self.posted);
            self.posted += 1;
        }
    }

    fn post_receive(&mut self, choices: &mut Choices<'_>) {
        let list = self.list(choices);
        if self.qp.post_receive(&ReceiveRequest { id: self.posted, scatter: &list }).is_ok() {
            self.receives.push_back(self.posted);
            self.posted += 1;
        }
    }

    fn memory(&mut self, choices: &mut Choices<'_>) {
        let at = choices.below(self.regions.len());
        match choices.u8() % 4 {
            0 if at < self.regions.len() => {
                let (region, may_change) = self.regions.swap_remove(at);
                let memory = self.domain.deregister(region.stag).ok().flatten().expect("it was registered");
                assert!(may_change || memory.iter().all(|&byte| byte == SENTINEL));
            }
            1 if at < self.regions.len() => {
                let _ = self.domain.invalidate(self.regions[at].0.stag);
            }
            _ => self.register(Access::from_bits_truncate(choices.u8())),
        }
    }

    fn end(&mut self, choices: &mut Choices<'_>) {
        match choices.u8() % 3 {
            0 => self.qp.disconnect(),
            1 => self.qp.peer_closed(&self.domain, &mut self.events),
            _ => self.qp.failed(std::io::ErrorKind::ConnectionReset.into(), &self.domain, &mut self.events),
        }
    }

    /// A well-formed FPDU that may be wrong in what it says.
    fn message(&mut self, choices: &mut Choices<'_>) -> Vec<u8> {
        let msn = u32::from(choices.u8() % 4);
        let opcode = choices.pick(&[3, 0, 1, 2, 4, 5, 6, 7, 8, 15]);
        let last = !choices.once_in(4);
        let queue = match opcode {
            1 => 1,
            7 => 2,
            _ => 0,
        };
        let queue = if choices.once_in(10) { choices.word() } else { queue };
        let place = match opcode {
            0 | 2 => {
                let Remote { stag, to } = self.place(choices);
                ddp::Place::Tagged { stag, to }
            }
            _ => ddp::Place::Untagged {
                ulp: self.stag(choices).value(),
                queue,
                msn,
                offset: if choices.once_in(6) { choices.word() } else { 0 },
            },
        };
        let header = ddp::Header { last, rdmap: 0x40 | opcode, place };
        let payload = match opcode {
            1 => {
                let (sink, source) = (self.place(choices), self.place(choices));
                ReadRequest { sink, len: choices.length(REGION) as u32, source }.encode().to_vec()
            }
            _ => vec![choices.u8(); choices.length(20_000).min(if choices.once_in(8) { 20_000 } else { 80 })],
        };
        let mut raw = [0; ddp::UNTAGGED_LEN];
        let len = header.encode(&mut raw);
        let ulpdu = (len + payload.len()) as u16;
        let mut bytes = ulpdu.to_be_bytes().to_vec();
        bytes.extend_from_slice(&raw[..len]);
        bytes.extend_from_slice(&payload);
        bytes.resize(bytes.len() + fpdu::padding(ulpdu), 0);
        let crc = crc32c(&bytes);
        bytes.extend_from_slice(&crc.to_le_bytes());
        bytes
    }

    fn hear(&mut self, mut bytes: &[u8], choices: &mut Choices<'_>) {
        let most = choices.pick(&[usize::MAX, 1, 7, 100]);
        while !bytes.is_empty() && self.qp.life() == Life::Open {
            let [direct, rest] = self.qp.targets(&mut self.domain, &mut self.scratch);
            let first = bytes.len().min(direct.len()).min(most);
            direct[..first].copy_from_slice(&bytes[..first]);
            let mut n = first;
            if first == direct.len() {
                let second = (bytes.len() - first).min(rest.len()).min(most);
                rest[..second].copy_from_slice(&bytes[first..first + second]);
                n += second;
            }
            assert!(n > 0, "an open connection takes bytes");
            self.qp.received(n, &mut self.scratch, &mut self.domain, &mut self.events);
            bytes = &bytes[n..];
        }
    }

    /// Lets some bytes leave; whether there were any.
    fn speak(&mut self, choices: &mut Choices<'_>) {
        let most = choices.pick(&[usize::MAX, 1, 50, 2000]);
        self.say(most);
    }

    fn speak_all(&mut self) {
        while self.say(usize::MAX) {}
    }

    fn say(&mut self, most: usize) -> bool {
        self.qp.pump(&mut self.domain, &mut self.events);
        let mut slices = Slices::new();
        let Some(wanted) = self.qp.gather(&self.domain, &mut slices) else {
            drop(slices);
            self.qp.memory_lost(&self.domain, &mut self.events);
            return true;
        };
        let mut left = wanted.min(most);
        for slice in &slices {
            let now = left.min(slice.len());
            self.said.extend_from_slice(&slice[..now]);
            left -= now;
        }
        drop(slices);
        assert_eq!(left, 0, "gather counts what it lists");
        self.qp.wrote(wanted.min(most), &mut self.events);
        wanted > 0
    }

    /// Looks at what was reported, and at the memory.
    fn judge(&mut self) {
        for event in self.events.drain(..) {
            assert!(!self.ended, "{event:?} after the end");
            match event {
                Event::Completion(done) => {
                    let queue =
                        if done.what == Completed::Receive { &mut self.receives } else { &mut self.sends };
                    assert_eq!(queue.pop_front(), Some(done.id), "{done:?}");
                    assert!(done.status == Status::Success || done.len == 0);
                }
                Event::Established { .. } => {}
                Event::Rejected { .. } | Event::ConnectFailed { .. } | Event::Disconnected { .. } => {
                    self.ended = true
                }
                Event::Request { .. } | Event::RequestGone { .. } => panic!("{event:?} of a queue pair"),
            }
        }
        assert_eq!(self.ended, matches!(self.qp.life(), Life::Draining | Life::Over));
        for (region, may_change) in &self.regions {
            let bytes = self.domain.bytes(region.stag).expect("it is registered");
            assert!(*may_change || bytes.iter().all(|&byte| byte == SENTINEL), "{region:?} was written");
        }
    }

    /// All that was said, from the first byte on.
    fn listen_to_what_was_said(&self) {
        if self.markers {
            // Markers are taken apart by the codec's own tests.
            return;
        }
        let mut rest = &self.said[self.preface..];
        let mut over = false;
        while let [a, b, ulpdu @ ..] = rest {
            assert!(!over, "something behind a Terminate message");
            let len = u16::from_be_bytes([*a, *b]);
            let Some((whole, behind)) = rest.split_at_checked(fpdu::total(len)) else {
                assert_eq!(self.qp.life(), Life::Over, "half an FPDU");
                return;
            };
            rest = behind;
            let (covered, crc) = whole.split_at(whole.len() - fpdu::CRC_LEN);
            assert!(!self.crc || crc32c(covered).to_le_bytes() == crc, "CRC");
            let ulpdu = &ulpdu[..len.into()];
            let (header, header_len) = ddp::Header::parse(ulpdu).expect("whole").expect("version 1");
            if Opcode::parse(header.rdmap) == Ok(Opcode::Terminate) {
                over = true;
                assert!(
                    Terminate::parse(&ulpdu[header_len..])
                        .is_some_and(|said| said.code.is_known() || said.code.code == 0xFF)
                );
            }
        }
    }
}
