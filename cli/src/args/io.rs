//! `read`, `write` and `copy`: commands that move data.

use std::path::PathBuf;

use clap::{Args, ValueHint};

use super::{ConnectArgs, size, size32};
use crate::uri::Uri;

const MOVING: &str = "Moving data";

/// `nvmf read`
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  nvmf read nvme+tcp://127.0.0.1/NQN --length 4k | xxd | head
  nvmf read nvme+tcp://127.0.0.1/NQN?nsid=2 --offset 1MiB --length 64MiB --output part.img")]
pub(crate) struct ReadArgs {
    /// The namespace; 1 unless ?nsid=N says another
    #[arg(value_name = "URI")]
    pub(crate) uri: Uri,
    /// Where to begin, in bytes; any byte will do
    #[arg(long, value_name = "SIZE", default_value = "0", value_parser = size)]
    pub(crate) offset: u64,
    /// How much [default: to the end of the namespace]
    #[arg(long, value_name = "SIZE", value_parser = size)]
    pub(crate) length: Option<u64>,
    /// Write to this file instead of stdout
    #[arg(short, long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) output: Option<PathBuf>,
    /// Write to a terminal all the same
    #[arg(long)]
    pub(crate) force: bool,
    /// The size of one read
    #[arg(long, value_name = "SIZE", default_value = "256k", value_parser = size32, help_heading = MOVING)]
    pub(crate) chunk: u32,
    #[command(flatten)]
    pub(crate) connect: ConnectArgs,
}

/// `nvmf write`
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  nvmf write nvme+tcp://127.0.0.1/NQN < disk.img
  head -c 4096 /dev/urandom | nvmf write nvme+tcp://127.0.0.1/NQN?nsid=2 --offset 1MiB --flush")]
pub(crate) struct WriteArgs {
    /// The namespace; 1 unless ?nsid=N says another
    #[arg(value_name = "URI")]
    pub(crate) uri: Uri,
    /// Where to begin, in bytes; blocks that are only partly covered keep the rest
    #[arg(long, value_name = "SIZE", default_value = "0", value_parser = size)]
    pub(crate) offset: u64,
    /// How much [default: to the end of the input]
    #[arg(long, value_name = "SIZE", value_parser = size)]
    pub(crate) length: Option<u64>,
    /// Read from this file instead of stdin
    #[arg(short, long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) input: Option<PathBuf>,
    /// Fill the last block up with zeroes, instead of keeping what it held behind the input's end
    #[arg(long)]
    pub(crate) pad: bool,
    /// Flush the namespace at the end
    #[arg(long)]
    pub(crate) flush: bool,
    /// Force every write to stable storage before it completes (FUA)
    #[arg(long)]
    pub(crate) fua: bool,
    /// The size of one write
    #[arg(long, value_name = "SIZE", default_value = "256k", value_parser = size32, help_heading = MOVING)]
    pub(crate) chunk: u32,
    #[command(flatten)]
    pub(crate) connect: ConnectArgs,
}

/// One end of a copy.
#[derive(Clone, Debug)]
pub(crate) enum CopyEnd {
    /// A namespace.
    Namespace(Box<Uri>),
    /// A file or a block device.
    File(PathBuf),
}

impl std::str::FromStr for CopyEnd {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.contains("://") {
            text.parse()
                .map(|uri| Self::Namespace(Box::new(uri)))
                .map_err(|e: crate::uri::UriError| e.to_string())
        } else {
            Ok(Self::File(PathBuf::from(text)))
        }
    }
}

impl std::fmt::Display for CopyEnd {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Namespace(uri) => uri.fmt(f),
            Self::File(path) => path.display().fmt(f),
        }
    }
}

/// `nvmf copy`
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  nvmf copy nvme+tcp://192.0.2.7/NQN backup.img --verify       a namespace to a file
  nvmf copy disk.img nvme+tcp://192.0.2.7/NQN                  a file to a namespace
  nvmf copy nvme+tcp://192.0.2.7/NQN nvme+tcp://192.0.2.8/NQN  a namespace to another
Options of the connection hold for both ends.")]
pub(crate) struct CopyArgs {
    /// A URI, or a path
    #[arg(value_name = "SRC", value_hint = ValueHint::FilePath)]
    pub(crate) from: CopyEnd,
    /// A URI, or a path; a file that exists is overwritten
    #[arg(value_name = "DST", value_hint = ValueHint::FilePath)]
    pub(crate) to: CopyEnd,
    /// Read both back and compare
    #[arg(long)]
    pub(crate) verify: bool,
    /// Copy only so much [default: all of the source]
    #[arg(long, value_name = "SIZE", value_parser = size)]
    pub(crate) length: Option<u64>,
    /// Write zeroes like any data, instead of leaving holes and deallocating blocks
    #[arg(long)]
    pub(crate) no_sparse: bool,
    /// The size of one read and write
    #[arg(long, value_name = "SIZE", default_value = "256k", value_parser = size32, help_heading = MOVING)]
    pub(crate) chunk: u32,
    #[command(flatten)]
    pub(crate) connect: ConnectArgs,
}
