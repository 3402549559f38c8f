//! The controller's end of a connection.
//!
//! A command lives in a slot named by its [`RequestId`] until it is answered. Its receive is posted again before anyone hears
//! of it, so that the host always finds as many receives as CRQSIZE says. Data that came with it lies in a pooled buffer; other
//! data is pulled by RDMA READ into the buffer a fetch brought. An answer is RDMA WRITEs straight from where the data lies and
//! then one SEND with the completion, posted together.
//!
//! What happens to a command is in `controller_commands.rs`, its slot and how its SGL is judged in `slots.rs`, the fetches in
//! `fetch.rs`.

use std::{sync::Arc, time::Instant};

use nvmf_transport::{
    Buffer, Close, CloseReason, ControllerEvent, Error, ErrorKind, Gather, ListenerId, Misuse, Pool, QueueId,
    QueueInfo, QueueKind, QueueSettings, Refused, RequestId, Stage,
};
use nvmf_wire::Cqe;

use super::{
    controller_commands::{Answers, Capsule, Side},
    fetch::Fetches,
    link::{Life, Link, Patience},
    memory::{Staging, carve, unknown_memory},
    private_data::{self, Accept, RejectStatus, Request},
    send::SendQueue,
    slots::{Direction, Rules, Slots},
};
use crate::verbs::{
    Completion, ConnId, Depths, Device, Ending, Keys, Operation, QpCaps, RecvRequest, SendRequest, WcStatus,
};

/// Names of work requests: what they are in the upper half, which one in the lower.
pub(super) mod id {
    pub(in crate::conn) const ANSWER: u64 = 1 << 32;
    pub(in crate::conn) const READ: u64 = 2 << 32;
    pub(in crate::conn) const WRITE: u64 = 3 << 32;
    pub(in crate::conn) const KIND: u64 = !0 << 32;

    pub(in crate::conn) fn answer(index: u32) -> u64 {
        ANSWER | u64::from(index)
    }
    pub(in crate::conn) fn read(name: u16) -> u64 {
        READ | u64::from(name)
    }
    pub(in crate::conn) fn write(number: u32) -> u64 {
        WRITE | u64::from(number)
    }
}

/// What a controller's connection has to know.
#[derive(Clone, Debug)]
pub struct ControllerSetup {
    /// The queue's name in events.
    pub queue: QueueId,
    /// The connection's name at the provider.
    pub conn: ConnId,
    /// The listener it came by.
    pub listener: ListenerId,
    /// In-capsule data taken on I/O queues.
    pub in_capsule: u32,
    /// Bytes between a command and its in-capsule data (ICDOFF).
    pub in_capsule_offset: u32,
    /// The most data of one command.
    pub max_transfer: u32,
    /// SGL descriptors of one command.
    pub max_descriptors: u16,
    /// Fetches of one request that may be outstanding.
    pub max_fetches: u16,
    /// The largest queue.
    pub max_depth: u16,
    /// RDMA READs issued at a time, at most.
    pub read_depth: u8,
    /// Inline bytes wished for.
    pub inline: u32,
    /// Where copies of data come from.
    pub staging: Arc<Staging>,
    /// How long to wait for what.
    pub patience: Patience,
}

impl ControllerSetup {
    /// The event that says the queue is up.
    pub fn announce(&self, info: Box<QueueInfo>) -> ControllerEvent {
        ControllerEvent::Accepted { queue: self.queue, listener: self.listener, info }
    }
}

/// One queue pair, seen from the controller.
#[derive(Debug)]
pub struct ControllerConn {
    pub(super) side: Side,
}

impl ControllerConn {
    /// Judges what a host asks for. `depths` is what the host allows this side.
    // spec: RDMA-CM-12, RDMA-IW-03
    pub fn judge(
        private_data: &[u8],
        device: &Device,
        depths: Depths,
        max_depth: u16,
    ) -> Result<Request, RejectStatus> {
        let request = Request::parse(private_data, device.kind)?;
        private_data::judge(&request, max_depth, depths.initiator)?;
        Ok(request)
    }

    /// A connection that a host asked for by a request that was judged well.
    pub fn new(setup: ControllerSetup, request: Request, device: &Device, offered: Depths) -> Self {
        let entries = request.entries().min(u32::from(setup.max_depth)) as u16;
        let depths = Depths {
            initiator: setup.read_depth.min(offered.initiator).min(device.max_initiator_depth).max(1),
            responder: offered.responder.min(device.max_responder_resources),
        };
        let kind = QueueKind::from_qid(request.qid);
        // spec: RDMA-CAP-03
        let in_capsule = match kind {
            QueueKind::Io(_) if device.max_recv_sge >= 2 => setup.in_capsule,
            _ => 0,
        };
        let mut link = Link::new(setup.patience);
        link.negotiating();
        let side = Side {
            link,
            slots: Slots::new(entries),
            fetches: Fetches::new(depths.initiator, setup.max_fetches, Arc::clone(&setup.staging)),
            rules: Rules { max_transfer: setup.max_transfer, max_descriptors: setup.max_descriptors },
            kind,
            in_capsule,
            pool: None,
            capsules: Vec::new(),
            capsule_key: 0,
            answers: Answers::default(),
            send: SendQueue::new(0),
            writes: 0,
            write_sges: usize::from(device.max_send_sge.max(1)),
            send_invalidate: device.send_invalidate,
            inline: 0,
            receives: Vec::new(),
            entries,
            depths,
            fresh: false,
            setup,
        };
        Self { side }
    }

    /// The queues this connection needs, if the device has them.
    // spec: RDMA-QUE-07
    pub fn caps(&self, device: &Device) -> Result<QpCaps, Error> {
        let side = &self.side;
        let entries = u32::from(side.entries);
        if entries > device.max_qp_wr {
            let detail = format!(
                "{} cannot carry a queue of {entries} entries: its queues have {}",
                device.name, device.max_qp_wr
            );
            return Err(Error::new(Stage::Setup, ErrorKind::Incompatible, detail));
        }
        // An answer with data is a WRITE and a SEND; those with more WRITEs, and READs, share what is left.
        let send_wr = (entries * 2 + u32::from(side.depths.initiator)).min(device.max_qp_wr);
        Ok(QpCaps {
            send_wr,
            recv_wr: entries,
            send_sge: device.max_send_sge.clamp(1, 16),
            recv_sge: 2.min(device.max_recv_sge),
            inline: side.setup.inline.min(device.max_inline),
        })
    }

    /// Takes the memory of the queues. The receives it posts are the first output, and are posted before accepting.
    // spec: RDMA-QUE-08
    pub fn prepare(&mut self, caps: QpCaps, keys: &mut impl Keys) -> Result<(), Error> {
        let side = &mut self.side;
        let (conn, memory) = (side.setup.conn, Arc::clone(side.setup.staging.memory()));
        let entries = usize::from(side.entries);
        let heads = carve(&*memory, entries, 64 + side.head_padding())?;
        // As many answers as can be posted, and as can wait to be.
        let answers = carve(&*memory, entries + caps.send_wr as usize, 16)?;
        let key = |buffer: Option<&Buffer>, keys: &mut dyn FnMut(&Buffer) -> Option<u32>| {
            buffer.and_then(keys).ok_or_else(unknown_memory)
        };
        let mut of = |buffer: &Buffer| keys.local_key(conn, buffer.region());
        side.capsule_key = key(heads.first(), &mut of)?;
        side.answers = Answers::new(key(answers.first(), &mut of)?, answers);
        if side.in_capsule > 0 {
            // As many as are posted, as many as can be with the caller, and some that are on their way back.
            side.pool = Some(Pool::new(memory, side.in_capsule as usize, entries * 2 + 8));
        }
        side.capsules = heads.into_iter().map(|head| Capsule { head, data: None }).collect();
        side.send = SendQueue::new(caps.send_wr);
        side.write_sges = usize::from(caps.send_sge.max(1));
        side.inline = caps.inline;
        for index in 0..entries {
            side.receive(index, keys)?;
        }
        Ok(())
    }

    /// What to tell the host: private data, and RDMA READs.
    // spec: RDMA-CM-13, RDMA-CM-17
    pub fn accept(&self) -> ([u8; private_data::LEN], Depths) {
        (Accept { crqsize: self.side.entries }.encode(), self.side.depths)
    }

    /// The connection is up.
    pub fn established(&mut self) {
        let side = &mut self.side;
        if side.link.life == Life::Connecting {
            side.link.established();
            side.fresh = true;
        }
    }

    /// Whether the connection came up since this was last asked: receives posted and READs allowed.
    pub fn take_established(&mut self) -> Option<(u16, Depths)> {
        std::mem::take(&mut self.side.fresh).then_some((self.side.entries, self.side.depths))
    }

    /// What Connect settled.
    pub fn configure(&mut self, settings: &QueueSettings) -> Result<(), Misuse> {
        let side = &mut self.side;
        if settings.depth < 2 || settings.depth > side.setup.max_depth {
            return Err(Misuse::Parameter);
        }
        side.slots.limit(settings.depth);
        Ok(())
    }

    /// Pulls data of a request into `into`.
    pub fn fetch(
        &mut self,
        request: RequestId,
        offset: u32,
        into: Buffer,
        keys: &mut impl Keys,
    ) -> Result<(), Refused<Buffer>> {
        let Side { link, slots, fetches, .. } = &mut self.side;
        let Some(slot) = slots.get_mut(request) else {
            return Err(Refused::new(into, Misuse::UnknownRequest));
        };
        if link.life != Life::Open {
            return Err(Refused::new(into, Misuse::Closing));
        }
        if slot.remote.direction != Direction::ToController {
            return Err(Refused::new(into, Misuse::DataLength));
        }
        fetches.ask(request, slot, offset, into)?;
        self.side.issue(keys);
        Ok(())
    }

    /// Answers a request: data, then the completion.
    pub fn respond(
        &mut self,
        request: RequestId,
        cqe: Cqe,
        data: Gather,
        keys: &mut impl Keys,
    ) -> Result<(), Refused<Gather>> {
        self.side.respond(request, cqe, data, keys)
    }

    /// Commands received and not answered.
    pub fn outstanding(&self) -> usize {
        self.side.slots.live()
    }

    /// A work request has ended.
    pub fn completed(
        &mut self,
        completion: &Completion,
        keys: &mut impl Keys,
        events: &mut Vec<ControllerEvent>,
    ) {
        let side = &mut self.side;
        match completion.operation {
            Operation::Send => {
                if side.send.completed(completion).is_none() {
                    return;
                }
                side.link.note_progress(side.send.is_busy(), true);
                side.posted_ended(completion, keys, events);
            }
            Operation::Recv if completion.status != WcStatus::Success => {
                side.link.request_failed("receiving a command", completion.status);
            }
            Operation::Recv => {
                // The first message may be seen before the connection manager says that the connection is up; it proves it.
                if side.link.life == Life::Connecting {
                    side.link.established();
                    side.fresh = true;
                }
                side.arrived(completion, keys, events);
            }
        }
    }

    /// What to post now: receives, then sends.
    pub fn take_output(&mut self, receives: &mut Vec<RecvRequest>, sends: &mut Vec<SendRequest>) {
        let side = &mut self.side;
        receives.append(&mut side.receives);
        if matches!(side.link.life, Life::Open | Life::Draining) {
            side.send.take(sends);
            side.note_posted(sends);
            side.link.note_progress(side.send.is_busy(), !sends.is_empty());
        }
    }

    /// Whether something could be posted.
    pub fn has_output(&self) -> bool {
        !self.side.receives.is_empty()
            || (matches!(self.side.link.life, Life::Open | Life::Draining) && self.side.send.has_output())
    }

    /// Moves an end on that waits for nothing any more; whether to disconnect now.
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

    /// Accepting, the device or memory failed.
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
    pub fn finish(&mut self, events: &mut Vec<ControllerEvent>) {
        let Side { setup, fetches, link, .. } = &mut self.side;
        fetches.abort(events);
        events.push(ControllerEvent::Closed { queue: setup.queue, reason: link.take_reason() });
    }

    /// What the connection was set up with.
    pub fn setup(&self) -> &ControllerSetup {
        &self.side.setup
    }
}
