//! That the data path allocates nothing once it is warm.
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "a test, and a driver: it reads the clock"
)]

use std::{sync::Arc, time::Instant};

use allocation_counter::measure;
use nvmf_tcp::{Tcp, TcpConfig, pdu::DigestPolicy};
use nvmf_transport::{
    Command, ConnectOptions, ControllerEngine, ControllerEvent, Data, Engine, Gather, HostEngine, HostEvent,
    Pages, Pool, QueueKind, QueueSettings, Region, RequestData, Target, View, Wire,
};
use nvmf_wire::{Cqe, IoOpcode, Sqe};

const DEPTH: u16 = 32;

/// Keeps a queue full of commands of one kind until `count` have ended; `Data` buffers are used again and again.
struct Bench<H, C> {
    host: H,
    controller: C,
    store: View,
    host_events: Vec<HostEvent>,
    controller_events: Vec<ControllerEvent>,
    spare: Vec<nvmf_transport::Buffer>,
    /// Where fetched data goes.
    pool: Pool,
    /// By slot of the request: fetches that have not ended.
    fetching: [u8; DEPTH as usize],
}

/// Bytes of one fetch: a long write takes two.
const PIECE: usize = 65_536;

impl<H: HostEngine, C: ControllerEngine> Bench<H, C> {
    /// One pass of both engines; returns how many commands ended, all of which are submitted again.
    fn pass(&mut self, sqe: Sqe, again: bool) -> u64 {
        let now = Instant::now();
        self.host.poll(now, &mut self.host_events).unwrap();
        let mut ended = 0;
        for event in self.host_events.drain(..) {
            let HostEvent::Completed { queue, cqe, data, .. } = event else { panic!("{event:?}") };
            assert!(cqe.status().is_success());
            ended += 1;
            match again {
                true => drop(self.host.submit(queue, Command { sqe, data, cookie: 0 }).unwrap()),
                false => self.spare.extend(data.into_buffer()),
            }
        }
        self.controller.poll(now, &mut self.controller_events).unwrap();
        for event in self.controller_events.drain(..) {
            if let ControllerEvent::Fetched { request, outcome, .. } = event {
                outcome.unwrap();
                let left = &mut self.fetching[usize::from(request.slot)];
                *left -= 1;
                if *left == 0 {
                    self.controller.respond(request, Cqe::default(), Gather::new()).unwrap();
                }
                continue;
            }
            let ControllerEvent::Command { request, sqe, data } = event else { panic!("{event:?}") };
            let answer = match data.unwrap() {
                RequestData::Remote { len } if sqe.io_opcode() == IoOpcode::READ => {
                    Gather::from(self.store.slice(0..len as usize))
                }
                RequestData::Remote { len } => {
                    for offset in (0..len).step_by(PIECE) {
                        self.controller.fetch(request, offset, self.pool.take().unwrap()).unwrap();
                        self.fetching[usize::from(request.slot)] += 1;
                    }
                    continue;
                }
                RequestData::InCapsule(_) => Gather::new(),
                other => panic!("{other:?}"),
            };
            self.controller.respond(request, Cqe::default(), answer).unwrap();
        }
        ended
    }
}

#[test]
fn reads_and_writes_allocate_nothing() {
    for digests in [false, true] {
        let mut config = TcpConfig::default();
        if digests {
            (config.host.header_digest, config.host.data_digest) = (DigestPolicy::On, DigestPolicy::On);
        }
        let tcp = Tcp::new(config).unwrap();
        let mut controller = tcp.controller().unwrap();
        let listener = controller.listen(&Target::new(Wire::TCP, "127.0.0.1:0".parse().unwrap())).unwrap();
        let mut host = tcp.host().unwrap();
        let options = ConnectOptions {
            kind: QueueKind::Io(1),
            depth: DEPTH,
            max_in_capsule: 16 * 1024,
            timeout: std::time::Duration::from_secs(5),
            source: None,
        };
        let queue = host.connect(&Target::new(Wire::TCP, listener.address), &options).unwrap();
        let settings = QueueSettings { kind: QueueKind::Io(1), depth: DEPTH, sq_flow_control: false };
        let (mut up, mut host_events, mut controller_events) = (0, Vec::new(), Vec::new());
        while up < 2 {
            host.poll(Instant::now(), &mut host_events).unwrap();
            controller.poll(Instant::now(), &mut controller_events).unwrap();
            for event in host_events.drain(..) {
                assert!(matches!(event, HostEvent::Connected { .. }), "{event:?}");
                host.configure(queue, settings).unwrap();
                up += 1;
            }
            for event in controller_events.drain(..) {
                let ControllerEvent::Accepted { queue, .. } = event else { panic!("{event:?}") };
                controller.configure(queue, settings).unwrap();
                up += 1;
            }
        }
        let store = Region::allocate(1 << 20).unwrap().into_buffer().freeze();
        let pool = Pool::new(Arc::new(Pages), PIECE, 2 * usize::from(DEPTH));
        let (spare, fetching) = (Vec::new(), [0; DEPTH as usize]);
        let mut bench =
            Bench { host, controller, store, host_events, controller_events, spare, pool, fetching };
        for (what, opcode, len) in [
            ("read", IoOpcode::READ, 4096),
            ("write", IoOpcode::WRITE, 4096),
            ("long read", IoOpcode::READ, 131_072),
            ("long write", IoOpcode::WRITE, 131_072),
        ] {
            let sqe = Sqe::io(opcode, 1);
            for _ in 0..DEPTH {
                let buffer = Region::allocate(len).unwrap().into_buffer();
                let data = if opcode == IoOpcode::WRITE {
                    Data::ToController(buffer)
                } else {
                    Data::FromController(buffer)
                };
                bench.host.submit(queue, Command { sqe, data, cookie: 0 }).unwrap();
            }
            let run = |bench: &mut Bench<_, _>, count| {
                let mut ended = 0;
                while ended < count {
                    ended += bench.pass(sqe, true);
                }
            };
            // Warm: every list has grown to what a full queue needs, every pooled buffer exists.
            run(&mut bench, 500);
            let allocations = measure(|| run(&mut bench, 1500));
            assert_eq!(allocations.count_total, 0, "{what}, digests {digests}");
            let mut ended = 0;
            while ended < u64::from(DEPTH) {
                ended += bench.pass(sqe, false);
            }
        }
    }
}
