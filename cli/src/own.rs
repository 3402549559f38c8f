//! A controller on a thread of this process, for `demo`, and for `bench` without a URI.

use std::{net::Ipv4Addr, sync::Arc};

use nvmf_controller::{
    NamespaceOptions, ServeOptions, Server, ServerOptions, Serving, SubsystemOptions,
    backend::{BlockSize, RamBackend},
};
use nvmf_transport::{Policy, Target};
use nvmf_wire::Nqn;

use crate::{
    config::TransportSection,
    failure::{Code, Failure},
    transports,
    uri::Uri,
};

/// Its subsystem.
const SUBSYSTEM: &str = "nqn.2014-08.org.example:nvmf:own";

/// A controller with one RAM namespace, reached over loopback.
pub(crate) struct OwnController {
    serving: Serving,
    subsystem: Nqn,
}

impl OwnController {
    /// Starts it with a namespace of `bytes`, on the best transport or on the one named.
    pub(crate) fn start(bytes: u64, transport: Option<&str>) -> Result<Self, Failure> {
        let subsystem = Nqn::parse(SUBSYSTEM)
            .map_err(|error| Failure::new(Code::Internal, "setup", error.to_string()))?;
        let server = Server::new(ServerOptions::default());
        let backend = RamBackend::new(bytes, BlockSize::B4096)?;
        server
            .add_subsystem(SubsystemOptions::new(subsystem))?
            .add_namespace(1, NamespaceOptions::new(Arc::new(backend)))?;
        let options = ServeOptions {
            listen: vec![any()],
            policy: transport.map_or(Policy::Auto, |name| Policy::Require(name.to_owned())),
            ..ServeOptions::default()
        };
        let transports = transports::for_controllers(&TransportSection::default())?;
        let serving = server.serve(&transports, &options)?;
        Ok(Self { serving, subsystem })
    }

    /// Where its namespace is.
    pub(crate) fn uri(&self) -> Uri {
        let listener = self.serving.listeners().first().map(nvmf_controller::ServedListener::target);
        let target = listener.unwrap_or_else(any);
        Uri { nqn: Some(self.subsystem), nsid: Some(1), ..Uri::of(target.wire, target.address) }
    }

    /// Ends it.
    pub(crate) fn stop(self) -> Result<(), Failure> {
        Ok(self.serving.shutdown()?)
    }
}

/// Any port of this machine's loopback, on any wire.
fn any() -> Target {
    Target { wire: None, address: (Ipv4Addr::LOCALHOST, 0).into() }
}
