//! The agent behind a wall, seen from the one outside, who is its host.
//!
//! It shares a kernel with the workload, so nothing that it says is believed beyond what it may say.

use std::collections::BTreeSet;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use insula_frames::{EXEC_CHUNK, ExecAsk, ExecNews, FromAgent, ToAgent};
use rustix::process::Pid;

use crate::host::Connection;

/// Largest frame that it sends: the longest is a piece of a command's output.
const MAX_FROM_GUEST: usize = EXEC_CHUNK + 1024;

/// A connection to it.
pub(crate) struct Behind {
    connection: Connection,
    /// The process of the wall.
    pub(crate) wall: Pid,
    /// Commands that the host asked for and that did not end yet.
    commands: BTreeSet<u64>,
}

impl Behind {
    pub(crate) fn new(socket: OwnedFd, wall: Pid) -> io::Result<Self> {
        Ok(Self { connection: Connection::bounded(socket, MAX_FROM_GUEST)?, wall, commands: BTreeSet::new() })
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

    /// Remembers a command that the host asks for.
    pub(crate) fn note(&mut self, ask: &ExecAsk) {
        if let ExecAsk::Start(plan) = ask {
            self.commands.insert(plan.id);
        }
    }

    /// Whether this is about a command that the host knows and that had not ended.
    pub(crate) fn knows(&mut self, news: &ExecNews) -> bool {
        match news {
            ExecNews::Failed { id, .. } | ExecNews::Ended { id, .. } => self.commands.remove(id),
            other => self.commands.contains(&other.id()),
        }
    }

    /// From now on the host knows of no command. Tells whether it knew of one.
    pub(crate) fn forget_commands(&mut self) -> bool {
        !std::mem::take(&mut self.commands).is_empty()
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

#[cfg(test)]
mod tests {
    use super::*;
    use insula_linux::scm;
    use std::os::unix::net::UnixStream;

    fn pair() -> (Behind, UnixStream) {
        let (near, far) = UnixStream::pair().unwrap();
        (Behind::new(near.into(), rustix::process::getpid()).unwrap(), far)
    }

    #[test]
    fn what_it_says_is_heard() {
        let (mut behind, guest) = pair();
        scm::send(&guest, &FromAgent::Started.encode(), &[]).unwrap();
        behind.exchange().unwrap();
        assert_eq!(behind.next_frame().unwrap(), Some(FromAgent::Started));
        assert_eq!(behind.next_frame().unwrap(), None);
    }

    #[test]
    fn what_breaks_the_rules_is_an_error() {
        let garbage = [5, 0, 0, 0, 255, 1, 2, 3, 4].to_vec();
        let endless = u32::try_from(MAX_FROM_GUEST + 1).unwrap().to_le_bytes().to_vec();
        for bytes in [garbage, endless] {
            let (mut behind, guest) = pair();
            scm::send(&guest, &bytes, &[]).unwrap();
            behind.exchange().unwrap();
            assert!(behind.next_frame().is_err(), "{bytes:?}");
        }
        let (mut behind, guest) = pair();
        scm::send(&guest, &FromAgent::Started.encode(), &[guest.as_fd()]).unwrap();
        behind.exchange().unwrap();
        assert!(behind.next_frame().is_err(), "a descriptor was taken");
    }

    #[test]
    fn its_end_is_an_error() {
        let (mut behind, guest) = pair();
        drop(guest);
        assert!(behind.exchange().is_err());
    }
}
