//! Commands of I/O queues: run what [`plan`](super::plan) says, and answer.
//!
//! No lock is taken and nothing allocated for a command that its backend ends at once.

use std::sync::Arc;

use nvmf_transport::{Buffer, Close, Gather, RequestData, RequestId};
use nvmf_wire::{
    IoOpcode, Sqe, Status,
    io::{DatasetManagement, Rw},
};

use super::{
    Tools, flush,
    ops::{Op, Transfer, Work},
    plan::{self, Plan},
    queue::{Queue, Role, answer},
    transfer,
};
use crate::{
    backend::{Operation, Outcome, Progress},
    buffers::Lender,
    counters::QueueCounters,
    namespace::Namespace,
};

/// Runs a command.
pub(super) fn command(
    queue: &mut Queue,
    tools: &mut Tools<'_>,
    request: RequestId,
    sqe: &Sqe,
    data: RequestData,
) {
    if queue.outstanding > 0 && queue.cids.contains(sqe.cid()) {
        return refuse(queue, tools, request, sqe, Status::COMMAND_ID_CONFLICT.with_dnr());
    }
    let Role::Io(io) = &mut queue.role else { return };
    io.association.note_traffic(tools.tick);
    if !io.association.is_live() {
        // The controller is being reset or shut down: its I/O queues are deleted (NVMe Base 2.0 §3.7.2).
        return refuse(queue, tools, request, sqe, Status::ABORTED_SQ_DELETION);
    }
    io.subsystem.namespaces.refresh(&mut io.namespaces);
    match plan::plan(io, sqe, data) {
        Ok(Plan::Submit { namespace, operation, bytes }) => {
            submit(queue, tools, request, sqe, &namespace, operation, bytes);
        }
        Ok(Plan::Transfer(transfer)) => {
            let behind = !queue.waiting.is_empty();
            let work = Work::Transfer(Transfer { waiting: behind, ..transfer });
            let index = queue.keep(tools.ops, Op { request, sqe: *sqe, aborted: false, work });
            if behind {
                queue.waiting.push_back(index);
            } else {
                transfer::advance(queue, tools, index);
            }
        }
        Ok(Plan::Ranges { namespace, command }) => {
            fetch_ranges(queue, tools, request, sqe, namespace, command)
        }
        Ok(Plan::FlushAll) => flush::all(queue, tools, request, sqe),
        Ok(Plan::Nothing) => end(queue, tools, request, sqe, Ok(Gather::new()), 0),
        Ok(Plan::Disconnect) => disconnect(queue, tools, request),
        Err(status) => refuse(queue, tools, request, sqe, status.with_dnr()),
    }
}

/// Gives an operation to the backend and ends the command if that ends it.
fn submit(
    queue: &mut Queue,
    tools: &mut Tools<'_>,
    request: RequestId,
    sqe: &Sqe,
    namespace: &Namespace,
    operation: Operation,
    bytes: u32,
) {
    let Role::Io(io) = &queue.role else { return };
    // A read can start again, as no data would be lost; everything else takes no buffers, or says so to the host.
    let restartable = matches!(operation, Operation::Read { .. } | Operation::Verify { .. });
    let mut lender =
        Lender::new(&io.buffers, tools.ring.as_deref_mut(), restartable && !queue.waiting.is_empty());
    let ticket = tools.finished.ticket(tools.ops.next().into());
    match namespace.backend().submit(operation, &mut lender, ticket) {
        Progress::Done(Err(status))
            if restartable && lender.starved && status.is(Status::COMMAND_INTERRUPTED) =>
        {
            let index = queue.keep(
                tools.ops,
                Op { request, sqe: *sqe, aborted: false, work: Work::Memory { len: bytes } },
            );
            queue.waiting.push_back(index);
            tools.starved.push(queue.id);
        }
        Progress::Done(outcome) => end(queue, tools, request, sqe, outcome, bytes),
        Progress::Pending => {
            queue.keep(tools.ops, Op { request, sqe: *sqe, aborted: false, work: Work::Backend { bytes } });
        }
    }
}

/// Goes on with the commands of a queue that wait for memory, in order, until one has to wait again. Whether any went on.
pub(super) fn resume(queue: &mut Queue, tools: &mut Tools<'_>) -> bool {
    let mut progress = false;
    while let Some(index) = queue.waiting.pop_front() {
        match tools.ops.get_mut(index).map(|op| &mut op.work) {
            Some(Work::Transfer(transfer)) => {
                transfer.waiting = false;
                transfer::advance(queue, tools, index);
            }
            Some(Work::Memory { .. }) => restart(queue, tools, index),
            _ => {}
        }
        if queue.waiting.back() == Some(&index) {
            // It waits again: at the front, where it was.
            queue.waiting.rotate_right(1);
            break;
        }
        progress = true;
    }
    progress
}

fn restart(queue: &mut Queue, tools: &mut Tools<'_>, index: u32) {
    let Some(sqe) = tools.ops.get(index).map(|op| op.sqe) else {
        return;
    };
    let Role::Io(io) = &mut queue.role else { return };
    io.subsystem.namespaces.refresh(&mut io.namespaces);
    let (namespace, operation, bytes) = match plan::restarted(io, &sqe) {
        Ok(parts) => parts,
        Err(status) => return end_kept(queue, tools, index, Err(status.with_dnr()), 0),
    };
    let Role::Io(io) = &queue.role else { return };
    let mut lender = Lender::new(&io.buffers, tools.ring.as_deref_mut(), false);
    match namespace.backend().submit(operation, &mut lender, tools.finished.ticket(index.into())) {
        Progress::Done(Err(status)) if lender.starved && status.is(Status::COMMAND_INTERRUPTED) => {
            queue.waiting.push_back(index);
        }
        Progress::Done(outcome) => end_kept(queue, tools, index, outcome, bytes),
        Progress::Pending => {
            if let Some(op) = tools.ops.get_mut(index) {
                op.work = Work::Backend { bytes };
            }
        }
    }
}

fn fetch_ranges(
    queue: &mut Queue,
    tools: &mut Tools<'_>,
    request: RequestId,
    sqe: &Sqe,
    namespace: Arc<Namespace>,
    command: DatasetManagement,
) {
    let Role::Io(io) = &queue.role else { return };
    let Some(buffer) = io.buffers.take(command.data_length()) else {
        // Only a hint: the host may give it again, or not.
        return refuse(queue, tools, request, sqe, Status::COMMAND_INTERRUPTED);
    };
    match tools.engine.fetch(request, 0, buffer) {
        Ok(()) => {
            let work = Work::Ranges { namespace };
            queue.keep(tools.ops, Op { request, sqe: *sqe, aborted: false, work });
        }
        Err(_) => refuse(queue, tools, request, sqe, Status::DATA_TRANSFER_ERROR),
    }
}

/// The ranges of a Dataset Management command arrived.
pub(super) fn ranges_fetched(
    queue: &mut Queue,
    tools: &mut Tools<'_>,
    index: u32,
    data: Buffer,
    outcome: Result<(), Status>,
) {
    let Some(Op { aborted, work: Work::Ranges { namespace, .. }, .. }) = tools.ops.get(index) else {
        return;
    };
    let operation = match outcome {
        _ if *aborted => Err(Status::ABORT_REQUESTED),
        Ok(()) => plan::deallocate(namespace, &data).map_err(Status::with_dnr),
        Err(status) => Err(status),
    };
    let (namespace, operation) = match operation {
        Ok(operation) => (Arc::clone(namespace), operation),
        Err(status) => return end_kept(queue, tools, index, Err(status), 0),
    };
    drop(data);
    let Role::Io(io) = &queue.role else { return };
    let mut lender = Lender::new(&io.buffers, tools.ring.as_deref_mut(), false);
    match namespace.backend().submit(operation, &mut lender, tools.finished.ticket(index.into())) {
        Progress::Done(outcome) => end_kept(queue, tools, index, outcome, 0),
        Progress::Pending => {
            if let Some(op) = tools.ops.get_mut(index) {
                op.work = Work::Backend { bytes: 0 };
            }
        }
    }
}

/// The one operation of a command ended.
pub(super) fn finished(queue: &mut Queue, tools: &mut Tools<'_>, index: u32, outcome: Outcome) {
    let Some(Op { work: Work::Backend { bytes }, .. }) = tools.ops.get(index) else {
        return;
    };
    let bytes = *bytes;
    end_kept(queue, tools, index, outcome, bytes);
}

/// Ends a command that was kept.
pub(super) fn end_kept(queue: &mut Queue, tools: &mut Tools<'_>, index: u32, outcome: Outcome, bytes: u32) {
    if let Some(op) = queue.release(tools.ops, index) {
        end(queue, tools, op.request, &op.sqe, outcome, bytes);
    }
}

/// Answers a command and counts it.
fn end(
    queue: &mut Queue,
    tools: &mut Tools<'_>,
    request: RequestId,
    sqe: &Sqe,
    outcome: Outcome,
    bytes: u32,
) {
    match outcome {
        Ok(data) => {
            if let Role::Io(io) = &queue.role {
                count(&io.counters, sqe.io_opcode(), bytes);
            }
            answer(tools.engine, &queue.sq, request, Status::SUCCESS, 0, data);
        }
        Err(status) => refuse(queue, tools, request, sqe, status),
    }
}

fn count(counters: &QueueCounters, opcode: IoOpcode, bytes: u32) {
    match opcode {
        IoOpcode::READ => {
            counters.reads.add(1);
            counters.read_bytes.add(bytes.into());
        }
        IoOpcode::WRITE => {
            counters.writes.add(1);
            counters.written_bytes.add(bytes.into());
        }
        _ => counters.others.add(1),
    }
}

/// Answers a command with an error, and logs it.
pub(super) fn refuse(
    queue: &mut Queue,
    tools: &mut Tools<'_>,
    request: RequestId,
    sqe: &Sqe,
    status: Status,
) {
    match &queue.role {
        Role::Io(io) => {
            io.counters.errors.add(1);
            if status.sct() == nvmf_wire::status::StatusCodeType::MEDIA {
                io.counters.media_errors.add(1);
            }
            let lba = match sqe.io_opcode() {
                IoOpcode::FLUSH | IoOpcode::DATASET_MANAGEMENT | IoOpcode::FABRICS => 0,
                _ => Rw::parse(sqe).slba,
            };
            let nsid = if sqe.is_fabrics() { 0 } else { sqe.nsid() };
            io.association.log_failure(io.qid, sqe.cid(), status, nsid, lba);
        }
        Role::Admin(admin) => {
            let nsid = if sqe.is_fabrics() { 0 } else { sqe.nsid() };
            admin.association.log_failure(0, sqe.cid(), status, nsid, 0);
        }
        Role::Fresh(_) => {}
    }
    answer(tools.engine, &queue.sq, request, status, 0, Gather::new());
}

/// Disconnect: the queue ends when the answer has left. Its other commands end with it, unanswered (NVMe-oF 1.1 §3.6).
fn disconnect(queue: &mut Queue, tools: &mut Tools<'_>, request: RequestId) {
    answer(tools.engine, &queue.sq, request, Status::SUCCESS, 0, Gather::new());
    queue.closing = true;
    tools.engine.close(queue.id, Close::AfterFlush);
}
