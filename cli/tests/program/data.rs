//! Data that goes in comes out: by `write`, `read` and `copy`, with digests and without, through signals and losses.

use std::fs;

use rustix::process::Signal;

use crate::support::{Controller, DISK, arg, finish, noise, nvmf, nvmf_with, start, until};

#[test]
fn what_is_served_is_found_and_described() {
    let controller =
        Controller::start(&["--ram", "8M", "--ram", "4M", "--serial", "SN42", "--block-size", "4096"]);
    let log = nvmf(&["discover", controller.at(), "--json"]).ok().json();
    let record = &log["records"][0];
    assert_eq!(record["subtype"], "nvm");
    assert_eq!(record["subnqn"], DISK);
    assert_eq!(record["uri"], controller.disk());

    let answer = nvmf(&["identify", &controller.disk(), "--json", "--queues", "3"]).ok().json();
    assert_eq!(answer["controller"]["serial"], "SN42");
    assert_eq!(answer["queues"].as_array().unwrap().len(), 4);
    let namespaces = answer["namespaces"].as_array().unwrap();
    assert_eq!(namespaces.len(), 2);
    assert_eq!(namespaces[1]["nsid"], 2);
    assert_eq!(namespaces[1]["bytes"], 4 << 20);
    assert_eq!(namespaces[1]["block_size"], 4096);
    // For people, and with the only subsystem found by itself.
    let text = nvmf(&["identify", controller.at()]).ok().text();
    assert!(text.contains("SN42") && text.contains("8.00 MiB"), "{text}");

    let one = nvmf(&["identify", &controller.disk(), "--nsid", "2", "--json"]).ok().json();
    assert_eq!(one["namespaces"].as_array().unwrap().len(), 1);
    assert!(one.get("controller").is_none());
}

#[test]
fn any_byte_range_is_written_and_read() {
    let controller = Controller::start(&["--ram", "8M"]);
    let disk = controller.disk();
    let data = noise(1_000_003);
    for digests in [&[][..], &["--header-digest", "--data-digest"], &["--pda", "7", "--sq-flow-control"]] {
        let write = ["write", &disk, "--offset", "1000", "--flush"];
        nvmf_with(&[&write[..], digests].concat(), data.clone()).ok();
        let read = ["read", &disk, "--offset", "1000", "--length", "1000003"];
        let ran = nvmf(&[&read[..], digests].concat()).ok();
        assert!(ran.stdout == data, "{digests:?}");
    }
    // What lies around the range is as it was.
    let around = nvmf(&["read", &disk, "--offset", "0", "--length", "1000"]).ok();
    assert_eq!(around.stdout, vec![0; 1000]);
    // Two bytes in the middle of a block, and then the block's end filled with zeroes.
    nvmf_with(&["write", &disk, "--offset", "2047"], b"XY".to_vec()).ok();
    let there = nvmf(&["read", &disk, "--offset", "2046", "--length", "4"]).ok();
    assert_eq!(there.stdout, [data[1046], b'X', b'Y', data[1049]]);
    nvmf_with(&["write", &disk, "--offset", "4096", "--pad"], b"Z".to_vec()).ok();
    let there = nvmf(&["read", &disk, "--offset", "4096", "--length", "513"]).ok();
    assert_eq!(there.stdout[..512], [&b"Z"[..], &[0; 511]].concat());
    assert_eq!(there.stdout[512], data[4096 + 512 - 1000]);
}

#[test]
fn images_are_copied_either_way() {
    let folder = tempfile::tempdir().unwrap();
    let (image, out) = (folder.path().join("image"), folder.path().join("out"));
    let mut content = noise(3 << 20);
    content.resize(6 << 20, 0);
    content.extend(noise(100_001));
    fs::write(&image, &content).unwrap();
    let controller = Controller::start(&["--ram", "8M", "--ram", "8M"]);
    let (one, two) = (format!("{}?nsid=1", controller.disk()), format!("{}?nsid=2", controller.disk()));
    nvmf(&["copy", arg(&image), &one, "--verify", "--data-digest"]).ok();
    nvmf(&["copy", &one, &two, "--verify", "--queues", "2"]).ok();
    let length = content.len().to_string();
    let ran = nvmf(&["copy", &two, arg(&out), "--length", &length, "--verify", "--json"]).ok();
    assert_eq!(ran.json()["bytes"], content.len());
    assert_eq!(ran.json()["verified"], true);
    assert!(fs::read(&out).unwrap() == content);
    // A whole namespace is longer than the image; the rest is zeroes.
    nvmf(&["copy", &two, arg(&out)]).ok();
    let whole = fs::read(&out).unwrap();
    assert_eq!(whole.len(), 8 << 20);
    assert!(whole[content.len()..].iter().all(|byte| *byte == 0));
}

#[test]
fn a_served_file_keeps_what_was_written() {
    let folder = tempfile::tempdir().unwrap();
    let image = folder.path().join("image");
    fs::write(&image, vec![0; 1 << 20]).unwrap();
    for signal in [Signal::TERM, Signal::INT] {
        let controller = Controller::start(&["--file", arg(&image)]);
        let data = noise(70_000 + signal.as_raw() as usize);
        nvmf_with(&["write", &controller.disk(), "--offset", "512"], data.clone()).ok();
        let ran = controller.end(signal);
        assert_eq!(ran.code(), 0, "{}", ran.stderr);
        assert!(fs::read(&image).unwrap()[512..][..data.len()] == data);
    }
}

#[test]
fn a_copy_outlives_the_loss_of_its_controller() {
    let folder = tempfile::tempdir().unwrap();
    let (disk, image, out) =
        (folder.path().join("disk"), folder.path().join("image"), folder.path().join("out"));
    let content = noise(48 << 20);
    fs::write(&image, &content).unwrap();
    fs::write(&disk, vec![0; 48 << 20]).unwrap();
    let controller = Controller::start(&["--file", arg(&disk)]);
    let (at, uri) = (controller.at().to_owned(), controller.disk());
    let copy = start(&["copy", arg(&image), &uri, "--verify", "--reconnect-delay", "0.1", "--chunk", "16k"]);
    // Not before data has come through: a first connection that fails is given up at once.
    until(|| fs::read(&disk).unwrap().starts_with(&content[..16384]));
    let _ = controller.end(Signal::KILL);
    let controller =
        Controller::exactly(&["serve", "--listen", &at, "--subsystem", DISK, "--file", arg(&disk)]);
    finish(copy).ok();
    nvmf(&["copy", &uri, arg(&out), "--verify"]).ok();
    assert!(fs::read(&out).unwrap() == content);
    drop(controller);
}

#[test]
fn a_reader_that_goes_away_ends_a_read_quietly() {
    let controller = Controller::start(&["--ram", "64M"]);
    let mut child = start(&["read", &controller.disk()]);
    drop(child.stdout.take());
    let ran = finish(child);
    assert_eq!((ran.code(), ran.stderr.as_str()), (0, ""));
}
