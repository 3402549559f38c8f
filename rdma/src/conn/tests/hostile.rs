//! Whatever a peer sends: nothing panics, nothing is delivered twice, everything comes back once.

use nvmf_transport::{Command, ControllerEvent, Data, Gather, HostEvent};
use nvmf_wire::IoOpcode;
use proptest::prelude::*;

use super::*;
use crate::{
    conn::private_data::{self, Accept},
    verbs::Ending,
};

/// A message of a peer, and which receive it takes.
fn message(max: usize) -> impl Strategy<Value = (Vec<u8>, u16)> {
    (prop::collection::vec(any::<u8>(), 0..max), any::<u16>())
}

/// A capsule that is nearly one: plausible in most fields.
fn capsule() -> impl Strategy<Value = Vec<u8>> {
    let sgl = (
        prop_oneof![Just(0x40u8), Just(0x4f), Just(0x01), Just(0x31), Just(0x21), any::<u8>()],
        prop_oneof![Just(0u64), 0u64..5000, any::<u64>()],
        prop_oneof![Just(0u32), Just(16), Just(32), 0u32..5000, any::<u32>()],
        any::<u32>(),
    );
    let opcode = prop_oneof![Just(0u8), Just(1), Just(2), Just(0x7f), any::<u8>()];
    (opcode, 0u16..8, sgl, prop::collection::vec(any::<u8>(), 0..200)).prop_map(
        |(opcode, cid, (identifier, address, len, key), tail)| {
            let mut bytes = vec![0; 64];
            bytes[0] = opcode;
            bytes[1] = 0x40;
            bytes[2..4].copy_from_slice(&cid.to_le_bytes());
            bytes[24..32].copy_from_slice(&address.to_le_bytes());
            bytes[32..36].copy_from_slice(&len.to_le_bytes());
            if identifier & 0xf0 == 0x40 {
                bytes[35..39].copy_from_slice(&key.to_le_bytes());
            }
            bytes[39] = identifier;
            bytes.extend(tail);
            bytes
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn private_data_of_any_kind(bytes in prop::collection::vec(any::<u8>(), 0..600), ird in any::<u8>(), iwarp in any::<bool>()) {
        let kind = if iwarp { Kind::Iwarp } else { Kind::RoCe };
        if let Ok(request) = Request::parse(&bytes, kind) {
            let _ = private_data::judge(&request, 64, ird);
            prop_assert_eq!(&request.encode()[..10], &bytes[..10]);
        }
        if let Ok(accept) = Accept::parse(&bytes, kind) {
            prop_assert!(accept.crqsize >= 2);
        }
        let _ = private_data::parse_reject(&bytes);
    }

    #[test]
    fn a_host_survives_any_controller(messages in prop::collection::vec((message(17), any::<bool>(), any::<u32>()), 0..40)) {
        let (mut host, mut keys, receives) = up_host(host_setup(QueueKind::Io(1), 8), 8);
        let mut posted: Vec<RecvRequest> = receives;
        let mut events = Vec::new();
        for cookie in 0..7 {
            let data = if cookie % 2 == 0 { Data::FromController(buffer(5000, 0)) } else { Data::None };
            let command = Command { sqe: Sqe::io(IoOpcode::READ, 1), data, cookie };
            prop_assert!(host.submit(command, &mut keys).is_ok());
        }
        let (_, sends) = host_output(&mut host);
        for send in &sends {
            host.completed(&sent(send), &mut keys, &mut events);
        }
        for ((mut bytes, which), mend, key) in messages {
            if mend {
                // Nearly a completion of something.
                bytes.resize(16, 0);
                let cid = sqe_of(&sends[usize::from(which) % sends.len()]).cid();
                bytes[12..14].copy_from_slice(&cid.0.to_le_bytes());
            }
            if posted.is_empty() { break }
            let receive = posted.remove(usize::from(which) % posted.len());
            bytes.truncate(16);
            scattered(&receive.sges, &bytes);
            let invalidated = (key % 3 == 0).then_some(key % 0x900);
            let completion = Completion { invalidated, ..done(receive.id, Operation::Recv, WcStatus::Success, bytes.len()) };
            host.completed(&completion, &mut keys, &mut events);
            posted.extend(host_output(&mut host).0);
        }
        host.disconnected(Ending::Orderly);
        host.finish(&mut events);
        let ends = |event: &HostEvent| matches!(event, HostEvent::Completed { .. } | HostEvent::Aborted { .. });
        prop_assert_eq!(events.iter().filter(|event| ends(event)).count(), 7);
        let closed = matches!(events.last(), Some(HostEvent::Closed { .. }));
        prop_assert!(closed);
    }

    #[test]
    fn a_controller_survives_any_host(
        messages in prop::collection::vec(prop_oneof![capsule().prop_map(|bytes| (bytes, 0)), message(4160)], 0..40),
        qid in 0u16..2,
        answers in prop::collection::vec(any::<bool>(), 40),
    ) {
        let (mut controller, mut keys, mut posted) = up_controller(controller_setup(), qid, 8, &device());
        let mut events = Vec::new();
        let mut fetches = 0;
        for ((mut bytes, which), answer) in messages.into_iter().zip(answers) {
            if posted.is_empty() { break }
            let receive = posted.remove(usize::from(which) % posted.len());
            let room = receive.sges.iter().map(|sge| sge.length as usize).sum();
            // The device refuses what is longer.
            bytes.truncate(room);
            controller.completed(&arrive(&receive, &bytes), &mut keys, &mut events);
            let last = events.last();
            if let Some(&ControllerEvent::Command { request, ref data, .. }) = last {
                let len = data.as_ref().map_or(0, nvmf_transport::RequestData::len).min(8192);
                prop_assert!(controller.outstanding() <= 8);
                if answer {
                    let _ = controller.respond(request, Cqe::default(), Gather::new(), &mut keys);
                } else if len > 0 && controller.fetch(request, 0, buffer(len & !3, 0), &mut keys).is_ok() {
                    fetches += 1;
                }
            }
            let (receives, sends) = controller_output(&mut controller);
            posted.extend(receives);
            for send in &sends {
                controller.completed(&sent(send), &mut keys, &mut events);
            }
        }
        controller.disconnected(Ending::Orderly);
        controller.finish(&mut events);
        let fetched = |event: &ControllerEvent| matches!(event, ControllerEvent::Fetched { .. });
        prop_assert_eq!(events.iter().filter(|event| fetched(event)).count(), fetches);
    }
}
