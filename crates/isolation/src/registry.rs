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
        self.backend_above(level, None)
    }

    /// The same, for a workload with a floor: what would do in its place is not below that.
    fn backend_above(&self, level: Level, floor: Option<Level>) -> Result<&Arc<dyn Backend>, Unavailable> {
        let absent =
            || Unavailable::new(level, "this version of Insula does not have it", "install one that has");
        let found = self.backends.iter().find(|b| b.level() == level).ok_or_else(absent);
        let able = found.and_then(|found| found.probe().map(|_| found));
        able.map_err(|error| Unavailable { instead: next_best(level, floor, self.working()), ..error })
    }

    /// Turns what was asked for into a level that is at or above the floor and works here.
    ///
    /// `auto` is the strongest level that probes as able.
    ///
    /// # Errors
    /// When the level is below the floor, or nothing at or above the floor works here.
    pub fn resolve(&self, asked: LevelChoice, floor: Option<Level>) -> Result<Level, Unavailable> {
        let nothing = || {
            let level = floor.unwrap_or(Level::Process);
            Unavailable::new(level, "no level works on this host", "run `insula doctor`")
        };
        let level = match asked {
            LevelChoice::Fixed(level) => level,
            LevelChoice::Auto => self.working().next_back().ok_or_else(nothing)?,
        };
        match floor {
            Some(floor) if !level.satisfies(floor) => {
                let why = format!("it is below the floor `min_isolation = \"{floor}\"`");
                let hint = format!("levels that would do and work here: {}", self.usable(floor));
                Err(Unavailable::new(level, why, hint))
            }
            _ => self.backend_above(level, floor).map(|b| b.level()),
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

    /// What works here, weakest first.
    fn working(&self) -> impl DoubleEndedIterator<Item = Level> {
        self.backends.iter().filter(|b| b.probe().is_ok()).map(|b| b.level())
    }

    fn usable(&self, floor: Level) -> String {
        let names: Vec<_> = self.working().filter(|l| l.satisfies(floor)).map(Level::as_str).collect();
        if names.is_empty() { "none".to_owned() } else { names.join(", ") }
    }
}

/// What would do in place of a level that cannot be used: of those that work and are not below the floor the strongest
/// one that is no stronger, or else the weakest one.
pub fn next_best(
    level: Level,
    floor: Option<Level>,
    working: impl IntoIterator<Item = Level>,
) -> Option<Level> {
    let rank = |of: &Level| Level::ALL.iter().position(|one| one == of);
    let mut would: Vec<_> =
        working.into_iter().filter(|one| *one != level && floor.is_none_or(|f| one.satisfies(f))).collect();
    would.sort_by_key(rank);
    let weaker = would.iter().rev().find(|one| rank(one) < rank(&level));
    weaker.or(would.first()).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_best_is_the_strongest_one_below_that_the_floor_allows() {
        use Level::{Container, Gvisor, Namespace, Process, Vm};
        let without_runsc = [Process, Namespace, Container];
        assert_eq!(next_best(Gvisor, None, without_runsc), Some(Container));
        assert_eq!(next_best(Gvisor, Some(Namespace), without_runsc), Some(Container));
        // Nothing that is there satisfies the floor: nothing is named.
        assert_eq!(next_best(Gvisor, Some(Gvisor), without_runsc), None);
        assert_eq!(next_best(Gvisor, Some(Gvisor), [Process, Vm]), Some(Vm));
        assert_eq!(next_best(Namespace, None, [Process, Gvisor]), Some(Process));
        assert_eq!(next_best(Namespace, Some(Namespace), [Process, Vm, Gvisor]), Some(Gvisor));
        assert_eq!(next_best(Process, None, [Process]), None);
    }
}
