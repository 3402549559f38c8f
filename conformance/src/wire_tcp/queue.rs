//! A queue of the tester towards a target: negotiated, connected, with commands by hand.

use std::collections::HashMap;

use super::{
    Target,
    bytes::{self, Pdu, READ, Shape, Sqe, WRITE, kind, sgl},
    link::{Heard, Link},
};
use crate::{Stop, Verdict, check, check_eq};

/// What ICReq asks for.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ask {
    /// HPDA.
    pub hpda: u8,
    /// Header digests.
    pub hdgst: bool,
    /// Data digests.
    pub ddgst: bool,
    /// MAXR2T, 0's based.
    pub maxr2t: u32,
}

impl Ask {
    /// Both digests and no alignment.
    pub const DIGESTS: Self = Self { hpda: 0, hdgst: true, ddgst: true, maxr2t: 0 };

    /// The bytes.
    #[must_use]
    pub fn ic_req(self) -> [u8; 128] {
        let mut pdu = bytes::ic_req();
        pdu[10] = self.hpda;
        pdu[11] = u8::from(self.hdgst) | u8::from(self.ddgst) << 1;
        pdu[12..16].copy_from_slice(&self.maxr2t.to_le_bytes());
        pdu
    }
}

/// A queue.
#[derive(Debug)]
pub struct Queue {
    /// The connection.
    pub link: Link,
    /// What was asked for.
    pub ask: Ask,
    /// MAXH2CDATA.
    pub max_h2c_data: u32,
    /// CPDA.
    pub cpda: u8,
    /// The controller, once connected.
    pub cntlid: u16,
    next_cid: u16,
}

/// A command and all that came back for it.
#[derive(Clone, Debug, Default)]
pub struct Answer {
    /// The data, put together.
    pub data: Vec<u8>,
    /// SCT and SC.
    pub status: u16,
    /// Dword 0 of the completion.
    pub dw0: u32,
    /// SQHD of the completion.
    pub sqhd: u16,
    /// Whether success was folded into the data.
    pub folded: bool,
    /// R2Ts that came, as offset and length.
    pub r2ts: Vec<(u32, u32)>,
    /// C2HData PDUs that came.
    pub data_pdus: usize,
}

/// Entries of the tester's queues.
pub const ENTRIES: u16 = 32;

impl Queue {
    /// Connects and negotiates; no command yet.
    pub fn negotiated(target: &Target, ask: Ask) -> Result<Self, Stop> {
        let mut link = Link::connect(target.address)?;
        link.send(&ask.ic_req())?;
        let reply = link.expect(kind::IC_RESP)?;
        check_eq!(reply.bytes.len(), 128, "PLEN of ICResp");
        check_eq!(reply.hlen(), 128, "HLEN of ICResp");
        check_eq!((reply.flags(), reply.pdo(), reply.u16(8)), (0, 0, 0), "flags, PDO and PFV of ICResp");
        let granted = (reply.byte(11) & 1 != 0, reply.byte(11) & 2 != 0);
        check!(reply.byte(11) & !3 == 0, "DGST {:02x}", reply.byte(11));
        check!(!granted.0 || ask.hdgst, "a header digest nobody offered");
        check!(!granted.1 || ask.ddgst, "a data digest nobody offered");
        check!(reply.byte(10) <= 31, "CPDA {}", reply.byte(10));
        let max_h2c_data = reply.u32(12);
        check!(max_h2c_data >= 4096 && max_h2c_data.is_multiple_of(4), "MAXH2CDATA {max_h2c_data}");
        check!(reply.bytes[16..].iter().all(|&byte| byte == 0), "reserved bytes of ICResp are set");
        link.ours = Shape { hdgst: granted.0, ddgst: granted.1, pda: reply.byte(10) };
        link.theirs = Shape { hdgst: granted.0, ddgst: granted.1, pda: ask.hpda };
        Ok(Self { link, ask, max_h2c_data, cpda: reply.byte(10), cntlid: 0xffff, next_cid: 1 })
    }

    /// The Connect command of a queue and its data.
    #[must_use]
    pub fn connect_command(
        target: &Target,
        qid: u16,
        cntlid: u16,
        cid: u16,
        flow_control: bool,
    ) -> (Sqe, Vec<u8>) {
        let attributes = if flow_control { 0 } else { 1 << 2 };
        let sqe = Sqe::fabrics(0x01, cid)
            .with(42, &qid.to_le_bytes())
            .with(44, &(ENTRIES - 1).to_le_bytes())
            .with(46, &[attributes])
            .with_sgl(sgl::IN_CAPSULE, 0, 1024);
        let mut data = vec![0; 1024];
        data[..16].copy_from_slice(&[0x5e; 16]);
        data[16..18].copy_from_slice(&cntlid.to_le_bytes());
        data[256..256 + target.subnqn.len()].copy_from_slice(target.subnqn.as_bytes());
        data[512..512 + target.hostnqn.len()].copy_from_slice(target.hostnqn.as_bytes());
        (sqe, data)
    }

    /// Sends Connect and waits for its success.
    pub fn connect(&mut self, target: &Target, qid: u16, cntlid: u16, flow_control: bool) -> Verdict {
        let cid = self.cid();
        let (sqe, data) = Self::connect_command(target, qid, cntlid, cid, flow_control);
        let answer = self.call(sqe, &data)?;
        check_eq!(answer.status, 0, "Connect of queue {qid}");
        self.cntlid = answer.dw0 as u16;
        Ok(())
    }

    /// An admin queue, connected; the controller is enabled.
    pub fn admin_with(target: &Target, ask: Ask) -> Result<Self, Stop> {
        let mut queue = Self::negotiated(target, ask)?;
        queue.connect(target, 0, 0xffff, true)?;
        let cid = queue.cid();
        // EN, IOSQES 6, IOCQES 4.
        let answer = queue.call(Sqe::property_set(0x14, 0x0046_0001, cid), &[])?;
        check_eq!(answer.status, 0, "setting CC");
        for _ in 0..500 {
            let cid = queue.cid();
            if queue.call(Sqe::property_get(0x1c, false, cid), &[])?.dw0 & 1 == 1 {
                return Ok(queue);
            }
            // The target says by CAP.TO how long; asking again is what hosts do.
            std::thread::park_timeout(std::time::Duration::from_millis(10));
        }
        Err(Stop::failed("CSTS.RDY was not set within 5 s"))
    }

    /// An admin queue without digests.
    pub fn admin(target: &Target) -> Result<Self, Stop> {
        Self::admin_with(target, Ask::default())
    }

    /// An admin queue and an I/O queue of its controller.
    pub fn io_with(target: &Target, ask: Ask, flow_control: bool) -> Result<(Self, Self), Stop> {
        let admin = Self::admin(target)?;
        let mut io = Self::negotiated(target, ask)?;
        io.connect(target, 1, admin.cntlid, flow_control)?;
        Ok((admin, io))
    }

    /// The same without digests, with flow control.
    pub fn io(target: &Target) -> Result<(Self, Self), Stop> {
        Self::io_with(target, Ask::default(), true)
    }

    /// A command identifier that is not in use.
    pub fn cid(&mut self) -> u16 {
        self.next_cid = self.next_cid % 0x7fff + 1;
        self.next_cid
    }

    /// Sends a command capsule.
    pub fn send(&mut self, sqe: Sqe, data: &[u8]) -> Verdict {
        self.link.send(&bytes::capsule_cmd(sqe, data, self.link.ours))
    }

    /// Sends a command and waits for its end; data to be fetched is `data` if the SGL is a transport one.
    pub fn call(&mut self, sqe: Sqe, data: &[u8]) -> Result<Answer, Stop> {
        let in_capsule = sqe.0[39] == sgl::IN_CAPSULE;
        self.send(sqe, if in_capsule { data } else { &[] })?;
        let cid = u16::from_le_bytes([sqe.0[2], sqe.0[3]]);
        let mut answers = self.finish(&HashMap::from([(cid, data.to_vec())]))?;
        answers.remove(&cid).ok_or_else(|| Stop::failed("no answer"))
    }

    /// Waits for the end of commands, sending what is asked for; every PDU is checked.
    pub fn finish(&mut self, out: &HashMap<u16, Vec<u8>>) -> Result<HashMap<u16, Answer>, Stop> {
        let mut answers: HashMap<u16, Answer> = HashMap::new();
        let mut open: Vec<u16> = out.keys().copied().collect();
        while !open.is_empty() {
            let pdu = match self.link.hear()? {
                Heard::Pdu(pdu) => pdu,
                other => return Err(Stop::failed(format!("{other:?} while {open:x?} are outstanding"))),
            };
            if let Some(fault) = pdu.digest_fault(self.link.theirs) {
                return Err(Stop::failed(format!("PDU type {:02x}: {fault}", pdu.kind())));
            }
            let cid = pdu.cid();
            check!(
                open.contains(&cid),
                "PDU type {:02x} for command {cid:#x}, which is not outstanding",
                pdu.kind()
            );
            let answer = answers.entry(cid).or_default();
            match pdu.kind() {
                kind::CAPSULE_RESP => {
                    check_eq!(
                        (pdu.hlen(), pdu.bytes.len()),
                        (24, 24 + if self.link.theirs.hdgst { 4 } else { 0 })
                    );
                    (answer.status, answer.dw0, answer.sqhd) = (pdu.status(), pdu.u32(8), pdu.u16(16));
                    open.retain(|other| *other != cid);
                }
                kind::C2H_DATA => {
                    if self.take_data(&pdu, answer)? {
                        open.retain(|other| *other != cid);
                    }
                }
                kind::R2T => {
                    let (offset, len) = (pdu.offset(), pdu.length());
                    check!(len > 0, "an R2T for nothing");
                    let data = out.get(&cid).map(Vec::as_slice).unwrap_or_default();
                    let part = data.get(offset as usize..(offset + len) as usize);
                    let part = part.ok_or_else(|| {
                        Stop::failed(format!("R2T for {len} bytes at {offset} of {}", data.len()))
                    })?;
                    answer.r2ts.push((offset, len));
                    self.send_data(cid, pdu.u16(10), offset, part)?;
                }
                other => {
                    return Err(Stop::failed(format!("PDU type {other:02x} on a queue: {:02x?}", pdu.bytes)));
                }
            }
        }
        Ok(answers)
    }

    /// Checks a C2HData and takes its data; whether it ended the command.
    fn take_data(&self, pdu: &Pdu, answer: &mut Answer) -> Result<bool, Stop> {
        let head = pdu.hlen() + if self.link.theirs.hdgst { 4 } else { 0 };
        let unit = (usize::from(self.ask.hpda) + 1) * 4;
        check_eq!(pdu.hlen(), 24, "HLEN of C2HData");
        check!(
            pdu.pdo() >= head && pdu.pdo().is_multiple_of(unit),
            "PDO {} with HPDA {}",
            pdu.pdo(),
            self.ask.hpda
        );
        check!(
            pdu.pdo() < head + unit,
            "PDO {}: more padding than HPDA {} asks for",
            pdu.pdo(),
            self.ask.hpda
        );
        check_eq!(pdu.length() as usize, pdu.data().len(), "DATAL and PLEN");
        check_eq!(pdu.offset() as usize, answer.data.len(), "DATAO");
        let (last, success) = (pdu.flags() & bytes::flag::LAST != 0, pdu.flags() & bytes::flag::SUCCESS != 0);
        check!(last || !success, "SUCCESS without LAST_PDU");
        answer.data.extend_from_slice(pdu.data());
        answer.data_pdus += 1;
        answer.folded = success;
        Ok(success)
    }

    /// Sends data for an R2T, in PDUs as large as the target takes.
    fn send_data(&mut self, cid: u16, ttag: u16, offset: u32, data: &[u8]) -> Verdict {
        let most = self.max_h2c_data as usize;
        let pieces = data.chunks(most).count();
        for (n, piece) in data.chunks(most).enumerate() {
            let at = offset + (n * most) as u32;
            let pdu = bytes::h2c_data(cid, ttag, at, piece, n + 1 == pieces, self.link.ours);
            self.link.send(&pdu)?;
        }
        Ok(())
    }

    /// Shows that the queue lives.
    pub fn alive(&mut self) -> Verdict {
        let cid = self.cid();
        let answer = self.call(Sqe::property_get(0x08, false, cid), &[])?;
        check_eq!(answer.status, 0, "reading VS");
        check!(answer.dw0 >= 0x0001_0200, "VS {:#x}", answer.dw0);
        Ok(())
    }

    /// Shows that an I/O queue lives.
    pub fn io_alive(&mut self, target: &Target) -> Verdict {
        let cid = self.cid();
        let answer = self.call(Sqe::new(bytes::FLUSH, cid).with_dword(1, target.nsid), &[])?;
        check_eq!(answer.status, 0, "Flush");
        Ok(())
    }

    /// Writes blocks, in the capsule or by R2T.
    pub fn write(
        &mut self,
        target: &Target,
        slba: u64,
        data: &[u8],
        in_capsule: bool,
    ) -> Result<Answer, Stop> {
        let cid = self.cid();
        self.call(write_command(target, slba, data.len(), in_capsule, cid), data)
    }

    /// Reads blocks.
    pub fn read(&mut self, target: &Target, slba: u64, len: usize) -> Result<Answer, Stop> {
        let cid = self.cid();
        self.call(read_command(target, slba, len, cid), &[])
    }
}

/// A Write of `len` bytes.
#[must_use]
pub fn write_command(target: &Target, slba: u64, len: usize, in_capsule: bool, cid: u16) -> Sqe {
    let blocks = len as u32 / target.block_size;
    let identifier = if in_capsule { sgl::IN_CAPSULE } else { sgl::TRANSPORT };
    Sqe::rw(WRITE, target.nsid, slba, blocks, cid).with_sgl(identifier, 0, len as u32)
}

/// A Read of `len` bytes.
#[must_use]
pub fn read_command(target: &Target, slba: u64, len: usize, cid: u16) -> Sqe {
    let blocks = len as u32 / target.block_size;
    Sqe::rw(READ, target.nsid, slba, blocks, cid).with_sgl(sgl::TRANSPORT, 0, len as u32)
}
