//! Running the program, with a bound on how long that may take.

use std::{
    io::{BufRead, BufReader, Read, Write},
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// Longer than anything here takes, even on a machine that does much else.
const PATIENCE: Duration = Duration::from_secs(120);

pub(crate) const DISK: &str = "nqn.2014-08.org.example:disk";
pub(crate) const HOST: &str = "nqn.2014-08.org.example:host7";

/// What a run came to.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: String,
}

impl Ran {
    pub(crate) fn code(&self) -> i32 {
        self.status.code().unwrap_or(-1)
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.stdout.clone()).unwrap()
    }

    /// Panics with everything there is to see unless the exit code is 0.
    #[track_caller]
    pub(crate) fn ok(self) -> Self {
        assert_eq!(self.code(), 0, "{}\n{}", self.text(), self.stderr);
        self
    }

    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.stdout)
            .unwrap_or_else(|error| panic!("{error}: {}\n{}", self.text(), self.stderr))
    }

    /// The JSON object of a failure: the last line of stderr, behind log lines.
    #[track_caller]
    pub(crate) fn error(&self) -> Value {
        let line = self.stderr.lines().last().unwrap_or_default();
        let object: Value =
            serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {}", self.stderr));
        object["error"].clone()
    }
}

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_nvmf"));
    command.args(arguments).env_remove("NVMF_LOG").env_remove("NVMF_HOSTNQN").env_remove("NVMF_HOSTID");
    command
}

/// Runs the program with nothing on stdin.
pub(crate) fn nvmf(arguments: &[&str]) -> Ran {
    nvmf_with(arguments, Vec::new())
}

/// Runs the program with `input` on stdin.
pub(crate) fn nvmf_with(arguments: &[&str], input: Vec<u8>) -> Ran {
    let mut child = start(arguments);
    let mut stdin = child.stdin.take().unwrap();
    // A program that reads nothing closes the pipe: no failure of the test.
    thread::spawn(move || drop(stdin.write_all(&input)));
    finish(child)
}

/// Starts the program, all of its streams piped.
pub(crate) fn start(arguments: &[&str]) -> Child {
    command(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// Waits for the program's end.
pub(crate) fn finish(mut child: Child) -> Ran {
    fn all(mut from: impl Read + Send + 'static) -> thread::JoinHandle<Vec<u8>> {
        thread::spawn(move || {
            let mut bytes = Vec::new();
            from.read_to_end(&mut bytes).unwrap();
            bytes
        })
    }
    let stdout = child.stdout.take().map(all);
    let stderr = child.stderr.take().map(all);
    let status = end_of(&mut child);
    let taken =
        |reader: Option<thread::JoinHandle<Vec<u8>>>| reader.map(|r| r.join().unwrap()).unwrap_or_default();
    Ran { status, stdout: taken(stdout), stderr: String::from_utf8_lossy(&taken(stderr)).into_owned() }
}

#[expect(clippy::disallowed_methods, reason = "a test waits for a process")]
fn end_of(child: &mut Child) -> ExitStatus {
    let begin = Instant::now();
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status;
        }
        if begin.elapsed() > PATIENCE {
            child.kill().unwrap();
            panic!("the program did not end in {PATIENCE:?}");
        }
        thread::sleep(Duration::from_millis(5));
    }
}

/// Waits for something to become true.
#[expect(clippy::disallowed_methods, reason = "a test waits for a process")]
pub(crate) fn until(mut is: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !is() {
        assert!(begin.elapsed() < PATIENCE, "nothing came of it in {PATIENCE:?}");
        thread::sleep(Duration::from_millis(2));
    }
}

/// A `nvmf serve` that is ready. Killed if it is dropped.
pub(crate) struct Controller {
    child: Child,
    /// Of its listeners, without a subsystem.
    pub(crate) listeners: Vec<String>,
}

impl Controller {
    /// Starts one on a port that is free.
    pub(crate) fn start(arguments: &[&str]) -> Self {
        let listen = ["serve", "--listen", "nvme+tcp://127.0.0.1:0", "--subsystem", DISK];
        Self::exactly(&[&listen, arguments].concat())
    }

    /// Starts one that may make no file larger than `kib` KiB.
    pub(crate) fn limited(kib: u32, arguments: &[&str]) -> Self {
        let listen = ["serve", "--listen", "nvme+tcp://127.0.0.1:0", "--subsystem", DISK];
        let mut shell = Command::new("bash");
        shell.args(["-c", &format!("ulimit -f {kib}; exec \"$0\" \"$@\""), env!("CARGO_BIN_EXE_nvmf")]);
        shell.args([&listen, arguments].concat()).env_remove("NVMF_LOG");
        Self::ready(shell.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap())
    }

    /// Starts one with these arguments and no others.
    pub(crate) fn exactly(arguments: &[&str]) -> Self {
        Self::ready(start(arguments))
    }

    fn ready(mut child: Child) -> Self {
        let (send, lines) = mpsc::channel();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        thread::spawn(move || {
            for line in stdout.lines() {
                let _ = send.send(line.unwrap());
            }
        });
        let mut listeners = Vec::new();
        loop {
            match lines.recv_timeout(PATIENCE) {
                Ok(line) if line == "ready" => break,
                Ok(line) => listeners.push(line.strip_prefix("listening ").expect(&line).to_owned()),
                Err(_) => {
                    let _ = child.kill();
                    panic!("not ready: {}", finish(child).stderr);
                }
            }
        }
        Self { child, listeners }
    }

    /// Where it listens.
    pub(crate) fn at(&self) -> &str {
        &self.listeners[0]
    }

    /// Its subsystem.
    pub(crate) fn disk(&self) -> String {
        format!("{}/{DISK}", self.at())
    }

    /// Sends it a signal and waits for its end.
    pub(crate) fn end(mut self, signal: Signal) -> Ran {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, signal).unwrap();
        let status = end_of(&mut self.child);
        let mut stderr = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
        Ran { status, stdout: Vec::new(), stderr }
    }
}

impl Drop for Controller {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Bytes that no two places share.
pub(crate) fn noise(len: usize) -> Vec<u8> {
    let mut state = 0x2545_F491_4F6C_DD1D_u64;
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}

/// A path as an argument.
pub(crate) fn arg(path: &Path) -> &str {
    path.to_str().unwrap()
}
