//! Sockets: connecting, listening, and the options that both need.

use std::{
    net::SocketAddr,
    os::fd::{AsFd, OwnedFd},
};

use nvmf_transport::{Error, ErrorKind, Stage};
use rustix::io::Errno;
use socket2::{Domain, Protocol, SockAddr, SockRef, Socket, TcpKeepalive, Type};

use crate::config::TcpConfig;

/// Starts to connect. Writable when that has ended, one way or the other: then ask [`connected`].
pub(crate) fn connect(
    address: SocketAddr,
    source: Option<SocketAddr>,
    config: &TcpConfig,
) -> Result<OwnedFd, Error> {
    let failed = |what: String| move |error| Error::from_io(Stage::Connect, what, error);
    let socket = create(address).map_err(failed("cannot create a socket".into()))?;
    tune(&socket, config);
    if let Some(source) = source {
        socket.bind(&source.into()).map_err(failed(format!("cannot connect from {source}")))?;
    }
    match socket.connect(&SockAddr::from(address)) {
        Ok(()) => {}
        // EINTR too: the kernel goes on connecting.
        Err(e)
            if [Errno::INPROGRESS, Errno::INTR]
                .map(Errno::raw_os_error)
                .map(Some)
                .contains(&e.raw_os_error()) => {}
        Err(error) => return Err(failed(format!("cannot connect to {address}"))(error)),
    }
    Ok(socket.into())
}

/// Whether connecting succeeded.
pub(crate) fn connected(socket: impl AsFd, address: SocketAddr) -> Result<(), Error> {
    let error = match SockRef::from(&socket).take_error() {
        Ok(None) => return Ok(()),
        Ok(Some(error)) | Err(error) => error,
    };
    let detail = match error.kind() {
        std::io::ErrorKind::ConnectionRefused => {
            format!("{address} refused the connection: nobody listens there")
        }
        std::io::ErrorKind::TimedOut => format!("{address} does not answer"),
        _ => format!("cannot connect to {address}: {error}"),
    };
    Err(Error::from_io(Stage::Connect, detail, error))
}

/// Opens a listening socket and returns it with its address.
pub(crate) fn listen(address: SocketAddr, config: &TcpConfig) -> Result<(OwnedFd, SocketAddr), Error> {
    let open = || {
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
    };
    open()
        .map_err(|error| Error::from_io(Stage::Listen, format!("cannot listen on {address}: {error}"), error))
}

/// Accepts one connection, `None` when there is none at the moment.
pub(crate) fn accept(listener: impl AsFd, config: &TcpConfig) -> std::io::Result<Option<OwnedFd>> {
    match SockRef::from(&listener).accept() {
        Ok((socket, _)) => {
            prepare(&socket, config)?;
            Ok(Some(socket.into()))
        }
        Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => Ok(None),
        // The connection was gone before it was accepted: there may be others.
        Err(error)
            if matches!(
                error.kind(),
                std::io::ErrorKind::ConnectionAborted | std::io::ErrorKind::Interrupted
            ) =>
        {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// Makes an accepted socket fit for the engine.
pub(crate) fn prepare(socket: impl AsFd, config: &TcpConfig) -> std::io::Result<()> {
    let socket = SockRef::from(&socket);
    socket.set_nonblocking(true)?;
    tune(&socket, config);
    Ok(())
}

/// This side's and the peer's address.
pub(crate) fn addresses(socket: impl AsFd) -> std::io::Result<(SocketAddr, SocketAddr)> {
    let socket = SockRef::from(&socket);
    let inet = |address: SockAddr| address.as_socket().ok_or(std::io::ErrorKind::Unsupported);
    Ok((inet(socket.local_addr()?)?, inet(socket.peer_addr()?)?))
}

/// Ends this direction; the peer sees the end after the last byte.
pub(crate) fn shut_down(socket: impl AsFd) {
    // A connection that the peer has reset cannot be shut down and need not be.
    let _ = SockRef::from(&socket).shutdown(std::net::Shutdown::Write);
}

/// Makes closing reset the connection, dropping what was not sent.
pub(crate) fn reset_on_close(socket: impl AsFd) {
    let _ = SockRef::from(&socket).set_linger(Some(std::time::Duration::ZERO));
}

/// An error of the byte stream.
pub(crate) fn stream_error(stage: Stage, peer: SocketAddr, errno: Errno) -> Error {
    let error = std::io::Error::from(errno);
    let detail = match error.kind() {
        std::io::ErrorKind::ConnectionReset | std::io::ErrorKind::BrokenPipe => {
            format!("{peer} reset the connection")
        }
        std::io::ErrorKind::TimedOut => format!("{peer} does not answer any more"),
        _ => format!("the connection to {peer} failed: {error}"),
    };
    Error::from_io(stage, detail, error)
}

/// The peer did not answer the TCP handshake in time.
pub(crate) fn connect_timeout(address: SocketAddr) -> Error {
    Error::new(Stage::Connect, ErrorKind::TimedOut, format!("{address} does not answer"))
}

fn create(address: SocketAddr) -> std::io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// Options that make a connection faster or its loss seen earlier. One that the system refuses is done without.
fn tune(socket: &Socket, config: &TcpConfig) {
    let mut refused = Vec::new();
    let mut note = |option: &'static str, result: std::io::Result<()>| {
        if let Err(error) = result {
            refused.push((option, error));
        }
    };
    note("TCP_NODELAY", socket.set_tcp_nodelay(true));
    if let Some(keepalive) = config.keepalive {
        let options = TcpKeepalive::new().with_time(keepalive.idle).with_interval(keepalive.interval);
        note("SO_KEEPALIVE", socket.set_tcp_keepalive(&options.with_retries(keepalive.probes)));
    }
    #[cfg(target_os = "linux")]
    note("TCP_USER_TIMEOUT", socket.set_tcp_user_timeout(config.user_timeout));
    buffers(socket, config);
    if !refused.is_empty() {
        tracing::debug!(?refused, "socket options are not available");
    }
}

fn buffers(socket: &Socket, config: &TcpConfig) {
    // The system bounds what it gives; less than asked for is still right.
    if let Some(bytes) = config.send_buffer {
        let _ = socket.set_send_buffer_size(bytes);
    }
    if let Some(bytes) = config.receive_buffer {
        let _ = socket.set_recv_buffer_size(bytes);
    }
}

#[cfg(test)]
#[path = "socket_tests.rs"]
mod tests;
