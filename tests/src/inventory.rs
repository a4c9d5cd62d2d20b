//! What a home has on its host: processes, mounts, network namespaces, control groups, sockets, run directories.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use rustix::process::Signal;

use crate::{PATIENCE, Place, Process, exited_within};

/// Everything that carries the name of one [`Place`], whoever owns it now.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Inventory {
    /// Live processes.
    pub processes: Vec<Process>,
    /// Mounts that the host sees.
    pub mounts: Vec<String>,
    /// Network namespaces of those processes other than the host's, as inode names.
    pub networks: BTreeSet<String>,
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
        let ours = fs::read_link("/proc/self/ns/net").unwrap();
        let network = |p: &Process| fs::read_link(format!("/proc/{}/ns/net", p.pid)).ok();
        let networks = processes.iter().filter_map(network).filter(|n| *n != ours);
        let networks = networks.map(|n| n.to_string_lossy().into_owned()).collect();
        Self {
            processes,
            mounts: marks.lines_of("/proc/self/mountinfo"),
            networks,
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

    fn sockets(&self, home: &Path) -> BTreeSet<PathBuf> {
        let bound = self.lines_of("/proc/net/unix");
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
mod tests {
    use super::*;
    use std::os::unix::net::UnixListener;
    use std::process::Command;

    /// The negative control of every claim that nothing is left: what is there is found.
    #[test]
    fn a_process_a_socket_and_a_run_dir_are_found() {
        let place = Place::new();
        assert!(Inventory::take(&place).is_empty());
        fs::create_dir_all(place.home().join("run/walls/some")).unwrap();
        let listener = UnixListener::bind(place.path().join("a.sock")).unwrap();
        let mut child = Command::new("sleep").arg("1000").current_dir(place.path()).spawn().unwrap();
        let found = Inventory::take(&place);
        assert_eq!(found.processes.len(), 1, "{found:?}");
        assert_eq!((found.sockets.len(), found.run_dirs.len()), (1, 1), "{found:?}");
        found.remove();
        child.wait().unwrap();
        drop(listener);
        fs::remove_dir(place.home().join("run/walls/some")).unwrap();
        assert!(Inventory::take(&place).is_empty());
    }
}
