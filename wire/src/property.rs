//! Controller properties: what Property Get and Property Set reach (NVMe Base 2.0 §3.1.3).
//!
//! Deliberately absent: the registers of a PCIe function (interrupt masks, queue bases, memory buffers).

open_enum! {
    /// Offsets of the properties.
    pub PropertyOffset: u32 {
        CAP = 0x00, "Controller Capabilities (CAP)";
        VS = 0x08, "Version (VS)";
        CC = 0x14, "Controller Configuration (CC)";
        CSTS = 0x1C, "Controller Status (CSTS)";
        NSSR = 0x20, "NVM Subsystem Reset (NSSR)";
        NSSD = 0x64, "NVM Subsystem Shutdown (NSSD)";
        CRTO = 0x68, "Controller Ready Timeouts (CRTO)";
    }
}

impl PropertyOffset {
    /// Size of the property in bytes, if it is a known one.
    #[must_use]
    pub const fn size(self) -> Option<usize> {
        match self {
            Self::CAP => Some(8),
            _ if self.is_known() => Some(4),
            _ => None,
        }
    }
}

/// What Property Set writes to NSSR to reset the subsystem: "NVMe" (NVMe Base 2.0 §3.1.3.7).
pub const NSSR_RESET: u32 = 0x4E56_4D65;

bitfield! {
    /// Controller Capabilities (NVMe Base 2.0 §3.1.3.1).
    pub struct Cap(u64) {
        /// Maximum Queue Entries Supported, 0's based.
        mqes, with_mqes: u16 = 0..16;
        /// Contiguous Queues Required.
        cqr, with_cqr: bool = 16..17;
        /// Arbitration Mechanism Supported: bit 0 weighted round robin with urgent, bit 1 vendor specific.
        ams, with_ams: u8 = 17..19;
        /// Timeout: the longest the controller takes to get ready, or not ready, in 500 ms.
        timeout, with_timeout: u8 = 24..32;
        /// Doorbell Stride; 0 in Fabrics.
        dstrd, with_dstrd: u8 = 32..36;
        /// NVM Subsystem Reset Supported.
        nssrs, with_nssrs: bool = 36..37;
        /// Command Sets Supported: bit 0 NVM, bit 6 one or more I/O command sets, bit 7 no I/O command set.
        css, with_css: u8 = 37..45;
        /// Boot Partition Support.
        bps, with_bps: bool = 45..46;
        /// Controller Power Scope.
        cps, with_cps: u8 = 46..48;
        /// Memory Page Size Minimum: 2^(12 + n).
        mpsmin, with_mpsmin: u8 = 48..52;
        /// Memory Page Size Maximum: 2^(12 + n).
        mpsmax, with_mpsmax: u8 = 52..56;
        /// Persistent Memory Region Supported.
        pmrs, with_pmrs: bool = 56..57;
        /// Controller Memory Buffer Supported.
        cmbs, with_cmbs: bool = 57..58;
        /// NVM Subsystem Shutdown Supported.
        nsss, with_nsss: bool = 58..59;
        /// Controller Ready With Media Support.
        crwms, with_crwms: bool = 59..60;
        /// Controller Ready Independent of Media Support.
        crims, with_crims: bool = 60..61;
        /// NVM Subsystem Shutdown Enhancements Supported (NVMe Base 2.1).
        nsses, with_nsses: bool = 61..62;
    }
}

impl Cap {
    /// Bit of [`Cap::css`]: the NVM command set.
    pub const CSS_NVM: u8 = 1 << 0;
    /// Bit of [`Cap::css`]: one or more I/O command sets, chosen by profile.
    pub const CSS_IO_SETS: u8 = 1 << 6;
    /// Bit of [`Cap::css`]: no I/O command set, as of a discovery controller.
    pub const CSS_ADMIN_ONLY: u8 = 1 << 7;

    /// The most entries a queue has, 1's based.
    #[must_use]
    pub const fn max_queue_entries(self) -> u32 {
        self.mqes() as u32 + 1
    }

    /// [`Cap::timeout`] in milliseconds.
    #[must_use]
    pub const fn timeout_ms(self) -> u32 {
        self.timeout() as u32 * 500
    }

    /// The smallest memory page in bytes, the unit of MDTS.
    #[must_use]
    pub const fn min_page_size(self) -> u32 {
        1 << (12 + self.mpsmin())
    }
}

bitfield! {
    /// Version (NVMe Base 2.0 §3.1.3.2).
    pub struct Version(u32) {
        /// Tertiary version number.
        tertiary, with_tertiary: u8 = 0..8;
        /// Minor version number.
        minor, with_minor: u8 = 8..16;
        /// Major version number.
        major, with_major: u16 = 16..32;
    }
}

impl Version {
    /// NVMe 1.4.0.
    pub const V1_4: Self = Self::new(1, 4, 0);
    /// NVMe 2.0.0.
    pub const V2_0: Self = Self::new(2, 0, 0);
    /// NVMe 2.1.0.
    pub const V2_1: Self = Self::new(2, 1, 0);

    /// A version from its three numbers.
    #[must_use]
    pub const fn new(major: u16, minor: u8, tertiary: u8) -> Self {
        Self(0).with_major(major).with_minor(minor).with_tertiary(tertiary)
    }
}

impl PartialOrd for Version {
    fn partial_cmp(&self, other: &Self) -> Option<core::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Version {
    fn cmp(&self, other: &Self) -> core::cmp::Ordering {
        self.0.cmp(&other.0)
    }
}

impl core::fmt::Display for Version {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{}.{}", self.major(), self.minor())?;
        if self.tertiary() != 0 { write!(f, ".{}", self.tertiary()) } else { Ok(()) }
    }
}

open_enum! {
    /// CC.CSS: which I/O command sets the host asks for.
    pub CommandSetSelected: u8 {
        NVM = 0b000, "NVM command set";
        ALL_SUPPORTED = 0b110, "all supported I/O command sets";
        ADMIN_ONLY = 0b111, "Admin command set only";
    }
}

open_enum! {
    /// CC.AMS: how the controller chooses among submission queues.
    pub Arbitration: u8 {
        ROUND_ROBIN = 0b000, "round robin";
        WEIGHTED_ROUND_ROBIN = 0b001, "weighted round robin with urgent priority class";
        VENDOR_SPECIFIC = 0b111, "vendor specific";
    }
}

open_enum! {
    /// CC.SHN: the host's wish to shut the controller down.
    pub ShutdownNotification: u8 {
        NONE = 0b00, "no shutdown";
        NORMAL = 0b01, "normal shutdown";
        ABRUPT = 0b10, "abrupt shutdown";
    }
}

open_enum! {
    /// CSTS.SHST: how far the shutdown is.
    pub ShutdownStatus: u8 {
        NONE = 0b00, "no shutdown";
        IN_PROGRESS = 0b01, "shutdown in progress";
        COMPLETE = 0b10, "shutdown complete";
    }
}

bitfield! {
    /// Controller Configuration (NVMe Base 2.0 §3.1.3.5).
    pub struct Cc(u32) {
        /// Enable.
        en, with_en: bool = 0..1;
        /// I/O Command Set Selected.
        css, with_css: [CommandSetSelected u8] = 4..7;
        /// Memory Page Size: 2^(12 + n).
        mps, with_mps: u8 = 7..11;
        /// Arbitration Mechanism Selected.
        ams, with_ams: [Arbitration u8] = 11..14;
        /// Shutdown Notification.
        shn, with_shn: [ShutdownNotification u8] = 14..16;
        /// I/O Submission Queue Entry Size: 2^n.
        iosqes, with_iosqes: u8 = 16..20;
        /// I/O Completion Queue Entry Size: 2^n.
        iocqes, with_iocqes: u8 = 20..24;
        /// Controller Ready Independent of Media Enable.
        crime, with_crime: bool = 24..25;
    }
}

impl Cc {
    /// What a host writes to enable a controller of the NVM command set: entries of 64 and 16 bytes, pages of 4 KiB.
    pub const ENABLE_NVM: Self = Self(0).with_en(true).with_iosqes(6).with_iocqes(4);

    /// The host's memory page size in bytes.
    #[must_use]
    pub const fn page_size(self) -> u32 {
        1 << (12 + self.mps())
    }
}

bitfield! {
    /// Controller Status (NVMe Base 2.0 §3.1.3.6).
    pub struct Csts(u32) {
        /// Ready.
        rdy, with_rdy: bool = 0..1;
        /// Controller Fatal Status.
        cfs, with_cfs: bool = 1..2;
        /// Shutdown Status.
        shst, with_shst: [ShutdownStatus u8] = 2..4;
        /// NVM Subsystem Reset Occurred.
        nssro, with_nssro: bool = 4..5;
        /// Processing Paused.
        pp, with_pp: bool = 5..6;
        /// Shutdown Type: set if SHST is about the NVM subsystem.
        st, with_st: bool = 6..7;
    }
}

bitfield! {
    /// Controller Ready Timeouts (NVMe Base 2.0 §3.1.3.21).
    pub struct Crto(u32) {
        /// Controller Ready With Media Timeout in 500 ms.
        crwmt, with_crwmt: u16 = 0..16;
        /// Controller Ready Independent of Media Timeout in 500 ms.
        crimt, with_crimt: u16 = 16..32;
    }
}
