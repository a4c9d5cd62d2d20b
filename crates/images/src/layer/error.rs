//! Why a layer cannot be unpacked.

use std::io;

use insula_spec::Digest;

use crate::store::StoreError;
use crate::tar::TarError;

/// Why a layer cannot be unpacked. Nothing of it is kept then.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UnpackError {
    /// The file system refused.
    #[error("cannot write `{path}` of a layer")]
    Write {
        /// Path within the layer.
        path: String,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// It cannot be read or is not compressed as it should be.
    #[error("cannot read the layer")]
    Read(#[source] io::Error),
    /// It is not a tar archive.
    #[error("the layer is not a valid tar archive")]
    Tar(#[source] TarError),
    /// A path that leads nowhere good.
    #[error("the layer has an entry `{path}` that cannot be unpacked: {why}")]
    Path {
        /// The path as it stands in the archive.
        path: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// A hard link that cannot be made.
    #[error("the layer has a hard link `{path}` to `{target}`: {why}")]
    Link {
        /// The link.
        path: String,
        /// What it leads to.
        target: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// It is more than is taken.
    #[error("the layer has more than {limit} {what}")]
    TooMuch {
        /// What there is too much of.
        what: &'static str,
        /// The bound.
        limit: u64,
    },
    /// It is not the content that was promised.
    #[error("the content of the layer is `{actual}`, and not `{expected}` as the image says")]
    Digest {
        /// What the image says.
        expected: Digest,
        /// What it is.
        actual: Digest,
    },
    /// The file system cannot mark directories.
    #[error("the file system of the images cannot hold the attribute `{name}`")]
    Marks {
        /// The attribute.
        name: &'static str,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// Something about the place where layers are kept.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl UnpackError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Write { .. } => "check that there is space, and that the file system takes such names",
            Self::Read(_) => "the blob is cut off or damaged; fetch it again",
            Self::Tar(_) | Self::Path { .. } | Self::Link { .. } => {
                "the image is broken or hostile; ask whoever made it, and do not run it elsewhere either"
            }
            Self::TooMuch { .. } => "make the image smaller; a layer this big is taken for an attack",
            Self::Digest { .. } => "fetch it again; if that does not help, do not trust where it comes from",
            Self::Marks { .. } => "keep the home on ext4, xfs or btrfs, or on tmpfs with Linux 6.6 or newer",
            Self::Store(e) => e.hint(),
        }
    }
}
