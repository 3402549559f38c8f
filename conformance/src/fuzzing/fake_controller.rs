//! A controller made of messages, for a host to talk to: does its duty, except where the choices say otherwise.

use std::{net::SocketAddr, time::Instant};

use nvmf_sim::{Heard, Network, RawController, ToController, ToHost};
use nvmf_transport::{Gather, Limits, Memory, Pages};
use nvmf_wire::{
    AdminOpcode, Cid, Cqe, DataDirection, FabricsType, IoOpcode, Sqe, Status,
    fabrics::{Connect, ConnectData, PropertyGet, PropertySet},
    feature::{Fid, GetFeatures, NumberOfQueues},
    identify::{
        Cns, Identify, IdentifyController, IdentifyNamespace, LbaFormat, NamespaceDescriptor,
        NamespaceDescriptorsBuilder, NamespaceList,
    },
    io::Rw,
    property::{Cap, Cc, Csts, PropertyOffset, ShutdownNotification, ShutdownStatus, Version},
    zerocopy::IntoBytes,
};

use super::{Choices, pattern};

/// The name of what the namespaces hold; the namespace's identifier is mixed in.
pub(super) const STORED: u64 = 0x0000_5707_ed00_0000;

/// Connections at a time; the next one takes the place of the oldest.
const LINES: usize = 6;

/// How often it does something else than its duty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mood {
    Dutiful,
    OnceIn(usize),
    Silent,
}

struct Line {
    raw: RawController,
    up: bool,
    /// Connect made it an I/O queue.
    io: bool,
    /// Commands without an answer; events and what was forgotten.
    held: Vec<Sqe>,
    /// Parts of write data that were asked for: the command, the tag, the part.
    fetching: Vec<(Sqe, u32, u32, u32)>,
}

pub(super) struct Fake {
    lines: Vec<Line>,
    address: SocketAddr,
    limits: Limits,
    mood: Mood,
    cc: Cc,
    tags: u32,
}

impl Fake {
    /// The size of every namespace.
    pub(super) const BLOCKS: u64 = 100_000;

    pub(super) fn new(choices: &mut Choices<'_>, network: &Network, _: Instant, tame: bool) -> Self {
        let mut at: SocketAddr = ([127, 0, 0, 1], 4420).into();
        let lines = (0..LINES)
            .map(|_| {
                let raw = RawController::listen(network, at).expect("a listener");
                at = raw.address();
                Line { raw, up: false, io: false, held: Vec::new(), fetching: Vec::new() }
            })
            .collect();
        let mut limits = Limits::default();
        limits.max_transfer = choices.pick(&[1 << 20, 8192]);
        limits.max_depth = 64;
        limits.max_in_capsule.admin = 8192;
        limits.max_in_capsule.io = 8192;
        let mood = match tame {
            true => Mood::Dutiful,
            false => Mood::OnceIn(choices.pick(&[40, 12, 4, 2])),
        };
        Self { lines, address: at, limits, mood, cc: Cc(0), tags: 0 }
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Never speaks again, and does not hang up either.
    pub(super) fn fall_silent(&mut self) {
        self.mood = Mood::Silent;
    }

    fn strays(&self, choices: &mut Choices<'_>) -> bool {
        matches!(self.mood, Mood::OnceIn(n) if choices.once_in(n))
    }

    /// Hears and answers what there is; whether there was anything.
    pub(super) fn turn(&mut self, choices: &mut Choices<'_>, now: Instant) -> bool {
        if self.mood == Mood::Silent {
            return false;
        }
        let mut worked = false;
        for at in 0..self.lines.len() {
            if self.lines[at].raw.accept(now) {
                worked = true;
                let line = &mut self.lines[at];
                (line.up, line.io) = (true, false);
                line.held.clear();
                line.fetching.clear();
                if self.strays(choices) {
                    match choices.u8() % 3 {
                        0 => self.lines[at].raw.hang_up(choices.yes()),
                        // Silence: the host has to lose patience.
                        _ => continue,
                    }
                }
                let limits = Box::new(self.limits.clone());
                self.lines[at].raw.send(now, ToHost::Accepted { limits });
            }
            while self.lines[at].up {
                match self.lines[at].raw.receive(now) {
                    Heard::Message(ToController::Command { sqe, in_capsule }) => {
                        self.command(choices, now, at, &sqe, &in_capsule);
                    }
                    Heard::Message(ToController::Data { tag, bytes }) => {
                        self.data(choices, now, at, tag, &bytes)
                    }
                    Heard::End => self.lines[at].up = false,
                    Heard::Nothing => break,
                }
                worked = true;
            }
        }
        worked
    }

    fn command(&mut self, choices: &mut Choices<'_>, now: Instant, at: usize, sqe: &Sqe, in_capsule: &[u8]) {
        let line = &mut self.lines[at];
        let event = !line.io && sqe.opcode == AdminOpcode::ASYNC_EVENT_REQUEST.0;
        if event {
            line.held.push(*sqe);
            return;
        }
        let write = line.io && matches!(sqe.io_opcode(), IoOpcode::WRITE);
        if write && in_capsule.is_empty() && sqe.sgl.length() > 0 {
            return self.ask(choices, now, at, sqe, 0);
        }
        if write {
            check_written(sqe, 0, in_capsule);
        }
        self.answer(choices, now, at, sqe);
    }

    /// Asks for more of a write's data.
    fn ask(&mut self, choices: &mut Choices<'_>, now: Instant, at: usize, sqe: &Sqe, offset: u32) {
        let left = sqe.sgl.length() - offset;
        let mut len = if choices.yes() { (choices.length(left as usize) as u32).max(1) } else { left };
        self.tags += 1;
        let (tag, mut start) = (self.tags, offset);
        if self.strays(choices) {
            (start, len) = (choices.word(), choices.word());
        }
        let line = &mut self.lines[at];
        line.fetching.push((*sqe, tag, start, len));
        line.raw.send(now, ToHost::Fetch { cid: sqe.cid(), tag, offset: start, len });
    }

    fn data(&mut self, choices: &mut Choices<'_>, now: Instant, at: usize, tag: u32, bytes: &[u8]) {
        let line = &mut self.lines[at];
        let known = line.fetching.iter().position(|fetching| fetching.1 == tag);
        let (sqe, _, offset, len) = line.fetching.remove(known.expect("data that was not asked for"));
        assert_eq!(bytes.len(), len as usize);
        check_written(&sqe, offset, bytes);
        let end = offset + len;
        if end < sqe.sgl.length() {
            self.ask(choices, now, at, &sqe, end);
        } else {
            self.answer(choices, now, at, &sqe);
        }
    }

    fn answer(&mut self, choices: &mut Choices<'_>, now: Instant, at: usize, sqe: &Sqe) {
        let (mut cqe, mut data) = self.dutiful(at, sqe);
        let mut sqhd_valid = true;
        if self.strays(choices) {
            match choices.u8() % 10 {
                0 => return self.lines[at].held.push(*sqe),
                1 => cqe = cqe.with_status(Status::from_raw(choices.u16())),
                2 => cqe = Cqe::error(sqe.cid(), Status::from_raw(u16::from(choices.u8()) | 0x100)),
                3 if !self.lines[at].io => choices.damage(&mut data),
                3 | 4 => data.truncate(choices.length(data.len())),
                5 => cqe = cqe.with_u64(choices.u64()),
                6 => cqe = cqe.with_cid(Cid(choices.u16())),
                7 => {
                    self.lines[at].up = false;
                    return self.lines[at].raw.hang_up(choices.yes());
                }
                8 => sqhd_valid = choices.yes(),
                _ => data.resize(choices.length(sqe.sgl.length().min(65_536) as usize + 8), 0xee),
            }
            // Damaged data of a read is nothing a host could notice here.
            if self.lines[at].io && data.contains(&0xee) && sqe.io_opcode() == IoOpcode::READ {
                cqe = cqe.with_status(Status::INTERNAL_ERROR);
            }
        }
        // What is longer than the command has room for breaks the transport's rules, which is another body's affair.
        if sqe.data_direction() == DataDirection::ControllerToHost {
            data.truncate(sqe.sgl.length() as usize);
        }
        let data = if data.is_empty() || !cqe.status().is_success() {
            Gather::new()
        } else {
            let mut buffer = Pages.allocate(data.len()).expect("memory");
            buffer.copy_from_slice(&data);
            buffer.into()
        };
        self.lines[at].raw.send(now, ToHost::Response { cqe, sqhd_valid, data });
    }

    /// What a controller has to say.
    fn dutiful(&mut self, at: usize, sqe: &Sqe) -> (Cqe, Vec<u8>) {
        let ok = Cqe::success(sqe.cid());
        let refused = |status| (Cqe::error(sqe.cid(), status), Vec::new());
        let room = sqe.sgl.length() as usize;
        if let Some(kind) = sqe.fctype() {
            return match kind {
                FabricsType::CONNECT if room == ConnectData::SIZE => {
                    self.lines[at].io = Connect::parse(sqe).qid != 0;
                    (ok.with_dw0(5), Vec::new())
                }
                FabricsType::PROPERTY_GET => match PropertyGet::parse(sqe) {
                    Ok(get) => (ok.with_u64(self.property(get.offset)), Vec::new()),
                    Err(status) => refused(status),
                },
                FabricsType::PROPERTY_SET => match PropertySet::parse(sqe) {
                    Ok(set) => {
                        self.cc = Cc(set.value as u32);
                        (ok, Vec::new())
                    }
                    Err(status) => refused(status),
                },
                _ => refused(Status::INVALID_OPCODE),
            };
        }
        if self.lines[at].io {
            return match sqe.io_opcode() {
                IoOpcode::READ => {
                    let size = block_size(sqe.nsid());
                    let rw = Rw::parse(sqe);
                    if room as u64 != u64::from(rw.blocks) * size {
                        return refused(Status::DATA_SGL_LENGTH_INVALID);
                    }
                    let start = rw.slba.wrapping_mul(size) as usize;
                    (ok, pattern::bytes(STORED ^ u64::from(sqe.nsid()), start, room))
                }
                IoOpcode::FLUSH | IoOpcode::WRITE | IoOpcode::WRITE_ZEROES | IoOpcode::DATASET_MANAGEMENT => {
                    (ok, Vec::new())
                }
                _ => refused(Status::INVALID_OPCODE),
            };
        }
        match sqe.admin_opcode() {
            AdminOpcode::IDENTIFY => match identify(sqe) {
                Some(data) => (ok, data),
                None => refused(Status::INVALID_FIELD),
            },
            AdminOpcode::GET_LOG_PAGE => (ok, vec![0; room.min(1 << 20)]),
            AdminOpcode::SET_FEATURES if GetFeatures::parse(sqe).fid == Fid::NUMBER_OF_QUEUES => {
                (ok.with_dw0(NumberOfQueues::pairs(2).bits()), Vec::new())
            }
            AdminOpcode::SET_FEATURES | AdminOpcode::KEEP_ALIVE => (ok, Vec::new()),
            AdminOpcode::ABORT => (ok.with_dw0(1), Vec::new()),
            _ => refused(Status::INVALID_OPCODE),
        }
    }

    fn property(&self, offset: PropertyOffset) -> u64 {
        let shut = match self.cc.shn() {
            ShutdownNotification::NONE => ShutdownStatus::NONE,
            _ => ShutdownStatus::COMPLETE,
        };
        match offset {
            PropertyOffset::CAP => Cap(0).with_mqes(63).with_css(Cap::CSS_NVM).with_timeout(4).bits(),
            PropertyOffset::VS => Version(0x0002_0000).bits().into(),
            PropertyOffset::CC => self.cc.bits().into(),
            PropertyOffset::CSTS => Csts(0).with_rdy(self.cc.en()).with_shst(shut).bits().into(),
            _ => 0,
        }
    }

    /// Says something nobody has asked for.
    pub(super) fn unexpected(&mut self, choices: &mut Choices<'_>, now: Instant) {
        let at = choices.below(LINES);
        let limits = Box::new(self.limits.clone());
        let line = &mut self.lines[at];
        let cid = Cid(choices.u16());
        match choices.u8() % 4 {
            0 => drop(line.raw.send(now, ToHost::Accepted { limits })),
            1 => {
                let cqe = Cqe::error(cid, Status::from_raw(choices.u16()));
                line.raw.send(now, ToHost::Response { cqe, sqhd_valid: true, data: Gather::new() });
            }
            2 => drop(
                line.raw
                    .send(now, ToHost::Fetch { cid, tag: 0, offset: choices.word(), len: choices.word() }),
            ),
            _ => {
                line.up = false;
                line.raw.hang_up(choices.yes());
            }
        }
    }

    /// Answers what was left without an answer.
    pub(super) fn late_answers(&mut self, choices: &mut Choices<'_>, now: Instant) {
        for at in 0..self.lines.len() {
            let held = std::mem::take(&mut self.lines[at].held);
            for sqe in held {
                if sqe.opcode == AdminOpcode::ASYNC_EVENT_REQUEST.0 && !self.lines[at].io {
                    self.lines[at].held.push(sqe);
                } else if choices.yes() {
                    self.answer(choices, now, at, &sqe);
                }
            }
        }
    }

    /// An asynchronous event, of any kind.
    pub(super) fn event(&mut self, choices: &mut Choices<'_>, now: Instant) {
        for line in self.lines.iter_mut().filter(|line| !line.io) {
            let event = line.held.iter().position(|sqe| sqe.opcode == AdminOpcode::ASYNC_EVENT_REQUEST.0);
            if let Some(at) = event {
                let cqe = Cqe::success(line.held.remove(at).cid());
                let dw0 = choices.pick(&[0x0004_0002, 0x0070_f002, 0x0004_0002, choices_word(cqe)]);
                line.raw.send(
                    now,
                    ToHost::Response { cqe: cqe.with_dw0(dw0), sqhd_valid: true, data: Gather::new() },
                );
            }
        }
    }
}

/// Some event nobody has defined.
fn choices_word(cqe: Cqe) -> u32 {
    u32::from(cqe.cid().0).wrapping_mul(0x9e37_79b9)
}

fn block_size(nsid: u32) -> u64 {
    if nsid == 2 { 4096 } else { 512 }
}

/// What is written at an address is what a host holds for that address.
fn check_written(sqe: &Sqe, offset: u32, bytes: &[u8]) {
    let start = Rw::parse(sqe).slba.wrapping_mul(block_size(sqe.nsid())).wrapping_add(u64::from(offset));
    // A raw command's data has no address.
    if sqe.cdw10.get() != 0 || sqe.cdw11.get() != 0 {
        let wrong = pattern::difference(STORED ^ u64::from(sqe.nsid()), start as usize, bytes);
        assert_eq!(wrong, None, "data written at another address than it was given for");
    }
}

fn identify(sqe: &Sqe) -> Option<Vec<u8>> {
    let asked = Identify::parse(sqe);
    Some(match asked.cns {
        Cns::CONTROLLER => {
            let mut identify = IdentifyController::zeroed();
            (identify.ioccsz, identify.iorcsz, identify.sgls) = (516.into(), 1.into(), 1.into());
            (identify.mdts, identify.nn, identify.acl, identify.aerl) = (4, 4.into(), 3, 3);
            (identify.oaes, identify.kas) = ((1 << 8).into(), 10.into());
            (identify.oncs, identify.maxcmd, identify.cntlid) = (0x0c.into(), 64.into(), 5.into());
            (identify.sqes, identify.cqes) = (0x66, 0x44);
            identify.as_bytes().to_vec()
        }
        Cns::ACTIVE_NAMESPACES => NamespaceList::after(asked.nsid, [1, 2, 3]).as_bytes().to_vec(),
        Cns::NAMESPACE if (1..=3).contains(&asked.nsid) => {
            let mut identify = IdentifyNamespace::zeroed();
            identify.nsze = Fake::BLOCKS.into();
            identify.ncap = Fake::BLOCKS.into();
            identify.nguid = [asked.nsid as u8; 16];
            // The third has metadata.
            let metadata = if asked.nsid == 3 { 8 } else { 0 };
            identify.lbaf[0] = LbaFormat::new(block_size(asked.nsid).trailing_zeros() as u8, metadata);
            identify.as_bytes().to_vec()
        }
        Cns::NAMESPACE_DESCRIPTORS if (1..=3).contains(&asked.nsid) => {
            let uuid = NamespaceDescriptor::Uuid([asked.nsid as u8; 16]);
            NamespaceDescriptorsBuilder::new().with(uuid).finish().to_vec()
        }
        _ => return None,
    })
}
