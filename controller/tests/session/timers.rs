//! What time ends.

use std::time::Duration;

use nvmf_transport::RequestData;
use nvmf_wire::{
    Status,
    admin::keep_alive,
    feature::{Fid, GetFeatures, SetFeatures},
    log::{GetLogPage, Lid, health::ErrorInformation},
};

use crate::rig::*;

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn a_connection_without_connect_ends() {
    let mut rig = Rig::new();
    let silent = rig.accept(0);
    rig.pass(19 * SECOND);
    // Commands that are not Connect do not help.
    rig.command(silent, keep_alive());
    assert!(rig.is_open(silent));
    rig.pass(2 * SECOND);
    assert!(!rig.is_open(silent));
}

#[test]
fn a_connect_whose_data_never_come_ends() {
    let mut rig = Rig::new();
    let queue = rig.accept(0);
    rig.submit(queue, admin_connect(0).to_sqe(), RequestData::Remote { len: 1024 });
    rig.pass(21 * SECOND);
    assert!(!rig.is_open(queue));
    assert_eq!(rig.server.statistics().queues, 0);
}

#[test]
fn a_controller_that_is_never_enabled_ends() {
    let mut rig = Rig::new();
    let (admin, _) = rig.associate(0, &connect_data(), 5000);
    rig.pass(119 * SECOND);
    assert!(rig.is_open(admin));
    rig.pass(2 * SECOND);
    assert!(!rig.is_open(admin));
}

// test: TCP-KA-02
#[test]
fn the_longest_keep_alive_timeout_is_taken() {
    let mut rig = Rig::new();
    let (admin, _) = rig.associate(0, &connect_data(), u32::MAX);
    rig.enable(admin);
    let read = GetFeatures::new(Fid::KEEP_ALIVE_TIMER).to_sqe();
    assert_eq!(rig.command(admin, read).ok().cqe.dw0(), u32::MAX);
    rig.pass(40 * 86_400 * SECOND);
    assert!(rig.is_open(admin));
}

// test: TCP-KA-01
#[test]
fn keep_alive_expires() {
    let mut rig = Rig::with(Default::default(), |_| {}, 2);
    let (admin, cntlid) = rig.associate(0, &connect_data(), 4500);
    rig.enable(admin);
    let io = rig.io(1, cntlid, 1);
    let (other, _) = rig.associate(0, &connect_data(), 0);
    rig.enable(other);
    // The I/O queue's Connect was the last command.
    rig.pass(10 * SECOND);
    assert!(
        !rig.is_open(admin) && !rig.is_open(io),
        "4.5 s are rounded up to 5, and counted from the last look"
    );
    assert!(rig.is_open(other));
    let log = GetLogPage::new(Lid::ERROR_INFORMATION, 64).to_sqe();
    let entry = rig.read(other, log, 64).ok();
    assert_eq!(ErrorInformation::view(&entry.data).unwrap().error_count.get(), 0, "of another controller");
}

#[test]
fn keep_alive_commands_keep_it_alive() {
    let mut rig = Rig::new();
    let (admin, _) = rig.associate(0, &connect_data(), 5000);
    rig.enable(admin);
    for _ in 0..20 {
        rig.pass(4 * SECOND);
        rig.command(admin, keep_alive()).ok();
    }
    rig.pass(4900 * Duration::from_millis(1));
    assert!(rig.is_open(admin));
    rig.pass(200 * Duration::from_millis(1));
    assert!(!rig.is_open(admin), "exactly one timeout after the last Keep Alive");
}

#[test]
fn traffic_of_io_queues_keeps_it_alive() {
    let mut rig = Rig::with(Default::default(), |_| {}, 2);
    let (admin, cntlid) = rig.associate(0, &connect_data(), 5000);
    rig.enable(admin);
    let io = rig.io(1, cntlid, 1);
    for _ in 0..20 {
        rig.pass(4 * SECOND);
        rig.read(io, read(0, 1), 512).ok();
    }
    assert!(rig.is_open(admin));
    rig.pass(11 * SECOND);
    assert!(!rig.is_open(admin) && !rig.is_open(io));
}

#[test]
fn the_timeout_is_a_feature() {
    let mut rig = Rig::new();
    let (admin, _) = rig.associate(0, &connect_data(), 1);
    rig.enable(admin);
    let get = GetFeatures::new(Fid::KEEP_ALIVE_TIMER).to_sqe();
    assert_eq!(rig.command(admin, get).ok().cqe.dw0(), 1000, "rounded up to KAS");
    let set = |milliseconds| SetFeatures::new(Fid::KEEP_ALIVE_TIMER, milliseconds).to_sqe();
    rig.command(admin, set(0)).ok();
    rig.pass(10_000 * SECOND);
    assert!(rig.is_open(admin));
    rig.command(admin, set(2001)).ok();
    assert_eq!(rig.command(admin, get).ok().cqe.dw0(), 3000);
    rig.pass(7 * SECOND);
    assert!(!rig.is_open(admin));
    let (admin, _) = rig.associate(0, &connect_data(), u32::MAX);
    rig.enable(admin);
    assert!(rig.command(admin, get).ok().cqe.dw0() >= u32::MAX - 1000);
}

#[test]
fn keep_alive_on_an_io_queue_is_no_command() {
    let mut rig = Rig::new();
    let (_, io) = rig.ready();
    assert_eq!(rig.command(io, keep_alive()).status(), Status::INVALID_OPCODE);
}

#[test]
fn discovery_without_keep_alive_ends_after_two_minutes() {
    let mut rig = Rig::new();
    let idle = rig.discovery(0);
    let used = rig.discovery(0);
    rig.pass(100 * SECOND);
    rig.command(used, keep_alive()).ok();
    rig.pass(100 * SECOND);
    assert!(!rig.is_open(idle));
    assert!(rig.is_open(used));
    let kept = rig.discovery(10_000);
    rig.pass(25 * SECOND);
    assert!(!rig.is_open(kept), "its own timeout is the shorter one");
}
