//! Project quotas (quotactl(2), `PRJQUOTA`): every file below a directory counts for one project id, and the
//! file system refuses what is beyond the project's limit.
//!
//! What is to be done is planned purely and carried out apart, so that the plan can be checked on a host whose
//! kernel has no project quotas.

use std::ffi::CString;
use std::fmt;
use std::fs::{self, File};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};

/// `PRJQUOTA`
const PROJECT: i32 = 2;
/// `Q_GETINFO`, `Q_GETQUOTA` and `Q_SETQUOTA`
const GET_INFO: i32 = 0x80_0005;
const GET_QUOTA: i32 = 0x80_0007;
const SET_QUOTA: i32 = 0x80_0008;
/// `QIF_BLIMITS`
const BLOCK_LIMITS: u32 = 1;
/// Bytes in the unit of limits.
const UNIT: u64 = 1024;
/// `FS_XFLAG_PROJINHERIT`
const INHERIT: u32 = 0x200;
/// `FS_IOC_FSGETXATTR` and `FS_IOC_FSSETXATTR`
const GET_ATTRIBUTES: libc::Ioctl = 0x801c_581f_u32 as libc::Ioctl;
const SET_ATTRIBUTES: libc::Ioctl = 0x401c_5820_u32 as libc::Ioctl;

/// `struct if_dqblk`
#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
struct Quota {
    block_hard: u64,
    block_soft: u64,
    space: u64,
    inode_hard: u64,
    inode_soft: u64,
    inodes: u64,
    block_time: u64,
    inode_time: u64,
    valid: u32,
    _pad: u32,
}

/// `struct fsxattr`
#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
struct Attributes {
    flags: u32,
    extent_size: u32,
    extents: u32,
    project: u32,
    cow_extent_size: u32,
    _pad: [u8; 8],
}

const _: () = assert!(size_of::<Quota>() == 72 && size_of::<Attributes>() == 28);

/// One thing to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// The directory and everything in it counts for this project, and so does what is made in it.
    Assign {
        /// The directory.
        dir: PathBuf,
        /// The project.
        project: u32,
    },
    /// The project may hold so much.
    Limit {
        /// The block device of the file system.
        device: PathBuf,
        /// The project.
        project: u32,
        /// Hard limit in KiB; 0 is none.
        kib: u64,
    },
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Assign { dir, project } => {
                write!(f, "assign {} and all in it to project {project}, inherited", dir.display())
            }
            Self::Limit { device, project, kib } => {
                write!(f, "limit project {project} on {} to {kib} KiB", device.display())
            }
        }
    }
}

/// What to do for a directory with this limit in bytes. The limit comes first: an id that is assigned and not
/// limited would bound nothing.
#[must_use]
pub fn plan(device: &Path, dir: &Path, project: u32, limit: u64) -> Vec<Step> {
    let kib = limit.div_ceil(UNIT).max(1);
    vec![
        Step::Limit { device: device.to_owned(), project, kib },
        Step::Assign { dir: dir.to_owned(), project },
    ]
}

/// What to do for a directory that had a limit and has none any more. It stays assigned, and counted.
#[must_use]
pub fn lift(device: &Path, project: u32) -> Vec<Step> {
    vec![Step::Limit { device: device.to_owned(), project, kib: 0 }]
}

/// Tells whether a directory was assigned to a project of its own.
///
/// # Errors
/// Those of open(2) and of the ioctl `FS_IOC_FSGETXATTR`, where the file system has no projects.
pub fn is_in(dir: &Path, project: u32) -> io::Result<bool> {
    is_assigned(dir, project)
}

/// Carries out a plan.
///
/// # Errors
/// Those of quotactl(2) and of the ioctl `FS_IOC_FSSETXATTR`. Needs `CAP_SYS_ADMIN`.
pub fn apply(steps: &[Step]) -> io::Result<()> {
    steps.iter().try_for_each(|step| match step {
        Step::Limit { device, project, kib } => {
            let quota = Quota { block_hard: *kib, valid: BLOCK_LIMITS, ..Quota::default() };
            quotactl(SET_QUOTA, device, *project, &mut { quota })
        }
        Step::Assign { dir, project } => assign(dir, *project),
    })
}

/// What a project holds on a device, in bytes.
///
/// # Errors
/// Those of quotactl(2).
pub fn used(device: &Path, project: u32) -> io::Result<u64> {
    let mut quota = Quota::default();
    quotactl(GET_QUOTA, device, project, &mut quota)?;
    Ok(quota.space)
}

/// Whether the file system of a directory, or of what it will be made in, enforces project quotas.
pub(super) fn probe(dir: &Path) -> Result<(), String> {
    let device = device_of(dir).map_err(|e| e.to_string())?;
    // Answers with `struct if_dqinfo`, which is smaller.
    match quotactl(GET_INFO, &device, 0, &mut Quota::default()) {
        Ok(()) => Ok(()),
        Err(e) if e.raw_os_error() == Some(libc::ESRCH) => {
            Err(format!("the file system on `{}` is mounted without `prjquota`", device.display()))
        }
        Err(e) if e.raw_os_error() == Some(libc::ENOSYS) => Err("the kernel has no quotas".to_owned()),
        Err(e) => Err(format!("`{}` answers: {e}", device.display())),
    }
}

/// The block device under a path, or under its closest parent that is there.
///
/// # Errors
/// When there is none, as under a file system in memory.
pub fn device_of(path: &Path) -> io::Result<PathBuf> {
    let found = path.ancestors().find_map(|path| fs::metadata(path).ok());
    let found = found.ok_or(io::ErrorKind::NotFound)?;
    let (major, minor) = (rustix::fs::major(found.dev()), rustix::fs::minor(found.dev()));
    let name = fs::read_link(format!("/sys/dev/block/{major}:{minor}"))
        .map_err(|_| io::Error::other("its file system has no block device"))?;
    Ok(Path::new("/dev").join(name.file_name().ok_or(io::ErrorKind::NotFound)?))
}

fn quotactl(command: i32, device: &Path, id: u32, quota: &mut Quota) -> io::Result<()> {
    let device = CString::new(device.as_os_str().as_bytes())?;
    // SAFETY: the device is a NUL-terminated string, and `quota` is a whole `struct if_dqblk` (its size is
    // checked above), the largest that these commands read or write; both live over the call.
    let done = unsafe {
        libc::quotactl(
            command << 8 | PROJECT,
            device.as_ptr(),
            id.cast_signed(),
            std::ptr::from_mut(quota).cast(),
        )
    };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Only files and directories carry a project; what is made below a directory inherits it. The top comes last:
/// a top that is assigned says that everything in it is, too.
fn assign(top: &Path, project: u32) -> io::Result<()> {
    if is_assigned(top, project)? {
        return Ok(());
    }
    let mut waiting = children(top)?;
    while let Some(path) = waiting.pop() {
        let kind = fs::symlink_metadata(&path)?.file_type();
        if kind.is_dir() {
            waiting.extend(children(&path)?);
        }
        if kind.is_dir() || kind.is_file() {
            assign_one(&path, project)?;
        }
    }
    assign_one(top, project)
}

fn children(dir: &Path) -> io::Result<Vec<PathBuf>> {
    fs::read_dir(dir)?.map(|entry| entry.map(|entry| entry.path())).collect()
}

fn is_assigned(path: &Path, project: u32) -> io::Result<bool> {
    let now = attributes(&open(path)?)?;
    Ok(now.project == project && now.flags & INHERIT != 0)
}

fn assign_one(path: &Path, project: u32) -> io::Result<()> {
    let file = open(path)?;
    let inherit = if file.metadata()?.is_dir() { INHERIT } else { 0 };
    let now = attributes(&file)?;
    set_attributes(&file, &Attributes { project, flags: now.flags | inherit, ..now })
}

fn open(path: &Path) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    Ok(File::from(rustix::fs::open(path, flags, Mode::empty())?))
}

fn attributes(file: &File) -> io::Result<Attributes> {
    let mut found = Attributes::default();
    // SAFETY: `found` is a whole `struct fsxattr` (its size is checked above) and lives over the call.
    let done = unsafe { libc::ioctl(file.as_raw_fd(), GET_ATTRIBUTES, &raw mut found) };
    if done == 0 { Ok(found) } else { Err(io::Error::last_os_error()) }
}

fn set_attributes(file: &File, wanted: &Attributes) -> io::Result<()> {
    // SAFETY: `wanted` is a whole `struct fsxattr` (its size is checked above) and lives over the call.
    let done = unsafe { libc::ioctl(file.as_raw_fd(), SET_ATTRIBUTES, std::ptr::from_ref(wanted)) };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(limit: u64) -> String {
        let steps = plan(Path::new("/dev/sda1"), Path::new("/srv/data/notes/alice"), 1_001_000, limit);
        steps.iter().map(|step| format!("{step}\n")).collect()
    }

    #[test]
    fn the_limit_is_set_before_anything_counts_for_it() {
        insta::assert_snapshot!(text(64 << 20), @r"
        limit project 1001000 on /dev/sda1 to 65536 KiB
        assign /srv/data/notes/alice and all in it to project 1001000, inherited
        ");
    }

    #[test]
    fn a_limit_that_is_lifted_is_none() {
        let steps = lift(Path::new("/dev/sda1"), 1_001_000);
        let text: Vec<_> = steps.iter().map(Step::to_string).collect();
        assert_eq!(text, ["limit project 1001000 on /dev/sda1 to 0 KiB"]);
    }

    #[test]
    fn a_limit_is_never_rounded_to_none() {
        assert!(text(1).contains("to 1 KiB"), "0 KiB would be no limit: {}", text(1));
        assert!(text(1025).contains("to 2 KiB"));
    }

    #[test]
    fn a_file_system_in_memory_has_no_project_quota() {
        assert!(probe(Path::new("/proc/self")).is_err());
        assert!(device_of(Path::new("/proc/self/nowhere/at/all")).is_err());
    }
}
