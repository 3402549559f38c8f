//! The one validator of what a peer sends.
//!
//! [`Header::parse`] judges the common header in wire order, because the lowest wrong field is the one to report
//! (NVMe/TCP Transport 1.0 §3.6.2.4, FEI); after it, every length is known and bounded by what this side negotiated.
//! [`Incoming::parse`] then reads the type's own header where it lies. Both are pure functions of bytes and
//! [`Receiver`]. Whether a PDU fits what went before is the connection's question.

use zerocopy::{FromBytes, Immutable, KnownLayout, Unaligned};

use super::{
    ADMIN_IN_CAPSULE, COMMON_HEADER_LEN, DIGEST_LEN, TERM_REQ_HEADER_LEN, TERM_REQ_MAX,
    headers::{C2hData, CapsuleCmd, CapsuleResp, H2cData, IcReq, IcResp, R2t, TermReqHeader},
    layout::{Alignment, Digests, Layout, header_end},
    terminate::TermReq,
    types::{Flags, Kind, PduType, Role},
    violation::Violation,
};
use crate::digest::crc32c;

/// Whether ICReq and ICResp have been exchanged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Not yet: only ICReq (or ICResp) and a termination request may come.
    Initializing,
    /// Yes.
    Ready,
}

/// What a receiver holds its peer to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Receiver {
    /// The role of this side, the receiving one.
    pub role: Role,
    /// Whether the connection is initialised.
    pub phase: Phase,
    /// The digests negotiated.
    pub digests: Digests,
    /// The alignment this side asked for: HPDA on a host, CPDA on a controller.
    pub alignment: Alignment,
    /// Controller: most in-capsule data of one command on this queue.
    pub max_in_capsule: u32,
    /// Controller: MAXH2CDATA. Host: the longest transfer a command of this queue asks for.
    pub max_data: u32,
}

impl Receiver {
    /// A receiver that waits for ICReq or ICResp.
    pub const fn initializing(role: Role) -> Self {
        Receiver {
            role,
            phase: Phase::Initializing,
            digests: Digests::NONE,
            alignment: Alignment::DWORD,
            max_in_capsule: ADMIN_IN_CAPSULE,
            max_data: 0,
        }
    }

    #[inline]
    fn kind(&self, pdu_type: PduType) -> Result<Kind, Violation> {
        // spec: TCP-CH-02, TCP-CH-03
        let kind = Kind::new(pdu_type).ok_or(Violation::UnknownType(pdu_type))?;
        if kind.receiver() != self.role {
            return Err(Violation::WrongDirection(kind));
        }
        // spec: TCP-IC-02, TCP-IC-03, TCP-IC-04
        match (self.phase, kind) {
            (_, Kind::H2cTermReq | Kind::C2hTermReq) => Ok(kind),
            (Phase::Initializing, Kind::IcReq | Kind::IcResp) => Ok(kind),
            (Phase::Initializing, _) => Err(Violation::NotInitialized(kind)),
            (Phase::Ready, Kind::IcReq | Kind::IcResp) => Err(Violation::AlreadyInitialized(kind)),
            (Phase::Ready, _) => Ok(kind),
        }
    }

    #[inline]
    fn data_limit(&self, kind: Kind) -> u32 {
        if let Kind::CapsuleCmd = kind { self.max_in_capsule } else { self.max_data }
    }
}

/// A common header that has been found right: which PDU this is and where its parts lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    kind: Kind,
    flags: Flags,
    layout: Layout,
    plen: u32,
}

impl Header {
    /// Judges the first eight bytes of a PDU. The first wrong field, in wire order, is the one reported.
    #[inline]
    pub fn parse(bytes: &[u8; COMMON_HEADER_LEN], receiver: &Receiver) -> Result<Header, Violation> {
        match Header::usual(bytes, receiver) {
            Some(header) => Ok(header),
            None => Header::judge(bytes, receiver),
        }
    }

    /// Recognises at one glance what a connection without digests consists of: command capsules and data for the host,
    /// without padding. [`judge`](Self::judge) would say the same of them, and says it of everything else.
    #[inline]
    pub(super) fn usual(bytes: &[u8; COMMON_HEADER_LEN], receiver: &Receiver) -> Option<Header> {
        if receiver.phase != Phase::Ready || receiver.digests != Digests::NONE {
            return None;
        }
        let [pdu_type, flags, hlen, pdo, p0, p1, p2, p3] = *bytes;
        let plen = u32::from_le_bytes([p0, p1, p2, p3]);
        let flags = Flags(flags);
        let kind = match receiver.role {
            Role::Host if pdu_type == Kind::C2hData.pdu_type().0 => Kind::C2hData,
            Role::Controller if pdu_type == Kind::CapsuleCmd.pdu_type().0 => Kind::CapsuleCmd,
            _ => return None,
        };
        let flags_fit = match kind {
            Kind::C2hData => {
                flags.outside(Flags::LAST_PDU).outside(Flags::SUCCESS) == Flags(0) && flags != Flags::SUCCESS
            }
            _ => flags == Flags(0),
        };
        let header_len = kind.header_len();
        if !flags_fit || hlen != header_len {
            return None;
        }
        let data_len = plen.checked_sub(u32::from(header_len))?;
        let layout = if data_len == 0 && pdo == 0 && kind == Kind::CapsuleCmd {
            Layout::without_data(kind, false)
        } else if data_len > 0
            && data_len <= receiver.data_limit(kind)
            && pdo == header_len
            && receiver.alignment == Alignment::DWORD
        {
            Layout::with_data(kind, false, pdo, data_len, false)
        } else {
            return None;
        };
        Some(Header { kind, flags, layout, plen })
    }

    /// Judges field after field.
    pub(super) fn judge(bytes: &[u8; COMMON_HEADER_LEN], receiver: &Receiver) -> Result<Header, Violation> {
        // spec: TCP-CH-01, TCP-CH-12, TCP-CH-13
        let [pdu_type, flags, hlen, pdo, p0, p1, p2, p3] = *bytes;
        let plen = u32::from_le_bytes([p0, p1, p2, p3]);
        let flags = Flags(flags);
        let kind = receiver.kind(PduType(pdu_type))?;
        if let Kind::H2cTermReq | Kind::C2hTermReq = kind {
            return Header::term_req(kind, hlen, plen);
        }

        // spec: TCP-CH-05
        let reserved = flags.outside(kind.flags());
        let flags = if reserved == Flags(0) {
            flags
        } else if matches!(kind, Kind::IcReq | Kind::IcResp) {
            // A peer of a later revision may ask for something here; the flags of our own PDU say that we do not know it.
            Flags(0)
        } else {
            return Err(Violation::ReservedFlags { kind, found: reserved.0 });
        };
        // spec: TCP-DG-02
        let header_digest = receiver.digests.header && !kind.is_outside_negotiation();
        if flags.has(Flags::HDGSTF) != header_digest {
            return Err(Violation::HeaderDigestFlag { found: !header_digest });
        }
        let header_end = header_end(kind.header_len(), header_digest);
        let limit = receiver.data_limit(kind);
        // spec: TCP-CH-11, TCP-RES-01
        // A PLEN that no PDU can have says nothing about the fields before it, unless PDO claims data.
        let longest = u64::from(limit) + u64::from(u8::MAX) + DIGEST_LEN as u64;
        let has_data = plen > u32::from(header_end) && (pdo != 0 || u64::from(plen) <= longest);
        let data_digest = flags.has(Flags::DDGSTF);
        // spec: TCP-DG-03, TCP-DG-04
        if data_digest && !receiver.digests.data {
            return Err(Violation::DataDigestFlag { found: true });
        }
        if receiver.digests.data && !data_digest && has_data && kind.carries_data() {
            return Err(Violation::DataDigestFlag { found: false });
        }
        // spec: TCP-C2H-08
        if flags.has(Flags::SUCCESS) && !flags.has(Flags::LAST_PDU) {
            return Err(Violation::SuccessWithoutLast);
        }
        // spec: TCP-CH-04
        if hlen != kind.header_len() {
            return Err(Violation::HeaderLength { kind, found: hlen });
        }

        let offset = Violation::DataOffset { kind, found: pdo };
        let length = Violation::PduLength { kind, found: plen };
        if !kind.carries_data() {
            // spec: TCP-CH-10, TCP-RSP-02
            if pdo != 0 {
                return Err(offset);
            }
            if plen != u32::from(header_end) {
                return Err(length);
            }
            let layout = Layout::without_data(kind, header_digest);
            return Ok(Header { kind, flags, layout, plen });
        }
        // spec: TCP-CH-06, TCP-CH-07
        if pdo != 0 && (pdo < header_end || (has_data && pdo % receiver.alignment.bytes() != 0)) {
            return Err(offset);
        }
        if !has_data {
            // spec: TCP-CH-07, TCP-CH-08, TCP-DG-04, TCP-C2H-17, TCP-H2C-15
            if pdo != 0 && pdo != header_end && plen == u32::from(header_end) {
                return Err(offset);
            }
            // A capsule without data may have DDGSTF set all the same: the digest is there only if data is
            // (§3.6.2.6). H2CData and C2HData always carry data.
            if plen != u32::from(header_end) || kind != Kind::CapsuleCmd {
                return Err(length);
            }
            let layout = Layout::without_data(kind, header_digest);
            return Ok(Header { kind, flags, layout, plen });
        }
        if pdo == 0 {
            return Err(offset);
        }
        let Some(behind_pdo) = plen.checked_sub(u32::from(pdo)) else {
            return Err(offset);
        };
        let digest_len = if data_digest { DIGEST_LEN as u32 } else { 0 };
        // spec: TCP-CH-08
        let data_len = match behind_pdo.checked_sub(digest_len) {
            Some(data_len) if data_len > 0 => data_len,
            _ => return Err(length),
        };
        if data_len > limit {
            return Err(match kind {
                // spec: TCP-CMD-05
                Kind::CapsuleCmd => Violation::InCapsuleLimit { found: data_len, limit },
                // spec: TCP-H2C-08
                Kind::H2cData => Violation::H2cDataLimit { found: data_len, limit },
                _ => Violation::C2hDataLimit { found: data_len, limit },
            });
        }
        let layout = Layout::with_data(kind, header_digest, pdo, data_len, data_digest);
        Ok(Header { kind, flags, layout, plen })
    }

    /// A termination request is held to its lengths only: an error in it cannot be reported, and whatever else it
    /// says the connection ends.
    fn term_req(kind: Kind, hlen: u8, plen: u32) -> Result<Header, Violation> {
        // spec: TCP-TRM-05, TCP-ERR-15
        let lengths = TERM_REQ_HEADER_LEN as u32..=TERM_REQ_MAX as u32;
        if hlen != kind.header_len() || !lengths.contains(&plen) {
            return Err(Violation::MalformedTermReq);
        }
        Ok(Header { kind, flags: Flags(0), layout: Layout::without_data(kind, false), plen })
    }

    /// Which PDU.
    #[inline]
    pub const fn kind(&self) -> Kind {
        self.kind
    }

    /// The flags; none that the PDU does not define.
    #[inline]
    pub const fn flags(&self) -> Flags {
        self.flags
    }

    /// Where the parts of the PDU lie.
    #[inline]
    pub const fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Bytes of the whole PDU.
    #[inline]
    pub const fn plen(&self) -> u32 {
        self.plen
    }

    /// Bytes, from the start of the PDU, that [`Incoming::parse`] needs: header and header digest, and for a
    /// termination request all of it. At most 152.
    #[inline]
    pub const fn needed(&self) -> usize {
        match self.kind {
            Kind::H2cTermReq | Kind::C2hTermReq => self.plen as usize,
            _ => self.layout.header_end(),
        }
    }
}

/// A PDU whose header is complete, read in place.
#[derive(Clone, Copy, Debug)]
pub enum Incoming<'a> {
    /// Initialize Connection Request.
    IcReq(&'a IcReq),
    /// Initialize Connection Response.
    IcResp(&'a IcResp),
    /// Termination request of either side.
    TermReq(TermReq<'a>),
    /// Command capsule; in-capsule data, if any, follows.
    CapsuleCmd(&'a CapsuleCmd),
    /// Response capsule.
    CapsuleResp(&'a CapsuleResp),
    /// Data from the host follows.
    H2cData(&'a H2cData),
    /// Data from the controller follows.
    C2hData(&'a C2hData),
    /// Ready to Transfer.
    R2t(&'a R2t),
}

impl<'a> Incoming<'a> {
    /// Reads the header in `bytes`, which start with the PDU `header` was parsed from and hold at least
    /// [`Header::needed`] bytes of it; `Ok(None)` if they are too few. The header digest is checked first.
    #[inline]
    pub fn parse(header: &Header, bytes: &'a [u8]) -> Result<Option<Incoming<'a>>, Violation> {
        // spec: TCP-QUE-05, TCP-RES-04
        let Some(bytes) = bytes.get(..header.needed()) else {
            return Ok(None);
        };
        if header.layout.has_header_digest() {
            check_header_digest(bytes)?;
        }
        Ok(match header.kind {
            Kind::IcReq => view::<IcReq>(bytes).map(Incoming::IcReq),
            Kind::IcResp => view::<IcResp>(bytes).map(Incoming::IcResp),
            Kind::H2cTermReq | Kind::C2hTermReq => {
                TermReqHeader::ref_from_prefix(bytes).ok().map(|(head, data)| {
                    Incoming::TermReq(TermReq { fes: head.fes, fei: head.fei.get(), header: data })
                })
            }
            Kind::CapsuleCmd => view::<CapsuleCmd>(bytes).map(Incoming::CapsuleCmd),
            Kind::CapsuleResp => view::<CapsuleResp>(bytes).map(Incoming::CapsuleResp),
            Kind::H2cData => match view::<H2cData>(bytes) {
                Some(pdu) => {
                    check_data(header, pdu.datao.get(), pdu.datal.get())?;
                    Some(Incoming::H2cData(pdu))
                }
                None => None,
            },
            Kind::C2hData => match view::<C2hData>(bytes) {
                Some(pdu) => {
                    check_data(header, pdu.datao.get(), pdu.datal.get())?;
                    Some(Incoming::C2hData(pdu))
                }
                None => None,
            },
            Kind::R2t => match view::<R2t>(bytes) {
                Some(pdu) => {
                    check_r2t(pdu)?;
                    Some(Incoming::R2t(pdu))
                }
                None => None,
            },
        })
    }
}

#[inline]
fn view<T: FromBytes + KnownLayout + Immutable + Unaligned>(bytes: &[u8]) -> Option<&T> {
    T::ref_from_prefix(bytes).ok().map(|(header, _)| header)
}

/// `bytes` are a header and its digest, nothing more.
#[inline]
fn check_header_digest(bytes: &[u8]) -> Result<(), Violation> {
    // spec: TCP-DG-05, TCP-DG-08, TCP-DG-09
    if let Some((header, received)) = bytes.split_last_chunk::<DIGEST_LEN>() {
        let received = u32::from_le_bytes(*received);
        let computed = crc32c(header);
        if received != computed {
            return Err(Violation::HeaderDigest { received, computed });
        }
    }
    Ok(())
}

#[inline]
fn check_data(header: &Header, offset: u32, length: u32) -> Result<(), Violation> {
    // spec: TCP-H2C-07, TCP-C2H-05
    if length != header.layout.data_len() {
        return Err(Violation::PduLength { kind: header.kind, found: header.plen });
    }
    // spec: TCP-H2C-06, TCP-C2H-04
    if offset.checked_add(length).is_none() {
        return Err(Violation::RangeOverflow { offset, length });
    }
    Ok(())
}

#[inline]
fn check_r2t(r2t: &R2t) -> Result<(), Violation> {
    let (offset, length) = (r2t.r2to.get(), r2t.r2tl.get());
    // spec: TCP-R2T-06
    if length == 0 {
        return Err(Violation::EmptyR2t);
    }
    // spec: TCP-R2T-05
    if offset.checked_add(length).is_none() {
        return Err(Violation::RangeOverflow { offset, length });
    }
    Ok(())
}
