//! Connections by hand: what they post is looked at, what they hear is made up.
#![allow(unsafe_code, reason = "plays the device: reads what is posted and writes where it is received")]

mod controller;
mod controller_data;
mod host;
mod hostile;

use std::{collections::HashSet, sync::Arc, time::Duration};

use nvmf_transport::{Error, Memory, Pages, QueueId, QueueKind, Queues, Region};
use nvmf_wire::{Cqe, Sqe};
use zerocopy::{FromBytes as _, IntoBytes as _};

use super::{
    ControllerConn, ControllerSetup, HostConn, HostSetup, Life, Patience, Staging, private_data::Request,
};
use crate::verbs::{
    Completion, ConnId, Depths, Device, KeyScope, Keys, Kind, Operation, RecvRequest, RemoteAccess,
    RemoteKey, SendRequest, Sge, WcStatus,
};

const CONN: ConnId = ConnId { slot: 0, generation: 1 };

fn queue() -> QueueId {
    Queues::default().insert(())
}

fn patience() -> Patience {
    Patience {
        negotiate: Duration::from_secs(10),
        stall: Duration::from_secs(60),
        flush: Duration::from_secs(5),
        linger: Duration::from_secs(1),
    }
}

fn staging() -> Arc<Staging> {
    Arc::new(Staging::new(Arc::new(Pages)))
}

fn device() -> Device {
    Device {
        name: "fake0".into(),
        port: 1,
        kind: Kind::Iwarp,
        max_send_sge: 2,
        max_recv_sge: 2,
        max_read_sge: 1,
        max_inline: 0,
        max_initiator_depth: 16,
        max_responder_resources: 16,
        max_qp_wr: 1024,
        max_cqe: 4096,
        max_mr: 4096,
        max_mr_size: 1 << 30,
        max_private_data: 196,
        cq_resize: false,
        srq: false,
        key_scope: KeyScope::Command,
        send_invalidate: true,
        read_sink_remote_write: true,
    }
}

/// Keys that are numbers in order, and a list of what the peer may reach.
#[derive(Debug, Default)]
struct Fake {
    next: u32,
    exposed: Vec<(u32, u32, RemoteAccess)>,
    withdrawn: HashSet<u32>,
}

impl Keys for Fake {
    fn local_key(&mut self, _: ConnId, _: &Region) -> Option<u32> {
        Some(7)
    }

    unsafe fn expose(
        &mut self,
        _: ConnId,
        _: &Region,
        start: *mut u8,
        len: u32,
        access: RemoteAccess,
    ) -> Result<RemoteKey, Error> {
        self.next += 0x100;
        self.exposed.push((self.next, len, access));
        Ok(RemoteKey { address: start.addr() as u64, key: self.next, invalidate: true })
    }

    fn withdraw(&mut self, _: ConnId, key: u32) {
        assert!(self.withdrawn.insert(key), "withdrawn twice");
    }
}

/// What a request would send.
fn gathered(sges: &[Sge]) -> Vec<u8> {
    let piece = |sge: &Sge| {
        let start = std::ptr::with_exposed_provenance::<u8>(sge.address as usize);
        // SAFETY: the connection under test keeps what it has posted.
        unsafe { std::slice::from_raw_parts(start, sge.length as usize) }.to_vec()
    };
    sges.iter().flat_map(piece).collect()
}

/// Puts a message where a receive says.
fn scattered(sges: &[Sge], mut message: &[u8]) {
    for sge in sges {
        let now = message.len().min(sge.length as usize);
        let start = std::ptr::with_exposed_provenance_mut::<u8>(sge.address as usize);
        // SAFETY: the connection under test keeps what it has posted, and holds no reference to it now.
        unsafe { std::ptr::copy_nonoverlapping(message.as_ptr(), start, now) };
        message = &message[now..];
    }
    assert!(message.is_empty(), "a message longer than its receive");
}

fn done(id: u64, operation: Operation, status: WcStatus, len: usize) -> Completion {
    Completion { conn: CONN, id, operation, status, len: len as u32, invalidated: None }
}

fn sent(request: &SendRequest) -> Completion {
    done(request.id, Operation::Send, WcStatus::Success, 0)
}

/// The command in a capsule.
fn sqe_of(request: &SendRequest) -> Sqe {
    Sqe::read_from_bytes(&gathered(&request.sges)[..64]).expect("a command")
}

fn host_setup(kind: QueueKind, depth: u16) -> HostSetup {
    HostSetup {
        queue: queue(),
        conn: CONN,
        kind,
        depth,
        in_capsule: 4096,
        in_capsule_offset: 0,
        max_transfer: 1 << 20,
        read_depth: 8,
        inline: 64,
        staging: staging(),
        patience: patience(),
    }
}

fn controller_setup() -> ControllerSetup {
    ControllerSetup {
        queue: queue(),
        conn: CONN,
        listener: nvmf_transport::ListenerId(0),
        in_capsule: 4096,
        in_capsule_offset: 0,
        max_transfer: 1 << 20,
        max_descriptors: 4,
        max_fetches: 8,
        max_depth: 64,
        read_depth: 2,
        inline: 0,
        staging: staging(),
        patience: patience(),
    }
}

fn buffer(len: usize, fill: u8) -> nvmf_transport::Buffer {
    let mut buffer = Pages.allocate(len).expect("memory");
    buffer.fill(fill);
    buffer
}

/// A host whose connection is up, and the receives it has posted.
fn up_host(setup: HostSetup, crqsize: u16) -> (HostConn, Fake, Vec<RecvRequest>) {
    let (mut host, mut keys) = (HostConn::new(setup), Fake::default());
    let caps = host.caps(&device()).expect("queues");
    host.prepare(&device(), caps, &mut keys).expect("memory");
    let (mut receives, mut sends) = (Vec::new(), Vec::new());
    host.take_output(&mut receives, &mut sends);
    host.request();
    let accept = super::private_data::Accept { crqsize }.encode();
    host.established(&accept, Depths { initiator: 0, responder: 8 });
    assert_eq!(host.life(), Life::Open);
    (host, keys, receives)
}

/// A controller whose connection is up, and the receives it has posted.
fn up_controller(
    setup: ControllerSetup,
    qid: u16,
    entries: u16,
    device: &Device,
) -> (ControllerConn, Fake, Vec<RecvRequest>) {
    let request = Request { qid, hrqsize: entries, hsqsize: entries - 1, cntlid: 0 };
    let depths = Depths { initiator: 16, responder: 0 };
    let (mut controller, mut keys) = (ControllerConn::new(setup, request, device, depths), Fake::default());
    let caps = controller.caps(device).expect("queues");
    controller.prepare(caps, &mut keys).expect("memory");
    let (mut receives, mut sends) = (Vec::new(), Vec::new());
    controller.take_output(&mut receives, &mut sends);
    controller.established();
    (controller, keys, receives)
}

fn host_output(host: &mut HostConn) -> (Vec<RecvRequest>, Vec<SendRequest>) {
    let (mut receives, mut sends) = (Vec::new(), Vec::new());
    host.take_output(&mut receives, &mut sends);
    (receives, sends)
}

fn controller_output(controller: &mut ControllerConn) -> (Vec<RecvRequest>, Vec<SendRequest>) {
    let (mut receives, mut sends) = (Vec::new(), Vec::new());
    controller.take_output(&mut receives, &mut sends);
    (receives, sends)
}

/// A response arrives at a host.
fn respond(receive: &RecvRequest, cqe: Cqe, invalidated: Option<u32>) -> Completion {
    scattered(&receive.sges, cqe.as_bytes());
    Completion { invalidated, ..done(receive.id, Operation::Recv, WcStatus::Success, 16) }
}

/// A message arrives at a controller.
fn arrive(receive: &RecvRequest, message: &[u8]) -> Completion {
    scattered(&receive.sges, message);
    done(receive.id, Operation::Recv, WcStatus::Success, message.len())
}
