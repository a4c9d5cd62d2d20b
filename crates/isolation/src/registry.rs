//! The only list of levels.

use std::sync::Arc;

use insula_spec::{Level, LevelChoice};

use crate::contract::{Backend, Record, Swept, Unavailable};

/// The levels that this installation offers, weakest first.
#[derive(Debug, Clone)]
pub struct Registry {
    backends: Vec<Arc<dyn Backend>>,
}

impl Registry {
    /// A registry of these levels.
    #[must_use]
    pub fn new(mut backends: Vec<Arc<dyn Backend>>) -> Self {
        backends.sort_by_key(|b| Level::ALL.iter().position(|l| *l == b.level()));
        Self { backends }
    }

    /// Every level offered, weakest first.
    pub fn all(&self) -> impl Iterator<Item = &Arc<dyn Backend>> {
        self.backends.iter()
    }

    /// The backend of one level.
    ///
    /// # Errors
    /// When this installation has no such level, or this host cannot run it.
    pub fn backend(&self, level: Level) -> Result<&Arc<dyn Backend>, Unavailable> {
        let found = self.backends.iter().find(|b| b.level() == level).ok_or_else(|| Unavailable {
            level,
            why: "this version of Insula does not have it".to_owned(),
            hint: format!("use one of: {}", self.usable(None)),
        })?;
        found.probe().map(|_| found)
    }

    /// Turns what was asked for into a level that is at or above the floor and works here.
    ///
    /// `auto` is the strongest level that probes as able.
    ///
    /// # Errors
    /// When the level is below the floor, or nothing at or above the floor works here.
    pub fn resolve(&self, asked: LevelChoice, floor: Option<Level>) -> Result<Level, Unavailable> {
        let level = match asked {
            LevelChoice::Fixed(level) => level,
            LevelChoice::Auto => self.strongest().ok_or_else(|| Unavailable {
                level: floor.unwrap_or(Level::Process),
                why: "no level works on this host".to_owned(),
                hint: "run `insula doctor`".to_owned(),
            })?,
        };
        match floor {
            Some(floor) if !level.satisfies(floor) => Err(Unavailable {
                level,
                why: format!("it is below the floor `min_isolation = \"{floor}\"`"),
                hint: format!("levels that would do and work here: {}", self.usable(Some(floor))),
            }),
            _ => self.backend(level).map(|b| b.level()),
        }
    }

    /// Lets every level remove what carries this home's id and no record knows.
    pub async fn sweep(&self, known: &[Record]) -> Swept {
        let mut all = Swept::default();
        for backend in &self.backends {
            let swept = backend.sweep(known).await;
            all.processes += swept.processes;
            all.cgroups += swept.cgroups;
            all.run_dirs += swept.run_dirs;
            all.failed.extend(swept.failed);
        }
        all
    }

    fn strongest(&self) -> Option<Level> {
        self.backends.iter().rev().find(|b| b.probe().is_ok()).map(|b| b.level())
    }

    fn usable(&self, floor: Option<Level>) -> String {
        let names: Vec<_> = self
            .backends
            .iter()
            .filter(|b| floor.is_none_or(|f| b.level().satisfies(f)) && b.probe().is_ok())
            .map(|b| b.level().as_str())
            .collect();
        if names.is_empty() { "none".to_owned() } else { names.join(", ") }
    }
}
