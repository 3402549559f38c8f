//! What a controller does with commands: takes them in with their data, and sends answers.

use nvmf_transport::{
    Buffer, CloseReason, ControllerEvent, Error, ErrorKind, Gather, Misuse, Pool, QueueKind, Refused,
    RequestData, RequestId, Stage, View,
};
use nvmf_wire::{AdminOpcode, Cqe, Sqe, Status};
use smallvec::{SmallVec, smallvec};
use zerocopy::{FromBytes as _, IntoBytes as _};

use super::{
    controller::{ControllerSetup, id},
    fetch::Fetches,
    link::{Life, Link},
    memory::{place_view, sge, unknown_memory},
    send::SendQueue,
    slots::{Direction, Place, RemoteData, Rules, Slots, place},
};
use crate::verbs::{Completion, Depths, Keys, RecvRequest, Remote, SendOp, SendRequest, WcStatus};

#[derive(Debug)]
pub(super) struct Side {
    pub(super) setup: ControllerSetup,
    pub(super) link: Link,
    pub(super) slots: Slots,
    pub(super) fetches: Fetches,
    pub(super) rules: Rules,
    pub(super) kind: QueueKind,
    /// In-capsule data that a receive has room for.
    pub(super) in_capsule: u32,
    /// Where in-capsule data arrives.
    pub(super) pool: Option<Pool>,
    /// By the number of their receive.
    pub(super) capsules: Vec<Capsule>,
    pub(super) capsule_key: u32,
    pub(super) answers: Answers,
    pub(super) send: SendQueue,
    /// WRITEs so far, to tell them apart.
    pub(super) writes: u32,
    /// Elements of one WRITE.
    pub(super) write_sges: usize,
    /// Whether the device can invalidate with a SEND.
    pub(super) send_invalidate: bool,
    pub(super) inline: u32,
    /// Receives to be posted.
    pub(super) receives: Vec<RecvRequest>,
    /// Entries of the queue: receives that are always posted (CRQSIZE).
    pub(super) entries: u16,
    pub(super) depths: Depths,
    pub(super) fresh: bool,
}

/// Where a command arrives.
#[derive(Debug)]
pub(super) struct Capsule {
    /// The command, and what ICDOFF puts behind it.
    pub(super) head: Buffer,
    /// In-capsule data; goes with the command that brings some.
    pub(super) data: Option<Buffer>,
}

/// Answers that are leaving, with everything that must stay until they have.
#[derive(Debug, Default)]
pub(super) struct Answers {
    entries: Vec<Answer>,
    free: Vec<u32>,
    key: u32,
}

#[derive(Debug)]
struct Answer {
    /// The completion.
    cqe: Buffer,
    views: SmallVec<[View; 2]>,
}

impl Answers {
    pub(super) fn new(key: u32, buffers: Vec<Buffer>) -> Self {
        let entries: Vec<_> = buffers.into_iter().map(|cqe| Answer { cqe, views: SmallVec::new() }).collect();
        Self { free: (0..entries.len() as u32).rev().collect(), entries, key }
    }

    /// An answer has left.
    fn release(&mut self, index: u32) {
        if let Some(answer) = self.entries.get_mut(index as usize) {
            answer.views.clear();
            self.free.push(index);
        }
    }
}

impl Side {
    /// Bytes between the command and its in-capsule data, on queues that have any.
    pub(super) fn head_padding(&self) -> usize {
        match self.kind {
            QueueKind::Admin => 0,
            QueueKind::Io(_) => self.setup.in_capsule_offset as usize,
        }
    }

    /// Posts the receive of a command.
    // spec: RDMA-QUE-08, RDMA-QUE-09
    pub(super) fn receive(&mut self, index: usize, keys: &mut impl Keys) -> Result<(), Error> {
        let Some(capsule) = self.capsules.get_mut(index) else { return Ok(()) };
        let mut sges = smallvec![sge(&capsule.head, self.capsule_key)];
        if let Some(pool) = &self.pool {
            if capsule.data.is_none() {
                capsule.data = pool.take();
            }
            let Some(data) = &capsule.data else {
                return Err(Error::new(
                    Stage::Transfer,
                    ErrorKind::Resources,
                    "no memory for in-capsule data: the buffers of answered commands were not given back",
                ));
            };
            let key = keys.local_key(self.setup.conn, data.region()).ok_or_else(unknown_memory)?;
            sges.push(sge(data, key));
        }
        self.receives.push(RecvRequest { id: index as u64, sges });
        Ok(())
    }

    /// A message has arrived.
    pub(super) fn arrived(
        &mut self,
        completion: &Completion,
        keys: &mut impl Keys,
        events: &mut Vec<ControllerEvent>,
    ) {
        if self.link.life != Life::Open {
            return;
        }
        let (index, len) = (completion.id as usize, completion.len as usize);
        let padding = self.head_padding();
        let Some(capsule) = self.capsules.get_mut(index) else { return };
        // spec: RDMA-CAP-08
        let sqe = match capsule.head.get(..64).map(Sqe::read_from_bytes) {
            Some(Ok(sqe)) if len >= 64 => sqe,
            _ => return self.link.violated(format!("a command capsule of {len} bytes; it has at least 64")),
        };
        // spec: RDMA-CAP-09
        let data_len = len.saturating_sub(64 + padding);
        let data = capsule.data.take_if(|_| data_len > 0);
        if let Err(error) = self.receive(index, keys) {
            return self.link.close(CloseReason::Failed(error));
        }
        self.command(&sqe, data, data_len, events);
    }

    /// A command is here, with `data_len` bytes in `data`.
    // spec: RDMA-QUE-10, RDMA-CAP-10
    fn command(
        &mut self,
        sqe: &Sqe,
        data: Option<Buffer>,
        data_len: usize,
        events: &mut Vec<ControllerEvent>,
    ) {
        let Some(request) = self.slots.take(self.setup.queue, sqe.cid()) else {
            let depth = self.slots.len();
            return self.link.violated(format!("more commands than the queue has entries ({depth})"));
        };
        let Some(slot) = self.slots.get_mut(request) else { return };
        let bytes = data.as_ref().and_then(|data| data.get(..data_len)).unwrap_or_default();
        let placed =
            if slot.conflict { Err(Status::COMMAND_ID_CONFLICT) } else { place(sqe, bytes, self.rules) };
        let data = match (placed, data) {
            (Ok(Place::InCapsule(range)), Some(mut data)) => {
                data.truncate(range.end);
                Ok(RequestData::InCapsule(if range.start == 0 { data } else { data.split_off(range.start) }))
            }
            (Ok(Place::Remote(remote)), _) => {
                let len = remote.len;
                slot.remote = remote;
                Ok(RequestData::Remote { len })
            }
            (Ok(Place::None | Place::InCapsule(_)), _) => Ok(RequestData::None),
            (Err(status), _) => Err(status),
        };
        // Some hosts use the CIDs of these again while they are outstanding, at shutdown.
        if self.kind == QueueKind::Admin
            && data.is_ok()
            && sqe.admin_opcode() == AdminOpcode::ASYNC_EVENT_REQUEST
        {
            self.slots.give_up_cid(request);
        }
        events.push(ControllerEvent::Command { request, sqe: *sqe, data });
    }

    /// Issues what READs may be.
    pub(super) fn issue(&mut self, keys: &mut impl Keys) {
        let Self { fetches, slots, send, link, setup, .. } = self;
        if let Err(error) = fetches.issue(slots, send, setup.conn, keys) {
            link.close(CloseReason::Failed(error));
        }
    }

    pub(super) fn respond(
        &mut self,
        request: RequestId,
        cqe: Cqe,
        data: Gather,
        keys: &mut impl Keys,
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
        let room = if slot.remote.direction == Direction::ToHost { slot.remote.len } else { 0 };
        if u32::try_from(data.len()).map_or(true, |len| len > room) {
            return refuse(data, Misuse::DataLength);
        }
        let cqe = cqe.with_cid(slot.cid);
        let remote = std::mem::take(&mut slot.remote);
        let Some(index) = self.answers.free.pop() else {
            // Not reached: there are as many as can be posted and as can wait.
            return refuse(data, Misuse::QueueFull);
        };
        self.slots.release(request);
        self.slots.unposted += 1;
        if let Err(error) = self.answer(index, &cqe, data, &remote, keys) {
            self.link.close(CloseReason::Failed(error));
        }
        Ok(())
    }

    /// Queues the WRITEs of an answer and its SEND.
    // spec: RDMA-DAT-03, RDMA-DAT-04, RDMA-DAT-05, RDMA-KEY-06, RDMA-KEY-07
    fn answer(
        &mut self,
        index: u32,
        cqe: &Cqe,
        data: Gather,
        remote: &RemoteData,
        keys: &mut impl Keys,
    ) -> Result<(), Error> {
        let Self { answers, send, setup, writes, write_sges, inline, send_invalidate, .. } = self;
        let Some(answer) = answers.entries.get_mut(index as usize) else { return Ok(()) };
        let mut write = Writes { remote, offset: 0, max_sges: *write_sges, number: writes, send, open: None };
        for view in data {
            let (view, key) = place_view(view, &setup.staging, setup.conn, keys)?;
            write.push(&view, key);
            answer.views.push(view);
        }
        write.end();
        // spec: RDMA-CAP-04
        answer.cqe.copy_from_slice(cqe.as_bytes());
        let op = match remote.invalidate() {
            Some(key) if *send_invalidate => SendOp::SendInvalidate { key },
            _ => SendOp::Send,
        };
        send.push(SendRequest {
            id: id::answer(index),
            op,
            sges: smallvec![sge(&answer.cqe, answers.key)],
            inline: *inline as usize >= size_of::<Cqe>(),
            signaled: true,
        });
        Ok(())
    }

    /// Requests are posted. A host may know of an answer from here on, and send the next command: its own completion can come
    /// late, because that of a READ before it comes first.
    // spec: RDMA-QUE-06
    #[inline]
    pub(super) fn note_posted(&mut self, sends: &[SendRequest]) {
        let answers = sends.iter().filter(|request| request.id & id::KIND == id::ANSWER).count();
        self.slots.unposted = self.slots.unposted.saturating_sub(answers as u32);
    }

    /// A request of the send queue has ended.
    pub(super) fn posted_ended(
        &mut self,
        completion: &Completion,
        keys: &mut impl Keys,
        events: &mut Vec<ControllerEvent>,
    ) {
        if completion.status != WcStatus::Success {
            let what = match completion.id & id::KIND {
                id::READ => "reading the host's data (RDMA READ)",
                id::WRITE => "writing to the host's memory (RDMA WRITE)",
                _ => "sending a response",
            };
            return self.link.request_failed(what, completion.status);
        }
        let which = completion.id & !id::KIND;
        match completion.id & id::KIND {
            id::ANSWER => self.answers.release(which as u32),
            id::READ => {
                self.fetches.read(which as u16, &mut self.slots, events);
                if self.fetches.is_waiting() && self.link.life == Life::Open {
                    self.issue(keys);
                }
            }
            _ => {}
        }
    }
}

/// Cuts an answer's data into WRITEs: one per segment of the host, and as many more as its elements need.
struct Writes<'a> {
    remote: &'a RemoteData,
    /// Bytes that are in WRITEs.
    offset: u32,
    max_sges: usize,
    number: &'a mut u32,
    send: &'a mut SendQueue,
    /// The WRITE being made, and the room it has left in the host's segment.
    open: Option<(SendRequest, u32)>,
}

impl Writes<'_> {
    fn push(&mut self, bytes: &[u8], key: u32) {
        let mut rest = bytes;
        while !rest.is_empty() {
            if self.open.as_ref().is_none_or(|(write, room)| *room == 0 || write.sges.len() == self.max_sges)
            {
                self.end();
                // Not reached: there is never more data than the host described.
                let Some(segment) = self.remote.piece(self.offset, u32::MAX) else { return };
                *self.number = self.number.wrapping_add(1);
                let write = SendRequest {
                    id: id::write(*self.number),
                    op: SendOp::Write(Remote { address: segment.address, key: segment.key }),
                    sges: SmallVec::new(),
                    inline: false,
                    signaled: false,
                };
                self.open = Some((write, segment.len));
            }
            let Some((write, room)) = &mut self.open else { return };
            let (now, later) = rest.split_at(rest.len().min(*room as usize));
            write.sges.push(sge(now, key));
            *room -= now.len() as u32;
            self.offset += now.len() as u32;
            rest = later;
        }
    }

    fn end(&mut self) {
        if let Some((write, _)) = self.open.take() {
            self.send.push(write);
        }
    }
}
