//! The host's end of one queue of the in-memory transport: what was sent and not answered, what was asked for.

use std::{net::SocketAddr, time::Instant};

use nvmf_sim::{Heard, Network, RawHost, ToController, ToHost};
use nvmf_wire::{AdminOpcode, Cid, FabricsType, SglDescriptor, Sqe, fabrics::Connect};

use super::{
    Choices,
    commands::{TRANSFER, check_answer, payload},
};

pub(super) struct RawLine {
    raw: RawHost,
    /// Commands that have not been answered.
    sent: Vec<Sqe>,
    /// Parts of commands' data that were asked for.
    asked: Vec<(u32, Vec<u8>)>,
    cid: u16,
    /// What Connect has made of it: whether it is an I/O queue, and its entries.
    io: bool,
    entries: usize,
    /// Whether a broken rule of the transport may end it at any time.
    spoilt: bool,
}

/// What came of listening.
pub(super) enum News {
    None,
    /// Something, and the controller's identifier if an admin queue was connected.
    Some(Option<u16>),
    End,
}

impl RawLine {
    /// Connects, unless nobody listens.
    pub(super) fn connect(network: &Network, to: SocketAddr, now: Instant) -> Option<Self> {
        let raw = RawHost::connect(network, to, now).expect("a wake-up descriptor")?;
        Some(Self { raw, sent: Vec::new(), asked: Vec::new(), cid: 0, io: false, entries: 32, spoilt: false })
    }

    /// Sends a command under a CID that is free, if the queue has room.
    pub(super) fn send(&mut self, now: Instant, sqe: Sqe, in_capsule: Vec<u8>) {
        self.cid = if self.cid == 60 { 0 } else { self.cid + 1 };
        let taken = self.sent.iter().any(|sent| sent.cid() == Cid(self.cid));
        if taken || self.sent.len() + 1 >= self.entries {
            return;
        }
        let mut sqe = sqe.with_cid(Cid(self.cid));
        if sqe.sgl == SglDescriptor::default() {
            // What every transport writes for a command without data.
            sqe = sqe.with_sgl(SglDescriptor::transport(0));
        }
        if self.raw.send(now, ToController::Command { sqe, in_capsule }) {
            self.sent.push(sqe);
        }
    }

    /// Hears one message.
    pub(super) fn hear(&mut self, now: Instant) -> News {
        match self.raw.receive(now) {
            Heard::Nothing => News::None,
            Heard::End => News::End,
            Heard::Message(ToHost::Accepted { .. }) => News::Some(None),
            Heard::Message(ToHost::Fetch { cid, tag, offset, len }) => {
                let sqe = self.sent.iter().find(|sqe| sqe.cid() == cid).expect("a fetch for no command");
                let end = u64::from(offset) + u64::from(len);
                assert!(end <= u64::from(sqe.sgl.length()) && len <= TRANSFER, "a fetch of too much");
                self.asked.push((tag, payload(sqe, offset as usize, len as usize)));
                News::Some(None)
            }
            Heard::Message(ToHost::Response { cqe, data, .. }) => {
                let known = self.sent.iter().position(|sqe| sqe.cid() == cqe.cid());
                let sqe = self.sent.remove(known.expect("an answer to no command, or a second one"));
                check_answer(&sqe, cqe, &data, self.io);
                if sqe.fctype() != Some(FabricsType::CONNECT) || !cqe.status().is_success() {
                    return News::Some(None);
                }
                let connect = Connect::parse(&sqe);
                (self.io, self.entries) = (connect.qid != 0, connect.entries() as usize);
                News::Some((connect.qid == 0).then_some(cqe.dw0() as u16))
            }
        }
    }

    /// Answers fetches; an odd answer is not what was asked for.
    pub(super) fn answer_fetches(&mut self, choices: &mut Choices<'_>, now: Instant, odd: bool) {
        for (mut tag, mut bytes) in self.asked.drain(..) {
            if odd {
                self.spoilt = true;
                tag ^= u32::from(choices.u8() & 1);
                bytes.truncate(choices.length(bytes.len()));
            }
            self.raw.send(now, ToController::Data { tag, bytes });
        }
    }

    /// Fetches that wait for an answer.
    pub(super) fn fetches(&self) -> usize {
        self.asked.len()
    }

    /// Every command has been answered, but for those that wait for an event.
    pub(super) fn check_all_answered(&self) {
        let waits = |sqe: &&Sqe| sqe.opcode != AdminOpcode::ASYNC_EVENT_REQUEST.0;
        let open: Vec<&Sqe> = self.sent.iter().filter(waits).collect();
        assert!(self.spoilt || open.is_empty(), "never answered: {open:?}");
    }

    /// Whether it is an I/O queue.
    pub(super) fn is_io(&self) -> bool {
        self.io
    }

    /// Ends the connection without order.
    pub(super) fn reset(self) {
        self.raw.reset();
    }
}
