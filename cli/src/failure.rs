//! What went wrong, for a person and for a program: a stable code, the stage, the peer's status decoded, and what to try.
//!
//! Every way to fail has its own [`Code`], and every code its own exit code, so that a script need not read messages. With
//! `--json` the same is one JSON object on stderr. The conversions from the libraries' errors are in `failure/from.rs`.

mod from;

use std::{fmt, io};

use nvmf_wire::Status;
use serde_json::{Map, Value, json};

use crate::output::Style;

macro_rules! codes {
    ($($variant:ident = $exit:literal, $name:literal, $meaning:literal;)*) => {
        /// The kinds of failure. Names and numbers are stable.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Code {
            $(#[doc = $meaning] $variant,)*
        }

        impl Code {
            /// All of them, in the order of their exit codes.
            pub(crate) const ALL: &[Self] = &[$(Self::$variant),*];

            /// The exit code of the process.
            pub(crate) const fn exit(self) -> u8 {
                match self { $(Self::$variant => $exit,)* }
            }

            /// The name in JSON.
            pub(crate) const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// What it means, for the manual.
            pub(crate) const fn meaning(self) -> &'static str {
                match self { $(Self::$variant => $meaning,)* }
            }
        }
    };
}

codes! {
    Verify = 1, "verify-failed", "what was read is not what was written";
    Usage = 2, "usage", "the command line is wrong";
    Config = 3, "config", "the configuration is wrong";
    LocalIo = 4, "local-io", "a local file, stdin or stdout failed";
    Setup = 5, "setup", "this machine lacks something: memory, descriptors, a permission";
    Resolve = 10, "name-not-resolved", "the host's name has no address";
    Unreachable = 11, "unreachable", "no way to the address, or nobody answers there";
    Refused = 12, "connection-refused", "the machine is there, but nothing listens on the port";
    NotNvme = 13, "not-nvme", "what listens there does not answer as NVMe over Fabrics";
    Negotiation = 14, "negotiation-failed", "the transport's parameters could not be agreed on";
    NoTransport = 15, "no-transport", "no transport of this program can reach the target";
    UnknownSubsystem = 16, "unknown-subsystem", "the controller has no subsystem of that name";
    HostNotAllowed = 17, "connect-invalid-host", "the subsystem does not let this host in";
    ConnectRejected = 18, "connect-failed", "the controller rejected the association for another reason";
    Controller = 19, "controller-failed", "the controller did not become ready, or could not be identified";
    NoNamespace = 20, "no-such-namespace", "the subsystem has no such namespace";
    OutOfRange = 21, "out-of-range", "the range does not lie within the namespace";
    Command = 22, "command-failed", "a command ended with an error";
    Lost = 23, "connection-lost", "the controller was lost and did not come back in time";
    TimedOut = 24, "command-timeout", "a command was not answered in time";
    AddressInUse = 30, "address-in-use", "something else listens on that address";
    Listen = 31, "listen-failed", "the address cannot be listened on";
    Internal = 70, "internal", "a defect of this program";
}

/// The exit codes, for the help text.
pub(crate) fn exit_codes_help() -> String {
    let mut text = String::from(
        "Exit codes, and what `class` is in the JSON object that --json prints on stderr (its `code` is as stable, and may say \
         more):\n   0  success\n",
    );
    for code in Code::ALL {
        text.push_str(&format!("  {:2}  {:19} {}\n", code.exit(), code.name(), code.meaning()));
    }
    text
}

/// A failure of the whole command.
#[derive(Debug)]
pub(crate) struct Failure {
    /// Its kind. Boxed contents keep `Result` small.
    code: Code,
    inner: Box<Inner>,
}

#[derive(Debug)]
struct Inner {
    name: &'static str,
    stage: String,
    message: String,
    hint: Option<String>,
    status: Option<PeerStatus>,
    notes: Vec<String>,
    /// The reader of our output is gone: end without a word.
    quiet: bool,
}

/// A peer's status, decoded.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PeerStatus {
    /// The status.
    pub(crate) status: Status,
    /// Whether it answers a Fabrics command, whose codes mean something of their own.
    pub(crate) fabrics: bool,
    /// The field of the command or its data that the controller objects to.
    pub(crate) field: Option<&'static str>,
}

impl Failure {
    /// A failure of a kind, at a stage.
    pub(crate) fn new(code: Code, stage: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            code,
            inner: Box::new(Inner {
                name: code.name(),
                stage: stage.into(),
                message: message.into(),
                hint: None,
                status: None,
                notes: Vec::new(),
                quiet: false,
            }),
        }
    }

    /// A local file, stdin or stdout failed. A reader that went away is no failure worth a word.
    pub(crate) fn local(what: impl fmt::Display, error: &io::Error) -> Self {
        let mut failure = Self::new(Code::LocalIo, "local I/O", format!("{what}: {error}"));
        failure.inner.quiet = error.kind() == io::ErrorKind::BrokenPipe;
        failure.hint_if(match error.kind() {
            io::ErrorKind::NotFound => Some("check the path"),
            io::ErrorKind::PermissionDenied => Some("check who may open it"),
            io::ErrorKind::StorageFull => Some("make room on the disk"),
            _ => None,
        })
    }

    /// A stable code that says more than that of its kind.
    #[must_use]
    pub(crate) fn named(mut self, name: &'static str) -> Self {
        self.inner.name = name;
        self
    }

    /// Says it in other words.
    #[must_use]
    pub(crate) fn message(mut self, message: impl Into<String>) -> Self {
        self.inner.message = message.into();
        self
    }

    /// What to try.
    #[must_use]
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.inner.hint = Some(hint.into());
        self
    }

    fn hint_if(self, hint: Option<&str>) -> Self {
        match hint {
            Some(hint) => self.hint(hint),
            None => self,
        }
    }

    /// The peer's status.
    #[must_use]
    pub(crate) fn status(mut self, status: PeerStatus) -> Self {
        self.inner.status = Some(status);
        self
    }

    /// One more line of what was seen.
    #[must_use]
    pub(crate) fn note(mut self, note: impl Into<String>) -> Self {
        self.inner.notes.push(note.into());
        self
    }

    /// Its kind.
    #[cfg(test)]
    pub(crate) fn code(&self) -> Code {
        self.code
    }

    /// The exit code: that of its kind, or success if only the reader of our output went away.
    pub(crate) fn exit(&self) -> u8 {
        if self.inner.quiet { 0 } else { self.code.exit() }
    }

    /// Says it on stderr.
    pub(crate) fn report(&self, json: bool) {
        if self.inner.quiet {
            return;
        }
        if json {
            eprintln!("{}", self.to_json());
        } else {
            eprint!("{}", self.to_text(Style::of_stderr()));
        }
    }

    /// One object, its `code` stable.
    pub(crate) fn to_json(&self) -> Value {
        let mut error = Map::new();
        error.insert("code".into(), json!(self.inner.name));
        error.insert("class".into(), json!(self.code.name()));
        error.insert("exit_code".into(), json!(self.code.exit()));
        error.insert("stage".into(), json!(self.inner.stage));
        error.insert("message".into(), json!(self.inner.message));
        error.insert("hint".into(), json!(self.inner.hint));
        if let Some(status) = self.inner.status {
            error.insert("status".into(), status.to_json());
        }
        if !self.inner.notes.is_empty() {
            error.insert("notes".into(), json!(self.inner.notes));
        }
        json!({ "error": error })
    }

    /// Several lines, the first saying all that matters.
    pub(crate) fn to_text(&self, style: Style) -> String {
        let Inner { stage, message, hint, status, notes, .. } = &*self.inner;
        let mut text = format!("{} {stage}: {message}\n", style.red("error:"));
        let mut line = |name: &str, content: &str| {
            text.push_str(&format!("  {} {content}\n", style.bold(&format!("{name}:"))));
        };
        if let Some(status) = status {
            line("status", &status.to_string());
        }
        notes.iter().for_each(|note| line("note", note));
        if let Some(hint) = hint {
            line("try", hint);
        }
        text
    }
}

impl PeerStatus {
    fn to_json(self) -> Value {
        let status = self.status;
        let (name, description) = if self.fabrics {
            (status.fabrics_name(), status.fabrics_description())
        } else {
            (status.name(), status.description())
        };
        json!({
            "sct": status.sct().0, "sc": status.sc(), "name": name, "description": description,
            "do_not_retry": status.dnr(), "field": self.field,
        })
    }
}

impl fmt::Display for PeerStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let status = self.status;
        let description = if self.fabrics {
            write!(f, "{}", status.as_fabrics())?;
            status.fabrics_description()
        } else {
            write!(f, "{status}")?;
            status.description()
        };
        if let Some(description) = description {
            write!(f, ", {description}")?;
        }
        if let Some(field) = self.field {
            write!(f, "; it objects to {field}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_and_exit_codes_are_distinct() {
        let mut names: Vec<_> = Code::ALL.iter().map(|code| code.name()).collect();
        let mut exits: Vec<_> = Code::ALL.iter().map(|code| code.exit()).collect();
        assert!(exits.is_sorted());
        names.sort_unstable();
        names.dedup();
        exits.dedup();
        assert_eq!(names.len(), Code::ALL.len());
        assert_eq!(exits.len(), Code::ALL.len());
        assert!(!exits.contains(&0));
    }

    #[test]
    fn a_rejected_connect_names_the_field() {
        let failure = Failure::new(Code::UnknownSubsystem, "Connect", "no such subsystem")
            .status(PeerStatus {
                status: Status::CONNECT_INVALID_PARAMETERS.with_dnr(),
                fabrics: true,
                field: Some("SUBNQN"),
            })
            .hint("nvmf discover");
        let text = failure.to_text(Style::plain());
        assert_eq!(
            text,
            "error: Connect: no such subsystem\n  status: Connect Invalid Parameters (01h/82h, do not retry), \
             a parameter of the Connect command is wrong; it objects to SUBNQN\n  \
             try: nvmf discover\n"
        );
        let json = failure.to_json();
        assert_eq!(json["error"]["code"], "unknown-subsystem");
        assert_eq!(json["error"]["status"]["sct"], 1);
        assert_eq!(json["error"]["status"]["sc"], 0x82);
        assert_eq!(json["error"]["status"]["field"], "SUBNQN");
        assert_eq!(json["error"]["exit_code"], 16);
    }

    #[test]
    fn a_broken_pipe_is_quiet() {
        let failure = Failure::local("stdout", &io::Error::from(io::ErrorKind::BrokenPipe));
        assert_eq!(failure.exit(), 0);
        let failure = Failure::local("stdout", &io::Error::from(io::ErrorKind::StorageFull));
        assert_eq!(failure.exit(), Code::LocalIo.exit());
    }
}
