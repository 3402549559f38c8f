//! The controller against hosts that command anything: valid sequences, boundary values, nonsense, silence, at any time.
//!
//! Hosts are made of messages over the in-memory transport, the namespaces are small and in memory, some with faults. Every
//! command is answered exactly once or its queue ends; what a READ returns was written there or is zero; when all hosts
//! are gone, nothing of them is left.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use nvmf_controller::{
    Hosts, NamespaceOptions, Server, ServerOptions, Subsystem, SubsystemOptions, Worker,
    backend::{
        BlockSize, RamBackend,
        faulty::{Faulty, Order},
    },
};
use nvmf_sim::{Clock, Link, Network, SimConfig, SimTransport};
use nvmf_transport::{ControllerTransport, InCapsule, Target as Address, WaitPolicy, Wire};
use nvmf_wire::{
    DISCOVERY_NQN, Nqn, NqnField, Sqe, Status,
    fabrics::{CNTLID_DYNAMIC, Connect, ConnectAttributes, ConnectData, PropertySet},
    property::{Cc, PropertyOffset},
    zerocopy::{IntoBytes, little_endian::U16},
};

use super::{
    Choices, Target,
    commands::{self, CAPACITY, NAMESPACES, TRANSFER},
    raw_line::{News, RawLine},
    seeds,
};

pub(super) const TARGET: Target =
    Target { name: "controller_session", body, seeds: || seeds::random(24, 1500), longest: 3000 };

const SUBSYSTEMS: [&str; 2] = ["nqn.2024-01.com.example:a", "nqn.2024-01.com.example:b"];
const HOSTS: [&str; 3] =
    ["nqn.2024-01.com.example:host-1", "nqn.2024-01.com.example:host-2", "nqn.2024-01.com.example:none"];

/// The body.
pub(super) fn body(data: &[u8]) {
    let choices = &mut Choices::new(data);
    let mut world = World::new(choices);
    if !choices.once_in(4) {
        world.usual_start(choices);
    }
    // Backends may also end their work when its hosts are gone.
    let late = choices.once_in(3);
    while choices.more() {
        match choices.u8() % 32 {
            0..2 => world.open(),
            2..4 => world.connect(choices),
            4..20 => {
                world.command(choices);
                if choices.yes() {
                    world.answer_fetches(choices);
                }
            }
            20 => world.pass(Duration::from_millis(u64::from(choices.word() % 40_000))),
            21 if choices.once_in(8) => world.pass(Duration::from_secs(u64::from(choices.u8()))),
            22 if choices.once_in(3) => world.hang_up(choices),
            23 => world.answer_fetches(choices),
            24 => world.reconfigure(choices),
            25..28 => world.faults(choices),
            28 if choices.once_in(16) => world.worker.drain(),
            _ => {}
        }
        // Some commands come in one batch.
        if !choices.once_in(3) {
            world.run();
        }
    }
    world.wind_up(late);
}

struct World {
    clock: Clock,
    network: Network,
    server: Server,
    worker: Worker,
    subsystem: Arc<Subsystem>,
    faulty: Arc<Faulty>,
    address: SocketAddr,
    lines: Vec<RawLine>,
    cntlid: u16,
}

fn nqn(text: &str) -> Nqn {
    Nqn::parse(text).expect("a name")
}

fn ram(size: BlockSize) -> Arc<RamBackend> {
    Arc::new(RamBackend::new(CAPACITY, size).expect("a small namespace"))
}

impl World {
    fn new(choices: &mut Choices<'_>) -> Self {
        let small = choices.once_in(3);
        let network = Network::new(1).with_link(Link { in_flight: 64 << 20, ..Link::default() });
        let transport = SimTransport::with_config(
            &network,
            &SimConfig {
                max_transfer: TRANSFER,
                in_capsule: InCapsule { admin: 8192, io: choices.pick(&[16_384, 0, 4096]) },
                max_depth: if small { 32 } else { 256 },
                max_fetches: choices.pick(&[4, 1]),
            },
        );
        let mut options = ServerOptions::default();
        if small {
            options.max_associations = 2;
            options.max_queues = 5;
            options.max_unassociated = 3;
            options.memory = 512 * 1024;
            options.queue_memory = TRANSFER as usize;
        }
        let server = Server::new(options);
        let mut chosen = SubsystemOptions::new(nqn(SUBSYSTEMS[0]));
        chosen.max_io_queues = choices.pick(&[4, 1]);
        chosen.max_transfer = choices.pick(&[1 << 20, 4096, 64 << 10]);
        if small {
            chosen.cntlids = 1..=2;
            chosen.max_queue_entries = 16;
        }
        let subsystem = server.add_subsystem(chosen).expect("a subsystem");
        let other =
            server.add_subsystem(SubsystemOptions::new(nqn(SUBSYSTEMS[1]))).expect("another subsystem");
        other.set_hosts([nqn(HOSTS[0])].into_iter().collect());
        let faulty = Arc::new(Faulty::new(ram(NAMESPACES[2].1)));
        for (nsid, size) in &NAMESPACES[..2] {
            subsystem.add_namespace(*nsid, NamespaceOptions::new(ram(*size))).expect("a namespace");
        }
        subsystem.add_namespace(NAMESPACES[2].0, NamespaceOptions::new(faulty.clone())).expect("a namespace");
        let mut worker = Worker::new(&server, WaitPolicy::Spin).expect("a worker");
        let index = worker.add_engine(Wire::INTRA_HOST, transport.controller_engine().expect("an engine"));
        let at = Address::new(Wire::INTRA_HOST, ([127, 0, 0, 1], 4420).into());
        let address = worker.listen(index, &at).expect("a listener").address;
        server.add_listener(Wire::INTRA_HOST, address);
        Self {
            clock: Clock::new(),
            network,
            server,
            worker,
            subsystem,
            faulty,
            address,
            lines: Vec::new(),
            cntlid: CNTLID_DYNAMIC,
        }
    }

    /// An admin queue, enabled, and an I/O queue.
    fn usual_start(&mut self, choices: &mut Choices<'_>) {
        self.open();
        let kato = choices.pick(&[0, 5000, 120_000]);
        self.connect_as(0, Connect { sqsize: 31, kato, ..Connect::default() }, |_| {});
        self.run();
        self.send(0, PropertySet::new(PropertyOffset::CC, Cc::ENABLE_NVM.0.into()).to_sqe(), Vec::new());
        self.run();
        self.open();
        let cattr = ConnectAttributes(0).with_disable_sq_flow_control(choices.yes());
        let sqsize = choices.pick(&[15, 15, 15, 1]);
        self.connect_as(1, Connect { qid: 1, sqsize, cattr, ..Connect::default() }, |_| {});
        self.run();
        assert!(self.lines[1].is_io(), "the usual start does not lead to an I/O queue");
    }

    fn open(&mut self) {
        if self.lines.len() < 8 {
            self.lines.extend(RawLine::connect(&self.network, self.address, self.clock.now()));
            self.run();
        }
    }

    fn connect(&mut self, choices: &mut Choices<'_>) {
        if self.lines.is_empty() {
            return;
        }
        let at = choices.below(self.lines.len());
        let mut connect = Connect {
            qid: choices.pick(&[0, 1, 2, 1, 3, 5, 0xffff]),
            sqsize: choices.pick(&[31, 15, 127, 1, 0, 255, 0xffff]),
            kato: choices.pick(&[0, 1, 5000, 120_000, u32::MAX]),
            ..Connect::default()
        };
        if choices.once_in(8) {
            connect.recfmt = choices.u16();
        }
        connect.cattr = ConnectAttributes(if choices.once_in(4) { choices.u8() } else { choices.u8() & 4 });
        let (subsystem, host) = (choices.u8() % 6, choices.u8() % 8);
        let cntlid = choices.u8() % 12;
        let (number, damage) = (choices.u16(), choices.once_in(8));
        let mut spoil = Vec::new();
        if damage {
            spoil.extend([(choices.u16(), choices.u8()), (choices.u16(), choices.u8())]);
        }
        self.connect_as(at, connect, |data| {
            match subsystem {
                0 => data.subnqn = nqn(SUBSYSTEMS[1]).into(),
                1 => data.subnqn = nqn(DISCOVERY_NQN).into(),
                2 => data.subnqn = NqnField([b'n'; 256]),
                _ => {}
            }
            match host {
                0..2 => data.hostnqn = nqn(HOSTS[usize::from(host) + 1]).into(),
                2 => data.hostnqn = NqnField::default(),
                _ => {}
            }
            match cntlid {
                0 => data.cntlid = U16::new(number),
                1 => data.cntlid = U16::new(0xfffe),
                2 => data.cntlid = U16::new(number % 4),
                3 => data.hostid = [0; 16],
                _ => {}
            }
            for (place, value) in spoil {
                data.as_mut_bytes()[usize::from(place) % ConnectData::SIZE] = value;
            }
        });
    }

    fn connect_as(&mut self, at: usize, connect: Connect, change: impl FnOnce(&mut ConnectData)) {
        let mut data = ConnectData::zeroed();
        data.hostid = [7; 16];
        data.cntlid = U16::new(if connect.qid == 0 { CNTLID_DYNAMIC } else { self.cntlid });
        data.subnqn = nqn(SUBSYSTEMS[0]).into();
        data.hostnqn = nqn(HOSTS[0]).into();
        change(&mut data);
        self.send(at, connect.to_sqe(), data.as_bytes().to_vec());
    }

    /// Any command, most often on a queue that it is for.
    fn command(&mut self, choices: &mut Choices<'_>) {
        let Some(last) = self.lines.len().checked_sub(1) else { return };
        let (usual, (sqe, in_capsule)) = match choices.u8() % 16 {
            0..7 => (1, {
                let sqe = commands::io(choices);
                commands::perhaps_odd(choices, sqe)
            }),
            7..14 => (0, {
                let sqe = commands::admin(choices);
                commands::perhaps_odd(choices, sqe)
            }),
            _ => (0, commands::anything(choices)),
        };
        let at = if choices.once_in(3) { choices.below(last + 1) } else { last.min(usual) };
        self.send(at, sqe, in_capsule);
    }

    fn send(&mut self, at: usize, sqe: Sqe, in_capsule: Vec<u8>) {
        let now = self.clock.now();
        if let Some(line) = self.lines.get_mut(at) {
            line.send(now, sqe, in_capsule);
        }
    }

    /// Lets the controller come to rest, and hears what it says.
    fn run(&mut self) {
        let now = self.clock.now();
        for _ in 0..10_000 {
            let mut worked = self.worker.turn(now).expect("an engine lives");
            let mut at = 0;
            while at < self.lines.len() {
                match self.lines[at].hear(now) {
                    News::None => {
                        at += 1;
                        continue;
                    }
                    News::Some(cntlid) => self.cntlid = cntlid.unwrap_or(self.cntlid),
                    News::End => drop(self.lines.remove(at)),
                }
                worked = true;
            }
            if !worked {
                return;
            }
        }
        panic!("the controller never comes to rest");
    }

    /// Answers fetches, most often as they were asked.
    fn answer_fetches(&mut self, choices: &mut Choices<'_>) {
        let (now, odd) = (self.clock.now(), choices.once_in(24));
        self.lines.iter_mut().for_each(|line| line.answer_fetches(choices, now, odd));
        self.run();
    }

    fn hang_up(&mut self, choices: &mut Choices<'_>) {
        if self.lines.is_empty() {
            return;
        }
        let line = self.lines.remove(choices.below(self.lines.len()));
        if choices.yes() {
            line.reset();
        }
    }

    fn reconfigure(&mut self, choices: &mut Choices<'_>) {
        let (nsid, size) = choices.pick(&NAMESPACES[..2]);
        match choices.u8() % 6 {
            0 => drop(self.subsystem.remove_namespace(nsid)),
            1 | 2 => drop(self.subsystem.add_namespace(nsid, NamespaceOptions::new(ram(size)))),
            3 if choices.once_in(4) => self.subsystem.set_hosts([nqn(HOSTS[1])].into_iter().collect()),
            4 => self.subsystem.set_hosts(Hosts::Any),
            _ if choices.once_in(8) => drop(self.server.remove_subsystem(&nqn(SUBSYSTEMS[0]))),
            _ => {}
        }
    }

    fn faults(&mut self, choices: &mut Choices<'_>) {
        match choices.u8() % 6 {
            0 | 1 => self.faulty.hold(),
            2 => drop(self.faulty.release_one(choices.below(self.faulty.held() + 1))),
            3 => self.faulty.release(choices.pick(&[Order::Arrival, Order::Reverse, Order::Shuffled(7)])),
            4 => self.faulty.fail_nth(1 + u64::from(choices.u8() % 4), Status::INTERNAL_ERROR),
            _ => self.faulty.limit_writes(choices.yes().then_some(u64::from(choices.word()))),
        }
    }

    /// Lets time pass, stopping wherever the controller wants to be called.
    fn pass(&mut self, time: Duration) {
        let end = self.clock.now() + time;
        self.run();
        for _ in 0..10_000 {
            match self.worker.next_timeout().filter(|&next| next <= end) {
                Some(next) => self.clock.advance_to(next),
                None => {
                    self.clock.advance_to(end);
                    return self.run();
                }
            }
            self.run();
        }
        panic!("the controller's timers never come to rest");
    }

    /// All hosts and backends do their part, then all hosts leave; or hosts leave first.
    fn wind_up(&mut self, late: bool) {
        if !late {
            self.faulty.release(Order::Arrival);
            self.run();
            for _ in 0..2_000 {
                if self.lines.iter().all(|line| line.fetches() == 0) {
                    break;
                }
                self.answer_fetches(&mut Choices::new(&[]));
            }
            self.pass(Duration::from_secs(2));
            self.lines.iter().for_each(RawLine::check_all_answered);
        }
        let statistics = self.server.statistics();
        assert!(statistics.memory <= self.server.options().memory);
        self.lines.clear();
        self.run();
        self.faulty.release(Order::Reverse);
        self.pass(Duration::from_secs(400));
        let left = self.server.statistics();
        assert_eq!(
            (left.queues, left.associations, left.memory),
            (0, 0, 0),
            "something is left of hosts that are gone"
        );
        assert_eq!((self.worker.queues(), self.network.connections()), (0, 0));
    }
}
