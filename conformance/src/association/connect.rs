//! The Connect command: every field, right and wrong (NVMe-oF 1.1 §3.3, §4.1, §4.2).

use nvmf_controller::{Hosts, ServerOptions};
use nvmf_transport::{Data, QueueId, QueueKind};
use nvmf_wire::{
    Nqn, Sqe, Status,
    fabrics::{
        CNTLID_DYNAMIC, CNTLID_MAX, CNTLID_STATIC_ANY, Connect, ConnectAccepted, ConnectAttributes,
        InvalidParameter,
    },
    property::Cc,
    zerocopy::IntoBytes as _,
};

use super::{ADMIN_DEPTH, Who, check_status};
use crate::{
    Fixture, Stop, Verdict, check, check_eq,
    site::{CLOSED, MAX_ENTRIES, MAX_QUEUES, OPEN, STRANGER, Site, nqn},
};

/// Fails unless an answer is Connect Invalid Parameters for this field.
fn blames(answer: &crate::site::Answer, field: InvalidParameter, what: &str) -> Verdict {
    check_eq!(answer.status().code(), Status::CONNECT_INVALID_PARAMETERS, "{what}");
    check_eq!(InvalidParameter::parse(&answer.cqe), Some(field), "{what}");
    Ok(())
}

/// A queue that failed to connect can still do it.
fn still_connects(site: &mut Site, queue: QueueId) -> Verdict {
    let answer = site.connect_raw(queue, Site::admin_connect(), &Who::default().data(CNTLID_DYNAMIC))?;
    check!(answer.status().is_success(), "after an error: {}", answer.status().as_fabrics());
    Ok(())
}

/// A good Connect of the admin queue.
pub fn admin(fixture: &dyn Fixture) -> Verdict {
    let mut site = Site::new(fixture)?;
    let queue = site.open(QueueKind::Admin, ADMIN_DEPTH)?;
    let answer = site.connect_raw(queue, Site::admin_connect(), &Who::default().data(CNTLID_DYNAMIC))?;
    let accepted = ConnectAccepted::parse(&answer.cqe).map_err(|status| Stop::failed(status.to_string()))?;
    check!((1..=CNTLID_MAX).contains(&accepted.cntlid()), "CNTLID {:04x}", accepted.cntlid());
    check!(!accepted.authentication_required() && !accepted.secure_channel_required());
    check!(answer.sqhd_valid);
    check_eq!(answer.cqe.sqhd(), 1, "one command was taken from the queue");
    let associations = site.server.associations();
    check_eq!(associations.len(), 1);
    check_eq!(associations[0].cntlid, accepted.cntlid());
    check_eq!(associations[0].host, Who::default().host);
    Ok(())
}

/// A record format that does not exist.
pub fn record_format(fixture: &dyn Fixture) -> Verdict {
    let mut site = Site::new(fixture)?;
    let queue = site.open(QueueKind::Admin, ADMIN_DEPTH)?;
    let command = Connect { recfmt: 1, ..Site::admin_connect() };
    let answer = site.connect_raw(queue, command, &Who::default().data(CNTLID_DYNAMIC))?;
    check_status!(answer.status(), Status::CONNECT_INCOMPATIBLE_FORMAT);
    still_connects(&mut site, queue)
}

/// Queue sizes of nothing and of too much, on both kinds of queue.
pub fn queue_size(fixture: &dyn Fixture) -> Verdict {
    let mut site = Site::new(fixture)?;
    let queue = site.open(QueueKind::Admin, ADMIN_DEPTH)?;
    for sqsize in [0, 0xffff, 0x7fff] {
        let command = Connect { sqsize, ..Site::admin_connect() };
        let answer = site.connect_raw(queue, command, &Who::default().data(CNTLID_DYNAMIC))?;
        blames(&answer, InvalidParameter::SQSIZE, &format!("admin queue, SQSIZE {sqsize:04x}"))?;
    }
    still_connects(&mut site, queue)?;
    let associated = site.usual()?;
    let cap = site.cap(associated.admin)?;
    check_eq!(cap.max_queue_entries(), u32::from(MAX_ENTRIES.min(site.max_depth)));
    for sqsize in [0, cap.mqes() + 1, 0xffff] {
        let queue = site.open(QueueKind::Io(1), 32)?;
        let command = Connect { sqsize, ..Site::io_connect(1, 32, true) };
        let answer = site.connect_raw(queue, command, &associated.who.data(associated.cntlid))?;
        blames(&answer, InvalidParameter::SQSIZE, &format!("I/O queue, SQSIZE {sqsize:04x}"))?;
    }
    site.io_queue(&associated, 1, cap.mqes() + 1).map(drop)
}

/// Queue identifiers beyond what there is, and one in use.
pub fn queue_id(fixture: &dyn Fixture) -> Verdict {
    let mut site = Site::new(fixture)?;
    let associated = site.usual()?;
    let data = associated.who.data(associated.cntlid);
    for qid in [MAX_QUEUES + 1, 0xffff] {
        let queue = site.open(QueueKind::Io(1), 32)?;
        let answer = site.connect_raw(queue, Site::io_connect(qid, 32, true), &data)?;
        blames(&answer, InvalidParameter::QID, &format!("QID {qid}"))?;
    }
    let first = site.io_queue(&associated, MAX_QUEUES, 32)?;
    let second = site.open(QueueKind::Io(MAX_QUEUES), 32)?;
    let answer = site.connect_raw(second, Site::io_connect(MAX_QUEUES, 32, true), &data)?;
    check!(!answer.status().is_success(), "a queue identifier in use was taken again");
    check_status!(site.status(first, nvmf_wire::io::flush(crate::site::SMALL))?, Status::SUCCESS);
    Ok(())
}

/// A second Connect on a queue that is connected.
pub fn twice(fixture: &dyn Fixture) -> Verdict {
    let mut site = Site::new(fixture)?;
    let (associated, io) = site.usual_io()?;
    let data = associated.who.data(CNTLID_DYNAMIC);
    let answer = site.connect_raw(associated.admin, Site::admin_connect(), &data)?;
    check_status!(answer.status(), Status::COMMAND_SEQUENCE_ERROR, "on the admin queue");
    let data = associated.who.data(associated.cntlid);
    let answer = site.connect_raw(io, Site::io_connect(1, 32, true), &data)?;
    check_status!(answer.status(), Status::COMMAND_SEQUENCE_ERROR, "on the I/O queue");
    check_status!(site.status(io, nvmf_wire::io::flush(crate::site::SMALL))?, Status::SUCCESS);
    check!(site.csts(associated.admin)?.rdy());
    Ok(())
}

/// An I/O queue before the controller is enabled.
pub fn io_before_enable(fixture: &dyn Fixture) -> Verdict {
    let mut site = Site::new(fixture)?;
    let associated = site.associate_disabled(&Who::default(), 0)?;
    let queue = site.open(QueueKind::Io(1), 32)?;
    let data = associated.who.data(associated.cntlid);
    let answer = site.connect_raw(queue, Site::io_connect(1, 32, true), &data)?;
    check_status!(answer.status(), Status::COMMAND_SEQUENCE_ERROR);
    site.enable(associated.admin)?;
    let answer = site.connect_raw(queue, Site::io_connect(1, 32, true), &data)?;
    check!(answer.status().is_success(), "after enabling: {}", answer.status().as_fabrics());
    Ok(())
}

/// An I/O queue for a controller that does not exist, or is of another subsystem.
pub fn unknown_controller(fixture: &dyn Fixture) -> Verdict {
    let mut site = Site::new(fixture)?;
    let associated = site.usual()?;
    for cntlid in [0, associated.cntlid + 1, CNTLID_DYNAMIC, CNTLID_STATIC_ANY] {
        let queue = site.open(QueueKind::Io(1), 32)?;
        let answer = site.connect_raw(queue, Site::io_connect(1, 32, true), &associated.who.data(cntlid))?;
        blames(&answer, InvalidParameter::CNTLID, &format!("CNTLID {cntlid:04x}"))?;
    }
    let elsewhere = Who::at(nqn(CLOSED));
    let queue = site.open(QueueKind::Io(1), 32)?;
    let answer =
        site.connect_raw(queue, Site::io_connect(1, 32, true), &elsewhere.data(associated.cntlid))?;
    blames(&answer, InvalidParameter::CNTLID, "a controller of another subsystem")
}

/// An I/O queue of another host never joins.
pub fn foreign_controller(fixture: &dyn Fixture) -> Verdict {
    let mut site = Site::new(fixture)?;
    let associated = site.usual()?;
    let other_name = Who { host: nqn(STRANGER), ..Who::default() };
    let other_id = Who { id: [0x22; 16], ..Who::default() };
    for (who, field) in [(other_name, InvalidParameter::HOSTNQN), (other_id, InvalidParameter::HOSTID)] {
        let queue = site.open(QueueKind::Io(1), 32)?;
        let answer = site.connect_raw(queue, Site::io_connect(1, 32, true), &who.data(associated.cntlid))?;
        blames(&answer, field, "the controller of another host")?;
    }
    check_eq!(site.server.associations()[0].io_queues, 0);
    Ok(())
}

/// A static controller identifier, where controllers are made on request.
pub fn static_controller(fixture: &dyn Fixture) -> Verdict {
    let mut site = Site::new(fixture)?;
    let queue = site.open(QueueKind::Admin, ADMIN_DEPTH)?;
    for cntlid in [1, CNTLID_STATIC_ANY, 0xfff5] {
        let answer = site.connect_raw(queue, Site::admin_connect(), &Who::default().data(cntlid))?;
        blames(&answer, InvalidParameter::CNTLID, &format!("CNTLID {cntlid:04x}"))?;
    }
    still_connects(&mut site, queue)
}

/// Subsystem names that are unknown or no names.
pub fn subsystem_name(fixture: &dyn Fixture) -> Verdict {
    let mut site = Site::new(fixture)?;
    let queue = site.open(QueueKind::Admin, ADMIN_DEPTH)?;
    let good = Who::default().data(CNTLID_DYNAMIC);
    let unknown = Who::at(nqn("nqn.2024-01.org.example:nothing")).data(CNTLID_DYNAMIC);
    let (mut empty, mut endless, mut binary) = (good, good, good);
    empty.subnqn.0.fill(0);
    endless.subnqn.0.fill(b'a');
    binary.subnqn.0[10] = 0xff;
    for (data, what) in
        [(unknown, "unknown"), (empty, "empty"), (endless, "without end"), (binary, "not UTF-8")]
    {
        let answer = site.connect_raw(queue, Site::admin_connect(), &data)?;
        blames(&answer, InvalidParameter::SUBNQN, what)?;
    }
    still_connects(&mut site, queue)
}

/// Host names that are no names.
pub fn host_name(fixture: &dyn Fixture) -> Verdict {
    let mut site = Site::new(fixture)?;
    let queue = site.open(QueueKind::Admin, ADMIN_DEPTH)?;
    let good = Who::default().data(CNTLID_DYNAMIC);
    let (mut empty, mut endless) = (good, good);
    empty.hostnqn.0.fill(0);
    endless.hostnqn.0.fill(b'a');
    for (data, what) in [(empty, "empty"), (endless, "without end")] {
        let answer = site.connect_raw(queue, Site::admin_connect(), &data)?;
        blames(&answer, InvalidParameter::HOSTNQN, what)?;
    }
    still_connects(&mut site, queue)
}

/// A host identifier of zero.
pub fn host_id(fixture: &dyn Fixture) -> Verdict {
    let mut site = Site::new(fixture)?;
    let queue = site.open(QueueKind::Admin, ADMIN_DEPTH)?;
    let nobody = Who { id: [0; 16], ..Who::default() };
    let answer = site.connect_raw(queue, Site::admin_connect(), &nobody.data(CNTLID_DYNAMIC))?;
    blames(&answer, InvalidParameter::HOSTID, "HOSTID 0")?;
    still_connects(&mut site, queue)
}

/// A host that is not on the list, on the admin queue and on I/O queues; one that is taken off it loses what it has.
pub fn access_control(fixture: &dyn Fixture) -> Verdict {
    let mut site = Site::new(fixture)?;
    let stranger = Who { host: nqn(STRANGER), subsystem: nqn(CLOSED), ..Who::default() };
    let queue = site.open(QueueKind::Admin, ADMIN_DEPTH)?;
    let answer = site.connect_raw(queue, Site::admin_connect(), &stranger.data(CNTLID_DYNAMIC))?;
    check_status!(answer.status(), Status::CONNECT_INVALID_HOST, "an admin queue of a stranger");
    let friend = site.associate(&Who::at(nqn(CLOSED)))?;
    let queue = site.open(QueueKind::Io(1), 32)?;
    let answer = site.connect_raw(queue, Site::io_connect(1, 32, true), &stranger.data(friend.cntlid))?;
    check_status!(answer.status(), Status::CONNECT_INVALID_HOST, "an I/O queue of a stranger");
    let io = site.io_queue(&friend, 1, 32)?;

    let Some(subsystem) = site.server.subsystem(&nqn(CLOSED)) else {
        return Err(Stop::failed("no subsystem"));
    };
    subsystem.set_hosts(Hosts::Only([nqn(STRANGER)].into_iter().collect()));
    site.closed(io)?;
    site.closed(friend.admin)?;
    let queue = site.open(QueueKind::Io(2), 32)?;
    let answer = site.connect_raw(queue, Site::io_connect(2, 32, true), &friend.who.data(friend.cntlid))?;
    check_status!(answer.status(), Status::CONNECT_INVALID_HOST, "an I/O queue of one who was a friend");
    site.associate(&stranger).map(drop)
}

/// Data of another length than Connect has, and none.
pub fn data_length(fixture: &dyn Fixture) -> Verdict {
    let mut site = Site::new(fixture)?;
    let queue = site.open(QueueKind::Admin, ADMIN_DEPTH)?;
    let mut bytes = Who::default().data(CNTLID_DYNAMIC).as_bytes().to_vec();
    bytes.resize(1028, 0);
    for len in [0, 512, 1020, 1028] {
        let data = if len == 0 { Data::None } else { site.out(&bytes[..len])? };
        let answer = site.call(queue, Site::admin_connect().to_sqe(), data)?;
        check_status!(answer.status(), Status::DATA_SGL_LENGTH_INVALID, "{len} bytes");
    }
    still_connects(&mut site, queue)
}

/// Submission queue flow control: off when asked for, and the completion says so.
pub fn flow_control(fixture: &dyn Fixture) -> Verdict {
    let mut site = Site::new(fixture)?;
    let associated = site.usual()?;
    for (qid, on) in [(1, true), (2, false)] {
        let queue = site.open(QueueKind::Io(qid), 32)?;
        let data = associated.who.data(associated.cntlid);
        let answer = site.connect_raw(queue, Site::io_connect(qid, 32, on), &data)?;
        check!(answer.status().is_success(), "{}", answer.status().as_fabrics());
        // FFFFh is how a controller grants what CATTR bit 2 asks for.
        check_eq!(answer.cqe.sqhd() == 0xffff, !on, "flow control {on}");
    }
    Ok(())
}

/// Reserved bits of CATTR and the priority class mean nothing here.
pub fn attributes(fixture: &dyn Fixture) -> Verdict {
    let mut site = Site::new(fixture)?;
    let associated = site.usual()?;
    for (qid, bits) in [(1, 0b11), (2, 0b1111_0000), (3, 0b1000)] {
        let queue = site.open(QueueKind::Io(qid), 32)?;
        let command = Connect { cattr: ConnectAttributes(bits), ..Site::io_connect(qid, 32, true) };
        let answer = site.connect_raw(queue, command, &associated.who.data(associated.cntlid))?;
        check!(answer.status().is_success(), "CATTR {bits:08b}: {}", answer.status().as_fabrics());
    }
    Ok(())
}

/// Any other command first.
pub fn not_first(fixture: &dyn Fixture) -> Verdict {
    let mut site = Site::new(fixture)?;
    let queue = site.open(QueueKind::Admin, ADMIN_DEPTH)?;
    let read_cap = nvmf_wire::fabrics::PropertyGet::new(nvmf_wire::property::PropertyOffset::CAP).to_sqe();
    for sqe in [read_cap, nvmf_wire::admin::keep_alive(), Sqe::with_opcode(0xff), Sqe::with_opcode(0)] {
        check_status!(site.status(queue, sqe)?, Status::COMMAND_SEQUENCE_ERROR, "opcode {:02x}", sqe.opcode);
    }
    still_connects(&mut site, queue)
}

/// More associations than the target takes: busy, until one leaves.
pub fn busy(fixture: &dyn Fixture) -> Verdict {
    let options = ServerOptions { max_associations: 2, ..ServerOptions::default() };
    let mut site = Site::with_options(fixture, options)?;
    let first = site.usual()?;
    site.usual()?;
    let queue = site.open(QueueKind::Admin, ADMIN_DEPTH)?;
    let data = Who::default().data(CNTLID_DYNAMIC);
    let answer = site.connect_raw(queue, Site::admin_connect(), &data)?;
    check_status!(answer.status(), Status::CONNECT_CONTROLLER_BUSY);
    check!(!answer.status().dnr(), "busy is worth a retry");
    site.leave(&first)?;
    still_connects(&mut site, queue)
}

/// Connections that never send Connect end, and do not keep others out.
pub fn unassociated(fixture: &dyn Fixture) -> Verdict {
    let connect_timeout = std::time::Duration::from_millis(300);
    let options = ServerOptions { max_unassociated: 2, connect_timeout, ..ServerOptions::default() };
    let mut site = Site::with_options(fixture, options)?;
    let idle = [site.open(QueueKind::Admin, ADMIN_DEPTH)?, site.open(QueueKind::Admin, ADMIN_DEPTH)?];
    let third = site.dial(0, QueueKind::Admin, ADMIN_DEPTH)?;
    site.closed(third)?;
    site.closed(idle[0])?;
    site.closed(idle[1])?;
    site.usual().map(drop)
}

/// The discovery controller takes the admin queue and no other.
pub fn discovery(fixture: &dyn Fixture) -> Verdict {
    let mut site = Site::new(fixture)?;
    let who = Who::at(Nqn::DISCOVERY);
    let associated = site.associate_disabled(&who, 0)?;
    let answer = site.write_cc(associated.admin, Cc::ENABLE_NVM)?;
    check!(answer.status().is_success(), "{}", answer.status());
    let queue = site.open(QueueKind::Io(1), 32)?;
    let answer = site.connect_raw(queue, Site::io_connect(1, 32, true), &who.data(associated.cntlid))?;
    check!(!answer.status().is_success(), "a discovery controller took an I/O queue");
    Ok(())
}

/// A host may have several associations with a subsystem, each with a controller of its own.
pub fn several(fixture: &dyn Fixture) -> Verdict {
    let mut site = Site::new(fixture)?;
    let first = site.usual()?;
    let second = site.usual()?;
    check!(first.cntlid != second.cntlid, "one controller for two associations");
    let third = site.associate(&Who { host: nqn(STRANGER), ..Who::at(nqn(OPEN)) })?;
    check!(third.cntlid != second.cntlid && third.cntlid != first.cntlid);
    let queue = site.io_queue(&second, 1, 32)?;
    site.leave(&first)?;
    check_status!(site.status(queue, nvmf_wire::io::flush(crate::site::SMALL))?, Status::SUCCESS);
    check!(site.csts(third.admin)?.rdy());
    Ok(())
}
