//! The controller's end: what it accepts, and what becomes of capsules.

use nvmf_transport::{CloseReason, ControllerEvent, Gather, QueueSettings, RequestData, RequestId};
use nvmf_wire::{Cid, IoOpcode, SglDescriptor, Status};

use super::*;
use crate::conn::{
    private_data::{Accept, LEN, RejectStatus},
    slots::{Direction, Place, Rules, place},
};

fn command(opcode: IoOpcode, cid: u16, sgl: SglDescriptor) -> Sqe {
    Sqe::io(opcode, 1).with_cid(Cid(cid)).with_sgl(sgl)
}

fn keyed(len: u32) -> SglDescriptor {
    SglDescriptor::keyed(0x1000, len, 0x55, false).expect("24 bits")
}

fn flush(cid: u16) -> Sqe {
    command(IoOpcode::FLUSH, cid, keyed(0))
}

fn request(event: &ControllerEvent) -> RequestId {
    match event {
        ControllerEvent::Command { request, .. } => *request,
        other => panic!("{other:?}"),
    }
}

fn with_data(sqe: &Sqe, data: &[u8]) -> Vec<u8> {
    [sqe.as_bytes(), data].concat()
}

fn failure(controller: &mut ControllerConn) -> String {
    let mut events = Vec::new();
    controller.finish(&mut events);
    match events.pop() {
        Some(ControllerEvent::Closed { reason: CloseReason::Failed(error), .. }) => error.to_string(),
        other => panic!("{other:?}"),
    }
}

// test: RDMA-CM-17, RDMA-IW-03, RDMA-CM-13
#[test]
fn accepts_no_more_reads_than_the_host_serves() {
    for (ours, theirs, can, agreed) in [(2, 16, 16, 2), (8, 1, 16, 1), (8, 255, 4, 4)] {
        let device = Device { max_initiator_depth: can, ..device() };
        let setup = ControllerSetup { read_depth: ours, ..controller_setup() };
        let offered = Depths { initiator: theirs, responder: 3 };
        let asked = Request { qid: 1, hrqsize: 16, hsqsize: 15, cntlid: 0 };
        let (private_data, depths) = ControllerConn::new(setup, asked, &device, offered).accept();
        assert_eq!(depths, Depths { initiator: agreed, responder: 3 });
        assert_eq!(Accept::parse(&private_data, Kind::Iwarp), Ok(Accept { crqsize: 16 }));
    }
    let none = Depths { initiator: 0, responder: 0 };
    let good = Request { qid: 0, hrqsize: 32, hsqsize: 31, cntlid: 0 }.encode();
    assert_eq!(ControllerConn::judge(&good, &device(), none, 64), Err(RejectStatus::IRD));
    assert_eq!(
        ControllerConn::judge(&[0; LEN - 1], &device(), none, 64),
        Err(RejectStatus::PRIVATE_DATA_LENGTH)
    );
}

// test: RDMA-QUE-07, RDMA-QUE-08, RDMA-CAP-03, RDMA-CAP-09
#[test]
fn receives_are_posted_before_accepting_with_room_for_data() {
    for (qid, room) in [(0, 64), (1, 64 + 4096)] {
        let (mut controller, _, receives) = up_controller(controller_setup(), qid, 16, &device());
        assert_eq!(receives.len(), 16);
        for receive in &receives {
            assert_eq!(receive.sges.iter().map(|sge| sge.length).sum::<u32>(), room, "queue {qid}");
        }
        let caps = controller.caps(&device()).expect("queues");
        assert!(caps.send_wr >= 2 * 16 + 2 && caps.recv_wr == 16, "{caps:?}");
        assert_eq!(controller.take_established(), Some((16, Depths { initiator: 2, responder: 0 })));
        assert_eq!(controller.take_established(), None);
    }
    let (_, _, receives) = up_controller(controller_setup(), 1, 16, &Device { max_recv_sge: 1, ..device() });
    assert_eq!(receives[0].sges.len(), 1, "a device with one element has no room for data");
}

// test: RDMA-QUE-09, RDMA-QUE-10
#[test]
fn a_receive_is_posted_again_before_its_command_is_answered() {
    let (mut controller, mut keys, receives) = up_controller(controller_setup(), 1, 4, &device());
    let data = vec![3; 4096];
    let sqe = command(IoOpcode::WRITE, 1, SglDescriptor::in_capsule(0, 4096));
    let mut events = Vec::new();
    controller.completed(&arrive(&receives[0], &with_data(&sqe, &data)), &mut keys, &mut events);
    controller.completed(&arrive(&receives[1], flush(2).as_bytes()), &mut keys, &mut events);
    let (again, _) = controller_output(&mut controller);
    assert_eq!(again.iter().map(|receive| receive.id).collect::<Vec<_>>(), [receives[0].id, receives[1].id]);
    assert_ne!(again[0].sges[1].address, receives[0].sges[1].address, "with room of its own");
    match &events[..] {
        [
            ControllerEvent::Command { data: Ok(RequestData::InCapsule(arrived)), .. },
            ControllerEvent::Command { data: Ok(RequestData::None), .. },
        ] => assert_eq!(arrived[..], data[..]),
        other => panic!("{other:?}"),
    }
}

// test: RDMA-QUE-06
#[test]
fn more_commands_than_entries_end_the_connection() {
    let (mut controller, mut keys, receives) = up_controller(controller_setup(), 1, 4, &device());
    let mut events = Vec::new();
    for cid in 0..4 {
        controller.completed(
            &arrive(&receives[usize::from(cid)], flush(cid).as_bytes()),
            &mut keys,
            &mut events,
        );
    }
    // An answer that is not posted is nothing the host can know of.
    controller.respond(request(&events[0]), Cqe::default(), Gather::new(), &mut keys).expect("an answer");
    let (again, sends) = controller_output(&mut controller);
    assert_eq!(sends.len(), 1);
    // Once it is posted the host may send the next command, also if the SEND's completion is late.
    controller.completed(&arrive(&again[0], flush(9).as_bytes()), &mut keys, &mut events);
    assert_eq!((controller.life(), events.len()), (Life::Open, 5));
    controller.respond(request(&events[1]), Cqe::default(), Gather::new(), &mut keys).expect("an answer");
    controller.completed(&arrive(&again[1], flush(10).as_bytes()), &mut keys, &mut events);
    assert_eq!((controller.life(), events.len()), (Life::Closing, 5));
    controller.disconnected(crate::verbs::Ending::Orderly);
    assert!(failure(&mut controller).contains("more commands than the queue has entries"));
    // What Connect settled counts.
    let (mut controller, mut keys, receives) = up_controller(controller_setup(), 1, 8, &device());
    let settings = QueueSettings { kind: QueueKind::Io(1), depth: 2, sq_flow_control: true };
    controller.configure(&settings).expect("settings");
    for cid in 0..3 {
        controller.completed(
            &arrive(&receives[usize::from(cid)], flush(cid).as_bytes()),
            &mut keys,
            &mut events,
        );
    }
    assert_eq!(controller.life(), Life::Closing);
}

// test: RDMA-CAP-08, RDMA-CAP-09
#[test]
fn capsules_of_a_wrong_length_end_the_connection() {
    for len in [0, 1, 63] {
        let (mut controller, mut keys, receives) = up_controller(controller_setup(), 1, 4, &device());
        let mut events = Vec::new();
        controller.completed(&arrive(&receives[0], &vec![0; len]), &mut keys, &mut events);
        assert_eq!((controller.life(), events.len()), (Life::Closing, 0), "{len} bytes");
    }
    let (mut controller, mut keys, receives) = up_controller(controller_setup(), 1, 4, &device());
    let too_long = done(receives[0].id, Operation::Recv, WcStatus::LocalLength, 0);
    controller.completed(&too_long, &mut keys, &mut Vec::new());
    assert_eq!(controller.life(), Life::Closing);
    controller.disconnected(crate::verbs::Ending::Orderly);
    assert!(failure(&mut controller).contains("longer than the room"));
}

// test: RDMA-CAP-10
#[test]
fn a_cid_in_use_fails_the_second_command() {
    let (mut controller, mut keys, receives) = up_controller(controller_setup(), 1, 4, &device());
    let mut events = Vec::new();
    for receive in &receives[..2] {
        controller.completed(&arrive(receive, flush(7).as_bytes()), &mut keys, &mut events);
    }
    assert!(matches!(events[0], ControllerEvent::Command { data: Ok(RequestData::None), .. }));
    assert!(matches!(&events[1], ControllerEvent::Command { data: Err(Status::COMMAND_ID_CONFLICT), .. }));
}

#[test]
fn an_event_request_leaves_its_cid_to_others() {
    for (qid, free) in [(0, true), (1, false)] {
        let (mut controller, mut keys, receives) = up_controller(controller_setup(), qid, 32, &device());
        let mut events = Vec::new();
        let event = nvmf_wire::admin::async_event_request().with_cid(nvmf_wire::Cid(7));
        controller.completed(&arrive(&receives[0], event.as_bytes()), &mut keys, &mut events);
        controller.completed(&arrive(&receives[1], flush(7).as_bytes()), &mut keys, &mut events);
        let [ControllerEvent::Command { .. }, ControllerEvent::Command { data, .. }] = &events[..] else {
            panic!("{events:?}")
        };
        assert_eq!(data.is_ok(), free, "queue {qid}");
    }
}

#[test]
fn the_first_message_proves_that_the_connection_is_up() {
    let asked = Request { qid: 1, hrqsize: 4, hsqsize: 3, cntlid: 0 };
    let offered = Depths { initiator: 1, responder: 0 };
    let mut controller = ControllerConn::new(controller_setup(), asked, &device(), offered);
    let mut keys = Fake::default();
    controller.prepare(controller.caps(&device()).expect("queues"), &mut keys).expect("memory");
    let (receives, _) = controller_output(&mut controller);
    let mut events = Vec::new();
    controller.completed(&arrive(&receives[0], flush(1).as_bytes()), &mut keys, &mut events);
    assert!(controller.take_established().is_some());
    controller.established();
    assert_eq!((controller.take_established(), events.len()), (None, 1));
}

const RULES: Rules = Rules { max_transfer: 1 << 20, max_descriptors: 2 };

// test: RDMA-SGL-06, RDMA-SGL-07
#[test]
fn in_capsule_descriptors_are_held_against_the_capsule() {
    let data = [0u8; 512];
    let write = |offset, len| {
        place(&command(IoOpcode::WRITE, 1, SglDescriptor::in_capsule(offset, len)), &data, RULES)
    };
    assert_eq!(write(0, 512), Ok(Place::InCapsule(0..512)));
    assert_eq!(write(16, 100), Ok(Place::InCapsule(16..116)));
    assert_eq!(write(512, 0), Ok(Place::None));
    for (offset, len, status) in [
        (0, 513, Status::DATA_SGL_LENGTH_INVALID),
        (511, 2, Status::DATA_SGL_LENGTH_INVALID),
        (1, u32::MAX, Status::DATA_SGL_LENGTH_INVALID),
        (513, 1, Status::SGL_OFFSET_INVALID),
        (u64::MAX, 1, Status::SGL_OFFSET_INVALID),
    ] {
        assert_eq!(write(offset, len), Err(status), "{len} bytes at {offset}");
    }
    let read = command(IoOpcode::READ, 1, SglDescriptor::in_capsule(0, 512));
    assert_eq!(place(&read, &data, RULES), Err(Status::INVALID_FIELD));
}

// test: RDMA-SGL-03, RDMA-SGL-08, RDMA-SGL-09, RDMA-SGL-11, RDMA-SGL-12
#[test]
fn keyed_descriptors_are_summed_up_and_bounded() {
    let list = |descriptors: &[SglDescriptor]| {
        let bytes: Vec<u8> = descriptors.iter().flat_map(|one| one.as_bytes().to_vec()).collect();
        let segment = SglDescriptor::segment_in_capsule(0, bytes.len() as u32, true);
        place(&command(IoOpcode::READ, 1, segment), &bytes, RULES)
    };
    match list(&[keyed(4096), keyed(512)]) {
        Ok(Place::Remote(remote)) => {
            assert_eq!((remote.len, remote.segments.len(), remote.direction), (4608, 2, Direction::ToHost));
            assert_eq!(
                remote.piece(4000, 1000).map(|piece| (piece.address, piece.len)),
                Some((0x1000 + 4000, 96))
            );
            assert_eq!(remote.piece(4096, 1000).map(|piece| (piece.address, piece.len)), Some((0x1000, 512)));
            assert_eq!(remote.piece(4608, 1), None);
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(list(&[keyed(1); 3]), Err(Status::INVALID_NUMBER_OF_SGL_DESCRIPTORS));
    assert_eq!(list(&[keyed(1), SglDescriptor::transport(1)]), Err(Status::SGL_DESCRIPTOR_TYPE_INVALID));
    let single = |sgl| place(&command(IoOpcode::WRITE, 1, sgl), &[], RULES);
    let wraps = SglDescriptor::keyed(u64::MAX - 10, 12, 1, false).expect("24 bits");
    assert_eq!(single(wraps), Err(Status::DATA_SGL_LENGTH_INVALID));
    assert!(single(SglDescriptor::keyed(u64::MAX - 10, 11, 1, false).expect("24 bits")).is_ok());
    assert_eq!(single(keyed((1 << 20) + 1)), Err(Status::DATA_SGL_LENGTH_INVALID));
    // A list that is not wholly there.
    let segment = SglDescriptor::segment_in_capsule(0, 32, true);
    assert_eq!(
        place(&command(IoOpcode::READ, 1, segment), &[0; 16], RULES),
        Err(Status::DATA_SGL_LENGTH_INVALID)
    );
}

// test: RDMA-SGL-10, RDMA-CAP-05
#[test]
fn other_descriptors_fail_the_command() {
    let judged = |sgl| place(&command(IoOpcode::READ, 1, sgl), &[], RULES);
    for sgl in [
        SglDescriptor::transport(512),
        SglDescriptor::data_block(0x1000, 512),
        SglDescriptor::bit_bucket(512),
        SglDescriptor::segment_in_capsule(0, 16, false),
        SglDescriptor { identifier: 0x4A, ..keyed(512) },
        SglDescriptor { identifier: 0xF0, ..keyed(512) },
    ] {
        assert_eq!(judged(sgl), Err(Status::SGL_DESCRIPTOR_TYPE_INVALID), "{sgl:?}");
    }
    assert_eq!(judged(SglDescriptor::default()), Ok(Place::None));
    let prp = command(IoOpcode::READ, 1, keyed(512)).with_psdt(nvmf_wire::sqe::Psdt::PRP);
    assert_eq!(place(&prp, &[], RULES), Err(Status::INVALID_FIELD));
}
