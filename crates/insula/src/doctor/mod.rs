//! What this host can do: looked at by this process, without a daemon and without changing anything.

mod checks;
mod levels;
mod manager;
mod routed;

pub(crate) use levels::{compiled, probe as levels};

use std::path::Path;

use insula_spec::{Config, Level};
use serde::Serialize;

use crate::environment;
use crate::home::Home;

/// How good something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Verdict {
    /// As it should be.
    Good,
    /// It works, with less.
    Poor,
    /// It does not work.
    Bad,
}

impl Verdict {
    /// The word in tables.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Good => "ok",
            Self::Poor => "poor",
            Self::Bad => "bad",
        }
    }
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Check {
    /// What.
    pub(crate) what: &'static str,
    /// How good it is.
    pub(crate) verdict: Verdict,
    /// What was found.
    pub(crate) found: String,
    /// What to do about it.
    pub(crate) hint: Option<String>,
}

/// What an isolation level can do here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct LevelFound {
    /// Its name.
    pub(crate) level: String,
    /// By what limits are set.
    pub(crate) limits: Option<&'static str>,
    /// How host ids are given.
    pub(crate) ids: Option<&'static str>,
    /// The program of others that it needs.
    pub(crate) program: Option<String>,
    /// What an operator should know.
    pub(crate) notes: Vec<String>,
    /// Why it cannot be used, if it cannot.
    pub(crate) why_not: Option<String>,
    /// What to do about that.
    pub(crate) hint: Option<String>,
    /// The next best level that works here, where this one does not; which one a service may use its floor tells.
    pub(crate) instead: Option<Level>,
}

impl LevelFound {
    /// How good it is.
    pub(crate) fn verdict(&self) -> Verdict {
        match (&self.why_not, self.notes.is_empty()) {
            (Some(_), _) => Verdict::Bad,
            (None, true) => Verdict::Good,
            (None, false) => Verdict::Poor,
        }
    }

    /// In one line.
    pub(crate) fn found(&self) -> String {
        if let Some(why) = &self.why_not {
            let instead = self.instead.map(|level| format!("; the next best level here: {level}"));
            return format!("{why}{}", instead.unwrap_or_default());
        }
        let limits =
            self.limits.map_or("no limits but open files".to_owned(), |by| format!("limits by {by}"));
        let program = self.program.as_ref().map_or_else(String::new, |program| format!(", by {program}"));
        format!("{limits}, host ids: {}{program}", self.ids.unwrap_or("-"))
    }
}

/// All of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Diagnosis {
    /// The host, the home and the configuration.
    pub(crate) checks: Vec<Check>,
    /// The isolation levels, weakest first.
    pub(crate) levels: Vec<LevelFound>,
    /// What `auto` would choose.
    pub(crate) auto: Option<String>,
}

impl Diagnosis {
    /// Whether at least one level works.
    pub(crate) fn able(&self) -> bool {
        self.levels.iter().any(|l| l.why_not.is_none())
    }

    /// What to do, and about what; the same advice about several things once.
    pub(crate) fn hints(&self) -> Vec<(String, &str)> {
        let checks = self.checks.iter().filter_map(|c| Some((c.what, c.hint.as_deref()?)));
        let levels = self.levels.iter().flat_map(|l| {
            let hints = l.hint.iter().chain(&l.notes);
            hints.map(|hint| (l.level.as_str(), hint.as_str()))
        });
        let mut all: Vec<(String, &str)> = Vec::new();
        for (what, hint) in checks.chain(levels) {
            match all.iter_mut().find(|(_, known)| *known == hint) {
                Some((about, _)) => about.push_str(&format!(", {what}")),
                None => all.push((what.to_owned(), hint)),
            }
        }
        all
    }
}

/// Looks at everything.
pub(crate) fn examine(home: &Home, config: Option<&Path>) -> Diagnosis {
    let mut checks = checks::host();
    checks.push(routed::check());
    checks.push(checks::home(home));
    checks.push(checks::config(config));
    checks.push(checks::disk_limits(home, config));
    checks.extend(manager::unit(home));
    let settings = config
        .and_then(|path| Config::load_with(path, &environment::file_alone()).ok())
        .map(|config| config.levels);
    match levels::probe(home, settings.unwrap_or_default()) {
        Ok((levels, auto)) => Diagnosis { checks, levels, auto },
        Err(error) => {
            checks.push(Check {
                what: "levels",
                verdict: Verdict::Bad,
                found: format!("{error:#}"),
                hint: crate::failure::hint(&error),
            });
            Diagnosis { checks, levels: Vec::new(), auto: None }
        }
    }
}
