//! The application behind the proxies: one thread, epoll, a fixed answer of 1 KiB.
//!
//! As little as possible, so that what is measured is the proxy and not the application.

use std::collections::HashMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd};

use anyhow::Context;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::io::Errno;

/// Bytes of the body.
const BODY: usize = 1024;
/// Most of a request that is looked at.
const HEAD_MAX: usize = 8192;
/// The listener's own mark; sockets are marked by their number.
const LISTENER: u64 = u64::MAX;

/// A client and what it has sent of a request so far.
struct Client {
    stream: TcpStream,
    head: Vec<u8>,
}

/// Serves on `PORT` until killed.
pub(crate) fn serve() -> anyhow::Result<()> {
    let port: u16 = std::env::var("PORT").context("`PORT` is not set")?.parse().context("`PORT`")?;
    let listener = TcpListener::bind(("127.0.0.1", port)).with_context(|| format!("port {port}"))?;
    listener.set_nonblocking(true)?;
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

fn accept(poll: impl AsFd, listener: &TcpListener, clients: &mut HashMap<u64, Client>) -> anyhow::Result<()> {
    while let Ok((stream, _)) = listener.accept() {
        stream.set_nonblocking(true)?;
        stream.set_nodelay(true)?;
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
