//! Results as a page: one file that needs nothing else, with plots, ratios to the floor, the machine, the command and the noise.
//!
//! Start at [`to_html`]. The plots are in `plot`, which knows nothing of reports.

mod plot;
mod ratios;
mod table;
#[cfg(test)]
mod tests;

use std::{collections::BTreeSet, fmt::Write as _};

use crate::{
    noise::Spread,
    report::{Report, Spreads},
    sweep::Results,
};
use plot::{Axis, Line, Mark, Plot};

/// Colours that people with any colour vision can tell apart (after Okabe and Ito).
mod colour {
    use plotters::style::RGBColor;

    pub(super) const PLAIN: RGBColor = RGBColor(0, 114, 178);
    pub(super) const DIGESTS: RGBColor = RGBColor(213, 94, 0);
    pub(super) const TAIL: RGBColor = RGBColor(86, 180, 233);
    pub(super) const FLOOR: RGBColor = RGBColor(110, 110, 110);
    pub(super) const FLOOR_DIGESTS: RGBColor = RGBColor(190, 170, 140);
}

/// I/Os from this size on are shown as throughput.
const LARGE: u32 = 32 << 10;

/// The whole page.
pub fn to_html(results: &Results) -> String {
    let mut page = String::with_capacity(1 << 16);
    let has_floor = results.points.iter().any(|point| point.floor.is_some());
    page.push_str("<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n");
    page.push_str("<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n");
    let _ = writeln!(
        page,
        "<title>nvmf bench, {}</title>\n<style>{STYLE}</style></head><body>",
        escape(&results.when)
    );
    header(&mut page, results);
    let _ =
        writeln!(page, "<h2>Throughput by depth</h2>\n<p class=\"legend\">{}</p>", legend(has_floor, false));
    panels(&mut page, &results.points, throughput);
    let _ = writeln!(page, "<h2>Latency by depth</h2>\n<p class=\"legend\">{}</p>", legend(has_floor, true));
    panels(&mut page, &results.points, latency);
    if has_floor {
        ratios::write(&mut page, &results.points);
    }
    table::write(&mut page, &results.points);
    page.push_str("</body></html>\n");
    page
}

fn header(page: &mut String, results: &Results) {
    let machine = &results.machine;
    let subject = results.points.first().map(|point| &point.subject);
    let allowed: Vec<_> = machine.allowed.iter().map(ToString::to_string).collect();
    let mut facts = vec![
        ("Command", format!("<code>{}</code>", escape(&results.command))),
        (
            "Machine",
            format!(
                "{}; {} processors, allowed {}; {}",
                escape(&machine.processor),
                machine.processors,
                allowed.join(", "),
                escape(&machine.system)
            ),
        ),
    ];
    if let Some(subject) = subject {
        let place =
            |cpu: Option<usize>| cpu.map_or_else(|| "any processor".into(), |cpu| format!("processor {cpu}"));
        facts.push((
            "Setup",
            format!(
                "host on {}, target on {}, each a process of its own; waiting: {}; carried by {}; <code>{}</code>",
                place(subject.host_cpu),
                place(subject.target_cpu),
                escape(&subject.wait),
                escape(&subject.transport),
                escape(&subject.target)
            ),
        ));
    }
    let repeats = results.points.iter().map(|point| point.repeats).max().unwrap_or(0);
    facts.push((
        "Repeats",
        format!("{repeats} per point; marks are medians, bars reach from the least to the most"),
    ));
    facts.push(("Noise", noise(&results.points)));
    facts.push(("When", escape(&results.when)));
    page.push_str("<h1>nvmf bench</h1>\n<dl>");
    for (name, value) in facts {
        let _ = writeln!(page, "<dt>{name}</dt><dd>{value}</dd>");
    }
    page.push_str("</dl>\n");
}

fn noise(points: &[Report]) -> String {
    let over = |value: fn(&Report) -> Option<f64>| Spread::of(points.iter().filter_map(value));
    let mut parts = Vec::new();
    let mut say = |what: &str, spread: Option<Spread>| {
        if let Some(Spread { median, max, .. }) = spread {
            parts.push(format!("{what} {median:.1} % in the median of points, {max:.1} % at worst"));
        }
    };
    say("steal", over(|point| point.noise.steal_percent));
    say("other users of the processors", over(|point| point.noise.others_percent));
    say("spread of repeats", over(|point| point.noise.spread_percent));
    say("spread of the floor", over(|point| point.noise.floor_spread_percent));
    if let Some(load) = Spread::of(points.iter().filter_map(|point| Some(point.noise.load_average?[0]))) {
        parts.push(format!("load average {:.1} to {:.1}", load.min, load.max));
    }
    let noisy = points.iter().filter(|point| !point.noise.warnings().is_empty()).count();
    let mut text = parts.join("; ");
    if noisy > 0 {
        let _ = write!(text, ". <b>{noisy} of {} points are noisy</b>, marked ⚠", points.len());
    }
    text
}

fn legend(floor: bool, latency: bool) -> String {
    let key = |colour: plotters::style::RGBColor, dashed: bool, text: &str| {
        let style = if dashed { "dashed" } else { "solid" };
        format!(
            "<span><i style=\"border-top:3px {style} rgb({},{},{})\"></i>{text}</span>",
            colour.0, colour.1, colour.2
        )
    };
    let mut keys = match latency {
        false => vec![key(colour::PLAIN, false, "nvmf"), key(colour::DIGESTS, false, "nvmf, both digests")],
        true => vec![
            key(colour::PLAIN, false, "nvmf, median"),
            key(colour::TAIL, false, "nvmf, 99 %"),
            key(colour::DIGESTS, false, "nvmf with both digests, median"),
        ],
    };
    if floor {
        keys.push(key(colour::FLOOR, true, "floor"));
        if !latency {
            keys.push(key(colour::FLOOR_DIGESTS, true, "floor, bytes of both digests"));
        }
    }
    keys.join(" ")
}

/// A grid of plots: a row per pattern, a column per size.
fn panels(page: &mut String, points: &[Report], draw: fn(&[&Report], &[u16]) -> Plot) {
    let mut patterns: Vec<String> = Vec::new();
    for point in points {
        let name = point.pattern.to_string();
        if !patterns.contains(&name) {
            patterns.push(name);
        }
    }
    let sizes: BTreeSet<u32> = points.iter().map(|point| point.block_size).collect();
    let depths: BTreeSet<u16> = points.iter().map(|point| point.queue_depth).collect();
    let depths: Vec<u16> = depths.into_iter().collect();
    page.push_str("<div class=\"grid\">\n");
    for pattern in &patterns {
        for &size in &sizes {
            let here: Vec<&Report> = points
                .iter()
                .filter(|point| point.block_size == size && point.pattern.to_string() == *pattern)
                .collect();
            if here.is_empty() {
                continue;
            }
            let svg = draw(&here, &depths).to_svg();
            let _ = writeln!(
                page,
                "<figure><figcaption>{pattern} {}</figcaption>{svg}</figure>",
                size_name(size)
            );
        }
    }
    page.push_str("</div>\n");
}

fn throughput(points: &[&Report], depths: &[u16]) -> Plot {
    let size = points.first().map_or(0, |point| point.block_size);
    let (unit, scale) = match size >= LARGE {
        true => ("GB/s", f64::from(size) / 1e9),
        false => ("thousand I/O per second", 1e-3),
    };
    let line = |digests: bool, floor: bool, colour| Line {
        colour,
        dashed: floor,
        marks: marks(points, depths, digests, floor, |spreads| spreads.iops, scale),
    };
    Plot {
        x: depths.iter().map(ToString::to_string).collect(),
        y: Axis { name: unit, log: false },
        lines: vec![
            line(false, true, colour::FLOOR),
            line(true, true, colour::FLOOR_DIGESTS),
            line(true, false, colour::DIGESTS),
            line(false, false, colour::PLAIN),
        ],
    }
}

fn latency(points: &[&Report], depths: &[u16]) -> Plot {
    let line = |digests: bool, floor: bool, of: fn(&Spreads) -> Spread, colour| Line {
        colour,
        dashed: floor,
        marks: marks(points, depths, digests, floor, of, 1.0),
    };
    Plot {
        x: depths.iter().map(ToString::to_string).collect(),
        y: Axis { name: "µs", log: true },
        lines: vec![
            line(false, true, |spreads| spreads.latency_us_p50, colour::FLOOR),
            line(false, false, |spreads| spreads.latency_us_p99, colour::TAIL),
            line(true, false, |spreads| spreads.latency_us_p50, colour::DIGESTS),
            line(false, false, |spreads| spreads.latency_us_p50, colour::PLAIN),
        ],
    }
}

fn has_digests(point: &Report) -> bool {
    point.subject.header_digest || point.subject.data_digest
}

/// The marks of one line, by the place of their depth among all depths.
fn marks(
    points: &[&Report],
    depths: &[u16],
    digests: bool,
    floor: bool,
    of: fn(&Spreads) -> Spread,
    scale: f64,
) -> Vec<Mark> {
    let mut marks = Vec::new();
    for point in points.iter().filter(|point| has_digests(point) == digests) {
        let spreads = match floor {
            true => point.floor.as_ref().map(|floor| &floor.spread),
            false => Some(&point.spread),
        };
        let at = depths.iter().position(|&depth| depth == point.queue_depth);
        if let (Some(spreads), Some(at)) = (spreads, at) {
            let Spread { min, median, max } = of(spreads);
            marks.push(Mark { at, low: min * scale, middle: median * scale, high: max * scale });
        }
    }
    marks.sort_by_key(|mark| mark.at);
    marks
}

fn size_name(size: u32) -> String {
    match size {
        size if size >= 1 << 20 && size.is_multiple_of(1 << 20) => format!("{} MiB", size >> 20),
        size if size >= 1 << 10 && size.is_multiple_of(1 << 10) => format!("{} KiB", size >> 10),
        size => format!("{size} B"),
    }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

const STYLE: &str = "
body{font:15px/1.45 system-ui,sans-serif;color:#1c2733;background:#f4f6f8;max-width:1480px;margin:0 auto;padding:1.5rem}
h1{margin:0 0 .6rem}h2{margin:2rem 0 .3rem}
dl{display:grid;grid-template-columns:max-content 1fr;gap:.25rem 1rem;background:#fff;border:1px solid #dde3e9;border-radius:8px;padding:1rem;margin:0}
dt{font-weight:600;color:#52606d}dd{margin:0}code{font-size:.92em;overflow-wrap:anywhere}
.legend span{margin-right:1.4rem;white-space:nowrap}.legend i{display:inline-block;width:28px;margin-right:.45rem;vertical-align:middle}
.grid{display:grid;grid-template-columns:repeat(auto-fill,minmax(330px,1fr));gap:12px}
figure{margin:0;background:#fff;border:1px solid #dde3e9;border-radius:8px;padding:.5rem}
figcaption{font-weight:600;padding:.1rem .4rem}svg{width:100%;height:auto;display:block}
table{border-collapse:collapse;background:#fff;font-variant-numeric:tabular-nums;width:100%}
th,td{padding:.3rem .6rem;border:1px solid #dde3e9;text-align:right}th{background:#eef2f5}
th:first-child,td.name{text-align:left;white-space:nowrap}
td.ratio b{font-size:1.15em}td.ratio small{display:block;color:#3b4854;white-space:nowrap}
.scroll{overflow-x:auto}details{margin-top:1rem}summary{cursor:pointer;font-weight:600}
";
