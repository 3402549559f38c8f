//! The host against a controller that answers anything: garbage, statuses, silence, too little data, disconnects, with time
//! passing, while its user submits and closes at any moment.
//!
//! Every request ends exactly once and with its own buffer; what was read is what the controller holds; whatever the
//! controller does, the association is up or has failed within bounded time. In a `tame` run the controller does its duty, and
//! then every valid request succeeds.

use std::{collections::HashMap, time::Duration};

use nvmf_host::{
    Admin, AssociationId, BlockRange, Done, Host, HostIdentity, Io, IoError, Notice, Op, Options, Rejected,
    State,
};
use nvmf_sim::{Clock, Link, Network, SimConfig, SimTransport};
use nvmf_transport::{Buffer, Data, HostTransport, InCapsule, Memory, Target as Address, WaitPolicy, Wire};
use nvmf_wire::{
    AdminOpcode, DataDirection, IoOpcode, Nqn, Sqe,
    admin::keep_alive,
    identify::{Cns, Identify},
    log::{GetLogPage, Lid},
};

use super::{
    Choices, Target,
    fake_controller::{Fake, STORED},
    memory::Counted,
    pattern, seeds,
};

pub(super) const TARGET: Target =
    Target { name: "host_association", body, seeds: || seeds::random(24, 1200), longest: 2500 };

pub(super) const SUBSYSTEM: &str = "nqn.2024-01.com.example:disk";

/// The body.
pub(super) fn body(data: &[u8]) {
    let choices = &mut Choices::new(data);
    let tame = choices.once_in(3);
    let mut world = World::new(choices, tame);
    while choices.more() {
        match choices.u8() % 16 {
            0..8 => world.submit(choices),
            8 => world.admin(choices),
            9 if !tame => world.fake.unexpected(choices, world.clock.now()),
            10 => {
                let most = if tame { 250 } else { 100_000 };
                let time = Duration::from_millis(u64::from(choices.word() % most));
                world.pass(choices, time);
            }
            11 if choices.once_in(24) && !tame => world.close(choices.yes()),
            12 if !tame => world.fake.late_answers(choices, world.clock.now()),
            13 if choices.once_in(8) => world.fake.event(choices, world.clock.now()),
            _ => {}
        }
        if !choices.once_in(4) {
            world.run(choices);
        }
    }
    world.wind_up();
}

#[derive(Clone, Copy, Debug)]
enum Meaning {
    Read(u32, u64),
    Write(u32, u64),
    /// Its data is the host's own: a buffer of ranges may come with the end.
    Deallocate,
    Other,
}

/// A request that has not ended.
struct Asked {
    meaning: Meaning,
    /// Whether a controller that does its duty grants it.
    valid: bool,
    buffer: Option<(*const u8, usize, bool)>,
}

struct World {
    tame: bool,
    clock: Clock,
    host: Host,
    id: AssociationId,
    fake: Fake,
    memory: Counted,
    asked: HashMap<u64, Asked>,
    users: u64,
    done: Vec<Done>,
    options: Options,
    closed: bool,
}

impl World {
    fn new(choices: &mut Choices<'_>, tame: bool) -> Self {
        let clock = Clock::new();
        let network = Network::new(1).with_link(Link { in_flight: 64 << 20, ..Link::default() });
        let max_transfer = choices.pick(&[1 << 20, 4096, 65_536]);
        let in_capsule = InCapsule { admin: 8192, io: choices.pick(&[8192, 0]) };
        let transport = SimTransport::with_config(
            &network,
            &SimConfig { max_transfer, in_capsule, max_depth: 64, max_fetches: 4 },
        );
        let fake = Fake::new(choices, &network, clock.now(), tame);
        let mut options = Options::new(Nqn::parse(SUBSYSTEM).expect("a name"));
        options.host =
            HostIdentity::from_uuid("11111111-2222-3333-4444-555555555555".parse().expect("a UUID"));
        options.queues = choices.pick(&[2, 1, 0]);
        options.queue_depth = choices.pick(&[8, 2, 64]);
        options.kato = choices.pick(&[Some(Duration::from_secs(5)), None]);
        options.sq_flow_control = choices.yes();
        options.reconnect_delay = choices.pick(&[Duration::from_secs(1), Duration::from_secs(10)]);
        options.controller_loss_timeout = Some(choices.pick(&[Duration::from_secs(60), Duration::ZERO]));
        if !options.controller_loss_timeout.is_some_and(|limit| limit.is_zero()) && choices.yes() {
            options.fast_io_fail_timeout = Some(Duration::from_secs(5));
        }
        options.retries = choices.pick(&[5, 0, 1]);
        options.backlog = choices.pick(&[16, 0]);
        options.max_namespaces = choices.pick(&[8, 1]);
        options.max_transfer = choices.pick(&[u32::MAX, 4096, 12_288]);
        let mut host = Host::new(transport.host_engine().expect("an engine"), WaitPolicy::Spin);
        let target = Address::new(Wire::INTRA_HOST, fake.address());
        let id = host.associate(target, options.clone()).expect("options in range");
        let mut world = Self {
            tame,
            clock,
            host,
            id,
            fake,
            memory: Counted::default(),
            asked: HashMap::new(),
            users: 0,
            done: Vec::new(),
            options,
            closed: false,
        };
        world.run(choices);
        if tame {
            assert_eq!(world.state(), State::Live, "{:?}", world.association_error());
        }
        world
    }

    fn state(&self) -> State {
        self.host.association(self.id).map_or(State::Ended, |association| association.state())
    }

    fn association_error(&self) -> Option<String> {
        self.host
            .association(self.id)
            .and_then(|association| association.error().map(|error| format!("{error:?}")))
    }

    /// A buffer of which every byte says where it belongs.
    fn buffer(&self, nsid: u32, byte: u64, len: usize) -> Buffer {
        let mut buffer = self.memory.allocate(len).expect("memory");
        pattern::fill(STORED ^ u64::from(nsid), byte as usize, &mut buffer);
        buffer
    }

    fn submit(&mut self, choices: &mut Choices<'_>) {
        let nsid = choices.pick(&[1, 1, 2, 3, 77]);
        let size = if nsid == 2 { 4096 } else { 512u64 };
        let capacity = Fake::BLOCKS;
        let odd = choices.once_in(8);
        let blocks = choices.length(128).max(1) as u64;
        let start = match odd {
            true => choices.pick(&[capacity, capacity - 1, u64::MAX, u64::MAX / size]),
            false => choices.below((capacity - blocks) as usize) as u64,
        };
        let mut len = (blocks * size) as usize;
        if choices.once_in(16) {
            len = choices.length(len);
        }
        let inside = start.checked_add(blocks).is_some_and(|end| end <= capacity);
        let listed = nsid == 1 || (nsid == 2 && self.options.max_namespaces > 1);
        let aligned = len > 0 && (len as u64).is_multiple_of(size);
        let mut valid = listed && aligned && inside && self.options.queues > 0;
        let byte = start.wrapping_mul(size);
        let (op, meaning) = match choices.u8() % 12 {
            0..4 => {
                let mut data = self.buffer(nsid, byte, len);
                data.fill(0);
                (Op::Read { start, data }, Meaning::Read(nsid, byte))
            }
            4..8 => {
                let data = self.buffer(nsid, byte, len);
                (Op::Write { start, data, fua: choices.yes() }, Meaning::Write(nsid, byte))
            }
            8 => (Op::Flush, Meaning::Other),
            9 => {
                let blocks = if choices.once_in(4) { choices.u64() } else { blocks };
                valid = false;
                (
                    Op::WriteZeroes { start, blocks, deallocate: choices.yes(), fua: choices.yes() },
                    Meaning::Other,
                )
            }
            10 => {
                let ranges = (0..choices.length(600))
                    .map(|at| BlockRange { start: start.wrapping_add(at as u64), blocks: choices.word() });
                valid = false;
                (Op::Deallocate { ranges: ranges.collect() }, Meaning::Deallocate)
            }
            _ => {
                valid = false;
                let sqe = Sqe::io(IoOpcode(choices.u8()), nsid);
                let len = choices.length(9000);
                // What a user gets wrong here costs the association, as the controller takes the opcode's word for it.
                let kind = if self.tame { sqe.opcode } else { choices.u8() };
                let data = match kind % 4 {
                    1 => Data::ToController(self.buffer(0, 0, len)),
                    2 => Data::FromController(self.buffer(0, 0, len)),
                    _ => Data::None,
                };
                (Op::Raw { sqe, data, replay: choices.yes() }, Meaning::Other)
            }
        };
        self.users += 1;
        let user = self.users;
        let buffer = match &op {
            Op::Read { data, .. } => Some((data.as_ptr(), data.len(), true)),
            Op::Write { data, .. } => Some((data.as_ptr(), data.len(), false)),
            Op::Raw { data: Data::FromController(data), .. } => Some((data.as_ptr(), data.len(), true)),
            Op::Raw { data: Data::ToController(data), .. } => Some((data.as_ptr(), data.len(), false)),
            _ => None,
        };
        let queue = choices.once_in(6).then(|| choices.u16() % 4);
        let asked = Asked { meaning, valid: valid && queue.is_none(), buffer };
        match self.host.submit(self.id, Io { user, nsid, op, queue }, self.clock.now()) {
            Ok(()) => drop(self.asked.insert(user, asked)),
            Err(Rejected { request, why }) => {
                assert_eq!(request.user, user);
                same_buffer(&asked, &request.op.into_data());
                let full = matches!(why, nvmf_host::Why::Full);
                assert!(!self.tame || !asked.valid || full, "rejected though valid: {why}");
            }
        }
    }

    fn admin(&mut self, choices: &mut Choices<'_>) {
        let len = choices.length(16_384);
        let mut sqe = match choices.u8() % 4 {
            0 => keep_alive(),
            1 => Identify::new(Cns(choices.u8()), choices.word()).to_sqe(),
            2 => GetLogPage::new(Lid(choices.u8()), len as u32).to_sqe(),
            _ => Sqe::admin(AdminOpcode(choices.u8())),
        };
        if self.tame && (sqe.is_fabrics() || sqe.admin_opcode() == AdminOpcode::ASYNC_EVENT_REQUEST) {
            // Properties, queues and events are the association's own business; a user who meddles gets what he asked for.
            sqe = keep_alive();
        }
        let to_host = sqe.data_direction() == DataDirection::ControllerToHost;
        let (data, buffer) = if choices.yes() && (to_host || !self.tame) {
            let data = self.buffer(0, 0, len);
            let known = (data.as_ptr(), data.len(), true);
            (Data::FromController(data), Some(known))
        } else {
            (Data::None, None)
        };
        self.users += 1;
        let user = self.users;
        let asked = Asked { meaning: Meaning::Other, valid: false, buffer };
        let admin = Admin { user, sqe, data, replay: choices.yes() };
        match self.host.submit_admin(self.id, admin, self.clock.now()) {
            Ok(()) => drop(self.asked.insert(user, asked)),
            Err(Rejected { request, .. }) => same_buffer(&asked, &request.data),
        }
    }

    fn close(&mut self, orderly: bool) {
        self.closed = true;
        self.host.close(self.id, orderly, self.clock.now());
    }

    /// Lets both sides come to rest without time passing.
    fn run(&mut self, choices: &mut Choices<'_>) {
        let now = self.clock.now();
        for _ in 0..20_000 {
            let mut worked = self.host.poll(now, &mut self.done).expect("an engine lives");
            worked |= self.host.wants_poll();
            worked |= self.fake.turn(choices, now);
            for notice in self.host.notices(self.id) {
                let lost = matches!(notice, Notice::Lost { .. } | Notice::Ended { .. });
                assert!(
                    !self.tame || self.closed || !lost,
                    "{notice:?} although the controller does its duty"
                );
            }
            self.judge();
            if !worked {
                return;
            }
        }
        panic!("the host never comes to rest");
    }

    fn judge(&mut self) {
        for Done { user, result, data } in self.done.drain(..) {
            let asked =
                self.asked.remove(&user).expect("a request that was never made, or that ended before");
            same_buffer(&asked, &data);
            let bytes: &[u8] = match &data {
                Data::None => &[],
                Data::ToController(buffer) | Data::FromController(buffer) => buffer,
            };
            match (asked.meaning, result) {
                (Meaning::Read(nsid, byte), Ok(outcome)) => {
                    assert_eq!(outcome.transferred, bytes.len() as u64);
                    let wrong = pattern::difference(STORED ^ u64::from(nsid), byte as usize, bytes);
                    assert_eq!(wrong, None, "wrong data read with a success");
                }
                (Meaning::Write(nsid, byte), _) => {
                    let wrong = pattern::difference(STORED ^ u64::from(nsid), byte as usize, bytes);
                    assert_eq!(wrong, None, "a buffer that is only read was written");
                }
                _ => {}
            }
            if self.tame && asked.valid && !self.closed {
                assert!(result.is_ok(), "{:?} failed although nothing did: {result:?}", asked.meaning);
            }
            if let Err(error) = result {
                assert!(!error.to_string().is_empty() && !error.code().is_empty());
                assert!(error != IoError::Closed || self.closed, "closed although nobody closed it");
            }
        }
    }

    /// Lets time pass, stopping wherever the host wants to be called.
    fn pass(&mut self, choices: &mut Choices<'_>, time: Duration) {
        let end = self.clock.now() + time;
        self.run(choices);
        for _ in 0..20_000 {
            match self.host.next_timeout().filter(|&next| next <= end) {
                Some(next) => self.clock.advance_to(next),
                None => {
                    self.clock.advance_to(end);
                    return self.run(choices);
                }
            }
            self.run(choices);
        }
        panic!("the host's timers never come to rest");
    }

    /// The controller does its duty from now on, or never speaks again; either way everything ends in time.
    fn wind_up(mut self) {
        let nothing = &mut Choices::new(&[]);
        if self.tame {
            self.pass(nothing, Duration::from_secs(1));
            let left: Vec<_> = self.asked.iter().map(|(user, asked)| (user, asked.meaning)).collect();
            assert!(
                left.is_empty(),
                "{left:?} of a controller that does its duty never end, {:?}",
                self.state()
            );
        } else {
            self.fake.fall_silent();
            // The longest chain: a command times out, its abort does, the loss, all attempts, and the last of them.
            self.pass(nothing, Duration::from_secs(400));
            if self.options.queues > 0 || self.options.kato.is_some() || !self.asked.is_empty() {
                assert!(self.asked.is_empty(), "{} requests hang, {:?}", self.asked.len(), self.state());
            }
        }
        self.close(true);
        self.pass(nothing, Duration::from_secs(120));
        assert_eq!(self.state(), State::Ended, "never ends");
        assert!(self.asked.is_empty(), "requests outlive their association");
        let Self { host, memory, .. } = self;
        drop(host);
        assert_eq!(memory.live(), 0, "buffers did not come back");
    }
}

fn same_buffer(asked: &Asked, data: &Data) {
    let found = match data {
        Data::None => None,
        Data::FromController(buffer) => Some((buffer.as_ptr(), buffer.len(), true)),
        Data::ToController(buffer) => Some((buffer.as_ptr(), buffer.len(), false)),
    };
    if !matches!(asked.meaning, Meaning::Deallocate) {
        assert_eq!(found, asked.buffer, "another buffer came back");
    }
}
