//! What a controller does with commands: takes them in with their data, and sends answers.

use nvmf_transport::{
    Buffer, ControllerEvent, Gather, Misuse, QueueSettings, Refused, RequestData, RequestId, View,
};
use nvmf_wire::{AdminOpcode, Cid, Cqe, Sqe, Status};

use super::{
    controller::ControllerSetup,
    fetch::Fetches,
    link::{Life, Link},
    negotiate::Answer,
    send::INLINE,
    slots::{Direction, Place, Slots, place},
};
use crate::{
    digest::Crc32c,
    pdu::{ADMIN_IN_CAPSULE, ControllerTerms, DataToHost, H2cData, Negotiated, Violation},
};

#[derive(Debug)]
pub(super) struct Side {
    pub(super) setup: ControllerSetup,
    pub(super) terms: ControllerTerms,
    pub(super) answer: Answer,
    pub(super) link: Link<View>,
    pub(super) slots: Slots,
    pub(super) fetches: Fetches,
    /// Whether a success may be folded into the last data.
    pub(super) fold: bool,
    /// Whether it is the admin queue. There the CID of an Asynchronous Event Request may be used again while it is outstanding, as
    /// some hosts do at shutdown.
    pub(super) admin: bool,
    /// In-capsule data taken of a command that is not a Fabrics command.
    pub(super) in_capsule: u32,
    pub(super) current: Current,
    pub(super) fresh: bool,
}

/// What the data of the current PDU belongs to.
#[derive(Debug)]
pub(super) enum Current {
    Nothing,
    /// A command: its in-capsule data, or the status it fails with.
    Capsule {
        request: RequestId,
        sqe: Sqe,
        data: Result<Buffer, Status>,
    },
    /// The answer to an R2T.
    Fetch {
        tag: u16,
        at: usize,
        len: usize,
    },
}

impl Side {
    pub(super) fn establish(&mut self, negotiated: Negotiated) {
        let receiver = negotiated.controller_receiver(ADMIN_IN_CAPSULE);
        self.link.establish(negotiated, receiver);
        self.fetches.limit(negotiated.max_r2t);
        self.answer = Answer::Sent;
        self.fresh = true;
    }

    pub(super) fn configure(&mut self, settings: &QueueSettings) -> Result<(), Misuse> {
        if settings.depth < 2 || settings.depth > self.setup.max_depth {
            return Err(Misuse::Parameter);
        }
        self.slots.resize(settings.depth);
        self.fetches.resize(settings.depth);
        self.fold = !settings.sq_flow_control;
        self.admin = settings.kind == nvmf_transport::QueueKind::Admin;
        // spec: TCP-CMD-02, TCP-CMD-03
        self.in_capsule = match settings.kind {
            nvmf_transport::QueueKind::Admin => ADMIN_IN_CAPSULE,
            nvmf_transport::QueueKind::Io(_) => self.setup.in_capsule,
        };
        self.link.receiver.max_in_capsule = self.in_capsule.max(ADMIN_IN_CAPSULE);
        Ok(())
    }

    #[inline]
    pub(super) fn respond(
        &mut self,
        request: RequestId,
        cqe: Cqe,
        data: Gather,
    ) -> Result<(), Refused<Gather>> {
        let refuse = |data, why| Err(Refused::new(data, why));
        let Some(slot) = self.slots.get_mut(request) else {
            return refuse(data, Misuse::UnknownRequest);
        };
        if self.link.life != Life::Open {
            return refuse(data, Misuse::Closing);
        }
        if slot.fetches > 0 {
            return refuse(data, Misuse::Parameter);
        }
        let room = if slot.direction == Direction::ToHost { slot.remote } else { 0 };
        let len = match u32::try_from(data.len()) {
            Ok(len) if len <= room => len,
            _ => return refuse(data, Misuse::DataLength),
        };
        let cqe = cqe.with_cid(slot.cid);
        self.slots.release(request);
        self.slots.unsent += 1;

        // spec: TCP-C2H-09, TCP-C2H-16
        let fold = self.fold && len > 0 && cqe.status().is_success() && cqe.u64() == 0;
        if len > 0 {
            self.send_data(cqe.cid(), data, len, fold);
        }
        // spec: TCP-C2H-10, TCP-RSP-02, TCP-RSP-04, TCP-RSP-06
        if !fold {
            let sender = self.link.sender;
            self.link.send.header(|out| sender.capsule_resp(&cqe, out));
        }
        self.link.send.end_answer();
        Ok(())
    }

    /// Queues `len` bytes as C2HData PDUs. Views that go out whole are moved, not copied.
    #[inline]
    fn send_data(&mut self, cid: Cid, data: Gather, len: u32, success: bool) {
        // spec: TCP-C2H-01, TCP-C2H-03, TCP-C2H-06, TCP-C2H-14, TCP-C2H-15
        let (sender, send) = (self.link.sender, &mut self.link.send);
        let (mut offset, mut missing, mut crc) = (0, 0, None);
        for view in data {
            let mut rest = Some(view);
            while let Some(view) = rest.take() {
                if missing == 0 {
                    let length = (len - offset).min(self.setup.max_c2h_data);
                    let last = offset + length == len;
                    let fields = DataToHost { cccid: cid.0, offset, length, last, success: success && last };
                    send.header(|out| sender.c2h_data(&fields, out));
                    crc = sender.digests.data.then(Crc32c::new);
                    (offset, missing) = (offset + length, length as usize);
                }
                let piece = if view.len() > missing {
                    rest = Some(view.slice(missing..view.len()));
                    view.slice(0..missing)
                } else {
                    view
                };
                missing -= piece.len();
                if let Some(crc) = &mut crc {
                    crc.update(&piece);
                }
                if piece.len() <= INLINE {
                    send.copy(&piece);
                } else {
                    let len = piece.len();
                    send.data(piece, len);
                }
                if missing == 0
                    && let Some(crc) = crc.take()
                {
                    send.digest(crc.finish());
                }
            }
        }
    }

    /// A command arrives, with `data_len` bytes in its capsule.
    // spec: TCP-QUE-04, TCP-CMD-14
    #[inline]
    pub(super) fn command(
        &mut self,
        sqe: &Sqe,
        data_len: u32,
        events: &mut Vec<ControllerEvent>,
    ) -> Result<(), Violation> {
        let request = self.slots.take(self.setup.queue, sqe.cid())?;
        let Some(slot) = self.slots.get_mut(request) else {
            return Ok(());
        };
        let placed = if slot.conflict {
            Err(Status::COMMAND_ID_CONFLICT)
        } else {
            place(sqe, data_len, self.in_capsule)
        };
        if let Ok(Place::Remote { len, direction }) = placed {
            (slot.remote, slot.direction) = (len, direction);
        }
        if self.admin && placed.is_ok() && sqe.admin_opcode() == AdminOpcode::ASYNC_EVENT_REQUEST {
            self.slots.give_up_cid(request);
        }
        if data_len == 0 {
            let data = placed.map(|place| match place {
                Place::Remote { len, .. } => RequestData::Remote { len },
                Place::None | Place::InCapsule => RequestData::None,
            });
            events.push(ControllerEvent::Command { request, sqe: *sqe, data });
            return Ok(());
        }
        let data = placed.and_then(|_| {
            let pool = if data_len <= ADMIN_IN_CAPSULE { &self.setup.small } else { &self.setup.large };
            let mut buffer = pool.take().ok_or(Status::COMMAND_INTERRUPTED)?;
            buffer.truncate(data_len as usize);
            Ok(buffer)
        });
        self.current = Current::Capsule { request, sqe: *sqe, data };
        Ok(())
    }

    /// Data arrives that was asked for by R2T.
    #[inline]
    pub(super) fn data_begins(&mut self, pdu: &H2cData) -> Result<(), Violation> {
        let (at, len) = self.fetches.data_begins(pdu)?;
        self.current = Current::Fetch { tag: pdu.ttag.get(), at, len };
        Ok(())
    }

    #[inline]
    pub(super) fn sink(&mut self) -> Option<&mut [u8]> {
        match &mut self.current {
            Current::Nothing | Current::Capsule { data: Err(_), .. } => None,
            Current::Capsule { data: Ok(buffer), .. } => Some(buffer),
            &mut Current::Fetch { tag, at, len } => self.fetches.buffer(tag)?.get_mut(at..at + len),
        }
    }
}
