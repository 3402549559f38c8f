//! An orderly end: requests finish, I/O queues are disconnected where the controller can, CC.SHN tells it to save what it
//! has, and the connections close (NVMe Base 2.0 §3.6.2; NVMe-oF 1.1 §3.6). All of it within one time limit.

use std::time::{Duration, Instant};

use nvmf_transport::{Close, Data, HostEngine};
use nvmf_wire::{
    Cqe,
    fabrics::{Disconnect, PropertyGet, PropertySet},
    property::{Cc, Csts, PropertyOffset, ShutdownNotification, ShutdownStatus},
};

use super::{
    AfterDrain, Association, Cx, Internal, Phase,
    slots::{Lane, Owner},
};

/// How often CSTS.SHST is looked at.
const LOOK: Duration = Duration::from_millis(10);

#[derive(Debug)]
pub(super) struct Closing {
    step: Step,
    /// When it ends, orderly or not.
    by: Instant,
    /// When the shutdown's progress is to be looked at next.
    look: Option<Instant>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// Accepted requests are finished; no new ones are taken.
    Quiesce,
    /// Disconnect commands are out, this many.
    Disconnect(u16),
    /// CC.SHN is written; CSTS.SHST is read until the controller is done.
    Notify,
}

impl Closing {
    pub(super) fn next_timeout(&self) -> Instant {
        self.look.map_or(self.by, |look| look.min(self.by))
    }
}

/// What is needed of the controller's facts to end in good order.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Farewell {
    disconnect: bool,
    cc: Cc,
}

impl Association {
    /// Ends the association. `orderly` finishes accepted requests and shuts the controller down first, within the shutdown
    /// timeout; otherwise everything ends at once. [`Notice::Ended`](super::Notice::Ended) follows.
    pub fn close(&mut self, engine: &mut dyn HostEngine, now: Instant, orderly: bool) {
        let mut cx = Cx { engine, now };
        match &mut self.phase {
            Phase::Ended => {}
            Phase::Draining { next } => {
                *next = AfterDrain::End(None);
                self.outage = None;
                self.fail_held(crate::IoError::Closed);
            }
            Phase::Live if orderly => {
                let by = now + self.options.shutdown_timeout;
                self.phase = Phase::Closing(Closing { step: Step::Quiesce, by, look: None });
                self.scan = None;
                self.check_quiesced(&mut cx);
            }
            Phase::Closing(_) if orderly => {}
            _ => self.drain(&mut cx, AfterDrain::End(None), Close::Now),
        }
    }

    /// Remembers what ending will need.
    pub(super) fn shutdown_facts(&mut self) {
        if let Phase::Connecting(attempt) = &self.phase {
            self.farewell = Farewell {
                disconnect: attempt.facts.as_ref().is_some_and(|facts| facts.disconnect),
                cc: attempt.cc,
            };
        }
    }

    /// Whether accepted requests are still being sent although new ones are refused.
    pub(super) fn is_quiescing(&self) -> bool {
        matches!(self.phase, Phase::Closing(Closing { step: Step::Quiesce, .. }))
    }

    /// Goes on once nothing of a caller's is outstanding.
    pub(super) fn check_quiesced(&mut self, cx: &mut Cx<'_>) {
        if !self.is_quiescing()
            || self.slots.iter().any(|(_, slot)| !matches!(slot.owner, Owner::Internal(_)))
        {
            return;
        }
        if !self.backlog.io.is_empty() {
            return;
        }
        let io = self.queues.io.len() as u16;
        if !self.farewell.disconnect || io == 0 {
            return self.notify(cx);
        }
        self.closing_step(Step::Disconnect(io));
        for index in 0..io {
            self.internal(
                cx,
                Lane::Io(index),
                Internal::Disconnect,
                Disconnect::default().to_sqe(),
                Data::None,
                None,
            );
        }
    }

    fn closing_step(&mut self, next: Step) {
        if let Phase::Closing(closing) = &mut self.phase {
            closing.step = next;
        }
    }

    fn notify(&mut self, cx: &mut Cx<'_>) {
        self.closing_step(Step::Notify);
        // From here on the controller's timer stands still (NVMe Base 2.0 §3.9.3), and Keep Alive is out of sequence.
        self.keep_alive.stop();
        let cc = self.farewell.cc.with_shn(ShutdownNotification::NORMAL);
        let sqe = PropertySet::new(PropertyOffset::CC, u64::from(cc.bits())).to_sqe();
        self.internal(cx, Lane::Admin, Internal::ShutdownNotification, sqe, Data::None, None);
    }

    pub(super) fn on_shutdown(&mut self, cx: &mut Cx<'_>, what: Internal, cqe: Cqe) {
        let Phase::Closing(closing) = &mut self.phase else {
            return;
        };
        match (what, closing.step) {
            // A controller that does not know Disconnect loses nothing by it.
            (Internal::Disconnect, Step::Disconnect(left)) => match left {
                0 | 1 => self.notify(cx),
                _ => closing.step = Step::Disconnect(left - 1),
            },
            (Internal::ShutdownNotification, Step::Notify) if cqe.status().is_success() => self.look(cx),
            (Internal::ShutdownStatus, Step::Notify) if cqe.status().is_success() => {
                if Csts(cqe.dw0()).shst() == ShutdownStatus::COMPLETE {
                    self.drain(cx, AfterDrain::End(None), Close::AfterFlush);
                } else {
                    closing.look = Some(cx.now + LOOK);
                }
            }
            _ => self.drain(cx, AfterDrain::End(None), Close::AfterFlush),
        }
    }

    fn look(&mut self, cx: &mut Cx<'_>) {
        let sqe = PropertyGet::new(PropertyOffset::CSTS).to_sqe();
        self.internal(cx, Lane::Admin, Internal::ShutdownStatus, sqe, Data::None, None);
    }

    pub(super) fn closing_due(&mut self, cx: &mut Cx<'_>) {
        let Phase::Closing(closing) = &mut self.phase else {
            return;
        };
        if closing.by <= cx.now {
            tracing::warn!("the controller did not end in good order in time; closing the connections");
            return self.drain(cx, AfterDrain::End(None), Close::Now);
        }
        closing.look = None;
        self.look(cx);
    }

    /// A queue closed during the farewell. After Disconnect that is expected of I/O queues; without the admin queue, or with
    /// requests outstanding, there is nothing left to wait for.
    pub(super) fn on_closed_while_closing(&mut self, cx: &mut Cx<'_>) {
        let admin = self.queues.admin.as_ref().is_some_and(|queue| self.queues.lane(queue.id).is_some());
        let Phase::Closing(closing) = &self.phase else {
            return;
        };
        let step = closing.step;
        if !admin || step == Step::Quiesce {
            return self.drain(cx, AfterDrain::End(None), Close::Now);
        }
        // A controller may close without answering Disconnect.
        let io = self.queues.io.iter().any(|queue| self.queues.lane(queue.id).is_some());
        if matches!(step, Step::Disconnect(_)) && !io {
            self.notify(cx);
        }
    }
}
