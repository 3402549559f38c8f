//! `nvmf copy SRC DST`: files and namespaces, either way.
//!
//! Zeroes become holes in files and deallocated blocks in namespaces. `--verify` reads both ends again and compares.

use nvmf_transport::{Memory, Pages, WaitPolicy};
use nvmf_wire::identify::OptionalNvmCommands;
use serde::Serialize;
use std::sync::Arc;

use crate::{
    args::{CopyArgs, CopyEnd},
    disk::Disk,
    failure::{Code, Failure},
    output::{Output, bytes},
    progress::Progress,
    read_write::whole_blocks,
    transfer::{
        CompareSink, FileSink, FileSource, NamespaceSink, NamespaceSource, Plan, Sink, Source, Tail, Writing,
        transfer,
    },
};

#[derive(Serialize)]
struct Copied {
    source: String,
    destination: String,
    bytes: u64,
    seconds: f64,
    mib_per_second: f64,
    verified: bool,
}

/// An end that is open.
enum Open {
    File(std::path::PathBuf),
    Namespace(Box<Disk>),
}

impl Open {
    fn new(end: &CopyEnd, args: &CopyArgs, output: Output) -> Result<Self, Failure> {
        Ok(match end {
            CopyEnd::File(path) => Self::File(path.clone()),
            CopyEnd::Namespace(uri) => {
                Self::Namespace(Box::new(Disk::open(uri, &args.connect, WaitPolicy::default(), output)?))
            }
        })
    }

    fn disk(&self) -> Option<&Disk> {
        match self {
            Self::File(_) => None,
            Self::Namespace(disk) => Some(disk),
        }
    }

    /// The end to read from; `own` says whose memory the pieces are of.
    fn source(&mut self, own: bool) -> Result<Box<dyn Source + '_>, Failure> {
        Ok(match self {
            Self::File(path) => Box::new(FileSource::open(path)?),
            Self::Namespace(disk) => Box::new(NamespaceSource::new(disk, 0, own)),
        })
    }

    fn close(self) {
        if let Self::Namespace(disk) = self {
            disk.close();
        }
    }
}

/// `nvmf copy`
pub(crate) fn copy(args: CopyArgs, output: Output) -> Result<(), Failure> {
    // The source first: nothing is made or emptied at the destination if there is nothing to copy.
    let mut from = Open::new(&args.from, &args, output)?;
    let size = match &from {
        Open::File(path) => FileSource::open(path)?.len(),
        Open::Namespace(disk) => disk.bytes(),
    };
    let length = match args.length {
        Some(length) if length > size => {
            let message = format!("--length {length}: {} has only {size} bytes", args.from);
            return Err(
                Failure::new(Code::OutOfRange, "copy", message).hint("leave --length out to copy all")
            );
        }
        Some(length) => length,
        None => size,
    };
    same_file(&args)?;
    let mut to = Open::new(&args.to, &args, output)?;
    if let Some(disk) = to.disk() {
        disk.range(0, Some(length))?;
    }

    let disks = [from.disk(), to.disk()];
    let chunk = disks.into_iter().flatten().try_fold(args.chunk, whole_blocks)?;
    let commands = disks.into_iter().flatten().map(Disk::commands).min().unwrap_or(1);
    let plan = Plan::new(Some(length), chunk, 0, commands);
    // Pieces are of the source's memory, or of the destination's if only that has one.
    let [memory, mirror] = match disks {
        [Some(from), Some(to)] => [from.memory(), to.memory()],
        [Some(one), None] | [None, Some(one)] => [one.memory(), one.memory()],
        [None, None] => [Arc::new(Pages) as Arc<dyn Memory>, Arc::new(Pages)],
    };
    let own = !matches!(disks, [Some(_), Some(_)]);

    let mut progress = Progress::new("copy", Some(length), output);
    {
        let mut source = from.source(true)?;
        let mut sink = sink(&mut to, length, own, !args.no_sparse)?;
        transfer(&mut *source, &mut *sink, &memory, plan, &mut progress)?;
    }
    let seconds = progress.finish().as_secs_f64();
    if args.verify {
        let mut progress = Progress::new("verify", Some(length), output);
        let mut source = from.source(true)?;
        let mut copy = to.source(true)?;
        let mut compare = CompareSink::new(&mut *copy, mirror);
        transfer(&mut *source, &mut compare, &memory, plan, &mut progress)?;
        progress.finish();
    }
    from.close();
    to.close();
    let copied = Copied {
        source: args.from.to_string(),
        destination: args.to.to_string(),
        bytes: length,
        seconds,
        mib_per_second: length as f64 / f64::from(1 << 20) / seconds.max(1e-9),
        verified: args.verify,
    };
    if output.quiet && !output.json {
        return Ok(());
    }
    output.result(&copied, || {
        format!(
            "copied {} in {seconds:.2} s, {:.1} MiB/s{}",
            bytes(length),
            copied.mib_per_second,
            if args.verify { "; verified: both ends hold the same" } else { "" }
        )
    })
}

fn sink(to: &mut Open, length: u64, own: bool, sparse: bool) -> Result<Box<dyn Sink + '_>, Failure> {
    Ok(match to {
        Open::File(path) => Box::new(FileSink::create(path, length, sparse)?),
        Open::Namespace(disk) => {
            let zeroes = disk.info().identify.oncs().contains(OptionalNvmCommands::WRITE_ZEROES);
            let how =
                Writing { base: 0, own, tail: Tail::Keep, fua: false, sparse: sparse && zeroes, flush: true };
            Box::new(NamespaceSink::new(disk, how))
        }
    })
}

/// Emptying the destination must not empty the source.
fn same_file(args: &CopyArgs) -> Result<(), Failure> {
    if let (CopyEnd::File(from), CopyEnd::File(to)) = (&args.from, &args.to)
        && let (Ok(from), Ok(to)) = (from.canonicalize(), to.canonicalize())
        && from == to
    {
        let message = format!("{} is source and destination", args.from);
        return Err(Failure::new(Code::Usage, "copy", message).hint("name another destination"));
    }
    Ok(())
}
