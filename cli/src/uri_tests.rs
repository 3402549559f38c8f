//! URIs as people write them, right and wrong.

use super::*;

fn uri(text: &str) -> Uri {
    text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn error(text: &str) -> UriError {
    text.parse::<Uri>().expect_err(text)
}

#[test]
fn every_part_is_found() {
    let it = uri("nvme+tcp://192.0.2.7:4421/nqn.2014-08.org.example:disk1?nsid=3");
    assert_eq!(it.wire, Some(Wire::TCP));
    assert_eq!(it.host, "192.0.2.7");
    assert_eq!(it.port, Some(4421));
    assert_eq!(it.nqn.unwrap().as_str(), "nqn.2014-08.org.example:disk1");
    assert_eq!(it.nsid, Some(3));
}

#[test]
fn parts_may_be_left_out() {
    let it = uri("nvme://storage.example");
    assert_eq!((it.wire, it.port, it.nqn, it.nsid), (None, None, None, None));
    assert_eq!(uri("nvme+rdma://h/").nqn, None);
    assert_eq!(uri("nvme+tcp://h/testnqn").nqn.unwrap().as_str(), "testnqn");
    assert_eq!(uri("NVME+TCP://h").wire, Some(Wire::TCP));
    assert_eq!(uri("nvme://h?nsid=2").nsid, Some(2));
}

#[test]
fn ipv6_comes_in_brackets_with_its_scope() {
    assert_eq!(uri("nvme+tcp://[2001:db8::7]:4420").host, "2001:db8::7");
    assert_eq!(uri("nvme+tcp://[fe80::7%eth0]").host, "fe80::7%eth0");
    assert_eq!(uri("nvme+tcp://[fe80::7%25eth0]").host, "fe80::7%eth0");
    assert_eq!(error("nvme+tcp://2001:db8::7").column, 12);
    assert_eq!(error("nvme+tcp://[2001:db8::7").column, 24);
    assert_eq!(error("nvme+tcp://[2001:db8::7]4420").column, 25);
    assert_eq!(error("nvme+tcp://[::g]").column, 13);
    assert_eq!(error("nvme+tcp://[fe80::7%]").column, 20);
}

#[test]
fn nqns_are_percent_decoded() {
    let it = uri("nvme+tcp://h/nqn.2014-08.org.example:a%20b%3Fc");
    assert_eq!(it.nqn.unwrap().as_str(), "nqn.2014-08.org.example:a b?c");
    assert_eq!(error("nvme+tcp://h/nqn.2014-08.org.example:a%2").column, 39);
    assert!(error("nvme+tcp://h/nqn.2014-08.org.example:%FF").problem.contains("UTF-8"));
}

#[test]
fn what_is_shown_can_be_read_again() {
    for text in [
        "nvme+tcp://192.0.2.7:4421/nqn.2014-08.org.example:disk1?nsid=3",
        "nvme://[fe80::7%eth0]:1/nqn.2014-08.org.example:a%20b%3Fc%23",
        "nvme+rdma://storage.example",
    ] {
        assert_eq!(uri(text).to_string(), text);
    }
}

#[test]
fn errors_point_at_their_column() {
    for (text, column, part) in [
        ("disk.img", 1, "not a URI"),
        ("http://h", 1, "unknown scheme"),
        ("nvme+tpc://h", 6, "unknown wire"),
        ("nvme+tcp://", 12, "host is missing"),
        ("nvme+tcp:///nqn.2014-08.org.example:a", 12, "host is missing"),
        ("nvme+tcp://me@h", 14, "user name"),
        ("nvme+tcp://h:port", 14, "not a port"),
        ("nvme+tcp://h:65536", 14, "not a port"),
        ("nvme+tcp://h:+80", 14, "not a port"),
        ("nvme+tcp://h/a%0Ab", 15, "control character"),
        ("nvme+tcp://h?nsid=0", 19, "number from 1"),
        ("nvme+tcp://h?nsid=1&ns=2", 21, "unknown parameter"),
        ("nvme+tcp://h/nqn.2014-08.org.example:a#b", 39, "fragment"),
        ("nvme+tcp://ä ö", 13, "no such character"),
    ] {
        let error = error(text);
        assert_eq!(error.column, column, "{text}: {error}");
        assert!(error.problem.contains(part), "{text}: {error}");
    }
}

// test: TCP-ADR-02
#[test]
fn addresses_need_no_resolver() {
    let targets = uri("nvme+tcp://192.0.2.7").targets(IO_PORT).unwrap();
    assert_eq!(targets, [Target::new(Wire::TCP, "192.0.2.7:4420".parse().unwrap())]);
    let targets = uri("nvme://[2001:db8::7]").targets(DISCOVERY_PORT).unwrap();
    assert_eq!(targets[0].wire, None);
    assert_eq!(targets[0].address, "[2001:db8::7]:8009".parse().unwrap());
    let listener = Uri::of(Some(Wire::TCP), "[::1]:4420".parse().unwrap());
    assert_eq!(listener.to_string(), "nvme+tcp://[::1]:4420");
}
