//! The controller's end of a connection.
//!
//! A command lives in a slot named by its [`RequestId`] until it is answered. Data that came with it is placed in a pooled
//! buffer; other data is fetched by R2T, one per fetch, into the buffer that the fetch brought, at most MAXR2T of them at a
//! time and in order. An answer is data by reference, then the completion, folded into the last data where that is allowed.
//!
//! How a command's SGL is judged is in [`place`]; the fetches are in `fetch.rs`.

use std::{sync::Arc, time::Instant};

use nvmf_transport::{
    Buffer, Close, CloseReason, ControllerEvent, Error, Gather, ListenerId, Misuse, Pool, QueueId, QueueInfo,
    QueueSettings, Refused, RequestData, RequestId, Stage, View,
};
use nvmf_wire::{Cid, Cqe, DataDirection, Sgl, SglError, Sqe, Status, sqe::Psdt};

use super::{
    fetch::Fetches,
    link::{Life, Link, Patience},
    negotiate::Answer,
    receive::{Flow, Protocol, Receive},
    send::{INLINE, Slices},
};
use crate::{
    digest::Crc32c,
    pdu::{
        ADMIN_IN_CAPSULE, ControllerTerms, DataToHost, H2cData, Header, Incoming, Negotiated, Receiver, Role,
        Violation,
    },
};

/// Commands accepted before Connect has settled the size of the queue.
const DEPTH_BEFORE_CONNECT: u16 = 32;

/// What a controller's connection has to know.
#[derive(Clone, Debug)]
pub struct ControllerSetup {
    /// The queue's name in events.
    pub queue: QueueId,
    /// The listener it came by.
    pub listener: ListenerId,
    /// In-capsule data taken on I/O queues.
    pub in_capsule: u32,
    /// The most data in one C2HData; a multiple of 4.
    pub max_c2h_data: u32,
    /// Fetches of one request that may be outstanding.
    pub max_fetches: u16,
    /// The largest queue.
    pub max_depth: u16,
    /// Where in-capsule data goes, up to [`ADMIN_IN_CAPSULE`] bytes.
    pub small: Arc<Pool>,
    /// Where longer in-capsule data goes.
    pub large: Arc<Pool>,
    /// How long to wait for what.
    pub patience: Patience,
}

impl ControllerSetup {
    /// The event that says the queue is up.
    pub fn announce(&self, info: Box<QueueInfo>) -> ControllerEvent {
        ControllerEvent::Accepted { queue: self.queue, listener: self.listener, info }
    }
}

/// One queue pair, seen from the controller.
#[derive(Debug)]
pub struct ControllerConn {
    receive: Receive,
    side: Side,
}

#[derive(Debug)]
struct Side {
    setup: ControllerSetup,
    terms: ControllerTerms,
    answer: Answer,
    link: Link<View>,
    slots: Slots,
    fetches: Fetches,
    /// Whether a success may be folded into the last data.
    fold: bool,
    /// In-capsule data taken of a command that is not a Fabrics command.
    in_capsule: u32,
    current: Current,
    fresh: bool,
}

/// What the data of the current PDU belongs to.
#[derive(Debug)]
enum Current {
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

/// The commands that are outstanding.
#[derive(Debug)]
struct Slots {
    entries: Vec<Slot>,
    free: Vec<u16>,
    /// One bit for every CID: whether a command with it is outstanding.
    cids: Box<[u64; 1024]>,
    /// Answers that are not wholly sent. The host cannot know of them, so their commands still count.
    unsent: u32,
    depth: u32,
}

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Slot {
    generation: u32,
    live: bool,
    /// Whether its CID was taken already; the bit then belongs to the other command.
    conflict: bool,
    pub(super) cid: Cid,
    /// Bytes that can be fetched, or answered with.
    pub(super) remote: u32,
    direction: Direction,
    /// Where the next fetch must start.
    pub(super) fetched: u32,
    pub(super) fetches: u16,
    pub(super) r2ts: u32,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Direction {
    #[default]
    None,
    ToController,
    ToHost,
}

impl ControllerConn {
    /// A connection on which ICReq is awaited.
    pub fn new(setup: ControllerSetup, terms: ControllerTerms) -> Self {
        let depth = DEPTH_BEFORE_CONNECT.min(setup.max_depth);
        let side = Side {
            terms,
            answer: Answer::Awaited,
            link: Link::new(Role::Controller, setup.patience),
            slots: Slots::new(depth),
            fetches: Fetches::new(depth, setup.max_fetches),
            fold: false,
            in_capsule: ADMIN_IN_CAPSULE,
            current: Current::Nothing,
            fresh: false,
            setup,
        };
        Self { receive: Receive::new(), side }
    }

    /// A connection that somebody else has negotiated.
    pub fn negotiated(setup: ControllerSetup, negotiated: Negotiated) -> Self {
        let mut conn = Self::new(setup, ControllerTerms::default());
        conn.side.establish(negotiated);
        conn
    }

    /// What was negotiated, once it is.
    pub fn negotiated_terms(&self) -> Option<&Negotiated> {
        self.side.link.negotiated.as_ref()
    }

    /// Whether negotiation ended since this was last asked.
    pub fn take_established(&mut self) -> bool {
        std::mem::take(&mut self.side.fresh)
    }

    /// What Connect settled.
    pub fn configure(&mut self, settings: &QueueSettings) -> Result<(), Misuse> {
        self.side.configure(settings)
    }

    /// Pulls data of a request into `into`.
    pub fn fetch(&mut self, request: RequestId, offset: u32, into: Buffer) -> Result<(), Refused<Buffer>> {
        let Side { link, slots, fetches, .. } = &mut self.side;
        let Some(slot) = slots.get_mut(request) else {
            return Err(Refused::new(into, Misuse::UnknownRequest));
        };
        if link.life != Life::Open {
            return Err(Refused::new(into, Misuse::Closing));
        }
        if slot.direction != Direction::ToController {
            return Err(Refused::new(into, Misuse::DataLength));
        }
        fetches.ask(request, slot, offset, into)?;
        fetches.issue(slots, link);
        Ok(())
    }

    /// Answers a request: data, then the completion.
    #[inline]
    pub fn respond(&mut self, request: RequestId, cqe: Cqe, data: Gather) -> Result<(), Refused<Gather>> {
        self.side.respond(request, cqe, data)
    }

    /// Commands received and not answered.
    pub fn outstanding(&self) -> usize {
        self.side.slots.live()
    }

    /// Where the next bytes from the peer belong, in order; the same `scratch`, unchanged, goes into
    /// [`received`](Self::received).
    #[inline]
    pub fn targets<'a>(&'a mut self, scratch: &'a mut [u8]) -> [&'a mut [u8]; 2] {
        if self.side.link.life != Life::Open {
            return [&mut [], scratch];
        }
        let side = &mut self.side;
        self.receive.targets(|| side.sink(), scratch)
    }

    /// `n` bytes arrived in the targets.
    #[inline]
    pub fn received(&mut self, n: usize, scratch: &[u8], events: &mut Vec<ControllerEvent>) {
        // spec: TCP-ERR-01
        if self.side.link.life != Life::Open {
            return;
        }
        let mut pass = Pass { side: &mut self.side, events };
        if let Err(fault) = self.receive.received(n, scratch, &mut pass) {
            // spec: TCP-ERR-02
            self.side.link.violated(&fault);
        }
    }

    /// The peer closed its direction.
    pub fn peer_closed(&mut self) {
        self.side.link.peer_closed(self.receive.mid_pdu());
    }

    /// The byte stream failed.
    pub fn failed(&mut self, error: Error) {
        self.side.link.over(CloseReason::Failed(error));
    }

    /// Whether bytes wait to be sent.
    #[inline]
    pub fn has_output(&self) -> bool {
        !self.side.link.send.is_empty()
    }

    /// What one system call should send, and how many bytes that is.
    #[inline]
    pub fn gather<'a>(&'a self, slices: &mut Slices<'a>) -> usize {
        self.side.link.send.gather(|view, _| view, slices)
    }

    /// `n` more bytes have left.
    #[inline]
    pub fn wrote(&mut self, n: usize, _: &mut Vec<ControllerEvent>) {
        let side = &mut self.side;
        side.slots.unsent -= side.link.send.wrote(n, drop);
        side.link.note_output();
        // spec: TCP-IC-21
        if let Answer::Leaving(negotiated) = side.answer
            && side.link.send.is_empty()
            && side.link.life == Life::Open
        {
            side.establish(negotiated);
        }
    }

    /// The socket takes nothing at the moment.
    pub fn blocked(&mut self) {
        self.side.link.note_blocked();
    }

    /// What to do with the socket.
    #[inline]
    pub fn life(&self) -> Life {
        self.side.link.life
    }

    /// When [`expire`](Self::expire) wants to be called.
    #[inline]
    pub fn deadline(&mut self, now: Instant) -> Option<Instant> {
        self.side.link.deadline(now)
    }

    /// How far the connection has come.
    pub fn stage(&self) -> Stage {
        self.side.link.stage()
    }

    /// Ends what has been waited for long enough.
    pub fn expire(&mut self, now: Instant) {
        // spec: TCP-IC-24
        self.side.link.expire(now, self.receive.mid_pdu());
    }

    /// Ends the queue.
    pub fn close(&mut self, how: Close) {
        match how {
            Close::AfterFlush if self.side.link.negotiated.is_some() => {
                self.side.link.drain(CloseReason::Requested);
            }
            _ => self.side.link.over(CloseReason::Requested),
        }
    }

    /// Gives back everything that is outstanding, then the end.
    pub fn finish(&mut self, events: &mut Vec<ControllerEvent>) {
        let Side { setup, fetches, link, .. } = &mut self.side;
        // spec: TCP-QUE-10
        fetches.abort(events);
        events.push(ControllerEvent::Closed { queue: setup.queue, reason: link.take_reason() });
    }

    /// What the connection was set up with.
    pub fn setup(&self) -> &ControllerSetup {
        &self.side.setup
    }
}

impl Side {
    fn establish(&mut self, negotiated: Negotiated) {
        let receiver = negotiated.controller_receiver(ADMIN_IN_CAPSULE);
        self.link.establish(negotiated, receiver);
        self.fetches.limit(negotiated.max_r2t);
        self.answer = Answer::Sent;
        self.fresh = true;
    }

    fn configure(&mut self, settings: &QueueSettings) -> Result<(), Misuse> {
        if settings.depth < 2 || settings.depth > self.setup.max_depth {
            return Err(Misuse::Parameter);
        }
        self.slots.resize(settings.depth);
        self.fetches.resize(settings.depth);
        self.fold = !settings.sq_flow_control;
        // spec: TCP-CMD-02, TCP-CMD-03
        self.in_capsule = match settings.kind {
            nvmf_transport::QueueKind::Admin => ADMIN_IN_CAPSULE,
            nvmf_transport::QueueKind::Io(_) => self.setup.in_capsule,
        };
        self.link.receiver.max_in_capsule = self.in_capsule.max(ADMIN_IN_CAPSULE);
        Ok(())
    }

    #[inline]
    fn respond(&mut self, request: RequestId, cqe: Cqe, data: Gather) -> Result<(), Refused<Gather>> {
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
        let mut views = data.into_iter();
        let mut rest: Option<View> = None;
        let mut offset = 0;
        while offset < len {
            let length = (len - offset).min(self.setup.max_c2h_data);
            let last = offset + length == len;
            let fields = DataToHost { cccid: cid.0, offset, length, last, success: success && last };
            send.header(|out| sender.c2h_data(&fields, out));
            let mut crc = sender.digests.data.then(Crc32c::new);
            let mut missing = length as usize;
            while missing > 0 {
                let Some(view) = rest.take().or_else(|| views.next()) else {
                    break;
                };
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
            }
            if let Some(crc) = crc {
                send.digest(crc.finish());
            }
            offset += length;
        }
    }

    /// A command arrives, with `data_len` bytes in its capsule.
    // spec: TCP-QUE-04, TCP-CMD-14
    #[inline]
    fn command(
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
    fn data_begins(&mut self, pdu: &H2cData) -> Result<(), Violation> {
        let (at, len) = self.fetches.data_begins(pdu)?;
        self.current = Current::Fetch { tag: pdu.ttag.get(), at, len };
        Ok(())
    }

    #[inline]
    fn sink(&mut self) -> Option<&mut [u8]> {
        match &mut self.current {
            Current::Nothing | Current::Capsule { data: Err(_), .. } => None,
            Current::Capsule { data: Ok(buffer), .. } => Some(buffer),
            &mut Current::Fetch { tag, at, len } => self.fetches.buffer(tag)?.get_mut(at..at + len),
        }
    }
}

impl Slots {
    fn new(depth: u16) -> Self {
        let mut slots =
            Self { entries: Vec::new(), free: Vec::new(), cids: Box::new([0; 1024]), unsent: 0, depth: 0 };
        slots.resize(depth);
        slots
    }

    /// Sets the size of the queue. Commands that are outstanding keep their slots.
    fn resize(&mut self, depth: u16) {
        self.depth = u32::from(depth);
        let known = self.entries.len();
        if usize::from(depth) > known {
            self.entries.resize(depth.into(), Slot::default());
            self.free.reserve(depth.into());
            self.free.extend((known as u16..depth).rev());
        }
    }

    fn live(&self) -> usize {
        self.entries.len() - self.free.len()
    }

    #[inline]
    pub(super) fn get_mut(&mut self, request: RequestId) -> Option<&mut Slot> {
        self.entries
            .get_mut(usize::from(request.slot))
            .filter(|slot| slot.live && slot.generation == request.generation)
    }

    /// A slot for a command that has arrived.
    #[inline]
    fn take(&mut self, queue: QueueId, cid: Cid) -> Result<RequestId, Violation> {
        // spec: TCP-QUE-09
        let overrun = Violation::QueueOverrun { depth: self.depth };
        if self.live() as u64 + u64::from(self.unsent) >= u64::from(self.depth) {
            return Err(overrun);
        }
        let index = self.free.pop().ok_or(overrun)?;
        let slot = &mut self.entries[usize::from(index)];
        let (word, bit) = (&mut self.cids[usize::from(cid.0 >> 6)], 1u64 << (cid.0 & 63));
        let conflict = *word & bit != 0;
        *word |= bit;
        let generation = slot.generation.wrapping_add(1);
        *slot = Slot { generation, live: true, conflict, cid, ..Slot::default() };
        Ok(RequestId { queue, slot: index, generation })
    }

    /// Ends a command.
    #[inline]
    fn release(&mut self, request: RequestId) {
        let Some(slot) = self.get_mut(request) else { return };
        slot.live = false;
        let (conflict, cid) = (slot.conflict, slot.cid);
        if !conflict {
            self.cids[usize::from(cid.0 >> 6)] &= !(1u64 << (cid.0 & 63));
        }
        self.free.push(request.slot);
    }
}

impl super::fetch::Requests for Slots {
    fn slot(&mut self, request: RequestId) -> Option<&mut Slot> {
        self.get_mut(request)
    }
}

/// Where a command's data is.
#[derive(Clone, Copy, Debug)]
enum Place {
    None,
    InCapsule,
    Remote { len: u32, direction: Direction },
}

/// Holds a command's descriptor against its capsule, which carries `data_len` bytes.
#[inline]
fn place(sqe: &Sqe, data_len: u32, in_capsule: u32) -> Result<Place, Status> {
    // spec: TCP-CMD-13
    if !matches!(sqe.psdt(), Psdt::SGL_METADATA_BUFFER | Psdt::SGL_METADATA_SGL) {
        return Err(Status::INVALID_FIELD);
    }
    match sqe.sgl.parse()? {
        Sgl::Transport { length } => {
            // spec: TCP-CMD-12
            if data_len != 0 {
                return Err(Status::DATA_SGL_LENGTH_INVALID);
            }
            let direction = match sqe.data_direction() {
                DataDirection::ControllerToHost => Direction::ToHost,
                DataDirection::HostToController => Direction::ToController,
                DataDirection::None | DataDirection::Bidirectional => Direction::None,
            };
            Ok(if length == 0 { Place::None } else { Place::Remote { len: length, direction } })
        }
        Sgl::InCapsule { offset, length } => {
            // spec: TCP-CMD-07, TCP-CMD-09
            if offset != 0 {
                return Err(Status::SGL_OFFSET_INVALID);
            }
            // spec: TCP-CMD-12
            let limit = if sqe.is_fabrics() { ADMIN_IN_CAPSULE } else { in_capsule };
            if length != data_len || length > limit.max(in_capsule) {
                return Err(Status::DATA_SGL_LENGTH_INVALID);
            }
            if length > 0 && sqe.data_direction() == DataDirection::ControllerToHost {
                return Err(Status::INVALID_FIELD);
            }
            Ok(if length == 0 { Place::None } else { Place::InCapsule })
        }
        // Commands without data come with a descriptor of any kind, as long as it describes nothing.
        Sgl::DataBlock { length: 0, .. } if data_len == 0 => Ok(Place::None),
        // spec: TCP-CMD-11
        Sgl::Segment { .. } | Sgl::DataBlock { .. } | Sgl::BitBucket { .. } | Sgl::Keyed { .. } => {
            Err(SglError::Type { kind: sqe.sgl.kind().0, subtype: sqe.sgl.subtype().0 }.status())
        }
    }
}

/// The connection while it takes in bytes.
struct Pass<'a> {
    side: &'a mut Side,
    events: &'a mut Vec<ControllerEvent>,
}

impl Protocol for Pass<'_> {
    #[inline]
    fn receiver(&self) -> &Receiver {
        &self.side.link.receiver
    }

    #[inline]
    fn begin(&mut self, header: &Header, pdu: Incoming<'_>) -> Result<Flow, Violation> {
        match pdu {
            Incoming::CapsuleCmd(pdu) => {
                self.side.command(&pdu.sqe, header.layout().data_len(), self.events)?;
            }
            Incoming::H2cData(pdu) => self.side.data_begins(pdu)?,
            Incoming::IcReq(request) => {
                // spec: TCP-IC-04
                if !matches!(self.side.answer, Answer::Awaited) {
                    return Err(Violation::AlreadyInitialized(header.kind()));
                }
                let negotiated = self.side.link.answer(&self.side.terms, request)?;
                self.side.answer = Answer::Leaving(negotiated);
            }
            Incoming::TermReq(request) => {
                // spec: TCP-ERR-11, TCP-ERR-14, TCP-TRM-07
                self.side.link.accused(&request);
                return Ok(Flow::Stop);
            }
            // Not reached: the validator refuses what goes the other way.
            Incoming::IcResp(_) | Incoming::CapsuleResp(_) | Incoming::C2hData(_) | Incoming::R2t(_) => {
                return Ok(Flow::Stop);
            }
        }
        Ok(Flow::Continue)
    }

    #[inline]
    fn sink(&mut self) -> Option<&mut [u8]> {
        self.side.sink()
    }

    #[inline]
    fn end(&mut self, intact: bool) {
        match std::mem::replace(&mut self.side.current, Current::Nothing) {
            Current::Nothing => {}
            Current::Capsule { request, sqe, data } => {
                // spec: TCP-DG-13, TCP-DG-15
                let data = match data {
                    Ok(_) if !intact => Err(Status::TRANSIENT_TRANSPORT_ERROR),
                    data => data.map(RequestData::InCapsule),
                };
                self.events.push(ControllerEvent::Command { request, sqe, data });
            }
            Current::Fetch { tag, len, .. } => {
                let Side { fetches, slots, link, .. } = &mut *self.side;
                if fetches.data_ends(tag, len, intact, slots, self.events) {
                    fetches.issue(slots, link);
                }
            }
        }
    }
}
