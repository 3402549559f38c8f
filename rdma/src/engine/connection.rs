//! What the engine core needs of a role: the sans-io connection under one name.

use std::time::Instant;

use nvmf_transport::{Close, ControllerEvent, Error, HostEvent, Misuse, QueueInfo, QueueSettings, Stage};

use crate::{
    conn::{ControllerConn, HostConn, Life},
    verbs::{Completion, Depths, Ending, Keys, RecvRequest, SendRequest},
};

/// A connection of either role. The methods are those of [`HostConn`] and [`ControllerConn`].
pub(crate) trait Connection: Sized + Send {
    type Event;
    /// Whether a queue is unknown to the caller until it is up, so that its end before that is nobody's business.
    const SILENT_UNTIL_UP: bool;

    fn completed(&mut self, completion: &Completion, keys: &mut impl Keys, events: &mut Vec<Self::Event>);
    fn take_output(&mut self, receives: &mut Vec<RecvRequest>, sends: &mut Vec<SendRequest>);
    fn has_output(&self) -> bool;
    fn settle(&mut self) -> bool;
    fn disconnected(&mut self, ending: Ending);
    fn failed(&mut self, error: Error);
    fn life(&self) -> Life;
    fn stage(&self) -> Stage;
    fn deadline(&mut self, now: Instant) -> Option<Instant>;
    fn expire(&mut self, now: Instant);
    fn close(&mut self, how: Close);
    fn finish(&mut self, events: &mut Vec<Self::Event>);
    fn configure(&mut self, settings: &QueueSettings) -> Result<(), Misuse>;
    fn take_established(&mut self) -> Option<(u16, Depths)>;
    fn announce(&self, info: Box<QueueInfo>) -> Self::Event;
}

macro_rules! connection {
    ($conn:ty, $event:ty, $silent:expr) => {
        impl Connection for $conn {
            type Event = $event;
            const SILENT_UNTIL_UP: bool = $silent;

            #[inline]
            fn completed(
                &mut self,
                completion: &Completion,
                keys: &mut impl Keys,
                events: &mut Vec<Self::Event>,
            ) {
                self.completed(completion, keys, events);
            }
            #[inline]
            fn take_output(&mut self, receives: &mut Vec<RecvRequest>, sends: &mut Vec<SendRequest>) {
                self.take_output(receives, sends);
            }
            #[inline]
            fn has_output(&self) -> bool {
                self.has_output()
            }
            #[inline]
            fn settle(&mut self) -> bool {
                self.settle()
            }
            fn disconnected(&mut self, ending: Ending) {
                self.disconnected(ending);
            }
            fn failed(&mut self, error: Error) {
                self.failed(error);
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
            fn finish(&mut self, events: &mut Vec<Self::Event>) {
                self.finish(events);
            }
            fn configure(&mut self, settings: &QueueSettings) -> Result<(), Misuse> {
                self.configure(settings)
            }
            fn take_established(&mut self) -> Option<(u16, Depths)> {
                self.take_established()
            }
            fn announce(&self, info: Box<QueueInfo>) -> Self::Event {
                self.setup().announce(info)
            }
        }
    };
}

connection!(HostConn, HostEvent, false);
connection!(ControllerConn, ControllerEvent, true);
