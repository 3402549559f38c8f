//! Log pages: contents, pieces, bounds.

use nvmf_transport::RequestData;
use nvmf_wire::{
    AdminOpcode, IoOpcode, Sqe, Status,
    log::{
        GetLogPage, Lid,
        effects::{CommandEffectsLog, SupportedLogPages},
        health::{ErrorInformation, FirmwareSlots, SmartHealth},
    },
    sqe::NSID_BROADCAST,
};

use crate::rig::*;

#[track_caller]
pub(crate) fn log(rig: &mut Rig, admin: Q, lid: Lid, offset: u64, length: u32) -> Vec<u8> {
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
