//! SQE and CQE, byte by byte.

use super::{sparse, truncations};
use crate::sqe::{Fuse, Psdt};
use crate::{
    AdminOpcode, Cid, Cqe, DataDirection, FabricsType, IoOpcode, SglDescriptor, Sqe, Status, opcode,
};
use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, IntoBytes};

#[test]
fn every_field_of_an_sqe() {
    let sqe = Sqe {
        opcode: 0x01,
        flags: 0x02,
        cid: U16::new(0x0403),
        nsid: U32::new(0x0807_0605),
        cdw2: U32::new(0x0C0B_0A09),
        cdw3: U32::new(0x100F_0E0D),
        mptr: U64::new(0x1817_1615_1413_1211),
        sgl: SglDescriptor {
            address: U64::new(0x201F_1E1D_1C1B_1A19),
            specific: [0x21, 0x22, 0x23, 0x24, 0x25, 0x26, 0x27],
            identifier: 0x28,
        },
        cdw10: U32::new(0x2C2B_2A29),
        cdw11: U32::new(0x302F_2E2D),
        cdw12: U32::new(0x3433_3231),
        cdw13: U32::new(0x3837_3635),
        cdw14: U32::new(0x3C3B_3A39),
        cdw15: U32::new(0x403F_3E3D),
    };
    let expected: [u8; 64] = core::array::from_fn(|i| i as u8 + 1);
    assert_eq!(sqe.as_bytes(), expected);
    assert_eq!(Sqe::read_from_bytes(&expected).unwrap(), sqe);
    truncations::<Sqe>(|bytes| Sqe::ref_from_prefix(bytes).is_ok());
}

#[test]
fn fields_of_an_sqe_by_accessor() {
    let base = Sqe::default();
    assert_eq!(sparse(&base), "");
    assert_eq!(sparse(&base.with_cid(Cid(0xABCD))), "2:cd 3:ab");
    assert_eq!(sparse(&base.with_nsid(0x1122_3344)), "4:44 5:33 6:22 7:11");
    assert_eq!(sparse(&base.with_fuse(Fuse::SECOND)), "1:02");
    assert_eq!(sparse(&base.with_fuse(Fuse(0xFF))), "1:03");
    assert_eq!(sparse(&base.with_psdt(Psdt::SGL_METADATA_SGL)), "1:80");
    assert_eq!(sparse(&base.with_psdt(Psdt(0xFF))), "1:c0");
    let ones = Sqe { flags: 0xFF, ..base };
    assert_eq!(ones.with_fuse(Fuse::NORMAL).flags, 0xFC);
    assert_eq!(ones.with_psdt(Psdt::PRP).flags, 0x3F);
    assert_eq!((ones.fuse(), ones.psdt()), (Fuse(3), Psdt(3)));
    assert_eq!(base.with_cid(Cid(0xABCD)).cid(), Cid(0xABCD));
    assert_eq!(base.with_nsid(7).nsid(), 7);
    assert_eq!(sparse(&base.with_sgl(SglDescriptor::transport(0x0102))), "32:02 33:01 39:5a");
}

#[test]
fn commands_use_sgls() {
    assert_eq!(sparse(&Sqe::admin(AdminOpcode::IDENTIFY)), "0:06 1:40");
    assert_eq!(sparse(&Sqe::io(IoOpcode::READ, 5)), "0:02 1:40 4:05");
    assert_eq!(sparse(&Sqe::fabrics(FabricsType::CONNECT)), "0:7f 1:40 4:01");
}

#[test]
fn direction_of_data() {
    use DataDirection::{Bidirectional, ControllerToHost, HostToController, None};
    for (code, direction) in [(0, None), (1, HostToController), (2, ControllerToHost), (3, Bidirectional)] {
        assert_eq!(DataDirection::from_code(code), direction);
        assert_eq!(DataDirection::from_code(code | 0xFC), direction);
        assert_eq!(Sqe::with_opcode(code | 0xC0).data_direction(), direction);
        assert_eq!(AdminOpcode(code).data_direction(), direction);
        assert_eq!(IoOpcode(code).data_direction(), direction);
    }
    for (kind, direction) in [
        (FabricsType::PROPERTY_SET, None),
        (FabricsType::CONNECT, HostToController),
        (FabricsType::PROPERTY_GET, None),
        (FabricsType::AUTHENTICATION_SEND, HostToController),
        (FabricsType::AUTHENTICATION_RECEIVE, ControllerToHost),
        (FabricsType::DISCONNECT, None),
    ] {
        let sqe = Sqe::fabrics(kind);
        assert_eq!((sqe.data_direction(), sqe.fctype()), (direction, Some(kind)));
    }
    assert_eq!(Sqe::io(IoOpcode::FLUSH, 1).fctype(), Option::None);
    assert!(Sqe::fabrics(FabricsType::CONNECT).is_fabrics());
    assert_eq!(opcode::FABRICS, AdminOpcode::FABRICS.0);
}

#[test]
fn vendor_specific_opcodes() {
    assert!(!AdminOpcode(0xBF).is_vendor_specific() && AdminOpcode(0xC0).is_vendor_specific());
    assert!(!IoOpcode(0x7F).is_vendor_specific() && IoOpcode(0x80).is_vendor_specific());
}

#[test]
fn every_field_of_a_cqe() {
    let cqe = Cqe {
        result: [U32::new(0x0403_0201), U32::new(0x0807_0605)],
        sqhd: U16::new(0x0A09),
        sqid: U16::new(0x0C0B),
        cid: U16::new(0x0E0D),
        status: U16::new(0x100F),
    };
    let expected: [u8; 16] = core::array::from_fn(|i| i as u8 + 1);
    assert_eq!(cqe.as_bytes(), expected);
    assert_eq!(Cqe::read_from_bytes(&expected).unwrap(), cqe);
    assert_eq!((cqe.dw0(), cqe.dw1(), cqe.u64()), (0x0403_0201, 0x0807_0605, 0x0807_0605_0403_0201));
    assert_eq!((cqe.sqhd(), cqe.sqid(), cqe.cid()), (0x0A09, 0x0C0B, Cid(0x0E0D)));
    assert_eq!((cqe.status().raw(), cqe.phase()), (0x100F >> 1, true));
    truncations::<Cqe>(|bytes| Cqe::ref_from_prefix(bytes).is_ok());
}

#[test]
fn fields_of_a_cqe_by_accessor() {
    let base = Cqe::success(Cid(0));
    assert_eq!(sparse(&base), "");
    assert_eq!(sparse(&base.with_cid(Cid(0x0102))), "12:02 13:01");
    assert_eq!(sparse(&base.with_sqhd(0x0102)), "8:02 9:01");
    assert_eq!(sparse(&base.with_sqid(0x0102)), "10:02 11:01");
    assert_eq!(sparse(&base.with_dw0(0x0102_0304)), "0:04 1:03 2:02 3:01");
    assert_eq!(sparse(&base.with_u64(0x0102_0304_0506_0708)), "0:08 1:07 2:06 3:05 4:04 5:03 6:02 7:01");
    assert_eq!(base.with_u64(u64::MAX).with_dw0(0).u64(), 0xFFFF_FFFF_0000_0000);
    assert_eq!(sparse(&base.with_phase(true)), "14:01");
    // SC 02h in bits 8:1, DNR in bit 15 of the last word.
    assert_eq!(sparse(&Cqe::error(Cid(9), Status::INVALID_FIELD.with_dnr())), "12:09 14:04 15:80");
    let ones = Cqe { status: U16::new(0xFFFF), ..base };
    assert_eq!(ones.with_status(Status::SUCCESS).status.get(), 1);
    assert_eq!(ones.with_phase(false).status.get(), 0xFFFE);
    assert_eq!(ones.status(), Status::from_raw(0x7FFF));
}

#[test]
fn success_or_status() {
    assert_eq!(Cqe::success(Cid(1)).ok().unwrap().cid(), Cid(1));
    let failed = Cqe::error(Cid(1), Status::LBA_OUT_OF_RANGE.with_dnr());
    assert_eq!(failed.ok().unwrap_err(), Status::LBA_OUT_OF_RANGE.with_dnr());
}
