//! A controller's engine that writes down what it is asked and what it reports.

use std::{sync::Arc, time::Instant};

use crate::decorate::{engine_of_inner, transport_of_inner};
use nvmf_transport::{
    Buffer, Close, ControllerEngine, ControllerEvent, ControllerTransport, Engine, Error, Gather, Listener,
    ListenerId, Misuse, QueueId, QueueSettings, Refused, RequestId, Target,
};
use nvmf_wire::Cqe;

use super::{Pen, Trace, What, host::answer, record};

pub(super) struct Traced {
    pub(super) inner: Arc<dyn ControllerTransport>,
    pub(super) trace: Trace,
}

transport_of_inner!(Traced);

impl ControllerTransport for Traced {
    fn controller_engine(&self) -> Result<Box<dyn ControllerEngine>, Error> {
        Ok(Box::new(Controller { inner: self.inner.controller_engine()?, pen: self.trace.pen("controller") }))
    }
}

struct Controller {
    inner: Box<dyn ControllerEngine>,
    pen: Pen,
}

impl Engine for Controller {
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

impl ControllerEngine for Controller {
    fn listen(&mut self, at: &Target) -> Result<Listener, Error> {
        let result = self.inner.listen(at);
        let answer = match &result {
            Ok(listener) => format!("listener {} at {}", listener.id.0, listener.address),
            Err(error) => error.to_string(),
        };
        self.pen.write(What::Call { call: "listen", queue: None, parameters: at.to_string(), answer });
        result
    }

    fn unlisten(&mut self, listener: ListenerId) {
        self.inner.unlisten(listener);
        let parameters = format!("listener {}", listener.0);
        self.pen.write(What::Call { call: "unlisten", queue: None, parameters, answer: "ok".into() });
    }

    fn fetch(&mut self, request: RequestId, offset: u32, into: Buffer) -> Result<(), Refused<Buffer>> {
        let parameters =
            format!("request {}.{}, {} bytes at {offset}", request.slot, request.generation, into.len());
        let result = self.inner.fetch(request, offset, into);
        let (queue, answer) = (Some(record::name(request.queue)), answer(&result));
        self.pen.write(What::Call { call: "fetch", queue, parameters, answer });
        result
    }

    fn respond(&mut self, request: RequestId, cqe: Cqe, data: Gather) -> Result<(), Refused<Gather>> {
        let bytes = data.len() as u64;
        let result = self.inner.respond(request, cqe, data);
        self.pen.write(record::completion(request.queue, None, &cqe, bytes, answer(&result)));
        result
    }

    fn poll(&mut self, now: Instant, events: &mut Vec<ControllerEvent>) -> Result<(), Error> {
        self.pen.now = Some(now);
        let known = events.len();
        let result = self.inner.poll(now, events);
        events.iter().skip(known).for_each(|event| self.pen.write(record::controller_event(event)));
        if let Err(error) = &result {
            let (parameters, answer) = (String::new(), error.to_string());
            self.pen.write(What::Call { call: "poll", queue: None, parameters, answer });
        }
        result
    }
}
