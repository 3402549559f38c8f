//! A controller of ours over TCP on loopback, and a proxy in front of it that can cut every connection.
#![allow(dead_code, reason = "every test binary uses its own part")]
#![allow(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

use std::{
    io::{Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use nvmf_controller::{
    Hosts, NamespaceOptions, ServeOptions, Server, ServerOptions, Serving, SubsystemOptions,
    backend::{BlockSize, RamBackend},
};
use nvmf_host::{Endpoint, Options};
use nvmf_tcp::Tcp;
use nvmf_transport::{ControllerTransport, HostTransport, Target, Transports, WaitPolicy, Wire};
use nvmf_wire::Nqn;

pub(crate) const SUBNQN: &str = "nqn.2024-01.org.example:disk";
pub(crate) const SIZE: u64 = 64 << 20;

/// Serves one subsystem with one namespace in memory.
pub(crate) fn serve(hosts: Hosts, wait: WaitPolicy) -> Serving {
    let server = Server::new(ServerOptions::default());
    let mut subsystem = SubsystemOptions::new(Nqn::parse(SUBNQN).unwrap());
    subsystem.hosts = hosts;
    let subsystem = server.add_subsystem(subsystem).unwrap();
    let backend = Arc::new(RamBackend::new(SIZE, BlockSize::B512).unwrap());
    subsystem.add_namespace(1, NamespaceOptions::new(backend)).unwrap();
    let transports = Transports::<dyn ControllerTransport>::default().with(Arc::new(Tcp::default()));
    let listen = vec![Target::new(Wire::TCP, "127.0.0.1:0".parse().unwrap())];
    server.serve(&transports, &ServeOptions { listen, wait, ..ServeOptions::default() }).unwrap()
}

pub(crate) fn transports() -> Transports<dyn HostTransport> {
    Transports::default().with(Arc::new(Tcp::default()))
}

pub(crate) fn endpoint(address: SocketAddr) -> Endpoint {
    Endpoint::new(Wire::TCP, address)
}

pub(crate) fn options() -> Options {
    let mut options = Options::new(Nqn::parse(SUBNQN).unwrap());
    options.queues = 2;
    options.queue_depth = 32;
    options
}

/// Passes connections on until told to cut them.
pub(crate) struct Proxy {
    pub(crate) address: SocketAddr,
    streams: Arc<Mutex<Vec<TcpStream>>>,
    stop: Arc<AtomicBool>,
}

impl Proxy {
    pub(crate) fn new(to: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let streams = Arc::new(Mutex::new(Vec::new()));
        let stop = Arc::new(AtomicBool::new(false));
        let (kept, stopped) = (streams.clone(), stop.clone());
        thread::spawn(move || {
            for client in listener.incoming() {
                if stopped.load(Ordering::Acquire) {
                    return;
                }
                let (Ok(client), Ok(server)) = (client, TcpStream::connect(to)) else { continue };
                let _ = (client.set_nodelay(true), server.set_nodelay(true));
                kept.lock().unwrap().extend([client.try_clone().unwrap(), server.try_clone().unwrap()]);
                pass(client.try_clone().unwrap(), server.try_clone().unwrap());
                pass(server, client);
            }
        });
        Self { address, streams, stop }
    }

    /// Cuts every connection there is.
    pub(crate) fn cut(&self) -> usize {
        let streams = std::mem::take(&mut *self.streams.lock().unwrap());
        streams.iter().for_each(|stream| drop(stream.shutdown(Shutdown::Both)));
        streams.len() / 2
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        self.cut();
        drop(TcpStream::connect_timeout(&self.address, Duration::from_secs(1)));
    }
}

fn pass(mut from: TcpStream, mut to: TcpStream) {
    thread::spawn(move || {
        let mut bytes = vec![0; 64 << 10];
        while let Ok(n @ 1..) = from.read(&mut bytes) {
            if to.write_all(&bytes[..n]).is_err() {
                break;
            }
        }
        drop((from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both)));
    });
}
