//! The headers as they lie on the wire, little-endian by type and without alignment, so that a received one is read
//! where it is.
//!
//! Field names are the specification's. Reserved fields are written as zero and never read.

// spec: TCP-QUE-06
use nvmf_wire::{Cqe, Sqe};
use zerocopy::{
    FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned,
    little_endian::{U16, U32},
};

use super::{
    layout::Layout,
    types::{Flags, Kind, PduType},
    violation::FatalErrorStatus,
};

/// What every PDU starts with (NVMe/TCP Transport 1.0 §3.6.2.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct CommonHeader {
    /// Which PDU this is.
    pub pdu_type: PduType,
    /// What is present, and what this PDU ends.
    pub flags: Flags,
    /// Bytes of header without digest.
    pub hlen: u8,
    /// Where data starts, counted from the first byte of the PDU; zero if there is none.
    pub pdo: u8,
    /// Bytes of the whole PDU with header, digests, padding and data.
    pub plen: U32,
}

impl CommonHeader {
    /// The common header of a PDU laid out as `layout`; `extra` are flags besides the two digest flags.
    #[inline]
    pub fn new(kind: Kind, extra: Flags, layout: &Layout) -> Self {
        // spec: TCP-CH-01, TCP-CH-02, TCP-CH-06, TCP-CH-08
        CommonHeader {
            pdu_type: kind.pdu_type(),
            flags: extra
                .with_if(Flags::HDGSTF, layout.has_header_digest())
                .with_if(Flags::DDGSTF, layout.has_data_digest()),
            hlen: kind.header_len(),
            pdo: layout.pdo(),
            plen: U32::new(layout.plen()),
        }
    }
}

/// Initialize Connection Request (NVMe/TCP Transport 1.0 §3.6.2.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct IcReq {
    /// Common header.
    pub ch: CommonHeader,
    /// PDU format version.
    pub pfv: U16,
    /// Alignment the host wants for data sent to it, in dwords, 0's based.
    pub hpda: u8,
    /// Digests the host offers: bit 0 header, bit 1 data.
    pub dgst: u8,
    /// R2Ts the host takes for one command at a time, 0's based.
    pub maxr2t: U32,
    /// Reserved.
    pub reserved: [u8; 112],
}

/// Initialize Connection Response (NVMe/TCP Transport 1.0 §3.6.2.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct IcResp {
    /// Common header.
    pub ch: CommonHeader,
    /// PDU format version.
    pub pfv: U16,
    /// Alignment the controller wants for data sent to it, in dwords, 0's based.
    pub cpda: u8,
    /// Digests that are in use from now on: bit 0 header, bit 1 data.
    pub dgst: u8,
    /// Most data bytes the controller takes in one H2CData PDU.
    pub maxh2cdata: U32,
    /// Reserved.
    pub reserved: [u8; 112],
}

/// H2CTermReq and C2HTermReq up to the offending header they carry (NVMe/TCP Transport 1.0 §3.6.2.4, §3.6.2.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct TermReqHeader {
    /// Common header.
    pub ch: CommonHeader,
    /// What is wrong.
    pub fes: FatalErrorStatus,
    /// Where it is wrong; its meaning depends on the status.
    pub fei: U32,
    /// Reserved.
    pub reserved: [u8; 10],
}

/// Command capsule, up to its in-capsule data (NVMe/TCP Transport 1.0 §3.6.2.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct CapsuleCmd {
    /// Common header.
    pub ch: CommonHeader,
    /// The submission queue entry.
    pub sqe: Sqe,
}

/// Response capsule (NVMe/TCP Transport 1.0 §3.6.2.7).
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct CapsuleResp {
    /// Common header.
    pub ch: CommonHeader,
    /// The completion queue entry.
    pub cqe: Cqe,
}

/// Data from the host, up to the data (NVMe/TCP Transport 1.0 §3.6.2.8).
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct H2cData {
    /// Common header.
    pub ch: CommonHeader,
    /// Identifier of the command the data belongs to.
    pub cccid: U16,
    /// Transfer tag of the R2T this answers.
    pub ttag: U16,
    /// Offset of this data from the start of the command's data.
    pub datao: U32,
    /// Bytes of data.
    pub datal: U32,
    /// Reserved.
    pub reserved: [u8; 4],
}

/// Data from the controller, up to the data (NVMe/TCP Transport 1.0 §3.6.2.9).
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct C2hData {
    /// Common header.
    pub ch: CommonHeader,
    /// Identifier of the command the data belongs to.
    pub cccid: U16,
    /// Reserved.
    pub reserved0: [u8; 2],
    /// Offset of this data from the start of the command's data.
    pub datao: U32,
    /// Bytes of data.
    pub datal: U32,
    /// Reserved.
    pub reserved1: [u8; 4],
}

/// Ready to Transfer (NVMe/TCP Transport 1.0 §3.6.2.10).
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct R2t {
    /// Common header.
    pub ch: CommonHeader,
    /// Identifier of the command whose data is asked for.
    pub cccid: U16,
    /// Tag the host repeats in every H2CData PDU that answers this.
    pub ttag: U16,
    /// Offset of the wanted data from the start of the command's data.
    pub r2to: U32,
    /// Bytes wanted.
    pub r2tl: U32,
    /// Reserved.
    pub reserved: [u8; 4],
}

impl H2cData {
    /// Whether this is the last data of its R2T.
    #[inline]
    pub fn is_last(&self) -> bool {
        self.ch.flags.has(Flags::LAST_PDU)
    }
}

impl C2hData {
    /// Whether this is the last data of its command.
    #[inline]
    pub fn is_last(&self) -> bool {
        self.ch.flags.has(Flags::LAST_PDU)
    }

    /// Whether this completes the command with success.
    #[inline]
    pub fn is_success(&self) -> bool {
        self.ch.flags.has(Flags::SUCCESS)
    }
}

const _: () = {
    assert!(size_of::<CommonHeader>() == super::COMMON_HEADER_LEN);
    assert!(size_of::<IcReq>() == 128);
    assert!(size_of::<IcResp>() == 128);
    assert!(size_of::<TermReqHeader>() == super::TERM_REQ_HEADER_LEN);
    assert!(size_of::<CapsuleCmd>() == 72);
    assert!(size_of::<CapsuleResp>() == 24);
    assert!(size_of::<H2cData>() == 24);
    assert!(size_of::<C2hData>() == 24);
    assert!(size_of::<R2t>() == 24);
};
