//! A plan as one line of text: `seed=7 delay(1ms..5ms)@chance(100)/io flip-read@byte(4096) reset@connected/q1*1`.

use std::{fmt, str::FromStr, time::Duration};

use super::{Fault, Moment, On, Plan, What, When};

/// A text that is no plan.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{part:?} is not {expected}")]
pub struct PlanError {
    /// The part that was not understood.
    pub part: String,
    /// What it should have been.
    pub expected: &'static str,
}

fn error(part: &str, expected: &'static str) -> PlanError {
    PlanError { part: part.to_owned(), expected }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "seed={}", self.seed)?;
        self.faults.iter().try_for_each(|fault| write!(f, " {fault}"))
    }
}

struct Time(Duration);

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.as_nanos() {
            nanos if nanos % 1_000_000_000 == 0 => write!(f, "{}s", nanos / 1_000_000_000),
            nanos if nanos % 1_000_000 == 0 => write!(f, "{}ms", nanos / 1_000_000),
            nanos if nanos % 1000 == 0 => write!(f, "{}us", nanos / 1000),
            nanos => write!(f, "{nanos}ns"),
        }
    }
}

impl FromStr for Time {
    type Err = PlanError;
    fn from_str(text: &str) -> Result<Self, PlanError> {
        let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let (number, unit) = text.split_at(digits);
        let unit = match unit {
            "s" => 1_000_000_000,
            "ms" => 1_000_000,
            "us" => 1000,
            "ns" => 1,
            _ => return Err(error(text, "a time such as 5ms, with s, ms, us or ns")),
        };
        let nanos = number.parse().ok().and_then(|number: u64| number.checked_mul(unit));
        nanos.map(|nanos| Self(Duration::from_nanos(nanos))).ok_or_else(|| error(text, "a time such as 5ms"))
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.what {
            What::Delay { least, most } => write!(f, "delay({}..{})", Time(least), Time(most))?,
            What::Withhold => f.write_str("withhold")?,
            What::Reorder { others } => write!(f, "reorder({others})")?,
            What::FlipWrite => f.write_str("flip-write")?,
            What::FlipRead => f.write_str("flip-read")?,
            What::Stall { time: None } => f.write_str("stall")?,
            What::Stall { time: Some(time) } => write!(f, "stall({})", Time(time))?,
            What::Reset => f.write_str("reset")?,
        }
        match self.when {
            When::Chance(per_mille) => write!(f, "@chance({per_mille})")?,
            When::Command(number) => write!(f, "@command({number})")?,
            When::Byte(number) => write!(f, "@byte({number})")?,
            When::Moment(Moment::Connecting) => f.write_str("@connecting")?,
            When::Moment(Moment::Connected) => f.write_str("@connected")?,
            When::Moment(Moment::Configured) => f.write_str("@configured")?,
        }
        match self.on {
            On::Any => {}
            On::Admin => f.write_str("/admin")?,
            On::Io => f.write_str("/io")?,
            On::Queue(qid) => write!(f, "/q{qid}")?,
        }
        if self.times > 0 { write!(f, "*{}", self.times) } else { Ok(()) }
    }
}

/// `word(argument)` or `word`.
fn call(text: &str) -> Result<(&str, Option<&str>), PlanError> {
    match text.split_once('(') {
        None => Ok((text, None)),
        Some((word, rest)) => {
            let argument = rest.strip_suffix(')').ok_or_else(|| error(text, "closed by a parenthesis"))?;
            Ok((word, Some(argument)))
        }
    }
}

fn number<T: FromStr>(text: &str) -> Result<T, PlanError> {
    text.parse().map_err(|_| error(text, "a number in range"))
}

impl FromStr for Fault {
    type Err = PlanError;

    fn from_str(text: &str) -> Result<Self, PlanError> {
        let (text, times) = match text.split_once('*') {
            Some((text, times)) => (text, number(times)?),
            None => (text, 0),
        };
        let (what, rest) =
            text.split_once('@').ok_or_else(|| error(text, "a fault such as delay(1ms..5ms)@chance(10)"))?;
        let (when, on) = match rest.split_once('/') {
            None => (rest, On::Any),
            Some((when, "admin")) => (when, On::Admin),
            Some((when, "io")) => (when, On::Io),
            Some((when, queue)) => {
                let qid =
                    queue.strip_prefix('q').ok_or_else(|| error(queue, "admin, io or a queue such as q1"))?;
                (when, On::Queue(number(qid)?))
            }
        };
        let what = match call(what)? {
            ("delay", Some(range)) => {
                let (least, most) =
                    range.split_once("..").ok_or_else(|| error(range, "two times such as 1ms..5ms"))?;
                let (Time(least), Time(most)) = (least.parse()?, most.parse()?);
                if most < least {
                    return Err(error(range, "a shorter and a longer time"));
                }
                What::Delay { least, most }
            }
            ("withhold", None) => What::Withhold,
            ("reorder", Some(others)) => What::Reorder { others: number(others)? },
            ("flip-write", None) => What::FlipWrite,
            ("flip-read", None) => What::FlipRead,
            ("stall", None) => What::Stall { time: None },
            ("stall", Some(time)) => What::Stall { time: Some(time.parse::<Time>()?.0) },
            ("reset", None) => What::Reset,
            _ => return Err(error(what, "delay, withhold, reorder, flip-write, flip-read, stall or reset")),
        };
        let when = match call(when)? {
            ("chance", Some(per_mille)) => When::Chance(number(per_mille)?),
            ("command", Some(count)) => When::Command(number(count)?),
            ("byte", Some(count)) => When::Byte(number(count)?),
            ("connecting", None) => When::Moment(Moment::Connecting),
            ("connected", None) => When::Moment(Moment::Connected),
            ("configured", None) => When::Moment(Moment::Configured),
            _ => {
                return Err(error(
                    when,
                    "chance(n), command(n), byte(n), connecting, connected or configured",
                ));
            }
        };
        Ok(Self { what, when, on, times })
    }
}

impl FromStr for Plan {
    type Err = PlanError;

    fn from_str(text: &str) -> Result<Self, PlanError> {
        let mut plan = Self::default();
        for part in text.split_whitespace() {
            match part.strip_prefix("seed=") {
                Some(seed) => plan.seed = number(seed)?,
                None => plan.faults.push(part.parse()?),
            }
        }
        Ok(plan)
    }
}
