//! An engine made of engines: what their queues are called here, and everything else passed on.

use std::{
    os::fd::{BorrowedFd, OwnedFd},
    sync::Arc,
    time::Instant,
};

use nvmf_transport::{
    Buffer, Close, ControllerEngine, ControllerEvent, Engine, Error, ErrorKind, Gather, Limits, Listener,
    ListenerId, Memory, Misuse, Pages, Placement, QueueId, QueueSettings, Queues, Refused, RequestId,
    Sharing, Stage, Target, Wire,
    poller::{Interest, Poller},
};
use nvmf_wire::Cqe;

use crate::{
    SharedPortConfig,
    doors::{Decided, Doors, TurnedAway, peer},
};

/// Busy passes in a row that may go without a look at the doors, so that nobody waits there for long.
const PASSES_BETWEEN_LOOKS: u32 = 16;

/// Several engines behind the same listeners, on one thread.
pub struct SharedPortEngine {
    name: &'static str,
    members: Vec<Member>,
    /// The queues of all members, by the names they have here.
    queues: Queues<Place>,
    doors: Doors,
    /// Watches what the members and the doors watch.
    poller: Poller,
    decided: Vec<Decided>,
    events: Vec<ControllerEvent>,
    /// Connections of the members, as they last counted them.
    carried: usize,
    /// Passes since the last look at the doors.
    passes: u32,
    /// Whether nothing happened in the last pass.
    idle: bool,
}

struct Member {
    first_byte: u8,
    wire: Wire,
    engine: Box<dyn ControllerEngine>,
    /// The names its queues have here, by their slot there.
    names: Vec<Option<QueueId>>,
}

/// Whose a queue is, and what it is called there.
#[derive(Clone, Copy, Debug)]
struct Place {
    member: usize,
    queue: QueueId,
}

impl SharedPortEngine {
    pub(crate) fn new(
        name: &'static str,
        config: SharedPortConfig,
        members: Vec<(u8, Wire, Box<dyn ControllerEngine>)>,
    ) -> Result<Self, Error> {
        let failed = |e: rustix::io::Errno| Error::from_io(Stage::Setup, "cannot create a poller", e.into());
        let (poller, doors) = (Poller::new().map_err(failed)?, Doors::new(config)?);
        poller.add(doors.wait_handle(), 0, Interest::Read).map_err(failed)?;
        let mut all = Vec::with_capacity(members.len());
        for (first_byte, wire, mut engine) in members {
            if engine.sharing().is_none() {
                let detail = format!("{} cannot take over accepted connections", engine.transport());
                return Err(Error::new(Stage::Setup, ErrorKind::Unsupported, detail));
            }
            poller.add(engine.wait_handle(), 0, Interest::Read).map_err(failed)?;
            all.push(Member { first_byte, wire, engine, names: Vec::new() });
        }
        Ok(Self {
            name,
            members: all,
            queues: Queues::default(),
            doors,
            poller,
            decided: Vec::new(),
            events: Vec::new(),
            carried: 0,
            passes: 0,
            idle: true,
        })
    }

    /// Connections that went no further than the door.
    pub fn turned_away(&self) -> TurnedAway {
        self.doors.turned_away
    }

    /// Connections that have not sent their first byte.
    pub fn undecided(&self) -> usize {
        self.doors.undecided()
    }

    /// Gives connections whose first byte is known to the engines they are for.
    fn hand_over(&mut self, now: Instant) {
        for Decided { socket, listener, first } in self.decided.drain(..) {
            let member = self.members.iter_mut().find(|member| member.first_byte == first);
            match member.and_then(|member| member.engine.sharing()) {
                Some(sharing) => sharing.adopt(socket, listener, now),
                None => {
                    self.doors.turned_away.unknown += 1;
                    let count = self.doors.turned_away.unknown;
                    tracing::debug!(peer = ?peer(&socket), first, count, "a connection begins with no wire spoken here");
                }
            }
        }
    }

    #[inline]
    fn inner(&mut self, queue: QueueId) -> Option<(&mut dyn ControllerEngine, QueueId)> {
        let &Place { member, queue } = self.queues.get(queue)?;
        Some((self.members.get_mut(member)?.engine.as_mut(), queue))
    }
}

impl Member {
    /// Puts the name that a queue has here into an event. `None`: the queue is unknown, which a member that keeps the contract
    /// does not bring about.
    #[inline]
    fn rename(
        &mut self,
        member: usize,
        mut event: ControllerEvent,
        queues: &mut Queues<Place>,
    ) -> Option<ControllerEvent> {
        let inner = event.queue();
        let slot = inner.slot();
        let name = match &event {
            ControllerEvent::Accepted { .. } => {
                if self.names.len() <= slot {
                    self.names.resize(slot + 1, None);
                }
                let name = queues.insert(Place { member, queue: inner });
                *self.names.get_mut(slot)? = Some(name);
                name
            }
            ControllerEvent::Closed { .. } => {
                let name = self.names.get_mut(slot)?.take()?;
                queues.remove(name);
                name
            }
            _ => (*self.names.get(slot)?)?,
        };
        *event.queue_mut() = name;
        Some(event)
    }
}

impl Engine for SharedPortEngine {
    fn transport(&self) -> &'static str {
        self.name
    }

    /// The first member's: engines take any memory, and at worst copy.
    fn memory(&self) -> Arc<dyn Memory> {
        self.members.first().map_or_else(|| Arc::new(Pages) as Arc<dyn Memory>, |first| first.engine.memory())
    }

    fn wait_handle(&self) -> BorrowedFd<'_> {
        self.poller.handle()
    }

    fn next_timeout(&self) -> Option<Instant> {
        let members = self.members.iter().filter_map(|member| member.engine.next_timeout());
        members.chain(self.doors.next_timeout()).min()
    }

    fn limits(&self, queue: QueueId) -> Option<&Limits> {
        let &Place { member, queue } = self.queues.get(queue)?;
        self.members.get(member)?.engine.limits(queue)
    }

    fn configure(&mut self, queue: QueueId, settings: QueueSettings) -> Result<(), Misuse> {
        let (engine, queue) = self.inner(queue).ok_or(Misuse::UnknownQueue)?;
        engine.configure(queue, settings)
    }

    fn close(&mut self, queue: QueueId, how: Close) {
        if let Some((engine, queue)) = self.inner(queue) {
            engine.close(queue, how);
        }
    }
}

impl Sharing for SharedPortEngine {
    fn divert(&mut self, listener: ListenerId, to: Arc<dyn Placement>) {
        self.doors.divert(listener, to);
    }

    fn adopt(&mut self, connection: OwnedFd, listener: ListenerId, now: Instant) {
        self.doors.admit(connection, listener, now, &mut self.decided);
        self.hand_over(now);
    }

    fn connections(&self) -> usize {
        self.carried + self.doors.undecided()
    }
}

impl ControllerEngine for SharedPortEngine {
    fn sharing(&mut self) -> Option<&mut dyn Sharing> {
        Some(self)
    }

    fn wire(&self, queue: QueueId) -> Option<Wire> {
        let place = self.queues.get(queue)?;
        self.members.get(place.member).map(|member| member.wire)
    }

    fn listen(&mut self, at: &Target) -> Result<Listener, Error> {
        if !self.members.iter().any(|member| at.allows(member.wire)) {
            let detail = format!("{} does not speak the wire of {at}", self.name);
            return Err(Error::new(Stage::Listen, ErrorKind::Unsupported, detail));
        }
        self.doors.listen(at.address)
    }

    fn unlisten(&mut self, listener: ListenerId) {
        self.doors.unlisten(listener);
    }

    fn fetch(&mut self, request: RequestId, offset: u32, into: Buffer) -> Result<(), Refused<Buffer>> {
        match self.inner(request.queue) {
            Some((engine, queue)) => engine.fetch(RequestId { queue, ..request }, offset, into),
            None => Err(Refused::new(into, Misuse::UnknownRequest)),
        }
    }

    #[inline]
    fn respond(&mut self, request: RequestId, cqe: Cqe, data: Gather) -> Result<(), Refused<Gather>> {
        match self.inner(request.queue) {
            Some((engine, queue)) => engine.respond(RequestId { queue, ..request }, cqe, data),
            None => Err(Refused::new(data, Misuse::UnknownRequest)),
        }
    }

    fn poll(&mut self, now: Instant, events: &mut Vec<ControllerEvent>) -> Result<(), Error> {
        self.passes += 1;
        let due = self.doors.next_timeout().is_some_and(|at| at <= now);
        if self.idle || due || self.passes >= PASSES_BETWEEN_LOOKS {
            self.passes = 0;
            let looked = self.doors.look(now, &mut self.decided);
            self.hand_over(now);
            looked?;
        }
        let (known, mut carried) = (events.len(), 0);
        for (number, member) in self.members.iter_mut().enumerate() {
            member.engine.poll(now, &mut self.events)?;
            for event in self.events.drain(..) {
                events.extend(member.rename(number, event, &mut self.queues));
            }
            carried += member.engine.sharing().map_or(0, |sharing| sharing.connections());
        }
        self.carried = carried;
        self.idle = events.len() == known;
        Ok(())
    }
}
