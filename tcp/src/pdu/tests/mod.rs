//! Tests of the codec: golden bytes, the validator's case table, connection parameters, hostile input.

mod golden;
mod header;
mod hostile;
mod initialize;
mod specific;
mod terminate;

use nvmf_wire::{Cqe, Sqe};
use zerocopy::FromBytes;

use super::*;

/// An SQE whose every byte is its own offset in the PDU.
fn sqe() -> Sqe {
    let bytes: Vec<u8> = (8..72).collect();
    Sqe::read_from_bytes(&bytes).unwrap()
}

/// A CQE whose every byte is its own offset in the PDU.
fn cqe() -> Cqe {
    let bytes: Vec<u8> = (8..24).collect();
    Cqe::read_from_bytes(&bytes).unwrap()
}

fn alignment(value: u8) -> Alignment {
    Alignment::new(value).unwrap()
}

const LIMIT: u32 = 16 * 1024;

/// A receiver on an initialised connection that takes up to [`LIMIT`] bytes of any data.
fn receiver(role: Role, digests: Digests, alignment: Alignment) -> Receiver {
    Receiver { role, phase: Phase::Ready, digests, alignment, max_in_capsule: LIMIT, max_data: LIMIT }
}

const ALL_DIGESTS: [Digests; 4] = [
    Digests::NONE,
    Digests { header: true, data: false },
    Digests { header: false, data: true },
    Digests::BOTH,
];

/// One PDU of the given kind (of those that flow on an initialised connection, termination requests excepted), up to
/// its data, with `data_len` bytes of data where the kind has any.
fn encode(kind: Kind, sender: &Sender, data_len: u32) -> (Vec<u8>, Layout) {
    let mut out = vec![0xEE; ENCODED_MAX];
    let encoded = match kind {
        Kind::CapsuleCmd => sender.capsule_cmd(&sqe(), data_len, &mut out),
        Kind::CapsuleResp => sender.capsule_resp(&cqe(), &mut out),
        Kind::H2cData => sender.h2c_data(
            &DataToController {
                cccid: 0x0908,
                ttag: 0x0B0A,
                offset: 0x0F0E_0D0C,
                length: data_len,
                last: true,
            },
            &mut out,
        ),
        Kind::C2hData => sender.c2h_data(
            &DataToHost { cccid: 0x0908, offset: 0x0F0E_0D0C, length: data_len, last: true, success: true },
            &mut out,
        ),
        Kind::R2t => sender.r2t(0x0908, 0x0B0A, 0x0F0E_0D0C, 0x1312_1110, &mut out),
        other => panic!("{other:?} is not encoded by a sender"),
    }
    .unwrap();
    out.truncate(encoded.len);
    (out, encoded.layout)
}

/// Both steps of the receiver on the start of a PDU.
fn parse<'a>(bytes: &'a [u8], receiver: &Receiver) -> Result<Option<(Header, Incoming<'a>)>, Violation> {
    let Some(first) = bytes.first_chunk() else {
        return Ok(None);
    };
    let header = Header::parse(first, receiver)?;
    Ok(Incoming::parse(&header, bytes)?.map(|incoming| (header, incoming)))
}

fn report(violation: Violation) -> (u16, u32) {
    let report = violation.report().unwrap();
    (report.fes.value(), report.fei)
}
