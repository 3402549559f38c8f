//! Status codes, and the words for them.

use crate::status::{KNOWN, KNOWN_FABRICS, StatusCodeType};
use crate::{Cid, Cqe, Status};
use std::collections::HashMap;
use std::format;
use std::string::ToString;

#[test]
fn the_field_bit_by_bit() {
    let ones = Status::from_raw(0xFFFF);
    assert_eq!(ones.raw(), 0x7FFF);
    assert_eq!((ones.sc(), ones.sct().0, ones.crd(), ones.more(), ones.dnr()), (0xFF, 7, 3, true, true));
    for (raw, sc, sct, crd, more, dnr) in [
        (0x00FF, 0xFF, 0, 0, false, false),
        (0x0700, 0, 7, 0, false, false),
        (0x1800, 0, 0, 3, false, false),
        (0x2000, 0, 0, 0, true, false),
        (0x4000, 0, 0, 0, false, true),
    ] {
        let status = Status::from_raw(raw);
        let got = (status.sc(), status.sct().0, status.crd(), status.more(), status.dnr());
        assert_eq!(got, (sc, sct, crd, more, dnr), "{raw:#06x}");
    }
    assert_eq!(Status::SUCCESS.with_dnr().raw(), 0x4000);
    assert_eq!(Status::SUCCESS.with_more().raw(), 0x2000);
    assert_eq!(Status::SUCCESS.with_crd(0xFF).raw(), 0x1800);
    assert_eq!(ones.with_crd(0).raw(), 0x67FF);
    assert_eq!(Status::new(StatusCodeType(0xFF), 0x12).raw(), 0x0712);
}

#[test]
fn as_it_stands_in_a_completion() {
    // CQE dword 3: phase tag 16, SC 24:17, SCT 27:25, CRD 29:28, M 30, DNR 31.
    let status = Status::CONNECT_INVALID_PARAMETERS.with_dnr();
    assert_eq!(Cqe::error(Cid(0), status).status.get(), 0x8304);
    assert_eq!(Cqe::error(Cid(0), status).with_phase(true).status(), status);
}

#[test]
fn codes_are_unique_and_keep_their_numbers() {
    for table in [KNOWN, KNOWN_FABRICS] {
        let mut seen = HashMap::new();
        for &(status, sct, sc, name) in table {
            assert_eq!((status.sct().0, status.sc()), (sct, sc));
            assert_eq!(status.raw() & 0x7800, 0);
            assert_eq!(seen.insert(status, name), None, "{name} twice");
        }
    }
    for (status, raw) in [
        (Status::SUCCESS, 0x000),
        (Status::INVALID_OPCODE, 0x001),
        (Status::INVALID_FIELD, 0x002),
        (Status::COMMAND_ID_CONFLICT, 0x003),
        (Status::INTERNAL_ERROR, 0x006),
        (Status::ABORTED_SQ_DELETION, 0x008),
        (Status::INVALID_NAMESPACE_OR_FORMAT, 0x00B),
        (Status::COMMAND_SEQUENCE_ERROR, 0x00C),
        (Status::DATA_SGL_LENGTH_INVALID, 0x00F),
        (Status::SGL_DESCRIPTOR_TYPE_INVALID, 0x011),
        (Status::SGL_OFFSET_INVALID, 0x016),
        (Status::HOST_ID_INCONSISTENT_FORMAT, 0x018),
        (Status::KEEP_ALIVE_TIMER_EXPIRED, 0x019),
        (Status::NAMESPACE_WRITE_PROTECTED, 0x020),
        (Status::TRANSIENT_TRANSPORT_ERROR, 0x022),
        (Status::LBA_OUT_OF_RANGE, 0x080),
        (Status::CAPACITY_EXCEEDED, 0x081),
        (Status::ASYNC_EVENT_LIMIT_EXCEEDED, 0x105),
        (Status::INVALID_LOG_PAGE, 0x109),
        (Status::FEATURE_NOT_SAVEABLE, 0x10D),
        (Status::FEATURE_NOT_CHANGEABLE, 0x10E),
        (Status::IO_COMMAND_SET_NOT_SUPPORTED, 0x129),
        (Status::CONNECT_INCOMPATIBLE_FORMAT, 0x180),
        (Status::CONNECT_CONTROLLER_BUSY, 0x181),
        (Status::CONNECT_INVALID_PARAMETERS, 0x182),
        (Status::CONNECT_RESTART_DISCOVERY, 0x183),
        (Status::CONNECT_INVALID_HOST, 0x184),
        (Status::DISCONNECT_INVALID_QUEUE_TYPE, 0x185),
        (Status::DISCOVER_RESTART, 0x190),
        (Status::AUTHENTICATION_REQUIRED, 0x191),
        (Status::INVALID_PROTECTION_INFORMATION, 0x181),
        (Status::WRITE_FAULT, 0x280),
        (Status::UNRECOVERED_READ_ERROR, 0x281),
        (Status::COMPARE_FAILURE, 0x285),
        (Status::DEALLOCATED_OR_UNWRITTEN, 0x287),
        (Status::INTERNAL_PATH_ERROR, 0x300),
        (Status::ANA_INACCESSIBLE, 0x302),
        (Status::HOST_PATHING_ERROR, 0x370),
        (Status::ABORTED_BY_HOST, 0x371),
    ] {
        assert_eq!(status.raw(), raw, "{status}");
    }
}

#[test]
fn every_code_has_words() {
    for &(status, _, _, name) in KNOWN {
        assert_eq!(status.with_dnr().with_more().with_crd(2).name(), Some(name));
        assert!(status.description().is_some_and(|text| text.len() > 10), "{name}");
    }
    for &(status, _, _, name) in KNOWN_FABRICS {
        assert_eq!(status.with_dnr().fabrics_name(), Some(name));
        assert!(status.fabrics_description().is_some_and(|text| text.len() > 10), "{name}");
    }
}

#[test]
fn success_is_of_the_code_alone() {
    assert!(Status::SUCCESS.is_success());
    assert!(Status::SUCCESS.with_dnr().with_more().with_crd(3).is_success());
    assert!(!Status::INVALID_OPCODE.is_success());
    assert!(!Status::COMPLETION_QUEUE_INVALID.is_success());
    assert!(Status::INVALID_FIELD.with_dnr().is(Status::INVALID_FIELD));
    assert!(!Status::INVALID_FIELD.is(Status::INVALID_OPCODE));
    assert_ne!(Status::INVALID_FIELD.with_dnr(), Status::INVALID_FIELD);
    assert_eq!(Status::INVALID_FIELD.with_dnr().with_crd(1).with_more().code(), Status::INVALID_FIELD);
}

#[test]
fn for_people() {
    assert_eq!(Status::INVALID_FIELD.to_string(), "Invalid Field in Command (00h/02h)");
    assert_eq!(
        Status::INVALID_FIELD.with_dnr().with_more().with_crd(2).to_string(),
        "Invalid Field in Command (00h/02h, CRD 2, more, do not retry)"
    );
    assert_eq!(Status::from_raw(0x80).to_string(), "LBA Out of Range (00h/80h)");
    assert_eq!(Status::CONNECT_INVALID_HOST.to_string(), "Connect Invalid Host (01h/84h)");
    assert_eq!(Status::CONNECT_CONTROLLER_BUSY.to_string(), "Invalid Protection Information (01h/81h)");
    assert_eq!(Status::CONNECT_CONTROLLER_BUSY.as_fabrics().to_string(), "Connect Controller Busy (01h/81h)");
    assert_eq!(Status::INVALID_FIELD.as_fabrics().to_string(), "Invalid Field in Command (00h/02h)");
    assert_eq!(Status::from_raw(0x07AB).to_string(), "Vendor Specific (07h/ABh)");
    assert_eq!(Status::from_raw(0x00C0).to_string(), "Vendor Specific (00h/C0h)");
    assert_eq!(Status::from_raw(0x0477).to_string(), "Unknown Status (04h/77h)");
    assert_eq!(format!("{:?}", Status::SUCCESS), "Status(Successful Completion (00h/00h))");
}
