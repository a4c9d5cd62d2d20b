//! Reaching a workload's listener without a relay.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use insula_spec::Network;
use rustix::fs::{FileType, Mode, OFlags, ResolveFlags};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, sockopt};
use tokio::net::{TcpSocket, TcpStream, UnixStream};

use crate::contract::{BoxFuture, Connect};
use crate::exec::{ExecError, ExecOrder, ExecSession};
use crate::link::Link;
use crate::stream::Stream;

/// Sockets fetched from behind the wall at a time.
const BATCH: u8 = 4;

/// Where the workload listens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Where {
    Unknown,
    Tcp { v6: bool },
    Unix,
}

#[derive(Debug)]
struct State {
    place: Where,
    /// The connection that proved readiness.
    first: Option<OwnedFd>,
    /// Unconnected sockets in the network of the workload. Each pins that network: gone with this.
    spare: Vec<OwnedFd>,
}

/// Connects to one run of one workload.
#[derive(Debug)]
pub(crate) struct Connector {
    link: Link,
    network: Network,
    port: u16,
    /// Host path of the directory in which the workload may make its socket, and the socket's name.
    app_dir: PathBuf,
    /// What the next command is called.
    next_command: AtomicU64,
    /// Why no command can be run.
    no_commands: Option<NoCommands>,
    state: Mutex<State>,
}

/// Why no command can be run, and what to do about it.
pub(crate) type NoCommands = (&'static str, &'static str);

impl Connector {
    pub(crate) fn new(link: Link, network: Network, port: u16, app_dir: PathBuf) -> Self {
        let state = Mutex::new(State { place: Where::Unknown, first: None, spare: Vec::new() });
        Self { link, network, port, app_dir, next_command: AtomicU64::new(0), no_commands: None, state }
    }

    /// Commands are called by numbers from this one on, which no other worker uses; unless there can be none.
    pub(crate) fn commands(mut self, first: u64, none: Option<NoCommands>) -> Self {
        (self.next_command, self.no_commands) = (AtomicU64::new(first), none);
        self
    }

    async fn run(&self, order: ExecOrder) -> Result<ExecSession, ExecError> {
        if let Some((why, hint)) = self.no_commands {
            return Err(ExecError::Unsupported { why, hint });
        }
        self.link.exec(self.next_command.fetch_add(1, Ordering::Relaxed), order).await
    }

    /// The agent saw the listener. What it connected to over a path may be anything that the path led to,
    /// so of that only the news is taken: this side opens the path by its own rules.
    pub(crate) fn found(&self, v6: bool, unix: bool, first: Option<OwnedFd>) {
        let mut state = self.lock();
        state.place = if unix { Where::Unix } else { Where::Tcp { v6 } };
        state.first = first.filter(|fd| !unix && sockopt::socket_domain(fd) != Ok(AddressFamily::UNIX));
    }

    /// The workload ended: let its network go.
    pub(crate) fn forget(&self) {
        let mut state = self.lock();
        *state = State { place: Where::Unknown, first: None, spare: Vec::new() };
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Every change under the lock is a single assignment.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn open(&self) -> io::Result<Stream> {
        let (first, place) = {
            let mut state = self.lock();
            (state.first.take(), state.place)
        };
        if let Some(stream) = first.map(adopt).transpose()?.filter(is_open) {
            return Ok(stream);
        }
        match (place, self.network) {
            (Where::Unknown, _) => Err(io::ErrorKind::NotConnected.into()),
            (Where::Unix, _) => self.open_unix(),
            (Where::Tcp { v6 }, Network::Host) => {
                TcpStream::connect(self.address(v6)).await.and_then(without_delay)
            }
            (Where::Tcp { v6 }, Network::Isolated | Network::Routed) => {
                let socket = self.socket(v6).await?;
                let socket = TcpSocket::from_std_stream(std::net::TcpStream::from(socket));
                socket.connect(self.address(v6)).await.and_then(without_delay)
            }
        }
    }

    fn address(&self, v6: bool) -> SocketAddr {
        if v6 { (Ipv6Addr::LOCALHOST, self.port).into() } else { (Ipv4Addr::LOCALHOST, self.port).into() }
    }

    async fn socket(&self, v6: bool) -> io::Result<OwnedFd> {
        if let Some(socket) = self.lock().spare.pop() {
            return Ok(socket);
        }
        let lost = |e| io::Error::new(io::ErrorKind::NotConnected, e);
        let mut fresh = self.link.sockets(BATCH, v6).await.map_err(lost)?;
        let socket = fresh.pop().ok_or(io::ErrorKind::NotConnected)?;
        self.lock().spare.append(&mut fresh);
        Ok(socket)
    }

    /// The workload owns this directory and may put anything there: only a socket that is really in it will
    /// do, never what a link points to.
    fn open_unix(&self) -> io::Result<Stream> {
        let dir = rustix::fs::open(
            &self.app_dir,
            OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
            Mode::empty(),
        )?;
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        let file = rustix::fs::openat2(&dir, super::view::SOCKET_NAME, flags, Mode::empty(), resolve)?;
        let found = rustix::fs::fstat(&file)?;
        let refused = |why| Err(io::Error::new(io::ErrorKind::InvalidData, why));
        if FileType::from_raw_mode(found.st_mode) != FileType::Socket {
            return refused("what is at SOCKET_PATH is not a socket");
        }
        // A second name could be one for somebody else's socket.
        if found.st_nlink != 1 {
            return refused("the socket at SOCKET_PATH has another name elsewhere");
        }
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
        let address = SocketAddrUnix::new(format!("/proc/self/fd/{}", file.as_raw_fd()))?;
        // A full backlog answers EAGAIN at once; the caller's deadline and retries apply, as for a refusal.
        rustix::net::connect(&socket, &address)?;
        Ok(Stream::Unix(UnixStream::from_std(socket.into())?))
    }
}

impl Connect for Connector {
    fn connect(&self) -> BoxFuture<'_, io::Result<Stream>> {
        Box::pin(self.open())
    }

    fn exec(&self, order: ExecOrder) -> BoxFuture<'_, Result<ExecSession, ExecError>> {
        Box::pin(self.run(order))
    }
}

fn without_delay(stream: TcpStream) -> io::Result<Stream> {
    stream.set_nodelay(true)?;
    Ok(Stream::Tcp(stream))
}

fn adopt(socket: OwnedFd) -> io::Result<Stream> {
    TcpStream::from_std(socket.into()).and_then(without_delay)
}

fn is_open(stream: &Stream) -> bool {
    stream.try_read(&mut [0]).is_err_and(|e| e.kind() == io::ErrorKind::WouldBlock)
}
