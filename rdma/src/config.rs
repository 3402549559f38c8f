//! What can be set of the transport, and what the values may be.
//!
//! One value serves both roles; what matters to one of them only says so.

use std::time::Duration;

use nvmf_transport::{DigestBy, InCapsule, Limits, SglKinds};
use nvmf_wire::SglDescriptor;

use crate::{
    conn::Patience,
    verbs::{Capacity, Device, KeyScope, Kind},
};

/// Everything that can be set.
#[derive(Clone, Debug)]
pub struct RdmaConfig {
    /// Controller: in-capsule data taken on I/O queues (what IOCCSZ says, less the command). Every receive has room for it.
    pub in_capsule: u32,
    /// Bytes between a command and its in-capsule data: what ICDOFF says, times 16. Both sides must mean the same.
    pub in_capsule_offset: u32,
    /// The most data of one command.
    pub max_transfer: u32,
    /// The largest queue, in entries.
    pub max_depth: u16,
    /// Controller: SGL descriptors of one command, as far as its capsule has room for them.
    pub max_descriptors: u16,
    /// Controller: fetches of one request that may be outstanding; those beyond the read depth wait their turn.
    pub max_fetches: u16,
    /// RDMA READs outstanding on a connection: issued by a controller, served by a host; the device may lower it.
    pub read_depth: u8,
    /// Inline bytes wished for: a completion has 16, a command 64. The device may lower it.
    pub inline: u32,
    /// Controller: how long a connection that was accepted may take to come up. (A host's limit comes with each connect call.)
    pub negotiate_timeout: Duration,
    /// How long anything that was posted may take to complete.
    pub stall_timeout: Duration,
    /// How long to wait for everything to complete when a connection is being closed.
    pub flush_timeout: Duration,
    /// How long to wait for the peer to close after this side has.
    pub linger: Duration,
    /// Controller: connections the system holds that are not seen yet.
    pub backlog: u16,
    /// Controller: connections of an engine that may be coming up at a time; the oldest gives way to a new one.
    pub max_negotiating: usize,
    /// Connections of an engine.
    pub max_connections: usize,
    /// Work requests that all connections of an engine may have outstanding: the size of completion queues, where a device
    /// cannot resize them.
    pub max_completions: u32,
}

impl Default for RdmaConfig {
    fn default() -> Self {
        Self {
            in_capsule: 8 * 1024,
            in_capsule_offset: 0,
            max_transfer: 8 << 20,
            max_depth: 1024,
            max_descriptors: 16,
            max_fetches: 16,
            read_depth: 32,
            inline: 64,
            negotiate_timeout: Duration::from_secs(10),
            stall_timeout: Duration::from_secs(60),
            flush_timeout: Duration::from_secs(5),
            linger: Duration::from_secs(1),
            backlog: 1024,
            max_negotiating: 256,
            max_connections: 4096,
            max_completions: 64 * 1024,
        }
    }
}

/// A value that is out of its range.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field} = {value}: must be {rule}")]
pub struct ConfigError {
    /// The field of [`RdmaConfig`].
    pub field: &'static str,
    /// What it was set to.
    pub value: String,
    /// What it may be.
    pub rule: &'static str,
}

/// The most in-capsule data that can be asked for: every receive of every queue has room for it.
const IN_CAPSULE_MAX: u32 = 64 * 1024;

/// The most data of a command: what a keyed descriptor can say, in whole pages.
const TRANSFER_MAX: u32 = SglDescriptor::MAX_KEYED_LENGTH & !0xFFF;

impl RdmaConfig {
    /// Checks every value.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let check = |field, value: u128, fine: bool, rule| match fine {
            true => Ok(()),
            false => Err(ConfigError { field, value: value.to_string(), rule }),
        };
        let v = u128::from(self.in_capsule);
        let fine = self.in_capsule <= IN_CAPSULE_MAX && v.is_multiple_of(16);
        check("in_capsule", v, fine, "a multiple of 16, at most 65536")?;
        let v = u128::from(self.in_capsule_offset);
        check("in_capsule_offset", v, v.is_multiple_of(16) && v <= 4096, "a multiple of 16, at most 4096")?;
        let v = u128::from(self.max_transfer);
        let fine = (4096..=TRANSFER_MAX).contains(&self.max_transfer);
        check("max_transfer", v, fine, "from 4096 to 16773120")?;
        let v = u128::from(self.max_depth);
        check("max_depth", v, (32..=16384).contains(&v), "from 32 to 16384")?;
        let v = u128::from(self.max_descriptors);
        check("max_descriptors", v, (1..=256).contains(&v), "from 1 to 256")?;
        let v = u128::from(self.max_fetches);
        check("max_fetches", v, v >= 1, "at least 1")?;
        let v = u128::from(self.read_depth);
        check("read_depth", v, v >= 1, "at least 1")?;
        let v = u128::from(self.inline);
        check("inline", v, v <= 4096, "at most 4096")?;
        for (field, value) in [
            ("negotiate_timeout (ms)", self.negotiate_timeout),
            ("stall_timeout (ms)", self.stall_timeout),
            ("flush_timeout (ms)", self.flush_timeout),
            ("linger (ms)", self.linger),
        ] {
            let fine = !value.is_zero() && value <= Duration::from_secs(3600);
            check(field, value.as_millis(), fine, "more than 0 and at most an hour")?;
        }
        let v = self.max_negotiating as u128;
        check("max_negotiating", v, v >= 1, "at least 1")?;
        let v = self.max_connections as u128;
        check("max_connections", v, v >= 1, "at least 1")?;
        let v = u128::from(self.max_completions);
        check("max_completions", v, v >= 64, "at least 64")
    }

    pub(crate) fn patience(&self) -> Patience {
        Patience {
            negotiate: self.negotiate_timeout,
            stall: self.stall_timeout,
            flush: self.flush_timeout,
            linger: self.linger,
        }
    }

    pub(crate) fn capacity(&self) -> Capacity {
        Capacity {
            connections: self.max_connections,
            completions: self.max_completions,
            backlog: self.backlog,
        }
    }

    /// The limits on a device, before anything is negotiated.
    pub(crate) fn limits(&self, device: &Device) -> Limits {
        let mut limits = Limits::default();
        let room = |wanted: u32| if device.max_recv_sge >= 2 { wanted } else { 0 };
        limits.max_transfer = self.max_transfer;
        // The admin queue's command capsule has 64 bytes, and so no room for data (RDMA Transport 1.0 §3.3).
        limits.max_in_capsule = InCapsule { admin: 0, io: room(self.in_capsule) };
        limits.max_depth =
            self.max_depth.min(u16::try_from(device.max_qp_wr / 3).unwrap_or(u16::MAX)).max(32);
        limits.sgl = SglKinds::IN_CAPSULE | SglKinds::KEYED | SglKinds::KEYED_INVALIDATE;
        // Several travel in the capsule.
        let listed = u16::try_from(limits.max_in_capsule.io / 16).unwrap_or(u16::MAX);
        limits.max_descriptors = self.max_descriptors.min(listed).max(1);
        limits.max_segments = device.max_send_sge;
        limits.max_fetches = self.max_fetches;
        limits.remote_invalidate = device.send_invalidate && device.key_scope == KeyScope::Command;
        if device.kind == Kind::Iwarp {
            // MPA's CRC protects headers and data alike; who computes it depends on the device.
            limits.data_digest = DigestBy::None;
        }
        limits
    }
}
