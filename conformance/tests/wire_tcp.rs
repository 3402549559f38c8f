//! The wire-level cases against this project's own target and host, in several configurations.

use std::{
    io::Write as _,
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use libtest_mimic::{Arguments, Failed, Trial};
use nvmf_conformance::{
    Outcome,
    wire_tcp::{self, Target, host::OwnHost},
};
use nvmf_controller::{
    NamespaceOptions, ServeOptions, Server, ServerOptions, Serving, SubsystemOptions,
    backend::{BlockSize, RamBackend},
};
use nvmf_tcp::{
    Tcp, TcpConfig,
    pdu::{Alignment, ControllerTerms, DigestPolicy},
};
use nvmf_transport::{ControllerTransport, Transports, WaitPolicy, Wire};
use nvmf_wire::Nqn;

const SUBSYSTEM: &str = "nqn.2024-01.org.example:wire";
const INIT_TIMEOUT: Duration = Duration::from_millis(800);

/// A configuration of the target.
struct Setup {
    name: &'static str,
    cpda: u8,
    max_h2c_data: u32,
    in_capsule: u32,
    block_size: u32,
}

const SETUPS: [Setup; 3] = [
    Setup { name: "plain", cpda: 0, max_h2c_data: 1 << 20, in_capsule: 16_384, block_size: 512 },
    Setup { name: "aligned", cpda: 31, max_h2c_data: 4096, in_capsule: 8192, block_size: 512 },
    Setup { name: "large", cpda: 3, max_h2c_data: 65_536, in_capsule: 65_536, block_size: 4096 },
];

/// A target of its own for every case: what one writes another must not read.
fn serve(setup: &Setup) -> (Serving, Target) {
    let cpda = Alignment::new(setup.cpda).expect("an alignment");
    let controller = ControllerTerms {
        alignment: cpda,
        header_digest: DigestPolicy::On,
        data_digest: DigestPolicy::On,
        max_h2c_data: setup.max_h2c_data,
    };
    let config = TcpConfig {
        controller,
        in_capsule: setup.in_capsule,
        negotiate_timeout: INIT_TIMEOUT,
        linger: Duration::from_millis(500),
        ..TcpConfig::default()
    };
    let transport: Arc<dyn ControllerTransport> = Arc::new(Tcp::new(config).expect("a configuration"));
    let server = Server::new(ServerOptions::default());
    let nqn = Nqn::parse(SUBSYSTEM).expect("a name");
    let subsystem = server.add_subsystem(SubsystemOptions::new(nqn)).expect("a subsystem");
    let size = BlockSize::from_bytes(setup.block_size).expect("a block size");
    let backend = Arc::new(RamBackend::new(16 << 20, size).expect("memory"));
    subsystem.add_namespace(1, NamespaceOptions::new(backend)).expect("a namespace");
    let at = nvmf_transport::Target::new(Wire::TCP, SocketAddr::from((Ipv4Addr::LOCALHOST, 0)));
    let options = ServeOptions { listen: vec![at], wait: WaitPolicy::Block, ..ServeOptions::default() };
    let serving = server.serve(&Transports::default().with(transport), &options).expect("to serve");
    let target = Target {
        address: serving.listeners()[0].address,
        subnqn: SUBSYSTEM.into(),
        hostnqn: "nqn.2014-08.org.nvmexpress:uuid:12345678-1234-1234-1234-123456789abc".into(),
        nsid: 1,
        block_size: setup.block_size,
        init_timeout: Some(INIT_TIMEOUT),
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
        for case in wire_tcp::target::CASES {
            let name = format!("target::{}::{}", setup.name, case.id);
            let title = name.clone();
            trials.push(Trial::test(name, move || {
                let (serving, target) = serve(setup);
                let outcome = wire_tcp::run(case, &target);
                drop(serving);
                judge(&format!("{title} ({}): {}", case.reference, case.title), outcome)
            }));
        }
    }
    for case in wire_tcp::host::CASES {
        let name = format!("host::{}", case.id);
        let title = name.clone();
        trials.push(Trial::test(name, move || {
            judge(
                &format!("{title} ({}): {}", case.reference, case.title),
                wire_tcp::host::run(case, &OwnHost),
            )
        }));
    }
    libtest_mimic::run(&arguments, trials).exit();
}
