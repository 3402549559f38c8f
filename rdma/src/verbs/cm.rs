//! The connection manager's vocabulary: names of connections and what happens to them.

use nvmf_transport::Error;
use smallvec::SmallVec;

/// A connection of one [`Verbs`](super::Verbs). The provider chooses it; slot and generation together are never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnId {
    /// A dense small number, for indexing a side table. Shared by connections that do not live at the same time.
    pub slot: u32,
    /// Tells this use of the slot from others.
    pub generation: u32,
}

/// A listener of one [`Verbs`](super::Verbs), never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ListenId(pub u32);

/// What a connection manager carries for its users. NVMe/RDMA needs 32 bytes.
pub type PrivateData = SmallVec<[u8; 64]>;

/// RDMA READs that may be outstanding, by direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Depths {
    /// READs this side may have outstanding (initiator depth, ORD).
    pub initiator: u8,
    /// READs this side serves at a time (responder resources, IRD).
    pub responder: u8,
}

/// What a side says when it asks for or accepts a connection.
#[derive(Clone, Copy, Debug)]
pub struct ConnParams<'a> {
    /// Private data.
    pub private_data: &'a [u8],
    /// What this side wants and offers. Within the limits of the device.
    pub depths: Depths,
}

/// How a connection came to its end.
#[derive(Debug)]
pub enum Ending {
    /// Both sides closed it, or the peer did with nothing half said.
    Orderly,
    /// It failed: reset, a Terminate message, a protocol error, retries exceeded.
    Failed(Error),
}

/// What the connection manager reports.
#[derive(Debug)]
#[non_exhaustive]
pub enum CmEvent {
    /// Active: device and route are known.
    Resolved {
        /// The connection.
        conn: ConnId,
    },
    /// Passive: a peer asks for a connection.
    Requested {
        /// The connection.
        conn: ConnId,
        /// Where it came in.
        listener: ListenId,
        /// What the peer said. A manager that carries a fixed size pads it with zeroes.
        private_data: PrivateData,
        /// What the peer allows *this* side: `initiator` is the peer's IRD, `responder` the peer's ORD.
        depths: Depths,
    },
    /// The connection is up; sends may be posted (on iWARP the active side's come first, which the provider sees to).
    Established {
        /// The connection.
        conn: ConnId,
        /// Active: what the peer said when it accepted; passive: nothing.
        private_data: PrivateData,
        /// What holds now, from this side's view.
        depths: Depths,
    },
    /// Active: the peer turned the connection down.
    Rejected {
        /// The connection.
        conn: ConnId,
        /// What the peer said, empty if it said nothing or the manager cannot tell.
        private_data: PrivateData,
    },
    /// Connecting or listening came to an end before the connection was up.
    Failed {
        /// The connection.
        conn: ConnId,
        /// Why: `Refused`, `Unreachable`, `TimedOut`, ….
        error: Error,
    },
    /// A connection that was up has ended, by whichever side.
    Disconnected {
        /// The connection.
        conn: ConnId,
        /// How.
        ending: Ending,
    },
    /// The device of a connection goes away. The connection is dead; it has to be destroyed before the device can go.
    DeviceRemoved {
        /// The connection.
        conn: ConnId,
    },
}

impl CmEvent {
    /// The connection it is about.
    pub fn conn(&self) -> ConnId {
        match *self {
            Self::Resolved { conn }
            | Self::Requested { conn, .. }
            | Self::Established { conn, .. }
            | Self::Rejected { conn, .. }
            | Self::Failed { conn, .. }
            | Self::Disconnected { conn, .. }
            | Self::DeviceRemoved { conn } => conn,
        }
    }
}
