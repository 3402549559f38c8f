//! The values of single features (NVMe Base 2.0 §5.27.1; NVM Command Set 1.0 §4.1.3).
//!
//! Features of a PCIe function are here only where a controller has to know them to refuse them.

use crate::log::health::CriticalWarning;
use bitflags::bitflags;
use zerocopy::little_endian::U16;

bitfield! {
    /// What Get Features returns for [`super::Select::SUPPORTED_CAPABILITIES`].
    pub struct FeatureCapabilities(u32) {
        /// The value can be saved.
        saveable, with_saveable: bool = 0..1;
        /// Each namespace has a value of its own.
        namespace_specific, with_namespace_specific: bool = 1..2;
        /// The value can be changed.
        changeable, with_changeable: bool = 2..3;
    }
}

bitfield! {
    /// Arbitration (FID 01h).
    pub struct ArbitrationFeature(u32) {
        /// Arbitration Burst: 2^n commands, 7 for no limit.
        burst, with_burst: u8 = 0..3;
        /// Low Priority Weight, 0's based.
        low_weight, with_low_weight: u8 = 8..16;
        /// Medium Priority Weight, 0's based.
        medium_weight, with_medium_weight: u8 = 16..24;
        /// High Priority Weight, 0's based.
        high_weight, with_high_weight: u8 = 24..32;
    }
}

bitfield! {
    /// Power Management (FID 02h).
    pub struct PowerManagement(u32) {
        /// Power State.
        power_state, with_power_state: u8 = 0..5;
        /// Workload Hint.
        workload_hint, with_workload_hint: u8 = 5..8;
    }
}

bitfield! {
    /// Temperature Threshold (FID 04h).
    pub struct TemperatureThreshold(u32) {
        /// The threshold in kelvins.
        threshold, with_threshold: u16 = 0..16;
        /// Threshold Temperature Select: 0 the composite temperature, 1 to 8 a sensor, Fh all (Set Features only).
        select, with_select: u8 = 16..20;
        /// Threshold Type Select: 0 over, 1 under.
        kind, with_kind: u8 = 20..22;
        /// Temperature Threshold Hysteresis in kelvins (NVMe Base 2.1).
        hysteresis, with_hysteresis: u8 = 22..25;
    }
}

bitfield! {
    /// Error Recovery (FID 05h, NVM Command Set 1.0 §4.1.3).
    pub struct ErrorRecovery(u32) {
        /// Time Limited Error Recovery in 100 ms; 0 for no limit.
        time_limit, with_time_limit: u16 = 0..16;
        /// Deallocated or Unwritten Logical Block Error Enable.
        dulbe, with_dulbe: bool = 16..17;
    }
}

bitfield! {
    /// Volatile Write Cache (FID 06h).
    pub struct VolatileWriteCache(u32) {
        /// Write Cache Enable.
        enabled, with_enabled: bool = 0..1;
    }
}

bitfield! {
    /// Number of Queues (FID 07h): what is requested and what is granted, both 0's based and without the Admin queue.
    pub struct NumberOfQueues(u32) {
        /// I/O submission queues, 0's based. FFFFh is invalid.
        submission, with_submission: u16 = 0..16;
        /// I/O completion queues, 0's based. FFFFh is invalid.
        completion, with_completion: u16 = 16..32;
    }
}

impl NumberOfQueues {
    /// As many of both, 1's based; 0 counts as 1 and more than 65535 as 65535.
    #[must_use]
    pub const fn pairs(count: u32) -> Self {
        let zero_based = match count {
            0 => 0,
            1..=0xFFFF => (count - 1) as u16,
            _ => 0xFFFE,
        };
        Self(0).with_submission(zero_based).with_completion(zero_based)
    }

    /// Queue pairs that come of it, 1's based: the lesser of both numbers.
    #[must_use]
    pub const fn queue_pairs(self) -> u32 {
        let (submission, completion) = (self.submission(), self.completion());
        let fewer = if submission < completion { submission } else { completion };
        fewer as u32 + 1
    }

    /// Whether both numbers are allowed.
    #[must_use]
    pub const fn is_valid(self) -> bool {
        self.submission() != 0xFFFF && self.completion() != 0xFFFF
    }
}

bitfield! {
    /// Interrupt Coalescing (FID 08h); not for Fabrics.
    pub struct InterruptCoalescing(u32) {
        /// Aggregation Threshold, 0's based.
        threshold, with_threshold: u8 = 0..8;
        /// Aggregation Time in 100 µs.
        time, with_time: u8 = 8..16;
    }
}

bitfield! {
    /// Interrupt Vector Configuration (FID 09h); not for Fabrics.
    pub struct InterruptVector(u32) {
        /// Interrupt Vector.
        vector, with_vector: u16 = 0..16;
        /// Coalescing Disable.
        coalescing_disabled, with_coalescing_disabled: bool = 16..17;
    }
}

bitfield! {
    /// Write Atomicity Normal (FID 0Ah).
    pub struct WriteAtomicity(u32) {
        /// Disable Normal: AWUN and NAWUN need not be honoured.
        disable_normal, with_disable_normal: bool = 0..1;
    }
}

bitflags! {
    /// Asynchronous Event Configuration (FID 0Bh): which events are reported; of notices, also Identify Controller OAES.
    #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
    pub struct AsyncEventConfiguration: u32 {
        /// Attached Namespace Attribute Notices.
        const NAMESPACE_ATTRIBUTE = 1 << 8;
        /// Firmware Activation Notices.
        const FIRMWARE_ACTIVATION = 1 << 9;
        /// Telemetry Log Notices.
        const TELEMETRY_LOG = 1 << 10;
        /// Asymmetric Namespace Access Change Notices.
        const ANA_CHANGE = 1 << 11;
        /// Predictable Latency Event Aggregate Log Change Notices.
        const PREDICTABLE_LATENCY_AGGREGATE = 1 << 12;
        /// LBA Status Information Alert Notices.
        const LBA_STATUS = 1 << 13;
        /// Endurance Group Event Aggregate Log Change Notices.
        const ENDURANCE_GROUP_AGGREGATE = 1 << 14;
        /// Normal NVM Subsystem Shutdown.
        const NORMAL_SUBSYSTEM_SHUTDOWN = 1 << 15;
        /// Temperature Threshold Hysteresis Recovery (NVMe Base 2.1).
        const TEMPERATURE_HYSTERESIS = 1 << 16;
        /// Reachability Groups Change Notices (NVMe Base 2.1).
        const REACHABILITY_GROUPS = 1 << 17;
        /// Reachability Association Change Notices (NVMe Base 2.1).
        const REACHABILITY_ASSOCIATIONS = 1 << 18;
        /// Allocated Namespace Attribute Notices (NVMe Base 2.1).
        const ALLOCATED_NAMESPACE_ATTRIBUTE = 1 << 19;
        /// Zone Descriptor Changed Notices.
        const ZONE_DESCRIPTOR = 1 << 27;
        /// Pull Model DDC Request Log Page Change Notification.
        const PULL_MODEL_DDC_REQUEST = 1 << 28;
        /// AVE Discovery Log Page Change Notification.
        const AVE_DISCOVERY = 1 << 29;
        /// Host Discovery Log Page Change Notification.
        const HOST_DISCOVERY = 1 << 30;
        /// Discovery Log Page Change Notification.
        const DISCOVERY_LOG_CHANGE = 1 << 31;
        const _ = !0;
    }
}

impl AsyncEventConfiguration {
    /// Bits 7:0: the critical warnings that are reported.
    #[must_use]
    pub const fn critical_warnings(self) -> CriticalWarning {
        CriticalWarning::from_bits_retain(self.bits() as u8)
    }

    /// The same with other critical warnings.
    #[must_use]
    pub const fn with_critical_warnings(self, warnings: CriticalWarning) -> Self {
        Self::from_bits_retain((self.bits() & !0xFF) | warnings.bits() as u32)
    }
}

bitfield! {
    /// Autonomous Power State Transition (FID 0Ch).
    pub struct AutonomousPowerState(u32) {
        /// Enable.
        enabled, with_enabled: bool = 0..1;
    }
}

wire_struct! {
    /// Timestamp (FID 0Eh): 8 bytes of data.
    pub struct Timestamp[8] {
        /// Milliseconds since 1970-01-01 00:00 UTC, or since the controller was reset; 48 bits.
        pub milliseconds: [u8; 6],
        /// [`TimestampAttributes`]; reserved in Set Features.
        pub attributes: u8,
        pub(crate) reserved_7: u8,
    }
}

bitfield! {
    /// Byte 6 of [`Timestamp`].
    pub struct TimestampAttributes(u8) {
        /// Synch: the controller may have stopped counting in between.
        stopped, with_stopped: bool = 0..1;
        /// Timestamp Origin: 0 cleared by a reset, 1 set by Set Features.
        origin, with_origin: u8 = 1..4;
    }
}

typed_fields! {
    Timestamp {
        attributes, set_attributes: TimestampAttributes;
    }
}

impl Timestamp {
    /// The 48 bits.
    #[must_use]
    pub const fn milliseconds(&self) -> u64 {
        let [a, b, c, d, e, f] = self.milliseconds;
        u64::from_le_bytes([a, b, c, d, e, f, 0, 0])
    }

    /// Sets the 48 bits; what does not fit is dropped.
    pub const fn set_milliseconds(&mut self, value: u64) -> &mut Self {
        let [a, b, c, d, e, f, _, _] = value.to_le_bytes();
        self.milliseconds = [a, b, c, d, e, f];
        self
    }
}

wire_struct! {
    /// Host Behavior Support (FID 16h): 512 bytes of data.
    pub struct HostBehavior[512] {
        /// Advanced Command Retry Enable: 1 if the host honours CRD.
        pub acre: u8,
        /// Extended Telemetry Data Area 4 Supported.
        pub etdas: u8,
        /// LBA Format Extension Enable.
        pub lbafee: u8,
        /// Host Dispersed Namespace Support (NVMe Base 2.1).
        pub hdisns: u8,
        /// Copy Descriptor Formats Enable (NVMe Base 2.1).
        pub cdfe: U16,
        pub(crate) reserved_6: [u8; 506],
    }
}

bitfield! {
    /// I/O Command Set Profile (FID 19h).
    pub struct IoCommandSetProfile(u32) {
        /// Index of the combination in Identify CNS 1Ch.
        index, with_index: u16 = 0..9;
    }
}

bitfield! {
    /// Host Identifier (FID 81h): dword 11; the identifier itself is 8 or 16 bytes of data.
    pub struct HostIdentifier(u32) {
        /// Enable Extended Host Identifier: 16 bytes, the only form Fabrics has.
        extended, with_extended: bool = 0..1;
    }
}

open_enum! {
    /// Namespace Write Protection Config (FID 84h): the state.
    pub WriteProtection: u8 {
        NONE = 0b000, "not write protected";
        WRITE_PROTECT = 0b001, "write protected";
        UNTIL_POWER_CYCLE = 0b010, "write protected until the next power cycle";
        PERMANENT = 0b011, "permanently write protected";
    }
}
