//! Associations whose queues are served by several threads, over TCP.
#![allow(clippy::unwrap_used, reason = "what a test cannot have it fails for")]

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use nvmf_controller::{
    NamespaceOptions, ServeOptions, Server, ServerOptions, Serving, SubsystemOptions,
    backend::{BlockSize, RamBackend},
};
use nvmf_host::{Client, Endpoint, Options};
use nvmf_tcp::{Tcp, TcpConfig};
use nvmf_transport::{ControllerTransport, HostTransport, Target, Transports, Wire};
use nvmf_wire::Nqn;

fn nqn() -> Nqn {
    Nqn::parse("nqn.2014-08.org.example:threads").unwrap()
}

fn serve(threads: usize) -> (Server, Serving) {
    let server = Server::new(ServerOptions::default());
    let subsystem = server.add_subsystem(SubsystemOptions::new(nqn())).unwrap();
    let ram = RamBackend::new(16 << 20, BlockSize::B4096).unwrap();
    subsystem.add_namespace(1, NamespaceOptions::new(Arc::new(ram))).unwrap();
    let transports: Transports<dyn ControllerTransport> =
        Transports::default().with(Arc::new(Tcp::new(TcpConfig::default()).unwrap()));
    let options = ServeOptions {
        listen: vec![Target::new(Wire::TCP, "127.0.0.1:0".parse().unwrap())],
        threads,
        ..ServeOptions::default()
    };
    let serving = server.serve(&transports, &options).unwrap();
    assert_eq!(serving.listeners()[0].threads, threads);
    (server, serving)
}

fn connect(serving: &Serving, queues: u16, kato: Duration) -> Client {
    let transports: Transports<dyn HostTransport> =
        Transports::default().with(Arc::new(Tcp::new(TcpConfig::default()).unwrap()));
    let mut options = Options::new(nqn());
    (options.queues, options.kato) = (queues, Some(kato));
    let client =
        Client::connect(&transports, &Endpoint::new(Wire::TCP, serving.listeners()[0].address), &options)
            .unwrap();
    assert_eq!(client.info().queues.len(), usize::from(queues) + 1);
    client
}

/// Waits until connections are spread as wanted; says how they are if they never get there.
#[expect(clippy::disallowed_methods, reason = "a test with threads runs in real time")]
fn spread(serving: &Serving, wanted: &[usize]) {
    let give_up = Instant::now() + Duration::from_secs(20);
    while serving.placed() != wanted {
        assert!(Instant::now() < give_up, "{:?} and not {wanted:?}", serving.placed());
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// More requests than queues, so that each queue has some.
fn write_and_read(client: &Client, seed: u8) {
    let data: Vec<u8> = (0..4u32 << 20).map(|at| (at / 4096) as u8 ^ seed).collect();
    client.write_from(1, 0, &data, false).unwrap();
    let mut back = vec![0; data.len()];
    client.read_into(1, 0, &mut back).unwrap();
    assert!(data == back);
}

#[test]
fn queues_are_spread_evenly_and_work() {
    let (server, serving) = serve(2);
    let first = connect(&serving, 8, Duration::from_secs(5));
    // Four I/O queues each, and the admin queue.
    spread(&serving, &[5, 4]);
    let second = connect(&serving, 8, Duration::from_secs(5));
    spread(&serving, &[9, 9]);
    write_and_read(&first, 1);
    write_and_read(&second, 2);
    assert_eq!(server.associations().len(), 2);
    // An association that ends takes its queues of every thread along.
    first.close();
    spread(&serving, &[4, 5]);
    write_and_read(&second, 3);
    assert_eq!(server.associations().len(), 1);
    let third = connect(&serving, 3, Duration::from_secs(5));
    spread(&serving, &[7, 6]);
    drop((second, third));
    spread(&serving, &[0, 0]);
    serving.shutdown().unwrap();
    assert!(server.associations().is_empty());
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a test of silence has to wait")]
fn traffic_of_another_thread_keeps_an_association_alive() {
    let (server, serving) = serve(3);
    let client = connect(&serving, 5, Duration::from_secs(1));
    spread(&serving, &[2, 2, 2]);
    let until = Instant::now() + Duration::from_millis(3500);
    let mut seed = 0;
    while Instant::now() < until {
        write_and_read(&client, seed);
        seed = seed.wrapping_add(1);
    }
    assert_eq!(server.associations().len(), 1);
    // The server ends first, with the host connected to all of its threads.
    serving.shutdown().unwrap();
    assert!(server.associations().is_empty());
    drop(client);
}
