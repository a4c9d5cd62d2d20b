//! The directory of one set of walls on the host.
//!
//! ```text
//! run/            0700
//!   <key>/        0700
//!     agent.sock  0600  adoption
//!     shown       0600  what the walls were built around
//!     spill       0600  log lines that nobody took yet
//!     app/        0700, owned by the workload; the only part that is shown inside
//! ```

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, connect, socket_with};

/// Makes and names what is in it. Dropping it removes nothing: the [`super::body::Body`] does.
#[derive(Debug)]
pub(crate) struct RunDir {
    path: PathBuf,
}

impl RunDir {
    /// Makes a fresh one.
    pub(crate) fn create(path: PathBuf) -> io::Result<Self> {
        let private = |path: &Path| DirBuilder::new().mode(0o700).create(path);
        private(&path)?;
        private(&path.join("app"))?;
        Ok(Self { path })
    }

    /// Names one that is there already.
    pub(crate) fn open(path: PathBuf) -> Self {
        Self { path }
    }

    /// The directory for the workload's own socket.
    pub(crate) fn app(&self) -> PathBuf {
        self.path.join("app")
    }

    /// A bound socket at `agent.sock`, for the agent to listen on.
    pub(crate) fn bind_agent_socket(&self) -> io::Result<OwnedFd> {
        let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
        let dir = open_dir(&self.path)?;
        bind(&socket, &within(dir.as_fd(), "agent.sock")?)?;
        Ok(socket)
    }

    /// Connects to the agent, without waiting: one that takes no connection does not answer either.
    pub(crate) fn connect_agent(&self) -> io::Result<OwnedFd> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
        let dir = open_dir(&self.path)?;
        connect(&socket, &within(dir.as_fd(), "agent.sock")?)?;
        Ok(socket)
    }

    /// A new file for the agent to spill into.
    pub(crate) fn spill_file(&self) -> io::Result<File> {
        let path = self.path.join("spill");
        OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(path)
    }

    /// Notes what the walls are built around, for whoever uses them again.
    pub(crate) fn note_shown(&self, text: &str) -> io::Result<()> {
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o600);
        options.open(self.path.join("shown"))?.write_all(text.as_bytes())
    }

    /// What was noted.
    pub(crate) fn noted_shown(&self) -> io::Result<String> {
        fs::read_to_string(self.path.join("shown"))
    }

    /// Removes it with all that is in it.
    pub(crate) fn remove(path: &Path) -> io::Result<()> {
        match fs::remove_dir_all(path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other,
        }
    }
}

fn open_dir(path: &Path) -> io::Result<OwnedFd> {
    Ok(rustix::fs::open(path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?)
}

/// An address through a descriptor: however deep the directory is, it fits the 108 bytes of unix(7).
pub(crate) fn within(dir: std::os::fd::BorrowedFd<'_>, name: &str) -> io::Result<SocketAddrUnix> {
    Ok(SocketAddrUnix::new(format!("/proc/self/fd/{}/{name}", dir.as_raw_fd()))?)
}
