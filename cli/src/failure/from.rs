//! The libraries' errors as failures of the command: which kind each is, and what the libraries already say about it.

use nvmf_bench::LoadError;
use nvmf_controller::backend::OpenError;
use nvmf_host::{ConnectError, ConnectErrorKind as Kind, IoError};
use nvmf_transport::{Error as TransportError, ErrorKind, NoTransport};
use nvmf_wire::Status;

use super::{Code, Failure, PeerStatus};
use crate::config::ConfigError;

impl From<ConnectError> for Failure {
    fn from(error: ConnectError) -> Self {
        let code = match error.kind() {
            Kind::InvalidOptions => Code::Usage,
            Kind::NameNotResolved => Code::Resolve,
            Kind::NoTransport | Kind::Unsupported => Code::NoTransport,
            Kind::Refused => Code::Refused,
            Kind::Unreachable | Kind::ConnectTimedOut => Code::Unreachable,
            Kind::AddressUnavailable | Kind::PermissionDenied | Kind::Resources | Kind::Os => Code::Setup,
            Kind::NotNvme | Kind::NegotiateTimedOut | Kind::NegotiateClosed => Code::NotNvme,
            Kind::Reset
            | Kind::Incompatible
            | Kind::ProtocolError
            | Kind::PeerReported
            | Kind::Digest
            | Kind::AcceleratorLost => Code::Negotiation,
            Kind::UnknownSubsystem => Code::UnknownSubsystem,
            Kind::InvalidHost => Code::HostNotAllowed,
            Kind::InvalidHostNqn
            | Kind::InvalidHostId
            | Kind::InvalidControllerId
            | Kind::InvalidParameter
            | Kind::ControllerBusy
            | Kind::RestartDiscovery
            | Kind::IncompatibleFormat
            | Kind::AuthenticationRequired
            | Kind::ConnectFailed => Code::ConnectRejected,
            Kind::CommandTimedOut => Code::TimedOut,
            Kind::ConnectionLost
            | Kind::KeepAliveTimedOut
            | Kind::AbortTimedOut
            | Kind::ControllerLost
            | Kind::Closed => Code::Lost,
            _ => Code::Controller,
        };
        let mut message = error.detail().to_owned();
        if let Some(address) = error.address()
            && !message.contains(&address.to_string())
        {
            message = format!("{address}: {message}");
        }
        let mut failure =
            Self::new(code, error.stage().to_string(), message).named(error.code()).hint(error.hint());
        if let Some(status) = error.status() {
            failure = failure.status(PeerStatus {
                status,
                fabrics: error.stage() <= nvmf_host::Stage::Enable,
                field: error.field(),
            });
        }
        failure
    }
}

impl From<IoError> for Failure {
    fn from(error: IoError) -> Self {
        let code = match error {
            IoError::Status(status) if status.is(Status::LBA_OUT_OF_RANGE) => Code::OutOfRange,
            IoError::Status(status) if status.is(Status::INVALID_NAMESPACE_OR_FORMAT) => Code::NoNamespace,
            IoError::Timeout => Code::TimedOut,
            IoError::Disconnected | IoError::FastFail | IoError::Lost | IoError::Closed => Code::Lost,
            IoError::UnknownNamespace(_) => Code::NoNamespace,
            IoError::OutOfRange | IoError::Unaligned => Code::OutOfRange,
            _ => Code::Command,
        };
        let (message, status) = match error {
            IoError::Status(status) => {
                ("the controller ended a command with an error".to_owned(), Some(status))
            }
            _ => (error.to_string(), None),
        };
        let failure = Self::new(code, "command", message).named(error.code()).hint(error.hint());
        match status {
            Some(status) => failure.status(PeerStatus { status, fabrics: false, field: None }),
            None => failure,
        }
    }
}

impl From<LoadError> for Failure {
    fn from(error: LoadError) -> Self {
        let message = error.to_string();
        match error {
            LoadError::BlockSize { block, .. } => Self::new(Code::Usage, "command line", message)
                .hint(format!("choose a multiple of {block} bytes for the size of I/Os")),
            LoadError::NoRoom => Self::new(Code::OutOfRange, "namespace", message)
                .hint("choose a smaller --block-size or a larger --span"),
            LoadError::Mismatch(_) => Self::new(Code::Verify, "verify", message),
            LoadError::Full => Self::new(Code::Internal, "command", message),
            LoadError::Floor { .. } => Self::new(Code::Setup, "floor", message)
                .hint("run it again with -v; something may have ended or stopped the process of the floor"),
            LoadError::Io(error) => error.into(),
            LoadError::Transport(error) => error.into(),
        }
    }
}

impl From<TransportError> for Failure {
    fn from(error: TransportError) -> Self {
        let (code, hint) = match error.kind() {
            ErrorKind::AddressInUse => (
                Code::AddressInUse,
                "stop what listens there, choose another port, or port 0 for any that is free",
            ),
            ErrorKind::AddressUnavailable => {
                (Code::Listen, "choose an address of this machine, or 0.0.0.0 or [::] for all of them")
            }
            ErrorKind::PermissionDenied => {
                (Code::Listen, "choose a port of 1024 or above, or run with the privilege to use lower ones")
            }
            ErrorKind::Resources => (Code::Setup, "raise the limit on memory or descriptors (`ulimit -a`)"),
            _ => (Code::Setup, "see the message of the operating system"),
        };
        let failure = Self::new(code, error.stage().to_string(), error.detail().to_owned()).hint(hint);
        match std::error::Error::source(&error).map(ToString::to_string) {
            Some(cause) if !error.detail().contains(&cause) => failure.note(cause),
            _ => failure,
        }
    }
}

impl From<NoTransport> for Failure {
    fn from(error: NoTransport) -> Self {
        Self::new(Code::NoTransport, "transport selection", error.to_string())
            .hint("run `nvmf transports` to see what each of them needs")
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Self::new(Code::Config, "configuration", error.to_string())
            .hint("see `nvmf serve --help` for an example of a configuration")
    }
}

impl From<OpenError> for Failure {
    fn from(error: OpenError) -> Self {
        let hint = match &error {
            OpenError::Empty => "make the file as large as the disk is to be: truncate -s 1G disk.img",
            OpenError::Ragged { .. } => {
                "choose another --block-size, or make the file a multiple of it with truncate"
            }
            OpenError::InUse { .. } => "stop whoever uses it, or serve it --read-only",
            OpenError::System { source, .. } if source.kind() == std::io::ErrorKind::NotFound => {
                "check the path; make a new disk with truncate -s 1G disk.img"
            }
            OpenError::System { source, .. } if source.kind() == std::io::ErrorKind::PermissionDenied => {
                "check who may open it; --read-only needs no right to write"
            }
            _ => "check the path and the size",
        };
        Self::new(Code::LocalIo, "namespace", error.to_string()).hint(hint)
    }
}

impl From<nvmf_controller::ConfigError> for Failure {
    fn from(error: nvmf_controller::ConfigError) -> Self {
        Self::new(Code::Config, "configuration", error.to_string())
    }
}
