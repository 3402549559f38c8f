//! The bit sets of Identify Controller that are more than a bit or two (NVMe Base 2.0 §5.17.2.1).

use bitflags::bitflags;

bitflags! {
    /// Optional Asynchronous Events Supported (OAES). The bits from 8 up are those of
    /// [`crate::feature::AsyncEventConfiguration`].
    #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
    pub struct OptionalAsyncEvents: u32 {
        /// Attached Namespace Attribute Notices.
        const NAMESPACE_ATTRIBUTE = 1 << 8;
        /// Firmware Activation Notices.
        const FIRMWARE_ACTIVATION = 1 << 9;
        /// Asymmetric Namespace Access Change Notices.
        const ANA_CHANGE = 1 << 11;
        /// Predictable Latency Event Aggregate Log Change Notices.
        const PREDICTABLE_LATENCY_AGGREGATE = 1 << 12;
        /// LBA Status Information Alert Notices.
        const LBA_STATUS = 1 << 13;
        /// Endurance Group Event Aggregate Log Change Notices.
        const ENDURANCE_GROUP_AGGREGATE = 1 << 14;
        /// Normal NVM Subsystem Shutdown event.
        const NORMAL_SUBSYSTEM_SHUTDOWN = 1 << 15;
        /// Temperature Threshold Hysteresis Recovery (NVMe Base 2.1).
        const TEMPERATURE_HYSTERESIS = 1 << 16;
        /// Reachability Groups Change Notices (NVMe Base 2.1).
        const REACHABILITY_GROUPS = 1 << 17;
        /// Allocated Namespace Attribute Notices (NVMe Base 2.1).
        const ALLOCATED_NAMESPACE_ATTRIBUTE = 1 << 19;
        /// Zone Descriptor Changed Notices.
        const ZONE_DESCRIPTOR = 1 << 27;
        /// Discovery Log Page Change Notices.
        const DISCOVERY_LOG_CHANGE = 1 << 31;
        const _ = !0;
    }
}

bitflags! {
    /// Controller Attributes (CTRATT).
    #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
    pub struct ControllerAttributes: u32 {
        /// Host Identifiers of 128 bits.
        const HOST_ID_128 = 1 << 0;
        /// Non-Operational Power State Permissive Mode.
        const NON_OPERATIONAL_PERMISSIVE = 1 << 1;
        /// NVM Sets.
        const NVM_SETS = 1 << 2;
        /// Read Recovery Levels.
        const READ_RECOVERY_LEVELS = 1 << 3;
        /// Endurance Groups.
        const ENDURANCE_GROUPS = 1 << 4;
        /// Predictable Latency Mode.
        const PREDICTABLE_LATENCY = 1 << 5;
        /// Traffic Based Keep Alive Support (TBKAS).
        const TRAFFIC_BASED_KEEP_ALIVE = 1 << 6;
        /// Namespace Granularity.
        const NAMESPACE_GRANULARITY = 1 << 7;
        /// SQ Associations.
        const SQ_ASSOCIATIONS = 1 << 8;
        /// UUID List.
        const UUID_LIST = 1 << 9;
        /// Multi-Domain Subsystem.
        const MULTI_DOMAIN = 1 << 10;
        /// Fixed Capacity Management.
        const FIXED_CAPACITY = 1 << 11;
        /// Variable Capacity Management.
        const VARIABLE_CAPACITY = 1 << 12;
        /// Delete Endurance Group.
        const DELETE_ENDURANCE_GROUP = 1 << 13;
        /// Delete NVM Set.
        const DELETE_NVM_SET = 1 << 14;
        /// Extended LBA Formats Supported.
        const EXTENDED_LBA_FORMATS = 1 << 15;
        /// MDTS and Size Limits Exclude Metadata (NVMe Base 2.1).
        const MDTS_EXCLUDES_METADATA = 1 << 16;
        /// HMB Restrict Non-Operational Power State Access (NVMe Base 2.1).
        const HMB_RESTRICT = 1 << 17;
        /// Reservations and Host Identifier Interaction (NVMe Base 2.1).
        const RESERVATIONS_HOST_ID = 1 << 18;
        /// Flexible Data Placement.
        const FLEXIBLE_DATA_PLACEMENT = 1 << 19;
        const _ = !0;
    }
}

bitflags! {
    /// Optional Admin Command Support (OACS).
    #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
    pub struct OptionalAdminCommands: u16 {
        /// Security Send and Security Receive.
        const SECURITY = 1 << 0;
        /// Format NVM.
        const FORMAT_NVM = 1 << 1;
        /// Firmware Commit and Firmware Image Download.
        const FIRMWARE = 1 << 2;
        /// Namespace Management and Namespace Attachment.
        const NAMESPACE_MANAGEMENT = 1 << 3;
        /// Device Self-test.
        const DEVICE_SELF_TEST = 1 << 4;
        /// Directives.
        const DIRECTIVES = 1 << 5;
        /// NVMe-MI Send and NVMe-MI Receive.
        const NVME_MI = 1 << 6;
        /// Virtualization Management.
        const VIRTUALIZATION_MANAGEMENT = 1 << 7;
        /// Doorbell Buffer Config.
        const DOORBELL_BUFFER_CONFIG = 1 << 8;
        /// Get LBA Status.
        const GET_LBA_STATUS = 1 << 9;
        /// Command and Feature Lockdown.
        const LOCKDOWN = 1 << 10;
        /// Host Managed Live Migration (NVMe Base 2.1).
        const LIVE_MIGRATION = 1 << 11;
        const _ = !0;
    }
}

bitflags! {
    /// Log Page Attributes (LPA).
    #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
    pub struct LogPageAttributes: u8 {
        /// SMART / Health Information for each namespace.
        const SMART_PER_NAMESPACE = 1 << 0;
        /// Commands Supported and Effects.
        const COMMAND_EFFECTS = 1 << 1;
        /// Extended data of Get Log Page: NUMDU and the offset.
        const EXTENDED_DATA = 1 << 2;
        /// Telemetry.
        const TELEMETRY = 1 << 3;
        /// Persistent Event log.
        const PERSISTENT_EVENT = 1 << 4;
        /// Supported Log Pages and the pages like it (00h, 05h scope, 12h, 13h).
        const SUPPORTED_LOG_PAGES = 1 << 5;
        /// Telemetry Data Area 4.
        const TELEMETRY_AREA_4 = 1 << 6;
        const _ = !0;
    }
}

bitflags! {
    /// Optional NVM Command Support (ONCS).
    #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
    pub struct OptionalNvmCommands: u16 {
        /// Compare.
        const COMPARE = 1 << 0;
        /// Write Uncorrectable.
        const WRITE_UNCORRECTABLE = 1 << 1;
        /// Dataset Management.
        const DATASET_MANAGEMENT = 1 << 2;
        /// Write Zeroes.
        const WRITE_ZEROES = 1 << 3;
        /// Save and Select of features.
        const SAVE_SELECT = 1 << 4;
        /// Reservations.
        const RESERVATIONS = 1 << 5;
        /// Timestamp feature.
        const TIMESTAMP = 1 << 6;
        /// Verify.
        const VERIFY = 1 << 7;
        /// Copy.
        const COPY = 1 << 8;
        /// Copy is atomic as one command (NVMe Base 2.1).
        const COPY_SINGLE_ATOMICITY = 1 << 9;
        /// All copies are fast (NVMe Base 2.1).
        const ALL_FAST_COPY = 1 << 10;
        /// Write Zeroes: if MAXWZD says so, more blocks with deallocation (NVMe Base 2.1).
        const WRITE_ZEROES_DEALLOCATE = 1 << 11;
        /// Namespace Zeroes: a Write Zeroes for the whole namespace (NVMe Base 2.1).
        const NAMESPACE_ZEROES = 1 << 12;
        const _ = !0;
    }
}

bitflags! {
    /// Fused Operation Support (FUSES).
    #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
    pub struct FusedOperations: u16 {
        /// Compare and Write.
        const COMPARE_AND_WRITE = 1 << 0;
        const _ = !0;
    }
}

bitfield! {
    /// SQES and CQES: entry sizes as powers of two.
    pub struct QueueEntrySizes(u8) {
        /// The required (smallest) size: 2^n.
        required, with_required: u8 = 0..4;
        /// The largest size: 2^n.
        maximum, with_maximum: u8 = 4..8;
    }
}

impl QueueEntrySizes {
    /// Entries of 64 bytes, the size of an SQE.
    pub const SQE: Self = Self(0x66);
    /// Entries of 16 bytes, the size of a CQE.
    pub const CQE: Self = Self(0x44);
}

open_enum! {
    /// VWC bits 2:1: whether Flush with NSID FFFFFFFFh flushes all namespaces.
    pub FlushAll: u8 {
        NOT_REPORTED = 0b00, "not reported";
        UNSUPPORTED = 0b10, "not supported";
        SUPPORTED = 0b11, "supported";
    }
}

bitfield! {
    /// Volatile Write Cache (VWC).
    pub struct VolatileWriteCacheSupport(u8) {
        /// There is a volatile write cache.
        present, with_present: bool = 0..1;
        /// What Flush does with the broadcast namespace.
        flush_all, with_flush_all: [FlushAll u8] = 1..3;
    }
}
