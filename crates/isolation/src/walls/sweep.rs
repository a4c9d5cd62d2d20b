//! Removing what earlier runs of this installation left and nobody knows.

use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

use insula_linux::cgroup;
use insula_spec::Level;
use rustix::io::Errno;
use rustix::process::{PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::rundir::RunDir;
use super::{Kind, Shared, routed};
use crate::contract::{Record, Swept};

/// How long the processes of one set of walls may take to die.
const KILL: Duration = Duration::from_secs(5);

/// Sweeps the run directories of one level, and every control group without a record.
pub(crate) fn sweep(shared: &Shared, level: Level, known: &[Record]) -> Swept {
    let keys: Vec<&str> = known.iter().map(|r| r.key.as_str()).collect();
    let mut swept = Swept::default();
    let mine = |key: &str| key.starts_with(Kind::prefix(level)) && !keys.contains(&key);
    match strangers(shared, mine) {
        Ok(strangers) => strangers.iter().for_each(|key| sweep_one(shared, key, &mut swept)),
        Err(e) => swept.failed.push(format!("list `{}`: {e}", shared.run_dir.display())),
    }
    if level == Level::Namespace
        && let Err(e) = routed::sweep(shared, &keys)
    {
        swept.failed.push(format!("routed networks: {e}"));
    }
    if level == Level::Process {
        sweep_sockets(shared, known, &mut swept);
    }
    // Groups whose run directory was never made, or is gone already.
    match cgroup::sweep(&shared.layout, &shared.home_id, &keys, KILL) {
        Ok(found) => {
            swept.processes += found.processes;
            swept.cgroups += found.removed;
            swept.failed.extend(found.failed.iter().map(ToString::to_string));
        }
        Err(e) => swept.failed.push(e.to_string()),
    }
    swept
}

/// Keys of run directories that are `mine`.
fn strangers(shared: &Shared, mine: impl Fn(&str) -> bool) -> io::Result<Vec<String>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(&shared.run_dir)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if entry.file_type()?.is_dir() && mine(&name) {
            found.push(name);
        }
    }
    Ok(found)
}

/// Removes socket directories of workloads without a mount wall.
fn sweep_sockets(shared: &Shared, known: &[Record], swept: &mut Swept) {
    let entries = match std::fs::read_dir(&shared.socket_root) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return,
        Err(e) => return swept.failed.push(format!("list `{}`: {e}", shared.socket_root.display())),
    };
    for path in entries.filter_map(|entry| entry.ok().map(|e| e.path())) {
        if known.iter().any(|r| r.placement.socket.parent() == Some(&path)) {
            continue;
        }
        if let Err(e) = RunDir::remove(&path) {
            swept.failed.push(format!("remove `{}`: {e}", path.display()));
        }
    }
}

fn sweep_one(shared: &Shared, key: &str, swept: &mut Swept) {
    let path = shared.run_dir_of(key);
    match kill_agent(&RunDir::open(path.clone())) {
        Ok(killed) => swept.processes += usize::from(killed),
        Err(e) => swept.failed.push(format!("agent of `{key}`: {e}")),
    }
    match RunDir::remove(&path) {
        Ok(()) => swept.run_dirs += 1,
        Err(e) => swept.failed.push(format!("remove `{}`: {e}", path.display())),
    }
}

/// Kills the agent that listens in this directory; with it ends its pid namespace. The socket is in a
/// directory that only this installation can write to, so whoever listens there is one of ours.
fn kill_agent(dir: &RunDir) -> io::Result<bool> {
    let socket = match dir.connect_agent() {
        Ok(socket) => socket,
        // It lives, and takes nothing more. Its control groups, or a later sweep, end it.
        Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Err(e),
        Err(_) => return Ok(false),
    };
    let peer = rustix::net::sockopt::socket_peercred(socket.as_fd())?;
    let pidfd = pidfd_open(peer.pid, PidfdFlags::empty())?;
    match pidfd_send_signal(&pidfd, Signal::KILL) {
        Ok(()) => wait_end(&pidfd).map(|()| true),
        Err(Errno::SRCH) => Ok(false),
        Err(e) => Err(e.into()),
    }
}

fn wait_end(pidfd: &std::os::fd::OwnedFd) -> io::Result<()> {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let limit = Timespec::try_from(KILL).map_err(io::Error::other)?;
    let ready = poll(&mut [PollFd::new(pidfd, PollFlags::IN)], Some(&limit))?;
    if ready == 0 { Err(io::ErrorKind::TimedOut.into()) } else { Ok(()) }
}
