//! What can be set of the transport, and what the values may be.
//!
//! One value serves both roles: the `host` terms matter to host engines, the `controller` terms to controller engines.

use std::{num::NonZeroU32, time::Duration};

use nvmf_transport::{DigestBy, InCapsule, Limits, SglKinds};

use crate::{
    conn::{Patience, SCRATCH_MIN},
    pdu::{ADMIN_IN_CAPSULE, ControllerTerms, HostTerms, Negotiated},
};

/// TCP keepalive: how a connection notices that its peer is gone while nothing is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keepalive {
    /// Silence before the first probe.
    pub idle: Duration,
    /// Time between probes.
    pub interval: Duration,
    /// Unanswered probes after which the connection is dead.
    pub probes: u32,
}

/// Everything that can be set.
#[derive(Clone, Debug)]
pub struct TcpConfig {
    /// What a host asks for in ICReq.
    pub host: HostTerms,
    /// What a controller grants in ICResp.
    pub controller: ControllerTerms,
    /// Controller: in-capsule data taken on I/O queues (what IOCCSZ says, less the command).
    pub in_capsule: u32,
    /// Controller: most data in one C2HData PDU; a multiple of 4.
    pub max_c2h_data: u32,
    /// The most data of one command.
    pub max_transfer: u32,
    /// The largest queue, in entries.
    pub max_depth: u16,
    /// Controller: fetches of one request that may be outstanding; those beyond the host's MAXR2T wait their turn.
    pub max_fetches: u16,
    /// Controller: in-capsule buffers of an engine that may be in use at a time.
    pub in_capsule_buffers: usize,
    /// Controller: how long a host may take for ICReq. (A host's limit comes with each connect call.)
    pub negotiate_timeout: Duration,
    /// How long to wait for a peer to take one more byte.
    pub stall_timeout: Duration,
    /// How long to wait for a peer to take what is left when a connection is being closed.
    pub flush_timeout: Duration,
    /// How long to wait, after a last word such as a termination request, for the peer to close. At most 30 s.
    pub linger: Duration,
    /// TCP keepalive; `None` leaves it off.
    pub keepalive: Option<Keepalive>,
    /// How long sent data may stay unacknowledged before the connection is dead, where the system can do that.
    pub user_timeout: Option<Duration>,
    /// Size of the socket's send buffer; `None` leaves it to the system, which adapts it.
    pub send_buffer: Option<usize>,
    /// Size of the socket's receive buffer; `None` leaves it to the system, which adapts it.
    pub receive_buffer: Option<usize>,
    /// Bytes received in one system call, besides what goes straight to its place. One such memory per engine.
    pub scratch: usize,
    /// Controller: connections the system holds that are not accepted yet.
    pub backlog: u16,
    /// Controller: lets several engines listen on one address (SO_REUSEPORT).
    pub reuse_port: bool,
    /// Controller: connections of an engine that may be negotiating at a time; the oldest gives way to a new one.
    pub max_negotiating: usize,
    /// Controller: connections of an engine.
    pub max_connections: usize,
}

impl Default for TcpConfig {
    fn default() -> Self {
        Self {
            host: HostTerms { max_r2t: NonZeroU32::MIN.saturating_add(3), ..HostTerms::default() },
            controller: ControllerTerms { max_h2c_data: 1 << 20, ..ControllerTerms::default() },
            in_capsule: 16 * 1024,
            max_c2h_data: 256 * 1024,
            max_transfer: 32 << 20,
            max_depth: 1024,
            max_fetches: 16,
            in_capsule_buffers: 8192,
            negotiate_timeout: Duration::from_secs(10),
            stall_timeout: Duration::from_secs(60),
            flush_timeout: Duration::from_secs(5),
            linger: Duration::from_secs(1),
            // spec: TCP-KA-03
            // 15 s: later than the keep alive timeout that hosts ask for by default (5 s), which therefore notices first; early
            // enough for an association without one to notice a pulled cable in seconds.
            keepalive: Some(Keepalive {
                idle: Duration::from_secs(5),
                interval: Duration::from_secs(2),
                probes: 5,
            }),
            user_timeout: Some(Duration::from_secs(15)),
            send_buffer: None,
            receive_buffer: None,
            scratch: 256 * 1024,
            backlog: 1024,
            reuse_port: false,
            max_negotiating: 256,
            max_connections: 16 * 1024,
        }
    }
}

/// A value that is out of its range.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field} = {value}: must be {rule}")]
pub struct ConfigError {
    /// The field of [`TcpConfig`].
    pub field: &'static str,
    /// What it was set to.
    pub value: String,
    /// What it may be.
    pub rule: &'static str,
}

/// The most in-capsule data that can be asked for. IOCCSZ could say more; memory per command is what it costs.
const IN_CAPSULE_MAX: u32 = 64 * 1024;

/// After a termination request a peer has this long to close (NVMe/TCP Transport 1.0 §3.5.1).
const LINGER_MAX: Duration = Duration::from_secs(30);

impl TcpConfig {
    /// Checks every value.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let check = |field, value: u128, fine: bool, rule| match fine {
            true => Ok(()),
            false => Err(ConfigError { field, value: value.to_string(), rule }),
        };
        let v = u128::from(self.in_capsule);
        let fine = self.in_capsule <= IN_CAPSULE_MAX && v.is_multiple_of(16);
        check("in_capsule", v, fine, "a multiple of 16, at most 65536")?;
        let v = u128::from(self.max_c2h_data);
        let fine = v >= 4096 && v.is_multiple_of(4);
        check("max_c2h_data", v, fine, "a multiple of 4 and at least 4096")?;
        let v = u128::from(self.controller.max_h2c_data);
        let fine = v >= 4096 && v.is_multiple_of(4);
        check("controller.max_h2c_data", v, fine, "a multiple of 4 and at least 4096")?;
        let v = u128::from(self.max_transfer);
        check("max_transfer", v, (4096..=1 << 30).contains(&v), "from 4096 to 1073741824")?;
        let v = u128::from(self.max_depth);
        check("max_depth", v, (32..=16384).contains(&v), "from 32 to 16384")?;
        let v = u128::from(self.max_fetches);
        check("max_fetches", v, v >= 1, "at least 1")?;
        let v = self.in_capsule_buffers as u128;
        check("in_capsule_buffers", v, v >= 1, "at least 1")?;
        let v = self.linger.as_millis();
        check("linger (ms)", v, self.linger <= LINGER_MAX, "at most 30 s")?;
        for (field, value) in [
            ("negotiate_timeout (ms)", self.negotiate_timeout),
            ("stall_timeout (ms)", self.stall_timeout),
            ("flush_timeout (ms)", self.flush_timeout),
        ] {
            let fine = !value.is_zero() && value <= Duration::from_secs(3600);
            check(field, value.as_millis(), fine, "more than 0 and at most an hour")?;
        }
        let v = self.scratch as u128;
        let fine = (SCRATCH_MIN..=64 << 20).contains(&self.scratch);
        check("scratch", v, fine, "from 4096 to 67108864")?;
        let v = self.max_negotiating as u128;
        check("max_negotiating", v, v >= 1, "at least 1")?;
        let v = self.max_connections as u128;
        check("max_connections", v, v >= 1, "at least 1")
    }

    pub(crate) fn patience(&self) -> Patience {
        Patience {
            negotiate: self.negotiate_timeout,
            stall: self.stall_timeout,
            flush: self.flush_timeout,
            linger: self.linger,
        }
    }

    /// The limits before anything is negotiated.
    pub(crate) fn limits(&self) -> Limits {
        let mut limits = Limits::default();
        limits.max_transfer = self.max_transfer;
        limits.max_in_capsule = InCapsule { admin: ADMIN_IN_CAPSULE, io: self.in_capsule };
        limits.max_depth = self.max_depth;
        limits.sgl = SglKinds::IN_CAPSULE | SglKinds::TRANSPORT;
        limits.max_segments = 256;
        limits.max_fetches = self.max_fetches;
        limits
    }
}

/// Writes what was negotiated into a queue's limits.
pub(crate) fn sharpen(limits: &mut Limits, negotiated: &Negotiated, by: DigestBy) {
    let who = |on| if on { by } else { DigestBy::None };
    limits.header_digest = who(negotiated.digests.header);
    limits.data_digest = who(negotiated.digests.data);
}
