//! `nvmf read` and `nvmf write`: a range of a namespace to a pipe or file, and back.

use std::{
    fs::File,
    io::{self, BufWriter, IsTerminal, Read},
};

use nvmf_transport::WaitPolicy;
use serde::Serialize;

use crate::{
    args::{ReadArgs, WriteArgs},
    disk::Disk,
    failure::{Code, Failure},
    output::{Output, bytes},
    progress::Progress,
    transfer::{
        FileSink, NamespaceSink, NamespaceSource, Plan, Sink, StreamSink, StreamSource, Tail, Writing,
        transfer,
    },
};

#[derive(Serialize)]
struct Moved {
    offset: u64,
    bytes: u64,
    seconds: f64,
    mib_per_second: f64,
}

/// `nvmf read`
pub(crate) fn read(args: ReadArgs, output: Output) -> Result<(), Failure> {
    if args.output.is_none() && io::stdout().is_terminal() && !args.force {
        return Err(Failure::new(Code::Usage, "command line", "binary data does not belong on a terminal")
            .hint("redirect stdout, say --output FILE, or --force"));
    }
    let mut disk = Disk::open(&args.uri, &args.connect, WaitPolicy::default(), output)?;
    let length = disk.range(args.offset, args.length)?;
    let chunk = whole_blocks(args.chunk, &disk)?;
    let mut sink = match &args.output {
        Some(path) => StreamSink::new(path.display().to_string(), Box::new(FileSink::stream(path)?)),
        None => StreamSink::new("stdout", Box::new(BufWriter::with_capacity(1 << 20, io::stdout().lock()))),
    };
    let plan = Plan::new(Some(length), chunk, args.offset, disk.commands());
    let memory = disk.memory();
    // Progress would stand in the way of what is read on a terminal.
    let shown = Output { quiet: output.quiet || args.output.is_none(), ..output };
    let mut progress = Progress::new("read", Some(length), shown);
    let mut source = NamespaceSource::new(&mut disk, args.offset, true);
    let moved = transfer(&mut source, &mut sink, &memory, plan, &mut progress)?;
    let took = progress.finish().as_secs_f64();
    disk.close();
    if args.output.is_some() {
        summary("read", args.offset, moved, took, output)?;
    }
    Ok(())
}

/// `nvmf write`
pub(crate) fn write(args: WriteArgs, output: Output) -> Result<(), Failure> {
    let (name, input): (String, Box<dyn Read>) = match &args.input {
        Some(path) => {
            let file = File::open(path).map_err(|error| Failure::local(path.display(), &error))?;
            (path.display().to_string(), Box::new(file))
        }
        None if io::stdin().is_terminal() => {
            return Err(Failure::new(Code::Usage, "command line", "nothing is redirected to stdin")
                .hint("write `< FILE`, pipe something in, or say --input FILE"));
        }
        None => ("stdin".into(), Box::new(io::stdin().lock())),
    };
    let mut disk = Disk::open(&args.uri, &args.connect, WaitPolicy::default(), output)?;
    disk.range(args.offset, args.length)?;
    let chunk = whole_blocks(args.chunk, &disk)?;
    let plan = Plan::new(args.length, chunk, args.offset, disk.commands());
    let memory = disk.memory();
    let how = Writing {
        base: args.offset,
        own: true,
        tail: if args.pad { Tail::Zero } else { Tail::Keep },
        fua: args.fua,
        sparse: false,
        flush: args.flush,
    };
    let mut progress = Progress::new("write", args.length, output);
    let mut source = StreamSource::new(name, input);
    let mut sink = NamespaceSink::new(&mut disk, how);
    let moved = transfer(&mut source, &mut sink as &mut dyn Sink, &memory, plan, &mut progress)?;
    let took = progress.finish().as_secs_f64();
    disk.close();
    summary("wrote", args.offset, moved, took, output)
}

/// The size of a piece, brought to whole blocks.
pub(crate) fn whole_blocks(chunk: u32, disk: &Disk) -> Result<u32, Failure> {
    let size = disk.block_size();
    match chunk.checked_next_multiple_of(size) {
        Some(chunk) if chunk >= size && chunk <= 64 << 20 => Ok(chunk),
        _ => Err(Failure::new(
            Code::Usage,
            "command line",
            format!("--chunk {chunk}: must be from one block to 64 MiB"),
        )),
    }
}

fn summary(what: &str, offset: u64, moved: u64, seconds: f64, output: Output) -> Result<(), Failure> {
    let rate = moved as f64 / f64::from(1 << 20) / seconds.max(1e-9);
    if output.json {
        let moved = Moved { offset, bytes: moved, seconds, mib_per_second: rate };
        return output.result(&moved, String::new);
    }
    output.note(&format!("{what} {} at byte {offset} in {seconds:.2} s, {rate:.1} MiB/s", bytes(moved)));
    Ok(())
}
