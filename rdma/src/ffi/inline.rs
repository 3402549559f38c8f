//! The data path of libibverbs: inline functions of its header, which no library exports. Each goes through the table of
//! operations in the device's context, as the header's do.

use std::ffi::c_int;

use super::{Ibverbs, ibv_cq, ibv_port_attr, ibv_qp, ibv_recv_wr, ibv_send_wr, ibv_wc};
use crate::ffi::ibv_context;

/// `EOPNOTSUPP`, for a driver that leaves an operation out.
const NOT_SUPPORTED: c_int = 95;

/// Posts a chain of send requests; 0, or an error number and the first request that was not posted.
///
/// # Safety
/// `qp` is live, the chain's requests and element lists are valid during the call, and what the elements name as long as the
/// verbs of the header say.
pub(crate) unsafe fn post_send(
    qp: *mut ibv_qp,
    chain: *mut ibv_send_wr,
    failed: &mut *mut ibv_send_wr,
) -> c_int {
    // SAFETY: a live queue pair has a live context; the caller vouches for the chain.
    unsafe {
        match (*(*qp).context).ops.post_send {
            Some(call) => call(qp, chain, failed),
            None => NOT_SUPPORTED,
        }
    }
}

/// Posts a chain of receives; 0, or an error number and the first request that was not posted.
///
/// # Safety
/// As for [`post_send`].
pub(crate) unsafe fn post_recv(
    qp: *mut ibv_qp,
    chain: *mut ibv_recv_wr,
    failed: &mut *mut ibv_recv_wr,
) -> c_int {
    // SAFETY: as for `post_send`.
    unsafe {
        match (*(*qp).context).ops.post_recv {
            Some(call) => call(qp, chain, failed),
            None => NOT_SUPPORTED,
        }
    }
}

/// Takes completions; how many, or a negative number.
///
/// # Safety
/// `cq` is live.
pub(crate) unsafe fn poll_cq(cq: *mut ibv_cq, into: &mut [ibv_wc]) -> c_int {
    let room = c_int::try_from(into.len()).unwrap_or(c_int::MAX);
    // SAFETY: a live queue has a live context, and `into` has room for as many as it says.
    unsafe {
        match (*(*cq).context).ops.poll_cq {
            Some(call) => call(cq, room, into.as_mut_ptr()),
            None => -NOT_SUPPORTED,
        }
    }
}

/// Asks for an event at the next completion of any kind.
///
/// # Safety
/// `cq` is live.
pub(crate) unsafe fn req_notify_cq(cq: *mut ibv_cq) -> c_int {
    // SAFETY: a live queue has a live context.
    unsafe {
        match (*(*cq).context).ops.req_notify_cq {
            Some(call) => call(cq, 0),
            None => NOT_SUPPORTED,
        }
    }
}

/// What a port is like. The exported function of this name fills the beginning of the structure that the header has today,
/// up to and including `flags`; the rest stays zero.
///
/// # Safety
/// `context` is live.
pub(crate) unsafe fn query_port(ib: &Ibverbs, context: *mut ibv_context, port: u8) -> Option<ibv_port_attr> {
    // SAFETY: an all-zero value is valid for a structure of numbers.
    let mut attributes: ibv_port_attr = unsafe { std::mem::zeroed() };
    // SAFETY: the context is live, and the structure is longer than what is filled.
    let failed = unsafe { (ib.ibv_query_port)(context, port, (&raw mut attributes).cast()) };
    (failed == 0).then_some(attributes)
}
