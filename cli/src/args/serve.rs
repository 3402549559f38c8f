//! `serve`: what to serve, where, and to whom.

use std::path::PathBuf;

use clap::{
    ArgAction, ArgMatches, Args, Command, Error, FromArgMatches, ValueEnum, ValueHint, builder::ValueParser,
};
use serde::Deserialize;

use super::{CrcRule, Nqn, PeerNqn, size, size32};
use crate::uri::Uri;

const WHAT: &str = "What to serve";
const TRANSPORT: &str = "Transport";
const TUNING: &str = "Tuning";

/// `nvmf serve`
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  nvmf serve --ram 1GiB
  nvmf serve --listen nvme+tcp://0.0.0.0:4420 --subsystem nqn.2014-08.org.example:disk1 --file disk.img --block-size 4096
  nvmf serve --listen nvme+tcp://[::1]:0 --ram 64M --ram 64M --allow-host nqn.2014-08.org.example:host7
  nvmf serve --listen nvme+rdma://0.0.0.0:4420 --ram 1GiB     an RDMA device, else iWARP in software
  nvmf serve --listen nvme://0.0.0.0:4420 --ram 1GiB          NVMe/TCP and iWARP in software on one port
  nvmf serve --config nvmf.toml
Namespaces are numbered from 1 in the order given. Prints `listening URI` for every listener
and every wire spoken there, then `ready`.
SIGTERM or SIGINT ends it: commands in progress are answered, files are synchronised, the exit code is 0.

Configuration (every key but nqn and one of ram and file may be left out):
  listen = [\"nvme+tcp://0.0.0.0:4420\"]
  threads = 2
  [transport.tcp]
  data_digest = \"require\"
  in_capsule_data = \"16k\"
  [transport.rdma]
  in_capsule_data = \"8k\"
  read_depth = 32
  crc = \"when-asked\"
  [[subsystems]]
  nqn = \"nqn.2014-08.org.example:disk1\"
  serial = \"DISK0001\"
  allow_hosts = [\"nqn.2014-08.org.example:host7\"]
  [[subsystems.namespaces]]
  file = \"/srv/disk1.img\"
  block_size = 4096
  file_io = \"io-uring\"
  direct = true
  read_only = true")]
pub(crate) struct ServeArgs {
    /// Read the configuration from this file; what else is said here is added to it
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, help_heading = WHAT)]
    pub(crate) config: Option<PathBuf>,

    /// Listen there (repeatable); port 0 picks a free one [default: nvme+tcp://127.0.0.1:4420]
    #[arg(long, value_name = "URI", help_heading = WHAT)]
    pub(crate) listen: Vec<Uri>,

    /// The subsystem that --ram and --file belong to
    #[arg(long, value_name = "NQN", default_value = "nqn.2014-08.org.example:nvmf", help_heading = WHAT)]
    pub(crate) subsystem: Nqn,

    #[command(flatten)]
    pub(crate) backings: Backings,

    /// Logical block size of --ram and --file
    #[arg(long, value_name = "SIZE", default_value = "512", value_parser = block_size, help_heading = WHAT)]
    pub(crate) block_size: u32,

    /// Let nobody write to --ram and --file
    #[arg(long, help_heading = WHAT)]
    pub(crate) read_only: bool,

    /// Let this host in, and nobody else (repeatable) [default: every host]
    #[arg(long, value_name = "NQN", help_heading = WHAT)]
    pub(crate) allow_host: Vec<PeerNqn>,

    /// Serial number of the subsystem, up to 20 ASCII characters
    #[arg(long, value_name = "TEXT", help_heading = WHAT)]
    pub(crate) serial: Option<String>,

    /// NVMe/TCP: header digest: give it to hosts that ask, never, or turn hosts without it away
    #[arg(long, value_enum, value_name = "RULE", help_heading = TRANSPORT)]
    pub(crate) header_digest: Option<DigestRule>,

    /// NVMe/TCP: data digest: give it to hosts that ask, never, or turn hosts without it away
    #[arg(long, value_enum, value_name = "RULE", help_heading = TRANSPORT)]
    pub(crate) data_digest: Option<DigestRule>,

    /// NVMe/TCP: ask for data aligned to (N + 1) * 4 bytes (CPDA, 0 to 31)
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(0..=31), help_heading = TRANSPORT)]
    pub(crate) pda: Option<u8>,

    /// In-capsule data that I/O queues take, up to 64k [default: 16k, over RDMA 8k]
    #[arg(long, value_name = "SIZE", value_parser = size32, help_heading = TRANSPORT)]
    pub(crate) in_capsule_data: Option<u32>,

    /// NVMe/TCP: the most data a host may send in one PDU (MAXH2CDATA)
    #[arg(long, value_name = "SIZE", value_parser = size32, help_heading = TRANSPORT)]
    pub(crate) max_h2c_data: Option<u32>,

    /// soft-iwarp: whether frames carry a CRC32C
    #[arg(long, value_enum, value_name = "RULE", help_heading = TRANSPORT)]
    pub(crate) mpa_crc: Option<CrcRule>,

    /// NVMe/RDMA: RDMA READs outstanding on a connection (ORD) [default: 32]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=254), help_heading = TRANSPORT)]
    pub(crate) read_depth: Option<u8>,

    /// Threads that serve connections; each gets an equal share of them [default: as many as --cpu names, or 1]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256), help_heading = TUNING)]
    pub(crate) threads: Option<u16>,

    /// How an idle thread waits
    #[arg(long, value_enum, value_name = "MODE", help_heading = TUNING)]
    pub(crate) poll: Option<PollMode>,

    /// Keep threads on processors: the first thread on the first one named, and so on (Linux)
    #[arg(long, value_name = "N,...", value_delimiter = ',', help_heading = TUNING)]
    pub(crate) cpu: Vec<usize>,

    /// Who reads and writes --file: the io_uring of the serving thread, or threads beside it [default: io_uring where there is one]
    #[arg(long, value_enum, value_name = "WAY", help_heading = TUNING)]
    pub(crate) file_io: Option<FileIo>,

    /// Read and write --file past the page cache (O_DIRECT)
    #[arg(long, help_heading = TUNING)]
    pub(crate) direct: bool,
}

/// What a controller does about a digest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum DigestRule {
    /// Hosts that ask for it get it.
    #[default]
    Allow,
    /// Nobody gets it.
    Never,
    /// Hosts that do not ask for it are turned away.
    Require,
}

/// Who reads and writes a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum FileIo {
    /// io_uring where there is one, else threads.
    #[default]
    Auto,
    /// io_uring, or nothing.
    IoUring,
    /// Threads.
    Threads,
}

/// How an idle thread waits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum PollMode {
    /// Spin shortly after work, then block.
    #[default]
    Adaptive,
    /// Never block: lowest latency, a whole processor.
    Spin,
    /// Block at once: least processor time.
    Block,
}

fn block_size(text: &str) -> Result<u32, String> {
    match size32(text)? {
        size @ (512 | 4096) => Ok(size),
        _ => Err("must be 512 or 4096".into()),
    }
}

/// Where a namespace's data is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Backing {
    /// In memory, of this many bytes.
    Ram(u64),
    /// In a file or a block device.
    File(PathBuf),
}

/// `--ram` and `--file` in the order they were given, which numbers the namespaces. The derive would keep two separate lists.
#[derive(Clone, Debug, Default)]
pub(crate) struct Backings(pub(crate) Vec<Backing>);

impl Args for Backings {
    fn augment_args(command: Command) -> Command {
        command
            .arg(
                clap::Arg::new("ram")
                    .long("ram")
                    .value_name("SIZE")
                    .help("Serve memory of this size (repeatable); what was never written takes none")
                    .action(ArgAction::Append)
                    .value_parser(ValueParser::new(size))
                    .help_heading(WHAT),
            )
            .arg(
                clap::Arg::new("file")
                    .long("file")
                    .value_name("PATH")
                    .help("Serve a file or block device (repeatable)")
                    .action(ArgAction::Append)
                    .value_parser(clap::value_parser!(PathBuf))
                    .value_hint(ValueHint::FilePath)
                    .help_heading(WHAT),
            )
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for Backings {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, Error> {
        let indices = |name| matches.indices_of(name).into_iter().flatten();
        let ram = matches.get_many::<u64>("ram").into_iter().flatten();
        let files = matches.get_many::<PathBuf>("file").into_iter().flatten();
        let mut all: Vec<(usize, Backing)> = indices("ram")
            .zip(ram.map(|&size| Backing::Ram(size)))
            .chain(indices("file").zip(files.map(|path| Backing::File(path.clone()))))
            .collect();
        all.sort_by_key(|&(index, _)| index);
        Ok(Self(all.into_iter().map(|(_, backing)| backing).collect()))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::Cli;
    use clap::Parser;

    fn parse(arguments: &[&str]) -> ServeArgs {
        let cli = Cli::try_parse_from(["nvmf", "serve"].iter().chain(arguments)).unwrap();
        match cli.command {
            crate::args::Command::Serve(args) => *args,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn namespaces_keep_the_order_of_the_command_line() {
        let args = parse(&["--file", "a", "--ram", "1M", "--file", "b", "--ram", "4k"]);
        assert_eq!(
            args.backings.0,
            [Backing::File("a".into()), Backing::Ram(1 << 20), Backing::File("b".into()), Backing::Ram(4096)]
        );
    }

    #[test]
    fn processors_are_a_list() {
        assert_eq!(parse(&["--cpu", "0,3", "--cpu", "5"]).cpu, [0, 3, 5]);
        assert!(Cli::try_parse_from(["nvmf", "serve", "--cpu", "0;1"]).is_err());
    }

    #[test]
    fn odd_block_sizes_are_refused() {
        assert_eq!(parse(&["--block-size", "4k"]).block_size, 4096);
        assert!(Cli::try_parse_from(["nvmf", "serve", "--block-size", "1000"]).is_err());
    }
}
