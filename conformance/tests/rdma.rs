//! The suite over NVMe/RDMA: on a strict device within this process, as small as one wishes, and on soft-iWARP over loopback.

use nvmf_conformance::{conformance_suite, fixtures::Rdma, wire_rdma::rogue::ROGUES};
use nvmf_rdma::{
    RdmaConfig,
    provider::{
        loopback::{Loopback, Options},
        soft_iwarp::{self, SoftIwarp},
    },
    verbs::{Device, KeyScope, Kind},
};
use nvmf_soft_iwarp::config::CrcPolicy;

fn loopback(device: impl FnOnce(&mut Device)) -> Loopback {
    let mut options = Options::default();
    device(&mut options.device);
    Loopback::new(options)
}

fn strict() -> Rdma {
    Rdma::new(loopback(|_| {}), RdmaConfig::default())
}

/// One READ at a time, one element of everything, nothing inline, the shortest queues, nothing in the capsule.
fn smallest() -> Rdma {
    let device = loopback(|device| {
        (device.max_send_sge, device.max_recv_sge, device.max_inline) = (1, 1, 0);
        (device.max_initiator_depth, device.max_responder_resources) = (1, 1);
        device.max_qp_wr = 128;
    });
    Rdma::new(
        device,
        RdmaConfig { in_capsule: 0, max_fetches: 1, max_transfer: 1 << 20, ..RdmaConfig::default() },
    )
    .impatient()
}

/// As on RoCE with user space's means: keys of whole regions, no remote invalidation, padded private data.
fn region_keys() -> Rdma {
    let device = loopback(|device| {
        (device.kind, device.key_scope, device.send_invalidate) = (Kind::RoCe, KeyScope::Region, false);
    });
    Rdma::new(device, RdmaConfig { in_capsule: 65_536, ..RdmaConfig::default() }).impatient()
}

/// In-capsule data that does not begin right behind the command.
fn offset() -> Rdma {
    let config = RdmaConfig { in_capsule_offset: 64, in_capsule: 4096, ..RdmaConfig::default() };
    Rdma::new(loopback(|_| {}), config).impatient()
}

conformance_suite!(rdma_strict, strict);
conformance_suite!(rdma_smallest, smallest);
conformance_suite!(rdma_region_keys, region_keys);
conformance_suite!(rdma_offset, offset);

fn soft(change: impl FnOnce(&mut soft_iwarp::Options), config: RdmaConfig) -> Rdma {
    let mut options = soft_iwarp::Options::default();
    change(&mut options);
    Rdma::new(SoftIwarp::new(options), config).with_rogues(ROGUES)
}

fn soft_plain() -> Rdma {
    soft(|_| {}, RdmaConfig::default())
}

fn soft_no_crc() -> Rdma {
    let config = RdmaConfig { in_capsule: 65_536, ..RdmaConfig::default() };
    soft(|options| options.crc = CrcPolicy::WhenAsked, config).impatient()
}

/// One READ at a time, short FPDUs, nothing in the capsule, and the shortest queues.
fn soft_narrow() -> Rdma {
    let config = RdmaConfig {
        in_capsule: 0,
        max_fetches: 2,
        max_depth: 128,
        max_transfer: 1 << 20,
        read_depth: 1,
        inline: 0,
        ..RdmaConfig::default()
    };
    soft(|options| (options.max_ulpdu, options.max_sge, options.max_inline) = (Some(512), 2, 0), config)
        .impatient()
}

conformance_suite!(soft_iwarp_plain, soft_plain);
conformance_suite!(soft_iwarp_no_crc, soft_no_crc);
conformance_suite!(soft_iwarp_narrow, soft_narrow);
