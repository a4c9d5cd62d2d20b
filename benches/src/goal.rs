//! What a row of a table has to be, and what it must not become.
//!
//! A goal is that of SPECIFICATION.md. Beyond it lies a gate: what is worse than that has become slower than it was, and the
//! run fails. Where a goal is missed and known to be, the gate is beyond what is known; so an open row may stay open, and
//! may not get worse unseen.

use std::fmt;

/// How much worse than its goal, or than what is known of it, a figure may be before the run fails: what medians of the same
/// program were apart in two runs on two shared processors.
const SLACK: f64 = 1.3;

/// What a row is compared with.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Beside {
    /// Nothing: the figure itself counts.
    Nothing,
    /// Its quotient by another row.
    Times(usize),
    /// Its difference from another row.
    More(usize),
    /// Its sum with another row.
    With(usize),
}

/// A bound for one row.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Goal {
    /// The row.
    pub(crate) row: usize,
    /// Which part of all values lies below the figure: 0.5 or 0.9.
    pub(crate) part: f64,
    /// What it is compared with.
    pub(crate) beside: Beside,
    bound: f64,
    least: bool,
    known: Option<f64>,
}

impl Goal {
    /// The median of this row may be no more than so much.
    pub(crate) const fn at_most(bound: f64, row: usize) -> Self {
        Self { row, part: 0.5, beside: Beside::Nothing, bound, least: false, known: None }
    }

    /// … no less.
    pub(crate) const fn at_least(bound: f64, row: usize) -> Self {
        Self { least: true, ..Self::at_most(bound, row) }
    }

    /// Compared with another row.
    pub(crate) const fn beside(self, beside: Beside) -> Self {
        Self { beside, ..self }
    }

    /// The value that nine of ten are below, instead of the median.
    pub(crate) const fn p90(self) -> Self {
        Self { part: 0.9, ..self }
    }

    /// The figure that SPECIFICATION.md has for a goal that is missed.
    pub(crate) const fn known(self, figure: f64) -> Self {
        Self { known: Some(figure), ..self }
    }

    /// What a figure is for this goal.
    pub(crate) fn judge(&self, figure: f64) -> Verdict {
        let known = self.known.unwrap_or(self.bound);
        let (met, open) = if self.least {
            (figure >= self.bound, figure >= known.min(self.bound) / SLACK)
        } else {
            (figure <= self.bound, figure <= known.max(self.bound) * SLACK)
        };
        match (met, open) {
            (true, _) => Verdict::Met,
            (false, true) => Verdict::Missed,
            // Also what is not a number: a goal without a figure is not one.
            (false, false) => Verdict::Beyond,
        }
    }
}

impl fmt::Display for Goal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.least { "at least" } else { "at most" };
        let part = if self.part == 0.5 { "p50" } else { "p90" };
        write!(f, "{part} {sign} ")?;
        match self.beside {
            Beside::Nothing => write!(f, "{}", self.bound),
            Beside::Times(_) => write!(f, "x{}", self.bound),
            Beside::More(_) => write!(f, "+{}", self.bound),
            Beside::With(_) => write!(f, "{} together", self.bound),
        }
    }
}

/// What came of a goal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It is met.
    Met,
    /// It is missed, by no more than is known of it.
    Missed,
    /// It is missed by more than that.
    Beyond,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Met => "met",
            Self::Missed => "missed",
            Self::Beyond => "BEYOND ITS GATE",
        })
    }
}

/// All goals of a run.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    met: usize,
    missed: usize,
    beyond: Vec<String>,
}

impl Tally {
    /// Counts one more, and keeps what would fail the run.
    pub(crate) fn count(&mut self, verdict: Verdict, what: impl FnOnce() -> String) {
        match verdict {
            Verdict::Met => self.met += 1,
            Verdict::Missed => self.missed += 1,
            Verdict::Beyond => self.beyond.push(what()),
        }
    }

    /// Fails where a goal is beyond its gate.
    pub(crate) fn close(self) -> anyhow::Result<()> {
        let (met, missed, beyond) = (self.met, self.missed, self.beyond.len());
        crate::say(&format!("goals: {met} met, {missed} missed within their gates, {beyond} beyond"))?;
        anyhow::ensure!(
            self.beyond.is_empty(),
            "worse than SPECIFICATION.md tells; on a busy machine, run that part again:\n  {}",
            self.beyond.join("\n  ")
        );
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_figure_meets_its_goal_misses_it_or_is_beyond_its_gate() {
        let goal = Goal::at_most(1.0, 0);
        assert_eq!([1.0, 1.1, 1.4].map(|f| goal.judge(f)), [Verdict::Met, Verdict::Missed, Verdict::Beyond]);
        let known = goal.known(2.0);
        assert_eq!([0.9, 2.5, 2.7].map(|f| known.judge(f)), [Verdict::Met, Verdict::Missed, Verdict::Beyond]);
        let least = Goal::at_least(0.9, 0);
        assert_eq!([0.9, 0.8, 0.6].map(|f| least.judge(f)), [Verdict::Met, Verdict::Missed, Verdict::Beyond]);
        assert_eq!(Goal::at_most(0.0, 0).judge(1.0), Verdict::Beyond, "nothing may be lost");
        assert_eq!(goal.judge(f64::NAN), Verdict::Beyond, "what was not measured is not met");
    }

    #[test]
    fn a_run_fails_where_a_goal_is_beyond_its_gate() {
        let mut tally = Tally::default();
        tally.count(Verdict::Met, String::new);
        tally.count(Verdict::Missed, String::new);
        assert!(tally.close().is_ok());
        let mut tally = Tally::default();
        tally.count(Verdict::Beyond, || "slow".to_owned());
        assert!(tally.close().unwrap_err().to_string().contains("slow"));
    }
}
