//! A directory as a tar. The same files make the same archive: names in order, no times of access.

use std::collections::BTreeMap;
use std::ffi::CString;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{
    AtFlags, CWD, Dir, FileType, Mode, OFlags, Stat, fgetxattr, flistxattr, fstat, openat, readlinkat, stat,
    statat,
};

use crate::tar::{Item, Kind, Writer};

/// Deepest directory.
const DEPTH_MAX: usize = 256;
/// Most bytes of the names, or of one value, of extended attributes (`XATTR_LIST_MAX`, `XATTR_SIZE_MAX`).
const XATTR_MAX: usize = 64 << 10;

struct Walk<'a, W> {
    out: Writer<W>,
    /// Where this directory of images is: it cannot hold itself.
    own: Option<(u64, u64)>,
    device: u64,
    /// Files with several names, by the first of them.
    linked: BTreeMap<u64, Vec<u8>>,
    left: u64,
    user: Option<u32>,
    root: &'a Path,
}

/// Writes a directory with everything in it as a tar. Other file systems that are mounted in it are left out, and
/// sockets. Of an ordinary user's files the owner is told as root: nobody else's could be given away anyway.
pub(crate) fn write_directory(dir: &Path, own: &Path, out: impl Write, most: u64) -> io::Result<()> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let fd = openat(CWD, dir, flags, Mode::empty())?;
    let here = fstat(&fd)?;
    let user = rustix::process::geteuid();
    let mut walk = Walk {
        out: Writer::new(out),
        own: stat(own).ok().map(|stat| (stat.st_dev, stat.st_ino)),
        device: here.st_dev,
        linked: BTreeMap::new(),
        left: most,
        user: (!user.is_root()).then(|| user.as_raw()),
        root: dir,
    };
    let item = walk.item(Kind::Directory, b"./", &here);
    walk.out.write(&item, io::empty())?;
    walk.directory(fd, b"", 0)?;
    walk.out.finish()?.flush()
}

impl<W: Write> Walk<'_, W> {
    fn directory(&mut self, fd: OwnedFd, prefix: &[u8], depth: usize) -> io::Result<()> {
        if depth > DEPTH_MAX {
            return Err(io::Error::other("it is nested more than 256 directories deep"));
        }
        let mut names: Vec<CString> = Vec::new();
        for entry in Dir::read_from(&fd)? {
            let entry = entry?;
            let name = entry.file_name();
            if name != c"." && name != c".." {
                names.push(name.to_owned());
            }
        }
        names.sort();
        for name in names {
            self.left = self
                .left
                .checked_sub(1)
                .ok_or_else(|| io::Error::other(format!("`{}` has too many files", self.root.display())))?;
            let path = [prefix, name.as_bytes()].concat();
            self.entry(&fd, &name, &path, depth)?;
        }
        Ok(())
    }

    fn entry(&mut self, dir: &OwnedFd, name: &CString, path: &[u8], depth: usize) -> io::Result<()> {
        let stat = statat(dir, name.as_c_str(), AtFlags::SYMLINK_NOFOLLOW)?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => self.subdirectory(dir, name, path, depth),
            FileType::RegularFile => self.file(dir, name, path),
            FileType::Symlink => {
                let target = readlinkat(dir, name.as_c_str(), Vec::new())?;
                let item = Item { link: target.as_bytes(), ..self.item(Kind::Symlink, path, &stat) };
                self.out.write(&item, io::empty())
            }
            FileType::Fifo => {
                let item = self.item(Kind::Fifo, path, &stat);
                self.out.write(&item, io::empty())
            }
            // They are left out by whoever unpacks, and counted there.
            FileType::CharacterDevice | FileType::BlockDevice => {
                let item = self.item(Kind::Device, path, &stat);
                self.out.write(&item, io::empty())
            }
            _ => Ok(()),
        }
    }

    fn subdirectory(&mut self, dir: &OwnedFd, name: &CString, path: &[u8], depth: usize) -> io::Result<()> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = openat(dir, name.as_c_str(), flags, Mode::empty())?;
        let stat = fstat(&fd)?;
        let path = [path, b"/"].concat();
        let mut item = self.item(Kind::Directory, &path, &stat);
        item.attributes = attributes(&fd)?;
        self.out.write(&item, io::empty())?;
        if stat.st_dev != self.device || self.own == Some((stat.st_dev, stat.st_ino)) {
            return Ok(());
        }
        self.directory(fd, &path, depth + 1)
    }

    fn file(&mut self, dir: &OwnedFd, name: &CString, path: &[u8]) -> io::Result<()> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let fd = openat(dir, name.as_c_str(), flags, Mode::empty())?;
        let stat = fstat(&fd)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(io::Error::other("a file was replaced while it was read"));
        }
        if stat.st_nlink > 1 {
            if let Some(first) = self.linked.get(&stat.st_ino).cloned() {
                let item = Item { link: &first, ..self.item(Kind::HardLink, path, &stat) };
                return self.out.write(&item, io::empty());
            }
            self.linked.insert(stat.st_ino, path.to_vec());
        }
        let mut item = self.item(Kind::File, path, &stat);
        item.size = u64::try_from(stat.st_size).unwrap_or_default();
        item.attributes = attributes(&fd)?;
        self.out.write(&item, File::from(fd))
    }

    fn item<'p>(&self, kind: Kind, path: &'p [u8], stat: &Stat) -> Item<'p> {
        let mine = self.user == Some(stat.st_uid);
        Item {
            mode: stat.st_mode & 0o7777,
            uid: if mine { 0 } else { stat.st_uid },
            gid: if mine { 0 } else { stat.st_gid },
            mtime: u64::try_from(stat.st_mtime).unwrap_or_default(),
            ..Item::new(kind, path)
        }
    }
}

/// The extended attributes of users, and the capabilities.
fn attributes(fd: impl AsFd) -> io::Result<Vec<(Vec<u8>, Vec<u8>)>> {
    let mut names = vec![0; XATTR_MAX];
    let length = match flistxattr(&fd, &mut names[..]) {
        Ok(length) => length,
        Err(rustix::io::Errno::NOTSUP) => return Ok(Vec::new()),
        Err(e) => return Err(e.into()),
    };
    let mut found = Vec::new();
    for name in names[..length].split(|&b| b == 0) {
        if !name.starts_with(b"user.") && name != b"security.capability" {
            continue;
        }
        let mut value = vec![0; XATTR_MAX];
        let length = fgetxattr(&fd, name, &mut value[..])?;
        value.truncate(length);
        found.push((name.to_vec(), value));
    }
    found.sort();
    Ok(found)
}
