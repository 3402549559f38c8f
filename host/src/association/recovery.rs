//! What follows the loss of any queue: all queues close, requests come back and are held, and after a fixed delay the
//! association is built again with every parameter it had. Nothing is lost and nothing is reported twice.
//!
//! Reads, writes, flushes, zeroes and deallocations are sent again; what must not be sent twice ends as
//! [`IoError::Disconnected`](crate::IoError::Disconnected). Held requests fail after the fast I/O fail timeout, and everything ends
//! after the controller loss timeout.

use std::time::{Duration, Instant};

use nvmf_transport::{Close, CloseReason, QueueId};
use nvmf_wire::io::Rw;

use super::{AfterDrain, Association, Cx, Notice, Phase, dispatch::Waiting, slots::Shape, timeouts};
use crate::{ConnectError, ConnectErrorKind as Kind, IoError, Options, Stage};

#[derive(Debug)]
pub(super) struct Outage {
    since: Instant,
    /// Whether the fast I/O fail timeout has passed.
    pub(super) failing: bool,
}

impl Outage {
    pub(super) fn next_timeout(&self, options: &Options) -> Option<Instant> {
        let fast = options.fast_io_fail_timeout.filter(|_| !self.failing);
        [fast, options.controller_loss_timeout]
            .into_iter()
            .flatten()
            .filter_map(|after| self.since.checked_add(after))
            .min()
    }

    fn has_passed(&self, after: Option<Duration>, now: Instant) -> bool {
        after.and_then(|after| self.since.checked_add(after)).is_some_and(|at| at <= now)
    }
}

impl Association {
    /// A queue has ended, for whatever reason.
    pub(super) fn on_closed(&mut self, cx: &mut Cx<'_>, id: QueueId, reason: CloseReason) {
        let Some(lane) = self.queues.lane(id) else { return };
        let queue = self.queues.get(lane);
        let kind = queue.map(|queue| queue.kind);
        let (negotiated, connected) =
            queue.map_or((false, false), |queue| (queue.info.is_some(), queue.connected));
        self.queues.closed(id);
        match &self.phase {
            Phase::Draining { .. } => self.drained(),
            Phase::Closing(_) => self.on_closed_while_closing(cx),
            Phase::Connecting(_) => {
                let stage = match (negotiated, connected) {
                    (false, _) => Stage::TransportConnect,
                    (true, false) => Stage::Connect,
                    (true, true) => Stage::Identify,
                };
                let error = timeouts::on_queue(ConnectError::from_close(stage, reason), kind);
                self.lose(cx, error);
            }
            Phase::Live => {
                let error = timeouts::on_queue(ConnectError::from_close(Stage::Ready, reason), kind);
                self.lose(cx, error);
            }
            Phase::New | Phase::Waiting { .. } | Phase::Ended => {}
        }
    }

    /// The association cannot go on as it is: take it down, and decide what follows. The first cause counts.
    pub(super) fn lose(&mut self, cx: &mut Cx<'_>, error: ConnectError) {
        let error = error.at(self.target.address);
        let next = match self.phase {
            Phase::Ended | Phase::Draining { .. } => return,
            Phase::Closing(_) => AfterDrain::End(None),
            _ => self.after_loss(cx.now, error),
        };
        self.drain(cx, next, Close::Now);
    }

    fn after_loss(&mut self, now: Instant, error: ConnectError) -> AfterDrain {
        let was_live = matches!(self.phase, Phase::Live);
        if was_live {
            self.outage = Some(Outage { since: now, failing: false });
        }
        // Never up: the caller waits for an answer, and gets this one.
        if self.outage.is_none() {
            return AfterDrain::End(Some(error));
        }
        if (!was_live && error.is_final()) || self.options.controller_loss_timeout == Some(Duration::ZERO) {
            return AfterDrain::End(Some(error));
        }
        let retry_in = self.options.reconnect_delay.max(self.quiesce_time());
        tracing::warn!(%error, ?retry_in, "{}", if was_live { "association lost" } else { "cannot reconnect yet" });
        self.error = Some(error.clone());
        self.notice(if was_live {
            Notice::Lost { error, retry_in }
        } else {
            Notice::AttemptFailed { error, retry_in }
        });
        AfterDrain::Retry { at: now + retry_in }
    }

    /// How long the controller may go on with commands of an association that is lost (NVMe Base 2.1 §9.6, CQT). A write that
    /// is sent again earlier could be overtaken by its own first copy.
    fn quiesce_time(&self) -> Duration {
        self.info
            .as_ref()
            .map_or(Duration::ZERO, |info| Duration::from_millis(u64::from(info.identify.cqt.get())))
    }

    /// Closes all queues; what is next happens when the last of them has said that it is closed.
    pub(super) fn drain(&mut self, cx: &mut Cx<'_>, next: AfterDrain, how: Close) {
        self.keep_alive.stop();
        self.events.stop();
        self.scan = None;
        self.phase = Phase::Draining { next };
        self.asked = true;
        let mut open: Vec<QueueId> = self.queues.open_ids().collect();
        open.sort_unstable();
        for id in open {
            cx.engine.close(id, how);
        }
        if let Some(error) = self.held_requests_fail() {
            self.fail_held(error);
        }
        self.drained();
    }

    fn drained(&mut self) {
        if self.queues.any_open() {
            return;
        }
        let Phase::Draining { next } = std::mem::replace(&mut self.phase, Phase::Ended) else {
            return;
        };
        match next {
            AfterDrain::Retry { at } => self.phase = Phase::Waiting { until: at },
            AfterDrain::End(error) => self.end(error),
        }
    }

    /// It is over.
    pub(super) fn end(&mut self, error: Option<ConnectError>) {
        self.phase = Phase::Ended;
        self.keep_alive.stop();
        self.events.stop();
        self.outage = None;
        self.check_at = None;
        if let Some(error) = &error {
            self.error = Some(error.clone());
        }
        self.fail_held(if error.is_some() { IoError::Lost } else { IoError::Closed });
        self.notice(Notice::Ended { error });
    }

    /// Why requests that are not with the engine end now instead of waiting, if they do.
    pub(super) fn held_requests_fail(&self) -> Option<IoError> {
        match &self.phase {
            Phase::Draining { next: AfterDrain::End(None) } => Some(IoError::Closed),
            Phase::Draining { next: AfterDrain::End(Some(_)) } => Some(IoError::Lost),
            Phase::Ended => Some(if self.error.is_some() { IoError::Lost } else { IoError::Closed }),
            _ if self.outage.as_ref().is_some_and(|outage| outage.failing) => Some(IoError::FastFail),
            _ => None,
        }
    }

    pub(super) fn check_outage(&mut self, cx: &mut Cx<'_>) {
        let Some(outage) = &mut self.outage else { return };
        if outage.has_passed(self.options.controller_loss_timeout, cx.now) {
            let after = self.options.controller_loss_timeout.unwrap_or_default();
            let last = self.error.as_ref().map(|error| format!("; last: {error}")).unwrap_or_default();
            let error = ConnectError::new(
                Stage::Ready,
                Kind::ControllerLost,
                format!("given up after {after:?}{last}"),
            );
            let error = error.at(self.target.address);
            return match &mut self.phase {
                Phase::Draining { next } => {
                    *next = AfterDrain::End(Some(error));
                    self.fail_held(IoError::Lost);
                    self.outage = None;
                }
                _ => self.drain(cx, AfterDrain::End(Some(error)), Close::Now),
            };
        }
        if !outage.failing && outage.has_passed(self.options.fast_io_fail_timeout, cx.now) {
            outage.failing = true;
            self.fail_held(IoError::FastFail);
            self.notice(Notice::FastFailing);
        }
    }

    /// The controller is ready and the namespaces are known: requests flow.
    pub(super) fn go_live(&mut self, cx: &mut Cx<'_>) {
        let limits = match &self.phase {
            Phase::Connecting(attempt) => attempt.facts.as_ref().map(|facts| facts.event_limit),
            _ => None,
        };
        let Some(info) = self.describe(cx) else { return };
        self.shutdown_facts();
        let again = self.outage.take().is_some();
        self.info = Some(std::sync::Arc::new(info));
        self.error = None;
        self.phase = Phase::Live;
        self.refit_backlog();
        self.notice(Notice::Connected { again });
        self.start_events(cx, limits.unwrap_or(1));
    }

    /// Held requests go on in the order they were accepted; those too large for the queues there are now are cut.
    fn refit_backlog(&mut self) {
        let max = self.info.as_ref().map_or(4096, |info| u64::from(info.max_transfer));
        let mut held = self.backlog.take_io();
        for waiting in &mut held {
            if let Waiting::Slot(index) = *waiting
                && let Some(slot) = self.slots.get(index)
                && let Shape::Blocks { shift } = slot.shape
                && u64::from(Rw::parse(&slot.sqe).blocks) > max >> shift
                && let Some(slot) = self.slots.remove(index)
            {
                *waiting = Waiting::Split(self.splits.insert_command(slot, shift));
            }
        }
        held.sort_by_key(|waiting| match *waiting {
            Waiting::Slot(index) => self.slots.get(index).map(|slot| slot.sequence),
            Waiting::Split(index) => self.splits.get(index).map(|split| split.sequence),
        });
        held.into_iter().for_each(|waiting| self.wait(waiting));
    }
}
