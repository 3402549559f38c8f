//! A host's outstanding commands: how they are sent, how their data is, how they end.

use nvmf_transport::{Command, CommandSlots, Data, HostEvent, Misuse, QueueId, Refused};
use nvmf_wire::{Cid, Cqe, SglDescriptor, Status, sqe::Psdt};

use super::{
    host::HostSetup,
    link::{Life, Link},
    send::INLINE,
};
use crate::{
    digest::Crc32c,
    pdu::{C2hData, DataToController, HostTerms, Kind, Negotiated, R2t, Violation},
};

#[derive(Debug)]
pub(super) struct Side {
    pub(super) setup: HostSetup,
    pub(super) terms: HostTerms,
    pub(super) link: Link<Part>,
    pub(super) commands: CommandSlots<Pending>,
    /// Commands that may be outstanding at a time.
    pub(super) room: usize,
    /// In-capsule data of one command.
    pub(super) in_capsule: u32,
    /// Where the data of the current C2HData belongs.
    pub(super) landing: Option<Landing>,
    pub(super) fresh: bool,
}

/// Data to send, in a command's buffer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Part {
    pub(super) cid: Cid,
    pub(super) start: usize,
    /// Whether the answer to an R2T ends with it.
    pub(super) ends_r2t: bool,
}

/// An outstanding command.
#[derive(Debug)]
pub(super) struct Pending {
    pub(super) cookie: u64,
    pub(super) data: Data,
    /// Whether the controller fetches the data.
    pub(super) fetched: bool,
    /// Bytes received, or asked for by R2T: where the next must start.
    pub(super) progress: u32,
    /// LAST_PDU was seen.
    pub(super) all_received: bool,
    /// A data digest was wrong.
    pub(super) corrupt: bool,
    /// R2Ts not fully answered.
    pub(super) r2ts: u32,
    /// Parts of the buffer that wait to be sent.
    pub(super) unsent: u32,
    /// The completion, if it came before all parts had left.
    pub(super) held: Option<Cqe>,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Landing {
    pub(super) cid: Cid,
    pub(super) at: usize,
    pub(super) len: usize,
    pub(super) success: bool,
}

impl Side {
    pub(super) fn establish(&mut self, negotiated: Negotiated) {
        let receiver = negotiated.host_receiver(self.setup.max_transfer);
        self.link.establish(negotiated, receiver);
        self.fresh = true;
    }

    #[inline]
    pub(super) fn submit(&mut self, command: Command) -> Result<Cid, Refused<Command>> {
        let refuse = |command, why| Err(Refused::new(command, why));
        if self.link.life != Life::Open {
            return refuse(command, Misuse::Closing);
        }
        if self.link.negotiated.is_none() {
            return refuse(command, Misuse::NotConnected);
        }
        if self.commands.len() >= self.room {
            return refuse(command, Misuse::QueueFull);
        }
        let len = match u32::try_from(command.data.len()) {
            Ok(len) if len <= self.setup.max_transfer => len,
            _ => return refuse(command, Misuse::DataLength),
        };
        // spec: TCP-CMD-04, TCP-CMD-08, TCP-CMD-09, TCP-CMD-10
        let to_controller = matches!(command.data, Data::ToController(_)) && len > 0;
        let in_capsule = to_controller && len <= self.in_capsule;
        let sgl = if in_capsule { SglDescriptor::in_capsule(0, len) } else { SglDescriptor::transport(len) };

        let Command { sqe, data, cookie } = command;
        let pending = Pending {
            cookie,
            data,
            fetched: to_controller && !in_capsule,
            progress: 0,
            all_received: false,
            corrupt: false,
            r2ts: 0,
            unsent: 0,
            held: None,
        };
        let cid = match self.commands.insert(pending) {
            Ok(cid) => cid,
            // Not reached: there are at least as many slots as room.
            Err(Pending { data, .. }) => return refuse(Command { sqe, data, cookie }, Misuse::QueueFull),
        };
        // spec: TCP-CMD-13
        let sqe = sqe.with_cid(cid).with_psdt(Psdt::SGL_METADATA_BUFFER).with_sgl(sgl);
        let sender = self.link.sender;
        self.link.send.header(|out| sender.capsule_cmd(&sqe, if in_capsule { len } else { 0 }, out));
        if in_capsule {
            self.send_data(cid, 0, len as usize, false);
        }
        Ok(cid)
    }

    /// Queues `len` bytes of a command's buffer, and their digest.
    #[inline]
    fn send_data(&mut self, cid: Cid, start: usize, len: usize, ends_r2t: bool) {
        let Some(pending) = self.commands.get_mut(cid) else {
            return;
        };
        let Data::ToController(buffer) = &pending.data else {
            return;
        };
        let Some(data) = buffer.get(start..start + len) else {
            return;
        };
        let send = &mut self.link.send;
        // spec: TCP-R2T-08
        // An R2T counts until its data has left, so the end of an answer is never copied: small R2Ts to a host whose
        // output is stuck would make the output grow without end.
        let inline = len <= INLINE && !ends_r2t;
        if inline {
            send.copy(data);
        } else {
            send.data(Part { cid, start, ends_r2t }, len);
        }
        if self.link.sender.digests.data {
            let mut crc = Crc32c::new();
            crc.update(data);
            send.digest(crc.finish());
        }
        pending.unsent += u32::from(!inline);
    }

    /// Answers an R2T with all of its data.
    pub(super) fn ready_to_transfer(&mut self, r2t: &R2t) -> Result<(), Violation> {
        let (cid, ttag) = (Cid(r2t.cccid.get()), r2t.ttag.get());
        let (start, len) = (r2t.r2to.get(), r2t.r2tl.get());
        let Some(negotiated) = self.link.negotiated else {
            return Ok(());
        };
        // spec: TCP-R2T-13
        let pending =
            self.commands.get_mut(cid).ok_or(Violation::UnknownCommand { kind: Kind::R2t, cid: cid.0 })?;
        // spec: TCP-R2T-14
        if !pending.fetched || pending.held.is_some() {
            return Err(Violation::UnexpectedTransfer { kind: Kind::R2t, cid: cid.0 });
        }
        // spec: TCP-R2T-05
        let (end, limit) = (u64::from(start) + u64::from(len), pending.data.len() as u64);
        if end > limit {
            return Err(Violation::R2tBeyondCommand { end, limit });
        }
        // spec: TCP-R2T-04
        if start != pending.progress {
            return Err(Violation::R2tOutOfOrder { expected: pending.progress, found: start });
        }
        // spec: TCP-R2T-08
        if pending.r2ts >= negotiated.max_r2t.get() {
            return Err(Violation::R2tLimit { limit: negotiated.max_r2t.get() });
        }
        pending.r2ts += 1;
        pending.progress = end as u32;
        // spec: TCP-H2C-01, TCP-H2C-02, TCP-H2C-04, TCP-H2C-05, TCP-H2C-09, TCP-H2C-13, TCP-R2T-09, TCP-R2T-11
        let (end, mut offset) = (end as u32, start);
        while offset < end {
            let length = (end - offset).min(negotiated.max_h2c_data);
            let last = offset + length == end;
            let fields = DataToController { cccid: cid.0, ttag, offset, length, last };
            let sender = self.link.sender;
            self.link.send.header(|out| sender.h2c_data(&fields, out));
            self.send_data(cid, offset as usize, length as usize, last);
            offset += length;
        }
        Ok(())
    }

    /// Data arrives: finds where it belongs.
    #[inline]
    pub(super) fn data_begins(&mut self, pdu: &C2hData) -> Result<(), Violation> {
        let (cid, at, len) = (Cid(pdu.cccid.get()), pdu.datao.get(), pdu.datal.get());
        // spec: TCP-C2H-11
        let pending = self
            .commands
            .get_mut(cid)
            .ok_or(Violation::UnknownCommand { kind: Kind::C2hData, cid: cid.0 })?;
        // spec: TCP-C2H-12
        let Data::FromController(buffer) = &pending.data else {
            return Err(Violation::UnexpectedTransfer { kind: Kind::C2hData, cid: cid.0 });
        };
        if pending.all_received {
            return Err(Violation::UnexpectedTransfer { kind: Kind::C2hData, cid: cid.0 });
        }
        // spec: TCP-C2H-04
        let (end, limit) = (u64::from(at) + u64::from(len), buffer.len() as u64);
        if end > limit {
            return Err(Violation::DataBeyondTransfer { end, limit });
        }
        // spec: TCP-C2H-13
        if at != pending.progress {
            return Err(Violation::DataOutOfOrder { expected: pending.progress, found: at });
        }
        pending.progress = end as u32;
        pending.all_received = pdu.is_last();
        self.landing = Some(Landing { cid, at: at as usize, len: len as usize, success: pdu.is_success() });
        Ok(())
    }

    #[inline]
    pub(super) fn sink(&mut self) -> Option<&mut [u8]> {
        let landing = self.landing?;
        match &mut self.commands.get_mut(landing.cid)?.data {
            Data::FromController(buffer) => buffer.get_mut(landing.at..landing.at + landing.len),
            _ => None,
        }
    }
}

/// Ends a command, or holds its completion until its data has left.
#[inline]
pub(super) fn complete(
    commands: &mut CommandSlots<Pending>,
    queue: QueueId,
    cid: Cid,
    cqe: Cqe,
    sqhd_valid: bool,
    events: &mut Vec<HostEvent>,
) {
    match commands.get_mut(cid) {
        Some(pending) if pending.unsent > 0 => pending.held = Some(cqe),
        _ => {
            let Some(pending) = commands.remove(cid) else {
                return;
            };
            // spec: TCP-DG-12, TCP-DG-15, TCP-ERR-16
            let cqe = if pending.corrupt && cqe.status().is_success() {
                Cqe::error(cid, Status::TRANSIENT_TRANSPORT_ERROR).with_sqhd(cqe.sqhd())
            } else {
                cqe
            };
            let transferred = if pending.fetched { 0 } else { pending.progress };
            let Pending { cookie, data, .. } = pending;
            events.push(HostEvent::Completed { queue, cookie, cqe, sqhd_valid, transferred, data });
        }
    }
}
