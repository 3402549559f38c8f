//! What a CRC32C costs on this machine, at the lengths NVMe/TCP meets: headers, a block, a page, a large transfer.
//!
//! `cargo build --release -p nvmf-tcp --example crc32c && taskset -c 1 target/release/examples/crc32c`; the figures
//! belong into `docs/decisions/0002-crc32c.md`. Each is the best of several runs, so a busy machine still gives a
//! usable answer.

use std::{
    hint::black_box,
    time::{Duration, Instant},
};

use nvmf_tcp::digest::{Crc32c, copy_and_crc32c, crc32c};

const LENGTHS: [usize; 7] = [8, 24, 72, 512, 4096, 16 * 1024, 128 * 1024];
const RUNS: usize = 25;

/// Nanoseconds of one call: the best of [`RUNS`] loops of about a millisecond.
#[expect(clippy::disallowed_methods, reason = "a measurement reads the clock")]
fn nanoseconds(length: usize, mut call: impl FnMut() -> u32) -> f64 {
    let calls = (8_000_000 / (length + 64)).clamp(50, 100_000) as u32;
    let mut best = Duration::MAX;
    for _ in 0..RUNS {
        let start = Instant::now();
        for _ in 0..calls {
            black_box(call());
        }
        best = best.min(start.elapsed());
    }
    best.as_secs_f64() * 1e9 / f64::from(calls)
}

fn main() {
    let longest = LENGTHS.into_iter().max().unwrap_or(0);
    let source: Vec<u8> = (0..longest as u32).map(|n| (n.wrapping_mul(0x9E37_79B1) >> 13) as u8).collect();
    let mut target = vec![0; longest];
    println!(
        "{:>8} {:>12} {:>12} {:>12} {:>12}   ns per call, data in cache",
        "bytes", "one-shot", "one update", "copy", "copy + crc"
    );
    for length in LENGTHS {
        let (source, target) = (&source[..length], &mut target[..length]);
        let one_shot = nanoseconds(length, || crc32c(black_box(source)));
        let incremental = nanoseconds(length, || {
            let mut crc = black_box(Crc32c::new());
            crc.update(black_box(source));
            crc.finish()
        });
        let copy = nanoseconds(length, || {
            target.copy_from_slice(black_box(source));
            u32::from(black_box(&target)[0])
        });
        let both = nanoseconds(length, || copy_and_crc32c(black_box(&mut *target), black_box(source)));
        println!("{length:>8} {one_shot:>12.1} {incremental:>12.1} {copy:>12.1} {both:>12.1}");
    }
}
