//! Commands of I/O queues: checks in the order namespace, size, range, data; then the backend (NVM Command Set 1.0 §3.2).
//!
//! No lock is taken and nothing allocated for a command that its backend ends at once. Fused operations are refused
//! (FUSES is 0); so is every command that is not in the Commands Supported and Effects log page.

use std::sync::Arc;

use nvmf_transport::{Buffer, Close, Gather, RequestData, RequestId};
use nvmf_wire::{
    FabricsType, IoOpcode, Sqe, Status,
    fabrics::Disconnect,
    io::{DatasetManagement, DatasetRange, Rw},
    sqe::{Fuse, NSID_BROADCAST, Psdt},
};
use smallvec::SmallVec;
use zerocopy::FromBytes;

use super::{
    Tools,
    ops::{AfterFlush, Op, Transfer, Work},
    queue::{IoQueue, Queue, Role, answer},
    transfer,
};
use crate::{
    backend::{BlockRange, Operation, Outcome, Progress},
    buffers::Lender,
    counters::QueueCounters,
    namespace::Namespace,
};

/// What a command comes down to.
enum Plan {
    /// An operation of one namespace, that moves this many bytes.
    Submit { namespace: Arc<Namespace>, operation: Operation, bytes: u32 },
    /// A write or compare whose data stay with the host.
    Transfer(Transfer),
    /// A Dataset Management command whose ranges stay with the host.
    Ranges { namespace: Arc<Namespace>, command: DatasetManagement },
    /// A flush of all namespaces.
    FlushAll,
    /// Nothing is left to do.
    Nothing,
    /// The queue ends.
    Disconnect,
}

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
    match plan(io, sqe, data) {
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
        Ok(Plan::FlushAll) => flush_all(queue, tools, request, sqe),
        Ok(Plan::Nothing) => end(queue, tools, request, sqe, Ok(Gather::new()), 0),
        Ok(Plan::Disconnect) => disconnect(queue, tools, request),
        Err(status) => refuse(queue, tools, request, sqe, status.with_dnr()),
    }
}

fn plan(io: &IoQueue, sqe: &Sqe, data: RequestData) -> Result<Plan, Status> {
    if sqe.fuse() != Fuse::NORMAL || sqe.psdt() == Psdt::PRP {
        return Err(Status::INVALID_FIELD);
    }
    let fua = |rw: &Rw| rw.fua || io.association.write_through();
    match sqe.io_opcode() {
        IoOpcode::READ => {
            let (namespace, rw, bytes) = blocks(io, sqe)?;
            match data {
                RequestData::Remote { len } if len == bytes => {}
                // Data to be sent cannot go into the capsule they would have come from.
                RequestData::InCapsule(_) => return Err(Status::INVALID_FIELD),
                _ => return Err(Status::DATA_SGL_LENGTH_INVALID),
            }
            let operation = Operation::Read { slba: rw.slba, blocks: rw.blocks, fua: rw.fua };
            Ok(Plan::Submit { namespace: Arc::clone(namespace), operation, bytes })
        }
        opcode @ (IoOpcode::WRITE | IoOpcode::COMPARE) => {
            let (namespace, rw, bytes) = blocks(io, sqe)?;
            let compare = opcode == IoOpcode::COMPARE;
            if !compare {
                writable(namespace)?;
            }
            let (namespace, slba) = (Arc::clone(namespace), rw.slba);
            match data {
                RequestData::InCapsule(buffer) if buffer.len() == bytes as usize => {
                    let data = Gather::from(buffer);
                    let operation = if compare {
                        Operation::Compare { slba, data, fua: rw.fua }
                    } else {
                        Operation::Write { slba, data, fua: fua(&rw) }
                    };
                    Ok(Plan::Submit { namespace, operation, bytes })
                }
                RequestData::Remote { len } if len == bytes => Ok(Plan::Transfer(Transfer {
                    namespace,
                    slba,
                    total: bytes,
                    fua: if compare { rw.fua } else { fua(&rw) },
                    compare,
                    next: 0,
                    fetching: 0,
                    storing: 0,
                    waiting: false,
                    failed: None,
                })),
                _ => Err(Status::DATA_SGL_LENGTH_INVALID),
            }
        }
        IoOpcode::FLUSH => {
            no_data(&data)?;
            if sqe.nsid() == NSID_BROADCAST {
                return Ok(Plan::FlushAll);
            }
            let namespace = Arc::clone(namespace(io, sqe)?);
            Ok(Plan::Submit { namespace, operation: Operation::Flush, bytes: 0 })
        }
        IoOpcode::WRITE_ZEROES => {
            let (namespace, rw, _) = blocks(io, sqe)?;
            writable(namespace)?;
            no_data(&data)?;
            let operation = Operation::WriteZeroes {
                slba: rw.slba,
                blocks: rw.blocks,
                deallocate: rw.deallocate,
                fua: fua(&rw),
            };
            Ok(Plan::Submit { namespace: Arc::clone(namespace), operation, bytes: 0 })
        }
        IoOpcode::VERIFY => {
            let (namespace, rw, _) = blocks(io, sqe)?;
            no_data(&data)?;
            let operation = Operation::Verify { slba: rw.slba, blocks: rw.blocks, fua: rw.fua };
            Ok(Plan::Submit { namespace: Arc::clone(namespace), operation, bytes: 0 })
        }
        IoOpcode::DATASET_MANAGEMENT => {
            let namespace = namespace(io, sqe)?;
            let command = DatasetManagement::parse(sqe);
            if data.len() != command.data_length() {
                return Err(Status::DATA_SGL_LENGTH_INVALID);
            }
            if !command.attributes.deallocate() {
                // The other attributes are hints (NVM Command Set 1.0 §3.2.3).
                return Ok(Plan::Nothing);
            }
            writable(namespace)?;
            let namespace = Arc::clone(namespace);
            match data {
                RequestData::InCapsule(buffer) => {
                    let operation = deallocate(&namespace, &buffer)?;
                    Ok(Plan::Submit { namespace, operation, bytes: 0 })
                }
                _ => Ok(Plan::Ranges { namespace, command }),
            }
        }
        IoOpcode::FABRICS => match sqe.fctype() {
            Some(FabricsType::CONNECT) => Err(Status::COMMAND_SEQUENCE_ERROR),
            Some(FabricsType::DISCONNECT) if Disconnect::parse(sqe).recfmt != 0 => {
                Err(Status::CONNECT_INCOMPATIBLE_FORMAT)
            }
            Some(FabricsType::DISCONNECT) => Ok(Plan::Disconnect),
            _ => Err(Status::INVALID_OPCODE),
        },
        _ => Err(Status::INVALID_OPCODE),
    }
}

fn namespace<'a>(io: &'a IoQueue, sqe: &Sqe) -> Result<&'a Arc<Namespace>, Status> {
    io.namespaces.table.get(sqe.nsid()).ok_or(Status::INVALID_NAMESPACE_OR_FORMAT)
}

/// The namespace, the blocks and the bytes of a command that names blocks: no more than MDTS allows (WZSL and VSL are the
/// same, so that no command keeps this thread for long), and all of them exist.
fn blocks<'a>(io: &'a IoQueue, sqe: &Sqe) -> Result<(&'a Arc<Namespace>, Rw, u32), Status> {
    let namespace = namespace(io, sqe)?;
    let geometry = namespace.geometry();
    let rw = Rw::parse(sqe);
    // At most 2^16 blocks of 2^12 bytes.
    let bytes = rw.blocks << geometry.block_size.shift();
    if bytes > io.max_transfer {
        return Err(Status::INVALID_FIELD);
    }
    if !rw.is_within(geometry.blocks) {
        return Err(Status::LBA_OUT_OF_RANGE);
    }
    Ok((namespace, rw, bytes))
}

fn writable(namespace: &Namespace) -> Result<(), Status> {
    if namespace.geometry().read_only { Err(Status::NAMESPACE_WRITE_PROTECTED) } else { Ok(()) }
}

fn no_data(data: &RequestData) -> Result<(), Status> {
    if data.is_empty() { Ok(()) } else { Err(Status::DATA_SGL_LENGTH_INVALID) }
}

/// The operation that a list of ranges asks for.
fn deallocate(namespace: &Namespace, list: &[u8]) -> Result<Operation, Status> {
    let ranges: SmallVec<[BlockRange; 1]> = list
        .chunks_exact(DatasetRange::SIZE)
        .filter_map(|bytes| DatasetRange::read_from_bytes(bytes).ok())
        .map(|range| BlockRange { slba: range.slba.get(), blocks: range.length.get().into() })
        .collect();
    let operation = Operation::Deallocate { ranges };
    operation.check(namespace.geometry())?;
    Ok(operation)
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
    let mut lender = Lender::new(&io.buffers, restartable && !queue.waiting.is_empty());
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
    let (namespace, operation, bytes) = match restarted(io, &sqe) {
        Ok(parts) => parts,
        Err(status) => return end_kept(queue, tools, index, Err(status.with_dnr()), 0),
    };
    let Role::Io(io) = &queue.role else { return };
    let mut lender = Lender::new(&io.buffers, false);
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

/// The operation of a read or verify that waited; the namespace may have changed meanwhile.
fn restarted(io: &IoQueue, sqe: &Sqe) -> Result<(Arc<Namespace>, Operation, u32), Status> {
    match sqe.io_opcode() {
        IoOpcode::READ => {
            let (namespace, rw, bytes) = blocks(io, sqe)?;
            let operation = Operation::Read { slba: rw.slba, blocks: rw.blocks, fua: rw.fua };
            Ok((Arc::clone(namespace), operation, bytes))
        }
        _ => {
            let (namespace, rw, _) = blocks(io, sqe)?;
            let operation = Operation::Verify { slba: rw.slba, blocks: rw.blocks, fua: rw.fua };
            Ok((Arc::clone(namespace), operation, 0))
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
        Ok(()) => deallocate(namespace, &data).map_err(Status::with_dnr),
        Err(status) => Err(status),
    };
    let (namespace, operation) = match operation {
        Ok(operation) => (Arc::clone(namespace), operation),
        Err(status) => return end_kept(queue, tools, index, Err(status), 0),
    };
    drop(data);
    let Role::Io(io) = &queue.role else { return };
    let mut lender = Lender::new(&io.buffers, false);
    match namespace.backend().submit(operation, &mut lender, tools.finished.ticket(index.into())) {
        Progress::Done(outcome) => end_kept(queue, tools, index, outcome, 0),
        Progress::Pending => {
            if let Some(op) = tools.ops.get_mut(index) {
                op.work = Work::Backend { bytes: 0 };
            }
        }
    }
}

/// Flush with the broadcast namespace (NVMe Base 2.0 §7.1, VWC bits 2:1 = 11b).
fn flush_all(queue: &mut Queue, tools: &mut Tools<'_>, request: RequestId, sqe: &Sqe) {
    let Role::Io(io) = &queue.role else { return };
    let table = Arc::clone(&io.namespaces.table);
    let work = Work::Flushes { left: 0, failed: None, then: AfterFlush::Answer };
    let index = queue.keep(tools.ops, Op { request, sqe: *sqe, aborted: false, work });
    start_flushes(tools, index, table.iter());
    flushes_ended(queue, tools, index);
}

/// Submits a flush to each of `namespaces` for a command that was kept.
pub(super) fn start_flushes<'a>(
    tools: &mut Tools<'_>,
    index: u32,
    namespaces: impl Iterator<Item = &'a Arc<Namespace>>,
) {
    let Some(Op { work: Work::Flushes { left, failed, .. }, .. }) = tools.ops.get_mut(index) else {
        return;
    };
    for namespace in namespaces {
        let mut none = NoBuffers;
        match namespace.backend().submit(Operation::Flush, &mut none, tools.finished.ticket(index.into())) {
            Progress::Pending => *left += 1,
            Progress::Done(Ok(_)) => {}
            Progress::Done(Err(status)) => {
                failed.get_or_insert(status);
            }
        }
    }
}

/// A flush takes no buffers.
struct NoBuffers;

impl crate::backend::Buffers for NoBuffers {
    fn take(&mut self, _: usize) -> Option<Buffer> {
        None
    }
}

/// One of several flushes ended.
pub(super) fn flushed(queue: &mut Queue, tools: &mut Tools<'_>, index: u32, outcome: Outcome) {
    let Some(Op { work: Work::Flushes { left, failed, .. }, .. }) = tools.ops.get_mut(index) else {
        return;
    };
    *left = left.saturating_sub(1);
    if let Err(status) = outcome {
        failed.get_or_insert(status);
    }
    flushes_ended(queue, tools, index);
}

/// Does what several flushes were for, if none of them is under way any more.
pub(super) fn flushes_ended(queue: &mut Queue, tools: &mut Tools<'_>, index: u32) {
    let Some(Op { work: Work::Flushes { left: 0, failed, then }, .. }) = tools.ops.get(index) else {
        return;
    };
    let (failed, then) = (*failed, *then);
    match then {
        AfterFlush::Answer => end_kept(queue, tools, index, failed.map_or(Ok(Gather::new()), Err), 0),
        AfterFlush::Shutdown => {
            queue.release(tools.ops, index);
            super::admin::shutdown_flushed(queue, failed);
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
