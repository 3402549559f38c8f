//! A peer of either role: soft-iWARP, driven by hand and waited for.

use std::{
    collections::VecDeque,
    net::{Ipv4Addr, SocketAddr},
    time::{Duration, Instant},
};

use nvmf_soft_iwarp::{
    Access, Completed, ConnectionConfig, Endpoint, EndpointConfig, Event, Operation, Payload, Qp, QpConfig,
    ReceiveRequest, Region, RegionOptions, Remote, STag, SendRequest, Status,
};
use rustix::event::{PollFd, PollFlags, Timespec};

use super::mpa::PATIENCE;
use crate::{Context as _, Stop, Verdict};

/// Bytes of one receive, and receives: more than any decent peer sends.
const RECEIVE: usize = 128;
const RECEIVES: usize = 128;

/// What a peer hears.
#[derive(Debug)]
pub enum Heard {
    /// A message, and the key of ours that it invalidated.
    Message(Vec<u8>, Option<STag>),
    /// The end of the connection, and why.
    End(String),
}

/// One end of a connection.
#[derive(Debug)]
pub struct Peer {
    endpoint: Endpoint,
    qp: Qp,
    inbox: Region,
    events: VecDeque<Event>,
    /// What the other side said when it accepted, or asked.
    pub private_data: Vec<u8>,
    over: bool,
}

#[expect(clippy::disallowed_methods, reason = "a driver of its own")]
fn now() -> Instant {
    Instant::now()
}

fn turn(endpoint: &mut Endpoint, events: &mut VecDeque<Event>, wait: Duration) -> Verdict {
    let mut news = Vec::new();
    endpoint.poll(now(), &mut news).doing("the tester's poll")?;
    if news.is_empty() && !endpoint.has_work() {
        let mut fds = [PollFd::from_borrowed_fd(endpoint.wait_handle(), PollFlags::IN)];
        let wait = Timespec { tv_sec: 0, tv_nsec: wait.subsec_nanos().into() };
        // EINTR is a reason to look around.
        let _ = rustix::event::poll(&mut fds, Some(&wait));
    }
    events.extend(news);
    Ok(())
}

fn config() -> ConnectionConfig {
    ConnectionConfig { ird: 16, ord: 16, ..ConnectionConfig::default() }
}

impl Peer {
    fn start() -> Result<(Endpoint, Qp, Region), Stop> {
        let mut endpoint = Endpoint::new(EndpointConfig::default()).doing("the tester's endpoint")?;
        let qp = endpoint.create_qp(&QpConfig { receive_depth: RECEIVES as u32, ..QpConfig::default() });
        let memory = vec![0; RECEIVE * RECEIVES].into_boxed_slice();
        let inbox = endpoint
            .register(memory, RegionOptions::new(Access::LOCAL_WRITE))
            .doing("the tester's memory")?;
        for slot in 0..RECEIVES as u64 {
            let scatter = [inbox.sge(slot * RECEIVE as u64, RECEIVE as u32)];
            endpoint.post_receive(qp, &ReceiveRequest { id: slot, scatter: &scatter }).doing("a receive")?;
        }
        Ok((endpoint, qp, inbox))
    }

    /// Asks a target for a connection, of which `ird` READs are served.
    pub fn connect(to: SocketAddr, private_data: &[u8], ird: u16) -> Result<Self, Stop> {
        let (mut endpoint, qp, inbox) = Self::start()?;
        endpoint
            .connect(qp, to, None, &ConnectionConfig { ird, ..config() }, private_data)
            .doing("to connect")?;
        Self { endpoint, qp, inbox, events: VecDeque::new(), private_data: Vec::new(), over: false }.up()
    }

    /// Waits for the connection.
    fn up(mut self) -> Result<Self, Stop> {
        match self.event(PATIENCE)? {
            Some(Event::Established { info, .. }) => {
                if !info.private_data.is_empty() {
                    self.private_data = info.private_data;
                }
                Ok(self)
            }
            other => Err(Stop::failed(format!("no connection: {other:?}"))),
        }
    }

    fn event(&mut self, patience: Duration) -> Result<Option<Event>, Stop> {
        let until = now() + patience;
        while self.events.is_empty() {
            if now() >= until {
                return Ok(None);
            }
            turn(&mut self.endpoint, &mut self.events, Duration::from_millis(20))?;
        }
        Ok(self.events.pop_front())
    }

    /// The next message, or the end. `None` if there is neither for a while.
    pub fn hear_for(&mut self, patience: Duration) -> Result<Option<Heard>, Stop> {
        if self.over {
            return Ok(Some(Heard::End("over already".into())));
        }
        loop {
            match self.event(patience)? {
                None => return Ok(None),
                Some(Event::Completion(done))
                    if done.what == Completed::Receive && done.status == Status::Success =>
                {
                    let start = done.id as usize * RECEIVE;
                    let inbox = self.endpoint.bytes(self.inbox.stag).doing("the inbox")?;
                    let message = inbox.get(start..start + done.len as usize).doing("the message")?.to_vec();
                    let scatter = [self.inbox.sge(start as u64, RECEIVE as u32)];
                    let again = ReceiveRequest { id: done.id, scatter: &scatter };
                    // Refused if the connection has ended meanwhile, which is heard of next.
                    let _ = self.endpoint.post_receive(self.qp, &again);
                    return Ok(Some(Heard::Message(message, done.invalidated)));
                }
                Some(Event::Disconnected { reason, .. }) => {
                    self.over = true;
                    return Ok(Some(Heard::End(reason.to_string())));
                }
                Some(_) => {}
            }
        }
    }

    /// The next message, or the end, within a few seconds.
    pub fn hear(&mut self) -> Result<Heard, Stop> {
        self.hear_for(PATIENCE)?.doing("neither a message nor the end of the connection came in time")
    }

    /// Waits for the end; messages before it are passed over.
    pub fn end(&mut self) -> Result<String, Stop> {
        loop {
            if let Heard::End(why) = self.hear()? {
                return Ok(why);
            }
        }
    }

    /// Registers memory that the other side may reach.
    pub fn expose(&mut self, bytes: Vec<u8>, access: Access) -> Result<Region, Stop> {
        let options = RegionOptions::new(access | Access::REMOTE_INVALIDATE);
        self.endpoint.register(bytes.into_boxed_slice(), options).doing("memory")
    }

    /// What is in exposed memory now.
    pub fn bytes(&self, region: Region) -> Vec<u8> {
        self.endpoint.bytes(region.stag).map(<[u8]>::to_vec).unwrap_or_default()
    }

    fn post(&mut self, operation: Operation, bytes: &[u8], access: Access) -> Verdict {
        let region = self.expose(bytes.to_vec(), access)?;
        let gather = [region.sge(0, bytes.len() as u32)];
        let request = SendRequest::new(0, operation, Payload::Gather(&gather));
        self.endpoint.post_send(self.qp, &request).doing("to post")?;
        turn(&mut self.endpoint, &mut self.events, Duration::ZERO)
    }

    /// Sends a message.
    pub fn send(&mut self, bytes: &[u8]) -> Verdict {
        self.post(Operation::SEND, bytes, Access::empty())
    }

    /// Sends a message that invalidates a key of the other side.
    pub fn send_invalidate(&mut self, bytes: &[u8], key: u32) -> Verdict {
        let operation = Operation::Send { invalidate: Some(STag::new(key)), solicited: false };
        self.post(operation, bytes, Access::empty())
    }

    /// Writes to the other side's memory.
    pub fn write(&mut self, bytes: &[u8], key: u32, to: u64) -> Verdict {
        self.post(Operation::Write { remote: Remote { stag: STag::new(key), to } }, bytes, Access::empty())
    }

    /// Reads from the other side's memory, and does not wait for it.
    pub fn read(&mut self, len: usize, key: u32, from: u64) -> Verdict {
        let operation = Operation::Read { remote: Remote { stag: STag::new(key), to: from } };
        self.post(operation, &vec![0; len], Access::LOCAL_WRITE | Access::REMOTE_WRITE)
    }

    /// Ends the connection in good order.
    pub fn disconnect(&mut self) -> Verdict {
        self.endpoint.disconnect(self.qp);
        turn(&mut self.endpoint, &mut self.events, Duration::ZERO)
    }
}

/// A listening tester.
#[derive(Debug)]
pub struct Door {
    endpoint: Endpoint,
    /// Where it listens.
    pub address: SocketAddr,
}

impl Door {
    /// Listens at loopback.
    pub fn open() -> Result<Self, Stop> {
        let mut endpoint = Endpoint::new(EndpointConfig::default()).doing("the tester's endpoint")?;
        let (_, address) = endpoint.listen(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).doing("to listen")?;
        Ok(Self { endpoint, address })
    }

    /// Accepts one host, with this private data, unless told to stop first.
    pub fn accept(mut self, private_data: &[u8], stop: impl Fn() -> bool) -> Result<Option<Peer>, Stop> {
        let mut events = VecDeque::new();
        let (request, said) = loop {
            match events.pop_front() {
                Some(Event::Request { request, info, .. }) => break (request, info.private_data),
                Some(_) => {}
                None if stop() => return Ok(None),
                None => turn(&mut self.endpoint, &mut events, Duration::from_millis(20))?,
            }
        };
        let handover = self.endpoint.release(request).doing("the request")?;
        let (mut endpoint, qp, inbox) = Peer::start()?;
        endpoint.adopt(handover).doing("to take the connection")?;
        let request = loop {
            match events.pop_front() {
                Some(Event::Request { request, .. }) => break request,
                Some(_) => {}
                None if stop() => return Ok(None),
                None => turn(&mut endpoint, &mut events, Duration::from_millis(20))?,
            }
        };
        endpoint.accept(request, qp, &config(), private_data).doing("to accept")?;
        Peer { endpoint, qp, inbox, events, private_data: said, over: false }.up().map(Some)
    }
}
