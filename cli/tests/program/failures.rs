//! Everything that can go wrong has a message, a hint and an exit code of its own.

use std::{
    collections::BTreeSet,
    io::{Read, Write},
    net::TcpListener,
    thread,
};

use rustix::process::Signal;

use crate::support::{Controller, DISK, HOST, arg, nvmf, nvmf_with};

/// A server of something else: answers the first connection and closes it.
fn answering(answer: &'static [u8]) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let _ = stream.read(&mut [0; 128]);
        let _ = stream.write_all(answer);
    });
    format!("nvme+tcp://127.0.0.1:{port}/{DISK}")
}

#[test]
fn failed_connections_are_told_apart() {
    let controller = Controller::start(&["--ram", "1M", "--allow-host", HOST]);
    let nobody = {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        format!("nvme+tcp://{}/{DISK}", listener.local_addr().unwrap())
    };
    let elsewhere = answering(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n");
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let mute = format!("nvme+tcp://{}/{DISK}", silent.local_addr().unwrap());
    let other = format!("{}/nqn.2014-08.org.example:other", controller.at());
    let disk = controller.disk();
    let unresolved = format!("nvme+tcp://no-such-host.invalid/{DISK}");
    let cases = [
        (unresolved.as_str(), "name-not-resolved", 10, "resolve", "no-such-host.invalid"),
        (nobody.as_str(), "connection-refused", 12, "transport connect", "check that the controller runs"),
        (elsewhere.as_str(), "not-nvme", 13, "negotiate", "HTTP/1.1 400"),
        (mute.as_str(), "negotiate-timeout", 13, "negotiate", "127.0.0.1"),
        (other.as_str(), "unknown-subsystem", 16, "Connect command", "nvmf discover"),
        (disk.as_str(), "connect-invalid-host", 17, "Connect command", "--allow-host"),
    ];
    let mut messages = BTreeSet::new();
    for (uri, code, exit, stage, part) in cases {
        let ran = nvmf(&["identify", uri, "--json", "--connect-timeout", "2"]);
        let error = ran.error();
        assert_eq!((error["code"].as_str(), ran.code()), (Some(code), exit), "{uri}\n{}", ran.stderr);
        assert_eq!(error["exit_code"], exit);
        assert_eq!(error["stage"], stage, "{}", ran.stderr);
        assert!(!error["hint"].as_str().unwrap().is_empty());
        assert!(ran.stderr.contains(part), "{}", ran.stderr);
        messages.insert(error["message"].to_string());
    }
    assert_eq!(messages.len(), cases.len());
    // The same for people.
    let ran = nvmf(&["identify", &other]);
    assert!(ran.stderr.starts_with("error: Connect command: "), "{}", ran.stderr);
    assert!(ran.stderr.contains("(01h/82h") && ran.stderr.contains("SUBNQN"), "{}", ran.stderr);
    // And the host that is let in is let in.
    nvmf(&["identify", &disk, "--hostnqn", HOST]).ok();
}

#[test]
fn parameters_that_do_not_meet_are_explained() {
    let strict = Controller::start(&["--ram", "1M", "--data-digest", "require"]);
    let ran = nvmf(&["identify", &strict.disk(), "--json"]);
    assert_eq!(ran.code(), 14, "{}", ran.stderr);
    assert!(ran.error()["hint"].as_str().unwrap().contains("--data-digest"), "{}", ran.stderr);
    nvmf(&["identify", &strict.disk(), "--data-digest"]).ok();

    let plain = Controller::start(&["--ram", "1M", "--data-digest", "never"]);
    let ran = nvmf(&["identify", &plain.disk(), "--data-digest", "--json"]);
    assert_eq!(ran.code(), 14, "{}", ran.stderr);
    nvmf(&["identify", &plain.disk(), "--data-digest=offer"]).ok();

    let elsewhere = "nvme+rdma://127.0.0.1/nqn.2014-08.org.example:disk";
    let ran = nvmf(&["identify", elsewhere, "--transport", "tcp", "--json"]);
    assert_eq!((ran.error()["code"].as_str(), ran.code()), (Some("no-transport"), 15));
}

#[test]
fn commands_that_cannot_work_say_so() {
    let controller = Controller::start(&["--ram", "1M", "--read-only"]);
    let disk = controller.disk();
    let ran = nvmf_with(&["write", &disk, "--json"], vec![0; 512]);
    let error = ran.error();
    assert_eq!(ran.code(), 22, "{}", ran.stderr);
    assert_eq!((error["status"]["sct"].as_u64(), error["status"]["sc"].as_u64()), (Some(0), Some(0x20)));
    let ran = nvmf(&["bench", &disk, "--pattern", "rw:50", "--seconds", "0.2", "--json"]);
    assert_eq!((ran.json()["errors"].as_u64() > Some(0), ran.code()), (true, 22), "{}", ran.stderr);
    assert!(ran.stderr.contains("Write Protected"), "{}", ran.stderr);
    let ran = nvmf(&["read", &format!("{disk}?nsid=9"), "--json"]);
    assert_eq!((ran.error()["code"].as_str(), ran.code()), (Some("no-such-namespace"), 20));
    let ran = nvmf(&["read", &disk, "--offset", "1M", "--length", "1", "--json"]);
    assert_eq!((ran.error()["code"].as_str(), ran.code()), (Some("out-of-range"), 21));
    let ran = nvmf(&["copy", "/nonexistent/image", &disk, "--json"]);
    assert_eq!((ran.error()["code"].as_str(), ran.code()), (Some("local-io"), 4));
}

#[test]
fn a_file_size_limit_is_a_status_and_not_the_end() {
    let folder = tempfile::tempdir().unwrap();
    let image = folder.path().join("image");
    std::fs::File::create(&image).unwrap().set_len(1 << 20).unwrap();
    let controller = Controller::limited(512, &["--file", arg(&image)]);
    let disk = controller.disk();
    let ran = nvmf_with(&["write", &disk, "--offset", "768k", "--json"], vec![1; 512]);
    assert_eq!(ran.code(), 22, "{}", ran.stderr);
    assert_eq!(ran.error()["status"]["name"], "Capacity Exceeded", "{}", ran.stderr);
    nvmf_with(&["write", &disk, "--flush"], vec![1; 512]).ok();
    let ran = controller.end(Signal::TERM);
    assert_eq!(ran.code(), 0, "{}", ran.stderr);
    assert!(ran.stderr.contains("write failed"), "{}", ran.stderr);
}

#[test]
fn a_peers_name_may_be_any() {
    let controller = Controller::start(&["--ram", "1M", "--allow-host", "testhost"]);
    let ran = nvmf(&["identify", &controller.disk(), "--hostnqn", "testhost", "--json"]).ok();
    assert!(ran.stderr.contains("testhost") && ran.stderr.contains("WARN"), "{}", ran.stderr);
    let ran = nvmf(&["identify", &format!("{}/testnqn", controller.at()), "--json"]);
    assert!(ran.stderr.contains("unknown-subsystem"), "{}", ran.stderr);
    assert_eq!(ran.code(), 16, "{}", ran.stderr);
}

#[test]
fn listeners_that_cannot_be_had_say_so() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let uri = format!("nvme+tcp://{}", taken.local_addr().unwrap());
    let ran = nvmf(&["serve", "--ram", "1M", "--listen", &uri, "--json"]);
    assert_eq!((ran.error()["code"].as_str(), ran.code()), (Some("address-in-use"), 30), "{}", ran.stderr);
    let ran = nvmf(&["serve", "--file", "/nonexistent/image", "--json"]);
    assert_eq!(ran.code(), 4, "{}", ran.stderr);
    let ran = nvmf(&["serve"]);
    assert_eq!(ran.code(), 2);
    assert!(ran.stderr.contains("nvmf serve --ram 1GiB"), "{}", ran.stderr);
}

#[test]
fn a_wrong_command_line_is_json_too() {
    let ran = nvmf(&["discover", "nvme+tpc://127.0.0.1", "--json"]);
    assert_eq!((ran.error()["code"].as_str(), ran.code()), (Some("usage"), 2));
    assert!(ran.error()["message"].as_str().unwrap().contains("column 6"), "{}", ran.stderr);
    let ran = nvmf(&["read", "nvme+tcp://127.0.0.1", "--offset", "much"]);
    assert_eq!(ran.code(), 2);
    assert!(ran.stderr.contains("--offset") && ran.stderr.contains("such as"), "{}", ran.stderr);
}
