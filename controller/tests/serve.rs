//! Threads, listeners and shutdown, over the in-memory transport.
#![allow(clippy::unwrap_used, reason = "what a test cannot have it fails for")]

use std::{
    os::fd::AsFd,
    sync::Arc,
    time::{Duration, Instant},
};

use nvmf_controller::{
    NamespaceOptions, ServeError, ServeOptions, Server, ServerOptions, SubsystemOptions,
    backend::{
        BlockSize, RamBackend,
        faulty::{Faulty, Order},
    },
};
use nvmf_sim::{Network, SimTransport};
use nvmf_transport::{
    Buffer, Command, ConnectOptions, ControllerTransport, Data, HostEngine, HostEvent, HostTransport, Policy,
    QueueId, QueueKind, QueueSettings, Target, Transports, Wire,
};
use nvmf_wire::{
    Cqe, Nqn, NqnField, Sqe,
    fabrics::{CNTLID_DYNAMIC, Connect, ConnectData, PropertySet},
    io::Rw,
    property::{Cc, PropertyOffset},
    zerocopy::{IntoBytes, little_endian::U16},
};

fn nqn() -> Nqn {
    Nqn::parse("nqn.2024-01.com.example:disk").unwrap()
}

fn target() -> Target {
    Target::new(Wire::INTRA_HOST, "127.0.0.1:4420".parse().unwrap())
}

/// A host that does one thing after the other, in real time.
struct Host {
    engine: Box<dyn HostEngine>,
    events: Vec<HostEvent>,
}

impl Host {
    #[expect(clippy::disallowed_methods, reason = "a test with threads runs in real time")]
    fn until<T>(&mut self, mut wanted: impl FnMut(&HostEvent) -> Option<T>) -> Option<T> {
        let give_up = Instant::now() + Duration::from_secs(20);
        loop {
            let now = Instant::now();
            self.engine.poll(now, &mut self.events).unwrap();
            if let Some(at) = self.events.iter().position(|event| wanted(event).is_some()) {
                return wanted(&self.events.remove(at));
            }
            if now >= give_up {
                return None;
            }
            let mut wait = nvmf_transport::Waiter::new(nvmf_transport::WaitPolicy::Block);
            let until = self.engine.next_timeout().unwrap_or(give_up).min(now + Duration::from_millis(5));
            wait.idle(now, &[self.engine.wait_handle().as_fd()], Some(until));
        }
    }

    fn submit(&mut self, queue: QueueId, sqe: Sqe, data: Data) {
        self.engine.submit(queue, Command { sqe, data, cookie: 1 }).unwrap();
    }

    fn completion(&mut self, queue: QueueId) -> Cqe {
        self.until(|event| match event {
            HostEvent::Completed { queue: of, cqe, .. } if *of == queue => Some(*cqe),
            _ => None,
        })
        .expect("no completion")
    }

    fn run(&mut self, queue: QueueId, sqe: Sqe, data: Data) -> Cqe {
        self.submit(queue, sqe, data);
        self.completion(queue).ok().unwrap()
    }

    fn buffer(&self, bytes: &[u8]) -> Buffer {
        let mut buffer = self.engine.memory().allocate(bytes.len()).unwrap();
        buffer.copy_from_slice(bytes);
        buffer
    }

    fn connect(&mut self, kind: QueueKind, cntlid: u16) -> (QueueId, Cqe) {
        let options = ConnectOptions {
            kind,
            depth: 32,
            max_in_capsule: 8192,
            timeout: Duration::from_secs(10),
            source: None,
        };
        let queue = self.engine.connect(&target(), &options).unwrap();
        let connected = |event: &HostEvent| match event {
            HostEvent::Connected { queue: of, .. } => (*of == queue).then_some(()),
            _ => None,
        };
        self.until(connected).expect("not connected");
        let mut data = ConnectData::zeroed();
        data.hostid = [1; 16];
        data.cntlid = U16::new(cntlid);
        data.subnqn = NqnField::from(nqn());
        data.hostnqn = NqnField::from(Nqn::from_uuid([1; 16]));
        let command = Connect { qid: kind.qid(), sqsize: 31, ..Connect::default() };
        let data = self.buffer(data.as_bytes());
        let cqe = self.run(queue, command.to_sqe(), Data::ToController(data));
        let settings = QueueSettings { kind, depth: 32, sq_flow_control: true };
        self.engine.configure(queue, settings).unwrap();
        (queue, cqe)
    }

    /// An enabled controller with I/O queues.
    fn associate(&mut self, queues: u16) -> (QueueId, Vec<QueueId>) {
        let (admin, cqe) = self.connect(QueueKind::Admin, CNTLID_DYNAMIC);
        let enable = PropertySet::new(PropertyOffset::CC, Cc::ENABLE_NVM.bits().into());
        self.run(admin, enable.to_sqe(), Data::None);
        let io = (1..=queues).map(|qid| self.connect(QueueKind::Io(qid), cqe.dw0() as u16).0).collect();
        (admin, io)
    }

    fn closed(&mut self, queue: QueueId) {
        let closed = |event: &HostEvent| {
            matches!(event, HostEvent::Closed { queue: of, .. } if *of == queue).then_some(())
        };
        self.until(closed).expect("not closed");
    }
}

fn transports(network: &Network) -> (Host, Transports<dyn ControllerTransport>) {
    let (host, controller) = SimTransport::new(network).shared();
    let host: Arc<dyn HostTransport> = host;
    let host = Host { engine: host.host_engine().unwrap(), events: Vec::new() };
    (host, Transports::default().with(controller))
}

fn options(threads: usize) -> ServeOptions {
    ServeOptions {
        listen: vec![target()],
        threads,
        drain_timeout: Duration::from_secs(10),
        ..ServeOptions::default()
    }
}

#[test]
fn serve_and_shut_down() {
    let server = Server::new(ServerOptions::default());
    let subsystem = server.add_subsystem(SubsystemOptions::new(nqn())).unwrap();
    let disk = Arc::new(Faulty::new(Arc::new(RamBackend::new(1 << 20, BlockSize::B512).unwrap())));
    subsystem.add_namespace(1, NamespaceOptions::new(disk.clone())).unwrap();
    let (mut host, transports) = transports(&Network::new(1));
    let serving = server.serve(&transports, &options(3)).unwrap();
    let [listener] = serving.listeners() else { panic!("{serving:?}") };
    assert_eq!((listener.transport, listener.target()), ("sim", target()));
    assert_eq!(listener.threads, 3);
    assert_eq!(server.listeners().len(), 1, "discovery knows");
    // More queues than threads: some of one association live on different ones.
    let (admin, io) = host.associate(6);
    for (n, &queue) in io.iter().enumerate() {
        let data = host.buffer(&[n as u8 + 1; 512]);
        host.run(queue, Rw::new(n as u64, 1).write(1), Data::ToController(data));
    }
    for (n, &queue) in io.iter().rev().enumerate() {
        let data = host.buffer(&[0; 512]);
        host.run(queue, Rw::new(n as u64, 1).read(1), Data::FromController(data));
    }
    assert_eq!(subsystem.counters().written_bytes, 6 * 512);
    assert_eq!(server.associations()[0].io_queues, 6);
    assert!(serving.healthy());
    // A write is under way while the server shuts down: it is answered, then flushed, then all is closed.
    disk.hold();
    let data = host.buffer(&[9; 512]);
    host.submit(io[0], Rw::new(0, 1).write(1), Data::ToController(data));
    while disk.held() == 0 {
        host.engine.poll(now(), &mut host.events).unwrap();
    }
    let stopping = std::thread::spawn(move || serving.shutdown());
    while !server.listeners().is_empty() {
        std::thread::yield_now();
    }
    let before = disk.submitted();
    disk.release(Order::Arrival);
    host.completion(io[0]).ok().unwrap();
    io.iter().chain([&admin]).for_each(|&queue| host.closed(queue));
    stopping.join().unwrap().unwrap();
    assert_eq!(disk.submitted(), before + 1, "flushed at the end");
    assert_eq!(server.statistics().queues, 0);
    assert!(server.associations().is_empty());
}

#[expect(clippy::disallowed_methods, reason = "a test with threads runs in real time")]
fn now() -> Instant {
    Instant::now()
}

#[test]
fn one_association_ends_on_all_threads() {
    let server = Server::new(ServerOptions::default());
    let subsystem = server.add_subsystem(SubsystemOptions::new(nqn())).unwrap();
    let disk = RamBackend::new(1 << 20, BlockSize::B512).unwrap();
    subsystem.add_namespace(1, NamespaceOptions::new(Arc::new(disk))).unwrap();
    let (mut host, transports) = transports(&Network::new(1));
    let serving = server.serve(&transports, &options(2)).unwrap();
    let (_, first) = host.associate(4);
    let (_, second) = host.associate(4);
    server.remove_subsystem(&nqn()).unwrap();
    first.iter().chain(&second).for_each(|&queue| host.closed(queue));
    drop(serving);
    assert_eq!(server.statistics().queues, 0);
}

#[test]
fn what_cannot_be_served() {
    let server = Server::new(ServerOptions::default());
    let network = Network::new(1);
    let (_, transports) = transports(&network);
    let elsewhere = Target::new(Wire::TCP, target().address);
    let wrong = ServeOptions { listen: vec![target(), elsewhere], ..options(1) };
    let error = server.serve(&transports, &wrong).unwrap_err();
    assert!(matches!(error, ServeError::NoTransport { target, .. } if target == elsewhere), "{error}");
    let nobody = ServeOptions { policy: Policy::Require("none".into()), ..options(1) };
    assert!(matches!(server.serve(&transports, &nobody), Err(ServeError::NoTransport { .. })));
    assert!(server.listeners().is_empty(), "nothing is left behind");
    // The address is free again.
    let serving = server.serve(&transports, &options(1)).unwrap();
    serving.shutdown().unwrap();
}
