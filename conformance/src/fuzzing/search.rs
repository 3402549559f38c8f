//! The search on a stable toolchain: seeded pseudo-random inputs, from scratch and by mutating what is known to reach deep.
//!
//! No coverage guides it; the bodies turn any bytes into plausible operations, so that chance goes far. What fails is made
//! shorter and printed as hex, to be replayed and to become a file in `regressions/`.

use std::{
    cell::Cell,
    panic::{self, AssertUnwindSafe},
    sync::{
        Arc, Mutex, Once, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use nvmf_sim::Rng;

use super::Target;

/// How long and from where to search.
#[derive(Clone, Copy, Debug)]
pub struct Budget {
    /// When to stop.
    pub time: Duration,
    /// What every choice follows from.
    pub seed: u64,
}

/// One input may take this long before it counts as a hang.
const PATIENCE: Duration = Duration::from_secs(60);

/// Tries to make a failing input shorter.
const SHRINKS: usize = 4000;

/// Runs a target until its time is over, and returns how many inputs were tried. Panics, with the input as hex, when one fails.
#[expect(
    clippy::disallowed_methods,
    reason = "the search stops by the clock; nothing that is searched sees it"
)]
pub fn search(target: &Target, budget: Budget) -> u64 {
    let start = Instant::now();
    let (mut rng, mut tried) = (Rng::new(budget.seed), 0);
    let mut known = (target.seeds)();
    let watch = Watch::start(target.name);
    for input in &known {
        judge(target, budget.seed, input, &watch);
    }
    while start.elapsed() < budget.time {
        for _ in 0..16 {
            let input = invent(&mut rng, &known, target.longest);
            judge(target, budget.seed, &input, &watch);
            tried += 1;
            // Some of what was invented is worth going on from: nobody knows which.
            if rng.chance(2) {
                match known.len() < 256 {
                    true => known.push(input),
                    false => known[rng.below(256) as usize] = input,
                }
            }
        }
    }
    tried
}

/// Runs a target on one input given as hex.
pub fn replay(target: &Target, hex: &str) {
    (target.body)(&unhex(hex));
}

/// The bytes of hexadecimal digits; whitespace and `#` comments are left out. Panics at anything else.
pub fn unhex(text: &str) -> Vec<u8> {
    let lines = text.lines().map(|line| line.split('#').next().unwrap_or_default());
    let digits = lines.flat_map(str::chars).filter(|c| !c.is_whitespace());
    let digits: Vec<u8> = digits.map(|c| c.to_digit(16).expect("a hexadecimal digit") as u8).collect();
    digits.chunks(2).map(|pair| pair.iter().fold(0, |byte, digit| byte << 4 | digit)).collect()
}

fn invent(rng: &mut Rng, known: &[Vec<u8>], longest: usize) -> Vec<u8> {
    let pick = |rng: &mut Rng| known.get(rng.below(known.len() as u64) as usize).cloned().unwrap_or_default();
    let mut input = if rng.chance(400) { Vec::new() } else { pick(rng) };
    if input.is_empty() {
        // Lengths of all magnitudes alike.
        let most = longest >> rng.below(u64::from(longest.ilog2()));
        input.resize(rng.below(most as u64 + 1) as usize, 0);
        rng.fill(&mut input);
        return input;
    }
    for _ in 0..=rng.below(8) {
        let other = pick(rng);
        mutate(rng, &mut input, &other);
    }
    input.truncate(longest);
    input
}

fn mutate(rng: &mut Rng, input: &mut Vec<u8>, other: &[u8]) {
    let at = rng.below(input.len() as u64 + 1) as usize;
    let len = (1 << rng.below(8)).min(input.len() - at);
    match rng.below(8) {
        0 => {
            if let Some(byte) = input.get_mut(at) {
                *byte ^= 1 << rng.below(8);
            }
        }
        1 => {
            if let Some(byte) = input.get_mut(at) {
                *byte = rng.bits() as u8;
            }
        }
        2 => rng.fill(&mut input[at..at + len]),
        3 => drop(input.drain(at..at + len)),
        4 => {
            let mut more = vec![0; 1 << rng.below(7)];
            rng.fill(&mut more);
            input.splice(at..at, more);
        }
        5 => {
            let again = input[at..at + len].to_vec();
            input.splice(at..at, again);
        }
        6 => {
            input.truncate(at);
            input.extend_from_slice(&other[at.min(other.len())..]);
        }
        _ => {
            let step = (rng.below(9) as u8).wrapping_sub(4);
            if let Some(byte) = input.get_mut(at) {
                *byte = byte.wrapping_add(step);
            }
        }
    }
}

fn judge(target: &Target, seed: u64, input: &[u8], watch: &Watch) {
    watch.begins(input);
    if !fails(target, input) {
        return;
    }
    let short = shorten(target, input.to_vec(), watch);
    let hex: String = short.iter().map(|byte| format!("{byte:02x}")).collect();
    eprintln!("target {} failed, seed {seed}, shortened input of {} bytes:\n{hex}", target.name, short.len());
    (target.body)(&short);
    panic!("{}: fails only sometimes: {hex}", target.name);
}

/// Whether the body panics. Nothing outlives it, so that a broken state cannot be seen later.
fn fails(target: &Target, input: &[u8]) -> bool {
    hush();
    QUIET.set(true);
    let outcome = panic::catch_unwind(AssertUnwindSafe(|| (target.body)(input)));
    QUIET.set(false);
    outcome.is_err()
}

fn shorten(target: &Target, mut input: Vec<u8>, watch: &Watch) -> Vec<u8> {
    let (mut left, mut size) = (SHRINKS, input.len().next_power_of_two());
    while size > 0 {
        let mut at = 0;
        while at < input.len() && left > 0 {
            let mut shorter = input.clone();
            shorter.drain(at..(at + size).min(input.len()));
            let mut plainer = input.clone();
            plainer[at..(at + size).min(input.len())].fill(0);
            left = left.saturating_sub(2);
            watch.begins(&shorter);
            if fails(target, &shorter) {
                input = shorter;
            } else {
                watch.begins(&plainer);
                if plainer != input && fails(target, &plainer) {
                    input = plainer;
                }
                at += size;
            }
        }
        size /= 2;
    }
    input
}

thread_local! {
    static QUIET: Cell<bool> = const { Cell::new(false) };
}

/// Keeps the panics of tries that are expected to fail out of the output.
fn hush() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let loud = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if !QUIET.get() {
                loud(info);
            }
        }));
    });
}

/// Notices an input that does not end, prints it and ends the process: a hang has no other way to be reported.
struct Watch {
    current: Arc<Mutex<(u64, Vec<u8>)>>,
    done: Arc<AtomicBool>,
}

impl Watch {
    fn start(name: &'static str) -> Self {
        let watch = Self { current: Arc::default(), done: Arc::default() };
        let (current, done) = (Arc::clone(&watch.current), Arc::clone(&watch.done));
        thread::spawn(move || {
            let mut seen = (0, Duration::ZERO);
            const STEP: Duration = Duration::from_millis(500);
            while !done.load(Ordering::Relaxed) {
                thread::park_timeout(STEP);
                let (count, input) = &*current.lock().unwrap_or_else(PoisonError::into_inner);
                seen = if seen.0 == *count { (seen.0, seen.1 + STEP) } else { (*count, Duration::ZERO) };
                if seen.1 > PATIENCE {
                    let hex: String = input.iter().map(|byte| format!("{byte:02x}")).collect();
                    eprintln!("target {name} hangs on the input:\n{hex}");
                    std::process::abort();
                }
            }
        });
        watch
    }

    fn begins(&self, input: &[u8]) {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        current.0 += 1;
        current.1.clear();
        current.1.extend_from_slice(input);
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.done.store(true, Ordering::Relaxed);
    }
}
