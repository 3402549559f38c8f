//! Why an association did not come about, or ended: the stage, what was seen, a stable code and what to try.
//!
//! A wrong address, a wrong port, a server of another protocol, a wrong NQN and a refused host are five different
//! [`ConnectErrorKind`]s. How a single command ended is [`IoError`](crate::IoError).

use std::{fmt, net::SocketAddr, sync::Arc};

use nvmf_transport::{CloseReason, Error, ErrorKind, NoTransport, QueueKind};
use nvmf_wire::Status;

/// How far connecting had come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Stage {
    /// Checking the options and creating the engine; nothing was sent.
    Setup,
    /// Turning a name into addresses.
    Resolve,
    /// Asking the transports who can carry the connection.
    Select,
    /// The transport's connection (TCP handshake, RDMA address and route).
    TransportConnect,
    /// The transport's negotiation (ICReq and ICResp, or the connection manager's private data).
    Negotiate,
    /// The Connect command.
    Connect,
    /// Reading and writing the controller's properties.
    Property,
    /// Waiting for the controller to become ready.
    Enable,
    /// Identify: the controller and its namespaces.
    Identify,
    /// Set Features: queues, events.
    Features,
    /// Connected; the association was lost later.
    Ready,
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Setup => "setup",
            Self::Resolve => "resolve",
            Self::Select => "transport selection",
            Self::TransportConnect => "transport connect",
            Self::Negotiate => "negotiate",
            Self::Connect => "Connect command",
            Self::Property => "property",
            Self::Enable => "enable",
            Self::Identify => "identify",
            Self::Features => "features",
            Self::Ready => "association",
        })
    }
}

macro_rules! kinds {
    ($($(#[doc = $doc:literal])* $Kind:ident = $code:literal, $hint:literal;)*) => {
        /// What went wrong, for programs to act on.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum ConnectErrorKind { $($(#[doc = $doc])* $Kind,)* }

        impl ConnectErrorKind {
            /// Every kind.
            pub const ALL: &'static [Self] = &[$(Self::$Kind),*];

            /// The stable code, for scripts.
            pub fn code(self) -> &'static str {
                match self { $(Self::$Kind => $code,)* }
            }

            /// What to try.
            pub fn hint(self) -> &'static str {
                match self { $(Self::$Kind => $hint,)* }
            }
        }
    };
}

kinds! {
    /// A value of the options is out of range.
    InvalidOptions = "invalid-options", "correct the option named in the message";
    /// The name has no address.
    NameNotResolved = "name-not-resolved", "check the spelling of the host name, or give an IP address";
    /// No transport accepts the target.
    NoTransport = "no-transport", "run `nvmf transports` with this address to see what each transport needs";
    /// Nobody listens at that port.
    Refused = "connection-refused", "nothing listens there: check the port (4420 for subsystems, 8009 for discovery) and that the server runs";
    /// There is no way to that address.
    Unreachable = "unreachable", "check the address, the route to it and the network interface";
    /// Nobody answers at that address.
    ConnectTimedOut = "connect-timeout", "no answer at all: check the address and firewalls on the way";
    /// The connection was cut while it was set up.
    Reset = "connection-reset", "the peer or something on the way cut the connection; see the server's log";
    /// The address to connect from is not one of this machine.
    AddressUnavailable = "address-unavailable", "choose a source address of this machine";
    /// The operating system forbids it.
    PermissionDenied = "permission-denied", "the operating system forbids this connection; check privileges and local firewall rules";
    /// Memory, descriptors or queue entries ran out.
    Resources = "out-of-resources", "ask for fewer or smaller queues, or raise the limit named in the message";
    /// The peer speaks another protocol.
    NotNvme = "not-nvme", "another kind of server listens at this port; check the port";
    /// The peer took the connection and says nothing.
    NegotiateTimedOut = "negotiate-timeout", "the peer accepts connections and does not speak NVMe over Fabrics; check the port, or see whether the server hangs";
    /// The peer closed instead of negotiating.
    NegotiateClosed = "negotiate-closed", "the peer closed instead of negotiating; check the port and see the server's log";
    /// The transport's parameters do not meet.
    Incompatible = "incompatible-parameters", "change the transport parameter named in the message (digests, alignment, sizes)";
    /// The peer broke the transport's protocol.
    ProtocolError = "protocol-error", "the peer violates the transport's protocol; report it with a packet capture";
    /// The peer says that we broke the transport's protocol.
    PeerReported = "peer-reported-error", "the peer objects to what it received; report it with a packet capture";
    /// A digest did not match.
    Digest = "digest-error", "data is corrupted on the way; check network adapters and their offloads";
    /// This machine or build cannot.
    Unsupported = "unsupported", "choose another transport, or a machine that has what the message names";
    /// An accelerator lost the connection.
    AcceleratorLost = "accelerator-lost", "try `--transport tcp` to leave the accelerator out";
    /// Anything else from the operating system.
    Os = "os-error", "see the operating system's message";

    /// Connect Invalid Parameters, the subsystem's name.
    UnknownSubsystem = "unknown-subsystem", "run `nvmf discover` against this address to list the subsystems it offers";
    /// Connect Invalid Host.
    InvalidHost = "connect-invalid-host", "the subsystem does not allow this host: add our host NQN to its list, or use --hostnqn with one that is allowed";
    /// Connect Invalid Parameters, HOSTNQN.
    InvalidHostNqn = "invalid-hostnqn", "the controller does not accept the host NQN; check --hostnqn";
    /// Connect Invalid Parameters, HOSTID.
    InvalidHostId = "invalid-hostid", "the controller does not accept the host identifier; check --hostid, and that no other host uses it";
    /// Connect Invalid Parameters, CNTLID.
    InvalidControllerId = "invalid-controller-id", "there is no such controller; connect with a dynamic controller id";
    /// Connect Invalid Parameters, any other field.
    InvalidParameter = "connect-invalid-parameters", "change the option that belongs to the field named in the message";
    /// Connect Controller Busy.
    ControllerBusy = "controller-busy", "the controller serves another host or starts up; try again in a moment";
    /// Connect Restart Discovery.
    RestartDiscovery = "restart-discovery", "the subsystem has moved; run `nvmf discover` again";
    /// Connect Incompatible Format.
    IncompatibleFormat = "connect-incompatible-format", "the controller is of another NVMe-oF revision";
    /// Authentication is asked for.
    AuthenticationRequired = "authentication-required", "the controller asks for in-band authentication, which this host cannot do yet";
    /// The Connect command ended with any other status.
    ConnectFailed = "connect-failed", "see the status in the message and the controller's log";

    /// Reading or writing a property failed.
    PropertyFailed = "property-failed", "see the status in the message and the controller's log";
    /// The controller's capabilities make no sense or lack what is needed.
    BadCapabilities = "bad-capabilities", "the controller reports capabilities this host cannot work with";
    /// CSTS.RDY stayed clear longer than CAP.TO.
    NeverReady = "never-ready", "the controller did not become ready in the time it promised; see its log";
    /// CSTS.CFS is set.
    ControllerFatal = "controller-fatal", "the controller reports a fatal error; reset or restart it";
    /// Identify failed.
    IdentifyFailed = "identify-failed", "see the status in the message and the controller's log";
    /// What Identify returned makes no sense.
    BadIdentify = "bad-identify", "the controller reports values that violate the specification; report it to its maker";
    /// Set Features failed.
    FeaturesFailed = "features-failed", "see the status in the message; fewer queues may help";
    /// A command of the connect sequence was not answered.
    CommandTimedOut = "command-timeout", "the controller stopped answering; see its log";
    /// The connection was lost in the middle of the connect sequence.
    ConnectionLost = "connection-lost", "the controller closed the connection; see its log";

    /// Nothing was heard for the keep-alive timeout.
    KeepAliveTimedOut = "keep-alive-timeout", "nothing was heard for the keep-alive timeout: check the network and the controller";
    /// A command and then its Abort were not answered.
    AbortTimedOut = "abort-timeout", "the controller answers neither a command nor its abort; see its log";
    /// The association was given up after the controller loss timeout.
    ControllerLost = "controller-lost", "the controller did not come back within the controller loss timeout";
    /// The association was closed by this side.
    Closed = "closed", "connect again";
}

/// Why an association did not come about, or ended. Cheap to clone.
#[derive(Clone, Debug)]
pub struct ConnectError(Arc<Inner>);

#[derive(Clone, Debug)]
struct Inner {
    stage: Stage,
    kind: ConnectErrorKind,
    detail: String,
    address: Option<SocketAddr>,
    queue: Option<QueueKind>,
    status: Option<Status>,
    field: Option<&'static str>,
    source: Option<Arc<dyn std::error::Error + Send + Sync>>,
}

impl ConnectError {
    /// What went wrong, how far things had come, and in words what was seen.
    pub fn new(stage: Stage, kind: ConnectErrorKind, detail: impl Into<String>) -> Self {
        Self(Arc::new(Inner {
            stage,
            kind,
            detail: detail.into(),
            address: None,
            queue: None,
            status: None,
            field: None,
            source: None,
        }))
    }

    fn with(self, change: impl FnOnce(&mut Inner)) -> Self {
        let mut inner = Arc::unwrap_or_clone(self.0);
        change(&mut inner);
        Self(Arc::new(inner))
    }

    /// Adds the peer's address.
    #[must_use]
    pub fn at(self, address: SocketAddr) -> Self {
        self.with(|inner| inner.address = Some(address))
    }

    /// Adds the queue.
    #[must_use]
    pub fn on(self, queue: QueueKind) -> Self {
        self.with(|inner| inner.queue = Some(queue))
    }

    /// Adds the controller's status, and the field it blames.
    #[must_use]
    pub fn because(self, status: Status, field: Option<&'static str>) -> Self {
        self.with(|inner| (inner.status, inner.field) = (Some(status), field))
    }

    /// Adds the cause, which `Display` does not repeat.
    #[must_use]
    pub fn from_source(self, source: impl std::error::Error + Send + Sync + 'static) -> Self {
        self.with(|inner| inner.source = Some(Arc::new(source)))
    }

    /// How far connecting had come.
    pub fn stage(&self) -> Stage {
        self.0.stage
    }

    /// What went wrong.
    pub fn kind(&self) -> ConnectErrorKind {
        self.0.kind
    }

    /// The stable code, for scripts.
    pub fn code(&self) -> &'static str {
        self.0.kind.code()
    }

    /// What to try.
    pub fn hint(&self) -> &'static str {
        self.0.kind.hint()
    }

    /// What was seen, in words.
    pub fn detail(&self) -> &str {
        &self.0.detail
    }

    /// The peer's address, once there is one.
    pub fn address(&self) -> Option<SocketAddr> {
        self.0.address
    }

    /// The queue that failed, if it was one.
    pub fn queue(&self) -> Option<QueueKind> {
        self.0.queue
    }

    /// The controller's status, if it answered.
    pub fn status(&self) -> Option<Status> {
        self.0.status
    }

    /// The field of the command or its data that the controller blames, by the specification's name.
    pub fn field(&self) -> Option<&'static str> {
        self.0.field
    }

    /// Whether another address or transport might do better: the failure came before any NVMe command was answered.
    pub fn is_transport(&self) -> bool {
        matches!(self.0.stage, Stage::Setup | Stage::TransportConnect | Stage::Negotiate)
    }

    /// Whether another attempt at the same controller is worth making.
    pub fn is_final(&self) -> bool {
        self.0.status.is_some_and(Status::dnr)
            || matches!(
                self.0.kind,
                ConnectErrorKind::InvalidOptions | ConnectErrorKind::AuthenticationRequired
            )
    }

    /// A queue that ended while the attempt had come to `stage`.
    pub(crate) fn from_close(stage: Stage, reason: CloseReason) -> Self {
        match reason {
            CloseReason::Failed(error) => Self::from_transport(stage, error),
            CloseReason::PeerClosed if stage == Stage::Negotiate || stage == Stage::TransportConnect => {
                Self::new(
                    Stage::Negotiate,
                    ConnectErrorKind::NegotiateClosed,
                    "the peer closed the connection instead of negotiating",
                )
            }
            CloseReason::PeerClosed => {
                Self::new(stage, ConnectErrorKind::ConnectionLost, "the controller closed the connection")
            }
            other => Self::new(stage, ConnectErrorKind::Closed, other.to_string()),
        }
    }

    /// A failure of the transport while the attempt had come to `stage`.
    pub(crate) fn from_transport(stage: Stage, error: Error) -> Self {
        use nvmf_transport::Stage as At;
        let stage = match error.stage() {
            At::Connect => Stage::TransportConnect,
            At::Negotiate => Stage::Negotiate,
            At::Setup | At::Memory | At::Listen => Stage::Setup,
            _ => stage,
        };
        let negotiating = stage == Stage::Negotiate;
        let early = matches!(stage, Stage::TransportConnect | Stage::Negotiate);
        let kind = match error.kind() {
            ErrorKind::Refused => ConnectErrorKind::Refused,
            ErrorKind::Unreachable => ConnectErrorKind::Unreachable,
            ErrorKind::TimedOut if negotiating => ConnectErrorKind::NegotiateTimedOut,
            ErrorKind::TimedOut if early => ConnectErrorKind::ConnectTimedOut,
            ErrorKind::Reset | ErrorKind::PeerClosed if negotiating => ConnectErrorKind::NegotiateClosed,
            ErrorKind::Reset if early => ConnectErrorKind::Reset,
            ErrorKind::TimedOut | ErrorKind::Reset | ErrorKind::PeerClosed => {
                ConnectErrorKind::ConnectionLost
            }
            ErrorKind::NotNvme => ConnectErrorKind::NotNvme,
            ErrorKind::Protocol => ConnectErrorKind::ProtocolError,
            ErrorKind::PeerReported => ConnectErrorKind::PeerReported,
            ErrorKind::Incompatible => ConnectErrorKind::Incompatible,
            ErrorKind::Digest => ConnectErrorKind::Digest,
            ErrorKind::AddressInUse | ErrorKind::AddressUnavailable => ConnectErrorKind::AddressUnavailable,
            ErrorKind::PermissionDenied => ConnectErrorKind::PermissionDenied,
            ErrorKind::Resources => ConnectErrorKind::Resources,
            ErrorKind::Unsupported => ConnectErrorKind::Unsupported,
            ErrorKind::AcceleratorLost => ConnectErrorKind::AcceleratorLost,
            _ => ConnectErrorKind::Os,
        };
        Self::new(stage, kind, error.detail().to_owned()).from_source(error)
    }
}

impl From<NoTransport> for ConnectError {
    fn from(error: NoTransport) -> Self {
        Self::new(Stage::Select, ConnectErrorKind::NoTransport, error.to_string()).from_source(error)
    }
}

impl From<crate::OptionsError> for ConnectError {
    fn from(error: crate::OptionsError) -> Self {
        Self::new(Stage::Setup, ConnectErrorKind::InvalidOptions, error.to_string()).from_source(error)
    }
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let inner = &*self.0;
        write!(f, "{}", inner.stage)?;
        match inner.queue {
            Some(QueueKind::Io(qid)) => write!(f, " (I/O queue {qid})")?,
            Some(QueueKind::Admin) | None => {}
        }
        if let Some(address) = inner.address {
            write!(f, ", {address}")?;
        }
        write!(f, ": {}", inner.detail)
    }
}

impl std::error::Error for ConnectError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source.as_deref().map(|source| source as _)
    }
}
