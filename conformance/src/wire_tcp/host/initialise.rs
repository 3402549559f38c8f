//! ICResp, and what comes instead of it.

use std::{io::Write as _, net::Shutdown, time::Duration};

use super::{HostUnderTest, SIZE, Wanted, peer::with_host, sent};
use crate::{
    Stop, Verdict, check, check_eq,
    wire_tcp::{
        bytes::{self, Shape, kind},
        link::Heard,
        target::{SEQUENCE, field},
    },
};

pub(super) fn valid(host: &dyn HostUnderTest) -> Verdict {
    for digests in [false, true] {
        let report = with_host(host, Wanted { digests, ..Wanted::default() }, |peer| {
            let commands = peer.up()?;
            peer.answer_read(commands.read)?;
            peer.answer_write(commands.write)?;
            peer.over("both commands are done")
        })?;
        check!(report.connected && report.repeated == 0, "{report:?}");
        check_eq!(report.write, Some(0), "the write, digests {digests}");
        let Some((status, transferred, bytes)) = report.read else {
            return Err(Stop::failed("the read has not ended"));
        };
        check_eq!((status, transferred), (0, SIZE), "the read, digests {digests}");
        check!(bytes.iter().enumerate().all(|(n, &byte)| byte == sent(n)), "other bytes than were sent");
    }
    Ok(())
}

pub(super) fn silence(host: &dyn HostUnderTest) -> Verdict {
    for part in [0, 1, 64, 127] {
        let report = with_host(host, Wanted::default(), |peer| {
            peer.link.send(&bytes::ic_resp()[..part])?;
            match peer.link.hear_within(Duration::from_secs(10))? {
                Heard::End { .. } => Ok(()),
                other => Err(Stop::failed(format!("after {part} bytes of ICResp: {other:?}"))),
            }
        })?;
        check!(!report.connected, "connected by {part} bytes of ICResp");
        let words = report.end.to_lowercase();
        check!(
            words.contains("icresp") || words.contains("negotiat"),
            "{:?} does not say what was missing",
            report.end
        );
    }
    Ok(())
}

pub(super) fn wrong(host: &dyn HostUnderTest) -> Verdict {
    type Change = fn(&mut [u8; 128]);
    let changes: [(&str, Change, u32); 14] = [
        ("HLEN 127", |pdu| pdu[2] = 127, 2),
        ("HLEN 0", |pdu| pdu[2] = 0, 2),
        ("PLEN 127", |pdu| pdu[4] = 127, 4),
        ("PLEN 4 GiB", |pdu| pdu[4..8].fill(0xff), 4),
        ("PFV 1", |pdu| pdu[8] = 1, 8),
        ("CPDA 32", |pdu| pdu[10] = 32, 10),
        ("CPDA 255", |pdu| pdu[10] = 255, 10),
        ("a header digest nobody offered", |pdu| pdu[11] = 1, 11),
        ("a data digest nobody offered", |pdu| pdu[11] = 2, 11),
        ("MAXH2CDATA 0", |pdu| pdu[12..16].fill(0), 12),
        ("MAXH2CDATA 4092", |pdu| pdu[12..16].copy_from_slice(&4092u32.to_le_bytes()), 12),
        ("MAXH2CDATA 4097", |pdu| pdu[12..16].copy_from_slice(&4097u32.to_le_bytes()), 12),
        ("MAXH2CDATA FFFFFFFFh", |pdu| pdu[12..16].fill(0xff), 12),
        ("MAXH2CDATA 1", |pdu| pdu[12..16].copy_from_slice(&1u32.to_le_bytes()), 12),
    ];
    for (what, change, at) in changes {
        let report = with_host(host, Wanted::default(), |peer| {
            let mut reply = bytes::ic_resp();
            change(&mut reply);
            peer.link.send(&reply)?;
            peer.refused(&[field(at)], &reply, what)
        })?;
        check!(!report.connected && !report.end.is_empty(), "{what}: {report:?}");
    }
    Ok(())
}

pub(super) fn wrong_pdu(host: &dyn HostUnderTest) -> Verdict {
    let plain = Shape::default();
    for pdu in [
        bytes::capsule_resp(1, 0, plain),
        bytes::c2h_data(1, 0, &[0; 64], 4, plain),
        bytes::r2t(1, 1, 0, 64, plain),
        bytes::ic_req().to_vec(),
    ] {
        let what = format!("PDU type {:02x} first", pdu[0]);
        let report = with_host(host, Wanted::default(), |peer| {
            peer.link.send(&pdu)?;
            // Some think that this is no NVMe controller at all, and just go.
            match peer.link.hear()? {
                Heard::End { .. } => Ok(()),
                Heard::Pdu(reply) if reply.kind() == kind::H2C_TERM_REQ => {
                    let fatal = reply.fatal();
                    check!(fatal.0 == SEQUENCE.0 || fatal == (1, 0), "{what}: {fatal:?}");
                    peer.over(&what)
                }
                other => Err(Stop::failed(format!("{what}: {other:?}"))),
            }
        })?;
        check!(!report.connected, "{what}");
    }
    Ok(())
}

pub(super) fn not_nvme(host: &dyn HostUnderTest) -> Verdict {
    for banner in [
        &b"SSH-2.0-OpenSSH_9.6\r\n"[..],
        b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n",
        b"220 mail ESMTP\r\n",
    ] {
        let report = with_host(host, Wanted::default(), |peer| {
            let _ = peer.link.stream().write_all(banner);
            let _ = peer.link.stream().shutdown(Shutdown::Write);
            loop {
                match peer.link.hear()? {
                    Heard::End { .. } => return Ok(()),
                    Heard::Pdu(_) => {}
                    Heard::Silence => return Err(Stop::failed("the host does not go")),
                }
            }
        })?;
        check!(!report.connected);
        check!(
            report.end.to_lowercase().contains("nvme"),
            "{:?} does not say that this is no controller",
            report.end
        );
    }
    Ok(())
}

pub(super) fn ends(host: &dyn HostUnderTest) -> Verdict {
    for moment in 0..8 {
        for orderly in [true, false] {
            let what = format!("moment {moment}, orderly {orderly}");
            let report = with_host(host, Wanted::default(), |peer| {
                if moment >= 1 {
                    peer.link.send(&bytes::ic_resp()[..if moment == 1 { 60 } else { 128 }])?;
                }
                if moment >= 3 {
                    let commands = peer.commands()?;
                    let data = super::peer::data_pdu(commands.read, 0, 4096, 0, peer.link.ours);
                    match moment {
                        4 => peer.link.send(&data[..12])?,
                        5 => peer.link.send(&data[..1000])?,
                        6 => peer.link.send(&data)?,
                        7 => {
                            peer.link.send(&bytes::r2t(commands.write, 1, 0, SIZE as u32, peer.link.ours))?;
                        }
                        _ => {}
                    }
                }
                if !orderly {
                    let lingering =
                        rustix::net::sockopt::set_socket_linger(peer.link.stream(), Some(Duration::ZERO));
                    lingering.map_err(|error| Stop::failed(format!("SO_LINGER: {error}")))?;
                }
                Ok(())
            })?;
            check!(report.write.is_none() && report.read.is_none(), "{what}: {report:?}");
            check!(!report.end.is_empty() && report.repeated == 0, "{what}: {report:?}");
            check_eq!(report.connected, moment >= 2, "{what}");
        }
    }
    Ok(())
}
