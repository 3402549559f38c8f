//! A few threads for work that may block: system calls on files, and operations too long for an engine thread.
//!
//! Threads start when there is work that no idle thread takes, up to a fixed number, and wait on a condition variable otherwise.
//! The queue needs no bound of its own: a job is a command, and the number of outstanding commands is bounded per queue.
//! Dropping [`Workers`] lets the queued jobs run and joins the threads.

use std::{
    collections::VecDeque,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread::{Builder, JoinHandle},
};

/// Threads that run jobs of type `J`.
pub(super) struct Workers<J: Send + 'static> {
    shared: Arc<Shared<J>>,
    limit: usize,
    name: &'static str,
}

struct Shared<J> {
    state: Mutex<State<J>>,
    work: Condvar,
    run: Box<dyn Fn(J) + Send + Sync>,
}

struct State<J> {
    jobs: VecDeque<J>,
    /// Threads that wait for a job, including those woken that have not got the lock yet.
    idle: usize,
    threads: Vec<JoinHandle<()>>,
    closing: bool,
}

impl<J> Shared<J> {
    fn lock(&self) -> MutexGuard<'_, State<J>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<J: Send + 'static> Workers<J> {
    /// At most `limit` threads called `name`, each of which calls `run` with one job after the other. Starts none yet.
    pub(super) fn new(name: &'static str, limit: usize, run: impl Fn(J) + Send + Sync + 'static) -> Self {
        let state = State { jobs: VecDeque::new(), idle: 0, threads: Vec::new(), closing: false };
        let shared = Shared { state: Mutex::new(state), work: Condvar::new(), run: Box::new(run) };
        Self { shared: Arc::new(shared), limit: limit.max(1), name }
    }

    /// Queues a job; gives it back when there is no thread to run it and none can be started.
    pub(super) fn submit(&self, job: J) -> Result<(), J> {
        let mut state = self.shared.lock();
        state.jobs.push_back(job);
        // Counting the queued jobs, and not the last one only: two jobs may come before one woken thread takes the first.
        if state.jobs.len() > state.idle && state.threads.len() < self.limit {
            let shared = self.shared.clone();
            match Builder::new().name(self.name.into()).spawn(move || work(&shared)) {
                Ok(thread) => state.threads.push(thread),
                Err(error) if state.threads.is_empty() => {
                    tracing::error!(%error, "cannot start a worker thread");
                    return match state.jobs.pop_back() {
                        Some(job) => Err(job),
                        None => Ok(()),
                    };
                }
                Err(_) => {}
            }
        }
        let wake = state.idle > 0;
        drop(state);
        if wake {
            self.shared.work.notify_one();
        }
        Ok(())
    }
}

fn work<J>(shared: &Shared<J>) {
    let mut state = shared.lock();
    loop {
        if let Some(job) = state.jobs.pop_front() {
            drop(state);
            // A job that panics drops its ticket, which ends the operation with Internal Error; the thread goes on.
            if catch_unwind(AssertUnwindSafe(|| (shared.run)(job))).is_err() {
                tracing::error!("a backend operation panicked");
            }
            state = shared.lock();
        } else if state.closing {
            return;
        } else {
            state.idle += 1;
            state = shared.work.wait(state).unwrap_or_else(PoisonError::into_inner);
            state.idle -= 1;
        }
    }
}

impl<J: Send + 'static> Drop for Workers<J> {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.closing = true;
        let threads = std::mem::take(&mut state.threads);
        drop(state);
        self.shared.work.notify_all();
        for thread in threads {
            let _ = thread.join();
        }
    }
}
