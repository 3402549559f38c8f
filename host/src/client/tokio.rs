//! [`AsyncClient`]: requests as futures. They need no runtime of their own; the work happens on the driver's thread, also when a
//! future is dropped (the request then still ends, unheard).

use std::sync::Arc;

use ::tokio::sync::oneshot;
use nvmf_transport::{Buffer, Data, HostTransport, Memory, Target, Transports, Verdict, WaitPolicy};
use nvmf_wire::{
    Sqe,
    identify::{Cns, IDENTIFY_LENGTH, Identify, IdentifyController, IdentifyNamespace, NamespaceList},
    log::{GetLogPage, Lid},
};

use super::{
    ClientError, Events,
    driver::{self, Handle, Message, Shared},
};
use crate::{
    Admin, BlockRange, ConnectError, ControllerInfo, Done, Endpoint, Io, IoError, Namespace, Op, Options,
    Outcome, State,
};

/// Pieces in which slices are copied to and from buffers, unless one command moves less.
const PIECE: usize = 1 << 20;

/// Pieces in which log pages are read.
const LOG_PIECE: u32 = 16 << 10;

/// A client whose calls are futures. Cheap to clone; the association ends with the last clone, or by [`AsyncClient::close`].
#[derive(Clone)]
pub struct AsyncClient {
    handle: Handle,
    shared: Arc<Shared>,
}

impl std::fmt::Debug for AsyncClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AsyncClient")
            .field("target", &self.shared.target)
            .field("state", &self.state())
            .finish()
    }
}

impl AsyncClient {
    /// Connects by the transport and the address that answer first; see [`crate::connect`].
    pub async fn connect(
        transports: &Transports<dyn HostTransport>,
        endpoint: &Endpoint,
        options: &Options,
    ) -> Result<Self, ConnectError> {
        Self::connect_with(transports, endpoint, options, WaitPolicy::default()).await
    }

    /// As [`AsyncClient::connect`], and says how the driver's thread waits.
    pub async fn connect_with(
        transports: &Transports<dyn HostTransport>,
        endpoint: &Endpoint,
        options: &Options,
        wait: WaitPolicy,
    ) -> Result<Self, ConnectError> {
        let first_word = driver::spawn(transports.clone(), endpoint.clone(), options.clone(), wait)?;
        let gone = || {
            let detail = "the driver's thread ended without a word";
            ConnectError::new(crate::Stage::Setup, crate::ConnectErrorKind::Resources, detail)
        };
        let (handle, shared) = first_word.await.map_err(|_| gone())??;
        Ok(Self { handle, shared })
    }

    /// Where the association leads.
    pub fn target(&self) -> &Target {
        &self.shared.target
    }

    /// What each transport said when one was chosen.
    pub fn verdicts(&self) -> &[Verdict] {
        &self.shared.verdicts
    }

    /// What was tried before without success.
    pub fn fallbacks(&self) -> &[(&'static str, ConnectError)] {
        &self.shared.fallbacks
    }

    /// Where the association stands.
    pub fn state(&self) -> State {
        self.shared.snapshot().state
    }

    /// What is known of the controller and the queues.
    pub fn info(&self) -> Arc<ControllerInfo> {
        self.shared.snapshot().info
    }

    /// The active namespaces, in ascending order.
    pub fn namespaces(&self) -> Arc<[Namespace]> {
        self.shared.snapshot().namespaces
    }

    /// An active namespace.
    pub fn namespace(&self, nsid: u32) -> Result<Namespace, ClientError> {
        let namespaces = self.namespaces();
        let found = namespaces.iter().find(|namespace| namespace.nsid == nsid);
        found.cloned().ok_or_else(|| IoError::UnknownNamespace(nsid).into())
    }

    /// What happens to the association from now on.
    pub fn events(&self) -> Events {
        Events(self.shared.notices.subscribe())
    }

    /// Requests worth having outstanding at once.
    pub fn window(&self) -> usize {
        self.shared.window
    }

    /// Where buffers come from.
    pub fn memory(&self) -> Arc<dyn Memory> {
        self.shared.memory.clone()
    }

    /// A zeroed buffer for a request.
    pub fn allocate(&self, len: usize) -> Result<Buffer, ClientError> {
        self.shared.memory.allocate(len).map_err(|_| IoError::Memory.into())
    }

    /// Sends requests, all with one wake-up; they are answered in any order.
    pub fn start(&self, requests: impl IntoIterator<Item = (u32, Op)>) -> Vec<Pending> {
        let mut pending = Vec::new();
        let messages = requests.into_iter().map(|(nsid, op)| {
            let (reply, answer) = oneshot::channel();
            pending.push(Pending(answer));
            Message::Io(Io { user: 0, nsid, op, queue: None }, reply)
        });
        // A thread that is gone drops the reply, which the pending request reports.
        self.handle.send(messages);
        pending
    }

    /// Sends one request and waits for its end, whatever it is.
    pub async fn request(&self, nsid: u32, op: Op) -> Done {
        match self.start([(nsid, op)]).pop() {
            Some(pending) => pending.await_done().await,
            None => lost(),
        }
    }

    /// Sends one command for the admin queue and waits for its end.
    pub async fn admin(&self, sqe: Sqe, data: Data, replay: bool) -> Done {
        let (reply, answer) = oneshot::channel();
        self.handle.send([Message::Admin(Admin { user: 0, sqe, data, replay }, reply)]);
        Pending(answer).await_done().await
    }

    /// Fills a buffer from a byte offset on; gives it back filled.
    pub async fn read(&self, nsid: u32, offset: u64, data: Buffer) -> Result<Buffer, ClientError> {
        let start = self.blocks(nsid, offset, data.len() as u64)?.0;
        buffer_of(self.request(nsid, Op::Read { start, data }).await)
    }

    /// Stores a buffer from a byte offset on; gives it back. With `fua` it is on stable storage then.
    pub async fn write(
        &self,
        nsid: u32,
        offset: u64,
        data: Buffer,
        fua: bool,
    ) -> Result<Buffer, ClientError> {
        let start = self.blocks(nsid, offset, data.len() as u64)?.0;
        buffer_of(self.request(nsid, Op::Write { start, data, fua }).await)
    }

    /// Compares a buffer with what is stored; a difference is the status Compare Failure.
    pub async fn compare(&self, nsid: u32, offset: u64, data: Buffer) -> Result<Buffer, ClientError> {
        let start = self.blocks(nsid, offset, data.len() as u64)?.0;
        buffer_of(self.request(nsid, Op::Compare { start, data }).await)
    }

    /// Fills a slice from a byte offset on, in pieces that fly together.
    pub async fn read_into(&self, nsid: u32, offset: u64, into: &mut [u8]) -> Result<(), ClientError> {
        self.blocks(nsid, offset, into.len() as u64)?;
        let piece = self.piece(nsid)?;
        let mut flying = std::collections::VecDeque::new();
        let mut at = offset;
        let mut left = into.chunks_mut(piece);
        loop {
            while flying.len() < self.window_for(piece) {
                let Some(slice) = left.next() else { break };
                let start = self.blocks(nsid, at, slice.len() as u64)?.0;
                at += slice.len() as u64;
                let data = self.allocate(slice.len())?;
                let pending = self.start([(nsid, Op::Read { start, data })]).pop();
                flying.push_back((slice, pending.ok_or(IoError::Lost)?));
            }
            let Some((slice, pending)) = flying.pop_front() else {
                return Ok(());
            };
            slice.copy_from_slice(&buffer_of(pending.await_done().await)?);
        }
    }

    /// Stores a slice from a byte offset on, in pieces that fly together.
    pub async fn write_from(
        &self,
        nsid: u32,
        offset: u64,
        from: &[u8],
        fua: bool,
    ) -> Result<(), ClientError> {
        self.blocks(nsid, offset, from.len() as u64)?;
        let piece = self.piece(nsid)?;
        let mut flying = std::collections::VecDeque::new();
        let mut at = offset;
        let mut left = from.chunks(piece);
        loop {
            while flying.len() < self.window_for(piece) {
                let Some(slice) = left.next() else { break };
                let start = self.blocks(nsid, at, slice.len() as u64)?.0;
                at += slice.len() as u64;
                let mut data = self.allocate(slice.len())?;
                data.copy_from_slice(slice);
                let pending = self.start([(nsid, Op::Write { start, data, fua })]).pop();
                flying.push_back(pending.ok_or(IoError::Lost)?);
            }
            let Some(pending) = flying.pop_front() else {
                return Ok(());
            };
            buffer_of(pending.await_done().await)?;
        }
    }

    /// Makes everything written before stable.
    pub async fn flush(&self, nsid: u32) -> Result<(), ClientError> {
        Ok(self.request(nsid, Op::Flush).await.result.map(drop)?)
    }

    /// Makes a byte range read as zeroes. `deallocate` lets the controller free the space.
    pub async fn write_zeroes(
        &self,
        nsid: u32,
        offset: u64,
        len: u64,
        deallocate: bool,
    ) -> Result<(), ClientError> {
        let (start, blocks) = self.blocks(nsid, offset, len)?;
        let op = Op::WriteZeroes { start, blocks, deallocate, fua: false };
        Ok(self.request(nsid, op).await.result.map(drop)?)
    }

    /// Tells the controller that a byte range is no longer needed.
    pub async fn deallocate(&self, nsid: u32, offset: u64, len: u64) -> Result<(), ClientError> {
        let (mut start, mut left) = self.blocks(nsid, offset, len)?;
        while left > 0 {
            let mut ranges = Vec::new();
            while left > 0 && ranges.len() < 256 {
                let blocks = u32::try_from(left).unwrap_or(u32::MAX);
                ranges.push(BlockRange { start, blocks });
                (start, left) = (start + u64::from(blocks), left - u64::from(blocks));
            }
            self.request(nsid, Op::Deallocate { ranges }).await.result?;
        }
        Ok(())
    }

    /// Asks the controller who it is, now.
    pub async fn identify_controller(&self) -> Result<Box<IdentifyController>, ClientError> {
        let buffer = self.identify(Identify::new(Cns::CONTROLLER, 0)).await?;
        view(IdentifyController::view(&buffer))
    }

    /// Asks the controller about a namespace, now.
    pub async fn identify_namespace(&self, nsid: u32) -> Result<Box<IdentifyNamespace>, ClientError> {
        let buffer = self.identify(Identify::new(Cns::NAMESPACE, nsid)).await?;
        view(IdentifyNamespace::view(&buffer))
    }

    /// Asks the controller for the first 1024 active namespaces beyond `after`, now.
    pub async fn active_namespaces(&self, after: u32) -> Result<Vec<u32>, ClientError> {
        let buffer = self.identify(Identify::new(Cns::ACTIVE_NAMESPACES, after)).await?;
        Ok(NamespaceList::view(&buffer).map(|list| list.iter().collect()).unwrap_or_default())
    }

    /// Any Identify command.
    pub async fn identify(&self, command: Identify) -> Result<Buffer, ClientError> {
        self.admin_read(command.to_sqe(), IDENTIFY_LENGTH).await
    }

    /// An admin command that fills `len` bytes.
    pub async fn admin_read(&self, sqe: Sqe, len: usize) -> Result<Buffer, ClientError> {
        let buffer = self.allocate(len)?;
        let done = self.admin(sqe, Data::FromController(buffer), true).await;
        let Outcome { transferred, .. } = done.result?;
        if transferred < len as u64 {
            return Err(IoError::ShortData { expected: len as u32, transferred: transferred as u32 }.into());
        }
        done.data.into_buffer().ok_or_else(|| IoError::Lost.into())
    }

    /// `len` bytes of a log page from `offset` on, in pieces. `retain` keeps the event that belongs to the page.
    pub async fn log_page(
        &self,
        lid: Lid,
        nsid: u32,
        offset: u64,
        len: usize,
        retain: bool,
    ) -> Result<Vec<u8>, ClientError> {
        let piece = (self.info().admin_max_transfer & !4095).clamp(4096, LOG_PIECE) as usize;
        let mut page = Vec::with_capacity(len);
        while page.len() < len {
            let wanted = (len - page.len()).min(piece).next_multiple_of(4);
            let last = page.len() + wanted >= len;
            let command = GetLogPage::new(lid, wanted as u32)
                .with_nsid(nsid)
                .with_offset(offset + page.len() as u64)
                .with_rae(retain || !last);
            let buffer = self.admin_read(command.to_sqe(), wanted).await?;
            page.extend_from_slice(&buffer);
        }
        page.truncate(len);
        Ok(page)
    }

    /// Ends the association in good order: requests finish, the controller is shut down, the connections close.
    pub async fn close(self) {
        let (ended, heard) = oneshot::channel();
        self.handle.send([Message::Close { orderly: true, ended }]);
        // A thread that is gone has closed already.
        let _ = heard.await;
    }

    /// The blocks of a byte range.
    fn blocks(&self, nsid: u32, offset: u64, len: u64) -> Result<(u64, u64), ClientError> {
        let namespace = self.namespace(nsid)?;
        if namespace.unusable.is_some() {
            return Err(IoError::UnusableNamespace(nsid).into());
        }
        let size = u64::from(namespace.block_size);
        if len == 0 || !offset.is_multiple_of(size) || !len.is_multiple_of(size) {
            return Err(IoError::Unaligned.into());
        }
        match offset.checked_add(len) {
            Some(end) if end <= namespace.bytes() => Ok((offset / size, len / size)),
            _ => Err(IoError::OutOfRange.into()),
        }
    }

    fn piece(&self, nsid: u32) -> Result<usize, ClientError> {
        let block = self.namespace(nsid)?.block_size as usize;
        let most = (self.info().max_transfer as usize).min(PIECE);
        Ok((most - most % block.max(1)).max(block))
    }

    /// Pieces in flight: enough for the queues, and not more than 32 MiB.
    fn window_for(&self, piece: usize) -> usize {
        self.shared.window.min((32 << 20) / piece.max(1)).max(2)
    }
}

/// A request that was sent.
#[derive(Debug)]
pub struct Pending(oneshot::Receiver<Done>);

impl Pending {
    /// Waits for its end.
    pub async fn await_done(self) -> Done {
        self.0.await.unwrap_or_else(|_| lost())
    }
}

/// The thread has gone, and the request with it.
fn lost() -> Done {
    Done { user: 0, result: Err(IoError::Lost), data: Data::None }
}

fn buffer_of(done: Done) -> Result<Buffer, ClientError> {
    done.result?;
    done.data.into_buffer().ok_or_else(|| IoError::Lost.into())
}

fn view<T: Copy>(view: Option<&T>) -> Result<Box<T>, ClientError> {
    view.map(|view| Box::new(*view))
        .ok_or_else(|| ClientError::BadAnswer("Identify returned too few bytes".into()))
}
