//! Every figure of every point, for those who want to copy them.

use std::fmt::Write as _;

use super::{escape, has_digests, size_name};
use crate::report::Report;

const HEADER: [&str; 15] = [
    "exchange",
    "depth",
    "IOPS",
    "MiB/s",
    "p50 µs",
    "p90",
    "p99",
    "p99.9",
    "p99.99",
    "max",
    "host µs/IO",
    "target µs/IO",
    "floor IOPS",
    "÷ floor",
    "spread",
];

pub(super) fn write(page: &mut String, points: &[Report]) {
    page.push_str("<details open><summary>All figures</summary><div class=\"scroll\"><table><tr>");
    for name in HEADER {
        let _ = write!(page, "<th>{name}</th>");
    }
    page.push_str("</tr>\n");
    for point in points {
        let with = if has_digests(point) { ", digests" } else { "" };
        let mark = if point.noise.warnings().is_empty() { "" } else { " ⚠" };
        let _ = write!(
            page,
            "<tr><td class=\"name\">{} {}{with}</td>",
            escape(&point.pattern.to_string()),
            size_name(point.block_size)
        );
        let latency = &point.latency_us;
        let some = |value: Option<f64>, digits: usize| {
            value.map(|value| format!("{value:.digits$}")).unwrap_or_default()
        };
        let cells = [
            point.queue_depth.to_string(),
            format!("{:.0}", point.spread.iops.median),
            format!("{:.1}", point.mib_per_second),
            format!("{:.1}", latency.p50),
            format!("{:.1}", latency.p90),
            format!("{:.1}", latency.p99),
            format!("{:.1}", latency.p99_9),
            format!("{:.1}", latency.p99_99),
            format!("{:.1}", latency.max),
            format!("{:.2}", point.cpu_us_per_io),
            some(point.target_cpu_us_per_io, 2),
            some(point.floor.as_ref().map(|floor| floor.spread.iops.median), 0),
            some(point.ratio.map(|ratio| ratio.iops.median), 2),
            format!("{}{mark}", some(point.noise.spread_percent, 0)),
        ];
        for cell in cells {
            let _ = write!(page, "<td>{cell}</td>");
        }
        page.push_str("</tr>\n");
    }
    page.push_str("</table></div></details>\n");
}
