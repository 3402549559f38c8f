//! Two endpoints of one process with a connection between them.
#![allow(dead_code, unreachable_pub, reason = "each test uses a part")]
#![allow(clippy::disallowed_methods, clippy::unwrap_used, reason = "a driver of tests: it reads the clock")]

use std::time::{Duration, Instant};

use nvmf_soft_iwarp::{
    Access, Completed, Completion, ConnectionConfig, Endpoint, EndpointConfig, Event, Payload, Qp, QpConfig,
    ReceiveRequest, Region, RegionOptions, RequestInfo, SendRequest, Status,
};

/// Longer than anything takes that works.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// An endpoint and what it has said.
pub struct Side {
    pub endpoint: Endpoint,
    pub qp: Qp,
    pub events: Vec<Event>,
}

impl Side {
    pub fn new(config: EndpointConfig) -> Self {
        let mut endpoint = Endpoint::new(config).unwrap();
        let qp = endpoint.create_qp(&QpConfig::default());
        Self { endpoint, qp, events: Vec::new() }
    }

    pub fn poll(&mut self) {
        self.endpoint.poll(Instant::now(), &mut self.events).unwrap();
    }

    /// Takes the first event that `wanted` takes, if there is one.
    pub fn take<T>(&mut self, mut wanted: impl FnMut(&Event) -> Option<T>) -> Option<T> {
        let (at, found) =
            self.events.iter().enumerate().find_map(|(at, event)| Some((at, wanted(event)?)))?;
        self.events.remove(at);
        Some(found)
    }

    pub fn completion(&mut self) -> Option<Completion> {
        self.take(|event| match event {
            Event::Completion(completion) => Some(*completion),
            _ => None,
        })
    }

    pub fn register(&mut self, bytes: Vec<u8>, access: Access) -> Region {
        self.endpoint.register(bytes.into_boxed_slice(), RegionOptions::new(access)).unwrap()
    }

    pub fn post(&mut self, request: SendRequest<'_>) {
        self.endpoint.post_send(self.qp, &request).unwrap();
    }

    pub fn receive(&mut self, id: u64, region: &Region, offset: u64, len: u32) {
        let scatter = [region.sge(offset, len)];
        self.endpoint.post_receive(self.qp, &ReceiveRequest { id, scatter: &scatter }).unwrap();
    }
}

/// Polls both until `done` has an answer.
pub fn until<T>(
    a: &mut Side,
    b: &mut Side,
    what: &str,
    mut done: impl FnMut(&mut Side, &mut Side) -> Option<T>,
) -> T {
    let start = Instant::now();
    loop {
        a.poll();
        b.poll();
        if let Some(answer) = done(a, b) {
            return answer;
        }
        assert!(
            start.elapsed() < PATIENCE,
            "{what}: not after {PATIENCE:?}; {:?} | {:?}",
            a.events,
            b.events
        );
    }
}

/// Listens at `b` and connects `a`; answers with what the request said.
pub fn request(
    a: &mut Side,
    b: &mut Side,
    config: &ConnectionConfig,
    private: &[u8],
) -> (nvmf_soft_iwarp::Request, RequestInfo) {
    let (listener, address) = b.endpoint.listen(([127, 0, 0, 1], 0).into()).unwrap();
    a.endpoint.connect(a.qp, address, None, config, private).unwrap();
    let asked = until(a, b, "a request", |_, b| {
        b.take(|event| match event {
            Event::Request { request, info, .. } => Some((*request, (**info).clone())),
            _ => None,
        })
    });
    b.endpoint.unlisten(listener);
    asked
}

/// Two connected sides; `a` is the initiator.
pub fn connected(config: &ConnectionConfig, a: EndpointConfig, b: EndpointConfig) -> (Side, Side) {
    let (mut a, mut b) = (Side::new(a), Side::new(b));
    let (asked, _) = request(&mut a, &mut b, config, b"hello");
    b.endpoint.accept(asked, b.qp, config, b"welcome").unwrap();
    for who in 0..2 {
        until(&mut a, &mut b, "a connection", |a, b| {
            [a, b][who].take(|event| matches!(event, Event::Established { .. }).then_some(()))
        });
    }
    (a, b)
}

pub fn pattern(len: usize, seed: u8) -> Vec<u8> {
    (0..len).map(|i| (i as u32).wrapping_mul(2_654_435_761).to_be_bytes()[0] ^ seed).collect()
}

pub fn assert_success(completion: Completion, id: u64, what: Completed, len: u32) {
    assert_eq!(
        (completion.id, completion.what, completion.status, completion.len),
        (id, what, Status::Success, len)
    );
}

pub fn gather<'a>(list: &'a [nvmf_soft_iwarp::Sge]) -> Payload<'a> {
    Payload::Gather(list)
}
