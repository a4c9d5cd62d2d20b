//! What a worker and the egress process say to each other: sequenced packets of JSON, descriptors beside them.
//!
//! ```text
//! worker ──Boot + bound socket──► new process     over the pair that it was started with
//! worker ──Hello──► process ──Welcome──►          over any connection; the highest epoch is obeyed
//! worker ──Join───► process ──Joined──►           or Unknown: once more, with listeners and the agent's pidfd
//! worker ──Leave──►         ◄──Denied── process
//! worker ◄─Reach─── process                       an instance wants another one: Reached + socket, or Unreached
//! worker ◄─Over──── process                       its stream has ended          HangUp ends it
//! worker ──Bye────► process ends
//! ```

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use insula_linux::scm;
use insula_spec::{InstanceName, Outside};
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use tokio::io::Interest;
use tokio::net::UnixStream;

use crate::denial::Denial;
use crate::judge::Reason;

/// Changes with every incompatible change of the messages. A process of another version ends with its last
/// connection, and another one takes its place.
pub(crate) const VERSION: u32 = 2;
/// Longest message, in bytes: a policy of 256 long names fits.
const MESSAGE_MAX: usize = 128 << 10;

/// From a worker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ToEgress {
    /// The first word to a process just started: its socket travels beside it.
    Boot,
    /// Opens a connection.
    Hello { version: u32, epoch: u64 },
    /// Judge this instance by this policy. Where the key is new, its listeners and the pidfd of its agent travel
    /// beside it.
    Join { key: String, instance: InstanceName, outside: Outside },
    /// It is gone.
    Leave { key: String },
    /// The instance that was called is connected: the socket travels beside it.
    Reached { call: u64 },
    /// It is not, for this reason where a policy says so.
    Unreached { call: u64, reason: Option<Reason> },
    /// A stream is not allowed any more.
    HangUp { call: u64 },
    /// Every instance is gone.
    Bye,
}

/// To a worker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum FromEgress {
    /// Answer to `Hello`.
    Welcome { version: u32 },
    /// The policy holds.
    Joined { key: String },
    /// Listeners are needed.
    Unknown { key: String },
    /// Something was refused, so many times.
    Denied { denial: Denial, times: u64 },
    /// An instance wants to be connected to another one; `open` where it is already.
    Reach { call: u64, from: InstanceName, to: InstanceName, open: bool },
    /// It has ended.
    Over { call: u64 },
}

/// A pair of connected sockets, close-on-exec.
pub(crate) fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?)
}

/// One end of a connection.
#[derive(Debug)]
pub(crate) struct Line(UnixStream);

impl Line {
    /// Registers a connected socket with the runtime.
    pub(crate) fn new(socket: OwnedFd) -> io::Result<Self> {
        rustix::io::ioctl_fionbio(&socket, true)?;
        Ok(Self(UnixStream::from_std(socket.into())?))
    }

    /// A second descriptor of this end: as long as it is open, the other side sees no end.
    pub(crate) fn hold(&self) -> io::Result<OwnedFd> {
        self.0.as_fd().try_clone_to_owned()
    }

    /// The user at the other end.
    pub(crate) fn peer(&self) -> io::Result<u32> {
        Ok(self.0.peer_cred()?.uid())
    }

    /// Sends one message with descriptors beside it.
    pub(crate) async fn send<M: Serialize>(&self, message: &M, fds: &[BorrowedFd<'_>]) -> io::Result<()> {
        let bytes = serde_json::to_vec(message)?;
        if bytes.len() > MESSAGE_MAX {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        self.0.async_io(Interest::WRITABLE, || scm::send(&self.0, &bytes, fds)).await.map(drop)
    }

    /// The next message and what came beside it; `None` at the end. Cancel-safe.
    pub(crate) async fn recv<M: DeserializeOwned>(&self) -> io::Result<Option<(M, Vec<OwnedFd>)>> {
        let mut buffer = vec![0; MESSAGE_MAX];
        let mut fds = Vec::new();
        let got =
            self.0.async_io(Interest::READABLE, || scm::recv(self.0.as_fd(), &mut buffer, &mut fds)).await;
        let length = match got {
            Err(e) if e.kind() == io::ErrorKind::ConnectionReset => 0,
            other => other?,
        };
        let Some(bytes) = buffer.get(..length).filter(|b| !b.is_empty()) else { return Ok(None) };
        Ok(Some((serde_json::from_slice(bytes)?, fds)))
    }
}
