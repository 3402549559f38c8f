//! What completions carry, properties, and the values computed from fields.

use super::sparse;
use crate::event::*;
use crate::fabrics::*;
use crate::feature::*;
use crate::identify::*;
use crate::log::Lid;
use crate::log::health::CriticalWarning;
use crate::property::*;
use crate::{Cid, Cqe, Status};
use std::string::ToString;
use std::vec::Vec;
use zerocopy::little_endian::{U16, U32};
use zerocopy::{FromBytes, IntoBytes};

#[test]
fn connect_accepted() {
    let accepted = ConnectAccepted(0).with_cntlid(0x0102).with_authentication_required(true);
    let cqe = accepted.to_cqe(Cid(3));
    assert_eq!(sparse(&cqe), "0:02 1:01 2:02 12:03");
    assert_eq!(ConnectAccepted::parse(&cqe), Ok(accepted));
    let refused = Cqe::error(Cid(3), Status::CONNECT_INVALID_HOST);
    assert_eq!(ConnectAccepted::parse(&refused), Err(Status::CONNECT_INVALID_HOST));
}

#[test]
fn invalid_parameters_name_their_field() {
    for (parameter, dw0, name) in [
        (InvalidParameter::RECFMT, 0x0_0028, "RECFMT"),
        (InvalidParameter::QID, 0x0_002A, "QID"),
        (InvalidParameter::SQSIZE, 0x0_002C, "SQSIZE"),
        (InvalidParameter::CATTR, 0x0_002E, "CATTR"),
        (InvalidParameter::KATO, 0x0_0030, "KATO"),
        (InvalidParameter::HOSTID, 0x1_0000, "HOSTID"),
        (InvalidParameter::CNTLID, 0x1_0010, "CNTLID"),
        (InvalidParameter::SUBNQN, 0x1_0100, "SUBNQN"),
        (InvalidParameter::HOSTNQN, 0x1_0200, "HOSTNQN"),
    ] {
        let cqe = parameter.to_cqe(Cid(1));
        assert_eq!(parameter.dw0(), dw0, "{name}");
        assert_eq!(cqe.dw0(), dw0);
        assert_eq!(cqe.status(), Status::CONNECT_INVALID_PARAMETERS.with_dnr());
        assert_eq!(InvalidParameter::parse(&cqe), Some(parameter));
        assert_eq!(parameter.field_name(), Some(name));
    }
    let text = InvalidParameter::SUBNQN.to_string();
    assert_eq!(text, "SUBNQN (subsystem name), byte 256 of the data");
    let nowhere = InvalidParameter { in_data: false, offset: 63 };
    assert_eq!((nowhere.field_name(), nowhere.to_string()), (None, "byte 63 of the command".to_string()));
    let busy = Cqe::error(Cid(1), Status::CONNECT_CONTROLLER_BUSY).with_dw0(0x28);
    assert_eq!(InvalidParameter::parse(&busy), None);
}

#[test]
fn every_offset_of_a_connect_is_its_field() {
    let names = |in_data, end| {
        let field = move |offset| InvalidParameter { in_data, offset }.field_name();
        let mut runs: Vec<(u16, Option<&str>)> = Vec::new();
        for offset in 0..end {
            if runs.last().is_none_or(|run| run.1 != field(offset)) {
                runs.push((offset, field(offset)));
            }
        }
        runs
    };
    let sqe = [
        (0, None),
        (4, Some("FCTYPE")),
        (5, None),
        (24, Some("SGL1")),
        (40, Some("RECFMT")),
        (42, Some("QID")),
        (44, Some("SQSIZE")),
        (46, Some("CATTR")),
        (47, None),
        (48, Some("KATO")),
        (52, None),
    ];
    assert_eq!(names(false, 1024), sqe);
    let data = [
        (0, Some("HOSTID")),
        (16, Some("CNTLID")),
        (18, None),
        (256, Some("SUBNQN")),
        (512, Some("HOSTNQN")),
        (768, None),
    ];
    assert_eq!(names(true, 2048), data);
}

#[test]
fn capabilities() {
    let cap = Cap(0).with_mqes(127).with_timeout(15).with_css(Cap::CSS_NVM).with_cqr(true);
    assert_eq!(cap.0, 0x0000_0020_0F01_007F);
    assert_eq!((cap.max_queue_entries(), cap.timeout_ms(), cap.min_page_size()), (128, 7500, 4096));
    let ones = Cap(u64::MAX);
    assert_eq!(
        (ones.max_queue_entries(), ones.timeout_ms(), ones.min_page_size()),
        (65536, 127_500, 1 << 27)
    );
}

#[test]
fn versions() {
    assert_eq!([Version::V1_4.0, Version::V2_0.0, Version::V2_1.0], [0x0001_0400, 0x0002_0000, 0x0002_0100]);
    assert_eq!([Version::new(1, 2, 1).to_string(), Version::V2_0.to_string()], ["1.2.1", "2.0"]);
    assert!(Version::V1_4 < Version::V2_0 && Version::V2_0 < Version::V2_1);
}

#[test]
fn configuration_and_status() {
    assert_eq!(Cc::ENABLE_NVM.0, 0x0046_0001);
    assert_eq!((Cc::ENABLE_NVM.page_size(), Cc(u32::MAX).page_size()), (4096, 1 << 27));
    assert_eq!(Cc::ENABLE_NVM.with_shn(ShutdownNotification::NORMAL).0, 0x0046_4001);
    assert_eq!(Csts(0).with_rdy(true).with_shst(ShutdownStatus::COMPLETE).0, 0b1001);
    assert_eq!(NSSR_RESET.to_be_bytes(), *b"NVMe");
}

#[test]
fn values_wider_than_their_field_are_cut() {
    assert_eq!(Cap(0).with_dstrd(0xFF).0, 0x0000_000F_0000_0000);
    assert_eq!(Cc(0).with_css(CommandSetSelected(0xFF)).0, 0x70);
}

#[test]
fn events() {
    let changed = AsyncEvent::notice(NoticeEvent::DISCOVERY_LOG_CHANGE);
    assert_eq!(changed.0, 0x0070_F002);
    assert_eq!(AsyncEvent::notice(NoticeEvent::NAMESPACE_ATTRIBUTE_CHANGED).0, 0x0004_0002);
    assert_eq!(AsyncEvent::error(ErrorEvent::TRANSIENT_INTERNAL_ERROR).0, 0x0001_0400);
    assert_eq!(AsyncEvent::smart(SmartEvent::SPARE_BELOW_THRESHOLD).0, 0x0002_0201);
    assert_eq!(AsyncEvent::parse(&changed.to_cqe(Cid(1))), changed);
    assert_eq!(changed.to_string(), "notice: discovery log page change");
    assert_eq!(AsyncEvent(0x05).to_string(), "unknown (05h): 00h");
    for &notice in NoticeEvent::KNOWN {
        let event = AsyncEvent::notice(notice);
        assert_eq!((event.kind(), event.info()), (EventType::NOTICE, notice.0));
        assert!(event.log_page().is_known() && event.log_page() != Lid(0), "{notice:?}");
    }
}

#[test]
fn queue_numbers() {
    assert_eq!(NumberOfQueues::pairs(4).0, 0x0003_0003);
    assert_eq!(NumberOfQueues(0x0003_0007).queue_pairs(), 4);
    assert_eq!(NumberOfQueues(0x0007_0003).queue_pairs(), 4);
    for count in [0, 1, 65535, 65536, u32::MAX] {
        let asked = NumberOfQueues::pairs(count);
        assert!(asked.is_valid());
        assert_eq!(asked.queue_pairs(), count.clamp(1, 65535));
    }
    assert!(!NumberOfQueues(0xFFFF).is_valid() && !NumberOfQueues(0xFFFF_0000).is_valid());
}

#[test]
fn other_features() {
    let config = AsyncEventConfiguration::DISCOVERY_LOG_CHANGE.with_critical_warnings(CriticalWarning::SPARE);
    assert_eq!(config.bits(), 0x8000_0001);
    assert_eq!(config.critical_warnings(), CriticalWarning::SPARE);
    let cleared = config.with_critical_warnings(CriticalWarning::empty());
    assert_eq!(cleared, AsyncEventConfiguration::DISCOVERY_LOG_CHANGE);
    let mut timestamp = Timestamp::zeroed();
    timestamp.set_milliseconds(0xFFFF_0605_0403_0201).set_attributes(TimestampAttributes(0).with_origin(1));
    assert_eq!(timestamp.as_bytes(), [1, 2, 3, 4, 5, 6, 2, 0]);
    assert_eq!((timestamp.milliseconds(), timestamp.attributes().origin()), (0x0605_0403_0201, 1));
}

#[test]
fn identify_controller_values() {
    let mut id = IdentifyController::zeroed();
    assert_eq!((id.in_capsule_data(), id.max_transfer(4096)), (None, None));
    id.ioccsz = U32::new(3);
    assert_eq!(id.in_capsule_data(), None);
    id.ioccsz = U32::new(4);
    assert_eq!(id.in_capsule_data(), Some(0));
    id.ioccsz = U32::new(4 + 1024);
    assert_eq!(id.in_capsule_data(), Some(16384));
    id.icdoff = U16::new(1);
    assert_eq!(id.in_capsule_data(), Some(16368));
    id.icdoff = U16::new(u16::MAX);
    assert_eq!(id.in_capsule_data(), Some(0));
    for (mdts, bytes) in [(5, Some(131_072)), (51, Some(1 << 63)), (52, None), (64, None), (255, None)] {
        id.mdts = mdts;
        assert_eq!(id.max_transfer(4096), bytes, "{mdts}");
    }
    id.set_sqes(QueueEntrySizes::SQE).set_cqes(QueueEntrySizes::CQE).set_ver(Version::V2_0);
    id.set_oncs(OptionalNvmCommands::WRITE_ZEROES | OptionalNvmCommands::DATASET_MANAGEMENT);
    id.set_sgls(SglSupport(0).with_supported(1).with_offset(true).with_transport(true));
    let bytes = id.as_bytes();
    assert_eq!((bytes[512], bytes[513], &bytes[520..522]), (0x66, 0x44, &[0x0C, 0][..]));
    assert_eq!((&bytes[80..84], &bytes[536..540]), (&[0, 0, 2, 0][..], &[1, 0, 0x30, 0][..]));
    assert_eq!((id.sgls().supported(), id.oncs().bits(), id.ver()), (1, 0x0C, Version::V2_0));
}

#[test]
fn namespace_formats() {
    let mut id = IdentifyNamespace::zeroed();
    assert_eq!(id.block_size(), None);
    id.lbaf[1] = LbaFormat::new(12, 8);
    id.lbaf[17] = LbaFormat::new(9, 0);
    id.set_flbas(FormattedLbaSize(0).with_index_low(1).with_index_high(1));
    assert_eq!((id.format_index(), id.block_size()), (1, Some(4096)));
    assert_eq!(id.format().ms.get(), 8);
    id.nlbaf = 15;
    assert_eq!(id.format_index(), 1);
    id.nlbaf = 16;
    assert_eq!((id.format_index(), id.block_size()), (17, Some(512)));
    id.nlbaf = 10;
    id.nulbaf = 10;
    assert_eq!(id.format_index(), 17);
    for (lbads, size) in [(8, None), (9, Some(512)), (31, Some(1 << 31)), (32, None), (255, None)] {
        assert_eq!(LbaFormat::new(lbads, 0).block_size(), size);
    }
    assert_eq!(LbaFormat::new(12, 0x0102).as_bytes(), [2, 1, 12, 0]);
    let slow = LbaFormat { rp: 0xFF, ..LbaFormat::new(9, 0) };
    assert_eq!(slow.relative_performance(), RelativePerformance::DEGRADED);
}

#[test]
fn every_namespace_bytes_give_an_answer() {
    let id = IdentifyNamespace::read_from_bytes(&[0xFF; 4096]).unwrap();
    assert_eq!((id.format_index(), id.block_size()), (63, None));
}

#[test]
fn command_set_combinations() {
    let sets = CommandSetCombinations::new([CommandSetCombination::NVM]);
    assert_eq!(sparse(&sets), "0:01");
    assert!(sets.iter().eq([(0, CommandSetCombination::NVM)]));
    let full = CommandSetCombinations::new([CommandSetCombination::ZONED; 600]);
    assert_eq!(full.iter().count(), 512);
}
