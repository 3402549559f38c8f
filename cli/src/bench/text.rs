//! Results of a benchmark for people.

use nvmf_bench::{
    Summary,
    noise::Spread,
    report::{Floor, Report, Spreads},
    sweep::Results,
};

use crate::output::{Style, bytes, list, micros, table};

/// Percentiles on one line.
pub(crate) fn latency_line(latency: &Summary) -> String {
    format!(
        "mean {}, 50% {}, 90% {}, 99% {}, 99.9% {}, 99.99% {}, max {}",
        micros(latency.mean),
        micros(latency.p50),
        micros(latency.p90),
        micros(latency.p99),
        micros(latency.p99_9),
        micros(latency.p99_99),
        micros(latency.max)
    )
}

/// A whole measurement.
pub(super) fn report(report: &Report, style: Style) -> String {
    let subject = &report.subject;
    let digests = match (subject.header_digest, subject.data_digest) {
        (false, false) => "",
        (true, false) => ", header digest",
        (false, true) => ", data digest",
        (true, true) => ", both digests",
    };
    let plural = |count: u16| if count == 1 { "" } else { "s" };
    let mut pairs = vec![
        ("target", subject.target.clone()),
        ("carried by", subject.transport.clone()),
        (
            "load",
            format!(
                "{} of {}, {} queue{} of {} command{}{digests}, {} × {:.1} s",
                report.pattern,
                bytes(report.block_size.into()),
                report.queues,
                plural(report.queues),
                report.queue_depth,
                plural(report.queue_depth),
                report.repeats,
                report.seconds / report.repeats.max(1) as f64
            ),
        ),
    ];
    if let Some(machine) = &report.machine {
        pairs.push((
            "machine",
            format!("{}, {} processors, {}", machine.processor, machine.processors, machine.system),
        ));
    }
    pairs.push(("processors", processors(report)));
    pairs.push((
        "result",
        style.bold(&format!("{:.0} IOPS, {:.1} MiB/s", report.iops, report.mib_per_second)),
    ));
    pairs.push(("latency", latency_line(&report.latency_us)));
    for (name, side) in [("reads", report.reads), ("writes", report.writes)] {
        if let Some(side) = side.filter(|_| report.reads.is_some() && report.writes.is_some()) {
            pairs.push((name, format!("{:.0} IOPS, {}", side.iops, latency_line(&side.latency_us))));
        }
    }
    let target = report.target_cpu_us_per_io.map(|us| format!(", target {us:.2} µs"));
    pairs.push((
        "processor",
        format!(
            "host {:.2} µs per I/O{}; the host's is {:.0} % busy",
            report.cpu_us_per_io,
            target.unwrap_or_default(),
            report.cpu_percent
        ),
    ));
    if let Some(floor) = &report.floor {
        pairs.push(("floor", format!("{:.0} IOPS, {:.1} MiB/s", floor.iops, floor.mib_per_second)));
        pairs.push(("", latency_line(&floor.latency_us)));
    }
    if report.verified > 0 {
        pairs.push(("verified", format!("{} reads", report.verified)));
    }
    if report.errors > 0 {
        pairs.push(("errors", style.red(&report.errors.to_string())));
    }
    pairs.push(("noise", noise(report)));
    for warning in report.noise.warnings() {
        pairs.push(("", style.red(&warning)));
    }
    let mut text = list(pairs);
    match (&report.floor, &report.ratio) {
        (Some(floor), Some(ratio)) => text.push_str(&format!("\n{}\n", against(report, floor, ratio))),
        _ if report.repeats > 1 => text.push_str(&format!("\n{}\n", alone(report))),
        _ => {}
    }
    text
}

fn processors(report: &Report) -> String {
    let subject = &report.subject;
    let place = |cpu: Option<usize>| cpu.map_or_else(|| "any".to_owned(), |cpu| cpu.to_string());
    let target = match subject.target_cpu {
        Some(cpu) => format!(", target on {cpu}"),
        None => String::new(),
    };
    format!("host on {}{target}; waiting: {}", place(subject.host_cpu), subject.wait)
}

fn noise(report: &Report) -> String {
    let noise = &report.noise;
    let percent = |name: &str, value: Option<f64>| value.map(|value| format!("{name} {value:.1} %"));
    let load = noise.load_average.map(|[one, ..]| format!("load average {one:.1}"));
    let spread = match (noise.spread_percent, noise.floor_spread_percent) {
        (Some(spread), Some(floor)) => Some(format!("repeats within {spread:.0} %, floor {floor:.0} %")),
        (Some(spread), None) => Some(format!("repeats within {spread:.0} %")),
        _ => None,
    };
    let parts =
        [percent("steal", noise.steal_percent), percent("others", noise.others_percent), load, spread];
    parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

/// A row per figure: its name, digits, and where it is.
type Row = (&'static str, usize, fn(&Spreads) -> Option<Spread>);

const ROWS: [Row; 5] = [
    ("IOPS", 0, |spreads| Some(spreads.iops)),
    ("host µs/IO", 2, |spreads| Some(spreads.host_cpu_us_per_io)),
    ("target µs/IO", 2, |spreads| spreads.target_cpu_us_per_io),
    ("p50 µs", 1, |spreads| Some(spreads.latency_us_p50)),
    ("p99 µs", 1, |spreads| Some(spreads.latency_us_p99)),
];

fn against(report: &Report, floor: &Floor, ratio: &Spreads) -> String {
    let row = |(name, digits, of): &Row| {
        let (mine, floor, ratio) = (of(&report.spread)?, of(&floor.spread)?, of(ratio)?);
        let number = |value: f64| format!("{value:.digits$}");
        Some([
            (*name).to_owned(),
            number(mine.median),
            number(floor.median),
            format!("{:.2}", ratio.median),
            format!("{:.2}–{:.2}", ratio.min, ratio.max),
        ])
    };
    table(&["median of repeats", "nvmf>", "floor>", "nvmf ÷ floor>", "min–max>"], ROWS.iter().filter_map(row))
}

fn alone(report: &Report) -> String {
    let row = |(name, digits, of): &Row| {
        let mine = of(&report.spread)?;
        let number = |value: f64| format!("{value:.digits$}");
        Some([(*name).to_owned(), number(mine.min), number(mine.median), number(mine.max)])
    };
    table(&["over the repeats", "min>", "median>", "max>"], ROWS.iter().filter_map(row))
}

/// A point of a sweep on one line.
pub(super) fn point_line(report: &Report) -> String {
    let ratio = report.ratio.map(|ratio| format!(", {:.2} of the floor", ratio.iops.median));
    format!(
        "{} of {}, depth {}{}: {:.0} IOPS{}",
        report.pattern,
        bytes(report.block_size.into()),
        report.queue_depth,
        if report.subject.data_digest { ", digests" } else { "" },
        report.spread.iops.median,
        ratio.unwrap_or_default()
    )
}

/// A whole sweep.
pub(super) fn sweep(results: &Results, style: Style) -> String {
    let some = |value: Option<f64>, digits: usize| {
        value.map(|value| format!("{value:.digits$}")).unwrap_or_default()
    };
    let ratio = |report: &Report, of: fn(&Spreads) -> Option<Spread>| {
        some(report.ratio.as_ref().and_then(of).map(|spread| spread.median), 2)
    };
    let rows = results.points.iter().map(|report| {
        [
            report.pattern.to_string(),
            bytes(report.block_size.into()),
            report.queue_depth.to_string(),
            if report.subject.data_digest { "on" } else { "off" }.to_owned(),
            format!("{:.0}", report.spread.iops.median),
            format!("{:.0}", report.mib_per_second),
            format!("{:.1}", report.latency_us.p50),
            format!("{:.1}", report.latency_us.p99),
            format!("{:.2}", report.cpu_us_per_io),
            some(report.target_cpu_us_per_io, 2),
            ratio(report, |ratio| Some(ratio.iops)),
            ratio(report, |ratio| Some(ratio.host_cpu_us_per_io)),
            ratio(report, |ratio| ratio.target_cpu_us_per_io),
            ratio(report, |ratio| Some(ratio.latency_us_p50)),
            if report.noise.warnings().is_empty() { "" } else { "noisy" }.to_owned(),
        ]
    });
    let header = [
        "pattern",
        "size>",
        "depth>",
        "digests",
        "IOPS>",
        "MiB/s>",
        "p50 µs>",
        "p99 µs>",
        "host µs>",
        "target µs>",
        "IOPS ÷>",
        "host ÷>",
        "target ÷>",
        "p50 ÷>",
        "",
    ];
    let machine = &results.machine;
    let mut pairs = vec![
        ("machine", format!("{}, {} processors, {}", machine.processor, machine.processors, machine.system)),
        ("when", results.when.clone()),
    ];
    pairs.extend(results.points.first().map(|first| ("processors", processors(first))));
    let mut text = list(pairs);
    text.push_str(&format!("\n{}\n", table(&header, rows)));
    let noisy = results.points.iter().filter(|report| !report.noise.warnings().is_empty()).count();
    if noisy > 0 {
        let warning =
            format!("{noisy} of {} points are noisy: repeat them on a quieter machine", results.points.len());
        text.push_str(&format!("{}\n", style.red(&warning)));
    }
    text
}
