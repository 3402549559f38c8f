//! Where a queue leads: an address, and the wire it is spoken on.

use std::{fmt, net::SocketAddr};

use nvmf_wire::log::discovery::RdmaProvider;

/// The protocol on the wire, by its transport type number (NVMe-oF 1.1 §5.3, TRTYPE). Who carries it is the transport's name.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Wire(pub u8);

impl Wire {
    /// NVMe/RDMA.
    pub const RDMA: Self = Self(1);
    /// NVMe/TCP.
    pub const TCP: Self = Self(3);
    /// Within this process.
    pub const INTRA_HOST: Self = Self(254);

    /// The name in a URI after `nvme+`.
    pub fn name(self) -> &'static str {
        match self {
            Self::RDMA => "rdma",
            Self::TCP => "tcp",
            Self::INTRA_HOST => "loop",
            _ => "unknown",
        }
    }
}

impl fmt::Debug for Wire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Wire({} = {})", self.0, self.name())
    }
}

impl fmt::Display for Wire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Where to connect or listen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Target {
    /// The wire to speak, `None` to let selection choose.
    pub wire: Option<Wire>,
    /// The address. Names are resolved before they get here.
    pub address: SocketAddr,
}

impl Target {
    /// An address on a named wire.
    pub fn new(wire: Wire, address: SocketAddr) -> Self {
        Self { wire: Some(wire), address }
    }

    /// Whether a transport that speaks `wire` can serve this target.
    pub fn allows(&self, wire: Wire) -> bool {
        self.wire.is_none_or(|asked| asked == wire)
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.wire {
            Some(wire) => write!(f, "nvme+{wire}://{}", self.address),
            None => write!(f, "nvme://{}", self.address),
        }
    }
}

/// One way in which a listener is reached, as the discovery log page tells of it (NVMe-oF 1.1 §5.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Advertisement {
    /// The wire.
    pub wire: Wire,
    /// Of NVMe/RDMA, the network under it (PRTYPE).
    pub rdma_provider: RdmaProvider,
}

impl From<Wire> for Advertisement {
    fn from(wire: Wire) -> Self {
        Self { wire, rdma_provider: RdmaProvider::NONE }
    }
}
