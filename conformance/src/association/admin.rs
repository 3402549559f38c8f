//! Admin commands that do not exist over Fabrics or at all, and the rules all admin commands share (NVMe-oF 1.1 §4.4).

use nvmf_transport::Data;
use nvmf_wire::{
    AdminOpcode, Sqe, Status,
    admin::keep_alive,
    identify::{Cns, Identify},
    io::flush,
    sqe::Fuse,
};

use super::{Who, check_status};
use crate::{
    Fixture, Verdict, check, check_eq,
    site::{SMALL, Site},
};

/// Opcodes that Fabrics excludes, vendor specific ones and unknown ones.
pub fn opcodes(fixture: &dyn Fixture) -> Verdict {
    let mut site = Site::new(fixture)?;
    let admin = site.usual()?.admin;
    let excluded = [
        AdminOpcode::CREATE_IO_SQ,
        AdminOpcode::DELETE_IO_SQ,
        AdminOpcode::CREATE_IO_CQ,
        AdminOpcode::DELETE_IO_CQ,
        AdminOpcode::DOORBELL_BUFFER_CONFIG,
        AdminOpcode(0xc0),
        AdminOpcode(0xff),
        AdminOpcode(0x2b),
    ];
    for opcode in excluded {
        check_status!(site.status(admin, Sqe::admin(opcode))?, Status::INVALID_OPCODE, "{opcode:?}");
    }
    check_status!(site.status(admin, keep_alive())?, Status::SUCCESS);
    Ok(())
}

/// Before the controller is ready only Fabrics commands are taken.
pub fn before_ready(fixture: &dyn Fixture) -> Verdict {
    let mut site = Site::new(fixture)?;
    let associated = site.associate_disabled(&Who::default(), 0)?;
    let identify = Identify::new(Cns::CONTROLLER, 0).to_sqe();
    let outcome = site.fetch(associated.admin, identify, 4096)?;
    check_eq!(outcome.map_err(Status::code).err(), Some(Status::COMMAND_SEQUENCE_ERROR));
    site.enable(associated.admin)?;
    site.get(associated.admin, identify, 4096).map(drop)
}

/// Fused commands, which the controller does not have.
pub fn fused(fixture: &dyn Fixture) -> Verdict {
    let mut site = Site::new(fixture)?;
    let (associated, io) = site.usual_io()?;
    for fuse in [Fuse::FIRST, Fuse::SECOND, Fuse(3)] {
        let status = site.status(associated.admin, keep_alive().with_fuse(fuse))?;
        check_status!(status, Status::INVALID_FIELD, "{fuse:?} on the admin queue");
        let status = site.status(io, flush(SMALL).with_fuse(fuse))?;
        check_status!(status, Status::INVALID_FIELD, "{fuse:?} on the I/O queue");
    }
    Ok(())
}

/// Data where there is to be none, none where there is to be some, and room of the wrong size.
pub fn data_length(fixture: &dyn Fixture) -> Verdict {
    let mut site = Site::new(fixture)?;
    let admin = site.usual()?.admin;
    let identify = Identify::new(Cns::CONTROLLER, 0).to_sqe();
    for len in [512, 4092, 4100, 8192] {
        let status = site.fetch(admin, identify, len)?;
        check_eq!(
            status.map_err(Status::code).err(),
            Some(Status::DATA_SGL_LENGTH_INVALID),
            "{len} bytes of room"
        );
    }
    let status = site.call(admin, identify, Data::None)?.status();
    check!(!status.is_success(), "Identify without room for its data succeeded");
    check_status!(site.status(admin, keep_alive())?, Status::SUCCESS);
    Ok(())
}

/// Keep Alive is an admin command.
pub fn keep_alive_on_io(fixture: &dyn Fixture) -> Verdict {
    let mut site = Site::new(fixture)?;
    let (_, io) = site.usual_io()?;
    check_status!(site.status(io, keep_alive())?, Status::INVALID_OPCODE);
    check_status!(site.status(io, flush(SMALL))?, Status::SUCCESS);
    Ok(())
}
