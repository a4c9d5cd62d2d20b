//! One leaf: who is in it, what they use, and stopping and continuing them.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use insula_spec::Limits;
use rustix::event::{PollFd, PollFlags};

use super::check::check_leaf;
use super::leaves::carry_out;
use super::plan::limit_steps;
use super::wait::{Backoff, Deadline};
use super::{CgroupError, Hierarchies, Unenforceable};

/// A group without groups below it: one directory (version 2), or one in each hierarchy (version 1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Leaf {
    /// Version 1.
    V1(Hierarchies),
    /// Version 2.
    V2(PathBuf),
}

/// What the members of a leaf use; `None` where the host does not account for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// Memory, page cache included, in bytes.
    pub memory_bytes: Option<u64>,
    /// CPU time used so far, by members that have ended too, in microseconds.
    pub cpu_micros: Option<u64>,
    /// Processes and threads.
    pub pids: Option<u64>,
}

impl Leaf {
    /// Its directories.
    #[must_use]
    pub fn dirs(&self) -> Vec<&Path> {
        match self {
            Self::V1(hierarchies) => hierarchies.dirs(),
            Self::V2(dir) => vec![dir],
        }
    }

    /// The directory by which it is named in errors.
    pub(super) fn dir(&self) -> PathBuf {
        self.dirs().first().map(|dir| dir.to_path_buf()).unwrap_or_default()
    }

    /// The pids of its members, threads not counted; empty when the leaf is gone.
    ///
    /// # Errors
    /// When a directory cannot be read.
    pub fn pids(&self) -> Result<Vec<i32>, CgroupError> {
        let mut pids = BTreeSet::new();
        for dir in self.dirs() {
            let text = read_if_there(&dir.join("cgroup.procs"))?.unwrap_or_default();
            // 0 stands for a process outside the reader's pid namespace.
            pids.extend(text.lines().filter_map(|pid| pid.parse::<i32>().ok()).filter(|pid| *pid > 0));
        }
        Ok(pids.into_iter().collect())
    }

    /// Opens the file of each directory through which a process of one thread joins. A child that inherits
    /// them puts itself into the leaf by writing `0` to each; the kernel asks for the rights of who opened
    /// them.
    ///
    /// In version 1 that is `tasks`: a thread that moves itself alone takes microseconds. To move a whole
    /// process the kernel first waits until no process of the machine forks or ends, which takes 5 to 15 ms
    /// (`cgroup_procs_write_start` in `kernel/cgroup/cgroup.c`). Version 2 has no such file for a leaf.
    ///
    /// # Errors
    /// When a file cannot be opened.
    pub fn join_fds(&self) -> Result<Vec<OwnedFd>, CgroupError> {
        let name = match self {
            Self::V1(_) => "tasks",
            Self::V2(_) => "cgroup.procs",
        };
        let open = |dir: &Path| {
            let file = dir.join(name);
            OpenOptions::new().write(true).open(&file).map(OwnedFd::from).map_err(CgroupError::read(&file))
        };
        self.dirs().into_iter().map(open).collect()
    }

    /// Brings the leaf from any limits to these; what is `None` is unlimited afterwards.
    ///
    /// # Errors
    /// When a limit cannot be enforced or the kernel refuses a value. Some limits may be set then.
    pub fn apply_limits(&self, limits: &Limits) -> Result<(), CgroupError> {
        check_leaf(self, limits)?;
        if let Some(dir) = self.dirs().into_iter().find(|dir| !dir.is_dir()) {
            return Err(CgroupError::Gone { dir: dir.to_owned() });
        }
        carry_out(&limit_steps(self, limits), &mut Vec::new())
    }

    /// Stops every member and waits until all have stopped.
    ///
    /// # Errors
    /// When that takes longer than `within`; the leaf runs again then.
    pub fn freeze(&self, within: Duration) -> Result<(), CgroupError> {
        let deadline = Deadline::after(within);
        let frozen = match self {
            Self::V1(_) => self.freeze_1(&deadline)?,
            Self::V2(dir) => {
                write(&dir.join("cgroup.freeze"), "1")?;
                await_event(dir, "frozen 1", &deadline)?
            }
        };
        if frozen {
            return Ok(());
        }
        self.thaw()?;
        Err(CgroupError::Stuck { dir: self.dir(), wanted: "frozen", within })
    }

    /// Lets every member run again.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn thaw(&self) -> Result<(), CgroupError> {
        match self {
            Self::V1(_) => write(&self.freezer()?, "THAWED"),
            Self::V2(dir) => write(&dir.join("cgroup.freeze"), "0"),
        }
    }

    /// Whether it was frozen and not thawed since.
    ///
    /// # Errors
    /// When its state cannot be read.
    pub fn is_frozen(&self) -> Result<bool, CgroupError> {
        match self {
            Self::V1(Hierarchies { freezer: None, .. }) => Ok(false),
            Self::V1(_) => Ok(read(&self.freezer()?)?.trim() != "THAWED"),
            Self::V2(dir) => Ok(read(&dir.join("cgroup.freeze"))?.trim() == "1"),
        }
    }

    /// How many members the kernel has killed so far because the leaf passed its memory limit.
    ///
    /// # Errors
    /// When the count cannot be read.
    pub fn oom_kills(&self) -> Result<u64, CgroupError> {
        let file = match self {
            Self::V1(hierarchies) => hierarchies.memory.as_ref().map(|dir| dir.join("memory.oom_control")),
            Self::V2(dir) => Some(dir.join("memory.events")),
        };
        let text = file.map(|file| read_if_there(&file)).transpose()?.flatten();
        Ok(text.as_deref().and_then(|text| field(text, "oom_kill")).unwrap_or_default())
    }

    /// What its members use now.
    ///
    /// # Errors
    /// When a file that is there cannot be read.
    pub fn usage(&self) -> Result<Usage, CgroupError> {
        let number = |dir: Option<&PathBuf>, file: &str| -> Result<Option<u64>, CgroupError> {
            let text = dir.map(|dir| read_if_there(&dir.join(file))).transpose()?.flatten();
            Ok(text.and_then(|text| text.trim().parse().ok()))
        };
        match self {
            Self::V1(h) => Ok(Usage {
                memory_bytes: number(h.memory.as_ref(), "memory.usage_in_bytes")?,
                cpu_micros: number(h.cpuacct.as_ref(), "cpuacct.usage")?.map(|nanos| nanos / 1000),
                pids: number(h.pids.as_ref(), "pids.current")?,
            }),
            Self::V2(dir) => Ok(Usage {
                memory_bytes: number(Some(dir), "memory.current")?,
                cpu_micros: read_if_there(&dir.join("cpu.stat"))?.and_then(|text| field(&text, "usage_usec")),
                pids: number(Some(dir), "pids.current")?,
            }),
        }
    }

    fn freezer(&self) -> Result<PathBuf, CgroupError> {
        match self {
            Self::V1(Hierarchies { freezer: Some(dir), .. }) => Ok(dir.join("freezer.state")),
            _ => Err(CgroupError::Unenforceable(Unenforceable {
                what: "sleep",
                why: "there is no usable `freezer` controller".to_owned(),
                hint: "mount the `freezer` hierarchy, or use `sleep = \"stop\"`".to_owned(),
            })),
        }
    }

    /// Version 1 has no event for it, and a group into which a process was just born may have to be told
    /// again. Reading the state makes the kernel look whether all have stopped.
    fn freeze_1(&self, deadline: &Deadline) -> Result<bool, CgroupError> {
        let file = self.freezer()?;
        let mut backoff = Backoff::new();
        loop {
            write(&file, "FROZEN")?;
            if read(&file)?.trim() == "FROZEN" {
                return Ok(true);
            }
            if !backoff.pause(deadline).map_err(CgroupError::read(&file))? {
                return Ok(false);
            }
        }
    }
}

/// Waits until `cgroup.events` of a version 2 group has this line. False when the deadline passed first.
pub(super) fn await_event(dir: &Path, line: &str, deadline: &Deadline) -> Result<bool, CgroupError> {
    let path = dir.join("cgroup.events");
    let file = File::open(&path).map_err(CgroupError::read(&path))?;
    loop {
        // The kernel tells of changes since the last read through this very descriptor.
        let mut text = [0; 256];
        let len = file.read_at(&mut text, 0).map_err(CgroupError::read(&path))?;
        let text = String::from_utf8_lossy(text.get(..len).unwrap_or_default());
        if text.lines().any(|found| found == line) {
            return Ok(true);
        }
        if deadline.left().is_none() {
            return Ok(false);
        }
        deadline.poll(&mut [PollFd::new(&file, PollFlags::PRI)]).map_err(CgroupError::read(&path))?;
    }
}

/// The number after a word at the beginning of a line.
fn field(text: &str, name: &str) -> Option<u64> {
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))?;
    value.trim().parse().ok()
}

pub(super) fn read(file: &Path) -> Result<String, CgroupError> {
    fs::read_to_string(file).map_err(CgroupError::read(file))
}

/// `None` when the file, or the whole group, is not there.
pub(super) fn read_if_there(file: &Path) -> Result<Option<String>, CgroupError> {
    match fs::read_to_string(file) {
        Ok(text) => Ok(Some(text)),
        Err(e) if e.kind() == io::ErrorKind::NotFound || e.raw_os_error() == Some(libc::ENODEV) => Ok(None),
        Err(e) => Err(CgroupError::read(file)(e)),
    }
}

/// Writes one value. The file must be there: a control group never lets one be made.
pub(super) fn write(file: &Path, value: &str) -> Result<(), CgroupError> {
    let written = OpenOptions::new().write(true).open(file).and_then(|f| write_whole(&f, value));
    written.map_err(|source| CgroupError::Write { file: file.to_owned(), value: value.to_owned(), source })
}

/// In one write: the kernel takes each for a whole value.
fn write_whole(file: &File, value: &str) -> io::Result<()> {
    let len = rustix::io::write(file, value.as_bytes())?;
    if len == value.len() { Ok(()) } else { Err(io::ErrorKind::WriteZero.into()) }
}
