//! One worker process, seen from its parent.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use rustix::process::{Pid, PidfdFlags, Signal, WaitOptions};

use super::notify;
use crate::lifeline::{Boot, Lifeline, Role, ToParent, ToWorker};

/// The verb under which a worker is started. Not for people.
pub(crate) const VERB: &str = "worker";

/// A worker that was not waited for yet.
#[derive(Debug)]
pub(crate) struct Worker {
    pid: Pid,
    pidfd: OwnedFd,
    lifeline: Lifeline,
    /// Whether its end of the lifeline is closed, so that there is nothing left to read.
    silent: bool,
}

impl Worker {
    /// Starts a worker from this very program file, or the one given, and tells it who it is.
    ///
    /// It gets a process group of its own: Ctrl-C in a terminal must reach the parent alone.
    pub(crate) fn launch(
        boot: &Boot,
        fds: &[(Role, BorrowedFd<'_>)],
        program: Option<&OwnedFd>,
    ) -> io::Result<Self> {
        let (lifeline, far) = Lifeline::pair()?;
        let own = || "/proc/self/exe".to_owned();
        let mut command =
            Command::new(program.map_or_else(own, |fd| format!("/proc/self/fd/{}", fd.as_raw_fd())));
        command.arg0("insula").arg(VERB).process_group(0).stdin(Stdio::from(far));
        for name in notify::VARIABLES {
            command.env_remove(name);
        }
        let child = command.spawn()?;
        let pid = Pid::from_child(&child);
        // Not waited for yet, so the pid is still its own.
        let pidfd = rustix::process::pidfd_open(pid, PidfdFlags::empty())?;
        let worker = Self { pid, pidfd, lifeline, silent: false };
        // A worker that is gone already is told by SIGCHLD.
        match worker.lifeline.send_boot(boot.clone(), fds) {
            Err(e) if e.kind() != io::ErrorKind::BrokenPipe => {
                worker.kill();
                Err(e)
            }
            _ => Ok(worker),
        }
    }

    /// One that this process started before it became another program.
    pub(crate) fn again(pid: i32, lifeline: Lifeline) -> io::Result<Self> {
        let pid = Pid::from_raw(pid).ok_or(io::ErrorKind::InvalidData)?;
        let pidfd = rustix::process::pidfd_open(pid, PidfdFlags::empty())?;
        Ok(Self { pid, pidfd, lifeline, silent: false })
    }

    /// The parent's end of its lifeline.
    pub(crate) fn lifeline(&self) -> BorrowedFd<'_> {
        self.lifeline.as_fd()
    }

    /// Its pid.
    pub(crate) fn pid(&self) -> Pid {
        self.pid
    }

    /// What to wait on for its messages; `None` when there will be none.
    pub(crate) fn messages(&self) -> Option<BorrowedFd<'_>> {
        (!self.silent).then(|| self.lifeline.as_fd())
    }

    /// The next message; to be called when [`Self::messages`] is readable.
    pub(crate) fn recv(&mut self) -> io::Result<Option<ToParent>> {
        let message = self.lifeline.recv(&mut Vec::new());
        self.silent = !matches!(message, Ok(Some(_)));
        message
    }

    /// Tells it something. One that cannot be told is dying, which SIGCHLD will say.
    pub(crate) fn tell(&self, message: &ToWorker) {
        if let Err(error) = self.lifeline.send(message, &[]) {
            tracing::warn!(%error, ?message, "the worker could not be told");
        }
    }

    /// Waits until it has ended.
    pub(crate) fn wait(&self) {
        if let Err(error) = rustix::process::waitpid(Some(self.pid), WaitOptions::empty()) {
            tracing::debug!(%error, pid = self.pid.as_raw_nonzero().get(), "the worker was waited for already");
        }
    }

    /// Kills it.
    pub(crate) fn kill(&self) {
        if let Err(error) = rustix::process::pidfd_send_signal(&self.pidfd, Signal::KILL) {
            tracing::warn!(%error, pid = self.pid.as_raw_nonzero().get(), "the worker could not be killed");
        }
    }
}
