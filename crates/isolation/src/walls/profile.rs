//! The system call filter of a launch: Insula's own list, or the operator's file beside what it may open.
//!
//! ```text
//! no file   the shell's launchpad is behind Insula's own list before it is known what to run
//!           (at `gvisor` there is none: the guest's kernel takes the file's program)
//! a file    the shell's launchpad is behind the opened list; the file's program comes last, right before the program
//! ```
//! The file is read at each start. Its digest is part of what walls are built around, so that another content never
//! runs in walls of the old one.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use insula_linux::seccomp::Program;
use insula_linux::seccomp::oci::{self, OciError};
use insula_spec::{Digest, Driver, Launch, Level};
use sha2::{Digest as _, Sha256};

use crate::contract::LaunchError;

/// Longest file. Those of Docker and Podman have some 20 KiB.
const LONGEST: u64 = 1 << 20;

/// The list that a launch is behind.
pub(crate) fn list(level: Level, profile: Option<&Profile>, driver: Driver) -> Result<List, LaunchError> {
    match (level, profile, driver) {
        (Level::Container, Some(_), Driver::Crun | Driver::Runc) => Err(LaunchError::Unenforceable {
            what: "seccomp",
            level,
            hint: "set `driver = \"agent\"` in `[levels.container]`, or remove `seccomp`".to_owned(),
        }),
        (Level::Container, None, Driver::Crun | Driver::Runc) => Ok(List::By(driver)),
        // The calls of a guest are its own kernel's, and so is the filter.
        (Level::Gvisor, _, _) => Ok(List::Own),
        (_, Some(_), _) => Ok(List::Opened),
        (_, None, _) => Ok(List::Own),
    }
}

/// Which list a shell's launchpad is behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum List {
    /// Insula's own.
    #[default]
    Own,
    /// The same, with what a file may open left to it.
    Opened,
    /// None: this driver installs Insula's own list in the container that it makes.
    By(Driver),
}

/// The operator's filter for one launch.
#[derive(Debug, Clone)]
pub(crate) struct Profile {
    /// The file and the digest of its content, for people.
    pub(crate) name: String,
    pub(crate) program: Program,
}

/// Why a file is not used.
#[derive(Debug, thiserror::Error)]
pub enum FilterError {
    /// It cannot be read.
    #[error("it cannot be read")]
    Read(#[from] io::Error),
    /// It is longer than any sensible one.
    #[error("it is longer than 1 MiB")]
    Long,
    /// It is not understood.
    #[error(transparent)]
    Content(#[from] OciError),
}

impl FilterError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> String {
        match self {
            Self::Read(_) => {
                "name a file in `seccomp` that the daemon can read, or remove the key".to_owned()
            }
            Self::Long => "name a profile as Docker and Podman write it".to_owned(),
            Self::Content(e) => e.hint(),
        }
    }
}

/// The operator's filter, if the launch names one.
pub(crate) async fn of(level: Level, launch: &Launch) -> Result<Option<Profile>, LaunchError> {
    let Some(file) = launch.seccomp.clone() else { return Ok(None) };
    if !matches!(level, Level::Namespace | Level::Container | Level::Gvisor) {
        return Err(LaunchError::Unenforceable {
            what: "seccomp",
            level,
            hint: "set `isolation` to \"namespace\", \"container\" or \"gvisor\", or remove `seccomp`"
                .to_owned(),
        });
    }
    let read = tokio::task::spawn_blocking(move || {
        read(&file).map_err(|source| LaunchError::Filter { file, source })
    });
    read.await
        .map_err(|e| LaunchError::Walls {
            step: "read the file in `seccomp`".into(),
            source: io::Error::other(e),
        })?
        .map(Some)
}

/// Whether a file can be the operator's filter: read and compiled, and nothing more.
///
/// # Errors
/// Why not.
pub fn check_filter(file: &Path) -> Result<(), FilterError> {
    read(file).map(drop)
}

fn read(file: &Path) -> Result<Profile, FilterError> {
    let mut text = Vec::new();
    // A pipe would be waited for.
    if !std::fs::metadata(file)?.is_file() {
        return Err(FilterError::Read(io::Error::new(io::ErrorKind::InvalidInput, "it is no file")));
    }
    File::open(file)?.take(LONGEST + 1).read_to_end(&mut text)?;
    if text.len() as u64 > LONGEST {
        return Err(FilterError::Long);
    }
    let digest = Digest::from_bytes(Sha256::digest(&text).into());
    Ok(Profile { name: format!("{} ({digest})", file.display()), program: oci::compile(&text)? })
}
