//! The Power State Descriptor (NVMe Base 2.0 §5.17.2.1, bytes 2048 and on of Identify Controller).

use zerocopy::little_endian::{U16, U32};

wire_struct! {
    /// What a power state costs and how fast it is.
    pub struct PowerState[32] {
        /// Maximum Power, in the unit [`PowerStateFlags::max_power_scale`] says.
        pub mp: U16,
        pub(crate) reserved_2: u8,
        /// [`PowerStateFlags`].
        pub flags: u8,
        /// Entry Latency in µs.
        pub enlat: U32,
        /// Exit Latency in µs.
        pub exlat: U32,
        /// Relative Read Throughput.
        pub rrt: u8,
        /// Relative Read Latency.
        pub rrl: u8,
        /// Relative Write Throughput.
        pub rwt: u8,
        /// Relative Write Latency.
        pub rwl: u8,
        /// Idle Power.
        pub idlp: U16,
        /// Idle Power Scale, in bits 7:6: 1 for 0.0001 W, 2 for 0.01 W.
        pub ips: u8,
        pub(crate) reserved_19: u8,
        /// Active Power.
        pub actp: U16,
        /// Active Power Workload in bits 2:0, Active Power Scale in bits 7:6.
        pub apws: u8,
        /// Emergency Power Fail Recovery Time (NVMe Base 2.1).
        pub epfrt: u8,
        /// Forced Quiescence Vault Time (NVMe Base 2.1).
        pub fqvt: u8,
        /// Emergency Power Fail Vault Time (NVMe Base 2.1).
        pub epfvt: u8,
        /// Scales: of EPFRT in bits 3:0, of FQVT in bits 7:4 (NVMe Base 2.1).
        pub epfrt_fqvt_scale: u8,
        /// Scale of EPFVT in bits 3:0 (NVMe Base 2.1).
        pub epfvt_scale: u8,
        pub(crate) reserved_28: [u8; 4],
    }
}

bitfield! {
    /// Byte 3 of a power state descriptor.
    pub struct PowerStateFlags(u8) {
        /// Max Power Scale: set for 0.0001 W, clear for 0.01 W.
        max_power_scale, with_max_power_scale: bool = 0..1;
        /// Non-Operational State.
        non_operational, with_non_operational: bool = 1..2;
    }
}

typed_fields! {
    PowerState {
        flags, set_flags: PowerStateFlags;
    }
}
