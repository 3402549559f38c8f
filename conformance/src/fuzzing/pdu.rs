//! The PDU codec on arbitrary bytes, well-formed PDUs and damaged ones, for every kind of receiver.
//!
//! What is accepted has all its lengths within what the receiver allows, and is accepted again when it is encoded anew. What
//! is refused gives a termination request that the peer's own validator takes.

use std::num::NonZeroU32;

use nvmf_tcp::{
    digest::crc32c,
    pdu::{
        Alignment, COMMON_HEADER_LEN, CommonHeader, ControllerTerms, DATA_MAX, DataToController, DataToHost,
        DigestPolicy, Digests, ENCODED_MAX, Header, HostTerms, IcReq, IcResp, Incoming, Kind, Phase,
        Receiver, Role, Sender, TERM_REQ_MAX, TermReq, Violation,
    },
};
use nvmf_wire::{
    Cqe, Sqe,
    zerocopy::{FromBytes, IntoBytes},
};

use super::{Choices, Target, seeds};

pub(super) const TARGET: Target =
    Target { name: "pdu", body, seeds: || seeds::random(24, 240), longest: 512 };

/// The most that is needed before a PDU can be acted upon.
const NEEDED_MAX: usize = 152;

/// The body.
pub(super) fn body(data: &[u8]) {
    let choices = &mut Choices::new(data);
    let receiver = receiver(choices);
    let mut bytes = match choices.u8() % 4 {
        0 => choices.rest().to_vec(),
        _ => well_formed(choices, &receiver),
    };
    if choices.yes() {
        choices.damage(&mut bytes);
    }
    judge(&receiver, &bytes);
    negotiate(choices, &bytes);
}

pub(super) fn digests(choices: &mut Choices<'_>) -> Digests {
    Digests::from_bits(choices.u8())
}

pub(super) fn alignment(choices: &mut Choices<'_>) -> Alignment {
    Alignment::new(choices.u8() % 32).unwrap_or_default()
}

pub(super) fn policy(choices: &mut Choices<'_>) -> DigestPolicy {
    choices.pick(&[DigestPolicy::On, DigestPolicy::Off, DigestPolicy::On, DigestPolicy::Required])
}

/// A policy that insists on nothing.
pub(super) fn offer(choices: &mut Choices<'_>) -> DigestPolicy {
    choices.pick(&[DigestPolicy::On, DigestPolicy::On, DigestPolicy::Off])
}

fn receiver(choices: &mut Choices<'_>) -> Receiver {
    Receiver {
        role: choices.pick(&[Role::Host, Role::Controller]),
        phase: choices.pick(&[Phase::Ready, Phase::Ready, Phase::Ready, Phase::Initializing]),
        digests: digests(choices),
        alignment: alignment(choices),
        max_in_capsule: choices.word().min(DATA_MAX),
        max_data: choices.word().min(DATA_MAX),
    }
}

/// A PDU that this receiver would take, but for its numbers.
fn well_formed(choices: &mut Choices<'_>, receiver: &Receiver) -> Vec<u8> {
    let sender = Sender { digests: receiver.digests, alignment: receiver.alignment };
    let mut out = [0; ENCODED_MAX];
    let length = choices.word().min(DATA_MAX);
    let (cccid, ttag, offset) = (choices.u16(), choices.u16(), choices.word());
    let (last, success) = (choices.yes(), choices.yes());
    let encoded = match choices.u8() % 9 {
        0 => sender.capsule_cmd(&sqe(choices), length, &mut out),
        1 => sender.capsule_resp(&cqe(choices), &mut out),
        2 => sender.h2c_data(&DataToController { cccid, ttag, offset, length, last }, &mut out),
        3 => {
            let last = last || success;
            sender.c2h_data(&DataToHost { cccid, offset, length, last, success }, &mut out)
        }
        4 => sender.r2t(cccid, ttag, offset, length, &mut out),
        5 => return host_terms(choices).request().as_bytes().to_vec(),
        6 => {
            let request = host_terms(choices).request();
            let answer = controller_terms(choices).answer(&request);
            return answer.map(|(response, _)| response.as_bytes().to_vec()).unwrap_or_default();
        }
        _ => {
            let request = TermReq {
                fes: nvmf_tcp::pdu::FatalErrorStatus::new(choices.u16() % 8),
                fei: choices.word(),
                header: choices.bytes(140),
            };
            let (bytes, len) = request.encode(receiver.role.peer());
            return bytes[..len].to_vec();
        }
    };
    encoded.map(|encoded| out[..encoded.len].to_vec()).unwrap_or_default()
}

fn sqe(choices: &mut Choices<'_>) -> Sqe {
    let mut bytes = [0; 64];
    bytes.iter_mut().zip(choices.bytes(64)).for_each(|(to, from)| *to = *from);
    Sqe::read_from_bytes(&bytes).unwrap_or_default()
}

fn cqe(choices: &mut Choices<'_>) -> Cqe {
    let mut bytes = [0; 16];
    bytes.iter_mut().zip(choices.bytes(16)).for_each(|(to, from)| *to = *from);
    Cqe::read_from_bytes(&bytes).unwrap_or_default()
}

fn host_terms(choices: &mut Choices<'_>) -> HostTerms {
    HostTerms {
        alignment: alignment(choices),
        header_digest: policy(choices),
        data_digest: policy(choices),
        max_r2t: NonZeroU32::MIN.saturating_add(choices.word()),
    }
}

fn controller_terms(choices: &mut Choices<'_>) -> ControllerTerms {
    ControllerTerms {
        alignment: alignment(choices),
        header_digest: policy(choices),
        data_digest: policy(choices),
        max_h2c_data: choices.word(),
    }
}

fn judge(receiver: &Receiver, bytes: &[u8]) {
    let Some(common) = bytes.first_chunk::<COMMON_HEADER_LEN>() else { return };
    let header = match Header::parse(common, receiver) {
        Ok(header) => header,
        Err(violation) => return refused(receiver, &violation, bytes),
    };
    bounded(receiver, &header, common);
    for short in [0, COMMON_HEADER_LEN, header.needed().saturating_sub(1)] {
        let short = short.min(header.needed() - 1).min(bytes.len());
        assert!(
            matches!(Incoming::parse(&header, &bytes[..short]), Ok(None)),
            "acted upon before it was complete"
        );
    }
    match Incoming::parse(&header, bytes) {
        Ok(None) => assert!(bytes.len() < header.needed()),
        Ok(Some(pdu)) => {
            assert!(bytes.len() >= header.needed());
            if header.layout().has_header_digest() {
                let at = header.layout().header_len();
                assert_eq!(bytes[at..at + 4], crc32c(&bytes[..at]).to_le_bytes());
            }
            encoded_again(receiver, &header, pdu);
        }
        Err(violation) => refused(receiver, &violation, bytes),
    }
}

/// All lengths are within bounds before anything else has arrived.
fn bounded(receiver: &Receiver, header: &Header, common: &[u8; COMMON_HEADER_LEN]) {
    let layout = header.layout();
    let found = CommonHeader::read_from_bytes(common).expect("eight bytes");
    assert_eq!(header.plen(), found.plen.get());
    assert!(header.needed() >= 24 && header.needed() <= NEEDED_MAX);
    assert_eq!(header.kind().receiver(), receiver.role);
    if matches!(header.kind(), Kind::H2cTermReq | Kind::C2hTermReq) {
        return assert!(header.plen() as usize <= TERM_REQ_MAX && header.needed() == header.plen() as usize);
    }
    assert_eq!(layout.plen(), header.plen());
    assert_eq!(layout.header_len(), usize::from(header.kind().header_len()));
    assert!(layout.data_start() >= layout.header_end() && layout.data_start() <= 255);
    assert_eq!(header.flags().outside(header.kind().flags()).0, 0);
    let limit = match header.kind() {
        Kind::CapsuleCmd => receiver.max_in_capsule,
        Kind::H2cData | Kind::C2hData => receiver.max_data,
        _ => 0,
    };
    assert!(layout.data_len() <= limit, "{} bytes accepted, {limit} allowed", layout.data_len());
    if layout.data_len() > 0 {
        assert_eq!(layout.has_data_digest(), receiver.digests.data);
        assert_eq!(layout.data_start() % usize::from(receiver.alignment.bytes()), 0);
    }
    if !header.kind().is_outside_negotiation() {
        assert_eq!(layout.has_header_digest(), receiver.digests.header);
    }
}

fn refused(receiver: &Receiver, violation: &Violation, bytes: &[u8]) {
    assert!(!violation.to_string().is_empty());
    let Some(request) = TermReq::new(violation, bytes) else {
        return assert!(violation.report().is_none());
    };
    let (answer, len) = request.encode(receiver.role);
    let peer = Receiver { role: receiver.role.peer(), ..*receiver };
    let common = answer.first_chunk().expect("a header");
    let header = Header::parse(common, &peer).expect("a peer takes a termination request at any time");
    assert_eq!(header.needed(), len);
    match Incoming::parse(&header, &answer[..len]) {
        Ok(Some(Incoming::TermReq(heard))) => {
            assert_eq!(heard, request);
            assert!(!heard.describe(receiver.role).is_empty());
        }
        other => panic!("{other:?} heard instead of a termination request"),
    }
}

/// What was accepted, sent by us to such a receiver, is accepted and says the same.
fn encoded_again(receiver: &Receiver, header: &Header, pdu: Incoming<'_>) {
    let sender = Sender { digests: receiver.digests, alignment: receiver.alignment };
    let (mut out, length) = ([0; ENCODED_MAX], header.layout().data_len());
    let encoded = match pdu {
        Incoming::CapsuleCmd(pdu) => sender.capsule_cmd(&pdu.sqe, length, &mut out),
        Incoming::CapsuleResp(pdu) => sender.capsule_resp(&pdu.cqe, &mut out),
        Incoming::H2cData(pdu) => {
            let (cccid, ttag, offset) = (pdu.cccid.get(), pdu.ttag.get(), pdu.datao.get());
            sender.h2c_data(&DataToController { cccid, ttag, offset, length, last: pdu.is_last() }, &mut out)
        }
        Incoming::C2hData(pdu) => {
            let (cccid, offset, last, success) =
                (pdu.cccid.get(), pdu.datao.get(), pdu.is_last(), pdu.is_success());
            sender.c2h_data(&DataToHost { cccid, offset, length, last, success }, &mut out)
        }
        Incoming::R2t(pdu) => {
            sender.r2t(pdu.cccid.get(), pdu.ttag.get(), pdu.r2to.get(), pdu.r2tl.get(), &mut out)
        }
        Incoming::IcReq(_) | Incoming::IcResp(_) | Incoming::TermReq(_) => return,
    };
    let encoded = encoded.expect("no header is longer");
    assert!(encoded.len >= encoded.layout.header_end() && encoded.layout.data_len() == length);
    let common = out.first_chunk().expect("a header");
    let again = Header::parse(common, receiver).expect("encoded again, it is accepted again");
    assert_eq!((again.kind(), again.layout()), (header.kind(), &encoded.layout));
    let said = Incoming::parse(&again, &out[..encoded.len]).expect("its header too").expect("all of it");
    match (pdu, said) {
        (Incoming::CapsuleCmd(a), Incoming::CapsuleCmd(b)) => assert_eq!(a.sqe, b.sqe),
        (Incoming::CapsuleResp(a), Incoming::CapsuleResp(b)) => assert_eq!(a.cqe, b.cqe),
        (Incoming::H2cData(a), Incoming::H2cData(b)) => {
            assert_eq!(
                (a.cccid, a.ttag, a.datao, a.datal, a.is_last()),
                (b.cccid, b.ttag, b.datao, b.datal, b.is_last())
            );
        }
        (Incoming::C2hData(a), Incoming::C2hData(b)) => {
            assert_eq!((a.cccid, a.datao, a.datal), (b.cccid, b.datao, b.datal));
            assert_eq!((a.is_last(), a.is_success()), (b.is_last(), b.is_success()));
        }
        (Incoming::R2t(a), Incoming::R2t(b)) => {
            assert_eq!((a.cccid, a.ttag, a.r2to, a.r2tl), (b.cccid, b.ttag, b.r2to, b.r2tl));
        }
        (a, b) => panic!("{a:?} became {b:?}"),
    }
}

/// Two sides that take each other's terms agree on them; a side that hears nonsense refuses it.
fn negotiate(choices: &mut Choices<'_>, bytes: &[u8]) {
    let (host, controller) = (host_terms(choices), controller_terms(choices));
    if let Ok((response, granted)) = controller.answer(&host.request()) {
        match host.accept(&response) {
            Ok(agreed) => assert_eq!(agreed, granted),
            Err(violation) => assert!(matches!(violation, Violation::DigestRequired { .. }), "{violation}"),
        }
        assert!(granted.max_h2c_data >= 4096 && granted.max_h2c_data.is_multiple_of(4));
        assert_eq!(granted.max_r2t, host.max_r2t);
    }
    if let Ok((request, _)) = IcReq::read_from_prefix(bytes)
        && let Ok((response, granted)) = controller.answer(&request)
    {
        assert_eq!(response.dgst & !request.dgst, 0, "a digest that was not offered");
        assert_eq!(response.dgst, granted.digests.bits());
        assert_eq!(response.maxh2cdata.get(), granted.max_h2c_data);
    }
    if let Ok((response, _)) = IcResp::read_from_prefix(bytes)
        && let Ok(agreed) = host.accept(&response)
    {
        assert_eq!(agreed.digests.bits() & !host.request().dgst, 0);
        assert!(agreed.max_h2c_data >= 4096 && agreed.max_h2c_data <= response.maxh2cdata.get());
    }
}
