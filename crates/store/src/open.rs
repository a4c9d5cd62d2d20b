//! Opening the file: alone, whole, of a known version, or not at all.
//!
//! ```text
//! own lock ──► missing? build beside it, rename ──► check read-only ──► connect, migrate
//!    │                │                                   │                  │
//!    └ Locked         └ Corrupt (a `-wal` without it)     └ Corrupt, TooNew  └ Locked
//! ```
//!
//! The checks use a read-only connection, which never writes to a file that turns out to be damaged.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions, Permissions, TryLockError};
use std::io;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

use crate::error::{Fault, move_aside};
use crate::schema;

/// `INSL`: tells our files from those of other programs (`PRAGMA application_id`).
const APPLICATION_ID: i32 = 0x494e_534c;
/// Tables whose structure is checked at each start. The large ones are not: that would read all of them.
const CHECKED: [&str; 4] = ["meta", "id_range", "instance", "stream"];
/// How long the file has to be.
const SIZE: &str = "SELECT page_count * page_size FROM pragma_page_count, pragma_page_size";
/// Bytes of the `-wal` kept for reuse after a checkpoint.
const WAL_KEEP: u32 = 32 * 1024 * 1024;
/// Pages after which SQLite checkpoints inside a commit. The writer does it earlier, between commits.
const WAL_PAGES_MAX: u32 = 8192;
/// Prepared statements kept per connection; more than the crate has.
const STATEMENTS: usize = 64;

/// Why a store was not opened. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process uses it.
    #[error("cannot open `{}`: another process uses it", path.display())]
    Locked {
        /// The database.
        path: PathBuf,
    },
    /// It is damaged, truncated, or no database at all.
    #[error("cannot open `{}`: {why}", path.display())]
    Corrupt {
        /// The database.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// A newer program wrote it.
    #[error("cannot open `{}`: it has version {found}, this program knows up to {known}", path.display())]
    TooNew {
        /// The database.
        path: PathBuf,
        /// Version of the file.
        found: usize,
        /// Newest version that this program knows.
        known: usize,
    },
    /// No space is left to create or migrate it.
    #[error("cannot open `{}`: no space left", path.display())]
    Full {
        /// The database.
        path: PathBuf,
    },
    /// The file system refuses.
    #[error("cannot open `{}`", path.display())]
    Io {
        /// What could not be used.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// SQLite refuses for another reason.
    #[error("cannot open `{}`", path.display())]
    Engine {
        /// The database.
        path: PathBuf,
        /// What SQLite says.
        #[source]
        source: rusqlite::Error,
    },
}

impl OpenError {
    pub(crate) fn io(path: &Path, source: io::Error) -> Self {
        match source.kind() {
            io::ErrorKind::StorageFull => Self::Full { path: path.into() },
            _ => Self::Io { path: path.into(), source },
        }
    }

    pub(crate) fn sql(path: &Path, source: rusqlite::Error) -> Self {
        let path = path.into();
        match Fault::of(&source) {
            Fault::Busy => Self::Locked { path },
            Fault::Full => Self::Full { path },
            Fault::Damaged => Self::Corrupt { path, why: source.to_string() },
            Fault::Other => Self::Engine { path, source },
        }
    }

    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> String {
        match self {
            Self::Locked { path } => format!(
                "only one daemon may use a home: stop the other one, or give this one another `INSULA_HOME`; \
                 `fuser {0} {0}.lock` names it",
                path.display()
            ),
            Self::Corrupt { path, .. } => move_aside(path),
            Self::TooNew { path, .. } => {
                format!(
                    "run the newer version again, or restore `{}` from before the upgrade",
                    path.display()
                )
            }
            Self::Full { path } => {
                format!("free space on the disk of `{}`, then start again", path.display())
            }
            Self::Io { path, .. } | Self::Engine { path, .. } => format!(
                "check that `{}` is on a local disk, in a directory that this user can write",
                path.display()
            ),
        }
    }
}

/// A connection that may write, and the lock that makes it the only one. The lock is free again when the
/// file is dropped, or the process dies.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) conn: Connection,
    pub(crate) lock: File,
}

/// Opens or creates the database.
pub(crate) fn open(path: &Path, wait: Duration) -> Result<Opened, OpenError> {
    let lock = own(path, wait)?;
    if !path.try_exists().map_err(|e| OpenError::io(path, e))? {
        create(path)?;
    }
    check(path, wait)?;
    fs::set_permissions(path, Permissions::from_mode(0o600)).map_err(|e| OpenError::io(path, e))?;
    let conn = connect(path, wait).map_err(|e| OpenError::sql(path, e))?;
    Ok(Opened { conn, lock })
}

/// A connection that only reads.
pub(crate) fn reader(path: &Path, wait: Duration) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn = Connection::open_with_flags(path, flags)?;
    conn.busy_timeout(wait)?;
    conn.set_prepared_statement_cache_capacity(STATEMENTS);
    Ok(conn)
}

/// Takes the lock beside the database. A process killed a moment ago may hold it for a moment more, so this
/// waits; a thread does, since the kernel's wait has no deadline of its own.
fn own(path: &Path, wait: Duration) -> Result<File, OpenError> {
    let lock_path = with_suffix(path, ".lock");
    let fail = |e| OpenError::io(&lock_path, e);
    let mut options = OpenOptions::new();
    options.create(true).truncate(false).write(true).mode(0o600);
    let file = options.open(&lock_path).map_err(fail)?;
    match file.try_lock() {
        Ok(()) => return Ok(file),
        Err(TryLockError::WouldBlock) => {}
        Err(TryLockError::Error(e)) => return Err(fail(e)),
    }
    let (tx, rx) = mpsc::channel();
    let waiter = move || {
        let locked = file.lock().map(|()| file);
        // Nobody waits any more: the file is dropped here, and the lock with it.
        drop(tx.send(locked));
    };
    std::thread::Builder::new().name("store-lock".into()).spawn(waiter).map_err(fail)?;
    match rx.recv_timeout(wait) {
        Ok(locked) => locked.map_err(fail),
        Err(_) => Err(OpenError::Locked { path: path.into() }),
    }
}

/// Builds an empty database under another name and renames it, so that it exists whole or not at all. An
/// empty file under the real name can therefore only be a damaged one.
fn create(path: &Path) -> Result<(), OpenError> {
    if has_frames(path) {
        let why = "it is gone, but its `-wal` is still there".to_owned();
        return Err(OpenError::Corrupt { path: path.into(), why });
    }
    let fresh = with_suffix(path, ".new");
    for suffix in ["", "-wal", "-shm", "-journal"] {
        remove_left_over(&with_suffix(&fresh, suffix))?;
    }
    let made = OpenOptions::new().create_new(true).write(true).mode(0o600).open(&fresh);
    drop(made.map_err(|e| OpenError::io(&fresh, e))?);
    build(&fresh).map_err(|e| OpenError::sql(&fresh, e))?;
    fs::rename(&fresh, path).map_err(|e| OpenError::io(path, e))?;
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(|e| OpenError::io(dir, e))
}

fn build(fresh: &Path) -> rusqlite::Result<()> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut conn = Connection::open_with_flags(fresh, flags)?;
    conn.pragma_update(None, "application_id", APPLICATION_ID)?;
    conn.pragma_update(None, "journal_mode", "WAL")?;
    let tx = conn.transaction()?;
    schema::migrate(&tx)?;
    tx.commit()?;
    conn.close().map_err(|(_, e)| e)
}

fn check(path: &Path, wait: Duration) -> Result<(), OpenError> {
    let corrupt = |why: String| Err(OpenError::Corrupt { path: path.into(), why });
    if fs::metadata(path).map_err(|e| OpenError::io(path, e))?.len() == 0 {
        return corrupt("it is empty".to_owned());
    }
    let sql = |e| OpenError::sql(path, e);
    let conn = reader(path, wait).map_err(sql)?;
    let id: i32 = conn.query_row("PRAGMA application_id", [], |row| row.get(0)).map_err(sql)?;
    if id != APPLICATION_ID {
        return corrupt("it is the database of another program".to_owned());
    }
    let found = schema::version(&conn).map_err(sql)?;
    if found > schema::VERSION {
        return Err(OpenError::TooNew { path: path.into(), found, known: schema::VERSION });
    }
    let size: u64 = conn.query_row(SIZE, [], |row| row.get(0)).map_err(sql)?;
    // With frames in the `-wal` the file may rightly be shorter, and SQLite looks for itself.
    if !has_frames(path) && fs::metadata(path).map_err(|e| OpenError::io(path, e))?.len() < size {
        return corrupt("it is truncated".to_owned());
    }
    for table in CHECKED {
        let said: String =
            conn.query_row(&format!("PRAGMA quick_check('{table}')"), [], |row| row.get(0)).map_err(sql)?;
        if said != "ok" {
            return corrupt(format!("its table `{table}` is damaged: {said}"));
        }
    }
    Ok(())
}

fn connect(path: &Path, wait: Duration) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut conn = Connection::open_with_flags(path, flags)?;
    conn.busy_timeout(wait)?;
    conn.set_prepared_statement_cache_capacity(STATEMENTS);
    conn.pragma_update(None, "journal_size_limit", WAL_KEEP)?;
    conn.pragma_update(None, "wal_autocheckpoint", WAL_PAGES_MAX)?;
    // Takes the write lock even when there is nothing to do: who cannot have it should hear so now.
    let tx = conn.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
    schema::migrate(&tx)?;
    tx.commit()?;
    Ok(conn)
}

/// Whether the write-ahead log holds anything.
fn has_frames(path: &Path) -> bool {
    fs::metadata(with_suffix(path, "-wal")).is_ok_and(|wal| wal.len() > 0)
}

fn remove_left_over(path: &Path) -> Result<(), OpenError> {
    match fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(OpenError::io(path, e)),
        _ => Ok(()),
    }
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    name.into()
}
