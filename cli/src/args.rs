//! The command line: what may be said to `nvmf`, and its help.
//!
//! One file per group of commands under `args/`. Nothing here acts; every value that can be wrong is checked while it is
//! parsed, so that a bad argument is reported with its name before anything is opened. Start with [`Cli`].

mod bench;
mod connect;
mod inspect;
mod io;
mod serve;
mod values;

use clap::{Args, Parser, Subcommand, ValueHint};
use clap_complete::Shell;
use std::path::PathBuf;

pub(crate) use bench::{BenchArgs, DemoArgs, Switch};
pub(crate) use connect::{ConnectArgs, CrcRule, DigestWish, TransportChoice};
pub(crate) use inspect::{DiscoverArgs, IdentifyArgs, TransportsArgs};
pub(crate) use io::{CopyArgs, CopyEnd, ReadArgs, WriteArgs};
pub(crate) use serve::{Backing, DigestRule, FileIo, PollMode, ServeArgs};
pub(crate) use values::{Nqn, PeerNqn, duration, size, size32};

use crate::failure;

const ABOUT: &str = "NVMe over Fabrics in user space: serve, discover, read, write, copy, measure";

const URIS: &str = "\
URIs:
  nvme+tcp://HOST[:PORT][/NQN][?nsid=N]   NVMe/TCP
  nvme+rdma://HOST[:PORT][/NQN][?nsid=N]  NVMe/RDMA: an RDMA device that leads
                                          there, else iWARP in software
  nvme://HOST[:PORT][/NQN][?nsid=N]       any wire: selection chooses
  HOST is a name, an IPv4 address, or an IPv6 address in brackets, with its
  scope where it has one: 192.0.2.7, [2001:db8::7], [fe80::7%eth0]. PORT is
  4420 (8009 for discovery) unless given. Without an NQN the controller is
  asked which subsystems it has, and the only one is used.

Examples:
  nvmf demo                                           see it work, with nothing set up
  nvmf serve --file disk.img                           serve an image on 127.0.0.1:4420
  nvmf discover nvme+tcp://127.0.0.1:4420              what is served there
  nvmf copy nvme+tcp://127.0.0.1:4420/NQN backup.img   copy a namespace to a file
  nvmf bench --pattern randread --seconds 5            measure, against a controller of its own
";

/// The whole command line.
#[derive(Debug, Parser)]
#[command(name = "nvmf", version, about = ABOUT, after_help = URIS, after_long_help = after_long_help(), max_term_width = 110)]
#[command(propagate_version = true, arg_required_else_help = true, subcommand_required = true)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: GlobalArgs,
    #[command(subcommand)]
    pub(crate) command: Command,
}

fn after_long_help() -> String {
    format!("{URIS}\n{}", failure::exit_codes_help())
}

/// What every command takes.
#[derive(Debug, Args)]
pub(crate) struct GlobalArgs {
    /// Print results as JSON on stdout, and a failure as one JSON object on stderr
    #[arg(long, global = true, help_heading = "Output")]
    pub(crate) json: bool,

    /// Log more to stderr: -v what happens, -vv details, -vvv every event
    #[arg(short, long, global = true, action = clap::ArgAction::Count, help_heading = "Output")]
    pub(crate) verbose: u8,

    /// Log what FILTER says, such as `nvmf_tcp=trace,warn`; stronger than -v
    #[arg(long, global = true, value_name = "FILTER", env = "NVMF_LOG", help_heading = "Output")]
    pub(crate) log: Option<String>,

    /// Show no progress
    #[arg(short, long, global = true, help_heading = "Output")]
    pub(crate) quiet: bool,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Serve memory, files and block devices as namespaces
    Serve(Box<ServeArgs>),
    /// See it work: serve, connect, write, read back and verify within this process
    Demo(Box<DemoArgs>),
    /// List what a controller's discovery service knows
    Discover(Box<DiscoverArgs>),
    /// Show a controller and its namespaces
    Identify(Box<IdentifyArgs>),
    /// Read from a namespace to stdout or a file
    Read(Box<ReadArgs>),
    /// Write to a namespace from stdin or a file
    Write(Box<WriteArgs>),
    /// Copy between files and namespaces, either way
    Copy(Box<CopyArgs>),
    /// Show every transport, whether it would carry a connection, and why
    Transports(Box<TransportsArgs>),
    /// Measure I/O per second, throughput, latency and processor time
    Bench(Box<BenchArgs>),
    /// Print a shell's completion script
    #[command(
        after_help = "Examples:\n  nvmf completions bash > ~/.local/share/bash-completion/completions/nvmf\n  \
        nvmf completions zsh > ~/.zfunc/_nvmf\n  nvmf completions fish > ~/.config/fish/completions/nvmf.fish"
    )]
    Completions {
        /// The shell
        shell: Shell,
    },
    /// Print the manual, or write one page per command
    #[command(after_help = "Examples:\n  nvmf man | man -l -\n  nvmf man --output ~/.local/share/man/man1")]
    Man {
        /// Write nvmf.1 and one page per command into this directory
        #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
        output: Option<PathBuf>,
    },
}

impl Command {
    /// The command's name, for failures and logs.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Serve(_) => "serve",
            Self::Demo(_) => "demo",
            Self::Discover(_) => "discover",
            Self::Identify(_) => "identify",
            Self::Read(_) => "read",
            Self::Write(_) => "write",
            Self::Copy(_) => "copy",
            Self::Transports(_) => "transports",
            Self::Bench(_) => "bench",
            Self::Completions { .. } => "completions",
            Self::Man { .. } => "man",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_definition_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_has_an_example() {
        for command in Cli::command().get_subcommands() {
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            assert!(help.contains("nvmf "), "{} has no example", command.get_name());
        }
    }
}
