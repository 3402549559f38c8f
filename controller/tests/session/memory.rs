//! Data buffers of I/O queues: commands that wait for memory, hosts that stall, queues that are lost.

use std::{sync::Arc, time::Duration};

use nvmf_controller::{
    NamespaceOptions, ServerOptions,
    backend::{
        Backend, FileBackend, FileOptions,
        faulty::{Faulty, Order},
    },
};
use nvmf_transport::RequestData;
use nvmf_wire::{Cid, Status, admin::Abort, zerocopy::IntoBytes};

use crate::rig::*;

/// One queue with the least memory.
fn tight() -> Rig {
    let options = ServerOptions { queue_memory: 0, ..ServerOptions::default() };
    Rig::with(options, |s| s.max_transfer = 128 << 10, 2)
}

#[test]
fn writes_wait_for_memory_and_go_on() {
    let mut rig = tight();
    let (_, io) = rig.ready();
    let requests: Vec<_> = (0..40)
        .map(|n| rig.submit(io, write(n * 256, 256), RequestData::Remote { len: 128 << 10 }))
        .collect();
    // Some are being fetched, the others hold nothing.
    let held: usize = rig.engine().fetches.iter().map(|fetch| fetch.2.region().len()).sum();
    assert!((1..=256 << 10).contains(&held), "{held} bytes");
    let mut served = 0;
    while let Some((request, offset, mut data)) = rig.engine().fetches.pop() {
        data.fill(served);
        rig.serve_fetch(io, request, offset, data, Ok(()));
        served += 1;
        rig.pass(Duration::from_millis(2));
    }
    for request in requests {
        rig.answer(io, request).unwrap().ok();
    }
    assert_eq!(served, 40);
}

#[test]
fn a_stalled_host_stalls_only_itself() {
    let mut rig = tight();
    let (_, cntlid) = rig.controller();
    let stalled = rig.io(0, cntlid, 1);
    let other = rig.io(0, cntlid, 2);
    for n in 0..100 {
        rig.submit(stalled, write(n * 256, 256), RequestData::Remote { len: 128 << 10 });
    }
    let data = pattern(256, 9);
    rig.write_remote(other, write(0, 256), data.clone()).ok();
    assert_eq!(rig.read(other, read(0, 256), 128 << 10).ok().data, data);
    // Its end frees everything.
    let before = rig.server.statistics().memory;
    rig.hang_up(stalled);
    assert!(rig.server.statistics().memory < before);
    assert_eq!(rig.lanes[0].session.queues(), 2);
    rig.io(0, cntlid, 1);
}

#[test]
fn a_waiting_write_can_be_aborted() {
    let mut rig = tight();
    let (admin, io) = rig.ready();
    let first: Vec<_> = (0..10)
        .map(|n| rig.submit(io, write(n * 256, 256), RequestData::Remote { len: 128 << 10 }))
        .collect();
    let cid = Cid(rig.last_cid());
    let answer = rig.command(admin, Abort { sqid: 1, cid }.to_sqe()).ok();
    assert!(Abort::was_aborted(&answer.cqe), "it held nothing");
    assert_eq!(rig.answer(io, first[9]).unwrap().status(), Status::ABORT_REQUESTED);
    while let Some((request, offset, data)) = rig.engine().fetches.pop() {
        rig.serve_fetch(io, request, offset, data, Ok(()));
        rig.pass(Duration::from_millis(2));
    }
    for &request in &first[..9] {
        rig.answer(io, request).unwrap().ok();
    }
}

#[test]
fn reads_wait_for_memory_and_go_on() {
    let mut rig = tight();
    let file = tempfile::NamedTempFile::new().unwrap();
    let content = pattern(4096, 4);
    std::fs::write(file.path(), &content).unwrap();
    let disk: Arc<dyn Backend> = Arc::new(FileBackend::open(&FileOptions::new(file.path())).unwrap());
    rig.subsystem.add_namespace(2, NamespaceOptions::new(disk)).unwrap();
    let (_, io) = rig.ready();
    rig.engine().hold_data = Some(Vec::new());
    let requests: Vec<_> = (0..16)
        .map(|n| rig.submit(io, read(n * 256, 256).with_nsid(2), RequestData::Remote { len: 128 << 10 }))
        .collect();
    // RAM answers from its own memory meanwhile.
    rig.read(io, read(0, 256), 128 << 10).ok();
    for (n, request) in requests.into_iter().enumerate() {
        let answer = rig.eventually(|rig| {
            if let Some(held) = &mut rig.engine().hold_data {
                // The host takes what has been answered.
                held.clear();
            }
            rig.pass(Duration::from_millis(1));
            rig.answer(io, request)
        });
        assert_eq!(answer.ok().data, content[n * (128 << 10)..][..128 << 10]);
    }
}

#[test]
fn a_queue_lost_under_io() {
    let mut rig = Rig::with(ServerOptions::default(), |_| {}, 2);
    let disk = Arc::new(Faulty::new(ram(65_536)));
    rig.subsystem.add_namespace(2, NamespaceOptions::new(disk.clone())).unwrap();
    let (_, cntlid) = rig.controller();
    let io = rig.io(1, cntlid, 1);
    disk.hold();
    for n in 0..8 {
        rig.submit(io, read(n, 1).with_nsid(2), RequestData::Remote { len: 512 });
        rig.submit(io, write(n * 512, 512).with_nsid(2), RequestData::Remote { len: 256 << 10 });
        rig.submit_remote(io, write(n * 512, 512).with_nsid(2), pattern(512, 1));
    }
    rig.hang_up(io);
    assert_eq!(rig.server.associations()[0].io_queues, 1, "a backend still works for it");
    // The same identifier on a new connection waits for that.
    let again = rig.accept(0);
    let data = RequestData::InCapsule(buffer(io_data(cntlid).as_bytes()));
    let request = rig.submit(again, io_connect(1, 8).to_sqe(), data);
    disk.release(Order::Reverse);
    rig.pass(Duration::from_millis(20));
    rig.answer(again, request).unwrap().ok();
    assert_eq!(rig.server.associations()[0].io_queues, 1);
    rig.read(again, read(0, 1), 512).ok();
    assert_eq!(rig.lanes[1].session.queues(), 0);
}
