//! Keep Alive: telling the controller that we live, and noticing that it does not (NVMe Base 2.0 §3.9, §5.18).
//!
//! It has a deadline of its own, apart from command timeouts: a controller that has said nothing for KATO while it owed an
//! answer is dead. With traffic based keep-alive (CTRATT.TBKAS) other commands count, and we are silent while there are any.

use std::time::{Duration, Instant};

use nvmf_transport::Data;
use nvmf_wire::{Status, admin};

use super::{Association, Cx, Internal, slots::Lane};
use crate::{ConnectError, ConnectErrorKind, Stage};

#[derive(Debug, Default)]
pub(super) struct KeepAlive {
    running: Option<Running>,
    last_sent: Option<Instant>,
    last_heard: Option<Instant>,
}

#[derive(Clone, Copy, Debug)]
struct Running {
    kato: Duration,
    tick: Duration,
    traffic_counts: bool,
    next: Instant,
    /// When the Keep Alive that is out was sent.
    out: Option<Instant>,
}

impl KeepAlive {
    // spec: TCP-KA-01
    pub(super) fn start(&mut self, kato: Duration, traffic_counts: bool, now: Instant) {
        // Half of KATO leaves the other half for the answer. Where traffic counts, the last command may be a whole tick
        // older than the tick that sees it, so ticks are half as long.
        let tick = if traffic_counts { kato / 4 } else { kato / 2 };
        self.running = Some(Running { kato, tick, traffic_counts, next: now + tick, out: None });
        self.last_heard = Some(now);
    }

    pub(super) fn stop(&mut self) {
        self.running = None;
    }

    /// Any command was sent.
    pub(super) fn sent(&mut self, now: Instant) {
        self.last_sent = Some(now);
    }

    /// Any command was answered.
    pub(super) fn heard(&mut self, now: Instant) {
        self.last_heard = Some(now);
    }

    pub(super) fn next_timeout(&self) -> Option<Instant> {
        let running = self.running.as_ref()?;
        Some(match running.out {
            None => running.next,
            Some(out) => self.dead_at(running, out),
        })
    }

    /// When silence becomes death: KATO after the last answer of any kind, but not before the Keep Alive that is out has had
    /// its half, and KATO after that one whatever else was heard.
    fn dead_at(&self, running: &Running, out: Instant) -> Instant {
        let silent = self.last_heard.unwrap_or(out) + running.kato;
        silent.max(out + running.kato / 2).min(out + running.kato)
    }

    fn traffic_since(&self, since: Option<Instant>) -> bool {
        let after = |at: Option<Instant>| matches!((at, since), (Some(at), Some(since)) if at >= since);
        after(self.last_sent) && after(self.last_heard)
    }
}

impl Association {
    pub(super) fn check_keep_alive(&mut self, cx: &mut Cx<'_>) {
        let Some(running) = self.keep_alive.running else {
            return;
        };
        if let Some(out) = running.out {
            if cx.now >= self.keep_alive.dead_at(&running, out) {
                let detail = format!("nothing was heard for {:?}", running.kato);
                self.lose(cx, ConnectError::new(Stage::Ready, ConnectErrorKind::KeepAliveTimedOut, detail));
            }
            return;
        }
        if cx.now < running.next {
            return;
        }
        let late = cx.now.saturating_duration_since(running.next);
        if late > running.kato / 2 {
            // What looks like a lost controller later is often this side being starved of processor time.
            tracing::warn!(?late, "this host was not run in time to keep the association alive");
        }
        let skip = running.traffic_counts && self.keep_alive.traffic_since(cx.now.checked_sub(running.tick));
        if let Some(running) = &mut self.keep_alive.running {
            running.next = cx.now + running.tick;
            running.out = (!skip).then_some(cx.now);
        }
        if !skip {
            self.internal(cx, Lane::Admin, Internal::KeepAlive, admin::keep_alive(), Data::None, None);
        }
    }

    pub(super) fn on_keep_alive(&mut self, cx: &mut Cx<'_>, status: Status) {
        let Some(running) = &mut self.keep_alive.running else {
            return;
        };
        running.out = None;
        if status.is(Status::KEEP_ALIVE_TIMER_EXPIRED) {
            let error = ConnectError::new(
                Stage::Ready,
                ConnectErrorKind::KeepAliveTimedOut,
                format!("the controller heard nothing from this host in time: {status}"),
            );
            self.lose(cx, error.because(status, None));
        } else if status.is(Status::INVALID_OPCODE) {
            tracing::warn!("the controller does not support Keep Alive; no further ones are sent");
            self.keep_alive.stop();
        }
    }
}
