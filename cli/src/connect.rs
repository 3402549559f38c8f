//! From a URI and options to an association that is up, or to a failure that says what to try with the very names given.

use std::time::Duration;

use nvmf_host::{Client, ConnectError, ConnectErrorKind, Connection, Endpoint, HostIdentity, Options};
use nvmf_transport::{Target, WaitPolicy};
use nvmf_wire::Nqn;
use uuid::Uuid;

use crate::{
    args::{ConnectArgs, PeerNqn},
    discover,
    failure::{Code, Failure},
    output::Output,
    transports,
    uri::{DISCOVERY_PORT, IO_PORT, Uri},
};

/// Entries of an I/O queue unless asked otherwise.
const DEPTH: u16 = 128;

/// The addresses of a URI.
pub(crate) fn resolve(uri: &Uri) -> Result<Vec<Target>, Failure> {
    resolve_with(uri, IO_PORT)
}

fn resolve_with(uri: &Uri, port: u16) -> Result<Vec<Target>, Failure> {
    let unknown = |why: String| {
        Failure::new(Code::Resolve, "resolve", format!("{}: {why}", uri.host))
            .hint("check the spelling of the host's name, or give its IP address")
    };
    match uri.targets(port) {
        Ok(targets) if targets.is_empty() => Err(unknown("the name has no address".into())),
        Ok(targets) => Ok(targets),
        Err(error) => Err(unknown(error.to_string())),
    }
}

/// Who this host says it is: as told, else as this machine is known, else somebody new.
fn identity(args: &ConnectArgs) -> Result<HostIdentity, Failure> {
    let hostnqn = args.hostnqn.map(PeerNqn::warned);
    let mut identity = match (&hostnqn, args.hostid) {
        (Some(_), Some(_)) => HostIdentity::generate(),
        // A controller may hold it against us if a known identifier comes with another name.
        (Some(nqn), None) => uuid_of(nqn).map_or_else(HostIdentity::generate, HostIdentity::from_uuid),
        _ => HostIdentity::of_this_machine().map_err(|error| {
            let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}"));
            Failure::new(Code::LocalIo, "setup", format!("{error}{}", cause.unwrap_or_default()))
                .hint("correct the file, or say --hostnqn and --hostid")
        })?,
    };
    if let Some(nqn) = hostnqn {
        identity.nqn = nqn;
    }
    if let Some(id) = args.hostid {
        identity.id = id.into_bytes();
    }
    Ok(identity)
}

/// The UUID of a name in UUID form (NVMe Base 2.0 §4.5).
fn uuid_of(nqn: &Nqn) -> Option<Uuid> {
    Uuid::parse_str(nqn.as_str().strip_prefix("nqn.2014-08.org.nvmexpress:uuid:")?).ok()
}

/// The host's options for I/O with a subsystem.
fn options(args: &ConnectArgs, subsystem: Nqn) -> Result<Options, Failure> {
    let mut options = Options::new(subsystem);
    common(args, &mut options)?;
    options.queues = args.queues;
    options.queue_depth = args.queue_depth.map_or(DEPTH, |commands| commands.saturating_add(1));
    options.kato = Some(args.kato).filter(|kato| !kato.is_zero());
    options.reconnect_delay = args.reconnect_delay;
    options.controller_loss_timeout = Some(args.ctrl_loss_timeout);
    options.fast_io_fail_timeout = args.fast_io_fail_timeout;
    Ok(options)
}

fn common(args: &ConnectArgs, options: &mut Options) -> Result<(), Failure> {
    options.host = identity(args)?;
    options.sq_flow_control = args.sq_flow_control;
    options.connect_timeout = args.connect_timeout;
    options.command_timeout = args.command_timeout;
    options.admin_timeout = options.admin_timeout.min(args.command_timeout.max(Duration::from_secs(1)));
    options.source = args.source;
    Ok(())
}

/// Connects to the subsystem of a URI; without one, to the only one there is. For admin commands alone if `admin_only`.
pub(crate) fn connect(
    uri: &Uri,
    args: &ConnectArgs,
    wait: WaitPolicy,
    admin_only: bool,
    output: Output,
) -> Result<Connection, Failure> {
    let targets = resolve(uri)?;
    let subsystem = match uri.nqn {
        Some(nqn) => PeerNqn::from(nqn).warned(),
        None => only_subsystem(uri, args, output)?,
    };
    let mut options = options(args, subsystem)?;
    if admin_only {
        options.queues = 0;
    }
    nvmf_host::connect(&transports::for_hosts(args)?, &endpoint(uri, &targets, args), &options, wait)
        .map_err(|error| explain(error, uri, &options))
}

/// Connects to the discovery controller of a URI.
pub(crate) fn discovery(uri: &Uri, args: &ConnectArgs, port: u16) -> Result<Client, Failure> {
    let targets = resolve_with(uri, port)?;
    let mut options = Options::discovery();
    if let Some(nqn) = uri.nqn.filter(Nqn::is_discovery) {
        options.subnqn = nqn;
    }
    common(args, &mut options)?;
    let endpoint = endpoint(uri, &targets, args);
    Client::connect(&transports::for_hosts(args)?, &endpoint, &options)
        .map_err(|error| explain(error, uri, &options))
}

fn only_subsystem(uri: &Uri, args: &ConnectArgs, output: Output) -> Result<Nqn, Failure> {
    let log = discover::ask(uri, args, IO_PORT)?;
    let mut names = log.subsystems();
    match (names.pop(), names.is_empty()) {
        (Some(only), true) => {
            output.note(&format!("using subsystem {only}"));
            Ok(only)
        }
        (None, _) => Err(Failure::new(
            Code::UnknownSubsystem,
            "discovery",
            format!("{uri} offers no subsystem to host {}", identity(args)?.nqn),
        )
        .hint("let the host in with --allow-host at the controller, or say --hostnqn with a name that is allowed")),
        (Some(last), false) => {
            names.push(last);
            let failure = Failure::new(
                Code::UnknownSubsystem,
                "discovery",
                format!("{uri} offers {} subsystems; say which", names.len()),
            )
            .hint(format!("append one of them, as in {}", Uri { nqn: Some(last), ..uri.clone() }));
            Err(names.iter().fold(failure, |failure, name| failure.note(name.to_string())))
        }
    }
}

fn endpoint(uri: &Uri, targets: &[Target], args: &ConnectArgs) -> Endpoint {
    Endpoint {
        wire: uri.wire,
        addresses: targets.iter().map(|target| target.address).collect(),
        policy: transports::policy(args),
    }
}

/// Says what to try with the names that were given, where the library can only speak in general.
fn explain(error: ConnectError, uri: &Uri, options: &Options) -> Failure {
    let kind = error.kind();
    let there = error.address().map_or_else(|| uri.to_string(), |at| Uri::of(uri.wire, at).to_string());
    let failure = Failure::from(error);
    match kind {
        ConnectErrorKind::UnknownSubsystem => failure
            .message(format!("{there} has no subsystem {}", options.subnqn))
            .hint(format!("nvmf discover {there}   lists its subsystems")),
        ConnectErrorKind::InvalidHost => failure
            .message(format!("{there} does not let host {} use subsystem {}", options.host.nqn, options.subnqn))
            .hint(format!(
                "let it in at the controller (nvmf serve --allow-host {}), or say --hostnqn with a name that is allowed",
                options.host.nqn
            )),
        ConnectErrorKind::Refused => failure.hint(format!(
            "nothing listens at {there}: check that the controller runs, and the port ({IO_PORT} for subsystems, \
             {DISCOVERY_PORT} for discovery)"
        )),
        ConnectErrorKind::PeerReported => failure.hint(
            "the controller does not take our parameters; it may insist on digests: try --header-digest and --data-digest, \
             and without --pda",
        ),
        ConnectErrorKind::InvalidOptions => failure.hint("correct the option of that name; see --help"),
        _ => failure,
    }
}
