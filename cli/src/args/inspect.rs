//! `discover`, `identify` and `transports`: commands that look and change nothing.

use clap::Args;

use super::ConnectArgs;
use crate::uri::Uri;

/// `nvmf discover`
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  nvmf discover nvme+tcp://192.0.2.7              the discovery service on port 8009
  nvmf discover nvme+tcp://127.0.0.1:4420 --json  that of an nvmf controller, on its own port, as JSON")]
pub(crate) struct DiscoverArgs {
    /// Where to ask; port 8009 unless given
    #[arg(value_name = "URI")]
    pub(crate) uri: Uri,
    #[command(flatten)]
    pub(crate) connect: ConnectArgs,
}

/// `nvmf identify`
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  nvmf identify nvme+tcp://127.0.0.1:4420/nqn.2014-08.org.example:disk1
  nvmf identify nvme+tcp://127.0.0.1:4420/nqn.2014-08.org.example:disk1 --nsid 2 --json")]
pub(crate) struct IdentifyArgs {
    /// The subsystem
    #[arg(value_name = "URI")]
    pub(crate) uri: Uri,
    /// Only this namespace
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) nsid: Option<u32>,
    #[command(flatten)]
    pub(crate) connect: ConnectArgs,
}

/// `nvmf transports`
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  nvmf transports                              what this program can use on this machine
  nvmf transports nvme+tcp://192.0.2.7:4420    who would carry a connection there, and why not the others
  nvmf transports --explain                    the RDMA devices as well, and what each can do")]
pub(crate) struct TransportsArgs {
    /// Judge them for a connection there; sends nothing but name queries
    #[arg(value_name = "URI")]
    pub(crate) uri: Option<Uri>,
    /// List the RDMA devices of this machine with what they can do
    #[arg(long)]
    pub(crate) explain: bool,
    #[command(flatten)]
    pub(crate) connect: ConnectArgs,
}
