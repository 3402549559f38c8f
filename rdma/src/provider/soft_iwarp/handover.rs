//! Connections that one accepts and another carries: between threads, and from a port that several wires share.

use std::os::fd::OwnedFd;

use nvmf_soft_iwarp::Handover;
use nvmf_transport::Error;

use super::SoftIwarpVerbs;
use crate::verbs::{Handovers, ListenId};

impl Handovers for SoftIwarpVerbs {
    fn divert(&mut self, listener: ListenId, to: Box<dyn FnMut(OwnedFd) + Send>) {
        if let Some(&Some(listener)) = self.listeners.get(listener.0 as usize) {
            self.endpoint.divert(listener, to);
        }
    }

    fn take_over(&mut self, socket: OwnedFd, listener: ListenId) -> Result<(), Error> {
        self.adopt(Handover { socket, bytes: Vec::new() }, listener)
    }
}
