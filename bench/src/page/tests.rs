//! The page is whole: every point is in it, and it needs nothing from elsewhere.

use std::time::Duration;

use super::to_html;
use crate::{
    Latencies, Shape,
    floor::Exchange,
    noise::{Machine, Noise, SystemTimes},
    report::{Report, Rounds, Subject},
    sweep::Results,
    window::{Found, Used},
};

/// A turn of a second in which every I/O took so many microseconds.
fn turn(ios: u64, micros: u64, host: u64) -> Found {
    let mut reads = Latencies::new();
    (0..ios).for_each(|_| reads.record(Duration::from_micros(micros)));
    Found {
        reads,
        took: Duration::from_secs(1),
        used: Used {
            host: Duration::from_micros(host * ios),
            target: Some(Duration::from_micros(2 * host * ios)),
            system: Some(SystemTimes { busy: 1.0, steal: 0.04 }),
        },
        ..Found::default()
    }
}

pub(crate) fn report(depth: u16, digests: bool, floor: bool) -> Report {
    let shape = Shape {
        pattern: "randread".parse().unwrap(),
        block_size: 4096,
        queues: 1,
        depth,
        span: 1 << 20,
        verify: false,
        seed: 1,
        warm_up: Duration::ZERO,
        seconds: Duration::from_secs(1),
    };
    let subject = Subject {
        target: "nvme+tcp://127.0.0.1:4420/a<b".into(),
        transport: "tcp".into(),
        own_controller: true,
        wait: "spin".into(),
        host_cpu: Some(1),
        target_cpu: Some(0),
        header_digest: digests,
        data_digest: digests,
    };
    let rounds = Rounds {
        turns: vec![turn(1000, 20, 3), turn(1200, 16, 3), turn(900, 22, 4)],
        floor: if floor { vec![turn(2000, 10, 1), turn(2000, 10, 1), turn(2000, 10, 1)] } else { Vec::new() },
    };
    rounds.report(subject, &shape, Exchange::of(&shape, 8192), 2)
}

fn results(points: Vec<Report>) -> Results {
    Results {
        machine: Machine {
            processor: "A & B".into(),
            processors: 2,
            allowed: vec![0, 1],
            system: "Linux".into(),
        },
        command: "nvmf bench --sweep <x>".into(),
        when: "2030-01-01T00:00:00Z".into(),
        points,
    }
}

#[test]
fn ratios_are_those_of_the_same_round() {
    let report = report(8, false, true);
    let ratio = report.ratio.unwrap();
    assert_eq!((ratio.iops.min, ratio.iops.median, ratio.iops.max), (0.45, 0.5, 0.6));
    assert_eq!(ratio.host_cpu_us_per_io.median, 3.0);
    assert_eq!(ratio.target_cpu_us_per_io.unwrap().max, 4.0);
    assert!((ratio.latency_us_p50.median - 2.0).abs() < 0.01, "{ratio:?}");
    assert_eq!((report.ios, report.repeats), (3100, 3));
    assert!((report.iops * report.seconds - report.ios as f64).abs() < 1e-6);
    let Noise { steal_percent, spread_percent, floor_spread_percent, .. } = report.noise;
    assert!((steal_percent.unwrap() - 2.0).abs() < 1e-9);
    assert!((spread_percent.unwrap() - 30.0).abs() < 1e-9);
    assert_eq!(floor_spread_percent, Some(0.0));
    assert_eq!(report.noise.warnings().len(), 3);
}

#[test]
fn without_a_floor_there_is_no_ratio() {
    let report = report(8, false, false);
    assert!(report.floor.is_none() && report.ratio.is_none());
    assert_eq!(report.spread.iops.median, 1000.0);
    let page = to_html(&results(vec![report]));
    assert!(!page.contains("÷ floor</h2>"));
}

#[test]
fn a_page_is_whole_and_needs_nothing_else() {
    let points =
        [1, 8, 32].iter().flat_map(|&depth| [false, true].map(|digests| report(depth, digests, true)));
    let page = to_html(&results(points.collect()));
    assert!(page.starts_with("<!DOCTYPE html>") && page.trim_end().ends_with("</html>"));
    assert_eq!(page.matches("<svg").count(), 2);
    assert_eq!(page.matches("</svg>").count(), 2);
    assert_eq!(page.matches("<td class=\"ratio\"").count(), 6);
    assert_eq!(page.matches("<tr><td class=\"name\">").count(), 2 + 6);
    for text in
        ["A &amp; B", "--sweep &lt;x&gt;", "a&lt;b", "randread 4 KiB, digests", "6 of 6 points are noisy"]
    {
        assert!(page.contains(text), "{text}");
    }
    // Names of namespaces are no addresses to load something from.
    let page = page.replace("http://www.w3.org/2000/svg", "");
    assert!(!page.contains("http") && !page.contains("src=") && !page.contains("NaN"), "{page}");
}

#[test]
fn strange_results_make_a_page_all_the_same() {
    let mut empty = report(1, false, true);
    empty.spread = Default::default();
    empty.floor = None;
    empty.ratio = None;
    assert!(to_html(&results(vec![empty])).contains("</svg>"));
    assert!(to_html(&results(Vec::new())).contains("</html>"));
}
