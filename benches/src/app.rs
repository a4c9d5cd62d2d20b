//! The application behind the proxies: one thread, epoll, a fixed answer of 1 KiB.
//!
//! As little as possible, so that what is measured is the proxy and not the application.

use std::collections::HashMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::Path;

use anyhow::Context;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::io::Errno;

/// Bytes of the body.
const BODY: usize = 1024;
/// Most of a request that is looked at.
const HEAD_MAX: usize = 8192;
/// The listener's own mark; sockets are marked by their number.
const LISTENER: u64 = u64::MAX;

/// Where clients come in.
enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Listener {
    /// At this path; at `PORT` without one.
    fn open(socket: Option<&Path>) -> anyhow::Result<Self> {
        if let Some(path) = socket {
            let listener = UnixListener::bind(path).with_context(|| format!("`{}`", path.display()))?;
            listener.set_nonblocking(true)?;
            return Ok(Self::Unix(listener));
        }
        let port: u16 = std::env::var("PORT").context("`PORT` is not set")?.parse().context("`PORT`")?;
        // Only the benchmark itself names one, where the loopback is not what is measured.
        let address = std::env::var("ADDRESS").unwrap_or_else(|_| "127.0.0.1".to_owned());
        let listener = TcpListener::bind((address.as_str(), port)).with_context(|| format!("port {port}"))?;
        listener.set_nonblocking(true)?;
        Ok(Self::Tcp(listener))
    }

    /// The next client. Of a connection on a Unix socket only what all streams can do is used.
    fn accept(&self) -> std::io::Result<TcpStream> {
        let stream = match self {
            Self::Unix(listener) => TcpStream::from(OwnedFd::from(listener.accept()?.0)),
            Self::Tcp(listener) => {
                let (stream, _) = listener.accept()?;
                stream.set_nodelay(true)?;
                stream
            }
        };
        stream.set_nonblocking(true)?;
        Ok(stream)
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(listener) => listener.as_fd(),
            Self::Unix(listener) => listener.as_fd(),
        }
    }
}

/// A client and what it has sent of a request so far.
struct Client {
    stream: TcpStream,
    head: Vec<u8>,
}

/// Serves until killed.
pub(crate) fn serve(socket: Option<&Path>) -> anyhow::Result<()> {
    let listener = Listener::open(socket)?;
    let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {BODY}\r\n\r\n{}", "x".repeat(BODY));
    let poll = epoll::create(CreateFlags::CLOEXEC)?;
    epoll::add(&poll, &listener, EventData::new_u64(LISTENER), EventFlags::IN)?;
    let (mut clients, mut events) = (HashMap::new(), Vec::<Event>::with_capacity(256));
    loop {
        events.clear();
        match epoll::wait(&poll, rustix::buffer::spare_capacity(&mut events), None) {
            Ok(_) => {}
            // A wait that was frozen meanwhile is not resumed by the kernel (`signal(7)`).
            Err(Errno::INTR) => continue,
            Err(e) => return Err(e.into()),
        }
        for event in &events {
            let mark = event.data.u64();
            if mark == LISTENER {
                accept(&poll, &listener, &mut clients)?;
            } else if let Some(client) = clients.get_mut(&mark)
                && !turn(client, answer.as_bytes())
            {
                clients.remove(&mark);
            }
        }
    }
}

fn accept(poll: impl AsFd, listener: &Listener, clients: &mut HashMap<u64, Client>) -> anyhow::Result<()> {
    while let Ok(stream) = listener.accept() {
        let mark = u64::from(stream.as_raw_fd().unsigned_abs());
        epoll::add(&poll, &stream, EventData::new_u64(mark), EventFlags::IN)?;
        clients.insert(mark, Client { stream, head: Vec::with_capacity(HEAD_MAX) });
    }
    Ok(())
}

/// Reads what is there and answers each request that is whole. `false` at the end of the connection.
fn turn(client: &mut Client, answer: &[u8]) -> bool {
    let mut piece = [0; HEAD_MAX];
    match client.stream.read(&mut piece) {
        Ok(0) => return false,
        Ok(n) => client.head.extend_from_slice(&piece[..n]),
        Err(e) => return e.kind() == ErrorKind::WouldBlock,
    }
    while let Some(end) = client.head.windows(4).position(|w| w == b"\r\n\r\n") {
        client.head.drain(..end + 4);
        // 1 KiB always fits into the buffer of a client that waits for its answer.
        if client.stream.write_all(answer).is_err() {
            return false;
        }
    }
    client.head.len() < HEAD_MAX
}
