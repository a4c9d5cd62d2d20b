//! The end of everything in a leaf.
//!
//! Version 2 does it in one write and tells when it is done. Version 1 needs a loop, because a workload may
//! fork faster than one can kill:
//!
//! ```text
//!      ┌──────────────────────────────────────────────────────────────┐
//!      ▼                                                              │ some are left
//! freeze (or forbid forks) ─► SIGKILL each by pidfd ─► thaw ─► wait for the pidfds ─► empty: done
//! ```
//!
//! A pid is signalled only through a pidfd that was opened *before* the leaf was seen to list it: if the
//! pid had been given to a stranger meanwhile, the leaf would not list it.

use std::collections::BTreeSet;
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::leaf::{await_event, read_if_there, write};
use super::wait::{Backoff, Deadline};
use super::{CgroupError, Hierarchies, Leaf};

/// Descriptors held at a time.
const BATCH: usize = 256;
/// How long to wait for a freeze that only makes the kill quicker.
const FREEZE: Duration = Duration::from_millis(200);

impl Leaf {
    /// Kills every member, frozen or not, and waits until the leaf is empty. Tells how many it found. The
    /// leaf is thawed afterwards and its limits are as before.
    ///
    /// # Errors
    /// When members are left after `within`, or one may not be killed.
    pub fn kill_all(&self, within: Duration) -> Result<usize, CgroupError> {
        let deadline = Deadline::after(within);
        let (killed, empty) = match self {
            Self::V1(hierarchies) => self.kill_without_forks(hierarchies, &deadline)?,
            Self::V2(dir) => {
                let members = self.pids()?;
                if !dir.is_dir() {
                    return Ok(0);
                }
                match write(&dir.join("cgroup.kill"), "1") {
                    Ok(()) => (members.len(), await_event(dir, "populated 0", &deadline)?),
                    // Linux before 5.14 has no such file.
                    Err(CgroupError::Write { source, .. })
                        if source.kind() == std::io::ErrorKind::NotFound =>
                    {
                        self.kill_in_rounds(true, &deadline)?
                    }
                    Err(e) => return Err(e),
                }
            }
        };
        if !empty {
            return Err(CgroupError::Stuck { dir: self.dir(), wanted: "empty", within });
        }
        if matches!(self, Self::V2(_)) {
            self.thaw()?;
        }
        Ok(killed)
    }

    /// Where nothing can freeze, a limit of no processes stops forks as well.
    fn kill_without_forks(
        &self,
        of: &Hierarchies,
        deadline: &Deadline,
    ) -> Result<(usize, bool), CgroupError> {
        let forks = match (&of.freezer, &of.pids) {
            (None, Some(dir)) => Some(dir.join("pids.max")),
            _ => None,
        };
        let before = forks.as_ref().map(|file| read_if_there(file)).transpose()?.flatten();
        let Some((file, before)) = forks.zip(before) else {
            return self.kill_in_rounds(of.freezer.as_ref().is_some_and(|dir| dir.is_dir()), deadline);
        };
        write(&file, "0")?;
        let killed = self.kill_in_rounds(false, deadline);
        write(&file, before.trim())?;
        killed
    }

    /// The loop. The second value tells whether the leaf is empty.
    fn kill_in_rounds(&self, freeze: bool, deadline: &Deadline) -> Result<(usize, bool), CgroupError> {
        let mut killed = BTreeSet::new();
        let mut backoff = Backoff::new();
        loop {
            if freeze {
                self.freeze_for_kill(deadline)?;
            }
            let signalled = self.kill_round(&mut killed);
            // Thawed even when a kill failed: never leave it frozen.
            if freeze {
                self.thaw()?;
            }
            await_exits(&signalled?, deadline).map_err(CgroupError::read(&self.dir()))?;
            if self.pids()?.is_empty() {
                return Ok((killed.len(), true));
            }
            // A process that was seen to exit may be listed for a moment longer.
            if !backoff.pause(deadline).map_err(CgroupError::read(&self.dir()))? {
                return Ok((killed.len(), false));
            }
        }
    }

    /// A freeze that does not succeed in time does no harm: the next round sees who escaped.
    fn freeze_for_kill(&self, deadline: &Deadline) -> Result<(), CgroupError> {
        let within = deadline.left().unwrap_or_default().min(FREEZE);
        match self.freeze(within) {
            Ok(()) | Err(CgroupError::Stuck { .. }) => Ok(()),
            Err(e) => Err(e),
        }
    }

    /// Kills whoever is a member now. Returns pidfds of some of them, to wait for.
    fn kill_round(&self, killed: &mut BTreeSet<i32>) -> Result<Vec<OwnedFd>, CgroupError> {
        let mut waiting = Vec::new();
        for batch in self.pids()?.chunks(BATCH) {
            let mut opened = Vec::new();
            for pid in batch {
                opened.extend(self.open(*pid)?.map(|fd| (*pid, fd)));
            }
            let still: BTreeSet<i32> = self.pids()?.into_iter().collect();
            opened.retain(|(pid, _)| still.contains(pid));
            for (pid, fd) in &opened {
                self.signal(*pid, fd)?;
                killed.insert(*pid);
            }
            waiting = opened.into_iter().map(|(_, fd)| fd).collect();
        }
        Ok(waiting)
    }

    /// `None` when the process has gone meanwhile.
    fn open(&self, pid: i32) -> Result<Option<OwnedFd>, CgroupError> {
        let Some(raw) = Pid::from_raw(pid) else { return Ok(None) };
        match pidfd_open(raw, PidfdFlags::empty()) {
            Ok(fd) => Ok(Some(fd)),
            Err(Errno::SRCH) => Ok(None),
            Err(e) => Err(CgroupError::Signal { pid, dir: self.dir(), source: e.into() }),
        }
    }

    fn signal(&self, pid: i32, fd: &OwnedFd) -> Result<(), CgroupError> {
        match pidfd_send_signal(fd, Signal::KILL) {
            Ok(()) | Err(Errno::SRCH) => Ok(()),
            Err(e) => Err(CgroupError::Signal { pid, dir: self.dir(), source: e.into() }),
        }
    }
}

/// Waits until all of them have exited, or the deadline has passed.
fn await_exits(pidfds: &[OwnedFd], deadline: &Deadline) -> std::io::Result<()> {
    let mut left: Vec<&OwnedFd> = pidfds.iter().collect();
    while !left.is_empty() && deadline.left().is_some() {
        let mut fds: Vec<PollFd<'_>> = left.iter().map(|fd| PollFd::new(*fd, PollFlags::IN)).collect();
        deadline.poll(&mut fds)?;
        let done: Vec<bool> = fds.iter().map(|fd| !fd.revents().is_empty()).collect();
        let mut done = done.into_iter();
        left.retain(|_| !done.next().unwrap_or_default());
    }
    Ok(())
}
