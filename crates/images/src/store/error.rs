//! Why what is kept cannot be read or changed.

use std::io;
use std::path::{Path, PathBuf};

use insula_spec::{Digest, Reference};

/// Why the images of a home cannot be read or changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The file system refused.
    #[error("cannot use `{}`", path.display())]
    Io {
        /// What was touched.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// The list of images was changed by somebody else.
    #[error("`{}` is not a list of images", path.display())]
    BadIndex {
        /// The list.
        path: PathBuf,
        /// Why not.
        #[source]
        source: serde_json::Error,
    },
    /// Something that belongs to an image is not there, or not what it was.
    #[error("image `{digest}` is damaged: {what}")]
    Damaged {
        /// The image.
        digest: Digest,
        /// What is wrong with it.
        what: String,
    },
    /// No image has this name or digest.
    #[error("there is no image `{0}` here")]
    Unknown(String),
    /// Several images begin with these digits.
    #[error("`{0}` is the beginning of more than one digest")]
    Ambiguous(String),
    /// Something runs from it.
    #[error("image `{name}` is in use by `{holder}`")]
    InUse {
        /// The image.
        name: String,
        /// Who uses it.
        holder: String,
    },
    /// Another process pulls or loads.
    #[error("cannot collect: another command is pulling or loading an image")]
    Busy,
    /// The holder of a pin has a name that no file can have.
    #[error("`{0}` cannot be the name of a holder")]
    Holder(String),
}

impl StoreError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Io { .. } => {
                "check that the directory exists, that this user may write to it, and that there is space"
            }
            Self::BadIndex { .. } => {
                "restore the file, or remove the whole directory and pull the images again"
            }
            Self::Damaged { .. } => "run `insula image rm` on it, and pull or load it again",
            Self::Unknown(_) => {
                "`insula image ls` lists what is here; `insula image pull` and `load` bring more"
            }
            Self::Ambiguous(_) => "write more digits",
            Self::InUse { .. } => "stop the instance first",
            Self::Busy => "try again when it is done",
            Self::Holder(_) => "use 1 to 160 letters, digits, `.`, `_`, `:` and `-`",
        }
    }

    /// For `map_err`, with the path that was touched.
    pub(crate) fn io(path: &Path) -> impl FnOnce(io::Error) -> Self + '_ {
        |source| Self::Io { path: path.to_owned(), source }
    }

    pub(crate) fn unknown(name: &Reference) -> Self {
        Self::Unknown(name.to_string())
    }
}
