//! `bench` and `demo`.

use std::{fmt, str::FromStr, time::Duration};

use clap::Args;

use super::{ConnectArgs, duration, size, size32};
use crate::uri::Uri;

/// `nvmf bench`
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  nvmf bench nvme+tcp://127.0.0.1:4420/NQN --pattern randread --block-size 4k --queue-depth 32 --seconds 10
  nvmf bench nvme+tcp://192.0.2.7/NQN --pattern rw:70 --queues 4 --cpu 2 --json
  nvmf bench --pattern read --block-size 128k --seconds 5
Without a URI a controller with a RAM namespace runs on a thread of this process, reached over loopback.
One thread submits and polls, so that no wake-up between threads is in the latency. --queue-depth is the number of
commands outstanding on every queue, 32 unless given. Patterns that write destroy the namespace's data.")]
pub(crate) struct BenchArgs {
    /// The namespace; 1 unless ?nsid=N says another [default: one of this process]
    #[arg(value_name = "URI")]
    pub(crate) uri: Option<Uri>,
    /// read, write, randread, randwrite, or rw:N for N % random reads and the rest random writes
    #[arg(long, value_name = "PATTERN", default_value = "randread")]
    pub(crate) pattern: Pattern,
    /// Size of one I/O
    #[arg(long, value_name = "SIZE", default_value = "4k", value_parser = size32)]
    pub(crate) block_size: u32,
    /// Measure for this long
    #[arg(long, value_name = "SECONDS", default_value = "5", value_parser = duration)]
    pub(crate) seconds: Duration,
    /// Run this long before measuring
    #[arg(long, value_name = "SECONDS", default_value = "0.5", value_parser = duration)]
    pub(crate) warm_up: Duration,
    /// Use only the first SIZE bytes of the namespace
    #[arg(long, value_name = "SIZE", value_parser = size)]
    pub(crate) span: Option<u64>,
    /// Run on this processor (Linux)
    #[arg(long, value_name = "N")]
    pub(crate) cpu: Option<usize>,
    /// Never block while waiting for completions
    #[arg(long)]
    pub(crate) spin: bool,
    /// Check what is read: writes carry a pattern made from their place, reads of written places compare
    #[arg(long)]
    pub(crate) verify: bool,
    /// Seed of the random places
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) seed: u64,
    /// Size of the namespace of this process's own controller
    #[arg(long, value_name = "SIZE", default_value = "256MiB", value_parser = size)]
    pub(crate) ram: u64,
    #[command(flatten)]
    pub(crate) connect: ConnectArgs,
}

/// Which places are read and written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pattern {
    /// Places are random, and not one after the other.
    pub(crate) random: bool,
    /// Reads of a hundred.
    pub(crate) reads: u8,
}

impl FromStr for Pattern {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let pattern = |random, reads| Ok(Self { random, reads });
        match text {
            "read" => pattern(false, 100),
            "write" => pattern(false, 0),
            "randread" => pattern(true, 100),
            "randwrite" => pattern(true, 0),
            _ => match text.strip_prefix("rw:").map(str::parse) {
                Some(Ok(reads @ 0..=100)) => pattern(true, reads),
                Some(_) => Err("rw: takes a percentage of reads, 0 to 100, as in rw:70".into()),
                None => Err("must be read, write, randread, randwrite or rw:PERCENT".into()),
            },
        }
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.random, self.reads) {
            (false, 100) => f.write_str("read"),
            (false, _) => f.write_str("write"),
            (true, 100) => f.write_str("randread"),
            (true, 0) => f.write_str("randwrite"),
            (true, reads) => write!(f, "rw:{reads}"),
        }
    }
}

/// `nvmf demo`
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  nvmf demo
  nvmf demo --header-digest --data-digest --size 1GiB
Needs no root, no kernel module and no other program. Exit code 1 if what was read is not what was written.")]
pub(crate) struct DemoArgs {
    /// How much to write, read back and verify, over every transport
    #[arg(long, value_name = "SIZE", default_value = "256MiB", value_parser = size)]
    pub(crate) size: u64,
    /// Size of one I/O while writing and reading
    #[arg(long, value_name = "SIZE", default_value = "128k", value_parser = size32)]
    pub(crate) block_size: u32,
    /// How long to measure the latency of 4 KiB reads
    #[arg(long, value_name = "SECONDS", default_value = "1", value_parser = duration)]
    pub(crate) seconds: Duration,
    #[command(flatten)]
    pub(crate) connect: ConnectArgs,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_read_as_they_are_written() {
        for text in ["read", "write", "randread", "randwrite", "rw:70"] {
            assert_eq!(text.parse::<Pattern>().unwrap().to_string(), text);
        }
        assert!("rw:101".parse::<Pattern>().unwrap_err().contains("0 to 100"));
        assert!("sideways".parse::<Pattern>().unwrap_err().contains("randread"));
        assert_eq!("read".parse::<Pattern>().unwrap().reads, 100);
        assert_eq!("rw:99".parse::<Pattern>().unwrap().reads, 99);
    }
}
