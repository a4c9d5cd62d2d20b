//! Leaves for one test, and programs in them.

use std::fs;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use insula_linux::cgroup::{Layout, Leaf, Leaves, Plan, prepare_host};
use insula_spec::{ByteSize, Limits};

pub(crate) const LONG: Duration = Duration::from_secs(30);

/// Prints past the capture of the test harness, so that a skip is always seen.
pub(crate) fn skipped(test: &str, why: &str) {
    std::io::stderr().write_all(format!("SKIPPED {test}: {why}\n").as_bytes()).unwrap();
}

/// The leaves of one test under a home of its own, removed at its end.
pub(crate) struct Walls {
    pub(crate) layout: Layout,
    pub(crate) home: String,
    pub(crate) leaves: Option<Leaves>,
}

impl Walls {
    /// `None`, and a line that says so, where no control groups can be made.
    pub(crate) fn new(test: &str, limits: &Limits) -> Option<Self> {
        let layout = Layout::detect().unwrap();
        if let Layout::None { why, .. } = &layout {
            skipped(test, why);
            return None;
        }
        let test_part: String = test.replace('_', "-").chars().take(40).collect();
        let home = format!("test-{}-{test_part}", std::process::id());
        prepare_host(&layout, &home).unwrap();
        // Orphans come to this process, which reaps them.
        rustix::process::set_child_subreaper(rustix::process::Pid::from_raw(1)).unwrap();
        let mut walls = Self { layout, home, leaves: None };
        walls.leaves = Some(walls.more("k1", limits));
        Some(walls)
    }

    pub(crate) fn more(&self, key: &str, limits: &Limits) -> Leaves {
        Leaves::create(&Plan::for_limits(&self.layout, &self.home, key, limits).unwrap()).unwrap()
    }

    pub(crate) fn app(&self) -> &Leaf {
        self.leaves.as_ref().unwrap().app()
    }
}

impl Drop for Walls {
    fn drop(&mut self) {
        self.leaves.take();
        let homes: Vec<PathBuf> = match &self.layout {
            Layout::V1 { hierarchies, .. } => {
                hierarchies.dirs().iter().map(|dir| dir.join("insula").join(&self.home)).collect()
            }
            Layout::V2(v2) => vec![v2.base.join(format!("insula-{}", self.home))],
            Layout::None { .. } => Vec::new(),
        };
        for home in homes {
            fs::remove_dir(&home).unwrap();
        }
    }
}

/// A program that joins the leaf before it is executed, by the descriptors it inherits.
pub(crate) fn inside(leaf: &Leaf, program: &str, args: &[&str]) -> Command {
    let fds: Vec<OwnedFd> = leaf.join_fds().unwrap();
    let mut command = Command::new(program);
    command.args(args).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let join =
        move || fds.iter().try_for_each(|fd| rustix::io::write(fd, b"0").map(drop).map_err(Into::into));
    // SAFETY: between fork and exec it only writes to descriptors that the closure owns; it neither
    // allocates nor takes a lock.
    unsafe { command.pre_exec(join) };
    command
}

pub(crate) fn sh(leaf: &Leaf, script: &str) -> Command {
    inside(leaf, "sh", &["-c", script])
}

/// Waits until something holds. It fails the test rather than hang.
pub(crate) fn until(what: &str, holds: impl Fn() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < LONG, "never came: {what}");
        moment();
    }
}

pub(crate) fn moment() {
    let time = rustix::event::Timespec { tv_sec: 0, tv_nsec: 5_000_000 };
    rustix::event::poll(&mut [], Some(&time)).unwrap();
}

/// Touches this much memory, then ends.
pub(crate) fn eat(leaf: &Leaf, mib: u64) -> ExitStatus {
    let block = format!("bs={mib}M");
    inside(leaf, "dd", &["if=/dev/zero", "of=/dev/null", &block, "count=1"]).status().unwrap()
}

/// Kills all and reaps the orphans among them: until then they count against the limit of pids.
pub(crate) fn kill_and_reap(leaf: &Leaf) -> usize {
    let members = leaf.pids().unwrap();
    let killed = leaf.kill_all(LONG).unwrap();
    assert_eq!(leaf.pids().unwrap(), Vec::<i32>::new());
    for pid in members {
        let pid = rustix::process::Pid::from_raw(pid).unwrap();
        // A direct child is reaped by whoever holds its handle.
        match rustix::process::waitpid(Some(pid), rustix::process::WaitOptions::empty()) {
            Ok(_) | Err(rustix::io::Errno::CHILD) => {}
            Err(e) => panic!("cannot reap {pid:?}: {e}"),
        }
    }
    killed
}

pub(crate) fn memory(mib: u64) -> Limits {
    Limits { memory: Some(ByteSize::mib(mib)), ..Limits::default() }
}

pub(crate) fn pids(pids: u32) -> Limits {
    Limits { pids: Some(pids), ..Limits::default() }
}
