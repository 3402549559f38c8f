//! Admin commands that need no module of their own: Keep Alive, Asynchronous Event Request and Abort.

use crate::{AdminOpcode, Cid, Cqe, Sqe};
use zerocopy::little_endian::U32;

/// Keep Alive: restarts the controller's keep alive timer (NVMe Base 2.0 §5.18).
#[must_use]
pub const fn keep_alive() -> Sqe {
    Sqe::admin(AdminOpcode::KEEP_ALIVE)
}

/// Asynchronous Event Request: completes when there is something to report (NVMe Base 2.0 §5.2).
#[must_use]
pub const fn async_event_request() -> Sqe {
    Sqe::admin(AdminOpcode::ASYNC_EVENT_REQUEST)
}

/// Abort: asks the controller to give a command up (NVMe Base 2.0 §5.1).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Abort {
    /// The submission queue of the command.
    pub sqid: u16,
    /// The command.
    pub cid: Cid,
}

impl Abort {
    /// The fields of an Abort command.
    #[must_use]
    pub const fn parse(sqe: &Sqe) -> Self {
        let cdw10 = sqe.cdw10.get();
        Self { sqid: cdw10 as u16, cid: Cid((cdw10 >> 16) as u16) }
    }

    /// The command.
    #[must_use]
    pub const fn to_sqe(self) -> Sqe {
        let mut sqe = Sqe::admin(AdminOpcode::ABORT);
        sqe.cdw10 = U32::new(self.sqid as u32 | (self.cid.0 as u32) << 16);
        sqe
    }

    /// Whether a successful completion says the command was aborted: dword 0 bit 0 is clear (NVMe Base 2.0 §5.1.1).
    #[must_use]
    pub const fn was_aborted(completion: &Cqe) -> bool {
        completion.dw0() & 1 == 0
    }
}
