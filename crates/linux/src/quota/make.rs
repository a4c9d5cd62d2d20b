//! Making, sizing and filling the file system of an image, with the programs of e2fsprogs.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::{AtFlags, unlinkat};
use rustix::io::Errno;

use super::ext4::{Label, Superblock};
use super::tools;

const MIB: u64 = 1 << 20;
/// Bytes of a block of every image.
const BLOCK: u64 = 4096;
/// What e2fsprogs puts into a new file system, in bytes; it is removed with the first mount.
const LOST_AND_FOUND: u64 = 4 * BLOCK;

/// Size of the journal for a limit, in MiB.
fn journal(limit: u64) -> u64 {
    match limit / MIB {
        0..1024 => 4,
        1024..16_384 => 16,
        _ => 64,
    }
}

/// Size of the file for a limit, in bytes: beside the data, inode tables (1 in 64), what the kernel keeps
/// back (1 in 50), bitmaps, room to grow, and the journal.
fn size(limit: u64) -> u64 {
    (limit + limit / 16 + (journal(limit) + 4) * MIB).next_multiple_of(MIB)
}

pub(super) fn format(file: &Path, limit: u64) -> io::Result<()> {
    let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(file)?;
    made.set_len(size(limit))?;
    let journal = format!("size={}", journal(limit));
    let path = file.to_string_lossy();
    let extended = "lazy_itable_init=1,lazy_journal_init=1,nodiscard";
    let block = BLOCK.to_string();
    let sizes = ["-q", "-F", "-b", &block, "-i", "16384", "-m", "0", "-J", &journal];
    let rest = ["-e", "remount-ro", "-E", extended, &path];
    tools::run("mkfs.ext4", &[&sizes[..], &rest[..]].concat(), |code| code == 0)?;
    seal(file, limit, LOST_AND_FOUND)
}

/// Takes away what e2fsprogs puts into every file system, unless something lies in it.
pub(super) fn clean(mount: &OwnedFd) -> io::Result<()> {
    match unlinkat(mount, "lost+found", AtFlags::REMOVEDIR) {
        Ok(()) | Err(Errno::NOENT | Errno::NOTEMPTY) => Ok(()),
        Err(e) => Err(e.into()),
    }
}

/// Copies everything with owners, modes, times, links and attributes.
pub(super) fn copy(from: &Path, root: &File) -> io::Result<()> {
    let mut source = from.as_os_str().to_string_lossy().into_owned();
    source.push_str("/.");
    let target = format!("/proc/{}/fd/{}/", std::process::id(), root.as_raw_fd());
    tools::run("cp", &["-a", "--sparse=always", "--", &source, &target], |code| code == 0)
}

/// Sets the limit of an image that holds so much, and reserves what is beyond it; in one write.
pub(super) fn seal(image: &Path, limit: u64, used: u64) -> io::Result<()> {
    let now = Superblock::read(image)?;
    let free = Superblock { reserved: 0, ..now }.available();
    let reserve = free.saturating_sub(limit.saturating_sub(used)) / now.block;
    tune(image, &["-r", &reserve.to_string(), "-L", &Label::Limit(limit).text()])
}

pub(super) fn tune(image: &Path, what: &[&str]) -> io::Result<()> {
    let path = image.to_string_lossy();
    tools::run("tune2fs", &[what, &[&path]].concat(), |code| code == 0)?;
    File::open(image)?.sync_all()
}

/// Grows or shrinks the file system and its file.
pub(super) fn resize(image: &Path, limit: u64) -> io::Result<()> {
    let path = image.to_string_lossy();
    // 1 is: mistakes were found and corrected.
    tools::run("e2fsck", &["-f", "-p", &path], |code| code <= 1)?;
    let (size, file) = (size(limit), OpenOptions::new().write(true).open(image)?);
    if file.metadata()?.len() < size {
        file.set_len(size)?;
    }
    tools::run("resize2fs", &[&path, &format!("{}K", size / 1024)], |code| code == 0)?;
    let made = Superblock::read(image)?;
    file.set_len(made.blocks * made.block)
}
