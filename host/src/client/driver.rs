//! The thread that owns a [`Host`]: takes requests from a channel, polls, and answers each on a channel of its own.
//!
//! It ends when the last handle is gone or the association has been closed; a handle that is dropped closes in good order
//! without making anyone wait.

use std::{
    collections::VecDeque,
    os::fd::AsFd,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
};

use ::tokio::sync::{broadcast, oneshot};
use nvmf_transport::{Data, HostTransport, Memory, Target, Transports, Verdict, WaitPolicy, Wake};

use crate::{
    Admin, AssociationId, ConnectError, ConnectErrorKind, Connection, ControllerInfo, Done, Endpoint, Host,
    Io, IoError, Namespace, Notice, Options, Rejected, Stage, State, Why, connect, poller::clock,
};

/// Notices kept for a slow listener.
const NOTICES: usize = 256;

/// What clients ask of the thread.
pub(super) enum Message {
    Io(Io, oneshot::Sender<Done>),
    Admin(Admin, oneshot::Sender<Done>),
    Close { orderly: bool, ended: oneshot::Sender<()> },
}

/// What clients see without asking the thread.
pub(super) struct Shared {
    pub(super) snapshot: RwLock<Snapshot>,
    pub(super) memory: Arc<dyn Memory>,
    pub(super) target: Target,
    pub(super) verdicts: Vec<Verdict>,
    pub(super) fallbacks: Vec<(&'static str, ConnectError)>,
    pub(super) notices: broadcast::Sender<Notice>,
    /// Requests worth having outstanding at once.
    pub(super) window: usize,
}

#[derive(Clone)]
pub(super) struct Snapshot {
    pub(super) state: State,
    pub(super) info: Arc<ControllerInfo>,
    pub(super) namespaces: Arc<[Namespace]>,
}

impl Shared {
    pub(super) fn snapshot(&self) -> Snapshot {
        self.snapshot.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// A client's way to the thread.
pub(super) struct Handle {
    sender: Option<mpsc::Sender<Message>>,
    bell: Arc<Bell>,
}

/// Wakes the thread, at most once between two looks of it.
struct Bell {
    wake: Wake,
    rung: AtomicBool,
}

impl Bell {
    fn ring(&self) {
        if !self.rung.swap(true, Ordering::AcqRel) {
            self.wake.wake();
        }
    }

    fn answer(&self) {
        if self.rung.load(Ordering::Relaxed) {
            // Silence first: a ring after the swap wakes again. A ring before it is seen by the swap, and with it the message
            // that was sent before the ring.
            self.wake.clear();
            self.rung.swap(false, Ordering::AcqRel);
        }
    }
}

impl Handle {
    /// Hands messages over; answers whether the thread lives.
    pub(super) fn send(&self, messages: impl IntoIterator<Item = Message>) -> bool {
        let alive = match &self.sender {
            Some(sender) => messages.into_iter().all(|message| sender.send(message).is_ok()),
            None => false,
        };
        self.bell.ring();
        alive
    }
}

impl Clone for Handle {
    fn clone(&self) -> Self {
        Self { sender: self.sender.clone(), bell: self.bell.clone() }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        // The thread finds out that the last handle is gone by looking at the channel.
        self.sender = None;
        self.bell.ring();
    }
}

/// What the thread says once it has tried to connect.
pub(super) type FirstWord = Result<(Handle, Arc<Shared>), ConnectError>;

/// Starts a thread that connects and then serves; its first word comes on the channel.
pub(super) fn spawn(
    transports: Transports<dyn HostTransport>,
    endpoint: Endpoint,
    options: Options,
    wait: WaitPolicy,
) -> Result<oneshot::Receiver<FirstWord>, ConnectError> {
    let failed = |detail: String| ConnectError::new(Stage::Setup, ConnectErrorKind::Resources, detail);
    let (first_word, heard) = oneshot::channel();
    let thread = std::thread::Builder::new().name("nvmf-host".into());
    let started = thread.spawn(move || {
        let connected = connect(&transports, &endpoint, &options, wait).and_then(|connection| {
            let wake = Wake::new().map_err(|error| ConnectError::from_transport(Stage::Setup, error))?;
            Driver::new(connection, wake, &options)
        });
        match connected {
            Ok((driver, handle)) => {
                let shared = driver.shared.clone();
                // Nobody waits any more: the handle comes back, is dropped, and the thread closes in good order.
                drop(first_word.send(Ok((handle, shared))));
                driver.run();
            }
            Err(error) => drop(first_word.send(Err(error))),
        }
    });
    match started {
        Ok(_) => Ok(heard),
        Err(error) => Err(failed(format!("cannot start a thread: {error}")).from_source(error)),
    }
}

struct Driver {
    host: Host,
    association: AssociationId,
    messages: mpsc::Receiver<Message>,
    bell: Arc<Bell>,
    shared: Arc<Shared>,
    /// Who waits for which request, by its number.
    waiting: Vec<Option<oneshot::Sender<Done>>>,
    free: Vec<usize>,
    /// Requests the association has no room for yet.
    backlog: VecDeque<Message>,
    closers: Vec<oneshot::Sender<()>>,
    abandoned: bool,
}

impl Driver {
    fn new(connection: Connection, wake: Wake, options: &Options) -> Result<(Self, Handle), ConnectError> {
        let Connection { mut host, association, target, verdicts, fallbacks } = connection;
        // Clients hear of what happens from now on.
        drop(host.notices(association));
        let gone =
            || ConnectError::new(Stage::Ready, ConnectErrorKind::Closed, "the association ended at once");
        let (state, info, namespaces) = host
            .association(association)
            .and_then(|a| Some((a.state(), a.info()?.clone(), a.namespaces().clone())))
            .ok_or_else(gone)?;
        let window =
            info.queues.iter().skip(1).map(|queue| usize::from(queue.depth) - 1).sum::<usize>().max(1);
        let shared = Arc::new(Shared {
            snapshot: RwLock::new(Snapshot { state, info, namespaces }),
            memory: host.memory(),
            target,
            verdicts,
            fallbacks,
            notices: broadcast::Sender::new(NOTICES),
            window: window.min(usize::from(options.queue_depth)),
        });
        let (sender, messages) = mpsc::channel();
        let bell = Arc::new(Bell { wake, rung: AtomicBool::new(false) });
        let handle = Handle { sender: Some(sender), bell: bell.clone() };
        let driver = Self {
            host,
            association,
            messages,
            bell,
            shared,
            waiting: Vec::new(),
            free: Vec::new(),
            backlog: VecDeque::new(),
            closers: Vec::new(),
            abandoned: false,
        };
        Ok((driver, handle))
    }

    fn run(mut self) {
        let mut done = Vec::new();
        loop {
            self.bell.answer();
            let now = clock();
            self.take_messages(now);
            let polled = self.host.poll(now, &mut done);
            for mut done in done.drain(..) {
                let number = usize::try_from(done.user).unwrap_or(usize::MAX);
                if let Some(sender) = self.waiting.get_mut(number).and_then(Option::take) {
                    self.free.push(number);
                    done.user = 0;
                    drop(sender.send(done));
                }
            }
            self.publish();
            let ended = self.host.association(self.association).is_none_or(|a| a.state() == State::Ended);
            if ended {
                for ended in self.closers.drain(..) {
                    // Who does not wait any more need not know.
                    let _ = ended.send(());
                }
                if self.abandoned {
                    return;
                }
            }
            match polled {
                Ok(true) => {}
                Ok(false) => self.host.wait(now, &[self.bell.wake.as_fd()]),
                Err(error) => {
                    tracing::error!(%error, "the transport's engine failed");
                    return self.refuse_the_rest();
                }
            }
        }
    }

    fn take_messages(&mut self, now: std::time::Instant) {
        loop {
            match self.messages.try_recv() {
                // Does not wait behind requests that wait for room.
                Ok(Message::Close { orderly, ended }) => {
                    self.closers.push(ended);
                    self.host.close(self.association, orderly, now);
                }
                Ok(message) => self.backlog.push_back(message),
                Err(mpsc::TryRecvError::Empty) => break,
                Err(mpsc::TryRecvError::Disconnected) => {
                    if !self.abandoned {
                        self.abandoned = true;
                        self.host.close(self.association, true, now);
                    }
                    break;
                }
            }
        }
        while let Some(message) = self.backlog.pop_front() {
            if let Some(message) = self.take(message, now) {
                return self.backlog.push_front(message);
            }
        }
    }

    /// Acts on a message; gives it back when there is no room for it yet.
    fn take(&mut self, message: Message, now: std::time::Instant) -> Option<Message> {
        match message {
            Message::Io(mut io, reply) => {
                let number = self.number();
                io.user = number as u64;
                match self.host.submit(self.association, io, now) {
                    Ok(()) => self.wait_for(number, reply),
                    Err(Rejected { request, why: Why::Full }) => {
                        self.free.push(number);
                        return Some(Message::Io(request, reply));
                    }
                    Err(Rejected { request, why: Why::Error(error) }) => {
                        self.free.push(number);
                        refuse(reply, error, request.op.into_data());
                    }
                }
            }
            Message::Admin(mut admin, reply) => {
                let number = self.number();
                admin.user = number as u64;
                match self.host.submit_admin(self.association, admin, now) {
                    Ok(()) => self.wait_for(number, reply),
                    Err(Rejected { request, why: Why::Full }) => {
                        self.free.push(number);
                        return Some(Message::Admin(request, reply));
                    }
                    Err(Rejected { request, why: Why::Error(error) }) => {
                        self.free.push(number);
                        refuse(reply, error, request.data);
                    }
                }
            }
            Message::Close { .. } => {}
        }
        None
    }

    fn number(&mut self) -> usize {
        self.free.pop().unwrap_or_else(|| {
            self.waiting.push(None);
            self.waiting.len() - 1
        })
    }

    fn wait_for(&mut self, number: usize, reply: oneshot::Sender<Done>) {
        if let Some(place) = self.waiting.get_mut(number) {
            *place = Some(reply);
        }
    }

    /// Shows clients what has changed, before telling them that it has.
    fn publish(&mut self) {
        let notices = self.host.notices(self.association);
        if notices.is_empty() {
            return;
        }
        if let Some(association) = self.host.association(self.association) {
            let mut snapshot = self.shared.snapshot.write().unwrap_or_else(PoisonError::into_inner);
            snapshot.state = association.state();
            snapshot.namespaces = association.namespaces().clone();
            if let Some(info) = association.info() {
                snapshot.info = info.clone();
            }
        }
        for notice in notices {
            // Nobody listening is fine.
            let _ = self.shared.notices.send(notice);
        }
    }

    /// The engine is gone: everything that comes is refused until nobody is left to ask.
    fn refuse_the_rest(mut self) {
        let backlog = std::mem::take(&mut self.backlog);
        let messages = std::mem::replace(&mut self.messages, mpsc::channel().1);
        for message in backlog.into_iter().chain(messages) {
            match message {
                Message::Io(io, reply) => refuse(reply, IoError::Lost, io.op.into_data()),
                Message::Admin(admin, reply) => refuse(reply, IoError::Lost, admin.data),
                Message::Close { ended, .. } => {
                    let _ = ended.send(());
                }
            }
        }
    }
}

fn refuse(reply: oneshot::Sender<Done>, error: IoError, data: Data) {
    drop(reply.send(Done { user: 0, result: Err(error), data }));
}
