//! The root file system of the guest: it lies ready, and gets what only the guest's own kernel can mount.

use std::fs;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use insula_frames::{ViewOp, ViewPlan};
use insula_linux::mount;
use rustix::fs::{FileType, Mode, OFlags};
use rustix::mount::{MountFlags, mount_bind_recursive, mount_remount};

use crate::view::{self, Failure, directory, placeholder, target_of};

/// It, once it is furnished.
pub(crate) struct Room {
    root: &'static str,
    furnished: bool,
    /// Writable places that the next run must find empty.
    scratch: Vec<PathBuf>,
}

/// What was bound. Closing it can wait until the workload is on its way.
pub(crate) type Sources = Vec<Option<OwnedFd>>;

fn on(what: &str) -> impl FnOnce(io::Error) -> Failure + use<> {
    let on = what.to_owned();
    move |error| Failure { error, on }
}

impl Room {
    /// It, below this directory.
    pub(crate) fn at(root: &'static str) -> Self {
        Self { root, furnished: false, scratch: Vec::new() }
    }

    /// Mounts everything, or empties what an earlier run has left. Every target is followed inside the root alone.
    pub(crate) fn furnish(&mut self, from: &str, plan: &ViewPlan) -> Result<Sources, Failure> {
        let root = Path::new(self.root);
        if self.furnished {
            let emptied = mount::within(root, || view::empty(&self.scratch));
            return emptied.and_then(|done| done).map(|()| Sources::new()).map_err(on("empty scratch"));
        }
        rustix::system::sethostname(plan.hostname.as_bytes()).map_err(|e| on("host name")(e.into()))?;
        // A mount of its own, so that it can refuse writes.
        mount_bind_recursive(from, root).map_err(|e| on(from)(e.into()))?;
        let sources = plan.ops.iter().map(open_source).collect::<Result<Sources, _>>()?;
        let done = mount::within(root, || {
            for (op, source) in plan.ops.iter().zip(&sources) {
                apply(op, source.as_ref()).map_err(on(target_of(op)))?;
                if let ViewOp::Tmpfs { target, mode: 0o1777, .. } = op {
                    self.scratch.push(PathBuf::from(target));
                }
            }
            match plan.read_only {
                true => remount_read_only("/").map_err(on("read-only root")),
                false => Ok(()),
            }
        });
        done.map_err(on(self.root))??;
        self.furnished = true;
        Ok(sources)
    }
}

/// What is bound comes from outside the root.
fn open_source(op: &ViewOp) -> Result<Option<OwnedFd>, Failure> {
    let ViewOp::Bind { source, .. } = op else { return Ok(None) };
    let opened = rustix::fs::open(source.as_str(), OFlags::PATH | OFlags::CLOEXEC, Mode::empty());
    opened.map(Some).map_err(|e| on(source)(e.into()))
}

fn apply(op: &ViewOp, source: Option<&OwnedFd>) -> io::Result<()> {
    let at = Path::new(target_of(op));
    match (op, source) {
        (ViewOp::Bind { read_only, .. }, Some(source)) => {
            let from = format!("/proc/self/fd/{}", source.as_raw_fd());
            on_place(|| mount_bind_recursive(&from, at), || place_like(source, at))?;
            if *read_only { remount_read_only(at) } else { Ok(()) }
        }
        (ViewOp::Tmpfs { mode, size, .. }, _) => {
            let options = std::ffi::CString::new(format!("mode={mode:o},size={size}"))?;
            let flags = MountFlags::NOSUID | MountFlags::NODEV;
            let tmpfs = || rustix::mount::mount("tmpfs", at, "tmpfs", flags, options.as_c_str());
            on_place(tmpfs, || directory(at))
        }
        (ViewOp::Proc { .. }, _) => {
            let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
            on_place(|| rustix::mount::mount("proc", at, "proc", flags, None), || directory(at))
        }
        (ViewOp::Dir { .. }, _) => fs::create_dir_all(at),
        _ => Err(io::ErrorKind::Unsupported.into()),
    }
}

/// Mounts; on a place that is made first where there is none. Mostly there is: it costs less outside.
fn on_place(
    mount: impl Fn() -> rustix::io::Result<()>,
    make: impl FnOnce() -> io::Result<()>,
) -> io::Result<()> {
    match mount() {
        Err(rustix::io::Errno::NOENT) => {
            make()?;
            Ok(mount()?)
        }
        done => Ok(done?),
    }
}

fn place_like(source: &OwnedFd, at: &Path) -> io::Result<()> {
    match FileType::from_raw_mode(rustix::fs::fstat(source)?.st_mode) {
        FileType::Directory => directory(at),
        _ => placeholder(at),
    }
}

fn remount_read_only(at: impl AsRef<Path>) -> io::Result<()> {
    let flags = MountFlags::BIND | MountFlags::RDONLY | MountFlags::NOSUID;
    Ok(mount_remount(at.as_ref(), flags, "")?)
}
