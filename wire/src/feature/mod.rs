//! Features: the Get Features and Set Features commands and the values of single features (NVMe Base 2.0 §5.27.1).
//!
//! A value of one dword is a bit field over dword 11 of Set Features and dword 0 of the completion of Get Features; a
//! longer one is a structure that goes as data.

mod value;

pub use value::*;

use crate::{AdminOpcode, Sqe};
use zerocopy::little_endian::U32;

open_enum! {
    /// Feature Identifiers (FID).
    pub Fid: u8 {
        ARBITRATION = 0x01, "Arbitration";
        POWER_MANAGEMENT = 0x02, "Power Management";
        LBA_RANGE_TYPE = 0x03, "LBA Range Type";
        TEMPERATURE_THRESHOLD = 0x04, "Temperature Threshold";
        ERROR_RECOVERY = 0x05, "Error Recovery";
        VOLATILE_WRITE_CACHE = 0x06, "Volatile Write Cache";
        NUMBER_OF_QUEUES = 0x07, "Number of Queues";
        INTERRUPT_COALESCING = 0x08, "Interrupt Coalescing";
        INTERRUPT_VECTOR = 0x09, "Interrupt Vector Configuration";
        WRITE_ATOMICITY = 0x0A, "Write Atomicity Normal";
        ASYNC_EVENT_CONFIGURATION = 0x0B, "Asynchronous Event Configuration";
        AUTONOMOUS_POWER_STATE = 0x0C, "Autonomous Power State Transition";
        HOST_MEMORY_BUFFER = 0x0D, "Host Memory Buffer";
        TIMESTAMP = 0x0E, "Timestamp";
        KEEP_ALIVE_TIMER = 0x0F, "Keep Alive Timer";
        HOST_THERMAL_MANAGEMENT = 0x10, "Host Controlled Thermal Management";
        NON_OPERATIONAL_POWER = 0x11, "Non-Operational Power State Config";
        READ_RECOVERY_LEVEL = 0x12, "Read Recovery Level Config";
        PREDICTABLE_LATENCY_CONFIG = 0x13, "Predictable Latency Mode Config";
        PREDICTABLE_LATENCY_WINDOW = 0x14, "Predictable Latency Mode Window";
        LBA_STATUS_INTERVAL = 0x15, "LBA Status Information Report Interval";
        HOST_BEHAVIOR_SUPPORT = 0x16, "Host Behavior Support";
        SANITIZE_CONFIG = 0x17, "Sanitize Config";
        ENDURANCE_GROUP_EVENTS = 0x18, "Endurance Group Event Configuration";
        IO_COMMAND_SET_PROFILE = 0x19, "I/O Command Set Profile";
        SPINUP_CONTROL = 0x1A, "Spinup Control";
        POWER_LOSS_SIGNALING = 0x1B, "Power Loss Signaling Config";
        PERFORMANCE_CHARACTERISTICS = 0x1C, "Performance Characteristics";
        FLEXIBLE_DATA_PLACEMENT = 0x1D, "Flexible Data Placement";
        FDP_EVENTS = 0x1E, "Flexible Data Placement Events";
        NAMESPACE_ADMIN_LABEL = 0x1F, "Namespace Admin Label";
        KEY_VALUE_CONFIGURATION = 0x20, "Key Value Configuration";
        CONTROLLER_DATA_QUEUE = 0x21, "Controller Data Queue";
        EMBEDDED_MANAGEMENT_ADDRESS = 0x78, "Embedded Management Controller Address";
        HOST_MANAGEMENT_AGENT_ADDRESS = 0x79, "Host Management Agent Address";
        ENHANCED_CONTROLLER_METADATA = 0x7D, "Enhanced Controller Metadata";
        CONTROLLER_METADATA = 0x7E, "Controller Metadata";
        NAMESPACE_METADATA = 0x7F, "Namespace Metadata";
        SOFTWARE_PROGRESS_MARKER = 0x80, "Software Progress Marker";
        HOST_IDENTIFIER = 0x81, "Host Identifier";
        RESERVATION_NOTIFICATION_MASK = 0x82, "Reservation Notification Mask";
        RESERVATION_PERSISTENCE = 0x83, "Reservation Persistence";
        NAMESPACE_WRITE_PROTECTION = 0x84, "Namespace Write Protection Config";
        BOOT_PARTITION_WRITE_PROTECTION = 0x85, "Boot Partition Write Protection Config";
    }
}

open_enum! {
    /// Select (SEL): which value of the feature Get Features asks for.
    pub Select: u8 {
        CURRENT = 0b000, "current value";
        DEFAULT = 0b001, "default value";
        SAVED = 0b010, "saved value";
        SUPPORTED_CAPABILITIES = 0b011, "supported capabilities";
    }
}

/// The fields of a Get Features command (NVMe Base 2.0 §5.15).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct GetFeatures {
    /// The namespace, for the features that have one.
    pub nsid: u32,
    /// Feature Identifier.
    pub fid: Fid,
    /// Select.
    pub sel: Select,
    /// Dword 11, whose meaning the feature defines.
    pub cdw11: u32,
    /// UUID Index, 7 bits.
    pub uuid_index: u8,
}

impl GetFeatures {
    /// The current value of a feature of the controller.
    #[must_use]
    pub const fn new(fid: Fid) -> Self {
        Self { nsid: 0, fid, sel: Select::CURRENT, cdw11: 0, uuid_index: 0 }
    }

    /// The fields of the command.
    #[must_use]
    pub const fn parse(sqe: &Sqe) -> Self {
        let cdw10 = sqe.cdw10.get();
        Self {
            nsid: sqe.nsid(),
            fid: Fid(cdw10 as u8),
            sel: Select((cdw10 >> 8) as u8 & 0b111),
            cdw11: sqe.cdw11.get(),
            uuid_index: sqe.cdw14.get() as u8 & 0x7F,
        }
    }

    /// The command.
    #[must_use]
    pub const fn to_sqe(self) -> Sqe {
        let mut sqe = Sqe::admin(AdminOpcode::GET_FEATURES).with_nsid(self.nsid);
        sqe.cdw10 = U32::new(self.fid.0 as u32 | ((self.sel.0 & 0b111) as u32) << 8);
        sqe.cdw11 = U32::new(self.cdw11);
        sqe.cdw14 = U32::new((self.uuid_index & 0x7F) as u32);
        sqe
    }
}

/// The fields of a Set Features command (NVMe Base 2.0 §5.27).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct SetFeatures {
    /// The namespace, for the features that have one.
    pub nsid: u32,
    /// Feature Identifier.
    pub fid: Fid,
    /// Save (SV): keep the value through power cycles and resets.
    pub save: bool,
    /// Dword 11: the value, or what belongs to the value in the data.
    pub cdw11: u32,
    /// Dword 12.
    pub cdw12: u32,
    /// UUID Index, 7 bits.
    pub uuid_index: u8,
}

impl SetFeatures {
    /// Sets a feature of the controller to a value of one dword.
    #[must_use]
    pub const fn new(fid: Fid, value: u32) -> Self {
        Self { nsid: 0, fid, save: false, cdw11: value, cdw12: 0, uuid_index: 0 }
    }

    /// The fields of the command.
    #[must_use]
    pub const fn parse(sqe: &Sqe) -> Self {
        let cdw10 = sqe.cdw10.get();
        Self {
            nsid: sqe.nsid(),
            fid: Fid(cdw10 as u8),
            save: cdw10 & (1 << 31) != 0,
            cdw11: sqe.cdw11.get(),
            cdw12: sqe.cdw12.get(),
            uuid_index: sqe.cdw14.get() as u8 & 0x7F,
        }
    }

    /// The command.
    #[must_use]
    pub const fn to_sqe(self) -> Sqe {
        let mut sqe = Sqe::admin(AdminOpcode::SET_FEATURES).with_nsid(self.nsid);
        sqe.cdw10 = U32::new(self.fid.0 as u32 | (self.save as u32) << 31);
        sqe.cdw11 = U32::new(self.cdw11);
        sqe.cdw12 = U32::new(self.cdw12);
        sqe.cdw14 = U32::new((self.uuid_index & 0x7F) as u32);
        sqe
    }
}
