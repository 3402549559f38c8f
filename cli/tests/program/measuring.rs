//! `bench`, `demo` and `transports`: numbers are there, make sense together, and parse.

use crate::support::{Controller, nvmf};

#[test]
fn a_benchmark_reports_whole_numbers() {
    let controller = Controller::start(&["--ram", "16M", "--threads", "2"]);
    for (pattern, verify) in [("randread", false), ("rw:70", true), ("write", false)] {
        let disk = controller.disk();
        let mut arguments =
            vec!["bench", &disk, "--pattern", pattern, "--seconds", "1", "--warm-up", "0.1", "--json"];
        arguments.extend(["--queues", "2", "--queue-depth", "4", "--data-digest"]);
        arguments.extend(verify.then_some("--verify"));
        let report = nvmf(&arguments).ok().json();
        let number = |key: &str| report[key].as_f64().unwrap_or_else(|| panic!("{key}: {report}"));
        assert_eq!(report["pattern"], pattern);
        assert_eq!((number("errors"), number("queues"), number("queue_depth")), (0.0, 2.0, 4.0));
        assert!(number("ios") > 0.0 && number("cpu_us_per_io") > 0.0, "{report}");
        assert!((number("seconds") - 1.0).abs() < 0.9, "{report}");
        assert!((number("iops") * number("seconds") - number("ios")).abs() < 1.0, "{report}");
        assert_eq!(report["data_digest"], true);
        let latency = &report["latency_us"];
        let order = ["min", "p50", "p90", "p99", "p99.9", "max"].map(|key| latency[key].as_f64().unwrap());
        assert!(order.is_sorted() && order[0] > 0.0, "{report}");
        assert_eq!(report["reads"].is_object(), pattern != "write");
        assert_eq!(report["writes"].is_object(), pattern != "randread");
        assert_eq!(number("verified") > 0.0, verify, "{report}");
    }
    let text =
        nvmf(&["bench", &controller.disk(), "--seconds", "0.2", "--pattern", "read", "--block-size", "128k"])
            .ok()
            .text();
    assert!(text.contains("IOPS") && text.contains("99.9%") && text.contains("µs per I/O"), "{text}");
}

#[test]
fn a_benchmark_brings_its_own_controller() {
    let report = nvmf(&["bench", "--ram", "8M", "--seconds", "0.3", "--json", "--spin"]).ok().json();
    assert_eq!(report["own_controller"], true);
    assert!(report["iops"].as_f64().unwrap() > 0.0);
    let ran = nvmf(&["bench", "--block-size", "1000"]);
    assert_eq!(ran.code(), 2, "{}", ran.stderr);
}

#[test]
fn the_demo_ends_well() {
    let ran = nvmf(&["demo", "--size", "8MiB", "--seconds", "0.2"]).ok();
    let text = ran.text();
    assert!(
        text.lines().last().unwrap().starts_with("OK 8.00 MiB written, read back and verified over tcp"),
        "{text}"
    );
    let story = nvmf(&["demo", "--size", "4MiB", "--seconds", "0.2", "--json", "--data-digest"]).ok().json();
    assert_eq!(story["verdict"], "OK");
    assert_eq!(story["runs"][0]["transport"], "tcp");
    assert_eq!(story["runs"][0]["verified"], true);
    assert!(story["transports"][0]["because"].is_string());
}

#[test]
fn transports_answer_with_reasons() {
    let all = nvmf(&["transports", "--json"]).ok().json();
    assert_eq!(all["transports"][0]["transport"], "tcp");
    assert_eq!(all["limits"][0]["in_capsule_admin"], 8192);
    let one = nvmf(&["transports", "nvme+tcp://127.0.0.1", "--json"]).ok().json();
    assert_eq!((&one["selected"], &one["transports"][0]["accepts"]), (&"tcp".into(), &true.into()));
    let none = nvmf(&["transports", "nvme+rdma://127.0.0.1"]).ok().text();
    assert!(none.contains("declines") && none.contains("none would carry"), "{none}");
    let excluded = nvmf(&["transports", "--exclude-transport", "tcp", "--json"]).ok().json();
    assert_eq!(excluded["transports"][0]["accepts"], false);
}
