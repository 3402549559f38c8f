//! This project's host against this project's target: what only both together show. Losses come from a fault plan, so that
//! they come at the same command over every transport.

use std::{sync::Arc, time::Duration};

use nvmf_host::{Admin, AssociationId, ConnectErrorKind, Done, Host, Io, Notice, Op, Options, State};
use nvmf_sim::fault::{Faults, On, Plan, What};
use nvmf_transport::{Data, WaitPolicy};
use nvmf_wire::{
    Nqn,
    identify::{Cns, Identify},
};

use crate::{
    Context as _, Fixture, Stop, Verdict, check, check_eq,
    site::{CLOSED, FRIEND, LARGE, MAX_QUEUES, OPEN, SMALL, STRANGER, Site, nqn},
};

/// A host with one association.
struct Client {
    host: Host,
    faults: Faults,
    id: AssociationId,
    done: Vec<Done>,
    notices: Vec<Notice>,
}

fn options(subsystem: &str) -> Options {
    let mut options = Options::new(nqn(subsystem));
    options.host.nqn = nqn(FRIEND);
    options.queues = 2;
    options.queue_depth = 16;
    options.kato = None;
    options.reconnect_delay = Duration::from_millis(50);
    options.controller_loss_timeout = Some(Duration::from_secs(8));
    options
}

impl Client {
    /// Starts to connect; the engine suffers by a plan.
    fn start(site: &Site, fixture: &dyn Fixture, options: Options, plan: &str) -> Result<Self, Stop> {
        let faults = Faults::new(plan.parse::<Plan>().doing("a plan")?);
        let engine = faults.host(fixture.host()).host_engine().doing("an engine")?;
        let mut host = Host::new(engine, WaitPolicy::Block);
        let id = host.associate(site.targets[0], options).doing("to associate")?;
        Ok(Self { host, faults, id, done: Vec::new(), notices: Vec::new() })
    }

    /// Starts and waits until it is up.
    fn connect(site: &mut Site, fixture: &dyn Fixture, options: Options, plan: &str) -> Result<Self, Stop> {
        let mut client = Self::start(site, fixture, options, plan)?;
        client.until(site, "the association", |client| client.state() == State::Live)?;
        Ok(client)
    }

    fn state(&self) -> State {
        self.host.association(self.id).map_or(State::Ended, nvmf_host::association::Association::state)
    }

    /// One pass of everyone; waits if nothing happened.
    fn turn(&mut self, site: &mut Site) -> Verdict {
        let worked = self.host.poll(site.now(), &mut self.done).doing("the host's poll")?;
        self.notices.extend(self.host.notices(self.id));
        if worked || self.host.wants_poll() || site.poll()? {
            return Ok(());
        }
        let next = self.host.next_timeout().into_iter().chain([site.now() + Duration::from_millis(20)]).min();
        site.turn_with(next.unwrap_or(site.now()), &[self.host.wait_handle()])
    }

    fn until(&mut self, site: &mut Site, what: &str, mut enough: impl FnMut(&Self) -> bool) -> Verdict {
        let until = site.now() + crate::world::LIMIT * 2;
        while !enough(self) {
            let last = self.notices.last();
            let many = self.notices.len();
            check!(
                site.now() < until,
                "{what} did not happen; {:?}, the last of {many} notices: {last:?}",
                self.state()
            );
            self.turn(site)?;
        }
        Ok(())
    }

    fn write(&mut self, site: &Site, user: u64, nsid: u32, start: u64, bytes: &[u8]) -> Verdict {
        let mut data = self.host.memory().allocate(bytes.len()).doing("memory")?;
        data.copy_from_slice(bytes);
        self.submit(site, Io { user, nsid, op: Op::Write { start, data, fua: false }, queue: None })
    }

    fn read(&mut self, site: &Site, user: u64, nsid: u32, start: u64, len: usize) -> Verdict {
        let data = self.host.memory().allocate(len).doing("memory")?;
        self.submit(site, Io { user, nsid, op: Op::Read { start, data }, queue: None })
    }

    fn submit(&mut self, site: &Site, io: Io) -> Verdict {
        self.host
            .submit(self.id, io, site.now())
            .map_err(|rejected| Stop::failed(format!("refused: {}", rejected.why)))
    }

    /// Waits for so many requests to end, all with success; their data by the caller's number.
    fn all(&mut self, site: &mut Site, count: usize) -> Result<Vec<(u64, Data)>, Stop> {
        self.until(site, "the end of all requests", |client| client.done.len() >= count)?;
        check_eq!(self.done.len(), count);
        let mut ended = Vec::new();
        for Done { user, result, data } in self.done.drain(..) {
            result.doing(&format!("request {user}"))?;
            ended.push((user, data));
        }
        ended.sort_by_key(|(user, _)| *user);
        check!(ended.windows(2).all(|pair| pair[0].0 != pair[1].0), "a request ended twice");
        Ok(ended)
    }
}

fn bytes_of(data: &Data) -> &[u8] {
    match data {
        Data::FromController(buffer) | Data::ToController(buffer) => &buffer[..],
        Data::None => &[],
    }
}

/// Connects, finds the namespaces, moves data larger than one command, and leaves in order.
pub fn whole_life(fixture: &dyn Fixture) -> Verdict {
    let mut site = Site::new(fixture)?;
    for sq_flow_control in [true, false] {
        let mut wanted = options(OPEN);
        wanted.sq_flow_control = sq_flow_control;
        let mut client = Client::connect(&mut site, fixture, wanted, "")?;
        let association = client.host.association(client.id).doing("the association")?;
        let mut found: Vec<u32> = association.namespaces().iter().map(|namespace| namespace.nsid).collect();
        found.sort_unstable();
        check_eq!(found, [1, 3, 7]);
        let info = Arc::clone(association.info().doing("the controller")?);
        check_eq!(info.subnqn, nqn(OPEN));
        check_eq!(info.queues.len(), 3, "the admin queue and two others");
        let bytes: Vec<u8> = (0..1_000_000 / 512 * 512).map(|n: usize| (n % 251) as u8).collect();
        client.write(&site, 1, SMALL, 100, &bytes)?;
        client.all(&mut site, 1)?;
        client.read(&site, 2, SMALL, 100, bytes.len())?;
        let ended = client.all(&mut site, 1)?;
        check!(bytes_of(&ended[0].1) == bytes, "a megabyte came back as something else");
        client.host.close(client.id, true, site.now());
        client.until(&mut site, "an orderly end", |client| client.state() == State::Ended)?;
        let ended = client.notices.iter().any(|notice| matches!(notice, Notice::Ended { error: None }));
        check!(ended, "{:?}", client.notices);
        site.until("the target to forget the host", |site| site.server.associations().is_empty())?;
    }
    Ok(())
}

/// A connection breaks under I/O, at every stage: the host comes back, and nothing is lost or done twice.
pub fn reconnects(fixture: &dyn Fixture) -> Verdict {
    for plan in [
        "reset@command(5)/q1*1",
        "reset@command(9)/q2*1",
        "reset@command(16)/admin*1",
        "reset@byte(60000)/q1*1",
    ] {
        let mut site = Site::new(fixture)?;
        let mut client = Client::connect(&mut site, fixture, options(OPEN), plan)?;
        let block = |n: u64| vec![n as u8 + 1; 8192];
        for n in 0..24 {
            client.write(&site, n, LARGE, n * 2, &block(n))?;
        }
        // The admin queue gets commands too, so that its plan strikes.
        for n in 0..8 {
            let data = Data::FromController(client.host.memory().allocate(4096).doing("memory")?);
            let sqe = Identify::new(Cns::CONTROLLER, 0).to_sqe();
            let admin = Admin { user: 100 + n, sqe, data, replay: true };
            let rejected = client.host.submit_admin(client.id, admin, site.now());
            rejected.map_err(|rejected| Stop::failed(format!("refused: {}", rejected.why)))?;
        }
        client.all(&mut site, 32).map_err(|stop| Stop::failed(format!("{plan}: {stop}")))?;
        for n in 0..24 {
            client.read(&site, n, LARGE, n * 2, 8192)?;
        }
        for (n, data) in client.all(&mut site, 24).map_err(|stop| Stop::failed(format!("{plan}: {stop}")))? {
            check!(bytes_of(&data) == block(n), "{plan}: block {n} holds something else");
        }
        check_eq!(client.faults.deeds().len(), 1, "{plan}");
    }
    Ok(())
}

/// The target goes away for a while and comes back at the same address.
pub fn target_restarts(fixture: &dyn Fixture) -> Verdict {
    let mut site = Site::new(fixture)?;
    let mut client = Client::connect(&mut site, fixture, options(OPEN), "")?;
    client.write(&site, 1, LARGE, 0, &[1; 4096])?;
    client.all(&mut site, 1)?;
    for round in 2..5u8 {
        site.stop();
        client.until(&mut site, "the loss", |client| client.state() == State::Reconnecting)?;
        client.write(&site, u64::from(round), LARGE, 0, &[round; 4096])?;
        site.restart(fixture)?;
        client.all(&mut site, 1)?;
        client.read(&site, 0, LARGE, 0, 4096)?;
        let ended = client.all(&mut site, 1)?;
        check!(bytes_of(&ended[0].1).iter().all(|&byte| byte == round), "round {round}");
        check_eq!(client.state(), State::Live);
    }
    Ok(())
}

/// A target that stays away: the host gives up in its time, and everything ends.
pub fn gives_up(fixture: &dyn Fixture) -> Verdict {
    let mut site = Site::new(fixture)?;
    let mut wanted = options(OPEN);
    wanted.controller_loss_timeout = Some(Duration::from_millis(500));
    let mut client = Client::connect(&mut site, fixture, wanted, "")?;
    site.stop();
    client.until(&mut site, "the loss", |client| client.state() == State::Reconnecting)?;
    client.read(&site, 1, SMALL, 0, 512)?;
    let start = site.now();
    client.until(&mut site, "the end", |client| client.state() == State::Ended)?;
    let took = site.now() - start;
    check!(took < Duration::from_secs(5), "{took:?}");
    check_eq!(client.done.len(), 1);
    check!(client.done[0].result.is_err());
    check_eq!(client.done[0].data.len(), 512, "the buffer comes back");
    Ok(())
}

/// A controller that falls silent is noticed by keep alive.
pub fn silent_controller(fixture: &dyn Fixture) -> Verdict {
    let mut site = Site::new(fixture)?;
    let mut wanted = options(OPEN);
    wanted.kato = Some(Duration::from_secs(1));
    wanted.async_events = false;
    let mut client = Client::connect(&mut site, fixture, wanted, "")?;
    client.faults.now(What::Stall { time: None }, On::Any);
    client.until(&mut site, "the loss", |client| {
        client.notices.iter().any(|notice| matches!(notice, Notice::Lost { .. }))
    })?;
    client.write(&site, 1, SMALL, 0, &[3; 512])?;
    client.all(&mut site, 1).map(drop)
}

/// Fewer queues than asked for are enough.
pub fn fewer_queues(fixture: &dyn Fixture) -> Verdict {
    let mut site = Site::new(fixture)?;
    let mut wanted = options(OPEN);
    wanted.queues = 64;
    let mut client = Client::connect(&mut site, fixture, wanted, "")?;
    let info = client.host.association(client.id).and_then(|association| association.info().cloned());
    check_eq!(info.doing("the controller")?.queues.len(), usize::from(MAX_QUEUES) + 1);
    for n in 0..32 {
        client.read(&site, n, LARGE, n, 4096)?;
    }
    client.all(&mut site, 32).map(drop)
}

/// What goes wrong while connecting is told apart: no such subsystem, host not allowed.
pub fn refusals(fixture: &dyn Fixture) -> Verdict {
    let mut site = Site::new(fixture)?;
    let unknown = options("nqn.2024-01.org.example:nothing");
    let mut stranger = options(CLOSED);
    stranger.host.nqn = nqn(STRANGER);
    let mut seen: Vec<(ConnectErrorKind, String)> = Vec::new();
    for mut wanted in [unknown, stranger] {
        wanted.controller_loss_timeout = Some(Duration::ZERO);
        let mut client = Client::start(&site, fixture, wanted, "")?;
        client.until(&mut site, "an end", |client| client.state() == State::Ended)?;
        let error = client.host.association(client.id).and_then(|association| association.error().cloned());
        let error = error.doing("an error")?;
        check!(error.status().is_some(), "the controller's status is lost: {error}");
        check!(!error.hint().is_empty());
        seen.push((error.kind(), error.to_string()));
    }
    check!(seen[0].0 != seen[1].0, "two failures that look the same: {seen:?}");
    Ok(())
}

/// A host of the discovery controller reads the log and nothing else.
pub fn discovery(fixture: &dyn Fixture) -> Verdict {
    let mut site = Site::new(fixture)?;
    let client = Client::connect(&mut site, fixture, Options::discovery(), "")?;
    let info = client.host.association(client.id).and_then(|association| association.info().cloned());
    let info = info.doing("the controller")?;
    check!(info.discovery);
    check_eq!(info.subnqn, Nqn::DISCOVERY);
    Ok(())
}
