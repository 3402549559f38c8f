//! The discovery controller.

use std::net::SocketAddr;

use nvmf_controller::{Hosts, SubsystemOptions};
use nvmf_transport::{RequestData, Wire};
use nvmf_wire::{
    AdminOpcode, NqnField, Sqe, Status,
    admin::{async_event_request, keep_alive},
    event::{AsyncEvent, NoticeEvent},
    fabrics::{CNTLID_DYNAMIC, InvalidParameter},
    feature::{AsyncEventConfiguration, Fid, GetFeatures, SetFeatures},
    identify::{Cns, Identify},
    log::{
        GetLogPage, Lid,
        discovery::{
            AddressFamily, DiscoveryEntry, DiscoveryHeader, SecureChannel, SubsystemType, TcpSecurity,
            TransportType,
        },
    },
};

use crate::rig::*;

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

#[track_caller]
fn piece(rig: &mut Rig, queue: Q, offset: u64, length: u32) -> Vec<u8> {
    let sqe = GetLogPage::new(Lid::DISCOVERY, length).with_offset(offset).to_sqe();
    let data = rig.read(queue, sqe, length).ok().data;
    assert_eq!(data.len(), length as usize);
    data
}

#[track_caller]
fn header(rig: &mut Rig, queue: Q) -> DiscoveryHeader {
    *DiscoveryHeader::view(&piece(rig, queue, 0, 1024)).unwrap()
}

#[track_caller]
fn entries(rig: &mut Rig, queue: Q) -> Vec<DiscoveryEntry> {
    let records = header(rig, queue).numrec.get();
    (1..=records).map(|n| *DiscoveryEntry::view(&piece(rig, queue, n * 1024, 1024)).unwrap()).collect()
}

#[test]
fn entries_of_subsystems_and_listeners() {
    let mut rig = Rig::new();
    let first = rig.server.add_listener(Wire::TCP, address("192.0.2.1:4420"));
    let second = rig.server.add_listener(Wire::TCP, address("[2001:db8::5]:8009"));
    rig.server.add_subsystem(SubsystemOptions::new(nqn("nqn.2024-01.com.example:zwei"))).unwrap();
    let queue = rig.discovery(0);
    let entries = entries(&mut rig, queue);
    assert_eq!(entries.len(), 4);
    let entry = &entries[0];
    assert_eq!(entry.trtype, TransportType::TCP);
    assert_eq!(entry.adrfam, AddressFamily::IPV4);
    assert_eq!(entry.subtype, SubsystemType::NVM);
    assert_eq!(entry.treq().secure_channel(), SecureChannel::NOT_SPECIFIED);
    assert!(entry.treq().sq_flow_control_disable_supported());
    assert_eq!((entry.portid.get(), entry.cntlid.get(), entry.asqsz.get()), (first, CNTLID_DYNAMIC, 128));
    assert_eq!(entry.trsvcid.as_str(), Some("4420"));
    assert_eq!(entry.traddr.as_str(), Some("192.0.2.1"));
    assert_eq!(entry.subnqn.nqn().unwrap(), nqn(SUBSYSTEM));
    assert_eq!(entry.tcp().unwrap().sectype, TcpSecurity::NONE);
    let six = &entries[1];
    assert_eq!((six.adrfam, six.portid.get()), (AddressFamily::IPV6, second));
    assert_eq!((six.traddr.as_str(), six.trsvcid.as_str()), (Some("2001:db8::5"), Some("8009")));
    assert_eq!(entries[3].subnqn.nqn().unwrap(), nqn("nqn.2024-01.com.example:zwei"));
    let header = header(&mut rig, queue);
    assert_eq!((header.numrec.get(), header.recfmt.get()), (4, 0));
    assert_eq!(header.genctr.get(), rig.server.generation());
}

#[test]
fn wildcard_listeners() {
    let mut rig = Rig::new();
    rig.server.add_listener(Wire::TCP, address("0.0.0.0:4420"));
    rig.server.add_listener(Wire::TCP, address("[::]:4421"));
    let four = rig.discovery(0);
    let seen: Vec<_> = entries(&mut rig, four).iter().map(|entry| entry.traddr.to_string()).collect();
    // The listener on [::] takes no IPv4.
    assert_eq!(seen, ["192.0.2.1"]);
    rig.local = address("[2001:db8::1]:4421");
    let six = rig.discovery(0);
    let seen: Vec<_> = entries(&mut rig, six).iter().map(|entry| entry.traddr.to_string()).collect();
    assert_eq!(seen, ["2001:db8::1"]);
}

#[test]
fn hosts_see_what_they_may_use() {
    let mut rig = Rig::new();
    rig.server.add_listener(Wire::TCP, address("192.0.2.1:4420"));
    let mut hidden = SubsystemOptions::new(nqn("nqn.2024-01.com.example:hidden"));
    hidden.hosts = Hosts::from_iter([nqn(OTHER_HOST)]);
    rig.server.add_subsystem(hidden).unwrap();
    let queue = rig.discovery(0);
    assert_eq!(entries(&mut rig, queue).len(), 1);
    let mut other = data_for(nvmf_wire::DISCOVERY_NQN);
    other.hostnqn = NqnField::from(nqn(OTHER_HOST));
    let (queue, _) = rig.associate(0, &other, 0);
    rig.enable(queue);
    assert_eq!(entries(&mut rig, queue).len(), 2);
}

#[test]
fn the_generation_counts_every_change() {
    let mut rig = Rig::new();
    let queue = rig.discovery(0);
    let mut last = header(&mut rig, queue).genctr.get();
    let mut changed = |rig: &mut Rig, what: &str| {
        let now = header(rig, queue).genctr.get();
        assert!(now > last, "{what}");
        last = now;
    };
    let port = rig.server.add_listener(Wire::TCP, address("192.0.2.1:4420"));
    changed(&mut rig, "a listener comes");
    let name = nqn("nqn.2024-01.com.example:zwei");
    rig.server.add_subsystem(SubsystemOptions::new(name)).unwrap();
    changed(&mut rig, "a subsystem comes");
    rig.subsystem.set_hosts(Hosts::from_iter([nqn(OTHER_HOST)]));
    changed(&mut rig, "the hosts change");
    rig.server.remove_subsystem(&name).unwrap();
    changed(&mut rig, "a subsystem goes");
    rig.server.remove_listener(port);
    changed(&mut rig, "a listener goes");
    assert_eq!(header(&mut rig, queue).numrec.get(), 0);
}

#[test]
fn a_page_read_in_pieces_is_of_one_generation() {
    let mut rig = Rig::new();
    rig.server.add_listener(Wire::TCP, address("192.0.2.1:4420"));
    for number in 0..50 {
        rig.server
            .add_subsystem(SubsystemOptions::new(nqn(&format!("nqn.2024-01.com.example:{number}"))))
            .unwrap();
    }
    let queue = rig.discovery(0);
    let whole: Vec<u8> = {
        let mut bytes = piece(&mut rig, queue, 0, 32 << 10);
        bytes.extend(piece(&mut rig, queue, 32 << 10, 20 << 10));
        bytes
    };
    let length = 1024 * 52;
    let mut pieces = piece(&mut rig, queue, 0, 1024);
    let before = DiscoveryHeader::view(&pieces).unwrap().genctr.get();
    while pieces.len() < length {
        // The configuration changes all the time; what is read stays what the header said.
        let name = nqn(&format!("nqn.2024-01.com.example:{}", pieces.len() % 50));
        rig.server.remove_subsystem(&name).unwrap();
        rig.server.add_subsystem(SubsystemOptions::new(name)).unwrap();
        pieces.extend(piece(&mut rig, queue, pieces.len() as u64, 4 * 1024 - 4));
    }
    assert_eq!(pieces[..length], whole[..length]);
    assert!(header(&mut rig, queue).genctr.get() > before, "the reader sees that it has to read again");
    // Lengths and offsets.
    let sqe = |offset, length| GetLogPage::new(Lid::DISCOVERY, length).with_offset(offset).to_sqe();
    assert_eq!(rig.read(queue, sqe(0, 64 << 10), 64 << 10).ok().data.len(), 64 << 10);
    assert_eq!(rig.read(queue, sqe(0, (64 << 10) + 4), (64 << 10) + 4).status(), Status::INVALID_FIELD);
    assert_eq!(rig.read(queue, sqe(6, 16), 16).status(), Status::INVALID_FIELD);
    assert_eq!(rig.read(queue, sqe(length as u64 + 4, 16), 16).status(), Status::INVALID_FIELD);
    assert_eq!(rig.read(queue, sqe(length as u64, 16), 16).ok().data, [0; 16]);
}

#[test]
fn changes_are_told() {
    let mut rig = Rig::new();
    let queue = rig.discovery(30_000);
    let enable = SetFeatures::new(
        Fid::ASYNC_EVENT_CONFIGURATION,
        AsyncEventConfiguration::DISCOVERY_LOG_CHANGE.bits(),
    );
    rig.command(queue, enable.to_sqe()).ok();
    let waiting = rig.submit(queue, async_event_request(), RequestData::None);
    for port in 1..100 {
        rig.server.add_listener(Wire::TCP, SocketAddr::new([192, 0, 2, 1].into(), port));
        rig.settle();
    }
    let event = rig.answer(queue, waiting).unwrap().ok().cqe.dw0();
    assert_eq!(AsyncEvent(event), AsyncEvent::notice(NoticeEvent::DISCOVERY_LOG_CHANGE));
    assert_eq!(event, 0x0070_f002);
    let waiting = rig.submit(queue, async_event_request(), RequestData::None);
    assert!(rig.answer(queue, waiting).is_none(), "told already");
    let keep = GetLogPage::new(Lid::DISCOVERY, 1024).with_rae(true).to_sqe();
    rig.read(queue, keep, 1024).ok();
    rig.server.remove_listener(1);
    rig.settle();
    assert!(rig.answer(queue, waiting).is_none(), "read with RAE");
    header(&mut rig, queue);
    assert!(rig.answer(queue, waiting).is_none(), "the page read has told of it");
    rig.server.remove_listener(2);
    rig.settle();
    rig.answer(queue, waiting).unwrap().ok();
}

#[test]
fn what_a_discovery_controller_takes() {
    let mut rig = Rig::new();
    let queue = rig.discovery(0);
    rig.command(queue, keep_alive()).ok();
    assert_eq!(rig.command(queue, GetFeatures::new(Fid::KEEP_ALIVE_TIMER).to_sqe()).ok().cqe.dw0(), 0);
    rig.command(queue, SetFeatures::new(Fid::KEEP_ALIVE_TIMER, 10_000).to_sqe()).ok();
    for fid in [Fid::NUMBER_OF_QUEUES, Fid::ARBITRATION, Fid::HOST_IDENTIFIER, Fid(0)] {
        assert_eq!(rig.command(queue, GetFeatures::new(fid).to_sqe()).status(), Status::INVALID_FIELD);
        assert_eq!(rig.command(queue, SetFeatures::new(fid, 0).to_sqe()).status(), Status::INVALID_FIELD);
    }
    for cns in [Cns::NAMESPACE, Cns::ACTIVE_NAMESPACES, Cns::NAMESPACE_DESCRIPTORS, Cns::CONTROLLERS] {
        let answer = rig.read(queue, Identify::new(cns, 1).to_sqe(), 4096);
        assert_eq!(answer.status(), Status::INVALID_FIELD);
    }
    for lid in [Lid::ERROR_INFORMATION, Lid::SMART_HEALTH, Lid::CHANGED_NAMESPACE_LIST, Lid::COMMAND_EFFECTS]
    {
        let answer = rig.read(queue, GetLogPage::new(lid, 16).to_sqe(), 16);
        assert_eq!(answer.status(), Status::INVALID_LOG_PAGE);
    }
    for opcode in [AdminOpcode::ABORT, AdminOpcode::FORMAT_NVM, AdminOpcode::CREATE_IO_SQ, AdminOpcode(0xc0)]
    {
        assert_eq!(rig.command(queue, Sqe::admin(opcode)).status(), Status::INVALID_OPCODE);
    }
    let (_, answer) = rig.connect(0, io_connect(1, 8), &data_for(nvmf_wire::DISCOVERY_NQN));
    assert_eq!(InvalidParameter::parse(&answer.cqe), Some(InvalidParameter::QID));
}
