//! NVMe Qualified Names: what subsystems and hosts are called (NVMe Base 2.0 §4.5, "NVMe Qualified Names").
//!
//! [`Nqn::parse`] is as strict as the specification and for names a person makes up; [`Nqn::parse_lenient`] is for a
//! peer's name, because peers in the field check little beyond the length (Linux makes `nqn.2014.08.…` up for old drives, and
//! its target serves whatever a folder is called, such as `testnqn`).
//! [`NqnField`] is the 256 bytes of a name in a structure.

use core::borrow::Borrow;
use core::fmt;
use core::hash::{Hash, Hasher};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// The name every discovery subsystem answers to (NVMe Base 2.0 §3.1.2.3).
pub const DISCOVERY_NQN: &str = "nqn.2014-08.org.nvmexpress.discovery";

const PREFIX: &str = "nqn.";
const UUID_PREFIX: &str = "nqn.2014-08.org.nvmexpress:uuid:";
const UUID_LENGTH: usize = 36;

/// A valid NVMe Qualified Name of at most 223 bytes, by value.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Nqn {
    // Bytes from `length` on are 0, so equality of the fields is equality of the names.
    bytes: [u8; Nqn::MAX_LENGTH],
    length: u8,
}

/// What is wrong with a name, and at which byte of it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, thiserror::Error)]
#[error("{fault} (at byte {at})")]
pub struct NqnError {
    /// Offset of the offending byte; the length of the name if something is missing at its end.
    pub at: usize,
    /// What is wrong.
    pub fault: NqnFault,
}

/// What can be wrong with a name.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NqnFault {
    /// No bytes at all.
    #[error("the name is empty")]
    Empty,
    /// More than 223 bytes, or no NUL among the first 224 bytes of a field.
    #[error("the name is longer than 223 bytes")]
    TooLong,
    /// Not UTF-8.
    #[error("the name is not UTF-8")]
    NotUtf8,
    /// A control character.
    #[error("the name has a control character")]
    ControlCharacter,
    /// It does not start with `nqn.`.
    #[error("the name does not start with \"nqn.\"")]
    Prefix,
    /// The date is no `yyyy-mm` with a month from 01 to 12 and a dot behind.
    #[error("the date is not of the form yyyy-mm followed by a dot")]
    Date,
    /// The reverse domain is missing, or a label of it is empty, too long, or of other characters than letters, digits
    /// and inner hyphens.
    #[error("the reverse domain name is malformed")]
    Domain,
    /// A colon with nothing behind.
    #[error("nothing follows the colon")]
    EmptySuffix,
    /// The UUID form without a UUID of the form 11111111-2222-3333-4444-555555555555.
    #[error("the UUID is not of the form 11111111-2222-3333-4444-555555555555")]
    Uuid,
}

const fn fault<T>(at: usize, fault: NqnFault) -> Result<T, NqnError> {
    Err(NqnError { at, fault })
}

impl Nqn {
    /// The longest name, without its terminating NUL.
    pub const MAX_LENGTH: usize = 223;

    /// [`DISCOVERY_NQN`] as a value.
    pub const DISCOVERY: Self = Self::copied(DISCOVERY_NQN.as_bytes());

    /// A name that obeys the specification in every detail.
    pub fn parse(text: &str) -> Result<Self, NqnError> {
        let name = Self::parse_lenient(text)?;
        check_form(text)?;
        Ok(name)
    }

    /// A name that is 1 to 223 bytes of UTF-8 without control characters: all that is needed to carry and compare it.
    pub fn parse_lenient(text: &str) -> Result<Self, NqnError> {
        if text.is_empty() {
            return fault(0, NqnFault::Empty);
        }
        if text.len() > Self::MAX_LENGTH {
            return fault(Self::MAX_LENGTH, NqnFault::TooLong);
        }
        if let Some((at, _)) = text.char_indices().find(|(_, c)| c.is_control()) {
            return fault(at, NqnFault::ControlCharacter);
        }
        Ok(Self::copied(text.as_bytes()))
    }

    /// What [`Nqn::parse`] objects to in this name, if it came by way of [`Nqn::parse_lenient`].
    pub fn check_form(&self) -> Result<(), NqnError> {
        check_form(self.as_str())
    }

    /// A peer's name in UTF-8, judged as [`Nqn::parse_lenient`] does.
    pub fn from_utf8(bytes: &[u8]) -> Result<Self, NqnError> {
        match core::str::from_utf8(bytes) {
            Ok(text) => Self::parse_lenient(text),
            Err(error) => fault(error.valid_up_to(), NqnFault::NotUtf8),
        }
    }

    /// The UUID form, `nqn.2014-08.org.nvmexpress:uuid:` and the UUID (bytes in the order of RFC 9562, first one first).
    #[must_use]
    pub fn from_uuid(uuid: [u8; 16]) -> Self {
        const HEX: [char; 16] =
            ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'a', 'b', 'c', 'd', 'e', 'f'];
        let mut bytes = [0; UUID_PREFIX.len() + UUID_LENGTH];
        let mut out = bytes.iter_mut();
        let mut push = |c: char| {
            if let (Some(to), Ok(byte)) = (out.next(), u8::try_from(c)) {
                *to = byte;
            }
        };
        UUID_PREFIX.chars().for_each(&mut push);
        for (i, byte) in uuid.into_iter().enumerate() {
            if matches!(i, 4 | 6 | 8 | 10) {
                push('-');
            }
            push(HEX[usize::from(byte >> 4)]);
            push(HEX[usize::from(byte & 0xF)]);
        }
        Self::copied(&bytes)
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        // The bytes come from a `&str` of that length: never the default.
        core::str::from_utf8(self.as_bytes()).unwrap_or_default()
    }

    /// The name, without a NUL.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.length)).unwrap_or_default()
    }

    /// Whether this is the well-known name of discovery subsystems.
    #[must_use]
    pub fn is_discovery(&self) -> bool {
        self.as_str() == DISCOVERY_NQN
    }

    /// Copies what the callers checked: at most [`Nqn::MAX_LENGTH`] bytes of UTF-8.
    const fn copied(from: &[u8]) -> Self {
        let mut bytes = [0; Self::MAX_LENGTH];
        let (mut rest, mut at) = (from, 0);
        while let [byte, tail @ ..] = rest
            && at < Self::MAX_LENGTH
        {
            bytes[at] = *byte;
            rest = tail;
            at += 1;
        }
        Self { bytes, length: at as u8 }
    }
}

fn common_prefix(text: &str, prefix: &str) -> usize {
    text.bytes().zip(prefix.bytes()).take_while(|(a, b)| a == b).count()
}

/// `nqn.yyyy-mm.reverse.domain[:anything]`, or the UUID form.
fn check_form(text: &str) -> Result<(), NqnError> {
    if let Some(uuid) = text.strip_prefix(UUID_PREFIX) {
        return check_uuid(uuid).or_else(|at| fault(UUID_PREFIX.len() + at, NqnFault::Uuid));
    }
    let date = match text.strip_prefix(PREFIX) {
        None => return fault(common_prefix(text, PREFIX), NqnFault::Prefix),
        Some("") => return fault(text.len(), NqnFault::Domain),
        Some(date) => date,
    };
    check_date(date.as_bytes()).or_else(|at| fault(PREFIX.len() + at, NqnFault::Date))?;
    let start = PREFIX.len() + DATE.len();
    let authority = text.get(start..).unwrap_or_default();
    let (domain, suffix) = match authority.split_once(':') {
        Some((domain, suffix)) => (domain, Some(suffix)),
        None => (authority, None),
    };
    check_domain(domain).or_else(|at| fault(start + at, NqnFault::Domain))?;
    match suffix {
        Some("") => fault(text.len(), NqnFault::EmptySuffix),
        _ => Ok(()),
    }
}

const DATE: &[u8] = b"dddd-dd.";
const UUID: &[u8] = b"xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx";

/// Where `bytes` stop to look like `form`: `d` a digit, `x` a hexadecimal digit, anything else itself.
fn mismatch(bytes: &[u8], form: &[u8]) -> Option<usize> {
    form.iter().enumerate().find_map(|(at, wanted)| {
        let fits = match (wanted, bytes.get(at)) {
            (b'd', Some(byte)) => byte.is_ascii_digit(),
            (b'x', Some(byte)) => byte.is_ascii_hexdigit(),
            (wanted, Some(byte)) => wanted == byte,
            (_, None) => false,
        };
        (!fits).then_some(at)
    })
}

fn check_date(bytes: &[u8]) -> Result<(), usize> {
    if let Some(at) = mismatch(bytes, DATE) {
        return Err(at);
    }
    match bytes.get(5..7) {
        Some([b'0', b'1'..=b'9'] | [b'1', b'0'..=b'2']) => Ok(()),
        _ => Err(5),
    }
}

fn check_uuid(text: &str) -> Result<(), usize> {
    match mismatch(text.as_bytes(), UUID) {
        Some(at) => Err(at),
        None if text.len() > UUID_LENGTH => Err(UUID_LENGTH),
        None => Ok(()),
    }
}

/// Labels of 1 to 63 letters, digits and inner hyphens (RFC 1123 §2.1), with dots between.
fn check_domain(domain: &str) -> Result<(), usize> {
    let mut start = 0;
    for label in domain.split('.') {
        let bytes = label.as_bytes();
        if let Some(at) = bytes.iter().position(|byte| !byte.is_ascii_alphanumeric() && *byte != b'-') {
            return Err(start + at);
        }
        match bytes {
            [] | [b'-', ..] => return Err(start),
            [.., b'-'] => return Err(start + bytes.len() - 1),
            _ if bytes.len() > 63 => return Err(start + 63),
            _ => start += bytes.len() + 1,
        }
    }
    Ok(())
}

impl Hash for Nqn {
    // As `str` hashes, so that a map keyed by `Nqn` can be asked with a `&str`.
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_str().hash(state);
    }
}

impl Borrow<str> for Nqn {
    fn borrow(&self) -> &str {
        self.as_str()
    }
}

impl AsRef<str> for Nqn {
    fn as_ref(&self) -> &str {
        self.as_str()
    }
}

impl PartialOrd for Nqn {
    fn partial_cmp(&self, other: &Self) -> Option<core::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Nqn {
    fn cmp(&self, other: &Self) -> core::cmp::Ordering {
        self.as_str().cmp(other.as_str())
    }
}

impl PartialEq<str> for Nqn {
    fn eq(&self, other: &str) -> bool {
        self.as_str() == other
    }
}

impl PartialEq<&str> for Nqn {
    fn eq(&self, other: &&str) -> bool {
        self.as_str() == *other
    }
}

impl fmt::Display for Nqn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Debug for Nqn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

impl core::str::FromStr for Nqn {
    type Err = NqnError;

    fn from_str(text: &str) -> Result<Self, NqnError> {
        Self::parse(text)
    }
}

impl TryFrom<&str> for Nqn {
    type Error = NqnError;

    fn try_from(text: &str) -> Result<Self, NqnError> {
        Self::parse(text)
    }
}

/// A name in a structure: UTF-8, a NUL behind, 256 bytes in all.
#[derive(Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(transparent)]
pub struct NqnField(pub [u8; 256]);

impl NqnField {
    /// The name in the field, judged as [`Nqn::parse_lenient`] does. What follows the NUL is not looked at.
    pub fn nqn(&self) -> Result<Nqn, NqnError> {
        match self.0.iter().position(|&byte| byte == 0) {
            Some(length) if length <= Nqn::MAX_LENGTH => {
                Nqn::from_utf8(self.0.get(..length).unwrap_or_default())
            }
            _ => fault(Nqn::MAX_LENGTH, NqnFault::TooLong),
        }
    }

    /// Whether the field holds nothing.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        matches!(self.0, [0, ..])
    }
}

impl From<Nqn> for NqnField {
    fn from(nqn: Nqn) -> Self {
        let mut field = [0; 256];
        field.iter_mut().zip(nqn.as_bytes()).for_each(|(to, from)| *to = *from);
        Self(field)
    }
}

impl From<&Nqn> for NqnField {
    fn from(nqn: &Nqn) -> Self {
        Self::from(*nqn)
    }
}

impl Default for NqnField {
    fn default() -> Self {
        Self([0; 256])
    }
}

impl fmt::Debug for NqnField {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.nqn() {
            Ok(nqn) => fmt::Debug::fmt(&nqn, f),
            Err(error) => write!(f, "NqnField({error})"),
        }
    }
}
