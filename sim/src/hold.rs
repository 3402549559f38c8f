//! Things held back until their time, in the order of their times; equal times keep the order they came in.

use std::time::Instant;

/// Held things. Few at a time, so a sorted vector.
#[derive(Debug)]
pub(crate) struct Hold<T> {
    held: Vec<(Instant, T)>,
}

impl<T> Default for Hold<T> {
    fn default() -> Self {
        Self { held: Vec::new() }
    }
}

impl<T> Hold<T> {
    pub(crate) fn until(&mut self, due: Instant, thing: T) {
        let at = self.held.partition_point(|(other, _)| *other <= due);
        self.held.insert(at, (due, thing));
    }

    /// Takes what is due.
    pub(crate) fn due(&mut self, now: Instant) -> impl Iterator<Item = T> + '_ {
        let ready = self.held.partition_point(|(due, _)| *due <= now);
        self.held.drain(..ready).map(|(_, thing)| thing)
    }

    /// Takes what `wanted` says, whenever it is due.
    pub(crate) fn take(&mut self, mut wanted: impl FnMut(&T) -> bool) -> Vec<T> {
        self.held.extract_if(.., |(_, thing)| wanted(thing)).map(|(_, thing)| thing).collect()
    }

    /// When the next is due.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.held.first().map(|(due, _)| *due)
    }
}
