//! ASCII fields: left-justified, padded with spaces (NVMe Base 2.0 §1.4.2, "String Conventions").

use core::fmt;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// A field of `N` bytes of printable ASCII. As read from a peer it may hold anything; [`Ascii::as_str`] judges it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(transparent)]
pub struct Ascii<const N: usize>([u8; N]);

/// Why a text does not fit an ASCII field.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, thiserror::Error)]
pub enum AsciiError {
    /// Longer than the field.
    #[error("{length} bytes do not fit a field of {capacity}")]
    TooLong {
        /// Of the text.
        length: usize,
        /// Of the field.
        capacity: usize,
    },
    /// Something else than a character from 20h to 7Eh.
    #[error("byte {at} ({byte:#04x}) is not printable ASCII")]
    NotPrintable {
        /// Which byte.
        at: usize,
        /// Its value.
        byte: u8,
    },
}

impl<const N: usize> Ascii<N> {
    /// All spaces.
    pub const BLANK: Self = Self([b' '; N]);

    /// `text`, padded with spaces.
    pub const fn new(text: &str) -> Result<Self, AsciiError> {
        let bytes = text.as_bytes();
        if bytes.len() > N {
            return Err(AsciiError::TooLong { length: bytes.len(), capacity: N });
        }
        let mut field = [b' '; N];
        let (mut rest, mut at) = (bytes, 0);
        while let [byte, tail @ ..] = rest {
            if !printable(*byte) {
                return Err(AsciiError::NotPrintable { at, byte: *byte });
            }
            field[at] = *byte;
            rest = tail;
            at += 1;
        }
        Ok(Self(field))
    }

    /// As much of `text` as fits, with `?` for what is not printable ASCII.
    #[must_use]
    pub fn lossy(text: &str) -> Self {
        let mut field = [b' '; N];
        for (to, from) in field.iter_mut().zip(text.chars()) {
            *to = u8::try_from(from).ok().filter(|&byte| printable(byte)).unwrap_or(b'?');
        }
        Self(field)
    }

    /// The bytes of the field as they are.
    #[must_use]
    pub const fn raw(&self) -> &[u8; N] {
        &self.0
    }

    /// The text without its padding: spaces, and the NULs that many implementations pad with. `None` if a byte of it is
    /// not printable ASCII.
    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        let text = self.trimmed();
        let printable = text.iter().all(|&byte| printable(byte));
        if printable { core::str::from_utf8(text).ok() } else { None }
    }

    fn trimmed(&self) -> &[u8] {
        let end = self.0.iter().rposition(|&byte| byte != b' ' && byte != 0).map_or(0, |last| last + 1);
        self.0.get(..end).unwrap_or_default()
    }
}

const fn printable(byte: u8) -> bool {
    matches!(byte, 0x20..=0x7E)
}

impl<const N: usize> Default for Ascii<N> {
    fn default() -> Self {
        Self::BLANK
    }
}

impl<const N: usize> core::str::FromStr for Ascii<N> {
    type Err = AsciiError;

    fn from_str(text: &str) -> Result<Self, AsciiError> {
        Self::new(text)
    }
}

/// The text without its padding, with `?` for what is not printable, so that a peer's field is safe to print.
impl<const N: usize> fmt::Display for Ascii<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.trimmed().iter().try_for_each(|&byte| {
            let shown = if printable(byte) { char::from(byte) } else { '?' };
            fmt::Write::write_char(f, shown)
        })
    }
}

impl<const N: usize> fmt::Debug for Ascii<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.trimmed().escape_ascii())
    }
}
