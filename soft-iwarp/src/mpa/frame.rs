//! The request and the reply frame (RFC 5044 §7.1.1, with the enhanced data of RFC 6581 §6 to §9).

use bitflags::bitflags;

/// The part of a frame before the private data.
pub const FRAME_HEADER_LEN: usize = 20;

/// The most private data that a frame has, enhanced data included (RFC 5044 §7.1.1).
// spec: IW-MPA-07
pub const PRIVATE_DATA_MAX: usize = 512;

/// The most private data that is left for the upper layer in an enhanced frame.
pub const ULP_DATA_MAX: usize = PRIVATE_DATA_MAX - ENHANCED_LEN;

/// The longest frame.
pub const FRAME_MAX: usize = FRAME_HEADER_LEN + PRIVATE_DATA_MAX;

const ENHANCED_LEN: usize = 4;
const REQUEST_KEY: &[u8; 16] = b"MPA ID Req Frame";
const REPLY_KEY: &[u8; 16] = b"MPA ID Rep Frame";

const MARKERS: u8 = 0x80;
const CRC: u8 = 0x40;
const REJECTED: u8 = 0x20;
const ENHANCED: u8 = 0x10;

/// Of the enhanced data: the lower 14 bits of both words are numbers.
const DEPTH: u16 = 0x3FFF;
const FLAG_A: u16 = 0x8000;
const FLAG_B: u16 = 0x4000;
const FLAG_C: u16 = 0x8000;
const FLAG_D: u16 = 0x4000;

/// Why what a peer sent is no frame that this side can go on with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MpaError {
    /// The bytes do not begin as a frame does.
    #[error("the peer does not speak MPA")]
    Key,
    /// A request came where a reply should: both ends think that they are the initiator, or the other way round.
    #[error("an MPA frame of the wrong kind")]
    Kind,
    /// A revision other than 1 and 2.
    #[error("MPA revision {0} is not supported")]
    Revision(u8),
    /// More private data than there may be.
    #[error("{0} bytes of private data, and there may be {PRIVATE_DATA_MAX}")]
    PrivateData(u16),
    /// The frame claims to be enhanced and is too short for it.
    #[error("{0} bytes of private data are too few for an enhanced frame")]
    Enhanced(u16),
    /// Bytes that may only come later.
    #[error("bytes behind the MPA request, before the reply")]
    Early,
    /// The reply to an enhanced request is not enhanced, or of another revision.
    #[error("the MPA reply is of another form than the request")]
    Form,
    /// The responder wants to have more RDMA READs outstanding than this side offered to take.
    #[error("the peer wants {wanted} outstanding RDMA READs and was offered {offered}")]
    InsufficientIrd {
        /// What the responder's ORD says.
        wanted: u16,
        /// This side's IRD.
        offered: u16,
    },
    /// There is no ready-to-receive message that both can.
    #[error("no kind of ready-to-receive message in common")]
    NoCommonRtr,
}

/// Request or reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FrameKind {
    /// From the initiator.
    Request,
    /// From the responder.
    Reply,
}

/// The revision of MPA.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Revision {
    /// RFC 5044.
    One,
    /// RFC 6581, which agrees upon read depths and a first message. Linux cannot use a peer that does not.
    #[default]
    Two,
}

impl Revision {
    /// The value on the wire.
    pub const fn value(self) -> u8 {
        match self {
            Self::One => 1,
            Self::Two => 2,
        }
    }
}

/// One kind of ready-to-receive message: empty, and first of all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Rtr {
    /// A zero-length RDMA READ.
    Read,
    /// A zero-length RDMA WRITE.
    Write,
    /// A zero-length Send.
    Send,
}

bitflags! {
    /// Several kinds of ready-to-receive messages.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct RtrKinds: u8 {
        /// A zero-length Send (flag B).
        const SEND = 1;
        /// A zero-length RDMA WRITE (flag C).
        const WRITE = 2;
        /// A zero-length RDMA READ (flag D).
        const READ = 4;
    }
}

impl RtrKinds {
    /// The first of READ, WRITE and SEND that is among them.
    pub const fn first(self) -> Option<Rtr> {
        if self.contains(Self::READ) {
            Some(Rtr::Read)
        } else if self.contains(Self::WRITE) {
            Some(Rtr::Write)
        } else if self.contains(Self::SEND) {
            Some(Rtr::Send)
        } else {
            None
        }
    }
}

impl From<Rtr> for RtrKinds {
    fn from(kind: Rtr) -> Self {
        match kind {
            Rtr::Read => Self::READ,
            Rtr::Write => Self::WRITE,
            Rtr::Send => Self::SEND,
        }
    }
}

/// What an enhanced frame says beyond a plain one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Enhanced {
    /// The peer-to-peer model with these first messages; `None` is the client-server model.
    pub peer_to_peer: Option<RtrKinds>,
    /// RDMA READs that the sender of the frame takes at a time; `None`: not negotiated.
    pub ird: Option<u16>,
    /// RDMA READs that it wants to have outstanding; `None`: not negotiated.
    pub ord: Option<u16>,
}

impl Enhanced {
    // spec: IW-ENH-02, IW-ENH-03
    fn parse([a, b, c, d]: [u8; ENHANCED_LEN]) -> Self {
        let (first, second) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
        let mut kinds = RtrKinds::empty();
        kinds.set(RtrKinds::SEND, first & FLAG_B != 0);
        kinds.set(RtrKinds::WRITE, second & FLAG_C != 0);
        kinds.set(RtrKinds::READ, second & FLAG_D != 0);
        let depth = |word: u16| Some(word & DEPTH).filter(|&depth| depth != DEPTH);
        Self {
            // spec: IW-ENH-06
            peer_to_peer: (first & FLAG_A != 0).then_some(kinds),
            ird: depth(first),
            ord: depth(second),
        }
    }

    fn encode(self) -> [u8; ENHANCED_LEN] {
        // The largest value says "not negotiated", so a depth ends one below.
        let depth = |depth: Option<u16>| depth.map_or(DEPTH, |depth| depth.min(DEPTH - 1));
        let (mut first, mut second) = (depth(self.ird), depth(self.ord));
        if let Some(kinds) = self.peer_to_peer {
            first |= FLAG_A;
            if kinds.contains(RtrKinds::SEND) {
                first |= FLAG_B;
            }
            if kinds.contains(RtrKinds::WRITE) {
                second |= FLAG_C;
            }
            if kinds.contains(RtrKinds::READ) {
                second |= FLAG_D;
            }
        }
        let ([a, b], [c, d]) = (first.to_be_bytes(), second.to_be_bytes());
        [a, b, c, d]
    }
}

/// A request or reply frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// Which of the two.
    pub kind: FrameKind,
    /// Whether its sender wants markers in what it receives.
    pub markers: bool,
    /// Whether its sender wants CRCs.
    pub crc: bool,
    /// Of a reply: whether the connection is refused. Never set in a request that was parsed.
    pub rejected: bool,
    /// The revision.
    pub revision: Revision,
    /// What an enhanced frame adds.
    pub enhanced: Option<Enhanced>,
    /// The upper layer's private data.
    pub private_data: &'a [u8],
}

impl<'a> Frame<'a> {
    /// Reads a frame of the expected kind, with the bytes behind it; `None` while it is incomplete. A mistake is found with
    /// the first byte that shows it.
    pub fn parse(bytes: &'a [u8], expected: FrameKind) -> Result<Option<(Self, &'a [u8])>, MpaError> {
        let (right, wrong) = match expected {
            FrameKind::Request => (REQUEST_KEY, REPLY_KEY),
            FrameKind::Reply => (REPLY_KEY, REQUEST_KEY),
        };
        // spec: IW-MPA-02, IW-MPA-03
        let start = &bytes[..bytes.len().min(right.len())];
        if !right.starts_with(start) {
            return Err(if wrong.starts_with(start) { MpaError::Kind } else { MpaError::Key });
        }
        let Some((header, behind)) = bytes.split_first_chunk::<FRAME_HEADER_LEN>() else {
            return Ok(None);
        };
        let [.., flags, revision, hi, lo] = *header;
        // spec: IW-MPA-04, IW-ENH-01
        let revision = match revision {
            1 => Revision::One,
            2 => Revision::Two,
            other => return Err(MpaError::Revision(other)),
        };
        let len = u16::from_be_bytes([hi, lo]);
        if usize::from(len) > PRIVATE_DATA_MAX {
            return Err(MpaError::PrivateData(len));
        }
        // The flag was reserved in revision 1.
        let is_enhanced = revision == Revision::Two && flags & ENHANCED != 0;
        if is_enhanced && usize::from(len) < ENHANCED_LEN {
            return Err(MpaError::Enhanced(len));
        }
        let Some((data, behind)) = behind.split_at_checked(len.into()) else {
            return Ok(None);
        };
        let (enhanced, private_data) = match data.split_first_chunk::<ENHANCED_LEN>() {
            Some((enhanced, data)) if is_enhanced => (Some(Enhanced::parse(*enhanced)), data),
            _ => (None, data),
        };
        let frame = Self {
            kind: expected,
            markers: flags & MARKERS != 0,
            crc: flags & CRC != 0,
            // spec: IW-MPA-05
            rejected: expected == FrameKind::Reply && flags & REJECTED != 0,
            revision,
            enhanced,
            private_data,
        };
        Ok(Some((frame, behind)))
    }

    /// Writes the frame behind what `out` holds. Private data that does not fit is refused with an error, and nothing is
    /// written.
    pub fn encode(&self, out: &mut Vec<u8>) -> Result<(), MpaError> {
        let enhanced = self.enhanced.map(Enhanced::encode);
        let len = self.private_data.len() + enhanced.map_or(0, |bytes| bytes.len());
        let len = match u16::try_from(len) {
            Ok(len) if usize::from(len) <= PRIVATE_DATA_MAX => len,
            other => return Err(MpaError::PrivateData(other.unwrap_or(u16::MAX))),
        };
        out.extend_from_slice(match self.kind {
            FrameKind::Request => REQUEST_KEY,
            FrameKind::Reply => REPLY_KEY,
        });
        let flag = |set: bool, flag: u8| if set { flag } else { 0 };
        out.push(
            flag(self.markers, MARKERS)
                | flag(self.crc, CRC)
                | flag(self.rejected, REJECTED)
                | flag(enhanced.is_some(), ENHANCED),
        );
        out.push(self.revision.value());
        out.extend_from_slice(&len.to_be_bytes());
        out.extend_from_slice(enhanced.as_ref().map_or(&[], |bytes| bytes));
        out.extend_from_slice(self.private_data);
        Ok(())
    }
}

/// Whether a stream that begins so carries an MPA request; `None` while too little is known. For a port that serves more
/// than one protocol.
pub fn looks_like_request(start: &[u8]) -> Option<bool> {
    let known = start.len().min(REQUEST_KEY.len());
    match start[..known] == REQUEST_KEY[..known] {
        false => Some(false),
        true => (known >= 4).then_some(true),
    }
}
