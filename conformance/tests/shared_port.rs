//! The suite over a port that NVMe/TCP and iWARP share, for each of the two; and what may come to such a port without being either.
#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "in a test whatever is missing is a failure"
)]

use std::{
    io::{ErrorKind, Read, Write},
    net::{Ipv4Addr, TcpStream},
    sync::Arc,
    time::{Duration, Instant},
};

use nvmf_conformance::{
    Exclusion, conformance_suite,
    fixtures::{Rdma, SharedPort, Tcp},
    wire_rdma::rogue::ROGUES,
};
use nvmf_rdma::{Rdma as RdmaTransport, RdmaConfig, provider::soft_iwarp::SoftIwarp};
use nvmf_shared_port::{
    IWARP, NVME_TCP, SharedPort as Shared, SharedPortConfig, SharedPortEngine, TurnedAway,
};
use nvmf_tcp::{Tcp as TcpTransport, TcpConfig};
use nvmf_transport::{ControllerEngine, ControllerEvent, Engine, Target, WaitPolicy, Waiter};

fn tcp() -> Tcp {
    Tcp::new(TcpConfig::default()).impatient()
}

fn iwarp() -> Rdma {
    Rdma::new(SoftIwarp::default(), RdmaConfig::default()).with_rogues(ROGUES).impatient()
}

/// Before anything is negotiated a shared port promises what holds for both wires; each queue then has the limits of its own.
const WIDER: &[Exclusion] = &[
    Exclusion {
        case: "data/in-capsule-connect",
        reason: "the admin queue of NVMe/TCP takes more than is promised for both",
    },
    Exclusion {
        case: "data/in-capsule-admin",
        reason: "the admin queue of NVMe/TCP takes more than is promised for both",
    },
];

fn shared_tcp() -> SharedPort<Tcp> {
    let narrow = || Tcp::new(TcpConfig { in_capsule: 8192, ..TcpConfig::default() }).impatient();
    SharedPort::new(narrow().excluding(WIDER), &narrow(), &iwarp())
}

fn shared_iwarp() -> SharedPort<Rdma> {
    SharedPort::new(iwarp(), &tcp(), &iwarp())
}

conformance_suite!(shared_port_tcp, shared_tcp);
conformance_suite!(shared_port_iwarp, shared_iwarp);

/// A port for three connections that say nothing, none for longer than a fifth of a second.
struct Port {
    engine: SharedPortEngine,
    events: Vec<ControllerEvent>,
    waiter: Waiter,
    address: std::net::SocketAddr,
}

impl Port {
    fn open() -> Self {
        let config = SharedPortConfig {
            first_byte_timeout: Duration::from_millis(200),
            max_undecided: 3,
            ..SharedPortConfig::default()
        };
        let shared = Shared::new("both", config)
            .with(NVME_TCP, Arc::new(TcpTransport::default()))
            .with(IWARP, Arc::new(RdmaTransport::new(SoftIwarp::default(), RdmaConfig::default()).unwrap()));
        let mut engine = shared.engine().unwrap();
        let anywhere = Target { wire: None, address: (Ipv4Addr::LOCALHOST, 0).into() };
        let address = engine.listen(&anywhere).unwrap().address;
        Self { engine, events: Vec::new(), waiter: Waiter::new(WaitPolicy::Block), address }
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_nonblocking(true).unwrap();
        stream
    }

    /// Drives the engine as its owner would, until something is so.
    fn until(&mut self, mut is: impl FnMut(&Self) -> bool) {
        let limit = Instant::now() + Duration::from_secs(20);
        loop {
            let now = Instant::now();
            assert!(now < limit, "nothing came of it: {:?}", self.engine.turned_away());
            let known = self.events.len();
            self.engine.poll(now, &mut self.events).unwrap();
            if is(self) {
                return;
            }
            if self.events.len() == known {
                let until =
                    self.engine.next_timeout().into_iter().chain([now + Duration::from_millis(20)]).min();
                self.waiter.idle(now, &[self.engine.wait_handle()], until);
            }
        }
    }
}

/// Whether this side has been told that the connection is over.
fn is_over(stream: &mut TcpStream) -> bool {
    match stream.read(&mut [0; 64]) {
        Ok(0) => true,
        Ok(_) => false,
        Err(error) => error.kind() != ErrorKind::WouldBlock,
    }
}

const IC_REQ: [u8; 8] = [0, 0, 128, 0, 128, 0, 0, 0];

#[test]
fn a_first_byte_of_neither_wire_is_the_end() {
    let mut port = Port::open();
    for (count, byte) in [1u8, b'G', b'm', 0x16, 0xff].into_iter().enumerate() {
        let mut stream = port.connect();
        stream.write_all(&[byte]).unwrap();
        port.until(|_| is_over(&mut stream));
        assert_eq!(port.engine.turned_away().unknown, count as u64 + 1);
    }
    assert_eq!((port.engine.undecided(), port.events.len()), (0, 0));
}

#[test]
fn whoever_says_nothing_is_closed_in_time() {
    let mut port = Port::open();
    let begin = Instant::now();
    let mut silent = [port.connect(), port.connect()];
    port.until(|port| port.engine.undecided() == 2);
    let mut left = port.connect();
    drop(port.connect());
    port.until(|port| port.engine.turned_away().closed == 1);
    port.until(|_| silent.iter_mut().all(is_over));
    assert!(begin.elapsed() >= Duration::from_millis(200), "{:?}", begin.elapsed());
    port.until(|_| is_over(&mut left));
    assert_eq!(port.engine.turned_away(), TurnedAway { silent: 3, closed: 1, ..TurnedAway::default() });
    assert_eq!(port.engine.undecided(), 0);
}

#[test]
fn the_oldest_of_too_many_silent_connections_gives_way() {
    let mut port = Port::open();
    let mut silent: Vec<TcpStream> = Vec::new();
    for count in 1..=3 {
        silent.push(port.connect());
        port.until(|port| port.engine.undecided() == count);
    }
    // One that speaks at once needs no place among them or takes the oldest's for a moment.
    let mut host = port.connect();
    host.write_all(&IC_REQ).unwrap();
    host.write_all(&[0; 120]).unwrap();
    port.until(|port| matches!(port.events.last(), Some(ControllerEvent::Accepted { .. })));
    let fourth = port.connect();
    let fifth = port.connect();
    port.until(|port| port.engine.turned_away().displaced >= 2);
    assert!(port.engine.undecided() <= 3);
    port.until(|_| is_over(&mut silent[0]) && is_over(&mut silent[1]));
    drop((fourth, fifth));
}

#[test]
fn bytes_may_come_one_by_one() {
    let mut port = Port::open();
    let mut host = port.connect();
    for byte in IC_REQ.into_iter().chain([0; 120]) {
        assert!(!port.events.iter().any(|event| matches!(event, ControllerEvent::Accepted { .. })));
        host.write_all(&[byte]).unwrap();
        for _ in 0..3 {
            port.engine.poll(Instant::now(), &mut port.events).unwrap();
        }
    }
    port.until(|port| matches!(port.events.last(), Some(ControllerEvent::Accepted { .. })));
    let mut answer = Vec::new();
    port.until(|_| {
        let mut bytes = [0; 256];
        if let Ok(n) = host.read(&mut bytes) {
            answer.extend_from_slice(&bytes[..n]);
        }
        answer.len() == 128
    });
    assert_eq!(answer[0], 1, "an ICResp");
    assert_eq!(port.engine.turned_away(), TurnedAway::default());
}
