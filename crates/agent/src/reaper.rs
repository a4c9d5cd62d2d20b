//! Ends of children, and the end of everything.

use std::io;

use insula_frames::Ended;
use insula_linux::signals;
use rustix::io::Errno;
use rustix::process::{Pid, WaitId, WaitIdOptions, WaitOptions, waitid, waitpid};

/// What one look at the children found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reaped {
    /// This child ended.
    One(Pid, Ended),
    /// None ended since.
    None,
    /// There are no children at all.
    Alone,
}

/// Takes the status of one ended child. `leaving` is told its pid before that, while nobody else can have it.
pub(crate) fn reap(mut leaving: impl FnMut(Pid)) -> io::Result<Reaped> {
    loop {
        let next = match signals::ended_child() {
            Ok(next) => next,
            Err(e) if e.raw_os_error() == Some(libc::ECHILD) => return Ok(Reaped::Alone),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            Err(e) => return Err(e),
        };
        let Some(pid) = next else { return Ok(Reaped::None) };
        leaving(pid);
        match waitpid(Some(pid), WaitOptions::NOHANG) {
            Ok(Some((pid, status))) => {
                if let Some(code) = status.exit_status() {
                    return Ok(Reaped::One(pid, Ended::Code(code)));
                }
                if let Some(signal) = status.terminating_signal() {
                    return Ok(Reaped::One(pid, Ended::Signal(signal)));
                }
            }
            Ok(None) => return Ok(Reaped::None),
            Err(Errno::CHILD) => return Ok(Reaped::Alone),
            Err(Errno::INTR) => {}
            Err(e) => return Err(e.into()),
        }
    }
}

/// Whether a child is stopped by a signal. Takes nothing: the next look finds the same.
pub(crate) fn is_stopped(child: Pid) -> io::Result<bool> {
    let options = WaitIdOptions::STOPPED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    match waitid(WaitId::Pid(child), options) {
        Ok(status) => Ok(status.is_some_and(|s| s.stopped())),
        Err(Errno::CHILD | Errno::INTR) => Ok(false),
        Err(e) => Err(e.into()),
    }
}

/// Kills every process in these walls but the agent.
///
/// With a pid namespace of its own that is one call. Without, the children are killed; orphans of theirs
/// become children of the agent, which is their subreaper, and are killed when it next looks.
pub(crate) fn kill_all(own_pids: bool) -> io::Result<()> {
    if own_pids {
        return signals::signal_all_others(libc::SIGKILL);
    }
    for child in children()? {
        match signals::signal_child(child, libc::SIGKILL) {
            Err(e) if e.raw_os_error() == Some(libc::ESRCH) => {}
            other => other?,
        }
    }
    Ok(())
}

/// Children of this process that were not waited for yet.
fn children() -> io::Result<Vec<Pid>> {
    let own = rustix::process::getpid().as_raw_nonzero();
    let text = std::fs::read_to_string(format!("/proc/self/task/{own}/children"))?;
    Ok(text.split_whitespace().filter_map(|p| p.parse().ok()).filter_map(Pid::from_raw).collect())
}
