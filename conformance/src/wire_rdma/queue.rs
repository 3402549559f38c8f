//! A queue of the tester towards a target: connected, with commands by hand.

use nvmf_soft_iwarp::{Access, Region, STag};

use super::{
    Target,
    mpa::request,
    peer::{Heard, Peer},
};
use crate::{
    Stop, Verdict, check, check_eq,
    wire_tcp::bytes::{FLUSH, READ, Sqe, WRITE},
};

/// SGL identifiers (NVMe Base 2.0 §4.1.2; RDMA Transport 1.0 §3.3).
pub mod sgl {
    /// Data block, address an offset: in the capsule.
    pub const IN_CAPSULE: u8 = 0x01;
    /// Last segment, address an offset: descriptors in the capsule.
    pub const LAST_SEGMENT_IN_CAPSULE: u8 = 0x31;
    /// Keyed data block.
    pub const KEYED: u8 = 0x40;
    /// Keyed data block whose key is to be invalidated.
    pub const KEYED_INVALIDATE: u8 = 0x4f;
}

/// The 16 bytes of a keyed descriptor.
#[must_use]
pub fn keyed(identifier: u8, address: u64, len: u32, key: u32) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&address.to_le_bytes());
    bytes[8..11].copy_from_slice(&len.to_le_bytes()[..3]);
    bytes[11..15].copy_from_slice(&key.to_le_bytes());
    bytes[15] = identifier;
    bytes
}

/// A command whose data is exposed memory.
#[must_use]
pub fn with_region(sqe: Sqe, identifier: u8, region: Region) -> Sqe {
    let remote = region.remote(0);
    sqe.with(24, &keyed(identifier, remote.to, region.len as u32, remote.stag.value()))
}

/// A completion, and the key it invalidated.
#[derive(Clone, Copy, Debug)]
pub struct Answer {
    /// SCT and SC.
    pub status: u16,
    /// Dword 0.
    pub dw0: u32,
    /// CID.
    pub cid: u16,
    /// The key of ours that came back invalid.
    pub invalidated: Option<STag>,
}

/// Entries of the tester's queues.
pub const ENTRIES: u16 = 32;

/// A queue.
#[derive(Debug)]
pub struct Queue {
    /// The connection.
    pub peer: Peer,
    /// Receives that the target posts.
    pub crqsize: u16,
    /// The controller, once connected.
    pub cntlid: u16,
    next_cid: u16,
}

impl Queue {
    /// Connects the transport; no command yet.
    pub fn transport(target: &Target, qid: u16, ird: u16) -> Result<Self, Stop> {
        let peer = Peer::connect(target.address, &request(qid, ENTRIES, ENTRIES - 1, 0), ird)?;
        let said = &peer.private_data;
        check_eq!(said.len(), 32, "private data of an accept");
        check_eq!(u16::from_le_bytes([said[0], said[1]]), 0, "RECFMT of an accept");
        check!(said[4..].iter().all(|&byte| byte == 0), "reserved bytes of an accept are set: {said:02x?}");
        let crqsize = u16::from_le_bytes([said[2], said[3]]);
        check!(crqsize >= ENTRIES - 1, "CRQSIZE {crqsize} for a queue of {ENTRIES} entries");
        Ok(Self { peer, crqsize, cntlid: 0xffff, next_cid: 1 })
    }

    /// A connected queue; the admin queue's controller is enabled.
    pub fn connected(target: &Target, qid: u16, cntlid: u16, ird: u16) -> Result<Self, Stop> {
        let mut queue = Self::transport(target, qid, ird)?;
        let mut data = vec![0; 1024];
        data[..16].copy_from_slice(&[0x5e; 16]);
        data[16..18].copy_from_slice(&cntlid.to_le_bytes());
        data[256..256 + target.subnqn.len()].copy_from_slice(target.subnqn.as_bytes());
        data[512..512 + target.hostnqn.len()].copy_from_slice(target.hostnqn.as_bytes());
        let region = queue.peer.expose(data, Access::REMOTE_READ)?;
        let sqe = Sqe::fabrics(0x01, queue.cid())
            .with(42, &qid.to_le_bytes())
            .with(44, &(ENTRIES - 1).to_le_bytes());
        let answer = queue.call(with_region(sqe, sgl::KEYED, region), &[])?;
        check_eq!(answer.status, 0, "Connect of queue {qid}");
        queue.cntlid = answer.dw0 as u16;
        if qid == 0 {
            // EN, IOSQES 6, IOCQES 4.
            let enable = none(Sqe::property_set(0x14, 0x0046_0001, queue.cid()));
            check_eq!(queue.call(enable, &[])?.status, 0, "setting CC");
            for _ in 0..500 {
                let ready = none(Sqe::property_get(0x1c, false, queue.cid()));
                if queue.call(ready, &[])?.dw0 & 1 == 1 {
                    return Ok(queue);
                }
                std::thread::park_timeout(std::time::Duration::from_millis(10));
            }
            return Err(Stop::failed("CSTS.RDY was not set within 5 s"));
        }
        Ok(queue)
    }

    /// An admin queue.
    pub fn admin(target: &Target) -> Result<Self, Stop> {
        Self::connected(target, 0, 0xffff, 16)
    }

    /// An admin queue and an I/O queue of its controller, on which `ird` READs are served.
    pub fn io(target: &Target, ird: u16) -> Result<(Self, Self), Stop> {
        let admin = Self::admin(target)?;
        let io = Self::connected(target, 1, admin.cntlid, ird)?;
        Ok((admin, io))
    }

    /// A command identifier that is not in use.
    pub fn cid(&mut self) -> u16 {
        self.next_cid = self.next_cid % 0x7fff + 1;
        self.next_cid
    }

    /// Sends a command capsule.
    pub fn send(&mut self, sqe: Sqe, data: &[u8]) -> Verdict {
        let mut capsule = sqe.0.to_vec();
        capsule.extend_from_slice(data);
        self.peer.send(&capsule)
    }

    /// The next completion.
    pub fn answer(&mut self) -> Result<Answer, Stop> {
        match self.peer.hear()? {
            Heard::Message(bytes, invalidated) => {
                check_eq!(bytes.len(), 16, "a response capsule: {bytes:02x?}");
                let word = |at: usize| u16::from_le_bytes([bytes[at], bytes[at + 1]]);
                Ok(Answer {
                    status: (word(14) >> 1) & 0x7ff,
                    dw0: u32::from(word(0)) | u32::from(word(2)) << 16,
                    cid: word(12),
                    invalidated,
                })
            }
            Heard::End(why) => Err(Stop::failed(format!("the connection ended: {why}"))),
        }
    }

    /// Sends a command and waits for its end.
    pub fn call(&mut self, sqe: Sqe, data: &[u8]) -> Result<Answer, Stop> {
        self.send(sqe, data)?;
        let answer = self.answer()?;
        check_eq!(answer.cid, u16::from_le_bytes([sqe.0[2], sqe.0[3]]), "the CID of the answer");
        Ok(answer)
    }

    /// Shows that the queue lives.
    pub fn alive(&mut self) -> Verdict {
        let sqe = none(Sqe::property_get(0x08, false, self.cid()));
        check_eq!(self.call(sqe, &[])?.status, 0, "reading VS");
        Ok(())
    }

    /// Shows that an I/O queue lives.
    pub fn alive_io(&mut self, target: &Target) -> Verdict {
        let sqe = none(Sqe::new(FLUSH, self.cid()).with_dword(1, target.nsid));
        check_eq!(self.call(sqe, &[])?.status, 0, "Flush");
        Ok(())
    }

    /// Writes blocks by READ from exposed memory.
    pub fn write(&mut self, target: &Target, slba: u64, data: Vec<u8>) -> Result<Answer, Stop> {
        let sqe = rw(target, WRITE, slba, data.len(), self.cid());
        let region = self.peer.expose(data, Access::REMOTE_READ)?;
        self.call(with_region(sqe, sgl::KEYED, region), &[])
    }

    /// Reads blocks by WRITE to exposed memory.
    pub fn read(&mut self, target: &Target, slba: u64, len: usize) -> Result<Vec<u8>, Stop> {
        let sqe = rw(target, READ, slba, len, self.cid());
        let region = self.peer.expose(vec![0xa5; len], Access::REMOTE_WRITE)?;
        let answer = self.call(with_region(sqe, sgl::KEYED, region), &[])?;
        check_eq!(answer.status, 0, "Read");
        Ok(self.peer.bytes(region))
    }
}

/// A command without data: a keyed descriptor of nothing.
#[must_use]
pub fn none(sqe: Sqe) -> Sqe {
    sqe.with(24, &keyed(sgl::KEYED, 0, 0, 0))
}

/// Read or Write of `len` bytes, still without a descriptor.
#[must_use]
pub fn rw(target: &Target, opcode: u8, slba: u64, len: usize, cid: u16) -> Sqe {
    none(Sqe::rw(opcode, target.nsid, slba, len as u32 / target.block_size, cid))
}
