//! What the parent and its worker say to each other.
//!
//! A pair of sequenced-packet sockets: each message is one packet of JSON, descriptors ride beside it. The
//! worker finds its end as standard input. When the parent is gone the worker reads the end and leaves; the
//! instances carry on.
//!
//! ```text
//! parent ──Boot──► worker    Boot names every descriptor; packets of `Fds` carry them, in order
//! parent ◄─Ready── worker
//! parent ──Shutdown──► worker ──(exit 0)
//! ```
//! A planned restart has two workers for a moment; the state is never with both:
//!
//! ```text
//! parent ──Boot, standby──► new ──Prepared──► parent ──Retire──► old
//!                                             parent ◄─Released── old   (streams go on)
//!                           new ◄────Go────── parent
//!                           new ──Ready─────► parent
//! ```

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use insula_linux::scm;
use insula_spec::{InstanceName, ServiceName};
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::deed::{Deed, Ending};

/// Longest message, in bytes.
const MESSAGE_MAX: usize = 128 << 10;

/// Descriptors in one packet.
const FDS_PER_PACKET: usize = 32;

/// Changes with every incompatible change of the messages. Parent and worker are the same file, unless it
/// was replaced while the parent ran.
pub(crate) const VERSION: u32 = 2;

/// Descriptors under their names.
pub(crate) type Given = Vec<(Role, OwnedFd)>;

/// What a descriptor is for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Role {
    /// The lock of the home, held by whoever has the listeners.
    Lock,
    /// Text of the configuration.
    Config,
    /// The program for the inside of the walls.
    Agent,
    /// Listener of the control API.
    Control,
    /// Listener for earlier workers, which keep their streams.
    Heirs,
    /// Listener for requests to the parent itself.
    Door,
    /// To a parent that goes on as another program: its end towards the worker.
    Lifeline,
    /// To such a parent: whoever asked for it.
    Visitor,
    /// Listener of the public proxy.
    Http,
    /// Raw TCP listener of one instance.
    Tcp(InstanceName),
}

/// From the parent to the worker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ToWorker {
    /// First of all: who you are. `fds` further descriptors follow.
    Boot(Boot),
    /// What the descriptors beside this are for.
    Fds(Vec<Role>),
    /// Drain, stop all instances, exit.
    Shutdown,
    /// Do not wait for requests any longer.
    Hurry,
    /// Give way to another worker: leave the instances, keep the streams.
    Retire,
    /// To a worker that stands by: the other one has given way.
    Go,
    /// Are you there?
    Ping,
    /// Write down what was asked for and how it ended.
    Record(Deed, Ending),
}

/// Who the worker is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Boot {
    /// [`VERSION`] of the parent.
    pub(crate) version: u32,
    /// Where the home is.
    pub(crate) home: PathBuf,
    /// The file that the configuration came from.
    pub(crate) config_path: PathBuf,
    /// Root of the tenants' data that stands above the file's, absolute.
    pub(crate) data_dir: PathBuf,
    /// Domain that stands above the file's.
    pub(crate) domain: String,
    /// Port that the public listener really has.
    pub(crate) port: u16,
    /// Whether anybody on the loopback may use the control API.
    #[serde(default)]
    pub(crate) insecure_api: bool,
    /// Whether to be prepared and then wait for [`ToWorker::Go`].
    pub(crate) standby: bool,
    /// Always empty: a worker knows by itself what to start anew. Those of former versions look for it.
    #[serde(default)]
    pub(crate) restart: Vec<ServiceName>,
    /// Why it stands by: to be written down before it serves.
    #[serde(default)]
    pub(crate) deed: Option<Deed>,
    /// How many descriptors follow.
    pub(crate) fds: usize,
}

/// From the worker to the parent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ToParent {
    /// It serves.
    Ready(Report),
    /// It stands by.
    Prepared,
    /// It has given way: the store and the instances are free.
    Released,
    /// Yes.
    Pong,
}

/// What the worker found when it started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Report {
    /// How many workers this home has had.
    pub(crate) epoch: u64,
    /// One line for each isolation level.
    pub(crate) levels: Vec<LevelLine>,
    /// Known instances.
    pub(crate) instances: usize,
    /// Instances that were running and were found again.
    pub(crate) adopted: usize,
}

/// Whether a level works here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LevelLine {
    /// Its name.
    pub(crate) level: String,
    /// Why not, if not.
    pub(crate) unavailable: Option<String>,
}

/// One end.
#[derive(Debug)]
pub(crate) struct Lifeline {
    socket: OwnedFd,
}

impl Lifeline {
    /// Both ends, close-on-exec.
    pub(crate) fn pair() -> io::Result<(Self, OwnedFd)> {
        let (near, far) =
            rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
        Ok((Self { socket: near }, far))
    }

    /// The end that is standard input. `/dev/null` takes its place there, so that no child inherits it.
    pub(crate) fn from_stdin() -> io::Result<Self> {
        let socket = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin(), 3)?;
        rustix::net::sockopt::socket_type(&socket)?;
        let null = std::fs::File::open("/dev/null")?;
        rustix::stdio::dup2_stdin(&null)?;
        Ok(Self { socket })
    }

    /// An end that was connected or accepted.
    pub(crate) fn over(socket: OwnedFd) -> Self {
        Self { socket }
    }

    /// Sends one message with descriptors beside it.
    pub(crate) fn send<M: Serialize>(&self, message: &M, fds: &[BorrowedFd<'_>]) -> io::Result<()> {
        send(&self.socket, message, fds)
    }

    /// Receives one message; `None` when the other side is gone.
    pub(crate) fn recv<M: DeserializeOwned>(&self, fds: &mut Vec<OwnedFd>) -> io::Result<Option<M>> {
        recv(&self.socket, fds)
    }

    /// Tells the worker who it is.
    pub(crate) fn send_boot(&self, boot: Boot, fds: &[(Role, BorrowedFd<'_>)]) -> io::Result<()> {
        self.send(&ToWorker::Boot(Boot { fds: fds.len(), ..boot }), &[])?;
        self.send_fds(fds)
    }

    /// Sends descriptors under their names, as many packets as it takes.
    pub(crate) fn send_fds(&self, fds: &[(Role, BorrowedFd<'_>)]) -> io::Result<()> {
        for packet in fds.chunks(FDS_PER_PACKET) {
            let roles = packet.iter().map(|(role, _)| role.clone()).collect();
            let fds: Vec<_> = packet.iter().map(|(_, fd)| *fd).collect();
            self.send(&ToWorker::Fds(roles), &fds)?;
        }
        Ok(())
    }

    /// Learns who one is; `None` when the parent is gone already.
    pub(crate) fn recv_boot(&self) -> io::Result<Option<(Boot, Given)>> {
        let boot = match self.recv(&mut Vec::new())? {
            None => return Ok(None),
            Some(ToWorker::Boot(boot)) if boot.version == VERSION => boot,
            Some(ToWorker::Boot(_)) => return Err(wrong("the parent is another version; restart it")),
            Some(_) => return Err(wrong("the first message is not the boot message")),
        };
        Ok(self.recv_fds(boot.fds)?.map(|all| (boot, all)))
    }

    /// Receives so many descriptors under their names; `None` when the other side is gone.
    pub(crate) fn recv_fds(&self, count: usize) -> io::Result<Option<Given>> {
        let mut all = Vec::new();
        while all.len() < count {
            let mut fds = Vec::new();
            match self.recv(&mut fds)? {
                None => {
                    // The lock came first and goes last, after the listeners.
                    all.into_iter().rev().for_each(drop);
                    return Ok(None);
                }
                Some(ToWorker::Fds(roles)) if roles.len() == fds.len() && !fds.is_empty() => {
                    all.extend(roles.into_iter().zip(fds));
                }
                Some(_) => return Err(wrong("descriptors and their names do not match")),
            }
        }
        Ok(Some(all))
    }

    /// The same end for a runtime: reads return at once when nothing is there.
    pub(crate) fn into_stream(self) -> io::Result<UnixStream> {
        let stream = UnixStream::from(self.socket);
        stream.set_nonblocking(true)?;
        Ok(stream)
    }
}

fn wrong(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("lifeline: {what}"))
}

/// Sends one message with descriptors beside it.
pub(crate) fn send<M: Serialize>(socket: impl AsFd, message: &M, fds: &[BorrowedFd<'_>]) -> io::Result<()> {
    let bytes = serde_json::to_vec(message)?;
    if bytes.len() > MESSAGE_MAX {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "message too long for the lifeline"));
    }
    scm::send(socket, &bytes, fds).map(drop)
}

/// Receives one message; `None` when the other side is gone.
pub(crate) fn recv<M: DeserializeOwned>(socket: impl AsFd, fds: &mut Vec<OwnedFd>) -> io::Result<Option<M>> {
    let mut buffer = vec![0; MESSAGE_MAX];
    let length = match scm::recv(socket, &mut buffer, fds) {
        Err(e) if e.kind() == io::ErrorKind::ConnectionReset => 0,
        other => other?,
    };
    let message = buffer.get(..length).unwrap_or_default();
    if message.is_empty() { Ok(None) } else { Ok(Some(serde_json::from_slice(message)?)) }
}

impl AsFd for Lifeline {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair() -> (Lifeline, Lifeline) {
        let (near, far) = Lifeline::pair().unwrap();
        (near, Lifeline { socket: far })
    }

    fn boot() -> Boot {
        Boot {
            version: VERSION,
            home: "/h".into(),
            config_path: "/c".into(),
            data_dir: "/d".into(),
            domain: "localhost".into(),
            port: 80,
            insecure_api: false,
            standby: false,
            restart: Vec::new(),
            deed: None,
            fds: 0,
        }
    }

    #[test]
    fn many_descriptors_arrive_under_their_names() {
        let (parent, worker) = pair();
        let null = std::fs::File::open("/dev/null").unwrap();
        let name = |i: usize| Role::Tcp(format!("cache:t{i}").parse().unwrap());
        let fds: Vec<_> = (0..100).map(|i| (name(i), null.as_fd())).collect();
        parent.send_boot(boot(), &fds).unwrap();
        let (got, fds) = worker.recv_boot().unwrap().unwrap();
        assert_eq!(got, Boot { fds: 100, ..boot() });
        assert_eq!(fds.len(), 100);
        assert!(fds.iter().enumerate().all(|(i, (role, _))| *role == name(i)));
    }

    #[test]
    fn another_version_is_refused_and_a_missing_parent_is_told() {
        let (parent, worker) = pair();
        parent.send_boot(Boot { version: VERSION + 1, ..boot() }, &[]).unwrap();
        assert_eq!(worker.recv_boot().unwrap_err().kind(), io::ErrorKind::InvalidData);
        drop(parent);
        assert!(worker.recv_boot().unwrap().is_none());
    }
}
