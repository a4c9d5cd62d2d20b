//! One parent and one worker for each home.
//!
//! Locks of flock(2) end with the process that holds them, however it ends, so a lock never outlives its
//! owner. The file says who holds it, for the message only.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

/// Why a lock was not taken.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LockError {
    /// Another process has it.
    #[error("another `insula serve` (pid {holder}) runs on this home")]
    Held {
        /// Its pid, as the file says; `?` when it does not say.
        holder: String,
    },
    /// The file cannot be used.
    #[error("cannot lock `{}`", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
}

impl LockError {
    /// What to do about it.
    pub(crate) fn hint(&self) -> String {
        match self {
            Self::Held { .. } => "stop it first, or name another home with `--home`".to_owned(),
            Self::Io { .. } => "check that this user may write to the home".to_owned(),
        }
    }
}

/// A lock that is held until this is dropped.
#[derive(Debug)]
pub(crate) struct Lock {
    _file: File,
}

impl Lock {
    /// Takes the lock, or says who has it.
    pub(crate) fn try_take(path: &Path) -> Result<Self, LockError> {
        Self::take(path, FlockOperation::NonBlockingLockExclusive)
    }

    /// Takes the lock, waiting for whoever has it to end.
    pub(crate) fn wait(path: &Path) -> Result<Self, LockError> {
        Self::take(path, FlockOperation::LockExclusive)
    }

    fn take(path: &Path, operation: FlockOperation) -> Result<Self, LockError> {
        let io = |source| LockError::Io { path: path.to_owned(), source };
        let options =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).clone();
        let mut file = options.open(path).map_err(io)?;
        match rustix::io::retry_on_intr(|| flock(&file, operation)) {
            Ok(()) => {}
            Err(Errno::AGAIN) => {
                let mut holder = String::new();
                (&file).take(20).read_to_string(&mut holder).map_err(io)?;
                let holder = if holder.trim().is_empty() { "?".to_owned() } else { holder.trim().to_owned() };
                return Err(LockError::Held { holder });
            }
            Err(e) => return Err(io(e.into())),
        }
        file.set_len(0).and_then(|()| file.rewind()).map_err(io)?;
        writeln!(file, "{}", std::process::id()).map_err(io)?;
        Ok(Self { _file: file })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_is_refused_while_held_and_free_afterwards() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let first = Lock::try_take(&path).unwrap();
        let refused = Lock::try_take(&path).unwrap_err();
        let own = std::process::id().to_string();
        assert!(matches!(&refused, LockError::Held { holder } if *holder == own), "{refused:?}");
        drop(first);
        Lock::try_take(&path).unwrap();
    }

    #[test]
    fn who_waits_gets_it_when_the_holder_is_gone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let first = Lock::try_take(&path).unwrap();
        let waiter = std::thread::spawn({
            let path = path.clone();
            move || Lock::wait(&path).map(drop)
        });
        assert!(!waiter.is_finished(), "it did not wait");
        drop(first);
        waiter.join().unwrap().unwrap();
    }
}
