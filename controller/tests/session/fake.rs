//! A scripted engine: its peer is the test.

use std::{
    collections::HashMap,
    os::fd::{AsFd, BorrowedFd},
    sync::Arc,
    time::Instant,
};

use nvmf_transport::{
    Buffer, Close, CloseReason, ControllerEngine, ControllerEvent, Engine, Error, Gather, InCapsule, Limits,
    Listener, ListenerId, Memory, Misuse, Pages, QueueId, QueueSettings, Queues, Refused, RequestId,
    SglKinds, Target, Wake,
};
use nvmf_wire::{Cqe, Status};

/// What the session answered.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) request: RequestId,
    pub(crate) cqe: Cqe,
    pub(crate) data: Vec<u8>,
    /// How many views the data were given in.
    pub(crate) views: usize,
}

impl Answer {
    pub(crate) fn status(&self) -> Status {
        self.cqe.status().code()
    }

    #[track_caller]
    pub(crate) fn ok(self) -> Self {
        assert!(self.cqe.status().is_success(), "{:?}", self.cqe.status());
        self
    }
}

#[derive(Debug)]
pub(crate) struct FakeQueue {
    pub(crate) next: u32,
    pub(crate) closing: bool,
    /// Requests that were delivered and not answered, with the length of their remote data.
    pub(crate) open: HashMap<RequestId, u32>,
}

/// An engine whose peer is the test.
pub(crate) struct Fake {
    pub(crate) queues: Queues<FakeQueue>,
    pub(crate) events: Vec<ControllerEvent>,
    pub(crate) answers: Vec<Answer>,
    /// Fetches that were not served: the request, the offset and the buffer.
    pub(crate) fetches: Vec<(RequestId, u32, Buffer)>,
    /// What the host has for a request; served as soon as it is asked for.
    pub(crate) host_data: HashMap<RequestId, Vec<u8>>,
    /// Data of responses are kept, as if the host did not take them.
    pub(crate) hold_data: Option<Vec<Gather>>,
    pub(crate) configured: Vec<QueueSettings>,
    pub(crate) closes: Vec<(QueueId, Close)>,
    pub(crate) fetched: Vec<(u32, usize)>,
    pub(crate) limits: Limits,
    wake: Wake,
}

impl Fake {
    pub(crate) fn new() -> Self {
        let mut limits = Limits::default();
        limits.max_transfer = 4 << 20;
        limits.max_in_capsule = InCapsule { admin: 8192, io: 16384 };
        limits.max_depth = 4096;
        limits.sgl = SglKinds::IN_CAPSULE | SglKinds::TRANSPORT;
        limits.max_segments = 64;
        limits.max_fetches = 2;
        Self {
            queues: Queues::default(),
            events: Vec::new(),
            answers: Vec::new(),
            fetches: Vec::new(),
            host_data: HashMap::new(),
            hold_data: None,
            configured: Vec::new(),
            closes: Vec::new(),
            fetched: Vec::new(),
            limits,
            wake: Wake::new().unwrap(),
        }
    }

    fn open(&mut self, request: RequestId) -> Result<u32, Misuse> {
        let queue = self.queues.get(request.queue).ok_or(Misuse::UnknownQueue)?;
        if queue.closing {
            return Err(Misuse::Closing);
        }
        queue.open.get(&request).copied().ok_or(Misuse::UnknownRequest)
    }
}

impl Engine for Fake {
    fn transport(&self) -> &'static str {
        "fake"
    }
    fn memory(&self) -> Arc<dyn Memory> {
        Arc::new(Pages)
    }
    fn wait_handle(&self) -> BorrowedFd<'_> {
        self.wake.as_fd()
    }
    fn next_timeout(&self) -> Option<Instant> {
        None
    }
    fn limits(&self, _: QueueId) -> Option<&Limits> {
        Some(&self.limits)
    }
    fn configure(&mut self, _: QueueId, settings: QueueSettings) -> Result<(), Misuse> {
        self.configured.push(settings);
        Ok(())
    }
    fn close(&mut self, queue: QueueId, how: Close) {
        if let Some(known) = self.queues.get_mut(queue).filter(|known| !known.closing) {
            known.closing = true;
            self.closes.push((queue, how));
        }
    }
}

impl ControllerEngine for Fake {
    fn listen(&mut self, at: &Target) -> Result<Listener, Error> {
        Ok(Listener { id: ListenerId(1), address: at.address })
    }
    fn unlisten(&mut self, _: ListenerId) {}
    fn fetch(&mut self, request: RequestId, offset: u32, mut into: Buffer) -> Result<(), Refused<Buffer>> {
        let len = match self.open(request) {
            Ok(len) => len,
            Err(why) => return Err(Refused::new(into, why)),
        };
        let end = offset as usize + into.len();
        assert!(end <= len as usize, "fetch of {offset}..{end} of {len} bytes");
        let outstanding = self.fetches.iter().filter(|fetch| fetch.0 == request).count();
        if outstanding >= self.limits.max_fetches.into() {
            return Err(Refused::new(into, Misuse::TooManyFetches));
        }
        self.fetched.push((offset, into.len()));
        match self.host_data.get(&request) {
            Some(data) => {
                into.copy_from_slice(&data[offset as usize..end]);
                self.events.push(ControllerEvent::Fetched { request, offset, data: into, outcome: Ok(()) });
            }
            None => self.fetches.push((request, offset, into)),
        }
        Ok(())
    }
    fn respond(&mut self, request: RequestId, cqe: Cqe, data: Gather) -> Result<(), Refused<Gather>> {
        let len = match self.open(request) {
            Ok(len) => len,
            Err(why) => return Err(Refused::new(data, why)),
        };
        assert!(!self.fetches.iter().any(|fetch| fetch.0 == request), "answered with a fetch outstanding");
        assert!(data.len() <= len as usize, "{} bytes for a request of {len}", data.len());
        self.queues.get_mut(request.queue).unwrap().open.remove(&request);
        self.host_data.remove(&request);
        let bytes = data.slices(0..data.len()).flatten().copied().collect();
        self.answers.push(Answer { request, cqe, data: bytes, views: data.views().len() });
        if let Some(held) = &mut self.hold_data {
            held.push(data);
        }
        Ok(())
    }
    fn poll(&mut self, _: Instant, events: &mut Vec<ControllerEvent>) -> Result<(), Error> {
        let closing: Vec<QueueId> = self.queues.iter().filter(|(_, q)| q.closing).map(|(id, _)| id).collect();
        for queue in closing {
            self.gone(queue, CloseReason::Requested);
        }
        events.append(&mut self.events);
        Ok(())
    }
}

impl Fake {
    /// Ends a queue as the contract wants it: first its fetches, then `Closed`.
    pub(crate) fn gone(&mut self, queue: QueueId, reason: CloseReason) {
        for (request, offset, data) in std::mem::take(&mut self.fetches) {
            if request.queue == queue {
                let outcome = Err(Status::ABORTED_SQ_DELETION);
                self.events.push(ControllerEvent::Fetched { request, offset, data, outcome });
            } else {
                self.fetches.push((request, offset, data));
            }
        }
        if self.queues.remove(queue).is_some() {
            self.events.push(ControllerEvent::Closed { queue, reason });
        }
    }
}
