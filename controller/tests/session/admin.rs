//! Identify, log pages, features, Abort: bytes at their offsets, and every rule.

use std::sync::Arc;

use nvmf_controller::{
    NamespaceOptions, ServerOptions,
    backend::{
        Backend, BlockSize, FileBackend, FileOptions,
        faulty::{Faulty, Order},
    },
};
use nvmf_transport::RequestData;
use nvmf_wire::{
    AdminOpcode, IoOpcode, Sqe, Status,
    admin::Abort,
    feature::{Fid, GetFeatures, HostBehavior, HostIdentifier, NumberOfQueues, Select, SetFeatures},
    identify::{
        Cns, CommandSet, ControllerList, ControllerType, Identify, IdentifyController, IdentifyControllerNvm,
        IdentifyNamespace, IdentifyNamespaceIndependent, NamespaceDescriptor, NamespaceDescriptors,
        NamespaceList,
    },
    log::{
        GetLogPage, Lid,
        effects::{CommandEffectsLog, SupportedLogPages},
        health::{ErrorInformation, FirmwareSlots, SmartHealth},
    },
    sqe::{Fuse, NSID_BROADCAST},
    zerocopy::little_endian::U32,
};

use crate::rig::*;

#[track_caller]
fn identify(rig: &mut Rig, admin: Q, command: Identify) -> Vec<u8> {
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
fn unknown_opcodes() {
    let mut rig = Rig::new();
    let (admin, _) = rig.controller();
    for opcode in 0..=u8::MAX {
        let opcode = AdminOpcode(opcode);
        let known = [
            AdminOpcode::GET_LOG_PAGE,
            AdminOpcode::IDENTIFY,
            AdminOpcode::ABORT,
            AdminOpcode::SET_FEATURES,
            AdminOpcode::GET_FEATURES,
            AdminOpcode::ASYNC_EVENT_REQUEST,
            AdminOpcode::KEEP_ALIVE,
            AdminOpcode::FABRICS,
        ];
        if !known.contains(&opcode) {
            assert_eq!(rig.command(admin, Sqe::admin(opcode)).status(), Status::INVALID_OPCODE, "{opcode:?}");
        }
    }
}

#[track_caller]
fn log(rig: &mut Rig, admin: Q, lid: Lid, offset: u64, length: u32) -> Vec<u8> {
    let command = GetLogPage::new(lid, length).with_offset(offset);
    let data = rig.read(admin, command.to_sqe(), length).ok().data;
    assert_eq!(data.len(), length as usize);
    data
}

#[test]
fn log_pages_in_pieces() {
    let mut rig = Rig::new();
    let (admin, io) = rig.ready();
    for _ in 0..5 {
        rig.command(io, read(0, 1));
    }
    for (lid, size) in [
        (Lid::SUPPORTED_LOG_PAGES, 1024),
        (Lid::ERROR_INFORMATION, 4096),
        (Lid::FIRMWARE_SLOT, 512),
        (Lid::COMMAND_EFFECTS, 4096),
        (Lid::FEATURE_EFFECTS, 1024),
    ] {
        let whole = log(&mut rig, admin, lid, 0, size);
        for offset in [4, 8, 12, 64, 500, u64::from(size) - 4] {
            let rest = log(&mut rig, admin, lid, offset, size);
            let (there, behind) = rest.split_at((u64::from(size) - offset) as usize);
            assert_eq!(there, &whole[offset as usize..], "{lid:?} from {offset}");
            assert!(behind.iter().all(|&byte| byte == 0));
            assert_eq!(log(&mut rig, admin, lid, offset, 4), whole[offset as usize..][..4]);
        }
        let end = log(&mut rig, admin, lid, size.into(), 8);
        assert_eq!(end, [0; 8]);
        for offset in [1, 2, 3, 5, u64::from(size) + 4, u64::MAX - 3, u64::MAX] {
            let command = GetLogPage::new(lid, 8).with_offset(offset).to_sqe();
            assert_eq!(rig.read(admin, command, 8).status(), Status::INVALID_FIELD, "{lid:?} from {offset}");
        }
    }
}

#[test]
fn log_lengths_are_bounded() {
    let mut rig = Rig::new();
    let (admin, _) = rig.controller();
    // As long as MDTS allows, all of it answered; not a byte more.
    assert_eq!(log(&mut rig, admin, Lid::SMART_HEALTH, 0, 1 << 20).len(), 1 << 20);
    let command = |numd| GetLogPage { numd, ..GetLogPage::new(Lid::SMART_HEALTH, 4) }.to_sqe();
    for numd in [(1 << 18), u32::MAX, u32::MAX - 1, 1 << 30] {
        for len in [4, 512, 1 << 20, u32::MAX] {
            let status = rig.run(admin, command(numd), RequestData::Remote { len }).status();
            assert_eq!(status, Status::INVALID_FIELD, "NUMD {numd:#x}");
        }
    }
    for (numd, len) in [(127, 508), (127, 516), (0, 0), (0, 512)] {
        let status = rig.run(admin, command(numd), RequestData::Remote { len }).status();
        assert_eq!(status, Status::DATA_SGL_LENGTH_INVALID);
    }
}

#[test]
fn which_log_pages() {
    let mut rig = Rig::new();
    let (admin, _) = rig.controller();
    let supported = log(&mut rig, admin, Lid::SUPPORTED_LOG_PAGES, 0, 1024);
    let supported = SupportedLogPages::view(&supported).unwrap();
    for lid in 0..=u8::MAX {
        let sqe = GetLogPage::new(Lid(lid), 16).to_sqe();
        let answer = rig.read(admin, sqe, 16);
        if supported.page(Lid(lid)).supported() {
            answer.ok();
        } else {
            assert_eq!(answer.status(), Status::INVALID_LOG_PAGE, "{lid:#x}");
        }
    }
    assert!(!supported.page(Lid::DISCOVERY).supported());
    let smart_of_one = GetLogPage::new(Lid::SMART_HEALTH, 512).with_nsid(1).to_sqe();
    assert_eq!(rig.read(admin, smart_of_one, 512).status(), Status::INVALID_FIELD);
    let smart_of_all = GetLogPage::new(Lid::SMART_HEALTH, 512).with_nsid(NSID_BROADCAST).to_sqe();
    rig.read(admin, smart_of_all, 512).ok();
    let indexed = GetLogPage { index_offset: true, ..GetLogPage::new(Lid::ERROR_INFORMATION, 64) };
    assert_eq!(rig.read(admin, indexed.to_sqe(), 64).status(), Status::INVALID_FIELD);
}

#[test]
fn what_hosts_did_is_counted() {
    let mut rig = Rig::new();
    let (admin, io) = rig.ready();
    rig.write(io, write(0, 16), &pattern(16, 1)).ok();
    for _ in 0..3 {
        rig.read(io, read(0, 2000), 2000 * 512).ok();
    }
    rig.hang_up(io);
    let smart = log(&mut rig, admin, Lid::SMART_HEALTH, 0, 512);
    let smart = SmartHealth::view(&smart).unwrap();
    assert_eq!((smart.host_read_commands.get(), smart.host_write_commands.get()), (3, 1));
    assert_eq!((smart.data_units_read.get(), smart.data_units_written.get()), (6, 1));
    assert_eq!(smart.composite_temperature.get(), 310);
    let slots = log(&mut rig, admin, Lid::FIRMWARE_SLOT, 0, 512);
    assert_eq!(FirmwareSlots::view(&slots).unwrap().afi, 1);
    let effects = log(&mut rig, admin, Lid::COMMAND_EFFECTS, 0, 4096);
    let effects = CommandEffectsLog::view(&effects).unwrap();
    assert!(effects.io_command(IoOpcode::WRITE).content_change());
    assert!(effects.admin_command(AdminOpcode::IDENTIFY).supported());
    assert!(!effects.admin_command(AdminOpcode::FORMAT_NVM).supported());
}

#[test]
fn errors_are_logged() {
    let mut rig = Rig::new();
    let (admin, io) = rig.ready();
    rig.read(io, read(65_535, 2), 1024);
    let entries = log(&mut rig, admin, Lid::ERROR_INFORMATION, 0, 128);
    let newest = ErrorInformation::view(&entries).unwrap();
    assert_eq!((newest.error_count.get(), newest.sqid.get(), newest.nsid.get()), (1, 1, 1));
    assert_eq!(newest.lba.get(), 65_535);
    assert!(newest.status().is(Status::LBA_OUT_OF_RANGE));
    assert_eq!(newest.trtype.0, 3);
    for _ in 0..100 {
        rig.command(admin, Sqe::admin(AdminOpcode::FORMAT_NVM));
    }
    let entries = log(&mut rig, admin, Lid::ERROR_INFORMATION, 0, 4096);
    let count = |at: usize| ErrorInformation::view(&entries[at * 64..]).unwrap().error_count.get();
    assert_eq!((count(0), count(63)), (101, 38), "the newest 64, the newest first");
}

fn get(fid: Fid) -> GetFeatures {
    GetFeatures::new(fid)
}

#[test]
fn features_have_capabilities_defaults_and_nothing_saved() {
    let mut rig = Rig::new();
    let (admin, _) = rig.controller();
    let effects = log(&mut rig, admin, Lid::FEATURE_EFFECTS, 0, 1024);
    for fid in 0..=u8::MAX {
        let listed = effects[usize::from(fid) * 4] & 1 != 0;
        let fid = Fid(fid);
        let capabilities = GetFeatures { sel: Select::SUPPORTED_CAPABILITIES, ..get(fid) };
        let answer = rig.command(admin, capabilities.to_sqe());
        assert_eq!(answer.cqe.status().is_success(), listed, "{fid:?}");
        let save = SetFeatures { save: true, ..SetFeatures::new(fid, 0) };
        let saved = rig.command(admin, save.to_sqe()).status();
        if !listed {
            assert_eq!(answer.status(), Status::INVALID_FIELD);
            assert_eq!(saved, Status::INVALID_FIELD);
            continue;
        }
        assert_eq!(saved, Status::FEATURE_NOT_SAVEABLE, "{fid:?}");
        assert_eq!(answer.cqe.dw0() & 1, 0, "not saveable");
        let reserved = GetFeatures { sel: Select(4), ..GetFeatures { nsid: 1, ..get(fid) } };
        assert_eq!(rig.command(admin, reserved.to_sqe()).status(), Status::INVALID_FIELD);
    }
}

#[test]
fn simple_features_are_set_and_read_back() {
    let mut rig = Rig::new();
    let (admin, _) = rig.controller();
    for (fid, value) in
        [(Fid::ARBITRATION, 0x0102_0303), (Fid::WRITE_ATOMICITY, 1), (Fid::POWER_MANAGEMENT, 0x20)]
    {
        let default = rig.command(admin, get(fid).to_sqe()).ok().cqe.dw0();
        rig.command(admin, SetFeatures::new(fid, value).to_sqe()).ok();
        assert_eq!(rig.command(admin, get(fid).to_sqe()).ok().cqe.dw0(), value);
        for sel in [Select::DEFAULT, Select::SAVED] {
            assert_eq!(rig.command(admin, GetFeatures { sel, ..get(fid) }.to_sqe()).ok().cqe.dw0(), default);
        }
        let of_one = SetFeatures { nsid: 1, ..SetFeatures::new(fid, value) };
        assert_eq!(rig.command(admin, of_one.to_sqe()).status(), Status::FEATURE_NOT_NAMESPACE_SPECIFIC);
    }
    let power = SetFeatures::new(Fid::POWER_MANAGEMENT, 1).to_sqe();
    assert_eq!(rig.command(admin, power).status(), Status::INVALID_FIELD, "there is power state 0 only");
    let sensor = SetFeatures::new(Fid::TEMPERATURE_THRESHOLD, 0x0001_0140).to_sqe();
    assert_eq!(rig.command(admin, sensor).status(), Status::INVALID_FIELD, "there is no sensor 1");
}

#[test]
fn error_recovery_belongs_to_a_namespace() {
    let mut rig = Rig::new();
    rig.subsystem.add_namespace(2, NamespaceOptions::new(ram(8))).unwrap();
    let (admin, _) = rig.controller();
    let set = |nsid, value| SetFeatures { nsid, ..SetFeatures::new(Fid::ERROR_RECOVERY, value) }.to_sqe();
    let read = |nsid| GetFeatures { nsid, ..get(Fid::ERROR_RECOVERY) }.to_sqe();
    rig.command(admin, set(1, 5)).ok();
    assert_eq!(rig.command(admin, read(1)).ok().cqe.dw0(), 5);
    assert_eq!(rig.command(admin, read(2)).ok().cqe.dw0(), 0);
    rig.command(admin, set(NSID_BROADCAST, 9)).ok();
    assert_eq!(rig.command(admin, read(2)).ok().cqe.dw0(), 9);
    assert_eq!(rig.command(admin, set(1, 1 << 16)).status(), Status::INVALID_FIELD, "DULBE");
    for nsid in [0, 3] {
        assert_eq!(rig.command(admin, set(nsid, 1)).status(), Status::INVALID_NAMESPACE_OR_FORMAT);
    }
    assert_eq!(rig.command(admin, read(NSID_BROADCAST)).status(), Status::INVALID_NAMESPACE_OR_FORMAT);
}

#[test]
fn number_of_queues() {
    let mut rig = Rig::with(ServerOptions::default(), |s| s.max_io_queues = 8, 1);
    let (admin, cntlid) = rig.controller();
    let set = |submission, completion| {
        let value = NumberOfQueues(0).with_submission(submission).with_completion(completion);
        SetFeatures::new(Fid::NUMBER_OF_QUEUES, value.bits()).to_sqe()
    };
    for (submission, completion) in [(0xffff, 0), (0, 0xffff), (0xffff, 0xffff)] {
        assert_eq!(rig.command(admin, set(submission, completion)).status(), Status::INVALID_FIELD);
    }
    let granted = |answer: Answer| NumberOfQueues(answer.ok().cqe.dw0());
    assert_eq!(granted(rig.command(admin, get(Fid::NUMBER_OF_QUEUES).to_sqe())), NumberOfQueues::pairs(8));
    assert_eq!(granted(rig.command(admin, set(99, 0xfffe))), NumberOfQueues::pairs(8));
    assert_eq!(granted(rig.command(admin, set(1, 0))), NumberOfQueues::pairs(2));
    assert_eq!(granted(rig.command(admin, get(Fid::NUMBER_OF_QUEUES).to_sqe())), NumberOfQueues::pairs(2));
    let (_, beyond) = rig.connect(0, io_connect(3, 8), &io_data(cntlid));
    assert_eq!(beyond.status(), Status::CONNECT_INVALID_PARAMETERS);
    rig.io(0, cntlid, 2);
    assert_eq!(rig.command(admin, set(3, 3)).status(), Status::COMMAND_SEQUENCE_ERROR);
}

#[test]
fn features_with_data() {
    let mut rig = Rig::new();
    let (admin, _) = rig.controller();
    let behavior = get(Fid::HOST_BEHAVIOR_SUPPORT).to_sqe();
    let set = SetFeatures::new(Fid::HOST_BEHAVIOR_SUPPORT, 0).to_sqe();
    assert!(rig.read(admin, behavior, 512).ok().data.iter().all(|&byte| byte == 0));
    let mut wanted = [0u8; HostBehavior::SIZE];
    wanted[0] = 1;
    rig.write(admin, set, &wanted).ok();
    assert_eq!(rig.read(admin, behavior, 512).ok().data, wanted);
    wanted[2] = 1;
    rig.write_remote(admin, set, wanted.to_vec()).ok();
    assert_eq!(rig.read(admin, behavior, 512).ok().data, wanted);
    wanted[1] = 2;
    assert_eq!(rig.write(admin, set, &wanted).status(), Status::INVALID_FIELD);
    assert_eq!(rig.write(admin, set, &wanted[..100]).status(), Status::DATA_SGL_LENGTH_INVALID);
    assert_eq!(rig.command(admin, set).status(), Status::DATA_SGL_LENGTH_INVALID);

    let id = |extended| {
        let mut sqe = get(Fid::HOST_IDENTIFIER).to_sqe();
        sqe.cdw11 = U32::new(HostIdentifier(0).with_extended(extended).bits());
        sqe
    };
    assert_eq!(rig.read(admin, id(true), 16).ok().data, HOST_ID);
    assert_eq!(rig.read(admin, id(false), 8).status(), Status::INVALID_FIELD);
    let set = SetFeatures::new(Fid::HOST_IDENTIFIER, 1).to_sqe();
    assert_eq!(rig.write(admin, set, &[1; 16]).status(), Status::COMMAND_SEQUENCE_ERROR);
}

#[test]
fn the_write_cache_is_a_feature_where_there_is_one() {
    let mut rig = Rig::new();
    let (admin, _) = rig.controller();
    let cache = get(Fid::VOLATILE_WRITE_CACHE).to_sqe();
    let has_cache = |rig: &mut Rig| {
        let bytes = identify(rig, admin, Identify::new(Cns::CONTROLLER, 0));
        IdentifyController::view(&bytes).unwrap().vwc().present()
    };
    assert!(!ram(8).geometry().volatile_write_cache);
    assert!(!has_cache(&mut rig));
    assert_eq!(rig.command(admin, cache).status(), Status::INVALID_FIELD);
    let file = tempfile::NamedTempFile::new().unwrap();
    file.as_file().set_len(1 << 20).unwrap();
    let disk: Arc<dyn Backend> = Arc::new(FileBackend::open(&FileOptions::new(file.path())).unwrap());
    assert!(disk.geometry().volatile_write_cache);
    rig.subsystem.add_namespace(2, NamespaceOptions::new(disk)).unwrap();
    assert!(has_cache(&mut rig));
    assert_eq!(rig.command(admin, cache).ok().cqe.dw0(), 1);
    rig.command(admin, SetFeatures::new(Fid::VOLATILE_WRITE_CACHE, 0).to_sqe()).ok();
    assert_eq!(rig.command(admin, cache).ok().cqe.dw0(), 0);
}

#[test]
fn abort_of_a_command_under_way() {
    let mut rig = Rig::with(ServerOptions::default(), |_| {}, 2);
    let disk = Arc::new(Faulty::new(ram(1024)));
    rig.subsystem.add_namespace(2, NamespaceOptions::new(disk.clone())).unwrap();
    let (admin, cntlid) = rig.controller();
    let io = rig.io(1, cntlid, 1);
    // On a backend: it cannot be called back.
    disk.hold();
    let pending = rig.submit(io, read(0, 1).with_nsid(2), RequestData::Remote { len: 512 });
    let cid = nvmf_wire::Cid(rig.last_cid());
    let answer = rig.command(admin, Abort { sqid: 1, cid }.to_sqe()).ok();
    assert!(!Abort::was_aborted(&answer.cqe));
    disk.release(Order::Arrival);
    rig.settle();
    rig.answer(io, pending).unwrap().ok();
    // Waiting for the host's data: it ends as soon as what was asked for has come or gone.
    let fetching = rig.submit(io, write(0, 2048), RequestData::Remote { len: 1 << 20 });
    let cid = nvmf_wire::Cid(rig.last_cid());
    let answer = rig.command(admin, Abort { sqid: 1, cid }.to_sqe()).ok();
    assert!(!Abort::was_aborted(&answer.cqe));
    assert!(rig.answer(io, fetching).is_none());
    for (request, offset, data) in std::mem::take(&mut rig.lanes[1].engine.fetches) {
        rig.serve_fetch(io, request, offset, data, Ok(()));
    }
    assert_eq!(rig.answer(io, fetching).unwrap().status(), Status::ABORT_REQUESTED);
    // Unknown commands and queues.
    for (sqid, cid) in [(1, 999), (0, 999), (2, 1), (0xffff, 1)] {
        let answer = rig.command(admin, Abort { sqid, cid: nvmf_wire::Cid(cid) }.to_sqe()).ok();
        assert!(!Abort::was_aborted(&answer.cqe));
    }
}

#[test]
fn identifiers_in_use() {
    let mut rig = Rig::new();
    let disk = Arc::new(Faulty::new(ram(1024)));
    rig.subsystem.add_namespace(2, NamespaceOptions::new(disk.clone())).unwrap();
    let (admin, io) = rig.ready();
    let event = nvmf_wire::admin::async_event_request().with_cid(nvmf_wire::Cid(77));
    rig.deliver(admin, event, Ok(RequestData::None));
    let again = rig.deliver(
        admin,
        nvmf_wire::admin::keep_alive().with_cid(nvmf_wire::Cid(77)),
        Ok(RequestData::None),
    );
    rig.settle();
    assert_eq!(rig.answer(admin, again).unwrap().status(), Status::COMMAND_ID_CONFLICT);
    disk.hold();
    let sqe = read(0, 1).with_nsid(2).with_cid(nvmf_wire::Cid(0xffff));
    let first = rig.deliver(io, sqe, Ok(RequestData::Remote { len: 512 }));
    let second = rig.deliver(io, sqe, Ok(RequestData::Remote { len: 512 }));
    rig.settle();
    assert_eq!(rig.answer(io, second).unwrap().status(), Status::COMMAND_ID_CONFLICT);
    disk.release(Order::Arrival);
    rig.settle();
    rig.answer(io, first).unwrap().ok();
    let third = rig.deliver(io, sqe, Ok(RequestData::Remote { len: 512 }));
    rig.settle();
    rig.answer(io, third).unwrap().ok();
}

#[test]
fn a_host_that_takes_no_answers_waits_for_itself() {
    let mut rig = Rig::new();
    let (slow, _) = rig.controller();
    rig.engine().hold_data = Some(Vec::new());
    let sqe = Identify::new(Cns::CONTROLLER, 0).to_sqe();
    let requests: Vec<_> =
        (0..100).map(|_| rig.submit(slow, sqe, RequestData::Remote { len: 4096 })).collect();
    assert_eq!(rig.engine().answers.len(), 32, "pages of one queue");
    // Another host does not notice.
    rig.engine().answers.clear();
    let (other, _) = rig.controller();
    rig.engine().answers.clear();
    identify(&mut rig, other, Identify::new(Cns::CONTROLLER, 0));
    let held = rig.engine().hold_data.take();
    drop(held);
    rig.pass(std::time::Duration::from_millis(10));
    let order: Vec<_> = rig.engine().answers.iter().map(|answer| answer.request).collect();
    assert_eq!(order, requests[32..], "all of them, in order");
    assert!(rig.engine().answers.iter().all(|answer| answer.data.len() == 4096));
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
