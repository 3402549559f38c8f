//! Wires other than NVMe/TCP: every command over NVMe/RDMA in software, and one port that speaks both.

use std::{
    fs,
    io::{Read, Write},
    net::TcpStream,
    time::Duration,
};

use rustix::process::Signal;

use crate::support::{Controller, DISK, arg, finish, noise, nvmf, nvmf_with, start};

fn serve(listen: &str, arguments: &[&str]) -> Controller {
    Controller::exactly(&[&["serve", "--listen", listen, "--subsystem", DISK], arguments].concat())
}

#[test]
fn every_command_works_over_rdma_in_software() {
    let controller = serve("nvme+rdma://127.0.0.1:0", &["--ram", "8M", "--mpa-crc", "when-asked"]);
    assert!(controller.at().starts_with("nvme+rdma://127.0.0.1:"), "{}", controller.at());
    let disk = controller.disk();
    let log = nvmf(&["discover", controller.at(), "--json"]).ok().json();
    let record = &log["records"][0];
    assert_eq!((&record["trtype"], &record["uri"]), (&"rdma".into(), &disk.as_str().into()));
    assert_eq!(record["rdma"]["qptype"], "reliable connected");
    assert_eq!(record["rdma"]["prtype"], "iWARP");
    assert_eq!(record["rdma"]["cms"], "RDMA_IP_CM");
    let answer = nvmf(&["identify", controller.at(), "--json", "--queues", "2"]).ok().json();
    assert_eq!(answer["queues"].as_array().unwrap().len(), 3);

    let data = noise(1_000_003);
    for options in [&[][..], &["--mpa-crc", "when-asked"], &["--read-depth", "1", "--sq-flow-control"]] {
        nvmf_with(&[&["write", &disk, "--offset", "1000"][..], options].concat(), data.clone()).ok();
        let read = ["read", &disk, "--offset", "1000", "--length", "1000003", "--transport", "soft-iwarp"];
        assert!(nvmf(&[&read[..], options].concat()).ok().stdout == data, "{options:?}");
    }
    let folder = tempfile::tempdir().unwrap();
    let image = folder.path().join("image");
    fs::write(&image, noise(3 << 20)).unwrap();
    nvmf(&["copy", "--verify", arg(&image), &disk]).ok();
    let found = nvmf(&["bench", &disk, "--seconds", "0.2", "--warm-up", "0", "--json"]).ok();
    assert!(!found.text().is_empty());
    let ended = controller.end(Signal::TERM);
    assert_eq!(ended.code(), 0, "{}", ended.stderr);
}

#[test]
fn what_cannot_carry_a_connection_says_why() {
    let controller = serve("nvme+rdma://127.0.0.1:0", &["--ram", "1M"]);
    // Nothing on loopback is an RDMA device, whatever the machine has.
    let verbs = nvmf(&["identify", &controller.disk(), "--transport", "verbs", "--json"]);
    assert_eq!(verbs.code(), 15);
    let error = verbs.error();
    let message = error["message"].as_str().unwrap();
    assert!(message.contains("verbs: ") && !message.contains("verbs: policy"), "{message}");
    // The other wire at that port: not NVMe/TCP, and said so.
    let tcp = controller.at().replace("rdma", "tcp");
    assert_eq!(nvmf(&["identify", &tcp, "--json"]).code(), 13);
    let rdma = Controller::start(&["--ram", "1M"]);
    let wrong = nvmf(&["identify", &rdma.at().replace("tcp", "rdma"), "--json"]);
    assert_eq!(wrong.code(), 13, "{}", wrong.stderr);
    let explained = nvmf(&["transports", "--explain", "--json"]).ok().json();
    assert_eq!(explained["transports"].as_array().unwrap().len(), 3);
    assert!(explained["rdma"]["devices"].is_array() && explained["rdma"].get("memlock").is_some());
    assert!(nvmf(&["transports", "--explain"]).ok().text().contains("memory that this process may lock"));
}

#[test]
fn one_port_speaks_both_wires_at_once() {
    let controller = serve("nvme://127.0.0.1:0", &["--ram", "16M", "--ram", "16M", "--threads", "2"]);
    let [tcp, rdma] = &controller.listeners[..] else { panic!("{:?}", controller.listeners) };
    assert_eq!(tcp.replace("nvme+tcp", "nvme+rdma"), *rdma);
    for asked in [tcp, rdma] {
        let log = nvmf(&["discover", asked, "--json"]).ok().json();
        let uris: Vec<_> = log["records"].as_array().unwrap().iter().map(|record| &record["uri"]).collect();
        assert_eq!(uris, [&format!("{tcp}/{DISK}"), &format!("{rdma}/{DISK}")]);
        assert!(log["records"][0].get("rdma").is_none());
        assert_eq!(log["records"][1]["rdma"]["prtype"], "iWARP");
    }

    let folder = tempfile::tempdir().unwrap();
    let image = folder.path().join("image");
    let data = noise(16 << 20);
    fs::write(&image, &data).unwrap();
    let spaces = [format!("{tcp}/{DISK}?nsid=1"), format!("{rdma}/{DISK}?nsid=2")];
    let copies = spaces.each_ref().map(|to| start(&["copy", "--verify", arg(&image), to, "--queues", "4"]));
    copies.into_iter().for_each(|copy| drop(finish(copy).ok()));
    // What came by one wire goes by the other.
    for crossed in [format!("{rdma}/{DISK}?nsid=1"), format!("{tcp}/{DISK}?nsid=2")] {
        assert!(nvmf(&["read", &crossed, "--length", "16M"]).ok().stdout == data, "{crossed}");
    }
    // A host that leaves the wire open gets one of them.
    nvmf(&["identify", &tcp.replace("nvme+tcp", "nvme")]).ok();
}

#[test]
fn a_port_for_both_bears_with_whoever_comes() {
    let controller = serve("nvme://127.0.0.1:0", &["--ram", "1M"]);
    let address = controller.at().trim_start_matches("nvme+tcp://").to_owned();
    let connect = || {
        let stream = TcpStream::connect(&address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        stream
    };
    // More silent ones than wait at a time: the first have to go, and nobody who speaks has to wait.
    let mut silent: Vec<TcpStream> = (0..300).map(|_| connect()).collect();
    nvmf(&["identify", &controller.disk()]).ok();
    assert_eq!(silent[0].read(&mut [0; 1]).unwrap(), 0);
    let mut other = connect();
    other.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    // Closed, or reset because of what was not read.
    assert!(matches!(other.read(&mut [0; 1]), Ok(0) | Err(_)));
    nvmf(&["identify", &controller.at().replace("tcp", "rdma")]).ok();
    drop(silent);
    let ended = controller.end(Signal::TERM);
    assert_eq!(ended.code(), 0, "{}", ended.stderr);
}
