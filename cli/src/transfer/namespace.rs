//! Namespaces as ends: many commands under way, blocks that are only partly covered handled.

use std::{sync::Arc, time::Instant};

use nvmf_host::{Done, Op};
use nvmf_transport::{Buffer, Memory};

use super::{End, Piece, Sink, Source, Waiting, file::is_zero};
use crate::{
    disk::{Disk, clock},
    failure::{Code, Failure},
};

/// A piece whose command is under way.
#[derive(Debug)]
struct Pending {
    at: u64,
    len: usize,
    /// The piece's own buffer, where the command uses another one.
    piece: Option<Buffer>,
    /// Bytes of the command's data in front of the piece's.
    skip: usize,
}

/// Pieces by the number their command carries.
#[derive(Debug, Default)]
struct Table {
    places: Vec<Option<Pending>>,
    free: Vec<usize>,
    under_way: usize,
}

impl Table {
    fn insert(&mut self, pending: Pending) -> u64 {
        self.under_way += 1;
        let at = self.free.pop().unwrap_or_else(|| {
            self.places.push(None);
            self.places.len() - 1
        });
        if let Some(place) = self.places.get_mut(at) {
            *place = Some(pending);
        }
        at as u64
    }

    fn remove(&mut self, user: u64) -> Option<Pending> {
        let at = usize::try_from(user).ok()?;
        let pending = self.places.get_mut(at)?.take()?;
        self.free.push(at);
        self.under_way -= 1;
        Some(pending)
    }
}

/// The blocks that cover a range of bytes: the first one, and how many bytes all of them have.
fn cover(block_size: u32, from: u64, len: usize) -> (u64, usize) {
    let size = u64::from(block_size);
    let start = from / size;
    let end = (from + len as u64).div_ceil(size);
    (start, ((end - start) * size) as usize)
}

/// A command that ended without the data it was given breaks the host's contract.
fn without_data() -> Failure {
    Failure::new(Code::Internal, "command", "a command ended without its data")
}

/// A namespace that is read.
pub(crate) struct NamespaceSource<'a> {
    disk: &'a mut Disk,
    memory: Arc<dyn Memory>,
    base: u64,
    /// Whether pieces are made of this disk's own memory.
    own: bool,
    table: Table,
    done: Vec<Done>,
}

impl<'a> NamespaceSource<'a> {
    /// Reads from byte `base` on. `own` says that pieces are of the disk's own memory and need no copy.
    pub(crate) fn new(disk: &'a mut Disk, base: u64, own: bool) -> Self {
        Self { memory: disk.memory(), disk, base, own, table: Table::default(), done: Vec::new() }
    }
}

impl End for NamespaceSource<'_> {
    fn collect(&mut self, now: Instant, done: &mut Vec<Piece>) -> Result<(), Failure> {
        self.disk.poll(now, &mut self.done)?;
        for ended in self.done.drain(..) {
            let Some(pending) = self.table.remove(ended.user) else { continue };
            if let Err(error) = ended.result {
                let from = self.base + pending.at;
                return Err(self
                    .disk
                    .failure(error)
                    .note(format!("reading {} bytes at byte {from}", pending.len)));
            }
            let data = ended.data.into_buffer().ok_or_else(without_data)?;
            let Pending { at, len, piece, skip } = pending;
            done.push(match piece {
                None => Piece { at, data, len },
                Some(buffer) => {
                    let mut piece = Piece { at, data: buffer, len };
                    piece.room().copy_from_slice(data.get(skip..skip + len).unwrap_or_default());
                    piece
                }
            });
        }
        Ok(())
    }

    fn waiting(&self) -> Waiting<'_> {
        (self.table.under_way > 0).then(|| self.disk.waiting(clock()))
    }
}

impl Source for NamespaceSource<'_> {
    fn fill(&mut self, piece: Piece) -> Result<Option<Piece>, Failure> {
        let block_size = self.disk.block_size();
        let Piece { at, data, len } = piece;
        let (start, covered) = cover(block_size, self.base + at, len);
        let skip = (self.base + at - start * u64::from(block_size)) as usize;
        let whole = self.own && covered == len && data.len() == len;
        let (room, piece) = if whole { (data, None) } else { (self.memory.allocate(covered)?, Some(data)) };
        let user = self.table.insert(Pending { at, len, piece, skip });
        self.disk.submit(user, None, Op::Read { start, data: room }, clock())?;
        Ok(None)
    }
}

/// What becomes of the rest of the last block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tail {
    /// It stays as it is.
    Keep,
    /// It becomes zeroes.
    Zero,
}

/// How a namespace is written.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Writing {
    /// The first byte.
    pub(crate) base: u64,
    /// Whether pieces are of the disk's own memory and need no copy.
    pub(crate) own: bool,
    /// What becomes of the rest of the last block.
    pub(crate) tail: Tail,
    /// Force Unit Access.
    pub(crate) fua: bool,
    /// Whether pieces of zeroes become Write Zeroes commands that may deallocate.
    pub(crate) sparse: bool,
    /// Whether to flush at the end.
    pub(crate) flush: bool,
}

/// A namespace that is written.
pub(crate) struct NamespaceSink<'a> {
    disk: &'a mut Disk,
    memory: Arc<dyn Memory>,
    how: Writing,
    table: Table,
    done: Vec<Done>,
    /// Buffers of commands that ended, for pieces that have to be copied.
    spare: Vec<Buffer>,
}

impl<'a> NamespaceSink<'a> {
    /// Writes as told.
    pub(crate) fn new(disk: &'a mut Disk, how: Writing) -> Self {
        Self {
            memory: disk.memory(),
            disk,
            how,
            table: Table::default(),
            done: Vec::new(),
            spare: Vec::new(),
        }
    }

    /// A piece in the blocks it covers, the bytes around it as they are on the disk (or zeroes, behind the end of padded data).
    fn within_blocks(
        &mut self,
        piece: &Piece,
        start: u64,
        covered: usize,
        skip: usize,
    ) -> Result<Buffer, Failure> {
        let mut blocks = match self.spare.pop_if(|spare| spare.len() == covered) {
            Some(spare) => spare,
            None => self.memory.allocate(covered)?,
        };
        let end = skip + piece.len;
        let keep = skip > 0 || (end < covered && self.how.tail == Tail::Keep);
        if keep {
            let read = self.disk.run(Op::Read { start, data: blocks })?;
            blocks = read.into_buffer().ok_or_else(without_data)?;
        }
        if let Some(room) = blocks.get_mut(skip..end) {
            room.copy_from_slice(piece.bytes());
        }
        if self.how.tail == Tail::Zero
            && let Some(rest) = blocks.get_mut(end..)
        {
            rest.fill(0);
        }
        Ok(blocks)
    }
}

impl End for NamespaceSink<'_> {
    fn collect(&mut self, now: Instant, done: &mut Vec<Piece>) -> Result<(), Failure> {
        self.disk.poll(now, &mut self.done)?;
        for ended in self.done.drain(..) {
            let Some(pending) = self.table.remove(ended.user) else { continue };
            if let Err(error) = ended.result {
                let from = self.how.base + pending.at;
                return Err(self
                    .disk
                    .failure(error)
                    .note(format!("writing {} bytes at byte {from}", pending.len)));
            }
            let data = match (pending.piece, ended.data.into_buffer()) {
                (Some(piece), spare) => {
                    self.spare.extend(spare);
                    piece
                }
                (None, own) => own.ok_or_else(without_data)?,
            };
            done.push(Piece { at: pending.at, data, len: pending.len });
        }
        Ok(())
    }

    fn waiting(&self) -> Waiting<'_> {
        (self.table.under_way > 0).then(|| self.disk.waiting(clock()))
    }
}

impl Sink for NamespaceSink<'_> {
    fn take(&mut self, piece: Piece) -> Result<Option<Piece>, Failure> {
        if piece.len == 0 {
            return Ok(Some(piece));
        }
        let block_size = self.disk.block_size();
        let from = self.how.base + piece.at;
        self.disk.range(from, Some(piece.len as u64))?;
        let (start, covered) = cover(block_size, from, piece.len);
        let skip = (from - start * u64::from(block_size)) as usize;
        let fua = self.how.fua;
        let pending = |piece: Option<Buffer>, at, len| Pending { at, len, piece, skip: 0 };
        let (op, pending) = if covered == piece.len && self.how.sparse && is_zero(piece.bytes()) {
            let blocks = covered as u64 / u64::from(block_size);
            let op = Op::WriteZeroes { start, blocks, deallocate: true, fua };
            (op, pending(Some(piece.data), piece.at, piece.len))
        } else if self.how.own && covered == piece.len && piece.data.len() == piece.len {
            let Piece { at, data, len } = piece;
            (Op::Write { start, data, fua }, pending(None, at, len))
        } else {
            let data = self.within_blocks(&piece, start, covered, skip)?;
            (Op::Write { start, data, fua }, pending(Some(piece.data), piece.at, piece.len))
        };
        let user = self.table.insert(pending);
        self.disk.submit(user, None, op, clock())?;
        Ok(None)
    }

    fn finish(&mut self) -> Result<(), Failure> {
        if self.how.flush {
            self.disk.run(Op::Flush)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_cover_what_they_touch() {
        assert_eq!(cover(512, 0, 512), (0, 512));
        assert_eq!(cover(512, 1, 512), (0, 1024));
        assert_eq!(cover(512, 511, 1), (0, 512));
        assert_eq!(cover(4096, 8192, 4097), (2, 8192));
    }
}
