//! Get Features and Set Features (NVMe Base 2.0 §5.15, §5.27; NVMe-oF 1.1 §4.3).

use nvmf_wire::{
    Status,
    feature::{Fid, GetFeatures, HostIdentifier, NumberOfQueues, Select, SetFeatures},
    property::Cc,
};

use super::check_status;
use crate::{
    Fixture, Verdict, check, check_eq,
    site::{MAX_QUEUES, Site},
};

/// The number of queues: no more than asked, no more than there are; read back; only before the first queue.
pub fn number_of_queues(fixture: &dyn Fixture) -> Verdict {
    let mut site = Site::new(fixture)?;
    let associated = site.usual()?;
    for (asked, granted) in
        [(1u32, 1u32), (3, 3), (u32::from(MAX_QUEUES), u32::from(MAX_QUEUES)), (1000, u32::from(MAX_QUEUES))]
    {
        let value = NumberOfQueues::pairs(asked).bits();
        let answer = site.call(
            associated.admin,
            SetFeatures::new(Fid::NUMBER_OF_QUEUES, value).to_sqe(),
            nvmf_transport::Data::None,
        )?;
        check!(answer.status().is_success(), "{}", answer.status());
        check_eq!(NumberOfQueues(answer.cqe.dw0()).queue_pairs(), granted, "{asked} asked for");
        let answer = site.call(
            associated.admin,
            GetFeatures::new(Fid::NUMBER_OF_QUEUES).to_sqe(),
            nvmf_transport::Data::None,
        )?;
        check_eq!(NumberOfQueues(answer.cqe.dw0()).queue_pairs(), granted);
    }
    for value in [0xffff_0000, 0x0000_ffff, 0xffff_ffff] {
        let status =
            site.status(associated.admin, SetFeatures::new(Fid::NUMBER_OF_QUEUES, value).to_sqe())?;
        check_status!(status, Status::INVALID_FIELD, "65536 queues");
    }
    site.io_queue(&associated, 1, 32)?;
    let status = site.status(associated.admin, SetFeatures::new(Fid::NUMBER_OF_QUEUES, 0).to_sqe())?;
    check_status!(status, Status::COMMAND_SEQUENCE_ERROR, "with a queue");
    Ok(())
}

/// A queue beyond the number granted is refused.
pub fn queues_beyond_grant(fixture: &dyn Fixture) -> Verdict {
    let mut site = Site::new(fixture)?;
    let associated = site.usual()?;
    let two = NumberOfQueues::pairs(2).bits();
    check_status!(
        site.status(associated.admin, SetFeatures::new(Fid::NUMBER_OF_QUEUES, two).to_sqe())?,
        Status::SUCCESS
    );
    site.io_queue(&associated, 2, 32)?;
    let queue = site.open(nvmf_transport::QueueKind::Io(3), 32)?;
    let answer =
        site.connect_raw(queue, Site::io_connect(3, 32, true), &associated.who.data(associated.cntlid))?;
    check_status!(answer.status(), Status::CONNECT_INVALID_PARAMETERS);
    Ok(())
}

/// The keep alive timer is that of Connect until it is set.
pub fn keep_alive_timer(fixture: &dyn Fixture) -> Verdict {
    let mut site = Site::new(fixture)?;
    let associated = site.associate_disabled(&super::Who::default(), 30_000)?;
    site.enable(associated.admin)?;
    let read = GetFeatures::new(Fid::KEEP_ALIVE_TIMER).to_sqe();
    let value = site.call(associated.admin, read, nvmf_transport::Data::None)?.cqe.dw0();
    check_eq!(value, 30_000);
    let set = SetFeatures::new(Fid::KEEP_ALIVE_TIMER, 45_000).to_sqe();
    check_status!(site.status(associated.admin, set)?, Status::SUCCESS);
    let value = site.call(associated.admin, read, nvmf_transport::Data::None)?.cqe.dw0();
    check_eq!(value, 45_000);
    Ok(())
}

/// The host identifier is Connect's, and stays.
pub fn host_identifier(fixture: &dyn Fixture) -> Verdict {
    let mut site = Site::new(fixture)?;
    let associated = site.usual()?;
    let mut read = GetFeatures::new(Fid::HOST_IDENTIFIER);
    read.cdw11 = HostIdentifier(0).with_extended(true).bits();
    check_eq!(site.get(associated.admin, read.to_sqe(), 16)?, associated.who.id.to_vec());
    let set = SetFeatures::new(Fid::HOST_IDENTIFIER, read.cdw11).to_sqe();
    check_status!(site.put(associated.admin, set, &[9; 16])?, Status::COMMAND_SEQUENCE_ERROR);
    check_eq!(site.get(associated.admin, read.to_sqe(), 16)?, associated.who.id.to_vec());
    Ok(())
}

/// Features that do not exist, and selections that do not.
pub fn unknown(fixture: &dyn Fixture) -> Verdict {
    let mut site = Site::new(fixture)?;
    let admin = site.usual()?.admin;
    for fid in [0x00, 0x1f, 0x77, 0x79, 0xbf, 0xff] {
        check_status!(
            site.status(admin, GetFeatures::new(Fid(fid)).to_sqe())?,
            Status::INVALID_FIELD,
            "get {fid:02x}"
        );
        check_status!(
            site.status(admin, SetFeatures::new(Fid(fid), 0).to_sqe())?,
            Status::INVALID_FIELD,
            "set {fid:02x}"
        );
    }
    let mut read = GetFeatures::new(Fid::NUMBER_OF_QUEUES);
    read.sel = Select(5);
    check_status!(site.status(admin, read.to_sqe())?, Status::INVALID_FIELD, "SEL 5");
    Ok(())
}

/// Defaults stay defaults; nothing can be saved; a reset brings them back.
pub fn selections(fixture: &dyn Fixture) -> Verdict {
    let mut site = Site::new(fixture)?;
    let admin = site.usual()?.admin;
    let none = || nvmf_transport::Data::None;
    let mut read = GetFeatures::new(Fid::ARBITRATION);
    let initial = site.call(admin, read.to_sqe(), none())?.cqe.dw0();
    let other = initial ^ 1;
    check_status!(site.status(admin, SetFeatures::new(Fid::ARBITRATION, other).to_sqe())?, Status::SUCCESS);
    check_eq!(site.call(admin, read.to_sqe(), none())?.cqe.dw0(), other);
    read.sel = Select::DEFAULT;
    check_eq!(site.call(admin, read.to_sqe(), none())?.cqe.dw0(), initial);
    read.sel = Select::SUPPORTED_CAPABILITIES;
    let capabilities =
        nvmf_wire::feature::FeatureCapabilities(site.call(admin, read.to_sqe(), none())?.cqe.dw0());
    check!(capabilities.changeable() && !capabilities.saveable(), "{capabilities:?}");
    let mut set = SetFeatures::new(Fid::ARBITRATION, other);
    set.save = true;
    check_status!(site.status(admin, set.to_sqe())?, Status::FEATURE_NOT_SAVEABLE);
    check!(site.write_cc(admin, Cc(0))?.status().is_success());
    site.csts_until(admin, "end of the reset", |csts| !csts.rdy())?;
    site.enable(admin)?;
    read.sel = Select::CURRENT;
    check_eq!(site.call(admin, read.to_sqe(), none())?.cqe.dw0(), initial, "after a reset");
    Ok(())
}
