//! In steady state a session allocates nothing for a read or an in-capsule write that its namespace ends at once.
#![allow(clippy::unwrap_used, reason = "what a test cannot have it fails for")]

use std::{
    os::fd::{AsFd, BorrowedFd},
    sync::Arc,
    time::Instant,
};

use allocation_counter::measure;
use nvmf_controller::{
    NamespaceOptions, Server, ServerOptions, Session, SubsystemOptions,
    backend::{BlockSize, RamBackend},
};
use nvmf_transport::{
    Buffer, Close, ControllerEngine, ControllerEvent, Engine, Error, Gather, InCapsule, Limits, Listener,
    ListenerId, Memory, Misuse, Pages, Pool, QueueId, QueueInfo, QueueSettings, Queues, Refused, RequestData,
    RequestId, Target, Wake, Wire,
};
use nvmf_wire::{
    Cid, Cqe, Nqn, NqnField, Sqe, Status,
    fabrics::{CNTLID_DYNAMIC, Connect, ConnectData, PropertySet},
    io::Rw,
    property::{Cc, PropertyOffset},
    zerocopy::{IntoBytes, little_endian::U16},
};

/// An engine that takes every answer and remembers the last completion.
struct Sink {
    wake: Wake,
    limits: Limits,
    last: Option<Cqe>,
    answers: u64,
}

impl Engine for Sink {
    fn transport(&self) -> &'static str {
        "sink"
    }
    fn memory(&self) -> Arc<dyn Memory> {
        Arc::new(Pages)
    }
    fn wait_handle(&self) -> BorrowedFd<'_> {
        self.wake.as_fd()
    }
    fn next_timeout(&self) -> Option<Instant> {
        None
    }
    fn limits(&self, _: QueueId) -> Option<&Limits> {
        Some(&self.limits)
    }
    fn configure(&mut self, _: QueueId, _: QueueSettings) -> Result<(), Misuse> {
        Ok(())
    }
    fn close(&mut self, _: QueueId, _: Close) {}
}

impl ControllerEngine for Sink {
    fn listen(&mut self, at: &Target) -> Result<Listener, Error> {
        Ok(Listener { id: ListenerId(0), address: at.address })
    }
    fn unlisten(&mut self, _: ListenerId) {}
    fn fetch(&mut self, _: RequestId, _: u32, into: Buffer) -> Result<(), Refused<Buffer>> {
        Err(Refused::new(into, Misuse::UnknownRequest))
    }
    fn respond(&mut self, _: RequestId, cqe: Cqe, _: Gather) -> Result<(), Refused<Gather>> {
        self.last = Some(cqe);
        self.answers += 1;
        Ok(())
    }
    fn poll(&mut self, _: Instant, _: &mut Vec<ControllerEvent>) -> Result<(), Error> {
        Ok(())
    }
}

struct Bench {
    engine: Sink,
    session: Session,
    events: Vec<ControllerEvent>,
    ids: Queues<()>,
    now: Instant,
}

impl Bench {
    fn accept(&mut self) -> QueueId {
        let queue = self.ids.insert(());
        let address = "192.0.2.1:1".parse().unwrap();
        let info = Box::new(QueueInfo {
            limits: self.engine.limits.clone(),
            local: address,
            peer: address,
            data_path: "software",
            negotiated: Vec::new(),
        });
        self.events.push(ControllerEvent::Accepted { queue, listener: ListenerId(0), info });
        queue
    }

    fn deliver(&mut self, queue: QueueId, slot: u16, sqe: Sqe, data: RequestData) {
        let request = RequestId { queue, slot, generation: 0 };
        self.events.push(ControllerEvent::Command { request, sqe: sqe.with_cid(Cid(slot)), data: Ok(data) });
    }

    fn handle(&mut self) {
        self.session.advance(&mut self.engine, self.now);
        self.session.handle(&mut self.engine, self.now, &mut self.events);
    }

    fn run(&mut self, queue: QueueId, sqe: Sqe, data: RequestData) -> Cqe {
        self.deliver(queue, 0, sqe, data);
        self.handle();
        let cqe = self.engine.last.take().unwrap();
        assert_eq!(cqe.status().code(), Status::SUCCESS);
        cqe
    }
}

fn copied(bytes: &[u8]) -> RequestData {
    let mut buffer = Pages.allocate(bytes.len()).unwrap();
    buffer.copy_from_slice(bytes);
    RequestData::InCapsule(buffer)
}

#[test]
#[expect(clippy::disallowed_methods, reason = "an arbitrary origin of time")]
fn steady_state() {
    let nqn = Nqn::parse("nqn.2024-01.com.example:disk").unwrap();
    let server = Server::new(ServerOptions::default());
    let subsystem = server.add_subsystem(SubsystemOptions::new(nqn)).unwrap();
    let disk = RamBackend::new(64 << 20, BlockSize::B512).unwrap();
    subsystem.add_namespace(1, NamespaceOptions::new(Arc::new(disk))).unwrap();
    let mut limits = Limits::default();
    limits.max_transfer = 1 << 20;
    limits.max_in_capsule = InCapsule { admin: 8192, io: 16384 };
    limits.max_depth = 1024;
    let wake = Wake::new().unwrap();
    let engine = Sink { wake: wake.clone(), limits, last: None, answers: 0 };
    let session = Session::new(&server, Wire::TCP, engine.memory(), wake);
    let mut bench = Bench {
        engine,
        session,
        events: Vec::with_capacity(64),
        ids: Queues::default(),
        now: Instant::now(),
    };

    let mut data = ConnectData::zeroed();
    data.hostid = [1; 16];
    data.cntlid = U16::new(CNTLID_DYNAMIC);
    data.subnqn = NqnField::from(nqn);
    data.hostnqn = NqnField::from(Nqn::from_uuid([1; 16]));
    let admin = bench.accept();
    let connect = Connect { sqsize: 31, ..Connect::default() };
    let cntlid = bench.run(admin, connect.to_sqe(), copied(data.as_bytes())).dw0() as u16;
    let enable = PropertySet::new(PropertyOffset::CC, Cc::ENABLE_NVM.bits().into());
    bench.run(admin, enable.to_sqe(), RequestData::None);
    data.cntlid = U16::new(cntlid);
    let io = bench.accept();
    let connect = Connect { qid: 1, sqsize: 127, ..Connect::default() };
    bench.run(io, connect.to_sqe(), copied(data.as_bytes()));

    // What the transport brings in capsules comes from its own pool.
    let capsules = Pool::new(Arc::new(Pages), 4096, 64);
    let mut rounds = |rounds: std::ops::Range<u64>| {
        for round in rounds {
            for slot in 0..32u16 {
                let slba = (round * 32 + u64::from(slot)) % 100 * 8;
                if slot % 2 == 0 {
                    bench.deliver(io, slot, Rw::new(slba, 8).read(1), RequestData::Remote { len: 4096 });
                } else {
                    let mut data = capsules.take().unwrap();
                    data.fill(round as u8);
                    bench.deliver(io, slot, Rw::new(slba, 8).write(1), RequestData::InCapsule(data));
                }
            }
            bench.handle();
        }
    };
    rounds(0..100);
    let counted = measure(|| rounds(100..200));
    assert_eq!(bench.engine.answers, 3 + 200 * 32);
    assert_eq!(subsystem.counters().reads, 100 * 32);
    assert_eq!(counted.count_total, 0, "allocations over 3200 commands");
}
