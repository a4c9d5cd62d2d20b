//! Layers, and changes on top of them: overlayfs (`Documentation/filesystems/overlayfs.rst`), and mounts that
//! show other ids than are stored (mount_setattr(2), `MOUNT_ATTR_IDMAP`; Linux 5.12, under an overlay 5.19).

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::CWD;
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, OpenTreeFlags, fsconfig_create, fsconfig_set_flag,
    fsconfig_set_string, fsmount, fsopen, open_tree,
};

/// Longest value of an option (`fs/fsopen.c`), without the zero at its end.
const OPTION: usize = 255;

/// A detached mount of the directory at `path`, without what is mounted below it, in which the ids of files
/// are those that the user namespace `ids` gives them: what belongs to 0 belongs to its first id.
///
/// # Errors
/// Those of open_tree(2) and mount_setattr(2): `EINVAL` where the file system cannot show other ids.
pub fn mapped_tree(path: &Path, ids: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let tree = open_tree(CWD, path, flags)?;
    let namespace = u64::try_from(ids.as_raw_fd()).map_err(io::Error::other)?;
    let set =
        libc::MOUNT_ATTR_IDMAP | libc::MOUNT_ATTR_RDONLY | libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV;
    let attr =
        libc::mount_attr { attr_set: set, attr_clr: 0, propagation: libc::MS_PRIVATE, userns_fd: namespace };
    // SAFETY: the path is a NUL-terminated empty string, `attr` lives over the call, and the size told is its
    // own. Both descriptors are open.
    let done = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            tree.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH,
            &raw const attr,
            size_of::<libc::mount_attr>(),
        )
    };
    if done == 0 { Ok(tree) } else { Err(io::Error::last_os_error()) }
}

/// Shows the files of a detached mount, and of what is mounted below it, under other ids: what belongs to an id inside
/// the user namespace `ids` belongs to what that id is outside.
///
/// # Errors
/// Those of mount_setattr(2): `EINVAL` where a file system cannot show other ids, or does already.
pub fn map_ids(tree: BorrowedFd<'_>, ids: BorrowedFd<'_>) -> io::Result<()> {
    let userns_fd = u64::try_from(ids.as_raw_fd()).map_err(io::Error::other)?;
    let attr = libc::mount_attr { attr_set: libc::MOUNT_ATTR_IDMAP, attr_clr: 0, propagation: 0, userns_fd };
    // SAFETY: the path is a NUL-terminated empty string, `attr` lives over the call, and the size told is its own.
    // Both descriptors are open.
    let done = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            tree.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH | libc::AT_RECURSIVE,
            &raw const attr,
            size_of::<libc::mount_attr>(),
        )
    };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Where an overlay keeps its changes.
#[derive(Debug, Clone, Copy)]
pub struct Changes<'a> {
    /// What was changed.
    pub upper: &'a str,
    /// An empty directory on the same file system.
    pub work: &'a str,
}

/// A detached overlay of these directories, the topmost first, made by a process that is root of its user
/// namespace only.
///
/// # Errors
/// Those of fsopen(2), fsconfig(2) and fsmount(2).
pub fn overlay(lowers: &[String], changes: Changes<'_>) -> io::Result<OwnedFd> {
    let context = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
    add_lowers(context.as_fd(), lowers)?;
    fsconfig_set_string(context.as_fd(), "upperdir", changes.upper)?;
    fsconfig_set_string(context.as_fd(), "workdir", changes.work)?;
    // Its notes on files are attributes that a user may set, not those of the host's root.
    fsconfig_set_flag(context.as_fd(), "userxattr")?;
    fsconfig_create(context.as_fd())?;
    let flags = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV;
    Ok(fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, flags)?)
}

/// In one option where they fit, which every kernel reads; else one by one (Linux 6.5).
fn add_lowers(context: BorrowedFd<'_>, lowers: &[String]) -> io::Result<()> {
    let joined = lowers.join(":");
    if joined.len() <= OPTION {
        return Ok(fsconfig_set_string(context, "lowerdir", joined)?);
    }
    for lower in lowers {
        match fsconfig_set_string(context, "lowerdir+", lower.as_str()) {
            Err(Errno::INVAL) => {
                return Err(io::Error::new(
                    io::ErrorKind::Unsupported,
                    format!("{} layers at once need Linux 6.5", lowers.len()),
                ));
            }
            other => other?,
        }
    }
    Ok(())
}
