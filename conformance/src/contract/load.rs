//! Everything at once: random reads and writes of all sizes over several queues, checked against a model.

use std::collections::HashMap;

use nvmf_sim::Rng;
use nvmf_transport::{
    Command, ControllerEvent, Data, HostEvent, Misuse, QueueId, QueueKind, QueueSettings, RequestData,
    RequestId,
};
use nvmf_wire::{Cqe, IoOpcode};

use super::{flush, has_pattern, pattern, read, write};
use crate::{
    Context as _, Fixture, Stop, Verdict, check, check_eq,
    world::{LIMIT, World, options},
};

const QUEUES: u16 = 4;
const COMMANDS: u64 = 800;

/// What the controller does with a write that is not in its capsule: fetches it piece by piece.
struct Fetching {
    len: usize,
    asked: usize,
    got: usize,
}

/// A command's whole meaning is in CDW10 (length) and CDW11 (salt), so that both sides can check every byte.
fn serve(world: &mut World, fetching: &mut HashMap<RequestId, Fetching>, rng: &mut Rng) -> Verdict {
    while let Some(event) = world.controllers[0].events.pop_front() {
        let request = match event {
            ControllerEvent::Command { request, sqe, data } => {
                let (len, salt) = (sqe.cdw10.get() as usize, sqe.cdw11.get() as u8);
                match (sqe.io_opcode(), data) {
                    (IoOpcode::READ, Ok(RequestData::Remote { len: room })) => {
                        check_eq!(room as usize, len);
                        let mut data = world.controller_buffer(len)?;
                        pattern(&mut data, salt);
                        world
                            .controller()
                            .respond(request, Cqe::default(), data.into())
                            .doing("to respond")?;
                        continue;
                    }
                    (IoOpcode::WRITE, Ok(RequestData::InCapsule(data))) => {
                        check!(data.len() == len && has_pattern(&data, 0, salt), "wrong in-capsule data");
                        world
                            .controller()
                            .respond(request, Cqe::default(), Default::default())
                            .doing("to respond")?;
                        continue;
                    }
                    (IoOpcode::WRITE, Ok(RequestData::Remote { len: described })) => {
                        check_eq!(described as usize, len);
                        fetching.insert(request, Fetching { len, asked: 0, got: 0 });
                    }
                    (IoOpcode::FLUSH, Ok(RequestData::None)) => {
                        world
                            .controller()
                            .respond(request, Cqe::default(), Default::default())
                            .doing("to respond")?;
                        continue;
                    }
                    other => return Err(Stop::failed(format!("{other:?}"))),
                }
                request
            }
            ControllerEvent::Fetched { request, offset, data, outcome } => {
                outcome.doing("the fetch")?;
                // The salt of a fetched piece is known from its first byte; the host's check of its own data is the model.
                let first = usize::from(*data.first().doing("a byte")?);
                let salt = ((first + super::PERIOD - offset as usize % super::PERIOD) % super::PERIOD) as u8;
                check!(has_pattern(&data, offset as usize, salt), "wrong data at {offset}");
                if let Some(state) = fetching.get_mut(&request) {
                    state.got += data.len();
                }
                request
            }
            other => return Err(Stop::failed(format!("{other:?}"))),
        };
        let Some(state) = fetching.get_mut(&request) else {
            continue;
        };
        if state.got == state.len {
            fetching.remove(&request);
            world.controller().respond(request, Cqe::default(), Default::default()).doing("to respond")?;
            continue;
        }
        while state.asked < state.len {
            let part = (4 * (1 + rng.below(25_000) as usize)).min(state.len - state.asked);
            let into = world.controllers[0].engine.memory().allocate(part).doing("memory")?;
            match world.controllers[0].engine.fetch(request, state.asked as u32, into) {
                Ok(()) => state.asked += part,
                Err(refused) => {
                    check_eq!(refused.why, Misuse::TooManyFetches);
                    break;
                }
            }
        }
    }
    Ok(())
}

/// Runs the load over queues with or without SQ flow control.
pub fn mixed(fixture: &dyn Fixture) -> Verdict {
    for (seed, sq_flow_control) in [(1, true), (2, false)] {
        run(fixture, seed, sq_flow_control).map_err(|stop| match stop {
            Stop::Failed { what, at } => Stop::Failed { what: format!("seed {seed}: {what}"), at },
            skipped => skipped,
        })?;
    }
    Ok(())
}

fn run(fixture: &dyn Fixture, seed: u64, sq_flow_control: bool) -> Verdict {
    let mut world = World::new(fixture)?;
    let mut rng = Rng::new(seed);
    let mut queues: Vec<QueueId> = Vec::new();
    for qid in 1..=QUEUES {
        let kind = QueueKind::Io(qid);
        let depth = 1 << (qid + 1);
        let max_in_capsule = world.io_in_capsule;
        let queue =
            world.connect(&nvmf_transport::ConnectOptions { max_in_capsule, ..options(kind, depth) })?;
        world.configure(queue, QueueSettings { kind, depth, sq_flow_control })?;
        queues.push(queue.host);
    }
    let most = world.host().limits(queues[0]).map_or(4096, |limits| limits.max_transfer).min(600_000);
    let mut outstanding: HashMap<u64, (QueueId, usize, u8)> = HashMap::new();
    let mut fetching = HashMap::new();
    let (mut submitted, mut ended) = (0, 0);
    let until = world.now() + LIMIT * 2;
    while ended < COMMANDS {
        check!(world.now() < until, "{ended} of {COMMANDS} commands within {:?}", LIMIT * 2);
        while submitted < COMMANDS {
            let queue = queues[rng.below(queues.len() as u64) as usize];
            // Mostly small ones, some up to the limit.
            let len = match rng.below(10) {
                0..7 => 1 + rng.below(20_000) as usize,
                7..9 => 1 + rng.below(u64::from(most)) as usize,
                _ => 0,
            };
            let salt = submitted as u8;
            let (mut sqe, data) = match (len, rng.below(2)) {
                (0, _) => (flush(), Data::None),
                (_, 0) => (read(), Data::FromController(world.buffer(len)?)),
                _ => {
                    let mut data = world.buffer(len)?;
                    pattern(&mut data, salt);
                    (write(), Data::ToController(data))
                }
            };
            sqe.cdw10.set(len as u32);
            sqe.cdw11.set(u32::from(salt));
            match world.host().submit(queue, Command { sqe, data, cookie: submitted }) {
                Ok(_) => {
                    outstanding.insert(submitted, (queue, len, salt));
                    submitted += 1;
                }
                Err(refused) => {
                    check_eq!(refused.why, Misuse::QueueFull);
                    break;
                }
            }
        }
        world.turn(until)?;
        serve(&mut world, &mut fetching, &mut rng)?;
        while let Some(event) = world.hosts[0].events.pop_front() {
            let HostEvent::Completed { queue, cookie, cqe, data, transferred, .. } = event else {
                return Err(Stop::failed(format!("{event:?}")));
            };
            let (expected, len, salt) = outstanding.remove(&cookie).doing("the command of a completion")?;
            check_eq!(queue, expected);
            check!(cqe.status().is_success(), "{cqe:?}");
            check_eq!(data.len(), len);
            if matches!(data, Data::FromController(_)) {
                check_eq!(transferred as usize, len);
            }
            if let Some(buffer) = data.into_buffer() {
                check!(has_pattern(&buffer, 0, salt), "command {cookie}: wrong data of {len} bytes");
            }
            ended += 1;
        }
    }
    check!(outstanding.is_empty() && fetching.is_empty());
    world.quiet()
}
