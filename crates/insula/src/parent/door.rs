//! The parent's own socket, `run/door.sock`: requests that are about the workers rather than to one.
//!
//! Sequenced packets of JSON, as on the lifeline. Whoever comes during a planned restart is refused.
//!
//! ```text
//! insula serve --takeover ──Takeover + program + configuration──► parent
//! insula config apply     ──Reload──────────────────────────────► parent
//!                         ◄─Done, Refused────────────────────────
//! ```

use std::fs::Permissions;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, sockopt};
use serde::{Deserialize, Serialize};

use super::plan::Plan;
use super::reconfigure::Changes;
use crate::lifeline::{Lifeline, Report};

/// Changes with every incompatible change of what goes between programs of two versions: the requests, the
/// state that a parent leaves to the next one, and the boot message.
pub(crate) const VERSION: u32 = 1;

/// Requests that may wait.
const BACKLOG: i32 = 16;

/// What somebody wants of the parent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Request {
    /// Run this program from now on, with this configuration. Beside it: the program, the configuration.
    Takeover {
        /// [`VERSION`] of the program.
        version: u32,
        /// What follows from the configuration.
        plan: Plan,
    },
    /// Read the configuration again and apply it.
    Reload {
        /// [`VERSION`] of whoever asks.
        version: u32,
        /// Whether only to say what would be done.
        dry_run: bool,
    },
}

/// What became of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Outcome {
    /// It is done.
    Done {
        /// What the new worker found.
        report: Report,
        /// Process of the daemon.
        pid: u32,
        /// Its public port.
        port: u16,
        /// What the new configuration changed, if that was asked for.
        changes: Option<Changes>,
    },
    /// This would be done.
    Planned(Changes),
    /// It was not done, and everything is as before.
    Refused {
        /// Why.
        why: String,
        /// What to do about it.
        hint: String,
        /// Whether it is the configuration that is at fault.
        config: bool,
    },
}

impl Outcome {
    /// A refusal that is not about the configuration.
    pub(crate) fn refused(why: impl ToString, hint: impl Into<String>) -> Self {
        Self::Refused { why: why.to_string(), hint: hint.into(), config: false }
    }
}

/// The listening end.
#[derive(Debug)]
pub(crate) struct Door {
    socket: OwnedFd,
}

impl Door {
    /// Opens it. Whoever holds the lock of the home may take the place of one that a dead parent left.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        match std::fs::remove_file(path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
            _ => {}
        }
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
        rustix::net::bind(&socket, &SocketAddrUnix::new(path)?)?;
        std::fs::set_permissions(path, Permissions::from_mode(0o600))?;
        rustix::net::listen(&socket, BACKLOG)?;
        Ok(Self { socket })
    }

    /// One that the parent before an execution had opened.
    pub(crate) fn over(socket: OwnedFd) -> Self {
        Self { socket }
    }

    /// The next visitor, if one waits. Strangers are sent away.
    pub(crate) fn accept(&self) -> io::Result<Option<Visitor>> {
        loop {
            let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
            let socket = match rustix::net::accept_with(&self.socket, flags) {
                Ok(socket) => socket,
                Err(Errno::AGAIN) => return Ok(None),
                Err(Errno::INTR | Errno::CONNABORTED) => continue,
                Err(e) => return Err(e.into()),
            };
            let uid = sockopt::socket_peercred(&socket)?.uid;
            if uid == rustix::process::geteuid() || uid.is_root() {
                return Ok(Some(Visitor { lifeline: Lifeline::over(socket), uid: uid.as_raw() }));
            }
            tracing::warn!(uid = uid.as_raw(), "a request of another user was refused");
        }
    }
}

impl AsFd for Door {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Somebody who wants something of the parent.
#[derive(Debug)]
pub(crate) struct Visitor {
    lifeline: Lifeline,
    uid: u32,
}

impl Visitor {
    /// One that was let in before this process became another program.
    pub(crate) fn over(socket: OwnedFd) -> io::Result<Self> {
        let uid = sockopt::socket_peercred(&socket)?.uid.as_raw();
        Ok(Self { lifeline: Lifeline::over(socket), uid })
    }

    /// Its user's id.
    pub(crate) fn uid(&self) -> u32 {
        self.uid
    }

    /// What it wants; `None` when it went away. To be called when it is readable.
    pub(crate) fn hear(&self) -> io::Result<Option<(Request, Vec<OwnedFd>)>> {
        let mut fds = Vec::new();
        Ok(self.lifeline.recv(&mut fds)?.map(|request| (request, fds)))
    }

    /// Tells it what became of its request. It may be gone: that changes nothing.
    pub(crate) fn answer(&self, outcome: &Outcome) {
        if let Err(error) = self.lifeline.send(outcome, &[]) {
            tracing::debug!(%error, "whoever asked is gone");
        }
    }
}

impl AsFd for Visitor {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.lifeline.as_fd()
    }
}

/// Asks a running parent and waits for the outcome; `None` when none runs.
///
/// # Errors
/// Those of the socket; `UnexpectedEof` when the parent goes away without an answer.
pub(crate) fn ask(path: &Path, request: &Request, fds: &[BorrowedFd<'_>]) -> io::Result<Option<Outcome>> {
    let socket =
        rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
    match rustix::net::connect(&socket, &SocketAddrUnix::new(path)?) {
        Ok(()) => {}
        Err(Errno::NOENT | Errno::CONNREFUSED) => return Ok(None),
        Err(e) => return Err(e.into()),
    }
    let lifeline = Lifeline::over(socket);
    lifeline.send(request, fds)?;
    lifeline.recv(&mut Vec::new())?.ok_or_else(|| io::ErrorKind::UnexpectedEof.into()).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_and_its_outcome_pass_and_nobody_is_told_apart() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("door.sock");
        let request = Request::Reload { version: VERSION, dry_run: false };
        assert!(ask(&path, &request, &[]).unwrap().is_none(), "nobody is there");
        let door = Door::open(&path).unwrap();
        assert!(door.accept().unwrap().is_none());
        let asking = std::thread::spawn({
            let path = path.clone();
            move || ask(&path, &Request::Reload { version: VERSION, dry_run: false }, &[]).unwrap()
        });
        let mut fds = [rustix::event::PollFd::new(&door, rustix::event::PollFlags::IN)];
        rustix::event::poll(&mut fds, None).unwrap();
        let visitor = door.accept().unwrap().unwrap();
        let mut fds = [rustix::event::PollFd::new(&visitor, rustix::event::PollFlags::IN)];
        rustix::event::poll(&mut fds, None).unwrap();
        assert_eq!(visitor.hear().unwrap().unwrap().0, request);
        let outcome = Outcome::refused("no", "yes");
        visitor.answer(&outcome);
        assert_eq!(asking.join().unwrap(), Some(outcome));
    }

    #[test]
    fn a_dead_parents_socket_is_nobody() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("door.sock");
        drop(Door::open(&path).unwrap());
        assert!(ask(&path, &Request::Reload { version: VERSION, dry_run: false }, &[]).unwrap().is_none());
        drop(Door::open(&path).unwrap());
    }
}
