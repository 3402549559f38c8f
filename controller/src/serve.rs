//! Serving: listeners on transports, and the threads that drive them.
//!
//! Every thread has an engine of each transport. Where engines of a transport can hand connections over, the first thread's
//! opens the listeners and each connection goes to the thread that has the fewest (`placement`). Otherwise every thread
//! opens every listener, as far as the transport lets several engines share an address; where it does not, the first
//! thread takes that listener's queues. A thread may be kept on a processor.
//! Deliberately absent: signals, and names to resolve; the program has those.

use std::{
    fmt,
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use nvmf_transport::{
    Advertisement, ControllerTransport, Error, ErrorKind, Listener, ListenerId, NoTransport, Pages, Policy,
    Target, Transports, Verdict, WaitPolicy, Waiter, Wake, Wire,
};
use nvmf_wire::Status;
use std::os::fd::AsFd;

use crate::{
    backend::{Buffers, Finished, Operation, Progress},
    placement::Seats,
    server::Server,
    worker::Worker,
};

/// How to serve.
#[derive(Clone, Debug)]
pub struct ServeOptions {
    /// Where to listen.
    pub listen: Vec<Target>,
    /// Which transports may be chosen.
    pub policy: Policy,
    /// Threads; at least one.
    pub threads: usize,
    /// Processors: thread i runs on the i-th, starting again where there are fewer than threads. None is no restriction.
    pub cpus: Vec<usize>,
    /// How threads wait.
    pub wait: WaitPolicy,
    /// How long a shutdown waits for commands that are under way.
    pub drain_timeout: Duration,
}

impl Default for ServeOptions {
    fn default() -> Self {
        Self {
            listen: Vec::new(),
            policy: Policy::Auto,
            threads: 1,
            cpus: Vec::new(),
            wait: WaitPolicy::default(),
            drain_timeout: Duration::from_secs(5),
        }
    }
}

/// A listener that is open.
#[derive(Clone, Debug)]
pub struct ServedListener {
    /// The wire spoken there.
    pub wire: Wire,
    /// The address it got.
    pub address: SocketAddr,
    /// The transport that listens.
    pub transport: &'static str,
    /// Its port identifier in the discovery log page.
    pub portid: u16,
    /// How many threads take its connections.
    pub threads: usize,
    /// What every transport said about it.
    pub verdicts: Vec<Verdict>,
}

impl ServedListener {
    /// The address as a target that a host can be given.
    pub fn target(&self) -> Target {
        Target::new(self.wire, self.address)
    }
}

/// Why serving could not start, or did not end well.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// No transport accepts an address.
    #[error("cannot listen on {target}")]
    NoTransport {
        /// Where.
        target: Target,
        /// Why not.
        source: NoTransport,
    },
    /// A transport that accepted an address could not open it.
    #[error("cannot listen on {target}")]
    Listen {
        /// Where.
        target: Target,
        /// Why not.
        source: Error,
    },
    /// An engine could not be made, or ended.
    #[error("the transport failed")]
    Engine(#[source] Error),
    /// A thread could not be started.
    #[error("cannot start a thread")]
    Thread(#[source] std::io::Error),
    /// A thread panicked.
    #[error("a thread panicked")]
    Panicked,
    /// Data that had been written could not be put on stable storage at shutdown.
    #[error("cannot flush namespace {nsid} of {subsystem}: {status}")]
    Flush {
        /// The subsystem.
        subsystem: Box<nvmf_wire::Nqn>,
        /// The namespace.
        nsid: u32,
        /// How the flush ended.
        status: Status,
    },
}

/// A server that is being served. Dropping it shuts down and waits, as [`Serving::shutdown`] does.
pub struct Serving {
    server: Server,
    listeners: Vec<ServedListener>,
    control: Arc<Control>,
    wakes: Vec<Wake>,
    threads: Vec<JoinHandle<()>>,
    seats: Vec<Arc<Seats>>,
    drain_timeout: Duration,
}

#[derive(Default)]
struct Control {
    stop: AtomicBool,
    failure: Mutex<Option<Error>>,
    failed: AtomicBool,
}

impl fmt::Debug for Serving {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Serving").field("listeners", &self.listeners).finish_non_exhaustive()
    }
}

impl Server {
    /// Opens the listeners, makes them known to discovery, and starts the threads.
    pub fn serve(
        &self,
        transports: &Transports<dyn ControllerTransport>,
        options: &ServeOptions,
    ) -> Result<Serving, ServeError> {
        let mut workers = Vec::new();
        for _ in 0..options.threads.max(1) {
            workers.push(Staffed {
                worker: Worker::new(self, options.wait).map_err(ServeError::Engine)?,
                engines: Vec::new(),
            });
        }
        let mut opened = Vec::new();
        let mut seats = Vec::new();
        for target in &options.listen {
            opened.append(&mut open(&mut workers, &mut seats, transports, target, &options.policy)?);
        }
        // Only now: a failure above leaves nothing behind that discovery would tell of.
        let known = |(mut listener, how): (ServedListener, Advertisement)| {
            listener.portid = self.advertise(how, listener.address);
            listener
        };
        let listeners = opened.into_iter().map(known).collect();
        // A thread without listeners would never see a queue.
        workers.retain(|staffed| staffed.worker.is_reachable());
        let mut serving = Serving {
            server: self.clone(),
            listeners,
            control: Arc::default(),
            wakes: workers.iter().map(|staffed| staffed.worker.wake()).collect(),
            threads: Vec::new(),
            seats: seats.into_iter().map(|(_, seats)| seats).collect(),
            drain_timeout: options.drain_timeout,
        };
        for (number, Staffed { mut worker, .. }) in workers.into_iter().enumerate() {
            let (control, drain_timeout) = (Arc::clone(&serving.control), options.drain_timeout);
            let cpu = number.checked_rem(options.cpus.len()).and_then(|at| options.cpus.get(at)).copied();
            let thread = std::thread::Builder::new().name(format!("nvmf-{number}")).spawn(move || {
                if let Some(cpu) = cpu
                    && let Err(error) = stay_on(cpu)
                {
                    tracing::warn!(%error, cpu, "a thread cannot be kept on its processor");
                }
                if let Err(error) = worker.run(|| control.stop.load(Ordering::Acquire), drain_timeout) {
                    tracing::error!(%error, "a transport's engine ended");
                    control.failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
                    control.failed.store(true, Ordering::Release);
                }
            });
            // On failure `serving` is dropped here and stops the threads that run.
            serving.threads.push(thread.map_err(ServeError::Thread)?);
        }
        Ok(serving)
    }
}

/// A worker and which transport each of its engines is of.
struct Staffed {
    worker: Worker,
    engines: Vec<(&'static str, usize)>,
}

impl Staffed {
    /// The engine of a transport, made when it is first asked for.
    fn engine(&mut self, transport: &dyn ControllerTransport) -> Result<usize, Error> {
        if let Some(&(_, engine)) = self.engines.iter().find(|(name, _)| *name == transport.name()) {
            return Ok(engine);
        }
        let engine = self.worker.add_engine(transport.wire(), transport.controller_engine()?);
        self.engines.push((transport.name(), engine));
        Ok(engine)
    }

    fn listen(&mut self, transport: &dyn ControllerTransport, at: &Target) -> Result<Listener, Error> {
        let engine = self.engine(transport)?;
        self.worker.listen(engine, at)
    }
}

/// Keeps the calling thread on a processor.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn stay_on(cpu: usize) -> std::io::Result<()> {
    use rustix::thread::{CpuSet, sched_setaffinity};
    if cpu >= CpuSet::MAX_CPU {
        return Err(std::io::ErrorKind::InvalidInput.into());
    }
    let mut set = CpuSet::new();
    set.set(cpu);
    Ok(sched_setaffinity(None, &set)?)
}

/// Keeps the calling thread on a processor.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn stay_on(_: usize) -> std::io::Result<()> {
    Err(std::io::ErrorKind::Unsupported.into())
}

/// Lets all threads take part in the connections of a listener that the first has opened. `false`: the transport cannot.
fn share(
    workers: &mut [Staffed],
    seats: &mut Vec<(&'static str, Arc<Seats>)>,
    transport: &dyn ControllerTransport,
    listener: ListenerId,
) -> Result<bool, Error> {
    let wakes: Vec<Wake> = workers.iter().map(|staffed| staffed.worker.wake()).collect();
    let Some(first) = workers.first_mut() else { return Ok(false) };
    let engine = first.engine(transport)?;
    if !first.worker.shares(engine) {
        return Ok(false);
    }
    let known = seats.iter().find(|(name, _)| *name == transport.name()).map(|(_, seats)| Arc::clone(seats));
    let placed = known.unwrap_or_else(|| {
        let made = Seats::new(wakes.into_iter());
        seats.push((transport.name(), Arc::clone(&made)));
        made
    });
    first.worker.divert(engine, listener, &placed);
    for (number, staffed) in workers.iter_mut().enumerate() {
        let engine = staffed.engine(transport)?;
        staffed.worker.sit(engine, &placed, number);
    }
    Ok(true)
}

/// Opens one listener: on the best transport that can, on every thread that can share it. One entry for each wire spoken there.
fn open(
    workers: &mut [Staffed],
    seats: &mut Vec<(&'static str, Arc<Seats>)>,
    transports: &Transports<dyn ControllerTransport>,
    target: &Target,
    policy: &Policy,
) -> Result<Vec<(ServedListener, Advertisement)>, ServeError> {
    let selection = transports
        .select(target, policy)
        .map_err(|source| ServeError::NoTransport { target: *target, source })?;
    let mut failure = None;
    for transport in &selection.candidates {
        let transport: &dyn ControllerTransport = transport.as_ref();
        let Some(first) = workers.first_mut() else { return Err(ServeError::Panicked) };
        let Listener { id, address } = match first.listen(transport, target) {
            Ok(listener) => listener,
            Err(error) => {
                tracing::warn!(transport = transport.name(), %target, %error, "cannot listen");
                failure.get_or_insert(error);
                continue;
            }
        };
        let shared = Target::new(transport.wire(), address);
        let mut threads = 1;
        let listen = |source| ServeError::Listen { target: *target, source };
        let placed = workers.len() > 1 && share(workers, seats, transport, id).map_err(listen)?;
        if placed {
            threads = workers.len();
        }
        for other in workers.iter_mut().skip(1).filter(|_| !placed) {
            match other.listen(transport, &shared) {
                Ok(_) => threads += 1,
                Err(error) if error.kind() == ErrorKind::AddressInUse => {
                    tracing::debug!(transport = transport.name(), %shared, "one thread takes all connections");
                    break;
                }
                Err(source) => {
                    return Err(ServeError::Listen { target: *target, source });
                }
            }
        }
        let entry = |how: Advertisement| {
            let served = ServedListener {
                wire: how.wire,
                address,
                transport: transport.name(),
                portid: 0,
                threads,
                verdicts: selection.verdicts.clone(),
            };
            (served, how)
        };
        return Ok(transport.advertise(address).into_iter().map(entry).collect());
    }
    let source = failure
        .unwrap_or_else(|| Error::new(nvmf_transport::Stage::Listen, ErrorKind::Unsupported, "no candidate"));
    Err(ServeError::Listen { target: *target, source })
}

impl Serving {
    /// The listeners, in the order they were asked for; one that speaks several wires has an entry for each.
    pub fn listeners(&self) -> &[ServedListener] {
        &self.listeners
    }

    /// The server that is served.
    pub fn server(&self) -> &Server {
        &self.server
    }

    /// Connections by thread, of transports whose connections are placed one by one.
    pub fn placed(&self) -> Vec<usize> {
        let mut all = vec![0; self.threads.len()];
        for seats in &self.seats {
            all.iter_mut().zip(seats.counts()).for_each(|(all, count)| *all += count);
        }
        all
    }

    /// Whether all threads still run. If not, [`Serving::shutdown`] says why.
    pub fn healthy(&self) -> bool {
        !self.control.failed.load(Ordering::Acquire) && !self.threads.iter().any(JoinHandle::is_finished)
    }

    /// Stops to listen, finishes what is under way (for a bounded time), closes all queues, ends the threads, and puts what
    /// was written on stable storage.
    pub fn shutdown(mut self) -> Result<(), ServeError> {
        self.stop()
    }

    fn stop(&mut self) -> Result<(), ServeError> {
        if self.threads.is_empty() {
            return Ok(());
        }
        for listener in &self.listeners {
            self.server.remove_listener(listener.portid);
        }
        self.control.stop.store(true, Ordering::Release);
        self.wakes.iter().for_each(Wake::wake);
        let mut panicked = false;
        for thread in self.threads.drain(..) {
            panicked |= thread.join().is_err();
        }
        let flushed = flush(&self.server, self.drain_timeout);
        if panicked {
            return Err(ServeError::Panicked);
        }
        if let Some(error) = self.control.failure.lock().unwrap_or_else(PoisonError::into_inner).take() {
            return Err(ServeError::Engine(error));
        }
        flushed
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        if let Err(error) = self.stop() {
            tracing::error!(%error, "shutdown");
        }
    }
}

/// Flushes every namespace, waiting no longer than `timeout`.
#[expect(clippy::disallowed_methods, reason = "shutdown is a driver: it waits for backends")]
fn flush(server: &Server, timeout: Duration) -> Result<(), ServeError> {
    let wake = Wake::new().map_err(ServeError::Engine)?;
    let finished = Finished::new(wake.clone());
    let subsystems = server.subsystems();
    let all: Vec<_> = subsystems
        .iter()
        .flat_map(|subsystem| {
            subsystem.namespaces().into_iter().map(|namespace| (*subsystem.nqn(), namespace))
        })
        .collect();
    let failed = |index: usize, status: Status| match all.get(index) {
        Some((subsystem, namespace)) => {
            Err(ServeError::Flush { subsystem: Box::new(*subsystem), nsid: namespace.nsid(), status })
        }
        None => Ok(()),
    };
    let mut outcome = Ok(());
    let mut pending = 0usize;
    for (index, (_, namespace)) in all.iter().enumerate() {
        let mut memory: &dyn nvmf_transport::Memory = &Pages;
        let buffers: &mut dyn Buffers = &mut memory;
        match namespace.backend().submit(Operation::Flush, buffers, finished.ticket(index as u64)) {
            Progress::Pending => pending += 1,
            Progress::Done(Ok(_)) => {}
            Progress::Done(Err(status)) => outcome = outcome.and(failed(index, status)),
        }
    }
    let until = Instant::now() + timeout;
    let mut waiter = Waiter::new(WaitPolicy::Block);
    let mut finishes = Vec::new();
    while pending > 0 {
        let now = Instant::now();
        if now >= until {
            tracing::error!(pending, "backends did not end their flushes in time");
            break;
        }
        waiter.idle(now, &[wake.as_fd()], Some(until));
        wake.clear();
        finished.drain(&mut finishes);
        for finish in finishes.drain(..) {
            pending = pending.saturating_sub(1);
            if let Err(status) = finish.outcome {
                outcome = outcome.and(failed(finish.tag as usize, status));
            }
        }
    }
    outcome
}
