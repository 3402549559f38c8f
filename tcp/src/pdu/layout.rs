//! Where the parts of a PDU lie: header, header digest, padding, data, data digest.
//!
//! One pure description, used by the encoder to choose offsets and by the validator to hold what it accepted, so
//! that the two cannot disagree.

use super::{DATA_MAX, DIGEST_LEN, types::Kind};

const DIGEST: u32 = DIGEST_LEN as u32;

/// A PDU data alignment: HPDA or CPDA. Data starts at a multiple of [`bytes`](Alignment::bytes).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Alignment(u8);

impl Alignment {
    /// Dword alignment, value 0: no padding is ever needed.
    pub const DWORD: Self = Self(0);
    /// The coarsest alignment, value 31: 128 bytes.
    pub const MAX: Self = Self(31);

    /// From the value of an HPDA or CPDA field; `None` above 31.
    pub const fn new(value: u8) -> Option<Self> {
        // spec: TCP-IC-07, TCP-IC-14
        if value <= Self::MAX.0 { Some(Self(value)) } else { None }
    }

    /// The value of the field: dwords, 0's based.
    pub const fn value(self) -> u8 {
        self.0
    }

    /// The alignment in bytes: 4 to 128.
    #[inline]
    pub const fn bytes(self) -> u8 {
        (self.0 + 1) * 4
    }
}

/// Which digests are in use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Digests {
    /// A header digest follows every header.
    pub header: bool,
    /// A data digest follows all data.
    pub data: bool,
}

impl Digests {
    /// Neither digest.
    pub const NONE: Self = Self { header: false, data: false };
    /// Both digests.
    pub const BOTH: Self = Self { header: true, data: true };

    /// From the DGST field, reserved bits ignored.
    pub const fn from_bits(dgst: u8) -> Self {
        Self { header: dgst & 1 != 0, data: dgst & 2 != 0 }
    }

    /// As the DGST field.
    pub const fn bits(self) -> u8 {
        self.header as u8 | (self.data as u8) << 1
    }
}

/// Where the parts of one PDU lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    header_len: u8,
    header_digest: bool,
    data_digest: bool,
    /// As in the PDO field: zero without data.
    pdo: u8,
    data_len: u32,
}

impl Layout {
    /// The layout of a PDU to send: `data_len` bytes of data, started at the first multiple of the receiver's
    /// `alignment` behind the header. A PDU without data has neither padding nor data digest.
    ///
    /// `data_len` is at most [`DATA_MAX`]; more is cut to it.
    #[inline]
    pub const fn new(kind: Kind, digests: Digests, alignment: Alignment, data_len: u32) -> Self {
        // spec: TCP-CH-07, TCP-CH-09, TCP-DG-07, TCP-PAD-01, TCP-PAD-03, TCP-PAD-04, TCP-CMD-06
        debug_assert!(data_len <= DATA_MAX && (data_len == 0 || kind.carries_data()));
        let header_digest = digests.header && !kind.is_outside_negotiation();
        let header_end = header_end(kind.header_len(), header_digest);
        if data_len == 0 || !kind.carries_data() {
            return Self::without_data(kind, header_digest);
        }
        // At most 76 rounded up to a multiple of at most 128: fits (ENCODED_MAX).
        let pdo = header_end.next_multiple_of(alignment.bytes());
        let data_len = if data_len > DATA_MAX { DATA_MAX } else { data_len };
        Self::with_data(kind, header_digest, pdo, data_len, digests.data)
    }

    /// A PDU that ends with its header (and header digest).
    #[inline]
    pub(super) const fn without_data(kind: Kind, header_digest: bool) -> Self {
        Layout { header_len: kind.header_len(), header_digest, data_digest: false, pdo: 0, data_len: 0 }
    }

    /// A PDU whose data starts at `pdo`; the caller has checked that all of it fits 32 bits.
    #[inline]
    pub(super) const fn with_data(
        kind: Kind,
        header_digest: bool,
        pdo: u8,
        data_len: u32,
        data_digest: bool,
    ) -> Self {
        Layout { header_len: kind.header_len(), header_digest, data_digest, pdo, data_len }
    }

    /// HLEN: bytes of header, which is what the header digest covers.
    #[inline]
    pub const fn header_len(&self) -> usize {
        self.header_len as usize
    }

    /// Whether a header digest follows the header.
    #[inline]
    pub const fn has_header_digest(&self) -> bool {
        self.header_digest
    }

    /// Whether a data digest follows the data. Never without data.
    #[inline]
    pub const fn has_data_digest(&self) -> bool {
        self.data_digest
    }

    /// Bytes of header and header digest: what must be there before the PDU can be acted upon.
    #[inline]
    pub const fn header_end(&self) -> usize {
        header_end(self.header_len, self.header_digest) as usize
    }

    /// PDO as on the wire: zero without data.
    #[inline]
    pub const fn pdo(&self) -> u8 {
        self.pdo
    }

    /// Where data starts (without data: where the PDU ends).
    #[inline]
    pub const fn data_start(&self) -> usize {
        if self.data_len == 0 { self.header_end() } else { self.pdo as usize }
    }

    /// Padding between header and data. No digest covers it.
    #[inline]
    pub const fn padding(&self) -> usize {
        self.data_start() - self.header_end()
    }

    /// Bytes of data.
    #[inline]
    pub const fn data_len(&self) -> u32 {
        self.data_len
    }

    /// PLEN: bytes of the whole PDU.
    #[inline]
    pub const fn plen(&self) -> u32 {
        self.data_start() as u32 + self.data_len + if self.data_digest { DIGEST } else { 0 }
    }
}

#[inline]
pub(super) const fn header_end(header_len: u8, header_digest: bool) -> u8 {
    header_len + if header_digest { DIGEST as u8 } else { 0 }
}
