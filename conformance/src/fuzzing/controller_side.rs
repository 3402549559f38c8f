//! The user of a controller's connection: answers and fetches as the choices say, and holds every event to the contract.
//!
//! A command is known by a name that its host put into MPTR; what belongs to it, in either direction, follows from the name.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

use nvmf_tcp::{
    conn::{ControllerConn, ControllerSetup},
    pdu::{ADMIN_IN_CAPSULE, ControllerTerms, Negotiated},
};
use nvmf_transport::{
    ControllerEvent, Gather, ListenerId, Misuse, Pool, QueueKind, QueueSettings, Queues, RequestData,
    RequestId,
};
use nvmf_wire::{Cid, Cqe, DataDirection, Sqe, Status};

use super::{
    Choices,
    driver::{Driven, PATIENCE},
    memory::Counted,
    pattern,
};

/// The most data the harness lets a command have.
pub(super) const TRANSFER_MAX: usize = 48 * 1024;

/// The name of the data that answers the command `name`.
pub(super) fn answer_to(name: u64) -> u64 {
    name ^ 0xa5a5_0000_5a5a_ffff
}

/// An answer that the connection has taken.
#[derive(Clone, Copy, Debug)]
pub(super) struct Answer {
    pub(super) name: u64,
    pub(super) cid: Cid,
    pub(super) cqe: Cqe,
    pub(super) len: usize,
    /// Whether the completion goes with the last of the data.
    pub(super) folded: bool,
}

#[derive(Debug)]
struct Live {
    id: RequestId,
    name: u64,
    cid: Cid,
    room: usize,
    direction: DataDirection,
    fetched: usize,
    fetches: usize,
}

struct Fetching {
    request: RequestId,
    name: u64,
    offset: usize,
    start: *const u8,
    len: usize,
}

pub(super) struct ControllerSide {
    pub(super) driven: Driven<ControllerConn>,
    memory: Counted,
    /// What the connection takes by itself.
    pooled: Counted,
    live: Vec<Live>,
    stale: Vec<RequestId>,
    fetches: Vec<Fetching>,
    /// In the order they were given.
    pub(super) answers: VecDeque<Answer>,
    /// Commands as their host sent them, by name, until they arrive.
    pub(super) sent: HashMap<u64, Sqe>,
    /// Whether `sent` is kept.
    pub(super) host_is_known: bool,
    pub(super) flow_control: bool,
    pub(super) depth: u16,
    /// The largest depth there has been: slots are not taken away.
    reached: usize,
    in_capsule: usize,
    /// The most there has been: a capsule on its way is not cut.
    in_capsule_reached: usize,
    pub(super) closed: bool,
}

impl ControllerSide {
    /// A connection that awaits ICReq, or one that was negotiated by somebody else.
    pub(super) fn new(
        choices: &mut Choices<'_>,
        terms: ControllerTerms,
        negotiated: Option<Negotiated>,
    ) -> Self {
        let memory = Counted::default();
        let pooled = Counted::default();
        let shared: Arc<Counted> = Arc::new(pooled.clone());
        let in_capsule = choices.pick(&[0u32, 16, 4096, 8192, 16_384, 65_536]);
        let buffers = choices.pick(&[256, 256, 256, 2]);
        let setup = ControllerSetup {
            queue: Queues::default().insert(()),
            listener: ListenerId(0),
            in_capsule,
            max_c2h_data: choices.pick(&[4096, 8192, 65_536, 1 << 20]),
            max_fetches: choices.pick(&[1, 2, 16]),
            max_depth: choices.pick(&[128, 2, 32, 33, 1024]),
            small: Arc::new(Pool::new(shared.clone(), ADMIN_IN_CAPSULE as usize, buffers)),
            large: Arc::new(Pool::new(shared, (in_capsule.max(ADMIN_IN_CAPSULE)) as usize, buffers)),
            patience: PATIENCE,
        };
        let depth = setup.max_depth.min(32);
        let conn = match negotiated {
            Some(negotiated) => ControllerConn::negotiated(setup, negotiated),
            None => ControllerConn::new(setup, terms),
        };
        Self {
            driven: Driven::new(conn, choices),
            memory,
            pooled,
            live: Vec::new(),
            stale: Vec::new(),
            fetches: Vec::new(),
            answers: VecDeque::new(),
            sent: HashMap::new(),
            host_is_known: true,
            flow_control: true,
            depth,
            reached: depth.into(),
            in_capsule: ADMIN_IN_CAPSULE as usize,
            in_capsule_reached: ADMIN_IN_CAPSULE as usize,
            closed: false,
        }
    }

    /// In-capsule data that a host may send now.
    pub(super) fn in_capsule(&self) -> usize {
        self.in_capsule
    }

    pub(super) fn configure(&mut self, settings: QueueSettings) {
        let setup = self.driven.conn.setup();
        let right = (2..=setup.max_depth).contains(&settings.depth);
        let io = setup.in_capsule as usize;
        match self.driven.conn.configure(&settings) {
            Ok(()) => {
                assert!(right, "configured with depth {}", settings.depth);
                self.flow_control = settings.sq_flow_control;
                self.depth = settings.depth;
                self.reached = self.reached.max(settings.depth.into());
                self.in_capsule =
                    if settings.kind == QueueKind::Admin { ADMIN_IN_CAPSULE as usize } else { io };
                self.in_capsule_reached = self.in_capsule_reached.max(self.in_capsule);
            }
            Err(why) => assert!(!right && why == Misuse::Parameter, "{why}"),
        }
    }

    /// Answers a request. A `tame` answer is one the contract allows.
    pub(super) fn respond(&mut self, choices: &mut Choices<'_>, tame: bool) {
        let Some(live) = self.choose(choices, tame) else { return };
        let (id, name, cid) = (live.id, live.name, live.cid);
        let room = if live.direction == DataDirection::ControllerToHost { live.room } else { 0 };
        let idle = live.fetches == 0;
        let most = if tame { room } else { room + 8 };
        let status =
            choices.pick(&[Status::SUCCESS, Status::SUCCESS, Status::SUCCESS, Status::INTERNAL_ERROR]);
        let len = if tame && status.is_success() && choices.yes() { room } else { choices.length(most) };
        let cqe = Cqe::error(Cid(choices.u16()), status).with_u64(choices.pick(&[0, 0, 0, 1]));
        let data = self.gather(choices, name, len);
        match self.driven.conn.respond(id, cqe, data) {
            Ok(()) => {
                assert!(
                    self.driven.open() && idle && len <= room,
                    "an answer that the contract forbids was taken"
                );
                let folded = !self.flow_control && len > 0 && status.is_success() && cqe.u64() == 0;
                self.answers.push_back(Answer { name, cid, cqe, len, folded });
                self.live.retain(|live| live.id != id);
                self.stale.push(id);
            }
            Err(refused) => {
                assert_eq!(refused.given_back.len(), len, "not all came back");
                assert!(!self.driven.open() || !idle || len > room, "refused though right: {}", refused.why);
            }
        }
    }

    /// A tame choice is a request that can be answered.
    fn choose(&self, choices: &mut Choices<'_>, tame: bool) -> Option<&Live> {
        if self.live.is_empty() {
            return None;
        }
        let first = choices.below(self.live.len());
        let order = self.live[first..].iter().chain(&self.live[..first]);
        order.into_iter().find(|live| !tame || live.fetches == 0)
    }

    fn gather(&self, choices: &mut Choices<'_>, name: u64, len: usize) -> Gather {
        let mut at = 0;
        let mut gather = Gather::new();
        while at < len {
            let part = if choices.yes() { 1 + choices.below(len - at) } else { len - at };
            let mut buffer = self.memory.buffer(part);
            pattern::fill(answer_to(name), at, &mut buffer);
            let view = buffer.freeze();
            gather.push(view.slice(0..part / 2));
            gather.push(view.slice(part / 2..part));
            at += part;
        }
        gather
    }

    /// Asks for data of a request. A `tame` fetch is one the contract allows.
    pub(super) fn fetch(&mut self, choices: &mut Choices<'_>, tame: bool) {
        let most = usize::from(self.driven.conn.setup().max_fetches);
        let wants = |live: &Live| {
            live.direction == DataDirection::HostToController
                && live.fetched < live.room
                && live.fetches < most
        };
        let candidates: Vec<usize> =
            (0..self.live.len()).filter(|&at| !tame || wants(&self.live[at])).collect();
        if candidates.is_empty() {
            return;
        }
        let live = &mut self.live[choices.pick(&candidates)];
        let left = live.room.saturating_sub(live.fetched).min(TRANSFER_MAX);
        let mut offset = live.fetched;
        let mut len = if choices.yes() { left } else { choices.length(left) };
        if tame {
            // Pieces are whole dwords, but for the last.
            len = if len == 0 || len >= left { left } else { (len & !3).max(4).min(left) };
        } else if choices.once_in(3) {
            offset = choices.length(live.room.min(TRANSFER_MAX) + 8);
            len = choices.length(TRANSFER_MAX);
        }
        let right = live.direction == DataDirection::HostToController
            && offset == live.fetched
            && len > 0
            && offset + len <= live.room
            && (len.is_multiple_of(4) || offset + len == live.room)
            && live.fetches < most;
        let buffer = self.memory.buffer(len);
        let start = buffer.as_ptr();
        match self.driven.conn.fetch(live.id, offset as u32, buffer) {
            Ok(()) => {
                assert!(right && self.driven.open(), "a fetch that the contract forbids was taken");
                live.fetched += len;
                live.fetches += 1;
                self.fetches.push(Fetching { request: live.id, name: live.name, offset, start, len });
            }
            Err(refused) => {
                assert_eq!((refused.given_back.as_ptr(), refused.given_back.len()), (start, len));
                assert!(!right || !self.driven.open(), "refused though right: {}", refused.why);
            }
        }
    }

    /// Names a request that has ended: nothing may come of it.
    pub(super) fn abuse(&mut self, choices: &mut Choices<'_>) {
        if self.stale.is_empty() {
            return;
        }
        let id = choices.pick(&self.stale);
        let refused =
            self.driven.conn.respond(id, Cqe::success(Cid(0)), Gather::new()).expect_err("answered twice");
        assert_eq!(refused.why, Misuse::UnknownRequest);
        let refused =
            self.driven.conn.fetch(id, 0, self.memory.buffer(8)).expect_err("fetched after the answer");
        assert_eq!((refused.why, refused.given_back.len()), (Misuse::UnknownRequest, 8));
    }

    /// Looks at what the connection reported. `sure`: what gets through is what its host meant.
    pub(super) fn look(&mut self, sure: bool) {
        for event in std::mem::take(&mut self.driven.events) {
            assert!(!self.closed, "{event:?} after Closed");
            match event {
                ControllerEvent::Command { request, sqe, data } => self.command(request, sqe, data, sure),
                ControllerEvent::Fetched { request, offset, data, outcome } => {
                    let at = self
                        .fetches
                        .iter()
                        .position(|fetch| fetch.request == request && fetch.offset == offset as usize)
                        .expect("a fetch that was never asked for, or that ended before");
                    let fetch = self.fetches.swap_remove(at);
                    assert_eq!(
                        (data.as_ptr(), data.len()),
                        (fetch.start, fetch.len),
                        "another buffer came back"
                    );
                    if let Some(live) = self.live.iter_mut().find(|live| live.id == request) {
                        live.fetches -= 1;
                    }
                    if outcome.is_ok() && sure {
                        assert_eq!(
                            pattern::difference(fetch.name, fetch.offset, &data),
                            None,
                            "wrong data fetched"
                        );
                    }
                }
                ControllerEvent::Closed { .. } => {
                    assert!(self.fetches.is_empty(), "closed before all fetches ended");
                    self.closed = true;
                }
                other => panic!("{other:?} comes of a connection"),
            }
        }
        // One more may be there whose data is still arriving.
        let more = self.driven.conn.outstanding().checked_sub(self.live.len());
        assert!(matches!(more, Some(0 | 1)), "commands were lost or doubled");
        assert!(self.live.len() <= self.reached, "more commands than the queue has entries");
        assert!(self.closed || !self.driven.finished());
        let setup = self.driven.conn.setup();
        let most = setup.small.buffer_size() + setup.large.buffer_size();
        assert!(
            self.pooled.live() <= most * self.reached.min(setup.small.capacity()),
            "more memory than promised"
        );
    }

    fn command(&mut self, id: RequestId, sqe: Sqe, data: Result<RequestData, Status>, sure: bool) {
        assert!(
            self.live.iter().all(|live| live.id != id) && !self.stale.contains(&id),
            "a name is used again"
        );
        let name = sqe.mptr.get();
        if sure && self.host_is_known {
            assert_eq!(
                self.sent.remove(&name),
                Some(sqe),
                "another command than was sent, or the same one twice"
            );
        }
        let mut room = 0;
        match data {
            Ok(RequestData::Remote { len }) => room = len as usize,
            Ok(RequestData::InCapsule(buffer)) => {
                let most = self.in_capsule_reached;
                assert!(!buffer.is_empty() && buffer.len() <= most, "{} bytes in a capsule", buffer.len());
                if sure {
                    assert_eq!(pattern::difference(name, 0, &buffer), None, "wrong data in a capsule");
                }
            }
            Ok(RequestData::None) => {}
            Err(status) => assert!(!status.is_success(), "an error that is none"),
        }
        let direction = sqe.data_direction();
        self.live.push(Live { id, name, cid: sqe.cid(), room, direction, fetched: 0, fetches: 0 });
    }

    /// Commands that wait for an answer.
    pub(super) fn waiting(&self) -> usize {
        self.live.len()
    }

    /// Fetches that have not ended.
    pub(super) fn fetching(&self) -> usize {
        self.fetches.len()
    }

    /// Drops everything; no byte may stay allocated.
    pub(super) fn end(self) {
        let Self { driven, memory, pooled, .. } = self;
        drop(driven);
        assert_eq!((memory.live(), pooled.live()), (0, 0), "buffers did not come back");
    }
}
