//! The transport as the program composes it.

use std::sync::Arc;

use nvmf_transport::{
    ControllerEngine, ControllerTransport, Error, HostEngine, HostTransport, Limits, Offer, Target,
    Transport, Wire,
};

use crate::{
    accelerator::Accelerator,
    config::{ConfigError, TcpConfig},
    engine::{TcpControllerEngine, TcpHostEngine},
};

/// How much software TCP is preferred: works everywhere, so everything that is surer of itself comes first.
const PREFERENCE: u8 = 50;

/// NVMe/TCP in software, with an accelerator's help where there is one.
#[derive(Clone, Default)]
pub struct Tcp {
    config: Arc<TcpConfig>,
    accelerator: Option<Arc<dyn Accelerator>>,
}

impl std::fmt::Debug for Tcp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let accelerator = self.accelerator.as_ref().map(|a| a.name());
        f.debug_struct("Tcp").field("config", &self.config).field("accelerator", &accelerator).finish()
    }
}

impl Tcp {
    /// A transport with this configuration, if it is valid.
    pub fn new(config: TcpConfig) -> Result<Self, ConfigError> {
        config.validate()?;
        Ok(Self { config: Arc::new(config), accelerator: None })
    }

    /// Offers every connection to `accelerator`.
    #[must_use]
    pub fn with_accelerator(mut self, accelerator: Arc<dyn Accelerator>) -> Self {
        self.accelerator = Some(accelerator);
        self
    }

    /// The configuration.
    pub fn config(&self) -> &TcpConfig {
        &self.config
    }

    /// A host engine by its own type.
    pub fn host(&self) -> Result<TcpHostEngine, Error> {
        TcpHostEngine::new(Arc::clone(&self.config), self.accelerator.clone())
    }

    /// A controller engine by its own type, which can also take over accepted sockets.
    pub fn controller(&self) -> Result<TcpControllerEngine, Error> {
        TcpControllerEngine::new(Arc::clone(&self.config), self.accelerator.clone())
    }
}

impl Transport for Tcp {
    fn name(&self) -> &'static str {
        "tcp"
    }

    fn wire(&self) -> Wire {
        Wire::TCP
    }

    fn offer(&self, target: &Target) -> Offer {
        if !target.allows(Wire::TCP) {
            return Offer::Decline { because: format!("speaks nvme+tcp, and {target} is asked for") };
        }
        let helped =
            self.accelerator.as_ref().map(|a| format!(", {} may take the connection over", a.name()));
        Offer::Accept {
            preference: PREFERENCE,
            because: format!("software NVMe/TCP works with any network{}", helped.unwrap_or_default()),
        }
    }

    fn limits(&self) -> Limits {
        self.config.limits()
    }
}

impl HostTransport for Tcp {
    fn host_engine(&self) -> Result<Box<dyn HostEngine>, Error> {
        Ok(Box::new(self.host()?))
    }
}

impl ControllerTransport for Tcp {
    fn controller_engine(&self) -> Result<Box<dyn ControllerEngine>, Error> {
        Ok(Box::new(self.controller()?))
    }
}
