//! The host's end of a connection.
//!
//! A command lives in a slot named by its CID from `submit` until it has ended three times over: its completion has arrived,
//! its own SEND has completed, and the peer's right to its memory is gone. Only then does its buffer go back. What happens to a
//! command is in `host_commands.rs`.

use std::{sync::Arc, time::Instant};

use nvmf_transport::{
    Buffer, Close, CloseReason, Command, CommandSlots, Error, ErrorKind, HostEvent, Misuse, QueueId,
    QueueInfo, QueueKind, QueueSettings, Refused, Stage,
};
use nvmf_wire::Cid;

use super::{
    host_commands::{Pending, Side},
    link::{Life, Link, Patience},
    memory::{Staging, carve, sge, unknown_memory},
    private_data::{self, Accept, Request},
    send::SendQueue,
};
use crate::verbs::{
    Completion, ConnId, Depths, Device, Ending, Keys, Operation, QpCaps, RecvRequest, SendRequest, WcStatus,
};

/// What a host's connection has to know.
#[derive(Clone, Debug)]
pub struct HostSetup {
    /// The queue's name in events.
    pub queue: QueueId,
    /// The connection's name at the provider.
    pub conn: ConnId,
    /// Admin or I/O.
    pub kind: QueueKind,
    /// Entries of the submission queue.
    pub depth: u16,
    /// In-capsule data the controller takes once Connect is done.
    pub in_capsule: u32,
    /// Bytes between a command and its in-capsule data (ICDOFF).
    pub in_capsule_offset: u32,
    /// The most data of one command.
    pub max_transfer: u32,
    /// RDMA READs served at a time, at most.
    pub read_depth: u8,
    /// Inline bytes wished for.
    pub inline: u32,
    /// Where copies of data come from.
    pub staging: Arc<Staging>,
    /// How long to wait for what.
    pub patience: Patience,
}

impl HostSetup {
    /// The event that says the queue is up.
    pub fn announce(&self, info: Box<QueueInfo>) -> HostEvent {
        HostEvent::Connected { queue: self.queue, info }
    }
}

/// Bytes of a command capsule without data.
pub(super) const SQE: usize = 64;
/// Bytes of a response capsule.
pub(super) const CQE: usize = 16;

/// One queue pair, seen from the host.
#[derive(Debug)]
pub struct HostConn {
    pub(super) side: Side,
}

impl HostConn {
    /// A connection whose device is not known yet.
    pub fn new(setup: HostSetup) -> Self {
        let depth = setup.depth.max(2);
        let side = Side {
            link: Link::new(setup.patience),
            commands: CommandSlots::new(depth),
            room: usize::from(depth) - 1,
            crqsize: u16::MAX,
            in_capsule: 0,
            device: None,
            caps: QpCaps { send_wr: 0, recv_wr: 0, send_sge: 0, recv_sge: 0, inline: 0 },
            responses: Vec::new(),
            response_key: 0,
            capsules: Vec::new(),
            capsule_key: 0,
            send: SendQueue::new(0),
            receives: Vec::new(),
            fresh: None,
            setup,
        };
        Self { side }
    }

    /// The queues this connection needs, if the device has them.
    // spec: RDMA-QUE-01, RDMA-QUE-02
    pub fn caps(&self, device: &Device) -> Result<QpCaps, Error> {
        let setup = &self.side.setup;
        let wr = u32::from(setup.depth.max(2));
        let why = |what| {
            let detail = format!("{} cannot carry a queue of {wr} entries: {what}", device.name);
            Err(Error::new(Stage::Setup, ErrorKind::Incompatible, detail))
        };
        if wr > device.max_qp_wr {
            return why(format!("its queues have {} entries", device.max_qp_wr));
        }
        if device.max_responder_resources == 0 {
            return why("it serves no RDMA READ".into());
        }
        Ok(QpCaps {
            send_wr: wr,
            recv_wr: wr,
            // The command and its in-capsule data.
            send_sge: 2.min(device.max_send_sge),
            recv_sge: 1,
            inline: setup.inline.min(device.max_inline),
        })
    }

    /// Takes the memory of the queues. The receives it posts are the first output.
    pub fn prepare(&mut self, device: &Device, caps: QpCaps, keys: &mut impl Keys) -> Result<(), Error> {
        let side = &mut self.side;
        let (conn, memory) = (side.setup.conn, Arc::clone(side.setup.staging.memory()));
        let depth = usize::from(side.setup.depth.max(2));
        side.responses = carve(&*memory, depth, CQE)?;
        side.capsules = carve(&*memory, depth, SQE + side.setup.in_capsule_offset as usize)?;
        let key = |buffers: &[Buffer], keys: &mut dyn FnMut(&Buffer) -> Option<u32>| {
            buffers.first().and_then(keys).ok_or_else(unknown_memory)
        };
        let mut of = |buffer: &Buffer| keys.local_key(conn, buffer.region());
        side.response_key = key(&side.responses, &mut of)?;
        side.capsule_key = key(&side.capsules, &mut of)?;
        side.send = SendQueue::new(caps.send_wr);
        (side.device, side.caps) = (Some(device.clone()), caps);
        // spec: RDMA-QUE-03
        (0..depth).for_each(|index| side.receive(index));
        Ok(())
    }

    /// What to ask the controller: private data, and RDMA READs.
    // spec: RDMA-CM-04, RDMA-CM-05, RDMA-CM-06, RDMA-CM-17, RDMA-IW-01
    pub fn request(&mut self) -> ([u8; private_data::LEN], Depths) {
        let side = &mut self.side;
        side.link.negotiating();
        let depth = side.setup.depth.max(2);
        let request = Request { qid: side.setup.kind.qid(), hrqsize: depth, hsqsize: depth - 1, cntlid: 0 };
        let most = side.device.as_ref().map_or(1, |device| device.max_responder_resources);
        let depths = Depths { initiator: 0, responder: side.setup.read_depth.min(most).max(1) };
        (request.encode(), depths)
    }

    /// The controller accepted.
    pub fn established(&mut self, private_data: &[u8], depths: Depths) {
        let side = &mut self.side;
        let Some(device) = &side.device else { return };
        if side.link.life != Life::Connecting {
            return;
        }
        match Accept::parse(private_data, device.kind) {
            Ok(accept) => {
                // spec: RDMA-QUE-04
                side.crqsize = accept.crqsize;
                side.room = side.room.min(usize::from(accept.crqsize));
                side.fresh = Some((accept, depths));
                side.link.established();
            }
            Err(error) => {
                let reason = side.link.failure(ErrorKind::Protocol, error.to_string());
                side.link.over(reason);
            }
        }
    }

    /// The controller turned the connection down.
    // spec: RDMA-CM-16
    pub fn rejected(&mut self, private_data: &[u8]) {
        let link = &mut self.side.link;
        let reason = match private_data::parse_reject(private_data) {
            Some(status) => {
                let kind = match status {
                    private_data::RejectStatus::NO_RESOURCES => ErrorKind::Resources,
                    _ => ErrorKind::Incompatible,
                };
                link.failure(kind, format!("the controller turned the queue down: {status}"))
            }
            None => link.failure(
                ErrorKind::Refused,
                "the connection was turned down without an NVMe reason (is it an NVMe/RDMA controller?)",
            ),
        };
        link.over(reason);
    }

    /// What was negotiated, if that happened since this was last asked.
    pub fn take_established(&mut self) -> Option<(u16, Depths)> {
        self.side.fresh.take().map(|(accept, depths)| (accept.crqsize, depths))
    }

    /// What Connect settled.
    pub fn configure(&mut self, settings: &QueueSettings) -> Result<(), Misuse> {
        let side = &mut self.side;
        if settings.depth > side.setup.depth.max(2) || settings.depth < 2 {
            return Err(Misuse::Parameter);
        }
        // spec: RDMA-QUE-04, RDMA-QUE-05
        // With flow control the queue is a ring, which is full when one entry is left.
        let room = usize::from(settings.depth) - usize::from(settings.sq_flow_control);
        side.room = room.min(usize::from(side.crqsize));
        // spec: RDMA-CAP-03
        side.in_capsule = match settings.kind {
            QueueKind::Admin => 0,
            QueueKind::Io(_) => side.setup.in_capsule,
        };
        Ok(())
    }

    /// Takes a command.
    pub fn submit(&mut self, command: Command, keys: &mut impl Keys) -> Result<Cid, Refused<Command>> {
        self.side.submit(command, keys)
    }

    /// A work request has ended.
    pub fn completed(&mut self, completion: &Completion, keys: &mut impl Keys, events: &mut Vec<HostEvent>) {
        let side = &mut self.side;
        match completion.operation {
            Operation::Send => {
                if side.send.completed(completion).is_none() {
                    return;
                }
                side.link.note_progress(side.send.is_busy(), true);
                if completion.status != WcStatus::Success {
                    return side.link.request_failed("sending a command", completion.status);
                }
                side.sent(Cid(completion.id as u16), keys, events);
            }
            Operation::Recv if completion.status != WcStatus::Success => {
                side.link.request_failed("receiving a response", completion.status);
            }
            Operation::Recv if side.link.life == Life::Open => {
                if let Err(fault) = side.response(completion, keys, events) {
                    side.link.violated(fault.to_string());
                }
            }
            Operation::Recv => {}
        }
    }

    /// What to post now: receives, then sends.
    pub fn take_output(&mut self, receives: &mut Vec<RecvRequest>, sends: &mut Vec<SendRequest>) {
        let side = &mut self.side;
        receives.append(&mut side.receives);
        if matches!(side.link.life, Life::Open | Life::Draining) {
            side.send.take(sends);
            side.link.note_progress(side.send.is_busy(), !sends.is_empty());
        }
    }

    /// Whether something could be posted.
    pub fn has_output(&self) -> bool {
        !self.side.receives.is_empty()
            || (matches!(self.side.link.life, Life::Open | Life::Draining) && self.side.send.has_output())
    }

    /// Moves an end on that waits for nothing any more.
    pub fn settle(&mut self) -> bool {
        let side = &mut self.side;
        if side.link.life == Life::Draining && side.send.is_empty() {
            side.link.close(CloseReason::Requested);
        }
        side.link.take_disconnect()
    }

    /// Ends the queue.
    pub fn close(&mut self, how: Close) {
        match how {
            Close::AfterFlush if self.side.link.life == Life::Open => {
                self.side.link.drain(CloseReason::Requested);
            }
            Close::AfterFlush if matches!(self.side.link.life, Life::Draining | Life::Closing) => {}
            _ => self.side.link.over(CloseReason::Requested),
        }
    }

    /// The connection manager says that the connection has ended.
    pub fn disconnected(&mut self, ending: Ending) {
        self.side.link.disconnected(ending);
    }

    /// Connecting, the device or memory failed.
    pub fn failed(&mut self, error: Error) {
        self.side.link.over(CloseReason::Failed(error));
    }

    /// What to do with the connection.
    pub fn life(&self) -> Life {
        self.side.link.life
    }

    /// How far the connection has come.
    pub fn stage(&self) -> Stage {
        self.side.link.stage()
    }

    /// When [`expire`](Self::expire) wants to be called.
    pub fn deadline(&mut self, now: Instant) -> Option<Instant> {
        self.side.link.deadline(now)
    }

    /// Ends what has been waited for long enough.
    pub fn expire(&mut self, now: Instant) {
        self.side.link.expire(now);
    }

    /// Gives back everything that is outstanding, then the end. Only after the connection has been destroyed.
    // spec: RDMA-KEY-04
    pub fn finish(&mut self, events: &mut Vec<HostEvent>) {
        let Side { setup, commands, link, .. } = &mut self.side;
        let queue = setup.queue;
        events.extend(commands.drain().map(|Pending { cookie, data, .. }| HostEvent::Aborted {
            queue,
            cookie,
            data,
        }));
        events.push(HostEvent::Closed { queue, reason: link.take_reason() });
    }

    /// What the connection was set up with.
    pub fn setup(&self) -> &HostSetup {
        &self.side.setup
    }
}

impl Side {
    /// Posts the receive of a response.
    #[inline]
    pub(super) fn receive(&mut self, index: usize) {
        if let Some(buffer) = self.responses.get(index) {
            let sges = smallvec::smallvec![sge(buffer, self.response_key)];
            self.receives.push(RecvRequest { id: index as u64, sges });
        }
    }
}
