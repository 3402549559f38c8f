//! Completions and manual pages, generated from the definition of the command line so that they cannot differ from it.

use std::{
    fs,
    io::{self, Write},
    path::Path,
};

use clap::CommandFactory;
use clap_complete::Shell;
use clap_mangen::Man;

use crate::{args::Cli, failure::Failure};

/// `nvmf completions SHELL`
pub(crate) fn completions(shell: Shell) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "nvmf", &mut script);
    to_stdout(&script)
}

/// `nvmf man [--output DIR]`
pub(crate) fn man(output: Option<&Path>) -> Result<(), Failure> {
    let mut root = Cli::command();
    root.build();
    let Some(folder) = output else {
        return to_stdout(&page(root)?);
    };
    fs::create_dir_all(folder).map_err(|error| Failure::local(folder.display(), &error))?;
    for command in root.get_subcommands().filter(|command| command.get_name() != "help") {
        let name = format!("nvmf-{}", command.get_name());
        write_page(folder, &name, &page(command.clone().display_name(&name))?)?;
    }
    write_page(folder, "nvmf", &page(root)?)
}

fn page(command: clap::Command) -> Result<Vec<u8>, Failure> {
    let mut page = Vec::new();
    Man::new(command)
        .manual("NVMe over Fabrics in user space")
        .render(&mut page)
        .map_err(|error| Failure::local("manual page", &error))?;
    Ok(page)
}

fn write_page(folder: &Path, name: &str, page: &[u8]) -> Result<(), Failure> {
    let path = folder.join(format!("{name}.1"));
    fs::write(&path, page).map_err(|error| Failure::local(path.display(), &error))
}

fn to_stdout(bytes: &[u8]) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(bytes).and_then(|()| stdout.flush()).map_err(|error| Failure::local("stdout", &error))
}
