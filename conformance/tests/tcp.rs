//! The suite over NVMe/TCP on loopback, in several configurations.

use std::{num::NonZeroU32, time::Duration};

use nvmf_conformance::{Exclusion, conformance_suite, fixtures::Tcp};
use nvmf_sim::proxy::{Direction, Disturbance};
use nvmf_tcp::{
    TcpConfig,
    pdu::{Alignment, ControllerTerms, DigestPolicy, HostTerms},
};

fn plain() -> Tcp {
    Tcp::new(TcpConfig::default())
}

fn terms(digest: DigestPolicy, alignment: u8, max_r2t: u32, max_h2c_data: u32) -> TcpConfig {
    let alignment = Alignment::new(alignment).expect("an alignment");
    let max_r2t = NonZeroU32::new(max_r2t).expect("at least one R2T");
    TcpConfig {
        host: HostTerms { alignment, header_digest: digest, data_digest: digest, max_r2t },
        controller: ControllerTerms { alignment, header_digest: digest, data_digest: digest, max_h2c_data },
        ..TcpConfig::default()
    }
}

/// Both digests, no alignment.
fn digests() -> Tcp {
    Tcp::new(terms(DigestPolicy::Required, 0, 4, 1 << 20)).impatient()
}

/// Everything as narrow as the specification allows: no in-capsule data, one R2T, the smallest H2CData, the coarsest alignment.
fn narrow() -> Tcp {
    let config = TcpConfig {
        in_capsule: 0,
        max_c2h_data: 4096,
        max_fetches: 1,
        ..terms(DigestPolicy::On, 31, 1, 4096)
    };
    Tcp::new(config).impatient()
}

/// As much in the capsule as there may be.
fn large_capsules() -> Tcp {
    Tcp::new(TcpConfig { in_capsule: 65_536, ..terms(DigestPolicy::Off, 1, 16, 131_072) }).impatient()
}

/// Through a path that cuts the stream anywhere and delays it, so that no PDU comes in one piece.
fn cut() -> Tcp {
    let pieces = Direction {
        segments: Some(1..=4001),
        delay: Duration::ZERO..=Duration::from_micros(300),
        ..Direction::default()
    };
    let disturbance =
        Disturbance { seed: 11, to_controller: pieces.clone(), to_host: pieces, connections: None };
    let config = terms(DigestPolicy::On, 3, 4, 65_536);
    Tcp::new(config).through(disturbance).impatient().excluding(&[
        Exclusion { case: "connect/information", reason: "the peer of each side is the proxy" },
        Exclusion { case: "connect/refused", reason: "the proxy takes every connection" },
    ])
}

conformance_suite!(tcp, plain);
conformance_suite!(tcp_digests, digests);
conformance_suite!(tcp_narrow, narrow);
conformance_suite!(tcp_large_capsules, large_capsules);
conformance_suite!(tcp_cut, cut);
