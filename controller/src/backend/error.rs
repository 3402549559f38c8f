//! Why a backend could not be opened, in words for the person who named it.

use std::{io, path::PathBuf};

/// A backend could not be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// No block fits.
    #[error("it has no room for a single block")]
    Empty,
    /// The size is no multiple of the block size; serving the rest would change it or lose it.
    #[error("its size of {bytes} bytes is not a multiple of the block size {block_size}")]
    Ragged {
        /// The size in bytes.
        bytes: u64,
        /// The block size in bytes.
        block_size: u32,
    },
    /// Larger than the backend can be.
    #[error("its size of {bytes} bytes is beyond the limit of {limit}")]
    TooLarge {
        /// The size in bytes.
        bytes: u64,
        /// The limit in bytes.
        limit: u64,
    },
    /// Not enough memory for the first allocations.
    #[error(transparent)]
    Memory(#[from] nvmf_transport::Error),
    /// Neither a regular file nor a block device.
    #[error("{}: neither a regular file nor a block device", path.display())]
    NotStorage {
        /// The path.
        path: PathBuf,
    },
    /// Another process, or this one, has it open in a way that excludes this use.
    #[error("{}: in use by another server, a mount or another namespace", path.display())]
    InUse {
        /// The path.
        path: PathBuf,
    },
    /// Direct I/O needs larger or aligned blocks.
    #[error("{}: direct I/O needs blocks of {needed} bytes or a multiple of that, not {block_size}", path.display())]
    Alignment {
        /// The path.
        path: PathBuf,
        /// What the device asks for.
        needed: u32,
        /// The block size asked for.
        block_size: u32,
    },
    /// There is no io_uring, and nothing else was to be used.
    #[error("{}: {why}", path.display())]
    NoRing {
        /// The path.
        path: PathBuf,
        /// Why there is none.
        why: String,
    },
    /// The system refused.
    #[error("{}: {action}: {source}", path.display())]
    System {
        /// The path.
        path: PathBuf,
        /// What was tried.
        action: &'static str,
        /// The answer.
        source: io::Error,
    },
}
