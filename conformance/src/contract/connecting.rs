//! Connecting and listening: what works, what fails, how it is told, and that nobody else notices.

use std::time::Duration;

use nvmf_transport::{
    CloseReason, ConnectOptions, ControllerEvent, ErrorKind, HostEvent, Offer, Policy, QueueKind, Stage,
    Target, Transports, Wire,
};

use crate::{
    Context as _, Fixture, Stop, Verdict, check, check_eq,
    world::{World, options},
};

fn failure(world: &mut World) -> Result<(Stage, ErrorKind, String), Stop> {
    match world.host_event()? {
        HostEvent::Closed { reason: CloseReason::Failed(error), .. } => {
            Ok((error.stage(), error.kind(), error.to_string()))
        }
        other => Err(Stop::failed(format!("expected a failure, got {other:?}"))),
    }
}

/// Both sides know who they talk to and what they agreed on.
pub fn information(fixture: &dyn Fixture) -> Verdict {
    let mut world = World::new(fixture)?;
    check!(world.listener.address.port() != 0, "port 0 stands for a port, and the listener says which");
    let (_, ours, theirs) = world.connect_with_info(&options(QueueKind::Admin, 32))?;
    check_eq!(ours.peer, world.listener.address);
    check_eq!(theirs.local, world.listener.address);
    check_eq!(ours.local, theirs.peer);
    check!(!ours.data_path.is_empty() && !theirs.data_path.is_empty());
    Ok(())
}

/// Nobody listens: refused, in the stage of connecting, and the address is told.
pub fn nobody_listens(fixture: &dyn Fixture) -> Verdict {
    let mut world = World::new(fixture)?;
    let nobody = fixture.nobody();
    world.host().connect(&nobody, &options(QueueKind::Admin, 32)).doing("to connect")?;
    let (stage, kind, text) = failure(&mut world)?;
    check_eq!((stage, kind), (Stage::Connect, ErrorKind::Refused), "{text}");
    check!(text.contains(&nobody.address.port().to_string()), "{text:?} does not name {}", nobody.address);
    Ok(())
}

/// A controller that says nothing: the time given is kept, and it is told as a timeout.
pub fn silence(fixture: &dyn Fixture) -> Verdict {
    let Some(rogue) = fixture.silent_controller() else {
        return Err(Stop::skipped("the transport knows no silent peer"));
    };
    let mut world = World::new(fixture)?;
    let address = rogue.address().doing("the address of a silent controller")?;
    world.rogues.push(rogue);
    let target = Target { address, ..world.target };
    let timeout = Duration::from_millis(300);
    let start = world.now();
    world
        .host()
        .connect(&target, &ConnectOptions { timeout, ..options(QueueKind::Admin, 32) })
        .doing("to connect")?;
    world.poll()?;
    let due = world.host().next_timeout().doing("a timeout while connecting")?;
    check!(due <= world.now() + timeout, "the engine wants to be polled too late");
    let (_, kind, text) = failure(&mut world)?;
    check_eq!(kind, ErrorKind::TimedOut, "{text}");
    let took = world.now() - start;
    check!(took >= timeout && took < timeout + Duration::from_secs(2), "{took:?}");
    Ok(())
}

/// An address that another program listens at is taken.
pub fn address_in_use(fixture: &dyn Fixture) -> Verdict {
    let mut world = World::new(fixture)?;
    let target = world.target;
    match world.controller().listen(&target) {
        Err(error) => {
            check_eq!((error.stage(), error.kind()), (Stage::Listen, ErrorKind::AddressInUse), "{error}")
        }
        Ok(other) => check!(false, "listens twice: {other:?}"),
    }
    let queue = world.connect(&options(QueueKind::Admin, 32))?;
    world.works(queue)
}

/// A listener that is closed takes no more queues; those it brought live on.
pub fn unlisten(fixture: &dyn Fixture) -> Verdict {
    let mut world = World::new(fixture)?;
    let queue = world.connect(&options(QueueKind::Admin, 32))?;
    let (listener, target) = (world.listener.id, world.target);
    world.controller().unlisten(listener);
    world.controller().unlisten(listener);
    world.poll()?;
    world.host().connect(&target, &options(QueueKind::Io(1), 32)).doing("to connect")?;
    let (_, kind, text) = failure(&mut world)?;
    check!(matches!(kind, ErrorKind::Refused | ErrorKind::Reset | ErrorKind::PeerClosed), "{text}");
    world.works(queue)
}

/// Two listeners of one engine are told apart.
pub fn two_listeners(fixture: &dyn Fixture) -> Verdict {
    let mut world = World::new(fixture)?;
    let second = world.controller().listen(&fixture.listen_at()).doing("to listen again")?;
    check!(second.id != world.listener.id && second.address != world.listener.address, "{second:?}");
    let target = Target { address: second.address, ..world.target };
    world.host().connect(&target, &options(QueueKind::Admin, 32)).doing("to connect")?;
    match world.controller_event()? {
        ControllerEvent::Accepted { listener, info, .. } => {
            check_eq!(listener, second.id);
            check_eq!(info.local, second.address);
        }
        other => return Err(Stop::failed(format!("{other:?}"))),
    }
    Ok(())
}

/// Many queues of several hosts live side by side, and each one's end is its own.
pub fn many_queues(fixture: &dyn Fixture) -> Verdict {
    let mut world = World::new(fixture)?;
    world.add_host(fixture)?;
    let mut queues = Vec::new();
    for n in 0..24u16 {
        let host = usize::from(n % 2);
        let (queue, _, _) = world.connect_from(host, &options(QueueKind::from_qid(n / 2), 8))?;
        if host == 0 {
            queues.push(queue);
        }
    }
    for queue in &queues {
        world.works(*queue)?;
    }
    let gone = queues.swap_remove(5);
    world.host().close(gone.host, nvmf_transport::Close::Now);
    check!(matches!(world.host_event()?, HostEvent::Closed { queue, .. } if queue == gone.host));
    check!(
        matches!(world.controller_event()?, ControllerEvent::Closed { queue, .. } if queue == gone.controller)
    );
    for queue in &queues {
        world.works(*queue)?;
    }
    world.quiet()
}

/// A transport accepts its own wire and says why; a selection that asks for another wire does not choose it.
pub fn offers(fixture: &dyn Fixture) -> Verdict {
    let (host, target) = (fixture.host(), fixture.nobody());
    match host.offer(&target) {
        Offer::Accept { because, .. } => check!(!because.is_empty(), "accepts without saying why"),
        Offer::Decline { because } => check!(false, "declines its own wire: {because}"),
    }
    let name = host.name();
    let known = Transports::default().with(host);
    let foreign = Target { wire: Some(Wire(0xfe ^ 0x0f)), ..target };
    match known.select(&foreign, &Policy::Auto) {
        Err(none) => check!(none.to_string().contains(name), "{none}"),
        Ok(selection) => check!(false, "chosen for a foreign wire: {selection:?}"),
    }
    Ok(())
}
