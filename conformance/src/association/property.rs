//! Property Get and Set, and the life cycle of a controller (NVMe-oF 1.1 §3.4, §3.5; NVMe Base 2.0 §3.1.3, §3.5, §3.6).

use nvmf_transport::{Data, QueueKind};
use nvmf_wire::{
    Status,
    fabrics::{PropertyGet, PropertySet},
    property::{
        Arbitration, Cc, CommandSetSelected, PropertyOffset, ShutdownNotification, ShutdownStatus, Version,
    },
};

use super::{Who, check_status};
use crate::{
    Fixture, Stop, Verdict, check, check_eq,
    site::{SMALL, Site},
};

/// Every property with its size and value.
pub fn values(fixture: &dyn Fixture) -> Verdict {
    let mut site = Site::new(fixture)?;
    let associated = site.associate_disabled(&Who::default(), 0)?;
    let cap = site.cap(associated.admin)?;
    check!(cap.mqes() >= 1, "{cap:?}");
    check!(cap.timeout_ms() > 0, "CAP.TO 0 gives the controller no time");
    check!(cap.css() & 1 == 1, "the NVM command set is not offered: {cap:?}");
    check_eq!(cap.min_page_size(), 4096);
    check!(cap.cqr(), "Fabrics needs contiguous queues: {cap:?}");
    let version = Version(site.property(associated.admin, PropertyOffset::VS)? as u32);
    check!(version >= Version::V1_4, "{version:?}");
    check_eq!(site.property(associated.admin, PropertyOffset::CC)?, 0);
    let csts = site.csts(associated.admin)?;
    check!(!csts.rdy() && !csts.cfs(), "{csts:?}");
    site.enable(associated.admin)?;
    check_eq!(site.property(associated.admin, PropertyOffset::CC)?, u64::from(Cc::ENABLE_NVM.bits()));
    Ok(())
}

/// The wrong size, and offsets that are none.
pub fn invalid(fixture: &dyn Fixture) -> Verdict {
    let mut site = Site::new(fixture)?;
    let admin = site.usual()?.admin;
    for (offset, wide) in
        [(PropertyOffset::CAP, false), (PropertyOffset::CC, true), (PropertyOffset::CSTS, true)]
    {
        let status = site.status(admin, PropertyGet { offset, wide }.to_sqe())?;
        check_status!(status, Status::INVALID_FIELD, "{offset:?}, wide {wide}");
    }
    // Inside of a property, PCIe's own, reserved, beyond the end.
    for offset in [0x04, 0x0c, 0x24, 0x28, 0x30, 0x40, 0x1000, 0xffff_fff8] {
        let status =
            site.status(admin, PropertyGet { offset: PropertyOffset(offset), wide: false }.to_sqe())?;
        check_status!(status, Status::INVALID_FIELD, "reading offset {offset:#x}");
        let set = PropertySet { offset: PropertyOffset(offset), wide: false, value: 0 };
        check_status!(site.status(admin, set.to_sqe())?, Status::INVALID_FIELD, "writing offset {offset:#x}");
    }
    check!(site.csts(admin)?.rdy());
    Ok(())
}

/// Properties that only the controller writes.
pub fn read_only(fixture: &dyn Fixture) -> Verdict {
    let mut site = Site::new(fixture)?;
    let admin = site.usual()?.admin;
    for offset in [PropertyOffset::CAP, PropertyOffset::VS, PropertyOffset::CSTS] {
        let before = site.property(admin, offset)?;
        let status = site.status(admin, PropertySet::new(offset, !before).to_sqe())?;
        check_status!(status, Status::INVALID_FIELD, "{offset:?}");
        check_eq!(site.property(admin, offset)?, before);
    }
    Ok(())
}

/// Reserved fields of the commands are not looked at.
pub fn reserved_fields(fixture: &dyn Fixture) -> Verdict {
    let mut site = Site::new(fixture)?;
    let admin = site.usual()?.admin;
    let mut sqe = PropertyGet::new(PropertyOffset::VS).to_sqe();
    for dword in
        [&mut sqe.cdw2, &mut sqe.cdw3, &mut sqe.cdw12, &mut sqe.cdw13, &mut sqe.cdw14, &mut sqe.cdw15]
    {
        dword.set(u32::MAX);
    }
    sqe.cdw10.set(sqe.cdw10.get() | 0xffff_fff0);
    check_status!(site.status(admin, sqe)?, Status::SUCCESS);
    Ok(())
}

/// A configuration no controller has: it does not become ready, and takes no I/O queue.
pub fn bad_configuration(fixture: &dyn Fixture) -> Verdict {
    let mut site = Site::new(fixture)?;
    let good = Cc::ENABLE_NVM;
    let wrong = [
        ("MPS 15", good.with_mps(15)),
        ("CSS 011b", good.with_css(CommandSetSelected(3))),
        ("AMS 010b", good.with_ams(Arbitration(2))),
        ("IOSQES 2", good.with_iosqes(2)),
        ("IOCQES 6", good.with_iocqes(6)),
    ];
    for (what, cc) in wrong {
        let associated = site.associate_disabled(&Who::default(), 0)?;
        let answer = site.write_cc(associated.admin, cc)?;
        let csts = site.csts(associated.admin)?;
        check!(
            !csts.rdy() && (csts.cfs() || !answer.status().is_success()),
            "{what}: {csts:?}, {}",
            answer.status()
        );
        let queue = site.open(QueueKind::Io(1), 32)?;
        let data = associated.who.data(associated.cntlid);
        let answer = site.connect_raw(queue, Site::io_connect(1, 32, true), &data)?;
        check!(!answer.status().is_success(), "{what}: an I/O queue was taken");
        // Disabled and enabled as it should be, it works.
        site.write_cc(associated.admin, Cc(0))?;
        site.enable(associated.admin).map_err(|stop| Stop::failed(format!("{what}: {stop}")))?;
        site.leave(&associated)?;
    }
    Ok(())
}

/// What may not change while the controller is enabled does not.
pub fn change_while_enabled(fixture: &dyn Fixture) -> Verdict {
    let mut site = Site::new(fixture)?;
    let (associated, io) = site.usual_io()?;
    let good = Cc::ENABLE_NVM;
    for (what, cc) in [
        ("MPS", good.with_mps(1)),
        ("CSS", good.with_css(CommandSetSelected(6))),
        ("AMS", good.with_ams(Arbitration(1))),
    ] {
        site.write_cc(associated.admin, cc)?;
        check_eq!(site.property(associated.admin, PropertyOffset::CC)?, u64::from(good.bits()), "{what}");
        check!(site.csts(associated.admin)?.rdy(), "{what}");
    }
    check_status!(site.status(io, nvmf_wire::io::flush(SMALL))?, Status::SUCCESS);
    Ok(())
}

/// A reset by CC.EN ends the I/O queues and leaves the association; enabled again it works.
pub fn reset(fixture: &dyn Fixture) -> Verdict {
    let mut site = Site::new(fixture)?;
    let (associated, io) = site.usual_io()?;
    check!(site.write_cc(associated.admin, Cc(0))?.status().is_success());
    site.closed(io)?;
    site.csts_until(associated.admin, "end of the reset", |csts| !csts.rdy())?;
    let status = site.status(associated.admin, nvmf_wire::admin::keep_alive())?;
    check_status!(status, Status::COMMAND_SEQUENCE_ERROR, "an admin command while disabled");
    site.enable(associated.admin)?;
    let io = site.io_queue(&associated, 1, 32)?;
    check_status!(site.status(io, nvmf_wire::io::flush(SMALL))?, Status::SUCCESS);
    Ok(())
}

/// A shutdown, normal and abrupt: it completes, the I/O queues end, and no more commands are taken.
pub fn shutdown(fixture: &dyn Fixture) -> Verdict {
    for shn in [ShutdownNotification::NORMAL, ShutdownNotification::ABRUPT] {
        let mut site = Site::new(fixture)?;
        let (associated, io) = site.usual_io()?;
        let answer = site.write_cc(associated.admin, Cc::ENABLE_NVM.with_shn(shn))?;
        check!(answer.status().is_success(), "{shn:?}: {}", answer.status());
        site.csts_until(associated.admin, "end of the shutdown", |csts| {
            csts.shst() == ShutdownStatus::COMPLETE
        })?;
        site.closed(io)?;
        let status = site.status(associated.admin, nvmf_wire::admin::keep_alive())?;
        check!(!status.is_success(), "{shn:?}: a command after the shutdown succeeded");
    }
    Ok(())
}

/// Properties belong to the admin queue.
pub fn on_an_io_queue(fixture: &dyn Fixture) -> Verdict {
    let mut site = Site::new(fixture)?;
    let (_, io) = site.usual_io()?;
    let answer = site.call(io, PropertyGet::new(PropertyOffset::CAP).to_sqe(), Data::None)?;
    check_status!(answer.status(), Status::INVALID_OPCODE);
    let answer = site.call(io, PropertySet::new(PropertyOffset::CC, 0).to_sqe(), Data::None)?;
    check_status!(answer.status(), Status::INVALID_OPCODE);
    check_status!(site.status(io, nvmf_wire::io::flush(SMALL))?, Status::SUCCESS);
    Ok(())
}

/// An association whose controller is never enabled ends, in its time.
pub fn never_enabled(fixture: &dyn Fixture) -> Verdict {
    let enable_timeout = std::time::Duration::from_millis(400);
    let options = nvmf_controller::ServerOptions { enable_timeout, ..Default::default() };
    let mut site = Site::with_options(fixture, options)?;
    let enabled = site.usual()?;
    let associated = site.associate_disabled(&Who::default(), 0)?;
    let start = site.now();
    site.closed(associated.admin)?;
    check!(site.now() - start >= enable_timeout / 2, "after {:?}", site.now() - start);
    check!(site.csts(enabled.admin)?.rdy());
    Ok(())
}
