//! Why a read or a write failed, told from SQLite's codes once.

use std::path::Path;
use std::sync::Arc;

use rusqlite::ErrorCode;

/// Why nothing was written. What was asked for did not happen, not even in part.
#[derive(Debug, Clone, thiserror::Error)]
pub enum WriteError {
    /// The store was closed, or its writer ended.
    #[error("cannot write to the store: it is closed")]
    Closed,
    /// Another process held the file for longer than the time a write waits.
    #[error("cannot write to `{}`: another process holds it", path.display())]
    Busy {
        /// The database.
        path: Arc<Path>,
    },
    /// No space is left. Writing goes on by itself once there is some.
    #[error("cannot write to `{}`: no space left", path.display())]
    Full {
        /// The database.
        path: Arc<Path>,
    },
    /// The file is damaged.
    #[error("cannot write to `{}`: it is damaged", path.display())]
    Damaged {
        /// The database.
        path: Arc<Path>,
        /// What SQLite found.
        #[source]
        source: Arc<rusqlite::Error>,
    },
    /// Anything else.
    #[error("cannot write to `{}`", path.display())]
    Engine {
        /// The database.
        path: Arc<Path>,
        /// What SQLite says.
        #[source]
        source: Arc<rusqlite::Error>,
    },
}

impl WriteError {
    pub(crate) fn new(path: &Arc<Path>, source: rusqlite::Error) -> Self {
        let path = Arc::clone(path);
        match Fault::of(&source) {
            Fault::Busy => Self::Busy { path },
            Fault::Full => Self::Full { path },
            Fault::Damaged => Self::Damaged { path, source: Arc::new(source) },
            Fault::Other => Self::Engine { path, source: Arc::new(source) },
        }
    }

    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> String {
        match self {
            Self::Closed => "the daemon is shutting down; try again when it runs".to_owned(),
            Self::Busy { path } => format!(
                "find who holds it with `fuser {}`; only one daemon may use a home, and other tools must not \
                 keep a transaction open",
                path.display()
            ),
            Self::Full { path } => format!(
                "free space on the disk of `{}`; nothing needs to be restarted afterwards",
                path.display()
            ),
            Self::Damaged { path, .. } => move_aside(path),
            Self::Engine { path, .. } => {
                format!(
                    "check that `{}` and its directory can be written, and the disk's health",
                    path.display()
                )
            }
        }
    }
}

/// Why something could not be read.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ReadError {
    /// The store was closed.
    #[error("cannot read from the store: it is closed")]
    Closed,
    /// The file is damaged.
    #[error("cannot read from `{}`: it is damaged", path.display())]
    Damaged {
        /// The database.
        path: Arc<Path>,
        /// What SQLite found.
        #[source]
        source: Arc<rusqlite::Error>,
    },
    /// Anything else.
    #[error("cannot read from `{}`", path.display())]
    Engine {
        /// The database.
        path: Arc<Path>,
        /// What SQLite says.
        #[source]
        source: Arc<rusqlite::Error>,
    },
}

impl ReadError {
    pub(crate) fn new(path: &Arc<Path>, source: rusqlite::Error) -> Self {
        let (path, fault, source) = (Arc::clone(path), Fault::of(&source), Arc::new(source));
        match fault {
            Fault::Damaged => Self::Damaged { path, source },
            Fault::Busy | Fault::Full | Fault::Other => Self::Engine { path, source },
        }
    }

    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> String {
        match self {
            Self::Closed => "the daemon is shutting down; try again when it runs".to_owned(),
            Self::Damaged { path, .. } => move_aside(path),
            Self::Engine { path, .. } => {
                format!("check that `{}` can be read, and the disk's health", path.display())
            }
        }
    }
}

/// Why a store could not be closed cleanly. What was acknowledged is in the file or its `-wal` all the same.
#[derive(Debug, thiserror::Error)]
pub enum CloseError {
    /// The last checkpoint failed.
    #[error("cannot fold the write-ahead log into `{}`", path.display())]
    Checkpoint {
        /// The database.
        path: Arc<Path>,
        /// What SQLite says.
        #[source]
        source: rusqlite::Error,
    },
    /// The writer ended by a panic.
    #[error("the writer of `{}` ended unexpectedly", path.display())]
    Panicked {
        /// The database.
        path: Arc<Path>,
    },
}

impl CloseError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> String {
        match self {
            Self::Checkpoint { path, .. } | Self::Panicked { path } => format!(
                "keep `{0}` and `{0}-wal` together; the next start reads both and loses nothing",
                path.display()
            ),
        }
    }
}

/// What SQLite's result codes mean here.
pub(crate) enum Fault {
    Busy,
    Full,
    Damaged,
    Other,
}

impl Fault {
    pub(crate) fn of(error: &rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Self::Busy,
            Some(ErrorCode::DiskFull) => Self::Full,
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => Self::Damaged,
            _ => Self::Other,
        }
    }
}

/// What to do with a damaged database, and what that costs.
pub(crate) fn move_aside(path: &Path) -> String {
    let path = path.display();
    format!(
        "restore it from a backup, or move it aside and start anew: `mkdir {path}.damaged && mv {path} {path}-* \
         {path}.damaged/`. What is lost then: which instances are known, stopped or asleep, their levels, \
         events and captured logs, and which host ids were handed out. Running instances are ended by the next \
         sweep; the data directories of tenants are not touched"
    )
}
