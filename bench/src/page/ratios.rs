//! The table of ratios to the floor: a row per exchange, a column per depth, greener where less is lost.

use std::{collections::BTreeSet, fmt::Write as _};

use super::{escape, has_digests, size_name};
use crate::report::Report;

/// Ratio of I/O per second at which a cell is as red as it gets, and as green.
const WORST: f64 = 0.2;
const BEST: f64 = 0.9;

pub(super) fn write(page: &mut String, points: &[Report]) {
    let depths: BTreeSet<u16> = points.iter().map(|point| point.queue_depth).collect();
    page.push_str(
        "<h2>Achieved ÷ floor</h2>\n<p>The large number is I/O per second ÷ that of the floor in the same round, the median of \
         the repeats; below it processor time per I/O of host and target and the median latency, each ÷ the floor's.</p>\n\
         <div class=\"scroll\"><table><tr><th>exchange</th>",
    );
    for depth in &depths {
        let _ = write!(page, "<th>depth {depth}</th>");
    }
    page.push_str("</tr>\n");
    let mut rows: Vec<(String, u32, bool)> = Vec::new();
    for point in points {
        let row = (point.pattern.to_string(), point.block_size, has_digests(point));
        if !rows.contains(&row) {
            rows.push(row);
        }
    }
    for row in rows {
        let (pattern, size, digests) = &row;
        let with = if *digests { ", digests" } else { "" };
        let _ = write!(page, "<tr><td class=\"name\">{} {}{with}</td>", escape(pattern), size_name(*size));
        for &depth in &depths {
            let point = points.iter().find(|point| {
                point.queue_depth == depth
                    && (point.pattern.to_string(), point.block_size, has_digests(point)) == row
            });
            page.push_str(&point.map_or_else(|| "<td></td>".to_owned(), cell));
        }
        page.push_str("</tr>\n");
    }
    page.push_str("</table></div>\n");
}

fn cell(point: &Report) -> String {
    let Some(ratio) = &point.ratio else { return "<td></td>".to_owned() };
    let iops = ratio.iops;
    let warnings = point.noise.warnings();
    let mark = if warnings.is_empty() { "" } else { " ⚠" };
    let target = ratio.target_cpu_us_per_io.map(|target| format!(", target {:.2}", target.median));
    format!(
        "<td class=\"ratio\" style=\"background:{}\" title=\"{}\"><b>{:.2}</b>{mark}<small>{:.2}–{:.2}</small>\
         <small>host {:.2}{}</small><small>latency {:.2}</small></td>",
        shade(iops.median),
        escape(&warnings.join("; ")),
        iops.median,
        iops.min,
        iops.max,
        ratio.host_cpu_us_per_io.median,
        target.unwrap_or_default(),
        ratio.latency_us_p50.median
    )
}

/// From red over yellow to green.
fn shade(ratio: f64) -> String {
    let part = ((ratio - WORST) / (BEST - WORST)).clamp(0.0, 1.0);
    format!("hsl({:.0},65%,86%)", part * 130.0)
}
