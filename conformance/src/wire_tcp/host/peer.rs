//! The tester's end of a connection from a host.

use std::{
    io::ErrorKind,
    net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener},
    thread,
    time::{Duration, Instant},
};

use super::{HostUnderTest, Report, SIZE, Wanted, sent, written};
use crate::{
    Context as _, Stop, Verdict, check, check_eq,
    wire_tcp::{
        bytes::{self, Pdu, Shape, flag, kind, sgl},
        link::{Heard, Link, PATIENCE},
        target::Fatal,
    },
};

/// A connection from a host.
#[derive(Debug)]
pub struct Peer {
    /// The connection.
    pub link: Link,
    /// Its ICReq.
    pub ic_req: Pdu,
}

/// The two commands of a host.
#[derive(Clone, Copy, Debug)]
pub struct Commands {
    /// CID of the write.
    pub write: u16,
    /// CID of the read.
    pub read: u16,
}

/// Lets a host connect, and plays the controller by `script`; what the host reports.
pub(super) fn with_host(
    host: &dyn HostUnderTest,
    wanted: Wanted,
    script: impl FnOnce(&mut Peer) -> Verdict,
) -> Result<Report, Stop> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).doing("to listen")?;
    listener.set_nonblocking(true).doing("to listen")?;
    let address: SocketAddr = listener.local_addr().doing("an address")?;
    thread::scope(|scope| {
        let running = scope.spawn(move || host.run(address, wanted));
        let played = accept(&listener).and_then(|mut link| {
            let ic_req = link.expect(kind::IC_REQ)?;
            check_ic_req(&ic_req, wanted)?;
            let mut peer = Peer { link, ic_req };
            let verdict = script(&mut peer);
            // Whatever the script has left open ends here, so that the host does too.
            let _ = peer.link.stream().shutdown(Shutdown::Both);
            verdict
        });
        let report = running.join().map_err(|_| Stop::failed("the host panicked"))?;
        played?;
        report
    })
}

fn accept(listener: &TcpListener) -> Result<Link, Stop> {
    #[expect(clippy::disallowed_methods, reason = "the tester lives in real time")]
    let until = Instant::now() + PATIENCE;
    loop {
        match listener.accept() {
            Ok((stream, _)) => {
                stream.set_nonblocking(false).doing("a blocking socket")?;
                return Link::over(stream);
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Err(Stop::failed(format!("to accept: {error}"))),
        }
        #[expect(clippy::disallowed_methods, reason = "the tester lives in real time")]
        let now = Instant::now();
        check!(now < until, "the host does not connect");
        thread::park_timeout(Duration::from_millis(1));
    }
}

/// What an ICReq must be (NVMe/TCP Transport 1.0 §3.6.2.2).
fn check_ic_req(pdu: &Pdu, wanted: Wanted) -> Verdict {
    check_eq!((pdu.bytes.len(), pdu.hlen(), pdu.flags(), pdu.pdo()), (128, 128, 0, 0), "ICReq");
    check_eq!(pdu.u16(8), 0, "PFV");
    check!(pdu.byte(10) <= 31, "HPDA {}", pdu.byte(10));
    check_eq!(pdu.byte(11), if wanted.digests { 3 } else { 0 }, "DGST");
    check_eq!(pdu.u32(12), wanted.maxr2t, "MAXR2T, 0's based");
    check!(pdu.bytes[16..].iter().all(|&byte| byte == 0), "reserved bytes of ICReq are set");
    Ok(())
}

impl Peer {
    /// Answers ICReq; grants what was offered.
    pub fn initialise(&mut self) -> Verdict {
        self.initialise_with(0, 131_072)
    }

    /// Answers ICReq with an alignment and a limit.
    pub fn initialise_with(&mut self, cpda: u8, max_h2c_data: u32) -> Verdict {
        let offered = self.ic_req.byte(11);
        let mut reply = bytes::ic_resp();
        reply[10] = cpda;
        reply[11] = offered;
        reply[12..16].copy_from_slice(&max_h2c_data.to_le_bytes());
        self.link.send(&reply)?;
        let (hdgst, ddgst) = (offered & 1 != 0, offered & 2 != 0);
        self.link.ours = Shape { hdgst, ddgst, pda: self.ic_req.byte(10) };
        self.link.theirs = Shape { hdgst, ddgst, pda: cpda };
        Ok(())
    }

    /// Takes the two commands of the host and checks them.
    pub fn commands(&mut self) -> Result<Commands, Stop> {
        let (mut write, mut read) = (None, None);
        while write.is_none() || read.is_none() {
            let pdu = self.link.expect(kind::CAPSULE_CMD)?;
            check_eq!(pdu.hlen(), 72, "HLEN of CapsuleCmd");
            check_eq!(pdu.bytes[9] >> 6, 1, "PSDT of a Fabrics command");
            let (opcode, cid) = (pdu.byte(8), pdu.u16(10));
            let (identifier, len) = (pdu.byte(8 + 39), pdu.u32(8 + 32));
            check_eq!((identifier, len as usize), (sgl::TRANSPORT, SIZE), "SGL1 of opcode {opcode:02x}");
            check_eq!(pdu.pdo(), 0, "PDO of a capsule without data");
            check_eq!(pdu.bytes.len(), 72 + if self.link.theirs.hdgst { 4 } else { 0 }, "PLEN");
            match opcode {
                bytes::WRITE => write = Some(cid),
                bytes::READ => read = Some(cid),
                other => return Err(Stop::failed(format!("opcode {other:02x}"))),
            }
        }
        let commands = Commands { write: write.unwrap_or_default(), read: read.unwrap_or_default() };
        check!(commands.write != commands.read, "two commands with CID {:#x}", commands.write);
        Ok(commands)
    }

    /// Initialises and takes the commands.
    pub fn up(&mut self) -> Result<Commands, Stop> {
        self.initialise()?;
        self.commands()
    }

    /// Asks for data and takes it: the PDUs, checked, and put together.
    pub fn take(&mut self, cid: u16, ttag: u16, offset: u32, len: u32, max: usize) -> Result<Vec<u8>, Stop> {
        self.link.send(&bytes::r2t(cid, ttag, offset, len, self.link.ours))?;
        self.taken(cid, ttag, offset, len, max)
    }

    /// Takes the data of an R2T that has been sent.
    pub fn taken(&mut self, cid: u16, ttag: u16, offset: u32, len: u32, max: usize) -> Result<Vec<u8>, Stop> {
        let mut data = Vec::new();
        loop {
            let pdu = self.link.expect(kind::H2C_DATA)?;
            let unit = (usize::from(self.link.theirs.pda) + 1) * 4;
            let head = 24 + if self.link.theirs.hdgst { 4 } else { 0 };
            check_eq!(
                (pdu.hlen(), pdu.cid(), pdu.u16(10)),
                (24, cid, ttag),
                "HLEN, CCCID and TTAG of H2CData"
            );
            check!(
                pdu.pdo() >= head && pdu.pdo().is_multiple_of(unit),
                "PDO {} with CPDA {}",
                pdu.pdo(),
                self.link.theirs.pda
            );
            check_eq!(pdu.offset() as usize, offset as usize + data.len(), "DATAO");
            check_eq!(pdu.length() as usize, pdu.data().len(), "DATAL");
            check!(pdu.data().len() <= max, "{} bytes in one H2CData, MAXH2CDATA is {max}", pdu.data().len());
            data.extend_from_slice(pdu.data());
            let last = pdu.flags() & flag::LAST != 0;
            check!(pdu.flags() & flag::SUCCESS == 0, "SUCCESS in H2CData");
            check_eq!(last, data.len() == len as usize, "LAST_PDU after {} of {len} bytes", data.len());
            if last {
                let right = data.iter().enumerate().all(|(n, &byte)| byte == written(offset as usize + n));
                check!(right, "the data of the R2T at {offset} is not what was written");
                return Ok(data);
            }
        }
    }

    /// Sends all the data of the read, and its completion.
    pub fn answer_read(&mut self, cid: u16) -> Verdict {
        for at in (0..SIZE).step_by(16_384) {
            let last = at + 16_384 == SIZE;
            let pdu = data_pdu(cid, at, 16_384, if last { flag::LAST } else { 0 }, self.link.ours);
            self.link.send(&pdu)?;
        }
        self.complete(cid, 0)
    }

    /// Takes all the data of the write, and completes it.
    pub fn answer_write(&mut self, cid: u16) -> Verdict {
        self.take(cid, 7, 0, SIZE as u32, usize::MAX)?;
        self.complete(cid, 0)
    }

    /// Sends a completion.
    pub fn complete(&mut self, cid: u16, status: u16) -> Verdict {
        self.link.send(&bytes::capsule_resp(cid, status, self.link.ours))
    }

    /// The host must end the connection with one of these termination requests; H2CData under way is passed over.
    pub fn refused(&mut self, accepted: &[Fatal], offender: &[u8], what: &str) -> Verdict {
        loop {
            match self.link.hear().doing(what)? {
                Heard::Pdu(pdu) if pdu.kind() == kind::H2C_TERM_REQ => {
                    let (fes, fei) = pdu.fatal();
                    let fits =
                        accepted.iter().any(|(status, at)| *status == fes && at.is_none_or(|at| at == fei));
                    check!(
                        fits,
                        "{what}: H2CTermReq with FES {fes}, FEI {fei:#x}, expected one of {accepted:?}"
                    );
                    check_eq!((pdu.hlen(), pdu.flags(), pdu.pdo()), (24, 0, 0), "header of H2CTermReq");
                    let echo = &pdu.bytes[24..];
                    check!(echo.len() <= 128, "{} bytes of the offender are repeated", echo.len());
                    let same = echo.len().min(offender.len());
                    check!(echo[..same] == offender[..same], "{what}: what is repeated is not what was sent");
                    return self.over(what);
                }
                Heard::Pdu(pdu) if matches!(pdu.kind(), kind::H2C_DATA | kind::CAPSULE_CMD) => {}
                other => return Err(Stop::failed(format!("{what}: expected H2CTermReq, got {other:?}"))),
            }
        }
    }

    /// The host must end the connection without another word.
    pub fn over(&mut self, what: &str) -> Verdict {
        let _ = self.link.stream().shutdown(Shutdown::Write);
        loop {
            match self.link.hear().doing(what)? {
                Heard::End { .. } => return Ok(()),
                Heard::Pdu(pdu) if matches!(pdu.kind(), kind::H2C_DATA | kind::CAPSULE_CMD) => {}
                other => return Err(Stop::failed(format!("{what}: expected the end, got {other:?}"))),
            }
        }
    }
}

/// A C2HData with the data of the read at an offset.
#[must_use]
pub(super) fn data_pdu(cid: u16, at: usize, len: usize, flags: u8, shape: Shape) -> Vec<u8> {
    let data: Vec<u8> = (at..at + len).map(sent).collect();
    bytes::c2h_data(cid, at as u32, &data, flags, shape)
}
