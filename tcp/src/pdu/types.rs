//! The small words of the protocol: roles, PDU types, flags.
//!
//! [`PduType`] is what stands on the wire and may hold anything; [`Kind`] is one of the nine PDUs that exist.

use std::fmt;

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Which end of the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// Sends commands; opened the TCP connection.
    Host,
    /// Answers commands; accepted the TCP connection.
    Controller,
}

impl Role {
    /// The other end.
    pub const fn peer(self) -> Role {
        match self {
            Role::Host => Role::Controller,
            Role::Controller => Role::Host,
        }
    }
}

/// PDU type as found on the wire; any value can be held (NVMe/TCP Transport 1.0 §3.3, Figure 10).
#[derive(Clone, Copy, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(transparent)]
pub struct PduType(pub u8);

impl PduType {
    /// Initialize Connection Request, host to controller.
    pub const IC_REQ: Self = Self(0x00);
    /// Initialize Connection Response, controller to host.
    pub const IC_RESP: Self = Self(0x01);
    /// Termination request of the host.
    pub const H2C_TERM_REQ: Self = Self(0x02);
    /// Termination request of the controller.
    pub const C2H_TERM_REQ: Self = Self(0x03);
    /// Command capsule.
    pub const CAPSULE_CMD: Self = Self(0x04);
    /// Response capsule.
    pub const CAPSULE_RESP: Self = Self(0x05);
    /// Data from the host.
    pub const H2C_DATA: Self = Self(0x06);
    /// Data from the controller.
    pub const C2H_DATA: Self = Self(0x07);
    /// Ready to Transfer.
    pub const R2T: Self = Self(0x09);
}

impl fmt::Debug for PduType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match Kind::new(*self) {
            Some(kind) => write!(f, "{}", kind.name()),
            None => write!(f, "PduType({:#04x})", self.0),
        }
    }
}

/// A PDU that exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Initialize Connection Request.
    IcReq,
    /// Initialize Connection Response.
    IcResp,
    /// Termination request of the host.
    H2cTermReq,
    /// Termination request of the controller.
    C2hTermReq,
    /// Command capsule.
    CapsuleCmd,
    /// Response capsule.
    CapsuleResp,
    /// Data from the host.
    H2cData,
    /// Data from the controller.
    C2hData,
    /// Ready to Transfer.
    R2t,
}

impl Kind {
    /// Every PDU, in the order of its type value.
    pub const ALL: [Kind; 9] = [
        Kind::IcReq,
        Kind::IcResp,
        Kind::H2cTermReq,
        Kind::C2hTermReq,
        Kind::CapsuleCmd,
        Kind::CapsuleResp,
        Kind::H2cData,
        Kind::C2hData,
        Kind::R2t,
    ];

    /// The PDU of a type value, if there is one.
    #[inline]
    pub const fn new(pdu_type: PduType) -> Option<Kind> {
        Some(match pdu_type {
            PduType::IC_REQ => Kind::IcReq,
            PduType::IC_RESP => Kind::IcResp,
            PduType::H2C_TERM_REQ => Kind::H2cTermReq,
            PduType::C2H_TERM_REQ => Kind::C2hTermReq,
            PduType::CAPSULE_CMD => Kind::CapsuleCmd,
            PduType::CAPSULE_RESP => Kind::CapsuleResp,
            PduType::H2C_DATA => Kind::H2cData,
            PduType::C2H_DATA => Kind::C2hData,
            PduType::R2T => Kind::R2t,
            _ => return None,
        })
    }

    /// The type value.
    #[inline]
    pub const fn pdu_type(self) -> PduType {
        match self {
            Kind::IcReq => PduType::IC_REQ,
            Kind::IcResp => PduType::IC_RESP,
            Kind::H2cTermReq => PduType::H2C_TERM_REQ,
            Kind::C2hTermReq => PduType::C2H_TERM_REQ,
            Kind::CapsuleCmd => PduType::CAPSULE_CMD,
            Kind::CapsuleResp => PduType::CAPSULE_RESP,
            Kind::H2cData => PduType::H2C_DATA,
            Kind::C2hData => PduType::C2H_DATA,
            Kind::R2t => PduType::R2T,
        }
    }

    /// The specification's name.
    pub const fn name(self) -> &'static str {
        match self {
            Kind::IcReq => "ICReq",
            Kind::IcResp => "ICResp",
            Kind::H2cTermReq => "H2CTermReq",
            Kind::C2hTermReq => "C2HTermReq",
            Kind::CapsuleCmd => "CapsuleCmd",
            Kind::CapsuleResp => "CapsuleResp",
            Kind::H2cData => "H2CData",
            Kind::C2hData => "C2HData",
            Kind::R2t => "R2T",
        }
    }

    /// Who receives it.
    #[inline]
    pub const fn receiver(self) -> Role {
        // Even types go to the controller, odd ones to the host.
        if self.pdu_type().0 & 1 == 0 { Role::Controller } else { Role::Host }
    }

    /// HLEN: bytes of the common and the type's own header, without digest.
    #[inline]
    pub const fn header_len(self) -> u8 {
        // spec: TCP-CH-04
        match self {
            Kind::IcReq | Kind::IcResp => 128,
            Kind::CapsuleCmd => 72,
            Kind::H2cTermReq
            | Kind::C2hTermReq
            | Kind::CapsuleResp
            | Kind::H2cData
            | Kind::C2hData
            | Kind::R2t => 24,
        }
    }

    /// The flags that are defined for it.
    #[inline]
    pub const fn flags(self) -> Flags {
        match self {
            Kind::IcReq | Kind::IcResp | Kind::H2cTermReq | Kind::C2hTermReq => Flags(0),
            Kind::CapsuleResp | Kind::R2t => Flags::HDGSTF,
            Kind::CapsuleCmd => Flags(Flags::HDGSTF.0 | Flags::DDGSTF.0),
            Kind::H2cData => Flags(Flags::HDGSTF.0 | Flags::DDGSTF.0 | Flags::LAST_PDU.0),
            Kind::C2hData => Flags(Flags::HDGSTF.0 | Flags::DDGSTF.0 | Flags::LAST_PDU.0 | Flags::SUCCESS.0),
        }
    }

    /// Whether it may carry data (and so a data digest and padding).
    #[inline]
    pub const fn carries_data(self) -> bool {
        matches!(self, Kind::CapsuleCmd | Kind::H2cData | Kind::C2hData)
    }

    /// Whether digests never apply to it, whatever was negotiated.
    #[inline]
    pub const fn is_outside_negotiation(self) -> bool {
        matches!(self, Kind::IcReq | Kind::IcResp | Kind::H2cTermReq | Kind::C2hTermReq)
    }
}

/// The FLAGS byte of the common header.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned,
)]
#[repr(transparent)]
pub struct Flags(pub u8);

impl Flags {
    /// A header digest follows the header.
    pub const HDGSTF: Self = Self(1 << 0);
    /// A data digest follows the data.
    pub const DDGSTF: Self = Self(1 << 1);
    /// The last data PDU of a transfer.
    pub const LAST_PDU: Self = Self(1 << 2);
    /// This C2HData PDU also completes the command with success; no CapsuleResp follows.
    pub const SUCCESS: Self = Self(1 << 3);

    /// Whether all of `other`'s bits are set.
    #[inline]
    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// With `other`'s bits set when `condition` holds.
    #[inline]
    #[must_use]
    pub const fn with_if(self, other: Self, condition: bool) -> Self {
        if condition { Self(self.0 | other.0) } else { self }
    }

    /// The bits that are not in `known`.
    #[inline]
    #[must_use]
    pub const fn outside(self, known: Self) -> Self {
        Self(self.0 & !known.0)
    }
}
