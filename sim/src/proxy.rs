//! A disturbed TCP path: forwards bytes between real peers on loopback, late, in odd pieces, flipped, stalled or broken.
//!
//! Put it between a host and any NVMe/TCP controller, foreign ones included: [`Proxy::start`] listens on a port of its own. What
//! it does to each connection and direction follows from the seed and the connection's number; that it splits bytes at
//! other places than the peers did is the point. One thread per proxy; it ends, with its connections, when the value is
//! dropped. This is a driver: it reads the clock.

use std::{
    collections::VecDeque,
    fmt,
    io::{self, Read, Write},
    net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream},
    ops::RangeInclusive,
    os::fd::{AsFd, BorrowedFd},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use nvmf_transport::Wake;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::Rng;

/// What happens to the bytes of one direction of every connection. The default forwards them untouched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Direction {
    /// How long bytes are on their way.
    pub delay: RangeInclusive<Duration>,
    /// Bytes per piece handed on, at random; whatever is there if `None`.
    pub segments: Option<RangeInclusive<usize>>,
    /// The byte, counted from 0, of which a bit is flipped.
    pub flip_at: Option<u64>,
    /// Besides, so many bytes of a million.
    pub flip_per_million: u32,
    /// The byte before which everything stops, for ever and without a word.
    pub stall_at: Option<u64>,
    /// The byte before which the connection is reset.
    pub reset_at: Option<u64>,
}

impl Default for Direction {
    fn default() -> Self {
        Self {
            delay: Duration::ZERO..=Duration::ZERO,
            segments: None,
            flip_at: None,
            flip_per_million: 0,
            stall_at: None,
            reset_at: None,
        }
    }
}

/// What happens to connections.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Disturbance {
    /// What every random choice follows from.
    pub seed: u64,
    /// To the bytes of the one who connected.
    pub to_controller: Direction,
    /// To the bytes of the one who listened.
    pub to_host: Direction,
    /// Only to the connections of these numbers, counted from 0; the others are forwarded untouched.
    pub connections: Option<RangeInclusive<u64>>,
}

/// A proxy at work.
pub struct Proxy {
    address: SocketAddr,
    stop: Arc<AtomicBool>,
    wake: Wake,
    thread: Option<JoinHandle<()>>,
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Proxy").field("address", &self.address).finish_non_exhaustive()
    }
}

impl Proxy {
    /// Listens on a port of 127.0.0.1 and forwards to `to`.
    pub fn start(to: SocketAddr, disturbance: Disturbance) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let stop = Arc::new(AtomicBool::new(false));
        let wake = Wake::new().map_err(io::Error::other)?;
        let mut work = Work {
            listener,
            to,
            disturbance,
            stop: Arc::clone(&stop),
            wake: wake.clone(),
            paths: Vec::new(),
            accepted: 0,
        };
        let thread = thread::Builder::new().name("proxy".into()).spawn(move || work.run())?;
        Ok(Self { address, stop, wake, thread: Some(thread) })
    }

    /// Where to connect to.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        self.wake.wake();
        if let Some(thread) = self.thread.take() {
            // A panic of the proxy shows as a failure of the test that used it.
            let _ = thread.join();
        }
    }
}

/// Bytes one direction holds before it stops reading: as much as a socket buffer would.
const HELD: usize = 256 * 1024;

/// One direction of one connection.
struct Flow {
    rules: Direction,
    rng: Rng,
    /// Pieces on their way, with the time they are due.
    pieces: VecDeque<(Instant, Vec<u8>)>,
    held: usize,
    /// Bytes read so far.
    count: u64,
    last_due: Option<Instant>,
    stalled: bool,
    /// The sender has finished, and whether that has been passed on.
    ended: bool,
    passed_on: bool,
}

enum Fate {
    Goes,
    Over,
    Reset,
}

impl Flow {
    fn new(rules: Direction, rng: Rng) -> Self {
        Self {
            rules,
            rng,
            pieces: VecDeque::new(),
            held: 0,
            count: 0,
            last_due: None,
            stalled: false,
            ended: false,
            passed_on: false,
        }
    }

    fn wants(&self) -> bool {
        !self.ended && !self.stalled && self.held < HELD
    }

    /// Takes what the sender has sent. `false`: the connection is to be reset.
    fn read(&mut self, from: &mut TcpStream, now: Instant) -> Fate {
        let mut buffer = vec![0; 16 * 1024];
        while self.wants() {
            match from.read(&mut buffer) {
                Ok(0) => self.ended = true,
                Ok(len) => {
                    if let Fate::Reset = self.take(&mut buffer[..len], now) {
                        return Fate::Reset;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(_) => return Fate::Reset,
            }
        }
        Fate::Goes
    }

    /// Disturbs bytes and sends them on their way.
    fn take(&mut self, bytes: &mut [u8], now: Instant) -> Fate {
        let start = self.count;
        self.count += bytes.len() as u64;
        let mut bytes = bytes;
        for (rule, is_reset) in [(self.rules.reset_at, true), (self.rules.stall_at, false)] {
            if let Some(at) = rule.filter(|at| (start..start + bytes.len() as u64).contains(at)) {
                let keep = (at - start) as usize;
                bytes = &mut bytes[..keep];
                self.stalled = true;
                if is_reset {
                    return Fate::Reset;
                }
            }
        }
        for (byte, at) in bytes.iter_mut().zip(start..) {
            let unlucky = self.rules.flip_per_million > 0
                && self.rng.below(1_000_000) < u64::from(self.rules.flip_per_million);
            if unlucky || self.rules.flip_at == Some(at) {
                *byte ^= 1 << self.rng.below(8);
            }
        }
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let len = match &self.rules.segments {
                Some(range) => {
                    let span = (range.end().saturating_sub(*range.start()) + 1) as u64;
                    (range.start() + self.rng.below(span) as usize).clamp(1, rest.len())
                }
                None => rest.len(),
            };
            let (piece, later) = rest.split_at(len);
            let due = now + self.rng.time(self.rules.delay.clone());
            // Bytes of a connection stay in order.
            let due = self.last_due.map_or(due, |last| last.max(due));
            self.last_due = Some(due);
            self.held += piece.len();
            self.pieces.push_back((due, piece.to_vec()));
            rest = later;
        }
        Fate::Goes
    }

    /// Hands on what is due, each piece in a write of its own.
    fn write(&mut self, to: &mut TcpStream, now: Instant) -> Fate {
        while let Some((due, piece)) = self.pieces.front_mut() {
            if *due > now {
                break;
            }
            match to.write(piece) {
                Ok(written) => {
                    self.held -= written;
                    piece.drain(..written);
                    if piece.is_empty() {
                        self.pieces.pop_front();
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(_) => return Fate::Reset,
            }
        }
        if self.ended && self.pieces.is_empty() && !self.passed_on {
            self.passed_on = true;
            // Fails where the receiver is gone, which its own direction will notice.
            let _ = to.shutdown(Shutdown::Write);
        }
        if self.passed_on { Fate::Over } else { Fate::Goes }
    }

    fn due(&self) -> Option<Instant> {
        self.pieces.front().map(|(due, _)| *due)
    }
}

struct Path {
    host: TcpStream,
    controller: TcpStream,
    to_controller: Flow,
    to_host: Flow,
}

impl Path {
    /// Moves bytes; `false` when the connection is over.
    fn step(&mut self, now: Instant) -> bool {
        let fates = [
            self.to_controller.read(&mut self.host, now),
            self.to_host.read(&mut self.controller, now),
            self.to_controller.write(&mut self.controller, now),
            self.to_host.write(&mut self.host, now),
        ];
        if fates.iter().any(|fate| matches!(fate, Fate::Reset)) {
            self.reset();
            return false;
        }
        !fates.iter().skip(2).all(|fate| matches!(fate, Fate::Over))
    }

    /// Ends both connections with RST.
    fn reset(&self) {
        for stream in [&self.host, &self.controller] {
            // Where it fails the connection ends with FIN, which is an end too.
            let _ = socket2::SockRef::from(stream).set_linger(Some(Duration::ZERO));
        }
    }
}

struct Work {
    listener: TcpListener,
    to: SocketAddr,
    disturbance: Disturbance,
    stop: Arc<AtomicBool>,
    wake: Wake,
    paths: Vec<Path>,
    accepted: u64,
}

impl Work {
    fn run(&mut self) {
        while !self.stop.load(Ordering::SeqCst) {
            #[expect(clippy::disallowed_methods, reason = "this is the driving loop")]
            let now = Instant::now();
            while let Ok((host, _)) = self.listener.accept() {
                // A controller that is not there is told to the host as it would be without a proxy, by the end of the connection.
                if let Ok(path) = self.path(host) {
                    self.paths.push(path);
                }
            }
            self.paths.retain_mut(|path| path.step(now));
            self.wait(now);
        }
    }

    fn path(&mut self, host: TcpStream) -> io::Result<Path> {
        let number = self.accepted;
        self.accepted += 1;
        let controller = TcpStream::connect_timeout(&self.to, Duration::from_secs(5))?;
        for stream in [&host, &controller] {
            stream.set_nonblocking(true)?;
            stream.set_nodelay(true)?;
        }
        let disturbed = self.disturbance.connections.as_ref().is_none_or(|numbers| numbers.contains(&number));
        let rules = |rules: &Direction| if disturbed { rules.clone() } else { Direction::default() };
        let rng = Rng::new(self.disturbance.seed).fork(number);
        let to_controller = Flow::new(rules(&self.disturbance.to_controller), rng.fork(1));
        let to_host = Flow::new(rules(&self.disturbance.to_host), rng.fork(2));
        Ok(Path { host, controller, to_controller, to_host })
    }

    fn wait(&self, now: Instant) {
        let interest = |stream, reads: &Flow, writes: &Flow| {
            let mut flags = PollFlags::empty();
            flags.set(PollFlags::IN, reads.wants());
            flags.set(PollFlags::OUT, writes.due().is_some_and(|due| due <= now));
            (stream, flags)
        };
        let mut wanted: Vec<(BorrowedFd<'_>, PollFlags)> =
            vec![(self.wake.as_fd(), PollFlags::IN), (self.listener.as_fd(), PollFlags::IN)];
        for path in &self.paths {
            wanted.push(interest(path.host.as_fd(), &path.to_controller, &path.to_host));
            wanted.push(interest(path.controller.as_fd(), &path.to_host, &path.to_controller));
        }
        // Where nothing is wanted an error would be reported again and again.
        wanted.retain(|(_, flags)| !flags.is_empty());
        let later = |flow: &Flow| flow.due().filter(|due| *due > now);
        let due = self
            .paths
            .iter()
            .flat_map(|path| [later(&path.to_controller), later(&path.to_host)])
            .flatten()
            .min();
        let timeout = due.map(|due| {
            let left = due - now;
            Timespec { tv_sec: left.as_secs().min(3600) as _, tv_nsec: left.subsec_nanos().into() }
        });
        let mut fds: Vec<_> =
            wanted.iter().map(|(fd, flags)| PollFd::from_borrowed_fd(*fd, *flags)).collect();
        // An interrupted wait is a reason to look around.
        let _ = poll(&mut fds, timeout.as_ref());
    }
}

#[cfg(test)]
#[path = "proxy_tests.rs"]
mod tests;
