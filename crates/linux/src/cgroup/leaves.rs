//! The two leaves of one set of walls, as a guard.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::io::Errno;

use super::leaf::write;
use super::wait::{Backoff, Deadline};
use super::{CgroupError, Layout, Leaf, Plan, Step};

/// How long a drop may take to kill what is inside.
const DROP: Duration = Duration::from_secs(2);

/// The leaves of one set of walls. Dropping it kills what is inside and removes them, until
/// [`Leaves::keep`] is called.
#[derive(Debug)]
pub struct Leaves {
    agent: Leaf,
    app: Leaf,
    /// In the order in which they were made.
    made: Vec<PathBuf>,
    kept: bool,
}

impl Leaves {
    /// Carries out a plan. Blocks for milliseconds.
    ///
    /// # Errors
    /// When a step fails; what was made until then is removed.
    pub fn create(plan: &Plan) -> Result<Self, CgroupError> {
        let (agent, app) = (plan.agent.clone(), plan.app.clone());
        let mut leaves = Self { agent, app, made: Vec::new(), kept: false };
        carry_out(&plan.steps, &mut leaves.made)?;
        Ok(leaves)
    }

    /// Finds recorded leaves again. They are kept when this is dropped.
    ///
    /// # Errors
    /// When a path is not that of a leaf of this layout, or is not there any more.
    pub fn open(layout: &Layout, paths: &[PathBuf]) -> Result<Self, CgroupError> {
        let of = |role: &str| leaf_of(layout, paths, role);
        let (agent, app) = (of("agent")?, of("app")?);
        let mut made: Vec<PathBuf> = app.dirs().into_iter().chain(agent.dirs()).map(Path::to_owned).collect();
        if let Some(stray) = paths.iter().find(|path| !made.contains(path)) {
            return Err(CgroupError::Foreign { dir: stray.clone() });
        }
        if let Some(dir) = made.iter().find(|dir| !dir.is_dir()) {
            return Err(CgroupError::Gone { dir: dir.clone() });
        }
        if let Leaf::V2(dir) = &app {
            made.splice(0..0, dir.parent().map(Path::to_owned));
        }
        Ok(Self { agent, app, made, kept: true })
    }

    /// Leaves with these directories, whether all are there or not, not to be kept.
    pub(super) fn found(agent: Leaf, app: Leaf, made: Vec<PathBuf>) -> Self {
        Self { agent, app, made, kept: false }
    }

    /// The leaf of the agent.
    #[must_use]
    pub fn agent(&self) -> &Leaf {
        &self.agent
    }

    /// The leaf of the workload.
    #[must_use]
    pub fn app(&self) -> &Leaf {
        &self.app
    }

    /// What to record, for [`Leaves::open`].
    #[must_use]
    pub fn paths(&self) -> Vec<PathBuf> {
        self.agent.dirs().into_iter().chain(self.app.dirs()).map(Path::to_owned).collect()
    }

    /// From now on a drop leaves them as they are.
    pub fn keep(&mut self) {
        self.kept = true;
    }

    /// Kills what is inside, the workload first, and removes the leaves. Tells how many processes it found.
    ///
    /// # Errors
    /// When that takes longer than `within` or the kernel refuses. What is left is not tried again.
    pub fn remove(mut self, within: Duration) -> Result<usize, CgroupError> {
        self.kept = true;
        self.take_down(within)
    }

    fn take_down(&self, within: Duration) -> Result<usize, CgroupError> {
        let deadline = Deadline::after(within);
        // The agent is ended even when the workload resists, and the other way round.
        let app = self.app.kill_all(within);
        let agent = self.agent.kill_all(deadline.left().unwrap_or_default());
        let killed = app? + agent?;
        for dir in self.made.iter().rev() {
            remove_dir(dir, &deadline)?;
        }
        Ok(killed)
    }
}

impl Drop for Leaves {
    fn drop(&mut self) {
        if self.kept {
            return;
        }
        if let Err(error) = self.take_down(DROP) {
            let dir = self.app.dir();
            let cause = std::error::Error::source(&error).map(ToString::to_string);
            tracing::warn!(dir = %dir.display(), %error, cause, "a control group is left behind");
        }
    }
}

/// The leaf with this role (`agent`, `app`) among recorded paths.
fn leaf_of(layout: &Layout, paths: &[PathBuf], role: &str) -> Result<Leaf, CgroupError> {
    let foreign = || CgroupError::Foreign { dir: paths.first().cloned().unwrap_or_default() };
    match layout {
        Layout::V1 { hierarchies, .. } => {
            let has_role = |path: &&PathBuf| path.extension().is_some_and(|extension| extension == role);
            let own: Vec<_> = paths.iter().filter(has_role).filter(|path| plain(path)).collect();
            // `<mount>/insula/<home>/<key>.<role>`
            let leaf = hierarchies.join("insula").matching(&own);
            if leaf.dirs().is_empty() { Err(foreign()) } else { Ok(Leaf::V1(leaf)) }
        }
        // The base of this start may differ from that of the start which made them.
        Layout::V2(_) => {
            let found = paths.iter().find(|path| path.ends_with(role) && plain(path));
            found.map(|path| Leaf::V2(path.clone())).ok_or_else(foreign)
        }
        Layout::None { .. } => Err(foreign()),
    }
}

/// Absolute, and without a way up.
fn plain(path: &Path) -> bool {
    path.is_absolute() && !path.components().any(|c| c == std::path::Component::ParentDir)
}

/// Does the steps in order. `made` collects the groups that were made for one set of walls alone.
pub(super) fn carry_out(steps: &[Step], made: &mut Vec<PathBuf>) -> Result<(), CgroupError> {
    for step in steps {
        match step {
            Step::Shared(dir) => match fs::create_dir(dir) {
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
                result => result.map_err(|source| CgroupError::Make { dir: dir.clone(), source })?,
            },
            Step::Make(dir) => {
                fs::create_dir(dir).map_err(|source| CgroupError::Make { dir: dir.clone(), source })?;
                made.push(dir.clone());
            }
            Step::Write { file, value, optional } => match write(file, value) {
                Err(CgroupError::Write { source, .. })
                    if *optional && source.kind() == io::ErrorKind::NotFound => {}
                result => result?,
            },
        }
    }
    Ok(())
}

/// Removes a group. One whose last member has just exited may be busy for a moment longer.
pub(super) fn remove_dir(dir: &Path, deadline: &Deadline) -> Result<(), CgroupError> {
    let mut backoff = Backoff::new();
    loop {
        let source = match rustix::fs::rmdir(dir) {
            Ok(()) | Err(Errno::NOENT) => return Ok(()),
            Err(e) => e,
        };
        let again = source == Errno::BUSY && backoff.pause(deadline).unwrap_or_default();
        if !again {
            return Err(CgroupError::Remove { dir: dir.to_owned(), source: source.into() });
        }
    }
}
