//! The target's engine over a [`Network`].

use std::{
    collections::VecDeque,
    os::fd::{AsFd, BorrowedFd},
    sync::Arc,
    time::{Duration, Instant},
};

use nvmf_transport::{
    Buffer, Close, CloseReason, ControllerEngine, ControllerEvent, Engine, Error, ErrorKind, Gather, Limits,
    Listener, ListenerId, Memory, Misuse, Pages, QueueId, QueueInfo, QueueKind, QueueSettings, Queues,
    Refused, RequestData, RequestId, Stage, Target, Wake,
};
use nvmf_wire::{Cid, Cqe, DataDirection, Sgl, Sqe, Status, sgl};

use crate::{
    Network,
    message::{ToController, ToHost},
    network::{ControllerEnd, Pending},
    pipe::{HangUp, Received},
    requests::{Request, Requests},
    transport::NAME,
};

/// Entries a queue is taken to have until its Connect command has said how many: the least an admin queue may ask for.
const UNCONFIGURED_DEPTH: u16 = 32;

/// How long a closing queue waits for the link to take what was answered.
const FLUSH: Duration = Duration::from_secs(1);

#[derive(Debug)]
enum State {
    Up,
    Closing { flush: bool, deadline: Option<Instant> },
}

#[derive(Debug)]
struct Fetch {
    tag: u32,
    request: RequestId,
    offset: u32,
    into: Buffer,
}

#[derive(Debug)]
struct Queue {
    state: State,
    end: ControllerEnd,
    limits: Limits,
    settings: Option<QueueSettings>,
    requests: Requests,
    /// In the order they were asked for, which is the order they are answered in.
    fetches: VecDeque<Fetch>,
    next_tag: u32,
    outbox: VecDeque<ToHost>,
}

/// One thread's worth of target queues.
pub(crate) struct Controller {
    network: Network,
    limits: Limits,
    group: usize,
    wake: Wake,
    listeners: Vec<Listener>,
    queues: Queues<Queue>,
    next: Option<Instant>,
}

fn broken(detail: &'static str) -> CloseReason {
    CloseReason::Failed(Error::new(Stage::Transfer, ErrorKind::Protocol, detail))
}

/// A copy in the transport's memory, as the network would make it.
fn copied(bytes: &[u8]) -> Result<Buffer, Status> {
    let mut buffer = Pages.allocate(bytes.len()).map_err(|_| Status::INTERNAL_ERROR)?;
    buffer.copy_from_slice(bytes);
    Ok(buffer)
}

impl Queue {
    fn depth(&self) -> usize {
        usize::from(self.settings.map_or(UNCONFIGURED_DEPTH, |settings| settings.depth))
    }

    fn max_in_capsule(&self) -> usize {
        let bytes = match self.settings {
            Some(QueueSettings { kind: QueueKind::Io(_), .. }) => self.limits.max_in_capsule.io,
            _ => self.limits.max_in_capsule.admin,
        };
        bytes as usize
    }

    /// What a command's SGL says about its data (NVMe-oF 1.1 §2.3.1).
    fn data(&self, sqe: &Sqe, capsule: &[u8]) -> Result<RequestData, Status> {
        if self.requests.has_cid(sqe.cid()) {
            return Err(Status::COMMAND_ID_CONFLICT);
        }
        match sqe.sgl.parse()? {
            Sgl::InCapsule { offset, length } => {
                if length > 0 && sqe.data_direction() != DataDirection::HostToController {
                    return Err(Status::INVALID_FIELD);
                }
                let range = sgl::in_capsule_range(offset, length, capsule.len())?;
                match capsule.get(range) {
                    None | Some([]) => Ok(RequestData::None),
                    Some(bytes) => copied(bytes).map(RequestData::InCapsule),
                }
            }
            Sgl::Transport { .. } if !capsule.is_empty() => Err(Status::DATA_SGL_LENGTH_INVALID),
            Sgl::Transport { length: 0 } => Ok(RequestData::None),
            Sgl::Transport { length } => Ok(RequestData::Remote { len: length }),
            _ => Err(Status::SGL_DESCRIPTOR_TYPE_INVALID),
        }
    }

    fn hear(
        &mut self,
        id: QueueId,
        message: ToController,
        events: &mut Vec<ControllerEvent>,
    ) -> Result<(), CloseReason> {
        match message {
            ToController::Command { sqe, in_capsule } => {
                if in_capsule.len() > self.max_in_capsule() {
                    return Err(broken("more in-capsule data than the queue takes"));
                }
                if self.requests.len() >= self.depth() {
                    return Err(broken("more commands than the queue has entries"));
                }
                let data = self.data(&sqe, &in_capsule);
                let remote = if let Ok(RequestData::Remote { len }) = data { len } else { 0 };
                let request = Request {
                    cid: sqe.cid(),
                    direction: sqe.data_direction(),
                    remote,
                    fetched: 0,
                    fetches: 0,
                };
                let request = self
                    .requests
                    .insert(id, request)
                    .ok_or_else(|| broken("more commands than can be counted"))?;
                events.push(ControllerEvent::Command { request, sqe, data });
            }
            ToController::Data { tag, bytes } => {
                match self.fetches.front() {
                    Some(fetch) if fetch.tag == tag && fetch.into.len() == bytes.len() => {}
                    Some(fetch) if fetch.tag == tag => {
                        return Err(broken("another amount of data than was asked for"));
                    }
                    _ => return Err(broken("data that was not asked for")),
                }
                if let Some(Fetch { request, offset, mut into, .. }) = self.fetches.pop_front() {
                    into.copy_from_slice(&bytes);
                    if let Some(request) = self.requests.get_mut(request) {
                        request.fetches = request.fetches.saturating_sub(1);
                    }
                    events.push(ControllerEvent::Fetched { request, offset, data: into, outcome: Ok(()) });
                }
            }
        }
        Ok(())
    }

    /// Moves the queue to `now`. `Err` is its end.
    fn step(
        &mut self,
        id: QueueId,
        now: Instant,
        events: &mut Vec<ControllerEvent>,
    ) -> Result<(), CloseReason> {
        if let State::Closing { flush: false, .. } = self.state {
            return Err(CloseReason::Requested);
        }
        // A host that commands and never listens makes answers pile up; then it is not heard either.
        let enough = self.depth() * (1 + usize::from(self.limits.max_fetches));
        while self.outbox.len() <= enough {
            match self.end.receive(now) {
                // A closing queue takes nothing more, but has to notice that the peer is gone.
                Received::Message(ToController::Command { .. })
                    if matches!(self.state, State::Closing { .. }) => {}
                Received::Message(message) => self.hear(id, message, events)?,
                Received::Ended(HangUp::Orderly) => return Err(CloseReason::PeerClosed),
                Received::Ended(HangUp::Reset) => {
                    let detail = "the host broke the connection";
                    return Err(CloseReason::Failed(Error::new(Stage::Transfer, ErrorKind::Reset, detail)));
                }
                Received::Nothing => break,
            }
        }
        self.end.flush(now, &mut self.outbox);
        if let State::Closing { deadline, .. } = &mut self.state {
            let deadline = *deadline.get_or_insert(now + FLUSH);
            if self.outbox.is_empty() || deadline <= now {
                return Err(CloseReason::Requested);
            }
        }
        Ok(())
    }

    fn due(&self) -> Option<Instant> {
        let own = if let State::Closing { deadline, .. } = self.state { deadline } else { None };
        own.into_iter().chain(self.end.next_due()).min()
    }

    fn finish(self, queue: QueueId, reason: CloseReason, events: &mut Vec<ControllerEvent>) {
        let Self { end, fetches, .. } = self;
        // Before the buffers go back: afterwards the peer has no way to them.
        drop(end);
        events.extend(fetches.into_iter().map(|Fetch { request, offset, into, .. }| {
            let outcome = Err(Status::TRANSIENT_TRANSPORT_ERROR);
            ControllerEvent::Fetched { request, offset, data: into, outcome }
        }));
        events.push(ControllerEvent::Closed { queue, reason });
    }
}

impl Controller {
    pub(crate) fn new(network: Network, limits: Limits, group: usize) -> Result<Self, Error> {
        let (listeners, queues) = (Vec::new(), Queues::default());
        Ok(Self { network, limits, group, wake: Wake::new()?, listeners, queues, next: None })
    }

    fn accept(&mut self, now: Instant, events: &mut Vec<ControllerEvent>) {
        for &Listener { id: listener, address } in &self.listeners {
            while let Some(Pending { end, peer, .. }) = self.network.accept(listener, address, now) {
                let limits = self.limits.clone();
                let queue = self.queues.insert(Queue {
                    state: State::Up,
                    end,
                    limits: limits.clone(),
                    settings: None,
                    requests: Requests::default(),
                    fetches: VecDeque::new(),
                    next_tag: 0,
                    outbox: VecDeque::from([ToHost::Accepted { limits: Box::new(limits.clone()) }]),
                });
                let negotiated = Vec::new();
                let info = QueueInfo { limits, local: address, peer, data_path: "software", negotiated };
                events.push(ControllerEvent::Accepted { queue, listener, info: Box::new(info) });
            }
        }
    }

    /// The queue of a request that may be acted on.
    fn request(&mut self, request: RequestId) -> Result<&mut Queue, Misuse> {
        let queue = self.queues.get_mut(request.queue).ok_or(Misuse::UnknownRequest)?;
        if queue.requests.get_mut(request).is_none() {
            return Err(Misuse::UnknownRequest);
        }
        if matches!(queue.state, State::Closing { .. }) { Err(Misuse::Closing) } else { Ok(queue) }
    }

    fn start_fetch(&mut self, id: RequestId, offset: u32, len: usize) -> Result<&mut Queue, Misuse> {
        let queue = self.request(id)?;
        let most = queue.limits.max_fetches;
        let request = queue.requests.get_mut(id).ok_or(Misuse::UnknownRequest)?;
        let end =
            u32::try_from(len).ok().and_then(|len| offset.checked_add(len)).ok_or(Misuse::DataLength)?;
        let aligned = len.is_multiple_of(4) || end == request.remote;
        if len == 0
            || offset != request.fetched
            || !aligned
            || end > request.remote
            || request.direction != DataDirection::HostToController
        {
            return Err(Misuse::DataLength);
        }
        if request.fetches >= most {
            return Err(Misuse::TooManyFetches);
        }
        request.fetched = end;
        request.fetches += 1;
        Ok(queue)
    }

    fn start_response(&mut self, id: RequestId, len: usize) -> Result<(&mut Queue, Cid), Misuse> {
        let queue = self.request(id)?;
        let request = queue.requests.get_mut(id).ok_or(Misuse::UnknownRequest)?;
        if request.fetches > 0 {
            return Err(Misuse::Parameter);
        }
        let wanted = if request.direction == DataDirection::ControllerToHost { request.remote } else { 0 };
        if len > wanted as usize {
            return Err(Misuse::DataLength);
        }
        let cid = request.cid;
        queue.requests.remove(id);
        Ok((queue, cid))
    }
}

impl Engine for Controller {
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
        if matches!(queue.state, State::Closing { .. }) {
            return Err(Misuse::Closing);
        }
        if settings.depth < 2 || settings.depth > queue.limits.max_depth {
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
        self.wake.wake();
    }
}

impl ControllerEngine for Controller {
    fn listen(&mut self, at: &Target) -> Result<Listener, Error> {
        if self.listeners.iter().any(|listener| listener.address == at.address) {
            return Err(Error::new(
                Stage::Listen,
                ErrorKind::AddressInUse,
                format!("{} is taken", at.address),
            ));
        }
        let (id, address) = self.network.listen(at.address, self.group, &self.wake)?;
        let listener = Listener { id, address };
        self.listeners.push(listener);
        Ok(listener)
    }

    fn unlisten(&mut self, listener: ListenerId) {
        if self.listeners.iter().any(|known| known.id == listener) {
            self.listeners.retain(|known| known.id != listener);
            self.network.unlisten(listener);
        }
    }

    fn fetch(&mut self, request: RequestId, offset: u32, into: Buffer) -> Result<(), Refused<Buffer>> {
        match self.start_fetch(request, offset, into.len()) {
            Ok(queue) => {
                let tag = queue.next_tag;
                queue.next_tag = tag.wrapping_add(1);
                let cid = queue.requests.get_mut(request).map_or(Cid::NONE, |request| request.cid);
                queue.outbox.push_back(ToHost::Fetch { cid, tag, offset, len: into.len() as u32 });
                queue.fetches.push_back(Fetch { tag, request, offset, into });
                Ok(())
            }
            Err(why) => Err(Refused::new(into, why)),
        }
    }

    fn respond(&mut self, request: RequestId, cqe: Cqe, data: Gather) -> Result<(), Refused<Gather>> {
        match self.start_response(request, data.len()) {
            Ok((queue, cid)) => {
                let cqe = cqe.with_cid(cid);
                // What a wire with a SUCCESS flag does: the last of the data says it all.
                let flow_control = queue.settings.is_none_or(|settings| settings.sq_flow_control);
                let folded =
                    !flow_control && !data.is_empty() && cqe.status() == Status::SUCCESS && cqe.u64() == 0;
                let cqe = if folded { Cqe::success(cid) } else { cqe };
                queue.outbox.push_back(ToHost::Response { cqe, sqhd_valid: !folded, data });
                Ok(())
            }
            Err(why) => Err(Refused::new(data, why)),
        }
    }

    fn poll(&mut self, now: Instant, events: &mut Vec<ControllerEvent>) -> Result<(), Error> {
        self.wake.clear();
        self.accept(now, events);
        let mut ended = Vec::new();
        for (id, queue) in self.queues.iter_mut() {
            if let Err(reason) = queue.step(id, now, events) {
                ended.push((id, reason));
            }
        }
        for (id, reason) in ended {
            if let Some(queue) = self.queues.remove(id) {
                queue.finish(id, reason, events);
            }
        }
        let listeners = self.listeners.iter();
        let pending =
            listeners.filter_map(|listener| self.network.next_pending(listener.id, listener.address));
        self.next = pending.chain(self.queues.iter().filter_map(|(_, queue)| queue.due())).min();
        Ok(())
    }
}

impl Drop for Controller {
    fn drop(&mut self) {
        for listener in &self.listeners {
            self.network.unlisten(listener.id);
        }
    }
}
