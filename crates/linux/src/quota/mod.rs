//! Bounds on what a directory may hold on disk: what this host can do, and the parts it is done with.
//!
//! ```text
//! Project   the file system counts every file of a project id, and refuses what is beyond the limit
//! Image     the directory is a file system of its own, in a sparse file, through a loop device
//! Soft      nobody refuses anything; what is used is counted by walking ([`walk`])
//! ```

pub mod ext4;
pub mod image;
pub mod loops;
mod make;
pub mod project;
pub mod tools;
pub mod walk;

use std::fmt;
use std::io;
use std::path::Path;

use rustix::mount::{FsOpenFlags, fsopen};

/// What bounds a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Mechanism {
    /// A project quota of the file system.
    Project,
    /// A file system of its own in an image.
    Image,
    /// Nothing: it is counted and reported.
    Soft,
}

impl Mechanism {
    /// What an operator reads: `hard (project quota)`, `hard (image)`, `soft`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Project => "hard (project quota)",
            Self::Image => "hard (image)",
            Self::Soft => "soft",
        }
    }

    /// Whether a write beyond the limit fails.
    #[must_use]
    pub const fn is_hard(self) -> bool {
        !matches!(self, Self::Soft)
    }
}

impl fmt::Display for Mechanism {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// What could bound a directory on this host; the reason where something could not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probe {
    /// Project quotas of the file system that holds the directory.
    pub project: Result<(), String>,
    /// Images through loop devices.
    pub image: Result<(), String>,
}

impl Probe {
    /// Looks at the host and at the file system that holds `dir`, or will. Changes nothing.
    #[must_use]
    pub fn of(dir: &Path) -> Self {
        Self { project: project::probe(dir), image: probe_images() }
    }

    /// Every reason why no hard limit can be had, in one line.
    #[must_use]
    pub fn why_soft(&self) -> String {
        let told = |name: &str, found: &Result<(), String>| {
            found.as_ref().err().map(|why| format!("no {name}: {why}"))
        };
        let all = [told("project quota", &self.project), told("image", &self.image)];
        all.into_iter().flatten().collect::<Vec<_>>().join("; ")
    }
}

/// Whether this process can make and mount images.
fn probe_images() -> Result<(), String> {
    // Asks for the right to mount and for the file system type at once.
    fsopen("ext4", FsOpenFlags::FSOPEN_CLOEXEC).map(drop).map_err(|e| match io::Error::from(e) {
        e if e.kind() == io::ErrorKind::PermissionDenied => "mounting needs root".to_owned(),
        e => format!("this kernel mounts no ext4 ({e})"),
    })?;
    loops::probe().map_err(|e| format!("`{}` cannot be used ({e})", loops::CONTROL))?;
    for tool in tools::ALL {
        tools::find(tool).map_err(|_| format!("`{tool}` is not installed (package e2fsprogs)"))?;
    }
    Ok(())
}
