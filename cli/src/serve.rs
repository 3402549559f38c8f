//! `nvmf serve`: what the command line and the configuration say becomes a server; signals end it.
//!
//! stdout is for programs that start it: one line `listening URI` per listener and wire, then `ready`. Everything else is on stderr.

use std::{
    os::{fd::AsFd, unix::net::UnixStream},
    path::Path,
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};

use nvmf_controller::{
    Hosts, NamespaceOptions, ServeError, ServeOptions, Server, ServerOptions, Serving, SubsystemOptions,
    backend::{Backend, BlockSize, FileBackend, FileOptions, OpenError, RamBackend},
};
use nvmf_transport::{Target, WaitPolicy, Waiter};
use serde_json::json;
use signal_hook::consts::{SIGINT, SIGTERM};

use crate::{
    args::{FileIo, PollMode, ServeArgs},
    config::{Config, ListenUri, NamespaceSection, Serial, SubsystemSection, TransportSection},
    disk::clock,
    failure::{Code, Failure},
    output::Output,
    processor, transports,
    uri::{IO_PORT, Uri},
};

/// How often the threads are looked after while no signal comes.
const LOOK: Duration = Duration::from_secs(1);
/// How long a shutdown waits for commands under way.
const DRAIN: Duration = Duration::from_secs(10);

/// `nvmf serve`
pub(crate) fn serve(args: ServeArgs, output: Output) -> Result<(), Failure> {
    let signals = Signals::catch()?;
    let config = match &args.config {
        Some(path) => Config::load(path)?,
        None => Config::default(),
    };
    let settings = settings(&args, &config);
    let cpus = if args.cpu.is_empty() { config.cpu.clone() } else { args.cpu.clone() };
    let threads = args.threads.or(config.threads.map(|threads| u16::from(threads.get())));
    let threads = threads.map_or(cpus.len().max(1), usize::from);

    let server = Server::new(ServerOptions::default());
    for section in subsystems(&args, &config)? {
        add_subsystem(&server, &section, output)?;
    }
    if server.subsystems().is_empty() {
        return Err(Failure::new(Code::Usage, "command line", "there is nothing to serve").hint(
            "nvmf serve --ram 1GiB   or: nvmf serve --file disk.img   or: nvmf serve --config nvmf.toml",
        ));
    }
    let transports = transports::for_listeners(&settings)?;
    let options = ServeOptions {
        listen: listen(&args, &config)?,
        threads,
        cpus: cpus.clone(),
        wait: wait_policy(args.poll.or(config.poll).unwrap_or_default()),
        drain_timeout: DRAIN,
        ..ServeOptions::default()
    };
    // Threads that serve go on to one of them each; what helps them may run on all.
    processor::pin_to(&cpus)?;
    let serving = server.serve(&transports, &options)?;
    announce(&serving, output)?;
    signals.wait(&serving);
    output.note("shutting down");
    serving.shutdown()?;
    Ok(())
}

/// The transports' settings: what the command line says, else the configuration.
fn settings(args: &ServeArgs, config: &Config) -> TransportSection {
    let TransportSection { mut tcp, mut rdma } = config.transport.clone();
    tcp.header_digest = args.header_digest.or(tcp.header_digest);
    tcp.data_digest = args.data_digest.or(tcp.data_digest);
    tcp.pda = args.pda.or(tcp.pda);
    tcp.in_capsule_data = args.in_capsule_data.or(tcp.in_capsule_data);
    tcp.max_h2c_data = args.max_h2c_data.or(tcp.max_h2c_data);
    rdma.in_capsule_data = args.in_capsule_data.or(rdma.in_capsule_data);
    rdma.read_depth = args.read_depth.or(rdma.read_depth);
    rdma.crc = args.mpa_crc.or(rdma.crc);
    TransportSection { tcp, rdma }
}

/// The configuration's subsystems, and the one of the command line.
fn subsystems(args: &ServeArgs, config: &Config) -> Result<Vec<SubsystemSection>, Failure> {
    let mut sections: Vec<_> = config.subsystems.iter().map(|section| section.as_ref().clone()).collect();
    if args.backings.0.is_empty() {
        return Ok(sections);
    }
    let wrong = |problem: String| Failure::new(Code::Usage, "command line", problem);
    let serial = args.serial.as_deref().map(str::parse::<Serial>).transpose();
    let section = SubsystemSection {
        nqn: args.subsystem,
        serial: serial.map_err(|problem| wrong(format!("--serial: {problem}")))?,
        allow_hosts: (!args.allow_host.is_empty()).then(|| args.allow_host.clone()),
        namespaces: args
            .backings
            .0
            .iter()
            .map(|backing| {
                let io = (args.file_io.unwrap_or_default(), args.direct);
                NamespaceSection::plain(backing, args.block_size, args.read_only, io)
            })
            .collect(),
    };
    if sections.iter().any(|other| other.nqn == section.nqn) {
        return Err(wrong(format!("subsystem {} is in the configuration already", section.nqn))
            .hint("name another one with --subsystem"));
    }
    sections.push(section);
    Ok(sections)
}

fn add_subsystem(server: &Server, section: &SubsystemSection, output: Output) -> Result<(), Failure> {
    let mut options = SubsystemOptions::new(section.nqn.0);
    options.serial = section.serial.as_ref().map(|serial| serial.0.clone());
    options.hosts = match &section.allow_hosts {
        None => Hosts::Any,
        Some(names) => names.iter().map(|name| name.warned()).collect(),
    };
    let fixed = section.namespaces.iter().filter_map(|namespace| namespace.as_ref().nsid);
    let taken: std::collections::BTreeSet<u32> = fixed.map(|nsid| nsid.0).collect();
    let count = u32::try_from(section.namespaces.len()).unwrap_or(u32::MAX);
    options.max_namespaces = options.max_namespaces.max(count).max(taken.last().copied().unwrap_or(0));
    let subsystem = server.add_subsystem(options)?;
    let mut free = (1..).filter(|nsid| !taken.contains(nsid));
    for namespace in &section.namespaces {
        let namespace = namespace.as_ref();
        let nsid = namespace.nsid.map(|nsid| nsid.0).or_else(|| free.next()).unwrap_or(u32::MAX);
        let backend = open(namespace)?;
        tracing::info!(subsystem = %section.nqn, nsid, backend = backend.describe(), "serving");
        output.note(&format!("namespace {nsid} of {}: {}", section.nqn, backend.describe()));
        let mut options = NamespaceOptions::new(backend);
        options.uuid = namespace.uuid.map(|id| id.0);
        options.nguid = namespace.uuid.map(|id| id.0.into_bytes());
        subsystem.add_namespace(nsid, options)?;
    }
    Ok(())
}

fn open(namespace: &NamespaceSection) -> Result<Arc<dyn Backend>, Failure> {
    let block_size = BlockSize::from_bytes(namespace.block_size.0).unwrap_or_default();
    let named = |what: &str, error: OpenError| {
        let failure = Failure::from(error);
        let failure = failure.note(format!("asked for {what}, blocks of {} bytes", block_size.bytes()));
        match &namespace.place {
            Some(place) => failure.note(format!("by {place}")),
            None => failure,
        }
    };
    if let Some(path) = &namespace.file {
        let mut options = FileOptions::new(path.as_path());
        options.block_size = block_size;
        options.read_only = namespace.read_only;
        options.direct = namespace.direct;
        options.io = match namespace.file_io {
            FileIo::Auto => nvmf_controller::backend::FileIo::Auto,
            FileIo::IoUring => nvmf_controller::backend::FileIo::Ring,
            FileIo::Threads => nvmf_controller::backend::FileIo::Threads,
        };
        let shown = Path::display(path).to_string();
        return match FileBackend::open(&options) {
            Ok(backend) => Ok(Arc::new(backend)),
            Err(error) => Err(named(&format!("file {shown}"), error)),
        };
    }
    let size = namespace.ram.map_or(0, |size| size.0);
    match RamBackend::new(size, block_size) {
        Ok(backend) => Ok(Arc::new(backend.read_only(namespace.read_only))),
        Err(error) => Err(named(&format!("{size} bytes of memory"), error)),
    }
}

/// Where to listen: what the command line says, else the configuration, else the default; every address of a name.
fn listen(args: &ServeArgs, config: &Config) -> Result<Vec<Target>, Failure> {
    let said = args.listen.iter().map(ToString::to_string).map(|text| text.parse::<ListenUri>());
    let said: Result<Vec<_>, _> = said.collect();
    let said =
        said.map_err(|problem| Failure::new(Code::Usage, "command line", format!("--listen: {problem}")))?;
    let mut uris: Vec<&Uri> = said.iter().map(|uri| &uri.0).collect();
    if uris.is_empty() {
        uris = config.listen.iter().map(|uri| &uri.0).collect();
    }
    let default: Uri = "nvme+tcp://127.0.0.1:4420"
        .parse()
        .map_err(|error: crate::uri::UriError| Failure::new(Code::Internal, "listen", error.to_string()))?;
    if uris.is_empty() {
        uris.push(&default);
    }
    let mut targets = Vec::new();
    for uri in uris {
        let found = uri.targets(IO_PORT).map_err(|error| {
            Failure::new(Code::Resolve, "listen", format!("{}: {error}", uri.host)).hint("give an IP address")
        })?;
        targets.extend(found);
    }
    Ok(targets)
}

/// How a thread waits.
pub(crate) fn wait_policy(mode: PollMode) -> WaitPolicy {
    match mode {
        PollMode::Adaptive => WaitPolicy::default(),
        PollMode::Spin => WaitPolicy::Spin,
        PollMode::Block => WaitPolicy::Block,
    }
}

fn announce(serving: &Serving, output: Output) -> Result<(), Failure> {
    for listener in serving.listeners() {
        let uri = Uri::of(Some(listener.wire), listener.address);
        if output.json {
            let event =
                json!({"event": "listening", "uri": uri.to_string(), "transport": listener.transport});
            output.line(&event.to_string())?;
        } else {
            output.line(&format!("listening {uri}"))?;
        }
    }
    let ready = json!({"event": "ready"}).to_string();
    output.line(if output.json { &ready } else { "ready" })
}

/// SIGTERM and SIGINT, the first as something to wait for, the second as the end.
struct Signals {
    arrived: UnixStream,
    /// Set before `arrived` is readable, and without that by a signal that comes while they are being caught.
    asked: Arc<AtomicBool>,
}

impl Signals {
    fn catch() -> Result<Self, Failure> {
        let failed = |error: std::io::Error| {
            Failure::new(Code::Setup, "setup", format!("cannot catch signals: {error}"))
        };
        let (arrived, sent) = UnixStream::pair().map_err(failed)?;
        let asked = Arc::new(AtomicBool::new(false));
        for signal in [SIGTERM, SIGINT] {
            // In this order: the flag is looked at before it is set, so that only the second signal ends the process.
            signal_hook::flag::register_conditional_shutdown(signal, 128 + signal, Arc::clone(&asked))
                .map_err(failed)?;
            signal_hook::flag::register(signal, Arc::clone(&asked)).map_err(failed)?;
            signal_hook::low_level::pipe::register(signal, sent.try_clone().map_err(failed)?)
                .map_err(failed)?;
        }
        Ok(Self { arrived, asked })
    }

    /// Returns when a signal has come, or when a thread has ended that should not have.
    fn wait(&self, serving: &Serving) {
        let mut waiter = Waiter::new(WaitPolicy::Block);
        while serving.healthy() && !self.has_come() {
            let now = clock();
            waiter.idle(now, &[self.arrived.as_fd()], now.checked_add(LOOK));
        }
    }

    fn has_come(&self) -> bool {
        use rustix::net::RecvFlags;
        let mut byte = [0u8; 1];
        self.asked.load(std::sync::atomic::Ordering::Relaxed)
            || matches!(
                rustix::net::recv(&self.arrived, &mut byte, RecvFlags::PEEK | RecvFlags::DONTWAIT),
                Ok((1.., _))
            )
    }
}

impl From<ServeError> for Failure {
    fn from(error: ServeError) -> Self {
        let shown = error.to_string();
        match error {
            ServeError::NoTransport { source, .. } => Self::from(source).note(shown),
            ServeError::Listen { target, source } => {
                let uri = Uri::of(target.wire, target.address);
                Self::from(source).note(format!("asked for {uri}"))
            }
            ServeError::Engine(source) => Self::from(source),
            ServeError::Flush { .. } => Self::new(Code::LocalIo, "shutdown", shown)
                .hint("data that hosts had not flushed may be lost; look at the disk"),
            _ => Self::new(Code::Internal, "serve", shown),
        }
    }
}
