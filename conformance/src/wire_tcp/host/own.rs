//! This project's host, at the level of its transport.

use std::{
    net::SocketAddr,
    num::NonZeroU32,
    time::{Duration, Instant},
};

use nvmf_tcp::{
    Tcp, TcpConfig,
    pdu::{DigestPolicy, HostTerms},
};
use nvmf_transport::{
    Close, Command, Data, Engine as _, HostEngine as _, HostEvent, QueueKind, QueueSettings, WaitPolicy,
    Waiter, Wire,
};
use nvmf_wire::{IoOpcode, Sqe};

use super::{HostUnderTest, Report, SIZE, Wanted, written};
use crate::{Context as _, Stop, check, world::options};

/// The host of `nvmf-tcp`.
#[derive(Clone, Copy, Debug, Default)]
pub struct OwnHost;

/// Longer than any case takes.
const LIMIT: Duration = Duration::from_secs(20);

/// How long the host waits for ICResp.
const CONNECT: Duration = Duration::from_millis(700);

impl HostUnderTest for OwnHost {
    fn run(&self, address: SocketAddr, wanted: Wanted) -> Result<Report, Stop> {
        let digest = if wanted.digests { DigestPolicy::On } else { DigestPolicy::Off };
        let max_r2t = NonZeroU32::MIN.saturating_add(wanted.maxr2t);
        let terms = HostTerms { header_digest: digest, data_digest: digest, max_r2t, ..HostTerms::default() };
        let config = TcpConfig { host: terms, linger: Duration::from_millis(300), ..TcpConfig::default() };
        let mut engine = Tcp::new(config).doing("a configuration")?.host().doing("an engine")?;
        let kind = QueueKind::Admin;
        let target = nvmf_transport::Target::new(Wire::TCP, address);
        let asked = nvmf_transport::ConnectOptions { timeout: CONNECT, ..options(kind, 32) };
        let queue = engine.connect(&target, &asked).doing("to connect")?;
        let mut waiter = Waiter::new(WaitPolicy::Block);
        let (mut report, mut events) = (Report::default(), Vec::new());
        #[expect(clippy::disallowed_methods, reason = "this is a driving loop")]
        let until = Instant::now() + LIMIT;
        loop {
            #[expect(clippy::disallowed_methods, reason = "this is a driving loop")]
            let now = Instant::now();
            check!(now < until, "the host does not come to an end: {report:?}");
            engine.poll(now, &mut events).doing("the host's poll")?;
            if events.is_empty() {
                let next = engine.next_timeout().into_iter().chain([until]).min();
                waiter.idle(now, &[engine.wait_handle()], next);
            }
            for event in events.drain(..) {
                match event {
                    HostEvent::Connected { .. } => {
                        report.connected = true;
                        let sq_flow_control = !wanted.no_flow_control;
                        let settings = QueueSettings { kind, depth: 32, sq_flow_control };
                        engine.configure(queue, settings).doing("to configure")?;
                        let mut out = engine.memory().allocate(SIZE).doing("memory")?;
                        out.iter_mut().enumerate().for_each(|(n, byte)| *byte = written(n));
                        let room = engine.memory().allocate(SIZE).doing("memory")?;
                        let write = Command {
                            sqe: Sqe::io(IoOpcode::WRITE, 1),
                            data: Data::ToController(out),
                            cookie: 1,
                        };
                        let read = Command {
                            sqe: Sqe::io(IoOpcode::READ, 1),
                            data: Data::FromController(room),
                            cookie: 2,
                        };
                        for command in [write, read] {
                            engine
                                .submit(queue, command)
                                .map_err(|refused| Stop::failed(refused.to_string()))?;
                        }
                    }
                    HostEvent::Completed { cookie: 1, cqe, .. } => {
                        report.repeated += usize::from(report.write.is_some());
                        report.write = Some(cqe.status().code().raw());
                    }
                    HostEvent::Completed { cqe, transferred, data, .. } => {
                        report.repeated += usize::from(report.read.is_some());
                        let bytes = data.into_buffer().map(|buffer| buffer.to_vec()).unwrap_or_default();
                        report.read = Some((cqe.status().code().raw(), transferred as usize, bytes));
                    }
                    HostEvent::Closed { reason, .. } => {
                        report.end = reason.to_string();
                        return Ok(report);
                    }
                    _ => {}
                }
            }
            if report.write.is_some() && report.read.is_some() && report.end.is_empty() {
                // Both are done; what the tester still says shall be heard before the end.
                report.end = "done".into();
                let pause = now + Duration::from_millis(150);
                while now_is_before(pause) {
                    waiter.idle(now, &[engine.wait_handle()], Some(pause));
                    engine.poll(now_is(), &mut events).doing("the host's poll")?;
                    for event in events.drain(..) {
                        match event {
                            HostEvent::Completed { .. } => report.repeated += 1,
                            HostEvent::Closed { reason, .. } => {
                                report.end = reason.to_string();
                                return Ok(report);
                            }
                            _ => {}
                        }
                    }
                }
                engine.close(queue, Close::AfterFlush);
                report.end.clear();
            }
        }
    }
}

fn now_is() -> Instant {
    #[expect(clippy::disallowed_methods, reason = "this is a driving loop")]
    Instant::now()
}

fn now_is_before(limit: Instant) -> bool {
    now_is() < limit
}
