//! What can go wrong, in three kinds kept apart: the peer broke the protocol, the caller misused the call, the
//! infrastructure failed.

use std::{borrow::Cow, error::Error as StdError, fmt};

/// How far things had come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Stage {
    /// Creating the engine.
    Setup,
    /// Allocating or registering memory.
    Memory,
    /// Opening a listener.
    Listen,
    /// Connecting the transport (TCP handshake, RDMA address and route).
    Connect,
    /// Negotiating (ICReq and ICResp, or the connection manager's private data).
    Negotiate,
    /// Carrying commands.
    Transfer,
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Setup => "setup",
            Self::Memory => "memory",
            Self::Listen => "listen",
            Self::Connect => "connect",
            Self::Negotiate => "negotiate",
            Self::Transfer => "transfer",
        })
    }
}

/// The kind of failure, for programs to act on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// Nobody listens there.
    Refused,
    /// No way to that address.
    Unreachable,
    /// The peer was silent for too long.
    TimedOut,
    /// The peer or the network cut the connection.
    Reset,
    /// The peer closed in the middle of something.
    PeerClosed,
    /// The peer does not speak this protocol at all.
    NotNvme,
    /// The peer broke the protocol.
    Protocol,
    /// The peer says that we broke the protocol (a termination request).
    PeerReported,
    /// The peer's parameters and ours do not meet.
    Incompatible,
    /// A digest did not match.
    Digest,
    /// The address is taken.
    AddressInUse,
    /// The address is not one of this machine's.
    AddressUnavailable,
    /// The operating system forbids it.
    PermissionDenied,
    /// Memory, descriptors or queue entries ran out.
    Resources,
    /// This machine or build cannot.
    Unsupported,
    /// An accelerator took the connection and then lost it.
    AcceleratorLost,
    /// Anything else from the operating system.
    Io,
}

/// A failure of the infrastructure or the peer.
#[derive(Debug)]
pub struct Error {
    stage: Stage,
    kind: ErrorKind,
    detail: Cow<'static, str>,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

impl Error {
    /// What failed, of what kind, and in words what was seen. `detail` has no final period and does not repeat the stage.
    pub fn new(stage: Stage, kind: ErrorKind, detail: impl Into<Cow<'static, str>>) -> Self {
        Self { stage, kind, detail: detail.into(), source: None }
    }

    /// Adds the cause, which `Display` does not repeat.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// An operating system error, its kind taken from the error number.
    pub fn from_io(stage: Stage, detail: impl Into<Cow<'static, str>>, source: std::io::Error) -> Self {
        use std::io::ErrorKind as Io;
        let kind = match source.kind() {
            Io::ConnectionRefused => ErrorKind::Refused,
            Io::HostUnreachable | Io::NetworkUnreachable | Io::NetworkDown => ErrorKind::Unreachable,
            Io::TimedOut => ErrorKind::TimedOut,
            Io::ConnectionReset | Io::ConnectionAborted | Io::BrokenPipe => ErrorKind::Reset,
            Io::UnexpectedEof => ErrorKind::PeerClosed,
            Io::AddrInUse => ErrorKind::AddressInUse,
            Io::AddrNotAvailable => ErrorKind::AddressUnavailable,
            Io::PermissionDenied => ErrorKind::PermissionDenied,
            Io::OutOfMemory | Io::QuotaExceeded => ErrorKind::Resources,
            Io::Unsupported => ErrorKind::Unsupported,
            _ => ErrorKind::Io,
        };
        Self::new(stage, kind, detail).with_source(source)
    }

    /// How far things had come.
    pub fn stage(&self) -> Stage {
        self.stage
    }

    /// The kind of failure.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// What was seen, without stage and source.
    pub fn detail(&self) -> &str {
        &self.detail
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.stage, self.detail)
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}

/// Why a queue ended.
#[derive(Debug)]
#[non_exhaustive]
pub enum CloseReason {
    /// This side asked for it.
    Requested,
    /// The peer closed in good order, with nothing half said.
    PeerClosed,
    /// Something failed.
    Failed(Error),
}

impl fmt::Display for CloseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Requested => f.write_str("closed by this side"),
            Self::PeerClosed => f.write_str("closed by the peer"),
            Self::Failed(error) => error.fmt(f),
        }
    }
}

/// How a call was misused, or came at the wrong moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Misuse {
    /// The queue has ended or never was.
    #[error("no such queue")]
    UnknownQueue,
    /// The request has been answered, its queue has ended, or it never was.
    #[error("no such request")]
    UnknownRequest,
    /// The queue is not up yet.
    #[error("the queue is not connected yet")]
    NotConnected,
    /// The queue is closing.
    #[error("the queue is closing")]
    Closing,
    /// All command slots are taken; try again after a completion.
    #[error("the queue is full")]
    QueueFull,
    /// As many fetches of the request are outstanding as [`Limits`](crate::Limits) allow.
    #[error("too many fetches of one request")]
    TooManyFetches,
    /// More data than the command described, the queue allows, or at a wrong place.
    #[error("the data does not fit the command")]
    DataLength,
    /// A value out of its range.
    #[error("a parameter is out of range")]
    Parameter,
}

/// A refused call, with everything that had been given to it.
#[derive(Debug)]
pub struct Refused<T> {
    /// What was given.
    pub given_back: T,
    /// Why the call was refused.
    pub why: Misuse,
}

impl<T> Refused<T> {
    /// Refuses a call.
    pub fn new(given_back: T, why: Misuse) -> Self {
        Self { given_back, why }
    }
}

impl<T> fmt::Display for Refused<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.why.fmt(f)
    }
}

impl<T: fmt::Debug> StdError for Refused<T> {}
