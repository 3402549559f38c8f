//! One case of the instruction-count gate, run by `ci/instructions` under callgrind: a host and a target, whole but for the
//! sockets, on one thread and in time that passes as the program says. What is counted is what happens inside
//! [`Stack::host_side`] and [`Stack::controller_side`]; connecting, filling the namespace and getting warm are not.
//!
//! `instructions CASE [--sockets]`; `instructions --list` names the cases. With `--sockets` the bytes go through the real
//! engines and loopback instead: good for a profile, but the system decides how the bytes are cut.

mod memory;
mod stack;

use nvmf_tcp::{Tcp, TcpConfig, pdu::DigestPolicy};
use nvmf_transport::{ControllerTransport as _, HostTransport as _};

use stack::{Load, Stack};

type Failure = Box<dyn std::error::Error>;

/// How many commands are counted: as many as bring this many bytes, within limits. Half as many get things warm before.
const COUNTED_BYTES: u64 = 8 << 20;

/// What is done, by its name in the baseline.
const CASES: [(&str, Load, bool); 7] = [
    ("read-4k-depth-1", Load { write: false, len: 4096, depth: 1 }, false),
    ("read-4k-depth-32", Load { write: false, len: 4096, depth: 32 }, false),
    ("read-4k-depth-128", Load { write: false, len: 4096, depth: 128 }, false),
    ("write-4k-depth-32", Load { write: true, len: 4096, depth: 32 }, false),
    ("read-128k-depth-8", Load { write: false, len: 131_072, depth: 8 }, false),
    ("write-128k-depth-8", Load { write: true, len: 131_072, depth: 8 }, false),
    ("read-4k-depth-32-digests", Load { write: false, len: 4096, depth: 32 }, true),
];

fn main() -> Result<(), Failure> {
    let (mut case, mut sockets) = (None, false);
    for argument in std::env::args().skip(1) {
        match argument.as_str() {
            "--list" => {
                CASES.iter().for_each(|(name, ..)| println!("{name}"));
                return Ok(());
            }
            "--sockets" => sockets = true,
            name => case = CASES.iter().find(|(known, ..)| *known == name),
        }
    }
    let (_, load, digests) = case.ok_or("which case? --list names them")?;
    let mut config = TcpConfig::default();
    if *digests {
        (config.host.header_digest, config.host.data_digest) = (DigestPolicy::On, DigestPolicy::On);
    }
    let (host, controller) = match sockets {
        true => {
            let tcp = Tcp::new(config)?;
            (tcp.host_engine()?, tcp.controller_engine()?)
        }
        false => memory::engines(config)?,
    };
    let mut stack = Stack::up(host, controller, *load)?;
    stack.fill()?;
    let counted = (COUNTED_BYTES / load.len as u64).clamp(64, 512);
    stack.run(counted / 2, false)?;
    let done = stack.run(counted, true)?;
    println!("{done}");
    Ok(())
}
