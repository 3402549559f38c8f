//! What a backend says about itself: the material of Identify Namespace, without its encoding.

/// The size of a logical block. Others exist in NVMe; these two are what hosts use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum BlockSize {
    /// 512 bytes.
    #[default]
    B512,
    /// 4096 bytes.
    B4096,
}

impl BlockSize {
    /// From a number of bytes; `None` for a size that is not supported.
    pub const fn from_bytes(bytes: u32) -> Option<Self> {
        match bytes {
            512 => Some(Self::B512),
            4096 => Some(Self::B4096),
            _ => None,
        }
    }

    /// The number of bytes.
    pub const fn bytes(self) -> u32 {
        1 << self.shift()
    }

    /// The power of two: LBADS of the LBA format (NVMe NVM Command Set 1.0 §4.1.5.1).
    pub const fn shift(self) -> u32 {
        match self {
            Self::B512 => 9,
            Self::B4096 => 12,
        }
    }
}

/// 128 bits that name the stored data: equal when the same storage is opened again, different from all other storage.
/// The session makes NGUID and UUID of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Identity(pub [u8; 16]);

impl Identity {
    /// A random one, for storage that does not outlive the process.
    pub fn random() -> Self {
        Self(uuid::Uuid::new_v4().into_bytes())
    }

    /// As a UUID (of version 8 unless it came as one), for the Namespace UUID descriptor.
    pub fn uuid(self) -> uuid::Uuid {
        uuid::Uuid::from_bytes(self.0)
    }

    /// As a Namespace Globally Unique Identifier.
    pub fn nguid(self) -> [u8; 16] {
        self.0
    }
}

/// Sizes that make operations cheap, in logical blocks (not zeroes-based); 1 where it does not matter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Optimal {
    /// Writes in multiples of this many blocks, so aligned, need no read-modify-write (NPWG, NPWA).
    pub write: u32,
    /// Deallocations in multiples of this many blocks, so aligned, free storage (NPDG, NPDA).
    pub deallocate: u32,
    /// Writes of this many blocks are fastest (NOWS).
    pub write_size: u32,
}

/// Size, block size and traits of a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    /// How many logical blocks there are (NSZE); never 0, and the size in bytes fits in an `i64`.
    pub blocks: u64,
    /// The size of each.
    pub block_size: BlockSize,
    /// Whether every modifying operation ends with Namespace is Write Protected.
    pub read_only: bool,
    /// Whether storage is taken on write and given back on deallocate (NSFEAT bit 0, THINP).
    pub thin: bool,
    /// Whether deallocated blocks read as zeroes (DLFEAT bits 2:0 = 001b). Otherwise they read as before.
    pub deallocated_reads_zero: bool,
    /// Whether Write Zeroes honours its Deallocate bit (DLFEAT bit 3).
    pub write_zeroes_deallocates: bool,
    /// Whether an acknowledged write may be lost until Flush (VWC). FUA is honoured either way.
    pub volatile_write_cache: bool,
    /// What makes operations cheap.
    pub optimal: Optimal,
    /// Which storage this is.
    pub identity: Identity,
}

impl Geometry {
    /// The size in bytes.
    pub const fn bytes(&self) -> u64 {
        self.blocks << self.block_size.shift()
    }

    /// Whether `blocks` blocks from `slba` on all exist.
    pub const fn contains(&self, slba: u64, blocks: u64) -> bool {
        match slba.checked_add(blocks) {
            Some(end) => end <= self.blocks,
            None => false,
        }
    }
}
