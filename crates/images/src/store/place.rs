//! Where what lies, and who may touch it when.
//!
//! ```text
//! images/
//!   oci-layout, index.json   names and the digests they lead to (OCI image layout)
//!   blobs/sha256/HEX         manifests and configurations; layers only until they are unpacked
//!   layers/HEX/              one unpacked layer, by the digest of its tar; HEX.setuid with such bits kept
//!     fs/                    its files
//!     layer.json             what became of them
//!   partial/HEX              blobs that are being fetched, or were when something broke
//!   pins/HEX.HOLDER          who runs from which image
//!   tmp/                     work in progress; what a dead process left goes at the next start
//!   index.lock, layers.lock  held while the list is changed, while a layer gets its name
//!   use.lock                 shared while something is brought in or pinned, alone while something is removed
//! ```

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use insula_spec::Digest;
use rustix::fs::{FlockOperation, flock};

use super::StoreError;
use crate::layer::remove_tree;

/// Content of the file that says what the directory is.
const LAYOUT: &[u8] = b"{\"imageLayoutVersion\":\"1.0.0\"}";

/// Where what lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    dir: PathBuf,
}

impl Place {
    /// Makes what is missing, closed to others.
    pub(crate) fn make(dir: &Path) -> Result<Self, StoreError> {
        for part in ["", "blobs/sha256", "layers", "partial", "pins", "tmp"] {
            let path = dir.join(part);
            DirBuilder::new().recursive(true).mode(0o700).create(&path).map_err(StoreError::io(&path))?;
        }
        let place = Self { dir: dir.to_owned() };
        let layout = dir.join("oci-layout");
        if !layout.exists() {
            place.write_whole(&layout, LAYOUT)?;
        }
        Ok(place)
    }

    /// The directory itself.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    pub(crate) fn index(&self) -> PathBuf {
        self.dir.join("index.json")
    }

    pub(crate) fn blobs(&self) -> PathBuf {
        self.dir.join("blobs/sha256")
    }

    pub(crate) fn blob(&self, digest: &Digest) -> PathBuf {
        self.blobs().join(digest.hex())
    }

    pub(crate) fn layers(&self) -> PathBuf {
        self.dir.join("layers")
    }

    /// The directory of a layer; set-user-id bits make it another one.
    pub(crate) fn layer(&self, diff_id: &Digest, keeps_setuid: bool) -> PathBuf {
        let suffix = if keeps_setuid { ".setuid" } else { "" };
        self.layers().join(format!("{}{suffix}", diff_id.hex()))
    }

    pub(crate) fn partials(&self) -> PathBuf {
        self.dir.join("partial")
    }

    pub(crate) fn partial(&self, digest: &Digest) -> PathBuf {
        self.partials().join(digest.hex())
    }

    pub(crate) fn pins(&self) -> PathBuf {
        self.dir.join("pins")
    }

    fn tmp(&self) -> PathBuf {
        self.dir.join("tmp")
    }

    /// A lock on the list of images, waited for: it is never held for long.
    pub(crate) fn lock_index(&self) -> Result<File, StoreError> {
        self.lock("index.lock", FlockOperation::LockExclusive)
    }

    /// A lock on the names of layers, held for the time of a rename.
    pub(crate) fn lock_layers(&self) -> Result<File, StoreError> {
        self.lock("layers.lock", FlockOperation::LockExclusive)
    }

    /// Keeps everything that is here from being removed.
    pub(crate) fn share(&self) -> Result<File, StoreError> {
        self.lock("use.lock", FlockOperation::LockShared)
    }

    /// Keeps others from bringing anything in.
    pub(crate) fn alone(&self) -> Result<File, StoreError> {
        match self.lock("use.lock", FlockOperation::NonBlockingLockExclusive) {
            Err(StoreError::Io { source, .. }) if source.kind() == io::ErrorKind::WouldBlock => {
                Err(StoreError::Busy)
            }
            other => other,
        }
    }

    fn lock(&self, name: &str, how: FlockOperation) -> Result<File, StoreError> {
        let path = self.dir.join(name);
        let file = open_lock(&path).map_err(StoreError::io(&path))?;
        flock(&file, how).map_err(|e| StoreError::Io { path, source: e.into() })?;
        Ok(file)
    }

    /// Writes a small file so that it is there whole or not at all.
    pub(crate) fn write_whole(&self, path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
        let scratch = self.scratch()?;
        let new = scratch.path().join("new");
        let write = || {
            let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
            file.write_all(bytes)?;
            file.sync_all()?;
            fs::rename(&new, path)?;
            sync_parent(path)
        };
        write().map_err(StoreError::io(path))
    }

    /// A directory for work in progress, gone when it is dropped.
    pub(crate) fn scratch(&self) -> Result<Scratch, StoreError> {
        let tmp = self.tmp();
        loop {
            let mut random = [0; 8];
            File::open("/dev/urandom")
                .and_then(|mut file| io::Read::read_exact(&mut file, &mut random))
                .map_err(StoreError::io(&tmp))?;
            let name = format!("{:016x}", u64::from_ne_bytes(random));
            let (path, lock_path) = (tmp.join(&name), tmp.join(format!("{name}.lock")));
            let lock = open_lock(&lock_path).map_err(StoreError::io(&lock_path))?;
            let taken = flock(&lock, FlockOperation::NonBlockingLockExclusive).is_ok();
            // A sweep may have come between: then the file is not the one under this name any more.
            if taken && lock.metadata().is_ok_and(|meta| meta.nlink() > 0) {
                let scratch = Scratch { path: path.clone(), lock_path, _lock: lock };
                DirBuilder::new().mode(0o700).create(&path).map_err(StoreError::io(&path))?;
                return Ok(scratch);
            }
        }
    }

    /// Removes what processes left that died at work. Returns how much that was.
    pub(crate) fn sweep(&self) -> Result<usize, StoreError> {
        let tmp = self.tmp();
        let mut swept = 0;
        for entry in fs::read_dir(&tmp).map_err(StoreError::io(&tmp))? {
            let path = entry.map_err(StoreError::io(&tmp))?.path();
            let Some(work) = path.to_str().and_then(|path| path.strip_suffix(".lock")) else { continue };
            let lock = match OpenOptions::new().write(true).open(&path) {
                Ok(lock) => lock,
                Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
                Err(e) => return Err(StoreError::Io { path, source: e }),
            };
            if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_ok() {
                drop(Scratch { path: work.into(), lock_path: path, _lock: lock });
                swept += 1;
            }
        }
        Ok(swept)
    }
}

fn open_lock(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path)
}

/// Makes a rename in the directory of `path` last.
pub(crate) fn sync_parent(path: &Path) -> io::Result<()> {
    File::open(path.parent().unwrap_or(Path::new("/")))?.sync_all()
}

/// A directory for work in progress. Its lock tells others that its maker lives.
#[derive(Debug)]
pub(crate) struct Scratch {
    path: PathBuf,
    lock_path: PathBuf,
    _lock: File,
}

impl Scratch {
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let removed = remove_tree(&self.path).and_then(|()| fs::remove_file(&self.lock_path));
        if let Err(error) = removed {
            tracing::warn!(path = %self.path.display(), %error, "cannot remove work in progress");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_of_the_living_stays_and_that_of_the_dead_goes() {
        let dir = tempfile::tempdir().unwrap();
        let place = Place::make(dir.path()).unwrap();
        let alive = place.scratch().unwrap();
        let dead = place.tmp().join("0123");
        fs::create_dir_all(dead.join("a/b")).unwrap();
        fs::write(place.tmp().join("0123.lock"), "").unwrap();
        assert_eq!(place.sweep().unwrap(), 1);
        assert!(!dead.exists() && alive.path().exists());
        let path = alive.path().to_owned();
        drop(alive);
        assert!(!path.exists());
        assert_eq!(fs::read_dir(place.tmp()).unwrap().count(), 0);
    }

    #[test]
    fn nobody_removes_while_somebody_brings_in() {
        let dir = tempfile::tempdir().unwrap();
        let place = Place::make(dir.path()).unwrap();
        let (one, two) = (place.share().unwrap(), place.share().unwrap());
        assert!(matches!(place.alone(), Err(StoreError::Busy)));
        drop((one, two));
        place.alone().unwrap();
    }
}
