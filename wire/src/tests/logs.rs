//! Log pages: what their accessors read and write.

use super::sparse;
use crate::log::Lid;
use crate::log::discovery::*;
use crate::log::effects::*;
use crate::log::health::*;
use crate::{AdminOpcode, Ascii, Cid, IoOpcode, Nqn, Status};
use zerocopy::little_endian::U16;
use zerocopy::{FromZeros, IntoBytes};

#[test]
fn discovery_entries() {
    let mut entry = DiscoveryEntry::zeroed();
    entry.set_tcp(TcpSubtype { sectype: TcpSecurity::TLS_1_3, ..TcpSubtype::zeroed() });
    assert_eq!(sparse(&entry), "0:03 768:02");
    assert_eq!(entry.tcp().unwrap().sectype, TcpSecurity::TLS_1_3);
    assert_eq!(entry.rdma(), None);
    let mut rdma = RdmaSubtype::zeroed();
    rdma.qptype = RdmaQpType::RELIABLE_CONNECTED;
    rdma.prtype = RdmaProvider::IWARP;
    rdma.cms = RdmaConnectionManagement::RDMA_IP_CM;
    rdma.pkey = U16::new(0xFFFE);
    entry.set_rdma(rdma);
    assert_eq!(sparse(&entry), "0:01 768:01 769:05 770:01 776:fe 777:ff");
    assert_eq!((entry.rdma(), entry.tcp()), (Some(rdma), None));
    entry.subnqn = Nqn::DISCOVERY.into();
    entry.traddr = Ascii::new("192.0.2.1").unwrap();
    entry.trsvcid = Ascii::new("4420").unwrap();
    assert!(entry.subnqn.nqn().unwrap().is_discovery());
    assert_eq!((entry.traddr.as_str(), entry.trsvcid.as_str()), (Some("192.0.2.1"), Some("4420")));
    assert_eq!(&entry.as_bytes()[32..37], b"4420 ");
    assert_eq!(&entry.as_bytes()[512..522], b"192.0.2.1 ");
}

#[test]
fn supported_log_pages_and_effects() {
    let mut pages = SupportedLogPages::zeroed();
    pages.set_page(Lid::DISCOVERY, LogPageSupport(0).with_supported(true).with_index_offset(true));
    assert_eq!(sparse(&pages), "448:03");
    assert!(pages.page(Lid::DISCOVERY).supported() && !pages.page(Lid(0xFF)).supported());
    let mut log = CommandEffectsLog::zeroed();
    let effects = CommandEffects(0).with_supported(true).with_content_change(true);
    log.set_admin_command(AdminOpcode(0xFF), effects).set_io_command(IoOpcode(0xFF), effects);
    assert_eq!(sparse(&log), "1020:03 2044:03");
    assert_eq!((log.admin_command(AdminOpcode(0xFF)), log.io_command(IoOpcode(0xFF))), (effects, effects));
    assert_eq!(log.io_command(IoOpcode::READ), CommandEffects(0));
}

#[test]
fn error_information_has_the_status_of_the_completion() {
    let mut entry = ErrorInformation::zeroed();
    entry.set_status(Status::WRITE_FAULT.with_dnr());
    entry.cid = U16::new(7);
    assert_eq!(sparse(&entry), "10:07 13:85");
    assert_eq!((entry.status(), entry.cid()), (Status::WRITE_FAULT.with_dnr(), Cid(7)));
}

#[test]
fn changed_namespaces() {
    let list = ChangedNamespaces::new([1, 2, 0x0102_0304]);
    assert_eq!(sparse(&list), "0:01 4:02 8:04 9:03 10:02 11:01");
    assert!(list.iter().eq([1, 2, 0x0102_0304]));
    assert!(!list.is_overflowed());
    assert_eq!(ChangedNamespaces::new(1..=1024).iter().count(), 1024);
    let over = ChangedNamespaces::new(1..=1025);
    assert!(over.is_overflowed() && over.iter().eq([u32::MAX]));
}

#[test]
fn typed_fields_of_firmware_and_health() {
    let mut slots = FirmwareSlots::zeroed();
    slots.set_afi(ActiveFirmware(0).with_current(1).with_next(2));
    slots.revisions[0] = Ascii::new("1.0").unwrap();
    assert_eq!(&slots.as_bytes()[..16], [0x21, 0, 0, 0, 0, 0, 0, 0, 0x31, 0x2E, 0x30, 32, 32, 32, 32, 32]);
    let mut smart = SmartHealth::new_zeroed();
    smart.set_critical_warning(CriticalWarning::READ_ONLY);
    assert_eq!((sparse(&smart).as_str(), smart.critical_warning()), ("0:08", CriticalWarning::READ_ONLY));
}
