//! A host's outstanding commands: where their data is, how they are sent, how they end.

use nvmf_transport::{Buffer, Command, CommandSlots, Data, HostEvent, Misuse, Refused};
use nvmf_wire::{Cid, Cqe, SglDescriptor, sqe::Psdt};
use smallvec::smallvec;
use zerocopy::{FromBytes as _, IntoBytes as _};

use super::{
    host::{CQE, HostSetup, SQE},
    link::{Life, Link},
    memory::{Placed, sge},
    private_data::Accept,
    send::SendQueue,
};
use crate::verbs::{
    Completion, Depths, Device, Keys, QpCaps, RecvRequest, RemoteAccess, SendOp, SendRequest, Sge,
};

#[derive(Debug)]
pub(super) struct Side {
    pub(super) setup: HostSetup,
    pub(super) link: Link,
    pub(super) commands: CommandSlots<Pending>,
    /// Commands that may be outstanding at a time.
    pub(super) room: usize,
    /// Receives that the controller posts.
    pub(super) crqsize: u16,
    /// In-capsule data of one command.
    pub(super) in_capsule: u32,
    pub(super) device: Option<Device>,
    pub(super) caps: QpCaps,
    /// Where responses arrive, by the number of their receive.
    pub(super) responses: Vec<Buffer>,
    pub(super) response_key: u32,
    /// Where commands leave from: those that are not in use.
    pub(super) capsules: Vec<Buffer>,
    pub(super) capsule_key: u32,
    pub(super) send: SendQueue,
    /// Receives to be posted.
    pub(super) receives: Vec<RecvRequest>,
    pub(super) fresh: Option<(Accept, Depths)>,
}

/// An outstanding command.
#[derive(Debug)]
pub(super) struct Pending {
    pub(super) cookie: u64,
    pub(super) data: Data,
    placed: Placed,
    /// Where its capsule is sent from.
    capsule: Option<Buffer>,
    /// Whether the capsule has left for good.
    sent: bool,
    /// The completion, if it came before that.
    held: Option<Cqe>,
}

/// What a controller did that it must not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Fault {
    #[error("a response capsule of {0} bytes; it has 16")]
    Length(u32),
    #[error("a completion of command {0}, which is not outstanding")]
    Unknown(Cid),
    #[error(
        "a completion of command {cid} that invalidates key {key:#010x}, which is not for it to invalidate"
    )]
    Invalidated { cid: Cid, key: u32 },
}

impl Side {
    pub(super) fn submit(&mut self, command: Command, keys: &mut impl Keys) -> Result<Cid, Refused<Command>> {
        let refuse = |command, why| Err(Refused::new(command, why));
        match self.link.life {
            Life::Open => {}
            Life::Connecting => return refuse(command, Misuse::NotConnected),
            Life::Draining | Life::Closing | Life::Over => return refuse(command, Misuse::Closing),
        }
        // spec: RDMA-QUE-05
        if self.commands.len() >= self.room || self.capsules.is_empty() {
            return refuse(command, Misuse::QueueFull);
        }
        let len = match u32::try_from(command.data.len()) {
            Ok(len) if len <= self.setup.max_transfer => len,
            _ => return refuse(command, Misuse::DataLength),
        };
        let Command { sqe, mut data, cookie } = command;
        let (placed, sgl, in_capsule) = match self.place(&mut data, len, keys) {
            Ok(placed) => placed,
            Err(error) => {
                // Memory that cannot be named now will not be named later: the queue is of no use.
                self.link.over(nvmf_transport::CloseReason::Failed(error));
                return refuse(Command { sqe, data, cookie }, Misuse::Closing);
            }
        };
        let pending = Pending { cookie, data, placed, capsule: self.capsules.pop(), sent: false, held: None };
        let cid = match self.commands.insert(pending) {
            Ok(cid) => cid,
            // Not reached: there are at least as many slots as room.
            Err(Pending { data, mut placed, capsule, .. }) => {
                placed.withdraw(self.setup.conn, keys);
                self.capsules.extend(capsule);
                return refuse(Command { sqe, data, cookie }, Misuse::QueueFull);
            }
        };
        // spec: RDMA-CAP-01, RDMA-CAP-05
        let sqe = sqe.with_cid(cid).with_psdt(Psdt::SGL_METADATA_BUFFER).with_sgl(sgl);
        let Some(capsule) = self.commands.get_mut(cid).and_then(|pending| pending.capsule.as_mut()) else {
            return Ok(cid);
        };
        capsule[..SQE].copy_from_slice(sqe.as_bytes());
        // spec: RDMA-CAP-02
        let head = if in_capsule.is_some() { &capsule[..] } else { &capsule[..SQE] };
        let inline = in_capsule.is_none() && head.len() as u32 <= self.caps.inline;
        let mut sges = smallvec![sge(head, self.capsule_key)];
        sges.extend(in_capsule);
        self.send.push(SendRequest { id: cid.0.into(), op: SendOp::Send, sges, inline, signaled: true });
        Ok(cid)
    }

    /// Decides where a command's data is, and describes it.
    // spec: RDMA-SGL-01, RDMA-SGL-02, RDMA-SGL-03, RDMA-SGL-04, RDMA-SGL-05
    fn place(
        &self,
        data: &mut Data,
        len: u32,
        keys: &mut impl Keys,
    ) -> Result<(Placed, SglDescriptor, Option<Sge>), nvmf_transport::Error> {
        let (staging, conn) = (&self.setup.staging, self.setup.conn);
        let (buffer, access) = match data {
            Data::ToController(buffer) if len > 0 => (buffer, RemoteAccess::Read),
            Data::FromController(buffer) if len > 0 => (buffer, RemoteAccess::Write),
            _ => return Ok((Placed::default(), keyed(0, 0, 0, false)?, None)),
        };
        if access == RemoteAccess::Read && len <= self.in_capsule && self.caps.send_sge >= 2 {
            let (placed, sge) = Placed::local(buffer, staging, conn, keys)?;
            return Ok((placed, SglDescriptor::in_capsule(0, len), Some(sge)));
        }
        // spec: RDMA-KEY-01, RDMA-KEY-02
        let (placed, key) = Placed::exposed(buffer, access, staging, conn, keys)?;
        Ok((placed, keyed(key.address, len, key.key, key.invalidate)?, None))
    }

    /// A command's capsule has left.
    pub(super) fn sent(&mut self, cid: Cid, keys: &mut impl Keys, events: &mut Vec<HostEvent>) {
        let Some(pending) = self.commands.get_mut(cid) else { return };
        pending.sent = true;
        if let Some(cqe) = pending.held {
            self.complete(cid, cqe, keys, events);
        }
    }

    /// A response has arrived.
    pub(super) fn response(
        &mut self,
        completion: &Completion,
        keys: &mut impl Keys,
        events: &mut Vec<HostEvent>,
    ) -> Result<(), Fault> {
        let index = completion.id as usize;
        // spec: RDMA-CAP-04
        if completion.len as usize != CQE {
            return Err(Fault::Length(completion.len));
        }
        let Some(cqe) = self.responses.get(index).and_then(|buffer| Cqe::read_from_bytes(buffer).ok()) else {
            return Err(Fault::Length(0));
        };
        // spec: RDMA-QUE-03
        self.receive(index);
        let cid = cqe.cid();
        // spec: RDMA-CAP-06
        let pending =
            self.commands.get_mut(cid).filter(|pending| pending.held.is_none()).ok_or(Fault::Unknown(cid))?;
        // spec: RDMA-KEY-05
        if let Some(key) = completion.invalidated {
            match pending.placed.key() {
                Some(exposed) if exposed.invalidate && exposed.key == key => {}
                _ => return Err(Fault::Invalidated { cid, key }),
            }
        }
        pending.held = Some(cqe);
        if pending.sent {
            self.complete(cid, cqe, keys, events);
        }
        Ok(())
    }

    /// A command is over: the peer loses its right, the buffer goes back.
    // spec: RDMA-KEY-03, RDMA-CAP-07
    fn complete(&mut self, cid: Cid, cqe: Cqe, keys: &mut impl Keys, events: &mut Vec<HostEvent>) {
        let Some(Pending { cookie, mut data, mut placed, capsule, .. }) = self.commands.remove(cid) else {
            return;
        };
        placed.withdraw(self.setup.conn, keys);
        self.capsules.extend(capsule);
        let mut transferred = 0;
        if let Data::FromController(buffer) = &mut data
            && cqe.status().is_success()
        {
            placed.collect(buffer);
            // Nobody counts what an RDMA WRITE brought: a command that succeeded has moved what it described.
            transferred = buffer.len() as u32;
        }
        events.push(HostEvent::Completed {
            queue: self.setup.queue,
            cookie,
            cqe,
            sqhd_valid: true,
            transferred,
            data,
        });
    }
}

fn keyed(address: u64, len: u32, key: u32, invalidate: bool) -> Result<SglDescriptor, nvmf_transport::Error> {
    SglDescriptor::keyed(address, len, key, invalidate).ok_or_else(|| {
        // Not reached: the configuration keeps transfers within 24 bits.
        nvmf_transport::Error::new(
            nvmf_transport::Stage::Transfer,
            nvmf_transport::ErrorKind::Unsupported,
            "a transfer longer than a keyed descriptor can say",
        )
    })
}
