//! \[arrival-order\]: events of one queue come in the order things arrived.

use nvmf_transport::{ControllerEvent, Data, HostEvent};

use super::{flush, read};
use crate::{Fixture, Stop, Verdict, check, check_eq, world::World};

/// `Connected` and `Accepted` come before anything else of a queue; commands arrive in the order they were submitted.
pub fn commands(fixture: &dyn Fixture) -> Verdict {
    let mut world = World::new(fixture)?;
    let queue = world.open(64, true)?;
    let mut cids = Vec::new();
    for cookie in 0..63 {
        cids.push(world.submit(queue.host, flush(), Data::None, cookie)?);
        if cookie % 10 == 0 {
            world.poll()?;
        }
    }
    for (n, cid) in cids.into_iter().enumerate() {
        check_eq!(world.request()?.sqe.cid(), cid, "command {n}");
    }
    Ok(())
}

/// Completions come in the order the controller gave them, whatever the order of the commands.
pub fn completions(fixture: &dyn Fixture) -> Verdict {
    let mut world = World::new(fixture)?;
    let queue = world.open(32, true)?;
    for cookie in 0..31 {
        let room = world.buffer(if cookie % 2 == 0 { 512 } else { 40_000 })?;
        world.submit(queue.host, read(), Data::FromController(room), cookie)?;
    }
    let requests: Vec<_> = (0..31).map(|_| world.request()).collect::<Result<_, _>>()?;
    let mut order: Vec<usize> = (0..31).rev().collect();
    order.swap(3, 17);
    for &n in &order {
        let len = requests[n].data.as_ref().map_or(0, |data| data.len());
        let data = world.controller_buffer(len)?;
        world.respond(&requests[n], data.into())?;
    }
    let mut seen = Vec::new();
    for _ in 0..31 {
        seen.push(world.done()?.cookie as usize);
    }
    check_eq!(seen, order);
    Ok(())
}

/// An end that follows an answer at once does not overtake it.
pub fn end_after_answer(fixture: &dyn Fixture) -> Verdict {
    let mut world = World::new(fixture)?;
    let queue = world.open(8, true)?;
    world.submit(queue.host, flush(), Data::None, 1)?;
    world.submit(queue.host, flush(), Data::None, 2)?;
    let request = world.request()?;
    world.request()?;
    world.succeed(&request)?;
    world.controller().close(queue.controller, nvmf_transport::Close::AfterFlush);
    check_eq!(world.done()?.cookie, 1);
    check!(matches!(world.host_event()?, HostEvent::Aborted { cookie: 2, .. }));
    check!(matches!(world.host_event()?, HostEvent::Closed { .. }));
    match world.controller_event()? {
        ControllerEvent::Closed { queue: ended, .. } => check_eq!(ended, queue.controller),
        other => return Err(Stop::failed(format!("{other:?}"))),
    }
    Ok(())
}
