//! The encoder: writes everything of a PDU that comes before its data.
//!
//! Header, header digest and padding go into a slice of the caller's; data and data digest are the caller's own,
//! because data is sent from where it lies. Nothing here allocates.

use nvmf_wire::{Cqe, Sqe};
use zerocopy::{
    Immutable, IntoBytes,
    little_endian::{U16, U32},
};

use super::{
    headers::{C2hData, CapsuleCmd, CapsuleResp, CommonHeader, H2cData, R2t},
    layout::{Alignment, Digests, Layout},
    types::{Flags, Kind},
};
use crate::digest::crc32c;

/// What a sender puts into its PDUs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sender {
    /// The digests negotiated.
    pub digests: Digests,
    /// The alignment the peer asked for: CPDA on a host, HPDA on a controller.
    pub alignment: Alignment,
}

/// What was written for one PDU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Encoded {
    /// Bytes written: header, header digest, padding. The data belongs right behind them.
    pub len: usize,
    /// Where the parts lie; says whether a data digest belongs behind the data.
    pub layout: Layout,
}

/// The fields of one H2CData PDU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DataToController {
    /// Identifier of the command.
    pub cccid: u16,
    /// Transfer tag of the R2T that is answered.
    pub ttag: u16,
    /// Offset from the start of the command's data.
    pub offset: u32,
    /// Bytes of data, at most MAXH2CDATA.
    pub length: u32,
    /// Whether this ends the R2T.
    pub last: bool,
}

/// The fields of one C2HData PDU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DataToHost {
    /// Identifier of the command.
    pub cccid: u16,
    /// Offset from the start of the command's data.
    pub offset: u32,
    /// Bytes of data.
    pub length: u32,
    /// Whether this ends the command's data.
    pub last: bool,
    /// Whether this completes the command with success; only together with `last`.
    pub success: bool,
}

impl Sender {
    /// A CapsuleCmd with `data_len` bytes of in-capsule data. `None` if `out` is too short, as for all of these.
    #[inline]
    pub fn capsule_cmd(&self, sqe: &Sqe, data_len: u32, out: &mut [u8]) -> Option<Encoded> {
        // spec: TCP-CMD-01
        let layout = self.layout(Kind::CapsuleCmd, data_len);
        let ch = CommonHeader::new(Kind::CapsuleCmd, Flags(0), &layout);
        put(&CapsuleCmd { ch, sqe: *sqe }, layout, out)
    }

    /// A CapsuleResp.
    #[inline]
    pub fn capsule_resp(&self, cqe: &Cqe, out: &mut [u8]) -> Option<Encoded> {
        // spec: TCP-RSP-01
        let layout = self.layout(Kind::CapsuleResp, 0);
        let ch = CommonHeader::new(Kind::CapsuleResp, Flags(0), &layout);
        put(&CapsuleResp { ch, cqe: *cqe }, layout, out)
    }

    /// An H2CData; its `length` bytes of data belong behind it.
    #[inline]
    pub fn h2c_data(&self, data: &DataToController, out: &mut [u8]) -> Option<Encoded> {
        // spec: TCP-H2C-03, TCP-H2C-04
        let layout = self.layout(Kind::H2cData, data.length);
        let flags = Flags::default().with_if(Flags::LAST_PDU, data.last);
        let header = H2cData {
            ch: CommonHeader::new(Kind::H2cData, flags, &layout),
            cccid: U16::new(data.cccid),
            ttag: U16::new(data.ttag),
            datao: U32::new(data.offset),
            datal: U32::new(layout.data_len()),
            reserved: [0; 4],
        };
        put(&header, layout, out)
    }

    /// A C2HData; its `length` bytes of data belong behind it. SUCCESS is left out where `last` is not set.
    #[inline]
    pub fn c2h_data(&self, data: &DataToHost, out: &mut [u8]) -> Option<Encoded> {
        // spec: TCP-C2H-02, TCP-C2H-08
        debug_assert!(data.last || !data.success);
        let layout = self.layout(Kind::C2hData, data.length);
        let flags = Flags::default()
            .with_if(Flags::LAST_PDU, data.last)
            .with_if(Flags::SUCCESS, data.success && data.last);
        let header = C2hData {
            ch: CommonHeader::new(Kind::C2hData, flags, &layout),
            cccid: U16::new(data.cccid),
            reserved0: [0; 2],
            datao: U32::new(data.offset),
            datal: U32::new(layout.data_len()),
            reserved1: [0; 4],
        };
        put(&header, layout, out)
    }

    /// An R2T that asks for `length` bytes of the command `cccid` from `offset` on, under the tag `ttag`.
    #[inline]
    pub fn r2t(&self, cccid: u16, ttag: u16, offset: u32, length: u32, out: &mut [u8]) -> Option<Encoded> {
        // spec: TCP-R2T-02
        let layout = self.layout(Kind::R2t, 0);
        let header = R2t {
            ch: CommonHeader::new(Kind::R2t, Flags(0), &layout),
            cccid: U16::new(cccid),
            ttag: U16::new(ttag),
            r2to: U32::new(offset),
            r2tl: U32::new(length),
            reserved: [0; 4],
        };
        put(&header, layout, out)
    }

    /// The layout of a PDU with `data_len` bytes of data.
    #[inline]
    pub const fn layout(&self, kind: Kind, data_len: u32) -> Layout {
        Layout::new(kind, self.digests, self.alignment, data_len)
    }
}

#[inline]
fn put<T: IntoBytes + Immutable>(header: &T, layout: Layout, out: &mut [u8]) -> Option<Encoded> {
    let len = layout.data_start();
    let bytes = header.as_bytes();
    let (head, rest) = out.get_mut(..len)?.split_at_mut_checked(bytes.len())?;
    head.copy_from_slice(bytes);
    let padding = if layout.has_header_digest() {
        // spec: TCP-DG-05, TCP-DG-06
        let (digest, padding) = rest.split_first_chunk_mut()?;
        *digest = crc32c(bytes).to_le_bytes();
        padding
    } else {
        rest
    };
    // spec: TCP-PAD-02
    padding.fill(0);
    Some(Encoded { len, layout })
}
