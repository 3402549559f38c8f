//! Socket addresses to and from the connection manager.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6, UdpSocket};

use socket2::SockAddr;

use crate::ffi;

const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;

/// Bytes of the longest address that is read: `sockaddr_in6`.
const LONGEST: usize = 28;

/// An address in the form that C takes. It lives as long as the value.
pub(super) struct CAddress(SockAddr);

impl CAddress {
    pub(super) fn new(address: SocketAddr) -> Self {
        Self(address.into())
    }

    /// librdmacm's functions take a pointer to something they do not change.
    pub(super) fn as_ptr(&self) -> *mut ffi::sockaddr {
        self.0.as_ptr().cast_mut().cast()
    }
}

/// The local and the peer's address of an identifier; `None` for one that is not known yet.
///
/// # Safety
/// `id` is live.
pub(super) unsafe fn of_id(id: *mut ffi::rdma_cm_id) -> (Option<SocketAddr>, Option<SocketAddr>) {
    // SAFETY: the identifier is live; both unions are plain bytes, longer than what is read.
    unsafe {
        let route = &raw const (*id).route.addr;
        let local: [u8; LONGEST] = (&raw const (*route).__bindgen_anon_1).cast::<[u8; LONGEST]>().read();
        let peer: [u8; LONGEST] = (&raw const (*route).__bindgen_anon_2).cast::<[u8; LONGEST]>().read();
        (parse(&local), parse(&peer))
    }
}

fn parse(bytes: &[u8; LONGEST]) -> Option<SocketAddr> {
    let [f0, f1, p0, p1, a, b, c, d, rest @ ..] = *bytes;
    let port = u16::from_be_bytes([p0, p1]);
    match u16::from_ne_bytes([f0, f1]) {
        AF_INET => Some(SocketAddr::new(IpAddr::V4(Ipv4Addr::new(a, b, c, d)), port)),
        AF_INET6 => {
            let (address, scope) = rest.split_first_chunk::<16>()?;
            let scope = u32::from_ne_bytes(*scope.first_chunk::<4>()?);
            let flow = u32::from_be_bytes([a, b, c, d]);
            Some(SocketAddrV6::new(Ipv6Addr::from(*address), port, flow, scope).into())
        }
        _ => None,
    }
}

/// The address by which this machine would reach another. Nothing is sent: a datagram socket that is connected only looks its
/// route up.
pub(super) fn source_towards(peer: SocketAddr) -> std::io::Result<IpAddr> {
    let any: IpAddr =
        if peer.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, 0))?;
    // A port of 0 cannot be connected to, and does not matter here.
    socket.connect(SocketAddr::new(peer.ip(), 9))?;
    Ok(socket.local_addr()?.ip())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_survive_the_way_through_c() {
        for text in ["10.99.0.1:4420", "[2001:db8::7]:4420", "[fe80::1%3]:65535", "0.0.0.0:0"] {
            let address: SocketAddr = text.parse().unwrap();
            let c = CAddress::new(address);
            let mut bytes = [0u8; LONGEST];
            let length = if address.is_ipv4() { 16 } else { LONGEST };
            // SAFETY: the address is that long.
            bytes[..length]
                .copy_from_slice(unsafe { std::slice::from_raw_parts(c.as_ptr().cast::<u8>(), length) });
            assert_eq!(parse(&bytes), Some(address));
        }
        assert_eq!(parse(&[0; LONGEST]), None);
    }

    #[test]
    fn the_way_to_oneself_leaves_by_the_own_address() {
        let to: SocketAddr = "127.0.0.1:4420".parse().unwrap();
        assert_eq!(source_towards(to).unwrap(), to.ip());
    }
}
