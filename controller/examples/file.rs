//! How fast a file backend is without a transport: one thread keeps a number of operations outstanding, as an engine does.
//!
//! `cargo run --release -p nvmf-controller --example file -- FILE [depth=32] [size=4096] [seconds=3] [write] [direct] [threads]`
//!
//! Prints operations per second and processor time per operation, the kernel's part on this thread included. `threads` leaves the
//! io_uring out. The same from fio: `fio --filename=FILE --rw=randread --bs=4k --iodepth=32 --ioengine=io_uring --invalidate=0`.

use std::time::{Duration, Instant};

use nvmf_controller::backend::{
    Backend, BlockSize, Buffers, FileBackend, FileIo, FileOptions, Finished, Operation, Progress, Ring,
};
use nvmf_transport::{Buffer, Pages, Pool, Wake};
use rustix::{
    event::{PollFd, PollFlags, poll},
    time::{ClockId, clock_gettime},
};

struct Lent<'a>(&'a Pool, &'a mut Ring);

impl Buffers for Lent<'_> {
    fn take(&mut self, len: usize) -> Option<Buffer> {
        let mut buffer = self.0.take()?;
        buffer.truncate(len);
        Some(buffer)
    }

    fn ring(&mut self) -> Option<&mut Ring> {
        Some(self.1)
    }
}

fn used(clock: ClockId) -> Duration {
    let time = clock_gettime(clock);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
}

#[expect(clippy::disallowed_methods, reason = "it measures")]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut words = std::env::args().skip(1);
    let path = words.next().ok_or("which file?")?;
    let words: Vec<String> = words.collect();
    let number = |name: &str, default: u64| {
        let said = words.iter().find_map(|word| word.strip_prefix(name)?.strip_prefix('='));
        said.and_then(|said| said.parse().ok()).unwrap_or(default)
    };
    let has = |name: &str| words.iter().any(|word| word == name);
    let (depth, size) = (number("depth", 32) as usize, number("size", 4096));
    let options = FileOptions {
        block_size: BlockSize::B4096,
        direct: has("direct"),
        io: if has("threads") { FileIo::Threads } else { FileIo::Auto },
        ..FileOptions::new(path)
    };
    let backend = FileBackend::open(&options)?;
    let blocks = u32::try_from(size / 4096)?;
    let places = backend.geometry().blocks / u64::from(blocks);
    let pool = Pool::new(std::sync::Arc::new(Pages), usize::try_from(size)?, depth * 2);
    let wake = Wake::new()?;
    let finished = Finished::new(wake.clone());
    let (mut ring, mut ended) = (Ring::new(), Vec::with_capacity(depth));
    let mut random = 0x9E37_79B9_7F4A_7C15u64;
    let begin = Instant::now();
    let (thread, process) = (used(ClockId::ThreadCPUTime), used(ClockId::ProcessCPUTime));
    let (mut outstanding, mut done) = (0usize, 0u64);
    let limit = Duration::from_secs(number("seconds", 3));
    loop {
        let running = begin.elapsed() < limit;
        while running && outstanding < depth {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            let slba = random % places * u64::from(blocks);
            let operation = if has("write") {
                let mut data = pool.take().ok_or("no buffer")?;
                data[0] = random as u8;
                Operation::Write { slba, data: data.into(), fua: false }
            } else {
                Operation::Read { slba, blocks, fua: false }
            };
            match backend.submit(operation, &mut Lent(&pool, &mut ring), finished.ticket(0)) {
                Progress::Pending => outstanding += 1,
                Progress::Done(outcome) => {
                    outcome.map_err(|status| status.to_string())?;
                    done += 1;
                    if done.is_multiple_of(32) {
                        break;
                    }
                }
            }
        }
        ring.advance(&mut ended);
        finished.drain(&mut ended);
        if ended.is_empty() && outstanding > 0 {
            let mut handles = vec![PollFd::new(&wake, PollFlags::IN)];
            handles.extend(ring.wait_handle().map(|ring| PollFd::from_borrowed_fd(ring, PollFlags::IN)));
            let _ = poll(&mut handles, None);
            wake.clear();
        }
        for finish in ended.drain(..) {
            finish.outcome.map_err(|status| status.to_string())?;
            outstanding -= 1;
            done += 1;
        }
        if !running && outstanding == 0 {
            break;
        }
    }
    let per = |time: Duration| time.as_secs_f64() * 1e6 / done as f64;
    println!(
        "{}: {:.0} per second; processor {:.2} us each on this thread, {:.2} in all",
        backend.describe(),
        done as f64 / begin.elapsed().as_secs_f64(),
        per(used(ClockId::ThreadCPUTime) - thread),
        per(used(ClockId::ProcessCPUTime) - process),
    );
    Ok(())
}
