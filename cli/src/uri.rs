//! Where a subsystem is: `nvme+tcp://HOST[:PORT][/NQN][?nsid=N]`.
//!
//! The scheme names the wire, never who carries it (`--transport` does). Parsing touches no network; a name is resolved by
//! [`Uri::targets`]. An error knows the column it is at, because these strings are long.

use std::{
    fmt,
    net::{Ipv6Addr, SocketAddr, ToSocketAddrs},
    str::FromStr,
};

use nvmf_transport::{Target, Wire};
use nvmf_wire::Nqn;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

/// Port of NVMe/TCP and NVMe/RDMA I/O controllers.
pub(crate) const IO_PORT: u16 = 4420;
// spec: TCP-ADR-02
/// Port of discovery controllers.
pub(crate) const DISCOVERY_PORT: u16 = 8009;

/// What stays as it is in an NQN within a URI: what RFC 3986 §3.3 allows in a path.
const PATH: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~')
    .remove(b':')
    .remove(b'@')
    .remove(b'/')
    .remove(b'+')
    .remove(b'=')
    .remove(b',');

/// A parsed URI.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Uri {
    /// The wire; `None` lets selection choose.
    pub(crate) wire: Option<Wire>,
    /// A name or an address, without brackets, an IPv6 scope behind `%`.
    pub(crate) host: String,
    /// The port, if it was given.
    pub(crate) port: Option<u16>,
    /// The subsystem, if it was given.
    pub(crate) nqn: Option<Nqn>,
    /// The namespace, if it was given.
    pub(crate) nsid: Option<u32>,
}

/// What is wrong with a URI, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct UriError {
    /// The character it is at, counted from 1.
    pub(crate) column: usize,
    /// What is wrong, and what would be right.
    pub(crate) problem: String,
}

impl fmt::Display for UriError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "column {}: {}", self.column, self.problem)
    }
}

impl std::error::Error for UriError {}

/// Text with its place in the whole, so that errors point into what the person wrote.
#[derive(Clone, Copy)]
struct Part<'a> {
    whole: &'a str,
    start: usize,
    text: &'a str,
}

impl<'a> Part<'a> {
    fn from(self, start: usize, text: &'a str) -> Self {
        Self { whole: self.whole, start: self.start + start, text }
    }

    /// Splits before the first character of `marks`; the rest is empty if there is none.
    fn split(self, marks: &[char]) -> (Self, Self) {
        let at = self.text.find(marks).unwrap_or(self.text.len());
        let (head, rest) = self.text.split_at(at);
        (self.from(0, head), self.from(at, rest))
    }

    fn error<T>(self, byte: usize, problem: impl Into<String>) -> Result<T, UriError> {
        let upto = self.whole.get(..self.start + byte).unwrap_or(self.whole);
        Err(UriError { column: upto.chars().count() + 1, problem: problem.into() })
    }

    fn decoded(self) -> Result<String, UriError> {
        let bytes = self.text.as_bytes();
        for (at, _) in self.text.match_indices('%') {
            let hex = bytes.get(at + 1..at + 3).unwrap_or_default();
            if hex.len() != 2 || !hex.iter().all(u8::is_ascii_hexdigit) {
                return self.error(at, "a percent sign needs two hexadecimal digits behind it, as in %2F");
            }
        }
        match percent_decode_str(self.text).decode_utf8() {
            Ok(text) => Ok(text.into_owned()),
            Err(_) => self.error(0, "the percent-encoded bytes are not UTF-8"),
        }
    }
}

impl FromStr for Uri {
    type Err = UriError;

    fn from_str(text: &str) -> Result<Self, UriError> {
        let whole = Part { whole: text, start: 0, text };
        let Some(separator) = text.find("://") else {
            return whole.error(0, "not a URI; write nvme+tcp://HOST[:PORT][/NQN]");
        };
        let wire = scheme(whole.from(0, text.get(..separator).unwrap_or_default()))?;
        let rest = whole.from(separator + 3, text.get(separator + 3..).unwrap_or_default());
        let (authority, rest) = rest.split(&['/', '?', '#']);
        let (path, query) = rest.split(&['?', '#']);
        let (host, port) = authority_parts(authority)?;
        Ok(Self { wire, host, port, nqn: subsystem(path)?, nsid: namespace(query)? })
    }
}

fn scheme(part: Part<'_>) -> Result<Option<Wire>, UriError> {
    match part.text.to_ascii_lowercase().as_str() {
        "nvme" => Ok(None),
        "nvme+tcp" => Ok(Some(Wire::TCP)),
        "nvme+rdma" => Ok(Some(Wire::RDMA)),
        scheme => match scheme.strip_prefix("nvme+") {
            Some(wire) => part.error(5, format!("unknown wire {wire:?}; known are tcp and rdma")),
            None => part
                .error(0, format!("unknown scheme {scheme:?}; write nvme+tcp://, or nvme:// for any wire")),
        },
    }
}

fn authority_parts(part: Part<'_>) -> Result<(String, Option<u16>), UriError> {
    if let Some(at) = part.text.find('@') {
        return part.error(at, "no user name or password belongs here");
    }
    if part.text.starts_with('[') {
        let Some(end) = part.text.find(']') else {
            return part.error(part.text.len(), "the bracket of the IPv6 address is not closed");
        };
        let inner = part.from(1, part.text.get(1..end).unwrap_or_default());
        let after = part.from(end + 1, part.text.get(end + 1..).unwrap_or_default());
        if !after.text.is_empty() && !after.text.starts_with(':') {
            return after.error(0, "only a colon and a port may follow the bracket");
        }
        return Ok((ipv6(inner)?, port(after)?));
    }
    let (host, after) = part.split(&[':']);
    if host.text.is_empty() {
        return host.error(0, "the host is missing");
    }
    if after.text.matches(':').count() > 1 {
        return host.error(0, "put an IPv6 address in brackets, as in [2001:db8::7]");
    }
    if let Some(at) = host.text.find(|c: char| c.is_whitespace() || c.is_control()) {
        return host.error(at, "a host has no such character");
    }
    Ok((host.decoded()?, port(after)?))
}

/// RFC 6874 writes a scope behind `%25`; people write it behind `%`. Both are taken.
fn ipv6(part: Part<'_>) -> Result<String, UriError> {
    let (address, scope) = part.split(&['%']);
    if address.text.parse::<Ipv6Addr>().is_err() {
        return part.error(0, format!("{:?} is not an IPv6 address", address.text));
    }
    if scope.text.is_empty() {
        return Ok(address.text.to_owned());
    }
    let name = scope.text.strip_prefix("%25").or_else(|| scope.text.strip_prefix('%')).unwrap_or_default();
    if name.is_empty() {
        return scope.error(0, "the scope is missing: name an interface, as in %eth0");
    }
    Ok(format!("{}%{name}", address.text))
}

fn port(part: Part<'_>) -> Result<Option<u16>, UriError> {
    let Some(digits) = part.text.strip_prefix(':') else {
        return Ok(None);
    };
    match digits.parse() {
        Ok(port) if digits.bytes().all(|byte| byte.is_ascii_digit()) => Ok(Some(port)),
        _ => part.error(1, format!("{digits:?} is not a port; ports are 0 to 65535")),
    }
}

fn subsystem(part: Part<'_>) -> Result<Option<Nqn>, UriError> {
    let Some(name) = part.text.strip_prefix('/').filter(|name| !name.is_empty()) else {
        return Ok(None);
    };
    let name = part.from(1, name);
    match Nqn::parse_lenient(&name.decoded()?) {
        Ok(nqn) => Ok(Some(nqn)),
        Err(fault) => name.error(fault.at.min(name.text.len()), fault.fault.to_string()),
    }
}

fn namespace(part: Part<'_>) -> Result<Option<u32>, UriError> {
    if part.text.is_empty() {
        return Ok(None);
    }
    if part.text.starts_with('#') {
        return part.error(0, "no fragment belongs here; write # in an NQN as %23");
    }
    let mut nsid = None;
    let mut at = 1;
    for pair in part.text.get(1..).unwrap_or_default().split('&') {
        let here = part.from(at, pair);
        at += pair.len() + 1;
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        match (key, value.parse::<u32>()) {
            ("nsid", Ok(value @ 1..=0xFFFF_FFFE)) => nsid = Some(value),
            ("nsid", _) => {
                return here.error(key.len() + 1, "a namespace is a number from 1 to 4294967294");
            }
            _ => return here.error(0, format!("unknown parameter {key:?}; known is nsid")),
        }
    }
    Ok(nsid)
}

impl fmt::Display for Uri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.wire {
            Some(wire) => write!(f, "nvme+{wire}://")?,
            None => f.write_str("nvme://")?,
        }
        if self.host.contains(':') {
            write!(f, "[{}]", self.host)?;
        } else {
            f.write_str(&self.host)?;
        }
        if let Some(port) = self.port {
            write!(f, ":{port}")?;
        }
        if let Some(nqn) = &self.nqn {
            write!(f, "/{}", utf8_percent_encode(nqn.as_str(), PATH))?;
        }
        if let Some(nsid) = self.nsid {
            write!(f, "?nsid={nsid}")?;
        }
        Ok(())
    }
}

impl Uri {
    /// The URI of an address, such as a listener's.
    pub(crate) fn of(wire: Option<Wire>, address: SocketAddr) -> Self {
        let host = match address {
            SocketAddr::V4(v4) => v4.ip().to_string(),
            SocketAddr::V6(v6) if v6.scope_id() != 0 => format!("{}%{}", v6.ip(), v6.scope_id()),
            SocketAddr::V6(v6) => v6.ip().to_string(),
        };
        Self { wire, host, port: Some(address.port()), nqn: None, nsid: None }
    }

    /// Every address the host has, in the order the resolver gives them. Asks the network for a name.
    pub(crate) fn targets(&self, default_port: u16) -> std::io::Result<Vec<Target>> {
        let port = self.port.unwrap_or(default_port);
        let mut targets: Vec<Target> = Vec::new();
        for address in (self.host.as_str(), port).to_socket_addrs()? {
            let target = Target { wire: self.wire, address };
            if !targets.contains(&target) {
                targets.push(target);
            }
        }
        Ok(targets)
    }
}

#[cfg(test)]
#[path = "uri_tests.rs"]
mod tests;
