//! Mounts, by the file-descriptor based interface of Linux 5.2 and later.
//!
//! A *detached* mount belongs to no tree yet. A process with rights over a path can make one and pass it to
//! a process inside a wall, which attaches it without ever seeing the path it came from.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountPropagationFlags, MoveMountFlags, OpenTreeFlags,
    UnmountFlags, fsconfig_create, fsconfig_set_string, fsmount, fsopen, mount_change, move_mount, open_tree,
    unmount,
};

/// What a mount refuses beyond its file system's own rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attributes {
    /// Refuse writes.
    pub read_only: bool,
    /// Ignore set-user-id bits and file capabilities.
    pub no_suid: bool,
    /// Refuse device files.
    pub no_dev: bool,
}

impl Attributes {
    /// Nothing of the host's power: no set-user-id, no devices; read-only if asked.
    #[must_use]
    pub const fn safe(read_only: bool) -> Self {
        Self { read_only, no_suid: true, no_dev: true }
    }

    fn bits(self) -> u64 {
        let bit = |on: bool, bit: u64| if on { bit } else { 0 };
        bit(self.read_only, libc::MOUNT_ATTR_RDONLY)
            | bit(self.no_suid, libc::MOUNT_ATTR_NOSUID)
            | bit(self.no_dev, libc::MOUNT_ATTR_NODEV)
    }
}

/// Clones the tree at `path` (with everything mounted below it) into a detached mount with these attributes.
///
/// # Errors
/// Those of open_tree(2) and mount_setattr(2). Needs `CAP_SYS_ADMIN` over the caller's mount namespace.
pub fn clone_tree(path: &Path, attributes: Attributes) -> io::Result<OwnedFd> {
    let flags =
        OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_RECURSIVE;
    let tree = open_tree(CWD, path, flags)?;
    set_attributes(tree.as_fd(), attributes, Reach::Tree)?;
    Ok(tree)
}

/// Clones the mount at `path` alone into a detached mount with these attributes: what is mounted below it is
/// not in it.
///
/// # Errors
/// Those of open_tree(2) and mount_setattr(2). Needs `CAP_SYS_ADMIN` over the caller's mount namespace.
pub fn clone_top(path: &Path, attributes: Attributes) -> io::Result<OwnedFd> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let tree = open_tree(CWD, path, flags)?;
    set_attributes(tree.as_fd(), attributes, Reach::Top)?;
    Ok(tree)
}

/// How much of a tree an operation is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// The topmost mount alone.
    Top,
    /// Everything mounted below it too.
    Tree,
}

/// Sets attributes on mounts; attributes that are not named stay as they are.
///
/// # Errors
/// Those of mount_setattr(2).
pub fn set_attributes(tree: BorrowedFd<'_>, attributes: Attributes, reach: Reach) -> io::Result<()> {
    let attr = libc::mount_attr {
        attr_set: attributes.bits(),
        attr_clr: 0,
        propagation: libc::MS_PRIVATE,
        userns_fd: 0,
    };
    let flags = libc::AT_EMPTY_PATH | if reach == Reach::Tree { libc::AT_RECURSIVE } else { 0 };
    // SAFETY: the path is a NUL-terminated empty string, `attr` lives over the call, and the size told is
    // its own.
    let done = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            tree.as_raw_fd(),
            c"".as_ptr(),
            flags,
            &raw const attr,
            size_of::<libc::mount_attr>(),
        )
    };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// A new file system of this type, detached, with these options and attributes.
///
/// # Errors
/// Those of fsopen(2), fsconfig(2) and fsmount(2).
pub fn new_filesystem(kind: &str, options: &[(&str, &str)], attributes: Attributes) -> io::Result<OwnedFd> {
    let context = fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC)?;
    for (key, value) in options {
        fsconfig_set_string(context.as_fd(), *key, *value)?;
    }
    fsconfig_create(context.as_fd())?;
    let mut flags = MountAttrFlags::empty();
    flags.set(MountAttrFlags::MOUNT_ATTR_RDONLY, attributes.read_only);
    flags.set(MountAttrFlags::MOUNT_ATTR_NOSUID, attributes.no_suid);
    flags.set(MountAttrFlags::MOUNT_ATTR_NODEV, attributes.no_dev);
    Ok(fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, flags)?)
}

/// Attaches a detached mount at a path.
///
/// # Errors
/// Those of move_mount(2).
pub fn attach(tree: BorrowedFd<'_>, target: &Path) -> io::Result<()> {
    Ok(move_mount(tree, "", CWD, target, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)?)
}

/// Cuts this mount namespace off: nothing mounted here is seen elsewhere, nor the other way round.
///
/// # Errors
/// Those of mount(2).
pub fn make_private() -> io::Result<()> {
    Ok(mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)?)
}

/// Makes `new_root` the root of this mount namespace, and of every process in it. The old one is out of sight
/// for paths that begin at the root, and goes with [`leave_old_root`].
///
/// # Errors
/// Those of pivot_root(2); `new_root` must be a mount.
pub fn enter_root(new_root: &Path) -> io::Result<()> {
    rustix::process::chdir(new_root)?;
    // Both names are the same directory, so the old root ends up stacked on the new one and can be detached
    // without a place of its own (pivot_root(2), "pivot_root(".", ".")").
    Ok(rustix::process::pivot_root(".", ".")?)
}

/// The same with the old root at a directory of the new one, which is made: paths in it can be used until
/// [`detach`].
///
/// # Errors
/// Those of mkdir(2) and pivot_root(2).
pub fn enter_root_beside(new_root: &Path, old: &Path) -> io::Result<()> {
    let place = new_root.join(old.strip_prefix("/").unwrap_or(old));
    std::fs::create_dir(&place)?;
    rustix::process::pivot_root(new_root, &place)?;
    Ok(rustix::process::chdir("/")?)
}

/// Lets go of the mount at a path, and of everything below it.
///
/// # Errors
/// Those of umount2(2).
pub fn detach(path: &Path) -> io::Result<()> {
    Ok(unmount(path, UnmountFlags::DETACH)?)
}

/// What is mounted below the mount at a path from now on shows in copies of it, too (mount_namespaces(7)).
///
/// # Errors
/// Those of mount(2).
pub fn share(path: &Path) -> io::Result<()> {
    Ok(mount_change(path, MountPropagationFlags::SHARED)?)
}

/// Does something with another directory as the root of paths, and comes back.
///
/// # Errors
/// Those of chroot(2) and fchdir(2). When coming back fails the process is elsewhere, and is to end.
pub fn within<T>(root: &Path, work: impl FnOnce() -> T) -> io::Result<T> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let home = rustix::fs::open("/", flags, Mode::empty())?;
    rustix::process::chroot(root)?;
    rustix::process::chdir("/")?;
    let done = work();
    rustix::process::fchdir(&home)?;
    rustix::process::chroot(".")?;
    Ok(done)
}

/// Lets the old root go, right after [`enter_root`]. The kernel waits here until nobody can be looking at it,
/// which takes tenths of a millisecond, and more on a busy machine.
///
/// # Errors
/// Those of umount2(2).
pub fn leave_old_root() -> io::Result<()> {
    unmount(".", UnmountFlags::DETACH)?;
    Ok(rustix::process::chdir("/")?)
}
