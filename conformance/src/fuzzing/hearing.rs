//! The other end's ears: what a connection says, cut into PDUs and held to the protocol. A connection under test that says
//! something wrong fails here.

use nvmf_tcp::{
    digest::crc32c,
    pdu::{
        COMMON_HEADER_LEN, ENCODED_MAX, Encoded, Header, IcReq, IcResp, Incoming, Phase, Receiver, Role,
        Sender,
    },
};
use nvmf_wire::{Cqe, Sqe};

/// A PDU that was heard.
#[derive(Debug)]
pub(super) enum Heard {
    IcReq(Box<IcReq>),
    IcResp(Box<IcResp>),
    /// With what it says is wrong.
    TermReq(String),
    Command {
        sqe: Box<Sqe>,
        data: Vec<u8>,
    },
    Response(Cqe),
    ToController {
        cid: u16,
        tag: u16,
        offset: usize,
        data: Vec<u8>,
        last: bool,
    },
    ToHost {
        cid: u16,
        offset: usize,
        data: Vec<u8>,
        last: bool,
        success: bool,
    },
    R2t {
        cid: u16,
        tag: u16,
        offset: usize,
        len: usize,
    },
}

/// Ears of one role.
pub(super) struct Hearing {
    pub(super) receiver: Receiver,
    bytes: Vec<u8>,
    /// The connection has ended its say with a termination request.
    ended: bool,
}

impl Hearing {
    /// Ears of `role` on a connection that is not initialised.
    pub(super) fn new(role: Role) -> Self {
        Self { receiver: Receiver::initializing(role), bytes: Vec::new(), ended: false }
    }

    pub(super) fn hear(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    pub(super) fn ready(&self) -> bool {
        self.receiver.phase == Phase::Ready
    }

    /// The next whole PDU.
    pub(super) fn next(&mut self) -> Option<Heard> {
        let common = self.bytes.first_chunk::<COMMON_HEADER_LEN>()?;
        assert!(!self.ended, "something follows the termination request");
        let header = Header::parse(common, &self.receiver).expect("what we send is right");
        let (len, layout) = (header.plen() as usize, *header.layout());
        if self.bytes.len() < len {
            return None;
        }
        let pdu: Vec<u8> = self.bytes.drain(..len).collect();
        let said = Incoming::parse(&header, &pdu).expect("what we send is right").expect("all of it is here");
        let data = match layout.data_len() as usize {
            0 => Vec::new(),
            len => pdu[layout.data_start()..layout.data_start() + len].to_vec(),
        };
        if layout.data_len() > 0 {
            assert!(
                pdu[layout.header_end()..layout.data_start()].iter().all(|&byte| byte == 0),
                "padding is not zero"
            );
        }
        if layout.has_data_digest() {
            assert_eq!(pdu[len - 4..], crc32c(&data).to_le_bytes(), "our data digest is wrong");
        }
        Some(match said {
            Incoming::IcReq(pdu) => Heard::IcReq(Box::new(*pdu)),
            Incoming::IcResp(pdu) => Heard::IcResp(Box::new(*pdu)),
            Incoming::TermReq(request) => {
                self.ended = true;
                Heard::TermReq(request.describe(self.receiver.role.peer()))
            }
            Incoming::CapsuleCmd(pdu) => Heard::Command { sqe: Box::new(pdu.sqe), data },
            Incoming::CapsuleResp(pdu) => Heard::Response(pdu.cqe),
            Incoming::H2cData(pdu) => Heard::ToController {
                cid: pdu.cccid.get(),
                tag: pdu.ttag.get(),
                offset: pdu.datao.get() as usize,
                data,
                last: pdu.is_last(),
            },
            Incoming::C2hData(pdu) => Heard::ToHost {
                cid: pdu.cccid.get(),
                offset: pdu.datao.get() as usize,
                data,
                last: pdu.is_last(),
                success: pdu.is_success(),
            },
            Incoming::R2t(pdu) => Heard::R2t {
                cid: pdu.cccid.get(),
                tag: pdu.ttag.get(),
                offset: pdu.r2to.get() as usize,
                len: pdu.r2tl.get() as usize,
            },
        })
    }
}

/// A whole PDU: what `encode` writes, the data and its digest.
pub(super) fn whole(
    sender: &Sender,
    data: &[u8],
    encode: impl FnOnce(&Sender, &mut [u8]) -> Option<Encoded>,
) -> Vec<u8> {
    let mut head = [0; ENCODED_MAX];
    let Encoded { len, layout } = encode(sender, &mut head).expect("room for every header");
    let mut bytes = head[..len].to_vec();
    bytes.extend_from_slice(data);
    if layout.has_data_digest() {
        bytes.extend(crc32c(data).to_le_bytes());
    }
    bytes
}

/// What the other end has done to the truth so far.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Honesty {
    /// Said bytes that are no PDUs of its making.
    pub(super) raw: bool,
    /// Damaged PDUs on their way, or said well-formed nonsense.
    pub(super) damaged: bool,
}

impl Honesty {
    /// Whether what gets through must be what was meant: nothing was damaged, or both digests guard it.
    pub(super) fn holds(self, sender: &Sender) -> bool {
        !self.raw && (!self.damaged || (sender.digests.header && sender.digests.data))
    }
}
