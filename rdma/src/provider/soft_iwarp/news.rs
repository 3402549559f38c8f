//! What an endpoint reports, in the words of the interface.

use nvmf_soft_iwarp::{Completed, ConnectError, Disconnect, Event, Status, mpa::MpaError};
use nvmf_transport::{Error, ErrorKind, Stage};

use super::{
    at,
    verbs::{Conn, SoftIwarpVerbs},
};
use crate::verbs::{CmEvent, Completion, ConnId, Depths, Ending, ListenId, Operation, PrivateData, WcStatus};

impl SoftIwarpVerbs {
    /// Puts an event where it is asked for: completions to completions, everything else to the connection manager's.
    pub(super) fn sort(&mut self, event: Event) {
        match event {
            Event::Completion(completion) => self.completed(&completion),
            Event::Request { request, listener, info } => {
                let number =
                    listener.map(|listener| self.listeners.iter().position(|&known| known == Some(listener)));
                let listener = match number {
                    None => {
                        let place = self.adopted.iter().position(|&(known, _)| known == request);
                        let Some(place) = place else { return };
                        self.adopted.swap_remove(place).1
                    }
                    Some(Some(number)) => ListenId(number as u32),
                    // The listener was closed meanwhile.
                    Some(None) => {
                        let _ = self.endpoint.reject(request, &[]);
                        return;
                    }
                };
                let conn = Conn { request: Some(request), ..Conn::new(info.peer, Some(info.local)) };
                let conn = self.add(conn);
                // MPA revision 1 says nothing of depths; every such peer is known to serve at least one READ.
                let depth =
                    |said: Option<u16>, unsaid| said.map_or(unsaid, |said| said.min(u8::MAX.into()) as u8);
                self.news.push(CmEvent::Requested {
                    conn,
                    listener,
                    private_data: PrivateData::from_slice(&info.private_data),
                    depths: Depths { initiator: depth(info.ird, 1), responder: depth(info.ord, 0) },
                });
            }
            Event::RequestGone { request } => {
                let gone = self.conns.iter().enumerate().find_map(|(slot, (generation, conn))| {
                    (conn.as_ref()?.request? == request)
                        .then_some(ConnId { slot: slot as u32, generation: *generation })
                });
                if let Some(conn) = gone {
                    let error = Error::new(
                        Stage::Negotiate,
                        ErrorKind::PeerClosed,
                        "the peer was gone before it was answered",
                    );
                    self.news.push(CmEvent::Failed { conn, error });
                }
            }
            Event::Established { qp, info } => {
                let Some(id) = self.of(qp) else { return };
                if let Some(conn) = self.conn(id) {
                    conn.up = true;
                    // A responder has known them since the request.
                    if info.local.port() != 0 {
                        (conn.local, conn.peer) = (Some(info.local), info.peer);
                    }
                }
                let byte = |depth: u16| depth.min(u8::MAX.into()) as u8;
                self.news.push(CmEvent::Established {
                    conn: id,
                    private_data: PrivateData::from_slice(&info.private_data),
                    depths: Depths { initiator: byte(info.ord), responder: byte(info.ird) },
                });
            }
            Event::Rejected { qp, private_data } => {
                if let Some(conn) = self.of(qp) {
                    self.news.push(CmEvent::Rejected {
                        conn,
                        private_data: PrivateData::from_slice(&private_data),
                    });
                }
            }
            Event::ConnectFailed { qp, error } => {
                let Some(conn) = self.of(qp) else { return };
                let Some(peer) = self.conn(conn).map(|conn| conn.peer) else { return };
                let error = match *error {
                    ConnectError::Tcp(error) => at(Stage::Connect, "connect to", peer, error),
                    ConnectError::TimedOut => Error::new(
                        Stage::Negotiate,
                        ErrorKind::TimedOut,
                        format!("{peer} did not answer the MPA request in time"),
                    ),
                    ConnectError::Closed => Error::new(
                        Stage::Negotiate,
                        ErrorKind::PeerClosed,
                        format!(
                            "{peer} closed the connection instead of answering the MPA request (does it speak iWARP?)"
                        ),
                    ),
                    ConnectError::Mpa(error @ MpaError::Key) => {
                        Error::new(Stage::Negotiate, ErrorKind::NotNvme, format!("{peer}: {error}"))
                    }
                    ConnectError::Mpa(error) => Error::new(
                        Stage::Negotiate,
                        ErrorKind::Protocol,
                        format!("{peer} answered wrongly: {error}"),
                    ),
                };
                self.news.push(CmEvent::Failed { conn, error });
            }
            Event::Disconnected { qp, reason } => {
                if let Some(conn) = self.of(qp) {
                    let up = self.conn(conn).is_some_and(|conn| conn.up);
                    self.news.push(ended(conn, up, *reason));
                }
            }
        }
    }

    fn of(&self, qp: nvmf_soft_iwarp::Qp) -> Option<ConnId> {
        let id = self.by_qp.get(qp.slot()).copied().flatten()?;
        let (generation, conn) = self.conns.get(id.slot as usize)?;
        conn.as_ref().filter(|conn| *generation == id.generation && conn.qp == Some(qp))?;
        Some(id)
    }

    #[inline]
    fn completed(&mut self, completion: &nvmf_soft_iwarp::Completion) {
        let Some(id) = self.of(completion.qp) else { return };
        let operation = match completion.what {
            Completed::Receive => Operation::Recv,
            _ => Operation::Send,
        };
        if operation == Operation::Send {
            // Those before it that did not ask for a completion are done as well.
            while let Some((request, sink)) = self.conn(id).and_then(|conn| conn.sends.pop_front()) {
                self.free(sink);
                if request == completion.id {
                    break;
                }
            }
        }
        self.completions.push_back(Completion {
            conn: id,
            id: completion.id,
            operation,
            status: match completion.status {
                Status::Success => WcStatus::Success,
                Status::Flushed => WcStatus::Flushed,
                Status::LocalLength => WcStatus::LocalLength,
                Status::LocalProtection | Status::LocalOperation => WcStatus::LocalProtection,
                Status::RemoteAccess => WcStatus::RemoteAccess,
            },
            len: completion.len,
            invalidated: completion.invalidated.map(nvmf_soft_iwarp::STag::value),
        });
    }
}

fn ended(conn: ConnId, up: bool, reason: Disconnect) -> CmEvent {
    let fail = |kind, detail: String| Ending::Failed(Error::new(Stage::Transfer, kind, detail));
    let ending = match reason {
        Disconnect::Local | Disconnect::Peer => Ending::Orderly,
        Disconnect::TerminatedByPeer(terminate) => {
            fail(ErrorKind::PeerReported, format!("the peer ended the connection: {terminate}"))
        }
        Disconnect::Terminated(terminate) => {
            fail(ErrorKind::Protocol, format!("the peer broke the protocol: {terminate}"))
        }
        Disconnect::Lost(error) => {
            Ending::Failed(Error::from_io(Stage::Transfer, format!("connection lost: {error}"), error))
        }
    };
    match ending {
        Ending::Failed(error) if !up => CmEvent::Failed { conn, error },
        ending => CmEvent::Disconnected { conn, ending },
    }
}
