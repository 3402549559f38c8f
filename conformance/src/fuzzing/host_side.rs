//! The user of a host's connection: submits as the choices say, and holds every event to the contract.
//!
//! Every command has a name, which goes into MPTR and decides its data. Its buffer lies between two guards of the same
//! allocation, so that a byte beside it is seen.

use nvmf_tcp::{
    conn::{HostConn, HostSetup},
    pdu::{HostTerms, Negotiated},
};
use nvmf_transport::{Buffer, Command, Data, HostEvent, Misuse, QueueKind, QueueSettings, Queues};
use nvmf_wire::{Cid, Cqe, Sqe, Status, zerocopy::little_endian::U64};

use super::{
    Choices,
    controller_side::{TRANSFER_MAX, answer_to},
    driver::{Driven, PATIENCE},
    memory::Counted,
    pattern,
};

/// Bytes before and behind every buffer.
const GUARD: usize = 64;
const UNTOUCHED: u8 = 0xc3;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    None,
    ToController,
    FromController,
}

struct Sent {
    name: u64,
    cid: Cid,
    kind: Kind,
    start: *const u8,
    len: usize,
    before: Buffer,
    behind: Buffer,
}

/// How a command ended, for whoever knows how it should have.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ended {
    pub(super) name: u64,
    pub(super) cqe: Cqe,
    pub(super) transferred: usize,
    pub(super) sqhd_valid: bool,
}

pub(super) struct HostSide {
    pub(super) driven: Driven<HostConn>,
    memory: Counted,
    sent: Vec<Sent>,
    names: u64,
    pub(super) room: usize,
    pub(super) flow_control: bool,
    /// Completions that have not been looked at by the body.
    pub(super) ended: Vec<Ended>,
    pub(super) aborted: usize,
    pub(super) closed: bool,
}

impl HostSide {
    /// A connection that has asked for `terms`, or one that was negotiated by somebody else.
    pub(super) fn new(
        choices: &mut Choices<'_>,
        terms: HostTerms,
        negotiated: Option<Negotiated>,
        depth: u16,
    ) -> Self {
        let setup = HostSetup {
            queue: Queues::default().insert(()),
            depth,
            in_capsule: choices.pick(&[0, 16, 4096, 8192, 16_384, 65_536]),
            max_transfer: TRANSFER_MAX as u32,
            patience: PATIENCE,
        };
        Self::with(choices, setup, terms, negotiated)
    }

    pub(super) fn with(
        choices: &mut Choices<'_>,
        setup: HostSetup,
        terms: HostTerms,
        negotiated: Option<Negotiated>,
    ) -> Self {
        let conn = match negotiated {
            Some(negotiated) => HostConn::negotiated(setup, negotiated),
            None => {
                let mut conn = HostConn::new(setup);
                conn.start(terms);
                conn
            }
        };
        Self {
            driven: Driven::new(conn, choices),
            memory: Counted::default(),
            sent: Vec::new(),
            names: 0,
            room: usize::from(setup.depth.max(2)) - 1,
            flow_control: true,
            ended: Vec::new(),
            aborted: 0,
            closed: false,
        }
    }

    pub(super) fn outstanding(&self) -> usize {
        self.sent.len()
    }

    pub(super) fn configure(&mut self, settings: QueueSettings) {
        let right = (2..=self.driven.conn.setup().depth.max(2)).contains(&settings.depth);
        match self.driven.conn.configure(&settings) {
            Ok(()) => {
                assert!(right, "configured with depth {}", settings.depth);
                self.flow_control = settings.sq_flow_control;
                self.room = usize::from(settings.depth) - usize::from(settings.sq_flow_control);
            }
            Err(why) => assert!(!right && why == Misuse::Parameter, "{why}"),
        }
    }

    /// Submits a command of some kind and length; whether it was taken.
    pub(super) fn submit(&mut self, choices: &mut Choices<'_>) -> bool {
        let most = TRANSFER_MAX + if choices.once_in(16) { 8 } else { 0 };
        match choices.pick(&[Kind::ToController, Kind::FromController, Kind::None]) {
            Kind::None => self.submit_as(Kind::None, 0, Sqe::with_opcode(0)),
            Kind::ToController => {
                self.submit_as(Kind::ToController, choices.length(most), Sqe::with_opcode(1))
            }
            Kind::FromController => {
                self.submit_as(Kind::FromController, choices.length(most), Sqe::with_opcode(2))
            }
        }
    }

    pub(super) fn submit_as(&mut self, kind: Kind, len: usize, mut sqe: Sqe) -> bool {
        self.names += 1;
        let name = self.names;
        sqe.mptr = U64::new(name);
        let mut before = self.memory.buffer(GUARD + len + GUARD);
        before.fill(UNTOUCHED);
        let mut buffer = before.split_off(GUARD);
        let behind = buffer.split_off(len);
        let start = buffer.as_ptr();
        let data = match kind {
            Kind::None => Data::None,
            Kind::ToController => {
                pattern::fill(name, 0, &mut buffer);
                Data::ToController(buffer)
            }
            Kind::FromController => Data::FromController(buffer),
        };
        let ready = self.driven.open() && self.driven.conn.negotiated_terms().is_some();
        let right = ready && self.sent.len() < self.room && len <= TRANSFER_MAX;
        match self.driven.conn.submit(Command { sqe, data, cookie: name }) {
            Ok(cid) => {
                assert!(right, "a command that the contract forbids was taken");
                assert!(self.sent.iter().all(|sent| sent.cid != cid), "a CID is used twice");
                self.sent.push(Sent { name, cid, kind, start, len, before, behind });
                true
            }
            Err(refused) => {
                assert!(!right, "refused though right: {}", refused.why);
                assert_eq!(refused.given_back.cookie, name);
                same_buffer(refused.given_back.data, kind, start, len);
                false
            }
        }
    }

    /// Looks at what the connection reported. `sure`: what gets through is what the controller meant.
    pub(super) fn look(&mut self, sure: bool) {
        for event in std::mem::take(&mut self.driven.events) {
            assert!(!self.closed, "{event:?} after Closed");
            match event {
                HostEvent::Completed { cookie, cqe, sqhd_valid, transferred, data, .. } => {
                    let sent = self.take(cookie);
                    let transferred = transferred as usize;
                    assert_eq!(cqe.cid(), sent.cid, "another command's completion");
                    assert!(
                        transferred <= sent.len && (transferred == 0 || sent.kind == Kind::FromController)
                    );
                    let buffer = sent.back(data);
                    if sure && cqe.status().is_success() && transferred > 0 {
                        let arrived =
                            buffer.as_deref().and_then(|bytes| bytes.get(..transferred)).expect("a buffer");
                        let wrong = pattern::difference(answer_to(sent.name), 0, arrived);
                        assert_eq!(wrong, None, "wrong data with a success");
                    }
                    self.ended.push(Ended { name: sent.name, cqe, transferred, sqhd_valid });
                }
                HostEvent::Aborted { cookie, data, .. } => {
                    self.take(cookie).back(data);
                    self.aborted += 1;
                    assert!(self.driven.finished(), "aborted on a queue that lives");
                }
                HostEvent::Closed { .. } => {
                    assert!(self.sent.is_empty(), "closed before all commands ended");
                    self.closed = true;
                }
                other => panic!("{other:?} comes of a connection"),
            }
        }
        assert_eq!(self.driven.conn.outstanding(), self.sent.len(), "commands were lost or doubled");
        assert!(self.closed || !self.driven.finished());
    }

    fn take(&mut self, name: u64) -> Sent {
        let at = self.sent.iter().position(|sent| sent.name == name);
        self.sent.swap_remove(at.expect("a command that was never submitted, or that ended before"))
    }

    /// Drops everything; no byte may stay allocated.
    pub(super) fn end(self) {
        let Self { driven, memory, .. } = self;
        drop(driven);
        assert_eq!(memory.live(), 0, "buffers did not come back");
    }
}

impl Sent {
    /// Checks that this is the very buffer, with nothing written beside it.
    fn back(&self, data: Data) -> Option<Buffer> {
        let guarded = self.before.iter().chain(self.behind.iter()).all(|&byte| byte == UNTOUCHED);
        assert!(guarded, "written beside the buffer");
        let buffer = same_buffer(data, self.kind, self.start, self.len);
        if let (Kind::ToController, Some(buffer)) = (self.kind, &buffer) {
            assert_eq!(
                pattern::difference(self.name, 0, buffer),
                None,
                "a buffer that is only read was written"
            );
        }
        buffer
    }
}

fn same_buffer(data: Data, kind: Kind, start: *const u8, len: usize) -> Option<Buffer> {
    let found = match &data {
        Data::None => Kind::None,
        Data::ToController(_) => Kind::ToController,
        Data::FromController(_) => Kind::FromController,
    };
    assert_eq!(found, kind, "data of another kind came back");
    let buffer = data.into_buffer();
    if let Some(buffer) = &buffer {
        assert_eq!((buffer.as_ptr(), buffer.len()), (start, len), "another buffer came back");
    }
    buffer
}

/// The status a transport gives to data it found corrupt.
pub(super) fn is_digest_error(status: Status) -> bool {
    status.is(Status::TRANSIENT_TRANSPORT_ERROR)
}

/// Settings of a queue.
pub(super) fn settings(choices: &mut Choices<'_>, depth: u16) -> QueueSettings {
    let kind = choices.pick(&[QueueKind::Io(1), QueueKind::Admin]);
    QueueSettings { kind, depth, sq_flow_control: choices.yes() }
}
