//! Values on the command line and in the configuration: sizes, durations and NQNs.
//!
//! A size without a unit is in bytes; `k`, `KB` and `KiB` all mean 1024, as storage tools do. A duration without a unit is
//! in seconds.

use std::{fmt, str::FromStr, time::Duration};

use parse_size::{ByteSuffix, Config, UnitSystem};
use serde::{Deserialize, Deserializer, de};

/// Parses a size in bytes.
pub(crate) fn size(text: &str) -> Result<u64, String> {
    Config::new()
        .with_unit_system(UnitSystem::Binary)
        .with_byte_suffix(ByteSuffix::Allow)
        .parse_size(text)
        .map_err(|error| format!("{error}; write a size such as 4096, 4k, 256MiB or 1.5G"))
}

/// Parses a size that fits 32 bits.
pub(crate) fn size32(text: &str) -> Result<u32, String> {
    u32::try_from(size(text)?).map_err(|_| "must be less than 4 GiB".into())
}

/// Parses a duration: seconds, or a number with a unit.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let trimmed = text.trim();
    if let Ok(seconds) = trimmed.parse::<f64>() {
        return Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string());
    }
    humantime::parse_duration(trimmed)
        .map_err(|error| format!("{error}; write a duration such as 30, 0.5, 250ms or 2min"))
}

/// A name that a person chose for a subsystem or a host, held to every rule of NVMe Base 2.0 §4.5.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Nqn(pub(crate) nvmf_wire::Nqn);

impl FromStr for Nqn {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        nvmf_wire::Nqn::parse(text)
            .map(Self)
            .map_err(|error| format!("{error}; an NQN looks like nqn.2014-08.org.example:disk1"))
    }
}

/// A name that somebody else chose, for us to repeat: all that peers in the field go by, `testnqn` included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PeerNqn(nvmf_wire::Nqn);

impl PeerNqn {
    /// The name; a warning says that it is no NQN, if it is none.
    pub(crate) fn warned(self) -> nvmf_wire::Nqn {
        if let Err(error) = self.0.check_form() {
            tracing::warn!(name = %self.0, %error, "not an NVMe Qualified Name; used as it is");
        }
        self.0
    }
}

impl From<nvmf_wire::Nqn> for PeerNqn {
    fn from(nqn: nvmf_wire::Nqn) -> Self {
        Self(nqn)
    }
}

impl FromStr for PeerNqn {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        nvmf_wire::Nqn::parse_lenient(text).map(Self).map_err(|error| error.to_string())
    }
}

impl<'de> Deserialize<'de> for PeerNqn {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

impl fmt::Display for Nqn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for Nqn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl<'de> Deserialize<'de> for Nqn {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_powers_of_two() {
        assert_eq!(size("4096"), Ok(4096));
        assert_eq!(size("4k"), Ok(4096));
        assert_eq!(size("4KB"), Ok(4096));
        assert_eq!(size("256MiB"), Ok(256 << 20));
        assert_eq!(size("1.5G"), Ok(3 << 29));
        assert!(size("lots").unwrap_err().contains("such as"));
        assert!(size32("4G").unwrap_err().contains("less than 4 GiB"));
    }

    #[test]
    fn durations_are_seconds_unless_they_say_otherwise() {
        assert_eq!(duration("30"), Ok(Duration::from_secs(30)));
        assert_eq!(duration("0.5"), Ok(Duration::from_millis(500)));
        assert_eq!(duration("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(duration("2min"), Ok(Duration::from_secs(120)));
        assert!(duration("-1").is_err());
        assert!(duration("soon").unwrap_err().contains("such as"));
    }

    #[test]
    fn a_name_that_is_no_nqn_is_explained() {
        assert!("nqn.2014-08.org.example:disk1".parse::<Nqn>().is_ok());
        assert!("disk1".parse::<Nqn>().unwrap_err().contains("nqn."));
    }

    #[test]
    fn a_peers_name_may_be_any() {
        assert_eq!("testnqn".parse::<PeerNqn>().unwrap().warned().as_str(), "testnqn");
        assert!("a\nb".parse::<PeerNqn>().unwrap_err().contains("control character"));
        assert!("".parse::<PeerNqn>().is_err());
    }
}
