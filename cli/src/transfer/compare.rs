//! A sink that stores nothing: it reads the same places elsewhere and compares.

use std::{collections::BTreeMap, sync::Arc, time::Instant};

use nvmf_transport::{Buffer, Memory};

use super::{End, Piece, Sink, Source, Waiting};
use crate::failure::{Code, Failure};

/// Compares what it is given with what `mirror` has at the same places.
pub(crate) struct CompareSink<'a> {
    mirror: &'a mut dyn Source,
    memory: Arc<dyn Memory>,
    free: Vec<Buffer>,
    /// Pieces whose mirror image is being read.
    waiting: BTreeMap<u64, Piece>,
    images: Vec<Piece>,
}

impl<'a> CompareSink<'a> {
    /// Compares with `mirror`, whose buffers come from `memory`.
    pub(crate) fn new(mirror: &'a mut dyn Source, memory: Arc<dyn Memory>) -> Self {
        Self { mirror, memory, free: Vec::new(), waiting: BTreeMap::new(), images: Vec::new() }
    }

    fn compare(&mut self, piece: &Piece, image: Piece) -> Result<(), Failure> {
        let difference = first_difference(piece.bytes(), image.bytes());
        self.free.push(image.data);
        match difference {
            None => Ok(()),
            Some(byte) => Err(Failure::new(
                Code::Verify,
                "verify",
                format!("source and destination differ at byte {}", piece.at + byte),
            )
            .hint("copy again with --data-digest: if it helps, something on the way corrupts data; if not, a disk does")),
        }
    }
}

/// The first byte at which two slices differ, the end of the shorter one included.
fn first_difference(one: &[u8], other: &[u8]) -> Option<u64> {
    if one == other {
        return None;
    }
    let same = one.iter().zip(other).take_while(|(a, b)| a == b).count();
    Some(same as u64)
}

impl End for CompareSink<'_> {
    fn collect(&mut self, now: Instant, done: &mut Vec<Piece>) -> Result<(), Failure> {
        let mut images = std::mem::take(&mut self.images);
        self.mirror.collect(now, &mut images)?;
        for image in images.drain(..) {
            if let Some(piece) = self.waiting.remove(&image.at) {
                self.compare(&piece, image)?;
                done.push(piece);
            }
        }
        self.images = images;
        Ok(())
    }

    fn waiting(&self) -> Waiting<'_> {
        self.mirror.waiting()
    }
}

impl Sink for CompareSink<'_> {
    fn take(&mut self, piece: Piece) -> Result<Option<Piece>, Failure> {
        let data = match self.free.pop() {
            Some(buffer) => buffer,
            None => self.memory.allocate(piece.data.len())?,
        };
        let image = Piece { at: piece.at, data, len: piece.len };
        match self.mirror.fill(image)? {
            Some(image) => {
                self.compare(&piece, image)?;
                Ok(Some(piece))
            }
            None => {
                self.waiting.insert(piece.at, piece);
                Ok(None)
            }
        }
    }

    fn finish(&mut self) -> Result<(), Failure> {
        Ok(())
    }
}
