//! Random requests, answers, losses and waits against a model: every request ends exactly once, with its buffer; what was
//! acknowledged as written is there; what is read is what was written.

use std::collections::{BTreeMap, BTreeSet};

use nvmf_transport::QueueKind;
use nvmf_wire::Status;
use proptest::prelude::*;

use super::{
    fake::{Connection, Reply},
    *,
};

#[derive(Clone, Debug)]
enum Step {
    Write {
        blocks: usize,
    },
    Read {
        which: usize,
    },
    Flush,
    /// Answers one of the commands that wait.
    Answer {
        which: usize,
        reply: u8,
    },
    AnswerAll,
    /// Executes a write and loses the answer, if the connection is cut later.
    ExecuteSilently {
        which: usize,
    },
    Cut,
    CutOne,
    /// A command that must not be sent twice.
    Raw,
    /// Whether the controller can be reached.
    Reachable(bool),
    Wait {
        milliseconds: u64,
    },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (1usize..120).prop_map(|blocks| Step::Write { blocks }),
        2 => any::<usize>().prop_map(|which| Step::Read { which }),
        1 => Just(Step::Flush),
        6 => (any::<usize>(), 0u8..6).prop_map(|(which, reply)| Step::Answer { which, reply }),
        1 => Just(Step::AnswerAll),
        2 => any::<usize>().prop_map(|which| Step::ExecuteSilently { which }),
        1 => Just(Step::Cut),
        1 => Just(Step::CutOne),
        2 => (0u64..12_000).prop_map(|milliseconds| Step::Wait { milliseconds }),
    ]
}

/// Everything above, and what makes requests fail.
fn rough_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        16 => step(),
        2 => Just(Step::Raw),
        2 => any::<bool>().prop_map(Step::Reachable),
        2 => (0u64..30_000).prop_map(|milliseconds| Step::Wait { milliseconds }),
    ]
}

struct Model {
    sim: Sim,
    user: u64,
    next_block: u64,
    /// Requests that have not ended: first block, blocks, byte; a read has the byte it must see.
    open: BTreeMap<u64, (u64, usize, Option<u8>, bool)>,
    /// What was acknowledged: first block, blocks, byte.
    written: Vec<(u64, usize, u8)>,
    ended: BTreeSet<u64>,
    /// Whether requests may fail for any reason.
    rough: bool,
}

impl Model {
    fn hold(&mut self) {
        self.sim
            .fake
            .rule(|kind, sqe| (kind != QueueKind::Admin && !sqe.is_fabrics()).then_some(Reply::Hold));
    }

    fn collect(&mut self) {
        for done in std::mem::take(&mut self.sim.done) {
            assert!(self.ended.insert(done.user), "request {} ended twice", done.user);
            let (start, blocks, byte, is_read) = self.open.remove(&done.user).expect("a request of ours");
            assert_eq!(done.data.len(), blocks * 512, "the buffer comes back whole");
            match done.result {
                Ok(_) if is_read => {
                    let expected = byte.expect("reads know what they must see");
                    assert!(bytes(done).iter().all(|&b| b == expected), "read at {start}");
                }
                Ok(_) => {
                    if let Some(byte) = byte {
                        for block in start..start + blocks as u64 {
                            assert_eq!(
                                self.sim.fake.disk.get(&block),
                                Some(&byte),
                                "acknowledged and not there"
                            );
                        }
                        self.written.push((start, blocks, byte));
                    }
                }
                Err(IoError::Status(status)) => {
                    assert!(self.rough || status.is(Status::INTERNAL_ERROR), "{status}");
                }
                Err(error) => assert!(self.rough, "{error}"),
            }
        }
    }

    fn submit(&mut self, op: Op, start: u64, blocks: usize, byte: Option<u8>, is_read: bool) {
        self.user += 1;
        if self.sim.try_submit(self.user, op).is_ok() {
            self.open.insert(self.user, (start, blocks, byte, is_read));
        }
    }

    fn act(&mut self, step: &Step) {
        match *step {
            Step::Write { blocks } => {
                // Every write has blocks of its own, so that what is there says who wrote it.
                let (start, byte) = (self.next_block, (self.user % 250) as u8 + 1);
                self.next_block += blocks as u64;
                self.submit(write(start, blocks, byte), start, blocks, Some(byte), false);
            }
            Step::Read { which } => {
                if let Some(&(start, blocks, byte)) = self.written.get(which % self.written.len().max(1)) {
                    self.submit(read(start, blocks), start, blocks, Some(byte), true);
                }
            }
            Step::Flush => self.submit(Op::Flush, 0, 0, None, false),
            Step::Answer { which, reply } => {
                let held = self.sim.fake.held();
                if let Some(&(queue, cid, _)) = held.get(which % held.len().max(1)) {
                    let reply = match reply {
                        0 => Reply::Status(Status::TRANSIENT_TRANSPORT_ERROR),
                        1 => Reply::Status(Status::INTERNAL_ERROR),
                        2 => Reply::Status(Status::ANA_TRANSITION),
                        _ => Reply::Good,
                    };
                    self.sim.fake.answer(queue, cid, reply);
                }
            }
            Step::AnswerAll => {
                for (queue, cid, _) in self.sim.fake.held() {
                    self.sim.fake.answer(queue, cid, Reply::Good);
                }
            }
            Step::ExecuteSilently { which } => {
                let held = self.sim.fake.held();
                if let Some(&(queue, cid, _)) = held.get(which % held.len().max(1)) {
                    self.sim.fake.execute_silently(queue, cid);
                }
            }
            Step::Raw => {
                let op = Op::Raw { sqe: nvmf_wire::Sqe::with_opcode(0xc0), data: Data::None, replay: false };
                self.submit(op, 0, 0, None, false);
            }
            Step::Reachable(reachable) => {
                let refused =
                    Connection::Fail(nvmf_transport::Stage::Connect, nvmf_transport::ErrorKind::Refused);
                self.sim.fake.connection = if reachable { Connection::Accept } else { refused };
            }
            Step::Cut => self.sim.fake.cut(),
            Step::CutOne => {
                if let Some(kind) = self.sim.fake.open().first().copied() {
                    self.sim.fake.cut_one(kind);
                }
            }
            Step::Wait { milliseconds } => self.sim.run(Duration::from_millis(milliseconds)),
        }
        self.sim.settle();
        self.collect();
    }
}

/// A model whose I/O commands wait for the test to answer them.
fn model(options: Options, rough: bool) -> Model {
    let mut model = Model {
        sim: Sim::live(options),
        user: 0,
        next_block: 0,
        open: BTreeMap::new(),
        written: Vec::new(),
        ended: BTreeSet::new(),
        rough,
    };
    model.hold();
    model
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn every_request_ends_once_and_no_write_is_lost(steps in proptest::collection::vec(step(), 1..120)) {
        let mut options = options();
        // Retries and timeouts must not run out in a run of this length.
        options.retries = 250;
        options.controller_loss_timeout = None;
        options.command_timeout = Duration::from_secs(100_000);
        let mut model = model(options, false);
        for step in &steps {
            model.act(step);
        }
        // A good controller from here on: everything that is open ends.
        model.sim.fake.clear_rules();
        model.act(&Step::AnswerAll);
        model.sim.run(Duration::from_secs(100));
        model.act(&Step::AnswerAll);
        prop_assert_eq!(model.sim.association.state(), State::Live);
        prop_assert!(model.open.is_empty(), "never ended: {:?}", model.open);
        prop_assert_eq!(model.sim.association.outstanding(), 0);
        for (start, blocks, byte) in model.written {
            for block in start..start + blocks as u64 {
                prop_assert_eq!(model.sim.fake.disk.get(&block), Some(&byte));
            }
        }
    }

    /// The same where everything may fail: short timeouts, few retries, fast failure, final loss, an end at any moment.
    #[test]
    fn every_request_ends_once_whatever_happens(
        steps in proptest::collection::vec(rough_step(), 1..120),
        orderly in any::<bool>(),
    ) {
        let mut options = options();
        options.retries = 1;
        options.command_timeout = Duration::from_secs(2);
        options.abort_timeout = Duration::from_secs(1);
        options.fast_io_fail_timeout = Some(Duration::from_secs(12));
        options.controller_loss_timeout = Some(Duration::from_secs(45));
        options.backlog = 8;
        let mut model = model(options, true);
        for step in &steps {
            model.act(step);
        }
        model.sim.association.close(&mut model.sim.fake, model.sim.now, orderly);
        model.sim.run(Duration::from_secs(10));
        model.collect();
        prop_assert_eq!(model.sim.association.state(), State::Ended);
        prop_assert!(model.open.is_empty(), "never ended: {:?}", model.open);
        prop_assert_eq!(model.sim.association.outstanding(), 0);
        prop_assert!(!model.sim.fake.any_open());
        let ends = model.sim.notices.iter().filter(|(_, notice)| matches!(notice, Notice::Ended { .. })).count();
        prop_assert_eq!(ends, 1);
    }
}
