//! MPA (RFC 5044, RFC 6581): how DDP segments become part of a TCP stream.
//!
//! [`Frame`] is what both ends exchange first, [`request`], [`answer`] and [`conclude`] are what they agree upon, [`fpdu`]
//! is the framing of everything that follows and [`marker`] the marks in it for peers that ask for them. Bytes and rules
//! only: nothing here holds a connection. This side never asks for markers, so there is no receiver of them.

pub mod fpdu;
mod frame;
pub mod marker;
mod negotiate;

pub use frame::{
    Enhanced, FRAME_HEADER_LEN, FRAME_MAX, Frame, FrameKind, MpaError, PRIVATE_DATA_MAX, Revision, Rtr,
    RtrKinds, ULP_DATA_MAX, looks_like_request,
};
pub use negotiate::{Agreed, CrcPolicy, Offer, answer, conclude, reject, request};

#[cfg(test)]
mod tests;
