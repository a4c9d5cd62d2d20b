//! How control groups are laid out on this host, and where Insula may make its own.

use std::fs;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, AtFlags, CWD, accessat};

use super::{CgroupError, Hierarchies};

/// Where control groups can be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Layout {
    /// Version 1: a hierarchy for each controller.
    V1 {
        /// The mount point of each that can be written to.
        hierarchies: Hierarchies,
        /// Whether CPU time can be bounded, not only weighed.
        quota: bool,
    },
    /// Version 2: one tree.
    V2(V2),
    /// None can be made.
    None {
        /// Why not.
        why: String,
        /// What would change that.
        hint: String,
    },
}

/// The part of a version 2 tree that Insula may use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct V2 {
    /// The group under which all others are made.
    pub base: PathBuf,
    /// Whether the base is the root of the whole tree, which alone may hold both processes and groups.
    pub root: bool,
    /// Whether CPU time can be weighed and bounded.
    pub cpu: bool,
    /// Whether memory can be limited.
    pub memory: bool,
    /// Whether the number of processes can be limited.
    pub pids: bool,
}

impl V2 {
    /// The controllers that are there, in the order in which they are asked for.
    #[must_use]
    pub fn controllers(&self) -> Vec<&'static str> {
        let all = [("cpu", self.cpu), ("memory", self.memory), ("pids", self.pids)];
        all.into_iter().filter_map(|(name, there)| there.then_some(name)).collect()
    }
}

/// What must be asked of the host beyond the two texts.
pub trait Probe {
    /// Whether this process may make groups in this directory.
    fn writable(&self, dir: &Path) -> bool;
    /// The text of a file; `None` when it is not there or cannot be read.
    fn read(&self, file: &Path) -> Option<String>;
    /// Whether this pid runs this very program.
    fn ours(&self, pid: i32) -> bool;
}

/// Asks the host.
#[derive(Debug, Clone, Copy, Default)]
pub struct HostProbe;

impl Probe for HostProbe {
    fn writable(&self, dir: &Path) -> bool {
        accessat(CWD, dir, Access::WRITE_OK | Access::EXEC_OK, AtFlags::EACCESS).is_ok()
    }

    fn read(&self, file: &Path) -> Option<String> {
        fs::read_to_string(file).ok()
    }

    fn ours(&self, pid: i32) -> bool {
        let exe = |who: &str| fs::read_link(format!("/proc/{who}/exe")).ok();
        exe("self").is_some_and(|own| exe(&pid.to_string()) == Some(own))
    }
}

/// Name of the leaf into which Insula itself moves on version 2.
pub(super) const DAEMON: &str = "insula-daemon";

impl Layout {
    /// Finds the layout of this host.
    ///
    /// # Errors
    /// When `/proc` cannot be read. A host without usable control groups is [`Layout::None`].
    pub fn detect() -> Result<Self, CgroupError> {
        let read = |file: &str| fs::read_to_string(file).map_err(CgroupError::read(Path::new(file)));
        Ok(Self::from_texts(&read("/proc/self/cgroup")?, &read("/proc/self/mountinfo")?, &HostProbe))
    }

    /// The layout that these two texts describe (`/proc/self/cgroup`, `/proc/self/mountinfo`).
    ///
    /// Version 2 is taken where it has at least one of the controllers `cpu`, `memory` and `pids`; a tree
    /// without them, as on hosts that mount both versions, does not count.
    #[must_use]
    pub fn from_texts(cgroup: &str, mountinfo: &str, probe: &dyn Probe) -> Self {
        let mounts = mounts(mountinfo);
        let v2 = mounts.iter().find(|m| m.fstype == "cgroup2").and_then(|m| version_2(m, cgroup, probe));
        v2.unwrap_or_else(|| version_1(&mounts, probe))
    }

    /// `cgroup v1`, `cgroup v2`, or nothing: for reports.
    #[must_use]
    pub fn name(&self) -> Option<&'static str> {
        match self {
            Self::V1 { .. } => Some("cgroup v1"),
            Self::V2(_) => Some("cgroup v2"),
            Self::None { .. } => None,
        }
    }
}

/// One mounted hierarchy.
struct Mounted {
    /// Which group of the hierarchy is mounted.
    root: PathBuf,
    point: PathBuf,
    fstype: String,
    options: String,
}

/// The control group mounts of `/proc/self/mountinfo` (format: proc_pid_mountinfo(5)).
fn mounts(mountinfo: &str) -> Vec<Mounted> {
    let parse = |line: &str| {
        let (fixed, rest) = line.split_once(" - ")?;
        let mut fixed = fixed.split(' ').skip(3);
        let mut rest = rest.split(' ');
        let (root, point) = (unescape(fixed.next()?), unescape(fixed.next()?));
        let (fstype, options) = (rest.next()?.to_owned(), rest.nth(1)?.to_owned());
        fstype.starts_with("cgroup").then_some(Mounted { root, point, fstype, options })
    };
    mountinfo.lines().filter_map(parse).collect()
}

/// Undoes the octal escapes of a path in mountinfo.
fn unescape(path: &str) -> PathBuf {
    let plain = [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")];
    plain.iter().fold(path.to_owned(), |path, (escape, is)| path.replace(escape, is)).into()
}

fn version_1(mounts: &[Mounted], probe: &dyn Probe) -> Layout {
    let mounted = |name: &str| {
        let has = |m: &&Mounted| m.fstype == "cgroup" && m.options.split(',').any(|option| option == name);
        mounts.iter().find(has).map(|m| m.point.clone())
    };
    let all = Hierarchies::from_fn(mounted);
    let writable = |dir: &PathBuf| {
        let own = dir.join("insula");
        probe.writable(&own) || probe.writable(dir)
    };
    let hierarchies = Hierarchies::from_fn(|name| mounted(name).filter(writable));
    if hierarchies.limits_anything() {
        let has_quota = |dir: &PathBuf| probe.read(&dir.join("cpu.cfs_quota_us")).is_some();
        let quota = hierarchies.cpu.as_ref().is_some_and(has_quota);
        return Layout::V1 { hierarchies, quota };
    }
    if all.limits_anything() {
        return Layout::None {
            why: "this user may not write to the control groups of version 1".to_owned(),
            hint: "run Insula as root, or give this user a directory `insula` in each hierarchy".to_owned(),
        };
    }
    Layout::None {
        why: "no control groups are mounted".to_owned(),
        hint: "mount cgroup2 on `/sys/fs/cgroup`".to_owned(),
    }
}

/// `None` when the tree has none of the controllers.
fn version_2(mount: &Mounted, cgroup: &str, probe: &dyn Probe) -> Option<Layout> {
    let own = own_group(mount, cgroup);
    let mut why = None;
    let mut any = false;
    for base in [own.as_path(), mount.point.as_path()] {
        let text = probe.read(&base.join("cgroup.controllers")).unwrap_or_default();
        let has = |name: &str| text.split_ascii_whitespace().any(|controller| controller == name);
        let (cpu, memory, pids) = (has("cpu"), has("memory"), has("pids"));
        if !(cpu || memory || pids) {
            continue;
        }
        any = true;
        match usable(base, probe) {
            Ok(root) => return Some(Layout::V2(V2 { base: base.to_owned(), root, cpu, memory, pids })),
            // The own group tells more than the root of the tree.
            Err(reason) => why = why.or(Some(reason)),
        }
    }
    any.then(|| Layout::None {
        why: why.unwrap_or_default(),
        hint:
            "start Insula in a group of its own: as a service with `Delegate=yes`, or by `systemd-run --user \
               --scope -p Delegate=yes insula serve`"
                .to_owned(),
    })
}

/// The directory of the group that this process was started in.
fn own_group(mount: &Mounted, cgroup: &str) -> PathBuf {
    let path = cgroup.lines().find_map(|line| line.strip_prefix("0::")).unwrap_or("/");
    let below = Path::new(path).strip_prefix(&mount.root).unwrap_or(Path::new(""));
    let own = if below.as_os_str().is_empty() { mount.point.clone() } else { mount.point.join(below) };
    match own.parent() {
        Some(parent) if own.ends_with(DAEMON) => parent.to_owned(),
        _ => own,
    }
}

/// Whether groups with controllers can be made under this one. The value tells whether it is the root of
/// the tree. Any other group must hold no process but ours, which we can move.
fn usable(base: &Path, probe: &dyn Probe) -> Result<bool, String> {
    if !probe.writable(base) {
        return Err(format!("this user may not write to control group `{}`", base.display()));
    }
    // The root of the tree is the only group without this file.
    if probe.read(&base.join("cgroup.type")).is_none() {
        return Ok(true);
    }
    let members = probe.read(&base.join("cgroup.procs")).unwrap_or_default();
    let stranger = members.lines().filter_map(|pid| pid.parse::<i32>().ok()).find(|pid| !probe.ours(*pid));
    match stranger {
        Some(pid) => {
            Err(format!("control group `{}` holds other programs, such as pid {pid}", base.display()))
        }
        None => Ok(false),
    }
}
