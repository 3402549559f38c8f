//! A host above its engine and a target above its own, taking turns: each does all it can until nothing is left.

use std::{
    hint::black_box,
    sync::Arc,
    time::{Duration, Instant},
};

use nvmf_controller::{
    NamespaceOptions, Server, ServerOptions, SubsystemOptions, Worker,
    backend::{BlockSize, RamBackend},
};
use nvmf_host::{AssociationId, Done, Host, Io, Op, Options, State};
use nvmf_transport::{Buffer, ControllerEngine, HostEngine, Target, WaitPolicy, Wire};
use nvmf_wire::Nqn;

use crate::Failure;

const SUBNQN: &str = "nqn.2024-01.org.example:instructions";
/// Many chunks of the namespace's memory, and filled in no time.
const BYTES: u64 = 2 << 20;
const BLOCK: u64 = 512;
/// Turns of both sides after which something that should have happened has not.
const PATIENCE: usize = 100_000;
/// How far time goes from one turn to the next.
const TICK: Duration = Duration::from_micros(5);

/// Commands of one kind, as many at a time as `depth`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    pub(crate) write: bool,
    pub(crate) len: usize,
    pub(crate) depth: u16,
}

/// Both sides and the time.
pub(crate) struct Stack {
    host: Host,
    association: AssociationId,
    worker: Worker,
    backend: Arc<RamBackend>,
    load: Load,
    now: Instant,
    done: Vec<Done>,
    free: Vec<Buffer>,
    /// Commands that may still be submitted, and those that have ended.
    left: u64,
    ended: u64,
    place: u64,
}

impl Stack {
    /// Connected, with one I/O queue and one namespace.
    pub(crate) fn up(
        host: Box<dyn HostEngine>,
        controller: Box<dyn ControllerEngine>,
        load: Load,
    ) -> Result<Self, Failure> {
        let server = Server::new(ServerOptions::default());
        let nqn = Nqn::parse(SUBNQN)?;
        let subsystem = server.add_subsystem(SubsystemOptions::new(nqn))?;
        let backend = Arc::new(RamBackend::new(BYTES, BlockSize::B512)?);
        subsystem.add_namespace(1, NamespaceOptions::new(Arc::clone(&backend) as Arc<_>))?;
        let mut worker = Worker::new(&server, WaitPolicy::Spin)?;
        let engine = worker.add_engine(Wire::TCP, controller);
        let listener = worker.listen(engine, &Target::new(Wire::TCP, "127.0.0.1:0".parse()?))?;

        let mut host = Host::new(host, WaitPolicy::Spin);
        let mut options = Options::new(nqn);
        (options.queues, options.queue_depth) = (1, load.depth.max(8) + 1);
        // Nothing but the load is to be counted.
        (options.kato, options.async_events) = (None, false);
        let association = host.associate(Target::new(Wire::TCP, listener.address), options)?;
        #[expect(clippy::disallowed_methods, reason = "an arbitrary origin of time")]
        let now = Instant::now();
        let memory = host.memory();
        let mut free = (0..load.depth).map(|_| memory.allocate(load.len)).collect::<Result<Vec<_>, _>>()?;
        // Zeroes would not be stored.
        free.iter_mut().for_each(|buffer| buffer.fill(0xa5));
        let mut stack = Self {
            host,
            association,
            worker,
            backend,
            load,
            now,
            done: Vec::new(),
            free,
            left: 0,
            ended: 0,
            place: 0,
        };
        for _ in 0..PATIENCE {
            stack.host_turn()?;
            stack.controller_turn()?;
            let found = stack.host.association(association);
            match found.map(nvmf_host::association::Association::state) {
                Some(State::Connecting) => {}
                Some(State::Live) => return Ok(stack),
                _ => break,
            }
        }
        let error = stack.host.association(association).and_then(|association| association.error());
        Err(format!("no association: {error:?}").into())
    }

    /// Writes every block once, so that reads come from memory that is there.
    pub(crate) fn fill(&mut self) -> Result<(), Failure> {
        let load = self.load;
        self.load.write = true;
        self.run(BYTES.div_ceil(load.len as u64), false)?;
        if self.backend.allocated() < BYTES {
            return Err("the namespace is not filled: what is counted would not be what is said".into());
        }
        self.load = load;
        self.place = 0;
        Ok(())
    }

    /// Lets `count` commands begin and end; answers how many did.
    pub(crate) fn run(&mut self, count: u64, counted: bool) -> Result<u64, Failure> {
        (self.left, self.ended) = (count, 0);
        for _ in 0..PATIENCE {
            if self.ended == count {
                return Ok(count);
            }
            match counted {
                true => {
                    self.host_side()?;
                    self.controller_side()?;
                }
                false => {
                    self.host_turn()?;
                    self.controller_turn()?;
                }
            }
        }
        Err(format!("{} of {count} commands ended", self.ended).into())
    }

    /// A turn of the host that is counted.
    #[inline(never)]
    fn host_side(&mut self) -> Result<(), Failure> {
        black_box(self.host_turn())
    }

    /// A turn of the target that is counted.
    #[inline(never)]
    fn controller_side(&mut self) -> Result<(), Failure> {
        black_box(self.controller_turn())
    }

    #[inline(never)]
    fn host_turn(&mut self) -> Result<(), Failure> {
        loop {
            while self.left > 0
                && let Some(data) = self.free.pop()
            {
                self.left -= 1;
                self.submit(data)?;
            }
            let worked = self.host.poll(self.now, &mut self.done)?;
            self.now += TICK;
            for done in self.done.drain(..) {
                done.result?;
                self.ended += 1;
                self.free.extend(done.data.into_buffer());
            }
            if !worked {
                return Ok(());
            }
        }
    }

    fn submit(&mut self, data: Buffer) -> Result<(), Failure> {
        let Load { write, len, .. } = self.load;
        let blocks = len as u64 / BLOCK;
        // A prime stride: every place once before any comes again, and none near the one before.
        let start = self.place % (BYTES / BLOCK / blocks) * blocks;
        self.place += 61;
        let op = match write {
            true => Op::Write { start, data, fua: false },
            false => Op::Read { start, data },
        };
        let io = Io { user: 0, nsid: 1, op, queue: None };
        self.host.submit(self.association, io, self.now).map_err(|rejected| rejected.why.to_string().into())
    }

    #[inline(never)]
    fn controller_turn(&mut self) -> Result<(), Failure> {
        while self.worker.turn(self.now)? {
            self.now += TICK;
        }
        Ok(())
    }
}
