//! One TCP connection of the tester: whole PDUs out and in, every wait bounded.

use std::{
    io::{ErrorKind, Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use super::bytes::{Pdu, Shape};
use crate::{Context as _, Stop, Verdict, check};

/// How long a peer may take to answer what it should answer at once.
pub const PATIENCE: Duration = Duration::from_secs(5);

/// A peer that sends a larger PDU than this is broken.
const LARGEST: usize = 8 << 20;

/// What comes from a peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    /// A whole PDU.
    Pdu(Pdu),
    /// The end, in order (FIN) or not (RST).
    End {
        /// Whether it was FIN.
        orderly: bool,
    },
    /// Nothing in the time given.
    Silence,
}

/// A connection.
#[derive(Debug)]
pub struct Link {
    stream: TcpStream,
    /// How PDUs from the peer look.
    pub theirs: Shape,
    /// How PDUs to the peer look.
    pub ours: Shape,
}

impl Link {
    /// Connects.
    pub fn connect(to: SocketAddr) -> Result<Self, Stop> {
        let stream = TcpStream::connect_timeout(&to, PATIENCE).doing(&format!("to connect to {to}"))?;
        Self::over(stream)
    }

    /// Over a connection that is there.
    pub fn over(stream: TcpStream) -> Result<Self, Stop> {
        stream.set_nodelay(true).doing("TCP_NODELAY")?;
        stream.set_write_timeout(Some(PATIENCE)).doing("a timeout")?;
        Ok(Self { stream, theirs: Shape::default(), ours: Shape::default() })
    }

    /// The socket, for what a case does to it.
    pub fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// Sends bytes as they are. A peer that has hung up is no failure here; what it said last is.
    pub fn send(&mut self, bytes: &[u8]) -> Verdict {
        match self.stream.write_all(bytes) {
            Ok(()) => Ok(()),
            Err(error) if is_end(&error) => Ok(()),
            Err(error) => Err(Stop::failed(format!("to send {} bytes: {error}", bytes.len()))),
        }
    }

    /// The next PDU, within the usual time.
    pub fn hear(&mut self) -> Result<Heard, Stop> {
        self.hear_within(PATIENCE)
    }

    /// The next PDU, within `time`.
    pub fn hear_within(&mut self, time: Duration) -> Result<Heard, Stop> {
        self.stream.set_read_timeout(Some(time)).doing("a timeout")?;
        let mut bytes = vec![0; 8];
        if let Some(heard) = self.fill(&mut bytes, 0)? {
            return Ok(heard);
        }
        let plen = u32::from_le_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]) as usize;
        check!((8..=LARGEST).contains(&plen), "a PDU of {plen} bytes: {bytes:02x?}");
        bytes.resize(plen, 0);
        if let Some(heard) = self.fill(&mut bytes, 8)? {
            return Err(Stop::failed(format!("{heard:?} in the middle of a PDU of {plen} bytes")));
        }
        Ok(Heard::Pdu(Pdu { bytes }))
    }

    /// Reads from `at` to the end of `bytes`; `Some` if something else happens.
    fn fill(&mut self, bytes: &mut [u8], at: usize) -> Result<Option<Heard>, Stop> {
        let start = at;
        let mut at = at;
        while at < bytes.len() {
            match self.stream.read(&mut bytes[at..]) {
                Ok(0) => {
                    check!(at == start, "FIN after {at} bytes of a PDU");
                    return Ok(Some(Heard::End { orderly: true }));
                }
                Ok(len) => at += len,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if is_end(&error) => return Ok(Some(Heard::End { orderly: false })),
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    check!(at == start, "only {at} of {} bytes of a PDU came", bytes.len());
                    return Ok(Some(Heard::Silence));
                }
                Err(error) => return Err(Stop::failed(format!("to receive: {error}"))),
            }
        }
        Ok(None)
    }

    /// The next PDU, which must be there and of this type, with the digests that were agreed on.
    #[track_caller]
    pub fn expect(&mut self, kind: u8) -> Result<Pdu, Stop> {
        match self.hear()? {
            Heard::Pdu(pdu) if pdu.kind() == kind => {
                if let Some(fault) = pdu.digest_fault(self.theirs) {
                    return Err(Stop::failed(format!("PDU type {kind:02x}: {fault}")));
                }
                Ok(pdu)
            }
            Heard::Pdu(pdu) => {
                let head = &pdu.bytes[..pdu.bytes.len().min(32)];
                Err(Stop::failed(format!("expected a PDU of type {kind:02x}, got {head:02x?}")))
            }
            other => Err(Stop::failed(format!("expected a PDU of type {kind:02x}, got {other:?}"))),
        }
    }

    /// Breaks the connection with RST.
    pub fn reset(self) -> Verdict {
        let socket = rustix::net::sockopt::set_socket_linger(&self.stream, Some(Duration::ZERO));
        socket.doing("SO_LINGER")
    }
}

fn is_end(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe | ErrorKind::ConnectionAborted)
}
