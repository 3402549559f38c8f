//! Identify: bytes at their offsets, and every rule.

use std::sync::Arc;

use nvmf_controller::{
    NamespaceOptions, ServerOptions,
    backend::{BlockSize, FileBackend, FileOptions},
};
use nvmf_transport::RequestData;
use nvmf_wire::{
    Status,
    identify::{
        Cns, CommandSet, ControllerList, ControllerType, Identify, IdentifyController, IdentifyControllerNvm,
        IdentifyNamespace, IdentifyNamespaceIndependent, NamespaceDescriptor, NamespaceDescriptors,
        NamespaceList,
    },
    sqe::{Fuse, NSID_BROADCAST},
};

use crate::rig::*;

#[track_caller]
pub(crate) fn identify(rig: &mut Rig, admin: Q, command: Identify) -> Vec<u8> {
    let data = rig.read(admin, command.to_sqe(), 4096).ok().data;
    assert_eq!(data.len(), 4096);
    data
}

#[track_caller]
fn identify_fails(rig: &mut Rig, admin: Q, command: Identify) -> Status {
    rig.read(admin, command.to_sqe(), 4096).status()
}

#[test]
fn identify_controller() {
    let mut rig = Rig::with(
        ServerOptions::default(),
        |s| {
            s.serial = Some("SN42".into());
            s.model = "A model".into();
            s.firmware = "1.2".into();
            s.max_transfer = 300 << 10;
        },
        1,
    );
    let (admin, cntlid) = rig.controller();
    let bytes = identify(&mut rig, admin, Identify::new(Cns::CONTROLLER, 0));
    // Golden offsets of NVMe Base 2.0 Figure 275.
    assert_eq!(&bytes[4..24], b"SN42                ");
    assert_eq!(&bytes[24..64], b"A model                                 ");
    assert_eq!(&bytes[64..72], b"1.2     ");
    assert_eq!(bytes[76], 0b10, "CMIC");
    assert_eq!(bytes[77], 6, "MDTS: 256 KiB");
    assert_eq!(bytes[78..80], cntlid.to_le_bytes());
    assert_eq!(bytes[80..84], [0, 0, 2, 0], "VER 2.0");
    assert_eq!(bytes[92..96], [0, 1, 0, 0], "OAES");
    assert_eq!(bytes[96..100], [0x41, 0, 0, 0], "CTRATT");
    assert_eq!(bytes[111], 1, "CNTRLTYPE");
    assert_eq!((bytes[258], bytes[259]), (3, 3), "ACL, AERL");
    assert_eq!((bytes[260], bytes[261], bytes[262], bytes[263]), (3, 0x26, 63, 0), "FRMW, LPA, ELPE, NPSS");
    assert_eq!(bytes[320..322], [10, 0], "KAS");
    assert_eq!((bytes[512], bytes[513]), (0x66, 0x44), "SQES, CQES");
    assert_eq!(bytes[514..516], 1024u16.to_le_bytes(), "MAXCMD");
    assert_eq!(bytes[516..520], 1024u32.to_le_bytes(), "NN");
    assert_eq!(bytes[520..522], [0b1001_1101, 0], "ONCS");
    assert_eq!(bytes[522..524], [0, 0], "FUSES");
    assert_eq!(bytes[525] & 0b110, 0b110, "VWC: Flush of all namespaces");
    assert_eq!(bytes[536..540], [1, 0, 0x30, 0], "SGLS: any alignment, offset, transport");
    assert_eq!(&bytes[768..768 + SUBSYSTEM.len()], SUBSYSTEM.as_bytes());
    assert_eq!(bytes[768 + SUBSYSTEM.len()..1024], vec![0; 256 - SUBSYSTEM.len()][..]);
    assert_eq!(bytes[1792..1796], ((16384u32 + 64) / 16).to_le_bytes(), "IOCCSZ");
    assert_eq!(bytes[1796..1800], [1, 0, 0, 0], "IORCSZ");
    assert_eq!((bytes[1800], bytes[1801], bytes[1802], bytes[1803]), (0, 0, 0, 1), "ICDOFF, FCATT, MSDBD");
    assert_eq!(bytes[1804], 1, "OFCS: Disconnect");
    assert!(bytes[3072..].iter().all(|&byte| byte == 0));
}

#[test]
fn identify_namespace() {
    let mut rig = Rig::new();
    let file = tempfile::NamedTempFile::new().unwrap();
    file.as_file().set_len(64 * 4096).unwrap();
    let mut options = FileOptions::new(file.path());
    options.block_size = BlockSize::B4096;
    options.read_only = true;
    let disk = FileBackend::open(&options).unwrap();
    let mut names = NamespaceOptions::new(Arc::new(disk));
    names.eui64 = Some([1, 2, 3, 4, 5, 6, 7, 8]);
    names.nguid = Some([9; 16]);
    rig.subsystem.add_namespace(7, names).unwrap();
    let (admin, _) = rig.controller();
    let bytes = identify(&mut rig, admin, Identify::new(Cns::NAMESPACE, 1));
    assert_eq!(bytes[0..8], 65_536u64.to_le_bytes(), "NSZE");
    assert_eq!(bytes[8..16], 65_536u64.to_le_bytes(), "NCAP");
    assert_eq!((bytes[25], bytes[26], bytes[30]), (0, 0, 1), "NLBAF, FLBAS, NMIC");
    assert_eq!(bytes[33] & 0b111, 1, "DLFEAT: deallocated blocks read as zeroes");
    assert_eq!(bytes[128..132], [0, 0, 9, 0], "LBAF0");
    let four = identify(&mut rig, admin, Identify::new(Cns::NAMESPACE, 7));
    assert_eq!(four[0..8], 64u64.to_le_bytes());
    assert_eq!(four[99], 1, "NSATTR: write protected");
    assert_eq!(four[104..120], [9; 16], "NGUID");
    assert_eq!(four[120..128], [1, 2, 3, 4, 5, 6, 7, 8], "EUI64");
    assert_eq!(four[130], 12, "LBADS");
    assert_eq!(IdentifyNamespace::view(&four).unwrap().block_size(), Some(4096));
    // Inactive: zeroes. Invalid: an error.
    assert!(identify(&mut rig, admin, Identify::new(Cns::NAMESPACE, 1024)).iter().all(|&byte| byte == 0));
    for nsid in [0, 1025, NSID_BROADCAST] {
        for cns in [Cns::NAMESPACE, Cns::COMMAND_SET_NAMESPACE, Cns::INDEPENDENT_NAMESPACE] {
            let status = identify_fails(&mut rig, admin, Identify::new(cns, nsid));
            assert_eq!(status, Status::INVALID_NAMESPACE_OR_FORMAT, "{cns:?} of {nsid:#x}");
        }
    }
    let independent = identify(&mut rig, admin, Identify::new(Cns::INDEPENDENT_NAMESPACE, 7));
    let independent = IdentifyNamespaceIndependent::view(&independent).unwrap();
    assert!(independent.nstat().ready());
    assert_eq!((independent.nmic, independent.nsattr), (1, 1));
    let list = identify(&mut rig, admin, Identify::new(Cns::NAMESPACE_DESCRIPTORS, 7));
    let found: Vec<_> = NamespaceDescriptors::parse(&list).collect();
    assert_eq!(found.len(), 4);
    assert_eq!(found[0], NamespaceDescriptor::Eui64([1, 2, 3, 4, 5, 6, 7, 8]));
    assert_eq!(found[1], NamespaceDescriptor::Nguid([9; 16]));
    let uuid = rig.subsystem.namespaces()[1].uuid();
    assert_eq!(found[2], NamespaceDescriptor::Uuid(uuid.into_bytes()));
    assert_eq!(found[3], NamespaceDescriptor::Csi(CommandSet::NVM));
    for nsid in [0, 2, NSID_BROADCAST] {
        let status = identify_fails(&mut rig, admin, Identify::new(Cns::NAMESPACE_DESCRIPTORS, nsid));
        assert_eq!(status, Status::INVALID_NAMESPACE_OR_FORMAT);
    }
}

#[test]
fn identify_lists() {
    let mut rig = Rig::new();
    for nsid in [3, 1024] {
        rig.subsystem.add_namespace(nsid, NamespaceOptions::new(ram(8))).unwrap();
    }
    let (admin, cntlid) = rig.controller();
    let (_, second) = rig.controller();
    for cns in [Cns::ACTIVE_NAMESPACES, Cns::COMMAND_SET_ACTIVE_NAMESPACES] {
        for (after, expected) in
            [(0, &[1, 3, 1024][..]), (1, &[3, 1024]), (3, &[1024]), (1024, &[]), (0xffff_fffd, &[])]
        {
            let bytes = identify(&mut rig, admin, Identify::new(cns, after));
            let list: Vec<u32> = NamespaceList::view(&bytes).unwrap().iter().collect();
            assert_eq!(list, expected);
        }
        for after in [0xffff_fffe, NSID_BROADCAST] {
            let status = identify_fails(&mut rig, admin, Identify::new(cns, after));
            assert_eq!(status, Status::INVALID_NAMESPACE_OR_FORMAT);
        }
    }
    let bytes = identify(&mut rig, admin, Identify::new(Cns::CONTROLLERS, 0));
    let list: Vec<u16> = ControllerList::view(&bytes).unwrap().iter().collect();
    assert_eq!(list, [cntlid, second]);
    let bytes = identify(&mut rig, admin, Identify::new(Cns::COMMAND_SET_CONTROLLER, 0));
    assert_eq!(IdentifyControllerNvm::view(&bytes).unwrap().wzsl, 8, "1 MiB");
}

#[test]
fn identify_is_checked() {
    let mut rig = Rig::new();
    let (admin, _) = rig.controller();
    for cns in [Cns::NVM_SET_LIST, Cns::ALLOCATED_NAMESPACES, Cns::ENDURANCE_GROUP_LIST, Cns(0xff)] {
        assert_eq!(identify_fails(&mut rig, admin, Identify::new(cns, 1)), Status::INVALID_FIELD);
    }
    let zoned = Identify::new(Cns::COMMAND_SET_CONTROLLER, 0).with_csi(CommandSet::ZONED);
    assert_eq!(identify_fails(&mut rig, admin, zoned), Status::INVALID_FIELD);
    let sqe = Identify::new(Cns::CONTROLLER, 0).to_sqe();
    for data in [RequestData::None, RequestData::Remote { len: 4092 }, RequestData::Remote { len: 8192 }] {
        assert_eq!(rig.run(admin, sqe, data).status(), Status::DATA_SGL_LENGTH_INVALID);
    }
    assert_eq!(
        rig.write(admin, sqe, &[0; 4096]).status(),
        Status::INVALID_FIELD,
        "data of the wrong direction"
    );
    assert_eq!(rig.read(admin, sqe.with_fuse(Fuse::FIRST), 4096).status(), Status::INVALID_FIELD);
    let mut prp = sqe;
    prp.flags = 0;
    assert_eq!(rig.read(admin, prp, 4096).status(), Status::INVALID_FIELD);
}

#[test]
fn discovery_controllers_say_so() {
    let mut rig = Rig::new();
    let discovery = rig.discovery(0);
    let bytes = identify(&mut rig, discovery, Identify::new(Cns::CONTROLLER, 0));
    let id = IdentifyController::view(&bytes).unwrap();
    assert_eq!(id.cntrltype, ControllerType::DISCOVERY);
    assert_eq!(id.subnqn.nqn().unwrap(), nvmf_wire::Nqn::DISCOVERY);
    assert_eq!((id.nn.get(), id.oaes.get(), id.kas.get(), id.mdts), (0, 1 << 31, 10, 4));
}
