//! Raw throughput of the two engines over loopback: a controller thread that answers from memory, a host thread that keeps
//! its queue full. No NVMe above the transport, so what it shows is the transport's own cost.
//!
//! `cargo run --release --example loop -- [read|write] [--size BYTES] [--depth N] [--seconds N] [--queues N]
//! [--header-digest] [--data-digest] [--sq-flow-control] [--host-cpu N] [--controller-cpu N] [--block]`

#![expect(clippy::disallowed_methods, reason = "a driver: it reads the clock")]

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use nvmf_tcp::{Tcp, TcpConfig, pdu::DigestPolicy};
use nvmf_transport::{
    Command, ConnectOptions, ControllerEngine, ControllerEvent, Data, Gather, HostEngine, HostEvent,
    QueueKind, QueueSettings, Region, RequestData, Target, WaitPolicy, Waiter, Wire,
};
use nvmf_wire::{Cqe, IoOpcode, Sqe, Status};

type Failure = Box<dyn std::error::Error + Send + Sync>;

#[derive(Clone)]
struct Arguments {
    write: bool,
    size: usize,
    depth: u16,
    seconds: u64,
    queues: u16,
    header_digest: bool,
    data_digest: bool,
    sq_flow_control: bool,
    host_cpu: Option<usize>,
    controller_cpu: Option<usize>,
    wait: WaitPolicy,
    in_capsule: u32,
    scratch: usize,
}

fn arguments() -> Result<Arguments, Failure> {
    let mut a = Arguments {
        write: false,
        size: 4096,
        depth: 32,
        seconds: 3,
        queues: 1,
        header_digest: false,
        data_digest: false,
        sq_flow_control: false,
        host_cpu: None,
        controller_cpu: None,
        wait: WaitPolicy::default(),
        in_capsule: 16 * 1024,
        scratch: 256 * 1024,
    };
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        let mut value = || args.next().ok_or(format!("{arg} wants a value"));
        match arg.as_str() {
            "read" => a.write = false,
            "write" => a.write = true,
            "--size" => a.size = value()?.parse()?,
            "--depth" => a.depth = value()?.parse()?,
            "--seconds" => a.seconds = value()?.parse()?,
            "--queues" => a.queues = value()?.parse()?,
            "--host-cpu" => a.host_cpu = Some(value()?.parse()?),
            "--controller-cpu" => a.controller_cpu = Some(value()?.parse()?),
            "--in-capsule" => a.in_capsule = value()?.parse()?,
            "--scratch" => a.scratch = value()?.parse()?,
            "--header-digest" => a.header_digest = true,
            "--data-digest" => a.data_digest = true,
            "--sq-flow-control" => a.sq_flow_control = true,
            "--block" => a.wait = WaitPolicy::Block,
            "--spin" => a.wait = WaitPolicy::Spin,
            other => return Err(format!("unknown argument {other}").into()),
        }
    }
    Ok(a)
}

fn pin(cpu: Option<usize>) {
    if let Some(cpu) = cpu {
        let mut set = rustix::thread::CpuSet::new();
        set.set(cpu);
        let _ = rustix::thread::sched_setaffinity(None, &set);
    }
}

/// Processor time of this thread; zero where the system does not say. A file, because valgrind cannot follow rustix's clock.
fn cpu_time() -> Duration {
    let schedstat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    Duration::from_nanos(schedstat.split(' ').next().and_then(|ns| ns.parse().ok()).unwrap_or_default())
}

fn main() -> Result<(), Failure> {
    let a = arguments()?;
    let digest = |on| if on { DigestPolicy::On } else { DigestPolicy::Off };
    let mut config = TcpConfig { in_capsule: a.in_capsule, scratch: a.scratch, ..TcpConfig::default() };
    config.host.header_digest = digest(a.header_digest);
    config.host.data_digest = digest(a.data_digest);
    let tcp = Tcp::new(config)?;

    let mut controller = tcp.controller()?;
    let at = controller.listen(&Target::new(Wire::TCP, "127.0.0.1:0".parse()?))?;
    let stop = Arc::new(AtomicBool::new(false));
    let (flag, b) = (Arc::clone(&stop), a.clone());
    let target = thread::spawn(move || serve(controller, &b, &flag));
    let host = drive(tcp.host()?, Target::new(Wire::TCP, at.address), &a);
    stop.store(true, Ordering::Relaxed);
    let (served, busy) = target.join().map_err(|_| "the controller thread panicked")??;
    let (done, elapsed, host_busy) = host?;

    let per_io = |busy: Duration, n: u64| busy.as_secs_f64() * 1e6 / n.max(1) as f64;
    println!(
        "{} {} B depth {} x{}: {:.0} IOPS, {:.0} MiB/s, {:.2} us/IO; CPU per IO: host {:.2} us, controller {:.2} us",
        if a.write { "write" } else { "read" },
        a.size,
        a.depth,
        a.queues,
        done as f64 / elapsed.as_secs_f64(),
        done as f64 * a.size as f64 / elapsed.as_secs_f64() / f64::from(1 << 20),
        elapsed.as_secs_f64() * 1e6 / done.max(1) as f64,
        per_io(host_busy, done),
        per_io(busy, served),
    );
    Ok(())
}

/// Answers every read from one region, and every write once its data is here.
fn serve(
    mut engine: impl ControllerEngine,
    a: &Arguments,
    stop: &AtomicBool,
) -> Result<(u64, Duration), Failure> {
    pin(a.controller_cpu);
    let store = Region::allocate(16 << 20)?.into_buffer().freeze();
    let memory = engine.memory();
    let mut spare: Vec<nvmf_transport::Buffer> = Vec::new();
    let mut waiter = Waiter::new(a.wait);
    let (mut events, mut served, mut at) = (Vec::new(), 0u64, 0usize);
    let begin = cpu_time();
    while !stop.load(Ordering::Relaxed) {
        let now = Instant::now();
        engine.poll(now, &mut events)?;
        if events.is_empty() {
            let until = engine
                .next_timeout()
                .unwrap_or(now + Duration::from_millis(50))
                .min(now + Duration::from_millis(50));
            waiter.idle(now, &[engine.wait_handle()], Some(until));
            continue;
        }
        waiter.worked(now);
        for event in events.drain(..) {
            match event {
                ControllerEvent::Accepted { queue, .. } => {
                    engine.configure(
                        queue,
                        QueueSettings {
                            kind: QueueKind::Io(1),
                            depth: a.depth + 1,
                            sq_flow_control: a.sq_flow_control,
                        },
                    )?;
                }
                ControllerEvent::Command { request, sqe, data } => {
                    let mut answer = Gather::new();
                    match data {
                        Err(status) => {
                            engine.respond(request, Cqe::error(sqe.cid(), status), answer)?;
                            continue;
                        }
                        Ok(RequestData::Remote { len }) if sqe.opcode == IoOpcode::WRITE.0 => {
                            let buffer = match spare.pop() {
                                Some(buffer) => buffer,
                                None => memory.allocate(len as usize)?,
                            };
                            engine.fetch(request, 0, buffer)?;
                            continue;
                        }
                        Ok(RequestData::Remote { len }) => {
                            let len = len as usize;
                            at = if at + 2 * len > store.len() { 0 } else { at + len };
                            answer.push(store.slice(at..at + len));
                        }
                        Ok(RequestData::InCapsule(_) | RequestData::None) => {}
                    }
                    served += 1;
                    engine.respond(request, Cqe::success(sqe.cid()), answer)?;
                }
                ControllerEvent::Fetched { request, data, outcome, .. } => {
                    spare.push(data);
                    served += 1;
                    let status = outcome.err().unwrap_or(Status::SUCCESS);
                    engine.respond(request, Cqe::error(nvmf_wire::Cid(0), status), Gather::new())?;
                }
                ControllerEvent::Closed { reason, .. } => eprintln!("controller: {reason}"),
                _ => {}
            }
        }
    }
    Ok((served, cpu_time() - begin))
}

/// Keeps every queue full for the given time.
fn drive(
    mut engine: impl HostEngine,
    target: Target,
    a: &Arguments,
) -> Result<(u64, Duration, Duration), Failure> {
    pin(a.host_cpu);
    let memory = engine.memory();
    for _ in 0..a.queues {
        engine.connect(
            &target,
            &ConnectOptions {
                kind: QueueKind::Io(1),
                depth: a.depth + 1,
                max_in_capsule: a.in_capsule,
                timeout: Duration::from_secs(60),
                source: None,
            },
        )?;
    }
    let mut waiter = Waiter::new(a.wait);
    let (mut events, mut done) = (Vec::new(), 0u64);
    let mut begin = (Instant::now(), cpu_time(), 0);
    let mut warm = false;
    let sqe = Sqe::io(if a.write { IoOpcode::WRITE } else { IoOpcode::READ }, 1);
    loop {
        let now = Instant::now();
        engine.poll(now, &mut events)?;
        if events.is_empty() {
            waiter.idle(now, &[engine.wait_handle()], engine.next_timeout());
            continue;
        }
        waiter.worked(now);
        if !warm && now - begin.0 > Duration::from_millis(300) {
            (warm, begin) = (true, (now, cpu_time(), done));
        }
        if now - begin.0 > Duration::from_secs(a.seconds) {
            return Ok((done - begin.2, now - begin.0, cpu_time() - begin.1));
        }
        for event in events.drain(..) {
            match event {
                HostEvent::Connected { queue, .. } => {
                    engine.configure(
                        queue,
                        QueueSettings {
                            kind: QueueKind::Io(1),
                            depth: a.depth + 1,
                            sq_flow_control: a.sq_flow_control,
                        },
                    )?;
                    for _ in 0..a.depth {
                        let buffer = memory.allocate(a.size)?;
                        let data =
                            if a.write { Data::ToController(buffer) } else { Data::FromController(buffer) };
                        engine.submit(queue, Command { sqe, data, cookie: 0 })?;
                    }
                }
                HostEvent::Completed { queue, cqe, data, .. } => {
                    if !cqe.status().is_success() {
                        return Err(format!("a command failed: {:?}", cqe.status()).into());
                    }
                    done += 1;
                    engine.submit(queue, Command { sqe, data, cookie: 0 })?;
                }
                HostEvent::Closed { reason, .. } => return Err(format!("closed: {reason}").into()),
                _ => {}
            }
        }
    }
}
