//! A tenant's directory as a file system of its own, in a sparse file beside it.
//!
//! ```text
//! {data_dir}/{id}                  the plain directory; empty once there is an image
//! {data_dir}/.quota/{id}.ext4      the image: from the moment it has this name, all data is in it
//! {data_dir}/.quota/{id}.new       an image that is being made; worth nothing
//! {data_dir}/.quota/{id}.old       what the plain directory held before
//! {data_dir}/.quota/{id}.lock      one at a time works on them
//!
//! plain ──copied──► .new ──► plain becomes .old ──► .new becomes .ext4 ──► .old is removed
//! ```
//! After a crash: with `.ext4` the rest is left-overs; without it `.old` becomes the plain directory again.
//! An image is larger than its limit by what the file system needs for itself; the difference is reserved, so
//! that what its owner can store is the limit.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use rustix::fs::{FlockOperation, Mode, OFlags, flock, fstatvfs, openat};
use rustix::io::Errno;

use super::ext4::{Label, Superblock};
use super::loops::Device;
use super::make::{clean, copy, format, resize, seal, tune};
use super::walk::Walk;

const MIB: u64 = 1 << 20;
/// How long the last user of an image may take to let go of it.
const DETACH: Duration = Duration::from_secs(1);
/// How long counting what a directory holds may take before it is moved.
const COUNTING: Duration = Duration::from_secs(600);

/// Moments of [`Image::open`] at which a test may end the process.
pub const POINTS: [&str; 5] =
    ["disk.formatted", "disk.copied", "disk.set-aside", "disk.named", "disk.resized"];

/// Why a directory could not be had as an image.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// Somebody else works on it.
    #[error("`{0}` is in use or still being made")]
    Busy(PathBuf),
    /// It holds more than it may.
    #[error("`{dir}` holds {used} bytes, more than the limit of {limit}")]
    TooSmall {
        /// The directory.
        dir: PathBuf,
        /// What it holds, in bytes.
        used: u64,
        /// The limit, in bytes.
        limit: u64,
    },
    /// Data is in two places, and nobody can tell which is right.
    #[error("both `{plain}` and `{aside}` hold data")]
    Twice {
        /// The plain directory.
        plain: PathBuf,
        /// What was set aside.
        aside: PathBuf,
    },
    /// A step failed.
    #[error("cannot {step} `{path}`")]
    Step {
        /// What was being done.
        step: &'static str,
        /// On what.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
}

impl ImageError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> String {
        match self {
            Self::Busy(_) => "try again when the start or stop that is under way is over".to_owned(),
            Self::TooSmall { used, .. } => {
                let least = used.div_ceil(MIB);
                format!("remove data, or set `disk_limit` to at least \"{least}MiB\"")
            }
            Self::Twice { plain, aside } => format!(
                "look at both; move what is right to `{}` and remove `{}`",
                plain.display(),
                aside.display()
            ),
            Self::Step { path, .. } => {
                format!("check the disk that `{}` is on, then start again", path.display())
            }
        }
    }
}

/// The places of one tenant's data.
#[derive(Debug, Clone)]
pub struct Image {
    plain: PathBuf,
    dir: PathBuf,
    name: String,
}

/// Held while something is done to one tenant's places.
#[derive(Debug)]
struct Lock(File);

impl Drop for Lock {
    fn drop(&mut self) {
        // Closing is not enough: a child that was just forked may hold a copy of the descriptor.
        if let Err(error) = flock(&self.0, FlockOperation::Unlock) {
            tracing::warn!(%error, "cannot give back the lock of an image");
        }
    }
}

/// What an image shall be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Want {
    /// What it may hold, in bytes; `None` leaves it as it is.
    pub limit: Option<u64>,
    /// Host user and group id of its owner.
    pub owner: u32,
}

/// What an image holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Held {
    /// Bytes in use.
    pub used: u64,
    /// Bytes that may be in use.
    pub limit: u64,
}

impl Image {
    /// The places for this directory; `None` if it has no name or parent.
    #[must_use]
    pub fn of(plain: &Path) -> Option<Self> {
        let (dir, name) = (plain.parent()?.join(".quota"), plain.file_name()?.to_string_lossy().into_owned());
        Some(Self { plain: plain.to_owned(), dir, name })
    }

    /// The image itself.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        self.place("ext4")
    }

    /// Whether the data is in an image.
    #[must_use]
    pub fn exists(&self) -> bool {
        self.path().exists()
    }

    /// Whether any directory here has, or had, a hard limit: one question for all that have none.
    #[must_use]
    pub fn any(&self) -> bool {
        self.dir.exists()
    }

    fn place(&self, kind: &str) -> PathBuf {
        self.dir.join(format!("{}.{kind}", self.name))
    }

    /// Puts right what a crash left. Cheap when there is nothing.
    ///
    /// # Errors
    /// When something cannot be removed or moved, or somebody else works on it.
    pub fn recover(&self) -> Result<(), ImageError> {
        if self.place("new").exists() || self.place("old").exists() {
            let _lock = self.lock()?;
            self.put_right()?;
        }
        Ok(())
    }

    /// Mounts the image, attached nowhere, with this limit. Makes it and moves the plain directory's data
    /// into it if there is none yet. `at` is told of each of [`POINTS`].
    ///
    /// # Errors
    /// When it cannot be made, or holds more than the limit. The data is where it was.
    pub fn open(&self, want: Want, at: &dyn Fn(&'static str)) -> Result<OwnedFd, ImageError> {
        self.make_dir()?;
        let _lock = self.lock()?;
        self.put_right()?;
        let resized = match (self.exists(), want.limit) {
            (false, Some(limit)) => self.make(limit, want.owner, at).map(|()| false)?,
            (true, Some(limit)) => self.fit(limit, at)?,
            (true, None) => false,
            (false, None) => return Err(self.fail("open", &self.path())(io::ErrorKind::NotFound.into())),
        };
        let image = self.path();
        let mount = Device::over(&image).and_then(|device| device.mount());
        let mount = mount.map_err(self.fail("mount", &image))?;
        if resized {
            clean(&mount).map_err(self.fail("clean", &image))?;
        }
        top(&mount).and_then(|root| give(&root, want.owner)).map_err(self.fail("give away", &image))?;
        Ok(mount)
    }

    /// What it holds at this moment.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn held(&self) -> io::Result<Held> {
        let image = self.path();
        let block = Superblock::read(&image)?;
        let limit = match block.label {
            Label::Limit(limit) => limit,
            Label::Resizing(used) => return Ok(Held { used, limit: used }),
            Label::Other => return Err(io::Error::other("its label tells no limit")),
        };
        let available = match Device::existing(&image)? {
            // Mounted: only the file system knows. The mount is over with this line.
            Some(device) => fstatvfs(&device.mount()?).map(|found| found.f_bavail * found.f_frsize)?,
            None => block.available(),
        };
        Ok(Held { used: limit.saturating_sub(available), limit })
    }

    /// Makes the directory for images and for the sign that there are limits here.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn make_dir(&self) -> Result<(), ImageError> {
        let fail = || self.fail("make directory", &self.dir);
        if let Some(parent) = self.dir.parent() {
            fs::create_dir_all(parent).map_err(fail())?;
        }
        match DirBuilder::new().mode(0o700).create(&self.dir) {
            Err(e) if e.kind() != io::ErrorKind::AlreadyExists => Err(fail()(e)),
            _ => Ok(()),
        }
    }

    fn lock(&self) -> Result<Lock, ImageError> {
        let path = self.place("lock");
        let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&path);
        let file = file.map_err(self.fail("open", &path))?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Lock(file)),
            Err(Errno::WOULDBLOCK) => Err(ImageError::Busy(self.path())),
            Err(e) => Err(self.fail("lock", &path)(e.into())),
        }
    }

    /// See the drawing above.
    fn put_right(&self) -> Result<(), ImageError> {
        let (new, old) = (self.place("new"), self.place("old"));
        if new.exists() {
            fs::remove_file(&new).map_err(self.fail("remove", &new))?;
        }
        if !old.exists() {
            return Ok(());
        }
        if self.exists() {
            return fs::remove_dir_all(&old).map_err(self.fail("remove", &old));
        }
        if self.plain.exists() {
            // A start without a limit may have made it anew; with anything in it, it stays.
            fs::remove_dir(&self.plain)
                .map_err(|_| ImageError::Twice { plain: self.plain.clone(), aside: old.clone() })?;
        }
        fs::rename(&old, &self.plain).map_err(self.fail("move back", &old))
    }

    /// A new image with all that the plain directory holds.
    fn make(&self, limit: u64, owner: u32, at: &dyn Fn(&'static str)) -> Result<(), ImageError> {
        let new = self.place("new");
        let used = self.count_plain()?;
        if used > limit {
            return Err(ImageError::TooSmall { dir: self.plain.clone(), used, limit });
        }
        format(&new, limit).map_err(self.fail("format", &new))?;
        at("disk.formatted");
        let moves = used > 0 && !is_empty(&self.plain).map_err(self.fail("read", &self.plain))?;
        self.fill(&new, moves, owner)?;
        File::open(&new).and_then(|file| file.sync_all()).map_err(self.fail("sync", &new))?;
        at("disk.copied");
        self.swap(&new, moves, at)
    }

    /// Counts what is to be moved.
    fn count_plain(&self) -> Result<u64, ImageError> {
        let fail = self.fail("count what is in", &self.plain);
        let never = AtomicBool::new(false);
        let counted = Walk::of(COUNTING, &never).count(&self.plain).map_err(&fail)?;
        let incomplete = || fail(io::Error::other("not everything in it could be read"));
        if counted.complete { Ok(counted.bytes) } else { Err(incomplete()) }
    }

    /// Gives a new image its owner, and the data.
    fn fill(&self, new: &Path, moves: bool, owner: u32) -> Result<(), ImageError> {
        let fail = || self.fail("fill", new);
        let device = Device::over(new).map_err(fail())?;
        let mount = device.mount().map_err(fail())?;
        clean(&mount).map_err(fail())?;
        let root = top(&mount).map_err(fail())?;
        if moves {
            copy(&self.plain, &root).map_err(self.fail("copy", &self.plain))?;
        } else {
            root.set_permissions(fs::Permissions::from_mode(0o700)).map_err(fail())?;
        }
        give(&root, owner).map_err(fail())?;
        rustix::fs::syncfs(&root).map_err(|e| fail()(e.into()))
    }

    /// From here on the image counts.
    fn swap(&self, new: &Path, moves: bool, at: &dyn Fn(&'static str)) -> Result<(), ImageError> {
        let (image, old) = (self.path(), self.place("old"));
        if moves {
            fs::rename(&self.plain, &old).map_err(self.fail("set aside", &self.plain))?;
            at("disk.set-aside");
        }
        fs::rename(new, &image).map_err(self.fail("name", new))?;
        File::open(&self.dir).and_then(|dir| dir.sync_all()).map_err(self.fail("sync", &self.dir))?;
        at("disk.named");
        if moves { fs::remove_dir_all(&old).map_err(self.fail("remove", &old)) } else { Ok(()) }
    }

    /// Gives an image another limit. Tells whether that was needed. While it is being resized, its label says
    /// what it holds: after a crash nothing else would.
    fn fit(&self, limit: u64, at: &dyn Fn(&'static str)) -> Result<bool, ImageError> {
        let image = self.path();
        let fail = || self.fail("resize", &image);
        if Superblock::read(&image).map_err(fail())?.label == Label::Limit(limit) {
            return Ok(false);
        }
        if !Device::is_gone(&image, DETACH).map_err(fail())? {
            return Err(ImageError::Busy(image));
        }
        let used = self.held().map_err(fail())?.used;
        if used > limit {
            return Err(ImageError::TooSmall { dir: self.plain.clone(), used, limit });
        }
        tune(&image, &["-L", &Label::Resizing(used).text()]).map_err(fail())?;
        resize(&image, limit).map_err(fail())?;
        at("disk.resized");
        seal(&image, limit, used).map_err(fail())?;
        Ok(true)
    }

    fn fail(&self, step: &'static str, path: &Path) -> impl Fn(io::Error) -> ImageError + use<> {
        let path = path.to_owned();
        move |source| ImageError::Step { step, path: path.clone(), source }
    }
}

/// The directory at the top of a mount.
fn top(mount: &OwnedFd) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(File::from(openat(mount, ".", flags, Mode::empty())?))
}

/// Gives it to its owner, unless it is that already; what is in it is left alone.
fn give(root: &File, owner: u32) -> io::Result<()> {
    if root.metadata()?.uid() == owner { Ok(()) } else { fchown(root, Some(owner), Some(owner)) }
}

fn is_empty(dir: &Path) -> io::Result<bool> {
    Ok(fs::read_dir(dir)?.next().is_none())
}
