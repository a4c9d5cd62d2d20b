//! What the root file system of a sandbox is made of.

use std::path::PathBuf;

use crate::ImageSource;

/// The root file system of a workload behind a mount wall.
///
/// ```text
///   changes    in memory, gone with the run; or in the tenant's directory, if they are to stay
///   ───────
///   layers     those of an image, or one directory of the host; never written
/// ```
/// With [`RootSource::Host`] there are no layers: what is shown is the host's system directories, read-only.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Root {
    /// What lies at the bottom.
    pub source: RootSource,
    /// Whether writes outside the places for data are refused.
    pub read_only: bool,
    /// Whether changes stay when the run ends.
    pub persistent: bool,
    /// Whether the working directory of the host is shown. One that nobody named is not, where the root is
    /// not the host's.
    pub show_workdir: bool,
    /// Whose ids the program takes, `user[:group]`, names or numbers of the root file system.
    pub user: Option<String>,
}

/// What lies at the bottom of a root file system.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum RootSource {
    /// The host's own system directories.
    #[default]
    Host,
    /// A directory of the host.
    Directory(PathBuf),
    /// An image.
    Image(ImageSource),
}

impl Root {
    /// The root of a service that says nothing about it.
    #[must_use]
    pub fn host() -> Self {
        Self { show_workdir: true, ..Self::default() }
    }

    /// Whether it is the host's own system that is shown.
    #[must_use]
    pub fn is_host(&self) -> bool {
        self.source == RootSource::Host
    }

    /// The key that asked for something that a level without a mount wall cannot give.
    #[must_use]
    pub fn asked(&self) -> Option<&'static str> {
        match self.source {
            RootSource::Directory(_) => Some("rootfs"),
            RootSource::Image(_) => Some("image"),
            RootSource::Host if self.user.is_some() => Some("user"),
            RootSource::Host => None,
        }
    }
}
