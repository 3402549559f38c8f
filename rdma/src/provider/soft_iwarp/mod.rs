//! Verbs in software: iWARP over any TCP socket, by the `nvmf-soft-iwarp` crate.
//!
//! Needs no device, no module and no privilege, and is wire-compatible with RNICs and with Linux `siw`. Every command gets a
//! key of its own, with its bounds and rights and for its connection only; so does the sink of every RDMA READ. Memory needs no
//! registration of its own: pieces are registered with the request that names them, for as long as it is outstanding, which costs
//! a table entry. Start with [`SoftIwarp`]; `verbs.rs` is the data path, `memory.rs` what is registered,
//! `news.rs` what the endpoint reports.

mod handover;
mod memory;
mod news;
mod verbs;

use std::{net::SocketAddr, os::fd::OwnedFd, sync::Arc};

use nvmf_soft_iwarp::{EndpointConfig, Handover};
use nvmf_transport::{Error, ListenerId, Offer, Stage, Target};

use crate::{
    RdmaControllerEngine,
    verbs::{Capacity, Device, KeyScope, Kind, ListenId, Provider},
};

pub use nvmf_soft_iwarp::config::CrcPolicy;
pub use verbs::SoftIwarpVerbs;

/// How much it is preferred on an NVMe/RDMA target: last, because devices are faster; on a target that leaves the wire open it
/// comes after software NVMe/TCP, which has less to do.
const PREFERENCE: u8 = 40;

/// What can be chosen of soft-iWARP. What an endpoint leaves open has defaults that fit.
#[derive(Clone, Debug)]
pub struct Options {
    /// The endpoint: sockets, timeouts, buffers. Its backlog and number of connections follow from the transport's
    /// configuration.
    pub endpoint: EndpointConfig,
    /// Whether CRCs are used.
    pub crc: CrcPolicy,
    /// The longest ULPDU to send, if it is to be shorter than the segment size allows.
    pub max_ulpdu: Option<u16>,
    /// Elements of a request.
    pub max_sge: u8,
    /// Inline bytes of a send.
    pub max_inline: u16,
    /// RDMA READs, either way.
    pub read_depth: u8,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            endpoint: EndpointConfig::default(),
            crc: CrcPolicy::default(),
            max_ulpdu: None,
            max_sge: 16,
            max_inline: 64,
            read_depth: 128,
        }
    }
}

/// The provider.
#[derive(Clone, Debug, Default)]
pub struct SoftIwarp {
    options: Arc<Options>,
}

impl SoftIwarp {
    /// With these choices.
    #[must_use]
    pub fn new(options: Options) -> Self {
        Self { options: Arc::new(options) }
    }

    /// What was chosen.
    pub fn options(&self) -> &Options {
        &self.options
    }

    fn device(&self) -> Device {
        let Options { max_sge, max_inline, read_depth, .. } = *self.options;
        Device {
            name: "soft-iwarp".into(),
            port: 1,
            kind: Kind::Iwarp,
            max_send_sge: max_sge.clamp(1, 16).into(),
            max_recv_sge: max_sge.clamp(1, 16).into(),
            max_read_sge: 1,
            max_inline: max_inline.into(),
            max_initiator_depth: read_depth.max(1),
            max_responder_resources: read_depth.max(1),
            max_qp_wr: 64 * 1024,
            max_cqe: u32::MAX,
            max_mr: MAX_REGIONS,
            max_mr_size: isize::MAX as u64,
            max_private_data: 508,
            cq_resize: true,
            srq: false,
            key_scope: KeyScope::Command,
            send_invalidate: true,
            read_sink_remote_write: true,
        }
    }
}

/// Pieces of memory that may be named at a time: a table entry each, made when it is needed.
const MAX_REGIONS: u32 = 1 << 22;

impl Provider for SoftIwarp {
    type Verbs = SoftIwarpVerbs;

    fn name(&self) -> &'static str {
        "soft-iwarp"
    }

    fn offer(&self, _: &Target) -> Offer {
        Offer::Accept {
            preference: PREFERENCE,
            because: "iWARP in software works with any TCP network and needs no RDMA device".into(),
        }
    }

    fn devices(&self) -> Vec<Device> {
        vec![self.device()]
    }

    fn least(&self) -> Device {
        self.device()
    }

    fn open(&self, capacity: &Capacity) -> Result<Self::Verbs, Error> {
        let mut config = self.options.endpoint.clone();
        config.max_regions = config.max_regions.max(MAX_REGIONS);
        config.backlog = capacity.backlog;
        SoftIwarpVerbs::new(config, &self.options, self.device())
            .map_err(|e| Error::from_io(Stage::Setup, "cannot create a soft-iWARP endpoint", e))
    }
}

impl RdmaControllerEngine<SoftIwarpVerbs> {
    /// Takes over a connected socket that somebody else has accepted and found to begin with an MPA request
    /// ([`nvmf_soft_iwarp::mpa::looks_like_request`]); `bytes` were read from it. Its queue counts as come by `listener`, which
    /// is the same for all sockets that are on their way at a time. `Accepted` follows once the host has negotiated.
    pub fn adopt(&mut self, socket: OwnedFd, bytes: Vec<u8>, listener: ListenerId) -> Result<(), Error> {
        self.verbs_mut().adopt(Handover { socket, bytes }, ListenId(listener.0))
    }
}

/// An error of the system about an address.
fn at(stage: Stage, what: &str, address: SocketAddr, error: std::io::Error) -> Error {
    Error::from_io(stage, format!("cannot {what} {address}: {error}"), error)
}
