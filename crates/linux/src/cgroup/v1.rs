//! Version 1: one hierarchy for each controller.

use std::path::{Path, PathBuf};

/// One directory in each hierarchy that Insula uses; `None` where the controller is not mounted. Two
/// controllers that are mounted together have the same directory.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Hierarchies {
    /// CPU weight and quota.
    pub cpu: Option<PathBuf>,
    /// CPU time used.
    pub cpuacct: Option<PathBuf>,
    /// Memory limit, use, and the count of kills.
    pub memory: Option<PathBuf>,
    /// Number of processes and threads.
    pub pids: Option<PathBuf>,
    /// Stops and continues.
    pub freezer: Option<PathBuf>,
}

impl Hierarchies {
    /// The names of the controllers, as in the options of a mount.
    pub(super) const NAMES: [&str; 5] = ["cpu", "cpuacct", "memory", "pids", "freezer"];

    /// Builds one by asking for the directory of each controller by its name.
    pub(super) fn from_fn(dir: impl Fn(&str) -> Option<PathBuf>) -> Self {
        let [cpu, cpuacct, memory, pids, freezer] = Self::NAMES.map(dir);
        Self { cpu, cpuacct, memory, pids, freezer }
    }

    /// The directory of a controller.
    fn get(&self, name: &str) -> Option<&PathBuf> {
        match name {
            "cpu" => self.cpu.as_ref(),
            "cpuacct" => self.cpuacct.as_ref(),
            "memory" => self.memory.as_ref(),
            "pids" => self.pids.as_ref(),
            _ => self.freezer.as_ref(),
        }
    }

    /// The same controllers, some way further down.
    pub(super) fn join(&self, below: impl AsRef<Path>) -> Self {
        Self::from_fn(|name| self.get(name).map(|dir| dir.join(&below)))
    }

    /// The controllers that account for the agent: enough to bound it and to know who belongs to it. All
    /// when neither is there, for a leaf needs a directory.
    pub(super) fn for_agent(&self) -> Self {
        let bounded = self.memory.is_some() || self.pids.is_some();
        let wanted = |name: &str| !bounded || name == "memory" || name == "pids";
        Self::from_fn(|name| self.get(name).filter(|_| wanted(name)).cloned())
    }

    /// The controllers whose hierarchy one of these paths lies in, each with that path.
    pub(super) fn matching(&self, paths: &[&PathBuf]) -> Self {
        let inside =
            |base: &PathBuf| paths.iter().find(|path| path.starts_with(base)).map(|path| (*path).clone());
        Self::from_fn(|name| self.get(name).and_then(inside))
    }

    /// Whether any controller that limits something is there.
    pub(super) fn limits_anything(&self) -> bool {
        self.cpu.is_some() || self.memory.is_some() || self.pids.is_some()
    }

    /// Every directory once.
    #[must_use]
    pub fn dirs(&self) -> Vec<&Path> {
        let mut dirs: Vec<&Path> =
            Self::NAMES.iter().filter_map(|name| self.get(name)).map(PathBuf::as_path).collect();
        dirs.sort_unstable();
        dirs.dedup();
        dirs
    }
}
