//! The table: one row for each step, printed as soon as it is known.

use std::fmt::Display;
use std::process::ExitCode;
use std::time::Duration;

use crate::exit::Exit;
use crate::printer::Printer;

/// Widths of the first three columns, in characters.
const WIDTHS: [usize; 3] = [46, 40, 33];

/// What a step found.
#[derive(Debug)]
pub(super) struct Finding {
    /// What was measured.
    pub(super) measured: String,
    /// What it should be.
    pub(super) wanted: String,
    /// Whether it is.
    pub(super) good: bool,
}

impl Finding {
    /// A finding.
    pub(super) fn new(measured: impl Display, wanted: impl Display, good: bool) -> Self {
        Self { measured: measured.to_string(), wanted: wanted.to_string(), good }
    }
}

/// The rows so far.
#[derive(Debug)]
pub(super) struct Report {
    printer: Printer,
    good: usize,
    skipped: usize,
    bad: Vec<String>,
}

impl Report {
    /// Prints the head of the table.
    pub(super) fn begin(printer: Printer) -> anyhow::Result<Self> {
        printer.text(&row(["STEP", "MEASURED", "WANTED"], ""))?;
        Ok(Self { printer, good: 0, skipped: 0, bad: Vec::new() })
    }

    /// Prints the row of one step. A step that could not be done is not as it should be.
    pub(super) fn row(&mut self, step: &str, found: anyhow::Result<Finding>) -> anyhow::Result<()> {
        let finding = found.unwrap_or_else(|error| {
            self.bad.push(format!("{step}: {error:#}"));
            Finding::new("could not be done (see below)", "", false)
        });
        if finding.good {
            self.good += 1;
        } else if !self.bad.last().is_some_and(|b| b.starts_with(step)) {
            self.bad.push(format!("{step}: {}, wanted {}", finding.measured, finding.wanted));
        }
        let verdict = if finding.good { "ok" } else { "NOT OK" };
        self.printer.text(&row([step, &finding.measured, &finding.wanted], verdict))
    }

    /// Prints the row of a step that this host cannot show.
    pub(super) fn skipped(&mut self, step: &str, why: &str) -> anyhow::Result<()> {
        self.skipped += 1;
        let [first, ..] = WIDTHS;
        self.printer.text(&format!("{step:first$}skipped: {why}"))
    }

    /// Prints the sum; the exit code says whether everything is as it should be.
    pub(super) fn finish(self) -> anyhow::Result<ExitCode> {
        for bad in &self.bad {
            self.printer.text(&format!("NOT OK  {bad}"))?;
        }
        let skipped = if self.skipped == 0 { String::new() } else { format!(", {} skipped", self.skipped) };
        self.printer.text(&format!("{} ok, {} not ok{skipped}", self.good, self.bad.len()))?;
        Ok(if self.bad.is_empty() { Exit::Ok } else { Exit::Failed }.into())
    }
}

fn row(cells: [&str; 3], verdict: &str) -> String {
    let [step, measured, wanted] = WIDTHS;
    format!("{:step$}{:measured$}{:wanted$}{verdict}", cells[0], cells[1], cells[2]).trim_end().to_owned()
}

/// A duration as people read it: `1.2 ms`, `87 ms`, `1.4 s`.
pub(super) fn time(duration: Duration) -> String {
    let micros = duration.as_micros();
    match micros {
        0..10_000 => format!("{}.{} ms", micros / 1000, micros % 1000 / 100),
        10_000..1_000_000 => format!("{} ms", micros / 1000),
        _ => format!("{}.{} s", micros / 1_000_000, micros % 1_000_000 / 100_000),
    }
}

/// The middle of some durations; zero of none.
pub(super) fn median(mut all: Vec<Duration>) -> Duration {
    all.sort_unstable();
    all.get(all.len() / 2).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_take_a_fitting_unit() {
        let times = [0, 950, 9_999, 10_000, 999_999, 1_250_000].map(|us| time(Duration::from_micros(us)));
        assert_eq!(times, ["0.0 ms", "0.9 ms", "9.9 ms", "10 ms", "999 ms", "1.2 s"]);
    }

    #[test]
    fn a_bad_row_makes_a_bad_exit() {
        let finish = |good| {
            let mut report =
                Report { printer: Printer { json: false }, good: 0, skipped: 0, bad: Vec::new() };
            report.row("step", Ok(Finding::new(1, 2, good))).unwrap();
            report.finish().unwrap()
        };
        assert_eq!(format!("{:?}", finish(true)), format!("{:?}", ExitCode::from(Exit::Ok)));
        assert_eq!(format!("{:?}", finish(false)), format!("{:?}", ExitCode::from(Exit::Failed)));
    }
}
