//! Identify Controller (CNS 01h, NVMe Base 2.0 §5.17.2.1; fields NVMe Base 2.1 added say so).

use super::capability::{
    ControllerAttributes, FusedOperations, LogPageAttributes, OptionalAdminCommands, OptionalAsyncEvents,
    OptionalNvmCommands, QueueEntrySizes, VolatileWriteCacheSupport,
};
use super::power::PowerState;
use crate::property::Version;
use crate::{Ascii, NqnField};
use zerocopy::little_endian::{U16, U32, U128};

wire_struct! {
    /// What a controller is and can do.
    pub struct IdentifyController[4096] {
        /// PCI Vendor ID; 0 if it is no PCI device.
        pub vid: U16,
        /// PCI Subsystem Vendor ID.
        pub ssvid: U16,
        /// Serial Number.
        pub sn: Ascii<20>,
        /// Model Number.
        pub mn: Ascii<40>,
        /// Firmware Revision.
        pub fr: Ascii<8>,
        /// Recommended Arbitration Burst: 2^n commands.
        pub rab: u8,
        /// IEEE OUI Identifier, least significant byte first.
        pub ieee: [u8; 3],
        /// Controller Multi-Path I/O and Namespace Sharing Capabilities: bit 0 several ports, 1 several controllers,
        /// 2 an SR-IOV virtual function, 3 asymmetric namespace access reporting.
        pub cmic: u8,
        /// Maximum Data Transfer Size: 2^n memory pages of CAP.MPSMIN; 0 for no limit.
        pub mdts: u8,
        /// Controller ID.
        pub cntlid: U16,
        /// Version: [`crate::property::Version`].
        pub ver: U32,
        /// RTD3 Resume Latency in µs.
        pub rtd3r: U32,
        /// RTD3 Entry Latency in µs.
        pub rtd3e: U32,
        /// Optional Asynchronous Events Supported: [`OptionalAsyncEvents`].
        pub oaes: U32,
        /// Controller Attributes: [`ControllerAttributes`].
        pub ctratt: U32,
        /// Read Recovery Levels Supported.
        pub rrls: U16,
        /// Boot Partition Capabilities (NVMe Base 2.1).
        pub bpcap: u8,
        pub(crate) reserved_103: u8,
        /// NVM Subsystem Shutdown Latency in µs (NVMe Base 2.1).
        pub nssl: U32,
        pub(crate) reserved_108: [u8; 2],
        /// Power Loss Signaling Information (NVMe Base 2.1).
        pub plsi: u8,
        /// Controller Type.
        pub cntrltype: ControllerType,
        /// FRU Globally Unique Identifier.
        pub fguid: [u8; 16],
        /// Command Retry Delay Time 1 in 100 ms.
        pub crdt1: U16,
        /// Command Retry Delay Time 2 in 100 ms.
        pub crdt2: U16,
        /// Command Retry Delay Time 3 in 100 ms.
        pub crdt3: U16,
        /// Controller Reachability Capabilities (NVMe Base 2.1).
        pub crcap: u8,
        pub(crate) reserved_135: [u8; 118],
        /// NVM Subsystem Report.
        pub nvmsr: u8,
        /// VPD Write Cycle Information.
        pub vwci: u8,
        /// Management Endpoint Capabilities.
        pub mec: u8,
        /// Optional Admin Command Support: [`OptionalAdminCommands`].
        pub oacs: U16,
        /// Abort Command Limit, 0's based.
        pub acl: u8,
        /// Asynchronous Event Request Limit, 0's based.
        pub aerl: u8,
        /// Firmware Updates: bit 0 slot 1 is read only, bits 3:1 number of slots, 4 activation without reset.
        pub frmw: u8,
        /// Log Page Attributes: [`LogPageAttributes`].
        pub lpa: u8,
        /// Error Log Page Entries, 0's based.
        pub elpe: u8,
        /// Number of Power States Support, 0's based.
        pub npss: u8,
        /// Admin Vendor Specific Command Configuration.
        pub avscc: u8,
        /// Autonomous Power State Transition Attributes.
        pub apsta: u8,
        /// Warning Composite Temperature Threshold in kelvins.
        pub wctemp: U16,
        /// Critical Composite Temperature Threshold in kelvins.
        pub cctemp: U16,
        /// Maximum Time for Firmware Activation in 100 ms.
        pub mtfa: U16,
        /// Host Memory Buffer Preferred Size in 4 KiB.
        pub hmpre: U32,
        /// Host Memory Buffer Minimum Size in 4 KiB.
        pub hmmin: U32,
        /// Total NVM Capacity in bytes.
        pub tnvmcap: U128,
        /// Unallocated NVM Capacity in bytes.
        pub unvmcap: U128,
        /// Replay Protected Memory Block Support.
        pub rpmbs: U32,
        /// Extended Device Self-test Time in minutes.
        pub edstt: U16,
        /// Device Self-test Options.
        pub dsto: u8,
        /// Firmware Update Granularity in 4 KiB.
        pub fwug: u8,
        /// Keep Alive Support: granularity of the timer in 100 ms; 0 for no Keep Alive.
        pub kas: U16,
        /// Host Controlled Thermal Management Attributes.
        pub hctma: U16,
        /// Minimum Thermal Management Temperature in kelvins.
        pub mntmt: U16,
        /// Maximum Thermal Management Temperature in kelvins.
        pub mxtmt: U16,
        /// Sanitize Capabilities.
        pub sanicap: U32,
        /// Host Memory Buffer Minimum Descriptor Entry Size in 4 KiB.
        pub hmminds: U32,
        /// Host Memory Maximum Descriptors Entries.
        pub hmmaxd: U16,
        /// NVM Set Identifier Maximum.
        pub nsetidmax: U16,
        /// Endurance Group Identifier Maximum.
        pub endgidmax: U16,
        /// ANA Transition Time in seconds.
        pub anatt: u8,
        /// Asymmetric Namespace Access Capabilities.
        pub anacap: u8,
        /// ANA Group Identifier Maximum.
        pub anagrpmax: U32,
        /// Number of ANA Group Identifiers.
        pub nanagrpid: U32,
        /// Persistent Event Log Size in 64 KiB.
        pub pels: U32,
        /// Domain Identifier.
        pub did: U16,
        /// Key Per I/O Capabilities (NVMe Base 2.1).
        pub kpioc: u8,
        pub(crate) reserved_359: u8,
        /// Maximum Processing Time for Firmware Activation Without Reset in 100 ms (NVMe Base 2.1).
        pub mptfawr: U16,
        pub(crate) reserved_362: [u8; 6],
        /// Max Endurance Group Capacity in bytes.
        pub megcap: U128,
        /// Temperature Threshold Hysteresis Attributes (NVMe Base 2.1).
        pub tmpthha: u8,
        pub(crate) reserved_385: u8,
        /// Command Quiesce Time in ms (NVMe Base 2.1).
        pub cqt: U16,
        pub(crate) reserved_388: [u8; 124],
        /// Submission Queue Entry Size: [`QueueEntrySizes`].
        pub sqes: u8,
        /// Completion Queue Entry Size: [`QueueEntrySizes`].
        pub cqes: u8,
        /// Maximum Outstanding Commands of one queue; 0 for not reported.
        pub maxcmd: U16,
        /// Number of Namespaces: the largest namespace identifier.
        pub nn: U32,
        /// Optional NVM Command Support: [`OptionalNvmCommands`].
        pub oncs: U16,
        /// Fused Operation Support: [`FusedOperations`].
        pub fuses: U16,
        /// Format NVM Attributes.
        pub fna: u8,
        /// Volatile Write Cache: [`VolatileWriteCacheSupport`].
        pub vwc: u8,
        /// Atomic Write Unit Normal in logical blocks, 0's based.
        pub awun: U16,
        /// Atomic Write Unit Power Fail in logical blocks, 0's based.
        pub awupf: U16,
        /// I/O Command Set Vendor Specific Command Configuration.
        pub icsvscc: u8,
        /// Namespace Write Protection Capabilities.
        pub nwpc: u8,
        /// Atomic Compare & Write Unit in logical blocks, 0's based.
        pub acwu: U16,
        /// Copy Descriptor Formats Supported.
        pub cdfs: U16,
        /// SGL Support: [`SglSupport`].
        pub sgls: U32,
        /// Maximum Number of Allowed Namespaces.
        pub mnan: U32,
        /// Maximum Domain Namespace Attachments.
        pub maxdna: U128,
        /// Maximum I/O Controller Namespace Attachments.
        pub maxcna: U32,
        /// Optimal Aggregated Queue Depth (NVMe Base 2.1).
        pub oaqd: U32,
        /// Recommended Host-Initiated Refresh Interval in days (NVMe Base 2.1).
        pub rhiri: u8,
        /// Host-Initiated Refresh Time in minutes (NVMe Base 2.1).
        pub hirt: u8,
        /// Controller Maximum Memory Range Tracking Descriptors (NVMe Base 2.1).
        pub cmmrtd: U16,
        /// NVM Subsystem Maximum Memory Range Tracking Descriptors (NVMe Base 2.1).
        pub nmmrtd: U16,
        /// Minimum Memory Range Tracking Granularity (NVMe Base 2.1).
        pub minmrtg: u8,
        /// Maximum Memory Range Tracking Granularity (NVMe Base 2.1).
        pub maxmrtg: u8,
        /// Tracking Attributes (NVMe Base 2.1).
        pub trattr: u8,
        pub(crate) reserved_577: u8,
        /// Maximum Controller User Data Migration Queues (NVMe Base 2.1).
        pub mcudmq: U16,
        /// Maximum NVM Subsystem User Data Migration Queues (NVMe Base 2.1).
        pub mnsudmq: U16,
        /// Maximum CDQ Memory Ranges (NVMe Base 2.1).
        pub mcmr: U16,
        /// NVM Subsystem Maximum CDQ Memory Ranges (NVMe Base 2.1).
        pub nmcmr: U16,
        /// Maximum Controller Data Queue PRP Count (NVMe Base 2.1).
        pub mcdqpc: U16,
        pub(crate) reserved_588: [u8; 180],
        /// NVM Subsystem NVMe Qualified Name.
        pub subnqn: NqnField,
        pub(crate) reserved_1024: [u8; 768],
        /// I/O Queue Command Capsule Supported Size in 16 bytes: the SQE and in-capsule data; at least 4.
        pub ioccsz: U32,
        /// I/O Queue Response Capsule Supported Size in 16 bytes; at least 1.
        pub iorcsz: U32,
        /// In Capsule Data Offset in 16 bytes, from behind the SQE.
        pub icdoff: U16,
        /// Fabrics Controller Attributes: [`FabricsAttributes`].
        pub fcatt: u8,
        /// Maximum SGL Data Block Descriptors of a command; 0 for no limit.
        pub msdbd: u8,
        /// Optional Fabrics Commands Support: bit 0 Disconnect.
        pub ofcs: U16,
        /// Discovery Controller Type: 0 not reported, 1 direct, 2 central.
        pub dctype: u8,
        pub(crate) reserved_1807: [u8; 241],
        /// Power State Descriptors; as many as NPSS says.
        pub psd: [PowerState; 32],
        /// Vendor Specific.
        pub vs: [u8; 1024],
    }
}

typed_fields! {
    IdentifyController {
        ver, set_ver: Version;
        oaes, set_oaes: OptionalAsyncEvents;
        ctratt, set_ctratt: ControllerAttributes;
        oacs, set_oacs: OptionalAdminCommands;
        lpa, set_lpa: LogPageAttributes;
        sqes, set_sqes: QueueEntrySizes;
        cqes, set_cqes: QueueEntrySizes;
        oncs, set_oncs: OptionalNvmCommands;
        fuses, set_fuses: FusedOperations;
        vwc, set_vwc: VolatileWriteCacheSupport;
        sgls, set_sgls: SglSupport;
        fcatt, set_fcatt: FabricsAttributes;
    }
}

open_enum! {
    /// Controller Type (CNTRLTYPE).
    pub ControllerType: u8 {
        NOT_REPORTED = 0x00, "not reported";
        IO = 0x01, "I/O controller";
        DISCOVERY = 0x02, "discovery controller";
        ADMINISTRATIVE = 0x03, "administrative controller";
    }
}

bitfield! {
    /// SGL Support (SGLS).
    pub struct SglSupport(u32) {
        /// 0 none, 1 of any alignment, 2 aligned to dwords.
        supported, with_supported: u8 = 0..2;
        /// Keyed SGL Data Block descriptors.
        keyed, with_keyed: bool = 2..3;
        /// SGL Descriptor Threshold: descriptors of a command that make it slow if exceeded; 0 for not reported.
        descriptor_threshold, with_descriptor_threshold: u8 = 8..16;
        /// SGL Bit Bucket descriptors.
        bit_bucket, with_bit_bucket: bool = 16..17;
        /// The metadata pointer may be byte aligned.
        metadata_byte_aligned, with_metadata_byte_aligned: bool = 17..18;
        /// An SGL may be longer than the data.
        oversized, with_oversized: bool = 18..19;
        /// The metadata pointer may point to an SGL descriptor.
        metadata_sgl, with_metadata_sgl: bool = 19..20;
        /// The address of a data block, segment or last segment may be an offset.
        offset, with_offset: bool = 20..21;
        /// Transport SGL Data Block descriptors.
        transport, with_transport: bool = 21..22;
    }
}

bitfield! {
    /// Fabrics Controller Attributes (FCATT).
    pub struct FabricsAttributes(u8) {
        /// The controller is of the static model, not of the dynamic one.
        static_model, with_static_model: bool = 0..1;
    }
}

impl IdentifyController {
    /// OFCS bit 0: the Disconnect command is supported.
    pub const OFCS_DISCONNECT: u16 = 1 << 0;

    /// In-capsule data bytes an I/O command capsule has room for, by IOCCSZ and ICDOFF; `None` if IOCCSZ is less than
    /// an SQE.
    #[must_use]
    pub fn in_capsule_data(&self) -> Option<u64> {
        let capsule = u64::from(self.ioccsz.get()) * 16;
        let before = 64 + u64::from(self.icdoff.get()) * 16;
        if capsule < 64 { None } else { Some(capsule.saturating_sub(before)) }
    }

    /// The longest transfer in bytes by MDTS; `None` for no limit (or one beyond 2^63 bytes).
    #[must_use]
    pub fn max_transfer(&self, min_page_size: u32) -> Option<u64> {
        match self.mdts {
            0 => None,
            exponent => u64::from(min_page_size).checked_mul(1_u64.checked_shl(u32::from(exponent))?),
        }
    }
}
