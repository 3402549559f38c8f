//! Processes that a measurement starts beside itself, such as the target: ready when they say so, paused while somebody else is
//! measured, and gone with the process that started them, however that ends.
#![allow(unsafe_code, reason = "the request to die with the parent is made between fork and exec")]

use std::{
    io::{self, BufRead, BufReader},
    process::{Child, ChildStdout, Command, Stdio},
};

use rustix::process::{Pid, Signal, kill_process};

/// A child that serves.
#[derive(Debug)]
pub struct Companion {
    child: Child,
    /// Kept open: a child that prints once more is not to die of it.
    _stdout: BufReader<ChildStdout>,
    lines: Vec<String>,
}

impl Companion {
    /// Starts it, and waits until it prints the line `ready`; what it printed before is in [`lines`](Self::lines).
    pub fn start(mut command: Command) -> io::Result<Self> {
        end_with_parent(&mut command);
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
        let Some(stdout) = child.stdout.take() else {
            return Err(io::Error::other("a child without the stdout it was given"));
        };
        let mut companion = Self { child, _stdout: BufReader::new(stdout), lines: Vec::new() };
        loop {
            let mut line = String::new();
            if companion._stdout.read_line(&mut line)? == 0 {
                return Err(io::Error::other("it ended before it was ready"));
            }
            match line.trim_end() {
                "ready" => return Ok(companion),
                line => companion.lines.push(line.to_owned()),
            }
        }
    }

    /// What it printed before it was ready.
    pub fn lines(&self) -> &[String] {
        &self.lines
    }

    /// Its process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Stops it until [`resume`](Self::resume), so that it uses no processor even if it spins.
    pub fn pause(&self) -> io::Result<()> {
        self.signal(Signal::STOP)
    }

    /// Lets it go on.
    pub fn resume(&self) -> io::Result<()> {
        self.signal(Signal::CONT)
    }

    fn signal(&self, signal: Signal) -> io::Result<()> {
        // Our child and not yet waited for: its number belongs to nobody else.
        Ok(kill_process(Pid::from_child(&self.child), signal)?)
    }
}

impl Drop for Companion {
    fn drop(&mut self) {
        // It holds nothing that is worth an orderly end, and may be stopped.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Asks the system to end the child when the thread that starts it ends, even by SIGKILL. Elsewhere than on Linux a parent that
/// is killed leaves its children behind.
fn end_with_parent(command: &mut Command) {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    {
        use std::os::unix::process::CommandExt;

        let parent = rustix::process::getpid();
        let request = move || {
            rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
            // The parent may have ended before the request was made.
            match rustix::process::getppid() == Some(parent) {
                true => Ok(()),
                false => Err(io::ErrorKind::BrokenPipe.into()),
            }
        };
        // SAFETY: between fork and exec only async-signal-safe functions may run: these are two system calls, and an error
        // without an allocation.
        unsafe { command.pre_exec(request) };
    }
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    let _ = command;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn a_companion_is_ready_when_it_says_so_and_ends_when_dropped() {
        let companion = Companion::start(shell("echo at home; echo ready; exec sleep 60")).unwrap();
        assert_eq!(companion.lines(), ["at home"]);
        companion.pause().unwrap();
        companion.resume().unwrap();
        let pid = companion.id();
        drop(companion);
        let gone = Pid::from_raw(pid.try_into().unwrap()).unwrap();
        assert!(rustix::process::test_kill_process(gone).is_err());
    }

    #[test]
    fn one_that_ends_early_is_an_error() {
        let error = Companion::start(shell("echo no; exit 1")).unwrap_err();
        assert!(error.to_string().contains("before it was ready"));
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn one_whose_parent_is_killed_ends_too() {
        // The parent is the thread here: what ends it ends the child.
        let started = std::thread::spawn(|| {
            let companion = Companion::start(shell("echo ready; exec sleep 60")).unwrap();
            let pid = companion.id();
            std::mem::forget(companion);
            pid
        });
        let pid = started.join().unwrap();
        // A zombie is dead; nobody has waited for it.
        let dead = || {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            stat.is_empty() || stat.contains(") Z ")
        };
        for _ in 0..2000 {
            if dead() {
                return;
            }
            std::thread::yield_now();
            let _ = rustix::thread::nanosleep(&rustix::time::Timespec { tv_sec: 0, tv_nsec: 5_000_000 });
        }
        panic!("process {pid} outlived its parent");
    }
}
