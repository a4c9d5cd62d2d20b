//! Why an image cannot be loaded from a path.

use std::io;
use std::path::{Path, PathBuf};

use crate::document::DocumentError;
use crate::layer::UnpackError;
use crate::store::StoreError;

/// Why an image cannot be loaded from a path. Nothing of it is kept, except layers that were whole.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// The path cannot be read.
    #[error("cannot read `{}`", path.display())]
    Io {
        /// What was touched.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// A part of the image is not there.
    #[error("`{}` is incomplete: it has no `{part}`", path.display())]
    Missing {
        /// The path.
        path: PathBuf,
        /// What is not there.
        part: String,
    },
    /// The archive around it cannot be read.
    #[error("`{}` cannot be taken apart", path.display())]
    Archive {
        /// The path.
        path: PathBuf,
        /// Why not.
        #[source]
        source: UnpackError,
    },
    /// Its documents are wrong.
    #[error("the image in `{}` cannot be used", path.display())]
    Document {
        /// The path.
        path: PathBuf,
        /// What is wrong.
        #[source]
        source: DocumentError,
    },
    /// One of its layers cannot be unpacked.
    #[error("layer {layer} of the image in `{}` cannot be used", path.display())]
    Layer {
        /// The path.
        path: PathBuf,
        /// Which layer, from 1 at the bottom.
        layer: usize,
        /// What is wrong.
        #[source]
        source: UnpackError,
    },
    /// It holds several images, and one name was given for all of them.
    #[error("`{}` holds several images: {}", path.display(), refs.join(", "))]
    Several {
        /// The path.
        path: PathBuf,
        /// What they are called there.
        refs: Vec<String>,
    },
    /// It holds no image that is called so.
    #[error("`{}` holds no image `{wanted}`, but {}", path.display(), refs.join(", "))]
    NoRef {
        /// The path.
        path: PathBuf,
        /// What was asked for.
        wanted: String,
        /// What there is.
        refs: Vec<String>,
    },
    /// What is kept cannot be changed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl LoadError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Io { .. } => {
                "name an OCI layout, an archive of an image, or a directory with a root file system"
            }
            Self::Missing { .. } => "copy it again, with everything in it",
            Self::Archive { source, .. } | Self::Layer { source, .. } => source.hint(),
            Self::Document { source, .. } => source.hint(),
            Self::Several { .. } | Self::NoRef { .. } => "choose one of them with `--ref`",
            Self::Store(e) => e.hint(),
        }
    }

    pub(super) fn io(path: &Path) -> impl FnOnce(io::Error) -> Self + '_ {
        |source| Self::Io { path: path.to_owned(), source }
    }

    pub(super) fn document(path: &Path) -> impl Fn(DocumentError) -> Self + '_ {
        |source| Self::Document { path: path.to_owned(), source }
    }
}
