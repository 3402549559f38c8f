//! One connection on one socket: the two system calls of the data path.

use std::{
    io::IoSliceMut,
    net::SocketAddr,
    os::fd::{AsFd, OwnedFd},
};

use rustix::{
    io::{Errno, readv},
    net::{RecvFlags, SendAncillaryBuffer, SendFlags, recv, sendmsg},
};

use super::{Connection, socket};
use crate::conn::{Life, Slices};

/// Reads of one connection in one pass, so that none starves the others.
const READS: usize = 8;

#[derive(Debug)]
pub(crate) struct Stream<C> {
    pub(crate) socket: OwnedFd,
    pub(crate) conn: C,
    pub(crate) peer: SocketAddr,
    /// The socket took less than it was given: wait until it is writable.
    pub(crate) blocked: bool,
    /// This direction has been shut down.
    shut: bool,
    /// Why sending failed, while what the peer had said before is still being read.
    broken: Option<Errno>,
}

impl<C: Connection> Stream<C> {
    pub(crate) fn new(socket: OwnedFd, conn: C, peer: SocketAddr) -> Self {
        Self { socket, conn, peer, blocked: false, shut: false, broken: None }
    }

    /// Takes in what has arrived, as much as is fair. Returns whether anything had.
    #[inline]
    pub(crate) fn receive(&mut self, scratch: &mut [u8], events: &mut Vec<C::Event>) -> bool {
        let mut any = false;
        for _ in 0..READS {
            let [direct, rest] = self.conn.targets(scratch);
            let room = direct.len() + rest.len();
            let received = if direct.is_empty() {
                recv(&self.socket, rest, RecvFlags::empty()).map(|(n, _)| n)
            } else {
                readv(&self.socket, &mut [IoSliceMut::new(direct), IoSliceMut::new(rest)])
            };
            match received {
                Ok(0) => {
                    match self.broken {
                        Some(errno) => self.fail(errno),
                        None => self.conn.peer_closed(),
                    }
                    return true;
                }
                Ok(n) => {
                    any = true;
                    self.conn.received(n, scratch, events);
                    if n < room || self.conn.life() == Life::Over {
                        break;
                    }
                }
                Err(Errno::AGAIN) => break,
                Err(Errno::INTR) => {}
                Err(errno) => {
                    self.fail(errno);
                    return true;
                }
            }
        }
        any
    }

    /// Sends what waits, with one system call.
    #[inline]
    pub(crate) fn flush(&mut self, events: &mut Vec<C::Event>) {
        if !self.conn.has_output() || self.blocked || self.conn.life() == Life::Over {
            return;
        }
        let mut slices = Slices::new();
        let wanted = self.conn.gather(&mut slices);
        let sent = sendmsg(&self.socket, &slices, &mut SendAncillaryBuffer::default(), SendFlags::NOSIGNAL);
        drop(slices);
        match sent {
            Ok(n) => {
                self.conn.wrote(n, events);
                self.blocked = n < wanted;
            }
            Err(Errno::AGAIN) => self.blocked = true,
            Err(Errno::INTR) => {}
            // A peer that has reset the connection may have said why before: what has arrived is read first.
            Err(errno @ (Errno::PIPE | Errno::CONNRESET)) if self.conn.life() == Life::Open => {
                self.broken.get_or_insert(errno);
                self.blocked = true;
            }
            Err(errno) => self.fail(errno),
        }
        if self.blocked {
            self.conn.blocked();
        }
    }

    #[cold]
    fn fail(&mut self, errno: Errno) {
        self.conn.failed(socket::stream_error(self.conn.stage(), self.peer, errno));
    }

    /// Shuts this direction down once the last word has left.
    pub(crate) fn settle(&mut self) {
        match self.conn.life() {
            Life::Draining if !self.conn.has_output() && !self.shut => {
                self.shut = true;
                socket::shut_down(&self.socket);
            }
            // spec: TCP-ERR-13
            Life::Over if self.conn.has_output() => socket::reset_on_close(self.socket.as_fd()),
            _ => {}
        }
    }
}
