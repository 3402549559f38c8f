//! What a transport can carry, as a value.

bitflags::bitflags! {
    /// SGL descriptors a queue understands (NVMe Base 2.0 §4.1.2; Identify Controller SGLS).
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct SglKinds: u8 {
        /// Data block with an offset into the capsule.
        const IN_CAPSULE = 1;
        /// Transport data block: the transport moves the data by itself.
        const TRANSPORT = 1 << 1;
        /// Keyed data block: the peer's memory is read and written by key.
        const KEYED = 1 << 2;
        /// Keyed data block whose key the controller invalidates.
        const KEYED_INVALIDATE = 1 << 3;
    }
}

/// Who makes and checks a digest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum DigestBy {
    /// No digest on this queue.
    #[default]
    None,
    /// This processor.
    Software,
    /// The adapter.
    Hardware,
}

/// In-capsule data sizes by type of queue, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct InCapsule {
    /// On the admin queue.
    pub admin: u32,
    /// On I/O queues (what a controller reports as IOCCSZ less the command).
    pub io: u32,
}

/// What one queue of a transport can carry. Known before negotiation, sharper after it.
///
/// Units are bytes unless said otherwise. `Default` is the narrowest legal transport, so that a field added later is safe to
/// leave alone.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// The most data one command may move.
    pub max_transfer: u32,
    /// In-capsule data.
    pub max_in_capsule: InCapsule,
    /// The largest queue, in entries.
    pub max_depth: u16,
    /// SGL descriptors understood.
    pub sgl: SglKinds,
    /// SGL descriptors of one command (what MSDBD says).
    pub max_descriptors: u16,
    /// Views of a response's gather list that are sent from where they lie; more are legal and may be copied.
    pub max_segments: u16,
    /// Fetches of one request that may be outstanding (R2Ts, or read depth).
    pub max_fetches: u16,
    /// The header digest.
    pub header_digest: DigestBy,
    /// The data digest.
    pub data_digest: DigestBy,
    /// Whether a completion can invalidate the host's key.
    pub remote_invalidate: bool,
}

impl Limits {
    /// What holds whichever of two transports carries a queue.
    #[must_use]
    pub fn common(&self, other: &Self) -> Self {
        let less = |one, other| if one == other { one } else { DigestBy::None };
        Self {
            max_transfer: self.max_transfer.min(other.max_transfer),
            max_in_capsule: InCapsule {
                admin: self.max_in_capsule.admin.min(other.max_in_capsule.admin),
                io: self.max_in_capsule.io.min(other.max_in_capsule.io),
            },
            max_depth: self.max_depth.min(other.max_depth),
            sgl: self.sgl & other.sgl,
            max_descriptors: self.max_descriptors.min(other.max_descriptors),
            max_segments: self.max_segments.min(other.max_segments),
            max_fetches: self.max_fetches.min(other.max_fetches),
            header_digest: less(self.header_digest, other.header_digest),
            data_digest: less(self.data_digest, other.data_digest),
            remote_invalidate: self.remote_invalidate && other.remote_invalidate,
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_transfer: 4096,
            max_in_capsule: InCapsule::default(),
            max_depth: 32,
            sgl: SglKinds::empty(),
            max_descriptors: 1,
            max_segments: 1,
            max_fetches: 1,
            header_digest: DigestBy::None,
            data_digest: DigestBy::None,
            remote_invalidate: false,
        }
    }
}
