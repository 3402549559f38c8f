//! The seam: an accelerator that takes, declines and loses connections, and what is said of each.
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "a test, and a driver: it reads the clock"
)]

mod support;

use std::{
    io::{IoSliceMut, Write},
    ops::ControlFlow,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use nvmf_tcp::{
    Tcp, TcpConfig,
    accelerator::{Accelerator, Claim, ControllerDatapath, Datapath, Handover, HostDatapath, Terms},
    conn::{ControllerConn, ControllerSetup, HostConn, HostSetup, Life, Slices},
    pdu::DigestPolicy,
};
use nvmf_transport::{
    Buffer, Close, CloseReason, Command, ControllerEvent, Data, DigestBy, Error, ErrorKind, Gather,
    HostEvent, Limits, Misuse, Offer, QueueSettings, Refused, RequestId, Stage,
};
use nvmf_wire::{Cid, Cqe, IoOpcode};
use rustix::{
    io::{Errno, readv},
    net::{SendAncillaryBuffer, SendFlags, sendmsg},
};
use support::*;

/// What the accelerator does with a connection.
#[derive(Clone, Copy, PartialEq)]
enum Mood {
    Takes,
    Declines,
    Loses,
    /// Does not even want to see it.
    Unfit,
}

struct Card {
    mood: Mood,
    /// Bytes that went through the card's own data path.
    moved: Arc<AtomicUsize>,
}

impl Card {
    fn answer<S, D: ?Sized>(
        &self,
        connection: Handover<S>,
        take: impl FnOnce(Handover<S>) -> Box<D>,
    ) -> Claim<D, S> {
        match self.mood {
            Mood::Takes => Claim::Taken(take(connection)),
            Mood::Declines => Claim::Declined { given_back: connection, because: "the table is full".into() },
            Mood::Loses => Claim::Lost(Error::new(
                Stage::Negotiate,
                ErrorKind::Io,
                "the card stopped while it took the socket",
            )),
            Mood::Unfit => panic!("declined before negotiation, and asked all the same"),
        }
    }
}

impl Accelerator for Card {
    fn name(&self) -> &'static str {
        "test card"
    }

    fn constrain(&self, _: BorrowedFd<'_>, terms: Terms<'_>) -> Offer {
        match terms {
            Terms::Host(terms) => terms.header_digest = DigestPolicy::Off,
            Terms::Controller(terms) => terms.max_h2c_data = 32 * 1024,
        }
        match self.mood {
            Mood::Unfit => Offer::Decline { because: "not a port of this card".into() },
            _ => Offer::Accept { preference: 90, because: "a port of this card".into() },
        }
    }

    fn claim_host(&self, connection: Handover<HostSetup>) -> Claim<dyn HostDatapath, HostSetup> {
        self.answer(connection, |c| -> Box<dyn HostDatapath> {
            Box::new(Path::new(HostConn::negotiated(c.setup, c.negotiated), c.socket, &self.moved))
        })
    }

    fn claim_controller(
        &self,
        connection: Handover<ControllerSetup>,
    ) -> Claim<dyn ControllerDatapath, ControllerSetup> {
        self.answer(connection, |c| -> Box<dyn ControllerDatapath> {
            Box::new(Path::new(ControllerConn::negotiated(c.setup, c.negotiated), c.socket, &self.moved))
        })
    }
}

/// The card's data path: the same state machine with system calls of its own.
struct Path<C> {
    conn: C,
    socket: OwnedFd,
    scratch: Vec<u8>,
    moved: Arc<AtomicUsize>,
    more: Option<Instant>,
}

impl<C> Path<C> {
    fn new(conn: C, socket: OwnedFd, moved: &Arc<AtomicUsize>) -> Self {
        Self { conn, socket, scratch: vec![0; 65_536], moved: Arc::clone(moved), more: None }
    }
}

macro_rules! datapath {
    ($conn:ty, $event:ty) => {
        impl Datapath<$event> for Path<$conn> {
            fn wait_handle(&self) -> BorrowedFd<'_> {
                self.socket.as_fd()
            }

            fn next_timeout(&self) -> Option<Instant> {
                self.more
            }

            fn limit(&self, limits: &mut Limits) {
                limits.max_transfer = 1 << 20;
                limits.data_digest = DigestBy::Hardware;
            }

            fn configure(&mut self, settings: &QueueSettings) -> Result<(), Misuse> {
                self.conn.configure(settings)
            }

            fn close(&mut self, how: Close) {
                self.conn.close(how);
            }

            fn poll(&mut self, now: Instant, events: &mut Vec<$event>) -> ControlFlow<()> {
                loop {
                    let [direct, rest] = self.conn.targets(&mut self.scratch);
                    match readv(&self.socket, &mut [IoSliceMut::new(direct), IoSliceMut::new(rest)]) {
                        Ok(0) => {
                            self.conn.peer_closed();
                            break;
                        }
                        Ok(n) => {
                            self.moved.fetch_add(n, Ordering::Relaxed);
                            self.conn.received(n, &self.scratch, events);
                        }
                        Err(Errno::AGAIN) => break,
                        Err(e) => {
                            self.conn.failed(Error::from_io(Stage::Transfer, "the card failed", e.into()));
                            break;
                        }
                    }
                }
                self.more = None;
                while self.conn.has_output() && self.conn.life() != Life::Over {
                    let mut slices = Slices::new();
                    self.conn.gather(&mut slices);
                    let control = &mut SendAncillaryBuffer::default();
                    let sent = sendmsg(&self.socket, &slices, control, SendFlags::NOSIGNAL);
                    drop(slices);
                    match sent {
                        Ok(n) => {
                            self.moved.fetch_add(n, Ordering::Relaxed);
                            self.conn.wrote(n, events);
                        }
                        Err(_) => {
                            self.more = now.checked_add(Duration::from_millis(1));
                            break;
                        }
                    }
                }
                if self.conn.life() == Life::Draining && !self.conn.has_output() {
                    self.conn.expire(now + Duration::from_secs(60));
                    self.conn.deadline(now);
                    self.conn.expire(now + Duration::from_secs(60));
                }
                if self.conn.life() == Life::Over {
                    self.conn.finish(events);
                    return ControlFlow::Break(());
                }
                ControlFlow::Continue(())
            }
        }
    };
}

datapath!(HostConn, HostEvent);
datapath!(ControllerConn, ControllerEvent);

impl HostDatapath for Path<HostConn> {
    fn submit(&mut self, command: Command) -> Result<Cid, Refused<Command>> {
        self.conn.submit(command)
    }
}

impl ControllerDatapath for Path<ControllerConn> {
    fn fetch(&mut self, request: RequestId, offset: u32, into: Buffer) -> Result<(), Refused<Buffer>> {
        self.conn.fetch(request, offset, into)
    }

    fn respond(&mut self, request: RequestId, cqe: Cqe, data: Gather) -> Result<(), Refused<Gather>> {
        self.conn.respond(request, cqe, data)
    }
}

fn config() -> TcpConfig {
    let mut config = TcpConfig::default();
    (config.host.header_digest, config.host.data_digest) = (DigestPolicy::On, DigestPolicy::On);
    config
}

fn plain() -> Tcp {
    Tcp::new(config()).unwrap()
}

fn with_card(mood: Mood) -> (Tcp, Arc<AtomicUsize>) {
    let moved = Arc::new(AtomicUsize::new(0));
    (plain().with_accelerator(Arc::new(Card { mood, moved: Arc::clone(&moved) })), moved)
}

fn value(info: &nvmf_transport::QueueInfo, name: &str) -> Option<String> {
    info.negotiated.iter().find(|(n, _)| *n == name).map(|(_, value)| value.clone())
}

#[test]
fn a_taken_connection_runs_through_the_accelerator() {
    for (on_host, on_controller) in [(true, false), (false, true), (true, true)] {
        let (card, moved) = with_card(Mood::Takes);
        let tcp = |on| if on { card.clone() } else { plain() };
        let mut both = Loop::of(&tcp(on_host), &tcp(on_controller));
        let (queue, info) = both.connect();
        assert_eq!(info.data_path, if on_host { "test card" } else { "software" });
        assert_eq!(both.target.infos[0].data_path, if on_controller { "test card" } else { "software" });
        if on_host {
            assert_eq!((info.limits.max_transfer, info.limits.data_digest), (1 << 20, DigestBy::Hardware));
            assert_eq!(value(&info, "header digest").unwrap(), "off", "as constrained");
        }
        if on_controller {
            assert_eq!(value(&info, "MAXH2CDATA").unwrap(), "32768", "as constrained");
        }
        for len in [512, 16_384, 65_536, 1 << 20] {
            both.exchange(queue, len);
        }
        assert!(moved.load(Ordering::Relaxed) > 2 * (1 << 20), "the card moved the data");
        use nvmf_transport::{Engine, HostEngine};
        both.submit(queue, IoOpcode::READ, Data::FromController(buffer(1 << 20)), 7);
        both.host.close(queue, Close::Now);
        assert!(matches!(both.event(), HostEvent::Aborted { cookie: 7, .. }));
        assert!(matches!(both.closed(), CloseReason::Requested));
        both.until(|both| both.target.closed.len() == 1 && both.target.engine.connections() == 0);
        let refused =
            both.host.submit(queue, Command { sqe: Default::default(), data: Data::None, cookie: 0 });
        assert_eq!(refused.unwrap_err().why, Misuse::UnknownQueue);
    }
}

#[test]
fn a_declined_connection_goes_on_in_software_and_says_why() {
    for (mood, why) in [(Mood::Declines, "the table is full"), (Mood::Unfit, "not a port of this card")] {
        let (card, moved) = with_card(mood);
        let mut both = Loop::new(&card);
        let (queue, info) = both.connect();
        for info in [&info, &both.target.infos[0]] {
            assert_eq!(info.data_path, "software");
            assert!(value(info, "accelerator").unwrap().contains(why));
        }
        // Terms that nobody is going to need are not negotiated.
        assert_eq!(value(&info, "header digest").unwrap(), if mood == Mood::Unfit { "on" } else { "off" });
        both.exchange(queue, 65_536);
        both.exchange(queue, 1 << 20);
        assert_eq!(moved.load(Ordering::Relaxed), 0);
    }
}

#[test]
fn a_lost_connection_ends_its_queue_and_says_who_lost_it() {
    let (card, _) = with_card(Mood::Loses);
    let mut both = Loop::of(&card, &plain());
    both.start();
    let HostEvent::Connected { info, .. } = both.event() else { panic!() };
    assert_eq!(info.data_path, "test card");
    let error = both.failure();
    assert_eq!(error.kind(), ErrorKind::AcceleratorLost);
    assert!(error.detail().contains("the card stopped"), "{error}");
    both.until(|both| both.target.engine.connections() == 0);

    let mut both = Loop::of(&plain(), &card);
    both.start();
    both.until(|both| !both.target.closed.is_empty());
    let CloseReason::Failed(error) = &both.target.closed[0] else { panic!() };
    assert_eq!(error.kind(), ErrorKind::AcceleratorLost);
    assert!(matches!(both.event(), HostEvent::Connected { .. }));
    both.closed();
    // And other peers never notice.
    let _ = std::net::TcpStream::connect(both.target.address).unwrap().write(&[0]);
}
