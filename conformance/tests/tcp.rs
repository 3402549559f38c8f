//! The suite over NVMe/TCP on loopback, in several configurations.

use nvmf_conformance::{conformance_suite, fixtures::Tcp};
use nvmf_tcp::TcpConfig;

fn plain() -> Tcp {
    Tcp::new(TcpConfig::default())
}

conformance_suite!(tcp, plain);
