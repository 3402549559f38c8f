//! A host that talks NVMe/TCP in bytes to a controller's connection: what the protocol allows, or (unless it is tame) anything
//! else; and that holds what it hears to the protocol and to what the connection's user has answered.

use std::num::NonZeroU32;

use nvmf_tcp::pdu::{
    ADMIN_IN_CAPSULE, Alignment, DataToController, Digests, FatalErrorStatus, HostTerms, IcReq, Negotiated,
    Role, Sender, TermReq,
};
use nvmf_wire::{
    Cid, SglDescriptor, Sqe,
    sqe::Psdt,
    zerocopy::{IntoBytes, little_endian::U64},
};

use super::{
    Choices,
    controller_side::{Answer, ControllerSide, TRANSFER_MAX, answer_to},
    hearing::{Heard, Hearing, Honesty, whole},
    pattern, pdu,
};

#[derive(Debug)]
struct Open {
    cid: u16,
    tag: u16,
    name: u64,
    next: usize,
    end: usize,
}

/// A host made of its words, and what it remembers of the conversation.
pub(super) struct HostVoice {
    tame: bool,
    sender: Sender,
    terms: HostTerms,
    hearing: Hearing,
    negotiated: Option<Negotiated>,
    honesty: Honesty,
    /// Commands without an answer: CID, name, length of data.
    pub(super) outstanding: Vec<(u16, u64, usize)>,
    open: Vec<Open>,
    /// How much of the first answer has been heard.
    heard: usize,
    names: u64,
    /// The same CID twice: whose data it is cannot be told any more.
    confused: bool,
    /// Whether anything was said before negotiation that may have been taken for an ICReq.
    deaf: bool,
}

impl HostVoice {
    pub(super) fn new(choices: &mut Choices<'_>, tame: bool) -> Self {
        Self {
            tame,
            sender: Sender { digests: Digests::NONE, alignment: Alignment::DWORD },
            terms: HostTerms {
                alignment: pdu::alignment(choices),
                header_digest: pdu::offer(choices),
                data_digest: pdu::offer(choices),
                max_r2t: NonZeroU32::MIN.saturating_add(choices.below(4) as u32),
            },
            hearing: Hearing::new(Role::Host),
            negotiated: None,
            honesty: Honesty::default(),
            outstanding: Vec::new(),
            open: Vec::new(),
            heard: 0,
            names: 0,
            confused: false,
            deaf: false,
        }
    }

    pub(super) fn sure(&self) -> bool {
        !self.confused && self.honesty.holds(&self.sender)
    }

    pub(super) fn agree(&mut self, negotiated: Negotiated) {
        self.sender = negotiated.sender(Role::Host);
        self.hearing.receiver = negotiated.host_receiver(u32::MAX);
        self.negotiated = Some(negotiated);
    }

    fn say(&mut self, side: &mut ControllerSide, choices: &mut Choices<'_>, mut bytes: Vec<u8>) {
        if !self.tame && choices.once_in(12) {
            self.honesty.damaged = true;
            self.deaf |= !self.hearing.ready();
            choices.damage(&mut bytes);
        }
        side.driven.arrive(&bytes);
    }

    pub(super) fn icreq(&mut self, side: &mut ControllerSide) {
        side.driven.arrive(self.terms.request().as_bytes());
    }

    pub(super) fn command(&mut self, choices: &mut Choices<'_>, side: &mut ControllerSide) {
        if !self.hearing.ready() {
            match self.tame {
                true => return,
                false if choices.once_in(8) => self.honesty.damaged = true,
                false => return self.icreq(side),
            }
        }
        let room = usize::from(side.depth) - usize::from(side.flow_control);
        if self.outstanding.len() >= room {
            if self.tame || !choices.once_in(8) {
                return;
            }
            self.honesty.damaged = true;
        }
        self.names += 1;
        let name = self.names;
        let taken = |cid| self.outstanding.iter().any(|&(other, ..)| other == cid);
        let mut cid = choices.u16() % 300;
        if taken(cid) {
            if self.tame || !choices.once_in(4) {
                cid = (0..=u16::MAX).find(|&cid| !taken(cid)).unwrap_or_default();
            } else {
                self.confused = true;
                self.honesty.damaged = true;
            }
        }
        // A write, a read, a command without data, Connect; in a wild run anything.
        let opcode = choices.pick(&[1, 2, 1, 2, 0, 0x7f]);
        let mut sqe =
            Sqe::with_opcode(if self.tame { opcode } else { choices.pick(&[opcode, some_opcode(name)]) })
                .with_cid(Cid(cid))
                .with_nsid(1);
        sqe.mptr = U64::new(name);
        let to_host = opcode == 2;
        let in_capsule = side.in_capsule().max(if sqe.is_fabrics() { ADMIN_IN_CAPSULE as usize } else { 0 });
        let (len, data) = match choices.u8() % 4 {
            0 => (0, 0),
            1 if !to_host => (choices.length(in_capsule), usize::MAX),
            _ => (choices.length(TRANSFER_MAX), 0),
        };
        let data = data.min(len);
        let (len32, data32) = (len as u32, data as u32);
        sqe = sqe.with_sgl(match data {
            0 => SglDescriptor::transport(len32),
            _ => SglDescriptor::in_capsule(0, data32),
        });
        let mut sent = data;
        if !self.tame && choices.once_in(6) {
            self.honesty.damaged = true;
            match choices.u8() % 4 {
                0 => sqe = sqe.with_psdt(Psdt(choices.u8() % 4)),
                1 => sqe.sgl.identifier = choices.u8(),
                2 => sqe = sqe.with_sgl(SglDescriptor::in_capsule(u64::from(choices.word()), choices.word())),
                _ => sent = choices.length(66_000),
            }
        }
        let bytes = whole(&self.sender, &pattern::bytes(name, 0, sent), |s, out| {
            s.capsule_cmd(&sqe, sent as u32, out)
        });
        side.sent.insert(name, sqe);
        if !taken(cid) {
            self.outstanding.push((cid, name, len));
        }
        self.say(side, choices, bytes);
    }

    /// Answers an R2T, perhaps only in part.
    pub(super) fn data(&mut self, choices: &mut Choices<'_>, side: &mut ControllerSide) {
        if self.open.is_empty() {
            return;
        }
        let at = choices.below(self.open.len());
        let most = self.negotiated.map_or(4096, |negotiated| negotiated.max_h2c_data as usize);
        let open = &mut self.open[at];
        let left = open.end - open.next;
        let len = match choices.yes() {
            false => left.min(most),
            true => choices.length(left.min(most)).max(1),
        };
        let mut fields = DataToController {
            cccid: open.cid,
            ttag: open.tag,
            offset: open.next as u32,
            length: len as u32,
            last: len == left,
        };
        open.next += len;
        let name = open.name;
        if len == left {
            self.open.remove(at);
        }
        if !self.tame && choices.once_in(10) {
            self.honesty.damaged = true;
            match choices.u8() % 6 {
                0 => fields.cccid = choices.u16() % 300,
                1 => fields.ttag = choices.u16() % 64,
                2 => fields.offset = choices.word(),
                3 => fields.length = (choices.word() % 140_000).max(1),
                4 => fields.last = !fields.last,
                _ => {
                    if let Some(other) = self.open.first() {
                        fields.ttag = other.tag;
                    }
                }
            }
        }
        let data = pattern::bytes(name, fields.offset as usize, fields.length as usize);
        let bytes = whole(&self.sender, &data, |s, out| s.h2c_data(&fields, out));
        self.say(side, choices, bytes);
    }

    /// Says what a host may not say, or not now.
    pub(super) fn misbehave(&mut self, choices: &mut Choices<'_>, side: &mut ControllerSide) {
        self.honesty.damaged = true;
        match choices.u8() % 6 {
            0 => {
                self.honesty.raw = true;
                self.deaf |= !self.hearing.ready();
                side.driven.arrive(choices.bytes(300));
            }
            1 => {
                let request = TermReq {
                    fes: FatalErrorStatus::new(choices.u16() % 8),
                    fei: choices.word(),
                    header: choices.bytes(128),
                };
                let (bytes, len) = request.encode(Role::Host);
                side.driven.arrive(&bytes[..len]);
            }
            2 if self.hearing.ready() => self.icreq(side),
            2 => {
                let mut request: IcReq = self.terms.request();
                match choices.u8() % 4 {
                    0 => request.pfv = choices.u16().into(),
                    1 => request.hpda = choices.u8() | 32,
                    2 => request.ch.hlen = choices.u8(),
                    _ => request.ch.plen = choices.word().into(),
                }
                self.deaf = true;
                side.driven.arrive(request.as_bytes());
            }
            3 => {
                let bytes = whole(&self.sender, &[], |s, out| s.r2t(0, 0, 0, 4, out));
                side.driven.arrive(&bytes);
            }
            4 => {
                let bytes = side.driven.under_way();
                if !bytes.is_empty() {
                    let at = choices.below(bytes.len());
                    bytes[at] ^= 1 << (choices.u8() % 8);
                    self.deaf |= !self.hearing.ready();
                }
            }
            _ => {
                let (cccid, ttag) = (choices.u16() % 300, choices.u16() % 64);
                let length = choices.length(9000).max(1) as u32;
                let fields = DataToController { cccid, ttag, offset: 0, length, last: choices.yes() };
                let data = vec![0xee; length as usize];
                let bytes = whole(&self.sender, &data, |s, out| s.h2c_data(&fields, out));
                // Should this be data that was asked for, it is not what was meant.
                self.confused = true;
                self.say(side, choices, bytes);
            }
        }
    }

    /// Takes what the connection says, and holds it to what its user has told it.
    pub(super) fn hear(&mut self, side: &mut ControllerSide, most: usize) {
        let bytes = side.driven.transmit(most);
        if self.deaf {
            return;
        }
        self.hearing.hear(&bytes);
        while let Some(heard) = self.hearing.next() {
            match heard {
                Heard::IcResp(response) => {
                    let negotiated = self.terms.accept(&response).expect("an answer to what was asked");
                    // A connection that is ending already has agreed to nothing.
                    let agreed = side.driven.conn.negotiated_terms();
                    assert!(agreed.map_or(!side.driven.open(), |agreed| *agreed == negotiated));
                    self.agree(negotiated);
                }
                Heard::TermReq(why) => assert!(!self.tame, "a host that obeys is accused: {why}"),
                Heard::Response(cqe) => {
                    let answer = self.answer(side);
                    assert!(!answer.folded && self.heard == answer.len, "a response before its data");
                    assert_eq!(cqe, answer.cqe.with_cid(answer.cid));
                    self.done(side);
                }
                Heard::ToHost { cid, offset, data, last, success } => {
                    let answer = self.answer(side);
                    assert_eq!((cid, offset), (answer.cid.0, self.heard));
                    assert_eq!(
                        pattern::difference(answer_to(answer.name), offset, &data),
                        None,
                        "wrong data sent"
                    );
                    assert!(data.len() <= side.driven.conn.setup().max_c2h_data as usize);
                    self.heard += data.len();
                    assert_eq!((last, success), (self.heard == answer.len, last && answer.folded));
                    if success {
                        self.done(side);
                    }
                }
                Heard::R2t { cid, tag, offset, len } => {
                    assert_eq!(self.heard, 0, "an R2T within an answer");
                    assert!(
                        self.open.iter().all(|open| open.tag != tag || !self.tame),
                        "a tag is open twice"
                    );
                    let of_command = self.open.iter().filter(|open| open.cid == cid).count();
                    let limit = self.terms.max_r2t.get() as usize;
                    assert!(
                        of_command < limit
                            || !self.sure()
                            || self.negotiated.is_none_or(|n| n.max_r2t.get() as usize > of_command)
                    );
                    let Some(&(_, name, room)) = self.outstanding.iter().find(|&&(other, ..)| other == cid)
                    else {
                        assert!(!self.sure(), "an R2T for a command that is not there");
                        continue;
                    };
                    assert!(offset + len <= room || !self.sure(), "an R2T beyond the command");
                    self.open.push(Open { cid, tag, name, next: offset, end: offset + len });
                }
                other => panic!("a controller said {other:?}"),
            }
        }
    }

    fn answer(&self, side: &ControllerSide) -> Answer {
        *side.answers.front().expect("an answer that nobody gave")
    }

    fn done(&mut self, side: &mut ControllerSide) {
        self.heard = 0;
        if let Some(answer) = side.answers.pop_front() {
            self.outstanding.retain(|&(_, name, _)| name != answer.name);
        }
    }
}

/// Some opcode of every direction.
fn some_opcode(name: u64) -> u8 {
    (name.wrapping_mul(0x9e37_79b9) >> 16) as u8
}
