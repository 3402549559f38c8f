//! One listening port for several wires: a connection belongs to the one that its first byte tells.
//!
//! NVMe/TCP begins with the type of an ICReq PDU, 00h (NVMe/TCP Transport 1.0 §3.6.2.2), and iWARP with the `M` of an MPA
//! request (RFC 5044 §7.1.1): both are spoken first by whoever connects. A connection is accepted once, waits for its first
//! byte, which is looked at and not taken, and goes to the engine of its wire on the same thread. How long a connection may say
//! nothing, and how many may, is bounded.
//!
//! [`SharedPort`] is a transport made of transports, and composes like any other; it knows none of them by name. Deliberately
//! absent: a host's side (a host knows what it wants to speak), and wires whose listener speaks first. `doors.rs` has the
//! sockets, `engine.rs` passes everything on under names of its own.

mod doors;
mod engine;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use nvmf_transport::{
    Advertisement, ControllerEngine, ControllerTransport, Error, Limits, Offer, Target, Transport, Wire,
};

pub use doors::TurnedAway;
pub use engine::SharedPortEngine;

/// The first byte of NVMe/TCP: the PDU type of ICReq.
pub const NVME_TCP: u8 = 0x00;

/// The first byte of iWARP: that of `MPA ID Req Frame`.
pub const IWARP: u8 = b'M';

/// Above every single transport: whoever leaves the wire open gets all of them.
const PREFERENCE: u8 = 90;

/// What can be chosen.
#[derive(Clone, Debug)]
pub struct SharedPortConfig {
    /// How long a connection may take for its first byte.
    pub first_byte_timeout: Duration,
    /// Connections of an engine that have not sent their first byte; the oldest gives way to a new one.
    pub max_undecided: usize,
    /// Connections the system holds that are not accepted yet.
    pub backlog: u16,
}

impl Default for SharedPortConfig {
    fn default() -> Self {
        Self { first_byte_timeout: Duration::from_secs(10), max_undecided: 256, backlog: 1024 }
    }
}

/// Several transports on one port.
pub struct SharedPort {
    name: &'static str,
    config: SharedPortConfig,
    members: Vec<(u8, Arc<dyn ControllerTransport>)>,
}

impl std::fmt::Debug for SharedPort {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SharedPort")
            .field("name", &self.name)
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

impl SharedPort {
    /// No transports yet, under this name.
    #[must_use]
    pub fn new(name: &'static str, config: SharedPortConfig) -> Self {
        Self { name, config, members: Vec::new() }
    }

    /// Adds a transport, whose connections begin with `first_byte`. Its engines must be able to take over accepted connections
    /// (have [`sharing`](ControllerEngine::sharing)).
    #[must_use]
    pub fn with(mut self, first_byte: u8, transport: Arc<dyn ControllerTransport>) -> Self {
        self.members.push((first_byte, transport));
        self
    }

    /// An engine by its own type.
    pub fn engine(&self) -> Result<SharedPortEngine, Error> {
        let mut members = Vec::with_capacity(self.members.len());
        for (first_byte, transport) in &self.members {
            members.push((*first_byte, transport.wire(), transport.controller_engine()?));
        }
        SharedPortEngine::new(self.name, self.config.clone(), members)
    }
}

impl Transport for SharedPort {
    fn name(&self) -> &'static str {
        self.name
    }

    /// That of the first member; each queue has its own.
    fn wire(&self) -> Wire {
        self.members.first().map_or(Wire(0), |(_, first)| first.wire())
    }

    fn offer(&self, target: &Target) -> Offer {
        if target.wire.is_some() {
            return Offer::Decline {
                because: format!("is for listeners that leave the wire open, and {target} does not"),
            };
        }
        for (_, member) in &self.members {
            if let Offer::Decline { because } = member.offer(target) {
                return Offer::Decline { because: format!("{}: {because}", member.name()) };
            }
        }
        let names: Vec<&str> = self.members.iter().map(|(_, member)| member.name()).collect();
        Offer::Accept {
            preference: PREFERENCE,
            because: format!("{} on one port, told apart by the first byte", names.join(" and ")),
        }
    }

    fn limits(&self) -> Limits {
        let all = self.members.iter().map(|(_, member)| member.limits());
        all.reduce(|one, other| one.common(&other)).unwrap_or_default()
    }
}

impl ControllerTransport for SharedPort {
    fn controller_engine(&self) -> Result<Box<dyn ControllerEngine>, Error> {
        Ok(Box::new(self.engine()?))
    }

    fn advertise(&self, address: SocketAddr) -> Vec<Advertisement> {
        self.members.iter().flat_map(|(_, member)| member.advertise(address)).collect()
    }
}
