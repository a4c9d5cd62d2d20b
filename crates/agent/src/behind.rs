//! The agent behind a wall, seen from the one outside, who is its host.
//!
//! It shares a kernel with the workload, so nothing that it says is believed beyond what it may say.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use insula_frames::{FromAgent, ToAgent};
use rustix::process::Pid;

use crate::host::Connection;

/// Largest frame that it sends: the longest is why a launch failed.
const MAX_FROM_GUEST: usize = 8 * 1024;

/// A connection to it.
pub(crate) struct Behind {
    connection: Connection,
    /// The process of the wall.
    pub(crate) wall: Pid,
}

impl Behind {
    pub(crate) fn new(socket: OwnedFd, wall: Pid) -> io::Result<Self> {
        Ok(Self { connection: Connection::bounded(socket, MAX_FROM_GUEST)?, wall })
    }

    /// Whether something waits to be written.
    pub(crate) fn wants_to_write(&self) -> bool {
        self.connection.wants_to_write()
    }

    /// Queues a frame and writes what the socket takes.
    pub(crate) fn tell(&mut self, frame: &ToAgent) -> io::Result<()> {
        self.connection.send_bytes(frame.encode(), Vec::new());
        self.connection.flush()
    }

    /// Writes what waits, and reads what came.
    pub(crate) fn exchange(&mut self) -> io::Result<()> {
        self.connection.flush()?;
        if self.connection.fill()? { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
    }

    /// The next frame that came.
    pub(crate) fn next_frame(&mut self) -> io::Result<Option<FromAgent>> {
        self.connection.next_from_agent()
    }
}

impl AsFd for Behind {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.connection.as_fd()
    }
}
