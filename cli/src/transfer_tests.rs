//! Transfers between files and pipes, and a source that answers late and out of order.

use std::{
    fs,
    io::{self, Write},
    os::unix::fs::MetadataExt,
    sync::Mutex,
};

use nvmf_transport::Pages;

use super::{file::is_zero, *};
use crate::output::Output;

const CHUNK: u32 = 64 * 1024;

fn memory() -> Arc<dyn Memory> {
    Arc::new(Pages)
}

fn run(source: &mut dyn Source, sink: &mut dyn Sink, length: Option<u64>, skew: u64) -> Result<u64, Failure> {
    let output = Output { json: false, quiet: true };
    let plan = Plan::new(length, CHUNK, skew, 4);
    transfer(source, sink, &memory(), plan, &mut Progress::new("test", length, output))
}

fn content(len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len.next_multiple_of(8)];
    nvmf_bench::data::fill(&mut bytes, 0, 1);
    bytes.truncate(len);
    bytes
}

/// Fills pieces later, the newest first.
struct Late {
    content: Vec<u8>,
    held: Vec<Piece>,
}

impl End for Late {
    fn collect(&mut self, _: Instant, done: &mut Vec<Piece>) -> Result<(), Failure> {
        for mut piece in self.held.drain(..).rev() {
            let start = piece.at as usize;
            let end = start + piece.len;
            piece.room().copy_from_slice(&self.content[start..end]);
            done.push(piece);
        }
        Ok(())
    }
    fn waiting(&self) -> Waiting<'_> {
        None
    }
}

impl Source for Late {
    fn fill(&mut self, piece: Piece) -> Result<Option<Piece>, Failure> {
        self.held.push(piece);
        Ok(None)
    }
}

#[derive(Clone, Default)]
struct Collected(Arc<Mutex<Vec<u8>>>);

impl Write for Collected {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_pipe_gets_everything_in_order() {
    for (len, skew) in [(0, 0), (1, 0), (1_000_003, 0), (1_000_003, 517), (65_536, 65_535)] {
        let content = content(len);
        let collected = Collected::default();
        let mut source = Late { content: content.clone(), held: Vec::new() };
        let mut sink = StreamSink::new("test", Box::new(collected.clone()));
        let moved = run(&mut source, &mut sink, Some(len as u64), skew).unwrap();
        assert_eq!(moved, len as u64);
        assert!(*collected.0.lock().unwrap() == content, "{len} bytes, skew {skew}");
    }
}

#[test]
fn a_pipe_of_unknown_length_is_read_to_its_end() {
    for len in [0usize, 1, 65_536, 200_000] {
        let content = content(len);
        let collected = Collected::default();
        let mut source = StreamSource::new("test", Box::new(io::Cursor::new(content.clone())));
        let mut sink = StreamSink::new("test", Box::new(collected.clone()));
        assert_eq!(run(&mut source, &mut sink, None, 0).unwrap(), len as u64);
        assert!(*collected.0.lock().unwrap() == content);
    }
}

#[test]
fn an_input_that_ends_early_is_a_failure() {
    let mut source = StreamSource::new("test", Box::new(io::Cursor::new(content(100_000))));
    let mut sink = StreamSink::new("test", Box::new(Collected::default()));
    let failure = run(&mut source, &mut sink, Some(100_001), 0).unwrap_err();
    assert!(failure.to_json()["error"]["message"].as_str().unwrap().contains("after 100000 of 100001"));
}

#[test]
fn zeroes_become_holes_and_compare_equal() {
    let folder = tempfile::tempdir().unwrap();
    let (from, to) = (folder.path().join("from"), folder.path().join("to"));
    let mut content = content(1_000_000);
    content.resize(8 << 20, 0);
    fs::write(&from, &content).unwrap();
    let mut source = FileSource::open(&from).unwrap();
    let len = source.len();
    let mut sink = FileSink::create(&to, len, true).unwrap();
    assert_eq!(run(&mut source, &mut sink, Some(len), 0).unwrap(), len);
    assert!(fs::read(&to).unwrap() == content);
    let blocks = fs::metadata(&to).unwrap().blocks();
    assert!(blocks * 512 < 4 << 20, "{blocks} blocks of 512 bytes are allocated");

    let mut mirror = FileSource::open(&to).unwrap();
    let mut compare = CompareSink::new(&mut mirror, memory());
    run(&mut source, &mut compare, Some(len), 0).unwrap();

    content[700_001] ^= 1;
    fs::write(&to, &content).unwrap();
    let mut mirror = FileSource::open(&to).unwrap();
    let mut compare = CompareSink::new(&mut mirror, memory());
    let failure = run(&mut source, &mut compare, Some(len), 0).unwrap_err();
    assert_eq!(failure.code(), Code::Verify);
    assert!(failure.to_json()["error"]["message"].as_str().unwrap().ends_with("byte 700001"));
}

#[test]
fn what_is_no_storage_is_refused() {
    let failure = FileSource::open("/dev/null".as_ref()).unwrap_err();
    assert_eq!(failure.code(), Code::LocalIo);
}

#[test]
fn zeroes_are_told_from_others() {
    assert!(is_zero(&[]) && is_zero(&[0; 63]) && is_zero(&[0; 4096]));
    for at in [0, 63, 64, 4095] {
        let mut bytes = [0; 4096];
        bytes[at] = 1;
        assert!(!is_zero(&bytes), "byte {at}");
    }
}
