//! A host's engine that writes down what it is asked and what it reports.

use std::{sync::Arc, time::Instant};

use crate::decorate::{engine_of_inner, transport_of_inner};
use nvmf_transport::{
    Close, Command, ConnectOptions, Engine, Error, HostEngine, HostEvent, HostTransport, Misuse, QueueId,
    QueueSettings, Refused, Target,
};
use nvmf_wire::Cid;

use super::{Pen, Trace, What, record};

pub(super) struct Traced {
    pub(super) inner: Arc<dyn HostTransport>,
    pub(super) trace: Trace,
}

transport_of_inner!(Traced);

impl HostTransport for Traced {
    fn host_engine(&self) -> Result<Box<dyn HostEngine>, Error> {
        Ok(Box::new(Host { inner: self.inner.host_engine()?, pen: self.trace.pen("host") }))
    }
}

struct Host {
    inner: Box<dyn HostEngine>,
    pen: Pen,
}

/// What a call answered, in words.
pub(super) fn answer<T, E: std::fmt::Display>(result: &Result<T, E>) -> String {
    match result {
        Ok(_) => "ok".into(),
        Err(error) => error.to_string(),
    }
}

impl Engine for Host {
    engine_of_inner!();

    fn next_timeout(&self) -> Option<Instant> {
        self.inner.next_timeout()
    }

    fn configure(&mut self, queue: QueueId, settings: QueueSettings) -> Result<(), Misuse> {
        let result = self.inner.configure(queue, settings);
        let (parameters, answer) = (record::settings(&settings), answer(&result));
        self.pen.write(What::Call {
            call: "configure",
            queue: Some(record::name(queue)),
            parameters,
            answer,
        });
        result
    }

    fn close(&mut self, queue: QueueId, how: Close) {
        self.inner.close(queue, how);
        let (queue, parameters) = (Some(record::name(queue)), format!("{how:?}"));
        self.pen.write(What::Call { call: "close", queue, parameters, answer: "ok".into() });
    }
}

impl HostEngine for Host {
    fn connect(&mut self, target: &Target, options: &ConnectOptions) -> Result<QueueId, Error> {
        let result = self.inner.connect(target, options);
        let queue = result.as_ref().ok().copied().map(record::name);
        let parameters = format!("{target}, {:?}, depth {}", options.kind, options.depth);
        self.pen.write(What::Call { call: "connect", queue, parameters, answer: answer(&result) });
        result
    }

    fn submit(&mut self, queue: QueueId, command: Command) -> Result<Cid, Refused<Command>> {
        let (sqe, cookie, data) = (command.sqe, command.cookie, record::data(&command.data));
        let result = self.inner.submit(queue, command);
        let sqe = sqe.with_cid(*result.as_ref().unwrap_or(&Cid::NONE));
        self.pen.write(record::command(queue, Some(cookie), &sqe, data, answer(&result)));
        result
    }

    fn poll(&mut self, now: Instant, events: &mut Vec<HostEvent>) -> Result<(), Error> {
        self.pen.now = Some(now);
        let known = events.len();
        let result = self.inner.poll(now, events);
        events.iter().skip(known).for_each(|event| self.pen.write(record::host_event(event)));
        if let Err(error) = &result {
            let (parameters, answer) = (String::new(), error.to_string());
            self.pen.write(What::Call { call: "poll", queue: None, parameters, answer });
        }
        result
    }
}
