//! The answers as a table and as JSON.

use std::fmt;

use insula_spec::{Level, Network, ServiceName, ServiceSpec};
use serde::Serialize;

use super::answers::Answer;
use crate::printer::table;

/// What becomes of the service at a level.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "standing", rename_all = "snake_case")]
pub(super) enum Standing {
    /// An instance that has no level yet gets this one.
    Chosen,
    /// It would run at this one, too.
    Possible,
    /// The floor forbids it.
    BelowFloor { floor: Level },
    /// Something that is written cannot be enforced there.
    Refused { key: &'static str },
    /// The level does not work on this host.
    NotHere { why: String },
}

/// A level.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Column {
    pub(super) level: Level,
    #[serde(flatten)]
    pub(super) standing: Standing,
}

/// One attempt at one level.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Cell {
    pub(super) level: Level,
    pub(super) answer: Answer,
    pub(super) why: String,
}

/// One attempt.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Row {
    pub(super) id: &'static str,
    pub(super) what: &'static str,
    pub(super) levels: Vec<Cell>,
}

/// All of it.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    service: ServiceName,
    /// As it is written.
    isolation: String,
    min_isolation: Option<Level>,
    network: Network,
    levels: Vec<Column>,
    attempts: Vec<Row>,
}

impl Report {
    pub(super) fn of(spec: &ServiceSpec, levels: Vec<Column>, attempts: Vec<Row>) -> Self {
        Self {
            service: spec.name.clone(),
            isolation: spec.isolation.to_string(),
            min_isolation: spec.floor(),
            network: spec.network,
            levels,
            attempts,
        }
    }

    /// For people.
    pub(super) fn text(&self) -> String {
        let names: Vec<_> =
            self.levels.iter().map(|column| column.level.to_string().to_uppercase()).collect();
        let mut headings = vec!["AN APP COULD"];
        headings.extend(names.iter().map(String::as_str));
        let standings = self.levels.iter().map(|column| column.standing.word().to_owned());
        let mut rows = vec![std::iter::once(format!("({})", self.service)).chain(standings).collect()];
        rows.extend(self.attempts.iter().map(|row| {
            let answers = row.levels.iter().map(|cell| cell.answer.to_string());
            std::iter::once(row.what.to_owned()).chain(answers).collect()
        }));
        let floor = self.min_isolation.map_or_else(|| "none".to_owned(), |floor| floor.to_string());
        let (isolation, network) = (&self.isolation, self.network.as_str());
        let mut parts = vec![table(&headings, rows)];
        parts.extend(self.reasons());
        parts.extend(self.absences());
        parts.push(format!(
            "isolation = \"{isolation}\", min_isolation: {floor}, network: {network}; `insula verify` tries what can be \
             tried, on this host"
        ));
        parts.join("\n\n")
    }

    /// Why the chosen level, or else the strongest that would do, does not simply stop something.
    fn reasons(&self) -> Option<String> {
        let would = |column: &&Column| matches!(column.standing, Standing::Possible);
        let chosen = self.levels.iter().find(|column| column.standing == Standing::Chosen);
        let level = chosen.or_else(|| self.levels.iter().rfind(would))?.level;
        let rows = self.attempts.iter().filter_map(|row| {
            let cell =
                row.levels.iter().find(|cell| cell.level == level && cell.answer != Answer::Stopped)?;
            Some(vec![format!("  {}", row.what), cell.answer.to_string(), cell.why.clone()])
        });
        let heading = format!("WHAT `{level}` DOES NOT STOP");
        Some(table(&[&heading, "", "WHY"], rows.collect()))
    }

    /// Why levels would not do.
    fn absences(&self) -> Option<String> {
        let lines = self.levels.iter().filter_map(|column| {
            let why = match &column.standing {
                Standing::Chosen | Standing::Possible => return None,
                Standing::BelowFloor { floor } => format!("below `min_isolation = \"{floor}\"`"),
                Standing::Refused { key } => format!("cannot enforce `{key}`: a start is refused"),
                Standing::NotHere { why } => why.clone(),
            };
            Some(format!("{}: {why}", column.level))
        });
        let lines: Vec<_> = lines.collect();
        (!lines.is_empty()).then(|| lines.join("\n"))
    }
}

impl Standing {
    fn word(&self) -> &'static str {
        match self {
            Self::Chosen => "chosen",
            Self::Possible => "would do",
            Self::BelowFloor { .. } => "below floor",
            Self::Refused { .. } => "refused",
            Self::NotHere { .. } => "not here",
        }
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Stopped => "stopped",
            Self::Granted => "as written",
            Self::Inside => "inside",
            Self::Harder => "harder",
            Self::Open => "open",
        })
    }
}
