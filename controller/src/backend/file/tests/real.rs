//! Real files: opening, locking, identity, holes and truncation.

use std::{
    fs::File,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use nvmf_transport::{Memory, Pages, Wake};
use nvmf_wire::Status;
use tempfile::TempDir;

use crate::backend::{
    Backend, BlockSize, FileBackend, FileIo, FileOptions, Finished, Identity, OpenError, Operation, Progress,
    tests::{bytes, deallocate, flush, pieces, read, write, write_zeroes},
};

fn image(len: u64) -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("image");
    File::create(&path).unwrap().set_len(len).unwrap();
    (directory, path)
}

fn options(path: &Path) -> FileOptions {
    FileOptions { block_size: BlockSize::B4096, ..FileOptions::new(path) }
}

/// Both ways of carrying out reads and writes; the second is the same as the first where there is no io_uring.
fn ways(path: &Path) -> [FileOptions; 2] {
    [FileIo::Threads, FileIo::Auto].map(|io| FileOptions { io, ..options(path) })
}

fn read_only(path: &Path) -> FileOptions {
    FileOptions { read_only: true, ..options(path) }
}

#[test]
fn what_is_written_is_in_the_file() {
    for way in 0..2 {
        let (_directory, path) = image(1 << 20);
        written(&path, &ways(&path)[way]);
    }
}

fn written(path: &Path, way: &FileOptions) {
    let backend = FileBackend::open(way).unwrap();
    assert_eq!(backend.geometry().blocks, 256);
    assert!(backend.geometry().volatile_write_cache && !backend.geometry().read_only);
    write(&backend, 255, &[9; 4096]).unwrap();
    flush(&backend).unwrap();
    drop(backend);
    let stored = std::fs::read(path).unwrap();
    assert_eq!(stored.len(), 1 << 20);
    assert!(stored[..255 * 4096].iter().all(|byte| *byte == 0) && stored[255 * 4096..] == [9; 4096]);
}

#[test]
fn a_cached_read_ends_at_once_where_the_system_can_say_so() {
    let (_directory, path) = image(1 << 20);
    let backend = FileBackend::open(&options(&path)).unwrap();
    write(&backend, 0, &[3; 8192]).unwrap();
    let finished = Finished::new(Wake::new().unwrap());
    let mut pages: &dyn Memory = &Pages;
    let operation = Operation::Read { slba: 0, blocks: 2, fua: false };
    match backend.submit(operation, &mut pages, finished.ticket(1)) {
        Progress::Done(data) => assert_eq!(bytes(&data.unwrap()), [3; 8192]),
        Progress::Pending => {
            let inline = backend.core.reads_inline.load(std::sync::atomic::Ordering::Relaxed);
            assert!(!inline, "the page is cached and the file system knows RWF_NOWAIT");
        }
    }
}

#[test]
fn one_writer_or_many_readers() {
    let (_directory, path) = image(1 << 20);
    let in_use = |options: &FileOptions| matches!(FileBackend::open(options), Err(OpenError::InUse { .. }));
    let writer = FileBackend::open(&options(&path)).unwrap();
    assert!(in_use(&options(&path)) && in_use(&read_only(&path)));
    drop(writer);
    let readers =
        [FileBackend::open(&read_only(&path)).unwrap(), FileBackend::open(&read_only(&path)).unwrap()];
    assert!(in_use(&options(&path)));
    drop(readers);
    FileBackend::open(&options(&path)).unwrap();
}

#[test]
fn a_read_only_backend_never_writes() {
    let (_directory, path) = image(1 << 20);
    std::fs::write(&path, vec![5; 1 << 20]).unwrap();
    let backend = FileBackend::open(&read_only(&path)).unwrap();
    assert!(backend.geometry().read_only && !backend.geometry().volatile_write_cache);
    let protected = Status::NAMESPACE_WRITE_PROTECTED.with_dnr();
    assert_eq!(write(&backend, 0, &[1; 4096]).unwrap_err(), protected);
    assert_eq!(write_zeroes(&backend, 0, 1, true).unwrap_err(), protected);
    assert_eq!(deallocate(&backend, &[(0, 1)]).unwrap_err(), protected);
    flush(&backend).unwrap();
    assert_eq!(bytes(&read(&backend, 7, 2).unwrap()), [5; 8192]);
    assert!(std::fs::read(&path).unwrap().iter().all(|byte| *byte == 5));
}

#[test]
fn a_truncated_file_is_a_status_and_does_not_grow_back() {
    for way in 0..2 {
        let (_directory, path) = image(1 << 20);
        truncated(&path, &ways(&path)[way]);
    }
}

fn truncated(path: &Path, way: &FileOptions) {
    let backend = FileBackend::open(way).unwrap();
    write(&backend, 0, &[1; 1 << 20]).unwrap();
    let file = File::options().write(true).open(path).unwrap();
    file.set_len(6000).unwrap();
    assert_eq!(bytes(&read(&backend, 0, 1).unwrap()), [1; 4096]);
    for (slba, blocks) in [(0, 2), (1, 1), (200, 3)] {
        assert_eq!(read(&backend, slba, blocks).unwrap_err(), Status::UNRECOVERED_READ_ERROR.with_dnr());
    }
    assert_eq!(write(&backend, 200, &[2; 4096]).unwrap_err(), Status::WRITE_FAULT.with_dnr());
    assert_eq!(write_zeroes(&backend, 200, 1, false).unwrap_err(), Status::WRITE_FAULT.with_dnr());
    assert_eq!(deallocate(&backend, &[(200, 1)]).unwrap_err(), Status::WRITE_FAULT.with_dnr());
    assert_eq!(flush(&backend).unwrap_err(), Status::WRITE_FAULT.with_dnr());
    assert_eq!(std::fs::metadata(path).unwrap().len(), 6000);
    // Restored to its length (from a copy, say), it is served again.
    file.set_len(1 << 20).unwrap();
    write(&backend, 200, &[2; 4096]).unwrap();
    flush(&backend).unwrap();
}

#[test]
fn deallocated_blocks_leave_the_file_system() {
    for way in 0..2 {
        let (_directory, path) = image(8 << 20);
        freed(&path, &ways(&path)[way]);
    }
}

fn freed(path: &Path, way: &FileOptions) {
    let backend = FileBackend::open(way).unwrap();
    write(&backend, 0, &vec![1; 8 << 20]).unwrap();
    flush(&backend).unwrap();
    if !backend.geometry().thin {
        return;
    }
    let allocated = || std::fs::metadata(path).unwrap().blocks() * 512;
    assert!(allocated() >= 8 << 20);
    deallocate(&backend, &[(0, 1024), (1500, 0)]).unwrap();
    assert!(allocated() <= 5 << 20, "{} bytes still allocated", allocated());
    write_zeroes(&backend, 1024, 1024, true).unwrap();
    assert!(allocated() <= 1 << 20, "{} bytes still allocated", allocated());
    assert!(bytes(&read(&backend, 0, 2048).unwrap()).iter().all(|byte| *byte == 0));
    assert_eq!(std::fs::metadata(path).unwrap().len(), 8 << 20);
}

#[test]
fn direct_io_takes_pieces_of_any_shape() {
    let (_directory, path) = image(1 << 20);
    for way in ways(&path) {
        pieces_of_any_shape(&FileOptions { direct: true, ..way });
    }
}

fn pieces_of_any_shape(options: &FileOptions) {
    let backend = match FileBackend::open(options) {
        Ok(backend) => backend,
        Err(OpenError::System { .. } | OpenError::Alignment { .. }) => return,
        Err(error) => panic!("{error}"),
    };
    let data: Vec<u8> = (0..8192u32).map(|at| (at % 251) as u8).collect();
    let mut unaligned = crate::backend::tests::buffer(&[&[0; 100], &data[..]].concat());
    let operation = Operation::Write { slba: 3, data: unaligned.split_off(100).into(), fua: true };
    crate::backend::faulty::run(&backend, operation).unwrap();
    let operation = Operation::Write { slba: 9, data: pieces(&data, 777), fua: false };
    crate::backend::faulty::run(&backend, operation).unwrap();
    assert_eq!(bytes(&read(&backend, 3, 2).unwrap()), data);
    assert_eq!(bytes(&read(&backend, 9, 2).unwrap()), data);
}

#[test]
fn an_identity_lasts_and_is_unique() {
    let (_one, path) = image(1 << 20);
    let (_other, other) = image(1 << 20);
    let identity = |options: &FileOptions| FileBackend::open(options).unwrap().geometry().identity;
    let first = identity(&options(&path));
    assert_eq!(first, identity(&options(&path)));
    assert_eq!(first, identity(&read_only(&path)));
    assert_ne!(first, identity(&options(&other)));
    assert_eq!(first.uuid().get_version_num(), 8);
    let given = Identity([7; 16]);
    assert_eq!(identity(&FileOptions { identity: Some(given), ..options(&path) }), given);
}

#[test]
fn what_cannot_be_served_is_refused_in_words() {
    let (directory, path) = image(4096 + 512);
    let message = |options: &FileOptions| FileBackend::open(options).unwrap_err().to_string();
    assert!(message(&options(&path)).contains("4608 bytes is not a multiple of the block size 4096"));
    assert_eq!(FileBackend::open(&FileOptions::new(&path)).unwrap().geometry().blocks, 9);
    File::create(&path).unwrap();
    assert!(message(&options(&path)).contains("no room"));
    assert!(message(&options(directory.path())).contains("neither a regular file nor a block device"));
    assert!(message(&options(Path::new("/dev/null"))).contains("neither"));
    let missing = directory.path().join("missing");
    let text = message(&options(&missing));
    assert!(text.contains("missing: cannot open: No such file"), "{text}");
}
