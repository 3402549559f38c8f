//! Tries the system's verbs on a device of this machine, without NVMe on top: connect, SEND, RDMA READ and WRITE, disconnect,
//! and what goes wrong on purpose. Used where there is siw or rxe (`ci/vm`); on a machine with an RDMA adapter it may be run
//! by hand.
//!
//!     verbs_ping devices                 what there is
//!     verbs_ping self ADDRESS:PORT       both ends in this process, at an address of an RDMA device
//!     verbs_ping hold ADDRESS:PORT       a connection that stays until its device is removed
#![allow(unsafe_code, reason = "posts memory by address, which it keeps until the queue pair is destroyed")]
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test program that owns its time")]

use std::{
    collections::VecDeque,
    fmt::Debug,
    net::SocketAddr,
    os::fd::AsFd,
    process::ExitCode,
    sync::mpsc,
    time::{Duration, Instant},
};

use nvmf_rdma::{
    provider::rdma_core::{RdmaCore, RdmaCoreVerbs},
    verbs::{
        Capacity, CmEvent, Completion, ConnId, ConnParams, Depths, Device, Ending, Keys, Kind, Operation,
        Provider, QpCaps, RecvRequest, Remote, RemoteAccess, SendOp, SendRequest, Sge, Verbs, WcStatus,
    },
};
use nvmf_transport::{Buffer, ErrorKind, Target, Wire};
use rustix::event::{PollFd, PollFlags, poll};
use smallvec::smallvec;

const PATIENCE: Duration = Duration::from_secs(20);
const SIZE: u32 = 64 * 1024;
const CAPS: QpCaps = QpCaps { send_wr: 16, recv_wr: 8, send_sge: 2, recv_sge: 1, inline: 0 };
const CLIENT: Depths = Depths { initiator: 3, responder: 5 };
const SERVER: Depths = Depths { initiator: 5, responder: 3 };

/// One engine, and what it has reported.
struct End {
    verbs: RdmaCoreVerbs,
    busy: bool,
    events: VecDeque<CmEvent>,
    completions: VecDeque<Completion>,
}

impl End {
    fn open(busy: bool) -> Self {
        let capacity = Capacity { connections: 8, completions: 256, backlog: 8 };
        let verbs = RdmaCore::new().open(&capacity).unwrap_or_else(|error| {
            println!("FAILED   open: {error}");
            std::process::exit(1)
        });
        Self { verbs, busy, events: VecDeque::new(), completions: VecDeque::new() }
    }

    fn step(&mut self) {
        let mut events = Vec::new();
        self.verbs.progress(Instant::now(), &mut events).unwrap();
        self.events.extend(events);
        let mut batch = [Completion::default(); 8];
        let count = self.verbs.poll_cq(&mut batch).unwrap();
        self.completions.extend(&batch[..count]);
    }

    /// Waits until `take` finds what it wants.
    fn until<T: Debug>(&mut self, what: &str, mut take: impl FnMut(&mut Self) -> Option<T>) -> T {
        let deadline = Instant::now() + PATIENCE;
        loop {
            self.step();
            if let Some(found) = take(self) {
                return found;
            }
            assert!(Instant::now() < deadline, "{what} did not come; events {:?}", self.events);
            if !self.busy && !self.verbs.arm().unwrap() {
                let second = rustix::time::Timespec { tv_sec: 1, tv_nsec: 0 };
                poll(&mut [PollFd::new(&self.verbs.wait_handle().as_fd(), PollFlags::IN)], Some(&second))
                    .unwrap();
            }
        }
    }

    fn event(&mut self, what: &str) -> CmEvent {
        self.until(what, |end| end.events.pop_front())
    }

    fn completion(&mut self, what: &str) -> Completion {
        self.until(what, |end| end.completions.pop_front())
    }

    fn done(&mut self, what: &str, operation: Operation, id: u64) -> Completion {
        let completion = self.completion(what);
        assert_eq!(
            (completion.operation, completion.id, completion.status),
            (operation, id, WcStatus::Success),
            "{what}"
        );
        completion
    }

    fn buffer(&self, len: u32) -> Buffer {
        self.verbs.memory().allocate(len as usize).unwrap()
    }

    fn sge(&mut self, conn: ConnId, buffer: &Buffer, len: u32) -> Sge {
        let key = self.verbs.local_key(conn, buffer.region()).unwrap();
        Sge { address: buffer.as_ptr().expose_provenance() as u64, length: len, key }
    }

    fn recv(&mut self, conn: ConnId, id: u64, buffer: &Buffer, len: u32) {
        let request = RecvRequest { id, sges: smallvec![self.sge(conn, buffer, len)] };
        // SAFETY: the buffers of this program outlive its connections.
        unsafe { self.verbs.post_recv(conn, &[request]) }.unwrap();
    }

    fn send(&mut self, conn: ConnId, requests: &[SendRequest]) {
        // SAFETY: as above.
        unsafe { self.verbs.post_send(conn, requests) }.unwrap();
    }

    /// Connects as far as the peer's answer.
    fn ask(&mut self, to: SocketAddr, private_data: &[u8], buffers: &[Buffer]) -> (ConnId, CmEvent) {
        let conn = self.verbs.connect(to, None, PATIENCE).unwrap();
        match self.event("resolved") {
            CmEvent::Resolved { conn: found } => assert_eq!(found, conn),
            other => return (conn, other),
        }
        self.verbs.create_qp(conn, &CAPS).unwrap();
        for (id, buffer) in buffers.iter().enumerate() {
            self.recv(conn, id as u64, buffer, 64);
        }
        self.verbs.request(conn, &ConnParams { private_data, depths: CLIENT }).unwrap();
        (conn, self.event("an answer"))
    }
}

fn send_request(id: u64, op: SendOp, sge: Sge) -> SendRequest {
    SendRequest { id, op, sges: smallvec![sge], inline: false, signaled: true }
}

fn pattern(round: u32, index: usize) -> u8 {
    (round as usize).wrapping_mul(31).wrapping_add(index.wrapping_mul(7)) as u8
}

/// Serves `rounds` pings on one connection: reads the client's memory, writes it back inverted.
fn serve(end: &mut End, rounds: u32, listener_said: &mpsc::Sender<SocketAddr>, at: SocketAddr) {
    let (listener, got) = end.verbs.listen(at).unwrap();
    listener_said.send(got).unwrap();
    // The first is turned down.
    let CmEvent::Requested { conn, private_data, .. } = end.event("a request") else {
        panic!("not a request")
    };
    assert!(private_data.starts_with(b"to be rejected"), "{private_data:?}");
    end.verbs.reject(conn, b"no, thank you").unwrap();
    end.verbs.destroy(conn);

    let CmEvent::Requested { conn, listener: from, private_data, depths } = end.event("a request") else {
        panic!("not a request")
    };
    assert_eq!(from, listener);
    assert!(private_data.starts_with(b"hello from the client"), "{private_data:?}");
    assert_eq!(
        (depths.initiator, depths.responder),
        (CLIENT.responder, CLIENT.initiator),
        "what the peer allows"
    );
    let kind = end.verbs.device(conn).unwrap().kind;
    let (local, peer) = end.verbs.addresses(conn).unwrap();
    println!("         passive over {kind}: {local} from {peer}");
    end.verbs.create_qp(conn, &CAPS).unwrap();
    let received: Vec<Buffer> = (0..4).map(|_| end.buffer(64)).collect();
    let data = end.buffer(SIZE);
    let answer = end.buffer(64);
    for (id, buffer) in received.iter().enumerate() {
        end.recv(conn, id as u64, buffer, 64);
    }
    end.verbs.accept(conn, &ConnParams { private_data: b"hello from the server", depths: SERVER }).unwrap();
    let established = end.event("established");
    assert!(matches!(established, CmEvent::Established { .. }), "{established:?}");

    let mut data = data;
    for round in 0..rounds {
        let ping = end.done("a ping", Operation::Recv, u64::from(round) % 4);
        assert_eq!(ping.len, 16);
        let bytes = &received[(round % 4) as usize];
        let remote = Remote {
            address: u64::from_le_bytes(bytes[..8].try_into().unwrap()),
            key: u32::from_le_bytes(bytes[8..12].try_into().unwrap()),
        };
        end.recv(conn, u64::from(round) % 4, &received[(round % 4) as usize], 64);
        let sge = end.sge(conn, &data, SIZE);
        end.send(conn, &[send_request(100, SendOp::Read(remote), sge)]);
        end.done("a read", Operation::Send, 100);
        assert!(data.iter().enumerate().all(|(index, byte)| *byte == pattern(round, index)), "what was read");
        data.iter_mut().for_each(|byte| *byte = !*byte);
        let mut write = send_request(101, SendOp::Write(remote), sge);
        write.signaled = false;
        let text = end.sge(conn, &answer, 4);
        // The last answer takes the right to the memory back with it. (rxe cannot do that with memory of user space.)
        let op = if round + 1 == rounds && kind == Kind::Iwarp {
            SendOp::SendInvalidate { key: remote.key }
        } else {
            SendOp::Send
        };
        end.send(conn, &[write, send_request(102, op, text)]);
        end.done("an answer sent", Operation::Send, 102);
    }
    let gone = end.event("the client to leave");
    assert!(matches!(gone, CmEvent::Disconnected { ending: Ending::Orderly, .. }), "{gone:?}");
    for _ in 0..4 {
        let flushed = end.completion("flushed receives");
        assert_eq!((flushed.status, flushed.operation), (WcStatus::Flushed, Operation::Recv));
    }
    end.verbs.destroy(conn);

    // A peer that uses a key it does not have.
    let CmEvent::Requested { conn, .. } = end.event("a request") else { panic!("not a request") };
    end.verbs.create_qp(conn, &CAPS).unwrap();
    end.recv(conn, 0, &received[0], 64);
    end.verbs.accept(conn, &ConnParams { private_data: &[], depths: SERVER }).unwrap();
    let established = end.event("established");
    assert!(matches!(established, CmEvent::Established { .. }), "{established:?}");
    end.done("a first message", Operation::Recv, 0);
    let wrong = Remote { address: 4096, key: 0x0BAD_0000 };
    let sge = end.sge(conn, &data, 64);
    let write = send_request(7, SendOp::Write(wrong), sge);
    end.send(conn, &[write]);
    end.until("the end of a connection that broke the rules", |end| {
        let over = end.events.iter().any(|event| matches!(event, CmEvent::Disconnected { .. }));
        let refused = end.completions.iter().any(|done| done.id == 7 && done.status != WcStatus::Success);
        (over || refused).then_some(())
    });
    println!("         wrong key: {:?}, {:?}", end.completions, end.events);
    end.verbs.destroy(conn);
    end.events.clear();
    end.completions.clear();
    end.verbs.unlisten(listener);
}

fn ping(end: &mut End, to: SocketAddr, rounds: u32) {
    let received: Vec<Buffer> = (0..4).map(|_| end.buffer(64)).collect();
    let (conn, answer) = end.ask(to, b"to be rejected", &received);
    let CmEvent::Rejected { private_data, .. } = &answer else { panic!("not rejected: {answer:?}") };
    println!("         rejected with {:?}", String::from_utf8_lossy(private_data).trim_end_matches('\0'));
    end.verbs.destroy(conn);
    end.completions.clear();

    let (conn, answer) = end.ask(to, b"hello from the client", &received);
    let CmEvent::Established { private_data, depths, .. } = answer else {
        panic!("not established: {answer:?}")
    };
    assert!(private_data.starts_with(b"hello from the server"), "{private_data:?}");
    assert_eq!(depths, CLIENT, "what holds");
    let mut data = end.buffer(SIZE);
    let mut text = end.buffer(64);
    let start = Instant::now();
    for round in 0..rounds {
        data.iter_mut().enumerate().for_each(|(index, byte)| *byte = pattern(round, index));
        let address = data.as_mut_ptr();
        // SAFETY: the buffer outlives the connection, and is left alone until the answer has come.
        let exposed =
            unsafe { end.verbs.expose(conn, data.region(), address, SIZE, RemoteAccess::Write) }.unwrap();
        text[..8].copy_from_slice(&exposed.address.to_le_bytes());
        text[8..12].copy_from_slice(&exposed.key.to_le_bytes());
        let sge = end.sge(conn, &text, 16);
        end.send(conn, &[send_request(200, SendOp::Send, sge)]);
        let (mut sent, mut answered) = (false, false);
        while !(sent && answered) {
            let done = end.completion("ping and answer");
            assert_eq!(done.status, WcStatus::Success, "{done:?}");
            match done.operation {
                Operation::Send => sent = true,
                Operation::Recv => {
                    answered = true;
                    assert_eq!((done.id, done.len), (u64::from(round) % 4, 4));
                    end.recv(conn, done.id, &received[done.id as usize], 64);
                    if round + 1 == rounds {
                        println!(
                            "         answer with invalidate: {:?} of key {:#x}",
                            done.invalidated, exposed.key
                        );
                    }
                }
            }
        }
        assert!(
            data.iter().enumerate().all(|(index, byte)| *byte == !pattern(round, index)),
            "what was written"
        );
    }
    println!("         {rounds} rounds of 64 KiB both ways in {:?}, busy {}", start.elapsed(), end.busy);
    end.verbs.disconnect(conn);
    let gone = end.event("disconnected");
    assert!(matches!(gone, CmEvent::Disconnected { ending: Ending::Orderly, .. }), "{gone:?}");
    for _ in 0..4 {
        assert_eq!(end.completion("flushed receives").status, WcStatus::Flushed);
    }
    end.verbs.destroy(conn);

    let (conn, answer) = end.ask(to, b"", &received);
    assert!(matches!(answer, CmEvent::Established { .. }), "{answer:?}");
    let sge = end.sge(conn, &text, 4);
    end.send(conn, &[send_request(201, SendOp::Send, sge)]);
    end.until("the end of a connection whose peer broke the rules", |end| {
        let over = end.events.iter().any(|event| matches!(event, CmEvent::Disconnected { .. }));
        over.then_some(())
    });
    println!("         the victim of the wrong key: {:?}", end.events);
    end.verbs.destroy(conn);
    end.events.clear();
    end.completions.clear();
}

fn both(at: SocketAddr, busy: bool, rounds: u32) -> Option<(Device, SocketAddr)> {
    let (said, hear) = mpsc::channel();
    let server = std::thread::spawn(move || serve(&mut End::open(busy), rounds, &said, at));
    let mut client = End::open(busy);
    let to = hear.recv_timeout(PATIENCE).ok()?;
    ping(&mut client, to, rounds);
    server.join().ok()?;

    // Nobody listens there any more.
    let (conn, answer) = client.ask(to, b"", &[]);
    let CmEvent::Failed { error, .. } = &answer else { panic!("not failed: {answer:?}") };
    println!("         nobody there: {error} ({:?})", error.kind());
    assert_eq!(error.kind(), ErrorKind::Refused);
    let device = client.verbs.device(conn)?.clone();
    client.verbs.destroy(conn);
    Some((device, to))
}

/// Engines dropped at every moment of a connection's life; nothing may hang, crash or be left over.
fn dropped_early(at: SocketAddr) {
    for moment in 0..4 {
        let mut server = End::open(false);
        let (_, to) = server.verbs.listen(at).unwrap();
        let mut client = End::open(false);
        let buffers: Vec<Buffer> = (0..2).map(|_| client.buffer(64)).collect();
        let conn = client.verbs.connect(to, None, PATIENCE).unwrap();
        if moment >= 1 {
            assert!(matches!(client.event("resolved"), CmEvent::Resolved { .. }));
            client.verbs.create_qp(conn, &CAPS).unwrap();
            client.recv(conn, 0, &buffers[0], 64);
        }
        if moment >= 2 {
            client.verbs.request(conn, &ConnParams { private_data: b"x", depths: CLIENT }).unwrap();
        }
        if moment >= 3 {
            let CmEvent::Requested { conn, .. } = server.event("a request") else { panic!("not a request") };
            server.verbs.create_qp(conn, &CAPS).unwrap();
            server.verbs.accept(conn, &ConnParams { private_data: b"", depths: SERVER }).unwrap();
        }
        drop(client);
        drop(server);
        drop(buffers);
    }
    // So is a connection attempt that is under way, whatever it waits for.
    let start = Instant::now();
    let mut client = End::open(false);
    let silent = SocketAddr::new(at.ip(), 9);
    let conn = client.verbs.connect(silent, None, PATIENCE).unwrap();
    client.event("resolved");
    client.verbs.create_qp(conn, &CAPS).unwrap();
    client.verbs.request(conn, &ConnParams { private_data: b"x", depths: CLIENT }).unwrap();
    client.verbs.destroy(conn);
    client.verbs.disconnect(conn);
    drop(client);
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
}

/// Connects and disconnects, over and over: slots, queue pair numbers and completion queue entries are used again.
fn again_and_again(at: SocketAddr, times: u32) {
    let mut server = End::open(false);
    let (_, to) = server.verbs.listen(at).unwrap();
    let mut client = End::open(false);
    let server_buffer = server.buffer(64);
    let client_buffer = client.buffer(64);
    for _ in 0..times {
        let conn = client.verbs.connect(to, None, PATIENCE).unwrap();
        assert!(matches!(client.event("resolved"), CmEvent::Resolved { .. }));
        client.verbs.create_qp(conn, &CAPS).unwrap();
        client.recv(conn, 1, &client_buffer, 64);
        client.verbs.request(conn, &ConnParams { private_data: b"again", depths: CLIENT }).unwrap();
        let CmEvent::Requested { conn: passive, .. } = server.event("a request") else {
            panic!("not a request")
        };
        server.verbs.create_qp(passive, &CAPS).unwrap();
        server.recv(passive, 2, &server_buffer, 64);
        server.verbs.accept(passive, &ConnParams { private_data: b"", depths: SERVER }).unwrap();
        assert!(matches!(client.event("established"), CmEvent::Established { .. }));
        assert!(matches!(server.event("established"), CmEvent::Established { .. }));
        let sge = client.sge(conn, &client_buffer, 8);
        client.send(conn, &[send_request(3, SendOp::Send, sge)]);
        client.done("sent", Operation::Send, 3);
        server.done("received", Operation::Recv, 2);
        // Without a word: what is left in the queues must not be taken for the next connection's.
        client.verbs.destroy(conn);
        assert!(matches!(server.event("gone"), CmEvent::Disconnected { .. }));
        server.verbs.destroy(passive);
        assert!(client.completions.is_empty() && server.completions.is_empty());
    }
}

fn hold(at: SocketAddr) {
    let mut server = End::open(false);
    let (_, to) = server.verbs.listen(at).unwrap();
    let mut client = End::open(false);
    let buffers = [client.buffer(64)];
    let conn = client.verbs.connect(to, None, PATIENCE).unwrap();
    let resolved = client.event("resolved");
    assert!(matches!(resolved, CmEvent::Resolved { .. }), "{resolved:?}");
    client.verbs.create_qp(conn, &CAPS).unwrap();
    client.recv(conn, 0, &buffers[0], 64);
    client.verbs.request(conn, &ConnParams { private_data: b"x", depths: CLIENT }).unwrap();
    let CmEvent::Requested { conn: passive, .. } = server.event("a request") else { panic!("not a request") };
    server.verbs.create_qp(passive, &CAPS).unwrap();
    server.verbs.accept(passive, &ConnParams { private_data: b"", depths: SERVER }).unwrap();
    assert!(matches!(client.event("established"), CmEvent::Established { .. }));
    println!("ok       holding a connection");
    let begun = Instant::now();
    for (end, conn) in [(&mut client, conn), (&mut server, passive)] {
        end.until("the removal", |end| {
            let over = |event: &CmEvent| {
                matches!(event, CmEvent::DeviceRemoved { .. } | CmEvent::Disconnected { .. })
            };
            end.events.iter().any(over).then_some(())
        });
        println!("         after {:?}: {:?}", begun.elapsed(), end.events);
        end.verbs.destroy(conn);
    }
    // The memory is still there, and no longer the device's.
    drop((client, server));
    drop(buffers);
    println!("ok       the device was removed under a connection");
    println!(
        "         left: {:?}",
        RdmaCore::new().devices().iter().map(|d| d.name.clone()).collect::<Vec<_>>()
    );
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["devices"] => {
            println!("{:#?}", RdmaCore::new().report());
            println!("{:#?}", RdmaCore::new().least());
        }
        ["offer", at] => {
            println!("{:?}", RdmaCore::new().offer(&Target::new(Wire::RDMA, at.parse().unwrap())));
        }
        ["self", at] => {
            let at: SocketAddr = at.parse().unwrap();
            for busy in [false, true] {
                let Some((device, _)) = both(at, busy, 20) else { return ExitCode::FAILURE };
                println!(
                    "ok       ping over {} ({}), {}",
                    device.name,
                    device.kind,
                    if busy { "busy" } else { "events" }
                );
                assert!(device.kind != Kind::Iwarp || device.max_read_sge == 1);
            }
            again_and_again(at, 50);
            println!("ok       50 connections one after the other");
            dropped_early(at);
            println!("ok       engines dropped at every moment");
        }
        ["hold", at] => hold(at.parse().unwrap()),
        _ => {
            eprintln!(
                "usage: verbs_ping devices | offer ADDRESS:PORT | self ADDRESS:PORT | hold ADDRESS:PORT"
            );
            return ExitCode::from(2);
        }
    }
    ExitCode::SUCCESS
}
