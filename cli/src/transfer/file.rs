//! Files and block devices as ends: read and written at their place, in any order.

use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::{FileExt, FileTypeExt},
    path::{Path, PathBuf},
    time::Instant,
};

use super::{End, Piece, Sink, Source, Waiting};
use crate::failure::{Code, Failure};

/// Zeroes are looked for in steps of this size.
const HOLE: usize = 64 * 1024;

/// A file that is read.
#[derive(Debug)]
pub(crate) struct FileSource {
    path: PathBuf,
    file: File,
    len: u64,
}

impl FileSource {
    /// Opens a regular file or a block device.
    pub(crate) fn open(path: &Path) -> Result<Self, Failure> {
        let failed = |error: io::Error| Failure::local(path.display(), &error);
        let file = File::open(path).map_err(failed)?;
        let len = size(path, &file)?;
        Ok(Self { path: path.to_owned(), file, len })
    }

    /// Its size in bytes.
    pub(crate) fn len(&self) -> u64 {
        self.len
    }
}

/// The size of a regular file or block device; anything else has none.
fn size(path: &Path, file: &File) -> Result<u64, Failure> {
    use std::io::Seek;
    let failed = |error: io::Error| Failure::local(path.display(), &error);
    let kind = file.metadata().map_err(failed)?.file_type();
    if !kind.is_file() && !kind.is_block_device() {
        return Err(Failure::new(
            Code::LocalIo,
            "local I/O",
            format!("{}: neither a regular file nor a block device", path.display()),
        )
        .hint("use `nvmf read` and `nvmf write` for pipes"));
    }
    let mut file = file;
    file.seek(io::SeekFrom::End(0)).map_err(failed)
}

impl End for FileSource {
    fn collect(&mut self, _: Instant, _: &mut Vec<Piece>) -> Result<(), Failure> {
        Ok(())
    }

    fn waiting(&self) -> Waiting<'_> {
        None
    }
}

impl Source for FileSource {
    fn fill(&mut self, mut piece: Piece) -> Result<Option<Piece>, Failure> {
        let at = piece.at;
        match read_at(&self.file, piece.room(), at) {
            Ok(len) => piece.len = len,
            Err(error) => return Err(Failure::local(self.path.display(), &error)),
        }
        Ok(Some(piece))
    }
}

/// Reads until the room is full or the file ends.
fn read_at(file: &File, room: &mut [u8], at: u64) -> io::Result<usize> {
    let mut filled = 0;
    while let Some(rest) = room.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, at + filled as u64) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// A file that is written.
#[derive(Debug)]
pub(crate) struct FileSink {
    path: PathBuf,
    file: File,
    /// Whether what is not written is a hole, so that zeroes need not be.
    sparse: bool,
}

impl FileSink {
    /// Opens a block device, or a regular file that is made, emptied and given its length.
    pub(crate) fn create(path: &Path, len: u64, sparse: bool) -> Result<Self, Failure> {
        let failed = |error: io::Error| Failure::local(path.display(), &error);
        let device = path.metadata().is_ok_and(|meta| meta.file_type().is_block_device());
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(!device)
            .truncate(!device)
            .open(path)
            .map_err(failed)?;
        let room = size(path, &file)?;
        if !device {
            file.set_len(len).map_err(failed)?;
        } else if room < len {
            let message = format!("{} has room for {room} bytes, not for {len}", path.display());
            return Err(Failure::new(Code::LocalIo, "local I/O", message).hint("copy less with --length"));
        }
        Ok(Self { path: path.to_owned(), file, sparse: sparse && !device })
    }

    /// Makes or empties a regular file of unknown length, or opens whatever else the path is.
    pub(crate) fn stream(path: &Path) -> Result<File, Failure> {
        File::create(path).map_err(|error| Failure::local(path.display(), &error))
    }

    fn write(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        if !self.sparse {
            return self.file.write_all_at(bytes, at);
        }
        let steps = (at..).step_by(HOLE).zip(bytes.chunks(HOLE));
        for (at, step) in steps.filter(|(_, step)| !is_zero(step)) {
            self.file.write_all_at(step, at)?;
        }
        Ok(())
    }
}

/// Whether all bytes are 0.
pub(crate) fn is_zero(bytes: &[u8]) -> bool {
    // In blocks, without a way out inside of one: the compiler makes vector code of that.
    let (blocks, rest) = bytes.as_chunks::<64>();
    let none = |bytes: &[u8]| bytes.iter().fold(0, |any, byte| any | byte) == 0;
    blocks.iter().all(|block| none(block)) && none(rest)
}

impl End for FileSink {
    fn collect(&mut self, _: Instant, _: &mut Vec<Piece>) -> Result<(), Failure> {
        Ok(())
    }

    fn waiting(&self) -> Waiting<'_> {
        None
    }
}

impl Sink for FileSink {
    fn take(&mut self, piece: Piece) -> Result<Option<Piece>, Failure> {
        self.write(piece.bytes(), piece.at).map_err(|error| Failure::local(self.path.display(), &error))?;
        Ok(Some(piece))
    }

    fn finish(&mut self) -> Result<(), Failure> {
        self.file.sync_all().map_err(|error| Failure::local(self.path.display(), &error))
    }
}
