//! Who is in a leaf, stopping and ending them, and what is left.

use std::fs;
use std::io::Read;
use std::os::fd::AsRawFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use insula_linux::cgroup::{CgroupError, Layout, Leaf, Leaves, Plan, sweep};
use insula_spec::Limits;

use crate::support::*;

/// A program that counts in a file for as long as it runs.
fn counter(leaf: &Leaf, file: &std::path::Path) -> Child {
    let script = format!("i=0; while :; do i=$((i+1)); echo $i > {}; done", file.display());
    sh(leaf, &script).spawn().unwrap()
}

fn freezes(leaf: &Leaf) {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("count");
    let mut child = counter(leaf, &file);
    let count = || fs::read_to_string(&file).unwrap_or_default();
    let moves = || {
        let before = count();
        (0..40).any(|_| {
            moment();
            count() != before
        })
    };
    until("the counter runs", || !count().is_empty());
    assert!(moves() && !leaf.is_frozen().unwrap());
    leaf.freeze(LONG).unwrap();
    assert!(leaf.is_frozen().unwrap());
    assert!(!moves(), "a frozen program went on counting");
    leaf.thaw().unwrap();
    assert!(!leaf.is_frozen().unwrap());
    let stopped = count();
    until("the counter runs again", || count() != stopped);

    leaf.freeze(LONG).unwrap();
    assert_eq!(leaf.kill_all(LONG).unwrap(), 1, "the end of a frozen one");
    assert!(!leaf.is_frozen().unwrap(), "whoever comes next must run");
    assert_eq!(child.wait().unwrap().signal(), Some(9));
}

#[test]
fn a_frozen_workload_stops_and_goes_on() {
    let Some(walls) = Walls::new("a_frozen_workload_stops_and_goes_on", &Limits::default()) else { return };
    freezes(walls.app());
}

#[test]
fn a_fork_bomb_ends() {
    let Some(walls) = Walls::new("a_fork_bomb_ends", &pids(40)) else { return };
    let mut bomb = inside(walls.app(), "perl", &["-e", "while (1) { fork }"]).spawn().unwrap();
    until("the bomb fills its leaf", || walls.app().pids().unwrap().len() >= 40);

    // Killing its first process, as a naive supervisor does, ends nothing.
    bomb.kill().unwrap();
    bomb.wait().unwrap();
    until("the bomb goes on", || walls.app().pids().unwrap().len() >= 40);

    assert!(kill_and_reap(walls.app()) >= 40);
    assert_eq!(walls.app().usage().unwrap().pids, Some(0));
}

#[test]
fn a_leaf_that_cannot_be_frozen_is_killed_all_the_same() {
    let Some(walls) = Walls::new("a_leaf_that_cannot_be_frozen_is_killed_all_the_same", &pids(40)) else {
        return;
    };
    let Leaf::V1(hierarchies) = walls.app().clone() else {
        return skipped("a_leaf_that_cannot_be_frozen_is_killed_all_the_same", "version 2 always freezes");
    };
    let mut of_pids_only = hierarchies;
    of_pids_only.freezer = None;
    let leaf = Leaf::V1(of_pids_only.clone());
    let mut bomb = inside(&leaf, "perl", &["-e", "while (1) { fork }"]).spawn().unwrap();
    until("the bomb fills its leaf", || leaf.pids().unwrap().len() >= 40);
    assert!(matches!(leaf.freeze(LONG), Err(CgroupError::Unenforceable(_))));
    let members = leaf.pids().unwrap();
    assert!(kill_and_reap(&leaf) >= members.len());
    bomb.wait().unwrap_err();
    let limit = fs::read_to_string(of_pids_only.pids.unwrap().join("pids.max")).unwrap();
    assert_eq!(limit.trim(), "40", "the limit is as before");
}

#[test]
fn an_unprivileged_child_joins_by_inherited_descriptors() {
    let Some(walls) = Walls::new("an_unprivileged_child_joins_by_inherited_descriptors", &Limits::default())
    else {
        return;
    };
    if !rustix::process::geteuid().is_root() {
        return skipped(
            "an_unprivileged_child_joins_by_inherited_descriptors",
            "needs root to become another user",
        );
    }
    let fds = walls.app().join_fds().unwrap();
    let mut command = Command::new("cat");
    command.stdin(Stdio::piped()).stdout(Stdio::null());
    let join = move || {
        // SAFETY: takes no pointer; the process has one thread after the fork.
        if unsafe { libc::setresuid(65_534, 65_534, 65_534) } != 0 {
            return Err(std::io::Error::last_os_error());
        }
        fds.iter().try_for_each(|fd| rustix::io::write(fd, b"0").map(drop).map_err(Into::into))
    };
    // SAFETY: between fork and exec it makes system calls on values that the closure owns; it neither
    // allocates nor takes a lock.
    unsafe { command.pre_exec(join) };
    let mut child = command.spawn().unwrap();
    let pid = i32::try_from(child.id()).unwrap();
    for fd in walls.app().join_fds().unwrap() {
        let path = fs::read_link(format!("/proc/self/fd/{}", fd.as_raw_fd())).unwrap();
        let members = fs::read_to_string(&path).unwrap();
        assert_eq!(members.trim(), pid.to_string(), "`{}`", path.display());
    }
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn a_drop_removes_what_was_not_kept() {
    let Some(walls) = Walls::new("a_drop_removes_what_was_not_kept", &Limits::default()) else { return };
    let dropped = walls.more("k2", &Limits::default());
    let paths = dropped.paths();
    let mut child = inside(dropped.app(), "sleep", &["600"]).spawn().unwrap();
    drop(dropped);
    assert_eq!(child.wait().unwrap().signal(), Some(9));
    assert_eq!(paths.iter().filter(|path| path.exists()).count(), 0);
    let gone = Leaves::open(&walls.layout, &paths);
    assert!(matches!(gone, Err(CgroupError::Gone { .. })), "{gone:?}");

    let mut kept = walls.more("k3", &pids(9));
    let paths = kept.paths();
    let mut child = inside(kept.app(), "sleep", &["600"]).spawn().unwrap();
    kept.keep();
    drop(kept);
    let adopted = Leaves::open(&walls.layout, &paths).unwrap();
    assert_eq!(adopted.app().pids().unwrap(), [i32::try_from(child.id()).unwrap()]);
    assert_eq!(adopted.remove(LONG).unwrap(), 1);
    assert_eq!(child.wait().unwrap().signal(), Some(9));
    assert_eq!(paths.iter().filter(|path| path.exists()).count(), 0);
}

#[test]
fn a_failed_create_leaves_nothing() {
    let Some(walls) = Walls::new("a_failed_create_leaves_nothing", &Limits::default()) else { return };
    // The name is taken: the last directories of the plan are there already.
    let plan = Plan::for_limits(&walls.layout, &walls.home, "k4", &Limits::default()).unwrap();
    let taken = plan.app.dirs().last().unwrap().to_path_buf();
    if matches!(walls.layout, Layout::V2(_)) {
        return skipped("a_failed_create_leaves_nothing", "version 2 has one directory for a set of walls");
    }
    fs::create_dir(&taken).unwrap();
    assert!(matches!(Leaves::create(&plan), Err(CgroupError::Make { dir, .. }) if dir == taken));
    let dirs = plan.agent.dirs().into_iter().chain(plan.app.dirs());
    let left: Vec<_> = dirs.filter(|dir| dir.exists()).collect();
    assert_eq!(left, [taken.as_path()], "only what was there before");
    fs::remove_dir(&taken).unwrap();
}

#[test]
fn a_sweep_takes_only_what_nobody_knows_of_ones_own() {
    let Some(walls) = Walls::new("a_sweep_takes_only_what_nobody_knows_of_ones_own", &Limits::default())
    else {
        return;
    };
    let foreign = Walls::new("sweep-foreign", &Limits::default()).unwrap();
    let mut stray = walls.more("stray", &Limits::default());
    let sleep = |leaf: &Leaf| inside(leaf, "sleep", &["600"]).spawn().unwrap();
    let mut children = [sleep(stray.app()), sleep(walls.app()), sleep(foreign.app())];
    stray.keep();

    let swept = sweep(&walls.layout, &walls.home, &["k1"], LONG).unwrap();
    assert_eq!((swept.processes, swept.removed), (1, 1));
    assert!(swept.failed.is_empty(), "{:?}", swept.failed);
    assert_eq!(children[0].wait().unwrap().signal(), Some(9));
    assert!(!stray.paths().iter().any(|path| path.exists()));
    for (known, child) in [(&walls, 1), (&foreign, 2)] {
        let pid = i32::try_from(children[child].id()).unwrap();
        assert_eq!(known.app().pids().unwrap(), [pid]);
    }
    drop((walls, foreign));
    for child in &mut children[1..] {
        assert_eq!(child.wait().unwrap().signal(), Some(9));
    }
}

/// What version 2 does by itself, freezing and killing, can be shown on any tree, even one without
/// controllers. Its limits cannot.
#[test]
fn version_2_freezes_and_kills() {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let mount =
        mounts.lines().find(|line| line.contains(" - cgroup2 ")).and_then(|line| line.split(' ').nth(4));
    let Some(mount) = mount else { return skipped("version_2_freezes_and_kills", "no cgroup2 is mounted") };
    let dir = PathBuf::from(mount).join(format!("insula-test-{}", std::process::id()));
    if let Err(e) = fs::create_dir(&dir) {
        return skipped("version_2_freezes_and_kills", &format!("cannot make `{}`: {e}", dir.display()));
    }
    let leaf = Leaf::V2(dir.clone());
    freezes(&leaf);

    let many = "i=0; while [ $i -lt 20 ]; do sleep 600 & i=$((i+1)); done; echo; wait";
    let mut child = sh(&leaf, many).stdout(Stdio::piped()).spawn().unwrap();
    child.stdout.take().unwrap().read_exact(&mut [0]).unwrap();
    assert_eq!(kill_and_reap(&leaf), 21);
    child.wait().unwrap_err();
    fs::remove_dir(&dir).unwrap();

    if !matches!(Layout::detect().unwrap(), Layout::V2(_)) {
        skipped(
            "limits of version 2",
            "not run: this host has its controllers in version 1; the writes are golden",
        );
    }
}
