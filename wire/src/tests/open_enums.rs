//! Open enumerations: unknown values stay, known ones have words, no value is there twice.

use crate::event::*;
use crate::fabrics::{Field, PriorityClass};
use crate::feature::{Fid, Select, WriteProtection};
use crate::identify::*;
use crate::log::Lid;
use crate::log::discovery::*;
use crate::log::effects::Execution;
use crate::property::*;
use crate::sgl::{SglSubtype, SglType};
use crate::sqe::{Fuse, Psdt};
use crate::status::StatusCodeType;
use crate::{AdminOpcode, FabricsType, IoOpcode};
use std::collections::HashSet;
use std::format;
use zerocopy::{FromBytes, IntoBytes};

macro_rules! open_enums_are_sound {
    ($($Name:ident),* $(,)?) => {$(
        let mut seen = HashSet::new();
        for &value in $Name::KNOWN {
            assert!(seen.insert(value), "{value:?} twice");
            assert!(value.is_known());
            assert_eq!(format!("{value:?}"), value.name().unwrap());
            assert_eq!(format!("{value}"), value.description().unwrap());
            assert!($Name::from(value.0) == value);
        }
        let unknown = (0..=0xFF).map($Name).find(|value| !value.is_known()).unwrap();
        assert_eq!(unknown.name(), None);
        assert_eq!(unknown.description(), None);
        assert_eq!(format!("{unknown}"), format!("unknown ({:02X}h)", unknown.0));
        assert_eq!(format!("{unknown:?}"), format!("{}({:#04x})", stringify!($Name), unknown.0));
    )*};
}

#[test]
fn all_of_them() {
    open_enums_are_sound!(
        AdminOpcode,
        IoOpcode,
        FabricsType,
        StatusCodeType,
        SglType,
        SglSubtype,
        Fuse,
        Psdt,
        PriorityClass,
        Field,
        PropertyOffset,
        CommandSetSelected,
        Arbitration,
        ShutdownNotification,
        ShutdownStatus,
        Cns,
        CommandSet,
        ControllerType,
        FlushAll,
        RelativePerformance,
        DeallocatedValue,
        ProtectionFormat,
        NamespaceDescriptorKind,
        Lid,
        Execution,
        TransportType,
        AddressFamily,
        SubsystemType,
        SecureChannel,
        TcpSecurity,
        RdmaQpType,
        RdmaProvider,
        RdmaConnectionManagement,
        Fid,
        Select,
        WriteProtection,
        EventType,
        ErrorEvent,
        SmartEvent,
        NoticeEvent,
        ImmediateEvent,
        IoEvent,
    );
}

#[test]
fn numbers_that_must_not_move() {
    assert_eq!(
        [AdminOpcode::GET_LOG_PAGE.0, AdminOpcode::IDENTIFY.0, AdminOpcode::ABORT.0],
        [0x02, 0x06, 0x08]
    );
    assert_eq!([AdminOpcode::SET_FEATURES.0, AdminOpcode::GET_FEATURES.0], [0x09, 0x0A]);
    assert_eq!([AdminOpcode::ASYNC_EVENT_REQUEST.0, AdminOpcode::KEEP_ALIVE.0], [0x0C, 0x18]);
    assert_eq!([IoOpcode::FLUSH.0, IoOpcode::WRITE.0, IoOpcode::READ.0, IoOpcode::COMPARE.0], [0, 1, 2, 5]);
    assert_eq!([IoOpcode::WRITE_ZEROES.0, IoOpcode::DATASET_MANAGEMENT.0, IoOpcode::VERIFY.0], [8, 9, 0xC]);
    assert_eq!([FabricsType::PROPERTY_SET.0, FabricsType::CONNECT.0, FabricsType::PROPERTY_GET.0], [0, 1, 4]);
    assert_eq!([FabricsType::AUTHENTICATION_SEND.0, FabricsType::AUTHENTICATION_RECEIVE.0], [5, 6]);
    assert_eq!(FabricsType::DISCONNECT.0, 8);
    assert_eq!(
        [Lid::ERROR_INFORMATION.0, Lid::SMART_HEALTH.0, Lid::FIRMWARE_SLOT.0, Lid::DISCOVERY.0],
        [1, 2, 3, 0x70]
    );
    assert_eq!([Fid::VOLATILE_WRITE_CACHE.0, Fid::NUMBER_OF_QUEUES.0], [6, 7]);
    assert_eq!(
        [Fid::ASYNC_EVENT_CONFIGURATION.0, Fid::KEEP_ALIVE_TIMER.0, Fid::HOST_IDENTIFIER.0],
        [0x0B, 0x0F, 0x81]
    );
    assert_eq!([Cns::NAMESPACE.0, Cns::CONTROLLER.0, Cns::ACTIVE_NAMESPACES.0], [0, 1, 2]);
    assert_eq!([Cns::NAMESPACE_DESCRIPTORS.0, Cns::COMMAND_SET_COMBINATIONS.0], [3, 0x1C]);
    assert_eq!([TransportType::RDMA.0, TransportType::FC.0, TransportType::TCP.0], [1, 2, 3]);
    assert_eq!([AddressFamily::IPV4.0, AddressFamily::IPV6.0], [1, 2]);
}

#[test]
fn width_of_padding_is_honoured() {
    assert_eq!(format!("[{:>5}]", TransportType::TCP), "[  TCP]");
}

#[test]
fn bytes_view_as_the_value() {
    assert_eq!(*TransportType::ref_from_bytes(&[3]).unwrap(), TransportType::TCP);
    assert_eq!(TransportType(0x77).as_bytes(), [0x77]);
}
