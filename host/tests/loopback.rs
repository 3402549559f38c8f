//! The clients and the host against our own controller, over TCP on loopback.

mod common;

use std::{
    collections::{HashSet, VecDeque},
    io::Write,
    net::TcpListener,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use common::{Proxy, SUBNQN, endpoint, options, serve, transports};
use nvmf_controller::Hosts;
use nvmf_host::{Client, ClientError, Io, IoError, Notice, Op, Options, State, connect, resolve};
use nvmf_transport::{Data, WaitPolicy};
use nvmf_wire::{Nqn, Status, log::Lid};

fn pattern(len: usize, seed: u32) -> Vec<u8> {
    let mut state = seed | 1;
    (0..len)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        })
        .collect()
}

/// The other side learns of things a moment later.
fn eventually(mut condition: impl FnMut() -> bool) {
    let start = now();
    while !condition() {
        assert!(start.elapsed() < Duration::from_secs(5), "not in time");
        thread::park_timeout(Duration::from_millis(5));
    }
}

#[expect(clippy::disallowed_methods, reason = "this test drives a host by itself")]
fn now() -> Instant {
    Instant::now()
}

#[test]
fn everything_a_client_does() {
    let serving = serve(Hosts::Any, WaitPolicy::default());
    let address = serving.listeners()[0].address;
    let client = Client::connect(&transports(), &endpoint(address), &options()).unwrap();
    let info = client.info();
    assert_eq!((info.transport, info.queues.len(), info.subnqn.as_str()), ("tcp", 3, SUBNQN));
    assert!(info.queues.iter().all(|queue| !queue.sq_flow_control));
    assert_eq!(client.namespaces().len(), 1);

    // Far more than one command moves, at an offset that is no multiple of anything but a block.
    let data = pattern(9 << 20, 7);
    client.write_from(1, 512, &data, false).unwrap();
    let mut back = vec![0; data.len()];
    client.read_into(1, 512, &mut back).unwrap();
    assert!(back == data);
    // The same in one request, cut by the association.
    let whole = client.read(1, 512, client.allocate(data.len()).unwrap()).unwrap();
    assert!(whole[..] == data[..]);
    client.write(1, 0, whole, true).unwrap();
    client.flush(1).unwrap();
    client
        .compare(1, 0, {
            let mut same = client.allocate(4096).unwrap();
            same.copy_from_slice(&data[..4096]);
            same
        })
        .unwrap();
    client.write_zeroes(1, 1 << 20, 1 << 20, true).unwrap();
    client.deallocate(1, 3 << 20, 1 << 20).unwrap();
    let mut zeroes = vec![1; 1 << 20];
    client.read_into(1, 1 << 20, &mut zeroes).unwrap();
    assert!(zeroes.iter().all(|&byte| byte == 0));

    assert!(matches!(client.read_into(1, 100, &mut [0; 512]), Err(ClientError::Io(IoError::Unaligned))));
    assert!(matches!(
        client.read_into(1, common::SIZE, &mut [0; 512]),
        Err(ClientError::Io(IoError::OutOfRange))
    ));
    assert!(matches!(client.flush(9), Err(ClientError::Io(IoError::UnknownNamespace(9)))));

    let identify = client.identify_controller().unwrap();
    assert_eq!(identify.subnqn.nqn().unwrap(), SUBNQN);
    assert_eq!(client.identify_namespace(1).unwrap().nsze.get(), common::SIZE / 512);
    let health = client.log_page(Lid::SMART_HEALTH, u32::MAX, 0, 512, true).unwrap();
    assert_eq!(health.len(), 512);
    let unknown = client.admin(nvmf_wire::Sqe::with_opcode(0xc5), Data::None, false);
    assert!(matches!(unknown.result, Err(IoError::Status(status)) if status.is(Status::INVALID_OPCODE)));

    let batch = (0..100).map(|block| (1, Op::Read { start: block, data: client.allocate(512).unwrap() }));
    assert!(client.batch(batch).iter().all(|done| done.result.is_ok()));

    // Nobody waits for these; they end all the same, and nothing else suffers.
    drop(
        client
            .asynchronous()
            .start((0..50).map(|block| (1, Op::Read { start: block, data: client.allocate(512).unwrap() }))),
    );
    client.flush(1).unwrap();

    let other = client.clone();
    client.close();
    assert_eq!(other.state(), State::Ended);
    assert!(matches!(other.flush(1), Err(ClientError::Io(IoError::Closed | IoError::Lost))));
    eventually(|| serving.server().associations().is_empty());
    serving.shutdown().unwrap();
}

#[test]
fn five_mistakes_have_five_names() {
    let allowed = Nqn::parse("nqn.2024-01.org.example:somebody-else").unwrap();
    let serving = serve([allowed].into_iter().collect(), WaitPolicy::default());
    let address = serving.listeners()[0].address;
    let fail =
        |address, options: &Options| Client::connect(&transports(), &endpoint(address), options).unwrap_err();

    let wrong_address = resolve("no-such-host.invalid", 4420).unwrap_err();
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let wrong_port = fail(closed, &options());
    let web = TcpListener::bind("127.0.0.1:0").unwrap();
    let web_address = web.local_addr().unwrap();
    let answers = thread::spawn(move || {
        let (mut stream, _) = web.accept().unwrap();
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").unwrap();
        // Held until the host has read it and gone.
        let _ = std::io::copy(&mut stream, &mut std::io::sink());
    });
    let no_nvme = fail(web_address, &options());
    answers.join().unwrap();
    let mut wrong = options();
    wrong.subnqn = Nqn::parse("nqn.2024-01.org.example:nothing").unwrap();
    wrong.host.nqn = allowed;
    let wrong_nqn = fail(address, &wrong);
    let refused_host = fail(address, &options());

    let errors = [wrong_address, wrong_port, no_nvme, wrong_nqn, refused_host];
    let codes: Vec<_> = errors.iter().map(|error| error.code()).collect();
    assert_eq!(
        codes,
        ["name-not-resolved", "connection-refused", "not-nvme", "unknown-subsystem", "connect-invalid-host"]
    );
    let texts: HashSet<_> = errors.iter().map(ToString::to_string).collect();
    assert_eq!(texts.len(), 5, "{texts:?}");
    assert_eq!(errors[3].field(), Some("SUBNQN"));
}

#[test]
fn discovery_tells_of_the_subsystem() {
    let serving = serve(Hosts::Any, WaitPolicy::default());
    let address = serving.listeners()[0].address;
    let client = Client::connect(&transports(), &endpoint(address), &Options::discovery()).unwrap();
    let log = client.discover().unwrap();
    let names: Vec<_> = log.entries.iter().filter_map(|entry| entry.subnqn.nqn().ok()).collect();
    assert!(names.iter().any(|name| *name == SUBNQN), "{names:?}");
    assert!(matches!(client.flush(1), Err(ClientError::Io(IoError::NoQueues))));
    client.close();
}

#[test]
fn a_watcher_hears_of_changes() {
    let serving = serve(Hosts::Any, WaitPolicy::default());
    let address = serving.listeners()[0].address;
    let watcher =
        Client::connect(&transports(), &endpoint(address), &Options::persistent_discovery()).unwrap();
    let client = Client::connect(&transports(), &endpoint(address), &options()).unwrap();
    let (mut directory, mut events) = (watcher.events(), client.events());
    let subsystem = serving.server().subsystem(&Nqn::parse(SUBNQN).unwrap()).unwrap();
    let backend =
        nvmf_controller::backend::RamBackend::new(1 << 20, nvmf_controller::backend::BlockSize::B4096);
    subsystem.add_namespace(7, nvmf_controller::NamespaceOptions::new(Arc::new(backend.unwrap()))).unwrap();
    while !matches!(events.wait(), Some(Notice::NamespacesChanged)) {}
    assert_eq!(
        client.namespaces().iter().map(|n| (n.nsid, n.block_size)).collect::<Vec<_>>(),
        [(1, 512), (7, 4096)]
    );
    let other = Nqn::parse("nqn.2024-01.org.example:other").unwrap();
    serving.server().add_subsystem(nvmf_controller::SubsystemOptions::new(other)).unwrap();
    while !matches!(directory.wait(), Some(Notice::DiscoveryChanged)) {}
    assert!(watcher.discover().unwrap().entries.iter().any(|entry| entry.subnqn.nqn() == Ok(other)));
}

#[test]
fn cut_connections_lose_nothing() {
    let serving = serve(Hosts::Any, WaitPolicy::default());
    let proxy = Proxy::new(serving.listeners()[0].address);
    let mut options = options();
    options.reconnect_delay = Duration::from_millis(150);
    let client = Client::connect(&transports(), &endpoint(proxy.address), &options).unwrap();
    let mut events = client.events();
    let stop = Arc::new(AtomicBool::new(false));
    let writers: Vec<_> = (0..3u64)
        .map(|writer| {
            let (client, stop) = (client.clone(), stop.clone());
            thread::spawn(move || {
                // Each writer has a region of its own and verifies what it wrote after every round.
                let (len, offset) = (2 << 20, writer * (4 << 20));
                let mut rounds = 0;
                while !stop.load(Ordering::Acquire) || rounds == 0 {
                    let data = pattern(len, rounds * 3 + writer as u32);
                    client.write_from(1, offset, &data, false).unwrap();
                    let mut back = vec![0; len];
                    client.read_into(1, offset, &mut back).unwrap();
                    assert!(back == data, "writer {writer}, round {rounds}");
                    rounds += 1;
                }
                rounds
            })
        })
        .collect();
    for _ in 0..4 {
        thread::park_timeout(Duration::from_millis(100));
        assert_eq!(proxy.cut(), 3, "all queues go through the proxy");
        let mut seen = Vec::new();
        while !matches!(seen.last(), Some(Notice::Connected { again: true })) {
            seen.push(events.wait().expect("the association lives"));
        }
        assert!(matches!(seen.first(), Some(Notice::Lost { .. })), "{seen:?}");
    }
    stop.store(true, Ordering::Release);
    let rounds: u32 = writers.into_iter().map(|writer| writer.join().unwrap()).sum();
    assert!(rounds >= 3);
    client.close();
}

#[test]
fn a_controller_that_never_comes_back_is_given_up_in_time() {
    let serving = serve(Hosts::Any, WaitPolicy::default());
    let mut options = options();
    options.reconnect_delay = Duration::from_millis(100);
    options.controller_loss_timeout = Some(Duration::from_millis(1000));
    let client = Client::connect(&transports(), &endpoint(serving.listeners()[0].address), &options).unwrap();
    let mut events = client.events();
    drop(serving);
    let start = now();
    let data = client.allocate(512).unwrap();
    let error = client.read(1, 0, data).unwrap_err();
    assert!(matches!(error, ClientError::Io(IoError::Lost)), "{error}");
    assert!(start.elapsed() < Duration::from_secs(3));
    let ended = std::iter::from_fn(|| events.wait()).find(|notice| matches!(notice, Notice::Ended { .. }));
    assert!(matches!(ended, Some(Notice::Ended { error: Some(error) }) if error.code() == "controller-lost"));
}

#[test]
fn a_host_on_its_own_thread_keeps_queues_full() {
    let serving = serve(Hosts::Any, WaitPolicy::default());
    let endpoint = endpoint(serving.listeners()[0].address);
    let connection = connect(&transports(), &endpoint, &options(), WaitPolicy::default()).unwrap();
    assert!(connection.fallbacks.is_empty() && connection.verdicts.len() == 1);
    let (mut host, association) = (connection.host, connection.association);
    let memory = host.memory();
    let io = |user: u64, write: bool| {
        let mut data = memory.allocate(4096).unwrap();
        data.fill(user as u8);
        let start = user * 8;
        let op = if write { Op::Write { start, data, fua: false } } else { Op::Read { start, data } };
        Io { user, nsid: 1, op, queue: None }
    };
    for write in [true, false] {
        let mut batch: VecDeque<Io> = (0..3000).map(|user| io(user, write)).collect();
        let (mut done, mut ended) = (Vec::new(), HashSet::new());
        while ended.len() < 3000 {
            let at = now();
            host.submit_batch(association, &mut batch, at).unwrap();
            let worked = host.poll(at, &mut done).unwrap();
            for done in done.drain(..) {
                assert!(ended.insert(done.user) && done.result.is_ok(), "{done:?}");
                let Data::FromController(data) = done.data else { continue };
                assert!(data.iter().all(|&byte| byte == done.user as u8));
            }
            if !worked {
                host.wait(at, &[]);
            }
        }
    }
    host.disconnect(association, &mut Vec::new()).unwrap();
    eventually(|| serving.server().associations().is_empty());
}
