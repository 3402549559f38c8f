//! The end of negotiation: a connection is offered to the accelerator, and the caller learns who carries the queue.

use std::time::Instant;

use nvmf_transport::{DigestBy, Error, ErrorKind, QueueId, QueueInfo, Stage, poller::Interest};

use super::{
    Connection,
    core::{Core, DATAPATH_TOKEN, Path},
    stream::Stream,
};
use crate::{
    accelerator::{Accelerator, Claim, Datapath, Handover},
    config::sharpen,
    conn::{Life, describe},
    pdu::Negotiated,
};

/// The name of the data path when nobody took the connection over.
const SOFTWARE: &str = "software";

impl<C: Connection> Core<C> {
    /// Negotiation of a queue has ended.
    #[cold]
    pub(super) fn established(&mut self, queue: QueueId, now: Instant, events: &mut Vec<C::Event>) {
        let accelerator = self.accelerator.clone();
        let Some(entry) = self.queues.get_mut(queue) else {
            return;
        };
        let Path::Software(stream) = &mut entry.path else {
            return;
        };
        let Some(negotiated) = stream.conn.negotiated_terms().copied() else {
            return;
        };
        if stream.conn.life() == Life::Over {
            return self.settle(queue, now, events);
        }
        let setup = stream.conn.setup();
        let mut info = QueueInfo {
            limits: entry.limits.clone(),
            local: entry.local,
            peer: stream.peer,
            data_path: SOFTWARE,
            negotiated: describe(&negotiated),
        };
        sharpen(&mut info.limits, &negotiated, DigestBy::Software);

        let outcome = match (entry.wanted.take(), accelerator) {
            (Some(Ok(())), Some(accelerator)) => {
                info.data_path = accelerator.name();
                self.offer(queue, &*accelerator, negotiated, &mut info)
            }
            (Some(Err(because)), _) => Outcome::Declined(because),
            _ => Outcome::Software,
        };
        let lost = match outcome {
            Outcome::Taken | Outcome::Software => None,
            Outcome::Declined(because) => {
                tracing::info!(?queue, peer = %info.peer, because, "no acceleration, software carries the queue");
                info.data_path = SOFTWARE;
                info.negotiated.push(("accelerator", format!("declined: {because}")));
                None
            }
            Outcome::Lost(lost) => {
                tracing::warn!(?queue, peer = %info.peer, error = %lost.1, "the accelerator lost the connection");
                Some(*lost)
            }
        };
        tracing::debug!(?queue, peer = %info.peer, data_path = info.data_path, "queue is up");
        if let Some(entry) = self.queues.get_mut(queue) {
            entry.announced = true;
            entry.limits = info.limits.clone();
        }
        events.push(C::announce(&setup, Box::new(info)));
        if let Some((mut conn, error)) = lost {
            self.queues.remove(queue);
            conn.failed(error);
            conn.finish(events);
        }
        self.settle(queue, now, events);
    }

    /// Hands a connection to the accelerator.
    fn offer(
        &mut self,
        queue: QueueId,
        accelerator: &dyn Accelerator,
        negotiated: Negotiated,
        info: &mut QueueInfo,
    ) -> Outcome<C> {
        let Some(entry) = self.queues.get_mut(queue) else {
            return Outcome::Software;
        };
        let stream = match std::mem::replace(&mut entry.path, Path::Between) {
            Path::Software(stream) => stream,
            other => {
                entry.path = other;
                return Outcome::Software;
            }
        };
        // Cannot fail for a socket that is watched.
        let _ = self.poller.remove(&stream.socket);
        let Stream { socket, conn, peer, .. } = stream;
        match C::claim(accelerator, Handover { socket, negotiated, setup: conn.setup() }) {
            Claim::Taken(datapath) => {
                let token = DATAPATH_TOKEN | queue.slot() as u32;
                if let Err(error) = self.poller.add(datapath.wait_handle(), token, Interest::Read) {
                    return Outcome::lost(
                        conn,
                        Error::from_io(Stage::Setup, "cannot watch the accelerator", error.into()),
                    );
                }
                datapath.limit(&mut info.limits);
                entry.path = Path::Accelerated(datapath);
                self.taken.push(queue);
                Outcome::Taken
            }
            Claim::Declined { given_back, because } => {
                if let Err(error) = self.poller.add(&given_back.socket, queue.slot() as u32, Interest::Read) {
                    return Outcome::lost(
                        conn,
                        Error::from_io(Stage::Setup, "cannot watch a socket", error.into()),
                    );
                }
                entry.path = Path::Software(Stream::new(given_back.socket, conn, peer));
                Outcome::Declined(because)
            }
            Claim::Lost(error) => Outcome::lost(conn, error),
        }
    }

    /// Moves the queues forward that an accelerator carries.
    #[inline]
    pub(super) fn poll_datapaths(&mut self, now: Instant, events: &mut Vec<C::Event>) {
        let queues = &mut self.queues;
        self.taken.retain(|&queue| {
            let Some(entry) = queues.get_mut(queue) else {
                return false;
            };
            let Path::Accelerated(datapath) = &mut entry.path else {
                return false;
            };
            let goes_on = datapath.poll(now, events).is_continue();
            if !goes_on {
                queues.remove(queue);
            }
            goes_on
        });
    }
}

/// What became of a connection.
enum Outcome<C> {
    /// Nobody was asked.
    Software,
    Taken,
    Declined(String),
    /// The state machine is left, to end the queue in good order.
    Lost(Box<(C, Error)>),
}

impl<C> Outcome<C> {
    fn lost(conn: C, error: Error) -> Self {
        let detail = error.to_string();
        let error = Error::new(Stage::Negotiate, ErrorKind::AcceleratorLost, detail).with_source(error);
        Self::Lost(Box::new((conn, error)))
    }
}
