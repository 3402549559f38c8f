//! The configuration of `serve`, in TOML: where to listen, how the transports are set, what is served to whom.
//!
//! Strict: an unknown key is an error, and so is a value that could never work. Every error names file, line, column and
//! field, and shows the line, because that is all an administrator has. What is checked needs no I/O but reading the file;
//! that a backing file can be opened is found out by `serve`.

use std::{
    fmt, fs,
    ops::Range,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Deserializer, de};
use toml::Spanned;
use uuid::Uuid;

use crate::{
    args::{self, Backing, CrcRule, DigestRule, FileIo, Nqn, PeerNqn, PollMode},
    uri::Uri,
};

/// The whole file.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Config {
    /// Where to listen.
    #[serde(default)]
    pub(crate) listen: Vec<ListenUri>,
    /// Threads that serve connections.
    pub(crate) threads: Option<std::num::NonZeroU8>,
    /// Processors that threads are kept on, the first thread on the first one.
    #[serde(default)]
    pub(crate) cpu: Vec<usize>,
    /// How an idle thread waits.
    pub(crate) poll: Option<PollMode>,
    /// What only one transport knows.
    #[serde(default)]
    pub(crate) transport: TransportSection,
    /// What is served.
    #[serde(default)]
    pub(crate) subsystems: Vec<Spanned<SubsystemSection>>,
}

/// `[transport]`, one table per transport.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TransportSection {
    /// Software NVMe/TCP.
    #[serde(default)]
    pub(crate) tcp: TcpSection,
    /// NVMe/RDMA, by whichever device or software.
    #[serde(default)]
    pub(crate) rdma: RdmaSection,
}

/// `[transport.tcp]`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TcpSection {
    /// What to do about the header digest.
    pub(crate) header_digest: Option<DigestRule>,
    /// What to do about the data digest.
    pub(crate) data_digest: Option<DigestRule>,
    /// CPDA: data aligned to (n + 1) * 4 bytes.
    #[serde(default, deserialize_with = "alignment")]
    pub(crate) pda: Option<u8>,
    /// In-capsule data of I/O queues.
    #[serde(default, deserialize_with = "in_capsule")]
    pub(crate) in_capsule_data: Option<u32>,
    /// MAXH2CDATA.
    #[serde(default, deserialize_with = "h2c_data")]
    pub(crate) max_h2c_data: Option<u32>,
}

/// `[transport.rdma]`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RdmaSection {
    /// In-capsule data of I/O queues; every receive has room for it.
    #[serde(default, deserialize_with = "rdma_in_capsule")]
    pub(crate) in_capsule_data: Option<u32>,
    /// The most data of one command.
    #[serde(default, deserialize_with = "rdma_transfer")]
    pub(crate) max_transfer: Option<u32>,
    /// Entries of the largest queue.
    #[serde(default, deserialize_with = "queue_size")]
    pub(crate) max_queue_size: Option<u16>,
    /// Keyed SGL descriptors of one command (MSDBD).
    #[serde(default, deserialize_with = "descriptors")]
    pub(crate) sgl_descriptors: Option<u16>,
    /// RDMA READs outstanding on a connection.
    #[serde(default, deserialize_with = "read_depth")]
    pub(crate) read_depth: Option<u8>,
    /// Bytes that a send carries without naming memory; the device may lower it.
    #[serde(default, deserialize_with = "inline_data")]
    pub(crate) inline_data: Option<u32>,
    /// Whether frames of iWARP in software carry a CRC.
    pub(crate) crc: Option<CrcRule>,
}

/// `[[subsystems]]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SubsystemSection {
    /// Its name.
    pub(crate) nqn: Nqn,
    /// Its serial number.
    pub(crate) serial: Option<Serial>,
    /// Who may connect; everybody if absent, nobody if empty.
    pub(crate) allow_hosts: Option<Vec<PeerNqn>>,
    /// What it holds.
    #[serde(default)]
    pub(crate) namespaces: Vec<Spanned<NamespaceSection>>,
}

/// `[[subsystems.namespaces]]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NamespaceSection {
    /// Its number; the next free one if absent.
    pub(crate) nsid: Option<NamespaceId>,
    /// Memory of this size.
    pub(crate) ram: Option<Size>,
    /// A file or block device; relative to the folder of the configuration.
    pub(crate) file: Option<PathBuf>,
    /// Logical block size, 512 or 4096.
    #[serde(default)]
    pub(crate) block_size: BlockSize,
    /// Whether nobody may write.
    #[serde(default)]
    pub(crate) read_only: bool,
    /// Who reads and writes the file.
    #[serde(default)]
    pub(crate) file_io: FileIo,
    /// Whether the file is read and written past the page cache.
    #[serde(default)]
    pub(crate) direct: bool,
    /// Its UUID; a random one if absent.
    pub(crate) uuid: Option<Id>,
    /// File, line, column and field, for what is found out when it is opened; `None` of the command line.
    #[serde(skip)]
    pub(crate) place: Option<String>,
}

impl NamespaceSection {
    /// A namespace of the command line.
    pub(crate) fn plain(
        backing: &Backing,
        block_size: u32,
        read_only: bool,
        (file_io, direct): (FileIo, bool),
    ) -> Spanned<Self> {
        let (ram, file) = match backing {
            Backing::Ram(size) => (Some(Size(*size)), None),
            Backing::File(path) => (None, Some(path.clone())),
        };
        let section = Self {
            nsid: None,
            ram,
            file,
            block_size: BlockSize(block_size),
            read_only,
            file_io,
            direct,
            uuid: None,
            place: None,
        };
        Spanned::new(0..0, section)
    }
}

/// A listener's URI: no subsystem and no namespace in it.
#[derive(Clone, Debug)]
pub(crate) struct ListenUri(pub(crate) Uri);

/// A size, as a number of bytes or with a unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Size(pub(crate) u64);

/// A logical block size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BlockSize(pub(crate) u32);

impl Default for BlockSize {
    fn default() -> Self {
        Self(512)
    }
}

/// A namespace identifier that may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NamespaceId(pub(crate) u32);

/// A serial number: up to 20 printable ASCII characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Serial(pub(crate) String);

impl std::str::FromStr for Serial {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let printable = text.bytes().all(|byte| matches!(byte, b' '..=b'~'));
        if !printable || text.len() > 20 || text.is_empty() {
            return Err("a serial number has 1 to 20 printable ASCII characters".into());
        }
        Ok(Self(text.to_owned()))
    }
}

impl std::str::FromStr for ListenUri {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let uri: Uri = text.parse().map_err(|error: crate::uri::UriError| error.to_string())?;
        if uri.nqn.is_some() || uri.nsid.is_some() {
            return Err("a listener has no subsystem; write only scheme, host and port".into());
        }
        Ok(Self(uri))
    }
}

/// A UUID.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Id(pub(crate) Uuid);

impl std::str::FromStr for Id {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match Uuid::parse_str(text) {
            Ok(uuid) if !uuid.is_nil() => Ok(Self(uuid)),
            Ok(_) => Err("the UUID must not be zero".into()),
            Err(error) => Err(error.to_string()),
        }
    }
}

macro_rules! deserialize_from_text {
    ($($type:ty),*) => {$(
        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
            }
        }
    )*};
}
deserialize_from_text!(ListenUri, Serial, Id);

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = Size;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a size such as 4096, \"4k\" or \"1GiB\"")
            }
            fn visit_i64<E: de::Error>(self, bytes: i64) -> Result<Size, E> {
                u64::try_from(bytes).map(Size).map_err(|_| E::custom("a size is not negative"))
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Size, E> {
                args::size(text).map(Size).map_err(E::custom)
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

impl<'de> Deserialize<'de> for BlockSize {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Size::deserialize(deserializer)?.0 {
            512 => Ok(Self(512)),
            4096 => Ok(Self(4096)),
            _ => Err(de::Error::custom("a block size is 512 or 4096")),
        }
    }
}

impl<'de> Deserialize<'de> for NamespaceId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match i64::deserialize(deserializer)?.try_into() {
            // NN of a subsystem reaches no further.
            Ok(nsid @ 1..=65_536) => Ok(Self(nsid)),
            _ => Err(de::Error::custom("a namespace is a number from 1 to 65536")),
        }
    }
}

fn bounded<'de, D: Deserializer<'de>>(
    deserializer: D,
    range: Range<u64>,
    what: &str,
) -> Result<u32, D::Error> {
    match Size::deserialize(deserializer)?.0 {
        value if range.contains(&value) => u32::try_from(value).map_err(de::Error::custom),
        _ => Err(de::Error::custom(what)),
    }
}

fn alignment<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u8>, D::Error> {
    let value = bounded(deserializer, 0..32, "pda is a number from 0 to 31")?;
    Ok(u8::try_from(value).ok())
}

fn in_capsule<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u32>, D::Error> {
    bounded(deserializer, 0..65537, "in-capsule data is from 0 to 64k").map(Some)
}

/// MAXH2CDATA is at least 4096 and a multiple of 4 (NVMe/TCP Transport 1.0 §3.6.2.3).
fn h2c_data<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u32>, D::Error> {
    bounded(deserializer, 4096..(1 << 32), "max_h2c_data is at least 4096").map(|value| Some(value & !3))
}

/// Rounded down to a multiple of 16, the unit of IOCCSZ.
fn rdma_in_capsule<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u32>, D::Error> {
    bounded(deserializer, 0..65537, "in-capsule data is from 0 to 64k").map(|value| Some(value & !15))
}

fn rdma_transfer<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u32>, D::Error> {
    bounded(deserializer, 4096..0xFF_F001, "max_transfer is from 4096 to 16773120").map(Some)
}

fn queue_size<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u16>, D::Error> {
    let size = bounded(deserializer, 32..16_385, "max_queue_size is a number from 32 to 16384")?;
    Ok(u16::try_from(size).ok())
}

fn descriptors<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u16>, D::Error> {
    let count = bounded(deserializer, 1..257, "sgl_descriptors is a number from 1 to 256")?;
    Ok(u16::try_from(count).ok())
}

fn read_depth<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u8>, D::Error> {
    let depth = bounded(deserializer, 1..255, "read_depth is a number from 1 to 254")?;
    Ok(u8::try_from(depth).ok())
}

fn inline_data<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u32>, D::Error> {
    bounded(deserializer, 0..4097, "inline_data is from 0 to 4096").map(Some)
}

/// What is wrong with a configuration, and where.
#[derive(Debug)]
pub(crate) struct ConfigError {
    /// The file.
    pub(crate) file: PathBuf,
    /// Line and column, counted from 1, and the line.
    pub(crate) place: Option<(usize, usize, String)>,
    /// The field, as a path of keys.
    pub(crate) field: Option<String>,
    /// What is wrong.
    pub(crate) problem: String,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        if let Some((line, column, _)) = &self.place {
            write!(f, ":{line}:{column}")?;
        }
        if let Some(field) = &self.field {
            write!(f, ": {field}")?;
        }
        write!(f, ": {}", self.problem)?;
        if let Some((line, column, text)) = &self.place {
            let gutter = line.to_string().len();
            write!(f, "\n{line} | {text}\n{:gutter$} | {:>column$}", "", "^")?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigError {}

impl Config {
    /// Reads and checks a file.
    pub(crate) fn load(file: &Path) -> Result<Self, ConfigError> {
        let text = fs::read_to_string(file).map_err(|error| ConfigError {
            file: file.to_owned(),
            place: None,
            field: None,
            problem: error.to_string(),
        })?;
        Self::parse(file, &text)
    }

    /// Checks the text of a file; `file` is for messages and for the folder that relative paths begin at.
    pub(crate) fn parse(file: &Path, text: &str) -> Result<Self, ConfigError> {
        let error = |span: Option<Range<usize>>, field: Option<String>, problem: String| ConfigError {
            file: file.to_owned(),
            place: span.map(|span| place(text, span.start)),
            field,
            problem,
        };
        let deserializer = toml::Deserializer::parse(text)
            .map_err(|wrong| error(wrong.span(), None, wrong.message().to_owned()))?;
        let mut config: Self = serde_path_to_error::deserialize(deserializer).map_err(|wrong| {
            // What `Spanned` hides its value under is nobody's key.
            let path = wrong.path().to_string().replace(".$__serde_spanned_private_value", "");
            let inner = wrong.into_inner();
            let field = (path != ".").then_some(path);
            error(inner.span(), field, inner.message().to_owned())
        })?;
        config.check(|span, field, problem| error(Some(span), Some(field), problem))?;
        let folder = file.parent().unwrap_or(Path::new(""));
        for (i, subsystem) in config.subsystems.iter_mut().enumerate() {
            for (n, namespace) in subsystem.get_mut().namespaces.iter_mut().enumerate() {
                let (line, column, _) = place(text, namespace.span().start);
                let section = namespace.get_mut();
                let shown = file.display();
                section.place = Some(format!("{shown}:{line}:{column}: subsystems[{i}].namespaces[{n}]"));
                if let Some(path) = &mut section.file {
                    *path = folder.join(&path);
                }
            }
        }
        Ok(config)
    }

    /// What no single value shows: duplicates, and alternatives of which one must be taken.
    fn check(&self, error: impl Fn(Range<usize>, String, String) -> ConfigError) -> Result<(), ConfigError> {
        let mut names = std::collections::HashSet::new();
        for (i, subsystem) in self.subsystems.iter().enumerate() {
            let at = |key: &str| format!("subsystems[{i}].{key}");
            let (span, subsystem) = (subsystem.span(), subsystem.as_ref());
            if !names.insert(subsystem.nqn) {
                let problem = format!("{} is the name of an earlier subsystem", subsystem.nqn);
                return Err(error(span, at("nqn"), problem));
            }
            if subsystem.nqn.0.is_discovery() {
                let problem = "the discovery subsystem is always served; name another".into();
                return Err(error(span, at("nqn"), problem));
            }
            let mut numbers = std::collections::HashSet::new();
            for (n, namespace) in subsystem.namespaces.iter().enumerate() {
                let at = |key: &str| at(&format!("namespaces[{n}]{key}"));
                let (span, namespace) = (namespace.span(), namespace.as_ref());
                match (namespace.ram, &namespace.file) {
                    (Some(_), Some(_)) => {
                        return Err(error(span, at(".file"), "ram is given too; choose one of them".into()));
                    }
                    (None, None) => {
                        let problem = "nothing holds the data: add ram = \"1GiB\" or file = \"disk.img\"";
                        return Err(error(span, at(""), problem.into()));
                    }
                    (Some(Size(size)), None) if size < u64::from(namespace.block_size.0) => {
                        return Err(error(span, at(".ram"), "smaller than one block".into()));
                    }
                    (Some(Size(size)), None) if size % u64::from(namespace.block_size.0) != 0 => {
                        let problem = format!("not a multiple of the block size, {}", namespace.block_size.0);
                        return Err(error(span, at(".ram"), problem));
                    }
                    _ => {}
                }
                if let Some(NamespaceId(nsid)) = namespace.nsid
                    && !numbers.insert(nsid)
                {
                    return Err(error(span, at(".nsid"), format!("{nsid} is taken by an earlier namespace")));
                }
            }
        }
        Ok(())
    }
}

/// Line and column of a byte, counted from 1, and the line.
fn place(text: &str, byte: usize) -> (usize, usize, String) {
    let before = text.get(..byte).unwrap_or(text);
    let start = before.rfind('\n').map_or(0, |at| at + 1);
    let line = before.matches('\n').count() + 1;
    let column = before.get(start..).unwrap_or_default().chars().count() + 1;
    let content = text.get(start..).and_then(|rest| rest.lines().next()).unwrap_or_default();
    (line, column, content.to_owned())
}

#[cfg(test)]
#[path = "config_tests.rs"]
mod tests;
