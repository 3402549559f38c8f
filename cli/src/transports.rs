//! The composition root: the only place that names transports and knows how each is configured.
//!
//! A new transport adds its name to [`NAMES`], one line to [`for_hosts`] and [`for_controllers`], and its settings to `args` and
//! `config`. What nobody here can do for want of a library or a device is its own `Decline`, with the reason; nothing is
//! left out silently.

use std::{num::NonZeroU32, sync::Arc};

use nvmf_rdma::{
    Rdma, RdmaConfig,
    provider::{
        rdma_core::RdmaCore,
        soft_iwarp::{CrcPolicy, Options as SoftIwarpOptions, SoftIwarp},
    },
    verbs::Provider,
};
use nvmf_shared_port::{SharedPort, SharedPortConfig};
use nvmf_tcp::{
    Tcp, TcpConfig,
    pdu::{Alignment, DigestPolicy},
};
use nvmf_transport::{ControllerTransport, HostTransport, Policy, Transports};

use crate::{
    args::{ConnectArgs, CrcRule, DigestRule, DigestWish, TransportChoice},
    config::{RdmaSection, TcpSection, TransportSection},
    failure::{Code, Failure},
};

/// What `--transport` may name.
pub(crate) const NAMES: &[&str] = &["tcp", "verbs", "soft-iwarp"];

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
    let rdma = rdma_config(&RdmaSection { read_depth: args.read_depth, ..RdmaSection::default() });
    let all = Transports::<dyn HostTransport>::default().with(Arc::new(tcp(config)?));
    let all = all.with(Arc::new(over(RdmaCore::new(), &rdma)?));
    Ok(all.with(Arc::new(over(soft_iwarp(args.mpa_crc), &rdma)?)))
}

/// The transports, set up for listening.
pub(crate) fn for_controllers(
    section: &TransportSection,
) -> Result<Transports<dyn ControllerTransport>, Failure> {
    let rdma = rdma_config(&section.rdma);
    let all = Transports::<dyn ControllerTransport>::default();
    let all = all.with(Arc::new(tcp(tcp_config(&section.tcp)?)?));
    let all = all.with(Arc::new(over(RdmaCore::new(), &rdma)?));
    Ok(all.with(Arc::new(over(soft_iwarp(section.rdma.crc), &rdma)?)))
}

/// The same, and the one that serves several wires on one port where a listener leaves the wire open.
pub(crate) fn for_listeners(
    section: &TransportSection,
) -> Result<Transports<dyn ControllerTransport>, Failure> {
    let shared = SharedPort::new("tcp+soft-iwarp", SharedPortConfig::default())
        .with(nvmf_shared_port::NVME_TCP, Arc::new(tcp(tcp_config(&section.tcp)?)?))
        .with(
            nvmf_shared_port::IWARP,
            Arc::new(over(soft_iwarp(section.rdma.crc), &rdma_config(&section.rdma))?),
        );
    Ok(for_controllers(section)?.with(Arc::new(shared)))
}

/// What the system knows of RDMA devices.
pub(crate) fn rdma_report() -> nvmf_rdma::provider::rdma_core::Report {
    RdmaCore::new().report()
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

fn tcp_config(section: &TcpSection) -> Result<TcpConfig, Failure> {
    let rule = |rule: Option<DigestRule>| match rule.unwrap_or_default() {
        DigestRule::Allow => DigestPolicy::On,
        DigestRule::Never => DigestPolicy::Off,
        DigestRule::Require => DigestPolicy::Required,
    };
    let mut config = TcpConfig::default();
    config.controller.header_digest = rule(section.header_digest);
    config.controller.data_digest = rule(section.data_digest);
    if let Some(pda) = section.pda {
        config.controller.alignment = alignment(pda)?;
    }
    config.in_capsule = section.in_capsule_data.unwrap_or(config.in_capsule);
    config.controller.max_h2c_data = section.max_h2c_data.unwrap_or(config.controller.max_h2c_data);
    Ok(config)
}

fn rdma_config(section: &RdmaSection) -> RdmaConfig {
    let default = RdmaConfig::default();
    RdmaConfig {
        in_capsule: section.in_capsule_data.unwrap_or(default.in_capsule),
        max_transfer: section.max_transfer.unwrap_or(default.max_transfer),
        max_depth: section.max_queue_size.unwrap_or(default.max_depth),
        max_descriptors: section.sgl_descriptors.unwrap_or(default.max_descriptors),
        read_depth: section.read_depth.unwrap_or(default.read_depth),
        inline: section.inline_data.unwrap_or(default.inline),
        ..default
    }
}

fn soft_iwarp(crc: Option<CrcRule>) -> SoftIwarp {
    let crc = match crc.unwrap_or_default() {
        CrcRule::Require => CrcPolicy::Required,
        CrcRule::WhenAsked => CrcPolicy::WhenAsked,
    };
    SoftIwarp::new(SoftIwarpOptions { crc, ..SoftIwarpOptions::default() })
}

fn over<P: Provider>(provider: P, config: &RdmaConfig) -> Result<Rdma<P>, Failure> {
    let stage = format!("transport {}", provider.name());
    Rdma::new(provider, config.clone()).map_err(|error| {
        Failure::new(Code::Usage, stage, error.to_string()).hint("correct the option of that name")
    })
}

fn alignment(pda: u8) -> Result<Alignment, Failure> {
    Alignment::new(pda).ok_or_else(|| {
        Failure::new(Code::Usage, "transport tcp", format!("--pda {pda}: must be from 0 to 31"))
    })
}
