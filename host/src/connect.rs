//! Selection at connect time: which transport carries the association, to which of the addresses.
//!
//! Every transport says yes or no and why ([`Transports::select`]); those that accept are tried in order of preference, each
//! with every address. A fallback is logged and kept for display. Once a controller has answered a command, its answer counts and
//! nothing else is tried.

use std::net::{SocketAddr, ToSocketAddrs};

use nvmf_transport::{HostTransport, Policy, Target, Transports, Verdict, WaitPolicy, Wire};

use crate::{AssociationId, ConnectError, ConnectErrorKind, Host, Options, Stage};

/// Where a controller is and how it may be reached.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// The wire to speak; `None` lets selection choose.
    pub wire: Option<Wire>,
    /// Its addresses, the preferred first.
    pub addresses: Vec<SocketAddr>,
    /// Which transports may carry it.
    pub policy: Policy,
}

impl Endpoint {
    /// One address on a wire, carried by whichever transport is best.
    pub fn new(wire: Wire, address: SocketAddr) -> Self {
        Self { wire: Some(wire), addresses: vec![address], policy: Policy::Auto }
    }
}

/// An association that is up, with its host and the story of its selection.
#[derive(Debug)]
pub struct Connection {
    /// The engine and the association.
    pub host: Host,
    /// The association.
    pub association: AssociationId,
    /// The address that answered.
    pub target: Target,
    /// What each transport said, the one that was tried first in front.
    pub verdicts: Vec<Verdict>,
    /// What was tried before without success: the transport, and why it failed.
    pub fallbacks: Vec<(&'static str, ConnectError)>,
}

/// The addresses of a name, or of an address in text (IPv6 with or without scope).
pub fn resolve(name: &str, port: u16) -> Result<Vec<SocketAddr>, ConnectError> {
    let failed =
        |detail: String| ConnectError::new(Stage::Resolve, ConnectErrorKind::NameNotResolved, detail);
    match (name, port).to_socket_addrs() {
        Ok(addresses) => {
            let addresses: Vec<_> = addresses.collect();
            if addresses.is_empty() { Err(failed(format!("{name} has no address"))) } else { Ok(addresses) }
        }
        Err(error) => Err(failed(format!("cannot resolve {name}: {error}")).from_source(error)),
    }
}

/// Connects, blocking until the association is up or everything has failed.
pub fn connect(
    transports: &Transports<dyn HostTransport>,
    endpoint: &Endpoint,
    options: &Options,
    wait: WaitPolicy,
) -> Result<Connection, ConnectError> {
    let mut fallbacks: Vec<(&'static str, ConnectError)> = Vec::new();
    let mut declined = None;
    for &address in &endpoint.addresses {
        let target = Target { wire: endpoint.wire, address };
        let selection = match transports.select(&target, &endpoint.policy) {
            Ok(selection) => selection,
            Err(none) => {
                declined = Some(ConnectError::from(none).at(address));
                continue;
            }
        };
        for transport in &selection.candidates {
            if let Some((name, error)) = fallbacks.last() {
                tracing::warn!(from = name, %error, to = transport.name(), %target, "falling back");
            }
            match attempt(&**transport, target, options, wait) {
                Ok((host, association)) => {
                    return Ok(Connection {
                        host,
                        association,
                        target,
                        verdicts: selection.verdicts,
                        fallbacks,
                    });
                }
                Err(error) if error.is_transport() => fallbacks.push((transport.name(), error)),
                Err(error) => return Err(error),
            }
        }
    }
    let nothing =
        || ConnectError::new(Stage::Resolve, ConnectErrorKind::NameNotResolved, "no address to connect to");
    // The first failure is of the most preferred transport and address: the one to look at.
    let first = fallbacks.into_iter().next().map(|(_, error)| error);
    Err(first.or(declined).unwrap_or_else(nothing))
}

fn attempt(
    transport: &dyn HostTransport,
    target: Target,
    options: &Options,
    wait: WaitPolicy,
) -> Result<(Host, AssociationId), ConnectError> {
    let engine = transport
        .host_engine()
        .map_err(|error| ConnectError::from_transport(Stage::Setup, error).at(target.address))?;
    let mut host = Host::new(engine, wait);
    let id = host.connect(target, options.clone(), &mut Vec::new())?;
    Ok((host, id))
}
