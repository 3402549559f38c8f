//! A namespace within reach: an association on this thread, and one of its namespaces.

use std::{os::fd::BorrowedFd, sync::Arc, time::Instant};

use nvmf_host::{AssociationId, Connection, ControllerInfo, Done, Host, Io, IoError, Op};
use nvmf_transport::{Data, Memory, WaitPolicy};

use crate::{
    args::ConnectArgs,
    connect,
    failure::{Code, Failure},
    output::Output,
    uri::Uri,
};

/// A namespace, its association and the thread's engine.
pub(crate) struct Disk {
    host: Host,
    association: AssociationId,
    info: Arc<ControllerInfo>,
    nsid: u32,
    blocks: u64,
    block_size: u32,
    /// Ended requests that a blocking one met on its way.
    aside: Vec<Done>,
}

/// The `user` of requests that [`Disk::run`] waits for.
const BLOCKING: u64 = u64::MAX;

impl Disk {
    /// Connects to the namespace of a URI.
    pub(crate) fn open(
        uri: &Uri,
        args: &ConnectArgs,
        wait: WaitPolicy,
        output: Output,
    ) -> Result<Self, Failure> {
        Self::of(connect::connect(uri, args, wait, false, output)?, uri.nsid)
    }

    /// A namespace of an association that is up; the only one unless its number is given.
    pub(crate) fn of(connection: Connection, nsid: Option<u32>) -> Result<Self, Failure> {
        let Connection { host, association, .. } = connection;
        let gone =
            || Failure::new(Code::Lost, "association", "the controller was lost while it was looked at");
        let state = host.association(association).ok_or_else(gone)?;
        let info = state.info().cloned().ok_or_else(gone)?;
        let namespaces = Arc::clone(state.namespaces());
        let known = || {
            let list: Vec<_> = namespaces.iter().map(|namespace| namespace.nsid.to_string()).collect();
            if list.is_empty() { "it has none".to_owned() } else { format!("it has {}", list.join(", ")) }
        };
        let found = match (nsid, &*namespaces) {
            (Some(nsid), all) => all.iter().find(|namespace| namespace.nsid == nsid),
            (None, [only]) => Some(only),
            (None, all) => all.iter().find(|namespace| namespace.nsid == 1),
        };
        let Some(namespace) = found else {
            let message = match nsid {
                Some(nsid) => format!("subsystem {} has no namespace {nsid}", info.subnqn),
                None => format!("no namespace is chosen, and subsystem {} has no namespace 1", info.subnqn),
            };
            return Err(Failure::new(Code::NoNamespace, "namespace", message)
                .note(known())
                .hint("append ?nsid=N to the URI; nvmf identify lists the namespaces"));
        };
        if let Some(why) = namespace.unusable {
            return Err(Failure::new(
                Code::NoNamespace,
                "namespace",
                format!("namespace {}: {why}", namespace.nsid),
            ));
        }
        Ok(Self {
            nsid: namespace.nsid,
            blocks: namespace.blocks,
            block_size: namespace.block_size,
            host,
            association,
            info,
            aside: Vec::new(),
        })
    }

    /// The namespace, to put a load on.
    pub(crate) fn namespace(&mut self) -> nvmf_bench::Namespace<'_> {
        nvmf_bench::Namespace {
            host: &mut self.host,
            association: self.association,
            nsid: self.nsid,
            bytes: self.blocks.saturating_mul(self.block_size.into()),
            block_size: self.block_size,
        }
    }

    /// What is known of the controller.
    pub(crate) fn info(&self) -> &ControllerInfo {
        &self.info
    }

    /// Its size in bytes.
    pub(crate) fn bytes(&self) -> u64 {
        self.blocks.saturating_mul(self.block_size.into())
    }

    /// The size of a logical block.
    pub(crate) fn block_size(&self) -> u32 {
        self.block_size
    }

    /// Where buffers come from.
    pub(crate) fn memory(&self) -> Arc<dyn Memory> {
        self.host.memory()
    }

    /// I/O queues there are.
    pub(crate) fn queues(&self) -> u16 {
        u16::try_from(self.info.queues.len().saturating_sub(1)).unwrap_or(u16::MAX)
    }

    /// Commands that one I/O queue holds at a time.
    pub(crate) fn depth(&self) -> u16 {
        let entries =
            self.info.queues.iter().filter(|queue| queue.kind.qid() != 0).map(|queue| queue.depth).min();
        entries.unwrap_or(2).saturating_sub(1).max(1)
    }

    /// Commands that all I/O queues hold at a time.
    pub(crate) fn commands(&self) -> usize {
        usize::from(self.queues()) * usize::from(self.depth())
    }

    /// Checks a range of bytes; the rest of the namespace if there is no length.
    pub(crate) fn range(&self, offset: u64, length: Option<u64>) -> Result<u64, Failure> {
        let room = self.bytes().checked_sub(offset);
        match (room, length) {
            (Some(room), None) => Ok(room),
            (Some(room), Some(length)) if length <= room => Ok(length),
            _ => Err(Failure::new(
                Code::OutOfRange,
                "namespace",
                format!(
                    "{} bytes from byte {offset} do not fit into namespace {} of {} bytes",
                    length.unwrap_or(0),
                    self.nsid,
                    self.bytes()
                ),
            )
            .hint("nvmf identify shows the sizes")),
        }
    }

    /// Hands a request over; it leaves at the next poll.
    pub(crate) fn submit(
        &mut self,
        user: u64,
        queue: Option<u16>,
        op: Op,
        now: Instant,
    ) -> Result<(), Failure> {
        let io = Io { user, nsid: self.nsid, op, queue };
        self.host.submit(self.association, io, now).map_err(|rejected| match rejected.why {
            nvmf_host::Why::Error(error) => self.failure(error),
            nvmf_host::Why::Full => {
                Failure::new(Code::Internal, "command", "more requests than the association holds")
            }
        })
    }

    /// Moves everything forward without blocking, and appends what ended.
    pub(crate) fn poll(&mut self, now: Instant, done: &mut Vec<Done>) -> Result<bool, Failure> {
        done.append(&mut self.aside);
        Ok(self.host.poll(now, done)?)
    }

    /// What to wait for after a poll that brought nothing, and until when.
    pub(crate) fn waiting(&self, now: Instant) -> (BorrowedFd<'_>, Option<Instant>) {
        let until = if self.host.wants_poll() { Some(now) } else { self.host.next_timeout() };
        (self.host.wait_handle(), until)
    }

    /// Runs one request to its end.
    pub(crate) fn run(&mut self, op: Op) -> Result<Data, Failure> {
        self.submit(BLOCKING, None, op, clock())?;
        let mut done = Vec::new();
        loop {
            let now = clock();
            let worked = self.host.poll(now, &mut done)?;
            if let Some(at) = done.iter().position(|done| done.user == BLOCKING) {
                let mine = done.swap_remove(at);
                self.aside.append(&mut done);
                return match mine.result {
                    Ok(_) => Ok(mine.data),
                    Err(error) => Err(self.failure(error)),
                };
            }
            self.aside.append(&mut done);
            if !worked {
                self.host.wait(now, &[]);
            }
        }
    }

    /// A failed request as a failure of the command, with what is known of the association.
    pub(crate) fn failure(&self, error: IoError) -> Failure {
        let failure = Failure::from(error);
        let lost =
            matches!(error, IoError::Disconnected | IoError::FastFail | IoError::Lost | IoError::Closed);
        match self.host.association(self.association).and_then(|association| association.error()) {
            Some(why) if lost => failure.note(why.to_string()).hint(why.hint()),
            _ => failure,
        }
    }

    /// A load that did not run to its end, as a failure of the command.
    pub(crate) fn load_failure(&self, error: nvmf_bench::LoadError) -> Failure {
        match error {
            nvmf_bench::LoadError::Io(error) => self.failure(error),
            error => error.into(),
        }
    }

    /// Ends the association in good order. What was asked for is done, so a failure here is only worth a log line.
    pub(crate) fn close(mut self) {
        if let Err(error) = self.host.disconnect(self.association, &mut Vec::new()) {
            tracing::warn!(%error, "the association did not end in good order");
        }
    }
}

/// The time, for the loops that drive engines.
#[expect(clippy::disallowed_methods, reason = "the program drives the engines and reads the clock for them")]
pub(crate) fn clock() -> Instant {
    Instant::now()
}
