//! Why a configuration was not loaded.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use super::overrides::OverrideError;
use super::problem::Problem;

/// Why a configuration was not loaded. Nothing of it is used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file could not be read.
    #[error("cannot read `{}`", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The file is larger than any configuration.
    #[error("`{}` is larger than {limit} bytes", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Most bytes that are read.
        limit: u64,
    },
    /// The file, or the path to it, is not UTF-8.
    #[error("{what} of `{}` is not UTF-8", path.display())]
    NotText {
        /// The file.
        path: PathBuf,
        /// `the content` or `the path`.
        what: &'static str,
    },
    /// The file says something that cannot be.
    #[error("{}", Listing { path, problems, omitted: *omitted })]
    Invalid {
        /// The file.
        path: PathBuf,
        /// Everything that is wrong, in the order of the file.
        problems: Vec<Problem>,
        /// How many further problems were left out.
        omitted: usize,
    },
    /// A setting that was named outside of the file cannot be.
    #[error(transparent)]
    Override(#[from] OverrideError),
}

impl ConfigError {
    /// Everything that is wrong inside the file; empty when it could not even be read.
    #[must_use]
    pub fn problems(&self) -> &[Problem] {
        match self {
            Self::Invalid { problems, .. } => problems,
            _ => &[],
        }
    }

    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> String {
        match self {
            Self::Read { source, .. } if source.kind() == io::ErrorKind::NotFound => {
                "write an `insula.toml`, or name another file with `--config`".to_owned()
            }
            Self::Read { .. } => "make it a regular file that this user can read".to_owned(),
            Self::TooLarge { .. } => "name the right file with `--config`".to_owned(),
            Self::NotText { what, .. } => format!("write {what} in UTF-8"),
            Self::Override(e) => e.hint(),
            Self::Invalid { problems, .. } => {
                problems.first().map_or_else(|| "correct the file".to_owned(), Problem::hint)
            }
        }
    }
}

/// The problems of a file, one below the other.
struct Listing<'a> {
    path: &'a Path,
    problems: &'a [Problem],
    omitted: usize,
}

impl fmt::Display for Listing<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.problems.len() + self.omitted;
        let noun = if count == 1 { "problem" } else { "problems" };
        write!(f, "`{}` has {count} {noun}", self.path.display())?;
        for problem in self.problems {
            write!(f, "\n\n")?;
            problem.render(self.path, f)?;
        }
        if self.omitted > 0 {
            write!(f, "\n\nand {} more", self.omitted)?;
        }
        Ok(())
    }
}
