//! Termination requests, broken connections, slow and mad hosts.

use std::{
    io::Write as _,
    thread,
    time::{Duration, Instant},
};

use nvmf_sim::Rng;

use super::{closes, ends_with, field};
use crate::{
    Stop, Verdict, check, check_eq,
    wire_tcp::{
        Target,
        bytes::{self, FLUSH, Shape, Sqe, kind},
        link::{Heard, Link},
        queue::{Ask, Queue, read_command, write_command},
    },
};

pub(super) fn by_the_host(target: &Target) -> Verdict {
    for fes in [0, 1, 2, 3, 4, 5, 6, 7, 0xff, 0xffff] {
        let mut queue = Queue::admin(target)?;
        queue.link.send(&bytes::term_req(kind::H2C_TERM_REQ, fes, 0, &bytes::ic_resp()))?;
        // No termination request answers one.
        match queue.link.hear()? {
            Heard::End { .. } => {}
            other => return Err(Stop::failed(format!("FES {fes}: {other:?}"))),
        }
    }
    Ok(())
}

pub(super) fn malformed(target: &Target) -> Verdict {
    type Change = fn(&mut Vec<u8>);
    let changes: [(&str, Change); 5] = [
        ("HLEN 0", |pdu| pdu[2] = 0),
        ("PLEN 23", |pdu| pdu[4] = 23),
        ("PLEN 4 GiB", |pdu| pdu[4..8].fill(0xff)),
        ("flags", |pdu| pdu[1] = 0xff),
        ("PDO", |pdu| pdu[3] = 24),
    ];
    for (what, change) in changes {
        let mut queue = Queue::admin(target)?;
        let mut pdu = bytes::term_req(kind::H2C_TERM_REQ, 1, 0, &[0; 8]);
        change(&mut pdu);
        queue.link.send(&pdu)?;
        match queue.link.hear()? {
            Heard::End { .. } => {}
            other => return Err(Stop::failed(format!("{what}: {other:?}"))),
        }
    }
    Ok(())
}

pub(super) fn deaf(target: &Target) -> Verdict {
    let mut queue = Queue::admin(target)?;
    let mut offender = bytes::capsule_cmd(Sqe::new(0x18, 1), &[], Shape::default());
    offender[0] = 0x0c;
    let mut all = offender.clone();
    // Commands that would be answered on a connection that lives.
    for cid in 2..20 {
        all.extend(bytes::capsule_cmd(Sqe::property_get(0, true, cid), &[], Shape::default()));
    }
    queue.link.send(&all)?;
    ends_with(&mut queue.link, &[field(0)], &offender)
}

pub(super) fn resets(target: &Target) -> Verdict {
    // At the start, in a header, in data, in a digest, between PDUs; before and after Connect.
    let icreq = bytes::ic_req();
    for cut in [0, 1, 8, 64, 127, 128] {
        let mut link = Link::connect(target.address)?;
        link.send(&icreq[..cut])?;
        link.reset()?;
    }
    let (connect, data) = Queue::connect_command(target, 0, 0xffff, 1, true);
    for cut in [1, 7, 8, 40, 71, 72, 76, 500, 1098, 1100] {
        let mut queue = Queue::negotiated(target, Ask::DIGESTS)?;
        let pdu = bytes::capsule_cmd(connect, &data, queue.link.ours);
        queue.link.send(&pdu[..cut.min(pdu.len())])?;
        queue.link.reset()?;
    }
    for cut in [1, 8, 23, 24, 28, 2000, 4124] {
        let (_admin, mut io) = Queue::io_with(target, Ask::DIGESTS, true)?;
        let cid = io.cid();
        io.send(write_command(target, 0, 8192, false, cid), &[])?;
        let r2t = io.link.expect(kind::R2T)?;
        let pdu = bytes::h2c_data(cid, r2t.u16(10), 0, &[0; 4096], false, io.link.ours);
        io.link.send(&pdu[..cut.min(pdu.len())])?;
        io.link.reset()?;
    }
    // While the target sends.
    let (_admin, mut io) = Queue::io(target)?;
    for cid in 1..16 {
        io.send(read_command(target, 0, 128 * 1024, cid), &[])?;
    }
    io.link.reset()
}

pub(super) fn half_closed(target: &Target) -> Verdict {
    let (_admin, mut io) = Queue::io(target)?;
    io.io_alive(target)?;
    closes(&mut io.link)?;
    let mut link = Link::connect(target.address)?;
    closes(&mut link)
}

pub(super) fn slow_reader(target: &Target) -> Verdict {
    let (mut admin, mut io) = Queue::io(target)?;
    // More than any buffer of the system holds, and never read.
    for cid in 1..30 {
        io.send(read_command(target, 0, 128 * 1024, cid), &[])?;
    }
    #[expect(clippy::disallowed_methods, reason = "the tester lives in real time")]
    let until = Instant::now() + Duration::from_millis(700);
    let (_other_admin, mut other) = Queue::io(target)?;
    let mut served = 0;
    #[expect(clippy::disallowed_methods, reason = "the tester lives in real time")]
    while Instant::now() < until {
        other.read(target, 0, target.block_size as usize)?;
        admin.alive()?;
        served += 1;
    }
    check!(served > 20, "only {served} reads of another host in 0.7 s");
    // Read after all, it is all there.
    let mut answers = io.finish(&(1..30).map(|cid| (cid, Vec::new())).collect())?;
    check!(answers.values().all(|answer| answer.status == 0 && answer.data.len() == 128 * 1024));
    answers.clear();
    Ok(())
}

pub(super) fn slow_writer(target: &Target) -> Verdict {
    let (mut admin, mut io) = Queue::io(target)?;
    let cid = io.cid();
    io.send(write_command(target, 0, 4096, false, cid), &[])?;
    let r2t = io.link.expect(kind::R2T)?;
    let pdu = bytes::h2c_data(cid, r2t.u16(10), 0, &[6; 4096], true, io.link.ours);
    let (slowly, rest) = pdu.split_at(150);
    for (n, byte) in slowly.iter().enumerate() {
        io.link.send(&[*byte])?;
        if n % 10 == 0 {
            admin.alive()?;
        }
        thread::park_timeout(Duration::from_millis(1));
    }
    io.link.send(rest)?;
    check_eq!(io.link.expect(kind::CAPSULE_RESP)?.status(), 0);
    check_eq!(io.read(target, 0, 4096)?.data, vec![6; 4096]);
    Ok(())
}

pub(super) fn segments(target: &Target) -> Verdict {
    let mut rng = Rng::new(7);
    for ask in [Ask::default(), Ask::DIGESTS] {
        let (_admin, mut io) = Queue::io_with(target, ask, true)?;
        let mut stream = Vec::new();
        let mut sent = 0;
        for round in 0..20u8 {
            let cid = io.cid();
            let data = vec![round; 4096];
            stream.extend(bytes::capsule_cmd(write_command(target, 0, 4096, true, cid), &data, io.link.ours));
            stream.extend(bytes::capsule_cmd(
                Sqe::new(FLUSH, cid ^ 0x4000).with_dword(1, target.nsid),
                &[],
                io.link.ours,
            ));
            sent += 2;
            // In pieces that respect no boundary, each in a segment of its own.
            while stream.len() > 200 {
                let piece = (1 + rng.below(700) as usize).min(stream.len());
                io.link.send(&stream[..piece])?;
                stream.drain(..piece);
            }
            if sent >= 20 {
                io.link.send(&stream)?;
                stream.clear();
                for _ in 0..sent {
                    check_eq!(io.link.expect(kind::CAPSULE_RESP)?.status(), 0);
                }
                sent = 0;
                check_eq!(io.read(target, 0, 4096)?.data, vec![round; 4096], "round {round}");
            }
        }
        check_eq!(sent, 0);
    }
    Ok(())
}

pub(super) fn garbage(target: &Target) -> Verdict {
    let mut rng = Rng::new(0xbad);
    for round in 0..60 {
        let mut bytes = vec![0; 1 + rng.below(3000) as usize];
        rng.fill(&mut bytes);
        let mut link = match round % 3 {
            // From the start, after ICReq, and on a connected queue behind a good header.
            0 => Link::connect(target.address)?,
            1 => Queue::negotiated(target, Ask::default())?.link,
            _ => {
                bytes[..8]
                    .copy_from_slice(&bytes::capsule_cmd(Sqe::new(0x18, 1), &[], Shape::default())[..8]);
                Queue::admin(target)?.link
            }
        };
        link.send(&bytes)?;
        // It ends, or it is a command like any other, answered until this side ends.
        let _ = link.stream().flush();
        let _ = link.stream().shutdown(std::net::Shutdown::Write);
        for _ in 0..100 {
            match link.hear()? {
                Heard::End { .. } => break,
                Heard::Pdu(_) => {}
                Heard::Silence => {
                    return Err(Stop::failed(format!("round {round}: the target keeps the connection")));
                }
            }
        }
    }
    Ok(())
}
