//! \[bounded\] and \[never-blocks\]: what a peer does not take costs neither memory nor time.

use std::time::{Duration, Instant};

use nvmf_transport::{Command, Data, Misuse, QueueKind, QueueSettings};

use super::{flush, read, write};
use crate::{
    Fixture, Stop, Verdict, check, check_eq,
    world::{World, options},
};

/// Longer than any call may take, however busy the machine; a call that blocks takes for ever.
const CALL: Duration = Duration::from_secs(2);

fn timed<T>(call: impl FnOnce() -> T) -> Result<T, Stop> {
    #[expect(clippy::disallowed_methods, reason = "measures calls, whatever time the engines live in")]
    let start = Instant::now();
    let result = call();
    let took = start.elapsed();
    check!(took < CALL, "a call took {took:?}");
    Ok(result)
}

/// A queue takes one command less than its depth with flow control, all of its depth without; what Connect settles counts.
pub fn depth(fixture: &dyn Fixture) -> Verdict {
    for (asked, settled, sq_flow_control, fits) in
        [(16, 16, true, 15), (16, 16, false, 16), (16, 4, true, 3), (2, 2, true, 1)]
    {
        let mut world = World::new(fixture)?;
        let kind = QueueKind::Io(1);
        let queue = world.connect(&options(kind, asked))?;
        world.configure(queue, QueueSettings { kind, depth: settled, sq_flow_control })?;
        let mut taken = 0;
        for cookie in 0..32 {
            match world.host().submit(queue.host, Command { sqe: flush(), data: Data::None, cookie }) {
                Ok(_) => taken += 1,
                Err(refused) => check_eq!(refused.why, Misuse::QueueFull),
            }
        }
        check_eq!(taken, fits, "depth {settled}, flow control {sq_flow_control}");
        // The controller takes them all.
        for _ in 0..taken {
            let request = world.request()?;
            world.succeed(&request)?;
            world.done()?;
        }
    }
    Ok(())
}

/// A controller that is not polled: the host fills its queue, and no call waits for anybody.
pub fn controller_that_sleeps(fixture: &dyn Fixture) -> Verdict {
    let mut world = World::new(fixture)?;
    let queue = world.open(128, true)?;
    let in_capsule = world.io_in_capsule.min(16_384) as usize;
    let mut asleep = std::mem::take(&mut world.controllers);
    for cookie in 0..127 {
        let data = world.buffer(in_capsule.max(512))?;
        timed(|| world.submit(queue.host, write(), Data::ToController(data), cookie))??;
        timed(|| world.poll())??;
    }
    let one_more = Command { sqe: flush(), data: Data::None, cookie: 200 };
    check!(timed(|| world.host().submit(queue.host, one_more))?.is_err(), "more than the queue has entries");
    world.controllers.append(&mut asleep);
    for _ in 0..127 {
        let request = world.request()?;
        world.succeed(&request)?;
    }
    for _ in 0..127 {
        world.done()?;
    }
    Ok(())
}

/// A host that is not polled: the controller answers everything it was asked, and no call waits for anybody.
pub fn host_that_sleeps(fixture: &dyn Fixture) -> Verdict {
    let mut world = World::new(fixture)?;
    let queue = world.open(64, true)?;
    let len = 256 * 1024;
    for cookie in 0..63 {
        let room = world.buffer(len)?;
        world.submit(queue.host, read(), Data::FromController(room), cookie)?;
    }
    let requests: Vec<_> = (0..63).map(|_| world.request()).collect::<Result<_, _>>()?;
    let mut asleep = std::mem::take(&mut world.hosts);
    let view = world.controller_buffer(len)?.freeze();
    for request in &requests {
        timed(|| world.respond(request, view.clone().into()))??;
        timed(|| world.poll())??;
    }
    world.hosts.append(&mut asleep);
    for _ in 0..63 {
        check_eq!(world.done()?.transferred as usize, len);
    }
    world.until("the controller to let go of the data", |world| {
        let _ = world.poll();
        true
    })?;
    world.pass(Duration::from_millis(10))?;
    check!(view.try_into_buffer().is_ok(), "a view is held after the peer has the data");
    Ok(())
}

/// Limits are told before there is a queue, and a queue's are never wider.
pub fn limits(fixture: &dyn Fixture) -> Verdict {
    let before = fixture.host().limits();
    let mut world = World::new(fixture)?;
    let (queue, ours, theirs) = world.connect_with_info(&options(QueueKind::Io(1), 8))?;
    let Some(host) = world.host().limits(queue.host).cloned() else {
        return Err(Stop::failed("no limits of a live queue"));
    };
    for limits in [&host, &ours.limits, &theirs.limits] {
        check!(limits.max_transfer > 0 && limits.max_transfer <= before.max_transfer, "{limits:?}");
        check!(limits.max_depth >= 2 && limits.max_depth <= before.max_depth, "{limits:?}");
        check!(limits.max_segments > 0 && limits.max_fetches > 0, "{limits:?}");
    }
    check!(before.max_transfer >= 4096, "{before:?}");
    world.host().close(queue.host, nvmf_transport::Close::Now);
    world.host_event()?;
    check!(world.host().limits(queue.host).is_none(), "limits of a queue that has ended");
    Ok(())
}
