//! One entry after the other becomes a file.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;

use rustix::fs::{
    AtFlags, FileType, Gid, Mode, OFlags, Timespec, Timestamps, Uid, XattrFlags, chownat, fchmod, fsetxattr,
    ftruncate, futimens, linkat, mknodat, openat, symlinkat, utimensat,
};

use super::path::{EntryPath, shown};
use super::tree::{Directory, Found, Tree, found, write};
use super::{Abilities, Policy, Record, UnpackError};
use crate::image::Whiteouts;
use crate::tar::{Entry, Kind, Reader};

/// A name with this in front is a whiteout of what follows (OCI image specification, `layer.md`).
const WHITEOUT: &[u8] = b".wh.";
/// This name makes its directory opaque; other names that begin like it are of aufs itself.
const OPAQUE: &[u8] = b".wh..wh..opq";
/// Names of aufs itself.
const AUFS: &[u8] = b".wh..wh.";
/// The bits of set-user-id and set-group-id.
const SETUID_BITS: u32 = 0o6000;
/// Longest target of a symbolic link.
const LINK_MAX: usize = 4095;

/// What is in the making.
#[derive(Debug)]
pub(super) struct Layer<'a> {
    pub(super) tree: Tree,
    pub(super) record: Record,
    pub(super) policy: &'a Policy,
    pub(super) abilities: Abilities,
}

impl Layer<'_> {
    /// Makes everything that an archive has.
    pub(super) fn fill(&mut self, archive: &mut Reader<impl Read>) -> Result<(), UnpackError> {
        while let Some(entry) = archive.next()? {
            self.record.entries += 1;
            if self.record.entries > self.policy.bounds.entries {
                let limit = self.policy.bounds.entries;
                return Err(UnpackError::TooMuch { what: "entries", limit });
            }
            let path = EntryPath::parse(&entry.path)?;
            self.make(&path, entry, archive)?;
        }
        self.close_directories()
    }

    fn make(
        &mut self,
        path: &EntryPath,
        entry: Entry,
        archive: &mut Reader<impl Read>,
    ) -> Result<(), UnpackError> {
        let Some((parent_path, name)) = path.split() else {
            return self.root(entry);
        };
        if path.parts().any(|part| part.starts_with(AUFS) && part != OPAQUE) {
            return Ok(());
        }
        if parent_path.parts().any(|part| part.starts_with(WHITEOUT)) {
            return Err(odd(path, "a whiteout has nothing in it"));
        }
        if name == OPAQUE {
            return self.opaque(&parent_path);
        }
        let parent = self.tree.directory(&parent_path)?;
        if let Some(hidden) = name.strip_prefix(WHITEOUT) {
            return match hidden {
                b"" | b"." | b".." => Err(odd(path, "it hides nothing that can have a name")),
                _ => self.whiteout(&parent, &parent_path.join(hidden)),
            };
        }
        if entry.kind == Kind::Device {
            self.record.devices_skipped += 1;
            return Ok(());
        }
        self.record.highest_id = self.record.highest_id.max(entry.uid).max(entry.gid);
        if entry.kind == Kind::Directory {
            return self.directory(&parent, path, entry);
        }
        let hard = match entry.kind {
            Kind::HardLink => Some(self.link_target(path, &entry)?),
            _ => None,
        };
        if found(&parent, name) != Found::Nothing {
            if hard.as_ref().is_some_and(|(_, target)| target == path) {
                return Ok(());
            }
            self.tree.remove(&parent, path)?;
        }
        match hard {
            Some((dir, target)) => self.hard_link(&dir, &target, &parent, path),
            None if entry.kind == Kind::File => self.file(&parent, path, &entry, archive),
            None => self.special(&parent, path, &entry),
        }
    }

    fn root(&mut self, entry: Entry) -> Result<(), UnpackError> {
        if entry.kind != Kind::Directory {
            return Err(odd(&EntryPath::ROOT, "the root can only be a directory"));
        }
        self.describe(&EntryPath::ROOT, entry)
    }

    fn opaque(&mut self, path: &EntryPath) -> Result<(), UnpackError> {
        if *path == EntryPath::ROOT {
            self.record.opaque_root = true;
            return Ok(());
        }
        self.tree.directory(path)?;
        self.tree.directories.entry(path.clone()).or_default().opaque = true;
        Ok(())
    }

    /// Hides what lower layers have under this name, and nothing of this one.
    fn whiteout(&mut self, parent: &OwnedFd, path: &EntryPath) -> Result<(), UnpackError> {
        let Some((_, name)) = path.split() else { return Ok(()) };
        match found(parent, name) {
            Found::Directory => self.tree.directories.entry(path.clone()).or_default().opaque = true,
            Found::Nothing => {
                mknodat(parent, name, FileType::CharacterDevice, Mode::empty(), 0)
                    .map_err(|e| write(path, e))?;
            }
            _ => {}
        }
        Ok(())
    }

    fn directory(&mut self, parent: &OwnedFd, path: &EntryPath, entry: Entry) -> Result<(), UnpackError> {
        let Some((_, name)) = path.split() else { return Ok(()) };
        match found(parent, name) {
            Found::Directory => {}
            here @ (Found::Nothing | Found::Whiteout) => self.tree.make(parent, path, here)?,
            _ => {
                self.tree.remove(parent, path)?;
                self.tree.make(parent, path, Found::Nothing)?;
            }
        }
        self.describe(path, entry)
    }

    /// Remembers what a directory becomes in the end. Its attributes, which may be long, are set at once.
    fn describe(&mut self, path: &EntryPath, mut entry: Entry) -> Result<(), UnpackError> {
        if !entry.attributes.is_empty() {
            let fd = self.tree.open_directory(path)?;
            for (name, value) in std::mem::take(&mut entry.attributes) {
                self.attribute(&fd, &name, &value);
            }
        }
        (entry.path, entry.link) = (Vec::new(), Vec::new());
        self.tree.directories.entry(path.clone()).or_default().entry = Some(entry);
        Ok(())
    }

    fn file(
        &mut self,
        parent: &OwnedFd,
        path: &EntryPath,
        entry: &Entry,
        archive: &mut Reader<impl Read>,
    ) -> Result<(), UnpackError> {
        let Some((_, name)) = path.split() else { return Ok(()) };
        if self.record.bytes.saturating_add(entry.size) > self.policy.bounds.unpacked {
            let limit = self.policy.bounds.unpacked;
            return Err(UnpackError::TooMuch { what: "bytes in its files", limit });
        }
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = openat(parent, name, flags, Mode::RUSR | Mode::WUSR).map_err(|e| write(path, e))?;
        let mut file = File::from(fd);
        match &entry.sparse {
            None => copy(archive, path, |bytes| file.write_all(bytes))?,
            Some(chunks) => {
                ftruncate(&file, entry.size).map_err(|e| write(path, e))?;
                for chunk in chunks {
                    let (mut at, mut left) = (chunk.offset, chunk.length);
                    let mut buffer = vec![0; 64 << 10];
                    while left > 0 {
                        let most = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
                        let got = archive.read(&mut buffer[..most])?;
                        file.write_all_at(&buffer[..got], at)
                            .map_err(|source| UnpackError::Write { path: path.to_string(), source })?;
                        (at, left) = (at + got as u64, left - got as u64);
                    }
                }
            }
        }
        self.record.bytes += entry.size;
        self.finish(&OwnedFd::from(file), path, entry)
    }

    /// What a hard link leads to: something that is in this layer already, looked up like everything else.
    fn link_target(
        &mut self,
        path: &EntryPath,
        entry: &Entry,
    ) -> Result<(std::sync::Arc<OwnedFd>, EntryPath), UnpackError> {
        let fail = |why| UnpackError::Link { path: path.to_string(), target: shown(&entry.link), why };
        let target =
            EntryPath::parse(&entry.link).map_err(|_| fail("that is not a path within the layer"))?;
        let (dir, name) = target.split().ok_or_else(|| fail("that is the root"))?;
        let dir = self.tree.existing(&dir).map_err(|_| fail("its directory is not in this layer"))?;
        match found(&dir, name) {
            Found::File | Found::Symlink => Ok((dir, target)),
            Found::Nothing | Found::Whiteout => Err(fail("that is not in this layer")),
            Found::Directory | Found::Other => Err(fail("that is not a file")),
        }
    }

    fn hard_link(
        &self,
        dir: &OwnedFd,
        target: &EntryPath,
        parent: &OwnedFd,
        path: &EntryPath,
    ) -> Result<(), UnpackError> {
        let (Some((_, from)), Some((_, to))) = (target.split(), path.split()) else { return Ok(()) };
        // Without AT_SYMLINK_FOLLOW a link to a symbolic link is another name of the link itself.
        linkat(dir, from, parent, to, AtFlags::empty()).map_err(|e| write(path, e))
    }

    /// Links and pipes: they have no content, and nothing is kept open.
    fn special(&mut self, parent: &OwnedFd, path: &EntryPath, entry: &Entry) -> Result<(), UnpackError> {
        let Some((_, name)) = path.split() else { return Ok(()) };
        let failed = |e| write(path, e);
        if entry.kind == Kind::Symlink {
            if entry.link.is_empty() || entry.link.len() > LINK_MAX || entry.link.contains(&0) {
                return Err(odd(path, "a symbolic link cannot lead there"));
            }
            symlinkat(entry.link.as_slice(), parent, name).map_err(failed)?;
        } else {
            let mode = Mode::from_raw_mode(entry.mode & 0o777);
            mknodat(parent, name, FileType::Fifo, mode, 0).map_err(failed)?;
        }
        self.record.attributes_skipped += entry.attributes.len() as u64;
        if self.abilities.ownership {
            chownat(parent, name, uid(entry), gid(entry), AtFlags::SYMLINK_NOFOLLOW).map_err(failed)?;
        }
        utimensat(parent, name, &times(entry), AtFlags::SYMLINK_NOFOLLOW).map_err(failed)
    }

    /// Owner, mode, attributes and time, in this order: a change of the owner takes bits and capabilities away.
    fn finish(&mut self, fd: &OwnedFd, path: &EntryPath, entry: &Entry) -> Result<(), UnpackError> {
        let failed = |e| write(path, e);
        if self.abilities.ownership {
            rustix::fs::fchown(fd, uid(entry), gid(entry)).map_err(failed)?;
        }
        let mut mode = entry.mode & 0o7777;
        // On a directory set-group-id only says which group new files get.
        let setuid = mode & SETUID_BITS != 0 && entry.kind == Kind::File;
        if setuid && !self.policy.keep_setuid {
            self.record.setuid_cleared += 1;
        }
        if !self.policy.keep_setuid {
            mode &= !SETUID_BITS;
        }
        fchmod(fd, Mode::from_raw_mode(mode)).map_err(failed)?;
        for (name, value) in &entry.attributes {
            self.attribute(fd, name, value);
        }
        futimens(fd, &times(entry)).map_err(failed)
    }

    /// Of extended attributes those of users are kept, but never what overlayfs itself would believe.
    fn attribute(&mut self, fd: &OwnedFd, name: &[u8], value: &[u8]) {
        let capability = name == b"security.capability";
        let user = name.starts_with(b"user.") && !name.starts_with(b"user.overlay.");
        let wanted = user || capability && self.policy.keep_setuid;
        if wanted && fsetxattr(fd, name, value, XattrFlags::empty()).is_ok() {
            return;
        }
        match capability {
            true => self.record.capabilities_cleared += 1,
            false => self.record.attributes_skipped += 1,
        }
    }

    /// When everything is in them, directories get what the archive says of them: the innermost first.
    fn close_directories(&mut self) -> Result<(), UnpackError> {
        let directories = std::mem::take(&mut self.tree.directories);
        for (path, Directory { entry, opaque }) in directories.iter().rev() {
            let fd = self.tree.open_directory(path)?;
            if *opaque {
                let name = match self.abilities.marks() {
                    Whiteouts::Trusted => "trusted.overlay.opaque",
                    Whiteouts::User => "user.overlay.opaque",
                };
                fsetxattr(&fd, name, b"y", XattrFlags::empty())
                    .map_err(|e| UnpackError::Marks { name, source: e.into() })?;
            }
            match entry {
                Some(entry) => self.finish(&fd, path, entry)?,
                None => fchmod(&fd, Mode::from_raw_mode(0o755)).map_err(|e| write(path, e))?,
            }
        }
        Ok(())
    }
}

/// Copies what is left of an entry.
fn copy(
    archive: &mut Reader<impl Read>,
    path: &EntryPath,
    mut to: impl FnMut(&[u8]) -> std::io::Result<()>,
) -> Result<(), UnpackError> {
    let mut buffer = vec![0; 64 << 10];
    loop {
        match archive.read(&mut buffer)? {
            0 => return Ok(()),
            got => {
                to(&buffer[..got]).map_err(|source| UnpackError::Write { path: path.to_string(), source })?
            }
        }
    }
}

fn odd(path: &EntryPath, why: &'static str) -> UnpackError {
    UnpackError::Path { path: path.to_string(), why }
}

fn uid(entry: &Entry) -> Option<Uid> {
    Some(Uid::from_raw(entry.uid))
}

fn gid(entry: &Entry) -> Option<Gid> {
    Some(Gid::from_raw(entry.gid))
}

fn times(entry: &Entry) -> Timestamps {
    let (tv_sec, nanos) = entry.mtime;
    let time = Timespec { tv_sec, tv_nsec: nanos.into() };
    Timestamps { last_access: time, last_modification: time }
}
