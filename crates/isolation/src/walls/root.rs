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
use std::path::{Component, Path, PathBuf};

use insula_frames::{RootPlan, Tree, ViewOp};
use insula_images::ImageConfig;
use insula_linux::overlay;
use insula_spec::{ImageSource, Launch, RootSource, Secret};

use super::user::{self, User};
use super::view::CannotShow;
use super::{Shared, changes};

/// Most bytes of changes to a root that is fresh at each launch. They are in memory, and counted there.
const CHANGES: u64 = 1 << 30;

/// Files of the kernel that tell about the host, or act on it: covered, as other container systems do.
pub(crate) const MASKED: [&str; 11] = [
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

/// Signals by which images ask to be ended.
const SIGNALS: [(&str, i32); 8] = [
    ("HUP", libc::SIGHUP),
    ("INT", libc::SIGINT),
    ("QUIT", libc::SIGQUIT),
    ("KILL", libc::SIGKILL),
    ("USR1", libc::SIGUSR1),
    ("USR2", libc::SIGUSR2),
    ("TERM", libc::SIGTERM),
    ("WINCH", libc::SIGWINCH),
];

/// Files of the kernel that may be read only.
pub(crate) const READ_ONLY: [&str; 5] =
    ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

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
    /// Program and arguments.
    pub(crate) argv: Vec<String>,
    /// The whole environment.
    pub(crate) env: Vec<(String, Secret)>,
    /// Where changes to the layers stay; `None` ends them with the run.
    pub(crate) changes: Option<PathBuf>,
    /// Directories that an image wants to be kept, each with a place in the instance's own.
    pub(crate) volumes: Vec<Volume>,
}

/// A directory that an image wants to be kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Volume {
    /// On the host.
    pub(crate) source: PathBuf,
    /// Inside.
    pub(crate) target: PathBuf,
}

/// Finds what a launch stands on. An image is kept from collection as long as the walls with this key are there.
pub(crate) fn ground(shared: &Shared, launch: &Launch, key: &str) -> Result<Ground, CannotShow> {
    let (layers, asks) = match &launch.root.source {
        RootSource::Host => (Vec::new(), ImageConfig::default()),
        RootSource::Directory(dir) => (vec![directory(dir, &shared.hidden)?], ImageConfig::default()),
        RootSource::Image(source) => image(shared, source, key)?,
    };
    let of_image = matches!(launch.root.source, RootSource::Image(_));
    let find = |asked: &String| {
        let found = user::find(asked, &layers);
        found.map_err(|source| CannotShow { path: format!("user {asked}").into(), source })
    };
    // An image that names nobody is for root, who is nobody on the host and has no capability.
    let asked = Some(if asks.user.is_empty() { "0:0".to_owned() } else { asks.user.clone() });
    let asked = launch.root.user.clone().or(asked.filter(|_| of_image));
    let user = asked.as_ref().map(find).transpose()?;
    let cwd = match launch.root.show_workdir {
        true => launch.workdir.to_string_lossy().into_owned(),
        false if asks.workdir.is_empty() => "/".to_owned(),
        false => asks.workdir.clone(),
    };
    let stop_signal = asks.stop_signal.as_deref().map(signal).transpose()?;
    let volumes = volumes(launch, &asks)?;
    let changes = changes::of(launch, &layers);
    let (argv, env) = (argv(launch, &asks), env(launch, &asks));
    Ok(Ground { layers, user, cwd, stop_signal, argv, env, changes, volumes })
}

/// The layers of an image, and how it wants to be run.
fn image(
    shared: &Shared,
    source: &ImageSource,
    key: &str,
) -> Result<(Vec<PathBuf>, ImageConfig), CannotShow> {
    let cannot = |why: io::Error| CannotShow { path: source.to_string().into(), source: why };
    let images =
        shared.images.as_ref().ok_or_else(|| cannot(io::Error::other("there are no images here")))?;
    let image = images.provide_for(source, key).map_err(|e| cannot(io::Error::other(e)))?;
    Ok((image.layers.into_iter().map(|layer| layer.path).collect(), image.config))
}

/// The entry point of the image, and behind it what the service says, or else what the image does.
fn argv(launch: &Launch, asks: &ImageConfig) -> Vec<String> {
    let rest = if launch.argv.is_empty() { &asks.cmd } else { &launch.argv };
    launch.runner.iter().chain(&asks.entrypoint).chain(rest).cloned().collect()
}

/// What the service says goes before what the image says.
fn env(launch: &Launch, asks: &ImageConfig) -> Vec<(String, Secret)> {
    let mut env = launch.env.clone();
    let given = asks.env.iter().filter_map(|pair| pair.split_once('='));
    let path = [("PATH", insula_spec::config::PATH)];
    for (name, value) in given.chain(path) {
        if !env.iter().any(|(other, _)| other == name) {
            env.push((name.to_owned(), value.into()));
        }
    }
    env
}

/// A signal by its name or number.
fn signal(text: &str) -> Result<i32, CannotShow> {
    let name = text.strip_prefix("SIG").unwrap_or(text);
    let known = SIGNALS.iter().find(|(known, _)| *known == name).map(|(_, number)| *number);
    known.or_else(|| text.parse().ok().filter(|number| (1..=64).contains(number))).ok_or_else(|| {
        let source = io::Error::new(io::ErrorKind::InvalidInput, "no signal has this name or number");
        CannotShow { path: format!("stop signal {text}").into(), source }
    })
}

/// Directories of the instance's own for what the image wants to be kept: `volumes/var%lib%x` for `/var/lib/x`.
fn volumes(launch: &Launch, asks: &ImageConfig) -> Result<Vec<Volume>, CannotShow> {
    let volume = |text: &String| {
        let target = PathBuf::from(text);
        let plain = target.components().all(|part| matches!(part, Component::RootDir | Component::Normal(_)));
        if !target.is_absolute() || !plain || target == Path::new("/") {
            let source =
                io::Error::new(io::ErrorKind::InvalidInput, "it is not an absolute path below the root");
            return Err(CannotShow { path: format!("volume {text}").into(), source });
        }
        let name = text.trim_matches('/').replace('%', "%25").replace('/', "%");
        Ok(Volume { source: launch.data_dir.join("volumes").join(name), target })
    };
    asks.volumes.iter().map(volume).collect()
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
    let changes = ground.changes.as_ref().map(|dir| changes::pass(shared, dir, &mut fds)).transpose()?;
    Ok((RootPlan::Layers { lowers, changes, size: CHANGES }, fds))
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
