//! `nvmf`: NVMe over Fabrics in user space, one program for both ends.
//!
//! This is the composition root: `transports` is the only file that names transports, everything else knows them by the
//! interface. `args` says what can be asked for; each command has a file of its name; `failure` says how it went wrong and with
//! which exit code. Start with [`run`].

mod args;
mod bench;
mod config;
mod connect;
mod copy;
mod demo;
mod devices;
mod discover;
mod disk;
mod failure;
mod identify;
mod manual;
mod output;
mod own;
mod processor;
mod progress;
mod read_write;
mod serve;
mod transfer;
mod transports;
mod transports_cmd;
mod uri;

use std::{process::ExitCode, sync::Arc};

use clap::{Parser, error::ErrorKind};
use tracing_subscriber::EnvFilter;

use crate::{
    args::{Cli, Command, GlobalArgs},
    failure::{Code, Failure},
    output::Output,
};

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return usage(&error),
    };
    let json = cli.global.json;
    match log_to_stderr(&cli.global).and_then(|()| survive_file_limits()).and_then(|()| run(cli)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            failure.report(json);
            ExitCode::from(failure.exit())
        }
    }
}

/// A write beyond the limit of a file's size (RLIMIT_FSIZE) is an error like a full disk, not the end of the process, which
/// is what SIGXFSZ is until somebody catches it.
fn survive_file_limits() -> Result<(), Failure> {
    use signal_hook::consts::SIGXFSZ;
    signal_hook::flag::register(SIGXFSZ, Arc::default())
        .map(drop)
        .map_err(|error| Failure::new(Code::Setup, "setup", format!("cannot catch signals: {error}")))
}

fn run(cli: Cli) -> Result<(), Failure> {
    tracing::debug!(command = cli.command.name(), version = env!("CARGO_PKG_VERSION"), "starting");
    let output = Output { json: cli.global.json, quiet: cli.global.quiet };
    match cli.command {
        Command::Serve(args) => serve::serve(*args, output),
        Command::Demo(args) => demo::demo(*args, output),
        Command::Discover(args) => discover::discover(*args, output),
        Command::Identify(args) => identify::identify(*args, output),
        Command::Read(args) => read_write::read(*args, output),
        Command::Write(args) => read_write::write(*args, output),
        Command::Copy(args) => copy::copy(*args, output),
        Command::Transports(args) => transports_cmd::transports(*args, output),
        Command::Bench(args) => bench::bench(*args, output),
        Command::Completions { shell } => manual::completions(shell),
        Command::Man { output } => manual::man(output.as_deref()),
    }
}

/// What clap has to say: help and version on stdout, mistakes on stderr, as JSON if that was among what was said.
fn usage(error: &clap::Error) -> ExitCode {
    let json = std::env::args_os().any(|argument| argument == "--json");
    match error.kind() {
        kind if json && !matches!(kind, ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) => {
            let text = error.render().to_string();
            let message = text.lines().next().unwrap_or_default();
            let message = message.strip_prefix("error: ").unwrap_or(message);
            Failure::new(Code::Usage, "command line", message).hint("nvmf help COMMAND").report(true);
        }
        // Nobody left to tell if even this fails.
        _ => drop(error.print()),
    }
    ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(Code::Usage.exit()))
}

fn log_to_stderr(global: &GlobalArgs) -> Result<(), Failure> {
    let filter = match (&global.log, global.verbose) {
        (Some(filter), _) => filter.as_str(),
        (None, 0) => "warn",
        (None, 1) => "info",
        (None, 2) => "debug",
        (None, _) => "trace",
    };
    let filter = EnvFilter::try_new(filter).map_err(|error| {
        Failure::new(Code::Usage, "command line", format!("--log {filter}: {error}"))
            .hint("write a level, or pairs such as nvmf_tcp=trace,warn")
    })?;
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))
        .without_time()
        .init();
    Ok(())
}
