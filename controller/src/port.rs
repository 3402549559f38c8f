//! How sessions on different threads tell each other things: a mailbox per session, emptied between two polls.
//!
//! Used for what is rare (closing the queues of an association, asynchronous events, Abort across threads); the I/O path
//! only looks at one flag per batch.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicBool, Ordering},
};

use nvmf_transport::{Close, QueueId, RequestId, Wake};
use nvmf_wire::Cid;

/// What one session asks of another, or the configuration of all.
#[derive(Debug)]
pub(crate) enum Message {
    /// End a queue.
    Close { queue: QueueId, how: Close },
    /// Look at the association of an admin queue: it has something to report, or a reset or shutdown has come further.
    Look { queue: QueueId },
    /// End a command of a queue early if that is possible, and say so to an admin queue.
    Abort { queue: QueueId, cid: Cid, reply: AbortReply },
    /// The answer to `Abort`.
    Aborted { request: RequestId, aborted: bool },
}

/// Where the answer to an Abort goes.
#[derive(Debug)]
pub(crate) struct AbortReply {
    pub(crate) port: Arc<Port>,
    pub(crate) request: RequestId,
}

/// The mailbox of one session.
#[derive(Debug)]
pub(crate) struct Port {
    inbox: Mutex<Vec<Message>>,
    /// Set when `inbox` may hold something its owner has not been woken for.
    flagged: AtomicBool,
    wake: Wake,
}

impl Port {
    pub(crate) fn new(wake: Wake) -> Arc<Self> {
        Arc::new(Self { inbox: Mutex::default(), flagged: AtomicBool::new(false), wake })
    }

    /// Leaves a message and wakes the owner.
    pub(crate) fn post(&self, message: Message) {
        self.inbox.lock().unwrap_or_else(PoisonError::into_inner).push(message);
        if !self.flagged.swap(true, Ordering::SeqCst) {
            self.wake.wake();
        }
    }

    /// Takes all messages; one atomic load if there is none.
    pub(crate) fn take(&self) -> Vec<Message> {
        if !self.flagged.load(Ordering::Acquire) {
            return Vec::new();
        }
        // Before the look into the box: a message left after the look must set it again.
        self.flagged.store(false, Ordering::SeqCst);
        std::mem::take(&mut *self.inbox.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
