//! A device within this process, for tests: the rules of verbs and no network.
//!
//! It is as strict as the strictest RNIC: a message without a receive, a key that does not allow an access, a READ beyond the
//! agreed depth, more elements or requests than asked for, each ends the connection. What one side posts takes effect when that
//! side's engine moves; a READ completes one move later, so that READs are really outstanding. Start with [`Loopback`].

mod state;
mod verbs;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use nvmf_transport::{Error, Offer, Target};

use crate::verbs::{Capacity, Device, KeyScope, Kind, Provider};
use state::State;

pub use verbs::LoopbackVerbs;

/// What the device is to be like.
#[derive(Clone, Debug)]
pub struct Options {
    /// What it claims and enforces.
    pub device: Device,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            device: Device {
                name: "loopback0".into(),
                port: 1,
                kind: Kind::Iwarp,
                max_send_sge: 4,
                max_recv_sge: 4,
                max_read_sge: 1,
                max_inline: 64,
                max_initiator_depth: 16,
                max_responder_resources: 16,
                max_qp_wr: 8192,
                max_cqe: 65_536,
                max_mr: 65_536,
                max_mr_size: 1 << 40,
                max_private_data: 196,
                cq_resize: false,
                srq: false,
                key_scope: KeyScope::Command,
                send_invalidate: true,
                read_sink_remote_write: true,
            },
        }
    }
}

/// The provider, and the network that all its engines are on.
#[derive(Clone, Debug, Default)]
pub struct Loopback {
    options: Arc<Options>,
    network: Network,
}

impl Loopback {
    /// A network of its own, with devices like this.
    #[must_use]
    pub fn new(options: Options) -> Self {
        Self { options: Arc::new(options), network: Network::default() }
    }
}

/// Everything there is, behind one lock.
#[derive(Clone, Debug, Default)]
pub(crate) struct Network(Arc<Mutex<State>>);

impl Network {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Provider for Loopback {
    type Verbs = LoopbackVerbs;

    fn name(&self) -> &'static str {
        "rdma-loopback"
    }

    fn offer(&self, target: &Target) -> Offer {
        if target.address.ip().is_loopback() {
            Offer::Accept { preference: 10, because: "a device within this process, for tests".into() }
        } else {
            Offer::Decline { because: format!("{target} is not within this process") }
        }
    }

    fn devices(&self) -> Vec<Device> {
        vec![self.options.device.clone()]
    }

    fn least(&self) -> Device {
        self.options.device.clone()
    }

    fn open(&self, _: &Capacity) -> Result<Self::Verbs, Error> {
        LoopbackVerbs::new(self.network.clone(), self.options.device.clone())
    }
}

impl Loopback {
    /// Takes the device away from under all its connections, as pulling an adapter would.
    pub fn remove_device(&self) {
        self.network.lock().remove_device();
    }
}
