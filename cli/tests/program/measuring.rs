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
        let order =
            ["min", "p50", "p90", "p99", "p99.9", "p99.99", "max"].map(|key| latency[key].as_f64().unwrap());
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
    assert!(report["target_cpu_us_per_io"].as_f64().unwrap() > 0.0, "{report}");
    let ran = nvmf(&["bench", "--block-size", "1000", "--ram", "8M"]);
    assert_eq!(ran.code(), 2, "{}", ran.stderr);
    let ran = nvmf(&["bench", "--cpu", "4000", "--json"]);
    assert_eq!(ran.code(), 2, "{}", ran.stderr);
    let message = ran.error()["message"].as_str().unwrap().to_owned();
    assert!(message.starts_with("--cpu 4000: this process may run on processors "), "{message}");
}

#[test]
fn a_floor_is_measured_in_turns() {
    for arguments in
        [&["--pattern", "rw:70", "--data-digest"][..], &["--queue-depth", "1", "--poll", "block"][..]]
    {
        let common = ["bench", "--floor", "--ram", "8M", "--seconds", "0.1", "--repeats", "2", "--json"];
        let report = nvmf(&[&common, arguments].concat()).ok().json();
        let number = |pointer: &str| {
            report.pointer(pointer).and_then(|v| v.as_f64()).unwrap_or_else(|| panic!("{pointer}: {report}"))
        };
        for of in ["/spread", "/floor/spread", "/ratio"] {
            for figure in ["iops", "host_cpu_us_per_io", "target_cpu_us_per_io", "latency_us_p50"] {
                let [min, median, max] =
                    ["min", "median", "max"].map(|at| number(&format!("{of}/{figure}/{at}")));
                assert!(0.0 < min && min <= median && median <= max, "{of}/{figure}: {report}");
            }
        }
        assert_eq!((number("/repeats"), number("/errors")), (2.0, 0.0));
        assert_eq!(number("/floor/exchange/block_size"), 4096.0);
        assert_eq!(report["floor"]["exchange"]["data_digest"], report["data_digest"]);
        assert!(number("/noise/load_average/0") >= 0.0 && report["machine"]["processor"].is_string());
    }
}

#[test]
fn a_sweep_has_every_point_and_a_page() {
    let folder = tempfile::tempdir().unwrap();
    let page = folder.path().join("sweep.html");
    let mut arguments =
        vec!["bench", "--sweep", "--ram", "8M", "--seconds", "0.05", "--warm-up", "0", "--repeats", "1"];
    arguments.extend([
        "--depths",
        "1,4",
        "--sizes",
        "512,64k",
        "--patterns",
        "randread",
        "--html",
        page.to_str().unwrap(),
    ]);
    let results = nvmf(&[&arguments[..], &["--json"]].concat()).ok().json();
    let points = results["points"].as_array().unwrap();
    assert_eq!(points.len(), 8, "{results}");
    assert!(points.iter().all(|point| point["iops"].as_f64().unwrap() > 0.0), "{results}");
    assert_eq!(points.iter().filter(|point| point["data_digest"] == true).count(), 4);
    let page = std::fs::read_to_string(page).unwrap();
    assert_eq!(page.matches("</svg>").count(), 4);
    assert!(page.ends_with("</html>\n"));
    let ran = nvmf(&["bench", "--sweep", "--block-size", "4k"]);
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
    let none = nvmf(&["transports", "nvme+rdma://127.0.0.1", "--transport", "tcp"]).ok().text();
    assert!(none.contains("declines") && none.contains("none would carry"), "{none}");
    let excluded = nvmf(&["transports", "--exclude-transport", "tcp", "--json"]).ok().json();
    let tcp =
        excluded["transports"].as_array().unwrap().iter().find(|row| row["transport"] == "tcp").unwrap();
    assert_eq!(tcp["accepts"], false);
}
