//! CapsuleResp, C2HData and C2HTermReq.

use super::{
    HostUnderTest, SIZE, Wanted,
    peer::{Commands, Peer, data_pdu, with_host},
    sent,
};
use crate::{
    Stop, Verdict, check, check_eq,
    wire_tcp::{
        bytes::{self, Shape, flag, kind},
        link::Heard,
        target::{Fatal, LIMIT, OUT_OF_RANGE, SEQUENCE, field, header_digest as bad_digest},
    },
};

/// Plays up to the two commands, says something wrong, and expects one of these termination requests.
fn refused(
    host: &dyn HostUnderTest,
    wanted: Wanted,
    what: &str,
    accepted: &[Fatal],
    wrong: impl FnOnce(&mut Peer, Commands) -> Vec<u8>,
) -> Verdict {
    let report = with_host(host, wanted, |peer| {
        let commands = peer.up()?;
        let pdu = wrong(peer, commands);
        peer.link.send(&pdu)?;
        peer.refused(accepted, &pdu, what)
    })?;
    check!(report.write.is_none_or(|status| status != 0), "{what}: the write has succeeded");
    check!(report.read.is_none_or(|(status, ..)| status != 0), "{what}: the read has succeeded");
    check!(report.repeated == 0 && !report.end.is_empty(), "{what}");
    Ok(())
}

pub(super) fn header_fields(host: &dyn HostUnderTest) -> Verdict {
    type Change = fn(&mut Vec<u8>);
    let completion: [(&str, Change, &[Fatal]); 8] = [
        ("an unknown type", |pdu| pdu[0] = 0x0b, &[field(0)]),
        ("a type that hosts send", |pdu| pdu[0] = kind::CAPSULE_CMD, &[field(0)]),
        ("HLEN 23 of a completion", |pdu| pdu[2] = 23, &[field(2)]),
        ("HLEN 255 of a completion", |pdu| pdu[2] = 255, &[field(2)]),
        ("reserved flags", |pdu| pdu[1] = 0x80, &[field(1)]),
        ("a header digest nobody agreed on", |pdu| pdu[1] = flag::HDGST, &[field(1)]),
        ("PLEN 0", |pdu| pdu[4] = 0, &[field(4)]),
        ("PLEN 4 GiB", |pdu| pdu[4..8].fill(0xff), &[field(4), LIMIT]),
    ];
    for (what, change, accepted) in completion {
        refused(host, Wanted::default(), what, accepted, |peer, commands| {
            let mut pdu = bytes::capsule_resp(commands.read, 0, peer.link.ours);
            change(&mut pdu);
            pdu
        })?;
    }
    let data: [(&str, Change, &[Fatal]); 6] = [
        ("HLEN 28 of C2HData", |pdu| pdu[2] = 28, &[field(2)]),
        ("PDO 20 of C2HData", |pdu| pdu[3] = 20, &[field(3)]),
        ("PDO 0 with data", |pdu| pdu[3] = 0, &[field(3), field(4)]),
        ("DATAL 4 more than PLEN", |pdu| pdu[16] = pdu[16].wrapping_add(4), &[field(4), field(16), field(3)]),
        ("PLEN 4 GiB of C2HData", |pdu| pdu[4..8].fill(0xff), &[field(4), LIMIT, OUT_OF_RANGE]),
        ("a data digest nobody agreed on", |pdu| pdu[1] |= flag::DDGST, &[field(1)]),
    ];
    for (what, change, accepted) in data {
        refused(host, Wanted::default(), what, accepted, |peer, commands| {
            let mut pdu = data_pdu(commands.read, 0, 4096, 0, peer.link.ours);
            change(&mut pdu);
            pdu
        })?;
    }
    Ok(())
}

pub(super) fn header_digest(host: &dyn HostUnderTest) -> Verdict {
    let report = with_host(host, Wanted { digests: true, ..Wanted::default() }, |peer| {
        let commands = peer.up()?;
        if !peer.link.ours.hdgst {
            return Err(Stop::skipped("the host offers no header digest"));
        }
        let mut pdu = bytes::capsule_resp(commands.read, 0, peer.link.ours);
        pdu[24] ^= 1;
        let received = u32::from_le_bytes([pdu[24], pdu[25], pdu[26], pdu[27]]);
        peer.link.send(&pdu)?;
        peer.refused(&[bad_digest(received)], &pdu, "a wrong header digest")
    })?;
    check!(report.read.is_none(), "a completion with a wrong digest was taken");
    Ok(())
}

pub(super) fn data_digest(host: &dyn HostUnderTest) -> Verdict {
    for folded in [false, true] {
        let wanted = Wanted { digests: true, no_flow_control: folded, ..Wanted::default() };
        let report = with_host(host, wanted, |peer| {
            let commands = peer.up()?;
            let half = SIZE / 2;
            let mut first = data_pdu(commands.read, 0, half, 0, peer.link.ours);
            let middle = first.len() / 2;
            first[middle] ^= 1;
            peer.link.send(&first)?;
            let flags = flag::LAST | if folded { flag::SUCCESS } else { 0 };
            let second = data_pdu(commands.read, half, half, flags, peer.link.ours);
            peer.link.send(&second)?;
            if !folded {
                peer.complete(commands.read, 0)?;
            }
            // The write goes on as if nothing had been, or the connection is over: both are allowed.
            match peer.answer_write(commands.write) {
                Ok(()) => peer.over("both commands are done"),
                Err(_) => Ok(()),
            }
        })?;
        if let Some((status, _, _)) = report.read {
            check!(status != 0, "corrupt data was delivered as good, folded {folded}");
        }
    }
    Ok(())
}

pub(super) fn completions(host: &dyn HostUnderTest) -> Verdict {
    let accepted = [field(20), field(8), SEQUENCE];
    refused(host, Wanted::default(), "a completion for nothing", &accepted, |peer, commands| {
        bytes::capsule_resp(commands.read ^ 0x4000, 0, peer.link.ours)
    })?;
    // Twice: the second is for nothing. The first may have been reported.
    let report = with_host(host, Wanted::default(), |peer| {
        let commands = peer.up()?;
        let pdu = bytes::capsule_resp(commands.write, 6, peer.link.ours);
        peer.link.send(&pdu)?;
        peer.link.send(&pdu)?;
        peer.refused(&accepted, &pdu, "a completion twice")
    })?;
    check_eq!(report.repeated, 0);
    Ok(())
}

pub(super) fn data(host: &dyn HostUnderTest) -> Verdict {
    let plain = Wanted::default();
    let unknown = [field(8), SEQUENCE];
    refused(host, plain, "data for nothing", &unknown, |peer, commands| {
        data_pdu(commands.read ^ 0x4000, 0, 512, 0, peer.link.ours)
    })?;
    refused(host, plain, "data for a write", &unknown, |peer, commands| {
        data_pdu(commands.write, 0, 512, 0, peer.link.ours)
    })?;
    refused(host, plain, "a gap", &[OUT_OF_RANGE, SEQUENCE, field(12)], |peer, commands| {
        data_pdu(commands.read, 512, 512, 0, peer.link.ours)
    })?;
    refused(host, plain, "data behind the end", &[OUT_OF_RANGE], |peer, commands| {
        bytes::c2h_data(commands.read, SIZE as u32, &[0; 512], 0, peer.link.ours)
    })?;
    refused(host, plain, "data at the end of numbers", &[OUT_OF_RANGE], |peer, commands| {
        bytes::c2h_data(commands.read, u32::MAX - 3, &[0; 512], 0, peer.link.ours)
    })?;
    refused(host, plain, "more data than there is room for", &[OUT_OF_RANGE, LIMIT], |peer, commands| {
        bytes::c2h_data(commands.read, 0, &vec![0; SIZE + 4], flag::LAST, peer.link.ours)
    })?;
    // The same again: a step back.
    let report = with_host(host, plain, |peer| {
        let commands = peer.up()?;
        let pdu = data_pdu(commands.read, 0, 4096, 0, peer.link.ours);
        peer.link.send(&pdu)?;
        peer.link.send(&pdu)?;
        peer.refused(&[OUT_OF_RANGE, SEQUENCE, field(12)], &pdu, "the same data twice")
    })?;
    check!(report.read.is_none());
    // LAST_PDU before the end: refused, or the end of the data, behind which no more may come.
    let report = with_host(host, plain, |peer| {
        let commands = peer.up()?;
        peer.link.send(&data_pdu(commands.read, 0, 512, flag::LAST, peer.link.ours))?;
        let pdu = data_pdu(commands.read, 512, 512, 0, peer.link.ours);
        peer.link.send(&pdu)?;
        peer.refused(&[field(1), field(8), SEQUENCE, OUT_OF_RANGE], &[], "data behind LAST_PDU")
    })?;
    check!(report.read.is_none());
    Ok(())
}

pub(super) fn success(host: &dyn HostUnderTest) -> Verdict {
    // Where it may be.
    let wanted = Wanted { no_flow_control: true, ..Wanted::default() };
    let report = with_host(host, wanted, |peer| {
        let commands = peer.up()?;
        let pdu = data_pdu(commands.read, 0, SIZE, flag::LAST | flag::SUCCESS, peer.link.ours);
        peer.link.send(&pdu)?;
        peer.answer_write(commands.write)?;
        peer.over("both commands are done")
    })?;
    check!(matches!(&report.read, Some((0, SIZE, bytes)) if bytes[100] == sent(100)), "{:?}", report.end);
    // Without LAST_PDU it is a contradiction; after the data a completion is one too many.
    refused(host, wanted, "SUCCESS without LAST_PDU", &[field(1)], |peer, commands| {
        data_pdu(commands.read, 0, 512, flag::SUCCESS, peer.link.ours)
    })?;
    let report = with_host(host, wanted, |peer| {
        let commands = peer.up()?;
        peer.link.send(&data_pdu(commands.read, 0, SIZE, flag::LAST | flag::SUCCESS, peer.link.ours))?;
        let pdu = bytes::capsule_resp(commands.read, 0, peer.link.ours);
        peer.link.send(&pdu)?;
        peer.refused(&[field(20), field(8), SEQUENCE], &pdu, "a completion after a folded success")
    })?;
    check_eq!(report.repeated, 0);
    // With flow control a controller must not; a host may be generous, and must not be confused.
    let report = with_host(host, Wanted::default(), |peer| {
        let commands = peer.up()?;
        peer.link.send(&data_pdu(commands.read, 0, SIZE, flag::LAST | flag::SUCCESS, peer.link.ours))?;
        match peer.answer_write(commands.write) {
            Ok(()) => peer.over("both commands are done"),
            Err(_) => Ok(()),
        }
    })?;
    check_eq!(report.repeated, 0);
    if let Some((status, transferred, bytes)) = report.read {
        check_eq!((status, transferred), (0, SIZE));
        check!(bytes.iter().enumerate().all(|(n, &byte)| byte == sent(n)), "other bytes than were sent");
    }
    Ok(())
}

pub(super) fn short(host: &dyn HostUnderTest) -> Verdict {
    for arrived in [0, 4096, SIZE - 4] {
        let what = format!("success after {arrived} of {SIZE} bytes");
        let report = with_host(host, Wanted::default(), |peer| {
            let commands = peer.up()?;
            if arrived > 0 {
                peer.link.send(&data_pdu(commands.read, 0, arrived, 0, peer.link.ours))?;
            }
            peer.complete(commands.read, 0)?;
            match peer.answer_write(commands.write) {
                Ok(()) => peer.over(&what),
                Err(_) => Ok(()),
            }
        })?;
        if let Some((0, transferred, _)) = report.read {
            check_eq!(transferred, arrived, "{what}: what the host thinks it has");
        }
    }
    Ok(())
}

pub(super) fn pieces(host: &dyn HostUnderTest) -> Verdict {
    let mut rng = nvmf_sim::Rng::new(5);
    for digests in [false, true] {
        let report = with_host(host, Wanted { digests, ..Wanted::default() }, |peer| {
            let commands = peer.up()?;
            let mut stream = Vec::new();
            for at in (0..SIZE).step_by(8192) {
                let last = if at + 8192 == SIZE { flag::LAST } else { 0 };
                stream.extend(data_pdu(commands.read, at, 8192, last, peer.link.ours));
            }
            stream.extend(bytes::capsule_resp(commands.read, 0, peer.link.ours));
            stream.extend(bytes::r2t(commands.write, 3, 0, SIZE as u32, peer.link.ours));
            // The headers byte by byte, the rest in pieces of all sizes.
            let mut at = 0;
            while at < stream.len() {
                let len = if at < 200 { 1 } else { 1 + rng.below(3000) as usize };
                let end = (at + len).min(stream.len());
                peer.link.send(&stream[at..end])?;
                at = end;
            }
            peer.taken(commands.write, 3, 0, SIZE as u32, usize::MAX)?;
            peer.complete(commands.write, 0)?;
            peer.over("both commands are done")
        })?;
        check_eq!(report.write, Some(0));
        let right = matches!(&report.read, Some((0, SIZE, data)) if data.iter().enumerate().all(|(n, &b)| b == sent(n)));
        check!(right, "digests {digests}: the read came out as something else");
    }
    Ok(())
}

pub(super) fn termination(host: &dyn HostUnderTest) -> Verdict {
    let mut words = Vec::new();
    for fes in [0, 1, 2, 3, 4, 5, 6, 7, 0xffff] {
        let report = with_host(host, Wanted::default(), |peer| {
            peer.up()?;
            let offender = bytes::capsule_cmd(bytes::Sqe::new(1, 1), &[], Shape::default());
            peer.link.send(&bytes::term_req(kind::C2H_TERM_REQ, fes, 2, &offender))?;
            match peer.link.hear()? {
                Heard::End { .. } => Ok(()),
                other => Err(Stop::failed(format!("FES {fes}: {other:?}"))),
            }
        })?;
        check!(
            report.write.is_none() && report.read.is_none() && !report.end.is_empty(),
            "FES {fes}: {report:?}"
        );
        words.push(report.end);
    }
    words.dedup();
    check!(words.len() >= 7, "different reasons are told alike: {words:#?}");
    Ok(())
}
