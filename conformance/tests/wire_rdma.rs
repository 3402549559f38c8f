//! The cases on messages and keys against this project's own target, in several configurations.

use std::{
    io::Write as _,
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use libtest_mimic::{Arguments, Failed, Trial};
use nvmf_conformance::{Outcome, wire_rdma, wire_rdma::Target};
use nvmf_controller::{
    NamespaceOptions, ServeOptions, Server, ServerOptions, Serving, SubsystemOptions,
    backend::{BlockSize, RamBackend},
};
use nvmf_rdma::{
    Rdma, RdmaConfig,
    provider::soft_iwarp::{Options, SoftIwarp},
};
use nvmf_soft_iwarp::config::CrcPolicy;
use nvmf_transport::{ControllerTransport, Transports, WaitPolicy, Wire};
use nvmf_wire::Nqn;

const SUBSYSTEM: &str = "nqn.2024-01.org.example:wire";

/// A configuration of the target.
struct Setup {
    name: &'static str,
    in_capsule: u32,
    read_depth: u8,
    crc: CrcPolicy,
    max_ulpdu: Option<u16>,
    block_size: u32,
}

const SETUPS: [Setup; 3] = [
    Setup {
        name: "plain",
        in_capsule: 8192,
        read_depth: 32,
        crc: CrcPolicy::Required,
        max_ulpdu: None,
        block_size: 512,
    },
    Setup {
        name: "narrow",
        in_capsule: 0,
        read_depth: 1,
        crc: CrcPolicy::WhenAsked,
        max_ulpdu: Some(256),
        block_size: 512,
    },
    Setup {
        name: "large",
        in_capsule: 65_536,
        read_depth: 128,
        crc: CrcPolicy::WhenAsked,
        max_ulpdu: None,
        block_size: 4096,
    },
];

/// A target of its own for every case: what one writes another must not read.
fn serve(setup: &Setup) -> (Serving, Target) {
    let config = RdmaConfig {
        in_capsule: setup.in_capsule,
        read_depth: setup.read_depth,
        linger: Duration::from_millis(500),
        ..RdmaConfig::default()
    };
    let options = Options { crc: setup.crc, max_ulpdu: setup.max_ulpdu, ..Options::default() };
    let transport = Rdma::new(SoftIwarp::new(options), config).expect("a configuration");
    let transport: Arc<dyn ControllerTransport> = Arc::new(transport);
    let server = Server::new(ServerOptions::default());
    let nqn = Nqn::parse(SUBSYSTEM).expect("a name");
    let subsystem = server.add_subsystem(SubsystemOptions::new(nqn)).expect("a subsystem");
    let size = BlockSize::from_bytes(setup.block_size).expect("a block size");
    let backend = Arc::new(RamBackend::new(16 << 20, size).expect("memory"));
    subsystem.add_namespace(1, NamespaceOptions::new(backend)).expect("a namespace");
    let at = nvmf_transport::Target::new(Wire::RDMA, SocketAddr::from((Ipv4Addr::LOCALHOST, 0)));
    let options = ServeOptions { listen: vec![at], wait: WaitPolicy::Block, ..ServeOptions::default() };
    let serving = server.serve(&Transports::default().with(transport), &options).expect("to serve");
    let target = Target {
        address: serving.listeners()[0].address,
        subnqn: SUBSYSTEM.into(),
        hostnqn: "nqn.2014-08.org.nvmexpress:uuid:12345678-1234-1234-1234-123456789abc".into(),
        nsid: 1,
        block_size: setup.block_size,
        init_timeout: None,
    };
    (serving, target)
}

fn judge(name: &str, outcome: Outcome) -> Result<(), Failed> {
    if outcome.is_failure() {
        return Err(outcome.to_string().into());
    }
    if !matches!(outcome, Outcome::Passed) {
        // A skip that nobody sees is a pass.
        let _ = writeln!(std::io::stderr(), "{name}: {outcome}");
    }
    Ok(())
}

fn main() {
    let arguments = Arguments::from_args();
    let mut trials = Vec::new();
    for setup in &SETUPS {
        for case in wire_rdma::target::CASES {
            let name = format!("target::{}::{}", setup.name, case.id);
            let title = name.clone();
            trials.push(Trial::test(name, move || {
                let (serving, target) = serve(setup);
                let outcome = wire_rdma::run(case, &target);
                drop(serving);
                judge(&format!("{title} ({}): {}", case.reference, case.title), outcome)
            }));
        }
    }
    libtest_mimic::run(&arguments, trials).exit();
}
