//! Keep alive: what happens to a host that is silent, and to one that is not (NVMe Base 2.0 §3.9; NVMe-oF 1.1 §4.6).

use std::time::Duration;

use nvmf_transport::Data;
use nvmf_wire::{
    Nqn, Status,
    admin::{async_event_request, keep_alive},
    io::flush,
};

use super::{Associated, Who, check_status};
use crate::{
    Fixture, Stop, Verdict, check,
    site::{SMALL, Site},
};

/// Short, so that real time does not take long; a multiple of 100 ms, the finest granularity there is.
const KATO: u32 = 600;

fn alive(site: &mut Site, kato: u32) -> Result<Associated, Stop> {
    let associated = site.associate_disabled(&Who::default(), kato)?;
    site.enable(associated.admin)?;
    Ok(associated)
}

/// The granularity the controller rounds up to; a case that has to wait longer than this is for virtual time.
fn period(fixture: &dyn Fixture, site: &mut Site, associated: &Associated) -> Result<Duration, Stop> {
    let read = nvmf_wire::feature::GetFeatures::new(nvmf_wire::feature::Fid::KEEP_ALIVE_TIMER).to_sqe();
    let rounded = Duration::from_millis(site.call(associated.admin, read, Data::None)?.cqe.dw0().into());
    if !site.is_virtual() && !fixture.patient() {
        return Err(Stop::skipped("waits for seconds, and is run over another configuration"));
    }
    if !site.is_virtual() && rounded > Duration::from_secs(3) {
        return Err(Stop::skipped(format!("the controller rounds the timeout up to {rounded:?}")));
    }
    Ok(rounded)
}

/// A silent host loses its association, queues and all; others live on.
pub fn expires(fixture: &dyn Fixture) -> Verdict {
    let mut site = Site::new(fixture)?;
    let other = alive(&mut site, 0)?;
    let associated = alive(&mut site, KATO)?;
    let io = site.io_queue(&associated, 1, 32)?;
    let period = period(fixture, &mut site, &associated)?;
    let start = site.now();
    site.closed(associated.admin)?;
    site.closed(io)?;
    let silent = site.now() - start;
    check!(silent + Duration::from_millis(100) >= period, "after {silent:?} of {period:?}");
    check!(silent < period * 3 + Duration::from_millis(500), "only after {silent:?} of {period:?}");
    check_status!(site.status(other.admin, keep_alive())?, Status::SUCCESS);
    let again = alive(&mut site, 0)?;
    site.io_queue(&again, 1, 32).map(drop)
}

/// A host that says Keep Alive in time keeps its association.
pub fn keeps(fixture: &dyn Fixture) -> Verdict {
    let mut site = Site::new(fixture)?;
    let associated = alive(&mut site, KATO)?;
    let period = period(fixture, &mut site, &associated)?;
    for _ in 0..6 {
        site.pass(period / 2)?;
        check_status!(site.status(associated.admin, keep_alive())?, Status::SUCCESS);
    }
    Ok(())
}

/// With traffic based keep alive any command counts, of any queue.
pub fn traffic(fixture: &dyn Fixture) -> Verdict {
    let mut site = Site::new(fixture)?;
    let associated = alive(&mut site, KATO)?;
    let io = site.io_queue_at(1, &associated, 1, 32, true)?;
    let period = period(fixture, &mut site, &associated)?;
    for _ in 0..8 {
        site.pass(period / 3)?;
        check_status!(site.status(io, flush(SMALL))?, Status::SUCCESS);
    }
    check!(site.is_open(associated.admin), "a busy host lost its association");
    // And then silence.
    site.closed(associated.admin).map(drop)
}

/// Without a timeout a host may be silent for ever.
pub fn never(fixture: &dyn Fixture) -> Verdict {
    let mut site = Site::new(fixture)?;
    let associated = alive(&mut site, 0)?;
    let held = site.send(associated.admin, async_event_request(), Data::None)?;
    site.pass(if site.is_virtual() { Duration::from_secs(86_400) } else { Duration::from_millis(300) })?;
    check!(site.is_open(associated.admin) && !site.has_ended(held));
    check_status!(site.status(associated.admin, keep_alive())?, Status::SUCCESS);
    Ok(())
}

/// A discovery controller without a timeout ends by itself when it is not used; with one it is kept by keep alive.
pub fn discovery(fixture: &dyn Fixture) -> Verdict {
    let discovery_timeout = Duration::from_millis(700);
    let options = nvmf_controller::ServerOptions { discovery_timeout, ..Default::default() };
    let mut site = Site::with_options(fixture, options)?;
    let who = Who::at(Nqn::DISCOVERY);
    let once = site.associate_disabled(&who, 0)?;
    site.enable(once.admin)?;
    let kept = site.associate_disabled(&who, 60_000)?;
    site.enable(kept.admin)?;
    site.closed(once.admin)?;
    check!(site.is_open(kept.admin));
    check_status!(site.status(kept.admin, keep_alive())?, Status::SUCCESS);
    Ok(())
}
