//! Two engines over real sockets: that they carry commands, and how connecting fails.
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "a test, and a driver: it reads the clock"
)]

mod support;

use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    os::fd::AsFd,
    time::{Duration, Instant},
};

use nvmf_tcp::{Tcp, TcpConfig, pdu::DigestPolicy};
use nvmf_transport::{
    Close, CloseReason, Command, ControllerTransport, Data, DigestBy, Engine, ErrorKind, HostEngine,
    HostEvent, HostTransport, Misuse, Offer, Stage, Target, Transport, Wire,
};
use nvmf_wire::{IoOpcode, Sqe, Status};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use support::*;

fn digests(on: bool) -> TcpConfig {
    let mut config = TcpConfig::default();
    if on {
        (config.host.header_digest, config.host.data_digest) = (DigestPolicy::On, DigestPolicy::On);
    }
    config
}

// test: TCP-KA-03
#[test]
fn a_vanished_peer_is_noticed_in_seconds_but_not_before_keep_alive() {
    // What hosts ask for unless told otherwise: ours, and the kernel's.
    let kato = Duration::from_secs(5);
    let config = TcpConfig::default();
    let probing = config.keepalive.map(|tcp| tcp.idle + tcp.interval * tcp.probes).unwrap();
    for noticed in [probing, config.user_timeout.unwrap()] {
        assert!(kato < noticed && noticed <= Duration::from_secs(20), "{noticed:?}");
    }
}

// test: TCP-ADR-01, TCP-QUE-01, TCP-IC-23
#[test]
fn commands_of_every_size_on_many_queues() {
    for on in [false, true] {
        // More queues than are read without asking the poller, and fewer.
        for queues in [1, 9] {
            let mut both = Loop::with(digests(on));
            let all: Vec<_> = (0..queues).map(|_| both.connect()).collect();
            for (queue, info) in &all {
                for len in [4, 512, 4096, 16_384, 16_388, 131_072, 2_000_000 / queues] {
                    both.exchange(*queue, len);
                }
                assert_eq!(info.data_path, "software");
                let by = if on { DigestBy::Software } else { DigestBy::None };
                assert_eq!((info.limits.header_digest, info.limits.data_digest), (by, by));
                assert_eq!(both.host.limits(*queue), Some(&info.limits));
                assert!(info.negotiated.contains(&("data digest", if on { "on" } else { "off" }.into())));
            }
            let of_target = &both.target.infos[0];
            assert_eq!((of_target.local, of_target.peer), (all[0].1.peer, all[0].1.local));
        }
    }
}

#[test]
fn a_full_queue_of_large_commands() {
    let mut both = Loop::with(digests(true));
    let (queue, _) = both.connect();
    for round in 0..4 {
        for cookie in 0..u64::from(DEPTH) {
            let data = match (cookie + round) % 2 {
                0 => Data::ToController(pattern(1 << 20, cookie)),
                _ => Data::FromController(buffer(1 << 20)),
            };
            let opcode = if matches!(data, Data::ToController(_)) { IoOpcode::WRITE } else { IoOpcode::READ };
            both.submit(queue, opcode, data, cookie);
        }
        let refused = both.host.submit(queue, Command { sqe: Sqe::default(), data: Data::None, cookie: 99 });
        assert_eq!(refused.unwrap_err().why, Misuse::QueueFull);
        let mut ended = Vec::new();
        while ended.len() < usize::from(DEPTH) {
            match both.event() {
                HostEvent::Completed { cqe, cookie, data, .. } => {
                    assert_eq!(cqe.status(), Status::SUCCESS);
                    if let Data::FromController(read) = data {
                        assert!(read[..] == store()[..1 << 20]);
                    }
                    ended.push(cookie);
                }
                other => panic!("{other:?}"),
            }
        }
        ended.sort_unstable();
        assert_eq!(ended, (0..u64::from(DEPTH)).collect::<Vec<_>>());
    }
}

#[test]
fn an_idle_engine_has_nothing_to_do() {
    let mut both = Loop::with(TcpConfig::default());
    let (queue, _) = both.connect();
    both.exchange(queue, 4096);
    for _ in 0..1000 {
        both.poll();
    }
    // Deadlines of negotiation may still be noted, but none is near.
    let soon = Instant::now() + Duration::from_secs(1);
    for at in [both.host.next_timeout(), both.target.engine.next_timeout()] {
        assert!(at.is_none_or(|at| at > soon));
    }
    let silence = Timespec { tv_sec: 0, tv_nsec: 1_000_000 };
    for handle in [both.host.wait_handle(), both.target.engine.wait_handle()] {
        assert_eq!(poll(&mut [PollFd::from_borrowed_fd(handle, PollFlags::IN)], Some(&silence)).unwrap(), 0);
    }
    // What was submitted is to be sent, so the engine wants to be polled at once; and its peer notices by itself.
    both.submit(queue, IoOpcode::READ, Data::FromController(buffer(512)), 1);
    assert!(both.host.next_timeout().unwrap() <= Instant::now());
    both.host.poll(Instant::now(), &mut both.events).unwrap();
    let handle = both.target.engine.wait_handle();
    assert_eq!(poll(&mut [PollFd::from_borrowed_fd(handle, PollFlags::IN)], Some(&silence)).unwrap(), 1);
    both.completed(Status::SUCCESS);
}

#[test]
fn nobody_listens() {
    let mut both = Loop::with(TcpConfig::default());
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    both.host.connect(&target(free), &options()).unwrap();
    let error = both.failure();
    assert_eq!((error.stage(), error.kind()), (Stage::Connect, ErrorKind::Refused));
    assert!(error.detail().contains(&free.to_string()), "{error}");
}

/// A server that does as told with every connection.
fn server(serve: impl Fn(TcpStream) + Send + 'static) -> std::net::SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        if let Ok((stream, _)) = listener.accept() {
            serve(stream);
        }
    });
    address
}

fn read_some(stream: &mut TcpStream) {
    let _ = stream.read(&mut [0; 128]);
}

#[test]
fn servers_that_are_none_are_told_apart() {
    let not_nvme = server(|mut stream| {
        read_some(&mut stream);
        let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
    });
    let closing = server(|mut stream| read_some(&mut stream));
    let silent = server(|mut stream| {
        read_some(&mut stream);
        read_some(&mut stream);
    });
    let resetting = server(|mut stream| {
        read_some(&mut stream);
        socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
    });
    let cases = [
        (not_nvme, ErrorKind::NotNvme, "HTTP/1.1 400"),
        (closing, ErrorKind::PeerClosed, "ICResp"),
        (silent, ErrorKind::TimedOut, "ICResp"),
        (resetting, ErrorKind::Reset, "reset"),
    ];
    for (address, kind, text) in cases {
        let mut both = Loop::with(TcpConfig::default());
        let options = nvmf_transport::ConnectOptions { timeout: Duration::from_millis(400), ..options() };
        both.host.connect(&target(address), &options).unwrap();
        let error = both.failure();
        assert_eq!((error.stage(), error.kind()), (Stage::Negotiate, kind), "{error}");
        assert!(error.detail().contains(text), "{error}");
    }
}

// test: TCP-ADR-08
#[test]
#[cfg(target_os = "linux")]
fn a_machine_that_does_not_answer_is_another_matter() {
    // A listener whose backlog is full drops further handshakes without a word.
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&"127.0.0.1:0".parse::<std::net::SocketAddr>().unwrap().into()).unwrap();
    socket.listen(0).unwrap();
    let address = socket.local_addr().unwrap().as_socket().unwrap();
    let _full: Vec<_> =
        (0..4).filter_map(|_| TcpStream::connect_timeout(&address, Duration::from_millis(50)).ok()).collect();
    let mut both = Loop::with(TcpConfig::default());
    let options = nvmf_transport::ConnectOptions { timeout: Duration::from_millis(200), ..options() };
    both.host.connect(&target(address), &options).unwrap();
    let error = both.failure();
    assert_eq!((error.stage(), error.kind()), (Stage::Connect, ErrorKind::TimedOut), "{error}");
}

#[test]
fn closing_and_what_is_refused_after_it() {
    let mut both = Loop::with(TcpConfig::default());
    let (queue, _) = both.connect();
    both.submit(queue, IoOpcode::READ, Data::FromController(buffer(4096)), 7);
    both.host.close(queue, Close::Now);
    let refused = both.host.submit(queue, Command { sqe: Sqe::default(), data: Data::None, cookie: 1 });
    assert_eq!(refused.unwrap_err().why, Misuse::Closing);
    assert!(matches!(both.event(), HostEvent::Aborted { cookie: 7, data: Data::FromController(_), .. }));
    assert!(matches!(both.closed(), CloseReason::Requested));
    let refused = both.host.submit(queue, Command { sqe: Sqe::default(), data: Data::None, cookie: 1 });
    assert_eq!(refused.unwrap_err().why, Misuse::UnknownQueue);
    both.host.close(queue, Close::Now);
    assert!(both.host.configure(queue, settings()).is_err() && both.host.limits(queue).is_none());
    both.until(|both| !both.target.closed.is_empty());
    // Its slot may be used again, its name is not.
    let (again, _) = both.connect();
    assert_ne!(again, queue);
    both.exchange(again, 512);
}

#[test]
fn the_controller_closes_after_its_last_answer() {
    let mut both = Loop::with(TcpConfig::default());
    let (queue, _) = both.connect();
    both.submit(queue, IoOpcode::READ, Data::FromController(buffer(1 << 20)), 7);
    // The answer is recorded in the same pass in which the controller is told to close.
    both.until(|both| {
        both.host.poll(Instant::now(), &mut both.events).unwrap();
        both.target.poll();
        both.target.engine.next_timeout().is_some()
    });
    let of_target = both.target.queues[0];
    both.target.engine.close(of_target, Close::AfterFlush);
    assert!(both.completed(Status::SUCCESS)[..] == store()[..1 << 20]);
    assert!(matches!(both.closed(), CloseReason::PeerClosed));
    both.until(|both| !both.target.closed.is_empty());
    assert!(matches!(both.target.closed[0], CloseReason::Requested));
}

#[test]
fn an_engine_can_be_dropped_at_any_time() {
    let tcp = Tcp::default();
    let mut both = Loop::new(&tcp);
    let (queue, _) = both.connect();
    both.submit(queue, IoOpcode::READ, Data::FromController(buffer(1 << 20)), 7);
    both.poll();
    both.target = Target1::new(&tcp);
    assert!(matches!(both.event(), HostEvent::Aborted { cookie: 7, .. }));
    both.closed();
    both.connect();
    both.host = tcp.host().unwrap();
    both.until(|both| both.target.closed.len() == 1);
}

#[test]
fn a_listener_that_is_closed_takes_no_more() {
    let mut both = Loop::with(TcpConfig::default());
    let (queue, _) = both.connect();
    use nvmf_transport::ControllerEngine;
    both.target.engine.unlisten(both.target.listener);
    both.start();
    assert_eq!(both.failure().kind(), ErrorKind::Refused);
    both.exchange(queue, 4096);
    let taken = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let _held = TcpListener::bind(taken).unwrap();
    let error = both.target.engine.listen(&target(taken)).unwrap_err();
    assert_eq!((error.stage(), error.kind()), (Stage::Listen, ErrorKind::AddressInUse));
    let error = both.target.engine.listen(&target("192.0.2.1:0".parse().unwrap())).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AddressUnavailable);
}

#[test]
fn an_accepted_socket_can_be_handed_over() {
    let mut both = Loop::with(TcpConfig::default());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let queue = both.host.connect(&target(listener.local_addr().unwrap()), &options()).unwrap();
    let (accepted, _) = listener.accept().unwrap();
    both.target.engine.adopt(accepted.into(), both.target.listener).unwrap();
    assert!(matches!(both.event(), HostEvent::Connected { .. }));
    both.host.configure(queue, settings()).unwrap();
    both.exchange(queue, 65_536);
}

#[test]
fn engines_can_share_an_address() {
    let tcp = Tcp::new(TcpConfig { reuse_port: true, ..TcpConfig::default() }).unwrap();
    let mut both = Loop::new(&tcp);
    let mut second = tcp.controller().unwrap();
    use nvmf_transport::ControllerEngine;
    let listener = second.listen(&target(both.target.address)).unwrap();
    assert_eq!(listener.address, both.target.address);
    let mut events = Vec::new();
    for _ in 0..64 {
        both.start();
    }
    both.until(|both| {
        second.poll(Instant::now(), &mut events).unwrap();
        both.target.infos.len() + events.len() == 64
    });
    assert!(!both.target.infos.is_empty() && !events.is_empty(), "the system spreads connections");
}

#[test]
fn what_the_transport_says_of_itself() {
    let tcp = Tcp::default();
    assert_eq!((tcp.name(), tcp.wire()), ("tcp", Wire::TCP));
    let here = "127.0.0.1:4420".parse().unwrap();
    assert!(matches!(tcp.offer(&target(here)), Offer::Accept { preference: 50, .. }));
    assert!(matches!(tcp.offer(&Target { wire: None, address: here }), Offer::Accept { .. }));
    let rdma = Target::new(Wire::RDMA, here);
    assert!(matches!(tcp.offer(&rdma), Offer::Decline { because } if because.contains("rdma")));
    assert_eq!(tcp.limits().max_in_capsule.admin, 8192);
    let mut host = tcp.host_engine().unwrap();
    assert_eq!(host.connect(&rdma, &options()).unwrap_err().kind(), ErrorKind::Unsupported);
    let mut controller = tcp.controller_engine().unwrap();
    assert_eq!(controller.listen(&rdma).unwrap_err().kind(), ErrorKind::Unsupported);
    assert_eq!(host.memory().allocate(4096).unwrap().len(), 4096);
    let _ = (host.wait_handle().as_fd(), controller.wait_handle());
}

#[test]
fn a_configuration_names_what_is_wrong_with_it() {
    let wrong = |change: fn(&mut TcpConfig)| {
        let mut config = TcpConfig::default();
        change(&mut config);
        Tcp::new(config).unwrap_err()
    };
    assert_eq!(wrong(|c| c.in_capsule = 65_552).field, "in_capsule");
    assert_eq!(wrong(|c| c.in_capsule = 4097).field, "in_capsule");
    assert_eq!(wrong(|c| c.max_c2h_data = 4098).field, "max_c2h_data");
    assert_eq!(wrong(|c| c.controller.max_h2c_data = 4092).field, "controller.max_h2c_data");
    assert_eq!(wrong(|c| c.max_depth = 16).field, "max_depth");
    assert_eq!(wrong(|c| c.max_fetches = 0).field, "max_fetches");
    assert_eq!(wrong(|c| c.scratch = 100).field, "scratch");
    assert_eq!(wrong(|c| c.linger = Duration::from_secs(31)).field, "linger (ms)");
    assert_eq!(wrong(|c| c.stall_timeout = Duration::ZERO).field, "stall_timeout (ms)");
    assert_eq!(wrong(|c| c.max_negotiating = 0).to_string(), "max_negotiating = 0: must be at least 1");
}
