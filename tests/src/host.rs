//! What this host is, and what it says about its processes.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU16, Ordering};

use rustix::process::{Pid, Signal, geteuid, kill_process};

/// Whether the tests run as root.
#[must_use]
pub fn is_root() -> bool {
    geteuid().is_root()
}

/// Whether limits of memory, CPU and processes can be set here.
#[must_use]
pub fn cgroups_writable() -> bool {
    let v1 = Path::new("/sys/fs/cgroup/memory");
    let v2 = Path::new("/sys/fs/cgroup/cgroup.controllers");
    is_root() && (v1.join("cgroup.procs").exists() || v2.exists())
}

/// A program in the system directories, which is where instances look for programs.
#[must_use]
pub fn system_program(name: &str) -> Option<PathBuf> {
    ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"]
        .iter()
        .map(|folder| Path::new(folder).join(name))
        .find(|path| path.exists())
}

/// One process, told apart from a later one with the same number by its start time.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Process {
    /// Its number.
    pub pid: i32,
    /// When it started, in clock ticks since boot (`/proc/PID/stat`, field 22).
    pub start: u64,
    /// Its command line, for messages.
    pub command: String,
}

impl Process {
    /// The process of that number; `None` when there is none or it is a zombie.
    #[must_use]
    pub fn find(pid: i32) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let (_, rest) = stat.rsplit_once(')')?;
        let fields: Vec<&str> = rest.split_whitespace().collect();
        if matches!(fields.first(), Some(&("Z" | "X"))) {
            return None;
        }
        let command = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let command = String::from_utf8_lossy(&command).replace('\0', " ").trim().to_owned();
        Some(Self { pid, start: fields.get(19)?.parse().ok()?, command })
    }

    /// Every live process of the host.
    #[must_use]
    pub fn all() -> Vec<Self> {
        let names = fs::read_dir("/proc").unwrap().flatten();
        names.filter_map(|e| e.file_name().to_str()?.parse().ok()).filter_map(Self::find).collect()
    }

    /// Its living children.
    #[must_use]
    pub fn children(&self) -> Vec<Self> {
        Self::all().into_iter().filter(|p| p.field("PPid") == Some(self.pid.to_string())).collect()
    }

    /// One line of `/proc/PID/status`, without its name.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<String> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid)).ok()?;
        let line = status.lines().find_map(|l| l.strip_prefix(name)?.strip_prefix(':').map(str::trim));
        line.map(str::to_owned)
    }

    /// Resident memory in KiB.
    #[must_use]
    pub fn rss_kib(&self) -> u64 {
        self.field("VmRSS").and_then(|v| v.split_whitespace().next()?.parse().ok()).unwrap_or(0)
    }

    /// Number of open descriptors.
    #[must_use]
    pub fn open_files(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.pid)).map_or(0, Iterator::count)
    }

    /// Whether it is still the same process and alive.
    #[must_use]
    pub fn alive(&self) -> bool {
        Self::find(self.pid).is_some_and(|now| now.start == self.start)
    }

    /// Its number as the kernel's type.
    #[must_use]
    pub fn id(&self) -> Pid {
        Pid::from_raw(self.pid).unwrap()
    }

    /// Sends a signal. The caller has just seen it alive and owns its parent, so that its number is its own.
    pub fn signal(&self, signal: Signal) {
        kill_process(self.id(), signal).unwrap();
    }

    /// Kills it and waits until it is gone.
    pub fn kill(&self) {
        self.signal(Signal::KILL);
        assert!(crate::exited_within(self.id(), crate::PATIENCE), "{self:?} survived SIGKILL");
    }
}

/// A TCP port of the loopback that was free a moment ago, outside of the range that the kernel gives to clients.
#[must_use]
pub fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let first = 10_000 + u16::try_from(std::process::id() % 80).unwrap() * 100;
    let candidates = std::iter::repeat_with(|| first + NEXT.fetch_add(1, Ordering::Relaxed) % 2_000);
    let free = |port: &u16| std::net::TcpListener::bind(("127.0.0.1", *port)).is_ok();
    candidates.take(2_000).find(free).unwrap()
}
