//! The directory that a layer is unpacked into, and the only way into it.
//!
//! Every path is walked by the kernel from the descriptor of the root, beneath it and without following any
//! link (`openat2` with `RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS`). What is made is made by its last name in
//! the directory found so. While the tree is in work, all directories belong to this user with mode 0700.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{
    AtFlags, CWD, FileType, Mode, OFlags, ResolveFlags, Stat, mkdirat, open, openat, openat2, statat,
    unlinkat,
};
use rustix::io::Errno;

use super::UnpackError;
use super::path::EntryPath;
use crate::tar::Entry;

/// Most bytes of the names of all directories of a layer: they are kept in memory until the end.
const NAMES_MAX: u64 = 256 << 20;

/// What is at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    Nothing,
    Directory,
    /// A character device 0:0.
    Whiteout,
    File,
    Symlink,
    Other,
}

/// The root of a layer.
#[derive(Debug)]
pub(super) struct Tree {
    root: Arc<OwnedFd>,
    /// The directory that was found last: entries come directory by directory.
    last: Option<(EntryPath, Arc<OwnedFd>)>,
    /// Bytes of the names of all directories that were made.
    names: u64,
    /// Every directory that was made, and what it is to become in the end: while something comes into it, it
    /// stays open to this user.
    pub(super) directories: BTreeMap<EntryPath, Directory>,
}

/// What a directory becomes when everything is in it.
#[derive(Debug, Clone, Default)]
pub(super) struct Directory {
    /// What the archive says of it; nothing, if it only has something inside of it. Without names and
    /// attributes: there may be millions of these.
    pub(super) entry: Option<Entry>,
    /// Whether it hides what lower layers have in it.
    pub(super) opaque: bool,
}

impl Tree {
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let root = Arc::new(open(path, flags, Mode::empty())?);
        Ok(Self { root, last: None, names: 0, directories: BTreeMap::new() })
    }

    /// A directory, for its names only. Missing ones are made.
    pub(super) fn directory(&mut self, path: &EntryPath) -> Result<Arc<OwnedFd>, UnpackError> {
        if let Some((last, fd)) = &self.last
            && last == path
        {
            return Ok(fd.clone());
        }
        let fd = match self.walk(path, OFlags::PATH) {
            Ok(fd) => fd,
            Err(Errno::NOENT | Errno::NOTDIR) => self.make_all(path)?,
            Err(errno) => return Err(refused(path, errno)),
        };
        let fd = Arc::new(fd);
        self.last = Some((path.clone(), fd.clone()));
        Ok(fd)
    }

    /// A directory that is there, for its names only.
    pub(super) fn existing(&self, path: &EntryPath) -> Result<Arc<OwnedFd>, UnpackError> {
        let fd = self.walk(path, OFlags::PATH).map_err(|errno| refused(path, errno))?;
        Ok(Arc::new(fd))
    }

    /// A directory, for its attributes.
    pub(super) fn open_directory(&self, path: &EntryPath) -> Result<OwnedFd, UnpackError> {
        self.walk(path, OFlags::RDONLY).map_err(|errno| refused(path, errno))
    }

    fn walk(&self, path: &EntryPath, flags: OFlags) -> Result<OwnedFd, Errno> {
        let flags = flags | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        if *path == EntryPath::ROOT {
            return openat(&*self.root, ".", flags, Mode::empty());
        }
        let resolve = ResolveFlags::BENEATH
            | ResolveFlags::NO_SYMLINKS
            | ResolveFlags::NO_MAGICLINKS
            | ResolveFlags::NO_XDEV;
        loop {
            // The kernel asks to try again when the tree changes while it looks.
            match openat2(&*self.root, path.as_bytes(), flags, Mode::empty(), resolve) {
                Err(Errno::AGAIN | Errno::INTR) => {}
                other => return other,
            }
        }
    }

    /// Makes the directories on the way that are missing. Only a whiteout gives way to one.
    fn make_all(&mut self, path: &EntryPath) -> Result<OwnedFd, UnpackError> {
        let mut here = EntryPath::ROOT;
        let mut fd = self.walk(&here, OFlags::PATH).map_err(|errno| refused(&here, errno))?;
        for part in path.parts() {
            let next = here.join(part);
            match found(&fd, part) {
                Found::Directory => {}
                found @ (Found::Nothing | Found::Whiteout) => self.make(&fd, &next, found)?,
                Found::Symlink => return Err(through_link(path)),
                Found::File | Found::Other => return Err(through_file(path)),
            }
            fd = self.walk(&next, OFlags::PATH).map_err(|errno| refused(&next, errno))?;
            here = next;
        }
        Ok(fd)
    }

    /// Makes a directory where nothing is, or a whiteout: what that hid stays hidden.
    pub(super) fn make(
        &mut self,
        parent: &OwnedFd,
        path: &EntryPath,
        found: Found,
    ) -> Result<(), UnpackError> {
        let (_, name) = path.split().unwrap_or((EntryPath::ROOT, b"."));
        let opaque = found == Found::Whiteout;
        if opaque {
            unlinkat(parent, name, AtFlags::empty()).map_err(|e| write(path, e))?;
        }
        self.names += path.as_bytes().len() as u64;
        if self.names > NAMES_MAX {
            return Err(UnpackError::TooMuch {
                what: "bytes in the names of its directories",
                limit: NAMES_MAX,
            });
        }
        mkdirat(parent, name, Mode::RWXU).map_err(|e| write(path, e))?;
        self.directories.insert(path.clone(), Directory { entry: None, opaque });
        Ok(())
    }

    /// Removes what is at a name, whatever it is.
    pub(super) fn remove(&mut self, parent: &OwnedFd, path: &EntryPath) -> Result<(), UnpackError> {
        if self.directories.remove(path).is_some() {
            self.last = None;
            let inside = path.join(b"");
            let gone = self.directories.range(inside..).map(|(other, _)| other.clone());
            for other in gone.take_while(|other| other.is_within(path)).collect::<Vec<_>>() {
                self.directories.remove(&other);
            }
        }
        let (_, name) = path.split().unwrap_or((EntryPath::ROOT, b"."));
        remove_at(parent, name).map_err(|e| write(path, e))
    }
}

/// What is at a name; links are not followed.
pub(super) fn found(parent: impl AsFd, name: &[u8]) -> Found {
    let stat: Stat = match statat(parent, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => stat,
        Err(Errno::NOENT) => return Found::Nothing,
        Err(_) => return Found::Other,
    };
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => Found::Directory,
        FileType::CharacterDevice if stat.st_rdev == 0 => Found::Whiteout,
        FileType::RegularFile => Found::File,
        FileType::Symlink => Found::Symlink,
        _ => Found::Other,
    }
}

fn remove_at(parent: &OwnedFd, name: &[u8]) -> Result<(), Errno> {
    match unlinkat(parent, name, AtFlags::empty()) {
        Err(Errno::ISDIR) => {}
        other => return other,
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let dir = openat(parent, name, flags, Mode::empty())?;
    for entry in rustix::fs::Dir::read_from(&dir)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            remove_at(&dir, name)?;
        }
    }
    unlinkat(parent, name, AtFlags::REMOVEDIR)
}

/// A failure of the file system at a path.
pub(super) fn write(path: &EntryPath, errno: Errno) -> UnpackError {
    UnpackError::Write { path: path.to_string(), source: errno.into() }
}

fn refused(path: &EntryPath, errno: Errno) -> UnpackError {
    match errno {
        Errno::LOOP => through_link(path),
        Errno::NOTDIR => through_file(path),
        other => write(path, other),
    }
}

fn through_link(path: &EntryPath) -> UnpackError {
    UnpackError::Path { path: path.to_string(), why: "it leads through a symbolic link" }
}

fn through_file(path: &EntryPath) -> UnpackError {
    UnpackError::Path { path: path.to_string(), why: "it leads through something that is not a directory" }
}

/// Whether a file system keeps these things, tried in this directory.
pub(super) fn try_out(dir: &Path) -> io::Result<super::Abilities> {
    use rustix::fs::{Gid, Uid, XattrFlags, fchown, mkdir, setxattr};
    let probe = dir.join(OsStr::from_bytes(b"probe"));
    mkdir(&probe, Mode::RWXU)?;
    let trusted = setxattr(&probe, "trusted.overlay.opaque", b"y", XattrFlags::empty()).is_ok();
    let fd = openat(CWD, &probe, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let ownership = fchown(&fd, Some(Uid::from_raw(1)), Some(Gid::from_raw(1))).is_ok();
    std::fs::remove_dir(&probe)?;
    Ok(super::Abilities { trusted, ownership })
}
