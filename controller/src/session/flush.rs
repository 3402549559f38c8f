//! Flushes of several namespaces: for a Flush command with the broadcast namespace, and for a shutdown of the controller.

use std::sync::Arc;

use nvmf_transport::{Buffer, Gather, RequestId};
use nvmf_wire::Sqe;

use super::{
    Tools, admin, io,
    ops::{AfterFlush, Op, Work},
    queue::{Queue, Role},
};
use crate::{
    backend::{Buffers, Operation, Outcome, Progress, Ring},
    namespace::Namespace,
};

/// Flush with the broadcast namespace (NVMe Base 2.0 §7.1, VWC bits 2:1 = 11b).
pub(super) fn all(queue: &mut Queue, tools: &mut Tools<'_>, request: RequestId, sqe: &Sqe) {
    let Role::Io(io) = &queue.role else { return };
    let table = Arc::clone(&io.namespaces.table);
    let work = Work::Flushes { left: 0, failed: None, then: AfterFlush::Answer };
    let index = queue.keep(tools.ops, Op { request, sqe: *sqe, aborted: false, work });
    start(tools, index, table.iter());
    ended(queue, tools, index);
}

/// Submits a flush to each of `namespaces` for a command that was kept.
pub(super) fn start<'a>(
    tools: &mut Tools<'_>,
    index: u32,
    namespaces: impl Iterator<Item = &'a Arc<Namespace>>,
) {
    let Some(Op { work: Work::Flushes { left, failed, .. }, .. }) = tools.ops.get_mut(index) else {
        return;
    };
    for namespace in namespaces {
        let mut none = NoBuffers(tools.ring.as_deref_mut());
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
struct NoBuffers<'a>(Option<&'a mut Ring>);

impl Buffers for NoBuffers<'_> {
    fn take(&mut self, _: usize) -> Option<Buffer> {
        None
    }

    fn ring(&mut self) -> Option<&mut Ring> {
        self.0.as_deref_mut()
    }
}

/// One of several flushes ended.
pub(super) fn one_ended(queue: &mut Queue, tools: &mut Tools<'_>, index: u32, outcome: Outcome) {
    let Some(Op { work: Work::Flushes { left, failed, .. }, .. }) = tools.ops.get_mut(index) else {
        return;
    };
    *left = left.saturating_sub(1);
    if let Err(status) = outcome {
        failed.get_or_insert(status);
    }
    ended(queue, tools, index);
}

/// Does what several flushes were for, if none of them is under way any more.
pub(super) fn ended(queue: &mut Queue, tools: &mut Tools<'_>, index: u32) {
    let Some(Op { work: Work::Flushes { left: 0, failed, then }, .. }) = tools.ops.get(index) else {
        return;
    };
    let (failed, then) = (*failed, *then);
    match then {
        AfterFlush::Answer => io::end_kept(queue, tools, index, failed.map_or(Ok(Gather::new()), Err), 0),
        AfterFlush::Shutdown => {
            queue.release(tools.ops, index);
            admin::shutdown_flushed(queue, failed);
        }
    }
}
