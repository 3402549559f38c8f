//! Abort (NVMe Base 2.0 §5.1).

use nvmf_controller::backend::faulty::Order;
use nvmf_transport::Data;
use nvmf_wire::{
    Cid, Status,
    admin::{Abort, async_event_request},
    io::{Rw, flush},
};

use super::check_status;
use crate::{
    Fixture, Verdict, check, check_eq,
    site::{SMALL, Site},
};

/// Commands that are not there: nothing is aborted, and the completion says so.
pub fn unknown(fixture: &dyn Fixture) -> Verdict {
    let mut site = Site::new(fixture)?;
    let (associated, io) = site.usual_io()?;
    let done = site.send(io, flush(SMALL), Data::None)?;
    site.answer(done)?;
    for (sqid, cid) in [(1, done.cid), (1, Cid(0x7777)), (0, Cid(0x7777)), (4, Cid(1)), (0xffff, Cid(0xffff))]
    {
        let answer = site.call(associated.admin, Abort { sqid, cid }.to_sqe(), Data::None)?;
        check_status!(answer.status(), Status::SUCCESS, "SQID {sqid}, {cid}");
        check!(!Abort::was_aborted(&answer.cqe), "SQID {sqid}, {cid} was aborted");
    }
    Ok(())
}

/// A command under way: it ends once, aborted or done, and Abort tells which; on either engine of the target.
pub fn running(fixture: &dyn Fixture) -> Verdict {
    for engine in [0, 1] {
        let mut site = Site::new(fixture)?;
        let associated = site.usual()?;
        let io = site.io_queue_at(engine, &associated, 1, 32, true)?;
        site.backend.hold();
        let room = site.room(512)?;
        let read = site.send(io, Rw::new(0, 1).read(SMALL), room)?;
        let data = site.out(&[1; 65_536])?;
        let write = site.send(io, Rw::new(0, 128).write(SMALL), data)?;
        site.until("both to be under way", |site| site.backend.held() == 2)?;
        for target in [read, write] {
            let answer =
                site.call(associated.admin, Abort { sqid: 1, cid: target.cid }.to_sqe(), Data::None)?;
            check_status!(answer.status(), Status::SUCCESS);
            let aborted = Abort::was_aborted(&answer.cqe);
            if !aborted {
                check!(!site.has_ended(target), "not aborted, and yet it ended before it was done");
            }
        }
        site.backend.release(Order::Arrival);
        for target in [read, write] {
            let status = site.answer(target)?.status();
            check!(status.is_success() || status.is(Status::ABORT_REQUESTED), "engine {engine}: {status}");
        }
        check_status!(site.status(io, flush(SMALL))?, Status::SUCCESS);
    }
    Ok(())
}

/// An Asynchronous Event Request that is held.
pub fn event_request(fixture: &dyn Fixture) -> Verdict {
    let mut site = Site::new(fixture)?;
    let admin = site.usual()?.admin;
    let held = site.send(admin, async_event_request(), Data::None)?;
    let answer = site.call(admin, Abort { sqid: 0, cid: held.cid }.to_sqe(), Data::None)?;
    check_eq!((answer.status().is_success(), Abort::was_aborted(&answer.cqe)), (true, true));
    check_status!(site.answer(held)?.status(), Status::ABORT_REQUESTED);
    Ok(())
}
