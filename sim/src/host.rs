//! The initiator's engine over a [`Network`].

use std::{
    collections::VecDeque,
    net::SocketAddr,
    os::fd::{AsFd, BorrowedFd},
    sync::Arc,
    time::{Duration, Instant},
};

use nvmf_transport::{
    Close, CloseReason, Command, CommandSlots, ConnectOptions, Data, Engine, Error, ErrorKind, HostEngine,
    HostEvent, Limits, Memory, Misuse, Pages, QueueId, QueueInfo, QueueKind, QueueSettings, Queues, Refused,
    Stage, Target, Wake,
};
use nvmf_wire::{Cid, SglDescriptor, Sqe, sqe::Psdt};

use crate::{
    Network,
    message::{ToController, ToHost},
    network::{Dialled, HostEnd},
    pipe::{HangUp, Received},
    transport::NAME,
};

/// How long a closing queue waits for the link to take what was submitted.
const FLUSH: Duration = Duration::from_secs(1);

#[derive(Debug)]
enum State {
    /// Asked for, not yet seen by a poll.
    New,
    /// Nobody listens there; the news is on its way.
    Refused {
        at: Instant,
    },
    /// Dialled, or dialling into the void; waits for the controller to accept.
    Opening {
        deadline: Instant,
    },
    Up,
    /// Ends when the outbox is empty, or at the deadline; at the next poll without one.
    Closing {
        flush: bool,
        deadline: Option<Instant>,
    },
}

#[derive(Debug)]
struct Outstanding {
    cookie: u64,
    data: Data,
}

#[derive(Debug)]
struct Queue {
    state: State,
    target: SocketAddr,
    options: ConnectOptions,
    local: SocketAddr,
    end: Option<HostEnd>,
    limits: Limits,
    settings: Option<QueueSettings>,
    slots: CommandSlots<Outstanding>,
    outbox: VecDeque<ToController>,
}

/// One thread's worth of initiator queues.
pub(crate) struct Host {
    network: Network,
    limits: Limits,
    wake: Wake,
    queues: Queues<Queue>,
    next: Option<Instant>,
}

/// Why a queue ends; what `step` answers when it does.
type Ended = CloseReason;

fn broken(detail: &'static str) -> Ended {
    CloseReason::Failed(Error::new(Stage::Transfer, ErrorKind::Protocol, detail))
}

impl Host {
    pub(crate) fn new(network: Network, limits: Limits) -> Result<Self, Error> {
        Ok(Self { network, limits, wake: Wake::new()?, queues: Queues::default(), next: None })
    }
}

impl Queue {
    /// Commands that may be outstanding (NVMe Base 2.0 §3.3.1.5: a queue of N entries is full at N - 1; NVMe-oF 1.1 §2.4.1:
    /// without flow control there is no head to compare with).
    fn allowed(&self) -> usize {
        let depth = usize::from(self.settings.map_or(self.options.depth, |settings| settings.depth));
        match self.settings {
            Some(QueueSettings { sq_flow_control: false, .. }) => depth,
            _ => depth.saturating_sub(1).max(1),
        }
    }

    fn max_in_capsule(&self) -> usize {
        let bytes = match (self.settings, self.options.kind) {
            (Some(_), QueueKind::Io(_)) => self.options.max_in_capsule.min(self.limits.max_in_capsule.io),
            // The admin queue, and any queue until its Connect command has been answered.
            _ => self.limits.max_in_capsule.admin,
        };
        bytes as usize
    }

    fn command(&self, mut sqe: Sqe, cid: Cid, data: &Data) -> ToController {
        let len = data.len() as u32; // At most `max_transfer`, which is 32 bits wide.
        let in_capsule = match data {
            Data::ToController(buffer) if !buffer.is_empty() && buffer.len() <= self.max_in_capsule() => {
                buffer.to_vec()
            }
            _ => Vec::new(),
        };
        let sgl = if in_capsule.is_empty() {
            SglDescriptor::transport(len)
        } else {
            SglDescriptor::in_capsule(0, len)
        };
        sqe = sqe.with_cid(cid).with_psdt(Psdt::SGL_METADATA_BUFFER).with_sgl(sgl);
        ToController::Command { sqe, in_capsule }
    }

    /// What a message from the controller means. `Err` ends the queue.
    fn hear(&mut self, id: QueueId, message: ToHost, events: &mut Vec<HostEvent>) -> Result<(), Ended> {
        match message {
            ToHost::Accepted { limits } => {
                if !matches!(self.state, State::Opening { .. }) {
                    return Err(broken("accepted twice"));
                }
                self.limits = narrower(&self.limits, &limits);
                self.state = State::Up;
                let negotiated = vec![("depth", self.options.depth.to_string())];
                let info = QueueInfo {
                    limits: self.limits.clone(),
                    local: self.local,
                    peer: self.target,
                    data_path: "software",
                    negotiated,
                };
                events.push(HostEvent::Connected { queue: id, info: Box::new(info) });
            }
            _ if matches!(self.state, State::Opening { .. }) => return Err(broken("spoke before accepting")),
            ToHost::Fetch { cid, tag, offset, len } => {
                let outstanding = self
                    .slots
                    .get(cid)
                    .ok_or_else(|| broken("fetch for a command that is not outstanding"))?;
                let Data::ToController(buffer) = &outstanding.data else {
                    return Err(broken("fetch for a command without data to send"));
                };
                let part = (offset as usize)
                    .checked_add(len as usize)
                    .and_then(|end| buffer.get(offset as usize..end))
                    .ok_or_else(|| broken("fetch beyond the data of the command"))?;
                self.outbox.push_back(ToController::Data { tag, bytes: part.to_vec() });
            }
            ToHost::Response { cqe, sqhd_valid, data: sent } => {
                let Some(outstanding) = self.slots.get_mut(cqe.cid()) else {
                    return Err(broken("response to a command that is not outstanding"));
                };
                if !sent.is_empty() {
                    let Data::FromController(buffer) = &mut outstanding.data else {
                        return Err(broken("data for a command without room for it"));
                    };
                    let mut at = 0;
                    for slice in sent.slices(0..sent.len()) {
                        let room = buffer.get_mut(at..).and_then(|rest| rest.get_mut(..slice.len()));
                        room.ok_or_else(|| broken("more data than the command has room for"))?
                            .copy_from_slice(slice);
                        at += slice.len();
                    }
                }
                let transferred = sent.len() as u32; // Bounded by the buffer it was copied to.
                if let Some(Outstanding { cookie, data }) = self.slots.remove(cqe.cid()) {
                    events.push(HostEvent::Completed {
                        queue: id,
                        cookie,
                        cqe,
                        sqhd_valid,
                        transferred,
                        data,
                    });
                }
            }
        }
        Ok(())
    }

    fn open(&mut self, network: &Network, wake: &Wake, now: Instant) {
        match network.dial(self.target, self.options.source, wake, now) {
            Dialled::Ringing(end, local) => {
                (self.end, self.local) = (Some(end), local);
                self.state = State::Opening { deadline: now + self.options.timeout };
            }
            Dialled::Silence => self.state = State::Opening { deadline: now + self.options.timeout },
            Dialled::NobodyThere => self.state = State::Refused { at: now + network.round_trip() },
        }
    }

    /// Takes what arrived. Stops when answers pile up, so that a controller which asks and never listens costs no memory.
    fn receive(&mut self, id: QueueId, now: Instant, events: &mut Vec<HostEvent>) -> Result<(), Ended> {
        let enough = usize::from(self.options.depth) * (1 + usize::from(self.limits.max_fetches));
        while self.outbox.len() <= enough {
            let Some(end) = &mut self.end else { return Ok(()) };
            match end.receive(now) {
                Received::Message(message) => self.hear(id, message, events)?,
                Received::Ended(how) => return Err(self.hung_up(how)),
                Received::Nothing => break,
            }
        }
        Ok(())
    }

    fn hung_up(&self, how: HangUp) -> Ended {
        let (stage, kind) = match (&self.state, how) {
            (State::Opening { .. }, HangUp::Orderly) => (Stage::Negotiate, ErrorKind::PeerClosed),
            (State::Opening { .. }, HangUp::Reset) => (Stage::Negotiate, ErrorKind::Reset),
            (_, HangUp::Orderly) => return CloseReason::PeerClosed,
            (_, HangUp::Reset) => (Stage::Transfer, ErrorKind::Reset),
        };
        CloseReason::Failed(Error::new(stage, kind, format!("{} ended the connection", self.target)))
    }

    /// Moves the queue to `now`. `Err` is its end.
    fn step(
        &mut self,
        id: QueueId,
        network: &Network,
        wake: &Wake,
        now: Instant,
        events: &mut Vec<HostEvent>,
    ) -> Result<(), Ended> {
        if matches!(self.state, State::New) {
            self.open(network, wake, now);
        }
        if let State::Closing { flush: false, .. } = self.state {
            return Err(CloseReason::Requested);
        }
        self.receive(id, now, events)?;
        if let Some(end) = &mut self.end {
            end.flush(now, &mut self.outbox);
        }
        match &mut self.state {
            State::Refused { at } if *at <= now => {
                let detail = format!("nobody listens at {}", self.target);
                Err(CloseReason::Failed(Error::new(Stage::Connect, ErrorKind::Refused, detail)))
            }
            State::Opening { deadline } if *deadline <= now => {
                let detail = format!("no answer from {} within {:?}", self.target, self.options.timeout);
                Err(CloseReason::Failed(Error::new(Stage::Connect, ErrorKind::TimedOut, detail)))
            }
            State::Closing { deadline, .. } => {
                let deadline = *deadline.get_or_insert(now + FLUSH);
                if self.outbox.is_empty() || deadline <= now { Err(CloseReason::Requested) } else { Ok(()) }
            }
            _ => Ok(()),
        }
    }

    /// When the queue wants to be stepped, apart from what a wake-up announces.
    fn due(&self) -> Option<Instant> {
        let own = match self.state {
            State::Refused { at } => Some(at),
            State::Opening { deadline } => Some(deadline),
            State::Closing { deadline, .. } => deadline,
            State::New | State::Up => None,
        };
        own.into_iter().chain(self.end.as_ref().and_then(HostEnd::next_due)).min()
    }

    fn finish(mut self, id: QueueId, reason: CloseReason, events: &mut Vec<HostEvent>) {
        // Before the buffers go back: afterwards the peer has no way to them.
        drop(self.end.take());
        let aborted = self.slots.drain().map(|Outstanding { cookie, data }| HostEvent::Aborted {
            queue: id,
            cookie,
            data,
        });
        events.extend(aborted);
        events.push(HostEvent::Closed { queue: id, reason });
    }
}

/// What both sides can do.
fn narrower(ours: &Limits, theirs: &Limits) -> Limits {
    let mut limits = ours.clone();
    limits.max_transfer = limits.max_transfer.min(theirs.max_transfer);
    limits.max_in_capsule.admin = limits.max_in_capsule.admin.min(theirs.max_in_capsule.admin);
    limits.max_in_capsule.io = limits.max_in_capsule.io.min(theirs.max_in_capsule.io);
    limits.max_depth = limits.max_depth.min(theirs.max_depth);
    limits
}

impl Engine for Host {
    fn transport(&self) -> &'static str {
        NAME
    }

    fn memory(&self) -> Arc<dyn Memory> {
        Arc::new(Pages)
    }

    fn wait_handle(&self) -> BorrowedFd<'_> {
        self.wake.as_fd()
    }

    fn next_timeout(&self) -> Option<Instant> {
        self.next
    }

    fn limits(&self, queue: QueueId) -> Option<&Limits> {
        self.queues.get(queue).map(|queue| &queue.limits)
    }

    fn configure(&mut self, queue: QueueId, settings: QueueSettings) -> Result<(), Misuse> {
        let queue = self.queues.get_mut(queue).ok_or(Misuse::UnknownQueue)?;
        match queue.state {
            State::Up => {}
            State::Closing { .. } => return Err(Misuse::Closing),
            _ => return Err(Misuse::NotConnected),
        }
        if settings.depth < 2 || settings.depth > queue.options.depth || settings.kind != queue.options.kind {
            return Err(Misuse::Parameter);
        }
        queue.settings = Some(settings);
        Ok(())
    }

    fn close(&mut self, queue: QueueId, how: Close) {
        let Some(queue) = self.queues.get_mut(queue) else {
            return;
        };
        let flush =
            how == Close::AfterFlush && matches!(queue.state, State::Up | State::Closing { flush: true, .. });
        let deadline = if let State::Closing { deadline, .. } = queue.state { deadline } else { None };
        queue.state = State::Closing { flush, deadline };
        // A close may come between two polls of a driver that sleeps in between.
        self.wake.wake();
    }
}

impl HostEngine for Host {
    fn connect(&mut self, target: &Target, options: &ConnectOptions) -> Result<QueueId, Error> {
        if options.depth < 2 || options.depth > self.limits.max_depth {
            let detail = format!("a queue has 2 to {} entries, not {}", self.limits.max_depth, options.depth);
            return Err(Error::new(Stage::Connect, ErrorKind::Incompatible, detail));
        }
        let id = self.queues.insert(Queue {
            state: State::New,
            target: target.address,
            options: options.clone(),
            local: options.source.unwrap_or(target.address),
            end: None,
            limits: self.limits.clone(),
            settings: None,
            slots: CommandSlots::new(options.depth),
            outbox: VecDeque::new(),
        });
        self.wake.wake();
        Ok(id)
    }

    fn submit(&mut self, queue: QueueId, command: Command) -> Result<Cid, Refused<Command>> {
        let Some(queue) = self.queues.get_mut(queue) else {
            return Err(Refused::new(command, Misuse::UnknownQueue));
        };
        let refusal = match queue.state {
            State::Up if queue.slots.len() >= queue.allowed() => Some(Misuse::QueueFull),
            State::Up if command.data.len() > queue.limits.max_transfer as usize => Some(Misuse::DataLength),
            State::Up => None,
            State::Closing { .. } => Some(Misuse::Closing),
            _ => Some(Misuse::NotConnected),
        };
        if let Some(why) = refusal {
            return Err(Refused::new(command, why));
        }
        let Command { sqe, data, cookie } = command;
        match queue.slots.insert(Outstanding { cookie, data }) {
            Ok(cid) => {
                if let Some(outstanding) = queue.slots.get(cid) {
                    let message = queue.command(sqe, cid, &outstanding.data);
                    queue.outbox.push_back(message);
                }
                Ok(cid)
            }
            Err(Outstanding { cookie, data }) => {
                Err(Refused::new(Command { sqe, data, cookie }, Misuse::QueueFull))
            }
        }
    }

    fn poll(&mut self, now: Instant, events: &mut Vec<HostEvent>) -> Result<(), Error> {
        self.wake.clear();
        let mut ended = Vec::new();
        for (id, queue) in self.queues.iter_mut() {
            if let Err(reason) = queue.step(id, &self.network, &self.wake, now, events) {
                ended.push((id, reason));
            }
        }
        for (id, reason) in ended {
            if let Some(queue) = self.queues.remove(id) {
                queue.finish(id, reason, events);
            }
        }
        self.next = self.queues.iter().filter_map(|(_, queue)| queue.due()).min();
        Ok(())
    }
}
