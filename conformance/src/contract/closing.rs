//! \[closed-last\] and \[drop-any-time\]: how queues end, asked for or not.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use nvmf_transport::{Close, CloseReason, ControllerEvent, Data, HostEvent, QueueKind, Region, Registration};

use super::{flush, read, write};
use crate::{
    Context as _, Fixture, Stop, Verdict, check, check_eq,
    world::{World, options},
};

/// What a host's events say about how its queue ended: events before the end, and the reason.
fn host_end(world: &mut World) -> Result<(usize, CloseReason), Stop> {
    let mut before = 0;
    loop {
        match world.host_event()? {
            HostEvent::Closed { reason, .. } => {
                // The last event, and only once.
                world.pass(Duration::from_millis(20))?;
                check!(world.hosts[0].events.is_empty(), "after the end: {:?}", world.hosts[0].events);
                return Ok((before, reason));
            }
            HostEvent::Aborted { .. } => before += 1,
            other => return Err(Stop::failed(format!("expected the end, got {other:?}"))),
        }
    }
}

fn controller_closed(world: &mut World) -> Result<CloseReason, Stop> {
    match world.controller_event()? {
        ControllerEvent::Closed { reason, .. } => Ok(reason),
        other => Err(Stop::failed(format!("expected the end, got {other:?}"))),
    }
}

/// The host closes: all its commands end, then the queue, then nothing; the controller hears of it.
pub fn by_the_host(fixture: &dyn Fixture) -> Verdict {
    for how in [Close::Now, Close::AfterFlush] {
        let mut world = World::new(fixture)?;
        let queue = world.open(8, true)?;
        for cookie in 0..4 {
            world.submit(queue.host, flush(), Data::None, cookie)?;
            world.request()?;
        }
        world.host().close(queue.host, how);
        world.host().close(queue.host, how); // Twice is once.
        check!(matches!(controller_closed(&mut world)?, CloseReason::PeerClosed | CloseReason::Failed(_)));
        let (aborted, reason) = host_end(&mut world)?;
        check_eq!(aborted, 4);
        check!(matches!(reason, CloseReason::Requested), "{how:?}: {reason:?}");
    }
    Ok(())
}

/// The controller closes: its fetches end, then the queue; the host's commands end, then its queue.
pub fn by_the_controller(fixture: &dyn Fixture) -> Verdict {
    for how in [Close::Now, Close::AfterFlush] {
        let mut world = World::new(fixture)?;
        let queue = world.open(8, true)?;
        for cookie in 0..4 {
            world.submit(queue.host, flush(), Data::None, cookie)?;
            world.request()?;
        }
        world.controller().close(queue.controller, how);
        world.controller().close(queue.controller, how);
        check!(matches!(controller_closed(&mut world)?, CloseReason::Requested));
        let (aborted, reason) = host_end(&mut world)?;
        check_eq!(aborted, 4);
        check!(matches!(reason, CloseReason::PeerClosed | CloseReason::Failed(_)), "{how:?}: {reason:?}");
    }
    Ok(())
}

/// An orderly end of an idle queue is told as such.
pub fn in_good_order(fixture: &dyn Fixture) -> Verdict {
    let mut world = World::new(fixture)?;
    let queue = world.open(8, true)?;
    world.works(queue)?;
    world.host().close(queue.host, Close::AfterFlush);
    let reason = controller_closed(&mut world)?;
    check!(matches!(reason, CloseReason::PeerClosed), "{reason:?}");
    check!(matches!(host_end(&mut world)?, (0, CloseReason::Requested)));
    Ok(())
}

/// What was answered before closing in order still arrives, however much it is.
pub fn answers_are_flushed(fixture: &dyn Fixture) -> Verdict {
    let mut world = World::new(fixture)?;
    let queue = world.open(32, true)?;
    let len = 128 * 1024;
    for cookie in 0..16 {
        let room = world.buffer(len)?;
        world.submit(queue.host, read(), Data::FromController(room), cookie)?;
    }
    let requests: Vec<_> = (0..16).map(|_| world.request()).collect::<Result<_, _>>()?;
    for request in &requests {
        let data = world.controller_buffer(len)?;
        world.respond(request, data.into())?;
    }
    world.controller().close(queue.controller, Close::AfterFlush);
    for _ in 0..16 {
        check_eq!(world.done()?.transferred as usize, len);
    }
    check!(matches!(host_end(&mut world)?.1, CloseReason::PeerClosed));
    Ok(())
}

/// What was submitted before closing in order still arrives.
pub fn commands_are_flushed(fixture: &dyn Fixture) -> Verdict {
    let mut world = World::new(fixture)?;
    let queue = world.open(8, true)?;
    for cookie in 0..4 {
        let data = world.buffer(4096)?;
        world.submit(queue.host, write(), Data::ToController(data), cookie)?;
    }
    world.host().close(queue.host, Close::AfterFlush);
    for _ in 0..4 {
        world.request()?;
    }
    controller_closed(&mut world).map(drop)
}

/// Closing a queue that is not up yet ends it, and it never comes up.
pub fn before_it_is_up(fixture: &dyn Fixture) -> Verdict {
    let mut world = World::new(fixture)?;
    let target = world.target;
    let queue = world.host().connect(&target, &options(QueueKind::Admin, 8)).doing("to connect")?;
    world.host().close(queue, Close::Now);
    match world.host_event()? {
        HostEvent::Closed { queue: ended, reason: CloseReason::Requested } => check_eq!(ended, queue),
        other => return Err(Stop::failed(format!("{other:?}"))),
    }
    check!(world.hosts[0].events.is_empty());
    Ok(())
}

/// Set when the memory it is attached to is freed.
struct Freed(Arc<AtomicBool>);

impl Registration for Freed {}

impl Drop for Freed {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// A host that vanishes: its peer sees the end of each queue, its buffers are freed.
pub fn host_dropped(fixture: &dyn Fixture) -> Verdict {
    let mut world = World::new(fixture)?;
    let queues = [world.open(8, true)?, world.open(8, true)?];
    let freed = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&freed);
    let region = Region::allocate(4096).doing("memory")?.registered(|_, _| Box::new(Freed(flag)));
    world.submit(queues[0].host, read(), Data::FromController(region.into_buffer()), 1)?;
    world.request()?;
    check!(!freed.load(Ordering::SeqCst));
    world.hosts.clear();
    check!(freed.load(Ordering::SeqCst), "the buffer of a command outlived its engine");
    let mut ended = Vec::new();
    for _ in 0..2 {
        match world.controller_event()? {
            ControllerEvent::Closed { queue, .. } => ended.push(queue),
            other => return Err(Stop::failed(format!("{other:?}"))),
        }
    }
    ended.sort_unstable();
    let mut expected = queues.map(|queue| queue.controller).to_vec();
    expected.sort_unstable();
    check_eq!(ended, expected);
    Ok(())
}

/// A controller that vanishes: the host's commands and queue end, the views it was sending are dropped, nobody listens.
pub fn controller_dropped(fixture: &dyn Fixture) -> Verdict {
    let mut world = World::new(fixture)?;
    let queue = world.open(8, true)?;
    let room = [world.buffer(1 << 20)?, world.buffer(1 << 20)?];
    for (cookie, room) in (0..).zip(room) {
        world.submit(queue.host, read(), Data::FromController(room), cookie)?;
    }
    let (answered, _unanswered) = (world.request()?, world.request()?);
    let view = world.controller_buffer(1 << 20)?.freeze();
    world.respond(&answered, view.clone().into())?;
    world.controllers.clear();
    check!(view.try_into_buffer().is_ok(), "a view outlived its engine");
    let (aborted, reason) = host_end(&mut world)?;
    check_eq!(aborted, 2);
    check!(!matches!(reason, CloseReason::Requested), "{reason:?}");
    let target = world.target;
    world.host().connect(&target, &options(QueueKind::Admin, 8)).doing("to connect")?;
    check!(matches!(host_end(&mut world)?, (0, CloseReason::Failed(_))));
    Ok(())
}
