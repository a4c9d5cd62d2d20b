//! The bottom of a view: layers for an agent to put together, as the launch asks.
//!
//! ```text
//! privileged   each layer is opened here, showing the ids of the instance, and passed to the agent
//! ordinary     the agent opens the paths itself: it can reach what this user can
//! ```
//! Either way it is the agent that makes the overlay, in its own namespaces: nothing is mounted on the host, and
//! nothing is left there when the agent ends.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use insula_frames::{RootPlan, Tree, ViewOp};
use insula_linux::overlay;
use insula_spec::{Launch, RootSource};

use super::Shared;
use super::user::{self, User};
use super::view::CannotShow;

/// Most bytes of changes to a root that is fresh at each launch. They are in memory, and counted there.
const CHANGES: u64 = 1 << 30;

/// Files of the kernel that tell about the host, or act on it: covered, as other container systems do.
const MASKED: [&str; 11] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/kallsyms",
];

/// Files of the kernel that may be read only.
const READ_ONLY: [&str; 5] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// What a launch stands on: its layers, and what they say about how it runs.
#[derive(Debug, Default)]
pub(crate) struct Ground {
    /// From the bottom to the top; none where it is the host's own system that is shown.
    pub(crate) layers: Vec<PathBuf>,
    /// Whose ids the program takes, where that is not [`insula_spec::IdRange::WORKLOAD`].
    pub(crate) user: Option<User>,
    /// The directory in which it starts.
    pub(crate) cwd: String,
    /// The signal that asks it to end, where that is not SIGTERM.
    pub(crate) stop_signal: Option<i32>,
}

/// Finds what a launch stands on.
pub(crate) fn ground(shared: &Shared, launch: &Launch) -> Result<Ground, CannotShow> {
    let layers = match &launch.root.source {
        RootSource::Host => Vec::new(),
        RootSource::Directory(dir) => vec![directory(dir, &shared.hidden)?],
        RootSource::Image(name) => {
            let source = io::Error::other("this version has no images");
            return Err(CannotShow { path: name.into(), source });
        }
    };
    let find = |asked: &String| {
        let found = user::find(asked, &layers);
        found.map_err(|source| CannotShow { path: format!("user {asked}").into(), source })
    };
    let user = launch.root.user.as_ref().map(find).transpose()?;
    let cwd =
        if launch.root.show_workdir { launch.workdir.to_string_lossy().into_owned() } else { "/".to_owned() };
    Ok(Ground { layers, user, cwd, stop_signal: None })
}

/// What lies at the bottom, and the mounts to pass for it, in order.
pub(crate) fn bottom(
    shared: &Shared,
    ground: &Ground,
    agent: i32,
) -> Result<(RootPlan, Vec<OwnedFd>), CannotShow> {
    if ground.layers.is_empty() {
        return Ok((RootPlan::Memory, Vec::new()));
    }
    let mut fds = Vec::new();
    let ids = if shared.privileged() { Some(ids_of(agent)?) } else { None };
    let mut lowers = Vec::with_capacity(ground.layers.len());
    for layer in &ground.layers {
        lowers.push(match &ids {
            Some(ids) => {
                let tree = overlay::mapped_tree(layer, ids.as_fd());
                fds.push(tree.map_err(|e| CannotShow { source: explained(e), path: layer.clone() })?);
                Tree::Passed
            }
            None => Tree::Path(layer.to_string_lossy().into_owned()),
        });
    }
    Ok((RootPlan::Layers { lowers, changes: None, size: CHANGES }, fds))
}

/// The user namespace of the agent, which has the ids of the instance.
fn ids_of(agent: i32) -> Result<File, CannotShow> {
    let path = format!("/proc/{agent}/ns/user");
    File::open(&path).map_err(|source| CannotShow { path: path.into(), source })
}

fn explained(error: io::Error) -> io::Error {
    if error.raw_os_error() == Some(libc::EINVAL) {
        let text = "its file system cannot show the ids of an instance; move it to ext4, xfs or btrfs";
        return io::Error::new(io::ErrorKind::Unsupported, text);
    }
    error
}

/// A directory of the host, unless it holds what no workload may see.
fn directory(dir: &Path, hidden: &[PathBuf]) -> Result<PathBuf, CannotShow> {
    let cannot = |source| CannotShow { path: dir.to_owned(), source };
    let real = fs::canonicalize(dir).map_err(cannot)?;
    if !real.is_dir() {
        return Err(cannot(io::ErrorKind::NotADirectory.into()));
    }
    let held = hidden.iter().map(|path| fs::canonicalize(path).unwrap_or_else(|_| path.clone()));
    match held.into_iter().find(|path| path.starts_with(&real)) {
        Some(path) => {
            let text = format!("it holds `{}`, which no workload may see", path.display());
            Err(cannot(io::Error::new(io::ErrorKind::PermissionDenied, text)))
        }
        None => Ok(real),
    }
}

/// Covers for what of the kernel is not for a container.
pub(crate) fn covered() -> impl Iterator<Item = ViewOp> {
    let mask = |path: &str| ViewOp::Mask { target: path.to_owned() };
    let read_only = |path: &str| ViewOp::ReadOnly { target: path.to_owned() };
    MASKED.into_iter().map(mask).chain(READ_ONLY.into_iter().map(read_only))
}
