//! What a directory holds on disk, counted file by file as du(1) does, within a time.

use std::collections::HashSet;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, ResolveFlags, openat2, statat};

/// Bytes in the unit of `st_blocks`, whatever the file system.
const BLOCK: u64 = 512;
/// Files with several names that are remembered, so that each counts once.
const LINKED_MAX: usize = 65_536;

/// What was counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counted {
    /// Bytes on disk.
    pub bytes: u64,
    /// Whether everything was seen: the time was enough, and nothing was out of reach.
    pub complete: bool,
}

/// A walk that is bounded by time and can be called off.
#[derive(Debug)]
pub struct Walk<'a> {
    until: Instant,
    cancelled: &'a AtomicBool,
}

impl<'a> Walk<'a> {
    /// A walk of at most this time, that ends early when `cancelled` becomes true.
    #[must_use]
    pub fn of(limit: Duration, cancelled: &'a AtomicBool) -> Self {
        Self { until: Instant::now() + limit, cancelled }
    }

    fn over(&self) -> bool {
        self.cancelled.load(Ordering::Relaxed) || Instant::now() >= self.until
    }

    /// Counts what lies in `top`. Links are not followed, other file systems not entered. A directory whose
    /// owner changes it meanwhile leads nowhere else. One that is not there holds nothing.
    ///
    /// # Errors
    /// When `top` cannot be opened.
    pub fn count(&self, top: &Path) -> io::Result<Counted> {
        let flags = OFlags::DIRECTORY | OFlags::PATH | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let top = match rustix::fs::open(top, flags, Mode::empty()) {
            Ok(top) => top,
            Err(rustix::io::Errno::NOENT) => return Ok(Counted { bytes: 0, complete: true }),
            Err(e) => return Err(e.into()),
        };
        let mut sum = Sum { bytes: 0, complete: true, linked: HashSet::new() };
        let mut waiting = vec![PathBuf::from(".")];
        while let Some(path) = waiting.pop() {
            if self.over() {
                sum.complete = false;
                break;
            }
            // What was removed meanwhile is not missed; what cannot be read is.
            match directory(&top, &path).and_then(|dir| self.read(&dir, &path, &mut sum, &mut waiting)) {
                Ok(()) => {}
                Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                Err(_) => sum.complete = false,
            }
        }
        Ok(Counted { bytes: sum.bytes, complete: sum.complete })
    }

    fn read(&self, dir: &OwnedFd, at: &Path, sum: &mut Sum, waiting: &mut Vec<PathBuf>) -> io::Result<()> {
        for entry in Dir::read_from(dir)? {
            let entry = entry?;
            let name = entry.file_name();
            if name == c".." {
                continue;
            }
            let found = match statat(dir.as_fd(), name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(found) => found,
                Err(rustix::io::Errno::NOENT) => continue,
                Err(e) => return Err(e.into()),
            };
            let is_dir = FileType::from_raw_mode(found.st_mode) == FileType::Directory;
            if is_dir && name != c"." {
                let name = std::os::unix::ffi::OsStrExt::from_bytes(name.to_bytes());
                waiting.push(at.join::<&std::ffi::OsStr>(name));
            } else if is_dir || sum.is_first(found.st_nlink, found.st_ino) {
                sum.bytes += u64::try_from(found.st_blocks).unwrap_or(0) * BLOCK;
            }
            if self.over() {
                sum.complete = false;
                break;
            }
        }
        Ok(())
    }
}

struct Sum {
    bytes: u64,
    complete: bool,
    /// Inodes with several names that were counted.
    linked: HashSet<u64>,
}

impl Sum {
    fn is_first(&mut self, links: impl Into<u64>, inode: u64) -> bool {
        links.into() < 2 || self.linked.len() >= LINKED_MAX || self.linked.insert(inode)
    }
}

fn directory(top: &OwnedFd, path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
    let beneath = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
    Ok(openat2(top, path, flags, Mode::empty(), beneath)?)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{MetadataExt, symlink};

    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    fn count(dir: &Path) -> Counted {
        Walk::of(LONG, &AtomicBool::new(false)).count(dir).unwrap()
    }

    /// A block's worth of bytes that cannot be stored within an inode.
    fn write(path: &Path, kib: usize) {
        fs::write(path, vec![7; kib * 1024]).unwrap();
        fs::File::open(path).unwrap().sync_all().unwrap();
    }

    #[test]
    fn files_at_any_depth_count_once() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("a/b")).unwrap();
        write(&dir.path().join("one"), 64);
        write(&dir.path().join("a/b/two"), 64);
        fs::hard_link(dir.path().join("one"), dir.path().join("a/again")).unwrap();
        let own = |path: &str| fs::symlink_metadata(dir.path().join(path)).unwrap().blocks() * BLOCK;
        let wanted: u64 = ["", "a", "a/b", "one", "a/b/two"].into_iter().map(own).sum();
        assert_eq!(count(dir.path()), Counted { bytes: wanted, complete: true });
        assert!(wanted >= 128 * 1024);
    }

    #[test]
    fn links_lead_nowhere() {
        let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        write(&other.path().join("large"), 512);
        symlink(other.path(), dir.path().join("out")).unwrap();
        assert!(count(dir.path()).bytes < 64 * 1024);
        assert!(Walk::of(LONG, &AtomicBool::new(false)).count(&dir.path().join("out")).is_err());
    }

    #[test]
    fn what_is_not_there_holds_nothing() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(count(&dir.path().join("none")), Counted { bytes: 0, complete: true });
    }

    #[test]
    fn a_walk_that_is_called_off_says_so() {
        let dir = tempfile::tempdir().unwrap();
        write(&dir.path().join("file"), 64);
        let off = Walk::of(LONG, &AtomicBool::new(true)).count(dir.path()).unwrap();
        assert_eq!(off, Counted { bytes: 0, complete: false });
        let late = Walk::of(Duration::ZERO, &AtomicBool::new(false)).count(dir.path()).unwrap();
        assert!(!late.complete);
    }
}
