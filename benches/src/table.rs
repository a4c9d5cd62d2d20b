//! Results: for each subject its rounds, its median, and what that is beside one of the subjects.

use std::fmt;

use crate::goal::{Beside, Goal, Tally};

/// One comparison.
#[derive(Debug)]
pub(crate) struct Table {
    title: String,
    unit: &'static str,
    rows: Vec<(String, Vec<f64>)>,
    base: usize,
    goals: Vec<Goal>,
}

impl Table {
    /// A table of these subjects; the first is what the others are compared with.
    pub(crate) fn new(title: impl Into<String>, unit: &'static str, subjects: &[&str]) -> Self {
        let rows = subjects.iter().map(|name| ((*name).to_owned(), Vec::new())).collect();
        Self { title: title.into(), unit, rows, base: 0, goals: Vec::new() }
    }

    /// Another row than the first is what the others are compared with.
    pub(crate) fn beside(self, base: usize) -> Self {
        Self { base, ..self }
    }

    /// What a row has to be.
    pub(crate) fn goal(mut self, goal: Goal) -> Self {
        self.goals.push(goal);
        self
    }

    /// The figure that a goal is about.
    fn figure(&self, goal: &Goal) -> f64 {
        let of = |row: usize| self.rows.get(row).map_or(f64::NAN, |(_, values)| quantile(values, goal.part));
        match goal.beside {
            Beside::Nothing => of(goal.row),
            Beside::Times(other) => of(goal.row) / of(other),
            Beside::More(other) => of(goal.row) - of(other),
            Beside::With(other) => of(goal.row) + of(other),
        }
    }

    /// A goal in words, and what came of it.
    fn outcome(&self, goal: &Goal) -> String {
        let name = |row: usize| self.rows.get(row).map_or("", |(name, _)| name.as_str());
        let (figure, row) = (self.figure(goal), name(goal.row));
        let (Beside::Times(other) | Beside::More(other) | Beside::With(other)) = goal.beside else {
            return format!("{row}: {goal}: {figure:.2}: {}", goal.judge(figure));
        };
        format!("{row}, beside {}: {goal}: {figure:.2}: {}", name(other), goal.judge(figure))
    }

    /// Counts what came of its goals.
    pub(crate) fn judge(&self, tally: &mut Tally) {
        for goal in &self.goals {
            tally.count(goal.judge(self.figure(goal)), || format!("{}: {}", self.title, self.outcome(goal)));
        }
    }

    /// Adds one measurement of a subject.
    pub(crate) fn add(&mut self, subject: usize, value: f64) {
        if let Some((_, values)) = self.rows.get_mut(subject) {
            values.push(value);
        }
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} ({})", self.title, self.unit)?;
        let base = self.rows.get(self.base).map_or(f64::NAN, |(_, values)| quantile(values, 0.5));
        for (name, values) in &self.rows {
            let (p50, p90) = (quantile(values, 0.5), quantile(values, 0.9));
            let ratio = p50 / base;
            let ratio = if ratio.is_finite() { format!("x{ratio:.2}") } else { "-".to_owned() };
            write!(f, "  {name:<34} p50 {p50:>9.2}  p90 {p90:>9.2}  {ratio:<7} [")?;
            for (at, value) in values.iter().enumerate() {
                write!(f, "{}{value:.1}", if at == 0 { "" } else { " " })?;
            }
            writeln!(f, "]")?;
        }
        self.goals.iter().try_for_each(|goal| writeln!(f, "  goal: {}", self.outcome(goal)))
    }
}

/// The value below which this part of all values lies; not a number where there are none.
fn quantile(values: &[f64], part: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = |at: usize| sorted.get(at).copied().unwrap_or(f64::NAN);
    if part == 0.5 && sorted.len().is_multiple_of(2) && !sorted.is_empty() {
        return f64::midpoint(middle(sorted.len() / 2 - 1), middle(sorted.len() / 2));
    }
    let rank = (1..=sorted.len()).find(|n| as_float(*n) >= part * as_float(sorted.len()));
    rank.map_or(f64::NAN, |n| middle(n - 1))
}

fn as_float(n: usize) -> f64 {
    f64::from(u32::try_from(n).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_values_that_were_measured_or_their_middle() {
        assert_eq!(quantile(&[3.0, 1.0, 2.0], 0.5), 2.0);
        assert_eq!(quantile(&[4.0, 1.0, 2.0, 3.0], 0.5), 2.5);
        assert_eq!(quantile(&[5.0; 1], 0.9), 5.0);
        let ten: Vec<_> = (1..=10).map(f64::from).collect();
        assert_eq!(quantile(&ten, 0.9), 9.0);
        assert!(quantile(&[], 0.5).is_nan());
    }

    #[test]
    fn a_table_compares_with_one_of_its_rows() {
        let mut table = Table::new("title", "ms", &["floor", "it"]);
        [1.0, 3.0, 2.0].into_iter().for_each(|v| table.add(0, v));
        [4.0, 5.0, 3.0].into_iter().for_each(|v| table.add(1, v));
        let text = table.to_string();
        assert!(text.starts_with("title (ms)\n"), "{text}");
        assert!(text.contains("x1.00") && text.contains("x2.00") && text.contains("[4.0 5.0 3.0]"), "{text}");
        let table = table.beside(1);
        let text = table.to_string();
        assert!(text.contains("x0.50") && text.contains("x1.00") && !text.contains("x2.00"), "{text}");
        let judged = table.goal(Goal::at_most(1.5, 1).beside(Beside::Times(0)));
        assert!(
            judged.to_string().contains("goal: it, beside floor: p50 at most x1.5: 2.00: BEYOND"),
            "{judged}"
        );
        let mut counts = Table::new("in common", "number", &["it"]);
        counts.add(0, 0.0);
        assert!(counts.to_string().contains("-       [0.0]"), "{counts}");
    }
}
