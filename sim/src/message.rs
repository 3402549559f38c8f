//! What the simulated wire carries: the four messages every fabric has in some shape, and nothing else.

use nvmf_transport::{Gather, Limits};
use nvmf_wire::{Cid, Cqe, Sqe};

use crate::pipe::Size;

/// From a host to a controller.
#[derive(Clone, Debug)]
pub enum ToController {
    /// A command capsule.
    Command {
        /// The command, with CID and SGL1 as on any wire.
        sqe: Sqe,
        /// The data that travels with it.
        in_capsule: Vec<u8>,
    },
    /// Data the controller asked for.
    Data {
        /// The controller's name for the fetch.
        tag: u32,
        /// The bytes.
        bytes: Vec<u8>,
    },
}

/// From a controller to a host.
#[derive(Clone, Debug)]
pub enum ToHost {
    /// The queue is open.
    Accepted {
        /// The controller's limits.
        limits: Box<Limits>,
    },
    /// The controller wants a part of a command's data.
    Fetch {
        /// The command.
        cid: Cid,
        /// To be repeated in the answer.
        tag: u32,
        /// Where the part starts.
        offset: u32,
        /// Its length.
        len: u32,
    },
    /// The end of a command.
    Response {
        /// The completion, with the command's CID.
        cqe: Cqe,
        /// Whether its SQHD means something.
        sqhd_valid: bool,
        /// The data for the host, sent from where it lies.
        data: Gather,
    },
}

/// What a capsule or a header costs on the link.
const CAPSULE: usize = 64;

impl Size for ToController {
    fn size(&self) -> usize {
        match self {
            Self::Command { in_capsule, .. } => CAPSULE + in_capsule.len(),
            Self::Data { bytes, .. } => CAPSULE + bytes.len(),
        }
    }
}

impl Size for ToHost {
    fn size(&self) -> usize {
        match self {
            Self::Accepted { .. } | Self::Fetch { .. } => CAPSULE,
            Self::Response { data, .. } => CAPSULE + data.len(),
        }
    }
}
