//! Peers that say what they like, for tests of an engine against one that breaks the rules.

use std::{net::SocketAddr, time::Instant};

use nvmf_transport::{Error, ListenerId, Wake};

use crate::{
    Network,
    message::{ToController, ToHost},
    network::{ControllerEnd, Dialled, HostEnd},
    pipe::{End, HangUp, Received, Size},
};

/// What a raw peer hears.
#[derive(Debug)]
pub enum Heard<T> {
    /// A message.
    Message(T),
    /// The other side hung up.
    End,
    /// Nothing yet.
    Nothing,
}

impl<T> From<Received<T>> for Heard<T> {
    fn from(received: Received<T>) -> Self {
        match received {
            Received::Message(message) => Self::Message(message),
            Received::Ended(_) => Self::End,
            Received::Nothing => Self::Nothing,
        }
    }
}

/// Sends, or drops the message when the link is full: what a raw peer says may get lost, never queued.
fn say<O: Size, I: Size>(end: &mut End<O, I>, now: Instant, message: O) -> bool {
    end.send(now, message).is_ok()
}

/// A host made of its messages. Dropping it hangs up.
#[derive(Debug)]
pub struct RawHost(HostEnd);

impl RawHost {
    /// Connects, or `None` where nobody listens.
    pub fn connect(network: &Network, to: SocketAddr, now: Instant) -> Result<Option<Self>, Error> {
        match network.dial(to, None, &Wake::new()?, now) {
            Dialled::Ringing(end, _) => Ok(Some(Self(end))),
            Dialled::NobodyThere | Dialled::Silence => Ok(None),
        }
    }

    /// Sends a message; `false` if the link is full.
    pub fn send(&mut self, now: Instant, message: ToController) -> bool {
        say(&mut self.0, now, message)
    }

    /// What has arrived next.
    pub fn receive(&mut self, now: Instant) -> Heard<ToHost> {
        self.0.receive(now).into()
    }

    /// Ends the connection without order.
    pub fn reset(mut self) {
        self.0.hang_up(HangUp::Reset);
    }
}

/// A listener of a controller made of its messages.
#[derive(Debug)]
pub struct RawController {
    network: Network,
    listener: ListenerId,
    address: SocketAddr,
    end: Option<ControllerEnd>,
}

impl RawController {
    /// Listens at `at` (port 0: any).
    pub fn listen(network: &Network, at: SocketAddr) -> Result<Self, Error> {
        let (listener, address) = network.listen(at, usize::MAX, &Wake::new()?)?;
        Ok(Self { network: network.clone(), listener, address, end: None })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Takes the next connection, letting go of the one before; whether there was one.
    pub fn accept(&mut self, now: Instant) -> bool {
        match self.network.accept(self.listener, self.address, now) {
            Some(pending) => {
                self.end = Some(pending.end);
                true
            }
            None => false,
        }
    }

    /// Sends a message on the connection; `false` if there is none or the link is full.
    pub fn send(&mut self, now: Instant, message: ToHost) -> bool {
        self.end.as_mut().is_some_and(|end| say(end, now, message))
    }

    /// What has arrived next on the connection.
    pub fn receive(&mut self, now: Instant) -> Heard<ToController> {
        self.end.as_mut().map_or(Heard::Nothing, |end| end.receive(now).into())
    }

    /// Ends the connection, in order or not.
    pub fn hang_up(&mut self, orderly: bool) {
        if let Some(mut end) = self.end.take() {
            end.hang_up(if orderly { HangUp::Orderly } else { HangUp::Reset });
        }
    }
}

impl Drop for RawController {
    fn drop(&mut self) {
        self.network.unlisten(self.listener);
    }
}
