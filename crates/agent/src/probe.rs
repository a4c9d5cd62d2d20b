//! Does the workload accept connections yet? Asked from inside, with a back-off from 100 us to 20 ms, which
//! begins again when the workload calls listen(2).

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::FileTypeExt;
use std::time::{Duration, Instant};

use insula_frames::Probe;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, ipproto, socket_with, sockopt,
};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddrV4, SocketAddrV6};

const FIRST: Duration = Duration::from_micros(100);
/// The time that listen(2) may take once it was let go on.
const SOON: Duration = Duration::from_micros(20);
const LAST: Duration = Duration::from_millis(20);

/// Where something accepted, and the connection that showed it.
pub(crate) struct Accepted {
    pub(crate) v6: bool,
    pub(crate) unix: bool,
    pub(crate) connection: OwnedFd,
}

/// Looks for the listener again and again, ever more rarely.
pub(crate) struct Prober {
    probe: Probe,
    due: Instant,
    pause: Duration,
}

impl Prober {
    pub(crate) fn new(probe: Probe) -> Self {
        Self { probe, due: Instant::now() + FIRST, pause: FIRST }
    }

    /// When it wants to look next.
    pub(crate) fn due(&self) -> Instant {
        self.due
    }

    /// It is about to listen: looks at once, and often.
    pub(crate) fn hurry(&mut self) {
        self.pause = SOON;
        self.due = Instant::now() + SOON;
    }

    /// Looks now.
    pub(crate) fn look(&mut self) -> Option<Accepted> {
        let found = self.try_unix().or_else(|| self.try_tcp(false)).or_else(|| self.try_tcp(true));
        self.pause = (self.pause * 2).min(LAST);
        self.due = Instant::now() + self.pause;
        found
    }

    /// Only what is a socket by itself: a link may lead to one that this process can reach and the workload
    /// cannot.
    fn try_unix(&self) -> Option<Accepted> {
        std::fs::symlink_metadata(&self.probe.socket).ok().filter(|m| m.file_type().is_socket())?;
        let address = SocketAddrUnix::new(self.probe.socket.as_str()).ok()?;
        let connection = new_socket(AddressFamily::UNIX)?;
        connect(&connection, &address).ok()?;
        Some(Accepted { v6: false, unix: true, connection })
    }

    /// Opens the socket at the path to every user, if there is one there itself.
    pub(crate) fn let_everyone_connect(&self) -> io::Result<()> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let socket = rustix::fs::open(self.probe.socket.as_str(), flags, Mode::empty())?;
        if FileType::from_raw_mode(rustix::fs::fstat(&socket)?.st_mode) == FileType::Socket {
            // What the descriptor refers to, whatever the path leads to by now.
            rustix::fs::chmod(format!("/proc/self/fd/{}", socket.as_raw_fd()), Mode::from_raw_mode(0o777))?;
        }
        Ok(())
    }

    fn try_tcp(&self, v6: bool) -> Option<Accepted> {
        let port = self.probe.port;
        let connection = new_socket(if v6 { AddressFamily::INET6 } else { AddressFamily::INET })?;
        let started = if v6 {
            connect(&connection, &SocketAddrV6::new(Ipv6Addr::LOCALHOST, port, 0, 0))
        } else {
            connect(&connection, &SocketAddrV4::new(Ipv4Addr::LOCALHOST, port))
        };
        match started {
            Ok(()) => {}
            Err(Errno::INPROGRESS) => settle(&connection)?,
            Err(_) => return None,
        }
        Some(Accepted { v6, unix: false, connection })
    }
}

/// A non-blocking stream socket.
fn new_socket(family: AddressFamily) -> Option<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    socket_with(family, SocketType::STREAM, flags, None).ok()
}

/// On a loopback a handshake is over in microseconds; what is not is tried again later.
fn settle(connection: &OwnedFd) -> Option<()> {
    let soon = Timespec { tv_sec: 0, tv_nsec: 1_000_000 };
    let mut ready = [PollFd::new(connection, PollFlags::OUT)];
    let n = poll(&mut ready, Some(&soon)).ok()?;
    (n > 0 && sockopt::socket_error(connection).ok()?.is_ok()).then_some(())
}

/// Unconnected TCP sockets in this network namespace, for the host to connect.
pub(crate) fn unconnected(count: u8, v6: bool) -> Vec<OwnedFd> {
    let family = if v6 { AddressFamily::INET6 } else { AddressFamily::INET };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    (0..count)
        .map_while(|_| socket_with(family, SocketType::STREAM, flags, Some(ipproto::TCP)).ok())
        .collect()
}
