//! Features: values, rules, data.

use std::sync::Arc;

use nvmf_controller::{
    NamespaceOptions, ServerOptions,
    backend::{Backend, FileBackend, FileOptions},
};
use nvmf_wire::{
    Status,
    feature::{Fid, GetFeatures, HostBehavior, HostIdentifier, NumberOfQueues, Select, SetFeatures},
    identify::{Cns, Identify, IdentifyController},
    log::Lid,
    sqe::NSID_BROADCAST,
    zerocopy::little_endian::U32,
};

use crate::{identify::identify, log_pages::log, rig::*};

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
