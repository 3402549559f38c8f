//! The send queue: what waits to be posted, what is posted, and what that leaves room for.
//!
//! Requests leave in the order they were pushed, as many as the device's queue holds. Few of them ask for a completion; one
//! that completes stands for all before it. So that the queue can never be full of requests that stay silent, the last one
//! that fits always asks.

use std::collections::VecDeque;

use crate::verbs::{Completion, SendRequest};

#[derive(Debug)]
pub(crate) struct SendQueue {
    waiting: VecDeque<SendRequest>,
    /// Names of what is posted, in order.
    posted: VecDeque<u64>,
    /// Posted since the last that asks for a completion.
    silent: usize,
    room: usize,
}

impl SendQueue {
    /// A queue for a device's queue of this many entries.
    pub(crate) fn new(entries: u32) -> Self {
        Self { waiting: VecDeque::new(), posted: VecDeque::new(), silent: 0, room: entries.max(1) as usize }
    }

    #[inline]
    pub(crate) fn push(&mut self, request: SendRequest) {
        self.waiting.push_back(request);
    }

    /// Moves what can be posted now to `out`.
    #[inline]
    pub(crate) fn take(&mut self, out: &mut Vec<SendRequest>) {
        while self.posted.len() < self.room
            && let Some(mut request) = self.waiting.pop_front()
        {
            self.silent += 1;
            if self.silent * 2 >= self.room || self.posted.len() + 1 == self.room {
                request.signaled = true;
            }
            if request.signaled {
                self.silent = 0;
            }
            self.posted.push_back(request.id);
            out.push(request);
        }
    }

    /// A request completed, and with it all before it. `None` if there is no such request: a completion that tells nothing.
    #[inline]
    pub(crate) fn completed(&mut self, completion: &Completion) -> Option<()> {
        let at = self.posted.iter().position(|&id| id == completion.id)?;
        self.posted.drain(..=at);
        Some(())
    }

    /// Whether something could be posted now.
    #[inline]
    pub(crate) fn has_output(&self) -> bool {
        !self.waiting.is_empty() && self.posted.len() < self.room
    }

    /// Whether nothing waits and nothing is posted.
    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.posted.is_empty()
    }

    /// Whether anything is posted.
    #[inline]
    pub(crate) fn is_busy(&self) -> bool {
        !self.posted.is_empty()
    }
}
