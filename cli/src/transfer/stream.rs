//! Pipes as ends: read and written in order, whatever order the other end works in.

use std::{
    collections::BTreeMap,
    io::{self, Read, Write},
    time::Instant,
};

use super::{End, Piece, Sink, Source, Waiting};
use crate::failure::Failure;

/// A pipe that is read.
pub(crate) struct StreamSource {
    name: String,
    input: Box<dyn Read>,
}

impl StreamSource {
    /// Reads `input`, called `name` in failures.
    pub(crate) fn new(name: impl Into<String>, input: Box<dyn Read>) -> Self {
        Self { name: name.into(), input }
    }
}

impl End for StreamSource {
    fn collect(&mut self, _: Instant, _: &mut Vec<Piece>) -> Result<(), Failure> {
        Ok(())
    }

    fn waiting(&self) -> Waiting<'_> {
        None
    }
}

impl Source for StreamSource {
    fn fill(&mut self, mut piece: Piece) -> Result<Option<Piece>, Failure> {
        let mut filled = 0;
        while let Some(rest) = piece.room().get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match self.input.read(rest) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Failure::local(&self.name, &error)),
            }
        }
        piece.len = filled;
        Ok(Some(piece))
    }
}

/// A pipe that is written. Pieces that come too early wait here; the transfer bounds how many.
pub(crate) struct StreamSink {
    name: String,
    output: Box<dyn Write>,
    next: u64,
    early: BTreeMap<u64, Piece>,
    written: Vec<Piece>,
}

impl StreamSink {
    /// Writes `output`, called `name` in failures.
    pub(crate) fn new(name: impl Into<String>, output: Box<dyn Write>) -> Self {
        Self { name: name.into(), output, next: 0, early: BTreeMap::new(), written: Vec::new() }
    }
}

impl End for StreamSink {
    fn collect(&mut self, _: Instant, done: &mut Vec<Piece>) -> Result<(), Failure> {
        done.append(&mut self.written);
        Ok(())
    }

    fn waiting(&self) -> Waiting<'_> {
        None
    }
}

impl Sink for StreamSink {
    fn take(&mut self, piece: Piece) -> Result<Option<Piece>, Failure> {
        self.early.insert(piece.at, piece);
        while let Some(piece) = self.early.remove(&self.next) {
            self.output.write_all(piece.bytes()).map_err(|error| Failure::local(&self.name, &error))?;
            self.next += piece.len as u64;
            self.written.push(piece);
        }
        Ok(None)
    }

    fn finish(&mut self) -> Result<(), Failure> {
        self.output.flush().map_err(|error| Failure::local(&self.name, &error))
    }
}
