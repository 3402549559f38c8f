//! Identify Namespace of the NVM command set (CNS 00h, NVM Command Set 1.0 §4.1.5.1).

use zerocopy::little_endian::{U16, U32, U64, U128};

wire_struct! {
    /// What a namespace is and can do.
    pub struct IdentifyNamespace[4096] {
        /// Namespace Size in logical blocks.
        pub nsze: U64,
        /// Namespace Capacity: logical blocks that may be allocated at once.
        pub ncap: U64,
        /// Namespace Utilization: logical blocks allocated now.
        pub nuse: U64,
        /// Namespace Features: [`NamespaceFeatures`].
        pub nsfeat: u8,
        /// Number of LBA Formats, 0's based.
        pub nlbaf: u8,
        /// Formatted LBA Size: [`FormattedLbaSize`].
        pub flbas: u8,
        /// Metadata Capabilities: bit 0 with the data, bit 1 in a separate buffer.
        pub mc: u8,
        /// End-to-end Data Protection Capabilities: bits 2:0 types 1 to 3, 3 first bytes, 4 last bytes.
        pub dpc: u8,
        /// End-to-end Data Protection Type Settings: bits 2:0 type, 3 first bytes.
        pub dps: u8,
        /// Namespace Multi-path I/O and Namespace Sharing Capabilities: bit 0 shared, bit 1 dispersed.
        pub nmic: u8,
        /// Reservation Capabilities.
        pub rescap: u8,
        /// Format Progress Indicator: bits 6:0 percent remaining, 7 supported.
        pub fpi: u8,
        /// Deallocate Logical Block Features: [`DeallocateFeatures`].
        pub dlfeat: u8,
        /// Namespace Atomic Write Unit Normal, 0's based.
        pub nawun: U16,
        /// Namespace Atomic Write Unit Power Fail, 0's based.
        pub nawupf: U16,
        /// Namespace Atomic Compare & Write Unit, 0's based.
        pub nacwu: U16,
        /// Namespace Atomic Boundary Size Normal, 0's based.
        pub nabsn: U16,
        /// Namespace Atomic Boundary Offset.
        pub nabo: U16,
        /// Namespace Atomic Boundary Size Power Fail, 0's based.
        pub nabspf: U16,
        /// Namespace Optimal I/O Boundary in logical blocks; 0 for none.
        pub noiob: U16,
        /// NVM Capacity in bytes.
        pub nvmcap: U128,
        /// Namespace Preferred Write Granularity, 0's based.
        pub npwg: U16,
        /// Namespace Preferred Write Alignment, 0's based.
        pub npwa: U16,
        /// Namespace Preferred Deallocate Granularity, 0's based.
        pub npdg: U16,
        /// Namespace Preferred Deallocate Alignment, 0's based.
        pub npda: U16,
        /// Namespace Optimal Write Size, 0's based.
        pub nows: U16,
        /// Maximum Single Source Range Length of Copy.
        pub mssrl: U16,
        /// Maximum Copy Length.
        pub mcl: U32,
        /// Maximum Source Range Count, 0's based.
        pub msrc: u8,
        /// Key Per I/O Status (NVM Command Set 1.1).
        pub kpios: u8,
        /// Number of Unique Attribute LBA Formats.
        pub nulbaf: u8,
        pub(crate) reserved_83: u8,
        /// Key Per I/O Data Access Alignment and Granularity (NVM Command Set 1.1).
        pub kpiodaag: U32,
        pub(crate) reserved_88: [u8; 4],
        /// ANA Group Identifier.
        pub anagrpid: U32,
        pub(crate) reserved_96: [u8; 3],
        /// Namespace Attributes: bit 0 write protected.
        pub nsattr: u8,
        /// NVM Set Identifier.
        pub nvmsetid: U16,
        /// Endurance Group Identifier.
        pub endgid: U16,
        /// Namespace Globally Unique Identifier, most significant byte first; 0 for none.
        pub nguid: [u8; 16],
        /// IEEE Extended Unique Identifier, most significant byte first; 0 for none.
        pub eui64: [u8; 8],
        /// LBA Formats; NLBAF + 1 are valid, and NULBAF more.
        pub lbaf: [LbaFormat; 64],
        /// Vendor Specific.
        pub vs: [u8; 3712],
    }
}

typed_fields! {
    IdentifyNamespace {
        nsfeat, set_nsfeat: NamespaceFeatures;
        flbas, set_flbas: FormattedLbaSize;
        dlfeat, set_dlfeat: DeallocateFeatures;
    }
}

open_enum! {
    /// LBAF.RP: how a format performs relative to the others.
    pub RelativePerformance: u8 {
        BEST = 0b00, "best";
        BETTER = 0b01, "better";
        GOOD = 0b10, "good";
        DEGRADED = 0b11, "degraded";
    }
}

wire_struct! {
    /// LBA Format.
    pub struct LbaFormat[4] {
        /// Metadata Size in bytes.
        pub ms: U16,
        /// LBA Data Size: 2^n bytes; less than 9 is not supported.
        pub lbads: u8,
        /// Relative Performance in bits 1:0; the rest is reserved.
        pub rp: u8,
    }
}

impl LbaFormat {
    /// A format of `2^lbads` bytes and `ms` bytes of metadata, of best performance.
    #[must_use]
    pub const fn new(lbads: u8, ms: u16) -> Self {
        Self { ms: U16::new(ms), lbads, rp: 0 }
    }

    /// Bytes of data in a logical block, if the format is a supported one (of at least 512 bytes, and less than 4 GiB).
    #[must_use]
    pub const fn block_size(&self) -> Option<u32> {
        if self.lbads < 9 { None } else { 1_u32.checked_shl(self.lbads as u32) }
    }

    /// Relative Performance.
    #[must_use]
    pub const fn relative_performance(&self) -> RelativePerformance {
        RelativePerformance(self.rp & 0b11)
    }
}

bitfield! {
    /// Formatted LBA Size (FLBAS).
    pub struct FormattedLbaSize(u8) {
        /// Bits 3:0 of the index of the format.
        index_low, with_index_low: u8 = 0..4;
        /// Metadata goes with the data (an extended LBA), not in a separate buffer.
        extended, with_extended: bool = 4..5;
        /// Bits 5:4 of the index; looked at only if there are more than 16 formats.
        index_high, with_index_high: u8 = 5..7;
    }
}

bitfield! {
    /// Namespace Features (NSFEAT).
    pub struct NamespaceFeatures(u8) {
        /// Thin provisioning: NCAP may be less than NSZE.
        thin_provisioning, with_thin_provisioning: bool = 0..1;
        /// NAWUN, NAWUPF and NACWU are valid.
        atomic_units, with_atomic_units: bool = 1..2;
        /// Deallocated or Unwritten Logical Block error is supported.
        deallocated_error, with_deallocated_error: bool = 2..3;
        /// Non-zero NGUID and EUI64 are never reused.
        identifiers_not_reused, with_identifiers_not_reused: bool = 3..4;
        /// OPTPERF: NPWG, NPWA, NPDG, NPDA and NOWS are valid. (Bit 5 was reserved before NVM Command Set 1.1.)
        optimal_performance, with_optimal_performance: u8 = 4..6;
        /// Multiple Atomicity Mode (NVM Command Set 1.1).
        multiple_atomicity, with_multiple_atomicity: bool = 6..7;
        /// Optional Read Performance (NVM Command Set 1.1).
        optional_read_performance, with_optional_read_performance: bool = 7..8;
    }
}

open_enum! {
    /// What a deallocated logical block reads as.
    pub DeallocatedValue: u8 {
        NOT_REPORTED = 0b000, "not reported";
        ZEROES = 0b001, "all bytes 00h";
        ONES = 0b010, "all bytes FFh";
    }
}

bitfield! {
    /// Deallocate Logical Block Features (DLFEAT).
    pub struct DeallocateFeatures(u8) {
        /// What a deallocated logical block reads as.
        value, with_value: [DeallocatedValue u8] = 0..3;
        /// Write Zeroes honours Deallocate.
        write_zeroes_deallocate, with_write_zeroes_deallocate: bool = 3..4;
        /// The guard of a deallocated block is the CRC of what it reads as, not FFFFh.
        guard_is_crc, with_guard_is_crc: bool = 4..5;
    }
}

impl IdentifyNamespace {
    /// The index of the format in use.
    #[must_use]
    pub fn format_index(&self) -> u8 {
        let flbas = self.flbas();
        // NVM Command Set 1.0 §4.1.5.1, FLBAS: the upper bits count only with more than 16 formats.
        let formats = u16::from(self.nlbaf) + 1 + u16::from(self.nulbaf);
        let high = if formats > 16 { flbas.index_high() << 4 } else { 0 };
        flbas.index_low() | high
    }

    /// The format in use.
    #[must_use]
    pub fn format(&self) -> LbaFormat {
        // The index has 6 bits: never the default.
        self.lbaf.get(usize::from(self.format_index())).copied().unwrap_or_default()
    }

    /// Bytes of data in a logical block, if the format in use makes sense.
    #[must_use]
    pub fn block_size(&self) -> Option<u32> {
        self.format().block_size()
    }
}
