//! PDUs, commands and the CRC, made and read by hand.
//!
//! On purpose not the codec of `nvmf-tcp` and not the structures of `nvmf-wire`: a second, small reading of the
//! specifications, so that an error in those is seen here. Offsets are those of NVMe/TCP Transport 1.0 §3.6 and of
//! NVMe Base 2.0 §3.3.3.

/// PDU types (NVMe/TCP Transport 1.0 §3.6.1).
pub mod kind {
    /// ICReq.
    pub const IC_REQ: u8 = 0x00;
    /// ICResp.
    pub const IC_RESP: u8 = 0x01;
    /// H2CTermReq.
    pub const H2C_TERM_REQ: u8 = 0x02;
    /// C2HTermReq.
    pub const C2H_TERM_REQ: u8 = 0x03;
    /// CapsuleCmd.
    pub const CAPSULE_CMD: u8 = 0x04;
    /// CapsuleResp.
    pub const CAPSULE_RESP: u8 = 0x05;
    /// H2CData.
    pub const H2C_DATA: u8 = 0x06;
    /// C2HData.
    pub const C2H_DATA: u8 = 0x07;
    /// R2T.
    pub const R2T: u8 = 0x09;
}

/// Flag bits of the common header.
pub mod flag {
    /// A header digest is there.
    pub const HDGST: u8 = 1;
    /// A data digest is there.
    pub const DDGST: u8 = 1 << 1;
    /// The last PDU of a transfer.
    pub const LAST: u8 = 1 << 2;
    /// The command succeeded and there will be no capsule.
    pub const SUCCESS: u8 = 1 << 3;
}

/// CRC32C, bit by bit (RFC 3720 §12.1): reflected, polynomial 1EDC6F41h.
#[must_use]
pub fn crc32c(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for &byte in bytes {
        crc ^= u32::from(byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { (crc >> 1) ^ 0x82f6_3b78 } else { crc >> 1 };
        }
    }
    !crc
}

/// What both sides agreed on, as far as it shapes PDUs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Shape {
    /// Header digests.
    pub hdgst: bool,
    /// Data digests.
    pub ddgst: bool,
    /// The alignment of data towards the receiver, 0's based, in dwords (CPDA or HPDA).
    pub pda: u8,
}

/// An ICReq: PFV 0, no digests, one R2T, no alignment. Cases change bytes of it.
#[must_use]
pub fn ic_req() -> [u8; 128] {
    let mut pdu = [0; 128];
    pdu[2] = 128;
    pdu[4] = 128;
    pdu
}

/// An ICResp: PFV 0, no digests, no alignment, MAXH2CDATA 131072.
#[must_use]
pub fn ic_resp() -> [u8; 128] {
    let mut pdu = [0; 128];
    pdu[0] = kind::IC_RESP;
    pdu[2] = 128;
    pdu[4] = 128;
    pdu[12..16].copy_from_slice(&131_072u32.to_le_bytes());
    pdu
}

/// A PDU of a header (from its fifth dword on) and data, with digests and padding as the shape says.
#[must_use]
pub fn pdu(kind: u8, flags: u8, header: &[u8], data: &[u8], shape: Shape) -> Vec<u8> {
    let hlen = 8 + header.len();
    let mut bytes = vec![kind, flags, hlen as u8, 0, 0, 0, 0, 0];
    bytes.extend_from_slice(header);
    if shape.hdgst {
        bytes[1] |= flag::HDGST;
    }
    let unit = (usize::from(shape.pda) + 1) * 4;
    let head = hlen + if shape.hdgst { 4 } else { 0 };
    let pdo = if data.is_empty() { 0 } else { head.next_multiple_of(unit) };
    let mut plen = if data.is_empty() { head } else { pdo + data.len() };
    if shape.ddgst && !data.is_empty() {
        bytes[1] |= flag::DDGST;
        plen += 4;
    }
    bytes[3] = pdo as u8;
    bytes[4..8].copy_from_slice(&(plen as u32).to_le_bytes());
    if shape.hdgst {
        let digest = crc32c(&bytes);
        bytes.extend_from_slice(&digest.to_le_bytes());
    }
    if !data.is_empty() {
        // Not zeroes: nobody may look at padding, and no digest covers it.
        bytes.resize(pdo, 0xa5);
        bytes.extend_from_slice(data);
        if shape.ddgst {
            bytes.extend_from_slice(&crc32c(data).to_le_bytes());
        }
    }
    bytes
}

/// A submission queue entry by its bytes.
#[derive(Clone, Copy, Debug)]
pub struct Sqe(pub [u8; 64]);

/// SGL identifiers (NVMe Base 2.0 §4.1.2; NVMe-oF 1.1 §2.3.1).
pub mod sgl {
    /// Data block, address an offset: in the capsule.
    pub const IN_CAPSULE: u8 = 0x01;
    /// Transport data block, sub type Ah.
    pub const TRANSPORT: u8 = 0x5a;
}

impl Sqe {
    /// A command with SGLs and without data.
    #[must_use]
    pub fn new(opcode: u8, cid: u16) -> Self {
        let mut bytes = [0; 64];
        bytes[0] = opcode;
        bytes[1] = 0x40;
        bytes[2..4].copy_from_slice(&cid.to_le_bytes());
        Self(bytes).with_sgl(sgl::TRANSPORT, 0, 0)
    }

    /// The same with bytes changed.
    #[must_use]
    pub fn with(mut self, at: usize, bytes: &[u8]) -> Self {
        self.0[at..at + bytes.len()].copy_from_slice(bytes);
        self
    }

    /// The same with a dword changed.
    #[must_use]
    pub fn with_dword(self, dword: usize, value: u32) -> Self {
        self.with(dword * 4, &value.to_le_bytes())
    }

    /// The same with another data pointer.
    #[must_use]
    pub fn with_sgl(self, identifier: u8, address: u64, length: u32) -> Self {
        let mut descriptor = [0; 16];
        descriptor[..8].copy_from_slice(&address.to_le_bytes());
        descriptor[8..12].copy_from_slice(&length.to_le_bytes());
        descriptor[15] = identifier;
        self.with(24, &descriptor)
    }

    /// A Fabrics command.
    #[must_use]
    pub fn fabrics(fctype: u8, cid: u16) -> Self {
        Self::new(0x7f, cid).with(4, &[fctype])
    }

    /// Property Get: `wide` for 8 bytes.
    #[must_use]
    pub fn property_get(offset: u32, wide: bool, cid: u16) -> Self {
        Self::fabrics(0x04, cid).with(40, &[u8::from(wide)]).with_dword(11, offset)
    }

    /// Property Set of 4 bytes.
    #[must_use]
    pub fn property_set(offset: u32, value: u32, cid: u16) -> Self {
        Self::fabrics(0x00, cid).with_dword(11, offset).with_dword(12, value)
    }

    /// Read or Write of blocks.
    #[must_use]
    pub fn rw(opcode: u8, nsid: u32, slba: u64, blocks: u32, cid: u16) -> Self {
        let nlb = blocks.saturating_sub(1);
        Self::new(opcode, cid).with_dword(1, nsid).with(40, &slba.to_le_bytes()).with_dword(12, nlb)
    }
}

/// Read.
pub const READ: u8 = 0x02;
/// Write.
pub const WRITE: u8 = 0x01;
/// Flush.
pub const FLUSH: u8 = 0x00;

/// A CapsuleCmd.
#[must_use]
pub fn capsule_cmd(sqe: Sqe, data: &[u8], shape: Shape) -> Vec<u8> {
    pdu(kind::CAPSULE_CMD, 0, &sqe.0, data, shape)
}

/// A CapsuleResp.
#[must_use]
pub fn capsule_resp(cid: u16, status: u16, shape: Shape) -> Vec<u8> {
    let mut cqe = [0; 16];
    cqe[12..14].copy_from_slice(&cid.to_le_bytes());
    cqe[14..16].copy_from_slice(&(status << 1).to_le_bytes());
    pdu(kind::CAPSULE_RESP, 0, &cqe, &[], shape)
}

/// The header of H2CData and C2HData from its fifth dword on.
#[must_use]
pub fn data_header(cccid: u16, ttag: u16, offset: u32, len: u32) -> [u8; 16] {
    let mut header = [0; 16];
    header[..2].copy_from_slice(&cccid.to_le_bytes());
    header[2..4].copy_from_slice(&ttag.to_le_bytes());
    header[4..8].copy_from_slice(&offset.to_le_bytes());
    header[8..12].copy_from_slice(&len.to_le_bytes());
    header
}

/// An H2CData.
#[must_use]
pub fn h2c_data(cccid: u16, ttag: u16, offset: u32, data: &[u8], last: bool, shape: Shape) -> Vec<u8> {
    let header = data_header(cccid, ttag, offset, data.len() as u32);
    pdu(kind::H2C_DATA, if last { flag::LAST } else { 0 }, &header, data, shape)
}

/// A C2HData.
#[must_use]
pub fn c2h_data(cccid: u16, offset: u32, data: &[u8], flags: u8, shape: Shape) -> Vec<u8> {
    let header = data_header(cccid, 0, offset, data.len() as u32);
    pdu(kind::C2H_DATA, flags, &header, data, shape)
}

/// An R2T.
#[must_use]
pub fn r2t(cccid: u16, ttag: u16, offset: u32, len: u32, shape: Shape) -> Vec<u8> {
    pdu(kind::R2T, 0, &data_header(cccid, ttag, offset, len), &[], shape)
}

/// A termination request with the offending header behind it. Never with a digest (NVMe/TCP Transport 1.0 §3.6.2.4).
#[must_use]
pub fn term_req(kind: u8, fes: u16, fei: u32, offender: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; 24];
    bytes[0] = kind;
    bytes[2] = 24;
    bytes[4..8].copy_from_slice(&(24 + offender.len() as u32).to_le_bytes());
    bytes[8..10].copy_from_slice(&fes.to_le_bytes());
    bytes[10..14].copy_from_slice(&fei.to_le_bytes());
    bytes.extend_from_slice(offender);
    bytes
}

/// A PDU that was received, in its parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pdu {
    /// The whole of it.
    pub bytes: Vec<u8>,
}

impl Pdu {
    /// The type.
    #[must_use]
    pub fn kind(&self) -> u8 {
        self.byte(0)
    }

    /// The flags.
    #[must_use]
    pub fn flags(&self) -> u8 {
        self.byte(1)
    }

    /// HLEN.
    #[must_use]
    pub fn hlen(&self) -> usize {
        self.byte(2).into()
    }

    /// PDO.
    #[must_use]
    pub fn pdo(&self) -> usize {
        self.byte(3).into()
    }

    /// One byte; 0 beyond the end.
    #[must_use]
    pub fn byte(&self, at: usize) -> u8 {
        self.bytes.get(at).copied().unwrap_or(0)
    }

    /// Two bytes as a number; 0 beyond the end.
    #[must_use]
    pub fn u16(&self, at: usize) -> u16 {
        u16::from_le_bytes([self.byte(at), self.byte(at + 1)])
    }

    /// Four bytes as a number; 0 beyond the end.
    #[must_use]
    pub fn u32(&self, at: usize) -> u32 {
        u32::from(self.u16(at)) | u32::from(self.u16(at + 2)) << 16
    }

    /// CCCID of a data PDU or R2T, CID of a completion.
    #[must_use]
    pub fn cid(&self) -> u16 {
        if self.kind() == kind::CAPSULE_RESP { self.u16(20) } else { self.u16(8) }
    }

    /// The status of a completion: SCT and SC, without the retry bits.
    #[must_use]
    pub fn status(&self) -> u16 {
        (self.u16(22) >> 1) & 0x7ff
    }

    /// DATAO or R2TO.
    #[must_use]
    pub fn offset(&self) -> u32 {
        self.u32(12)
    }

    /// DATAL or R2TL.
    #[must_use]
    pub fn length(&self) -> u32 {
        self.u32(16)
    }

    /// FES and FEI of a termination request.
    #[must_use]
    pub fn fatal(&self) -> (u16, u32) {
        (self.u16(8), self.u32(10))
    }

    /// The data of a data PDU or capsule.
    #[must_use]
    pub fn data(&self) -> &[u8] {
        let end = self.bytes.len() - if self.flags() & flag::DDGST != 0 { 4 } else { 0 };
        if self.pdo() == 0 { &[] } else { self.bytes.get(self.pdo()..end).unwrap_or_default() }
    }

    /// What is wrong with the digests, given what was agreed on.
    #[must_use]
    pub fn digest_fault(&self, shape: Shape) -> Option<String> {
        let flags = self.flags();
        if (flags & flag::HDGST != 0) != shape.hdgst {
            return Some(format!("HDGSTF in {flags:#04x}, agreed on: {}", shape.hdgst));
        }
        let has_data = self.pdo() != 0;
        if (flags & flag::DDGST != 0) != (shape.ddgst && has_data) {
            return Some(format!("DDGSTF in {flags:#04x}, agreed on: {}, PDO {}", shape.ddgst, self.pdo()));
        }
        if shape.hdgst && self.u32(self.hlen()) != crc32c(self.bytes.get(..self.hlen()).unwrap_or_default()) {
            return Some("the header digest is wrong".into());
        }
        if shape.ddgst && has_data && self.u32(self.bytes.len() - 4) != crc32c(self.data()) {
            return Some("the data digest is wrong".into());
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_crc_is_that_of_the_standard() {
        // RFC 3720 §B.4.
        assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
        assert_eq!(crc32c(&[0xff; 32]), 0x62a8_ab43);
        let up: Vec<u8> = (0..32).collect();
        let down: Vec<u8> = (0..32).rev().collect();
        assert_eq!(crc32c(&up), 0x46dd_794e);
        assert_eq!(crc32c(&down), 0x113f_db5c);
    }
}
