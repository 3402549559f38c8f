//! What a transport brings to be tested: how to make its engines, its kind of time, and peers that break its rules.

use std::{net::SocketAddr, sync::Arc, time::Instant};

use nvmf_transport::{ControllerTransport, HostTransport, Target};

use crate::Exclusion;

/// Whose time the engines live in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Time {
    /// The suite's: it passes when the suite says so.
    Virtual,
    /// Everybody's.
    Real,
}

/// One transport in one configuration, ready for one case.
pub trait Fixture {
    /// The host's side.
    fn host(&self) -> Arc<dyn HostTransport>;

    /// The controller's side.
    fn controller(&self) -> Arc<dyn ControllerTransport>;

    /// An address to listen at; port 0 where the transport picks one.
    fn listen_at(&self) -> Target;

    /// Whose time it is.
    fn time(&self) -> Time;

    /// Known failures, each with its reason.
    fn exclusions(&self) -> &'static [Exclusion] {
        &[]
    }

    /// Whether cases that wait for seconds of real time are run: of one transport's configurations one is enough.
    fn patient(&self) -> bool {
        true
    }

    /// An address where nobody listens.
    fn nobody(&self) -> Target;

    /// A peer that lets hosts connect and then says nothing, if the transport has such a thing.
    fn silent_controller(&self) -> Option<Box<dyn Rogue>> {
        None
    }

    /// Hosts that break the transport's rules, each in its own way, towards the controller at `to`.
    fn rogue_hosts(&self, to: SocketAddr) -> Vec<Box<dyn Rogue>> {
        let _ = to;
        Vec::new()
    }

    /// Controllers that break the transport's rules, each in its own way.
    fn rogue_controllers(&self) -> Vec<Box<dyn Rogue>> {
        Vec::new()
    }
}

/// A peer made by hand.
pub trait Rogue {
    /// What it does, for messages.
    fn name(&self) -> &str;

    /// Where it listens, if it is a controller.
    fn address(&self) -> Option<SocketAddr> {
        None
    }

    /// Whether it has come to its end by itself, for one whose misdeed the other side may end without a word to its caller.
    fn is_over(&self) -> bool {
        false
    }

    /// Does what it can do now, without blocking.
    fn step(&mut self, now: Instant);
}
