//! What can fail when control groups are made, read, written and removed.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::Unenforceable;

/// Why an operation on control groups failed.
#[derive(Debug, thiserror::Error)]
pub enum CgroupError {
    /// A group could not be made.
    #[error("cannot make control group `{dir}`")]
    Make {
        /// The directory.
        dir: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// A group could not be removed.
    #[error("cannot remove control group `{dir}`")]
    Remove {
        /// The directory.
        dir: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// A value was not accepted.
    #[error("cannot write `{value}` to `{file}`")]
    Write {
        /// The file.
        file: PathBuf,
        /// The value.
        value: String,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// A file could not be read or opened.
    #[error("cannot read `{file}`")]
    Read {
        /// The file.
        file: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// A process could not be signalled or waited for.
    #[error("cannot kill process {pid} of control group `{dir}`")]
    Signal {
        /// Its pid.
        pid: i32,
        /// The group.
        dir: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// A recorded group is not there.
    #[error("control group `{dir}` does not exist")]
    Gone {
        /// The directory.
        dir: PathBuf,
    },
    /// A path is not that of a leaf of this layout.
    #[error("`{dir}` is not a control group of Insula on this host")]
    Foreign {
        /// The path.
        dir: PathBuf,
    },
    /// The kernel did not get there in time.
    #[error("control group `{dir}` was not {wanted} after {within:?}")]
    Stuck {
        /// The group.
        dir: PathBuf,
        /// `empty`, `frozen`.
        wanted: &'static str,
        /// How long was waited.
        within: Duration,
    },
    /// The group has no controller for a limit.
    #[error(transparent)]
    Unenforceable(#[from] Unenforceable),
}

impl CgroupError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> String {
        match self {
            Self::Make { .. } | Self::Remove { .. } | Self::Write { .. } | Self::Read { .. } => {
                "run `insula doctor`: it tells whether this user may make control groups here, and how to be \
                 given some"
                    .to_owned()
            }
            Self::Signal { .. } => "end the process by hand, as the user who owns it".to_owned(),
            Self::Gone { .. } | Self::Foreign { .. } => {
                "start the instance again; its control groups were removed or the host's layout changed"
                    .to_owned()
            }
            Self::Stuck { dir, .. } => format!(
                "look for processes in uninterruptible sleep (state D) among those in `{}/cgroup.procs`",
                dir.display()
            ),
            Self::Unenforceable(e) => e.hint.clone(),
        }
    }

    pub(super) fn read(file: &Path) -> impl FnOnce(io::Error) -> Self {
        let file = file.to_owned();
        move |source| Self::Read { file, source }
    }
}
