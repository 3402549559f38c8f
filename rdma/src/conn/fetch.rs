//! Data pulled from the host: fetches, and the RDMA READs they become.
//!
//! A fetch becomes one READ for each of the host's segments it touches (on iWARP a READ has one sink, and everywhere it has one
//! source). READs are issued in the order of the fetches, and no more at a time than both sides agreed to: what is beyond that
//! waits here and not in the send queue, where it would hold up answers.

use std::{collections::VecDeque, sync::Arc};

use nvmf_transport::{Buffer, CommandSlots, ControllerEvent, Error, Misuse, Refused, RequestId};
use nvmf_wire::{Cid, Status};
use smallvec::smallvec;

use super::{
    controller::id,
    memory::{Staging, sge, unknown_memory},
    send::SendQueue,
    slots::{Slot, Slots},
};
use crate::verbs::{ConnId, Keys, Remote, SendOp, SendRequest};

#[derive(Debug)]
pub(super) struct Fetches {
    /// By the name in the work request; never more than there can be READs.
    open: CommandSlots<Fetch>,
    /// The one of them whose READs are not all issued.
    begun: Option<Cid>,
    /// In the order they were asked for.
    waiting: VecDeque<Fetch>,
    /// READs outstanding, and how many may be.
    reads: u32,
    depth: u32,
    max_fetches: u16,
    staging: Arc<Staging>,
}

#[derive(Debug)]
struct Fetch {
    request: RequestId,
    offset: u32,
    buffer: Buffer,
    /// The sink, if the device does not know the buffer.
    copy: Option<Buffer>,
    key: u32,
    /// Bytes for which READs were issued, and READs that have not ended.
    issued: u32,
    reads: u32,
}

impl Fetches {
    pub(super) fn new(depth: u8, max_fetches: u16, staging: Arc<Staging>) -> Self {
        Self {
            // One more: a fetch of several READs whose first have ended holds its name while another one begins.
            open: CommandSlots::new(u16::from(depth).saturating_mul(2).max(2)),
            begun: None,
            waiting: VecDeque::new(),
            reads: 0,
            depth: depth.into(),
            max_fetches,
            staging,
        }
    }

    /// Takes a fetch; [`issue`](Self::issue) sends it.
    pub(super) fn ask(
        &mut self,
        request: RequestId,
        slot: &mut Slot,
        offset: u32,
        into: Buffer,
    ) -> Result<(), Refused<Buffer>> {
        if slot.fetches >= self.max_fetches {
            return Err(Refused::new(into, Misuse::TooManyFetches));
        }
        let end = u64::from(offset) + into.len() as u64;
        let all = u64::from(slot.remote.len);
        let aligned = into.len().is_multiple_of(4) || end == all;
        if into.is_empty() || offset != slot.fetched || end > all || !aligned {
            return Err(Refused::new(into, Misuse::DataLength));
        }
        slot.fetched = end as u32;
        slot.fetches += 1;
        self.waiting.push_back(Fetch {
            request,
            offset,
            buffer: into,
            copy: None,
            key: 0,
            issued: 0,
            reads: 0,
        });
        Ok(())
    }

    /// Issues READs for as many fetches as may be.
    // spec: RDMA-DAT-01, RDMA-DAT-02, RDMA-IW-02
    pub(super) fn issue(
        &mut self,
        slots: &mut Slots,
        send: &mut SendQueue,
        conn: ConnId,
        keys: &mut impl Keys,
    ) -> Result<(), Error> {
        while self.reads < self.depth {
            if let Some(name) = self.begun {
                let next = self.open.get_mut(name).and_then(|fetch| {
                    let slot = slots.get_mut(fetch.request)?;
                    fetch.next_read(name.0, slot)
                });
                match next {
                    Some(read) => {
                        send.push(read);
                        self.reads += 1;
                    }
                    None => self.begun = None,
                }
                continue;
            }
            let Some(fetch) = self.waiting.front_mut() else { return Ok(()) };
            match keys.local_key(conn, fetch.buffer.region()) {
                Some(key) => fetch.key = key,
                None => {
                    let copy = self.staging.take(fetch.buffer.len())?;
                    fetch.key = keys.local_key(conn, copy.region()).ok_or_else(unknown_memory)?;
                    fetch.copy = Some(copy);
                }
            }
            if self.open.is_full() {
                return Ok(());
            }
            let Some(fetch) = self.waiting.pop_front() else { return Ok(()) };
            match self.open.insert(fetch) {
                Ok(name) => self.begun = Some(name),
                // Not reached: there is room.
                Err(fetch) => {
                    self.waiting.push_front(fetch);
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// A READ ended well.
    pub(super) fn read(&mut self, name: u16, slots: &mut Slots, events: &mut Vec<ControllerEvent>) {
        let cid = Cid(name);
        let Some(fetch) = self.open.get_mut(cid) else { return };
        fetch.reads = fetch.reads.saturating_sub(1);
        self.reads = self.reads.saturating_sub(1);
        if fetch.reads > 0 || (fetch.issued as usize) < fetch.buffer.len() {
            return;
        }
        if let Some(mut fetch) = self.open.remove(cid) {
            if let Some(slot) = slots.get_mut(fetch.request) {
                slot.fetches -= 1;
            }
            if let Some(copy) = fetch.copy.take() {
                fetch.buffer.copy_from_slice(&copy);
            }
            events.push(fetch.ended(Ok(())));
        }
    }

    /// Whether fetches wait for READs to end.
    pub(super) fn is_waiting(&self) -> bool {
        self.begun.is_some() || !self.waiting.is_empty()
    }

    /// Ends all fetches. Only when no READ can write any more.
    pub(super) fn abort(&mut self, events: &mut Vec<ControllerEvent>) {
        let all = self.open.drain().chain(self.waiting.drain(..));
        events.extend(all.map(|fetch| fetch.ended(Err(Status::ABORTED_SQ_DELETION))));
    }
}

impl Fetch {
    /// The READ of the next piece, which counts as issued; `None` when all are.
    fn next_read(&mut self, name: u16, slot: &Slot) -> Option<SendRequest> {
        let total = self.buffer.len() as u32;
        let left = total.checked_sub(self.issued).filter(|&left| left > 0)?;
        let piece = slot.remote.piece(self.offset.checked_add(self.issued)?, left)?;
        let start = self.issued as usize;
        let sink = self.copy.as_ref().unwrap_or(&self.buffer);
        let bytes = sink.get(start..start + piece.len as usize)?;
        let request = SendRequest {
            id: id::read(name),
            op: SendOp::Read(Remote { address: piece.address, key: piece.key }),
            sges: smallvec![sge(bytes, self.key)],
            inline: false,
            signaled: true,
        };
        self.issued += piece.len;
        self.reads += 1;
        Some(request)
    }

    fn ended(self, outcome: Result<(), Status>) -> ControllerEvent {
        ControllerEvent::Fetched { request: self.request, offset: self.offset, data: self.buffer, outcome }
    }
}
