//! How a case says that it did not pass.

use std::{fmt, panic::Location};

/// What a case answers.
pub type Verdict = Result<(), Stop>;

/// Why a case stopped before its end.
#[derive(Clone, Debug)]
pub enum Stop {
    /// Something was not as it must be.
    Failed {
        /// What was seen and what was expected.
        what: String,
        /// Where in the suite it was noticed.
        at: &'static Location<'static>,
    },
    /// The case means nothing here, for a reason. Not a pass.
    Skipped {
        /// The reason.
        reason: String,
    },
}

impl Stop {
    /// A failure noticed at the caller.
    #[track_caller]
    #[must_use]
    pub fn failed(what: impl Into<String>) -> Self {
        Self::Failed { what: what.into(), at: Location::caller() }
    }

    /// A case that cannot be run here.
    #[must_use]
    pub fn skipped(reason: impl Into<String>) -> Self {
        Self::Skipped { reason: reason.into() }
    }
}

impl fmt::Display for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed { what, at } => write!(f, "{what} ({}:{})", at.file(), at.line()),
            Self::Skipped { reason } => write!(f, "skipped: {reason}"),
        }
    }
}

impl std::error::Error for Stop {}

/// Turns an error into a failure that says what was being done.
pub trait Context<T> {
    /// `doing` is what failed.
    fn doing(self, doing: &str) -> Result<T, Stop>;
}

impl<T, E: fmt::Display> Context<T> for Result<T, E> {
    #[track_caller]
    fn doing(self, doing: &str) -> Result<T, Stop> {
        match self {
            Ok(value) => Ok(value),
            Err(error) => Err(Stop::failed(format!("{doing}: {error}"))),
        }
    }
}

impl<T> Context<T> for Option<T> {
    #[track_caller]
    fn doing(self, doing: &str) -> Result<T, Stop> {
        match self {
            Some(value) => Ok(value),
            None => Err(Stop::failed(format!("{doing}: nothing"))),
        }
    }
}

/// Fails the case unless the condition holds.
#[macro_export]
macro_rules! check {
    ($condition:expr $(,)?) => {
        if !$condition {
            return Err($crate::Stop::failed(concat!("not so: ", stringify!($condition))));
        }
    };
    ($condition:expr, $($words:tt)+) => {
        if !$condition {
            return Err($crate::Stop::failed(format!($($words)+)));
        }
    };
}

/// Fails the case unless both are equal. The first is what was seen, the second what must be.
#[macro_export]
macro_rules! check_eq {
    ($seen:expr, $expected:expr $(,)?) => {
        match (&$seen, &$expected) {
            (seen, expected) => {
                if *seen != *expected {
                    return Err($crate::Stop::failed(format!(
                        "{} is {:?}, not {:?}", stringify!($seen), seen, expected
                    )));
                }
            }
        }
    };
    ($seen:expr, $expected:expr, $($words:tt)+) => {
        match (&$seen, &$expected) {
            (seen, expected) => {
                if *seen != *expected {
                    return Err($crate::Stop::failed(format!(
                        "{}: {} is {:?}, not {:?}", format_args!($($words)+), stringify!($seen), seen, expected
                    )));
                }
            }
        }
    };
}

/// Takes a pattern's bindings from a value, or fails the case showing the value.
#[macro_export]
macro_rules! expect {
    ($value:expr, $pattern:pat => $result:expr) => {
        match $value {
            $pattern => $result,
            other => {
                return Err($crate::Stop::failed(format!(
                    "expected {}, got {:?}",
                    stringify!($pattern),
                    other
                )));
            }
        }
    };
}
