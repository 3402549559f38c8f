//! Sockets: connecting, listening, and the options that both need.

use std::{
    io,
    net::SocketAddr,
    os::fd::{AsFd, OwnedFd},
};

use rustix::io::Errno;
use socket2::{Domain, Protocol, SockAddr, SockRef, Socket, Type};

use crate::config::EndpointConfig;

/// Starts to connect. Writable when that has ended, one way or the other: then ask [`connected`].
pub(super) fn connect(
    address: SocketAddr,
    source: Option<SocketAddr>,
    config: &EndpointConfig,
) -> io::Result<OwnedFd> {
    let socket = create(address)?;
    tune(&socket, config)?;
    if let Some(source) = source {
        socket.bind(&source.into())?;
    }
    match socket.connect(&SockAddr::from(address)) {
        Ok(()) => {}
        // EINTR too: the kernel goes on connecting.
        Err(error)
            if [Errno::INPROGRESS, Errno::INTR]
                .iter()
                .any(|e| error.raw_os_error() == Some(e.raw_os_error())) => {}
        Err(error) => return Err(error),
    }
    Ok(socket.into())
}

/// Whether connecting succeeded.
pub(super) fn connected(socket: impl AsFd) -> io::Result<()> {
    match SockRef::from(&socket).take_error() {
        Ok(None) => Ok(()),
        Ok(Some(error)) | Err(error) => Err(error),
    }
}

/// Opens a listening socket and returns it with its address.
pub(super) fn listen(address: SocketAddr, config: &EndpointConfig) -> io::Result<(OwnedFd, SocketAddr)> {
    let socket = create(address)?;
    socket.set_reuse_address(true)?;
    #[cfg(unix)]
    if config.reuse_port {
        socket.set_reuse_port(true)?;
    }
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    // Buffer sizes must be known before the handshake fixes the window scale; accepted sockets inherit them.
    buffers(&socket, config);
    socket.bind(&address.into())?;
    socket.listen(config.backlog.into())?;
    let bound = socket.local_addr()?.as_socket().unwrap_or(address);
    Ok((socket.into(), bound))
}

/// Accepts one connection, `None` when there is none at the moment.
pub(super) fn accept(listener: impl AsFd) -> io::Result<Option<OwnedFd>> {
    match SockRef::from(&listener).accept() {
        Ok((socket, _)) => Ok(Some(socket.into())),
        Err(error) => match error.kind() {
            // None, or one that was gone before it was accepted.
            io::ErrorKind::WouldBlock | io::ErrorKind::ConnectionAborted | io::ErrorKind::Interrupted => {
                Ok(None)
            }
            _ => Err(error),
        },
    }
}

/// Makes an accepted socket fit for the endpoint, and answers with this side's and the peer's address.
pub(super) fn prepare(socket: impl AsFd, config: &EndpointConfig) -> io::Result<(SocketAddr, SocketAddr)> {
    let options = SockRef::from(&socket);
    options.set_nonblocking(true)?;
    tune(&options, config)?;
    addresses(&socket)
}

/// This side's and the peer's address.
pub(super) fn addresses(socket: impl AsFd) -> io::Result<(SocketAddr, SocketAddr)> {
    let socket = SockRef::from(&socket);
    let inet = |address: SockAddr| address.as_socket().ok_or(io::ErrorKind::Unsupported);
    Ok((inet(socket.local_addr()?)?, inet(socket.peer_addr()?)?))
}

/// The segment size of a connection, which may change during its life.
pub(super) fn emss(socket: impl AsFd) -> Option<u32> {
    SockRef::from(&socket).tcp_mss().ok()
}

/// Ends this direction; the peer sees the end after the last byte.
pub(super) fn shut_down(socket: impl AsFd) {
    // A connection that the peer has reset cannot be shut down and need not be.
    let _ = SockRef::from(&socket).shutdown(std::net::Shutdown::Write);
}

/// Makes closing reset the connection, dropping what was not sent.
pub(super) fn reset_on_close(socket: impl AsFd) {
    let _ = SockRef::from(&socket).set_linger(Some(std::time::Duration::ZERO));
}

fn create(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

fn tune(socket: &Socket, config: &EndpointConfig) -> io::Result<()> {
    // Whole FPDUs are written: waiting for more would only cost time.
    socket.set_tcp_nodelay(true)?;
    buffers(socket, config);
    Ok(())
}

fn buffers(socket: &Socket, config: &EndpointConfig) {
    // The system bounds what it gives; less than asked for is still right.
    if let Some(bytes) = config.send_buffer {
        let _ = socket.set_send_buffer_size(bytes);
    }
    if let Some(bytes) = config.receive_buffer {
        let _ = socket.set_recv_buffer_size(bytes);
    }
}
