//! Tests of what the contract cases of `conformance` do not see: time, links and the network itself.

use std::{
    net::{Ipv4Addr, SocketAddr},
    time::{Duration, Instant},
};

use nvmf_transport::{
    CloseReason, Command, ConnectOptions, ControllerEngine, ControllerEvent, ControllerTransport, Data,
    Error, ErrorKind, Gather, HostEngine, HostEvent, HostTransport, Offer, QueueId, QueueKind, RequestData,
    Target, Transport, Wire,
};
use nvmf_wire::{Cqe, IoOpcode, Sqe, Status};

use crate::{Clock, Link, Network, SimTransport};

const MILLI: Duration = Duration::from_millis(1);

pub(crate) struct Pair {
    pub(crate) clock: Clock,
    pub(crate) network: Network,
    pub(crate) host: Box<dyn HostEngine>,
    pub(crate) controller: Box<dyn ControllerEngine>,
    pub(crate) address: SocketAddr,
    pub(crate) host_events: Vec<HostEvent>,
    pub(crate) controller_events: Vec<ControllerEvent>,
}

impl Pair {
    fn new(seed: u64, link: Link) -> Self {
        let network = Network::new(seed).with_link(link);
        let (host, controller) = SimTransport::new(&network).shared();
        Self::over(&network, &*host, &*controller)
    }

    /// Over transports that may be wrapped.
    pub(crate) fn over(
        network: &Network,
        host: &dyn HostTransport,
        controller: &dyn ControllerTransport,
    ) -> Self {
        let host = host.host_engine().unwrap();
        let mut controller = controller.controller_engine().unwrap();
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let address = controller.listen(&Target::new(Wire::INTRA_HOST, any)).unwrap().address;
        let (host_events, controller_events) = (Vec::new(), Vec::new());
        Self {
            clock: Clock::new(),
            network: network.clone(),
            host,
            controller,
            address,
            host_events,
            controller_events,
        }
    }

    pub(crate) fn poll(&mut self) {
        self.host.poll(self.clock.now(), &mut self.host_events).unwrap();
        self.controller.poll(self.clock.now(), &mut self.controller_events).unwrap();
    }

    /// Runs until nothing is due before `limit` of virtual time has passed.
    pub(crate) fn run(&mut self, limit: Duration) {
        let until = self.clock.now() + limit;
        for _ in 0..100_000 {
            // Thrice, so that what one side sends without latency reaches the other and comes back.
            (0..3).for_each(|_| self.poll());
            let due: Option<Instant> =
                self.host.next_timeout().into_iter().chain(self.controller.next_timeout()).min();
            match due {
                Some(due) if due <= until => self.clock.advance_to(due),
                _ => {
                    self.clock.advance_to(until);
                    self.poll();
                    return;
                }
            }
        }
        panic!("no end of things to do");
    }

    pub(crate) fn options(depth: u16) -> ConnectOptions {
        let timeout = Duration::from_secs(5);
        ConnectOptions { kind: QueueKind::Io(1), depth, max_in_capsule: 0, timeout, source: None }
    }

    pub(crate) fn connect(&mut self) -> QueueId {
        let queue =
            self.host.connect(&Target::new(Wire::INTRA_HOST, self.address), &Self::options(32)).unwrap();
        self.run(Duration::from_secs(1));
        assert!(matches!(self.host_events[..], [HostEvent::Connected { .. }]), "{:?}", self.host_events);
        assert!(matches!(self.controller_events[..], [ControllerEvent::Accepted { .. }]));
        self.host_events.clear();
        self.controller_events.clear();
        queue
    }

    pub(crate) fn read(&mut self, queue: QueueId, len: usize, cookie: u64) {
        let data = Data::FromController(self.host.memory().allocate(len).unwrap());
        self.host.submit(queue, Command { sqe: Sqe::io(IoOpcode::READ, 1), data, cookie }).unwrap();
    }

    /// Answers every READ with zeroes.
    pub(crate) fn answer_reads(&mut self) {
        for event in std::mem::take(&mut self.controller_events) {
            if let ControllerEvent::Command { request, sqe, data: Ok(RequestData::Remote { len }) } = event {
                let data = Gather::from(self.controller.memory().allocate(len as usize).unwrap());
                self.controller.respond(request, Cqe::success(sqe.cid()), data).unwrap();
            }
        }
    }

    pub(crate) fn completed(&self) -> Vec<u64> {
        let cookie = |event: &HostEvent| match event {
            HostEvent::Completed { cookie, .. } => Some(*cookie),
            _ => None,
        };
        self.host_events.iter().filter_map(cookie).collect()
    }
}

#[test]
fn a_message_is_visible_at_its_time_and_not_before() {
    let mut pair = Pair::new(1, Link { latency: 10 * MILLI, ..Link::default() });
    let queue = pair.connect();
    let sent = pair.clock.now();
    pair.read(queue, 512, 7);
    pair.poll();
    assert_eq!(pair.controller.next_timeout(), Some(sent + 10 * MILLI));
    pair.clock.advance(10 * MILLI - Duration::from_nanos(1));
    pair.poll();
    assert!(pair.controller_events.is_empty());
    pair.clock.advance(Duration::from_nanos(1));
    pair.poll();
    assert_eq!(pair.controller_events.len(), 1);
    pair.answer_reads();
    pair.run(Duration::from_secs(1));
    assert_eq!(pair.completed(), [7]);
}

#[test]
fn jitter_keeps_the_order_of_a_connection() {
    let mut pair = Pair::new(2, Link { latency: MILLI, jitter: 50 * MILLI, ..Link::default() });
    let queue = pair.connect();
    for cookie in 0..20 {
        pair.read(queue, 512, cookie);
        pair.poll();
        pair.clock.advance(MILLI);
    }
    pair.run(Duration::from_secs(1));
    pair.answer_reads();
    pair.run(Duration::from_secs(1));
    assert_eq!(pair.completed(), (0..20).collect::<Vec<_>>());
}

#[test]
fn the_same_seed_is_the_same_run() {
    let run = |seed| {
        let mut pair = Pair::new(seed, Link { latency: MILLI, jitter: 9 * MILLI, ..Link::default() });
        let queue = pair.connect();
        let start = pair.clock.now();
        (0..10).for_each(|cookie| pair.read(queue, 512, cookie));
        let mut times = Vec::new();
        for _ in 0..200 {
            pair.clock.advance(MILLI / 4);
            let before = pair.controller_events.len();
            pair.poll();
            if pair.controller_events.len() != before {
                times.push((pair.clock.now() - start, pair.controller_events.len()));
            }
        }
        times
    };
    assert_eq!(run(3), run(3));
    assert_ne!(run(3), run(4));
}

#[test]
fn bandwidth_spreads_data_over_time() {
    let mut pair = Pair::new(5, Link { bytes_per_second: Some(1_000_000), ..Link::default() });
    let queue = pair.connect();
    (0..10).for_each(|cookie| pair.read(queue, 100_000, cookie));
    pair.run(10 * MILLI);
    pair.answer_reads();
    pair.run(Duration::from_millis(550));
    // A megabyte in a second: in half of it, about half.
    assert!((4..=6).contains(&pair.completed().len()), "{:?}", pair.completed());
    pair.run(Duration::from_secs(1));
    assert_eq!(pair.completed().len(), 10);
}

#[test]
fn a_full_link_makes_the_sender_wait_and_loses_nothing() {
    let mut pair = Pair::new(6, Link { latency: MILLI, in_flight: 100, ..Link::default() });
    let queue = pair.connect();
    (0..31).for_each(|cookie| pair.read(queue, 4096, cookie));
    pair.run(MILLI * 3 / 2);
    assert_eq!(pair.controller_events.len(), 1, "one capsule of 64 bytes is all a link of 100 takes");
    pair.run(Duration::from_secs(1));
    assert_eq!(pair.controller_events.len(), 31);
    pair.answer_reads();
    pair.run(Duration::from_secs(1));
    assert_eq!(pair.completed(), (0..31).collect::<Vec<_>>());
}

fn only_failure(events: &[HostEvent]) -> &Error {
    match events {
        [HostEvent::Closed { reason: CloseReason::Failed(error), .. }] => error,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_refusal_takes_a_round_trip() {
    let mut pair = Pair::new(7, Link { latency: 3 * MILLI, ..Link::default() });
    let nowhere = SocketAddr::from((Ipv4Addr::LOCALHOST, 1));
    pair.host.connect(&Target::new(Wire::INTRA_HOST, nowhere), &Pair::options(2)).unwrap();
    pair.run(5 * MILLI);
    assert!(pair.host_events.is_empty());
    pair.run(MILLI);
    assert_eq!(only_failure(&pair.host_events).kind(), ErrorKind::Refused);
}

#[test]
fn a_frozen_address_times_out_and_a_thawed_one_delivers_late() {
    let mut pair = Pair::new(8, Link::default());
    let queue = pair.connect();
    pair.network.freeze(pair.address);
    pair.read(queue, 512, 1);
    pair.run(Duration::from_secs(60));
    assert!(pair.controller_events.is_empty());
    pair.network.thaw(pair.address);
    pair.run(MILLI);
    pair.answer_reads();
    pair.run(MILLI);
    assert_eq!(pair.completed(), [1]);

    pair.network.freeze(pair.address);
    pair.host_events.clear();
    pair.host.connect(&Target::new(Wire::INTRA_HOST, pair.address), &Pair::options(2)).unwrap();
    pair.run(Duration::from_millis(4999));
    assert!(pair.host_events.is_empty());
    pair.run(MILLI);
    assert_eq!(only_failure(&pair.host_events).kind(), ErrorKind::TimedOut);
}

#[test]
fn a_reset_reaches_both_sides_and_ends_their_commands() {
    let mut pair = Pair::new(9, Link::default());
    let queue = pair.connect();
    pair.read(queue, 512, 1);
    pair.poll();
    pair.poll();
    pair.controller_events.clear();
    pair.network.reset(pair.address);
    pair.run(MILLI);
    let [HostEvent::Aborted { cookie: 1, data, .. }, HostEvent::Closed { .. }] = &pair.host_events[..] else {
        panic!("{:?}", pair.host_events)
    };
    assert_eq!(data.len(), 512);
    assert!(matches!(pair.controller_events[..], [ControllerEvent::Closed { .. }]));
    assert_eq!(pair.network.connections(), 0, "both ends are gone");
}

#[test]
fn the_transport_is_chosen_only_when_asked_for() {
    let transport = SimTransport::new(&Network::new(0));
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 4420));
    assert!(matches!(transport.offer(&Target::new(Wire::INTRA_HOST, address)), Offer::Accept { .. }));
    assert!(matches!(transport.offer(&Target { wire: None, address }), Offer::Decline { .. }));
}

#[test]
fn an_error_completion_is_never_folded() {
    let mut pair = Pair::new(10, Link::default());
    let queue = pair.connect();
    pair.read(queue, 512, 1);
    pair.poll();
    pair.poll();
    let Some(ControllerEvent::Command { request, sqe, .. }) = pair.controller_events.pop() else { panic!() };
    let cqe = Cqe::error(sqe.cid(), Status::UNRECOVERED_READ_ERROR).with_sqhd(5);
    pair.controller.respond(request, cqe, Gather::new()).unwrap();
    pair.run(MILLI);
    let [HostEvent::Completed { cqe, sqhd_valid: true, transferred: 0, .. }] = &pair.host_events[..] else {
        panic!("{:?}", pair.host_events)
    };
    assert_eq!((cqe.status(), cqe.sqhd()), (Status::UNRECOVERED_READ_ERROR, 5));
}
