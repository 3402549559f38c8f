//! Identify: the command and its data structures (NVMe Base 2.0 §5.17; NVM Command Set 1.0 §4.1.5).
//!
//! Start at [`Identify`] and [`Cns`]; [`IdentifyController`] and [`IdentifyNamespace`] are the two large structures. Every
//! data structure is 4096 bytes, whatever of it is used.

mod capability;
mod command_set;
mod controller;
mod descriptor;
mod list;
mod namespace;
mod power;

pub use capability::*;
pub use command_set::*;
pub use controller::{ControllerType, FabricsAttributes, IdentifyController, SglSupport};
pub use descriptor::{
    NamespaceDescriptor, NamespaceDescriptorKind, NamespaceDescriptors, NamespaceDescriptorsBuilder,
};
pub use list::{ControllerList, NamespaceList};
pub use namespace::*;
pub use power::{PowerState, PowerStateFlags};

use crate::{AdminOpcode, Sqe};
use zerocopy::little_endian::U32;

/// Length of the data of every Identify command.
pub const IDENTIFY_LENGTH: usize = 4096;

open_enum! {
    /// Controller or Namespace Structure (CNS): what is to be identified.
    pub Cns: u8 {
        NAMESPACE = 0x00, "Identify Namespace of the NVM command set";
        CONTROLLER = 0x01, "Identify Controller";
        ACTIVE_NAMESPACES = 0x02, "Active Namespace ID list";
        NAMESPACE_DESCRIPTORS = 0x03, "Namespace Identification Descriptor list";
        NVM_SET_LIST = 0x04, "NVM Set List";
        COMMAND_SET_NAMESPACE = 0x05, "I/O Command Set specific Identify Namespace";
        COMMAND_SET_CONTROLLER = 0x06, "I/O Command Set specific Identify Controller";
        COMMAND_SET_ACTIVE_NAMESPACES = 0x07, "I/O Command Set specific Active Namespace ID list";
        INDEPENDENT_NAMESPACE = 0x08, "I/O Command Set Independent Identify Namespace";
        FORMAT_NAMESPACE = 0x09, "Identify Namespace of an LBA format";
        COMMAND_SET_FORMAT_NAMESPACE = 0x0A, "I/O Command Set specific Identify Namespace of an LBA format";
        ALLOCATED_NAMESPACES = 0x10, "Allocated Namespace ID list";
        ALLOCATED_NAMESPACE = 0x11, "Identify Namespace of an allocated namespace";
        ATTACHED_CONTROLLERS = 0x12, "Controller list of a namespace";
        CONTROLLERS = 0x13, "Controller list of the NVM subsystem";
        PRIMARY_CONTROLLER_CAPABILITIES = 0x14, "Primary Controller Capabilities";
        SECONDARY_CONTROLLERS = 0x15, "Secondary Controller list";
        NAMESPACE_GRANULARITY = 0x16, "Namespace Granularity list";
        UUID_LIST = 0x17, "UUID list";
        DOMAIN_LIST = 0x18, "Domain list";
        ENDURANCE_GROUP_LIST = 0x19, "Endurance Group list";
        COMMAND_SET_ALLOCATED_NAMESPACES = 0x1A, "I/O Command Set specific Allocated Namespace ID list";
        COMMAND_SET_ALLOCATED_NAMESPACE = 0x1B, "I/O Command Set specific Identify Namespace of an allocated namespace";
        COMMAND_SET_COMBINATIONS = 0x1C, "I/O Command Set data structure";
        UNDERLYING_NAMESPACES = 0x1D, "Underlying Namespace list";
        PORTS = 0x1E, "Ports list";
        INDEPENDENT_ALLOCATED_NAMESPACE = 0x1F, "I/O Command Set Independent Identify Namespace of an allocated namespace";
        CONTROLLER_STATE_FORMATS = 0x20, "Supported Controller State Formats";
    }
}

open_enum! {
    /// Command Set Identifier (CSI).
    pub CommandSet: u8 {
        NVM = 0x00, "NVM command set";
        KEY_VALUE = 0x01, "Key Value command set";
        ZONED = 0x02, "Zoned Namespace command set";
        SUBSYSTEM_LOCAL_MEMORY = 0x03, "Subsystem Local Memory command set";
        COMPUTATIONAL_PROGRAMS = 0x04, "Computational Programs command set";
    }
}

/// The fields of an Identify command.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Identify {
    /// The namespace, or where a list of namespaces starts.
    pub nsid: u32,
    /// What is to be identified.
    pub cns: Cns,
    /// Controller Identifier, where a list of controllers starts.
    pub cntid: u16,
    /// CNS Specific Identifier.
    pub cns_specific: u16,
    /// Command Set Identifier.
    pub csi: CommandSet,
    /// UUID Index, 7 bits.
    pub uuid_index: u8,
}

impl Identify {
    /// Identifies something, for a namespace or (0) not.
    #[must_use]
    pub const fn new(cns: Cns, nsid: u32) -> Self {
        Self { nsid, cns, cntid: 0, cns_specific: 0, csi: CommandSet::NVM, uuid_index: 0 }
    }

    /// The same for another I/O command set.
    #[must_use]
    pub const fn with_csi(mut self, csi: CommandSet) -> Self {
        self.csi = csi;
        self
    }

    /// The fields of the command.
    #[must_use]
    pub const fn parse(sqe: &Sqe) -> Self {
        let (cdw10, cdw11) = (sqe.cdw10.get(), sqe.cdw11.get());
        Self {
            nsid: sqe.nsid(),
            cns: Cns(cdw10 as u8),
            cntid: (cdw10 >> 16) as u16,
            cns_specific: cdw11 as u16,
            csi: CommandSet((cdw11 >> 24) as u8),
            uuid_index: sqe.cdw14.get() as u8 & 0x7F,
        }
    }

    /// The command.
    #[must_use]
    pub const fn to_sqe(self) -> Sqe {
        let mut sqe = Sqe::admin(AdminOpcode::IDENTIFY).with_nsid(self.nsid);
        sqe.cdw10 = U32::new(self.cns.0 as u32 | (self.cntid as u32) << 16);
        sqe.cdw11 = U32::new(self.cns_specific as u32 | (self.csi.0 as u32) << 24);
        sqe.cdw14 = U32::new((self.uuid_index & 0x7F) as u32);
        sqe
    }
}
