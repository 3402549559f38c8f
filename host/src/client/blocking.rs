//! [`Client`]: the asynchronous client, waited for on the caller's thread.

use std::{
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
    thread::{self, Thread},
};

use nvmf_transport::{Buffer, Data, HostTransport, Transports, WaitPolicy};
use nvmf_wire::{
    Sqe,
    identify::{IdentifyController, IdentifyNamespace},
    log::Lid,
};

use super::{AsyncClient, ClientError, Events};
use crate::{ConnectError, ControllerInfo, DiscoveryLog, Done, Endpoint, Namespace, Op, Options, State};

/// A client whose calls block. Cheap to clone and usable from several threads; the association ends with the last clone, or
/// by [`Client::close`].
#[derive(Clone, Debug)]
pub struct Client(AsyncClient);

impl Client {
    /// Connects by the transport and the address that answer first; see [`crate::connect`].
    pub fn connect(
        transports: &Transports<dyn HostTransport>,
        endpoint: &Endpoint,
        options: &Options,
    ) -> Result<Self, ConnectError> {
        block_on(AsyncClient::connect(transports, endpoint, options)).map(Self)
    }

    /// As [`Client::connect`], and says how the driver's thread waits.
    pub fn connect_with(
        transports: &Transports<dyn HostTransport>,
        endpoint: &Endpoint,
        options: &Options,
        wait: WaitPolicy,
    ) -> Result<Self, ConnectError> {
        block_on(AsyncClient::connect_with(transports, endpoint, options, wait)).map(Self)
    }

    /// The asynchronous face of the same association.
    pub fn asynchronous(&self) -> &AsyncClient {
        &self.0
    }

    /// Where the association stands.
    pub fn state(&self) -> State {
        self.0.state()
    }

    /// What is known of the controller and the queues.
    pub fn info(&self) -> Arc<ControllerInfo> {
        self.0.info()
    }

    /// The active namespaces, in ascending order.
    pub fn namespaces(&self) -> Arc<[Namespace]> {
        self.0.namespaces()
    }

    /// An active namespace.
    pub fn namespace(&self, nsid: u32) -> Result<Namespace, ClientError> {
        self.0.namespace(nsid)
    }

    /// What happens to the association from now on.
    pub fn events(&self) -> Events {
        self.0.events()
    }

    /// A zeroed buffer for a request.
    pub fn allocate(&self, len: usize) -> Result<Buffer, ClientError> {
        self.0.allocate(len)
    }

    /// Sends a batch and waits for all of it; the answers are in the order of the requests.
    pub fn batch(&self, requests: impl IntoIterator<Item = (u32, Op)>) -> Vec<Done> {
        self.0.start(requests).into_iter().map(|pending| block_on(pending.await_done())).collect()
    }

    /// Sends one request and waits for its end, whatever it is.
    pub fn request(&self, nsid: u32, op: Op) -> Done {
        block_on(self.0.request(nsid, op))
    }

    /// Sends one command for the admin queue and waits for its end.
    pub fn admin(&self, sqe: Sqe, data: Data, replay: bool) -> Done {
        block_on(self.0.admin(sqe, data, replay))
    }

    /// Fills a buffer from a byte offset on; gives it back filled.
    pub fn read(&self, nsid: u32, offset: u64, data: Buffer) -> Result<Buffer, ClientError> {
        block_on(self.0.read(nsid, offset, data))
    }

    /// Stores a buffer from a byte offset on; gives it back. With `fua` it is on stable storage then.
    pub fn write(&self, nsid: u32, offset: u64, data: Buffer, fua: bool) -> Result<Buffer, ClientError> {
        block_on(self.0.write(nsid, offset, data, fua))
    }

    /// Compares a buffer with what is stored; a difference is the status Compare Failure.
    pub fn compare(&self, nsid: u32, offset: u64, data: Buffer) -> Result<Buffer, ClientError> {
        block_on(self.0.compare(nsid, offset, data))
    }

    /// Fills a slice from a byte offset on, in pieces that fly together.
    pub fn read_into(&self, nsid: u32, offset: u64, into: &mut [u8]) -> Result<(), ClientError> {
        block_on(self.0.read_into(nsid, offset, into))
    }

    /// Stores a slice from a byte offset on, in pieces that fly together.
    pub fn write_from(&self, nsid: u32, offset: u64, from: &[u8], fua: bool) -> Result<(), ClientError> {
        block_on(self.0.write_from(nsid, offset, from, fua))
    }

    /// Makes everything written before stable.
    pub fn flush(&self, nsid: u32) -> Result<(), ClientError> {
        block_on(self.0.flush(nsid))
    }

    /// Makes a byte range read as zeroes. `deallocate` lets the controller free the space.
    pub fn write_zeroes(
        &self,
        nsid: u32,
        offset: u64,
        len: u64,
        deallocate: bool,
    ) -> Result<(), ClientError> {
        block_on(self.0.write_zeroes(nsid, offset, len, deallocate))
    }

    /// Tells the controller that a byte range is no longer needed.
    pub fn deallocate(&self, nsid: u32, offset: u64, len: u64) -> Result<(), ClientError> {
        block_on(self.0.deallocate(nsid, offset, len))
    }

    /// Asks the controller who it is, now.
    pub fn identify_controller(&self) -> Result<Box<IdentifyController>, ClientError> {
        block_on(self.0.identify_controller())
    }

    /// Asks the controller about a namespace, now.
    pub fn identify_namespace(&self, nsid: u32) -> Result<Box<IdentifyNamespace>, ClientError> {
        block_on(self.0.identify_namespace(nsid))
    }

    /// `len` bytes of a log page from `offset` on, in pieces. `retain` keeps the event that belongs to the page.
    pub fn log_page(
        &self,
        lid: Lid,
        nsid: u32,
        offset: u64,
        len: usize,
        retain: bool,
    ) -> Result<Vec<u8>, ClientError> {
        block_on(self.0.log_page(lid, nsid, offset, len, retain))
    }

    /// The discovery log, whole and of one generation.
    pub fn discover(&self) -> Result<DiscoveryLog, ClientError> {
        block_on(self.0.discover())
    }

    /// Ends the association in good order: requests finish, the controller is shut down, the connections close.
    pub fn close(self) {
        block_on(self.0.close());
    }
}

struct Unpark {
    thread: Thread,
    woken: AtomicBool,
}

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.woken.swap(true, Ordering::AcqRel) {
            self.thread.unpark();
        }
    }
}

/// Waits for a future on this thread, which sleeps meanwhile.
pub(super) fn block_on<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    let unpark = Arc::new(Unpark { thread: thread::current(), woken: AtomicBool::new(false) });
    let waker = Waker::from(unpark.clone());
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return output;
        }
        while !unpark.woken.swap(false, Ordering::AcqRel) {
            thread::park();
        }
    }
}
