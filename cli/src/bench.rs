//! `nvmf bench`: how fast a namespace is, what it costs this machine, and how near that is to what sockets allow.
//!
//! The measuring itself is the crate `nvmf-bench`. Here is what the command line has to do with it: `bed` starts the processes
//! and takes turns, `sweep` goes through a grid, `text` shows results.

mod bed;
mod sweep;
mod text;

use std::{fs, path::Path, time::Duration};

use nvmf_bench::{Shape, floor::peer::Peer, noise::Machine, page, report::Report, sweep::Results};
use nvmf_transport::WaitPolicy;

use crate::{
    args::{BenchArgs, PollMode},
    failure::{Code, Failure},
    output::{Output, Style},
    processor,
    serve::wait_policy,
    uri::Uri,
};

use bed::Bed;
pub(crate) use text::latency_line;

/// Commands outstanding on every queue unless asked otherwise.
const DEPTH: u16 = 32;

/// `nvmf bench`
pub(crate) fn bench(args: BenchArgs, output: Output) -> Result<(), Failure> {
    if let Some(address) = args.floor_peer {
        return serve_floor(&args, address, output);
    }
    if args.sweep {
        return sweep::sweep(&args, output);
    }
    let shape = shape(&args, Duration::from_secs(if args.floor { 1 } else { 5 }));
    let mut bed = Bed::make(&args, output)?;
    let measured = bed.measure(&shape, &args.connect, &mut |turn| {
        if args.repeats() > 1 {
            output.note(turn);
        }
    })?;
    let mut report = measured.report;
    report.machine = Some(bed.machine().clone());
    output.result(&report, || text::report(&report, Style::of_stdout()))?;
    if let Some(path) = &args.html {
        write_page(path, &results(bed.machine(), vec![report.clone()]))?;
    }
    match measured.last_error {
        Some(error) => {
            Err(error.note(format!("the last of {} errors, which no number includes", report.errors)))
        }
        None => Ok(()),
    }
}

impl BenchArgs {
    fn wait(&self) -> PollMode {
        if self.spin { PollMode::Spin } else { self.poll }
    }

    fn policy(&self) -> WaitPolicy {
        wait_policy(self.wait())
    }

    fn repeats(&self) -> u16 {
        self.repeats.unwrap_or(if self.floor || self.sweep { 5 } else { 1 })
    }
}

/// The load that the arguments say. Queues and depth are what is asked for; a controller may grant less.
fn shape(args: &BenchArgs, seconds: Duration) -> Shape {
    let warm_up = if args.floor || args.sweep { 100 } else { 500 };
    Shape {
        pattern: args.pattern,
        block_size: args.block_size,
        queues: args.connect.queues,
        depth: args.connect.queue_depth.unwrap_or(DEPTH),
        span: args.span.unwrap_or(u64::MAX),
        verify: args.verify,
        seed: args.seed,
        warm_up: args.warm_up.unwrap_or(Duration::from_millis(warm_up)),
        seconds: args.seconds.unwrap_or(seconds),
    }
}

/// The process that a floor is measured against.
fn serve_floor(args: &BenchArgs, address: std::net::SocketAddr, output: Output) -> Result<(), Failure> {
    processor::pin_to(args.target_cpu.as_slice())?;
    let bytes = usize::try_from(args.ram).map_err(|_| too_large(args.ram))?;
    let mut peer = Peer::bind(address, bytes, args.seed, args.policy())?;
    let address = peer.address().map_err(|error| Failure::new(Code::Setup, "floor", error.to_string()))?;
    output.line(&format!("listening {address}"))?;
    output.line("ready")?;
    loop {
        // A host that goes away in the middle ends its turn, not the peer.
        if let Err(error) = peer.turn() {
            tracing::info!(%error, "a turn of the floor ended early");
        }
    }
}

fn too_large(bytes: u64) -> Failure {
    Failure::new(Code::Usage, "command line", format!("--ram {bytes}: more than this machine can address"))
}

/// What was measured, with the machine, the command line and the time.
fn results(machine: &Machine, points: Vec<Report>) -> Results {
    let mut words: Vec<String> = std::env::args().collect();
    if let Some(program) = words.first_mut() {
        *program = "nvmf".to_owned();
    }
    #[expect(clippy::disallowed_methods, reason = "results say when they were taken")]
    let now = std::time::SystemTime::now();
    let when = humantime::format_rfc3339_seconds(now).to_string();
    Results { machine: machine.clone(), command: words.join(" "), when, points }
}

fn write_page(path: &Path, results: &Results) -> Result<(), Failure> {
    fs::write(path, page::to_html(results)).map_err(|error| Failure::local(path.display(), &error))
}

/// The URI of a line `listening URI`.
fn listening(lines: &[String]) -> Option<Uri> {
    lines.iter().find_map(|line| line.strip_prefix("listening ")).and_then(|uri| uri.parse().ok())
}
