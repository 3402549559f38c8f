//! The Discovery log page (LID 70h): where subsystems are (NVMe-oF 1.1 §5.3; NVMe Base 2.0 §5.16.1.23).
//!
//! A header, then as many entries as it says. A reader compares GENCTR of the header before and after: a difference means
//! the entries changed in between and are to be read again.

use crate::{Ascii, NqnField};
use bitflags::bitflags;
use zerocopy::little_endian::{U16, U64};

wire_struct! {
    /// What precedes the entries.
    pub struct DiscoveryHeader[1024] {
        /// Generation Counter: changes when the page does.
        pub genctr: U64,
        /// Number of Records: entries that follow.
        pub numrec: U64,
        /// Record Format; 0 is the only one.
        pub recfmt: U16,
        pub(crate) reserved_18: [u8; 1006],
    }
}

open_enum! {
    /// Transport Type (TRTYPE).
    pub TransportType: u8 {
        UNSPECIFIED = 0, "unspecified";
        RDMA = 1, "RDMA";
        FC = 2, "Fibre Channel";
        TCP = 3, "TCP";
        INTRA_HOST = 254, "intra-host";
    }
}

open_enum! {
    /// Address Family (ADRFAM).
    pub AddressFamily: u8 {
        PCI = 0, "PCI";
        IPV4 = 1, "IPv4";
        IPV6 = 2, "IPv6";
        INFINIBAND = 3, "InfiniBand";
        FC = 4, "Fibre Channel";
        INTRA_HOST = 254, "intra-host";
    }
}

open_enum! {
    /// Subsystem Type (SUBTYPE): what the entry points to.
    pub SubsystemType: u8 {
        REFERRAL = 1, "discovery subsystem (referral)";
        NVM = 2, "NVM subsystem";
        CURRENT_DISCOVERY = 3, "current discovery subsystem";
    }
}

open_enum! {
    /// TREQ bits 1:0: whether connections need a secure channel.
    pub SecureChannel: u8 {
        NOT_SPECIFIED = 0b00, "not specified";
        REQUIRED = 0b01, "required";
        NOT_REQUIRED = 0b10, "not required";
    }
}

bitfield! {
    /// Transport Requirements (TREQ).
    pub struct TransportRequirements(u8) {
        /// Secure channel.
        secure_channel, with_secure_channel: [SecureChannel u8] = 0..2;
        /// The controller can do without SQ flow control.
        sq_flow_control_disable_supported, with_sq_flow_control_disable_supported: bool = 2..3;
    }
}

bitflags! {
    /// Entry Flags (EFLAGS).
    #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
    pub struct EntryFlags: u16 {
        /// Duplicate Returned Information: all ports of the subsystem give the same page.
        const DUPRETINFO = 1 << 0;
        /// Explicit Persistent Connections to the discovery controller are supported.
        const EPCSD = 1 << 1;
        /// No CDC Connectivity (NVMe Base 2.1).
        const NCC = 1 << 2;
        const _ = !0;
    }
}

wire_struct! {
    /// One way to one subsystem.
    pub struct DiscoveryEntry[1024] {
        /// Transport Type.
        pub trtype: TransportType,
        /// Address Family.
        pub adrfam: AddressFamily,
        /// Subsystem Type.
        pub subtype: SubsystemType,
        /// Transport Requirements: [`TransportRequirements`].
        pub treq: u8,
        /// Port Identifier.
        pub portid: U16,
        /// Controller Identifier: [`crate::fabrics::CNTLID_DYNAMIC`], [`crate::fabrics::CNTLID_STATIC_ANY`], or one.
        pub cntlid: U16,
        /// Admin Max SQ Size: entries, at least 32.
        pub asqsz: U16,
        /// Entry Flags: [`EntryFlags`].
        pub eflags: U16,
        pub(crate) reserved_12: [u8; 20],
        /// Transport Service Identifier: of TCP the port.
        pub trsvcid: Ascii<32>,
        pub(crate) reserved_64: [u8; 192],
        /// NVM Subsystem Qualified Name.
        pub subnqn: NqnField,
        /// Transport Address: of IP the address as text.
        pub traddr: Ascii<256>,
        /// Transport Specific Address Subtype: [`TcpSubtype`] or [`RdmaSubtype`] in its first bytes.
        pub tsas: [u8; 256],
    }
}

typed_fields! {
    DiscoveryEntry {
        treq, set_treq: TransportRequirements;
        eflags, set_eflags: EntryFlags;
    }
}

impl DiscoveryEntry {
    /// ASQSZ may not be less.
    pub const MIN_ASQSZ: u16 = 32;

    /// The transport specific bytes, of an entry for TCP.
    #[must_use]
    pub fn tcp(&self) -> Option<TcpSubtype> {
        (self.trtype == TransportType::TCP).then(|| TcpSubtype::view(&self.tsas).copied()).flatten()
    }

    /// The transport specific bytes, of an entry for RDMA.
    #[must_use]
    pub fn rdma(&self) -> Option<RdmaSubtype> {
        (self.trtype == TransportType::RDMA).then(|| RdmaSubtype::view(&self.tsas).copied()).flatten()
    }

    /// Makes this an entry for TCP.
    pub fn set_tcp(&mut self, subtype: TcpSubtype) -> &mut Self {
        self.trtype = TransportType::TCP;
        self.set_tsas(&zerocopy::transmute!(subtype))
    }

    /// Makes this an entry for RDMA.
    pub fn set_rdma(&mut self, subtype: RdmaSubtype) -> &mut Self {
        self.trtype = TransportType::RDMA;
        self.set_tsas(&zerocopy::transmute!(subtype))
    }

    fn set_tsas(&mut self, bytes: &[u8; 256]) -> &mut Self {
        self.tsas = *bytes;
        self
    }
}

open_enum! {
    /// Security Type of NVMe/TCP (TCP Transport 1.0 §3.1).
    pub TcpSecurity: u8 {
        NONE = 0, "no security";
        TLS_1_2 = 1, "TLS 1.2";
        TLS_1_3 = 2, "TLS 1.3";
    }
}

wire_struct! {
    /// TSAS of NVMe/TCP.
    pub struct TcpSubtype[256] {
        /// Security Type (SECTYPE).
        pub sectype: TcpSecurity,
        pub(crate) reserved_1: [u8; 255],
    }
}

open_enum! {
    /// RDMA QP Service Type (RDMA Transport 1.0 §3.1).
    pub RdmaQpType: u8 {
        RELIABLE_CONNECTED = 1, "reliable connected";
        RELIABLE_DATAGRAM = 2, "reliable datagram";
    }
}

open_enum! {
    /// RDMA Provider Type (RDMA Transport 1.0 §3.1).
    pub RdmaProvider: u8 {
        NONE = 1, "none specified";
        INFINIBAND = 2, "InfiniBand";
        ROCE_V1 = 3, "RoCE v1";
        ROCE_V2 = 4, "RoCE v2";
        IWARP = 5, "iWARP";
    }
}

open_enum! {
    /// RDMA Connection Management Service (RDMA Transport 1.0 §3.1).
    pub RdmaConnectionManagement: u8 {
        RDMA_IP_CM = 1, "RDMA_IP_CM";
    }
}

wire_struct! {
    /// TSAS of NVMe/RDMA.
    pub struct RdmaSubtype[256] {
        /// QP Service Type (RDMA_QPTYPE).
        pub qptype: RdmaQpType,
        /// Provider Type (RDMA_PRTYPE).
        pub prtype: RdmaProvider,
        /// Connection Management Service (RDMA_CMS).
        pub cms: RdmaConnectionManagement,
        pub(crate) reserved_3: [u8; 5],
        /// Partition Key (RDMA_PKEY).
        pub pkey: U16,
        pub(crate) reserved_10: [u8; 246],
    }
}

bitflags! {
    /// Log Specific Parameter of Get Log Page for this page (NVMe Base 2.0 §5.16.1.23).
    #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
    pub struct DiscoveryLsp: u8 {
        /// Extended Discovery Log Page Entries wanted.
        const EXTDLPE = 1 << 0;
        /// Port Local Entries Only.
        const PLEOS = 1 << 1;
        /// All NVM Subsystem Entries (NVMe Base 2.1).
        const ALLSUBE = 1 << 2;
        const _ = !0;
    }
}
