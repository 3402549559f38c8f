//! Waiting: the handle wakes a thread that sleeps on it, also when the work comes from another thread.

use std::{
    thread,
    time::{Duration, Instant},
};

use nvmf_transport::{
    Close, Command, ControllerEngine, ControllerEvent, Data, HostEvent, QueueKind, WaitPolicy, Waiter,
};
use nvmf_wire::Cqe;

use super::flush;
use crate::{
    Context as _, Fixture, Stop, Verdict, check, check_eq,
    world::{LIMIT, options},
};

fn now() -> Instant {
    #[expect(clippy::disallowed_methods, reason = "the loops of this file are drivers")]
    Instant::now()
}

/// A controller's whole life on a thread: answers every command until its host is gone.
fn serve(mut engine: Box<dyn ControllerEngine>) -> Result<u64, Stop> {
    let mut waiter = Waiter::new(WaitPolicy::Block);
    let mut events = Vec::new();
    let (mut served, deadline) = (0, now() + LIMIT);
    while now() < deadline {
        let time = now();
        engine.poll(time, &mut events).doing("the controller's poll")?;
        if events.is_empty() {
            let until = engine.next_timeout().into_iter().chain([deadline]).min();
            waiter.idle(time, &[engine.wait_handle()], until);
        }
        for event in events.drain(..) {
            match event {
                ControllerEvent::Command { request, .. } => {
                    engine.respond(request, Cqe::default(), Default::default()).doing("to respond")?;
                    served += 1;
                }
                ControllerEvent::Closed { .. } => return Ok(served),
                _ => {}
            }
        }
    }
    Err(Stop::failed("the controller never saw its host go"))
}

/// Two threads that sleep on their handles exchange commands; if a wake-up were lost, they would sleep for ever.
pub fn between_threads(fixture: &dyn Fixture) -> Verdict {
    let mut controller = fixture.controller().controller_engine().doing("a controller")?;
    let mut host = fixture.host().host_engine().doing("a host")?;
    let at = fixture.listen_at();
    let address = controller.listen(&at).doing("to listen")?.address;
    let thread = thread::spawn(move || serve(controller));
    let target = nvmf_transport::Target { address, ..at };
    let queue = host.connect(&target, &options(QueueKind::Admin, 8)).doing("to connect")?;
    let mut waiter = Waiter::new(WaitPolicy::Block);
    let mut events = Vec::new();
    let deadline = now() + LIMIT;
    let (mut sent, mut back) = (0u64, 0u64);
    const ROUNDS: u64 = 200;
    loop {
        let time = now();
        check!(time < deadline, "{back} of {ROUNDS} commands came back: a wake-up was lost");
        host.poll(time, &mut events).doing("the host's poll")?;
        if events.is_empty() {
            let until = host.next_timeout().into_iter().chain([deadline]).min();
            waiter.idle(time, &[host.wait_handle()], until);
        }
        let mut closed = false;
        for event in events.drain(..) {
            match event {
                HostEvent::Connected { .. } => {}
                HostEvent::Completed { cookie, .. } => {
                    check_eq!(cookie, back);
                    back += 1;
                }
                HostEvent::Closed { .. } => closed = true,
                other => return Err(Stop::failed(format!("{other:?}"))),
            }
            if back == ROUNDS && sent == ROUNDS {
                sent += 1;
                host.close(queue, Close::AfterFlush);
            } else if sent == back && sent < ROUNDS {
                host.submit(queue, Command { sqe: flush(), data: Data::None, cookie: sent })
                    .map_err(|refused| Stop::failed(refused.to_string()))?;
                sent += 1;
            }
        }
        if closed {
            break;
        }
    }
    let served = thread.join().map_err(|_| Stop::failed("the controller's thread panicked"))??;
    check_eq!(served, ROUNDS);
    Ok(())
}

/// An idle engine's handle is silent and it asks for no early poll: an idle program uses no processor.
pub fn idle(fixture: &dyn Fixture) -> Verdict {
    let mut world = crate::world::World::new(fixture)?;
    let queue = world.open(8, true)?;
    world.works(queue)?;
    world.quiet()?;
    let mut waiter = Waiter::new(WaitPolicy::Block);
    let pause = Duration::from_millis(50);
    for (handle, next) in [
        (world.hosts[0].engine.wait_handle(), world.hosts[0].engine.next_timeout()),
        (world.controllers[0].engine.wait_handle(), world.controllers[0].engine.next_timeout()),
    ] {
        check!(
            next.is_none_or(|next| next > world.now() + pause),
            "wants to be polled although nothing happens"
        );
        let start = now();
        waiter.idle(start, &[handle], Some(start + pause));
        check!(
            start.elapsed() >= pause - Duration::from_millis(1),
            "the handle of an idle engine is readable"
        );
    }
    Ok(())
}
