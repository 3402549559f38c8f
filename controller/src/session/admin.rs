//! Commands of the admin queue: what needs the session (events, aborts, timers, data from the host); the rest is
//! [`crate::admin`]'s.

use std::time::Instant;

use nvmf_transport::{Buffer, ControllerEngine, Gather, QueueId, RequestData, RequestId, View};
use nvmf_wire::{
    AdminOpcode, Cid, FabricsType, Sqe, Status,
    admin::Abort,
    sqe::{Fuse, Psdt},
};

use super::{
    Session, Tools, flush, io,
    ops::{AfterFlush, Op, Work},
    queue::{Queue, Role, answer},
};
use crate::{
    admin::{After, Context, Done, Failure, Pages, property},
    association::registers::Effect,
    port::{AbortReply, Message},
};

/// Asynchronous Event Requests held at once (AERL).
const EVENT_REQUESTS: usize = crate::admin::EVENT_LIMIT as usize + 1;
/// Abort commands that wait for another thread at once (ACL).
const ABORTS: u8 = crate::admin::ABORT_LIMIT + 1;
/// Zeroes for what of a log page lies behind its end.
const ZEROES: usize = 16 << 10;

impl Session {
    /// A command of an admin queue.
    pub(super) fn admin_command(
        &mut self,
        engine: &mut dyn ControllerEngine,
        now: Instant,
        request: RequestId,
        sqe: &Sqe,
        data: RequestData,
    ) {
        let Some((queue, mut tools)) = self.parts(engine, request.queue) else {
            return;
        };
        let Role::Admin(admin) = &mut queue.role else {
            return;
        };
        admin.association.note_traffic(tools.tick);
        // Asynchronous Event Requests do not count: they may be outstanding for ever, and hosts that shut down forget them.
        let status = if queue.outstanding > 0 && queue.cids.contains(sqe.cid()) {
            Status::COMMAND_ID_CONFLICT
        } else if sqe.fuse() != Fuse::NORMAL || sqe.psdt() == Psdt::PRP {
            Status::INVALID_FIELD
        } else if sqe.is_fabrics() {
            return self.fabrics_command(engine, now, request, sqe, &data);
        } else if !admin.association.is_live() {
            // NVMe Base 2.0 §3.5.1: until CSTS.RDY is 1, and from a shutdown on, only Fabrics commands are processed.
            Status::COMMAND_SEQUENCE_ERROR
        } else {
            match sqe.admin_opcode() {
                // That it arrived is what it is for.
                AdminOpcode::KEEP_ALIVE => {
                    return answer(tools.engine, &queue.sq, request, Status::SUCCESS, 0, Gather::new());
                }
                AdminOpcode::ASYNC_EVENT_REQUEST if admin.events.len() < EVENT_REQUESTS => {
                    admin.events.push_back((request, sqe.cid()));
                    return report_events(queue, tools.engine);
                }
                AdminOpcode::ASYNC_EVENT_REQUEST => Status::ASYNC_EVENT_LIMIT_EXCEEDED,
                AdminOpcode::ABORT if !admin.association.is_discovery() => {
                    return self.abort_command(engine, request, sqe);
                }
                _ => return self.run_admin(engine, now, request, sqe, &data, None),
            }
        };
        io::refuse(queue, &mut tools, request, sqe, status.with_dnr());
    }

    fn fabrics_command(
        &mut self,
        engine: &mut dyn ControllerEngine,
        now: Instant,
        request: RequestId,
        sqe: &Sqe,
        data: &RequestData,
    ) {
        let Some((queue, mut tools)) = self.parts(engine, request.queue) else {
            return;
        };
        let Some(admin) = queue.admin_mut() else { return };
        let outcome = match sqe.fctype() {
            Some(FabricsType::PROPERTY_GET | FabricsType::PROPERTY_SET) if !data.is_empty() => {
                Err(Status::DATA_SGL_LENGTH_INVALID)
            }
            Some(FabricsType::PROPERTY_GET) => {
                property::get(&admin.association, sqe).map(|value| (value, Effect::None))
            }
            Some(FabricsType::PROPERTY_SET) => {
                property::set(&admin.association, sqe).map(|(effect, abrupt)| {
                    admin.abrupt = abrupt;
                    (0, effect)
                })
            }
            // spec: TCP-QUE-02
            Some(FabricsType::CONNECT) => Err(Status::COMMAND_SEQUENCE_ERROR),
            // NVMe-oF 1.1 §3.6: the admin queue ends with the association only.
            Some(FabricsType::DISCONNECT) => Err(Status::DISCONNECT_INVALID_QUEUE_TYPE),
            _ => Err(Status::INVALID_OPCODE),
        };
        match outcome {
            Ok((value, effect)) => {
                answer(tools.engine, &queue.sq, request, Status::SUCCESS, value, Gather::new());
                self.take_effect(engine, now, request.queue, effect);
            }
            Err(status) => io::refuse(queue, &mut tools, request, sqe, status.with_dnr()),
        }
    }

    /// Does what a write to CC asked for.
    fn take_effect(&mut self, engine: &mut dyn ControllerEngine, now: Instant, id: QueueId, effect: Effect) {
        if effect == Effect::None {
            return;
        }
        if let Some(deadline) = self.renew(id, now) {
            self.wake_at(deadline);
        }
        let Some((queue, mut tools)) = self.parts(engine, id) else {
            return;
        };
        match effect {
            Effect::Reset => {
                let sq = queue.sq;
                let Some(admin) = queue.admin_mut() else { return };
                admin.directory = None;
                // The requests of a controller that was reset get no event any more.
                for (request, _) in admin.events.drain(..) {
                    answer(tools.engine, &sq, request, Status::ABORTED_SQ_DELETION, 0, Gather::new());
                }
            }
            Effect::Shutdown => advance_shutdown(queue, &mut tools),
            Effect::Enabled | Effect::Failed | Effect::None => {}
        }
    }

    /// Something changed in the association of an admin queue.
    pub(super) fn look(&mut self, engine: &mut dyn ControllerEngine, id: QueueId) {
        let Some((queue, mut tools)) = self.parts(engine, id) else {
            return;
        };
        if !queue.closing {
            advance_shutdown(queue, &mut tools);
            report_events(queue, tools.engine);
        }
    }

    /// Runs a command of [`crate::admin`]; `input` is its data once fetched.
    fn run_admin(
        &mut self,
        engine: &mut dyn ControllerEngine,
        now: Instant,
        request: RequestId,
        sqe: &Sqe,
        data: &RequestData,
        input: Option<&[u8]>,
    ) {
        let shared = self.shared.clone();
        let uptime =
            shared.started.get().map(|&start| now.saturating_duration_since(start)).unwrap_or_default();
        let zeroes = self.zeroes();
        let Some((queue, mut tools)) = self.parts(engine, request.queue) else {
            return;
        };
        let Some(zeroes) = zeroes else {
            return io::refuse(queue, &mut tools, request, sqe, Status::INTERNAL_ERROR);
        };
        let Role::Admin(admin) = &mut queue.role else {
            return;
        };
        let mut context = Context {
            shared: &shared,
            association: &admin.association,
            pages: Pages { pool: &admin.pages, zeroes: &zeroes },
            directory: &mut admin.directory,
            uptime,
        };
        match crate::admin::run(&mut context, sqe, data, input) {
            Ok(Done { result, data, after }) => {
                answer(tools.engine, &queue.sq, request, Status::SUCCESS, result, data);
                match after {
                    After::Nothing => {}
                    After::Report => report_events(queue, tools.engine),
                    After::Rearm => {
                        if let Some(deadline) = self.renew(request.queue, now) {
                            self.wake_at(deadline);
                        }
                    }
                }
            }
            Err(Failure::Status(status)) => io::refuse(queue, &mut tools, request, sqe, status),
            Err(Failure::NoMemory) => {
                let len = data.len() as u32;
                let op = Op { request, sqe: *sqe, aborted: false, work: Work::Memory { len } };
                let index = queue.keep(tools.ops, op);
                queue.waiting.push_back(index);
                if !tools.starved.contains(&queue.id) {
                    tools.starved.push(queue.id);
                }
            }
            Err(Failure::NeedData(len)) => {
                let Some(mut into) = admin.pages.take() else {
                    return io::refuse(queue, &mut tools, request, sqe, Status::COMMAND_INTERRUPTED);
                };
                into.truncate(len as usize);
                match tools.engine.fetch(request, 0, into) {
                    Ok(()) => {
                        queue.keep(
                            tools.ops,
                            Op { request, sqe: *sqe, aborted: false, work: Work::AdminData },
                        );
                    }
                    Err(_) => io::refuse(queue, &mut tools, request, sqe, Status::DATA_TRANSFER_ERROR),
                }
            }
        }
    }

    /// Runs the commands of an admin queue again that waited for memory, until one has to wait again. Whether any did not.
    pub(super) fn resume_admin(
        &mut self,
        engine: &mut dyn ControllerEngine,
        now: Instant,
        id: QueueId,
    ) -> bool {
        let mut progress = false;
        loop {
            let Some((queue, tools)) = self.parts(engine, id) else {
                return progress;
            };
            let Some(index) = queue.waiting.pop_front() else {
                return progress;
            };
            let Some(Op { request, sqe, work: Work::Memory { len }, .. }) = queue.release(tools.ops, index)
            else {
                continue;
            };
            let before = queue.waiting.len();
            self.run_admin(engine, now, request, &sqe, &RequestData::Remote { len }, None);
            let Some((queue, _)) = self.parts(engine, id) else {
                return progress;
            };
            if queue.waiting.len() > before {
                // It waits again: at the front, where it was.
                queue.waiting.rotate_right(1);
                return progress;
            }
            progress = true;
        }
    }

    /// Data of an admin command, or of a Connect, arrived.
    pub(super) fn admin_data(
        &mut self,
        engine: &mut dyn ControllerEngine,
        now: Instant,
        index: u32,
        data: Buffer,
        outcome: Result<(), Status>,
    ) {
        let Some(id) = self.ops.get(index).map(Op::queue) else {
            return;
        };
        let Some((queue, mut tools)) = self.parts(engine, id) else {
            return;
        };
        let Some(op) = queue.release(tools.ops, index) else {
            return;
        };
        if matches!(queue.role, Role::Fresh(_)) {
            return self.connect_fetched(engine, now, &op, data, outcome);
        }
        match outcome {
            _ if op.aborted => io::refuse(queue, &mut tools, op.request, &op.sqe, Status::ABORT_REQUESTED),
            Ok(()) => {
                let described = RequestData::Remote { len: data.len() as u32 };
                self.run_admin(engine, now, op.request, &op.sqe, &described, Some(&data));
            }
            Err(status) => io::refuse(queue, &mut tools, op.request, &op.sqe, status),
        }
    }

    /// Abort (NVMe Base 2.0 §5.1): at once here, by message for a queue of another thread.
    fn abort_command(&mut self, engine: &mut dyn ControllerEngine, request: RequestId, sqe: &Sqe) {
        let own = self.port();
        let Abort { sqid, cid } = Abort::parse(sqe);
        let Some((queue, mut tools)) = self.parts(engine, request.queue) else {
            return;
        };
        let sq = queue.sq;
        let Some(admin) = queue.admin_mut() else { return };
        let target = if sqid == 0 {
            if let Some(at) = admin.events.iter().position(|&(_, held)| held == cid)
                && let Some((held, _)) = admin.events.remove(at)
            {
                answer(tools.engine, &sq, held, Status::ABORT_REQUESTED, 0, Gather::new());
                return answer(tools.engine, &sq, request, Status::SUCCESS, 0, Gather::new());
            }
            Some(admin.association.admin.clone())
        } else {
            admin.association.io_queue(sqid)
        };
        let aborted = match target {
            Some(address) if std::sync::Arc::ptr_eq(&address.port, &own) => {
                self.abort(engine, address.queue, cid)
            }
            Some(_) if admin.aborts >= ABORTS => {
                let status = Status::ABORT_LIMIT_EXCEEDED.with_dnr();
                return io::refuse(queue, &mut tools, request, sqe, status);
            }
            Some(address) => {
                admin.aborts += 1;
                let reply = AbortReply { port: own, request };
                return address.port.post(Message::Abort { queue: address.queue, cid, reply });
            }
            None => false,
        };
        answer(engine, &sq, request, Status::SUCCESS, (!aborted).into(), Gather::new());
    }

    /// Another thread has done an Abort.
    pub(super) fn aborted(&mut self, engine: &mut dyn ControllerEngine, request: RequestId, aborted: bool) {
        let Some((queue, tools)) = self.parts(engine, request.queue) else {
            return;
        };
        let sq = queue.sq;
        let Some(admin) = queue.admin_mut() else { return };
        admin.aborts = admin.aborts.saturating_sub(1);
        answer(tools.engine, &sq, request, Status::SUCCESS, (!aborted).into(), Gather::new());
    }

    /// Zeroes to send; made on first use.
    fn zeroes(&mut self) -> Option<View> {
        if self.zeroes.is_none() {
            self.zeroes = self.memory.allocate(ZEROES).ok().map(Buffer::freeze);
        }
        self.zeroes.clone()
    }
}

/// Completes Asynchronous Event Requests as long as there are events.
fn report_events(queue: &mut Queue, engine: &mut dyn ControllerEngine) {
    let sq = queue.sq;
    let Some(admin) = queue.admin_mut() else { return };
    if !admin.association.is_live() {
        return;
    }
    while !admin.events.is_empty() {
        let Some(event) = admin.association.lock().events.take() else {
            return;
        };
        if let Some((request, _)) = admin.events.pop_front() {
            answer(engine, &sq, request, Status::SUCCESS, event.bits().into(), Gather::new());
        }
    }
}

/// Goes on with a shutdown whose I/O queues are gone: what was written is put on stable storage, unless it is an abrupt one.
fn advance_shutdown(queue: &mut Queue, tools: &mut Tools<'_>) {
    let id = queue.id;
    let Some(admin) = queue.admin_mut() else { return };
    {
        let state = admin.association.lock();
        if admin.flushing || !state.registers.shutting_down() || state.open_io_queues() > 0 {
            return;
        }
    }
    let Some(subsystem) = admin.association.subsystem.as_ref().filter(|_| !admin.abrupt) else {
        return admin.association.shutdown_done();
    };
    let namespaces = subsystem.namespaces();
    admin.flushing = true;
    let request = RequestId { queue: id, slot: u16::MAX, generation: 0 };
    let work = Work::Flushes { left: 0, failed: None, then: AfterFlush::Shutdown };
    let op = Op { request, sqe: Sqe::default().with_cid(Cid::NONE), aborted: false, work };
    let index = queue.keep_silent(tools.ops, op);
    flush::start(tools, index, namespaces.iter());
    flush::ended(queue, tools, index);
}

/// The flushes of a shutdown have ended.
pub(super) fn shutdown_flushed(queue: &mut Queue, failed: Option<Status>) {
    let Some(admin) = queue.admin_mut() else { return };
    admin.flushing = false;
    if let Some(status) = failed {
        tracing::warn!(host = %admin.association.host.nqn, %status, "flush at shutdown failed");
    }
    admin.association.shutdown_done();
}
