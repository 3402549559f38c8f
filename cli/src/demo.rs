//! `nvmf demo`: everything at once, within this process, with nothing set up.
//!
//! For every transport that this machine offers: a controller on a thread of its own, a connection, data written, read back and
//! compared, and a look at throughput and latency. Transports that are not offered are listed with their reason.

use std::time::{Duration, Instant};

use nvmf_bench::{Meter, Pattern, Shape, data, load};
use nvmf_transport::{Target, WaitPolicy};
use serde::Serialize;

use crate::{
    args::{ConnectArgs, DemoArgs, TransportChoice},
    bench::latency_line,
    connect,
    disk::Disk,
    failure::{Code, Failure},
    output::{Output, Style, bytes, micros, table},
    own::OwnController,
    progress::Progress,
    read_write::whole_blocks,
    transfer::{
        End, NamespaceSink, NamespaceSource, Piece, Plan, Sink, Source, Tail, Waiting, Writing, transfer,
    },
    transports,
    transports_cmd::{Row, rows_to_text},
};

/// Of the data.
const SEED: u64 = 0x6E76_6D66;

#[derive(Serialize)]
struct Story {
    verdict: &'static str,
    transports: Vec<Row>,
    runs: Vec<Run>,
}

#[derive(Serialize)]
struct Run {
    transport: &'static str,
    uri: String,
    bytes: u64,
    write_mib_per_second: f64,
    read_mib_per_second: f64,
    verified: bool,
    /// Of single 4 KiB reads at random places, in microseconds.
    latency_us_p50: f64,
    latency_us_p99: f64,
    /// Of 4 KiB reads at random places, 32 outstanding.
    iops: f64,
}

/// `nvmf demo`
pub(crate) fn demo(args: DemoArgs, output: Output) -> Result<(), Failure> {
    let style = Style::of_stdout();
    let say = |text: &str| if output.json { Ok(()) } else { output.line(text) };
    say(&style.bold("nvmf demo: a controller and a host in this process, every transport of this machine"))?;
    say("")?;

    let known = transports::for_hosts(&args.connect)?;
    let anywhere = Target { wire: None, address: (std::net::Ipv4Addr::LOCALHOST, 0).into() };
    let verdicts = match known.select(&anywhere, &transports::policy(&args.connect)) {
        Ok(selection) => selection.verdicts,
        Err(none) => return Err(none.into()),
    };
    let rows: Vec<_> = verdicts.iter().map(Row::from).collect();
    say(&rows_to_text(&rows, style))?;

    let mut runs = Vec::new();
    for row in rows.iter().filter(|row| row.accepts) {
        say("")?;
        say(&style.bold(&format!("over {}", row.transport)))?;
        runs.push(over(row.transport, &args, output)?);
    }
    let story = Story { verdict: "OK", transports: rows, runs };
    if output.json {
        return output.result(&story, String::new);
    }
    if story.runs.len() > 1 {
        say("")?;
        say(&style.bold("side by side"))?;
        say(&side_by_side(&story.runs))?;
    }
    let names: Vec<_> = story.runs.iter().map(|run| run.transport).collect();
    say("")?;
    say(&format!(
        "{} {} written, read back and verified over {}",
        style.green("OK"),
        bytes(args.size),
        names.join(", ")
    ))
}

/// A row for each transport.
fn side_by_side(runs: &[Run]) -> String {
    let rows = runs.iter().map(|run| {
        [
            run.transport.to_owned(),
            format!("{:.0} MiB/s", run.write_mib_per_second),
            format!("{:.0} MiB/s", run.read_mib_per_second),
            micros(run.latency_us_p50),
            micros(run.latency_us_p99),
            format!("{:.0}", run.iops),
        ]
    });
    let header =
        ["TRANSPORT", "WRITE>", "READ>", "4 KiB READ, 50 %>", "4 KiB READ, 99 %>", "4 KiB READS PER SECOND>"];
    table(&header, rows)
}

fn over(transport: &'static str, args: &DemoArgs, output: Output) -> Result<Run, Failure> {
    let say = |name: &str, text: &str| {
        if output.json { Ok(()) } else { output.line(&format!("  {name:12}{text}")) }
    };
    let size = args.size.next_multiple_of(4096);
    let controller = OwnController::start(size, Some(transport))?;
    let uri = controller.uri();
    let connect = ConnectArgs {
        transport: TransportChoice::Named(transport.to_owned()),
        exclude_transport: Vec::new(),
        ..args.connect.clone()
    };
    let begin = crate::disk::clock();
    let mut disk =
        Disk::of(connect::connect(&uri, &connect, WaitPolicy::default(), false, output)?, uri.nsid)?;
    let took = crate::disk::clock().duration_since(begin);
    say("controller", &uri.to_string())?;
    let negotiated = disk.info().queues.last().map(|queue| {
        let values = queue.info.negotiated.iter().map(|(name, value)| format!("{name} {value}"));
        format!("; {}", values.collect::<Vec<_>>().join(", "))
    });
    say(
        "connected",
        &format!(
            "in {}, {} I/O queue(s) of {} commands{}",
            micros(took.as_secs_f64() * 1e6),
            disk.queues(),
            disk.depth(),
            negotiated.unwrap_or_default()
        ),
    )?;

    let chunk = whole_blocks(args.block_size, &disk)?;
    let plan = Plan::new(Some(size), chunk, 0, disk.commands().min(32));
    let rate = |took: Duration| size as f64 / f64::from(1 << 20) / took.as_secs_f64().max(1e-9);
    let wrote = rate(write(&mut disk, plan, size, output)?);
    say("write", &format!("{} at {wrote:.0} MiB/s", bytes(size)))?;
    let read = rate(verify(&mut disk, plan, size, output)?);
    say("read", &format!("{} at {read:.0} MiB/s, every byte as it was written", bytes(size)))?;

    let shape = Shape {
        pattern: Pattern { random: true, reads: 100 },
        block_size: 4096,
        queues: 1,
        depth: 1,
        span: size,
        verify: false,
        seed: SEED,
        warm_up: Duration::from_millis(100),
        seconds: args.seconds,
    };
    let depth = disk.depth().min(32);
    let mut run = |shape: &Shape| {
        let found = load::run(disk.namespace(), shape, &Meter::default());
        found.map_err(|error| disk.load_failure(error))
    };
    let one = run(&shape)?.reads.summary();
    say("latency", &format!("of a 4 KiB read: {}", latency_line(&one)))?;
    let many = Shape { depth, ..shape };
    let found = run(&many)?;
    let iops = found.reads.count() as f64 / found.took.as_secs_f64().max(1e-9);
    say("rate", &format!("{iops:.0} reads of 4 KiB per second, {} outstanding", many.depth))?;
    disk.close();
    controller.stop()?;
    Ok(Run {
        transport,
        uri: uri.to_string(),
        bytes: size,
        write_mib_per_second: wrote,
        read_mib_per_second: read,
        verified: true,
        latency_us_p50: one.p50,
        latency_us_p99: one.p99,
        iops,
    })
}

fn write(disk: &mut Disk, plan: Plan, size: u64, output: Output) -> Result<Duration, Failure> {
    let memory = disk.memory();
    let mut progress = Progress::new("write", Some(size), output);
    let how = Writing { base: 0, own: true, tail: Tail::Keep, fua: false, sparse: false, flush: true };
    let mut sink = NamespaceSink::new(disk, how);
    transfer(&mut Made, &mut sink, &memory, plan, &mut progress)?;
    Ok(progress.finish())
}

fn verify(disk: &mut Disk, plan: Plan, size: u64, output: Output) -> Result<Duration, Failure> {
    let memory = disk.memory();
    let mut progress = Progress::new("read", Some(size), output);
    let mut source = NamespaceSource::new(disk, 0, true);
    transfer(&mut source, &mut Made, &memory, plan, &mut progress)?;
    Ok(progress.finish())
}

/// Data made from its place: as a source it is made, as a sink it is compared.
struct Made;

impl End for Made {
    fn collect(&mut self, _: Instant, _: &mut Vec<Piece>) -> Result<(), Failure> {
        Ok(())
    }

    fn waiting(&self) -> Waiting<'_> {
        None
    }
}

impl Source for Made {
    fn fill(&mut self, mut piece: Piece) -> Result<Option<Piece>, Failure> {
        let at = piece.at;
        data::fill(piece.room(), at, SEED);
        Ok(Some(piece))
    }
}

impl Sink for Made {
    fn take(&mut self, piece: Piece) -> Result<Option<Piece>, Failure> {
        match data::mismatch(piece.bytes(), piece.at, SEED) {
            None => Ok(Some(piece)),
            Some(byte) => {
                Err(Failure::new(Code::Verify, "verify", format!("byte {byte} is not what was written"))
                    .hint("report this as a defect of nvmf, with the output of `nvmf demo -vv`"))
            }
        }
    }

    fn finish(&mut self) -> Result<(), Failure> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nvmf_transport::{Memory, Pages};

    #[test]
    fn a_wrong_byte_fails_the_demo() {
        let data = Pages.allocate(4096).unwrap();
        let piece = Piece { at: 8192, data, len: 4096 };
        let mut piece = Made.fill(piece).unwrap().unwrap();
        piece = Made.take(piece).unwrap().unwrap();
        piece.room()[100] ^= 1;
        let failure = Made.take(piece).unwrap_err();
        assert_eq!((failure.code(), failure.exit()), (Code::Verify, 1));
        assert!(failure.to_json()["error"]["message"].as_str().unwrap().starts_with("byte 8292 "));
    }
}
