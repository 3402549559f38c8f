//! A controller that talks NVMe/TCP in bytes to a host's connection: what the protocol allows, or (unless it is tame) anything
//! else; and that holds what it hears to the protocol and to what the connection's user has submitted.

use std::collections::HashMap;

use nvmf_tcp::pdu::{
    ADMIN_IN_CAPSULE, Alignment, ControllerTerms, DataToHost, Digests, FatalErrorStatus, HostTerms,
    Negotiated, Role, Sender, TermReq,
};
use nvmf_wire::{Cid, Cqe, DataDirection, Sgl, Sqe, Status, zerocopy::IntoBytes};

use super::{
    Choices,
    controller_side::answer_to,
    hearing::{Heard, Hearing, Honesty, whole},
    host_side::{Ended, HostSide},
    pattern, pdu,
};

/// A command that was heard.
#[derive(Debug)]
struct Request {
    cid: Cid,
    name: u64,
    room: usize,
    direction: DataDirection,
    /// Bytes sent to the host, or asked of it.
    progress: usize,
    /// LAST_PDU was said.
    last: bool,
}

#[derive(Debug)]
pub(super) struct Open {
    cid: u16,
    tag: u16,
    name: u64,
    next: usize,
    end: usize,
}

/// A controller made of its words, and what it remembers of the conversation.
pub(super) struct ControllerVoice {
    tame: bool,
    sender: Sender,
    asked: HostTerms,
    terms: ControllerTerms,
    hearing: Hearing,
    negotiated: Option<Negotiated>,
    honesty: Honesty,
    requests: Vec<Request>,
    /// R2Ts that the host has not answered in full.
    pub(super) open: Vec<Open>,
    tags: u16,
    /// What was said of commands, by name: the completion, and how much data.
    said: HashMap<u64, (Cqe, usize)>,
}

impl ControllerVoice {
    pub(super) fn new(choices: &mut Choices<'_>, tame: bool, asked: HostTerms) -> Self {
        Self {
            tame,
            sender: Sender { digests: Digests::NONE, alignment: Alignment::DWORD },
            asked,
            terms: ControllerTerms {
                alignment: pdu::alignment(choices),
                header_digest: pdu::offer(choices),
                data_digest: pdu::offer(choices),
                max_h2c_data: choices.pick(&[4096, 8192, 128 * 1024]),
            },
            hearing: Hearing::new(Role::Controller),
            negotiated: None,
            honesty: Honesty::default(),
            requests: Vec::new(),
            open: Vec::new(),
            tags: 0,
            said: HashMap::new(),
        }
    }

    pub(super) fn sure(&self) -> bool {
        self.honesty.holds(&self.sender)
    }

    pub(super) fn agree(&mut self, negotiated: Negotiated) {
        self.sender = negotiated.sender(Role::Controller);
        self.hearing.receiver = negotiated.controller_receiver(u32::MAX);
        self.negotiated = Some(negotiated);
    }

    fn say(&mut self, side: &mut HostSide, choices: &mut Choices<'_>, mut bytes: Vec<u8>) {
        if !self.tame && choices.once_in(12) {
            self.honesty.damaged = true;
            choices.damage(&mut bytes);
        }
        side.driven.arrive(&bytes);
    }

    /// Goes on with one of the commands.
    pub(super) fn speak(&mut self, choices: &mut Choices<'_>, side: &mut HostSide) {
        if self.requests.is_empty() {
            return;
        }
        let at = choices.below(self.requests.len());
        let request = &self.requests[at];
        let left = request.room - request.progress;
        let waits = self.open.iter().any(|open| open.name == request.name);
        let wild = !self.tame && choices.once_in(10);
        self.honesty.damaged |= wild;
        match request.direction {
            DataDirection::ControllerToHost if left > 0 && !request.last => {
                self.send_data(choices, side, at, wild)
            }
            DataDirection::HostToController
                if wild || (left > 0 && request.room > self.in_capsule_heard(request)) =>
            {
                let limit = self.asked.max_r2t.get() as usize;
                let of_command = self.open.iter().filter(|open| open.name == request.name).count();
                let over = of_command >= limit;
                if !over || (!self.tame && choices.once_in(3)) {
                    self.honesty.damaged |= over;
                    self.ask(choices, side, at, wild);
                }
            }
            _ if waits && !wild => {}
            _ => self.respond(choices, side, at, wild),
        }
    }

    /// In-capsule data was all of it: nothing is left to ask for.
    fn in_capsule_heard(&self, request: &Request) -> usize {
        if request.last { request.room } else { 0 }
    }

    fn send_data(&mut self, choices: &mut Choices<'_>, side: &mut HostSide, at: usize, wild: bool) {
        let flow_control = side.flow_control;
        let request = &mut self.requests[at];
        let left = request.room - request.progress;
        // Zeroes mean: all of it, at once.
        let len = if choices.yes() { choices.length(left).max(1) } else { left };
        let last = len == left || choices.once_in(8);
        let success = last && !flow_control && choices.yes();
        let mut fields = DataToHost {
            cccid: request.cid.0,
            offset: request.progress as u32,
            length: len as u32,
            last,
            success,
        };
        if wild {
            match choices.u8() % 5 {
                0 => fields.cccid = choices.u16(),
                1 => fields.offset = choices.word(),
                2 => fields.length = (choices.word() % 140_000).max(1),
                3 => (fields.last, fields.success) = (true, choices.yes()),
                _ => fields.last = fields.success || !fields.last,
            }
        }
        request.progress += len;
        request.last = last;
        let name = self.name_of(fields.cccid);
        let data = pattern::bytes(answer_to(name), fields.offset as usize, fields.length as usize);
        let bytes = whole(&self.sender, &data, |s, out| s.c2h_data(&fields, out));
        if fields.success {
            let request = self.requests.swap_remove(at);
            self.said.insert(name, (Cqe::success(request.cid), request.progress));
        }
        self.say(side, choices, bytes);
    }

    fn name_of(&self, cid: u16) -> u64 {
        self.requests.iter().find(|request| request.cid.0 == cid).map_or(0, |request| request.name)
    }

    fn ask(&mut self, choices: &mut Choices<'_>, side: &mut HostSide, at: usize, wild: bool) {
        let request = &mut self.requests[at];
        let left = request.room - request.progress;
        let len = if choices.yes() { choices.length(left).max(1) } else { left };
        let (mut cid, mut offset, mut length) = (request.cid.0, request.progress as u32, len as u32);
        self.tags = self.tags.wrapping_add(1);
        let tag = self.tags;
        if wild {
            match choices.u8() % 4 {
                0 => cid = choices.u16(),
                1 => offset = choices.word(),
                2 => length = choices.word(),
                _ => {}
            }
        }
        request.progress = (request.progress + len).min(request.room);
        let name = request.name;
        self.open.push(Open {
            cid,
            tag,
            name,
            next: offset as usize,
            end: offset as usize + length as usize,
        });
        let bytes = whole(&self.sender, &[], |s, out| s.r2t(cid, tag, offset, length, out));
        self.say(side, choices, bytes);
    }

    fn respond(&mut self, choices: &mut Choices<'_>, side: &mut HostSide, at: usize, wild: bool) {
        let request = self.requests.swap_remove(at);
        let status = choices.pick(&[Status::SUCCESS, Status::SUCCESS, Status::INTERNAL_ERROR]);
        let mut cqe = Cqe::error(request.cid, status).with_sqhd(choices.u16()).with_u64(choices.u64());
        if wild {
            cqe = cqe.with_cid(Cid(choices.u16()));
        }
        let to_host = request.direction == DataDirection::ControllerToHost;
        self.said.insert(request.name, (cqe, if to_host { request.progress } else { 0 }));
        let bytes = whole(&self.sender, &[], |s, out| s.capsule_resp(&cqe, out));
        self.say(side, choices, bytes);
    }

    /// Says what a controller may not say, or not now.
    pub(super) fn misbehave(&mut self, choices: &mut Choices<'_>, side: &mut HostSide) {
        self.honesty.damaged = true;
        match choices.u8() % 6 {
            0 => {
                self.honesty.raw = true;
                side.driven.arrive(choices.bytes(300));
            }
            1 => {
                let request = TermReq {
                    fes: FatalErrorStatus::new(choices.u16() % 8),
                    fei: choices.word(),
                    header: choices.bytes(128),
                };
                let (bytes, len) = request.encode(Role::Controller);
                side.driven.arrive(&bytes[..len]);
            }
            2 => {
                if let Ok((mut response, _)) = self.terms.answer(&self.asked.request()) {
                    match choices.u8() % 5 {
                        0 => response.pfv = choices.u16().into(),
                        1 => response.cpda = choices.u8(),
                        2 => response.dgst = choices.u8(),
                        3 => response.maxh2cdata = choices.word().into(),
                        _ => {}
                    }
                    // What the host makes of it is not what this controller believes.
                    self.honesty.raw |= self.negotiated.is_none();
                    side.driven.arrive(response.as_bytes());
                }
            }
            3 => {
                let bytes = side.driven.under_way();
                if !bytes.is_empty() {
                    let at = choices.below(bytes.len());
                    bytes[at] ^= 1 << (choices.u8() % 8);
                    // ICResp has no digest.
                    self.honesty.raw |= side.driven.conn.negotiated_terms().is_none();
                }
            }
            4 => {
                let cqe = Cqe::error(Cid(choices.u16()), Status::from_raw(choices.u16()));
                let bytes = whole(&self.sender, &[], |s, out| s.capsule_resp(&cqe, out));
                side.driven.arrive(&bytes);
            }
            _ => {
                let bytes = whole(&self.sender, &[], |s, out| s.capsule_cmd(&Sqe::default(), 0, out));
                side.driven.arrive(&bytes);
            }
        }
    }

    /// Takes what the connection says, and holds it to what was submitted and asked for.
    pub(super) fn hear(&mut self, side: &mut HostSide, most: usize) {
        let bytes = side.driven.transmit(most);
        if self.negotiated.is_none() && self.honesty.raw {
            // The host may have taken something for an ICResp that this controller does not know of.
            return;
        }
        self.hearing.hear(&bytes);
        while let Some(heard) = self.hearing.next() {
            match heard {
                Heard::IcReq(request) => {
                    assert_eq!(*request, self.asked.request());
                    match self.terms.answer(&request) {
                        Ok((response, negotiated)) => {
                            self.agree(negotiated);
                            side.driven.arrive(response.as_bytes());
                        }
                        Err(violation) => panic!("{violation}"),
                    }
                }
                Heard::TermReq(why) => assert!(!self.tame, "a controller that obeys is accused: {why}"),
                Heard::Command { sqe, data } => self.command(&sqe, &data, side),
                Heard::ToController { cid, tag, offset, data, last } => {
                    let limit = self.negotiated.map_or(0, |negotiated| negotiated.max_h2c_data as usize);
                    assert!(!data.is_empty() && data.len() <= limit);
                    let at = self.open.iter().position(|open| open.tag == tag);
                    let at = match at {
                        Some(at) => at,
                        // A damaged R2T may have had another tag.
                        None if !self.sure() => continue,
                        None => panic!("data for a tag that is not open"),
                    };
                    let open = &mut self.open[at];
                    if self.honesty.holds(&self.sender) {
                        assert_eq!((cid, offset), (open.cid, open.next));
                        assert_eq!(pattern::difference(open.name, offset, &data), None, "wrong data sent");
                        assert_eq!(last, open.next + data.len() == open.end, "LAST_PDU");
                    }
                    open.next += data.len();
                    if last {
                        self.open.swap_remove(at);
                    }
                }
                other => panic!("a host said {other:?}"),
            }
        }
    }

    /// A host that has dealt with all that was said owes no more answers than MAXR2T allows: what it owes is memory.
    pub(super) fn check_owed(&self, side: &HostSide) {
        if !side.driven.open() || !side.driven.all_taken() || !self.sure() {
            return;
        }
        let limit = self.negotiated.map_or(usize::MAX, |negotiated| negotiated.max_r2t.get() as usize);
        for request in &self.requests {
            let owed = self.open.iter().filter(|open| open.name == request.name).count();
            assert!(owed <= limit, "{owed} R2Ts of one command taken, MAXR2T is {limit}");
        }
    }

    fn command(&mut self, sqe: &Sqe, data: &[u8], side: &HostSide) {
        let name = sqe.mptr.get();
        assert!(
            self.requests.iter().all(|request| request.cid != sqe.cid() || !self.sure()),
            "a CID is used twice"
        );
        let room = match sqe.sgl.parse().expect("a descriptor") {
            Sgl::InCapsule { offset: 0, length } => {
                assert_eq!(
                    (length as usize, sqe.data_direction()),
                    (data.len(), DataDirection::HostToController)
                );
                let most = side.driven.conn.setup().in_capsule.max(ADMIN_IN_CAPSULE);
                assert!(length > 0 && length <= most);
                assert_eq!(pattern::difference(name, 0, data), None, "wrong data in a capsule");
                data.len()
            }
            Sgl::Transport { length } => {
                assert!(data.is_empty());
                length as usize
            }
            other => panic!("{other:?} of a host"),
        };
        let in_capsule = !data.is_empty();
        self.requests.push(Request {
            cid: sqe.cid(),
            name,
            room,
            direction: sqe.data_direction(),
            progress: if in_capsule { room } else { 0 },
            last: in_capsule,
        });
    }

    /// Holds completions to what was said.
    pub(super) fn judge(&mut self, side: &mut HostSide) {
        for Ended { name, cqe, transferred, sqhd_valid } in side.ended.drain(..) {
            self.requests.retain(|request| request.name != name);
            let said = self.said.remove(&name);
            if !self.tame {
                continue;
            }
            let (expected, len) = said.expect("a completion that was never said");
            assert_eq!((cqe.status(), cqe.u64()), (expected.status(), expected.u64()));
            assert_eq!(transferred, len);
            assert!(!sqhd_valid || cqe.sqhd() == expected.sqhd());
        }
    }
}
