//! Help, completions and manual pages come from one definition; all of them can be made.

use std::fs;

use crate::support::{arg, nvmf};

const COMMANDS: [&str; 9] =
    ["serve", "demo", "discover", "identify", "read", "write", "copy", "transports", "bench"];

#[test]
fn every_command_has_help_with_examples() {
    let all = nvmf(&["--help"]).ok().text();
    assert!(all.contains("unknown-subsystem") && all.contains("Exit codes"), "{all}");
    for command in COMMANDS {
        assert!(all.contains(command));
        let help = nvmf(&[command, "--help"]).ok().text();
        assert!(
            help.contains(&format!("  nvmf {command} ")) || help.contains(&format!("  nvmf {command}\n")),
            "{help}"
        );
    }
}

#[test]
fn completions_and_pages_are_made() {
    for shell in ["bash", "zsh", "fish"] {
        let script = nvmf(&["completions", shell]).ok().text();
        assert!(COMMANDS.iter().all(|command| script.contains(command)), "{shell}");
        assert!(script.contains("queue-depth"), "{shell}");
    }
    assert!(nvmf(&["man"]).ok().text().contains(".TH nvmf 1"));
    let folder = tempfile::tempdir().unwrap();
    let pages = folder.path().join("man1");
    nvmf(&["man", "--output", arg(&pages)]).ok();
    for command in COMMANDS {
        let page = fs::read_to_string(pages.join(format!("nvmf-{command}.1"))).unwrap();
        assert!(page.contains(".SH EXTRA") || page.contains("Examples"), "{command}");
    }
    assert!(fs::read_to_string(pages.join("nvmf.1")).unwrap().contains("connection\\-refused"));
}
