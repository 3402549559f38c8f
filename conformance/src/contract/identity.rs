//! \[cid-unique\] and \[stale-id\]: names mean one thing only, and nothing afterwards.

use std::collections::HashSet;

use nvmf_transport::{Close, Command, Data, Gather, HostEvent, Misuse, QueueKind, QueueSettings};
use nvmf_wire::Cqe;

use super::flush;
use crate::{Fixture, Verdict, check, check_eq, world::World};

/// The CIDs of outstanding commands differ and are those on the wire, through many rounds of reuse.
pub fn cids(fixture: &dyn Fixture) -> Verdict {
    let mut world = World::new(fixture)?;
    let queue = world.open(16, true)?;
    let mut outstanding = HashSet::new();
    let mut waiting = std::collections::VecDeque::new();
    for cookie in 0..400u64 {
        let cid = world.submit(queue.host, flush(), Data::None, cookie)?;
        check!(outstanding.insert(cid), "{cid} twice");
        let request = world.request()?;
        check_eq!(request.sqe.cid(), cid);
        waiting.push_back((request, cookie));
        // Ends one of the oldest, not always the oldest.
        if waiting.len() == 12 {
            let (request, cookie) =
                waiting.remove(cookie as usize % 3).unwrap_or_else(|| unreachable!("twelve wait"));
            // The caller's CID is not the one that counts.
            let cqe = Cqe::default().with_dw0(cookie as u32).with_cid(nvmf_wire::Cid(0xdead));
            check!(world.controller().respond(request.id, cqe, Gather::new()).is_ok());
            let done = world.done()?;
            check_eq!(
                (done.cookie, done.cqe.cid(), done.cqe.dw0()),
                (cookie, request.sqe.cid(), cookie as u32)
            );
            outstanding.remove(&request.sqe.cid());
        }
    }
    Ok(())
}

/// A queue that has ended is unknown to every call, also when another has taken its place.
pub fn stale_queue(fixture: &dyn Fixture) -> Verdict {
    let mut world = World::new(fixture)?;
    let old = world.open(8, true)?;
    world.host().close(old.host, Close::Now);
    world.host_event()?;
    world.controller_event()?;
    let new = world.open(8, true)?;
    check!(
        old.host != new.host && old.controller != new.controller,
        "a name was used again: {old:?}, {new:?}"
    );
    let command = Command { sqe: flush(), data: Data::None, cookie: 1 };
    match world.host().submit(old.host, command) {
        Err(refused) => check_eq!(refused.why, Misuse::UnknownQueue),
        Ok(cid) => check!(false, "an ended queue took command {cid}"),
    }
    let settings = QueueSettings { kind: QueueKind::Io(1), depth: 8, sq_flow_control: true };
    check_eq!(world.host().configure(old.host, settings), Err(Misuse::UnknownQueue));
    check_eq!(world.controller().configure(old.controller, settings), Err(Misuse::UnknownQueue));
    check!(world.host().limits(old.host).is_none() && world.controller().limits(old.controller).is_none());
    world.host().close(old.host, Close::Now);
    world.controller().close(old.controller, Close::AfterFlush);
    world.quiet()?;
    world.works(new)
}

/// A request that has been answered is unknown, also when another has taken its place.
pub fn stale_request(fixture: &dyn Fixture) -> Verdict {
    let mut world = World::new(fixture)?;
    let queue = world.open(8, true)?;
    world.submit(queue.host, flush(), Data::None, 1)?;
    let old = world.request()?;
    world.succeed(&old)?;
    world.done()?;
    world.submit(queue.host, flush(), Data::None, 2)?;
    let new = world.request()?;
    check!(old.id != new.id, "a name was used again: {:?}", old.id);
    match world.controller().respond(old.id, Cqe::default(), Gather::new()) {
        Err(refused) => check_eq!(refused.why, Misuse::UnknownRequest),
        Ok(()) => check!(false, "a request was answered twice"),
    }
    let into = world.controller_buffer(512)?;
    match world.controller().fetch(old.id, 0, into) {
        Err(refused) => check_eq!(refused.why, Misuse::UnknownRequest),
        Ok(()) => check!(false, "data of an answered request was fetched"),
    }
    world.quiet()?;
    world.succeed(&new)?;
    check_eq!(world.done()?.cookie, 2);
    Ok(())
}

/// A request of a queue that has ended is unknown.
pub fn request_of_an_ended_queue(fixture: &dyn Fixture) -> Verdict {
    let mut world = World::new(fixture)?;
    let old = world.open(8, true)?;
    world.submit(old.host, flush(), Data::None, 1)?;
    let stale = world.request()?;
    world.controller().close(old.controller, Close::Now);
    world.controller_event()?;
    check!(matches!(world.host_event()?, HostEvent::Aborted { cookie: 1, .. }));
    world.host_event()?;
    let new = world.open(8, true)?;
    world.submit(new.host, flush(), Data::None, 2)?;
    let request = world.request()?;
    match world.controller().respond(stale.id, Cqe::default(), Gather::new()) {
        Err(refused) => {
            check!(matches!(refused.why, Misuse::UnknownRequest | Misuse::UnknownQueue), "{}", refused.why)
        }
        Ok(()) => check!(false, "a request of an ended queue was answered"),
    }
    world.quiet()?;
    world.succeed(&request)?;
    check_eq!(world.done()?.cookie, 2);
    Ok(())
}
