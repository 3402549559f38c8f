//! Data pulled from the host: fetches, the R2Ts they become, and the H2CData that answer.
//!
//! A fetch is one R2T. It waits while its command has as many R2Ts outstanding as the host takes, or while the queue has no
//! transfer tag left. The tag names slot and generation, so data for a transfer that has ended is seen as such.

use std::{collections::VecDeque, num::NonZeroU32};

use nvmf_transport::{Buffer, CommandSlots, ControllerEvent, Misuse, Refused, RequestId, View};
use nvmf_wire::{Cid, Status};

use super::{link::Link, slots::Slot};
use crate::pdu::{H2cData, Violation};

/// Where the commands are that fetches belong to.
pub(crate) trait Requests {
    fn slot(&mut self, request: RequestId) -> Option<&mut Slot>;
}

#[derive(Debug)]
pub(crate) struct Fetches {
    /// By transfer tag.
    open: CommandSlots<Fetch>,
    /// In the order they were asked for.
    waiting: VecDeque<Fetch>,
    /// R2Ts that one command may have outstanding.
    max_r2t: u32,
    max_fetches: u16,
    tags: u16,
}

#[derive(Debug)]
struct Fetch {
    request: RequestId,
    cid: Cid,
    /// R2TO.
    offset: u32,
    buffer: Buffer,
    received: usize,
    /// A data digest was wrong.
    corrupt: bool,
}

impl Fetches {
    pub(crate) fn new(tags: u16, max_fetches: u16) -> Self {
        Self { open: CommandSlots::new(tags), waiting: VecDeque::new(), max_r2t: 1, max_fetches, tags }
    }

    /// Gives a larger queue more transfer tags. Tags that are open stay.
    pub(crate) fn resize(&mut self, tags: u16) {
        if tags > self.tags && self.open.is_empty() {
            (self.open, self.tags) = (CommandSlots::new(tags), tags);
        }
    }

    pub(crate) fn limit(&mut self, max_r2t: NonZeroU32) {
        self.max_r2t = max_r2t.get();
    }

    /// Takes a fetch; [`issue`](Self::issue) sends it.
    pub(crate) fn ask(
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
        // spec: TCP-R2T-03, TCP-R2T-06, TCP-R2T-12
        let aligned = into.len().is_multiple_of(4) || end == u64::from(slot.remote);
        if into.is_empty() || offset != slot.fetched || end > u64::from(slot.remote) || !aligned {
            return Err(Refused::new(into, Misuse::DataLength));
        }
        slot.fetched = end as u32;
        slot.fetches += 1;
        self.waiting.push_back(Fetch {
            request,
            cid: slot.cid,
            offset,
            buffer: into,
            received: 0,
            corrupt: false,
        });
        Ok(())
    }

    /// Sends the R2Ts of all fetches that need not wait any longer.
    pub(crate) fn issue(&mut self, requests: &mut impl Requests, link: &mut Link<View>) {
        let mut at = 0;
        while at < self.waiting.len() && !self.open.is_full() {
            let Some(slot) = self.waiting.get(at).and_then(|fetch| requests.slot(fetch.request)) else {
                return;
            };
            // spec: TCP-R2T-07, TCP-R2T-15
            if slot.r2ts >= self.max_r2t {
                at += 1;
                continue;
            }
            let Some(fetch) = self.waiting.remove(at) else {
                return;
            };
            slot.r2ts += 1;
            let (cid, offset, len) = (fetch.cid, fetch.offset, fetch.buffer.len() as u32);
            // spec: TCP-R2T-16
            if let Ok(tag) = self.open.insert(fetch) {
                // spec: TCP-R2T-01
                let sender = link.sender;
                link.send.header(|out| sender.r2t(cid.0, tag.0, offset, len, out));
            }
        }
    }

    /// An H2CData begins: where in its fetch's buffer the data belongs, and how much of it.
    #[inline]
    pub(crate) fn data_begins(&mut self, pdu: &H2cData) -> Result<(usize, usize), Violation> {
        let (ttag, cccid) = (pdu.ttag.get(), pdu.cccid.get());
        // spec: TCP-H2C-10
        let fetch = self.open.get(Cid(ttag)).ok_or(Violation::UnsolicitedData { ttag })?;
        // spec: TCP-H2C-12
        if fetch.cid.0 != cccid {
            return Err(Violation::TransferCommand { expected: fetch.cid.0, found: cccid });
        }
        // spec: TCP-H2C-06
        let (at, len) = (pdu.datao.get(), pdu.datal.get());
        let end = u64::from(at) + u64::from(len);
        let limit = u64::from(fetch.offset) + fetch.buffer.len() as u64;
        if end > limit || at < fetch.offset {
            return Err(Violation::DataBeyondTransfer { end, limit });
        }
        // spec: TCP-H2C-11
        let expected = fetch.offset + fetch.received as u32;
        if at != expected {
            return Err(Violation::DataOutOfOrder { expected, found: at });
        }
        // spec: TCP-H2C-14
        match (pdu.is_last(), end == limit) {
            (true, false) => Err(Violation::LastTooEarly),
            (false, true) => Err(Violation::LastMissing),
            _ => Ok((fetch.received, len as usize)),
        }
    }

    /// The buffer of an open transfer.
    #[inline]
    pub(crate) fn buffer(&mut self, tag: u16) -> Option<&mut Buffer> {
        self.open.get_mut(Cid(tag)).map(|fetch| &mut fetch.buffer)
    }

    /// `len` bytes of a transfer are complete. Returns whether the transfer is.
    pub(crate) fn data_ends(
        &mut self,
        tag: u16,
        len: usize,
        intact: bool,
        requests: &mut impl Requests,
        events: &mut Vec<ControllerEvent>,
    ) -> bool {
        let Some(fetch) = self.open.get_mut(Cid(tag)) else {
            return false;
        };
        fetch.received += len;
        fetch.corrupt |= !intact;
        if fetch.received < fetch.buffer.len() {
            return false;
        }
        if let Some(fetch) = self.open.remove(Cid(tag)) {
            if let Some(slot) = requests.slot(fetch.request) {
                slot.fetches -= 1;
                slot.r2ts -= 1;
            }
            // spec: TCP-DG-11, TCP-DG-14, TCP-DG-15
            let outcome = if fetch.corrupt { Err(Status::TRANSIENT_TRANSPORT_ERROR) } else { Ok(()) };
            events.push(fetch.ended(outcome));
        }
        !self.waiting.is_empty()
    }

    /// Ends all fetches.
    pub(crate) fn abort(&mut self, events: &mut Vec<ControllerEvent>) {
        let all = self.open.drain().chain(self.waiting.drain(..));
        events.extend(all.map(|fetch| fetch.ended(Err(Status::ABORTED_SQ_DELETION))));
    }
}

impl Fetch {
    fn ended(self, outcome: Result<(), Status>) -> ControllerEvent {
        ControllerEvent::Fetched { request: self.request, offset: self.offset, data: self.buffer, outcome }
    }
}
