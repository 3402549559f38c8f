//! R2T, and the data that answers it.

use super::{
    HostUnderTest, SIZE, Wanted,
    peer::{Commands, Peer, with_host},
};
use crate::{
    Verdict, check, check_eq,
    wire_tcp::{
        bytes,
        target::{Fatal, OUT_OF_RANGE, SEQUENCE, field},
    },
};

/// Plays with right answers except for the write, which is `script`'s.
fn writing(
    host: &dyn HostUnderTest,
    wanted: Wanted,
    script: impl FnOnce(&mut Peer, u16) -> Verdict,
) -> Verdict {
    let report = with_host(host, wanted, |peer| {
        let commands = peer.up()?;
        script(peer, commands.write)?;
        peer.complete(commands.write, 0)?;
        peer.answer_read(commands.read)?;
        peer.over("both commands are done")
    })?;
    check_eq!(report.write, Some(0), "{}", report.end);
    check!(matches!(report.read, Some((0, SIZE, _))), "{}", report.end);
    Ok(())
}

pub(super) fn slices(host: &dyn HostUnderTest) -> Verdict {
    for slice in [4, 4096, 20_000, SIZE] {
        let wanted = Wanted::default();
        let report = with_host(host, wanted, |peer| {
            let commands = peer.up()?;
            // With slices of four bytes only the start: the rest in one.
            let steps = if slice == 4 { 64 } else { SIZE.div_ceil(slice) };
            let mut at = 0;
            for tag in 0..steps {
                let len = slice.min(SIZE - at);
                peer.take(commands.write, tag as u16, at as u32, len as u32, usize::MAX)?;
                at += len;
            }
            if at < SIZE {
                peer.take(commands.write, 0x7777, at as u32, (SIZE - at) as u32, usize::MAX)?;
            }
            peer.complete(commands.write, 0)?;
            peer.answer_read(commands.read)?;
            peer.over("both commands are done")
        })?;
        check_eq!(report.write, Some(0), "slices of {slice} bytes: {}", report.end);
    }
    Ok(())
}

pub(super) fn limits(host: &dyn HostUnderTest) -> Verdict {
    for digests in [false, true] {
        for (cpda, max) in [(0, 4096), (3, 8192), (31, 4096), (7, 1 << 20)] {
            let wanted = Wanted { digests, ..Wanted::default() };
            let report = with_host(host, wanted, |peer| {
                peer.initialise_with(cpda, max)?;
                let commands = peer.commands()?;
                // `take` checks every PDU.
                peer.take(commands.write, 1, 0, 10_000, max as usize)?;
                peer.take(commands.write, 2, 10_000, (SIZE - 10_000) as u32, max as usize)?;
                peer.complete(commands.write, 0)?;
                peer.answer_read(commands.read)?;
                peer.over("both commands are done")
            })?;
            check_eq!(report.write, Some(0), "CPDA {cpda}, MAXH2CDATA {max}: {}", report.end);
        }
    }
    Ok(())
}

pub(super) fn several(host: &dyn HostUnderTest) -> Verdict {
    let wanted = Wanted { maxr2t: 3, ..Wanted::default() };
    writing(host, wanted, |peer, cid| {
        let quarter = (SIZE / 4) as u32;
        let mut r2ts = Vec::new();
        for tag in 0..4u16 {
            r2ts.extend(bytes::r2t(cid, tag, u32::from(tag) * quarter, quarter, peer.link.ours));
        }
        peer.link.send(&r2ts)?;
        for tag in 0..4u16 {
            peer.taken(cid, tag, u32::from(tag) * quarter, quarter, usize::MAX)?;
        }
        Ok(())
    })
}

/// Sends R2Ts that are wrong; the connection must end with one of these.
fn refused(
    host: &dyn HostUnderTest,
    wanted: Wanted,
    what: &str,
    accepted: &[Fatal],
    wrong: impl FnOnce(&mut Peer, Commands) -> Vec<Vec<u8>>,
) -> Verdict {
    let report = with_host(host, wanted, |peer| {
        let commands = peer.up()?;
        let pdus = wrong(peer, commands);
        // In one piece, so that the host has not answered the first before it sees the last.
        peer.link.send(&pdus.concat())?;
        peer.refused(accepted, pdus.last().map(Vec::as_slice).unwrap_or_default(), what)
    })?;
    check!(report.write.is_none(), "{what}: the write has ended");
    Ok(())
}

pub(super) fn wrong(host: &dyn HostUnderTest) -> Verdict {
    let plain = Wanted::default();
    let unknown = [field(8), SEQUENCE];
    refused(host, plain, "an R2T for nothing", &unknown, |peer, commands| {
        vec![bytes::r2t(commands.write ^ 0x4000, 1, 0, 4096, peer.link.ours)]
    })?;
    refused(host, plain, "an R2T for a read", &unknown, |peer, commands| {
        vec![bytes::r2t(commands.read, 1, 0, 4096, peer.link.ours)]
    })?;
    refused(host, plain, "an R2T for nothing at all", &[field(16), OUT_OF_RANGE], |peer, commands| {
        vec![bytes::r2t(commands.write, 1, 0, 0, peer.link.ours)]
    })?;
    for (what, offset, len) in [
        ("an R2T behind the end", SIZE as u32, 4096),
        ("an R2T over the end", 0, SIZE as u32 + 4),
        ("an R2T over the end of numbers", 0, u32::MAX - 3),
    ] {
        refused(host, plain, what, &[OUT_OF_RANGE, SEQUENCE, field(12), field(16)], |peer, commands| {
            vec![bytes::r2t(commands.write, 1, offset, len, peer.link.ours)]
        })?;
    }
    refused(host, plain, "an R2T with a gap", &[SEQUENCE, OUT_OF_RANGE, field(12)], |peer, commands| {
        vec![bytes::r2t(commands.write, 1, 4096, 4096, peer.link.ours)]
    })?;
    let wanted = Wanted { maxr2t: 1, ..Wanted::default() };
    refused(host, wanted, "an R2T that goes back", &[SEQUENCE, OUT_OF_RANGE, field(12)], |peer, commands| {
        let first = bytes::r2t(commands.write, 1, 0, 4096, peer.link.ours);
        vec![first, bytes::r2t(commands.write, 2, 0, 4096, peer.link.ours)]
    })
}
