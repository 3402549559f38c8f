//! This project's host and target with a path in between that damages, stalls and breaks: what is read is what was written,
//! whatever happens, as long as digests are on; and the host always comes back.

#![allow(clippy::unwrap_used, reason = "a test, whose helpers are not marked as such")]

use std::{
    collections::HashMap,
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::{Duration, Instant},
};

use nvmf_controller::{
    NamespaceOptions, ServeOptions, Server, ServerOptions, Serving, SubsystemOptions,
    backend::{BlockSize, RamBackend},
};
use nvmf_host::{AssociationId, Done, Host, Io, Op, Options, State};
use nvmf_sim::{
    Rng,
    proxy::{Direction, Disturbance, Proxy},
};
use nvmf_tcp::{
    Tcp, TcpConfig,
    pdu::{ControllerTerms, DigestPolicy, HostTerms},
};
use nvmf_transport::{ControllerTransport, Data, HostTransport as _, Target, Transports, WaitPolicy, Wire};
use nvmf_wire::Nqn;

const BLOCK: usize = 4096;
const BLOCKS: u64 = 64;
/// Longer than any of these takes.
const LIMIT: Duration = Duration::from_secs(40);

fn name() -> Nqn {
    Nqn::parse("nqn.2024-01.org.example:damage").unwrap()
}

/// Both digests, and little patience: a peer that has fallen silent shall not hold the test up.
fn transport() -> Tcp {
    let digest = DigestPolicy::Required;
    let config = TcpConfig {
        host: HostTerms { header_digest: digest, data_digest: digest, ..TcpConfig::default().host },
        controller: ControllerTerms {
            header_digest: digest,
            data_digest: digest,
            ..TcpConfig::default().controller
        },
        linger: Duration::from_millis(100),
        negotiate_timeout: Duration::from_secs(1),
        ..TcpConfig::default()
    };
    Tcp::new(config).unwrap()
}

fn serve() -> (Serving, SocketAddr) {
    let server = Server::new(ServerOptions::default());
    let subsystem = server.add_subsystem(SubsystemOptions::new(name())).unwrap();
    let backend =
        RamBackend::new(BLOCKS * BLOCK as u64, BlockSize::from_bytes(BLOCK as u32).unwrap()).unwrap();
    subsystem.add_namespace(1, NamespaceOptions::new(Arc::new(backend))).unwrap();
    let transport: Arc<dyn ControllerTransport> = Arc::new(transport());
    let at = Target::new(Wire::TCP, SocketAddr::from((Ipv4Addr::LOCALHOST, 0)));
    let options = ServeOptions { listen: vec![at], wait: WaitPolicy::Block, ..ServeOptions::default() };
    let serving = server.serve(&Transports::default().with(transport), &options).unwrap();
    let address = serving.listeners()[0].address;
    (serving, address)
}

fn options() -> Options {
    let mut options = Options::new(name());
    options.queues = 2;
    options.queue_depth = 16;
    options.kato = Some(Duration::from_secs(1));
    options.reconnect_delay = Duration::from_millis(20);
    options.controller_loss_timeout = Some(LIMIT);
    options.command_timeout = Duration::from_millis(700);
    options.admin_timeout = Duration::from_millis(700);
    options.abort_timeout = Duration::from_millis(300);
    options.connect_timeout = Duration::from_secs(1);
    options.retries = 50;
    options
}

fn now() -> Instant {
    #[expect(clippy::disallowed_methods, reason = "this is a driving loop")]
    Instant::now()
}

/// A block of which every byte follows from where and when it was written, and that says both.
fn block(at: u64, version: u64) -> Vec<u8> {
    let mut bytes = vec![0; BLOCK];
    Rng::new(at << 32 | version).fill(&mut bytes);
    bytes[..8].copy_from_slice(&at.to_le_bytes());
    bytes[8..16].copy_from_slice(&version.to_le_bytes());
    bytes
}

/// What may be found in each block: what was last known to be written, and what has been tried since.
#[derive(Default)]
struct Model(HashMap<u64, Vec<u64>>);

impl Model {
    fn check(&self, at: u64, bytes: &[u8]) {
        let allowed = self.0.get(&at).cloned().unwrap_or_else(|| vec![0]);
        if bytes.iter().all(|&byte| byte == 0) {
            assert!(allowed.contains(&0), "block {at} is empty, {allowed:?} was written");
            return;
        }
        let version = u64::from_le_bytes(bytes[8..16].try_into().unwrap());
        assert!(allowed.contains(&version), "block {at} holds version {version}, allowed are {allowed:?}");
        assert!(bytes == block(at, version), "block {at}, version {version}, is damaged");
    }
}

struct Session {
    host: Host,
    id: AssociationId,
    done: Vec<Done>,
}

impl Session {
    /// Connects; as often as it takes, because a host that was never connected does not try again by itself.
    fn connect(address: SocketAddr) -> Self {
        let mut host = Host::new(transport().host_engine().unwrap(), WaitPolicy::Block);
        let until = now() + LIMIT;
        let mut done = Vec::new();
        loop {
            match host.connect(Target::new(Wire::TCP, address), options(), &mut done) {
                Ok(id) => return Self { host, id, done },
                Err(error) => assert!(now() < until, "{error}"),
            }
        }
    }

    /// Writes and reads at random until so many requests have ended; how many of them failed.
    fn work(&mut self, model: &mut Model, rng: &mut Rng, requests: u64) -> u64 {
        let until = now() + LIMIT;
        let (mut asked, mut ended, mut failed) = (0, 0, 0);
        // What a request is: the block, and the version if it is a write. One at a time per block.
        let mut open: HashMap<u64, (u64, Option<u64>)> = HashMap::new();
        while ended < requests {
            assert!(now() < until, "{ended} of {requests} requests have ended");
            while asked < requests && open.len() < 24 {
                let at = rng.below(BLOCKS);
                if open.values().any(|(other, _)| *other == at) {
                    break;
                }
                let mut data = self.host.memory().allocate(BLOCK).unwrap();
                let version = (rng.below(2) == 0).then_some(asked + 1);
                let op = match version {
                    Some(version) => {
                        data.copy_from_slice(&block(at, version));
                        model.0.entry(at).or_insert_with(|| vec![0]).push(version);
                        Op::Write { start: at, data, fua: false }
                    }
                    None => Op::Read { start: at, data },
                };
                open.insert(asked, (at, version));
                let io = Io { user: asked, nsid: 1, op, queue: None };
                self.host.submit(self.id, io, now()).expect("room for a request");
                asked += 1;
            }
            let worked = self.host.poll(now(), &mut self.done).unwrap();
            for Done { user, result, data } in self.done.drain(..) {
                ended += 1;
                let (at, version) = open.remove(&user).expect("a request that ends once");
                match (result, version, &data) {
                    (Ok(_), Some(version), _) => {
                        // It is there, and what was tried before it is not any more.
                        model.0.insert(at, vec![version]);
                    }
                    (Ok(_), None, Data::FromController(bytes)) => model.check(at, bytes),
                    _ => failed += 1,
                }
            }
            let state = self.host.association(self.id).map(nvmf_host::association::Association::state);
            assert_ne!(state, Some(State::Ended), "the host has given up");
            if !worked {
                self.host.wait(now(), &[]);
            }
        }
        failed
    }
}

/// Works through a disturbed path, then looks at everything by a clean one.
fn survives(disturbance: Disturbance, requests: u64) -> u64 {
    let (_serving, address) = serve();
    let (mut model, mut rng) = (Model::default(), Rng::new(disturbance.seed));
    let failed = {
        let proxy = Proxy::start(address, disturbance).unwrap();
        Session::connect(proxy.address()).work(&mut model, &mut rng, requests)
    };
    let mut clean = Session::connect(address);
    // Some more work, and with luck every block is read.
    assert_eq!(clean.work(&mut model, &mut rng, 400), 0, "requests fail on a clean path");
    failed
}

#[test]
fn flipped_bits_never_pass_for_data() {
    for seed in 0..3 {
        let flips = Direction { flip_per_million: 8, ..Direction::default() };
        survives(Disturbance { seed, to_controller: flips.clone(), to_host: flips, connections: None }, 600);
    }
}

#[test]
fn a_path_that_goes_silent_is_left() {
    let stall = |at| Direction { stall_at: Some(at), ..Direction::default() };
    for (to_controller, to_host) in
        [(stall(60_000), Direction::default()), (Direction::default(), stall(90_000))]
    {
        // The first connections fall silent in the middle, those that come later do not.
        survives(Disturbance { seed: 5, to_controller, to_host, connections: Some(0..=4) }, 300);
    }
}

#[test]
fn a_path_that_breaks_is_tried_again() {
    let reset = |at| Direction { reset_at: Some(at), ..Direction::default() };
    for at in [50, 200, 1300, 70_000] {
        survives(
            Disturbance {
                seed: 6,
                to_controller: reset(at),
                to_host: reset(at * 2),
                connections: Some(0..=5),
            },
            200,
        );
    }
}

#[test]
fn late_and_in_pieces_is_only_late() {
    let slow = Direction {
        delay: Duration::ZERO..=Duration::from_millis(2),
        segments: Some(1..=1460),
        ..Direction::default()
    };
    let disturbance = Disturbance { seed: 7, to_controller: slow.clone(), to_host: slow, connections: None };
    assert_eq!(survives(disturbance, 300), 0);
}
