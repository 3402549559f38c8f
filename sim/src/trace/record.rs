//! One record: who, when, what. Everything is a value, so that a program can ask for it without parsing text.

use std::fmt;

use nvmf_transport::{ControllerEvent, Data, HostEvent, QueueId, QueueSettings, RequestData};
use nvmf_wire::{Cqe, Sqe};
use serde::Serialize;

/// One call or event of one engine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Record {
    /// Microseconds since the first record with a time.
    pub at: u64,
    /// The engine, counted from 0 in the order they were made.
    pub engine: u32,
    /// `host` or `controller`.
    pub role: &'static str,
    /// What was asked or what happened.
    #[serde(flatten)]
    pub what: What,
}

/// A call, with its answer, or an event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "what", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum What {
    /// A call for a queue or a listener.
    Call {
        /// Its name.
        call: &'static str,
        /// The queue, as text.
        #[serde(skip_serializing_if = "Option::is_none")]
        queue: Option<String>,
        /// Its parameters, as text.
        parameters: String,
        /// `ok`, or why it was refused.
        answer: String,
    },
    /// A command went in at a host, or came out at a controller.
    Command {
        /// The queue, as text.
        queue: String,
        /// The caller's cookie (host only).
        #[serde(skip_serializing_if = "Option::is_none")]
        cookie: Option<u64>,
        /// The command identifier on the wire.
        cid: u16,
        /// The opcode.
        opcode: u8,
        /// The namespace, or FCTYPE.
        nsid: u32,
        /// Command dwords 10 to 15.
        dwords: [u32; 6],
        /// Where the data is, and how much.
        data: String,
        /// `ok`, why it was refused, or the status of bad data.
        answer: String,
    },
    /// A completion came out at a host, or went in at a controller.
    Completion {
        /// The queue, as text.
        queue: String,
        /// The caller's cookie (host only).
        #[serde(skip_serializing_if = "Option::is_none")]
        cookie: Option<u64>,
        /// The command identifier on the wire, as far as known.
        cid: u16,
        /// The status, in words.
        status: String,
        /// Dwords 0 and 1.
        result: u64,
        /// SQ head.
        sqhd: u16,
        /// Bytes of data that came or went with it.
        bytes: u64,
        /// `ok`, or why it was refused.
        answer: String,
    },
    /// Any other event.
    Event {
        /// Its name.
        event: &'static str,
        /// The queue, as text.
        queue: String,
        /// What it says.
        details: String,
    },
}

pub(super) fn name(queue: QueueId) -> String {
    // The `Debug` text of a queue is "queue 3.1"; the word is the field's name here.
    format!("{queue:?}").trim_start_matches("queue ").to_owned()
}

pub(super) fn settings(settings: &QueueSettings) -> String {
    let QueueSettings { kind, depth, sq_flow_control } = settings;
    format!("{kind:?}, depth {depth}, SQ flow control {}", if *sq_flow_control { "on" } else { "off" })
}

pub(super) fn command(queue: QueueId, cookie: Option<u64>, sqe: &Sqe, data: String, answer: String) -> What {
    let dwords = [sqe.cdw10, sqe.cdw11, sqe.cdw12, sqe.cdw13, sqe.cdw14, sqe.cdw15].map(|dword| dword.get());
    let (cid, opcode, nsid) = (sqe.cid().0, sqe.opcode, sqe.nsid());
    What::Command { queue: name(queue), cookie, cid, opcode, nsid, dwords, data, answer }
}

pub(super) fn completion(queue: QueueId, cookie: Option<u64>, cqe: &Cqe, bytes: u64, answer: String) -> What {
    What::Completion {
        queue: name(queue),
        cookie,
        cid: cqe.cid().0,
        status: cqe.status().to_string(),
        result: cqe.u64(),
        sqhd: cqe.sqhd(),
        bytes,
        answer,
    }
}

pub(super) fn data(data: &Data) -> String {
    match data {
        Data::None => "none".into(),
        Data::ToController(buffer) => format!("{} bytes to the controller", buffer.len()),
        Data::FromController(buffer) => format!("{} bytes from the controller", buffer.len()),
    }
}

pub(super) fn host_event(event: &HostEvent) -> What {
    match event {
        HostEvent::Connected { queue, info } => What::Event {
            event: "connected",
            queue: name(*queue),
            details: format!("{} to {}, by {}", info.local, info.peer, info.data_path),
        },
        HostEvent::Completed { queue, cookie, cqe, transferred, .. } => {
            completion(*queue, Some(*cookie), cqe, (*transferred).into(), "ok".into())
        }
        HostEvent::Aborted { queue, cookie, .. } => {
            What::Event { event: "aborted", queue: name(*queue), details: format!("cookie {cookie}") }
        }
        HostEvent::Closed { queue, reason } => {
            What::Event { event: "closed", queue: name(*queue), details: reason.to_string() }
        }
        other => What::Event { event: "other", queue: String::new(), details: format!("{other:?}") },
    }
}

pub(super) fn controller_event(event: &ControllerEvent) -> What {
    match event {
        ControllerEvent::Accepted { queue, listener, info } => What::Event {
            event: "accepted",
            queue: name(*queue),
            details: format!("{} from {}, by listener {}", info.local, info.peer, listener.0),
        },
        ControllerEvent::Command { request, sqe, data } => {
            let (data, answer) = match data {
                Ok(RequestData::None) => ("none".to_owned(), "ok".to_owned()),
                Ok(RequestData::InCapsule(buffer)) => {
                    (format!("{} bytes in the capsule", buffer.len()), "ok".to_owned())
                }
                Ok(RequestData::Remote { len }) => (format!("{len} bytes with the host"), "ok".to_owned()),
                Err(status) => ("bad".to_owned(), status.to_string()),
            };
            command(request.queue, None, sqe, data, answer)
        }
        ControllerEvent::Fetched { request, offset, data, outcome } => {
            let outcome = outcome.as_ref().err().map_or_else(|| "ok".to_owned(), ToString::to_string);
            let details = format!(
                "request {}.{}, {} bytes at {offset}: {outcome}",
                request.slot,
                request.generation,
                data.len()
            );
            What::Event { event: "fetched", queue: name(request.queue), details }
        }
        ControllerEvent::Closed { queue, reason } => {
            What::Event { event: "closed", queue: name(*queue), details: reason.to_string() }
        }
        other => What::Event { event: "other", queue: String::new(), details: format!("{other:?}") },
    }
}

impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { at, engine, role, what } = self;
        write!(f, "{:>6}.{:06} {role} {engine}: ", at / 1_000_000, at % 1_000_000)?;
        match what {
            What::Call { call, queue, parameters, answer } => {
                write!(f, "{call}")?;
                if let Some(queue) = queue {
                    write!(f, " {queue}")?;
                }
                write!(f, " ({parameters}): {answer}")
            }
            What::Command { queue, cookie, cid, opcode, nsid, dwords, data, answer } => {
                write!(f, "command {queue}")?;
                if let Some(cookie) = cookie {
                    write!(f, " cookie {cookie}")?;
                }
                write!(
                    f,
                    " cid {cid:04x} opcode {opcode:02x} nsid {nsid:x} dwords {dwords:x?}, data: {data}: {answer}"
                )
            }
            What::Completion { queue, cookie, cid, status, result, sqhd, bytes, answer } => {
                write!(f, "completion {queue}")?;
                if let Some(cookie) = cookie {
                    write!(f, " cookie {cookie}")?;
                }
                write!(f, " cid {cid:04x} {status}, result {result:x}, sqhd {sqhd}, {bytes} bytes: {answer}")
            }
            What::Event { event, queue, details } => write!(f, "{event} {queue}: {details}"),
        }
    }
}
