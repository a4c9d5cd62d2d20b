//! One daemon for each home.
//!
//! A lock of flock(2) belongs to an open file and ends when the last descriptor of it is closed. The parent
//! takes it and passes it to every worker with the listeners, so it is held as long as anyone has those: a
//! new daemon cannot come between a parent that was killed and its worker that has not ended yet. The file
//! says who took it.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use insula_linux::identity::Identity;
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

/// A lock that is held until this and every copy passed on is closed.
#[derive(Debug)]
pub(crate) struct Lock {
    file: File,
}

impl Lock {
    /// Takes the lock. Where the process that took it is gone and only a worker of it is left, `waiting` is
    /// told its pid, and the worker's end is waited for.
    pub(crate) fn take(path: &Path, waiting: impl FnOnce(i32)) -> Result<Self, LockError> {
        let io = |source| LockError::Io { path: path.to_owned(), source };
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let file = options.open(path).map_err(io)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::AGAIN) => {
                let holder = holder(&file).map_err(io)?;
                match holder {
                    Some(holder) if !holder.lives().map_err(io)? => waiting(holder.pid),
                    other => {
                        let holder = other.map_or("?".to_owned(), |holder| holder.pid.to_string());
                        return Err(LockError::Held { holder });
                    }
                }
                rustix::io::retry_on_intr(|| flock(&file, FlockOperation::LockExclusive))
                    .map_err(|e| io(e.into()))?;
            }
            Err(e) => return Err(io(e.into())),
        }
        sign(&file).map_err(io)?;
        Ok(Self { file })
    }
}

impl Lock {
    /// One that this process took before it became another program.
    pub(crate) fn over(fd: OwnedFd) -> Self {
        Self { file: fd.into() }
    }
}

impl AsFd for Lock {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// Who took the lock; `None` when the file does not say.
fn holder(file: &File) -> io::Result<Option<Identity>> {
    let mut text = String::new();
    file.take(64).read_to_string(&mut text)?;
    let mut numbers = text.split_whitespace();
    let pid = numbers.next().and_then(|n| n.parse().ok());
    let start = numbers.next().and_then(|n| n.parse().ok());
    Ok(pid.zip(start).map(|(pid, start)| Identity { pid, start }))
}

/// Writes down that the calling process has it.
fn sign(mut file: &File) -> io::Result<()> {
    let pid = rustix::process::getpid().as_raw_nonzero().get();
    let own = Identity::of(pid)?.ok_or(io::ErrorKind::NotFound)?;
    file.set_len(0)?;
    file.rewind()?;
    writeln!(file, "{} {}", own.pid, own.start)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nobody(pid: i32) {
        panic!("waited for pid {pid}");
    }

    #[test]
    fn a_lock_is_refused_while_its_taker_lives_and_free_afterwards() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let first = Lock::take(&path, nobody).unwrap();
        let refused = Lock::take(&path, nobody).unwrap_err();
        let own = std::process::id().to_string();
        assert!(matches!(&refused, LockError::Held { holder } if *holder == own), "{refused:?}");
        drop(first);
        Lock::take(&path, nobody).unwrap();
    }

    #[test]
    fn a_copy_that_outlives_its_taker_is_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let first = Lock::take(&path, nobody).unwrap();
        // As if the taker had been killed: the file names a process that is not there.
        std::fs::write(&path, "999999999 1\n").unwrap();
        let copy = first.as_fd().try_clone_to_owned().unwrap();
        drop(first);
        let (tell, told) = std::sync::mpsc::channel();
        let waiter = std::thread::spawn(move || Lock::take(&path, |pid| tell.send(pid).unwrap()).map(drop));
        assert_eq!(told.recv().unwrap(), 999_999_999);
        assert!(!waiter.is_finished(), "it did not wait for the copy");
        drop(copy);
        waiter.join().unwrap().unwrap();
    }
}
