//! DDP (RFC 5041): the header in front of every segment.
//!
//! A tagged segment says by STag and offset where its payload goes, an untagged one by queue, message number and offset in
//! the message. Bytes only; what a receiver makes of them is in the queue pair.

use crate::verbs::STag;

/// The length of a tagged header, RDMAP's control byte included.
pub const TAGGED_LEN: usize = 14;

/// The length of an untagged header, the five bytes for RDMAP included.
pub const UNTAGGED_LEN: usize = 18;

const TAGGED: u8 = 0x80;
const LAST: u8 = 0x40;
const VERSION_MASK: u8 = 0x03;
const VERSION: u8 = 0x01;

/// The queue of Sends.
pub const QUEUE_SEND: u32 = 0;
/// The queue of Read Requests.
pub const QUEUE_READ: u32 = 1;
/// The queue of Terminate messages.
pub const QUEUE_TERMINATE: u32 = 2;

/// The length of the header that begins with this byte.
pub const fn header_len(control: u8) -> usize {
    if control & TAGGED != 0 { TAGGED_LEN } else { UNTAGGED_LEN }
}

/// The header of one segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Whether it is the last segment of its message.
    pub last: bool,
    /// RDMAP's control byte.
    pub rdmap: u8,
    /// Where the payload goes.
    pub place: Place,
}

/// Where the payload of a segment goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// To a tagged buffer.
    Tagged {
        /// Which.
        stag: STag,
        /// Where in it.
        to: u64,
    },
    /// To a buffer that waits in a queue.
    Untagged {
        /// The field that DDP leaves to RDMAP: the STag to invalidate, or 0.
        ulp: u32,
        /// The queue.
        queue: u32,
        /// The message sequence number.
        msn: u32,
        /// The offset in the message.
        offset: u32,
    },
}

/// The version of a header is not 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WrongVersion {
    /// Whether the header is tagged.
    pub tagged: bool,
}

impl Header {
    /// Reads the header at the beginning of a segment; `None` if `bytes` are too few.
    // spec: IW-DDP-01, IW-DDP-02, IW-DDP-03, IW-DDP-04
    pub fn parse(bytes: &[u8]) -> Option<Result<(Self, usize), WrongVersion>> {
        let (&[control, rdmap], rest) = bytes.split_first_chunk::<2>()?;
        let (place, len) = if control & TAGGED != 0 {
            let [a, b, c, d, to @ ..] = *rest.first_chunk::<{ TAGGED_LEN - 2 }>()?;
            let stag = STag::new(u32::from_be_bytes([a, b, c, d]));
            (Place::Tagged { stag, to: u64::from_be_bytes(to) }, TAGGED_LEN)
        } else {
            let words = rest.first_chunk::<{ UNTAGGED_LEN - 2 }>()?;
            let word = |at: usize| u32::from_be_bytes(std::array::from_fn(|i| words[at + i]));
            (Place::Untagged { ulp: word(0), queue: word(4), msn: word(8), offset: word(12) }, UNTAGGED_LEN)
        };
        if control & VERSION_MASK != VERSION {
            return Some(Err(WrongVersion { tagged: control & TAGGED != 0 }));
        }
        Some(Ok((Self { last: control & LAST != 0, rdmap, place }, len)))
    }

    /// The length of the header.
    pub const fn size(&self) -> usize {
        match self.place {
            Place::Tagged { .. } => TAGGED_LEN,
            Place::Untagged { .. } => UNTAGGED_LEN,
        }
    }

    /// Writes the header to the beginning of `out` and returns its length.
    pub fn encode(&self, out: &mut [u8; UNTAGGED_LEN]) -> usize {
        let last = if self.last { LAST } else { 0 };
        out[1] = self.rdmap;
        match self.place {
            Place::Tagged { stag, to } => {
                out[0] = TAGGED | last | VERSION;
                out[2..6].copy_from_slice(&stag.value().to_be_bytes());
                out[6..14].copy_from_slice(&to.to_be_bytes());
            }
            Place::Untagged { ulp, queue, msn, offset } => {
                out[0] = last | VERSION;
                for (word, at) in [ulp, queue, msn, offset].into_iter().zip((2..).step_by(4)) {
                    out[at..at + 4].copy_from_slice(&word.to_be_bytes());
                }
            }
        }
        self.size()
    }
}
