//! Log pages: their identifiers, the Get Log Page command, and the pages this project serves or reads.
//!
//! Start at [`GetLogPage`]; [`discovery`] has the Discovery log page, [`health`] those about errors, health and firmware,
//! [`effects`] those about what a controller supports.

pub mod discovery;
pub mod effects;
pub mod health;

use crate::identify::CommandSet;
use crate::{AdminOpcode, Sqe};
use zerocopy::little_endian::U32;

open_enum! {
    /// Log Page Identifiers (NVMe Base 2.1 §5.1.12).
    pub Lid: u8 {
        SUPPORTED_LOG_PAGES = 0x00, "Supported Log Pages";
        ERROR_INFORMATION = 0x01, "Error Information";
        SMART_HEALTH = 0x02, "SMART / Health Information";
        FIRMWARE_SLOT = 0x03, "Firmware Slot Information";
        CHANGED_NAMESPACE_LIST = 0x04, "Changed Attached Namespace List";
        COMMAND_EFFECTS = 0x05, "Commands Supported and Effects";
        DEVICE_SELF_TEST = 0x06, "Device Self-test";
        TELEMETRY_HOST = 0x07, "Telemetry Host-Initiated";
        TELEMETRY_CONTROLLER = 0x08, "Telemetry Controller-Initiated";
        ENDURANCE_GROUP = 0x09, "Endurance Group Information";
        PREDICTABLE_LATENCY = 0x0A, "Predictable Latency Per NVM Set";
        PREDICTABLE_LATENCY_AGGREGATE = 0x0B, "Predictable Latency Event Aggregate";
        ASYMMETRIC_NAMESPACE_ACCESS = 0x0C, "Asymmetric Namespace Access";
        PERSISTENT_EVENT = 0x0D, "Persistent Event Log";
        LBA_STATUS = 0x0E, "LBA Status Information";
        ENDURANCE_GROUP_AGGREGATE = 0x0F, "Endurance Group Event Aggregate";
        MEDIA_UNIT_STATUS = 0x10, "Media Unit Status";
        SUPPORTED_CAPACITY_CONFIGURATIONS = 0x11, "Supported Capacity Configuration List";
        FEATURE_EFFECTS = 0x12, "Feature Identifiers Supported and Effects";
        MI_COMMAND_EFFECTS = 0x13, "NVMe-MI Commands Supported and Effects";
        LOCKDOWN = 0x14, "Command and Feature Lockdown";
        BOOT_PARTITION = 0x15, "Boot Partition";
        ROTATIONAL_MEDIA = 0x16, "Rotational Media Information";
        DISPERSED_NAMESPACE = 0x17, "Dispersed Namespace Participating NVM Subsystems";
        MANAGEMENT_ADDRESS_LIST = 0x18, "Management Address List";
        PHY_RECEIVER_EYE = 0x19, "Physical Interface Receiver Eye Opening Measurement";
        REACHABILITY_GROUPS = 0x1A, "Reachability Groups";
        REACHABILITY_ASSOCIATIONS = 0x1B, "Reachability Associations";
        CHANGED_ALLOCATED_NAMESPACE_LIST = 0x1C, "Changed Allocated Namespace List";
        FDP_CONFIGURATIONS = 0x20, "FDP Configurations";
        RECLAIM_UNIT_HANDLE_USAGE = 0x21, "Reclaim Unit Handle Usage";
        FDP_STATISTICS = 0x22, "FDP Statistics";
        FDP_EVENTS = 0x23, "FDP Events";
        DISCOVERY = 0x70, "Discovery";
        HOST_DISCOVERY = 0x71, "Host Discovery";
        AVE_DISCOVERY = 0x72, "AVE Discovery";
        PULL_MODEL_DDC_REQUEST = 0x73, "Pull Model DDC Request";
        RESERVATION_NOTIFICATION = 0x80, "Reservation Notification";
        SANITIZE_STATUS = 0x81, "Sanitize Status";
        CHANGED_ZONE_LIST = 0xBF, "Changed Zone List";
    }
}

/// The fields of a Get Log Page command (NVMe Base 2.0 §5.16).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct GetLogPage {
    /// The namespace, for the pages that have one; 0 or FFFFFFFFh otherwise.
    pub nsid: u32,
    /// Log Page Identifier.
    pub lid: Lid,
    /// Log Specific Parameter, 7 bits.
    pub lsp: u8,
    /// Retain Asynchronous Event: reading does not acknowledge the event.
    pub rae: bool,
    /// Number of Dwords, 0's based: NUMDU and NUMDL together.
    pub numd: u32,
    /// Log Specific Identifier.
    pub lsi: u16,
    /// Log Page Offset in bytes (a multiple of 4), or an index, as `index_offset` says.
    pub offset: u64,
    /// Offset Type: the offset counts entries of the page's list instead of bytes.
    pub index_offset: bool,
    /// UUID Index, 7 bits.
    pub uuid_index: u8,
    /// Command Set Identifier.
    pub csi: CommandSet,
}

impl GetLogPage {
    /// The first `length` bytes of a page; rounded up to whole dwords, and at least one.
    #[must_use]
    pub const fn new(lid: Lid, length: u32) -> Self {
        Self {
            nsid: 0,
            lid,
            lsp: 0,
            rae: false,
            numd: length.div_ceil(4).saturating_sub(1),
            lsi: 0,
            offset: 0,
            index_offset: false,
            uuid_index: 0,
            csi: CommandSet::NVM,
        }
    }

    /// The same from another offset.
    #[must_use]
    pub const fn with_offset(mut self, offset: u64) -> Self {
        self.offset = offset;
        self
    }

    /// The same for a namespace.
    #[must_use]
    pub const fn with_nsid(mut self, nsid: u32) -> Self {
        self.nsid = nsid;
        self
    }

    /// The same with or without Retain Asynchronous Event.
    #[must_use]
    pub const fn with_rae(mut self, rae: bool) -> Self {
        self.rae = rae;
        self
    }

    /// The length asked for in bytes.
    #[must_use]
    pub const fn length(&self) -> u64 {
        (self.numd as u64 + 1) * 4
    }

    /// The fields of the command.
    #[must_use]
    pub const fn parse(sqe: &Sqe) -> Self {
        let (cdw10, cdw11, cdw14) = (sqe.cdw10.get(), sqe.cdw11.get(), sqe.cdw14.get());
        Self {
            nsid: sqe.nsid(),
            lid: Lid(cdw10 as u8),
            lsp: (cdw10 >> 8) as u8 & 0x7F,
            rae: cdw10 & (1 << 15) != 0,
            numd: cdw10 >> 16 | cdw11 << 16,
            lsi: (cdw11 >> 16) as u16,
            offset: sqe.cdw12.get() as u64 | (sqe.cdw13.get() as u64) << 32,
            index_offset: cdw14 & (1 << 23) != 0,
            uuid_index: cdw14 as u8 & 0x7F,
            csi: CommandSet((cdw14 >> 24) as u8),
        }
    }

    /// The command.
    #[must_use]
    pub const fn to_sqe(self) -> Sqe {
        let mut sqe = Sqe::admin(AdminOpcode::GET_LOG_PAGE).with_nsid(self.nsid);
        let low = self.lid.0 as u32 | ((self.lsp & 0x7F) as u32) << 8 | (self.rae as u32) << 15;
        sqe.cdw10 = U32::new(low | self.numd << 16);
        sqe.cdw11 = U32::new(self.numd >> 16 | (self.lsi as u32) << 16);
        sqe.cdw12 = U32::new(self.offset as u32);
        sqe.cdw13 = U32::new((self.offset >> 32) as u32);
        let uuid = (self.uuid_index & 0x7F) as u32;
        sqe.cdw14 = U32::new(uuid | (self.index_offset as u32) << 23 | (self.csi.0 as u32) << 24);
        sqe
    }
}
