//! How results are shown: tables and lists for people, JSON for programs.
//!
//! Results go to stdout; progress, notes and failures to stderr. A reader of stdout that goes away ends the command quietly.
//! Colours only on a terminal, and never if `NO_COLOR` is set.

use std::io::{self, IsTerminal, Write};

use comfy_table::{CellAlignment, Table, presets};
use serde::Serialize;

use crate::failure::{Code, Failure};

/// How a command talks: the global options it was given.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Output {
    /// Results as JSON.
    pub(crate) json: bool,
    /// No progress.
    pub(crate) quiet: bool,
}

impl Output {
    /// Prints a result: `human` to people, `value` to programs.
    pub(crate) fn result<T: Serialize>(
        self,
        value: &T,
        human: impl FnOnce() -> String,
    ) -> Result<(), Failure> {
        if self.json {
            let text = serde_json::to_string_pretty(value)
                .map_err(|error| Failure::new(Code::Internal, "output", error.to_string()))?;
            self.line(&text)
        } else {
            self.line(human().trim_end())
        }
    }

    /// Prints a line at once.
    pub(crate) fn line(self, text: &str) -> Result<(), Failure> {
        let mut stdout = io::stdout().lock();
        writeln!(stdout, "{text}")
            .and_then(|()| stdout.flush())
            .map_err(|error| Failure::local("stdout", &error))
    }

    /// Tells a person something that is not a result.
    pub(crate) fn note(self, text: &str) {
        if !self.json && !self.quiet {
            eprintln!("{text}");
        }
    }
}

/// Colours, or none.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Style {
    colours: bool,
}

impl Style {
    /// That of stdout.
    pub(crate) fn of_stdout() -> Self {
        Self::on(io::stdout().is_terminal())
    }

    /// That of stderr.
    pub(crate) fn of_stderr() -> Self {
        Self::on(io::stderr().is_terminal())
    }

    /// No colours.
    #[cfg(test)]
    pub(crate) fn plain() -> Self {
        Self { colours: false }
    }

    fn on(terminal: bool) -> Self {
        Self { colours: terminal && std::env::var_os("NO_COLOR").is_none() }
    }

    fn wrap(self, code: u8, text: &str) -> String {
        if self.colours { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    /// Emphasis.
    pub(crate) fn bold(self, text: &str) -> String {
        self.wrap(1, text)
    }

    /// Bad.
    pub(crate) fn red(self, text: &str) -> String {
        self.wrap(31, text)
    }

    /// Good.
    pub(crate) fn green(self, text: &str) -> String {
        self.wrap(32, text)
    }
}

/// A table with a header; columns whose header ends in `>` are aligned to the right.
pub(crate) fn table<R: IntoIterator<Item = String>>(
    header: &[&str],
    rows: impl IntoIterator<Item = R>,
) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(header.iter().map(|name| name.trim_end_matches('>')));
    rows.into_iter().for_each(|row| {
        table.add_row(row);
    });
    for (index, name) in header.iter().enumerate() {
        if let Some(column) = table.column_mut(index) {
            column.set_padding((0, 2));
            if name.ends_with('>') {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
    }
    table.trim_fmt()
}

/// Names and values, one pair per line, values aligned.
pub(crate) fn list<'a>(pairs: impl IntoIterator<Item = (&'a str, String)>) -> String {
    let pairs: Vec<_> = pairs.into_iter().collect();
    let width = pairs.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
    pairs.into_iter().map(|(name, value)| format!("{name:width$}  {value}\n")).collect()
}

/// Bytes as a person reads them.
pub(crate) fn bytes(count: u64) -> String {
    indicatif::BinaryBytes(count).to_string()
}

/// A duration in the unit that fits it.
pub(crate) fn micros(micros: f64) -> String {
    match micros {
        m if m < 1000.0 => format!("{m:.1} µs"),
        m if m < 1_000_000.0 => format!("{:.2} ms", m / 1e3),
        m => format!("{:.2} s", m / 1e6),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_line_up() {
        let rows = [["a", "1"], ["long", "12345"]].map(|row| row.map(String::from));
        assert_eq!(table(&["name", "size>"], rows), "name   size\na         1\nlong  12345");
    }

    #[test]
    fn lists_line_up() {
        let text = list([("a", "1".to_owned()), ("long", "2".to_owned())]);
        assert_eq!(text, "a     1\nlong  2\n");
    }

    #[test]
    fn units_fit() {
        assert_eq!(bytes(256 << 20), "256.00 MiB");
        assert_eq!(micros(12.34), "12.3 µs");
        assert_eq!(micros(12_340.0), "12.34 ms");
        assert_eq!(micros(2_500_000.0), "2.50 s");
    }
}
