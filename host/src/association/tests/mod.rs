//! The association against a scripted controller, in simulated time: no socket, no clock, no thread.

mod connect;
mod fake;
mod hostile;
mod io;
mod model;
mod recovery;
mod timeouts;

use std::time::Duration;

use nvmf_transport::{Data, Engine, HostEngine, Memory, Pages, Target, Wire};
use nvmf_wire::Nqn;

use self::fake::Fake;
use super::*;
use crate::{Io, IoError, Op, Outcome};

const SUBNQN: &str = "nqn.2024-01.org.example:disk";

fn options() -> Options {
    let mut options = Options::new(Nqn::parse(SUBNQN).unwrap());
    options.queues = 2;
    options.queue_depth = 8;
    options
}

/// An association, its engine, and the time.
struct Sim {
    fake: Fake,
    association: Association,
    now: Instant,
    start: Instant,
    done: Vec<Done>,
    notices: Vec<(Duration, Notice)>,
}

impl Sim {
    fn new(options: Options) -> Self {
        let target = Target::new(Wire::TCP, "192.0.2.1:4420".parse().unwrap());
        #[expect(
            clippy::disallowed_methods,
            reason = "an Instant has to come from somewhere; only differences matter"
        )]
        let now = Instant::now();
        let association = Association::new(target, options).unwrap();
        Self { fake: Fake::new(), association, now, start: now, done: Vec::new(), notices: Vec::new() }
    }

    /// An association that is up.
    fn live(options: Options) -> Self {
        let mut sim = Self::new(options);
        sim.settle();
        assert_eq!(sim.association.state(), State::Live, "{:?}", sim.association.error());
        sim.notices.clear();
        sim
    }

    /// One poll at the present time; answers whether anything happened.
    fn poll(&mut self) -> bool {
        let mut events = Vec::new();
        self.fake.poll(self.now, &mut events).unwrap();
        let worked = !events.is_empty();
        for event in events {
            self.association.on_event(&mut self.fake, event, self.now);
        }
        self.association.advance(&mut self.fake, self.now);
        self.association.take_done(&mut self.done);
        let at = self.now - self.start;
        self.notices.extend(self.association.take_notices().map(|notice| (at, notice)));
        worked | self.association.take_asked()
    }

    /// Polls until nothing happens any more, without letting time pass.
    fn settle(&mut self) {
        for _ in 0..10_000 {
            if !self.poll() {
                return;
            }
        }
        panic!("the association does not come to rest");
    }

    /// Lets time pass, stopping wherever somebody wants to be called.
    fn run(&mut self, duration: Duration) {
        let end = self.now + duration;
        for _ in 0..100_000 {
            self.settle();
            let next =
                [self.association.next_timeout(), self.fake.next_timeout()].into_iter().flatten().min();
            match next {
                Some(next) if next < end => self.now = next.max(self.now + Duration::from_nanos(1)),
                _ => {
                    self.now = end;
                    self.settle();
                    return;
                }
            }
        }
        panic!("time does not pass");
    }

    fn elapsed(&self) -> Duration {
        self.now - self.start
    }

    fn submit(&mut self, user: u64, op: Op) {
        self.try_submit(user, op).unwrap();
    }

    fn try_submit(&mut self, user: u64, op: Op) -> Result<(), crate::Rejected<Io>> {
        let io = Io { user, nsid: 1, op, queue: None };
        self.association.submit(&mut self.fake, io, self.now)
    }

    /// Takes the end of a request, which must have come exactly once.
    fn ended(&mut self, user: u64) -> Done {
        let at: Vec<usize> = (0..self.done.len()).filter(|&at| self.done[at].user == user).collect();
        assert_eq!(at.len(), 1, "request {user} ended {} times", at.len());
        self.done.remove(at[0])
    }

    fn result(&mut self, user: u64) -> Result<Outcome, IoError> {
        self.ended(user).result
    }

    /// Runs until the association has ended; why.
    fn failure(options: Options, script: impl FnOnce(&mut Fake)) -> (ConnectError, Duration) {
        let mut sim = Self::new(options);
        script(&mut sim.fake);
        sim.run(Duration::from_secs(1000));
        assert_eq!(sim.association.state(), State::Ended);
        assert!(!sim.fake.any_open(), "queues left open");
        let at =
            sim.notices.iter().find_map(|(at, notice)| matches!(notice, Notice::Ended { .. }).then_some(*at));
        (sim.association.error().expect("an error").clone(), at.unwrap())
    }
}

fn buffer(blocks: usize, byte: u8) -> nvmf_transport::Buffer {
    let mut buffer = Pages.allocate(blocks * 512).unwrap();
    buffer.fill(byte);
    buffer
}

fn read(start: u64, blocks: usize) -> Op {
    Op::Read { start, data: buffer(blocks, 0xee) }
}

fn write(start: u64, blocks: usize, byte: u8) -> Op {
    Op::Write { start, data: buffer(blocks, byte), fua: false }
}

fn bytes(done: Done) -> Vec<u8> {
    match done.data {
        Data::None => Vec::new(),
        Data::ToController(buffer) | Data::FromController(buffer) => buffer.to_vec(),
    }
}
