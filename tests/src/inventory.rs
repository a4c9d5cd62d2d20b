//! What a home has on its host: processes, mounts, networks, interfaces, packet rules, loop devices, control groups,
//! sockets, run directories.
//!
//! What belongs to a network is looked for in that of the calling thread.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::fs::{FlockOperation, flock};
use rustix::process::Signal;

use crate::{PATIENCE, Place, Process, exited_within, is_root};

/// Names of interfaces of routed networks begin with it.
const INTERFACES: &str = "insula";
/// What those who change the packet rules of the host take in turns.
const TURN: &str = "/proc/sys/net/ipv4/ip_forward";

/// Everything that carries the name of one [`Place`], whoever owns it now.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Inventory {
    /// Live processes.
    pub processes: Vec<Process>,
    /// Mounts that the host sees.
    pub mounts: Vec<String>,
    /// Network namespaces of those processes other than the host's, as inode names.
    pub networks: BTreeSet<String>,
    /// Interfaces of this home in the network of the calling thread.
    pub interfaces: BTreeSet<String>,
    /// The table of packet rules in that network, if no interface of any home needs it.
    pub tables: BTreeSet<String>,
    /// Loop devices over files of the place, each with its file.
    pub loops: BTreeSet<String>,
    /// Control group directories.
    pub cgroups: BTreeSet<PathBuf>,
    /// Unix sockets: files below the home, and bound ones whose name carries the mark.
    pub sockets: BTreeSet<PathBuf>,
    /// Entries of the run directory that are directories: one per set of walls.
    pub run_dirs: BTreeSet<PathBuf>,
}

impl Inventory {
    /// Takes stock of one place.
    #[must_use]
    pub fn take(place: &Place) -> Self {
        let marks = Marks::of(place);
        let processes: Vec<Process> = Process::all().into_iter().filter(|p| marks.on_process(p)).collect();
        let ours = fs::read_link("/proc/thread-self/ns/net").unwrap();
        let network = |p: &Process| fs::read_link(format!("/proc/{}/ns/net", p.pid)).ok();
        let networks = processes.iter().filter_map(network).filter(|n| *n != ours);
        let networks = networks.map(|n| n.to_string_lossy().into_owned()).collect();
        Self {
            processes,
            mounts: marks.lines_of("/proc/self/mountinfo"),
            networks,
            interfaces: interfaces().filter(|name| marks.within(&label(name))).collect(),
            tables: idle_tables(),
            loops: marks.loops(),
            cgroups: marks.cgroups(),
            sockets: marks.sockets(&place.home()),
            run_dirs: folders(&place.home().join("run/walls")),
        }
    }

    /// Whether there is nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Ends what is left, so that one broken test does not break the next. Best effort.
    pub fn remove(&self) {
        for process in self.processes.iter().filter(|p| p.alive()) {
            process.signal(Signal::KILL);
        }
        for process in &self.processes {
            if !exited_within(process.id(), PATIENCE) {
                eprintln!("{process:?} survived SIGKILL");
            }
        }
        for group in self.cgroups.iter().rev() {
            if let Err(error) = fs::remove_dir(group) {
                eprintln!("cannot remove {}: {error}", group.display());
            }
        }
    }
}

/// Interfaces of routed networks, whoever owns them. `/sys/class/net` would tell of another network.
fn interfaces() -> impl Iterator<Item = String> {
    let text = fs::read_to_string("/proc/thread-self/net/dev").unwrap();
    let names: Vec<_> =
        text.lines().filter_map(|line| Some(line.split_once(':')?.0.trim().to_owned())).collect();
    names.into_iter().filter(|name| name.starts_with(INTERFACES))
}

/// What an interface says of itself: its owner is among it. Empty if it is gone.
fn label(name: &str) -> Vec<u8> {
    Command::new("ip").args(["link", "show", "dev", name]).output().unwrap().stdout
}

/// Every home of a host shares the table, so that it is left behind only once it is nobody's. Ordinary users make none
/// and are not told of any.
fn idle_tables() -> BTreeSet<String> {
    if !is_root() {
        return BTreeSet::new();
    }
    // It goes right after the last interface: whoever is at that has the turn.
    let turn = fs::File::open(TURN).unwrap();
    flock(&turn, FlockOperation::LockExclusive).unwrap();
    if interfaces().next().is_some() {
        return BTreeSet::new();
    }
    let told = Command::new("nft").args(["list", "tables"]).output().unwrap();
    assert!(told.status.success(), "the packet rules cannot be listed: {told:?}");
    let tables = String::from_utf8(told.stdout).unwrap();
    let ours = |line: &&str| line.split_whitespace().eq(["table", "inet", "insula"]);
    tables.lines().filter(ours).map(ToOwned::to_owned).collect()
}

fn folders(path: &Path) -> BTreeSet<PathBuf> {
    let entries = fs::read_dir(path).into_iter().flatten().flatten();
    entries.map(|e| e.path()).filter(|p| p.is_dir()).collect()
}

/// The texts by which things of one place are known.
struct Marks {
    texts: Vec<String>,
}

impl Marks {
    /// The folder's unique name, and the id of its home where it has one.
    fn of(place: &Place) -> Self {
        let folder = place.path().file_name().unwrap().to_string_lossy().into_owned();
        let id = fs::read_to_string(place.home().join("id")).ok().map(|t| t.trim().to_owned());
        Self { texts: std::iter::once(folder).chain(id.filter(|t| t.len() >= 8)).collect() }
    }

    fn within(&self, bytes: &[u8]) -> bool {
        let text = String::from_utf8_lossy(bytes);
        self.texts.iter().any(|mark| text.contains(mark.as_str()))
    }

    /// A process is ours when its command line, its control groups, its mounts or its environment say so. What
    /// cannot be read says nothing.
    fn on_process(&self, process: &Process) -> bool {
        if u32::try_from(process.pid) == Ok(std::process::id()) {
            return false;
        }
        let file = |name: &str| fs::read(format!("/proc/{}/{name}", process.pid)).unwrap_or_default();
        let link = |name: &str| fs::read_link(format!("/proc/{}/{name}", process.pid)).unwrap_or_default();
        ["cmdline", "cgroup", "environ", "mountinfo"].iter().any(|name| {
            // Every process of the host sees a mount that the host sees: that is told in `mounts`.
            let shared =
                *name == "mountinfo" && link("ns/mnt") == fs::read_link("/proc/self/ns/mnt").unwrap();
            !shared && self.within(&file(name))
        }) || self.within(link("cwd").as_os_str().as_bytes())
    }

    fn lines_of(&self, path: &str) -> Vec<String> {
        let text = fs::read_to_string(path).unwrap_or_default();
        text.lines().filter(|line| self.within(line.as_bytes())).map(str::to_owned).collect()
    }

    fn loops(&self) -> BTreeSet<String> {
        let device = |path: PathBuf| {
            let file = fs::read_to_string(path.join("loop/backing_file")).ok()?;
            self.within(file.as_bytes()).then(|| format!("{} {}", path.display(), file.trim_end()))
        };
        folders(Path::new("/sys/block")).into_iter().filter_map(device).collect()
    }

    fn sockets(&self, home: &Path) -> BTreeSet<PathBuf> {
        let bound = self.lines_of("/proc/thread-self/net/unix");
        let mut found: BTreeSet<PathBuf> =
            bound.iter().filter_map(|line| line.split_whitespace().nth(7)).map(PathBuf::from).collect();
        let mut waiting = vec![home.to_owned()];
        while let Some(folder) = waiting.pop() {
            for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
                match entry.file_type() {
                    Ok(kind) if kind.is_socket() => drop(found.insert(entry.path())),
                    Ok(kind) if kind.is_dir() => waiting.push(entry.path()),
                    _ => {}
                }
            }
        }
        found
    }

    /// Every control group directory below one that carries a mark.
    fn cgroups(&self) -> BTreeSet<PathBuf> {
        let mut found = BTreeSet::new();
        let mut waiting = vec![(PathBuf::from("/sys/fs/cgroup"), false)];
        while let Some((folder, marked)) = waiting.pop() {
            for path in folders(&folder) {
                let name = path.file_name().unwrap_or_default();
                let marked = marked || self.within(name.as_bytes());
                if marked {
                    found.insert(path.clone());
                }
                if !path.is_symlink() {
                    waiting.push((path, marked));
                }
            }
        }
        found
    }
}

#[cfg(test)]
mod tests;
