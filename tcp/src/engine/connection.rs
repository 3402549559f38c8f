//! What the engine core needs of a role: the sans-io connection and the accelerator's half of it, under one name.

use std::time::Instant;

use nvmf_transport::{Close, ControllerEvent, Error, HostEvent, Misuse, QueueInfo, QueueSettings, Stage};

use crate::{
    accelerator::{Accelerator, Claim, ControllerDatapath, Datapath, Handover, HostDatapath},
    conn::{ControllerConn, ControllerSetup, HostConn, HostSetup, Life, Slices},
    pdu::Negotiated,
};

/// A connection of either role. The methods are those of [`HostConn`] and [`ControllerConn`].
pub(crate) trait Connection: Sized + Send {
    type Event;
    type Setup;
    type Datapath: ?Sized + Datapath<Self::Event>;
    /// Whether a queue is unknown to the caller until it is up, so that its end before that is nobody's business.
    const SILENT_UNTIL_UP: bool;

    fn targets<'a>(&'a mut self, scratch: &'a mut [u8]) -> [&'a mut [u8]; 2];
    fn received(&mut self, n: usize, scratch: &[u8], events: &mut Vec<Self::Event>);
    fn peer_closed(&mut self);
    fn failed(&mut self, error: Error);
    fn has_output(&self) -> bool;
    fn gather<'a>(&'a self, slices: &mut Slices<'a>) -> usize;
    fn wrote(&mut self, n: usize, events: &mut Vec<Self::Event>);
    fn blocked(&mut self);
    fn life(&self) -> Life;
    fn stage(&self) -> Stage;
    fn deadline(&mut self, now: Instant) -> Option<Instant>;
    fn expire(&mut self, now: Instant);
    fn close(&mut self, how: Close);
    fn finish(&mut self, events: &mut Vec<Self::Event>);
    fn configure(&mut self, settings: &QueueSettings) -> Result<(), Misuse>;
    fn take_established(&mut self) -> bool;
    fn negotiated_terms(&self) -> Option<&Negotiated>;
    fn setup(&self) -> Self::Setup;
    fn announce(setup: &Self::Setup, info: Box<QueueInfo>) -> Self::Event;
    fn claim(
        accelerator: &dyn Accelerator,
        connection: Handover<Self::Setup>,
    ) -> Claim<Self::Datapath, Self::Setup>;
}

macro_rules! connection {
    ($conn:ty, $event:ty, $setup:ty, $datapath:ty, $claim:ident, $silent:expr) => {
        impl Connection for $conn {
            type Event = $event;
            type Setup = $setup;
            type Datapath = $datapath;
            const SILENT_UNTIL_UP: bool = $silent;

            #[inline]
            fn targets<'a>(&'a mut self, scratch: &'a mut [u8]) -> [&'a mut [u8]; 2] {
                self.targets(scratch)
            }
            #[inline]
            fn received(&mut self, n: usize, scratch: &[u8], events: &mut Vec<$event>) {
                self.received(n, scratch, events);
            }
            fn peer_closed(&mut self) {
                self.peer_closed();
            }
            fn failed(&mut self, error: Error) {
                self.failed(error);
            }
            #[inline]
            fn has_output(&self) -> bool {
                self.has_output()
            }
            #[inline]
            fn gather<'a>(&'a self, slices: &mut Slices<'a>) -> usize {
                self.gather(slices)
            }
            #[inline]
            fn wrote(&mut self, n: usize, events: &mut Vec<$event>) {
                self.wrote(n, events);
            }
            fn blocked(&mut self) {
                self.blocked();
            }
            #[inline]
            fn life(&self) -> Life {
                self.life()
            }
            fn stage(&self) -> Stage {
                self.stage()
            }
            #[inline]
            fn deadline(&mut self, now: Instant) -> Option<Instant> {
                self.deadline(now)
            }
            fn expire(&mut self, now: Instant) {
                self.expire(now);
            }
            fn close(&mut self, how: Close) {
                self.close(how);
            }
            fn finish(&mut self, events: &mut Vec<$event>) {
                self.finish(events);
            }
            fn configure(&mut self, settings: &QueueSettings) -> Result<(), Misuse> {
                self.configure(settings)
            }
            fn announce(setup: &$setup, info: Box<QueueInfo>) -> $event {
                setup.announce(info)
            }
            #[inline]
            fn take_established(&mut self) -> bool {
                self.take_established()
            }
            fn negotiated_terms(&self) -> Option<&Negotiated> {
                self.negotiated_terms()
            }
            fn setup(&self) -> $setup {
                self.setup().clone()
            }
            fn claim(
                accelerator: &dyn Accelerator,
                connection: Handover<$setup>,
            ) -> Claim<$datapath, $setup> {
                accelerator.$claim(connection)
            }
        }
    };
}

connection!(HostConn, HostEvent, HostSetup, dyn HostDatapath, claim_host, false);
connection!(ControllerConn, ControllerEvent, ControllerSetup, dyn ControllerDatapath, claim_controller, true);
