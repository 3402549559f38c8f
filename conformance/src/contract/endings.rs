//! \[ends-once\] and \[buffer-returns\]: every command and fetch ends once, with its buffer.

use std::collections::BTreeMap;

use nvmf_transport::{Close, ControllerEvent, Data, Gather, HostEvent};
use nvmf_wire::{Cqe, Status};

use super::{flush, has_pattern, pattern, place, place_of, read, write};
use crate::{Fixture, Stop, Verdict, check, check_eq, world::World};

/// Half of the commands are answered, then the queue goes away under the rest.
pub fn commands_end_once(fixture: &dyn Fixture) -> Verdict {
    let mut world = World::new(fixture)?;
    let queue = world.open(32, true)?;
    for cookie in 0..31 {
        let data = match cookie % 3 {
            0 => Data::None,
            1 => Data::ToController(world.buffer(512)?),
            _ => Data::FromController(world.buffer(512)?),
        };
        let sqe = [flush(), write(), read()][cookie as usize % 3];
        world.submit(queue.host, sqe, data, cookie)?;
    }
    for _ in 0..15 {
        let request = world.request()?;
        let data = if request.sqe.opcode == read().opcode {
            world.controller_buffer(512)?.into()
        } else {
            Gather::new()
        };
        world.respond(&request, data)?;
    }
    world.until("fifteen completions", |world| world.hosts[0].events.len() >= 15)?;
    world.controller().close(queue.controller, Close::Now);
    world.until("the end of the queue", |world| {
        matches!(world.hosts[0].events.back(), Some(HostEvent::Closed { .. }))
    })?;
    let mut completed = BTreeMap::new();
    let mut aborted = BTreeMap::new();
    for event in world.hosts[0].events.drain(..) {
        match event {
            HostEvent::Completed { cookie, .. } => *completed.entry(cookie).or_insert(0) += 1,
            HostEvent::Aborted { cookie, .. } => *aborted.entry(cookie).or_insert(0) += 1,
            HostEvent::Closed { .. } => {}
            other => return Err(Stop::failed(format!("{other:?} in between"))),
        }
    }
    check!(completed.values().chain(aborted.values()).all(|&times| times == 1), "{completed:?} {aborted:?}");
    check_eq!(completed.len(), 15);
    check_eq!(aborted.len(), 16);
    check!(completed.keys().all(|cookie| !aborted.contains_key(cookie)), "{completed:?} {aborted:?}");
    Ok(())
}

/// A command ends with a status and without data as it does with success.
pub fn errors_end_once(fixture: &dyn Fixture) -> Verdict {
    let mut world = World::new(fixture)?;
    let queue = world.open(8, false)?;
    let room = world.buffer(8192)?;
    world.submit(queue.host, read(), Data::FromController(room), 9)?;
    let request = world.request()?;
    let cqe = Cqe::error(request.sqe.cid(), Status::UNRECOVERED_READ_ERROR.with_dnr());
    world
        .controller()
        .respond(request.id, cqe, Gather::new())
        .map_err(|refused| Stop::failed(refused.to_string()))?;
    let done = world.done()?;
    check_eq!(done.cqe.status(), Status::UNRECOVERED_READ_ERROR.with_dnr());
    check_eq!((done.cookie, done.transferred, done.data.len()), (9, 0, 8192));
    world.quiet()
}

/// The host goes away while fetches are under way.
pub fn fetches_end_once(fixture: &dyn Fixture) -> Verdict {
    let mut world = World::new(fixture)?;
    let queue = world.open(8, true)?;
    let max_fetches = usize::from(fixture.controller().limits().max_fetches.max(1)).min(4);
    let len = 65_536;
    let data = world.buffer(len * max_fetches)?;
    world.submit(queue.host, write(), Data::ToController(data), 1)?;
    let request = world.request()?;
    for n in 0..max_fetches {
        let into = world.controller_buffer(len)?;
        let offset = (n * len) as u32;
        world
            .controller()
            .fetch(request.id, offset, into)
            .map_err(|refused| Stop::failed(refused.to_string()))?;
    }
    world.host().close(queue.host, Close::Now);
    world.until("the end at the controller", |world| {
        matches!(world.controllers[0].events.back(), Some(ControllerEvent::Closed { .. }))
    })?;
    let mut offsets = Vec::new();
    for event in world.controllers[0].events.drain(..) {
        match event {
            ControllerEvent::Fetched { request: whose, offset, data, .. } => {
                check_eq!(whose, request.id);
                check_eq!(data.len(), len);
                offsets.push(offset as usize / len);
            }
            ControllerEvent::Closed { .. } => {}
            other => return Err(Stop::failed(format!("{other:?} in between"))),
        }
    }
    offsets.sort_unstable();
    check_eq!(offsets, (0..max_fetches).collect::<Vec<_>>());
    Ok(())
}

/// The buffer of a completion is the one submitted, as what it was submitted, unharmed.
pub fn completions_return_buffers(fixture: &dyn Fixture) -> Verdict {
    let mut world = World::new(fixture)?;
    let queue = world.open(8, true)?;
    for len in [512, 4096, 65_536] {
        let mut out = world.buffer(len)?;
        pattern(&mut out, 3);
        let (out_place, room) = (place(&out), world.buffer(len)?);
        let room_place = place(&room);
        world.submit(queue.host, write(), Data::ToController(out), 1)?;
        let request = world.request()?;
        world.succeed(&request)?;
        let done = world.done()?;
        check!(
            matches!(&done.data, Data::ToController(buffer) if has_pattern(buffer, 0, 3)),
            "{:?}",
            done.data
        );
        check_eq!(place_of(&done.data), Some(out_place));
        check_eq!(done.transferred, 0);

        world.submit(queue.host, read(), Data::FromController(room), 2)?;
        let request = world.request()?;
        let mut data = world.controller_buffer(len)?;
        pattern(&mut data, 4);
        world.respond(&request, data.into())?;
        let done = world.done()?;
        check!(
            matches!(&done.data, Data::FromController(buffer) if has_pattern(buffer, 0, 4)),
            "{:?}",
            done.data
        );
        check_eq!(place_of(&done.data), Some(room_place));
        check_eq!(done.transferred as usize, len);
    }
    Ok(())
}

/// So is the buffer of a command that was aborted, also one that had never left.
pub fn aborts_return_buffers(fixture: &dyn Fixture) -> Verdict {
    let mut world = World::new(fixture)?;
    let queue = world.open(8, true)?;
    let mut places = BTreeMap::new();
    let lens: [usize; 6] = [512, 4096, 65_536, 512, 4096, 65_536];
    for (cookie, len) in (0u64..).zip(lens) {
        let buffer = world.buffer(len)?;
        places.insert(cookie, place(&buffer));
        let (sqe, data) = if cookie % 2 == 0 {
            (write(), Data::ToController(buffer))
        } else {
            (read(), Data::FromController(buffer))
        };
        world.submit(queue.host, sqe, data, cookie)?;
        if cookie == 2 {
            world.request()?; // The first ones have reached the controller, the others never leave.
        }
    }
    world.host().close(queue.host, Close::Now);
    loop {
        match world.host_event()? {
            HostEvent::Aborted { cookie, data, .. } => {
                check_eq!(place_of(&data), places.remove(&cookie), "command {cookie}");
                check_eq!(matches!(data, Data::ToController(_)), cookie % 2 == 0);
            }
            HostEvent::Closed { .. } => break,
            other => return Err(Stop::failed(format!("{other:?}"))),
        }
    }
    check!(places.is_empty(), "buffers that never came back: {places:?}");
    Ok(())
}

/// A fetch's buffer comes back, filled with what was asked for and nothing else.
pub fn fetches_return_buffers(fixture: &dyn Fixture) -> Verdict {
    let mut world = World::new(fixture)?;
    let queue = world.open(8, true)?;
    let len = 100 * 1024;
    let mut data = world.buffer(len)?;
    pattern(&mut data, 5);
    world.submit(queue.host, write(), Data::ToController(data), 1)?;
    let request = world.request()?;
    // The whole in order, in uneven parts.
    let mut offset = 0;
    for part in [4096, 512, 65_536, len - 4096 - 512 - 65_536] {
        let into = world.controller_buffer(part)?;
        let into_place = place(&into);
        world
            .controller()
            .fetch(request.id, offset as u32, into)
            .map_err(|refused| Stop::failed(refused.to_string()))?;
        match world.controller_event()? {
            ControllerEvent::Fetched { request: whose, offset: from, data, outcome: Ok(()) } => {
                check_eq!((whose, from as usize), (request.id, offset));
                check_eq!(place(&data), into_place);
                check!(has_pattern(&data, offset, 5), "the part at {offset} is not what was sent");
            }
            other => return Err(Stop::failed(format!("{other:?}"))),
        }
        offset += part;
    }
    world.succeed(&request)?;
    check_eq!(world.done()?.cookie, 1);
    Ok(())
}
