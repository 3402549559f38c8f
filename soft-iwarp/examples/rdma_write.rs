//! RDMA WRITE between two processes: the parent writes into memory of its child, which checks what it finds.
//!
//! `cargo run --release -p nvmf-soft-iwarp --example rdma_write -- 64`
//!
//! The child listens, accepts, and lends a region: its STag, offset and length travel in the private data of the connection.
//! The parent fills that region again and again, each time with another pattern, and says so with a message; the child checks
//! every byte and answers. The child is this program, started again with an argument.
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "an example: it reads the clock, and ends on any error"
)]

use std::{
    env,
    io::{BufRead, BufReader},
    net::SocketAddr,
    process::{Command, Stdio},
    time::Instant,
};

use nvmf_soft_iwarp::{
    Access, Completed, Completion, ConnectionConfig, Endpoint, EndpointConfig, Event, Operation, Payload, Qp,
    QpConfig, ReceiveRequest, Region, RegionOptions, Remote, STag, SendRequest, Status,
};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

const REGION: usize = 1 << 20;

/// An endpoint that waits for one event after the other.
struct Node {
    endpoint: Endpoint,
    events: std::collections::VecDeque<Event>,
}

impl Node {
    fn new() -> Self {
        Self { endpoint: Endpoint::new(EndpointConfig::default()).unwrap(), events: Default::default() }
    }

    fn next(&mut self) -> Event {
        let mut new = Vec::new();
        loop {
            if let Some(event) = self.events.pop_front() {
                return event;
            }
            let now = Instant::now();
            self.endpoint.poll(now, &mut new).unwrap();
            self.events.extend(new.drain(..));
            if self.events.is_empty() && !self.endpoint.has_work() {
                let wait = self.endpoint.next_timeout().map(|at| at.saturating_duration_since(now));
                let wait = wait.map(|wait| Timespec::try_from(wait).unwrap());
                let handle = self.endpoint.wait_handle();
                // A signal ends the wait early, which does no harm.
                let _ = poll(&mut [PollFd::new(&handle, PollFlags::IN)], wait.as_ref());
            }
        }
    }

    /// The next completion; anything else is the end.
    fn completion(&mut self, what: Completed) -> Completion {
        match self.next() {
            Event::Completion(done) if done.what == what && done.status == Status::Success => done,
            other => panic!("{other:?} instead of {what:?}"),
        }
    }

    fn receive(&mut self, qp: Qp, inbox: &Region) {
        let scatter = [inbox.sge(0, 8)];
        self.endpoint.post_receive(qp, &ReceiveRequest { id: 0, scatter: &scatter }).unwrap();
    }

    fn say(&mut self, qp: Qp, what: u64) {
        let bytes = what.to_be_bytes();
        let request = SendRequest::new(0, Operation::SEND, Payload::Inline(&bytes)).unsignaled();
        self.endpoint.post_send(qp, &request).unwrap();
    }

    fn heard(&self, inbox: &Region) -> u64 {
        u64::from_be_bytes(self.endpoint.bytes(inbox.stag).unwrap()[..8].try_into().unwrap())
    }
}

fn fill(bytes: &mut [u8], round: u64) {
    for (i, word) in bytes.chunks_exact_mut(8).enumerate() {
        word.copy_from_slice(&(i as u64 ^ round.wrapping_mul(0x9E37_79B9_7F4A_7C15)).to_le_bytes());
    }
}

/// Lends memory, and checks what is written there.
fn child() {
    let mut node = Node::new();
    let (_, address) = node.endpoint.listen(([127, 0, 0, 1], 0).into()).unwrap();
    println!("{address}");
    let lent = RegionOptions::new(Access::REMOTE_WRITE);
    let region = node.endpoint.register(vec![0; REGION].into_boxed_slice(), lent).unwrap();
    let inbox = RegionOptions::new(Access::LOCAL_WRITE);
    let inbox = node.endpoint.register(vec![0; 8].into_boxed_slice(), inbox).unwrap();
    let Event::Request { request, .. } = node.next() else { panic!("no request") };
    let qp = node.endpoint.create_qp(&QpConfig::default());
    // Receives first: without one the first message would end the connection.
    node.receive(qp, &inbox);
    let mut private = region.stag.value().to_be_bytes().to_vec();
    private.extend(region.base.to_be_bytes());
    private.extend(region.len.to_be_bytes());
    node.endpoint.accept(request, qp, &ConnectionConfig::default(), &private).unwrap();
    assert!(matches!(node.next(), Event::Established { .. }));
    let mut expected = vec![0; REGION];
    loop {
        match node.next() {
            Event::Completion(done) if done.status == Status::Success => {
                let round = node.heard(&inbox);
                fill(&mut expected, round);
                assert!(
                    node.endpoint.bytes(region.stag).unwrap() == expected,
                    "round {round} arrived damaged"
                );
                node.receive(qp, &inbox);
                node.say(qp, round);
            }
            Event::Completion(_) => {}
            Event::Disconnected { reason, .. } => {
                eprintln!("child: {reason}");
                return;
            }
            other => panic!("{other:?}"),
        }
    }
}

fn main() {
    let argument = env::args().nth(1);
    if argument.as_deref() == Some("child") {
        return child();
    }
    let rounds = argument.map_or(64, |megabytes| megabytes.parse().expect("a number of megabytes"));
    let mut process =
        Command::new(env::current_exe().unwrap()).arg("child").stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let address: SocketAddr = line.trim().parse().unwrap();

    let mut node = Node::new();
    let source = RegionOptions::default();
    let source = node.endpoint.register(vec![0; REGION].into_boxed_slice(), source).unwrap();
    let inbox = RegionOptions::new(Access::LOCAL_WRITE);
    let inbox = node.endpoint.register(vec![0; 8].into_boxed_slice(), inbox).unwrap();
    let qp = node.endpoint.create_qp(&QpConfig::default());
    node.endpoint.connect(qp, address, None, &ConnectionConfig::default(), b"").unwrap();
    let Event::Established { info, .. } = node.next() else { panic!("no connection") };
    let (stag, rest) = info.private_data.split_first_chunk::<4>().unwrap();
    let (base, len) = rest.split_first_chunk::<8>().unwrap();
    let remote = Remote { stag: STag::new(u32::from_be_bytes(*stag)), to: u64::from_be_bytes(*base) };
    assert_eq!(len, (REGION as u64).to_be_bytes());
    println!("{:?} lends {REGION} bytes at {:?}, CRC {}", info.peer, remote.stag, info.crc);

    let mut spent = std::time::Duration::ZERO;
    for round in 1..=rounds {
        fill(node.endpoint.bytes_mut(source.stag).unwrap(), round);
        node.receive(qp, &inbox);
        let start = Instant::now();
        let list = [source.sge(0, REGION as u32)];
        let write = SendRequest::new(round, Operation::Write { remote }, Payload::Gather(&list));
        node.endpoint.post_send(qp, &write).unwrap();
        // Behind the WRITE on the wire: when this arrives, the data is there.
        node.say(qp, round);
        assert_eq!(node.completion(Completed::Write).id, round);
        spent += start.elapsed();
        node.completion(Completed::Receive);
        assert_eq!(node.heard(&inbox), round);
    }
    node.endpoint.disconnect(qp);
    while !matches!(node.next(), Event::Disconnected { .. }) {}
    assert!(process.wait().unwrap().success());
    println!(
        "{rounds} MiB written and checked; writing took {:.0} MiB/s",
        rounds as f64 / spent.as_secs_f64()
    );
}
