//! Markers (RFC 5044 §4.3): every 512 bytes of the stream, four bytes that say how far back the current FPDU begins.
//!
//! [`Stamper`] is the sender's half: it is told what is sent and writes the same with markers in it.

/// The distance between the beginnings of two markers; the marker itself counts.
pub const SPACING: u32 = 512;

/// The length of a marker.
pub const MARKER_LEN: usize = 4;

/// Puts markers into one direction of a connection, from its first FPDU on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stamper {
    /// Bytes since the last point where a marker begins; 0: one begins here.
    position: u32,
}

impl Stamper {
    /// A stream before its first FPDU: it begins with a marker.
    // spec: IW-MRK-04
    pub const fn new() -> Self {
        Self { position: 0 }
    }

    /// Writes one FPDU of which `parts` are the length field, the ULPDU and the padding, with its markers, and then what `crc`
    /// makes of all that was written.
    // spec: IW-MRK-03, IW-MRK-05, IW-MRK-06
    pub fn stamp(&mut self, parts: &[&[u8]], out: &mut Vec<u8>, crc: impl FnOnce(&[u8]) -> [u8; 4]) {
        let start = out.len();
        // Where the length field is; a marker in front of it belongs to this FPDU and says 0.
        let mut length_at = None;
        for part in parts {
            self.put(part, out, &mut length_at);
        }
        // A marker right before the CRC is covered by it.
        self.mark(out, length_at);
        let crc = crc(&out[start..]);
        self.put(&crc, out, &mut length_at);
    }

    fn put(&mut self, mut part: &[u8], out: &mut Vec<u8>, length_at: &mut Option<usize>) {
        while !part.is_empty() {
            self.mark(out, *length_at);
            length_at.get_or_insert(out.len());
            let (now, later) = part.split_at(part.len().min((SPACING - self.position) as usize));
            out.extend_from_slice(now);
            self.position = (self.position + now.len() as u32) % SPACING;
            part = later;
        }
    }

    /// Writes a marker if one begins here.
    fn mark(&mut self, out: &mut Vec<u8>, length_at: Option<usize>) {
        if self.position == 0 {
            // An FPDU is shorter than 2^16 bytes, so the distance fits.
            let back = length_at.map_or(0, |at| out.len() - at) as u16;
            out.extend_from_slice(&[0, 0]);
            out.extend_from_slice(&back.to_be_bytes());
            self.position = MARKER_LEN as u32;
        }
    }
}
