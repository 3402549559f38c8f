//! The bed of a measurement: which processes there are, on which processors, and whose turn it is.
//!
//! The host is this process; the target and the floor's peer are processes of their own, so that neither shares a memory
//! allocator, a scheduler's quantum or a clock with the host. While the floor is measured the target is stopped, for it may spin
//! on the processor that the floor's peer needs; the peer blocks between its turns.

use std::{
    env,
    net::SocketAddr,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use nvmf_bench::{
    Found, Meter, Shape,
    child::Companion,
    floor::{self, Exchange},
    load,
    noise::Machine,
    report::{Report, Rounds, Subject},
};
use nvmf_transport::{DigestBy, WaitPolicy};
use rustix::process::{Pid, Signal, kill_process};

use super::listening;
use crate::{
    args::{BenchArgs, ConnectArgs},
    disk::Disk,
    failure::{Code, Failure},
    output::Output,
    processor,
    uri::Uri,
};

/// The subsystem of the target that a bed starts.
const SUBSYSTEM: &str = "nqn.2014-08.org.example:nvmf:bench";
/// Commands outstanding while a namespace is filled.
const FILL_DEPTH: u16 = 8;

/// Whose processor time is the target's, and who is stopped when it is not its turn.
enum Target {
    /// Started for the purpose.
    Own(Companion),
    /// Somebody's process of this machine.
    Process(u32),
    /// Wherever it is.
    Unknown,
}

pub(super) struct Bed {
    uri: Uri,
    target: Target,
    floor: Option<(Companion, SocketAddr)>,
    host_cpu: Option<usize>,
    target_cpu: Option<usize>,
    wait: WaitPolicy,
    wait_name: &'static str,
    repeats: u16,
    /// Bytes that host, target and floor all have.
    ram: u64,
    filled: bool,
    /// As it was before this process was pinned.
    machine: Machine,
    output: Output,
    /// Set by SIGINT and SIGTERM: a target that is stopped must not stay so.
    interrupted: Arc<AtomicBool>,
}

/// What came of all the turns of one shape.
pub(super) struct Measured {
    pub(super) report: Report,
    pub(super) last_error: Option<Failure>,
}

/// What a turn of the transport says about itself.
struct Carried {
    transport: String,
    exchange: Exchange,
    shape: Shape,
}

impl Bed {
    /// Chooses processors and starts the processes that the arguments ask for.
    pub(super) fn make(args: &BenchArgs, output: Output) -> Result<Self, Failure> {
        let machine = Machine::this();
        let allowed = &machine.allowed;
        for (name, cpu) in [("--cpu", args.cpu), ("--target-cpu", args.target_cpu)] {
            if let Some(cpu) = cpu.filter(|cpu| !allowed.contains(cpu)) {
                return Err(not_allowed(name, cpu, allowed));
            }
        }
        let starts = args.uri.is_none() || args.floor;
        let (mut host_cpu, mut target_cpu) = (args.cpu, args.target_cpu);
        if starts {
            // The target first: others of a machine tend to live on its first processor, and the host is what is watched.
            let other = |than: Option<usize>| allowed.iter().copied().find(|&cpu| Some(cpu) != than);
            target_cpu = target_cpu.or_else(|| other(host_cpu)).or(allowed.first().copied());
            host_cpu = host_cpu.or_else(|| other(target_cpu)).or(allowed.first().copied());
            if host_cpu.is_some() && host_cpu == target_cpu {
                output.note(&format!(
                    "host and target share processor {}: figures are those of both together; with --poll spin they wait for \
                     each other's time slices",
                    host_cpu.unwrap_or_default()
                ));
            }
        }
        let wait_name = match args.wait() {
            crate::args::PollMode::Adaptive => "adaptive",
            crate::args::PollMode::Spin => "spin",
            crate::args::PollMode::Block => "block",
        };
        let (uri, target) = match (&args.uri, args.target_pid) {
            (None, _) => own_target(args, target_cpu, wait_name)?,
            (Some(uri), Some(pid)) => (uri.clone(), Target::Process(pid)),
            (Some(uri), None) => (uri.clone(), Target::Unknown),
        };
        if matches!(target, Target::Own(_)) {
            output.note("no URI: measuring against `nvmf serve --ram`, started for the purpose");
        } else if args.floor && matches!(target, Target::Unknown) {
            output.note(
                "the floor is measured on this machine alone, and nobody stops the target meanwhile: --target-pid does, \
                 and counts its processor time",
            );
        }
        let floor = match args.floor {
            true => Some(floor_peer(args, target_cpu, wait_name)?),
            false => None,
        };
        let interrupted = Arc::new(AtomicBool::new(false));
        processor::pin_to(host_cpu.as_slice())?;
        let bed = Self {
            uri,
            target,
            floor,
            host_cpu,
            target_cpu,
            wait: args.policy(),
            wait_name,
            repeats: args.repeats(),
            ram: args.ram,
            filled: false,
            machine,
            output,
            interrupted,
        };
        if args.floor && matches!(bed.target, Target::Process(_)) {
            bed.catch_signals()?;
        }
        Ok(bed)
    }

    /// The machine.
    pub(super) fn machine(&self) -> &Machine {
        &self.machine
    }

    /// Takes all turns of one shape; `says` hears about each.
    pub(super) fn measure(
        &mut self,
        shape: &Shape,
        connect: &ConnectArgs,
        says: &mut dyn FnMut(&str),
    ) -> Result<Measured, Failure> {
        let mut rounds = Rounds::default();
        let mut last_error = None;
        let mut carried = None;
        for round in 1..=self.repeats {
            let (mut found, how) = self.transport_turn(shape, connect, carried.is_none())?;
            if let Some(error) = found.last_error.take() {
                last_error = Some(error.into());
            }
            let mut line = format!("round {round} of {}: {}", self.repeats, rate(&found));
            rounds.turns.push(found);
            if self.floor.is_some() {
                let found = self.floor_turn(&how)?;
                line.push_str(&format!(", floor {}", rate(&found)));
                rounds.floor.push(found);
            }
            says(&line);
            carried = Some(how);
        }
        let Some(Carried { transport, exchange, shape }) = carried else {
            return Err(Failure::new(Code::Internal, "bench", "no round was measured"));
        };
        let subject = Subject {
            target: self.uri.to_string(),
            transport,
            own_controller: matches!(self.target, Target::Own(_)),
            wait: self.wait_name.to_owned(),
            host_cpu: self.host_cpu,
            target_cpu: self.target_cpu,
            header_digest: exchange.header_digest,
            data_digest: exchange.data_digest,
        };
        let processors = match self.processors().len() {
            0 => self.machine.processors,
            some => some,
        };
        Ok(Measured { report: rounds.report(subject, &shape, exchange, processors), last_error })
    }

    /// Puts the end off to the end of the turn, so that no process of somebody else's stays stopped.
    fn catch_signals(&self) -> Result<(), Failure> {
        use signal_hook::consts::{SIGINT, SIGTERM};
        for signal in [SIGINT, SIGTERM] {
            signal_hook::flag::register(signal, Arc::clone(&self.interrupted))
                .map_err(|error| Failure::local("signals", &error))?;
        }
        Ok(())
    }

    fn processors(&self) -> Vec<usize> {
        let mut all: Vec<_> = self.host_cpu.into_iter().chain(self.target_cpu).collect();
        all.dedup();
        all
    }

    fn transport_turn(
        &mut self,
        shape: &Shape,
        connect: &ConnectArgs,
        first: bool,
    ) -> Result<(Found, Carried), Failure> {
        self.let_target(Signal::CONT)?;
        let connect = ConnectArgs { queue_depth: Some(shape.depth), queues: shape.queues, ..connect.clone() };
        let mut disk = Disk::open(&self.uri, &connect, self.wait, self.output)?;
        let asked = *shape;
        let shape = Shape {
            queues: disk.queues().min(asked.queues),
            depth: asked.depth.min(disk.depth()),
            span: asked.span.min(disk.bytes()),
            ..asked
        };
        if first && (shape.queues < asked.queues || shape.depth < asked.depth) {
            self.output.note(&format!(
                "the controller grants {} queues of {} commands, not {} of {}",
                shape.queues, shape.depth, asked.queues, asked.depth
            ));
        }
        if matches!(self.target, Target::Own(_)) && !self.filled {
            let depth = FILL_DEPTH.min(disk.depth());
            let filled = load::fill(disk.namespace(), depth, shape.span, shape.seed);
            filled.map_err(|error| disk.load_failure(error))?;
            self.filled = true;
        }
        let pid = match &self.target {
            Target::Own(companion) => Some(companion.id()),
            Target::Process(pid) => Some(*pid),
            Target::Unknown => None,
        };
        let meter = Meter { target: pid, processors: self.processors() };
        let found = load::run(disk.namespace(), &shape, &meter).map_err(|error| disk.load_failure(error))?;
        let carried =
            Carried { transport: disk.info().transport.to_owned(), exchange: exchange(&disk, &shape), shape };
        disk.close();
        Ok((found, carried))
    }

    fn floor_turn(&self, how: &Carried) -> Result<Found, Failure> {
        let Some((companion, address)) = &self.floor else {
            return Err(Failure::new(Code::Internal, "floor", "it was not asked for"));
        };
        self.let_target(Signal::STOP)?;
        let shape = Shape { span: how.shape.span.min(self.ram), verify: false, ..how.shape };
        let meter = Meter { target: Some(companion.id()), processors: self.processors() };
        let found = floor::host::run(*address, &shape, &how.exchange, self.wait, &meter);
        self.let_target(Signal::CONT)?;
        Ok(found?.found)
    }

    /// Stops the target or lets it go on, if there is a floor to take turns with.
    fn let_target(&self, signal: Signal) -> Result<(), Failure> {
        if self.interrupted.swap(false, Ordering::Relaxed) {
            self.let_target(Signal::CONT)?;
            std::process::exit(128 + signal_hook::consts::SIGINT);
        }
        let pid = match &self.target {
            _ if self.floor.is_none() => None,
            Target::Own(companion) => Some(companion.id()),
            Target::Process(pid) => Some(*pid),
            Target::Unknown => None,
        };
        let Some(pid) = pid.and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?)) else { return Ok(()) };
        kill_process(pid, signal).map_err(|error| {
            Failure::new(
                Code::Setup,
                "bench",
                format!("cannot stop and continue process {}: {error}", pid.as_raw_nonzero()),
            )
            .hint("check --target-pid, and that the process is yours")
        })
    }
}

impl Drop for Bed {
    fn drop(&mut self) {
        // A process that is not ours must not stay stopped, whatever went wrong.
        if let Target::Process(_) = self.target {
            self.interrupted.store(false, Ordering::Relaxed);
            let _ = self.let_target(Signal::CONT);
        }
    }
}

fn not_allowed(name: &str, cpu: usize, allowed: &[usize]) -> Failure {
    let list: Vec<_> = allowed.iter().map(ToString::to_string).collect();
    let message = match allowed.len() {
        0 => format!("{name} {cpu}: not available on this system"),
        _ => format!("{name} {cpu}: this process may run on processors {}", list.join(", ")),
    };
    Failure::new(Code::Usage, "command line", message)
        .hint("choose one of them, or leave the option out; `taskset -pc $$` shows what a shell hands on")
}

/// This program once more.
fn this_program() -> Result<Command, Failure> {
    env::current_exe().map(Command::new).map_err(|error| {
        Failure::new(Code::Setup, "setup", format!("cannot find this program to start it once more: {error}"))
    })
}

fn start(mut command: Command, what: &str, cpu: Option<(&str, usize)>) -> Result<Companion, Failure> {
    if let Some((option, cpu)) = cpu {
        command.args([option, &cpu.to_string()]);
    }
    Companion::start(command).map_err(|error| {
        Failure::new(Code::Setup, "setup", format!("cannot start {what}: {error}"))
            .hint("what it said itself is above; a smaller --ram may help")
    })
}

fn own_target(args: &BenchArgs, cpu: Option<usize>, wait: &str) -> Result<(Uri, Target), Failure> {
    let mut command = this_program()?;
    command.args(["serve", "--listen", "nvme+tcp://127.0.0.1:0", "--subsystem", SUBSYSTEM]);
    command.args(["--ram", &args.ram.to_string(), "--poll", wait]).args(&args.target_arg);
    let companion = start(command, "`nvmf serve`", cpu.map(|cpu| ("--cpu", cpu)))?;
    let listening = listening(companion.lines()).zip(nvmf_wire::Nqn::parse(SUBSYSTEM).ok());
    let Some((uri, nqn)) = listening else {
        return Err(Failure::new(Code::Internal, "setup", "`nvmf serve` does not say where it listens")
            .hint("leave --json and the like out of --target-arg"));
    };
    Ok((Uri { nqn: Some(nqn), nsid: Some(1), ..uri }, Target::Own(companion)))
}

fn floor_peer(args: &BenchArgs, cpu: Option<usize>, wait: &str) -> Result<(Companion, SocketAddr), Failure> {
    let mut command = this_program()?;
    command.args(["bench", "--floor-peer", "127.0.0.1:0", "--ram", &args.ram.to_string(), "--poll", wait]);
    let companion = start(command, "the floor's peer", cpu.map(|cpu| ("--target-cpu", cpu)))?;
    let line = companion.lines().iter().find_map(|line| line.strip_prefix("listening "));
    match line.and_then(|address| address.parse().ok()) {
        Some(address) => Ok((companion, address)),
        None => Err(Failure::new(Code::Internal, "floor", "its peer does not say where it listens")),
    }
}

/// The exchange that the connection of a disk makes of a shape.
fn exchange(disk: &Disk, shape: &Shape) -> Exchange {
    let queue = disk.info().queues.last();
    let on = |by: Option<DigestBy>| by.is_some_and(|by| by != DigestBy::None);
    let limits = queue.map(|queue| &queue.info.limits);
    // As the host does it: nothing in the capsule if data would not directly follow the command.
    let identify = &disk.info().identify;
    let in_capsule = identify.in_capsule_data().filter(|_| identify.icdoff.get() == 0).unwrap_or(0);
    Exchange {
        header_digest: on(limits.map(|limits| limits.header_digest)),
        data_digest: on(limits.map(|limits| limits.data_digest)),
        responses: queue.is_some_and(|queue| queue.sq_flow_control),
        ..Exchange::of(shape, u32::try_from(in_capsule).unwrap_or(u32::MAX))
    }
}

fn rate(found: &Found) -> String {
    format!("{:.0} IOPS", found.ios() as f64 / found.took.as_secs_f64().max(1e-9))
}
