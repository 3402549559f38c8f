//! The framing of a DDP segment (RFC 5044 §4): length in front, padding and CRC behind.

/// The length field in front of every segment.
pub const LENGTH_LEN: usize = 2;

/// The CRC behind it. It is there even when CRCs are not used.
pub const CRC_LEN: usize = 4;

/// The longest ULPDU that may be sent (RFC 5044 §3.1).
pub const MULPDU_MAX: u16 = 64768;

/// The shortest limit a sender may have, unless its segments are shorter still.
pub const MULPDU_MIN: u16 = 128;

/// Bytes of zeros behind a ULPDU of `len` bytes, so that length field, ULPDU and padding are a multiple of four.
// spec: IW-FPD-02
pub const fn padding(len: u16) -> usize {
    (4 - (LENGTH_LEN + len as usize) % 4) % 4
}

/// The bytes of the whole FPDU around a ULPDU of `len` bytes, without markers.
pub const fn total(len: u16) -> usize {
    LENGTH_LEN + len as usize + padding(len) + CRC_LEN
}

/// The longest ULPDU whose FPDU fits one TCP segment of `emss` bytes.
// spec: IW-FPD-06, IW-FPD-07
pub fn mulpdu(emss: u32, markers: bool) -> u16 {
    // spec: IW-MRK-07
    let markers = if markers { 4 * emss.div_ceil(512) } else { 0 };
    let room = emss.saturating_sub(6 + markers + emss % 4);
    // Segments too short for 128 bytes would leave little or nothing beside the headers: such an FPDU spans segments.
    room.clamp(MULPDU_MIN.into(), MULPDU_MAX.into()) as u16
}
