//! Identify structures that came with several I/O command sets: CNS 05h, 06h (NVM Command Set 1.0 §4.1.5.3, §4.1.5.4),
//! 08h and 1Ch (NVMe Base 2.0 §5.17.2.8, §5.17.2.21).

use bitflags::bitflags;
use zerocopy::little_endian::{U16, U32, U64};

open_enum! {
    /// Protection Information Format (PIF) of an extended LBA format.
    pub ProtectionFormat: u8 {
        GUARD_16 = 0b00, "16-bit guard";
        GUARD_32 = 0b01, "32-bit guard";
        GUARD_64 = 0b10, "64-bit guard";
        QUALIFIED = 0b11, "by the qualified protection information format";
    }
}

bitfield! {
    /// Extended LBA Format.
    pub struct ExtendedLbaFormat(u32) {
        /// Storage Tag Size in bits.
        storage_tag_size, with_storage_tag_size: u8 = 0..7;
        /// Protection Information Format.
        protection_format, with_protection_format: [ProtectionFormat u8] = 7..9;
        /// Qualified Protection Information Format (NVM Command Set 1.1).
        qualified_format, with_qualified_format: u8 = 9..13;
    }
}

wire_struct! {
    /// I/O Command Set specific Identify Namespace of the NVM command set (CNS 05h, CSI 00h).
    pub struct IdentifyNamespaceNvm[4096] {
        /// Logical Block Storage Tag Mask.
        pub lbstm: U64,
        /// Protection Information Capabilities: bit 0 16-bit guard with storage tag, 1 its mask, 2 qualified formats.
        pub pic: u8,
        /// Protection Information Format Attribute (NVM Command Set 1.1).
        pub pifa: u8,
        pub(crate) reserved_10: [u8; 2],
        /// Extended LBA Formats: [`ExtendedLbaFormat`], by the same index as LBA formats.
        pub elbaf: [U32; 64],
        /// Namespace Preferred Deallocate Granularity Large (NVM Command Set 1.1).
        pub npdgl: U32,
        /// Namespace Preferred Read Granularity (NVM Command Set 1.1).
        pub nprg: U32,
        /// Namespace Preferred Read Alignment (NVM Command Set 1.1).
        pub npra: U32,
        /// Namespace Optimal Read Size (NVM Command Set 1.1).
        pub nors: U32,
        /// Namespace Preferred Deallocate Alignment Large (NVM Command Set 1.1).
        pub npdal: U32,
        /// LBA Format Placement Shard Size (NVM Command Set 1.1).
        pub lbapss: U32,
        /// Tracked LBA Allocation Granularity (NVM Command Set 1.1).
        pub tlbaag: U32,
        pub(crate) reserved_296: [u8; 3800],
    }
}

wire_struct! {
    /// I/O Command Set specific Identify Controller of the NVM command set (CNS 06h, CSI 00h).
    pub struct IdentifyControllerNvm[4096] {
        /// Verify Size Limit: 2^n memory pages of CAP.MPSMIN; 0 for no limit.
        pub vsl: u8,
        /// Write Zeroes Size Limit, likewise.
        pub wzsl: u8,
        /// Write Uncorrectable Size Limit, likewise.
        pub wusl: u8,
        /// Dataset Management Ranges Limit: ranges of a command; 0 for no limit.
        pub dmrl: u8,
        /// Dataset Management Range Size Limit: logical blocks of a range; 0 for no limit.
        pub dmrsl: U32,
        /// Dataset Management Size Limit: logical blocks of a command; 0 for no limit.
        pub dmsl: U64,
        /// Key Per I/O Capabilities (NVM Command Set 1.1).
        pub kpiocap: u8,
        /// Write Zeroes With Deallocate Size Limit (NVM Command Set 1.1).
        pub wzdsl: u8,
        /// Admin Optional Command Support (NVM Command Set 1.1).
        pub aocs: U16,
        /// Version of the NVM command set (NVM Command Set 1.1).
        pub ver: U32,
        /// LBA Migration Queue Format (NVM Command Set 1.1).
        pub lbamqf: u8,
        pub(crate) reserved_25: [u8; 4071],
    }
}

bitfield! {
    /// Namespace Status (NSTAT).
    pub struct NamespaceStatus(u8) {
        /// Namespace Ready.
        ready, with_ready: bool = 0..1;
        /// I/O Impacted: 0 not reported, 1 not impacted, 2 impacted (NVMe Base 2.1).
        io_impact, with_io_impact: u8 = 1..3;
    }
}

bitfield! {
    /// Namespace Features (NSFEAT) common to all I/O command sets.
    pub struct IndependentFeatures(u8) {
        /// Non-zero NGUID and EUI64 are never reused.
        identifiers_not_reused, with_identifiers_not_reused: bool = 3..4;
        /// The media rotate.
        rotational, with_rotational: bool = 4..5;
        /// There is no volatile write cache for this namespace (NVMe Base 2.1).
        volatile_write_cache_absent, with_volatile_write_cache_absent: bool = 5..6;
    }
}

wire_struct! {
    /// I/O Command Set Independent Identify Namespace (CNS 08h).
    pub struct IdentifyNamespaceIndependent[4096] {
        /// Common Namespace Features: [`IndependentFeatures`].
        pub nsfeat: u8,
        /// Namespace Multi-path I/O and Namespace Sharing Capabilities.
        pub nmic: u8,
        /// Reservation Capabilities.
        pub rescap: u8,
        /// Format Progress Indicator.
        pub fpi: u8,
        /// ANA Group Identifier.
        pub anagrpid: U32,
        /// Namespace Attributes: bit 0 write protected.
        pub nsattr: u8,
        pub(crate) reserved_9: u8,
        /// NVM Set Identifier.
        pub nvmsetid: U16,
        /// Endurance Group Identifier.
        pub endgid: U16,
        /// Namespace Status: [`NamespaceStatus`].
        pub nstat: u8,
        /// Key Per I/O Status (NVMe Base 2.1).
        pub kpios: u8,
        /// Maximum Key Tag (NVMe Base 2.1).
        pub maxkt: U16,
        pub(crate) reserved_18: [u8; 2],
        /// Reachability Group Identifier (NVMe Base 2.1).
        pub rgrpid: U32,
        pub(crate) reserved_24: [u8; 4072],
    }
}

typed_fields! {
    IdentifyNamespaceIndependent {
        nsfeat, set_nsfeat: IndependentFeatures;
        nstat, set_nstat: NamespaceStatus;
    }
}

bitflags! {
    /// A combination of I/O command sets that can be enabled at once: bit n is command set identifier n.
    #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
    pub struct CommandSetCombination: u64 {
        /// NVM command set.
        const NVM = 1 << 0;
        /// Key Value command set.
        const KEY_VALUE = 1 << 1;
        /// Zoned Namespace command set.
        const ZONED = 1 << 2;
        /// Subsystem Local Memory command set.
        const SUBSYSTEM_LOCAL_MEMORY = 1 << 3;
        /// Computational Programs command set.
        const COMPUTATIONAL_PROGRAMS = 1 << 4;
        const _ = !0;
    }
}

wire_struct! {
    /// Identify I/O Command Set (CNS 1Ch): the combinations, by the index of the I/O Command Set Profile feature.
    pub struct CommandSetCombinations[4096] {
        /// [`CommandSetCombination`]s; 0 for none.
        pub vectors: [U64; 512],
    }
}

impl CommandSetCombinations {
    /// The combinations, first to last; those beyond the 512th are left out.
    pub fn new(combinations: impl IntoIterator<Item = CommandSetCombination>) -> Self {
        let mut this = Self::zeroed();
        for (slot, combination) in this.vectors.iter_mut().zip(combinations) {
            *slot = U64::new(combination.bits());
        }
        this
    }

    /// The combinations that are not empty, with their index.
    pub fn iter(&self) -> impl Iterator<Item = (usize, CommandSetCombination)> + '_ {
        let all = self.vectors.iter().map(|vector| CommandSetCombination::from_bits_retain(vector.get()));
        all.enumerate().filter(|(_, combination)| !combination.is_empty())
    }
}
