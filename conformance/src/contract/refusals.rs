//! \[refusal-returns\]: a refused call gives everything back and changes nothing.

use nvmf_transport::{
    Close, Command, ControllerEvent, Data, Gather, Misuse, QueueKind, QueueSettings, Refused,
};
use nvmf_wire::{Cqe, Sqe};

use super::{flush, has_pattern, pattern, place, place_of, read, write};
use crate::{
    Fixture, Stop, Verdict, check, check_eq,
    world::{Both, World, options},
};

/// Submits what must be refused, and checks what comes back.
fn refused(world: &mut World, queue: Both, sqe: Sqe, len: usize, why: Misuse) -> Verdict {
    let mut buffer = world.buffer(len)?;
    pattern(&mut buffer, 9);
    let at = place(&buffer);
    match world.host().submit(queue.host, Command { sqe, data: Data::ToController(buffer), cookie: 77 }) {
        Err(Refused { given_back: Command { sqe: same, data, cookie: 77 }, why: reason }) => {
            check_eq!(same, sqe);
            check_eq!(place_of(&data), Some(at));
            check!(matches!(&data, Data::ToController(buffer) if has_pattern(buffer, 0, 9)));
            check_eq!(reason, why);
            Ok(())
        }
        other => Err(Stop::failed(format!("not refused properly: {other:?}"))),
    }
}

/// A full queue refuses, and takes again after a completion.
pub fn full_queue(fixture: &dyn Fixture) -> Verdict {
    let mut world = World::new(fixture)?;
    let queue = world.open(4, true)?;
    for cookie in 0..3 {
        world.submit(queue.host, flush(), Data::None, cookie)?;
    }
    refused(&mut world, queue, write(), 512, Misuse::QueueFull)?;
    let requests = [world.request()?, world.request()?, world.request()?];
    world.quiet()?; // The refused one never reached the controller.
    world.succeed(&requests[0])?;
    world.done()?;
    world.submit(queue.host, flush(), Data::None, 3)?;
    world.request()?;
    refused(&mut world, queue, write(), 512, Misuse::QueueFull)
}

/// More data than the queue carries is refused; exactly as much is not.
pub fn too_much_data(fixture: &dyn Fixture) -> Verdict {
    let mut world = World::new(fixture)?;
    let queue = world.open(4, true)?;
    let most = match world.host().limits(queue.host) {
        Some(limits) => limits.max_transfer as usize,
        None => return Err(Stop::failed("no limits of a live queue")),
    };
    if most > 64 << 20 {
        return Err(Stop::skipped(format!(
            "the transport carries {most} bytes: more than a test wants to allocate"
        )));
    }
    refused(&mut world, queue, write(), most + 1, Misuse::DataLength)?;
    let room = world.buffer(most)?;
    world.submit(queue.host, read(), Data::FromController(room), 1)?;
    let request = world.request()?;
    let data = world.controller_buffer(most)?;
    world.respond(&request, data.into())?;
    check_eq!(world.done()?.transferred as usize, most);
    Ok(())
}

/// A queue that is not up, is closing or is gone refuses.
pub fn wrong_moment(fixture: &dyn Fixture) -> Verdict {
    let mut world = World::new(fixture)?;
    let target = world.target;
    let host = match world.host().connect(&target, &options(QueueKind::Admin, 8)) {
        Ok(host) => host,
        Err(error) => return Err(Stop::failed(error.to_string())),
    };
    let early = Both { host, controller: host };
    refused(&mut world, early, write(), 512, Misuse::NotConnected)?;
    let controller = match (world.host_event()?, world.controller_event()?) {
        (_, ControllerEvent::Accepted { queue, .. }) => queue,
        other => return Err(Stop::failed(format!("{other:?}"))),
    };
    let queue = Both { host, controller };
    world.works(queue)?;
    world.host().close(host, Close::AfterFlush);
    refused(&mut world, queue, write(), 512, Misuse::Closing)?;
    world.host_event()?;
    refused(&mut world, queue, write(), 512, Misuse::UnknownQueue)
}

/// Fetches of too much, too many at once, at the wrong place, or for a request without remote data are refused.
pub fn fetch(fixture: &dyn Fixture) -> Verdict {
    let mut world = World::new(fixture)?;
    let queue = world.open(8, true)?;
    let len = 256 * 1024;
    let mut data = world.buffer(len)?;
    pattern(&mut data, 1);
    world.submit(queue.host, write(), Data::ToController(data), 1)?;
    world.submit(queue.host, flush(), Data::None, 2)?;
    let (request, without) = (world.request()?, world.request()?);
    let attempt = |world: &mut World, request, offset: u32, len: usize| {
        let into = world.controller_buffer(len)?;
        let at = place(&into);
        match world.controller().fetch(request, offset, into) {
            Ok(()) => Ok(None),
            Err(Refused { given_back, why }) => {
                check_eq!(place(&given_back), at);
                Ok(Some(why))
            }
        }
    };
    check_eq!(attempt(&mut world, request.id, 0, len + 1)?, Some(Misuse::DataLength));
    check_eq!(attempt(&mut world, request.id, 4096, 4096)?, Some(Misuse::DataLength), "with a gap before it");
    check_eq!(
        attempt(&mut world, request.id, 0, 4094)?,
        Some(Misuse::DataLength),
        "no multiple of four, and not the last"
    );
    check_eq!(attempt(&mut world, request.id, u32::MAX, 512)?, Some(Misuse::DataLength));
    check_eq!(attempt(&mut world, without.id, 0, 512)?, Some(Misuse::DataLength));
    let most = u32::from(fixture.controller().limits().max_fetches);
    for n in 0..most {
        check_eq!(attempt(&mut world, request.id, n * 4096, 4096)?, None, "fetch {n} of {most}");
    }
    check_eq!(attempt(&mut world, request.id, most * 4096, 4096)?, Some(Misuse::TooManyFetches));
    for n in 0..most {
        match world.controller_event()? {
            ControllerEvent::Fetched { offset, data, outcome: Ok(()), .. } => {
                check_eq!(offset, n * 4096);
                check!(has_pattern(&data, offset as usize, 1));
            }
            other => return Err(Stop::failed(format!("{other:?}"))),
        }
    }
    check_eq!(attempt(&mut world, request.id, most * 4096, 4096)?, None, "after the others have ended");
    Ok(())
}

/// Answers with too much data, with a fetch under way, to a write with data, or a second time are refused.
pub fn respond(fixture: &dyn Fixture) -> Verdict {
    let mut world = World::new(fixture)?;
    let queue = world.open(8, true)?;
    let (room, data) = (world.buffer(4096)?, world.buffer(128 * 1024)?);
    world.submit(queue.host, read(), Data::FromController(room), 1)?;
    world.submit(queue.host, write(), Data::ToController(data), 2)?;
    let (reading, writing) = (world.request()?, world.request()?);
    let attempt = |world: &mut World, request, len: usize| {
        let data = world.controller_buffer(len)?;
        match world.controller().respond(request, Cqe::default(), data.into()) {
            Ok(()) => Ok(None),
            Err(Refused { given_back, why }) => {
                check_eq!(given_back.len(), len);
                Ok(Some(why))
            }
        }
    };
    check_eq!(attempt(&mut world, reading.id, 4097)?, Some(Misuse::DataLength));
    check_eq!(attempt(&mut world, writing.id, 512)?, Some(Misuse::DataLength));
    let into = world.controller_buffer(128 * 1024)?;
    world.controller().fetch(writing.id, 0, into).map_err(|refused| Stop::failed(refused.to_string()))?;
    check!(attempt(&mut world, writing.id, 0)?.is_some(), "answered with a fetch under way");
    check!(matches!(world.controller_event()?, ControllerEvent::Fetched { outcome: Ok(()), .. }));
    check_eq!(attempt(&mut world, writing.id, 0)?, None);
    check_eq!(attempt(&mut world, writing.id, 0)?, Some(Misuse::UnknownRequest));
    check_eq!(attempt(&mut world, reading.id, 4096)?, None);
    let done = [world.done()?.cookie, world.done()?.cookie];
    check_eq!(done, [2, 1]);
    world.quiet()
}

/// Settings that make no sense are refused, and the queue goes on with those it has.
pub fn configure(fixture: &dyn Fixture) -> Verdict {
    let mut world = World::new(fixture)?;
    let queue = world.open(8, true)?;
    let kind = QueueKind::Io(1);
    let huge = QueueSettings { kind, depth: u16::MAX, sq_flow_control: true };
    check_eq!(world.host().configure(queue.host, huge), Err(Misuse::Parameter));
    let none = QueueSettings { kind, depth: 0, sq_flow_control: true };
    check_eq!(world.host().configure(queue.host, none), Err(Misuse::Parameter));
    check_eq!(world.controller().configure(queue.controller, none), Err(Misuse::Parameter));
    world.works(queue)
}

/// An empty gather list is no data at all.
pub fn nothing_is_not_data(fixture: &dyn Fixture) -> Verdict {
    let mut world = World::new(fixture)?;
    let queue = world.open(8, true)?;
    world.submit(queue.host, flush(), Data::None, 1)?;
    let request = world.request()?;
    let mut nothing = Gather::new();
    nothing.push(world.controller_buffer(0)?.freeze());
    world.respond(&request, nothing)?;
    let done = world.done()?;
    check_eq!((done.cookie, done.transferred), (1, 0));
    let empty = world.buffer(0)?;
    world.submit(queue.host, write(), Data::ToController(empty), 2)?;
    let request = world.request()?;
    check!(matches!(&request.data, Ok(data) if data.is_empty()), "{:?}", request.data);
    world.succeed(&request)?;
    check!(matches!(world.done()?.data, Data::ToController(buffer) if buffer.is_empty()));
    Ok(())
}
