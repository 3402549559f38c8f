//! The host's end.

use nvmf_transport::{Close, CloseReason, Command, Data, ErrorKind, HostEvent, Misuse, QueueSettings};
use nvmf_wire::{Cid, IoOpcode, Sgl, Status};

use super::*;
use crate::{conn::private_data::RejectStatus, verbs::Ending};

fn read_command(len: usize) -> Command {
    Command { sqe: Sqe::io(IoOpcode::READ, 1), data: Data::FromController(buffer(len, 0)), cookie: 1 }
}

fn write_command(len: usize) -> Command {
    Command { sqe: Sqe::io(IoOpcode::WRITE, 1), data: Data::ToController(buffer(len, 9)), cookie: 2 }
}

fn flush_command() -> Command {
    Command { sqe: Sqe::io(IoOpcode::FLUSH, 1), data: Data::None, cookie: 3 }
}

fn failure(host: &mut HostConn) -> (ErrorKind, String) {
    let mut events = Vec::new();
    host.finish(&mut events);
    match events.pop() {
        Some(HostEvent::Closed { reason: CloseReason::Failed(error), .. }) => {
            (error.kind(), error.to_string())
        }
        other => panic!("{other:?}"),
    }
}

// test: RDMA-CM-04, RDMA-CM-05, RDMA-CM-06, RDMA-CM-17, RDMA-IW-01
#[test]
fn asks_for_what_it_has_made() {
    for (kind, qid) in [(QueueKind::Admin, 0), (QueueKind::Io(5), 5)] {
        let mut host = HostConn::new(host_setup(kind, 32));
        let caps = host.caps(&device()).expect("queues");
        host.prepare(&device(), caps, &mut Fake::default()).expect("memory");
        let (private_data, depths) = host.request();
        let request = Request::parse(&private_data, Kind::Iwarp).expect("a request");
        assert_eq!(request, Request { qid, hrqsize: 32, hsqsize: 31, cntlid: 0 });
        assert_eq!(depths, Depths { initiator: 0, responder: 8 });
    }
    let mut host = HostConn::new(HostSetup { read_depth: 200, ..host_setup(QueueKind::Admin, 4) });
    host.prepare(&device(), host.caps(&device()).expect("queues"), &mut Fake::default()).expect("memory");
    assert_eq!(host.request().1.responder, 16, "what the device can");
}

// test: RDMA-QUE-01, RDMA-QUE-02
#[test]
fn a_device_that_is_too_small_is_named() {
    let host = HostConn::new(host_setup(QueueKind::Io(1), 32));
    let caps = host.caps(&device()).expect("queues");
    assert_eq!((caps.send_wr, caps.recv_wr, caps.send_sge), (32, 32, 2));
    let error = host.caps(&Device { max_qp_wr: 31, ..device() }).expect_err("too small");
    assert!(error.to_string().contains("fake0") && error.to_string().contains("31"), "{error}");
    assert!(host.caps(&Device { max_responder_resources: 0, ..device() }).is_err());
}

// test: RDMA-CM-14
#[test]
fn a_strange_accept_ends_the_connection() {
    for said in [&[][..], &[0; 31], &[0; 32], &[1; 32]] {
        let mut host = HostConn::new(host_setup(QueueKind::Admin, 32));
        host.prepare(&device(), host.caps(&device()).expect("queues"), &mut Fake::default()).expect("memory");
        host.request();
        host.established(said, Depths::default());
        assert_eq!(host.life(), Life::Over);
        assert_eq!(failure(&mut host).0, ErrorKind::Protocol);
    }
}

// test: RDMA-CM-16
#[test]
fn a_reject_is_told_in_words() {
    for (said, kind, words) in [
        (&[0u8, 0, 6, 0][..], ErrorKind::Resources, "no resources"),
        (&[0, 0, 4, 0], ErrorKind::Incompatible, "HSQSIZE"),
        (&[], ErrorKind::Refused, "without an NVMe reason"),
    ] {
        let mut host = HostConn::new(host_setup(QueueKind::Admin, 32));
        host.request();
        host.rejected(said);
        let (seen, text) = failure(&mut host);
        assert_eq!(seen, kind);
        assert!(text.contains(words), "{text}");
    }
    assert_eq!(RejectStatus::NO_RESOURCES.0, 6);
}

// test: RDMA-QUE-03
#[test]
fn receives_are_there_before_answers_can_come() {
    let (mut host, mut keys, receives) = up_host(host_setup(QueueKind::Io(1), 4), 4);
    assert_eq!(receives.len(), 4, "HRQSIZE receives before the controller is asked");
    assert!(receives.iter().all(|receive| receive.sges.iter().map(|sge| sge.length).sum::<u32>() == 16));
    let cid = host.submit(flush_command(), &mut keys).expect("room");
    let (_, sends) = host_output(&mut host);
    let mut events = Vec::new();
    host.completed(&sent(&sends[0]), &mut keys, &mut events);
    host.completed(&respond(&receives[2], Cqe::success(cid), None), &mut keys, &mut events);
    assert!(matches!(events[..], [HostEvent::Completed { cookie: 3, .. }]));
    let (again, _) = host_output(&mut host);
    assert_eq!(again[0].id, receives[2].id, "posted again");
}

// test: RDMA-QUE-04, RDMA-QUE-05
#[test]
fn outstanding_commands_are_bounded_by_both_sides() {
    let kind = QueueKind::Io(1);
    for (crqsize, sq_flow_control, room) in [(8, true, 7), (8, false, 8), (5, true, 5), (2, false, 2)] {
        let (mut host, mut keys, _) = up_host(host_setup(kind, 8), crqsize);
        host.configure(&QueueSettings { kind, depth: 8, sq_flow_control }).expect("settings");
        for _ in 0..room {
            host.submit(flush_command(), &mut keys).expect("room");
        }
        let refused = host.submit(flush_command(), &mut keys).expect_err("full");
        assert_eq!(refused.why, Misuse::QueueFull, "CRQSIZE {crqsize}");
    }
}

// test: RDMA-CAP-01, RDMA-CAP-02, RDMA-CAP-05, RDMA-SGL-01
#[test]
fn a_command_without_data_is_64_bytes_and_describes_nothing() {
    let (mut host, mut keys, _) = up_host(host_setup(QueueKind::Io(1), 4), 4);
    let cid = host.submit(flush_command(), &mut keys).expect("room");
    let (_, sends) = host_output(&mut host);
    assert_eq!(gathered(&sends[0].sges).len(), 64);
    let sqe = sqe_of(&sends[0]);
    assert_eq!((sqe.cid(), sqe.psdt()), (cid, nvmf_wire::sqe::Psdt::SGL_METADATA_BUFFER));
    assert!(matches!(sqe.sgl.parse(), Ok(Sgl::Keyed { length: 0, invalidate: false, .. })), "{:?}", sqe.sgl);
    assert!(keys.exposed.is_empty());
}

// test: RDMA-CAP-01, RDMA-CAP-03, RDMA-SGL-02
#[test]
fn small_data_travels_in_the_capsule_once_connect_is_done() {
    for offset in [0usize, 64] {
        let setup = HostSetup { in_capsule_offset: offset as u32, ..host_setup(QueueKind::Io(1), 4) };
        let (mut host, mut keys, _) = up_host(setup, 4);
        host.submit(write_command(512), &mut keys).expect("room");
        assert_eq!(keys.exposed.len(), 1, "before Connect nothing travels in the capsule");
        host.configure(&QueueSettings { kind: QueueKind::Io(1), depth: 4, sq_flow_control: true })
            .expect("fine");
        host.submit(write_command(4096), &mut keys).expect("room");
        host.submit(write_command(4097), &mut keys).expect("room");
        assert_eq!(keys.exposed.len(), 2);
        let (_, sends) = host_output(&mut host);
        let capsule = gathered(&sends[1].sges);
        assert_eq!(capsule.len(), 64 + offset + 4096);
        assert!(capsule[64 + offset..].iter().all(|&byte| byte == 9));
        assert_eq!(sqe_of(&sends[1]).sgl.parse(), Ok(Sgl::InCapsule { offset: 0, length: 4096 }));
        assert_eq!(gathered(&sends[2].sges).len(), 64);
    }
    // The admin queue's capsules have no room.
    let (mut host, mut keys, _) = up_host(host_setup(QueueKind::Admin, 4), 4);
    host.configure(&QueueSettings { kind: QueueKind::Admin, depth: 4, sq_flow_control: true }).expect("fine");
    host.submit(write_command(4), &mut keys).expect("room");
    assert_eq!(keys.exposed.len(), 1);
}

// test: RDMA-SGL-03, RDMA-SGL-05, RDMA-KEY-01, RDMA-KEY-02
#[test]
fn other_data_has_a_key_of_its_own() {
    let (mut host, mut keys, _) = up_host(host_setup(QueueKind::Io(1), 4), 4);
    host.submit(read_command(8192), &mut keys).expect("room");
    host.submit(write_command(513), &mut keys).expect("room");
    let (first, second) = (keys.exposed[0], keys.exposed[1]);
    assert_eq!((first.1, first.2), (8192, RemoteAccess::Write));
    assert_eq!((second.1, second.2), (513, RemoteAccess::Read));
    let (_, sends) = host_output(&mut host);
    for (send, (key, len, _)) in sends.iter().zip([first, second]) {
        match sqe_of(send).sgl.parse() {
            Ok(Sgl::Keyed { length, key: said, invalidate: true, .. }) => {
                assert_eq!((length, said), (len, key))
            }
            other => panic!("{other:?}"),
        }
    }
}

// test: RDMA-SGL-04
#[test]
fn a_transfer_beyond_the_limit_is_refused() {
    let (mut host, mut keys, _) = up_host(host_setup(QueueKind::Io(1), 4), 4);
    let refused = host.submit(read_command((1 << 20) + 1), &mut keys).expect_err("too long");
    assert_eq!((refused.why, refused.given_back.data.len()), (Misuse::DataLength, (1 << 20) + 1));
    assert!(keys.exposed.is_empty());
}

// test: RDMA-CAP-07, RDMA-KEY-03
#[test]
fn a_command_ends_when_all_three_have() {
    for (invalidated, answer_first) in [(false, false), (false, true), (true, false), (true, true)] {
        let (mut host, mut keys, receives) = up_host(host_setup(QueueKind::Io(1), 4), 4);
        let cid = host.submit(read_command(4096), &mut keys).expect("room");
        let (_, sends) = host_output(&mut host);
        let key = keys.exposed[0].0;
        let answer = respond(&receives[0], Cqe::success(cid), invalidated.then_some(key));
        let mut order = [sent(&sends[0]), answer];
        if answer_first {
            order.reverse();
        }
        let mut events = Vec::new();
        host.completed(&order[0], &mut keys, &mut events);
        assert!(events.is_empty() && keys.withdrawn.is_empty());
        host.completed(&order[1], &mut keys, &mut events);
        assert!(matches!(events[..], [HostEvent::Completed { transferred: 4096, .. }]), "{events:?}");
        assert!(keys.withdrawn.contains(&key), "whatever is kept for the key goes");
    }
}

// test: RDMA-KEY-05
#[test]
fn a_foreign_key_is_not_for_a_completion_to_invalidate() {
    let (mut host, mut keys, receives) = up_host(host_setup(QueueKind::Io(1), 4), 4);
    let first = host.submit(read_command(4096), &mut keys).expect("room");
    host.submit(read_command(4096), &mut keys).expect("room");
    let (_, sends) = host_output(&mut host);
    let mut events = Vec::new();
    sends.iter().for_each(|send| host.completed(&sent(send), &mut keys, &mut events));
    let others = keys.exposed[1].0;
    host.completed(&respond(&receives[0], Cqe::success(first), Some(others)), &mut keys, &mut events);
    assert!(events.is_empty());
    assert_eq!(host.life(), Life::Closing);
    assert!(host.settle(), "the connection manager is asked to end it");
    host.disconnected(Ending::Orderly);
    assert_eq!(failure(&mut host).0, ErrorKind::Protocol);
}

// test: RDMA-CAP-04, RDMA-CAP-06, RDMA-ERR-01
#[test]
fn answers_that_make_no_sense_end_the_connection() {
    let lies: [fn(&RecvRequest, Cid) -> Completion; 4] = [
        |receive, cid| Completion { len: 15, ..respond(receive, Cqe::success(cid), None) },
        |receive, cid| Completion { len: 0, ..respond(receive, Cqe::success(cid), None) },
        |receive, cid| respond(receive, Cqe::success(Cid(cid.0 ^ 0x4000)), None),
        |receive, _| respond(receive, Cqe::success(Cid(0xffff)), None),
    ];
    for lie in lies {
        let (mut host, mut keys, receives) = up_host(host_setup(QueueKind::Io(1), 4), 4);
        let cid = host.submit(flush_command(), &mut keys).expect("room");
        let (_, sends) = host_output(&mut host);
        let mut events = Vec::new();
        host.completed(&sent(&sends[0]), &mut keys, &mut events);
        host.completed(&lie(&receives[0], cid), &mut keys, &mut events);
        assert!(events.is_empty(), "{events:?}");
        assert_eq!(host.life(), Life::Closing);
    }
    // Twice, while the first is held.
    let (mut host, mut keys, receives) = up_host(host_setup(QueueKind::Io(1), 4), 4);
    let cid = host.submit(flush_command(), &mut keys).expect("room");
    let mut events = Vec::new();
    host.completed(&respond(&receives[0], Cqe::success(cid), None), &mut keys, &mut events);
    host.completed(&respond(&receives[1], Cqe::success(cid), None), &mut keys, &mut events);
    assert_eq!((host.life(), events.len()), (Life::Closing, 0));
}

// test: RDMA-ERR-02, RDMA-ERR-03, RDMA-ERR-05, RDMA-KEY-04
#[test]
fn a_failed_request_ends_the_queue_with_a_reason() {
    for (status, kind) in [
        (WcStatus::RemoteOperation, ErrorKind::Protocol),
        (WcStatus::TransportRetry, ErrorKind::TimedOut),
        (WcStatus::Other(12), ErrorKind::Io),
    ] {
        let (mut host, mut keys, _) = up_host(host_setup(QueueKind::Io(1), 4), 4);
        host.submit(read_command(512), &mut keys).expect("room");
        let (_, sends) = host_output(&mut host);
        let mut events = Vec::new();
        host.completed(&done(sends[0].id, Operation::Send, status, 0), &mut keys, &mut events);
        assert_eq!(host.life(), Life::Closing);
        host.disconnected(Ending::Orderly);
        host.finish(&mut events);
        match &events[..] {
            [
                HostEvent::Aborted { cookie: 1, data, .. },
                HostEvent::Closed { reason: CloseReason::Failed(error), .. },
            ] => {
                assert_eq!((error.kind(), data.len()), (kind, 512));
                assert!(error.to_string().contains("sending a command"), "{error}");
            }
            other => panic!("{other:?}"),
        }
    }
    // Undone requests: the reason is the connection manager's.
    let (mut host, mut keys, receives) = up_host(host_setup(QueueKind::Io(1), 4), 4);
    let mut events = Vec::new();
    host.completed(&done(receives[0].id, Operation::Recv, WcStatus::Flushed, 0), &mut keys, &mut events);
    assert_eq!(host.life(), Life::Open);
    #[expect(clippy::disallowed_methods, reason = "any time will do")]
    let now = std::time::Instant::now();
    let until = host.deadline(now).expect("a limit to the silence");
    host.expire(until);
    assert_eq!(failure(&mut host).0, ErrorKind::Reset);
}

#[test]
fn failures_of_a_command_move_nothing() {
    let (mut host, mut keys, receives) = up_host(host_setup(QueueKind::Io(1), 4), 4);
    let cid = host.submit(read_command(512), &mut keys).expect("room");
    let (_, sends) = host_output(&mut host);
    let mut events = Vec::new();
    host.completed(&sent(&sends[0]), &mut keys, &mut events);
    let cqe = Cqe::error(cid, Status::UNRECOVERED_READ_ERROR);
    host.completed(&respond(&receives[0], cqe, None), &mut keys, &mut events);
    assert!(matches!(events[..], [HostEvent::Completed { transferred: 0, .. }]));
}

#[test]
fn an_orderly_end_waits_for_what_was_submitted() {
    let (mut host, mut keys, _) = up_host(host_setup(QueueKind::Io(1), 4), 4);
    host.submit(flush_command(), &mut keys).expect("room");
    host.close(Close::AfterFlush);
    assert!(!host.settle());
    let (_, sends) = host_output(&mut host);
    assert_eq!(sends.len(), 1);
    host.completed(&sent(&sends[0]), &mut keys, &mut Vec::new());
    assert!(host.settle(), "now the connection manager ends it");
    assert!(!host.settle(), "once");
}
