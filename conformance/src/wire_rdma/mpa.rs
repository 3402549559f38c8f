//! MPA connection frames by hand (RFC 5044 §7.1, RFC 6581 §9), with NVMe's private data in them.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use crate::{Context as _, Stop, check, check_eq};

/// Longer than any answer may take.
pub const PATIENCE: Duration = Duration::from_secs(5);

/// The private data of a good request for the admin queue: 32 entries.
#[must_use]
pub fn admin_request() -> [u8; 32] {
    request(0, 32, 31, 0)
}

/// The private data of a request.
#[must_use]
pub fn request(qid: u16, hrqsize: u16, hsqsize: u16, cntlid: u16) -> [u8; 32] {
    let mut bytes = [0; 32];
    for (at, value) in [(2, qid), (4, hrqsize), (6, hsqsize), (8, cntlid)] {
        bytes[at..at + 2].copy_from_slice(&value.to_le_bytes());
    }
    bytes
}

/// An MPA request of revision 2 that asks for CRCs.
#[must_use]
pub fn frame(ird: u16, ord: u16, private_data: &[u8]) -> Vec<u8> {
    let mut bytes = b"MPA ID Req Frame".to_vec();
    bytes.extend([0x40 | 0x10, 2]);
    bytes.extend(((private_data.len() + 4) as u16).to_be_bytes());
    bytes.extend(ird.to_be_bytes());
    bytes.extend(ord.to_be_bytes());
    bytes.extend(private_data);
    bytes
}

/// What came back.
#[derive(Debug)]
pub enum Reply {
    /// The connection is up; the private data.
    Accepted(TcpStream, Vec<u8>),
    /// It is not; the private data.
    Rejected(Vec<u8>),
}

/// Asks a target for a connection.
pub fn ask(to: SocketAddr, ird: u16, private_data: &[u8]) -> Result<Reply, Stop> {
    let mut stream = TcpStream::connect(to).doing("to connect")?;
    stream.set_read_timeout(Some(PATIENCE)).doing("a timeout")?;
    stream.write_all(&frame(ird, 0, private_data)).doing("to send the MPA request")?;
    let mut head = [0; 20];
    stream.read_exact(&mut head).doing("the MPA reply")?;
    check_eq!(&head[..16], b"MPA ID Rep Frame");
    let mut rest = vec![0; u16::from_be_bytes([head[18], head[19]]).into()];
    stream.read_exact(&mut rest).doing("the private data of the MPA reply")?;
    check!(head[16] & 0x10 != 0 && rest.len() >= 4, "an enhanced request got a plain reply: {head:02x?}");
    let private_data = rest.split_off(4);
    Ok(match head[16] & 0x20 {
        0 => Reply::Accepted(stream, private_data),
        _ => Reply::Rejected(private_data),
    })
}

/// The status a target turns a request down with.
pub fn rejected(to: SocketAddr, ird: u16, private_data: &[u8]) -> Result<u16, Stop> {
    match ask(to, ird, private_data)? {
        Reply::Rejected(said) => {
            check_eq!(said.len(), 4, "private data of a reject: {said:02x?}");
            check_eq!(u16::from_le_bytes([said[0], said[1]]), 0, "RECFMT of a reject");
            Ok(u16::from_le_bytes([said[2], said[3]]))
        }
        Reply::Accepted(_, said) => Err(Stop::failed(format!("accepted, with {said:02x?}"))),
    }
}
