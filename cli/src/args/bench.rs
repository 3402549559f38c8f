//! `bench` and `demo`.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use clap::{Args, ValueEnum, ValueHint};
use nvmf_bench::Pattern;

use super::{ConnectArgs, PollMode, duration, size, size32};
use crate::uri::Uri;

const LOAD: &str = "Load";
const TARGET: &str = "Target";
const COMPARING: &str = "Comparing and plotting";

/// `nvmf bench`
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  nvmf bench nvme+tcp://127.0.0.1:4420/NQN --pattern randread --block-size 4k --queue-depth 32 --seconds 10
  nvmf bench nvme+tcp://192.0.2.7/NQN --pattern rw:70 --queues 4 --cpu 2 --json
  nvmf bench --pattern read --block-size 128k             against a controller that bench starts for the purpose
  nvmf bench --floor --poll spin                          and against what raw sockets take for the same exchange
  nvmf bench --floor --queue-depth 1 --poll block         the latency of single reads, against a raw ping-pong
  nvmf bench --sweep --floor --html sweep.html            every depth, size, pattern and digest, with plots
  nvmf bench --sweep --sizes 4k --depths 32,128 --patterns randread --digests off
  nvmf bench URI --floor --target-pid $(pidof TARGET) --target-cpu 0 --cpu 1     somebody else's target, on this machine

One thread submits and polls, so that no wake-up between threads is in the latency. --queue-depth is the number of commands
outstanding on every queue, 32 unless given. Patterns that write destroy the namespace's data.

Without a URI, bench starts `nvmf serve --ram` as a process of its own and fills its namespace first. Host and target then run
on the first two processors that this process may use, unless --cpu and --target-cpu say others; on an only one they share.

--floor measures, in turns with the transport, the same exchange on bare sockets: the same bytes on the wire, depth, places,
waiting and processors, with another process as the peer and nothing of NVMe above the bytes. What is printed as a ratio is the
transport ÷ the floor of the same round: the least, the median and the most of --repeats rounds. The target is stopped
(SIGSTOP) while it is the floor's turn.")]
pub(crate) struct BenchArgs {
    /// The namespace; 1 unless ?nsid=N says another [default: one that bench serves itself]
    #[arg(value_name = "URI")]
    pub(crate) uri: Option<Uri>,
    /// read, write, randread, randwrite, or rw:N for N % random reads and the rest random writes
    #[arg(long, value_name = "PATTERN", default_value = "randread", help_heading = LOAD)]
    pub(crate) pattern: Pattern,
    /// Size of one I/O
    #[arg(long, value_name = "SIZE", default_value = "4k", value_parser = size32, help_heading = LOAD)]
    pub(crate) block_size: u32,
    /// Measure for this long, each time [default: 5; with --floor 1, with --sweep 0.5]
    #[arg(long, value_name = "SECONDS", value_parser = duration, help_heading = LOAD)]
    pub(crate) seconds: Option<Duration>,
    /// Run this long before measuring, each time [default: 0.5; with --floor or --sweep 0.1]
    #[arg(long, value_name = "SECONDS", value_parser = duration, help_heading = LOAD)]
    pub(crate) warm_up: Option<Duration>,
    /// Measure so many times [default: 1; with --floor or --sweep 5]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1000), help_heading = LOAD)]
    pub(crate) repeats: Option<u16>,
    /// Use only the first SIZE bytes of the namespace
    #[arg(long, value_name = "SIZE", value_parser = size, help_heading = LOAD)]
    pub(crate) span: Option<u64>,
    /// Run on this processor (Linux)
    #[arg(long, value_name = "N", help_heading = LOAD)]
    pub(crate) cpu: Option<usize>,
    /// How to wait for completions; the target that bench starts waits likewise
    #[arg(long, value_enum, value_name = "MODE", default_value_t, help_heading = LOAD)]
    pub(crate) poll: PollMode,
    /// The same as --poll spin
    #[arg(long, conflicts_with = "poll", help_heading = LOAD)]
    pub(crate) spin: bool,
    /// Check what is read: writes carry a pattern made from their place, reads of written places compare
    #[arg(long, help_heading = LOAD)]
    pub(crate) verify: bool,
    /// Seed of the random places
    #[arg(long, value_name = "N", default_value_t = 1, help_heading = LOAD)]
    pub(crate) seed: u64,

    /// Run the target that bench starts, and the floor's peer, on this processor (Linux)
    #[arg(long, value_name = "N", help_heading = TARGET)]
    pub(crate) target_cpu: Option<usize>,
    /// Size of the namespace of the target that bench starts, and of the memory of the floor's peer
    #[arg(long, value_name = "SIZE", default_value = "256MiB", value_parser = size, help_heading = TARGET)]
    pub(crate) ram: u64,
    /// Give the target that bench starts one more argument of `nvmf serve` (repeatable)
    #[arg(long, value_name = "ARG", allow_hyphen_values = true, conflicts_with = "uri", help_heading = TARGET)]
    pub(crate) target_arg: Vec<String>,
    /// The target's process, if it runs on this machine: its processor time is counted, and it is stopped while the floor is
    /// measured
    #[arg(long, value_name = "PID", requires = "uri", help_heading = TARGET)]
    pub(crate) target_pid: Option<u32>,

    /// Measure the floor of bare sockets as well, in turns
    #[arg(long, help_heading = COMPARING)]
    pub(crate) floor: bool,
    /// Measure every combination of --depths, --sizes, --patterns and --digests
    #[arg(long, conflicts_with_all = ["block_size", "pattern", "queue_depth", "header_digest", "data_digest"], help_heading = COMPARING)]
    pub(crate) sweep: bool,
    /// Commands outstanding
    #[arg(long, value_name = "N,...", value_delimiter = ',', requires = "sweep", default_value = "1,8,32,128", value_parser = clap::value_parser!(u16).range(1..=65534), help_heading = COMPARING)]
    pub(crate) depths: Vec<u16>,
    /// Sizes of one I/O
    #[arg(long, value_name = "SIZE,...", value_delimiter = ',', requires = "sweep", default_value = "512,4k,64k,128k", value_parser = size32, help_heading = COMPARING)]
    pub(crate) sizes: Vec<u32>,
    /// Patterns, as of --pattern
    #[arg(long, value_name = "PATTERN,...", value_delimiter = ',', requires = "sweep", default_value = "randread,randwrite,rw:70", help_heading = COMPARING)]
    pub(crate) patterns: Vec<Pattern>,
    /// Without and with both digests
    #[arg(long, value_enum, value_name = "off|on,...", value_delimiter = ',', requires = "sweep", default_value = "off,on", help_heading = COMPARING)]
    pub(crate) digests: Vec<Switch>,
    /// Write a page with plots, complete in one file
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, help_heading = COMPARING)]
    pub(crate) html: Option<PathBuf>,

    /// Be the peer of a floor, and nothing else: what `--floor` starts
    #[arg(long, value_name = "ADDR:PORT", hide = true)]
    pub(crate) floor_peer: Option<SocketAddr>,

    #[command(flatten)]
    pub(crate) connect: ConnectArgs,
}

/// Off or on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Switch {
    /// Without.
    Off,
    /// With.
    On,
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
