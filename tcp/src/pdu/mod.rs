//! The PDUs of NVMe/TCP as types: layout on the wire, one validator, one encoder, connection parameters.
//!
//! Receiving takes two steps, because the data path must be fast and the peer may be hostile: [`Header::parse`]
//! judges the eight bytes every PDU starts with and says how long everything is, [`Incoming::parse`] then reads the
//! type's own header in place. Sending is [`Sender`], which writes header, header digest and padding. Every way a
//! peer can break the protocol has a name in [`Violation`], with what a termination request must say about it.
//!
//! Absent on purpose: what depends on the state of a connection (which transfer tags are open, which offset comes
//! next, which commands are outstanding). That is the connection's; only the vocabulary for it is here.

mod headers;
mod initialize;
mod layout;
mod receive;
mod send;
mod terminate;
mod types;
mod violation;

pub use headers::{
    C2hData, CapsuleCmd, CapsuleResp, CommonHeader, H2cData, IcReq, IcResp, R2t, TermReqHeader,
};
pub use initialize::{ControllerTerms, DigestPolicy, HostTerms, Negotiated};
pub use layout::{Alignment, Digests, Layout};
pub use receive::{Header, Incoming, Phase, Receiver};
pub use send::{DataToController, DataToHost, Encoded, Sender};
pub use terminate::TermReq;
pub use types::{Flags, Kind, PduType, Role};
pub use violation::{FatalErrorStatus, Report, Violation};

/// Bytes of the common header every PDU starts with (NVMe/TCP Transport 1.0 §3.6.2.1).
pub const COMMON_HEADER_LEN: usize = 8;
/// Bytes of a header digest or a data digest.
pub const DIGEST_LEN: usize = 4;
/// Bytes of a termination request before the offending header it carries.
pub const TERM_REQ_HEADER_LEN: usize = 24;
/// Most bytes of an offending header that a termination request carries.
pub const TERM_REQ_DATA_MAX: usize = 128;
/// Longest termination request.
pub const TERM_REQ_MAX: usize = TERM_REQ_HEADER_LEN + TERM_REQ_DATA_MAX;
/// Most bytes that [`Sender`] writes for one PDU: header, header digest and padding. Alignments are no powers of two,
/// so the worst is a command's 76 bytes brought to twice 72, not to 128.
pub const ENCODED_MAX: usize = 144;
/// In-capsule data that a controller accepts on every admin queue.
pub const ADMIN_IN_CAPSULE: u32 = 8192;
/// The least MAXH2CDATA a controller may announce.
pub const MAXH2CDATA_MIN: u32 = 4096;
/// Most data bytes put in one PDU, so that PLEN with header, padding and digests still fits its 32 bits.
pub const DATA_MAX: u32 = u32::MAX - 1023;

#[cfg(test)]
mod tests;
