//! Errors, health, firmware and changed namespaces (NVMe Base 2.0 §5.16.1.2 to §5.16.1.5).

use crate::identify::CommandSet;
use crate::log::discovery::TransportType;
use crate::{Ascii, Cid, Status};
use bitflags::bitflags;
use zerocopy::little_endian::{U16, U32, U64, U128};

wire_struct! {
    /// One entry of the Error Information log page (LID 01h), the newest first.
    pub struct ErrorInformation[64] {
        /// Number of this error since the controller was made; 0 in an entry that is none.
        pub error_count: U64,
        /// Submission Queue; FFFFh if no command is to blame.
        pub sqid: U16,
        /// Command Identifier; FFFFh if no command is to blame.
        pub cid: U16,
        /// Phase tag in bit 0, the status in bits 15:1, as in the completion.
        pub status: U16,
        /// Parameter Error Location: byte of the command in 7:0, bit in 10:8; FFFFh if no parameter is to blame.
        pub parameter_error_location: U16,
        /// The first LBA that had the error.
        pub lba: U64,
        /// The namespace.
        pub nsid: U32,
        /// Vendor Specific Information Available: a log page identifier, or 0.
        pub vendor_information: u8,
        /// Transport Type.
        pub trtype: TransportType,
        /// Command Set Indicator (NVMe Base 2.1).
        pub csi: CommandSet,
        /// Opcode (NVMe Base 2.1).
        pub opcode: u8,
        /// Command Specific Information.
        pub command_specific: U64,
        /// Transport Type Specific Information.
        pub transport_specific: U16,
        pub(crate) reserved_42: [u8; 21],
        /// Log Page Version (NVMe Base 2.1).
        pub log_page_version: u8,
    }
}

impl ErrorInformation {
    /// [`ErrorInformation::sqid`] and its like when nothing is to blame.
    pub const NONE: u16 = 0xFFFF;

    /// Sets how the command ended.
    pub fn set_status(&mut self, status: Status) -> &mut Self {
        self.status = U16::new(status.raw() << 1);
        self
    }

    /// How the command ended.
    pub fn status(&self) -> Status {
        Status::from_raw(self.status.get() >> 1)
    }

    /// The command.
    #[must_use]
    pub fn cid(&self) -> Cid {
        Cid(self.cid.get())
    }
}

bitflags! {
    /// Critical Warning: what is wrong right now; the same bits enable its events.
    #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
    pub struct CriticalWarning: u8 {
        /// Available spare capacity is below its threshold.
        const SPARE = 1 << 0;
        /// A temperature is beyond a threshold.
        const TEMPERATURE = 1 << 1;
        /// The subsystem's reliability is degraded.
        const RELIABILITY = 1 << 2;
        /// The media are read only.
        const READ_ONLY = 1 << 3;
        /// The backup of volatile memory failed.
        const VOLATILE_MEMORY_BACKUP = 1 << 4;
        /// The persistent memory region is read only or unreliable.
        const PERSISTENT_MEMORY_REGION = 1 << 5;
        const _ = !0;
    }
}

wire_struct! {
    /// SMART / Health Information (LID 02h).
    pub struct SmartHealth[512] {
        /// Critical Warning: [`CriticalWarning`].
        pub critical_warning: u8,
        /// Composite Temperature in kelvins.
        pub composite_temperature: U16,
        /// Available Spare in percent.
        pub available_spare: u8,
        /// Available Spare Threshold in percent.
        pub available_spare_threshold: u8,
        /// Percentage Used; may exceed 100.
        pub percentage_used: u8,
        /// Endurance Group Critical Warning Summary.
        pub endurance_group_warning: u8,
        pub(crate) reserved_7: [u8; 25],
        /// Data Units Read, in 1000 units of 512 bytes.
        pub data_units_read: U128,
        /// Data Units Written, in 1000 units of 512 bytes.
        pub data_units_written: U128,
        /// Host Read Commands.
        pub host_read_commands: U128,
        /// Host Write Commands.
        pub host_write_commands: U128,
        /// Controller Busy Time in minutes.
        pub controller_busy_time: U128,
        /// Power Cycles.
        pub power_cycles: U128,
        /// Power On Hours.
        pub power_on_hours: U128,
        /// Unsafe Shutdowns.
        pub unsafe_shutdowns: U128,
        /// Media and Data Integrity Errors.
        pub media_errors: U128,
        /// Number of Error Information Log Entries over the controller's life.
        pub error_log_entries: U128,
        /// Warning Composite Temperature Time in minutes.
        pub warning_temperature_time: U32,
        /// Critical Composite Temperature Time in minutes.
        pub critical_temperature_time: U32,
        /// Temperature Sensors 1 to 8 in kelvins; 0 for none.
        pub temperature_sensors: [U16; 8],
        /// Thermal Management Temperature 1 Transition Count.
        pub thermal_1_transitions: U32,
        /// Thermal Management Temperature 2 Transition Count.
        pub thermal_2_transitions: U32,
        /// Total Time For Thermal Management Temperature 1 in seconds.
        pub thermal_1_time: U32,
        /// Total Time For Thermal Management Temperature 2 in seconds.
        pub thermal_2_time: U32,
        pub(crate) reserved_232: [u8; 280],
    }
}

typed_fields! {
    SmartHealth {
        critical_warning, set_critical_warning: CriticalWarning;
    }
}

bitfield! {
    /// Active Firmware Info.
    pub struct ActiveFirmware(u8) {
        /// The slot the running firmware came from.
        current, with_current: u8 = 0..3;
        /// The slot to be activated at the next reset; 0 for no change.
        next, with_next: u8 = 4..7;
    }
}

wire_struct! {
    /// Firmware Slot Information (LID 03h).
    pub struct FirmwareSlots[512] {
        /// Active Firmware Info: [`ActiveFirmware`].
        pub afi: u8,
        pub(crate) reserved_1: [u8; 7],
        /// Firmware Revisions of slots 1 to 7; all zero for an empty slot.
        pub revisions: [Ascii<8>; 7],
        pub(crate) reserved_64: [u8; 448],
    }
}

typed_fields! {
    FirmwareSlots {
        afi, set_afi: ActiveFirmware;
    }
}

wire_struct! {
    /// Changed Attached Namespace List (LID 04h): ascending, ended by a 0 if shorter.
    pub struct ChangedNamespaces[4096] {
        /// Namespace identifiers.
        pub nsids: [U32; 1024],
    }
}

impl ChangedNamespaces {
    /// The list; more than 1024 are said as the one entry FFFFFFFFh, as the page wants it.
    pub fn new(changed: impl IntoIterator<Item = u32>) -> Self {
        let mut list = Self::zeroed();
        let mut slots = list.nsids.iter_mut();
        for nsid in changed {
            match slots.next() {
                Some(slot) => *slot = U32::new(nsid),
                None => return Self::overflowed(),
            }
        }
        list
    }

    fn overflowed() -> Self {
        let mut list = Self::zeroed();
        list.nsids[0] = U32::new(crate::sqe::NSID_BROADCAST);
        list
    }

    /// Whether more than 1024 namespaces changed, so that the host has to look at all.
    #[must_use]
    pub fn is_overflowed(&self) -> bool {
        self.nsids[0].get() == crate::sqe::NSID_BROADCAST
    }

    /// The identifiers, up to the first 0.
    pub fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        self.nsids.iter().map(|nsid| nsid.get()).take_while(|&nsid| nsid != 0)
    }
}
