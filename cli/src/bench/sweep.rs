//! `nvmf bench --sweep`: a grid of points, one after the other.

use std::{io::IsTerminal, time::Duration};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use nvmf_bench::{
    Shape,
    report::Report,
    sweep::{Grid, Point},
};

use super::{bed::Bed, results, shape, text, write_page};
use crate::{
    args::{BenchArgs, ConnectArgs, DigestWish, Switch},
    failure::Failure,
    output::{Output, Style, bytes},
};

/// `nvmf bench --sweep`
pub(super) fn sweep(args: &BenchArgs, output: Output) -> Result<(), Failure> {
    let base = shape(args, Duration::from_millis(500));
    let grid = Grid {
        patterns: args.patterns.clone(),
        block_sizes: args.sizes.clone(),
        depths: args.depths.clone(),
        digests: args.digests.iter().map(|digests| *digests == Switch::On).collect(),
    };
    let turns = u32::from(args.repeats()) * if args.floor { 2 } else { 1 };
    let takes = grid.takes(base.warm_up + base.seconds, turns);
    let points = grid.points();
    output.note(&format!(
        "{} points of {turns} turns, {:?} each: about {} s; --depths, --sizes, --patterns, --digests, --seconds and --repeats \
         make it less",
        points.len(),
        base.warm_up + base.seconds,
        takes.as_secs()
    ));
    let mut bed = Bed::make(args, output)?;
    let steps = Steps::new(points.len() as u64 * u64::from(args.repeats()), output);
    let mut reports: Vec<Report> = Vec::new();
    for point in &points {
        steps.at(point);
        let (shape, connect) = of_point(point, &base, &args.connect);
        let measured = bed.measure(&shape, &connect, &mut |_| steps.step())?;
        if let Some(error) = measured.last_error {
            return Err(error.note(format!("while measuring {}", name(point))));
        }
        steps.done(&measured.report);
        reports.push(measured.report);
    }
    steps.finish();
    let results = results(bed.machine(), reports);
    drop(bed);
    // What took ten minutes is not lost to a path that cannot be written.
    output.result(&results, || text::sweep(&results, Style::of_stdout()))?;
    args.html.as_ref().map_or(Ok(()), |path| write_page(path, &results))
}

fn of_point(point: &Point, base: &Shape, connect: &ConnectArgs) -> (Shape, ConnectArgs) {
    let digest = point.digests.then_some(DigestWish::Require);
    let shape = Shape { pattern: point.pattern, block_size: point.block_size, depth: point.depth, ..*base };
    (shape, ConnectArgs { header_digest: digest, data_digest: digest, ..connect.clone() })
}

fn name(point: &Point) -> String {
    let digests = if point.digests { ", digests" } else { "" };
    format!("{} of {}, depth {}{digests}", point.pattern, bytes(point.block_size.into()), point.depth)
}

/// A bar on a terminal, a line per point anywhere else, nothing when asked to be quiet.
struct Steps {
    bar: Option<ProgressBar>,
    output: Output,
}

impl Steps {
    fn new(steps: u64, output: Output) -> Self {
        let shown = !output.quiet && !output.json && std::io::stderr().is_terminal();
        let bar = shown.then(|| {
            let bar = ProgressBar::with_draw_target(Some(steps), ProgressDrawTarget::stderr_with_hz(5));
            if let Ok(style) = ProgressStyle::with_template("[{bar:30}] {pos}/{len} {msg}, eta {eta}") {
                bar.set_style(style.progress_chars("=> "));
            }
            bar
        });
        Self { bar, output }
    }

    fn at(&self, point: &Point) {
        if let Some(bar) = &self.bar {
            bar.set_message(name(point));
        }
    }

    fn step(&self) {
        if let Some(bar) = &self.bar {
            bar.inc(1);
        }
    }

    fn done(&self, report: &Report) {
        if self.bar.is_none() {
            self.output.note(&text::point_line(report));
        }
    }

    fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
