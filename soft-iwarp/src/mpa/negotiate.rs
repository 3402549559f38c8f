//! What both ends agree upon: CRC, markers, read depths and the first message (RFC 5044 §7.1, RFC 6581 §4 and §9).
//!
//! [`request`] is what an initiator says, [`answer`] and [`reject`] what a responder does, [`conclude`] what the initiator
//! makes of the answer. Pure functions of two frames.

use super::frame::{Enhanced, Frame, FrameKind, MpaError, Revision, Rtr, RtrKinds};

/// Whether this side wants CRCs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum CrcPolicy {
    /// They are used (the default of RFC 5044 §6.1).
    #[default]
    Required,
    /// They are used if the peer wants them.
    WhenAsked,
}

/// What one side brings to the negotiation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offer {
    /// RDMA READs it takes at a time.
    pub ird: u16,
    /// RDMA READs it wants to have outstanding.
    pub ord: u16,
    /// Its wish for CRCs.
    pub crc: CrcPolicy,
    /// First messages it can send, if it is the initiator. Empty: the client-server model.
    pub rtr: RtrKinds,
    /// The revision it speaks, if it is the initiator.
    pub revision: Revision,
}

impl Offer {
    /// Read depth offered is never zero: Linux cannot use such a peer.
    // spec: IW-ENH-04
    fn ird(&self) -> u16 {
        self.ird.max(1)
    }
}

/// What holds for a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Agreed {
    /// Whether CRCs are made and checked.
    pub crc: bool,
    /// Whether the peer gets markers.
    pub send_markers: bool,
    /// RDMA READs that the peer may have outstanding here.
    pub ird: u16,
    /// RDMA READs that this side may have outstanding there.
    pub ord: u16,
    /// The first message: what the initiator sends and the responder waits for.
    pub rtr: Option<Rtr>,
}

/// The initiator's frame.
pub fn request<'a>(offer: &Offer, private_data: &'a [u8]) -> Frame<'a> {
    Frame {
        kind: FrameKind::Request,
        // spec: IW-MRK-01
        markers: false,
        crc: offer.crc == CrcPolicy::Required,
        rejected: false,
        revision: offer.revision,
        enhanced: (offer.revision == Revision::Two).then(|| Enhanced {
            peer_to_peer: (!offer.rtr.is_empty()).then_some(offer.rtr),
            ird: Some(offer.ird()),
            ord: Some(offer.ord),
        }),
        private_data,
    }
}

/// The responder's frame if it accepts, and what holds then.
pub fn answer<'a>(offer: &Offer, request: &Frame<'_>, private_data: &'a [u8]) -> (Frame<'a>, Agreed) {
    // The reply repeats the request's wish: siw looks at the reply alone.
    // spec: IW-MPA-11
    let crc = request.crc || offer.crc == CrcPolicy::Required;
    let mut agreed =
        Agreed { crc, send_markers: request.markers, ird: offer.ird(), ord: offer.ord, rtr: None };
    // spec: IW-ENH-05
    let enhanced = request.enhanced.map(|theirs| {
        // spec: IW-ENH-07
        if let Some(ird) = theirs.ird {
            agreed.ord = agreed.ord.min(ird);
        }
        // Not less than one, so that a READ may be the first message.
        if let Some(ord) = theirs.ord {
            agreed.ird = agreed.ird.min(ord.max(1));
        }
        // One kind only, and one that was asked for: cxgb4 ends the connection over two.
        // spec: IW-ENH-09
        agreed.rtr = theirs.peer_to_peer.map(|kinds| kinds.first().unwrap_or(Rtr::Write));
        Enhanced {
            peer_to_peer: agreed.rtr.map(RtrKinds::from),
            // What the initiator does not negotiate is not negotiated. The sender's ORD mirrors the receiver's IRD.
            // spec: IW-ENH-03
            ird: theirs.ord.map(|_| agreed.ird),
            ord: theirs.ird.map(|_| agreed.ord),
        }
    });
    let frame = Frame {
        kind: FrameKind::Reply,
        markers: false,
        crc,
        rejected: false,
        revision: request.revision,
        enhanced,
        private_data,
    };
    (frame, agreed)
}

/// The responder's frame if it refuses.
// spec: IW-MPA-08
pub fn reject<'a>(request: &Frame<'_>, private_data: &'a [u8]) -> Frame<'a> {
    Frame {
        kind: FrameKind::Reply,
        markers: false,
        crc: request.crc,
        rejected: true,
        revision: request.revision,
        enhanced: request.enhanced.map(|_| Enhanced { peer_to_peer: None, ird: Some(0), ord: Some(0) }),
        private_data,
    }
}

/// What holds at the initiator after a reply that does not reject.
pub fn conclude(offer: &Offer, reply: &Frame<'_>) -> Result<Agreed, MpaError> {
    // spec: IW-ENH-05
    if reply.revision != offer.revision || reply.enhanced.is_some() != (offer.revision == Revision::Two) {
        return Err(MpaError::Form);
    }
    let mut agreed = Agreed {
        // spec: IW-MPA-11
        crc: reply.crc || offer.crc == CrcPolicy::Required,
        // spec: IW-MRK-02
        send_markers: reply.markers,
        ird: offer.ird(),
        ord: offer.ord,
        rtr: None,
    };
    if let Some(theirs) = reply.enhanced {
        // spec: IW-ENH-08
        if let Some(ird) = theirs.ird {
            agreed.ord = agreed.ord.min(ird);
        }
        if let Some(wanted) = theirs.ord
            && wanted > agreed.ird
        {
            return Err(MpaError::InsufficientIrd { wanted, offered: agreed.ird });
        }
        // A peer that was not asked has nothing to say about first messages.
        // spec: IW-ENH-10
        if !offer.rtr.is_empty()
            && let Some(kinds) = theirs.peer_to_peer
        {
            agreed.rtr = Some((kinds & offer.rtr).first().ok_or(MpaError::NoCommonRtr)?);
        }
    }
    Ok(agreed)
}
