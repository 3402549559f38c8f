//! Configuration files, right and wrong.

use std::fs;

use crate::support::{Controller, HOST, arg, nvmf, nvmf_with};

const TWO: &str = r#"
listen = ["nvme+tcp://127.0.0.1:0", "nvme+tcp://localhost:0"]
threads = 2

[transport.tcp]
in_capsule_data = "4k"

[[subsystems]]
nqn = "nqn.2014-08.org.example:open"
serial = "OPEN"
[[subsystems.namespaces]]
nsid = 5
file = "image"
block_size = 4096
uuid = "11111111-2222-3333-4444-555555555555"

[[subsystems]]
nqn = "nqn.2014-08.org.example:closed"
allow_hosts = ["nqn.2014-08.org.example:host7"]
[[subsystems.namespaces]]
ram = "1MiB"
"#;

#[test]
fn a_configuration_is_served() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("nvmf.toml");
    fs::write(&config, TWO).unwrap();
    fs::write(folder.path().join("image"), vec![0; 1 << 20]).unwrap();
    let controller = Controller::exactly(&["serve", "--config", arg(&config)]);
    assert!(controller.listeners.len() >= 2);
    for at in &controller.listeners {
        let count = |more: &[&str]| {
            let log = nvmf(&[&["discover", at, "--json"], more].concat()).ok().json();
            log["records"].as_array().unwrap().len()
        };
        assert_eq!(count(&[]), controller.listeners.len());
        assert_eq!(count(&["--hostnqn", HOST]), 2 * controller.listeners.len());
    }
    let open = format!("{}/nqn.2014-08.org.example:open", controller.at());
    let answer = nvmf(&["identify", &open, "--json"]).ok().json();
    assert_eq!(answer["controller"]["in_capsule_data"], 4096);
    let namespace = &answer["namespaces"][0];
    assert_eq!(namespace["nsid"], 5);
    assert_eq!(namespace["uuid"], "11111111-2222-3333-4444-555555555555");
    nvmf_with(&["write", &format!("{open}?nsid=5"), "--flush"], b"here".to_vec()).ok();
    assert!(fs::read(folder.path().join("image")).unwrap().starts_with(b"here"));
}

#[test]
fn a_mistake_is_named_with_file_line_and_field() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("nvmf.toml");
    for (mistake, place, part) in [
        (TWO.replace("threads = 2", "thread = 2"), ":3:1: thread: ", "unknown field"),
        (TWO.replace("\"4k\"", "\"128k\""), ":6:19: transport.tcp.in_capsule_data: ", "64k"),
        (TWO.replace("nsid = 5", "nsid = 0"), ":12:8: subsystems[0].namespaces[0].nsid: ", "from 1"),
        (TWO.replace("serial = \"OPEN\"", "serial = OPEN"), ":10:10: ", "serial = OPEN"),
    ] {
        fs::write(&config, &mistake).unwrap();
        let ran = nvmf(&["serve", "--config", arg(&config)]);
        assert_eq!(ran.code(), 3, "{}", ran.stderr);
        let place = format!("{}{place}", config.display());
        assert!(ran.stderr.contains(&place) && ran.stderr.contains(part), "{place}\n{}", ran.stderr);
    }
    fs::write(
        &config,
        "\n[[subsystems]]\nnqn = \"nqn.2014-08.org.example:a\"\nnamespaces = [{ file = \"gone\" }]\n",
    )
    .unwrap();
    let ran = nvmf(&["serve", "--config", arg(&config)]);
    let place = format!("{}:4:15: subsystems[0].namespaces[0]", config.display());
    assert!(ran.code() == 4 && ran.stderr.contains(&place), "{place}\n{}", ran.stderr);
    let ran = nvmf(&["serve", "--config", "/nonexistent/nvmf.toml", "--json"]);
    assert_eq!((ran.error()["code"].as_str(), ran.code()), (Some("config"), 3));
}
