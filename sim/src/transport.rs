//! The transport value: which network, and what its queues can carry.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use nvmf_transport::{
    ControllerEngine, ControllerTransport, Error, HostEngine, HostTransport, InCapsule, Limits, Offer,
    SglKinds, Target, Transport, Wire,
};

use crate::{Network, controller::Controller, host::Host};

/// What the queues of a [`SimTransport`] can carry.
#[derive(Clone, Debug)]
pub struct SimConfig {
    /// The most data one command may move.
    pub max_transfer: u32,
    /// In-capsule data.
    pub in_capsule: InCapsule,
    /// The largest queue, in entries.
    pub max_depth: u16,
    /// Fetches of one request at a time.
    pub max_fetches: u16,
}

impl Default for SimConfig {
    /// What software NVMe/TCP offers, so that a test finds the same limits on both.
    fn default() -> Self {
        Self {
            max_transfer: 1 << 20,
            in_capsule: InCapsule { admin: 8192, io: 16_384 },
            max_depth: 1024,
            max_fetches: 4,
        }
    }
}

/// The in-memory transport, both roles.
#[derive(Debug)]
pub struct SimTransport {
    network: Network,
    limits: Limits,
    /// Engines of one transport value may listen at the same address, as threads of one program do.
    group: usize,
}

static GROUPS: AtomicUsize = AtomicUsize::new(0);

/// Whose name it is in `--transport`.
pub(crate) const NAME: &str = "sim";

impl SimTransport {
    /// A transport on `network` with the default limits.
    #[must_use]
    pub fn new(network: &Network) -> Self {
        Self::with_config(network, &SimConfig::default())
    }

    /// A transport on `network`.
    #[must_use]
    pub fn with_config(network: &Network, config: &SimConfig) -> Self {
        let mut limits = Limits::default();
        limits.max_transfer = config.max_transfer;
        limits.max_in_capsule = config.in_capsule;
        limits.max_depth = config.max_depth;
        limits.sgl = SglKinds::IN_CAPSULE | SglKinds::TRANSPORT;
        limits.max_segments = u16::MAX;
        limits.max_fetches = config.max_fetches;
        Self { network: network.clone(), limits, group: GROUPS.fetch_add(1, Ordering::Relaxed) }
    }

    /// The same as both kinds of shared transport.
    #[must_use]
    pub fn shared(self) -> (Arc<dyn HostTransport>, Arc<dyn ControllerTransport>) {
        let this = Arc::new(self);
        (Arc::clone(&this) as _, this)
    }
}

impl Transport for SimTransport {
    fn name(&self) -> &'static str {
        NAME
    }

    fn wire(&self) -> Wire {
        Wire::INTRA_HOST
    }

    fn offer(&self, target: &Target) -> Offer {
        if target.wire == Some(Wire::INTRA_HOST) {
            Offer::Accept { preference: 50, because: "asked for a connection within this process".into() }
        } else {
            Offer::Decline {
                because: "carries connections within this process only; ask for it with nvme+loop://".into(),
            }
        }
    }

    fn limits(&self) -> Limits {
        self.limits.clone()
    }
}

impl HostTransport for SimTransport {
    fn host_engine(&self) -> Result<Box<dyn HostEngine>, Error> {
        Ok(Box::new(Host::new(self.network.clone(), self.limits.clone())?))
    }
}

impl ControllerTransport for SimTransport {
    fn controller_engine(&self) -> Result<Box<dyn ControllerEngine>, Error> {
        Ok(Box::new(Controller::new(self.network.clone(), self.limits.clone(), self.group)?))
    }
}
