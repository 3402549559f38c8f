//! What every command that connects takes.

use std::{net::SocketAddr, time::Duration};

use clap::Args;
use uuid::Uuid;

use super::{PeerNqn, duration};

const CONNECTING: &str = "Connecting";
const TRANSPORT: &str = "Transport";
const LOSS: &str = "When things go wrong";

/// Who carries the connection: `auto`, or a transport's name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum TransportChoice {
    /// Whoever accepts, the most preferred first.
    Auto,
    /// This one or none.
    Named(String),
}

impl std::str::FromStr for TransportChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(Self::Auto),
            name if crate::transports::NAMES.contains(&name) => Ok(Self::Named(name.to_owned())),
            _ => Err(format!("known are auto, {}", crate::transports::NAMES.join(", "))),
        }
    }
}

impl std::fmt::Display for TransportChoice {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Auto => "auto",
            Self::Named(name) => name,
        })
    }
}

/// How much a host wants a digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum DigestWish {
    /// No connection without.
    Require,
    /// Where the controller takes part.
    Offer,
}

/// When iWARP frames carry a CRC32C. A peer that wants one always gets it (RFC 5044 §6.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum CrcRule {
    /// Always.
    #[default]
    Require,
    /// Where the peer wants it.
    WhenAsked,
}

/// Options of a connection.
#[derive(Clone, Debug, Args)]
pub(crate) struct ConnectArgs {
    /// Who carries the connection: auto, or a name that `nvmf transports` shows
    #[arg(long, value_name = "auto|NAME", default_value = "auto", help_heading = TRANSPORT)]
    pub(crate) transport: TransportChoice,

    /// Never this transport (repeatable)
    #[arg(long, value_name = "NAME", value_parser = clap::builder::PossibleValuesParser::new(crate::transports::NAMES), conflicts_with = "transport", help_heading = TRANSPORT)]
    pub(crate) exclude_transport: Vec<String>,

    /// NVMe/TCP: protect every PDU header with a CRC32C; `=offer` goes on without if the controller has none
    #[arg(long, value_enum, value_name = "RULE", num_args = 0..=1, require_equals = true, default_missing_value = "require", help_heading = TRANSPORT)]
    pub(crate) header_digest: Option<DigestWish>,

    /// NVMe/TCP: protect all data with a CRC32C; `=offer` goes on without if the controller has none
    #[arg(long, value_enum, value_name = "RULE", num_args = 0..=1, require_equals = true, default_missing_value = "require", help_heading = TRANSPORT)]
    pub(crate) data_digest: Option<DigestWish>,

    /// NVMe/TCP: ask for data aligned to (N + 1) * 4 bytes (HPDA, 0 to 31)
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u8).range(0..=31), help_heading = TRANSPORT)]
    pub(crate) pda: u8,

    /// NVMe/TCP: outstanding R2Ts allowed per command (1 to 65536)
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=65536), help_heading = TRANSPORT)]
    pub(crate) max_r2t: u32,

    /// soft-iwarp: whether frames carry a CRC32C
    #[arg(long, value_enum, value_name = "RULE", help_heading = TRANSPORT)]
    pub(crate) mpa_crc: Option<CrcRule>,

    /// NVMe/RDMA: RDMA READs that the controller may have outstanding here (IRD) [default: 32]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=254), help_heading = TRANSPORT)]
    pub(crate) read_depth: Option<u8>,

    /// Connect from this local address
    #[arg(long, value_name = "ADDR[:PORT]", value_parser = source, help_heading = TRANSPORT)]
    pub(crate) source: Option<SocketAddr>,

    /// I/O queues; the controller may grant fewer
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=1024), help_heading = CONNECTING)]
    pub(crate) queues: u16,

    /// Commands outstanding on each I/O queue; the controller may allow fewer [default: 127, bench: 32]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=65534), help_heading = CONNECTING)]
    pub(crate) queue_depth: Option<u16>,

    /// Name of this host [default: that of /etc/nvme/hostnqn, else a new one each time]
    #[arg(long, value_name = "NQN", env = "NVMF_HOSTNQN", help_heading = CONNECTING)]
    pub(crate) hostnqn: Option<PeerNqn>,

    /// Identifier of this host [default: that of /etc/nvme/hostid, else the UUID in the name, else a new one]
    #[arg(long, value_name = "UUID", env = "NVMF_HOSTID", help_heading = CONNECTING)]
    pub(crate) hostid: Option<Uuid>,

    /// Keep-alive timeout, 0 for none
    #[arg(long, value_name = "SECONDS", default_value = "15", value_parser = duration, help_heading = CONNECTING)]
    pub(crate) kato: Duration,

    /// Leave SQ flow control on (off is faster: reads complete without a response capsule)
    #[arg(long, help_heading = CONNECTING)]
    pub(crate) sq_flow_control: bool,

    /// Time for one attempt to connect and negotiate
    #[arg(long, value_name = "SECONDS", default_value = "5", value_parser = duration, help_heading = LOSS)]
    pub(crate) connect_timeout: Duration,

    /// Time for one command
    #[arg(long, value_name = "SECONDS", default_value = "30", value_parser = duration, help_heading = LOSS)]
    pub(crate) command_timeout: Duration,

    /// Pause between attempts to reconnect
    #[arg(long, value_name = "SECONDS", default_value = "2", value_parser = duration, help_heading = LOSS)]
    pub(crate) reconnect_delay: Duration,

    /// Give a lost controller up after this time; 0 does not reconnect
    #[arg(long, value_name = "SECONDS", default_value = "60", value_parser = duration, help_heading = LOSS)]
    pub(crate) ctrl_loss_timeout: Duration,

    /// Fail held I/O after this time without the controller [default: when it is given up]
    #[arg(long, value_name = "SECONDS", value_parser = duration, help_heading = LOSS)]
    pub(crate) fast_io_fail_timeout: Option<Duration>,
}

fn source(text: &str) -> Result<SocketAddr, String> {
    text.parse()
        .or_else(|_| text.parse().map(|ip| SocketAddr::new(ip, 0)))
        .map_err(|_| "write an address of this machine, such as 192.0.2.7 or [2001:db8::7]:0".into())
}
