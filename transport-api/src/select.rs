//! Which transport carries a connection: decided at connect time, with every reason kept.

use std::{fmt, net::SocketAddr, sync::Arc};

use crate::{Advertisement, ControllerEngine, Error, HostEngine, Limits, Target, Wire};

/// A transport's answer to a target. No I/O is needed to give it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Offer {
    /// It can carry the connection.
    Accept {
        /// The higher is tried first. Software is 50; an accelerator that is sure of itself is above.
        preference: u8,
        /// Why, for people.
        because: String,
    },
    /// It cannot.
    Decline {
        /// Why not, and where it helps, what would change that.
        because: String,
    },
}

/// A way of carrying capsules. Cheap, shared, holds configuration only.
pub trait Transport: Send + Sync {
    /// Its name in `--transport NAME`.
    fn name(&self) -> &'static str;

    /// The wire it speaks.
    fn wire(&self) -> Wire;

    /// Whether it can carry a connection to, or a listener at, `target`, and why. Looks at this machine only; sends nothing.
    fn offer(&self, target: &Target) -> Offer;

    /// What any queue of it can carry, before negotiation.
    fn limits(&self) -> Limits;
}

/// A transport with the initiator's side.
pub trait HostTransport: Transport {
    /// A new engine, for the thread that will own it.
    fn host_engine(&self) -> Result<Box<dyn HostEngine>, Error>;
}

/// A transport with the target's side.
pub trait ControllerTransport: Transport {
    /// A new engine, for the thread that will own it.
    fn controller_engine(&self) -> Result<Box<dyn ControllerEngine>, Error>;

    /// What discovery tells hosts of a listener at `address`: one entry for each wire spoken there.
    fn advertise(&self, _address: SocketAddr) -> Vec<Advertisement> {
        vec![self.wire().into()]
    }
}

/// Who may be chosen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Policy {
    /// Whoever accepts, the most preferred first.
    #[default]
    Auto,
    /// This one or none.
    Require(String),
    /// Anyone but these.
    Exclude(Vec<String>),
}

/// What became of one transport in a selection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// The transport.
    pub transport: &'static str,
    /// The wire it speaks.
    pub wire: Wire,
    /// Its answer; a transport that policy rules out is a decline that says so.
    pub offer: Offer,
}

/// The transports that accepted, best first, and what all of them said.
pub struct Selection<T: ?Sized> {
    /// Best first; never empty.
    pub candidates: Vec<Arc<T>>,
    /// One verdict per known transport, candidates first in their order.
    pub verdicts: Vec<Verdict>,
}

impl<T: ?Sized + Transport> fmt::Debug for Selection<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Selection").field("verdicts", &self.verdicts).finish_non_exhaustive()
    }
}

/// No transport accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoTransport {
    /// What each of them said.
    pub verdicts: Vec<Verdict>,
}

impl fmt::Display for NoTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no transport accepts this target")?;
        for Verdict { transport, offer, .. } in &self.verdicts {
            if let Offer::Decline { because } = offer {
                write!(f, "; {transport}: {because}")?;
            }
        }
        Ok(())
    }
}

impl std::error::Error for NoTransport {}

/// The transports of one role that this program knows.
pub struct Transports<T: ?Sized> {
    list: Vec<Arc<T>>,
}

impl<T: ?Sized> Default for Transports<T> {
    fn default() -> Self {
        Self { list: Vec::new() }
    }
}

impl<T: ?Sized> Clone for Transports<T> {
    fn clone(&self) -> Self {
        Self { list: self.list.clone() }
    }
}

impl<T: ?Sized + Transport> Transports<T> {
    /// Adds one.
    #[must_use]
    pub fn with(mut self, transport: Arc<T>) -> Self {
        self.list.push(transport);
        self
    }

    /// All of them, in the order they were added.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<T>> {
        self.list.iter()
    }

    /// Asks every transport and ranks those that accept. Equal preference keeps the order they were added in.
    pub fn select(&self, target: &Target, policy: &Policy) -> Result<Selection<T>, NoTransport> {
        let mut verdicts: Vec<(Verdict, &Arc<T>)> = self
            .list
            .iter()
            .map(|t| {
                (Verdict { transport: t.name(), wire: t.wire(), offer: Self::ask(t, target, policy) }, t)
            })
            .collect();
        verdicts.sort_by_key(|(verdict, _)| match verdict.offer {
            Offer::Accept { preference, .. } => u16::from(u8::MAX - preference),
            Offer::Decline { .. } => u16::MAX,
        });
        let candidates: Vec<_> = verdicts
            .iter()
            .filter(|(verdict, _)| matches!(verdict.offer, Offer::Accept { .. }))
            .map(|&(_, transport)| Arc::clone(transport))
            .collect();
        let verdicts = verdicts.into_iter().map(|(verdict, _)| verdict).collect();
        if candidates.is_empty() {
            Err(NoTransport { verdicts })
        } else {
            Ok(Selection { candidates, verdicts })
        }
    }

    fn ask(transport: &Arc<T>, target: &Target, policy: &Policy) -> Offer {
        let decline = |because: String| Offer::Decline { because };
        match policy {
            Policy::Require(name) if name != transport.name() => decline(format!("policy requires {name}")),
            Policy::Exclude(names) if names.iter().any(|name| name == transport.name()) => {
                decline("excluded by policy".into())
            }
            _ if !target.allows(transport.wire()) => {
                decline(format!("speaks nvme+{}, and {target} is asked for", transport.wire()))
            }
            _ => transport.offer(target),
        }
    }
}
