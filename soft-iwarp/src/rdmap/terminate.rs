//! The Terminate message (RFC 5040 §4.8): which layer found what, and in which headers.
//!
//! Linux siw swaps the bits of the first and third byte on little-endian machines, in what it sends and in what it expects.
//! This side writes what the RFC says and reads both.

use std::fmt;

use crate::ddp;

/// Who found an error, and which: the three numbers of a Terminate message.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct ErrorCode {
    /// 0 RDMAP, 1 DDP, 2 MPA.
    pub layer: u8,
    /// The error type within the layer.
    pub kind: u8,
    /// The error code within the type.
    pub code: u8,
}

impl ErrorCode {
    /// The code with these numbers.
    pub const fn new(layer: u8, kind: u8, code: u8) -> Self {
        Self { layer, kind, code }
    }

    /// What it means (RFC 5040 §4.8, RFC 5041 §8.2, RFC 5044 §8, RFC 6581 §9.1).
    // spec: IW-TRM-08
    pub const fn name(self) -> &'static str {
        match (self.layer, self.kind, self.code) {
            (0, 0, _) => "local catastrophic error",
            (0, 1, 0x00) => "remote protection: invalid STag",
            (0, 1, 0x01) => "remote protection: base or bounds violation",
            (0, 1, 0x02) => "remote protection: access rights violation",
            (0, 1, 0x03) => "remote protection: STag not associated with the stream",
            (0, 1, 0x04) => "remote protection: tagged offset wrap",
            (0, 1, 0x09) => "remote protection: STag cannot be invalidated",
            (0, 1, 0xFF) => "remote protection: unspecified",
            (0, 2, 0x05) => "remote operation: invalid RDMAP version",
            (0, 2, 0x06) => "remote operation: unexpected opcode",
            (0, 2, 0x07) => "remote operation: catastrophic error of the stream",
            (0, 2, 0x08) => "remote operation: catastrophic error of the node",
            (0, 2, 0x09) => "remote operation: STag cannot be invalidated",
            (0, 2, 0xFF) => "remote operation: unspecified",
            (1, 0, _) => "DDP: local catastrophic error",
            (1, 1, 0x00) => "DDP tagged: invalid STag",
            (1, 1, 0x01) => "DDP tagged: base or bounds violation",
            (1, 1, 0x02) => "DDP tagged: STag not associated with the stream",
            (1, 1, 0x03) => "DDP tagged: tagged offset wrap",
            (1, 1, 0x04) => "DDP tagged: invalid DDP version",
            (1, 2, 0x01) => "DDP untagged: invalid queue number",
            (1, 2, 0x02) => "DDP untagged: no buffer available",
            (1, 2, 0x03) => "DDP untagged: MSN out of range",
            (1, 2, 0x04) => "DDP untagged: invalid message offset",
            (1, 2, 0x05) => "DDP untagged: message too long for its buffer",
            (1, 2, 0x06) => "DDP untagged: invalid DDP version",
            (1, 3, _) => "DDP: error of the layer below",
            (2, 0, 0x01) => "MPA: TCP connection closed, terminated or lost",
            (2, 0, 0x02) => "MPA: CRC error",
            (2, 0, 0x03) => "MPA: marker and ULPDU length do not agree",
            (2, 0, 0x04) => "MPA: invalid request or reply frame",
            (2, 0, 0x05) => "MPA: local catastrophic error",
            (2, 0, 0x06) => "MPA: insufficient IRD",
            (2, 0, 0x07) => "MPA: no matching RTR option",
            _ => UNKNOWN,
        }
    }

    /// Whether the documents have such an error.
    pub fn is_known(self) -> bool {
        self.name() != UNKNOWN
    }
}

impl fmt::Debug for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ErrorCode({:x},{:x},{:02x})", self.layer, self.kind, self.code)
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({:x},{:x},{:02x})", self.name(), self.layer, self.kind, self.code)
    }
}

const UNKNOWN: &str = "unknown error";

/// The longest header of DDP, and that of a Read Request behind it.
const DDP_MAX: usize = ddp::UNTAGGED_LEN;
const READ_LEN: usize = super::ReadRequest::LEN;

/// The longest payload of a Terminate message: control, segment length, DDP header, Read Request.
pub const TERMINATE_MAX: usize = 4 + 2 + DDP_MAX + READ_LEN;

const LENGTH_VALID: u8 = 0x80;
const DDP_HEADER: u8 = 0x40;
const RDMAP_HEADER: u8 = 0x20;

/// How a Terminate message was laid out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Layout {
    /// As RFC 5040 says.
    #[default]
    Rfc,
    /// With the bits of the control field swapped within their bytes, as Linux siw does.
    Siw,
}

/// A Terminate message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terminate {
    /// What is wrong.
    pub code: ErrorCode,
    /// The header of the segment it was found in, if the error has one.
    pub segment: Option<Offender>,
    /// How it was laid out on the wire; always [`Layout::Rfc`] in what is sent.
    pub layout: Layout,
}

/// The offending segment, as a Terminate message repeats it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offender {
    /// The length of the segment, if it is known.
    pub len: Option<u16>,
    header: [u8; DDP_MAX],
    header_len: u8,
    read: Option<[u8; READ_LEN]>,
}

impl Offender {
    /// The segment with this header (14 or 18 bytes as received) and length, and with `read` if it is a Read Request.
    pub fn new(header: &[u8], len: u16, read: Option<[u8; READ_LEN]>) -> Self {
        let used = header.len().min(DDP_MAX);
        let mut copy = [0; DDP_MAX];
        copy[..used].copy_from_slice(&header[..used]);
        Self { len: Some(len), header: copy, header_len: used as u8, read }
    }

    /// The same without the Read Request.
    #[must_use]
    pub(crate) fn without_read(self) -> Self {
        Self { read: None, ..self }
    }

    /// The DDP header.
    pub fn header(&self) -> &[u8] {
        &self.header[..self.header_len.into()]
    }

    /// The Read Request behind it.
    pub fn read(&self) -> Option<super::ReadRequest> {
        self.read.as_ref().map(super::ReadRequest::parse)
    }
}

impl Terminate {
    /// A Terminate message that says `code` and nothing else.
    pub const fn new(code: ErrorCode) -> Self {
        Self { code, segment: None, layout: Layout::Rfc }
    }

    /// Writes the payload, and returns its length.
    // spec: IW-TRM-01, IW-TRM-02
    pub fn encode(&self, out: &mut [u8; TERMINATE_MAX]) -> usize {
        *out = [0; TERMINATE_MAX];
        out[0] = self.code.layer << 4 | self.code.kind & 0x0F;
        out[1] = self.code.code;
        let Some(segment) = &self.segment else { return 4 };
        out[2] = DDP_HEADER;
        if let Some(len) = segment.len {
            out[2] |= LENGTH_VALID;
            out[4..6].copy_from_slice(&len.to_be_bytes());
        }
        let end = 6 + segment.header().len();
        out[6..end].copy_from_slice(segment.header());
        match segment.read {
            Some(read) => {
                out[2] |= RDMAP_HEADER;
                out[end..end + READ_LEN].copy_from_slice(&read);
                end + READ_LEN
            }
            None => end,
        }
    }

    /// Reads a payload. `None` if it is shorter than the control field; headers that are announced and cut off are left out.
    // spec: IW-TRM-03
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let (&[first, code, flags, _], rest) = bytes.split_first_chunk::<4>()?;
        // The RFC keeps the lower five bits of the third byte zero, siw the upper five. Without headers the first byte has to
        // tell: only some errors come without, and not all pairs of numbers are errors. (0,2,06) of siw then still reads as
        // (2,0,06): both are possible.
        let read = |first: u8| ErrorCode::new(first >> 4, first & 0x0F, code);
        let (rfc, siw) = (read(first), read(first.rotate_left(4)));
        let layout = if flags & 0x07 != 0 && flags & 0xE0 == 0
            || flags == 0 && !headerless(rfc) && (headerless(siw) || !rfc.is_known() && siw.is_known())
        {
            Layout::Siw
        } else {
            Layout::Rfc
        };
        let (first, flags) = match layout {
            Layout::Rfc => (first, flags),
            Layout::Siw => (first.rotate_left(4), flags.reverse_bits()),
        };
        let code = ErrorCode::new(first >> 4, first & 0x0F, code);
        Some(Self { code, segment: Self::offender(flags, rest), layout })
    }

    fn offender(flags: u8, rest: &[u8]) -> Option<Offender> {
        if flags & DDP_HEADER == 0 {
            return None;
        }
        let (len, rest) = rest.split_first_chunk::<2>()?;
        let header_len = ddp::header_len(*rest.first()?);
        let (header, rest) = rest.split_at_checked(header_len)?;
        let len = u16::from_be_bytes(*len);
        let read = if flags & RDMAP_HEADER != 0 { rest.first_chunk::<READ_LEN>().copied() } else { None };
        let mut offender = Offender::new(header, len, read);
        if flags & LENGTH_VALID == 0 {
            offender.len = None;
        }
        Some(offender)
    }
}

/// Whether an error is reported without the header of a segment (RFC 5040 §4.8).
const fn headerless(code: ErrorCode) -> bool {
    matches!((code.layer, code.kind, code.code), (0, 0, _) | (1, 0 | 3, _) | (2, 0, 1..=7))
}

impl fmt::Display for Terminate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.code, f)
    }
}
