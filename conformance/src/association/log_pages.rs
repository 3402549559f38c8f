//! Get Log Page (NVMe Base 2.0 §5.16).

use nvmf_transport::QueueId;
use nvmf_wire::{
    Sqe, Status,
    identify::{Cns, Identify, IdentifyController},
    io::{Rw, flush},
    log::{
        GetLogPage, Lid,
        effects::{CommandEffectsLog, SupportedLogPages},
        health::{ErrorInformation, FirmwareSlots, SmartHealth},
    },
};

use super::check_status;
use crate::{
    Context as _, Fixture, Verdict, check, check_eq,
    site::{MAX_TRANSFER, SMALL, Site},
};

fn refused(site: &mut Site, admin: QueueId, sqe: Sqe, len: usize, expected: Status, what: &str) -> Verdict {
    match site.fetch(admin, sqe, len)? {
        Ok(_) => check!(false, "{what}: answered"),
        Err(status) => check_status!(status, expected, "{what}"),
    }
    Ok(())
}

/// An error shows in the error log of its association, with its command and where it was.
pub fn errors(fixture: &dyn Fixture) -> Verdict {
    let mut site = Site::new(fixture)?;
    let (associated, io) = site.usual_io()?;
    let log = GetLogPage::new(Lid::ERROR_INFORMATION, 64).to_sqe();
    let before = site.get(associated.admin, log, 64)?;
    let before = ErrorInformation::view(&before).doing("an entry")?.error_count.get();
    let sent = site.send(io, flush(99), nvmf_transport::Data::None)?;
    check_status!(site.answer(sent)?.status(), Status::INVALID_NAMESPACE_OR_FORMAT);
    let bytes = site.get(associated.admin, log, 64)?;
    let entry = ErrorInformation::view(&bytes).doing("an entry")?;
    check!(entry.error_count.get() > before, "no entry was added");
    check_status!(entry.status(), Status::INVALID_NAMESPACE_OR_FORMAT);
    check_eq!((entry.sqid.get(), entry.cid(), entry.nsid.get()), (1, sent.cid, 99));
    Ok(())
}

/// The health log counts what was read and written.
pub fn health(fixture: &dyn Fixture) -> Verdict {
    let mut site = Site::new(fixture)?;
    let (associated, io) = site.usual_io()?;
    let log = GetLogPage::new(Lid::SMART_HEALTH, 512).with_nsid(u32::MAX).to_sqe();
    let before = site.get(associated.admin, log, 512)?;
    let before = SmartHealth::view(&before).doing("the log")?;
    let (reads, writes) = (before.host_read_commands.get(), before.host_write_commands.get());
    for slba in 0..5 {
        check_status!(site.put(io, Rw::new(slba, 1).write(SMALL), &[1; 512])?, Status::SUCCESS);
        site.get(io, Rw::new(slba, 1).read(SMALL), 512)?;
        site.get(io, Rw::new(slba, 1).read(SMALL), 512)?;
    }
    let bytes = site.get(associated.admin, log, 512)?;
    let health = SmartHealth::view(&bytes).doing("the log")?;
    check_eq!(health.host_read_commands.get() - reads, 10);
    check_eq!(health.host_write_commands.get() - writes, 5);
    check!(health.data_units_written.get() >= 1, "in thousands of 512 bytes, rounded up");
    check_eq!(health.critical_warning, 0);
    check!(health.available_spare >= health.available_spare_threshold);
    Ok(())
}

/// The firmware of the active slot is the one Identify reports.
pub fn firmware(fixture: &dyn Fixture) -> Verdict {
    let mut site = Site::new(fixture)?;
    let admin = site.usual()?.admin;
    let bytes = site.get(admin, GetLogPage::new(Lid::FIRMWARE_SLOT, 512).to_sqe(), 512)?;
    let slots = FirmwareSlots::view(&bytes).doing("the log")?;
    let active = usize::from(slots.afi & 7);
    check!((1..=7).contains(&active), "AFI {:02x}", slots.afi);
    let id = site.get(admin, Identify::new(Cns::CONTROLLER, 0).to_sqe(), 4096)?;
    let id = IdentifyController::view(&id).doing("the controller")?;
    check_eq!(slots.revisions[active - 1], id.fr);
    Ok(())
}

/// What is said to be supported is, and the rest is not.
pub fn supported(fixture: &dyn Fixture) -> Verdict {
    let mut site = Site::new(fixture)?;
    let admin = site.usual()?.admin;
    let bytes = site.get(admin, GetLogPage::new(Lid::SUPPORTED_LOG_PAGES, 1024).to_sqe(), 1024)?;
    let pages = SupportedLogPages::view(&bytes).doing("the log")?;
    for lid in 0..=255 {
        let answered = site.fetch(admin, GetLogPage::new(Lid(lid), 64).with_nsid(u32::MAX).to_sqe(), 64)?;
        match (pages.page(Lid(lid)).supported(), answered) {
            (true, Err(status)) => check!(false, "log page {lid:02x} is said to be supported: {status}"),
            (false, Ok(_)) => check!(false, "log page {lid:02x} is answered and not said to be supported"),
            (false, Err(status)) => check_status!(status, Status::INVALID_LOG_PAGE, "log page {lid:02x}"),
            (true, Ok(_)) => {}
        }
    }
    for lid in [Lid::ERROR_INFORMATION, Lid::SMART_HEALTH, Lid::FIRMWARE_SLOT] {
        check!(pages.page(lid).supported(), "{lid:?} is mandatory");
    }
    Ok(())
}

/// The commands that are said to be supported are those that are answered otherwise than by Invalid Opcode.
pub fn effects(fixture: &dyn Fixture) -> Verdict {
    let mut site = Site::new(fixture)?;
    let (associated, io) = site.usual_io()?;
    let bytes = site.get(associated.admin, GetLogPage::new(Lid::COMMAND_EFFECTS, 4096).to_sqe(), 4096)?;
    let log = CommandEffectsLog::view(&bytes).doing("the log")?;
    for opcode in 0..=255u8 {
        // Fabrics commands are not listed; an event request would be held.
        if opcode == nvmf_wire::opcode::FABRICS || opcode == nvmf_wire::AdminOpcode::ASYNC_EVENT_REQUEST.0 {
            continue;
        }
        let status = site.status(associated.admin, Sqe::with_opcode(opcode))?;
        let listed = log.admin_command(nvmf_wire::AdminOpcode(opcode)).supported();
        check_eq!(!status.is(Status::INVALID_OPCODE), listed, "admin opcode {opcode:02x}: {status}");
        let status = site.status(io, Sqe::with_opcode(opcode).with_nsid(SMALL))?;
        let listed = log.io_command(nvmf_wire::IoOpcode(opcode)).supported();
        check_eq!(!status.is(Status::INVALID_OPCODE), listed, "I/O opcode {opcode:02x}: {status}");
    }
    Ok(())
}

/// Pieces of a page make up the page; what lies behind its end is an error or zeroes.
pub fn pieces(fixture: &dyn Fixture) -> Verdict {
    let mut site = Site::new(fixture)?;
    let admin = site.usual()?.admin;
    let whole = site.get(admin, GetLogPage::new(Lid::COMMAND_EFFECTS, 4096).to_sqe(), 4096)?;
    let mut pieces = Vec::new();
    for (offset, len) in [(0, 4), (4, 508), (512, 1024), (1536, 2560)] {
        let sqe = GetLogPage::new(Lid::COMMAND_EFFECTS, len).with_offset(offset).to_sqe();
        pieces.extend(site.get(admin, sqe, len as usize)?);
    }
    check!(pieces == whole, "the pieces are not the page");
    let beyond = GetLogPage::new(Lid::COMMAND_EFFECTS, 64).with_offset(1 << 20).to_sqe();
    refused(&mut site, admin, beyond, 64, Status::INVALID_FIELD, "an offset behind the end")?;
    let odd = GetLogPage::new(Lid::COMMAND_EFFECTS, 64).with_offset(2).to_sqe();
    refused(&mut site, admin, odd, 64, Status::INVALID_FIELD, "an offset that is no multiple of 4")
}

/// More than MDTS, and room that does not fit NUMD.
pub fn length(fixture: &dyn Fixture) -> Verdict {
    let mut site = Site::new(fixture)?;
    let admin = site.usual()?.admin;
    let most = MAX_TRANSFER.min(fixture.controller().limits().max_transfer);
    site.get(admin, GetLogPage::new(Lid::ERROR_INFORMATION, most).to_sqe(), most as usize)?;
    let sqe = GetLogPage::new(Lid::ERROR_INFORMATION, most + 4).to_sqe();
    refused(&mut site, admin, sqe, 64, Status::INVALID_FIELD, "more than MDTS")?;
    let sqe = GetLogPage::new(Lid::ERROR_INFORMATION, 128).to_sqe();
    refused(&mut site, admin, sqe, 64, Status::DATA_SGL_LENGTH_INVALID, "64 bytes of room for 128")
}
