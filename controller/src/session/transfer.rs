//! Data of writes and compares that stay with the host until fetched: piece by piece, in as much memory as the queue has.
//!
//! A transfer holds memory only for pieces that are being fetched or stored, and waits for memory only while it holds none:
//! so a queue always goes on as long as its host delivers and its backends work.

use nvmf_transport::{Buffer, Gather, Misuse};
use nvmf_wire::Status;

use super::{
    Tools, io,
    ops::{Op, Ops, Work},
    queue::{Queue, Role},
};
use crate::{
    backend::{Operation, Outcome, Progress},
    buffers::LARGE,
};

/// Fetches as much as there is memory for, and ends the command when nothing of it is left to do.
pub(super) fn advance(queue: &mut Queue, tools: &mut Tools<'_>, index: u32) {
    let max_fetches = queue.info.limits.max_fetches.max(1);
    loop {
        let Some(Op { request, aborted, work: Work::Transfer(transfer), .. }) = tools.ops.get_mut(index)
        else {
            return;
        };
        let left = transfer.total.saturating_sub(transfer.next) as usize;
        if *aborted || transfer.failed.is_some() || left == 0 || transfer.fetching >= max_fetches {
            break;
        }
        let Role::Io(io) = &mut queue.role else { return };
        let backend = transfer.namespace.backend();
        let buffer = if transfer.compare {
            io.buffers.take(left.min(LARGE))
        } else {
            let blocks = transfer.next >> transfer.namespace.geometry().block_size.shift();
            io.buffers.take_for(&**backend, transfer.slba + u64::from(blocks), left)
        };
        let Some(buffer) = buffer else {
            if transfer.idle() && !transfer.waiting {
                transfer.waiting = true;
                queue.waiting.push_back(index);
                tools.starved.push(queue.id);
            }
            break;
        };
        let len = buffer.len() as u32;
        match tools.engine.fetch(*request, transfer.next, buffer) {
            Ok(()) => {
                transfer.next += len;
                transfer.fetching += 1;
            }
            Err(refused) if refused.why == Misuse::TooManyFetches && transfer.fetching > 0 => {
                io.buffers.arrived(&refused.given_back);
                break;
            }
            Err(refused) => {
                io.buffers.arrived(&refused.given_back);
                tracing::debug!(?request, why = %refused.why, "the transport refused to fetch");
                transfer.failed = Some(Status::DATA_TRANSFER_ERROR);
                break;
            }
        }
    }
    end_if_done(queue, tools, index);
}

fn end_if_done(queue: &mut Queue, tools: &mut Tools<'_>, index: u32) {
    let Some(Op { aborted, work: Work::Transfer(transfer), .. }) = tools.ops.get(index) else {
        return;
    };
    let ended = *aborted || transfer.failed.is_some() || transfer.next == transfer.total;
    if !ended || !transfer.idle() || transfer.waiting {
        return;
    }
    let status = match transfer.failed {
        Some(status) => Err(status),
        None if transfer.next < transfer.total => Err(Status::ABORT_REQUESTED),
        None => Ok(Gather::new()),
    };
    let bytes = transfer.total;
    io::end_kept(queue, tools, index, status, bytes);
}

/// A piece arrived.
pub(super) fn fetched(
    queue: &mut Queue,
    tools: &mut Tools<'_>,
    index: u32,
    offset: u32,
    data: Buffer,
    outcome: Result<(), Status>,
) {
    let Some(Op { aborted, work: Work::Transfer(transfer), .. }) = tools.ops.get_mut(index) else {
        return;
    };
    transfer.fetching = transfer.fetching.saturating_sub(1);
    if let Role::Io(io) = &mut queue.role {
        io.buffers.arrived(&data);
    }
    if let Err(status) = outcome {
        transfer.failed.get_or_insert(status);
    }
    if *aborted || transfer.failed.is_some() {
        drop(data);
    } else {
        let blocks = u64::from(offset >> transfer.namespace.geometry().block_size.shift());
        let (slba, fua) = (transfer.slba + blocks, transfer.fua);
        let data = Gather::from(data);
        let operation = if transfer.compare {
            Operation::Compare { slba, data, fua }
        } else {
            Operation::Write { slba, data, fua }
        };
        let Role::Io(io) = &queue.role else { return };
        let mut lender = crate::buffers::Lender::new(&io.buffers, tools.ring.as_deref_mut(), false);
        match transfer.namespace.backend().submit(operation, &mut lender, tools.finished.ticket(index.into()))
        {
            Progress::Pending => transfer.storing += 1,
            Progress::Done(Ok(_)) => {}
            Progress::Done(Err(status)) => {
                transfer.failed.get_or_insert(status);
            }
        }
    }
    advance(queue, tools, index);
}

/// A piece was stored or compared.
pub(super) fn stored(queue: &mut Queue, tools: &mut Tools<'_>, index: u32, outcome: Outcome) {
    let Some(Op { work: Work::Transfer(transfer), .. }) = tools.ops.get_mut(index) else {
        return;
    };
    transfer.storing = transfer.storing.saturating_sub(1);
    if let Err(status) = outcome {
        transfer.failed.get_or_insert(status);
    }
    advance(queue, tools, index);
}

/// A piece came to a queue that is closing: its buffer goes, its count too.
pub(super) fn fetch_lost(ops: &mut Ops, index: u32) {
    if let Some(Op { work: Work::Transfer(transfer), .. }) = ops.get_mut(index) {
        transfer.fetching = transfer.fetching.saturating_sub(1);
    }
}

/// An operation ended whose command is not answered any more. Releases the command with its last operation, unless fetches
/// of it are outstanding: then the end of the queue does.
pub(super) fn forget_finished(queue: &mut Queue, ops: &mut Ops, index: u32) {
    let over = match ops.get_mut(index).map(|op| &mut op.work) {
        Some(Work::Transfer(transfer)) => {
            transfer.storing = transfer.storing.saturating_sub(1);
            transfer.idle()
        }
        Some(Work::Flushes { left, .. }) => {
            *left = left.saturating_sub(1);
            *left == 0
        }
        _ => true,
    };
    if over {
        queue.release(ops, index);
    }
}

/// Whether no backend works for a command, now that no fetch is outstanding.
pub(super) fn with_host_only(op: &Op) -> bool {
    match &op.work {
        Work::Transfer(transfer) => transfer.storing == 0,
        Work::Backend { .. } | Work::Flushes { .. } => false,
        Work::Ranges { .. } | Work::AdminData | Work::Memory { .. } => true,
    }
}
