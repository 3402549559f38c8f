//! A case, and what became of it.

use std::{
    any::Any,
    fmt,
    io::Write as _,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::mpsc,
    thread,
    time::Duration,
};

use crate::{Fixture, Stop, Verdict};

/// One thing that must hold over every transport.
#[derive(Clone, Copy)]
pub struct Case {
    /// A short name, stable across versions: what reports and exclusions say.
    pub id: &'static str,
    /// What must hold, as a sentence.
    pub title: &'static str,
    /// Document and section, or the contract's word.
    pub reference: &'static str,
    /// Runs it.
    pub run: fn(&dyn Fixture) -> Verdict,
}

impl fmt::Debug for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Case({}: {})", self.id, self.title)
    }
}

/// A case that is known not to pass over a transport.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exclusion {
    /// The case's id.
    pub case: &'static str,
    /// Why it does not pass, in a sentence.
    pub reason: &'static str,
}

/// What became of a case.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// All held.
    Passed,
    /// Something did not hold.
    Failed(String),
    /// It was not run, or does not apply: not a pass.
    Skipped(String),
    /// It failed, as an exclusion says it does.
    Excluded {
        /// The exclusion's reason.
        reason: &'static str,
        /// How it failed.
        failure: String,
    },
    /// It is excluded and passes: the exclusion is out of date, which is a failure.
    ExcludedButPasses(&'static str),
}

impl Outcome {
    /// The word for reports.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Failed(_) => "failed",
            Self::Skipped(_) => "skipped",
            Self::Excluded { .. } => "excluded",
            Self::ExcludedButPasses(_) => "excluded-but-passes",
        }
    }

    /// Whether a run with this outcome has failed.
    #[must_use]
    pub fn is_failure(&self) -> bool {
        matches!(self, Self::Failed(_) | Self::ExcludedButPasses(_))
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Passed => f.write_str("passed"),
            Self::Failed(what) => write!(f, "failed: {what}"),
            Self::Skipped(reason) => write!(f, "skipped: {reason}"),
            Self::Excluded { reason, failure } => write!(f, "excluded ({reason}): {failure}"),
            Self::ExcludedButPasses(reason) => {
                write!(f, "passes, but is excluded ({reason}): remove the exclusion")
            }
        }
    }
}

/// A case that is still running then hangs: every wait inside a case is shorter.
const HANG: Duration = Duration::from_secs(60);

/// Runs a case on a thread of its own, so that one that hangs is a failure and not a silence.
pub fn run(case: &'static Case, fixture: impl FnOnce() -> Box<dyn Fixture> + Send + 'static) -> Outcome {
    let (done, outcome) = mpsc::channel();
    let runner = thread::Builder::new().name(case.id.to_owned()).spawn(move || {
        let verdict = catch_unwind(AssertUnwindSafe(|| {
            let fixture = fixture();
            let exclusion = fixture.exclusions().iter().find(|exclusion| exclusion.case == case.id);
            (exclusion.map(|exclusion| exclusion.reason), (case.run)(&*fixture))
        }));
        // The receiver may have given up; then nobody is interested.
        let _ = done.send(judge(verdict));
    });
    if let Err(error) = runner {
        return Outcome::Failed(format!("no thread: {error}"));
    }
    outcome.recv_timeout(HANG).unwrap_or_else(|_| Outcome::Failed(format!("hangs: no end within {HANG:?}")))
}

type Ran = Result<(Option<&'static str>, Verdict), Box<dyn Any + Send>>;

fn judge(verdict: Ran) -> Outcome {
    match verdict {
        Ok((None, Ok(()))) => Outcome::Passed,
        Ok((Some(reason), Ok(()))) => Outcome::ExcludedButPasses(reason),
        Ok((_, Err(Stop::Skipped { reason }))) => Outcome::Skipped(reason),
        Ok((None, Err(failure))) => Outcome::Failed(failure.to_string()),
        Ok((Some(reason), Err(failure))) => Outcome::Excluded { reason, failure: failure.to_string() },
        // A panic is never excused: the rule is that nothing panics.
        Err(panic) => {
            let words = panic.downcast_ref::<&str>().map(|words| (*words).to_owned());
            let words = words.or_else(|| panic.downcast_ref::<String>().cloned());
            Outcome::Failed(format!("panicked: {}", words.unwrap_or_default()))
        }
    }
}

/// Runs a case as a test: says aloud what is not a pass, and panics if it is a failure.
///
/// Where `NVMF_CONFORMANCE_REPORT` names a file, one line per case is appended to it: transport, case, outcome.
pub fn test(transport: &str, id: &str, fixture: impl FnOnce() -> Box<dyn Fixture> + Send + 'static) {
    let Some(case) = crate::cases().iter().find(|case| case.id == id) else { panic!("no case {id}") };
    let outcome = run(case, fixture);
    if let Some(path) = std::env::var_os("NVMF_CONFORMANCE_REPORT") {
        let report = std::fs::OpenOptions::new().append(true).create(true).open(path);
        let line =
            format!("{transport}\t{id}\t{}\t{outcome}\t{}\t{}\n", outcome.word(), case.reference, case.title);
        let written = report.and_then(|mut report| report.write_all(line.as_bytes()));
        assert!(written.is_ok(), "cannot write the report: {written:?}");
    }
    if outcome.is_failure() {
        panic!("{transport}: {id} ({}): {}: {outcome}", case.reference, case.title);
    }
    if !matches!(outcome, Outcome::Passed) {
        // Past the test harness's capture: a skip that nobody sees is a pass.
        let _ = writeln!(std::io::stderr(), "{transport}: {id}: {outcome}");
    }
}

#[cfg(test)]
#[path = "case_tests.rs"]
mod tests;
