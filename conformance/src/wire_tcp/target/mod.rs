//! The tester as a host: what a target must make of right and wrong bytes.

mod capsule;
mod digest;
mod end;
mod header;
mod initialise;
mod transfer;

use std::net::Shutdown;

use super::{
    Case,
    bytes::kind,
    link::{Heard, Link},
};
use crate::{Context as _, Stop, Verdict, check, check_eq};

/// A termination request that is accepted as an answer: FES, and FEI where it means something.
pub type Fatal = (u16, Option<u32>);

/// The peer must end the connection with one of these termination requests, and say nothing else.
pub fn ends_with(link: &mut Link, accepted: &[Fatal], offender: &[u8]) -> Verdict {
    let pdu = match link.hear()? {
        Heard::Pdu(pdu) if pdu.kind() == kind::C2H_TERM_REQ => pdu,
        other => return Err(Stop::failed(format!("expected C2HTermReq {accepted:?}, got {other:?}"))),
    };
    let (fes, fei) = pdu.fatal();
    let fits = accepted
        .iter()
        .any(|(status, information)| *status == fes && information.is_none_or(|one| one == fei));
    check!(fits, "C2HTermReq with FES {fes}, FEI {fei:#x}, expected one of {accepted:?}");
    check_eq!((pdu.hlen(), pdu.flags(), pdu.pdo()), (24, 0, 0), "header of C2HTermReq");
    let echo = &pdu.bytes[24..];
    check!(echo.len() <= 128, "{} bytes of the offender are repeated", echo.len());
    let same = offender.len().min(echo.len());
    check!(echo[..same] == offender[..same], "what is repeated is not what was sent: {echo:02x?}");
    closes(link)
}

/// The peer must end the connection without another word, once this side has ended its own.
pub fn closes(link: &mut Link) -> Verdict {
    // Fails when the peer was faster.
    let _ = link.stream().shutdown(Shutdown::Write);
    match link.hear()? {
        Heard::End { .. } => Ok(()),
        other => Err(Stop::failed(format!("expected the end of the connection, got {other:?}"))),
    }
}

/// The peer must end the connection: with a termination request of these, or without a word.
pub fn ends(link: &mut Link, accepted: &[Fatal], offender: &[u8]) -> Verdict {
    let mut peek = [0u8; 1];
    link.stream().set_read_timeout(Some(super::link::PATIENCE)).doing("a timeout")?;
    match link.stream().peek(&mut peek) {
        Ok(0) | Err(_) => closes(link),
        Ok(_) => ends_with(link, accepted, offender),
    }
}

/// FES 1: a header field, FEI its offset.
pub const fn field(at: u32) -> Fatal {
    (1, Some(at))
}

/// FES 2: a PDU at the wrong time.
pub const SEQUENCE: Fatal = (2, None);
/// FES 3: the header digest, FEI the digest received.
pub const fn header_digest(received: u32) -> Fatal {
    (3, Some(received))
}
/// FES 4: data out of range.
pub const OUT_OF_RANGE: Fatal = (4, None);
/// FES 5: more data than agreed on.
pub const LIMIT: Fatal = (5, None);

macro_rules! table {
    ($( $run:path, $id:literal, $title:literal, $reference:literal; )*) => {
        /// Every case against a target.
        pub const CASES: &[Case] =
            &[$(Case { id: $id, title: $title, reference: $reference, run: $run }),*];
    };
}

table! {
    initialise::valid, "IC-01", "ICReq is answered by a well-formed ICResp", "§3.6.2.3";
    initialise::digests, "IC-02", "only digests that were offered are granted, and are used when granted", "§3.6.2.2, §3.6.2.3";
    initialise::alignment, "IC-06", "data for the host is aligned as HPDA asks", "§3.6.2.2";
    initialise::alignment_too_large, "IC-07", "HPDA 32 does not exist", "§3.6.2.2";
    initialise::format_version, "IC-08", "a PDU format version that does not exist is refused", "§3.6.2.2";
    initialise::pdu_length, "IC-09", "ICReq has one length", "§3.6.2.2";
    initialise::header_length, "IC-10", "ICReq has one header length", "§3.6.2.2";
    initialise::flags_and_offset, "IC-11", "flags and PDO of ICReq are reserved", "§3.6.2.2";
    initialise::twice, "IC-13", "ICReq comes once", "§3.1";
    initialise::not_first, "IC-14", "nothing comes before ICReq", "§3.1";
    initialise::piece_by_piece, "IC-15", "ICReq may come in pieces", "§3.1";
    initialise::silence, "IC-16", "a silent host is not waited for for ever", "house rule";
    initialise::in_one_segment, "IC-19", "a command right behind ICReq is taken or refused, not mistaken", "§3.1";
    initialise::per_queue, "IC-21", "each queue has its own digests", "§3.1";
    initialise::reserved, "IC-22", "reserved bytes of ICReq are not looked at", "§3.6.2; NVMe Base 2.0 §1.4";

    header::wrong_direction, "CH-01", "types that a controller sends are refused", "§3.6.1";
    header::unknown_type, "CH-02", "types that do not exist are refused", "§3.6.1";
    header::capsule_header_length, "CH-03", "CapsuleCmd has one header length", "§3.6.2.6";
    header::data_header_length, "CH-04", "H2CData has one header length", "§3.6.2.8";
    header::reserved_flags, "CH-05", "reserved flags are refused", "§3.6.2.6";
    header::header_digest_flag, "CH-06", "HDGSTF is as negotiated", "§3.6.2.6";
    header::data_digest_flag, "CH-07", "DDGSTF is as negotiated", "§3.6.2.6";
    header::data_offset, "CH-08", "PDO points behind the header and into the PDU", "§3.6.2.1";
    header::no_data, "CH-09", "PDO 0 says that there is no data", "§3.6.2.1";
    header::pdu_length, "CH-10", "PLEN holds the header", "§3.6.2.1";
    header::huge, "CH-11", "PLEN FFFFFFFFh is refused before anything is allocated", "§3.6.2.1";

    digest::bad_header, "DG-01", "a wrong header digest ends the connection", "§3.3.1.1, §3.5.1";
    digest::bad_in_capsule, "DG-02", "a wrong digest of in-capsule data fails its command only, and nothing is stored", "§3.3.1.1";
    digest::bad_data, "DG-03", "a wrong digest of H2CData fails its command only, and nothing is stored", "§3.3.1.1";
    digest::padding, "DG-06", "padding belongs to no digest", "§3.3.1.1";
    digest::every_command, "DG-09", "everything works with every combination of digests", "§3.3.1.1";

    capsule::sizes, "CC-01", "in-capsule data of every size up to IOCCSZ is taken", "§3.6.2.6";
    capsule::too_large, "CC-02", "more in-capsule data than IOCCSZ is refused", "§3.6.2.6";
    capsule::admin_size, "CC-03", "the admin queue takes 8192 bytes in a capsule", "§3.2";
    capsule::admin_too_large, "CC-04", "and not more", "§3.2";
    capsule::sgl_length, "CC-05", "an SGL that does not fit the capsule fails its command", "NVMe-oF 1.1 §2.3.1";
    capsule::sgl_types, "CC-07", "SGL descriptors that do not exist here fail their command", "NVMe-oF 1.1 §2.3.1";
    capsule::prp, "CC-08", "PRPs fail their command", "NVMe-oF 1.1 §2.1";
    capsule::both, "CC-09", "data in the capsule and a transport SGL fail their command", "NVMe-oF 1.1 §2.3.1";
    capsule::read_in_capsule, "CC-11", "a read cannot have its data in the capsule", "NVMe-oF 1.1 §2.3.1";
    capsule::sgl_offset, "CC-12", "an offset into the capsule is obeyed, beyond it an error", "NVMe-oF 1.1 §2.3.1";
    capsule::cid_ffff, "CC-13", "CID FFFFh is a command identifier", "NVMe Base 2.0 §3.3.3.1";
    capsule::overrun, "CC-14", "more commands than the queue has entries end the connection", "§3.2";
    capsule::cid_twice, "CC-15", "a command identifier in use is told", "NVMe Base 2.0 §3.3.3.1";
    capsule::flow_control, "CC-16", "success is folded into data only without SQ flow control", "§3.3.2.2";

    transfer::write, "HD-01", "R2Ts cover a write exactly once", "§3.3.2.1";
    transfer::parallel, "HD-02", "data for two writes may be mixed", "§3.3.2.1";
    transfer::unsolicited, "HD-03", "data nobody asked for ends the connection", "§3.3.2.1";
    transfer::wrong_command, "HD-04", "data for another command than its transfer tag's ends the connection", "§3.6.2.8";
    transfer::wrong_offset, "HD-05", "data at the wrong place ends the connection", "§3.3.2.1";
    transfer::beyond, "HD-06", "data beyond what was asked for ends the connection", "§3.3.2.1";
    transfer::too_much, "HD-08", "more data in a PDU than MAXH2CDATA ends the connection", "§3.6.2.3";
    transfer::odd_length, "HD-10", "data that does not end at a dword is taken or refused as a field", "§3.6.2.8";
    transfer::length_mismatch, "HD-11", "PLEN of H2CData is that of its parts", "§3.6.2.8";
    transfer::last, "HD-12", "LAST_PDU is on the last PDU", "§3.6.2.8";
    transfer::never, "HD-15", "a host that never sends its data hurts nobody", "house rule";
    transfer::small_pieces, "HD-17", "data in PDUs of every size arrives", "§3.3.2.1";
    transfer::reads, "C2-01", "reads of every size come whole, aligned and in order", "§3.3.2.2";
    transfer::failed_read, "C2-03", "a read that fails has no data and no folded success", "§3.3.2.2";
    transfer::many_reads, "C2-05", "every command ends once, its data before its end", "§3.3.2.2";

    end::by_the_host, "TR-01", "after H2CTermReq the target ends the connection without a reply", "§3.5.1";
    end::malformed, "TR-02", "so it does after one that is malformed", "§3.5.1";
    end::deaf, "TR-03", "after its termination request a target hears nothing more", "§3.5.1";
    end::resets, "TR-04", "a connection that breaks anywhere hurts nobody", "house rule";
    end::half_closed, "TR-05", "a host that has ended its side is let go", "house rule";
    end::slow_reader, "TR-06", "a host that does not read hurts nobody", "house rule";
    end::slow_writer, "TR-07", "a host that sends a byte at a time hurts nobody", "house rule";
    end::segments, "TR-08", "the same bytes in any pieces mean the same", "TCP";
    end::garbage, "TR-10", "arbitrary bytes end the connection and nothing else", "house rule";
}
