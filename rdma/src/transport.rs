//! The transport as the program composes it.

use std::{net::SocketAddr, sync::Arc};

use nvmf_transport::{
    Advertisement, ControllerEngine, ControllerTransport, Error, HostEngine, HostTransport, Limits, Offer,
    Target, Transport, Wire,
};

use crate::{
    config::{ConfigError, RdmaConfig},
    engine::{RdmaControllerEngine, RdmaHostEngine},
    verbs::{Device, Kind, Provider},
};
use nvmf_wire::log::discovery::RdmaProvider;

/// NVMe/RDMA over the verbs of one provider.
#[derive(Debug)]
pub struct Rdma<P> {
    config: Arc<RdmaConfig>,
    provider: Arc<P>,
}

impl<P> Clone for Rdma<P> {
    fn clone(&self) -> Self {
        Self { config: Arc::clone(&self.config), provider: Arc::clone(&self.provider) }
    }
}

impl<P: Provider> Rdma<P> {
    /// A transport with this configuration, if it is valid.
    pub fn new(provider: P, config: RdmaConfig) -> Result<Self, ConfigError> {
        config.validate()?;
        Ok(Self { config: Arc::new(config), provider: Arc::new(provider) })
    }

    /// The configuration.
    pub fn config(&self) -> &RdmaConfig {
        &self.config
    }

    /// The provider.
    pub fn provider(&self) -> &P {
        &self.provider
    }

    /// The devices the provider has, for people.
    pub fn devices(&self) -> Vec<Device> {
        self.provider.devices()
    }

    /// A host engine by its own type.
    pub fn host(&self) -> Result<RdmaHostEngine<P::Verbs>, Error> {
        let verbs = self.provider.open(&self.config.capacity())?;
        let config = Arc::clone(&self.config);
        Ok(RdmaHostEngine::new(config, verbs, &self.provider.least(), self.provider.name()))
    }

    /// A controller engine by its own type.
    pub fn controller(&self) -> Result<RdmaControllerEngine<P::Verbs>, Error> {
        let verbs = self.provider.open(&self.config.capacity())?;
        let config = Arc::clone(&self.config);
        Ok(RdmaControllerEngine::new(config, verbs, &self.provider.least(), self.provider.name()))
    }
}

impl<P: Provider> Transport for Rdma<P> {
    fn name(&self) -> &'static str {
        self.provider.name()
    }

    fn wire(&self) -> Wire {
        Wire::RDMA
    }

    fn offer(&self, target: &Target) -> Offer {
        if !target.allows(Wire::RDMA) {
            return Offer::Decline { because: format!("speaks nvme+rdma, and {target} is asked for") };
        }
        self.provider.offer(target)
    }

    fn limits(&self) -> Limits {
        self.config.limits(&self.provider.least())
    }
}

impl<P: Provider> HostTransport for Rdma<P> {
    fn host_engine(&self) -> Result<Box<dyn HostEngine>, Error> {
        Ok(Box::new(self.host()?))
    }
}

impl<P: Provider> ControllerTransport for Rdma<P> {
    fn controller_engine(&self) -> Result<Box<dyn ControllerEngine>, Error> {
        Ok(Box::new(self.controller()?))
    }

    fn advertise(&self, address: SocketAddr) -> Vec<Advertisement> {
        let rdma_provider = match self.provider.kind_at(address.ip()) {
            None => RdmaProvider::NONE,
            Some(Kind::Iwarp) => RdmaProvider::IWARP,
            // What rdma-core connects by unless it is told otherwise, and the one that can be routed.
            Some(Kind::RoCe) => RdmaProvider::ROCE_V2,
            Some(Kind::InfiniBand) => RdmaProvider::INFINIBAND,
        };
        vec![Advertisement { wire: Wire::RDMA, rdma_provider }]
    }
}
