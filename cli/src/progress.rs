//! Progress of something long: a bar on a terminal, a line now and then anywhere else, nothing when asked to be quiet.

use std::{
    io::{self, IsTerminal},
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::output::{Output, bytes};

/// How often a line is printed where there is no terminal.
const LINE_EVERY: Duration = Duration::from_secs(5);

/// Bytes done of bytes to do.
#[derive(Debug)]
pub(crate) struct Progress {
    what: &'static str,
    started: Instant,
    done: u64,
    total: Option<u64>,
    shown: Shown,
}

#[derive(Debug)]
enum Shown {
    Bar(ProgressBar),
    Lines { last: Instant },
    Nothing,
}

impl Progress {
    /// Begins at nothing. An unknown total shows what was done alone.
    #[expect(clippy::disallowed_methods, reason = "the program reads the clock; progress is for people")]
    pub(crate) fn new(what: &'static str, total: Option<u64>, output: Output) -> Self {
        let started = Instant::now();
        let shown = if output.quiet || output.json {
            Shown::Nothing
        } else if io::stderr().is_terminal() {
            Shown::Bar(bar(what, total))
        } else {
            Shown::Lines { last: started }
        };
        Self { what, started, done: 0, total, shown }
    }

    /// Adds to what is done.
    pub(crate) fn add(&mut self, count: u64) {
        self.done += count;
        match &mut self.shown {
            Shown::Bar(bar) => bar.set_position(self.done),
            Shown::Lines { last } => {
                #[expect(
                    clippy::disallowed_methods,
                    reason = "the program reads the clock; progress is for people"
                )]
                let now = Instant::now();
                if now.duration_since(*last) >= LINE_EVERY {
                    *last = now;
                    let of = self.total.map(|total| format!(" of {}", bytes(total))).unwrap_or_default();
                    eprintln!("{}: {}{of}", self.what, bytes(self.done));
                }
            }
            Shown::Nothing => {}
        }
    }

    /// Ends: the bar goes, the time it took comes back.
    pub(crate) fn finish(self) -> Duration {
        #[expect(clippy::disallowed_methods, reason = "the program reads the clock; progress is for people")]
        let took = Instant::now().duration_since(self.started);
        if let Shown::Bar(bar) = &self.shown {
            bar.finish_and_clear();
        }
        took
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Shown::Bar(bar) = &self.shown {
            bar.finish_and_clear();
        }
    }
}

fn bar(what: &'static str, total: Option<u64>) -> ProgressBar {
    let template = match total {
        Some(_) => {
            "{prefix:>8} [{bar:24}] {binary_bytes}/{binary_total_bytes} {binary_bytes_per_sec} eta {eta}"
        }
        None => "{prefix:>8} {spinner} {binary_bytes} {binary_bytes_per_sec}",
    };
    let bar = ProgressBar::with_draw_target(total, ProgressDrawTarget::stderr_with_hz(10));
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style.progress_chars("=> "));
    }
    bar.set_prefix(what);
    bar
}
