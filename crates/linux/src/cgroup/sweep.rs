//! Removes leaves that nobody knows.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::plan::leaves;
use super::{CgroupError, Layout, Leaf, Leaves};

/// What a sweep removed.
#[derive(Debug, Default)]
pub struct Swept {
    /// Processes killed.
    pub processes: usize,
    /// Sets of walls whose leaves were removed.
    pub removed: usize,
    /// What could not be removed.
    pub failed: Vec<CgroupError>,
}

/// Kills and removes every leaf of this home whose key is not among `known`. Leaves of other homes are not
/// looked at. `within` is the time for each set of walls.
///
/// # Errors
/// When the groups of this home cannot be listed. A leaf that cannot be removed is told in [`Swept`].
pub fn sweep(layout: &Layout, home: &str, known: &[&str], within: Duration) -> Result<Swept, CgroupError> {
    let mut swept = Swept::default();
    for key in keys(layout, home)? {
        if known.contains(&key.as_str()) {
            continue;
        }
        let Some(found) = found(layout, home, &key) else { continue };
        match found.remove(within) {
            Ok(killed) => {
                swept.processes += killed;
                swept.removed += 1;
            }
            Err(e) => swept.failed.push(e),
        }
    }
    Ok(swept)
}

/// The leaves of one key, of which a killed start may have made only some.
fn found(layout: &Layout, home: &str, key: &str) -> Option<Leaves> {
    let (agent, app) = leaves(layout, home, key).ok()?;
    let mut made: Vec<PathBuf> = agent.dirs().into_iter().chain(app.dirs()).map(Path::to_owned).collect();
    if let Leaf::V2(dir) = &app {
        made.splice(0..0, dir.parent().map(Path::to_owned));
    }
    Some(Leaves::found(agent, app, made))
}

/// Every key of this home that has a directory.
fn keys(layout: &Layout, home: &str) -> Result<BTreeSet<String>, CgroupError> {
    match layout {
        Layout::V1 { hierarchies, .. } => {
            let mut keys = BTreeSet::new();
            for base in hierarchies.dirs() {
                let names = groups(&base.join("insula").join(home))?;
                let key = |name: &String| {
                    let key = name.strip_suffix(".agent").or_else(|| name.strip_suffix(".app"))?;
                    Some(key.to_owned())
                };
                keys.extend(names.iter().filter_map(key));
            }
            Ok(keys)
        }
        Layout::V2(v2) => groups(&v2.base.join(format!("insula-{home}"))).map(BTreeSet::from_iter),
        Layout::None { .. } => Ok(BTreeSet::new()),
    }
}

/// Names of the groups in a directory; none when it is not there.
fn groups(dir: &Path) -> Result<Vec<String>, CgroupError> {
    let entries = match fs::read_dir(dir) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(CgroupError::read(dir))?,
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.map_err(CgroupError::read(dir))?;
        if entry.file_type().map_err(CgroupError::read(dir))?.is_dir() {
            // Every name of ours is plain text.
            names.extend(entry.file_name().into_string());
        }
    }
    Ok(names)
}
