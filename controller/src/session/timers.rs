//! What time ends: connections without Connect, hosts that are silent, controllers that stay disabled. And what is tried
//! again: Connects for a queue identifier in use, commands that wait for memory.

use std::time::{Duration, Instant};

use nvmf_transport::{Close, ControllerEngine, QueueId};

use super::{
    Session,
    connect::DUPLICATE_INTERVAL,
    io,
    queue::{Queue, Role},
};

/// How often commands that wait for memory are looked at if nothing happens: a transport says nothing when it drops the
/// data of a response.
const MEMORY_INTERVAL: Duration = Duration::from_millis(1);

/// What became of a queue's deadline.
enum Due {
    /// It is later, or there is none.
    Later(Option<Instant>),
    /// The connection never sent a Connect command that was accepted.
    Unconnected,
    /// The host was silent for too long.
    Silent,
    /// The controller was not enabled in time.
    Disabled,
}

impl Session {
    /// Does what time asks for. Whether anything happened.
    pub(super) fn timers(&mut self, engine: &mut dyn ControllerEngine, now: Instant) -> bool {
        let mut worked = false;
        if !self.starved.is_empty() {
            worked |= self.resume_starved(engine, now);
        }
        if self.again.is_some_and(|again| again <= now) {
            self.again = None;
            worked |= self.retry_connects(engine, now);
        }
        if !self.retries.is_empty() {
            self.again_at(now + DUPLICATE_INTERVAL);
        }
        if !self.starved.is_empty() {
            self.again_at(now + MEMORY_INTERVAL);
        }
        if self.deadline.is_some_and(|deadline| deadline <= now) {
            self.deadline = None;
            self.expire(engine, now);
            worked = true;
        }
        worked
    }

    pub(super) fn again_at(&mut self, at: Instant) {
        self.again = Some(self.again.map_or(at, |again| again.min(at)));
    }

    fn resume_starved(&mut self, engine: &mut dyn ControllerEngine, now: Instant) -> bool {
        let mut progress = false;
        for id in std::mem::take(&mut self.starved) {
            let Some((queue, mut tools)) = self.parts(engine, id) else {
                continue;
            };
            if queue.closing {
                continue;
            }
            progress |= match queue.role {
                Role::Admin(_) => false,
                _ => io::resume(queue, &mut tools),
            };
            let admin = matches!(queue.role, Role::Admin(_));
            let waits = !queue.waiting.is_empty();
            if admin && waits {
                progress |= self.resume_admin(engine, now, id);
            } else if waits && !self.starved.contains(&id) {
                self.starved.push(id);
            }
        }
        progress
    }

    fn expire(&mut self, engine: &mut dyn ControllerEngine, now: Instant) {
        let slots = self.queues.len();
        for slot in 0..slots {
            let Some(queue) = self.queues[slot].as_deref().filter(|queue| !queue.closing) else {
                continue;
            };
            let id = queue.id;
            let next = match self.due(queue, now) {
                Due::Later(next) => next,
                Due::Unconnected => {
                    tracing::info!(peer = %queue.info.peer, "no Connect in time");
                    self.close(engine, id, Close::Now);
                    None
                }
                Due::Silent => {
                    if let Some(admin) = queue.admin() {
                        match admin.association.keep_alive() {
                            Some(_) => admin.association.keep_alive_expired(),
                            None => admin.association.end("the discovery controller was not used"),
                        }
                    }
                    None
                }
                Due::Disabled => {
                    if let Some(admin) = queue.admin() {
                        admin.association.end("the controller was not enabled in time");
                    }
                    None
                }
            };
            if let Some(next) = next {
                self.wake_at(next);
            }
        }
    }

    fn due(&self, queue: &Queue, now: Instant) -> Due {
        let admin = match &queue.role {
            Role::Fresh(fresh) if fresh.deadline <= now => return Due::Unconnected,
            Role::Fresh(fresh) => return Due::Later(Some(fresh.deadline)),
            Role::Admin(admin) => admin,
            Role::Io(_) => return Due::Later(None),
        };
        let Some(deadline) = admin.deadline else { return Due::Later(None) };
        if deadline > now {
            return Due::Later(Some(deadline));
        }
        if !admin.association.is_live() {
            return Due::Disabled;
        }
        // spec: TCP-KA-01
        // NVMe Base 2.0 §3.9.2, traffic based keep alive: any command of any queue starts the timer again.
        let renewed = self.shared.started.get().and_then(|&start| {
            let patience = admin.patience(&self.shared.options)?;
            Some(start + admin.association.last_traffic().end() + patience)
        });
        match renewed {
            Some(renewed) if renewed > now => Due::Later(Some(renewed)),
            _ => Due::Silent,
        }
    }

    /// Starts a new period of an admin queue's deadline.
    pub(super) fn renew(&mut self, id: QueueId, now: Instant) -> Option<Instant> {
        let shared = &self.shared;
        let queue = self.queues.get_mut(id.slot())?.as_deref_mut().filter(|queue| queue.id == id)?;
        let admin = queue.admin_mut()?;
        admin.arm(now, &shared.options);
        admin.deadline
    }
}
