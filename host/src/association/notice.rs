//! What an association tells about itself.

use std::time::Duration;

use nvmf_wire::event::AsyncEvent;

use crate::ConnectError;

/// What happened to an association.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Notice {
    /// It is up: for the first time, or again.
    Connected {
        /// Whether it had been up before.
        again: bool,
    },
    /// It was lost; requests are held and it reconnects.
    Lost {
        /// Why.
        error: ConnectError,
        /// When the first attempt to connect again is made, from now.
        retry_in: Duration,
    },
    /// An attempt to connect again failed; there will be another.
    AttemptFailed {
        /// Why.
        error: ConnectError,
        /// When the next one is made, from now.
        retry_in: Duration,
    },
    /// The fast I/O fail timeout has passed: held and new requests fail until it is back.
    FastFailing,
    /// The list of namespaces, or something about one of them, has changed.
    NamespacesChanged,
    /// The discovery log has changed.
    DiscoveryChanged,
    /// Any other asynchronous event.
    Event(AsyncEvent),
    /// It is over. `None` if this side closed it.
    Ended {
        /// Why.
        error: Option<ConnectError>,
    },
}

/// Where the association stands, for people and for callers that wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It has never been up.
    Connecting,
    /// It is up.
    Live,
    /// It was lost and comes back.
    Reconnecting,
    /// It is being closed.
    Closing,
    /// It is over.
    Ended,
}
