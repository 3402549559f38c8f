//! Engines on the loopback device: what only a whole engine does.

use std::{
    net::{Ipv4Addr, SocketAddr},
    time::{Duration, Instant},
};

use nvmf_rdma::{
    Rdma, RdmaConfig,
    provider::{
        loopback::{Loopback, Options},
        soft_iwarp::SoftIwarp,
    },
    verbs::{KeyScope, Provider},
};
use nvmf_transport::{
    Close, CloseReason, Command, ConnectOptions, ControllerEngine, ControllerEvent, Data, ErrorKind,
    HostEngine, HostEvent, HostTransport as _, ListenerId, Memory as _, Offer, Pages, QueueKind, Target,
    Transport as _, Wire,
};
use nvmf_wire::{Cqe, IoOpcode, Sqe};

struct World {
    host: Box<dyn HostEngine>,
    controller: Box<dyn ControllerEngine>,
    target: Target,
    heard: Vec<HostEvent>,
    seen: Vec<ControllerEvent>,
}

fn options(qid: u16) -> ConnectOptions {
    ConnectOptions {
        kind: QueueKind::Io(qid),
        depth: 8,
        max_in_capsule: 4096,
        timeout: Duration::from_secs(5),
        source: None,
    }
}

impl World {
    fn new<P: Provider>(transport: &Rdma<P>) -> Self {
        let host = Box::new(transport.host().expect("a host"));
        let mut controller = Box::new(transport.controller().expect("a controller"));
        let at = Target::new(Wire::RDMA, SocketAddr::from((Ipv4Addr::LOCALHOST, 0)));
        let listener = controller.listen(&at).expect("to listen");
        let target = Target { address: listener.address, ..at };
        Self { host, controller, target, heard: Vec::new(), seen: Vec::new() }
    }

    #[expect(clippy::disallowed_methods, reason = "real engines live in real time")]
    fn until(&mut self, what: &str, mut enough: impl FnMut(&Self) -> bool) {
        let until = Instant::now() + Duration::from_secs(10);
        while !enough(self) {
            let now = Instant::now();
            assert!(now < until, "{what} did not happen: {:?} {:?}", self.heard, self.seen);
            self.host.poll(now, &mut self.heard).expect("the host's poll");
            self.controller.poll(now, &mut self.seen).expect("the controller's poll");
        }
    }

    fn connect(&mut self, qid: u16) -> nvmf_transport::QueueId {
        let queue = self.host.connect(&self.target, &options(qid)).expect("to connect");
        self.until("a connection", |world| {
            let up =
                |event: &HostEvent| matches!(event, HostEvent::Connected { queue: up, .. } if *up == queue);
            world.heard.iter().any(up)
        });
        queue
    }

    fn closed(&mut self) -> CloseReason {
        self.until("an end", |world| matches!(world.heard.last(), Some(HostEvent::Closed { .. })));
        match self.heard.pop() {
            Some(HostEvent::Closed { reason, .. }) => reason,
            other => panic!("{other:?}"),
        }
    }
}

// test: RDMA-CM-18, RDMA-QUE-11
#[test]
fn a_controller_that_is_full_says_so() {
    let config = RdmaConfig { max_connections: 2, ..RdmaConfig::default() };
    let mut world = World::new(&Rdma::new(SoftIwarp::default(), config.clone()).expect("a configuration"));
    let mut second =
        Rdma::new(SoftIwarp::default(), config).expect("a configuration").host_engine().expect("a host");
    world.connect(1);
    world.connect(2);
    assert!(world.host.connect(&world.target, &options(3)).is_err(), "the host's own bound");
    second.connect(&world.target, &options(3)).expect("to connect");
    std::mem::swap(&mut world.host, &mut second);
    match world.closed() {
        CloseReason::Failed(error) => {
            assert_eq!(error.kind(), ErrorKind::Resources);
            assert!(error.to_string().contains("no resources"), "{error}");
        }
        other => panic!("{other}"),
    }
    assert_eq!(
        world.seen.len(),
        2,
        "one connection, one queue; one that was turned down is none: {:?}",
        world.seen
    );
}

// test: RDMA-ERR-04
#[test]
fn a_removed_device_ends_its_queues() {
    let loopback = Loopback::new(Options::default());
    let mut world = World::new(&Rdma::new(loopback.clone(), RdmaConfig::default()).expect("a configuration"));
    let queue = world.connect(1);
    let data = Data::FromController(world.host.memory().allocate(4096).expect("memory"));
    let command = Command { sqe: Sqe::io(IoOpcode::READ, 1), data, cookie: 4 };
    world.host.submit(queue, command).expect("room");
    world.until("the command", |world| world.seen.len() == 2);
    loopback.remove_device();
    match world.closed() {
        CloseReason::Failed(error) => assert!(error.to_string().contains("loopback0 was removed"), "{error}"),
        other => panic!("{other}"),
    }
    assert!(matches!(world.heard.last(), Some(HostEvent::Aborted { cookie: 4, .. })), "{:?}", world.heard);
}

// test: RDMA-KEY-04
#[test]
fn an_aborted_commands_buffer_is_out_of_reach() {
    for options in [Options::default(), {
        let mut region = Options::default();
        (region.device.key_scope, region.device.send_invalidate) = (KeyScope::Region, false);
        region
    }] {
        let transport = Rdma::new(Loopback::new(options), RdmaConfig::default()).expect("a configuration");
        let mut world = World::new(&transport);
        let queue = world.connect(1);
        let data = Data::FromController(world.host.memory().allocate(4096).expect("memory"));
        let command = Command { sqe: Sqe::io(IoOpcode::READ, 1), data, cookie: 4 };
        world.host.submit(queue, command).expect("room");
        world.until("the command", |world| world.seen.len() == 2);
        world.host.close(queue, Close::Now);
        assert!(matches!(world.closed(), CloseReason::Requested));
        let Some(HostEvent::Aborted { data: Data::FromController(buffer), .. }) = world.heard.pop() else {
            panic!("{:?}", world.heard);
        };
        // The controller has not noticed, and answers.
        if let ControllerEvent::Command { request, .. } = world.seen[1] {
            let mut answer = world.controller.memory().allocate(4096).expect("memory");
            answer.fill(0xff);
            let _ = world.controller.respond(request, Cqe::default(), answer.into());
        }
        world.until("the end at the controller", |world| world.seen.len() == 3);
        assert!(buffer.iter().all(|&byte| byte == 0), "written after it came back");
    }
}

#[test]
fn memory_from_elsewhere_is_copied() {
    let transport =
        Rdma::new(Loopback::new(Options::default()), RdmaConfig::default()).expect("a configuration");
    let mut world = World::new(&transport);
    let queue = world.connect(1);
    let room = Pages.allocate(100_000).expect("memory");
    let command = Command { sqe: Sqe::io(IoOpcode::READ, 1), data: Data::FromController(room), cookie: 1 };
    world.host.submit(queue, command).expect("room");
    let mut out = Pages.allocate(70_000).expect("memory");
    out.fill(3);
    let command = Command { sqe: Sqe::io(IoOpcode::WRITE, 1), data: Data::ToController(out), cookie: 2 };
    world.host.submit(queue, command).expect("room");
    world.until("the commands", |world| world.seen.len() == 3);
    let requests: Vec<_> = world
        .seen
        .drain(1..)
        .map(|event| match event {
            ControllerEvent::Command { request, .. } => request,
            other => panic!("{other:?}"),
        })
        .collect();
    let mut answer = Pages.allocate(100_000).expect("memory");
    answer.fill(5);
    world.controller.respond(requests[0], Cqe::default(), answer.into()).expect("an answer");
    let into = Pages.allocate(70_000).expect("memory");
    world.controller.fetch(requests[1], 0, into).expect("a fetch");
    world.until("data both ways", |world| world.seen.len() == 2 && world.heard.len() == 2);
    assert!(
        matches!(&world.seen[1], ControllerEvent::Fetched { data, outcome: Ok(()), .. } if data.iter().all(|&byte| byte == 3))
    );
    assert!(matches!(&world.heard[1],
        HostEvent::Completed { data: Data::FromController(data), .. } if data.iter().all(|&byte| byte == 5)));
}

#[test]
fn a_socket_accepted_elsewhere_becomes_a_queue() {
    let transport = Rdma::new(SoftIwarp::default(), RdmaConfig::default()).expect("a configuration");
    let door = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("to listen");
    let target = Target::new(Wire::RDMA, door.local_addr().expect("an address"));
    let mut controller = transport.controller().expect("a controller");
    let mut host = transport.host().expect("a host");
    host.connect(&target, &options(1)).expect("to connect");
    let (mut heard, mut seen) = (Vec::new(), Vec::new());
    let deadline = Duration::from_secs(10);
    #[expect(clippy::disallowed_methods, reason = "real engines live in real time")]
    let start = Instant::now();
    let mut now = start;
    let mut adopted = false;
    door.set_nonblocking(true).expect("to poll");
    while !matches!(
        (&heard[..], &seen[..]),
        ([HostEvent::Connected { .. }], [ControllerEvent::Accepted { .. }])
    ) {
        assert!(now < start + deadline, "{heard:?} {seen:?}");
        if let Ok((mut stream, _)) = door.accept() {
            // What the demultiplexer of a port has read.
            let mut first = [0; 4];
            stream.set_nonblocking(false).expect("to block");
            std::io::Read::read_exact(&mut stream, &mut first).expect("the first bytes");
            assert_eq!(nvmf_soft_iwarp::mpa::looks_like_request(&first), Some(true));
            controller.adopt(stream.into(), first.to_vec(), ListenerId(7)).expect("to adopt");
            adopted = true;
        }
        host.poll(now, &mut heard).expect("the host's poll");
        controller.poll(now, &mut seen).expect("the controller's poll");
        #[expect(clippy::disallowed_methods, reason = "real engines live in real time")]
        {
            now = Instant::now();
        }
    }
    assert!(
        adopted && matches!(seen[0], ControllerEvent::Accepted { listener: ListenerId(7), .. }),
        "{seen:?}"
    );
}

#[test]
fn offers_say_why() {
    let transport = Rdma::new(SoftIwarp::default(), RdmaConfig::default()).expect("a configuration");
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 4420));
    assert!(
        matches!(transport.offer(&Target::new(Wire::RDMA, address)), Offer::Accept { because, .. } if !because.is_empty())
    );
    assert!(
        matches!(transport.offer(&Target::new(Wire::TCP, address)), Offer::Decline { because } if because.contains("nvme+rdma"))
    );
    assert_eq!(transport.limits().max_in_capsule.admin, 0);
    assert!(transport.limits().remote_invalidate);
}

#[test]
fn configurations_out_of_range_are_refused() {
    let good = RdmaConfig::default;
    for bad in [
        RdmaConfig { in_capsule: 17, ..good() },
        RdmaConfig { in_capsule: 65_552, ..good() },
        RdmaConfig { in_capsule_offset: 8, ..good() },
        RdmaConfig { max_transfer: 1 << 24, ..good() },
        RdmaConfig { max_transfer: 0, ..good() },
        RdmaConfig { max_depth: 31, ..good() },
        RdmaConfig { read_depth: 0, ..good() },
        RdmaConfig { max_descriptors: 0, ..good() },
        RdmaConfig { linger: Duration::ZERO, ..good() },
    ] {
        assert!(Rdma::new(SoftIwarp::default(), bad).is_err());
    }
}
