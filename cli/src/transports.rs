//! The composition root: the only place that names transports and knows how each is configured.
//!
//! A new transport adds its name to [`NAMES`], one line to [`for_hosts`] and [`for_controllers`], and its settings to `args` and
//! `config`. What nobody here can do for want of a library or a device is its own `Decline`, with the reason; nothing is
//! left out silently.

use std::{num::NonZeroU32, sync::Arc};

use nvmf_tcp::{
    Tcp, TcpConfig,
    pdu::{Alignment, DigestPolicy},
};
use nvmf_transport::{ControllerTransport, HostTransport, Policy, Transports};

use crate::{
    args::{ConnectArgs, DigestRule, DigestWish, TransportChoice},
    config::TransportSection,
    failure::{Code, Failure},
};

/// What `--transport` may name.
pub(crate) const NAMES: &[&str] = &["tcp"];

/// The transports, set up for connecting.
pub(crate) fn for_hosts(args: &ConnectArgs) -> Result<Transports<dyn HostTransport>, Failure> {
    let wish = |wish| match wish {
        Some(DigestWish::Require) => DigestPolicy::Required,
        Some(DigestWish::Offer) => DigestPolicy::On,
        None => DigestPolicy::Off,
    };
    let mut config = TcpConfig::default();
    config.host.header_digest = wish(args.header_digest);
    config.host.data_digest = wish(args.data_digest);
    config.host.max_r2t = NonZeroU32::new(args.max_r2t).unwrap_or(config.host.max_r2t);
    config.host.alignment = alignment(args.pda)?;
    Ok(Transports::default().with(Arc::new(tcp(config)?)))
}

/// The transports, set up for listening.
pub(crate) fn for_controllers(
    section: &TransportSection,
) -> Result<Transports<dyn ControllerTransport>, Failure> {
    let rule = |rule: Option<DigestRule>| match rule.unwrap_or_default() {
        DigestRule::Allow => DigestPolicy::On,
        DigestRule::Never => DigestPolicy::Off,
        DigestRule::Require => DigestPolicy::Required,
    };
    let section = &section.tcp;
    let mut config = TcpConfig::default();
    config.controller.header_digest = rule(section.header_digest);
    config.controller.data_digest = rule(section.data_digest);
    if let Some(pda) = section.pda {
        config.controller.alignment = alignment(pda)?;
    }
    config.in_capsule = section.in_capsule_data.unwrap_or(config.in_capsule);
    config.controller.max_h2c_data = section.max_h2c_data.unwrap_or(config.controller.max_h2c_data);
    Ok(Transports::default().with(Arc::new(tcp(config)?)))
}

/// Who may be chosen.
pub(crate) fn policy(args: &ConnectArgs) -> Policy {
    match &args.transport {
        TransportChoice::Named(name) => Policy::Require(name.clone()),
        TransportChoice::Auto if args.exclude_transport.is_empty() => Policy::Auto,
        TransportChoice::Auto => Policy::Exclude(args.exclude_transport.clone()),
    }
}

fn tcp(config: TcpConfig) -> Result<Tcp, Failure> {
    Tcp::new(config).map_err(|error| {
        Failure::new(Code::Usage, "transport tcp", error.to_string()).hint("correct the option of that name")
    })
}

fn alignment(pda: u8) -> Result<Alignment, Failure> {
    Alignment::new(pda).ok_or_else(|| {
        Failure::new(Code::Usage, "transport tcp", format!("--pda {pda}: must be from 0 to 31"))
    })
}
