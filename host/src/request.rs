//! What a caller asks of an association, and how it ends: exactly once, with the buffer it came with.
//!
//! [`Io`] is in blocks and owns its buffer; [`Admin`] is a raw command. Both carry the caller's own number, which comes back in
//! [`Done`]. Deliberately absent: byte ranges and waiting; those are the clients'.

use nvmf_transport::{Buffer, Data, Misuse};
use nvmf_wire::{Sqe, Status};

/// A run of logical blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockRange {
    /// The first block.
    pub start: u64,
    /// How many.
    pub blocks: u32,
}

/// What to do with a namespace. Lengths of data are whole blocks.
#[derive(Debug)]
#[non_exhaustive]
pub enum Op {
    /// Fills the buffer from block `start` on.
    Read {
        /// The first block.
        start: u64,
        /// The room, whose size says how many blocks.
        data: Buffer,
    },
    /// Stores the buffer from block `start` on.
    Write {
        /// The first block.
        start: u64,
        /// The data, whose size says how many blocks.
        data: Buffer,
        /// Force Unit Access: on stable storage before it is answered.
        fua: bool,
    },
    /// Compares the buffer with what is stored from block `start` on; a difference is status Compare Failure.
    Compare {
        /// The first block.
        start: u64,
        /// The data, whose size says how many blocks.
        data: Buffer,
    },
    /// Makes everything that was written before stable.
    Flush,
    /// Makes blocks read as zeroes.
    WriteZeroes {
        /// The first block.
        start: u64,
        /// How many.
        blocks: u64,
        /// Whether the controller may deallocate them (DEAC).
        deallocate: bool,
        /// Force Unit Access.
        fua: bool,
    },
    /// Tells the controller that the contents of blocks are no longer needed (Dataset Management, Deallocate).
    Deallocate {
        /// 1 to 256 ranges.
        ranges: Vec<BlockRange>,
    },
    /// A command as it is. It goes to an I/O queue and is not split.
    Raw {
        /// The command; CID, PSDT and SGL1 are the transport's.
        sqe: Sqe,
        /// Its data.
        data: Data,
        /// Whether it may be sent a second time when the association is lost before it is answered.
        replay: bool,
    },
}

impl Op {
    /// The data of the request.
    pub fn into_data(self) -> Data {
        match self {
            Self::Read { data, .. } => Data::FromController(data),
            Self::Write { data, .. } | Self::Compare { data, .. } => Data::ToController(data),
            Self::Raw { data, .. } => data,
            Self::Flush | Self::WriteZeroes { .. } | Self::Deallocate { .. } => Data::None,
        }
    }
}

/// One request for an I/O queue.
#[derive(Debug)]
pub struct Io {
    /// The caller's number for it.
    pub user: u64,
    /// The namespace.
    pub nsid: u32,
    /// What to do.
    pub op: Op,
    /// The queue to prefer (modulo how many there are); `None` takes them in turn.
    pub queue: Option<u16>,
}

/// One command for the admin queue.
#[derive(Debug)]
pub struct Admin {
    /// The caller's number for it.
    pub user: u64,
    /// The command; CID, PSDT and SGL1 are the transport's.
    pub sqe: Sqe,
    /// Its data.
    pub data: Data,
    /// Whether it may be sent a second time when the association is lost before it is answered.
    pub replay: bool,
}

/// How a request that the controller completed with success ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Dwords 0 and 1 of the completion; 0 for a request that was split.
    pub result: u64,
    /// Bytes that arrived in the buffer.
    pub transferred: u64,
}

/// The end of a request.
#[derive(Debug)]
pub struct Done {
    /// The caller's number.
    pub user: u64,
    /// How it ended.
    pub result: Result<Outcome, IoError>,
    /// The data it came with. After an error the contents mean nothing; after a failure of the engine it is gone.
    pub data: Data,
}

/// Why a request failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum IoError {
    /// The controller completed it with an error, and retrying did not help or was not allowed.
    #[error("the controller answered {0}")]
    Status(Status),
    /// It was not answered in time and has been aborted.
    #[error("the controller did not answer in time; the command was aborted")]
    Timeout,
    /// The association was lost before it was answered, and it must not be sent twice. It may have been executed.
    #[error(
        "the association was lost before the controller answered; the command may or may not have been executed"
    )]
    Disconnected,
    /// The association is lost, and the fast I/O fail timeout has passed.
    #[error("the association is lost (failed after the fast I/O fail timeout)")]
    FastFail,
    /// The association is lost for good.
    #[error("the association is lost for good")]
    Lost,
    /// The association was closed by this side.
    #[error("the association is closed")]
    Closed,
    /// Success, with less data than was asked for.
    #[error("the controller reported success and sent {transferred} of {expected} bytes")]
    ShortData {
        /// Bytes asked for.
        expected: u32,
        /// Bytes that arrived.
        transferred: u32,
    },
    /// The namespace that came back after a reconnect or a rescan is another one, or of another block size.
    #[error("the namespace is not the one the request was made for any more")]
    NamespaceChanged,
    /// There is no such active namespace.
    #[error("no active namespace {0}")]
    UnknownNamespace(u32),
    /// The namespace has a format this host cannot use.
    #[error("namespace {0} has a format this host does not support (metadata, or a bad block size)")]
    UnusableNamespace(u32),
    /// The length is not a positive number of whole blocks.
    #[error("the length is not a positive multiple of the block size")]
    Unaligned,
    /// The blocks lie beyond the end of the namespace.
    #[error("the range lies beyond the end of the namespace")]
    OutOfRange,
    /// A value the command cannot express.
    #[error("a parameter of the request is out of range")]
    Parameter,
    /// The association has no I/O queue.
    #[error("the association has no I/O queues")]
    NoQueues,
    /// The transport refused the command.
    #[error("the transport refused the command: {0}")]
    Refused(Misuse),
    /// No memory for the command's data.
    #[error("no memory for the command's data")]
    Memory,
}

impl IoError {
    /// The stable code, for scripts.
    pub fn code(self) -> &'static str {
        match self {
            Self::Status(_) => "status",
            Self::Timeout => "command-timeout",
            Self::Disconnected => "disconnected",
            Self::FastFail => "fast-io-fail",
            Self::Lost => "controller-lost",
            Self::Closed => "closed",
            Self::ShortData { .. } => "short-data",
            Self::NamespaceChanged => "namespace-changed",
            Self::UnknownNamespace(_) => "unknown-namespace",
            Self::UnusableNamespace(_) => "unusable-namespace",
            Self::Unaligned => "unaligned",
            Self::OutOfRange => "out-of-range",
            Self::Parameter => "invalid-parameter",
            Self::NoQueues => "no-io-queues",
            Self::Refused(_) => "refused-by-transport",
            Self::Memory => "out-of-memory",
        }
    }

    /// What to try.
    pub fn hint(self) -> &'static str {
        match self {
            Self::Status(_) => "see the status; the controller's log may say more",
            Self::Timeout => "the controller is slow or stuck; a longer command timeout may help",
            Self::Disconnected => "check whether the command took effect before sending it again",
            Self::FastFail => "wait for the association to come back, or use another path",
            Self::Lost | Self::Closed => "connect again",
            Self::ShortData { .. } => "the controller violates the specification; report it to its maker",
            Self::NamespaceChanged => "look at the namespaces again before going on",
            Self::UnknownNamespace(_) => "list the namespaces with `nvmf identify`",
            Self::UnusableNamespace(_) => "use a namespace without metadata, of 512 to 65536 bytes per block",
            Self::Unaligned => "use offsets and lengths that are multiples of the block size",
            Self::OutOfRange => "stay within the size that `nvmf identify` shows",
            Self::Parameter => "correct the request",
            Self::NoQueues => "connect with at least one I/O queue",
            Self::Refused(_) | Self::Memory => "use smaller requests",
        }
    }
}

/// Why a request was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Why {
    /// As many are outstanding as are held at once; try again after one is done.
    #[error("all request slots are taken")]
    Full,
    /// It cannot succeed.
    #[error(transparent)]
    Error(#[from] IoError),
}

/// A request that was not taken, given back whole.
#[derive(Debug, thiserror::Error)]
#[error("{why}")]
pub struct Rejected<T> {
    /// The request.
    pub request: T,
    /// Why.
    pub why: Why,
}

impl<T> Rejected<T> {
    pub(crate) fn new(request: T, why: impl Into<Why>) -> Self {
        Self { request, why: why.into() }
    }
}
