//! What came of it, as a table and as JSON.

use std::fmt;

use insula_spec::Level;
use serde::Serialize;

use super::inside::Outcome;
use super::probes::Probe;
use crate::printer::table;

/// What an attempt at one level shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Verdict {
    /// It did not get through, and without the wall it does.
    Stopped,
    /// It got through, as it may at this level.
    Open,
    /// It got through where the level promises that it does not.
    Breached,
    /// It did not get through, and there is no control that does.
    NotShown,
    /// It was not made.
    Skipped,
}

impl Verdict {
    /// What follows from an attempt and its control.
    pub(super) fn of(behind: &Outcome, control: &Outcome, promised: bool) -> Self {
        match (behind.through, control.through) {
            (true, _) if promised => Self::Breached,
            (true, _) => Self::Open,
            (false, false) => Self::NotShown,
            (false, true) => Self::Stopped,
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Stopped => "stopped",
            Self::Open => "open",
            Self::Breached => "BREACHED",
            Self::NotShown => "not shown",
            Self::Skipped => "skipped",
        })
    }
}

/// One attempt at one level.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Cell {
    pub(super) level: Level,
    pub(super) verdict: Verdict,
    /// What was seen, or why it was not made.
    pub(super) detail: String,
    /// The same without a wall, if it was made.
    pub(super) control: Option<Outcome>,
}

/// One attempt at every level.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Row {
    pub(super) id: &'static str,
    pub(super) what: &'static str,
    pub(super) levels: Vec<Cell>,
}

impl Row {
    pub(super) fn new(probe: Probe, levels: Vec<Cell>) -> Self {
        Self { id: probe.id(), what: probe.what(), levels }
    }
}

/// What the app that makes the attempts at a level must be able to do.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Sane {
    pub(super) level: Level,
    pub(super) did: &'static str,
}

/// A level that could not be verified.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Absent {
    pub(super) level: String,
    pub(super) why: String,
    pub(super) hint: Option<String>,
}

/// All of it.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Report {
    /// Version of this program.
    pub(super) version: &'static str,
    /// Of the kernel.
    pub(super) kernel: String,
    /// Who verified: `root` or `user`.
    pub(super) user: &'static str,
    /// Seconds since 1970.
    pub(super) time: u64,
    pub(super) probes: Vec<Row>,
    pub(super) sane: Vec<Sane>,
    pub(super) absent: Vec<Absent>,
}

impl Report {
    fn count(&self, verdict: Verdict) -> usize {
        self.probes.iter().flat_map(|row| &row.levels).filter(|cell| cell.verdict == verdict).count()
    }

    /// Whether every level kept what it promises.
    pub(super) fn holds(&self) -> bool {
        self.count(Verdict::Breached) == 0 && self.count(Verdict::Stopped) > 0
    }

    /// For people.
    pub(super) fn text(&self) -> String {
        let levels = self.probes.first().map_or(&[][..], |row| &row.levels);
        let names: Vec<String> = levels.iter().map(|cell| cell.level.to_string().to_uppercase()).collect();
        let mut headings = vec!["AN APP TRIES TO", "WITHOUT A WALL"];
        headings.extend(names.iter().map(String::as_str));
        let mut parts = vec![table(&headings, self.probes.iter().map(cells).collect())];
        parts.extend(self.notes());
        parts.push(format!(
            "{} stopped, {} open as documented, {} breached, {} not shown here, {} skipped; insula {}, {}, as {}",
            self.count(Verdict::Stopped),
            self.count(Verdict::Open),
            self.count(Verdict::Breached),
            self.count(Verdict::NotShown),
            self.count(Verdict::Skipped),
            self.version,
            self.kernel,
            self.user
        ));
        parts.join("\n\n")
    }

    /// What a cell has no room for: each breach, and why something was not shown or not tried.
    fn notes(&self) -> Option<String> {
        let mut notes: Vec<String> = Vec::new();
        for row in &self.probes {
            for cell in row.levels.iter().filter(|c| !matches!(c.verdict, Verdict::Stopped | Verdict::Open)) {
                notes.push(format!("{} at {}: {}: {}", row.what, cell.level, cell.verdict, cell.detail));
            }
        }
        for Sane { level, did } in &self.sane {
            notes.push(format!("level {level}: attempts do get through: the app {did}"));
        }
        for absent in &self.absent {
            let hint = absent.hint.as_ref().map(|hint| format!("; {hint}")).unwrap_or_default();
            notes.push(format!("level {}: not verified: {}{hint}", absent.level, absent.why));
        }
        (!notes.is_empty()).then(|| notes.join("\n"))
    }
}

fn cells(row: &Row) -> Vec<String> {
    let controls: Vec<_> = row.levels.iter().filter_map(|cell| cell.control.as_ref()).collect();
    let control = match controls.as_slice() {
        [] => "not tried",
        some if some.iter().any(|control| control.through) => "gets through",
        _ => "does not either",
    };
    let verdicts = row.levels.iter().map(|cell| cell.verdict.to_string());
    [row.what.to_owned(), control.to_owned()].into_iter().chain(verdicts).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(through: bool) -> Outcome {
        Outcome { through, detail: "seen".to_owned() }
    }

    #[test]
    fn a_wall_is_shown_only_by_an_attempt_that_gets_through_without_it() {
        let (yes, no) = (outcome(true), outcome(false));
        for (behind, control, promised, verdict) in [
            (&no, &yes, true, Verdict::Stopped),
            (&no, &no, true, Verdict::NotShown),
            (&no, &no, false, Verdict::NotShown),
            (&yes, &yes, true, Verdict::Breached),
            (&yes, &yes, false, Verdict::Open),
        ] {
            assert_eq!(Verdict::of(behind, control, promised), verdict, "{behind:?} {control:?} {promised}");
        }
    }

    fn report(verdicts: [Verdict; 2]) -> Report {
        let [process, namespace] = verdicts;
        let cell =
            |level, verdict| Cell { level, verdict, detail: "seen".into(), control: Some(outcome(true)) };
        let levels = vec![cell(Level::Process, process), cell(Level::Namespace, namespace)];
        let absent = Absent { level: "vm".into(), why: "no KVM".into(), hint: Some("enable it".into()) };
        Report {
            version: "1",
            kernel: "Linux 6".into(),
            user: "root",
            time: 0,
            probes: vec![Row::new(Probe::Mount, levels)],
            sane: vec![Sane { level: Level::Namespace, did: "read its own file" }],
            absent: vec![absent],
        }
    }

    #[test]
    fn a_breach_is_told_in_full_and_fails() {
        let good = report([Verdict::Open, Verdict::Stopped]);
        assert!(good.holds());
        insta::assert_snapshot!(good.text(), @r"
        AN APP TRIES TO      WITHOUT A WALL  PROCESS  NAMESPACE
        mount a file system  gets through    open     stopped

        level namespace: attempts do get through: the app read its own file
        level vm: not verified: no KVM; enable it

        1 stopped, 1 open as documented, 0 breached, 0 not shown here, 0 skipped; insula 1, Linux 6, as root
        ");
        let bad = report([Verdict::Open, Verdict::Breached]);
        assert!(!bad.holds());
        assert!(bad.text().contains("mount a file system at namespace: BREACHED: seen"), "{}", bad.text());
        assert!(!report([Verdict::Open, Verdict::NotShown]).holds(), "nothing was shown, yet it holds");
    }
}
