//! Which places a load reads and writes, and in what order. The load and its floor take their places from the same sequence.

use std::{fmt, str::FromStr};

use serde::{Serialize, Serializer};

use crate::data::Random;

/// Which places are read and written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pattern {
    /// Places are random, and not one after the other.
    pub random: bool,
    /// Reads of a hundred.
    pub reads: u8,
}

impl FromStr for Pattern {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let pattern = |random, reads| Ok(Self { random, reads });
        match text {
            "read" => pattern(false, 100),
            "write" => pattern(false, 0),
            "randread" => pattern(true, 100),
            "randwrite" => pattern(true, 0),
            _ => match text.strip_prefix("rw:").map(str::parse) {
                Some(Ok(reads @ 0..=100)) => pattern(true, reads),
                Some(_) => Err("rw: takes a percentage of reads, 0 to 100, as in rw:70".into()),
                None => Err("must be read, write, randread, randwrite or rw:PERCENT".into()),
            },
        }
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.random, self.reads) {
            (false, 100) => f.write_str("read"),
            (false, _) => f.write_str("write"),
            (true, 100) => f.write_str("randread"),
            (true, 0) => f.write_str("randwrite"),
            (true, reads) => write!(f, "rw:{reads}"),
        }
    }
}

impl Serialize for Pattern {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// The places of a load, one I/O after the other.
#[derive(Clone, Debug)]
pub struct Places {
    pattern: Pattern,
    random: Random,
    count: u64,
    next: u64,
}

impl Places {
    /// Of `count` places, which is not 0.
    pub fn new(pattern: Pattern, count: u64, seed: u64) -> Self {
        Self { pattern, random: Random::new(seed), count, next: 0 }
    }

    /// The next place, and whether it is written.
    #[inline]
    pub fn step(&mut self) -> (u64, bool) {
        let place = if self.pattern.random {
            self.random.below(self.count)
        } else {
            let place = self.next;
            self.next = if place + 1 < self.count { place + 1 } else { 0 };
            place
        };
        let write = match self.pattern.reads {
            0 => true,
            100 => false,
            reads => self.random.below(100) >= u64::from(reads),
        };
        (place, write)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_read_as_they_are_written() {
        for text in ["read", "write", "randread", "randwrite", "rw:70"] {
            assert_eq!(text.parse::<Pattern>().unwrap().to_string(), text);
        }
        assert!("rw:101".parse::<Pattern>().unwrap_err().contains("0 to 100"));
        assert!("sideways".parse::<Pattern>().unwrap_err().contains("randread"));
        assert_eq!("read".parse::<Pattern>().unwrap().reads, 100);
        assert_eq!("rw:99".parse::<Pattern>().unwrap().reads, 99);
    }

    #[test]
    fn places_follow_the_pattern() {
        let mut places = Places::new("write".parse().unwrap(), 3, 1);
        assert_eq!([(); 4].map(|()| places.step()), [(0, true), (1, true), (2, true), (0, true)]);
        let mut places = Places::new("rw:70".parse().unwrap(), 10, 1);
        let writes = (0..10_000).filter(|_| places.step().1).count();
        assert!((2800..3200).contains(&writes), "{writes}");
    }
}
