//! Every named way a peer can break the protocol, and what a termination request says about it.
//!
//! The vocabulary is closed and complete: the codec's own findings and those that only a connection can make
//! (transfer tags, offsets, outstanding commands) are both here, so that one table maps all of them to the Fatal
//! Error Status and Fatal Error Information of NVMe/TCP Transport 1.0 §3.6.2.4 and §3.6.2.5. Start with
//! [`Violation::report`].

use std::fmt;

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned, little_endian::U16};

use super::types::{Kind, PduType, Role};

/// Fatal Error Status (FES) of a termination request; any value can be held.
#[derive(Clone, Copy, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(transparent)]
pub struct FatalErrorStatus(U16);

impl FatalErrorStatus {
    /// A header field is wrong; FEI is the offset of the field.
    pub const INVALID_HEADER_FIELD: Self = Self::new(1);
    /// A PDU came that may not come now; FEI is reserved.
    pub const SEQUENCE_ERROR: Self = Self::new(2);
    /// The header digest is wrong; FEI is the digest that was received.
    pub const HEADER_DIGEST_ERROR: Self = Self::new(3);
    /// Data lies outside of what was asked for; FEI is reserved.
    pub const DATA_OUT_OF_RANGE: Self = Self::new(4);
    /// From a host: more R2Ts at a time than MAXR2T. From a controller: more data in one PDU than it takes (the
    /// same value has two names). FEI is reserved.
    pub const LIMIT_EXCEEDED: Self = Self::new(5);
    /// A parameter is legal but not supported here; FEI is the offset of the field.
    pub const UNSUPPORTED_PARAMETER: Self = Self::new(6);

    /// The status with this value.
    pub const fn new(value: u16) -> Self {
        Self(U16::new(value))
    }

    /// The value.
    pub const fn value(self) -> u16 {
        self.0.get()
    }

    // spec: TCP-ERR-14, TCP-TRM-07
    /// The specification's name; value 5 depends on who sent the termination request.
    pub const fn name(self, sender: Role) -> &'static str {
        match (self.value(), sender) {
            (1, _) => "Invalid PDU Header Field",
            (2, _) => "PDU Sequence Error",
            (3, _) => "Header Digest Error",
            (4, _) => "Data Transfer Out of Range",
            (5, Role::Host) => "R2T Limit Exceeded",
            (5, Role::Controller) => "Data Transfer Limit Exceeded",
            (6, _) => "Unsupported Parameter",
            _ => "reserved status",
        }
    }

    /// What the Fatal Error Information means beside this status.
    pub fn explain(self, fei: u32) -> impl fmt::Display {
        struct Explained(u16, u32);
        impl fmt::Display for Explained {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self.0 {
                    1 => write!(f, "header field at byte {}", self.1),
                    3 => write!(f, "received digest {:#010x}", self.1),
                    6 => write!(f, "parameter at byte {}", self.1),
                    _ => f.write_str("no further information"),
                }
            }
        }
        Explained(self.value(), fei)
    }
}

impl fmt::Debug for FatalErrorStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FatalErrorStatus({:#x})", self.value())
    }
}

/// What a termination request says: status and information.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Report {
    /// Fatal Error Status.
    pub fes: FatalErrorStatus,
    /// Fatal Error Information.
    pub fei: u32,
}

/// One way in which the peer broke the protocol.
///
/// Found by the codec unless the text says otherwise; the others are for the connection to find.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Violation {
    /// A type that does not exist.
    #[error("PDU type {:#04x} does not exist", .0.0)]
    UnknownType(PduType),
    /// A type that only the other role receives.
    #[error("{} goes the other way", .0.name())]
    WrongDirection(Kind),
    /// Another PDU than ICReq or ICResp before the connection is initialised.
    #[error("{} before the connection is initialised", .0.name())]
    NotInitialized(Kind),
    /// ICReq or ICResp on an initialised connection.
    #[error("{} on an initialised connection", .0.name())]
    AlreadyInitialized(Kind),
    /// Flags that this PDU does not define.
    #[error("reserved flags {found:#04x} set in {}", .kind.name())]
    ReservedFlags {
        /// Which PDU.
        kind: Kind,
        /// The reserved bits that are set.
        found: u8,
    },
    /// HDGSTF is not what was negotiated.
    #[error("header digest flag is {found}, negotiated is {}", !.found)]
    HeaderDigestFlag {
        /// The flag as received.
        found: bool,
    },
    /// DDGSTF is not what was negotiated.
    #[error("data digest flag is {found}, negotiated is {}", !.found)]
    DataDigestFlag {
        /// The flag as received.
        found: bool,
    },
    /// SUCCESS without LAST_PDU.
    #[error("C2HData with SUCCESS but without LAST_PDU")]
    SuccessWithoutLast,
    /// SUCCESS on a queue that uses submission queue flow control. Found by the connection.
    #[error("C2HData with SUCCESS on a queue with submission queue flow control")]
    SuccessWithFlowControl,
    /// LAST_PDU before the end of the transfer. Found by the connection.
    #[error("LAST_PDU set before the end of the transfer")]
    LastTooEarly,
    /// The transfer is complete and LAST_PDU is not set. Found by the connection.
    #[error("transfer complete without LAST_PDU")]
    LastMissing,
    /// HLEN is not the length of this PDU's header.
    #[error("HLEN {found} in {}", .kind.name())]
    HeaderLength {
        /// Which PDU.
        kind: Kind,
        /// HLEN as received.
        found: u8,
    },
    /// PDO points into the header, behind the PDU, to no multiple of the alignment, or is missing or superfluous.
    #[error("PDO {found} in {}", .kind.name())]
    DataOffset {
        /// Which PDU.
        kind: Kind,
        /// PDO as received.
        found: u8,
    },
    /// PLEN does not fit the parts of the PDU.
    #[error("PLEN {found} in {}", .kind.name())]
    PduLength {
        /// Which PDU.
        kind: Kind,
        /// PLEN as received.
        found: u32,
    },
    /// More in-capsule data than this queue takes.
    #[error("{found} bytes of in-capsule data, at most {limit} are taken")]
    InCapsuleLimit {
        /// Bytes of data in the PDU.
        found: u32,
        /// Bytes allowed.
        limit: u32,
    },
    /// More data in one H2CData PDU than MAXH2CDATA.
    #[error("{found} bytes in one H2CData, MAXH2CDATA is {limit}")]
    H2cDataLimit {
        /// Bytes of data in the PDU.
        found: u32,
        /// MAXH2CDATA.
        limit: u32,
    },
    /// More data in one C2HData PDU than any command of this queue asks for.
    #[error("{found} bytes in one C2HData, no command asks for more than {limit}")]
    C2hDataLimit {
        /// Bytes of data in the PDU.
        found: u32,
        /// Bytes allowed.
        limit: u32,
    },
    /// The header digest does not match the header.
    #[error("header digest {received:#010x} does not match the header, {computed:#010x} would")]
    HeaderDigest {
        /// The digest in the PDU.
        received: u32,
        /// The digest of the header as received.
        computed: u32,
    },
    /// A PDU format version other than 0.
    #[error("PDU format version {0}")]
    FormatVersion(u16),
    /// HPDA or CPDA above 31.
    #[error("PDU data alignment {0}, at most 31 exists")]
    DataAlignment(u8),
    /// The controller enabled a digest that the host did not offer.
    #[error("digests {granted:#04x} enabled, offered were {offered:#04x}")]
    DigestNotOffered {
        /// DGST of the ICResp.
        granted: u8,
        /// DGST of the ICReq.
        offered: u8,
    },
    /// A digest that this side insists on was not offered or not enabled. Legal, but not supported here.
    #[error("digests {required:#04x} are required here, the peer has {found:#04x}")]
    DigestRequired {
        /// DGST bits required.
        required: u8,
        /// DGST bits offered or enabled by the peer.
        found: u8,
    },
    /// MAXH2CDATA below 4096 or not a multiple of 4.
    #[error("MAXH2CDATA {0}: must be a multiple of 4 and at least 4096")]
    MaxH2cData(u32),
    /// A termination request that is itself malformed; nothing is answered, the connection just ends.
    #[error("malformed termination request")]
    MalformedTermReq,
    /// An R2T asks for nothing.
    #[error("R2T of length 0")]
    EmptyR2t,
    /// Offset plus length of an H2CData, C2HData or R2T leaves 32 bits.
    #[error("{length} bytes at offset {offset} leave the address range")]
    RangeOverflow {
        /// DATAO or R2TO.
        offset: u32,
        /// DATAL or R2TL.
        length: u32,
    },
    /// H2CData with a transfer tag that no R2T has open. Found by the connection.
    #[error("H2CData for transfer tag {ttag:#06x}, which is not open")]
    UnsolicitedData {
        /// TTAG as received.
        ttag: u16,
    },
    /// H2CData whose command is not the one of its transfer tag. Found by the connection.
    #[error("H2CData for command {found:#06x}, its transfer tag belongs to {expected:#06x}")]
    TransferCommand {
        /// Command of the R2T.
        expected: u16,
        /// CCCID as received.
        found: u16,
    },
    /// Data inside of the transfer's range that does not continue where the transfer stands. Found by the connection.
    #[error("data at offset {found}, expected {expected}")]
    DataOutOfOrder {
        /// The next offset of the transfer.
        expected: u32,
        /// DATAO as received.
        found: u32,
    },
    /// Data outside of the range of its R2T or of the command's buffer. Found by the connection.
    #[error("data up to {end}, outside of the transfer, which ends at {limit}")]
    DataBeyondTransfer {
        /// One past the last byte of the data.
        end: u64,
        /// One past the last byte allowed.
        limit: u64,
    },
    /// C2HData or R2T for a command that is not outstanding. Found by the connection.
    #[error("{} for command {cid:#06x}, which is not outstanding", .kind.name())]
    UnknownCommand {
        /// Which PDU.
        kind: Kind,
        /// CCCID as received.
        cid: u16,
    },
    /// C2HData or R2T for a command that does not move data that way, or not any more. Found by the connection.
    #[error("{} for command {cid:#06x}, which expects none", .kind.name())]
    UnexpectedTransfer {
        /// Which PDU.
        kind: Kind,
        /// CCCID as received.
        cid: u16,
    },
    /// An R2T beyond the command's buffer. Found by the connection.
    #[error("R2T up to {end}, the command's data ends at {limit}")]
    R2tBeyondCommand {
        /// One past the last byte wanted.
        end: u64,
        /// Bytes of the command's data.
        limit: u64,
    },
    /// An R2T that does not continue where the one before ended. Found by the connection.
    #[error("R2T at offset {found}, expected {expected}")]
    R2tOutOfOrder {
        /// The next offset of the command.
        expected: u32,
        /// R2TO as received.
        found: u32,
    },
    /// More R2Ts outstanding for one command than MAXR2T. Found by the connection.
    #[error("more than {limit} R2Ts outstanding for one command")]
    R2tLimit {
        /// R2Ts allowed at a time.
        limit: u32,
    },
    /// A CapsuleResp for a command that is not outstanding. Found by the connection.
    #[error("completion for command {cid:#06x}, which is not outstanding")]
    UnknownCompletion {
        /// CID as received.
        cid: u16,
    },
    /// More commands than the submission queue has entries. Found by the connection.
    #[error("more commands outstanding than the queue's {depth} entries")]
    QueueOverrun {
        /// Entries of the queue.
        depth: u32,
    },
}

/// Byte offsets of header fields, as Fatal Error Information names them.
mod field {
    pub(super) const PDU_TYPE: u32 = 0;
    pub(super) const FLAGS: u32 = 1;
    pub(super) const HLEN: u32 = 2;
    pub(super) const PDO: u32 = 3;
    pub(super) const PLEN: u32 = 4;
    pub(super) const PFV: u32 = 8;
    pub(super) const PDA: u32 = 10;
    pub(super) const DGST: u32 = 11;
    pub(super) const MAXH2CDATA: u32 = 12;
    pub(super) const CCCID: u32 = 8;
    pub(super) const TTAG: u32 = 10;
    pub(super) const R2TL: u32 = 16;
    /// CID within the completion queue entry (bytes 12 and 13) of a CapsuleResp.
    pub(super) const CQE_CID: u32 = 8 + 12;
}

impl Violation {
    /// Status and information of the termination request that answers this; `None` if none may be sent.
    pub const fn report(&self) -> Option<Report> {
        use FatalErrorStatus as Fes;
        use Violation as V;
        let (fes, fei) = match *self {
            // spec: TCP-ERR-04, TCP-IC-17, TCP-IC-19
            V::UnknownType(_) | V::WrongDirection(_) => (Fes::INVALID_HEADER_FIELD, field::PDU_TYPE),
            V::ReservedFlags { .. }
            | V::HeaderDigestFlag { .. }
            | V::DataDigestFlag { .. }
            | V::SuccessWithoutLast
            | V::SuccessWithFlowControl
            | V::LastTooEarly
            | V::LastMissing => (Fes::INVALID_HEADER_FIELD, field::FLAGS),
            V::HeaderLength { .. } => (Fes::INVALID_HEADER_FIELD, field::HLEN),
            V::DataOffset { .. } => (Fes::INVALID_HEADER_FIELD, field::PDO),
            V::PduLength { .. } => (Fes::INVALID_HEADER_FIELD, field::PLEN),
            V::FormatVersion(_) => (Fes::INVALID_HEADER_FIELD, field::PFV),
            V::DataAlignment(_) => (Fes::INVALID_HEADER_FIELD, field::PDA),
            V::DigestNotOffered { .. } => (Fes::INVALID_HEADER_FIELD, field::DGST),
            V::MaxH2cData(_) => (Fes::INVALID_HEADER_FIELD, field::MAXH2CDATA),
            V::EmptyR2t => (Fes::INVALID_HEADER_FIELD, field::R2TL),
            V::UnsolicitedData { .. } => (Fes::INVALID_HEADER_FIELD, field::TTAG),
            V::UnknownCommand { .. } => (Fes::INVALID_HEADER_FIELD, field::CCCID),
            V::UnknownCompletion { .. } => (Fes::INVALID_HEADER_FIELD, field::CQE_CID),
            // spec: TCP-ERR-05
            V::NotInitialized(_)
            | V::AlreadyInitialized(_)
            | V::TransferCommand { .. }
            | V::UnexpectedTransfer { .. }
            | V::DataOutOfOrder { .. }
            | V::R2tOutOfOrder { .. }
            | V::QueueOverrun { .. } => (Fes::SEQUENCE_ERROR, 0),
            // spec: TCP-ERR-06
            V::HeaderDigest { received, .. } => (Fes::HEADER_DIGEST_ERROR, received),
            // spec: TCP-ERR-07
            V::C2hDataLimit { .. }
            | V::RangeOverflow { .. }
            | V::DataBeyondTransfer { .. }
            | V::R2tBeyondCommand { .. } => (Fes::DATA_OUT_OF_RANGE, 0),
            // spec: TCP-ERR-08, TCP-ERR-09
            V::InCapsuleLimit { .. } | V::H2cDataLimit { .. } | V::R2tLimit { .. } => {
                (Fes::LIMIT_EXCEEDED, 0)
            }
            // spec: TCP-ERR-10
            V::DigestRequired { .. } => (Fes::UNSUPPORTED_PARAMETER, field::DGST),
            // spec: TCP-ERR-15
            V::MalformedTermReq => return None,
        };
        Some(Report { fes, fei })
    }
}
