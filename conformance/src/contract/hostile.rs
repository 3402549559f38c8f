//! \[hostile-peer\]: a peer that breaks the rules loses its own queue and nothing else.

use nvmf_transport::{CloseReason, ControllerEvent, Data, ErrorKind, HostEvent, QueueKind, Target};

use super::{read, write};
use crate::{
    Context as _, Fixture, Stop, Verdict, check, check_eq,
    world::{World, options},
};

/// What the end of a rogue's queue may be called.
fn is_blame(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::Protocol
            | ErrorKind::PeerReported
            | ErrorKind::NotNvme
            | ErrorKind::Incompatible
            | ErrorKind::Digest
            | ErrorKind::Reset
            | ErrorKind::PeerClosed
            | ErrorKind::TimedOut
    )
}

/// Each rogue host meets a controller with a decent host on another queue.
pub fn hosts(fixture: &dyn Fixture) -> Verdict {
    let mut world = World::new(fixture)?;
    let decent = world.open(8, true)?;
    let rogues = fixture.rogue_hosts(world.listener.address);
    if rogues.is_empty() {
        return Err(Stop::skipped("nobody has written a rogue host for this transport"));
    }
    for rogue in rogues {
        let name = rogue.name().to_owned();
        world.rogues.push(rogue);
        let mut accepted = None;
        let mut requests = 0;
        loop {
            // One that never got as far as being accepted is gone without a word.
            let over = |world: &World| world.rogues.iter().all(|rogue| rogue.is_over());
            world.until(&name, |world| {
                !world.controllers[0].events.is_empty() || (accepted.is_none() && over(world))
            })?;
            if world.controllers[0].events.is_empty() {
                break;
            }
            match world.controller_event().doing(&name)? {
                ControllerEvent::Accepted { queue, .. } => accepted = Some(queue),
                // What it said before it broke the rules counts.
                ControllerEvent::Command { request, .. } => {
                    check_eq!(Some(request.queue), accepted, "{name}");
                    requests += 1;
                    check!(requests <= 64, "{name}: {requests} commands were delivered");
                }
                ControllerEvent::Fetched { outcome, .. } => {
                    check!(outcome.is_err(), "{name}: its data was taken")
                }
                ControllerEvent::Closed { queue, reason } => {
                    check_eq!(Some(queue), accepted, "{name}");
                    match reason {
                        CloseReason::Failed(error) => check!(is_blame(error.kind()), "{name}: {error}"),
                        other => return Err(Stop::failed(format!("{name}: its queue ended as {other:?}"))),
                    }
                    break;
                }
                other => return Err(Stop::failed(format!("{name}: {other:?}"))),
            }
        }
        world.rogues.clear();
        world.works(decent).doing(&name)?;
    }
    world.quiet()
}

/// Each rogue controller meets a host with a queue to a decent one.
pub fn controllers(fixture: &dyn Fixture) -> Verdict {
    let mut world = World::new(fixture)?;
    let decent = world.open(8, true)?;
    let rogues = fixture.rogue_controllers();
    if rogues.is_empty() {
        return Err(Stop::skipped("nobody has written a rogue controller for this transport"));
    }
    for rogue in rogues {
        let name = rogue.name().to_owned();
        let address = rogue.address().doing(&name)?;
        world.rogues.push(rogue);
        let target = Target { address, ..world.target };
        let queue = world.host().connect(&target, &options(QueueKind::Admin, 8)).doing(&name)?;
        let mut outstanding = 0;
        loop {
            match world.host_event().doing(&name)? {
                HostEvent::Connected { .. } => {
                    // Something to be wrong about: one command each way.
                    let (out, room) = (world.buffer(65_536)?, world.buffer(65_536)?);
                    world.submit(queue, write(), Data::ToController(out), 1)?;
                    world.submit(queue, read(), Data::FromController(room), 2)?;
                    outstanding = 2;
                }
                HostEvent::Completed { cqe, .. } => {
                    check!(!cqe.status().is_success(), "{name}: its lies were taken for success");
                    outstanding -= 1;
                }
                HostEvent::Aborted { .. } => outstanding -= 1,
                HostEvent::Closed { queue: ended, reason } => {
                    check_eq!(ended, queue, "{name}");
                    check_eq!(outstanding, 0, "{name}");
                    match reason {
                        CloseReason::Failed(error) => check!(is_blame(error.kind()), "{name}: {error}"),
                        other => return Err(Stop::failed(format!("{name}: its queue ended as {other:?}"))),
                    }
                    break;
                }
                other => return Err(Stop::failed(format!("{name}: {other:?}"))),
            }
        }
        world.rogues.clear();
        world.works(decent).doing(&name)?;
    }
    world.quiet()
}
