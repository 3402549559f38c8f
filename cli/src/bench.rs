//! `nvmf bench`: how fast a namespace is, and what it costs this machine.

mod load;
mod report;

use nvmf_transport::{DigestBy, WaitPolicy};

pub(crate) use load::{Found, Shape, run};
pub(crate) use report::Latencies;
use report::{Report, Side};

use crate::{
    args::BenchArgs,
    disk::Disk,
    failure::Failure,
    output::{Output, Style},
    own::OwnController,
    processor,
};

/// Commands outstanding on every queue unless asked otherwise.
const DEPTH: u16 = 32;

/// `nvmf bench`
pub(crate) fn bench(args: BenchArgs, output: Output) -> Result<(), Failure> {
    let mut connect = args.connect.clone();
    let depth = *connect.queue_depth.get_or_insert(DEPTH);
    // Before this thread is pinned: threads inherit where their maker may run.
    let own = match &args.uri {
        Some(_) => None,
        None => Some(OwnController::start(args.ram, None)?),
    };
    let uri = match (&args.uri, &own) {
        (Some(uri), _) => uri.clone(),
        (None, Some(own)) => own.uri(),
        (None, None) => return Ok(()),
    };
    processor::pin_to(args.cpu.as_slice())?;
    let wait = if args.spin { WaitPolicy::Spin } else { WaitPolicy::default() };
    let mut disk = Disk::open(&uri, &connect, wait, output)?;
    let shape = Shape {
        pattern: args.pattern,
        block_size: args.block_size,
        queues: disk.queues(),
        depth: depth.min(disk.depth()),
        span: args.span.unwrap_or(u64::MAX),
        verify: args.verify,
        seed: args.seed,
        warm_up: args.warm_up,
        seconds: args.seconds,
    };
    if shape.queues < args.connect.queues || shape.depth < depth {
        output.note(&format!(
            "the controller grants {} queues of {} commands, not {} of {depth}",
            shape.queues, shape.depth, args.connect.queues
        ));
    }
    if own.is_some() {
        output.note("no URI: measuring against a controller with a RAM namespace in this process");
    }
    let found = run(&mut disk, &shape)?;
    let report = report(&disk, &shape, &found, uri.to_string(), own.is_some());
    disk.close();
    if let Some(own) = own {
        own.stop()?;
    }
    output.result(&report, || report.to_text(Style::of_stdout()))?;
    match found.last_error {
        Some(error) => {
            Err(error.note(format!("the last of {} errors, which no number includes", found.errors)))
        }
        None => Ok(()),
    }
}

fn report(disk: &Disk, shape: &Shape, found: &Found, target: String, own_controller: bool) -> Report {
    let seconds = found.took.as_secs_f64().max(1e-9);
    let mut all = Latencies::new();
    all.add(&found.reads);
    all.add(&found.writes);
    let ios = all.count();
    let side = |latencies: &Latencies| {
        (latencies.count() > 0).then(|| Side {
            ios: latencies.count(),
            iops: latencies.count() as f64 / seconds,
            latency_us: latencies.summary(),
        })
    };
    let per_io = |time: std::time::Duration| time.as_secs_f64() * 1e6 / (ios.max(1) as f64);
    let limits = disk.info().queues.last().map(|queue| &queue.info.limits);
    let digest = |by: Option<DigestBy>| by.is_some_and(|by| by != DigestBy::None);
    Report {
        target,
        transport: disk.info().transport.to_owned(),
        own_controller,
        pattern: shape.pattern.to_string(),
        block_size: shape.block_size,
        queues: shape.queues,
        queue_depth: shape.depth,
        header_digest: digest(limits.map(|limits| limits.header_digest)),
        data_digest: digest(limits.map(|limits| limits.data_digest)),
        seconds,
        ios,
        iops: ios as f64 / seconds,
        mib_per_second: ios as f64 * f64::from(shape.block_size) / f64::from(1 << 20) / seconds,
        errors: found.errors,
        verified: found.verified,
        latency_us: all.summary(),
        reads: side(&found.reads),
        writes: side(&found.writes),
        cpu_us_per_io: per_io(found.thread),
        process_cpu_us_per_io: per_io(found.process),
        cpu_percent: found.thread.as_secs_f64() * 100.0 / seconds,
    }
}
